/**
 * tests/unit/batch_play.h - requests for one expert, of which a third are backwards and some are bad, and an expert that is asked.
 */
#ifndef TESTS_UNIT_BATCH_PLAY_H
#define TESTS_UNIT_BATCH_PLAY_H

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "experts/log.h"
#include "node/host_batch.h"
#include "unit.h"

#define WIDTH 8
#define N_ROWS 48
#define N_ITEMS 60
#define SLOTS_MAX 24

static const struct expert_config config = {.D = WIDTH,
                                            .H = 16,
                                            .lr = 0.01f,
                                            .beta1 = 0.9f,
                                            .beta2 = 0.99f,
                                            .eps = 1e-8f,
                                            .clip = 1,
                                            .slots_per_update = 100,
                                            .max_staleness = 4};

/* A list of items and all that they point to. */
struct script {
    struct batch_item item[N_ITEMS];
    struct message_group group[N_ITEMS];
    uint32_t row[N_ITEMS][SLOTS_MAX];
    float weight[N_ITEMS][SLOTS_MAX];
    float values[N_ITEMS][SLOTS_MAX * (WIDTH + 2)]; /* room in any form */
    float floats[3][N_ROWS * WIDTH], bytes[3][N_ROWS * (WIDTH + 2)];
    struct rows x, gy, bad; /* floats, or in bytes */
};

static enum numerics form;

static const struct peer_id caller = {{3}};
static struct hash run;
static const struct kernels *kernels;

static inline struct expert *new_expert(void)
{
    struct expert_config numbered = config;
    struct expert *x;
    numbered.numerics = form;
    ck_assert_int_eq(expert_new(&numbered, kernels, &run, "L0.3", &x), 0);
    return x;
}

/* Rows in the experts' form; integers go to `bytes`. */
static inline struct rows travelling(const float *from, void *bytes, size_t n)
{
    struct rows rows = rows_at(form, form == NUMERICS_F32 ? (const void *)from : bytes, n, WIDTH);
    if (form != NUMERICS_F32)
        rows_round(kernels, &rows, from, n, WIDTH);
    return rows;
}

/* Whether values are what these floats become on their way. */
static inline bool is_made_of(const struct rows *values, const float *floats, size_t n)
{
    static float bytes[SLOTS_MAX * (WIDTH + 2)];
    struct rows rows = {.f32 = floats};
    ck_assert_uint_le(n, SLOTS_MAX);
    if (form != NUMERICS_F32) {
        rows = rows_at(NUMERICS_I8X2, bytes, n, WIDTH);
        ck_assert_int_eq(rows_round(kernels, &rows, floats, n, WIDTH), 0);
    }
    return rows_equal(values, &rows, n, WIDTH);
}

static inline float draw(struct rng *rng)
{
    return rng_unit(rng) * 2 - 1;
}

/* A third backwards, versions near what the expert's will be, now and then a row that is not finite. */
static inline void draw_item(struct script *s, size_t i, struct rng *rng)
{
    bool is_backward = rng_below(rng, 3) == 0, is_bad = rng_below(rng, 12) == 0;
    s->group[i] =
        (struct message_group){.n_slots = (uint32_t)(1 + rng_below(rng, SLOTS_MAX)), .row = s->row[i], .weight = s->weight[i]};
    s->group[i].values = rows_at(rows_answer_form(form), s->values[i], s->group[i].n_slots, WIDTH);
    uint32_t first = (uint32_t)rng_below(rng, N_ROWS - SLOTS_MAX), step = rng_below(rng, 2) ? 1 : 5;
    for (uint32_t j = 0; j < SLOTS_MAX; j++) {
        s->row[i][j] = (first + step * j) % N_ROWS;
        s->weight[i][j] = draw(rng);
    }
    s->item[i] = (struct batch_item){.group = &s->group[i],
                                     .x = is_bad && !is_backward ? s->bad : s->x,
                                     .gy = is_bad ? s->bad : s->gy,
                                     .is_backward = is_backward,
                                     .version = rng_below(rng, 4) ? 0 : rng_below(rng, 8),
                                     .lr_scale = rng_below(rng, 4) ? 1 : 0.5f,
                                     .is_done_before = rng_below(rng, 10) == 0,
                                     .caller = &caller,
                                     .call = i};
}

