/**
 * tests/unit/test_model_pretend.h - what the tests of the trunk share: a run from a text, bytes to learn, and experts that are
 * a fixed smooth map, so that the trunk can be tested without them.
 */
#ifndef TEST_MODEL_PRETEND_H
#define TEST_MODEL_PRETEND_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/random.h"
#include "kernels/ref/gate.h"
#include "model/optimizer.h"
#include "model/trunk.h"
#include "tests/unit/unit.h"

static inline struct run pretend_run(const char *yaml)
{
    struct run run;
    ck_assert_int_eq(run_parse("test", yaml, strlen(yaml), &run), 0);
    return run;
}

static inline const struct kernels *pretend_kernels(const char *isa)
{
    const struct kernels *kernels = NULL;
    if (kernels_choose(isa, &kernels) != 0)
        return NULL;
    return kernels;
}

/** Parameters with no special values, so that every path has a gradient worth measuring. */
static inline void pretend_params(struct trunk *trunk, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, "params");
    for (size_t i = 0; i < trunk->n_tensors; i++) {
        const struct trunk_tensor *tensor = &trunk->tensor[i];
        float size = tensor->M == 1 ? 0.3f : 1.5f / sqrtf((float)tensor->M);
        if (tensor->offset == trunk->embed)
            size = 1.0f;
        for (size_t j = 0; j < tensor->M * tensor->N; j++)
            trunk->param[tensor->offset + j] = size * (2.0f * rng_unit(&rng) - 1.0f) + (tensor->M == 1 ? 1.0f : 0.0f);
    }
    trunk_pack_all(trunk);
}

/** Bytes of a small alphabet, each a function of the one before and a little chance. */
static inline void pretend_batch(struct trunk_tape *tape, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, "batch");
    int32_t byte = (int32_t)rng_below(&rng, 256);
    for (size_t i = 0; i < tape->N; i++) {
        tape->token[i] = byte;
        byte = rng_below(&rng, 8) == 0 ? (int32_t)rng_below(&rng, 256) : (byte * 7 + 31) % 32;
        tape->target[i] = byte;
    }
}

static inline void pretend_pick(const struct trunk *trunk, struct trunk_tape *tape, size_t moe)
{
    const struct run *run = trunk->run;
    struct trunk_exchange *x = &tape->exchange[moe];
    float *bias = calloc(run->experts, sizeof *bias);
    uint8_t *allowed = malloc(run->experts);
    memset(allowed, 1, run->experts);
    ref_gate_topk(x->pick, x->score, bias, allowed, tape->N, run->chosen, run->experts);
    free(bias);
    free(allowed);
}

/** Of each `one_in` slots one stays unanswered, and so do all slots of each 5 one_in'th token; 0: all answer. */
static inline void pretend_answered(const struct trunk *trunk, struct trunk_tape *tape, size_t moe, size_t one_in)
{
    size_t K = trunk->run->chosen;
    for (size_t slot = 0; slot < tape->N * K; slot++)
        tape->exchange[moe].answered[slot] = one_in == 0 ||
                                             ((slot * 7 + moe) % one_in != 0 && (slot / K) % (5 * one_in) != 2 * one_in);
}

/* Expert e: y_d = a x_d + b x_d x_{d + 1}, with a and b of its own. */
static inline float pretend_a(int32_t e)
{
    return 0.5f + 0.25f * (float)(e % 7);
}

static inline float pretend_b(int32_t e)
{
    return 0.4f - 0.1f * (float)(e % 5);
}

/** Rows of the tape's form as floats: as they lie, or read back into memory that pretend_rows_free() frees. */
static inline const float *pretend_rows(const struct trunk *trunk, const struct trunk_tape *tape, const struct rows *rows)
{
    size_t D = trunk->run->latent;
    if (tape->form == NUMERICS_F32)
        return rows->f32;
    float *floats = malloc(tape->N * D * sizeof *floats);
    pretend_kernels("ref")->dequantize_rows(floats, rows->high, rows->low, rows->exponent, tape->N, D);
    return floats;
}

static inline void pretend_rows_free(const struct trunk_tape *tape, const float *floats)
{
    if (tape->form != NUMERICS_F32)
        free((void *)(uintptr_t)floats);
}

