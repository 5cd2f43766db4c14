/* A few nodes in one process whose allotments are counted, and fail at will. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "dht/dht.h"

#define SECOND_US ((uint64_t)1000000)
#define EPOCH_US ((uint64_t)1767225600 * SECOND_US)
#define N_NODES 12
#define DELAY_US 10000
#define FLIGHTS_MAX 4096
#define BLOCKS_MAX (1u << 16)

/* -- Memory ------------------------------------------------------------------------------------------------ */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t n);
void __wrap_free(void *p);

static struct block {
    void *p;
    size_t n;
} block[BLOCKS_MAX]; /* open addressing; n 0: gone */
static size_t n_held;
static unsigned fail_one_in; /* 0: never */
static bool is_inside;       /* a node, and not Check or OpenSSL */
static uint64_t n_failed;
static struct rng luck;

static struct block *block_of(const void *p)
{
    size_t i = (size_t)(((uintptr_t)p >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 48) % BLOCKS_MAX;
    while (block[i].p && block[i].p != p)
        i = (i + 1) % BLOCKS_MAX;
    return &block[i];
}

static void forget(void *p)
{
    if (!p)
        return;
    n_held -= block_of(p)->n;
    block_of(p)->n = 0;
}

static void *note(void *p, size_t n)
{
    if (!p)
        return NULL;
    struct block *b = block_of(p);
    b->p = p;
    b->n = n;
    n_held += n;
    return p;
}

static bool is_refused(void)
{
    bool is_so = is_inside && fail_one_in > 0 && rng_below(&luck, fail_one_in) == 0;
    n_failed += is_so;
    return is_so;
}

void *__wrap_malloc(size_t n)
{
    return is_refused() ? NULL : note(__real_malloc(n), n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return is_refused() ? NULL : note(__real_calloc(n, size), n * size);
}

void *__wrap_realloc(void *old, size_t n)
{
    if (is_refused())
        return NULL;
    forget(old);
    return note(__real_realloc(old, n), n);
}

void __wrap_free(void *p)
{
    forget(p);
    __real_free(p);
}

/* -- A network --------------------------------------------------------------------------------------------- */

static struct node {
    struct io io;
    struct key *key;
    struct dht *dht;
    struct addr addr;
} node[N_NODES];

static struct flight {
    uint64_t at_us;
    size_t from, to, n;
    uint8_t bytes[DHT_DATAGRAM_MAX];
} flight[FLIGHTS_MAX]; /* a ring, in the order they arrive */
static size_t n_sent, n_landed;
static uint64_t now_us;
static size_t n_before, n_done; /* allotted before the nodes were; operations that came to an end */

static void send_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    if (to->ip[3] >= N_NODES || n_sent - n_landed == FLIGHTS_MAX)
        return; /* lost */
    struct flight *f = &flight[n_sent++ % FLIGHTS_MAX];
    *f = (struct flight){.at_us = now_us + DELAY_US, .from = (size_t)((struct node *)ctx - node), .to = to->ip[3], .n = n};
    memcpy(f->bytes, bytes, n);
}

static const struct io_ops ops = {.datagram = send_datagram};

static void hold_memory(void)
{
    size_t n = 0;
    for (size_t i = 0; i < N_NODES; i++)
        n += node[i].dht ? dht_memory(node[i].dht) : 0;
    if (n != n_held - n_before)
        ck_abort_msg("%zu bytes are held, and %zu are said to be", n_held - n_before, n);
}

/* Everything that happens until then; who is due is called. */
static void run(uint64_t for_us)
{
    uint64_t until_us = now_us + for_us;
    while (now_us < until_us) {
        uint64_t next_us = until_us;
        if (n_landed < n_sent && flight[n_landed % FLIGHTS_MAX].at_us < next_us)
            next_us = flight[n_landed % FLIGHTS_MAX].at_us;
        for (size_t i = 0; i < N_NODES; i++)
            if (dht_deadline(node[i].dht) < next_us)
                next_us = dht_deadline(node[i].dht);
        now_us = next_us > now_us ? next_us : now_us;
        is_inside = true;
        for (size_t i = 0; i < N_NODES; i++)
            if (dht_deadline(node[i].dht) <= now_us)
                dht_tick(node[i].dht, now_us);
        if (n_landed < n_sent && flight[n_landed % FLIGHTS_MAX].at_us <= now_us) {
            struct flight f = flight[n_landed++ % FLIGHTS_MAX];
            dht_datagram(node[f.to].dht, now_us, &node[f.from].addr, f.bytes, f.n);
        }
        is_inside = false;
        if (fail_one_in == 0)
            hold_memory();
    }
}

static void start(struct rng *rng)
{
    now_us = EPOCH_US;
    n_sent = n_landed = n_done = n_failed = 0;
    for (size_t i = 0; i < N_NODES; i++) {
        uint8_t seed[KEY_SEED_BYTES];
        rng_bytes(rng, seed, sizeof seed);
        ck_assert_int_eq(key_new(seed, &node[i].key), 0);
    }
    n_before = n_held;
    for (size_t i = 0; i < N_NODES; i++) {
        struct node *x = &node[i];
        struct dht_config config = {.key = x->key, .port = 7, .seed = rng_u64(rng)};
        x->addr = (struct addr){.family = 4, .ip = {10, 0, 0, (uint8_t)i}, .port = 7};
        x->io = (struct io){&ops, x};
        ck_assert_int_eq(dht_new(&config, &x->io, now_us, &x->dht), 0);
        dht_join(x->dht, now_us, &node[i > 0 ? i / 2 : 1].addr);
    }
}

static void stop(void)
{
    for (size_t i = 0; i < N_NODES; i++) {
        dht_free(node[i].dht);
        node[i].dht = NULL;
    }
    ck_assert_uint_eq(n_held, n_before); /* nothing is left */
    for (size_t i = 0; i < N_NODES; i++)
        key_free(node[i].key);
}

static void stored(void *arg, uint64_t at_us, size_t n_stored)
{
    (void)arg, (void)at_us, (void)n_stored;
    n_done++;
}

static void put(void *arg, uint64_t at_us, const struct dht_put_result *result)
{
    (void)arg, (void)at_us, (void)result;
    n_done++;
}

static void read_all(void *arg, uint64_t at_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    (void)arg, (void)at_us, (void)entry, (void)n, (void)n_asked;
    n_done++;
}

static void peers(void *arg, uint64_t at_us, const struct addr *peer, size_t n)
{
    (void)arg, (void)at_us, (void)peer, (void)n;
    n_done++;
}

static void item_found(void *arg, uint64_t at_us, const struct dht_item *item)
{
    (void)arg, (void)at_us, (void)item;
    n_done++;
}

/* All that a node can be asked for, all over the network; returns how many ends there will be. */
static size_t ask_for_everything(unsigned round)
{
    static const uint8_t bytes[DHT_DIRECTORY_BYTES_MAX] = {7};
    struct hash run_id = {{1}};
    for (unsigned i = 0; i < N_NODES; i++) {
        struct dht *dht = node[i].dht;
        struct dht_id key = dht_directory_key(&run_id, "ffn", 0, i % 3), hash = dht_directory_key(&run_id, "peers", 0, 0);
        struct dht_item item = {.is_mutable = i % 2, .seq = round, .v = "3:abc", .n_v = 5};
        item.v[2] = (uint8_t)('a' + i);
        dht_item_sign(&item, node[i].key);
        struct dht_id target = dht_item_target(&item);
        is_inside = true;
        dht_publish(dht, now_us, &key, &node[i].addr, bytes, 1 + (round * 211 + i * 37) % 400, NULL, NULL);
        dht_store_entry(dht, now_us, &hash, &node[i].addr, bytes, 9, stored, NULL);
        dht_read(dht, now_us, &key, read_all, NULL);
        dht_announce_peer(dht, now_us, &hash, stored, NULL);
        dht_get_peers(dht, now_us, &hash, peers, NULL);
        dht_put(dht, now_us, &item, NULL, put, NULL);
        dht_get(dht, now_us, &target, NULL, 0, item_found, NULL);
        is_inside = false;
    }
    return 6 * (size_t)N_NODES;
}

/* -- Claims ------------------------------------------------------------------------------------------------- */

START_TEST(a_node_says_exactly_what_it_holds)
{
    struct rng rng;
    size_t n_asked = 0;
    rng_init(&rng, (uint64_t)_i, "memory");
    start(&rng);
    run(5 * SECOND_US);
    for (unsigned round = 0; round < 4; round++) {
        n_asked += ask_for_everything(round);
        hold_memory();
        run(10 * SECOND_US);
        ck_assert_uint_eq(n_done, n_asked);
    }
    for (size_t i = 0; i < N_NODES; i++)
        ck_assert_uint_gt(dht_n_good(node[i].dht), N_NODES / 2);
    struct hash run_id = {{1}};
    struct dht_id key = dht_directory_key(&run_id, "ffn", 0, 0);
    dht_withdraw(node[0].dht, now_us, &key);
    run(30 * SECOND_US);
    stop();
}
END_TEST

/* Without memory a node knows less and finds less, but every operation ends, once, and the node goes on. */
START_TEST(a_node_lives_with_little_memory)
{
    struct rng rng;
    size_t n_asked = 0;
    rng_init(&rng, (uint64_t)_i, "scarce");
    rng_init(&luck, (uint64_t)_i, "luck");
    start(&rng);
    fail_one_in = 2 + (unsigned)_i;
    for (unsigned round = 0; round < 4; round++) {
        n_asked += ask_for_everything(round);
        run(10 * SECOND_US);
        ck_assert_uint_eq(n_done, n_asked);
    }
    ck_assert_uint_gt(n_failed, 0);
    fail_one_in = 0;
    run(60 * SECOND_US);
    n_asked += ask_for_everything(9);
    run(10 * SECOND_US);
    ck_assert_uint_eq(n_done, n_asked);
    for (size_t i = 0; i < N_NODES; i++)
        ck_assert_uint_gt(dht_n_good(node[i].dht), N_NODES / 2);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-memory");
    TCase *all = tcase_create("memory");
    tcase_add_loop_test(all, a_node_says_exactly_what_it_holds, 0, 2);
    tcase_add_loop_test(all, a_node_lives_with_little_memory, 0, 8);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
