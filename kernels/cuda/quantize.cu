/* cuda/quantize.cu - floats into integers of one or two int8 slices and back, and what is asked of received ones. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/floats.cuh"
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/quantize.cuh"

/* Floats of a row that a thread keeps in registers between finding the magnitude and rounding. */
#define HELD 16
#define HELD_SWIGLU 8
#define ROW_THREADS_MAX 1024u
#define SHORT_ROWS 4u /* rows of a warp each that share a block */

/* Columns: threads of a block along and down, and the rows that one block walks. */
#define ALONG 32u
#define DOWN 8u
#define STRETCH ((size_t)128)
#define GRID_Y_MAX ((size_t)65535)

struct integers {
    int8_t *high, *low, *exponent;
};

/* Rows of floats, or, with `u`, of swiglu(x, u). */
struct source {
    const float *x, *u;
    const int8_t *fold;
    size_t ld;
};

/* -- Rows ------------------------------------------------------------------------------------------ */

/* What is read of W columns, so that several of these are on their way before the first is looked at. */
template <int W> struct piece {
    floats<W> x, u;
    bytes<W> fold;
};

template <int W, bool IS_SWIGLU> static __device__ __forceinline__ piece<W> read(struct source from, size_t r, size_t c)
{
    piece<W> p = {};
    p.x = *(const floats<W> *)(from.x + r * from.ld + c);
    if (IS_SWIGLU)
        p.u = *(const floats<W> *)(from.u + r * from.ld + c);
    if (from.fold)
        p.fold = *(const bytes<W> *)(from.fold + c);
    return p;
}

/* Leaves folded floats in p.x; returns the largest magnitude among them and `most`. */
template <int W, bool IS_SWIGLU> static __device__ __forceinline__ uint32_t fold(piece<W> *p, bool has_fold, uint32_t most)
{
#pragma unroll
    for (int w = 0; w < W; w++) {
        float x = IS_SWIGLU ? math_swiglu(p->x.at[w], p->u.at[w]) : p->x.at[w];
        p->x.at[w] = has_fold ? quantize_folded(x, p->fold.at[w]) : x;
        most = max(most, quantize_magnitude(p->x.at[w], p->fold.at[w]));
    }
    return most;
}

/* The largest over the threads of a row: a warp, or the whole block. */
static __device__ uint32_t most_of_row(uint32_t most)
{
    CUDA_SHARED_ARRAY(uint32_t, of_warp, [ROW_THREADS_MAX / LANES]);
    most = lanes_most(most);
    if (blockDim.x == LANES)
        return most;
    if (threadIdx.x % LANES == 0)
        of_warp[threadIdx.x / LANES] = most;
    __syncthreads();
    return lanes_most(threadIdx.x % LANES < blockDim.x / LANES ? of_warp[threadIdx.x % LANES] : 0);
}

template <int W> static __device__ __forceinline__ void write(struct integers to, floats<W> x, float scale, size_t at)
{
    bytes<W> high, low;
#pragma unroll
    for (int w = 0; w < W; w++) {
        int q = quantize_round(x.at[w], scale);
        high.at[w] = (int8_t)quantize_high(q, to.low);
        low.at[w] = (int8_t)quantize_low(q);
    }
    *(bytes<W> *)(to.high + at) = high;
    if (to.low)
        *(bytes<W> *)(to.low + at) = low;
}

/* A row is read once as far as the registers of its threads hold it, what lies beyond twice.  What no thread has is +0, whose
 * magnitude does not show. */
