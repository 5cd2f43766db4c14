/* router/router.c - the router's life and its events. */
#include "router/router.h"

#include <assert.h>
#include <stdlib.h>

#include "router/state.h"

static int make_rows(struct router *router)
{
    uint32_t per_layer = (router->config.E + MESSAGE_ROW_EXPERTS - 1) / MESSAGE_ROW_EXPERTS;
    router->n_rows = router->config.n_moe * per_layer;
    router->row_read = calloc(router->n_rows ? router->n_rows : 1, sizeof *router->row_read);
    if (!router->row_read)
        return HANSE_ENOMEM;
    for (uint32_t i = 0; i < router->n_rows; i++)
        router->row_read[i] = (struct row_read){router, i / per_layer, i % per_layer};
    return 0;
}

int router_new(const struct router_config *config, const struct io *io, struct dht *dht, uint64_t now_us, struct router **out)
{
    int err = HANSE_ENOMEM;
    assert(config->numerics == NUMERICS_F32 || config->kernels);
    assert(config->E >= 1 && config->E <= MESSAGE_GROUPS_MAX && config->K >= 1 && config->K <= config->E);
    struct router *router = calloc(1, sizeof *router);
    if (!router)
        goto fail;
    router->config = *config;
    router->io = io;
    router->dht = dht;
    router->now_us = now_us;
    router->sequence = now_us; /* no restart comes twice within a microsecond, and no exchange takes less than one */
    router->missing_us = ROUTER_REFRESH_US;
    buf_init(&router->scratch, IO_MESSAGE_MAX);
    size_t n = (size_t)config->n_moe * config->E;
    router->peer = calloc(ROUTER_PEERS_MAX, sizeof *router->peer);
    router->target = calloc(n + 1, sizeof *router->target);
    router->allowed = calloc(n + 1, sizeof *router->allowed);
    router->bias = calloc(n + 1, sizeof *router->bias);
    router->group = calloc(MESSAGE_GROUPS_MAX, sizeof *router->group);
    if (!router->peer || !router->target || !router->allowed || !router->bias || !router->group)
        goto fail;
    for (size_t i = 0; i < n; i++)
        router->target[i].peer_i = -1;
    err = make_rows(router);
    if (err)
        goto fail;
    *out = router;
    return 0;
fail:
    router_free(router);
    return err;
}

void router_free(struct router *router)
{
    if (!router)
        return;
    buf_fini(&router->scratch);
    free(router->peer);
    free(router->target);
    free(router->allowed);
    free(router->bias);
    free(router->group);
    free(router->row_read);
    free(router);
}

static void tick(struct router *router)
{
    router_directory_tick(router);
    router_peer_tick(router);
    router_directory_choose(router);
    router_exchange_tick(router);
}

static void message(struct router *router, const struct io_event *event)
{
    int peer_i = router_peer_of_link(router, event->link);
    if (peer_i < 0)
        return;
    router->peer[peer_i].heard_us = router->now_us;
    switch (message_kind(event->bytes, event->n_bytes)) {
    case MESSAGE_HELLO:
        router_peer_greet(router, peer_i, event->bytes, event->n_bytes);
        break;
    case MESSAGE_REFUSE:
        router_peer_refuse(router, peer_i, event->bytes, event->n_bytes);
        break;
    case MESSAGE_FORWARD_REPLY:
    case MESSAGE_BACKWARD_REPLY:
        router_exchange_reply(router, peer_i, event->bytes, event->n_bytes);
        break;
    default:
        router_peer_leave(router, peer_i);
        break;
    }
}

void router_event(struct router *router, uint64_t now_us, const struct io_event *event)
{
    router->now_us = now_us > router->now_us ? now_us : router->now_us;
    switch (event->kind) {
    case IO_LINK_UP:
        router_peer_up(router, event);
        break;
    case IO_LINK_DOWN:
        router_peer_down(router, event);
        break;
    case IO_MESSAGE:
        message(router, event);
        break;
    case IO_TICK:
        tick(router);
        break;
    default:
        break;
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t router_deadline(const struct router *router)
{
    uint64_t next = earlier(router_peer_deadline(router), router_exchange_deadline(router));
    if (router->dht && router->n_reads_open == 0)
        next = earlier(next, router->refresh_us);
    return next;
}

void router_add_local(struct router *router, const struct peer_id *id, void (*send)(void *arg, struct buf *message), void *arg)
{
    int i = router_peer_add(router, id);
    router->peer[i].state = PEER_LOCAL;
    router->local_send = send;
    router->local_arg = arg;
    for (size_t t = 0; t < (size_t)router->config.n_moe * router->config.E; t++) {
        struct target *target = &router->target[t];
        target->claim[0] = (struct claim){.peer_i = (uint32_t)i, .expiry_us = IO_NEVER};
        target->n_claims = 1;
        router->peer[i].n_claims++;
    }
    router_directory_choose(router);
}

void router_deliver(struct router *router, uint64_t now_us, const uint8_t *bytes, size_t n)
{
    router->now_us = now_us > router->now_us ? now_us : router->now_us;
    for (size_t i = 0; i < router->n_peers; i++)
        if (router->peer[i].state == PEER_LOCAL)
            router_exchange_reply(router, (int)i, bytes, n);
}

const uint8_t *router_allowed(const struct router *router, uint32_t moe)
{
    return &router->allowed[(size_t)moe * router->config.E];
}

const float *router_bias(const struct router *router, uint32_t moe)
{
    return &router->bias[(size_t)moe * router->config.E];
}

static bool is_linked(const struct peer *peer)
{
    return peer->state == PEER_READY || peer->state == PEER_LOCAL;
}

struct router_stats router_stats(const struct router *router)
{
    struct router_stats stats = router->stats;
    stats.n_experts = (size_t)router->config.n_moe * router->config.E;
    stats.n_live = router->n_live;
    for (size_t i = 0; i < router->n_peers; i++)
        stats.n_hosts += is_linked(&router->peer[i]);
    stats.n_dht_nodes = router->dht ? dht_n_good(router->dht) : 0;
    return stats;
}

size_t router_n_unlinked(const struct router *router)
{
    size_t n = 0;
    for (size_t i = 0; i < (size_t)router->config.n_moe * router->config.E; i++) {
        int32_t peer_i = router->target[i].peer_i;
        n += peer_i >= 0 && !is_linked(&router->peer[peer_i]);
    }
    return n;
}

const char *router_refusal(const struct router *router)
{
    return router->refusal;
}
