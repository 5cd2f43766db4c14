/**
 * dht/item.h - BEP 44 items: how they are named, signed and checked, and those we hold for others.
 *
 * Gone two hours after the last put.  When the store is full the one longest untouched makes way, of those that came from the same
 * public /24 or /48 if these have their share.
 */
#ifndef DHT_ITEM_H
#define DHT_ITEM_H

#include "dht/dht.h"
#include "dht/krpc.h"
#include "dht/tally.h"

#define DHT_ITEMS_MAX 1024
#define DHT_ITEMS_SUBNET_MAX 64
#define DHT_ITEM_US ((uint64_t)2 * 3600 * 1000000)

struct dht_held_item {
    struct dht_id target;
    uint64_t put_us;
    struct addr source; /* who put it first */
    struct dht_item item;
};

struct dht_items {
    size_t n, capacity;
    struct dht_held_item **held; /* by target */
    struct dht_tally subnets;    /* where they came from */
};

void dht_items_init(struct dht_items *items);
void dht_items_fini(struct dht_items *items);

/** True when the item's value is bencoded, within its size, and signed if it is mutable. */
bool dht_item_verify(const struct dht_item *item);

/** Fills an item from a put query or a get reply; HANSE_EPROTO with the error to answer in `*error`.  Verifies nothing. */
HANSE_MUST_USE int dht_item_take(struct dht_item *item, const struct dht_message *m, int *error);

/**
 * Keeps a verified item that came from `source` (family 0: from us).  0, or the error to answer: DHT_ERROR_CAS, DHT_ERROR_SEQ, DHT_ERROR_SERVER.  `cas` NULL: not asked for.
 */
int dht_items_store(struct dht_items *items, const struct dht_item *item, const uint64_t *cas, const struct addr *source,
                    uint64_t now_us);

/** The item, or NULL. */
const struct dht_item *dht_items_find(const struct dht_items *items, const struct dht_id *target, uint64_t now_us);

void dht_items_expire(struct dht_items *items, uint64_t now_us);

#endif
