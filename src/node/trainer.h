/**
 * node/trainer.h - a trainer: holds the trunk, sends tokens to experts, updates, checkpoints the trunk.
 *
 * A step machine (base/io.h).  A step is run->batch sequences in run->microbatches microbatches; their gradients are added in
 * order, so timing changes no bit of the trunk's update.  Microbatches run side by side; with `is_sync` one after the other,
 * and nothing is ever left out, which makes the whole run a function of (run, data, seed, steps): the same losses with experts
 * in this process, on one host or on many.
 */
#ifndef NODE_TRAINER_H
#define NODE_TRAINER_H

#include "base/disk.h"
#include "model/data.h"
#include "node/client.h"

#define TRAINER_CHECKPOINT "trunk" /* the trunk's name among checkpoints */

struct trainer;

/** After each step. */
struct trainer_progress {
    uint64_t step, n_steps; /* n_steps 0: until `seconds` */
    double loss;            /* mean nats a token of this step */
    double smooth_loss;     /* over about the last 50 steps */
    double grad_norm;
    float lr_scale;
    uint64_t n_tokens;        /* since version 0 of the trunk */
    double tokens_per_s;      /* lately */
    double elapsed_s, left_s; /* of this training, earlier sittings counted in */
    size_t n_live, n_experts, n_hosts;
    double staleness; /* mean over the gradient slots of the last steps, in versions */
    double missed;    /* share of slots without an answer, lately */
    uint64_t rtt_us;
};

struct trainer_config {
    struct client_config client; /* role is set by the trainer */
    const struct data *data;     /* kept */
    uint64_t seed;               /* of the data's order */
    uint64_t n_steps;            /* end after this step; 0: not by steps */
    double seconds;              /* end after this much training, earlier sittings counted in; 0: not by time */
    void (*progress)(void *arg, const struct trainer_progress *progress);
    void (*started)(void *arg, uint64_t step, size_t n_live, size_t n_experts, size_t n_hosts);
    void *arg;
};

/**
 * Keeps `io` and `disk`.  Takes up from the trunk's checkpoint on `disk` when there is one: HANSE_ERUN when it is of another run,
 * HANSE_EINVAL when its seed differs, HANSE_ECORRUPT when it does not verify; all logged.
 */
HANSE_MUST_USE int trainer_new(const struct trainer_config *config, const struct io *io, const struct disk *disk, uint64_t now_us,
                               struct trainer **out);
void trainer_free(struct trainer *trainer);
struct io_machine trainer_machine(struct trainer *trainer);

struct trainer_progress trainer_progress(const struct trainer *trainer);

/** Steps done, and the result once the machine called io->stopped. */
bool trainer_is_done(const struct trainer *trainer);

struct router_stats trainer_router_stats(const struct trainer *trainer);

#endif
