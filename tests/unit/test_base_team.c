/* Jobs are done once, by whoever is there, and their callers see all of it. */
#include "team_helpers.h"

#define N_PARTS_MAX 64
#define PATIENCE_US 60000000 /* what should happen at once is waited for this long */

/* How often each part ran; not atomic, so the thread sanitizer sees a part that runs twice or ends too late. */
struct tally {
    unsigned n_runs[N_PARTS_MAX];
    size_t order[N_PARTS_MAX], n;
};

static void count_part(void *arg, size_t i)
{
    struct tally *tally = arg;
    tally->n_runs[i]++;
}

static void note_order(void *arg, size_t i)
{
    struct tally *tally = arg;
    tally->order[tally->n++] = i;
}

static void check_tally(const struct tally *tally, size_t n_parts, unsigned n_runs)
{
    for (size_t i = 0; i < N_PARTS_MAX; i++)
        ck_assert_uint_eq(tally->n_runs[i], i < n_parts ? n_runs : 0);
}

START_TEST(without_a_team_the_caller_does_it_all_in_order)
{
    struct tally tally = {0};
    team_run(NULL, note_order, &tally, 5);
    ck_assert_uint_eq(tally.n, 5);
    for (size_t i = 0; i < 5; i++)
        ck_assert_uint_eq(tally.order[i], i);
    team_run(NULL, note_order, &tally, 0);
    ck_assert_uint_eq(tally.n, 5);
    ck_assert_uint_eq(team_width(NULL), 1);
}
END_TEST

START_TEST(without_helpers_the_caller_does_it_all)
{
    struct helpers nobody;
    struct tally tally = {0};
    helpers_start(&nobody, 4, 0);
    ck_assert_uint_eq(team_width(nobody.team), 4);
    team_run(nobody.team, count_part, &tally, 7);
    check_tally(&tally, 7, 1);
    ck_assert_uint_eq(atomic_load(&nobody.n_called), 3); /* more cannot work at a time */
    team_run(nobody.team, count_part, &tally, 1);        /* nothing to share */
    ck_assert_uint_eq(atomic_load(&nobody.n_called), 3);
    team_run(nobody.team, count_part, &tally, 2);
    ck_assert_uint_eq(atomic_load(&nobody.n_called), 4);
    ck_assert(!team_is_open(nobody.team));
    ck_assert(!team_help(nobody.team));
    helpers_end(&nobody);
}
END_TEST

/* Two parts that wait for each other to begin. */
struct rendezvous {
    atomic_size_t n_there;
    size_t n_wanted;
    atomic_bool is_missed;
};

static void meet(void *arg, size_t i)
{
    struct rendezvous *r = arg;
    (void)i;
    atomic_fetch_add(&r->n_there, 1);
    for (size_t waited_us = 0; atomic_load(&r->n_there) < r->n_wanted; waited_us += 100) {
        if (waited_us > PATIENCE_US) {
            atomic_store(&r->is_missed, true);
            return;
        }
        usleep(100);
    }
}

START_TEST(idle_threads_take_parts_at_the_same_time)
{
    struct helpers helpers;
    struct rendezvous r = {.n_wanted = (size_t)_i + 1};
    helpers_start(&helpers, 4, (size_t)_i);
    team_run(helpers.team, meet, &r, r.n_wanted);
    ck_assert(!atomic_load(&r.is_missed));
    helpers_end(&helpers);
}
END_TEST

/* Whoever is not the caller is slow. */
struct slow {
    pthread_t caller;
    atomic_bool has_helper;
    bool is_written;
};

static void write_late(void *arg, size_t i)
{
    struct slow *slow = arg;
    (void)i;
    if (pthread_equal(pthread_self(), slow->caller)) {
        for (size_t waited_us = 0; !atomic_load(&slow->has_helper) && waited_us < PATIENCE_US; waited_us += 100)
            usleep(100);
        return;
    }
    atomic_store(&slow->has_helper, true);
    usleep(20000);
    slow->is_written = true;
}

START_TEST(the_caller_waits_for_parts_of_helpers)
{
    struct helpers helpers;
    struct slow slow = {.caller = pthread_self()};
    helpers_start(&helpers, 4, 1);
    team_run(helpers.team, write_late, &slow, 2);
    ck_assert(atomic_load(&slow.has_helper));
    ck_assert(slow.is_written);
    helpers_end(&helpers);
}
END_TEST

START_TEST(many_jobs_one_after_the_other)
{
    struct helpers helpers;
    struct tally tally = {0};
    helpers_start(&helpers, 4, (size_t)_i);
    for (size_t n = 0; n < 500; n++)
        team_run(helpers.team, count_part, &tally, 17);
    check_tally(&tally, 17, 500);
    helpers_end(&helpers);
}
END_TEST

/* Parts that are jobs. */
struct nest {
    struct team *team;
    struct tally tally[4];
};

static void run_inner(void *arg, size_t i)
{
    struct nest *nest = arg;
    for (size_t n = 0; n < 20; n++)
        team_run(nest->team, count_part, &nest->tally[i], 9);
}

static void *run_outer(void *arg)
{
    struct helpers *helpers = arg;
    struct nest nest = {.team = helpers->team};
    for (size_t n = 0; n < 10; n++)
        team_run(nest.team, run_inner, &nest, 4);
    for (size_t i = 0; i < 4; i++)
        check_tally(&nest.tally[i], 9, 200);
    return NULL;
}

START_TEST(jobs_in_jobs)
{
    struct helpers helpers;
    helpers_start(&helpers, 4, (size_t)_i);
    run_outer(&helpers);
    helpers_end(&helpers);
}
END_TEST

START_TEST(jobs_in_jobs_of_several_callers)
{
    struct helpers helpers;
    pthread_t caller[3];
    helpers_start(&helpers, 4, (size_t)_i);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&caller[i], NULL, run_outer, &helpers), 0);
    for (size_t i = 0; i < 3; i++)
        pthread_join(caller[i], NULL);
    ck_assert(!team_is_open(helpers.team));
    helpers_end(&helpers);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/team");
    TCase *alone = tcase_create("alone");
    tcase_add_test(alone, without_a_team_the_caller_does_it_all_in_order);
    tcase_add_test(alone, without_helpers_the_caller_does_it_all);
    suite_add_tcase(suite, alone);
    TCase *together = tcase_create("together");
    tcase_set_timeout(together, 120);
    tcase_add_loop_test(together, idle_threads_take_parts_at_the_same_time, 0, 4);
    tcase_add_test(together, the_caller_waits_for_parts_of_helpers);
    tcase_add_loop_test(together, many_jobs_one_after_the_other, 0, 4);
    tcase_add_loop_test(together, jobs_in_jobs, 0, 4);
    tcase_add_loop_test(together, jobs_in_jobs_of_several_callers, 0, 4);
    suite_add_tcase(suite, together);
    return unit_run(suite);
}
