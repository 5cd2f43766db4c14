/**
 * tests/kernels/groups.h - groups of floats that are hard to round to integers.
 */
#ifndef TESTS_KERNELS_GROUPS_H
#define TESTS_KERNELS_GROUPS_H

#include <math.h>

#include "kernels/numerics.h"
#include "tests/kernels/dice.h"

/** What the numbers of a group are like. */
enum group {
    UNIT,       /* in [-1, 1) */
    ZEROS,      /* of both signs */
    DENORMAL,   /* all below the floor */
    FLOOR,      /* about 2^-100, some above */
    MIXED,      /* 1e-30 beside 1e11 */
    HUGE_ONES,  /* about 2^40, some above: refused */
    NOT_FINITE, /* refused */
    THRESHOLDS, /* the largest magnitude is where the exponent changes */
    TIES,       /* integers and a half, exactly */
    N_GROUPS
};

static inline float above(float x, int n_ulps)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits += (uint32_t)n_ulps;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/** Element i of a group. */
static inline float group_float(struct dice *dice, enum group group, size_t i)
{
    static const float not_finite[] = {INFINITY, -INFINITY, NAN};
    float x = dice_unit(dice), sign = dice_below(dice, 2) ? 1.0f : -1.0f;
    size_t r = dice_below(dice, 1000);
    switch (group) {
    case ZEROS:
        return 0.0f * sign;
    case DENORMAL:
        return dice_float(dice, TINY) * 0x1p-64f;
    case FLOOR:
        return r < 3 ? above(0x1p-100f, (int)dice_below(dice, 3) - 1) * sign : x * 0x1p-100f;
    case MIXED:
        return x * (r % 3 == 0 ? 1e-30f : r % 3 == 1 ? 1e11f : 1.0f);
    case HUGE_ONES:
        return r < 20 ? above(0x1p40f, (int)dice_below(dice, 3) - 1) * sign : x * 0x1p39f;
    case NOT_FINITE:
        return r < 10 || i == 0 ? not_finite[r % 3] : x;
    case THRESHOLDS:
        /* 127.5 and 32639.5 are the least that would round beyond the range */
        return i == 3 ? above(r % 2 ? 127.5f / 64 : 32639.5f / 16384, (int)dice_below(dice, 5) - 2) * sign : x;
    case TIES:
        /* under one slice the unit is 2^-6, under two 2^-14; 1.5 sets the exponent */
        return i == 0 ? 1.5f : ((float)(int)(x * (r % 2 ? 95 : 24000)) + 0.5f) * (r % 2 ? 0x1p-6f : 0x1p-14f);
    default:
        return x;
    }
}

/** n folds (the caller frees): near the largest, or all over the range, now and then with one that was refused. */
static inline int8_t *group_folds(struct dice *dice, size_t n)
{
    int8_t *fold = malloc(n ? n : 1);
    int spread = dice_below(dice, 2) ? 8 : 149;
    for (size_t i = 0; i < n; i++)
        fold[i] = (int8_t)(QUANTIZE_EXPONENT_MAX - (int)dice_below(dice, (size_t)spread));
    if (n > 0 && dice_below(dice, 6) == 0)
        fold[dice_below(dice, n)] = QUANTIZE_BAD;
    return fold;
}

#endif
