#include <stdlib.h>
#include <string.h>

#include "cmd/sim_dht.h"

#define JOINS_NEWCOMER 8 /* addresses that one who comes later is given, as by a run's description: some may be leaving, or lie */
#define GROWTH 5000000   /* the n-th node comes GROWTH / n microseconds after the one before, */
#define GROWTH_MIN_US 500                      /* and never faster than two thousand a second */
#define PUBLISH_US 2000000                     /* within which all records are written */
#define LOOKED_FOR_US (60 * SIM_DHT_SECOND_US) /* what ends sooner is nobody's to find */
#define AMPLIFICATION 3

/* -- What a node sends ------------------------------------------------------------------------------ */

static bool ends_with(const uint8_t *bytes, size_t n, const char *text)
{
    size_t length = strlen(text);
    return n >= length && memcmp(bytes + n - length, text, length) == 0;
}

/* An answer to somebody who showed no token may have three bytes for each of the question. */
static void hold_to_three(struct sim_dht_peer *peer, const struct addr *to, const uint8_t *bytes, size_t n)
{
    if (n <= AMPLIFICATION * peer->n_asked || peer->n_asked == 0 || !addr_equal(to, peer->from))
        return;
    peer->swarm->n_amplified += ends_with(bytes, n, "1:y1:re") || ends_with(bytes, n, "1:y1:ee");
}

static const struct io *outside(struct sim_dht_peer *peer)
{
    return world_io(peer->node);
}

static void send_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    struct sim_dht_peer *peer = ctx;
    hold_to_three(peer, to, bytes, n);
    peer->swarm->so_far.n_sent += !peer->is_newcomer;
    peer->swarm->so_far.n_sent_bytes += peer->is_newcomer ? 0 : n;
    outside(peer)->ops->datagram(outside(peer)->ctx, to, bytes, n);
}

static io_link open_link(void *ctx, const struct addr *to, const struct peer_id *expect)
{
    return outside(ctx)->ops->link_open(outside(ctx)->ctx, to, expect);
}

static void send_message(void *ctx, io_link link, struct buf *message, bool is_urgent)
{
    outside(ctx)->ops->link_send(outside(ctx)->ctx, link, message, is_urgent);
}

static size_t count_queued(void *ctx, io_link link)
{
    return outside(ctx)->ops->link_queued(outside(ctx)->ctx, link);
}

static void close_link(void *ctx, io_link link)
{
    outside(ctx)->ops->link_close(outside(ctx)->ctx, link);
}

static const struct io_ops ops = {
    .datagram = send_datagram,
    .link_open = open_link,
    .link_send = send_message,
    .link_queued = count_queued,
    .link_close = close_link,
};

/* -- A node ----------------------------------------------------------------------------------------- */

/* While the swarm grows one is told of those before it, there or not; while nodes come and go, of those that are there. */
static struct addr draw_acquaintance(const struct sim_dht_peer *peer, size_t n_earlier)
{
    struct sim_dht_swarm *s = peer->swarm;
    const struct sim_dht_peer *other;
    do
        other = &s->peer[rng_below(&s->rng, n_earlier)];
    while (peer->life > 0 && (other == peer || !other->dht));
    return world_addr(other->node);
}

static void start(struct sim_dht_peer *peer, uint64_t now_us)
{
    struct io io = {&ops, peer};
    struct dht_config config = {.key = world_key(peer->node),
                                .is_read_only = peer->is_newcomer,
                                .port = world_addr(peer->node).port,
                                .seed = peer->seed,
                                .addr = world_addr(peer->node)};
    if (dht_new(&config, &io, now_us, &peer->dht) != 0)
        abort();
    size_t place = (size_t)(peer - peer->swarm->peer), n_nodes = peer->swarm->n_nodes;
    size_t n_earlier = peer->is_newcomer || peer->life > 0 ? n_nodes : place;
    for (size_t i = 0; i < peer->n_joins && n_earlier > 0; i++) {
        struct addr addr = draw_acquaintance(peer, n_earlier);
        dht_join(peer->dht, now_us, &addr);
    }
}

static bool shows_token(const struct io_event *event)
{
    return memmem(event->bytes, event->n_bytes, "5:token8:", 9) != NULL;
}

static void hear(struct sim_dht_peer *peer, uint64_t now_us, const struct io_event *event)
{
    peer->from = &event->from;
    peer->n_asked = shows_token(event) ? 0 : event->n_bytes;
    if (!peer->is_liar || !sim_dht_lie(peer, event))
        dht_datagram(peer->dht, now_us, &event->from, event->bytes, event->n_bytes);
    peer->n_asked = 0;
}

