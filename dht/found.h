/**
 * dht/found.h - verified entries of one key, ordered by writer: what a read has found, and what is kept of it for the next.
 *
 * Invariant: a writer has at most one.  They are kept as they travelled, for their hash names them in digests.
 */
#ifndef DHT_FOUND_H
#define DHT_FOUND_H

#include "dht/entry.h"

struct dht_found {
    struct peer_id writer;
    struct addr addr; /* where the writer is reached; what the entry says, or else whom it came from */
    uint64_t seq;
    uint32_t expiry_s;
    uint8_t digest[DHT_DIGEST_BYTES];
    uint8_t older[DHT_DIGEST_BYTES]; /* the latest one that turned out to be older than this: not worth asking for again */
    bool is_named;                   /* by somebody in this read; else it is there from the last one */
    uint16_t n;
    uint8_t raw[];
};

struct dht_found_list {
    size_t n, capacity, n_bytes;
    struct dht_found **found;
};

/** NULL without memory.  Copies what it is given; `entry` is what `raw` says. */
struct dht_found *dht_found_new(const struct dht_entry *entry, struct dht_span raw);
struct dht_found *dht_found_copy(const struct dht_found *found);

/** Decodes what is kept, with the address that was made out. */
void dht_found_entry(const struct dht_found *found, struct dht_entry *out);

/** The entry of a writer, or NULL. */
struct dht_found *dht_found_of(const struct dht_found_list *list, const struct peer_id *writer);

/** The entry whose digest this is, or that is known to be newer than the one whose digest this is; or NULL. */
struct dht_found *dht_found_by_digest(const struct dht_found_list *list, const uint8_t digest[DHT_DIGEST_BYTES]);

/** Takes `found` in place of what its writer had.  HANSE_ENOMEM, with `found` freed. */
HANSE_MUST_USE int dht_found_put(struct dht_found_list *list, struct dht_found *found);

/** Frees `found`, which is in the list. */
void dht_found_remove(struct dht_found_list *list, struct dht_found *found);

void dht_found_clear(struct dht_found_list *list);

#endif
