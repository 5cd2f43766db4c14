/* tests/sim/test_speakers.c - who speaks of a run is called, and only who answers under its own key stands for it. */
#include "dht_swarm.h"
#include "unit.h"

#include "cmd/speakers.h"

#define RUNS 8

static struct swarm *s;
static struct swarm_node *reader;
static struct speakers *x;

/* Nodes 1 to `n` at 10.0.0.x, which are one owner, or all over the internet. */
static void setup(size_t n, bool is_public, unsigned loss_percent)
{
    struct swarm_config config = {.seed = 3, .delay_min_us = 100000, .loss_percent = loss_percent, .is_public = is_public};
    s = swarm_new(&config);
    reader = swarm_add(s, false);
    swarm_grow(s, n, 20000);
    swarm_run(s, 10 * SECOND_US);
    ck_assert_int_eq(speakers_new(reader->dht, 1, RUNS, &x), 0);
}

static void teardown(void)
{
    swarm_kill(reader);
    speakers_free(x);
    swarm_free(s);
}

static void hear(size_t run_i, size_t writer, size_t at)
{
    struct dht_entry e = {.writer = key_peer_id(swarm_node(s, writer)->key), .addr = swarm_node(s, at)->addr};
    ck_assert_int_eq(speakers_hear(x, run_i, &e), 0);
}

/* Calls them all, as often as it takes. */
static uint64_t call(void)
{
    uint64_t start_us = swarm_now(s);
    ck_assert_int_eq(speakers_begin(x, start_us), 0);
    while (!speakers_are_called(x)) {
        speakers_step(x, swarm_now(s));
        swarm_touch(reader);
        swarm_run(s, 1000);
        ck_assert_uint_lt(swarm_now(s) - start_us, 10 * SECOND_US);
    }
    ck_assert_uint_eq(speakers_wake(x), IO_NEVER);
    return swarm_now(s) - start_us;
}

START_TEST(who_answers_under_its_own_key_stands_for_its_run)
{
    setup(4, true, 0);
    hear(0, 1, 1);
    hear(1, 2, 3); /* somebody is there, but it is another */
    swarm_kill(swarm_node(s, 4));
    hear(2, 4, 4);
    uint64_t took_us = call();
    ck_assert_uint_ne(speakers_owner(x, 0), 0);
    ck_assert_uint_eq(speakers_owner(x, 1), 0);
    ck_assert_uint_eq(speakers_owner(x, 2), 0);
    ck_assert_uint_eq(speakers_n_owners(x), 2);
    ck_assert_uint_ge(took_us, 2 * SECOND_US); /* called twice */
    teardown();
}
END_TEST

START_TEST(one_subnet_is_one_owner)
{
    setup(6, false, 0);
    for (size_t i = 1; i <= 5; i++)
        hear(i, i, i);
    ck_assert_uint_lt(call(), SECOND_US);
    for (size_t i = 2; i <= 5; i++)
        ck_assert_uint_eq(speakers_owner(x, i), speakers_owner(x, 1));
    ck_assert_uint_eq(speakers_owner(x, 0), 0);
    teardown();
}
END_TEST

/* Node 300 is at 10.0.1.44: a run for which many of a crowd answer, and then somebody elsewhere, leaves the crowd. */
START_TEST(a_run_belongs_to_whom_fewest_belong)
{
    setup(300, false, 0);
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < 20; k++)
            hear(i, 1 + 20 * i + k, 1 + 20 * i + k);
    hear(0, 300, 300);
    call();
    ck_assert_uint_ne(speakers_owner(x, 0), 0);
    for (size_t i = 1; i < 5; i++) {
        ck_assert_uint_ne(speakers_owner(x, i), speakers_owner(x, 0));
        ck_assert_uint_eq(speakers_owner(x, i), speakers_owner(x, 1));
    }
    teardown();
}
END_TEST

START_TEST(a_lost_call_is_repeated)
{
    setup(12, true, 10);
    size_t n_answered = 0;
    for (size_t i = 0; i < RUNS; i++)
        hear(i, 1 + i, 1 + i);
    ck_assert_uint_ge(call(), SECOND_US); /* one was given up */
    for (size_t i = 0; i < RUNS; i++)
        n_answered += speakers_owner(x, i) != 0;
    ck_assert_uint_eq(n_answered, RUNS);
    teardown();
}
END_TEST

/* A stranger elsewhere names addresses of our own network: nobody there is asked. */
START_TEST(nobody_has_us_ask_in_our_own_network)
{
    setup(4, true, 0);
    struct dht_entry e = {.writer = key_peer_id(swarm_node(s, 1)->key),
                          .addr = {.family = 4, .ip = {192, 168, 0, 1}, .port = 80}};
    ck_assert_int_eq(speakers_hear(x, 0, &e), 0);
    size_t n_before = swarm_n_stray(s);
    ck_assert_uint_lt(call(), SECOND_US);
    ck_assert_uint_eq(swarm_n_stray(s), n_before);
    teardown();
}
END_TEST

START_TEST(thousands_are_called_in_seconds)
{
    setup(8, true, 0);
    for (size_t i = 0; i < 2048; i++) {
        struct dht_entry e = {.addr = {.family = 4, .ip = {100, (uint8_t)(i >> 8), (uint8_t)i, 1}, .port = 4100}};
        e.writer.byte[0] = (uint8_t)i;
        ck_assert_int_eq(speakers_hear(x, i % 4, &e), 0);
    }
    hear(4, 1, 1);
    ck_assert_int_eq(speakers_begin(x, swarm_now(s)), 0);
    for (size_t i = 0; i < 400; i++) { /* it has not to wait for those: one of each run comes first */
        speakers_step(x, swarm_now(s));
        swarm_touch(reader);
        swarm_run(s, 1000);
    }
    ck_assert_uint_ne(speakers_owner(x, 4), 0);
    ck_assert(!speakers_are_called(x));
    teardown();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("speakers");
    TCase *calls = tcase_create("calls");
    tcase_add_test(calls, who_answers_under_its_own_key_stands_for_its_run);
    tcase_add_test(calls, one_subnet_is_one_owner);
    tcase_add_test(calls, a_run_belongs_to_whom_fewest_belong);
    tcase_add_test(calls, a_lost_call_is_repeated);
    tcase_add_test(calls, nobody_has_us_ask_in_our_own_network);
    tcase_add_test(calls, thousands_are_called_in_seconds);
    suite_add_tcase(suite, calls);
    return unit_run(suite);
}
