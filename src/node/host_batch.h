/**
 * node/host_batch.h - one expert's share of work: requests in the order of arrival, computed together without it showing.
 *
 * Parameters change only in an update, and an update falls right behind the backward that made it due.  Between two updates
 * all forwards meet the same parameters, so they may be one product; backwards add to one gradient chain in
 * their order, so neighbours of the same version and learning rate may be one product, too.  Every bit, and every version and
 * load in the answers, is as if each request had been computed alone, in order.
 *
 * Where memory is short, products become smaller, and a request for which even that is too much is BUSY; nothing else shows.
 */
#ifndef NODE_HOST_BATCH_H
#define NODE_HOST_BATCH_H

#include "base/key.h"
#include "experts/expert.h"
#include "node/host_kept.h"
#include "node/host_room.h"
#include "router/message.h"

#define BATCH_SLOTS_MAX 8192 /* taken from a queue at once, if more than one item: others want their turn, too */

/** One expert's group of a request. */
struct batch_item {
    struct batch_item *next;     /* in its queue, then in its batch */
    struct message_group *group; /* rows and weights in; status, version, staleness, load out; values: where the answer goes */
    bool is_backward;
    struct rows x;    /* the rows of the request, in the expert's form */
    struct rows gy;   /* BACKWARD: gradients, to be weighted by the slots */
    uint64_t version; /* BACKWARD: of its forward */
    float lr_scale;
    struct kept_message *message, *x_message; /* that hold the group's rows and weights, and x; NULL: not to be had on a device */
    bool is_bad;                              /* out: not finite, found while joining */
    bool is_done_before;                      /* a backward that was applied but whose answer is lost: gx again, without effect */
    const struct peer_id *caller;
    uint64_t call;
};

struct batch_counts {
    uint64_t n_forward_slots, n_backward_slots, n_updates, n_reject, n_stale, n_products;
};

/**
 * Computes all items from `first` on, in order, applying and logging updates as they fall due.  Without memory for a few slots
 * an item becomes STATUS_BUSY.  Adds to `counts`.  Any thread; when it returns, all is done, so another may go on with expert and room.
 *
 * HANSE_EDEVICE: the device failed.  HANSE_ENOMEM: its memory was too short in the middle of a gradient or an update.  Then x is lost: it is
 * not to be used, items and counts are as if nothing had been computed (STATUS_NOT_HERE, STATUS_BUSY), and so is the expert's log.
 */
HANSE_MUST_USE int batch_compute(struct expert *x, struct batch_item *first, struct room *room, struct batch_counts *counts);

#endif
