/**
 * base/random.h - randomness that is the same everywhere: Philox4x32-10.
 * Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 *
 * Two uses.  A `struct rng` is a stream for protocol decisions, seeded once and handed over.  The
 * keyed functions give the i-th number of a named purpose directly, so parameters do not depend on
 * who draws them or in which order.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

struct rng {
    uint32_t key[2];
    uint64_t counter;
    uint32_t block[4];
    unsigned n_left; /* words of `block` not yet given */
};

/** Starts the stream that belongs to `seed` and `purpose` (a short fixed name). */
void rng_init(struct rng *rng, uint64_t seed, const char *purpose);

/** Fills `rng` from the operating system: 64 bits, enough for decisions and call ids; keys want getentropy(). */
void rng_init_from_system(struct rng *rng);

uint32_t rng_u32(struct rng *rng);
uint64_t rng_u64(struct rng *rng);

/** Uniform in [0, n), n > 0, without bias. */
uint64_t rng_below(struct rng *rng, uint64_t n);

/** Uniform in [0, 1) with 24 bits. */
float rng_unit(struct rng *rng);

void rng_bytes(struct rng *rng, void *out, size_t n);

/** One Philox4x32-10 block, the primitive itself. */
void random_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

/** The Philox key of a purpose: the first 8 bytes of SHA-256(seed bytes || 0 || purpose). */
void random_key(uint32_t key[2], const struct hash *seed, const char *purpose);

/** Word `i` of the sequence of `key`: counter {i / 4, i / 4 >> 32, 0, 0}, lane i % 4. */
uint32_t random_word(const uint32_t key[2], uint64_t i);

#endif