/** Hands over answers or gradients (N, K, D) in the form in which they come: with a tape of integers rounded on their way. */
static inline void pretend_hand_over(const struct trunk *trunk, const struct trunk_tape *tape, const struct rows *to, float *from)
{
    size_t n = tape->N * trunk->run->chosen, D = trunk->run->latent;
    const struct kernels *ref = pretend_kernels("ref");
    if (tape->form != NUMERICS_F32) {
        int8_t *high = malloc(n * D), *low = malloc(n * D), *exponent = malloc(n);
        ref->quantize_rows(high, low, exponent, from, D, NULL, n, D);
        if (to->f32) {
            ref->dequantize_rows((float *)to->f32, high, low, exponent, n, D);
        } else {
            memcpy((int8_t *)to->high, high, n * D);
            memcpy((int8_t *)to->low, low, n * D);
            memcpy((int8_t *)to->exponent, exponent, n);
        }
        free(high);
        free(low);
        free(exponent);
    } else {
        memcpy((float *)to->f32, from, n * D * sizeof *from);
    }
    free(from);
}

/** Fills y of the answered slots, and NaN in the others: nobody may read those. */
static inline void pretend_forward(const struct trunk *trunk, struct trunk_tape *tape, size_t moe)
{
    size_t K = trunk->run->chosen, D = trunk->run->latent;
    struct trunk_exchange *x = &tape->exchange[moe];
    const float *rows = pretend_rows(trunk, tape, &x->x_rows);
    float *answer = malloc(tape->N * K * D * sizeof *answer);
    for (size_t slot = 0; slot < tape->N * K; slot++)
        for (size_t d = 0; d < D; d++) {
            const float *row = rows + slot / K * D;
            float y = pretend_a(x->pick[slot]) * row[d] + pretend_b(x->pick[slot]) * row[d] * row[(d + 1) % D];
            answer[slot * D + d] = x->answered[slot] ? y : NAN;
        }
    pretend_rows_free(tape, rows);
    pretend_hand_over(trunk, tape, &x->y_rows, answer);
}

static inline void pretend_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t moe)
{
    size_t K = trunk->run->chosen, D = trunk->run->latent;
    struct trunk_exchange *x = &tape->exchange[moe];
    const float *rows = pretend_rows(trunk, tape, &x->x_rows), *grads = pretend_rows(trunk, tape, &x->gout_rows);
    float *answer = malloc(tape->N * K * D * sizeof *answer);
    for (size_t slot = 0; slot < tape->N * K; slot++)
        for (size_t d = 0; d < D; d++) {
            const float *row = rows + slot / K * D, *gout = grads + slot / K * D;
            size_t before = (d + D - 1) % D, after = (d + 1) % D;
            float a = pretend_a(x->pick[slot]), b = pretend_b(x->pick[slot]);
            float gx = gout[d] * (a + b * row[after]) + gout[before] * b * row[before];
            answer[slot * D + d] = x->answered[slot] ? x->weight[slot] * gx : NAN;
        }
    pretend_rows_free(tape, rows);
    pretend_rows_free(tape, grads);
    pretend_hand_over(trunk, tape, &x->gx_rows, answer);
}

/** All segments forward; `is_fixed` keeps the picks of an earlier pass. */
static inline void pretend_run_forward(const struct trunk *trunk, struct trunk_tape *tape, size_t one_in, bool is_fixed)
{
    for (size_t s = 0; s <= trunk->run->n_moe; s++) {
        ck_assert_int_eq(trunk_forward(trunk, tape, s), 0);
        if (s == trunk->run->n_moe)
            return;
        if (!is_fixed)
            pretend_pick(trunk, tape, s);
        pretend_answered(trunk, tape, s, one_in);
        pretend_forward(trunk, tape, s);
    }
}

static inline void pretend_run_backward(const struct trunk *trunk, struct trunk_tape *tape, float grad_scale)
{
    for (size_t s = trunk->run->n_moe;; s--) {
        ck_assert_int_eq(trunk_backward(trunk, tape, s, grad_scale), 0);
        if (s == 0)
            return;
        pretend_backward(trunk, tape, s - 1);
    }
}

#endif
