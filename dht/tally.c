#include "dht/tally.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 16

void dht_tally_init(struct dht_tally *tally, uint32_t salt)
{
    *tally = (struct dht_tally){.salt = salt};
}

void dht_tally_fini(struct dht_tally *tally)
{
    free(tally->slot);
    dht_tally_init(tally, tally->salt);
}

uint64_t dht_tally_subnet(const struct addr *addr)
{
    if (addr->family == 0 || addr_is_local(addr))
        return 0;
    uint64_t name = addr->family;
    for (size_t i = 0; i < (addr->family == 4 ? 3 : 6); i++)
        name = name << 8 | addr->ip[i];
    return name;
}

uint64_t dht_tally_writer(const struct peer_id *writer)
{
    uint64_t name;
    memcpy(&name, writer->byte, sizeof name);
    return name;
}

static size_t home_of(const struct dht_tally *tally, uint64_t name)
{
    uint64_t h = (name ^ tally->salt) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(h >> 32) & (tally->capacity - 1);
}

/* Where a name is, or the free slot where it would be put. */
static struct dht_count *find(const struct dht_tally *tally, uint64_t name)
{
    size_t i = home_of(tally, name);
    while (tally->slot[i].name != 0 && tally->slot[i].name != name)
        i = (i + 1) & (tally->capacity - 1);
    return &tally->slot[i];
}

/* At most three quarters are taken, so that a search soon meets a free slot. */
static int grow(struct dht_tally *tally)
{
    if (4 * (tally->n + 1) <= 3 * tally->capacity)
        return 0;
    struct dht_tally old = *tally;
    size_t capacity = old.capacity ? 2 * old.capacity : CAPACITY_MIN;
    struct dht_count *slot = calloc(capacity, sizeof *slot);
    if (!slot)
        return HANSE_ENOMEM;
    tally->slot = slot;
    tally->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slot[i].name != 0)
            *find(tally, old.slot[i].name) = old.slot[i];
    free(old.slot);
    return 0;
}

int dht_tally_add(struct dht_tally *tally, uint64_t name)
{
    if (name == 0)
        return 0;
    int err = grow(tally);
    if (err)
        return err;
    struct dht_count *count = find(tally, name);
    tally->n += count->name == 0;
    count->name = name;
    count->n++;
    return 0;
}

/* Whoever stands behind a gap and could not be found across it moves into it. */
static void close_gap(struct dht_tally *tally, size_t gap)
{
    size_t mask = tally->capacity - 1;
    for (size_t i = (gap + 1) & mask; tally->slot[i].name != 0; i = (i + 1) & mask) {
        size_t from_home = (i - home_of(tally, tally->slot[i].name)) & mask;
        if (from_home < ((i - gap) & mask))
            continue;
        tally->slot[gap] = tally->slot[i];
        gap = i;
    }
    tally->slot[gap] = (struct dht_count){0};
}

void dht_tally_remove(struct dht_tally *tally, uint64_t name)
{
    if (name == 0)
        return;
    struct dht_count *count = find(tally, name);
    assert(count->name == name && count->n > 0);
    if (--count->n > 0)
        return;
    tally->n--;
    close_gap(tally, (size_t)(count - tally->slot));
}

size_t dht_tally_count(const struct dht_tally *tally, uint64_t name)
{
    return name == 0 || tally->capacity == 0 ? 0 : find(tally, name)->n;
}
