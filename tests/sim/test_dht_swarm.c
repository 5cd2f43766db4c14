/* What swarms of DHT nodes promise: records are found, whoever asks, though datagrams get lost and nodes leave. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "dht/id.h"
#include "dht/operation.h"
#include "dht_swarm.h"

#ifndef LIAR_SEEDS
#define LIAR_SEEDS 2
#endif

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

/* With a public address (odd seeds) it cannot know yet which ids that address allows it: whoever was told of it asks it all the same. */
START_TEST(the_first_node_serves_its_own_entries)
{
    struct swarm_config config = {.seed = (uint64_t)_i, .delay_min_us = 100, .is_public = _i % 2};
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

START_TEST(every_record_is_found_among_five_hundred)
{
    find_everything_in(plain((uint64_t)_i), 500);
}
END_TEST

/* How many of the DHT_K nodes nearest to a key hold an entry of it. */
static size_t n_holding(struct swarm *s, const struct dht_id *key)
{
    size_t n_holding = 0;
    for (size_t i = 0; i < swarm_n(s); i++) {
        struct dht *dht = swarm_node(s, i)->dht;
        struct dht_id id = dht_own_id(dht);
        size_t n_nearer = 0;
        for (size_t j = 0; j < swarm_n(s) && n_nearer < DHT_K; j++) {
            struct dht_id other = dht_own_id(swarm_node(s, j)->dht);
            n_nearer += dht_id_compare(key, &other, &id) < 0;
        }
        n_holding += n_nearer < DHT_K && dht_directory_next(&dht->directory, key, NULL, swarm_now(s));
    }
    return n_holding;
}

/* Twenty publish while they are nearly alone; then 180 come, most of them nearer to the keys than those who hold them. */
START_TEST(newcomers_are_given_what_they_should_hold)
{
    struct swarm_config config = plain((uint64_t)_i);
    struct swarm *s = swarm_new(&config);
    struct swarm_read read;
    size_t n = 0;
    swarm_grow(s, 20, 20000);
    for (unsigned i = 0; i < 20; i++) {
        struct dht_id key = key_of(i);
        swarm_publish(swarm_node(s, i), &key, "early");
    }
    swarm_grow(s, 180, 20000);
    swarm_run(s, 5 * SECOND_US);
    for (unsigned i = 0; i < 20; i++) {
        struct dht_id key = key_of(i);
        n += n_holding(s, &key);
    }
    ck_assert_msg(n >= 20 * DHT_K * 95 / 100, "%zu of %d places are filled", n, 20 * DHT_K);
    for (unsigned i = 0; i < 20; i++) { /* for who has just come, too */
        struct dht_id key = key_of(i);
        struct swarm_node *reader = swarm_add(s, true);
        swarm_join(reader, &swarm_node(s, 199 - i)->addr);
        swarm_read(reader, &key, &read);
        ck_assert(swarm_has(&read, swarm_node(s, i), "early"));
    }
    swarm_free(s);
}
END_TEST

/* The first is alone and asks nobody; the second is told of it but could not reach it when it started. */
START_TEST(a_host_that_waits_alone_is_met_within_seconds)
{
    struct swarm_config config = {.seed = (uint64_t)_i, .delay_min_us = 100};
    struct swarm *s = swarm_new(&config);
    struct swarm_node *early = swarm_add(s, false), *late = swarm_add(s, false);
    struct dht_config again = {.key = late->key, .port = 4100, .seed = 99};
    swarm_kill(late);
    swarm_join(early, &late->addr);
    swarm_run(s, 100 * SECOND_US + (uint64_t)_i * 300000);
    ck_assert_int_eq(dht_new(&again, &late->io, swarm_now(s), &late->dht), 0);
    swarm_run(s, 3200000);
    ck_assert_uint_eq(dht_n_good(early->dht), 1);
    ck_assert_uint_eq(dht_n_good(late->dht), 1);
    swarm_free(s);
}
END_TEST

START_TEST(records_outlive_a_third_of_the_swarm)
{
    struct swarm_config config = plain((uint64_t)_i);
    struct swarm *s = swarm_new(&config);
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "churn");
    swarm_grow(s, 150, 20000);
    swarm_run(s, 20 * SECOND_US);
    publish_some(s, 150);
    swarm_run(s, 10 * SECOND_US);
    for (int n_left = 0; n_left < 50;) {
        struct swarm_node *node = swarm_node(s, rng_below(&rng, 150));
        if (node->dht && node->i % 10 != 0 && node->i != 3) {
            swarm_kill(node);
            n_left++;
        }
    }
    find_all(s, 150, 3); /* at once, with tables full of the dead */
    swarm_run(s, 200 * SECOND_US);
    find_all(s, 150, 3);             /* stored anew, among the living */
    for (size_t i = 0; i < 150; i++) /* and the dead are counted as such */
        if (swarm_node(s, i)->dht)
            ck_assert_uint_lt(dht_n_good(swarm_node(s, i)->dht), 100);
    swarm_free(s);
}
END_TEST

