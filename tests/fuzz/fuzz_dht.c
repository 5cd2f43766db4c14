/* A node that is fed datagrams: none crashes it, what it sends is well formed, and no answer has more than three bytes for each of its
 * question.  The input is a row of datagrams, each behind two bytes of length. */
#include <string.h>

#include "dht/krpc.h"
#include "fuzz.h"

static size_t n_asked;

static void check(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    struct dht_message m;
    (void)ctx;
    (void)to;
    if (n > DHT_DATAGRAM_MAX || dht_krpc_decode(&m, bytes, n) != 0)
        abort();
    if (m.kind != DHT_QUERY && n > 3 * n_asked)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct io_ops ops = {.datagram = check};
    static const uint8_t seed[KEY_SEED_BYTES] = {1};
    static struct key *key;
    struct io io = {&ops, NULL};
    struct dht *dht;
    uint64_t now_us = 1767225600000000u;
    if (!key && key_new(seed, &key) != 0)
        abort();
    struct dht_config config = {.key = key, .port = 4100, .seed = 1};
    if (dht_new(&config, &io, now_us, &dht) != 0)
        abort();
    for (size_t i = 0; n >= 2 && i < 64; i++) {
        struct addr from = {.family = 4, .ip = {80, 1, data[0] & 7, 1}, .port = 7};
        size_t size = (size_t)(data[0] >> 3) << 8 | data[1];
        data += 2;
        n -= 2;
        n_asked = size < n ? size : n;
        dht_datagram(dht, now_us, &from, data, n_asked);
        data += n_asked;
        n -= n_asked;
        now_us += 10000;
        dht_tick(dht, now_us);
    }
    dht_free(dht);
    return 0;
}
