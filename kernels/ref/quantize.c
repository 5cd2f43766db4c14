/* ref/quantize.c - floats into integers of one or two int8 slices, times a power of two. */
#include <math.h>
#include <string.h>

#include "kernels/ref/ref.h"

#define INFINITE_BITS 0x7f800000u
#define MAX_BITS 0x53800000u /* QUANTIZE_MAX, 2^40 */

/* The least fraction f, of a magnitude 1.f * 2^m, that would round beyond the largest integer: 1.f * 2^6 >= 127.5 with one
 * slice, 1.f * 2^14 >= 32639.5 with two; a tie goes to the even integer, which lies beyond in both cases. */
#define FRACTION_ONE 0x7f0000u
#define FRACTION_TWO 0x7eff00u

float ref_power(int e)
{
    uint32_t bits = (uint32_t)(e + 127) << 23;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t magnitude_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffffu;
}

bool ref_group_exponent(int8_t *exponent, uint32_t most, bool has_two)
{
    *exponent = QUANTIZE_EXPONENT_MIN; /* of zeros: folded into a gradient, it must not outweigh its neighbours */
    if (most >= MAX_BITS)
        return false; /* infinities and NaN among them */
    if (most < REF_FLOOR_BITS)
        return true;
    int m = (int)(most >> 23) - 127;
    uint32_t fraction = most & 0x7fffffu;
    if (has_two)
        *exponent = (int8_t)(m - 14 + (fraction >= FRACTION_TWO));
    else
        *exponent = (int8_t)(m - 6 + (fraction >= FRACTION_ONE));
    return true;
}

/* High is the nearest multiple of 256, so low lies in -128..127. */
static void split(int8_t *high, int8_t *low, size_t at, int q)
{
    int h = low ? (q + 128) >> 8 : q;
    high[at] = (int8_t)h;
    if (low)
        low[at] = (int8_t)(q - 256 * h);
}

/* One group: n floats, `step` apart in x and in the slices; element i is multiplied by 2^fold[i]. */
struct group {
    const float *x;
    size_t step_x;
    const int8_t *fold;
    size_t n;
};

static float folded(const struct group *g, size_t i)
{
    float x = g->x[i * g->step_x];
    return !g->fold ? x : g->fold[i] == QUANTIZE_BAD ? NAN : x * ref_power(g->fold[i]);
}

static void quantize(int8_t *high, int8_t *low, size_t step, int8_t *exponent, const struct group *g)
{
    uint32_t most = 0;
    for (size_t i = 0; i < g->n; i++) {
        uint32_t bits = magnitude_bits(folded(g, i));
        most = bits > most ? bits : most;
    }
    bool is_ok = ref_group_exponent(exponent, most, low != NULL);
    bool is_zero = !is_ok || most < REF_FLOOR_BITS;
    float scale = ref_power(-*exponent);
    for (size_t i = 0; i < g->n; i++)
        split(high, low, i * step, is_zero ? 0 : (int)rintf(folded(g, i) * scale));
    if (!is_ok)
        *exponent = QUANTIZE_BAD;
}

void ref_quantize_rows(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                       size_t C)
{
    for (size_t r = 0; r < R; r++) {
        struct group g = {x + r * ldx, 1, fold, C};
        quantize(high + r * C, low ? low + r * C : NULL, 1, exponent + r, &g);
    }
}

void ref_quantize_columns(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                          size_t C)
{
    for (size_t c = 0; c < C; c++) {
        struct group g = {x + c, ldx, fold, R};
        quantize(high + c, low ? low + c : NULL, C, exponent + c, &g);
    }
}

void ref_shift_exponents(int8_t *to, const int8_t *from, int by, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (int8_t)(from[i] + by);
}

void ref_dequantize_rows(float *x, const int8_t *high, const int8_t *low, const int8_t *exponent, size_t R, size_t C)
{
    for (size_t r = 0; r < R; r++)
        for (size_t c = 0; c < C; c++) {
            size_t i = r * C + c;
            int q = low ? 256 * high[i] + low[i] : high[i];
            x[i] = (float)q * ref_power(exponent[r]);
        }
}
