/* router/peer.c - one link to each host that has experts: dialled early, greeted, dialled again with growing pauses. */
#include <string.h>

#include "base/log.h"
#include "router/state.h"

#define BACKOFF_FIRST_US 200000u
#define BACKOFF_MAX_US 5000000u
#define REFUSED_US 30000000u /* a host that refused us is asked again after this */
#define SUSPECT_FIRST_US 1000000u
#define SUSPECT_MAX_US 30000000u

int router_peer_find(struct router *router, const struct peer_id *id)
{
    for (size_t i = 0; i < router->n_peers; i++)
        if (peer_id_equal(&router->peer[i].id, id))
            return (int)i;
    return -1;
}

/* A place for a newcomer: a free one, or that of a peer that claims nothing and has no link. */
static int free_place(struct router *router)
{
    if (router->n_peers < ROUTER_PEERS_MAX)
        return (int)router->n_peers++;
    for (size_t i = 0; i < router->n_peers; i++)
        if (router->peer[i].n_claims == 0 && router->peer[i].state == PEER_IDLE)
            return (int)i;
    return -1;
}

int router_peer_add(struct router *router, const struct peer_id *id)
{
    int i = router_peer_find(router, id);
    if (i >= 0)
        return i;
    i = free_place(router);
    if (i < 0)
        return -1;
    router->peer[i] = (struct peer){.id = *id, .backoff_us = BACKOFF_FIRST_US, .suspect_us = SUSPECT_FIRST_US};
    return i;
}

int router_peer_of_link(const struct router *router, io_link link)
{
    for (size_t i = 0; i < router->n_peers; i++)
        if (router->peer[i].link == link && link != 0)
            return (int)i;
    return -1;
}

bool router_peer_can_be_asked(const struct router *router, const struct peer *peer)
{
    if (peer->state == PEER_LOCAL)
        return true;
    /* In sync mode a lost host is waited for, so its experts stay in the gate's choice. */
    if (router->config.deadline_us == 0)
        return true;
    return peer->state == PEER_READY && peer->suspect_until_us <= router->now_us;
}

static void dial(struct router *router, struct peer *peer)
{
    peer->state = PEER_DIALING;
    peer->link = router->io->ops->link_open(router->io->ctx, &peer->addr, &peer->id);
}

void router_peer_dial_due(struct router *router)
{
    for (size_t i = 0; i < router->n_peers; i++) {
        struct peer *peer = &router->peer[i];
        if (peer->state == PEER_IDLE && peer->n_claims > 0 && peer->addr.family && peer->retry_us <= router->now_us)
            dial(router, peer);
    }
}

uint64_t router_peer_deadline(const struct router *router)
{
    uint64_t next = IO_NEVER;
    for (size_t i = 0; i < router->n_peers; i++) {
        const struct peer *peer = &router->peer[i];
        if (peer->state == PEER_IDLE && peer->n_claims > 0 && peer->addr.family && peer->retry_us < next)
            next = peer->retry_us;
        if (peer->suspect_until_us > router->now_us && peer->suspect_until_us < next)
            next = peer->suspect_until_us;
    }
    return next;
}

void router_peer_up(struct router *router, const struct io_event *event)
{
    int i = router_peer_of_link(router, event->link);
    if (i < 0)
        return;
    struct message_hello hello = {.role = router->config.role, .version = MESSAGE_VERSION, .run = router->config.run};
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    message_hello_encode(&hello, &message);
    router->peer[i].state = PEER_HELLO;
    router->io->ops->link_send(router->io->ctx, event->link, &message, true);
    buf_fini(&message);
}

/* The next dial waits twice as long as the last; a link that had been of use starts over. */
void router_peer_down(struct router *router, const struct io_event *event)
{
    int i = router_peer_of_link(router, event->link);
    if (i < 0)
        return;
    struct peer *peer = &router->peer[i];
    char name[9];
    if (peer->state == PEER_READY)
        log_info("host %s: link lost (%s)", peer_id_short(&peer->id, name), hanse_strerror(event->err));
    peer->state = PEER_IDLE;
    peer->link = 0;
    if (peer->retry_us <= router->now_us)
        peer->retry_us = router->now_us + peer->backoff_us;
    peer->backoff_us = peer->backoff_us * 2 < BACKOFF_MAX_US ? peer->backoff_us * 2 : BACKOFF_MAX_US;
    router_exchange_peer_lost(router, i);
    router_directory_choose(router);
}

void router_peer_greet(struct router *router, int peer_i, const uint8_t *bytes, size_t n)
{
    struct peer *peer = &router->peer[peer_i];
    struct message_hello hello;
    char name[9];
    if (peer->state != PEER_HELLO || message_hello_decode(&hello, bytes, n) != 0 || hello.version != MESSAGE_VERSION ||
        !hash_equal(&hello.run, &router->config.run)) {
        log_warn("host %s: its greeting does not fit this run; leaving it", peer_id_short(&peer->id, name));
        peer->retry_us = router->now_us + REFUSED_US;
        router->io->ops->link_close(router->io->ctx, peer->link);
        return;
    }
    peer->state = PEER_READY;
    peer->backoff_us = BACKOFF_FIRST_US;
    peer->suspect_until_us = 0;
    router_exchange_peer_ready(router, peer_i);
    router_directory_choose(router);
}

void router_peer_refuse(struct router *router, int peer_i, const uint8_t *bytes, size_t n)
{
    struct peer *peer = &router->peer[peer_i];
    struct message_refuse refuse;
    char name[9];
    if (message_refuse_decode(&refuse, bytes, n) != 0)
        return;
    log_warn("host %s refused: %s", peer_id_short(&peer->id, name), refuse.text);
    memcpy(router->refusal, refuse.text, sizeof router->refusal);
    peer->retry_us = router->now_us + REFUSED_US;
}

void router_peer_answered(struct router *router, struct peer *peer, uint64_t rtt_us)
{
    peer->rtt_us = peer->rtt_us ? (7 * peer->rtt_us + rtt_us) / 8 : rtt_us;
    peer->suspect_us = SUSPECT_FIRST_US;
    uint64_t mean = router->stats.rtt_us;
    router->stats.rtt_us = mean ? (31 * mean + rtt_us) / 32 : rtt_us;
}

/* A silent host must not cost every microbatch a deadline: it is left alone for a pause that doubles each time. */
void router_peer_missed(struct router *router, struct peer *peer)
{
    char name[9];
    if (peer->suspect_until_us > router->now_us || peer->state != PEER_READY)
        return;
    peer->suspect_until_us = router->now_us + peer->suspect_us;
    log_info("host %s: did not answer in time; left out for %.0f s", peer_id_short(&peer->id, name),
             (double)peer->suspect_us / 1e6);
    peer->suspect_us = peer->suspect_us * 2 < SUSPECT_MAX_US ? peer->suspect_us * 2 : SUSPECT_MAX_US;
    router_directory_choose(router);
}

void router_peer_send(struct router *router, struct peer *peer, struct buf *message, bool is_urgent)
{
    if (peer->state == PEER_LOCAL)
        router->local_send(router->local_arg, message);
    else if (peer->state == PEER_READY)
        router->io->ops->link_send(router->io->ctx, peer->link, message, is_urgent);
}
