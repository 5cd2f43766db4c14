/*
 * How far exp, log, rsqrt, sigmoid, silu, sin and cos of kernels/ref/math.h are from the truth, over every float there is.
 *
 *     tests/bench/ulp [function...]      all of them by default; one line each, a thread a processor
 *
 * All 2^32 bit patterns are tried.  Inside a function's domain the error is taken against the libm of float64; outside, the
 * result must be the one that doc/numerics.md states.  sigmoid and silu are also computed by each faster set of the machine, and every bit compared.
 * Exit status 1 when a promise outside the domain or a comparison failed.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "kernels/kernels.h"
#include "tests/kernels/exact.h"

#define THREADS_MAX 64
#define BLOCK 4096u        /* patterns evaluated at once */
#define CHUNK (1ull << 22) /* patterns a thread takes at a time */
#define N_SETS 3

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static bool is_plus_zero(float y)
{
    return bits_of(y) == 0;
}

static bool is_minus_zero(float y)
{
    return bits_of(y) == 0x80000000u;
}

/* One noun of the table below: what is measured, where, and what is promised of everything else. */
struct function {
    const char *name;
    float (*ours)(float);
    double (*exact)(double);
    float least, most; /* the domain */
    bool (*keeps_promise)(float x, float y);
    void (*by_set)(const struct kernels *k, float *y, const float *x, size_t n); /* NULL when no set exposes it */
};

static bool promise_of_exp(float x, float y)
{
    return isnan(x) ? isnan(y) : x < 0.0f ? is_plus_zero(y) : y == INFINITY;
}

static bool promise_of_log(float x, float y)
{
    if (isnan(x) || x == INFINITY)
        return isnan(x) ? isnan(y) : y == INFINITY;
    return fabsf(x) < 0x1p-126f ? y == -INFINITY : isnan(y);
}

static bool promise_of_rsqrt(float x, float y)
{
    if (x == 0.0f)
        return y == (signbit(x) ? -INFINITY : INFINITY);
    return x == INFINITY ? is_plus_zero(y) : isnan(y);
}

static bool promise_of_sigmoid(float x, float y)
{
    return isnan(x) ? isnan(y) : x < 0.0f ? is_plus_zero(y) : y == 1.0f;
}

static bool promise_of_silu(float x, float y)
{
    if (isnan(x) || x == -INFINITY)
        return isnan(y);
    return x < 0.0f ? is_minus_zero(y) : y == INFINITY;
}

/* Of larger angles, and of what another line of the table looks at. */
static bool no_promise(float x, float y)
{
    (void)x, (void)y;
    return true;
}

static void sigmoid_by_set(const struct kernels *k, float *y, const float *x, size_t n)
{
    k->sigmoid(y, x, n);
}

static void silu_by_set(const struct kernels *k, float *y, const float *x, size_t n)
{
    float one[BLOCK];
    for (size_t i = 0; i < n; i++)
        one[i] = 1.0f;
    k->swiglu(y, x, one, n);
}

#define MOST 0x1.fffffep+127f

static const struct function functions[] = {
    {"exp", ref_exp, exp, -87.33f, 88.72f, promise_of_exp, NULL},
    {"log", ref_log, log, 0x1p-126f, MOST, promise_of_log, NULL},
    {"rsqrt", ref_rsqrt, exact_rsqrt, 0x1p-149f, MOST, promise_of_rsqrt, NULL},
    {"sigmoid", ref_sigmoid, exact_sigmoid, -88.72f, MOST, promise_of_sigmoid, sigmoid_by_set},
    {"silu", ref_silu, exact_silu, -88.72f, MOST, promise_of_silu, silu_by_set},
    {"silu", ref_silu, exact_silu, -87.33f, MOST, no_promise, NULL}, /* where its sigmoid is no subnormal */
    {"sin", our_sin, sin, -1e5f, 1e5f, no_promise, NULL},
    {"cos", our_cos, cos, -1e5f, 1e5f, no_promise, NULL},
};

/* What was found, by one thread or by all. */
struct finding {
    double ulps, off; /* the greatest error in ulp and by itself */
    float ulps_at, off_at;
    uint64_t n_inside, n_broken, n_different;
};

struct search {
    const struct function *f;
    const struct kernels *set[N_SETS]; /* NULL: not on this machine */
    _Atomic uint64_t next;
    pthread_mutex_t mutex;
    struct finding found;
};

