/*
 * Trains a run in one process, trunk and experts joined by plain calls: how fast the arithmetic is without a network, and what
 * a set of learning rates is worth.
 *
 *     tests/bench/bench_model_train RUN.YAML TEXT SECONDS THREADS [ISA]
 *     tests/bench/bench_model_train RUN.YAML TEXT 400steps THREADS [ISA]     to compare settings on a busy machine
 *
 * Microbatches go to threads as they become free, so the order of the experts' updates, and the curve, are not repeatable.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "experts/expert.h"
#include "kernels/ref/gate.h"
#include "model/data.h"
#include "model/optimizer.h"
#include "router/rows.h"

#define THREADS_MAX 16
#define BITS_PER_NAT 1.4426950408889634

struct place {
    pthread_mutex_t mutex;
    struct expert *expert;
};

struct bench {
    struct run run;
    struct data data;
    const struct kernels *kernels;
    struct trunk *trunk;
    struct optimizer *optimizer;
    struct trunk_tape **tape; /* of each microbatch */
    struct place *place;      /* (n_moe, experts) */
    float *bias;              /* (n_moe, experts) */
    uint64_t *load;           /* (n_moe, experts) token-slots of this step */
    float lr_scale;
    uint64_t step;
    size_t next; /* microbatch nobody has taken */
    pthread_mutex_t mutex;
};

/* What one thread needs to gather an expert's rows. */
struct desk {
    float *rows, *out, *grad, *weight;
    void *bytes[3]; /* rows, gradients and answers as they would travel */
    void *work;
    uint32_t *slot;
};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void *must(void *memory)
{
    if (!memory) {
        fprintf(stderr, "out of memory\n");
        exit(70);
    }
    return memory;
}

static void must_be_0(int err)
{
    if (err) {
        fprintf(stderr, "%s\n", hanse_strerror(err));
        exit(hanse_exit_status(err));
    }
}

static struct expert_config config_of(const struct run *run)
{
    return (struct expert_config){.D = run->latent,
                                  .H = run->expert_hidden,
                                  .lr = run->expert_lr,
                                  .beta1 = run->expert_beta1,
                                  .beta2 = run->expert_beta2,
                                  .eps = 1e-8f,
                                  .weight_decay = run->expert_weight_decay,
                                  .clip = run->expert_clip,
                                  .warmup_updates = run->expert_warmup,
                                  .slots_per_update = run->slots_per_update,
                                  .max_staleness = run->max_staleness,
                                  .numerics = run->expert_numerics,
                                  .coarse = run->expert_coarse};
}

static void desk_init(struct desk *desk, const struct bench *bench, size_t N)
{
    size_t n = N * bench->run.latent;
    desk->rows = must(malloc(n * sizeof(float)));
    desk->out = must(malloc(n * sizeof(float)));
    desk->grad = must(malloc(n * sizeof(float)));
    for (size_t i = 0; i < 3; i++)
        desk->bytes[i] = must(malloc(rows_bytes(NUMERICS_I8X2, N, bench->run.latent)));
    desk->work = must(arena_aligned(1, expert_work_bytes(bench->place[0].expert, N)));
    desk->weight = must(malloc(N * sizeof(float)));
    desk->slot = must(malloc(N * sizeof(uint32_t)));
}

/* The slots of one expert, and the rows they name. */
static size_t gather(struct desk *desk, const struct bench *bench, const struct trunk_tape *tape,
                     const struct trunk_exchange *exchange, int32_t e)
{
    size_t n = 0, K = bench->run.chosen, D = bench->run.latent;
    for (size_t slot = 0; slot < tape->N * K; slot++)
        if (exchange->pick[slot] == e) {
            memcpy(desk->rows + n * D, exchange->x + slot / K * D, D * sizeof(float));
            desk->slot[n++] = (uint32_t)slot;
        }
    return n;
}

