/* tests/sim/test_trainer.c - trainers among hosts that crash, return, fall silent; that are stopped at any moment; with bad disks. */
#include "tests/sim/train_swarm.h"

#define FOREVER_STEPS 1000000

static struct run calm;   /* saves at the end alone */
static struct run saving; /* saves every second */
static struct run other;  /* another run */
static struct run hasty;  /* a deadline that nobody can keep */

/* -- Taking up again --------------------------------------------------------------------------------- */

static void compare_losses(const struct swarm *a, const struct swarm *b, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        ck_assert_msg(memcmp(&a->log[0].loss[i], &b->log[0].loss[i], sizeof(double)) == 0, "step %zu: %.17g and %.17g", i + 1,
                      a->log[0].loss[i], b->log[0].loss[i]);
}

static void compare_roots(const struct swarm_roots *a, const struct swarm_roots *b, size_t n)
{
    ck_assert_uint_eq(a->n, n);
    ck_assert_uint_eq(b->n, n);
    for (size_t i = 0; i < n; i++) {
        ck_assert_str_eq(a->at[i].name, b->at[i].name);
        ck_assert_uint_eq(a->at[i].version, b->at[i].version);
        ck_assert_msg(hash_equal(&a->at[i].root, &b->at[i].root), "%s has another root", a->at[i].name);
    }
}

/* Before each test. */
static void parse_runs(void)
{
    ck_assert_int_eq(swarm_parse(&calm, SWARM_YAML("calm", "500", "3600")), 0);
    ck_assert_int_eq(swarm_parse(&saving, SWARM_YAML("saving", "500", "1")), 0);
    ck_assert_int_eq(swarm_parse(&other, SWARM_YAML("other", "500", "3600")), 0);
    ck_assert_int_eq(swarm_parse(&hasty, SWARM_YAML("hasty", "1", "3600")), 0);
}

static void use(int form)
{
    calm.expert_numerics = saving.expert_numerics = (enum numerics)(form % N_NUMERICS);
}

static void sit(struct swarm *s, uint64_t stop_after)
{
    swarm_train(s, 0, (struct swarm_wish){.is_local = true, .is_sync = true, .n_steps = 12});
    if (stop_after) {
        ck_assert(swarm_until_step(s, 0, stop_after, 60));
        world_ask_stop(s->trainer_node[0]);
    }
    ck_assert(swarm_until_done(s, 0, 60));
    ck_assert_int_eq(world_result(s->trainer_node[0]), 0);
    swarm_end_trainer(s, 0);
}

/* One sitting of twelve steps, or two or more, give the same bits everywhere. */
START_TEST(sittings_cost_no_bit)
{
    struct swarm one, many;
    use(_i);
    swarm_init(&one, &calm, 0, 1);
    sit(&one, 0);
    ck_assert_uint_eq(one.log[0].n_steps, 12);
    swarm_init(&many, &calm, 0, 2);
    sit(&many, 3 + (uint64_t)_i);
    ck_assert_uint_lt(many.log[0].n_steps, 12);
    sit(&many, many.log[0].n_steps + 2);
    ck_assert_uint_lt(many.log[0].n_steps, 12);
    sit(&many, 0);
    ck_assert_uint_eq(many.log[0].n_steps, 12);
    compare_losses(&one, &many, 0, 12);
    struct swarm_roots a = swarm_roots_of(one.trainer_node[0]), b = swarm_roots_of(many.trainer_node[0]);
    compare_roots(&a, &b, SWARM_EXPERTS + 1);
    swarm_fini(&one);
    swarm_fini(&many);
}
END_TEST

