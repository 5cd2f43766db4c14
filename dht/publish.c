/* What we keep published: stored at the nodes nearest to its key, again before it is over, soon when a node turns up that is nearer than
 * those which have it, and soon when nobody took it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "dht/id.h"
#include "dht/operation.h"

#define AGAIN_MIN_US 100000000u /* a third of an entry's life, so that two lost rounds do no harm */
#define AGAIN_MAX_US 150000000u
#define GAP_MIN_US 500000u /* pause before an early store; doubles while the swarm keeps growing */
#define GAP_MAX_US 32000000u

/* What nobody took is tried again after a pause that doubles up to the regular one, drawn around it since what failed together is many
 * keys as a rule.  Where the reason is a network that is gone, a few find out when it is back: the others wait for their turn. */
#define AGAIN_FIRST_US 1000000u
#define AGAIN_AT_ONCE (DHT_OPERATIONS_RUNNING / 4)

/* Pauses after the first stores, for the swarm may just be growing: full buckets let no newcomer in, so a writer far from its key
 * learns of nodes nearer to it only on the way there.  Then again after LOOK_US while the nodes nearest to the key change. */
static const uint64_t look_pause_us[] = {2000000, 6000000, 24000000};
#define N_LOOKS (sizeof look_pause_us / sizeof *look_pause_us)
#define LOOK_US 32000000u
#define CHANGED 2 /* of DHT_K */

static struct dht_publication *find(const struct dht *dht, const struct dht_id *key)
{
    for (size_t i = 0; i < dht->n_publications; i++)
        if (dht_id_equal(&dht->publication[i]->key, key))
            return dht->publication[i];
    return NULL;
}

static bool grow(struct dht *dht)
{
    if (dht->n_publications < dht->publications_capacity)
        return true;
    size_t capacity = dht->publications_capacity ? 2 * dht->publications_capacity : 8;
    struct dht_publication **publication = realloc(dht->publication, capacity * sizeof *publication);
    if (!publication)
        return false;
    dht->publication = publication;
    dht->publications_capacity = capacity;
    return true;
}

static struct dht_publication *add(struct dht *dht, const struct dht_id *key)
{
    if (dht->n_publications == DHT_PUBLICATIONS_MAX) {
        log_error("dht: %d directory keys are published already; publish fewer rows", DHT_PUBLICATIONS_MAX);
        return NULL;
    }
    struct dht_publication *p = grow(dht) ? calloc(1, sizeof *p) : NULL;
    if (!p)
        return NULL;
    p->key = *key;
    dht->publication[dht->n_publications++] = p;
    return p;
}

static void forget(struct dht *dht, struct dht_publication *p)
{
    size_t i = 0;
    while (dht->publication[i] != p)
        i++;
    dht->publication[i] = dht->publication[--dht->n_publications];
    free(p);
}

void dht_publications_free(struct dht *dht)
{
    while (dht->n_publications > 0)
        free(dht->publication[--dht->n_publications]);
    free(dht->publication);
}

static void plan(struct dht *dht, struct dht_publication *p, uint64_t at_us)
{
    p->next_us = at_us;
    dht->publish_us = at_us < dht->publish_us ? at_us : dht->publish_us;
}

/* To be stored now, or right after the store that is under way. */
static void store_soon(struct dht *dht, uint64_t now_us, struct dht_publication *p)
{
    p->is_changed = true;
    p->again_us = 0;
    plan(dht, p, now_us);
    p->gap_us = GAP_MIN_US;
    dht->wake_us = now_us;
}

static bool is_same(const struct dht_publication *p, const struct addr *addr, const void *bytes, size_t n)
{
    return !p->is_withdrawn && p->n_bytes == n && memcmp(p->bytes, bytes, n) == 0 && addr_equal(&p->addr, addr);
}

void dht_publish(struct dht *dht, uint64_t now_us, const struct dht_id *key, const struct addr *addr, const void *bytes, size_t n,
                 void (*done)(void *arg, uint64_t now_us, size_t n_stored), void *arg)
{
    assert(n > 0 && n <= DHT_DIRECTORY_BYTES_MAX);
    struct dht_publication *p = find(dht, key);
    if (p && !done && is_same(p, addr, bytes, n))
        return;
    if (!p && !(p = add(dht, key))) {
        if (done)
            done(arg, now_us, 0);
        return;
    }
    if (done) {
        p->done = done;
        p->arg = arg;
    }
    p->is_withdrawn = false;
    p->addr = *addr;
    p->n_bytes = n;
    memcpy(p->bytes, bytes, n);
    store_soon(dht, now_us, p);
}

