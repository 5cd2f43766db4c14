#include "dht/route.h"

#include <stdlib.h>

#include "dht/id.h"

void dht_routes_init(struct dht_routes *routes)
{
    routes->route = NULL;
}

void dht_routes_fini(struct dht_routes *routes)
{
    free(routes->route);
    routes->route = NULL;
}

struct dht_route *dht_routes_find(const struct dht_routes *routes, const struct dht_id *key, uint64_t now_us)
{
    for (size_t i = 0; routes->route && i < DHT_ROUTES_MAX; i++) {
        struct dht_route *route = &routes->route[i];
        if (route->walked_us != 0 && dht_id_equal(&route->key, key))
            return now_us - route->walked_us <= DHT_ROUTE_US ? route : NULL;
    }
    return NULL;
}

static struct dht_route *slot_for(struct dht_routes *routes, const struct dht_id *key)
{
    struct dht_route *oldest = &routes->route[0];
    for (size_t i = 0; i < DHT_ROUTES_MAX; i++) {
        struct dht_route *route = &routes->route[i];
        if (route->walked_us != 0 && dht_id_equal(&route->key, key))
            return route;
        if (route->walked_us < oldest->walked_us)
            oldest = route;
    }
    return oldest;
}

void dht_routes_keep(struct dht_routes *routes, struct dht_lookup *lookup, uint64_t now_us)
{
    if (!routes->route)
        routes->route = calloc(DHT_ROUTES_MAX, sizeof *routes->route);
    if (!routes->route)
        return; /* a cache: without memory we only walk more */
    struct dht_route *route = slot_for(routes, &lookup->target);
    struct dht_candidate *nearest[2 * DHT_K];
    route->key = lookup->target;
    route->n = dht_lookup_closest(lookup, DHT_K, nearest, 2 * DHT_K);
    route->walked_us = route->n > 0 ? now_us : 0;
    for (size_t i = 0; i < route->n; i++)
        route->holder[i] = *nearest[i];
}
