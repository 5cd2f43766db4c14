/* Queries in, answers out.  Whoever has not shown a token gets at most three bytes for each it sent, the ping included that may
 * follow, so that nobody can turn us against a forged address. */
#include <string.h>

#include "dht/id.h"
#include "dht/node.h"

#define AMPLIFICATION 3
#define ANSWER_MIN 110 /* what an answer needs to say anything: then it has room for a ping besides */

struct answer {
    struct dht *dht;
    uint64_t now_us;
    const struct addr *from;
    const struct dht_message *query;
    size_t max;               /* bytes the answer may have */
    struct dht_message reply; /* points to what follows */
    uint8_t token[DHT_OWN_TOKEN_BYTES];
    uint8_t nodes[DHT_K * 26], nodes6[DHT_K * 38];
    uint8_t list[DHT_DATAGRAM_MAX]; /* entries or digests */
};

static size_t room(const struct answer *a)
{
    uint8_t bytes[DHT_ITEM_DATAGRAM_MAX];
    size_t n = dht_krpc_encode(&a->reply, bytes, a->max);
    return n == 0 ? 0 : a->max - n;
}

static void fail(struct answer *a, int error)
{
    a->dht->stats.n_refused++;
    a->reply.kind = DHT_ERROR;
    a->reply.error = error;
}

static void give_token(struct answer *a)
{
    dht_tokens_make(&a->dht->tokens, a->from, &a->query->target, a->now_us, a->token);
    a->reply.token = (struct dht_span){a->token, sizeof a->token};
}

/* As many of the nearest as there is room for. */
static struct dht_span list_nodes(struct answer *a, int family, uint8_t *out)
{
    struct dht_node node[DHT_K];
    size_t size = family == 4 ? 26 : 38, frame = strlen("6:nodes6NNN:"), space = room(a);
    size_t max = space > frame ? (space - frame) / size : 0;
    size_t n = dht_table_closest(&a->dht->half[family == 6].table, &a->query->target, node, max < DHT_K ? max : DHT_K);
    for (size_t i = 0; i < n; i++)
        dht_krpc_node_put(out + i * size, &node[i].id, &node[i].addr);
    return (struct dht_span){n > 0 || max > 0 ? out : NULL, n * size};
}

static void give_nodes(struct answer *a)
{
    unsigned want = a->query->want;
    if (want == 0)
        want = a->from->family == 6 ? DHT_WANT_6 : DHT_WANT_4;
    if (want & DHT_WANT_4)
        a->reply.nodes = list_nodes(a, 4, a->nodes);
    if (want & DHT_WANT_6)
        a->reply.nodes6 = list_nodes(a, 6, a->nodes6);
}

static bool has_token_for(const struct answer *a, const struct dht_id *key)
{
    return dht_tokens_check(&a->dht->tokens, a->from, key, a->now_us, a->query->token);
}

static bool has_token(const struct answer *a)
{
    return a->query->has_target && has_token_for(a, &a->query->target);
}

/* A write needs a key and a token for it. */
static bool may_write(struct answer *a)
{
    if (has_token(a))
        return true;
    fail(a, DHT_ERROR_PROTOCOL);
    return false;
}

/* Peers may take half of what the answer can hold: others ask with so few bytes that nodes alone would fill it. */
static void get_peers(struct answer *a)
{
    give_token(a);
    size_t space = room(a) / 2, size = a->from->family == 4 ? 8 : 21, frame = strlen("6:valuesle");
    size_t max = space > frame ? (space - frame) / size : 0;
    max = max < DHT_MESSAGE_PEERS_MAX ? max : DHT_MESSAGE_PEERS_MAX;
    a->reply.n_peers = dht_peers_list(&a->dht->peers, &a->query->target, a->from->family, &a->dht->rng, a->now_us, a->reply.peer,
                                      max);
    give_nodes(a);
}

static void announce_peer(struct answer *a)
{
    struct addr peer = *a->from;
    if (!may_write(a))
        return;
    if (!a->query->is_implied_port)
        peer.port = a->query->port;
    if (peer.port == 0)
        fail(a, DHT_ERROR_PROTOCOL);
    else if (dht_peers_store(&a->dht->peers, &a->query->target, &peer, a->now_us) != 0)
        fail(a, DHT_ERROR_SERVER);
}

/* An item goes before the nodes: who has found it needs no further way. */
static void get(struct answer *a)
{
    const struct dht_item *item = dht_items_find(&a->dht->items, &a->query->target, a->now_us);
    give_token(a);
    if (item) {
        struct dht_message with = a->reply;
        bool is_newer = !item->is_mutable || !a->query->has_seq || item->seq > a->query->seq;
        if (item->is_mutable) {
            with.has_seq = true;
            with.seq = item->seq;
        }
        if (item->is_mutable && is_newer) {
            with.k = (struct dht_span){item->key, sizeof item->key};
            with.signature = (struct dht_span){item->signature, sizeof item->signature};
        }
        if (is_newer)
            with.v = (struct dht_span){item->v, item->n_v};
        uint8_t bytes[DHT_ITEM_DATAGRAM_MAX];
        if (dht_krpc_encode(&with, bytes, a->max) > 0)
            a->reply = with;
    }
    give_nodes(a);
}

