#include "dht/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "dht/id.h"

#define PLACES_MIN 16
#define INDEX_BITS 6 /* a place is a bucket and an index in it, plus 1; 0 is a free slot */

void dht_table_init(struct dht_table *table, const struct dht_id *own)
{
    *table = (struct dht_table){.own = *own, .due_us = UINT64_MAX};
}

void dht_table_fini(struct dht_table *table)
{
    for (size_t b = 0; b < table->n_buckets; b++)
        free(table->bucket[b].node);
    free(table->bucket);
    free(table->place);
    dht_table_init(table, &table->own);
}

size_t dht_table_bucket(const struct dht_table *table, const struct dht_id *id)
{
    unsigned n_bits = dht_id_shared_bits(&table->own, id);
    return n_bits < DHT_BUCKETS ? n_bits : DHT_BUCKETS - 1;
}

size_t dht_table_room(size_t bucket)
{
    return bucket < 3 ? (size_t)64 >> bucket : DHT_K;
}

const struct dht_node *dht_table_row(const struct dht_table *table, size_t bucket, size_t *n)
{
    *n = bucket < table->n_buckets ? table->bucket[bucket].n : 0;
    return *n > 0 ? table->bucket[bucket].node : NULL;
}

bool dht_table_is_bad(const struct dht_node *node)
{
    return node->n_failures >= DHT_FAILURES_MAX;
}

bool dht_table_is_good(const struct dht_node *node, uint64_t now_us)
{
    return !dht_table_is_bad(node) && now_us - node->reply_us <= DHT_GOOD_US;
}

/* -- Memory ------------------------------------------------------------------------------------------------ */

static bool reach(struct dht_table *table, size_t bucket)
{
    if (bucket < table->n_buckets)
        return true;
    size_t n = (bucket + 4) / 4 * 4;
    struct dht_bucket *grown = realloc(table->bucket, n * sizeof *grown);
    if (!grown)
        return false;
    for (size_t b = table->n_buckets; b < n; b++)
        grown[b] = (struct dht_bucket){.due_us = UINT64_MAX};
    table->bucket = grown;
    table->n_buckets = n;
    return true;
}

/* Room for one more node in a bucket that has reached neither of its ceilings. */
static bool grow(struct dht_bucket *bucket, size_t room)
{
    size_t n = bucket->capacity, max = room + DHT_K;
    if ((size_t)bucket->n + bucket->n_spare < n)
        return true;
    n += n < 4 ? 2 : n / 2;
    n = n < max ? n : max;
    struct dht_node *node = realloc(bucket->node, n * sizeof *node);
    if (!node)
        return false;
    bucket->node = node;
    bucket->capacity = (uint8_t)n;
    return true;
}

size_t dht_table_memory(const struct dht_table *table)
{
    size_t n = table->n_buckets * sizeof *table->bucket + table->n_places * sizeof *table->place;
    for (size_t b = 0; b < table->n_buckets; b++)
        n += table->bucket[b].capacity * sizeof(struct dht_node);
    return n;
}

/* -- Places, by address ------------------------------------------------------------------------------------ */

/* Of a public IP there is one node, so that its rivals are found by the IP alone; on a local network many share one.  An attacker
 * who owns addresses that share a slot only makes us look at some of the few hundred we keep. */
static size_t home_of(const struct dht_table *table, const struct addr *addr)
{
    uint64_t half[2];
    memcpy(half, addr->ip, sizeof half);
    uint64_t h = half[0] * UINT64_C(0x9e3779b97f4a7c15) ^ half[1] * UINT64_C(0xc2b2ae3d27d4eb4f);
    if (addr_is_local(addr))
        h ^= addr->port * UINT64_C(0x165667b19e3779f9);
    h *= UINT64_C(0xff51afd7ed558ccd);
    return (size_t)(h >> 32) & (table->n_places - 1);
}

static struct dht_node *node_in(const struct dht_table *table, uint16_t place)
{
    unsigned at = place - 1u;
    return &table->bucket[at >> INDEX_BITS].node[at & ((1u << INDEX_BITS) - 1)];
}

static uint16_t place_of(size_t bucket, size_t i)
{
    return (uint16_t)((bucket << INDEX_BITS | i) + 1);
}

/* The slot of the resident at an address, or at any port of its IP; or the free slot where the search ends. */
static uint16_t *find_place(const struct dht_table *table, const struct addr *addr, bool is_any_port)
{
    size_t i = home_of(table, addr);
    for (;; i = (i + 1) & (table->n_places - 1)) {
        uint16_t *place = &table->place[i];
        if (*place == 0)
            return place;
        const struct addr *there = &node_in(table, *place)->addr;
        if (is_any_port ? dht_id_same_ip(there, addr) : addr_equal(there, addr))
            return place;
    }
}

