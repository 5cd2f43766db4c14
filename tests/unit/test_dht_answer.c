/* What a node answers, seen from outside: three bytes for one, tokens, refusals, limits. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "dht/entry.h"
#include "dht/id.h"
#include "dht/krpc.h"
#include "dht/node.h"
#include "dht_swarm.h"

static struct swarm *s;
static struct swarm_node *node;
static const struct addr stranger = {.family = 4, .ip = {80, 1, 2, 3}, .port = 9};

static void setup(void)
{
    struct swarm_config config = {.seed = 1, .delay_min_us = 100};
    s = swarm_new(&config);
    node = swarm_add(s, false);
}

static void teardown(void)
{
    swarm_free(s);
}

static struct dht_message question(enum dht_method method)
{
    struct dht_message m = {.kind = DHT_QUERY, .method = method, .has_id = true, .has_target = true};
    m.tid = (struct dht_span){(const uint8_t *)"tt", 2};
    memset(m.id.byte, 'i', sizeof m.id.byte);
    memset(m.target.byte, 't', sizeof m.target.byte);
    return m;
}

static uint8_t answer_bytes[1500];

/* Asks as a stranger; true when there was an answer to the question, which `out` then holds. */
static bool ask_from(const struct addr *from, const struct dht_message *m, struct dht_message *out)
{
    uint8_t bytes[1472];
    size_t n = dht_krpc_encode(m, bytes, sizeof bytes), n_before = swarm_n_stray(s);
    ck_assert_uint_gt(n, 0);
    swarm_inject(node, from, bytes, n);
    if (swarm_n_stray(s) == n_before)
        return false;
    ck_assert_int_eq(dht_krpc_decode(out, answer_bytes, swarm_stray(s, answer_bytes)), 0);
    return out->kind != DHT_QUERY;
}

static bool ask(const struct dht_message *m, struct dht_message *out)
{
    return ask_from(&stranger, m, out);
}

static void get_token(enum dht_method method, const struct dht_id *target, uint8_t token[8])
{
    struct dht_message m = question(method), r;
    m.target = *target;
    m.n_pad = 100;
    ck_assert(ask(&m, &r));
    ck_assert_uint_eq(r.token.n, 8);
    memcpy(token, r.token.bytes, 8);
}

START_TEST(a_ping_is_answered_with_our_id_and_their_address)
{
    struct dht_message m = question(DHT_PING), r;
    struct dht_id own = dht_own_id(node->dht);
    ck_assert(ask(&m, &r));
    ck_assert_int_eq(r.kind, DHT_REPLY);
    ck_assert_mem_eq(r.id.byte, own.byte, sizeof own.byte);
    ck_assert(addr_equal(&r.ip, &stranger));
    ck_assert(r.is_ours);
}
END_TEST

static const char *const malformed[] = {
    "",
    "x",
    "de",
    "i1e",
    "le",
    "d1:y1:qe",
    "d1:q4:ping1:t2:aa1:y1:qe",
    "d1:ade1:q4:ping1:t2:aa1:y1:qe",
    "d1:ad2:id19:iiiiiiiiiiiiiiiiiiie1:q4:ping1:t2:aa1:y1:qe",
    "d1:ad2:id20:iiiiiiiiiiiiiiiiiiiie1:q4:ping1:t0:1:y1:qe",
    "d1:ad2:id20:iiiiiiiiiiiiiiiiiiiie1:q4:ping1:t40:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1:y1:qe",
    "d1:ad2:id20:iiiiiiiiiiiiiiiiiiiie1:q4:ping1:t2:aa1:y1:xe",
    "d1:ad2:id20:iiiiiiiiiiiiiiiiiiiie1:q4:ping1:t2:aa1:y1:qex",
};

START_TEST(what_is_malformed_is_never_answered)
{
    swarm_inject(node, &stranger, malformed[_i], strlen(malformed[_i]));
    ck_assert_uint_eq(swarm_n_stray(s), 0);
    ck_assert_uint_eq(dht_stats(node->dht).n_malformed, 1);
}
END_TEST

