/**
 * dht/token.h - write tokens: a proof that whoever sends from an address also receives there.
 *
 * A token is a hash over a secret, the IP and the key it is for; nothing is kept per asker.  The secret changes every
 * five minutes and the one before stays good, so a token lives 5 to 10 minutes.
 */
#ifndef DHT_TOKEN_H
#define DHT_TOKEN_H

#include "dht/bencode.h"
#include "dht/dht.h"

#define DHT_OWN_TOKEN_BYTES 8
#define DHT_TOKEN_US ((uint64_t)5 * 60 * 1000000)

struct dht_tokens {
    uint8_t secret[2][32]; /* the present one, the one before */
    uint64_t turn_us;      /* when the present one ends */
    struct rng rng;
};

void dht_tokens_init(struct dht_tokens *tokens, uint64_t seed, uint64_t now_us);

void dht_tokens_make(struct dht_tokens *tokens, const struct addr *addr, const struct dht_id *key, uint64_t now_us,
                     uint8_t out[DHT_OWN_TOKEN_BYTES]);

bool dht_tokens_check(struct dht_tokens *tokens, const struct addr *addr, const struct dht_id *key, uint64_t now_us,
                      struct dht_span token);

#endif
