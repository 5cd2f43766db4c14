/* node/pipeline.c - lanes of microbatches, each forward segment by segment and back again. */
#include "node/pipeline.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/profile.h"
#include "base/random.h"
#include "kernels/ref/gate.h"

/* What the simulator lets a segment cost; about what two cores need. */
#define COST_FIXED_US 200
#define COST_TOKEN_US 4

struct lane {
    struct pipeline *pipeline;
    size_t index;
    struct trunk_tape *tape;
    struct exchange **exchange; /* n_moe */
    struct io_work work;
    struct pipeline_job job;
    size_t segment;
    bool is_backward, is_working, is_busy;
    int err;          /* of the segment */
    float *bias;      /* (E) as it was when the segment was handed to the worker */
    uint8_t *allowed; /* (E) */
    void (*done)(void *arg, uint64_t now_us, size_t lane);
    void *arg;
};

struct pipeline {
    struct pipeline_config config;
    size_t n_moe, E, K;
    struct lane *lane;
    bool is_stopped;
    int err; /* of the first segment that failed */
};

static int make_lane(struct pipeline *pipeline, size_t index)
{
    const struct pipeline_config *config = &pipeline->config;
    struct lane *lane = &pipeline->lane[index];
    lane->pipeline = pipeline;
    lane->index = index;
    lane->exchange = calloc(pipeline->n_moe + 1, sizeof *lane->exchange);
    lane->bias = calloc(pipeline->E, sizeof *lane->bias);
    lane->allowed = calloc(pipeline->E, 1);
    if (!lane->exchange || !lane->bias || !lane->allowed)
        return HANSE_ENOMEM;
    int err = trunk_tape_new(config->trunk, config->B, config->T, config->is_training, config->trunk->run->expert_numerics,
                             &lane->tape);
    for (size_t i = 0; !err && i < pipeline->n_moe; i++)
        err = exchange_new(config->router, config->B * config->T, &lane->exchange[i]);
    return err;
}

int pipeline_new(const struct pipeline_config *config, struct pipeline **out)
{
    int err = HANSE_ENOMEM;
    struct pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (!pipeline)
        goto fail;
    pipeline->config = *config;
    pipeline->n_moe = config->trunk->run->n_moe;
    pipeline->E = config->trunk->run->experts;
    pipeline->K = config->trunk->run->chosen;
    pipeline->lane = calloc(config->n_lanes, sizeof *pipeline->lane);
    if (!pipeline->lane)
        goto fail;
    err = 0;
    for (size_t i = 0; !err && i < config->n_lanes; i++)
        err = make_lane(pipeline, i);
    if (err)
        goto fail;
    *out = pipeline;
    return 0;
fail:
    pipeline_free(pipeline);
    return err;
}

void pipeline_free(struct pipeline *pipeline)
{
    if (!pipeline)
        return;
    for (size_t l = 0; pipeline->lane && l < pipeline->config.n_lanes; l++) {
        struct lane *lane = &pipeline->lane[l];
        for (size_t i = 0; lane->exchange && i < pipeline->n_moe; i++)
            exchange_free(lane->exchange[i]);
        trunk_tape_free(lane->tape);
        free(lane->exchange);
        free(lane->bias);
        free(lane->allowed);
    }
    free(pipeline->lane);
    free(pipeline);
}

struct trunk_tape *pipeline_tape(struct pipeline *pipeline, size_t lane)
{
    return pipeline->lane[lane].tape;
}

/* -- A segment, on a worker -------------------------------------------------------------------------- */

static int forward(struct lane *lane)
{
    struct pipeline *pipeline = lane->pipeline;
    if (lane->segment == 0 && lane->job.is_training)
        trunk_tape_clear(lane->tape);
    int err = trunk_forward(pipeline->config.trunk, lane->tape, lane->segment);
    if (!err && lane->segment < pipeline->n_moe) {
        struct trunk_exchange *x = &lane->tape->exchange[lane->segment];
        profile_enter(PROFILE_GATE);
        ref_gate_topk(x->pick, x->score, lane->bias, lane->allowed, lane->tape->N, pipeline->K, pipeline->E);
    }
    return err;
}

static void run_segment(struct io_work *work)
{
    struct lane *lane = work->owner;
    if (lane->is_backward)
        lane->err = trunk_backward(lane->pipeline->config.trunk, lane->tape, lane->segment, lane->job.grad_scale);
    else
        lane->err = forward(lane);
}

/* Expert dropout (as robustness training for hosts that vanish): a microbatch does without some experts of a layer, but
 * never without all that are allowed. */
