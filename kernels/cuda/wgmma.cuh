/**
 * kernels/cuda/wgmma.cuh - the products of a warpgroup (Hopper, sm_90a), with the copies and fences they need, as functions.
 *
 * On the device each function is its instruction.  On the host, where threads are fibers, it is what the PTX ISA says of that
 * instruction, and harsh: a copy spoils its target at once and fills it when it is waited for; a product is done when its group is
 * waited for, and its operands must have been the same from the start.  So a wait that is missing and a buffer filled again too early are found.
 * Products read their operands through the same descriptors.
 *
 * From the PTX ISA: "Asynchronous Warpgroup Level Matrix Instructions", of it "Shared Memory Matrix Layout", "Strides",
 * "Matrix Descriptor Format", "Register Fragments and Shared Memory Matrix Layouts" and "Async Proxy"; "cp.async".
 */
#ifndef KERNELS_CUDA_WGMMA_CUH
#define KERNELS_CUDA_WGMMA_CUH

#include <assert.h>

#include "kernels/cuda/cuda.h"

/* An operand tile: rows of 128 bytes of k, one after the other, on a multiple of 1024.  Of each row the eight pieces of 16 bytes
 * stand in the order that the row's number, modulo 8, gives by exclusive or: the 128-byte swizzle, which is one of address
 * bits 4..6 with bits 7..9.  An instruction takes 32 bytes of k, so it starts 0, 32, 64 or 96 bytes into the first row. */
#define WGMMA_ROW_BYTES 128
#define WGMMA_ALIGN 1024
#define WGMMA_K 32

/** Where piece `piece` (0..7) of row `row` lies in such a tile. */
static __device__ __forceinline__ uint32_t wgmma_place(uint32_t row, uint32_t piece)
{
    return row * WGMMA_ROW_BYTES + (piece ^ (row & 7)) * 16;
}

#ifdef CUDA_EMULATED
#define WGMMA_PENDING 64 /* copies, or products, that a thread has under way at most, times groups */

struct wgmma_copy {
    void *to;
    const void *from;
    uint32_t n_bytes;
    int group;
};

struct wgmma_pending {
    int32_t *d;
    uint64_t a, b;
    uint32_t N, adds;
    int group;
    uint64_t seen; /* by the warpgroup's first thread: the operands when it was asked for */
};

/** What a thread has under way, and where its shared memory begins: on the host address 0 is `window`. */
struct wgmma_thread {
    uint8_t *window;
    int copy_group, n_copies, group, n_pending;
    struct wgmma_copy copy[4 * WGMMA_PENDING];
    struct wgmma_pending pending[WGMMA_PENDING];
};

#else
struct wgmma_thread {
};
#endif

/** Before all else; `shared` is the start of the block's dynamic shared memory. */
static __device__ __forceinline__ void wgmma_begin(struct wgmma_thread *t, void *shared)
{
#ifdef CUDA_EMULATED
    t->window = (uint8_t *)((uintptr_t)shared / WGMMA_ALIGN * WGMMA_ALIGN);
    t->copy_group = t->n_copies = t->group = t->n_pending = 0;
#endif
}

/** The address of `at` within shared memory. */
static __device__ __forceinline__ uint32_t wgmma_address(const struct wgmma_thread *t, const void *at)
{
#ifdef CUDA_EMULATED
    return (uint32_t)((const uint8_t *)at - t->window);
#else
    return (uint32_t)__cvta_generic_to_shared(at);
#endif
}

/* A descriptor: bits 0..13 the address, 16..29 the leading and 32..45 the stride byte offset, all without their lowest 4 bits; 49..51
 * base offset, 0 as the pattern starts on a multiple of 1024; 62..63 the swizzle, 1 for that of 128 bytes.  With k contiguous and
 * swizzled the leading offset is not read; the stride offset leads from 8 rows to the next 8. */
static __device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t address)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)1 << 16 | (uint64_t)(8 * WGMMA_ROW_BYTES >> 4) << 32 |
           (uint64_t)1 << 62;
}

