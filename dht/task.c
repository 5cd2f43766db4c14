#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "dht/id.h"
#include "dht/operation.h"

/* An answer may have three times the bytes of its question, so who hopes for much asks at length. */
#define PAD_PAGE 280
#define PAD_ITEM 360
#define PAD_PEERS 200
#define PAD_TOKEN 16
#define PAD_WAY 32 /* who does not know us yet pings us besides */

/* -- What users ask for -------------------------------------------------------------------------------------- */

/* Without memory for an operation it ends before it began. */
static void stored_nowhere(void (*done)(void *arg, uint64_t now_us, size_t n_stored), void *arg, uint64_t now_us)
{
    if (done)
        done(arg, now_us, 0);
}

void dht_task_find(struct dht *dht, uint64_t now_us, const struct dht_id *target, bool is_self)
{
    if (!dht_operation_new(dht, now_us, is_self ? DHT_TASK_SELF : DHT_TASK_BUCKET, target))
        dht_upkeep_found(dht, now_us, is_self);
}

void dht_task_publish(struct dht *dht, uint64_t now_us, const struct dht_id *key)
{
    if (!dht_operation_new(dht, now_us, DHT_TASK_PUBLISH, key))
        dht_publication_stored(dht, now_us, key, NULL, 0, 0);
}

bool dht_task_hand_over(struct dht *dht, uint64_t now_us, const struct dht_heir *heir, const struct dht_id *key)
{
    struct dht_operation *op = dht_operation_new(dht, now_us, DHT_TASK_HANDOVER, key);
    if (op)
        op->heir = *heir;
    return op != NULL;
}

void dht_store_entry(struct dht *dht, uint64_t now_us, const struct dht_id *key, const struct addr *addr, const void *bytes,
                     size_t n, void (*done)(void *arg, uint64_t now_us, size_t n_stored), void *arg)
{
    assert(n > 0 && n <= DHT_DIRECTORY_BYTES_MAX);
    struct dht_operation *op = dht_operation_new(dht, now_us, DHT_TASK_STORE, key);
    if (!op) {
        stored_nowhere(done, arg, now_us);
        return;
    }
    dht->entry_seq = now_us > dht->entry_seq ? now_us : dht->entry_seq + 1;
    struct dht_entry entry = {.writer = dht->peer, .seq = dht->entry_seq, .n_bytes = (uint16_t)n};
    entry.addr = dht_publication_addr(dht, addr);
    entry.expiry_s = (uint32_t)(now_us / 1000000) + DHT_DIRECTORY_TTL_S;
    memcpy(entry.bytes, bytes, n);
    op->n_raw = dht_entry_encode(&entry, key, dht->config.key, op->raw);
    op->done.stored = done;
    op->arg = arg;
}

void dht_read(struct dht *dht, uint64_t now_us, const struct dht_id *key,
              void (*done)(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked), void *arg)
{
    dht_read_early(dht, now_us, key, NULL, done, arg);
}

void dht_read_early(struct dht *dht, uint64_t now_us, const struct dht_id *key,
                    void (*some)(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n),
                    void (*done)(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked), void *arg)
{
    struct dht_read *read = calloc(1, sizeof *read);
    struct dht_operation *op = read ? dht_operation_new(dht, now_us, DHT_TASK_READ, key) : NULL;
    if (!op) {
        free(read);
        dht->n_silent = 0;
        done(arg, now_us, NULL, 0, 0);
        return;
    }
    read->some = some;
    op->read = read;
    op->done.read = done;
    op->arg = arg;
}

void dht_announce_peer(struct dht *dht, uint64_t now_us, const struct dht_id *info_hash,
                       void (*done)(void *arg, uint64_t now_us, size_t n_stored), void *arg)
{
    struct dht_operation *op = dht_operation_new(dht, now_us, DHT_TASK_ANNOUNCE, info_hash);
    if (!op) {
        stored_nowhere(done, arg, now_us);
        return;
    }
    op->port = dht->config.port;
    op->done.stored = done;
    op->arg = arg;
}

