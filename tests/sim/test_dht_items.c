/* Mainline's own: items (BEP 44) and peers (BEP 5) that one node of a swarm stored are found by another. */
#include "unit.h"

#include <string.h>

#include "dht_swarm.h"

static struct swarm_config plain(uint64_t seed)
{
    return (struct swarm_config){.seed = seed, .delay_min_us = 10000, .delay_spread_us = 60000};
}

static void count_stored(void *arg, uint64_t now_us, size_t n_stored)
{
    size_t *out = arg;
    (void)now_us;
    ck_assert_uint_eq(*out, SIZE_MAX);
    *out = n_stored;
}

static void note_put(void *arg, uint64_t now_us, const struct dht_put_result *result)
{
    struct dht_put_result *out = arg;
    (void)now_us;
    ck_assert_uint_eq(out->n_stored, SIZE_MAX);
    *out = *result;
}

static struct dht_put_result put(struct swarm *s, struct swarm_node *from, const struct dht_item *item, const uint64_t *cas)
{
    struct dht_put_result result = {.n_stored = SIZE_MAX};
    dht_put(from->dht, swarm_now(s), item, cas, note_put, &result);
    swarm_touch(from);
    swarm_run(s, 5 * SECOND_US);
    ck_assert_uint_ne(result.n_stored, SIZE_MAX);
    return result;
}

static void note_item(void *arg, uint64_t now_us, const struct dht_item *item)
{
    struct dht_item *out = arg;
    (void)now_us;
    out->n_v = SIZE_MAX;
    if (item)
        *out = *item;
}

static void note_peers(void *arg, uint64_t now_us, const struct addr *peer, size_t n)
{
    (void)now_us;
    *(size_t *)arg = n > 0 && peer[0].port == 4100 ? n : 0;
}

START_TEST(items_and_peers_are_found)
{
    struct swarm_config config = plain((uint64_t)_i);
    struct swarm *s = swarm_new(&config);
    swarm_grow(s, 60, 20000);
    swarm_run(s, 10 * SECOND_US);
    struct swarm_node *writer = swarm_node(s, 4), *reader = swarm_node(s, 50);
    struct dht_item fixed = {.n_v = 1000}, named = {.is_mutable = true, .seq = 3, .salt = "salt", .n_salt = 4}, got;
    memset(fixed.v, 'x', sizeof fixed.v);
    memcpy(fixed.v, "996:", 4);
    memcpy(named.v, "5:hello", named.n_v = 7);
    dht_item_sign(&named, writer->key);
    struct dht_id info_hash = {{1, 2, 3}}, target = dht_item_target(&fixed);
    struct dht_put_result put_fixed = {.n_stored = SIZE_MAX}, put_named = put_fixed;
    size_t n_peers = SIZE_MAX, n_found = 0;
    dht_put(writer->dht, swarm_now(s), &fixed, NULL, note_put, &put_fixed);
    dht_put(writer->dht, swarm_now(s), &named, NULL, note_put, &put_named);
    dht_announce_peer(writer->dht, swarm_now(s), &info_hash, count_stored, &n_peers);
    swarm_touch(writer);
    swarm_run(s, 5 * SECOND_US);
    ck_assert_uint_ge(put_fixed.n_stored, 8);
    ck_assert_uint_ge(put_named.n_stored, 8);
    ck_assert_uint_ge(n_peers, 8);
    dht_get(reader->dht, swarm_now(s), &target, NULL, 0, note_item, &got);
    dht_get_peers(reader->dht, swarm_now(s), &info_hash, note_peers, &n_found);
    swarm_touch(reader);
    swarm_run(s, 5 * SECOND_US);
    ck_assert_uint_eq(n_found, 1);
    ck_assert_uint_eq(got.n_v, fixed.n_v);
    ck_assert_mem_eq(got.v, fixed.v, fixed.n_v);
    target = dht_item_target(&named);
    dht_get(reader->dht, swarm_now(s), &target, "salt", 4, note_item, &got);
    swarm_touch(reader);
    swarm_run(s, 5 * SECOND_US);
    ck_assert_uint_eq(got.n_v, 7);
    ck_assert_uint_eq(got.seq, 3);
    target.byte[0] ^= 1;
    dht_get(reader->dht, swarm_now(s), &target, "salt", 4, note_item, &got);
    swarm_touch(reader);
    swarm_run(s, 5 * SECOND_US);
    ck_assert_uint_eq(got.n_v, SIZE_MAX);
    swarm_free(s);
}
END_TEST

