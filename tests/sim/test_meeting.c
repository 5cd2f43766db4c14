/* tests/sim/test_meeting.c - peers of a run who know nobody but a Mainline network find each other there, and leave it in peace. */
#include "tests/unit/unit.h"

#include <string.h>

#include "base/log.h"
#include "dht/krpc.h"
#include "node/meeting.h"
#include "sim/world.h"

#define SECOND_US ((uint64_t)1000000)
#define N_STANDS 24
#define N_PEERS 4
#define N_LIES 60

/* A Mainline node: one of ours that says it is another's. */
struct stand {
    struct world_node *node;
    struct io io;
    struct dht *dht;
    struct rng rng;
    bool is_liar;
};

/* A peer of the run: what host and trainer make of their datagrams. */
struct peer {
    struct world_node *node;
    struct dht *overlay;
    struct meeting *meeting;
    struct meeting_config config;
    uint64_t most_queries; /* in any ten seconds */
    uint64_t window_us, window_queries;
};

static struct world *world;
static struct stand stand[N_STANDS];
static struct peer peer[N_PEERS];
static size_t n_peers, n_private;
static struct meeting_routers routers;
static bool is_one_place; /* where all lies are from */
static uint64_t late_us;  /* when the router that is looked up is known */

/* -- Mainline --------------------------------------------------------------------------------------------- */

static size_t lie(struct stand *self, uint8_t out[1500], const void *bytes, size_t n)
{
    struct dht_message m;
    memcpy(out, bytes, n);
    if (!self->is_liar || dht_krpc_decode(&m, bytes, n) != 0 || m.kind != DHT_REPLY || m.token.n == 0)
        return n;
    m.n_peers = N_LIES;
    for (size_t i = 0; i < N_LIES; i++) {
        m.peer[i] = (struct addr){.family = 4, .port = 4100};
        rng_bytes(&self->rng, m.peer[i].ip, 4);
        if (is_one_place) {
            memcpy(m.peer[i].ip, (uint8_t[]){80, 1, 2, 3}, 4);
            m.peer[i].port = (uint16_t)(1 + rng_below(&self->rng, 60000));
        }
    }
    uint8_t whole[1500];
    size_t n_whole = dht_krpc_encode(&m, whole, sizeof whole);
    memcpy(out, whole, n_whole);
    return n_whole;
}

static void send_plain(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    struct stand *self = ctx;
    uint8_t out[1500];
    n = lie(self, out, bytes, n);
    for (size_t i = 0; i + 6 < n; i++)
        if (memcmp(out + i, "1:v4:HN", 7) == 0)
            memcpy(out + i, "1:v4:LT", 7);
    const struct io *io = world_io(self->node);
    io->ops->datagram(io->ctx, to, out, n);
}

static void stand_event(void *ctx, uint64_t now_us, const struct io_event *event)
{
    struct stand *self = ctx;
    struct dht_message m;
    if (event->kind == IO_DATAGRAM) {
        if (dht_krpc_decode(&m, event->bytes, event->n_bytes) == 0 && m.kind == DHT_QUERY)
            n_private += m.method == DHT_HANSE_GET || m.method == DHT_HANSE_PUT || m.method == DHT_METHOD_UNKNOWN;
        dht_datagram(self->dht, now_us, &event->from, event->bytes, event->n_bytes);
    } else {
        dht_tick(self->dht, now_us);
    }
}

static uint64_t stand_deadline(const void *ctx)
{
    return dht_deadline(((const struct stand *)ctx)->dht);
}

static void add_stand(size_t i)
{
    static const struct io_ops ops = {.datagram = send_plain};
    struct stand *self = &stand[i];
    ck_assert_int_eq(world_add(world, &self->node), 0);
    self->io = (struct io){&ops, self};
    rng_init(&self->rng, i, "lies");
    struct dht_config config = {.key = world_key(self->node), .port = 4100, .seed = world_seed(self->node)};
    ck_assert_int_eq(dht_new(&config, &self->io, world_now(world), &self->dht), 0);
    struct io_machine machine = {stand_event, stand_deadline, self};
    world_start(self->node, &machine);
    struct addr first = world_addr(stand[0].node);
    if (i > 0)
        dht_join(self->dht, world_now(world), &first);
}

/* -- The run ---------------------------------------------------------------------------------------------- */

