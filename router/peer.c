/* router/peer.c - one link to each host that has experts: dialled early, greeted, dialled again with growing pauses. */
#include <string.h>

#include "base/log.h"
#include "router/state.h"

#define BACKOFF_FIRST_US 200000u
#define BACKOFF_MAX_US 5000000u
#define BACKOFF_STRANGER_US 60000000u /* for an address where nobody ever greeted us: anyone may write any into the directory */
#define DIALS_MAX 64                  /* at once */
#define GREETING_US 10000000u         /* for a hello, once there is a link */
#define NEWS_US 1000000u              /* between dials, however often a peer speaks in the directory */
#define REFUSED_US 30000000u          /* a host that refused us is asked again after this */
#define SUSPECT_FIRST_US 1000000u
#define SUSPECT_MAX_US 30000000u
#define USELESS_MAX 8 /* replies in a row of which nothing could be used */

int router_peer_find(struct router *router, const struct peer_id *id)
{
    for (size_t i = 0; i < router->n_peers; i++)
        if (peer_id_equal(&router->peer[i].id, id))
            return (int)i;
    return -1;
}

/* How easily a peer is missed: one that claims nothing, then one that was never there when dialled. */
static uint64_t dispensable(const struct peer *peer)
{
    if (peer->state == PEER_LOCAL)
        return 0;
    if (peer->n_claims == 0)
        return peer->state == PEER_IDLE ? UINT64_MAX : UINT64_MAX - 1;
    if (peer->state == PEER_IDLE && !peer->has_greeted && peer->backoff_us > BACKOFF_FIRST_US)
        return peer->backoff_us;
    return 0;
}

