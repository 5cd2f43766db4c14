/* Events in, datagrams out: what does not belong to one part alone. */
#include "dht/dht.h"

#include <stdlib.h>
#include <string.h>

#include "dht/id.h"
#include "dht/operation.h"

#define SOFT_MIN_US 100000 /* below this a busy machine looks like a lost datagram */
#define SOFT_MAX_US 400000
#define PINGS 16 /* there is always room for so many that no operation asks */

int dht_new(const struct dht_config *config, const struct io *io, uint64_t now_us, struct dht **out)
{
    struct dht *dht = calloc(1, sizeof *dht);
    if (!dht)
        return HANSE_ENOMEM;
    static const struct addr unknown;
    dht->config = *config;
    dht->io = *io;
    dht->peer = key_peer_id(config->key);
    dht->wake_us = dht->publish_us = IO_NEVER;
    dht->now_us = now_us;
    rng_init(&dht->rng, config->seed, "dht");
    for (int i = 0; i < 2; i++) {
        int family = i == 0 ? 4 : 6;
        bool is_known = config->addr.family == family && !addr_is_unspecified(&config->addr);
        struct dht_id own = dht_id_make(is_known ? &config->addr : &unknown, &dht->peer, &dht->rng);
        dht->half[i].family = family;
        dht_table_init(&dht->half[i].table, &own);
    }
    dht_tokens_init(&dht->tokens, config->seed, now_us);
    dht_limits_init(&dht->limits, config->seed);
    dht_transactions_init(&dht->transactions, config->seed);
    dht_window_init(&dht->window, now_us);
    dht_directory_init(&dht->directory);
    dht_tally_init(&dht->directory.subnets, dht->limits.salt);
    dht_tally_init(&dht->directory.brought, dht->limits.salt);
    dht_tally_init(&dht->directory.writers, dht->limits.salt);
    dht_peers_init(&dht->peers);
    dht_tally_init(&dht->peers.subnets, dht->limits.salt);
    dht_items_init(&dht->items);
    dht_tally_init(&dht->items.subnets, dht->limits.salt);
    dht_routes_init(&dht->routes);
    *out = dht;
    return 0;
}

void dht_free(struct dht *dht)
{
    if (!dht)
        return;
    dht_operations_free(dht);
    dht_publications_free(dht);
    dht_routes_fini(&dht->routes);
    dht_bulk_fini(&dht->bulk);
    free(dht->probes.slot);
    dht_items_fini(&dht->items);
    dht_peers_fini(&dht->peers);
    dht_directory_fini(&dht->directory);
    dht_verified_fini(&dht->verified);
    dht_limits_fini(&dht->limits);
    dht_transactions_fini(&dht->transactions);
    free(dht->heir);
    free(dht->upkeep.join);
    for (int i = 0; i < 2; i++) {
        dht_table_fini(&dht->half[i].table);
        dht_votes_fini(&dht->half[i].votes);
    }
    free(dht);
}

/* -- For the parts ------------------------------------------------------------------------------------------- */

struct dht_half *dht_half_of(struct dht *dht, const struct addr *addr)
{
    return &dht->half[addr->family == 6];
}

size_t dht_n_nodes(const struct dht *dht)
{
    return dht_table_n(&dht->half[0].table) + dht_table_n(&dht->half[1].table);
}

unsigned dht_want(const struct dht *dht)
{
    return dht->half[0].is_wanted && dht->half[1].is_wanted ? DHT_WANT_4 | DHT_WANT_6 : 0;
}

size_t dht_send(struct dht *dht, const struct addr *to, const struct dht_message *m, size_t max)
{
    uint8_t bytes[DHT_ITEM_DATAGRAM_MAX];
    size_t n = dht_krpc_encode(m, bytes, max < sizeof bytes ? max : sizeof bytes);
    if (n == 0)
        return 0;
    dht->stats.n_bytes_out += n;
    dht->io.ops->datagram(dht->io.ctx, to, bytes, n);
    return n;
}

static uint64_t soft_timeout(uint64_t rtt_us)
{
    if (rtt_us == 0 || 2 * rtt_us > SOFT_MAX_US)
        return SOFT_MAX_US;
    return 2 * rtt_us > SOFT_MIN_US ? 2 * rtt_us : SOFT_MIN_US;
}

/* Only of those of our table from whom we heard lately, and who were not late since: who is dead is so once, however often we ask it.
 * Strangers who lie near a key may answer each step and be silent to all that costs them something. */
static bool is_expected(const struct dht_node *node, uint64_t now_us)
{
    return node && node->n_failures == 0 && !node->is_late && now_us < node->reply_us + DHT_WINDOW_LATELY_US;
}

