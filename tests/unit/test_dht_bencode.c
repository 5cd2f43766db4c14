#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dht/bencode.h"

static int read_text(struct dht_bencode *doc, const char *text)
{
    return dht_bencode_read(doc, text, strlen(text));
}

START_TEST(values_are_read_in_place)
{
    static const char text[] = "d1:ai-7e1:bl4:spam0:i0ee1:cd1:xdeee";
    struct dht_bencode doc;
    int64_t v;
    ck_assert_int_eq(read_text(&doc, text), 0);
    const struct dht_bencode_token *root = &doc.token[0], *list = dht_bencode_find(&doc, root, "b"), *e = NULL;
    ck_assert(dht_bencode_integer(dht_bencode_find(&doc, root, "a"), -10, 10, &v) && v == -7);
    ck_assert(!dht_bencode_integer(dht_bencode_find(&doc, root, "a"), 0, 10, &v));
    ck_assert(!dht_bencode_integer(list, 0, 10, &v));
    ck_assert_uint_eq(dht_bencode_string(e = dht_bencode_each(&doc, list, e)).n, 4);
    ck_assert_ptr_eq(dht_bencode_string(e).bytes, strstr(text, "spam"));
    ck_assert_uint_eq(dht_bencode_string(e = dht_bencode_each(&doc, list, e)).n, 0);
    ck_assert(dht_bencode_integer(e = dht_bencode_each(&doc, list, e), 0, 0, &v));
    ck_assert_ptr_null(dht_bencode_each(&doc, list, e));
    const struct dht_bencode_token *c = dht_bencode_find(&doc, root, "c");
    ck_assert_uint_eq(c->raw.n, 7);
    ck_assert_ptr_nonnull(dht_bencode_find(&doc, c, "x"));
    ck_assert_ptr_null(dht_bencode_find(&doc, c, "a"));
    ck_assert_ptr_null(dht_bencode_find(&doc, root, "x"));
    ck_assert_ptr_null(dht_bencode_find(&doc, NULL, "x"));
    ck_assert_ptr_null(dht_bencode_find(&doc, list, "x"));
    ck_assert_ptr_null(dht_bencode_each(&doc, root, NULL));
}
END_TEST

static const char *const good[] = {"i0e",   "i-1e",   "i9223372036854775807e", "0:", "le", "de",
                                   "3:abc", "d0:0:e", "d1:a0:2:aa0:1:b0:e"};

START_TEST(the_canonical_form_is_read)
{
    struct dht_bencode doc;
    ck_assert_int_eq(read_text(&doc, good[_i]), 0);
    for (size_t n = 0; n < strlen(good[_i]); n++) /* and nothing shorter */
        ck_assert_int_eq(dht_bencode_read(&doc, good[_i], n), HANSE_EPROTO);
}
END_TEST

static const char *const bad[] = {
    "",
    "i",
    "ie",
    "i-e",
    "i01e",
    "i-0e",
    "i+1e",
    "i1",
    "i9223372036854775808e",
    "i1e0:",
    "1:",
    "01:a",
    "-1:a",
    "4:abc",
    "l",
    "lee",
    "d1:ae",
    "di1e0:e",
    "d1:a0:",
    "d1:b0:1:a0:e",
    "d1:a0:1:a0:e",
    "d2:aa0:1:a0:e",
    "x",
    "99999999999999999999:a",
    "18446744073709551616:a",
    "d1:ai1e1:",
    "lllllllllleeeeeeeeee",
};

START_TEST(everything_else_is_refused)
{
    struct dht_bencode doc;
    ck_assert_int_eq(read_text(&doc, bad[_i]), HANSE_EPROTO);
}
END_TEST