template <int W, bool IS_SWIGLU>
static __global__ void __launch_bounds__(ROW_THREADS_MAX) round_rows(struct integers to, struct source from, size_t R, size_t C)
{
    size_t r = (size_t)blockIdx.x * blockDim.y + threadIdx.y, first = threadIdx.x * W, step = blockDim.x * W;
    if (r >= R)
        return;
    constexpr size_t n_held = (IS_SWIGLU ? HELD_SWIGLU : HELD) / W;
    piece<W> held[n_held] = {};
    uint32_t most = 0;
#pragma unroll
    for (size_t i = 0; i < n_held; i++)
        if (first + i * step < C)
            held[i] = read<W, IS_SWIGLU>(from, r, first + i * step);
#pragma unroll
    for (size_t i = 0; i < n_held; i++)
        most = fold<W, IS_SWIGLU>(&held[i], from.fold, most);
    for (size_t c = first + n_held * step; c < C; c += step) {
        piece<W> beyond = read<W, IS_SWIGLU>(from, r, c);
        most = fold<W, IS_SWIGLU>(&beyond, from.fold, most);
    }
    struct quantize_rule rule = quantize_rule_of(most_of_row(most), to.low);
#pragma unroll
    for (size_t i = 0; i < n_held; i++)
        if (first + i * step < C)
            write<W>(to, held[i].x, rule.scale, r * C + first + i * step);
    for (size_t c = first + n_held * step; c < C; c += step) {
        piece<W> beyond = read<W, IS_SWIGLU>(from, r, c);
        fold<W, IS_SWIGLU>(&beyond, from.fold, 0);
        write<W>(to, beyond.x, rule.scale, r * C + c);
    }
    if (threadIdx.x == 0)
        to.exponent[r] = (int8_t)rule.exponent;
}

static bool is_wide(struct integers to, struct source from, size_t C)
{
    return C % FLOATS_WIDE == 0 && from.ld % FLOATS_WIDE == 0 && floats_wide(from.x, from.u) &&
           floats_aligned(to.high, FLOATS_WIDE) && floats_aligned(to.low, FLOATS_WIDE) && floats_aligned(from.fold, FLOATS_WIDE);
}

template <bool IS_SWIGLU> static void quantize_rows(struct integers to, struct source from, size_t R, size_t C)
{
    if (R == 0)
        return;
    size_t n_held = IS_SWIGLU ? HELD_SWIGLU : HELD;
    dim3 block(LANES, SHORT_ROWS);
    if (C > LANES * n_held)
        block = dim3(LANES * SHORT_ROWS);
    while (C > block.x * n_held && block.x > LANES && block.x < ROW_THREADS_MAX)
        block.x *= 2;
    dim3 grid((unsigned)((R + block.y - 1) / block.y));
    if (is_wide(to, from, C))
        CUDA_LAUNCH((round_rows<FLOATS_WIDE, IS_SWIGLU>), grid, block, 0, to, from, R, C);
    else
        CUDA_LAUNCH((round_rows<1, IS_SWIGLU>), grid, block, 0, to, from, R, C);
}

void cuda_quantize_rows(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                        size_t C)
{
    quantize_rows<false>({high, low, exponent}, {x, NULL, fold, ldx}, R, C);
}

void cuda_swiglu_rows(int8_t *high, int8_t *low, int8_t *exponent, const float *g, const float *u, const int8_t *fold, size_t R,
                      size_t C)
{
    quantize_rows<true>({high, low, exponent}, {g, u, fold, C}, R, C);
}

/* -- Columns --------------------------------------------------------------------------------------- */

/* Row r, W columns from c on, folded; returns the fold, 0 when there is none. */
template <int W> static __device__ __forceinline__ int read_across(float v[W], struct source from, size_t r, size_t c)
{
    floats<W> x = *(const floats<W> *)(from.x + r * from.ld + c);
    int fold = from.fold ? from.fold[r] : 0;
#pragma unroll
    for (int w = 0; w < W; w++)
        v[w] = from.fold ? quantize_folded(x.at[w], fold) : x.at[w];
    return fold;
}

/* How many rows of the stretch from `first` on are this thread's. */
static __device__ __forceinline__ size_t steps_down(size_t first, size_t R)
{
    return min(lanes_steps(R, first + threadIdx.y, DOWN), STRETCH / DOWN);
}

