/**
 * kernels/kernels.h - the tensor operations, each with one definition to the bit.
 *
 * kernels/ref defines every operation in plain loops; kernels/cpu repeats signatures and bits with AVX2,
 * AVX-512 and NEON.  A `struct kernels` is one complete set; kernels_choose() picks the fastest that the machine runs.
 * All tensors are f32, row-major, dense unless a stride is named.  Outputs come first, shape last.
 * Any thread; no call allots (products use 592 KiB of each thread's static storage, which comes off a small stack).
 *
 * The order of operations (doc/numerics.md says it in full):
 *   product    each output is one chain of fmaf, k ascending, from +0, or from the old value when accumulating;
 *              so two products accumulated one after the other equal one product over the joined k
 *   row sum    32 interleaved lanes, element i in lane i % 32, each lane ascending from +0 by plain addition (of
 *              products: fmaf), then lanes l and l + 16, l + 8, l + 4, l + 2, l + 1 are added
 *   integer product   exact sums of int8 slices, combined as integers, rounded once: kernels/numerics.h
 *   exp, log, rsqrt, sigmoid, silu, sin, cos   kernels/ref/math.h: IEEE add, multiply, fmaf, divide, sqrt only
 */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hanse/err.h"
#include "kernels/numerics.h"

/** A matrix operand: element (i, j) is at[i * row + j * col]; one of the two strides is 1. */
struct matrix {
    const float *at;
    size_t row;
    size_t col;
};

/** Rows of `ld` floats as they lie, and the same seen transposed. */
static inline struct matrix matrix_of(const float *at, size_t ld)
{
    struct matrix m = {at, ld, 1};
    return m;
}
static inline struct matrix matrix_transposed(const float *at, size_t ld)
{
    struct matrix m = {at, 1, ld};
    return m;
}

#define SUM_PIECE ((size_t)4096) /* of sum_squares() */

/** What an AdamW or NAdamW step needs besides the tensors; all of it data of the step. */
struct adam_step {
    float lr; /* learning rate of this step */
    float beta1, beta2;
    float eps;
    float weight_decay; /* decoupled: p -= lr * weight_decay * p */
    float beta1_power;  /* beta1^t as a running product, t counting this step */
    float beta2_power;
    float grad_scale; /* the gradient is multiplied by this first (mean and clip) */
};

struct kernels {
    const char *name; /* "ref", "avx2", "avx512", "avxvnni", "vnni", "amx", "neon", "dotprod" */

    /** c (M, N; rows of ldc) = [c +] a (M, K) b (K, N).  K = 0 gives 0, or c when accumulating. */
    void (*matmul)(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate);

    /**
     * Integers from floats: q = rint(x * 2^-e), one exponent e a row: the least with which the row's largest magnitude
     * rounds to 127 at most (one slice: `low` is NULL), or to 32639.  high, low (R, C; rows of C) and exponent (R) out;
     * x (R, C; rows of ldx).  Where `fold` (C) is not NULL, column j is multiplied by 2^fold[j] first.  HANSE_EREJECT when
     * a row is not finite or reaches QUANTIZE_MAX: its exponent is QUANTIZE_BAD; the other rows are as without it.
     */
    int (*quantize_rows)(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                         size_t C);

    /** The same with an exponent (C) a column and a fold (R) of the rows; high, low (R, C) as they lay.  HANSE_EREJECT, and
     * nothing to be used, when a column is refused. */
    int (*quantize_columns)(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                            size_t C);

    /** x (R, C) = integer * 2^exponent of its row; exact. */
    void (*dequantize_rows)(float *x, const int8_t *high, const int8_t *low, const int8_t *exponent, size_t R, size_t C);

    /** Bytes of a right operand (K, N) packed for multiply(), and the packing itself; the layout is the set's own.  `packed`
     * lies on a multiple of 64. */
    size_t (*packed_bytes)(size_t N, size_t K, size_t n_slices);
    void (*pack)(void *packed, struct slices b, size_t N, size_t K);

    /**
     * c (M, N; rows of ldc) = [c +] the product of integers a (M, K) and b (K, N), both in as many slices, times
     * 2^(a_exponent[i] + b_exponent[j]); an exponent that is NULL is 0.  With two slices the product of the low slices is
     * left out.  Allots nothing.
     */
    void (*multiply)(float *c, size_t ldc, struct slices a, const int8_t *a_exponent, const void *packed,
                     const int8_t *b_exponent, size_t M, size_t N, size_t K, bool accumulate);

    /** y (R, D) = x * rstd * gain, rstd (R) = rsqrt(mean x^2 + eps).  gain (D) may be NULL: all 1.
     * Zhang and Sennrich, "Root mean square layer normalization", 2019. */
    void (*rmsnorm)(float *y, float *rstd, const float *x, const float *gain, float eps, size_t R, size_t D);

