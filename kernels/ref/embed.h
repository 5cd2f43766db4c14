/**
 * kernels/ref/embed.h - rows of a table by token, and their gradient.
 */
#ifndef KERNELS_REF_EMBED_H
#define KERNELS_REF_EMBED_H

#include <stddef.h>
#include <stdint.h>

/** x (R, D) = table (V, D) at token (R), each in [0, V). */
void ref_embed(float *x, const float *table, const int32_t *token, size_t R, size_t D);

/** gtable (V, D) += gx (R, D), rows ascending. */
void ref_embed_grad(float *gtable, const float *gx, const int32_t *token, size_t R, size_t D, size_t V);

#endif
