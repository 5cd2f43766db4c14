/**
 * cmd/sim_beam.h - the inside of the scenario beam: a grid of experts, of which some are alive, on hosts that publish them.
 *
 * The living are dealt to the hosts in order, so each host has a stretch of the grid.  The directory is a DHT of those hosts
 * (sim_beam_swarm.c), or, for grids whose DHT would take too long to play, a list in memory that answers after a drawn time
 * (sim_beam_memory.c).
 */
#ifndef CMD_SIM_BEAM_H
#define CMD_SIM_BEAM_H

#include "cmd/sim.h"
#include "router/beam.h"

#define SIM_BEAM_SECOND_US ((uint64_t)1000000)
#define SIM_BEAM_LAYER 0

struct sim_beam;

struct sim_beam_host {
    struct sim_beam *story;
    struct world_node *node; /* NULL without a DHT */
    struct dht *dht;
    struct peer_id id;
    uint64_t seed;
    bool is_gone;
    uint64_t gone_us;
};

struct sim_beam {
    struct sim_run *run;
    struct world *world;
    struct rng rng;
    struct hash id; /* of the run that they are said to train */
    struct beam_grid grid;
    uint32_t *alive; /* n_alive experts, ascending */
    size_t n_alive;
    struct sim_beam_host *host; /* n_hosts */
    size_t n_hosts;
    /* who searches: a node of its own */
    struct sim_beam_host trainer;
    struct beam *beam;
    struct sim_beam_memory *memory; /* NULL: the DHT */
};

/** Which host has the i-th of the living. */
size_t sim_beam_host_of(const struct sim_beam *story, size_t i);

/** The first of the living that is `expert` or beyond; n_alive for none. */
size_t sim_beam_find(const struct sim_beam *story, uint32_t expert);

/** Writes what a host says under the key of a block of which it has the values in block.map; returns the bytes. */
size_t sim_beam_say(const struct sim_beam *story, struct beam_block block, uint8_t out[MESSAGE_CLAIMS_BYTES]);

/* sim_beam_swarm.c: the world's nodes are the hosts, and the trainer. */
HANSE_MUST_USE int sim_beam_swarm_start(struct sim_beam *story);
void sim_beam_swarm_kill(struct sim_beam *story, size_t host_i);
void sim_beam_swarm_end(struct sim_beam *story);

/* sim_beam_memory.c: reads as struct beam_config has them; `arg` is the story. */
HANSE_MUST_USE int sim_beam_memory_start(struct sim_beam *story);
void sim_beam_memory_read(void *arg, uint64_t now_us, const struct dht_id *key, beam_read_done *done, void *done_arg);
void sim_beam_memory_end(struct sim_beam *story);

#endif
