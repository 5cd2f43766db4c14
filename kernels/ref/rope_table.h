/**
 * kernels/ref/rope_table.h - the angles of rotary position embedding, from our own sine and cosine.
 */
#ifndef KERNELS_REF_ROPE_TABLE_H
#define KERNELS_REF_ROPE_TABLE_H

#include <stddef.h>

/** cosine, sine (T, hd / 2): position t, pair i turns by t * theta^(-2 i / hd). */
void ref_rope_table(float *cosine, float *sine, float theta, size_t T, size_t hd);

#endif