/* Rows in the run's form, rounded as a trainer does. */
static struct rows travelling(const struct bench *bench, void *bytes, const float *from, size_t n)
{
    enum numerics form = bench->run.expert_numerics;
    struct rows rows = rows_at(form, form == NUMERICS_F32 ? (const void *)from : bytes, n, bench->run.latent);
    if (form != NUMERICS_F32)
        rows_round(bench->kernels, &rows, from, n, bench->run.latent);
    return rows;
}

/* What becomes of an answer on its way. */
static void return_answer(const struct bench *bench, struct desk *desk, size_t n)
{
    if (bench->run.expert_numerics == NUMERICS_F32)
        return;
    struct rows rows = rows_at(NUMERICS_I8X2, desk->bytes[2], n, bench->run.latent);
    rows_round(bench->kernels, &rows, desk->out, n, bench->run.latent);
    rows_floats(bench->kernels, desk->out, &rows, n, bench->run.latent);
}

static void ask_forward(struct bench *bench, struct desk *desk, struct trunk_tape *tape, size_t moe)
{
    size_t E = bench->run.experts, D = bench->run.latent, K = bench->run.chosen;
    struct trunk_exchange *exchange = &tape->exchange[moe];
    uint8_t *allowed = must(malloc(E));
    memset(allowed, 1, E);
    ref_gate_topk(exchange->pick, exchange->score, bench->bias + moe * E, allowed, tape->N, K, E);
    free(allowed);
    memset(exchange->answered, 1, tape->N * K);
    for (size_t e = 0; e < E; e++) {
        struct place *place = &bench->place[moe * E + e];
        size_t n = gather(desk, bench, tape, exchange, (int32_t)e);
        pthread_mutex_lock(&place->mutex);
        bench->load[moe * E + e] += n;
        struct rows rows = travelling(bench, desk->bytes[0], desk->rows, n);
        must_be_0(n ? expert_forward(place->expert, desk->out, &rows, desk->work, n) : 0);
        pthread_mutex_unlock(&place->mutex);
        return_answer(bench, desk, n);
        for (size_t i = 0; i < n; i++)
            memcpy(exchange->y + desk->slot[i] * D, desk->out + i * D, D * sizeof(float));
    }
}

static void ask_backward(struct bench *bench, struct desk *desk, struct trunk_tape *tape, size_t moe)
{
    size_t E = bench->run.experts, D = bench->run.latent, K = bench->run.chosen;
    struct trunk_exchange *exchange = &tape->exchange[moe];
    for (size_t e = 0; e < E; e++) {
        struct place *place = &bench->place[moe * E + e];
        size_t n = gather(desk, bench, tape, exchange, (int32_t)e);
        uint64_t staleness;
        for (size_t i = 0; i < n; i++) {
            desk->weight[i] = exchange->weight[desk->slot[i]];
            memcpy(desk->grad + i * D, exchange->gout + desk->slot[i] / K * D, D * sizeof(float));
        }
        struct rows rows = travelling(bench, desk->bytes[0], desk->rows, n),
                    gy = travelling(bench, desk->bytes[1], desk->grad, n);
        pthread_mutex_lock(&place->mutex);
        must_be_0(n ? expert_backward(place->expert, desk->out, &rows, &gy, desk->weight, desk->work, n, place->expert->version,
                                      bench->lr_scale, &staleness)
                    : 0);
        if (expert_update_due(place->expert))
            must_be_0(expert_update(place->expert));
        pthread_mutex_unlock(&place->mutex);
        return_answer(bench, desk, n);
        for (size_t i = 0; i < n; i++)
            memcpy(exchange->gx + desk->slot[i] * D, desk->out + i * D, D * sizeof(float));
    }
}

static void forward(struct bench *bench, struct desk *desk, struct trunk_tape *tape)
{
    for (size_t s = 0; s <= bench->run.n_moe; s++) {
        must_be_0(trunk_forward(bench->trunk, tape, s));
        if (s < bench->run.n_moe)
            ask_forward(bench, desk, tape, s);
    }
}

