/**
 * tests/kernels/dice.h - random numbers that hurt.
 */
#ifndef TESTS_KERNELS_DICE_H
#define TESTS_KERNELS_DICE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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
    assert(x);
    for (size_t i = 0; i < n; i++)
        x[i] = dice_float(dice, kind);
    return x;
}

static inline float *copy_floats(const float *x, size_t n)
{
    float *y = malloc(n ? n * sizeof *y : 1);
    assert(y);
    memcpy(y, x, n * sizeof *x);
    return y;
}

#endif
