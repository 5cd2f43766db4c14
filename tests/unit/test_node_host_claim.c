/* Who hosts what: several hosts with real DHT nodes on one stage. */
#include "base/log.h"
#include "dht/dht.h"
#include "host_reader.h"
#include "host_stage.h"

#define SECOND 1000000u
#define N_EXPERTS 16 /* in two layers */

static struct run run;
static struct stage stage;
static char log_text[1 << 14];

static void keep_lines(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    size_t n = strlen(log_text);
    if (level >= LOG_INFO)
        snprintf(log_text + n, sizeof log_text - n, "%s\n", line);
}

static void setup(void)
{
    run = (struct run){.name = "test",
                       .n_moe = 2,
                       .experts = N_EXPERTS / 2,
                       .latent = 4,
                       .expert_hidden = 8,
                       .expert_lr = 0.01f,
                       .slots_per_update = 2,
                       .max_staleness = 4,
                       .hosts = 2,
                       .checkpoint_s = 5,
                       .id = hash_bytes("run", 3)};
    stage_init(&stage);
    log_text[0] = 0;
    log_set_sink(keep_lines, NULL);
}

static void teardown(void)
{
    stage_fini(&stage);
    log_set_sink(NULL, NULL);
}

static size_t n_experts(const struct stage_node *node)
{
    return node->host ? host_stats(node->host).n_experts : 0;
}

/* Whether a host answers for an expert, seen as a trainer sees it. */
static bool hosts(struct stage_node *node, uint16_t layer, uint16_t expert)
{
    static const float x[4] = {1, 2, 3, 4};
    static const uint32_t row;
    static struct message_group group[MESSAGE_GROUPS_MAX];
    struct message_reply reply = {.group = group};
    struct message_group asked = {.expert = expert, .n_slots = 1, .row = &row};
    struct message_request m = {.kind = MESSAGE_FORWARD, .layer = layer, .wait_ms = 1000, .call = 1, .n_rows = 1, .D = 4};
    if (!node->host)
        return false;
    m.rows.f32 = x;
    m.n_groups = 1;
    m.group = &asked;
    bool was_held = node->holds_work;
    node->holds_work = true;
    stage_trainer(node, 99, 200, &run);
    stage_ask(node, 99, &m);
    stage_work(node);
    node->holds_work = was_held;
    ck_assert_uint_eq(node->n_sent, 1);
    ck_assert_int_eq(message_reply_decode(&reply, node->sent[0].message.bytes, node->sent[0].message.n), 0);
    stage_forget_sent(node);
    stage_link_down(node, 99);
    ck_assert(group[0].status == STATUS_OK || group[0].status == STATUS_NOT_HERE);
    return group[0].status == STATUS_OK;
}

/* Every expert has exactly one host. */
static void expect_partition(void)
{
    for (uint16_t i = 0; i < N_EXPERTS; i++) {
        size_t n = 0;
        for (size_t h = 0; h < stage.n_nodes; h++)
            n += hosts(&stage.node[h], i / (N_EXPERTS / 2), i % (N_EXPERTS / 2));
        ck_assert_msg(n == 1, "L%d.%d has %zu hosts", i / (N_EXPERTS / 2), i % (N_EXPERTS / 2), n);
    }
}

/* A few updates of one expert. */
static void train_from(struct stage_node *node, uint16_t layer, uint16_t expert, uint64_t first_call, uint64_t n_updates)
{
    static const float x[8] = {1, 2, 3, 4, 1, -1, 1, -1}, weight[2] = {1, 1};
    static const uint32_t row[2] = {0, 1};
    struct message_group asked = {.expert = expert, .n_slots = 2, .row = row, .weight = weight};
    struct message_request m = {.kind = MESSAGE_BACKWARD, .layer = layer, .wait_ms = 1000, .n_rows = 2, .D = 4, .lr_scale = 1};
    m.rows.f32 = m.x.f32 = x;
    m.n_groups = 1;
    m.group = &asked;
    stage_trainer(node, 98, 201, &run);
    for (m.call = first_call; m.call < first_call + n_updates; m.call++) {
        asked.version = m.call;
        stage_ask(node, 98, &m);
        stage_run(&stage, 10000);
    }
    stage_forget_sent(node);
    stage_link_down(node, 98);
    ck_assert_uint_ge(host_stats(node->host).n_updates, n_updates);
}

static void train(struct stage_node *node, uint16_t layer, uint16_t expert, uint64_t n_updates)
{
    train_from(node, layer, expert, 0, n_updates);
}

START_TEST(test_a_lone_host_is_ready_at_once)
{
    struct stage_node *a = stage_add(&stage);
    run.hosts = 1;
    stage_start(a, &run, _i ? "auto" : "L0.0-3");
    stage_run(&stage, SECOND / 2);
    ck_assert(a->is_ready);
    ck_assert(host_stats(a->host).is_ready);
    ck_assert_uint_eq(n_experts(a), _i ? N_EXPERTS : 4);
}
END_TEST

