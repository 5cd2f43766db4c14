#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "dht/directory.h"

#define NOW_US ((uint64_t)1000 * 1000000)

static int store(struct dht_directory *d, uint8_t key_byte, uint32_t writer, uint64_t seq, uint32_t expiry_s, const char *source)
{
    struct dht_id key = {{key_byte}};
    struct dht_entry entry = {.seq = seq, .expiry_s = expiry_s};
    struct addr addr;
    memcpy(entry.writer.byte, &writer, sizeof writer);
    ck_assert_int_eq(addr_parse(&addr, source), 0);
    entry.addr = addr;
    return dht_directory_store(d, &key, &entry, (struct dht_span){(const uint8_t *)&seq, sizeof seq}, &addr, NOW_US);
}

START_TEST(the_newest_seq_of_a_writer_wins)
{
    struct dht_directory d;
    struct dht_id key = {{1}};
    dht_directory_init(&d);
    ck_assert_int_eq(store(&d, 1, 7, 5, 1100, "1.2.3.4:5"), 0);
    ck_assert_int_eq(store(&d, 1, 7, 5, 1100, "1.2.3.4:5"), 0);
    ck_assert_int_eq(store(&d, 1, 7, 4, 1100, "1.2.3.4:5"), HANSE_EGONE);
    ck_assert_int_eq(store(&d, 1, 7, 6, 1100, "1.2.3.4:5"), 0);
    ck_assert_uint_eq(d.n, 1);
    ck_assert_uint_eq(dht_directory_next(&d, &key, NULL, NOW_US)->seq, 6);
    ck_assert_ptr_null(dht_directory_next(&d, &key, NULL, NOW_US + (uint64_t)100 * 1000000));
    dht_directory_expire(&d, NOW_US + (uint64_t)100 * 1000000);
    ck_assert_uint_eq(d.n, 0);
    dht_directory_fini(&d);
}
END_TEST

START_TEST(pages_meet_every_writer_once)
{
    struct dht_directory d;
    struct dht_id key = {{1}};
    dht_directory_init(&d);
    for (uint32_t i = 0; i < 100; i++) {
        ck_assert_int_eq(store(&d, 1, i * 37 % 101, 1, i % 2 ? 1100 : 900, "10.0.0.1:5"), 0);
        ck_assert_int_eq(store(&d, 2, i, 1, 1100, "10.0.0.1:5"), 0);
    }
    size_t n = 0;
    const struct dht_record *r = NULL;
    while ((r = dht_directory_next(&d, &key, r ? r->writer.byte : NULL, NOW_US)))
        n++;
    ck_assert_uint_eq(n, 50); /* the others are over */
    dht_directory_fini(&d);
}
END_TEST

START_TEST(one_subnet_leaves_room_for_others)
{
    struct dht_directory d;
    uint32_t n = 0;
    dht_directory_init(&d);
    while (store(&d, 1, n, 1, 1100, "1.2.3.4:5") == 0)
        n++;
    ck_assert_uint_eq(n, DHT_DIRECTORY_SUBNET_KEY_MAX);
    ck_assert_int_eq(store(&d, 1, n, 1, 1100, "1.2.3.99:5"), HANSE_EFULL);
    ck_assert_int_eq(store(&d, 1, 0, 2, 1100, "1.2.3.4:5"), 0); /* but what is there may be renewed */
    ck_assert_int_eq(store(&d, 1, n, 1, 1100, "1.2.4.4:5"), 0);
    while (store(&d, 2, n, 1, 1100, "10.0.0.1:5") == 0)
        n++;
    ck_assert_uint_eq(n, DHT_DIRECTORY_SUBNET_KEY_MAX + DHT_DIRECTORY_KEY_MAX);
    dht_directory_fini(&d);
}
END_TEST

static int store_at(struct dht_directory *d, uint32_t key_number, uint32_t writer, uint64_t seq, uint32_t expiry_s)
{
    struct dht_id key = {{(uint8_t)(key_number >> 8), (uint8_t)key_number}};
    struct dht_entry entry = {.seq = seq, .expiry_s = expiry_s};
    struct addr addr = {.family = 4, .ip = {10}, .port = 5};
    memcpy(entry.writer.byte, &writer, sizeof writer);
    entry.addr = addr;
    return dht_directory_store(d, &key, &entry, (struct dht_span){(const uint8_t *)&seq, sizeof seq}, &addr, NOW_US);
}

START_TEST(one_writer_leaves_room_for_others)
{
    struct dht_directory d;
    dht_directory_init(&d);
    for (uint32_t i = 0; i < DHT_DIRECTORY_WRITER_MAX; i++)
        ck_assert_int_eq(store_at(&d, i, 7, 1, 1100), 0);
    ck_assert_int_eq(store_at(&d, 5000, 7, 1, 1100), HANSE_EFULL);
    ck_assert_int_eq(store_at(&d, 5000, 8, 1, 1100), 0);
    ck_assert_int_eq(store_at(&d, 3, 7, 2, 1100), 0); /* what is there may be renewed, */
    ck_assert_int_eq(store_at(&d, 5, 7, 2, 1001), 0);
    dht_directory_expire(&d, NOW_US + 2000000); /* and what is over is not counted */
    ck_assert_int_eq(store_at(&d, 5000, 7, 1, 1100), 0);
    ck_assert_int_eq(store_at(&d, 5001, 7, 1, 1100), HANSE_EFULL);
    dht_directory_fini(&d);
}
END_TEST

