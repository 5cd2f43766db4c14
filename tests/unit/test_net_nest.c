/* Many small machines with real sockets in a few threads. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "net/nest.h"
#include "net/net.h"
#include "unit.h"

#define PATIENCE_US 60000000
#define N_PLACES 40

static const struct addr loopback = {.family = 4, .ip = {127, 0, 0, 1}};

/* Passes a number on to the next of a ring, one larger, until it is large enough. */
struct player {
    struct nest *nest;
    size_t place;
    struct addr next;
    struct io_machine machine;
    unsigned last;
    uint64_t wake_us, asked_us, wanted_us, woken_us;
    pthread_t thread; /* where it was called */
    atomic_uint n_events, n_ticks, n_down, n_done, n_elsewhere;
    struct io_work work;
};

static void wait_for(const atomic_uint *count, unsigned n)
{
    for (size_t waited_us = 0; atomic_load(count) < n; waited_us += 100) {
        ck_assert_uint_lt(waited_us, PATIENCE_US);
        usleep(100);
    }
}

static void pass(struct player *p, unsigned number)
{
    const struct io *io = nest_io(p->nest, p->place);
    io->ops->datagram(io->ctx, &p->next, &number, sizeof number);
}

static void event(void *self, uint64_t now_us, const struct io_event *e)
{
    struct player *p = self;
    unsigned number;
    if (!pthread_equal(pthread_self(), p->thread))
        atomic_fetch_add(&p->n_elsewhere, 1);
    if (e->kind == IO_DATAGRAM && e->n_bytes == sizeof number) {
        memcpy(&number, e->bytes, sizeof number);
        if (number < p->last)
            pass(p, number + 1);
        atomic_fetch_add(&p->n_events, 1);
    }
    if (e->kind == IO_TICK && now_us >= p->wake_us) {
        p->woken_us = now_us;
        p->wake_us = IO_NEVER;
        atomic_fetch_add(&p->n_ticks, 1);
    }
    if (e->kind == IO_LINK_DOWN && e->link == 1 && e->err == HANSE_EUNSUPPORTED)
        atomic_fetch_add(&p->n_down, 1);
    if (e->kind == IO_WORK_DONE && e->work == &p->work)
        atomic_fetch_add(&p->n_done, 1);
}

static uint64_t deadline(const void *self)
{
    return ((const struct player *)self)->wake_us;
}

static void sit_down(void *arg, uint64_t now_us)
{
    struct player *p = arg;
    (void)now_us;
    p->thread = pthread_self();
    p->machine = (struct io_machine){.event = event, .deadline = deadline, .self = p};
    nest_seat(p->nest, p->place, &p->machine);
}

static void begin(void *arg, uint64_t now_us)
{
    (void)now_us;
    pass(arg, 1);
}

static void seat_all(struct nest *nest, struct player *player, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        player[i] = (struct player){.nest = nest, .wake_us = IO_NEVER};
        ck_assert_int_eq(nest_bind(nest, &loopback, &player[i].place), 0);
        ck_assert_uint_eq(player[i].place, i);
        ck_assert_uint_ne(nest_address(nest, i).port, 0);
    }
    for (size_t i = 0; i < n; i++) {
        player[i].next = nest_address(nest, (i + 1) % n);
        ck_assert_int_eq(nest_call(nest, i, sit_down, &player[i]), 0);
    }
}

START_TEST(datagrams_go_round)
{
    struct player player[N_PLACES];
    struct nest *nest;
    unsigned n_threads = (unsigned)_i, n_events = 0;
    ck_assert_int_eq(nest_new(N_PLACES, n_threads, &nest), 0);
    seat_all(nest, player, N_PLACES);
    for (size_t i = 0; i < N_PLACES; i++)
        player[i].last = 10 * N_PLACES;
    for (size_t i = 0; i < N_PLACES; i++)
        ck_assert_int_eq(nest_call(nest, i, begin, &player[i]), 0);
    for (size_t i = 0; i < N_PLACES; i++)
        wait_for(&player[i].n_events, 10 * N_PLACES);
    nest_free(nest);
    for (size_t i = 0; i < N_PLACES; i++) {
        n_events += player[i].n_events;
        ck_assert_uint_eq(player[i].n_elsewhere, 0);
        ck_assert_int_eq(pthread_equal(player[i].thread, player[i % n_threads].thread) != 0, 1);
    }
    ck_assert_uint_eq(n_events, 10 * N_PLACES * N_PLACES);
}
END_TEST

