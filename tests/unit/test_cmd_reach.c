#include "cmd/reach.h"

#include <string.h>

#include "unit.h"

static const struct {
    const char *text;
    enum reach_from from;
    const char *what;
} sample[] = {
    {"8.8.8.8:1", REACH_PUBLIC, "public"},
    {"192.0.1.255:1", REACH_PUBLIC, "public"},
    {"192.0.2.0:1", REACH_NOBODY, "TEST-NET-1"},
    {"192.0.2.255:1", REACH_NOBODY, "TEST-NET-1"},
    {"192.0.3.0:1", REACH_PUBLIC, "public"},
    {"198.51.100.7:1", REACH_NOBODY, "TEST-NET-2"},
    {"203.0.113.7:1", REACH_NOBODY, "TEST-NET-3"},
    {"198.17.255.255:1", REACH_PUBLIC, "public"},
    {"198.19.255.255:1", REACH_NOBODY, "measuring"},
    {"198.20.0.0:1", REACH_PUBLIC, "public"},
    {"100.63.255.255:1", REACH_PUBLIC, "public"},
    {"100.64.0.0:1", REACH_PROVIDER, "provider"},
    {"100.127.255.255:1", REACH_PROVIDER, "provider"},
    {"100.128.0.0:1", REACH_PUBLIC, "public"},
    {"10.1.2.3:1", REACH_SITE, "private"},
    {"172.15.255.255:1", REACH_PUBLIC, "public"},
    {"172.31.255.255:1", REACH_SITE, "private"},
    {"172.32.0.0:1", REACH_PUBLIC, "public"},
    {"192.168.1.1:1", REACH_SITE, "private"},
    {"169.254.1.1:1", REACH_LINK, "link-local"},
    {"127.0.0.1:1", REACH_NOBODY, "loopback"},
    {"0.0.0.0:1", REACH_NOBODY, "0.0.0.0/8"},
    {"223.255.255.255:1", REACH_PUBLIC, "public"},
    {"224.0.0.1:1", REACH_NOBODY, "multicast"},
    {"255.255.255.255:1", REACH_NOBODY, "reserved"},
    {"[2001:db8::1]:1", REACH_NOBODY, "2001:db8::/32"},
    {"[2001:db9::1]:1", REACH_PUBLIC, "public"},
    {"[2606:4700::1]:1", REACH_PUBLIC, "public"},
    {"[3fff:fff::1]:1", REACH_NOBODY, "3fff::/20"},
    {"[3fff:1000::1]:1", REACH_PUBLIC, "public"},
    {"[4000::1]:1", REACH_NOBODY, "2000::/3"},
    {"[fd00::1]:1", REACH_SITE, "private"},
    {"[fe80::1]:1", REACH_LINK, "link-local"},
    {"[febf::1]:1", REACH_LINK, "link-local"},
    {"[fec0::1]:1", REACH_NOBODY, "2000::/3"},
    {"[::1]:1", REACH_NOBODY, "2000::/3"},
};

START_TEST(a_range_ends_where_it_ends)
{
    struct addr addr;
    ck_assert_int_eq(addr_parse(&addr, sample[_i].text), 0);
    struct reach reach = reach_of(&addr);
    ck_assert_msg(reach.from == sample[_i].from && strstr(reach.what, sample[_i].what), "%s is %s (%d)", sample[_i].text,
                  reach.what, reach.from);
}
END_TEST

START_TEST(what_is_no_address_is_reached_by_nobody)
{
    static const struct addr none;
    ck_assert_int_eq(reach_of(&none).from, REACH_NOBODY);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cmd/reach");
    TCase *all = tcase_create("reach");
    tcase_add_loop_test(all, a_range_ends_where_it_ends, 0, sizeof sample / sizeof *sample);
    tcase_add_test(all, what_is_no_address_is_reached_by_nobody);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
