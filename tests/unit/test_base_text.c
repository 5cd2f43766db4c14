#include "unit.h"

#include <string.h>

#include "base/text.h"

START_TEST(hex_goes_both_ways)
{
    static const uint8_t bytes[] = {0x00, 0x9a, 0xff, 0x10};
    char out[9];
    uint8_t back[4];
    text_hex(out, bytes, 4);
    ck_assert_str_eq(out, "009aff10");
    ck_assert(text_unhex(back, 4, out));
    ck_assert_mem_eq(back, bytes, 4);
    ck_assert(text_unhex(back, 4, "009AfF10"));
    ck_assert_mem_eq(back, bytes, 4);
    text_hex(out, bytes, 0);
    ck_assert_str_eq(out, "");
    ck_assert(text_unhex(back, 0, ""));
}
END_TEST

START_TEST(hex_of_another_length_or_alphabet_is_refused)
{
    static const char *const text[] = {"", "00", "009aff1", "009aff100", "009aff1g", "0x9aff10", " 09aff10", "009aff1:"};
    uint8_t out[4] = "abc";
    ck_assert(!text_unhex(out, 4, text[_i]));
    ck_assert_mem_eq(out, "abc", 4);
}
END_TEST

START_TEST(whole_numbers_keep_their_bounds)
{
    uint64_t v = 0;
    ck_assert(text_u64(&v, "0", 0, 9) && v == 0);
    ck_assert(text_u64(&v, "18446744073709551615", 0, UINT64_MAX) && v == UINT64_MAX);
    ck_assert(text_u64(&v, "5", 5, 5) && v == 5);
    ck_assert(!text_u64(&v, "4", 5, 9) && !text_u64(&v, "10", 5, 9));
    ck_assert_uint_eq(v, 5);
}
END_TEST

START_TEST(what_is_no_whole_number_is_refused)
{
    static const char *const text[] = {
        "", " 1", "1 ", "+1", "-1", "0x1", "1.0", "18446744073709551616", "99999999999999999999999", "a"};
    uint64_t v = 77;
    ck_assert_msg(!text_u64(&v, text[_i], 0, UINT64_MAX), "'%s' was taken", text[_i]);
    ck_assert_uint_eq(v, 77);
}
END_TEST

START_TEST(decimal_numbers_are_read)
{
    double v;
    ck_assert(text_double(&v, "1.5") && v == 1.5);
    ck_assert(text_double(&v, "-2e-3") && v == -2e-3);
    ck_assert(text_double(&v, "+.25") && v == 0.25);
    ck_assert(text_double(&v, "0") && v == 0);
}
END_TEST

START_TEST(what_is_no_decimal_number_is_refused)
{
    static const char *const text[] = {"", ".", "-", "nan", "inf", "-inf", "1e999", "0x10", "1.5 ", " 1", "1,5", "1.5x", "--1"};
    double v = 77;
    ck_assert_msg(!text_double(&v, text[_i]), "'%s' was taken", text[_i]);
    ck_assert(v == 77);
}
END_TEST

START_TEST(rates_and_durations_have_units)
{
    double rate;
    uint64_t us;
    ck_assert(text_bit_rate(&rate, "20Mbit") && rate == 20e6);
    ck_assert(text_bit_rate(&rate, "1.5Gbit") && rate == 1.5e9);
    ck_assert(text_bit_rate(&rate, "300kbit") && rate == 300e3);
    ck_assert(text_bit_rate(&rate, "8000") && rate == 8000);
    ck_assert(text_duration_us(&us, "80ms") && us == 80000);
    ck_assert(text_duration_us(&us, "2s") && us == 2000000);
    ck_assert(text_duration_us(&us, "500us") && us == 500);
    ck_assert(text_duration_us(&us, "1.5h") && us == UINT64_C(5400000000));
    ck_assert(text_duration_us(&us, "0.29s") && us == 290000);
}
END_TEST

START_TEST(unknown_units_are_refused)
{
    static const char *const text[] = {"", "Mbit", "20mbit", "20 Mbit", "20Mbits", "-1Mbit", "nanMbit", "1e300Tbit", "20MB"};
    static const char *const span[] = {"", "ms", "80", "80 ms", "80msec", "-1s", "1e300h", "99999999h", "infs"};
    double rate = 77;
    uint64_t us = 77;
    ck_assert_msg(!text_bit_rate(&rate, text[_i]), "'%s' was taken", text[_i]);
    ck_assert_msg(!text_duration_us(&us, span[_i]), "'%s' was taken", span[_i]);
    ck_assert(rate == 77 && us == 77);
}
END_TEST