static void look(struct finding *found, const struct function *f, float x, float y)
{
    if (!(x >= f->least && x <= f->most)) {
        found->n_broken += !f->keeps_promise(x, y);
        return;
    }
    double want = f->exact((double)x), off = fabs((double)y - want);
    double ulps = isfinite(y) ? ulps_off(y, want) : (double)INFINITY;
    found->n_inside++;
    if (ulps > found->ulps) {
        found->ulps = ulps;
        found->ulps_at = x;
    }
    if (off > found->off) {
        found->off = off;
        found->off_at = x;
    }
}

static void look_at_block(struct finding *found, const struct search *search, uint32_t first)
{
    float x[BLOCK], y[BLOCK], other[BLOCK];
    for (uint32_t i = 0; i < BLOCK; i++) {
        x[i] = float_of(first + i);
        y[i] = search->f->ours(x[i]);
        look(found, search->f, x[i], y[i]);
    }
    for (int s = 0; s < N_SETS; s++) {
        if (!search->f->by_set || !search->set[s])
            continue;
        search->f->by_set(search->set[s], other, x, BLOCK);
        for (uint32_t i = 0; i < BLOCK; i++)
            found->n_different += bits_of(y[i]) != bits_of(other[i]) && !(isnan(y[i]) && isnan(other[i]));
    }
}

static void join(struct finding *all, const struct finding *one)
{
    if (one->ulps > all->ulps) {
        all->ulps = one->ulps;
        all->ulps_at = one->ulps_at;
    }
    if (one->off > all->off) {
        all->off = one->off;
        all->off_at = one->off_at;
    }
    all->n_inside += one->n_inside;
    all->n_broken += one->n_broken;
    all->n_different += one->n_different;
}

static void *walk(void *arg)
{
    struct search *search = arg;
    struct finding found = {0};
    for (;;) {
        uint64_t first = atomic_fetch_add(&search->next, CHUNK);
        if (first > UINT32_MAX)
            break;
        for (uint64_t at = first; at < first + CHUNK; at += BLOCK)
            look_at_block(&found, search, (uint32_t)at);
    }
    pthread_mutex_lock(&search->mutex);
    join(&search->found, &found);
    pthread_mutex_unlock(&search->mutex);
    return NULL;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void print_sets(const struct search *search)
{
    for (int s = 0; search->f->by_set && s < N_SETS; s++)
        if (search->set[s])
            printf(", %s", search->set[s]->name);
    if (search->f->by_set)
        printf(" differ in %llu", (unsigned long long)search->found.n_different);
}

/* Walks all patterns; false when a promise or a comparison failed. */
static bool measure(const struct function *f, const struct kernels *const set[N_SETS])
{
    struct search search = {.f = f, .set = {set[0], set[1], set[2]}, .mutex = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread[THREADS_MAX];
    long n_processors = sysconf(_SC_NPROCESSORS_ONLN);
    int n_threads = n_processors > THREADS_MAX ? THREADS_MAX : n_processors < 1 ? 1 : (int)n_processors, n = 0;
    double began = now_s();
    while (n < n_threads && pthread_create(&thread[n], NULL, walk, &search) == 0)
        n++;
    if (n == 0)
        walk(&search);
    while (n > 0)
        pthread_join(thread[--n], NULL);
    const struct finding *found = &search.found;
    printf("%-8s %.8g .. %.8g, %llu floats: %.4f ulp at %a, %.3g at %a; beyond: %llu not as promised", f->name, (double)f->least,
           (double)f->most, (unsigned long long)found->n_inside, found->ulps, (double)found->ulps_at, found->off,
           (double)found->off_at, (unsigned long long)found->n_broken);
    print_sets(&search);
    printf("; %.0f s\n", now_s() - began);
    fflush(stdout);
    return found->n_broken == 0 && found->n_different == 0;
}

static bool is_asked(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return argc == 1;
}

static void say_nothing(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

int main(int argc, char **argv)
{
    static const char *const names[N_SETS] = {"avx2", "avx512", "neon"};
    const struct kernels *set[N_SETS];
    bool is_good = true, is_known = argc == 1;
    log_set_sink(say_nothing, NULL); /* of sets for other machines */
    for (int s = 0; s < N_SETS; s++)
        if (kernels_choose(names[s], &set[s]))
            set[s] = NULL;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (!is_asked(functions[i].name, argc, argv))
            continue;
        is_known = true;
        is_good &= measure(&functions[i], set);
    }
    if (!is_known) {
        fprintf(stderr, "usage: tests/bench/ulp [exp | log | rsqrt | sigmoid | silu | sin | cos]...\n");
        return 64;
    }
    return is_good ? 0 : 1;
}
