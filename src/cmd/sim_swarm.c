/* cmd/sim_swarm.c - puts hosts and trainers into a world and keeps their memory. */
#include "cmd/sim_swarm.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"

#define TEXT_BYTES 60000
#define LOOK_US 50000u /* between two looks of swarm_wait() */
#define LINE_STEPS 20
#define FIRST_STEPS 5 /* whose mean is the first loss */

/* -- Text ------------------------------------------------------------------------------------------- */

/* Sentences of four parts: enough order for a small model to learn in a few dozen steps. */
static const char *const part[4][8] = {
    {"the captain ", "a merchant ", "the old pilot ", "every sailor ", "my brother ", "the guild ", "one clerk ", "the baker "},
    {"sold ", "carried ", "weighed ", "counted ", "loaded ", "lost ", "found ", "wanted "},
    {"ten barrels of ", "a cargo of ", "some ", "his share of ", "no more ", "all the ", "twenty sacks of ", "a chest of "},
    {"salt.\n", "herring.\n", "wool.\n", "amber.\n", "grain.\n", "furs.\n", "wax.\n", "copper.\n"},
};

static int make_text(struct data *data, uint64_t seed)
{
    struct rng rng;
    struct buf text;
    rng_init(&rng, seed, "scenario-text");
    buf_init(&text, TEXT_BYTES + 256);
    while (text.n < TEXT_BYTES && !text.err)
        for (size_t i = 0; i < 4; i++) {
            const char *words = part[i][rng_below(&rng, 8)];
            buf_append(&text, words, strlen(words));
        }
    *data = (struct data){.bytes = text.bytes, .n = text.n, .n_train = text.n / 10 * 9};
    return text.err;
}

/* -- The swarm -------------------------------------------------------------------------------------- */

int swarm_init(struct swarm *swarm, struct sim_run *sim, const struct world_config *config, const char *yaml)
{
    memset(swarm, 0, sizeof *swarm);
    swarm->sim = sim;
    int err = run_parse("scenario", yaml, strlen(yaml), &swarm->run);
    if (!err)
        err = make_text(&swarm->data, sim->seed);
    if (!err)
        err = world_new(config, &swarm->world);
    return err;
}

void swarm_fini(struct swarm *swarm)
{
    for (size_t i = 0; i < swarm->n_trainers; i++)
        trainer_free(swarm->trainer[i].trainer);
    for (size_t i = 0; i < swarm->n_hosts; i++)
        host_free(swarm->host[i].host);
    data_fini(&swarm->data);
    sim_end(swarm->sim, swarm->world);
}

static size_t fill_join(const struct swarm *swarm, struct addr *join)
{
    size_t n = swarm->n_hosts < 2 ? swarm->n_hosts : 2;
    for (size_t i = 0; i < n; i++)
        join[i] = world_addr(swarm->host[i].node);
    return n;
}

static int start_host(struct swarm *swarm, size_t i)
{
    struct swarm_host *h = &swarm->host[i];
    struct host_config config = {.run = &swarm->run,
                                 .kernels = swarm->sim->kernels,
                                 .key = world_key(h->node),
                                 .listen = world_addr(h->node),
                                 .experts = "auto",
                                 .seed = world_seed(h->node),
                                 .quiet = true};
    config.n_join = fill_join(swarm, config.join);
    int err = host_new(&config, world_io(h->node), world_disk(h->node), &h->host);
    if (err)
        return err;
    struct io_machine machine = host_machine(h->host);
    world_start(h->node, &machine);
    return 0;
}

int swarm_add_host(struct swarm *swarm)
{
    assert(swarm->n_hosts < SWARM_HOSTS_MAX);
    int err = world_add(swarm->world, &swarm->host[swarm->n_hosts].node);
    if (!err)
        err = start_host(swarm, swarm->n_hosts);
    if (!err)
        swarm->n_hosts++;
    return err;
}

