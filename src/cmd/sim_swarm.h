/**
 * cmd/sim_swarm.h - hosts and trainers of one small run in one simulated world, for scenarios.
 *
 * The text that trainers read is made from a small grammar by the seed.  Whoever joins does so through the first two hosts.
 */
#ifndef CMD_SIM_SWARM_H
#define CMD_SIM_SWARM_H

#include "cmd/sim.h"
#include "model/data.h"
#include "model/run.h"
#include "node/host.h"
#include "node/trainer.h"

#define SWARM_HOSTS_MAX 16
#define SWARM_TRAINERS_MAX 4

struct swarm_host {
    struct world_node *node;
    struct host *host; /* NULL while it is down */
};

struct swarm_trainer {
    struct world_node *node;
    struct trainer *trainer;
    struct swarm *swarm;
    size_t number;
    double first_loss; /* of the first few steps */
    uint64_t said;     /* step of the last line */
};

struct swarm {
    struct sim_run *sim;
    struct world *world;
    struct run run;
    struct data data;
    struct swarm_host host[SWARM_HOSTS_MAX];
    struct swarm_trainer trainer[SWARM_TRAINERS_MAX];
    size_t n_hosts, n_trainers;
};

/** The world and its text; no peers yet.  Takes the run from `yaml`. */
HANSE_MUST_USE int swarm_init(struct swarm *swarm, struct sim_run *sim, const struct world_config *config, const char *yaml);

/** Frees everything and notes the trace. */
void swarm_fini(struct swarm *swarm);

/** Adds a host with experts "auto" and starts it. */
HANSE_MUST_USE int swarm_add_host(struct swarm *swarm);

/** kill -9 of a host, and its return on the same disk and address. */
void swarm_crash_host(struct swarm *swarm, size_t i);
HANSE_MUST_USE int swarm_return_host(struct swarm *swarm, size_t i);

/** Adds a trainer that ends after n_steps and starts it. */
HANSE_MUST_USE int swarm_add_trainer(struct swarm *swarm, uint64_t n_steps);

/** Lets the world run until holds(swarm) or for at most `us`; whether it holds. */
bool swarm_wait(struct swarm *swarm, bool (*holds)(const struct swarm *swarm), uint64_t us);

bool swarm_hosts_are_ready(const struct swarm *swarm);
bool swarm_all_is_hosted(const struct swarm *swarm);
bool swarm_trainers_are_done(const struct swarm *swarm);
bool swarm_all_has_stopped(const struct swarm *swarm);

/** Experts that live hosts have, one that two have counted twice. */
size_t swarm_n_hosted(const struct swarm *swarm);

/** Asks every host to stop, as Ctrl-C does. */
void swarm_ask_stop(struct swarm *swarm);

#endif
