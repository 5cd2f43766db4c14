/* tests/kernels/test_device_memory.c - memory of a GPU: what is put there comes back, whoever asks; what fails is said once. */
#include <pthread.h>
#include <signal.h>

#include "base/log.h"
#include "tests/kernels/device_test.h"

#define N_BYTES_MAX ((size_t)3 << 20) /* more than all pieces of the staging together */

static unsigned char given[N_BYTES_MAX + 1];
static int n_lines;
static char last_line[1024];

static void keep_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    n_lines += level == LOG_ERROR;
    snprintf(last_line, sizeof last_line, "%s", line);
}

static void setup(void)
{
    struct dice dice = {5};
    for (size_t i = 0; i < sizeof given; i++)
        given[i] = (unsigned char)dice_u64(&dice);
    log_set_sink(keep_line, NULL);
    n_lines = 0;
}

static void teardown(void)
{
    device_close();
    log_set_sink(NULL, NULL);
}

/* n_bytes at an odd place, and nothing beside them. */
static void check_round(const struct kernels *k, size_t at, size_t n_bytes)
{
    size_t all_bytes = at + n_bytes + 100;
    unsigned char *device = device_room(k, all_bytes), *back;
    k->zero(device, all_bytes);
    k->put(device + at, given + 1, n_bytes);
    back = device_back(k, device, all_bytes);
    for (size_t i = 0; i < all_bytes; i++)
        if (back[i] != (i < at || i >= at + n_bytes ? 0 : given[1 + i - at]))
            ck_abort_msg("byte %zu of %zu at %zu is %d", i, n_bytes, at, back[i]);
    free(back);
    back = device_back(k, device + at, n_bytes);
    ck_assert(n_bytes == 0 || memcmp(back, given + 1, n_bytes) == 0);
    free(back);
    k->release(device);
}

START_TEST(what_is_put_comes_back)
{
    static const size_t size[] = {0,          1, 3, 255, 4097, ((size_t)512 << 10) - 1, (size_t)512 << 10, ((size_t)1 << 20) + 17,
                                  N_BYTES_MAX};
    const struct kernels *k = device_set();
    ck_assert(k->is_device);
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        check_round(k, 0, size[i]);
        check_round(k, 7, size[i]);
    }
}
END_TEST

/* The source of a put() is the caller's again at once, however much is on its way. */
START_TEST(many_puts_keep_their_bytes)
{
    const struct kernels *k = device_set();
    unsigned char *device = device_room(k, N_BYTES_MAX), piece[7001];
    for (size_t at = 0, n; at < N_BYTES_MAX; at += n) {
        n = 1 + at % sizeof piece < N_BYTES_MAX - at ? 1 + at % sizeof piece : N_BYTES_MAX - at;
        memcpy(piece, given + at, n);
        k->put(device + at, piece, n);
        memset(piece, 0x55, n);
    }
    device_same_bytes(k, device, given, N_BYTES_MAX, "puts");
    k->release(device);
}
END_TEST

START_TEST(copies_and_zeros_stay_within)
{
    struct dice dice = {(uint64_t)_i};
    const struct kernels *k = device_set();
    size_t n = 1 + dice_below(&dice, 5000), from = dice_below(&dice, n), to = dice_below(&dice, n);
    size_t longest = n - (from > to ? from : to), n_copied = dice_below(&dice, longest + 1);
    unsigned char *want = malloc(n), *x = device_copy(k, given, n), *y = device_copy(k, given + 1, n);
    ck_assert_ptr_nonnull(want);
    memcpy(want, given + 1, n);
    memcpy(want + to, given + from, n_copied);
    k->copy(y + to, x + from, n_copied);
    device_same_bytes(k, y, want, n, "copy");
    memset(want + from, 0, n_copied);
    k->zero(y + from, n_copied);
    device_same_bytes(k, y, want, n, "zero");
    k->release(x);
    k->release(y);
    k->release(NULL);
    free(want);
}
END_TEST

START_TEST(memory_lies_on_multiples_of_256)
{
    const struct kernels *k = device_set();
    void *at[8];
    for (size_t i = 0; i < 8; i++) {
        at[i] = device_room(k, i == 0 ? 0 : 100 * i + 1);
        ck_assert_uint_eq((uintptr_t)at[i] % 256, 0);
        for (size_t j = 0; j < i; j++)
            ck_assert_ptr_ne(at[i], at[j]);
    }
    for (size_t i = 0; i < 8; i++)
        k->release(at[i]);
}
END_TEST