/* The most that BEP 44 allows, and its successor everywhere: whoever holds the first still tells the way. */
START_TEST(the_largest_item_is_found_and_replaced)
{
    struct swarm_config config = plain((uint64_t)_i);
    struct swarm *s = swarm_new(&config);
    swarm_grow(s, 60, 20000);
    swarm_run(s, 10 * SECOND_US);
    struct swarm_node *writer = swarm_node(s, 4), *reader = swarm_node(s, 50);
    struct dht_item item = {.is_mutable = true, .n_salt = sizeof item.salt, .n_v = _i % 2 ? 73 : 1000}, got;
    memset(item.salt, 's', sizeof item.salt);
    memset(item.v, 'x', sizeof item.v);
    memcpy(item.v, "996:", 4);
    if (_i % 2) /* a small one, which answers have room for beside the way, for some of it */
        memcpy(item.v, "70:", 3);
    for (item.seq = INT64_MAX - 2; item.seq < INT64_MAX; item.seq++) {
        dht_item_sign(&item, writer->key);
        struct dht_id target = dht_item_target(&item);
        ck_assert_uint_ge(put(s, writer, &item, NULL).n_stored, 8);
        dht_get(reader->dht, swarm_now(s), &target, item.salt, item.n_salt, note_item, &got);
        swarm_touch(reader);
        swarm_run(s, 5 * SECOND_US);
        ck_assert_uint_eq(got.n_v, item.n_v);
        ck_assert_uint_eq(got.seq, item.seq);
    }
    swarm_free(s);
}
END_TEST

/* Two write what follows the same item: the second hears that it is another now, and which. */
START_TEST(an_item_is_replaced_only_by_who_knows_it)
{
    struct swarm_config config = plain((uint64_t)_i);
    config.loss_percent = _i == 1 ? 10 : 0; /* what is sent once more was not refused the first time */
    struct swarm *s = swarm_new(&config);
    swarm_grow(s, 60, 20000);
    swarm_run(s, 10 * SECOND_US);
    struct swarm_node *writer = swarm_node(s, 4);
    struct dht_item item = {.is_mutable = true, .seq = 7, .v = "1:a", .n_v = 3}, other = item;
    uint64_t cas = 7;
    dht_item_sign(&item, writer->key);
    struct dht_put_result result = put(s, writer, &item, &cas);
    ck_assert_uint_ge(result.n_stored, 7);
    ck_assert(result.n_other == 0 && !result.has_held);
    item.seq = 9;
    other.seq = 10;
    item.v[2] = 'b';
    dht_item_sign(&item, writer->key);
    dht_item_sign(&other, writer->key);
    result = put(s, writer, &item, &cas);
    ck_assert_uint_ge(result.n_stored, 7);
    ck_assert(result.n_other == 0 && result.n_newer == 0 && result.has_held && result.held_seq == 7);
    result = put(s, swarm_node(s, 30), &other, &cas);
    ck_assert(result.n_other >= (_i == 1 ? 5 : 7) && result.n_newer == 0 && result.has_held && result.held_seq == 9);
    ck_assert_uint_le(result.n_stored, _i == 1 ? 5 : 0);
    swarm_free(s);
}
END_TEST

/* A node that is near keeps what it puts, by the same rules. */
START_TEST(the_writer_holds_itself_to_the_rules)
{
    struct swarm_config config = plain(1);
    struct swarm *s = swarm_new(&config);
    swarm_grow(s, 2, 20000);
    swarm_run(s, 10 * SECOND_US);
    struct swarm_node *writer = swarm_node(s, 0);
    struct dht_item item = {.is_mutable = true, .seq = 7, .v = "1:a", .n_v = 3};
    uint64_t cas = 6;
    dht_item_sign(&item, writer->key);
    ck_assert_uint_eq(put(s, writer, &item, &cas).n_stored, 2);
    item.seq = 8;
    dht_item_sign(&item, writer->key);
    ck_assert_uint_eq(put(s, writer, &item, &cas).n_other, 2);
    item.seq = 5;
    dht_item_sign(&item, writer->key);
    struct dht_put_result result = put(s, writer, &item, NULL);
    ck_assert(result.n_stored == 0 && result.n_other == 0 && result.n_newer == 2 && result.held_seq == 7);
    swarm_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-items");
    TCase *tests = tcase_create("items");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, items_and_peers_are_found, 0, 2);
    tcase_add_loop_test(tests, the_largest_item_is_found_and_replaced, 0, 4);
    tcase_add_loop_test(tests, an_item_is_replaced_only_by_who_knows_it, 0, 2);
    tcase_add_test(tests, the_writer_holds_itself_to_the_rules);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
