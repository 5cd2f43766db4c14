#include "dht/limit.h"

#include <string.h>

#define LOCAL_FACTOR 100

/* One in `cost_us` on average, `burst` at once.  A trainer with 64 rows asks a small swarm's few nodes some 50 times a second;
 * a host publishes up to 256 rows at its start. */
static const struct rate {
    uint64_t cost_us, burst;
} per_ip[DHT_LIMIT_KINDS] = {{10000, 500}, {50000, 300}}, together[DHT_LIMIT_KINDS] = {{200, 5000}, {1000, 2000}};

void dht_limits_init(struct dht_limits *limits, uint64_t seed)
{
    struct rng rng;
    memset(limits, 0, sizeof *limits);
    rng_init(&rng, seed, "dht-limit");
    limits->salt = rng_u32(&rng);
}

static void leak(struct dht_limit_slot *slot, uint64_t now_us)
{
    uint64_t passed = now_us - slot->last_us;
    for (int kind = 0; kind < DHT_LIMIT_KINDS; kind++)
        slot->debt_us[kind] -= passed < slot->debt_us[kind] ? passed : slot->debt_us[kind];
    slot->last_us = now_us;
}

static bool take(struct dht_limit_slot *slot, enum dht_limit_kind kind, struct rate rate, uint64_t now_us)
{
    leak(slot, now_us);
    if (slot->debt_us[kind] + rate.cost_us > rate.cost_us * rate.burst)
        return false;
    slot->debt_us[kind] += rate.cost_us;
    return true;
}

/* FNV-1a over the salt and the address. */
static size_t set_of(const struct dht_limits *limits, const struct addr *owner)
{
    uint32_t h = 2166136261u ^ limits->salt;
    for (size_t i = 0; i < sizeof owner->ip; i++)
        h = (h ^ owner->ip[i]) * 16777619u;
    return (h ^ h >> 16) % DHT_LIMIT_SETS;
}

static struct dht_limit_slot *slot_of(struct dht_limits *limits, const struct addr *addr, uint64_t now_us)
{
    struct addr owner = *addr;
    owner.port = 0;
    if (owner.family == 6)
        memset(owner.ip + 8, 0, 8);
    struct dht_limit_slot *set = limits->slot[set_of(limits, &owner)], *oldest = set;
    for (size_t i = 0; i < DHT_LIMIT_WAYS; i++) {
        if (addr_equal(&set[i].addr, &owner))
            return &set[i];
        if (set[i].last_us < oldest->last_us)
            oldest = &set[i];
    }
    *oldest = (struct dht_limit_slot){.addr = owner, .last_us = now_us};
    return oldest;
}

bool dht_limits_allow(struct dht_limits *limits, enum dht_limit_kind kind, const struct addr *addr, uint64_t now_us)
{
    struct dht_limit_slot *slot = slot_of(limits, addr, now_us);
    struct rate rate = per_ip[kind];
    if (!addr_is_local(addr))
        return take(slot, kind, rate, now_us) && take(&limits->all, kind, together[kind], now_us);
    rate.cost_us /= LOCAL_FACTOR;
    rate.burst *= LOCAL_FACTOR;
    return take(slot, kind, rate, now_us);
}