/* How long it may take, and what it would mean if it does. */
static void set_time(struct dht *dht, uint64_t now_us, struct dht_transaction *t)
{
    const struct dht_node *node = dht_table_find(&dht_half_of(dht, &t->addr)->table, &t->addr);
    uint64_t rtt_us = node && node->rtt_us != 0 ? node->rtt_us : dht->rtt_us, soft_us = soft_timeout(rtt_us);
    dht_transactions_time(&dht->transactions, t, now_us + soft_us, now_us + DHT_HARD_US);
    t->is_far = 4 * rtt_us > 3 * soft_us;
    if (t->role != DHT_ROLE_STEP && t->role != DHT_ROLE_PAGE && t->role != DHT_ROLE_STORE)
        return;
    t->is_expected = is_expected(node, now_us);
    dht_transactions_walk(&dht->transactions, t);
}

struct dht_transaction *dht_ask(struct dht *dht, uint64_t now_us, const struct addr *to, struct dht_message *m,
                                enum dht_role role, uint64_t operation)
{
    uint8_t tid[DHT_TID_BYTES];
    struct dht_transaction *t = dht_transactions_open(&dht->transactions, tid);
    if (!t)
        return NULL;
    t->role = role;
    t->addr = *to;
    t->method = m->method;
    t->sent_us = now_us;
    t->operation = operation;
    set_time(dht, now_us, t);
    m->kind = DHT_QUERY;
    m->tid = (struct dht_span){tid, sizeof tid};
    m->has_id = true;
    m->id = dht_half_of(dht, to)->table.own;
    m->is_read_only = dht->config.is_read_only;
    dht->stats.n_queries_out++;
    (void)dht_send(dht, to, m, m->method == DHT_PUT ? DHT_ITEM_DATAGRAM_MAX : DHT_DATAGRAM_MAX);
    return t;
}

/* -- The window ---------------------------------------------------------------------------------------------- */

bool dht_may_ask(const struct dht *dht)
{
    return dht->transactions.n_air < dht->window.size && dht->transactions.n < DHT_TRANSACTIONS_MAX - PINGS;
}

static void note_answered(struct dht *dht, const struct dht_transaction *t)
{
    if (t->is_walk && (!t->is_late || t->is_far))
        dht_window_answered(&dht->window, t->sent_us, dht->transactions.n_air, t->is_expected);
}

static void note_late(struct dht *dht, uint64_t now_us, const struct dht_transaction *t)
{
    if (t->is_expected && !t->is_far && dht_table_late(&dht_half_of(dht, &t->addr)->table, &t->addr, t->sent_us))
        dht_window_late(&dht->window, now_us, t->sent_us);
}

static void note_lost(struct dht *dht, uint64_t now_us, const struct dht_transaction *t)
{
    if (t->is_expected && t->is_far)
        dht_window_late(&dht->window, now_us, t->sent_us);
}

/* -- Events ------------------------------------------------------------------------------------------------------ */

static void take_answer(struct dht *dht, uint64_t now_us, const struct addr *from, const struct dht_message *m)
{
    struct dht_transaction *found = dht_transactions_match(&dht->transactions, m->tid, from);
    if (!found)
        return; /* nobody asked, or too late */
    struct dht_transaction t = *found;
    note_answered(dht, found);
    dht_transactions_close(&dht->transactions, found);
    dht->stats.n_replies_in++;
    if (m->kind == DHT_ERROR) {
        dht->error = m->error;
        dht->error_by = t.addr;
    }
    if (t.role == DHT_ROLE_PROBE) {
        dht_probe_over(dht, now_us, &t, m);
        return;
    }
    dht_upkeep_told(dht, now_us, from, &m->ip);
    if (m->kind == DHT_REPLY)
        dht_upkeep_answered(dht, now_us, &t, m);
    dht_operation_answered(dht, now_us, &t, m);
}

static void take_overdue(struct dht *dht, uint64_t now_us)
{
    struct dht_transaction *t;
    while ((t = dht_transactions_overdue(&dht->transactions, now_us))) {
        if (!t->is_late && t->role != DHT_ROLE_PROBE) {
            dht_transactions_late(&dht->transactions, t);
            note_late(dht, now_us, t);
            dht_operation_late(dht, t);
            continue;
        }
        struct dht_transaction lost = *t;
        dht_transactions_close(&dht->transactions, t);
        note_lost(dht, now_us, &lost);
        dht->stats.n_timeouts++;
        if (lost.role == DHT_ROLE_PROBE) {
            dht_probe_over(dht, now_us, &lost, NULL);
            continue;
        }
        if (!lost.is_repeated)
            dht_upkeep_failed(dht, now_us, &lost.addr);
        dht_operation_lost(dht, &lost);
    }
}

