/* ref/embed.c - rows of a table by token. */
#include <string.h>

#include "kernels/ref/embed.h"

void ref_embed(float *x, const float *table, const int32_t *token, size_t R, size_t D)
{
    for (size_t r = 0; r < R; r++)
        memcpy(x + r * D, table + (size_t)token[r] * D, D * sizeof *x);
}

void ref_embed_grad(float *gtable, const float *gx, const int32_t *token, size_t R, size_t D, size_t V)
{
    (void)V;
    for (size_t r = 0; r < R; r++) {
        float *row = gtable + (size_t)token[r] * D;
        for (size_t i = 0; i < D; i++)
            row[i] = row[i] + gx[r * D + i];
    }
}
