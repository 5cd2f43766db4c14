/**
 * kernels/cuda/product_tile.cuh - the exact-integer product as one fused pass: a block of threads computes a tile of the output.
 *
 * Steps of k_bytes of both slices of both operands pass through shared memory, several in flight; warps add the products of slices into
 * two sets of int32 sums, and at the end of a part these become floats in the output.  The matrix instruction is a constant of the
 * template.  A line of 64 or 128 bytes in shared memory has its chunks of 16 bytes exchanged by its number, so that
 * the eight lines that ldmatrix reads together lie in different banks.
 */
#ifndef KERNELS_CUDA_PRODUCT_TILE_CUH
#define KERNELS_CUDA_PRODUCT_TILE_CUH

#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/product_i8.h"

enum instruction { DP4A, IMMA16, IMMA32, BF16 };

/** A form of tile.  With warps_k above 1 the warps share out each step's k, and their sums meet in shared memory. */
struct tile {
    enum instruction instruction;
    int rows, columns;             /* of the output */
    int warps_m, warps_n, warps_k; /* who computes it */
    int k_bytes;                   /* in a step: 64 or 128 */
    int n_stages;                  /* of shared memory */
    int n_blocks;                  /* at least so many should fit into a unit */
};

static constexpr __host__ __device__ int tile_threads(struct tile t)
{
    return 32 * t.warps_m * t.warps_n * t.warps_k;
}
/* Only instructions that came with sm_80 can rely on its copies; the others carry a step through registers. */
static constexpr __host__ __device__ bool tile_copies(struct tile t)
{
    return t.instruction == IMMA32 || t.instruction == BF16;
}
static constexpr __host__ __device__ int tile_stage_bytes(struct tile t, int n_slices)
{
    return n_slices * (t.rows + t.columns) * t.k_bytes;
}
static constexpr __host__ __device__ int tile_sum_bytes(struct tile t, int n_slices)
{
    return t.warps_k > 1 ? t.warps_k * n_slices * t.rows * t.columns * 4 : 0;
}
static constexpr __host__ __device__ int tile_shared_bytes(struct tile t, int n_slices)
{
    return t.n_stages * tile_stage_bytes(t, n_slices) + tile_sum_bytes(t, n_slices);
}

/* Where chunk `chunk` of line `line` lies. */
template <int K_BYTES> static __device__ __forceinline__ int tile_place(int line, int chunk)
{
    int twist = K_BYTES == 64 ? line >> 1 & 3 : line & 7;
    return line * K_BYTES + ((chunk ^ twist) << 4);
}

/* Which tile a block has: eight rows of tiles at a time, column by column, so that blocks that run together share operands. */
static __device__ __forceinline__ void tile_corner(const struct product *p, int rows, int columns, size_t *i, size_t *j)
{
    size_t n_down = (p->M + rows - 1) / rows, n_across = (p->N + columns - 1) / columns;
    size_t block = blockIdx.x, group = block / (8 * n_across), first = 8 * group;
    size_t height = n_down - first < 8 ? n_down - first : 8, within = block - group * 8 * n_across;
    *i = (first + within % height) * rows;
    *j = within / height * columns;
}

/* ---- From global to shared memory ---- */

/* A thread's share of loading: chunk `chunk` of line `line` and of every n_lines-th after it, in all operands of a stage. */
template <struct tile T, int S> struct loader {
    static constexpr int line_chunks = T.k_bytes / 16, n_lines = tile_threads(T) / line_chunks;
    static constexpr int n_a = T.rows / n_lines, n_b = T.columns / n_lines; /* chunks of a slice */
    static_assert(T.rows % n_lines == 0 && T.columns % n_lines == 0, "all threads load alike");
    static constexpr int n_held = tile_copies(T) ? 1 : S * (n_a + n_b);
    int line, chunk;
    size_t a[n_a], b; /* offsets in the operands */
    struct copies copies;
    uint4 held[n_held]; /* a step on its way through registers */
};

template <struct tile T, int S>
static __device__ __forceinline__ void load_begin(struct loader<T, S> *x, const struct product *p, size_t i, size_t j)
{
    x->line = (int)threadIdx.x / x->line_chunks;
    x->chunk = (int)threadIdx.x % x->line_chunks;
#pragma unroll
    for (int e = 0; e < x->n_a; e++) {
        size_t row = i + (size_t)(x->line + e * x->n_lines);
        x->a[e] = (row < p->M ? row : p->M - 1) * p->lda + (size_t)x->chunk * 16;
    }
    x->b = (j + (size_t)x->line) * p->ldb + (size_t)x->chunk * 16;
    copies_begin(&x->copies);
}

