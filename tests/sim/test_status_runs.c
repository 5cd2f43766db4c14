/* tests/sim/test_status_runs.c - hanse status without --run, far from everybody, while strangers speak of runs that do not exist. */
#include "dht_swarm.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "cmd/status_runs.h"
#include "cmd/status_seen.h"
#include "dht/id.h"
#include "dht/node.h"

#define N 100
#define HOST 0 /* of the true run; the others speak of invented ones */
#define COPIES 8
#define TRUE_LAYERS 56

static struct swarm *s;
static struct run true_run;

/* Each node in a subnet of its own, or all in one. */
static void setup(uint64_t seed, bool is_public)
{
    struct swarm_config config = {
        .seed = seed, .delay_min_us = 130000, .delay_spread_us = 40000, .loss_percent = 3, .is_public = is_public};
    s = swarm_new(&config);
    swarm_grow(s, N, 100000);
    swarm_run(s, 60 * SECOND_US);
}

/* Stores an entry of a writer where it belongs. */
static void put(const struct key *writer, const struct addr *addr, const struct dht_id *key, const uint8_t *bytes, size_t n)
{
    uint8_t raw[DHT_ENTRY_MAX];
    struct dht_entry e = {.writer = key_peer_id(writer), .addr = *addr, .seq = 1, .n_bytes = (uint16_t)n};
    e.expiry_s = (uint32_t)(swarm_now(s) / SECOND_US) + DHT_DIRECTORY_TTL_S;
    memcpy(e.bytes, bytes, n);
    struct dht_span span = {raw, dht_entry_encode(&e, key, writer, raw)};
    for (size_t i = 0; i < N; i++) {
        size_t n_nearer = 0;
        struct dht_id own = dht_own_id(swarm_node(s, i)->dht);
        for (size_t j = 0; j < N; j++) {
            struct dht_id other = dht_own_id(swarm_node(s, j)->dht);
            n_nearer += dht_id_compare(key, &other, &own) < 0;
        }
        if (n_nearer < COPIES)
            ck_assert_int_eq(dht_directory_store(&swarm_node(s, i)->dht->directory, key, &e, span, addr, swarm_now(s)), 0);
    }
}

static struct run run_of(const char *name, uint32_t n_moe, uint32_t experts)
{
    struct run run = {.id = hash_bytes(name, strlen(name)), .n_moe = n_moe, .experts = experts};
    snprintf(run.name, sizeof run.name, "%s", name);
    return run;
}

static void speak_of(const struct run *run, const struct key *writer, const struct addr *addr)
{
    static const struct hash nobody;
    struct dht_id key = dht_directory_key(&nobody, MESSAGE_RUNS, 0, 0);
    struct message_run m = {.run = run->id, .n_moe = (uint16_t)run->n_moe, .experts = run->experts};
    uint8_t bytes[MESSAGE_RUN_BYTES];
    snprintf(m.name, sizeof m.name, "%s", run->name);
    put(writer, addr, &key, bytes, message_run_encode(&m, bytes));
}

/* A host has all experts of the first rows of a run. */
static void host_rows(const struct run *run, const struct swarm_node *host, uint32_t n_rows)
{
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    uint8_t bytes[MESSAGE_CLAIMS_BYTES];
    uint32_t per_layer = run->experts / MESSAGE_ROW_EXPERTS;
    for (size_t i = 0; i < MESSAGE_ROW_EXPERTS; i++)
        claim[i] = (struct message_claim){.index = (uint8_t)i, .version = 7};
    size_t n = message_claims_encode(claim, MESSAGE_ROW_EXPERTS, bytes);
    for (uint32_t i = 0; i < n_rows; i++) {
        struct dht_id key = dht_directory_key(&run->id, "experts", i / per_layer, i % per_layer);
        put(host->key, &host->addr, &key, bytes, n);
    }
    speak_of(run, host->key, &host->addr);
}

static void host_the_true_run(void)
{
    true_run = run_of("true", TRUE_LAYERS, MESSAGE_ROW_EXPERTS);
    host_rows(&true_run, swarm_node(s, HOST), TRUE_LAYERS);
}