/** 16 bytes to shared address `to`: the first n_bytes (0..16) from `from`, a multiple of 16, and zeros. */
static __device__ __forceinline__ void wgmma_copy16(struct wgmma_thread *t, uint32_t to, const void *from, uint32_t n_bytes)
{
#ifdef CUDA_EMULATED
    assert(t->n_copies < 4 * WGMMA_PENDING && (uintptr_t)from % 16 == 0 && to % 16 == 0 && n_bytes <= 16);
    t->copy[t->n_copies++] = (struct wgmma_copy){t->window + to, from, n_bytes, t->copy_group};
    memset(t->window + to, 0x55, 16);
#else
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(n_bytes) : "memory");
#endif
}

/** The copies asked for since the last one are a group. */
static __device__ __forceinline__ void wgmma_copies_commit(struct wgmma_thread *t)
{
#ifdef CUDA_EMULATED
    t->copy_group++;
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/** Waits until only the newest N groups of this thread's copies are under way, and shows what came to the products of
 * threads that meet it at a barrier afterwards. */
template <int N> static __device__ __forceinline__ void wgmma_copies_wait(struct wgmma_thread *t)
{
#ifdef CUDA_EMULATED
    int n = 0;
    for (int i = 0; i < t->n_copies; i++) {
        struct wgmma_copy *c = &t->copy[i];
        if (c->group >= t->copy_group - N) {
            t->copy[n++] = *c;
            continue;
        }
        memset(c->to, 0, 16);
        memcpy(c->to, c->from, c->n_bytes);
    }
    t->n_copies = n;
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

/** Before the first product of a group. */
static __device__ __forceinline__ void wgmma_fence(void)
{
#ifndef CUDA_EMULATED
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

/** The products asked for since the last one are a group. */
static __device__ __forceinline__ void wgmma_commit(struct wgmma_thread *t)
{
#ifdef CUDA_EMULATED
    t->group++;
#else
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

#ifdef CUDA_EMULATED
/* Element (row, k) of an operand, as a descriptor leads to it. */
static inline int8_t wgmma_element(const uint8_t *window, uint64_t descriptor, uint32_t row, uint32_t k)
{
    static const uint32_t n_swizzled[4] = {0, 7, 3, 1}; /* which of bits 7..9 act, by mode */
    uint32_t mode = (uint32_t)(descriptor >> 62);
    uint32_t at = (uint32_t)(descriptor & 0x3fff) << 4, stride = (uint32_t)(descriptor >> 32 & 0x3fff) << 4;
    assert((descriptor >> 49 & 7) == 0);
    if (mode == 0) /* without a swizzle 8 rows of 16 bytes lie together, the next 16 bytes of k the leading offset away */
        at += row / 8 * stride + row % 8 * 16 + k / 16 * ((uint32_t)(descriptor >> 16 & 0x3fff) << 4) + k % 16;
    else
        at += row / 8 * stride + row % 8 * (mode == 1 ? 128 : mode == 2 ? 64 : 32) + k;
    return (int8_t)window[at ^ ((at >> 7 & n_swizzled[mode]) << 4)];
}

/* A sum over the bytes of both operands. */
static inline uint64_t wgmma_seen(const uint8_t *window, const struct wgmma_pending *op)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 64 + op->N; i++)
        for (uint32_t k = 0; k < WGMMA_K; k++)
            sum = (sum ^ (uint8_t)(i < 64 ? wgmma_element(window, op->a, i, k) : wgmma_element(window, op->b, i - 64, k))) *
                  0x100000001b3;
    return sum;
}

/* The whole warpgroup's product, over the pending one of each thread.  Of m64nN thread t holds, as its number i, row
 * 16 (t / 32) + t % 32 / 4 + 8 (i / 2 % 2) and column 8 (i / 4) + 2 (t % 4) + i % 2. */
struct wgmma_meeting {
    const uint8_t *window;
    struct wgmma_pending *op;
};

static inline void wgmma_all(void *const *of_thread, size_t n)
{
    static thread_local int8_t a[64][WGMMA_K], b[256][WGMMA_K];
    const struct wgmma_meeting *first = (const struct wgmma_meeting *)of_thread[0];
    assert(first->op->seen == wgmma_seen(first->window, first->op));
    for (uint32_t k = 0; k < WGMMA_K; k++) {
        for (uint32_t i = 0; i < 64; i++)
            a[i][k] = wgmma_element(first->window, first->op->a, i, k);
        for (uint32_t j = 0; j < first->op->N; j++)
            b[j][k] = wgmma_element(first->window, first->op->b, j, k);
    }
    for (size_t t = 0; t < n; t++) {
        const struct wgmma_pending *op = ((const struct wgmma_meeting *)of_thread[t])->op;
        assert(op->a == first->op->a && op->b == first->op->b && op->adds == first->op->adds && op->N == first->op->N);
        for (size_t i = 0; i < op->N / 2; i++) {
            size_t row = 16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2), column = 8 * (i / 4) + 2 * (t % 4) + i % 2;
            int32_t sum = 0;
            for (size_t k = 0; k < WGMMA_K; k++)
                sum += a[row][k] * b[column][k];
            op->d[i] = (int32_t)((op->adds ? (uint32_t)op->d[i] : 0) + (uint32_t)sum);
        }
    }
}
#endif

/** Waits until only the newest N groups of this warpgroup's products are under way. */
template <int N> static __device__ __forceinline__ void wgmma_wait(struct wgmma_thread *t)
{
#ifdef CUDA_EMULATED
    int n = 0;
    for (int i = 0; i < t->n_pending; i++) {
        struct wgmma_meeting mine = {t->window, &t->pending[i]};
        if (t->pending[i].group >= t->group - N)
            t->pending[n++] = t->pending[i];
        else
            emulate_meet(128, &mine, wgmma_all);
    }
    t->n_pending = n;
#else
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
#endif
}

/** Sums are read only after a wait; here the compiler learns so. */
template <int N> static __device__ __forceinline__ void wgmma_hold(int32_t (&d)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+r"(d[i])::"memory");
}

/* How registers are named in, and given to, the instruction. */
#define WGMMA_0_31                                                                                                               \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                                     \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define WGMMA_32_63                                                                                                              \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                                           \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WGMMA_64_127                                                                                                             \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "                                           \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "                                           \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "                               \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define WGMMA_D8(i)                                                                                                              \
    "+r"(d[i]), "+r"(d[i + 1]), "+r"(d[i + 2]), "+r"(d[i + 3]), "+r"(d[i + 4]), "+r"(d[i + 5]), "+r"(d[i + 6]), "+r"(d[i + 7])
#define WGMMA_D32(i) WGMMA_D8(i), WGMMA_D8(i + 8), WGMMA_D8(i + 16), WGMMA_D8(i + 24)
#define WGMMA_ASM(columns, registers, a, b, adds)                                                                                \
    "{.reg .pred p; setp.ne.b32 p, " adds ", 0; "                                                                                \
    "wgmma.mma_async.sync.aligned.m64n" columns "k32.s32.s8.s8 {" registers "}, " a ", " b ", p;}"

/**
 * Asks for d (64, 2 n) = [d +] A B^T over 32 of k; n sums a thread, in which order wgmma_all() tells.  A (64 rows) and B (2 n
 * rows) by their descriptors, the same in all 128 threads.  d must be let alone until its group was waited for.
 */
template <int n>
static __device__ __forceinline__ void wgmma_s8(struct wgmma_thread *t, int32_t (&d)[n], uint64_t a, uint64_t b, bool adds)
{
    static_assert(n == 32 || n == 64 || n == 128, "64, 128 or 256 columns");
#ifdef CUDA_EMULATED
    assert(t->n_pending < WGMMA_PENDING);
    struct wgmma_pending *op = &t->pending[t->n_pending++];
    *op = (struct wgmma_pending){d, a, b, 2 * n, adds, t->group, 0};
    if (threadIdx.x % 128 == 0)
        op->seen = wgmma_seen(t->window, op);
#else
    if constexpr (n == 32)
        asm volatile(WGMMA_ASM("64", WGMMA_0_31, "%32", "%33", "%34") : WGMMA_D32(0) : "l"(a), "l"(b), "r"((int)adds));
    else if constexpr (n == 64)
        asm volatile(WGMMA_ASM("128", WGMMA_0_31 ", " WGMMA_32_63, "%64", "%65", "%66")
                     : WGMMA_D32(0), WGMMA_D32(32)
                     : "l"(a), "l"(b), "r"((int)adds));
    else
        asm volatile(WGMMA_ASM("256", WGMMA_0_31 ", " WGMMA_32_63 ", " WGMMA_64_127, "%128", "%129", "%130")
                     : WGMMA_D32(0), WGMMA_D32(32), WGMMA_D32(64), WGMMA_D32(96)
                     : "l"(a), "l"(b), "r"((int)adds));
#endif
}

#endif
