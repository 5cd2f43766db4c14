#include "unit.h"

#include <string.h>

#include "dht/id.h"
#include "dht/table.h"

#define SECOND_US ((uint64_t)1000000)

static struct addr address(struct rng *rng, bool is_local)
{
    struct addr addr = {.family = 4, .port = (uint16_t)(1 + rng_below(rng, 3))};
    uint8_t local[4] = {10, 0, 0, (uint8_t)rng_below(rng, 250)};
    uint8_t public[4] = {80, 1, (uint8_t)rng_below(rng, 60), (uint8_t)rng_below(rng, 4)};
    memcpy(addr.ip, is_local ? local : public, 4);
    return addr;
}

/* ck_assert() notes each call in a file, which is slow for the many that hold. */
static void hold(bool is_true)
{
    if (!is_true)
        ck_abort_msg("an invariant of the table is broken");
}

static void hold_invariants(const struct dht_table *table)
{
    for (size_t b = 0; b < DHT_BUCKETS; b++) {
        const struct dht_node *row = dht_table_row(table, b);
        hold(table->bucket[b].n <= dht_table_room(b));
        hold(table->bucket[b].n_spare <= DHT_K);
        for (size_t i = 0; i < table->bucket[b].n; i++) {
            hold(dht_table_bucket(table, &row[i].id) == b);
            hold(!dht_id_equal(&row[i].id, &table->own));
            for (size_t j = 0; j < i; j++) {
                hold(!dht_id_equal(&row[i].id, &row[j].id));
                hold(!addr_equal(&row[i].addr, &row[j].addr));
                hold(addr_is_local(&row[i].addr) || !dht_id_same_subnet(&row[i].addr, &row[j].addr));
            }
            for (size_t c = 0; c < b; c++)
                for (size_t j = 0; j < table->bucket[c].n; j++) {
                    const struct dht_node *other = &dht_table_row(table, c)[j];
                    hold(!addr_equal(&row[i].addr, &other->addr));
                    hold(addr_is_local(&row[i].addr) || !dht_id_same_ip(&row[i].addr, &other->addr));
                }
        }
    }
}

static void hold_order(const struct dht_table *table, struct rng *rng)
{
    struct dht_node out[DHT_RESIDENTS];
    struct dht_id key = dht_id_random_at(&table->own, (unsigned)rng_below(rng, 10), rng);
    size_t n = dht_table_closest(table, &key, out, DHT_K), n_all = dht_table_closest(table, &key, out + n, DHT_RESIDENTS - n);
    ck_assert_uint_eq(n, n_all < DHT_K ? n_all : DHT_K);
    for (size_t i = 0; i < n; i++)
        ck_assert(dht_id_equal(&out[i].id, &out[n + i].id));
    for (size_t i = n + 1; i < n + n_all; i++)
        ck_assert_int_lt(dht_id_compare(&key, &out[i - 1].id, &out[i].id), 0);
}

START_TEST(invariants_hold_whatever_happens)
{
    struct rng rng;
    struct dht_id own;
    struct dht_table table;
    rng_init(&rng, (uint64_t)_i, "table");
    rng_bytes(&rng, &own, sizeof own);
    dht_table_init(&table, &own);
    for (uint64_t now_us = SECOND_US; now_us < 3000 * SECOND_US; now_us += SECOND_US) {
        struct addr addr = address(&rng, _i % 2);
        struct dht_id id = dht_id_random_at(&own, (unsigned)rng_below(&rng, 6), &rng);
        const struct dht_node *known = dht_table_find(&table, &addr);
        if (known && rng_below(&rng, 2))
            id = known->id;
        if (rng_below(&rng, 3) > 0) {
            bool has_room = dht_table_has_room(&table, &id, &addr), is_known = known != NULL;
            bool is_new = dht_table_answered(&table, &id, &addr, true, 1000, now_us);
            ck_assert(is_known || is_new == has_room);
        } else {
            dht_table_failed(&table, &addr);
        }
        if (rng_below(&rng, 50) == 0) {
            hold_invariants(&table);
            hold_order(&table, &rng);
        }
        if (rng_below(&rng, 500) == 0) {
            rng_bytes(&rng, &own, sizeof own);
            dht_table_move(&table, &own);
        }
    }
    ck_assert_uint_gt(dht_table_n(&table), 10);
}
END_TEST