/* At most three quarters are taken, so that a search soon ends. */
static bool grow_places(struct dht_table *table)
{
    if (4 * (table->n + 1) <= 3 * table->n_places)
        return true;
    size_t n = table->n_places ? 2 * table->n_places : PLACES_MIN;
    uint16_t *place = calloc(n, sizeof *place);
    if (!place)
        return false;
    free(table->place);
    table->place = place;
    table->n_places = n;
    for (size_t b = 0; b < table->n_buckets; b++)
        for (size_t i = 0; i < table->bucket[b].n; i++)
            *find_place(table, &table->bucket[b].node[i].addr, false) = place_of(b, i);
    return true;
}

/* Whoever stands behind a gap and could not be found across it moves into it. */
static void free_place(struct dht_table *table, uint16_t *place)
{
    size_t mask = table->n_places - 1, gap = (size_t)(place - table->place);
    for (size_t i = (gap + 1) & mask; table->place[i] != 0; i = (i + 1) & mask) {
        size_t from_home = (i - home_of(table, &node_in(table, table->place[i])->addr)) & mask;
        if (from_home < ((i - gap) & mask))
            continue;
        table->place[gap] = table->place[i];
        gap = i;
    }
    table->place[gap] = 0;
}

static struct dht_node *resident_at(const struct dht_table *table, const struct addr *addr, bool is_any_port, size_t *bucket)
{
    uint16_t *place = table->n > 0 ? find_place(table, addr, is_any_port) : NULL;
    if (!place || *place == 0)
        return NULL;
    *bucket = (*place - 1u) >> INDEX_BITS;
    return node_in(table, *place);
}

const struct dht_node *dht_table_find(const struct dht_table *table, const struct addr *addr)
{
    size_t bucket;
    return resident_at(table, addr, false, &bucket);
}

/* -- When they are due --------------------------------------------------------------------------------------- */

/* When a node is due for a sign of life.  A silent one is asked again after longer and longer pauses. */
static uint64_t due(const struct dht_node *node)
{
    uint64_t pause = DHT_SILENT_US;
    if (node->n_failures == 1)
        pause = DHT_SILENT_US / 24;
    else if (node->n_failures > DHT_FAILURES_MAX)
        pause = DHT_SILENT_US * (node->n_failures < 16 ? node->n_failures : 16);
    uint64_t last = node->asked_us > node->reply_us ? node->asked_us : node->reply_us;
    return last + pause;
}

static const struct dht_node *first_due(const struct dht_bucket *bucket)
{
    const struct dht_node *first = NULL;
    for (size_t i = 0; i < bucket->n; i++)
        if (!first || due(&bucket->node[i]) < due(first))
            first = &bucket->node[i];
    return first;
}

/* A resident of a bucket was due then and is due now; UINT64_MAX: it is not there. */
static void redue(struct dht_table *table, size_t b, uint64_t then_us, uint64_t now_us)
{
    struct dht_bucket *bucket = &table->bucket[b];
    uint64_t before_us = bucket->due_us;
    if (now_us <= before_us) {
        bucket->due_us = now_us;
    } else if (then_us == before_us) {
        const struct dht_node *first = first_due(bucket);
        bucket->due_us = first ? due(first) : UINT64_MAX;
    }
    if (bucket->due_us <= table->due_us) {
        table->due_us = bucket->due_us;
    } else if (before_us == table->due_us) {
        table->due_us = UINT64_MAX;
        for (size_t i = 0; i < table->n_buckets; i++)
            table->due_us = table->bucket[i].due_us < table->due_us ? table->bucket[i].due_us : table->due_us;
    }
}

const struct dht_node *dht_table_silent(const struct dht_table *table, uint64_t now_us)
{
    if (table->n == 0 || table->due_us > now_us)
        return NULL;
    size_t b = 0;
    while (table->bucket[b].due_us != table->due_us)
        b++;
    return first_due(&table->bucket[b]);
}

uint64_t dht_table_silent_at(const struct dht_table *table)
{
    return table->due_us;
}

/* Who answered last vouches for all, until somebody leaves or turns bad: it might be that one. */
static void note_good(struct dht_table *table, const struct dht_node *node)
{
    uint64_t until_us = node->reply_us + DHT_GOOD_US;
    if (!dht_table_is_bad(node) && until_us > table->good_us)
        table->good_us = until_us;
}

