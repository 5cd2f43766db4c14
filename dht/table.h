/**
 * dht/table.h - the nodes we know of one address family, sorted into buckets by how many leading bits they share with us.
 * Maymounkov and Mazieres, "Kademlia", 2002, sections 2.2 and 2.4 (buckets), 4.1 (replacement cache).
 *
 * Invariants: a node enters only after it answered a query of ours; an id and an address are held once; of one public IP
 * one node, of one public /24 or /48 one node a bucket; residents that answer are never pushed out.
 * Residents are in no order, replacements oldest first.  Loop thread only.  Buckets are allotted as they fill; one that finds no
 * memory is as good as full.
 */
#ifndef DHT_TABLE_H
#define DHT_TABLE_H

#include "dht/dht.h"

#define DHT_BUCKETS 32 /* the last one holds all that share 31 bits or more */
#define DHT_RESIDENTS (64 + 32 + 16 + (DHT_BUCKETS - 3) * DHT_K)
#define DHT_GOOD_US ((uint64_t)4 * 60 * 1000000) /* an answer makes a node good for this long */
#define DHT_SILENT_US ((uint64_t)120 * 1000000)  /* who was not heard of for so long is asked for a sign of life */
#define DHT_FAILURES_MAX 2                       /* queries in a row without an answer that make it bad */

struct dht_node {
    struct dht_id id;
    struct addr addr;
    uint64_t reply_us; /* when it last answered us */
    uint64_t asked_us; /* when we last asked it */
    uint32_t rtt_us;   /* smoothed round trip */
    uint8_t n_failures;
    bool is_ours; /* its version says hanse */
    bool is_late; /* a question to it took too long, and it did not answer since */
};

struct dht_bucket {
    uint8_t n, n_spare, n_bad, capacity;
    struct dht_node *node; /* n residents, n_bad of them bad; then verified newcomers that found it full, up to DHT_K */
    uint64_t lookup_us;    /* when a lookup last went there */
    uint64_t due_us;       /* when the first resident is due for a sign of life */
};

struct dht_table {
    struct dht_id own;
    size_t n;         /* residents */
    size_t n_buckets; /* that were ever needed; deeper ones are empty */
    struct dht_bucket *bucket;
    size_t n_places;  /* a power of two, or 0 */
    uint16_t *place;  /* where a resident is, found by its address: a hash table */
    uint64_t due_us;  /* the earliest of all buckets */
    uint64_t good_us; /* somebody is good until then; 0: not known */
};

void dht_table_init(struct dht_table *table, const struct dht_id *own);
void dht_table_fini(struct dht_table *table);

/** Takes another id of ours: everybody moves to the bucket that follows from it; who finds no room is forgotten. */
void dht_table_move(struct dht_table *table, const struct dht_id *own);

/**
 * Residents that a bucket has room for: 64, 32 and 16 in the three farthest, DHT_K in the others.  So a swarm of a hundred is known
 * whole, walks are shorter in larger ones, and two swarms that touch at one node grow together.
 */
size_t dht_table_room(size_t bucket);

/** The residents of a bucket, `*n` of them.  Valid until the table changes. */
const struct dht_node *dht_table_row(const struct dht_table *table, size_t bucket, size_t *n);

/** Bucket number of an id. */
size_t dht_table_bucket(const struct dht_table *table, const struct dht_id *id);

/**
 * A node answered a query of ours.  Inserts it or freshens it; `rtt_us` 0 is unknown.  Returns true when it is new among
 * the residents.  A known address that shows a new id loses its old entry.
 */
bool dht_table_answered(struct dht_table *table, const struct dht_id *id, const struct addr *addr, bool is_ours, uint32_t rtt_us,
                        uint64_t now_us);

/** Whoever is at this address has no place in the table any more. */
void dht_table_drop(struct dht_table *table, const struct addr *addr);

/** A query to this address went unanswered.  A bad resident gives way to the freshest replacement. */
void dht_table_failed(struct dht_table *table, const struct addr *addr);

/**
 * A query of `sent_us` to this address takes longer than it should.  Returns false when another did, and nothing was heard from there
 * since: it may be dead, which is no news twice.
 */
bool dht_table_late(struct dht_table *table, const struct addr *addr, uint64_t sent_us);

/** We ask this address now. */
void dht_table_asked(struct dht_table *table, const struct addr *addr, uint64_t now_us);

/** True when a node with this id and address is not yet held but could become a resident if it answered. */
bool dht_table_has_room(const struct dht_table *table, const struct dht_id *id, const struct addr *addr);

/** The resident at an address, or NULL.  Valid until the table changes. */
const struct dht_node *dht_table_find(const struct dht_table *table, const struct addr *addr);

bool dht_table_is_bad(const struct dht_node *node);
bool dht_table_is_good(const struct dht_node *node, uint64_t now_us);

/** Writes the up to `max` nearest residents that are not bad, nearest first; returns how many. */
size_t dht_table_closest(const struct dht_table *table, const struct dht_id *key, struct dht_node *out, size_t max);

/** The resident not heard of for longest, when that is at least DHT_SILENT_US ago and it was not asked within it; or NULL. */
const struct dht_node *dht_table_silent(const struct dht_table *table, uint64_t now_us);

/** When dht_table_silent() has the next one; UINT64_MAX for an empty table. */
uint64_t dht_table_silent_at(const struct dht_table *table);

/** A lookup goes towards `id` now. */
void dht_table_looked(struct dht_table *table, const struct dht_id *id, uint64_t now_us);

/** Forgets where lookups went. */
void dht_table_look_anew(struct dht_table *table);

/**
 * When a bucket short of the deepest is next due for a lookup, `pause_us` after the last one there; that bucket in `*bucket`.
 * UINT64_MAX when there is none.
 */
uint64_t dht_table_look_at(const struct dht_table *table, uint64_t pause_us, size_t *bucket);

size_t dht_table_n(const struct dht_table *table);
size_t dht_table_n_good(const struct dht_table *table, uint64_t now_us);

/** True when dht_table_n_good() is not 0, which costs less to say. */
bool dht_table_has_good(const struct dht_table *table, uint64_t now_us);

/** The deepest bucket that holds somebody, or 0. */
size_t dht_table_deepest(const struct dht_table *table);

/** Bytes allotted. */
size_t dht_table_memory(const struct dht_table *table);

#endif
