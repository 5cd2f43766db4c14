/**
 * sim/world.h - drives many step machines in a made-up world: a virtual clock, and a network, disks and crashes ruled by one seed.
 *
 * Everything that happens is an event in one queue ordered by (time, number); the same seed gives the same
 * run, and a hash over all events (time, node, kind, bytes) proves it.  One thread; work runs at once, its result comes cost_us later.
 * Separate random streams for network, faults and ids, so that changing one leaves the others alone.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "base/disk.h"
#include "base/io.h"
#include "base/random.h"

#define SIM_EPOCH_US 1767225600000000u /* 2026-01-01, when every world begins */

struct world_config {
    uint64_t seed;
    uint64_t delay_min_us, delay_mean_us; /* one way: the minimum plus an exponential part, drawn anew for each packet */
    uint64_t rtt_median_us;               /* not 0: instead, each pair of nodes has a round trip of its own, lognormal, */
    uint32_t rtt_sigma_percent;           /* with this deviation of its logarithm, at most 100 */
    double datagram_loss;                 /* 0..1 */
    double datagram_duplicate;
    double bytes_per_s;          /* of a link, each way; 0: unlimited */
    uint64_t connect_timeout_us; /* a link to nobody, or into a partition, fails after this */
    bool is_public;              /* addresses all over the internet, no two alike, instead of in 10/8 */
};

struct world;
struct world_node; /* one machine with an address, a key, a disk */

HANSE_MUST_USE int world_new(const struct world_config *config, struct world **out);
void world_free(struct world *world);

/** Adds a node: address 10.x.y.z:4100 by its number (or drawn from the internet's), key and seeds drawn from the world's seed, an empty disk. */
HANSE_MUST_USE int world_add(struct world *world, struct world_node **out);
const struct io *world_io(struct world_node *node);
const struct disk *world_disk(struct world_node *node);
const struct key *world_key(const struct world_node *node);
struct addr world_addr(const struct world_node *node);
uint64_t world_seed(struct world_node *node); /* fresh for each call */

/** Starts a machine on the node: IO_START comes at the present time.  Keeps nothing but the pointers in `machine`. */
void world_start(struct world_node *node, const struct io_machine *machine);

/** A machine that was called from outside may want its tick sooner now. */
void world_touch(struct world_node *node);

/** True from world_start() until a crash or until the machine has called io->stopped. */
bool world_is_running(const struct world_node *node);

/** Asks the machine to end (IO_STOP), as Ctrl-C does. */
void world_ask_stop(struct world_node *node);

/** What the node's last machine gave to io->stopped; 0 before. */
int world_result(const struct world_node *node);

/** From now on this share (0..1) of the node's disk writes fails with HANSE_EIO. */
void world_disk_fault_rate(struct world_node *node, double rate);

/** Flips one bit of a file, as an old disk does; false when the file is not there or empty. */
bool world_disk_spoil(struct world_node *node, const char *name);

/**
 * Stops a node without a word, as kill -9: its links go down for others after their delay (or their timeout when the host
 * itself is gone), its pending work is forgotten, disk writes that had not returned may be lost whole or in part.  The caller
 * frees the machine afterwards and may world_start() another one on the same disk and address.
 */
void world_crash(struct world_node *node);

/**
 * Crashes a node that runs and takes it out of the world for good, disk, key and all: its address is nobody's, its number is given
 * to no other.  `node` must not be named again; its memory is freed once nothing that is on its way is meant for it.
 * Not from inside an event of its own machine.
 */
void world_remove(struct world_node *node);

/** Cuts (or heals) all traffic between two nodes; links across it go down after the timeout. */
void world_cut(struct world_node *a, struct world_node *b, bool is_cut);

/** Puts the node into a group; all begin in group 0.  Not while the groups are parted. */
void world_set_group(struct world_node *node, uint32_t group);

/** Cuts (or heals) all traffic between nodes of different groups, whatever world_cut() says of single pairs. */
void world_part(struct world *world, bool is_parted);

/** Has the world call `run(arg)` at a virtual time. */
void world_at(struct world *world, uint64_t time_us, void (*run)(void *arg, uint64_t now_us), void *arg);

/** Runs until `time_us` or until nothing is left to happen; returns the time reached.  Stops early when world_stop() was called. */
uint64_t world_run(struct world *world, uint64_t time_us);
void world_stop(struct world *world);
uint64_t world_now(const struct world *world);

/** Hash over every event so far. */
struct hash world_trace(const struct world *world);

/** Events so far. */
uint64_t world_n_events(const struct world *world);

#endif
