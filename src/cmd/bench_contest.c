/* cmd/bench_contest.c - who runs when, and what is printed of it. */
#include "config.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd/bench.h"
#include "net/workers.h"
#ifdef HAVE_OPENBLAS
#include <cblas.h>
#endif

#define ROUNDS_MIN 3
#define RUN_S 50e-6
#define GPU_RUN_S 2e-3        /* beside some us for which one waits at the end */
#define BLAS_REST_NS 30000000 /* OpenBLAS's threads look for work for 2^26 cycles before they sleep */
#define SET_NAME_WIDTH 8

static const struct bench_runner *current;

static double read_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What fails shows in the results of whoever waits for those. */
double bench_now_s(const struct bench *bench)
{
    if (bench->has_gpu) {
        int err = bench->memory->wait();
        (void)err;
        return read_clock(CLOCK_MONOTONIC);
    }
    return read_clock(bench->n_now == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC);
}

const struct bench_runner *bench_current(void)
{
    return current;
}

/* ---- who takes part ---- */

static void enter(struct bench_contest *contest, struct bench_runner runner)
{
    if (contest->n < BENCH_RUNNERS_MAX)
        contest->runner[contest->n++] = runner;
}

static bool is_new_matmul(const struct bench *bench, size_t set)
{
    for (size_t i = 0; i < set; i++)
        if (bench->set[i]->matmul == bench->set[set]->matmul)
            return false;
    return true;
}

void bench_enter_all(const struct bench *bench, struct bench_contest *contest, void (*run)(void *arg), void *arg)
{
    for (size_t i = 0; i < bench->n_yardsticks; i++)
        enter(contest, (struct bench_runner){run, arg, &bench->yardstick[i].k, NUMERICS_F32, &bench->yardstick[i], 0, 0});
    for (size_t n = 0; n < N_NUMERICS; n++)
        for (size_t i = 0; i < bench->n_sets && bench->numerics[n]; i++)
            if (n != NUMERICS_F32 || is_new_matmul(bench, i))
                enter(contest, (struct bench_runner){run, arg, bench->set[i], (enum numerics)n, NULL, 0, 0});
}

/* ---- running ---- */

static void run_once(const struct bench *bench, struct bench_runner *runner)
{
    current = runner;
    size_t n_times = runner->n_times ? runner->n_times : 1;
    double start = bench_now_s(bench);
    for (size_t i = 0; i < n_times; i++)
        runner->run(runner->arg);
    double took = (bench_now_s(bench) - start) / (double)n_times;
    double least = bench->has_gpu ? GPU_RUN_S : RUN_S;
    if (runner->n_times == 0)
        runner->n_times = took < least ? (size_t)(least / took) + 1 : 1;
    if (runner->best_s == 0 || took < runner->best_s)
        runner->best_s = took;
    if (runner->yardstick && runner->yardstick->has_threads && bench->n_now > 1)
        nanosleep(&(struct timespec){.tv_nsec = BLAS_REST_NS}, NULL);
}

void bench_compete(const struct bench *bench, struct bench_contest *contest)
{
    double end = read_clock(CLOCK_MONOTONIC) + bench->seconds * (double)contest->n;
    for (size_t round = 0; round < ROUNDS_MIN || read_clock(CLOCK_MONOTONIC) < end; round++)
        for (size_t i = 0; i < contest->n; i++)
            run_once(bench, &contest->runner[i]);
}

/* ---- printing ---- */

static double yardstick_s(const struct bench_contest *contest, const struct bench_yardstick *yardstick)
{
    for (size_t i = 0; i < contest->n; i++)
        if (contest->runner[i].yardstick == yardstick)
            return contest->runner[i].best_s;
    return 0;
}

/* Of what the others are compared with; 0 without. */
static double base_s(const struct bench *bench, const struct bench_contest *contest)
{
    return bench->n_yardsticks ? yardstick_s(contest, &bench->yardstick[bench->n_yardsticks - 1]) : 0;
}

/* Of the GPU's measured ceiling for such numbers; 0 on a CPU. */
static double share_of(const struct bench *bench, enum numerics numerics, double gflops)
{
    double ceiling = numerics == NUMERICS_F32 ? bench->ceiling.f32 : bench->ceiling.i8 / (numerics == NUMERICS_I8X2 ? 3 : 1);
    return ceiling > 0 ? gflops / ceiling : 0;
}

static void print_number(const char *key, double value)
{
    if (value > 0)
        printf(",\"%s\":%.9g", key, value);
    else
        printf(",\"%s\":null", key);
}

static void print_json(const struct bench *bench, const struct bench_contest *contest, const char *op, const char *shape,
                       double flops)
{
    double base = base_s(bench, contest);
    for (size_t i = 0; i < contest->n; i++) {
        const struct bench_runner *r = &contest->runner[i];
        if (r->yardstick)
            continue;
        printf("{\"op\":\"%s\",\"shape\":\"%s\",\"numerics\":\"%s\",\"isa\":\"%s\",\"threads\":%u", op, shape,
               numerics_name[r->numerics], r->k->name, bench->n_now);
        print_number("gflops", 1e-9 * flops / r->best_s);
        for (size_t j = 0; j < bench->n_yardsticks; j++) {
            char key[32];
            double took = yardstick_s(contest, &bench->yardstick[j]);
            snprintf(key, sizeof key, "%s_gflops", bench->yardstick[j].name);
            print_number(key, took > 0 ? 1e-9 * flops / took : 0);
        }
        print_number("ratio", base / r->best_s);
        if (bench->has_gpu)
            print_number("share", share_of(bench, r->numerics, 1e-9 * flops / r->best_s));
        print_number("seconds", r->best_s);
        puts("}");
    }
}

