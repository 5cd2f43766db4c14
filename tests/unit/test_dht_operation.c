#include "unit.h"

#include <string.h>

#include "dht/operation.h"

#define SECOND_US ((uint64_t)1000000)
#define NOW_US ((uint64_t)1000 * SECOND_US)
#define N_READS (6 * DHT_OPERATIONS_RUNNING)

static struct key *key;
static struct dht *dht;
static size_t n_sent, n_steps[256]; /* in all; and by the first byte of the target */

#define N_ASKED 128
static struct {
    struct addr to;
    enum dht_method method;
    uint8_t tid[DHT_TID_BYTES];
} asked[N_ASKED]; /* the latest */

static void send_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    struct dht_message m;
    (void)ctx;
    ck_assert_int_eq(dht_krpc_decode(&m, bytes, n), 0);
    n_steps[m.target.byte[0]] += m.has_target;
    asked[n_sent % N_ASKED].to = *to;
    asked[n_sent % N_ASKED].method = m.method;
    memcpy(asked[n_sent % N_ASKED].tid, m.tid.bytes, DHT_TID_BYTES);
    n_sent++; /* and lost */
}

static const struct io_ops ops = {.datagram = send_datagram};
static const struct io io = {&ops, NULL};

static void setup(void)
{
    static const uint8_t seed[KEY_SEED_BYTES] = {7};
    ck_assert_int_eq(key_new(seed, &key), 0);
    struct dht_config config = {.key = key, .port = 1, .seed = 1};
    ck_assert_int_eq(dht_new(&config, &io, NOW_US, &dht), 0);
    n_sent = 0;
    memset(n_steps, 0, sizeof n_steps);
}

static void teardown(void)
{
    dht_free(dht);
    key_free(key);
}

struct end {
    uint64_t at_us;
    unsigned n;
};

static void ended(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct end *end = arg;
    (void)entry;
    ck_assert(n == 0 && n_asked == 0);
    end->at_us = now_us;
    end->n++;
}

/* As many run as may, and none of them ends: those behind them are over in their time, in their turn. */
START_TEST(who_waits_too_long_is_over_too)
{
    static struct end end[N_READS];
    dht->n_running = DHT_OPERATIONS_RUNNING;
    for (size_t i = 0; i < N_READS; i++) {
        struct dht_id target = {{(uint8_t)i, 9}};
        dht_read(dht, NOW_US + i, &target, ended, &end[i]);
    }
    for (size_t i = 0; i < N_READS; i++) {
        uint64_t over_us = NOW_US + i + DHT_OPERATION_US;
        dht_tick(dht, over_us - 1);
        ck_assert_uint_eq(end[i].n, 0);
        ck_assert_uint_eq(dht_operations_deadline(dht), over_us);
        dht_tick(dht, over_us);
        ck_assert_uint_eq(end[i].n, 1);
    }
    dht->n_running = 0;
    ck_assert_uint_eq(dht->n_operations, 0);
    ck_assert_uint_eq(dht_operations_deadline(dht), IO_NEVER);
}
END_TEST

/* Many more than may run: so many do at once, the others after them, and each ends once. */
START_TEST(a_few_run_at_once)
{
    static struct end end[N_READS];
    struct dht_id id = {{1}};
    struct addr addr = {.family = 4, .ip = {10, 0, 0, 1}, .port = 1};
    (void)dht_table_answered(&dht->half[0].table, &id, &addr, true, 1000, NOW_US);
    for (size_t i = 0; i < N_READS; i++) {
        struct dht_id target = {{(uint8_t)i, 9}};
        dht_read(dht, NOW_US, &target, ended, &end[i]);
    }
    dht_tick(dht, NOW_US);
    ck_assert_uint_eq(dht->n_running, DHT_OPERATIONS_RUNNING);
    ck_assert_uint_ge(n_sent, DHT_OPERATIONS_RUNNING);
    for (uint64_t now_us = NOW_US; now_us <= NOW_US + DHT_OPERATION_US; now_us = dht_deadline(dht)) {
        dht_tick(dht, now_us);
        ck_assert_uint_le(dht->n_running, DHT_OPERATIONS_RUNNING);
        ck_assert(dht_deadline(dht) > now_us);
    }
    for (size_t i = 0; i < N_READS; i++)
        ck_assert_uint_eq(end[i].n, 1);
    ck_assert_uint_eq(dht->n_operations, dht->n_running); /* what it looks for by itself */
}
END_TEST

