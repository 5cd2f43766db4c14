/**
 * dht/peers.h - the peers that announced themselves to us (BEP 5).  Gone after half an hour.
 *
 * Ceilings: in total, for an info hash, for one public IP under a hash, and for a public /24 or /48 over all; so that nobody fills the
 * store alone.
 */
#ifndef DHT_PEERS_H
#define DHT_PEERS_H

#include "dht/krpc.h"
#include "dht/tally.h"

#define DHT_PEERS_MAX 16384
#define DHT_PEERS_HASH_MAX 512
#define DHT_PEERS_IP_MAX 4 /* of one IP under a hash: a few behind one router */
#define DHT_PEERS_SUBNET_MAX 1024
#define DHT_PEERS_US ((uint64_t)30 * 60 * 1000000)

struct dht_announced {
    struct dht_id info_hash;
    struct addr addr;
    uint64_t until_us;
};

struct dht_peers {
    size_t n, capacity;
    struct dht_announced *peer; /* ordered by info_hash, then as they came */
    struct dht_tally subnets;
    uint64_t swept_us; /* when a full one was last cleared of what is over */
};

void dht_peers_init(struct dht_peers *peers);
void dht_peers_fini(struct dht_peers *peers);

/** Keeps or renews a peer.  HANSE_EFULL, HANSE_ENOMEM. */
HANSE_MUST_USE int dht_peers_store(struct dht_peers *peers, const struct dht_id *info_hash, const struct addr *addr,
                                   uint64_t now_us);

/** Writes up to `max` peers of one family, beginning at a place that `rng` draws; returns how many. */
size_t dht_peers_list(const struct dht_peers *peers, const struct dht_id *info_hash, int family, struct rng *rng, uint64_t now_us,
                      struct addr *out, size_t max);

void dht_peers_expire(struct dht_peers *peers, uint64_t now_us);

#endif
