/* cmd/bench_experts.c - what an expert does all day: forward, backward, update. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "cmd/bench.h"
#include "experts/expert.h"

/* Experts and batches of small runs and of large ones. */
static const struct shape {
    uint32_t D, H;
    size_t n;
} shapes[] = {{128, 384, 512}, {512, 2048, 512}, {1024, 4096, 512}, {1024, 4096, 2048}};

enum phase { FORWARD, BACKWARD, UPDATE, ALL, N_PHASES };

/* 2 M N K summed over the products: 3 of a forward; a backward makes the 2 into the hidden width anew, 1 and 2 for the gradients of
 * hidden values and rows, 3 for those of weights.  An update is no product. */
static const char *const phase_name[N_PHASES] = {"forward", "backward", "update", "all three"};
static const double phase_products[N_PHASES] = {3, 8, 0, 11};

/* One contestant's expert with its rows. */
struct candidate {
    struct expert *x;
    struct rows rows, gy;
    void *work;
    float *y, *gx;
    int8_t *bytes; /* of integer rows */
    double best_s[N_PHASES];
    int err;
};

struct trial {
    const struct bench *bench;
    const struct shape *shape;
    float *rows, *gy;
    struct candidate candidate[BENCH_RUNNERS_MAX];
    const struct bench_contest *contest;
};

static struct expert_config config_of(const struct shape *s, enum numerics numerics)
{
    return (struct expert_config){.D = s->D,
                                  .H = s->H,
                                  .lr = 1e-4f,
                                  .beta1 = 0.99f,
                                  .beta2 = 0.99f,
                                  .eps = 1e-8f,
                                  .slots_per_update = (uint32_t)s->n,
                                  .max_staleness = 8,
                                  .numerics = numerics};
}

/* Rows as they come from the wire: floats, or rounded. */
static void set_rows(struct rows *rows, const float *x, int8_t *bytes, const struct kernels *k, const struct shape *s,
                     size_t n_slices)
{
    size_t n = s->n * s->D;
    if (n_slices == 0) {
        *rows = (struct rows){.f32 = x};
        return;
    }
    int8_t *low = n_slices == 2 ? bytes + n : NULL, *exponent = bytes + n_slices * n;
    *rows = (struct rows){.exponent = exponent, .high = bytes, .low = low};
    k->quantize_rows(bytes, low, exponent, x, s->D, NULL, s->n, s->D);
}

static int candidate_init(struct candidate *c, const struct trial *trial, const struct bench_runner *r)
{
    const struct shape *s = trial->shape;
    static const struct hash birth;
    struct expert_config config = config_of(s, r->numerics);
    size_t n_slices = numerics_slices(r->numerics), row_bytes = s->n * (n_slices * s->D + 1);
    int err = expert_new(&config, r->k, &birth, "L0.0", &c->x);
    if (err)
        return err;
    expert_share(c->x, r->yardstick || r->k->is_device ? NULL : trial->bench->team); /* OpenBLAS has threads of its own */
    c->work = bench_take(trial->bench, expert_work_bytes(c->x, s->n), 1);
    c->y = bench_take(trial->bench, s->n * s->D, sizeof(float));
    c->gx = bench_take(trial->bench, s->n * s->D, sizeof(float));
    c->bytes = bench_take(trial->bench, 2 * row_bytes, 1);
    if (!c->work || !c->y || !c->gx || !c->bytes)
        return HANSE_ENOMEM;
    set_rows(&c->rows, trial->rows, c->bytes, r->k, s, n_slices);
    set_rows(&c->gy, trial->gy, c->bytes + row_bytes, r->k, s, n_slices);
    return 0;
}

static void candidate_fini(struct candidate *c, const struct kernels *memory)
{
    expert_free(c->x);
    memory->release(c->work);
    memory->release(c->y);
    memory->release(c->gx);
    memory->release(c->bytes);
}

