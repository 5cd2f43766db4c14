/**
 * kernels/cuda/floats.cuh - neighbouring floats in one access, and how many threads walk over them.
 *
 * A kernel is written once for W floats a thread and compiled for 4, where every pointer lies on a multiple of 16, and
 * for 1.  The last access of an array may be short.
 */
#ifndef KERNELS_CUDA_FLOATS_CUH
#define KERNELS_CUDA_FLOATS_CUH

#include "kernels/cuda/cuda.h"

#define FLOATS_WIDE 4
#define FLOATS_THREADS 256u

template <int W> struct alignas(W * sizeof(float)) floats {
    float at[W];
};
template <int W> struct alignas(W) bytes {
    int8_t at[W];
};

/** Up to W floats at x, of which `left` >= 1 are there. */
template <int W> static __device__ __forceinline__ floats<W> floats_load(const float *x, size_t left)
{
    if (left >= W)
        return *(const floats<W> *)x;
    floats<W> v = {};
    for (int w = 0; w < W; w++)
        if ((size_t)w < left)
            v.at[w] = x[w];
    return v;
}

template <int W> static __device__ __forceinline__ void floats_store(float *x, floats<W> v, size_t left)
{
    if (left >= W) {
        *(floats<W> *)x = v;
        return;
    }
    for (int w = 0; w < W; w++)
        if ((size_t)w < left)
            x[w] = v.at[w];
}

/** The first of the W floats that are this thread's, in a launch of floats_grid(). */
template <int W> static __device__ __forceinline__ size_t floats_mine(void)
{
    return ((size_t)blockIdx.x * FLOATS_THREADS + threadIdx.x) * W;
}

/** Blocks of FLOATS_THREADS for n > 0 elements, `width` a thread. */
static inline dim3 floats_grid(size_t n, size_t width)
{
    return dim3((unsigned)((n + FLOATS_THREADS * width - 1) / (FLOATS_THREADS * width)));
}

/** Whether a pointer (NULL, too) lies on a multiple of `n_bytes`, a power of two. */
static inline bool floats_aligned(const void *at, size_t n_bytes)
{
    return ((uintptr_t)at & (n_bytes - 1)) == 0;
}

/** Whether all of them may be read FLOATS_WIDE floats at a time. */
static inline bool floats_wide(const void *a, const void *b = NULL, const void *c = NULL, const void *d = NULL,
                               const void *e = NULL)
{
    uintptr_t all = (uintptr_t)a | (uintptr_t)b | (uintptr_t)c | (uintptr_t)d | (uintptr_t)e;
    return all % (FLOATS_WIDE * sizeof(float)) == 0;
}

/** Launches `kernel` over n elements, FLOATS_WIDE of them a thread if `is_wide`, else one. */
#define FLOATS_EACH(kernel, is_wide, n, ...)                                                                                     \
    do {                                                                                                                         \
        if ((n) == 0)                                                                                                            \
            break;                                                                                                               \
        if (is_wide)                                                                                                             \
            CUDA_LAUNCH((kernel<FLOATS_WIDE>), floats_grid(n, FLOATS_WIDE), FLOATS_THREADS, 0, __VA_ARGS__);                     \
        else                                                                                                                     \
            CUDA_LAUNCH((kernel<1>), floats_grid(n, 1), FLOATS_THREADS, 0, __VA_ARGS__);                                         \
    } while (0)

/** Threads over n_rows rows of n_steps steps each, both above 0: x of a block walks along a row, y down the rows; blocks
 * likewise, but with their axes exchanged, as the x of a grid may be the longer. */
struct tiles {
    dim3 grid, block;
};

static inline struct tiles tiles_of(size_t n_rows, size_t n_steps)
{
    unsigned along = 32;
    while (along < n_steps && along < FLOATS_THREADS)
        along *= 2;
    unsigned down = FLOATS_THREADS / along;
    return {dim3((unsigned)((n_rows + down - 1) / down), (unsigned)((n_steps + along - 1) / along)), dim3(along, down)};
}

static __device__ __forceinline__ size_t tiles_row(void)
{
    return (size_t)blockIdx.x * blockDim.y + threadIdx.y;
}
static __device__ __forceinline__ size_t tiles_step(void)
{
    return (size_t)blockIdx.y * blockDim.x + threadIdx.x;
}

#endif
