/**
 * dht/bencode.h - bencoding (BEP 3), read strictly and without copies, and written to memory the caller has.
 *
 * Only the one canonical form is read: no leading zeros, no "-0", dictionary keys ascending and unique, nothing after the
 * value.  Depth and tokens have ceilings, so a hostile message costs at most one pass over its bytes.
 * The tokens point into the message and live as long.
 */
#ifndef DHT_BENCODE_H
#define DHT_BENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hanse/err.h"

#define DHT_BENCODE_DEPTH_MAX 8    /* KRPC needs 3, an item's value seldom more */
#define DHT_BENCODE_TOKENS_MAX 320 /* a reply full of peers has 200 */

enum dht_bencode_type { DHT_BENCODE_INTEGER, DHT_BENCODE_STRING, DHT_BENCODE_LIST, DHT_BENCODE_DICTIONARY };

/** Bytes that belong to somebody else; `bytes` NULL: absent. */
struct dht_span {
    const uint8_t *bytes;
    size_t n;
};

struct dht_bencode_token {
    uint8_t type;
    uint16_t next;       /* index of the token after this value and all that is in it */
    struct dht_span raw; /* the value as it was encoded */
    union {
        int64_t integer;
        struct dht_span string;
    };
};

struct dht_bencode {
    size_t n_tokens;
    struct dht_bencode_token token[DHT_BENCODE_TOKENS_MAX];
};

/** Reads exactly one value of `n` bytes; it is token 0.  HANSE_EPROTO on anything else. */
HANSE_MUST_USE int dht_bencode_read(struct dht_bencode *doc, const void *bytes, size_t n);

/** The value of `key` in `dictionary`, or NULL: also when `dictionary` is NULL or no dictionary. */
const struct dht_bencode_token *dht_bencode_find(const struct dht_bencode *doc, const struct dht_bencode_token *dictionary,
                                                 const char *key);

/** The element after `element` in `list`, the first one for NULL; NULL at the end or when `list` is none. */
const struct dht_bencode_token *dht_bencode_each(const struct dht_bencode *doc, const struct dht_bencode_token *list,
                                                 const struct dht_bencode_token *element);

/** A string's bytes; absent when the token is NULL or no string. */
struct dht_span dht_bencode_string(const struct dht_bencode_token *token);

/** True, with the number in `out`, when the token is an integer in [min, max]. */
bool dht_bencode_integer(const struct dht_bencode_token *token, int64_t min, int64_t max, int64_t *out);

/**
 * Writes until `max`; what does not fit leaves `is_full` set and is dropped.  The caller brings keys in ascending order
 * and closes what it opens.
 */
struct dht_bencode_writer {
    uint8_t *bytes;
    size_t n;
    size_t max;
    bool is_full;
};

void dht_bencode_writer_init(struct dht_bencode_writer *w, void *bytes, size_t max);
void dht_bencode_put_raw(struct dht_bencode_writer *w, const void *bytes, size_t n);
void dht_bencode_put_integer(struct dht_bencode_writer *w, int64_t v);
void dht_bencode_put_string(struct dht_bencode_writer *w, const void *bytes, size_t n);
void dht_bencode_put_text(struct dht_bencode_writer *w, const char *text);
/** 'd' and 'l' open, 'e' closes. */
void dht_bencode_put_mark(struct dht_bencode_writer *w, char mark);

/** A key with its value; absent spans write nothing. */
void dht_bencode_put_pair(struct dht_bencode_writer *w, const char *key, struct dht_span value);
void dht_bencode_put_number(struct dht_bencode_writer *w, const char *key, int64_t v);

#endif