static void note(struct candidate *c, enum phase phase, double took_s)
{
    if (c->best_s[phase] == 0 || took_s < c->best_s[phase])
        c->best_s[phase] = took_s;
}

/* The whole is noted as a whole: its best is no sum of bests. */
static void run_step(void *arg)
{
    struct trial *trial = arg;
    struct candidate *c = &trial->candidate[bench_current() - trial->contest->runner];
    uint64_t staleness;
    double at[N_PHASES];
    at[0] = bench_now_s(trial->bench);
    c->err = expert_forward(c->x, c->y, &c->rows, c->work, trial->shape->n);
    at[1] = bench_now_s(trial->bench);
    if (!c->err)
        c->err = expert_backward(c->x, c->gx, &c->rows, &c->gy, NULL, c->work, trial->shape->n, c->x->version, 1, &staleness);
    at[2] = bench_now_s(trial->bench);
    if (!c->err)
        c->err = expert_update(c->x);
    at[3] = bench_now_s(trial->bench);
    for (int phase = FORWARD; phase < ALL; phase++)
        note(c, (enum phase)phase, at[phase + 1] - at[phase]);
    note(c, ALL, at[3] - at[0]);
}

static int fill(struct trial *trial)
{
    size_t n = trial->shape->n * trial->shape->D;
    struct rng rng;
    float *rows = malloc(n * sizeof *rows), *gy = malloc(n * sizeof *gy);
    rng_init(&rng, 1, "bench");
    for (size_t i = 0; rows && gy && i < n; i++) {
        rows[i] = rng_unit(&rng) - 0.5f;
        gy[i] = 0.01f * (rng_unit(&rng) - 0.5f);
    }
    trial->rows = bench_put(trial->bench, rows, n, sizeof *rows);
    trial->gy = bench_put(trial->bench, gy, n, sizeof *gy);
    free(rows);
    free(gy);
    return trial->rows && trial->gy ? 0 : HANSE_ENOMEM;
}

static void report(const struct bench *bench, struct trial *trial, struct bench_contest *contest)
{
    char text[48];
    const struct shape *s = trial->shape;
    snprintf(text, sizeof text, "%zu of %ux%u", s->n, s->D, s->H);
    for (int phase = 0; phase < N_PHASES; phase++) {
        for (size_t i = 0; i < contest->n; i++)
            contest->runner[i].best_s = trial->candidate[i].best_s[phase];
        bench_report(bench, contest, phase_name[phase], text, 2.0 * (double)s->n * s->D * s->H * phase_products[phase]);
    }
}

static int bench_shape(struct bench *bench, const struct shape *s)
{
    struct trial trial = {.bench = bench, .shape = s};
    struct bench_contest contest = {.n = 0};
    bench_enter_all(bench, &contest, run_step, &trial);
    trial.contest = &contest;
    int err = fill(&trial);
    for (size_t i = 0; i < contest.n && !err; i++)
        err = candidate_init(&trial.candidate[i], &trial, &contest.runner[i]);
    if (!err)
        bench_compete(bench, &contest);
    for (size_t i = 0; i < contest.n && !err; i++)
        err = trial.candidate[i].err;
    if (!err)
        report(bench, &trial, &contest);
    for (size_t i = 0; i < contest.n; i++)
        candidate_fini(&trial.candidate[i], bench->memory);
    bench->memory->release(trial.rows);
    bench->memory->release(trial.gy);
    return err;
}

int bench_experts(struct bench *bench)
{
    int err = 0;
    bench_report_head(bench, bench->has_gpu
                                 ? "experts, rows of D x H: GFLOP/s (updates: ms), and times the same expert on cuBLAS's bf16"
                                 : "experts, rows of D x H: GFLOP/s (updates: ms), and times the same expert in f32 on "
                                   "OpenBLAS");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes && !err; i++)
        err = bench_shape(bench, &shapes[i]);
    return err;
}
