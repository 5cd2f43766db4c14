/**
 * kernels/kernels.h - the tensor operations, each with one definition to the bit.
 *
 * kernels/ref defines every operation in plain loops; kernels/cpu repeats signatures and bits with AVX2,
 * AVX-512 and NEON.  A `struct kernels` is one complete set; kernels_choose() picks the fastest that the machine runs.
 * All tensors are f32, row-major, dense unless a stride is named.  Outputs come first, shape last.
 * Any thread; no call allots (products use 592 KiB of each thread's static storage, which comes off a small stack).
 *
 * Where a set's tensors live is the set's own affair: what it is to read or write lies in memory that its allot() gave, or
 * inside such memory.  Of a CPU's sets that is any memory.  kernels/cuda has its own (is_device): there an operation only queues
 * its work; what one thread asks for is done in that order, whoever hands memory to another thread waits first (get, wait).
 * A device that failed does nothing any more, and says so at the next get() or wait().
 *
 * Refusal is data.  A group that cannot be rounded has the exponent QUANTIZE_BAD; a product gives NaN for its row or column; and
 * check_below() finds NaN in the end, once for many operations.
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
    const char *name; /* of kernels_name; or "cuda" (kernels/device.h) */
    bool is_device;   /* tensors lie where only put() and get() reach them */

    /** n_bytes on a multiple of 256, not cleared; NULL when there is none, which a device logs.  Give back by release(), which takes
     * NULL too; nobody may be using it then. */
    void *(*allot)(size_t n_bytes);
    void (*release)(void *memory);

    /** To and from memory of the CPU.  put() is done with `from` when it returns.  get() waits for all that this thread asked for, and
     * returns HANSE_EDEVICE or HANSE_ENOMEM when any of that failed on a device, with `to` not to be used. */
    void (*put)(void *to, const void *from, size_t n_bytes);
    HANSE_MUST_USE int (*get)(void *to, const void *from, size_t n_bytes);

    /** Within the set's memory. */
    void (*copy)(void *to, const void *from, size_t n_bytes);
    void (*zero)(void *at, size_t n_bytes);

    /** Waits as get() does. */
    HANSE_MUST_USE int (*wait)(void);

    /** c (M, N; rows of ldc) = [c +] a (M, K) b (K, N).  K = 0 gives 0, or c when accumulating. */
    void (*matmul)(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate);

    /**
     * Integers from floats: q = rint(x * 2^-e), one exponent e a row: the least with which the row's largest magnitude
     * rounds to 127 at most (one slice: `low` is NULL), or to 32639.  high, low (R, C; rows of C) and exponent (R) out;
     * x (R, C; rows of ldx).  Where `fold` (C) is not NULL, column j is multiplied by 2^fold[j] first; a fold of QUANTIZE_BAD
     * counts as a number that is not finite.  A row that is not finite or reaches QUANTIZE_MAX is refused: its exponent is
     * QUANTIZE_BAD and its integers are zeros; the other rows are as without it.
     */
    void (*quantize_rows)(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                          size_t C);

    /** The same with an exponent (C) a column and a fold (R) of the rows; high, low (R, C) as they lay. */
    void (*quantize_columns)(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold,
                             size_t R, size_t C);

    /** x (R, C) = integer * 2^exponent of its row; exact. */
    void (*dequantize_rows)(float *x, const int8_t *high, const int8_t *low, const int8_t *exponent, size_t R, size_t C);

    /** Bytes of a right operand (K, N) packed for multiply(), and the packing itself; the layout is the set's own.  `packed`
     * lies on a multiple of 64. */
    size_t (*packed_bytes)(size_t N, size_t K, size_t n_slices);
    void (*pack)(void *packed, struct slices b, size_t N, size_t K);

    /**
     * c (M, N; rows of ldc) = [c +] the product of integers a (M, K) and b (K, N), both in as many slices, times
     * 2^(a_exponent[i] + b_exponent[j]); an exponent that is NULL is 0, one that is QUANTIZE_BAD makes the output NaN.  With two
     * slices the product of the low slices is left out.
     */
    void (*multiply)(float *c, size_t ldc, struct slices a, const int8_t *a_exponent, const void *packed,
                     const int8_t *b_exponent, size_t M, size_t N, size_t K, bool accumulate);

    /** c (M, N) += x^T g over n rows as kernels/linear.h's gradients, x (n, M) integers and g (n, N) floats, in parts of `part` rows;
     * turned, c (N, M) += g^T x.  NULL in a set whose other operations do it as well. */
    void (*product_grad)(float *c, const struct rows *x, const float *g, size_t M, size_t N, size_t n, size_t part,
                         bool is_turned);

    /** quantize_rows() of swiglu(g, u), without the floats; NULL as above. */
    void (*swiglu_rows)(int8_t *high, int8_t *low, int8_t *exponent, const float *g, const float *u, const int8_t *fold, size_t R,
                        size_t C);

    /** to (n) = from + by, of exponents. */
    void (*shift_exponents)(int8_t *to, const int8_t *from, int by, size_t n);

    /** Sets *is_bad to 1, or leaves it, when one of n floats is not finite or not below `limit` in magnitude; of integers, when one of n
     * exponents is not in QUANTIZE_EXPONENT_MIN..exponent_max, or one of the n D high slices is -128. */
    void (*check_below)(uint32_t *is_bad, const float *x, size_t n, float limit);
    void (*check_rows)(uint32_t *is_bad, const struct rows *rows, size_t n, size_t D, int8_t exponent_max);

    /** Row i of to, n rows of row_bytes, = row[i] of from. */
    void (*gather)(void *to, const void *from, const uint32_t *row, size_t n, size_t row_bytes);

    /** y (R, C) = weight (R) * x, each rounded once; y may be x. */
    void (*weigh)(float *y, const float *weight, const float *x, size_t R, size_t C);

    /** out (N, M) = x (M, N) transposed. */
    void (*transpose)(float *out, const float *x, size_t M, size_t N);

    /** digest (ceil(n_bytes / leaf_bytes), 32) = SHA-256 of each piece of leaf_bytes >= 64; the last may be shorter. */
    void (*hash_leaves)(uint8_t *digest, const void *bytes, size_t n_bytes, size_t leaf_bytes);

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

    /** y (n) = 1 / (1 + exp(-x)); its gradient g (n) *= y (1 - y). */
    void (*sigmoid)(float *y, const float *x, size_t n);
    void (*sigmoid_grad)(float *g, const float *y, size_t n);

    /** x (R, D) = table (V, D) at token (R), each in [0, V); gtable (V, D) += gx (R, D), rows ascending. */
    void (*embed)(float *x, const float *table, const int32_t *token, size_t R, size_t D);
    void (*embed_grad)(float *gtable, const float *gx, const int32_t *token, size_t R, size_t D, size_t V);

    /**
     * The gate (kernels/ref/gate.h says what each is for).  score, logit, gscore, glogit (T, E); pick, answered, weight, gweight
     * (T, K); y, gx (T, K, D); out, gout (T, D).  A slot counts when its pick is not negative and it was answered.
     *   gate_weight        weight = score of the pick / sum over the token's slots that count, else 0
     *   gate_weight_grad   gscore = gradient by gweight
     *   gate_combine       out += sum over k of weight y; slots of weight 0 are not read
     *   gate_combine_grad  gweight = <gout, y>, 0 where a slot does not count
     *   gate_scatter       out += the gx of the slots that count, k ascending
     *   gate_zloss         glogit += gradient of scale * sum of lse^2; lse (T) = logsumexp(logit)
     */
    void (*gate_weight)(float *weight, const float *score, const int32_t *pick, const uint8_t *answered, size_t T, size_t K,
                        size_t E);
    void (*gate_weight_grad)(float *gscore, const float *gweight, const float *weight, const float *score, const int32_t *pick,
                             const uint8_t *answered, size_t T, size_t K, size_t E);
    void (*gate_combine)(float *out, const float *weight, const float *y, size_t T, size_t K, size_t D);
    void (*gate_combine_grad)(float *gweight, const float *gout, const float *y, const int32_t *pick, const uint8_t *answered,
                              size_t T, size_t K, size_t D);
    void (*gate_scatter)(float *out, const float *gx, const int32_t *pick, const uint8_t *answered, size_t T, size_t K, size_t D);
    void (*gate_zloss)(float *lse, float *glogit, const float *logit, float scale, size_t T, size_t E);

    /** Cross entropy of a softmax: loss (R) in nats, glogit (R, V) = (softmax - onehot) * grad_scale; glogit may be
     * logit, or NULL for the loss alone.  target (R) in [0, V). */
    void (*cross_entropy)(float *loss, float *glogit, const float *logit, const int32_t *target, float grad_scale, size_t R,
                          size_t V);

    /** Sum of x^2 over n elements: a row sum for each SUM_PIECE of them, and, while that is more than one value, a plain row
     * sum for each SUM_PIECE of those.  So a long vector is no long chain.  Like
     * dot() and largest() it waits on a device. */
    float (*sum_squares)(const float *x, size_t n);

    /** The largest magnitude, by the bits without the sign: NaN lies above all numbers. */
    float (*largest)(const float *x, size_t n);

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

/** The sets of processors: the definition, then slowest first.  And the same for people to read. */
#define N_KERNELS 8
#define KERNELS_NAMES "ref, avx2, avxvnni, avx512, vnni, amx, neon or dotprod"
extern const char *const kernels_name[N_KERNELS];

/**
 * Picks a set by its name, or, with NULL, the fastest that this machine runs.
 * HANSE_EINVAL for an unknown name, HANSE_EUNSUPPORTED when the machine cannot; both logged.
 * The sets are constants and live for ever.
 */
HANSE_MUST_USE int kernels_choose(const char *isa, const struct kernels **out);

/** A copy of `base` whose products come from OpenBLAS (one thread): fast and not the same bits everywhere.
 * HANSE_EUNSUPPORTED when this build has none. */
HANSE_MUST_USE int kernels_with_blas(const struct kernels *base, struct kernels *out);

/* Operations with one implementation, in kernels/ref: gate.h (top-k routing, on the CPU), rope_table.h, muon.h (built from a set's
 * operations), init.h (parameters from Philox). */

#endif