static struct dht_id id_of(size_t i)
{
    return (struct dht_id){{(uint8_t)(i * 37), (uint8_t)i}};
}

static void know(size_t n, uint32_t rtt_us)
{
    for (size_t i = 0; i < n; i++) {
        struct dht_id id = id_of(i);
        struct addr addr = {.family = 4, .ip = {10, 0, 1, (uint8_t)i}, .port = 1};
        (void)dht_table_answered(&dht->half[0].table, &id, &addr, true, rtt_us, NOW_US);
    }
    ck_assert_uint_ge(dht_n_nodes(dht), n / 2);
}

static void read_many(struct end *end, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct dht_id target = {{(uint8_t)(i + 1), 9}};
        dht_read(dht, NOW_US, &target, ended, &end[i]);
    }
    dht_tick(dht, NOW_US);
}

/* Each of two walks among the dead could fill the window alone.  They share it to the end. */
START_TEST(walks_take_turns)
{
    struct end end[2] = {{0}};
    know(80, 1000);
    dht->window.size = DHT_WINDOW_MIN;
    read_many(end, 2);
    ck_assert_uint_eq(n_steps[1] + n_steps[2], 5); /* the rest is upkeep's */
    ck_assert_uint_ge(n_steps[1], 2);
    ck_assert_uint_ge(n_steps[2], 2);
    for (uint64_t now_us = dht_deadline(dht); now_us < NOW_US + 2 * SECOND_US; now_us = dht_deadline(dht)) {
        dht_tick(dht, now_us);
        ck_assert_uint_le(dht->transactions.n_air, DHT_WINDOW_MIN);
        ck_assert_uint_le(n_steps[1], n_steps[2] + DHT_WINDOW_MIN / 2);
        ck_assert_uint_le(n_steps[2], n_steps[1] + DHT_WINDOW_MIN / 2);
    }
    ck_assert_uint_gt(n_steps[1] + n_steps[2], 4 * DHT_WINDOW_MIN);
}
END_TEST

/* No more walks than the window has questions, but what keeps the table true does not wait in line behind them. */
START_TEST(upkeep_does_not_wait_in_line)
{
    static struct end end[100];
    struct dht_id own = {{200}};
    know(80, 1000);
    dht->window.size = DHT_WINDOW_MIN;
    read_many(end, 100);
    ck_assert_uint_eq(dht->n_running, DHT_WINDOW_MIN);
    dht_task_find(dht, NOW_US, &own, false);
    dht_tick(dht, NOW_US);
    ck_assert_uint_eq(dht->n_running, DHT_WINDOW_MIN + 1);
    for (uint64_t now_us = dht_deadline(dht); now_us < NOW_US + SECOND_US; now_us = dht_deadline(dht))
        dht_tick(dht, now_us);
    ck_assert_uint_gt(n_steps[200], 0);
}
END_TEST

/* However much operations have in the air, a ping finds room. */
START_TEST(a_ping_finds_room)
{
    struct end end = {0};
    struct addr nobody = {.family = 4, .ip = {10, 9, 9, 9}, .port = 1};
    know(80, 1000);
    for (size_t i = 0; i < DHT_TRANSACTIONS_MAX - 16; i++) {
        uint8_t tid[DHT_TID_BYTES];
        ck_assert_ptr_nonnull(dht_transactions_open(&dht->transactions, tid));
    }
    read_many(&end, 1);
    ck_assert_uint_eq(n_steps[1], 0);
    ck_assert_uint_eq(end.n, 0); /* it waits */
    size_t n_before = n_sent;
    dht_join(dht, NOW_US, &nobody);
    ck_assert_uint_eq(n_sent, n_before + 1);
}
END_TEST

static void tick_until(uint64_t until_us)
{
    for (uint64_t now_us = dht_deadline(dht); now_us < until_us; now_us = dht_deadline(dht))
        dht_tick(dht, now_us);
}

/* Thirty walks ask the same few dead: that is a handful of news, and no reason to ask others less. */
START_TEST(the_dead_are_silent_once)
{
    static struct end end[30];
    know(6, 1000);
    read_many(end, 30);
    tick_until(NOW_US + 2 * SECOND_US);
    ck_assert_uint_ge(n_sent, 100);
    ck_assert_uint_eq(dht->window.size, DHT_WINDOW_FIRST);
}
END_TEST

