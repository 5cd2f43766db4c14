/**
 * dht/tally.h - how many records each of many owners has put here: a subnet, or a writer.
 *
 * A hash table that grows with the number of owners, who are 64-bit names; 0 is nobody, and not counted.
 */
#ifndef DHT_TALLY_H
#define DHT_TALLY_H

#include "dht/dht.h"

struct dht_count {
    uint64_t name; /* 0: free */
    uint32_t n;
};

struct dht_tally {
    size_t n, capacity; /* a power of two, or 0 */
    struct dht_count *slot;
    uint32_t salt; /* so that nobody can choose names that share slots */
};

void dht_tally_init(struct dht_tally *tally, uint32_t salt);
void dht_tally_fini(struct dht_tally *tally);

/** The name of a public subnet (/24 of v4, /48 of v6); 0 for a local address. */
uint64_t dht_tally_subnet(const struct addr *addr);

/** The name of a writer: the head of its key. */
uint64_t dht_tally_writer(const struct peer_id *writer);

/** Counts one more.  HANSE_ENOMEM. */
HANSE_MUST_USE int dht_tally_add(struct dht_tally *tally, uint64_t name);

/** Takes back what dht_tally_add() counted. */
void dht_tally_remove(struct dht_tally *tally, uint64_t name);

size_t dht_tally_count(const struct dht_tally *tally, uint64_t name);

#endif
