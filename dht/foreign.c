#include "dht/foreign.h"

/* FNV-1a over the compact address; 0 is no mark. */
static uint32_t mark_of(const struct addr *addr)
{
    uint8_t compact[18];
    size_t n = addr_compact(addr, compact);
    uint32_t mark = 2166136261u;
    for (size_t i = 0; i < n; i++)
        mark = (mark ^ compact[i]) * 16777619u;
    return mark ? mark : 1;
}

static size_t find(const struct dht_foreign *foreign, uint32_t mark)
{
    size_t i = 0;
    while (i < DHT_FOREIGN_MAX && foreign->mark[i] != mark)
        i++;
    return i;
}

bool dht_foreign_has(const struct dht_foreign *foreign, const struct addr *addr)
{
    return foreign->n > 0 && find(foreign, mark_of(addr)) < DHT_FOREIGN_MAX;
}

void dht_foreign_note(struct dht_foreign *foreign, const struct addr *addr, bool is_ours)
{
    if (is_ours && foreign->n == 0)
        return;
    uint32_t mark = mark_of(addr);
    size_t i = find(foreign, mark);
    if (is_ours && i < DHT_FOREIGN_MAX)
        foreign->mark[i] = 0;
    if (!is_ours && i == DHT_FOREIGN_MAX)
        foreign->mark[foreign->n++ % DHT_FOREIGN_MAX] = mark;
}
