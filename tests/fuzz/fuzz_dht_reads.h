/**
 * tests/fuzz/fuzz_dht_reads.h - the strangers of a directory key, as a fuzzer plays them: who wrote what under it, and holders that
 * list and give it, or lie.
 *
 * Everything that writers ever say is signed once for all runs.  Holders lie on the way to the key like rungs: number 0 is the nearest,
 * and each names some that are nearer.  What a holder does follows from its manner, eight bytes of the input.
 */
#ifndef TESTS_FUZZ_DHT_READS_H
#define TESTS_FUZZ_DHT_READS_H

#include <string.h>

#include "dht/id.h"
#include "dht/operation.h"
#include "fuzz_dht.h"

#define N_WRITERS 96 /* of which the first half have long entries */
#define N_HOLDERS 100
#define N_MANNERS 8
#define MANNER_BYTES 8
#define ANSWER_ROOM 780 /* for entries or digests, beside the way */
#define EPOCH_S ((uint32_t)(SIGNED_EPOCH_US / 1000000))

/* -- What writers said --------------------------------------------------------------------------------------------- */

enum version { PLAIN, NEWER, WITHDRAWN, TWIN, SHORT, OVER, FAR_AHEAD, NOWHERE, FALSE_SIGNATURE, N_VERSIONS };

struct said {
    struct dht_entry entry;
    uint8_t raw[DHT_ENTRY_MAX], digest[DHT_DIGEST_BYTES];
    size_t n;
};

static const struct dht_id fuzz_key = {{7, 77}};

/* In the order of their ids, none of which begins with one of the last sixteen bytes. */
static inline const struct key *writer_key(size_t w)
{
    static struct key *key[N_WRITERS];
    static size_t n_seeds;
    for (size_t n = 0; !key[N_WRITERS - 1] && n < N_WRITERS;) {
        uint8_t seed[KEY_SEED_BYTES] = {9, (uint8_t)n_seeds++};
        struct key *made;
        if (key_new(seed, &made) != 0)
            abort();
        struct peer_id id = key_peer_id(made), other;
        if (id.byte[0] >= 0xf0) {
            key_free(made);
            continue;
        }
        size_t at = n++;
        for (; at > 0 && (other = key_peer_id(key[at - 1]), peer_id_compare(&id, &other) < 0); at--)
            key[at] = key[at - 1];
        key[at] = made;
    }
    return key[w];
}

static inline struct said *say_it(size_t w, enum version v)
{
    static const uint32_t life_s[N_VERSIONS] = {300, 300, 300, 300, 5, 0, 1000, 300, 300};
    static const uint8_t seq[N_VERSIONS] = {1, 2, 3, 1, 4, 9, 9, 5, 6};
    struct said *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->entry = (struct dht_entry){.writer = key_peer_id(writer_key(w)), .seq = seq[v], .expiry_s = EPOCH_S + life_s[v]};
    s->entry.addr = (struct addr){.family = 4, .ip = {60, (uint8_t)w, 1, 1}, .port = 4100};
    if (v == NOWHERE)
        s->entry.addr = (struct addr){.family = 4};
    s->entry.n_bytes = v == WITHDRAWN ? 0 : w < N_WRITERS / 2 ? 600 : 40;
    memset(s->entry.bytes, v, s->entry.n_bytes);
    s->n = dht_entry_encode(&s->entry, &fuzz_key, writer_key(w), s->raw);
    if (v == FALSE_SIGNATURE)
        memset(s->raw + s->n - KEY_SIGNATURE_BYTES, 0xff, KEY_SIGNATURE_BYTES);
    dht_entry_digest(&s->entry, (struct dht_span){s->raw, s->n}, s->digest);
    return s;
}

static inline const struct said *said(size_t w, enum version v)
{
    static struct said *all[N_WRITERS][N_VERSIONS];
    if (!all[w][v])
        all[w][v] = say_it(w, v);
    return all[w][v];
}

