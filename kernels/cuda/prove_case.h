/**
 * kernels/cuda/prove_case.h - products that a variant is tried with: integers made where they are needed, on the GPU and, for a few outputs, on the CPU.
 */
#ifndef KERNELS_CUDA_PROVE_CASE_H
#define KERNELS_CUDA_PROVE_CASE_H

#include "kernels/cuda/product_i8.h"

/** What integers to multiply. */
enum proof_fill {
    PROOF_ANY,      /* all of the range */
    PROOF_EXTREMES, /* at random 127 and 127, -127 and -128, and the mixed ones */
    PROOF_GREATEST, /* the same sign everywhere: sums grow as far as they can */
    PROOF_OPPOSITE, /* the same, with one operand at its least */
    PROOF_TURNING /* large ones at random, of one sign in the first half of k and of the other in the second: a bit lost on the way shows */
};

struct proof_case {
    size_t M, N, K, part, n_slices;
    enum proof_fill fill;
};

/** The operands and outputs of a case, in the device's memory. */
struct proof {
    struct proof_case of;
    struct product product;
    size_t n_outputs;
    void *memory;   /* of all of it */
    float *outputs; /* what outputs are before, beside product.c */
};

/** Queues the making of a case; false when there is no memory, which is noted. */
bool proof_begin(struct proof *x, const struct proof_case *of);
void proof_end(struct proof *x);

/** Outputs as they are before a product. */
void proof_reset(const struct proof *x);

/** Whether outputs that came back (n_outputs) are those of integers on the CPU, for some of them: all would take too long. */
bool proof_holds(const struct proof *x, const float *outputs);

#endif
