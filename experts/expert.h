/**
 * experts/expert.h - one expert: a SwiGLU block y = (silu(x Wg) * (x Wu)) Wd, its gradient sums and its NAdamW state.
 * Shazeer, "GLU variants improve transformer", 2020.
 *
 * An expert is a deterministic function of (run id, name, the ordered list of backward rows, and where the
 * updates fall).  Rows do not depend on the batch they come in: gradients are fmaf chains over rows in
 * log order, so any split of the same rows into calls gives the same bits.
 * Invariant: `version` counts the updates applied; grad is the chain since the last update.
 * One thread at a time per expert; different experts are independent.
 */
#ifndef EXPERTS_EXPERT_H
#define EXPERTS_EXPERT_H

#include <stdbool.h>

#include "base/hash.h"
#include "base/key.h"
#include "kernels/kernels.h"

#define EXPERT_NAME_MAX 32 /* "L3.17" with room */

struct expert_config {
    uint32_t D; /* width of a row: the model's latent width */
    uint32_t H; /* hidden width */
    float lr, beta1, beta2, eps, weight_decay;
    float clip;                /* an update's gradient norm is cut to this; 0: never */
    uint32_t warmup_updates;   /* lr rises linearly over this many updates */
    uint32_t slots_per_update; /* token-slots after which an update is due */
    uint32_t max_staleness;    /* rows whose forward is older than this many versions are dropped */
};

struct expert {
    char name[EXPERT_NAME_MAX];
    struct expert_config config;
    const struct kernels *kernels;
    uint64_t version;
    uint64_t n_slots;                /* token-slots whose gradient was ever accepted: the load it publishes */
    uint32_t epoch;                  /* how often it changed host */
    uint32_t grad_slots;             /* token-slots in grad */
    float lr_scale_sum;              /* sum over those slots of the caller's lr_scale, slot by slot from +0 */
    float beta1_power, beta2_power;  /* running products */
    float *param;                    /* Wg (D, H), Wu (D, H), Wd (H, D), one block of 3 D H */
    float *moment1, *moment2, *grad; /* the same shape */
    struct hash log_head;            /* experts/log.h */
};

/** Floats in each of param, moment1, moment2, grad. */
size_t expert_n_params(const struct expert_config *config);

/** Version 0 of expert `name` of run `run`: a function of the two (Philox keyed by them).  Borrows `name`. */
HANSE_MUST_USE int expert_new(const struct expert_config *config, const struct kernels *kernels, const struct hash *run,
                              const char *name, struct expert **out);
void expert_free(struct expert *x);

/** Floats of scratch that forward and backward need for n rows. */
size_t expert_work_floats(const struct expert_config *config, size_t n);

/** y (n, D) from x (n, D).  HANSE_EREJECT, nothing written, when a row of x is not finite. */
HANSE_MUST_USE int expert_forward(const struct expert *x, float *y, const float *rows, float *work, size_t n);

/**
 * gx (n, D) from the rows of the forward and gy (n, D); adds to the gradient chain.  `version` is that of the forward:
 * rows older than max_staleness give gx but add nothing (their staleness is returned all the same); others are damped by
 * a power of two that depends on staleness (1, 1, then halved every 3).  `lr_scale` in [0, 1] is the caller's point in
 * its schedule.  Returns HANSE_EREJECT, with nothing changed, when a number is not finite.
 */
HANSE_MUST_USE int expert_backward(struct expert *x, float *gx, const float *rows, const float *gy, float *work, size_t n,
                                   uint64_t version, float lr_scale, uint64_t *staleness);

bool expert_update_due(const struct expert *x);

/** One NAdamW step with the mean of the chain; version + 1; clears the chain.  A non-finite gradient norm drops the chain
 * and leaves the parameters (still version + 1: it is a deterministic result). */
void expert_update(struct expert *x);

#endif
