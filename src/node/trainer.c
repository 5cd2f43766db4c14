/* node/trainer.c - steps: microbatches through the pipeline, one update, now and then a checkpoint. */
#include "node/trainer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/profile.h"
#include "base/random.h"
#include "model/optimizer.h"
#include "node/pipeline.h"
#include "node/trunk_state.h"

#define LOOK_US 50000u            /* between looks while waiting for experts */
#define STOP_PATIENCE_US 5000000u /* for a step under way when the user wants to end */
#define SMOOTH 0.04               /* of the smoothed loss, a step */
#define RATE_US 2000000u          /* tokens/s and staleness are over about this long */
#define COST_UPDATE_US 2000
#define N_PARTS 4 /* of an update; any number gives the same bits */

enum phase { PHASE_WAITING, PHASE_STEPPING, PHASE_UPDATING, PHASE_SAVING, PHASE_FAILING, PHASE_DONE };

struct trainer {
    struct trainer_config config;
    const struct io *io;
    const struct disk *disk;
    const struct run *run;
    struct client *client;
    struct trunk *trunk;
    struct optimizer *optimizer;
    struct pipeline *pipeline;
    struct trunk_state *state; /* what is being saved */
    struct trunk_tape **tape;  /* of each microbatch */

    enum phase phase;
    size_t n_micro, B;        /* microbatches a step, sequences in each */
    size_t n_started, n_done; /* microbatches of this step */
    float lr_scale, grad_norm;
    int update_err, part_err[N_PARTS], copy_err;
    struct io_work sum, part[N_PARTS], copy, save;
    size_t n_parts_out;
    bool is_saving, is_writing; /* a checkpoint; the trunk's part of it */
    bool is_last_save, is_stopping;
    uint64_t stop_us, save_us; /* when the user asked to end; when the next checkpoint is due */
    uint64_t saved_at_us;      /* what the checkpoint says of its time */
    int64_t saved_step;        /* of the last checkpoint that was written; 0: none */
    int save_err, result;

    struct trunk_counters counters;
    uint64_t now_us, resumed_us; /* elapsed time counts from the latter */
    int64_t elapsed_before_us;
    struct trainer_progress progress;
    uint64_t rate_us, rate_tokens; /* where the present rate window began */
    struct router_stats rate_stats;
};

static int64_t elapsed_us(const struct trainer *trainer)
{
    return trainer->elapsed_before_us + (trainer->resumed_us ? (int64_t)(trainer->now_us - trainer->resumed_us) : 0);
}

/* -- A step ------------------------------------------------------------------------------------------ */

static double share_done(const struct trainer *trainer)
{
    double share = 0;
    if (trainer->config.n_steps)
        share = (double)trainer->optimizer->step / (double)trainer->config.n_steps;
    if (trainer->config.seconds > 0) {
        double by_time = (double)elapsed_us(trainer) / 1e6 / trainer->config.seconds;
        share = by_time > share ? by_time : share;
    }
    return share < 1 ? share : 1;
}

static void micro_done(void *arg, uint64_t now_us, size_t lane);

static void start_micro(struct trainer *trainer)
{
    size_t i = trainer->n_started++;
    uint64_t step = trainer->optimizer->step;
    struct trunk_tape *tape = trainer->tape[i];
    profile_enter(PROFILE_OTHER);
    data_batch(trainer->config.data, trainer->config.seed, step, i * trainer->B, trainer->B, trainer->run->context, tape->token,
               tape->target);
    struct pipeline_job job = {.is_training = true,
                               .grad_scale = (float)tape->N,
                               .lr_scale = trainer->lr_scale,
                               .dropout = trainer->run->expert_dropout,
                               .drop_counter = step * trainer->n_micro + i};
    struct hash seed = hash_bytes(&trainer->config.seed, sizeof trainer->config.seed);
    random_key(job.drop_key, &seed, "expert dropout");
    profile_enter(PROFILE_MESSAGE);
    pipeline_start(trainer->pipeline, trainer->now_us, i, &job, micro_done, trainer);
}

static void start_step(struct trainer *trainer)
{
    trainer->phase = PHASE_STEPPING;
    trainer->lr_scale = optimizer_schedule(trainer->run, trainer->optimizer->step, share_done(trainer));
    trainer->n_started = trainer->n_done = 0;
    size_t n_at_once = trainer->config.client.is_sync ? 1 : trainer->n_micro;
    for (size_t i = 0; i < n_at_once; i++)
        start_micro(trainer);
}

