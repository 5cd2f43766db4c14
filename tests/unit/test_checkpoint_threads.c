/* tests/unit/test_checkpoint_threads.c - experts are saved and pruned by many threads at once, and nothing that is needed goes. */
#include <pthread.h>
#include <sched.h>

#include "checkpoint_play.h"

enum { N_THREADS = 3, N_SAVES = 60 };

static struct memory_disk memory;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Each call whole, and others between any two. */
#define LOCKED(type, call)                                                                                                       \
    sched_yield();                                                                                                               \
    pthread_mutex_lock(&lock);                                                                                                   \
    type result = call;                                                                                                          \
    pthread_mutex_unlock(&lock);                                                                                                 \
    return result

static int read_file(void *ctx, const char *name, struct buf *out)
{
    LOCKED(int, memory_disk_read(ctx, name, out));
}

static int write_file(void *ctx, const char *name, const void *bytes, size_t n)
{
    LOCKED(int, memory_disk_write(ctx, name, bytes, n));
}

static int remove_file(void *ctx, const char *name)
{
    LOCKED(int, memory_disk_remove(ctx, name));
}

static bool exists(void *ctx, const char *name)
{
    LOCKED(bool, memory_disk_exists(ctx, name));
}

static int list(void *ctx, const char *directory, void (*each)(void *arg, const char *entry), void *arg)
{
    LOCKED(int, memory_disk_list(ctx, directory, each, arg));
}

static const struct disk_ops ops = {read_file, write_file, remove_file, exists, list};
static const struct disk disk = {&ops, &memory};

static void count_line(void *arg, enum log_level level, const char *line)
{
    (void)level, (void)line;
    ++*(int *)arg; /* the log calls one at a time */
}

/* One expert's thread: every other chunk it writes is the same as the others', as zeroed moments are. */
static void *run(void *arg)
{
    const char *name = arg;
    struct key *key = play_key(1);
    intptr_t n_faults = 0;
    float weight[40], zero[40] = {0};
    struct checkpoint_tensor tensor[2] = {{"w", CHECKPOINT_F32, 1, {40}, weight, NULL},
                                          {"state.m", CHECKPOINT_F32, 1, {40}, zero, NULL}};
    for (uint64_t v = 1; v <= N_SAVES; v++) {
        struct checkpoint_info info = play_info(name, 0, v);
        for (size_t i = 0; i < 40; i++)
            weight[i] = (float)(v * 100 + i) + (float)name[1] / 128;
        zero[0] = v % 4 == 0 ? 0 : (float)v;
        n_faults += checkpoint_save(&disk, key, &info, tensor, 2) != 0;
        n_faults += checkpoint_load(&disk, name, NULL, &info, tensor, 2) != 0 || info.version != v;
        n_faults += checkpoint_prune(&disk, name) != 0;
        n_faults += checkpoint_verify(&disk, name, v, &info) != 0;
    }
    key_free(key);
    return (void *)n_faults;
}

static void count_one(void *arg, const char *name, uint64_t version)
{
    struct checkpoint_info info;
    ck_assert_int_eq(checkpoint_verify(&disk, name, version, &info), 0);
    ck_assert_uint_gt(version, N_SAVES - CHECKPOINT_KEEP);
    ++*(int *)arg;
}

START_TEST(test_threads)
{
    static const char *const name[N_THREADS] = {"L0", "L1", "L2"};
    pthread_t thread[N_THREADS];
    int n_left = 0, n_lines = 0;
    memory_disk_init(&memory);
    log_set_sink(count_line, &n_lines);
    for (size_t i = 0; i < N_THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, run, (void *)(uintptr_t)name[i]), 0);
    for (size_t i = 0; i < N_THREADS; i++) {
        void *n_faults;
        ck_assert_int_eq(pthread_join(thread[i], &n_faults), 0);
        ck_assert_ptr_null(n_faults);
    }
    log_set_sink(NULL, NULL);
    ck_assert_int_eq(n_lines, 0);
    ck_assert_int_eq(checkpoint_list(&disk, count_one, &n_left), 0);
    ck_assert_int_eq(n_left, N_THREADS * CHECKPOINT_KEEP);
    memory_disk_fini(&memory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint_threads");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, test_threads);
    suite_add_tcase(suite, t);
    return unit_run(suite);
}
