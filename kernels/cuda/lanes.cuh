/**
 * kernels/cuda/lanes.cuh - row sums by a warp: its 32 lanes are those of doc/numerics.md, "Row sums".
 *
 * Each lane walks every 32nd element, so that a warp reads 128 neighbouring bytes at once; then the fixed tree.
 * All 32 threads of the warp must take part.  A lane that finds no element keeps its +0.
 */
#ifndef KERNELS_CUDA_LANES_CUH
#define KERNELS_CUDA_LANES_CUH

#include "kernels/cuda/cuda.h"

#define LANES 32u
#define ALL_LANES 0xffffffffu

/** Lane l + lane l + 16, then l + 8, l + 4, l + 2, l + 1: the sum, in every lane. */
static __device__ __forceinline__ float lanes_sum(float lane)
{
#pragma unroll
    for (unsigned half = LANES / 2; half > 0; half /= 2)
        lane = __fadd_rn(lane, __shfl_down_sync(ALL_LANES, lane, half)); /* what upper lanes get reaches no lower one */
    return __shfl_sync(ALL_LANES, lane, 0);
}

/** The greatest by comparison: NaN never is. */
static __device__ __forceinline__ float lanes_max(float lane)
{
#pragma unroll
    for (unsigned half = LANES / 2; half > 0; half /= 2) {
        float other = __shfl_xor_sync(ALL_LANES, lane, half);
        lane = other > lane ? other : lane;
    }
    return lane;
}

/** The greatest of unsigned integers. */
static __device__ __forceinline__ uint32_t lanes_most(uint32_t lane)
{
#pragma unroll
    for (unsigned half = LANES / 2; half > 0; half /= 2) {
        uint32_t other = __shfl_xor_sync(ALL_LANES, lane, half);
        lane = other > lane ? other : lane;
    }
    return lane;
}

/** How many of first, first + by, first + 2 by, ... lie below n.  A loop that counts them can be unrolled with its loads
 * ahead; one that compares i += by with n cannot, for all that the compiler knows of overflow. */
static __device__ __forceinline__ size_t lanes_steps(size_t n, size_t first, unsigned by)
{
    return first < n ? (n - first - 1) / by + 1 : 0;
}

/** The row sum of x[i] * y[i]. */
static __device__ __forceinline__ float lanes_dot(const float *x, const float *y, size_t n, unsigned lane)
{
    float sum = 0.0f;
    size_t n_steps = lanes_steps(n, lane, LANES);
#pragma unroll 8
    for (size_t i = 0; i < n_steps; i++)
        sum = __fmaf_rn(x[i * LANES + lane], y[i * LANES + lane], sum);
    return lanes_sum(sum);
}

#endif
