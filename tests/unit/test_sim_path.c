/* tests/unit/test_sim_path.c - where nodes are, how far from each other, and groups that do not reach each other. */
#include "sim_toy.h"

#define N_TOYS 120
#define MEDIAN_US 80000u

static struct world *world;
static struct toy *toy[N_TOYS];

static void setup(struct world_config config, size_t n)
{
    config.connect_timeout_us = 5000000;
    ck_assert_int_eq(world_new(&config, &world), 0);
    for (size_t i = 0; i < n; i++)
        toy[i] = toy_new(world);
    toy_pass(world, 1);
}

static void teardown(size_t n)
{
    world_free(world);
    for (size_t i = 0; i < n; i++)
        free(toy[i]);
}

static struct world_config lognormal(uint64_t seed)
{
    return (struct world_config){.seed = seed, .rtt_median_us = MEDIAN_US, .rtt_sigma_percent = 60};
}

/* Sends one datagram and says how long it took. */
static uint64_t flight(struct toy *from, struct toy *to)
{
    uint64_t start_us = world_now(world);
    size_t n = toy_n(to, IO_DATAGRAM);
    toy_datagram(from, to, "x", 1);
    toy_pass(world, 1000000);
    ck_assert_uint_eq(toy_n(to, IO_DATAGRAM), n + 1);
    return toy_find(to, IO_DATAGRAM, n)->now_us - start_us;
}

/* Of a lognormal variable with deviation 0.6 and median m: 16 % lie below m / e^0.6, 2.3 % above m e^1.2. */
START_TEST(round_trips_are_lognormal)
{
    size_t n = 0, n_below = 0, n_short = 0, n_long = 0;
    setup(lognormal((uint64_t)_i), N_TOYS);
    for (size_t i = 0; i < N_TOYS; i++)
        for (size_t j = 0; j < i; j++) {
            toy_datagram(toy[i], toy[j], "x", 1);
            n++;
        }
    uint64_t start_us = world_now(world);
    toy_pass(world, 10000000);
    for (size_t i = 0; i < N_TOYS; i++)
        for (size_t j = 1; j < toy[i]->n; j++) { /* after its start */
            uint64_t rtt_us = 2 * (toy[i]->seen[j].now_us - start_us);
            n_below += rtt_us < MEDIAN_US;
            n_short += rtt_us < 43905;
            n_long += rtt_us > 265609;
        }
    ck_assert_uint_lt(46 * n, 100 * n_below);
    ck_assert_uint_lt(100 * n_below, 54 * n);
    ck_assert_uint_lt(14 * n, 100 * n_short);
    ck_assert_uint_lt(100 * n_short, 18 * n);
    ck_assert_uint_lt(10 * n, 1000 * n_long);
    ck_assert_uint_lt(1000 * n_long, 36 * n);
    teardown(N_TOYS);
}
END_TEST

START_TEST(a_pair_has_one_round_trip_and_another_seed_another)
{
    uint64_t us[2][3];
    for (uint64_t k = 0; k < 2; k++) {
        setup(lognormal(7 + k), 3);
        for (size_t i = 0; i < 3; i++) {
            us[k][i] = flight(toy[i], toy[(i + 1) % 3]);
            ck_assert_uint_eq(us[k][i], flight(toy[i], toy[(i + 1) % 3]));
            ck_assert_uint_eq(us[k][i], flight(toy[(i + 1) % 3], toy[i]));
        }
        ck_assert(us[k][0] != us[k][1] || us[k][1] != us[k][2]);
        teardown(3);
    }
    ck_assert_int_ne(memcmp(us[0], us[1], sizeof us[0]), 0);
}
END_TEST

/* Exact values: on every machine the same. */
START_TEST(the_quantiles_are_these)
{
    static const uint64_t expect_us[5] = {99252, 30549, 50802, 99252, 12692};
    uint64_t us[5];
    setup(lognormal(1), 6);
    for (size_t i = 0; i < 5; i++)
        us[i] = flight(toy[i], toy[i + 1]);
    for (size_t i = 0; i < 5; i++)
        ck_assert_uint_eq(us[i], expect_us[i]);
    teardown(6);
}
END_TEST

START_TEST(public_addresses_are_public_and_no_two_alike)
{
    setup((struct world_config){.seed = (uint64_t)_i, .delay_mean_us = 1000, .is_public = true}, N_TOYS);
    for (size_t i = 0; i < N_TOYS; i++) {
        struct addr a = world_addr(toy[i]->node);
        ck_assert(!addr_is_local(&a) && a.ip[0] > 0 && a.ip[0] < 224);
        for (size_t j = 0; j < i; j++) {
            struct addr b = world_addr(toy[j]->node);
            ck_assert_int_ne(memcmp(a.ip, b.ip, 4), 0);
        }
        (void)flight(toy[(i + 1) % N_TOYS], toy[i]);
    }
    struct addr nobody = {.family = 4, .ip = {10, 0, 0, 1}, .port = 4100};
    toy[0]->io->ops->datagram(toy[0]->io->ctx, &nobody, "x", 1);
    toy_pass(world, 1000000);
    teardown(N_TOYS);
}
END_TEST

static size_t n_of_kind(enum io_event_kind kind)
{
    return toy_n(toy[0], kind) + toy_n(toy[1], kind) + toy_n(toy[2], kind) + toy_n(toy[3], kind);
}

/* 0 and 1 on one side, 2 and 3 on the other; 0 and 1 are cut by themselves besides. */
START_TEST(groups_part_and_heal)
{
    setup((struct world_config){.seed = (uint64_t)_i, .delay_mean_us = 1000}, 4);
    world_set_group(toy[2]->node, 1);
    world_set_group(toy[3]->node, 1);
    (void)flight(toy[0], toy[2]);
    toy_open(toy[0], toy[2]);
    toy_open(toy[0], toy[3]);
    toy_open(toy[2], toy[3]);
    toy_pass(world, 1000000);
    ck_assert_uint_eq(n_of_kind(IO_LINK_UP), 6);
    world_cut(toy[0]->node, toy[3]->node, true);
    toy_datagram(toy[1], toy[2], "on the way", 10);
    world_part(world, true);
    toy_datagram(toy[2], toy[0], "x", 1);
    (void)flight(toy[1], toy[0]);
    (void)flight(toy[2], toy[3]);
    ck_assert_uint_eq(toy_n(toy[2], IO_DATAGRAM), 1); /* from before */
    world_part(world, false);
    (void)flight(toy[2], toy[0]);
    toy_datagram(toy[0], toy[3], "x", 1); /* that pair is cut still */
    toy_pass(world, 10000000);
    ck_assert_uint_eq(toy_n(toy[3], IO_DATAGRAM), 1);
    ck_assert_uint_eq(n_of_kind(IO_LINK_DOWN), 2);
    world_part(world, true); /* and now for longer than links stand it */
    toy_pass(world, 10000000);
    ck_assert_uint_eq(n_of_kind(IO_LINK_DOWN), 4);
    teardown(4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/path");
    TCase *delays = tcase_create("delays"), *places = tcase_create("places");
    tcase_add_loop_test(delays, round_trips_are_lognormal, 0, 5);
    tcase_add_test(delays, a_pair_has_one_round_trip_and_another_seed_another);
    tcase_add_test(delays, the_quantiles_are_these);
    tcase_add_loop_test(places, public_addresses_are_public_and_no_two_alike, 0, 3);
    tcase_add_loop_test(places, groups_part_and_heal, 0, 5);
    suite_add_tcase(suite, delays);
    suite_add_tcase(suite, places);
    return unit_run(suite);
}
