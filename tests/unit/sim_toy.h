/**
 * tests/unit/sim_toy.h - a machine that remembers what happened to it and does as the test says.
 */
#ifndef TESTS_SIM_TOY_H
#define TESTS_SIM_TOY_H

#include <stdlib.h>
#include <string.h>

#include "sim/world.h"
#include "unit.h"

#define TOY_SEEN_MAX 4096
#define TOY_BYTES_MAX 64

struct toy_seen {
    enum io_event_kind kind;
    uint64_t now_us;
    io_link link;
    int err;
    bool is_incoming;
    struct addr from;
    struct peer_id peer;
    size_t n_bytes;
    uint8_t bytes[TOY_BYTES_MAX]; /* the first few */
};

struct toy {
    struct world_node *node;
    const struct io *io;
    struct toy_seen seen[TOY_SEEN_MAX];
    size_t n;
    uint64_t deadline_us;
    bool stops_when_asked;
    void (*react)(struct toy *toy, uint64_t now_us, const struct io_event *event); /* may be NULL */
    struct rng rng;
    uint64_t count;
};

static inline void toy_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct toy *toy = self;
    ck_assert_uint_lt(toy->n, TOY_SEEN_MAX);
    struct toy_seen *seen = &toy->seen[toy->n++];
    *seen = (struct toy_seen){.kind = event->kind,
                              .now_us = now_us,
                              .link = event->link,
                              .err = event->err,
                              .is_incoming = event->is_incoming,
                              .from = event->from,
                              .peer = event->peer,
                              .n_bytes = event->n_bytes};
    if (event->n_bytes)
        memcpy(seen->bytes, event->bytes, event->n_bytes < TOY_BYTES_MAX ? event->n_bytes : TOY_BYTES_MAX);
    if (event->kind == IO_STOP && toy->stops_when_asked)
        toy->io->ops->stopped(toy->io->ctx, 0);
    if (toy->react)
        toy->react(toy, now_us, event);
}

static inline uint64_t toy_deadline(const void *self)
{
    return ((const struct toy *)self)->deadline_us;
}

/** Starts a toy on a node that does not run. */
static inline void toy_start(struct toy *toy)
{
    toy->io = world_io(toy->node);
    struct io_machine machine = {toy_event, toy_deadline, toy};
    world_start(toy->node, &machine);
}

static inline struct toy *toy_new(struct world *world)
{
    struct toy *toy = calloc(1, sizeof *toy);
    ck_assert_ptr_nonnull(toy);
    ck_assert_int_eq(world_add(world, &toy->node), 0);
    toy->deadline_us = IO_NEVER;
    toy_start(toy);
    return toy;
}

static inline struct world *toy_world(uint64_t seed)
{
    struct world_config config = {.seed = seed, .delay_min_us = 10000, .delay_mean_us = 30000, .connect_timeout_us = 5000000};
    struct world *world;
    ck_assert_int_eq(world_new(&config, &world), 0);
    return world;
}

/** The i-th event of a kind that the toy saw, or NULL. */
static inline const struct toy_seen *toy_find(const struct toy *toy, enum io_event_kind kind, size_t i)
{
    for (size_t j = 0; j < toy->n; j++)
        if (toy->seen[j].kind == kind && i-- == 0)
            return &toy->seen[j];
    return NULL;
}

static inline size_t toy_n(const struct toy *toy, enum io_event_kind kind)
{
    size_t n = 0;
    for (size_t j = 0; j < toy->n; j++)
        n += toy->seen[j].kind == kind;
    return n;
}

static inline void toy_send(struct toy *toy, io_link link, const void *bytes, size_t n, bool is_urgent)
{
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    uint8_t *at = buf_extend(&message, n);
    ck_assert(n == 0 || at);
    if (n)
        memset(at, 0, n);
    if (bytes)
        memcpy(at, bytes, n);
    toy->io->ops->link_send(toy->io->ctx, link, &message, is_urgent);
    ck_assert_uint_eq(message.n, 0);
    buf_fini(&message);
}

static inline io_link toy_open(struct toy *from, const struct toy *to)
{
    struct addr addr = world_addr(to->node);
    return from->io->ops->link_open(from->io->ctx, &addr, NULL);
}

static inline void toy_datagram(struct toy *from, const struct toy *to, const void *bytes, size_t n)
{
    struct addr addr = world_addr(to->node);
    from->io->ops->datagram(from->io->ctx, &addr, bytes, n);
}

/** Lets `us` pass. */
static inline void toy_pass(struct world *world, uint64_t us)
{
    uint64_t until = world_now(world) + us;
    world_run(world, until);
}

#endif