/* Liars beside a key answer each step and no write: what they do not answer is no reason to ask others less. */
START_TEST(strangers_who_take_nothing_are_no_loss)
{
    know(24, 1000);
    for (uint8_t i = 0; i < 60; i++) {
        struct addr stranger = {.family = 4, .ip = {10, 200, i, 1}, .port = 1};
        struct dht_message m = {.method = DHT_HANSE_PUT};
        ck_assert_ptr_nonnull(dht_ask(dht, NOW_US, &stranger, &m, DHT_ROLE_STORE, 1));
    }
    tick_until(NOW_US + 3 * SECOND_US);
    ck_assert_uint_eq(dht->window.size, DHT_WINDOW_FIRST);
}
END_TEST

/* Who is half a second away is always late; only when he never answers was something lost. */
START_TEST(the_far_are_late_for_no_reason)
{
    static struct end end[8];
    know(24, 500000);
    read_many(end, 8);
    tick_until(NOW_US + 19 * SECOND_US / 10);
    ck_assert_uint_eq(dht->window.size, DHT_WINDOW_FIRST);
    tick_until(NOW_US + 21 * SECOND_US / 10);
    ck_assert_uint_lt(dht->window.size, DHT_WINDOW_FIRST);
}
END_TEST

/* Before a first node is known reads wait for it, but what looks for nodes does not. */
START_TEST(the_line_waits_for_a_first_node)
{
    struct end end = {0};
    struct addr nobody = {.family = 4, .ip = {10, 9, 9, 9}, .port = 1};
    struct dht_id target = {{5}};
    dht_join(dht, NOW_US, &nobody);
    dht_read(dht, NOW_US, &target, ended, &end);
    dht_task_find(dht, NOW_US, &target, false);
    dht_tick(dht, NOW_US);
    ck_assert_uint_eq(dht->n_operations, 1); /* the search had nobody to ask */
    ck_assert_uint_eq(dht->n_running, 0);
    ck_assert_uint_eq(end.n, 0);
    ck_assert_uint_le(dht_deadline(dht), NOW_US + DHT_JOIN_WAIT_US);
    dht_tick(dht, NOW_US + DHT_JOIN_WAIT_US);
    ck_assert_uint_eq(end.n, 1);
}
END_TEST

START_TEST(the_line_has_an_end)
{
    static struct end end[DHT_OPERATIONS_MAX + 1];
    for (size_t i = 0; i <= DHT_OPERATIONS_MAX; i++) {
        struct dht_id target = {{5}};
        ck_assert_uint_eq(dht->n_operations, i);
        dht_read(dht, NOW_US, &target, ended, &end[i]);
    }
    ck_assert_uint_eq(end[DHT_OPERATIONS_MAX - 1].n, 0);
    ck_assert_uint_eq(end[DHT_OPERATIONS_MAX].n, 1);
}
END_TEST

/* However much users ask for, the table is kept true, and nobody spins because it is not. */
START_TEST(upkeep_needs_no_place_in_the_line)
{
    static struct end end[DHT_OPERATIONS_MAX];
    know(6, 1000);
    dht->upkeep.is_self_running = dht->upkeep.is_bucket_running = true;
    read_many(end, DHT_OPERATIONS_MAX);
    ck_assert_uint_eq(dht->n_operations, DHT_OPERATIONS_MAX);
    dht->upkeep.is_self_running = dht->upkeep.is_bucket_running = false;
    dht->upkeep.self_us = dht->upkeep.bucket_us = NOW_US;
    for (int i = 0; i < 3; i++) {
        uint64_t now_us = dht_deadline(dht) > NOW_US ? dht_deadline(dht) : NOW_US;
        dht_tick(dht, now_us);
        ck_assert_uint_gt(dht_deadline(dht), now_us);
    }
    ck_assert_uint_gt(dht->n_operations, DHT_OPERATIONS_MAX);
    ck_assert(dht->upkeep.is_self_running && !dht->upkeep.has_found_self);
}
END_TEST

/* Twelve of our table fall silent, and answer again. */
static void come_and_go(uint64_t now_us)
{
    for (size_t i = 0; i < 12; i++) {
        struct dht_id id = id_of(i);
        struct addr addr = {.family = 4, .ip = {10, 0, 1, (uint8_t)i}, .port = 1};
        for (int j = 0; j < DHT_FAILURES_MAX; j++)
            dht_upkeep_failed(dht, now_us, &addr);
        (void)dht_table_answered(&dht->half[0].table, &id, &addr, true, 1000, now_us);
    }
}