/* One in five lies, and all liars know each other. */
START_TEST(liars_hide_hardly_anything)
{
    enum { N = 150, N_READS = 200 };
    struct swarm_config config = plain((uint64_t)_i);
    struct swarm_read read;
    struct rng rng;
    size_t n_found = 0;
    config.is_public = true;
    struct swarm *s = swarm_new(&config);
    rng_init(&rng, (uint64_t)_i, "liars");
    swarm_grow(s, N, 20000);
    swarm_run(s, 20 * SECOND_US);
    for (size_t i = 0; i < N; i += 5)
        swarm_corrupt(swarm_node(s, i));
    swarm_run(s, 30 * SECOND_US);
    for (unsigned i = 1; i < N; i += 5) {
        struct dht_id key = key_of(i);
        swarm_publish(swarm_node(s, i), &key, "true");
    }
    swarm_run(s, 10 * SECOND_US);
    for (size_t i = 0; i < N_READS; i++) {
        unsigned writer = 5 * (unsigned)rng_below(&rng, N / 5) + 1;
        struct dht_id key = key_of(writer);
        swarm_read(swarm_node(s, 5 * rng_below(&rng, N / 5) + 2), &key, &read);
        n_found += swarm_has(&read, swarm_node(s, writer), "true");
    }
    ck_assert_msg(n_found * 100 >= 99 * N_READS, "%zu of %d reads found what they looked for", n_found, N_READS);
    swarm_free(s);
}
END_TEST

START_TEST(what_is_not_renewed_is_gone_after_its_time)
{
    struct swarm_config config = plain((uint64_t)_i);
    struct swarm *s = swarm_new(&config);
    struct swarm_read read;
    struct dht_id key = key_of(7);
    swarm_grow(s, 30, 20000);
    swarm_run(s, 10 * SECOND_US);
    swarm_publish(swarm_node(s, 5), &key, "short life");
    swarm_publish(swarm_node(s, 6), &key, "long life");
    swarm_run(s, 5 * SECOND_US);
    swarm_read(swarm_node(s, 9), &key, &read);
    ck_assert(swarm_has(&read, swarm_node(s, 5), "short life"));
    swarm_kill(swarm_node(s, 5));
    swarm_run(s, 280 * SECOND_US);
    swarm_read(swarm_node(s, 9), &key, &read);
    ck_assert(swarm_has(&read, swarm_node(s, 5), "short life"));
    swarm_run(s, 20 * SECOND_US);
    swarm_read(swarm_node(s, 9), &key, &read);
    ck_assert_uint_eq(read.n, 1);
    ck_assert(swarm_has(&read, swarm_node(s, 6), "long life"));
    for (size_t i = 0; i < 30; i++)
        if (swarm_node(s, i)->dht)
            ck_assert_uint_le(dht_stats(swarm_node(s, i)->dht).n_entries, 1);
    swarm_free(s);
}
END_TEST

