/**
 * kernels/ref/muon.h - Muon: momentum, then the nearest semi-orthogonal matrix by Newton-Schulz.
 * Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
 */
#ifndef KERNELS_REF_MUON_H
#define KERNELS_REF_MUON_H

#include <stddef.h>

#include "kernels/kernels.h"

struct muon_step {
    float lr;
    float momentum;     /* 0.95, Nesterov form */
    float weight_decay; /* decoupled */
    float grad_scale;   /* the gradient is multiplied by this first */
    int n_iterations;   /* of Newton-Schulz; 5 */
};

/** Floats of scratch that muon_update needs for an (M, N) matrix. */
size_t muon_work_floats(size_t M, size_t N);

/**
 * p, m (M, N) in place from the gradient g (M, N).  The update is scaled by sqrt(max(1, N / M)) for a matrix used
 * as x (., M) p (M, N): M inputs, N outputs.  Deterministic, with the same bits through every set.  All tensors lie in k's memory; a
 * device is waited for twice, for the two numbers that the update is divided by.
 */
void muon_update(const struct kernels *k, float *p, float *m, const float *g, float *work, const struct muon_step *step, size_t M,
                 size_t N);

#endif
