/**
 * tests/fuzz/fuzz_dht.h - a node to be fuzzed, and the tokens and signatures that random bytes never have, so that what lies
 * behind the checks is reached too.  The node's promises are held at each datagram that it sends.
 */
#ifndef TESTS_FUZZ_DHT_H
#define TESTS_FUZZ_DHT_H

#include <string.h>

#include "dht/entry.h"
#include "dht/item.h"
#include "fuzz.h"

#define SIGNED_KEYS 4
#define SIGNED_EPOCH_US 1767225600000000u

static inline const struct key *signed_key(size_t i)
{
    static struct key *key[SIGNED_KEYS];
    uint8_t seed[KEY_SEED_BYTES] = {(uint8_t)(1 + i % SIGNED_KEYS)};
    if (!key[i % SIGNED_KEYS] && key_new(seed, &key[i % SIGNED_KEYS]) != 0)
        abort();
    return key[i % SIGNED_KEYS];
}

/* Signs anew each entry of `entries` that decodes, and what cannot be read is left as it is.  With `is_now` its time is good. */
static inline struct dht_span signed_entries(struct dht_span entries, const struct dht_id *target, uint64_t now_us, bool is_now,
                                             uint8_t out[DHT_DATAGRAM_MAX])
{
    struct wire_reader r;
    struct dht_entry entry;
    struct dht_span raw;
    size_t n = 0;
    wire_reader_init(&r, entries.bytes, entries.n);
    while (wire_left(&r) > 0 && dht_entry_decode(&entry, &raw, &r) == 0 && n + DHT_ENTRY_MAX <= DHT_DATAGRAM_MAX) {
        const struct key *key = signed_key(entry.writer.byte[0]);
        entry.writer = key_peer_id(key);
        if (is_now)
            entry.expiry_s = (uint32_t)(now_us / 1000000) + entry.expiry_s % 400;
        n += dht_entry_encode(&entry, target, key, out + n);
    }
    return n > 0 ? (struct dht_span){out, n} : entries;
}

/* Signs the mutable item of a message, which then has another target. */
static inline void signed_item(struct dht_message *m, struct dht_item *item)
{
    int error;
    if (!m->k.bytes || dht_item_take(item, m, &error) != 0 || !item->is_mutable)
        return;
    dht_item_sign(item, signed_key(m->k.bytes[0]));
    m->target = dht_item_target(item);
    m->k = (struct dht_span){item->key, sizeof item->key};
    m->signature = (struct dht_span){item->signature, sizeof item->signature};
}

struct fuzz_stage {
    struct dht *dht;
    uint64_t now_us;
    size_t n_asked; /* bytes of the question being answered; 0: the node speaks by itself */
    bool has_token; /* and it showed a true token */
    struct addr to; /* the last datagram that the node sent */
    uint8_t last[DHT_ITEM_DATAGRAM_MAX];
    size_t n_last;
    void (*heard)(struct fuzz_stage *stage, const struct addr *to, const struct dht_message *m); /* NULL: nobody wants to know */
};

static inline void fuzz_stage_sent(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    struct fuzz_stage *stage = ctx;
    struct dht_message m;
    if (n > DHT_ITEM_DATAGRAM_MAX || dht_krpc_decode(&m, bytes, n) != 0)
        abort();
    if (m.kind != DHT_QUERY && n > 3 * stage->n_asked && !stage->has_token)
        abort();
    stage->to = *to;
    memcpy(stage->last, bytes, n);
    stage->n_last = n;
    if (stage->heard)
        stage->heard(stage, to, &m);
}

static inline void fuzz_stage_init(struct fuzz_stage *stage)
{
    static const struct io_ops ops = {.datagram = fuzz_stage_sent};
    struct io io = {&ops, stage};
    struct dht_config config = {.key = signed_key(0), .port = 4100, .seed = 1};
    *stage = (struct fuzz_stage){.now_us = SIGNED_EPOCH_US};
    if (dht_new(&config, &io, stage->now_us, &stage->dht) != 0)
        abort();
}

static inline void fuzz_stage_fini(struct fuzz_stage *stage)
{
    dht_free(stage->dht);
}

/* The answer, if any, is in stage->last. */
static inline void fuzz_stage_ask(struct fuzz_stage *stage, const struct addr *from, const struct dht_message *m)
{
    uint8_t bytes[IO_DATAGRAM_MAX];
    stage->n_last = 0;
    stage->n_asked = dht_krpc_encode(m, bytes, sizeof bytes);
    stage->has_token = m->token.n > 0;
    dht_datagram(stage->dht, stage->now_us, from, bytes, stage->n_asked);
    stage->n_asked = 0;
    stage->has_token = false;
}

/* What the node gives out under a key is signed and not over, in the order of the writers, each of them once. */
static inline void fuzz_stage_check(struct dht_span entries, const struct dht_id *key, uint64_t now_us)
{
    static struct dht_verified verified;
    struct peer_id before = {{0}};
    struct wire_reader r;
    struct dht_entry entry;
    struct dht_span raw;
    wire_reader_init(&r, entries.bytes, entries.n);
    for (size_t n = 0; wire_left(&r) > 0; n++) {
        if (dht_entry_decode(&entry, &raw, &r) != 0 || dht_entry_check_time(&entry, now_us) != 0)
            abort();
        if (!dht_entry_verify(&verified, key, &entry, raw) || (n > 0 && peer_id_compare(&before, &entry.writer) >= 0))
            abort();
        before = entry.writer;
    }
}

static inline void fuzz_stage_read_back(struct fuzz_stage *stage, const struct dht_id *key)
{
    static const struct addr reader = {.family = 4, .ip = {90, 1, 1, 1}, .port = 9};
    struct dht_message m = {.kind = DHT_QUERY, .method = DHT_HANSE_GET, .has_id = true, .has_target = true, .target = *key};
    struct dht_message answer;
    m.tid = (struct dht_span){(const uint8_t *)"rd", 2};
    m.n_pad = 300;
    fuzz_stage_ask(stage, &reader, &m);
    if (stage->n_last > 0 && dht_krpc_decode(&answer, stage->last, stage->n_last) == 0 && answer.kind == DHT_REPLY)
        fuzz_stage_check(answer.entries, key, stage->now_us);
}

/* Hands on an input's messages, each behind a byte of choices and two of length, and lets a little time pass after each. */
static inline void fuzz_stage_play(struct fuzz_stage *stage, const uint8_t *data, size_t n,
                                   void (*message)(uint8_t choices, const uint8_t *bytes, size_t n))
{
    for (size_t i = 0; n >= 3 && i < 64; i++) {
        uint8_t choices = data[0];
        size_t size = (size_t)data[1] << 8 | data[2];
        data += 3;
        n -= 3;
        size = size < n ? size : n;
        message(choices, data, size);
        data += size;
        n -= size;
        stage->now_us += 10000;
        dht_tick(stage->dht, stage->now_us);
    }
}

#endif
