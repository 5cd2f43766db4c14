/**
 * dht/limit.h - how often one address may ask, and how much work all strangers together may cause.
 *
 * A leaky bucket per IP (per /48 of v6, which one owner may have whole).  Checked before a message is answered, and before a signature
 * is verified, which costs 130 us.  Local addresses get a hundredfold: many nodes share one.  Those who have shown by a token
 * or a link that they are where they say share a common bucket of their own, which forged addresses cannot empty.
 * Memory: a bucket that has run dry is as good as none, so the table is small and grows only when it would have to forget
 * somebody who owes; at its ceiling, or without memory, it forgets whoever was quiet longest.
 */
#ifndef DHT_LIMIT_H
#define DHT_LIMIT_H

#include "dht/dht.h"

#define DHT_LIMIT_SETS 256 /* at most */
#define DHT_LIMIT_WAYS 4

enum dht_limit_kind { DHT_LIMIT_QUERIES, DHT_LIMIT_SIGNATURES, DHT_LIMIT_KINDS };

struct dht_limit_slot {
    struct addr addr; /* port 0; family 0: free */
    uint64_t last_us;
    uint64_t debt_us[DHT_LIMIT_KINDS]; /* how long it takes until all that was asked for has leaked away */
};

struct dht_limits {
    uint32_t salt;                            /* so that nobody can choose addresses that share a set */
    size_t n_sets;                            /* a power of two, or 0 */
    struct dht_limit_slot *slot;              /* DHT_LIMIT_WAYS a set */
    struct dht_limit_slot all, proven, local; /* all strangers, all who proved their address, all neighbours */
};

void dht_limits_init(struct dht_limits *limits, uint64_t seed);
void dht_limits_fini(struct dht_limits *limits);

/** True, and counted, when `addr` may have one more of this kind now.  `is_proven`: it receives what is sent there. */
bool dht_limits_allow(struct dht_limits *limits, enum dht_limit_kind kind, const struct addr *addr, bool is_proven,
                      uint64_t now_us);

/** Bytes allotted. */
size_t dht_limits_memory(const struct dht_limits *limits);

#endif
