/* ref/check.c - numbers that are too large, looked for by their bits. */
#include "kernels/ref/check.h"

#include <string.h>

#define LANES 64 /* a length that compilers make vectors of */

_Static_assert(sizeof(float) == sizeof(int32_t), "floats are looked at as their bits");

static int32_t bits_of(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Without the sign, floats order as their bits do, and infinities and NaNs lie above all numbers; so one integer comparison
 * an element finds everything that is too large. */
void ref_check_below(uint32_t *is_bad, const float *x, size_t n, float limit)
{
    int32_t top = bits_of(limit) - 1;
    int32_t is_above = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            is_above |= -(int32_t)((bits_of(x[i + j]) & INT32_MAX) > top);
    for (; i < n; i++)
        is_above |= -(int32_t)((bits_of(x[i]) & INT32_MAX) > top);
    if (is_above)
        *is_bad = 1;
}

/* High slices lie in -127..127: the int32 sums of products count on it. */
static bool has_least(const int8_t *high, size_t n)
{
    int8_t is_least = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            is_least |= (int8_t) - (high[i + j] == INT8_MIN);
    for (; i < n; i++)
        is_least |= (int8_t) - (high[i] == INT8_MIN);
    return is_least;
}

void ref_check_rows(uint32_t *is_bad, const struct rows *rows, size_t n, size_t D, int8_t exponent_max)
{
    for (size_t r = 0; r < n; r++)
        if (rows->exponent[r] < QUANTIZE_EXPONENT_MIN || rows->exponent[r] > exponent_max)
            *is_bad = 1;
    if (has_least(rows->high, n * D))
        *is_bad = 1;
}

float ref_largest(const float *x, size_t n)
{
    int32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t bits = bits_of(x[i]) & INT32_MAX;
        most = bits > most ? bits : most;
    }
    float largest;
    memcpy(&largest, &most, sizeof largest);
    return largest;
}
