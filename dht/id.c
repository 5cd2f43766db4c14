#include "dht/id.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

bool dht_id_equal(const struct dht_id *a, const struct dht_id *b)
{
    return memcmp(a->byte, b->byte, DHT_ID_BYTES) == 0;
}

/* How far `id` is from `key` in the eight bytes from `i` on. */
static uint64_t distance(const struct dht_id *key, const struct dht_id *id, size_t i)
{
    uint64_t a, b;
    memcpy(&a, key->byte + i, sizeof a);
    memcpy(&b, id->byte + i, sizeof b);
    return be64toh(a ^ b);
}

/* Words overlap where the bytes do not fill them: what was equal before is equal again. */
#define LAST (DHT_ID_BYTES - 8)

int dht_id_compare(const struct dht_id *key, const struct dht_id *a, const struct dht_id *b)
{
    for (size_t i = 0; i < DHT_ID_BYTES; i += 8) {
        size_t at = i < LAST ? i : LAST;
        uint64_t to_a = distance(key, a, at), to_b = distance(key, b, at);
        if (to_a != to_b)
            return to_a < to_b ? -1 : 1;
    }
    return 0;
}

uint64_t dht_id_distance(const struct dht_id *key, const struct dht_id *id)
{
    return distance(key, id, 0);
}

unsigned dht_id_shared_bits(const struct dht_id *a, const struct dht_id *b)
{
    for (size_t i = 0; i < DHT_ID_BYTES; i += 8) {
        size_t at = i < LAST ? i : LAST;
        uint64_t x = distance(a, b, at);
        if (x != 0)
            return (unsigned)(8 * at) + (unsigned)__builtin_clzll(x);
    }
    return DHT_ID_BITS;
}

struct dht_id dht_id_random_at(const struct dht_id *near, unsigned n_bits, struct rng *rng)
{
    assert(n_bits < DHT_ID_BITS);
    struct dht_id id;
    rng_bytes(rng, id.byte, sizeof id.byte);
    size_t whole = n_bits / 8;
    memcpy(id.byte, near->byte, whole);
    uint8_t flip = (uint8_t)(0x80 >> n_bits % 8);
    uint8_t below = (uint8_t)(flip - 1);
    uint8_t fixed = (uint8_t)(near->byte[whole] ^ flip);
    id.byte[whole] = (uint8_t)((fixed & ~below) | (id.byte[whole] & below));
    return id;
}

/* CRC-32C (Castagnoli), four bits at a time: each node that an answer names is checked. */
static uint32_t crc32c(const uint8_t *bytes, size_t n)
{
    static const uint32_t step[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                      0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                      0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ step[crc & 15];
        crc = crc >> 4 ^ step[crc & 15];
    }
    return ~crc;
}

/* The 21 bits (at the top of the result) that an address demands of an id whose last byte is `r`. */
static uint32_t prefix_of(const struct addr *addr, uint8_t r)
{
    static const uint8_t mask4[4] = {0x03, 0x0f, 0x3f, 0xff};
    static const uint8_t mask6[8] = {0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff};
    const uint8_t *mask = addr->family == 4 ? mask4 : mask6;
    size_t n = addr->family == 4 ? sizeof mask4 : sizeof mask6;
    uint8_t masked[8];
    for (size_t i = 0; i < n; i++)
        masked[i] = addr->ip[i] & mask[i];
    masked[0] |= (uint8_t)((r & 7) << 5);
    return crc32c(masked, n) & 0xfffff800u;
}

struct dht_id dht_id_make(const struct addr *addr, const struct peer_id *peer, struct rng *rng)
{
    struct dht_id id;
    uint32_t top = rng_u32(rng);
    uint8_t r = (uint8_t)rng_u32(rng);
    if (addr->family != 0 && !addr_is_local(addr))
        top = prefix_of(addr, r) | (top & 0x7ff);
    struct hash hash = hash_bytes(peer->byte, sizeof peer->byte);
    id.byte[0] = (uint8_t)(top >> 24);
    id.byte[1] = (uint8_t)(top >> 16);
    id.byte[2] = (uint8_t)(top >> 8);
    memcpy(id.byte + 3, hash.byte, 16);
    id.byte[19] = r;
    return id;
}

bool dht_id_fits(const struct dht_id *id, const struct addr *addr)
{
    if (addr_is_local(addr))
        return true;
    uint32_t top = (uint32_t)id->byte[0] << 24 | (uint32_t)id->byte[1] << 16 | (uint32_t)id->byte[2] << 8;
    return ((top ^ prefix_of(addr, id->byte[19])) & 0xfffff800u) == 0;
}

bool dht_id_names(const struct dht_id *id, const struct peer_id *peer)
{
    struct hash hash = hash_bytes(peer->byte, sizeof peer->byte);
    return memcmp(id->byte + 3, hash.byte, 16) == 0;
}

bool dht_id_same_ip(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

bool dht_id_same_subnet(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, a->family == 4 ? 3 : 6) == 0;
}
