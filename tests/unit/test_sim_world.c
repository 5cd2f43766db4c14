/* tests/unit/test_sim_world.c - the clock, ticks, work, crashes, and that a seed decides everything. */
#include "sim_toy.h"

/* -- Order ------------------------------------------------------------------------------------------ */

#define N_CALLS 500

static struct {
    uint64_t time_us[N_CALLS];
    size_t which[N_CALLS];
    size_t n;
} calls;

static void note_call(void *arg, uint64_t now_us)
{
    calls.time_us[calls.n] = now_us;
    calls.which[calls.n++] = (size_t)(uintptr_t)arg;
}

START_TEST(calls_come_in_order_of_time_then_of_asking)
{
    struct world *world = toy_world(1);
    struct rng rng;
    uint64_t wanted[N_CALLS];
    rng_init(&rng, (uint64_t)_i, "test");
    calls.n = 0;
    for (size_t i = 0; i < N_CALLS; i++) {
        wanted[i] = SIM_EPOCH_US + rng_below(&rng, 50);
        world_at(world, wanted[i], note_call, (void *)(uintptr_t)i);
    }
    world_run(world, IO_NEVER);
    ck_assert_uint_eq(calls.n, N_CALLS);
    for (size_t i = 0; i < N_CALLS; i++) {
        ck_assert_uint_eq(calls.time_us[i], wanted[calls.which[i]]);
        if (i > 0 && calls.time_us[i] == calls.time_us[i - 1])
            ck_assert_uint_gt(calls.which[i], calls.which[i - 1]);
        if (i > 0)
            ck_assert_uint_ge(calls.time_us[i], calls.time_us[i - 1]);
    }
    world_free(world);
}
END_TEST

START_TEST(a_run_ends_at_its_time_and_goes_on_later)
{
    struct world *world = toy_world(1);
    calls.n = 0;
    world_at(world, SIM_EPOCH_US + 10, note_call, NULL);
    world_at(world, SIM_EPOCH_US + 30, note_call, NULL);
    ck_assert_uint_eq(world_run(world, SIM_EPOCH_US + 20), SIM_EPOCH_US + 20);
    ck_assert_uint_eq(calls.n, 1);
    ck_assert_uint_eq(world_run(world, SIM_EPOCH_US + 100), SIM_EPOCH_US + 30); /* nothing left to happen */
    ck_assert_uint_eq(calls.n, 2);
    world_free(world);
}
END_TEST

static void stop_world(void *arg, uint64_t now_us)
{
    (void)now_us;
    world_stop(arg);
}

START_TEST(world_stop_ends_the_run_early)
{
    struct world *world = toy_world(1);
    calls.n = 0;
    world_at(world, SIM_EPOCH_US + 10, stop_world, world);
    world_at(world, SIM_EPOCH_US + 20, note_call, NULL);
    ck_assert_uint_eq(world_run(world, SIM_EPOCH_US + 100), SIM_EPOCH_US + 10);
    ck_assert_uint_eq(calls.n, 0);
    world_run(world, SIM_EPOCH_US + 100);
    ck_assert_uint_eq(calls.n, 1);
    world_free(world);
}
END_TEST

/* -- Start, tick, stop ------------------------------------------------------------------------------ */

static void tick_thrice(struct toy *toy, uint64_t now_us, const struct io_event *event)
{
    if (event->kind == IO_START)
        toy->deadline_us = now_us + 100;
    if (event->kind == IO_TICK)
        toy->deadline_us = toy_n(toy, IO_TICK) < 3 ? now_us + 1000 : IO_NEVER;
}

START_TEST(ticks_come_when_asked_for)
{
    struct world *world = toy_world(1);
    struct toy *toy = toy_new(world);
    toy->react = tick_thrice;
    toy_pass(world, 1000000);
    ck_assert_uint_eq(toy->n, 4);
    ck_assert_int_eq(toy->seen[0].kind, IO_START);
    ck_assert_uint_eq(toy->seen[0].now_us, SIM_EPOCH_US);
    ck_assert_uint_eq(toy->seen[1].now_us, SIM_EPOCH_US + 100);
    ck_assert_uint_eq(toy->seen[2].now_us, SIM_EPOCH_US + 1100);
    ck_assert_uint_eq(toy->seen[3].now_us, SIM_EPOCH_US + 2100);
    world_free(world);
    free(toy);
}
END_TEST

static void move_deadline(struct toy *toy, uint64_t now_us, const struct io_event *event)
{
    if (event->kind == IO_START)
        toy->deadline_us = now_us + 50000;
    if (event->kind == IO_DATAGRAM)
        toy->deadline_us = event->bytes[0] == 's' ? now_us + 10 : now_us + 900000;
    if (event->kind == IO_TICK)
        toy->deadline_us = IO_NEVER;
}

