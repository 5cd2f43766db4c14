/* sim/world.c - the clock, the nodes and the trace. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/wire.h"
#include "sim/inside.h"

#define NODES_MAX ((size_t)1 << 24) /* numbers that fit 10.x.y.z */
#define STUCK_EVENTS 10000000u      /* so many at one moment: some machine wants ticks without end */
#define TRACE_HEAD_BYTES 40

/* -- Scheduling ------------------------------------------------------------------------------------- */

static void schedule(struct world *world, struct sim_event *event, uint64_t time_us, enum sim_kind kind)
{
    event->time_us = time_us;
    event->number = ++world->n_numbers;
    event->kind = kind;
    sim_heap_push(&world->queue, (struct sim_due){time_us, event->number, event});
}

struct sim_event *sim_schedule(struct world *world, uint64_t time_us, enum sim_kind kind)
{
    struct sim_event *event = sim_event_new(&world->pool, 0);
    schedule(world, event, time_us, kind);
    return event;
}

struct sim_event *sim_schedule_datagram(struct world *world, uint64_t time_us, const void *bytes, size_t n)
{
    struct sim_event *event = sim_event_new(&world->pool, n);
    memcpy(event->datagram, bytes, n);
    schedule(world, event, time_us, SIM_DATAGRAM);
    return event;
}

struct sim_event *sim_schedule_node(struct world_node *node, uint64_t time_us, enum sim_kind kind)
{
    struct sim_event *event = sim_schedule(node->world, time_us, kind);
    event->node = node;
    event->life = node->life;
    node->n_pending++;
    return event;
}

static void placed(void *what, size_t i)
{
    struct world_node *node = what;
    node->tick_i = i;
}

static void forget_tick(struct world_node *node)
{
    if (node->tick_i != SIM_NO_TICK)
        (void)sim_heap_take(&node->world->ticks, node->tick_i);
    node->tick_i = SIM_NO_TICK;
}

/* Has the node's tick come when its machine wants it. */
static void plan_tick(struct world_node *node, uint64_t earliest_us)
{
    struct world *world = node->world;
    uint64_t want_us = node->machine.deadline(node->machine.self);
    if (want_us == IO_NEVER) {
        forget_tick(node);
        return;
    }
    if (want_us < earliest_us)
        want_us = earliest_us;
    if (node->tick_i == SIM_NO_TICK)
        sim_heap_push(&world->ticks, (struct sim_due){want_us, ++world->n_numbers, node});
    else if (world->ticks.due[node->tick_i].time_us != want_us)
        sim_heap_change(&world->ticks, node->tick_i, want_us, ++world->n_numbers);
}

/* -- The trace -------------------------------------------------------------------------------------- */

/* trace' = SHA-256(trace || what was told): called when the buffer is full, since a hash for each event would cost more than
 * most events do. */
static struct hash trace_of(const struct world *world)
{
    struct hash_stream stream;
    if (world->n_told == 0)
        return world->trace;
    hash_begin(&stream);
    hash_add(&stream, world->trace.byte, sizeof world->trace.byte);
    hash_add(&stream, world->told, world->n_told);
    return hash_end(&stream);
}

static void tell(struct world *world, const void *bytes, size_t n)
{
    while (n > 0) {
        size_t part = SIM_TRACE_BYTES - world->n_told;
        part = n < part ? n : part;
        memcpy(world->told + world->n_told, bytes, part);
        world->n_told += part;
        bytes = (const uint8_t *)bytes + part;
        n -= part;
        if (world->n_told == SIM_TRACE_BYTES) {
            world->trace = trace_of(world);
            world->n_told = 0;
        }
    }
}

static uint8_t *put(uint8_t *out, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(v >> 8 * i);
    return out + n;
}

