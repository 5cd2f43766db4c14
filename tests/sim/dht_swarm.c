#include "dht_swarm.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "dht/id.h"
#include "dht/node.h"

#define NODES_MAX 4096

/* Check writes a line to a file at each of its own asserts, which is slow for what happens with every datagram. */
#define HOLD(claim)                                                                                                              \
    do {                                                                                                                         \
        if (!(claim))                                                                                                            \
            ck_abort_msg("%s", #claim);                                                                                          \
    } while (0)

struct event {
    uint64_t time_us, number;
    size_t node_i;
    struct addr from;
    bool is_served; /* its turn on the machine has come */
    size_t n;       /* 0: a tick */
    uint8_t *bytes;
};

struct swarm {
    struct swarm_config config;
    struct rng network, ids;
    uint64_t now_us, n_events, n_datagrams, n_dropped;
    uint64_t busy_us; /* the machine that all share is, until then */
    struct event *heap;
    size_t n_heap, heap_capacity;
    struct swarm_node *node[NODES_MAX];
    size_t n_nodes;
    struct hash_stream trace;
    /* what the node being called was just asked, to hold its answer against */
    const struct addr *asker;
    size_t asked_bytes, sent_bytes; /* 0: it may have any */
    size_t n_stray, stray_bytes;
    uint8_t stray[1500];
    struct addr stray_to;
};

/* -- The queue ----------------------------------------------------------------------------------------- */

static bool is_before(const struct event *a, const struct event *b)
{
    return a->time_us != b->time_us ? a->time_us < b->time_us : a->number < b->number;
}

static void push(struct swarm *s, struct event event)
{
    if (s->n_heap == s->heap_capacity) {
        s->heap_capacity = s->heap_capacity ? 2 * s->heap_capacity : 1024;
        s->heap = realloc(s->heap, s->heap_capacity * sizeof *s->heap);
        ck_assert_ptr_nonnull(s->heap);
    }
    event.number = s->n_events++;
    size_t i = s->n_heap++;
    for (; i > 0 && is_before(&event, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = event;
}

static struct event pop(struct swarm *s)
{
    struct event first = s->heap[0], last = s->heap[--s->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->n_heap)
            break;
        if (child + 1 < s->n_heap && is_before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!is_before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return first;
}

/* -- The network --------------------------------------------------------------------------------------- */

static struct swarm_node *node_at(struct swarm *s, const struct addr *addr)
{
    for (size_t i = 0; i < s->n_nodes; i++)
        if (addr_equal(&s->node[i]->addr, addr))
            return s->node[i];
    return NULL;
}

static bool is_known(const struct dht *dht, const struct addr *addr)
{
    return dht_table_find(&dht->half[addr->family == 6].table, addr) != NULL;
}

/* Whoever asked, and showed no token and is not known, is sent three bytes for each of the question, whatever for. */
static void hold_to_three(struct swarm *s, const struct swarm_node *from, const struct addr *to, const void *bytes, size_t n)
{
    struct dht_message m;
    HOLD(n <= DHT_ITEM_DATAGRAM_MAX);
    HOLD(dht_krpc_decode(&m, bytes, n) == 0);
    HOLD(m.kind == DHT_QUERY || !s->asker || addr_equal(to, s->asker));
    if (!s->asker || s->asked_bytes == 0 || !addr_equal(to, s->asker) || (m.kind == DHT_QUERY && is_known(from->dht, to)))
        return;
    s->sent_bytes += n;
    HOLD(s->sent_bytes <= 3 * s->asked_bytes);
}

static size_t index_of(struct swarm *s, const struct addr *addr)
{
    if (!s->config.is_public && addr->family == 4 && addr->ip[0] == 10)
        return (size_t)addr->ip[1] << 16 | (size_t)addr->ip[2] << 8 | addr->ip[3];
    struct swarm_node *node = node_at(s, addr);
    return node ? node->i : SIZE_MAX;
}

static void send_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    struct swarm_node *from = ctx;
    struct swarm *s = from->swarm;
    hold_to_three(s, from, to, bytes, n);
    s->n_datagrams++;
    size_t i = index_of(s, to);
    if (i >= s->n_nodes || !addr_equal(&s->node[i]->addr, to)) {
        s->n_stray++;
        s->stray_bytes = n;
        memcpy(s->stray, bytes, n);
        s->stray_to = *to;
        return;
    }
    uint64_t delay_us = s->config.delay_min_us;
    if (s->config.delay_spread_us > 0)
        delay_us += rng_below(&s->network, s->config.delay_spread_us);
    if (rng_below(&s->network, 100) < s->config.loss_percent)
        return;
    struct event event = {.time_us = s->now_us + delay_us, .node_i = i, .from = from->addr, .n = n, .bytes = malloc(n)};
    HOLD(event.bytes);
    memcpy(event.bytes, bytes, n);
    push(s, event);
}

static const struct io_ops ops = {.datagram = send_datagram};

/* -- The world ----------------------------------------------------------------------------------------- */

struct swarm *swarm_new(const struct swarm_config *config)
{
    struct swarm *s = calloc(1, sizeof *s);
    ck_assert_ptr_nonnull(s);
    s->config = *config;
    s->now_us = SWARM_EPOCH_US;
    rng_init(&s->network, config->seed, "swarm-network");
    rng_init(&s->ids, config->seed, "swarm-ids");
    hash_begin(&s->trace);
    return s;
}

void swarm_kill(struct swarm_node *node)
{
    dht_free(node->dht);
    node->dht = NULL;
}

void swarm_free(struct swarm *s)
{
    for (size_t i = 0; i < s->n_nodes; i++) {
        dht_free(s->node[i]->dht);
        key_free(s->node[i]->key);
        free(s->node[i]);
    }
    while (s->n_heap > 0)
        free(s->heap[--s->n_heap].bytes);
    free(s->heap);
    if (s->trace.state)
        (void)hash_end(&s->trace);
    free(s);
}

static struct addr address_of(struct swarm *s, size_t i)
{
    struct addr addr = {.family = 4, .port = 4100};
    addr.ip[0] = 10;
    addr.ip[1] = (uint8_t)(i >> 16);
    addr.ip[2] = (uint8_t)(i >> 8);
    addr.ip[3] = (uint8_t)i;
    while (s->config.is_public && (addr_is_local(&addr) || node_at(s, &addr))) {
        rng_bytes(&s->ids, addr.ip, 4);
        addr.ip[0] = (uint8_t)(11 + addr.ip[0] % 80);
    }
    return addr;
}

struct swarm_node *swarm_add(struct swarm *s, bool is_read_only)
{
    struct swarm_node *node = calloc(1, sizeof *node);
    uint8_t seed[KEY_SEED_BYTES];
    ck_assert(node && s->n_nodes < NODES_MAX);
    node->swarm = s;
    node->i = s->n_nodes;
    node->addr = address_of(s, node->i);
    node->io = (struct io){&ops, node};
    node->tick_us = IO_NEVER;
    rng_bytes(&s->ids, seed, sizeof seed);
    ck_assert_int_eq(key_new(seed, &node->key), 0);
    struct dht_config config = {.key = node->key, .is_read_only = is_read_only, .port = 4100, .seed = rng_u64(&s->ids)};
    ck_assert_int_eq(dht_new(&config, &node->io, s->now_us, &node->dht), 0);
    s->node[s->n_nodes++] = node;
    return node;
}

struct swarm_node *swarm_node(struct swarm *s, size_t i)
{
    HOLD(i < s->n_nodes);
    return s->node[i];
}

size_t swarm_n(const struct swarm *s)
{
    return s->n_nodes;
}

void swarm_touch(struct swarm_node *node)
{
    uint64_t at = dht_deadline(node->dht);
    if (at >= node->tick_us)
        return;
    node->tick_us = at;
    struct swarm *s = node->swarm;
    push(s, (struct event){.time_us = at > s->now_us ? at : s->now_us, .node_i = node->i});
}

static void note(struct swarm *s, const struct event *event)
{
    hash_add(&s->trace, &event->time_us, sizeof event->time_us);
    hash_add(&s->trace, &event->node_i, sizeof event->node_i);
    hash_add(&s->trace, event->bytes, event->n);
}

static void tick(struct swarm_node *node, const struct event *event)
{
    if (node->tick_us == IO_NEVER || node->tick_us > event->time_us)
        return; /* an earlier wish, fulfilled already */
    node->tick_us = IO_NEVER;
    note(node->swarm, event);
    dht_tick(node->dht, node->swarm->now_us);
}

/* Who answers has been asked, and who shows a token receives what is sent to it. */
static bool is_proven(const struct event *event)
{
    struct dht_message m;
    return dht_krpc_decode(&m, event->bytes, event->n) == 0 && (m.kind != DHT_QUERY || m.token.n == 8);
}

/* Puts the liars nearest to `target` into `out`, nearest first; returns how many bytes. */
static size_t list_liars(struct swarm *s, const struct swarm_node *self, const struct dht_id *target, uint8_t out[DHT_K * 26])
{
    const struct swarm_node *nearest[DHT_K];
    size_t n = 0, n_bytes = 0;
    for (size_t i = 0; i < s->n_nodes; i++) {
        const struct swarm_node *node = s->node[i];
        if (!node->is_liar || node == self)
            continue;
        struct dht_id id = dht_own_id(node->dht);
        size_t at = n;
        for (; at > 0; at--) {
            struct dht_id before = dht_own_id(nearest[at - 1]->dht);
            if (dht_id_compare(target, &before, &id) < 0)
                break;
            if (at < DHT_K)
                nearest[at] = nearest[at - 1];
        }
        if (at < DHT_K)
            nearest[at] = node;
        n += n < DHT_K;
    }
    for (size_t i = 0; i < n; i++) {
        struct dht_id id = dht_own_id(nearest[i]->dht);
        n_bytes += dht_krpc_node_put(out + n_bytes, &id, &nearest[i]->addr);
    }
    return n_bytes;
}

/* True when the datagram was a question, which is answered with a lie. */
static bool lie(struct swarm_node *node, const struct event *event)
{
    struct dht_message m, reply = {.kind = DHT_REPLY, .has_id = true, .ip = event->from};
    uint8_t nodes[DHT_K * 38], bytes[DHT_DATAGRAM_MAX];
    if (dht_krpc_decode(&m, event->bytes, event->n) != 0 || m.kind != DHT_QUERY)
        return false;
    reply.tid = m.tid;
    reply.id = dht_own_id(node->dht);
    reply.token = (struct dht_span){(const uint8_t *)"trust me", 8};
    reply.nodes = (struct dht_span){nodes, list_liars(node->swarm, node, &m.target, nodes)};
    size_t n = 0, max = 3 * event->n < sizeof bytes ? 3 * event->n : sizeof bytes;
    while ((n = dht_krpc_encode(&reply, bytes, max)) == 0 && reply.nodes.n > 0)
        reply.nodes.n -= 26;
    if (n > 0)
        send_datagram(node, &event->from, bytes, n);
    return true;
}

/* True when the datagram was a question to one who does not say much. */
static bool keep_silent(struct swarm_node *node, const struct event *event)
{
    struct dht_message m, reply = {.kind = DHT_REPLY, .has_id = true, .is_ours = true, .ip = event->from};
    uint8_t bytes[DHT_DATAGRAM_MAX];
    if (dht_krpc_decode(&m, event->bytes, event->n) != 0 || m.kind != DHT_QUERY || m.method == DHT_PING)
        return false;
    reply.tid = m.tid;
    reply.id = dht_own_id(node->dht);
    reply.nodes = (struct dht_span){bytes, 0};
    if (m.method == DHT_FIND_NODE && node->names_nobody)
        send_datagram(node, &event->from, bytes, dht_krpc_encode(&reply, bytes, sizeof bytes));
    return true;
}

/* True when the datagram brought an entry to one that has no room. */
static bool refuse(struct swarm_node *node, const struct event *event)
{
    struct dht_message m, reply = {.kind = DHT_ERROR, .is_ours = true, .ip = event->from, .error = DHT_ERROR_SERVER};
    uint8_t bytes[DHT_DATAGRAM_MAX];
    if (dht_krpc_decode(&m, event->bytes, event->n) != 0 || m.kind != DHT_QUERY || m.method != DHT_HANSE_PUT)
        return false;
    reply.tid = m.tid;
    send_datagram(node, &event->from, bytes, dht_krpc_encode(&reply, bytes, sizeof bytes));
    return true;
}

static void deliver(struct swarm_node *node, const struct event *event)
{
    struct swarm *s = node->swarm;
    note(s, event);
    s->asker = &event->from;
    s->asked_bytes = is_proven(event) ? 0 : event->n;
    s->sent_bytes = 0;
    if (!(node->is_liar && lie(node, event)) && !(node->is_mute && keep_silent(node, event)) &&
        !(node->is_full && refuse(node, event)))
        dht_datagram(node->dht, s->now_us, &event->from, event->bytes, event->n);
    s->asker = NULL;
}

/* True when the datagram has to wait for its turn, or is lost. */
static bool queue_up(struct swarm *s, struct event *event)
{
    if (s->config.service_us == 0 || event->n == 0 || event->is_served)
        return false;
    if (s->busy_us < s->now_us)
        s->busy_us = s->now_us;
    if (s->busy_us - s->now_us > s->config.backlog_us) {
        s->n_dropped++;
        free(event->bytes);
        return true;
    }
    event->time_us = s->busy_us += s->config.service_us;
    event->is_served = true;
    push(s, *event);
    return true;
}

static void step(struct swarm *s)
{
    struct event event = pop(s);
    struct swarm_node *node = s->node[event.node_i];
    s->now_us = event.time_us;
    if (queue_up(s, &event))
        return;
    if (node->dht) {
        if (event.n == 0)
            tick(node, &event);
        else
            deliver(node, &event);
        swarm_touch(node);
    }
    free(event.bytes);
}

void swarm_run(struct swarm *s, uint64_t for_us)
{
    uint64_t until_us = s->now_us + for_us;
    while (s->n_heap > 0 && s->heap[0].time_us <= until_us)
        step(s);
    s->now_us = until_us;
}

void swarm_corrupt(struct swarm_node *node)
{
    node->is_liar = true;
}

void swarm_mute(struct swarm_node *node, bool names_nobody)
{
    node->is_mute = true;
    node->names_nobody = names_nobody;
}

void swarm_fill(struct swarm_node *node, bool is_full)
{
    node->is_full = is_full;
}

uint64_t swarm_now(const struct swarm *s)
{
    return s->now_us;
}

void swarm_join(struct swarm_node *node, const struct addr *addr)
{
    dht_join(node->dht, node->swarm->now_us, addr);
    swarm_touch(node);
}

void swarm_grow(struct swarm *s, size_t n, uint64_t gap_us)
{
    for (size_t i = 0; i < n; i++) {
        struct swarm_node *node = swarm_add(s, false);
        if (node->i > 0)
            swarm_join(node, &s->node[rng_below(&s->ids, node->i)]->addr);
        swarm_run(s, gap_us);
    }
}

void swarm_inject(struct swarm_node *node, const struct addr *from, const void *bytes, size_t n)
{
    struct event event = {.time_us = node->swarm->now_us, .node_i = node->i, .from = *from, .n = n, .bytes = (uint8_t *)bytes};
    deliver(node, &event);
    swarm_touch(node);
}

size_t swarm_n_stray(const struct swarm *s)
{
    return s->n_stray;
}

size_t swarm_stray(const struct swarm *s, uint8_t out[1500])
{
    memcpy(out, s->stray, s->stray_bytes);
    return s->stray_bytes;
}

struct addr swarm_stray_to(const struct swarm *s)
{
    return s->stray_to;
}

struct hash swarm_trace(struct swarm *s)
{
    return hash_end(&s->trace);
}

uint64_t swarm_n_datagrams(const struct swarm *s)
{
    return s->n_datagrams;
}

void swarm_squeeze(struct swarm *s, uint64_t service_us, uint64_t backlog_us)
{
    s->config.service_us = service_us;
    s->config.backlog_us = backlog_us;
}

uint64_t swarm_n_dropped(const struct swarm *s)
{
    return s->n_dropped;
}

/* -- The directory ------------------------------------------------------------------------------------- */

void swarm_publish(struct swarm_node *node, const struct dht_id *key, const char *text)
{
    dht_publish(node->dht, node->swarm->now_us, key, &node->addr, text, strlen(text), NULL, NULL);
    swarm_touch(node);
}

static void take(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct swarm_read *out = arg;
    (void)now_us;
    ck_assert(!out->is_done);
    out->is_done = true;
    out->n_asked = n_asked;
    out->n = n;
    for (size_t i = 0; i < n && i < 64; i++)
        out->entry[i] = entry[i];
}

void swarm_read(struct swarm_node *node, const struct dht_id *key, struct swarm_read *out)
{
    struct swarm *s = node->swarm;
    uint64_t start_us = s->now_us;
    memset(out, 0, sizeof *out);
    dht_read(node->dht, s->now_us, key, take, out);
    swarm_touch(node);
    while (!out->is_done) {
        HOLD(s->n_heap > 0);
        step(s);
    }
    out->took_us = s->now_us - start_us;
    ck_assert_uint_le(out->took_us, 8 * SECOND_US);
}

bool swarm_has(const struct swarm_read *read, const struct swarm_node *writer, const char *text)
{
    struct peer_id peer = key_peer_id(writer->key);
    for (size_t i = 0; i < read->n && i < 64; i++) {
        const struct dht_entry *e = &read->entry[i];
        if (peer_id_equal(&e->writer, &peer))
            return e->n_bytes == strlen(text) && memcmp(e->bytes, text, e->n_bytes) == 0 && addr_equal(&e->addr, &writer->addr);
    }
    return false;
}
