/*
 * cpu/quantize.c - floats into integers times a power of two, and back, at the speed of memory.
 *
 * A group is read twice: for its largest magnitude, which is a maximum of bits, and for its integers.  Columns are walked
 * row by row, with a strip of maxima, then of scales, beside them.
 */
#include <assert.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/ivec.h"
#include "kernels/ref/ref.h"
#include "kernels/scratch.h"

#define STRIP ((size_t)4096) /* columns that are treated at once: their scales stay in the first-level cache */

/* Elements i..i+n-1 of x, n <= WIDTH, times 2^fold; lanes beyond are +0. */
static inline vec take(const float *x, const int8_t *fold, size_t i, size_t n)
{
    vec y = n < WIDTH ? v_load_part(x + i, v_first(n)) : v_load(x + i);
    return fold ? v_mul(y, v_power(iv_of_bytes(fold + i, n))) : y;
}

/* A fold is of every group: when one of its places was refused, so are they all. */
static bool refuses_all(int8_t *high, int8_t *low, int8_t *exponent, const int8_t *fold, size_t n_folds, size_t n_groups)
{
    if (!fold || !memchr(fold, QUANTIZE_BAD, n_folds))
        return false;
    memset(high, 0, n_folds * n_groups);
    if (low)
        memset(low, 0, n_folds * n_groups);
    memset(exponent, QUANTIZE_BAD, n_groups);
    return true;
}

/* Low is what is left of q after the nearest multiple of 256, which is its lowest byte read as signed. */
static inline void put(int8_t *high, int8_t *low, size_t i, ivec q, size_t n)
{
    if (low) {
        iv_to_bytes(low + i, q, n);
        q = iv_right(iv_add(q, iv_all(128)), 8);
    }
    iv_to_bytes(high + i, q, n);
}

static inline __attribute__((always_inline)) uint32_t row_most(const float *x, const int8_t *fold, size_t C)
{
    ivec most = iv_zero();
    size_t c = 0;
    for (; c + WIDTH <= C; c += WIDTH)
        most = iv_max(most, iv_magnitude(take(x, fold, c, WIDTH)));
    if (c < C)
        most = iv_max(most, iv_magnitude(take(x, fold, c, C - c)));
    return (uint32_t)iv_greatest(most);
}

static inline __attribute__((always_inline)) void round_row(int8_t *high, int8_t *low, const float *x, const int8_t *fold,
                                                            vec scale, size_t C)
{
    size_t c = 0;
    for (; c + WIDTH <= C; c += WIDTH)
        put(high, low, c, iv_rint(v_mul(take(x, fold, c, WIDTH), scale)), WIDTH);
    if (c < C)
        put(high, low, c, iv_rint(v_mul(take(x, fold, c, C - c), scale)), C - c);
}

static inline __attribute__((always_inline)) void quantize_row(int8_t *high, int8_t *low, int8_t *exponent, const float *x,
                                                               const int8_t *fold, size_t C)
{
    uint32_t most = row_most(x, fold, C);
    bool is_ok = ref_group_exponent(exponent, most, low != NULL);
    if (!is_ok || most < REF_FLOOR_BITS) {
        memset(high, 0, C);
        if (low)
            memset(low, 0, C);
    } else {
        round_row(high, low, x, fold, v_all(ref_power(-*exponent)), C);
    }
    if (!is_ok)
        *exponent = QUANTIZE_BAD;
}

void CPU(quantize_rows)(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                        size_t C)
{
    if (refuses_all(high, low, exponent, fold, C, R))
        return;
    for (size_t r = 0; r < R; r++) {
        int8_t *l = low ? low + r * C : NULL;
        if (fold)
            quantize_row(high + r * C, l, exponent + r, x + r * ldx, fold, C);
        else
            quantize_row(high + r * C, l, exponent + r, x + r * ldx, NULL, C);
    }
}

