/* cmd/sim_hosts.c - hosts that settle among themselves who keeps which expert, and settle it again when one is gone. */
#include "cmd/sim_swarm.h"

#define N_HOSTS 8
#define READY_US 60000000u
#define AGAIN_US 900000000u /* entries live for 300 s, and what is free is left to its old host for a while */
#define STOP_US 60000000u

static const char yaml[] =
    "name: scenario-hosts\n"
    "model: {width: 32, layers: 2, heads: 2, context: 32, moe_layers: [0, 1], experts: 16, expert_hidden: 32,"
    " shared_hidden: 32}\n"
    "hosts: {count: 8, checkpoint_s: 10}\n";

static bool all_is_hosted_by_ready_ones(const struct swarm *swarm)
{
    return swarm_hosts_are_ready(swarm) && swarm_all_is_hosted(swarm);
}

static int tell(struct swarm *swarm)
{
    struct sim_run *run = swarm->sim;
    struct rng rng;
    rng_init(&rng, run->seed, "scenario-hosts");
    for (size_t i = 0; i < N_HOSTS; i++) {
        int err = swarm_add_host(swarm);
        if (err)
            return err;
        world_run(swarm->world, world_now(swarm->world) + rng_below(&rng, 500000));
    }
    size_t n = (size_t)swarm->run.n_moe * swarm->run.experts, victim = (size_t)rng_below(&rng, N_HOSTS);
    if (!swarm_wait(swarm, all_is_hosted_by_ready_ones, READY_US))
        return sim_refute(swarm->world, "%zu hosts keep %zu of %zu experts", swarm->n_hosts, swarm_n_hosted(swarm), n);
    sim_say(run, swarm->world, "%d hosts keep each of %zu experts once", N_HOSTS, n);
    swarm_crash_host(swarm, victim);
    sim_say(run, swarm->world, "host %zu is gone for good, %zu of %zu experts are left", victim, swarm_n_hosted(swarm), n);
    if (!swarm_wait(swarm, swarm_all_is_hosted, AGAIN_US))
        return sim_refute(swarm->world, "%zu of %zu experts are hosted after %u s", swarm_n_hosted(swarm), n, AGAIN_US / 1000000);
    sim_say(run, swarm->world, "the others keep each of %zu experts once", n);
    swarm_ask_stop(swarm);
    if (!swarm_wait(swarm, swarm_all_has_stopped, STOP_US))
        return sim_refute(swarm->world, "a host does not stop");
    sim_say(run, swarm->world, "all have stopped");
    return 0;
}

int sim_play_hosts(struct sim_run *run)
{
    struct world_config config = {.seed = run->seed,
                                  .delay_min_us = 5000,
                                  .delay_mean_us = 40000,
                                  .datagram_loss = 0.03,
                                  .datagram_duplicate = 0.01,
                                  .connect_timeout_us = 5000000};
    struct swarm swarm;
    int err = swarm_init(&swarm, run, &config, yaml);
    if (!err)
        err = tell(&swarm);
    swarm_fini(&swarm);
    return err;
}
