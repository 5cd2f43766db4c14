/**
 * kernels/cuda/product_mma.cuh - tiles by matrix instructions: the kernel, and the forms of tile for large and small shapes.
 */
#ifndef KERNELS_CUDA_PRODUCT_MMA_CUH
#define KERNELS_CUDA_PRODUCT_MMA_CUH

#include "kernels/cuda/product_tile.cuh"

/* Where the outputs of a thread's fragments are, and, with several parts, their values so far. */
template <struct tile T, int S, bool HAS_PARTS> struct outputs {
    using shape = struct sums<T, S>;
    static constexpr bool is_shared = T.warps_k > 1; /* the sums of several warps meet */
    static constexpr int M = is_shared ? 1 : shape::M, N = is_shared ? 1 : shape::N;
    static constexpr int E = is_shared ? T.rows * T.columns / tile_threads(T) : 4;
    size_t i, j; /* of the warp's first output, or of the block's */
    float y[HAS_PARTS ? M : 1][HAS_PARTS ? N : 1][E];
};

/* Two neighbours of a row: one access where the row allows it. */
static __device__ __forceinline__ bool has_pair(const struct product *p, size_t j)
{
    return p->ldc % 2 == 0 && (size_t)p->c % 8 == 0 && j + 1 < p->N;
}
static __device__ __forceinline__ float2 pair_read(const struct product *p, size_t i, size_t j)
{
    const float *c = p->c + i * p->ldc + j;
    if (!p->accumulate || i >= p->M || j >= p->N)
        return make_float2(0, 0);
    if (has_pair(p, j))
        return *(const float2 *)c;
    return make_float2(c[0], j + 1 < p->N ? c[1] : 0);
}
static __device__ __forceinline__ void pair_write(const struct product *p, size_t i, size_t j, float2 y)
{
    float *c = p->c + i * p->ldc + j;
    if (i >= p->M || j >= p->N)
        return;
    if (has_pair(p, j)) {
        *(float2 *)c = y;
        return;
    }
    c[0] = y.x;
    if (j + 1 < p->N)
        c[1] = y.y;
}

/* All old values, or all new ones: with several parts they wait in registers. */
template <struct tile T, int S>
static __device__ __forceinline__ void read_fragments(struct outputs<T, S, true> *out, const struct product *p)
{
#pragma unroll
    for (int at = 0; at < out->M * out->N * 2; at++) {
        int m = at / 2 / out->N, n = at / 2 % out->N, half = at % 2;
        size_t i = out->i + threadIdx.x % 32 / 4 + m * 16 + half * 8, j = out->j + threadIdx.x % 4 * 2 + n * 8;
        float2 y = pair_read(p, i, j);
        out->y[m][n][2 * half] = y.x, out->y[m][n][2 * half + 1] = y.y;
    }
}
template <struct tile T, int S>
static __device__ __forceinline__ void write_fragments(const struct outputs<T, S, true> *out, const struct product *p)
{
    uint32_t thread = anew(threadIdx.x);
#pragma unroll
    for (int at = 0; at < out->M * out->N * 2; at++) {
        int m = at / 2 / out->N, n = at / 2 % out->N, half = at % 2;
        size_t i = out->i + thread % 32 / 4 + m * 16 + half * 8, j = out->j + thread % 4 * 2 + n * 8;
        pair_write(p, i, j, make_float2(out->y[m][n][2 * half], out->y[m][n][2 * half + 1]));
    }
}

/* The end of a part for fragments that a warp has to itself. */
template <struct tile T, int S, bool HAS_PARTS>
static __device__ __forceinline__ void end_fragments(struct outputs<T, S, HAS_PARTS> *out, const struct sums<T, S> *x,
                                                     const struct product *p, int part)
{
    struct part_exponents exponents = part_exponents(p, part);
    uint32_t thread = anew(threadIdx.x);
    size_t i = out->i + thread % 32 / 4, j = out->j + thread % 4 * 2;
#pragma unroll
    for (int m = 0; m < x->M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            size_t row = i + m * 16 + half * 8;
            int ea = exponent_at(exponents.a, row, row < p->M);
#pragma unroll
            for (int n = 0; n < x->N; n++) {
                const int32_t *high = x->whole[0][m][n] + 2 * half, *cross = x->whole[S - 1][m][n] + 2 * half;
                float2 y;
                if constexpr (HAS_PARTS)
                    y = make_float2(out->y[m][n][2 * half], out->y[m][n][2 * half + 1]);
                else
                    y = pair_read(p, row, j + n * 8);
                size_t column = j + n * 8;
                y.x = part_end<S>(high[0], cross[0], ea, exponent_at(exponents.b, column, column < p->N), y.x);
                y.y = part_end<S>(high[1], cross[1], ea, exponent_at(exponents.b, column + 1, column + 1 < p->N), y.y);
                if constexpr (HAS_PARTS)
                    out->y[m][n][2 * half] = y.x, out->y[m][n][2 * half + 1] = y.y;
                else
                    pair_write(p, row, j + n * 8, y);
            }
        }
}

/* Puts a warp's sums where those of the others are: (warps_k, S, rows, columns). */
template <struct tile T, int S>
static __device__ __forceinline__ void share_sums(int32_t *shared, const struct sums<T, S> *x, int warp_k, int row, int column)
{
    uint32_t thread = anew(threadIdx.x);
    int i = row + (int)(thread % 32 / 4), j = column + (int)(thread % 4 * 2);
#pragma unroll
    for (int s = 0; s < S; s++)
#pragma unroll
        for (int m = 0; m < x->M; m++)
#pragma unroll
            for (int n = 0; n < x->N; n++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    int at = (((warp_k * S + s) * T.rows) + i + m * 16 + half * 8) * T.columns + j + n * 8;
                    *(int2 *)(shared + at) = make_int2(x->whole[s][m][n][2 * half], x->whole[s][m][n][2 * half + 1]);
                }
}