/* Killed without a word between two saves, it goes on from the last one as if nothing had happened. */
START_TEST(a_crash_costs_the_steps_since_the_last_checkpoint)
{
    struct swarm one, crashed;
    struct swarm_wish wish = {.is_local = true, .is_sync = true, .n_steps = 240};
    use(_i);
    swarm_init(&one, &saving, 0, 1);
    swarm_train(&one, 0, wish);
    ck_assert(swarm_until_done(&one, 0, 60));
    swarm_init(&crashed, &saving, 0, 2);
    swarm_train(&crashed, 0, wish);
    swarm_run_us(&crashed, 1500000 + (uint64_t)_i * 333);
    ck_assert(world_is_running(crashed.trainer_node[0]));
    uint64_t reached = crashed.log[0].n_steps;
    world_crash(crashed.trainer_node[0]);
    swarm_end_trainer(&crashed, 0);
    struct swarm_roots roots = swarm_roots_of(crashed.trainer_node[0]);
    ck_assert_uint_eq(roots.n, SWARM_EXPERTS + 1);
    ck_assert_uint_gt(roots.at[SWARM_EXPERTS].version, 20);
    ck_assert_uint_lt(roots.at[SWARM_EXPERTS].version, reached);
    memset(crashed.log[0].loss, 0, sizeof crashed.log[0].loss);
    swarm_train(&crashed, 0, wish);
    ck_assert(swarm_until_done(&crashed, 0, 60));
    ck_assert_uint_eq(crashed.log[0].n_steps, 240);
    compare_losses(&one, &crashed, (size_t)roots.at[SWARM_EXPERTS].version, 240);
    swarm_fini(&one);
    swarm_fini(&crashed);
}
END_TEST

/* Its own host is waited for, whatever the deadline. */
START_TEST(experts_in_the_process_are_never_missed)
{
    struct swarm s;
    swarm_init(&s, &hasty, 0, 3);
    swarm_train(&s, 0, (struct swarm_wish){.is_local = true, .n_steps = 10});
    ck_assert(swarm_until_done(&s, 0, 60));
    struct router_stats stats = trainer_router_stats(s.trainer[0]);
    ck_assert_uint_gt(stats.n_slots, 0);
    ck_assert_uint_eq(stats.n_missed, 0);
    ck_assert_uint_eq(stats.n_grad_missed, 0);
    swarm_fini(&s);
}
END_TEST

/* -- Hosts come and go ------------------------------------------------------------------------------- */

static uint64_t steps_in(struct swarm *s, uint64_t seconds)
{
    uint64_t before = s->log[0].n_steps;
    swarm_run_us(s, seconds * SECOND_US);
    return s->log[0].n_steps - before;
}

/* A lost frame may have made a host a suspect for a moment: waits until just so many experts are live. */
static void await_live(struct swarm *s, size_t n, int seconds)
{
    for (int i = 0; i < seconds * 10 && s->log[0].n_live != n; i++)
        swarm_run_us(s, SECOND_US / 10);
    ck_assert_uint_eq(s->log[0].n_live, n);
}

static void set_going(struct swarm *s, uint64_t seed)
{
    swarm_init(s, &calm, 4, seed);
    swarm_start_hosts(s);
    swarm_train(s, 0, (struct swarm_wish){.n_steps = FOREVER_STEPS});
    ck_assert(swarm_until_step(s, 0, 5, 30));
    await_live(s, SWARM_EXPERTS, 10);
}

START_TEST(a_host_that_vanishes_costs_its_share)
{
    struct swarm s;
    use(_i);
    set_going(&s, 10 + (uint64_t)_i);
    uint64_t before = steps_in(&s, 20);
    swarm_crash_host(&s, 2);
    uint64_t after = steps_in(&s, 20);
    await_live(&s, SWARM_EXPERTS * 3 / 4, 10);
    ck_assert_msg(after * 100 >= before * 70, "%llu steps before, %llu after", (unsigned long long)before,
                  (unsigned long long)after);
    swarm_start_host(&s, 2); /* on the same disk */
    await_live(&s, SWARM_EXPERTS, 30);
    swarm_fini(&s);
}
END_TEST

START_TEST(all_hosts_gone_and_one_returns)
{
    struct swarm s;
    use(_i);
    set_going(&s, 20 + (uint64_t)_i);
    for (size_t h = 0; h < s.n_hosts; h++)
        swarm_crash_host(&s, h);
    ck_assert_uint_gt(steps_in(&s, 15), 100); /* the trunk and the shared expert go on alone */
    ck_assert_uint_eq(s.log[0].n_live, 0);
    swarm_start_host(&s, 3);
    await_live(&s, SWARM_EXPERTS / 4, 30);
    swarm_run_us(&s, SECOND_US);
    ck_assert_uint_gt(host_stats(s.host[3]).n_backward_slots, 0);
    swarm_fini(&s);
}
END_TEST

