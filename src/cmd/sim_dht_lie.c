/* cmd/sim_dht_lie.c - nodes that know each other: to every question they answer with the liars nearest to its target, to one for
 * a key with an entry of their own besides, and what they are given to keep they forget.  Their ids fit their addresses, and they go
 * on asking like the others, so that they stay in tables. */
#include <stdlib.h>
#include <string.h>

#include "cmd/sim_dht.h"
#include "dht/entry.h"
#include "dht/id.h"
#include "dht/krpc.h"

#define NODE_BYTES 26

static int by_id(const void *a, const void *b)
{
    return memcmp(((const struct sim_dht_liar *)a)->id.byte, ((const struct sim_dht_liar *)b)->id.byte, DHT_ID_BYTES);
}

void sim_dht_corrupt(struct sim_dht_swarm *s, size_t n)
{
    while (s->n_liars < n) {
        struct sim_dht_peer *peer = sim_dht_swarm_draw(s);
        peer->is_liar = true;
        s->liar[s->n_liars++] = (struct sim_dht_liar){dht_own_id(peer->dht), world_addr(peer->node)};
    }
    if (n > 0)
        qsort(s->liar, n, sizeof *s->liar, by_id);
}

static bool bit(const struct dht_id *id, unsigned i)
{
    return id->byte[i / 8] >> (7 - i % 8) & 1;
}

/* Where the ids of [low, high), which share the first `i` bits, begin to have a one in the next. */
static size_t split(const struct sim_dht_liar *liar, size_t low, size_t high, unsigned i)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bit(&liar[middle].id, i))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

struct named {
    const struct sim_dht_liar *liar[SIM_DHT_LIARS_NAMED];
    size_t n;
};

/* Takes the nearest of [low, high), nearest first: of two halves the one on the target's side is nearer as a whole. */
static void take_nearest(const struct sim_dht_liar *liar, size_t low, size_t high, unsigned i, const struct dht_id *target,
                         struct named *out)
{
    if (low == high || out->n == SIM_DHT_LIARS_NAMED)
        return;
    if (high - low == 1) {
        out->liar[out->n++] = &liar[low];
        return;
    }
    size_t middle = split(liar, low, high, i);
    bool is_high = bit(target, i);
    take_nearest(liar, is_high ? middle : low, is_high ? high : middle, i + 1, target, out);
    take_nearest(liar, is_high ? low : middle, is_high ? middle : high, i + 1, target, out);
}

/* Anybody may write under any key: so who reads has found something. */
static size_t forge(const struct sim_dht_peer *peer, const struct dht_id *key, uint8_t raw[DHT_ENTRY_MAX])
{
    uint64_t now_us = world_now(peer->swarm->world);
    struct dht_entry entry = {.writer = key_peer_id(world_key(peer->node)),
                              .addr = world_addr(peer->node),
                              .seq = now_us,
                              .expiry_s = (uint32_t)(now_us / SIM_DHT_SECOND_US) + DHT_DIRECTORY_TTL_S,
                              .n_bytes = SIM_DHT_RECORD_BYTES};
    return dht_entry_encode(&entry, key, world_key(peer->node), raw);
}

bool sim_dht_lie(struct sim_dht_peer *peer, const struct io_event *event)
{
    struct dht_message m, reply = {.kind = DHT_REPLY, .has_id = true, .ip = event->from};
    uint8_t nodes[SIM_DHT_LIARS_NAMED * 38], raw[DHT_ENTRY_MAX], bytes[DHT_DATAGRAM_MAX];
    struct named named = {.n = 0};
    size_t n_nodes = 0, n = 0, max = 3 * event->n_bytes < sizeof bytes ? 3 * event->n_bytes : sizeof bytes;
    if (dht_krpc_decode(&m, event->bytes, event->n_bytes) != 0 || m.kind != DHT_QUERY)
        return false;
    take_nearest(peer->swarm->liar, 0, peer->swarm->n_liars, 0, &m.target, &named);
    for (size_t i = 0; i < named.n; i++)
        n_nodes += dht_krpc_node_put(nodes + n_nodes, &named.liar[i]->id, &named.liar[i]->addr);
    reply.tid = m.tid;
    reply.is_ours = true;
    reply.id = dht_own_id(peer->dht);
    reply.token = (struct dht_span){(const uint8_t *)"trust me", 8};
    reply.nodes = (struct dht_span){nodes, n_nodes};
    if (m.method == DHT_HANSE_GET && !(m.has_max && m.max == 0)) {
        reply.entries = (struct dht_span){raw, forge(peer, &m.target, raw)};
        reply.has_n = true;
        reply.n = 1;
    }
    while ((n = dht_krpc_encode(&reply, bytes, max)) == 0 && reply.nodes.n > 0)
        reply.nodes.n -= NODE_BYTES;
    if (n > 0)
        world_io(peer->node)->ops->datagram(world_io(peer->node)->ctx, &event->from, bytes, n);
    return true;
}