START_TEST(depth_and_tokens_have_a_ceiling)
{
    struct dht_bencode doc;
    char text[2 * DHT_BENCODE_TOKENS_MAX + 8];
    for (size_t depth = 1; depth <= DHT_BENCODE_DEPTH_MAX + 1; depth++) {
        memset(text, 'l', depth);
        memset(text + depth, 'e', depth);
        ck_assert_int_eq(dht_bencode_read(&doc, text, 2 * depth), depth <= DHT_BENCODE_DEPTH_MAX ? 0 : HANSE_EPROTO);
    }
    for (size_t n = DHT_BENCODE_TOKENS_MAX - 1; n <= DHT_BENCODE_TOKENS_MAX; n++) {
        text[0] = 'l';
        for (size_t i = 0; i < n; i++)
            memcpy(text + 1 + 2 * i, "0:", 2);
        text[1 + 2 * n] = 'e';
        ck_assert_int_eq(dht_bencode_read(&doc, text, 2 * n + 2), n < DHT_BENCODE_TOKENS_MAX ? 0 : HANSE_EPROTO);
    }
}
END_TEST

START_TEST(what_is_written_is_read)
{
    uint8_t bytes[64];
    struct dht_bencode_writer w;
    struct dht_bencode doc;
    dht_bencode_writer_init(&w, bytes, sizeof bytes);
    dht_bencode_put_mark(&w, 'd');
    dht_bencode_put_number(&w, "a", INT64_MAX);
    dht_bencode_put_pair(&w, "b", (struct dht_span){NULL, 0});
    dht_bencode_put_pair(&w, "c", (struct dht_span){(const uint8_t *)"xyz", 3});
    dht_bencode_put_mark(&w, 'e');
    ck_assert(!w.is_full);
    ck_assert_uint_eq(w.n, strlen("d1:ai9223372036854775807e1:c3:xyze"));
    ck_assert_mem_eq(bytes, "d1:ai9223372036854775807e1:c3:xyze", w.n);
    ck_assert_int_eq(dht_bencode_read(&doc, bytes, w.n), 0);
    for (size_t max = 0; max < 34; max++) {
        dht_bencode_writer_init(&w, bytes, max);
        dht_bencode_put_mark(&w, 'd');
        dht_bencode_put_number(&w, "a", INT64_MAX);
        dht_bencode_put_pair(&w, "c", (struct dht_span){(const uint8_t *)"xyz", 3});
        dht_bencode_put_mark(&w, 'e');
        ck_assert(w.is_full && w.n <= max);
    }
}
END_TEST

START_TEST(numbers_are_written_as_they_are)
{
    static const int64_t numbers[] = {0, 1, 9, 10, 99, 100, 12345, INT64_MAX, -1, -10, INT64_MIN};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char text[64], bytes[64];
        struct dht_bencode_writer w;
        size_t n = (size_t)snprintf(text, sizeof text, "i%" PRId64 "e", numbers[i]);
        dht_bencode_writer_init(&w, bytes, sizeof bytes);
        dht_bencode_put_integer(&w, numbers[i]);
        ck_assert_uint_eq(w.n, n);
        ck_assert_mem_eq(bytes, text, n);
    }
    for (size_t n = 0; n < 1200; n++) {
        char text[8];
        uint8_t bytes[1300], string[1200] = {0};
        struct dht_bencode_writer w;
        size_t n_text = (size_t)snprintf(text, sizeof text, "%zu:", n);
        dht_bencode_writer_init(&w, bytes, sizeof bytes);
        dht_bencode_put_string(&w, string, n);
        ck_assert(w.n == n_text + n && memcmp(bytes, text, n_text) == 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-bencode");
    TCase *all = tcase_create("bencode");
    tcase_add_test(all, values_are_read_in_place);
    tcase_add_loop_test(all, the_canonical_form_is_read, 0, sizeof good / sizeof good[0]);
    tcase_add_loop_test(all, everything_else_is_refused, 0, sizeof bad / sizeof bad[0]);
    tcase_add_test(all, depth_and_tokens_have_a_ceiling);
    tcase_add_test(all, what_is_written_is_read);
    tcase_add_test(all, numbers_are_written_as_they_are);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