/* When many leave, what we publish is stored anew; but who leaves again and again does not keep us at it. */
START_TEST(a_few_who_come_and_go_cost_little)
{
    struct dht_id target = {{5}};
    struct addr open = {.family = 4, .port = 1};
    size_t n_anew = 0;
    know(80, 1000);
    dht_publish(dht, NOW_US, &target, &open, "x", 1, NULL, NULL);
    for (uint64_t s = 0; s < 60; s += 5) {
        dht->publication[0]->next_us = NOW_US + 200 * SECOND_US;
        come_and_go(NOW_US + s * SECOND_US);
        n_anew += dht->publication[0]->next_us < NOW_US + 200 * SECOND_US;
        ck_assert(s > 0 || n_anew == 1);
    }
    ck_assert_uint_eq(n_anew, 2);
}
END_TEST

static void read_something(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct end *end = arg;
    (void)entry;
    ck_assert(n == 1 && n_asked > 0);
    end->at_us = now_us;
    end->n++;
}

/* Those of 10.0.2 are neighbours of ours. */
static struct dht_id id_at(const struct addr *addr)
{
    struct dht_id id = dht_own_id(dht);
    id.byte[3] ^= (uint8_t)(1 + addr->ip[3]);
    return addr->ip[2] == 2 ? id : id_of(addr->ip[3]);
}

/* Everybody answers with the same entry, and knows so many others. */
static void answer_all(const struct dht_id *target, size_t n_known)
{
    uint8_t raw[DHT_ENTRY_MAX], bytes[DHT_DATAGRAM_MAX], nodes[DHT_K * 38];
    struct dht_entry entry = {.writer = key_peer_id(key), .addr = {.family = 4, .ip = {10, 1, 1, 1}, .port = 1}, .seq = 1};
    entry.n_bytes = 1;
    entry.expiry_s = (uint32_t)(NOW_US / SECOND_US) + 300;
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true};
    m.entries = (struct dht_span){raw, dht_entry_encode(&entry, target, key, raw)};
    for (size_t i = 0; i < n_sent; i++) {
        m.tid = (struct dht_span){asked[i % N_ASKED].tid, DHT_TID_BYTES};
        m.id = id_at(&asked[i % N_ASKED].to);
        for (uint8_t j = 0; j < n_known; j++) {
            struct addr addr = {.family = 4, .ip = {10, 0, 1, (uint8_t)((i * DHT_K + j) % 80)}, .port = 1};
            struct dht_id id = id_at(&addr);
            (void)dht_krpc_node_put(nodes + j * 26u, &id, &addr);
        }
        m.nodes = (struct dht_span){nodes, n_known * 26};
        dht_datagram(dht, NOW_US, &asked[i % N_ASKED].to, bytes, dht_krpc_encode(&m, bytes, sizeof bytes));
    }
}

/* Where nodes lie much thinner than elsewhere an entry is no reason to stop: liars have one, too.  0: thinner than other walks ended;
 * 1: than our own neighbours lie; 2: no thinner than those. */
START_TEST(what_is_found_where_hardly_anybody_lives_is_not_all)
{
    struct end end = {0};
    struct dht_id target = {{77, 9}};
    know(80, 1000);
    dht->upkeep.self_us = dht->upkeep.bucket_us = IO_NEVER;
    if (_i == 0)
        dht_density_note(&dht->half[0].density, UINT64_C(1) << 50);
    for (uint8_t i = 0; _i == 1 && i < DHT_SPREAD_K; i++) {
        struct addr addr = {.family = 4, .ip = {10, 0, 2, i}, .port = 1};
        struct dht_id id = id_at(&addr);
        ck_assert(dht_table_answered(&dht->half[0].table, &id, &addr, true, 1000, NOW_US));
    }
    dht_read(dht, NOW_US, &target, read_something, &end);
    dht_tick(dht, NOW_US);
    answer_all(&target, 0);
    ck_assert_uint_eq(end.n, 1);
    ck_assert_uint_eq(n_steps[77], _i == 2 ? 16 : 80);
}
END_TEST

/* Who settles beside us makes us look there as often as he likes: what is seen there is a measure once. */
START_TEST(our_own_place_is_a_measure_once)
{
    struct dht_id own = dht_own_id(dht);
    struct dht_density *density = &dht->half[0].density;
    know(80, 1000);
    dht->upkeep.self_us = dht->upkeep.bucket_us = IO_NEVER;
    for (size_t i = 0; i < 2; i++) {
        n_sent = 0;
        dht_task_find(dht, NOW_US, &own, true);
        dht_tick(dht, NOW_US);
        answer_all(&own, DHT_K);
        ck_assert_uint_ge(n_sent, DHT_SPREAD_K);
        ck_assert_uint_eq(density->n, 1);
    }
}
END_TEST

