/*
 * cpu/attention.c - causal attention as products over blocks of rows, each head a strided view.
 *
 * The blocks are those of ref/attention.c.  Scores are taken a block of columns at a time, for all rows that see it, so that
 * each key is packed once; sums over j or i a block of rows at a time.  Nothing above the diagonal blocks is worked out.
 */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref.h"

#define BLOCK REF_ATTENTION_ROWS

static size_t block_end(size_t from, size_t T)
{
    return from + BLOCK < T ? from + BLOCK : T;
}

/* w (T, T) = x y^T within the diagonal blocks and below; x, y (T, hd) with rows of ld. */
static void scores(float *w, const float *x, const float *y, size_t T, size_t ld, size_t hd)
{
    for (size_t j = 0; j < T; j += BLOCK)
        CPU(matmul)
    (w + j * T + j, T, matrix_of(x + j * ld, ld), matrix_transposed(y + j * ld, ld), T - j, block_end(j, T) - j, hd, false);
}

/* z (T, hd) = w y, each block of rows over the columns it sees. */
static void row_sums(float *z, const float *w, const float *y, size_t T, size_t ld, size_t hd)
{
    for (size_t i = 0; i < T; i += BLOCK) {
        size_t end = block_end(i, T);
        CPU(matmul)(z + i * ld, ld, matrix_of(w + i * T, T), matrix_of(y, ld), end - i, hd, end, false);
    }
}

/* z (T, hd) = w^T y, each block of columns over the rows that see it. */
static void column_sums(float *z, const float *w, const float *y, size_t T, size_t ld, size_t hd)
{
    for (size_t j = 0; j < T; j += BLOCK)
        CPU(matmul)
    (z + j * ld, ld, matrix_transposed(w + j * T + j, T), matrix_of(y + j * ld, ld), block_end(j, T) - j, hd, T - j, false);
}

static void scale_row(float *x, float a, size_t n)
{
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        v_store(x + i, v_mul(v_load(x + i), v_all(a)));
    if (i < n) {
        mask m = v_first(n - i);
        v_store_part(x + i, m, v_mul(v_load_part(x + i, m), v_all(a)));
    }
}

static void softmax_rows(float *prob, float scale, size_t T)
{
    for (size_t i = 0; i < T; i++) {
        float *row = prob + i * T, max;
        scale_row(row, scale, i + 1);
        float sum = CPU(exp_row)(row, &max, row, i + 1);
        scale_row(row, 1.0f / sum, i + 1);
        memset(row + i + 1, 0, (T - i - 1) * sizeof *row);
    }
}

void CPU(attention)(float *out, float *prob, const float *q, const float *k, const float *v, float scale, size_t B, size_t T,
                    size_t n_heads, size_t hd)
{
    size_t ld = n_heads * hd;
    for (size_t b = 0; b < B; b++) {
        for (size_t head = 0; head < n_heads; head++, prob += T * T) {
            size_t at = b * T * ld + head * hd;
            scores(prob, q + at, k + at, T, ld, hd);
            softmax_rows(prob, scale, T);
            row_sums(out + at, prob, v + at, T, ld, hd);
        }
    }
}

/* gs = (prob (gs - mean)) scale for the first n of a row */
static void score_grad_row(float *gs, const float *prob, float mean, float scale, size_t n)
{
    size_t j = 0;
    for (; j + WIDTH <= n; j += WIDTH) {
        vec x = v_mul(v_load(prob + j), v_sub(v_load(gs + j), v_all(mean)));
        v_store(gs + j, v_mul(x, v_all(scale)));
    }
    if (j < n) {
        mask m = v_first(n - j);
        vec x = v_mul(v_load_part(prob + j, m), v_sub(v_load_part(gs + j, m), v_all(mean)));
        v_store_part(gs + j, m, v_mul(x, v_all(scale)));
    }
}

static void score_grad(float *gs, const float *prob, float scale, size_t T)
{
    for (size_t i = 0; i < T; i++) {
        float mean = CPU(dot)(prob + i * T, gs + i * T, i + 1);
        score_grad_row(gs + i * T, prob + i * T, mean, scale, i + 1);
        memset(gs + i * T + i + 1, 0, (T - i - 1) * sizeof *gs);
    }
}

void CPU(attention_grad)(float *gq, float *gk, float *gv, float *work, const float *gout, const float *prob, const float *q,
                         const float *k, const float *v, float scale, size_t B, size_t T, size_t n_heads, size_t hd)
{
    size_t ld = n_heads * hd;
    for (size_t b = 0; b < B; b++) {
        for (size_t head = 0; head < n_heads; head++, prob += T * T) {
            size_t at = b * T * ld + head * hd;
            column_sums(gv + at, prob, gout + at, T, ld, hd);
            scores(work, gout + at, v + at, T, ld, hd);
            score_grad(work, prob, scale, T);
            row_sums(gq + at, work, k + at, T, ld, hd);
            column_sums(gk + at, work, q + at, T, ld, hd);
        }
    }
}
