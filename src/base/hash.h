/**
 * base/hash.h - SHA-256 and Merkle roots over it.  OpenSSL computes, we only name.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_BYTES 32

struct hash {
    uint8_t byte[HASH_BYTES];
};

/** SHA-256 of `n` bytes. */
struct hash hash_bytes(const void *bytes, size_t n);

/** SHA-1, 20 bytes: only for Mainline DHT targets. */
void hash_sha1(uint8_t out[20], const void *bytes, size_t n);

/** SHA-256 of bytes that come in pieces. */
struct hash_stream {
    void *state; /* an EVP_MD_CTX, NULL outside begin..end */
};
void hash_begin(struct hash_stream *stream);
void hash_add(struct hash_stream *stream, const void *bytes, size_t n);
struct hash hash_end(struct hash_stream *stream);

/**
 * Merkle root of `n` leaves: a leaf enters as SHA-256(0x00 || leaf), two neighbours join as
 * SHA-256(0x01 || left || right), an odd last one rises unpaired.  No leaves: SHA-256 of nothing.
 * The tags keep an inner node from passing for a leaf (RFC 6962, section 2.1).
 */
struct hash hash_merkle(const struct hash *leaf, size_t n);

bool hash_equal(const struct hash *a, const struct hash *b);

#endif
