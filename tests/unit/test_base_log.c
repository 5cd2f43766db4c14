#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define N_THREADS 4
#define N_LINES 200

/* What a sink was given last, and how often it was called. */
struct heard {
    char line[2000];
    enum log_level level;
    int n;
};

static void hear(void *arg, enum log_level level, const char *line)
{
    struct heard *heard = arg;
    snprintf(heard->line, sizeof heard->line, "%s", line);
    heard->level = level;
    heard->n++;
}

START_TEST(a_sink_gets_the_line_and_its_level)
{
    struct heard heard = {.n = 0};
    log_set_sink(hear, &heard);
    log_warn("port %d: in use", 4100);
    ck_assert_str_eq(heard.line, "port 4100: in use");
    ck_assert_int_eq(heard.level, LOG_WARN);
    log_error("disk full");
    ck_assert_str_eq(heard.line, "disk full");
    ck_assert_int_eq(heard.level, LOG_ERROR);
    ck_assert_int_eq(heard.n, 2);
}
END_TEST

START_TEST(lines_below_the_level_are_dropped)
{
    struct heard heard = {.n = 0};
    log_set_sink(hear, &heard);
    log_debug("unheard"); /* the level starts at LOG_INFO */
    ck_assert_int_eq(heard.n, 0);
    log_info("heard");
    ck_assert_int_eq(heard.n, 1);
    log_set_level(LOG_ERROR);
    log_warn("unheard");
    ck_assert_int_eq(heard.n, 1);
    log_set_level(LOG_DEBUG);
    log_debug("heard");
    ck_assert_int_eq(heard.n, 2);
}
END_TEST

START_TEST(a_line_stays_one_line_of_bounded_length)
{
    struct heard heard = {.n = 0};
    log_set_sink(hear, &heard);
    log_info("%s", "a\nb\033[2Jc\177");
    ck_assert_str_eq(heard.line, "a b [2Jc ");
    log_info("%05000d", 1);
    ck_assert_uint_lt(strlen(heard.line), 1100);
    ck_assert_str_eq(heard.line + strlen(heard.line) - 4, "0...");
}
END_TEST

/* What strangers cause: a handful at once, then a trickle that says what it leaves out. */
START_TEST(a_flood_becomes_a_trickle)
{
    struct heard heard = {.n = 0};
    struct log_limit limit = {0};
    uint64_t now_us = (uint64_t)1700000000 * 1000000;
    log_set_sink(hear, &heard);
    for (int i = 0; i < 1000; i++)
        log_limited(&limit, now_us, LOG_INFO, "peer %d refused", i);
    ck_assert_int_eq(heard.n, LOG_LIMIT_BURST);
    ck_assert_str_eq(heard.line, "peer 19 refused");
    log_limited(&limit, now_us + LOG_LIMIT_PAUSE_US - 1, LOG_INFO, "early");
    ck_assert_int_eq(heard.n, LOG_LIMIT_BURST);
    log_limited(&limit, now_us + LOG_LIMIT_PAUSE_US, LOG_DEBUG, "below the level, so it costs nothing");
    log_limited(&limit, now_us + LOG_LIMIT_PAUSE_US, LOG_WARN, "again");
    ck_assert_int_eq(heard.n, LOG_LIMIT_BURST + 2);
    ck_assert_str_eq(heard.line, "again");
    ck_assert_int_eq(heard.level, LOG_WARN);
    heard.n = 0;
    for (uint64_t second = 0; second < 3600; second++)
        for (int i = 0; i < 10; i++)
            log_limited(&limit, now_us + 20000000 + second * 1000000, LOG_INFO, "an hour of it");
    ck_assert_int_le(heard.n, 2 * 3600 * 1000000ll / LOG_LIMIT_PAUSE_US + 2 * LOG_LIMIT_BURST);
    ck_assert_int_ge(heard.n, 3600 * 1000000ll / LOG_LIMIT_PAUSE_US);
}
END_TEST

static uint64_t clock_now_us;

static uint64_t read_clock(void)
{
    return clock_now_us;
}

/* What a shortage causes, of which the cause is the same each time. */
START_TEST(a_shortage_is_told_now_and_then)
{
    struct heard heard = {.n = 0};
    struct log_seldom seldom = {0}, other = {0};
    clock_now_us = (uint64_t)1700000000 * 1000000;
    log_set_sink(hear, &heard);
    if (_i)
        log_set_clock(read_clock);
    log_seldom(&seldom, LOG_DEBUG, "below the level, so it costs nothing");
    for (int i = 0; i < 1000; i++)
        log_seldom(&seldom, LOG_ERROR, "no memory for %d", i);
    ck_assert_int_eq(heard.n, 1);
    ck_assert_str_eq(heard.line, "no memory for 0");
    ck_assert_int_eq(heard.level, LOG_ERROR);
    log_seldom(&other, LOG_WARN, "another");
    ck_assert_int_eq(heard.n, 2);
    clock_now_us += LOG_SELDOM_PAUSE_US - 1;
    log_seldom(&seldom, LOG_ERROR, "early");
    ck_assert_int_eq(heard.n, 2);
    clock_now_us++;
    log_seldom(&seldom, LOG_ERROR, "again");
    ck_assert_int_eq(heard.n, _i ? 4 : 2); /* 1000 lines such as the next were left out */
    ck_assert_str_eq(heard.line, _i ? "again" : "another");
    log_set_clock(NULL);
}
END_TEST

START_TEST(errno_survives)
{
    struct heard heard = {.n = 0};
    log_set_sink(hear, &heard);
    errno = EINTR;
    log_info("%s", "something");
    ck_assert_int_eq(errno, EINTR);
}
END_TEST

static void *talk(void *arg)
{
    for (int i = 0; i < N_LINES; i++)
        log_info("thread %s says a sentence of some length", (const char *)arg);
    return NULL;
}

/* Points stderr at a file, lets four threads talk, and looks for torn lines. */
START_TEST(threads_do_not_tear_lines_on_stderr)
{
    static char name[N_THREADS][2] = {"0", "1", "2", "3"};
    pthread_t thread[N_THREADS];
    char line[200], wanted[200];
    int n = 0;
    FILE *file = tmpfile();
    ck_assert_ptr_nonnull(file);
    int saved = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
    for (int i = 0; i < N_THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, talk, name[i]), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(thread[i], NULL);
    log_error("end");
    dup2(saved, STDERR_FILENO);
    rewind(file);
    for (; fgets(line, sizeof line, file) && line[7] == 't'; n++) {
        snprintf(wanted, sizeof wanted, "hanse: thread %c says a sentence of some length\n", line[14]);
        ck_assert_str_eq(line, wanted);
    }
    ck_assert_int_eq(n, N_THREADS * N_LINES);
    ck_assert_str_eq(line, "hanse: error: end\n");
    fclose(file);
    close(saved);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/log");
    TCase *tcase = tcase_create("log");
    tcase_add_test(tcase, a_sink_gets_the_line_and_its_level);
    tcase_add_test(tcase, lines_below_the_level_are_dropped);
    tcase_add_test(tcase, a_line_stays_one_line_of_bounded_length);
    tcase_add_test(tcase, a_flood_becomes_a_trickle);
    tcase_add_loop_test(tcase, a_shortage_is_told_now_and_then, 0, 2);
    tcase_add_test(tcase, errno_survives);
    tcase_add_test(tcase, threads_do_not_tear_lines_on_stderr);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