/* What may follow from one thing is done until nothing follows. */
static void run(struct dht *dht, uint64_t now_us)
{
    take_overdue(dht, now_us);
    dht_bulk_run(dht, now_us);
    do {
        dht->wake_us = IO_NEVER;
        dht_upkeep_run(dht, now_us);
        dht_publications_run(dht, now_us);
        dht_handover_run(dht, now_us);
        dht->wake_us = IO_NEVER;
        dht_operations_run(dht, now_us);
    } while (dht->wake_us <= now_us);
}

void dht_datagram(struct dht *dht, uint64_t now_us, const struct addr *from, const uint8_t *bytes, size_t n)
{
    struct dht_message m;
    dht->now_us = now_us;
    dht->stats.n_bytes_in += n;
    if (n > IO_DATAGRAM_MAX || dht_krpc_decode(&m, bytes, n) != 0) {
        dht->stats.n_malformed++;
        return;
    }
    if (m.kind == DHT_QUERY) {
        dht->stats.n_queries_in++;
        dht_answer(dht, now_us, from, &m, n);
    } else {
        take_answer(dht, now_us, from, &m);
    }
    run(dht, now_us);
}

bool dht_expects(struct dht *dht, const struct addr *from, const uint8_t *bytes, size_t n)
{
    struct dht_message m;
    if (n > IO_DATAGRAM_MAX || dht_krpc_decode(&m, bytes, n) != 0 || m.kind == DHT_QUERY)
        return false;
    return dht_transactions_match(&dht->transactions, m.tid, from) != NULL;
}

void dht_tick(struct dht *dht, uint64_t now_us)
{
    dht->now_us = now_us;
    run(dht, now_us);
}

enum dht_link_use dht_link_event(struct dht *dht, uint64_t now_us, const struct io_event *event)
{
    dht->now_us = now_us;
    enum dht_link_use use = dht_bulk_event(dht, now_us, event);
    if (use != DHT_LINK_OTHERS)
        run(dht, now_us);
    return use;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t dht_deadline(const struct dht *dht)
{
    uint64_t first = earlier(dht->wake_us, dht_transactions_deadline(&dht->transactions));
    first = earlier(first, dht_operations_deadline(dht));
    first = earlier(first, dht_bulk_deadline(dht));
    first = earlier(first, dht_publications_deadline(dht));
    return earlier(first, dht_upkeep_deadline(dht));
}

/* -- Looking ------------------------------------------------------------------------------------------------------- */

size_t dht_n_good(const struct dht *dht)
{
    return dht_table_n_good(&dht->half[0].table, dht->now_us) + dht_table_n_good(&dht->half[1].table, dht->now_us);
}

int dht_last_error(const struct dht *dht, struct addr *by)
{
    *by = dht->error_by;
    return dht->error;
}

bool dht_is_joined(const struct dht *dht)
{
    return dht->upkeep.has_found_self && dht_n_nodes(dht) > 0;
}

size_t dht_good(const struct dht *dht, struct addr *out, size_t max)
{
    size_t n = 0;
    for (int i = 0; i < 2; i++) {
        const struct dht_table *table = &dht->half[i].table;
        for (size_t b = 0; b < table->n_buckets; b++) {
            size_t n_row;
            const struct dht_node *row = dht_table_row(table, b, &n_row);
            for (size_t j = 0; j < n_row && n < max; j++)
                if (dht_table_is_good(&row[j], dht->now_us))
                    out[n++] = row[j].addr;
        }
    }
    return n;
}

bool dht_external(const struct dht *dht, struct addr *out)
{
    const struct dht_half *half = &dht->half[!dht->half[0].has_external];
    if (!half->has_external)
        return false;
    *out = half->external;
    return true;
}

struct dht_id dht_own_id(const struct dht *dht)
{
    return dht->half[!dht->half[0].has_external && dht->half[1].has_external].table.own;
}

struct dht_id dht_directory_key(const struct hash *run, const char *kind, uint32_t layer, uint32_t row)
{
    struct buf text;
    struct dht_id key;
    buf_init(&text, 1024);
    buf_append(&text, "hanse-directory", 15);
    buf_append(&text, run->byte, sizeof run->byte);
    buf_append(&text, kind, strlen(kind));
    wire_put_u8(&text, 0); /* the kind ends here */
    wire_put_u32(&text, layer);
    wire_put_u32(&text, row);
    hash_sha1(key.byte, text.bytes, text.n);
    buf_fini(&text);
    return key;
}

size_t dht_read_n_silent(const struct dht *dht)
{
    return dht->n_silent;
}

bool dht_holds(const struct dht *dht, uint64_t now_us, const struct dht_id *key)
{
    return dht_directory_next(&dht->directory, key, NULL, now_us) != NULL;
}

struct dht_stats dht_stats(const struct dht *dht)
{
    struct dht_stats stats = dht->stats;
    stats.n_nodes = dht_n_nodes(dht);
    stats.n_entries = dht->directory.n;
    stats.n_items = dht->items.n;
    stats.n_peers = dht->peers.n;
    return stats;
}