START_TEST(an_unknown_query_is_answered_with_204)
{
    static const char text[] = "d1:ad2:id20:iiiiiiiiiiiiiiiiiiiie1:q4:what1:t2:aa1:y1:qe";
    struct dht_message r;
    swarm_inject(node, &stranger, text, strlen(text));
    ck_assert_int_eq(dht_krpc_decode(&r, answer_bytes, swarm_stray(s, answer_bytes)), 0);
    ck_assert_int_eq(r.error, DHT_ERROR_METHOD);
}
END_TEST

/* Every method, with more and more padding, against a node that could say much: swarm_inject holds each to three for one. */
START_TEST(no_answer_has_more_than_three_bytes_for_one)
{
    struct dht_message r, probe = question(DHT_PING);
    char text[300];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    swarm_grow(s, 7, 1000); /* so few that every record is held here too */
    for (size_t i = 0; i < 8; i++)
        swarm_publish(swarm_node(s, i), &probe.target, text);
    swarm_run(s, 5 * SECOND_US);
    ck_assert_uint_eq(dht_stats(node->dht).n_entries, 8);
    size_t n_answers = 0;
    for (int method = DHT_PING; method <= DHT_HANSE_PUT; method++)
        for (size_t n_pad = 0; n_pad < 500; n_pad += 7) {
            struct dht_message m = question((enum dht_method)method);
            m.n_pad = n_pad;
            m.want = n_pad % 2 ? DHT_WANT_4 | DHT_WANT_6 : 0;
            if (n_pad % 3 == 1)
                m.token = (struct dht_span){(const uint8_t *)"notoken", 7};
            n_answers += ask(&m, &r);
        }
    ck_assert_uint_gt(n_answers, 400);
}
END_TEST

/* The shortest questions there are, from nodes that could belong into the table: they are answered, and pinged to see whether they
 * are there, and both together keep to three for one, which the swarm looks at. */
START_TEST(the_ping_behind_an_answer_is_counted)
{
    static const char *const q[] = {"4:ping", "9:find_node", "9:get_peers", "3:get", "9:hanse_get", "4:what"};
    swarm_grow(s, 20, 1000);
    swarm_run(s, 5 * SECOND_US);
    for (uint8_t i = 0; i < sizeof q / sizeof *q; i++) {
        struct addr from = {.family = 4, .ip = {10, 99, 0, i}, .port = 9};
        struct dht_message m;
        char text[200];
        int n = snprintf(text, sizeof text, "d1:ad2:id20:%.20s%s%se1:q%s1:t1:t1:y1:qe", "01234567890123456789",
                         i == 2 ? "9:info_hash20:01234567890123456789" : "",
                         i == 1 || i > 2 ? "6:target20:01234567890123456789" : "", q[i]);
        text[12] = (char)(0x40 + 8 * i); /* each in another part of the table */
        size_t n_before = swarm_n_stray(s);
        swarm_inject(node, &from, text, (size_t)n);
        ck_assert_uint_eq(swarm_n_stray(s), n_before + 2);
        ck_assert_int_eq(dht_krpc_decode(&m, answer_bytes, swarm_stray(s, answer_bytes)), 0);
        ck_assert(m.kind == DHT_QUERY && m.method == DHT_PING);
        ck_assert_uint_le(swarm_stray(s, answer_bytes), DHT_PING_MAX);
    }
}
END_TEST

START_TEST(a_false_token_opens_nothing)
{
    struct dht_message m = question(DHT_ANNOUNCE_PEER), r;
    uint8_t token[8];
    m.port = 77;
    m.token = (struct dht_span){(const uint8_t *)"12345678", 8};
    ck_assert(ask(&m, &r));
    ck_assert_int_eq(r.error, DHT_ERROR_PROTOCOL);
    get_token(DHT_GET_PEERS, &m.target, token);
    m.token = (struct dht_span){token, 8};
    ck_assert(ask(&m, &r));
    ck_assert_int_eq(r.kind, DHT_REPLY);
    ck_assert_uint_eq(dht_stats(node->dht).n_peers, 1);
    struct addr other = stranger;
    other.ip[3]++;
    ck_assert(ask_from(&other, &m, &r)); /* a token is for one address */
    ck_assert_int_eq(r.error, DHT_ERROR_PROTOCOL);
    m.target.byte[0]++; /* and one key */
    ck_assert(ask(&m, &r));
    ck_assert_int_eq(r.error, DHT_ERROR_PROTOCOL);
    m.target.byte[0]--;
    swarm_run(s, 601 * SECOND_US); /* and a while */
    ck_assert(ask(&m, &r));
    ck_assert_int_eq(r.error, DHT_ERROR_PROTOCOL);
}
END_TEST