void dht_get_peers(struct dht *dht, uint64_t now_us, const struct dht_id *info_hash,
                   void (*done)(void *arg, uint64_t now_us, const struct addr *peer, size_t n), void *arg)
{
    struct dht_operation *op = dht_operation_new(dht, now_us, DHT_TASK_PEERS, info_hash);
    if (!op) {
        done(arg, now_us, NULL, 0);
        return;
    }
    op->done.peers = done;
    op->arg = arg;
}

void dht_put(struct dht *dht, uint64_t now_us, const struct dht_item *item, const uint64_t *cas,
             void (*done)(void *arg, uint64_t now_us, const struct dht_put_result *result), void *arg)
{
    static const struct dht_put_result nowhere;
    struct dht_id target = dht_item_target(item);
    struct dht_operation *op = dht_operation_new(dht, now_us, DHT_TASK_PUT, &target);
    if (!op) {
        if (done)
            done(arg, now_us, &nowhere);
        return;
    }
    *op->item = *item;
    op->has_cas = cas && item->is_mutable;
    op->cas = op->has_cas ? *cas : 0;
    op->done.put = done;
    op->arg = arg;
}

void dht_get(struct dht *dht, uint64_t now_us, const struct dht_id *target, const void *salt, size_t n_salt,
             void (*done)(void *arg, uint64_t now_us, const struct dht_item *item), void *arg)
{
    struct dht_operation *op = NULL;
    if (n_salt <= sizeof op->item->salt)
        op = dht_operation_new(dht, now_us, DHT_TASK_GET, target);
    if (!op) {
        done(arg, now_us, NULL);
        return;
    }
    if (n_salt > 0)
        memcpy(op->item->salt, salt, n_salt);
    op->item->n_salt = n_salt;
    op->done.item = done;
    op->arg = arg;
}

bool dht_task_carries_entry(enum dht_task task)
{
    return task == DHT_TASK_PUBLISH || task == DHT_TASK_STORE || task == DHT_TASK_HANDOVER;
}

/* -- Questions ----------------------------------------------------------------------------------------------- */

void dht_task_question(const struct dht *dht, const struct dht_operation *op, const struct dht_candidate *c,
                       struct dht_message *m)
{
    m->has_target = true;
    m->target = op->lookup.target;
    m->want = dht_want(dht);
    m->method = DHT_FIND_NODE;
    bool is_foreign = c->is_foreign || dht_foreign_has(&dht->foreign, &c->addr);
    m->n_pad = PAD_WAY + (m->want == (DHT_WANT_4 | DHT_WANT_6) ? 128 : 0);
    if (c->n_wide > 0) {
        m->target = dht_lookup_aside(&op->lookup, c);
        return;
    }
    if (op->task == DHT_TASK_ANNOUNCE || op->task == DHT_TASK_PEERS) {
        m->method = DHT_GET_PEERS;
        m->n_pad += op->task == DHT_TASK_PEERS ? PAD_PEERS : 0;
    } else if (op->task == DHT_TASK_PUT || op->task == DHT_TASK_GET) {
        m->method = DHT_GET;
        m->n_pad += op->task == DHT_TASK_GET ? PAD_ITEM : PAD_TOKEN;
        m->has_seq = op->task == DHT_TASK_PUT && op->item->is_mutable; /* who holds what we replace need not show it, */
        m->seq = m->has_seq ? op->item->seq : 0;                       /* and has room to tell the way */
    } else if (dht_task_carries_entry(op->task) && !is_foreign) {
        m->method = DHT_HANSE_GET;
        m->has_max = true; /* none: only the way and a token */
    } else if (op->task == DHT_TASK_READ && !is_foreign) {
        m->method = DHT_HANSE_GET;
        m->is_digest = dht_routes_kept(&dht->routes, &op->lookup.target) != NULL;
        if (c->n_token > 0)
            m->token = (struct dht_span){c->token, c->n_token};
        m->n_pad += PAD_PAGE; /* also for a token: it may be good no longer */
    }
}

bool dht_task_is_write(enum dht_task task)
{
    return task == DHT_TASK_PUBLISH || task == DHT_TASK_STORE || task == DHT_TASK_ANNOUNCE || task == DHT_TASK_PUT;
}

