/* tests/kernels/test_device_matmul.c - the product of floats on a GPU against its definition. */
#include "tests/kernels/device_test.h"

/* An operand of (rows, columns) on the device and on the CPU, as it lies or transposed; its rows have `slack` floats between
 * them, and it begins `slack` floats into its memory. */
struct operand {
    float *memory;
    float *on_device;
    struct matrix here, there;
};

static struct operand operand_of(const struct kernels *k, struct dice *dice, enum kind kind, size_t rows, size_t columns,
                                 bool is_transposed, size_t slack)
{
    size_t ld = (is_transposed ? rows : columns) + slack, n = (is_transposed ? columns : rows) * ld + slack;
    struct operand x = {.memory = dice_floats(dice, kind, n)};
    x.on_device = device_copy(k, x.memory, n * sizeof(float));
    x.here = is_transposed ? matrix_transposed(x.memory + slack, ld) : matrix_of(x.memory + slack, ld);
    x.there = is_transposed ? matrix_transposed(x.on_device + slack, ld) : matrix_of(x.on_device + slack, ld);
    return x;
}

static void operand_free(const struct kernels *k, struct operand *x)
{
    free(x->memory);
    k->release(x->on_device);
}

/* way: a transposed, b transposed, accumulate. */
static void check(const struct kernels *k, struct dice *dice, enum kind kind, size_t M, size_t N, size_t K, int way, size_t slack)
{
    struct operand a = operand_of(k, dice, kind, M, K, way & 1, slack), b = operand_of(k, dice, kind, K, N, way & 2, slack);
    size_t ldc = N + slack, n = M * ldc;
    float *want = dice_floats(dice, kind, n), *c = device_copy(k, want, n * sizeof *want);
    ref_set()->matmul(want, ldc, a.here, b.here, M, N, K, way & 4);
    k->matmul(c, ldc, a.there, b.there, M, N, K, way & 4);
    device_same(k, c, want, n, "matmul");
    operand_free(k, &a);
    operand_free(k, &b);
    free(want);
    k->release(c);
}

static const size_t slacks[] = {0, 4, 5, 1}; /* rows on multiples of 16 bytes or not */

START_TEST(small_and_odd_shapes_have_the_bits_of_ref)
{
    const struct kernels *k = device_set();
    struct dice dice = {(uint64_t)_i};
    device_order(_i % DEVICE_ORDERS);
    for (int i = 0; i < 10; i++)
        check(k, &dice, (enum kind)(_i % N_KINDS), dice_below(&dice, 40), dice_below(&dice, 90), dice_below(&dice, 50),
              (_i + i) % 8, slacks[i % 4]);
}
END_TEST

/* Whole tiles of every kind, and a little more or less: of 128 x 128, 64 x 64, 32 x 32, 16 x 64 and 64 x 16, with one k, a
 * piece of them, several, and parts of one. */
static const size_t shape[][3] = {{256, 256, 24}, {260, 252, 33}, {257, 255, 17}, {512, 128, 8}, {128, 128, 40}, {129, 130, 31},
                                  {64, 96, 64},   {33, 31, 16},   {8, 300, 48},   {7, 130, 15},  {300, 8, 47},   {200, 3, 32},
                                  {64, 64, 0},    {64, 64, 1},    {1, 1, 1},      {1, 1, 0},     {1, 1, 100},    {0, 5, 5}};
#define N_SHAPES (sizeof shape / sizeof *shape)

START_TEST(every_tile_has_the_bits_of_ref)
{
    const struct kernels *k = device_set();
    struct dice dice = {(uint64_t)_i};
    const size_t *s = shape[_i];
    device_order(_i % DEVICE_ORDERS);
    for (int way = 0; way < 8; way++)
        check(k, &dice, way % 2 ? TINY : PLAIN, s[0], s[1], s[2], way, slacks[(way + way / 4 + _i) % 4]);
}
END_TEST

START_TEST(a_product_may_be_cut_anywhere_along_k)
{
    enum { M = 70, N = 37, K = 90 };
    const struct kernels *k = device_set();
    struct dice dice = {(uint64_t)_i};
    size_t cut = dice_below(&dice, K + 1);
    struct operand a = operand_of(k, &dice, PLAIN, M, K, false, 0), b = operand_of(k, &dice, PLAIN, K, N, false, 0);
    float want[M * N], *c = device_room(k, sizeof want);
    ref_set()->matmul(want, N, a.here, b.here, M, N, K, false);
    k->matmul(c, N, a.there, b.there, M, N, cut, false);
    k->matmul(c, N, matrix_of(a.on_device + cut, K), matrix_of(b.on_device + cut * N, N), M, N, K - cut, true);
    device_same(k, c, want, M * N, "product in two parts");
    operand_free(k, &a);
    operand_free(k, &b);
    k->release(c);
}
END_TEST

/* A chain of terms that underflow is -0, and a term of +0 behind it would show. */
START_TEST(a_chain_that_underflows_keeps_its_sign)
{
    enum { M = 5, N = 6 };
    const struct kernels *k = device_set();
    size_t K = (size_t)_i;
    float x[M * 40], y[N * 40], want[M * N];
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = 0x1p-100f;
    for (size_t i = 0; i < sizeof y / sizeof *y; i++)
        y[i] = -0x1p-100f;
    float *a = device_copy(k, x, sizeof x), *b = device_copy(k, y, sizeof y), *c = device_room(k, sizeof want);
    ref_set()->matmul(want, N, matrix_of(x, K), matrix_of(y, N), M, N, K, false);
    ck_assert(!!signbit(want[0]) == (K > 0));
    k->matmul(c, N, matrix_of(a, K), matrix_of(b, N), M, N, K, false);
    device_same(k, c, want, M * N, "matmul");
    k->release(a), k->release(b), k->release(c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("device_matmul");
    TCase *tc = tcase_create("device_matmul");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, small_and_odd_shapes_have_the_bits_of_ref, 0, 16);
    tcase_add_loop_test(tc, every_tile_has_the_bits_of_ref, 0, (int)N_SHAPES);
    tcase_add_loop_test(tc, a_product_may_be_cut_anywhere_along_k, 0, 4);
    tcase_add_loop_test(tc, a_chain_that_underflows_keeps_its_sign, 0, 36);
    suite_add_tcase(suite, tc);
    return device_run(suite);
}
