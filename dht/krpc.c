#include "dht/krpc.h"

#include <string.h>

#define VERSION_BYTES "HN\0\2" /* "v": who we are, and which revision */

static const struct {
    const char *name;
    enum dht_method method;
} methods[] = {
    {"ping", DHT_PING},
    {"find_node", DHT_FIND_NODE},
    {"get_peers", DHT_GET_PEERS},
    {"announce_peer", DHT_ANNOUNCE_PEER},
    {"get", DHT_GET},
    {"put", DHT_PUT},
    {"hanse_get", DHT_HANSE_GET},
    {"hanse_put", DHT_HANSE_PUT},
};
#define N_METHODS (sizeof methods / sizeof methods[0])

static const char *method_name(enum dht_method method)
{
    for (size_t i = 0; i < N_METHODS; i++)
        if (methods[i].method == method)
            return methods[i].name;
    return "unknown";
}

static enum dht_method method_of(struct dht_span name)
{
    for (size_t i = 0; i < N_METHODS; i++)
        if (strlen(methods[i].name) == name.n && memcmp(methods[i].name, name.bytes, name.n) == 0)
            return methods[i].method;
    return DHT_METHOD_UNKNOWN;
}

/* -- Reading ------------------------------------------------------------------------------------------ */

struct reader {
    const struct dht_bencode *doc;
    const struct dht_bencode_token *dictionary; /* "a" or "r" */
    bool is_bad;
};

/* A string of the dictionary with min..max bytes; absent is fine, another length is not. */
static struct dht_span field(struct reader *r, const char *key, size_t min, size_t max)
{
    const struct dht_bencode_token *token = dht_bencode_find(r->doc, r->dictionary, key);
    if (!token)
        return (struct dht_span){NULL, 0};
    struct dht_span span = dht_bencode_string(token);
    if (!span.bytes || span.n < min || span.n > max)
        r->is_bad = true;
    return span;
}

static bool field_id(struct reader *r, const char *key, struct dht_id *out)
{
    struct dht_span span = field(r, key, DHT_ID_BYTES, DHT_ID_BYTES);
    if (!span.bytes || r->is_bad)
        return false;
    memcpy(out->byte, span.bytes, DHT_ID_BYTES);
    return true;
}

static bool field_number(struct reader *r, const char *key, int64_t max, int64_t *out)
{
    const struct dht_bencode_token *token = dht_bencode_find(r->doc, r->dictionary, key);
    if (!token)
        return false;
    if (dht_bencode_integer(token, 0, max, out))
        return true;
    r->is_bad = true;
    return false;
}

static unsigned read_want(struct reader *r)
{
    const struct dht_bencode_token *list = dht_bencode_find(r->doc, r->dictionary, "want");
    unsigned want = 0;
    for (const struct dht_bencode_token *e = dht_bencode_each(r->doc, list, NULL); e; e = dht_bencode_each(r->doc, list, e)) {
        struct dht_span name = dht_bencode_string(e);
        if (name.n == 2 && memcmp(name.bytes, "n4", 2) == 0)
            want |= DHT_WANT_4;
        if (name.n == 2 && memcmp(name.bytes, "n6", 2) == 0)
            want |= DHT_WANT_6;
    }
    return want;
}

static void read_peers(struct dht_message *m, struct reader *r)
{
    const struct dht_bencode_token *list = dht_bencode_find(r->doc, r->dictionary, "values");
    const struct dht_bencode_token *e = NULL;
    while ((e = dht_bencode_each(r->doc, list, e)) && m->n_peers < DHT_MESSAGE_PEERS_MAX) {
        struct dht_span peer = dht_bencode_string(e);
        if (addr_from_compact(&m->peer[m->n_peers], peer.bytes, peer.n) && m->peer[m->n_peers].port != 0)
            m->n_peers++;
    }
}

