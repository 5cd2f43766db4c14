#include "dht/entry.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TAG "hanse-directory-entry"

/*
 * ENTRY, integers little-endian:
 *   u16 n_bytes (0..648) | u8 family (4, 6) | 32 writer | 4 or 16 ip | u16 port | u64 seq | u32 expiry | bytes | 64 signature
 * The signature is over the tag, 0, the 20 bytes of the directory key and all that stands before it.
 */
#define SIGNED_MAX (DHT_ID_BYTES + DHT_ENTRY_MAX)

static size_t ip_bytes(int family)
{
    return family == 4 ? 4 : 16;
}

static uint8_t *put_little(uint8_t *at, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *at++ = (uint8_t)(v >> 8 * i);
    return at;
}

static uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t n)
{
    memcpy(at, bytes, n);
    return at + n;
}

size_t dht_entry_encode(const struct dht_entry *entry, const struct dht_id *directory_key, const struct key *key,
                        uint8_t out[DHT_ENTRY_MAX])
{
    assert(entry->n_bytes <= DHT_DIRECTORY_BYTES_MAX && (entry->addr.family == 4 || entry->addr.family == 6));
    uint8_t text[SIGNED_MAX], *at = put_bytes(text, directory_key->byte, DHT_ID_BYTES);
    at = put_little(at, entry->n_bytes, 2);
    at = put_little(at, entry->addr.family, 1);
    at = put_bytes(at, entry->writer.byte, sizeof entry->writer.byte);
    at = put_bytes(at, entry->addr.ip, ip_bytes(entry->addr.family));
    at = put_little(at, entry->addr.port, 2);
    at = put_little(at, entry->seq, 8);
    at = put_little(at, entry->expiry_s, 4);
    at = put_bytes(at, entry->bytes, entry->n_bytes);
    size_t n = (size_t)(at - text) - DHT_ID_BYTES;
    memcpy(out, text + DHT_ID_BYTES, n);
    key_sign(key, TAG, text, n + DHT_ID_BYTES, out + n);
    return n + KEY_SIGNATURE_BYTES;
}

int dht_entry_decode(struct dht_entry *entry, struct dht_span *raw, struct wire_reader *r)
{
    const uint8_t *start = r->at;
    memset(entry, 0, sizeof *entry);
    entry->n_bytes = wire_u16(r);
    entry->addr.family = wire_u8(r);
    if (!wire_ok(r) || entry->n_bytes > DHT_DIRECTORY_BYTES_MAX || (entry->addr.family != 4 && entry->addr.family != 6))
        return HANSE_EPROTO;
    wire_bytes(r, entry->writer.byte, sizeof entry->writer.byte);
    wire_bytes(r, entry->addr.ip, ip_bytes(entry->addr.family));
    entry->addr.port = wire_u16(r);
    entry->seq = wire_u64(r);
    entry->expiry_s = wire_u32(r);
    wire_bytes(r, entry->bytes, entry->n_bytes);
    wire_view(r, KEY_SIGNATURE_BYTES);
    if (!wire_ok(r))
        return HANSE_EPROTO;
    *raw = (struct dht_span){start, (size_t)(r->at - start)};
    return 0;
}

void dht_entry_digest(const struct dht_entry *entry, struct dht_span raw, uint8_t out[DHT_DIGEST_BYTES])
{
    struct hash hash = hash_bytes(raw.bytes, raw.n);
    memcpy(out, entry->writer.byte, DHT_TAG_BYTES);
    memcpy(out + DHT_TAG_BYTES, hash.byte, DHT_DIGEST_BYTES - DHT_TAG_BYTES);
}

int dht_entry_compare(uint64_t a_seq, struct dht_span a, uint64_t b_seq, struct dht_span b)
{
    if (a_seq != b_seq)
        return a_seq < b_seq ? -1 : 1;
    int by_bytes = memcmp(a.bytes, b.bytes, a.n < b.n ? a.n : b.n);
    return by_bytes != 0 ? by_bytes : (a.n > b.n) - (a.n < b.n);
}

