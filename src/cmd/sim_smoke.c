/* cmd/sim_smoke.c - everything at once, small: hosts, trainers, packet loss, a crash and a return. */
#include "base/text.h"
#include "cmd/sim_swarm.h"

#define N_HOSTS 8
#define N_TRAINERS 2
#define N_STEPS 60
#define READY_US 60000000u
#define CRASH_US 10000000u /* after training has begun; the host has saved by then */
#define AWAY_US 8000000u
#define TRAIN_US 600000000u
#define STOP_US 60000000u
#define LOSS_SHARE 0.75 /* of the first loss; what such a model cannot have without learning */

static const char yaml[] =
    "name: scenario-smoke\n"
    "model: {width: 32, layers: 2, heads: 2, context: 32, moe_layers: [0, 1], experts: 8, expert_hidden: 32,"
    " shared_hidden: 32}\n"
    "trainer: {batch: 8, microbatches: 2, warmup_steps: 10, deadline_ms: 1500}\n"
    "experts: {warmup_updates: 5, slots_per_update: 128}\n"
    "hosts: {count: 8, checkpoint_s: 4}\n";

static bool all_is_hosted_by_ready_ones(const struct swarm *swarm)
{
    return swarm_hosts_are_ready(swarm) && swarm_all_is_hosted(swarm);
}

static int populate(struct swarm *swarm)
{
    int err = 0;
    for (size_t i = 0; !err && i < N_HOSTS; i++)
        err = swarm_add_host(swarm);
    if (!err && !swarm_wait(swarm, all_is_hosted_by_ready_ones, READY_US))
        return sim_refute(swarm->world, "%d hosts keep %zu experts", N_HOSTS, swarm_n_hosted(swarm));
    if (!err)
        sim_say(swarm->sim, swarm->world, "%d hosts keep each of %zu experts once", N_HOSTS, swarm_n_hosted(swarm));
    for (size_t i = 0; !err && i < N_TRAINERS; i++)
        err = swarm_add_trainer(swarm, N_STEPS);
    return err;
}

/* One host is killed, stays away for a while, and returns with what its disk has. */
static int crash_and_return(struct swarm *swarm, size_t victim)
{
    world_run(swarm->world, world_now(swarm->world) + CRASH_US);
    size_t n_kept = host_stats(swarm->host[victim].host).n_experts;
    swarm_crash_host(swarm, victim);
    sim_say(swarm->sim, swarm->world, "host %zu crashes with %zu expert%s", victim, n_kept, text_plural(n_kept));
    world_run(swarm->world, world_now(swarm->world) + AWAY_US);
    int err = swarm_return_host(swarm, victim);
    if (err)
        return err;
    size_t n_back = host_stats(swarm->host[victim].host).n_experts;
    sim_say(swarm->sim, swarm->world, "host %zu is back with %zu expert%s from its disk", victim, n_back, text_plural(n_back));
    return n_back == n_kept ? 0
                            : sim_refute(swarm->world, "host %zu had %zu expert%s and is back with %zu", victim, n_kept,
                                         text_plural(n_kept), n_back);
}

static int check_learning(const struct swarm *swarm)
{
    for (size_t i = 0; i < swarm->n_trainers; i++) {
        const struct swarm_trainer *t = &swarm->trainer[i];
        struct trainer_progress p = trainer_progress(t->trainer);
        if (world_result(t->node) != 0 || p.step != N_STEPS)
            return sim_refute(swarm->world, "trainer %zu stopped at step %llu: %s", i, (unsigned long long)p.step,
                              hanse_strerror(world_result(t->node)));
        if (!(p.loss < LOSS_SHARE * t->first_loss))
            return sim_refute(swarm->world, "trainer %zu: the loss went from %.4f to %.4f only", i, t->first_loss, p.loss);
        sim_say(swarm->sim, swarm->world, "trainer %zu has learned: loss %.4f, then %.4f", i, t->first_loss, p.loss);
    }
    return 0;
}

static int tell(struct swarm *swarm)
{
    struct rng rng;
    rng_init(&rng, swarm->sim->seed, "scenario-smoke");
    int err = populate(swarm);
    if (!err)
        err = crash_and_return(swarm, (size_t)rng_below(&rng, N_HOSTS));
    if (err)
        return err;
    if (!swarm_wait(swarm, swarm_trainers_are_done, TRAIN_US))
        return sim_refute(swarm->world, "training has not ended after %u s", TRAIN_US / 1000000);
    err = check_learning(swarm);
    swarm_ask_stop(swarm);
    if (!err && !swarm_wait(swarm, swarm_all_has_stopped, STOP_US))
        return sim_refute(swarm->world, "a host does not stop");
    return err;
}

int sim_play_smoke(struct sim_run *run)
{
    struct world_config config = {.seed = run->seed,
                                  .delay_min_us = 2000,
                                  .delay_mean_us = 20000,
                                  .datagram_loss = 0.02,
                                  .datagram_duplicate = 0.01,
                                  .bytes_per_s = 12.5e6,
                                  .connect_timeout_us = 5000000};
    struct swarm swarm;
    int err = swarm_init(&swarm, run, &config, yaml);
    if (!err)
        err = tell(&swarm);
    swarm_fini(&swarm);
    return err;
}
