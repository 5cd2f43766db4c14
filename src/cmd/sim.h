/**
 * cmd/sim.h - scenarios: stories about a swarm in virtual time, each with a claim that holds for every seed.
 *
 * A scenario builds a world from the seed, lets it run, says what happens and checks its claim.  It prints nothing that depends on
 * the machine, so two runs of a seed print the same; what it cost this machine stands in lines that begin with "here:".
 */
#ifndef CMD_SIM_H
#define CMD_SIM_H

#include "kernels/kernels.h"
#include "sim/world.h"

/** What the scenario dht is told. */
struct sim_dht_options {
    uint64_t n_nodes, n_lookups;
    uint64_t stale_percent, adversary_percent, leave_percent, partition_s;
    uint64_t churn_min, churn_for_s; /* mean life of a node, 0: they stay; for so long */
    uint64_t rtt_median_ms;
    double loss_percent;
    const char *plot; /* a directory for what was measured, or NULL */
};
extern const struct sim_dht_options sim_dht_default;

/** What the scenario beam is told, besides round trips and loss, which it shares with dht. */
struct sim_beam_options {
    const char *grid; /* "100x100" */
    uint64_t n_hosts, occupancy_percent;
    uint64_t n_searches, n_tokens, n_picks, n_reads;
    bool is_dense, is_in_memory;
};
extern const struct sim_beam_options sim_beam_default;

struct sim_run {
    uint64_t seed;
    const struct kernels *kernels;
    struct sim_dht_options dht;
    struct sim_beam_options beam;
    bool is_quiet; /* only the verdict */
    /* out */
    struct hash trace;
    uint64_t n_events, n_us;
};

struct sim_scenario {
    const char *name, *summary;
    /* 0 when the claim held, SIM_REFUTED when not, or what went wrong before it could be tried. */
    int (*play)(struct sim_run *run);
};

#define SIM_REFUTED 1

/** A line with the virtual time before it. */
void sim_say(const struct sim_run *run, const struct world *world, const char *format, ...) __attribute__((format(printf, 3, 4)));

/** The claim does not hold: says so, also when quiet.  Returns SIM_REFUTED. */
int sim_refute(const struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Notes trace, events and time of a world that has run; frees it.  Accepts NULL. */
void sim_end(struct sim_run *run, struct world *world);

int sim_play_beam(struct sim_run *run);
int sim_play_dht(struct sim_run *run);
int sim_play_hosts(struct sim_run *run);
int sim_play_smoke(struct sim_run *run);

#endif
