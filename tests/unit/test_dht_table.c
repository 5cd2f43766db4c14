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

/* All residents, bucket after bucket. */
static size_t list(const struct dht_table *table, const struct dht_node *out[DHT_RESIDENTS])
{
    size_t n_all = 0;
    for (size_t b = 0, n; b < DHT_BUCKETS; b++) {
        const struct dht_node *row = dht_table_row(table, b, &n);
        for (size_t i = 0; i < n; i++)
            out[n_all++] = &row[i];
    }
    return n_all;
}

static void hold_invariants(const struct dht_table *table)
{
    const struct dht_node *all[DHT_RESIDENTS];
    size_t n_all = list(table, all);
    hold(dht_table_n(table) == n_all);
    for (size_t b = 0, n; b < DHT_BUCKETS; b++) {
        const struct dht_node *row = dht_table_row(table, b, &n);
        size_t n_bad = 0;
        hold(n <= dht_table_room(b) && (b >= table->n_buckets || table->bucket[b].n_spare <= DHT_K));
        for (size_t i = 0; i < n; i++) {
            hold(dht_table_bucket(table, &row[i].id) == b);
            n_bad += dht_table_is_bad(&row[i]);
            for (size_t j = 0; j < i; j++)
                hold(addr_is_local(&row[i].addr) || !dht_id_same_subnet(&row[i].addr, &row[j].addr));
        }
        hold(b >= table->n_buckets || table->bucket[b].n_bad == n_bad);
    }
    for (size_t i = 0; i < n_all; i++) {
        hold(!dht_id_equal(&all[i]->id, &table->own));
        hold(dht_table_find(table, &all[i]->addr) == all[i]);
        for (size_t j = 0; j < i; j++) {
            hold(!dht_id_equal(&all[i]->id, &all[j]->id));
            hold(!addr_equal(&all[i]->addr, &all[j]->addr));
            hold(addr_is_local(&all[i]->addr) || !dht_id_same_ip(&all[i]->addr, &all[j]->addr));
        }
    }
}

/* When a node is due for a sign of life, said once more. */
static uint64_t due(const struct dht_node *node)
{
    uint64_t last = node->asked_us > node->reply_us ? node->asked_us : node->reply_us, n = node->n_failures;
    return last + (n == 1 ? DHT_SILENT_US / 24 : DHT_SILENT_US * (n <= DHT_FAILURES_MAX ? 1 : n < 16 ? n : 16));
}

static void hold_deadline(const struct dht_table *table)
{
    const struct dht_node *all[DHT_RESIDENTS];
    size_t n_all = list(table, all);
    uint64_t first_us = UINT64_MAX;
    for (size_t i = 0; i < n_all; i++)
        first_us = due(all[i]) < first_us ? due(all[i]) : first_us;
    hold(dht_table_silent_at(table) == first_us);
    if (n_all == 0)
        return;
    hold(dht_table_silent(table, first_us - 1) == NULL);
    hold(due(dht_table_silent(table, first_us)) == first_us);
}

/* The nearest are those that sorting everybody gives. */
static void hold_order(const struct dht_table *table, struct rng *rng)
{
    const struct dht_node *all[DHT_RESIDENTS];
    struct dht_node out[DHT_RESIDENTS];
    struct dht_id key = dht_id_random_at(&table->own, (unsigned)rng_below(rng, 40), rng);
    size_t n_all = list(table, all), n_live = 0, max = 1 + rng_below(rng, DHT_RESIDENTS);
    for (size_t i = 0; i < n_all; i++) {
        const struct dht_node *node = all[i];
        if (dht_table_is_bad(node))
            continue;
        size_t at = n_live++;
        for (; at > 0 && dht_id_compare(&key, &node->id, &all[at - 1]->id) < 0; at--)
            all[at] = all[at - 1];
        all[at] = node;
    }
    size_t n = dht_table_closest(table, &key, out, max);
    hold(n == (n_live < max ? n_live : max));
    for (size_t i = 0; i < n; i++)
        hold(dht_id_equal(&out[i].id, &all[i]->id) && addr_equal(&out[i].addr, &all[i]->addr));
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
        struct dht_id id = dht_id_random_at(&own, (unsigned)rng_below(&rng, _i < 4 ? 6 : 40), &rng);
        const struct dht_node *known = dht_table_find(&table, &addr);
        if (known && rng_below(&rng, 2))
            id = known->id;
        if (rng_below(&rng, 3) > 0) {
            bool has_room = dht_table_has_room(&table, &id, &addr), is_known = known != NULL;
            bool is_new = dht_table_answered(&table, &id, &addr, true, 1000, now_us);
            ck_assert(is_known || is_new == has_room);
        } else if (rng_below(&rng, 2)) {
            dht_table_failed(&table, &addr);
        } else {
            dht_table_asked(&table, &addr, now_us);
        }
        hold_deadline(&table);
        for (uint64_t later_us = now_us; later_us < now_us + 2 * DHT_GOOD_US; later_us += DHT_GOOD_US / 8)
            hold(dht_table_has_good(&table, later_us) == (dht_table_n_good(&table, later_us) > 0));
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
    dht_table_fini(&table);
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
    dht_table_fini(&table);
}
END_TEST

