/* Threads that run work, and help each other with it. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "net/workers.h"
#include "unit.h"

#define PATIENCE_US 60000000
#define N_WORKS 40
#define N_PARTS 16

static void note_wake(void *arg)
{
    atomic_fetch_add((atomic_size_t *)arg, 1);
}

static void wait_for(const atomic_size_t *count, size_t n)
{
    for (size_t waited_us = 0; atomic_load(count) < n; waited_us += 100) {
        ck_assert_uint_lt(waited_us, PATIENCE_US);
        usleep(100);
    }
}

struct piece {
    struct io_work work;
    struct team *team;
    unsigned n_runs[N_PARTS];
};

static void count_part(void *arg, size_t i)
{
    struct piece *piece = arg;
    piece->n_runs[i]++;
}

static void run_parts(struct io_work *work)
{
    struct piece *piece = work->owner;
    for (size_t n = 0; n < 10; n++)
        team_run(piece->team, count_part, piece, N_PARTS);
}

START_TEST(all_work_is_done_once)
{
    static struct piece piece[N_WORKS];
    atomic_size_t n_wakes = 0;
    size_t n_done = 0;
    struct workers *w;
    ck_assert_int_eq(workers_new((unsigned)_i, NULL, false, note_wake, &n_wakes, &w), 0);
    for (size_t i = 0; i < N_WORKS; i++) {
        piece[i] = (struct piece){.work = {.run = run_parts, .owner = &piece[i]}, .team = workers_team(w)};
        workers_push(w, &piece[i].work);
    }
    wait_for(&n_wakes, N_WORKS);
    for (struct io_work *work = workers_take_done(w); work; work = work->next)
        n_done++;
    ck_assert_uint_eq(n_done, N_WORKS);
    ck_assert_ptr_null(workers_take_done(w));
    for (size_t i = 0; i < N_WORKS; i++)
        for (size_t p = 0; p < N_PARTS; p++)
            ck_assert_uint_eq(piece[i].n_runs[p], 10);
    workers_free(w);
}
END_TEST

START_TEST(one_thread_has_nobody_to_help_it)
{
    atomic_size_t n_wakes = 0;
    struct workers *w;
    ck_assert_int_eq(workers_new(1, NULL, false, note_wake, &n_wakes, &w), 0);
    ck_assert_ptr_null(workers_team(w));
    workers_free(w);
}
END_TEST

/* Parts that wait for each other to begin: with fewer threads than parts none would get on. */
struct meeting {
    struct io_work work;
    struct team *team;
    size_t n_wanted;
    atomic_size_t n_there;
    atomic_bool is_missed;
};

static void meet(void *arg, size_t i)
{
    struct meeting *meeting = arg;
    (void)i;
    atomic_fetch_add(&meeting->n_there, 1);
    for (size_t waited_us = 0; atomic_load(&meeting->n_there) < meeting->n_wanted; waited_us += 100) {
        if (waited_us > PATIENCE_US) {
            atomic_store(&meeting->is_missed, true);
            return;
        }
        usleep(100);
    }
}

static void run_meeting(struct io_work *work)
{
    struct meeting *meeting = work->owner;
    team_run(meeting->team, meet, meeting, meeting->n_wanted);
}

/* One piece of work, as many parts as threads; time and again, so that a signal that is lost would be noticed. */
START_TEST(idle_threads_are_woken_to_help)
{
    atomic_size_t n_wakes = 0;
    struct workers *w;
    struct cores *cores;
    ck_assert_int_eq(cores_new(&cores), 0);
    ck_assert_int_eq(workers_new((unsigned)_i, cores, false, note_wake, &n_wakes, &w), 0);
    for (size_t n = 0; n < 50; n++) {
        struct meeting meeting = {.work.run = run_meeting, .team = workers_team(w), .n_wanted = (size_t)_i};
        meeting.work.owner = &meeting;
        workers_push(w, &meeting.work);
        wait_for(&n_wakes, n + 1);
        ck_assert(!atomic_load(&meeting.is_missed));
        ck_assert_ptr_eq(workers_take_done(w), &meeting.work);
    }
    workers_free(w);
    cores_free(cores);
}
END_TEST

START_TEST(drained_means_that_nothing_is_touched_any_more)
{
    static struct piece piece[N_WORKS];
    atomic_size_t n_wakes = 0;
    struct workers *w;
    ck_assert_int_eq(workers_new(3, NULL, false, note_wake, &n_wakes, &w), 0);
    for (size_t i = 0; i < N_WORKS; i++) {
        piece[i] = (struct piece){.work = {.run = run_parts, .owner = &piece[i]}, .team = workers_team(w)};
        workers_push(w, &piece[i].work);
    }
    wait_for(&n_wakes, 3);
    workers_drain(w);
    for (size_t i = 0; i < N_WORKS; i++) /* a race for the thread sanitizer, were one still running */
        for (size_t p = 0; p < N_PARTS; p++)
            ck_assert(piece[i].n_runs[p] == 0 || piece[i].n_runs[p] == 10);
    ck_assert_ptr_null(workers_take_done(w));
    workers_free(w);
    workers_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net/workers");
    TCase *tests = tcase_create("workers");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, all_work_is_done_once, 1, 5);
    tcase_add_test(tests, one_thread_has_nobody_to_help_it);
    tcase_add_loop_test(tests, idle_threads_are_woken_to_help, 1, 5);
    tcase_add_test(tests, drained_means_that_nothing_is_touched_any_more);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