START_TEST(one_gpu_is_opened_once)
{
    const struct kernels *a = device_set(), *b = device_set(), *c = NULL;
    struct device_info info;
    uint64_t n_free, n_total;
    ck_assert_ptr_eq(a, b);
    ck_assert_int_eq(device_open(4711, &c), HANSE_EBUSY);
    ck_assert_ptr_nonnull(strstr(last_line, "one process for each GPU"));
    ck_assert_int_eq(device_describe(4711, &info), HANSE_ENOENT);
    ck_assert_int_eq(device_describe(0, &info), 0);
    ck_assert_str_ne(info.name, "");
    ck_assert_uint_eq(strncmp(info.uuid, "GPU-", 4), 0);
    ck_assert_uint_eq(strlen(info.uuid), 40);
    ck_assert_ptr_nonnull(strchr(info.bus_id, ':'));
    ck_assert_int_ge(10 * info.major + info.minor, 75);
    ck_assert_uint_gt(info.free_bytes, 0);
    ck_assert_int_eq(device_memory(&n_free, &n_total), 0);
    ck_assert_uint_le(n_free, n_total);
    ck_assert_ptr_nonnull(device_products());
    device_close();
    ck_assert_str_eq(device_products(), "");
    ck_assert_int_eq(device_memory(&n_free, &n_total), HANSE_EDEVICE);
    ck_assert_int_eq(device_open(4711, &c), HANSE_ENOENT);
    ck_assert_ptr_null(c);
}
END_TEST

START_TEST(devices_have_names)
{
    static const char *const bad[] = {"",        "gpu",        "cuda:", "cuda:-1", "cuda:1x",
                                      "cuda: 1", "cuda:99999", "CUDA",  "cuda1",   "cpu:0"};
    int index = 7;
    ck_assert_int_eq(device_parse("cpu", &index), 0);
    ck_assert_int_eq(index, -1);
    ck_assert_int_eq(device_parse("cuda", &index), 0);
    ck_assert_int_eq(index, 0);
    ck_assert_int_eq(device_parse("cuda:12", &index), 0);
    ck_assert_int_eq(index, 12);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        n_lines = 0;
        ck_assert_int_eq(device_parse(bad[i], &index), HANSE_EINVAL);
        ck_assert_int_eq(n_lines, 1);
    }
    ck_assert_int_eq(index, 12);
}
END_TEST

/* ---- threads */

#define N_THREADS 4
#define N_ROUNDS 20
#define N_FLOATS ((size_t)5000)

/* Hands memory from one thread to the next; each adds to it and waits before it lets go. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t turned;
    const struct kernels *k;
    float *x;
    int turn;
} ring = {.lock = PTHREAD_MUTEX_INITIALIZER, .turned = PTHREAD_COND_INITIALIZER};

static void take_turn(int id, int round)
{
    const struct kernels *k = ring.k;
    float *y = k->allot(N_FLOATS * sizeof *y);
    ck_assert_ptr_nonnull(y);
    pthread_mutex_lock(&ring.lock);
    while (ring.turn != round * N_THREADS + id)
        pthread_cond_wait(&ring.turned, &ring.lock);
    k->scale(y, 1.0f, ring.x, N_FLOATS);
    k->axpy(y, (float)(id + 1), ring.x, N_FLOATS);
    k->scale(y, 1.0f / (float)(id + 2), y, N_FLOATS);
    k->blend(y, 1.0f, y, 0.0f, N_FLOATS);
    k->release(ring.x); /* of another thread */
    ring.x = y;
    ck_assert_int_eq(k->wait(), 0);
    ring.turn++;
    pthread_cond_broadcast(&ring.turned);
    pthread_mutex_unlock(&ring.lock);
}

static void *turn_round(void *arg)
{
    int id = *(int *)arg;
    size_t n_bytes = 10000 * (size_t)(id + 1);
    unsigned char *own = device_copy(ring.k, given, n_bytes);
    for (int i = 0; i < N_ROUNDS; i++) {
        take_turn(id, i);
        device_same_bytes(ring.k, own, given + i, n_bytes, "a thread's own");
        ring.k->put(own, given + i + 1, n_bytes);
    }
    ring.k->release(own);
    return NULL;
}