static void wake_in(void *arg, uint64_t now_us)
{
    struct player *p = arg;
    p->asked_us = now_us;
    p->wake_us = p->wanted_us = now_us + 300000 + 1000 * (N_PLACES - p->place); /* later than it takes to say so */
}

START_TEST(everybody_is_woken_when_it_wanted)
{
    struct player player[N_PLACES];
    struct nest *nest;
    ck_assert_int_eq(nest_new(N_PLACES, (unsigned)_i, &nest), 0);
    seat_all(nest, player, N_PLACES);
    for (size_t i = 0; i < N_PLACES; i++)
        ck_assert_int_eq(nest_call(nest, i, wake_in, &player[i]), 0);
    for (size_t i = 0; i < N_PLACES; i++)
        wait_for(&player[i].n_ticks, 1);
    nest_free(nest);
    for (size_t i = 0; i < N_PLACES; i++)
        ck_assert_uint_eq(player[i].n_ticks, 1);
    for (size_t i = 0; i < N_PLACES; i++)
        ck_assert_uint_ge(player[i].woken_us, player[i].wanted_us);
    for (size_t i = (size_t)_i; i < N_PLACES; i++) { /* of one thread who wanted to be earlier was, unless it said so too late */
        const struct player *p = &player[i], *other = &player[i - (size_t)_i];
        if (p->wanted_us < other->wanted_us && p->asked_us < other->woken_us)
            ck_assert_uint_le(p->woken_us, other->woken_us);
    }
}
END_TEST

/* One that always wants to be woken keeps nobody else from being so. */
static void wake_always(void *arg, uint64_t now_us)
{
    (void)now_us;
    ((struct player *)arg)->wake_us = 0;
}

static void restless(void *self, uint64_t now_us, const struct io_event *e)
{
    struct player *p = self;
    (void)now_us;
    (void)e;
    atomic_fetch_add(&p->n_ticks, 1);
}

static void sit_down_restless(void *arg, uint64_t now_us)
{
    struct player *p = arg;
    wake_always(p, now_us);
    p->machine = (struct io_machine){.event = restless, .deadline = deadline, .self = p};
    nest_seat(p->nest, p->place, &p->machine);
}

START_TEST(a_restless_one_starves_nobody)
{
    struct player player[2] = {{.wake_us = IO_NEVER}};
    struct nest *nest;
    ck_assert_int_eq(nest_new(2, 1, &nest), 0);
    seat_all(nest, player, 1);
    player[1] = (struct player){.nest = nest};
    ck_assert_int_eq(nest_bind(nest, &loopback, &player[1].place), 0);
    ck_assert_int_eq(nest_call(nest, 1, sit_down_restless, &player[1]), 0);
    wait_for(&player[1].n_ticks, 10);
    player[0].last = 20;
    ck_assert_int_eq(nest_call(nest, 0, wake_in, &player[0]), 0);
    ck_assert_int_eq(nest_call(nest, 0, begin, &player[0]), 0);
    wait_for(&player[0].n_events, 20);
    wait_for(&player[0].n_ticks, 1);
    nest_free(nest);
}
END_TEST

static void work(struct io_work *w)
{
    (void)w;
}

static void want_more(void *arg, uint64_t now_us)
{
    struct player *p = arg;
    const struct io *io = nest_io(p->nest, p->place);
    (void)now_us;
    p->work = (struct io_work){.run = work, .owner = p};
    ck_assert_uint_eq(io->ops->link_open(io->ctx, &p->next, NULL), 1);
    io->ops->work(io->ctx, &p->work);
}

