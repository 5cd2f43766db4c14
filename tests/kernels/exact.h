/**
 * tests/kernels/exact.h - our exp and its like beside what they should be, by the libm of float64, whose own error of an ulp or two of
 * its own is below 2^-27 ulp of f32.
 */
#ifndef TESTS_KERNELS_EXACT_H
#define TESTS_KERNELS_EXACT_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/ref/math.h"

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/** How far `got` is off, in units of the last place of an f32 near `want`: 2^-149 below the normal numbers. */
static inline double ulps_off(float got, double want)
{
    int exponent;
    frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1.0, exponent < -125 ? -149 : exponent - 24);
}

static inline double exact_rsqrt(double x)
{
    return 1.0 / sqrt(x);
}

static inline double exact_sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static inline double exact_silu(double x)
{
    return x / (1.0 + exp(-x));
}

/** The halves of ref_sincos(). */
static inline float our_sin(float x)
{
    float sine, cosine;
    ref_sincos(&sine, &cosine, x);
    return sine;
}

static inline float our_cos(float x)
{
    float sine, cosine;
    ref_sincos(&sine, &cosine, x);
    return cosine;
}

#endif
