/**
 * net/address.h - struct addr to the socket API and back, and the pair of ports a peer listens on.
 */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <sys/socket.h>

#include "base/addr.h"

/** Fills `out` and returns its length; a v4 address becomes ::ffff:a.b.c.d when `as_v6`.  0 when it cannot be said so. */
socklen_t address_to_socket(const struct addr *addr, bool as_v6, struct sockaddr_storage *out);

/** ::ffff:a.b.c.d becomes v4.  Family 0 for anything but an IP address. */
struct addr address_from_socket(const struct sockaddr *from);

/** Who shares it may be one owner: a number for each /24 of v4 and each /48 of v6. */
uint64_t address_subnet(const struct addr *addr);

struct address_pair {
    int tcp, udp; /* bound sockets, -1 for none; the caller closes them */
    struct addr at;
};

/**
 * Binds TCP (listening) and UDP to the first of `n_ports` ports from `listen->port` where both are free; port 0 takes any.
 * HANSE_EADDRINUSE, HANSE_EACCESS, HANSE_EINVAL (not an address of this machine), HANSE_EIO; logged with the remedy.
 */
HANSE_MUST_USE int address_listen(const struct addr *listen, unsigned n_ports, struct address_pair *out);

/** Binds UDP alone to any port of any address, v6 and v4 together where the machine has v6. */
HANSE_MUST_USE int address_bind_any(struct address_pair *out);

/** Binds UDP alone to `at` (port 0: any), whose port is filled in.  Errors as address_listen(). */
HANSE_MUST_USE int address_bind_udp(struct addr *at, int *fd);

#endif