START_TEST(a_withdrawn_entry_is_gone_at_once)
{
    struct swarm_config config = plain((uint64_t)_i);
    struct swarm *s = swarm_new(&config);
    struct swarm_read read;
    struct dht_id key = key_of(7);
    swarm_grow(s, 20, 20000);
    swarm_run(s, 10 * SECOND_US);
    swarm_publish(swarm_node(s, 5), &key, "first");
    swarm_run(s, 3 * SECOND_US);
    swarm_publish(swarm_node(s, 5), &key, "second");
    swarm_run(s, 3 * SECOND_US);
    swarm_read(swarm_node(s, 9), &key, &read);
    ck_assert(swarm_has(&read, swarm_node(s, 5), "second"));
    dht_withdraw(swarm_node(s, 5)->dht, swarm_now(s), &key);
    swarm_touch(swarm_node(s, 5));
    swarm_run(s, 3 * SECOND_US);
    swarm_read(swarm_node(s, 9), &key, &read);
    ck_assert_uint_eq(read.n, 0);
    ck_assert_uint_gt(read.n_asked, 0);
    swarm_run(s, 400 * SECOND_US); /* and stays so */
    swarm_read(swarm_node(s, 9), &key, &read);
    ck_assert_uint_eq(read.n, 0);
    swarm_free(s);
}
END_TEST

static void on_item(void *arg, uint64_t now_us, const struct dht_item *item)
{
    (void)now_us;
    (void)item;
    ++*(size_t *)arg;
}

START_TEST(a_withdrawal_that_finds_the_line_full_is_tried_again)
{
    struct swarm_config config = plain((uint64_t)_i);
    struct swarm *s = swarm_new(&config);
    struct swarm_read read;
    struct dht_id key = key_of(7);
    size_t n_done = 0;
    swarm_grow(s, 20, 20000);
    swarm_run(s, 10 * SECOND_US);
    struct swarm_node *node = swarm_node(s, 5);
    swarm_publish(node, &key, "here");
    swarm_run(s, 3 * SECOND_US);
    for (uint32_t i = 0; i < DHT_OPERATIONS_MAX; i++) {
        struct dht_id other = key_of(1000 + i);
        dht_get(node->dht, swarm_now(s), &other, NULL, 0, on_item, &n_done);
    }
    dht_withdraw(node->dht, swarm_now(s), &key);
    swarm_touch(node);
    swarm_run(s, 40 * SECOND_US);
    ck_assert_uint_eq(n_done, DHT_OPERATIONS_MAX);
    ck_assert_uint_eq(node->dht->n_publications, 0);
    swarm_read(swarm_node(s, 9), &key, &read);
    ck_assert(read.n == 0 && read.n_asked > 0);
    swarm_free(s);
}
END_TEST

/* Twenty nodes each, the second twenty from node 20 on; one of these then joins one of those. */
START_TEST(two_swarms_joined_by_one_address_become_one)
{
    struct swarm_config config = plain((uint64_t)_i);
    struct swarm *s = swarm_new(&config);
    struct swarm_read read;
    struct dht_id key = key_of(7);
    swarm_grow(s, 20, 20000);
    (void)swarm_add(s, false);
    for (size_t i = 21; i < 40; i++)
        swarm_join(swarm_add(s, false), &swarm_node(s, 20)->addr);
    swarm_run(s, 30 * SECOND_US);
    swarm_publish(swarm_node(s, 3), &key, "one");
    swarm_publish(swarm_node(s, 33), &key, "two");
    swarm_run(s, 30 * SECOND_US);
    swarm_read(swarm_node(s, 9), &key, &read);
    ck_assert_uint_eq(read.n, 1);
    swarm_join(swarm_node(s, 25), &swarm_node(s, 10)->addr);
    swarm_run(s, 600 * SECOND_US);
    for (size_t i = 0; i < 40; i++) {
        swarm_read(swarm_node(s, i), &key, &read);
        ck_assert_msg(read.n == 2, "node %zu finds %zu of 2", i, read.n);
    }
    swarm_free(s);
}
END_TEST

