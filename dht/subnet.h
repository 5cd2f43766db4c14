/**
 * dht/subnet.h - how many records each public subnet (/24 of v4, /48 of v6) has put here.
 *
 * A hash table that grows with the number of subnets; what comes from local addresses is not counted.
 */
#ifndef DHT_SUBNET_H
#define DHT_SUBNET_H

#include "dht/dht.h"

struct dht_subnet {
    uint64_t name; /* family and prefix; 0: free */
    uint32_t n;
};

struct dht_subnets {
    size_t n, capacity; /* a power of two, or 0 */
    struct dht_subnet *slot;
    uint32_t salt; /* so that nobody can choose subnets that share slots */
};

void dht_subnets_init(struct dht_subnets *subnets, uint32_t salt);
void dht_subnets_fini(struct dht_subnets *subnets);

/** Counts one more.  HANSE_ENOMEM. */
HANSE_MUST_USE int dht_subnets_add(struct dht_subnets *subnets, const struct addr *addr);

/** Takes back what dht_subnets_add() counted. */
void dht_subnets_remove(struct dht_subnets *subnets, const struct addr *addr);

/** 0 for a local address. */
size_t dht_subnets_count(const struct dht_subnets *subnets, const struct addr *addr);

#endif
