/**
 * dht/id.h - 160-bit ids, how near they are to each other, and which ids an address may have.
 * Maymounkov and Mazieres, "Kademlia", 2002, section 2.1 (xor metric); BEP 42 (ids bound to addresses).
 */
#ifndef DHT_ID_H
#define DHT_ID_H

#include <stdbool.h>

#include "dht/dht.h"

#define DHT_ID_BITS (8 * DHT_ID_BYTES)

bool dht_id_equal(const struct dht_id *a, const struct dht_id *b);

/** Negative when `a` is nearer to `key` than `b`, 0 when a = b, positive otherwise. */
int dht_id_compare(const struct dht_id *key, const struct dht_id *a, const struct dht_id *b);

/** How far `id` is from `key`, in 2^-64 of all ids. */
uint64_t dht_id_distance(const struct dht_id *key, const struct dht_id *id);

/** Leading bits that two ids share, DHT_ID_BITS when equal. */
unsigned dht_id_shared_bits(const struct dht_id *a, const struct dht_id *b);

/** A random id that shares exactly `n_bits` (< DHT_ID_BITS) leading bits with `near`. */
struct dht_id dht_id_random_at(const struct dht_id *near, unsigned n_bits, struct rng *rng);

/**
 * The id of the peer `peer` at `addr`: 21 bits and the last byte follow from the address (BEP 42), bytes 3..18 are the head
 * of the peer key's SHA-256.  A local or unknown address leaves the first three bytes to `rng`.
 */
struct dht_id dht_id_make(const struct addr *addr, const struct peer_id *peer, struct rng *rng);

/** True when BEP 42 allows `id` at `addr`.  Local addresses may have any. */
bool dht_id_fits(const struct dht_id *id, const struct addr *addr);

/** True when the id names this peer key (bytes 3..18): so a node can vouch that it is the writer of an entry. */
bool dht_id_names(const struct dht_id *id, const struct peer_id *peer);

/** Same address, whatever the port. */
bool dht_id_same_ip(const struct addr *a, const struct addr *b);

/** Same /24 (v4) or /48 (v6): counted as one owner. */
bool dht_id_same_subnet(const struct addr *a, const struct addr *b);

#endif
