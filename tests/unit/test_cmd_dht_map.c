/* cmd/dht_map.h: a crawl finds a network whose nodes know of each other what Kademlia's do, and tells how large it is. */
#include "unit.h"

#include <math.h>
#include <string.h>

#include "cmd/dht_map.h"
#include "dht/id.h"

#define N_MAX 3000
#define KNOWN_MAX 160

/* A made-up network: each node knows up to eight, drawn by chance, of each of its buckets. */
struct stranger {
    struct dht_id id;
    struct addr addr;
    bool is_gone;
    size_t n_known;
    uint16_t known[KNOWN_MAX];
};

static struct stranger stranger[N_MAX];
static size_t n_strangers;
static struct rng rng;

static struct addr addr_of(size_t i)
{
    return (struct addr){.family = 4, .ip = {50, (uint8_t)(i >> 8), (uint8_t)i, 1}, .port = 6881};
}

static void meet(struct stranger *s)
{
    size_t n_seen[DHT_ID_BITS + 1] = {0}, at[DHT_ID_BITS + 1];
    s->n_known = 0;
    for (size_t j = 0; j < n_strangers; j++) {
        unsigned bucket = dht_id_shared_bits(&s->id, &stranger[j].id);
        if (&stranger[j] == s)
            continue;
        /* Reservoir sampling: each of a bucket has the same chance to be among the eight. */
        size_t n = n_seen[bucket]++;
        if (n == 0)
            at[bucket] = s->n_known;
        if (n < 8 && at[bucket] + 8 <= KNOWN_MAX) {
            if (n == 0)
                s->n_known += 8;
            for (size_t k = at[bucket] + n; n == 0 && k < at[bucket] + 8; k++)
                s->known[k] = UINT16_MAX;
            s->known[at[bucket] + n] = (uint16_t)j;
        } else if (n >= 8 && at[bucket] + 8 <= KNOWN_MAX) {
            size_t k = rng_below(&rng, n + 1);
            if (k < 8)
                s->known[at[bucket] + k] = (uint16_t)j;
        }
    }
}

static void make_network(size_t n, uint64_t seed, unsigned gone_percent)
{
    rng_init(&rng, seed, "test-map");
    n_strangers = n;
    for (size_t i = 0; i < n; i++) {
        rng_bytes(&rng, stranger[i].id.byte, sizeof stranger[i].id.byte);
        stranger[i].addr = addr_of(i);
        stranger[i].is_gone = i > 0 && rng_below(&rng, 100) < gone_percent;
    }
    for (size_t i = 0; i < n; i++)
        meet(&stranger[i]);
}

static size_t n_there(void)
{
    size_t n = 0;
    for (size_t i = 0; i < n_strangers; i++)
        n += !stranger[i].is_gone;
    return n;
}

/* The eight of those it knows that are nearest to `target`. */
static size_t nearest_known(const struct stranger *s, const struct dht_id *target, uint8_t out[7 * 26 + 38])
{
    uint16_t near[8];
    size_t n = 0;
    for (size_t k = 0; k < s->n_known; k++) {
        if (s->known[k] == UINT16_MAX)
            continue;
        size_t at = n;
        while (at > 0 && dht_id_compare(target, &stranger[s->known[k]].id, &stranger[near[at - 1]].id) < 0)
            at--;
        if (at == 8)
            continue;
        n += n < 8;
        memmove(&near[at + 1], &near[at], (n - 1 - at) * sizeof near[0]);
        near[at] = s->known[k];
    }
    for (size_t i = 0; i < n; i++)
        dht_krpc_node_put(out + 26 * i, &stranger[near[i]].id, &stranger[near[i]].addr);
    return n;
}

static const struct stranger *stranger_at(const struct addr *addr)
{
    size_t i = (size_t)addr->ip[1] << 8 | addr->ip[2];
    return i < n_strangers && addr_equal(&stranger[i].addr, addr) ? &stranger[i] : NULL;
}