/* On a worker: the sum of the microbatches' gradients and its norm. */
static void run_sum(struct io_work *work)
{
    struct trainer *trainer = work->owner;
    float grad_scale = 1.0f / ((float)trainer->n_micro * (float)trainer->tape[0]->N);
    trainer->grad_norm = optimizer_begin(trainer->optimizer, trainer->tape, trainer->n_micro, trainer->lr_scale, grad_scale,
                                         &trainer->update_err);
}

/* On a worker: the tensors of one part; parts run side by side and touch different tensors. */
static void run_part(struct io_work *work)
{
    struct trainer *trainer = work->owner;
    size_t part = (size_t)(work - trainer->part);
    trainer->part_err[part] = optimizer_part(trainer->optimizer, part, N_PARTS);
}

/* On a worker: a copy for the checkpoint while nobody touches the parameters. */
static void run_copy(struct io_work *work)
{
    struct trainer *trainer = work->owner;
    trainer->copy_err = trunk_state_take(trainer->state, trainer->optimizer);
}

static void hand_out(struct trainer *trainer, struct io_work *work, void (*run)(struct io_work *work))
{
    *work = (struct io_work){.run = run, .owner = trainer, .cost_us = COST_UPDATE_US};
    trainer->io->ops->work(trainer->io->ctx, work);
}

static bool is_last_step(const struct trainer *trainer)
{
    if (trainer->is_stopping)
        return true;
    if (trainer->config.n_steps && trainer->optimizer->step >= trainer->config.n_steps)
        return true;
    return trainer->config.seconds > 0 && (double)elapsed_us(trainer) / 1e6 >= trainer->config.seconds;
}

static void micro_done(void *arg, uint64_t now_us, size_t lane)
{
    struct trainer *trainer = arg;
    (void)lane;
    trainer->now_us = now_us;
    trainer->n_done++;
    if (trainer->n_started < trainer->n_micro) {
        start_micro(trainer);
        return;
    }
    if (trainer->n_done < trainer->n_micro)
        return;
    trainer->phase = PHASE_UPDATING;
    hand_out(trainer, &trainer->sum, run_sum);
}

/* -- Checkpoints ------------------------------------------------------------------------------------- */

static void run_save(struct io_work *work)
{
    struct trainer *trainer = work->owner;
    trainer->save_err = trunk_state_save(trainer->state, trainer->disk, trainer->config.client.key, trainer->saved_at_us);
}

/* `state` holds the tensors already; the router's and our own numbers join them here, on the loop.  Between two steps our own
 * host rests, too, and saves the experts of the same step before it serves the next. */
static void start_save(struct trainer *trainer)
{
    size_t E = trainer->run->experts;
    trainer->state->counters = trainer->counters;
    trainer->state->counters.elapsed_us = elapsed_us(trainer);
    for (uint32_t moe = 0; moe < trainer->run->n_moe; moe++)
        router_balance_get(client_router(trainer->client), moe, &trainer->state->bias[moe * E], &trainer->state->load[moe * E]);
    assert(!trainer->is_saving);
    trainer->is_saving = trainer->is_writing = true;
    trainer->saved_at_us = trainer->now_us;
    trainer->save_us = trainer->now_us + (uint64_t)trainer->run->checkpoint_s * 1000000;
    client_save(trainer->client, trainer->now_us);
    hand_out(trainer, &trainer->save, run_save);
}

static void end(struct trainer *trainer, int err)
{
    assert(!trainer->is_saving && pipeline_n_working(trainer->pipeline) == 0 && !client_is_working(trainer->client));
    trainer->phase = PHASE_DONE;
    trainer->result = err;
    trainer->io->ops->stopped(trainer->io->ctx, err);
}

static bool is_working(const struct trainer *trainer)
{
    return trainer->is_saving || pipeline_n_working(trainer->pipeline) > 0 || client_is_working(trainer->client);
}

/* -- When the trunk's device failed ------------------------------------------------------------------ */

static void fail_when_idle(struct trainer *trainer)
{
    if (!is_working(trainer))
        end(trainer, trainer->result);
}

/* What is on the device is lost or doubtful, so nothing of it is written; call when no part of an update is out. */
static void fail(struct trainer *trainer, int err)
{
    log_error("step %llu: %s, and training ends here; it goes on from step %lld, %s, when 'hanse train' is started again%s",
              (unsigned long long)trainer->optimizer->step,
              err == HANSE_ENOMEM ? "the GPU is out of memory" : hanse_strerror(err), (long long)trainer->saved_step,
              trainer->saved_step ? "the trunk's last checkpoint" : "since there is no checkpoint yet",
              err == HANSE_ENOMEM ? "; let others leave the GPU, or lower trainer.batch or model.width" : "");
    trainer->phase = PHASE_FAILING;
    trainer->result = err;
    pipeline_stop(trainer->pipeline);
    client_stop(trainer->client);
    fail_when_idle(trainer);
}

