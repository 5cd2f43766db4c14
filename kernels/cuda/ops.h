/**
 * kernels/cuda/ops.h - the operations of the CUDA set; each is `cuda_` and the name of its member of struct kernels.
 *
 * kernels/kernels.h says what they do and kernels/ref does it in plain loops.  Beside each group: the file that has it.
 */
#ifndef KERNELS_CUDA_OPS_H
#define KERNELS_CUDA_OPS_H

/* queue.cu */
void *cuda_allot(size_t n_bytes);
void cuda_release(void *memory);
void cuda_put(void *to, const void *from, size_t n_bytes);
int cuda_get(void *to, const void *from, size_t n_bytes);
void cuda_copy(void *to, const void *from, size_t n_bytes);
void cuda_zero(void *at, size_t n_bytes);

/* product_i8.cu */
size_t cuda_packed_bytes(size_t N, size_t K, size_t n_slices);
void cuda_pack(void *packed, struct slices b, size_t N, size_t K);
void cuda_multiply(float *c, size_t ldc, struct slices a, const int8_t *a_exponent, const void *packed, const int8_t *b_exponent,
                   size_t M, size_t N, size_t K, bool accumulate);
void cuda_product_grad(float *c, const struct rows *x, const float *g, size_t M, size_t N, size_t n, size_t part, bool is_turned);

/* quantize.cu */
void cuda_quantize_rows(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                        size_t C);
void cuda_quantize_columns(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                           size_t C);
void cuda_swiglu_rows(int8_t *high, int8_t *low, int8_t *exponent, const float *g, const float *u, const int8_t *fold, size_t R,
                      size_t C);
void cuda_dequantize_rows(float *x, const int8_t *high, const int8_t *low, const int8_t *exponent, size_t R, size_t C);
void cuda_check_below(uint32_t *is_bad, const float *x, size_t n, float limit);
void cuda_check_rows(uint32_t *is_bad, const struct rows *rows, size_t n, size_t D, int8_t exponent_max);
void cuda_shift_exponents(int8_t *to, const int8_t *from, int by, size_t n);

/* product.cu */
void cuda_matmul(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate);

/* attention.cu */
void cuda_attention(float *out, float *prob, const float *q, const float *k, const float *v, float scale, size_t B, size_t T,
                    size_t n_heads, size_t hd);
void cuda_attention_grad(float *gq, float *gk, float *gv, float *work, const float *gout, const float *prob, const float *q,
                         const float *k, const float *v, float scale, size_t B, size_t T, size_t n_heads, size_t hd);

/* elementwise.cu */
void cuda_swiglu(float *h, const float *g, const float *u, size_t n);
void cuda_swiglu_grad(float *gg, float *gu, const float *gh, const float *g, const float *u, size_t n);
void cuda_sigmoid(float *y, const float *x, size_t n);
void cuda_sigmoid_grad(float *g, const float *y, size_t n);
void cuda_axpy(float *y, float a, const float *x, size_t n);
void cuda_scale(float *y, float a, const float *x, size_t n);
void cuda_divide(float *y, const float *x, float a, size_t n);
void cuda_blend(float *y, float a, const float *x, float b, size_t n);
void cuda_weigh(float *y, const float *weight, const float *x, size_t R, size_t C);
void cuda_gather(void *to, const void *from, const uint32_t *row, size_t n, size_t row_bytes);
void cuda_transpose(float *out, const float *x, size_t M, size_t N);

/* rows.cu */
void cuda_rmsnorm(float *y, float *rstd, const float *x, const float *gain, float eps, size_t R, size_t D);
void cuda_rmsnorm_grad(float *gx, float *ggain, const float *gy, const float *x, const float *rstd, const float *gain, size_t R,
                       size_t D);
void cuda_rope(float *x, const float *cosine, const float *sine, bool inverse, size_t R, size_t T, size_t n_heads, size_t hd);
void cuda_cross_entropy(float *loss, float *glogit, const float *logit, const int32_t *target, float grad_scale, size_t R,
                        size_t V);
float cuda_sum_squares(const float *x, size_t n);
float cuda_dot(const float *x, const float *y, size_t n);
float cuda_largest(const float *x, size_t n);

/* optimizer.cu */
void cuda_adamw(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n);
void cuda_nadamw(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n);
void cuda_momentum(float *u, float *m, const float *g, float momentum, float grad_scale, size_t n);
void cuda_descend(float *p, const float *u, float rate, float decay, size_t n);

/* embed.cu */
void cuda_embed(float *x, const float *table, const int32_t *token, size_t R, size_t D);
void cuda_embed_grad(float *gtable, const float *gx, const int32_t *token, size_t R, size_t D, size_t V);

/* gate.cu */
void cuda_gate_weight(float *weight, const float *score, const int32_t *pick, const uint8_t *answered, size_t T, size_t K,
                      size_t E);
void cuda_gate_weight_grad(float *gscore, const float *gweight, const float *weight, const float *score, const int32_t *pick,
                           const uint8_t *answered, size_t T, size_t K, size_t E);
void cuda_gate_combine(float *out, const float *weight, const float *y, size_t T, size_t K, size_t D);
void cuda_gate_combine_grad(float *gweight, const float *gout, const float *y, const int32_t *pick, const uint8_t *answered,
                            size_t T, size_t K, size_t D);
void cuda_gate_scatter(float *out, const float *gx, const int32_t *pick, const uint8_t *answered, size_t T, size_t K, size_t D);
void cuda_gate_zloss(float *lse, float *glogit, const float *logit, float scale, size_t T, size_t E);

/* hash.cu */
void cuda_hash_leaves(uint8_t *digest, const void *bytes, size_t n_bytes, size_t leaf_bytes);

/* gate.cu */
void cuda_embed(float *x, const float *table, const int32_t *token, size_t R, size_t D);
void cuda_embed_grad(float *gtable, const float *gx, const int32_t *token, size_t R, size_t D, size_t V);
void cuda_gate_weight(float *weight, const float *score, const int32_t *pick, const uint8_t *answered, size_t T, size_t K,
                      size_t E);
void cuda_gate_weight_grad(float *gscore, const float *gweight, const float *weight, const float *score, const int32_t *pick,
                           const uint8_t *answered, size_t T, size_t K, size_t E);
void cuda_gate_combine(float *out, const float *weight, const float *y, size_t T, size_t K, size_t D);
void cuda_gate_combine_grad(float *gweight, const float *gout, const float *y, const int32_t *pick, const uint8_t *answered,
                            size_t T, size_t K, size_t D);
void cuda_gate_scatter(float *out, const float *gx, const int32_t *pick, const uint8_t *answered, size_t T, size_t K, size_t D);
void cuda_gate_zloss(float *lse, float *glogit, const float *logit, float scale, size_t T, size_t E);

#endif