static void drop_experts(struct lane *lane)
{
    const struct pipeline *pipeline = lane->pipeline;
    size_t n_left = 0;
    for (size_t e = 0; e < pipeline->E; e++)
        n_left += lane->allowed[e];
    for (size_t e = 0; e < pipeline->E && lane->job.dropout > 0; e++) {
        uint64_t i = (lane->job.drop_counter * pipeline->n_moe + lane->segment) * pipeline->E + e;
        float chance = (float)(random_word(lane->job.drop_key, i) >> 8) * 0x1p-24f;
        if (!lane->allowed[e] || chance >= lane->job.dropout || n_left <= pipeline->K)
            continue;
        lane->allowed[e] = 0;
        n_left--;
    }
}

static void compute(struct lane *lane)
{
    struct pipeline *pipeline = lane->pipeline;
    if (!lane->is_backward && lane->segment < pipeline->n_moe) {
        memcpy(lane->bias, router_bias(pipeline->config.router, (uint32_t)lane->segment), pipeline->E * sizeof *lane->bias);
        memcpy(lane->allowed, router_allowed(pipeline->config.router, (uint32_t)lane->segment), pipeline->E);
        if (lane->job.is_training)
            drop_experts(lane);
    }
    lane->is_working = true;
    lane->work =
        (struct io_work){.run = run_segment, .owner = lane, .cost_us = COST_FIXED_US + COST_TOKEN_US * (uint64_t)lane->tape->N};
    pipeline->config.io->ops->work(pipeline->config.io->ctx, &lane->work);
}

/* -- Between segments, on the loop ------------------------------------------------------------------- */

static void forward_answered(void *arg, uint64_t now_us)
{
    struct lane *lane = arg;
    (void)now_us;
    if (lane->pipeline->is_stopped)
        return;
    lane->segment++;
    compute(lane);
}

static void backward_answered(void *arg, uint64_t now_us)
{
    struct lane *lane = arg;
    (void)now_us;
    if (lane->pipeline->is_stopped)
        return;
    lane->segment--;
    compute(lane);
}

static void finish(struct lane *lane, uint64_t now_us)
{
    lane->is_busy = false;
    lane->done(lane->arg, now_us, lane->index);
}

static void after_forward(struct lane *lane, uint64_t now_us)
{
    size_t s = lane->segment;
    if (s < lane->pipeline->n_moe) {
        struct trunk_exchange *x = &lane->tape->exchange[s];
        exchange_forward(lane->exchange[s], now_us, (uint32_t)s, lane->tape->N, x->x_rows, x->pick, x->answered, x->y_rows,
                         lane->job.is_training, forward_answered, lane);
        return;
    }
    if (!lane->job.is_training) {
        finish(lane, now_us);
        return;
    }
    lane->is_backward = true;
    compute(lane);
}

static void after_backward(struct lane *lane, uint64_t now_us)
{
    if (lane->segment == 0) {
        finish(lane, now_us);
        return;
    }
    struct trunk_exchange *x = &lane->tape->exchange[lane->segment - 1];
    exchange_backward(lane->exchange[lane->segment - 1], now_us, x->weight, x->gout_rows, x->gx_rows, lane->job.lr_scale,
                      backward_answered, lane);
}

void pipeline_start(struct pipeline *pipeline, uint64_t now_us, size_t lane_i, const struct pipeline_job *job,
                    void (*done)(void *arg, uint64_t now_us, size_t lane), void *arg)
{
    struct lane *lane = &pipeline->lane[lane_i];
    assert(!lane->is_busy && lane_i < pipeline->config.n_lanes);
    (void)now_us;
    lane->job = *job;
    lane->done = done;
    lane->arg = arg;
    lane->segment = 0;
    lane->is_backward = false;
    lane->is_busy = true;
    compute(lane);
}

void pipeline_stop(struct pipeline *pipeline)
{
    pipeline->is_stopped = true;
    for (size_t l = 0; l < pipeline->config.n_lanes; l++)
        for (size_t i = 0; i < pipeline->n_moe; i++)
            exchange_cancel(pipeline->lane[l].exchange[i]);
}

/* A lane whose segment failed stays where it is. */
static void fail(struct pipeline *pipeline, int err)
{
    pipeline->err = err;
    pipeline_stop(pipeline);
}

bool pipeline_work_done(struct pipeline *pipeline, uint64_t now_us, const struct io_work *work)
{
    for (size_t l = 0; l < pipeline->config.n_lanes; l++) {
        struct lane *lane = &pipeline->lane[l];
        if (work != &lane->work)
            continue;
        lane->is_working = false;
        if (pipeline->is_stopped)
            return true;
        if (lane->err)
            fail(pipeline, lane->err);
        else if (lane->is_backward)
            after_backward(lane, now_us);
        else
            after_forward(lane, now_us);
        return true;
    }
    return false;
}

int pipeline_err(const struct pipeline *pipeline)
{
    return pipeline->err;
}

size_t pipeline_n_working(const struct pipeline *pipeline)
{
    size_t n = 0;
    for (size_t l = 0; l < pipeline->config.n_lanes; l++)
        n += pipeline->lane[l].is_working;
    return n;
}
