/* An expert whose work is shared by threads has the bits of one that works alone, in every form of numbers. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/random.h"
#include "experts/expert.h"
#include "unit.h"

#define WIDTH ((size_t)200)
#define HIDDEN ((size_t)520)
#define N_ROWS ((size_t)333)

/* Threads that help whenever they can, and how often they could. */
struct helpers {
    struct team *team;
    pthread_t thread[3];
    atomic_bool is_ending;
    atomic_size_t n_helped;
};

static void ignore_call(void *arg, size_t n)
{
    (void)arg;
    (void)n;
}

static void *keep_helping(void *arg)
{
    struct helpers *helpers = arg;
    while (!atomic_load(&helpers->is_ending)) {
        if (team_help(helpers->team))
            atomic_fetch_add(&helpers->n_helped, 1);
        else
            usleep(20);
    }
    return NULL;
}

static void helpers_start(struct helpers *helpers)
{
    *helpers = (struct helpers){.team = NULL};
    ck_assert_int_eq(team_new(4, ignore_call, NULL, &helpers->team), 0);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&helpers->thread[i], NULL, keep_helping, helpers), 0);
}

static void helpers_end(struct helpers *helpers)
{
    atomic_store(&helpers->is_ending, true);
    for (size_t i = 0; i < 3; i++)
        pthread_join(helpers->thread[i], NULL);
    team_free(helpers->team);
}

static struct expert *born(enum numerics numerics, const struct kernels *k)
{
    static const struct hash birth;
    struct expert_config config = {.D = WIDTH,
                                   .H = HIDDEN,
                                   .lr = 1e-3f,
                                   .beta1 = 0.9f,
                                   .beta2 = 0.99f,
                                   .eps = 1e-8f,
                                   .clip = 1,
                                   .slots_per_update = N_ROWS,
                                   .max_staleness = 8,
                                   .numerics = numerics};
    struct expert *x;
    ck_assert_int_eq(expert_new(&config, k, &birth, "L0.0", &x), 0);
    return x;
}

/* Rows in the form that the experts take. */
struct input {
    float *f32;
    int8_t *bytes;
    struct rows rows;
};

static void input_init(struct input *in, enum numerics numerics, const struct kernels *k, struct rng *rng)
{
    size_t n_slices = numerics_slices(numerics);
    in->f32 = arena_aligned(N_ROWS * WIDTH, sizeof(float));
    in->bytes = arena_aligned(N_ROWS * (2 * WIDTH + 1), 1);
    ck_assert(in->f32 && in->bytes);
    for (size_t i = 0; i < N_ROWS * WIDTH; i++)
        in->f32[i] = rng_unit(rng) - 0.5f;
    in->rows = (struct rows){.f32 = in->f32};
    if (n_slices == 0)
        return;
    int8_t *low = n_slices == 2 ? in->bytes + N_ROWS * WIDTH : NULL, *exponent = in->bytes + 2 * N_ROWS * WIDTH;
    in->rows = (struct rows){.exponent = exponent, .high = in->bytes, .low = low};
    k->quantize_rows(in->bytes, low, exponent, in->f32, WIDTH, NULL, N_ROWS, WIDTH);
}

static void input_fini(struct input *in)
{
    free(in->f32);
    free(in->bytes);
}

/* Two updates; y and gx, one after the other, are those of the second. */
static void live(struct expert *x, float *out, const struct rows *rows, const struct rows *gy)
{
    uint64_t staleness;
    void *work = arena_aligned(expert_work_bytes(x, N_ROWS), 1);
    ck_assert_ptr_nonnull(work);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(expert_forward(x, out, rows, work, N_ROWS), 0);
        ck_assert_int_eq(expert_backward(x, out + N_ROWS * WIDTH, rows, gy, NULL, work, N_ROWS, x->version, 1, &staleness), 0);
        ck_assert_int_eq(expert_update(x), 0);
    }
    free(work);
}

static void assert_equal(const float *a, const float *b, size_t n, const char *what)
{
    ck_assert_msg(memcmp(a, b, n * sizeof *a) == 0, "%s differs", what);
}

START_TEST(shared_work_has_the_same_bits)
{
    enum numerics numerics = (enum numerics)_i;
    const struct kernels *k;
    struct helpers helpers;
    struct input rows, gy;
    struct rng rng;
    rng_init(&rng, 1, "share");
    ck_assert_int_eq(kernels_choose(NULL, &k), 0);
    input_init(&rows, numerics, k, &rng);
    input_init(&gy, numerics, k, &rng);
    struct expert *alone = born(numerics, k), *shared = born(numerics, k), *copy;
    float *want = arena_aligned(2 * N_ROWS * WIDTH, sizeof(float)), *got = arena_aligned(2 * N_ROWS * WIDTH, sizeof(float));
    ck_assert(want && got);
    helpers_start(&helpers);
    expert_share(shared, helpers.team);
    live(alone, want, &rows.rows, &gy.rows);
    for (int i = 0; i < 1000 && (i == 0 || atomic_load(&helpers.n_helped) == 0); i++) { /* nobody must help; but somebody will */
        expert_free(shared);
        shared = born(numerics, k);
        expert_share(shared, helpers.team);
        live(shared, got, &rows.rows, &gy.rows);
        assert_equal(got, want, 2 * N_ROWS * WIDTH, "an answer");
        assert_equal(shared->param, alone->param, 3 * WIDTH * HIDDEN, "a parameter");
        assert_equal(shared->moment1, alone->moment1, 3 * WIDTH * HIDDEN, "a first moment");
        assert_equal(shared->moment2, alone->moment2, 3 * WIDTH * HIDDEN, "a second moment");
    }
    ck_assert_uint_gt(atomic_load(&helpers.n_helped), 0);
    ck_assert_int_eq(expert_copy(shared, &copy), 0);
    expert_params_changed(copy);
    helpers_end(&helpers);
    live(copy, got, &rows.rows, &gy.rows); /* which never knew of the team */
    live(alone, want, &rows.rows, &gy.rows);
    assert_equal(got, want, 2 * N_ROWS * WIDTH, "an answer of the copy");
    expert_free(copy);
    expert_free(shared);
    expert_free(alone);
    input_fini(&rows);
    input_fini(&gy);
    free(want);
    free(got);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("experts/share");
    TCase *tests = tcase_create("share");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, shared_work_has_the_same_bits, 0, N_NUMERICS);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
