/**
 * sim/inside.h - what the files of src/sim share: the world, its nodes, its events.  Nobody else includes this.
 *
 * Everything is owned by the world and freed by it.  Events name link ends by their io_link and nodes by pointer and life,
 * never by what may be gone when they are due.  A simulation that runs out of memory cannot go on truthfully: it aborts.
 */
#ifndef SIM_INSIDE_H
#define SIM_INSIDE_H

#include "sim/world.h"

enum sim_kind {
    SIM_START,    /* node */
    SIM_STOP,     /* node */
    SIM_DATAGRAM, /* node, from, bytes */
    SIM_WORK_RUN, /* node, work */
    SIM_WORK_DONE,
    SIM_CALL,    /* run, arg */
    SIM_CONNECT, /* link: the accepting side has what it needs to decide */
    SIM_LINE,    /* link: a frame has left */
    SIM_UP,      /* link: in order with messages */
    SIM_MESSAGE, /* link, bytes */
    SIM_DOWN,    /* link, err */
    SIM_SEVERED  /* link, number_cut: the cut across it has lasted too long */
};

/** Something that will happen.  Order: time_us, then number.  A machine's tick is none: the world keeps one for each node. */
struct sim_event {
    uint64_t time_us;
    uint64_t number;
    struct sim_event *next; /* in a list of held or of free ones */
    uint16_t n_inline;      /* bytes of a datagram, which follow the struct */
    uint8_t size_class;
    enum sim_kind kind;
    struct world_node *node; /* NULL for those that belong to a link or to nobody */
    uint64_t life;           /* of the node it was meant for */
    io_link link;
    bool is_carried; /* it travels along the link, and waits while the path is cut */
    int err;
    uint64_t number_cut;
    struct addr from;
    struct buf bytes;
    struct io_work *work;
    void (*run)(void *arg, uint64_t now_us);
    void *arg;
    uint8_t datagram[];
};

/** A heap of (time, number) and what is due then; gives the earliest. */
struct sim_due {
    uint64_t time_us, number;
    void *what;
};
struct sim_heap {
    struct sim_due *due;
    size_t n, capacity;
    void (*placed)(void *what, size_t i); /* hears where it stands; may be NULL */
};
void sim_heap_push(struct sim_heap *heap, struct sim_due due);
/** Takes out what stands at `i`. */
struct sim_due sim_heap_take(struct sim_heap *heap, size_t i);
/** What stands at `i` is due at another time. */
void sim_heap_change(struct sim_heap *heap, size_t i, uint64_t time_us, uint64_t number);
void sim_heap_fini(struct sim_heap *heap);

/** Events that were freed, by size, so that a datagram costs no call of malloc. */
#define SIM_SIZES 4
struct sim_pool {
    struct sim_event *free[SIM_SIZES];
};
/** An empty event with room for `n` bytes of a datagram. */
struct sim_event *sim_event_new(struct sim_pool *pool, size_t n);
/** Frees the bytes of its message and keeps the event for the next.  Accepts NULL. */
void sim_event_free(struct sim_pool *pool, struct sim_event *event);
void sim_pool_fini(struct sim_pool *pool);

/** A disk in memory that knows what a crash may take back. */
struct sim_disk;
struct sim_disk *sim_disk_new(struct rng *faults); /* kept */
void sim_disk_free(struct sim_disk *disk);
extern const struct disk_ops sim_disk_ops; /* ctx: the struct sim_disk */

/** From now on, what is written belongs to the piece of work `tag` (0: is durable at once). */
void sim_disk_begin(struct sim_disk *disk, uint64_t tag);
/** The piece of work has ended: what it wrote is durable. */
void sim_disk_commit(struct sim_disk *disk, uint64_t tag);
void sim_disk_commit_all(struct sim_disk *disk);
/** Of each unfinished piece of work the first few writes stay, how many is drawn; the others never were. */
void sim_disk_crash(struct sim_disk *disk);
void sim_disk_set_fault_rate(struct sim_disk *disk, double rate);
bool sim_disk_spoil(struct sim_disk *disk, const char *name);

struct sim_end; /* one side of a link: network.c */

