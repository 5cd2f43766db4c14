#include "cmd/dht_map.h"

#include <stdlib.h>
#include <string.h>

#include "dht/id.h"

#define NONE UINT32_MAX
#define DEPTH_MAX 48 /* ids that share more bits are no accident; such a leaf grows */

struct range {
    uint32_t parent, child[2]; /* child[0] NONE: a leaf */
    uint32_t first;            /* of a leaf: its nodes */
    uint32_t n_nodes, n_new;   /* of a leaf */
    uint32_t n_asked;          /* of a leaf: nodes whose answer is awaited */
    uint32_t n_todo;           /* questions to ask, of all leaves below */
    uint32_t n_answered;       /* nodes that answered, of all leaves below */
    uint8_t depth, n_quiet, n_sweeps;
    bool is_sweeping; /* a question besides is in the air */
};

struct dht_map {
    struct rng *rng;
    struct dht_id from; /* ranges are taken in the order of their distance to it */
    size_t max, n, capacity;
    struct dht_map_node *node;
    size_t n_slots; /* a power of two */
    uint32_t *slot; /* by address: node, or NONE */
    size_t n_ranges, ranges_capacity;
    struct range *range;
    uint32_t salt;
    size_t n_renamed, n_left_out;
};

static unsigned bit_of(const struct dht_id *id, unsigned i)
{
    return id->byte[i / 8] >> (7 - i % 8) & 1u;
}

/* -- Memory ---------------------------------------------------------------------------------------------- */

static uint32_t new_range(struct dht_map *map, uint32_t parent, unsigned depth)
{
    if (map->n_ranges == map->ranges_capacity) {
        size_t capacity = map->ranges_capacity ? 2 * map->ranges_capacity : 64;
        struct range *grown = realloc(map->range, capacity * sizeof *grown);
        if (!grown)
            return NONE;
        map->range = grown;
        map->ranges_capacity = capacity;
    }
    map->range[map->n_ranges] = (struct range){.parent = parent, .child = {NONE, NONE}, .first = NONE, .depth = (uint8_t)depth};
    return (uint32_t)map->n_ranges++;
}

int dht_map_new(size_t max, struct rng *rng, struct dht_map **out)
{
    struct dht_map *map = calloc(1, sizeof *map);
    if (!map)
        return HANSE_ENOMEM;
    map->rng = rng;
    map->max = max < NONE / 4 ? max : NONE / 4;
    map->salt = rng_u32(rng);
    rng_bytes(rng, map->from.byte, sizeof map->from.byte);
    if (new_range(map, NONE, 0) == NONE) {
        dht_map_free(map);
        return HANSE_ENOMEM;
    }
    *out = map;
    return 0;
}

void dht_map_free(struct dht_map *map)
{
    if (!map)
        return;
    free(map->node);
    free(map->slot);
    free(map->range);
    free(map);
}

/* -- By address ------------------------------------------------------------------------------------------ */

/* FNV-1a with a salt, so that nobody can choose addresses that fall together. */
static size_t home_of(const struct dht_map *map, const struct addr *addr)
{
    uint32_t h = 2166136261u ^ map->salt;
    for (size_t i = 0; i < sizeof addr->ip; i++)
        h = (h ^ addr->ip[i]) * 16777619u;
    h = (h ^ (addr->port & 255u)) * 16777619u;
    h = (h ^ (uint32_t)(addr->port >> 8)) * 16777619u;
    return (h ^ h >> 15) & (map->n_slots - 1);
}

static size_t slot_of(const struct dht_map *map, const struct addr *addr)
{
    size_t i = home_of(map, addr);
    while (map->slot[i] != NONE && !addr_equal(&map->node[map->slot[i]].addr, addr))
        i = (i + 1) & (map->n_slots - 1);
    return i;
}

static uint32_t find(const struct dht_map *map, const struct addr *addr)
{
    return map->n_slots ? map->slot[slot_of(map, addr)] : NONE;
}

