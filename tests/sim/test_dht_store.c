/* tests/sim/test_dht_store.c - a store whose holders fall silent between their answer to the walk and what they are given. */
#include "dht_swarm.h"
#include "unit.h"

#include <string.h>

#include "dht/id.h"
#include "dht/operation.h"

#define HOSTS 60

struct outcome {
    size_t n, n_stored;
    uint64_t at_us;
};

static struct swarm *s;
static struct dht_id key;

static void setup(void)
{
    struct swarm_config config = {.seed = 3, .delay_min_us = 20000, .delay_spread_us = 10000};
    s = swarm_new(&config);
    swarm_grow(s, HOSTS, 20000);
    swarm_run(s, 30 * SECOND_US);
}

static void teardown(void)
{
    swarm_free(s);
}

static void on_stored(void *arg, uint64_t now_us, size_t n_stored)
{
    struct outcome *outcome = arg;
    outcome->n++;
    outcome->n_stored = n_stored;
    outcome->at_us = now_us;
}

static struct swarm_node *node_at(const struct addr *addr)
{
    for (size_t i = 0; i < HOSTS; i++)
        if (addr_equal(&swarm_node(s, i)->addr, addr))
            return swarm_node(s, i);
    return NULL;
}

/* The writer's store, once it has reached the holders' side of the walk; its questions to them are in the air. */
static struct dht_operation *store_until_written(struct swarm_node *writer, struct outcome *outcome)
{
    dht_store_entry(writer->dht, swarm_now(s), &key, &writer->addr, "here", 4, on_stored, outcome);
    swarm_touch(writer);
    for (int i = 0; i < 2000; i++) {
        swarm_run(s, 1000);
        for (struct dht_operation *op = writer->dht->running.first; op; op = op->next)
            if (op->task == DHT_TASK_STORE && op->phase == DHT_PHASE_STORING)
                return op;
    }
    ck_abort_msg("the walk does not end");
}

/* The nearest `n` of those who are given it go. */
static void kill_nearest(struct dht_operation *op, size_t n)
{
    struct dht_candidate *nearest[DHT_STORE_MAX];
    ck_assert_uint_ge(dht_lookup_closest(&op->lookup, DHT_K, nearest, DHT_STORE_MAX), n);
    for (size_t i = 0; i < n; i++)
        swarm_kill(node_at(&nearest[i]->addr));
}

/* How many of the nearest DHT_K of those alive but the writer hold it. */
static size_t n_held_nearby(const struct swarm_node *writer)
{
    size_t n_held = 0;
    for (size_t i = 0; i < HOSTS; i++) {
        const struct swarm_node *node = swarm_node(s, i);
        size_t n_nearer = 0;
        if (node == writer || !node->dht)
            continue;
        struct dht_id own = dht_own_id(node->dht);
        for (size_t j = 0; j < HOSTS; j++) {
            const struct swarm_node *other = swarm_node(s, j);
            struct dht_id id = other->dht && other != writer ? dht_own_id(other->dht) : own;
            n_nearer += dht_id_compare(&key, &id, &own) < 0;
        }
        n_held += n_nearer < DHT_K && dht_holds(node->dht, swarm_now(s), &key);
    }
    return n_held;
}

/* Three of the eight nearest die with the entry on its way: those next to them get it, and the writer hears of it soon. */
START_TEST(the_next_nearest_take_the_place_of_the_dead)
{
    struct outcome outcome = {0};
    key.byte[0] = (uint8_t)(_i * 50);
    struct swarm_node *writer = swarm_node(s, 7 + (size_t)_i);
    struct dht_operation *op = store_until_written(writer, &outcome);
    uint64_t written_us = swarm_now(s);
    kill_nearest(op, 3);
    swarm_run(s, 9 * SECOND_US);
    ck_assert_uint_eq(outcome.n, 1);
    ck_assert_uint_lt(outcome.at_us - written_us, SECOND_US);
    ck_assert_uint_ge(outcome.n_stored, DHT_K);
    ck_assert_uint_ge(n_held_nearby(writer), DHT_K - 1);
}
END_TEST

/* Where nearly everybody is silent it may be the network that is slow: then it is waited for, as long as for any answer. */
START_TEST(a_few_answers_are_not_enough)
{
    struct outcome outcome = {0};
    struct dht_operation *op = store_until_written(swarm_node(s, 7), &outcome);
    uint64_t written_us = swarm_now(s);
    struct dht_candidate *nearest[DHT_STORE_MAX];
    size_t n = dht_lookup_closest(&op->lookup, HOSTS, nearest, DHT_STORE_MAX), n_kept = 0;
    for (size_t i = n; i-- > 0;)
        if (n_kept < 2 && nearest[i]->is_written)
            n_kept++;
        else
            swarm_kill(node_at(&nearest[i]->addr));
    swarm_run(s, 9 * SECOND_US);
    ck_assert_uint_eq(outcome.n, 1);
    ck_assert_uint_ge(outcome.at_us - written_us, DHT_HARD_US - SECOND_US / 10);
    ck_assert_uint_ge(outcome.n_stored, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-store");
    TCase *all = tcase_create("store");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_set_timeout(all, 60);
    tcase_add_loop_test(all, the_next_nearest_take_the_place_of_the_dead, 0, 4);
    tcase_add_test(all, a_few_answers_are_not_enough);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