/* -- Residents and spares ------------------------------------------------------------------------------------ */

static void remove_resident(struct dht_table *table, size_t b, struct dht_node *node)
{
    struct dht_bucket *bucket = &table->bucket[b];
    struct dht_node *last = &bucket->node[bucket->n - 1];
    uint64_t then_us = due(node);
    free_place(table, find_place(table, &node->addr, false));
    bucket->n_bad = (uint8_t)(bucket->n_bad - dht_table_is_bad(node));
    if (node != last) {
        *find_place(table, &last->addr, false) = place_of(b, (size_t)(node - bucket->node));
        *node = *last;
    }
    memmove(last, last + 1, bucket->n_spare * sizeof *last);
    bucket->n--;
    table->n--;
    table->good_us = 0;
    redue(table, b, then_us, UINT64_MAX);
}

static bool append_resident(struct dht_table *table, size_t b, const struct dht_node *node)
{
    struct dht_bucket *bucket = &table->bucket[b];
    assert(bucket->n < dht_table_room(b));
    if (!grow_places(table) || !grow(bucket, dht_table_room(b)))
        return false;
    struct dht_node *at = &bucket->node[bucket->n];
    memmove(at + 1, at, bucket->n_spare * sizeof *at);
    *at = *node;
    *find_place(table, &node->addr, false) = place_of(b, bucket->n);
    bucket->n_bad = (uint8_t)(bucket->n_bad + dht_table_is_bad(node));
    bucket->n++;
    table->n++;
    note_good(table, node);
    redue(table, b, UINT64_MAX, due(node));
    return true;
}

static void remove_spare(struct dht_bucket *bucket, size_t i)
{
    struct dht_node *spare = bucket->node + bucket->n;
    memmove(spare + i, spare + i + 1, (bucket->n_spare - i - 1) * sizeof *spare);
    bucket->n_spare--;
}

static void drop_spare(struct dht_bucket *bucket, const struct addr *addr)
{
    for (size_t i = 0; i < bucket->n_spare; i++)
        if (addr_equal(&bucket->node[bucket->n + i].addr, addr)) {
            remove_spare(bucket, i);
            return;
        }
}

static void keep_spare(struct dht_bucket *bucket, size_t room, const struct dht_node *node)
{
    drop_spare(bucket, &node->addr);
    if (bucket->n_spare == DHT_K)
        remove_spare(bucket, 0);
    if (!grow(bucket, room))
        return;
    bucket->node[bucket->n + bucket->n_spare++] = *node;
}

/* -- Who may live beside whom -------------------------------------------------------------------------------- */

/* A newcomer needs an id of its own, and a public one an IP of its own in the table and a subnet of its own in the bucket, or
 * one owner of many addresses could sit all around a key.  On a local network all are neighbours anyhow. */
static bool is_rival(const struct dht_node *node, const struct dht_id *id, const struct addr *addr)
{
    return dht_id_equal(&node->id, id) || (!addr_is_local(addr) && dht_id_same_subnet(&node->addr, addr));
}

/* Whoever lives at the IP, or on a local network at the very address. */
static struct dht_node *housemate(const struct dht_table *table, const struct addr *addr, size_t *bucket)
{
    return resident_at(table, addr, !addr_is_local(addr), bucket);
}

/* True when a resident that still answers stands in the newcomer's way.  One id has one bucket. */
static bool is_crowded(const struct dht_table *table, const struct dht_id *id, const struct addr *addr)
{
    size_t other, n;
    const struct dht_node *mate = addr_is_local(addr) ? NULL : housemate(table, addr, &other);
    if (mate && !dht_table_is_bad(mate))
        return true;
    const struct dht_node *row = dht_table_row(table, dht_table_bucket(table, id), &n);
    for (size_t i = 0; i < n; i++)
        if (!dht_table_is_bad(&row[i]) && is_rival(&row[i], id, addr))
            return true;
    return false;
}

/* Rivals that no longer answer make way: a host that came back on another port is not kept out by its own ghost. */
static void drop_ghosts(struct dht_table *table, size_t home, const struct dht_id *id, const struct addr *addr)
{
    size_t other;
    struct dht_bucket *bucket = &table->bucket[home];
    struct dht_node *mate = housemate(table, addr, &other);
    if (mate)
        remove_resident(table, other, mate);
    for (size_t i = bucket->n; i-- > 0;)
        if (is_rival(&bucket->node[i], id, addr))
            remove_resident(table, home, &bucket->node[i]);
}

