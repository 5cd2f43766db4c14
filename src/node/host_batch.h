/**
 * node/host_batch.h - one expert's share of work: requests in the order of arrival, computed together without it showing.
 *
 * Parameters change only in an update, and an update falls right behind the backward that made it due.  Between two updates
 * all forwards meet the same parameters, so they may be one product; backwards add to one gradient chain in
 * their order, so neighbours of the same version and learning rate may be one product, too.  Every bit, and every version and
 * load in the answers, is as if each request had been computed alone, in order.
 */
#ifndef NODE_HOST_BATCH_H
#define NODE_HOST_BATCH_H

#include "base/key.h"
#include "experts/expert.h"
#include "router/message.h"

#define BATCH_SLOTS_MAX 8192   /* taken from a queue at once, if more than one item: others want their turn, too */
#define BATCH_PRODUCT_MAX 1024 /* slots in one product: enough for speed, and the scratch stays small */

/** One expert's group of a request. */
struct batch_item {
    struct batch_item *next;     /* in its queue, then in its batch */
    struct message_group *group; /* rows and weights in; status, version, staleness, load out; values: where the answer goes */
    bool is_backward;
    struct rows x;    /* the rows of the request, in the expert's form */
    struct rows gy;   /* BACKWARD: gradients, to be weighted by the slots */
    uint64_t version; /* BACKWARD: of its forward */
    float lr_scale;
    bool is_bad;         /* out: not finite, found while joining */
    bool is_done_before; /* a backward that was applied but whose answer is lost: gx again, without effect */
    const struct peer_id *caller;
    uint64_t call;
};

/** Memory that one batch computes in, handed from batch to batch; begins as zeros, ends with free(at). */
struct batch_scratch {
    void *at;
    size_t n_bytes;
};

struct batch_counts {
    uint64_t n_forward_slots, n_backward_slots, n_updates, n_reject, n_stale, n_products;
};

/** Computes all items from `first` on, in order, applying and logging updates as they fall due.  Without memory for the
 * scratch an item becomes STATUS_BUSY.  Adds to `counts`.  Any thread. */
void batch_compute(struct expert *x, struct batch_item *first, struct batch_scratch *scratch, struct batch_counts *counts);

#endif