struct world_node {
    struct world *world;
    size_t number;
    struct addr addr;
    struct key *key;
    struct peer_id peer;
    struct io io;
    struct disk disk;
    struct sim_disk *files;
    struct io_machine machine;
    bool is_running;
    int result;          /* what the last machine said when it stopped */
    uint64_t life;       /* how often something was started here */
    size_t tick_i;       /* where our tick stands among the world's; SIM_NO_TICK: none is planned */
    struct sim_end *end; /* the links that this life knows */
    uint32_t group;      /* of a partition */
    uint8_t *cut;        /* a bit for each node that we are cut off from; NULL while there is none */
    size_t cut_bytes;
    size_t n_pending; /* events in the queue that name it */
    bool is_removed;  /* freed as soon as neither an event nor a link names it */
    bool is_free;     /* that is now */
    struct world_node *next_free;
};
#define SIM_NO_TICK SIZE_MAX

#define SIM_TRACE_BYTES ((size_t)64 << 10)
#define SIM_RTT_SLOTS 1024

struct world {
    struct world_config config;
    struct rng network, faults, ids;
    struct sim_heap queue, ticks; /* events; nodes, each at most once */
    struct sim_pool pool;
    uint64_t now_us, n_events, n_numbers;
    uint64_t n_at_once; /* events since the clock last moved */
    struct hash trace;  /* of all that happened before what `told` tells of */
    size_t n_told;
    uint8_t told[SIM_TRACE_BYTES];
    bool is_stopped;
    struct world_node **node; /* by number; NULL once it is removed and freed */
    size_t n_nodes, node_capacity;
    struct world_node *free; /* to be freed after the present event */
    uint32_t *slot;          /* public addresses: number + 1 of the node, by a hash of its ip; 0: free */
    size_t n_slots, n_addresses;
    bool is_parted; /* nodes of different groups do not reach each other */
    uint64_t path_key;
    uint32_t rtt_us[SIM_RTT_SLOTS]; /* quantiles of a pair's round trip */
    struct sim_end **end;           /* by io_link - 1; NULL once it is gone */
    size_t n_ends, end_capacity;
};

/** An event that will come at time_us; the caller fills in the rest, which must not change its order. */
struct sim_event *sim_schedule(struct world *world, uint64_t time_us, enum sim_kind kind);
/** One that carries a datagram. */
struct sim_event *sim_schedule_datagram(struct world *world, uint64_t time_us, const void *bytes, size_t n);
/** As above, for a node as it lives now. */
struct sim_event *sim_schedule_node(struct world_node *node, uint64_t time_us, enum sim_kind kind);

/** One name less: a removed node may be free to go, after the present event. */
void sim_let_go(struct world_node *node);

/** Hands an event to the node's machine, if it runs, and asks it when it wants its next tick. */
void sim_deliver(struct world_node *node, const struct io_event *event);

/** Makes an address of the internet for the node (sim/path.c). */
void sim_address_draw(struct world *world, struct world_node *node);
/** The address is nobody's any more. */
void sim_address_forget(struct world *world, const struct world_node *node);
/** The node with this ip, whatever the port, or NULL. */
struct world_node *sim_node_at(const struct world *world, const struct addr *addr);
bool sim_is_cut(const struct world_node *a, const struct world_node *b);

void sim_path_init(struct world *world);
/** How long a packet takes from one node to the other; `to` NULL: to somewhere. */
uint64_t sim_path_delay(struct world *world, const struct world_node *from, const struct world_node *to);

/** The network's part of each event of its own. */
void sim_network_event(struct world *world, struct sim_event *event);
/** The process is gone: its peers will hear of it.  With `is_orderly` what is queued still goes out. */
void sim_network_leave(struct world_node *node, bool is_orderly);
/** The path between two nodes was cut, or healed. */
void sim_network_cut(struct world_node *a, struct world_node *b, bool is_cut);
/** All paths between different groups were, those that pairwise cuts leave. */
void sim_network_part(struct world *world, bool is_parted);
void sim_network_fini(struct world *world);

void sim_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n);
io_link sim_link_open(void *ctx, const struct addr *to, const struct peer_id *expect);
void sim_link_send(void *ctx, io_link link, struct buf *message, bool is_urgent);
size_t sim_link_queued(void *ctx, io_link link);
void sim_link_keep(void *ctx, io_link link, uint64_t until_us);
void sim_link_close(void *ctx, io_link link);

/** calloc that aborts rather than returning NULL; realloc likewise. */
void *sim_need(size_t n, size_t size);
void *sim_grow(void *old, size_t n, size_t size);

#endif
