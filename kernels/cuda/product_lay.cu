/* cuda/product_lay.cu - integers on their way into products: copied, turned, or rounded from floats. */
#include "kernels/cuda/product_lay.h"

#include "kernels/cuda/product_i8.h"
#include "kernels/cuda/quantize.cuh"

#define THREADS 256

static size_t up_to(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

struct lay lay_of(size_t lines, size_t n_lines, size_t K, size_t part)
{
    size_t most = K < part ? K : part;
    struct lay to = {NULL, NULL, lines, n_lines, K, part, up_to(most, PRODUCT_K_PAD), 0};
    to.ld = cuda_parts(K, part) * to.part_ld;
    return to;
}

void lay_into(struct lay *to, void *memory, bool has_two)
{
    to->high = (int8_t *)memory;
    to->low = has_two ? to->high + lay_bytes(to) : NULL;
}

/* What comes to place q of a line: the term k, if k < end. */
struct terms {
    size_t k, end;
};
static __device__ __forceinline__ struct terms terms_at(const struct lay *to, size_t q)
{
    size_t part = q / to->part_ld, first = part * to->part, end = first + to->part;
    return {first + q % to->part_ld, end < to->K ? end : to->K};
}

/* ---- Where k lies together: 16 bytes a thread. */

struct source {
    const int8_t *high, *low;
    size_t ld;
};

static __global__ void copy_lines(struct lay to, struct source from)
{
    size_t n = to.n_lines * (to.ld / 16), line_chunks = to.ld / 16;
    const int8_t *x = blockIdx.y ? from.low : from.high;
    for (size_t at = blockIdx.x * (size_t)THREADS + threadIdx.x; at < n; at += (size_t)gridDim.x * THREADS) {
        size_t line = at / line_chunks;
        struct terms t = terms_at(&to, at % line_chunks * 16);
        uint32_t word[4] = {0, 0, 0, 0};
#pragma unroll
        for (int e = 0; e < 16; e++)
            if (line < to.lines && t.k + (size_t)e < t.end)
                word[e / 4] |= (uint32_t)(uint8_t)x[line * from.ld + t.k + (size_t)e] << e % 4 * 8;
        ((uint4 *)(blockIdx.y ? to.low : to.high))[at] = make_uint4(word[0], word[1], word[2], word[3]);
    }
}

/* ---- Where lines lie together: squares of 64 x 64 through shared memory. */

#define SQUARE 64
#define PITCH (SQUARE + 4)

/* Four lines of term k. */
static __device__ __forceinline__ uint32_t read_across(const int8_t *x, size_t ld, size_t k, size_t line, size_t lines)
{
    const int8_t *at = x + k * ld + line;
    if (line + 3 < lines && (size_t)at % 4 == 0)
        return *(const uint32_t *)at;
    uint32_t word = 0;
#pragma unroll
    for (int e = 0; e < 4; e++)
        if (line + (size_t)e < lines)
            word |= (uint32_t)(uint8_t)at[e] << e * 8;
    return word;
}

/* Sixteen terms of a line of the square. */
static __device__ __forceinline__ uint4 read_down(const uint8_t (*square)[PITCH], int k, int line)
{
    uint32_t word[4] = {0, 0, 0, 0};
#pragma unroll
    for (int e = 0; e < 16; e++)
        word[e / 4] |= (uint32_t)square[k + e][line] << e % 4 * 8;
    return make_uint4(word[0], word[1], word[2], word[3]);
}

static __global__ void turn_lines(struct lay to, struct source from)
{
    CUDA_SHARED_ARRAY(uint8_t, square, [SQUARE][PITCH]);
    const int8_t *x = blockIdx.z ? from.low : from.high;
    size_t q = (size_t)blockIdx.x * SQUARE, first = (size_t)blockIdx.y * SQUARE;
    struct terms t = terms_at(&to, q);
    int across = (int)threadIdx.x % 16 * 4, down = (int)threadIdx.x / 16;
    for (int k = down; k < SQUARE; k += THREADS / 16) {
        size_t line = first + (size_t)across, term = t.k + (size_t)k;
        bool exists = term < t.end && line < to.lines;
        *(uint32_t *)&square[k][across] = exists ? read_across(x, from.ld, term, line, to.lines) : 0;
    }
    __syncthreads();
    int line = (int)threadIdx.x / 4, k = (int)threadIdx.x % 4 * 16;
    if (first + (size_t)line < to.n_lines)
        *(uint4 *)((blockIdx.z ? to.low : to.high) + (first + (size_t)line) * to.ld + q + (size_t)k) = read_down(square, k, line);
}

void lay_integers(const struct lay *to, const int8_t *high, const int8_t *low, size_t ld, bool is_k_near)
{
    unsigned n_slices = low ? 2 : 1;
    struct source from = {high, low, ld};
    if (to->n_lines == 0 || to->ld == 0)
        return;
    if (is_k_near)
        CUDA_LAUNCH(copy_lines, dim3(cuda_grid(lay_bytes(to) / 16, THREADS, 1 << 16), n_slices), THREADS, 0, *to, from);
    else
        CUDA_LAUNCH(turn_lines, dim3((unsigned)(to->ld / SQUARE), (unsigned)cuda_parts(to->n_lines, SQUARE), n_slices), THREADS,
                    0, *to, from);
}

/* ---- Rounded from floats: a block has some columns of a part. */

#define COLUMNS 32
#define DEEP (THREADS / COLUMNS) /* rows that a block reads together */
#define STEEP (SQUARE + 8)

static __device__ __forceinline__ int fold_at(const int8_t *fold, size_t k)
{
    return fold ? fold[k] : 0;
}

/* The rule of each column; all threads of a column get the same. */
static __device__ __forceinline__ struct quantize_rule rule_of_column(const struct lay *to, const float *g, const int8_t *fold,
                                                                      size_t k, size_t end, size_t line)
{
    CUDA_SHARED_ARRAY(uint32_t, most, [DEEP][COLUMNS]);
    int column = (int)threadIdx.x % COLUMNS, down = (int)threadIdx.x / COLUMNS;
    uint32_t mine = 0;
    if (line < to->lines)
        for (size_t r = k + (size_t)down; r < end; r += DEEP) {
            int f = fold_at(fold, r);
            mine = max(mine, quantize_magnitude(quantize_folded(g[r * to->lines + line], f), f));
        }
    most[down][column] = mine;
    __syncthreads();
    for (int d = 0; d < DEEP; d++)
        mine = max(mine, most[d][column]);
    return quantize_rule_of(mine, to->low != NULL);
}

static __global__ void round_columns(struct lay to, int8_t *exponent, const float *g, const int8_t *fold)
{
    CUDA_SHARED_ARRAY(int8_t, high, [COLUMNS][STEEP]);
    CUDA_SHARED_ARRAY(int8_t, low, [COLUMNS][STEEP]);
    int column = (int)threadIdx.x % COLUMNS, down = (int)threadIdx.x / COLUMNS;
    size_t first = (size_t)blockIdx.x * COLUMNS, line = first + (size_t)column, part = blockIdx.y;
    size_t k = part * to.part, end = k + to.part < to.K ? k + to.part : to.K;
    struct quantize_rule rule = rule_of_column(&to, g, fold, k, end, line);
    bool has_two = to.low != NULL;
    if (line < to.lines && down == 0)
        exponent[part * to.lines + line] = (int8_t)rule.exponent;
    for (size_t q = 0; q < to.part_ld; q += SQUARE) {
        for (int r = down; r < SQUARE; r += DEEP) {
            size_t term = k + q + (size_t)r;
            bool exists = line < to.lines && term < end;
            int z = exists ? quantize_round(quantize_folded(g[term * to.lines + line], fold_at(fold, term)), rule.scale) : 0;
            high[column][r] = (int8_t)quantize_high(z, has_two);
            low[column][r] = (int8_t)quantize_low(z);
        }
        __syncthreads();
        size_t to_line = first + threadIdx.x / 8;
        int at = (int)threadIdx.x % 8 * 8;
        if (to_line < to.n_lines) {
            size_t place = to_line * to.ld + part * to.part_ld + q + (size_t)at;
            *(uint2 *)(to.high + place) = *(const uint2 *)&high[threadIdx.x / 8][at];
            if (has_two)
                *(uint2 *)(to.low + place) = *(const uint2 *)&low[threadIdx.x / 8][at];
        }
        __syncthreads();
    }
}

void lay_rounded(const struct lay *to, int8_t *exponent, const float *g, const int8_t *fold)
{
    if (to->n_lines == 0 || to->ld == 0)
        return;
    dim3 grid((unsigned)cuda_parts(to->n_lines, COLUMNS), (unsigned)cuda_parts(to->K, to->part));
    CUDA_LAUNCH(round_columns, grid, THREADS, 0, *to, exponent, g, fold);
}