START_TEST(who_is_dropped_gives_its_place_to_a_replacement)
{
    struct rng rng;
    struct dht_table table;
    struct addr addr[2 * DHT_K];
    rng_init(&rng, (uint64_t)_i, "drop");
    fill(&table, &rng, 2 * DHT_K, addr);
    dht_table_drop(&table, &addr[2]);
    dht_table_drop(&table, &addr[2]); /* nobody now */
    ck_assert_ptr_null(dht_table_find(&table, &addr[2]));
    ck_assert_ptr_nonnull(dht_table_find(&table, &addr[2 * DHT_K - 1]));
    ck_assert_uint_eq(dht_table_n(&table), DHT_K);
    dht_table_fini(&table);
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
    dht_table_fini(&table);
}
END_TEST

START_TEST(the_silent_are_asked_in_turn)
{
    struct rng rng;
    struct dht_table table;
    struct addr addr[DHT_K];
    rng_init(&rng, (uint64_t)_i, "silent");
    fill(&table, &rng, DHT_K, addr);
    ck_assert_ptr_null(dht_table_silent(&table, DHT_SILENT_US));
    ck_assert_uint_eq(dht_table_silent_at(&table), SECOND_US + DHT_SILENT_US);
    for (size_t i = 0; i < DHT_K; i++) {
        const struct dht_node *node = dht_table_silent(&table, SECOND_US + DHT_SILENT_US);
        ck_assert_ptr_nonnull(node);
        struct addr at = node->addr;
        dht_table_asked(&table, &at, SECOND_US + DHT_SILENT_US);
    }
    ck_assert_ptr_null(dht_table_silent(&table, SECOND_US + DHT_SILENT_US));
    dht_table_fini(&table);
}
END_TEST

/* Newcomers until every bucket and its spares are full: each has its room, and memory follows what is there. */
START_TEST(a_table_grows_up_to_its_ceiling)
{
    struct rng rng;
    struct dht_id own;
    struct dht_table table;
    rng_init(&rng, (uint64_t)_i, "ceiling");
    rng_bytes(&rng, &own, sizeof own);
    dht_table_init(&table, &own);
    ck_assert_uint_eq(dht_table_memory(&table), 0);
    for (uint32_t i = 0; i < 100 * DHT_BUCKETS; i++) {
        struct dht_id id = dht_id_random_at(&own, i % DHT_BUCKETS, &rng);
        struct addr addr = {.family = 4, .ip = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}, .port = 1};
        (void)dht_table_answered(&table, &id, &addr, true, 1000, SECOND_US + i);
        if (i == 0)
            ck_assert_uint_lt(dht_table_memory(&table), 512);
    }
    for (size_t b = 0, n; b < DHT_BUCKETS; b++) {
        (void)dht_table_row(&table, b, &n);
        ck_assert_uint_eq(n, dht_table_room(b));
        ck_assert_uint_eq(table.bucket[b].n_spare, DHT_K);
        ck_assert_uint_eq(table.bucket[b].capacity, n + DHT_K);
    }
    ck_assert_uint_eq(dht_table_n(&table), DHT_RESIDENTS);
    hold_invariants(&table);
    hold_deadline(&table);
    hold_order(&table, &rng);
    dht_table_fini(&table);
    ck_assert_uint_eq(dht_table_memory(&table), 0);
}
END_TEST

static void let_fail(struct dht_table *table, const struct addr *addr)
{
    for (int i = 0; i < DHT_FAILURES_MAX; i++)
        dht_table_failed(table, addr);
}