/* Everybody of v4 answers, and has nothing; who is of v6 refuses, unless it `answers`. */
static void answer_nothing(bool answers)
{
    uint8_t bytes[DHT_DATAGRAM_MAX];
    for (size_t i = 0; i < n_sent; i++) {
        const struct addr *to = &asked[i % N_ASKED].to;
        struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .tid = {asked[i % N_ASKED].tid, DHT_TID_BYTES}};
        m.id = id_of(to->family == 4 ? to->ip[3] : to->ip[15]);
        if (to->family == 6 && !answers) {
            m.kind = DHT_ERROR;
            m.error = DHT_ERROR_SERVER;
        }
        dht_datagram(dht, NOW_US, to, bytes, dht_krpc_encode(&m, bytes, sizeof bytes));
    }
}

static void read_nothing(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct end *end = arg;
    (void)entry;
    ck_assert(n == 0 && n_asked > 0);
    end->at_us = now_us;
    end->n++;
}

/* Where v6 has few nodes, fewer answer than on the one walk that met more: that is no reason to look again for what is nowhere.  Where
 * many are known and none answers, it is.  0: eight v6 nodes, all answer; 1: none of them does; 2: none of forty. */
START_TEST(a_family_of_few_does_not_double_a_read)
{
    struct end end = {0};
    struct dht_id target = {{77, 9}};
    know(80, 1000);
    dht->upkeep.self_us = dht->upkeep.bucket_us = IO_NEVER;
    for (uint8_t i = 0; i < (_i == 2 ? 40 : 8); i++) {
        struct addr addr = {.family = 6, .ip = {0xfd, [15] = i}, .port = 1};
        struct dht_id id = id_of(i);
        ck_assert(dht_table_answered(&dht->half[1].table, &id, &addr, true, 1000, NOW_US));
    }
    dht_density_note(&dht->half[0].density, UINT64_MAX - 1);
    dht_density_note(&dht->half[1].density, UINT64_C(1) << 50);
    dht_read(dht, NOW_US, &target, read_nothing, &end);
    dht_tick(dht, NOW_US);
    answer_nothing(_i == 0);
    ck_assert_uint_eq(end.n, 1);
    if (_i == 2)
        ck_assert_uint_ge(n_steps[77], 80);
    else
        ck_assert_uint_le(n_steps[77], 16 + 2 * 8);
}
END_TEST

/* Everybody names an address of ours under a false id; who lives there says our own. */
static size_t name_us(const struct dht_id *id, const struct addr *us)
{
    uint8_t bytes[DHT_DATAGRAM_MAX], node[38];
    size_t n_us = 0;
    (void)dht_krpc_node_put(node, id, us);
    for (size_t i = 0; i < n_sent; i++) {
        const struct addr *to = &asked[i % N_ASKED].to;
        bool is_us = addr_equal(to, us);
        struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .tid = {asked[i % N_ASKED].tid, DHT_TID_BYTES}};
        m.id = is_us ? dht_own_id(dht) : id_of(to->ip[3]);
        m.nodes = (struct dht_span){node, 26};
        n_us += is_us;
        dht_datagram(dht, NOW_US, to, bytes, dht_krpc_encode(&m, bytes, sizeof bytes));
    }
    return n_us;
}

static void count_answered(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    (void)now_us;
    (void)entry;
    ck_assert_uint_eq(n, 0);
    *(size_t *)arg = n_asked;
}

/* A liar who names us, nearest to a key, does not have us ask ourselves; or where we do not know that we are there, not twice. */
START_TEST(we_are_none_of_the_others)
{
    struct dht_id target = {{77, 9}};
    struct addr us = {.family = 4, .ip = {10, 7, 7, 7}, .port = 1};
    size_t n_answered = 0;
    know(8, 1000);
    dht->upkeep.self_us = dht->upkeep.bucket_us = IO_NEVER;
    dht->half[0].has_external = _i == 0;
    dht->half[0].external = us;
    dht_read(dht, NOW_US, &target, count_answered, &n_answered);
    dht_tick(dht, NOW_US);
    ck_assert_uint_eq(name_us(&target, &us), (size_t)_i);
    ck_assert_uint_eq(n_answered, 8);
    ck_assert_uint_eq(n_steps[77], 8 + (size_t)_i);
}
END_TEST

