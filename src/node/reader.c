/* node/reader.c - microbatches forward through the swarm, as many at once as there are lanes. */
#include "node/reader.h"

#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "node/pipeline.h"
#include "node/trunk_state.h"

#define LOOK_US 50000u /* between looks while waiting for experts */

enum phase { PHASE_WAITING, PHASE_READING, PHASE_ENDING, PHASE_DONE };

struct reader {
    struct reader_config config;
    const struct io *io;
    struct client *client;
    struct trunk *trunk;
    struct pipeline *pipeline;
    enum phase phase;
    size_t n_busy;
    int result;
    uint64_t now_us, step;
};

static void end_when_idle(struct reader *reader)
{
    if (pipeline_n_working(reader->pipeline) > 0 || client_is_working(reader->client))
        return;
    assert(pipeline_n_working(reader->pipeline) == 0 && !client_is_working(reader->client));
    reader->phase = PHASE_DONE;
    reader->io->ops->stopped(reader->io->ctx, reader->result);
}

static void end(struct reader *reader, int err)
{
    reader->phase = PHASE_ENDING;
    reader->result = err;
    pipeline_stop(reader->pipeline);
    client_stop(reader->client);
    end_when_idle(reader);
}

static void lane_done(void *arg, uint64_t now_us, size_t lane);

static void start_lane(struct reader *reader, size_t lane)
{
    struct pipeline_job job = {.is_training = false};
    if (!reader->config.fill(reader->config.arg, lane, pipeline_tape(reader->pipeline, lane)))
        return;
    reader->n_busy++;
    pipeline_start(reader->pipeline, reader->now_us, lane, &job, lane_done, reader);
}

static void lane_done(void *arg, uint64_t now_us, size_t lane)
{
    struct reader *reader = arg;
    reader->now_us = now_us;
    reader->n_busy--;
    reader->config.done(reader->config.arg, lane, pipeline_tape(reader->pipeline, lane));
    start_lane(reader, lane);
    if (reader->n_busy == 0)
        end(reader, 0);
}

static void look(struct reader *reader)
{
    int err = 0;
    switch (client_ready(reader->client, reader->now_us, &err)) {
    case CLIENT_WAITING:
        return;
    case CLIENT_FAILED:
        end(reader, err);
        return;
    case CLIENT_READY:
        break;
    }
    reader->phase = PHASE_READING;
    for (size_t lane = 0; lane < reader->config.n_lanes; lane++)
        start_lane(reader, lane);
    if (reader->n_busy == 0)
        end(reader, 0);
}

static void work_done(struct reader *reader, const struct io_work *done)
{
    pipeline_work_done(reader->pipeline, reader->now_us, done);
    int err = pipeline_err(reader->pipeline);
    if (!err || reader->phase != PHASE_READING)
        return;
    log_error("%s in the middle of it: %s", hanse_strerror(err),
              err == HANSE_ENOMEM ? "let others leave it, or use the CPU" : "see what the system says of it, or use the CPU");
    end(reader, err);
}

static void on_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct reader *reader = self;
    reader->now_us = now_us;
    bool is_clients = client_event(reader->client, now_us, event);
    if (reader->phase == PHASE_DONE)
        return;
    if (client_err(reader->client) && reader->phase != PHASE_ENDING)
        end(reader, client_err(reader->client));
    else if (event->kind == IO_STOP && reader->phase != PHASE_ENDING)
        end(reader, HANSE_EINTERRUPTED);
    else if (event->kind == IO_WORK_DONE && !is_clients)
        work_done(reader, event->work);
    if (reader->phase == PHASE_WAITING)
        look(reader);
    else if (reader->phase == PHASE_ENDING)
        end_when_idle(reader);
}

static uint64_t deadline(const void *self)
{
    const struct reader *reader = self;
    uint64_t next = client_deadline(reader->client);
    if (reader->phase == PHASE_WAITING && reader->now_us + LOOK_US < next)
        next = reader->now_us + LOOK_US;
    return next;
}

/* The trunk as it was saved, and the biases by which its gate had learned to choose. */
static int load(struct reader *reader, const struct disk *disk)
{
    const struct run *run = reader->config.client.run;
    size_t n = (size_t)run->n_moe * run->experts;
    struct checkpoint_info info;
    float *bias = calloc(n + 1, sizeof *bias);
    int64_t *loads = calloc(n + 1, sizeof *loads);
    int err = bias && loads ? trunk_state_read(reader->trunk, disk, &info, bias) : HANSE_ENOMEM;
    if (err == HANSE_ENOENT)
        log_error("there is no trunk in this directory: train first (hanse train), with the same --dir");
    if (err == HANSE_ERUN)
        log_error("the trunk in this directory belongs to another run: use the run.yaml that it was trained with");
    for (uint32_t moe = 0; !err && moe < run->n_moe; moe++)
        router_balance_set(client_router(reader->client), moe, bias + (size_t)moe * run->experts, loads);
    if (!err)
        reader->step = info.version;
    free(bias);
    free(loads);
    return err;
}

int reader_new(const struct reader_config *config, const struct io *io, const struct disk *disk, uint64_t now_us,
               struct reader **out)
{
    int err = HANSE_ENOMEM;
    struct reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        goto fail;
    reader->config = *config;
    reader->config.client.role = ROLE_OBSERVER;
    reader->io = io;
    reader->now_us = now_us;
    err = client_new(&reader->config.client, io, disk, now_us, &reader->client);
    if (!err)
        err = trunk_new(config->client.run, client_tensors(&config->client), &reader->trunk);
    if (!err)
        reader->trunk->team = reader->trunk->kernels.is_device ? NULL : config->client.team;
    if (!err)
        err = load(reader, disk);
    if (err)
        goto fail;
    struct pipeline_config pipeline = {.trunk = reader->trunk,
                                       .router = client_router(reader->client),
                                       .io = io,
                                       .n_lanes = config->n_lanes,
                                       .B = config->B,
                                       .T = config->T,
                                       .is_training = false};
    err = pipeline_new(&pipeline, &reader->pipeline);
    if (err)
        goto fail;
    *out = reader;
    return 0;
fail:
    reader_free(reader);
    return err;
}

void reader_free(struct reader *reader)
{
    if (!reader)
        return;
    pipeline_free(reader->pipeline);
    trunk_free(reader->trunk);
    client_free(reader->client);
    free(reader);
}

struct io_machine reader_machine(struct reader *reader)
{
    return (struct io_machine){on_event, deadline, reader};
}

uint64_t reader_step(const struct reader *reader)
{
    return reader->step;
}

struct router_stats reader_router_stats(const struct reader *reader)
{
    return router_stats(client_router(reader->client));
}
