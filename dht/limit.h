/**
 * dht/limit.h - how often one address may ask, and how much work all strangers together may cause.
 *
 * A leaky bucket per IP (per /64 of v6), in a fixed table that forgets whoever was quiet longest.  Checked before a message is
 * answered, and before a signature is verified, which costs 130 us.  Local addresses get a hundredfold: many nodes share one.
 */
#ifndef DHT_LIMIT_H
#define DHT_LIMIT_H

#include "dht/dht.h"

#define DHT_LIMIT_SETS 256
#define DHT_LIMIT_WAYS 4

enum dht_limit_kind { DHT_LIMIT_QUERIES, DHT_LIMIT_SIGNATURES, DHT_LIMIT_KINDS };

struct dht_limit_slot {
    struct addr addr; /* port 0; family 0: free */
    uint64_t last_us;
    uint64_t debt_us[DHT_LIMIT_KINDS]; /* how long it takes until all that was asked for has leaked away */
};

struct dht_limits {
    uint32_t salt; /* so that nobody can choose addresses that share a set */
    struct dht_limit_slot slot[DHT_LIMIT_SETS][DHT_LIMIT_WAYS];
    struct dht_limit_slot all; /* strangers together */
};

void dht_limits_init(struct dht_limits *limits, uint64_t seed);

/** True, and counted, when `addr` may have one more of this kind now. */
bool dht_limits_allow(struct dht_limits *limits, enum dht_limit_kind kind, const struct addr *addr, uint64_t now_us);

#endif