static struct key *writer;

static size_t entry_at(const struct addr *addr, uint64_t seq, int64_t lives_s, const char *text, const struct dht_id *key,
                       uint8_t raw[DHT_ENTRY_MAX])
{
    static const uint8_t seed[KEY_SEED_BYTES] = {42};
    if (!writer)
        ck_assert_int_eq(key_new(seed, &writer), 0);
    struct dht_entry e = {.writer = key_peer_id(writer), .addr = *addr, .seq = seq, .n_bytes = (uint16_t)strlen(text)};
    e.expiry_s = (uint32_t)((int64_t)(swarm_now(s) / SECOND_US) + lives_s);
    memcpy(e.bytes, text, strlen(text));
    return dht_entry_encode(&e, key, writer, raw);
}

static size_t entry_of(uint64_t seq, int64_t lives_s, const char *text, const struct dht_id *key, uint8_t raw[DHT_ENTRY_MAX])
{
    return entry_at(&stranger, seq, lives_s, text, key, raw);
}

/* Puts an entry; returns 0 or the error. */
static int put(const struct dht_id *target, const uint8_t *raw, size_t n)
{
    uint8_t token[8];
    struct dht_message m = question(DHT_HANSE_PUT), r;
    get_token(DHT_HANSE_GET, target, token);
    m.target = *target;
    m.token = (struct dht_span){token, 8};
    m.entries = (struct dht_span){raw, n};
    ck_assert(ask(&m, &r));
    return r.kind == DHT_ERROR ? r.error : 0;
}

START_TEST(entries_are_checked_before_they_are_kept)
{
    struct dht_id key = {{1}}, other = {{2}};
    uint8_t raw[DHT_ENTRY_MAX];
    size_t n = entry_of(5, 300, "hello", &key, raw);
    ck_assert_int_eq(put(&other, raw, n), DHT_ERROR_SIGNATURE); /* signed for another key */
    for (size_t i = 0; i < n; i++) {
        raw[i] ^= 1;
        ck_assert_int_ne(put(&key, raw, n), 0);
        raw[i] ^= 1;
        swarm_run(s, SECOND_US / 10); /* not so fast that we are refused for that */
    }
    ck_assert_int_eq(put(&key, raw, n - 1), DHT_ERROR_PROTOCOL);
    ck_assert_uint_eq(dht_stats(node->dht).n_entries, 0);
    ck_assert_uint_gt(dht_stats(node->dht).n_refused, n);
    ck_assert_int_eq(put(&key, raw, n), 0);
    ck_assert_int_eq(put(&key, raw, n), 0);
    n = entry_of(4, 300, "older", &key, raw);
    ck_assert_int_eq(put(&key, raw, n), DHT_ERROR_SEQ);
    n = entry_of(6, 300, "newer", &key, raw);
    ck_assert_int_eq(put(&key, raw, n), 0);
    n = entry_of(7, 0, "over", &key, raw);
    ck_assert_int_eq(put(&key, raw, n), DHT_ERROR_PROTOCOL);
    n = entry_of(7, 300 + DHT_CLOCK_SKEW_S + 1, "too long", &key, raw);
    ck_assert_int_eq(put(&key, raw, n), DHT_ERROR_PROTOCOL);
    ck_assert_uint_eq(dht_stats(node->dht).n_entries, 1);
    swarm_run(s, 310 * SECOND_US);
    ck_assert_uint_eq(dht_stats(node->dht).n_entries, 0);
    key_free(writer);
}
END_TEST

