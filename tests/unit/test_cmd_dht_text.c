/* cmd/dht_text.h: what strangers send is shown, and no terminal obeys it. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "cmd/dht_text.h"
#include "dht/krpc.h"

START_TEST(only_printable_ascii_is_shown_as_it_is)
{
    char out[64];
    ck_assert_str_eq(dht_text_escape(out, sizeof out, "a b~", 4), "a b~");
    ck_assert_str_eq(dht_text_escape(out, sizeof out, "\x1b[2J\n\0\x7f\xc3\xa4", 9), "\\x1b[2J\\n\\x00\\x7f\\xc3\\xa4");
    ck_assert_str_eq(dht_text_escape(out, sizeof out, "\\x1b", 4), "\\\\x1b");
    ck_assert_str_eq(dht_text_escape(out, 8, "\1\2\3", 3), "\\x01");
    ck_assert_str_eq(dht_text_escape(out, 8, "abcdefgh", 8), "abcd");
    ck_assert_str_eq(dht_text_escape(out, sizeof out, NULL, 0), "");
}
END_TEST

START_TEST(programs_are_named)
{
    static const struct {
        const char *v;
        size_t n;
        const char *text;
    } known[] = {
        {"LT\2\10", 4, "libtorrent 2.0.8 (LT\\x02\\x08)"},
        {"LT\1\x2b", 4, "libtorrent 1.2.11 (LT\\x01+)"},
        {"HN\0\2", 4, "hanse, wire revision 2 (HN\\x00\\x02)"},
        {"TR\0\0", 4, "Transmission (TR\\x00\\x00)"},
        {"A2\0\3", 4, "aria2 (A2\\x00\\x03)"},
        {"LT", 2, "libtorrent (LT)"},
        {"XY\x1b[", 4, "XY\\x1b["},
        {"H", 1, "H"},
        {"", 0, "unnamed"},
    };
    char out[DHT_TEXT_VERSION_BYTES];
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        ck_assert_str_eq(dht_text_version(out, (const uint8_t *)known[i].v, known[i].n), known[i].text);
    uint8_t endless[1000];
    memset(endless, 0x1b, sizeof endless);
    ck_assert_uint_lt(strlen(dht_text_version(out, endless, sizeof endless)), sizeof out);
}
END_TEST

static void check_value(const char *bencoded, size_t n, const char *expected)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    dht_text_value(&out, (const uint8_t *)bencoded, n);
    ck_assert_uint_eq(out.n, strlen(expected));
    ck_assert_mem_eq(out.bytes, expected, out.n);
    buf_fini(&out);
}

START_TEST(values_are_laid_out)
{
    check_value("5:hello", 7, "hello");
    check_value("3:\x1b[m", 5, "0x1b5b6d");
    check_value("8:a\nb\tc\\\"d", 10, "a\\nb\\x09c\\\\\"d");
    check_value("7:gr\xc3\xb6\xc3\x9f"
                "e",
                9, "gr\\xc3\\xb6\\xc3\\x9fe");
    check_value("4:\xc3\xc3\xc3\xc3", 6, "0xc3c3c3c3"); /* no letters of UTF-8 */
    check_value("l4:a\n\x1b"
                "be",
                8, "[\n  \"a\\n\\x1bb\"\n]");
    check_value("i-7e", 4, "-7");
    check_value("le", 2, "[]");
    check_value("de", 2, "{}");
    check_value("d1:al1:b2:\0\1i3ee1:c0:e", 22, "{\n  \"a\": [\n    \"b\"\n    0x0001\n    3\n  ]\n  \"c\": \"\"\n}");
    check_value("nonsense", 8, "0x6e6f6e73656e7365");
}
END_TEST

/* Whoever asks for nothing that a put asks for is told nothing of puts, whatever a stranger answers. */
START_TEST(a_refusal_is_explained_where_it_may_be_meant)
{
    char why[DHT_TEXT_REFUSAL_BYTES], sentence[DHT_TEXT_REFUSAL_BYTES];
    for (int code = -1; code < 400; code++) {
        bool is_meant = code >= 201 && code <= 204;
        snprintf(sentence, sizeof sentence, "%s%s", is_meant ? ", " : "", is_meant ? dht_text_error(code) : "");
        ck_assert_str_eq(dht_text_refusal(why, code), sentence);
    }
    ck_assert_ptr_nonnull(strstr(dht_text_refusal(why, DHT_ERROR_PROTOCOL), "too old"));
}
END_TEST

START_TEST(each_error_has_a_sentence)
{
    static const int code[] = {DHT_ERROR_SERVER,    DHT_ERROR_PROTOCOL,  DHT_ERROR_METHOD, DHT_ERROR_V_SIZE,
                               DHT_ERROR_SIGNATURE, DHT_ERROR_SALT_SIZE, DHT_ERROR_CAS,    DHT_ERROR_SEQ};
    const char *other = dht_text_error(999);
    for (size_t i = 0; i < sizeof code / sizeof code[0]; i++)
        ck_assert_str_ne(dht_text_error(code[i]), other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cmd/dht_text");
    TCase *tests = tcase_create("text");
    tcase_add_test(tests, only_printable_ascii_is_shown_as_it_is);
    tcase_add_test(tests, programs_are_named);
    tcase_add_test(tests, values_are_laid_out);
    tcase_add_test(tests, each_error_has_a_sentence);
    tcase_add_test(tests, a_refusal_is_explained_where_it_may_be_meant);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