static void answer(struct dht_map *map, const struct addr *to, const struct dht_id *target)
{
    const struct stranger *s = stranger_at(to);
    uint8_t nodes[7 * 26 + 38];
    if (!s || s->is_gone) {
        dht_map_lost(map, to, target);
        return;
    }
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = s->id};
    m.version = (struct dht_span){(const uint8_t *)"LT\2\10", 4};
    m.nodes = (struct dht_span){nodes, 26 * nearest_known(s, target, nodes)};
    dht_map_answered(map, to, target, &m, 1000);
}

/* Crawls from the first with `n_air` questions in the air; returns how many it asked. */
static size_t crawl(struct dht_map *map, size_t n_air, size_t n_questions_max)
{
    struct dht_map_question air[64];
    size_t n = 0, n_asked = 1;
    struct dht_id any;
    rng_bytes(&rng, any.byte, sizeof any.byte);
    answer(map, &stranger[0].addr, &any);
    for (;;) {
        while (n < n_air && n_asked < n_questions_max && dht_map_next(map, &air[n])) {
            n++;
            n_asked++;
        }
        if (n == 0)
            return n_asked;
        size_t i = rng_below(&rng, n);
        struct dht_map_question q = air[i];
        air[i] = air[--n];
        answer(map, &q.to, &q.target);
    }
}

START_TEST(a_network_is_found_whole)
{
    struct dht_map *map;
    make_network(N_MAX, (uint64_t)_i, _i % 2 ? 25 : 0);
    ck_assert_int_eq(dht_map_new(100000, &rng, &map), 0);
    size_t n_asked = crawl(map, _i % 3 ? 50 : 1, SIZE_MAX);
    struct dht_map_stats stats = dht_map_stats(map);
    ck_assert(dht_map_is_done(map));
    ck_assert_uint_eq(stats.n_answered, n_there());
    ck_assert_uint_eq(stats.n_answered + stats.n_silent, stats.n_nodes);
    ck_assert_uint_lt(n_asked, N_MAX * 3 / 2); /* each once, those that are gone twice, and little more */
    ck_assert_double_eq_tol(stats.swept, 1, 1e-6);
    ck_assert_double_eq_tol(stats.estimate, (double)stats.n_answered, 0.5);
    dht_map_free(map);
}
END_TEST

START_TEST(a_crawl_cut_short_tells_how_large_the_network_is)
{
    struct dht_map *map;
    make_network(N_MAX, 100 + (uint64_t)_i, 20);
    ck_assert_int_eq(dht_map_new(100000, &rng, &map), 0);
    (void)crawl(map, 20, N_MAX / 4);
    struct dht_map_stats stats = dht_map_stats(map);
    ck_assert(!dht_map_is_done(map));
    ck_assert_double_gt(stats.swept, 0.05);
    ck_assert_double_lt(stats.swept, 0.6);
    ck_assert_double_lt(fabs(stats.estimate - (double)n_there()), 0.35 * (double)n_there());
    dht_map_free(map);
}
END_TEST

START_TEST(the_ceiling_holds)
{
    struct dht_map *map;
    make_network(500, 7, 0);
    ck_assert_int_eq(dht_map_new(100, &rng, &map), 0);
    (void)crawl(map, 10, SIZE_MAX);
    ck_assert_uint_eq(dht_map_n(map), 100);
    ck_assert_uint_gt(dht_map_stats(map).n_left_out, 0);
    ck_assert(dht_map_is_done(map));
    dht_map_free(map);
}
END_TEST

START_TEST(who_is_alone_is_soon_known)
{
    struct dht_map *map;
    struct dht_map_question q;
    make_network(1, 1, 0);
    ck_assert_int_eq(dht_map_new(100, &rng, &map), 0);
    ck_assert(dht_map_is_done(map));
    ck_assert(!dht_map_next(map, &q));
    ck_assert_uint_le(crawl(map, 4, SIZE_MAX), 1 + DHT_MAP_QUIET + DHT_MAP_SWEEPS);
    ck_assert_uint_eq(dht_map_stats(map).n_answered, 1);
    dht_map_free(map);
}
END_TEST

