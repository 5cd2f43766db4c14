#include "unit.h"

#include "base/random.h"
#include "dht/window.h"

#define SECOND_US ((uint64_t)1000000)
#define NOW_US (1000 * SECOND_US)

static struct dht_window window;
static uint64_t now_us;

static void setup(void)
{
    now_us = NOW_US;
    dht_window_init(&window, now_us);
}

static void answer(size_t n, uint64_t sent_us)
{
    for (size_t i = 0; i < n; i++)
        dht_window_answered(&window, sent_us, window.size, true);
}

static void miss(size_t n, uint64_t at_us, uint64_t sent_us)
{
    for (size_t i = 0; i < n; i++)
        dht_window_late(&window, at_us, sent_us);
}

START_TEST(it_grows_while_it_is_used)
{
    ck_assert_uint_eq(window.size, DHT_WINDOW_FIRST);
    for (int i = 0; i < 1000; i++)
        dht_window_answered(&window, NOW_US, DHT_WINDOW_FIRST / 2 - 1, true);
    ck_assert_uint_eq(window.size, DHT_WINDOW_FIRST);
    answer(10, NOW_US);
    ck_assert_uint_eq(window.size, DHT_WINDOW_FIRST + 10);
    answer(1000, NOW_US);
    ck_assert_uint_eq(window.size, DHT_WINDOW_MAX);
}
END_TEST

START_TEST(once_cut_it_grows_slowly)
{
    miss(8, NOW_US + 100, NOW_US + 1);
    ck_assert_uint_eq(window.size, DHT_WINDOW_FIRST / 2);
    answer(DHT_WINDOW_FIRST / 2 - 1, NOW_US + 200);
    ck_assert_uint_eq(window.size, DHT_WINDOW_FIRST / 2);
    answer(1, NOW_US + 200);
    ck_assert_uint_eq(window.size, DHT_WINDOW_FIRST / 2 + 1);
}
END_TEST

/* What was in the way a minute ago may be gone: it finds out as fast as at the start. */
START_TEST(a_minute_later_it_grows_again)
{
    miss(8, NOW_US + 100, NOW_US + 1);
    answer(10, NOW_US + 100 + 59 * SECOND_US);
    ck_assert_uint_eq(window.size, DHT_WINDOW_FIRST / 2);
    answer(10, NOW_US + 100 + 61 * SECOND_US);
    ck_assert_uint_eq(window.size, DHT_WINDOW_FIRST / 2 + 10);
}
END_TEST

/* All that was in the air when it was cut is one piece of news, and not two. */
START_TEST(it_is_cut_once_for_one_gust)
{
    miss(DHT_WINDOW_FIRST, NOW_US + 100, NOW_US + 50);
    ck_assert_uint_eq(window.size, DHT_WINDOW_FIRST / 2);
    answer(1000, NOW_US + 99); /* nor does it grow from what was asked before */
    ck_assert_uint_eq(window.size, DHT_WINDOW_FIRST / 2);
    miss(8, NOW_US + 300, NOW_US + 100);
    ck_assert_uint_eq(window.size, DHT_WINDOW_FIRST / 4);
}
END_TEST

START_TEST(something_may_always_be_asked)
{
    for (uint64_t i = 0; i < 100; i++)
        miss(8, NOW_US + i, NOW_US + i);
    ck_assert_uint_eq(window.size, DHT_WINDOW_MIN);
}
END_TEST

/* A long good time does not outweigh that it is over. */
START_TEST(what_was_long_ago_hardly_counts)
{
    answer(100000, NOW_US);
    miss(48, NOW_US + 1, NOW_US);
    ck_assert_uint_eq(window.size, DHT_WINDOW_MAX / 2);
}
END_TEST

/* Strangers who answer make it grow; but they say nothing of how many neighbours ought to. */
START_TEST(strangers_do_not_hide_silence)
{
    for (size_t i = 0; i < 1000; i++)
        dht_window_answered(&window, NOW_US, window.size, false);
    ck_assert_uint_eq(window.size, DHT_WINDOW_MAX);
    miss(8, NOW_US + 1, NOW_US);
    ck_assert_uint_eq(window.size, DHT_WINDOW_MAX / 2);
}
END_TEST

/* Its mean over a while in which so many of a thousand questions remain without an answer, a window of them after the other. */
static double mean_size(struct rng *rng, unsigned n_lost)
{
    uint64_t sum = 0;
    for (int turn = 0; turn < 2000; turn++) {
        size_t n = window.size;
        now_us += 100000;
        for (size_t i = 0; i < n; i++)
            if (rng_below(rng, 1000) >= n_lost)
                dht_window_answered(&window, now_us, n, true);
            else
                dht_window_late(&window, now_us + 90000, now_us);
        sum += turn >= 500 ? window.size : 0;
    }
    return (double)sum / 1500;
}

/* A link that loses 1 % of all datagrams, or 5 % of those in each direction, throttles nobody; one that is overrun does.  And when that
 * is over, so is its trace. */
START_TEST(the_weather_is_borne_and_the_flood_is_not)
{
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "window");
    ck_assert_double_gt(mean_size(&rng, 20), 0.99 * DHT_WINDOW_MAX);
    ck_assert_double_gt(mean_size(&rng, 98), 0.9 * DHT_WINDOW_MAX);
    ck_assert_double_lt(mean_size(&rng, 400), 1.5 * DHT_WINDOW_MIN);
    ck_assert_double_gt(mean_size(&rng, 20), 0.99 * DHT_WINDOW_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-window");
    TCase *all = tcase_create("window");
    tcase_add_checked_fixture(all, setup, NULL);
    tcase_add_test(all, it_grows_while_it_is_used);
    tcase_add_test(all, once_cut_it_grows_slowly);
    tcase_add_test(all, a_minute_later_it_grows_again);
    tcase_add_test(all, it_is_cut_once_for_one_gust);
    tcase_add_test(all, something_may_always_be_asked);
    tcase_add_test(all, what_was_long_ago_hardly_counts);
    tcase_add_test(all, strangers_do_not_hide_silence);
    tcase_add_loop_test(all, the_weather_is_borne_and_the_flood_is_not, 0, 5);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