/* Queries and replies keep the same names for the same things, so one function reads "a" and "r". */
static void read_body(struct dht_message *m, struct reader *r)
{
    int64_t number;
    m->has_id = field_id(r, "id", &m->id);
    m->has_target = field_id(r, "target", &m->target) || field_id(r, "info_hash", &m->target);
    m->token = field(r, "token", 0, DHT_DATAGRAM_MAX);
    m->k = field(r, "k", 32, 32);
    m->signature = field(r, "sig", 64, 64);
    m->salt = field(r, "salt", 0, DHT_DATAGRAM_MAX);
    m->cursor = field(r, "cursor", DHT_CURSOR_BYTES, DHT_CURSOR_BYTES);
    m->entries = field(r, "entries", 0, DHT_DATAGRAM_MAX);
    m->tags = field(r, "tags", DHT_TAG_BYTES, DHT_DATAGRAM_MAX);
    m->digests = field(r, "digests", 0, DHT_DATAGRAM_MAX);
    m->nodes = field(r, "nodes", 0, DHT_DATAGRAM_MAX);
    m->nodes6 = field(r, "nodes6", 0, DHT_DATAGRAM_MAX);
    if (m->nodes.n % 26 != 0 || m->nodes6.n % 38 != 0 || m->tags.n % DHT_TAG_BYTES != 0 || m->digests.n % DHT_DIGEST_BYTES != 0)
        r->is_bad = true;
    if ((m->has_seq = field_number(r, "seq", INT64_MAX, &number)))
        m->seq = (uint64_t)number;
    if ((m->has_cas = field_number(r, "cas", INT64_MAX, &number)))
        m->cas = (uint64_t)number;
    if ((m->has_max = field_number(r, "max", UINT16_MAX, &number)))
        m->max = (unsigned)number;
    m->is_digest = field_number(r, "digest", INT64_MAX, &number) && number != 0;
    if ((m->has_n = field_number(r, "n", UINT16_MAX, &number)))
        m->n = (unsigned)number;
    if (field_number(r, "port", UINT16_MAX, &number))
        m->port = (uint16_t)number;
    m->is_implied_port = field_number(r, "implied_port", INT64_MAX, &number) && number != 0;
    const struct dht_bencode_token *v = dht_bencode_find(r->doc, r->dictionary, "v");
    if (v)
        m->v = v->raw;
    m->want = read_want(r);
    read_peers(m, r);
}

static int read_error(struct dht_message *m, const struct dht_bencode *doc, const struct dht_bencode_token *list)
{
    const struct dht_bencode_token *first = dht_bencode_each(doc, list, NULL);
    int64_t code;
    if (!dht_bencode_integer(first, 0, INT16_MAX, &code))
        return HANSE_EPROTO;
    m->error = (int)code;
    m->error_text = dht_bencode_string(dht_bencode_each(doc, list, first));
    return 0;
}

/* The top level: t, y, v, ip, ro, and for a query its name. */
static int read_envelope(struct dht_message *m, struct reader *r)
{
    struct dht_span type = field(r, "y", 1, 1);
    struct dht_span version = field(r, "v", 0, DHT_DATAGRAM_MAX);
    struct dht_span ip = field(r, "ip", 0, DHT_DATAGRAM_MAX);
    int64_t ro;
    m->tid = field(r, "t", 1, DHT_TID_MAX);
    m->is_read_only = field_number(r, "ro", INT64_MAX, &ro) && ro != 0;
    m->version = version;
    m->is_ours = version.n >= 2 && memcmp(version.bytes, VERSION_BYTES, 2) == 0;
    if (ip.bytes && !addr_from_compact(&m->ip, ip.bytes, ip.n))
        m->ip.family = 0;
    if (r->is_bad || !m->tid.bytes || !type.bytes)
        return HANSE_EPROTO;
    m->kind = (enum dht_kind)type.bytes[0];
    return 0;
}

