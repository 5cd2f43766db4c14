/* sim/world.c - the clock, the nodes and the trace. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/wire.h"
#include "sim/inside.h"

#define NODES_MAX ((size_t)1 << 24) /* numbers that fit 10.x.y.z */
#define NODE_PORT 4100
#define STUCK_EVENTS 10000000u /* so many at one moment: some machine wants ticks without end */
#define TRACE_HEAD_BYTES 96

/* -- Scheduling ------------------------------------------------------------------------------------- */

struct sim_event *sim_schedule(struct world *world, uint64_t time_us, enum sim_kind kind)
{
    struct sim_event *event = sim_need(1, sizeof *event);
    event->time_us = time_us;
    event->number = ++world->n_numbers;
    event->kind = kind;
    sim_queue_push(&world->queue, event);
    return event;
}

struct sim_event *sim_schedule_node(struct world_node *node, uint64_t time_us, enum sim_kind kind)
{
    struct sim_event *event = sim_schedule(node->world, time_us, kind);
    event->node = node;
    event->life = node->life;
    return event;
}

/* Keeps one tick in the queue, early enough.  One that turns out too early is put off when it comes. */
static void plan_tick(struct world_node *node, uint64_t earliest_us)
{
    uint64_t want_us = node->machine.deadline(node->machine.self);
    if (want_us == IO_NEVER)
        return;
    if (want_us < earliest_us)
        want_us = earliest_us;
    if (node->is_tick_set && node->tick_us <= want_us)
        return;
    struct sim_event *event = sim_schedule_node(node, want_us, SIM_TICK);
    node->is_tick_set = true;
    node->tick_us = want_us;
    node->tick_number = event->number;
}

/* -- The trace -------------------------------------------------------------------------------------- */

/* trace' = SHA-256(trace || time | node | kind | link | err | peer | n_bytes | bytes) */
static void trace_add(struct world *world, uint64_t node, uint32_t kind, const struct io_event *event)
{
    struct buf head;
    struct hash_stream stream;
    uint8_t bytes[TRACE_HEAD_BYTES];
    buf_init(&head, sizeof bytes);
    buf_append(&head, world->trace.byte, sizeof world->trace.byte);
    wire_put_u64(&head, world->now_us);
    wire_put_u64(&head, node);
    wire_put_u32(&head, kind);
    if (event) {
        wire_put_u32(&head, (uint32_t)-event->err);
        wire_put_u64(&head, event->link);
        wire_put_u64(&head, event->n_bytes);
    }
    assert(head.err == 0);
    hash_begin(&stream);
    hash_add(&stream, head.bytes, head.n);
    if (event && event->n_bytes)
        hash_add(&stream, event->bytes, event->n_bytes);
    world->trace = hash_end(&stream);
    world->n_events++;
    buf_fini(&head);
}

/* -- Delivery --------------------------------------------------------------------------------------- */

void sim_deliver(struct world_node *node, const struct io_event *event)
{
    struct world *world = node->world;
    if (!node->is_running)
        return;
    trace_add(world, node->number, (uint32_t)event->kind, event);
    node->machine.event(node->machine.self, world->now_us, event);
    if (node->is_running)
        plan_tick(node, event->kind == IO_TICK ? world->now_us + 1 : world->now_us);
}

static void deliver_tick(struct world_node *node, const struct sim_event *event)
{
    struct io_event io = {.kind = IO_TICK};
    if (!node->is_tick_set || node->tick_number != event->number)
        return; /* an earlier one took its place */
    node->is_tick_set = false;
    if (node->machine.deadline(node->machine.self) <= node->world->now_us)
        sim_deliver(node, &io);
    else
        plan_tick(node, node->world->now_us);
}

static void deliver_datagram(struct world_node *node, const struct sim_event *event)
{
    struct io_event io = {.kind = IO_DATAGRAM, .from = event->from, .bytes = event->bytes.bytes, .n_bytes = event->bytes.n};
    sim_deliver(node, &io);
}

/* The work's own number marks what it writes until its result has come. */
static void run_work(struct world_node *node, const struct sim_event *event)
{
    sim_disk_begin(node->files, event->number);
    event->work->run(event->work);
    sim_disk_begin(node->files, 0);
    struct sim_event *done = sim_schedule_node(node, node->world->now_us + event->work->cost_us, SIM_WORK_DONE);
    done->work = event->work;
    done->number_cut = event->number;
}

