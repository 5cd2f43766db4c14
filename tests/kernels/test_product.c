/* tests/kernels/test_product.c - every matrix product against its definition. */
#include "tests/kernels/kernels_test.h"

#define SLACK 5 /* floats between rows beyond their length */

/* An operand of (rows, columns), as it lies or transposed, with slack. */
static struct matrix operand(float **memory, struct dice *dice, enum kind kind, size_t rows, size_t columns, bool is_transposed)
{
    size_t ld = (is_transposed ? rows : columns) + dice_below(dice, 2) * SLACK;
    size_t n = (is_transposed ? columns : rows) * ld;
    *memory = dice_floats(dice, kind, n);
    return is_transposed ? matrix_transposed(*memory, ld) : matrix_of(*memory, ld);
}

static void check_shape(const struct kernels *k, const struct kernels *ref, struct dice *dice, enum kind kind, size_t M, size_t N,
                        size_t K)
{
    for (int way = 0; way < 8; way++) {
        float *a_memory, *b_memory;
        struct matrix a = operand(&a_memory, dice, kind, M, K, way & 1), b = operand(&b_memory, dice, kind, K, N, way & 2);
        size_t ldc = N + SLACK;
        float *want = dice_floats(dice, kind, M * ldc), *got = copy_floats(want, M * ldc);
        ref->matmul(want, ldc, a, b, M, N, K, way & 4);
        k->matmul(got, ldc, a, b, M, N, K, way & 4);
        assert_same(got, want, M * ldc, k->name, "matmul");
        free(a_memory);
        free(b_memory);
        free(want);
        free(got);
    }
}

static void check_random(const struct kernels *k, const struct kernels *ref, int seed)
{
    struct dice dice = {(uint64_t)seed};
    for (int i = 0; i < 12; i++)
        check_shape(k, ref, &dice, (enum kind)(seed % N_KINDS), dice_below(&dice, 40), dice_below(&dice, 120),
                    dice_below(&dice, 70));
}

START_TEST(small_and_odd_shapes_have_the_bits_of_ref)
{
    with_each_isa(check_random, _i);
}
END_TEST

static void check_blocks(const struct kernels *k, const struct kernels *ref, int seed)
{
    static const size_t shape[][3] = {{3, 5, 1031},  {130, 49, 257}, {129, 385, 20}, {8, 800, 33},   {16, 48, 512},
                                      {140, 64, 96}, {1, 1, 3000},   {257, 1, 300},  {1, 1000, 100}, {15, 31, 513}};
    struct dice dice = {(uint64_t)seed};
    const size_t *s = shape[seed];
    check_shape(k, ref, &dice, PLAIN, s[0], s[1], s[2]);
    check_shape(k, ref, &dice, TINY, s[0], s[1], s[2]);
}

START_TEST(shapes_beyond_one_block_have_the_bits_of_ref)
{
    with_each_isa(check_blocks, _i);
}
END_TEST

static void check_split(const struct kernels *k, const struct kernels *ref, int seed)
{
    enum { M = 11, N = 37, K = 150 };
    struct dice dice = {(uint64_t)seed};
    float *a = dice_floats(&dice, PLAIN, M * K), *b = dice_floats(&dice, PLAIN, K * N);
    float whole[M * N], parts[M * N];
    size_t cut = dice_below(&dice, K + 1);
    ref->matmul(whole, N, matrix_of(a, K), matrix_of(b, N), M, N, K, false);
    k->matmul(parts, N, matrix_of(a, K), matrix_of(b, N), M, N, cut, false);
    k->matmul(parts, N, matrix_of(a + cut, K), matrix_of(b + cut * N, N), M, N, K - cut, true);
    assert_same(parts, whole, M * N, k->name, "product in two parts");
    free(a);
    free(b);
}

START_TEST(a_product_may_be_cut_anywhere_along_k)
{
    with_each_isa(check_split, _i);
}
END_TEST

START_TEST(blas_comes_near)
{
    enum { M = 33, N = 20, K = 70 };
    const struct kernels *ref;
    struct kernels blas;
    ck_assert_int_eq(kernels_choose("ref", &ref), 0);
    if (kernels_with_blas(ref, &blas) == HANSE_EUNSUPPORTED)
        return;
    struct dice dice = {1};
    float *a = dice_floats(&dice, PLAIN, M * K), *b = dice_floats(&dice, PLAIN, K * N);
    float want[M * N] = {0}, got[M * N] = {0};
    for (int way = 0; way < 8; way++) {
        struct matrix left = way & 1 ? matrix_transposed(a, M) : matrix_of(a, K);
        struct matrix right = way & 2 ? matrix_transposed(b, K) : matrix_of(b, N);
        ref->matmul(want, N, left, right, M, N, K, way & 4);
        blas.matmul(got, N, left, right, M, N, K, way & 4);
        for (size_t i = 0; i < M * N; i++)
            ck_assert_float_eq_tol(got[i], want[i], 1e-4f);
    }
    ck_assert(blas.swiglu == ref->swiglu);
    free(a);
    free(b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("product");
    TCase *tc = tcase_create("product");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, small_and_odd_shapes_have_the_bits_of_ref, 0, 24);
    tcase_add_loop_test(tc, shapes_beyond_one_block_have_the_bits_of_ref, 0, 10);
    tcase_add_loop_test(tc, a_product_may_be_cut_anywhere_along_k, 0, 10);
    tcase_add_test(tc, blas_comes_near);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
