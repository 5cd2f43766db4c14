/* ref/math.c - exp, log and the rest, from operations that IEEE 754 fixes to the bit. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/ref/constants.h"
#include "kernels/ref/math.h"

static uint32_t bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* e^x = 2^n e^r with n the integer nearest x / ln 2; 2^n goes straight into the exponent. */
float ref_exp(float x)
{
    if (x != x)
        return x;
    if (x < EXP_LEAST)
        return 0.0f;
    if (x > EXP_GREATEST)
        return INFINITY;
    float t = fmaf(x, LOG2_E, ROUNDER);
    float n = t - ROUNDER;
    float r = fmaf(n, -LN2_HIGH, x);
    r = fmaf(n, -LN2_LOW, r);
    float q = fmaf(EXP_Q4, r, EXP_Q3);
    q = fmaf(q, r, EXP_Q2);
    q = fmaf(q, r, EXP_Q1);
    q = fmaf(q, r, EXP_Q0);
    float p = fmaf(r * r, q, r) + 1.0f;
    return from_bits(bits(p) + (bits(t) << 23)); /* the low bits of t are n; the shift drops the rest */
}

/* x = 2^n (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)) */
float ref_log(float x)
{
    if (x != x || x == INFINITY)
        return x;
    if (fabsf(x) < 0x1p-126f)
        return -INFINITY;
    if (x < 0.0f)
        return NAN;
    uint32_t above = bits(x) - SQRT_HALF_BITS;
    int32_t exponent = (int32_t)above >> 23;
    float n = (float)exponent;
    float f = from_bits(bits(x) - ((uint32_t)exponent << 23)) - 1.0f;
    float q = fmaf(LOG_Q8, f, LOG_Q7);
    q = fmaf(q, f, LOG_Q6);
    q = fmaf(q, f, LOG_Q5);
    q = fmaf(q, f, LOG_Q4);
    q = fmaf(q, f, LOG_Q3);
    q = fmaf(q, f, LOG_Q2);
    q = fmaf(q, f, LOG_Q1);
    q = fmaf(q, f, LOG_Q0);
    float z = f * f;
    float y = fmaf(n, LN2_REST, (f * z) * q);
    y = fmaf(-0.5f, z, y);
    return fmaf(n, LN2_SHORT, f + y);
}

float ref_rsqrt(float x)
{
    return 1.0f / sqrtf(x);
}

float ref_sigmoid(float x)
{
    return 1.0f / (1.0f + ref_exp(-x));
}

float ref_silu(float x)
{
    return x * ref_sigmoid(x);
}

/* x = n pi/2 + r; the quadrant n mod 4 says which of sin r, cos r stands where, and its sign. */
void ref_sincos(float *sine, float *cosine, float x)
{
    float t = fmaf(x, TWO_OVER_PI, ROUNDER);
    float n = t - ROUNDER;
    float r = fmaf(n, -HALF_PI_HIGH, x);
    r = fmaf(n, -HALF_PI_MIDDLE, r);
    r = fmaf(n, -HALF_PI_LOW, r);
    float z = r * r;
    float s = fmaf(SIN_S3, z, SIN_S2);
    s = fmaf(s, z, SIN_S1);
    s = fmaf(s, z, SIN_S0);
    s = fmaf(r * z, s, r);
    float c = fmaf(COS_C2, z, COS_C1);
    c = fmaf(c, z, COS_C0);
    c = fmaf(z * z, c, fmaf(-0.5f, z, 1.0f));
    uint32_t quadrant = bits(t) & 3;
    bool is_swapped = quadrant & 1;
    *sine = is_swapped ? c : s;
    *cosine = is_swapped ? s : c;
    if (quadrant == 2 || quadrant == 3)
        *sine = -*sine;
    if (quadrant == 1 || quadrant == 2)
        *cosine = -*cosine;
}
