/**
 * base/io.h - the one interface between protocol code and the world.
 *
 * Protocol code (dht, router, host, trainer) is a step machine: `event` hands it what happened and what time
 * it is; it answers by calling the effects below.  src/net drives it with libuv, src/sim with a made-up
 * world.  The contract of both:
 *   - one thread (the loop) calls `event`, one event at a time;
 *   - an effect never calls back into the machine; what follows from it comes as a later event;
 *   - `now_us` is Unix time in microseconds, never goes back within a process.
 *
 * A *link* is an authenticated, reliable stream of whole messages to one peer (TCP + TLS 1.3 in src/net).  Messages
 * arrive in the order of their last bytes: a small or urgent one may overtake a large one, those of one size keep
 * their order.  At most one link a peer pair is wanted; when two peers dial each other at once both may live.
 */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/key.h"

#define IO_NEVER UINT64_MAX
#define IO_MESSAGE_MAX ((size_t)64 << 20) /* largest message of a link */
#define IO_DATAGRAM_MAX 1472              /* largest datagram we take in; we send at most 1200 */

/** Identifies a link within a process; never reused, never 0. */
typedef uint64_t io_link;

/**
 * Something slow, run off the loop: the owner embeds it, sets `run`, and must keep it until IO_WORK_DONE.
 * `cost_us` is how long the simulator lets it take; src/net ignores it.
 */
struct io_work {
    void (*run)(struct io_work *work);
    void *owner; /* for the machine's own use */
    uint64_t cost_us;
    struct io_work *next; /* for the driver's use */
    void *driver;         /* for the driver's use */
};

enum io_event_kind {
    IO_START,     /* the first event */
    IO_TICK,      /* the deadline the machine asked for has come (or earlier: look at the clock) */
    IO_DATAGRAM,  /* from, bytes */
    IO_LINK_UP,   /* link, peer, from, is_incoming: handshake done, the peer proved its key */
    IO_MESSAGE,   /* link, peer, bytes: one whole message, 8-byte aligned */
    IO_LINK_DOWN, /* link, err: closed by either side, lost, or never came up; nothing follows */
    IO_WORK_DONE, /* work */
    IO_STOP       /* the user wants to end; call io->stopped when there is nothing left to save */
};

struct io_event {
    enum io_event_kind kind;
    struct addr from;
    io_link link;
    struct peer_id peer;
    bool is_incoming;
    int err;
    const uint8_t *bytes; /* borrowed until event() returns */
    size_t n_bytes;
    struct io_work *work;
};

struct io_ops {
    /* Sends one datagram; losing it is not an error. */
    void (*datagram)(void *ctx, const struct addr *to, const void *bytes, size_t n);
    /* Begins a link to `to`; `expect` NULL takes any peer id.  IO_LINK_UP or IO_LINK_DOWN follows. */
    io_link (*link_open)(void *ctx, const struct addr *to, const struct peer_id *expect);
    /* Queues a message; moves the bytes out of `message` (left empty).  `is_urgent` lets a small one overtake
     * large ones.  On a link that is gone the message is dropped. */
    void (*link_send)(void *ctx, io_link link, struct buf *message, bool is_urgent);
    /* Bytes queued on the link and not yet taken by the kernel; 0 for a link that is gone. */
    size_t (*link_queued)(void *ctx, io_link link);
    /* Where there is no room for another incoming link, one that is of no use goes: this one, if it is incoming, not before
     * `until_us` (IO_NEVER: until told otherwise).  The last word counts.  Nothing is kept of a link that is gone. */
    void (*link_keep)(void *ctx, io_link link, uint64_t until_us);
    /* Closes after what is queued has gone out; IO_LINK_DOWN follows. */
    void (*link_close)(void *ctx, io_link link);
    /* Runs `work` off the loop; IO_WORK_DONE follows.  First come, first served. */
    void (*work)(void *ctx, struct io_work *work);
    /* Ends the driver's run after IO_STOP, or by the machine's own decision with `err` as the result. */
    void (*stopped)(void *ctx, int err);
};

struct io {
    const struct io_ops *ops;
    void *ctx;
};

/** What a driver drives. */
struct io_machine {
    void (*event)(void *self, uint64_t now_us, const struct io_event *event);
    /* When the machine next wants IO_TICK; IO_NEVER for never.  Asked after each event. */
    uint64_t (*deadline)(const void *self);
    void *self;
};

#endif
