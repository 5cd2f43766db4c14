/**
 * kernels/cuda/cuda.h - what every file of the CUDA set includes first: the language, launches, this thread's queue.
 *
 * One source, two compilers: nvcc makes kernels of it, and a C++ compiler with -DCUDA_EMULATED makes a program for the
 * CPU that has the same threads, blocks and barriers (kernels/cuda/emulate.h).  C++ in the manner of C: templates for
 * constants, no classes, no exceptions, no library.
 *
 * Arithmetic that reaches a result is written as __fmaf_rn, __fadd_rn, __fmul_rn, __fdiv_rn, __fsqrt_rn: nvcc is told not
 * to contract, not to flush subnormals and to divide and take roots as IEEE says, and the intrinsics say so once more.
 *
 * The queue (queue.cu): each thread of the program has a stream of its own, made when it first asks.  What a thread asks
 * for takes effect in that order.  The first failure of the device is kept, and then nothing is asked of it any more.
 */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef CUDA_EMULATED
#include <assert.h>

#include "kernels/cuda/emulate.h"
#else
#include <cuda_runtime.h>
#endif

extern "C" {
#include "kernels/kernels.h"
#include "kernels/numerics.h"
}

/* ---- the queue of this thread */

/** This thread's stream; NULL when the device is lost or would not make one, which is noted. */
cudaStream_t cuda_stream(void);

#define CUDA_N_SCRATCH 4

/**
 * This thread's scratch number `which` of at least n_bytes on the device, on a multiple of 256: what is in it lasts until
 * this thread asks for the same number again.  NULL when there is no memory, which is noted: the caller returns.
 */
void *cuda_scratch(int which, size_t n_bytes);

/** How many it takes for n_bytes. */
size_t cuda_scratch_bytes(size_t n_bytes);

/** Keeps what went wrong, if anything did, and logs the first, a lack of memory now and then; what get() and wait() return then. */
void cuda_note(cudaError_t err, const char *what);

/** A lack of memory that get() or wait() told to somebody who cannot pass it on is kept for the next of them.  Nothing is logged again. */
void cuda_keep_no_memory(void);

/** Is there no use in asking the device for anything: it is lost, or this thread ran out of memory since its last get() or wait()? */
bool cuda_is_lost(void);

/** Waits for this thread's work: 0, HANSE_ENOMEM, HANSE_EDEVICE. */
int cuda_wait(void);

struct cuda_chip {
    int index;
    int major, minor;    /* compute capability */
    int n_units;         /* multiprocessors */
    size_t shared_bytes; /* that one block can have */
    size_t l2_bytes;
};

/** The chip that device_open() opened. */
const struct cuda_chip *cuda_chip(void);

/** How many parts of `part` cover n. */
__host__ __device__ static inline size_t cuda_parts(size_t n, size_t part)
{
    return (n + part - 1) / part;
}

/** Blocks of `part` for n elements, at most `most`: the kernel strides over the rest.  Never 0. */
static inline unsigned cuda_grid(size_t n, size_t part, size_t most)
{
    size_t blocks = cuda_parts(n, part);
    return (unsigned)(blocks < 1 ? 1 : blocks < most ? blocks : most);
}

/* ---- launches */

template <class T> struct cuda_same {
    typedef T type;
};

bool cuda_may_launch(const void *kernel, dim3 grid, size_t shared_bytes);
#ifdef CUDA_EMULATED
template <class... P>
static inline void cuda_launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                               typename cuda_same<P>::type... args)
{
    if (!cuda_may_launch(reinterpret_cast<const void *>(kernel), grid, shared_bytes))
        return;
    auto call = [=]() { kernel(args...); };
    auto run = [](const void *at) { (*static_cast<const decltype(call) *>(at))(); };
    cuda_note(emulate_launch(name, grid, block, shared_bytes, cuda_stream(), run, &call, sizeof call), name);
}
#else
template <class... P>
static inline void cuda_launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                               typename cuda_same<P>::type... args)
{
    if (!cuda_may_launch(reinterpret_cast<const void *>(kernel), grid, shared_bytes))
        return;
    void *at[] = {static_cast<void *>(&args)..., nullptr};
    cuda_note(cudaLaunchKernel(reinterpret_cast<const void *>(kernel), grid, block, at, shared_bytes, cuda_stream()), name);
}
#endif