/* A datagram comes before the first deadline and moves it: the one tick comes at the new time. */
START_TEST(a_deadline_may_move_both_ways)
{
    struct world *world = toy_world((uint64_t)_i);
    struct toy *from = toy_new(world), *to = toy_new(world);
    const char *word = _i % 2 ? "sooner" : "later";
    to->react = move_deadline;
    toy_pass(world, 1);
    toy_datagram(from, to, word, 5);
    toy_pass(world, 5000000);
    const struct toy_seen *datagram = toy_find(to, IO_DATAGRAM, 0), *tick = toy_find(to, IO_TICK, 0);
    ck_assert_ptr_nonnull(datagram);
    ck_assert_uint_eq(toy_n(to, IO_TICK), datagram->now_us < SIM_EPOCH_US + 50000 ? 1 : 2);
    if (datagram->now_us < SIM_EPOCH_US + 50000)
        ck_assert_uint_eq(tick->now_us, datagram->now_us + (_i % 2 ? 10 : 900000));
    world_free(world);
    free(from);
    free(to);
}
END_TEST

START_TEST(stop_is_asked_and_answered)
{
    struct world *world = toy_world(1);
    struct toy *toy = toy_new(world);
    toy->stops_when_asked = true;
    toy_pass(world, 1000);
    ck_assert(world_is_running(toy->node));
    world_ask_stop(toy->node);
    toy_pass(world, 1000);
    ck_assert_uint_eq(toy_n(toy, IO_STOP), 1);
    ck_assert(!world_is_running(toy->node));
    ck_assert_int_eq(world_result(toy->node), 0);
    world_free(world);
    free(toy);
}
END_TEST

/* -- Work ------------------------------------------------------------------------------------------- */

static int n_runs;

static void count_run(struct io_work *work)
{
    (void)work;
    n_runs++;
}

START_TEST(work_is_done_its_cost_later)
{
    struct world *world = toy_world(1);
    struct toy *toy = toy_new(world);
    struct io_work quick = {.run = count_run, .cost_us = 100}, slow = {.run = count_run, .cost_us = 7000};
    n_runs = 0;
    toy_pass(world, 10);
    uint64_t asked_us = world_now(world);
    toy->io->ops->work(toy->io->ctx, &slow);
    toy->io->ops->work(toy->io->ctx, &quick);
    ck_assert_int_eq(n_runs, 0); /* an effect returns before anything follows from it */
    toy_pass(world, 1000000);
    ck_assert_int_eq(n_runs, 2);
    ck_assert_uint_eq(toy_find(toy, IO_WORK_DONE, 0)->now_us, asked_us + 100);
    ck_assert_uint_eq(toy_find(toy, IO_WORK_DONE, 1)->now_us, asked_us + 7000);
    world_free(world);
    free(toy);
}
END_TEST

START_TEST(a_crash_forgets_work_and_ticks)
{
    struct world *world = toy_world(1);
    struct toy *toy = toy_new(world);
    struct io_work work = {.run = count_run, .cost_us = 5000};
    toy_pass(world, 10);
    toy->io->ops->work(toy->io->ctx, &work);
    toy->deadline_us = world_now(world) + 3000;
    toy_pass(world, 1000);
    world_crash(toy->node);
    ck_assert(!world_is_running(toy->node));
    toy_start(toy);
    toy->deadline_us = IO_NEVER;
    toy_pass(world, 1000000);
    ck_assert_uint_eq(toy_n(toy, IO_START), 2);
    ck_assert_uint_eq(toy_n(toy, IO_WORK_DONE), 0);
    ck_assert_uint_eq(toy_n(toy, IO_TICK), 0);
    world_free(world);
    free(toy);
}
END_TEST

/* -- A seed decides everything ---------------------------------------------------------------------- */

#define N_CHATTER 8

static struct toy *chatter[N_CHATTER];
static struct io_work chatter_work[N_CHATTER];

/* Talks at random by every means there is. */
static void babble(struct toy *toy, uint64_t now_us, const struct io_event *event)
{
    struct toy *other = chatter[rng_below(&toy->rng, N_CHATTER)];
    uint64_t word = rng_u64(&toy->rng);
    toy->count++;
    if (event->kind == IO_START)
        toy->deadline_us = now_us + rng_below(&toy->rng, 100000);
    if (event->kind == IO_LINK_UP || (event->kind == IO_MESSAGE && toy->count % 4))
        toy_send(toy, event->link, &word, sizeof word, word & 1);
    if (event->kind == IO_MESSAGE && word % 16 == 0)
        toy->io->ops->link_close(toy->io->ctx, event->link);
    if (toy->count > 300)
        toy->deadline_us = IO_NEVER;
    if (event->kind != IO_TICK || toy->count > 300)
        return;
    toy->deadline_us = now_us + rng_below(&toy->rng, 100000);
    toy_datagram(toy, other, &word, sizeof word);
    if (word % 4 == 0)
        toy_open(toy, other);
    size_t i = 0;
    while (chatter[i] != toy)
        i++;
    if (!chatter_work[i].owner) {
        chatter_work[i] = (struct io_work){.run = count_run, .cost_us = word % 100000, .owner = toy};
        toy->io->ops->work(toy->io->ctx, &chatter_work[i]);
    }
}

