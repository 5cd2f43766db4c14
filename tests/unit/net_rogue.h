/**
 * tests/unit/net_rogue.h - a peer in the hands of a test: a socket, a proven key, and whatever frames the test wants to say.
 */
#ifndef TESTS_NET_ROGUE_H
#define TESTS_NET_ROGUE_H

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/tls.h"
#include "unit.h"

#define ROGUE_HELLO "\x01\0\0\0\0\0\0\0\0\0\0\0"

struct rogue {
    struct key *key;
    struct tls_context *context;
    struct tls_out out;
    struct tls *tls;
    int fd;
};

static inline void rogue_flush(struct rogue *rogue)
{
    ck_assert_int_eq(send(rogue->fd, rogue->out.bytes, rogue->out.n, MSG_NOSIGNAL), (ssize_t)rogue->out.n);
    rogue->out.n = 0;
}

/** False when the other side closed before both had proved their keys. */
static inline bool rogue_init(struct rogue *rogue, int fd, bool is_client)
{
    uint8_t seed[KEY_SEED_BYTES] = {66};
    static uint8_t out[100000], in[10000];
    bool is_done = false;
    *rogue = (struct rogue){.fd = fd, .out = {.bytes = out, .max = sizeof out}};
    ck_assert_int_eq(key_new(seed, &rogue->key), 0);
    ck_assert_int_eq(tls_context_new(rogue->key, &rogue->context), 0);
    ck_assert_int_eq(tls_new(rogue->context, is_client, NULL, &rogue->out, &rogue->tls), 0);
    ck_assert_int_eq(tls_handshake(rogue->tls, &is_done), 0);
    while (!is_done) {
        rogue_flush(rogue);
        ssize_t n = read(fd, in, sizeof in);
        if (n <= 0)
            return false;
        tls_give(rogue->tls, in, (size_t)n);
        ck_assert_int_eq(tls_handshake(rogue->tls, &is_done), 0);
    }
    rogue_flush(rogue);
    return true;
}

static inline void rogue_say(struct rogue *rogue, const void *bytes, size_t n)
{
    ck_assert_int_eq(tls_write(rogue->tls, bytes, n), 0);
    rogue_flush(rogue);
}

enum rogue_fate { ROGUE_STAYS, ROGUE_IS_DISMISSED /* with a goodbye */, ROGUE_IS_CUT };

/** What has become of the link, once nothing new came for so long. */
static inline enum rogue_fate rogue_fate(struct rogue *rogue, int ms)
{
    static uint8_t in[10000], text[70000];
    struct pollfd wait = {.fd = rogue->fd, .events = POLLIN};
    while (poll(&wait, 1, ms) == 1) {
        size_t n_read;
        int err;
        ssize_t n = read(rogue->fd, in, sizeof in);
        if (n <= 0)
            return ROGUE_IS_CUT;
        tls_give(rogue->tls, in, (size_t)n);
        do
            err = tls_read(rogue->tls, text, sizeof text, &n_read);
        while (!err && n_read > 0);
        if (err)
            return err == HANSE_ECLOSED ? ROGUE_IS_DISMISSED : ROGUE_IS_CUT;
    }
    return ROGUE_STAYS;
}

static inline void rogue_fini(struct rogue *rogue)
{
    close(rogue->fd);
    tls_free(rogue->tls);
    tls_context_free(rogue->context);
    key_free(rogue->key);
}

#endif