START_TEST(an_entry_names_an_address_that_can_be_called)
{
    static const char *never[] = {"224.0.0.1:1",         "255.255.255.255:1", "0.1.2.3:1", "0.0.0.0:1",
                                  "80.1.2.3:0",          "[ff02::1]:1",       "[::]:1",    "[::]:0",
                                  "[::ffff:80.1.2.3]:1", "[2a00::1]:0"};
    static const char *once[] = {"80.1.2.3:1", "127.0.0.1:1", "10.1.2.3:1", "[2a00::1]:1", "[::1]:1", "[fd00::1]:1"};
    struct dht_id key = {{1}};
    uint8_t raw[DHT_ENTRY_MAX];
    struct addr addr;
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++) {
        ck_assert_int_eq(addr_parse(&addr, never[i]), 0);
        size_t n = entry_at(&addr, 1, 300, "x", &key, raw);
        ck_assert_msg(put(&key, raw, n) == DHT_ERROR_PROTOCOL, "%s", never[i]);
    }
    ck_assert_uint_eq(dht_stats(node->dht).n_entries, 0);
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++) {
        ck_assert_int_eq(addr_parse(&addr, once[i]), 0);
        size_t n = entry_at(&addr, 1 + i, 300, "x", &key, raw);
        ck_assert_msg(put(&key, raw, n) == 0, "%s", once[i]);
    }
    key_free(writer);
}
END_TEST

START_TEST(an_oversized_entry_has_its_own_error)
{
    struct dht_id key = {{1}};
    uint8_t raw[DHT_ENTRY_MAX + 1] = {0};
    size_t n = entry_of(5, 300, "hello", &key, raw);
    raw[0] = (uint8_t)(DHT_DIRECTORY_BYTES_MAX + 1);
    raw[1] = (uint8_t)((DHT_DIRECTORY_BYTES_MAX + 1) >> 8);
    ck_assert_int_eq(put(&key, raw, n), DHT_ERROR_V_SIZE);
    ck_assert_int_eq(put(&key, raw, sizeof raw), DHT_ERROR_V_SIZE);
    raw[0] = (uint8_t)DHT_DIRECTORY_BYTES_MAX;
    raw[1] = DHT_DIRECTORY_BYTES_MAX >> 8;
    ck_assert_int_eq(put(&key, raw, n), DHT_ERROR_PROTOCOL); /* as long as may be, and not there */
    ck_assert_uint_eq(dht_stats(node->dht).n_entries, 0);
    key_free(writer);
}
END_TEST

/* A node that holds all it may of a writer says so, and takes what is newer of what it holds. */
START_TEST(a_ceiling_has_its_error)
{
    uint8_t raw[DHT_ENTRY_MAX];
    for (int i = 0; i <= DHT_DIRECTORY_WRITER_MAX; i++) {
        struct dht_id key = {{(uint8_t)i, (uint8_t)(i >> 8)}};
        size_t n = entry_of(5, 300, "hello", &key, raw);
        ck_assert_int_eq(put(&key, raw, n), i < DHT_DIRECTORY_WRITER_MAX ? 0 : DHT_ERROR_SERVER);
        swarm_run(s, SECOND_US / 10);
    }
    struct dht_id key = {{3}};
    size_t n = entry_of(6, 300, "newer", &key, raw);
    ck_assert_int_eq(put(&key, raw, n), 0);
    key_free(writer);
}
END_TEST

START_TEST(an_entry_needs_the_token_of_its_place)
{
    struct dht_id key = {{1}};
    uint8_t raw[DHT_ENTRY_MAX], token[8];
    size_t n = entry_of(5, 300, "hello", &key, raw);
    struct dht_message m = question(DHT_HANSE_PUT), r;
    get_token(DHT_HANSE_GET, &key, token);
    m.target = key;
    m.entries = (struct dht_span){raw, n};
    ck_assert(ask(&m, &r)); /* none */
    ck_assert_int_eq(r.error, DHT_ERROR_PROTOCOL);
    token[0] ^= 1;
    m.token = (struct dht_span){token, 8};
    ck_assert(ask(&m, &r)); /* a wrong one */
    ck_assert_int_eq(r.error, DHT_ERROR_PROTOCOL);
    token[0] ^= 1;
    ck_assert(ask(&m, &r));
    ck_assert_int_eq(r.kind, DHT_REPLY);
    key_free(writer);
}
END_TEST