static int first_error(const int *err, size_t n)
{
    size_t i = 0;
    while (i + 1 < n && !err[i])
        i++;
    return err[i];
}

/* -- The end ----------------------------------------------------------------------------------------- */

/* Saves the last step and ends; waits for whatever is still out. */
static void wind_up(struct trainer *trainer)
{
    trainer->phase = PHASE_SAVING;
    pipeline_stop(trainer->pipeline);
    client_stop(trainer->client);
    if (is_working(trainer))
        return;
    int err = trunk_state_take(trainer->state, trainer->optimizer);
    if (err) {
        fail(trainer, err);
        return;
    }
    trainer->is_last_save = true;
    start_save(trainer);
}

static void saved(struct trainer *trainer)
{
    int err;
    if (!trainer->is_saving || trainer->is_writing || client_is_saving(trainer->client, &err))
        return;
    trainer->is_saving = false;
    trainer->save_err = trainer->save_err ? trainer->save_err : err;
    if (trainer->save_err)
        log_error("the checkpoint was not written (%s); %s, make room or mend the disk", hanse_strerror(trainer->save_err),
                  trainer->is_last_save ? "what was learned since the last one is lost" : "training goes on");
    else
        trainer->saved_step = trainer->state->counters.step;
    if (trainer->phase != PHASE_SAVING)
        return;
    if (trainer->is_last_save)
        end(trainer, trainer->save_err);
    else
        wind_up(trainer); /* that was an earlier one, still being written when we wanted to end */
}

/* -- After the update -------------------------------------------------------------------------------- */

static void measure(struct trainer *trainer, double loss)
{
    struct trainer_progress *p = &trainer->progress;
    struct router_stats stats = router_stats(client_router(trainer->client));
    const struct router_stats *before = &trainer->rate_stats;
    uint64_t span_us = trainer->now_us - trainer->rate_us;
    p->step = trainer->optimizer->step;
    p->n_steps = trainer->config.n_steps;
    p->loss = loss;
    if (loss - loss == 0) /* a step that was left out may have none */
        p->smooth_loss = p->smooth_loss == 0 ? loss : p->smooth_loss + SMOOTH * (loss - p->smooth_loss);
    p->grad_norm = trainer->grad_norm;
    p->lr_scale = trainer->lr_scale;
    p->n_tokens = (uint64_t)trainer->counters.n_tokens;
    p->elapsed_s = (double)elapsed_us(trainer) / 1e6;
    double share = share_done(trainer);
    p->left_s = share > 0 ? p->elapsed_s * (1 - share) / share : 0;
    p->n_live = stats.n_live;
    p->n_experts = stats.n_experts;
    p->n_hosts = stats.n_hosts;
    p->rtt_us = stats.rtt_us;
    if (span_us == 0 || (span_us < RATE_US && p->tokens_per_s > 0))
        return;
    uint64_t n_slots = stats.n_slots - before->n_slots, n_grad = stats.n_grad_slots - before->n_grad_slots;
    p->tokens_per_s = (double)(p->n_tokens - trainer->rate_tokens) * 1e6 / (double)span_us;
    p->missed = n_slots ? (double)(stats.n_missed - before->n_missed) / (double)n_slots : 0;
    p->staleness = n_grad ? (double)(stats.staleness_sum - before->staleness_sum) / (double)n_grad : 0;
    trainer->rate_us = trainer->now_us;
    trainer->rate_tokens = p->n_tokens;
    trainer->rate_stats = stats;
}

static void go_on(struct trainer *trainer)
{
    if (client_err(trainer->client))
        fail(trainer, client_err(trainer->client));
    else if (is_last_step(trainer))
        wind_up(trainer);
    else
        start_step(trainer);
}

static void updated(struct trainer *trainer)
{
    double loss = 0;
    for (size_t i = 0; i < trainer->n_micro; i++)
        loss += trunk_tape_loss(trainer->tape[i]);
    loss /= (double)trainer->n_micro;
    if (trainer->update_err)
        log_warn("step %llu: the trunk's gradient is not finite; the step is left out",
                 (unsigned long long)trainer->optimizer->step);
    trainer->counters.step = (int64_t)trainer->optimizer->step;
    trainer->counters.n_tokens += (int64_t)(trainer->n_micro * trainer->tape[0]->N);
    router_balance(client_router(trainer->client));
    measure(trainer, loss);
    if (trainer->config.progress)
        trainer->config.progress(trainer->config.arg, &trainer->progress);
    if (!trainer->is_saving && trainer->now_us >= trainer->save_us)
        hand_out(trainer, &trainer->copy, run_copy);
    else
        go_on(trainer);
}

