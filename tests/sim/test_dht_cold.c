/* tests/sim/test_dht_cold.c - a newcomer that knows one address reads a whole directory: 4,096 experts on 64 hosts, a millisecond
 * from each other, in 64 rows; and reads it again when it knows it. */
#include "dht_swarm.h"
#include "unit.h"

#include <string.h>

#include "dht/id.h"
#include "dht/node.h"

#define HOSTS 64
#define ROWS 64
#define COPIES 8

static struct swarm *s;
static struct key *key[HOSTS];
static struct dht_id row[ROWS];

struct cold {
    struct swarm_node *node;
    size_t n_done, n_entries;
    uint64_t done_us, first_us;
};

static void put(size_t writer, size_t r, uint64_t seq, size_t n_bytes)
{
    uint8_t raw[DHT_ENTRY_MAX];
    struct dht_entry e = {.writer = key_peer_id(key[writer]), .addr = swarm_node(s, writer)->addr, .seq = seq};
    e.n_bytes = (uint16_t)n_bytes;
    e.expiry_s = (uint32_t)(swarm_now(s) / SECOND_US) + 300;
    struct dht_span span = {raw, dht_entry_encode(&e, &row[r], key[writer], raw)};
    for (size_t i = 0; i < HOSTS; i++) {
        size_t n_nearer = 0;
        struct dht_id own = dht_own_id(swarm_node(s, i)->dht);
        for (size_t j = 0; j < HOSTS; j++) {
            struct dht_id other = dht_own_id(swarm_node(s, j)->dht);
            n_nearer += dht_id_compare(&row[r], &other, &own) < 0;
        }
        if (n_nearer < COPIES)
            ck_assert_int_eq(dht_directory_store(&swarm_node(s, i)->dht->directory, &row[r], &e, span,
                                                 &swarm_node(s, writer)->addr, swarm_now(s)),
                             0);
    }
}

/* `is_scattered`: each host has an expert of each row, else each has a row of its own. */
static void set_up(uint64_t seed, bool is_scattered)
{
    struct swarm_config config = {.seed = seed, .delay_min_us = 500};
    s = swarm_new(&config);
    swarm_grow(s, HOSTS, 20000);
    swarm_run(s, 20 * SECOND_US);
    for (size_t i = 0; i < HOSTS; i++)
        key[i] = swarm_node(s, i)->key;
    for (size_t r = 0; r < ROWS; r++) {
        static const struct hash run;
        row[r] = dht_directory_key(&run, "experts", (uint32_t)r % 4, (uint32_t)r / 4);
        for (size_t w = 0; w < (is_scattered ? HOSTS : 1); w++)
            put(is_scattered ? w : r, r, 1, is_scattered ? 14 : 644);
    }
}

static void on_some(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n)
{
    struct cold *cold = arg;
    (void)entry;
    (void)n;
    cold->first_us = cold->first_us ? cold->first_us : now_us;
}

static void on_done(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct cold *cold = arg;
    (void)entry;
    ck_assert_uint_gt(n_asked, 0);
    cold->n_done++;
    cold->n_entries += n;
    cold->done_us = now_us;
}

/* Reads all rows; returns how long it took. */
static uint64_t read_all(struct cold *cold)
{
    uint64_t start_us = swarm_now(s);
    cold->n_done = cold->n_entries = 0;
    for (size_t r = 0; r < ROWS; r++)
        dht_read_early(cold->node->dht, start_us, &row[r], on_some, on_done, cold);
    swarm_touch(cold->node);
    while (cold->n_done < ROWS && swarm_now(s) < start_us + 10 * SECOND_US)
        swarm_run(s, 1000);
    ck_assert_uint_eq(cold->n_done, ROWS);
    return cold->done_us - start_us;
}