/* Stores entries of `n` writers, each of `n_bytes`, in the node itself; their tags in ascending order. */
static void fill(size_t n, size_t n_bytes, const struct dht_id *key, uint8_t tag[][DHT_TAG_BYTES])
{
    const struct dht_record *record;
    const uint8_t *after = NULL;
    for (size_t i = 0; i < n; i++) {
        uint8_t seed[KEY_SEED_BYTES] = {(uint8_t)(i + 1)}, raw[DHT_ENTRY_MAX];
        struct key *k;
        ck_assert_int_eq(key_new(seed, &k), 0);
        struct dht_entry e = {.writer = key_peer_id(k), .addr = stranger, .seq = 1, .n_bytes = (uint16_t)n_bytes};
        e.expiry_s = (uint32_t)(swarm_now(s) / SECOND_US) + 300;
        struct dht_span span = {raw, dht_entry_encode(&e, key, k, raw)};
        ck_assert_int_eq(dht_directory_store(&node->dht->directory, key, &e, span, &stranger, swarm_now(s)), 0);
        key_free(k);
    }
    for (size_t i = 0; (record = dht_directory_next(&node->dht->directory, key, after, swarm_now(s))); i++) {
        memcpy(tag[i], record->digest, DHT_TAG_BYTES);
        after = record->writer.byte;
    }
}

static size_t n_entries_in(struct dht_span entries)
{
    struct wire_reader r;
    struct dht_entry e;
    struct dht_span raw;
    size_t n = 0;
    wire_reader_init(&r, entries.bytes, entries.n);
    for (; wire_left(&r) > 0; n++)
        ck_assert_int_eq(dht_entry_decode(&e, &raw, &r), 0);
    return n;
}

START_TEST(what_fits_is_given_and_what_does_not_is_listed)
{
    struct dht_id key = {{1}};
    struct dht_message m = question(DHT_HANSE_GET), r;
    uint8_t token[8], tag[64][DHT_TAG_BYTES];
    m.target = key;
    fill(7, 20, &key, tag);
    get_token(DHT_HANSE_GET, &key, token);
    m.token = (struct dht_span){token, 8};
    ck_assert(ask(&m, &r));
    ck_assert(r.has_n && r.n == 7 && !r.digests.bytes && !r.cursor.bytes);
    ck_assert_uint_eq(n_entries_in(r.entries), 7);
    m.is_digest = true;
    ck_assert(ask(&m, &r));
    ck_assert(r.n == 7 && r.digests.n == 7 * DHT_DIGEST_BYTES && !r.entries.bytes && !r.cursor.bytes);
    for (size_t i = 0; i < 7; i++)
        ck_assert_mem_eq(r.digests.bytes + i * DHT_DIGEST_BYTES, tag[i], DHT_TAG_BYTES);
    m.is_digest = false;
    fill(40, 20, &key, tag); /* the first seven once more */
    ck_assert(ask(&m, &r));
    ck_assert(r.n == 40 && r.digests.n == 40 * DHT_DIGEST_BYTES && !r.entries.bytes);
    uint8_t cursor[DHT_CURSOR_BYTES] = {0};
    memcpy(cursor, tag[38], DHT_TAG_BYTES);
    m.cursor = (struct dht_span){cursor, sizeof cursor};
    ck_assert(ask(&m, &r)); /* a page of entries, as ever */
    ck_assert_uint_eq(n_entries_in(r.entries), 2);
    ck_assert(!r.cursor.bytes && !r.nodes.bytes);
}
END_TEST

START_TEST(tags_bring_the_entries_of_just_these)
{
    struct dht_id key = {{1}};
    struct dht_message m = question(DHT_HANSE_GET), r;
    uint8_t token[8], tag[64][DHT_TAG_BYTES], asked[20][DHT_TAG_BYTES];
    m.target = key;
    fill(40, 20, &key, tag);
    get_token(DHT_HANSE_GET, &key, token);
    m.token = (struct dht_span){token, 8};
    memcpy(asked[0], tag[3], DHT_TAG_BYTES);
    memcpy(asked[1], tag[4], DHT_TAG_BYTES);
    asked[1][7]++; /* nobody */
    memcpy(asked[2], tag[5], DHT_TAG_BYTES);
    m.tags = (struct dht_span){asked[0], 3 * DHT_TAG_BYTES};
    ck_assert(ask(&m, &r));
    ck_assert_uint_eq(n_entries_in(r.entries), 2);
    ck_assert(!r.cursor.bytes && !r.digests.bytes && !r.nodes.bytes);
    ck_assert_mem_eq(r.entries.bytes + 3, tag[3], DHT_TAG_BYTES);
    for (size_t i = 0; i < 20; i++)
        memcpy(asked[i], tag[2 * i], DHT_TAG_BYTES);
    m.tags.n = sizeof asked;
    ck_assert(ask(&m, &r));
    size_t n = n_entries_in(r.entries); /* as many as fit, and where it stopped */
    ck_assert(n >= 7 && n < 20 && r.cursor.bytes);
    ck_assert_mem_eq(r.cursor.bytes, tag[2 * (n - 1)], DHT_TAG_BYTES);
    memcpy(asked[1], asked[0], DHT_TAG_BYTES);
    ck_assert(ask(&m, &r));
    ck_assert_int_eq(r.error, DHT_ERROR_PROTOCOL); /* not in ascending order */
}
END_TEST