void dht_withdraw(struct dht *dht, uint64_t now_us, const struct dht_id *key)
{
    struct dht_publication *p = find(dht, key);
    if (!p)
        return;
    p->is_withdrawn = true;
    p->until_us = now_us + (uint64_t)DHT_DIRECTORY_TTL_S * 1000000;
    p->n_bytes = 0;
    store_soon(dht, now_us, p);
}

void dht_republish(struct dht *dht, uint64_t now_us)
{
    for (size_t i = 0; i < dht->n_publications; i++)
        store_soon(dht, now_us, dht->publication[i]);
}

void dht_publications_joined(struct dht *dht, uint64_t now_us)
{
    for (size_t i = 0; i < dht->n_publications; i++) {
        struct dht_publication *p = dht->publication[i];
        p->n_looks = 0;
        if (p->next_us > now_us + look_pause_us[0])
            plan(dht, p, now_us + look_pause_us[0]);
    }
}

void dht_publications_moved(struct dht *dht, uint64_t now_us)
{
    for (size_t i = 0; i < dht->n_publications; i++)
        if (dht->publication[i]->addr.family == 0 || addr_is_unspecified(&dht->publication[i]->addr))
            store_soon(dht, now_us, dht->publication[i]);
}

struct addr dht_publication_addr(const struct dht *dht, const struct addr *said)
{
    struct addr addr = *said, external;
    if (addr.family != 0 && !addr_is_unspecified(&addr))
        return addr;
    uint16_t port = addr.port != 0 ? addr.port : dht->config.port;
    if (dht_external(dht, &external))
        addr = external;
    if (addr.family == 0)
        addr.family = 4;
    if (port != 0)
        addr.port = port;
    return addr;
}

size_t dht_publication_entry(struct dht *dht, uint64_t now_us, const struct dht_id *key, uint8_t raw[DHT_ENTRY_MAX])
{
    struct dht_publication *p = find(dht, key);
    if (!p)
        return 0;
    struct dht_entry entry = {.writer = dht->peer, .n_bytes = (uint16_t)p->n_bytes};
    p->seq = now_us > p->seq ? now_us : p->seq + 1;
    p->is_changed = false;
    entry.addr = dht_publication_addr(dht, &p->addr);
    entry.seq = p->seq;
    entry.expiry_s = (uint32_t)(now_us / 1000000) + DHT_DIRECTORY_TTL_S;
    memcpy(entry.bytes, p->bytes, p->n_bytes);
    return dht_entry_encode(&entry, key, dht->config.key, raw);
}

/* It has to wait until another try is over. */
static bool is_held(const struct dht *dht, const struct dht_publication *p)
{
    return p->again_us > 0 && dht->n_again >= AGAIN_AT_ONCE;
}

/* Those under way are planned anew when they are stored. */
static uint64_t first_due(const struct dht *dht)
{
    uint64_t first = IO_NEVER;
    for (size_t i = 0; i < dht->n_publications; i++) {
        const struct dht_publication *p = dht->publication[i];
        if (!p->is_storing && !is_held(dht, p) && p->next_us < first)
            first = p->next_us;
    }
    return first;
}

static void store(struct dht *dht, uint64_t now_us, struct dht_publication *p)
{
    p->is_storing = true;
    p->is_changed = false;
    p->is_again = p->again_us > 0;
    dht->n_again += p->is_again;
    dht_task_publish(dht, now_us, &p->key);
}

/* The one that has waited longest of those that nobody took, if any is due. */
static struct dht_publication *next_again(const struct dht *dht, uint64_t now_us)
{
    struct dht_publication *next = NULL;
    for (size_t i = 0; i < dht->n_publications; i++) {
        struct dht_publication *p = dht->publication[i];
        if (p->again_us > 0 && !p->is_storing && p->next_us <= now_us && (!next || p->next_us < next->next_us))
            next = p;
    }
    return next;
}

void dht_publications_run(struct dht *dht, uint64_t now_us)
{
    struct dht_publication *p;
    if (now_us < dht->publish_us)
        return;
    for (size_t i = 0; i < dht->n_publications; i++) {
        p = dht->publication[i];
        if (p->again_us == 0 && !p->is_storing && p->next_us <= now_us)
            store(dht, now_us, p);
    }
    while (dht->n_again < AGAIN_AT_ONCE && (p = next_again(dht, now_us)))
        store(dht, now_us, p);
    dht->publish_us = first_due(dht);
}

uint64_t dht_publications_deadline(const struct dht *dht)
{
    return dht->publish_us;
}

static bool belongs_at(const struct dht_publication *p, const struct dht_id *id)
{
    return p->n_near < DHT_K || dht_id_compare(&p->key, id, &p->near[DHT_K - 1]) < 0;
}