void dht_task_write(const struct dht_operation *op, const struct dht_candidate *c, struct dht_message *m)
{
    const struct dht_item *item = op->item;
    m->has_target = true;
    m->target = op->lookup.target;
    m->token = (struct dht_span){c->token, c->n_token};
    if (dht_task_carries_entry(op->task)) {
        m->method = DHT_HANSE_PUT;
        m->entries = (struct dht_span){op->raw, op->n_raw};
    } else if (op->task == DHT_TASK_ANNOUNCE) {
        m->method = DHT_ANNOUNCE_PEER;
        m->port = op->port;
        m->is_implied_port = m->port == 0;
    } else {
        m->method = DHT_PUT;
        m->v = (struct dht_span){item->v, item->n_v};
    }
    if (op->task == DHT_TASK_PUT && item->is_mutable) {
        m->k = (struct dht_span){item->key, sizeof item->key};
        m->signature = (struct dht_span){item->signature, sizeof item->signature};
        m->has_seq = true;
        m->seq = item->seq;
        m->has_cas = op->has_cas;
        m->cas = op->cas;
        if (item->n_salt > 0)
            m->salt = (struct dht_span){item->salt, item->n_salt};
    }
}

/* -- What answers bring ---------------------------------------------------------------------------------------- */

static void keep_peers(struct dht_operation *op, const struct addr *peer, size_t n)
{
    if (!op->peer)
        op->peer = calloc(DHT_GET_PEERS_MAX, sizeof *op->peer);
    for (size_t i = 0; op->peer && i < n && op->n_peers < DHT_GET_PEERS_MAX; i++) {
        size_t j = 0;
        while (j < op->n_peers && !addr_equal(&op->peer[j], &peer[i]))
            j++;
        if (j == op->n_peers)
            op->peer[op->n_peers++] = peer[i];
    }
}

static void keep_item(struct dht_operation *op, const struct dht_item *item)
{
    struct dht_id target = dht_item_target(item);
    if (!dht_id_equal(&target, &op->lookup.target) || (op->has_item && item->seq <= op->item->seq) || !dht_item_verify(item))
        return;
    *op->item = *item;
    op->has_item = true;
}

static void item_heard(struct dht_operation *op, const struct dht_message *m)
{
    struct dht_item item;
    int error;
    if (!m->v.bytes || dht_item_take(&item, m, &error) != 0)
        return;
    if (item.is_mutable) { /* an answer does not repeat the salt */
        memcpy(item.salt, op->item->salt, sizeof item.salt);
        item.n_salt = op->item->n_salt;
    }
    keep_item(op, &item);
}

static void note_held(struct dht_operation *op, uint64_t seq)
{
    if (!op->put.has_held || seq > op->put.held_seq)
        op->put.held_seq = seq;
    op->put.has_held = true;
}

void dht_task_heard(struct dht *dht, uint64_t now_us, struct dht_operation *op, const struct dht_candidate *c,
                    const struct dht_message *m)
{
    if (op->task == DHT_TASK_READ)
        dht_read_heard(dht, now_us, op, c, NULL, m);
    else if (op->task == DHT_TASK_PEERS)
        keep_peers(op, m->peer, m->n_peers);
    else if (op->task == DHT_TASK_GET)
        item_heard(op, m);
    else if (op->task == DHT_TASK_PUT && m->has_seq)
        note_held(op, m->seq);
}

void dht_task_refused(struct dht_operation *op, int error)
{
    op->put.n_other += error == DHT_ERROR_CAS;
    op->put.n_newer += error == DHT_ERROR_SEQ;
}

bool dht_task_is_satisfied(const struct dht_operation *op)
{
    return op->task == DHT_TASK_GET && op->has_item && !op->item->is_mutable;
}

/* -- At the end of the walk ------------------------------------------------------------------------------------ */

/* True when we are ourselves among the nearest. */
static bool is_near(const struct dht *dht, struct dht_operation *op)
{
    struct dht_candidate *nearest[2 * DHT_K];
    size_t n = dht_lookup_closest(&op->lookup, DHT_K, nearest, 2 * DHT_K);
    if (dht->config.is_read_only)
        return false;
    for (int i = 0; i < 2; i++) {
        size_t n_nearer = 0;
        for (size_t j = 0; j < n; j++)
            n_nearer += (nearest[j]->addr.family == 6) == (i == 1) &&
                        dht_id_compare(&op->lookup.target, &nearest[j]->id, &dht->half[i].table.own) < 0;
        if (n_nearer < DHT_K && (n == 0 || dht->half[i].is_wanted))
            return true;
    }
    return false;
}