START_TEST(one_address_cannot_ask_without_end)
{
    struct dht_message m = question(DHT_PING), r;
    size_t n_answers = 0;
    for (int i = 0; i < 2000; i++)
        n_answers += ask(&m, &r);
    ck_assert_uint_le(n_answers, 500);
    ck_assert_uint_ge(dht_stats(node->dht).n_refused, 1500);
    struct addr other = stranger;
    other.ip[0]++;
    ck_assert(ask_from(&other, &m, &r));
    swarm_run(s, SECOND_US);
    ck_assert(ask(&m, &r));
}
END_TEST

/* BEP 44 names no key in a put: it follows from the item. */
START_TEST(a_put_needs_no_target)
{
    static const char v[] = "5:salty";
    struct dht_message m = question(DHT_PUT), r;
    struct dht_item item = {.n_v = 7};
    uint8_t token[8];
    memcpy(item.v, v, 7);
    struct dht_id target = dht_item_target(&item);
    get_token(DHT_GET, &target, token);
    m.has_target = false;
    m.v = (struct dht_span){(const uint8_t *)v, 7};
    m.token = (struct dht_span){(const uint8_t *)"12345678", 8};
    ck_assert(ask(&m, &r));
    ck_assert_int_eq(r.error, DHT_ERROR_PROTOCOL);
    ck_assert_uint_eq(dht_stats(node->dht).n_items, 0);
    m.token = (struct dht_span){token, 8};
    ck_assert(ask(&m, &r));
    ck_assert_int_eq(r.kind, DHT_REPLY);
    ck_assert_uint_eq(dht_stats(node->dht).n_items, 1);
    m.has_target = true; /* a wrong one */
    ck_assert(ask(&m, &r));
    ck_assert_int_eq(r.error, DHT_ERROR_PROTOCOL);
}
END_TEST

START_TEST(many_nodes_leave_room_for_peers)
{
    struct dht_message m = question(DHT_GET_PEERS), r;
    uint8_t token[8];
    swarm_grow(s, 20, SECOND_US / 2);
    get_token(DHT_GET_PEERS, &m.target, token);
    m.method = DHT_ANNOUNCE_PEER;
    m.token = (struct dht_span){token, 8};
    m.port = 77;
    ck_assert(ask(&m, &r));
    ck_assert_int_eq(r.kind, DHT_REPLY);
    m = question(DHT_GET_PEERS);
    ck_assert(ask(&m, &r));
    ck_assert_uint_eq(r.n_peers, 1);
    ck_assert_uint_eq(r.peer[0].port, 77);
    ck_assert_uint_ge(r.nodes.n, 2 * 26);
}
END_TEST

/* A node that insists on BEP 42 refuses a first question, and says how it sees us. */
START_TEST(a_refusal_tells_our_address)
{
    static const struct addr seen = {.family = 4, .ip = {81, 2, 3, 4}, .port = 4100};
    struct dht_message m, refusal = {.kind = DHT_ERROR, .error = DHT_ERROR_PROTOCOL, .ip = seen};
    struct addr external;
    uint8_t bytes[256];
    swarm_join(node, &stranger);
    ck_assert_int_eq(dht_krpc_decode(&m, answer_bytes, swarm_stray(s, answer_bytes)), 0);
    ck_assert_int_eq(m.kind, DHT_QUERY);
    struct dht_id before = dht_own_id(node->dht);
    ck_assert(!dht_id_fits(&before, &seen) && !dht_external(node->dht, &external));
    refusal.tid = m.tid;
    swarm_inject(node, &stranger, bytes, dht_krpc_encode(&refusal, bytes, sizeof bytes));
    ck_assert(dht_external(node->dht, &external) && addr_equal(&external, &seen));
    struct dht_id after = dht_own_id(node->dht);
    ck_assert(dht_id_fits(&after, &seen));
    ck_assert_uint_eq(dht_stats(node->dht).n_nodes, 0);
}
END_TEST

