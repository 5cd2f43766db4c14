#include "dht/transaction.h"

#include <string.h>

#define SLOT_BITS 9
#define SLOT_MASK ((1u << SLOT_BITS) - 1)

_Static_assert(DHT_TRANSACTIONS_MAX == 1u << SLOT_BITS, "a slot number fills its bits");

void dht_transactions_init(struct dht_transactions *all, uint64_t seed)
{
    memset(all, 0, sizeof *all);
    rng_init(&all->rng, seed, "dht-transaction");
    for (size_t i = 0; i < DHT_TRANSACTIONS_MAX; i++)
        all->used[i] = (uint16_t)i;
}

struct dht_transaction *dht_transactions_open(struct dht_transactions *all, uint8_t tid[DHT_TID_BYTES])
{
    if (all->n == DHT_TRANSACTIONS_MAX)
        return NULL;
    uint32_t slot = all->used[all->n++];
    struct dht_transaction *t = &all->slot[slot];
    memset(t, 0, sizeof *t);
    do
        t->tid = (rng_u32(&all->rng) & ~SLOT_MASK) | slot;
    while (t->tid == 0);
    for (int i = 0; i < DHT_TID_BYTES; i++)
        tid[i] = (uint8_t)(t->tid >> 8 * i);
    return t;
}

struct dht_transaction *dht_transactions_match(struct dht_transactions *all, struct dht_span tid, const struct addr *from)
{
    if (tid.n != DHT_TID_BYTES)
        return NULL;
    uint32_t v = 0;
    for (int i = 0; i < DHT_TID_BYTES; i++)
        v |= (uint32_t)tid.bytes[i] << 8 * i;
    struct dht_transaction *t = &all->slot[v & SLOT_MASK];
    return v != 0 && t->tid == v && addr_equal(&t->addr, from) ? t : NULL;
}

void dht_transactions_close(struct dht_transactions *all, struct dht_transaction *t)
{
    uint16_t slot = (uint16_t)(t - all->slot);
    t->tid = 0;
    size_t i = 0;
    while (all->used[i] != slot)
        i++;
    all->used[i] = all->used[--all->n];
    all->used[all->n] = slot;
}

void dht_transactions_settle(struct dht_transactions *all, uint64_t operation, enum dht_role role, const struct addr *addr)
{
    for (size_t i = all->n; i-- > 0;) {
        struct dht_transaction *t = &all->slot[all->used[i]];
        if (t->operation == operation && t->role == role && addr_equal(&t->addr, addr))
            dht_transactions_close(all, t);
    }
}

static uint64_t due(const struct dht_transaction *t)
{
    return t->is_late ? t->hard_us : t->soft_us;
}

struct dht_transaction *dht_transactions_overdue(struct dht_transactions *all, uint64_t now_us)
{
    for (size_t i = 0; i < all->n; i++)
        if (due(&all->slot[all->used[i]]) <= now_us)
            return &all->slot[all->used[i]];
    return NULL;
}

uint64_t dht_transactions_deadline(const struct dht_transactions *all)
{
    uint64_t first = UINT64_MAX;
    for (size_t i = 0; i < all->n; i++) {
        uint64_t at = due(&all->slot[all->used[i]]);
        first = at < first ? at : first;
    }
    return first;
}