static void finish_work(struct world_node *node, const struct sim_event *event)
{
    struct io_event io = {.kind = IO_WORK_DONE, .work = event->work};
    sim_disk_commit(node->files, event->number_cut);
    sim_deliver(node, &io);
}

static void happen_to_node(struct world_node *node, const struct sim_event *event)
{
    struct io_event start = {.kind = IO_START}, stop = {.kind = IO_STOP};
    if (!node->is_running || (event->life != node->life && event->kind != SIM_DATAGRAM))
        return;
    switch (event->kind) {
    case SIM_START:
        sim_deliver(node, &start);
        break;
    case SIM_STOP:
        sim_deliver(node, &stop);
        break;
    case SIM_TICK:
        deliver_tick(node, event);
        break;
    case SIM_DATAGRAM:
        deliver_datagram(node, event);
        break;
    case SIM_WORK_RUN:
        run_work(node, event);
        break;
    case SIM_WORK_DONE:
        finish_work(node, event);
        break;
    default:
        assert(!"an event of a node");
    }
}

static void happen(struct world *world, struct sim_event *event)
{
    if (event->kind == SIM_CALL) {
        trace_add(world, UINT64_MAX, UINT32_MAX, NULL);
        event->run(event->arg, world->now_us);
    } else if (event->node) {
        if (event->kind != SIM_DATAGRAM || !sim_is_cut(event->node, sim_node_at(world, &event->from)))
            happen_to_node(event->node, event);
    } else {
        sim_network_event(world, event);
    }
}

static void move_clock(struct world *world, uint64_t time_us)
{
    world->n_at_once = time_us == world->now_us ? world->n_at_once + 1 : 0;
    world->now_us = time_us;
    if (world->n_at_once > STUCK_EVENTS) {
        log_error("simulation: stuck at %llu us; some machine answers every event at once and without end",
                  (unsigned long long)(time_us - SIM_EPOCH_US));
        abort();
    }
}

uint64_t world_run(struct world *world, uint64_t time_us)
{
    const struct sim_event *first;
    world->is_stopped = false;
    while (!world->is_stopped && (first = sim_queue_first(&world->queue)) && first->time_us <= time_us) {
        struct sim_event *event = sim_queue_pop(&world->queue);
        move_clock(world, event->time_us);
        happen(world, event);
        sim_event_free(event);
    }
    if (!world->is_stopped && sim_queue_first(&world->queue))
        world->now_us = time_us;
    return world->now_us;
}

void world_stop(struct world *world)
{
    world->is_stopped = true;
}

uint64_t world_now(const struct world *world)
{
    return world->now_us;
}

struct hash world_trace(const struct world *world)
{
    return world->trace;
}

uint64_t world_n_events(const struct world *world)
{
    return world->n_events;
}

void world_at(struct world *world, uint64_t time_us, void (*run)(void *arg, uint64_t now_us), void *arg)
{
    assert(time_us >= world->now_us);
    struct sim_event *event = sim_schedule(world, time_us, SIM_CALL);
    event->run = run;
    event->arg = arg;
}

/* -- The effects that are not the network's --------------------------------------------------------- */

static void effect_work(void *ctx, struct io_work *work)
{
    struct world_node *node = ctx;
    sim_schedule_node(node, node->world->now_us, SIM_WORK_RUN)->work = work;
}

static void effect_stopped(void *ctx, int err)
{
    struct world_node *node = ctx;
    node->result = err;
    sim_network_leave(node, true);
    sim_disk_commit_all(node->files);
    node->is_running = false;
}

static const struct io_ops effects = {
    .datagram = sim_datagram,
    .link_open = sim_link_open,
    .link_send = sim_link_send,
    .link_queued = sim_link_queued,
    .link_close = sim_link_close,
    .work = effect_work,
    .stopped = effect_stopped,
};

/* -- Worlds and nodes ------------------------------------------------------------------------------- */

int world_new(const struct world_config *config, struct world **out)
{
    struct world *world = calloc(1, sizeof *world);
    if (!world)
        return HANSE_ENOMEM;
    world->config = *config;
    world->now_us = SIM_EPOCH_US;
    rng_init(&world->network, config->seed, "sim-network");
    rng_init(&world->faults, config->seed, "sim-faults");
    rng_init(&world->ids, config->seed, "sim-ids");
    *out = world;
    return 0;
}

static void free_node(struct world_node *node)
{
    sim_disk_free(node->files);
    key_free(node->key);
    free(node->cut);
    free(node);
}

void world_free(struct world *world)
{
    if (!world)
        return;
    sim_network_fini(world);
    sim_queue_fini(&world->queue);
    for (size_t i = 0; i < world->n_nodes; i++)
        free_node(world->node[i]);
    free(world->node);
    free(world);
}

