/**
 * kernels/cuda/emulate.h - CUDA on a CPU, for tests: the same kernels' source, compiled by a C++ compiler.
 *
 * A block's threads are fibers of one CPU thread.  They run one after the other; one that waits at a barrier is set
 * aside and the next begins, so a block that never waits is a plain loop.  One launch at a time runs in a process,
 * as memory that a block shares is static.  What a device leaves open is made to hurt:
 *   - device memory and shared memory hold a pattern (EMULATE_POISON) until something is written
 *   - emulate_order() turns or shuffles the order of threads and blocks, so a missing barrier shows as other results
 *   - a barrier that a part of the block cannot reach ends the program with a sentence
 *   - emulate_memory() and emulate_fail() make memory scarce and the device fail
 * Not here: races are not detected as such, warps do not run in step, and memory is as ordered as the CPU's.
 */
#ifndef KERNELS_CUDA_EMULATE_H
#define KERNELS_CUDA_EMULATE_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/emulate_control.h"
#include "kernels/cuda/emulate_runtime.h"

/* ---- the language */

#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static /* not filled with the pattern: CUDA_SHARED_ARRAY is */
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))

#define EMULATE_VECTORS(T, name, align)                                                                                          \
    struct name##2                                                                                                               \
    {                                                                                                                            \
        T x, y;                                                                                                                  \
    }                                                                                                                            \
    __attribute__((aligned((align)*2)));                                                                                         \
    struct name##3                                                                                                               \
    {                                                                                                                            \
        T x, y, z;                                                                                                               \
    };                                                                                                                           \
    struct name##4                                                                                                               \
    {                                                                                                                            \
        T x, y, z, w;                                                                                                            \
    }                                                                                                                            \
    __attribute__((aligned((align)*4 > 16 ? 16 : (align)*4)));                                                                   \
    static inline name##2 make_##name##2(T x, T y)                                                                               \
    {                                                                                                                            \
        return {x, y};                                                                                                           \
    }                                                                                                                            \
    static inline name##3 make_##name##3(T x, T y, T z)                                                                          \
    {                                                                                                                            \
        return {x, y, z};                                                                                                        \
    }                                                                                                                            \
    static inline name##4 make_##name##4(T x, T y, T z, T w)                                                                     \
    {                                                                                                                            \
        return {x, y, z, w};                                                                                                     \
    }

EMULATE_VECTORS(signed char, char, 1)
EMULATE_VECTORS(unsigned char, uchar, 1)
EMULATE_VECTORS(short, short, 2)
EMULATE_VECTORS(unsigned short, ushort, 2)
EMULATE_VECTORS(int, int, 4)
EMULATE_VECTORS(unsigned, uint, 4)
EMULATE_VECTORS(float, float, 4)
EMULATE_VECTORS(long long, longlong, 8)
EMULATE_VECTORS(unsigned long long, ulonglong, 8)
EMULATE_VECTORS(double, double, 8)

/* Of the thread that runs; one launch at a time has them. */
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
static const int warpSize = 32;

/* ---- launches */

/** Asks the stream to run call(arguments) for each thread of each block; the n_bytes of `arguments` are copied. */
cudaError_t emulate_launch(const char *name, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                           void (*call)(const void *arguments), const void *arguments, size_t n_bytes);

/** Runs it at once. */
void emulate_run(const char *name, dim3 grid, dim3 block, size_t shared_bytes, void (*run)(const void *call), const void *call);

/** The block's dynamic shared memory: exactly as much as the launch asked for, on a multiple of 1024. */
void *emulate_dynamic_shared(void);

/** Shared memory that a kernel declares: every thread of a block gets the same, and the next block a fresh one. */
struct emulate_site {
    uint64_t block;
    void *at;
};
void *emulate_take_shared(struct emulate_site *site, size_t n_bytes);
extern uint64_t emulate_block; /* counts blocks */

static inline void *emulate_shared(struct emulate_site *site, size_t n_bytes)
{
    return site->block == emulate_block ? site->at : emulate_take_shared(site, n_bytes);
}

/* ---- meetings */

/** Who waits where, for the sentence about one that the others cannot reach. */
#define EMULATE_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

/** The block's barrier; threads that have returned count as arrived. */
void emulate_barrier(const char *file, int line);

