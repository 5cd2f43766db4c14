/**
 * dht/read.h - a read of a directory key: the union of what several holders have, each entry fetched and verified once.
 *
 * A holder that cannot give all entries in one answer lists digests.  What we have already, from another holder or from the last
 * read, is not asked for; the rest is fetched, from whichever holder that named it is free: by tags, in datagrams, or over a
 * link where that would take many.  A holder is asked for an entry once, first for those that others name, too: whoever
 * names what it does not have costs two questions.  A read opens one link at most, and waits for it as long as for a
 * datagram or two before it goes on without.
 * While more is missing than a read can give, a holder lists on only when what it listed was fetched, but for a few: so what is
 * missing are some thousands at most, and nobody's list is cut short.
 */
#ifndef DHT_READ_H
#define DHT_READ_H

#include "dht/bulk.h"
#include "dht/found.h"
#include "dht/lookup.h"

#define DHT_READ_ENTRIES_MAX 2048
#define DHT_READ_HOLDERS_MAX 64 /* who list digests; more than liars on one path are met */
#define DHT_READ_PAGES_MAX 16   /* of digests from one holder; those who may hold most need 8 */
#define DHT_READ_TAGS_MAX 32    /* in one question; an answer has room for 9 of the smallest entries */

struct dht;
struct dht_operation;

enum dht_page_state { DHT_PAGE_IDLE, DHT_PAGE_LISTS, DHT_PAGE_FETCHES, DHT_PAGE_LINKED };

/** Where we are with one holder. */
struct dht_page {
    struct addr addr;
    struct dht_id id;
    uint8_t n_token;
    uint8_t token[DHT_TOKEN_MAX];
    uint8_t state;
    bool is_lost;    /* it answers no more, or lied */
    bool has_more;   /* digests, after `cursor` */
    uint16_t n_live; /* entries, as it says */
    uint16_t n_listed;
    uint8_t n_lists;    /* pages of digests that we heard */
    uint16_t n_chosen;  /* entries that it was asked for last */
    uint16_t n_unasked; /* entries that it gave and nobody had asked for */
    uint8_t n_strikes;  /* questions that brought nothing of what it had named */
    uint8_t cursor[DHT_CURSOR_BYTES];
};

/** An entry that holders named and we do not have. */
struct dht_missing {
    uint8_t digest[DHT_DIGEST_BYTES];
    uint8_t page_i;   /* who is being asked for it, or none */
    uint64_t holders; /* bit i: page i named it and was not asked yet */
    uint64_t named;   /* bit i: page i named it */
};

struct dht_read {
    struct dht_found_list found;
    size_t n_kept;        /* of those, left by the last read */
    size_t n_checks;      /* signatures that were verified */
    bool has_asked_link;  /* once is enough, whatever becomes of it */
    uint64_t patience_us; /* until when a link is waited for; 0: none is */
    size_t n_missing, missing_capacity;
    struct dht_missing *missing; /* by digest */
    size_t n_pages, pages_capacity;
    struct dht_page *page;
    uint8_t tags[DHT_READ_TAGS_MAX * DHT_TAG_BYTES]; /* of the question that is being written */
    void (*some)(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n);
};

void dht_read_free(struct dht_read *read);

/** The read begins: with what the last one left and is not over, and what our own store has. */
void dht_read_begin(struct dht *dht, uint64_t now_us, struct dht_operation *op);

/** Entries that somebody named or gave in this read, whether we have them yet or not. */
size_t dht_read_n_named(const struct dht_read *read);

/** True when nobody named most of what the last read left: whoever was asked may be hiding it. */
bool dht_read_is_poor(const struct dht_read *read);

/** Where we are with the holder at an address, or NULL. */
struct dht_page *dht_read_page(struct dht_read *read, const struct addr *addr);

/** `c` answered a step of the walk; or, with `page`, a question of dht_read_next(). */
void dht_read_heard(struct dht *dht, uint64_t now_us, struct dht_operation *op, const struct dht_candidate *c,
                    struct dht_page *page, const struct dht_message *m);

/** A holder to be asked something more, already marked; or NULL.  One that is marked LINKED is being asked over a link. */
struct dht_page *dht_read_next(struct dht *dht, uint64_t now_us, struct dht_operation *op);

/** What to ask the holder; the same again until it was heard or lost. */
void dht_read_question(const struct dht_operation *op, const struct dht_page *page, struct dht_message *m);

/** Writes the tags that the holder is to be asked for now.  Returns their bytes. */
size_t dht_read_tags(const struct dht_read *read, const struct dht_page *page, uint8_t *out, size_t n_max);
/** Likewise over a link; none when it is to give all. */
size_t dht_read_link_tags(const struct dht_read *read, const struct dht_page *page, uint8_t *out, size_t n_max);

/** What a holder gave over a link; or with `m` NULL nothing.  `id` is its node's, `page` is NULL when it is not asked any more. */
void dht_read_linked(struct dht *dht, uint64_t now_us, struct dht_operation *op, struct dht_page *page, const struct dht_id *id,
                     const struct dht_bulk_entries *m);

/** True when what the holder is asked for by a datagram came from others meanwhile: then nobody waits for it any longer. */
bool dht_read_is_needless(const struct dht_read *read, const struct dht_page *page);

/** Takes back what the holder is asked by a datagram, which it need not answer. */
void dht_read_do_without(struct dht *dht, struct dht_operation *op, struct dht_page *page);

/** The holder could not be asked now. */
void dht_read_later(struct dht_operation *op, struct dht_page *page);

/** Ends what took too long. */
void dht_read_run(struct dht_operation *op, uint64_t now_us);
uint64_t dht_read_deadline(const struct dht_operation *op);

/** The holder does not answer: others are asked for what it has. */
void dht_read_lost(struct dht_operation *op, struct dht_page *page);

/** Hands over what was found, and keeps it for the next read. */
void dht_read_end(struct dht *dht, uint64_t now_us, struct dht_operation *op);

#endif