static bool may_verify(struct answer *a)
{
    if (dht_limits_allow(&a->dht->limits, DHT_LIMIT_SIGNATURES, a->from, true, a->now_us))
        return true;
    fail(a, DHT_ERROR_SERVER);
    return false;
}

/* The key follows from the item: others do not repeat it. */
static void put(struct answer *a)
{
    struct dht_item item;
    int error;
    if (dht_item_take(&item, a->query, &error) != 0) {
        fail(a, error);
        return;
    }
    struct dht_id target = dht_item_target(&item);
    if ((a->query->has_target && !dht_id_equal(&target, &a->query->target)) || !has_token_for(a, &target)) {
        fail(a, DHT_ERROR_PROTOCOL);
        return;
    }
    if (item.is_mutable && !may_verify(a))
        return;
    if (!dht_item_verify(&item)) {
        fail(a, DHT_ERROR_SIGNATURE);
        return;
    }
    error = dht_items_store(&a->dht->items, &item, a->query->has_cas ? &a->query->cas : NULL, a->from, a->now_us);
    if (error)
        fail(a, error);
}

#define FRAME (strlen("6:cursor32:7:entriesNNNN:") + DHT_CURSOR_BYTES)

static size_t n_wanted(const struct answer *a)
{
    return a->query->has_max ? a->query->max : SIZE_MAX;
}

/* More follows behind the last writer given. */
static void give_cursor(struct answer *a, const uint8_t *last)
{
    static const uint8_t start[DHT_CURSOR_BYTES];
    a->reply.cursor = (struct dht_span){last ? last : start, DHT_CURSOR_BYTES};
}

/* A page: entries in the order of their writers, as many as fit; the cursor is the last writer when more follow. */
static void list_entries(struct answer *a)
{
    const struct dht_record *record = NULL;
    const uint8_t *after = a->query->cursor.bytes;
    size_t space = room(a), n = 0, n_bytes = 0, max = n_wanted(a);
    while (n < max && (record = dht_directory_next(&a->dht->directory, &a->query->target, after, a->now_us))) {
        if (FRAME + n_bytes + record->n > space)
            break;
        memcpy(a->list + n_bytes, record->bytes, record->n);
        n_bytes += record->n;
        n++;
        after = record->writer.byte;
    }
    if (n_bytes > 0)
        a->reply.entries = (struct dht_span){a->list, n_bytes};
    if (n < max && record && space >= FRAME)
        give_cursor(a, after);
}

/* A page of digests, likewise. */
static void list_digests(struct answer *a)
{
    const struct dht_record *record = NULL;
    const uint8_t *after = a->query->cursor.bytes;
    size_t space = room(a), n = 0, max = n_wanted(a);
    if (space < FRAME)
        return;
    while (n < max && (record = dht_directory_next(&a->dht->directory, &a->query->target, after, a->now_us))) {
        if (FRAME + (n + 1) * DHT_DIGEST_BYTES > space)
            break;
        memcpy(a->list + n * DHT_DIGEST_BYTES, record->digest, DHT_DIGEST_BYTES);
        n++;
        after = record->writer.byte;
    }
    a->reply.digests = (struct dht_span){a->list, n * DHT_DIGEST_BYTES};
    if (n < max && record)
        give_cursor(a, after);
}

/* The entries of those who were asked for, in their order; the cursor says where it did not fit any more. */
static void list_tagged(struct answer *a)
{
    const struct dht_span *tags = &a->query->tags;
    const uint8_t *last = NULL;
    size_t space = room(a), n_bytes = 0;
    for (size_t at = 0; at < tags->n; at += DHT_TAG_BYTES) {
        const uint8_t *tag = tags->bytes + at;
        if (at > 0 && memcmp(tag - DHT_TAG_BYTES, tag, DHT_TAG_BYTES) >= 0) {
            fail(a, DHT_ERROR_PROTOCOL);
            return;
        }
        const struct dht_record *record = dht_directory_tagged(&a->dht->directory, &a->query->target, tag, a->now_us);
        if (!record)
            continue;
        if (FRAME + n_bytes + record->n > space) {
            give_cursor(a, last);
            break;
        }
        memcpy(a->list + n_bytes, record->bytes, record->n);
        n_bytes += record->n;
        last = record->writer.byte;
    }
    if (n_bytes > 0)
        a->reply.entries = (struct dht_span){a->list, n_bytes};
}

/* Entries when all of the key fit, else digests of which the asker picks what it does not have; a page of either when it asked
 * for what follows a cursor. */
static void list(struct answer *a)
{
    size_t n_bytes, n = dht_directory_count(&a->dht->directory, &a->query->target, a->now_us, &n_bytes);
    a->reply.has_n = true;
    a->reply.n = (unsigned)n;
    bool is_page = a->query->cursor.bytes || a->query->has_max;
    if (a->query->is_digest || (!is_page && FRAME + n_bytes > room(a)))
        list_digests(a);
    else
        list_entries(a);
}

