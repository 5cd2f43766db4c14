/* tests/kernels/test_parameters.c - how parameters begin (init.h), move by Muon, and who computes (choose.c). */
#include "base/log.h"
#include "kernels/ref/init.h"
#include "kernels/ref/muon.h"
#include "tests/kernels/kernels_test.h"

#define N_NORMAL 40000

START_TEST(normal_values_have_their_moments_and_their_cut)
{
    static float x[N_NORMAL];
    static const uint32_t key[2] = {7, 11};
    ref_init_normal(x, key, 0.5f, N_NORMAL);
    double sum = 0.0, squares = 0.0, fourth = 0.0;
    int n_far = 0;
    for (int i = 0; i < N_NORMAL; i++) {
        double z = (double)x[i] / 0.5;
        ck_assert_double_le(fabs(z), 3.0);
        sum += z;
        squares += z * z;
        fourth += z * z * z * z;
        n_far += fabs(z) > 2.5;
    }
    ck_assert_double_lt(fabs(sum / N_NORMAL), 0.02);
    ck_assert_double_lt(fabs(squares / N_NORMAL - 0.9733), 0.02); /* the variance that the cut leaves */
    ck_assert_double_lt(fabs(fourth / N_NORMAL - 2.680), 0.12);
    ck_assert(n_far > 250 && n_far < 550); /* 0.97 % */
}
END_TEST

START_TEST(a_value_depends_on_key_and_index_alone)
{
    static const uint32_t key[2] = {7, 11}, other[2] = {8, 11};
    float x[500], again[100], different[100];
    ref_init_normal(x, key, 1.0f, 500);
    ref_init_normal(again, key, 1.0f, 100);
    ref_init_normal(different, other, 1.0f, 100);
    ck_assert_mem_eq(x, again, sizeof again);
    ck_assert_mem_ne(x, different, sizeof different);
}
END_TEST

enum { LONG = 48, SHORT = 20 };

static struct muon_step plain_step(void)
{
    return (struct muon_step){.lr = 1.0f, .momentum = 0.0f, .weight_decay = 0.0f, .grad_scale = 1.0f, .n_iterations = 5};
}

/* One update from p = 0 with lr 1: p = -scale times a matrix whose shorter side's vectors are nearly orthonormal. */
static void assert_nearly_orthogonal(const struct kernels *k, float magnitude, size_t M, size_t N, uint64_t seed)
{
    struct dice dice = {seed};
    float *g = dice_floats(&dice, PLAIN, M * N), p[LONG * SHORT] = {0}, m[LONG * SHORT] = {0};
    float *work = malloc(muon_work_floats(M, N) * sizeof *work), square[SHORT * SHORT];
    for (size_t i = 0; i < M * N; i++)
        g[i] *= magnitude;
    struct muon_step step = plain_step();
    muon_update(k, p, m, g, work, &step, M, N);
    float scale = N > M ? (float)N / (float)M : 1.0f;
    if (M < N)
        k->matmul(square, SHORT, matrix_of(p, N), matrix_transposed(p, N), M, M, N, false);
    else
        k->matmul(square, SHORT, matrix_transposed(p, N), matrix_of(p, N), N, N, M, false);
    double trace = 0.0;
    for (size_t i = 0; i < SHORT * SHORT; i++) {
        float entry = square[i] / scale;
        bool is_diagonal = i / SHORT == i % SHORT;
        trace += is_diagonal ? (double)entry : 0.0;
        ck_assert_msg(is_diagonal ? entry > 0.4f && entry < 1.5f : fabsf(entry) < 0.35f, "entry %zu is %g", i, (double)entry);
    }
    ck_assert(trace > 0.6 * SHORT && trace < 1.3 * SHORT);
    double along = 0.0;
    for (size_t i = 0; i < M * N; i++)
        along += (double)(p[i] / magnitude * g[i]);
    ck_assert_double_lt(along, 0.0); /* downhill */
    free(g), free(work);
}

START_TEST(muon_is_nearly_orthogonal_whatever_the_gradients_size)
{
    static const float magnitude[] = {1.0f, 1e-12f, 1e12f, 1e-25f};
    const struct kernels *k;
    ck_assert_int_eq(kernels_choose(NULL, &k), 0);
    assert_nearly_orthogonal(k, magnitude[_i], LONG, SHORT, (uint64_t)_i);
    assert_nearly_orthogonal(k, magnitude[_i], SHORT, LONG, (uint64_t)_i);
}
END_TEST

START_TEST(muon_without_a_gradient_only_decays)
{
    const struct kernels *k;
    ck_assert_int_eq(kernels_choose(NULL, &k), 0);
    float p[6] = {1, 2, 3, 4, 5, -6}, m[6] = {0}, g[6] = {0};
    float *work = malloc(muon_work_floats(2, 3) * sizeof *work);
    struct muon_step step = plain_step();
    step.weight_decay = 0.5f;
    muon_update(k, p, m, g, work, &step, 2, 3);
    static const float half[6] = {0.5f, 1, 1.5f, 2, 2.5f, -3};
    ck_assert_mem_eq(p, half, sizeof p);
    free(work);
}
END_TEST

static void check_muon(const struct kernels *k, const struct kernels *ref, int seed)
{
    enum { M = 13, N = 35 };
    struct dice dice = {(uint64_t)seed};
    struct muon_step step = {.lr = 0.02f, .momentum = 0.95f, .weight_decay = 0.1f, .grad_scale = 0.5f, .n_iterations = 5};
    float *g = dice_floats(&dice, (enum kind)(seed % NASTY), M * N), p[2][M * N], m[2][M * N] = {{0}};
    float *work = malloc(muon_work_floats(M, N) * sizeof *work);
    for (size_t i = 0; i < M * N; i++)
        p[0][i] = p[1][i] = dice_unit(&dice);
    for (int t = 0; t < 5; t++) {
        muon_update(ref, p[0], m[0], g, work, &step, M, N);
        muon_update(k, p[1], m[1], g, work, &step, M, N);
    }
    assert_same(p[1], p[0], M * N, k->name, "muon");
    assert_same(m[1], m[0], M * N, k->name, "muon's moment");
    free(g), free(work);
}

