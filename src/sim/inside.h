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
    SIM_TICK,     /* node */
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

/** Something that will happen.  Order: time_us, then number. */
struct sim_event {
    uint64_t time_us;
    uint64_t number;
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
    struct sim_event *next; /* in a list of held ones */
};

/** A binary heap of events; gives the earliest. */
struct sim_queue {
    struct sim_event **event;
    size_t n, capacity;
};
void sim_queue_push(struct sim_queue *queue, struct sim_event *event);
struct sim_event *sim_queue_pop(struct sim_queue *queue); /* NULL when empty */
const struct sim_event *sim_queue_first(const struct sim_queue *queue);
void sim_queue_fini(struct sim_queue *queue); /* frees the events too */
void sim_event_free(struct sim_event *event);

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
    int result;       /* what the last machine said when it stopped */
    uint64_t life;    /* how often something was started here */
    bool is_tick_set; /* one tick waits in the queue, numbered tick_number */
    uint64_t tick_us, tick_number;
    struct sim_end *end; /* the links that this life knows */
    uint8_t *cut;        /* a bit for each node that we are cut off from */
    size_t cut_bytes;
};

struct world {
    struct world_config config;
    struct rng network, faults, ids;
    struct sim_queue queue;
    uint64_t now_us, n_events, n_numbers;
    uint64_t n_at_once; /* events since the clock last moved */
    struct hash trace;
    bool is_stopped;
    struct world_node **node;
    size_t n_nodes, node_capacity;
    struct sim_end **end; /* by io_link - 1; NULL once it is gone */
    size_t n_ends, end_capacity;
};

/** An event that will come at time_us; the caller fills in the rest, which must not change its order. */
struct sim_event *sim_schedule(struct world *world, uint64_t time_us, enum sim_kind kind);
/** As above, for a node as it lives now. */
struct sim_event *sim_schedule_node(struct world_node *node, uint64_t time_us, enum sim_kind kind);

/** Hands an event to the node's machine, if it runs, and asks it when it wants its next tick. */
void sim_deliver(struct world_node *node, const struct io_event *event);

struct world_node *sim_node_at(const struct world *world, const struct addr *addr);
bool sim_is_cut(const struct world_node *a, const struct world_node *b);

/** The network's part of each event of its own. */
void sim_network_event(struct world *world, struct sim_event *event);
/** The process is gone: its peers will hear of it.  With `is_orderly` what is queued still goes out. */
void sim_network_leave(struct world_node *node, bool is_orderly);
/** The path between two nodes was cut, or healed. */
void sim_network_cut(struct world_node *a, struct world_node *b, bool is_cut);
void sim_network_fini(struct world *world);

void sim_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n);
io_link sim_link_open(void *ctx, const struct addr *to, const struct peer_id *expect);
void sim_link_send(void *ctx, io_link link, struct buf *message, bool is_urgent);
size_t sim_link_queued(void *ctx, io_link link);
void sim_link_close(void *ctx, io_link link);

/** calloc that aborts rather than returning NULL; realloc likewise. */
void *sim_need(size_t n, size_t size);
void *sim_grow(void *old, size_t n, size_t size);

#endif