static void invent(size_t n_runs, size_t n_speakers)
{
    for (size_t i = 0; i < n_runs; i++) {
        char name[40];
        snprintf(name, sizeof name, "invented%zu", i);
        struct run run = run_of(name, 16, 64);
        for (size_t k = 0; k < n_speakers; k++) {
            const struct swarm_node *node = swarm_node(s, 1 + i * n_speakers + k);
            speak_of(&run, node->key, &node->addr);
        }
    }
}

/* What a reader was shown. */
struct shown {
    size_t n, n_parts; /* runs, and those of them that were read in part */
    size_t n_hosted;   /* experts of the true one */
    bool is_whole;
    uint64_t start_us, true_us; /* when the true run was shown, since */
    size_t n_busy;              /* most that its node worked at */
    struct status_runs_count count;
};

static void on_show(void *arg, uint64_t now_us, const struct status *status)
{
    struct shown *shown = arg;
    shown->n++;
    shown->n_parts += !status_is_whole(status);
    if (!hash_equal(&status->run->id, &true_run.id))
        return;
    ck_assert_uint_eq(shown->true_us, 0);
    shown->n_hosted = status_n_hosted(status);
    shown->is_whole = status_is_whole(status);
    shown->true_us = now_us - shown->start_us;
}

static struct shown look_around(uint64_t seed)
{
    struct shown shown = {.start_us = swarm_now(s)};
    struct swarm_node *reader = swarm_add(s, true);
    struct status_runs_config config = {.dht = reader->dht, .seed = seed, .show = on_show, .arg = &shown};
    struct status_runs *x;
    ck_assert_int_eq(status_runs_new(&config, shown.start_us, &x), 0);
    swarm_join(reader, &swarm_node(s, N / 2)->addr);
    while (!status_runs_is_over(x)) {
        swarm_run(s, 1000);
        status_runs_step(x, swarm_now(s));
        swarm_touch(reader);
        shown.n_busy = reader->dht->n_operations > shown.n_busy ? reader->dht->n_operations : shown.n_busy;
        ck_assert_uint_lt(swarm_now(s) - shown.start_us, 20 * SECOND_US);
    }
    ck_assert_int_eq(status_runs_result(x), 0);
    shown.count = status_runs_count(x);
    swarm_kill(reader);
    status_runs_free(x);
    swarm_free(s);
    return shown;
}

static void expect_the_true_run(const struct shown *shown)
{
    ck_assert_uint_eq(shown->n_hosted, TRUE_LAYERS * MESSAGE_ROW_EXPERTS);
    ck_assert(shown->is_whole);
}

START_TEST(a_true_run_among_many_invented_ones_is_shown)
{
    setup((uint64_t)_i, true);
    host_the_true_run();
    invent(30, 2);
    struct shown shown = look_around((uint64_t)_i);
    ck_assert_uint_eq(shown.count.n_runs, 31);
    ck_assert_uint_le(shown.n_busy, 32 + 2);
    expect_the_true_run(&shown);
}
END_TEST

/* It goes on and on, and others have not had their first turn yet. */
START_TEST(rows_without_end_leave_room_for_others)
{
    setup((uint64_t)_i, true);
    host_the_true_run();
    invent(50, 1);
    struct run run = run_of("huge", RUN_LAYERS_MAX, MESSAGE_GROUPS_MAX);
    host_rows(&run, swarm_node(s, N - 1), 600);
    struct shown shown = look_around((uint64_t)_i);
    ck_assert_uint_eq(shown.count.n_runs, 52);
    ck_assert_uint_eq(shown.n, 2 + shown.count.n_empty);
    ck_assert_uint_eq(shown.n_parts, 1);
    expect_the_true_run(&shown);
}
END_TEST

