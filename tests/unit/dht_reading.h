/**
 * tests/unit/dht_reading.h - one read of the directory without a network, and the holders that the test plays.
 */
#ifndef TESTS_UNIT_DHT_READING_H
#define TESTS_UNIT_DHT_READING_H

#include <string.h>

#include "dht/operation.h"

#define NOW_US (SIM_EPOCH_S * 1000000)
#define SIM_EPOCH_S UINT64_C(1767225600)
#define WRITERS 40

static struct key *key_of_writer[WRITERS];
static struct dht *dht;
static struct dht_operation *op;
static const struct dht_id target = {{7}};
static size_t n_some, n_given;
static struct dht_entry given[WRITERS];

static inline void no_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    (void)ctx;
    (void)to;
    (void)bytes;
    (void)n;
}

static size_t n_opened;

static inline io_link on_open(void *ctx, const struct addr *to, const struct peer_id *expect)
{
    (void)ctx;
    (void)to;
    (void)expect;
    return ++n_opened;
}

static const struct io_ops ops = {.datagram = no_datagram, .link_open = on_open};

static inline void setup(void)
{
    struct io io = {&ops, NULL};
    for (size_t i = 0; i < WRITERS; i++) {
        uint8_t seed[KEY_SEED_BYTES] = {(uint8_t)(i + 1)};
        ck_assert_int_eq(key_new(seed, &key_of_writer[i]), 0);
    }
    struct dht_config config = {.key = key_of_writer[0], .is_read_only = true};
    ck_assert_int_eq(dht_new(&config, &io, NOW_US, &dht), 0);
}

static inline void teardown(void)
{
    dht_operation_free(op);
    dht_free(dht);
    for (size_t i = 0; i < WRITERS; i++)
        key_free(key_of_writer[i]);
}

static inline void on_some(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n)
{
    (void)arg;
    (void)now_us;
    (void)entry;
    n_some += n;
}

static inline void on_done(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    (void)arg;
    (void)now_us;
    (void)n_asked;
    n_given = n;
    memcpy(given, entry, n * sizeof *entry);
}

/* A read as the line would begin it, with one node that answered, so that what it finds is kept. */
static inline void begin(void)
{
    static const struct addr addr = {.family = 4, .ip = {10, 9, 9, 9}, .port = 1};
    op = calloc(1, sizeof *op);
    op->read = calloc(1, sizeof *op->read);
    ck_assert(op && op->read);
    op->task = DHT_TASK_READ;
    op->read->some = on_some;
    op->done.read = on_done;
    dht_lookup_init(&op->lookup, &target, DHT_K, 1);
    struct dht_candidate *c = dht_lookup_start(&op->lookup, &target, &addr, 0);
    ck_assert_ptr_nonnull(c);
    c->step = DHT_STEP_ANSWERED;
    dht_read_begin(dht, NOW_US, op);
    n_some = n_opened = 0;
}

static inline void end(void)
{
    dht_routes_keep(&dht->routes, &op->lookup, NOW_US);
    dht_read_end(dht, NOW_US, op);
    dht_operation_free(op);
    op = NULL;
}

/* -- Holders ---------------------------------------------------------------------------------------------- */

struct holder {
    struct dht_candidate c;
    struct dht_directory store;
    size_t n_asked; /* for entries by tags */
    size_t n_tags;
};

static inline void holder_init(struct holder *h, uint8_t i)
{
    memset(h, 0, sizeof *h);
    h->c.addr = (struct addr){.family = 4, .ip = {10, 0, 0, i}, .port = 4100};
    h->c.id.byte[19] = i;
    dht_directory_init(&h->store);
}

static inline void hold(struct holder *h, size_t writer, uint64_t seq, size_t n_bytes)
{
    uint8_t raw[DHT_ENTRY_MAX];
    struct dht_entry e = {.writer = key_peer_id(key_of_writer[writer]), .seq = seq, .n_bytes = (uint16_t)n_bytes};
    e.addr = (struct addr){.family = 4, .ip = {10, 1, 1, 1}, .port = 4100};
    e.expiry_s = (uint32_t)SIM_EPOCH_S + 300;
    struct dht_span span = {raw, dht_entry_encode(&e, &target, key_of_writer[writer], raw)};
    ck_assert_int_eq(dht_directory_store(&h->store, &target, &e, span, &h->c.addr, NOW_US), 0);
}

/* Lists all digests of the holder as its answer to a step of the walk. */
static inline void lists(struct holder *h)
{
    uint8_t digests[DHT_DIRECTORY_KEY_MAX * DHT_DIGEST_BYTES];
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = h->c.id};
    for (size_t i = 0; i < h->store.n; i++)
        memcpy(digests + i * DHT_DIGEST_BYTES, h->store.record[i]->digest, DHT_DIGEST_BYTES);
    m.digests = (struct dht_span){digests, h->store.n * DHT_DIGEST_BYTES};
    dht_read_heard(dht, NOW_US, op, &h->c, NULL, &m);
}

/* Answers a question for tags: up to `max` entries, then a cursor. */
static inline void answers(struct holder *h, struct dht_page *page, size_t max)
{
    struct dht_message q = {0}, m = {.kind = DHT_REPLY, .has_id = true, .id = h->c.id};
    uint8_t entries[8 * DHT_ENTRY_MAX];
    size_t n = 0;
    dht_read_question(op, page, &q);
    ck_assert(q.method == DHT_HANSE_GET && q.tags.n > 0 && q.tags.n % DHT_TAG_BYTES == 0);
    h->n_asked++;
    h->n_tags += q.tags.n / DHT_TAG_BYTES;
    static const uint8_t nobody[DHT_CURSOR_BYTES];
    const struct dht_record *last = NULL;
    for (size_t at = 0; at < q.tags.n; at += DHT_TAG_BYTES) {
        const struct dht_record *record = dht_directory_tagged(&h->store, &target, q.tags.bytes + at, NOW_US);
        if (!record)
            continue;
        if (n == max) {
            m.cursor = (struct dht_span){last ? last->writer.byte : nobody, DHT_CURSOR_BYTES};
            break;
        }
        memcpy(entries + m.entries.n, record->bytes, record->n);
        m.entries = (struct dht_span){entries, m.entries.n + record->n};
        last = record;
        n++;
    }
    dht_read_heard(dht, NOW_US, op, NULL, page, &m);
}

/* Answers all that is asked of these holders. */
static inline void go(struct holder *h, size_t n, size_t max)
{
    struct dht_page *page;
    while ((page = dht_read_next(dht, NOW_US, op))) {
        size_t i = 0;
        while (!addr_equal(&h[i].c.addr, &page->addr))
            ck_assert_uint_lt(++i, n);
        answers(&h[i], page, max);
    }
}

/* A list of entries that do not exist. */
static inline void invents(struct dht_candidate *c, size_t n)
{
    static uint8_t digests[2 * DHT_DIRECTORY_KEY_MAX * DHT_DIGEST_BYTES];
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = c->id};
    for (size_t i = 0; i < n; i++) {
        memset(digests + i * DHT_DIGEST_BYTES, (int)(i % 255), DHT_DIGEST_BYTES);
        digests[i * DHT_DIGEST_BYTES + 15] = (uint8_t)(i / 255);
        digests[i * DHT_DIGEST_BYTES + 7] = (uint8_t)i;
    }
    m.digests = (struct dht_span){digests, n * DHT_DIGEST_BYTES};
    dht_read_heard(dht, NOW_US, op, c, NULL, &m);
}

#endif