static void begin_parts(struct trainer *trainer)
{
    if (trainer->update_err && trainer->update_err != HANSE_EREJECT) {
        fail(trainer, trainer->update_err);
        return;
    }
    if (trainer->update_err) {
        updated(trainer);
        return;
    }
    trainer->n_parts_out = N_PARTS;
    for (size_t i = 0; i < N_PARTS; i++)
        hand_out(trainer, &trainer->part[i], run_part);
}

/* -- Events ------------------------------------------------------------------------------------------ */

static void look(struct trainer *trainer)
{
    int err = 0;
    switch (client_ready(trainer->client, trainer->now_us, &err)) {
    case CLIENT_WAITING:
        return;
    case CLIENT_FAILED:
        end(trainer, err);
        return;
    case CLIENT_READY:
        break;
    }
    struct router_stats stats = router_stats(client_router(trainer->client));
    trainer->resumed_us = trainer->rate_us = trainer->now_us;
    trainer->rate_tokens = (uint64_t)trainer->counters.n_tokens;
    trainer->rate_stats = stats;
    trainer->save_us = trainer->now_us + (uint64_t)trainer->run->checkpoint_s * 1000000;
    if (trainer->config.started)
        trainer->config.started(trainer->config.arg, trainer->optimizer->step, stats.n_live, stats.n_experts, stats.n_hosts);
    if (is_last_step(trainer))
        end(trainer, 0);
    else
        start_step(trainer);
}

static void stop(struct trainer *trainer)
{
    if (trainer->is_stopping)
        return; /* asking twice must not begin the patience anew */
    trainer->is_stopping = true;
    trainer->stop_us = trainer->now_us;
    if (trainer->phase == PHASE_WAITING)
        end(trainer, 0);
}

static void after_parts(struct trainer *trainer)
{
    int err = first_error(trainer->part_err, N_PARTS);
    if (err)
        fail(trainer, err);
    else
        updated(trainer);
}

static void after_copy(struct trainer *trainer)
{
    if (trainer->copy_err) {
        fail(trainer, trainer->copy_err);
        return;
    }
    start_save(trainer);
    go_on(trainer);
}

static void work_done(struct trainer *trainer, const struct io_work *done)
{
    if (done == &trainer->sum) {
        begin_parts(trainer);
    } else if (done >= trainer->part && done < trainer->part + N_PARTS) {
        if (--trainer->n_parts_out == 0)
            after_parts(trainer);
    } else if (done == &trainer->copy) {
        after_copy(trainer);
    } else if (done == &trainer->save) {
        trainer->is_writing = false;
        saved(trainer);
    } else if (pipeline_work_done(trainer->pipeline, trainer->now_us, done)) {
        if (trainer->phase == PHASE_STEPPING && pipeline_err(trainer->pipeline))
            fail(trainer, pipeline_err(trainer->pipeline));
        else if (trainer->phase == PHASE_SAVING && !trainer->is_saving)
            wind_up(trainer);
    }
}

static void on_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct trainer *trainer = self;
    trainer->now_us = now_us;
    bool is_clients = client_event(trainer->client, now_us, event);
    if (trainer->phase == PHASE_DONE)
        return;
    if (event->kind == IO_STOP)
        stop(trainer);
    if (event->kind == IO_WORK_DONE && !is_clients)
        work_done(trainer, event->work);
    if (trainer->phase == PHASE_STEPPING && client_err(trainer->client))
        fail(trainer, client_err(trainer->client));
    if (is_clients)
        saved(trainer);
    if (is_clients && trainer->phase == PHASE_SAVING && !trainer->is_saving)
        wind_up(trainer);
    if (trainer->phase == PHASE_WAITING)
        look(trainer);
    else if (trainer->phase == PHASE_FAILING)
        fail_when_idle(trainer);
    /* A step that cannot end (a host is awaited) must not keep the user: the last whole step is saved. */
    if (trainer->phase == PHASE_STEPPING && trainer->is_stopping && now_us >= trainer->stop_us + STOP_PATIENCE_US)
        wind_up(trainer);
}

