/* cmd/sim_dht.c - a third of a DHT vanishes at once; what the others have published is still found, by every one of them. */
#include <stdlib.h>
#include <string.h>

#include "cmd/sim.h"
#include "dht/dht.h"

#define N_NODES 64
#define N_READS 3           /* of each survivor */
#define SETTLE_US 20000000u /* far less than the time until all have published again */
#define READ_US 30000000u
#define RECORD_BYTES 16

struct peer {
    struct world_node *node;
    const struct addr *join; /* NULL for the first */
    struct dht *dht;
    uint64_t seed;
    uint8_t record[RECORD_BYTES];
    bool is_alive;
};

static struct dht_id key_of(size_t i)
{
    struct hash run = hash_bytes("a dht scenario", 14);
    return dht_directory_key(&run, "scenario", (uint32_t)i, 0);
}

static void start(struct peer *peer, size_t i, uint64_t now_us)
{
    struct dht_config config = {.key = world_key(peer->node), .port = world_addr(peer->node).port, .seed = peer->seed};
    struct addr self = world_addr(peer->node);
    struct dht_id key = key_of(i);
    if (dht_new(&config, world_io(peer->node), now_us, &peer->dht) != 0)
        abort();
    if (peer->join)
        dht_join(peer->dht, now_us, peer->join);
    dht_publish(peer->dht, now_us, &key, &self, peer->record, sizeof peer->record, NULL, NULL);
}

static void on_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct peer *peer = self;
    if (event->kind == IO_START)
        start(peer, world_addr(peer->node).ip[3], now_us);
    if (event->kind == IO_DATAGRAM)
        dht_datagram(peer->dht, now_us, &event->from, event->bytes, event->n_bytes);
    dht_tick(peer->dht, now_us);
}

static uint64_t deadline(const void *self)
{
    const struct peer *peer = self;
    return dht_deadline(peer->dht);
}

/* -- Reading ---------------------------------------------------------------------------------------- */

struct look {
    const struct peer *reader, *writer;
    bool is_done, is_found;
};

static void on_read(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct look *look = arg;
    struct peer_id writer = key_peer_id(world_key(look->writer->node));
    (void)now_us;
    (void)n_asked;
    look->is_done = true;
    for (size_t i = 0; i < n; i++)
        look->is_found |= peer_id_equal(&entry[i].writer, &writer) && entry[i].n_bytes == RECORD_BYTES &&
                          memcmp(entry[i].bytes, look->writer->record, RECORD_BYTES) == 0;
}

static size_t draw_alive(const struct peer *peer, struct rng *rng)
{
    size_t i;
    do
        i = (size_t)rng_below(rng, N_NODES);
    while (!peer[i].is_alive);
    return i;
}

/* A machine is only entered with its own events, so a read begins at a call of the world, like a user's. */
static void begin_read(void *arg, uint64_t now_us)
{
    struct look *look = arg;
    struct dht_id key = key_of(world_addr(look->writer->node).ip[3]);
    dht_read(look->reader->dht, now_us, &key, on_read, look);
}

static int look_everywhere(struct sim_run *run, struct world *world, struct peer *peer, struct rng *rng, struct look *look)
{
    size_t n = 0, n_found = 0;
    for (size_t i = 0; i < N_NODES; i++)
        for (size_t k = 0; peer[i].is_alive && k < N_READS; k++) {
            look[n] = (struct look){.reader = &peer[i], .writer = &peer[draw_alive(peer, rng)]};
            world_at(world, world_now(world) + rng_below(rng, 1000000), begin_read, &look[n++]);
        }
    world_run(world, world_now(world) + READ_US);
    for (size_t i = 0; i < n; i++) {
        if (!look[i].is_done)
            return sim_refute(world, "a read has not ended after %u s", READ_US / 1000000);
        n_found += look[i].is_found;
    }
    sim_say(run, world, "%zu of %zu reads found their record", n_found, n);
    return n_found == n ? 0 : sim_refute(world, "%zu of %zu records were not found", n - n_found, n);
}

/* -- The story -------------------------------------------------------------------------------------- */

static int populate(struct world *world, struct peer *peer, struct addr *first)
{
    for (size_t i = 0; i < N_NODES; i++) {
        struct peer *p = &peer[i];
        int err = world_add(world, &p->node);
        if (err)
            return err;
        if (i == 0)
            *first = world_addr(p->node);
        p->join = i > 0 ? first : NULL;
        p->seed = world_seed(p->node);
        p->is_alive = true;
        memset(p->record, (int)i + 1, sizeof p->record);
        struct io_machine machine = {on_event, deadline, p};
        world_start(p->node, &machine);
        world_run(world, world_now(world) + 100000);
    }
    return 0;
}

static size_t vanish(struct peer *peer, struct rng *rng)
{
    size_t n = 0;
    while (n < N_NODES / 3) {
        struct peer *p = &peer[draw_alive(peer, rng)];
        p->is_alive = false;
        world_crash(p->node);
        n++;
    }
    return n;
}

static int tell(struct sim_run *run, struct world *world, struct peer *peer, struct look *look)
{
    struct rng rng;
    struct addr first;
    rng_init(&rng, run->seed, "scenario-dht");
    int err = populate(world, peer, &first);
    if (err)
        return err;
    world_run(world, world_now(world) + SETTLE_US);
    sim_say(run, world, "%d nodes have joined through one and published a record each", N_NODES);
    err = look_everywhere(run, world, peer, &rng, look);
    if (err)
        return err;
    sim_say(run, world, "%zu nodes vanish", vanish(peer, &rng));
    return look_everywhere(run, world, peer, &rng, look);
}

int sim_play_dht(struct sim_run *run)
{
    struct world_config config = {.seed = run->seed,
                                  .delay_min_us = 5000,
                                  .delay_mean_us = 40000,
                                  .datagram_loss = 0.02,
                                  .datagram_duplicate = 0.01,
                                  .connect_timeout_us = 5000000};
    struct world *world = NULL;
    struct peer *peer = calloc(N_NODES, sizeof *peer);
    struct look *look = calloc((size_t)N_NODES * N_READS, sizeof *look);
    int err = peer && look ? world_new(&config, &world) : HANSE_ENOMEM;
    if (!err)
        err = tell(run, world, peer, look);
    for (size_t i = 0; peer && i < N_NODES; i++)
        dht_free(peer[i].dht);
    free(peer);
    free(look);
    sim_end(run, world);
    return err;
}
