/**
 * dht/density.h - how thickly nodes lie around a key, and whether where a walk arrived is thinner than it should be.
 *
 * Ids are spread evenly, so wherever a walk ends the DHT_SPREAD_K nearest reach about as far from the key as those of any other.
 * Liars who name only each other cannot do that: they are fewer than all, and the few of them that a walk is told of lie ten to two
 * hundred times as far.  So a walk that finds nothing where nodes lie as thick as elsewhere has been where the record would be; one
 * that ends where they lie thin may have been led astray.
 * What was found counts for little there: anybody may write an entry of his own.
 * Compare Cholez et al., "Detection and mitigation of localized attacks in a widely deployed P2P network", 2013, who look for the
 * opposite, ids placed too near.
 */
#ifndef DHT_DENSITY_H
#define DHT_DENSITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DHT_SPREAD_K 16            /* from a key to the node of this rank: its spread */
#define DHT_SPREAD_NONE UINT64_MAX /* of a walk on which fewer answered */
#define DHT_DENSITY_WALKS 7        /* remembered */

/** Spreads of the last walks of one family, in 2^-64 of all ids.  All zeros: none yet. */
struct dht_density {
    uint64_t spread[DHT_DENSITY_WALKS];
    size_t n; /* noted, ever */
};

/** A walk ended; DHT_SPREAD_NONE is not counted. */
void dht_density_note(struct dht_density *density, uint64_t spread);

/** True when a walk ended where nodes lie thinner than chance explains, or nothing can be said for want of other walks. */
bool dht_density_is_thin(const struct dht_density *density, uint64_t spread);

/** True when nodes lie much thinner there than even bad luck explains; false when fewer answered, or for want of other walks. */
bool dht_density_is_bare(const struct dht_density *density, uint64_t spread);

/**
 * True when a walk that ended with these spreads may have been led astray: in one family is enough, since what is looked for may be
 * known there alone.  A family of which hardly anybody answered, now and ever, counts only when the other is such, too.  The caller
 * gives all zeros for a family of which it knows few nodes, if hardly anybody answered: liars, or those who came by, may have been more
 * once.
 */
bool dht_density_is_astray(const struct dht_density *v4, uint64_t spread_v4, const struct dht_density *v6, uint64_t spread_v6);

#endif
