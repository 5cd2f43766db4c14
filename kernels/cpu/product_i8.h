/**
 * kernels/cpu/product_i8.h - what the exact-integer products of this machine's instructions have in common.
 *
 * A right operand is packed in panels of PANEL columns: for each step of k, a word of each column (words.h), slice by slice.
 * Rows of the left operand are laid out as words too, in blocks of I8_STEPS steps at a constant distance, so that the rows
 * of a tile are constant offsets from one pointer.  An instruction set gives the innermost loop, the tile: the exact sums
 * of some rows times a panel over one block, in int32.  Sums of several blocks meet in doubles, which hold each sum of a part
 * of PRODUCT_K_MAX exactly; then comes the one rounding.
 */
#ifndef KERNELS_CPU_PRODUCT_I8_H
#define KERNELS_CPU_PRODUCT_I8_H

#include "kernels/cpu/ivec.h"
#include "kernels/cpu/words.h"
#include "kernels/kernels.h"

#define PANEL (2 * WIDTH)
#define I8_STEPS ((size_t)512)
#define I8_TILE_SUMS ((size_t)1024) /* most that a tile gives */

/** A block of words of one row; the line beyond keeps neighbours out of the same set of the cache. */
struct i8_row {
    int32_t word[I8_STEPS];
    int32_t start; /* what a tile's sums of this row start from */
    int32_t unused[15];
};

/** How an instruction set multiplies.  Arrays are by the number of slices. */
struct i8_form {
    size_t n_terms[3]; /* of k in a step */
    size_t n_words[3]; /* of an element of a in a step, each with a row of its own; a tile gives as many sums an output */
    size_t n_rows[3];  /* of a tile; divides 48 */
    size_t n_steps;    /* come in multiples of this */

    /** Lays out K terms of n rows, n_words[] times `rows` each.  `x` starts at the first. */
    void (*left)(struct i8_row *rows, const struct source *x, size_t n, size_t K);
    /** Lays out K terms of n <= PANEL columns. */
    void (*right)(int32_t *panel, const struct source *x, size_t n, size_t K);
    /** sums (n_rows, n_words, PANEL); with two words the first sum counts 256 times.  Columns of n_vecs vectors suffice. */
    void (*tile)(int32_t *sums, const struct i8_row *rows, const int32_t *panel, size_t n_steps, size_t n_rows, size_t n_vecs,
                 size_t n_slices);
};

/** packed_bytes, pack and multiply of struct kernels for a form. */
size_t CPU(i8_packed_bytes)(const struct i8_form *form, size_t N, size_t K, size_t n_slices);
void CPU(i8_pack)(const struct i8_form *form, void *packed, struct slices b, size_t N, size_t K);
void CPU(i8_multiply)(const struct i8_form *form, float *c, size_t ldc, struct slices a, const int8_t *a_exponent,
                      const void *packed, const int8_t *b_exponent, size_t M, size_t N, size_t K, bool accumulate);

#endif
