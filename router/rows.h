/**
 * router/rows.h - rows of activations and gradients as they travel: how many bytes, where each part lies, copies.
 *
 *   f32          f32[n * D]
 *   i8x2, i8x1   i8 exponent[n] | zeros to a multiple of 8 | i8 high[n * D] | i8x2: i8 low[n * D]
 *
 * They are rounded once, by the trainer, so what travels is what the expert's product reads (doc/numerics.md), at one or two bytes a
 * value.  Answers of an expert whose rows are integers always travel in two slices: with one they would be coarser
 * than the product that made them.  Bytes of `struct rows` that a function here writes to belong to the caller, and are no constants.
 */
#ifndef ROUTER_ROWS_H
#define ROUTER_ROWS_H

#include "base/buf.h"
#include "kernels/kernels.h"

/** The form of the answers to rows of this form. */
static inline enum numerics rows_answer_form(enum numerics form)
{
    return form == NUMERICS_F32 ? NUMERICS_F32 : NUMERICS_I8X2;
}

/** Whether there are any: a struct of zeros is none. */
static inline bool rows_are_there(const struct rows *rows)
{
    return rows->f32 || rows->high;
}

/** The form of rows that are there. */
static inline enum numerics rows_form(const struct rows *rows)
{
    return rows->f32 ? NUMERICS_F32 : rows->low ? NUMERICS_I8X2 : NUMERICS_I8X1;
}

/** Bytes of n rows of D. */
size_t rows_bytes(enum numerics form, size_t n, size_t D);

/** The rows that lie at `bytes`; floats must be aligned. */
struct rows rows_at(enum numerics form, const void *bytes, size_t n, size_t D);

/** The zeros between the exponents and the integers: whether they are, and making them so. */
bool rows_are_padded(enum numerics form, const void *bytes, size_t n);
void rows_pad(enum numerics form, void *bytes, size_t n);

/** Appends n rows. */
void rows_append(struct buf *out, const struct rows *rows, size_t n, size_t D);

/** Copies n rows of the same form. */
void rows_copy(const struct rows *to, const struct rows *from, size_t n, size_t D);

/** Zeros in n rows. */
void rows_clear(const struct rows *rows, size_t n, size_t D);

/** Row i of `to` becomes row pick[i] of `from`, for i < n; the same form. */
void rows_gather(const struct rows *to, const struct rows *from, const uint32_t *pick, size_t n, size_t D);

/** Whether n rows of the same form are the same bytes. */
bool rows_equal(const struct rows *a, const struct rows *b, size_t n, size_t D);

/** Rounds n rows of floats into integers.  HANSE_EREJECT when a row is refused: its exponent is QUANTIZE_BAD, its integers zeros. */
int rows_round(const struct kernels *kernels, const struct rows *to, const float *from, size_t n, size_t D);

/** Beyond any answer that an honest host gives, and small enough that what is made of it stays finite. */
#define ROWS_VALUE_MAX 0x1p50f

/** False when a number is not below ROWS_VALUE_MAX in magnitude, NaN among them.  Of integers the exponents tell: in the range of
 * roundings nothing is as large. */
bool rows_are_sane(const struct rows *rows, size_t n, size_t D);

/** Beyond any answer of a model that works, as experts have it of what they are sent.  What a trunk of integers makes of such a number
 * soon cannot be rounded, and then the whole step is lost. */
#define ROWS_USABLE_MAX 0x1p20f
#define ROWS_USABLE_EXPONENT_MAX 5

/** False when a number is not below ROWS_USABLE_MAX in magnitude; of integers in two slices, when an exponent says that one may be. */
bool rows_are_usable(const struct rows *rows, size_t n, size_t D);

/** to (n, D) = the rows as floats; they are sane. */
void rows_floats(const struct kernels *kernels, float *to, const struct rows *from, size_t n, size_t D);

#endif