/* Nobody can choose subnets or writers that share slots: each node counts them its own way. */
START_TEST(what_strangers_put_is_counted_under_a_salt)
{
    const struct dht_tally *tally[] = {&dht->directory.subnets, &dht->directory.brought, &dht->directory.writers,
                                       &dht->peers.subnets, &dht->items.subnets};
    for (size_t i = 0; i < sizeof tally / sizeof tally[0]; i++)
        ck_assert_uint_ne(tally[i]->salt, 0);
}
END_TEST

#define N_BROUGHT 500

/* Answers what the heir was asked since; returns how many entries it was given. */
static size_t heir_answers(const struct addr *heir, const struct dht_id *id, size_t *first, uint64_t now_us)
{
    uint8_t bytes[DHT_DATAGRAM_MAX];
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = *id, .token = {(const uint8_t *)"token", 5}};
    size_t n = 0, end = n_sent; /* but what its answers lead to */
    for (; *first < end; ++*first) {
        if (!addr_equal(&asked[*first % N_ASKED].to, heir))
            continue;
        m.tid = (struct dht_span){asked[*first % N_ASKED].tid, DHT_TID_BYTES};
        dht_datagram(dht, now_us, heir, bytes, dht_krpc_encode(&m, bytes, sizeof bytes));
        n += asked[*first % N_ASKED].method == DHT_HANSE_PUT;
    }
    return n;
}

/* A newcomer that takes 0.3 s for each entry has its place for 100 s. */
START_TEST(a_slow_heir_gives_way)
{
    struct dht_id id = {{77}}, target = {{77, 9}};
    struct addr addr = {.family = 4, .ip = {10, 0, 3, 1}, .port = 1};
    struct dht_entry entry = {.addr = addr, .seq = 1, .expiry_s = (uint32_t)(NOW_US / SECOND_US) + 300};
    size_t first = 0, n = 0;
    for (size_t i = 0; i < N_BROUGHT; i++) {
        uint8_t raw[DHT_ENTRY_MAX];
        memcpy(entry.writer.byte, &i, sizeof i);
        struct dht_span span = {raw, dht_entry_encode(&entry, &target, key, raw)};
        ck_assert_int_eq(dht_directory_store(&dht->directory, &target, &entry, span, &addr, NOW_US), 0);
    }
    ck_assert(dht_table_answered(&dht->half[0].table, &id, &addr, true, 300000, NOW_US));
    dht_handover_node(dht, NOW_US, &id, &addr);
    for (uint64_t now_us = NOW_US; now_us < NOW_US + 180 * SECOND_US; now_us += 3 * SECOND_US / 10) {
        dht_tick(dht, now_us);
        n += heir_answers(&addr, &id, &first, now_us);
        ck_assert(now_us < NOW_US + 101 * SECOND_US || dht->n_heirs == 0);
    }
    ck_assert_uint_ge(n, 320);
    ck_assert_uint_le(n, 340);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-operation");
    TCase *all = tcase_create("operation");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, who_waits_too_long_is_over_too);
    tcase_add_test(all, a_few_run_at_once);
    tcase_add_test(all, walks_take_turns);
    tcase_add_test(all, upkeep_does_not_wait_in_line);
    tcase_add_test(all, a_ping_finds_room);
    tcase_add_test(all, the_dead_are_silent_once);
    tcase_add_test(all, strangers_who_take_nothing_are_no_loss);
    tcase_add_test(all, the_far_are_late_for_no_reason);
    tcase_add_test(all, the_line_waits_for_a_first_node);
    tcase_add_test(all, the_line_has_an_end);
    tcase_add_loop_test(all, what_is_found_where_hardly_anybody_lives_is_not_all, 0, 3);
    tcase_add_test(all, our_own_place_is_a_measure_once);
    tcase_add_loop_test(all, a_family_of_few_does_not_double_a_read, 0, 3);
    tcase_add_loop_test(all, we_are_none_of_the_others, 0, 2);
    tcase_add_test(all, what_strangers_put_is_counted_under_a_salt);
    tcase_add_test(all, a_slow_heir_gives_way);
    tcase_add_test(all, upkeep_needs_no_place_in_the_line);
    tcase_add_test(all, a_few_who_come_and_go_cost_little);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
