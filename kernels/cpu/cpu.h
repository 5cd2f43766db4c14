/**
 * kernels/cpu/cpu.h - what the files of one instruction set share.
 */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "kernels/cpu/vec.h"
#include "kernels/kernels.h"

void CPU(matmul)(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate);
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

/** As ref_exp_row; e may be NULL for the sum alone, or be x. */
float CPU(exp_row)(float *e, float *max, const float *x, size_t n);

extern const struct kernels CPU(kernels);

#endif
