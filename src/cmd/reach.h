/**
 * cmd/reach.h - from where an address can be reached, by the range it stands in.
 * IANA's registries of special-purpose addresses (RFC 6890), as far as interfaces have them.
 */
#ifndef CMD_REACH_H
#define CMD_REACH_H

#include "base/addr.h"

/** The farther, the larger. */
enum reach_from {
    REACH_NOBODY,   /* outside a test network */
    REACH_LINK,     /* neighbours on the same cable or radio */
    REACH_SITE,     /* its own network, and from outside by a router that forwards */
    REACH_PROVIDER, /* other customers of a provider, at most; there is no router of ours that could forward */
    REACH_PUBLIC
};

struct reach {
    enum reach_from from;
    const char *what; /* "private (RFC 1918)" */
};

/** What the address is; loopback counts as REACH_NOBODY. */
struct reach reach_of(const struct addr *addr);

#endif