/* most (C), zeros before: the largest magnitude of each column.  Integers: the order in which blocks come does not show. */
template <int W>
static __global__ void __launch_bounds__(ALONG *DOWN) find_most(uint32_t *most, struct source from, size_t R, size_t C)
{
    CUDA_SHARED_ARRAY(uint32_t, of_thread, [DOWN][ALONG * W]);
    size_t c = ((size_t)blockIdx.x * ALONG + threadIdx.x) * W;
    uint32_t mine[W] = {0};
    for (size_t first = blockIdx.y * STRETCH; c < C && first < R; first += gridDim.y * STRETCH) {
        size_t n_steps = steps_down(first, R);
#pragma unroll 4
        for (size_t k = 0; k < n_steps; k++) {
            float v[W];
            int fold = read_across<W>(v, from, first + threadIdx.y + k * DOWN, c);
            for (int w = 0; w < W; w++)
                mine[w] = max(mine[w], quantize_magnitude(v[w], fold));
        }
    }
    for (int w = 0; w < W; w++)
        of_thread[threadIdx.y][threadIdx.x * W + w] = mine[w];
    __syncthreads();
    for (unsigned i = threadIdx.y * ALONG + threadIdx.x; i < ALONG * W; i += ALONG * DOWN) {
        uint32_t greatest = 0;
        for (unsigned d = 0; d < DOWN; d++)
            greatest = max(greatest, of_thread[d][i]);
        if (blockIdx.x * (size_t)ALONG * W + i < C)
            atomicMax(most + blockIdx.x * (size_t)ALONG * W + i, greatest);
    }
}

template <int W>
static __global__ void __launch_bounds__(ALONG *DOWN)
    round_columns(struct integers to, const uint32_t *most, struct source from, size_t R, size_t C)
{
    size_t c = ((size_t)blockIdx.x * ALONG + threadIdx.x) * W;
    if (c >= C)
        return;
    struct quantize_rule rule[W];
    for (int w = 0; w < W; w++) {
        rule[w] = quantize_rule_of(most[c + w], to.low);
        if (blockIdx.y == 0 && threadIdx.y == 0)
            to.exponent[c + w] = (int8_t)rule[w].exponent;
    }
    for (size_t first = blockIdx.y * STRETCH; first < R; first += gridDim.y * STRETCH) {
        size_t n_steps = steps_down(first, R);
#pragma unroll 4
        for (size_t k = 0; k < n_steps; k++) {
            size_t r = first + threadIdx.y + k * DOWN;
            float v[W];
            bytes<W> high, low;
            read_across<W>(v, from, r, c);
#pragma unroll
            for (int w = 0; w < W; w++) {
                int q = quantize_round(v[w], rule[w].scale);
                high.at[w] = (int8_t)quantize_high(q, to.low);
                low.at[w] = (int8_t)quantize_low(q);
            }
            *(bytes<W> *)(to.high + r * C + c) = high;
            if (to.low)
                *(bytes<W> *)(to.low + r * C + c) = low;
        }
    }
}

template <int W> static void quantize_columns(struct integers to, uint32_t *most, struct source from, size_t R, size_t C)
{
    size_t n_stretches = R ? (R + STRETCH - 1) / STRETCH : 1;
    dim3 grid((unsigned)((C + ALONG * W - 1) / (ALONG * W)), (unsigned)(n_stretches < GRID_Y_MAX ? n_stretches : GRID_Y_MAX));
    dim3 block(ALONG, DOWN);
    CUDA_LAUNCH((find_most<W>), grid, block, 0, most, from, R, C);
    CUDA_LAUNCH((round_columns<W>), grid, block, 0, to, most, from, R, C);
}

void cuda_quantize_columns(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                           size_t C)
{
    struct integers to = {high, low, exponent};
    struct source from = {x, NULL, fold, ldx};
    uint32_t *most = C ? (uint32_t *)cuda_scratch(0, C * sizeof *most) : NULL;
    if (!most)
        return;
    cuda_zero(most, C * sizeof *most);
    if (C % FLOATS_WIDE == 0 && ldx % FLOATS_WIDE == 0 && floats_wide(x) && floats_aligned(high, FLOATS_WIDE) &&
        floats_aligned(low, FLOATS_WIDE))
        quantize_columns<FLOATS_WIDE>(to, most, from, R, C);
    else
        quantize_columns<1>(to, most, from, R, C);
}

/* -- Back, and received integers --------------------------------------------------------------------- */

template <int W>
static __global__ void dequantize(float *x, const int8_t *high, const int8_t *low, const int8_t *exponent, size_t R, size_t C)
{
    size_t r = tiles_row(), c = tiles_step() * W;
    if (r >= R || c >= C)
        return;
    float power = quantize_power(exponent[r]);
    bytes<W> h = *(const bytes<W> *)(high + r * C + c), l = {};
    if (low)
        l = *(const bytes<W> *)(low + r * C + c);
    floats<W> y;
#pragma unroll
    for (int w = 0; w < W; w++)
        y.at[w] = __fmul_rn(__int2float_rn(low ? 256 * h.at[w] + l.at[w] : h.at[w]), power);
    *(floats<W> *)(x + r * C + c) = y;
}