/* How many of the 16 bytes of a at k exist. */
static __device__ __forceinline__ uint32_t bytes_left(const struct product *p, size_t k)
{
    return k >= p->K ? 0 : p->K - k < 16 ? (uint32_t)(p->K - k) : 16;
}

static __device__ __forceinline__ uint4 chunk_read(const int8_t *at, uint32_t n_bytes)
{
    if (n_bytes == 16)
        return __ldg((const uint4 *)at);
    uint32_t word[4] = {0, 0, 0, 0};
#pragma unroll
    for (uint32_t n = 0; n < 16; n++)
        if (n < n_bytes)
            word[n / 4] |= (uint32_t)(uint8_t)at[n] << n % 4 * 8;
    return make_uint4(word[0], word[1], word[2], word[3]);
}

/* Chunk number e of the thread: a's slices first, then those of b. */
template <struct tile T, int S>
static __device__ __forceinline__ const int8_t *chunk_source(const struct loader<T, S> *x, const struct product *p, int e,
                                                             size_t k)
{
    if (e < S * x->n_a)
        return (e < x->n_a ? p->a_high : p->a_low) + x->a[e % x->n_a] + k;
    int of_b = e - S * x->n_a;
    return (of_b < x->n_b ? p->b_high : p->b_low) + x->b + (size_t)(of_b % x->n_b * x->n_lines) * p->ldb + k;
}

template <struct tile T, int S>
static __device__ __forceinline__ int8_t *chunk_target(const struct loader<T, S> *x, int8_t *stage, int e)
{
    return stage + e * x->n_lines * T.k_bytes + tile_place<T.k_bytes>(x->line, x->chunk);
}

template <struct tile T, int S>
static __device__ __forceinline__ void load_copy(struct loader<T, S> *x, int8_t *stage, const struct product *p, size_t k)
{
    uint32_t n_bytes = bytes_left(p, k + (size_t)x->chunk * 16);
#pragma unroll
    for (int e = 0; e < S * (x->n_a + x->n_b); e++)
        copies_add(&x->copies, chunk_target(x, stage, e), chunk_source(x, p, e, k), e < S * x->n_a ? n_bytes : 16);
}

template <struct tile T, int S>
static __device__ __forceinline__ void load_hold(struct loader<T, S> *x, const struct product *p, size_t k)
{
    uint32_t n_bytes = bytes_left(p, k + (size_t)x->chunk * 16);
#pragma unroll
    for (int e = 0; e < x->n_held; e++)
        x->held[e] = chunk_read(chunk_source(x, p, e, k), e < S * x->n_a ? n_bytes : 16);
}

template <struct tile T, int S> static __device__ __forceinline__ void load_put(const struct loader<T, S> *x, int8_t *stage)
{
#pragma unroll
    for (int e = 0; e < x->n_held; e++)
        *(uint4 *)chunk_target(x, stage, e) = x->held[e];
}

/* Steps in flight. */
template <struct tile T, int S> struct pipe {
    const struct product *p;
    int8_t *shared;
    int n_steps;
    struct loader<T, S> load;
};

template <struct tile T, int S> static __device__ __forceinline__ int8_t *pipe_stage(const struct pipe<T, S> *x, int step)
{
    return x->shared + step % T.n_stages * tile_stage_bytes(T, S);
}

template <struct tile T, int S>
static __device__ __forceinline__ void pipe_begin(struct pipe<T, S> *x, const struct product *p, int8_t *shared, size_t i,
                                                  size_t j)
{
    x->p = p;
    x->shared = shared;
    x->n_steps = (int)((p->K + T.k_bytes - 1) / T.k_bytes);
    load_begin(&x->load, p, i, j);
    if constexpr (tile_copies(T)) {
        for (int step = 0; step < T.n_stages - 1; step++) {
            if (step < x->n_steps)
                load_copy(&x->load, pipe_stage(x, step), p, (size_t)step * T.k_bytes);
            copies_close(&x->load.copies);
        }
    } else {
        load_hold(&x->load, p, 0);
        load_put(&x->load, pipe_stage(x, 0));
    }
}