static void backward(struct bench *bench, struct desk *desk, struct trunk_tape *tape)
{
    for (size_t s = bench->run.n_moe;; s--) {
        must_be_0(trunk_backward(bench->trunk, tape, s, (float)tape->N));
        if (s == 0)
            return;
        ask_backward(bench, desk, tape, s - 1);
    }
}

static size_t take(struct bench *bench)
{
    pthread_mutex_lock(&bench->mutex);
    size_t i = bench->next++;
    pthread_mutex_unlock(&bench->mutex);
    return i;
}

struct worker {
    struct bench *bench;
    struct desk desk;
    size_t index, n_workers;
    pthread_t thread;
};

static void *work_micro(void *arg)
{
    struct worker *worker = arg;
    struct bench *bench = worker->bench;
    for (size_t i; (i = take(bench)) < bench->run.microbatches;) {
        struct trunk_tape *tape = bench->tape[i];
        trunk_tape_clear(tape);
        data_batch(&bench->data, 1, bench->step, i * tape->B, tape->B, tape->T, tape->token, tape->target);
        forward(bench, &worker->desk, tape);
        backward(bench, &worker->desk, tape);
    }
    return NULL;
}

static void *work_update(void *arg)
{
    struct worker *worker = arg;
    must_be_0(optimizer_part(worker->bench->optimizer, worker->index, worker->n_workers));
    return NULL;
}

static void on_all(struct worker *worker, size_t n, void *(*work)(void *arg))
{
    for (size_t i = 1; i < n; i++)
        must_be_0(pthread_create(&worker[i].thread, NULL, work, &worker[i]) ? HANSE_ENOMEM : 0);
    work(&worker[0]);
    for (size_t i = 1; i < n; i++)
        pthread_join(worker[i].thread, NULL);
}

static void balance(struct bench *bench)
{
    size_t E = bench->run.experts;
    for (size_t moe = 0; moe < bench->run.n_moe; moe++) {
        uint64_t sum = 0;
        for (size_t e = 0; e < E; e++)
            sum += bench->load[moe * E + e];
        for (size_t e = 0; e < E; e++) {
            uint64_t load = E * bench->load[moe * E + e];
            bench->bias[moe * E + e] += load < sum ? bench->run.bias_rate : load > sum ? -bench->run.bias_rate : 0.0f;
        }
    }
    memset(bench->load, 0, bench->run.n_moe * E * sizeof *bench->load);
}

static void open_bench(struct bench *bench, const char *run_file, const char *text_file, const char *isa)
{
    struct run *run = &bench->run;
    must_be_0(run_read(run_file, run));
    must_be_0(data_read(text_file, run->context, &bench->data));
    must_be_0(kernels_choose(isa, &bench->kernels));
    must_be_0(trunk_new(run, bench->kernels, &bench->trunk));
    must_be_0(optimizer_new(bench->trunk, &bench->optimizer));
    bench->tape = must(calloc(run->microbatches, sizeof *bench->tape));
    for (size_t i = 0; i < run->microbatches; i++)
        must_be_0(
            trunk_tape_new(bench->trunk, run->batch / run->microbatches, run->context, true, NUMERICS_F32, &bench->tape[i]));
    size_t n = (size_t)run->n_moe * run->experts + 1;
    bench->place = must(calloc(n, sizeof *bench->place));
    bench->bias = must(calloc(n, sizeof *bench->bias));
    bench->load = must(calloc(n, sizeof *bench->load));
    struct expert_config config = config_of(run);
    for (uint32_t i = 0; i + 1 < n; i++) {
        char name[32];
        run_expert_name(name, i / run->experts, i % run->experts);
        must_be_0(expert_new(&config, bench->kernels, &run->birth, name, &bench->place[i].expert));
        pthread_mutex_init(&bench->place[i].mutex, NULL);
    }
    pthread_mutex_init(&bench->mutex, NULL);
}

