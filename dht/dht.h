/**
 * dht/dht.h - our Kademlia node: the Mainline wire format (BEP 5, 32, 42, 43, 44) in our own overlay, and a
 * directory of many signed writers under one key.
 * Maymounkov and Mazieres, "Kademlia", 2002.
 *
 * A step machine: feed it datagrams and ticks, it sends through io->datagram.  Everything it knows has a fixed
 * ceiling, and is allotted as it comes to know it; without memory it knows less.  Loop thread only.  Callbacks run from inside dht_datagram() or dht_tick() and may start new operations;
 * each operation calls back exactly once, at its own deadline at the latest.  Only what cannot begin (no memory, 2048
 * operations waiting, 256 keys published already) calls back at once, from inside the call that asked for it, and says that
 * nothing was stored or found.
 */
#ifndef DHT_DHT_H
#define DHT_DHT_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/io.h"
#include "base/key.h"
#include "base/random.h"

#define DHT_ID_BYTES 20
#define DHT_K 8
#define DHT_VALUE_MAX 1000         /* BEP 44 */
#define DHT_DATAGRAM_MAX 1200      /* largest we send, */
#define DHT_ITEM_DATAGRAM_MAX 1400 /* but for a put and the answer to a get: the largest item, its key, signature and salt */
#define DHT_DIRECTORY_TTL_S 300
#define DHT_DIRECTORY_BYTES_MAX 648 /* largest payload of one directory entry */

struct dht_id {
    uint8_t byte[DHT_ID_BYTES];
};

struct dht; /* the node */

struct dht_config {
    const struct key *key; /* signs our directory entries; kept */
    bool is_read_only;     /* BEP 43: asks, does not answer, is put in no table */
    bool is_closed;        /* knows and answers nodes of ours alone: beside another network on the same socket */
    uint16_t port;         /* where we listen, for announce_peer */
    uint64_t seed;         /* of every random decision */
    bool has_links;        /* events of links are brought to dht_link_event(): large reads use them */
    struct addr addr;      /* where others see us, if we know: our id fits it from the start; else left 0 or unspecified */
};

/** Keeps `io`.  The node id follows BEP 42 once our address is known, and commits to the key (bytes 3..18). */
HANSE_MUST_USE int dht_new(const struct dht_config *config, const struct io *io, uint64_t now_us, struct dht **out);
void dht_free(struct dht *dht);

void dht_datagram(struct dht *dht, uint64_t now_us, const struct addr *from, const uint8_t *bytes, size_t n);
void dht_tick(struct dht *dht, uint64_t now_us);
uint64_t dht_deadline(const struct dht *dht);

enum dht_link_use {
    DHT_LINK_OTHERS, /* the event was not the DHT's */
    DHT_LINK_TAKEN,  /* it was, and need not keep a link open */
    DHT_LINK_GIVEN   /* a question on somebody's link, which was answered with entries */
};

/**
 * Brings IO_LINK_UP, IO_LINK_DOWN and IO_MESSAGE, before anybody else looks at them.  DHT_LINK_OTHERS, which is 0, unless it is the
 * DHT's own: of a link that it opened for a large read (dht/bulk.h), or a question for entries that we store, on whatever link.
 */
enum dht_link_use dht_link_event(struct dht *dht, uint64_t now_us, const struct io_event *event);

/** Pings an address to learn who is there, and looks up our own id once somebody answered; tried again with growing
 * pauses, of at most three seconds while the table is empty.  Up to 64 addresses are remembered. */
void dht_join(struct dht *dht, uint64_t now_us, const struct addr *addr);

/** Pings an address that a stranger named, once.  One of ours that answers there is taken as if we had been told to join it; of
 * others nothing is remembered. */
void dht_hint(struct dht *dht, uint64_t now_us, const struct addr *addr);

/** True when the datagram answers a question of this node: for two nodes on one socket. */
bool dht_expects(struct dht *dht, const struct addr *from, const uint8_t *bytes, size_t n);

/** Writes the addresses of up to `max` nodes that answered recently, to begin with another time; returns how many. */
size_t dht_good(const struct dht *dht, struct addr *out, size_t max);

/** Nodes in the table that answered recently. */
size_t dht_n_good(const struct dht *dht);

/** The code of the error that a question of ours was answered with last, and by whom; 0 when none was. */
int dht_last_error(const struct dht *dht, struct addr *by);

/** True once our own id was looked up among others, so that we know our neighbours and they may know us. */
bool dht_is_joined(const struct dht *dht);

/** Our address as most others see it (BEP 42 "ip"); false while unknown. */
bool dht_external(const struct dht *dht, struct addr *out);

struct dht_id dht_own_id(const struct dht *dht);

/* -- The directory: many writers under one key ------------------------------------------------------- */

/** What a writer says under a key.  The newest seq of a writer wins; it is gone at `expiry_s`. */
struct dht_entry {
    struct peer_id writer;
    struct addr addr; /* where the writer is reached (TCP and UDP) */
    uint64_t seq;
    uint32_t expiry_s; /* Unix time; DHT_DIRECTORY_TTL_S ahead, and taken up to 60 s beyond for clocks that differ */
    uint16_t n_bytes;
    uint8_t bytes[DHT_DIRECTORY_BYTES_MAX];
};

/** The key of a directory row: SHA-1 of "hanse-directory" || run || kind || layer || row. */
struct dht_id dht_directory_key(const struct hash *run, const char *kind, uint32_t layer, uint32_t row);