START_TEST(muon_has_the_same_bits_through_every_set)
{
    with_each_isa(check_muon, _i);
}
END_TEST

/* doc/numerics.md word by word: whole products, one after the other. */
static void muon_by_the_book(const struct kernels *k, float *p, const float *g, float rate, size_t M, size_t N)
{
    size_t n = M * N, s = M <= N ? M : N;
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y), *sq = malloc(s * s * sizeof *sq),
          *f = malloc(s * s * sizeof *f);
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fabsf(g[i]) > most ? fabsf(g[i]) : most;
    for (size_t i = 0; i < n; i++)
        x[i] = g[i] / most;
    float norm = sqrtf(k->sum_squares(x, n));
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] / norm;
    for (int t = 0; t < 5; t++) {
        struct matrix plain = matrix_of(x, N), turned = matrix_transposed(x, N);
        k->matmul(sq, s, M <= N ? plain : turned, M <= N ? turned : plain, s, s, M <= N ? N : M, false);
        k->matmul(f, s, matrix_of(sq, s), matrix_of(sq, s), s, s, s, false);
        for (size_t i = 0; i < s * s; i++)
            f[i] = fmaf(-4.7750f, sq[i], 2.0315f * f[i]);
        for (size_t i = 0; i < n; i++)
            y[i] = 3.4445f * x[i];
        k->matmul(y, N, M <= N ? matrix_of(f, s) : plain, M <= N ? plain : matrix_of(f, s), M, N, s, true);
        memcpy(x, y, n * sizeof *x);
    }
    for (size_t i = 0; i < n; i++)
        p[i] = fmaf(-rate * (N > M ? sqrtf((float)N / (float)M) : 1.0f), x[i], p[i]);
    free(x), free(y), free(sq), free(f);
}

/* Shapes of one block of rows and of several, with a last one that is short. */
START_TEST(half_of_a_symmetric_product_is_all_of_it)
{
    static const size_t shape[][2] = {{20, 31}, {33, 33}, {75, 140}, {130, 97}, {420, 400}};
    size_t M = shape[_i][0], N = shape[_i][1];
    struct dice dice = {(uint64_t)_i};
    const struct kernels *k;
    ck_assert_int_eq(kernels_choose(NULL, &k), 0);
    float *g = dice_floats(&dice, PLAIN, M * N), *p = calloc(M * N, sizeof *p), *m = calloc(M * N, sizeof *m);
    float *want = calloc(M * N, sizeof *want), *work = malloc(muon_work_floats(M, N) * sizeof *work);
    struct muon_step step = plain_step();
    step.lr = 0.5f;
    muon_update(k, p, m, g, work, &step, M, N);
    muon_by_the_book(k, want, g, step.lr, M, N);
    assert_same(p, want, M * N, k->name, "muon");
    free(g), free(p), free(m), free(want), free(work);
}
END_TEST

static int n_lines;

static void count_line(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
    n_lines++;
}

START_TEST(kernels_are_chosen_by_name_and_unknown_names_refused)
{
    const struct kernels *k, *before;
    ck_assert_int_eq(kernels_choose("ref", &k), 0);
    ck_assert_str_eq(k->name, "ref");
    before = k;
    log_set_sink(count_line, NULL);
    ck_assert_int_eq(kernels_choose("sse9", &k), HANSE_EINVAL);
    ck_assert_int_eq(kernels_choose("", &k), HANSE_EINVAL);
    ck_assert_int_eq(n_lines, 2);
    ck_assert_ptr_eq(k, before); /* untouched by a refusal */
    ck_assert_int_eq(kernels_choose(NULL, &k), 0);
    int err = kernels_choose("avx2", &before);
    ck_assert(err == 0 || err == HANSE_EUNSUPPORTED);
    if (err == 0)
        ck_assert_str_ne(k->name, "ref"); /* there was something faster */
}
END_TEST

START_TEST(the_list_of_names_is_the_same_for_people_and_programs)
{
    const struct kernels *k;
    char text[200] = "";
    for (size_t i = 0; i < N_KERNELS; i++) {
        const char *before = i == 0 ? "" : i + 1 < N_KERNELS ? ", " : " or ";
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", before, kernels_name[i]);
        log_set_sink(count_line, NULL);
        int err = kernels_choose(kernels_name[i], &k);
        ck_assert(err == HANSE_EUNSUPPORTED || (err == 0 && strcmp(k->name, kernels_name[i]) == 0));
    }
    ck_assert_str_eq(text, KERNELS_NAMES);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("parameters");
    TCase *tc = tcase_create("parameters");
    tcase_add_test(tc, normal_values_have_their_moments_and_their_cut);
    tcase_add_test(tc, a_value_depends_on_key_and_index_alone);
    tcase_add_loop_test(tc, muon_is_nearly_orthogonal_whatever_the_gradients_size, 0, 4);
    tcase_add_test(tc, muon_without_a_gradient_only_decays);
    tcase_add_loop_test(tc, muon_has_the_same_bits_through_every_set, 0, 6);
    tcase_add_loop_test(tc, half_of_a_symmetric_product_is_all_of_it, 0, 5);
    tcase_add_test(tc, the_list_of_names_is_the_same_for_people_and_programs);
    tcase_add_test(tc, kernels_are_chosen_by_name_and_unknown_names_refused);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
