/**
 * experts/expert.h - one expert: a SwiGLU block y = (silu(x Wg) * (x Wu)) Wd, its gradient sums and its NAdamW state.
 * Shazeer, "GLU variants improve transformer", 2020.
 *
 * An expert is a deterministic function of (the run's birth, name, the ordered list of backward rows, and where the
 * updates fall).  Rows do not depend on the batch they come in, and gradients are summed in the order of the log in a way that does
 * not know of calls, so any split of the same rows into calls gives the same bits.
 * Invariant: `version` counts the updates applied; grad is the sum since the last update, but for the rows of an unfinished block.
 * One thread at a time per expert; different experts are independent.  Only expert_new(), expert_copy() and expert_blank() allot.
 *
 * Parameters, moments, sums and the block lie in the memory of the expert's kernels, which may be a GPU's, and so must the rows, answers,
 * weights and scratch that forward and backward are given.  What they return is known, and their answers can be fetched; the gradient that they
 * add, and an update, may still be under way: before another thread goes on with the expert, kernels->wait().
 *
 * One backward with f32, to the bit (x the rows, all products and swiglu through `kernels`):
 *   gy = weight gy, g = x Wg, u = x Wu, h = swiglu(g, u), gh = gy Wd^T, (gg, gu) = swiglu_grad(gh, g, u)
 *   gx = gg Wg^T, then += gu Wu^T
 *   staleness s = distance between the forward's version and ours; damping d = 2^-((s + 1) / 3) (integer
 *   division: 1, 1, then halved every 3), at least 2^-30.  When d < 1, h, gg and gu are multiplied by d: as if gy had been, short of underflow.
 *   grad Wd += h^T gy, grad Wg += x^T gg, grad Wu += x^T gu, rows ascending.
 * With i8x2 and i8x1 the products are those of kernels/linear.h.  Wg and Wu are (D, H), Wd is the (D, H) of Wd^T; so each has one exponent
 * a hidden unit, and x and gy are read as they came, by two products each:
 *   g = ahead(Wg, x), u = ahead(Wu, x), h = swiglu(g, u), y = back(Wd, h)
 *   gh = ahead(Wd, gy), then gh and h are multiplied by the row's weight, (gg, gu) = swiglu_grad(gh, g, u)
 *   gx = back(Wg, gg), then += back(Wu, gu); damping as above, of gg, gu and the weighted h
 *   Rows that count are collected in blocks of EXPERT_BLOCK, counted from the last update.  A full block, or what there is of one when an
 *   update comes, is summed: grad Wg += x^T gg, grad Wu += x^T gu, grad Wd += h^T gy (the turned gy^T h), in this order, by
 *   linear_grad(): columns of gg, gu and h over the rows of the block are rounded together.
 * One update: norm = sqrt(sum_squares(grad)) / slots; scale = 1 / slots, times clip / norm when norm > clip;
 *   lr = config.lr * min(1, (version + 1) / warmup_updates) * (lr_scale_sum / slots); then nadamw over the whole block.
 */
#ifndef EXPERTS_EXPERT_H
#define EXPERTS_EXPERT_H

#include <stdbool.h>

#include "base/hash.h"
#include "base/key.h"
#include "base/team.h"
#include "kernels/kernels.h"

#define EXPERT_NAME_MAX 32 /* "L3.17" with room */

/* A row with a magnitude of this or more is refused like a non-finite one: it is no activation or gradient of a
 * training that works, and below it nothing in one backward can overflow while the parameters are sane. */
#define EXPERT_VALUE_MAX 0x1p20f

/* Rows of integers stay below that by their exponents: 2^15 and 2^7 bound what they multiply. */
#define EXPERT_EXPONENT_MAX_I8X2 5
#define EXPERT_EXPONENT_MAX_I8X1 13

/* Integers: a backward is refused whose gg, gu or weighted h reaches this.  Folded with the largest exponent that a row may have it
 * stays below QUANTIZE_MAX, so that no gradient that was accepted can be refused when its block is summed. */
#define EXPERT_GRAD_MAX 0x1p24f

/* Integers: rows whose gradient is summed by one product.  256 are four steps of a matrix unit that takes 64 at a time, enough to pay
 * for rounding, packing and adding to (D, H) sums; more would take more memory and round small gradients beside large ones. */
#define EXPERT_BLOCK 256

struct expert_config {
    uint32_t D; /* width of a row: the model's latent width */
    uint32_t H; /* hidden width */
    float lr, beta1, beta2, eps, weight_decay;
    float clip;                /* an update's gradient norm is cut to this; 0: never */
    uint32_t warmup_updates;   /* lr rises linearly over this many updates */
    uint32_t slots_per_update; /* token-slots after which an update is due */
    uint32_t max_staleness;    /* rows whose forward is older than this many versions are dropped */
    enum numerics numerics;    /* of its products, and so of the rows it takes */
    uint32_t coarse;           /* bit i: product i (enum expert_product) in one slice, though numerics is i8x2 */
    bool has_layer;            /* the model's layer it belongs to is known, for the names in exports; */
    uint32_t layer;            /* else that of its name counts */
};

