#include "dht/peers.h"

#include <stdlib.h>
#include <string.h>

#include "dht/id.h"

#define SWEEP_US 1000000

void dht_peers_init(struct dht_peers *peers)
{
    *peers = (struct dht_peers){0};
    dht_tally_init(&peers->subnets, 0);
}

void dht_peers_fini(struct dht_peers *peers)
{
    free(peers->peer);
    dht_tally_fini(&peers->subnets);
    dht_peers_init(peers);
}

/* First and one past the last of an info hash. */
static void range(const struct dht_peers *peers, const struct dht_id *info_hash, size_t *first, size_t *end)
{
    size_t low = 0, high = peers->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(peers->peer[middle].info_hash.byte, info_hash->byte, DHT_ID_BYTES) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *first = low;
    while (low < peers->n && dht_id_equal(&peers->peer[low].info_hash, info_hash))
        low++;
    *end = low;
}

static int grow(struct dht_peers *peers)
{
    if (peers->n < peers->capacity)
        return 0;
    size_t capacity = peers->capacity ? 2 * peers->capacity : 16;
    struct dht_announced *peer = realloc(peers->peer, capacity * sizeof *peer);
    if (!peer)
        return HANSE_ENOMEM;
    peers->peer = peer;
    peers->capacity = capacity;
    return 0;
}

static bool is_full(const struct dht_peers *peers, const struct dht_id *info_hash, const struct addr *addr)
{
    size_t first, end, n_ip = 0;
    range(peers, info_hash, &first, &end);
    for (size_t i = first; i < end && !addr_is_local(addr); i++)
        n_ip += dht_id_same_ip(&peers->peer[i].addr, addr);
    return peers->n >= DHT_PEERS_MAX || end - first >= DHT_PEERS_HASH_MAX || n_ip >= DHT_PEERS_IP_MAX ||
           dht_tally_count(&peers->subnets, dht_tally_subnet(addr)) >= DHT_PEERS_SUBNET_MAX;
}

int dht_peers_store(struct dht_peers *peers, const struct dht_id *info_hash, const struct addr *addr, uint64_t now_us)
{
    size_t first, end;
    range(peers, info_hash, &first, &end);
    for (size_t i = first; i < end; i++)
        if (addr_equal(&peers->peer[i].addr, addr)) {
            peers->peer[i].until_us = now_us + DHT_PEERS_US;
            return 0;
        }
    if (is_full(peers, info_hash, addr) && now_us - peers->swept_us >= SWEEP_US) {
        peers->swept_us = now_us;
        dht_peers_expire(peers, now_us);
    }
    if (is_full(peers, info_hash, addr))
        return HANSE_EFULL;
    int err = grow(peers);
    if (!err)
        err = dht_tally_add(&peers->subnets, dht_tally_subnet(addr));
    if (err)
        return err;
    range(peers, info_hash, &first, &end);
    memmove(&peers->peer[end + 1], &peers->peer[end], (peers->n - end) * sizeof *peers->peer);
    peers->peer[end] = (struct dht_announced){.info_hash = *info_hash, .addr = *addr, .until_us = now_us + DHT_PEERS_US};
    peers->n++;
    return 0;
}

size_t dht_peers_list(const struct dht_peers *peers, const struct dht_id *info_hash, int family, struct rng *rng, uint64_t now_us,
                      struct addr *out, size_t max)
{
    size_t first, end, n = 0;
    range(peers, info_hash, &first, &end);
    size_t n_all = end - first;
    size_t start = n_all > max ? (size_t)rng_below(rng, n_all) : 0;
    for (size_t i = 0; i < n_all && n < max; i++) {
        const struct dht_announced *peer = &peers->peer[first + (start + i) % n_all];
        if (peer->addr.family == family && peer->until_us > now_us)
            out[n++] = peer->addr;
    }
    return n;
}

void dht_peers_expire(struct dht_peers *peers, uint64_t now_us)
{
    size_t n = 0;
    for (size_t i = 0; i < peers->n; i++)
        if (peers->peer[i].until_us > now_us)
            peers->peer[n++] = peers->peer[i];
        else
            dht_tally_remove(&peers->subnets, dht_tally_subnet(&peers->peer[i].addr));
    peers->n = n;
}