static inline void draw_script(struct script *s, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, "script");
    memset(s, 0, sizeof *s);
    for (size_t i = 0; i < N_ROWS * WIDTH; i++) {
        s->floats[0][i] = draw(&rng);
        s->floats[1][i] = draw(&rng);
        s->floats[2][i] = i / WIDTH % 3 == 1 ? NAN : draw(&rng);
    }
    s->x = travelling(s->floats[0], s->bytes[0], N_ROWS);
    s->gy = travelling(s->floats[1], s->bytes[1], N_ROWS);
    s->bad = travelling(s->floats[2], s->bytes[2], N_ROWS);
    for (size_t i = 0; i < N_ITEMS; i++)
        draw_item(s, i, &rng);
}

/* Computes the items in batches of `n` at most. */
static inline struct batch_counts compute(struct expert *x, struct script *s, size_t n)
{
    struct room room = {0};
    struct batch_counts counts = {0};
    for (size_t i = 0; i < N_ITEMS; i += n) {
        size_t end = i + n < N_ITEMS ? i + n : N_ITEMS;
        for (size_t j = i; j < end; j++)
            s->item[j].next = j + 1 < end ? &s->item[j + 1] : NULL;
        ck_assert_int_eq(batch_compute(x, &s->item[i], &room, &counts), 0);
    }
    room_fini(&room);
    return counts;
}

static inline void expect_same_state(const struct expert *a, const struct expert *b)
{
    size_t bytes = sizeof(float) * expert_n_params(&config);
    ck_assert_uint_eq(a->version, b->version);
    ck_assert_uint_eq(a->n_slots, b->n_slots);
    ck_assert_uint_eq(a->grad_slots, b->grad_slots);
    ck_assert_mem_eq(&a->lr_scale_sum, &b->lr_scale_sum, sizeof a->lr_scale_sum);
    ck_assert_mem_eq(a->param, b->param, bytes);
    ck_assert_mem_eq(a->moment1, b->moment1, bytes);
    ck_assert_mem_eq(a->moment2, b->moment2, bytes);
    ck_assert_mem_eq(a->grad, b->grad, bytes);
    ck_assert(hash_equal(&a->log_head, &b->log_head));
}

/* Now, and after an update, in which rows that no sum holds yet show. */
static inline void expect_same_expert(const struct expert *a, const struct expert *b)
{
    struct expert *later[2];
    expect_same_state(a, b);
    ck_assert_int_eq(expert_copy(a, &later[0]), 0);
    ck_assert_int_eq(expert_copy(b, &later[1]), 0);
    expert_params_changed(later[0]), expert_params_changed(later[1]);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(expert_update(later[i]), 0);
    expect_same_state(later[0], later[1]);
    for (int i = 0; i < 2; i++)
        expert_free(later[i]);
}

static inline void expect_same_answers(const struct script *a, const struct script *b)
{
    for (size_t i = 0; i < N_ITEMS; i++) {
        ck_assert_uint_eq(a->group[i].status, b->group[i].status);
        ck_assert_uint_eq(a->group[i].version, b->group[i].version);
        ck_assert_uint_eq(a->group[i].staleness, b->group[i].staleness);
        ck_assert_msg(a->group[i].load == b->group[i].load, "item %zu: load", i);
        if (a->group[i].status == STATUS_OK)
            ck_assert_msg(rows_equal(&a->group[i].values, &b->group[i].values, a->group[i].n_slots, WIDTH), "item %zu", i);
    }
}

#endif
