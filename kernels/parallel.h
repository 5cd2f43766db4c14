/**
 * kernels/parallel.h - one product by several threads (base/team.h).
 *
 * Parts divide the outputs and never k, so the bits are those of one thread, whatever the team.  A product that
 * is over before a helper would be awake is not cut.
 */
#ifndef KERNELS_PARALLEL_H
#define KERNELS_PARALLEL_H

#include "base/team.h"
#include "kernels/kernels.h"

/** k->matmul, shared by the team; without one (NULL) by the caller alone. */
void parallel_matmul(const struct kernels *k, struct team *team, float *c, size_t ldc, struct matrix a, struct matrix b, size_t M,
                     size_t N, size_t K, bool accumulate);

/** k->multiply, shared by the team.  Rows alone are divided, since `packed` is of all columns. */
void parallel_multiply(const struct kernels *k, struct team *team, float *c, size_t ldc, struct slices a,
                       const int8_t *a_exponent, const void *packed, const int8_t *b_exponent, size_t M, size_t N, size_t K,
                       bool accumulate);

#endif
