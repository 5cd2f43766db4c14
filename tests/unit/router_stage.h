/**
 * tests/unit/router_stage.h - a router among made-up peers: whom it dials, what it says, what it hears.
 *
 * A peer is found by its port.  Time stands still until stage_wait().
 */
#ifndef TESTS_ROUTER_STAGE_H
#define TESTS_ROUTER_STAGE_H

#include <string.h>

#include "base/log.h"
#include "router/state.h"
#include "tests/unit/unit.h"

#define STAGE_PORTS 4096
#define STAGE_T0 ((uint64_t)1700000000 * 1000000)
#define MS 1000u

struct stage_peer {
    io_link link; /* the newest; 0 none */
    size_t n_opened, n_sent, n_closed;
};

static struct stage_peer stage_peer[STAGE_PORTS];
static io_link stage_links;
static uint64_t stage_now;
static struct router *stage_router;

static struct stage_peer *stage_of_link(io_link link)
{
    for (size_t p = 0; p < STAGE_PORTS; p++)
        if (stage_peer[p].link == link)
            return &stage_peer[p];
    ck_abort_msg("nobody has this link");
}

static io_link stage_open(void *ctx, const struct addr *to, const struct peer_id *expect)
{
    (void)ctx;
    (void)expect;
    ck_assert_uint_lt(to->port, STAGE_PORTS);
    stage_peer[to->port].n_opened++;
    return stage_peer[to->port].link = ++stage_links;
}

static void stage_send(void *ctx, io_link link, struct buf *message, bool is_urgent)
{
    (void)ctx;
    (void)is_urgent;
    stage_of_link(link)->n_sent++;
    buf_fini(message);
}

static void stage_close(void *ctx, io_link link)
{
    (void)ctx;
    stage_of_link(link)->n_closed++;
}

static const struct io_ops stage_ops = {.link_open = stage_open, .link_send = stage_send, .link_close = stage_close};
static const struct io stage_io = {&stage_ops, NULL};

static inline void stage_event(struct io_event event)
{
    router_event(stage_router, stage_now, &event);
}

static inline void stage_tick(void)
{
    stage_event((struct io_event){.kind = IO_TICK});
}

static inline void stage_wait(uint64_t us)
{
    stage_now += us;
    stage_tick();
}

static inline void stage_set_up(uint32_t n_moe, uint32_t E, uint64_t deadline_us, struct dht *dht, const struct io *io)
{
    struct router_config config = {
        .role = ROLE_TRAINER, .n_moe = n_moe, .E = E, .K = 1, .D = 4, .deadline_us = deadline_us, .bias_rate = 0.1f};
    memset(stage_peer, 0, sizeof stage_peer);
    stage_links = 0;
    log_set_level(LOG_ERROR + 1);
    ck_assert_int_eq(router_new(&config, io ? io : &stage_io, dht, stage_now, &stage_router), 0);
}

static inline void stage_up(uint16_t port)
{
    stage_event((struct io_event){.kind = IO_LINK_UP, .link = stage_peer[port].link});
}

static inline void stage_down(uint16_t port)
{
    stage_event((struct io_event){.kind = IO_LINK_DOWN, .link = stage_peer[port].link, .err = HANSE_ECLOSED});
}

static inline void stage_message(uint16_t port, struct buf *bytes)
{
    stage_event((struct io_event){.kind = IO_MESSAGE, .link = stage_peer[port].link, .bytes = bytes->bytes, .n_bytes = bytes->n});
    buf_fini(bytes);
}

static inline void stage_hello(uint16_t port, uint8_t run)
{
    struct message_hello m = {.role = ROLE_HOST, .version = MESSAGE_VERSION, .run = {{run}}};
    struct buf bytes;
    buf_init(&bytes, 1000);
    message_hello_encode(&m, &bytes);
    stage_message(port, &bytes);
}

static inline void stage_greet(uint16_t port)
{
    stage_up(port);
    stage_hello(port, 0);
}

#endif
