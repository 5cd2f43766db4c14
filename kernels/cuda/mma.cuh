/**
 * kernels/cuda/mma.cuh - instructions that C has no words for, each as a function with a host body for the emulation.
 *
 * In matrix instructions lane l of a warp is g = l / 4, t = l % 4, and holds of
 *   a (16 rows, 32 bytes of k)   a[0]: row g, bytes 4t..4t+3; a[1]: row g + 8; a[2], a[3]: the same rows, 16 bytes further
 *   b (8 columns, 32 bytes of k) b[0]: column g, bytes 4t..4t+3; b[1]: 16 bytes further
 *   c (16, 8)                    c[0], c[1]: row g, columns 2t and 2t + 1; c[2], c[3]: row g + 8
 * which for both operands is what ldmatrix gives from rows with k contiguous.  PTX ISA, "Matrix fragments for mma".
 */
#ifndef KERNELS_CUDA_MMA_CUH
#define KERNELS_CUDA_MMA_CUH

#include "kernels/cuda/cuda.h"

#ifdef CUDA_EMULATED
#include <assert.h>
#include <string.h>

/* What a lane brings to a matrix instruction. */
struct mma_lane {
    void *c;
    const uint32_t *a, *b;
};

/* Byte k of row i of an operand of rows that are held as above, `n_words` apart by 16 bytes, in the registers of all lanes. */
static inline int mma_byte(void *const *of_lane, bool is_a, int i, int k)
{
    const struct mma_lane *lane = (const struct mma_lane *)of_lane[i % 8 * 4 + k % 16 / 4];
    uint32_t word = is_a ? lane->a[i / 8 + k / 16 * 2] : lane->b[k / 16];
    return (int8_t)(word >> k % 4 * 8);
}

static inline void mma_s8_all(void *const *of_lane, size_t n)
{
    int8_t a[16][32], b[8][32];
    for (int k = 0; k < 32; k++) {
        for (int i = 0; i < 16; i++)
            a[i][k] = (int8_t)mma_byte(of_lane, true, i, k);
        for (int j = 0; j < 8; j++)
            b[j][k] = (int8_t)mma_byte(of_lane, false, j, k);
    }
    for (size_t l = 0; l < n; l++)
        for (size_t e = 0; e < 4; e++) {
            int32_t sum = 0;
            for (int k = 0; k < 32; k++)
                sum += a[l / 4 + e / 2 * 8][k] * b[l % 4 * 2 + e % 2][k];
            ((int32_t *)((struct mma_lane *)of_lane[l])->c)[e] += sum;
        }
}

