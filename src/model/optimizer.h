/**
 * model/optimizer.h - the trunk's update: Muon for hidden matrices, AdamW for embeddings, head, gates and gains.
 */
#ifndef MODEL_OPTIMIZER_H
#define MODEL_OPTIMIZER_H

#include "model/trunk.h"

struct optimizer {
    struct trunk *trunk;      /* kept */
    uint64_t step;            /* updates done */
    float *moment1, *moment2; /* n_params each; Muon uses the first alone */
    float *grad;              /* n_params: the sum of the step's tapes */
    float beta1_power, beta2_power;
    float *work;
};

HANSE_MUST_USE int optimizer_new(struct trunk *trunk, struct optimizer **out);
void optimizer_free(struct optimizer *optimizer);

/**
 * One update from the gradients of n tapes, added in the order given and multiplied by `grad_scale` (so that tapes may hold sums over
 * tokens, which keeps gradients that travel to the experts at the scale of a token).  `lr_scale` in [0, 1] multiplies both peaks.
 * Returns the norm of the scaled gradient before the clip.  A non-finite norm leaves the parameters alone (HANSE_EREJECT
 * through *err, else 0); the step counts all the same.
 */
float optimizer_step(struct optimizer *optimizer, struct trunk_tape *const *tape, size_t n_tapes, float lr_scale,
                     float grad_scale, int *err);

/** Warm-up, then cosine down to run->final_lr; progress in [0, 1], own cosine (kernels/ref/math.h). */
float optimizer_schedule(const struct run *run, uint64_t step, double progress);

#endif
