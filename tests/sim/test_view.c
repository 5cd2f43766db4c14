/* tests/sim/test_view.c - what a trainer knows of the swarm while hosts vanish, stop, are cut off and come back. */
#include "node/client.h"
#include "router/state.h"
#include "tests/sim/train_swarm.h"

#define HOSTS 3
#define DEAD 1 /* has L0.2-3 and L1.0 */
#define N_TOKENS 8
#define YAML                                                                                                                     \
    "name: view\n"                                                                                                               \
    "model: {width: 16, layers: 2, heads: 2, hidden: 32, context: 16, moe_layers: [0, 1], experts: 4,\n"                         \
    "        chosen: 2, expert_hidden: 16, latent: 8, shared_hidden: 8}\n"                                                       \
    "trainer: {batch: 8, microbatches: 2, steps: 12, warmup_steps: 2, deadline_ms: 1000}\n"                                      \
    "experts: {numerics: f32}\n"

/* A trainer without a trunk: it knows the hosts, and asks all experts of layer 0 when it is told to. */
struct viewer {
    struct world_node *node;
    struct client *client;
    struct exchange *exchange;
    bool asks, is_asking;
    uint64_t now_us, ask_us, failed_us; /* failed: when a call first did */
    float x[N_TOKENS * 8], y[N_TOKENS * 2 * 8];
    int32_t pick[N_TOKENS * 2];
    uint8_t answered[N_TOKENS * 2];
};

static struct run run;
static struct swarm s;
static struct viewer viewer;

static void on_done(void *arg, uint64_t now_us)
{
    struct viewer *v = arg;
    v->is_asking = false;
    if (memchr(v->answered, 0, sizeof v->answered) && !v->failed_us)
        v->failed_us = now_us;
}

static void ask(struct viewer *v)
{
    v->is_asking = true;
    v->ask_us = v->now_us + SECOND_US / 5;
    for (size_t i = 0; i < 2 * N_TOKENS; i++)
        v->pick[i] = (int32_t)(i % 4);
    exchange_forward(v->exchange, v->now_us, 0, N_TOKENS, (struct rows){.f32 = v->x}, v->pick, v->answered,
                     (struct rows){.f32 = v->y}, false, on_done, v);
}

static void on_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct viewer *v = self;
    v->now_us = now_us;
    (void)client_event(v->client, now_us, event);
    if (v->asks && !v->is_asking && v->ask_us <= now_us)
        ask(v);
}

static uint64_t deadline(const void *self)
{
    const struct viewer *v = self;
    uint64_t next = client_deadline(v->client);
    return v->asks && !v->is_asking && v->ask_us < next ? v->ask_us : next;
}

static void viewer_start(size_t t)
{
    struct swarm_wish wish = {0};
    memset(&viewer, 0, sizeof viewer);
    viewer.node = s.trainer_node[t];
    struct client_config config = swarm_client(&s, viewer.node, &wish);
    config.role = ROLE_TRAINER;
    ck_assert_int_eq(client_new(&config, world_io(viewer.node), NULL, world_now(s.world), &viewer.client), 0);
    ck_assert_int_eq(exchange_new(client_router(viewer.client), N_TOKENS, &viewer.exchange), 0);
    struct io_machine machine = {on_event, deadline, &viewer};
    world_start(viewer.node, &machine);
}

static void viewer_stop(void)
{
    world_crash(viewer.node);
    exchange_free(viewer.exchange);
    client_free(viewer.client);
}

/* A link to a machine that is gone goes down after `link_s`. */
static void set_up(uint64_t seed, uint64_t link_s)
{
    struct world_config config = {
        .seed = seed, .delay_min_us = 1000, .delay_mean_us = 5000, .connect_timeout_us = link_s * SECOND_US};
    ck_assert_int_eq(swarm_parse(&run, YAML), 0);
    swarm_init_world(&s, &run, HOSTS, &config);
    swarm_start_hosts(&s);
    swarm_run_us(&s, 5 * SECOND_US);
    viewer_start(0);
    swarm_run_us(&s, 5 * SECOND_US);
}

static void tear_down(void)
{
    viewer_stop();
    swarm_fini(&s);
}

/* Live experts, and how many of them a host has. */
static size_t view(size_t h, size_t *n_of_host)
{
    struct router_expert x[SWARM_EXPERTS];
    struct peer_id id = key_peer_id(world_key(s.node[h]));
    size_t n = router_view(client_router(viewer.client), x, SWARM_EXPERTS);
    *n_of_host = 0;
    for (size_t i = 0; i < n; i++)
        *n_of_host += peer_id_equal(&x[i].peer, &id);
    return n;
}

static bool is_seen(size_t h)
{
    size_t n;
    (void)view(h, &n);
    return n > 0;
}

static bool is_asked(uint32_t moe, uint32_t expert)
{
    return router_allowed(client_router(viewer.client), moe)[expert];
}

static void cut(bool is_cut)
{
    for (size_t h = 0; h < HOSTS; h++)
        if (h != DEAD)
            world_cut(s.node[h], s.node[DEAD], is_cut);
    for (size_t t = 0; t < SWARM_TRAINERS_MAX; t++)
        world_cut(s.trainer_node[t], s.node[DEAD], is_cut);
}

/* Whether a call could go to it at all. */
static bool has_link(size_t h)
{
    struct peer_id id = key_peer_id(world_key(s.node[h]));
    struct router *router = client_router(viewer.client);
    int i = router_peer_find(router, &id);
    return i >= 0 && router->peer[i].state == PEER_READY;
}