/* An early store, with growing pauses; the regular one stands when it comes sooner. */
static void hurry(struct dht *dht, struct dht_publication *p)
{
    uint64_t at = p->stored_us + p->gap_us;
    if (p->is_storing || at >= p->next_us)
        return;
    plan(dht, p, at);
    p->gap_us = 2 * p->gap_us < GAP_MAX_US ? 2 * p->gap_us : GAP_MAX_US;
    p->is_early = true;
}

void dht_publications_node(struct dht *dht, uint64_t now_us, const struct dht_id *id)
{
    for (size_t i = 0; i < dht->n_publications; i++) {
        struct dht_publication *p = dht->publication[i];
        if (belongs_at(p, id) && p->stored_us != 0)
            hurry(dht, p);
        if (p->next_us <= now_us)
            dht->wake_us = now_us;
    }
}

/* Nodes that became known while the store was under way, and that the walk did not meet. */
static bool has_missed(const struct dht *dht, const struct dht_publication *p, struct dht_lookup *lookup)
{
    struct dht_node node[DHT_K];
    for (int i = 0; i < 2; i++) {
        size_t n = dht_table_closest(&dht->half[i].table, &p->key, node, DHT_K);
        for (size_t j = 0; j < n; j++)
            if (belongs_at(p, &node[j].id) && !dht_lookup_find(lookup, &node[j].addr))
                return true;
    }
    return false;
}

/* Takes down the nearest that answered; returns how many of them are new. */
static size_t remember_nearest(struct dht_publication *p, struct dht_lookup *lookup)
{
    struct dht_candidate *nearest[DHT_K];
    size_t n = dht_lookup_closest(lookup, DHT_K, nearest, DHT_K), n_new = n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < p->n_near; j++)
            n_new -= dht_id_equal(&nearest[i]->id, &p->near[j]);
    for (size_t i = 0; i < n; i++)
        p->near[i] = nearest[i]->id;
    p->n_near = n;
    return n_new;
}

static uint64_t next_pause(struct dht *dht, struct dht_publication *p, size_t n_new)
{
    if (p->n_looks < N_LOOKS)
        return look_pause_us[p->n_looks++];
    if (n_new >= CHANGED)
        return LOOK_US + rng_below(&dht->rng, LOOK_US / 4);
    return AGAIN_MIN_US + rng_below(&dht->rng, AGAIN_MAX_US - AGAIN_MIN_US);
}

/* Nobody else has it, though there are others. */
static bool is_in_vain(const struct dht *dht, size_t n_stored, size_t n_others)
{
    return n_stored == 0 || (n_others == 0 && dht_n_nodes(dht) > 0);
}

static void plan_again(struct dht *dht, uint64_t now_us, struct dht_publication *p)
{
    uint64_t pause_us = 2 * p->again_us;
    if (pause_us < AGAIN_FIRST_US)
        pause_us = AGAIN_FIRST_US;
    p->again_us = pause_us < AGAIN_MIN_US ? pause_us : AGAIN_MIN_US;
    plan(dht, p, now_us + p->again_us / 2 + rng_below(&dht->rng, p->again_us));
}

static void plan_next(struct dht *dht, uint64_t now_us, struct dht_publication *p, struct dht_lookup *lookup)
{
    p->again_us = 0;
    plan(dht, p, now_us + next_pause(dht, p, lookup ? remember_nearest(p, lookup) : 0));
    if (!p->is_early)
        p->gap_us = GAP_MIN_US;
    p->is_early = false;
    if (lookup && has_missed(dht, p, lookup))
        hurry(dht, p);
}

/* What was held may have its turn. */
static void end_again(struct dht *dht, uint64_t now_us, struct dht_publication *p)
{
    if (!p->is_again)
        return;
    p->is_again = false;
    dht->n_again--;
    dht->publish_us = dht->wake_us = now_us;
}

void dht_publication_stored(struct dht *dht, uint64_t now_us, const struct dht_id *key, struct dht_lookup *lookup,
                            size_t n_stored, size_t n_others)
{
    struct dht_publication *p = find(dht, key);
    if (!p)
        return;
    void (*done)(void *arg, uint64_t now_us, size_t n_stored) = p->done;
    void *arg = p->arg;
    p->is_storing = false;
    p->stored_us = now_us;
    end_again(dht, now_us, p);
    if (p->is_changed) { /* other bytes or another address meanwhile: whoever waits, waits for those */
        plan(dht, p, now_us);
        dht->wake_us = now_us;
        return;
    }
    p->done = NULL;
    if (p->is_withdrawn && (!is_in_vain(dht, n_stored, n_others) || now_us >= p->until_us))
        forget(dht, p); /* else what stands somewhere would be believed to its end */
    else if (is_in_vain(dht, n_stored, n_others))
        plan_again(dht, now_us, p);
    else
        plan_next(dht, now_us, p, lookup);
    if (done)
        done(arg, now_us, n_stored);
}