static void count(struct peer *self, uint64_t now_us)
{
    uint64_t n = meeting_stats(self->meeting).n_queries;
    if (now_us >= self->window_us + 10 * SECOND_US) {
        self->window_us = now_us;
        self->window_queries = n;
    }
    if (n - self->window_queries > self->most_queries)
        self->most_queries = n - self->window_queries;
}

static void peer_event(void *ctx, uint64_t now_us, const struct io_event *event)
{
    struct peer *self = ctx;
    if (event->kind == IO_DATAGRAM && !meeting_datagram(self->meeting, now_us, &event->from, event->bytes, event->n_bytes))
        dht_datagram(self->overlay, now_us, &event->from, event->bytes, event->n_bytes);
    if (dht_deadline(self->overlay) <= now_us)
        dht_tick(self->overlay, now_us);
    if (meeting_deadline(self->meeting) <= now_us)
        meeting_tick(self->meeting, now_us);
    count(self, now_us);
}

static uint64_t peer_deadline(const void *ctx)
{
    const struct peer *self = ctx;
    uint64_t a = dht_deadline(self->overlay), b = meeting_deadline(self->meeting);
    return a < b ? a : b;
}

static struct peer *add_peer(bool is_host)
{
    struct peer *self = &peer[n_peers++];
    ck_assert_int_eq(world_add(world, &self->node), 0);
    struct dht_config config = {
        .key = world_key(self->node), .is_read_only = !is_host, .is_closed = true, .port = 4100, .seed = world_seed(self->node)};
    ck_assert_int_eq(dht_new(&config, world_io(self->node), world_now(world), &self->overlay), 0);
    self->config = (struct meeting_config){
        .key = world_key(self->node), .routers = &routers, .port = is_host ? 4100 : 0, .seed = world_seed(self->node)};
    ck_assert_int_eq(meeting_new(&self->config, world_io(self->node), self->overlay, world_now(world), &self->meeting), 0);
    self->window_us = world_now(world);
    struct io_machine machine = {peer_event, peer_deadline, self};
    world_start(self->node, &machine);
    return self;
}

static void kill(struct peer *self)
{
    world_crash(self->node);
    meeting_free(self->meeting);
    dht_free(self->overlay);
    self->meeting = NULL;
    self->overlay = NULL;
}

static void run_for(uint64_t us)
{
    world_run(world, world_now(world) + us);
}

/* Seconds until a peer knows `n` others; 1000: never. */
static double until_met(const struct peer *self, size_t n, uint64_t seconds)
{
    for (uint64_t i = 0; i < 10 * seconds; i++) {
        if (dht_n_good(self->overlay) >= n)
            return (double)i / 10;
        run_for(SECOND_US / 10);
    }
    return 1000;
}

static void set_up(uint64_t seed, size_t n_liars)
{
    struct world_config config = {.seed = seed, .delay_min_us = 10000, .delay_mean_us = 30000, .datagram_loss = 0.02};
    log_set_level(LOG_ERROR);
    ck_assert_int_eq(world_new(&config, &world), 0);
    memset(peer, 0, sizeof peer);
    memset(&routers, 0, sizeof routers);
    n_peers = n_private = 0;
    for (size_t i = 0; i < N_STANDS; i++) {
        stand[i].is_liar = i > 0 && i <= n_liars;
        add_stand(i);
        run_for(SECOND_US / 10);
    }
    run_for(20 * SECOND_US);
    routers.addr[routers.n++] = world_addr(stand[0].node);
}

static void tear_down(void)
{
    ck_assert_uint_eq(n_private, 0); /* Mainline was never asked what it cannot know */
    for (size_t i = 0; i < n_peers; i++) {
        meeting_free(peer[i].meeting);
        dht_free(peer[i].overlay);
    }
    for (size_t i = 0; i < N_STANDS; i++)
        dht_free(stand[i].dht);
    world_free(world);
}

/* -- Claims ----------------------------------------------------------------------------------------------- */

