/* tests/unit/test_net_names.c - names become addresses without anybody waiting.  Needs no network: the names are addresses. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/names.h"
#include "unit.h"

static const char *const given[] = {"192.0.2.7:6881", "2001:db8::5:25401"};

/* Waits for one more, up to a minute. */
static bool next(struct names *names, struct addr *out)
{
    for (int i = 0; i < 6000; i++) {
        if (names_next(names, 1, out))
            return true;
        usleep(10000);
    }
    return false;
}

START_TEST(each_name_gives_its_addresses)
{
    struct names *names;
    struct addr addr;
    char text[ADDR_TEXT_BYTES];
    ck_assert_int_eq(names_new(given, 2, 0, &names), 0);
    ck_assert(next(names, &addr));
    ck_assert_str_eq(addr_text(&addr, text), "192.0.2.7:6881");
    ck_assert(next(names, &addr));
    ck_assert_str_eq(addr_text(&addr, text), "[2001:db8::5]:25401");
    ck_assert(!names_next(names, 2, &addr));
    ck_assert(!names_next(names, 59000000, &addr)); /* all given: not looked up again before a minute is over */
    usleep(50000);
    ck_assert(!names_next(names, 59000000, &addr));
    (void)names_next(names, 60000000, &addr);
    ck_assert(next(names, &addr));
    names_free(names);
}
END_TEST

static size_t n_lines;
static char line[512];

static void hear(void *arg, enum log_level level, const char *text)
{
    (void)arg;
    (void)level;
    n_lines++;
    snprintf(line, sizeof line, "%s", text);
}

START_TEST(what_is_no_name_with_a_port_is_refused)
{
    static const char *const wrong[] = {"", "host", "host:", ":1", "host:0", "host:65536", "host:1x", "host:123456"};
    struct names *names;
    n_lines = 0;
    log_set_sink(hear, NULL);
    ck_assert_int_eq(names_new(&wrong[_i], 1, 0, &names), HANSE_EINVAL);
    ck_assert_uint_eq(n_lines, 1);
    log_set_sink(NULL, NULL);
}
END_TEST

START_TEST(a_name_that_is_not_found_is_said_once_with_the_remedy)
{
    static const char *const nowhere = "no_such_host_.:1"; /* no host's name has such a form, so no resolver is asked for long */
    struct names *names;
    struct addr addr;
    n_lines = 0;
    log_set_sink(hear, NULL);
    ck_assert_int_eq(names_new(&nowhere, 1, 0, &names), 0);
    for (int i = 0; i < 10000 && n_lines == 0; i++) {
        ck_assert(!names_next(names, 1, &addr));
        usleep(10000);
    }
    ck_assert_uint_eq(n_lines, 1);
    ck_assert_ptr_nonnull(strstr(line, "--mainline=ADDR:PORT"));
    log_set_sink(NULL, NULL);
    names_free(names);
}
END_TEST

START_TEST(nobody_waits_for_a_lookup_at_the_end)
{
    struct names *names;
    ck_assert_int_eq(names_new(given, 2, 0, &names), 0);
    names_free(names);
    names_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net-names");
    TCase *all = tcase_create("names");
    tcase_set_timeout(all, 150);
    tcase_add_test(all, each_name_gives_its_addresses);
    tcase_add_loop_test(all, what_is_no_name_with_a_port_is_refused, 0, 8);
    tcase_add_test(all, a_name_that_is_not_found_is_said_once_with_the_remedy);
    tcase_add_loop_test(all, nobody_waits_for_a_lookup_at_the_end, 0, 5);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
