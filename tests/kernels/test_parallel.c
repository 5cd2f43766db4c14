/* tests/kernels/test_parallel.c - a product has the bits of one thread however many share it. */
#include <stdatomic.h>

#include "kernels/parallel.h"
#include "tests/kernels/kernels_test.h"
#include "tests/unit/team_helpers.h"

#define SLACK 3

static const struct kernels *inner;
static atomic_size_t n_products;

static void count_matmul(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate)
{
    atomic_fetch_add(&n_products, 1);
    inner->matmul(c, ldc, a, b, M, N, K, accumulate);
}

/* The fastest set here, with a matmul that counts how often it is called. */
static struct kernels counting(void)
{
    ck_assert_int_eq(kernels_choose(NULL, &inner), 0);
    struct kernels k = *inner;
    k.matmul = count_matmul;
    atomic_store(&n_products, 0);
    return k;
}

static struct matrix operand(float **memory, struct dice *dice, size_t rows, size_t columns, bool is_transposed)
{
    size_t ld = (is_transposed ? rows : columns) + SLACK;
    *memory = dice_floats(dice, PLAIN, (is_transposed ? columns : rows) * ld);
    return is_transposed ? matrix_transposed(*memory, ld) : matrix_of(*memory, ld);
}

static void check_shape(struct team *team, struct dice *dice, size_t M, size_t N, size_t K, int way)
{
    struct kernels k = counting();
    float *a_memory, *b_memory;
    struct matrix a = operand(&a_memory, dice, M, K, way & 1), b = operand(&b_memory, dice, K, N, way & 2);
    size_t ldc = N + SLACK;
    float *want = dice_floats(dice, PLAIN, M * ldc), *got = copy_floats(want, M * ldc);
    inner->matmul(want, ldc, a, b, M, N, K, way & 4);
    parallel_matmul(&k, team, got, ldc, a, b, M, N, K, way & 4);
    assert_same(got, want, M * ldc, inner->name, "parallel_matmul");
    free(a_memory);
    free(b_memory);
    free(want);
    free(got);
}

/* Wide, tall, both, neither; lengths that no step divides. */
static const size_t shape[][3] = {{40, 1001, 300}, {1003, 50, 250}, {611, 395, 67}, {129, 193, 500}, {1, 6000, 2000}, {7, 3, 2}};

START_TEST(the_bits_are_those_of_one_thread)
{
    struct helpers helpers;
    struct dice dice = {(uint64_t)_i};
    helpers_start(&helpers, (unsigned)_i % 4 + 1, (size_t)_i % 4);
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++)
        check_shape(helpers.team, &dice, shape[s][0], shape[s][1], shape[s][2], _i);
    check_shape(NULL, &dice, 40, 1001, 300, _i);
    helpers_end(&helpers);
}
END_TEST

static int8_t *dice_slice(struct dice *dice, size_t n)
{
    int8_t *x = malloc(n ? n : 1);
    ck_assert_ptr_nonnull(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (int8_t)((int)dice_below(dice, 255) - 127);
    return x;
}

static void count_multiply(float *c, size_t ldc, struct slices a, const int8_t *a_exponent, const void *packed,
                           const int8_t *b_exponent, size_t M, size_t N, size_t K, bool accumulate)
{
    atomic_fetch_add(&n_products, 1);
    inner->multiply(c, ldc, a, a_exponent, packed, b_exponent, M, N, K, accumulate);
}

/* Bits of `way`: a is turned, one slice, without exponents, accumulating. */
static void check_integers(struct team *team, struct dice *dice, size_t M, size_t N, size_t K, int way)
{
    struct kernels k = counting();
    k.multiply = count_multiply;
    size_t n_slices = way & 2 ? 1 : 2, n_bytes = k.packed_bytes(N, K, n_slices);
    int8_t *a[2] = {dice_slice(dice, M * K), dice_slice(dice, M * K)}, *b[2] = {dice_slice(dice, K * N), dice_slice(dice, K * N)};
    int8_t *a_exponent = dice_slice(dice, M), *b_exponent = dice_slice(dice, N);
    for (size_t i = 0; i < M; i++)
        a_exponent[i] /= 8;
    for (size_t i = 0; i < N; i++)
        b_exponent[i] /= 8;
    struct slices left = {a[0], n_slices == 2 ? a[1] : NULL, way & 1 ? M : K, way & 1};
    struct slices right = {b[0], n_slices == 2 ? b[1] : NULL, N, false};
    void *packed = aligned_alloc(64, (n_bytes + 63) / 64 * 64);
    float *want = dice_floats(dice, PLAIN, M * N), *got = copy_floats(want, M * N);
    k.pack(packed, right, N, K);
    inner->multiply(want, N, left, way & 4 ? NULL : a_exponent, packed, b_exponent, M, N, K, way & 8);
    parallel_multiply(&k, team, got, N, left, way & 4 ? NULL : a_exponent, packed, b_exponent, M, N, K, way & 8);
    assert_same(got, want, M * N, inner->name, "parallel_multiply");
    for (int s = 0; s < 2; s++) {
        free(a[s]);
        free(b[s]);
    }
    free(a_exponent);
    free(b_exponent);
    free(packed);
    free(want);
    free(got);
}

START_TEST(integers_have_the_bits_of_one_thread)
{
    struct helpers helpers;
    struct dice dice = {(uint64_t)_i};
    helpers_start(&helpers, (unsigned)_i % 4 + 1, (size_t)_i % 4);
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++)
        check_integers(helpers.team, &dice, shape[s][0], shape[s][1], shape[s][2], _i);
    check_integers(NULL, &dice, 300, 301, 300, _i);
    ck_assert_uint_eq(atomic_load(&n_products), 1);
    check_integers(helpers.team, &dice, 300, 301, 300, _i);
    ck_assert(atomic_load(&n_products) > 1 || team_width(helpers.team) == 1);
    helpers_end(&helpers);
}
END_TEST

static size_t count_parts(struct team *team, size_t M, size_t N, size_t K)
{
    struct dice dice = {1};
    check_shape(team, &dice, M, N, K, 0);
    return atomic_load(&n_products);
}

START_TEST(what_is_cut_and_what_not)
{
    struct helpers helpers;
    helpers_start(&helpers, 2, 1);
    ck_assert_uint_eq(count_parts(NULL, 512, 512, 100), 1);
    ck_assert_uint_eq(count_parts(helpers.team, 64, 64, 100), 1);    /* over at once */
    ck_assert_uint_gt(count_parts(helpers.team, 16, 4000, 300), 1);  /* wide */
    ck_assert_uint_gt(count_parts(helpers.team, 4000, 16, 300), 1);  /* tall */
    ck_assert_uint_le(count_parts(helpers.team, 900, 900, 300), 20); /* not to dust */
    helpers_end(&helpers);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels/parallel");
    TCase *tests = tcase_create("parallel");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, the_bits_are_those_of_one_thread, 0, 8);
    tcase_add_loop_test(tests, integers_have_the_bits_of_one_thread, 0, 16);
    tcase_add_test(tests, what_is_cut_and_what_not);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
