/**
 * kernels/numerics.h - in which numbers a product is computed, and how its operands lie.
 *
 *   f32    operands are floats; an output is one chain of fmaf
 *   i8x2   an operand's rows or columns are integers of 16 bits times a power of two, held as two int8 slices
 *   i8x1   the same with integers of 8 bits: one slice
 *
 * An integer q in two slices is 256 high + low with high in -127..127 and low in -128..127; in one slice it is high.
 * Integer sums are exact, so their order, and with it the chip, leaves no trace: doc/numerics.md, "Exact-integer products".
 */
#ifndef KERNELS_NUMERICS_H
#define KERNELS_NUMERICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum numerics { NUMERICS_F32, NUMERICS_I8X2, NUMERICS_I8X1, N_NUMERICS };

/** "f32", "i8x2", "i8x1". */
extern const char *const numerics_name[N_NUMERICS];

/** The products of a SwiGLU block, of which a run for research may name some to be computed in one slice where the rest is i8x2. */
enum expert_product {
    PRODUCT_IN,               /* x Wg, x Wu */
    PRODUCT_OUT,              /* h Wd */
    PRODUCT_GRAD_HIDDEN,      /* gy Wd^T */
    PRODUCT_GRAD_IN,          /* gg Wg^T, gu Wu^T */
    PRODUCT_GRAD_WEIGHTS_IN,  /* x^T gg, x^T gu */
    PRODUCT_GRAD_WEIGHTS_OUT, /* h^T gy */
    N_PRODUCTS
};

/** "in", "out", "grad_hidden", "grad_in", "grad_weights_in", "grad_weights_out". */
extern const char *const product_name[N_PRODUCTS];

/** Slices of an integer; 0 for f32. */
static inline size_t numerics_slices(enum numerics numerics)
{
    return numerics == NUMERICS_I8X2 ? 2 : numerics == NUMERICS_I8X1 ? 1 : 0;
}

#define QUANTIZE_MAX 0x1p40f       /* a group with a magnitude of this or more is refused, like one that is not finite */
#define QUANTIZE_FLOOR 0x1p-100f   /* a group whose magnitudes are all below becomes zeros, and a product's scale, too */
#define QUANTIZE_EXPONENT_MIN -114 /* of a group: floor(log2 QUANTIZE_FLOOR) - 14 */
#define QUANTIZE_EXPONENT_MAX 34
#define QUANTIZE_BAD 127    /* the exponent of a row that was refused; its integers are zeros */
#define PRODUCT_K_MAX 65536 /* longer sums are cut here: beyond it int32 could overflow */

/** A matrix of integers: element (i, j) is at [i * ld + j], or [j * ld + i] where it is turned.  low is NULL with one slice. */
struct slices {
    const int8_t *high, *low;
    size_t ld;
    bool is_turned;
};

/**
 * Rows of activations or gradients as they travel and as products read them: floats, or integers with an exponent a
 * row, value = integer * 2^exponent.  The integers are what the trainer rounded once.
 */
struct rows {
    const float *f32;       /* (n, D); NULL for integers */
    const int8_t *exponent; /* (n) */
    const int8_t *high;     /* (n, D) */
    const int8_t *low;      /* (n, D); NULL with one slice */
};

/** The rows from `first` on. */
static inline struct rows rows_from(const struct rows *rows, size_t first, size_t D)
{
    struct rows r = {0};
    if (rows->f32) {
        r.f32 = rows->f32 + first * D;
        return r;
    }
    r.exponent = rows->exponent + first;
    r.high = rows->high + first * D;
    r.low = rows->low ? rows->low + first * D : NULL;
    return r;
}

#endif