START_TEST(two_hosts_and_a_trainer_meet)
{
    set_up((uint64_t)_i, 0);
    struct peer *a = add_peer(true), *b = add_peer(true);
    ck_assert(meeting_is_first(a->meeting));
    ck_assert_double_lt(until_met(a, 1, 30), 15);
    ck_assert_double_lt(until_met(b, 1, 30), 15);
    struct peer *trainer = add_peer(false);
    ck_assert_double_lt(until_met(trainer, 2, 30), 5);
    run_for(120 * SECOND_US);
    ck_assert_uint_ge(meeting_stats(a->meeting).n_announced, DHT_K - 2);
    /* They know each other and nobody else, and nobody stays in Mainline. */
    ck_assert_uint_eq(dht_n_good(a->overlay), 1);
    ck_assert_uint_eq(dht_n_good(b->overlay), 1);
    ck_assert_uint_eq(dht_n_good(trainer->overlay), 2);
    for (size_t i = 0; i < n_peers; i++) {
        struct meeting_stats stats = meeting_stats(peer[i].meeting);
        ck_assert(!stats.is_there && stats.was_entered);
        ck_assert_uint_le(stats.n_visits, 4);
        ck_assert_uint_le(peer[i].most_queries, 200); /* 20 a second at most, for as long as it looks */
    }
    tear_down();
}
END_TEST

START_TEST(a_host_announces_again_and_again)
{
    set_up((uint64_t)_i, 0);
    struct peer *a = add_peer(true);
    run_for(3600 * SECOND_US);
    struct meeting_stats stats = meeting_stats(a->meeting);
    ck_assert_uint_le(stats.n_lookups, 3600 / 50 + 5); /* alone: about once a minute */
    struct peer *b = add_peer(true);
    ck_assert_double_lt(until_met(b, 1, 30), 5); /* the announcement of an hour ago was renewed */
    size_t n = meeting_stats(b->meeting).n_visits;
    run_for(3600 * SECOND_US);
    ck_assert_uint_ge(meeting_stats(b->meeting).n_visits - n, 3);
    ck_assert_uint_le(meeting_stats(b->meeting).n_visits - n, 5);
    kill(a);
    run_for(400 * SECOND_US);
    struct peer *c = add_peer(true); /* whoever lost all others is found by the next */
    ck_assert_double_lt(until_met(c, 1, 30), 10);
    ck_assert_double_lt(until_met(b, 1, 30), 10);
    tear_down();
}
END_TEST

START_TEST(liars_only_cost_time)
{
    set_up((uint64_t)_i, N_STANDS / 2);
    struct peer *a = add_peer(true), *b = add_peer(true);
    ck_assert_double_lt(until_met(a, 1, 120), 100);
    ck_assert_double_lt(until_met(b, 1, 120), 100);
    run_for(120 * SECOND_US);
    ck_assert_uint_eq(dht_n_good(a->overlay), 1);
    ck_assert_uint_eq(dht_n_good(b->overlay), 1);
    /* 16 a second, and only while it knows nobody */
    ck_assert_uint_le(meeting_stats(a->meeting).n_hints, 16 * 100);
    tear_down();
}
END_TEST

START_TEST(a_flood_from_one_place_costs_nothing)
{
    set_up((uint64_t)_i, N_STANDS / 3);
    is_one_place = true;
    struct peer *a = add_peer(true);
    run_for(5 * SECOND_US);
    struct peer *b = add_peer(true);
    ck_assert_double_lt(until_met(b, 1, 60), 10);
    ck_assert_uint_ge(meeting_stats(b->meeting).n_found, 50);
    ck_assert_uint_le(meeting_stats(b->meeting).n_hints, 24);
    ck_assert_double_lt(until_met(a, 1, 60), 1);
    is_one_place = false;
    tear_down();
}
END_TEST

START_TEST(local_addresses_of_a_public_network_are_passed_over)
{
    set_up((uint64_t)_i, 0);
    routers.addr[routers.n++] = (struct addr){.family = 4, .ip = {80, 1, 2, 3}, .port = 6881};
    struct peer *a = add_peer(true), *b = add_peer(true);
    run_for(60 * SECOND_US);
    ck_assert(meeting_stats(a->meeting).was_entered);
    ck_assert_uint_eq(meeting_stats(a->meeting).n_hints + meeting_stats(b->meeting).n_hints, 0);
    ck_assert_uint_eq(dht_n_good(a->overlay), 0);
    tear_down();
}
END_TEST