void swarm_crash_host(struct swarm *swarm, size_t i)
{
    world_crash(swarm->host[i].node);
    host_free(swarm->host[i].host);
    swarm->host[i].host = NULL;
}

int swarm_return_host(struct swarm *swarm, size_t i)
{
    return start_host(swarm, i);
}

static void on_progress(void *arg, const struct trainer_progress *p)
{
    struct swarm_trainer *t = arg;
    if (p->step <= FIRST_STEPS)
        t->first_loss += p->loss / FIRST_STEPS;
    if (p->step < t->said + LINE_STEPS && p->step < p->n_steps)
        return;
    t->said = p->step;
    sim_say(t->swarm->sim, t->swarm->world, "trainer %zu  step %-4llu loss %.4f  experts %zu of %zu on %zu host%s", t->number,
            (unsigned long long)p->step, p->loss, p->n_live, p->n_experts, p->n_hosts, text_plural(p->n_hosts));
}

int swarm_add_trainer(struct swarm *swarm, uint64_t n_steps)
{
    assert(swarm->n_trainers < SWARM_TRAINERS_MAX);
    struct swarm_trainer *t = &swarm->trainer[swarm->n_trainers];
    int err = world_add(swarm->world, &t->node);
    if (err)
        return err;
    t->swarm = swarm;
    t->number = swarm->n_trainers;
    struct trainer_config config = {.client = {.run = &swarm->run,
                                               .kernels = swarm->sim->kernels,
                                               .key = world_key(t->node),
                                               .is_explicit_join = true,
                                               .seed = world_seed(t->node)},
                                    .data = &swarm->data,
                                    .seed = t->number + 1,
                                    .n_steps = n_steps,
                                    .progress = on_progress,
                                    .arg = t};
    config.client.n_join = fill_join(swarm, config.client.join);
    err = trainer_new(&config, world_io(t->node), world_disk(t->node), world_now(swarm->world), &t->trainer);
    if (err)
        return err;
    swarm->n_trainers++;
    struct io_machine machine = trainer_machine(t->trainer);
    world_start(t->node, &machine);
    return 0;
}

/* -- Waiting ---------------------------------------------------------------------------------------- */

bool swarm_wait(struct swarm *swarm, bool (*holds)(const struct swarm *swarm), uint64_t us)
{
    uint64_t end_us = world_now(swarm->world) + us;
    while (!holds(swarm) && world_now(swarm->world) < end_us) {
        uint64_t look_us = world_now(swarm->world) + LOOK_US;
        if (world_run(swarm->world, look_us) < look_us)
            break; /* nothing is left to happen */
    }
    return holds(swarm);
}

bool swarm_hosts_are_ready(const struct swarm *swarm)
{
    for (size_t i = 0; i < swarm->n_hosts; i++)
        if (swarm->host[i].host && !host_stats(swarm->host[i].host).is_ready)
            return false;
    return true;
}

size_t swarm_n_hosted(const struct swarm *swarm)
{
    size_t n = 0;
    for (size_t i = 0; i < swarm->n_hosts; i++)
        n += swarm->host[i].host ? host_stats(swarm->host[i].host).n_experts : 0;
    return n;
}

bool swarm_all_is_hosted(const struct swarm *swarm)
{
    return swarm_n_hosted(swarm) == (size_t)swarm->run.n_moe * swarm->run.experts;
}

bool swarm_trainers_are_done(const struct swarm *swarm)
{
    for (size_t i = 0; i < swarm->n_trainers; i++)
        if (world_is_running(swarm->trainer[i].node))
            return false;
    return true;
}

bool swarm_all_has_stopped(const struct swarm *swarm)
{
    for (size_t i = 0; i < swarm->n_hosts; i++)
        if (world_is_running(swarm->host[i].node))
            return false;
    return swarm_trainers_are_done(swarm);
}

void swarm_ask_stop(struct swarm *swarm)
{
    for (size_t i = 0; i < swarm->n_hosts; i++)
        world_ask_stop(swarm->host[i].node);
}
