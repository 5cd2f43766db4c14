#include "unit.h"

#include <string.h>

#include "base/addr.h"

static struct addr parsed(const char *text)
{
    struct addr addr;
    ck_assert_int_eq(addr_parse(&addr, text), 0);
    return addr;
}

START_TEST(text_goes_both_ways)
{
    static const char *const text[] = {"1.2.3.4:4100", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:4100", "[2001:db8::7]:1"};
    char out[ADDR_TEXT_BYTES];
    struct addr addr = parsed(text[_i]);
    ck_assert_str_eq(addr_text(&addr, out), text[_i]);
}
END_TEST

START_TEST(other_text_is_refused)
{
    static const char *const text[] = {"",
                                       "1.2.3.4",
                                       ":80",
                                       "1.2.3.4:",
                                       "1.2.3.4:65536",
                                       "1.2.3.4:-1",
                                       "1.2.3.4:80x",
                                       "1.2.3.4: 80",
                                       "1.2.3:80",
                                       "1.2.3.4.5:80",
                                       "example.org:80",
                                       "::1:80",
                                       "[::1]",
                                       "[::1]80",
                                       "[]:80",
                                       "[::1:80",
                                       "[1.2.3.4]:80",
                                       "[::1%lo]:80",
                                       "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:80"};
    struct addr addr = {.family = 4, .port = 7}, before = addr;
    ck_assert_uint_eq(sizeof text / sizeof *text, 19);
    ck_assert_msg(addr_parse(&addr, text[_i]) == HANSE_EINVAL, "'%s' was taken", text[_i]);
    ck_assert_mem_eq(&addr, &before, sizeof addr);
}
END_TEST

START_TEST(no_address_has_a_text)
{
    char out[ADDR_TEXT_BYTES];
    struct addr none = {0};
    ck_assert_str_eq(addr_text(&none, out), "none");
}
END_TEST

START_TEST(compact_is_network_order)
{
    static const uint8_t v4[] = {1, 2, 3, 4, 0x10, 0x04};
    static const uint8_t v6[18] = {[15] = 1, [16] = 0x10, [17] = 0x04};
    uint8_t out[18];
    struct addr a = parsed("1.2.3.4:4100"), b = parsed("[::1]:4100"), back;
    ck_assert_uint_eq(addr_compact(&a, out), 6);
    ck_assert_mem_eq(out, v4, 6);
    ck_assert(addr_from_compact(&back, out, 6) && addr_equal(&back, &a));
    ck_assert_uint_eq(addr_compact(&b, out), 18);
    ck_assert_mem_eq(out, v6, 18);
    ck_assert(addr_from_compact(&back, out, 18) && addr_equal(&back, &b));
    for (size_t n = 0; n < 18; n++)
        ck_assert(n == 6 || !addr_from_compact(&back, out, n));
}
END_TEST

START_TEST(equal_means_family_address_and_port)
{
    struct addr a = parsed("1.2.3.4:5"), same = parsed("1.2.3.4:5");
    struct addr port = parsed("1.2.3.4:6"), host = parsed("1.2.3.5:5"), family = parsed("[102:304::]:5");
    ck_assert(addr_equal(&a, &same));
    ck_assert(!addr_equal(&a, &port) && !addr_equal(&a, &host) && !addr_equal(&a, &family));
}
END_TEST

START_TEST(ranges_end_where_they_should)
{
    static const struct {
        const char *text;
        bool is_loopback, is_unspecified, is_local;
    } row[] = {
        {"127.0.0.1:1", true, false, true},     {"127.255.255.255:1", true, false, true},
        {"128.0.0.1:1", false, false, false},   {"0.0.0.0:1", false, true, false},
        {"0.0.0.1:1", false, false, false},     {"10.255.0.1:1", false, false, true},
        {"11.0.0.1:1", false, false, false},    {"172.15.255.255:1", false, false, false},
        {"172.16.0.0:1", false, false, true},   {"172.31.255.255:1", false, false, true},
        {"172.32.0.0:1", false, false, false},  {"192.168.9.9:1", false, false, true},
        {"192.169.0.0:1", false, false, false}, {"169.254.1.1:1", false, false, true},
        {"[::]:1", false, true, false},         {"[::1]:1", true, false, true},
        {"[::2]:1", false, false, false},       {"[fe80::1]:1", false, false, true},
        {"[febf::1]:1", false, false, true},    {"[fec0::1]:1", false, false, false},
        {"[fc00::1]:1", false, false, true},    {"[fdff::1]:1", false, false, true},
        {"[fe00::1]:1", false, false, false},   {"[2001:db8::1]:1", false, false, false},
    };
    ck_assert_uint_eq(sizeof row / sizeof *row, 24);
    struct addr addr = parsed(row[_i].text);
    ck_assert_msg(addr_is_loopback(&addr) == row[_i].is_loopback, "%s", row[_i].text);
    ck_assert_msg(addr_is_unspecified(&addr) == row[_i].is_unspecified, "%s", row[_i].text);
    ck_assert_msg(addr_is_local(&addr) == row[_i].is_local, "%s", row[_i].text);
}
END_TEST

START_TEST(one_machine_has_an_address_of_one)
{
    static const char *const nobody[] = {"0.0.0.0:1",         "0.1.2.3:1", "224.0.0.1:1", "239.1.1.1:1",       "240.0.0.1:1",
                                         "255.255.255.255:1", "[::]:1",    "[ff02::1]:1", "[::ffff:8.8.8.8]:1"};
    static const char *const somebody[] = {"1.0.0.1:1", "127.0.0.1:1", "223.255.255.255:1",
                                           "[::1]:1",   "[fe80::1]:1", "[2001:db8::1]:1"};
    for (size_t i = 0; i < sizeof nobody / sizeof *nobody; i++) {
        struct addr addr = parsed(nobody[i]);
        ck_assert_msg(!addr_is_unicast(&addr), "%s", nobody[i]);
    }
    for (size_t i = 0; i < sizeof somebody / sizeof *somebody; i++) {
        struct addr addr = parsed(somebody[i]);
        ck_assert_msg(addr_is_unicast(&addr), "%s", somebody[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/addr");
    TCase *tcase = tcase_create("addr");
    tcase_add_loop_test(tcase, text_goes_both_ways, 0, 5);
    tcase_add_loop_test(tcase, other_text_is_refused, 0, 19);
    tcase_add_test(tcase, no_address_has_a_text);
    tcase_add_test(tcase, compact_is_network_order);
    tcase_add_test(tcase, equal_means_family_address_and_port);
    tcase_add_loop_test(tcase, ranges_end_where_they_should, 0, 24);
    tcase_add_test(tcase, one_machine_has_an_address_of_one);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
