/**
 * kernels/ref/check.h - whether numbers are such that nothing made of them can go wrong.
 * Any thread; nothing allots.
 */
#ifndef KERNELS_REF_CHECK_H
#define KERNELS_REF_CHECK_H

#include "kernels/numerics.h"

/** As the operations of struct kernels. */
void ref_check_below(uint32_t *is_bad, const float *x, size_t n, float limit);
void ref_check_rows(uint32_t *is_bad, const struct rows *rows, size_t n, size_t D, int8_t exponent_max);
float ref_largest(const float *x, size_t n);

#endif
