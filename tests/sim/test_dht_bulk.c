/* Large reads in a made-up world: over links where they can be had, by datagrams where not. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "dht/node.h"
#include "sim/world.h"

#define SECOND_US UINT64_C(1000000)
#define HOLDERS 10
#define WRITERS 300

/* A node of the DHT with links, and what it saw of them. */
struct peer {
    struct world_node *node;
    struct dht_config config;
    struct key *other_key;
    struct addr join;
    struct dht *dht;
    uint64_t now_us;
    bool is_deaf; /* takes links and never answers on them */
    size_t n_up, n_down, n_foreign;
};

static struct world *world;
static struct peer peer[HOLDERS + 1];
static struct key *writer[WRITERS];
static const struct dht_id key = {{3}};

static void on_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct peer *p = self;
    p->now_us = now_us;
    if (event->kind == IO_START) {
        ck_assert_int_eq(dht_new(&p->config, world_io(p->node), now_us, &p->dht), 0);
        if (p->join.family != 0)
            dht_join(p->dht, now_us, &p->join);
    }
    if (event->kind == IO_STOP)
        world_io(p->node)->ops->stopped(world_io(p->node)->ctx, 0);
    p->n_up += event->kind == IO_LINK_UP;
    p->n_down += event->kind == IO_LINK_DOWN;
    bool is_ours = !p->is_deaf && dht_link_event(p->dht, now_us, event);
    p->n_foreign += event->kind == IO_MESSAGE && !is_ours;
    if (event->kind == IO_DATAGRAM)
        dht_datagram(p->dht, now_us, &event->from, event->bytes, event->n_bytes);
    if (dht_deadline(p->dht) <= now_us)
        dht_tick(p->dht, now_us);
}

static uint64_t deadline(const void *self)
{
    const struct peer *p = self;
    return p->dht ? dht_deadline(p->dht) : IO_NEVER;
}

static struct io_machine machine[HOLDERS + 1];

static void setup(void)
{
    struct world_config config = {.seed = 5, .delay_min_us = 5000, .delay_mean_us = 5000, .connect_timeout_us = 3 * SECOND_US};
    ck_assert_int_eq(world_new(&config, &world), 0);
    memset(peer, 0, sizeof peer);
    for (size_t i = 0; i <= HOLDERS; i++) {
        ck_assert_int_eq(world_add(world, &peer[i].node), 0);
        peer[i].config = (struct dht_config){.key = world_key(peer[i].node),
                                             .is_read_only = i == HOLDERS,
                                             .port = 4100,
                                             .has_links = true,
                                             .seed = world_seed(peer[i].node)};
        if (i > 0)
            peer[i].join = world_addr(peer[0].node);
        machine[i] = (struct io_machine){on_event, deadline, &peer[i]};
    }
    for (size_t i = 0; i < WRITERS; i++) {
        uint8_t seed[KEY_SEED_BYTES] = {(uint8_t)i, (uint8_t)(i >> 8), 9};
        ck_assert_int_eq(key_new(seed, &writer[i]), 0);
    }
}

static void teardown(void)
{
    for (size_t i = 0; i <= HOLDERS; i++) {
        dht_free(peer[i].dht);
        key_free(peer[i].other_key);
    }
    world_free(world);
    for (size_t i = 0; i < WRITERS; i++)
        key_free(writer[i]);
}

static void start(void)
{
    for (size_t i = 0; i <= HOLDERS; i++)
        world_start(peer[i].node, &machine[i]);
    world_run(world, world_now(world) + 20 * SECOND_US);
    for (size_t i = 0; i < WRITERS; i++) {
        uint8_t raw[DHT_ENTRY_MAX];
        struct dht_entry e = {.writer = key_peer_id(writer[i]), .addr = world_addr(peer[0].node), .seq = 1, .n_bytes = 20};
        e.expiry_s = (uint32_t)(world_now(world) / SECOND_US) + 300;
        struct dht_span span = {raw, dht_entry_encode(&e, &key, writer[i], raw)};
        for (size_t h = 0; h < HOLDERS; h++) {
            struct addr from = world_addr(peer[h].node);
            ck_assert_int_eq(dht_directory_store(&peer[h].dht->directory, &key, &e, span, &from, world_now(world)), 0);
        }
    }
}

struct result {
    bool is_done;
    size_t n, n_asked;
    uint64_t us;
};

static size_t n_asked; /* by the last read */