/* Who shows a token knows the way, and wants what is here; who comes for the first time wants both. */
static void hanse_get(struct answer *a)
{
    bool is_known = has_token(a), wants_way = !a->query->cursor.bytes && !a->query->tags.bytes;
    give_token(a);
    if (wants_way && !is_known)
        give_nodes(a);
    if (a->query->tags.bytes)
        list_tagged(a);
    else if (n_wanted(a) > 0)
        list(a);
    if (wants_way && is_known)
        give_nodes(a);
}

/* What a store of ours says to an entry, as an error to answer; 0 when it is kept. */
static int keep_entry(struct answer *a, const struct dht_entry *entry, struct dht_span raw)
{
    struct dht *dht = a->dht;
    const struct dht_id *key = &a->query->target;
    if (!dht_entry_may_call(entry) || dht_entry_check_time(entry, a->now_us) != 0)
        return DHT_ERROR_PROTOCOL;
    if (!dht_entry_is_known(&dht->verified, key, raw) &&
        !dht_limits_allow(&dht->limits, DHT_LIMIT_SIGNATURES, a->from, true, a->now_us))
        return DHT_ERROR_SERVER;
    if (!dht_entry_verify(&dht->verified, key, entry, raw))
        return DHT_ERROR_SIGNATURE;
    int err = dht_directory_store(&dht->directory, key, entry, raw, a->from, a->now_us);
    if (err == HANSE_EGONE)
        return DHT_ERROR_SEQ;
    return err ? DHT_ERROR_SERVER : 0;
}

/* An entry that could be one but for its size has an error of its own. */
static bool is_oversized(struct dht_span entries)
{
    return entries.n > DHT_ENTRY_MAX ||
           (entries.n >= 2 && (size_t)(entries.bytes[0] | entries.bytes[1] << 8) > DHT_DIRECTORY_BYTES_MAX);
}

static void hanse_put(struct answer *a)
{
    struct wire_reader r;
    struct dht_entry entry;
    struct dht_span raw;
    if (!may_write(a))
        return;
    wire_reader_init(&r, a->query->entries.bytes, a->query->entries.n);
    if (dht_entry_decode(&entry, &raw, &r) != 0 || !wire_done(&r)) {
        fail(a, is_oversized(a->query->entries) ? DHT_ERROR_V_SIZE : DHT_ERROR_PROTOCOL);
        return;
    }
    int error = keep_entry(a, &entry, raw);
    if (error)
        fail(a, error);
}

static void act(struct answer *a)
{
    enum dht_method method = a->query->method;
    if (method == DHT_METHOD_UNKNOWN) {
        fail(a, DHT_ERROR_METHOD);
        return;
    }
    if (method != DHT_PING && method != DHT_PUT && !a->query->has_target) {
        fail(a, DHT_ERROR_PROTOCOL);
        return;
    }
    switch (method) {
    case DHT_FIND_NODE:
        give_nodes(a);
        break;
    case DHT_GET_PEERS:
        get_peers(a);
        break;
    case DHT_ANNOUNCE_PEER:
        announce_peer(a);
        break;
    case DHT_GET:
        get(a);
        break;
    case DHT_PUT:
        put(a);
        break;
    case DHT_HANSE_GET:
        hanse_get(a);
        break;
    case DHT_HANSE_PUT:
        hanse_put(a);
        break;
    default:
        break; /* a ping needs no more than our id */
    }
}

void dht_answer(struct dht *dht, uint64_t now_us, const struct addr *from, const struct dht_message *m, size_t n_request)
{
    if (dht->config.is_read_only || (dht->config.is_closed && !m->is_ours))
        return;
    struct answer a;
    memset(&a, 0, offsetof(struct answer, reply.peer)); /* what is behind is filled before it is used */
    a.dht = dht;
    a.now_us = now_us;
    a.from = from;
    a.query = m;
    bool is_proven = m->token.n > 0 && has_token(&a);
    if (!dht_limits_allow(&dht->limits, DHT_LIMIT_QUERIES, from, is_proven, now_us)) {
        dht->stats.n_refused++;
        return;
    }
    size_t most = m->method == DHT_GET ? DHT_ITEM_DATAGRAM_MAX : DHT_DATAGRAM_MAX;
    size_t budget = is_proven ? 2 * most : n_request * AMPLIFICATION;
    bool is_doubted = dht_upkeep_doubts(dht, now_us, from, m);
    size_t max = is_doubted && budget >= ANSWER_MIN + DHT_PING_MAX ? budget - DHT_PING_MAX : budget;
    a.max = max < most ? max : most;
    a.reply.kind = DHT_REPLY;
    a.reply.tid = m->tid;
    a.reply.ip = *from;
    a.reply.has_id = true;
    a.reply.id = dht_half_of(dht, from)->table.own;
    act(&a);
    size_t n_sent = dht_send(dht, from, &a.reply, a.max);
    if (is_doubted && n_sent + DHT_PING_MAX <= budget)
        dht_upkeep_asked(dht, now_us, from);
}
