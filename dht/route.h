/**
 * dht/route.h - the way to keys that are read again and again: who held them last time, with their tokens, and what was found.
 *
 * A read every few seconds then costs a page of digests from each of a few holders, and what changed, instead of a walk and
 * all entries.  Memory: a route each for up to DHT_ROUTES_MAX keys, and up to DHT_KEPT_BYTES of entries in all.
 */
#ifndef DHT_ROUTE_H
#define DHT_ROUTE_H

#include "dht/found.h"
#include "dht/lookup.h"

#define DHT_ROUTES_MAX 256
#define DHT_ROUTE_US ((uint64_t)60 * 1000000) /* then the whole way is walked anew; tokens live longer */
#define DHT_KEPT_BYTES ((size_t)4 << 20)      /* a directory of 4,096 experts takes 1.2 MB when each has a host of its own */

struct dht_route {
    struct dht_id key;
    uint64_t walked_us;          /* when it was walked; 0: nobody answered */
    struct dht_found_list found; /* by the last read */
    size_t n;
    struct dht_candidate holder[];
};

struct dht_routes {
    size_t n, capacity;
    struct dht_route **route;
    size_t n_bytes; /* of what was found */
};

void dht_routes_init(struct dht_routes *routes);
void dht_routes_fini(struct dht_routes *routes);

/** The route of a key while it is fresh, or NULL. */
const struct dht_route *dht_routes_find(const struct dht_routes *routes, const struct dht_id *key, uint64_t now_us);

/** Keeps who answered nearest to the key of a walk that is over; the oldest of DHT_ROUTES_MAX makes way. */
void dht_routes_keep(struct dht_routes *routes, struct dht_lookup *lookup, uint64_t now_us);

/** What the last read of a key found, or NULL; good until the next call that keeps something. */
const struct dht_found_list *dht_routes_kept(const struct dht_routes *routes, const struct dht_id *key);

/** Takes what a read found, leaving `found` empty, if the key has a route; the oldest routes' entries make way. */
void dht_routes_keep_found(struct dht_routes *routes, const struct dht_id *key, struct dht_found_list *found);

#endif
