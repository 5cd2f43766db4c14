#include <string.h>

#include "base/log.h"
#include "node/host_list.h"
#include "unit.h"

#define N (2 * 16)

static struct run run = {.n_moe = 2, .experts = 16};
static bool is_listed[N];
static char last_line[1024];

static void keep_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    strncpy(last_line, line, sizeof last_line - 1);
}

static size_t n_listed(void)
{
    size_t n = 0;
    for (size_t i = 0; i < N; i++)
        n += is_listed[i];
    return n;
}

START_TEST(test_lists)
{
    ck_assert_int_eq(host_list_parse(&run, "L0.0-7,L1.3", is_listed), 0);
    ck_assert_uint_eq(n_listed(), 9);
    ck_assert(is_listed[0] && is_listed[7] && is_listed[16 + 3] && !is_listed[8]);
    ck_assert_int_eq(host_list_parse(&run, "L1.15", is_listed), 0);
    ck_assert_uint_eq(n_listed(), 1);
    ck_assert_int_eq(host_list_parse(&run, "L0.2,L0.1-3", is_listed), 0);
    ck_assert_uint_eq(n_listed(), 3);
    ck_assert_int_eq(host_list_parse(&run, "L0.0-15,L1.0-15", is_listed), 0);
    ck_assert_uint_eq(n_listed(), N);
}
END_TEST

static const struct {
    const char *list, *says;
} bad[] = {
    {"", "\"\" at column 1"},
    {"L0.0-7,", "\"\" at column 8"},
    {"L0.0-7,L2.3", "\"L2.3\" at column 8 names a layer that does not exist; this run has L0.0-15 to L1.0-15"},
    {"L0.16", "\"L0.16\" at column 1 names an expert that does not exist"},
    {"L0.0-16", "names an expert"},
    {"L0.7-3", "counts down"},
    {"L0", "is not of the form"},
    {"L0.", "is not of the form"},
    {"L0.3-", "is not of the form"},
    {"0.3", "is not of the form"},
    {"L0.3 ", "is not of the form"},
    {"L0.3;L0.4", "is not of the form"},
    {"L-1.3", "is not of the form"},
    {"L0.99999999999999999999999", "is not of the form"},
    {"L4294967296.0", "is not of the form"},
    {"Auto", "write auto"},
};

START_TEST(test_refusals)
{
    log_set_sink(keep_line, NULL);
    last_line[0] = 0;
    ck_assert_int_eq(host_list_parse(&run, bad[_i].list, is_listed), HANSE_EINVAL);
    ck_assert_msg(strstr(last_line, bad[_i].says) != NULL, "\"%s\": %s", bad[_i].list, last_line);
    log_set_sink(NULL, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node/host_list");
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, test_lists);
    tcase_add_loop_test(tc, test_refusals, 0, (int)(sizeof bad / sizeof *bad));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