START_TEST(every_live_expert_is_in_the_view)
{
    struct router_expert x[SWARM_EXPERTS];
    size_t n;
    set_up((uint64_t)_i, 20);
    ck_assert_uint_eq(view(DEAD, &n), SWARM_EXPERTS);
    ck_assert_uint_eq(n, 3);
    ck_assert_uint_eq(router_view(client_router(viewer.client), x, SWARM_EXPERTS), SWARM_EXPERTS);
    for (uint32_t i = 0; i < SWARM_EXPERTS; i++) {
        ck_assert(x[i].moe == i / 4 && x[i].expert == i % 4);
        ck_assert(x[i].addr.port == 4100 && x[i].hardware >= HARDWARE_CPU);
        ck_assert(x[i].rtt_us > 2000 && x[i].rtt_us < 200000); /* there and back, at least a millisecond each */
    }
    tear_down();
}
END_TEST

/* Nothing says that it is gone: links stand for long, and its entries lie in the DHT. */
START_TEST(a_host_that_falls_silent_is_gone_with_its_first_failed_calls)
{
    set_up((uint64_t)_i, 10000);
    viewer.asks = true;
    swarm_run_us(&s, 3 * SECOND_US);
    ck_assert(!viewer.failed_us && is_seen(DEAD));
    cut(true);
    for (int i = 0; i < 400 && !viewer.failed_us; i++)
        swarm_run_us(&s, SECOND_US / 100);
    ck_assert_uint_ne(viewer.failed_us, 0);
    ck_assert(!is_seen(DEAD));
    while (world_now(s.world) < viewer.failed_us + 5 * SECOND_US)
        swarm_run_us(&s, SECOND_US / 100);
    for (int i = 0; i < 1000; i++) { /* long after that it is asked nothing */
        ck_assert(!has_link(DEAD) && !is_seen(DEAD) && !is_asked(0, 2) && !is_asked(0, 3) && !is_asked(1, 0) && is_asked(0, 0) &&
                  is_asked(1, 1));
        swarm_run_us(&s, SECOND_US / 10);
    }
    cut(false);
    swarm_run_us(&s, 30 * SECOND_US);
    ck_assert(is_seen(DEAD) && is_asked(0, 2)); /* it answered a dial */
    tear_down();
}
END_TEST

START_TEST(a_host_that_stops_is_gone_at_once)
{
    size_t n;
    set_up((uint64_t)_i, 20);
    world_ask_stop(s.node[DEAD]);
    swarm_run_us(&s, 2 * SECOND_US);
    ck_assert_uint_eq(view(DEAD, &n), SWARM_EXPERTS - 3);
    ck_assert_uint_eq(n, 0);
    tear_down();
}
END_TEST

/* No calls are made, and the link seems to stand for hours. */
START_TEST(a_host_that_is_cut_off_is_gone_with_its_entry)
{
    set_up((uint64_t)_i, 10000);
    cut(true);
    uint64_t cut_us = world_now(s.world), gone_us = 0;
    swarm_run_us(&s, 100 * SECOND_US);
    ck_assert(is_seen(DEAD)); /* nothing has told anybody */
    while (!gone_us && world_now(s.world) < cut_us + 400 * (uint64_t)SECOND_US) {
        swarm_run_us(&s, SECOND_US);
        if (!is_seen(DEAD))
            gone_us = world_now(s.world);
    }
    ck_assert_uint_ne(gone_us, 0);
    ck_assert_uint_le(gone_us, cut_us + 360 * (uint64_t)SECOND_US); /* its entry's life, and clocks that differ */
    ck_assert(!is_asked(0, 2));
    for (size_t h = 0; h < HOSTS; h++)
        ck_assert(h == DEAD || is_seen(h));
    cut(false);
    swarm_run_us(&s, 200 * (uint64_t)SECOND_US);
    ck_assert(is_seen(DEAD));
    tear_down();
}
END_TEST

/* Who comes after its death finds its entry in the DHT, and does not take it for alive. */
START_TEST(the_entry_of_a_dead_host_brings_nobody_back)
{
    set_up((uint64_t)_i, 20);
    swarm_crash_host(&s, DEAD);
    swarm_run_us(&s, SECOND_US);
    ck_assert(!is_seen(DEAD));
    viewer_stop();
    viewer_start(1);
    for (int i = 0; i < 60; i++) {
        swarm_run_us(&s, SECOND_US);
        ck_assert(!is_seen(DEAD) && !is_asked(0, 2));
    }
    ck_assert(is_seen(0) && is_seen(2));
    swarm_start_host(&s, DEAD);
    swarm_run_us(&s, 10 * SECOND_US);
    ck_assert(is_seen(DEAD) && is_asked(0, 2));
    tear_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/view");
    TCase *all = tcase_create("view");
    if (swarm_prepare() != 0)
        return EXIT_FAILURE;
    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, every_live_expert_is_in_the_view, 0, 3);
    tcase_add_loop_test(all, a_host_that_falls_silent_is_gone_with_its_first_failed_calls, 0, 3);
    tcase_add_loop_test(all, a_host_that_stops_is_gone_at_once, 0, 3);
    tcase_add_loop_test(all, a_host_that_is_cut_off_is_gone_with_its_entry, 0, 2);
    tcase_add_loop_test(all, the_entry_of_a_dead_host_brings_nobody_back, 0, 3);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