/* Bits per byte over every `every`th window of the last 10 %. */
static double evaluate(struct bench *bench, struct worker *worker, size_t every)
{
    struct trunk_tape *tape;
    size_t T = bench->run.context, n = 0;
    double sum = 0;
    must_be_0(trunk_tape_new(bench->trunk, 1, T, false, NUMERICS_F32, &tape));
    for (size_t w = 0; w < data_n_windows(&bench->data, T); w += every) {
        size_t first, n_counted;
        data_window(&bench->data, T, w, tape->token, tape->target, &first, &n_counted);
        forward(bench, &worker->desk, tape);
        for (size_t t = first; t < first + n_counted; t++)
            sum += (double)tape->loss[t];
        n += n_counted;
    }
    trunk_tape_free(tape);
    return sum / (double)n * BITS_PER_NAT;
}

static double mean_loss(const struct bench *bench)
{
    double sum = 0;
    for (size_t i = 0; i < bench->run.microbatches; i++)
        sum += trunk_tape_loss(bench->tape[i]);
    return sum / bench->run.microbatches;
}

static void train(struct bench *bench, struct worker *worker, size_t n_workers, const char *length)
{
    char *unit;
    double most = strtod(length, &unit);
    double start = now_s(), next_line = start + 5, updating = 0, loss = 0;
    size_t n_tokens = (size_t)bench->run.batch * bench->run.context, since = 0;
    double line_s = start;
    for (;; bench->step++) {
        double progress = (strcmp(unit, "steps") == 0 ? (double)bench->step : now_s() - start) / most;
        if (progress >= 1)
            return;
        int err;
        bench->lr_scale = optimizer_schedule(&bench->run, bench->step, progress);
        bench->next = 0;
        on_all(worker, n_workers, work_micro);
        double before = now_s();
        float norm = optimizer_begin(bench->optimizer, bench->tape, bench->run.microbatches, bench->lr_scale,
                                     1.0f / (float)n_tokens, &err);
        if (!err)
            on_all(worker, n_workers, work_update);
        updating += now_s() - before;
        balance(bench);
        loss = bench->step == 0 ? mean_loss(bench) : 0.95 * loss + 0.05 * mean_loss(bench);
        since++;
        double now = now_s();
        if (now >= next_line) {
            printf("%6.1f s  step %5llu  loss %.4f  %.0f tokens/s  gradient %.3f  update %.0f %% of the time\n", now - start,
                   (unsigned long long)bench->step, loss, (double)(since * n_tokens) / (now - line_s), (double)norm,
                   100 * updating / (now - line_s));
            fflush(stdout);
            next_line = now + 10;
            line_s = now;
            since = 0;
            updating = 0;
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: %s RUN.YAML TEXT SECONDS|NNNsteps THREADS [ISA]\n", argv[0]);
        return 64;
    }
    static struct bench bench;
    static struct worker worker[THREADS_MAX];
    size_t n_workers = strtoul(argv[4], NULL, 10);
    if (n_workers < 1 || n_workers > OPTIMIZER_PARTS_MAX)
        return 64;
    open_bench(&bench, argv[1], argv[2], argc > 5 ? argv[5] : NULL);
    for (size_t i = 0; i < n_workers; i++) {
        worker[i] = (struct worker){.bench = &bench, .index = i, .n_workers = n_workers};
        desk_init(&worker[i].desk, &bench, (size_t)bench.run.batch * bench.run.context);
    }
    printf("%s: trunk %zu, expert %zu, active %zu parameters\n", bench.kernels->name, run_trunk_params(&bench.run),
           run_expert_params(&bench.run), run_active_params(&bench.run));
    train(&bench, worker, n_workers, argv[3]);
    printf("%llu steps, %.3f bits per byte on a sample of the last tenth\n", (unsigned long long)bench.step,
           evaluate(&bench, worker, 16));
    return 0;
}
