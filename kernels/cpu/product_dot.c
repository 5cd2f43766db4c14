/*
 * cpu/product_dot.c - exact-integer products by vpdpbusd or Arm's sdot: four k of int8 a lane and instruction.
 *
 * vpdpbusd multiplies unsigned bytes by signed ones.  So b is packed with 128 added to each byte, and the sums of a row of a
 * start from -128 times the sum of its bytes; with sdot, whose bytes are all signed, they start from 0.  Sums may wrap on
 * their way: int32 is a ring, and the true sum fits.  With two slices the high products have sums of their own; the two cross
 * products share others.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/quads.h"

#ifdef __ARM_FEATURE_DOTPROD
#define SET dotprod_kernels
#define SET_NAME "dotprod"
#define ADDED 0
#define READS_ONCE true
#define ROWS_ONE ((size_t)12) /* 24 of 32 registers hold the sums, either way */
#define ROWS_TWO ((size_t)6)
static inline ivec dot(ivec sum, ivec b, ivec a)
{
    return vdotq_s32(sum, vreinterpretq_s8_s32(b), vreinterpretq_s8_s32(a));
}
#elif defined __AVX512F__
#define SET vnni_kernels
#define SET_NAME "vnni"
#define ADDED 128
#define READS_ONCE false      /* a word broadcast from memory costs nothing */
#define ROWS_ONE ((size_t)12) /* 24 of 32 registers hold the sums, either way */
#define ROWS_TWO ((size_t)6)
static inline ivec dot(ivec sum, ivec b, ivec a)
{
    return _mm512_dpbusd_epi32(sum, b, a);
}
#else
#define SET avxvnni_kernels
#define SET_NAME "avxvnni"
#define ADDED 128
#define READS_ONCE false     /* a word broadcast from memory costs nothing */
#define ROWS_ONE ((size_t)6) /* 12 of 16 */
#define ROWS_TWO ((size_t)3)
static inline ivec dot(ivec sum, ivec b, ivec a)
{
    return _mm256_dpbusd_avx_epi32(sum, b, a);
}
#endif

static int32_t sum_bytes(const struct i8_row *row, size_t n_steps)
{
    int32_t lane[WIDTH], total = 0;
    ivec sum = iv_zero(), ones = iv_all(0x01010101);
    for (size_t s = 0; s < n_steps; s += WIDTH)
        sum = dot(sum, ones, iv_load(row->word + s));
    iv_store(lane, sum);
    for (size_t i = 0; i < WIDTH; i++)
        total += lane[i];
    return total;
}

static void left(struct i8_row *rows, const struct source *x, size_t n, size_t K)
{
    size_t n_steps = quads_left(rows, x, n, K, WIDTH);
    for (size_t i = 0; i < n; i++, rows += x->low ? 2 : 1) {
        rows[0].start = -ADDED * sum_bytes(rows, n_steps);
        if (x->low) /* low times high, and high times low */
            rows[1].start = rows[0].start - ADDED * sum_bytes(rows + 1, n_steps);
    }
}

static void right(int32_t *panel, const struct source *x, size_t n, size_t K)
{
    quads_right(panel, x, n, K, (int32_t)(ADDED * 0x01010101u));
}

static inline __attribute__((always_inline)) void run_one(int32_t *sums, const struct i8_row *rows, const int32_t *panel,
                                                          size_t n_steps, const size_t n_rows, const size_t n_vecs)
{
    ivec sum[ROWS_ONE][2];
#pragma GCC unroll 12
    for (size_t r = 0; r < n_rows; r++)
        sum[r][0] = sum[r][1] = iv_all(rows[r].start);
    for (size_t s = 0; s < n_steps; s++, panel += PANEL) {
        ivec b[2];
        for (size_t v = 0; v < n_vecs; v++)
            b[v] = iv_load(panel + v * WIDTH);
#pragma GCC unroll 12
        for (size_t r = 0; r < n_rows; r++) {
            ivec a = iv_all(rows[r].word[s]);
            for (size_t v = 0; v < n_vecs; v++)
                sum[r][v] = dot(sum[r][v], b[v], a);
        }
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
    for (size_t r = 0; r < n_rows; r++) {
        sum[r][0] = sum[r][1] = iv_all(rows[2 * r].start);
        cross[r][0] = cross[r][1] = iv_all(rows[2 * r + 1].start);
    }
    for (size_t s = 0; s < n_steps; s++, panel += 2 * PANEL) {
        ivec b[2], low[2];
        const struct i8_row *again = rows;
        for (size_t v = 0; v < n_vecs; v++) {
            b[v] = iv_load(panel + v * WIDTH);
            low[v] = READS_ONCE ? iv_load(panel + PANEL + v * WIDTH) : iv_zero();
        }
#pragma GCC unroll 6
        for (size_t r = 0; r < n_rows; r++) {
            ivec a_high = iv_all(rows[2 * r].word[s]), a_low = iv_all(rows[2 * r + 1].word[s]);
            for (size_t v = 0; v < n_vecs; v++) {
                sum[r][v] = dot(sum[r][v], b[v], a_high);
                cross[r][v] = dot(cross[r][v], b[v], a_low);
                if (READS_ONCE)
                    cross[r][v] = dot(cross[r][v], low[v], a_high);
            }
        }
        if (READS_ONCE)
            continue;
        __asm__("" : "+r"(again)); /* high a is read twice rather than held: registers are short */
        for (size_t v = 0; v < n_vecs; v++)
            b[v] = iv_load(panel + PANEL + v * WIDTH);
#pragma GCC unroll 6
        for (size_t r = 0; r < n_rows; r++) {
            ivec a_high = iv_all(again[2 * r].word[s]);
            for (size_t v = 0; v < n_vecs; v++)
                cross[r][v] = dot(cross[r][v], b[v], a_high);
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
#if N_REGISTERS == 32
        TILE(one, 7)
        TILE(one, 8)
        TILE(one, 9)
        TILE(one, 10)
        TILE(one, 11)
        TILE(one, 12)
#endif
    }
}

static void tile_two(int32_t *sums, const struct i8_row *rows, const int32_t *panel, size_t n_steps, size_t n_rows, size_t n_vecs)
{
    switch (2 * (n_rows - 1) + n_vecs) {
        TILE(two, 1)
        TILE(two, 2)
        TILE(two, 3)
#if N_REGISTERS == 32
        TILE(two, 4)
        TILE(two, 5)
        TILE(two, 6)
#endif
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
    .left = left,
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

const struct kernels SET = {
    .name = SET_NAME,
    .packed_bytes = packed_bytes,
    .pack = pack,
    .multiply = multiply,
    CPU_QUANTIZE,
    CPU_SHARED_KERNELS,
};