START_TEST(threads_hand_memory_over)
{
    pthread_t thread[N_THREADS];
    int id[N_THREADS];
    float *x = malloc(N_FLOATS * sizeof *x), *want = malloc(N_FLOATS * sizeof *want);
    ck_assert(x && want);
    for (size_t i = 0; i < N_FLOATS; i++)
        x[i] = want[i] = (float)i;
    for (int i = 0; i < N_THREADS * N_ROUNDS; i++)
        for (size_t j = 0; j < N_FLOATS; j++) {
            float y = fmaf((float)(i % N_THREADS + 1), want[j], want[j]) * (1.0f / (float)(i % N_THREADS + 2));
            want[j] = y;
        }
    ring.k = device_set();
    ring.x = device_copy(ring.k, x, N_FLOATS * sizeof *x);
    ck_assert_int_eq(ring.k->wait(), 0);
    for (int i = 0; i < N_THREADS; i++) {
        id[i] = i;
        ck_assert_int_eq(pthread_create(&thread[i], NULL, turn_round, &id[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(thread[i], NULL);
    device_same(ring.k, ring.x, want, N_FLOATS, "ring");
    ring.k->release(ring.x);
    free(x);
    free(want);
}
END_TEST

/* ---- failures, which only the emulation has when asked */

#ifdef CUDA_EMULATED

START_TEST(threads_leave_nothing)
{
    const struct kernels *k = device_set();
    ck_assert_int_eq(k->wait(), 0);
    size_t n_bytes = emulate_used_bytes(), n_pinned = emulate_pinned_bytes(), n_handles = emulate_used_handles();
    pthread_t thread;
    int id = 0;
    ring.k = k;
    ring.x = device_copy(k, given, N_FLOATS * sizeof(float));
    ck_assert_int_eq(k->wait(), 0);
    for (int i = 0; i < 3; i++) {
        ring.turn = 0;
        ck_assert_int_eq(pthread_create(&thread, NULL, turn_round, &id), 0);
        for (int round = 0; round < N_ROUNDS; round++)
            for (int other = 1; other < N_THREADS; other++)
                take_turn(other, round);
        pthread_join(thread, NULL);
    }
    k->release(ring.x);
    ck_assert_int_eq(k->wait(), 0);
    ck_assert_uint_le(emulate_pinned_bytes(), n_pinned + (2 << 20)); /* this thread's own */
    ck_assert_uint_le(emulate_used_handles(), n_handles + 4);
    ck_assert_uint_eq(emulate_used_bytes(), n_bytes);
    device_close();
    ck_assert_uint_eq(emulate_used_bytes(), 0);
    ck_assert_uint_eq(emulate_pinned_bytes(), 0);
    ck_assert_uint_eq(emulate_used_handles(), 0);
}
END_TEST

START_TEST(without_pools_it_works_as_well)
{
    emulate_pools(false);
    check_round(device_set(), 3, N_BYTES_MAX / 2);
    ck_assert_int_eq(n_lines, 0);
}
END_TEST

START_TEST(without_pinned_memory_it_works_as_well)
{
    emulate_fail(EMULATE_NO_PINNED, 0);
    const struct kernels *k = device_set();
    check_round(k, 3, N_BYTES_MAX / 2);
    ck_assert_uint_eq(emulate_pinned_bytes(), 0);
    ck_assert_int_eq(n_lines, 0);
}
END_TEST

START_TEST(what_does_not_fit_is_said)
{
    const struct kernels *k = device_set();
    ck_assert_int_eq(k->wait(), 0);
    emulate_memory(emulate_used_bytes() + (10 << 20));
    void *some = k->allot(6 << 20);
    ck_assert_ptr_nonnull(some);
    ck_assert_ptr_null(k->allot(6 << 20));
    ck_assert_int_eq(n_lines, 1);
    ck_assert_ptr_nonnull(strstr(last_line, "GPU 0 (emulated GPU 0)"));
    ck_assert_ptr_nonnull(strstr(last_line, "6.0 MiB, 4.0 of"));
    ck_assert_int_eq(k->wait(), 0); /* the caller knows already */
    k->release(some);               /* under way, but there when it is needed */
    some = k->allot(6 << 20);
    ck_assert_ptr_nonnull(some);
    k->release(some);
    ck_assert_int_eq(n_lines, 1);
}
END_TEST

static uint64_t clock_now_us;

static uint64_t read_clock(void)
{
    return clock_now_us;
}

/* A GPU that stays full fills no log, whatever asks for its memory. */
START_TEST(a_lasting_shortage_is_no_flood)
{
    const struct kernels *k = device_set();
    size_t n = 9 * SUM_PIECE;
    float *x = device_room(k, n * sizeof *x);
    k->zero(x, n * sizeof *x);
    ck_assert_int_eq(k->wait(), 0);
    log_set_clock(read_clock);
    emulate_memory(emulate_used_bytes());
    for (int i = 0; i < 100; i++) {
        ck_assert_ptr_null(k->allot(6 << 20));
        (void)k->sum_squares(x, n);
        ck_assert_int_eq(k->wait(), HANSE_ENOMEM);
    }
    ck_assert_int_eq(n_lines, 1);
    clock_now_us += LOG_SELDOM_PAUSE_US;
    ck_assert_ptr_null(k->allot(6 << 20));
    ck_assert_int_eq(n_lines, 3); /* with one that counts those between */
    ck_assert_ptr_nonnull(strstr(last_line, "6.0 MiB, 0.0 of"));
    log_set_clock(NULL);
    k->release(x);
}
END_TEST

/* Work that found no scratch is lost and said at the next wait; then all goes on. */
START_TEST(scratch_that_does_not_fit_is_remembered)
{
    const struct kernels *k = device_set();
    size_t n = 9 * SUM_PIECE;
    float *x = device_room(k, n * sizeof *x), back[4];
    k->zero(x, n * sizeof *x);
    ck_assert_int_eq(k->wait(), 0);
    emulate_memory(emulate_used_bytes());
    (void)k->sum_squares(x, n); /* the sums of pieces need room */
    ck_assert_int_eq(n_lines, 1);
    ck_assert_ptr_nonnull(strstr(last_line, "scratch"));
    k->axpy(x, 1.0f, x, n); /* not done */
    emulate_memory((size_t)1 << 30);
    ck_assert_int_eq(k->get(back, x, sizeof back), HANSE_ENOMEM);
    ck_assert_int_eq(k->get(back, x, sizeof back), 0);
    ck_assert(k->sum_squares(x, n) == 0.0f);
    ck_assert_int_eq(k->wait(), 0);
    ck_assert_int_eq(n_lines, 1);
    k->release(x);
}
END_TEST

static const enum emulate_failure failures[] = {EMULATE_LOST, EMULATE_FAULT};

START_TEST(a_lost_device_is_left_alone)
{
    const struct kernels *k = device_set(), *again;
    float *x = device_copy(k, given, 4096), back[4];
    k->zero(x, 4096);
    ck_assert_int_eq(k->wait(), 0);
    emulate_fail(failures[_i], 2);
    for (int i = 0; i < 4; i++)
        k->scale(x, 2.0f, x, 1024);
    ck_assert_int_eq(n_lines, 0); /* nobody has looked */
    ck_assert_int_eq(k->get(back, x, sizeof back), HANSE_EDEVICE);
    ck_assert_int_eq(n_lines, 1);
    ck_assert_ptr_nonnull(strstr(last_line, "GPU 0 (emulated GPU 0)"));
    ck_assert_ptr_nonnull(strstr(last_line, "nothing more is asked of it"));
    uint64_t n_calls = emulate_calls();
    k->scale(x, 2.0f, x, 1024);
    k->put(x, back, sizeof back);
    k->copy(x + 8, x, 16);
    k->zero(x, 16);
    (void)k->sum_squares(x, 1024);
    ck_assert_ptr_null(k->allot(16));
    ck_assert_int_eq(k->get(back, x, sizeof back), HANSE_EDEVICE);
    ck_assert_int_eq(k->wait(), HANSE_EDEVICE);
    k->release(x);
    ck_assert_uint_eq(emulate_calls(), n_calls);
    ck_assert_int_eq(n_lines, 1);
    ck_assert_int_eq(device_open(0, &again), HANSE_EDEVICE);
    ck_assert_uint_eq(emulate_calls(), n_calls);
    device_close();
    emulate_fail(EMULATE_WELL, 0);
    check_round(device_set(), 0, 1000);
}
END_TEST

/* Other threads' failure is everybody's. */
static void *lose(void *arg)
{
    const struct kernels *k = arg;
    float *x = k->allot(4096);
    k->scale(x, 2.0f, x, 1024);
    ck_assert_int_eq(k->wait(), HANSE_EDEVICE);
    return NULL;
}

START_TEST(all_threads_learn_that_it_is_lost)
{
    const struct kernels *k = device_set();
    pthread_t thread;
    ck_assert_int_eq(k->wait(), 0);
    emulate_fail(EMULATE_LOST, 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, lose, (void *)(uintptr_t)k), 0);
    pthread_join(thread, NULL);
    ck_assert_int_eq(k->wait(), HANSE_EDEVICE);
    ck_assert_int_eq(n_lines, 1);
}
END_TEST

START_TEST(why_there_is_none_is_said)
{
    const char *why = NULL;
    const struct kernels *k;
    emulate_devices(1, 0, 13000);
    ck_assert_int_eq(device_count(&why), 0);
    ck_assert_ptr_nonnull(strstr(why, "no NVIDIA driver"));
    emulate_devices(1, 12020, 13000);
    ck_assert_int_eq(device_count(&why), 0);
    ck_assert_ptr_nonnull(strstr(why, "up to 12.2 and this hanse needs 13.0"));
    emulate_devices(0, 13000, 13000);
    ck_assert_int_eq(device_count(&why), 0);
    ck_assert_ptr_nonnull(strstr(why, "sees no GPU"));
    ck_assert_int_eq(device_open(0, &k), HANSE_ENOENT);
    ck_assert_ptr_nonnull(strstr(last_line, "sees no GPU"));
    emulate_devices(2, 13000, 13000);
    ck_assert_int_eq(device_count(&why), 2);
    ck_assert_int_eq(device_open(2, &k), HANSE_ENOENT);
    ck_assert_ptr_nonnull(strstr(last_line, "0 to 1"));
    ck_assert_int_eq(device_open(1, &k), 0);
    device_close();
    emulate_chip(7, 0, 80, 96 << 10);
    ck_assert_int_eq(device_open(0, &k), HANSE_EUNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(last_line, "7.0, and hanse needs 7.5"));
}
END_TEST

START_TEST(the_cpu_cannot_read_it)
{
    const struct kernels *k = device_set();
    volatile unsigned char *x = device_copy(k, given, 100);
    ck_assert_int_eq(k->wait(), 0);
    ck_assert(x[3] != given[3]);
}
END_TEST

static TCase *failing(void)
{
    TCase *tests = tcase_create("failures");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, threads_leave_nothing);
    tcase_add_test(tests, without_pools_it_works_as_well);
    tcase_add_test(tests, without_pinned_memory_it_works_as_well);
    tcase_add_test(tests, what_does_not_fit_is_said);
    tcase_add_test(tests, a_lasting_shortage_is_no_flood);
    tcase_add_test(tests, scratch_that_does_not_fit_is_remembered);
    tcase_add_loop_test(tests, a_lost_device_is_left_alone, 0, 2);
    tcase_add_test(tests, all_threads_learn_that_it_is_lost);
    tcase_add_test(tests, why_there_is_none_is_said);
    if (emulate_is_guarded())
        tcase_add_test_raise_signal(tests, the_cpu_cannot_read_it, SIGSEGV);
    return tests;
}
#endif

int main(void)
{
    Suite *suite = suite_create("kernels/cuda/queue");
    TCase *tests = tcase_create("memory");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, what_is_put_comes_back);
    tcase_add_test(tests, many_puts_keep_their_bytes);
    tcase_add_loop_test(tests, copies_and_zeros_stay_within, 0, 10);
    tcase_add_test(tests, memory_lies_on_multiples_of_256);
    tcase_add_test(tests, one_gpu_is_opened_once);
    tcase_add_test(tests, devices_have_names);
    tcase_add_test(tests, threads_hand_memory_over);
    suite_add_tcase(suite, tests);
#ifdef CUDA_EMULATED
    suite_add_tcase(suite, failing());
#endif
    return device_run(suite);
}