START_TEST(a_large_invented_run_hides_no_other)
{
    setup((uint64_t)_i, _i % 2 == 0);
    host_the_true_run();
    struct run run = run_of("huge", RUN_LAYERS_MAX, MESSAGE_GROUPS_MAX);
    for (size_t i = 1; i < 4; i++)
        speak_of(&run, swarm_node(s, i)->key, &swarm_node(s, i)->addr);
    struct shown shown = look_around((uint64_t)_i);
    ck_assert_uint_eq(shown.count.n_runs, 2);
    ck_assert_uint_eq(shown.count.n_unread, 1); /* nobody could read all of that */
    expect_the_true_run(&shown);
}
END_TEST

/* Writers that are nowhere, at addresses of nobody: they cost a stranger nothing at all. */
static void speak_from_nowhere(void)
{
    for (size_t i = 0; i < 200; i++) {
        char name[40];
        uint8_t seed[KEY_SEED_BYTES] = {1, (uint8_t)i};
        struct addr addr = {.family = 4, .ip = {100, (uint8_t)i, 1, 1}, .port = 4100};
        struct key *key;
        snprintf(name, sizeof name, "nowhere%zu", i);
        struct run run = run_of(name, 4, 64);
        ck_assert_int_eq(key_new(seed, &key), 0);
        speak_of(&run, key, &addr);
        key_free(key);
    }
}

START_TEST(runs_for_which_nobody_answers_share_one_turn)
{
    setup((uint64_t)_i, true);
    host_the_true_run();
    speak_from_nowhere();
    struct shown shown = look_around((uint64_t)_i);
    ck_assert_uint_eq(shown.count.n_runs, 201);
    expect_the_true_run(&shown);
}
END_TEST

/* However slow those rows are: half of what is read at once is left for others.  The node has its own business besides. */
START_TEST(they_never_have_more_than_half)
{
    setup((uint64_t)_i, true);
    speak_from_nowhere();
    struct shown shown = look_around((uint64_t)_i);
    ck_assert_uint_eq(shown.count.n_runs, 200);
    ck_assert_uint_ge(shown.n_busy, 16);
    ck_assert_uint_le(shown.n_busy, 16 + 2);
}
END_TEST

/* It died a moment ago, and what it said still stands. */
START_TEST(a_run_whose_host_is_silent_is_shown_too)
{
    setup((uint64_t)_i, true);
    host_the_true_run();
    swarm_kill(swarm_node(s, HOST));
    struct shown shown = look_around((uint64_t)_i);
    ck_assert_uint_eq(shown.count.n_runs, 1);
    ck_assert_uint_eq(shown.n, 1);
    expect_the_true_run(&shown);
}
END_TEST

START_TEST(what_nobody_hosts_is_told_apart_from_what_was_not_read)
{
    setup((uint64_t)_i, true);
    host_the_true_run();
    struct run small = run_of("small", 1, 64), huge = run_of("huge", RUN_LAYERS_MAX, MESSAGE_GROUPS_MAX);
    speak_of(&small, swarm_node(s, 1)->key, &swarm_node(s, 1)->addr);
    speak_of(&huge, swarm_node(s, 2)->key, &swarm_node(s, 2)->addr);
    struct shown shown = look_around((uint64_t)_i);
    ck_assert_uint_eq(shown.count.n_runs, 3);
    ck_assert_uint_eq(shown.count.n_empty, 1);
    ck_assert_uint_eq(shown.count.n_unread, 1);
    expect_the_true_run(&shown);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("status-runs");
    TCase *runs = tcase_create("runs");
    tcase_set_timeout(runs, 60);
    tcase_add_loop_test(runs, a_true_run_among_many_invented_ones_is_shown, 0, 3);
    tcase_add_loop_test(runs, rows_without_end_leave_room_for_others, 0, 3);
    tcase_add_loop_test(runs, a_large_invented_run_hides_no_other, 0, 6);
    tcase_add_loop_test(runs, runs_for_which_nobody_answers_share_one_turn, 0, 3);
    tcase_add_loop_test(runs, they_never_have_more_than_half, 0, 2);
    tcase_add_loop_test(runs, a_run_whose_host_is_silent_is_shown_too, 0, 2);
    tcase_add_loop_test(runs, what_nobody_hosts_is_told_apart_from_what_was_not_read, 0, 2);
    suite_add_tcase(suite, runs);
    return unit_run(suite);
}
