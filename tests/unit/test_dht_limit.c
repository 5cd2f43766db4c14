#include "unit.h"

#include "dht/limit.h"

#define NOW_US ((uint64_t)1000 * 1000000)

static struct dht_limits limits;

static struct addr at(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    return (struct addr){.family = 4, .ip = {a, b, c, d}, .port = 7};
}

static size_t take(enum dht_limit_kind kind, const struct addr *addr, uint64_t now_us, size_t n_tries)
{
    size_t n = 0;
    for (size_t i = 0; i < n_tries; i++)
        n += dht_limits_allow(&limits, kind, addr, now_us);
    return n;
}

START_TEST(who_asks_too_much_waits)
{
    struct addr one = at(80, 1, 2, 3), port = one, other = at(80, 1, 2, 4);
    dht_limits_init(&limits, 1);
    port.port++;
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &one, NOW_US, 1000), 500);
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &port, NOW_US, 10), 0);       /* the port makes no other asker */
    ck_assert_uint_eq(take(DHT_LIMIT_SIGNATURES, &one, NOW_US, 1000), 300); /* each kind by itself */
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &other, NOW_US, 10), 10);
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &one, NOW_US + 1000000, 1000), 100);
    ck_assert_uint_eq(take(DHT_LIMIT_SIGNATURES, &one, NOW_US + 1000000, 1000), 20);
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &one, NOW_US + 100000000, 1000), 500);
}
END_TEST

START_TEST(neighbours_share_a_machine)
{
    struct addr one = at(127, 0, 0, 1);
    dht_limits_init(&limits, 1);
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &one, NOW_US, 60000), 50000);
}
END_TEST

START_TEST(strangers_together_have_a_limit)
{
    size_t n = 0;
    dht_limits_init(&limits, 1);
    for (unsigned i = 0; i < 10000; i++) {
        struct addr one = at(80, 1, (uint8_t)(i >> 8), (uint8_t)i);
        n += take(DHT_LIMIT_QUERIES, &one, NOW_US, 1);
    }
    ck_assert_uint_eq(n, 5000);
    struct addr near = at(10, 0, 0, 1);
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &near, NOW_US, 1), 1); /* which does not shut out our own network */
}
END_TEST

START_TEST(one_network_of_v6_is_one_asker)
{
    struct addr one = {.family = 6, .ip = {0x26, 1}, .port = 7}, same = one, other = one;
    same.ip[15] = 9;
    other.ip[7] = 9;
    dht_limits_init(&limits, 1);
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &one, NOW_US, 1000), 500);
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &same, NOW_US, 1), 0);
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &other, NOW_US, 1), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-limit");
    TCase *all = tcase_create("limit");
    tcase_add_test(all, who_asks_too_much_waits);
    tcase_add_test(all, neighbours_share_a_machine);
    tcase_add_test(all, strangers_together_have_a_limit);
    tcase_add_test(all, one_network_of_v6_is_one_asker);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
