#include "router/rows.h"

#include <string.h>

#include "kernels/ref/check.h"

#define PAD 8

static size_t padded(size_t n)
{
    return (n + PAD - 1) / PAD * PAD;
}

size_t rows_bytes(enum numerics form, size_t n, size_t D)
{
    return form == NUMERICS_F32 ? sizeof(float) * n * D : padded(n) + numerics_slices(form) * n * D;
}

struct rows rows_at(enum numerics form, const void *bytes, size_t n, size_t D)
{
    if (form == NUMERICS_F32)
        return (struct rows){.f32 = bytes};
    const int8_t *exponent = bytes, *high = exponent + padded(n);
    return (struct rows){.exponent = exponent, .high = high, .low = form == NUMERICS_I8X2 ? high + n * D : NULL};
}

bool rows_are_padded(enum numerics form, const void *bytes, size_t n)
{
    static const uint8_t zeros[PAD];
    return form == NUMERICS_F32 || memcmp((const uint8_t *)bytes + n, zeros, padded(n) - n) == 0;
}

void rows_pad(enum numerics form, void *bytes, size_t n)
{
    if (form != NUMERICS_F32)
        memset((uint8_t *)bytes + n, 0, padded(n) - n);
}

void rows_append(struct buf *out, const struct rows *rows, size_t n, size_t D)
{
    static const uint8_t zeros[PAD];
    if (rows->f32) {
        buf_append(out, rows->f32, sizeof(float) * n * D);
        return;
    }
    buf_append(out, rows->exponent, n);
    buf_append(out, zeros, padded(n) - n);
    buf_append(out, rows->high, n * D);
    if (rows->low)
        buf_append(out, rows->low, n * D);
}

void rows_copy(const struct rows *to, const struct rows *from, size_t n, size_t D)
{
    if (from->f32) {
        memcpy((float *)to->f32, from->f32, sizeof(float) * n * D);
        return;
    }
    memcpy((int8_t *)to->exponent, from->exponent, n);
    memcpy((int8_t *)to->high, from->high, n * D);
    if (from->low)
        memcpy((int8_t *)to->low, from->low, n * D);
}

void rows_clear(const struct rows *rows, size_t n, size_t D)
{
    if (rows->f32) {
        memset((float *)rows->f32, 0, sizeof(float) * n * D);
        return;
    }
    memset((int8_t *)rows->exponent, 0, n);
    memset((int8_t *)rows->high, 0, n * D);
    if (rows->low)
        memset((int8_t *)rows->low, 0, n * D);
}

void rows_gather(const struct rows *to, const struct rows *from, const uint32_t *pick, size_t n, size_t D)
{
    for (size_t i = 0; i < n; i++) {
        struct rows here = rows_from(to, i, D), there = rows_from(from, pick[i], D);
        rows_copy(&here, &there, 1, D);
    }
}

bool rows_equal(const struct rows *a, const struct rows *b, size_t n, size_t D)
{
    if (a->f32)
        return memcmp(a->f32, b->f32, sizeof(float) * n * D) == 0;
    return memcmp(a->exponent, b->exponent, n) == 0 && memcmp(a->high, b->high, n * D) == 0 &&
           (!a->low || memcmp(a->low, b->low, n * D) == 0);
}

int rows_round(const struct kernels *kernels, const struct rows *to, const float *from, size_t n, size_t D)
{
    kernels->quantize_rows((int8_t *)to->high, (int8_t *)to->low, (int8_t *)to->exponent, from, D, NULL, n, D);
    return memchr(to->exponent, QUANTIZE_BAD, n) ? HANSE_EREJECT : 0;
}

static bool all_below(const float *x, size_t n, float limit)
{
    uint32_t is_bad = 0;
    ref_check_below(&is_bad, x, n, limit);
    return !is_bad;
}

static bool all_in_range(const struct rows *rows, size_t n, size_t D, float limit, int8_t most)
{
    if (rows->f32)
        return all_below(rows->f32, n * D, limit);
    for (size_t i = 0; i < n; i++)
        if (rows->exponent[i] < QUANTIZE_EXPONENT_MIN || rows->exponent[i] > most)
            return false;
    return true;
}

bool rows_are_sane(const struct rows *rows, size_t n, size_t D)
{
    return all_in_range(rows, n, D, ROWS_VALUE_MAX, QUANTIZE_EXPONENT_MAX);
}

bool rows_are_usable(const struct rows *rows, size_t n, size_t D)
{
    return all_in_range(rows, n, D, ROWS_USABLE_MAX, ROWS_USABLE_EXPONENT_MAX);
}

void rows_floats(const struct kernels *kernels, float *to, const struct rows *from, size_t n, size_t D)
{
    if (from->f32)
        memcpy(to, from->f32, sizeof(float) * n * D);
    else
        kernels->dequantize_rows(to, from->high, from->low, from->exponent, n, D);
}