/* A place for a newcomer: a free one, or that of the peer that is missed least. */
static int free_place(struct router *router)
{
    if (router->n_peers < ROUTER_PEERS_MAX)
        return (int)router->n_peers++;
    size_t best = 0;
    for (size_t i = 1; i < router->n_peers; i++)
        if (dispensable(&router->peer[i]) > dispensable(&router->peer[best]))
            best = i;
    if (dispensable(&router->peer[best]) == 0)
        return -1;
    router_directory_forget(router, (int)best);
    if (router->peer[best].link)
        router_peer_leave(router, (int)best);
    return (int)best;
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

static void enter(const struct router *router, struct peer *peer, enum peer_state state)
{
    peer->state = state;
    peer->since_us = router->now_us;
}

static bool is_wanted(const struct peer *peer)
{
    return peer->state == PEER_IDLE && peer->n_claims > 0 && peer->addr.family;
}

static size_t n_dialling(const struct router *router)
{
    size_t n = 0;
    for (size_t i = 0; i < router->n_peers; i++)
        n += router->peer[i].state == PEER_DIALING;
    return n;
}

/* Its link is gone: what was asked of it is lost, and its experts are somebody else's to answer for. */
static void rest(struct router *router, int peer_i)
{
    enter(router, &router->peer[peer_i], PEER_IDLE);
    router->peer[peer_i].link = 0;
    router_exchange_peer_lost(router, peer_i);
    router_directory_choose(router);
}

/* The next dial waits twice as long as the last, until the peer has been of use. */
static void back_off(const struct router *router, struct peer *peer)
{
    uint64_t max_us = peer->has_greeted ? BACKOFF_MAX_US : BACKOFF_STRANGER_US;
    if (peer->retry_us <= router->now_us)
        peer->retry_us = router->now_us + peer->backoff_us;
    peer->backoff_us = peer->backoff_us * 2 < max_us ? peer->backoff_us * 2 : max_us;
}

static void hang_up(struct router *router, int peer_i)
{
    router->peer[peer_i].is_given_up = false;
    router->io->ops->link_close(router->io->ctx, router->peer[peer_i].link);
    back_off(router, &router->peer[peer_i]);
    rest(router, peer_i); /* events of this link mean nothing to us any more */
}

void router_peer_leave(struct router *router, int peer_i)
{
    router->peer[peer_i].retry_us = router->now_us + REFUSED_US;
    router->peer[peer_i].is_refused = true;
    hang_up(router, peer_i);
}

static void dial(struct router *router, struct peer *peer)
{
    enter(router, peer, PEER_DIALING);
    peer->dialled_us = router->now_us;
    peer->is_refused = false;
    peer->link = router->io->ops->link_open(router->io->ctx, &peer->addr, &peer->id);
}

void router_peer_tick(struct router *router)
{
    size_t n = n_dialling(router);
    for (size_t i = 0; i < router->n_peers; i++) {
        struct peer *peer = &router->peer[i];
        bool is_silent = peer->state == PEER_HELLO && peer->since_us + GREETING_US <= router->now_us;
        if (is_silent || (peer->is_given_up && peer->state == PEER_READY))
            hang_up(router, (int)i);
        if (n < DIALS_MAX && is_wanted(peer) && peer->retry_us <= router->now_us) {
            dial(router, peer);
            n++;
        }
    }
}

void router_peer_is_alive(struct router *router, int peer_i)
{
    struct peer *peer = &router->peer[peer_i];
    uint64_t soon = peer->dialled_us + NEWS_US > router->now_us ? peer->dialled_us + NEWS_US : router->now_us;
    if (peer->is_refused)
        return;
    if (peer->state == PEER_DIALING && soon <= router->now_us)
        hang_up(router, peer_i); /* a dial from before it came back */
    if (peer->state == PEER_IDLE && peer->retry_us > soon)
        peer->retry_us = soon;
}

uint64_t router_peer_deadline(const struct router *router)
{
    uint64_t next = IO_NEVER;
    bool has_room = n_dialling(router) < DIALS_MAX;
    for (size_t i = 0; i < router->n_peers; i++) {
        const struct peer *peer = &router->peer[i];
        if (has_room && is_wanted(peer) && peer->retry_us < next)
            next = peer->retry_us;
        if (peer->state == PEER_HELLO && peer->since_us + GREETING_US < next)
            next = peer->since_us + GREETING_US;
        if (peer->is_given_up && peer->state == PEER_READY)
            next = router->now_us;
        if (peer->suspect_until_us > router->now_us && peer->suspect_until_us < next)
            next = peer->suspect_until_us;
    }
    return next;
}

/* A link takes a round trip for TCP and one for TLS; whatever else took time, the shortest dial had least of. */
static void measure(const struct router *router, struct peer *peer)
{
    uint64_t rtt_us = (router->now_us - peer->dialled_us) / 2;
    if (rtt_us > 0 && (peer->distance_us == 0 || rtt_us < peer->distance_us))
        peer->distance_us = rtt_us;
}

void router_peer_up(struct router *router, const struct io_event *event)
{
    int i = router_peer_of_link(router, event->link);
    if (i < 0)
        return;
    struct message_hello hello = {.role = router->config.role, .version = MESSAGE_VERSION, .run = router->config.run};
    struct peer *peer = &router->peer[i];
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    message_hello_encode(&hello, &message);
    measure(router, peer);
    enter(router, peer, PEER_HELLO);
    router->io->ops->link_send(router->io->ctx, event->link, &message, true);
    buf_fini(&message);
}

void router_peer_down(struct router *router, const struct io_event *event)
{
    int i = router_peer_of_link(router, event->link);
    if (i < 0)
        return;
    struct peer *peer = &router->peer[i];
    char name[9];
    if (peer->state == PEER_READY)
        log_limited(&router->strangers, router->now_us, LOG_INFO, "host %s: link lost (%s)", peer_id_short(&peer->id, name),
                    hanse_strerror(event->err));
    back_off(router, peer);
    rest(router, i);
}

/* It may have restarted and is asked at once; but who falls silent on every new link does not get away with it each time. */
static void forgive(const struct router *router, struct peer *peer)
{
    if (!peer->is_on_trial || router->now_us < peer->forgiven_us + SUSPECT_MAX_US)
        return;
    peer->forgiven_us = router->now_us;
    peer->suspect_until_us = 0;
    peer->is_on_trial = false;
}

void router_peer_greet(struct router *router, int peer_i, const uint8_t *bytes, size_t n)
{
    struct peer *peer = &router->peer[peer_i];
    struct message_hello hello;
    char name[9];
    if (peer->state != PEER_HELLO || message_hello_decode(&hello, bytes, n) != 0 || hello.version != MESSAGE_VERSION ||
        !hash_equal(&hello.run, &router->config.run)) {
        log_limited(&router->strangers, router->now_us, LOG_WARN, "host %s: its greeting does not fit this run; leaving it",
                    peer_id_short(&peer->id, name));
        router_peer_leave(router, peer_i);
        return;
    }
    enter(router, peer, PEER_READY);
    peer->has_greeted = true;
    forgive(router, peer);
    router_exchange_peer_ready(router, peer_i);
    router_directory_choose(router);
}

void router_peer_refuse(struct router *router, int peer_i, const uint8_t *bytes, size_t n)
{
    struct peer *peer = &router->peer[peer_i];
    struct message_refuse refuse;
    char name[9];
    if (message_refuse_decode(&refuse, bytes, n) == 0) {
        log_limited(&router->strangers, router->now_us, LOG_WARN, "host %s refused: %s", peer_id_short(&peer->id, name),
                    refuse.text);
        memcpy(router->refusal, refuse.text, sizeof router->refusal);
    }
    router_peer_leave(router, peer_i); /* it says so once */
}

void router_peer_answered(struct router *router, struct peer *peer, uint64_t rtt_us)
{
    peer->rtt_us = peer->rtt_us ? (7 * peer->rtt_us + rtt_us) / 8 : rtt_us;
    peer->suspect_us = SUSPECT_FIRST_US;
    peer->backoff_us = BACKOFF_FIRST_US;
    peer->n_useless = 0;
    peer->is_given_up = false;
    if (peer->is_on_trial) {
        peer->is_on_trial = false;
        peer->suspect_until_us = 0;
        router_directory_choose(router);
    }
    uint64_t mean = router->stats.rtt_us;
    router->stats.rtt_us = mean ? (31 * mean + rtt_us) / 32 : rtt_us;
}

/* After a pause one call finds out whether the peer is back; until it is answered, others need not wait for it, too. */
void router_peer_asked(struct router *router, struct peer *peer, uint64_t deadline_us)
{
    if (!peer->is_on_trial || peer->state != PEER_READY || router->config.deadline_us == 0)
        return;
    peer->suspect_until_us = deadline_us;
    router_directory_choose(router);
}

/* A host must not cost one microbatch after the other: it is left alone for a pause that doubles each time. */
static void leave_out(struct router *router, struct peer *peer, const char *why)
{
    char name[9];
    peer->suspect_until_us = router->now_us + peer->suspect_us;
    peer->is_on_trial = true;
    peer->n_useless = 0;
    log_limited(&router->strangers, router->now_us, LOG_INFO, "host %s: %s; left out for %.0f s", peer_id_short(&peer->id, name),
                why, (double)peer->suspect_us / 1e6);
    peer->suspect_us = peer->suspect_us * 2 < SUSPECT_MAX_US ? peer->suspect_us * 2 : SUSPECT_MAX_US;
    router_directory_choose(router);
}

/* Who lets the call pass, too, that tries whether it is back is taken for dead: its link is closed, and it is asked again when it
 * has answered a dial. */
void router_peer_missed(struct router *router, struct peer *peer)
{
    bool was_on_trial = peer->is_on_trial;
    if (peer->suspect_until_us > router->now_us || peer->state != PEER_READY)
        return;
    leave_out(router, peer, "did not answer in time");
    peer->is_given_up = was_on_trial;
}

/* Busy once is an honest answer; busy for ever, with the best claim of all, would keep true hosts out. */
void router_peer_useless(struct router *router, struct peer *peer)
{
    bool is_asked = peer->state == PEER_READY && router->config.deadline_us > 0;
    if (is_asked && ++peer->n_useless >= USELESS_MAX && (peer->suspect_until_us <= router->now_us || peer->is_on_trial))
        leave_out(router, peer, "answers without being of use");
}

void router_peer_send(struct router *router, struct peer *peer, struct buf *message, bool is_urgent)
{
    if (peer->state == PEER_LOCAL)
        router->local_send(router->local_arg, message);
    else if (peer->state == PEER_READY)
        router->io->ops->link_send(router->io->ctx, peer->link, message, is_urgent);
}
