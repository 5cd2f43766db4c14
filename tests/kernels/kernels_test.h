/**
 * tests/kernels/kernels_test.h - what the tests of kernels share: numbers that hurt, and comparison to the bit.
 */
#ifndef TESTS_KERNELS_TEST_H
#define TESTS_KERNELS_TEST_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"
#include "tests/unit/unit.h"

/** A small generator (SplitMix64 of Steele, Lea and Flood 2014), so that kernels need no other module to be tested. */
struct dice {
    uint64_t state;
};

static inline uint64_t dice_u64(struct dice *dice)
{
    uint64_t z = dice->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline size_t dice_below(struct dice *dice, size_t n)
{
    return (size_t)(dice_u64(dice) % n);
}

/** In [-1, 1). */
static inline float dice_unit(struct dice *dice)
{
    return (float)(int32_t)(dice_u64(dice) >> 32) * 0x1p-31f;
}

/** Kinds of numbers to fill a tensor with. */
enum kind {
    PLAIN, /* in [-1, 1) */
    RANGE, /* magnitudes from 2^-60 to 2^60 */
    TINY,  /* subnormals, signed zeros, and numbers whose products underflow */
    NASTY, /* all of these, with infinities and NaN */
    N_KINDS
};

static inline float dice_bits(uint32_t sign, uint32_t exponent, uint32_t fraction)
{
    uint32_t u = sign << 31 | exponent << 23 | (fraction & 0x7fffff);
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float dice_float(struct dice *dice, enum kind kind)
{
    uint64_t r = dice_u64(dice);
    uint32_t sign = r & 1, fraction = (uint32_t)(r >> 1), pick = (uint32_t)(r >> 40);
    if (kind == RANGE)
        return dice_bits(sign, 67 + pick % 121, fraction);
    if (kind == TINY)
        return pick % 4 == 0 ? dice_bits(sign, 0, pick % 8 == 0 ? 0 : fraction) : dice_bits(sign, pick % 64, fraction);
    if (kind == NASTY && pick % 16 == 0)
        return dice_bits(sign, 255, pick % 32 == 0 ? 0 : 0x400000 | fraction);
    if (kind == NASTY)
        return dice_bits(sign, pick % 255, fraction);
    return dice_unit(dice);
}

/** n floats of a kind; the caller frees.  Exactly n, so that a sanitizer sees a step too far. */
static inline float *dice_floats(struct dice *dice, enum kind kind, size_t n)
{
    float *x = malloc(n ? n * sizeof *x : 1);
    ck_assert_ptr_nonnull(x);
    for (size_t i = 0; i < n; i++)
        x[i] = dice_float(dice, kind);
    return x;
}

static inline float *copy_floats(const float *x, size_t n)
{
    float *y = malloc(n ? n * sizeof *y : 1);
    ck_assert_ptr_nonnull(y);
    memcpy(y, x, n * sizeof *x);
    return y;
}

/** Equal bits; which NaN is left open, as it is between machines. */
static inline void assert_same(const float *got, const float *want, size_t n, const char *isa, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(got + i, want + i, sizeof *got) == 0 || (isnan(got[i]) && isnan(want[i])))
            continue;
        ck_abort_msg("%s %s: element %zu of %zu is %a, ref says %a", isa, what, i, n, (double)got[i], (double)want[i]);
    }
}

/** Calls `check` with each set but ref that this machine runs; says which it does not. */
static inline void with_each_isa(void (*check)(const struct kernels *k, const struct kernels *ref, int seed), int seed)
{
    static const char *const names[] = {"avx2", "avx512", "neon"};
    const struct kernels *ref, *k;
    ck_assert_int_eq(kernels_choose("ref", &ref), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (kernels_choose(names[i], &k) == 0)
            check(k, ref, seed);
        else
            printf("%s: not on this machine, skipped\n", names[i]);
    }
}

#endif