START_TEST(a_closed_node_keeps_to_its_own_kind)
{
    struct dht_message m = question(DHT_PING), r;
    struct dht_config config = {.key = node->key, .is_closed = true, .port = 4100, .seed = 5};
    uint8_t bytes[256];
    dht_free(node->dht);
    ck_assert_int_eq(dht_new(&config, &node->io, swarm_now(s), &node->dht), 0);
    m.has_target = false;
    ck_assert(ask(&m, &r)); /* ours */
    size_t n = dht_krpc_encode(&m, bytes, sizeof bytes), n_before = swarm_n_stray(s);
    uint8_t *v = memmem(bytes, n, "1:v4:HN", 7);
    ck_assert_ptr_nonnull(v);
    memcpy(v + 5, "LT", 2);
    swarm_inject(node, &stranger, bytes, n);
    ck_assert_uint_eq(swarm_n_stray(s), n_before); /* no answer, and no ping either */
}
END_TEST

/* Answers the latest question of the node as a stranger whose id fits no address. */
static void reply_to_last(bool is_ours)
{
    struct dht_message m, reply = {.kind = DHT_REPLY, .has_id = true};
    uint8_t bytes[256];
    ck_assert_int_eq(dht_krpc_decode(&m, answer_bytes, swarm_stray(s, answer_bytes)), 0);
    ck_assert_int_eq(m.kind, DHT_QUERY);
    memset(reply.id.byte, 'x', sizeof reply.id.byte);
    reply.tid = m.tid;
    size_t n = dht_krpc_encode(&reply, bytes, sizeof bytes);
    uint8_t *v = memmem(bytes, n, "1:v4:HN", 7);
    ck_assert_ptr_nonnull(v);
    if (!is_ours)
        memcpy(v + 5, "LT", 2);
    ck_assert(dht_expects(node->dht, &stranger, bytes, n));
    ck_assert(!dht_expects(node->dht, &node->addr, bytes, n)); /* not from there */
    swarm_inject(node, &stranger, bytes, n);
    ck_assert(!dht_expects(node->dht, &stranger, bytes, n)); /* not twice */
}

START_TEST(a_hint_counts_once_one_of_ours_answers)
{
    bool is_ours = _i % 2 == 0, is_closed = _i / 2 == 0;
    struct dht_config config = {.key = node->key, .is_closed = is_closed, .port = 4100, .seed = 5};
    dht_free(node->dht);
    ck_assert_int_eq(dht_new(&config, &node->io, swarm_now(s), &node->dht), 0);
    dht_hint(node->dht, swarm_now(s), &stranger);
    swarm_touch(node);
    ck_assert_uint_eq(swarm_n_stray(s), 1);
    reply_to_last(is_ours);
    ck_assert_uint_eq(dht_stats(node->dht).n_nodes, is_ours || !is_closed);
    ck_assert_uint_eq(dht_n_good(node->dht), is_ours || !is_closed);
}
END_TEST

START_TEST(a_hint_that_nobody_answers_is_forgotten)
{
    dht_hint(node->dht, swarm_now(s), &stranger);
    swarm_touch(node);
    swarm_run(s, 600 * SECOND_US);
    ck_assert_uint_eq(swarm_n_stray(s), 1);
}
END_TEST

START_TEST(who_only_asks_is_neither_answered_by_nor_kept)
{
    struct swarm_node *reader = swarm_add(s, true);
    struct dht_message m = question(DHT_PING), r;
    m.is_read_only = true;
    m.has_target = false;
    ck_assert(ask(&m, &r));
    swarm_run(s, 5 * SECOND_US);
    ck_assert_uint_eq(dht_stats(node->dht).n_queries_out, 0); /* not even looked at */
    node = reader;
    ck_assert(!ask(&m, &r));
}
END_TEST

