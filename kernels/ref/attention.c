/*
 * ref/attention.c - causal attention and its gradient.
 *
 * Rows are treated in blocks of 32, and a block's sums over j run to the last column that any of its rows sees: terms
 * above the diagonal are there, with a weight of +0.  They change no value, but a chain that underflowed to -0 becomes
 * +0 by them, so where they begin and end belongs to the definition.  Faster sets may then take a block as one product.
 */
#include <math.h>

#include "kernels/ref/ref.h"

/* Columns that the block of row i treats, and the first row whose block treats column j. */
static size_t columns_of(size_t i, size_t T)
{
    size_t end = (i / REF_ATTENTION_ROWS + 1) * REF_ATTENTION_ROWS;
    return end < T ? end : T;
}

static size_t first_row_of(size_t j)
{
    return j / REF_ATTENTION_ROWS * REF_ATTENTION_ROWS;
}

static float chain(const float *x, const float *y, size_t n)
{
    float sum = 0.0f;
    for (size_t k = 0; k < n; k++)
        sum = fmaf(x[k], y[k], sum);
    return sum;
}

/* One row of probabilities: softmax over j <= i, +0 beyond. */
static void weigh(float *prob, const float *q, const float *k, float scale, size_t i, size_t T, size_t ld, size_t hd)
{
    for (size_t j = 0; j <= i; j++)
        prob[j] = chain(q, k + j * ld, hd) * scale;
    for (size_t j = i + 1; j < T; j++)
        prob[j] = 0.0f;
    float max;
    float inverse = 1.0f / ref_exp_row(prob, &max, prob, i + 1);
    for (size_t j = 0; j <= i; j++)
        prob[j] = prob[j] * inverse;
}

static void attend(float *out, float *prob, const float *q, const float *k, const float *v, float scale, size_t T, size_t ld,
                   size_t hd)
{
    for (size_t i = 0; i < T; i++) {
        weigh(prob + i * T, q + i * ld, k, scale, i, T, ld, hd);
        for (size_t c = 0; c < hd; c++) {
            float sum = 0.0f;
            for (size_t j = 0; j < columns_of(i, T); j++)
                sum = fmaf(prob[i * T + j], v[j * ld + c], sum);
            out[i * ld + c] = sum;
        }
    }
}

void ref_attention(float *out, float *prob, const float *q, const float *k, const float *v, float scale, size_t B, size_t T,
                   size_t n_heads, size_t hd)
{
    size_t ld = n_heads * hd;
    for (size_t b = 0; b < B; b++) {
        for (size_t head = 0; head < n_heads; head++) {
            size_t at = b * T * ld + head * hd;
            attend(out + at, prob + (b * n_heads + head) * T * T, q + at, k + at, v + at, scale, T, ld, hd);
        }
    }
}

/* gs (T, T) = gradient of the scores before scaling: prob (<gout, v> - sum over j of prob <gout, v>) scale. */
static void score_grad(float *gs, const float *gout, const float *prob, const float *v, float scale, size_t T, size_t ld,
                       size_t hd)
{
    for (size_t i = 0; i < T; i++) {
        float *row = gs + i * T;
        const float *p = prob + i * T;
        for (size_t j = 0; j <= i; j++)
            row[j] = chain(gout + i * ld, v + j * ld, hd);
        float mean = ref_dot(p, row, i + 1);
        for (size_t j = 0; j <= i; j++)
            row[j] = (p[j] * (row[j] - mean)) * scale;
        for (size_t j = i + 1; j < T; j++)
            row[j] = 0.0f;
    }
}

/* gx (T, hd) = w^T y: column j of w against the rows of y, i ascending. */
static void column_sums(float *gx, const float *w, const float *y, size_t T, size_t ld, size_t hd)
{
    for (size_t j = 0; j < T; j++) {
        for (size_t c = 0; c < hd; c++) {
            float sum = 0.0f;
            for (size_t i = first_row_of(j); i < T; i++)
                sum = fmaf(w[i * T + j], y[i * ld + c], sum);
            gx[j * ld + c] = sum;
        }
    }
}

static void query_grad(float *gq, const float *gs, const float *k, size_t T, size_t ld, size_t hd)
{
    for (size_t i = 0; i < T; i++) {
        for (size_t c = 0; c < hd; c++) {
            float sum = 0.0f;
            for (size_t j = 0; j < columns_of(i, T); j++)
                sum = fmaf(gs[i * T + j], k[j * ld + c], sum);
            gq[i * ld + c] = sum;
        }
    }
}

void ref_attention_grad(float *gq, float *gk, float *gv, float *work, const float *gout, const float *prob, const float *q,
                        const float *k, const float *v, float scale, size_t B, size_t T, size_t n_heads, size_t hd)
{
    size_t ld = n_heads * hd;
    for (size_t b = 0; b < B; b++) {
        for (size_t head = 0; head < n_heads; head++) {
            size_t at = b * T * ld + head * hd;
            const float *p = prob + (b * n_heads + head) * T * T;
            column_sums(gv + at, p, gout + at, T, ld, hd);
            score_grad(work, gout + at, p, v + at, scale, T, ld, hd);
            query_grad(gq + at, work, k + at, T, ld, hd);
            column_sums(gk + at, work, q + at, T, ld, hd);
        }
    }
}