/* The first writer whose id is not before these bytes, or is behind them. */
static inline size_t writer_from(const uint8_t *id, size_t n_id, bool is_behind)
{
    size_t low = 0, high = N_WRITERS;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (memcmp(said(middle, PLAIN)->entry.writer.byte, id, n_id) < (is_behind ? 1 : 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* -- Holders ------------------------------------------------------------------------------------------------------- */

enum timing { AT_ONCE, WHEN_TOLD, NEVER, EVERY_OTHER };
enum lie { NO_LIE, LIE_SIGNATURE, LIE_SAME_CURSOR, LIE_NO_END, LIE_EMPTY_PAGE, LIE_NOTHING, LIE_UNASKED, LIE_GARBAGE };
enum on_step { STEP_GIVES, STEP_COUNTS, STEP_KNOWS_NOTHING, STEP_REFUSES };
enum on_link { LINK_WHEN_TOLD, LINK_UP, LINK_DOWN, LINK_ANSWERS };

/* u8 holders | u8 timing (2 bits), on_step (2), lie (3), foreign | u8 first writer | u8 writers | u8 version (4 bits), way (4) |
 * u8 inventions | u8 salt of these (odd: under writers' tags) | u8 entries more than it has (6 bits), on_link (2) */
struct manner {
    uint8_t n_holders;
    enum timing timing;
    enum on_step on_step;
    enum lie lie;
    bool is_foreign;
    size_t first, n; /* writers of whom it has */
    enum version version;
    uint8_t way;
    size_t n_inventions;
    uint8_t salt;
    unsigned n_more;
    enum on_link on_link;
};

static inline struct manner manner_read(const uint8_t b[MANNER_BYTES])
{
    struct manner m = {.n_holders = b[0] % (N_HOLDERS + 1), .timing = b[1] & 3, .on_step = b[1] >> 2 & 3, .lie = b[1] >> 4 & 7};
    m.is_foreign = b[1] >> 7;
    m.first = b[2] % N_WRITERS;
    m.n = b[3] < N_WRITERS - m.first ? b[3] : N_WRITERS - m.first;
    m.version = (b[4] & 15) % N_VERSIONS;
    m.way = b[4] >> 4;
    m.n_inventions = b[5];
    m.salt = b[6];
    m.n_more = 4u * (b[7] & 63);
    m.on_link = b[7] >> 6;
    return m;
}

/* It does what a node of ours would. */
static inline bool is_honest(const struct manner *m)
{
    return m->timing == AT_ONCE && m->lie == NO_LIE && m->on_step <= STEP_COUNTS && m->n_inventions == 0 && !m->is_foreign &&
           m->n_more == 0 && m->n > 0 &&
           (m->version == PLAIN || m->version == NEWER || m->version == TWIN || m->version == WITHDRAWN);
}

static inline struct peer_id holder_peer(size_t i)
{
    return (struct peer_id){{1, (uint8_t)i, 3}};
}

static inline struct addr holder_addr(size_t i, bool is_v6)
{
    if (is_v6)
        return (struct addr){.family = 6, .ip = {0xfd, (uint8_t)i, [15] = 1}, .port = 4100};
    return (struct addr){.family = 4, .ip = {10, (uint8_t)i, 1, 1}, .port = 4100};
}

static inline size_t holder_at(const struct addr *addr)
{
    return addr->ip[0] == 10 || addr->ip[0] == 0xfd ? addr->ip[1] : N_HOLDERS;
}

static inline struct dht_id holder_id(size_t i)
{
    static struct hash hash[N_HOLDERS];
    static bool is_known[N_HOLDERS];
    struct peer_id peer = holder_peer(i);
    uint32_t away = (uint32_t)(i + 1) << 17;
    struct dht_id id = fuzz_key;
    if (!is_known[i])
        hash[i] = hash_bytes(peer.byte, sizeof peer.byte);
    is_known[i] = true;
    for (int b = 0; b < 3; b++)
        id.byte[b] ^= (uint8_t)(away >> (16 - 8 * b));
    memcpy(id.byte + 3, hash[i].byte, 16);
    return id;
}

/* -- Answers ------------------------------------------------------------------------------------------------------- */

struct answer {
    struct dht_message m;
    uint8_t nodes[DHT_K * 26], nodes6[DHT_K * 38];
    uint8_t cursor[DHT_CURSOR_BYTES];
    uint8_t list[DHT_DATAGRAM_MAX];
    size_t n_list;
    uint8_t given[16][2]; /* true entries: writer and version */
    size_t n_given;
};

static inline void give_way(struct answer *a, const struct manner *x, size_t i, size_t n_holders, bool has_v6)
{
    size_t n = x->way & 7, n4 = 0, n6 = 0;
    for (size_t j = 1; j <= n; j++) {
        size_t named = x->way & 8 ? (7 * i + 5 * j) % n_holders : i >= j ? i - j : (i + j) % n_holders;
        bool is_v6 = has_v6 && named % 2 == 1;
        struct dht_id id = holder_id(named);
        struct addr addr = holder_addr(named, is_v6);
        if (is_v6)
            n6 += dht_krpc_node_put(a->nodes6 + n6, &id, &addr);
        else
            n4 += dht_krpc_node_put(a->nodes + n4, &id, &addr);
    }
    a->m.nodes = (struct dht_span){a->nodes, n4};
    a->m.nodes6 = (struct dht_span){n6 > 0 ? a->nodes6 : NULL, n6};
}

static inline bool give_entry(struct answer *a, size_t w, enum version v)
{
    const struct said *s = said(w, v);
    if (a->n_list + s->n > ANSWER_ROOM || a->n_given == sizeof a->given / sizeof *a->given)
        return false;
    memcpy(a->list + a->n_list, s->raw, s->n);
    a->n_list += s->n;
    a->given[a->n_given][0] = (uint8_t)w;
    a->given[a->n_given++][1] = (uint8_t)v;
    a->m.entries = (struct dht_span){a->list, a->n_list};
    return true;
}

static inline bool has_all_room(const struct manner *x)
{
    size_t n = 0;
    for (size_t w = x->first; w < x->first + x->n; w++)
        n += said(w, x->version)->n;
    return n <= ANSWER_ROOM && x->n <= 16;
}

static inline void invent(const struct manner *x, size_t j, uint8_t digest[DHT_DIGEST_BYTES])
{
    memset(digest, 0x5a, DHT_DIGEST_BYTES);
    digest[0] = (uint8_t)j;
    digest[1] = (uint8_t)(j >> 8);
    if (x->salt & 1)
        memcpy(digest, said(j % N_WRITERS, PLAIN)->digest, DHT_TAG_BYTES);
    digest[DHT_TAG_BYTES] = x->salt;
}

static inline void set_cursor(struct answer *a, const void *bytes, size_t n)
{
    memset(a->cursor, 0, sizeof a->cursor);
    memcpy(a->cursor, bytes, n);
    a->m.cursor = (struct dht_span){a->cursor, sizeof a->cursor};
}

/* Where the list goes on: true writers first, then inventions, whose cursors begin with 255 and their number. */
static inline size_t list_from(const struct manner *x, struct dht_span cursor)
{
    if (!cursor.bytes)
        return 0;
    if (cursor.bytes[0] == 255)
        return x->n + (size_t)(cursor.bytes[1] << 8 | cursor.bytes[2]) + 1;
    size_t w = writer_from(cursor.bytes, DHT_CURSOR_BYTES, true);
    return w <= x->first ? 0 : w - x->first < x->n ? w - x->first : x->n;
}

static inline void give_list(struct answer *a, const struct manner *x, struct dht_span cursor)
{
    size_t n_all = x->lie == LIE_NO_END ? x->n + 65536 : x->n + x->n_inventions, at = list_from(x, cursor);
    for (; at < n_all && a->n_list + DHT_DIGEST_BYTES <= ANSWER_ROOM; at++, a->n_list += DHT_DIGEST_BYTES)
        if (at < x->n)
            memcpy(a->list + a->n_list, said(x->first + at, x->version)->digest, DHT_DIGEST_BYTES);
        else
            invent(x, at - x->n, a->list + a->n_list);
    if (at < n_all && at > 0 && at <= x->n)
        set_cursor(a, said(x->first + at - 1, x->version)->entry.writer.byte, DHT_CURSOR_BYTES);
    else if (at < n_all && at > 0)
        set_cursor(a, (uint8_t[]){255, (uint8_t)((at - x->n - 1) >> 8), (uint8_t)(at - x->n - 1)}, 3);
    if (x->lie == LIE_SAME_CURSOR && cursor.bytes)
        set_cursor(a, cursor.bytes, DHT_CURSOR_BYTES);
    if (x->lie == LIE_EMPTY_PAGE) {
        a->n_list = 0;
        set_cursor(a, (uint8_t[]){254}, 1);
    }
    a->m.digests = (struct dht_span){a->list, a->n_list};
}

static inline void give_tagged(struct answer *a, const struct manner *x, struct dht_span tags)
{
    for (size_t at = 0; at < tags.n && x->lie != LIE_NOTHING; at += DHT_TAG_BYTES) {
        size_t w = writer_from(tags.bytes + at, DHT_TAG_BYTES, false);
        bool is_held = w >= x->first && w < x->first + x->n &&
                       memcmp(said(w, PLAIN)->digest, tags.bytes + at, DHT_TAG_BYTES) == 0;
        if (x->lie == LIE_UNASKED)
            w = (w + 1) % N_WRITERS;
        else if (!is_held)
            continue;
        if (!give_entry(a, w, x->lie == LIE_SIGNATURE ? FALSE_SIGNATURE : x->version)) {
            static const uint8_t nobody[DHT_CURSOR_BYTES];
            size_t n = a->n_given;
            set_cursor(a, n > 0 ? said(a->given[n - 1][0], PLAIN)->entry.writer.byte : nobody, DHT_CURSOR_BYTES);
            break;
        }
    }
    if (x->lie == LIE_SAME_CURSOR)
        set_cursor(a, (uint8_t[]){0}, 1);
}

/* What it holds under the key. */
static inline void give_key(struct answer *a, const struct manner *x, const struct dht_message *q)
{
    bool is_step = !q->cursor.bytes && !q->tags.bytes;
    a->m.has_n = true;
    a->m.n = (unsigned)(x->n + x->n_inventions) + x->n_more;
    if (is_step && (x->on_step == STEP_KNOWS_NOTHING || (q->has_max && q->max == 0))) {
        a->m.has_n = false;
    } else if (is_step && x->on_step == STEP_COUNTS) {
        return;
    } else if (q->tags.bytes) {
        give_tagged(a, x, q->tags);
    } else if (q->is_digest || x->n_inventions > 0 || !has_all_room(x)) {
        give_list(a, x, q->cursor);
    } else {
        for (size_t w = x->first; w < x->first + x->n; w++)
            (void)give_entry(a, w, x->lie == LIE_SIGNATURE ? FALSE_SIGNATURE : x->version);
    }
    if (x->lie == LIE_GARBAGE && !a->m.digests.bytes)
        a->m.entries = (struct dht_span){(const uint8_t *)"\0\0\4zzzz", 7};
}

/* What holder `i` says to `q`. */
static inline void answer_make(struct answer *a, const struct manner *x, size_t i, const struct dht_message *q, size_t n_holders,
                               bool has_v6)
{
    a->m.kind = DHT_REPLY;
    a->m.method = DHT_METHOD_UNKNOWN;
    a->m.has_id = true;
    a->m.id = holder_id(i);
    a->m.tid = q->tid;
    a->m.token = (struct dht_span){(const uint8_t *)"tokn", 4};
    if (x->on_step == STEP_REFUSES || (x->is_foreign && (q->method == DHT_HANSE_GET || q->method == DHT_HANSE_PUT))) {
        a->m.kind = DHT_ERROR;
        a->m.has_id = false;
        a->m.error = x->is_foreign ? DHT_ERROR_METHOD : DHT_ERROR_SERVER;
        return;
    }
    if (!q->cursor.bytes && !q->tags.bytes)
        give_way(a, x, i, n_holders, has_v6);
    if (q->method == DHT_HANSE_GET && dht_id_equal(&q->target, &fuzz_key))
        give_key(a, x, q);
}

#endif
