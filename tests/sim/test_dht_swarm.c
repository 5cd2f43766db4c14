/* What swarms of DHT nodes promise: records are found, whoever asks, though datagrams get lost and nodes leave. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "dht_swarm.h"

static struct dht_id key_of(unsigned row)
{
    struct hash run = hash_bytes("a run", 5);
    return dht_directory_key(&run, "experts", 3, row);
}

static struct swarm_config plain(uint64_t seed)
{
    return (struct swarm_config){.seed = seed, .delay_min_us = 10000, .delay_spread_us = 60000};
}

START_TEST(two_hosts_that_start_at_once_find_each_other)
{
    struct swarm_config config = {.seed = (uint64_t)_i, .delay_min_us = 100};
    struct swarm *s = swarm_new(&config);
    struct swarm_node *a = swarm_add(s, false), *b = swarm_add(s, false);
    struct dht_id key = key_of(0);
    struct addr closed = {.family = 4, .ip = {10, 200, 0, 0}, .port = 1};
    for (int i = 0; i < 20; i++, closed.port++) {
        swarm_join(a, &closed);
        swarm_join(b, &closed);
    }
    swarm_join(a, &b->addr);
    swarm_join(b, &a->addr);
    swarm_publish(a, &key, "from a");
    swarm_publish(b, &key, "from b");
    swarm_run(s, SECOND_US);
    struct swarm_read read;
    swarm_read(a, &key, &read);
    ck_assert(swarm_has(&read, a, "from a") && swarm_has(&read, b, "from b"));
    swarm_read(b, &key, &read);
    ck_assert(swarm_has(&read, a, "from a") && swarm_has(&read, b, "from b"));
    swarm_free(s);
}
END_TEST

static void count_stored(void *arg, uint64_t now_us, size_t n_stored)
{
    size_t *out = arg;
    (void)now_us;
    ck_assert_uint_eq(*out, SIZE_MAX);
    *out = n_stored;
}

START_TEST(the_first_node_serves_its_own_entries)
{
    struct swarm_config config = {.seed = (uint64_t)_i, .delay_min_us = 100};
    struct swarm *s = swarm_new(&config);
    struct swarm_node *a = swarm_add(s, false);
    struct dht_id key = key_of(0);
    size_t n_stored = SIZE_MAX;
    struct addr open = {.family = 4, .port = 4100};
    dht_publish(a->dht, swarm_now(s), &key, &open, "alone", 5, count_stored, &n_stored);
    swarm_touch(a);
    swarm_run(s, SECOND_US / 10);
    ck_assert_uint_eq(n_stored, 1);
    struct swarm_node *trainer = swarm_add(s, true);
    swarm_join(trainer, &a->addr);
    struct swarm_read read;
    swarm_read(trainer, &key, &read);
    ck_assert_uint_eq(read.n_asked, 1);
    ck_assert(swarm_has(&read, a, "alone"));
    ck_assert_uint_eq(dht_n_good(a->dht), 0); /* the trainer is in no table */
    swarm_free(s);
}
END_TEST

START_TEST(a_node_without_company_reads_nothing)
{
    struct swarm_config config = {.seed = (uint64_t)_i, .delay_min_us = 100};
    struct swarm *s = swarm_new(&config);
    struct swarm_node *a = swarm_add(s, true);
    struct addr closed = {.family = 4, .ip = {10, 200, 0, 0}, .port = 1};
    struct dht_id key = key_of(0);
    struct swarm_read read;
    swarm_join(a, &closed);
    swarm_read(a, &key, &read);
    ck_assert_uint_eq(read.n, 0);
    ck_assert_uint_eq(read.n_asked, 0);
    ck_assert_uint_le(read.took_us, SECOND_US);
    swarm_free(s);
}
END_TEST

/* Every tenth node publishes under a key of its own and under one that all share. */
static void publish_some(struct swarm *s, size_t n)
{
    struct dht_id shared = key_of(1000000);
    for (size_t i = 0; i < n; i += 10) {
        struct dht_id key = key_of((unsigned)i);
        swarm_publish(swarm_node(s, i), &key, "own");
        if (i < 300)
            swarm_publish(swarm_node(s, i), &shared, "shared");
    }
}

/* Reads from every `step`-th node that lives; all that living nodes published must be there. */
static void find_all(struct swarm *s, size_t n, size_t step)
{
    struct swarm_read read;
    for (size_t i = 0; i < n; i += 10) {
        struct dht_id key = key_of((unsigned)i);
        struct swarm_node *reader = swarm_node(s, (i * 7 + step) % n);
        if (!reader->dht || !swarm_node(s, i)->dht)
            continue;
        swarm_read(reader, &key, &read);
        ck_assert_msg(swarm_has(&read, swarm_node(s, i), "own"), "node %zu does not find what %zu published", reader->i, i);
    }
    struct dht_id shared = key_of(1000000);
    struct swarm_node *reader = swarm_node(s, step);
    swarm_read(reader, &shared, &read);
    for (size_t i = 0; i < n && i < 300; i += 10)
        ck_assert(!swarm_node(s, i)->dht || swarm_has(&read, swarm_node(s, i), "shared"));
}

static void find_everything_in(struct swarm_config config, size_t n)
{
    struct swarm *s = swarm_new(&config);
    swarm_grow(s, n, 20000);
    swarm_run(s, 20 * SECOND_US);
    publish_some(s, n);
    swarm_run(s, 10 * SECOND_US);
    find_all(s, n, 3);
    swarm_free(s);
}

START_TEST(every_record_is_found)
{
    find_everything_in(plain((uint64_t)_i), 100);
}
END_TEST

START_TEST(every_record_is_found_though_datagrams_get_lost)
{
    struct swarm_config config = plain((uint64_t)_i);
    config.loss_percent = 10;
    find_everything_in(config, 200);
}
END_TEST

START_TEST(every_record_is_found_among_public_addresses)
{
    struct swarm_config config = plain((uint64_t)_i);
    config.is_public = true;
    find_everything_in(config, 150);
}
END_TEST

START_TEST(every_record_is_found_among_a_thousand)
{
    find_everything_in(plain((uint64_t)_i), 1000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-swarm");
    TCase *small = tcase_create("small");
    tcase_add_loop_test(small, two_hosts_that_start_at_once_find_each_other, 0, 20);
    tcase_add_loop_test(small, the_first_node_serves_its_own_entries, 0, 5);
    tcase_add_loop_test(small, a_node_without_company_reads_nothing, 0, 5);
    suite_add_tcase(suite, small);
    TCase *swarm = tcase_create("swarm");
    tcase_set_timeout(swarm, 120);
    tcase_add_loop_test(swarm, every_record_is_found, 0, 3);
    tcase_add_loop_test(swarm, every_record_is_found_though_datagrams_get_lost, 0, 2);
    tcase_add_loop_test(swarm, every_record_is_found_among_public_addresses, 0, 2);
    tcase_add_loop_test(swarm, every_record_is_found_among_a_thousand, 0, 1);
    suite_add_tcase(suite, swarm);
    return unit_run(suite);
}
