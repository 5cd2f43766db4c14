#include "unit.h"

#include <string.h>

#include "dht/id.h"
#include "dht/lookup.h"

static struct addr at(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    return (struct addr){.family = 4, .ip = {a, b, c, d}, .port = 1};
}

/* Node i lies at distance i + 1 from the target, which is all zeros. */
static struct dht_id near(unsigned i)
{
    struct dht_id id = {{0}};
    id.byte[19] = (uint8_t)(i + 1);
    return id;
}

static void start(struct dht_lookup *l, size_t n_want, size_t n_paths, unsigned n)
{
    struct dht_id target = {{0}};
    dht_lookup_init(l, &target, n_want, n_paths);
    for (unsigned i = n; i-- > 0;) {
        struct dht_id id = near(i);
        struct addr addr = at(10, 0, 0, (uint8_t)i);
        ck_assert_ptr_nonnull(dht_lookup_start(l, &id, &addr, i));
    }
}

START_TEST(the_nearest_are_asked_a_few_at_a_time)
{
    static struct dht_lookup l;
    start(&l, DHT_K, 1, 20);
    for (unsigned i = 0; i < DHT_ALPHA; i++)
        ck_assert_uint_eq(dht_lookup_next(&l)->id.byte[19], i + 1);
    ck_assert_ptr_null(dht_lookup_next(&l));
    l.candidate[0].step = DHT_STEP_SLOW; /* a late one makes room */
    struct dht_candidate *c = dht_lookup_next(&l);
    ck_assert_uint_eq(c->id.byte[19], DHT_ALPHA + 1);
    while (c) {
        c->step = DHT_STEP_ANSWERED;
        for (size_t i = 1; i < l.n; i++)
            if (l.candidate[i].step == DHT_STEP_ASKED)
                l.candidate[i].step = DHT_STEP_ANSWERED;
        c = dht_lookup_next(&l);
    }
    ck_assert(dht_lookup_is_done(&l)); /* without the late one, since eight others answered */
    ck_assert_uint_eq(dht_lookup_n_answered(&l), DHT_K);
    dht_lookup_fini(&l);
}
END_TEST

START_TEST(few_nodes_are_waited_for)
{
    static struct dht_lookup l;
    start(&l, DHT_K, 1, 2);
    dht_lookup_next(&l)->step = DHT_STEP_ANSWERED;
    dht_lookup_next(&l)->step = DHT_STEP_SLOW;
    ck_assert(!dht_lookup_is_done(&l));
    l.candidate[1].step = DHT_STEP_FAILED;
    ck_assert(dht_lookup_is_done(&l));
    dht_lookup_fini(&l);
}
END_TEST

START_TEST(spread_counts_who_answered)
{
    static struct dht_lookup l;
    struct dht_id target = {{0}};
    dht_lookup_init(&l, &target, DHT_K, 1);
    for (unsigned i = 1; i <= 6; i++) {
        struct dht_id id = {{0}};
        struct addr addr = at(10, 0, 0, (uint8_t)i);
        id.byte[7] = (uint8_t)i;
        dht_lookup_start(&l, &id, &addr, 0)->step = i == 2 ? DHT_STEP_FAILED : DHT_STEP_ANSWERED;
    }
    ck_assert_uint_eq(dht_lookup_spread(&l, 4, 1), 1);
    ck_assert_uint_eq(dht_lookup_spread(&l, 4, 2), 3);
    ck_assert_uint_eq(dht_lookup_spread(&l, 4, 5), 6);
    ck_assert_uint_eq(dht_lookup_spread(&l, 4, 6), DHT_SPREAD_NONE);
    ck_assert_uint_eq(dht_lookup_spread(&l, 6, 1), DHT_SPREAD_NONE);
    dht_lookup_fini(&l);
}
END_TEST

static void mark(struct dht_lookup *l, size_t first, size_t n, enum dht_step step)
{
    for (size_t i = first; i < first + n; i++)
        l->candidate[i].step = (uint8_t)step;
}

/* Two of eight are late: the walk waits for them as long as it may, then does without, unless hardly anybody answered. */
START_TEST(who_is_late_twice_is_waited_for_by_few)
{
    static struct dht_lookup l;
    start(&l, DHT_K, 1, DHT_K);
    mark(&l, 0, DHT_K - 2, DHT_STEP_ANSWERED);
    mark(&l, DHT_K - 2, 2, DHT_STEP_SLOW);
    ck_assert(!dht_lookup_is_done(&l));
    mark(&l, DHT_K - 2, 2, DHT_STEP_OVERDUE);
    ck_assert(dht_lookup_is_done(&l));
    mark(&l, DHT_K / 2 - 1, DHT_K / 2 + 1, DHT_STEP_OVERDUE);
    ck_assert(!dht_lookup_is_done(&l));
    mark(&l, DHT_K / 2 - 1, DHT_K / 2 + 1, DHT_STEP_FAILED);
    ck_assert(dht_lookup_is_done(&l));
    dht_lookup_fini(&l);
}
END_TEST

