/* Silent nodes right beside a key: they answer pings, so that they stay in tables, and hide whoever stands behind them. */
#include "unit.h"

#include <string.h>

#include "dht/node.h"
#include "dht_swarm.h"

#define N_SILENT 12

static const struct dht_id key = {{0x27, 0x71, 0x56, 0xe2, 5}};

/* As near to the key as nobody else, and in every table that has room for it. */
static void add_beside(struct swarm *s, size_t n_honest, size_t i)
{
    struct swarm_node *node = swarm_add(s, false);
    struct dht_id id = key;
    id.byte[DHT_ID_BYTES - 1] = (uint8_t)(i + 1);
    dht_table_move(&node->dht->half[0].table, &id);
    for (size_t j = 0; j < n_honest; j++)
        swarm_join(node, &swarm_node(s, j)->addr);
}

static struct swarm *stage(uint64_t seed, size_t n_honest)
{
    struct swarm_config config = {.seed = seed, .delay_min_us = 10000, .delay_spread_us = 30000};
    struct swarm *s = swarm_new(&config);
    swarm_grow(s, n_honest, 20000);
    swarm_run(s, 10 * SECOND_US);
    swarm_publish(swarm_node(s, seed % n_honest), &key, "here");
    swarm_run(s, 5 * SECOND_US);
    for (size_t i = 0; i < N_SILENT; i++)
        add_beside(s, n_honest, i);
    swarm_run(s, 300000);
    for (size_t i = 0; i < N_SILENT; i++)
        swarm_mute(swarm_node(s, n_honest + i), seed % 2 == 0);
    swarm_run(s, 20 * SECOND_US);
    return s;
}

/* A reader as `hanse dht get` is one: it knows a single node, and asks soon after that answered. */
static void read_anew(struct swarm *s, size_t from, struct swarm_read *read)
{
    struct swarm_node *reader = swarm_add(s, true);
    swarm_join(reader, &swarm_node(s, from)->addr);
    swarm_run(s, 400000);
    swarm_read(reader, &key, read);
    ck_assert_uint_ge(dht_read_n_silent(reader->dht), DHT_K);
}

static void all_find_it(uint64_t seed, size_t n_honest)
{
    struct swarm *s = stage(seed, n_honest);
    for (size_t i = 0; i < 8; i++) {
        struct swarm_read read;
        read_anew(s, (seed + i) % n_honest, &read);
        ck_assert_uint_ge(read.n_asked, DHT_K - 2);
        ck_assert(swarm_has(&read, swarm_node(s, seed % n_honest), "here"));
        ck_assert_uint_le(read.took_us, 2 * SECOND_US);
    }
    swarm_free(s);
}

START_TEST(they_do_not_hide_what_eight_others_hold)
{
    all_find_it((uint64_t)_i, 8);
}
END_TEST

START_TEST(nor_what_a_few_of_many_hold)
{
    all_find_it((uint64_t)_i, 60);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-silent");
    TCase *all = tcase_create("silent");
    tcase_set_timeout(all, 60);
    tcase_add_loop_test(all, they_do_not_hide_what_eight_others_hold, 0, 6);
    tcase_add_loop_test(all, nor_what_a_few_of_many_hold, 0, 4);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
