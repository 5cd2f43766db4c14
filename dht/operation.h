/**
 * dht/operation.h - something that was asked of our node: a walk to a key, and what is done there.
 *
 * operation.c has their line: it starts them in order, gives each its turn at asking, one question each while the window of all
 * allows, and ends them at their deadline.  walk.c goes along the walk and does what is done at its end, reply.c takes what answers and
 * silence say, task.c what differs from kind to kind.  An operation ends exactly once.
 * While it waits in line it has little more than its name; the rest is allotted as the walk goes on.
 */
#ifndef DHT_OPERATION_H
#define DHT_OPERATION_H

#include "dht/node.h"
#include "dht/read.h"

#define DHT_OPERATION_US 8000000  /* the longest an operation takes */
#define DHT_OPERATIONS_RUNNING 32 /* at once, and no more than the window has questions; upkeep's two besides */
#define DHT_OPERATIONS_MAX 2048   /* waiting ones included; upkeep's two besides */
#define DHT_GET_PEERS_MAX 1024
#define DHT_STORE_MAX 24 /* nodes that get a record */

enum dht_task {
    DHT_TASK_SELF,
    DHT_TASK_BUCKET,
    DHT_TASK_PUBLISH,
    DHT_TASK_STORE,
    DHT_TASK_HANDOVER,
    DHT_TASK_READ,
    DHT_TASK_ANNOUNCE,
    DHT_TASK_PEERS,
    DHT_TASK_PUT,
    DHT_TASK_GET
};
enum dht_phase { DHT_PHASE_WAITING, DHT_PHASE_WALKING, DHT_PHASE_STORING };

struct dht_operation {
    struct dht_operation *next, *previous; /* in its line */
    uint64_t number;
    enum dht_task task;
    enum dht_phase phase;
    bool is_due;     /* something happened: look whether it can go on */
    bool is_held;    /* it has more to ask, once it is its turn and there is room */
    bool is_warm;    /* walks a route that was kept */
    uint8_t n_again; /* walks after the first, having found nothing, or nothing to be believed */
    bool is_astray;  /* the last walk may have been led to the wrong nodes, */
    bool is_bare;    /* and most likely was, whatever it found there */
    uint64_t deadline_us;
    struct dht_lookup lookup;
    size_t n_starts;      /* nodes of our table that it began with */
    unsigned n_questions; /* sent, of all kinds */
    unsigned n_hops;      /* read: depth of the first who had something; 0: nobody yet */
    size_t n_in_air;      /* stores and pages that are waited for */
    size_t n_written;     /* nodes that were asked to store, */
    size_t n_heard;       /* and answered */
    size_t n_overdue;     /* stores that were late twice: they may still be answered */
    bool is_writing;      /* stores wait for room */
    size_t n_stored;
    bool is_kept; /* one of those is ourselves */

    uint8_t *raw; /* publish, store, handover: room for the signed entry */
    size_t n_raw;
    struct dht_read *read; /* read: what was found, and what is missing */
    struct addr *peer;     /* get_peers: what was found */
    size_t n_peers;
    struct dht_heir heir;  /* handover: whom for */
    struct peer_id given;  /* handover: writer of the last entry; valid when n_raw > 0 */
    struct dht_item *item; /* put: what; get: its salt, then the best found */
    bool has_item;
    bool has_cas; /* put: only in the place of the one with this number */
    uint64_t cas;
    struct dht_put_result put;
    uint16_t port; /* announce: ours */

    union {
        void (*stored)(void *arg, uint64_t now_us, size_t n_stored);
        void (*put)(void *arg, uint64_t now_us, const struct dht_put_result *result);
        void (*read)(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked);
        void (*peers)(void *arg, uint64_t now_us, const struct addr *peer, size_t n);
        void (*item)(void *arg, uint64_t now_us, const struct dht_item *item);
    } done;
    void *arg;
};

/* operation.c */
/** A new operation at the end of the line; NULL when there is no memory or the line is too long. */
struct dht_operation *dht_operation_new(struct dht *dht, uint64_t now_us, enum dht_task task, const struct dht_id *target);
/** The one with this number, or NULL. */
struct dht_operation *dht_operation_find(struct dht *dht, uint64_t number);
void dht_operation_free(struct dht_operation *op);
void dht_operations_run(struct dht *dht, uint64_t now_us);
uint64_t dht_operations_deadline(const struct dht *dht);
void dht_operations_free(struct dht *dht);

/* walk.c */
void dht_walk_start(struct dht *dht, uint64_t now_us, struct dht_operation *op);
/** What it can do without asking, and one question, if there is room. */
void dht_walk_go_on(struct dht *dht, uint64_t now_us, struct dht_operation *op);
/** Writes to the nearest that were not written to, as long as there is room. */
void dht_walk_write(struct dht *dht, uint64_t now_us, struct dht_operation *op);
/** It came to its end: does it begin once more, since what it found is not to be believed? */
bool dht_walk_again(struct dht *dht, struct dht_operation *op);
/** Asks once more what is late. */
void dht_walk_repeat(struct dht *dht, uint64_t now_us, struct dht_operation *op, struct dht_transaction *t);

/* reply.c */
void dht_operation_answered(struct dht *dht, uint64_t now_us, const struct dht_transaction *t, const struct dht_message *m);
void dht_operation_late(struct dht *dht, struct dht_transaction *t);
void dht_operation_lost(struct dht *dht, const struct dht_transaction *t);

/* task.c */
/** Gives `heir` every entry that we hold under `key`.  False without memory. */
bool dht_task_hand_over(struct dht *dht, uint64_t now_us, const struct dht_heir *heir, const struct dht_id *key);
/** Looks up an id for the sake of the table: our own, or one in a bucket. */
void dht_task_find(struct dht *dht, uint64_t now_us, const struct dht_id *target, bool is_self);
void dht_task_publish(struct dht *dht, uint64_t now_us, const struct dht_id *key);
/** The operation begins: what can be had without asking anybody. */
void dht_task_begin(struct dht *dht, uint64_t now_us, struct dht_operation *op);
bool dht_task_is_write(enum dht_task task);
/** True when it brings signed entries of the directory to others. */
bool dht_task_carries_entry(enum dht_task task);
/** The question that a step of the walk asks `c`. */
void dht_task_question(const struct dht *dht, const struct dht_operation *op, const struct dht_candidate *c,
                       struct dht_message *m);
/** The write that `c` gets at the end. */
void dht_task_write(const struct dht_operation *op, const struct dht_candidate *c, struct dht_message *m);
/** `c` answered a step. */
void dht_task_heard(struct dht *dht, uint64_t now_us, struct dht_operation *op, const struct dht_candidate *c,
                    const struct dht_message *m);
/** A write was refused. */
void dht_task_refused(struct dht_operation *op, int error);
/** The walk is over.  Returns true when the nearest are to be written to. */
bool dht_task_arrived(struct dht *dht, uint64_t now_us, struct dht_operation *op);
/** True when nothing better can come. */
bool dht_task_is_satisfied(const struct dht_operation *op);
/** Hands the result over; the operation is off the list already. */
void dht_task_end(struct dht *dht, uint64_t now_us, struct dht_operation *op);

#endif
