/* tests/sim/test_reader.c - evaluation through a swarm: the same bits as at home, and an end whatever happens. */
#include "tests/sim/train_swarm.h"

#include "node/evaluation.h"

#define N_LANES 2
#define TRAINED_STEPS 6

static struct run calm, other;

struct reading {
    struct swarm swarm;
    struct evaluation evaluation;
    struct reader *reader;
};

/* A run that was trained at home for a few steps; its experts lie on the disks of the hosts as well. */
static void set_up(struct reading *r, size_t n_hosts, uint64_t seed)
{
    swarm_init(&r->swarm, &calm, n_hosts, seed);
    swarm_train(&r->swarm, 0, (struct swarm_wish){.is_local = true, .is_sync = true, .n_steps = TRAINED_STEPS});
    ck_assert(swarm_until_done(&r->swarm, 0, 60));
    swarm_end_trainer(&r->swarm, 0);
    for (size_t h = 0; h < n_hosts; h++)
        swarm_copy_disk(r->swarm.trainer_node[0], r->swarm.node[h]);
    r->reader = NULL;
    ck_assert_int_eq(evaluation_init(&r->evaluation, &swarm_data, calm.context, N_LANES), 0);
}

static void tear_down(struct reading *r)
{
    reader_free(r->reader);
    evaluation_fini(&r->evaluation);
    swarm_fini(&r->swarm);
}

static int try_reader(struct reading *r, const struct swarm_wish *wish)
{
    struct world_node *node = r->swarm.trainer_node[0];
    struct reader_config config = {.client = swarm_client(&r->swarm, node, wish),
                                   .n_lanes = N_LANES,
                                   .B = 3,
                                   .T = calm.context,
                                   .fill = evaluation_fill,
                                   .done = evaluation_done,
                                   .arg = &r->evaluation};
    int err = reader_new(&config, world_io(node), world_disk(node), world_now(r->swarm.world), &r->reader);
    if (err)
        return err;
    ck_assert_uint_eq(reader_step(r->reader), TRAINED_STEPS);
    struct io_machine machine = reader_machine(r->reader);
    world_start(node, &machine);
    return 0;
}

static void start_reader(struct reading *r, struct swarm_wish wish)
{
    ck_assert_int_eq(try_reader(r, &wish), 0);
}

static int finish(struct reading *r, double seconds)
{
    ck_assert(swarm_until_done(&r->swarm, 0, seconds));
    return world_result(r->swarm.trainer_node[0]);
}

static bool is_sound(double bpb)
{
    return bpb > 0 && bpb < 16; /* and a number */
}

static double home(uint64_t seed)
{
    struct reading r;
    set_up(&r, 0, seed);
    start_reader(&r, (struct swarm_wish){.is_local = true});
    ck_assert_int_eq(finish(&r, 60), 0);
    ck_assert_uint_eq(r.evaluation.n_done, r.evaluation.n_windows);
    double bpb = evaluation_bpb(&r.evaluation);
    ck_assert(is_sound(bpb));
    tear_down(&r);
    return bpb;
}

/* Before each test. */
static void parse_runs(void)
{
    ck_assert_int_eq(swarm_parse(&calm, SWARM_YAML("calm", "500", "3600")), 0);
    ck_assert_int_eq(swarm_parse(&other, SWARM_YAML("other", "500", "3600")), 0);
}

/* A trunk of integers is read with the weights that it learned. */
START_TEST(integers_read_as_floats_do)
{
    double floats = home(1);
    calm.trunk = RUN_TRUNK_I8X2;
    double integers = home(1);
    ck_assert(floats < 7.9); /* a first guess is 8 */
    ck_assert_msg(floats != integers && integers - floats < 0.01 && floats - integers < 0.01, "%g and %g", floats, integers);
}
END_TEST

START_TEST(a_swarm_and_a_home_agree_to_the_bit)
{
    struct reading r;
    calm.expert_numerics = (enum numerics)(_i % N_NUMERICS);
    double here = home(1);
    set_up(&r, 1 + (size_t)_i, 10 + (uint64_t)_i);
    swarm_start_hosts(&r.swarm);
    start_reader(&r, (struct swarm_wish){.is_sync = _i % 2 == 0});
    ck_assert_int_eq(finish(&r, 60), 0);
    ck_assert_uint_eq(r.evaluation.n_done, r.evaluation.n_windows);
    ck_assert_uint_eq(reader_router_stats(r.reader).n_missed, 0);
    double there = evaluation_bpb(&r.evaluation);
    ck_assert_msg(memcmp(&here, &there, sizeof here) == 0, "%.17g at home, %.17g in the swarm", here, there);
    swarm_stop_hosts(&r.swarm);
    for (size_t h = 0; h < r.swarm.n_hosts; h++) /* looking changes nothing */
        ck_assert_uint_eq(host_stats(r.swarm.host[h]).n_updates + host_stats(r.swarm.host[h]).n_backward_slots, 0);
    tear_down(&r);
}
END_TEST

START_TEST(a_missing_host_costs_little)
{
    struct reading r;
    double here = home(1);
    set_up(&r, 4, 20);
    for (size_t h = 0; h < 3; h++)
        swarm_start_host(&r.swarm, h);
    start_reader(&r, (struct swarm_wish){.is_sync = false});
    ck_assert_int_eq(finish(&r, 60), 0);
    ck_assert_uint_eq(r.evaluation.n_done, r.evaluation.n_windows);
    ck_assert(is_sound(evaluation_bpb(&r.evaluation)));
    ck_assert(evaluation_bpb(&r.evaluation) != here);
    tear_down(&r);
}
END_TEST

