#include "base/random.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

/* Multipliers and Weyl increments of Philox4x32: Salmon et al., section 3.3. */
#define MULTIPLIER_0 UINT32_C(0xd2511f53)
#define MULTIPLIER_1 UINT32_C(0xcd9e8d57)
#define WEYL_0 UINT32_C(0x9e3779b9)
#define WEYL_1 UINT32_C(0xbb67ae85)
#define N_ROUNDS 10

void random_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < N_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)MULTIPLIER_0 * x0;
        uint64_t p1 = (uint64_t)MULTIPLIER_1 * x2;
        x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
        x1 = (uint32_t)p1;
        x2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
        x3 = (uint32_t)p0;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

static uint32_t little_endian(const uint8_t b[4])
{
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

void random_key(uint32_t key[2], const struct hash *seed, const char *purpose)
{
    struct hash_stream stream;
    hash_begin(&stream);
    hash_add(&stream, seed->byte, sizeof seed->byte);
    hash_add(&stream, "", 1);
    hash_add(&stream, purpose, strlen(purpose));
    struct hash digest = hash_end(&stream);
    key[0] = little_endian(digest.byte);
    key[1] = little_endian(digest.byte + 4);
}

/* Block `i` of the sequence of `key`. */
static void block_at(uint32_t out[4], const uint32_t key[2], uint64_t i)
{
    const uint32_t counter[4] = {(uint32_t)i, (uint32_t)(i >> 32), 0, 0};
    random_philox(out, counter, key);
}

uint32_t random_word(const uint32_t key[2], uint64_t i)
{
    uint32_t block[4];
    block_at(block, key, i / 4);
    return block[i % 4];
}

void rng_init(struct rng *rng, uint64_t seed, const char *purpose)
{
    struct hash bytes = {{0}};
    for (int i = 0; i < 8; i++)
        bytes.byte[i] = (uint8_t)(seed >> (8 * i));
    *rng = (struct rng){0};
    random_key(rng->key, &bytes, purpose);
}

/* A 64-bit Philox key alone would be searchable; identities and nonces start the counter at random too. */
void rng_init_from_system(struct rng *rng)
{
    *rng = (struct rng){0};
    int failed = getentropy(rng->key, sizeof rng->key) || getentropy(&rng->counter, sizeof rng->counter);
    assert(!failed); /* the kernel has had entropy since boot */
}

uint32_t rng_u32(struct rng *rng)
{
    if (rng->n_left == 0) {
        block_at(rng->block, rng->key, rng->counter++);
        rng->n_left = 4;
    }
    return rng->block[4 - rng->n_left--];
}

uint64_t rng_u64(struct rng *rng)
{
    uint64_t low = rng_u32(rng);
    return low | (uint64_t)rng_u32(rng) << 32;
}

/* The first 2^64 mod n values would favour small remainders; they are drawn again. */
uint64_t rng_below(struct rng *rng, uint64_t n)
{
    assert(n > 0);
    uint64_t surplus = (UINT64_MAX - n + 1) % n;
    uint64_t word;
    do
        word = rng_u64(rng);
    while (word < surplus);
    return word % n;
}

float rng_unit(struct rng *rng)
{
    return (float)(rng_u32(rng) >> 8) * 0x1p-24f;
}

void rng_bytes(struct rng *rng, void *out, size_t n)
{
    uint8_t *at = out;
    while (n > 0) {
        uint32_t word = rng_u32(rng);
        for (int i = 0; i < 4 && n > 0; i++, n--, word >>= 8)
            *at++ = (uint8_t)word;
    }
}
