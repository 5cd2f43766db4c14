/**
 * net/loop.h - what the files of src/net share: the loop, its one machine, and the links.
 *
 * An effect only notes what is to be done (link_mark) and returns; before the loop waits it settles: encrypts and sends what is
 * queued, reports links that went down, sets the timer.  So nothing calls back into the machine from an effect, and
 * the messages that one event sends leave in one write.
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdatomic.h>

#include <uv.h>

#include "net/crowd.h"
#include "net/frame.h"
#include "net/net.h"
#include "net/tls.h"
#include "net/workers.h"

#define LOOP_IN_BYTES ((size_t)256 << 10)   /* one read from a socket, at most */
#define LOOP_OUT_BYTES ((size_t)160 << 10)  /* encrypted bytes gathered for one write */
#define LOOP_ASSEMBLY_MAX ((size_t)4 << 30) /* unfinished messages of all links together */
#define LOOP_LINKS_MAX 65535

struct link;

/** Every link by its slot; an id is serial << 16 | slot. */
struct link_table {
    struct link **slot;
    size_t n_slots, n_used;
    uint64_t serial;
};

struct net {
    uv_loop_t loop;
    uv_prepare_t settle;
    uv_timer_t deadline;     /* the machine's */
    uv_timer_t housekeeping; /* once a second: links that are late or silent */
    uv_async_t work_done, stop_asked;
    uv_tcp_t listener;
    uv_udp_t udp;
    bool has_loop, has_listener, is_udp_v6;
    struct net_config config;
    struct addr address;
    struct tls_context *tls;
    struct workers *workers;
    struct io io;

    const struct io_machine *machine;
    bool is_in_event;
    bool is_stopped; /* the machine is done: no more events */
    bool is_deadline_due;
    int result;

    struct link_table links;
    struct link *marked_first, *marked_last; /* links that settle must look at */
    struct frame_budget assembly;
    uint64_t housekeeping_us; /* when it last ran */
    uint8_t *in;              /* LOOP_IN_BYTES, read from a socket, used up before the next read */
    uint8_t *stage;           /* FRAME_BYTES */
    struct tls_out out;       /* LOOP_OUT_BYTES, empty between the steps of links */
    uint8_t *udp_in;
    _Atomic uint64_t n_bytes_in, n_bytes_out, n_messages_in, n_messages_out, n_datagrams_in, n_datagrams_out, n_links;
};

/** Adds to a counter that other threads may read. */
static inline void loop_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/** Hands an event to the machine, unless that is done. */
void loop_event(struct net *net, struct io_event *event);

/** Starts receiving on a bound socket, which it takes. */
HANSE_MUST_USE int udp_start(struct net *net, int fd);
void udp_send(struct net *net, const struct addr *to, const void *bytes, size_t n);

/** Starts taking in links on a listening socket, which it takes. */
HANSE_MUST_USE int listener_start(struct net *net, int fd);

/** The effects of io.h on links. */
io_link link_open(struct net *net, const struct addr *to, const struct peer_id *expect);
void link_send(struct net *net, io_link id, struct buf *message, bool is_urgent);
size_t link_queued(struct net *net, io_link id);
void link_keep(struct net *net, io_link id, uint64_t until_us);
void link_close(struct net *net, io_link id);

/** Takes in the connection that waits at `server`. */
void link_accept(struct net *net, uv_stream_t *server);

/** Writes all incoming links that are not over to `out`, which has room for net->links.n_used; returns how many they are. */
size_t link_incoming(const struct net *net, struct crowd_member *out);

/** Ends the incoming link `id`, which is there, so that another may come in; with a goodbye where it is up. */
void link_make_room(struct net *net, io_link id);

/** Why the newest link, which is there already, is not taken in, or NULL when it is.  Others may have to go for it. */
const char *listener_refuses(struct net *net, io_link newcomer);

/** Does what is due on every marked link. */
void link_settle(struct net *net);

/** Ends links that are late or silent, and probes those that have been quiet. */
void link_housekeep(struct net *net, uint64_t now_us);

/** Closes every link: at once, or after what is queued has gone out. */
void link_close_all(struct net *net, bool at_once);

#endif