START_TEST(a_host_that_dies_meanwhile_costs_little)
{
    struct reading r;
    set_up(&r, 2, 30);
    swarm_start_hosts(&r.swarm);
    start_reader(&r, (struct swarm_wish){.is_sync = false});
    while (r.evaluation.n_done == 0)
        swarm_run_us(&r.swarm, 10000);
    ck_assert_uint_lt(r.evaluation.n_done, r.evaluation.n_windows);
    if (_i == 0)
        swarm_crash_host(&r.swarm, 1);
    else
        world_cut(r.swarm.trainer_node[0], r.swarm.node[1], true);
    ck_assert_int_eq(finish(&r, 60), 0);
    ck_assert_uint_eq(r.evaluation.n_done, r.evaluation.n_windows);
    ck_assert(is_sound(evaluation_bpb(&r.evaluation)));
    tear_down(&r);
}
END_TEST

START_TEST(nobody_there_is_an_error)
{
    struct reading r;
    set_up(&r, 1, 40);
    start_reader(&r, (struct swarm_wish){.is_sync = _i});
    ck_assert_int_eq(finish(&r, 40), HANSE_EUNREACHABLE);
    ck_assert_uint_eq(r.evaluation.n_done, 0);
    tear_down(&r);
}
END_TEST

/* Stopped while it waits, while it reads, and while it waits for a host that is dead. */
START_TEST(a_stop_ends_it_at_any_moment)
{
    struct reading r;
    set_up(&r, 2, 50 + (uint64_t)_i);
    if (_i > 0)
        swarm_start_hosts(&r.swarm);
    start_reader(&r, (struct swarm_wish){.is_sync = true});
    while (_i > 0 && r.evaluation.n_done == 0)
        swarm_run_us(&r.swarm, 1000);
    if (_i > 6)
        swarm_crash_host(&r.swarm, 1);
    swarm_run_us(&r.swarm, 1000u * (uint64_t)_i);
    ck_assert(world_is_running(r.swarm.trainer_node[0]));
    world_ask_stop(r.swarm.trainer_node[0]);
    ck_assert_int_eq(finish(&r, 0.5), HANSE_EINTERRUPTED);
    tear_down(&r);
}
END_TEST

/* At home as well: no piece of work may be out when it says that it has stopped. */
START_TEST(a_stop_at_home_waits_for_the_worker)
{
    struct reading r;
    set_up(&r, 0, 60);
    start_reader(&r, (struct swarm_wish){.is_local = true});
    swarm_run_us(&r.swarm, 100u * (uint64_t)_i);
    world_ask_stop(r.swarm.trainer_node[0]);
    ck_assert_int_eq(finish(&r, 0.5), HANSE_EINTERRUPTED);
    ck_assert_uint_lt(r.evaluation.n_done, r.evaluation.n_windows);
    tear_down(&r);
}
END_TEST

START_TEST(a_part_is_scored_by_itself)
{
    struct reading r;
    set_up(&r, 0, 70);
    r.evaluation.n_max = 4; /* two tapes, the second not full */
    start_reader(&r, (struct swarm_wish){.is_local = true});
    ck_assert_int_eq(finish(&r, 60), 0);
    ck_assert_uint_eq(r.evaluation.n_done, 4);
    ck_assert(is_sound(evaluation_bpb(&r.evaluation)));
    tear_down(&r);
}
END_TEST

START_TEST(a_disk_without_a_sound_trunk_is_refused)
{
    struct reading r;
    set_up(&r, 1, 80);
    struct swarm_wish wish = {.run = &other};
    ck_assert_int_eq(try_reader(&r, &wish), HANSE_ERUN);
    wish.run = NULL;
    ck_assert_uint_gt(swarm_spoil_chunks(r.swarm.trainer_node[0]), 0);
    ck_assert_int_eq(try_reader(&r, &wish), HANSE_ECORRUPT);
    struct world_node *empty = r.swarm.trainer_node[1];
    struct reader_config config = {.client = swarm_client(&r.swarm, empty, &wish), .n_lanes = 1, .B = 1, .T = calm.context};
    ck_assert_int_eq(reader_new(&config, world_io(empty), world_disk(empty), SIM_EPOCH_US, &r.reader), HANSE_ENOENT);
    ck_assert_ptr_null(r.reader);
    tear_down(&r);
}
END_TEST

int main(void)
{
    if (swarm_prepare() != 0)
        return EXIT_FAILURE;
    Suite *suite = suite_create("sim/reader");
    TCase *tcase = tcase_create("reader");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, parse_runs, NULL);
    tcase_add_test(tcase, integers_read_as_floats_do);
    tcase_add_loop_test(tcase, a_swarm_and_a_home_agree_to_the_bit, 0, 4);
    tcase_add_test(tcase, a_missing_host_costs_little);
    tcase_add_loop_test(tcase, a_host_that_dies_meanwhile_costs_little, 0, 2);
    tcase_add_loop_test(tcase, nobody_there_is_an_error, 0, 2);
    tcase_add_loop_test(tcase, a_stop_ends_it_at_any_moment, 0, 10);
    tcase_add_loop_test(tcase, a_stop_at_home_waits_for_the_worker, 0, 20);
    tcase_add_test(tcase, a_part_is_scored_by_itself);
    tcase_add_test(tcase, a_disk_without_a_sound_trunk_is_refused);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
