/* tests/kernels/test_linear.c - integer products: what they approximate, what they refuse, and what leaves no trace. */
#include "kernels/linear.h"
#include "tests/kernels/kernels_test.h"

enum { M = 37, N = 29, T = 23 };

struct scene {
    const struct kernels *k;
    enum numerics numerics;
    struct linear linear;
    float *w, *x, *g;
    int8_t exponent[T], slices[2 * T * M];
    struct rows rows;
    void *work;
};

static void scene_begin(struct scene *s, const char *isa, enum numerics numerics, int seed)
{
    struct dice dice = {(uint64_t)seed};
    ck_assert_int_eq(kernels_choose(isa, &s->k), 0);
    s->numerics = numerics;
    s->w = dice_floats(&dice, PLAIN, (size_t)M * N);
    s->x = dice_floats(&dice, PLAIN, (size_t)T * M);
    s->g = dice_floats(&dice, PLAIN, (size_t)T * N);
    ck_assert_int_eq(linear_init(&s->linear, s->k, M, N, numerics), 0);
    linear_set(&s->linear, matrix_of(s->w, N));
    int8_t *low = numerics == NUMERICS_I8X2 ? s->slices + T * M : NULL;
    s->k->quantize_rows(s->slices, low, s->exponent, s->x, M, NULL, T, M);
    s->rows = (struct rows){.exponent = s->exponent, .high = s->slices, .low = low};
    s->work = aligned_alloc(64, (linear_work_bytes(&s->linear, T) + 63) / 64 * 64);
}

static void scene_end(struct scene *s)
{
    linear_fini(&s->linear);
    free(s->w), free(s->x), free(s->g), free(s->work);
}

/* The largest difference, by the largest value. */
static void assert_near(const float *got, const float *want, size_t n, enum numerics numerics)
{
    float most = 0, off = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(want[i]));
        off = fmaxf(off, fabsf(got[i] - want[i]));
    }
    ck_assert_float_lt(off, most * (numerics == NUMERICS_I8X2 ? 1e-4f : 2e-2f));
    ck_assert_float_gt(off, 0);
}

START_TEST(the_four_products_are_near_those_of_floats)
{
    struct scene s;
    enum numerics numerics = _i % 2 ? NUMERICS_I8X2 : NUMERICS_I8X1;
    scene_begin(&s, NULL, numerics, _i);
    float *want = calloc((size_t)M * (N + T), sizeof *want), *got = calloc((size_t)M * (N + T), sizeof *got);

    s.k->matmul(want, N, matrix_of(s.x, M), matrix_of(s.w, N), T, N, M, false);
    linear_ahead(&s.linear, got, &s.rows, T, false);
    assert_near(got, want, (size_t)T * N, numerics);
    s.k->matmul(want, M, matrix_of(s.g, N), matrix_transposed(s.w, N), T, M, N, true);
    s.k->matmul(want, M, matrix_of(s.g, N), matrix_transposed(s.w, N), T, M, N, false);
    linear_back(&s.linear, got, s.g, s.work, T, false);
    assert_near(got, want, (size_t)T * M, numerics);
    memset(want, 0, sizeof *want * M * N);
    memset(got, 0, sizeof *got * M * N);
    for (int i = 0; i < 2; i++) {
        s.k->matmul(want, N, matrix_transposed(s.x, M), matrix_of(s.g, N), M, N, T, true);
        linear_grad(&s.linear, got, &s.rows, s.g, s.work, T, PRODUCT_K_MAX);
    }
    assert_near(got, want, (size_t)M * N, numerics);
    float *turned = calloc((size_t)N * M, sizeof *turned);
    for (int i = 0; i < 2; i++)
        linear_grad_turned(&s.linear, turned, &s.rows, s.g, s.work, T, PRODUCT_K_MAX);
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++)
            ck_assert_float_eq(turned[j * M + i], got[i * N + j]);
    free(want), free(got), free(turned);
    scene_end(&s);
}
END_TEST

START_TEST(a_weight_set_turned_is_the_same_weight)
{
    struct scene s;
    scene_begin(&s, NULL, NUMERICS_I8X2, _i);
    float turned[N * M], a[T * N], b[T * N];
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++)
            turned[j * M + i] = s.w[i * N + j];
    linear_ahead(&s.linear, a, &s.rows, T, false);
    linear_set(&s.linear, matrix_transposed(turned, M));
    linear_ahead(&s.linear, b, &s.rows, T, false);
    ck_assert_mem_eq(a, b, sizeof a);
    scene_end(&s);
}
END_TEST