/* A client that announces itself at our place is met there, and left alone. */
START_TEST(strangers_at_the_place_stay_strangers)
{
    static const struct hash run;
    struct dht_id place = meeting_place(&run);
    set_up((uint64_t)_i, 0);
    for (size_t i = N_STANDS / 2; i < N_STANDS; i++)
        dht_announce_peer(stand[i].dht, world_now(world), &place, NULL, NULL);
    run_for(30 * SECOND_US);
    struct peer *a = add_peer(true);
    run_for(10 * SECOND_US);
    ck_assert_uint_ge(meeting_stats(a->meeting).n_found, N_STANDS / 3);
    ck_assert_uint_ge(meeting_stats(a->meeting).n_hints, N_STANDS / 3);
    ck_assert_uint_eq(dht_n_good(a->overlay), 0);
    struct peer *b = add_peer(true);
    ck_assert_double_lt(until_met(b, 1, 30), 15);
    run_for(60 * SECOND_US);
    ck_assert_uint_eq(dht_n_good(a->overlay), 1);
    ck_assert_uint_eq(dht_n_good(b->overlay), 1);
    tear_down();
}
END_TEST

START_TEST(who_was_there_once_needs_no_router)
{
    set_up((uint64_t)_i, 0);
    struct peer *a = add_peer(true);
    run_for(60 * SECOND_US);
    size_t n = meeting_stats(a->meeting).n_lookups;
    routers.n = 0;
    run_for(600 * SECOND_US);
    ck_assert_uint_ge(meeting_stats(a->meeting).n_lookups, n + 8);
    tear_down();
}
END_TEST

static bool next_router(void *arg, uint64_t now_us, struct addr *out)
{
    bool *is_given = arg;
    if (now_us < late_us || *is_given)
        return false;
    *is_given = true;
    *out = world_addr(stand[3].node);
    return true;
}

START_TEST(a_router_may_become_known_later)
{
    bool is_given = false;
    set_up((uint64_t)_i, 0);
    struct peer *a = add_peer(true);
    run_for(10 * SECOND_US);
    struct meeting_routers late = {.next = next_router, .arg = &is_given};
    routers = late;
    late_us = world_now(world) + 7 * SECOND_US;
    struct peer *b = add_peer(true);
    double s = until_met(b, 1, 30);
    ck_assert_double_gt(s, 6.9);
    ck_assert_double_lt(s, 12);
    ck_assert_double_lt(until_met(a, 1, 30), 1);
    tear_down();
}
END_TEST

START_TEST(a_network_in_which_nobody_answers_is_tried_on)
{
    set_up((uint64_t)_i, 0);
    struct addr good = routers.addr[0];
    routers.addr[0] = (struct addr){.family = 4, .ip = {10, 99, 0, 1}, .port = 6881};
    struct peer *a = add_peer(true);
    run_for(300 * SECOND_US);
    struct meeting_stats stats = meeting_stats(a->meeting);
    ck_assert(!stats.was_entered && stats.n_visits >= 3);
    ck_assert_uint_le(stats.n_queries, 200);
    ck_assert(!meeting_is_first(a->meeting));
    routers.addr[0] = good;
    run_for(100 * SECOND_US);
    ck_assert(meeting_stats(a->meeting).was_entered);
    tear_down();
}
END_TEST

START_TEST(places_of_runs_differ)
{
    struct hash one = {{1}}, two = {{2}};
    struct dht_id a = meeting_place(&one), b = meeting_place(&two), again = meeting_place(&one);
    ck_assert_mem_ne(a.byte, b.byte, sizeof a.byte);
    ck_assert_mem_eq(a.byte, again.byte, sizeof a.byte);
    /* (printf 'hanse-meeting\1'; head -c 31 /dev/zero) | sha1sum */
    static const uint8_t known[4] = {0x70, 0x6a, 0xb8, 0xb6};
    ck_assert_mem_eq(a.byte, known, sizeof known);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("meeting");
    TCase *all = tcase_create("meeting");
    tcase_set_timeout(all, 60);
    tcase_add_loop_test(all, two_hosts_and_a_trainer_meet, 0, 10);
    tcase_add_loop_test(all, a_host_announces_again_and_again, 0, 2);
    tcase_add_loop_test(all, liars_only_cost_time, 0, 10);
    tcase_add_loop_test(all, a_flood_from_one_place_costs_nothing, 0, 6);
    tcase_add_loop_test(all, local_addresses_of_a_public_network_are_passed_over, 0, 2);
    tcase_add_loop_test(all, strangers_at_the_place_stay_strangers, 0, 3);
    tcase_add_loop_test(all, who_was_there_once_needs_no_router, 0, 2);
    tcase_add_loop_test(all, a_router_may_become_known_later, 0, 2);
    tcase_add_loop_test(all, a_network_in_which_nobody_answers_is_tried_on, 0, 2);
    tcase_add_test(all, places_of_runs_differ);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
