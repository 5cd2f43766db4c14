/**
 * cmd/speakers.h - who speaks of which run, who of them answers, and to whom a run is accounted for it.
 *
 * Entries cost a stranger nothing, and neither does what they say.  To answer at an address takes that address, and to answer at
 * addresses of many subnets takes many.  So each speaker is called, run after run in turn, and who answers under the id that its key
 * gives a node stands for its /24 or /48.  A run is accounted to one subnet that answers for it: the one that speaks of
 * the fewest runs.  Whoever deals with the runs of each subnet in turn is fair to those that a single host speaks of.
 */
#ifndef CMD_SPEAKERS_H
#define CMD_SPEAKERS_H

#include "dht/dht.h"

struct speakers;

/** Of up to `n_runs` runs, whose numbers begin with 0.  Keeps `dht`.  HANSE_ENOMEM. */
HANSE_MUST_USE int speakers_new(struct dht *dht, uint64_t seed, size_t n_runs, struct speakers **out);

/** Once all are called, or the node is gone: until then calls know it. */
void speakers_free(struct speakers *x);

/** The writer of `entry` speaks of a run.  HANSE_ENOMEM. */
HANSE_MUST_USE int speakers_hear(struct speakers *x, size_t run_i, const struct dht_entry *entry);

/** All have been heard: from now on they are called.  HANSE_ENOMEM. */
HANSE_MUST_USE int speakers_begin(struct speakers *x, uint64_t now_us);

/** Calls some more of them. */
void speakers_step(struct speakers *x, uint64_t now_us);
uint64_t speakers_wake(const struct speakers *x);

/** True when nobody is left to be called, or to be waited for. */
bool speakers_are_called(const struct speakers *x);

/** Of whom the run is; 0: nobody who answered so far. */
size_t speakers_owner(const struct speakers *x, size_t run_i);
/** Owners are numbered below this. */
size_t speakers_n_owners(const struct speakers *x);

#endif