START_TEST(test_a_host_that_joins_nobody_is_ready_within_a_second)
{
    struct stage_node *a = stage_add(&stage), *b = stage_add(&stage);
    (void)a; /* not there */
    stage_start(b, &run, "L0.0-7");
    stage_run(&stage, SECOND - 1);
    ck_assert(b->is_ready);
}
END_TEST

START_TEST(test_two_hosts_share_one_after_the_other)
{
    struct stage_node *a = stage_add(&stage), *b = stage_add(&stage);
    stage_start(a, &run, "auto");
    stage_run(&stage, 2 * SECOND);
    ck_assert_uint_eq(n_experts(a), N_EXPERTS / 2);
    stage_start(b, &run, "auto");
    stage_run(&stage, SECOND - 1);
    ck_assert(b->is_ready);
    stage_run(&stage, 2 * SECOND);
    ck_assert_uint_eq(n_experts(a), N_EXPERTS / 2);
    ck_assert_uint_eq(n_experts(b), N_EXPERTS / 2);
    expect_partition();
    for (uint16_t layer = 0; layer < 2; layer++) { /* evenly over the layers */
        size_t n = 0;
        for (uint16_t e = 0; e < N_EXPERTS / 2; e++)
            n += hosts(a, layer, e);
        ck_assert_uint_eq(n, N_EXPERTS / 4);
    }
}
END_TEST

START_TEST(test_hosts_that_start_together_come_to_terms)
{
    size_t n = 2 + (size_t)_i % 3;
    run.hosts = (uint32_t)n;
    for (size_t i = 0; i < n; i++)
        stage_add(&stage);
    for (size_t i = 0; i < n; i++) {
        stage_start(&stage.node[i], &run, "auto");
        stage_run(&stage, 1000 * (uint64_t)_i);
    }
    stage_run(&stage, 15 * SECOND);
    expect_partition();
    for (size_t i = 0; i < n; i++)
        ck_assert_uint_le(n_experts(&stage.node[i]), (N_EXPERTS + n - 1) / n);
}
END_TEST

START_TEST(test_what_nobody_takes_is_taken_in_the_end)
{
    struct stage_node *a = stage_add(&stage), *b = stage_add(&stage);
    run.hosts = 4;
    stage_start(a, &run, "auto");
    if (_i == 1)
        stage_start(b, &run, "auto");
    stage_run(&stage, 15 * SECOND);
    ck_assert_uint_eq(n_experts(a), N_EXPERTS / 4);
    stage_run(&stage, 20 * SECOND);
    expect_partition();
    if (_i == 1) { /* both take a part */
        ck_assert_uint_gt(n_experts(a), N_EXPERTS / 4);
        ck_assert_uint_gt(n_experts(b), N_EXPERTS / 4);
    }
}
END_TEST

/* Experts that hosts said to have taken besides those they began with. */
static unsigned said_in_all(void)
{
    unsigned n_all = 0, n;
    for (const char *at = log_text; (at = strstr(at, "hosting ")); at++) {
        int end = 0;
        if (sscanf(at, "hosting %u more, which no host claimed: L%n", &n, &end) == 1 && end > 0)
            n_all += n;
    }
    return n_all;
}

/* A host that vanishes keeps its claim until its entry expires: it may come back with its state. */
START_TEST(test_experts_seen_elsewhere_are_not_adopted_soon)
{
    struct stage_node *a = stage_add(&stage), *b = stage_add(&stage);
    run.hosts = 1;
    stage_start(a, &run, "L0.0-7");
    stage_run(&stage, 2 * SECOND);
    struct host_config config = stage_config(b, &run, "auto");
    config.quiet = false;
    stage_start_with(b, &config);
    stage_run(&stage, 3 * SECOND);
    ck_assert_uint_eq(n_experts(b), 8);
    stage_kill(a);
    stage_run(&stage, 150 * SECOND);
    ck_assert_uint_eq(n_experts(b), 8);
    ck_assert_ptr_null(strstr(log_text, " more, which no host claimed"));
    stage_run(&stage, 250 * SECOND);
    ck_assert_uint_eq(n_experts(b), N_EXPERTS);
    ck_assert_msg(strstr(log_text, "16 of 16 experts now"), "%s", log_text);
    ck_assert_msg(said_in_all() == 8, "%s", log_text);
}
END_TEST