START_TEST(links_go_down_and_work_is_done)
{
    struct player player[1];
    struct nest *nest;
    ck_assert_int_eq(nest_new(1, 1, &nest), 0);
    seat_all(nest, player, 1);
    ck_assert_int_eq(nest_call(nest, 0, want_more, &player[0]), 0);
    wait_for(&player[0].n_down, 1);
    wait_for(&player[0].n_done, 1);
    nest_free(nest);
    ck_assert_uint_eq(player[0].n_down + player[0].n_done, 2);
}
END_TEST

static void leave(void *arg, uint64_t now_us)
{
    struct player *p = arg;
    (void)now_us;
    p->wake_us = 1;
    nest_clear(p->nest, p->place);
    atomic_fetch_add(&p->n_done, 1);
}

START_TEST(a_cleared_place_is_silent)
{
    struct player player[3];
    struct nest *nest;
    ck_assert_int_eq(nest_new(3, (unsigned)_i, &nest), 0);
    seat_all(nest, player, 3);
    for (size_t i = 0; i < 3; i++)
        player[i].last = 3;
    ck_assert_int_eq(nest_call(nest, 1, leave, &player[1]), 0);
    wait_for(&player[1].n_done, 1);
    ck_assert_int_eq(nest_call(nest, 0, begin, &player[0]), 0); /* nobody there */
    ck_assert_int_eq(nest_call(nest, 1, leave, &player[1]), 0); /* once is enough */
    ck_assert_int_eq(nest_call(nest, 2, begin, &player[2]), 0); /* ends there too, but one later */
    wait_for(&player[0].n_events, 1);
    wait_for(&player[1].n_done, 2);
    nest_free(nest);
    ck_assert_uint_eq(player[1].n_events, 0);
    ck_assert_uint_eq(player[1].n_ticks, 0);
    ck_assert_uint_eq(player[2].n_events, 0);
}
END_TEST

static void note_line(void *arg, enum log_level level, const char *line)
{
    (void)level;
    *(bool *)arg |= strstr(line, "ulimit -n") != NULL;
}

START_TEST(too_few_files_are_refused)
{
    struct rlimit files = {.rlim_cur = 100, .rlim_max = 200};
    struct nest *nest = NULL;
    bool is_explained = false;
    bool is_root = geteuid() == 0;
    if (is_root)
        ck_assert_int_eq(seteuid(65534), 0); /* root may raise any limit */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    log_set_sink(note_line, &is_explained);
    ck_assert_int_eq(nest_new(1000, 1, &nest), HANSE_EFULL);
    log_set_sink(NULL, NULL);
    ck_assert(is_explained && !nest);
    ck_assert_int_eq(nest_new(100, 1, &nest), 0); /* within what may be raised */
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    ck_assert_uint_ge(files.rlim_cur, 100 + 3);
    nest_free(nest);
    if (is_root) { /* a sanitizer that looks for leaks at the end must look at this process as it was before */
        ck_assert_int_eq(seteuid(0), 0);
        prctl(PR_SET_DUMPABLE, 1);
    }
}
END_TEST

START_TEST(a_full_nest_takes_no_more)
{
    struct nest *nest;
    size_t place;
    ck_assert_int_eq(nest_new(1, 1, &nest), 0);
    ck_assert_int_eq(nest_bind(nest, &loopback, &place), 0);
    ck_assert_int_eq(nest_bind(nest, &loopback, &place), HANSE_EFULL);
    nest_free(nest);
    nest_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net-nest");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, datagrams_go_round, 1, 4);
    tcase_add_loop_test(all, everybody_is_woken_when_it_wanted, 1, 4);
    tcase_add_test(all, a_restless_one_starves_nobody);
    tcase_add_test(all, links_go_down_and_work_is_done);
    tcase_add_loop_test(all, a_cleared_place_is_silent, 1, 3);
    tcase_add_test(all, too_few_files_are_refused);
    tcase_add_test(all, a_full_nest_takes_no_more);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