/* Told of an event: time | node | kind | err | link | n_bytes | bytes */
static void trace_add(struct world *world, uint64_t node, uint32_t kind, const struct io_event *event)
{
    static const struct io_event none;
    uint8_t head[TRACE_HEAD_BYTES], *at = head;
    event = event ? event : &none;
    at = put(at, world->now_us, 8);
    at = put(at, node, 8);
    at = put(at, kind, 4);
    at = put(at, (uint32_t)-event->err, 4);
    at = put(at, event->link, 8);
    at = put(at, event->n_bytes, 8);
    assert(at == head + sizeof head);
    tell(world, head, sizeof head);
    tell(world, event->bytes, event->n_bytes);
    world->n_events++;
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

static void deliver_tick(struct world_node *node)
{
    struct io_event io = {.kind = IO_TICK};
    forget_tick(node);
    sim_deliver(node, &io);
}

static void deliver_datagram(struct world_node *node, const struct sim_event *event)
{
    struct io_event io = {.kind = IO_DATAGRAM, .from = event->from, .bytes = event->datagram, .n_bytes = event->n_inline};
    sim_deliver(node, &io);
}

/* The work's own number marks what it writes until its result has come. */
static void run_work(struct world_node *node, const struct sim_event *event)
{
    if (node->files)
        sim_disk_begin(node->files, event->number);
    event->work->run(event->work);
    if (node->files)
        sim_disk_begin(node->files, 0);
    struct sim_event *done = sim_schedule_node(node, node->world->now_us + event->work->cost_us, SIM_WORK_DONE);
    done->work = event->work;
    done->number_cut = event->number;
}

static void finish_work(struct world_node *node, const struct sim_event *event)
{
    struct io_event io = {.kind = IO_WORK_DONE, .work = event->work};
    if (node->files)
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

/* A datagram whose sender is gone by now arrives all the same. */
static bool is_held_back(const struct sim_event *event)
{
    const struct world_node *from = event->kind == SIM_DATAGRAM ? sim_node_at(event->node->world, &event->from) : NULL;
    return from && sim_is_cut(event->node, from);
}

static void happen(struct world *world, struct sim_event *event)
{
    if (event->kind == SIM_CALL) {
        trace_add(world, UINT64_MAX, UINT32_MAX, NULL);
        event->run(event->arg, world->now_us);
    } else if (event->node) {
        if (!is_held_back(event))
            happen_to_node(event->node, event);
    } else {
        sim_network_event(world, event);
    }
}

static void free_node(struct world_node *node)
{
    sim_disk_free(node->files);
    key_free(node->key);
    free(node->cut);
    free(node);
}

void sim_let_go(struct world_node *node)
{
    struct world *world = node->world;
    if (!node->is_removed || node->is_free || node->n_pending > 0 || node->end)
        return;
    node->is_free = true;
    node->next_free = world->free;
    world->free = node;
}

static void free_removed(struct world *world)
{
    while (world->free) {
        struct world_node *node = world->free;
        world->free = node->next_free;
        world->node[node->number] = NULL;
        free_node(node);
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

static void next_event(struct world *world)
{
    struct sim_event *event = sim_heap_take(&world->queue, 0).what;
    move_clock(world, event->time_us);
    happen(world, event);
    if (event->node) {
        event->node->n_pending--;
        sim_let_go(event->node);
    }
    sim_event_free(&world->pool, event);
    free_removed(world);
}

/* True when a tick is what comes next. */
static bool is_tick_next(const struct world *world)
{
    const struct sim_due *event = world->queue.due, *tick = world->ticks.due;
    if (world->queue.n == 0 || world->ticks.n == 0)
        return world->ticks.n > 0;
    return tick->time_us != event->time_us ? tick->time_us < event->time_us : tick->number < event->number;
}

/* When the next thing happens; IO_NEVER when nothing is left. */
static uint64_t next_us(const struct world *world)
{
    if (world->queue.n + world->ticks.n == 0)
        return IO_NEVER;
    return is_tick_next(world) ? world->ticks.due->time_us : world->queue.due->time_us;
}

uint64_t world_run(struct world *world, uint64_t time_us)
{
    world->is_stopped = false;
    while (!world->is_stopped && world->queue.n + world->ticks.n > 0 && next_us(world) <= time_us)
        if (is_tick_next(world)) {
            move_clock(world, world->ticks.due->time_us);
            deliver_tick(world->ticks.due->what);
        } else {
            next_event(world);
        }
    if (!world->is_stopped && world->queue.n + world->ticks.n > 0)
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
    return trace_of(world);
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
    if (node->files)
        sim_disk_commit_all(node->files);
    node->is_running = false;
    forget_tick(node);
}

static const struct io_ops effects = {
    .datagram = sim_datagram,
    .link_open = sim_link_open,
    .link_send = sim_link_send,
    .link_queued = sim_link_queued,
    .link_keep = sim_link_keep,
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
    world->ticks.placed = placed;
    sim_path_init(world);
    *out = world;
    return 0;
}

void world_free(struct world *world)
{
    if (!world)
        return;
    sim_network_fini(world);
    while (world->queue.n > 0)
        sim_event_free(&world->pool, world->queue.due[--world->queue.n].what);
    sim_heap_fini(&world->queue);
    sim_heap_fini(&world->ticks);
    sim_pool_fini(&world->pool);
    for (size_t i = 0; i < world->n_nodes; i++)
        if (world->node[i])
            free_node(world->node[i]);
    free(world->node);
    free(world->slot);
    free(world);
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
    sim_address_draw(world, node);
    node->tick_i = SIM_NO_TICK;
    node->peer = key_peer_id(node->key);
    node->io = (struct io){&effects, node};
    world->node[world->n_nodes++] = node;
    *out = node;
    return 0;
}

const struct io *world_io(struct world_node *node)
{
    return &node->io;
}

/* Most nodes of a large world never ask for theirs. */
static struct sim_disk *files(struct world_node *node)
{
    if (!node->files) {
        node->files = sim_disk_new(&node->world->faults);
        node->disk = (struct disk){&sim_disk_ops, node->files};
    }
    return node->files;
}

const struct disk *world_disk(struct world_node *node)
{
    (void)files(node);
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
    node->tick_i = SIM_NO_TICK;
    node->result = 0;
    node->life++;
    sim_schedule_node(node, node->world->now_us, SIM_START);
}

void world_touch(struct world_node *node)
{
    if (node->is_running)
        plan_tick(node, node->world->now_us);
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
    if (node->files)
        sim_disk_crash(node->files);
    node->is_running = false;
    forget_tick(node);
}

void world_remove(struct world_node *node)
{
    world_crash(node);
    sim_address_forget(node->world, node);
    node->is_removed = true;
    sim_let_go(node);
}

void world_disk_fault_rate(struct world_node *node, double rate)
{
    sim_disk_set_fault_rate(files(node), rate);
}

bool world_disk_spoil(struct world_node *node, const char *name)
{
    return sim_disk_spoil(files(node), name);
}

/* -- Cuts ------------------------------------------------------------------------------------------- */

static void set_cut(struct world_node *node, size_t number, bool is_cut)
{
    if (!is_cut && number / 8 >= node->cut_bytes)
        return;
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
    if (a->world->is_parted && a->group != b->group)
        return true;
    return b->number / 8 < a->cut_bytes && (a->cut[b->number / 8] >> b->number % 8 & 1);
}

void world_cut(struct world_node *a, struct world_node *b, bool is_cut)
{
    bool was_cut = sim_is_cut(a, b);
    if (a == b)
        return;
    set_cut(a, b->number, is_cut);
    set_cut(b, a->number, is_cut);
    if (sim_is_cut(a, b) != was_cut)
        sim_network_cut(a, b, is_cut);
}

void world_set_group(struct world_node *node, uint32_t group)
{
    assert(!node->world->is_parted);
    node->group = group;
}

void world_part(struct world *world, bool is_parted)
{
    if (world->is_parted == is_parted)
        return;
    world->is_parted = is_parted;
    sim_network_part(world, is_parted);
}
