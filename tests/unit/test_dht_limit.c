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
        n += dht_limits_allow(&limits, kind, addr, false, now_us);
    return n;
}

static void setup(void)
{
    dht_limits_init(&limits, 1);
}

static void teardown(void)
{
    dht_limits_fini(&limits);
}

START_TEST(who_asks_too_much_waits)
{
    struct addr one = at(80, 1, 2, 3), port = one, other = at(80, 1, 2, 4);
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
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &one, NOW_US, 60000), 50000);
}
END_TEST

START_TEST(strangers_together_have_a_limit)
{
    size_t n = 0;
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
    same.ip[6] = 9;
    other.ip[5] = 9;
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &one, NOW_US, 1000), 500);
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &same, NOW_US, 1), 0);
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &other, NOW_US, 1), 1);
}
END_TEST

/* An asker a second, none of whom owes anything when the next one comes: hardly any memory.  A crowd at once: all are remembered
 * up to the ceiling, and still when the table grew. */
START_TEST(memory_follows_those_who_owe)
{
    ck_assert_uint_eq(dht_limits_memory(&limits), 0);
    for (unsigned i = 0; i < 1000; i++) {
        struct addr one = at(80, 1, (uint8_t)(i >> 8), (uint8_t)i);
        ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &one, NOW_US + i * (uint64_t)1000000, 5), 5);
    }
    size_t least = dht_limits_memory(&limits);
    ck_assert_uint_le(least, 1024);
    uint64_t now_us = NOW_US + (uint64_t)2000 * 1000000;
    for (unsigned i = 0; i < 9; i++) {
        struct addr one = at(80, 2, 0, (uint8_t)i);
        ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &one, now_us, 1000), 500);
        now_us += 900000; /* those before still owe a little */
    }
    for (unsigned i = 0; i < 200; i++) {
        struct addr one = at(10, 2, 0, (uint8_t)i);
        ck_assert_uint_eq(take(DHT_LIMIT_SIGNATURES, &one, now_us, 100), 100);
    }
    ck_assert_uint_gt(dht_limits_memory(&limits), 200 * sizeof(struct dht_limit_slot));
    struct addr last = at(80, 2, 0, 8);
    ck_assert_uint_eq(take(DHT_LIMIT_QUERIES, &last, now_us, 1000), 90); /* what leaked away since */
    for (unsigned i = 0; i < 20000; i++) {
        struct addr one = at(10, 3, (uint8_t)(i >> 8), (uint8_t)i);
        ck_assert_uint_eq(take(DHT_LIMIT_SIGNATURES, &one, now_us, 1), 1);
    }
    ck_assert_uint_eq(limits.n_sets, DHT_LIMIT_SETS);
}
END_TEST

START_TEST(forged_addresses_do_not_silence_who_is_proven)
{
    struct addr honest = at(90, 1, 1, 1), neighbour = at(127, 0, 0, 1);
    for (unsigned i = 0; i < 10000; i++) {
        struct addr one = at(80, 1, (uint8_t)(i >> 8), (uint8_t)i);
        take(DHT_LIMIT_QUERIES, &one, NOW_US, 1);
    }
    ck_assert(!dht_limits_allow(&limits, DHT_LIMIT_QUERIES, &honest, false, NOW_US));
    ck_assert(dht_limits_allow(&limits, DHT_LIMIT_QUERIES, &honest, true, NOW_US));
    ck_assert(dht_limits_allow(&limits, DHT_LIMIT_QUERIES, &neighbour, false, NOW_US));
    for (unsigned i = 0; i < 200000; i++) { /* forged as of our own network */
        struct addr one = at(10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i);
        take(DHT_LIMIT_QUERIES, &one, NOW_US, 1);
    }
    ck_assert(!dht_limits_allow(&limits, DHT_LIMIT_QUERIES, &neighbour, false, NOW_US));
    ck_assert(dht_limits_allow(&limits, DHT_LIMIT_QUERIES, &honest, true, NOW_US));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-limit");
    TCase *all = tcase_create("limit");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, who_asks_too_much_waits);
    tcase_add_test(all, neighbours_share_a_machine);
    tcase_add_test(all, strangers_together_have_a_limit);
    tcase_add_test(all, forged_addresses_do_not_silence_who_is_proven);
    tcase_add_test(all, one_network_of_v6_is_one_asker);
    tcase_add_test(all, memory_follows_those_who_owe);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
