/**
 * dht/bulk.h - a read of many entries over a link (TCP and TLS 1.3) from a node that stores them.
 *
 * Where datagrams would take many pages a reader opens a link to the holder, at the address where it answers datagrams, and
 * asks for all at once.  The peer that proves itself on the link must be the one that the node's id names.  Up to
 * DHT_BULK_LINKS_MAX links are open at a time and up to DHT_BULK_CALLS_MAX questions on each; a link that has nothing to do is
 * closed after DHT_BULK_IDLE_US.  Whatever fails, datagrams go on instead.
 * A storing node answers anyone who proved a key, before or without any greeting, within limits: a read counts as one question
 * of its address and one more for each few thousand bytes of the answer.  What it would take is known before any of it is
 * copied; a link on which something waits while more must be refused is closed.  All answers that wait have a common ceiling: who takes
 * nothing for as long as a reader waits makes room for others.
 *
 * Two messages.  Their kinds are of the same space as those of router/message.h, which leaves them alone.
 *   DIRECTORY_READ:     u8 32 | u8 0 | u16 n_tags (0: all) | u32 call | 20 key | n_tags x 8 tag, ascending
 *   DIRECTORY_ENTRIES:  u8 33 | u8 refused (0, 1) | u16 0 | u32 call | entries      integers little-endian
 */
#ifndef DHT_BULK_H
#define DHT_BULK_H

#include "base/io.h"
#include "dht/directory.h"

#define DHT_BULK_READ 32
#define DHT_BULK_ENTRIES 33
#define DHT_BULK_TAGS_MAX DHT_DIRECTORY_KEY_MAX
#define DHT_BULK_BYTES_MAX (8 + (size_t)DHT_DIRECTORY_KEY_MAX * DHT_ENTRY_MAX) /* of an answer: a whole key */
#define DHT_BULK_LINKS_MAX 16
#define DHT_BULK_CALLS_MAX 4                   /* on a link */
#define DHT_BULK_GIVEN_MAX 256                 /* links on which answers wait to be taken, */
#define DHT_BULK_WAITING_MAX ((size_t)8 << 20) /* and their bytes together */
#define DHT_BULK_IDLE_US ((uint64_t)10 * 1000000)
#define DHT_BULK_DIAL_US ((uint64_t)1500000)     /* for a link to open, */
#define DHT_BULK_CALL_US ((uint64_t)3 * 1000000) /* and for an answer on it; an operation has 8 s */

struct dht_bulk_read {
    uint32_t call;
    struct dht_id key;
    struct dht_span tags; /* ascending; none: all */
};
void dht_bulk_read_encode(const struct dht_bulk_read *m, struct buf *out);
HANSE_MUST_USE int dht_bulk_read_decode(struct dht_bulk_read *m, const void *bytes, size_t n);

struct dht_bulk_entries {
    uint32_t call;
    bool is_refused; /* too much was asked: not now */
    struct dht_span entries;
};
void dht_bulk_entries_encode(const struct dht_bulk_entries *m, struct buf *out);
/** The entries themselves are not looked at. */
HANSE_MUST_USE int dht_bulk_entries_decode(struct dht_bulk_entries *m, const void *bytes, size_t n);

struct dht_bulk_call {
    uint32_t call; /* 0: free */
    uint64_t operation, until_us;
};

struct dht_bulk_link {
    io_link link;
    struct addr addr;
    struct dht_id id; /* of the node there */
    bool is_up;
    uint64_t used_us; /* when it last had something to do */
    struct dht_bulk_call call[DHT_BULK_CALLS_MAX];
};

/** Somebody's link on which an answer of ours may still wait. */
struct dht_bulk_given {
    io_link link;
    size_t n_waiting;  /* bytes, when we looked last */
    uint64_t taken_us; /* when others than before waited */
};

struct dht_bulk {
    size_t n_given;
    uint64_t looked_us;           /* at them, last */
    struct dht_bulk_given *given; /* DHT_BULK_GIVEN_MAX of them, or NULL before the first */
    size_t n, capacity;
    struct dht_bulk_link *link;
    uint32_t n_calls; /* numbers them */
};

struct dht;
struct dht_page;

void dht_bulk_fini(struct dht_bulk *bulk);

/** Asks a holder for what `operation` misses; dht_read_linked() follows.  False: there is no link to be had. */
bool dht_bulk_ask(struct dht *dht, uint64_t now_us, uint64_t operation, const struct dht_page *page);

/** See dht_link_event(). */
enum dht_link_use dht_bulk_event(struct dht *dht, uint64_t now_us, const struct io_event *event);

/** Ends what waited too long, and links without use. */
void dht_bulk_run(struct dht *dht, uint64_t now_us);
uint64_t dht_bulk_deadline(const struct dht *dht);

#endif
