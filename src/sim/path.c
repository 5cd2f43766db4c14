/*
 * sim/path.c - where nodes are, and how far from each other.
 *
 * The round trip of a pair is lognormal, as measured ones are, and a function of the seed and the two nodes alone: a hash of them
 * picks one of SIM_RTT_SLOTS quantiles.  The table of these is made with integers, so that no mathematical library decides what
 * happens.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/draw.h"
#include "sim/inside.h"

#define NODE_PORT 4100

/* -- Delays ----------------------------------------------------------------------------------------- */

#define ONE ((int64_t)1 << 30)
#define LN2 744261118 /* of ONE */

/* e^x for |x| <= 20, both in parts of ONE: 2^k e^r with 0 <= r < ln 2. */
static int64_t exp_fixed(int64_t x)
{
    int64_t k = x >= 0 ? x / LN2 : -((-x + LN2 - 1) / LN2), r = x - k * LN2, term = ONE, sum = ONE;
    for (int i = 1; i < 14; i++) {
        term = term * r / ONE / i;
        sum += term;
    }
    return k >= 0 ? sum << k : sum >> -k;
}

#define STEPS 1024 /* of the normal variable, for each unit */
#define REACH (4 * STEPS)

/* Density at z / STEPS, times a constant. */
static int64_t density(int64_t z)
{
    return exp_fixed(-(z * z * (ONE / STEPS) / (2 * STEPS))) >> 10;
}

static void fill_quantiles(struct world *world)
{
    int64_t total = 0, sum = 0;
    size_t i = 0;
    for (int64_t z = -REACH; z <= REACH; z++)
        total += density(z);
    for (int64_t z = -REACH; z <= REACH; z++) {
        sum += density(z);
        int64_t factor = exp_fixed(z * world->config.rtt_sigma_percent * (ONE / STEPS) / 100);
        for (; i < SIM_RTT_SLOTS && sum * 2 * SIM_RTT_SLOTS >= total * (int64_t)(2 * i + 1); i++)
            world->rtt_us[i] = (uint32_t)((int64_t)world->config.rtt_median_us * (factor >> 10) >> 20);
    }
    assert(i == SIM_RTT_SLOTS);
}

void sim_path_init(struct world *world)
{
    struct rng rng;
    rng_init(&rng, world->config.seed, "sim-paths");
    world->path_key = rng_u64(&rng);
    if (world->config.rtt_median_us > 0)
        fill_quantiles(world);
}

/* The mixer of SplitMix64 (Steele, Lea and Flood, 2014). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t pair_delay(const struct world *world, uint64_t a, uint64_t b)
{
    uint64_t pair = a < b ? a << 32 | b : b << 32 | a;
    return world->rtt_us[mix(mix(pair) ^ world->path_key) % SIM_RTT_SLOTS] / 2;
}

uint64_t sim_path_delay(struct world *world, const struct world_node *from, const struct world_node *to)
{
    const struct world_config *config = &world->config;
    if (config->rtt_median_us > 0)
        return pair_delay(world, from->number, to ? to->number : UINT32_MAX);
    uint64_t spread = config->delay_mean_us > config->delay_min_us ? config->delay_mean_us - config->delay_min_us : 0;
    return config->delay_min_us + (spread ? (uint64_t)((double)spread * draw_exponential(&world->network)) : 0);
}

/* -- Addresses -------------------------------------------------------------------------------------- */

static struct addr local_address(size_t number)
{
    size_t host = number + 1;
    return (struct addr){.family = 4, .port = NODE_PORT, .ip = {10, (uint8_t)(host >> 16), (uint8_t)(host >> 8), (uint8_t)host}};
}

/* Where the node with this ip is noted, or the free slot for it. */
static uint32_t *slot_of(const struct world *world, const struct addr *addr)
{
    uint64_t ip = (uint64_t)addr->ip[0] << 24 | (uint64_t)addr->ip[1] << 16 | (uint64_t)addr->ip[2] << 8 | addr->ip[3];
    size_t i = mix(ip) % world->n_slots;
    while (world->slot[i] != 0 && memcmp(world->node[world->slot[i] - 1]->addr.ip, addr->ip, 4) != 0)
        i = (i + 1) % world->n_slots;
    return &world->slot[i];
}

static void grow_slots(struct world *world)
{
    if (2 * (world->n_addresses + 1) < world->n_slots)
        return;
    free(world->slot);
    world->n_slots = world->n_slots ? 2 * world->n_slots : 64;
    world->slot = sim_need(world->n_slots, sizeof *world->slot);
    for (size_t i = 0; i < world->n_nodes; i++)
        if (world->node[i] && !world->node[i]->is_removed)
            *slot_of(world, &world->node[i]->addr) = (uint32_t)i + 1;
}

/* 0/8, carriers' 100.64/10 and what is not for single hosts are nobody's public address. */
static bool is_public(const struct addr *addr)
{
    bool is_shared = addr->ip[0] == 100 && (addr->ip[1] & 0xc0) == 64;
    return addr->ip[0] > 0 && addr->ip[0] < 224 && !is_shared && !addr_is_local(addr);
}

void sim_address_draw(struct world *world, struct world_node *node)
{
    node->addr = local_address(node->number);
    if (!world->config.is_public)
        return;
    grow_slots(world);
    uint32_t *slot;
    do {
        rng_bytes(&world->ids, node->addr.ip, 4);
        slot = slot_of(world, &node->addr);
    } while (!is_public(&node->addr) || *slot != 0);
    *slot = (uint32_t)node->number + 1;
    world->n_addresses++;
}

/* Whoever stood behind the slot because it was taken moves up. */
void sim_address_forget(struct world *world, const struct world_node *node)
{
    if (!world->config.is_public)
        return;
    uint32_t *slot = slot_of(world, &node->addr);
    *slot = 0;
    world->n_addresses--;
    for (size_t i = (size_t)(slot - world->slot + 1) % world->n_slots; world->slot[i] != 0; i = (i + 1) % world->n_slots) {
        uint32_t number = world->slot[i];
        world->slot[i] = 0;
        *slot_of(world, &world->node[number - 1]->addr) = number;
    }
}

struct world_node *sim_node_at(const struct world *world, const struct addr *addr)
{
    if (addr->family != 4)
        return NULL;
    if (world->config.is_public) {
        uint32_t number = world->n_slots ? *slot_of(world, addr) : 0;
        return number ? world->node[number - 1] : NULL;
    }
    size_t host = (size_t)addr->ip[1] << 16 | (size_t)addr->ip[2] << 8 | addr->ip[3];
    struct world_node *node = addr->ip[0] == 10 && host >= 1 && host <= world->n_nodes ? world->node[host - 1] : NULL;
    return node && !node->is_removed ? node : NULL;
}