START_TEST(a_node_that_lost_everybody_joins_again)
{
    struct swarm_config config = plain((uint64_t)_i);
    struct swarm *s = swarm_new(&config);
    struct swarm_node *a = swarm_add(s, false), *b = swarm_add(s, false);
    swarm_join(b, &a->addr);
    swarm_run(s, 10 * SECOND_US);
    ck_assert_uint_eq(dht_n_good(b->dht), 1);
    swarm_kill(a);
    swarm_run(s, 400 * SECOND_US);
    ck_assert_uint_eq(dht_n_good(b->dht), 0);
    struct dht_config again = {.key = a->key, .port = 4100, .seed = 99};
    ck_assert_int_eq(dht_new(&again, &a->io, swarm_now(s), &a->dht), 0);
    swarm_run(s, 60 * SECOND_US);
    ck_assert_uint_eq(dht_n_good(b->dht), 1);
    ck_assert_uint_eq(dht_n_good(a->dht), 1);
    swarm_free(s);
}
END_TEST

START_TEST(readers_are_in_no_table)
{
    struct swarm_config config = plain((uint64_t)_i);
    struct swarm *s = swarm_new(&config);
    struct swarm_read read;
    struct dht_id key = key_of(7);
    swarm_grow(s, 10, 20000);
    for (size_t i = 10; i < 15; i++)
        swarm_join(swarm_add(s, true), &swarm_node(s, 0)->addr);
    swarm_publish(swarm_node(s, 5), &key, "here");
    swarm_run(s, 100 * SECOND_US);
    for (size_t i = 0; i < 15; i++) {
        swarm_read(swarm_node(s, i), &key, &read);
        ck_assert(swarm_has(&read, swarm_node(s, 5), "here"));
        ck_assert_uint_le(dht_stats(swarm_node(s, i)->dht).n_nodes, i < 10 ? 9 : 10);
    }
    swarm_free(s);
}
END_TEST

/* Whoever finds nothing where nodes lie as thick as anywhere need not go there five times. */
START_TEST(that_nothing_is_there_is_known_after_one_walk)
{
    enum { N = 300, N_READS = 40 };
    struct swarm_config config = plain((uint64_t)_i);
    struct swarm_read read;
    config.is_public = true;
    struct swarm *s = swarm_new(&config);
    swarm_grow(s, N, 20000);
    swarm_run(s, 40 * SECOND_US);
    for (unsigned i = 0; i < N; i += 30) /* each has written before, and so walked */
        for (unsigned j = 0; j < 4; j++) {
            struct dht_id key = key_of(i + j);
            swarm_publish(swarm_node(s, i), &key, "true");
        }
    swarm_run(s, 10 * SECOND_US);
    size_t n_again = 0;
    for (unsigned i = 0; i < N_READS; i++) {
        struct swarm_node *reader = swarm_node(s, i % 10 * 30);
        struct dht_id key = key_of(10000 + i);
        uint64_t n_before = dht_stats(reader->dht).n_queries_out;
        swarm_read(reader, &key, &read);
        ck_assert(read.is_done && read.n == 0);
        n_again += dht_stats(reader->dht).n_queries_out - n_before > 60;
    }
    ck_assert_msg(n_again <= N_READS / 5, "%zu of %d reads of nothing walked again", n_again, N_READS);
    swarm_free(s);
}
END_TEST

/* A trainer that reads a row every few seconds asks four holders, once. */
START_TEST(a_second_read_is_cheap)
{
    struct swarm_config config = plain((uint64_t)_i);
    struct swarm *s = swarm_new(&config);
    struct swarm_read read;
    struct dht_id key = key_of(7);
    swarm_grow(s, 100, 20000);
    swarm_publish(swarm_node(s, 5), &key, "here");
    swarm_run(s, 20 * SECOND_US);
    struct swarm_node *reader = swarm_node(s, 50);
    swarm_read(reader, &key, &read);
    for (int i = 0; i < 5; i++) {
        uint64_t n_before = dht_stats(reader->dht).n_queries_out;
        swarm_read(reader, &key, &read);
        ck_assert(swarm_has(&read, swarm_node(s, 5), "here"));
        ck_assert_uint_le(dht_stats(reader->dht).n_queries_out - n_before, 6);
        ck_assert_uint_le(read.took_us, 150000);
    }
    swarm_free(s);
}
END_TEST