static void on_read(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked_now)
{
    struct result *out = arg;
    (void)entry;
    ck_assert_uint_gt(n_asked_now, 0);
    *out = (struct result){true, n, n_asked_now, now_us};
}

static void read_now(void *arg, uint64_t now_us)
{
    dht_read(peer[HOLDERS].dht, now_us, &key, on_read, arg);
    dht_tick(peer[HOLDERS].dht, now_us);
}

/* Reads everything; returns how long it took. */
static uint64_t read_all(void)
{
    struct result result = {0};
    uint64_t start_us = world_now(world);
    world_at(world, start_us + 1, read_now, &result);
    world_run(world, start_us + 9 * SECOND_US);
    ck_assert(result.is_done);
    ck_assert_uint_eq(result.n, WRITERS);
    n_asked = result.n_asked;
    return result.us - start_us;
}

static size_t n_links_taken(void)
{
    size_t n = 0;
    for (size_t i = 0; i < HOLDERS; i++)
        n += peer[i].n_up;
    return n;
}

START_TEST(a_large_row_comes_over_a_link)
{
    start();
    struct dht_stats before = dht_stats(peer[HOLDERS].dht);
    uint64_t took_us = read_all();
    struct dht_stats after = dht_stats(peer[HOLDERS].dht);
    ck_assert_uint_ge(n_links_taken(), 1);
    ck_assert_uint_le(n_links_taken(), 2);
    ck_assert_uint_le(took_us, SECOND_US);
    ck_assert_uint_le(after.n_queries_out - before.n_queries_out, 90); /* lists, and hardly any fetches */
    world_run(world, world_now(world) + 12 * SECOND_US);
    size_t n_down = 0;
    for (size_t i = 0; i < HOLDERS; i++)
        n_down += peer[i].n_down;
    ck_assert_uint_eq(n_down, n_links_taken()); /* closed when nothing was to be done */
    ck_assert_uint_eq(dht_bulk_deadline(peer[HOLDERS].dht), IO_NEVER);
}
END_TEST

START_TEST(who_is_not_the_node_that_was_asked_is_not_believed)
{
    static const uint8_t seed[KEY_SEED_BYTES] = {200};
    for (size_t i = 0; i < HOLDERS; i++) { /* nodes whose ids name other keys than their links prove */
        ck_assert_int_eq(key_new(seed, &peer[i].other_key), 0);
        peer[i].config.key = peer[i].other_key;
    }
    start();
    (void)read_all(); /* by datagrams */
    ck_assert_uint_gt(n_links_taken(), 0);
    ck_assert_uint_gt(dht_stats(peer[HOLDERS].dht).n_refused, 0);
    for (size_t i = 0; i < HOLDERS; i++)
        ck_assert_uint_eq(peer[i].n_foreign, 0); /* not even asked */
}
END_TEST

START_TEST(a_link_that_gives_nothing_is_done_without)
{
    for (size_t i = 0; i < HOLDERS; i++)
        peer[i].is_deaf = true;
    start();
    uint64_t took_us = read_all();
    ck_assert_uint_gt(n_links_taken(), 0);
    ck_assert_uint_le(n_links_taken(), 1);
    ck_assert_uint_le(took_us, SECOND_US); /* nobody waits for the end of the call */
}
END_TEST

START_TEST(a_node_without_links_reads_all_the_same)
{
    peer[HOLDERS].config.has_links = false;
    start();
    ck_assert_uint_le(read_all(), 2 * SECOND_US);
    ck_assert_uint_eq(n_links_taken(), 0);
}
END_TEST

/* Those whom we know from the last read hide everything: it is signed, and counts until it is over; but others are asked, too. */
START_TEST(who_hides_what_was_there_is_not_asked_alone)
{
    start();
    (void)read_all();
    ck_assert_uint_ge(n_asked, 8);
    (void)read_all();
    ck_assert_uint_le(n_asked, 6);
    for (size_t i = 0; i < HOLDERS; i++)
        dht_directory_fini(&peer[i].dht->directory);
    (void)read_all();
    ck_assert_uint_ge(n_asked, 8);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-bulk-sim");
    TCase *all = tcase_create("bulk");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, a_large_row_comes_over_a_link);
    tcase_add_test(all, who_is_not_the_node_that_was_asked_is_not_believed);
    tcase_add_test(all, a_link_that_gives_nothing_is_done_without);
    tcase_add_test(all, a_node_without_links_reads_all_the_same);
    tcase_add_test(all, who_hides_what_was_there_is_not_asked_alone);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
