#include "dht/limit.h"

#include <stdlib.h>
#include <string.h>

#define LOCAL_FACTOR 100
#define SETS_MIN 4

/* One in `cost_us` on average, `burst` at once.  A trainer with 64 rows asks a small swarm's few nodes some 50 times a second;
 * a host publishes up to 256 rows at its start. */
static const struct rate {
    uint64_t cost_us, burst;
} per_ip[DHT_LIMIT_KINDS] = {{10000, 500}, {50000, 300}}, together[DHT_LIMIT_KINDS] = {{200, 5000}, {1000, 2000}},
  neighbours[DHT_LIMIT_KINDS] = {{10, 100000}, {50, 60000}};

void dht_limits_init(struct dht_limits *limits, uint64_t seed)
{
    struct rng rng;
    memset(limits, 0, sizeof *limits);
    rng_init(&rng, seed, "dht-limit");
    limits->salt = rng_u32(&rng);
}

void dht_limits_fini(struct dht_limits *limits)
{
    free(limits->slot);
    limits->slot = NULL;
    limits->n_sets = 0;
}

size_t dht_limits_memory(const struct dht_limits *limits)
{
    return limits->n_sets * DHT_LIMIT_WAYS * sizeof *limits->slot;
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
static struct dht_limit_slot *set_of(const struct dht_limits *limits, const struct addr *owner)
{
    uint32_t h = 2166136261u ^ limits->salt;
    for (size_t i = 0; i < sizeof owner->ip; i++)
        h = (h ^ owner->ip[i]) * 16777619u;
    return &limits->slot[((h ^ h >> 16) & (limits->n_sets - 1)) * DHT_LIMIT_WAYS];
}

/* Twice as many sets; the slots of one come to lie in two.  False when there are no more. */
static bool grow(struct dht_limits *limits)
{
    struct dht_limits old = *limits;
    size_t n = old.n_sets ? 2 * old.n_sets : SETS_MIN;
    struct dht_limit_slot *slot = n <= DHT_LIMIT_SETS ? calloc(n * DHT_LIMIT_WAYS, sizeof *slot) : NULL;
    if (!slot)
        return false;
    limits->slot = slot;
    limits->n_sets = n;
    for (size_t i = 0; i < old.n_sets * DHT_LIMIT_WAYS; i++) {
        if (old.slot[i].addr.family == 0)
            continue;
        struct dht_limit_slot *set = set_of(limits, &old.slot[i].addr);
        while (set->addr.family != 0)
            set++;
        *set = old.slot[i];
    }
    free(old.slot);
    return true;
}

/* True when what it was given has not leaked away yet. */
static bool is_in_debt(const struct dht_limit_slot *slot, uint64_t now_us)
{
    uint64_t passed = now_us - slot->last_us;
    for (int kind = 0; kind < DHT_LIMIT_KINDS; kind++)
        if (slot->debt_us[kind] > passed)
            return true;
    return false;
}

/* The slot of an owner; or else the one to take: of somebody who owes nothing, or at least was quiet longest. */
static struct dht_limit_slot *find(const struct dht_limits *limits, const struct addr *owner, uint64_t now_us)
{
    struct dht_limit_slot *set = set_of(limits, owner), *least = set;
    for (size_t i = 0; i < DHT_LIMIT_WAYS; i++) {
        if (addr_equal(&set[i].addr, owner))
            return &set[i];
        bool is_owing = is_in_debt(&set[i], now_us), owes_least = is_in_debt(least, now_us);
        if (is_owing != owes_least ? owes_least : set[i].last_us < least->last_us)
            least = &set[i];
    }
    return least;
}

static struct dht_limit_slot *slot_of(struct dht_limits *limits, const struct addr *addr, uint64_t now_us)
{
    struct addr owner = *addr;
    owner.port = 0;
    if (owner.family == 6)
        memset(owner.ip + 6, 0, 10);
    if (limits->n_sets == 0 && !grow(limits))
        return NULL;
    struct dht_limit_slot *slot = find(limits, &owner, now_us);
    while (!addr_equal(&slot->addr, &owner) && is_in_debt(slot, now_us) && grow(limits))
        slot = find(limits, &owner, now_us);
    if (!addr_equal(&slot->addr, &owner))
        *slot = (struct dht_limit_slot){.addr = owner, .last_us = now_us};
    return slot;
}

/* Without memory for one who asks only the common limit holds. */
bool dht_limits_allow(struct dht_limits *limits, enum dht_limit_kind kind, const struct addr *addr, bool is_proven,
                      uint64_t now_us)
{
    struct dht_limit_slot *slot = slot_of(limits, addr, now_us);
    struct rate rate = per_ip[kind];
    if (!addr_is_local(addr))
        return (!slot || take(slot, kind, rate, now_us)) &&
               take(is_proven ? &limits->proven : &limits->all, kind, together[kind], now_us);
    rate.cost_us /= LOCAL_FACTOR;
    rate.burst *= LOCAL_FACTOR;
    return (!slot || take(slot, kind, rate, now_us)) && take(&limits->local, kind, neighbours[kind], now_us);
}