/* The bad resident that answered last the longest ago, or NULL. */
static struct dht_node *worst(const struct dht_bucket *bucket)
{
    struct dht_node *worst = NULL;
    for (size_t i = 0; i < bucket->n && bucket->n_bad > 0; i++)
        if (dht_table_is_bad(&bucket->node[i]) && (!worst || bucket->node[i].reply_us < worst->reply_us))
            worst = &bucket->node[i];
    return worst;
}

/* -- What happens to nodes ------------------------------------------------------------------------------- */

static void freshen(struct dht_table *table, size_t b, struct dht_node *node, bool is_ours, uint32_t rtt_us, uint64_t now_us)
{
    uint64_t then_us = due(node);
    table->bucket[b].n_bad = (uint8_t)(table->bucket[b].n_bad - dht_table_is_bad(node));
    node->reply_us = now_us;
    node->n_failures = 0;
    node->is_late = false;
    node->is_ours = is_ours;
    if (rtt_us != 0)
        node->rtt_us = node->rtt_us == 0 ? rtt_us : (uint32_t)(((uint64_t)node->rtt_us * 7 + rtt_us) / 8);
    note_good(table, node);
    redue(table, b, then_us, due(node));
}

static bool insert(struct dht_table *table, const struct dht_node *node)
{
    size_t b = dht_table_bucket(table, &node->id), room = dht_table_room(b);
    if (!reach(table, b) || is_crowded(table, &node->id, &node->addr))
        return false;
    drop_ghosts(table, b, &node->id, &node->addr);
    struct dht_bucket *bucket = &table->bucket[b];
    struct dht_node *bad = worst(bucket);
    if (bucket->n == room && !bad) {
        keep_spare(bucket, room, node);
        return false;
    }
    if (bucket->n == room)
        remove_resident(table, b, bad);
    if (!append_resident(table, b, node))
        return false;
    drop_spare(bucket, &node->addr);
    return true;
}

bool dht_table_answered(struct dht_table *table, const struct dht_id *id, const struct addr *addr, bool is_ours, uint32_t rtt_us,
                        uint64_t now_us)
{
    size_t bucket;
    struct dht_node *node = resident_at(table, addr, false, &bucket);
    if (node && dht_id_equal(&node->id, id)) {
        freshen(table, bucket, node, is_ours, rtt_us, now_us);
        return false;
    }
    if (node)
        remove_resident(table, bucket, node);
    if (dht_id_equal(id, &table->own))
        return false;
    struct dht_node newcomer = {
        .id = *id, .addr = *addr, .reply_us = now_us, .asked_us = now_us, .rtt_us = rtt_us, .is_ours = is_ours};
    return insert(table, &newcomer);
}

/* The freshest replacement that may live beside the other residents pushes out a bad one.  One whose address answered under
 * another id since is forgotten. */
static void promote(struct dht_table *table, struct dht_bucket *bucket)
{
    while (bucket->n_spare > 0) {
        struct dht_node spare = bucket->node[bucket->n + --bucket->n_spare];
        const struct dht_node *same = dht_table_find(table, &spare.addr);
        if ((!same || dht_table_is_bad(same)) && insert(table, &spare))
            return;
    }
}

void dht_table_drop(struct dht_table *table, const struct addr *addr)
{
    size_t b;
    struct dht_node *node = resident_at(table, addr, false, &b);
    if (!node)
        return;
    remove_resident(table, b, node);
    promote(table, &table->bucket[b]);
}

bool dht_table_late(struct dht_table *table, const struct addr *addr, uint64_t sent_us)
{
    size_t b;
    struct dht_node *node = resident_at(table, addr, false, &b);
    bool is_news = !node || !node->is_late || node->reply_us > sent_us;
    if (node)
        node->is_late = true;
    return is_news;
}

void dht_table_failed(struct dht_table *table, const struct addr *addr)
{
    size_t b;
    struct dht_node *node = resident_at(table, addr, false, &b);
    if (!node)
        return;
    uint64_t then_us = due(node);
    if (node->n_failures < UINT8_MAX && ++node->n_failures == DHT_FAILURES_MAX) {
        table->bucket[b].n_bad++;
        table->good_us = 0;
    }
    redue(table, b, then_us, due(node));
    if (dht_table_is_bad(node))
        promote(table, &table->bucket[b]);
}

void dht_table_asked(struct dht_table *table, const struct addr *addr, uint64_t now_us)
{
    size_t bucket;
    struct dht_node *node = resident_at(table, addr, false, &bucket);
    if (!node)
        return;
    uint64_t then_us = due(node);
    node->asked_us = now_us;
    redue(table, bucket, then_us, due(node));
}