/* Its link stays up for the twenty seconds of the world's timeout: only deadlines tell. */
START_TEST(a_host_that_is_cut_off_costs_few_deadlines)
{
    struct swarm s;
    set_going(&s, 30 + (uint64_t)_i);
    uint64_t before = steps_in(&s, 15);
    world_cut(s.trainer_node[0], s.node[1], true);
    uint64_t after = steps_in(&s, 15);
    ck_assert_msg(after * 100 >= before * 60, "%llu steps before, %llu after", (unsigned long long)before,
                  (unsigned long long)after);
    await_live(&s, SWARM_EXPERTS * 3 / 4, 4);
    ck_assert(s.log[0].missed < 0.1);
    world_cut(s.trainer_node[0], s.node[1], false);
    await_live(&s, SWARM_EXPERTS, 60);
    swarm_fini(&s);
}
END_TEST

/* In sync mode a host that is gone is waited for, and nothing is lost by it. */
START_TEST(sync_waits_for_a_host_that_crashed)
{
    struct swarm s;
    use(_i);
    swarm_init(&s, &calm, 2, 40);
    swarm_start_hosts(&s);
    swarm_train(&s, 0, (struct swarm_wish){.is_sync = true, .n_steps = 30});
    ck_assert(swarm_until_step(&s, 0, 5, 30));
    swarm_crash_host(&s, 1);
    swarm_run_us(&s, SECOND_US / 2);
    ck_assert_uint_eq(steps_in(&s, 30), 0);
    ck_assert(world_is_running(s.trainer_node[0]));
    swarm_start_host(&s, 1);
    ck_assert(swarm_until_done(&s, 0, 60));
    ck_assert_uint_eq(s.log[0].n_steps, 30);
    ck_assert_uint_eq(trainer_router_stats(s.trainer[0]).n_missed, 0);
    ck_assert_uint_eq(trainer_router_stats(s.trainer[0]).n_grad_missed, 0);
    swarm_fini(&s);
}
END_TEST

/* -- Stopping ---------------------------------------------------------------------------------------- */

/* The trunk on the disk is loadable, and of the last step. */
static void check_trunk(struct swarm *s, uint64_t step)
{
    struct trunk *trunk;
    struct trunk_state *state;
    struct checkpoint_info info;
    ck_assert_int_eq(trunk_new(s->run, swarm_kernels, &trunk), 0);
    ck_assert_int_eq(trunk_state_new(trunk, &state), 0);
    ck_assert_int_eq(trunk_state_load(state, world_disk(s->trainer_node[0]), &info), 0);
    ck_assert_int_eq(state->counters.step, step);
    ck_assert_uint_eq(info.version, step);
    trunk_state_free(state);
    trunk_free(trunk);
}

static void stop_and_check(struct swarm *s, double seconds)
{
    world_ask_stop(s->trainer_node[0]);
    ck_assert(swarm_until_done(s, 0, seconds));
    ck_assert_int_eq(world_result(s->trainer_node[0]), 0);
    check_trunk(s, s->log[0].n_steps);
}

START_TEST(a_stop_at_any_moment_ends_with_a_checkpoint)
{
    struct swarm s;
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "stop");
    swarm_init(&s, &saving, 2, 50 + (uint64_t)_i);
    swarm_start_hosts(&s);
    swarm_train(&s, 0, (struct swarm_wish){.is_sync = _i % 2 == 1, .n_steps = FOREVER_STEPS});
    ck_assert(swarm_until_step(&s, 0, 1, 30));
    swarm_run_us(&s, SECOND_US + rng_below(&rng, SECOND_US));
    stop_and_check(&s, 3);
    swarm_fini(&s);
}
END_TEST

/* Straight into the save: each offset is a place between "handed out" and "written". */
START_TEST(a_stop_while_saving_waits_for_the_file)
{
    struct swarm s;
    swarm_init(&s, &saving, 0, 60);
    swarm_train(&s, 0, (struct swarm_wish){.is_local = true, .n_steps = FOREVER_STEPS});
    swarm_run_us(&s, 1000000 + (uint64_t)_i * 700);
    ck_assert_uint_gt(s.log[0].n_steps, 1);
    stop_and_check(&s, 3);
    swarm_fini(&s);
}
END_TEST

