/**
 * node/host_kept.h - what a host remembers of a call: the rows of its forward, for the backward, and the answers of its
 * backward, for a retry.
 *
 * A call is (peer, call number).  Rows and answers share a budget of bytes; beyond it those of the oldest calls are
 * forgotten.  That a backward was done is remembered longer than its answer (KEPT_CALLS_MAX calls), because
 * forgetting it would let a retry count twice.  Rows are counted references to the message they came in, so
 * forgetting them never pulls them from under a product.
 *
 * Experts on a GPU (kernels->is_device) read a message from a copy in its memory.  Whoever first needs it brings it there, once
 * for all experts of the call, and there it stays for the backward as long as it is kept and a budget of the GPU's bytes allows: the copies of
 * the oldest calls go first, and come again from the CPU's memory if they are asked for.  Where the GPU has no memory for one, others
 * use it: what is there is all the budget for KEPT_SHORT_US, and then it is the whole again, to be tried once more.
 *
 * Loop thread only, but for kept_message_there().
 */
#ifndef NODE_HOST_KEPT_H
#define NODE_HOST_KEPT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/key.h"
#include "kernels/kernels.h"
#include "router/message.h"

#define KEPT_CALLS_MAX 65536
#define KEPT_SHORT_US 60000000u /* a copy that comes from the CPU each time costs more than one allotment a minute that fails */

/** The memory of a device for messages. */
struct kept_device {
    const struct kernels *kernels;
    pthread_mutex_t lock; /* of the rest, and of where messages are */
    pthread_cond_t has_come;
    size_t n_bytes, max_bytes; /* max: of now, less than... */
    size_t whole_bytes;        /* ...it may be, while memory is short */
    bool was_short;            /* since kept_trim() last looked */
    uint64_t short_until_us;
};

enum kept_place { KEPT_HERE, KEPT_COMING, KEPT_THERE };

/** A message as it came; whoever looks into it holds a reference. */
struct kept_message {
    size_t n_refs;
    size_t n_bytes;
    struct kept_device *device; /* where it is wanted as well; NULL: nowhere */
    enum kept_place place;
    uint8_t *there;
    _Alignas(16) uint8_t byte[];
};

/** A copy of `bytes` with one reference, or NULL. */
struct kept_message *kept_message_new(const void *bytes, size_t n);
void kept_message_ref(struct kept_message *message);
/** Drops one reference; accepts NULL. */
void kept_message_free(struct kept_message *message);
/** The bytes in the device's memory, all of what any thread asks of the device from now on finds them; NULL when there is no room.  Any thread, on behalf of
 * somebody with a reference, as long as which they stay. */
const uint8_t *kept_message_there(struct kept_message *message);

enum kept_state {
    KEPT_OWED,    /* the forward was answered; its backward has not come, or was not applied */
    KEPT_PENDING, /* the backward is queued or being computed */
    KEPT_DONE     /* the backward was applied */
};

/** One expert's part of a call. */
struct kept_part {
    uint16_t expert;
    uint8_t state;
    uint32_t n_slots, staleness; /* of the answer: KEPT_DONE */
    uint64_t version, load;
    void *bytes; /* behind values; NULL when not done, or forgotten */
    size_t n_bytes;
    struct rows values; /* gx as it was sent */
    void *pending;      /* the caller's: who computes it */
};

struct kept_call {
    struct kept_call *same_bucket, *older, *newer;
    uint64_t number; /* of its arrival */
    struct peer_id peer;
    uint64_t call;
    uint16_t layer;
    uint32_t n_rows, D;
    enum numerics form;
    struct kept_message *message; /* holds x; NULL when there are no rows */
    struct rows x;
    struct kept_part *part;
    size_t n_parts, max_parts, n_pending, n_done;
    size_t hint; /* where the next part is looked for first: they come in the same order each time */
};

struct kept {
    struct kept_call **bucket;
    size_t n_buckets, n_calls;
    struct kept_call *oldest, *newest;
    struct kept_call *first_full;  /* no older call has rows or answers; NULL when none has */
    struct kept_call *first_there; /* no older call's message is in the memory of the device */
    size_t n_bytes, max_bytes;
    uint64_t n_ever;
    struct kept_device device;
};

HANSE_MUST_USE int kept_init(struct kept *kept, size_t max_bytes);
/** What is kept from now on is wanted in the memory of `kernels`, too, up to max_bytes; a quarter of them is left to what is on its way. */
void kept_use_device(struct kept *kept, const struct kernels *kernels, size_t max_bytes);
/** Bytes in the memory of the device.  Any thread. */
size_t kept_device_bytes(struct kept *kept);
void kept_fini(struct kept *kept);

/** NULL when it is not known (any more). */
struct kept_call *kept_find(const struct kept *kept, const struct peer_id *peer, uint64_t call);

/** Finds or makes the call of a request; a new one is the newest.  NULL without memory. */
struct kept_call *kept_add(struct kept *kept, const struct peer_id *peer, const struct message_request *m);

/** Gives the call the rows of a forward, x (n_rows, D) inside `message`, to which it takes a reference of its own.  Other
 * rows than it had begin the call anew, unless something is pending. */
void kept_put_rows(struct kept *kept, struct kept_call *call, struct kept_message *message, const struct message_request *m);

/** The message that holds the call's rows, with a reference for the caller; NULL when there is none. */
struct kept_message *kept_pin_rows(struct kept *kept, struct kept_call *call);

/** The part of `expert`, made as KEPT_OWED if it was not known; NULL without memory.  Good until the next is made. */
struct kept_part *kept_part(struct kept_call *call, uint16_t expert);

/** Its backward is under way. */
void kept_begin(struct kept_call *call, struct kept_part *part, void *pending);

/** It was applied, and this is the answer; copies the values.  Rows that no expert needs any more are dropped. */
void kept_done(struct kept *kept, struct kept_call *call, struct kept_part *part, const struct message_group *group);

/** It was not applied: a retry begins anew. */
void kept_undo(struct kept_call *call, struct kept_part *part);

/** Holds the budgets, of which the device's may rise again.  The caller's pointers to calls with nothing pending end here. */
void kept_trim(struct kept *kept, uint64_t now_us);

#endif