static void on_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct sim_dht_peer *peer = self;
    if (event->kind == IO_START)
        start(peer, now_us);
    if (event->kind == IO_DATAGRAM)
        hear(peer, now_us, event);
    else
        dht_tick(peer->dht, now_us);
}

static uint64_t deadline(const void *self)
{
    const struct sim_dht_peer *peer = self;
    return peer->dht ? dht_deadline(peer->dht) : 0;
}

/* -- The swarm -------------------------------------------------------------------------------------- */

int sim_dht_swarm_new(struct sim_run *run, struct sim_dht_swarm **out)
{
    const struct sim_dht_options *o = &run->dht;
    struct world_config config = {.seed = run->seed,
                                  .rtt_median_us = 1000 * o->rtt_median_ms,
                                  .rtt_sigma_percent = 60,
                                  .datagram_loss = o->loss_percent / 100,
                                  .datagram_duplicate = o->loss_percent / 200,
                                  .connect_timeout_us = 5 * SIM_DHT_SECOND_US,
                                  .is_public = true};
    int err = HANSE_ENOMEM;
    struct sim_dht_swarm *s = calloc(1, sizeof *s);
    if (!s)
        goto fail;
    s->run = run;
    rng_init(&s->rng, run->seed, "scenario-dht");
    s->capacity = o->n_nodes + o->n_lookups; /* at most half of the readers are newcomers */
    s->peer = calloc(s->capacity, sizeof *s->peer);
    s->record = calloc(SIM_DHT_RECORDS_MAX, sizeof *s->record);
    s->liar = calloc(o->n_nodes, sizeof *s->liar);
    if (!s->peer || !s->record || !s->liar)
        goto fail;
    err = world_new(&config, &s->world);
    if (err)
        goto fail;
    *out = s;
    return 0;
fail:
    sim_dht_swarm_free(s);
    return err;
}

void sim_dht_swarm_free(struct sim_dht_swarm *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->peer && i < s->n; i++)
        dht_free(s->peer[i].dht);
    sim_end(s->run, s->world);
    free(s->peer);
    free(s->record);
    free(s->liar);
    free(s);
}

void sim_dht_swarm_pass(struct sim_dht_swarm *s, uint64_t us)
{
    world_run(s->world, world_now(s->world) + us);
}

static int set(struct sim_dht_swarm *s, struct sim_dht_peer *peer, size_t n_joins)
{
    int err = world_add(s->world, &peer->node);
    if (err)
        return err;
    peer->swarm = s;
    peer->seed = world_seed(peer->node);
    peer->n_joins = n_joins;
    peer->born_us = world_now(s->world);
    struct io_machine machine = {on_event, deadline, peer};
    world_start(peer->node, &machine);
    return 0;
}

static int add(struct sim_dht_swarm *s, bool is_newcomer)
{
    s->peer[s->n].is_newcomer = is_newcomer;
    int err = set(s, &s->peer[s->n], is_newcomer ? JOINS_NEWCOMER : 1);
    s->n += !err;
    return err;
}

int sim_dht_swarm_grow(struct sim_dht_swarm *s)
{
    while (s->n_nodes < s->run->dht.n_nodes) {
        int err = add(s, false);
        if (err)
            return err;
        s->n_nodes++;
        s->n_alive++;
        uint64_t gap_us = GROWTH / s->n_nodes;
        sim_dht_swarm_pass(s, gap_us > GROWTH_MIN_US ? gap_us : GROWTH_MIN_US);
    }
    return 0;
}

int sim_dht_swarm_add_newcomers(struct sim_dht_swarm *s, size_t n)
{
    for (size_t i = 0; i < n && s->n < s->capacity; i++) {
        int err = add(s, true);
        if (err)
            return err;
        sim_dht_swarm_pass(s, 2 * SIM_DHT_SECOND_US / n);
    }
    return 0;
}

struct sim_dht_peer *sim_dht_swarm_draw(struct sim_dht_swarm *s)
{
    struct sim_dht_peer *peer;
    do
        peer = &s->peer[rng_below(&s->rng, s->n_nodes)];
    while (!peer->dht || peer->is_liar);
    return peer;
}

uint32_t sim_dht_side(const struct sim_dht_peer *peer, uint32_t n_sides)
{
    return (uint32_t)((size_t)(peer - peer->swarm->peer) % n_sides);
}

/* -- Records ---------------------------------------------------------------------------------------- */