static uint64_t deadline(const void *self)
{
    const struct trainer *trainer = self;
    uint64_t next = client_deadline(trainer->client);
    if (trainer->phase == PHASE_WAITING && trainer->now_us + LOOK_US < next)
        next = trainer->now_us + LOOK_US;
    if (trainer->phase == PHASE_STEPPING && trainer->is_stopping && trainer->stop_us + STOP_PATIENCE_US < next)
        next = trainer->stop_us + STOP_PATIENCE_US;
    return next;
}

/* -- Life -------------------------------------------------------------------------------------------- */

static int resume(struct trainer *trainer)
{
    struct checkpoint_info info;
    int err = trunk_state_load(trainer->state, trainer->disk, &info);
    if (err == HANSE_ENOENT)
        return 0;
    if (err)
        return err;
    if ((uint64_t)trainer->state->counters.seed != trainer->config.seed) {
        log_error("the checkpoint was trained with --seed %lld: give the same seed, or use another --dir",
                  (long long)trainer->state->counters.seed);
        return HANSE_EINVAL;
    }
    err = trunk_state_give(trainer->state, trainer->optimizer);
    if (err)
        return err;
    trainer->counters = trainer->state->counters;
    trainer->saved_step = trainer->counters.step;
    trainer->elapsed_before_us = trainer->counters.elapsed_us;
    for (uint32_t moe = 0; moe < trainer->run->n_moe; moe++) {
        size_t at = (size_t)moe * trainer->run->experts;
        router_balance_set(client_router(trainer->client), moe, &trainer->state->bias[at], &trainer->state->load[at]);
    }
    return 0;
}

static int make_pipeline(struct trainer *trainer)
{
    struct pipeline_config config = {.trunk = trainer->trunk,
                                     .router = client_router(trainer->client),
                                     .io = trainer->io,
                                     .n_lanes = trainer->n_micro,
                                     .B = trainer->B,
                                     .T = trainer->run->context,
                                     .is_training = true};
    int err = pipeline_new(&config, &trainer->pipeline);
    trainer->tape = calloc(trainer->n_micro, sizeof(struct trunk_tape *));
    if (!err && !trainer->tape)
        err = HANSE_ENOMEM;
    for (size_t i = 0; !err && i < trainer->n_micro; i++)
        trainer->tape[i] = pipeline_tape(trainer->pipeline, i);
    return err;
}

int trainer_new(const struct trainer_config *config, const struct io *io, const struct disk *disk, uint64_t now_us,
                struct trainer **out)
{
    int err = HANSE_ENOMEM;
    struct trainer *trainer = calloc(1, sizeof *trainer);
    if (!trainer)
        goto fail;
    trainer->config = *config;
    trainer->config.client.role = ROLE_TRAINER;
    trainer->io = io;
    trainer->disk = disk;
    trainer->run = config->client.run;
    trainer->n_micro = trainer->run->microbatches;
    trainer->B = trainer->run->batch / trainer->n_micro;
    trainer->now_us = now_us;
    trainer->counters.seed = (int64_t)config->seed;
    err = client_new(&trainer->config.client, io, disk, now_us, &trainer->client);
    if (!err)
        err = trunk_new(trainer->run, client_tensors(&config->client), &trainer->trunk);
    if (!err)
        trainer->trunk->team = trainer->trunk->kernels.is_device ? NULL : config->client.team;
    if (!err)
        err = optimizer_new(trainer->trunk, &trainer->optimizer);
    if (!err)
        err = trunk_state_new(trainer->trunk, &trainer->state);
    if (!err)
        err = make_pipeline(trainer);
    if (!err)
        err = resume(trainer);
    if (err)
        goto fail;
    *out = trainer;
    return 0;
fail:
    trainer_free(trainer);
    return err;
}

void trainer_free(struct trainer *trainer)
{
    if (!trainer)
        return;
    pipeline_free(trainer->pipeline);
    free(trainer->tape);
    trunk_state_free(trainer->state);
    optimizer_free(trainer->optimizer);
    trunk_free(trainer->trunk);
    client_free(trainer->client);
    free(trainer);
}

struct io_machine trainer_machine(struct trainer *trainer)
{
    return (struct io_machine){on_event, deadline, trainer};
}

struct trainer_progress trainer_progress(const struct trainer *trainer)
{
    return trainer->progress;
}

bool trainer_is_done(const struct trainer *trainer)
{
    return trainer->phase == PHASE_DONE;
}

struct router_stats trainer_router_stats(const struct trainer *trainer)
{
    return router_stats(client_router(trainer->client));
}
