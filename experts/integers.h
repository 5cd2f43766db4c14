/**
 * experts/integers.h - the arithmetic of an expert whose numerics are integers: its weights rounded, its products, and the block of
 * rows whose gradient is still to be summed.
 *
 * Part of experts/expert.h, whose functions call these; nobody else does.  Products are those of kernels/linear.h: gate and up are
 * (D, H), and down is Wd^T (D, H), set turned, so that every matrix has one exponent a hidden unit.
 * Invariant: a block holds x->grad_slots % EXPERT_BLOCK rows, the last of those in x->grad_slots.
 */
#ifndef EXPERTS_INTEGERS_H
#define EXPERTS_INTEGERS_H

#include "experts/expert.h"
#include "kernels/linear.h"

enum { INTEGERS_GATE, INTEGERS_UP, INTEGERS_DOWN, INTEGERS_N };

/** What rows hand to the sums of the gradient besides themselves. */
struct expert_grad {
    float *gg, *gu, *h; /* (n, H) */
    const float *gy;    /* (n, D) weighted; NULL with integers, where h is */
};

/** Rows with their gradients; arrays have room for EXPERT_BLOCK, in the memory of the expert's kernels. */
struct integers_block {
    size_t n;
    int8_t *x_exponent, *x_high, *x_low;    /* low is NULL with one slice */
    int8_t *gy_exponent, *gy_high, *gy_low; /* exponent (n), slices (n, D) */
    struct expert_grad grad;
};

/** Moves bytes to the memory of k, or from there; 0 or what get() returns. */
typedef int expert_move(const struct kernels *k, void *to, const void *from, size_t n_bytes);

struct integers {
    struct linear matrix[INTEGERS_N];
    struct linear coarse[INTEGERS_N]; /* in one slice, for the products that config.coarse names; else without memory */
    struct integers_block block;
    void *memory;     /* of the block */
    int8_t *exponent; /* (EXPERT_BLOCK) of rows of which products read the high slices alone */
    void *work;       /* to sum it in */
};

/** For an expert of this config; weights are to be rounded yet, and the block is empty.  HANSE_ENOMEM. */
HANSE_MUST_USE int integers_new(const struct expert_config *config, const struct kernels *kernels, struct integers **out);
size_t integers_bytes(const struct expert_config *config, const struct kernels *kernels);
void integers_free(struct integers *integers);

/** Idle threads of `team` help with the products from now on. */
void integers_share(struct integers *integers, struct team *team);

/** Rounds x->param. */
void integers_round(struct expert *x);

/** Takes over the block of another expert of the same config by `move`. */
HANSE_MUST_USE int integers_move_block(struct integers *to, const struct integers *from, expert_move *move,
                                       const struct kernels *k, size_t D, size_t H);

size_t integers_work_bytes(const struct expert *x, size_t n);
void integers_forward(const struct expert *x, float *y, const struct rows *rows, void *work, size_t n);

/** gx, and what integers_add() takes, in `work`.  What is too large is noted in x->is_bad. */
void integers_backward(const struct expert *x, float *gx, const struct rows *rows, const struct rows *gy, const float *weight,
                       void *work, size_t n, struct expert_grad *grad);

/** Appends rows to the block; each block that is full goes into x->grad. */
void integers_add(struct expert *x, const struct rows *rows, const struct rows *gy, const struct expert_grad *grad, size_t n);

/** The block, full or not, goes into x->grad. */
void integers_sum(struct expert *x);

/** False when the block, in memory of the CPU, holds what no backward can have put there. */
bool integers_block_ok(const struct expert *x);

#endif