/* Waits for a step, and lets a later one begin in the stage that all are done with. */
template <struct tile T, int S> static __device__ __forceinline__ const int8_t *pipe_enter(struct pipe<T, S> *x, int step)
{
    if constexpr (tile_copies(T)) {
        int next = step + T.n_stages - 1;
        copies_wait<T.n_stages - 2>(&x->load.copies);
        __syncthreads();
        if (next < x->n_steps)
            load_copy(&x->load, pipe_stage(x, next), x->p, (size_t)next * T.k_bytes);
        copies_close(&x->load.copies);
    } else {
        __syncthreads();
        if (step + 1 < x->n_steps)
            load_hold(&x->load, x->p, (size_t)(step + 1) * T.k_bytes);
    }
    return pipe_stage(x, step);
}

template <struct tile T, int S> static __device__ __forceinline__ void pipe_leave(struct pipe<T, S> *x, int step)
{
    if constexpr (!tile_copies(T))
        if (step + 1 < x->n_steps)
            load_put(&x->load, pipe_stage(x, step + 1));
}

/* ---- Sums of a warp ---- */

/* Fragments of 16 x 8 outputs, by slices: [0] high by high, [1] the cross terms. */
template <struct tile T, int S> struct sums {
    static constexpr int M = T.rows / T.warps_m / 16, N = T.columns / T.warps_n / 8;
    static_assert(T.rows % (T.warps_m * 16) == 0 && T.columns % (T.warps_n * 16) == 0, "fragments come in pairs of columns");
    int32_t whole[S][M][N][4];
    float carried[T.instruction == BF16 ? S : 1][T.instruction == BF16 ? M : 1][N][4]; /* not yet in `whole` */
};

template <struct tile T, int S> static __device__ __forceinline__ void sums_clear(struct sums<T, S> *x)
{
#pragma unroll
    for (int s = 0; s < S; s++)
#pragma unroll
        for (int m = 0; m < x->M; m++)
#pragma unroll
            for (int n = 0; n < x->N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    x->whole[s][m][n][e] = 0;
                    if constexpr (T.instruction == BF16)
                        x->carried[s][m][n][e] = 0;
                }
}

/* What floats carried, into the integers: before their sums could reach 2^24. */
template <struct tile T, int S> static __device__ __forceinline__ void sums_carry(struct sums<T, S> *x)
{
    if constexpr (T.instruction == BF16) {
#pragma unroll
        for (int s = 0; s < S; s++)
#pragma unroll
            for (int m = 0; m < x->M; m++)
#pragma unroll
                for (int n = 0; n < x->N; n++)
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        x->whole[s][m][n][e] += __float2int_rn(x->carried[s][m][n][e]);
                        x->carried[s][m][n][e] = 0;
                    }
    }
}

/* Four bytes of k as bf16: two registers of two.  A byte's lower seven bits in the fraction of 128 give 128 + them, its sign bit there
 * gives 128 or 256; the difference is the integer. */
static __device__ __forceinline__ uint32_t bf16_pair(uint32_t bytes)
{
    uint32_t x = 0x43004300u | bytes;
    return bf16_minus(x & 0xff7fff7fu, x & 0xff80ff80u);
}
static __device__ __forceinline__ void bf16_of_bytes(uint32_t (&pairs)[2], uint32_t word)
{
    pairs[0] = bf16_pair(__byte_perm(word, 0, 0x4140));
    pairs[1] = bf16_pair(__byte_perm(word, 0, 0x4342));
}

/* c += a b over a slab of 32 bytes of k, operands as the instruction takes them (fragment<>). */
template <enum instruction I> struct fragment {
    static constexpr int words = I == BF16 ? 2 : 1; /* for four bytes of k */
};

/* The order of k does not matter as long as both operands have the same: bytes 0, 1 of a word pass for columns 2t, 2t + 1 of bf16
 * instructions, bytes 2, 3 for 2t + 8, 2t + 9. */
template <enum instruction I, int WORDS>
static __device__ __forceinline__ void fragment_take(uint32_t (&to)[WORDS * fragment<I>::words], const uint32_t *words)
{
#pragma unroll
    for (int w = 0; w < WORDS; w++)
        if constexpr (I == BF16) {
            uint32_t pairs[2];
            bf16_of_bytes(pairs, words[w]);
            to[2 * w] = pairs[0], to[2 * w + 1] = pairs[1];
        } else
            to[w] = words[w];
}

