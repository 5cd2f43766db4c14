/**
 * kernels/cpu/cpu.h - what the files of one instruction set share.
 */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "kernels/cpu/vec.h"
#include "kernels/kernels.h"
#include "kernels/ref/ref.h"

void CPU(matmul)(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate);
void CPU(quantize_rows)(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                        size_t C);
void CPU(quantize_columns)(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                           size_t C);
void CPU(dequantize_rows)(float *x, const int8_t *high, const int8_t *low, const int8_t *exponent, size_t R, size_t C);
size_t CPU(packed_bytes)(size_t N, size_t K, size_t n_slices);
void CPU(pack)(void *packed, struct slices b, size_t N, size_t K);
void CPU(multiply)(float *c, size_t ldc, struct slices a, const int8_t *a_exponent, const void *packed, const int8_t *b_exponent,
                   size_t M, size_t N, size_t K, bool accumulate);
void CPU(rmsnorm)(float *y, float *rstd, const float *x, const float *gain, float eps, size_t R, size_t D);
void CPU(rmsnorm_grad)(float *gx, float *ggain, const float *gy, const float *x, const float *rstd, const float *gain, size_t R,
                       size_t D);
void CPU(swiglu)(float *h, const float *g, const float *u, size_t n);
void CPU(swiglu_grad)(float *gg, float *gu, const float *gh, const float *g, const float *u, size_t n);
void CPU(rope)(float *x, const float *cosine, const float *sine, bool inverse, size_t R, size_t T, size_t n_heads, size_t hd);
void CPU(attention)(float *out, float *prob, const float *q, const float *k, const float *v, float scale, size_t B, size_t T,
                    size_t n_heads, size_t hd);
void CPU(attention_grad)(float *gq, float *gk, float *gv, float *work, const float *gout, const float *prob, const float *q,
                         const float *k, const float *v, float scale, size_t B, size_t T, size_t n_heads, size_t hd);
void CPU(sigmoid)(float *y, const float *x, size_t n);
void CPU(cross_entropy)(float *loss, float *glogit, const float *logit, const int32_t *target, float grad_scale, size_t R,
                        size_t V);
float CPU(sum_squares)(const float *x, size_t n);
void CPU(axpy)(float *y, float a, const float *x, size_t n);
float CPU(dot)(const float *x, const float *y, size_t n);
void CPU(adamw)(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n);
void CPU(nadamw)(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n);
void CPU(momentum)(float *u, float *m, const float *g, float momentum, float grad_scale, size_t n);
void CPU(descend)(float *p, const float *u, float rate, float decay, size_t n);
void CPU(scale)(float *y, float a, const float *x, size_t n);
void CPU(divide)(float *y, const float *x, float a, size_t n);
void CPU(blend)(float *y, float a, const float *x, float b, size_t n);

void CPU(gate_combine)(float *out, const float *weight, const float *y, size_t T, size_t K, size_t D);
void CPU(gate_combine_grad)(float *gweight, const float *gout, const float *y, const int32_t *pick, const uint8_t *answered,
                            size_t T, size_t K, size_t D);
void CPU(gate_scatter)(float *out, const float *gx, const int32_t *pick, const uint8_t *answered, size_t T, size_t K, size_t D);

/** As ref_exp_row; e may be NULL for the sum alone, or be x. */
float CPU(exp_row)(float *e, float *max, const float *x, size_t n);

extern const struct kernels CPU(kernels);

/** The operations that sets of the same vectors share: all but the products of integers. */
#define CPU_SHARED_KERNELS                                                                                                       \
    .matmul = CPU(matmul), .rmsnorm = CPU(rmsnorm), .rmsnorm_grad = CPU(rmsnorm_grad), .swiglu = CPU(swiglu),                    \
    .swiglu_grad = CPU(swiglu_grad), .rope = CPU(rope), .attention = CPU(attention), .attention_grad = CPU(attention_grad),      \
    .sigmoid = CPU(sigmoid), .cross_entropy = CPU(cross_entropy), .sum_squares = CPU(sum_squares), .axpy = CPU(axpy),            \
    .dot = CPU(dot), .adamw = CPU(adamw), .nadamw = CPU(nadamw), .momentum = CPU(momentum), .descend = CPU(descend),             \
    .scale = CPU(scale), .divide = CPU(divide), .blend = CPU(blend), .gate_combine = CPU(gate_combine),                          \
    .gate_combine_grad = CPU(gate_combine_grad), .gate_scatter = CPU(gate_scatter), REF_SHARED_KERNELS
#define CPU_QUANTIZE                                                                                                             \
    .quantize_rows = CPU(quantize_rows), .quantize_columns = CPU(quantize_columns), .dequantize_rows = CPU(dequantize_rows)

#endif
