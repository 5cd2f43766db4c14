#include "unit.h"

#include <string.h>

#include "dht/peers.h"

#define NOW_US ((uint64_t)1000 * 1000000)

static int store(struct dht_peers *peers, uint16_t hash, struct addr addr, uint64_t now_us)
{
    struct dht_id info_hash = {{(uint8_t)(hash >> 8), (uint8_t)hash}};
    return dht_peers_store(peers, &info_hash, &addr, now_us);
}

static struct addr at(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port)
{
    return (struct addr){.family = 4, .ip = {a, b, c, d}, .port = port};
}

START_TEST(who_announced_is_listed_for_half_an_hour)
{
    struct dht_peers peers;
    struct dht_id hash = {{0, 1}};
    struct addr out[4];
    struct rng rng;
    rng_init(&rng, 1, "peers");
    dht_peers_init(&peers);
    ck_assert_int_eq(store(&peers, 1, at(80, 1, 1, 1, 5), NOW_US), 0);
    ck_assert_int_eq(store(&peers, 1, at(80, 1, 1, 1, 5), NOW_US + 10), 0);
    ck_assert_int_eq(store(&peers, 2, at(80, 1, 1, 2, 5), NOW_US), 0);
    ck_assert_uint_eq(dht_peers_list(&peers, &hash, 4, &rng, NOW_US + DHT_PEERS_US, out, 4), 1);
    ck_assert_uint_eq(out[0].ip[3], 1);
    ck_assert_uint_eq(dht_peers_list(&peers, &hash, 4, &rng, NOW_US + DHT_PEERS_US + 10, out, 4), 0);
    dht_peers_expire(&peers, NOW_US + DHT_PEERS_US);
    ck_assert_uint_eq(peers.n, 1);
    dht_peers_fini(&peers);
}
END_TEST

START_TEST(nobody_fills_a_hash_alone)
{
    struct dht_peers peers;
    dht_peers_init(&peers);
    for (uint16_t port = 1; port <= 600; port++)
        ck_assert_int_eq(store(&peers, 1, at(80, 1, 1, 1, port), NOW_US), port <= DHT_PEERS_IP_MAX ? 0 : HANSE_EFULL);
    ck_assert_int_eq(store(&peers, 1, at(80, 1, 1, 1, 1), NOW_US), 0); /* what is there may be renewed */
    ck_assert_int_eq(store(&peers, 1, at(80, 1, 1, 2, 5), NOW_US), 0);
    for (uint16_t port = 1; port <= DHT_PEERS_HASH_MAX; port++) /* local nodes share an address */
        ck_assert_int_eq(store(&peers, 2, at(127, 0, 0, 1, port), NOW_US), 0);
    ck_assert_int_eq(store(&peers, 2, at(127, 0, 0, 1, 9999), NOW_US), HANSE_EFULL);
    ck_assert_int_eq(store(&peers, 2, at(127, 0, 0, 1, 9999), NOW_US + DHT_PEERS_US), 0);
    dht_peers_fini(&peers);
}
END_TEST

START_TEST(no_subnet_fills_the_store)
{
    struct dht_peers peers;
    size_t n = 0;
    dht_peers_init(&peers);
    for (uint16_t hash = 0; hash < 2000; hash++)
        n += store(&peers, hash, at(80, 1, 1, (uint8_t)hash, 5), NOW_US) == 0;
    ck_assert_uint_eq(n, DHT_PEERS_SUBNET_MAX);
    ck_assert_int_eq(store(&peers, 7, at(80, 1, 2, 1, 5), NOW_US), 0);
    dht_peers_expire(&peers, NOW_US + DHT_PEERS_US);
    ck_assert_int_eq(store(&peers, 1999, at(80, 1, 1, 1, 5), NOW_US), 0);
    dht_peers_fini(&peers);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-peers");
    TCase *all = tcase_create("peers");
    tcase_add_test(all, who_announced_is_listed_for_half_an_hour);
    tcase_add_test(all, nobody_fills_a_hash_alone);
    tcase_add_test(all, no_subnet_fills_the_store);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