int dht_entry_check_time(const struct dht_entry *entry, uint64_t now_us)
{
    uint64_t now_s = now_us / 1000000;
    if (entry->expiry_s <= now_s)
        return HANSE_ETIMEOUT;
    return entry->expiry_s > now_s + DHT_DIRECTORY_TTL_S + DHT_CLOCK_SKEW_S ? HANSE_EINVAL : 0;
}

bool dht_entry_may_call(const struct dht_entry *entry)
{
    return entry->addr.port != 0 && addr_is_unicast(&entry->addr);
}

static struct hash hash_of(const struct dht_id *directory_key, struct dht_span raw)
{
    uint8_t text[SIGNED_MAX];
    assert(raw.n <= DHT_ENTRY_MAX);
    memcpy(text, directory_key->byte, DHT_ID_BYTES);
    memcpy(text + DHT_ID_BYTES, raw.bytes, raw.n);
    return hash_bytes(text, DHT_ID_BYTES + raw.n);
}

/* -- What was verified ------------------------------------------------------------------------------------- */

void dht_verified_fini(struct dht_verified *verified)
{
    free(verified->hash);
    *verified = (struct dht_verified){0};
}

/* The slot follows from the tail of what is kept, so that it is found again in a larger table; 0 is a free one. */
static uint8_t *slot_of(const struct dht_verified *verified, const uint8_t hash[16])
{
    return verified->hash[(size_t)(hash[14] | hash[15] << 8) & (verified->n_slots - 1)];
}

static bool is_free(const uint8_t slot[16])
{
    static const uint8_t zero[16];
    return memcmp(slot, zero, sizeof zero) == 0;
}

static void grow(struct dht_verified *verified)
{
    size_t n = verified->n_slots ? 2 * verified->n_slots : 16;
    struct dht_verified grown = {.n_slots = n, .hash = calloc(n, sizeof *verified->hash)};
    if (!grown.hash)
        return;
    for (size_t i = 0; i < verified->n_slots; i++) {
        uint8_t *slot = slot_of(&grown, verified->hash[i]);
        if (is_free(verified->hash[i]))
            continue;
        grown.n += is_free(slot);
        memcpy(slot, verified->hash[i], sizeof verified->hash[i]);
    }
    free(verified->hash);
    *verified = grown;
}

/* The latest takes the slot.  Without memory it is verified once more when it comes again. */
static void remember(struct dht_verified *verified, const struct hash *hash)
{
    if (2 * verified->n >= verified->n_slots && verified->n_slots < DHT_VERIFIED_SLOTS)
        grow(verified);
    if (verified->n_slots == 0)
        return;
    uint8_t *slot = slot_of(verified, hash->byte);
    verified->n += is_free(slot);
    memcpy(slot, hash->byte, sizeof verified->hash[0]);
}

static bool is_remembered(const struct dht_verified *verified, const struct hash *hash)
{
    return verified->n_slots > 0 && memcmp(slot_of(verified, hash->byte), hash->byte, sizeof verified->hash[0]) == 0;
}

bool dht_entry_is_known(const struct dht_verified *verified, const struct dht_id *directory_key, struct dht_span raw)
{
    struct hash hash = hash_of(directory_key, raw);
    return is_remembered(verified, &hash);
}

bool dht_entry_verify(struct dht_verified *verified, const struct dht_id *directory_key, const struct dht_entry *entry,
                      struct dht_span raw)
{
    struct hash hash = hash_of(directory_key, raw);
    if (is_remembered(verified, &hash))
        return true;
    uint8_t text[SIGNED_MAX];
    size_t n = raw.n - KEY_SIGNATURE_BYTES;
    memcpy(text, directory_key->byte, DHT_ID_BYTES);
    memcpy(text + DHT_ID_BYTES, raw.bytes, n);
    if (!key_verify(&entry->writer, TAG, text, DHT_ID_BYTES + n, raw.bytes + n))
        return false;
    remember(verified, &hash);
    return true;
}
