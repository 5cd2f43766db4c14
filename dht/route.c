#include "dht/route.h"

#include <stdlib.h>

#include "dht/id.h"

void dht_routes_init(struct dht_routes *routes)
{
    *routes = (struct dht_routes){0};
}

static void forget_found(struct dht_routes *routes, struct dht_route *route)
{
    routes->n_bytes -= route->found.n_bytes;
    dht_found_clear(&route->found);
}

void dht_routes_fini(struct dht_routes *routes)
{
    for (size_t i = 0; i < routes->n; i++) {
        forget_found(routes, routes->route[i]);
        free(routes->route[i]);
    }
    free(routes->route);
    dht_routes_init(routes);
}

/* Where the route of a key is kept, or NULL. */
static struct dht_route **find(const struct dht_routes *routes, const struct dht_id *key)
{
    for (size_t i = 0; i < routes->n; i++)
        if (dht_id_equal(&routes->route[i]->key, key))
            return &routes->route[i];
    return NULL;
}

const struct dht_route *dht_routes_find(const struct dht_routes *routes, const struct dht_id *key, uint64_t now_us)
{
    struct dht_route **route = find(routes, key);
    return route && (*route)->n > 0 && now_us - (*route)->walked_us <= DHT_ROUTE_US ? *route : NULL;
}

static bool grow(struct dht_routes *routes)
{
    if (routes->n < routes->capacity)
        return true;
    size_t capacity = routes->capacity ? 2 * routes->capacity : 4;
    struct dht_route **route = realloc(routes->route, capacity * sizeof *route);
    if (!route)
        return false;
    routes->route = route;
    routes->capacity = capacity;
    return true;
}

/* The one walked longest ago, of those with entries if that is asked for. */
static struct dht_route **oldest(const struct dht_routes *routes, bool with_entries)
{
    struct dht_route **oldest = NULL;
    for (size_t i = 0; i < routes->n; i++) {
        struct dht_route **route = &routes->route[i];
        if ((!with_entries || (*route)->found.n > 0) && (!oldest || (*route)->walked_us < (*oldest)->walked_us))
            oldest = route;
    }
    return oldest;
}

/* The place for a route: where one of this key is, a new one, or else that of the oldest.  NULL without memory. */
static struct dht_route **place_for(struct dht_routes *routes, const struct dht_id *key)
{
    struct dht_route **place = find(routes, key);
    if (place)
        return place;
    if (routes->n == DHT_ROUTES_MAX) {
        place = oldest(routes, false);
        forget_found(routes, *place);
        return place;
    }
    if (!grow(routes))
        return NULL;
    routes->route[routes->n] = NULL;
    return &routes->route[routes->n++];
}

/* A cache: without memory we only walk more. */
void dht_routes_keep(struct dht_routes *routes, struct dht_lookup *lookup, uint64_t now_us)
{
    struct dht_candidate *nearest[2 * DHT_K];
    size_t n = dht_lookup_closest(lookup, DHT_K, nearest, 2 * DHT_K);
    struct dht_route *route = calloc(1, sizeof *route + n * sizeof route->holder[0]);
    struct dht_route **place = route ? place_for(routes, &lookup->target) : NULL;
    if (!place) {
        free(route);
        return;
    }
    route->key = lookup->target;
    route->walked_us = n > 0 ? now_us : 0;
    route->n = n;
    for (size_t i = 0; i < n; i++)
        route->holder[i] = *nearest[i];
    if (*place)
        route->found = (*place)->found;
    free(*place);
    *place = route;
}

const struct dht_found_list *dht_routes_kept(const struct dht_routes *routes, const struct dht_id *key)
{
    struct dht_route **route = find(routes, key);
    return route && (*route)->found.n > 0 ? &(*route)->found : NULL;
}

void dht_routes_keep_found(struct dht_routes *routes, const struct dht_id *key, struct dht_found_list *found)
{
    struct dht_route **route = find(routes, key);
    if (!route || found->n_bytes > DHT_KEPT_BYTES)
        return;
    forget_found(routes, *route);
    while (routes->n_bytes + found->n_bytes > DHT_KEPT_BYTES)
        forget_found(routes, *oldest(routes, true));
    (*route)->found = *found;
    routes->n_bytes += found->n_bytes;
    *found = (struct dht_found_list){0};
}
