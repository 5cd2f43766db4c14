#include "dht/subnet.h"

#include <assert.h>
#include <stdlib.h>

#define CAPACITY_MIN 16

void dht_subnets_init(struct dht_subnets *subnets, uint32_t salt)
{
    *subnets = (struct dht_subnets){.salt = salt};
}

void dht_subnets_fini(struct dht_subnets *subnets)
{
    free(subnets->slot);
    dht_subnets_init(subnets, subnets->salt);
}

/* 0 for what is not counted. */
static uint64_t name_of(const struct addr *addr)
{
    if (addr->family == 0 || addr_is_local(addr))
        return 0;
    uint64_t name = addr->family;
    for (size_t i = 0; i < (addr->family == 4 ? 3 : 6); i++)
        name = name << 8 | addr->ip[i];
    return name;
}

static size_t home_of(const struct dht_subnets *subnets, uint64_t name)
{
    uint64_t h = (name ^ subnets->salt) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(h >> 32) & (subnets->capacity - 1);
}

/* Where a subnet is, or the free slot where it would be put. */
static struct dht_subnet *find(const struct dht_subnets *subnets, uint64_t name)
{
    size_t i = home_of(subnets, name);
    while (subnets->slot[i].name != 0 && subnets->slot[i].name != name)
        i = (i + 1) & (subnets->capacity - 1);
    return &subnets->slot[i];
}

/* At most three quarters are taken, so that a search soon meets a free slot. */
static int grow(struct dht_subnets *subnets)
{
    if (4 * (subnets->n + 1) <= 3 * subnets->capacity)
        return 0;
    struct dht_subnets old = *subnets;
    size_t capacity = old.capacity ? 2 * old.capacity : CAPACITY_MIN;
    struct dht_subnet *slot = calloc(capacity, sizeof *slot);
    if (!slot)
        return HANSE_ENOMEM;
    subnets->slot = slot;
    subnets->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slot[i].name != 0)
            *find(subnets, old.slot[i].name) = old.slot[i];
    free(old.slot);
    return 0;
}

int dht_subnets_add(struct dht_subnets *subnets, const struct addr *addr)
{
    uint64_t name = name_of(addr);
    if (name == 0)
        return 0;
    int err = grow(subnets);
    if (err)
        return err;
    struct dht_subnet *subnet = find(subnets, name);
    subnets->n += subnet->name == 0;
    subnet->name = name;
    subnet->n++;
    return 0;
}

/* Whoever stands behind a gap and could not be found across it moves into it. */
static void close_gap(struct dht_subnets *subnets, size_t gap)
{
    size_t mask = subnets->capacity - 1;
    for (size_t i = (gap + 1) & mask; subnets->slot[i].name != 0; i = (i + 1) & mask) {
        size_t from_home = (i - home_of(subnets, subnets->slot[i].name)) & mask;
        if (from_home < ((i - gap) & mask))
            continue;
        subnets->slot[gap] = subnets->slot[i];
        gap = i;
    }
    subnets->slot[gap] = (struct dht_subnet){0};
}

void dht_subnets_remove(struct dht_subnets *subnets, const struct addr *addr)
{
    uint64_t name = name_of(addr);
    if (name == 0)
        return;
    struct dht_subnet *subnet = find(subnets, name);
    assert(subnet->name == name && subnet->n > 0);
    if (--subnet->n > 0)
        return;
    subnets->n--;
    close_gap(subnets, (size_t)(subnet - subnets->slot));
}

size_t dht_subnets_count(const struct dht_subnets *subnets, const struct addr *addr)
{
    uint64_t name = name_of(addr);
    return name == 0 || subnets->capacity == 0 ? 0 : find(subnets, name)->n;
}
