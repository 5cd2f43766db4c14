/* cmd/sim_beam_swarm.c - hosts and a trainer in a DHT; each host publishes what it has. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cmd/sim_beam.h"

#define JOINS 3
#define GAP_US 20000u /* between two that join */
#define JOINED_US (20 * SIM_BEAM_SECOND_US)
#define SETTLE_US (45 * SIM_BEAM_SECOND_US) /* what is published is stored again after 2, 8 and 32 s */
#define KEYS_MAX 256u                       /* that a node publishes */

static void start(struct sim_beam_host *host, uint64_t now_us)
{
    struct sim_beam *story = host->story;
    bool is_trainer = host == &story->trainer;
    struct dht_config config = {.key = world_key(host->node),
                                .is_read_only = is_trainer,
                                .port = world_addr(host->node).port,
                                .seed = host->seed,
                                .addr = world_addr(host->node)};
    size_t n_earlier = is_trainer ? story->n_hosts : (size_t)(host - story->host);
    if (dht_new(&config, world_io(host->node), now_us, &host->dht) != 0)
        abort();
    for (size_t i = 0; i < JOINS && n_earlier > 0; i++) {
        struct addr addr = world_addr(story->host[rng_below(&story->rng, n_earlier)].node);
        dht_join(host->dht, now_us, &addr);
    }
}

static void on_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct sim_beam_host *host = self;
    struct sim_beam *story = host->story;
    if (event->kind == IO_START && !story->memory)
        start(host, now_us);
    if (event->kind == IO_DATAGRAM)
        dht_datagram(host->dht, now_us, &event->from, event->bytes, event->n_bytes);
    if (host->dht)
        dht_tick(host->dht, now_us);
    if (host == &story->trainer && story->beam)
        beam_tick(story->beam, now_us);
}

static uint64_t deadline(const void *self)
{
    const struct sim_beam_host *host = self;
    const struct sim_beam *story = host->story;
    uint64_t dht_us = host->dht ? dht_deadline(host->dht) : IO_NEVER;
    uint64_t beam_us = host == &story->trainer && story->beam ? beam_deadline(story->beam) : IO_NEVER;
    return dht_us < beam_us ? dht_us : beam_us;
}

static int add(struct sim_beam *story, struct sim_beam_host *host)
{
    int err = world_add(story->world, &host->node);
    if (err)
        return err;
    host->story = story;
    host->id = key_peer_id(world_key(host->node));
    host->seed = world_seed(host->node);
    struct io_machine machine = {on_event, deadline, host};
    world_start(host->node, &machine);
    world_run(story->world, world_now(story->world) + GAP_US);
    return 0;
}

static void publish(void *arg, uint64_t now_us)
{
    static struct beam_block block[KEYS_MAX];
    struct sim_beam_host *host = arg;
    struct sim_beam *story = host->story;
    size_t host_i = (size_t)(host - story->host), from = 0;
    while (from < story->n_alive && sim_beam_host_of(story, from) < host_i)
        from++;
    size_t to = from;
    while (to < story->n_alive && sim_beam_host_of(story, to) == host_i)
        to++;
    size_t n = beam_grid_blocks(&story->grid, story->alive + from, to - from, block, KEYS_MAX);
    if (n > KEYS_MAX)
        log_error("a host would publish %zu keys, and a node publishes %u; take more hosts or fewer experts", n, KEYS_MAX);
    for (size_t i = 0; i < n && i < KEYS_MAX; i++) {
        uint8_t bytes[MESSAGE_CLAIMS_BYTES];
        struct addr addr = world_addr(host->node);
        size_t n_bytes = sim_beam_say(story, block[i], bytes);
        struct dht_id key = beam_grid_key(&story->grid, &story->id, SIM_BEAM_LAYER, block[i].level, block[i].number);
        dht_publish(host->dht, now_us, &key, &addr, bytes, n_bytes, NULL, NULL);
    }
    world_touch(host->node);
}

int sim_beam_swarm_start(struct sim_beam *story)
{
    int err = 0;
    for (size_t i = 0; !err && !story->memory && i < story->n_hosts; i++)
        err = add(story, &story->host[i]);
    if (!err)
        err = add(story, &story->trainer);
    if (err || story->memory)
        return err;
    world_run(story->world, world_now(story->world) + JOINED_US);
    for (size_t i = 0; i < story->n_hosts; i++)
        world_at(story->world, world_now(story->world) + rng_below(&story->rng, 5 * SIM_BEAM_SECOND_US), publish,
                 &story->host[i]);
    world_run(story->world, world_now(story->world) + SETTLE_US);
    return 0;
}

void sim_beam_swarm_kill(struct sim_beam *story, size_t host_i)
{
    story->host[host_i].is_gone = true;
    story->host[host_i].gone_us = world_now(story->world);
    if (story->host[host_i].node)
        world_crash(story->host[host_i].node);
}

void sim_beam_swarm_end(struct sim_beam *story)
{
    for (size_t i = 0; story->host && i < story->n_hosts; i++)
        dht_free(story->host[i].dht);
    dht_free(story->trainer.dht);
}
