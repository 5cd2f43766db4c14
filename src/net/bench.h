/**
 * net/bench.h - how fast links are here: two peers in two threads, TLS over loopback, real sockets.
 */
#ifndef NET_BENCH_H
#define NET_BENCH_H

#include <stddef.h>
#include <stdint.h>

#include "hanse/err.h"

struct net_bench {
    double open_us;           /* from link_open to IO_LINK_UP, both handshakes included */
    double bytes_per_s;       /* large messages one way, each answered by a short one */
    double round_trips_per_s; /* 64 bytes there and back, one at a time */
};

/** Measures for `seconds` in all, with messages of `message_bytes` (64 .. IO_MESSAGE_MAX).  Blocks. */
HANSE_MUST_USE int net_bench_link(double seconds, size_t message_bytes, struct net_bench *out);

#endif
