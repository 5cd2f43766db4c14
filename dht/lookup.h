/**
 * dht/lookup.h - the walk towards a key: whom to ask next, and when we have arrived.
 * Maymounkov and Mazieres, "Kademlia", 2002, section 2.3; soft timeouts: Jimenez et al., "Sub-second lookups on a
 * large-scale Kademlia-based overlay", P2P 2011; disjoint paths: Baumgart and Mies, "S/Kademlia", 2007, section 4.4.
 *
 * It knows nothing of messages: dht/walk.c asks, and dht/reply.c tells it what came of it.  A candidate whose answer is
 * late (SLOW, OVERDUE) no longer holds up the walk, but may still answer.  A walk of several paths asks each node on one path
 * only, so that liars met on one cannot steer the others; v4 and v6 nodes walk apart (BEP 32).
 * The walk is over when on every path the `n_want` nearest that are not lost have answered.  For those that are late it waits only while
 * fewer than that have answered on the path, for those that are late again only while fewer than half have on all together.
 * Whoever stands beside the key and is silent hides others from it, since who is asked names the nearest alone.  A path that runs out of
 * candidates that way is widened: those who answered are asked whom they know somewhat aside (dht_lookup_widen).
 * Each path has its share of the candidates, so that a liar who names many nodes fills his own path alone.
 * Candidates are allotted as they are learned of; without memory the farthest make way sooner.
 */
#ifndef DHT_LOOKUP_H
#define DHT_LOOKUP_H

#include "dht/density.h"
#include "dht/krpc.h"
#include "dht/table.h"

#define DHT_LOOKUP_MAX 96 /* candidates of each family, the same share for each path */
#define DHT_PATHS_MAX 4   /* per family */
#define DHT_WANT_MANY 5   /* nearest to hear from on each of several paths: together, 20 for the DHT_K that get a record */
#define DHT_ALPHA 4       /* questions in the air on a single path */
#define DHT_ALPHA_MANY 2  /* on each of several paths */

enum dht_step {
    DHT_STEP_NEW,
    DHT_STEP_ASKED,
    DHT_STEP_SLOW,    /* late, and asked once more */
    DHT_STEP_OVERDUE, /* late again */
    DHT_STEP_ANSWERED,
    DHT_STEP_FAILED
};

struct dht_candidate {
    struct dht_id id;
    struct addr addr;
    uint8_t step;
    uint8_t path;
    uint8_t n_wide;  /* times it was asked for others than the nearest, after it had answered */
    uint8_t depth;   /* 1 from our own table; one more than whoever named it */
    bool is_foreign; /* taken not to speak our private queries */
    bool is_ours;    /* it answered as one of ours */
    bool is_written; /* it was asked to store; then `step` says what became of that */
    uint8_t n_token;
    uint8_t token[DHT_TOKEN_MAX];
};

struct dht_lookup {
    struct dht_id target;
    size_t n_want;  /* nearest to hear from, on each path */
    size_t n_paths; /* per family */
    uint8_t paths;  /* bit i: path i has candidates */
    size_t n_wide;  /* questions that widened the walk */
    size_t n, capacity;
    struct dht_candidate *candidate; /* nearest first */
};

void dht_lookup_init(struct dht_lookup *lookup, const struct dht_id *target, size_t n_want, size_t n_paths);

/** Also for one that is all zeros. */
void dht_lookup_fini(struct dht_lookup *lookup);

/** Begins anew towards the same target; also for one of which only the target is known. */
void dht_lookup_restart(struct dht_lookup *lookup, size_t n_want, size_t n_paths);

/** Starts path `path` (modulo how many there are) at a node of ours.  NULL when it is not taken. */
struct dht_candidate *dht_lookup_start(struct dht_lookup *lookup, const struct dht_id *id, const struct addr *addr, size_t path);

/**
 * A node that an answer on `path`, of a candidate `depth` deep, named.  Not taken: what we have, what BEP 42 forbids, what lives in the subnet of one
 * that answered or waits, what is farther than all of the path when that
 * has its share.
 */
void dht_lookup_learn(struct dht_lookup *lookup, const struct dht_id *id, const struct addr *addr, uint8_t path, uint8_t depth);

/** The candidate to ask now, already marked ASKED; or NULL.  Candidates are valid until the next start, learn or rename. */
struct dht_candidate *dht_lookup_next(struct dht_lookup *lookup);

/** The candidate at an address, or NULL. */
struct dht_candidate *dht_lookup_find(struct dht_lookup *lookup, const struct addr *addr);

/** The node at the candidate's address showed another id than we were told.  NULL when it has no place under that one. */
struct dht_candidate *dht_lookup_rename(struct dht_lookup *lookup, struct dht_candidate *c, const struct dht_id *id);

/** True when some path has nobody left to ask, and too few of it answered, fewer than are silent; or the nearest are all silent. */
bool dht_lookup_is_stuck(const struct dht_lookup *lookup);

/** Lets the nearest who answered on a path that is stuck be asked again, for dht_lookup_aside().  False when that was done enough. */
bool dht_lookup_widen(struct dht_lookup *lookup);

/** What it is asked about then: a place beside the target, another one each time. */
struct dht_id dht_lookup_aside(const struct dht_lookup *lookup, const struct dht_candidate *c);

/** It answered before, and need not again. */
void dht_lookup_settle(struct dht_candidate *c);

bool dht_lookup_is_done(const struct dht_lookup *lookup);

/**
 * Points `out` to where a record belongs: the up to `max` nearest that answered of each family and, of a walk of several
 * paths, the two nearest of each path besides.  Returns how many, at most `out_max`.
 */
size_t dht_lookup_closest(struct dht_lookup *lookup, size_t max, struct dht_candidate **out, size_t out_max);

/** How far from the target the `rank`-th (from 1) nearest of a family that answered is; DHT_SPREAD_NONE when fewer did. */
uint64_t dht_lookup_spread(const struct dht_lookup *lookup, int family, size_t rank);

size_t dht_lookup_n_answered(const struct dht_lookup *lookup);

/** Those that were asked and did not answer, or not yet. */
size_t dht_lookup_n_silent(const struct dht_lookup *lookup);

#endif