/* NaN in the row or column that read it, and nowhere else. */
static void assert_spoiled(const float *c, size_t n_rows, size_t n_columns, size_t bad, bool is_row)
{
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < n_columns; j++)
            ck_assert_int_eq(isnan(c[i * n_columns + j]) != 0, (is_row ? i : j) == bad);
}

static void assert_all_nan(const float *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ck_assert(isnan(c[i]));
}

START_TEST(what_is_not_finite_or_too_large_becomes_nan)
{
    static const float bad[] = {INFINITY, -INFINITY, NAN, 0x1p100f, -0x1p127f};
    struct scene s;
    float out[M * N + T * (M + N)] = {0};
    scene_begin(&s, NULL, NUMERICS_I8X2, _i);
    s.g[2 * N + 7] = bad[_i];
    linear_back(&s.linear, out, s.g, s.work, T, false);
    assert_spoiled(out, T, M, 2, true);
    memset(out, 0, sizeof out);
    linear_grad(&s.linear, out, &s.rows, s.g, s.work, T, PRODUCT_K_MAX);
    assert_spoiled(out, M, N, 7, false);
    memset(out, 0, sizeof out);
    linear_grad_turned(&s.linear, out, &s.rows, s.g, s.work, T, PRODUCT_K_MAX);
    assert_spoiled(out, N, M, 7, true);
    s.g[2 * N + 7] = 0;
    s.w[N + 3] = bad[_i];
    linear_set(&s.linear, matrix_of(s.w, N));
    linear_ahead(&s.linear, out, &s.rows, T, false);
    assert_spoiled(out, T, N, 3, false);
    linear_back(&s.linear, out, s.g, s.work, T, false);
    assert_all_nan(out, T * M); /* every row of g is folded with the bad column's exponent */
    s.w[N + 3] = 1;
    s.exponent[1] = QUANTIZE_BAD;
    linear_set(&s.linear, matrix_of(s.w, N));
    linear_ahead(&s.linear, out, &s.rows, T, false);
    assert_spoiled(out, T, N, 1, true);
    memset(out, 0, sizeof out);
    linear_grad(&s.linear, out, &s.rows, s.g, s.work, T, PRODUCT_K_MAX);
    assert_all_nan(out, (size_t)M * N);
    scene_end(&s);
}
END_TEST

/* Rows or columns of zeros say nothing, so a gradient that meets them must not coarsen those of their neighbours. */
START_TEST(zeros_outweigh_nobody)
{
    struct scene s;
    scene_begin(&s, NULL, NUMERICS_I8X2, _i);
    float want[M * N + T * M] = {0}, got[M * N + T * M] = {0};
    for (size_t j = 0; j < M; j++)
        s.x[3 * M + j] = s.w[j * N + 5] = 0;
    s.k->quantize_rows(s.slices, s.slices + T * M, s.exponent, s.x, M, NULL, T, M);
    linear_set(&s.linear, matrix_of(s.w, N));
    s.k->matmul(want, N, matrix_transposed(s.x, M), matrix_of(s.g, N), M, N, T, true);
    linear_grad(&s.linear, got, &s.rows, s.g, s.work, T, PRODUCT_K_MAX);
    assert_near(got, want, (size_t)M * N, NUMERICS_I8X2);
    s.k->matmul(want, M, matrix_of(s.g, N), matrix_transposed(s.w, N), T, M, N, false);
    linear_back(&s.linear, got, s.g, s.work, T, false);
    assert_near(got, want, (size_t)T * M, NUMERICS_I8X2);
    scene_end(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("linear");
    TCase *tc = tcase_create("linear");
    tcase_add_loop_test(tc, the_four_products_are_near_those_of_floats, 0, 20);
    tcase_add_loop_test(tc, a_weight_set_turned_is_the_same_weight, 0, 5);
    tcase_add_loop_test(tc, what_is_not_finite_or_too_large_becomes_nan, 0, 5);
    tcase_add_loop_test(tc, zeros_outweigh_nobody, 0, 5);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
