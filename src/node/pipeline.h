/**
 * node/pipeline.h - runs microbatches through the trunk's segments and, between them, through the experts.
 *
 * Each lane holds one microbatch: its tape and an exchange per MoE layer.  A lane is always in one of two states: a segment
 * is computed (io->work) or hosts are awaited.  With several lanes, one's waiting hides behind another's computing.
 * Loop thread only.
 */
#ifndef NODE_PIPELINE_H
#define NODE_PIPELINE_H

#include "base/io.h"
#include "model/trunk.h"
#include "router/router.h"

struct pipeline;

struct pipeline_config {
    const struct trunk *trunk; /* kept */
    struct router *router;     /* kept */
    const struct io *io;       /* kept */
    size_t n_lanes;
    size_t B, T; /* of a microbatch */
    bool is_training;
};

/** How a lane's microbatch is to be run. */
struct pipeline_job {
    bool is_training;      /* forward and backward, or forward alone */
    float grad_scale;      /* trunk_backward()'s */
    float lr_scale;        /* told to the hosts */
    float dropout;         /* chance of an expert to be left out */
    uint32_t drop_key[2];  /* Philox key of that chance */
    uint64_t drop_counter; /* which microbatch this is */
};

HANSE_MUST_USE int pipeline_new(const struct pipeline_config *config, struct pipeline **out);

/** Call when no work is out. */
void pipeline_free(struct pipeline *pipeline);

/** A lane's tape, to fill in tokens and targets and to read losses. */
struct trunk_tape *pipeline_tape(struct pipeline *pipeline, size_t lane);

/** Starts a lane that is idle; `done` hears once, from inside pipeline_work_done() or the router's events. */
void pipeline_start(struct pipeline *pipeline, uint64_t now_us, size_t lane, const struct pipeline_job *job,
                    void (*done)(void *arg, uint64_t now_us, size_t lane), void *arg);

/** Passes on a finished piece of work; false when it is not the pipeline's. */
bool pipeline_work_done(struct pipeline *pipeline, uint64_t now_us, const struct io_work *work);

/** 0, or why a segment failed (a device: HANSE_EDEVICE, HANSE_ENOMEM): then the pipeline has stopped by itself.  Ask after
 * pipeline_work_done(). */
int pipeline_err(const struct pipeline *pipeline);

/** Stops waiting for hosts: no lane calls back any more. */
void pipeline_stop(struct pipeline *pipeline);

/** Pieces of work that are out. */
size_t pipeline_n_working(const struct pipeline *pipeline);

#endif