static bool grow(struct dht_map *map)
{
    size_t capacity = map->capacity ? 2 * map->capacity : 256;
    struct dht_map_node *node = realloc(map->node, capacity * sizeof *node);
    if (!node)
        return false;
    map->node = node;
    uint32_t *slot = malloc(2 * capacity * sizeof *slot);
    if (!slot)
        return false;
    free(map->slot);
    map->slot = slot;
    map->n_slots = 2 * capacity;
    map->capacity = capacity;
    for (size_t i = 0; i < map->n_slots; i++)
        slot[i] = NONE;
    for (size_t i = 0; i < map->n; i++)
        slot[slot_of(map, &map->node[i].addr)] = (uint32_t)i;
    return true;
}

/* -- Ranges ---------------------------------------------------------------------------------------------- */

static uint32_t leaf_of(const struct dht_map *map, const struct dht_id *id)
{
    uint32_t i = 0;
    while (map->range[i].child[0] != NONE)
        i = map->range[i].child[bit_of(id, map->range[i].depth)];
    return i;
}

static bool is_quiet(const struct range *r)
{
    return r->n_quiet >= DHT_MAP_QUIET || r->n_sweeps >= DHT_MAP_SWEEPS;
}

static uint32_t leaf_todo(const struct range *r)
{
    if (r->n_new > 0 || r->n_asked > 0 || r->is_sweeping)
        return r->n_new;
    return is_quiet(r) ? 0 : 1;
}

/* What stands in a leaf has changed: those above it hear. */
static void settle(struct dht_map *map, uint32_t leaf, int answered)
{
    uint32_t todo = leaf_todo(&map->range[leaf]), old = map->range[leaf].n_todo;
    for (uint32_t i = leaf; i != NONE; i = map->range[i].parent) {
        map->range[i].n_todo += todo - old; /* modulo 2^32, which a difference survives */
        map->range[i].n_answered += (uint32_t)answered;
    }
}

static void count_in(struct range *r, const struct dht_map_node *node)
{
    r->n_nodes++;
    r->n_new += node->state == DHT_MAP_NEW;
    r->n_asked += node->state == DHT_MAP_ASKED;
}

static void link_node(struct dht_map *map, uint32_t leaf, uint32_t i)
{
    struct range *r = &map->range[leaf];
    map->node[i].next = r->first;
    r->first = i;
    count_in(r, &map->node[i]);
}

static void unlink_node(struct dht_map *map, uint32_t leaf, uint32_t i)
{
    struct range *r = &map->range[leaf];
    const struct dht_map_node *node = &map->node[i];
    uint32_t *at = &r->first;
    while (*at != i)
        at = &map->node[*at].next;
    *at = node->next;
    r->n_nodes--;
    r->n_new -= node->state == DHT_MAP_NEW;
    r->n_asked -= node->state == DHT_MAP_ASKED;
}

/* Its children begin anew: what was quiet at large may hide somebody in small. */
static bool split(struct dht_map *map, uint32_t leaf)
{
    unsigned depth = map->range[leaf].depth;
    uint32_t child[2];
    child[0] = new_range(map, leaf, depth + 1);
    child[1] = child[0] == NONE ? NONE : new_range(map, leaf, depth + 1);
    if (child[1] == NONE)
        return false; /* the leaf stays large */
    uint32_t i = map->range[leaf].first, next;
    for (; i != NONE; i = next) {
        uint32_t to = child[bit_of(&map->node[i].id, depth)];
        next = map->node[i].next;
        link_node(map, to, i);
        map->range[to].n_answered += map->node[i].state == DHT_MAP_ANSWERED;
    }
    struct range *r = &map->range[leaf];
    uint32_t todo = 0, old = r->n_todo;
    for (int b = 0; b < 2; b++)
        todo += map->range[child[b]].n_todo = leaf_todo(&map->range[child[b]]);
    memcpy(r->child, child, sizeof child);
    r->first = NONE;
    r->n_nodes = r->n_new = r->n_asked = 0;
    for (uint32_t j = leaf; j != NONE; j = map->range[j].parent)
        map->range[j].n_todo += todo - old;
    return true;
}

