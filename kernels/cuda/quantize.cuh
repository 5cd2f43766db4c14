/**
 * kernels/cuda/quantize.cuh - floats into integers times a power of two: the rules, as device functions.
 *
 * doc/numerics.md, "Exact-integer products".  A group's largest magnitude is found as an integer (the bits without the
 * sign), so it may be found in any order; it gives a rule, and the rule rounds each element by itself.
 */
#ifndef KERNELS_CUDA_QUANTIZE_CUH
#define KERNELS_CUDA_QUANTIZE_CUH

#include "kernels/cuda/cuda.h"

#define QUANTIZE_MAX_BITS 0x53800000u   /* QUANTIZE_MAX, 2^40 */
#define QUANTIZE_FLOOR_BITS 0x0d800000u /* QUANTIZE_FLOOR, 2^-100 */
#define QUANTIZE_BAD_BITS 0x7f800000u   /* a magnitude that refuses its group */

/* The least fraction of a magnitude that would round beyond the largest integer: 127.5 / 64, 32639.5 / 16384. */
#define QUANTIZE_FRACTION_ONE 0x7f0000u
#define QUANTIZE_FRACTION_TWO 0x7eff00u

/** How a group is rounded: q = rint(x * scale); a scale of 0 stands for zeros whatever x is. */
struct quantize_rule {
    float scale;
    int exponent; /* QUANTIZE_BAD when the group is refused */
};

/** 2^e for e in -126..127. */
static __device__ __forceinline__ float quantize_power(int e)
{
    return __uint_as_float((uint32_t)(e + 127) << 23);
}

/** x as a group with this fold sees it. */
static __device__ __forceinline__ float quantize_folded(float x, int fold)
{
    return __fmul_rn(x, quantize_power(fold));
}

/** What a folded x counts in its group's largest magnitude; a fold that was refused refuses the group. */
static __device__ __forceinline__ uint32_t quantize_magnitude(float folded, int fold)
{
    return fold == QUANTIZE_BAD ? QUANTIZE_BAD_BITS : __float_as_uint(folded) & 0x7fffffffu;
}

/** The rule of a group whose largest magnitude is `most`. */
static __device__ __forceinline__ struct quantize_rule quantize_rule_of(uint32_t most, bool has_two)
{
    if (most >= QUANTIZE_MAX_BITS)
        return {0.0f, QUANTIZE_BAD};
    if (most < QUANTIZE_FLOOR_BITS)
        return {0.0f, QUANTIZE_EXPONENT_MIN};
    int m = (int)(most >> 23) - 127;
    uint32_t fraction = most & 0x7fffffu;
    int e = has_two ? m - 14 + (fraction >= QUANTIZE_FRACTION_TWO) : m - 6 + (fraction >= QUANTIZE_FRACTION_ONE);
    return {quantize_power(-e), e};
}

/** The integer of a folded x: within +-32639, or +-127. */
static __device__ __forceinline__ int quantize_round(float folded, float scale)
{
    return scale == 0.0f ? 0 : __float2int_rn(__fmul_rn(folded, scale));
}

/** The slices of q: high is the nearest multiple of 256, or q itself where it is the only one. */
static __device__ __forceinline__ int quantize_high(int q, bool has_two)
{
    return has_two ? (q + 128) >> 8 : q;
}
static __device__ __forceinline__ int quantize_low(int q)
{
    return q - 256 * ((q + 128) >> 8);
}

#endif