/* Fills bucket 5, which has room for DHT_K. */
static void fill(struct dht_table *table, struct rng *rng, size_t n, struct addr *addr)
{
    struct dht_id own = {{0}};
    dht_table_init(table, &own);
    for (size_t i = 0; i < n; i++) {
        struct dht_id id = dht_id_random_at(&own, 5, rng);
        addr[i] = (struct addr){.family = 4, .ip = {10, 0, 0, (uint8_t)i}, .port = 1};
        ck_assert(dht_table_answered(table, &id, &addr[i], true, 0, SECOND_US) == (i < DHT_K));
    }
}

START_TEST(who_answers_is_never_pushed_out)
{
    struct rng rng;
    struct dht_table table;
    struct addr addr[2 * DHT_K];
    rng_init(&rng, (uint64_t)_i, "full");
    fill(&table, &rng, 2 * DHT_K, addr);
    for (size_t i = 0; i < 2 * DHT_K; i++)
        ck_assert((dht_table_find(&table, &addr[i]) != NULL) == (i < DHT_K));
    for (int i = 0; i < DHT_FAILURES_MAX; i++)
        dht_table_failed(&table, &addr[2]);
    ck_assert_ptr_null(dht_table_find(&table, &addr[2])); /* the freshest replacement has its place */
    ck_assert_ptr_nonnull(dht_table_find(&table, &addr[2 * DHT_K - 1]));
    ck_assert_uint_eq(dht_table_n_good(&table, SECOND_US), DHT_K);
    ck_assert_uint_eq(dht_table_n_good(&table, 2 * SECOND_US + DHT_GOOD_US), 0);
}
END_TEST

START_TEST(a_bad_node_stays_until_somebody_replaces_it)
{
    struct rng rng;
    struct dht_table table;
    struct addr addr[DHT_K];
    struct dht_node out[DHT_K];
    rng_init(&rng, (uint64_t)_i, "bad");
    fill(&table, &rng, DHT_K, addr);
    for (int i = 0; i < DHT_FAILURES_MAX; i++)
        dht_table_failed(&table, &addr[2]);
    ck_assert(dht_table_is_bad(dht_table_find(&table, &addr[2])));
    ck_assert_uint_eq(dht_table_closest(&table, &table.own, out, DHT_K), DHT_K - 1);
    struct dht_id id = dht_table_find(&table, &addr[2])->id;
    ck_assert(!dht_table_answered(&table, &id, &addr[2], true, 0, 2 * SECOND_US)); /* back again */
    ck_assert_uint_eq(dht_table_closest(&table, &table.own, out, DHT_K), DHT_K);
    for (int i = 0; i < DHT_FAILURES_MAX; i++)
        dht_table_failed(&table, &addr[2]);
    struct addr moved = addr[2];
    moved.port = 9; /* the same node on another port */
    ck_assert(dht_table_answered(&table, &id, &moved, true, 0, 3 * SECOND_US));
    ck_assert_ptr_null(dht_table_find(&table, &addr[2]));
}
END_TEST

START_TEST(the_silent_are_asked_in_turn)
{
    struct rng rng;
    struct dht_table table;
    struct addr addr[DHT_K];
    rng_init(&rng, (uint64_t)_i, "silent");
    fill(&table, &rng, DHT_K, addr);
    ck_assert_ptr_null(dht_table_silent(&table, 10 * SECOND_US, 10 * SECOND_US));
    ck_assert_uint_eq(dht_table_silent_at(&table, 10 * SECOND_US), 11 * SECOND_US);
    for (size_t i = 0; i < DHT_K; i++) {
        const struct dht_node *node = dht_table_silent(&table, 10 * SECOND_US, 11 * SECOND_US);
        ck_assert_ptr_nonnull(node);
        struct addr at = node->addr;
        dht_table_asked(&table, &at, 11 * SECOND_US);
    }
    ck_assert_ptr_null(dht_table_silent(&table, 10 * SECOND_US, 11 * SECOND_US));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-table");
    TCase *all = tcase_create("table");
    tcase_add_loop_test(all, invariants_hold_whatever_happens, 0, 8);
    tcase_add_loop_test(all, who_answers_is_never_pushed_out, 0, 3);
    tcase_add_loop_test(all, a_bad_node_stays_until_somebody_replaces_it, 0, 3);
    tcase_add_loop_test(all, the_silent_are_asked_in_turn, 0, 3);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
