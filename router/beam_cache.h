/**
 * router/beam_cache.h - the blocks of the grid that a beam search knows: a bounded number of them, in bounded memory.
 *
 * What was looked at the longest ago gives way.  A block that is being read stays.  All but the claims is allotted in
 * beam_cache_init().
 */
#ifndef ROUTER_BEAM_CACHE_H
#define ROUTER_BEAM_CACHE_H

#include "router/beam_claims.h"

struct beam_row {
    uint32_t level, number;     /* which block */
    uint64_t until_us;          /* what we hold of it passes for the truth before this; 0: never read */
    uint64_t retry_us;          /* nobody could be reached: not read again before this */
    uint8_t n_empty, n_failed;  /* reads in a row that found nothing, or nobody */
    bool is_reading;            /* stays */
    uint64_t map;               /* a prefix block: values with experts under them */
    struct beam_claims *claims; /* a row of experts: NULL when there are none */
    uint32_t chain;             /* the next of its bucket */
    uint32_t older, newer;      /* by when it was looked at */
};

struct beam_cache {
    size_t n_rows, n_used, n_buckets;
    struct beam_row *row;
    uint32_t *bucket;
    uint32_t oldest, newest;
    size_t bytes, bytes_max; /* all of it */
};

/** Memory of a cache of so many blocks before it holds any claims. */
size_t beam_cache_bytes(size_t n_rows);

HANSE_MUST_USE int beam_cache_init(struct beam_cache *cache, size_t n_rows, size_t bytes_max);
void beam_cache_fini(struct beam_cache *cache);

/** The block, now looked at; NULL when we hold nothing of it. */
struct beam_row *beam_cache_find(struct beam_cache *cache, uint32_t level, uint32_t number);

/** A place for a block that is not there yet; NULL when all places are being read. */
struct beam_row *beam_cache_add(struct beam_cache *cache, uint32_t level, uint32_t number);

/** Takes the claims of a row, in place of those it had.  HANSE_EFULL when they do not fit, with all others gone that could go;
 * then the row has none. */
HANSE_MUST_USE int beam_cache_keep(struct beam_cache *cache, struct beam_row *row, struct beam_claims *claims);

#endif