static void strip_most(int32_t *most, const float *x, size_t ldx, const int8_t *fold, size_t R, size_t n)
{
    memset(most, 0, n * sizeof *most);
    for (size_t r = 0; r < R; r++) {
        vec factor = v_all(fold ? ref_power(fold[r]) : 1.0f);
        for (size_t c = 0; c < n; c += WIDTH) {
            vec y = v_mul(take(x + r * ldx, NULL, c, n - c), factor);
            iv_store(most + c, iv_max(iv_load(most + c), iv_magnitude(y)));
        }
    }
}

/* A column of zeros has scale 0, so that what lies below the floor is rounded to 0.  False when a column is refused. */
static bool strip_scales(float *scale, int8_t *exponent, const int32_t *most, bool has_two, size_t n)
{
    bool is_ok = true;
    for (size_t c = 0; c < n; c++) {
        uint32_t bits = (uint32_t)most[c];
        bool is_good = ref_group_exponent(exponent + c, bits, has_two);
        scale[c] = bits < REF_FLOOR_BITS ? 0.0f : ref_power(-exponent[c]);
        exponent[c] = is_good ? exponent[c] : QUANTIZE_BAD;
        is_ok &= is_good;
    }
    return is_ok;
}

static void strip_round(int8_t *high, int8_t *low, size_t ld, const float *scale, const float *x, size_t ldx, const int8_t *fold,
                        size_t R, size_t n)
{
    for (size_t r = 0; r < R; r++) {
        vec factor = v_all(fold ? ref_power(fold[r]) : 1.0f);
        int8_t *l = low ? low + r * ld : NULL;
        for (size_t c = 0; c < n; c += WIDTH) {
            vec y = v_mul(take(x + r * ldx, NULL, c, n - c), factor);
            put(high + r * ld, l, c, iv_rint(v_mul(y, v_load(scale + c))), n - c);
        }
    }
}

/* Zeros for what was refused, whatever infinities and NaN became. */
static void strip_clear(int8_t *high, int8_t *low, size_t ld, const int8_t *exponent, size_t R, size_t n)
{
    for (size_t c = 0; c < n; c++)
        for (size_t r = 0; exponent[c] == QUANTIZE_BAD && r < R; r++) {
            high[r * ld + c] = 0;
            if (low)
                low[r * ld + c] = 0;
        }
}

void CPU(quantize_columns)(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold, size_t R,
                           size_t C)
{
    int32_t *most = (int32_t *)(void *)kernels_scratch;
    float *scale = (float *)(void *)kernels_scratch + STRIP;
    static_assert(2 * STRIP * sizeof(float) <= KERNELS_SCRATCH_BYTES, "a strip and its scales fit");
    if (refuses_all(high, low, exponent, fold, R, C))
        return;
    for (size_t c = 0; c < C; c += STRIP) {
        size_t n = C - c < STRIP ? C - c : STRIP;
        strip_most(most, x + c, ldx, fold, R, n);
        bool is_ok = strip_scales(scale, exponent + c, most, low != NULL, n);
        strip_round(high + c, low ? low + c : NULL, C, scale, x + c, ldx, fold, R, n);
        if (!is_ok)
            strip_clear(high + c, low ? low + c : NULL, C, exponent + c, R, n);
    }
}

void CPU(dequantize_rows)(float *x, const int8_t *high, const int8_t *low, const int8_t *exponent, size_t R, size_t C)
{
    for (size_t r = 0; r < R; r++, x += C, high += C, low = low ? low + C : NULL) {
        vec scale = v_all(ref_power(exponent[r]));
        for (size_t c = 0; c < C; c += WIDTH) {
            size_t n = C - c;
            ivec q = iv_of_bytes(high + c, n);
            if (low)
                q = iv_add(iv_left(q, 8), iv_of_bytes(low + c, n));
            vec y = v_mul(v_of_ints(q), scale);
            if (n < WIDTH)
                v_store_part(x + c, v_first(n), y);
            else
                v_store(x + c, y);
        }
    }
}
