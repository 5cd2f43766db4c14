/**
 * kernels/ref/ref.h - the definition of every operation of struct kernels, under its own name.
 *
 * What an operation computes is said in kernels/kernels.h; in which order, here in the .c files and, in words,
 * in doc/numerics.md.  Faster sets fall back on these where there is nothing to gain.
 */
#ifndef KERNELS_REF_REF_H
#define KERNELS_REF_REF_H

#include "kernels/kernels.h"
#include "kernels/ref/check.h"
#include "kernels/ref/embed.h"
#include "kernels/ref/gate.h"

#define REF_LANES 32 /* of a row sum */

/** Rows of attention are treated in blocks of this many: see attention.c. */
#define REF_ATTENTION_ROWS ((size_t)32)

/** Parameters and first moments nearer to zero than this become +0, and second moments nearer than the other. */
#define REF_FLUSH 0x1p-100f
#define REF_FLUSH_SQUARE 0x1p-115f

/** How exp of a row of n >= 1 logits is taken: e (n) = exp(x - max x); returns the row sum of e and the maximum. */
float ref_exp_row(float *e, float *max, const float *x, size_t n);

/** 2^e for e in -126..127. */
float ref_power(int e);

/** The bits of QUANTIZE_FLOOR: a group whose largest magnitude has fewer becomes zeros. */
#define REF_FLOOR_BITS 0x0d800000u

/** The exponent of a group by its largest magnitude, given as bits without the sign; false when the group is refused. */
bool ref_group_exponent(int8_t *exponent, uint32_t most, bool has_two);

/** Adds up the lanes of a row sum; overwrites them. */
float ref_lanes_sum(float lane[REF_LANES]);

/** x, or +0 when it is nearer to zero than `limit`. */
float ref_flush(float x, float limit);

void ref_matmul(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate);
void ref_quantize_rows(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                       size_t C);
void ref_quantize_columns(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                          size_t C);
void ref_dequantize_rows(float *x, const int8_t *high, const int8_t *low, const int8_t *exponent, size_t R, size_t C);
size_t ref_packed_bytes(size_t N, size_t K, size_t n_slices);
void ref_pack(void *packed, struct slices b, size_t N, size_t K);
void ref_multiply(float *c, size_t ldc, struct slices a, const int8_t *a_exponent, const void *packed, const int8_t *b_exponent,
                  size_t M, size_t N, size_t K, bool accumulate);
void ref_shift_exponents(int8_t *to, const int8_t *from, int by, size_t n);
void *ref_allot(size_t n_bytes);
void ref_release(void *memory);
int ref_get(void *to, const void *from, size_t n_bytes);
void ref_copy(void *to, const void *from, size_t n_bytes);
void ref_zero(void *at, size_t n_bytes);
int ref_wait(void);
void ref_gather(void *to, const void *from, const uint32_t *row, size_t n, size_t row_bytes);
void ref_transpose(float *out, const float *x, size_t M, size_t N);
void ref_hash_leaves(uint8_t *digest, const void *bytes, size_t n_bytes, size_t leaf_bytes);
void ref_weigh(float *y, const float *weight, const float *x, size_t R, size_t C);
void ref_rmsnorm(float *y, float *rstd, const float *x, const float *gain, float eps, size_t R, size_t D);
void ref_rmsnorm_grad(float *gx, float *ggain, const float *gy, const float *x, const float *rstd, const float *gain, size_t R,
                      size_t D);
void ref_swiglu(float *h, const float *g, const float *u, size_t n);
void ref_swiglu_grad(float *gg, float *gu, const float *gh, const float *g, const float *u, size_t n);
void ref_rope(float *x, const float *cosine, const float *sine, bool inverse, size_t R, size_t T, size_t n_heads, size_t hd);
void ref_attention(float *out, float *prob, const float *q, const float *k, const float *v, float scale, size_t B, size_t T,
                   size_t n_heads, size_t hd);
void ref_attention_grad(float *gq, float *gk, float *gv, float *work, const float *gout, const float *prob, const float *q,
                        const float *k, const float *v, float scale, size_t B, size_t T, size_t n_heads, size_t hd);
void ref_sigmoid_each(float *y, const float *x, size_t n);
void ref_sigmoid_grad(float *g, const float *y, size_t n);
void ref_cross_entropy(float *loss, float *glogit, const float *logit, const int32_t *target, float grad_scale, size_t R,
                       size_t V);
float ref_sum_squares(const float *x, size_t n);
void ref_axpy(float *y, float a, const float *x, size_t n);
float ref_dot(const float *x, const float *y, size_t n);
void ref_adamw(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n);
void ref_nadamw(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n);
void ref_momentum(float *u, float *m, const float *g, float momentum, float grad_scale, size_t n);
void ref_descend(float *p, const float *u, float rate, float decay, size_t n);
void ref_scale(float *y, float a, const float *x, size_t n);
void ref_divide(float *y, const float *x, float a, size_t n);
void ref_blend(float *y, float a, const float *x, float b, size_t n);

/** The operations that no set of a CPU has another way for: memory, and what is bound by it. */
#define REF_SHARED_KERNELS                                                                                                       \
    .allot = ref_allot, .release = ref_release, .put = ref_copy, .get = ref_get, .copy = ref_copy, .zero = ref_zero,             \
    .wait = ref_wait, .shift_exponents = ref_shift_exponents, .check_below = ref_check_below, .check_rows = ref_check_rows,      \
    .gather = ref_gather, .weigh = ref_weigh, .transpose = ref_transpose, .hash_leaves = ref_hash_leaves,                        \
    .sigmoid_grad = ref_sigmoid_grad, .embed = ref_embed, .embed_grad = ref_embed_grad, .gate_weight = ref_gate_weight,          \
    .gate_weight_grad = ref_gate_weight_grad, .gate_zloss = ref_gate_zloss, .largest = ref_largest

extern const struct kernels ref_kernels;

#endif
