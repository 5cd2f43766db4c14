/**
 * dht/directory.h - the directory entries we hold for others: many writers under one key.
 *
 * Invariants: of a writer under a key the entry with the newest seq; none that is over is given out; nothing that the
 * caller has not verified.  Ceilings: in total, for a key, for a writer, and for what one public /24 or /48 may put here, so that a
 * flood from one owner leaves room for others.  What a writer put here itself and what somebody else brought (dht/handover.c) are
 * counted apart; where there is no room, what was brought makes way for what its writer puts, and a subnet that has much under a key
 * for one that has less.  Entries are ordered by key, then writer, which is the order of pages.
 */
#ifndef DHT_DIRECTORY_H
#define DHT_DIRECTORY_H

#include "dht/entry.h"
#include "dht/tally.h"

#define DHT_DIRECTORY_MAX 8192
#define DHT_DIRECTORY_KEY_MAX 512
#define DHT_DIRECTORY_SUBNET_MAX 1024
#define DHT_DIRECTORY_SUBNET_KEY_MAX 64
#define DHT_DIRECTORY_BROUGHT_MAX 2048 /* by one subnet, of other writers */
#define DHT_DIRECTORY_BROUGHT_KEY_MAX 256
#define DHT_DIRECTORY_WRITER_MAX 1024 /* keys of one writer: no more than its subnet may have */

struct dht_record {
    struct dht_id key;
    struct peer_id writer;
    struct addr source; /* who put it here */
    bool is_own;        /* and that is the writer, by its address */
    uint64_t seq;
    uint32_t expiry_s;
    uint8_t digest[DHT_DIGEST_BYTES];
    size_t n;
    uint8_t bytes[]; /* the entry as it travels */
};

struct dht_directory {
    size_t n, capacity;
    struct dht_record **record;
    struct dht_tally subnets, brought; /* where writers' own came from, and the others */
    struct dht_tally writers;
    uint64_t swept_us; /* when a full one was last cleared of what is over */
};

void dht_directory_init(struct dht_directory *directory);
void dht_directory_fini(struct dht_directory *directory);

/**
 * Keeps a verified entry that came from `source` (family 0: from us).  Nothing happens, and 0 is returned, when the very same one is held;
 * HANSE_EGONE when a newer one is, HANSE_EFULL at a ceiling, HANSE_ENOMEM.
 */
HANSE_MUST_USE int dht_directory_store(struct dht_directory *directory, const struct dht_id *key, const struct dht_entry *entry,
                                       struct dht_span raw, const struct addr *source, uint64_t now_us);

/** The first entry of `key` that is not over and whose writer follows `after` (NULL: from the start); or NULL. */
const struct dht_record *dht_directory_next(const struct dht_directory *directory, const struct dht_id *key, const uint8_t *after,
                                            uint64_t now_us);

/** The entry of `key` that is not over and whose writer's head is `tag`; or NULL. */
const struct dht_record *dht_directory_tagged(const struct dht_directory *directory, const struct dht_id *key,
                                              const uint8_t tag[DHT_TAG_BYTES], uint64_t now_us);

/** How many entries of `key` are not over, and their bytes. */
size_t dht_directory_count(const struct dht_directory *directory, const struct dht_id *key, uint64_t now_us, size_t *n_bytes);

/** Forgets what is over. */
void dht_directory_expire(struct dht_directory *directory, uint64_t now_us);

#endif