START_TEST(a_stop_while_waiting_for_hosts_ends_at_once)
{
    struct swarm s;
    swarm_init(&s, &calm, 1, 70);
    swarm_train(&s, 0, (struct swarm_wish){.n_steps = 5, .is_sync = _i});
    swarm_run_us(&s, SECOND_US);
    world_ask_stop(s.trainer_node[0]);
    swarm_run_us(&s, SECOND_US / 100);
    ck_assert(!world_is_running(s.trainer_node[0]));
    ck_assert_int_eq(world_result(s.trainer_node[0]), 0);
    ck_assert_uint_eq(swarm_roots_of(s.trainer_node[0]).n, 0);
    swarm_fini(&s);
}
END_TEST

START_TEST(without_any_host_the_trainer_says_so_and_ends)
{
    struct swarm s;
    swarm_init(&s, &calm, 1, 71);
    swarm_train(&s, 0, (struct swarm_wish){.n_steps = 5, .is_sync = _i});
    ck_assert(swarm_until_done(&s, 0, 40));
    ck_assert_int_eq(world_result(s.trainer_node[0]), HANSE_EUNREACHABLE);
    swarm_fini(&s);
}
END_TEST

/* A step that cannot end is given up after a few seconds, however often the user asks; the last whole one is saved. */
START_TEST(a_stop_does_not_wait_for_a_dead_host)
{
    struct swarm s;
    swarm_init(&s, &calm, 2, 80);
    swarm_start_hosts(&s);
    swarm_train(&s, 0, (struct swarm_wish){.is_sync = true, .n_steps = FOREVER_STEPS});
    ck_assert(swarm_until_step(&s, 0, 5, 30));
    swarm_crash_host(&s, 1);
    swarm_run_us(&s, SECOND_US);
    for (int i = 0; i < 4; i++) {
        world_ask_stop(s.trainer_node[0]);
        swarm_run_us(&s, SECOND_US);
    }
    stop_and_check(&s, 3);
    swarm_fini(&s);
}
END_TEST

/* -- Disks ------------------------------------------------------------------------------------------- */

START_TEST(training_outlives_a_failing_disk)
{
    struct swarm s;
    swarm_init(&s, &saving, 2, 90);
    swarm_start_hosts(&s);
    swarm_train(&s, 0, (struct swarm_wish){.n_steps = FOREVER_STEPS});
    world_disk_fault_rate(s.trainer_node[0], 1);
    ck_assert(swarm_until_step(&s, 0, 2, 30));
    ck_assert_uint_gt(steps_in(&s, 5), 10);
    ck_assert_uint_eq(swarm_roots_of(s.trainer_node[0]).n, 0);
    if (_i == 0)
        world_disk_fault_rate(s.trainer_node[0], 0);
    world_ask_stop(s.trainer_node[0]);
    ck_assert(swarm_until_done(&s, 0, 5));
    ck_assert_int_eq(world_result(s.trainer_node[0]), _i == 0 ? 0 : HANSE_EIO);
    if (_i == 0)
        check_trunk(&s, s.log[0].n_steps);
    swarm_fini(&s);
}
END_TEST

START_TEST(a_disk_that_does_not_fit_is_refused)
{
    struct swarm s;
    struct swarm_wish wish = {.is_local = true, .is_sync = true, .n_steps = 3};
    swarm_init(&s, &calm, 0, 91);
    swarm_train(&s, 0, wish);
    ck_assert(swarm_until_done(&s, 0, 30));
    swarm_end_trainer(&s, 0);
    wish.data_seed = 8;
    ck_assert_int_eq(swarm_try_trainer(&s, 0, &wish), HANSE_EINVAL);
    wish.data_seed = 7;
    wish.run = &other;
    ck_assert_int_eq(swarm_try_trainer(&s, 0, &wish), HANSE_ERUN);
    wish.is_local = false;
    ck_assert_int_eq(swarm_try_trainer(&s, 0, &wish), HANSE_ERUN);
    wish.run = NULL;
    ck_assert_uint_gt(swarm_spoil_chunks(s.trainer_node[0]), 0);
    ck_assert_int_eq(swarm_try_trainer(&s, 0, &wish), HANSE_ECORRUPT);
    ck_assert_ptr_null(s.trainer[0]);
    swarm_fini(&s);
}
END_TEST