void cuda_dequantize_rows(float *x, const int8_t *high, const int8_t *low, const int8_t *exponent, size_t R, size_t C)
{
    if (R == 0 || C == 0)
        return;
    bool is_wide = C % FLOATS_WIDE == 0 && floats_wide(x) && floats_aligned(high, FLOATS_WIDE) &&
                   floats_aligned(low, FLOATS_WIDE);
    struct tiles t = tiles_of(R, is_wide ? C / FLOATS_WIDE : C);
    if (is_wide)
        CUDA_LAUNCH((dequantize<FLOATS_WIDE>), t.grid, t.block, 0, x, high, low, exponent, R, C);
    else
        CUDA_LAUNCH((dequantize<1>), t.grid, t.block, 0, x, high, low, exponent, R, C);
}

template <int W> static __global__ void check_below(uint32_t *is_bad, const float *x, size_t n, uint32_t limit)
{
    size_t i = floats_mine<W>();
    if (i >= n)
        return;
    floats<W> v = floats_load<W>(x + i, n - i);
    bool has_bad = false;
    for (int w = 0; w < W; w++)
        has_bad |= i + w < n && math_magnitude(v.at[w]) >= limit;
    if (has_bad)
        *is_bad = 1; /* the same from every thread */
}

void cuda_check_below(uint32_t *is_bad, const float *x, size_t n, float limit)
{
    uint32_t bits;
    memcpy(&bits, &limit, sizeof bits);
    if (bits > MATH_INFINITE_BITS)
        bits = MATH_INFINITE_BITS;
    FLOATS_EACH(check_below, floats_wide(x), n, is_bad, x, n, bits);
}

#define WORD ((size_t)16)

struct alignas(WORD) word {
    uint32_t at[4];
};

/* Whether one of four bytes is -128. */
static __device__ __forceinline__ bool has_least(uint32_t four)
{
    uint32_t x = four ^ 0x80808080u;
    return ((x - 0x01010101u) & ~x & 0x80808080u) != 0;
}

/* Bytes `head`, then n_words aligned words, then bytes from `tail` to n_bytes; each thread sees to its number in each. */
static __global__ void check_rows(uint32_t *is_bad, const int8_t *exponent, const int8_t *high, size_t n, int exponent_max,
                                  size_t head, size_t n_words, size_t n_bytes)
{
    size_t i = floats_mine<1>(), tail = head + n_words * WORD;
    bool has_bad = i < n && (exponent[i] < QUANTIZE_EXPONENT_MIN || exponent[i] > exponent_max);
    has_bad |= i < head && high[i] == INT8_MIN;
    has_bad |= i < n_bytes - tail && high[tail + i] == INT8_MIN;
    if (i < n_words) {
        struct word word = *((const struct word *)(high + head) + i);
#pragma unroll
        for (int w = 0; w < 4; w++)
            has_bad |= has_least(word.at[w]);
    }
    if (has_bad)
        *is_bad = 1;
}

void cuda_check_rows(uint32_t *is_bad, const struct rows *rows, size_t n, size_t D, int8_t exponent_max)
{
    size_t n_bytes = n * D, head = (WORD - ((uintptr_t)rows->high & (WORD - 1))) & (WORD - 1);
    head = head < n_bytes ? head : n_bytes;
    size_t n_words = (n_bytes - head) / WORD, n_threads = n_words > n ? n_words : n;
    if (n == 0)
        return;
    CUDA_LAUNCH(check_rows, floats_grid(n_threads > WORD ? n_threads : WORD, 1), FLOATS_THREADS, 0, is_bad, rows->exponent,
                rows->high, n, (int)exponent_max, head, n_words, n_bytes);
}

static __global__ void shift_exponents(int8_t *to, const int8_t *from, int by, size_t n)
{
    size_t i = floats_mine<1>();
    if (i < n)
        to[i] = (int8_t)(from[i] + by);
}

void cuda_shift_exponents(int8_t *to, const int8_t *from, int by, size_t n)
{
    if (n > 0)
        CUDA_LAUNCH(shift_exponents, floats_grid(n, 1), FLOATS_THREADS, 0, to, from, by, n);
}
