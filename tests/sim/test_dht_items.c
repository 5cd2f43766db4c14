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
    size_t n_fixed = SIZE_MAX, n_named = SIZE_MAX, n_peers = SIZE_MAX, n_found = 0;
    dht_put(writer->dht, swarm_now(s), &fixed, count_stored, &n_fixed);
    dht_put(writer->dht, swarm_now(s), &named, count_stored, &n_named);
    dht_announce_peer(writer->dht, swarm_now(s), &info_hash, count_stored, &n_peers);
    swarm_touch(writer);
    swarm_run(s, 5 * SECOND_US);
    ck_assert_uint_ge(n_fixed, 8);
    ck_assert_uint_ge(n_named, 8);
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
        size_t n_stored = SIZE_MAX;
        dht_item_sign(&item, writer->key);
        struct dht_id target = dht_item_target(&item);
        dht_put(writer->dht, swarm_now(s), &item, count_stored, &n_stored);
        swarm_touch(writer);
        swarm_run(s, 5 * SECOND_US);
        ck_assert_uint_ge(n_stored, 8);
        ck_assert_uint_ne(n_stored, SIZE_MAX);
        dht_get(reader->dht, swarm_now(s), &target, item.salt, item.n_salt, note_item, &got);
        swarm_touch(reader);
        swarm_run(s, 5 * SECOND_US);
        ck_assert_uint_eq(got.n_v, item.n_v);
        ck_assert_uint_eq(got.seq, item.seq);
    }
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
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