bool dht_table_has_room(const struct dht_table *table, const struct dht_id *id, const struct addr *addr)
{
    size_t b = dht_table_bucket(table, id);
    bool is_full = b < table->n_buckets && table->bucket[b].n == dht_table_room(b) && table->bucket[b].n_bad == 0;
    return !is_full && !dht_id_equal(id, &table->own) && !is_crowded(table, id, addr);
}

void dht_table_move(struct dht_table *table, const struct dht_id *own)
{
    struct dht_table old = *table;
    dht_table_init(table, own);
    for (size_t b = 0; b < old.n_buckets; b++)
        for (size_t i = 0; i < old.bucket[b].n; i++)
            (void)insert(table, &old.bucket[b].node[i]);
    dht_table_fini(&old);
}

/* -- Looking ----------------------------------------------------------------------------------------------- */

/* Writes the up to `max` residents of a bucket that are nearest to the key. */
static size_t nearest_in(const struct dht_bucket *bucket, const struct dht_id *key, struct dht_node *out, size_t max)
{
    const struct dht_node *best[64];
    size_t n = 0;
    for (size_t i = 0; i < bucket->n; i++) {
        const struct dht_node *node = &bucket->node[i];
        if (dht_table_is_bad(node))
            continue;
        size_t at = n;
        while (at > 0 && dht_id_compare(key, &node->id, &best[at - 1]->id) < 0)
            at--;
        if (at == max)
            continue;
        n -= n == max;
        memmove(best + at + 1, best + at, (n - at) * sizeof *best);
        best[at] = node;
        n++;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = *best[i];
    return n;
}

/* Where the key has another bit than we have, the nodes that differ from us in it are nearer to the key than all that differ
 * later; where it has the same, they are farther.  So buckets are met in the order of their distance. */
size_t dht_table_closest(const struct dht_table *table, const struct dht_id *key, struct dht_node *out, size_t max)
{
    size_t n = 0;
    uint32_t differs = 0;
    for (size_t i = 0; i < DHT_BUCKETS / 8; i++)
        differs = differs << 8 | (uint8_t)(table->own.byte[i] ^ key->byte[i]);
    for (size_t b = 0; b < table->n_buckets && n < max; b++)
        if (differs << b & 0x80000000u)
            n += nearest_in(&table->bucket[b], key, out + n, max - n);
    for (size_t b = table->n_buckets; b-- > 0 && n < max;)
        if (!(differs << b & 0x80000000u))
            n += nearest_in(&table->bucket[b], key, out + n, max - n);
    return n;
}

void dht_table_looked(struct dht_table *table, const struct dht_id *id, uint64_t now_us)
{
    size_t b = dht_table_bucket(table, id);
    if (b < table->n_buckets)
        table->bucket[b].lookup_us = now_us;
}

void dht_table_look_anew(struct dht_table *table)
{
    for (size_t b = 0; b < table->n_buckets; b++)
        table->bucket[b].lookup_us = 0;
}

uint64_t dht_table_look_at(const struct dht_table *table, uint64_t pause_us, size_t *bucket)
{
    uint64_t first_us = UINT64_MAX;
    for (size_t b = 0, deepest = dht_table_deepest(table); b < deepest; b++) {
        uint64_t looked_us = table->bucket[b].lookup_us, at_us = looked_us == 0 ? 0 : looked_us + pause_us;
        if (at_us >= first_us)
            continue;
        first_us = at_us;
        *bucket = b;
    }
    return first_us;
}

size_t dht_table_n(const struct dht_table *table)
{
    return table->n;
}

size_t dht_table_n_good(const struct dht_table *table, uint64_t now_us)
{
    size_t n = 0;
    for (size_t b = 0; b < table->n_buckets; b++)
        for (size_t i = 0; i < table->bucket[b].n; i++)
            n += dht_table_is_good(&table->bucket[b].node[i], now_us);
    return n;
}

bool dht_table_has_good(const struct dht_table *table, uint64_t now_us)
{
    if (now_us <= table->good_us)
        return true;
    for (size_t b = 0; b < table->n_buckets; b++)
        for (size_t i = 0; i < table->bucket[b].n; i++)
            if (dht_table_is_good(&table->bucket[b].node[i], now_us))
                return true;
    return false;
}

size_t dht_table_deepest(const struct dht_table *table)
{
    for (size_t b = table->n_buckets; b-- > 0;)
        if (table->bucket[b].n > 0)
            return b;
    return 0;
}
