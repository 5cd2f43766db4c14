#include "unit.h"

#include <string.h>

#include "base/text.h"
#include "dht/id.h"

/* The table of BEP 42, and a v6 pair from the discussion of it: address, last byte, head of the id. */
static const struct {
    const char *addr;
    uint8_t r, head[3];
} vectors[] = {
    {"124.31.75.21:1", 1, {0x5f, 0xbf, 0xbf}},  {"21.75.31.124:1", 86, {0x5a, 0x3c, 0xe9}},
    {"65.23.51.170:1", 22, {0xa5, 0xd4, 0x32}}, {"84.124.73.14:1", 65, {0x1b, 0x03, 0x21}},
    {"43.213.53.83:1", 90, {0xe5, 0x6f, 0x6c}}, {"[2001:b829:2123:be84:e16c:d6ae:5290:49f1]:1", 4, {0x0a, 0x8a, 0xd1}},
};

START_TEST(ids_follow_bep42)
{
    struct addr addr;
    struct dht_id id = {{vectors[_i].head[0], vectors[_i].head[1], vectors[_i].head[2]}};
    ck_assert_int_eq(addr_parse(&addr, vectors[_i].addr), 0);
    id.byte[19] = vectors[_i].r;
    ck_assert(dht_id_fits(&id, &addr));
    id.byte[2] ^= 0x07; /* the low three bits are free */
    ck_assert(dht_id_fits(&id, &addr));
    for (int bit = 0; bit < 21; bit++) {
        struct dht_id wrong = id;
        wrong.byte[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
        ck_assert(!dht_id_fits(&wrong, &addr));
    }
    id.byte[19] ^= 1;
    ck_assert(!dht_id_fits(&id, &addr));
    ck_assert_int_eq(addr_parse(&addr, "192.168.3.4:1"), 0);
    ck_assert(dht_id_fits(&id, &addr));
}
END_TEST

START_TEST(an_id_names_its_peer_and_fits_its_address)
{
    struct rng rng;
    struct peer_id peer, other;
    struct addr addr = {.family = _i % 2 ? 6 : 4, .port = 1};
    rng_init(&rng, (uint64_t)_i, "id");
    rng_bytes(&rng, peer.byte, sizeof peer.byte);
    rng_bytes(&rng, other.byte, sizeof other.byte);
    rng_bytes(&rng, addr.ip, addr.family == 4 ? 4 : 16);
    struct dht_id id = dht_id_make(&addr, &peer, &rng);
    ck_assert(dht_id_fits(&id, &addr));
    ck_assert(dht_id_names(&id, &peer));
    ck_assert(!dht_id_names(&id, &other));
}
END_TEST

START_TEST(the_metric_orders_by_xor)
{
    struct rng rng;
    struct dht_id key, a, b;
    rng_init(&rng, (uint64_t)_i, "metric");
    rng_bytes(&rng, &key, sizeof key);
    for (unsigned n = 0; n < DHT_ID_BITS; n++) {
        a = dht_id_random_at(&key, n, &rng);
        ck_assert_uint_eq(dht_id_shared_bits(&key, &a), n);
        if (n > 0) {
            b = dht_id_random_at(&key, n - 1, &rng);
            ck_assert_int_lt(dht_id_compare(&key, &a, &b), 0);
            ck_assert_int_gt(dht_id_compare(&key, &b, &a), 0);
        }
        ck_assert_int_eq(dht_id_compare(&key, &a, &a), 0);
        ck_assert_int_lt(dht_id_compare(&key, &key, &a), 0);
    }
    ck_assert_uint_eq(dht_id_shared_bits(&key, &key), DHT_ID_BITS);
}
END_TEST

static int compare(const struct dht_id *key, const struct dht_id *a, const struct dht_id *b)
{
    for (size_t i = 0; i < DHT_ID_BYTES; i++)
        if (a->byte[i] != b->byte[i])
            return (a->byte[i] ^ key->byte[i]) < (b->byte[i] ^ key->byte[i]) ? -1 : 1;
    return 0;
}

/* Ids that differ in one place and one behind it: byte by byte gives the same order. */
START_TEST(every_byte_counts_in_its_turn)
{
    struct rng rng;
    struct dht_id key, a, b;
    rng_init(&rng, 1, "bytes");
    rng_bytes(&rng, &key, sizeof key);
    for (size_t i = 0; i < DHT_ID_BYTES; i++)
        for (size_t j = i; j < DHT_ID_BYTES; j++)
            for (int n = 0; n < 20; n++) {
                rng_bytes(&rng, &a, sizeof a);
                b = a;
                b.byte[i] ^= (uint8_t)rng_u32(&rng);
                b.byte[j] ^= (uint8_t)rng_u32(&rng);
                int order = dht_id_compare(&key, &a, &b);
                if ((order > 0) - (order < 0) != compare(&key, &a, &b))
                    ck_abort_msg("bytes %zu and %zu are in the wrong order", i, j);
            }
}
END_TEST

START_TEST(subnets_are_24_and_48_bits)
{
    static const struct {
        const char *a, *b;
        bool ip, subnet;
    } rows[] = {
        {"1.2.3.4:5", "1.2.3.4:6", true, true},
        {"1.2.3.4:5", "1.2.3.9:5", false, true},
        {"1.2.3.4:5", "1.2.4.4:5", false, false},
        {"[2001:db8:1:2::1]:5", "[2001:db8:1:3::1]:5", false, true},
        {"[2001:db8:1::1]:5", "[2001:db8:2::1]:5", false, false},
        {"1.2.3.4:5", "[102:304::]:5", false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct addr a, b;
        ck_assert_int_eq(addr_parse(&a, rows[i].a), 0);
        ck_assert_int_eq(addr_parse(&b, rows[i].b), 0);
        ck_assert(dht_id_same_ip(&a, &b) == rows[i].ip);
        ck_assert(dht_id_same_subnet(&a, &b) == rows[i].subnet);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-id");
    TCase *all = tcase_create("id");
    tcase_add_loop_test(all, ids_follow_bep42, 0, sizeof vectors / sizeof vectors[0]);
    tcase_add_loop_test(all, an_id_names_its_peer_and_fits_its_address, 0, 20);
    tcase_add_loop_test(all, the_metric_orders_by_xor, 0, 10);
    tcase_add_test(all, every_byte_counts_in_its_turn);
    tcase_add_test(all, subnets_are_24_and_48_bits);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
