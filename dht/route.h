/**
 * dht/route.h - the way to keys that are read again and again: who held them last time, with their tokens.
 *
 * A read every few seconds then costs a question to each of a few holders instead of a walk.
 */
#ifndef DHT_ROUTE_H
#define DHT_ROUTE_H

#include "dht/lookup.h"

#define DHT_ROUTES_MAX 256
#define DHT_ROUTE_US ((uint64_t)60 * 1000000) /* then the whole way is walked anew; tokens live longer */

struct dht_route {
    struct dht_id key;
    uint64_t walked_us; /* when it was walked; 0: nobody answered */
    size_t n;
    struct dht_candidate holder[];
};

struct dht_routes {
    size_t n, capacity;
    struct dht_route **route;
};

void dht_routes_init(struct dht_routes *routes);
void dht_routes_fini(struct dht_routes *routes);

/** The route of a key while it is fresh, or NULL. */
const struct dht_route *dht_routes_find(const struct dht_routes *routes, const struct dht_id *key, uint64_t now_us);

/** Keeps who answered nearest to the key of a walk that is over; the oldest of DHT_ROUTES_MAX makes way. */
void dht_routes_keep(struct dht_routes *routes, struct dht_lookup *lookup, uint64_t now_us);

#endif
