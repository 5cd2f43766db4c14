#include "base/profile.h"

#include <pthread.h>
#include <string.h>

#include "tests/unit/unit.h"

static _Thread_local uint64_t now;

static uint64_t read_now(void)
{
    return now;
}

/* A thread's life by a clock of its own: 5 idle, 7 attention, 11 head, 13 attention again, head without end. */
static void *live(void *name)
{
    profile_thread(name);
    now += 5;
    profile_enter(PROFILE_ATTENTION);
    now += 7;
    profile_enter(PROFILE_HEAD);
    if (profile_n_threads() > 0)
        ck_assert_int_eq(profile_now(), PROFILE_HEAD);
    now += 6;
    profile_enter(PROFILE_HEAD);
    now += 5;
    profile_enter(PROFILE_ATTENTION);
    now += 13;
    profile_enter(PROFILE_HEAD);
    return NULL;
}

static uint64_t all(const struct profile_time *time)
{
    uint64_t ns = 0;
    for (int i = 0; i < PROFILE_N_SPANS; i++)
        ns += time->ns[i];
    return ns;
}

START_TEST(off_means_nothing_is_counted)
{
    ck_assert(profile_clock == NULL);
    live("nobody");
    ck_assert_uint_eq(profile_n_threads(), 0);
}
END_TEST

START_TEST(a_thread_is_in_one_span_at_a_time)
{
    pthread_t thread[2];
    profile_start(read_now);
    pthread_create(&thread[0], NULL, live, "worker 1");
    pthread_join(thread[0], NULL);
    pthread_create(&thread[1], NULL, live, "worker 2");
    pthread_join(thread[1], NULL);
    ck_assert_uint_eq(profile_n_threads(), 2);
    for (size_t t = 0; t < 2; t++) {
        struct profile_time time = profile_thread_time(t);
        ck_assert_str_eq(profile_thread_name(t), t ? "worker 2" : "worker 1");
        ck_assert_uint_eq(time.ns[PROFILE_IDLE], 5);
        ck_assert_uint_eq(time.ns[PROFILE_ATTENTION], 20);
        ck_assert_uint_eq(time.ns[PROFILE_HEAD], 11);
        ck_assert_uint_eq(all(&time), 36);
    }
}
END_TEST

START_TEST(the_span_under_way_counts)
{
    profile_start(read_now);
    live("self");
    now += 100;
    struct profile_time time = profile_thread_time(0);
    ck_assert_uint_eq(time.ns[PROFILE_HEAD], 111);
    ck_assert_uint_eq(all(&time), now);
}
END_TEST

/* A thread that never said who it is may enter spans; nobody hears of it. */
START_TEST(strangers_are_not_counted)
{
    profile_start(read_now);
    profile_enter(PROFILE_MUON);
    ck_assert_int_eq(profile_now(), PROFILE_OTHER);
    ck_assert_uint_eq(profile_n_threads(), 0);
}
END_TEST

static void *say_name(void *arg)
{
    (void)arg;
    profile_thread("one of many");
    profile_enter(PROFILE_MUON);
    now += 3;
    profile_enter(PROFILE_ADAM);
    return NULL;
}

START_TEST(threads_past_the_last_record_do_no_harm)
{
    profile_start(read_now);
    for (int i = 0; i < PROFILE_THREADS_MAX + 3; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, say_name, NULL);
        pthread_join(thread, NULL);
    }
    ck_assert_uint_eq(profile_n_threads(), PROFILE_THREADS_MAX);
    struct profile_time time = profile_thread_time(PROFILE_THREADS_MAX - 1);
    ck_assert_uint_eq(time.ns[PROFILE_MUON], 3);
}
END_TEST

START_TEST(every_span_has_a_name_of_its_own)
{
    for (int i = 0; i < PROFILE_N_SPANS; i++)
        for (int j = 0; j < i; j++) {
            ck_assert_str_ne(profile_title((enum profile_span)i), profile_title((enum profile_span)j));
            ck_assert_str_ne(profile_key((enum profile_span)i), profile_key((enum profile_span)j));
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/profile");
    TCase *tcase = tcase_create("profile");
    tcase_add_test(tcase, off_means_nothing_is_counted);
    tcase_add_test(tcase, a_thread_is_in_one_span_at_a_time);
    tcase_add_test(tcase, the_span_under_way_counts);
    tcase_add_test(tcase, strangers_are_not_counted);
    tcase_add_test(tcase, threads_past_the_last_record_do_no_harm);
    tcase_add_test(tcase, every_span_has_a_name_of_its_own);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
