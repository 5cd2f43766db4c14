/* The cores that a process gets, and where its threads are bound. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "net/cores.h"
#include "unit.h"

/* Leaves the process the first processor it has. */
static void keep_one(void)
{
    cpu_set_t set, one;
    ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
    int first = 0;
    while (!CPU_ISSET(first, &set))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
}

START_TEST(at_least_one_and_no_more_than_the_mask)
{
    cpu_set_t set;
    ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
    unsigned n = cores_n_here();
    ck_assert_uint_ge(n, 1);
    ck_assert_uint_le(n, (unsigned)CPU_COUNT(&set));
    keep_one();
    ck_assert_uint_eq(cores_n_here(), 1);
}
END_TEST

static void *bind_alone(void *arg)
{
    const struct cores *cores = arg;
    cores_bind(cores, 1000001, true); /* more workers than cores */
    return NULL;
}

/* Other threads stay where they were. */
START_TEST(binding_is_of_the_calling_thread)
{
    cpu_set_t before, after;
    struct cores *cores;
    pthread_t thread;
    ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
    ck_assert_int_eq(cores_new(&cores), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, bind_alone, cores), 0);
    pthread_join(thread, NULL);
    ck_assert_int_eq(sched_getaffinity(0, sizeof after, &after), 0);
    ck_assert(CPU_EQUAL(&before, &after));
    cores_free(cores);
}
END_TEST

START_TEST(alone_each_worker_has_a_core)
{
    cpu_set_t first, second;
    struct cores *cores;
    ck_assert_int_eq(cores_new(&cores), 0);
    unsigned n = cores_n_workers(cores);
    cores_bind(cores, 0, true);
    ck_assert_int_eq(sched_getaffinity(0, sizeof first, &first), 0);
    cores_bind(cores, 1, true);
    ck_assert_int_eq(sched_getaffinity(0, sizeof second, &second), 0);
    CPU_AND(&second, &first, &second);
    ck_assert_int_eq(CPU_COUNT(&second) == 0, n > 1); /* apart, unless there is one */
    cores_free(cores);
}
END_TEST

START_TEST(together_a_worker_may_use_all_cores_of_its_node)
{
    cpu_set_t before, after;
    struct cores *cores;
    char text[160];
    ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
    ck_assert_int_eq(cores_new(&cores), 0);
    cores_describe(cores, text, sizeof text);
    cores_bind(cores, 0, false);
    ck_assert_int_eq(sched_getaffinity(0, sizeof after, &after), 0);
    if (strstr(text, "one memory node"))
        ck_assert(CPU_EQUAL(&before, &after));
    else
        ck_assert_int_lt(CPU_COUNT(&after), CPU_COUNT(&before));
    cores_free(cores);
}
END_TEST

/* hwloc can be told of a machine that is not there: two nodes of four cores with two threads each. */
START_TEST(cores_count_and_their_second_threads_do_not)
{
    struct cores *cores;
    char text[160];
    setenv("HWLOC_SYNTHETIC", "numa:2 core:4 pu:2", 1);
    ck_assert_int_eq(cores_new(&cores), 0);
    unsetenv("HWLOC_SYNTHETIC");
    cores_describe(cores, text, sizeof text);
    if (!strstr(text, "control group")) /* which would cut the eight */
        ck_assert_str_eq(text, "8 workers by default, each kept on one of 2 memory nodes");
    cores_free(cores);
}
END_TEST

START_TEST(the_words_fit_any_buffer)
{
    struct cores *cores;
    char text[160], little[4] = "...";
    ck_assert_int_eq(cores_new(&cores), 0);
    cores_describe(cores, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "by default"));
    cores_describe(cores, little, sizeof little);
    ck_assert_uint_eq(strlen(little), 3);
    cores_free(cores);
    cores_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net/cores");
    TCase *tests = tcase_create("cores");
    tcase_add_test(tests, at_least_one_and_no_more_than_the_mask);
    tcase_add_test(tests, binding_is_of_the_calling_thread);
    tcase_add_test(tests, alone_each_worker_has_a_core);
    tcase_add_test(tests, together_a_worker_may_use_all_cores_of_its_node);
    tcase_add_test(tests, cores_count_and_their_second_threads_do_not);
    tcase_add_test(tests, the_words_fit_any_buffer);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