/** Barrier `id` of n_threads threads, whichever they are (bar.sync id, n). */
void emulate_named_barrier(int id, unsigned n_threads, const char *file, int line);

/**
 * The n_threads (32 or a multiple) threads around the caller meet; the last runs all(of_lane, n_threads) over what each
 * brought (NULL for those that have returned), then all go on.  The host body of a warp's or warpgroup's instruction.
 */
void emulate_meet(unsigned n_threads, void *mine, void (*all)(void *const *of_lane, size_t n),
                  const char *file = __builtin_FILE(), int line = __builtin_LINE());

/** The same for the lanes of the caller's warp that are in `mask`. */
void emulate_meet_lanes(unsigned mask, void *mine, void (*all)(void *const *of_lane, size_t n), const char *file, int line);

static inline void __syncthreads(EMULATE_HERE)
{
    emulate_barrier(file, line);
}

static inline void emulate_nothing(void *const *, size_t)
{
}

static inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATE_HERE)
{
    emulate_meet_lanes(mask, &mask, emulate_nothing, file, line);
}

static inline void __threadfence(void)
{
}
static inline void __threadfence_block(void)
{
}
static inline void __threadfence_system(void)
{
}

/* What one lane brings to a shuffle, and where it reads.  A lane that has returned gives the pattern. */
template <class T> struct emulate_shuffle {
    T value, got;
    int from;
};

template <class T> static void emulate_shuffle_all(void *const *of_lane, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        emulate_shuffle<T> *mine = static_cast<emulate_shuffle<T> *>(of_lane[i]);
        if (!mine)
            continue;
        const emulate_shuffle<T> *other = static_cast<const emulate_shuffle<T> *>(of_lane[mine->from]);
        if (other)
            mine->got = other->value;
        else
            memset(&mine->got, EMULATE_POISON, sizeof mine->got);
    }
}

template <class T> static inline T emulate_exchange(unsigned mask, T value, int from, const char *file, int line)
{
    emulate_shuffle<T> mine = {value, value, from};
    emulate_meet_lanes(mask, &mine, emulate_shuffle_all<T>, file, line);
    return mine.got;
}

static inline int emulate_lane(void)
{
    return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31);
}

template <class T> static inline T __shfl_sync(unsigned mask, T value, int from, int width = 32, EMULATE_HERE)
{
    int first = emulate_lane() & -width;
    return emulate_exchange(mask, value, first + (from & (width - 1)), file, line);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32, EMULATE_HERE)
{
    int lane = emulate_lane(), from = lane ^ by;
    return emulate_exchange(mask, value, from >= (lane & -width) + width ? lane : from, file, line);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, EMULATE_HERE)
{
    int lane = emulate_lane(), from = lane + (int)by;
    return emulate_exchange(mask, value, from >= (lane & -width) + width ? lane : from, file, line);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, EMULATE_HERE)
{
    int lane = emulate_lane(), from = lane - (int)by;
    return emulate_exchange(mask, value, from < (lane & -width) ? lane : from, file, line);
}

unsigned emulate_ballot(unsigned mask, bool is_true, const char *file, int line);
static inline unsigned __ballot_sync(unsigned mask, int is_true, EMULATE_HERE)
{
    return emulate_ballot(mask, is_true, file, line);
}
static inline int __any_sync(unsigned mask, int is_true, EMULATE_HERE)
{
    return emulate_ballot(mask, is_true, file, line) != 0;
}
static inline int __all_sync(unsigned mask, int is_true, EMULATE_HERE)
{
    return emulate_ballot(mask, !is_true, file, line) == 0;
}

/** Over the block: how many threads say so, whether one does, whether all do. */
int emulate_count(bool is_true, const char *file, int line);
static inline int __syncthreads_count(int is_true, EMULATE_HERE)
{
    return emulate_count(is_true, file, line);
}
static inline int __syncthreads_or(int is_true, EMULATE_HERE)
{
    return emulate_count(is_true, file, line) != 0;
}
static inline int __syncthreads_and(int is_true, EMULATE_HERE)
{
    return emulate_count(!is_true, file, line) == 0;
}

#include "kernels/cuda/emulate_math.h"

#endif
