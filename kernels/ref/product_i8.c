/* ref/product_i8.c - the product of integers in slices: exact sums, combined as integers, rounded once. */
#include <math.h>
#include <string.h>

#include "kernels/ref/ref.h"

/* The packed form here is nothing but the integers, row after row: all high slices, then all low ones. */
size_t ref_packed_bytes(size_t N, size_t K, size_t n_slices)
{
    return n_slices * N * K;
}

static size_t place(const struct slices *m, size_t i, size_t j)
{
    return m->is_turned ? j * m->ld + i : i * m->ld + j;
}

void ref_pack(void *packed, struct slices b, size_t N, size_t K)
{
    int8_t *high = packed, *low = high + K * N;
    for (size_t k = 0; k < K; k++)
        for (size_t j = 0; j < N; j++) {
            high[k * N + j] = b.high[place(&b, k, j)];
            if (b.low)
                low[k * N + j] = b.low[place(&b, k, j)];
        }
}

/* What output (i, j) gets from terms first..end-1.  Each of the two sums fits into int32. */
static int64_t sum(const struct slices *a, const int8_t *b_high, const int8_t *b_low, size_t N, size_t i, size_t j, size_t first,
                   size_t end)
{
    int32_t high = 0, cross = 0;
    for (size_t k = first; k < end; k++) {
        size_t at_a = place(a, i, k), at_b = k * N + j;
        high += a->high[at_a] * b_high[at_b];
        if (a->low)
            cross += a->high[at_a] * b_low[at_b] + a->low[at_a] * b_high[at_b];
    }
    return a->low ? 256 * (int64_t)high + cross : high;
}

static int exponent_at(const int8_t *exponent, size_t i)
{
    return exponent ? exponent[i] : 0;
}

/* 2^(left + right + more), or 0 where that is below the floor, so that no output is subnormal. */
static float scale_of(int left, int right, int more)
{
    if (left == QUANTIZE_BAD || right == QUANTIZE_BAD)
        return NAN;
    int e = left + right + more;
    return e < -100 ? 0.0f : ref_power(e < 127 ? e : 127);
}

void ref_multiply(float *c, size_t ldc, struct slices a, const int8_t *a_exponent, const void *packed, const int8_t *b_exponent,
                  size_t M, size_t N, size_t K, bool accumulate)
{
    const int8_t *high = packed, *low = high + K * N;
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) {
            float scale = scale_of(exponent_at(a_exponent, i), exponent_at(b_exponent, j), a.low ? 8 : 0);
            float y = accumulate ? c[i * ldc + j] : 0.0f;
            for (size_t k = 0; k < K; k += PRODUCT_K_MAX) {
                size_t end = K - k < PRODUCT_K_MAX ? K : k + PRODUCT_K_MAX;
                y = fmaf((float)sum(&a, high, low, N, i, j, k, end), scale, y);
            }
            c[i * ldc + j] = y;
        }
}
