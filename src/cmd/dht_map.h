/**
 * cmd/dht_map.h - what a crawl knows of a network of one address family: its nodes, and which ranges of ids were searched.
 *
 * A binary tree over the leading bits of ids.  A leaf holds up to DHT_MAP_LEAF nodes and splits beyond, so that ranges are as fine
 * as the network is dense.  Each node is asked for what is nearest to itself; a range is quiet when DHT_MAP_QUIET answers in a
 * row about it named nobody new in it, and is then done.  Ranges are taken in order from a random one on: a crawl that is cut short
 * has searched some of them thoroughly, and their density tells how large the whole is.
 * One thread.  Grows up to `max` nodes, some 100 bytes each.
 */
#ifndef CMD_DHT_MAP_H
#define CMD_DHT_MAP_H

#include "base/random.h"
#include "dht/krpc.h"

#define DHT_MAP_LEAF 8
#define DHT_MAP_QUIET 2
#define DHT_MAP_SWEEPS 4 /* questions about a range besides those to its own nodes */
#define DHT_MAP_TRIES 2  /* times that a node is asked which says nothing */
#define DHT_MAP_VERSION_MAX 4

enum dht_map_state { DHT_MAP_NEW, DHT_MAP_ASKED, DHT_MAP_ANSWERED, DHT_MAP_SILENT };

struct dht_map_node {
    struct dht_id id;
    struct addr addr;
    uint32_t rtt_us;
    uint32_t next; /* in its range */
    uint8_t state, n_tries, n_version;
    uint8_t version[DHT_MAP_VERSION_MAX]; /* the head of it */
};

struct dht_map;

struct dht_map_question {
    struct addr to;
    struct dht_id target;
};

struct dht_map_stats {
    size_t n_nodes, n_answered, n_silent, n_renamed, n_left_out;
    size_t n_fit, n_local; /* of those that answered: ids that fit the address, and addresses that none needs to fit (BEP 42) */
    double swept;          /* the share of all ids that was searched */
    double estimate;       /* how many nodes of the whole network would answer; 0: nothing was searched yet */
};

HANSE_MUST_USE int dht_map_new(size_t max, struct rng *rng, struct dht_map **out);
void dht_map_free(struct dht_map *map);

/** What to ask next, counted as asked; false while there is nothing. */
bool dht_map_next(struct dht_map *map, struct dht_map_question *out);

/** The node at `from`, known or not, answered a question about `target` after `rtt_us`. */
void dht_map_answered(struct dht_map *map, const struct addr *from, const struct dht_id *target, const struct dht_message *m,
                      uint64_t rtt_us);

/** It did not. */
void dht_map_lost(struct dht_map *map, const struct addr *from, const struct dht_id *target);

/** True when nothing is left to ask, whatever is still in the air; also while nobody is known. */
bool dht_map_is_done(const struct dht_map *map);

struct dht_map_stats dht_map_stats(const struct dht_map *map);
size_t dht_map_n(const struct dht_map *map);
const struct dht_map_node *dht_map_node(const struct dht_map *map, size_t i);

#endif