int dht_krpc_decode(struct dht_message *m, const void *bytes, size_t n)
{
    struct dht_bencode doc;
    memset(m, 0, offsetof(struct dht_message, peer));
    int err = dht_bencode_read(&doc, bytes, n);
    if (err || doc.token[0].type != DHT_BENCODE_DICTIONARY)
        return HANSE_EPROTO;
    const struct dht_bencode_token *root = &doc.token[0];
    struct reader r = {.doc = &doc, .dictionary = root};
    err = read_envelope(m, &r);
    if (err)
        return err;
    if (m->kind == DHT_ERROR)
        return read_error(m, &doc, dht_bencode_find(&doc, root, "e"));
    if (m->kind != DHT_QUERY && m->kind != DHT_REPLY)
        return HANSE_EPROTO;
    if (m->kind == DHT_QUERY) {
        struct dht_span name = field(&r, "q", 1, DHT_DATAGRAM_MAX);
        if (!name.bytes || r.is_bad)
            return HANSE_EPROTO;
        m->method = method_of(name);
    }
    r.dictionary = dht_bencode_find(&doc, root, m->kind == DHT_QUERY ? "a" : "r");
    read_body(m, &r);
    return r.is_bad || !m->has_id ? HANSE_EPROTO : 0;
}

/* -- Writing, keys in ascending order -------------------------------------------------------------------- */

static struct dht_span id_span(const struct dht_id *id, bool is_there)
{
    return (struct dht_span){is_there ? id->byte : NULL, DHT_ID_BYTES};
}

static void put_pad(struct dht_bencode_writer *w, size_t n)
{
    static const uint8_t zeros[DHT_DATAGRAM_MAX];
    if (n == 0)
        return;
    dht_bencode_put_text(w, "pad");
    dht_bencode_put_string(w, zeros, n < sizeof zeros ? n : sizeof zeros);
}

static void put_want(struct dht_bencode_writer *w, unsigned want)
{
    if (want == 0)
        return;
    dht_bencode_put_text(w, "want");
    dht_bencode_put_mark(w, 'l');
    if (want & DHT_WANT_4)
        dht_bencode_put_text(w, "n4");
    if (want & DHT_WANT_6)
        dht_bencode_put_text(w, "n6");
    dht_bencode_put_mark(w, 'e');
}

static void put_peers(struct dht_bencode_writer *w, const struct dht_message *m)
{
    if (m->n_peers == 0)
        return;
    dht_bencode_put_text(w, "values");
    dht_bencode_put_mark(w, 'l');
    for (size_t i = 0; i < m->n_peers; i++) {
        uint8_t compact[18];
        dht_bencode_put_string(w, compact, addr_compact(&m->peer[i], compact));
    }
    dht_bencode_put_mark(w, 'e');
}

static bool is_info_hash(const struct dht_message *m)
{
    return m->method == DHT_GET_PEERS || m->method == DHT_ANNOUNCE_PEER;
}

static void put_body(struct dht_bencode_writer *w, const struct dht_message *m)
{
    dht_bencode_put_mark(w, 'd');
    if (m->has_cas)
        dht_bencode_put_number(w, "cas", (int64_t)m->cas);
    dht_bencode_put_pair(w, "cursor", m->cursor);
    if (m->is_digest)
        dht_bencode_put_number(w, "digest", 1);
    dht_bencode_put_pair(w, "digests", m->digests);
    dht_bencode_put_pair(w, "entries", m->entries);
    dht_bencode_put_pair(w, "id", id_span(&m->id, m->has_id));
    if (m->is_implied_port)
        dht_bencode_put_number(w, "implied_port", 1);
    dht_bencode_put_pair(w, "info_hash", id_span(&m->target, m->has_target && is_info_hash(m)));
    dht_bencode_put_pair(w, "k", m->k);
    if (m->has_max)
        dht_bencode_put_number(w, "max", m->max);
    if (m->has_n)
        dht_bencode_put_number(w, "n", m->n);
    dht_bencode_put_pair(w, "nodes", m->nodes);
    dht_bencode_put_pair(w, "nodes6", m->nodes6);
    put_pad(w, m->n_pad);
    if (m->port != 0)
        dht_bencode_put_number(w, "port", m->port);
    dht_bencode_put_pair(w, "salt", m->salt);
    if (m->has_seq)
        dht_bencode_put_number(w, "seq", (int64_t)m->seq);
    dht_bencode_put_pair(w, "sig", m->signature);
    dht_bencode_put_pair(w, "tags", m->tags);
    dht_bencode_put_pair(w, "target", id_span(&m->target, m->has_target && !is_info_hash(m)));
    dht_bencode_put_pair(w, "token", m->token);
    if (m->v.bytes) {
        dht_bencode_put_text(w, "v");
        dht_bencode_put_raw(w, m->v.bytes, m->v.n);
    }
    put_peers(w, m);
    put_want(w, m->want);
    dht_bencode_put_mark(w, 'e');
}