struct expert {
    char name[EXPERT_NAME_MAX];
    struct expert_config config;
    const struct kernels *kernels;
    struct team *team; /* expert_share(); NULL: nobody */
    uint64_t version;
    uint64_t n_slots;                /* token-slots whose gradient was ever accepted: the load it publishes */
    uint32_t epoch;                  /* how often it changed host */
    uint32_t grad_slots;             /* token-slots in grad */
    float lr_scale_sum;              /* sum over those slots of the caller's lr_scale, slot by slot from +0 */
    float beta1_power, beta2_power;  /* running products */
    float *param;                    /* Wg (D, H), Wu (D, H), Wd (H, D), one block of 3 D H */
    float *moment1, *moment2, *grad; /* the same shape */
    uint32_t *is_bad;                /* set by a number that is too large */
    struct integers *integers;       /* experts/integers.h; NULL with f32 */
    struct hash log_head;            /* experts/log.h */
};

/** Floats in each of param, moment1, moment2, grad. */
size_t expert_n_params(const struct expert_config *config);

/** Bytes that an expert takes in the memory of `kernels`, besides what each piece of memory is rounded up by. */
size_t expert_bytes(const struct expert_config *config, const struct kernels *kernels);

/**
 * Version 0 of expert `name` of run `run`: a function of the two (Philox keyed by them).  Wg and Wu have deviation
 * 1 / sqrt(D); Wd a quarter of 1 / sqrt(H), so that a newborn expert adds little to its layer.  Borrows `name`, keeps
 * `kernels`.  HANSE_EINVAL, logged, for a name or config out of range.  Free with expert_free().
 */
HANSE_MUST_USE int expert_new(const struct expert_config *config, const struct kernels *kernels, const struct hash *run,
                              const char *name, struct expert **out);

/** From now on threads of `team` that are idle help with what x computes (NULL: none do), which changes no bit.  Keeps `team`.  On a device
 * nobody helps: each thread has a queue of its own there, and x would have to wait for all of them. */
void expert_share(struct expert *x, struct team *team);

/** A copy that shares nothing, not even a team, for example to save from while the original goes on.  It lies in memory of the CPU; of an
 * expert that already does, it has the kernels.  expert_params_changed() must be called before it computes.  HANSE_ENOMEM, HANSE_EDEVICE. */
HANSE_MUST_USE int expert_copy(const struct expert *x, struct expert **out);

/** The same with tensors of its own that hold anything, and no rows in its block: for whoever is to write them all.  Nothing is asked of a
 * device.  HANSE_ENOMEM. */
HANSE_MUST_USE int expert_blank(const struct expert *x, struct expert **out);

/** x becomes what `copy` is, a copy of it that was changed and is used up: its parameters, moments, sums and block, not its counters.
 * HANSE_EDEVICE, with x not to be used. */
HANSE_MUST_USE int expert_adopt(struct expert *x, struct expert *copy);
void expert_free(struct expert *x);

/** Bytes of scratch, to lie on a multiple of 64, that forward and backward need for n rows. */
size_t expert_work_bytes(const struct expert *x, size_t n);

/** False when one of n floats, in memory of the CPU, is not finite or not below `limit` in magnitude. */
bool expert_all_below(const float *x, size_t n, float limit);

/** False when one of n rows of width D, in memory of the CPU, could spoil a result: a float that is not below EXPERT_VALUE_MAX, or integers with an exponent
 * that is not between QUANTIZE_EXPONENT_MIN and EXPERT_EXPONENT_MAX_..., or with a high slice of -128.  forward and backward ask
 * this of their rows; a host that joins requests asks it of each, so that one bad request does not spoil its neighbours. */
bool expert_rows_ok(enum numerics numerics, const struct rows *rows, size_t n, size_t D);

/** y (n, D) from x (n, D), which come in the form that the config names.  HANSE_EREJECT, nothing written, when expert_rows_ok() is
 * false of the rows; also, with y not to be used, when the parameters are so large that y is not below QUANTIZE_MAX, or that they or h
 * cannot be rounded.  HANSE_EDEVICE, HANSE_ENOMEM: kernels->get().  y must not overlap rows or work. */
HANSE_MUST_USE int expert_forward(const struct expert *x, float *y, const struct rows *rows, void *work, size_t n);

/**
 * gx (n, D) from the rows of the forward and gy (n, D), where the gradient of row s is weight[s] * gy[s] (NULL: all 1); adds to the
 * gradient chain.  `version` is that of the forward (after a host fell back to a checkpoint it may lie in our future; the distance
 * counts).  Rows staler than max_staleness give gx but add nothing; `*staleness` says how stale they were, in every case.
 * `lr_scale` in [0, 1] is the caller's point in its schedule.  HANSE_EREJECT, with the expert unchanged and gx not to be used, when
 * expert_rows_ok() is false of rows or gy (with f32: of weighted gy), when a number becomes too large (gx: QUANTIZE_MAX; with
 * integers the others: EXPERT_GRAD_MAX), or lr_scale is out of range; whether it is does not depend on staleness, nor on what else is in the sum.  HANSE_EDEVICE, HANSE_ENOMEM as
 * expert_forward().  gx must not overlap the other arrays.
 */
HANSE_MUST_USE int expert_backward(struct expert *x, float *gx, const struct rows *rows, const struct rows *gy,
                                   const float *weight, void *work, size_t n, uint64_t version, float lr_scale,
                                   uint64_t *staleness);

/** To be called after param was written from outside, before the next forward or backward. */
void expert_params_changed(struct expert *x);

bool expert_update_due(const struct expert *x);

/** One NAdamW step with the mean of the chain; version + 1; clears the chain.  A chain that is empty or whose norm is not
 * finite leaves parameters and moments alone (still version + 1: it is a deterministic result).  HANSE_EDEVICE, HANSE_ENOMEM, with x not to be
 * used: a device failed; it may also say so no sooner than at kernels->wait(). */
HANSE_MUST_USE int expert_update(struct expert *x);

#endif