/* Keeps our entry ourselves where we are near; only that serves anybody while we do not know our address. */
static void store_own(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    static const struct addr self; /* family 0: ourselves */
    struct wire_reader r;
    struct dht_entry entry;
    struct dht_span raw;
    wire_reader_init(&r, op->raw, op->n_raw);
    if (dht_entry_decode(&entry, &raw, &r) != 0)
        return; /* nothing is published there any more */
    if (is_near(dht, op))
        op->is_kept = dht_directory_store(&dht->directory, &op->lookup.target, &entry, raw, &self, now_us) == 0;
    op->n_stored += op->is_kept;
    if (addr_is_unspecified(&entry.addr))
        op->n_raw = 0; /* nobody else could do anything with it */
}

/* The same of an item. */
static void store_own_item(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    static const struct addr self; /* family 0: ourselves */
    const struct dht_item *held = dht_items_find(&dht->items, &op->lookup.target, now_us);
    if (!is_near(dht, op))
        return;
    if (held && held->is_mutable)
        note_held(op, held->seq);
    int error = dht_items_store(&dht->items, op->item, op->has_cas ? &op->cas : NULL, &self, now_us);
    op->n_stored += error == 0;
    dht_task_refused(op, error);
}

void dht_task_begin(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    if (op->task == DHT_TASK_READ)
        dht_read_begin(dht, now_us, op);
}

bool dht_task_arrived(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    if (op->task == DHT_TASK_PUBLISH)
        op->n_raw = dht_publication_entry(dht, now_us, &op->lookup.target, op->raw);
    if (op->task == DHT_TASK_PUBLISH || op->task == DHT_TASK_STORE) {
        store_own(dht, now_us, op);
        return op->n_raw > 0;
    }
    if (op->task == DHT_TASK_HANDOVER)
        return dht_handover_next(dht, now_us, op);
    if (op->task == DHT_TASK_PUT)
        store_own_item(dht, now_us, op);
    return dht_task_is_write(op->task);
}

static void end_peers(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    struct addr own[DHT_MESSAGE_PEERS_MAX];
    for (int family = 4; family <= 6; family += 2)
        keep_peers(op, own,
                   dht_peers_list(&dht->peers, &op->lookup.target, family, &dht->rng, now_us, own, DHT_MESSAGE_PEERS_MAX));
    op->done.peers(op->arg, now_us, op->peer, op->n_peers);
}

static void end_get(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    const struct dht_item *own = dht_items_find(&dht->items, &op->lookup.target, now_us);
    if (own)
        keep_item(op, own);
    op->done.item(op->arg, now_us, op->has_item ? op->item : NULL);
}

void dht_task_end(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    switch (op->task) {
    case DHT_TASK_SELF:
    case DHT_TASK_BUCKET:
        dht_upkeep_found(dht, now_us, op->task == DHT_TASK_SELF);
        break;
    case DHT_TASK_PUBLISH:
        dht_publication_stored(dht, now_us, &op->lookup.target, &op->lookup, op->n_stored, op->n_stored - op->is_kept);
        break;
    case DHT_TASK_HANDOVER:
        dht_handover_done(dht, now_us, op);
        break;
    case DHT_TASK_READ:
        dht_read_end(dht, now_us, op);
        break;
    case DHT_TASK_PEERS:
        end_peers(dht, now_us, op);
        break;
    case DHT_TASK_GET:
        end_get(dht, now_us, op);
        break;
    case DHT_TASK_PUT:
        op->put.n_stored = op->n_stored;
        if (op->done.put)
            op->done.put(op->arg, now_us, &op->put);
        break;
    case DHT_TASK_STORE:
    case DHT_TASK_ANNOUNCE:
        if (op->done.stored)
            op->done.stored(op->arg, now_us, op->n_stored);
        break;
    }
}