/* -- Worlds ------------------------------------------------------------------------------------------ */

static struct hash trace_of(uint64_t seed)
{
    struct swarm s;
    swarm_init(&s, &saving, 4, seed);
    swarm_start_hosts(&s);
    swarm_train(&s, 0, (struct swarm_wish){.n_steps = 60});
    swarm_run_us(&s, 3 * SECOND_US);
    swarm_crash_host(&s, 1);
    swarm_run_us(&s, 2 * SECOND_US);
    swarm_start_host(&s, 1);
    ck_assert(swarm_until_done(&s, 0, 60));
    struct hash trace = world_trace(s.world);
    swarm_fini(&s);
    return trace;
}

START_TEST(the_same_world_runs_twice_the_same_way)
{
    struct hash a = trace_of(100), b = trace_of(100), c = trace_of(101);
    ck_assert(hash_equal(&a, &b));
    ck_assert(!hash_equal(&a, &c));
}
END_TEST

START_TEST(two_trainers_share_the_hosts)
{
    struct swarm s;
    swarm_init(&s, &calm, 2, 110);
    swarm_start_hosts(&s);
    swarm_train(&s, 0, (struct swarm_wish){.n_steps = 80});
    swarm_train(&s, 1, (struct swarm_wish){.n_steps = 80, .data_seed = 9});
    ck_assert(swarm_until_done(&s, 0, 100));
    ck_assert(swarm_until_done(&s, 1, 100));
    for (size_t t = 0; t < 2; t++) {
        struct router_stats stats = trainer_router_stats(s.trainer[t]);
        ck_assert_uint_eq(s.log[t].n_steps, 80);
        ck_assert(s.log[t].loss[79] < s.log[t].loss[0]);
        ck_assert_uint_gt(stats.staleness_sum, 0); /* each meets the other's updates */
        ck_assert(stats.n_grad_missed * 20 < stats.n_grad_slots);
    }
    swarm_fini(&s);
}
END_TEST

static void add_form(TCase *tcase, enum numerics form)
{
    int first = (int)form, end = first + 1;
    tcase_add_loop_test(tcase, sittings_cost_no_bit, first, end);
    tcase_add_loop_test(tcase, a_crash_costs_the_steps_since_the_last_checkpoint, first, end);
    tcase_add_loop_test(tcase, a_host_that_vanishes_costs_its_share, first, end);
    tcase_add_loop_test(tcase, all_hosts_gone_and_one_returns, first, end);
    tcase_add_loop_test(tcase, sync_waits_for_a_host_that_crashed, first, end);
}

int main(void)
{
    if (swarm_prepare() != 0)
        return EXIT_FAILURE;
    Suite *suite = suite_create("sim/trainer");
    TCase *tcase = tcase_create("trainer");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, parse_runs, NULL);
    add_form(tcase, NUMERICS_I8X2);
    tcase_add_test(tcase, experts_in_the_process_are_never_missed);
    tcase_add_loop_test(tcase, a_host_that_is_cut_off_costs_few_deadlines, 0, 2);
    tcase_add_loop_test(tcase, a_stop_at_any_moment_ends_with_a_checkpoint, 0, 16);
    tcase_add_loop_test(tcase, a_stop_while_saving_waits_for_the_file, 0, 20);
    tcase_add_loop_test(tcase, a_stop_while_waiting_for_hosts_ends_at_once, 0, 2);
    tcase_add_loop_test(tcase, without_any_host_the_trainer_says_so_and_ends, 0, 2);
    tcase_add_test(tcase, a_stop_does_not_wait_for_a_dead_host);
    tcase_add_loop_test(tcase, training_outlives_a_failing_disk, 0, 2);
    tcase_add_test(tcase, a_disk_that_does_not_fit_is_refused);
    tcase_add_test(tcase, the_same_world_runs_twice_the_same_way);
    tcase_add_test(tcase, two_trainers_share_the_hosts);
    suite_add_tcase(suite, tcase);
    TCase *others = unit_case(suite, "large", 60);
    tcase_add_checked_fixture(others, parse_runs, NULL);
    add_form(others, NUMERICS_F32);
    add_form(others, NUMERICS_I8X1);
    return unit_run(suite);
}