/* Somebody brings what a writer elsewhere has signed. */
static int bring(struct dht_directory *d, uint8_t key_byte, uint32_t writer, uint64_t seq, const char *bringer)
{
    struct dht_id key = {{key_byte}};
    struct dht_entry entry = {.seq = seq, .expiry_s = 1100, .addr = {.family = 4, .ip = {200, 1, 1, 1}, .port = 5}};
    struct addr addr;
    memcpy(entry.writer.byte, &writer, sizeof writer);
    ck_assert_int_eq(addr_parse(&addr, bringer), 0);
    return dht_directory_store(d, &key, &entry, (struct dht_span){(const uint8_t *)&seq, sizeof seq}, &addr, NOW_US);
}

START_TEST(what_was_brought_is_counted_apart_and_makes_way)
{
    struct dht_directory d;
    uint32_t n = 0;
    char subnet[32];
    dht_directory_init(&d);
    while (bring(&d, 1, n, 1, "1.2.3.4:5") == 0)
        n++;
    ck_assert_uint_eq(n, DHT_DIRECTORY_BROUGHT_KEY_MAX);
    ck_assert_int_eq(store(&d, 1, n++, 1, 1100, "1.2.3.9:5"), 0); /* the bringer's neighbours still have their room */
    for (size_t k = 0; k < DHT_DIRECTORY_KEY_MAX; k++) {
        ck_assert_int_ge(snprintf(subnet, sizeof subnet, "9.%zu.%zu.1:5", k / 250, k % 250), 1);
        ck_assert_int_eq(store(&d, 1, n++, 1, 1100, subnet), k < DHT_DIRECTORY_KEY_MAX - 1 ? 0 : HANSE_EFULL);
    }
    ck_assert_uint_eq(d.n, DHT_DIRECTORY_KEY_MAX);
    for (size_t i = 0; i < d.n; i++)
        ck_assert(d.record[i]->is_own);
    ck_assert_int_eq(bring(&d, 1, n, 1, "1.2.9.4:5"), HANSE_EFULL);
    dht_directory_fini(&d);
}
END_TEST

START_TEST(a_full_key_takes_from_who_has_much)
{
    struct dht_directory d;
    uint32_t n = 0;
    char subnet[32];
    dht_directory_init(&d);
    for (unsigned k = 0; k < DHT_DIRECTORY_KEY_MAX / DHT_DIRECTORY_SUBNET_KEY_MAX; k++)
        for (unsigned i = 0; i < DHT_DIRECTORY_SUBNET_KEY_MAX; i++) {
            ck_assert_int_ge(snprintf(subnet, sizeof subnet, "7.1.%u.1:5", k), 1);
            ck_assert_int_eq(store(&d, 1, n++, 1, 1100, subnet), 0);
        }
    ck_assert_uint_eq(d.n, DHT_DIRECTORY_KEY_MAX);
    for (unsigned k = 0; k < 100; k++) { /* eight subnets have filled the key; a hundred others come */
        ck_assert_int_ge(snprintf(subnet, sizeof subnet, "8.1.%u.1:5", k), 1);
        ck_assert_int_eq(store(&d, 1, n++, 1, 1100, subnet), 0);
    }
    ck_assert_uint_eq(d.n, DHT_DIRECTORY_KEY_MAX);
    ck_assert_int_eq(store(&d, 1, n++, 1, 1100, "7.1.2.1:5"), HANSE_EFULL);
    dht_directory_fini(&d);
}
END_TEST

START_TEST(renewal_moves_nothing_into_a_full_subnet)
{
    struct dht_directory d;
    dht_directory_init(&d);
    for (uint32_t i = 0; i < DHT_DIRECTORY_SUBNET_KEY_MAX; i++) {
        ck_assert_int_eq(store(&d, 1, i, 1, 1100, "1.2.3.4:5"), 0);
        ck_assert_int_eq(store(&d, 1, i, 2, 1100, "1.2.4.4:5"), 0);
        ck_assert_int_eq(store(&d, 1, 1000 + i, 1, 1100, "1.2.3.4:5"), 0);
    }
    ck_assert_int_eq(store(&d, 1, 1000, 2, 1100, "1.2.4.4:5"), HANSE_EFULL);
    ck_assert_int_eq(store(&d, 1, 1000, 2, 1100, "1.2.5.4:5"), 0);
    dht_directory_fini(&d);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-directory");
    TCase *all = tcase_create("directory");
    tcase_add_test(all, the_newest_seq_of_a_writer_wins);
    tcase_add_test(all, pages_meet_every_writer_once);
    tcase_add_test(all, one_subnet_leaves_room_for_others);
    tcase_add_test(all, one_writer_leaves_room_for_others);
    tcase_add_test(all, what_was_brought_is_counted_apart_and_makes_way);
    tcase_add_test(all, a_full_key_takes_from_who_has_much);
    tcase_add_test(all, renewal_moves_nothing_into_a_full_subnet);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