START_TEST(sizes_round_to_one_digit)
{
    char out[32];
    ck_assert_str_eq(text_size(out, sizeof out, 0), "0 B");
    ck_assert_str_eq(text_size(out, sizeof out, 999), "999 B");
    ck_assert_str_eq(text_size(out, sizeof out, 1000), "1.0 kB");
    ck_assert_str_eq(text_size(out, sizeof out, 1234567), "1.2 MB");
    ck_assert_str_eq(text_size(out, sizeof out, 999960), "1.0 MB");
    ck_assert_str_eq(text_size(out, sizeof out, 3.4e9), "3.4 GB");
    ck_assert_str_eq(text_size(out, sizeof out, 1e22), "10000.0 EB");
}
END_TEST

START_TEST(test_distance)
{
    char a[200], b[200];
    ck_assert_uint_eq(text_distance("", ""), 0);
    ck_assert_uint_eq(text_distance("kitten", "sitting"), 3);
    ck_assert_uint_eq(text_distance("expert", "experts"), 1);
    ck_assert_uint_eq(text_distance("experts", "expert"), 1);
    ck_assert_uint_eq(text_distance("", "abc"), 3);
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    a[199] = b[199] = 0;
    ck_assert_uint_eq(text_distance(a, b), TEXT_WORD_MAX);
}
END_TEST

START_TEST(one_has_no_plural)
{
    ck_assert_str_eq(text_plural(0), "s");
    ck_assert_str_eq(text_plural(1), "");
    ck_assert_str_eq(text_plural(2), "s");
    ck_assert_str_eq(text_plural(UINT64_MAX), "s");
}
END_TEST

START_TEST(what_directs_a_terminal_is_spelled_out)
{
    char out[80], small[8];
    ck_assert_str_eq(text_plain(out, sizeof out,
                                "L\xc3\xbc"
                                "beck \xe2\x82\xac \xf0\x9f\x9a\xa2"),
                     "L\xc3\xbc"
                     "beck \xe2\x82\xac \xf0\x9f\x9a\xa2");
    ck_assert_str_eq(text_plain(out, sizeof out, "a\xe2\x80\xaez"), "a\\u202ez");
    ck_assert_str_eq(text_plain(out, sizeof out,
                                "\xc2\x9b"
                                "31m\033[2J\x7f"),
                     "\\u009b31m\\x1b[2J\\x7f");
    ck_assert_str_eq(text_plain(out, sizeof out, "\xf3\xa0\x81\xa1|\xff|\xe2\x80"), "\\U000e0061|\\xff|\\xe2\\x80");
    ck_assert_str_eq(text_plain(small, sizeof small, "ab\xe2\x80\xae"), "ab"); /* whole or not at all */
    ck_assert_str_eq(text_plain(small, sizeof small, "a\xe2\x80\xae"), "a\\u202e");
    ck_assert(text_directs(0x2066) && text_directs(0xfeff) && !text_directs('a') && !text_directs(0x2014));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/text");
    TCase *tcase = tcase_create("text");
    tcase_add_test(tcase, hex_goes_both_ways);
    tcase_add_test(tcase, test_distance);
    tcase_add_loop_test(tcase, hex_of_another_length_or_alphabet_is_refused, 0, 8);
    tcase_add_test(tcase, whole_numbers_keep_their_bounds);
    tcase_add_loop_test(tcase, what_is_no_whole_number_is_refused, 0, 10);
    tcase_add_test(tcase, decimal_numbers_are_read);
    tcase_add_loop_test(tcase, what_is_no_decimal_number_is_refused, 0, 13);
    tcase_add_test(tcase, rates_and_durations_have_units);
    tcase_add_loop_test(tcase, unknown_units_are_refused, 0, 9);
    tcase_add_test(tcase, sizes_round_to_one_digit);
    tcase_add_test(tcase, what_directs_a_terminal_is_spelled_out);
    tcase_add_test(tcase, one_has_no_plural);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