START_TEST(test_the_greater_version_keeps_it)
{
    struct stage_node *a = stage_add(&stage), *b = stage_add(&stage);
    struct stage_node *winner = _i ? a : b, *loser = _i ? b : a;
    stage_start(winner, &run, "L0.3");
    stage_run(&stage, 2 * SECOND);
    train(winner, 0, 3, 5);
    stage_start(loser, &run, "L0.2-3");
    stage_run(&stage, 40 * SECOND); /* who came first knows nobody yet and asks around with growing pauses */
    ck_assert_uint_eq(n_experts(winner), 1);
    ck_assert_uint_eq(n_experts(loser), 1);
    ck_assert(hosts(winner, 0, 3));
    ck_assert(!hosts(loser, 0, 3) && hosts(loser, 0, 2));
    ck_assert_msg(strstr(log_text, "expert L0.3") && strstr(log_text, "outranks"), "%s", log_text);
}
END_TEST

/* Both list it, at the same version: the larger peer id, whichever came first. */
/* A claim alone, however great, takes no expert from a host that is being trained; when its trainers have left, it gives way. */
START_TEST(test_who_is_trained_does_not_give_way)
{
    struct stage_node *a = stage_add(&stage), *b = stage_add(&stage);
    stage_start(a, &run, "L0.0");
    stage_run(&stage, SECOND);
    train(a, 0, 0, 2);
    stage_start(b, &run, "L0.0");
    train(b, 0, 0, 50); /* before the two have heard of each other */
    for (int i = 0; i < 8; i++) {
        stage_run(&stage, 10 * SECOND);
        ck_assert_uint_eq(n_experts(a), 1);
        train_from(a, 0, 0, 10 + (uint64_t)i, 1);
    }
    stage_run(&stage, 120 * SECOND);
    ck_assert_uint_eq(n_experts(a), 0);
    ck_assert_uint_eq(n_experts(b), 1);
}
END_TEST

START_TEST(test_a_tie_goes_to_the_larger_peer)
{
    struct stage_node *a = stage_add(&stage), *b = stage_add(&stage);
    struct peer_id id_a = key_peer_id(a->key), id_b = key_peer_id(b->key);
    struct stage_node *first = _i ? b : a, *second = _i ? a : b;
    stage_start(first, &run, "L1.5");
    stage_run(&stage, 50000);
    stage_start(second, &run, "L1.5");
    stage_run(&stage, 40 * SECOND);
    bool a_wins = peer_id_compare(&id_a, &id_b) > 0;
    ck_assert_uint_eq(n_experts(a), a_wins);
    ck_assert_uint_eq(n_experts(b), !a_wins);
}
END_TEST

START_TEST(test_own_checkpoints_are_taken_up_again)
{
    struct stage_node *a = stage_add(&stage);
    stage_start(a, &run, "L0.6");
    stage_run(&stage, SECOND);
    train(a, 0, 6, 3);
    stage_run(&stage, 6 * SECOND);
    stage_kill(a);
    stage_start(a, &run, "auto");
    stage_run(&stage, SECOND);
    ck_assert_uint_eq(n_experts(a), N_EXPERTS / 2);
    ck_assert(hosts(a, 0, 6));
}
END_TEST

START_TEST(test_claims_are_published_renewed_and_withdrawn)
{
    struct stage_node *a = stage_add(&stage), *b = stage_add(&stage), *c = stage_add(&stage);
    struct host_config config = stage_config(b, &run, "L1.0");
    stage_start(a, &run, "L0.3-5");
    stage_start_with(b, &config);
    stage_run(&stage, 2 * SECOND);
    ck_assert_uint_eq(read_layer_0(&stage, &run, c).n_experts, 3);
    train(a, 0, 3, 4);
    stage_run(&stage, 40 * SECOND);
    ck_assert_uint_eq(read_layer_0(&stage, &run, c).version, 4);
    stage_give(a, &(struct io_event){.kind = IO_STOP});
    stage_run(&stage, SECOND);
    ck_assert(a->is_stopped);
    stage_kill(a);
    c->addr.port = 4110; /* a fresh node, which asks whoever is left */
    stage.node[0].addr = b->addr;
    ck_assert_uint_eq(read_layer_0(&stage, &run, c).n_experts, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node/host_claim");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_a_lone_host_is_ready_at_once, 0, 2);
    tcase_add_test(tc, test_a_host_that_joins_nobody_is_ready_within_a_second);
    tcase_add_test(tc, test_two_hosts_share_one_after_the_other);
    tcase_add_loop_test(tc, test_hosts_that_start_together_come_to_terms, 0, 6);
    tcase_add_loop_test(tc, test_what_nobody_takes_is_taken_in_the_end, 0, 2);
    tcase_add_test(tc, test_experts_seen_elsewhere_are_not_adopted_soon);
    tcase_add_loop_test(tc, test_the_greater_version_keeps_it, 0, 2);
    tcase_add_test(tc, test_who_is_trained_does_not_give_way);
    tcase_add_loop_test(tc, test_a_tie_goes_to_the_larger_peer, 0, 2);
    tcase_add_test(tc, test_own_checkpoints_are_taken_up_again);
    tcase_add_test(tc, test_claims_are_published_renewed_and_withdrawn);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
