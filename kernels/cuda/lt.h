/**
 * kernels/cuda/lt.h - NVIDIA's cuBLASLt, found when the program runs: not linked with, and done without where it is not.
 *
 * Its products may do anything with the order of sums, so it is asked for integers, whose sums have none, and where bits need no proof.
 * Matrices are row-major here, as everywhere.  The emulation has a plain body in its place.
 */
#ifndef KERNELS_CUDA_LT_H
#define KERNELS_CUDA_LT_H

#include "kernels/cuda/cuda.h"

enum lt_type { LT_I8, LT_BF16, LT_F32 }; /* of operands; the output is int32 or f32 */

/* Element (i, j) of a matrix is at [i * ld + j], or [j * ld + i] where it is turned. */
struct lt_operand {
    const void *at;
    size_t ld;
    bool is_turned;
};

/** c (M, N; rows of ldc) = [c +] a (M, K) b (K, N). */
struct lt_product {
    enum lt_type type;
    void *c;
    size_t ldc;
    struct lt_operand a, b;
    size_t M, N, K;
    bool accumulate;
};

/** Whether the library is on this machine and works with this device; loads it the first time.  Any thread. */
bool lt_is_here(void);

/** Its version as it writes it, or why it is not used; for people. */
const char *lt_text(void);

/** Whether it can do a product; what it takes is found out once for each shape and alignment, and kept. */
bool lt_can(const struct lt_product *p);

/** Queues it on this thread's stream; false when the library cannot, and then nothing is queued.  Takes scratch LT_SCRATCH. */
bool lt_multiply(const struct lt_product *p);

#define LT_SCRATCH 3
#define LT_WORKSPACE_MOST ((size_t)32 << 20) /* bytes of it; what NVIDIA recommends for Hopper */

/** Closes the library's handle of the device, before that is closed. */
void lt_close(void);

#endif