/**
 * CUDA_LAUNCH((kernel<constants>), grid, block, dynamic shared bytes, arguments...): on this thread's stream.  More than
 * 48 KiB of dynamic shared memory is asked for by itself; a grid without a block is not launched; a failure is noted.
 */
#define CUDA_LAUNCH(kernel, ...) cuda_launch(#kernel, (kernel), __VA_ARGS__)

/* ---- shared memory */

/* CUDA_SHARED(float, tile): `float *tile` is the block's dynamic shared memory, on a multiple of 1024.
 * CUDA_SHARED_ARRAY(float, tile, [32][33]): `__shared__ float tile[32][33]`, which in the emulation holds a pattern in
 * every block until it is written, as the other does. */
#ifdef CUDA_EMULATED
#define CUDA_SHARED(type, name) type *name = static_cast<type *>(emulate_dynamic_shared())
#define CUDA_SHARED_ARRAY(type, name, dims)                                                                                      \
    typedef type name##_array dims;                                                                                              \
    static struct emulate_site name##_site;                                                                                      \
    name##_array &name = *static_cast<name##_array *>(emulate_shared(&name##_site, sizeof(name##_array)))
#else
extern __shared__ __align__(1024) unsigned char cuda_dynamic_shared[];
#define CUDA_SHARED(type, name) type *name = reinterpret_cast<type *>(cuda_dynamic_shared)
#define CUDA_SHARED_ARRAY(type, name, dims) __shared__ __align__(128) type name dims
#endif

/* ---- what the language lacks */

/** Barrier `id` (1..15) of n_threads threads of the block, a multiple of 32. */
__device__ static __forceinline__ void cuda_named_barrier(int id, unsigned n_threads)
{
#ifdef CUDA_EMULATED
    emulate_named_barrier(id, n_threads, __FILE__, __LINE__);
#else
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(n_threads) : "memory");
#endif
}

/**
 * n_bytes (4, 8 or 16, both ends on a multiple of that) from global to shared memory behind the thread's back: there
 * after cuda_copy_wait() and a barrier.  Before sm_80 at once.
 */
template <int n_bytes> __device__ static __forceinline__ void cuda_copy_async(void *shared, const void *global)
{
    static_assert(n_bytes == 4 || n_bytes == 8 || n_bytes == 16, "what cp.async copies");
#if defined CUDA_EMULATED
    assert(((uintptr_t)shared | (uintptr_t)global) % n_bytes == 0);
    memcpy(shared, global, n_bytes);
#elif __CUDA_ARCH__ >= 800
    unsigned to = (unsigned)__cvta_generic_to_shared(shared);
    if (n_bytes == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(global), "n"(n_bytes) : "memory");
#else
    if (n_bytes == 16)
        *reinterpret_cast<int4 *>(shared) = *reinterpret_cast<const int4 *>(global);
    else if (n_bytes == 8)
        *reinterpret_cast<int2 *>(shared) = *reinterpret_cast<const int2 *>(global);
    else
        *reinterpret_cast<int *>(shared) = *reinterpret_cast<const int *>(global);
#endif
}

/** Ends a group of copies; and waits until all but the newest `n_newest` groups of this thread are there. */
__device__ static __forceinline__ void cuda_copy_commit(void)
{
#if !defined CUDA_EMULATED && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int n_newest> __device__ static __forceinline__ void cuda_copy_wait(void)
{
#if !defined CUDA_EMULATED && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(n_newest) : "memory");
#endif
}

#endif
