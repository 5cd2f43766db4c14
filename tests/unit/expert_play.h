/**
 * tests/unit/expert_play.h - a small expert and rows for it, for the tests of experts/.
 */
#ifndef TESTS_EXPERT_PLAY_H
#define TESTS_EXPERT_PLAY_H

#include <string.h>

#include "base/random.h"
#include "experts/integers.h"
#include "experts/log.h"
#include "unit.h"

#define PLAY_ROWS_MAX 64
#define PLAY_WIDTH_MAX 48

static inline struct expert_config play_config(uint32_t D, uint32_t H)
{
    return (struct expert_config){.D = D,
                                  .H = H,
                                  .lr = 1e-2f,
                                  .beta1 = 0.99f,
                                  .beta2 = 0.95f,
                                  .eps = 1e-8f,
                                  .weight_decay = 0.1f,
                                  .clip = 1,
                                  .warmup_updates = 10,
                                  .slots_per_update = 8,
                                  .max_staleness = 20};
}

static inline const struct kernels *play_kernels(const char *isa)
{
    const struct kernels *k = NULL;
    return kernels_choose(isa, &k) == 0 ? k : NULL;
}

static inline struct expert *play_expert(const char *isa, const struct expert_config *config, const char *name)
{
    struct hash run = hash_bytes("a run", 5);
    struct expert *x;
    ck_assert_int_eq(expert_new(config, play_kernels(isa), &run, name, &x), 0);
    return x;
}

/** Rows of magnitude about 1; the gradients about 1/16. */
struct play_rows {
    float x[PLAY_ROWS_MAX * PLAY_WIDTH_MAX], gy[PLAY_ROWS_MAX * PLAY_WIDTH_MAX], gx[PLAY_ROWS_MAX * PLAY_WIDTH_MAX];
    _Alignas(64) float work[1 << 15];
    size_t n;
};

/** Rows as an expert takes them: the floats, or their integers. */
struct play_integers {
    int8_t exponent[PLAY_ROWS_MAX], high[PLAY_ROWS_MAX * PLAY_WIDTH_MAX], low[PLAY_ROWS_MAX * PLAY_WIDTH_MAX];
};

static inline struct rows play_round(const struct expert *x, struct play_integers *to, const float *from, size_t n)
{
    if (x->config.numerics == NUMERICS_F32)
        return (struct rows){.f32 = from};
    int8_t *low = x->config.numerics == NUMERICS_I8X2 ? to->low : NULL;
    x->kernels->quantize_rows(to->high, low, to->exponent, from, x->config.D, NULL, n, x->config.D);
    return (struct rows){.exponent = to->exponent, .high = to->high, .low = low};
}

/** expert_forward() and expert_backward() of rows of floats. */
static inline int play_forward(const struct expert *x, float *y, const float *rows, void *work, size_t n)
{
    struct play_integers integers;
    struct rows in = play_round(x, &integers, rows, n);
    return expert_forward(x, y, &in, work, n);
}
static inline int play_grad(struct expert *x, float *gx, const float *rows, const float *gy, void *work, size_t n,
                            uint64_t version, float lr_scale, uint64_t *staleness)
{
    struct play_integers of_x, of_gy;
    struct rows in = play_round(x, &of_x, rows, n), grad = play_round(x, &of_gy, gy, n);
    ck_assert_uint_le(expert_work_bytes(x, n), sizeof((struct play_rows *)0)->work);
    return expert_backward(x, gx, &in, &grad, NULL, work, n, version, lr_scale, staleness);
}

static inline void play_draw(struct play_rows *rows, struct rng *rng, size_t n, size_t D)
{
    ck_assert(n <= PLAY_ROWS_MAX && D <= PLAY_WIDTH_MAX);
    rows->n = n;
    for (size_t i = 0; i < n * D; i++) {
        rows->x[i] = 4 * rng_unit(rng) - 2;
        rows->gy[i] = (rng_unit(rng) - 0.5f) / 8;
    }
}

static inline void play_backward(struct expert *x, struct play_rows *rows, uint64_t version)
{
    uint64_t staleness;
    ck_assert_int_eq(play_grad(x, rows->gx, rows->x, rows->gy, rows->work, rows->n, version, 0.7f, &staleness), 0);
}

static inline void play_add_block(struct hash_stream *s, const struct expert *x)
{
    const struct integers_block *b = &x->integers->block;
    size_t n = b->n, n_values = n * x->config.D, hidden_bytes = n * x->config.H * sizeof(float);
    const struct {
        const void *at;
        size_t n_bytes;
    } part[] = {{&b->n, sizeof b->n},
                {b->x_exponent, n},
                {b->x_high, n_values},
                {b->gy_exponent, n},
                {b->gy_high, n_values},
                {b->grad.gg, hidden_bytes},
                {b->grad.gu, hidden_bytes},
                {b->grad.h, hidden_bytes},
                {b->x_low, b->x_low ? n_values : 0},
                {b->gy_low, b->gy_low ? n_values : 0}};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (part[i].n_bytes > 0)
            hash_add(s, part[i].at, part[i].n_bytes);
}

/** Everything that decides later bits, as one hash. */
static inline struct hash play_state(const struct expert *x)
{
    struct hash_stream s;
    size_t bytes = expert_n_params(&x->config) * sizeof(float);
    const float scalar[3] = {x->lr_scale_sum, x->beta1_power, x->beta2_power};
    const uint64_t count[3] = {x->version, x->n_slots, x->grad_slots};
    hash_begin(&s);
    hash_add(&s, x->param, bytes);
    hash_add(&s, x->moment1, bytes);
    hash_add(&s, x->moment2, bytes);
    hash_add(&s, x->grad, bytes);
    hash_add(&s, scalar, sizeof scalar);
    hash_add(&s, count, sizeof count);
    if (x->integers)
        play_add_block(&s, x);
    return hash_end(&s);
}

/** Backwards and updates as they fall due, all drawn from `seed`. */
static inline void play_train(struct expert *x, uint64_t seed, size_t n_updates)
{
    struct play_rows rows;
    struct rng rng;
    rng_init(&rng, seed, "play");
    for (uint64_t end = x->version + n_updates; x->version < end;) {
        uint64_t back = rng_below(&rng, 4);
        play_draw(&rows, &rng, 1 + rng_below(&rng, 7), x->config.D);
        play_backward(x, &rows, x->version > back ? x->version - back : 0);
        if (expert_update_due(x))
            ck_assert_int_eq(expert_update(x), 0);
    }
}

#endif
