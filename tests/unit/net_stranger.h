/**
 * tests/unit/net_stranger.h - plain sockets of strangers on loopback, for tests of a net.
 */
#ifndef TESTS_NET_STRANGER_H
#define TESTS_NET_STRANGER_H

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"
#include "unit.h"

#define STRANGER_MS 60000 /* for what should happen at once: a busy machine may do it late */

static inline struct sockaddr_in stranger_name(uint32_t ip, uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(ip)};
}

/** A socket bound to a free port of `ip`. */
static inline int stranger_socket(uint32_t ip)
{
    struct sockaddr_in own = stranger_name(ip, 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&own, sizeof own), 0);
    return fd;
}

/** A connection from `ip`, of 127.0.0.0/8, that says nothing. */
static inline int stranger_dial_from(uint32_t ip, struct addr to)
{
    struct sockaddr_in name = stranger_name(INADDR_LOOPBACK, to.port);
    int fd = stranger_socket(ip);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
    return fd;
}

static inline int stranger_dial(struct addr to)
{
    return stranger_dial_from(INADDR_LOOPBACK, to);
}

/** A port that is taken, and at which nobody listens. */
static inline int stranger_closed(struct addr *at)
{
    struct sockaddr_in name;
    socklen_t n = sizeof name;
    int fd = stranger_socket(INADDR_LOOPBACK);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&name, &n), 0);
    *at = (struct addr){.family = 4, .ip = {127, 0, 0, 1}, .port = ntohs(name.sin_port)};
    return fd;
}

/** One at which somebody listens, and accepts nobody. */
static inline int stranger_deaf(struct addr *at)
{
    int fd = stranger_closed(at);
    ck_assert_int_eq(listen(fd, 5), 0);
    return fd;
}

/** Waits until the other side has closed; false when it does not in this time. */
static inline bool stranger_is_shown_out(int fd, int ms)
{
    char bytes[4096];
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    while (poll(&wait, 1, ms) == 1)
        if (read(fd, bytes, sizeof bytes) <= 0)
            return true;
    return false;
}

#endif