/* GFLOP/s, or milliseconds where nothing can be counted; and how much faster than the yardstick. */
static void print_cell(double took_s, double base, double flops)
{
    char ratio[16] = "";
    if (base > 0)
        snprintf(ratio, sizeof ratio, "%.2fx", base / took_s);
    printf(flops > 0 ? "  %8.1f %6s" : "  %8.2f %6s", flops > 0 ? 1e-9 * flops / took_s : 1e3 * took_s, ratio);
}

static const struct bench_runner *find(const struct bench_contest *contest, const struct kernels *k, enum numerics numerics)
{
    for (size_t i = 0; i < contest->n; i++)
        if (!contest->runner[i].yardstick && contest->runner[i].k == k && contest->runner[i].numerics == numerics)
            return &contest->runner[i];
    return NULL;
}

static void print_row(const struct bench *bench, const struct bench_contest *contest, enum numerics numerics, double flops)
{
    for (size_t i = 0; i < bench->n_sets; i++) {
        const struct bench_runner *r = find(contest, bench->set[i], numerics);
        if (r)
            print_cell(r->best_s, base_s(bench, contest), flops);
        else
            printf("  %8s %6s", "as left", "");
        double share = r && flops > 0 ? share_of(bench, numerics, 1e-9 * flops / r->best_s) : 0;
        if (share > 0)
            printf(" %4.0f %%", 100 * share);
    }
    putchar('\n');
}

void bench_report(const struct bench *bench, const struct bench_contest *contest, const char *op, const char *shape, double flops)
{
    bool is_first = true;
    if (bench->is_json) {
        print_json(bench, contest, op, shape, flops);
        fflush(stdout);
        return;
    }
    for (size_t n = 0; n < N_NUMERICS; n++) {
        if (!bench->numerics[n])
            continue;
        printf("%-10s %-18s %-5s", is_first ? op : "", is_first ? shape : "", numerics_name[n]);
        for (size_t i = 0; i < bench->n_yardsticks; i++)
            if (is_first)
                print_cell(yardstick_s(contest, &bench->yardstick[i]), 0, flops);
            else
                printf("  %8s %6s", "", "");
        print_row(bench, contest, (enum numerics)n, flops);
        is_first = false;
    }
    fflush(stdout);
}

void bench_report_head(const struct bench *bench, const char *title)
{
    if (bench->is_json)
        return;
    printf("%s", title);
    if (!bench->has_gpu)
        printf(", %u %s", bench->n_now, bench->n_now == 1 ? "thread" : "threads");
    printf("\n%-10s %-18s %-5s", "", "", "");
    for (size_t i = 0; i < bench->n_yardsticks; i++)
        printf("  %8s %6s", bench->yardstick[i].name, "");
    for (size_t i = 0; i < bench->n_sets; i++)
        printf("  %8s %6s", bench->set[i]->name, "");
    putchar('\n');
}

/* ---- memory ---- */

void *bench_take(const struct bench *bench, size_t n, size_t size)
{
    void *memory = bench->memory->allot(n * size);
    if (memory)
        bench->memory->zero(memory, n * size);
    return memory;
}

void *bench_put(const struct bench *bench, const void *from, size_t n, size_t size)
{
    void *memory = from ? bench->memory->allot(n * size) : NULL;
    if (memory)
        bench->memory->put(memory, from, n * size);
    return memory;
}

/* ---- threads ---- */

struct section {
    struct io_work work;
    struct bench *bench;
    int (*run)(struct bench *bench);
    int err;
    pthread_mutex_t lock;
    pthread_cond_t is_over;
    bool is_done;
};

static void run_section(struct io_work *work)
{
    struct section *section = work->owner;
    section->err = section->run(section->bench);
}

static void note_end(void *arg)
{
    struct section *section = arg;
    pthread_mutex_lock(&section->lock);
    section->is_done = true;
    pthread_cond_signal(&section->is_over);
    pthread_mutex_unlock(&section->lock);
}

int bench_with_threads(struct bench *bench, unsigned n, int (*run)(struct bench *bench))
{
    struct section section = {.bench = bench, .run = run, .lock = PTHREAD_MUTEX_INITIALIZER, .is_over = PTHREAD_COND_INITIALIZER};
    struct workers *workers;
    section.work = (struct io_work){.run = run_section, .owner = &section};
    int err = workers_new(n, NULL, false, note_end, &section, &workers);
    if (err)
        return err;
    bench->n_now = n;
    bench->team = workers_team(workers);
#ifdef HAVE_OPENBLAS
    openblas_set_num_threads((int)n);
#endif
    workers_push(workers, &section.work);
    pthread_mutex_lock(&section.lock);
    while (!section.is_done)
        pthread_cond_wait(&section.is_over, &section.lock);
    pthread_mutex_unlock(&section.lock);
    workers_free(workers);
    return section.err;
}