/* The end of a part for sums that are in shared memory: every thread has outputs a block of threads apart. */
template <struct tile T, int S, bool HAS_PARTS>
static __device__ __forceinline__ void end_shared(struct outputs<T, S, HAS_PARTS> *out, const int32_t *shared,
                                                  const struct product *p, int part, bool is_last)
{
    struct part_exponents exponents = part_exponents(p, part);
    uint32_t thread = anew(threadIdx.x);
#pragma unroll
    for (int e = 0; e < out->E; e++) {
        int at = (int)thread + e * tile_threads(T);
        size_t i = out->i + (size_t)(at / T.columns), j = out->j + (size_t)(at % T.columns);
        if (i >= p->M || j >= p->N)
            continue;
        int32_t sum[2] = {0, 0};
#pragma unroll
        for (int from = 0; from < T.warps_k * S; from++)
            sum[from % S] += shared[from * T.rows * T.columns + at];
        float *c = p->c + i * p->ldc + j, y = part > 0 && HAS_PARTS ? out->y[0][0][e] : p->accumulate ? *c : 0.0f;
        y = part_end<S>(sum[0], sum[1], exponent_at(exponents.a, i, true), exponent_at(exponents.b, j, true), y);
        if (is_last)
            *c = y;
        out->y[0][0][e] = y;
    }
}

/* How many steps floats may carry sums: 1024 terms, or 512 pairs of cross terms, below 2^24. */
template <struct tile T, int S> static constexpr __host__ __device__ int carry_steps(void)
{
    return 1024 / S / T.k_bytes;
}

template <struct tile T, int S, bool HAS_PARTS>
__global__ void __launch_bounds__(tile_threads(T), T.n_blocks) multiply_tiles(const struct product p)
{
    CUDA_SHARED(int8_t, shared);
    int32_t *shared_sums = (int32_t *)(shared + T.n_stages * tile_stage_bytes(T, S));
    struct sums<T, S> sums;
    struct outputs<T, S, HAS_PARTS> out;
    struct pipe<T, S> pipe;
    int warp = (int)threadIdx.x / 32, warp_k = warp % T.warps_k, warp_n = warp / T.warps_k % T.warps_n,
        warp_m = warp / T.warps_k / T.warps_n;
    int row = warp_m * (T.rows / T.warps_m), column = warp_n * (T.columns / T.warps_n);
    tile_corner(&p, T.rows, T.columns, &out.i, &out.j);
    pipe_begin(&pipe, &p, shared, out.i, out.j);
    if (!out.is_shared)
        out.i += (size_t)row, out.j += (size_t)column;
    if constexpr (T.warps_k == 1 && HAS_PARTS)
        read_fragments(&out, &p);
    sums_clear(&sums);
    int part = 0, part_steps = (int)(p.part / T.k_bytes), part_last = part_steps - 1;
    for (int step = 0; step < pipe.n_steps; step++) {
        const int8_t *stage = pipe_enter(&pipe, step);
        bool is_last = step + 1 == pipe.n_steps, is_end = is_last || (HAS_PARTS && step == part_last);
#pragma unroll
        for (int slab = 0; slab < T.k_bytes / 32; slab += T.warps_k)
            slab_add<T, S>(&sums, stage, row, column, slab + warp_k);
        pipe_leave(&pipe, step);
        if (is_end || (step + 1) % carry_steps<T, S>() == 0)
            sums_carry(&sums);
        if (!is_end || (!HAS_PARTS && T.warps_k == 1))
            continue;
        if constexpr (T.warps_k > 1) {
            share_sums(shared_sums, &sums, warp_k, row, column);
            __syncthreads();
            end_shared(&out, shared_sums, &p, part, is_last);
        } else if constexpr (HAS_PARTS)
            end_fragments(&out, &sums, &p, part);
        sums_clear(&sums);
        part++, part_last += part_steps;
    }
    if constexpr (T.warps_k == 1 && HAS_PARTS)
        write_fragments(&out, &p);
    else if constexpr (T.warps_k == 1)
        end_fragments(&out, &sums, &p, 0);
}

/* Queues a product in tiles of one form. */
template <struct tile T, int S, bool HAS_PARTS> static void launch_tiles(const struct product *p)
{
    size_t n_tiles = ((p->M + T.rows - 1) / T.rows) * ((p->N + T.columns - 1) / T.columns);
    CUDA_LAUNCH((multiply_tiles<T, S, HAS_PARTS>), (unsigned)n_tiles, tile_threads(T), tile_shared_bytes(T, S), *p);
}

/* The same for any number of slices and parts, with the form for each. */
template <struct tile ONE, struct tile TWO, struct tile ONE_PARTS, struct tile TWO_PARTS>
static void launch_forms(const struct product *p)
{
    bool has_parts = p->K > p->part;
    if (p->a_low)
        has_parts ? launch_tiles<TWO_PARTS, 2, true>(p) : launch_tiles<TWO, 2, false>(p);
    else
        has_parts ? launch_tiles<ONE_PARTS, 1, true>(p) : launch_tiles<ONE, 1, false>(p);
}

#endif