static void place(struct dht_map *map, uint32_t i)
{
    uint32_t leaf = leaf_of(map, &map->node[i].id);
    link_node(map, leaf, i);
    settle(map, leaf, map->node[i].state == DHT_MAP_ANSWERED);
    while (map->range[leaf].n_nodes > DHT_MAP_LEAF && map->range[leaf].depth < DEPTH_MAX && split(map, leaf))
        leaf = leaf_of(map, &map->node[i].id);
}

static void displace(struct dht_map *map, uint32_t i)
{
    uint32_t leaf = leaf_of(map, &map->node[i].id);
    unlink_node(map, leaf, i);
    settle(map, leaf, -(map->node[i].state == DHT_MAP_ANSWERED));
}

static void set_state(struct dht_map *map, uint32_t i, enum dht_map_state state)
{
    displace(map, i);
    map->node[i].state = (uint8_t)state;
    place(map, i);
}

/* -- What a crawl hears ---------------------------------------------------------------------------------- */

static bool add(struct dht_map *map, const struct dht_id *id, const struct addr *addr)
{
    if (find(map, addr) != NONE)
        return false;
    if (map->n == map->max || (map->n == map->capacity && !grow(map))) {
        map->n_left_out++;
        return false;
    }
    uint32_t i = (uint32_t)map->n++;
    map->node[i] = (struct dht_map_node){.id = *id, .addr = *addr, .state = DHT_MAP_NEW};
    map->slot[slot_of(map, addr)] = i;
    place(map, i);
    return true;
}

/* Nobody far away makes us send to our own neighbourhood. */
static bool may_name(const struct addr *teller, const struct addr *told)
{
    return told->port != 0 && !addr_is_unspecified(told) && (addr_is_local(teller) || !addr_is_local(told));
}

static size_t add_all(struct dht_map *map, const struct addr *from, const struct dht_id *target, unsigned depth,
                      const struct dht_message *m)
{
    struct dht_span nodes = from->family == 6 ? m->nodes6 : m->nodes;
    struct dht_id id;
    struct addr addr;
    size_t n_new = 0;
    for (size_t i = 0; i < DHT_NODES_MAX && dht_krpc_node(nodes, from->family, i, &id, &addr); i++)
        if (may_name(from, &addr) && add(map, &id, &addr))
            n_new += dht_id_shared_bits(&id, target) >= depth;
    return n_new;
}

static void keep_answer(struct dht_map *map, uint32_t i, const struct dht_message *m, uint64_t rtt_us)
{
    struct dht_map_node *node = &map->node[i];
    displace(map, i);
    map->n_renamed += !dht_id_equal(&node->id, &m->id);
    node->id = m->id;
    node->state = DHT_MAP_ANSWERED;
    node->rtt_us = rtt_us < UINT32_MAX ? (uint32_t)rtt_us : UINT32_MAX;
    node->n_version = (uint8_t)(m->version.n < DHT_MAP_VERSION_MAX ? m->version.n : DHT_MAP_VERSION_MAX);
    if (node->n_version > 0)
        memcpy(node->version, m->version.bytes, node->n_version);
    place(map, i);
}

static void answer_about(struct dht_map *map, const struct dht_id *target, bool is_answer, size_t n_new)
{
    uint32_t leaf = leaf_of(map, target);
    struct range *r = &map->range[leaf];
    r->is_sweeping = false;
    if (n_new > 0)
        r->n_quiet = r->n_sweeps = 0;
    else if (is_answer && r->n_quiet < DHT_MAP_QUIET)
        r->n_quiet++;
    settle(map, leaf, 0);
}

void dht_map_answered(struct dht_map *map, const struct addr *from, const struct dht_id *target, const struct dht_message *m,
                      uint64_t rtt_us)
{
    unsigned depth = map->range[leaf_of(map, target)].depth;
    (void)add(map, &m->id, from);
    uint32_t i = find(map, from);
    if (i != NONE)
        keep_answer(map, i, m, rtt_us);
    answer_about(map, target, true, add_all(map, from, target, depth, m));
}

void dht_map_lost(struct dht_map *map, const struct addr *from, const struct dht_id *target)
{
    uint32_t i = find(map, from);
    if (i != NONE && map->node[i].state == DHT_MAP_ASKED)
        set_state(map, i, ++map->node[i].n_tries < DHT_MAP_TRIES ? DHT_MAP_NEW : DHT_MAP_SILENT);
    answer_about(map, target, false, 0);
}

