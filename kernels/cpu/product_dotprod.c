/*
 * cpu/product_dotprod.c - exact-integer products by sdot: four k of int8 a lane and instruction, both signed.
 *
 * A word of a is broadcast to the columns of b.  With two slices the high products have sums of their own; the two cross
 * products share others.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/quads.h"

#define ROWS_ONE ((size_t)12) /* 24 of 32 registers hold the sums, either way */
#define ROWS_TWO ((size_t)6)

static void right(int32_t *panel, const struct source *x, size_t n, size_t K)
{
    quads_right(panel, x, n, K, 0);
}

static inline int8x16_t load(const int32_t *words)
{
    return vreinterpretq_s8_s32(vld1q_s32(words));
}

/* Adds to each column's sum what four k bring: its bytes of b times those of the word. */
static inline ivec dot(ivec sum, int8x16_t b, const int32_t *word)
{
    return vdotq_s32(sum, b, vreinterpretq_s8_s32(vld1q_dup_s32(word)));
}

/* Constant n_rows and n_vecs let the compiler keep the sums in registers. */
static inline __attribute__((always_inline)) void run_one(int32_t *sums, const struct i8_row *rows, const int32_t *panel,
                                                          size_t n_steps, const size_t n_rows, const size_t n_vecs)
{
    ivec sum[ROWS_ONE][2];
#pragma GCC unroll 12
    for (size_t r = 0; r < n_rows; r++)
        sum[r][0] = sum[r][1] = iv_zero();
    for (size_t s = 0; s < n_steps; s++, panel += PANEL) {
        int8x16_t b[2];
        for (size_t v = 0; v < n_vecs; v++)
            b[v] = load(panel + v * WIDTH);
#pragma GCC unroll 12
        for (size_t r = 0; r < n_rows; r++)
            for (size_t v = 0; v < n_vecs; v++)
                sum[r][v] = dot(sum[r][v], b[v], rows[r].word + s);
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < n_rows; r++)
        for (size_t v = 0; v < n_vecs; v++)
            iv_store(sums + r * PANEL + v * WIDTH, sum[r][v]);
}

static inline __attribute__((always_inline)) void run_two(int32_t *sums, const struct i8_row *rows, const int32_t *panel,
                                                          size_t n_steps, const size_t n_rows, const size_t n_vecs)
{
    ivec sum[ROWS_TWO][2], cross[ROWS_TWO][2];
#pragma GCC unroll 6
    for (size_t r = 0; r < n_rows; r++)
        sum[r][0] = sum[r][1] = cross[r][0] = cross[r][1] = iv_zero();
    for (size_t s = 0; s < n_steps; s++, panel += 2 * PANEL) {
        int8x16_t high[2], low[2];
        for (size_t v = 0; v < n_vecs; v++) {
            high[v] = load(panel + v * WIDTH);
            low[v] = load(panel + PANEL + v * WIDTH);
        }
#pragma GCC unroll 6
        for (size_t r = 0; r < n_rows; r++) {
            const int32_t *a_high = rows[2 * r].word + s, *a_low = rows[2 * r + 1].word + s;
            for (size_t v = 0; v < n_vecs; v++) {
                sum[r][v] = dot(sum[r][v], high[v], a_high);
                cross[r][v] = dot(cross[r][v], low[v], a_high);
                cross[r][v] = dot(cross[r][v], high[v], a_low);
            }
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < n_rows; r++)
        for (size_t v = 0; v < n_vecs; v++) {
            iv_store(sums + 2 * r * PANEL + v * WIDTH, sum[r][v]);
            iv_store(sums + (2 * r + 1) * PANEL + v * WIDTH, cross[r][v]);
        }
}

#define TILE(slices, r)                                                                                                          \
    case 2 * r - 1:                                                                                                              \
        run_##slices(sums, rows, panel, n_steps, r, 1);                                                                          \
        break;                                                                                                                   \
    case 2 * r:                                                                                                                  \
        run_##slices(sums, rows, panel, n_steps, r, 2);                                                                          \
        break;

static void tile_one(int32_t *sums, const struct i8_row *rows, const int32_t *panel, size_t n_steps, size_t n_rows, size_t n_vecs)
{
    switch (2 * (n_rows - 1) + n_vecs) {
        TILE(one, 1)
        TILE(one, 2)
        TILE(one, 3)
        TILE(one, 4)
        TILE(one, 5)
        TILE(one, 6)
        TILE(one, 7)
        TILE(one, 8)
        TILE(one, 9)
        TILE(one, 10)
        TILE(one, 11)
        TILE(one, 12)
    }
}

static void tile_two(int32_t *sums, const struct i8_row *rows, const int32_t *panel, size_t n_steps, size_t n_rows, size_t n_vecs)
{
    switch (2 * (n_rows - 1) + n_vecs) {
        TILE(two, 1)
        TILE(two, 2)
        TILE(two, 3)
        TILE(two, 4)
        TILE(two, 5)
        TILE(two, 6)
    }
}

static void tile(int32_t *sums, const struct i8_row *rows, const int32_t *panel, size_t n_steps, size_t n_rows, size_t n_vecs,
                 size_t n_slices)
{
    if (n_slices == 2)
        tile_two(sums, rows, panel, n_steps, n_rows, n_vecs);
    else
        tile_one(sums, rows, panel, n_steps, n_rows, n_vecs);
}

static const struct i8_form form = {
    .n_terms = {0, 4, 4},
    .n_words = {0, 1, 2},
    .n_rows = {0, ROWS_ONE, ROWS_TWO},
    .n_steps = 1,
    .left = quads_left,
    .right = right,
    .tile = tile,
};

static size_t packed_bytes(size_t N, size_t K, size_t n_slices)
{
    return CPU(i8_packed_bytes)(&form, N, K, n_slices);
}

static void pack(void *packed, struct slices b, size_t N, size_t K)
{
    CPU(i8_pack)(&form, packed, b, N, K);
}

static void multiply(float *c, size_t ldc, struct slices a, const int8_t *a_exponent, const void *packed,
                     const int8_t *b_exponent, size_t M, size_t N, size_t K, bool accumulate)
{
    CPU(i8_multiply)(&form, c, ldc, a, a_exponent, packed, b_exponent, M, N, K, accumulate);
}

const struct kernels dotprod_kernels = {
    .name = "dotprod",
    .packed_bytes = packed_bytes,
    .pack = pack,
    .multiply = multiply,
    CPU_QUANTIZE,
    CPU_SHARED_KERNELS,
};
