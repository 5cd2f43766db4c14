/* tests/sim/test_dht_again.c - what was published and nobody took is tried again soon, and not by all keys at once. */
#include "unit.h"

#include "dht/node.h"
#include "dht_swarm.h"

#define N 30
#define WRITER 1
#define READER 7
#define KEYS DHT_PUBLICATIONS_MAX
#define AT_ONCE 8 /* tries */
#define STEP_US 10000u

/* Check writes a line to a file at each of its own asserts. */
#define HOLD(claim)                                                                                                              \
    do {                                                                                                                         \
        if (!(claim))                                                                                                            \
            ck_abort_msg("%s", #claim);                                                                                          \
    } while (0)

static struct swarm *s;
static struct swarm_node *writer;

static struct dht_id key_of(uint32_t row)
{
    struct hash run = hash_bytes("again", 5);
    return dht_directory_key(&run, "experts", 0, row);
}

/* A writer in a swarm that has settled: its keys are stored again every 100 to 150 s. */
static void setup(uint64_t seed, uint32_t n_keys)
{
    struct swarm_config config = {.seed = seed, .delay_min_us = 10000, .delay_spread_us = 60000, .is_public = true};
    s = swarm_new(&config);
    swarm_grow(s, N, 50000);
    swarm_run(s, 60 * SECOND_US);
    writer = swarm_node(s, WRITER);
    for (uint32_t i = 0; i < n_keys; i++) {
        struct dht_id key = key_of(i);
        swarm_publish(writer, &key, "here");
    }
    swarm_run(s, 60 * SECOND_US);
}

/* Everybody else says nothing but that it is there, or refuses what it is to store; or all is as before. */
static void turn(bool is_mute, bool is_full)
{
    for (size_t i = 0; i < N; i++)
        if (i != WRITER) {
            swarm_node(s, i)->is_mute = is_mute;
            swarm_fill(swarm_node(s, i), is_full);
        }
}

static struct dht_publication *publication(size_t i)
{
    return writer->dht->publication[i];
}

static size_t n_failed(void)
{
    size_t n = 0;
    for (size_t i = 0; i < writer->dht->n_publications; i++)
        n += publication(i)->again_us > 0;
    return n;
}

/* Until `n` keys were taken by nobody when they were stored last. */
static void wait_for_failures(size_t n)
{
    uint64_t start_us = swarm_now(s);
    while (n_failed() < n) {
        swarm_run(s, STEP_US);
        HOLD(swarm_now(s) - start_us < 170 * SECOND_US);
    }
}

static uint64_t seq_at_reader(uint32_t row, size_t *n)
{
    struct dht_id key = key_of(row);
    struct swarm_read read;
    swarm_read(swarm_node(s, READER), &key, &read);
    *n = read.n;
    return read.n > 0 ? read.entry[0].seq : 0;
}

/* Times at which it begins to be stored. */
static size_t watch(uint64_t for_us, uint64_t *begun, size_t max)
{
    uint64_t until_us = swarm_now(s) + for_us;
    bool was_storing = publication(0)->is_storing;
    size_t n = 0;
    while (swarm_now(s) < until_us) {
        swarm_run(s, STEP_US);
        bool is_storing = publication(0)->is_storing;
        if (is_storing && !was_storing && n < max)
            begun[n++] = swarm_now(s);
        was_storing = is_storing;
    }
    return n;
}

START_TEST(what_nobody_took_is_stored_within_seconds)
{
    setup((uint64_t)_i, 1);
    size_t n;
    uint64_t begun[8];
    ck_assert_uint_eq(watch(20 * SECOND_US, begun, 8), 0); /* somebody took it: all is quiet */
    turn(_i % 2 == 0, _i % 2 == 1);
    wait_for_failures(1);
    turn(false, false);
    uint64_t heal_us = swarm_now(s);
    swarm_run(s, 4 * SECOND_US);
    ck_assert_uint_eq(n_failed(), 0);
    ck_assert_uint_gt(seq_at_reader(0, &n), heal_us);
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(watch(60 * SECOND_US, begun, 8), 0);
    swarm_free(s);
}
END_TEST

START_TEST(pauses_grow_up_to_the_regular_one)
{
    setup((uint64_t)_i, 1);
    uint64_t begun[64], pause_us = SECOND_US;
    turn(false, true);
    wait_for_failures(1);
    uint64_t start_us = swarm_now(s), last_us = start_us;
    size_t n = watch(600 * SECOND_US, begun, 64);
    ck_assert_uint_ge(n, 8);
    ck_assert_uint_le(n, 13);
    for (size_t i = 0; i < n; i++) { /* a try takes less than a second */
        ck_assert_uint_ge(begun[i] - last_us, pause_us / 2);
        ck_assert_uint_le(begun[i] - last_us, pause_us * 3 / 2 + SECOND_US);
        last_us = begun[i];
        pause_us = 2 * pause_us < 100 * SECOND_US ? 2 * pause_us : 100 * SECOND_US;
    }
    swarm_free(s);
}
END_TEST

static void on_read(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    (void)entry;
    (void)n;
    (void)n_asked;
    *(uint64_t *)arg = now_us;
}

/* Lets time pass, and looks that tries keep to their turns; asked from time to time, others are not kept waiting. */
static void keep_watch(uint64_t for_us)
{
    uint64_t until_us = swarm_now(s) + for_us, asked_us = 0, done_us = 1;
    while (swarm_now(s) < until_us) {
        swarm_run(s, STEP_US);
        HOLD(writer->dht->n_again <= AT_ONCE);
        if (done_us > 0 && swarm_now(s) - asked_us > 10 * SECOND_US) {
            struct dht_id key = key_of(100000);
            done_us = 0;
            asked_us = swarm_now(s);
            dht_read(writer->dht, asked_us, &key, on_read, &done_us);
            swarm_touch(writer);
        }
        HOLD(done_us > 0 || swarm_now(s) - asked_us <= 9 * SECOND_US);
    }
}

START_TEST(many_keys_take_turns)
{
    setup((uint64_t)_i, KEYS);
    size_t n;
    turn(_i % 2 == 0, _i % 2 == 1);
    wait_for_failures(KEYS / 4);
    keep_watch(120 * SECOND_US);
    ck_assert_uint_ge(n_failed(), KEYS / 2);
    turn(false, false);
    uint64_t heal_us = swarm_now(s);
    keep_watch(150 * SECOND_US);
    ck_assert_uint_eq(n_failed(), 0);
    ck_assert_uint_eq(writer->dht->n_again, 0);
    for (uint32_t i = 0; i < KEYS; i += 16)
        ck_assert_uint_gt(seq_at_reader(i, &n), heal_us);
    swarm_free(s);
}
END_TEST

/* With no room in the line all fail in one moment; they do not come back in one. */
START_TEST(what_failed_together_is_spread)
{
    setup((uint64_t)_i, 1);
    uint64_t done_us = 0, first_us = IO_NEVER, last_us = 0;
    struct dht_id other = key_of(100000);
    for (uint32_t i = 0; i < 2048; i++)
        dht_read(writer->dht, swarm_now(s), &other, on_read, &done_us);
    for (uint32_t i = 1; i <= 64; i++) {
        struct dht_id key = key_of(i);
        dht_publish(writer->dht, swarm_now(s), &key, &writer->addr, "too", 3, NULL, NULL);
    }
    uint64_t now_us = swarm_now(s);
    dht_tick(writer->dht, now_us);
    ck_assert_uint_eq(n_failed(), 64);
    for (size_t i = 1; i <= 64; i++) {
        uint64_t at_us = publication(i)->next_us - now_us;
        first_us = at_us < first_us ? at_us : first_us;
        last_us = at_us > last_us ? at_us : last_us;
    }
    ck_assert_uint_ge(first_us, SECOND_US / 2);
    ck_assert_uint_lt(last_us, SECOND_US * 3 / 2);
    ck_assert_uint_ge(last_us - first_us, SECOND_US / 2);
    swarm_touch(writer);
    keep_watch(60 * SECOND_US);
    ck_assert_uint_eq(n_failed(), 0);
    swarm_free(s);
}
END_TEST

/* Our own store alone heard of it: what others hold would be believed to its end. */
START_TEST(a_withdrawal_that_nobody_else_heard_is_repeated)
{
    setup((uint64_t)_i, 1);
    struct dht_id key = key_of(0);
    size_t n;
    ck_assert_uint_gt(seq_at_reader(0, &n), 0);
    turn(_i % 2 == 0, _i % 2 == 1);
    dht_withdraw(writer->dht, swarm_now(s), &key);
    swarm_touch(writer);
    swarm_run(s, 12 * SECOND_US);
    ck_assert_uint_eq(writer->dht->n_publications, 1);
    turn(false, false);
    swarm_run(s, 20 * SECOND_US);
    ck_assert_uint_eq(writer->dht->n_publications, 0);
    ck_assert_uint_eq(seq_at_reader(0, &n), 0);
    swarm_free(s);
}
END_TEST

/* Who is alone serves itself, and has nobody to try again with. */
START_TEST(the_first_node_is_content_with_itself)
{
    struct swarm_config config = {.seed = (uint64_t)_i, .delay_min_us = 10000, .is_public = true};
    struct dht_id key = key_of(0);
    s = swarm_new(&config);
    writer = swarm_add(s, false);
    swarm_publish(writer, &key, "here");
    swarm_run(s, 60 * SECOND_US);
    ck_assert_uint_eq(n_failed(), 0);
    swarm_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-again");
    TCase *again = tcase_create("again");
    tcase_set_timeout(again, 60);
    tcase_add_loop_test(again, what_nobody_took_is_stored_within_seconds, 0, 4);
    tcase_add_loop_test(again, pauses_grow_up_to_the_regular_one, 0, 2);
    tcase_add_loop_test(again, many_keys_take_turns, 0, 2);
    tcase_add_loop_test(again, what_failed_together_is_spread, 0, 2);
    tcase_add_loop_test(again, a_withdrawal_that_nobody_else_heard_is_repeated, 0, 2);
    tcase_add_loop_test(again, the_first_node_is_content_with_itself, 0, 1);
    suite_add_tcase(suite, again);
    return unit_run(suite);
}