    /** gx (R, D) = gradient (overwritten), ggain (D) += ; ggain NULL when gain is.  gx may be gy. */
    void (*rmsnorm_grad)(float *gx, float *ggain, const float *gy, const float *x, const float *rstd, const float *gain, size_t R,
                         size_t D);

    /** h (n) = silu(g) * u */
    void (*swiglu)(float *h, const float *g, const float *u, size_t n);

    /** gg, gu (n) from gh; gg may be g, gu may be u. */
    void (*swiglu_grad)(float *gg, float *gu, const float *gh, const float *g, const float *u, size_t n);

    /** Rotates pairs (i, i + hd / 2) of each head in place; x (R, n_heads, hd), row r at position r % T,
     * cos and sin (T, hd / 2).  `inverse` rotates back, which is also the gradient.
     * Su et al., "RoFormer", 2021. */
    void (*rope)(float *x, const float *cosine, const float *sine, bool inverse, size_t R, size_t T, size_t n_heads, size_t hd);

    /** Causal attention of B sequences of T.  out, q, k, v (B, T, n_heads, hd), rows of n_heads * hd;
     * prob (B, n_heads, T, T) out, kept for the gradient, 0 above the diagonal. */
    void (*attention)(float *out, float *prob, const float *q, const float *k, const float *v, float scale, size_t B, size_t T,
                      size_t n_heads, size_t hd);

    /** gq, gk, gv (overwritten) from gout; `work` (T, T) floats of scratch. */
    void (*attention_grad)(float *gq, float *gk, float *gv, float *work, const float *gout, const float *prob, const float *q,
                           const float *k, const float *v, float scale, size_t B, size_t T, size_t n_heads, size_t hd);

    /** y (n) = 1 / (1 + exp(-x)) */
    void (*sigmoid)(float *y, const float *x, size_t n);

    /** Cross entropy of a softmax: loss (R) in nats, glogit (R, V) = (softmax - onehot) * grad_scale; glogit may be
     * logit, or NULL for the loss alone.  target (R) in [0, V). */
    void (*cross_entropy)(float *loss, float *glogit, const float *logit, const int32_t *target, float grad_scale, size_t R,
                          size_t V);

    /** Sum of x^2 over n elements: a row sum for each SUM_PIECE of them, and, while that is more than one value, a plain row
     * sum for each SUM_PIECE of those.  So a long vector is no long chain. */
    float (*sum_squares)(const float *x, size_t n);

    /** y (n) += a * x, one fmaf an element. */
    void (*axpy)(float *y, float a, const float *x, size_t n);

    /** Sum of x[i] * y[i], as a row sum. */
    float (*dot)(const float *x, const float *y, size_t n);

    /** p, m, v (n) in place from the gradient g (n).  Loshchilov and Hutter, "Decoupled weight decay", 2019.
     * m, v and p below the flush limits of doc/numerics.md become +0. */
    void (*adamw)(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n);

    /** As adamw, with Nesterov's look-ahead (Dozat 2016; beta1 0.99 against stale gradients: arXiv 2505.01099). */
    void (*nadamw)(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n);

    /** Nesterov momentum: m (n) = flush(momentum * m + grad), u (n) = momentum * m + grad, each one fmaf, grad = g * grad_scale. */
    void (*momentum)(float *u, float *m, const float *g, float momentum, float grad_scale, size_t n);

    /** p (n) = flush(kept - rate * u) with kept = p - decay * p, each one fmaf. */
    void (*descend)(float *p, const float *u, float rate, float decay, size_t n);

    /** y (n) = a * x; y (n) = x / a, y may be x; y (n) = fmaf(a, x, b * y). */
    void (*scale)(float *y, float a, const float *x, size_t n);
    void (*divide)(float *y, const float *x, float a, size_t n);
    void (*blend)(float *y, float a, const float *x, float b, size_t n);
};

/**
 * Picks a set by its name, or, with NULL, the fastest that this machine runs.
 * HANSE_EINVAL for an unknown name, HANSE_EUNSUPPORTED when the machine cannot; both logged.
 * The sets are constants and live for ever.
 */
HANSE_MUST_USE int kernels_choose(const char *isa, const struct kernels **out);

/** A copy of `base` whose products come from OpenBLAS (one thread): fast and not the same bits everywhere.
 * HANSE_EUNSUPPORTED when this build has none. */
HANSE_MUST_USE int kernels_with_blas(const struct kernels *base, struct kernels *out);

/* Operations that are memory-bound or tiny and have one implementation, in kernels/ref: gate.h (top-k routing,
 * combine), embed.h, rope_table.h, muon.h (built from matmul), init.h (parameters from Philox). */

#endif
