/**
 * base/key.h - who a peer is: an Ed25519 key pair (RFC 8032); the public half is the peer id.
 */
#ifndef BASE_KEY_H
#define BASE_KEY_H

#include <stdbool.h>

#include "base/hash.h"
#include "hanse/err.h"

#define KEY_SEED_BYTES 32
#define KEY_SIGNATURE_BYTES 64

struct peer_id {
    uint8_t byte[32];
};

struct key; /* private half inside; wiped when freed */

/** A key from its 32-byte seed.  HANSE_ENOMEM. */
HANSE_MUST_USE int key_new(const uint8_t seed[KEY_SEED_BYTES], struct key **out);
void key_free(struct key *key);

struct peer_id key_peer_id(const struct key *key);
void key_seed(const struct key *key, uint8_t out[KEY_SEED_BYTES]);

/** Signs tag || 0 || bytes; the tag names what is being signed so that no signature serves twice. */
void key_sign(const struct key *key, const char *tag, const void *bytes, size_t n, uint8_t out[KEY_SIGNATURE_BYTES]);

/** Signs exactly `bytes`, for formats that others define (BEP 44, certificates). */
void key_sign_raw(const struct key *key, const void *bytes, size_t n, uint8_t out[KEY_SIGNATURE_BYTES]);

bool key_verify(const struct peer_id *peer, const char *tag, const void *bytes, size_t n,
                const uint8_t signature[KEY_SIGNATURE_BYTES]);
bool key_verify_raw(const struct peer_id *peer, const void *bytes, size_t n, const uint8_t signature[KEY_SIGNATURE_BYTES]);

bool peer_id_equal(const struct peer_id *a, const struct peer_id *b);

/** -1, 0 or 1, as memcmp. */
int peer_id_compare(const struct peer_id *a, const struct peer_id *b);

/** First 8 hex digits, for logs and screens; returns `out`. */
const char *peer_id_short(const struct peer_id *peer, char out[9]);

#endif
