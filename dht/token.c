#include "dht/token.h"

#include <string.h>

void dht_tokens_init(struct dht_tokens *tokens, uint64_t seed, uint64_t now_us)
{
    rng_init(&tokens->rng, seed, "dht-token");
    rng_bytes(&tokens->rng, tokens->secret, sizeof tokens->secret);
    tokens->turn_us = now_us + DHT_TOKEN_US;
}

static void turn(struct dht_tokens *tokens, uint64_t now_us)
{
    for (int i = 0; i < 2 && now_us >= tokens->turn_us; i++) {
        memcpy(tokens->secret[1], tokens->secret[0], sizeof tokens->secret[0]);
        rng_bytes(&tokens->rng, tokens->secret[0], sizeof tokens->secret[0]);
        tokens->turn_us += DHT_TOKEN_US;
    }
    if (now_us >= tokens->turn_us) /* slept for long: both secrets are new already */
        tokens->turn_us = now_us + DHT_TOKEN_US;
}

static void make(const uint8_t secret[32], const struct addr *addr, const struct dht_id *key, uint8_t out[DHT_OWN_TOKEN_BYTES])
{
    uint8_t bytes[32 + 1 + 16 + DHT_ID_BYTES];
    memcpy(bytes, secret, 32);
    bytes[32] = addr->family;
    memcpy(bytes + 33, addr->ip, 16);
    memcpy(bytes + 49, key->byte, DHT_ID_BYTES);
    struct hash hash = hash_bytes(bytes, sizeof bytes);
    memcpy(out, hash.byte, DHT_OWN_TOKEN_BYTES);
}

void dht_tokens_make(struct dht_tokens *tokens, const struct addr *addr, const struct dht_id *key, uint64_t now_us,
                     uint8_t out[DHT_OWN_TOKEN_BYTES])
{
    turn(tokens, now_us);
    make(tokens->secret[0], addr, key, out);
}

bool dht_tokens_check(struct dht_tokens *tokens, const struct addr *addr, const struct dht_id *key, uint64_t now_us,
                      struct dht_span token)
{
    turn(tokens, now_us);
    if (!token.bytes || token.n != DHT_OWN_TOKEN_BYTES)
        return false;
    for (int i = 0; i < 2; i++) {
        uint8_t good[DHT_OWN_TOKEN_BYTES];
        make(tokens->secret[i], addr, key, good);
        if (memcmp(good, token.bytes, sizeof good) == 0)
            return true;
    }
    return false;
}