void sim_dht_swarm_renew(struct sim_dht_swarm *s, struct sim_dht_record *record)
{
    struct hash run = hash_bytes("a dht scenario", 14);
    record->swarm = s;
    record->key = dht_directory_key(&run, "scenario", s->n_keys++, 0);
    record->writer = sim_dht_swarm_draw(s);
    record->writer_id = key_peer_id(world_key(record->writer->node));
    rng_bytes(&s->rng, record->bytes, sizeof record->bytes);
}

void sim_dht_swarm_write(void *arg, uint64_t now_us)
{
    struct sim_dht_record *record = arg;
    struct addr addr = world_addr(record->writer->node);
    dht_publish(record->writer->dht, now_us, &record->key, &addr, record->bytes, sizeof record->bytes, NULL, NULL);
    world_touch(record->writer->node);
    record->written_us = now_us;
}

void sim_dht_swarm_publish(struct sim_dht_swarm *s)
{
    size_t n = s->n_nodes / 4 < SIM_DHT_RECORDS_MAX ? s->n_nodes / 4 : SIM_DHT_RECORDS_MAX;
    for (s->n_records = 0; s->n_records < n; s->n_records++) {
        struct sim_dht_record *record = &s->record[s->n_records];
        sim_dht_swarm_renew(s, record);
        world_at(s->world, world_now(s->world) + rng_below(&s->rng, PUBLISH_US), sim_dht_swarm_write, record);
    }
}

/* -- Those who go ----------------------------------------------------------------------------------- */

void sim_dht_swarm_kill(struct sim_dht_swarm *s, size_t n)
{
    for (; n > 0; n--) {
        struct sim_dht_peer *peer;
        do
            peer = &s->peer[rng_below(&s->rng, s->n_nodes)];
        while (!world_is_running(peer->node));
        world_crash(peer->node);
        dht_free(peer->dht);
        peer->dht = NULL;
        s->n_alive--;
    }
}

static void add_questions(struct sim_dht_totals *totals, const struct dht *dht)
{
    struct dht_stats stats = dht_stats(dht);
    totals->n_asked += stats.n_queries_out;
    totals->n_unanswered += stats.n_timeouts;
}

void sim_dht_swarm_replace(struct sim_dht_peer *peer)
{
    struct sim_dht_swarm *s = peer->swarm;
    add_questions(&s->so_far, peer->dht);
    world_crash(peer->node);
    dht_free(peer->dht);
    peer->dht = NULL;
    world_remove(peer->node);
    peer->life++;
    peer->n_reading = 0;
    int err = set(s, peer, JOINS_NEWCOMER);
    s->err = s->err ? s->err : err;
}

/* -- What is known of all --------------------------------------------------------------------------- */

struct sim_dht_totals sim_dht_swarm_totals(const struct sim_dht_swarm *s)
{
    struct sim_dht_totals totals = s->so_far;
    for (size_t i = 0; i < s->n_nodes; i++)
        if (s->peer[i].dht)
            add_questions(&totals, s->peer[i].dht);
    return totals;
}

size_t sim_dht_swarm_memory(const struct sim_dht_swarm *s)
{
    size_t sum = 0, n = 0;
    for (size_t i = 0; i < s->n_nodes; i++)
        if (s->peer[i].dht) {
            sum += dht_memory(s->peer[i].dht);
            n++;
        }
    return n ? sum / n : 0;
}

bool sim_dht_swarm_holds(const struct sim_dht_swarm *s, const struct dht_id *key)
{
    for (size_t i = 0; i < s->n_nodes; i++)
        if (s->peer[i].dht && !s->peer[i].is_liar && dht_holds(s->peer[i].dht, world_now(s->world), key))
            return true;
    return false;
}

size_t sim_dht_swarm_count_lost(struct sim_dht_swarm *s, bool by_writers)
{
    uint64_t until_us = world_now(s->world) + LOOKED_FOR_US;
    size_t n_lost = s->n_records;
    for (size_t i = 0; i < s->n_records; i++) {
        s->record[i].is_lost = !(by_writers && s->record[i].writer && s->record[i].writer->dht);
        n_lost -= !s->record[i].is_lost;
    }
    for (size_t i = 0; i < s->n_nodes && n_lost > 0; i++) {
        const struct sim_dht_peer *peer = &s->peer[i];
        if (!peer->dht || peer->is_liar || dht_stats(peer->dht).n_entries == 0)
            continue;
        for (size_t j = 0; j < s->n_records; j++)
            if (s->record[j].is_lost && dht_holds(peer->dht, until_us, &s->record[j].key)) {
                s->record[j].is_lost = false;
                n_lost--;
            }
    }
    return n_lost;
}