/* Forty writers with the largest entries under one key: eight holders, forty pages each. */
START_TEST(a_crowded_key_is_read_page_by_page)
{
    struct swarm_config config = {.seed = (uint64_t)_i, .delay_min_us = 1000, .delay_spread_us = 1000};
    struct swarm *s = swarm_new(&config);
    struct swarm_read read;
    struct dht_id key = key_of(7);
    char text[DHT_DIRECTORY_BYTES_MAX + 1];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    swarm_grow(s, 40, 20000);
    for (size_t i = 0; i < 40; i++)
        swarm_publish(swarm_node(s, i), &key, text);
    swarm_run(s, 20 * SECOND_US);
    for (size_t i = 0; i < 40; i += 13) {
        swarm_read(swarm_node(s, i), &key, &read);
        for (size_t j = 0; j < 40; j++)
            ck_assert(swarm_has(&read, swarm_node(s, j), text));
    }
    swarm_free(s);
}
END_TEST

struct early {
    size_t n_some, n_done;
    uint64_t first_us;
    bool is_done;
};

static void on_some(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n)
{
    struct early *early = arg;
    ck_assert(!early->is_done && n == 1 && entry->n_bytes > 0);
    if (early->n_some == 0)
        early->first_us = now_us;
    early->n_some += n;
}

static void on_done(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct early *early = arg;
    (void)now_us;
    (void)entry;
    (void)n_asked;
    early->is_done = true;
    early->n_done = n;
}

START_TEST(an_early_reader_hears_entries_as_they_come)
{
    struct swarm_config config = {.seed = (uint64_t)_i, .delay_min_us = 10000, .delay_spread_us = 20000};
    struct swarm *s = swarm_new(&config);
    struct dht_id key = key_of(7);
    swarm_grow(s, 40, 20000);
    for (size_t i = 0; i < 5; i++)
        swarm_publish(swarm_node(s, i), &key, "here");
    swarm_run(s, 20 * SECOND_US);
    struct swarm_node *reader = swarm_add(s, true);
    swarm_join(reader, &swarm_node(s, 3)->addr);
    swarm_run(s, 5 * SECOND_US);
    struct early early = {0};
    uint64_t start_us = swarm_now(s);
    dht_read_early(reader->dht, start_us, &key, on_some, on_done, &early);
    swarm_touch(reader);
    swarm_run(s, 100000);
    ck_assert_uint_gt(early.n_some, 0);
    ck_assert_uint_le(early.first_us, start_us + 100000);
    swarm_run(s, 8 * SECOND_US);
    ck_assert(early.is_done);
    ck_assert_uint_eq(early.n_done, 5);
    ck_assert_uint_ge(early.n_some, 5);
    swarm_free(s);
}
END_TEST

static struct hash run_of(uint64_t seed)
{
    struct swarm_config config = plain(seed);
    config.loss_percent = 5;
    struct swarm *s = swarm_new(&config);
    swarm_grow(s, 40, 20000);
    publish_some(s, 40);
    swarm_run(s, 200 * SECOND_US);
    struct hash trace = swarm_trace(s);
    swarm_free(s);
    return trace;
}

START_TEST(the_same_seed_gives_the_same_run)
{
    struct hash a = run_of((uint64_t)_i), again = run_of((uint64_t)_i), b = run_of((uint64_t)_i + 1);
    ck_assert(hash_equal(&a, &again));
    ck_assert(!hash_equal(&a, &b));
}
END_TEST

/* Far more keys than a node may keep published, and two stores of one key in one breath: the later counts. */
START_TEST(what_is_stored_once_is_found)
{
    struct swarm_config config = {.seed = (uint64_t)_i, .delay_min_us = 1000, .delay_spread_us = 1000};
    struct swarm *s = swarm_new(&config);
    swarm_grow(s, 40, 10000);
    struct swarm_node *writer = swarm_node(s, 7), *reader = swarm_node(s, 23);
    size_t n_stored[600];
    swarm_run(s, 3 * SECOND_US);
    for (uint32_t i = 0; i < 600; i++) {
        struct dht_id key = key_of(i);
        n_stored[i] = SIZE_MAX;
        dht_store_entry(writer->dht, swarm_now(s), &key, &writer->addr, "first", 5, NULL, NULL);
        dht_store_entry(writer->dht, swarm_now(s), &key, &writer->addr, "second", 6, count_stored, &n_stored[i]);
    }
    swarm_touch(writer);
    swarm_run(s, 10 * SECOND_US);
    for (uint32_t i = 0; i < 600; i++)
        ck_assert_uint_eq(n_stored[i] >= 8 && n_stored[i] <= 24, 1);
    for (uint32_t i = 0; i < 600; i += 37) {
        struct dht_id key = key_of(i);
        struct swarm_read read;
        swarm_read(reader, &key, &read);
        ck_assert_uint_eq(read.n, 1);
        ck_assert(swarm_has(&read, writer, "second"));
    }
    swarm_free(s);
}
END_TEST

