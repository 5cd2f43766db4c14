/**
 * kernels/parallel.h - one operation by several threads (base/team.h).
 *
 * Parts divide the outputs and never k, so the bits are those of one thread, whatever the team.  What is over before a
 * helper would be awake is not cut.  Without a team (NULL) the caller does it all; the rest is as in `struct kernels`.
 */
#ifndef KERNELS_PARALLEL_H
#define KERNELS_PARALLEL_H

#include "base/team.h"
#include "kernels/kernels.h"

void parallel_matmul(const struct kernels *k, struct team *team, float *c, size_t ldc, struct matrix a, struct matrix b, size_t M,
                     size_t N, size_t K, bool accumulate);

/** Rows alone are divided, since `packed` is of all columns. */
void parallel_multiply(const struct kernels *k, struct team *team, float *c, size_t ldc, struct slices a,
                       const int8_t *a_exponent, const void *packed, const int8_t *b_exponent, size_t M, size_t N, size_t K,
                       bool accumulate);

void parallel_quantize_rows(const struct kernels *k, struct team *team, int8_t *high, int8_t *low, int8_t *exponent,
                            const float *x, size_t ldx, const int8_t *fold, size_t R, size_t C);

void parallel_swiglu(const struct kernels *k, struct team *team, float *h, const float *g, const float *u, size_t n);
void parallel_swiglu_grad(const struct kernels *k, struct team *team, float *gg, float *gu, const float *gh, const float *g,
                          const float *u, size_t n);
void parallel_nadamw(const struct kernels *k, struct team *team, float *p, float *m, float *v, const float *g,
                     const struct adam_step *step, size_t n);

#endif
