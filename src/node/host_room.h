/**
 * node/host_room.h - where slots of an expert compute: rows come in and answers go out, in the memory of its kernels.
 *
 * In memory of the CPU rows and answers are used where they lie, if they lie together.  A device is given each message once
 * (host_kept.h), gathers the slots from it, and rounds the answers, of which the integers alone come back: however many
 * rows there are, it is asked for as many operations.  Rows of a message that found no room there are gathered by the CPU first.
 *
 * A room begins as zeros with its kernels set, and is made for each product.  One thread at a time; another may go on with it, or
 * with what lies in it, after kernels->wait().
 */
#ifndef NODE_HOST_ROOM_H
#define NODE_HOST_ROOM_H

#include "experts/expert.h"

#define ROOM_SLOTS_MAX 1024 /* in one product: enough for speed, and the scratch stays small */

struct batch_item;

struct room {
    const struct kernels *kernels;
    void *at; /* everything below, in the memory of the kernels */
    size_t n_bytes;
    void *staging; /* of a device: what comes and goes, in memory of the CPU */
    size_t staging_bytes;
    size_t n_slots;       /* made for */
    size_t max_slots;     /* that there was memory for; 0: it was never short */
    size_t n_since;       /* how often it was made since memory was short */
    struct rows rows, gy; /* joined, with their */
    float *weight;        /* weights */
    float *out;           /* answers */
    struct rows rounded;  /* of a device, */
    size_t n_fetched;     /* the last that came back */
    void *work;           /* of the expert */
};

/** Slots of one item as the expert takes them. */
struct room_slots {
    struct rows rows, gy;
    const float *weight;
    float *out;
};

/** Room for n slots of x, or for as many as there is memory for: returns how many that are; 0: not for a few. */
size_t room_make(struct room *room, const struct expert *x, size_t n);

/** An operation found no memory for as many slots: fewer from now on, and the rest is given back.  False: there cannot be fewer. */
bool room_shrink(struct room *room);
void room_fini(struct room *room);

/** Bytes in the memory of the kernels for n slots. */
size_t room_bytes(const struct expert *x, size_t n);

/** Has the item's messages brought to the device, if that is where x lives.  Of all that will be joined first: whoever brings one waits,
 * and a failure of what it asked for before would end there unheard. */
void room_send(const struct expert *x, const struct batch_item *item);

/** Puts all slots of an item behind `at` slots of others.  False: the expert would refuse them, and they are not there. */
bool room_join(struct room *room, const struct expert *x, const struct batch_item *item, size_t at);

/** n slots of an item from `first` on, alone.  HANSE_EREJECT: as above. */
HANSE_MUST_USE int room_alone(struct room *room, const struct expert *x, const struct batch_item *item, size_t first, size_t n,
                              struct room_slots *out);

/** Brings n answers from where they were computed to where room_answer() finds them; waits for all before. */
HANSE_MUST_USE int room_fetch(struct room *room, const struct expert *x, const float *out, size_t n);

/** Gives an item its n answers of slots `first` on, which are those from `at` on that were fetched from `out`, in the form in which they
 * leave.  HANSE_EREJECT: one is too large to travel. */
HANSE_MUST_USE int room_answer(const struct room *room, const struct expert *x, const struct batch_item *item, const float *out,
                               size_t at, size_t first, size_t n);

#endif