static void put_error(struct dht_bencode_writer *w, int error)
{
    dht_bencode_put_text(w, "e");
    dht_bencode_put_mark(w, 'l');
    dht_bencode_put_integer(w, error);
    dht_bencode_put_text(w, dht_krpc_error_text(error));
    dht_bencode_put_mark(w, 'e');
}

size_t dht_krpc_encode(const struct dht_message *m, void *out, size_t max)
{
    struct dht_bencode_writer w;
    uint8_t compact[18], type = (uint8_t)m->kind;
    dht_bencode_writer_init(&w, out, max);
    dht_bencode_put_mark(&w, 'd');
    if (m->kind == DHT_QUERY) {
        dht_bencode_put_text(&w, "a");
        put_body(&w, m);
    }
    if (m->kind == DHT_ERROR)
        put_error(&w, m->error);
    if (m->ip.family != 0)
        dht_bencode_put_pair(&w, "ip", (struct dht_span){compact, addr_compact(&m->ip, compact)});
    if (m->kind == DHT_QUERY) {
        dht_bencode_put_text(&w, "q");
        dht_bencode_put_text(&w, method_name(m->method));
    }
    if (m->kind == DHT_REPLY) {
        dht_bencode_put_text(&w, "r");
        put_body(&w, m);
    }
    if (m->is_read_only)
        dht_bencode_put_number(&w, "ro", 1);
    dht_bencode_put_pair(&w, "t", m->tid);
    dht_bencode_put_pair(&w, "v", (struct dht_span){(const uint8_t *)VERSION_BYTES, 4});
    dht_bencode_put_pair(&w, "y", (struct dht_span){&type, 1});
    dht_bencode_put_mark(&w, 'e');
    return w.is_full ? 0 : w.n;
}

const char *dht_krpc_error_text(int error)
{
    switch (error) {
    case DHT_ERROR_SERVER:
        return "not stored";
    case DHT_ERROR_METHOD:
        return "unknown method";
    case DHT_ERROR_V_SIZE:
        return "v too big";
    case DHT_ERROR_SIGNATURE:
        return "bad signature";
    case DHT_ERROR_SALT_SIZE:
        return "salt too big";
    case DHT_ERROR_CAS:
        return "cas mismatch";
    case DHT_ERROR_SEQ:
        return "seq too low";
    default:
        return "bad request";
    }
}

/* -- Compact nodes ----------------------------------------------------------------------------------------- */

size_t dht_krpc_node_put(uint8_t out[38], const struct dht_id *id, const struct addr *addr)
{
    memcpy(out, id->byte, DHT_ID_BYTES);
    return DHT_ID_BYTES + addr_compact(addr, out + DHT_ID_BYTES);
}

bool dht_krpc_node(struct dht_span nodes, int family, size_t i, struct dht_id *id, struct addr *addr)
{
    size_t size = family == 4 ? 26 : 38;
    if (!nodes.bytes || (i + 1) * size > nodes.n)
        return false;
    const uint8_t *at = nodes.bytes + i * size;
    memcpy(id->byte, at, DHT_ID_BYTES);
    return addr_from_compact(addr, at + DHT_ID_BYTES, size - DHT_ID_BYTES);
}
