/* cmd/sim_beam_memory.c - a directory in memory that answers as slowly as a large DHT. */
#include <stdlib.h>
#include <string.h>

#include "cmd/sim_beam.h"

#define NOBODY_IN 200 /* one read in so many reaches nobody, */
#define NOBODY_RTT 40 /* and says so after this many round trips */
#define READS_MAX BEAM_READS_OPEN_MAX

/* How long a read of a DHT takes, in round trips: what shares of them are done by when.  After figures for 100,000 nodes with a fifth
 * of the table entries stale: half within 2.75 round trips, 90 % within 4.1. */
static const struct {
    double share, rtts;
} done_by[] = {{0, 0.75}, {0.1, 1.5}, {0.5, 2.75}, {0.9, 4.1}, {0.99, 8}, {1, 20}};

struct key_of_block {
    struct dht_id key;
    uint32_t level, number;
};

struct reading {
    struct sim_beam *story;
    const struct key_of_block *block; /* NULL: free */
    beam_read_done *done;
    void *done_arg;
    bool is_nobody;
};

struct sim_beam_memory {
    struct key_of_block *block; /* by key */
    size_t n_blocks;
    struct reading reading[READS_MAX];
    struct dht_entry *entry; /* n_hosts */
};

static int compare(const void *a, const void *b)
{
    return memcmp(((const struct key_of_block *)a)->key.byte, ((const struct key_of_block *)b)->key.byte, DHT_ID_BYTES);
}

static size_t count_blocks(const struct beam_grid *grid)
{
    size_t n = 0, n_prefixes = 1;
    for (size_t a = 0; a < grid->d; n_prefixes *= grid->size[a++])
        n += n_prefixes * grid->n_blocks[a];
    return n;
}

int sim_beam_memory_start(struct sim_beam *story)
{
    const struct beam_grid *grid = &story->grid;
    struct sim_beam_memory *memory = calloc(1, sizeof *memory);
    size_t n_blocks = count_blocks(grid);
    uint32_t n_prefixes = 1;
    if (!memory)
        return HANSE_ENOMEM;
    story->memory = memory;
    memory->block = calloc(n_blocks, sizeof *memory->block);
    memory->entry = calloc(story->n_hosts, sizeof *memory->entry);
    if (!memory->block || !memory->entry)
        return HANSE_ENOMEM;
    for (uint32_t level = 0; level < grid->d; n_prefixes *= grid->size[level++])
        for (uint32_t i = 0; i < n_prefixes * grid->n_blocks[level]; i++)
            memory->block[memory->n_blocks++] = (struct key_of_block){beam_grid_key(grid, &story->id, SIM_BEAM_LAYER, level, i),
                                                                      level, i};
    qsort(memory->block, n_blocks, sizeof *memory->block, compare);
    return 0;
}

void sim_beam_memory_end(struct sim_beam *story)
{
    if (!story->memory)
        return;
    free(story->memory->block);
    free(story->memory->entry);
    free(story->memory);
    story->memory = NULL;
}

/* Entries outlive their writers. */
static bool is_heard(const struct sim_beam_host *host, uint64_t now_us)
{
    return !host->is_gone || now_us < host->gone_us + DHT_DIRECTORY_TTL_S * SIM_BEAM_SECOND_US;
}

/* What is said under a block: the living beneath it are neighbours, and so are those of a host. */
static size_t collect(const struct sim_beam *story, uint64_t now_us, const struct key_of_block *at, struct dht_entry *entry)
{
    const struct beam_grid *grid = &story->grid;
    uint32_t first = beam_grid_first(grid, at->level, at->number);
    size_t n = 0, last_host = SIZE_MAX;
    struct beam_block block = {.level = at->level, .number = at->number};
    for (size_t i = sim_beam_find(story, first); i <= story->n_alive; i++) {
        struct beam_block own = {.number = UINT32_MAX};
        if (i < story->n_alive)
            own = beam_grid_block(grid, at->level, story->alive[i]);
        bool is_under = own.number == at->number;
        size_t host = is_under ? sim_beam_host_of(story, i) : SIZE_MAX;
        if (host != last_host && last_host != SIZE_MAX && is_heard(&story->host[last_host], now_us)) {
            entry[n] = (struct dht_entry){.writer = story->host[last_host].id, .addr = {.family = 4, .ip = {10}, .port = 4100}};
            entry[n].expiry_s = (uint32_t)(now_us / SIM_BEAM_SECOND_US) + DHT_DIRECTORY_TTL_S;
            entry[n].n_bytes = (uint16_t)sim_beam_say(story, block, entry[n].bytes);
            n++;
        }
        if (!is_under)
            break;
        block.map = host == last_host ? block.map | own.map : own.map;
        last_host = host;
    }
    return n;
}

static void end_read(void *arg, uint64_t now_us)
{
    struct reading *reading = arg;
    struct sim_beam *story = reading->story;
    const struct key_of_block *block = reading->block;
    size_t n = reading->is_nobody ? 0 : collect(story, now_us, block, story->memory->entry);
    reading->block = NULL;
    reading->done(reading->done_arg, now_us, story->memory->entry, n, reading->is_nobody ? 0 : DHT_K);
    world_touch(story->trainer.node);
}

static double draw_rtts(struct rng *rng)
{
    double share = (double)rng_unit(rng);
    size_t i = 1;
    while (done_by[i].share < share)
        i++;
    double part = (share - done_by[i - 1].share) / (done_by[i].share - done_by[i - 1].share);
    return done_by[i - 1].rtts + part * (done_by[i].rtts - done_by[i - 1].rtts);
}

void sim_beam_memory_read(void *arg, uint64_t now_us, const struct dht_id *key, beam_read_done *done, void *done_arg)
{
    struct sim_beam *story = arg;
    struct sim_beam_memory *memory = story->memory;
    struct key_of_block wanted = {.key = *key};
    struct reading *reading = memory->reading;
    while (reading->block)
        reading++;
    *reading = (struct reading){story, NULL, done, done_arg, rng_below(&story->rng, NOBODY_IN) == 0};
    reading->block = bsearch(&wanted, memory->block, memory->n_blocks, sizeof *memory->block, compare);
    double rtts = reading->is_nobody ? NOBODY_RTT : draw_rtts(&story->rng);
    world_at(story->world, now_us + (uint64_t)(rtts * 1000 * (double)story->run->dht.rtt_median_ms), end_read, reading);
}
