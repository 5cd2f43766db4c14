/**
 * model/optimizer.h - the trunk's update: Muon for hidden matrices, AdamW for embeddings, head, gates and gains.
 *
 * Tensors are updated independently of each other, so an update may be spread over threads in parts; the bits do not depend on
 * the number of parts.  Newton-Schulz makes the update of a small trunk cost a good share of a step: spread it.
 */
#ifndef MODEL_OPTIMIZER_H
#define MODEL_OPTIMIZER_H

#include "model/trunk.h"

#define OPTIMIZER_PARTS_MAX 4

struct optimizer {
    struct trunk *trunk; /* kept */
    uint64_t step;       /* updates done or refused */
    /* in the memory of the trunk's kernels: */
    float *moment1, *moment2;       /* n_params each; Muon uses the first alone */
    float *grad;                    /* n_params: the sum of the step's tapes */
    float beta1_power, beta2_power; /* running products; 1 before the first update */
    float *work;                    /* of each part, work_floats apart */
    size_t work_floats;
    float grad_scale, lr_scale; /* of the update under way */
};

/** HANSE_ENOMEM, logged with sizes and keys when it is a device's memory; HANSE_EDEVICE. */
HANSE_MUST_USE int optimizer_new(struct trunk *trunk, struct optimizer **out);
void optimizer_free(struct optimizer *optimizer);

/**
 * One update from the gradients of n tapes, added in the order given and multiplied by `grad_scale` (so that tapes may hold sums over
 * tokens, which keeps gradients that travel to the experts at the scale of a token).  `lr_scale` in [0, 1] multiplies both peaks.
 * Returns the norm of the scaled gradient before the clip.  A non-finite norm leaves the parameters alone (HANSE_EREJECT
 * through *err, else 0; the caller logs it); the step counts all the same.  A device that fails gives its own error, and then
 * parameters and moments mean nothing any more.
 */
float optimizer_step(struct optimizer *optimizer, struct trunk_tape *const *tape, size_t n_tapes, float lr_scale,
                     float grad_scale, int *err);

/**
 * The same in pieces: begin sums and measures; after a 0 in *err, each part 0 .. n_parts - 1 once, in any order or at the same
 * time on different threads (n_parts at most OPTIMIZER_PARTS_MAX); then nothing more.  After a refusal there is no part to do.  A
 * part is done when it returns; only on a device it can fail.
 */
float optimizer_begin(struct optimizer *optimizer, struct trunk_tape *const *tape, size_t n_tapes, float lr_scale,
                      float grad_scale, int *err);
HANSE_MUST_USE int optimizer_part(struct optimizer *optimizer, size_t part, size_t n_parts);

/** Warm-up, then cosine down to run->final_lr; progress in [0, 1], own cosine (kernels/ref/math.h). */
float optimizer_schedule(const struct run *run, uint64_t step, double progress);

#endif