/* Whoever vouched for the table no longer does once it is bad or gone; then the others count. */
START_TEST(one_good_node_is_enough_while_it_is_good)
{
    struct dht_table table;
    struct dht_id own = {{0}}, early = {{1}}, late = {{2}};
    struct addr first = {.family = 4, .ip = {10, 0, 0, 1}, .port = 1}, last = {.family = 4, .ip = {10, 0, 0, 2}, .port = 1};
    uint64_t late_us = SECOND_US + DHT_GOOD_US / 2, too_late_us = 2 * SECOND_US + DHT_GOOD_US;
    dht_table_init(&table, &own);
    ck_assert(!dht_table_has_good(&table, SECOND_US));
    (void)dht_table_answered(&table, &early, &first, true, 0, SECOND_US);
    (void)dht_table_answered(&table, &late, &last, true, 0, late_us);
    ck_assert(dht_table_has_good(&table, too_late_us));
    let_fail(&table, &last);
    ck_assert(dht_table_has_good(&table, late_us) && !dht_table_has_good(&table, too_late_us));
    (void)dht_table_answered(&table, &late, &last, true, 0, late_us);
    ck_assert(dht_table_has_good(&table, too_late_us));
    (void)dht_table_answered(&table, &own, &last, true, 0, late_us); /* it was ourselves */
    ck_assert_uint_eq(dht_table_n(&table), 1);
    ck_assert(dht_table_has_good(&table, late_us) && !dht_table_has_good(&table, too_late_us));
    dht_table_fini(&table);
}
END_TEST

START_TEST(a_replacement_that_has_another_id_by_now_is_forgotten)
{
    struct rng rng;
    struct dht_table table;
    struct addr addr[DHT_K + 1];
    rng_init(&rng, (uint64_t)_i, "renamed");
    fill(&table, &rng, DHT_K + 1, addr); /* the last one waits for a place */
    struct dht_id renamed = dht_id_random_at(&table.own, 3, &rng);
    ck_assert(dht_table_answered(&table, &renamed, &addr[DHT_K], true, 0, 2 * SECOND_US));
    let_fail(&table, &addr[0]);
    ck_assert_uint_eq(dht_table_n(&table), DHT_K + 1);
    ck_assert(dht_id_equal(&dht_table_find(&table, &addr[DHT_K])->id, &renamed));
    hold_invariants(&table);
    dht_table_fini(&table);
}
END_TEST

START_TEST(buckets_are_looked_into_in_turn)
{
    struct rng rng;
    struct dht_table table;
    struct addr addr[DHT_K];
    size_t bucket = 99;
    rng_init(&rng, (uint64_t)_i, "look");
    fill(&table, &rng, DHT_K, addr); /* the deepest is bucket 5, which is left to the lookups of ourselves */
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_uint_eq(dht_table_look_at(&table, 100 * SECOND_US, &bucket), 0);
        ck_assert_uint_eq(bucket, i);
        struct dht_id target = dht_id_random_at(&table.own, i, &rng);
        dht_table_looked(&table, &target, (10 - i) * SECOND_US);
    }
    ck_assert_uint_eq(dht_table_look_at(&table, 100 * SECOND_US, &bucket), 106 * SECOND_US);
    ck_assert_uint_eq(bucket, 4);
    dht_table_look_anew(&table);
    ck_assert_uint_eq(dht_table_look_at(&table, 100 * SECOND_US, &bucket), 0);
    dht_table_fini(&table);
    ck_assert_uint_eq(dht_table_look_at(&table, 100 * SECOND_US, &bucket), UINT64_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-table");
    TCase *all = tcase_create("table");
    tcase_add_loop_test(all, invariants_hold_whatever_happens, 0, 8);
    tcase_add_loop_test(all, who_answers_is_never_pushed_out, 0, 3);
    tcase_add_loop_test(all, who_is_dropped_gives_its_place_to_a_replacement, 0, 3);
    tcase_add_loop_test(all, a_bad_node_stays_until_somebody_replaces_it, 0, 3);
    tcase_add_loop_test(all, the_silent_are_asked_in_turn, 0, 3);
    tcase_add_loop_test(all, a_table_grows_up_to_its_ceiling, 0, 3);
    tcase_add_test(all, one_good_node_is_enough_while_it_is_good);
    tcase_add_loop_test(all, a_replacement_that_has_another_id_by_now_is_forgotten, 0, 3);
    tcase_add_loop_test(all, buckets_are_looked_into_in_turn, 0, 3);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