/* -- What it asks ---------------------------------------------------------------------------------------- */

/* A node that answered, somewhere below. */
static uint32_t pick_answered(const struct dht_map *map, uint32_t at)
{
    while (map->range[at].child[0] != NONE) {
        const uint32_t *child = map->range[at].child;
        unsigned b = rng_u32(map->rng) & 1u;
        at = child[map->range[child[b]].n_answered > 0 ? b : !b];
    }
    size_t skip = rng_below(map->rng, map->range[at].n_answered);
    for (uint32_t i = map->range[at].first;; i = map->node[i].next)
        if (map->node[i].state == DHT_MAP_ANSWERED && skip-- == 0)
            return i;
}

static bool sweep(struct dht_map *map, uint32_t leaf, struct dht_id prefix, struct dht_map_question *out)
{
    uint32_t near = leaf;
    while (near != NONE && map->range[near].n_answered == 0)
        near = map->range[near].parent;
    if (near == NONE)
        return false;
    out->to = map->node[pick_answered(map, near)].addr;
    out->target = prefix;
    map->range[leaf].n_sweeps++;
    map->range[leaf].is_sweeping = true;
    settle(map, leaf, 0);
    return true;
}

bool dht_map_next(struct dht_map *map, struct dht_map_question *out)
{
    struct dht_id prefix;
    uint32_t at = 0;
    if (dht_map_is_done(map))
        return false;
    rng_bytes(map->rng, prefix.byte, sizeof prefix.byte);
    while (map->range[at].child[0] != NONE) {
        unsigned depth = map->range[at].depth, b = bit_of(&map->from, depth);
        if (map->range[map->range[at].child[b]].n_todo == 0)
            b = !b;
        if (bit_of(&prefix, depth) != b)
            prefix.byte[depth / 8] ^= (uint8_t)(0x80u >> depth % 8);
        at = map->range[at].child[b];
    }
    if (map->range[at].n_new == 0)
        return sweep(map, at, prefix, out);
    uint32_t i = map->range[at].first;
    while (map->node[i].state != DHT_MAP_NEW)
        i = map->node[i].next;
    *out = (struct dht_map_question){map->node[i].addr, map->node[i].id};
    set_state(map, i, DHT_MAP_ASKED);
    return true;
}

bool dht_map_is_done(const struct dht_map *map)
{
    return map->n == 0 || map->range[0].n_todo == 0;
}

/* -- What it knows --------------------------------------------------------------------------------------- */

size_t dht_map_n(const struct dht_map *map)
{
    return map->n;
}

const struct dht_map_node *dht_map_node(const struct dht_map *map, size_t i)
{
    return &map->node[i];
}

static double share_of(unsigned depth)
{
    double share = 1;
    while (depth-- > 0)
        share /= 2;
    return share;
}

struct dht_map_stats dht_map_stats(const struct dht_map *map)
{
    struct dht_map_stats stats = {.n_nodes = map->n, .n_renamed = map->n_renamed, .n_left_out = map->n_left_out};
    size_t n_within = 0;
    for (size_t i = 0; i < map->n; i++) {
        const struct dht_map_node *node = &map->node[i];
        stats.n_answered += node->state == DHT_MAP_ANSWERED;
        stats.n_silent += node->state == DHT_MAP_SILENT;
        if (node->state == DHT_MAP_ANSWERED && addr_is_local(&node->addr))
            stats.n_local++;
        else
            stats.n_fit += node->state == DHT_MAP_ANSWERED && dht_id_fits(&node->id, &node->addr);
    }
    for (size_t i = 0; i < map->n_ranges; i++) {
        const struct range *r = &map->range[i];
        if (r->child[0] != NONE || r->n_new > 0 || r->n_asked > 0 || r->is_sweeping || !is_quiet(r))
            continue;
        stats.swept += share_of(r->depth);
        n_within += r->n_answered;
    }
    if (stats.swept > 0)
        stats.estimate = (double)n_within / stats.swept;
    return stats;
}
