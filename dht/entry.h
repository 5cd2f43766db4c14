/**
 * dht/entry.h - one signed entry of the directory as it travels and is kept.
 *
 * The signature covers the directory key and every field, so an entry can be passed on by anybody and moved by nobody.
 */
#ifndef DHT_ENTRY_H
#define DHT_ENTRY_H

#include "base/wire.h"
#include "dht/bencode.h"
#include "dht/dht.h"

#define DHT_ENTRY_MAX (2 + 1 + 32 + 18 + 8 + 4 + DHT_DIRECTORY_BYTES_MAX + KEY_SIGNATURE_BYTES)
#define DHT_CLOCK_SKEW_S 60 /* how far a writer's clock may be ahead of ours */

/** Signs and writes an entry; `key` is the writer's.  Returns its length. */
size_t dht_entry_encode(const struct dht_entry *entry, const struct dht_id *directory_key, const struct key *key,
                        uint8_t out[DHT_ENTRY_MAX]);

/** Reads the next entry of a row of them; `raw` is where it stands.  HANSE_EPROTO.  The signature is not looked at. */
HANSE_MUST_USE int dht_entry_decode(struct dht_entry *entry, struct dht_span *raw, struct wire_reader *r);

#define DHT_TAG_BYTES 8     /* head of a writer's peer id */
#define DHT_DIGEST_BYTES 16 /* a tag, and the head of the entry's SHA-256 */

/** What names an entry in lists of digests. */
void dht_entry_digest(const struct dht_entry *entry, struct dht_span raw, uint8_t out[DHT_DIGEST_BYTES]);

/** Negative when the entry `a` of a writer gives way to its entry `b`, 0 when they are the same.  Two with one seq are a
 * writer's mistake: everybody takes the one whose bytes compare higher, whichever came first. */
int dht_entry_compare(uint64_t a_seq, struct dht_span a, uint64_t b_seq, struct dht_span b);

/** HANSE_ETIMEOUT when it is over, HANSE_EINVAL when it claims to live too long. */
HANSE_MUST_USE int dht_entry_check_time(const struct dht_entry *entry, uint64_t now_us);

/** False when the address is one of nobody or of many, or has no port: an entry with such is not stored, nor its address given. */
bool dht_entry_may_call(const struct dht_entry *entry);

/** Remembers what was verified, since the same entry comes from many holders and again and again.  All zeros at the start; grows
 * with what there is to remember up to DHT_VERIFIED_SLOTS. */
#define DHT_VERIFIED_SLOTS 8192 /* a run of 4096 experts, each row read again and again by every host that has a part of it */
struct dht_verified {
    size_t n, n_slots; /* a power of two, or 0 */
    uint8_t (*hash)[16];
};

void dht_verified_fini(struct dht_verified *verified);

/** True when this very entry under this very key was verified lately. */
bool dht_entry_is_known(const struct dht_verified *verified, const struct dht_id *directory_key, struct dht_span raw);

bool dht_entry_verify(struct dht_verified *verified, const struct dht_id *directory_key, const struct dht_entry *entry,
                      struct dht_span raw);

#endif
