/**
 * kernels/cuda/math.cuh - kernels/ref/math.h on a GPU: the same steps, each rounded alone, so the same bits.
 * Included by .cu files after kernels/cuda/cuda.h.
 */
#ifndef KERNELS_CUDA_MATH_CUH
#define KERNELS_CUDA_MATH_CUH

#include "kernels/cuda/cuda.h"
#include "kernels/ref/constants.h"

#define MATH_INFINITE_BITS 0x7f800000u
#define MATH_SIGN_BIT 0x80000000u

static __device__ __forceinline__ float math_infinity(void)
{
    return __uint_as_float(MATH_INFINITE_BITS);
}

/** Some NaN; which one is left open. */
static __device__ __forceinline__ float math_nan(void)
{
    return __uint_as_float(0x7fc00000u);
}

/** The bits of |x|: magnitudes are ordered as they are, infinities and NaN above all numbers. */
static __device__ __forceinline__ uint32_t math_magnitude(float x)
{
    return __float_as_uint(x) & ~MATH_SIGN_BIT;
}

/** x, or +0 when it is nearer to zero than `limit`; NaN stays. */
static __device__ __forceinline__ float math_flush(float x, float limit)
{
    return math_magnitude(x) < __float_as_uint(limit) ? 0.0f : x;
}

/** e^x; below -87.33 it is +0, above 88.72 it is +inf, NaN stays NaN. */
static __device__ __forceinline__ float math_exp(float x)
{
    float t = __fmaf_rn(x, LOG2_E, ROUNDER);
    float n = __fsub_rn(t, ROUNDER);
    float r = __fmaf_rn(n, -LN2_HIGH, x);
    r = __fmaf_rn(n, -LN2_LOW, r);
    float q = __fmaf_rn(EXP_Q4, r, EXP_Q3);
    q = __fmaf_rn(q, r, EXP_Q2);
    q = __fmaf_rn(q, r, EXP_Q1);
    q = __fmaf_rn(q, r, EXP_Q0);
    float p = __fadd_rn(__fmaf_rn(__fmul_rn(r, r), q, r), 1.0f);
    float y = __uint_as_float(__float_as_uint(p) + (__float_as_uint(t) << 23));
    y = x < EXP_LEAST ? 0.0f : y;
    y = x > EXP_GREATEST ? math_infinity() : y;
    return x != x ? x : y;
}

/** Natural logarithm of a positive normal x; 0 and subnormals give -inf, negatives NaN. */
static __device__ __forceinline__ float math_log(float x)
{
    if (x != x || x == math_infinity())
        return x;
    if (math_magnitude(x) < 0x00800000u)
        return -math_infinity();
    if (x < 0.0f)
        return math_nan();
    int32_t exponent = (int32_t)(__float_as_uint(x) - SQRT_HALF_BITS) >> 23;
    float n = __int2float_rn(exponent);
    float f = __fsub_rn(__uint_as_float(__float_as_uint(x) - ((uint32_t)exponent << 23)), 1.0f);
    float q = __fmaf_rn(LOG_Q8, f, LOG_Q7);
    q = __fmaf_rn(q, f, LOG_Q6);
    q = __fmaf_rn(q, f, LOG_Q5);
    q = __fmaf_rn(q, f, LOG_Q4);
    q = __fmaf_rn(q, f, LOG_Q3);
    q = __fmaf_rn(q, f, LOG_Q2);
    q = __fmaf_rn(q, f, LOG_Q1);
    q = __fmaf_rn(q, f, LOG_Q0);
    float z = __fmul_rn(f, f);
    float y = __fmaf_rn(n, LN2_REST, __fmul_rn(__fmul_rn(f, z), q));
    y = __fmaf_rn(-0.5f, z, y);
    return __fmaf_rn(n, LN2_SHORT, __fadd_rn(f, y));
}

/** 1 / sqrt(x), two roundings. */
static __device__ __forceinline__ float math_rsqrt(float x)
{
    return __fdiv_rn(1.0f, __fsqrt_rn(x));
}

static __device__ __forceinline__ float math_sigmoid(float x)
{
    return __fdiv_rn(1.0f, __fadd_rn(1.0f, math_exp(-x)));
}

static __device__ __forceinline__ float math_silu(float x)
{
    return __fmul_rn(x, math_sigmoid(x));
}

static __device__ __forceinline__ float math_swiglu(float g, float u)
{
    return __fmul_rn(math_silu(g), u);
}

#endif