template <struct tile T, int S>
static __device__ __forceinline__ void fragment_add(struct sums<T, S> *x, int s, int m, int n,
                                                    const uint32_t (&a)[4 * fragment<T.instruction>::words],
                                                    const uint32_t (&b)[2 * fragment<T.instruction>::words])
{
    if constexpr (T.instruction == IMMA32)
        mma_s8(x->whole[s][m][n], a, b);
    else if constexpr (T.instruction == IMMA16)
#pragma unroll
        for (int e = 0; e < 4; e++)
            mma_s8_small(x->whole[s][m][n] + e % 2 * 2, a[e], b[e / 2]);
    else
#pragma unroll
        for (int half = 0; half < 2; half++) { /* 16 bytes each: words a[0], a[1], b[0], then a[2], a[3], b[1] */
            uint32_t a16[4] = {a[4 * half], a[4 * half + 2], a[4 * half + 1], a[4 * half + 3]},
                     b16[2] = {b[2 * half], b[2 * half + 1]};
            mma_bf16(x->carried[s][m][n], a16, b16);
        }
}

/* Adds slab `slab` of a stage to the sums of the warp whose first row is `row` and first column `column` of the tile. */
template <struct tile T, int S>
static __device__ __forceinline__ void slab_add(struct sums<T, S> *x, const int8_t *stage, int row, int column, int slab)
{
    constexpr enum instruction I = T.instruction;
    int lane = (int)threadIdx.x % 32, eighth = lane % 8, matrix = lane / 8;
    /* b's matrices: columns 0..7 of both halves of the slab, then columns 8..15; a's: both halves of the rows, then of the slab */
    int b_line = matrix / 2 * 8 + eighth, b_chunk = 2 * slab + matrix % 2, a_line = matrix % 2 * 8 + eighth,
        a_chunk = 2 * slab + matrix / 2;
    const int8_t *b_at = stage + (S * T.rows + column) * T.k_bytes + tile_place<T.k_bytes>(b_line, b_chunk);
    const int8_t *a_at = stage + row * T.k_bytes + tile_place<T.k_bytes>(a_line, a_chunk);
    uint32_t b[S][x->N][2 * fragment<I>::words];
#pragma unroll
    for (int s = 0; s < S; s++)
#pragma unroll
        for (int n = 0; n < x->N; n += 2) {
            uint32_t words[4];
            ldmatrix(words, b_at + (s * T.columns + n * 8) * T.k_bytes);
            fragment_take<I, 2>(b[s][n], words);
            fragment_take<I, 2>(b[s][n + 1], words + 2);
        }
#pragma unroll
    for (int m = 0; m < x->M; m++) {
        uint32_t a[S][4 * fragment<I>::words];
#pragma unroll
        for (int s = 0; s < S; s++) {
            uint32_t words[4];
            ldmatrix(words, a_at + (s * T.rows + m * 16) * T.k_bytes);
            fragment_take<I, 4>(a[s], words);
        }
#pragma unroll
        for (int n = 0; n < x->N; n++) {
            fragment_add<T, S>(x, 0, m, n, a[0], b[0][n]);
            if constexpr (S == 2) {
                fragment_add<T, S>(x, 1, m, n, a[0], b[1][n]);
                fragment_add<T, S>(x, 1, m, n, a[1], b[0][n]);
            }
        }
    }
}

/* ---- From sums to outputs ---- */

/* A number that the compiler must take as new here: else it computes addresses of outputs ahead of the loop over k and keeps
 * them in registers all the while. */
static __device__ __forceinline__ uint32_t anew(uint32_t x)
{
#ifndef CUDA_EMULATED
    asm volatile("" : "+r"(x));
#endif
    return x;
}

/* Output (i, j) after a part: y = fma(float(Z), 2^s, y). */
template <int S> static __device__ __forceinline__ float part_end(int32_t high, int32_t cross, int ea, int eb, float y)
{
    float z = S == 2 ? product_float(high, cross) : product_float(high);
    return __fmaf_rn(z, product_scale(ea, eb, S == 2), y);
}

static __device__ __forceinline__ int exponent_at(const int8_t *exponent, size_t at, bool exists)
{
    return exponent && exists ? exponent[at] : 0;
}

/* The exponents of part number `part`. */
struct part_exponents {
    const int8_t *a, *b;
};
static __device__ __forceinline__ struct part_exponents part_exponents(const struct product *p, int part)
{
    return {p->a_exponent ? p->a_exponent + (size_t)part * p->a_exponent_step : NULL,
            p->b_exponent ? p->b_exponent + (size_t)part * p->b_exponent_step : NULL};
}

#endif