START_TEST(a_liar_cannot_point_us_at_our_own_neighbourhood)
{
    struct dht_map *map;
    uint8_t nodes[26 + 38];
    struct addr home = {.family = 4, .ip = {192, 168, 1, 1}, .port = 53}, zero = {.family = 4, .ip = {51, 1, 1, 1}};
    struct dht_id id = {{1}};
    make_network(1, 1, 0);
    ck_assert_int_eq(dht_map_new(100, &rng, &map), 0);
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = stranger[0].id};
    dht_krpc_node_put(nodes, &id, &home);
    dht_krpc_node_put(nodes + 26, &id, &zero);
    m.nodes = (struct dht_span){nodes, 2 * 26};
    dht_map_answered(map, &stranger[0].addr, &id, &m, 1);
    ck_assert_uint_eq(dht_map_n(map), 1);
    dht_map_answered(map, &home, &id, &m, 1); /* a neighbour may name neighbours */
    ck_assert_uint_eq(dht_map_n(map), 2);
    dht_map_free(map);
}
END_TEST

START_TEST(a_node_with_another_id_than_told_moves)
{
    struct dht_map *map;
    uint8_t nodes[38];
    struct dht_id told = {{0xff}}, own = {{0x01}};
    struct addr at = {.family = 4, .ip = {52, 1, 1, 1}, .port = 1};
    make_network(1, 1, 0);
    ck_assert_int_eq(dht_map_new(100, &rng, &map), 0);
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = stranger[0].id};
    m.nodes = (struct dht_span){nodes, dht_krpc_node_put(nodes, &told, &at)};
    dht_map_answered(map, &stranger[0].addr, &told, &m, 1);
    m.id = own;
    m.nodes.n = 0;
    dht_map_answered(map, &at, &told, &m, 1);
    ck_assert_uint_eq(dht_map_stats(map).n_renamed, 1);
    ck_assert_uint_eq(dht_map_n(map), 2);
    ck_assert_mem_eq(dht_map_node(map, 1)->id.byte, own.byte, sizeof own.byte);
    dht_map_free(map);
}
END_TEST

/* Somebody who names nobody but new ones, all in one place, is followed no farther than --max. */
START_TEST(an_endless_liar_ends_at_the_ceiling)
{
    struct dht_map *map;
    struct dht_map_question q;
    size_t n = 0;
    make_network(1, 3, 0);
    ck_assert_int_eq(dht_map_new(1000, &rng, &map), 0);
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = stranger[0].id};
    q = (struct dht_map_question){stranger[0].addr, stranger[0].id};
    do {
        uint8_t nodes[7 * 26 + 38];
        for (size_t i = 0; i < 8; i++) {
            struct addr addr = {.family = 4, .ip = {60, 1, (uint8_t)(n >> 8), (uint8_t)n}, .port = (uint16_t)(1 + i)};
            dht_krpc_node_put(nodes + 26 * i, &stranger[0].id, &addr); /* one id for all: no range can tell them apart */
        }
        m.nodes = (struct dht_span){nodes, 8 * 26};
        dht_map_answered(map, &q.to, &q.target, &m, 1);
        ck_assert_uint_lt(++n, 5000);
    } while (dht_map_next(map, &q));
    ck_assert_uint_eq(dht_map_n(map), 1000);
    dht_map_free(map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cmd/dht_map");
    TCase *tests = tcase_create("map");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, a_network_is_found_whole, 0, 6);
    tcase_add_loop_test(tests, a_crawl_cut_short_tells_how_large_the_network_is, 0, 4);
    tcase_add_test(tests, the_ceiling_holds);
    tcase_add_test(tests, who_is_alone_is_soon_known);
    tcase_add_test(tests, a_liar_cannot_point_us_at_our_own_neighbourhood);
    tcase_add_test(tests, a_node_with_another_id_than_told_moves);
    tcase_add_test(tests, an_endless_liar_ends_at_the_ceiling);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