/**
 * Stores our entry at the nodes closest to `key` (ourselves among them when we are), again after 2, 8 and 32 s, then every
 * 100 to 150 s or sooner while the nodes there change, and at once when called anew with other bytes, until dht_withdraw().  What
 * nobody else took is tried again after 0.5 to 1.5 s, 1 to 3 s, and so on up to the regular pause, of all keys eight at a time.
 * `addr` unspecified means: as others see us.  `done` may be NULL; it hears once how many nodes took the next store.  A key has
 * one entry and one listener: a `done` that was not called yet gives way to that of a later call, and is never called.  Up
 * to 256 keys.
 */
void dht_publish(struct dht *dht, uint64_t now_us, const struct dht_id *key, const struct addr *addr, const void *bytes, size_t n,
                 void (*done)(void *arg, uint64_t now_us, size_t n_stored), void *arg);

/**
 * Stores one entry of ours now, once, as dht_publish() would, and keeps nothing of it: for a writer with thousands of keys that
 * has its own plan for saying things again.  Of several for one key the one asked for last counts.  `done` may be NULL; it
 * hears how many nodes took it.
 */
void dht_store_entry(struct dht *dht, uint64_t now_us, const struct dht_id *key, const struct addr *addr, const void *bytes,
                     size_t n, void (*done)(void *arg, uint64_t now_us, size_t n_stored), void *arg);

/** Stops republishing and stores an empty entry with a newer seq, so that readers forget us at once; tried again likewise for as long
 * as an older one may stand somewhere. */
void dht_withdraw(struct dht *dht, uint64_t now_us, const struct dht_id *key);

/** Stores once more, now, everything that is published (before an orderly stop, after a change of address). */
void dht_republish(struct dht *dht, uint64_t now_us);

/**
 * Reads all live entries of `key`: from the closest nodes (our own store included), union over several holders, newest seq
 * of each writer, signatures checked, entries with no bytes (withdrawn) left out.  `entry` is borrowed for the call.
 * n_asked tells how many nodes answered at all: 0 means that nobody could be reached.
 */
void dht_read(struct dht *dht, uint64_t now_us, const struct dht_id *key,
              void (*done)(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked), void *arg);

/**
 * The same, and `some` hears each entry as soon as it is verified: first ours, then what answers bring, a newer one of a
 * writer again, in no order.  Withdrawn ones are left to `done`, which has the last word.
 */
void dht_read_early(struct dht *dht, uint64_t now_us, const struct dht_id *key,
                    void (*some)(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n),
                    void (*done)(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked), void *arg);

/** While the `done` of a read is called: how many of those that it asked did not answer, or not in time. */
size_t dht_read_n_silent(const struct dht *dht);

/** True when our own store has a live entry of `key`. */
bool dht_holds(const struct dht *dht, uint64_t now_us, const struct dht_id *key);

/* -- Mainline's own: peers and items --------------------------------------------------------------- */

void dht_announce_peer(struct dht *dht, uint64_t now_us, const struct dht_id *info_hash,
                       void (*done)(void *arg, uint64_t now_us, size_t n_stored), void *arg);
void dht_get_peers(struct dht *dht, uint64_t now_us, const struct dht_id *info_hash,
                   void (*done)(void *arg, uint64_t now_us, const struct addr *peer, size_t n), void *arg);

/** BEP 44.  `v` is bencoded.  A mutable item is named by a public key and a salt (up to 64 bytes). */
struct dht_item {
    bool is_mutable;
    uint8_t key[32];
    uint8_t signature[64];
    uint64_t seq;
    uint8_t salt[64];
    size_t n_salt;
    uint8_t v[DHT_VALUE_MAX];
    size_t n_v;
};
struct dht_id dht_item_target(const struct dht_item *item);
/** Signs with `key`, filling key and signature.  The bytes signed are those of BEP 44. */
void dht_item_sign(struct dht_item *item, const struct key *key);

/** What became of a put: how many took it, and how many refused it for what they hold already. */
struct dht_put_result {
    size_t n_stored;
    size_t n_other;    /* that has not the number `cas` (301) */
    size_t n_newer;    /* that has a higher number, or this one and another value (302) */
    bool has_held;     /* somebody says to hold one, */
    uint64_t held_seq; /* with this number, the highest that was named; nobody proved it */
};

/** Of a mutable item `cas`, unless NULL, is the number of the one that it replaces: who holds another refuses.  `done` may be NULL. */
void dht_put(struct dht *dht, uint64_t now_us, const struct dht_item *item, const uint64_t *cas,
             void (*done)(void *arg, uint64_t now_us, const struct dht_put_result *result), void *arg);
/** `item` is NULL when none that verifies was found. */
void dht_get(struct dht *dht, uint64_t now_us, const struct dht_id *target, const void *salt, size_t n_salt,
             void (*done)(void *arg, uint64_t now_us, const struct dht_item *item), void *arg);

/** Counters since the start, for status and tests. */
struct dht_stats {
    uint64_t n_queries_in, n_queries_out, n_replies_in, n_timeouts, n_malformed, n_refused;
    uint64_t n_bytes_in, n_bytes_out;
    uint64_t n_walks, n_walk_hops,
        n_walk_questions; /* first reads of a key that found something: how many, how many questions one
                                                        after the other until the first who had it, and how many in all */
    size_t n_nodes, n_entries, n_items, n_peers;
};
struct dht_stats dht_stats(const struct dht *dht);

/** Bytes of heap that the node holds now: the sum of what it has allotted, without the allocator's own overhead. */
size_t dht_memory(const struct dht *dht);

#endif