START_TEST(a_candidate_is_one_deeper_than_who_named_it)
{
    static struct dht_lookup l;
    start(&l, DHT_K, 1, 2);
    struct dht_id id = near(7), other = near(8);
    struct addr addr = at(10, 1, 1, 1);
    ck_assert_uint_eq(l.candidate[0].depth, 1);
    dht_lookup_learn(&l, &id, &addr, 0, 3);
    ck_assert_uint_eq(l.candidate[2].depth, 4);
    ck_assert_uint_eq(dht_lookup_rename(&l, &l.candidate[2], &other)->depth, 4);
    addr.ip[3]++;
    dht_lookup_learn(&l, &id, &addr, 0, UINT8_MAX);
    ck_assert_uint_eq(dht_lookup_find(&l, &addr)->depth, UINT8_MAX);
    dht_lookup_fini(&l);
}
END_TEST

START_TEST(paths_share_no_node)
{
    static struct dht_lookup l;
    start(&l, DHT_K, 4, 16);
    struct dht_id id = near(3);
    struct addr addr = at(10, 9, 9, 9);
    dht_lookup_learn(&l, &id, &addr, 2, 1); /* known already, on another path */
    ck_assert_uint_eq(l.n, 16);
    size_t n[4] = {0};
    struct dht_candidate *c;
    while ((c = dht_lookup_next(&l)))
        n[c->path]++;
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(n[i], DHT_ALPHA_MANY);
    dht_lookup_fini(&l);
}
END_TEST

START_TEST(one_subnet_has_one_candidate_and_ids_must_fit)
{
    static struct dht_lookup l;
    struct dht_id target = {{0}};
    struct rng rng;
    struct peer_id peer = {{0}};
    rng_init(&rng, 1, "lookup");
    dht_lookup_init(&l, &target, DHT_K, 1);
    for (uint8_t i = 1; i < 10; i++) {
        struct addr addr = at(80, 1, (uint8_t)(i / 5), i);
        struct dht_id id = dht_id_make(&addr, &peer, &rng);
        dht_lookup_learn(&l, &id, &addr, 0, 1);
        addr = at(81, i, 1, 1);
        id.byte[0] ^= 0x80;
        dht_lookup_learn(&l, &id, &addr, 0, 1);
    }
    ck_assert_uint_eq(l.n, 2);
    dht_lookup_fini(&l);
}
END_TEST

START_TEST(a_walk_keeps_the_nearest_up_to_its_ceiling)
{
    static struct dht_lookup l;
    struct dht_id target = {{0}};
    dht_lookup_init(&l, &target, DHT_K, 1);
    for (unsigned i = 0; i < 200; i++) {
        struct dht_id id = near((i * 77) % 200);
        struct addr addr = at(10, 0, 1, (uint8_t)i);
        dht_lookup_learn(&l, &id, &addr, 0, 1);
        ck_assert_uint_eq(l.n, i < DHT_LOOKUP_MAX ? i + 1 : DHT_LOOKUP_MAX);
        ck_assert_uint_le(l.capacity, DHT_LOOKUP_MAX);
    }
    for (unsigned i = 0; i < DHT_LOOKUP_MAX; i++)
        ck_assert_uint_eq(l.candidate[i].id.byte[19], i + 1);
    dht_lookup_restart(&l, DHT_K, 1);
    ck_assert_uint_eq(l.n, 0);
    dht_lookup_fini(&l);
    dht_lookup_fini(&l); /* once more is as good */
}
END_TEST

/* A liar on one path names more nodes, and nearer ones, than anybody: the other paths do not notice. */
START_TEST(a_liar_fills_his_own_path_alone)
{
    static struct dht_lookup l;
    start(&l, 5, 4, 8);
    for (unsigned i = 0; i < 2 * DHT_LOOKUP_MAX; i++) {
        struct dht_id id = {{0}};
        struct addr addr = at(10, 1, (uint8_t)(i >> 8), (uint8_t)i);
        id.byte[18] = 0;
        id.byte[17] = 1; /* nearer than the honest, not nearer than who was started with */
        id.byte[19] = (uint8_t)i;
        dht_lookup_learn(&l, &id, &addr, 1, 1);
    }
    ck_assert_uint_eq(l.n, 6 + DHT_LOOKUP_MAX / 4);
    for (unsigned i = 0; i < 10; i++) {
        struct dht_id id = {{[16] = 1}};
        struct addr addr = at(10, 2, 0, (uint8_t)i);
        id.byte[19] = (uint8_t)i;
        dht_lookup_learn(&l, &id, &addr, 2, 1);
        ck_assert_ptr_nonnull(dht_lookup_find(&l, &addr));
    }
    dht_lookup_fini(&l);
}
END_TEST

