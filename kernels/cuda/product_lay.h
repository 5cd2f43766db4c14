/**
 * kernels/cuda/product_lay.h - operands of integers laid out as products read them: k contiguous, filled up with zeros.
 *
 * Along k an operand may be cut into parts; each begins on a multiple of PRODUCT_K_PAD, so that no step of a product has terms of two.
 */
#ifndef KERNELS_CUDA_PRODUCT_LAY_H
#define KERNELS_CUDA_PRODUCT_LAY_H

#include "kernels/cuda/cuda.h"

/** Where an operand of `lines` rows (or columns) over K terms goes: `to` of (n_lines, ld), all of which is written. */
struct lay {
    int8_t *high, *low; /* low is NULL with one slice */
    size_t lines, n_lines;
    size_t K, part; /* terms, and terms in a part */
    size_t part_ld; /* from part to part; a multiple of PRODUCT_K_PAD */
    size_t ld;      /* as many as there are parts, times part_ld */
};

/** How `lines` over K terms in parts of `part` are laid. */
struct lay lay_of(size_t lines, size_t n_lines, size_t K, size_t part);

/** Bytes of a slice. */
static inline size_t lay_bytes(const struct lay *to)
{
    return to->n_lines * to->ld;
}

/** Where both slices go: behind each other in `memory`. */
void lay_into(struct lay *to, void *memory, bool has_two);

/** Queues the copying of integers: line l, term k is at [l * ld + k], or [k * ld + l] where k does not lie together. */
void lay_integers(const struct lay *to, const int8_t *high, const int8_t *low, size_t ld, bool is_k_near);

/**
 * Queues the rounding of g (K, lines; dense) by columns, each part by itself, row k times 2^fold[k] first; exponent (parts, lines) out.
 */
void lay_rounded(const struct lay *to, int8_t *exponent, const float *g, const int8_t *fold);

#endif
