#include "router/beam_cache.h"

#include <assert.h>
#include <stdlib.h>

#define NONE UINT32_MAX

/* Twice as many as rows, so that a bucket rarely has two. */
static size_t buckets_for(size_t n_rows)
{
    size_t n = 1;
    while (n < 2 * n_rows)
        n *= 2;
    return n;
}

size_t beam_cache_bytes(size_t n_rows)
{
    return n_rows * sizeof(struct beam_row) + buckets_for(n_rows) * sizeof(uint32_t);
}

int beam_cache_init(struct beam_cache *cache, size_t n_rows, size_t bytes_max)
{
    size_t bytes = beam_cache_bytes(n_rows), n_buckets = buckets_for(n_rows);
    *cache = (struct beam_cache){.n_rows = n_rows, .n_buckets = n_buckets, .bytes = bytes, .bytes_max = bytes_max};
    cache->oldest = cache->newest = NONE;
    cache->row = calloc(n_rows, sizeof *cache->row);
    cache->bucket = malloc(n_buckets * sizeof *cache->bucket);
    if (!cache->row || !cache->bucket) {
        beam_cache_fini(cache);
        return HANSE_ENOMEM;
    }
    for (size_t i = 0; i < n_buckets; i++)
        cache->bucket[i] = NONE;
    return 0;
}

void beam_cache_fini(struct beam_cache *cache)
{
    for (size_t i = 0; cache->row && i < cache->n_used; i++)
        free(cache->row[i].claims);
    free(cache->row);
    free(cache->bucket);
    *cache = (struct beam_cache){0};
}

static uint32_t *bucket_of(struct beam_cache *cache, uint32_t level, uint32_t number)
{
    uint64_t mixed = ((uint64_t)level << 32 | number) * 0x9e3779b97f4a7c15u; /* 2^64 over the golden ratio */
    return &cache->bucket[(mixed >> 32) & (cache->n_buckets - 1)];
}

static uint32_t place_of(const struct beam_cache *cache, const struct beam_row *row)
{
    return (uint32_t)(row - cache->row);
}

/* -- The order of age ----------------------------------------------------------------------------------- */

static void unlink_age(struct beam_cache *cache, struct beam_row *row)
{
    *(row->older == NONE ? &cache->oldest : &cache->row[row->older].newer) = row->newer;
    *(row->newer == NONE ? &cache->newest : &cache->row[row->newer].older) = row->older;
}

static void make_newest(struct beam_cache *cache, struct beam_row *row)
{
    row->older = cache->newest;
    row->newer = NONE;
    *(row->older == NONE ? &cache->oldest : &cache->row[row->older].newer) = place_of(cache, row);
    cache->newest = place_of(cache, row);
}

static void drop_claims(struct beam_cache *cache, struct beam_row *row)
{
    cache->bytes -= beam_claims_bytes(row->claims);
    free(row->claims);
    row->claims = NULL;
}

static void unlink_bucket(struct beam_cache *cache, struct beam_row *row)
{
    uint32_t *at = bucket_of(cache, row->level, row->number);
    while (*at != place_of(cache, row))
        at = &cache->row[*at].chain;
    *at = row->chain;
}

/* The oldest that may go, but not `but`; NULL when there is none. */
static struct beam_row *oldest_but(struct beam_cache *cache, const struct beam_row *but)
{
    uint32_t i = cache->oldest;
    while (i != NONE && (cache->row[i].is_reading || &cache->row[i] == but))
        i = cache->row[i].newer;
    return i == NONE ? NULL : &cache->row[i];
}

/* -- Rows ----------------------------------------------------------------------------------------------- */

struct beam_row *beam_cache_find(struct beam_cache *cache, uint32_t level, uint32_t number)
{
    uint32_t i = *bucket_of(cache, level, number);
    while (i != NONE && (cache->row[i].level != level || cache->row[i].number != number))
        i = cache->row[i].chain;
    if (i == NONE)
        return NULL;
    unlink_age(cache, &cache->row[i]);
    make_newest(cache, &cache->row[i]);
    return &cache->row[i];
}

struct beam_row *beam_cache_add(struct beam_cache *cache, uint32_t level, uint32_t number)
{
    struct beam_row *row = cache->n_used < cache->n_rows ? &cache->row[cache->n_used] : oldest_but(cache, NULL);
    if (!row)
        return NULL;
    if (cache->n_used < cache->n_rows) {
        cache->n_used++;
    } else {
        unlink_age(cache, row);
        unlink_bucket(cache, row);
        drop_claims(cache, row);
    }
    uint32_t *bucket = bucket_of(cache, level, number);
    *row = (struct beam_row){.level = level, .number = number, .chain = *bucket};
    *bucket = place_of(cache, row);
    make_newest(cache, row);
    return row;
}

/* A row without its claims is not known any more: it keeps its place, and is read when it is wanted again. */
static void empty(struct beam_cache *cache, struct beam_row *row)
{
    drop_claims(cache, row);
    row->until_us = 0;
}

/* The oldest row with claims that may lose them. */
static struct beam_row *oldest_with_claims(struct beam_cache *cache, const struct beam_row *but)
{
    uint32_t i = cache->oldest;
    while (i != NONE && (!cache->row[i].claims || &cache->row[i] == but))
        i = cache->row[i].newer;
    return i == NONE ? NULL : &cache->row[i];
}

int beam_cache_keep(struct beam_cache *cache, struct beam_row *row, struct beam_claims *claims)
{
    struct beam_row *victim;
    drop_claims(cache, row);
    while (cache->bytes + beam_claims_bytes(claims) > cache->bytes_max && (victim = oldest_with_claims(cache, row)))
        empty(cache, victim);
    if (cache->bytes + beam_claims_bytes(claims) > cache->bytes_max) {
        free(claims);
        return HANSE_EFULL;
    }
    cache->bytes += beam_claims_bytes(claims);
    row->claims = claims;
    return 0;
}