static inline float mma_bf16(uint32_t word, int half)
{
    uint32_t bits = half ? word & 0xffff0000u : word << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Sums in float, as the carrier of integers needs them: exact as long as they stay below 2^24. */
static inline void mma_bf16_all(void *const *of_lane, size_t n)
{
    float a[16][16], b[8][16];
    for (size_t l = 0; l < n; l++) {
        const struct mma_lane *lane = (const struct mma_lane *)of_lane[l];
        for (size_t e = 0; e < 8; e++)
            a[l / 4 + e / 2 % 2 * 8][l % 4 * 2 + e % 2 + e / 4 * 8] = mma_bf16(lane->a[e / 2], e % 2);
        for (size_t e = 0; e < 4; e++)
            b[l / 4][l % 4 * 2 + e % 2 + e / 2 * 8] = mma_bf16(lane->b[e / 2], e % 2);
    }
    for (size_t l = 0; l < n; l++)
        for (size_t e = 0; e < 4; e++) {
            float *c = (float *)((struct mma_lane *)of_lane[l])->c + e;
            for (int k = 0; k < 16; k++)
                *c += a[l / 4 + e / 2 * 8][k] * b[l % 4 * 2 + e % 2][k];
        }
}

/* The instruction of 8 rows and 16 bytes of k. */
static inline void mma_s8_small_all(void *const *of_lane, size_t n)
{
    for (size_t l = 0; l < n; l++)
        for (size_t e = 0; e < 2; e++) {
            int32_t sum = 0;
            for (int k = 0; k < 16; k++) {
                const struct mma_lane *row = (const struct mma_lane *)of_lane[l / 4 * 4 + k / 4];
                const struct mma_lane *column = (const struct mma_lane *)of_lane[(l % 4 * 2 + e) * 4 + k / 4];
                sum += (int8_t)(*row->a >> k % 4 * 8) * (int8_t)(*column->b >> k % 4 * 8);
            }
            ((int32_t *)((struct mma_lane *)of_lane[l])->c)[e] += sum;
        }
}

/* What a lane brings to ldmatrix: the row whose address it gives, and its registers. */
struct ldmatrix_lane {
    const void *row;
    uint32_t *to;
};

static inline void ldmatrix_all(void *const *of_lane, size_t n)
{
    for (size_t l = 0; l < n; l++)
        for (size_t m = 0; m < 4; m++) {
            const struct ldmatrix_lane *from = (const struct ldmatrix_lane *)of_lane[m * 8 + l / 4];
            memcpy(((struct ldmatrix_lane *)of_lane[l])->to + m, (const char *)from->row + l % 4 * 4, 4);
        }
}
#else
static __device__ __forceinline__ uint32_t shared_address(const void *at)
{
    return (uint32_t)__cvta_generic_to_shared(at);
}
#endif

/** Four matrices of 8 rows of 16 bytes: lanes 8m..8m+7 give the rows' addresses of matrix m; to[m] is the lane's word of it. */
static __device__ __forceinline__ void ldmatrix(uint32_t (&to)[4], const void *row)
{
#ifdef CUDA_EMULATED
    struct ldmatrix_lane mine = {row, to};
    emulate_meet(32, &mine, ldmatrix_all);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
#endif
}

/** c += a b, int8, in one instruction of 32 bytes of k (sm_80). */
static __device__ __forceinline__ void mma_s8(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
#ifdef CUDA_EMULATED
    struct mma_lane mine = {c, a, b};
    emulate_meet(32, &mine, mma_s8_all);
#elif __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/** A quarter of that (sm_75): 8 rows, 16 bytes. */
static __device__ __forceinline__ void mma_s8_small(int32_t *c, uint32_t a, uint32_t b)
{
#ifdef CUDA_EMULATED
    struct mma_lane mine = {c, &a, &b};
    emulate_meet(32, &mine, mma_s8_small_all);
#else
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
                 : "+r"(c[0]), "+r"(c[1])
                 : "r"(a), "r"(b));
#endif
}

/** c (16, 8) += a (16, 16) b (16, 8), bf16 with sums in float (sm_80); a register holds two neighbours of k. */
static __device__ __forceinline__ void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
#ifdef CUDA_EMULATED
    struct mma_lane mine = {c, a, b};
    emulate_meet(32, &mine, mma_bf16_all);
#elif __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/** x - y of two pairs of bf16 (sm_80). */
static __device__ __forceinline__ uint32_t bf16_minus(uint32_t x, uint32_t y)
{
#ifdef CUDA_EMULATED
    uint32_t pair = 0;
    for (int half = 0; half < 2; half++) {
        float z = mma_bf16(x, half) - mma_bf16(y, half);
        uint32_t bits;
        memcpy(&bits, &z, sizeof bits);
        pair |= bits >> 16 << half * 16; /* exact where it is used */
    }
    return pair;
#elif __CUDA_ARCH__ >= 800
    uint32_t z;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(z) : "r"(y), "r"(0xbf80bf80u), "r"(x));
    return z;
#else
    return x - y;
#endif
}

/**
 * Copies of 16 bytes from global to shared memory that go on by themselves (sm_80; elsewhere they are plain copies).  A thread's copies up to
 * a close() are a group; wait<N>() returns when all but the latest N groups are there.  The emulation spoils the target at once
 * and copies as late as it may, so that a buffer that is overwritten too early or read too soon is seen.
 */
struct copies {
#ifdef CUDA_EMULATED
    enum { MOST_GROUPS = 8, MOST_COPIES = 64 };
    struct {
        void *to;
        const void *from;
        size_t n_bytes;
    } copy[MOST_GROUPS][MOST_COPIES];
    size_t n_copies[MOST_GROUPS];
    size_t first, end; /* groups that are under way; end is open */
#endif
};

static __device__ __forceinline__ void copies_begin(struct copies *x)
{
#ifdef CUDA_EMULATED
    x->first = x->end = x->n_copies[0] = 0;
#endif
}

/** 16 bytes, of which n_bytes are read and the rest is 0. */
static __device__ __forceinline__ void copies_add(struct copies *x, void *to, const void *from, uint32_t n_bytes)
{
#ifdef CUDA_EMULATED
    size_t group = x->end % copies::MOST_GROUPS;
    assert(x->n_copies[group] < copies::MOST_COPIES && ((uintptr_t)to | (uintptr_t)from) % 16 == 0 && n_bytes <= 16);
    x->copy[group][x->n_copies[group]++] = {to, from, n_bytes};
    memset(to, 0x5a, 16);
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(__cvta_generic_to_global(from)),
                 "r"(n_bytes)
                 : "memory");
#endif
}

static __device__ __forceinline__ void copies_close(struct copies *x)
{
#ifdef CUDA_EMULATED
    x->end++;
    assert(x->end - x->first < copies::MOST_GROUPS);
    x->n_copies[x->end % copies::MOST_GROUPS] = 0;
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int N> static __device__ __forceinline__ void copies_wait(struct copies *x)
{
#ifdef CUDA_EMULATED
    for (; x->end - x->first > N; x->first++)
        for (size_t i = 0; i < x->n_copies[x->first % copies::MOST_GROUPS]; i++) {
            auto &copy = x->copy[x->first % copies::MOST_GROUPS][i];
            memset(copy.to, 0, 16);
            memcpy(copy.to, copy.from, copy.n_bytes);
        }
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

#endif
