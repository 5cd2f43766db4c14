#include "unit.h"

#include <string.h>

#include "dht/entry.h"

#define NOW_US ((uint64_t)1000 * 1000000)

static struct key *writer;
static const struct dht_id key = {{1}}, other_key = {{2}};

static void setup(void)
{
    static const uint8_t seed[KEY_SEED_BYTES] = {42};
    ck_assert_int_eq(key_new(seed, &writer), 0);
}

static void teardown(void)
{
    key_free(writer);
}

static struct dht_entry entry_of(size_t n_bytes, int family)
{
    struct dht_entry e = {.writer = key_peer_id(writer), .seq = 77, .expiry_s = 1300, .n_bytes = (uint16_t)n_bytes};
    e.addr = (struct addr){.family = (uint8_t)family, .ip = {80, 1, 2, 3}, .port = 4100};
    memset(e.bytes, 'x', n_bytes);
    return e;
}

static int decode(struct dht_entry *e, struct dht_span *raw, const uint8_t *bytes, size_t n)
{
    struct wire_reader r;
    wire_reader_init(&r, bytes, n);
    return dht_entry_decode(e, raw, &r);
}

START_TEST(what_is_written_is_read)
{
    static const size_t sizes[] = {0, 1, DHT_DIRECTORY_BYTES_MAX};
    uint8_t out[DHT_ENTRY_MAX];
    struct dht_entry e = entry_of(sizes[_i / 2], _i % 2 ? 4 : 6), back;
    struct dht_span raw;
    size_t n = dht_entry_encode(&e, &key, writer, out);
    ck_assert_uint_le(n, sizeof out);
    ck_assert_int_eq(decode(&back, &raw, out, n), 0);
    ck_assert(raw.bytes == out && raw.n == n);
    ck_assert(peer_id_equal(&back.writer, &e.writer) && addr_equal(&back.addr, &e.addr));
    ck_assert(back.seq == 77 && back.expiry_s == 1300 && back.n_bytes == e.n_bytes);
    ck_assert_int_eq(memcmp(back.bytes, e.bytes, e.n_bytes), 0);
    for (size_t short_n = 0; short_n < n; short_n++)
        ck_assert_int_eq(decode(&back, &raw, out, short_n), HANSE_EPROTO);
}
END_TEST

START_TEST(what_cannot_be_is_refused)
{
    uint8_t out[DHT_ENTRY_MAX + 1] = {0};
    struct dht_entry e = entry_of(10, 4), back;
    struct dht_span raw;
    (void)dht_entry_encode(&e, &key, writer, out);
    out[2] = 5; /* no family */
    ck_assert_int_eq(decode(&back, &raw, out, sizeof out), HANSE_EPROTO);
    out[2] = 4;
    out[0] = (DHT_DIRECTORY_BYTES_MAX + 1) & 0xff;
    out[1] = (DHT_DIRECTORY_BYTES_MAX + 1) >> 8;
    ck_assert_int_eq(decode(&back, &raw, out, sizeof out), HANSE_EPROTO);
}
END_TEST

START_TEST(an_entry_lives_at_most_its_time_and_what_clocks_differ)
{
    struct dht_entry e = entry_of(1, 4);
    uint32_t now_s = NOW_US / 1000000;
    e.expiry_s = now_s;
    ck_assert_int_eq(dht_entry_check_time(&e, NOW_US), HANSE_ETIMEOUT);
    e.expiry_s = now_s + 1;
    ck_assert_int_eq(dht_entry_check_time(&e, NOW_US), 0);
    e.expiry_s = now_s + DHT_DIRECTORY_TTL_S + DHT_CLOCK_SKEW_S;
    ck_assert_int_eq(dht_entry_check_time(&e, NOW_US), 0);
    e.expiry_s++;
    ck_assert_int_eq(dht_entry_check_time(&e, NOW_US), HANSE_EINVAL);
}
END_TEST

START_TEST(only_the_writer_can_have_written_it)
{
    static struct dht_verified verified;
    uint8_t out[DHT_ENTRY_MAX];
    struct dht_entry e = entry_of(5, 4), back;
    struct dht_span raw;
    size_t n = dht_entry_encode(&e, &key, writer, out);
    for (size_t i = 0; i < n; i++) {
        out[i] ^= 4;
        if (decode(&back, &raw, out, n) == 0 && raw.n == n)
            ck_assert(!dht_entry_verify(&verified, &key, &back, raw));
        out[i] ^= 4;
    }
    ck_assert_int_eq(decode(&back, &raw, out, n), 0);
    ck_assert(!dht_entry_verify(&verified, &other_key, &back, raw));
    ck_assert(!dht_entry_is_known(&verified, &key, raw));
    ck_assert(dht_entry_verify(&verified, &key, &back, raw));
    ck_assert(dht_entry_is_known(&verified, &key, raw));
    ck_assert(dht_entry_verify(&verified, &key, &back, raw));
    ck_assert(!dht_entry_is_known(&verified, &other_key, raw));
    out[n - 1] ^= 4; /* what was verified does not vouch for what is similar */
    ck_assert(!dht_entry_verify(&verified, &key, &back, raw));
    dht_verified_fini(&verified);
}
END_TEST

/* Entries are remembered while the table grows, and at its ceiling the latest are. */
START_TEST(what_was_verified_is_remembered)
{
    struct dht_verified verified = {0};
    struct dht_entry e = entry_of(5, 4), back;
    uint8_t out[DHT_ENTRY_MAX];
    struct dht_span raw;
    size_t n_known = 0, n_all = 3000;
    for (size_t i = 0; i < n_all; i++) {
        e.seq = i;
        ck_assert_int_eq(decode(&back, &raw, out, dht_entry_encode(&e, &key, writer, out)), 0);
        ck_assert(!dht_entry_is_known(&verified, &key, raw));
        ck_assert(dht_entry_verify(&verified, &key, &back, raw));
        ck_assert(dht_entry_is_known(&verified, &key, raw));
        ck_assert_uint_le(verified.n_slots, 4 * (i + 1) > 16 ? 4 * (i + 1) : 16);
    }
    for (size_t i = 0; i < n_all; i++) {
        e.seq = i;
        ck_assert_int_eq(decode(&back, &raw, out, dht_entry_encode(&e, &key, writer, out)), 0);
        n_known += dht_entry_is_known(&verified, &key, raw);
    }
    ck_assert_uint_gt(n_known, n_all / 2); /* one to a slot */
    dht_verified_fini(&verified);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-entry");
    TCase *all = tcase_create("entry");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_loop_test(all, what_is_written_is_read, 0, 6);
    tcase_add_test(all, what_cannot_be_is_refused);
    tcase_add_test(all, an_entry_lives_at_most_its_time_and_what_clocks_differ);
    tcase_add_test(all, only_the_writer_can_have_written_it);
    tcase_add_test(all, what_was_verified_is_remembered);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