START_TEST(a_node_is_joined_once_it_knows_its_neighbours)
{
    struct swarm_config config = {.seed = (uint64_t)_i, .delay_min_us = 10000};
    struct swarm *s = swarm_new(&config);
    struct swarm_node *first = swarm_add(s, false), *late = swarm_add(s, false);
    ck_assert(!dht_is_joined(first->dht));
    swarm_join(late, &first->addr);
    ck_assert(!dht_is_joined(late->dht));
    swarm_run(s, 25000); /* the ping was answered, the look for neighbours was not */
    ck_assert(!dht_is_joined(late->dht) && dht_n_good(late->dht) == 1);
    swarm_run(s, SECOND_US);
    ck_assert(dht_is_joined(late->dht) && dht_is_joined(first->dht));
    swarm_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-swarm");
    TCase *small = tcase_create("small");
    tcase_add_loop_test(small, two_hosts_that_start_at_once_find_each_other, 0, 20);
    tcase_add_loop_test(small, the_first_node_serves_its_own_entries, 0, 5);
    tcase_add_loop_test(small, a_node_without_company_reads_nothing, 0, 5);
    tcase_add_loop_test(small, a_node_is_joined_once_it_knows_its_neighbours, 0, 5);
    tcase_add_loop_test(small, a_host_that_waits_alone_is_met_within_seconds, 0, 10);
    suite_add_tcase(suite, small);
    TCase *swarm = tcase_create("swarm");
    tcase_set_timeout(swarm, 120);
    tcase_add_loop_test(swarm, every_record_is_found, 0, 2);
    tcase_add_loop_test(swarm, every_record_is_found_though_datagrams_get_lost, 0, 1);
    tcase_add_loop_test(swarm, every_record_is_found_among_public_addresses, 0, 2);
    tcase_add_loop_test(swarm, every_record_is_found_among_five_hundred, 0, 1);
    tcase_add_loop_test(swarm, newcomers_are_given_what_they_should_hold, 0, 1);
    tcase_add_loop_test(swarm, records_outlive_a_third_of_the_swarm, 0, 2);
    tcase_add_loop_test(swarm, liars_hide_hardly_anything, 0, LIAR_SEEDS);
    tcase_add_loop_test(swarm, what_is_not_renewed_is_gone_after_its_time, 0, 3);
    tcase_add_loop_test(swarm, a_withdrawn_entry_is_gone_at_once, 0, 3);
    tcase_add_test(swarm, a_withdrawal_that_finds_the_line_full_is_tried_again);
    tcase_add_loop_test(swarm, two_swarms_joined_by_one_address_become_one, 0, 3);
    tcase_add_loop_test(swarm, a_node_that_lost_everybody_joins_again, 0, 3);
    tcase_add_loop_test(swarm, readers_are_in_no_table, 0, 2);
    tcase_add_loop_test(swarm, that_nothing_is_there_is_known_after_one_walk, 0, 2);
    tcase_add_loop_test(swarm, a_second_read_is_cheap, 0, 2);
    tcase_add_loop_test(swarm, a_crowded_key_is_read_page_by_page, 0, 2);
    tcase_add_loop_test(swarm, an_early_reader_hears_entries_as_they_come, 0, 3);
    tcase_add_loop_test(swarm, what_is_stored_once_is_found, 0, 2);
    tcase_add_loop_test(swarm, the_same_seed_gives_the_same_run, 0, 1);
    suite_add_tcase(suite, swarm);
    return unit_run(suite);
}