/* The stranger answers the last question with one node and an id of its own. */
static void tell_of(const struct addr *from, const struct addr *named)
{
    struct rng rng;
    struct peer_id peer = {{0}};
    struct dht_message q, r = {.kind = DHT_REPLY, .has_id = true};
    uint8_t bytes[1472], node_bytes[38];
    rng_init(&rng, 1, "told");
    ck_assert_int_eq(dht_krpc_decode(&q, answer_bytes, swarm_stray(s, answer_bytes)), 0);
    r.tid = q.tid;
    r.id = dht_id_make(from, &peer, &rng);
    struct dht_id id = dht_id_make(named, &peer, &rng);
    struct dht_span nodes = {node_bytes, dht_krpc_node_put(node_bytes, &id, named)};
    if (q.method == DHT_FIND_NODE && named->family == 6)
        r.nodes6 = nodes;
    else if (q.method == DHT_FIND_NODE)
        r.nodes = nodes;
    swarm_inject(node, from, bytes, dht_krpc_encode(&r, bytes, sizeof bytes));
}

/* True when a node at once asks whom it was told of while it looked up its own id. */
static bool asks_after(const struct addr *from, const char *text)
{
    struct addr named;
    ck_assert_int_eq(addr_parse(&named, text), 0);
    swarm_join(node, from); /* a ping, then the walk */
    tell_of(from, &named);
    tell_of(from, &named);
    struct addr to = swarm_stray_to(s);
    return addr_equal(&to, &named);
}

START_TEST(nobody_sends_us_to_addresses_of_many_or_into_our_own_network)
{
    static const char *const bad[] = {"10.0.0.5:7", "127.0.0.1:7", "192.168.1.1:7", "224.1.1.1:7", "255.255.255.255:7"};
    ck_assert(!asks_after(&stranger, bad[_i]));
}
END_TEST

START_TEST(who_is_told_of_is_asked)
{
    static const struct addr neighbour = {.family = 4, .ip = {10, 1, 2, 3}, .port = 9};
    ck_assert(asks_after(_i == 0 ? &stranger : &neighbour, _i == 0 ? "91.1.1.1:7" : "10.0.0.5:7"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-answer");
    TCase *all = tcase_create("answer");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, a_ping_is_answered_with_our_id_and_their_address);
    tcase_add_loop_test(all, what_is_malformed_is_never_answered, 1, sizeof malformed / sizeof malformed[0]);
    tcase_add_test(all, an_unknown_query_is_answered_with_204);
    tcase_add_test(all, no_answer_has_more_than_three_bytes_for_one);
    tcase_add_test(all, the_ping_behind_an_answer_is_counted);
    tcase_add_test(all, a_false_token_opens_nothing);
    tcase_add_test(all, entries_are_checked_before_they_are_kept);
    tcase_add_test(all, an_entry_names_an_address_that_can_be_called);
    tcase_add_test(all, an_oversized_entry_has_its_own_error);
    tcase_add_test(all, a_ceiling_has_its_error);
    tcase_add_test(all, an_entry_needs_the_token_of_its_place);
    tcase_add_test(all, what_fits_is_given_and_what_does_not_is_listed);
    tcase_add_test(all, tags_bring_the_entries_of_just_these);
    tcase_add_test(all, one_address_cannot_ask_without_end);
    tcase_add_test(all, a_put_needs_no_target);
    tcase_add_test(all, many_nodes_leave_room_for_peers);
    tcase_add_test(all, a_refusal_tells_our_address);
    tcase_add_loop_test(all, a_hint_counts_once_one_of_ours_answers, 0, 4);
    tcase_add_test(all, a_hint_that_nobody_answers_is_forgotten);
    tcase_add_test(all, a_closed_node_keeps_to_its_own_kind);
    tcase_add_test(all, who_only_asks_is_neither_answered_by_nor_kept);
    tcase_add_loop_test(all, nobody_sends_us_to_addresses_of_many_or_into_our_own_network, 0, 5);
    tcase_add_loop_test(all, who_is_told_of_is_asked, 0, 2);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
