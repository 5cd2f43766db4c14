#include "unit.h"

#include <string.h>

#include "dht/krpc.h"

#define ID "iiiiiiiiiiiiiiiiiiii"
#define TARGET "tttttttttttttttttttt"

static int decode(struct dht_message *m, const char *text)
{
    return dht_krpc_decode(m, text, strlen(text));
}

/* BEP 5's own examples, letter for letter. */
START_TEST(the_examples_of_bep_5_are_read)
{
    struct dht_message m;
    ck_assert_int_eq(decode(&m, "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"), 0);
    ck_assert(m.kind == DHT_QUERY && m.method == DHT_PING && m.tid.n == 2 && !m.has_target && !m.is_ours);
    ck_assert_int_eq(memcmp(m.id.byte, "abcdefghij0123456789", DHT_ID_BYTES), 0);
    ck_assert_int_eq(decode(&m, "d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re"), 0);
    ck_assert(m.kind == DHT_REPLY && m.has_id);
    ck_assert_int_eq(decode(&m, "d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee"), 0);
    ck_assert(m.kind == DHT_ERROR && m.error == 201);
    ck_assert_int_eq(
        decode(&m, "d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe"), 0);
    ck_assert(m.method == DHT_GET_PEERS && m.has_target);
    ck_assert_int_eq(decode(&m, "d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re"), 0);
    ck_assert(m.n_peers == 2 && m.token.n == 8 && m.peer[0].ip[0] == 'a');
    ck_assert_int_eq(decode(&m,
                            "d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:"
                            "token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe"),
                     0);
    ck_assert(m.method == DHT_ANNOUNCE_PEER && m.is_implied_port && m.port == 6881);
}
END_TEST

static const char *const refused[] = {
    "",
    "i1e",
    "de",
    "d1:ad2:id20:" ID "e1:q4:ping1:y1:qe",                                        /* no t */
    "d1:ad2:id20:" ID "e1:q4:ping1:t0:1:y1:qe",                                   /* an empty one */
    "d1:ad2:id20:" ID "e1:q4:ping1:t33:ttttttttttttttttttttttttttttttttt1:y1:qe", /* a long one */
    "d1:ad2:id20:" ID "e1:q4:ping1:t1:ae",                                        /* no y */
    "d1:ad2:id20:" ID "e1:q4:ping1:t1:a1:y1:xe",                                  /* another y */
    "d1:ad2:id20:" ID "e1:t1:a1:y1:qe",                                           /* a query without a name */
    "d1:ade1:q4:ping1:t1:a1:y1:qe",                                               /* nobody's */
    "d1:ad2:id19:iiiiiiiiiiiiiiiiiiie1:q4:ping1:t1:a1:y1:qe",                     /* a short id */
    "d1:q4:ping1:t1:a1:y1:qe",                                                    /* no arguments */
    "d1:ad2:id20:" ID "6:target3:abce1:q9:find_node1:t1:a1:y1:qe",                /* a short target */
    "d1:ad2:id20:" ID "4:porti65536ee1:q13:announce_peer1:t1:a1:y1:qe",           /* no port */
    "d1:ad2:id20:" ID "4:porti-1ee1:q13:announce_peer1:t1:a1:y1:qe",
    "d1:ad2:id20:" ID "3:seqi-1ee1:q3:put1:t1:a1:y1:qe",
    "d1:ad2:id20:" ID "1:k3:abce1:q3:put1:t1:a1:y1:qe",                    /* a key of three bytes */
    "d1:rd2:id20:" ID "5:nodes25:nnnnnnnnnnnnnnnnnnnnnnnnne1:t1:a1:y1:re", /* no whole number of nodes */
    "d1:rd2:id20:" ID "6:cursor1:xe1:t1:a1:y1:re",
    "d1:rd7:digests15:ddddddddddddddd2:id20:" ID "e1:t1:a1:y1:re", /* no whole number of digests */
    "d1:rd2:id20:" ID "1:ni65536ee1:t1:a1:y1:re",
    "d1:ad2:id20:" ID "4:tags0:6:target20:" TARGET "e1:q9:hanse_get1:t1:a1:y1:qe", /* nobody's tags */
    "d1:ad2:id20:" ID "4:tags9:ttttttttt6:target20:" TARGET "e1:q9:hanse_get1:t1:a1:y1:qe",
    "d1:ele1:t1:a1:y1:ee", /* an error without a code */
};

START_TEST(what_breaks_the_rules_is_refused)
{
    struct dht_message m;
    ck_assert_int_eq(decode(&m, refused[_i]), HANSE_EPROTO);
}
END_TEST