static struct hash run_chatter(uint64_t seed, double loss, uint64_t *n_events)
{
    struct world_config config = {.seed = seed,
                                  .delay_min_us = 5000,
                                  .delay_mean_us = 20000,
                                  .datagram_loss = loss,
                                  .datagram_duplicate = 0.1,
                                  .bytes_per_s = 1e5,
                                  .connect_timeout_us = 1000000};
    struct world *world;
    ck_assert_int_eq(world_new(&config, &world), 0);
    memset(chatter_work, 0, sizeof chatter_work);
    for (size_t i = 0; i < N_CHATTER; i++) {
        chatter[i] = toy_new(world);
        chatter[i]->react = babble;
        rng_init(&chatter[i]->rng, world_seed(chatter[i]->node), "babble");
    }
    toy_pass(world, 1000000);
    world_cut(chatter[0]->node, chatter[1]->node, true);
    world_crash(chatter[2]->node);
    toy_pass(world, 500000);
    world_cut(chatter[0]->node, chatter[1]->node, false);
    toy_start(chatter[2]);
    toy_pass(world, 3000000);
    struct hash trace = world_trace(world);
    *n_events = world_n_events(world);
    world_free(world);
    for (size_t i = 0; i < N_CHATTER; i++)
        free(chatter[i]);
    return trace;
}

START_TEST(the_same_seed_gives_the_same_run)
{
    uint64_t n_first, n_second, n_other;
    struct hash first = run_chatter((uint64_t)_i, 0.05, &n_first), second = run_chatter((uint64_t)_i, 0.05, &n_second);
    struct hash other = run_chatter((uint64_t)_i + 1000, 0.05, &n_other);
    ck_assert(hash_equal(&first, &second));
    ck_assert_uint_eq(n_first, n_second);
    ck_assert_uint_gt(n_first, 500);
    ck_assert(!hash_equal(&first, &other));
}
END_TEST

START_TEST(the_network_does_not_disturb_identities)
{
    struct world_config calm = {.seed = 7}, rough = {.seed = 7, .datagram_loss = 0.5, .delay_mean_us = 9999};
    struct world *a, *b;
    ck_assert_int_eq(world_new(&calm, &a), 0);
    ck_assert_int_eq(world_new(&rough, &b), 0);
    for (int i = 0; i < 5; i++) {
        struct world_node *x, *y;
        ck_assert_int_eq(world_add(a, &x), 0);
        ck_assert_int_eq(world_add(b, &y), 0);
        struct peer_id p = key_peer_id(world_key(x)), q = key_peer_id(world_key(y));
        ck_assert(peer_id_equal(&p, &q));
        ck_assert_uint_eq(world_seed(x), world_seed(y));
        struct toy toy = {.node = y, .deadline_us = IO_NEVER};
        toy_start(&toy);
        struct addr nobody = {.family = 4, .ip = {10, 9, 9, 9}, .port = 4100}, own = world_addr(y);
        toy.io->ops->datagram(toy.io->ctx, &nobody, "x", 1);
        toy.io->ops->datagram(toy.io->ctx, &own, "x", 1);
        world_run(b, world_now(b) + 100000);
        world_crash(y);
    }
    world_free(a);
    world_free(b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/world");
    TCase *tc = tcase_create("world");
    tcase_add_loop_test(tc, calls_come_in_order_of_time_then_of_asking, 0, 10);
    tcase_add_test(tc, a_run_ends_at_its_time_and_goes_on_later);
    tcase_add_test(tc, world_stop_ends_the_run_early);
    tcase_add_test(tc, ticks_come_when_asked_for);
    tcase_add_loop_test(tc, a_deadline_may_move_both_ways, 0, 10);
    tcase_add_test(tc, stop_is_asked_and_answered);
    tcase_add_test(tc, work_is_done_its_cost_later);
    tcase_add_test(tc, a_crash_forgets_work_and_ticks);
    tcase_add_loop_test(tc, the_same_seed_gives_the_same_run, 0, 20);
    tcase_add_test(tc, the_network_does_not_disturb_identities);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