static struct addr address_of(size_t number)
{
    struct addr addr = {.family = 4, .port = NODE_PORT};
    size_t host = number + 1;
    addr.ip[0] = 10;
    addr.ip[1] = (uint8_t)(host >> 16);
    addr.ip[2] = (uint8_t)(host >> 8);
    addr.ip[3] = (uint8_t)host;
    return addr;
}

struct world_node *sim_node_at(const struct world *world, const struct addr *addr)
{
    if (addr->family != 4 || addr->ip[0] != 10)
        return NULL;
    size_t host = (size_t)addr->ip[1] << 16 | (size_t)addr->ip[2] << 8 | addr->ip[3];
    return host >= 1 && host <= world->n_nodes ? world->node[host - 1] : NULL;
}

int world_add(struct world *world, struct world_node **out)
{
    uint8_t seed[KEY_SEED_BYTES];
    if (world->n_nodes + 1 >= NODES_MAX)
        return HANSE_EFULL;
    struct world_node *node = sim_need(1, sizeof *node);
    rng_bytes(&world->ids, seed, sizeof seed);
    int err = key_new(seed, &node->key);
    if (err) {
        free_node(node);
        return err;
    }
    if (world->n_nodes == world->node_capacity) {
        world->node_capacity = world->node_capacity ? 2 * world->node_capacity : 16;
        world->node = sim_grow(world->node, world->node_capacity, sizeof(struct world_node *));
    }
    node->world = world;
    node->number = world->n_nodes;
    node->addr = address_of(node->number);
    node->peer = key_peer_id(node->key);
    node->io = (struct io){&effects, node};
    node->files = sim_disk_new(&world->faults);
    node->disk = (struct disk){&sim_disk_ops, node->files};
    world->node[world->n_nodes++] = node;
    *out = node;
    return 0;
}

const struct io *world_io(struct world_node *node)
{
    return &node->io;
}

const struct disk *world_disk(struct world_node *node)
{
    return &node->disk;
}

const struct key *world_key(const struct world_node *node)
{
    return node->key;
}

struct addr world_addr(const struct world_node *node)
{
    return node->addr;
}

uint64_t world_seed(struct world_node *node)
{
    return rng_u64(&node->world->ids);
}

bool world_is_running(const struct world_node *node)
{
    return node->is_running;
}

int world_result(const struct world_node *node)
{
    return node->result;
}

void world_start(struct world_node *node, const struct io_machine *machine)
{
    assert(!node->is_running);
    node->machine = *machine;
    node->is_running = true;
    node->is_tick_set = false;
    node->result = 0;
    node->life++;
    sim_schedule_node(node, node->world->now_us, SIM_START);
}

void world_ask_stop(struct world_node *node)
{
    if (node->is_running)
        sim_schedule_node(node, node->world->now_us, SIM_STOP);
}

void world_crash(struct world_node *node)
{
    if (!node->is_running)
        return;
    sim_network_leave(node, false);
    sim_disk_crash(node->files);
    node->is_running = false;
}

void world_disk_fault_rate(struct world_node *node, double rate)
{
    sim_disk_set_fault_rate(node->files, rate);
}

bool world_disk_spoil(struct world_node *node, const char *name)
{
    return sim_disk_spoil(node->files, name);
}

/* -- Cuts ------------------------------------------------------------------------------------------- */

static void set_cut(struct world_node *node, size_t number, bool is_cut)
{
    if (number / 8 >= node->cut_bytes) {
        size_t n = number / 8 + 1;
        node->cut = sim_grow(node->cut, n, 1);
        memset(node->cut + node->cut_bytes, 0, n - node->cut_bytes);
        node->cut_bytes = n;
    }
    uint8_t bit = (uint8_t)(1u << number % 8);
    node->cut[number / 8] = (uint8_t)(is_cut ? node->cut[number / 8] | bit : node->cut[number / 8] & ~bit);
}

bool sim_is_cut(const struct world_node *a, const struct world_node *b)
{
    return b->number / 8 < a->cut_bytes && (a->cut[b->number / 8] >> b->number % 8 & 1);
}

void world_cut(struct world_node *a, struct world_node *b, bool is_cut)
{
    if (a == b || sim_is_cut(a, b) == is_cut)
        return;
    set_cut(a, b->number, is_cut);
    set_cut(b, a->number, is_cut);
    sim_network_cut(a, b, is_cut);
}
