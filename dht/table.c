#include "dht/table.h"

#include <assert.h>
#include <string.h>

#include "dht/id.h"

void dht_table_init(struct dht_table *table, const struct dht_id *own)
{
    memset(table, 0, sizeof *table);
    table->own = *own;
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

static struct dht_node *row(struct dht_table *table, size_t bucket)
{
    static const size_t first[3] = {0, 64, 96};
    return table->resident + (bucket < 3 ? first[bucket] : 112 + (bucket - 3) * DHT_K);
}

const struct dht_node *dht_table_row(const struct dht_table *table, size_t bucket)
{
    return row((struct dht_table *)table, bucket);
}

bool dht_table_is_bad(const struct dht_node *node)
{
    return node->n_failures >= DHT_FAILURES_MAX;
}

bool dht_table_is_good(const struct dht_node *node, uint64_t now_us)
{
    return !dht_table_is_bad(node) && now_us - node->reply_us <= DHT_GOOD_US;
}

/* -- Rows of nodes ------------------------------------------------------------------------------------- */

static void remove_at(struct dht_node *node, size_t *n, size_t i)
{
    memmove(node + i, node + i + 1, (*n - i - 1) * sizeof *node);
    --*n;
}

static struct dht_node *find_in(struct dht_node *node, size_t n, const struct addr *addr)
{
    for (size_t i = 0; i < n; i++)
        if (addr_equal(&node[i].addr, addr))
            return &node[i];
    return NULL;
}

static struct dht_node *resident_at(struct dht_table *table, const struct addr *addr, size_t *bucket)
{
    for (size_t b = 0; b < DHT_BUCKETS; b++) {
        struct dht_node *node = find_in(row(table, b), table->bucket[b].n, addr);
        if (node) {
            *bucket = b;
            return node;
        }
    }
    return NULL;
}

const struct dht_node *dht_table_find(const struct dht_table *table, const struct addr *addr)
{
    size_t bucket;
    return resident_at((struct dht_table *)table, addr, &bucket);
}

static void remove_resident(struct dht_table *table, size_t bucket, size_t i)
{
    remove_at(row(table, bucket), &table->bucket[bucket].n, i);
}

static void append_resident(struct dht_table *table, size_t bucket, const struct dht_node *node)
{
    assert(table->bucket[bucket].n < dht_table_room(bucket));
    row(table, bucket)[table->bucket[bucket].n++] = *node;
}

/* A newcomer needs an id of its own, and a public one an IP of its own in the table and a subnet of its own in the bucket, or
 * one owner of many addresses could sit all around a key.  On a local network all are neighbours anyhow. */
static bool is_rival(const struct dht_node *node, bool is_same_bucket, const struct dht_id *id, const struct addr *addr)
{
    if (dht_id_equal(&node->id, id))
        return true;
    if (addr_is_local(addr))
        return false;
    return dht_id_same_ip(&node->addr, addr) || (is_same_bucket && dht_id_same_subnet(&node->addr, addr));
}

/* True when a resident that still answers stands in the newcomer's way. */
static bool is_crowded(const struct dht_table *table, const struct dht_id *id, const struct addr *addr)
{
    size_t home = dht_table_bucket(table, id);
    for (size_t b = 0; b < DHT_BUCKETS; b++)
        for (size_t i = 0; i < table->bucket[b].n; i++) {
            const struct dht_node *node = &dht_table_row(table, b)[i];
            if (!dht_table_is_bad(node) && is_rival(node, b == home, id, addr))
                return true;
        }
    return false;
}

/* Rivals that no longer answer make way: a host that came back on another port is not kept out by its own ghost. */
static void drop_ghosts(struct dht_table *table, const struct dht_id *id, const struct addr *addr)
{
    size_t home = dht_table_bucket(table, id);
    for (size_t b = 0; b < DHT_BUCKETS; b++)
        for (size_t i = table->bucket[b].n; i-- > 0;)
            if (is_rival(&row(table, b)[i], b == home, id, addr))
                remove_resident(table, b, i);
}

/* The first resident of a bucket that is bad, or how many there are. */
static size_t worst(const struct dht_table *table, size_t bucket)
{
    size_t i = 0;
    while (i < table->bucket[bucket].n && !dht_table_is_bad(&dht_table_row(table, bucket)[i]))
        i++;
    return i;
}

static void drop_spare(struct dht_bucket *bucket, const struct addr *addr)
{
    struct dht_node *spare = find_in(bucket->spare, bucket->n_spare, addr);
    if (spare)
        remove_at(bucket->spare, &bucket->n_spare, (size_t)(spare - bucket->spare));
}

static void keep_spare(struct dht_bucket *bucket, const struct dht_node *node)
{
    drop_spare(bucket, &node->addr);
    if (bucket->n_spare == DHT_K)
        remove_at(bucket->spare, &bucket->n_spare, 0);
    bucket->spare[bucket->n_spare++] = *node;
}

/* -- What happens to nodes ------------------------------------------------------------------------------- */

static void freshen(struct dht_table *table, size_t bucket, struct dht_node *node, bool is_ours, uint32_t rtt_us, uint64_t now_us)
{
    struct dht_node fresh = *node;
    fresh.reply_us = now_us;
    fresh.n_failures = 0;
    fresh.is_ours = is_ours;
    if (rtt_us != 0)
        fresh.rtt_us = fresh.rtt_us == 0 ? rtt_us : (uint32_t)(((uint64_t)fresh.rtt_us * 7 + rtt_us) / 8);
    remove_resident(table, bucket, (size_t)(node - row(table, bucket)));
    append_resident(table, bucket, &fresh);
}

static bool insert(struct dht_table *table, const struct dht_node *node)
{
    size_t b = dht_table_bucket(table, &node->id);
    if (is_crowded(table, &node->id, &node->addr))
        return false;
    drop_ghosts(table, &node->id, &node->addr);
    size_t n = table->bucket[b].n, i = worst(table, b);
    if (n == dht_table_room(b) && i == n) {
        keep_spare(&table->bucket[b], node);
        return false;
    }
    if (n == dht_table_room(b))
        remove_resident(table, b, i);
    append_resident(table, b, node);
    drop_spare(&table->bucket[b], &node->addr);
    return true;
}

bool dht_table_answered(struct dht_table *table, const struct dht_id *id, const struct addr *addr, bool is_ours, uint32_t rtt_us,
                        uint64_t now_us)
{
    size_t bucket;
    struct dht_node *node = resident_at(table, addr, &bucket);
    if (node && dht_id_equal(&node->id, id)) {
        freshen(table, bucket, node, is_ours, rtt_us, now_us);
        return false;
    }
    if (node)
        remove_resident(table, bucket, (size_t)(node - row(table, bucket)));
    if (dht_id_equal(id, &table->own))
        return false;
    struct dht_node newcomer = {
        .id = *id, .addr = *addr, .reply_us = now_us, .asked_us = now_us, .rtt_us = rtt_us, .is_ours = is_ours};
    return insert(table, &newcomer);
}

/* The freshest replacement that may live beside the other residents pushes out a bad one. */
static void promote(struct dht_table *table, struct dht_bucket *bucket)
{
    while (bucket->n_spare > 0) {
        struct dht_node spare = bucket->spare[--bucket->n_spare];
        if (insert(table, &spare))
            return;
    }
}

void dht_table_failed(struct dht_table *table, const struct addr *addr)
{
    size_t bucket;
    struct dht_node *node = resident_at(table, addr, &bucket);
    if (!node)
        return;
    if (node->n_failures < UINT8_MAX)
        node->n_failures++;
    if (dht_table_is_bad(node))
        promote(table, &table->bucket[bucket]);
}

void dht_table_asked(struct dht_table *table, const struct addr *addr, uint64_t now_us)
{
    size_t bucket;
    struct dht_node *node = resident_at(table, addr, &bucket);
    if (node)
        node->asked_us = now_us;
}

bool dht_table_has_room(const struct dht_table *table, const struct dht_id *id, const struct addr *addr)
{
    size_t b = dht_table_bucket(table, id), n = table->bucket[b].n;
    if (dht_id_equal(id, &table->own) || is_crowded(table, id, addr))
        return false;
    return n < dht_table_room(b) || worst(table, b) < n;
}

void dht_table_move(struct dht_table *table, const struct dht_id *own)
{
    struct dht_table old = *table;
    dht_table_init(table, own);
    for (size_t b = 0; b < DHT_BUCKETS; b++)
        for (size_t i = 0; i < old.bucket[b].n; i++)
            (void)insert(table, &row(&old, b)[i]);
}

/* -- Looking ----------------------------------------------------------------------------------------------- */

/* Puts a node where it belongs among the n nearest in `out`; returns how many there are then. */
static size_t rank(struct dht_node *out, size_t n, size_t max, const struct dht_id *key, const struct dht_node *node)
{
    size_t at = n;
    while (at > 0 && dht_id_compare(key, &node->id, &out[at - 1].id) < 0)
        at--;
    if (at == max)
        return n;
    n -= n == max;
    memmove(out + at + 1, out + at, (n - at) * sizeof *out);
    out[at] = *node;
    return n + 1;
}

size_t dht_table_closest(const struct dht_table *table, const struct dht_id *key, struct dht_node *out, size_t max)
{
    size_t n = 0;
    for (size_t b = 0; b < DHT_BUCKETS; b++)
        for (size_t i = 0; i < table->bucket[b].n; i++) {
            const struct dht_node *node = &dht_table_row(table, b)[i];
            if (!dht_table_is_bad(node))
                n = rank(out, n, max, key, node);
        }
    return n;
}

/* When a node is due for a sign of life.  A silent one is asked again after longer and longer pauses. */
static uint64_t due(const struct dht_node *node, uint64_t silent_us)
{
    uint64_t pause = silent_us;
    if (node->n_failures == 1)
        pause = silent_us / 8;
    else if (node->n_failures > DHT_FAILURES_MAX)
        pause = silent_us * (node->n_failures < 16 ? node->n_failures : 16);
    uint64_t last = node->asked_us > node->reply_us ? node->asked_us : node->reply_us;
    return last + pause;
}

static const struct dht_node *next_due(const struct dht_table *table, uint64_t silent_us)
{
    const struct dht_node *first = NULL;
    for (size_t b = 0; b < DHT_BUCKETS; b++)
        for (size_t i = 0; i < table->bucket[b].n; i++) {
            const struct dht_node *node = &dht_table_row(table, b)[i];
            if (!first || due(node, silent_us) < due(first, silent_us))
                first = node;
        }
    return first;
}

const struct dht_node *dht_table_silent(const struct dht_table *table, uint64_t silent_us, uint64_t now_us)
{
    const struct dht_node *node = next_due(table, silent_us);
    return node && due(node, silent_us) <= now_us ? node : NULL;
}

uint64_t dht_table_silent_at(const struct dht_table *table, uint64_t silent_us)
{
    const struct dht_node *node = next_due(table, silent_us);
    return node ? due(node, silent_us) : UINT64_MAX;
}

size_t dht_table_n(const struct dht_table *table)
{
    size_t n = 0;
    for (size_t b = 0; b < DHT_BUCKETS; b++)
        n += table->bucket[b].n;
    return n;
}

size_t dht_table_n_good(const struct dht_table *table, uint64_t now_us)
{
    size_t n = 0;
    for (size_t b = 0; b < DHT_BUCKETS; b++)
        for (size_t i = 0; i < table->bucket[b].n; i++)
            n += dht_table_is_good(&dht_table_row(table, b)[i], now_us);
    return n;
}

bool dht_table_has_good(const struct dht_table *table, uint64_t now_us)
{
    for (size_t b = 0; b < DHT_BUCKETS; b++)
        for (size_t i = table->bucket[b].n; i-- > 0;) /* the freshest come last */
            if (dht_table_is_good(&dht_table_row(table, b)[i], now_us))
                return true;
    return false;
}

size_t dht_table_deepest(const struct dht_table *table)
{
    for (size_t b = DHT_BUCKETS; b-- > 0;)
        if (table->bucket[b].n > 0)
            return b;
    return 0;
}
