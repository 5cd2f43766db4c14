/**
 * node/trunk_state.h - a trunk, its optimizer and a trainer's counters as a checkpoint.
 */
#ifndef NODE_TRUNK_STATE_H
#define NODE_TRUNK_STATE_H

#include "base/disk.h"
#include "experts/checkpoint.h"
#include "model/optimizer.h"

/** A trainer's numbers besides the tensors. */
struct trunk_counters {
    int64_t step, seed, n_tokens, elapsed_us;
};

/** All that a trunk's checkpoint holds, as a copy of its own. */
struct trunk_state {
    const struct trunk *trunk;
    struct trunk_counters counters;
    float beta_power[2];
    float *param;             /* n_params; matrices as (outputs, inputs), as exports have them */
    float *moment1, *moment2; /* n_params each, in the order of the trunk */
    float *bias;              /* (n_moe, E) of the router */
    int64_t *load;            /* (n_moe, E) */
};

HANSE_MUST_USE int trunk_state_new(const struct trunk *trunk, struct trunk_state **out);
void trunk_state_free(struct trunk_state *state);

/** Copies out of, and back into, the live trunk and optimizer, whose weights are packed anew.  HANSE_EDEVICE, HANSE_ENOMEM: the copy is
 * not to be used. */
HANSE_MUST_USE int trunk_state_take(struct trunk_state *state, const struct optimizer *optimizer);
HANSE_MUST_USE int trunk_state_give(const struct trunk_state *state, struct optimizer *optimizer);

/** Blocks on the disk.  `time_us` is for the manifest. */
HANSE_MUST_USE int trunk_state_save(const struct trunk_state *state, const struct disk *disk, const struct key *key,
                                    uint64_t time_us);
HANSE_MUST_USE int trunk_state_load(struct trunk_state *state, const struct disk *disk, struct checkpoint_info *info);

/** Loads the parameters alone into a trunk, ready for use by readers.  HANSE_ENOENT when there is no checkpoint (not logged). */
HANSE_MUST_USE int trunk_state_read(struct trunk *trunk, const struct disk *disk, struct checkpoint_info *info, float *bias);

#endif
