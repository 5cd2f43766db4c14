/* dht/probe.h: one question to one address, its answer or its silence, and nothing that follows. */
#include "unit.h"

#include <string.h>

#include "dht/krpc.h"
#include "dht/probe.h"
#include "dht_swarm.h"

#define TIMEOUT_US 500000

struct heard {
    size_t n, n_silent;
    struct addr from;
    uint64_t rtt_us;
    struct dht_message m;
    uint8_t version[4];
};

static struct swarm *s;
static struct swarm_node *asker, *node;
static struct heard heard;

static void setup(void)
{
    struct swarm_config config = {.seed = 7, .delay_min_us = 1000};
    s = swarm_new(&config);
    asker = swarm_add(s, true);
    node = swarm_add(s, false);
    memset(&heard, 0, sizeof heard);
}

static void teardown(void)
{
    swarm_free(s);
}

static void on_answer(void *arg, uint64_t now_us, const struct dht_probe_answer *answer)
{
    struct heard *h = arg;
    (void)now_us;
    h->n++;
    h->from = answer->from;
    h->rtt_us = answer->rtt_us;
    if (!answer->message) {
        h->n_silent++;
        return;
    }
    h->m = *answer->message;
    if (h->m.version.n == sizeof h->version)
        memcpy(h->version, h->m.version.bytes, sizeof h->version);
}

static int probe(const struct addr *to, enum dht_method method)
{
    struct dht_message m = {.method = method};
    int err = dht_probe(asker->dht, swarm_now(s), to, &m, TIMEOUT_US, on_answer, &heard);
    swarm_touch(asker);
    return err;
}

START_TEST(an_answer_tells_who_is_there_and_how_far)
{
    struct dht_id id = dht_own_id(node->dht);
    ck_assert_int_eq(probe(&node->addr, DHT_PING), 0);
    ck_assert_uint_eq(dht_n_probes(asker->dht), 1);
    swarm_run(s, SECOND_US);
    ck_assert_uint_eq(heard.n, 1);
    ck_assert_uint_eq(heard.n_silent, 0);
    ck_assert_uint_eq(dht_n_probes(asker->dht), 0);
    ck_assert(addr_equal(&heard.from, &node->addr));
    ck_assert_uint_ge(heard.rtt_us, 2000);
    ck_assert_uint_lt(heard.rtt_us, 10000);
    ck_assert_int_eq(heard.m.kind, DHT_REPLY);
    ck_assert_mem_eq(heard.m.id.byte, id.byte, sizeof id.byte);
    ck_assert(addr_equal(&heard.m.ip, &asker->addr));
    ck_assert_mem_eq(heard.version, "HN", 2);
}
END_TEST

START_TEST(a_refusal_is_an_answer_with_its_words)
{
    ck_assert_int_eq(probe(&node->addr, DHT_FIND_NODE), 0); /* without a target */
    swarm_run(s, SECOND_US);
    ck_assert_uint_eq(heard.n, 1);
    ck_assert_int_eq(heard.m.kind, DHT_ERROR);
    ck_assert_int_eq(heard.m.error, DHT_ERROR_PROTOCOL);
    ck_assert_uint_eq(heard.m.error_text.n, strlen(dht_krpc_error_text(DHT_ERROR_PROTOCOL)));
}
END_TEST

START_TEST(silence_is_heard_when_the_time_is_over)
{
    static const struct addr nobody = {.family = 4, .ip = {10, 9, 9, 9}, .port = 9};
    ck_assert_int_eq(probe(&nobody, DHT_PING), 0);
    swarm_run(s, TIMEOUT_US - 1000);
    ck_assert_uint_eq(heard.n, 0);
    swarm_run(s, 2000);
    ck_assert_uint_eq(heard.n, 1);
    ck_assert_uint_eq(heard.n_silent, 1);
    ck_assert(addr_equal(&heard.from, &nobody));
}
END_TEST

START_TEST(nothing_follows_from_a_probe)
{
    ck_assert_int_eq(probe(&node->addr, DHT_PING), 0);
    swarm_run(s, 100 * SECOND_US);
    ck_assert_uint_eq(heard.n, 1);
    ck_assert_uint_eq(dht_n_good(asker->dht), 0);
    ck_assert_uint_eq(dht_stats(asker->dht).n_queries_out, 1);
    ck_assert_uint_eq(dht_stats(node->dht).n_nodes, 0); /* whoever only asks is kept by nobody */
}
END_TEST

START_TEST(too_many_at_once_are_refused_and_all_are_answered)
{
    for (size_t i = 0; i < DHT_PROBES_MAX; i++)
        ck_assert_int_eq(probe(&node->addr, DHT_PING), 0);
    ck_assert_int_eq(probe(&node->addr, DHT_PING), HANSE_EFULL);
    swarm_run(s, SECOND_US);
    ck_assert_uint_eq(heard.n, DHT_PROBES_MAX);
    ck_assert_uint_eq(heard.n_silent, 0);
    ck_assert_int_eq(probe(&node->addr, DHT_PING), 0);
}
END_TEST

static void ask_again(void *arg, uint64_t now_us, const struct dht_probe_answer *answer)
{
    struct dht_message m = {.method = DHT_PING};
    size_t *n = arg;
    if (++*n < 5)
        ck_assert_int_eq(dht_probe(asker->dht, now_us, &answer->from, &m, TIMEOUT_US, ask_again, n), 0);
}

START_TEST(who_hears_may_ask_again)
{
    static const struct addr nobody = {.family = 4, .ip = {10, 9, 9, 9}, .port = 9};
    struct dht_message m = {.method = DHT_PING};
    size_t n = 0, n_lost = 0;
    ck_assert_int_eq(dht_probe(asker->dht, swarm_now(s), &node->addr, &m, TIMEOUT_US, ask_again, &n), 0);
    ck_assert_int_eq(dht_probe(asker->dht, swarm_now(s), &nobody, &m, TIMEOUT_US, ask_again, &n_lost), 0);
    swarm_touch(asker);
    swarm_run(s, 5 * TIMEOUT_US + SECOND_US);
    ck_assert_uint_eq(n, 5);
    ck_assert_uint_eq(n_lost, 5);
}
END_TEST

START_TEST(who_leaves_in_between_is_not_called)
{
    ck_assert_int_eq(probe(&node->addr, DHT_PING), 0);
    swarm_kill(asker);
    swarm_run(s, SECOND_US);
    ck_assert_uint_eq(heard.n, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht/probe");
    TCase *tests = tcase_create("probe");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, an_answer_tells_who_is_there_and_how_far);
    tcase_add_test(tests, a_refusal_is_an_answer_with_its_words);
    tcase_add_test(tests, silence_is_heard_when_the_time_is_over);
    tcase_add_test(tests, nothing_follows_from_a_probe);
    tcase_add_test(tests, too_many_at_once_are_refused_and_all_are_answered);
    tcase_add_test(tests, who_hears_may_ask_again);
    tcase_add_test(tests, who_leaves_in_between_is_not_called);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
