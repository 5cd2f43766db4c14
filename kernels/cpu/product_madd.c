/*
 * cpu/product_madd.c - exact-integer products by vpmaddwd, for processors without int8 products; on Arm by smlal.
 *
 * vpmaddwd takes int16 and adds two products into int32.  With one slice a word is two k.  With two, one k: a word of a is
 * (256 high + low, high), one of b is (high, low), and the instruction gives 256 high high' + low high' + high low' at once,
 * the cost of two slices being twice that of one.  A term is at most 32640 * 127 + 127 * 128, so the sum over a block of 512
 * is below 2^31.  (vpmaddubsw, which takes bytes, saturates.)
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/product_i8.h"

#ifdef __AVX512F__
#define ROWS ((size_t)12) /* 24 of 32 registers hold the sums of 2 vectors */
#elif N_REGISTERS == 32
#define ROWS ((size_t)8) /* 16, since Arm halves each word into a register of its own */
#else
#define ROWS ((size_t)6) /* 12 of 16 */
#endif

static void left(struct i8_row *rows, const struct source *x, size_t n, size_t K)
{
    struct words to = {rows->word, sizeof *rows / sizeof *rows->word, 1, true, 0};
    if (x->low)
        words_lay(LEFT, &to, x, n, K);
    else
        words_lay(PAIR, &to, x, n, K);
}

static void right(int32_t *panel, const struct source *x, size_t n, size_t K)
{
    struct words to = {panel, 1, PANEL, false, 0};
    if (x->low)
        words_lay(RIGHT, &to, x, n, K);
    else
        words_lay(PAIR, &to, x, n, K);
}

/* Constant n_rows and n_vecs let the compiler keep `sum` in registers. */
static inline __attribute__((always_inline)) void run_tile(int32_t *sums, const struct i8_row *rows, const int32_t *panel,
                                                           size_t n_steps, const size_t n_rows, const size_t n_vecs)
{
    ivec sum[ROWS][2];
#pragma GCC unroll 12
    for (size_t r = 0; r < n_rows; r++)
        sum[r][0] = sum[r][1] = iv_zero();
    for (size_t s = 0; s < n_steps; s++, panel += PANEL) {
        ivec b[2];
        for (size_t v = 0; v < n_vecs; v++)
            b[v] = iv_load(panel + v * WIDTH);
#pragma GCC unroll 12
        for (size_t r = 0; r < n_rows; r++) {
            ivec a = iv_all(rows[r].word[s]);
            for (size_t v = 0; v < n_vecs; v++)
                sum[r][v] = iv_madd(sum[r][v], a, b[v]);
        }
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < n_rows; r++)
        for (size_t v = 0; v < n_vecs; v++)
            iv_store(sums + r * PANEL + v * WIDTH, sum[r][v]);
}

#define TILE(r)                                                                                                                  \
    case 2 * r - 1:                                                                                                              \
        run_tile(sums, rows, panel, n_steps, r, 1);                                                                              \
        break;                                                                                                                   \
    case 2 * r:                                                                                                                  \
        run_tile(sums, rows, panel, n_steps, r, 2);                                                                              \
        break;

static void tile(int32_t *sums, const struct i8_row *rows, const int32_t *panel, size_t n_steps, size_t n_rows, size_t n_vecs,
                 size_t n_slices)
{
    (void)n_slices; /* a word is a word */
    switch (2 * (n_rows - 1) + n_vecs) {
        TILE(1)
        TILE(2)
        TILE(3)
        TILE(4)
        TILE(5)
        TILE(6)
#if N_REGISTERS == 32
        TILE(7)
        TILE(8)
#endif
#ifdef __AVX512F__
        TILE(9)
        TILE(10)
        TILE(11)
        TILE(12)
#endif
    }
}

static const struct i8_form form = {
    .n_terms = {0, 2, 1},
    .n_words = {0, 1, 1},
    .n_rows = {0, ROWS, ROWS},
    .n_steps = 1,
    .left = left,
    .right = right,
    .tile = tile,
};

size_t CPU(packed_bytes)(size_t N, size_t K, size_t n_slices)
{
    return CPU(i8_packed_bytes)(&form, N, K, n_slices);
}

void CPU(pack)(void *packed, struct slices b, size_t N, size_t K)
{
    CPU(i8_pack)(&form, packed, b, N, K);
}

void CPU(multiply)(float *c, size_t ldc, struct slices a, const int8_t *a_exponent, const void *packed, const int8_t *b_exponent,
                   size_t M, size_t N, size_t K, bool accumulate)
{
    CPU(i8_multiply)(&form, c, ldc, a, a_exponent, packed, b_exponent, M, N, K, accumulate);
}