START_TEST(a_newcomer_knows_everything_soon)
{
    bool is_scattered = _i % 2;
    set_up((uint64_t)_i, is_scattered);
    struct cold cold = {.node = swarm_add(s, true)};
    uint64_t joined_us = swarm_now(s);
    swarm_join(cold.node, &swarm_node(s, 5)->addr);
    uint64_t took_us = read_all(&cold);
    struct dht_stats first = dht_stats(cold.node->dht);
    ck_assert_uint_eq(cold.n_entries, is_scattered ? ROWS * HOSTS : ROWS);
    ck_assert_uint_le(cold.first_us - joined_us, SECOND_US / 20);
    ck_assert_uint_le(took_us, SECOND_US / 5);
    ck_assert_uint_le(first.n_queries_out, is_scattered ? 4000 : 1500);
    took_us = read_all(&cold); /* nothing changed: a page from each of a few holders */
    struct dht_stats again = dht_stats(cold.node->dht);
    ck_assert_uint_eq(cold.n_entries, is_scattered ? ROWS * HOSTS : ROWS);
    ck_assert_uint_le(took_us, SECOND_US / 20);
    ck_assert_uint_le(again.n_queries_out - first.n_queries_out, 5 * ROWS);
    ck_assert_uint_le(again.n_bytes_in - first.n_bytes_in, (is_scattered ? 6200 : 2500) * ROWS);
    swarm_free(s);
}
END_TEST

/* Others have so many questions in the air that hardly any is left for this: it waits for its turn, and misses nothing. */
START_TEST(a_busy_newcomer_misses_nothing)
{
    set_up((uint64_t)_i, true);
    struct cold cold = {.node = swarm_add(s, true)};
    struct dht_transactions *all = &cold.node->dht->transactions;
    for (size_t i = 0; i < DHT_TRANSACTIONS_MAX - 48; i++) {
        uint8_t tid[DHT_TID_BYTES];
        struct dht_transaction *t = dht_transactions_open(all, tid);
        ck_assert_ptr_nonnull(t);
        t->addr = swarm_node(s, 0)->addr;
        dht_transactions_time(all, t, swarm_now(s) + 100 * SECOND_US, swarm_now(s) + 100 * SECOND_US);
    }
    swarm_join(cold.node, &swarm_node(s, 5)->addr);
    ck_assert_uint_le(read_all(&cold), SECOND_US);
    ck_assert_uint_eq(cold.n_entries, ROWS * HOSTS);
    swarm_free(s);
}
END_TEST

static void on_crowded(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct cold *cold = arg;
    (void)entry;
    (void)n_asked;
    cold->n_done++;
    cold->n_entries += n;
    cold->done_us = now_us;
}

/* Half of the hosts read everything at the same time, on a machine that cannot take what they would have in the air: they find out, and
 * miss hardly anything.  With a window that never shrinks it is one in nine. */
START_TEST(a_crowd_on_a_slow_machine_misses_little)
{
    static struct cold cold[HOSTS / 2];
    size_t n_done = 0, n_entries = 0;
    set_up(0, true);
    swarm_squeeze(s, 50, 10000);
    for (size_t i = 0; i < HOSTS / 2; i++) {
        cold[i].node = swarm_node(s, i);
        for (size_t r = 0; r < ROWS; r++)
            dht_read(cold[i].node->dht, swarm_now(s), &row[r], on_crowded, &cold[i]);
        swarm_touch(cold[i].node);
    }
    swarm_run(s, 9 * SECOND_US);
    for (size_t i = 0; i < HOSTS / 2; i++) {
        n_done += cold[i].n_done;
        n_entries += cold[i].n_entries;
    }
    ck_assert_uint_gt(swarm_n_dropped(s), 0);
    ck_assert_uint_eq(n_done, HOSTS / 2 * ROWS);
    ck_assert_uint_ge(n_entries, (size_t)HOSTS / 2 * ROWS * HOSTS * 97 / 100);
    swarm_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-cold");
    TCase *all = tcase_create("cold");
    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, a_newcomer_knows_everything_soon, 0, 2);
    tcase_add_loop_test(all, a_busy_newcomer_misses_nothing, 0, 2);
    tcase_add_test(all, a_crowd_on_a_slow_machine_misses_little);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