/* A path full of addresses where nobody answered takes in whoever is named, near or far. */
START_TEST(the_lost_make_way_first)
{
    static struct dht_lookup l;
    struct dht_id id = {{[0] = 9}};
    struct addr addr = at(10, 2, 0, 1);
    start(&l, 5, 4, DHT_LOOKUP_MAX);
    dht_lookup_learn(&l, &id, &addr, 0, 1);
    ck_assert_ptr_null(dht_lookup_find(&l, &addr));
    struct addr lost = l.candidate[4].addr;
    l.candidate[4].step = DHT_STEP_FAILED;
    dht_lookup_learn(&l, &id, &addr, l.candidate[3].path, 1);
    ck_assert_ptr_null(dht_lookup_find(&l, &addr));
    dht_lookup_learn(&l, &id, &addr, l.candidate[4].path, 1);
    ck_assert_ptr_nonnull(dht_lookup_find(&l, &addr));
    ck_assert_ptr_null(dht_lookup_find(&l, &lost));
    ck_assert_uint_eq(l.n, DHT_LOOKUP_MAX);
    dht_lookup_fini(&l);
}
END_TEST

/* Our table vouches for an id, not for the next one that the node takes to be nearest. */
START_TEST(a_new_id_must_fit_whoever_had_the_old)
{
    static struct dht_lookup l;
    struct dht_id target = {{0}}, id = {{1}};
    struct addr addr = at(80, 1, 1, 1);
    dht_lookup_init(&l, &target, DHT_K, 1);
    struct dht_candidate *c = dht_lookup_start(&l, &id, &addr, 0);
    ck_assert_ptr_nonnull(c);
    ck_assert_ptr_null(dht_lookup_rename(&l, c, &target));
    ck_assert_uint_eq(l.n, 0);
    dht_lookup_fini(&l);
}
END_TEST

/* Eight silent ones are nearest, and the only one who answered knows others: it is asked for them, each time elsewhere, and gives up
 * nothing by it. */
START_TEST(the_silent_are_walked_around)
{
    static struct dht_lookup l;
    start(&l, DHT_K, 1, DHT_K);
    struct dht_id far = {{0x08}}, before = {{0}}; /* shares four bits with the target */
    struct addr addr = at(10, 2, 0, 1);
    struct dht_candidate *c = dht_lookup_start(&l, &far, &addr, 0);
    mark(&l, 0, DHT_K - 1, DHT_STEP_SLOW);
    mark(&l, DHT_K - 1, 2, DHT_STEP_ANSWERED);
    ck_assert(dht_lookup_is_stuck(&l)); /* more are silent than answered */
    mark(&l, DHT_K - 1, 1, DHT_STEP_FAILED);
    ck_assert(dht_lookup_is_stuck(&l));
    for (unsigned n = 1; dht_lookup_widen(&l); n++) {
        struct dht_id aside = dht_lookup_aside(&l, c);
        ck_assert_uint_eq(c->n_wide, n);
        ck_assert(!dht_id_equal(&aside, &before) && !dht_id_equal(&aside, &l.target));
        before = aside;
        ck_assert(!dht_lookup_is_stuck(&l));
        ck_assert_ptr_eq(dht_lookup_next(&l), c);
        c->step = DHT_STEP_SLOW;
        dht_lookup_settle(c);
        ck_assert_int_eq(c->step, DHT_STEP_ANSWERED);
    }
    ck_assert_uint_ge(c->n_wide, 4);
    ck_assert_uint_eq(dht_lookup_n_silent(&l), DHT_K);
    dht_lookup_fini(&l);
}
END_TEST

/* Enough answered, but none of the nearest; as soon as one of those does, the way is clear. */
START_TEST(one_among_the_nearest_is_enough)
{
    static struct dht_lookup l;
    start(&l, DHT_K, 1, (unsigned)(2 * DHT_K));
    mark(&l, 0, DHT_K, DHT_STEP_OVERDUE);
    mark(&l, DHT_K, DHT_K, DHT_STEP_ANSWERED);
    ck_assert(dht_lookup_is_stuck(&l));
    mark(&l, DHT_K - 1, 1, DHT_STEP_ANSWERED);
    ck_assert(!dht_lookup_is_stuck(&l) && !dht_lookup_widen(&l));
    dht_lookup_fini(&l);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-lookup");
    TCase *all = tcase_create("lookup");
    tcase_add_test(all, the_nearest_are_asked_a_few_at_a_time);
    tcase_add_test(all, few_nodes_are_waited_for);
    tcase_add_test(all, spread_counts_who_answered);
    tcase_add_test(all, who_is_late_twice_is_waited_for_by_few);
    tcase_add_test(all, a_candidate_is_one_deeper_than_who_named_it);
    tcase_add_test(all, paths_share_no_node);
    tcase_add_test(all, one_subnet_has_one_candidate_and_ids_must_fit);
    tcase_add_test(all, a_walk_keeps_the_nearest_up_to_its_ceiling);
    tcase_add_test(all, a_liar_fills_his_own_path_alone);
    tcase_add_test(all, the_lost_make_way_first);
    tcase_add_test(all, the_silent_are_walked_around);
    tcase_add_test(all, one_among_the_nearest_is_enough);
    tcase_add_test(all, a_new_id_must_fit_whoever_had_the_old);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