START_TEST(an_unknown_name_is_a_query_all_the_same)
{
    struct dht_message m;
    ck_assert_int_eq(decode(&m, "d1:ad2:id20:" ID "e1:q4:vote1:t1:a1:y1:qe"), 0);
    ck_assert_int_eq(m.method, DHT_METHOD_UNKNOWN);
}
END_TEST

START_TEST(what_is_written_is_read)
{
    struct dht_message m = {.kind = DHT_QUERY, .method = (enum dht_method)_i, .has_id = true, .has_target = true}, back;
    uint8_t out[DHT_DATAGRAM_MAX];
    memcpy(m.id.byte, ID, DHT_ID_BYTES);
    memcpy(m.target.byte, TARGET, DHT_ID_BYTES);
    m.tid = (struct dht_span){(const uint8_t *)"tid", 3};
    m.token = (struct dht_span){(const uint8_t *)"token", 5};
    m.entries = (struct dht_span){(const uint8_t *)"entries", 7};
    m.want = DHT_WANT_4 | DHT_WANT_6;
    m.has_max = m.has_seq = m.is_read_only = true;
    m.seq = INT64_MAX;
    m.n_pad = 99;
    size_t n = dht_krpc_encode(&m, out, sizeof out);
    ck_assert_uint_gt(n, 0);
    ck_assert_int_eq(dht_krpc_decode(&back, out, n), 0);
    ck_assert(back.method == m.method && back.want == m.want && back.is_read_only && back.is_ours);
    ck_assert(back.has_max && back.max == 0 && back.has_seq && back.seq == INT64_MAX && back.has_target);
    ck_assert_int_eq(memcmp(back.target.byte, TARGET, DHT_ID_BYTES), 0);
    ck_assert(back.token.n == 5 && back.entries.n == 7 && !back.cursor.bytes);
    for (size_t room = 0; room < n; room++)
        ck_assert_uint_eq(dht_krpc_encode(&m, out, room), 0);
}
END_TEST

START_TEST(digests_and_tags_are_read_as_written)
{
    struct dht_message ask = {.kind = DHT_QUERY, .method = DHT_HANSE_GET, .has_id = true, .has_target = true}, back;
    struct dht_message reply = {.kind = DHT_REPLY, .has_id = true, .has_n = true, .n = 512};
    uint8_t out[DHT_DATAGRAM_MAX];
    ask.tid = reply.tid = (struct dht_span){(const uint8_t *)"tid", 3};
    ask.is_digest = true;
    ask.tags = (struct dht_span){(const uint8_t *)"0123456789abcdef", 16};
    reply.digests = (struct dht_span){(const uint8_t *)"0123456789abcdef0123456789abcdef", 32};
    ck_assert_int_eq(dht_krpc_decode(&back, out, dht_krpc_encode(&ask, out, sizeof out)), 0);
    ck_assert(back.is_digest && back.tags.n == 16 && memcmp(back.tags.bytes, ask.tags.bytes, 16) == 0 && !back.has_n);
    ck_assert_int_eq(dht_krpc_decode(&back, out, dht_krpc_encode(&reply, out, sizeof out)), 0);
    ck_assert(!back.is_digest && back.has_n && back.n == 512 && back.digests.n == 32 && !back.tags.bytes);
    ck_assert_int_eq(memcmp(back.digests.bytes, reply.digests.bytes, 32), 0);
}
END_TEST

START_TEST(nodes_are_compact)
{
    struct dht_id id = {{1, 2, 3}}, back_id;
    struct addr addr = {.family = _i, .ip = {0x26, 1, 2, 3}, .port = 4100}, back;
    uint8_t out[2 * 38];
    size_t n = dht_krpc_node_put(out, &id, &addr);
    ck_assert_uint_eq(n, _i == 4 ? 26 : 38);
    struct dht_span nodes = {out, n};
    ck_assert(dht_krpc_node(nodes, _i, 0, &back_id, &back));
    ck_assert(addr_equal(&addr, &back) && memcmp(&id, &back_id, sizeof id) == 0);
    ck_assert(!dht_krpc_node(nodes, _i, 1, &back_id, &back));
    ck_assert(!dht_krpc_node((struct dht_span){0}, _i, 0, &back_id, &back));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-krpc");
    TCase *all = tcase_create("krpc");
    tcase_add_test(all, the_examples_of_bep_5_are_read);
    tcase_add_loop_test(all, what_breaks_the_rules_is_refused, 0, sizeof refused / sizeof refused[0]);
    tcase_add_test(all, an_unknown_name_is_a_query_all_the_same);
    tcase_add_loop_test(all, what_is_written_is_read, DHT_PING, DHT_HANSE_PUT + 1);
    tcase_add_test(all, digests_and_tags_are_read_as_written);
    tcase_add_loop_test(all, nodes_are_compact, 4, 5);
    tcase_add_loop_test(all, nodes_are_compact, 6, 7);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
