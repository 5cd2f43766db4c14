/**
 * tests/unit/net_play.h - a peer for tests: a net in a thread of its own whose machine calls back one function.
 * Every run ends by itself: after `limit_us` with HANSE_ETIMEOUT.
 */
#ifndef TESTS_NET_PLAY_H
#define TESTS_NET_PLAY_H

#include <pthread.h>
#include <string.h>

#include "net/net.h"
#include "unit.h"

#define PEER_LIMIT_US 100000000 /* a busy machine may do everything late; only what hangs takes so long */

struct peer {
    struct key *key;
    struct net *net;
    const struct io *io;
    struct io_machine machine;
    void (*play)(struct peer *peer, uint64_t now_us, const struct io_event *event);
    void *arg;
    uint64_t limit_us, end_us, wake_us;
    pthread_t thread;
    int result;
    /* what happened; n_up and n_down may be read (atomically) while it runs */
    unsigned n_up, n_down, n_messages;
    int down_err;
    io_link link;
    struct peer_id who;
};

static inline void peer_stop(struct peer *peer, int err)
{
    peer->io->ops->stopped(peer->io->ctx, err);
}

static inline void peer_note(struct peer *peer, const struct io_event *event)
{
    if (event->kind == IO_LINK_UP) {
        __atomic_fetch_add(&peer->n_up, 1, __ATOMIC_RELAXED);
        peer->link = event->link;
        peer->who = event->peer;
    }
    peer->n_messages += event->kind == IO_MESSAGE;
    if (event->kind == IO_LINK_DOWN) {
        __atomic_fetch_add(&peer->n_down, 1, __ATOMIC_RELAXED);
        peer->down_err = event->err;
    }
}

static inline void peer_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct peer *peer = self;
    if (event->kind == IO_START)
        peer->end_us = now_us + peer->limit_us;
    peer_note(peer, event);
    if (now_us >= peer->end_us) {
        peer_stop(peer, HANSE_ETIMEOUT);
        return;
    }
    if (peer->play)
        peer->play(peer, now_us, event);
}

static inline uint64_t peer_deadline(const void *self)
{
    const struct peer *peer = self;
    return peer->wake_us < peer->end_us ? peer->wake_us : peer->end_us;
}

/** Fills a configuration: loopback, any port, the key of `seed`. */
static inline struct net_config peer_config(struct peer *peer, uint8_t seed)
{
    uint8_t bytes[KEY_SEED_BYTES];
    memset(bytes, seed, sizeof bytes);
    ck_assert_int_eq(key_new(bytes, &peer->key), 0);
    struct net_config config = {.key = peer->key, .n_ports = 1, .n_workers = 1};
    ck_assert_int_eq(addr_parse(&config.listen, "127.0.0.1:0"), 0);
    return config;
}

static inline void peer_init_with(struct peer *peer, const struct net_config *config)
{
    ck_assert_int_eq(net_new(config, &peer->net), 0);
    peer->io = net_io(peer->net);
    peer->machine = (struct io_machine){.event = peer_event, .deadline = peer_deadline, .self = peer};
    peer->limit_us = PEER_LIMIT_US;
    peer->wake_us = IO_NEVER;
}

static inline void peer_init(struct peer *peer, uint8_t seed)
{
    *peer = (struct peer){0};
    struct net_config config = peer_config(peer, seed);
    peer_init_with(peer, &config);
}

static inline void peer_fini(struct peer *peer)
{
    net_free(peer->net);
    key_free(peer->key);
}

static inline void *peer_thread(void *arg)
{
    struct peer *peer = arg;
    peer->result = net_run(peer->net, &peer->machine);
    return NULL;
}

static inline void peer_start(struct peer *peer)
{
    ck_assert_int_eq(pthread_create(&peer->thread, NULL, peer_thread, peer), 0);
}

static inline int peer_join(struct peer *peer)
{
    pthread_join(peer->thread, NULL);
    return peer->result;
}

/** A play that goes on, whatever happens, until the bool at `arg` is true: peer_tell().  Ends with 0 then. */
static inline void peer_play_until_told(struct peer *peer, uint64_t now_us, const struct io_event *event)
{
    (void)event;
    peer->wake_us = now_us + 20000;
    if (__atomic_load_n((bool *)peer->arg, __ATOMIC_ACQUIRE))
        peer_stop(peer, 0);
}

static inline void peer_tell(bool *is_over)
{
    __atomic_store_n(is_over, true, __ATOMIC_RELEASE);
}

/** Runs in this thread. */
static inline int peer_run(struct peer *peer)
{
    peer_thread(peer);
    return peer->result;
}

static inline io_link peer_open(struct peer *peer, struct addr to, const struct peer_id *expect)
{
    return peer->io->ops->link_open(peer->io->ctx, &to, expect);
}

static inline void peer_send(struct peer *peer, io_link link, const void *bytes, size_t n, bool is_urgent)
{
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    if (n)
        buf_append(&message, bytes, n);
    peer->io->ops->link_send(peer->io->ctx, link, &message, is_urgent);
}

#endif
