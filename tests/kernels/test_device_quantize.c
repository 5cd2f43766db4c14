/* tests/kernels/test_device_quantize.c - rounding on the device against ref, and what is asked of received integers. */
#include "tests/kernels/device_tensor.h"
#include "tests/kernels/groups.h"

/* Ways of rounding, as bits. */
enum way { TWO = 1, FOLD = 2, SLACK = 4, COLUMNS = 8, SHIFTED = 16, BAD_FOLD = 32, N_WAYS = 64 };

/* Rows of a warp, of blocks, and longer than the registers of a block hold; widths that are and are not a multiple of 4. */
static const struct {
    size_t R, C;
} shapes[] = {{0, 4},   {1, 1},   {3, 0},   {5, 7},   {7, 8},    {2, 31},  {3, 32},   {9, 33},
              {4, 100}, {2, 511}, {3, 513}, {5, 516}, {2, 1028}, {300, 3}, {130, 132}};
#define N_SHAPES ((int)(sizeof shapes / sizeof *shapes))

/* Each row, or each column, is a group of another kind. */
static float *mixed(struct dice *dice, size_t R, size_t C, size_t ldx, bool is_column)
{
    size_t n = R && C ? (R - 1) * ldx + C : 0, n_groups = is_column ? C : R, length = is_column ? R : C;
    float *x = malloc(n ? n * sizeof *x : 1);
    for (size_t i = 0; i < n; i++)
        x[i] = NAN; /* between the rows */
    for (size_t g = 0; g < n_groups && n > 0; g++) {
        enum group group = (enum group)dice_below(dice, N_GROUPS);
        for (size_t i = 0; i < length; i++)
            x[is_column ? i * ldx + g : g * ldx + i] = group_float(dice, group, i);
    }
    return x;
}

static int8_t *folds_of(struct dice *dice, size_t n, int way)
{
    int8_t *fold = group_folds(dice, n);
    if (way & BAD_FOLD && n > 0)
        fold[dice_below(dice, n)] = QUANTIZE_BAD;
    return fold;
}

/* Integers of R rows of C and their exponents, poisoned. */
struct integers {
    struct tensor high, low, exponent;
};

static struct integers integers_of(const struct kernels *k, struct dice *dice, size_t n, size_t n_groups, size_t shift)
{
    return (struct integers){tensor_bytes(k, dice, n, shift), tensor_bytes(k, dice, n, shift),
                             tensor_bytes(k, dice, n_groups, shift)};
}

static void integers_same(const struct kernels *k, const struct integers *x, const char *what)
{
    tensor_same_bytes(k, &x->exponent, what);
    tensor_same_bytes(k, &x->high, what);
    tensor_same_bytes(k, &x->low, what); /* with one slice: untouched */
}

static void integers_free(const struct kernels *k, struct integers *x)
{
    tensor_free(k, &x->high), tensor_free(k, &x->low), tensor_free(k, &x->exponent);
}

static void round_both(const struct kernels *k, const struct integers *q, const struct tensor *x, size_t ldx,
                       const struct tensor *fold, size_t R, size_t C, int way)
{
    const struct kernels *ref = ref_set();
    int8_t *low = way & TWO ? q->low.at : NULL, *want_low = way & TWO ? q->low.want : NULL;
    const int8_t *by = way & FOLD ? fold->at : NULL, *want_by = way & FOLD ? fold->want : NULL;
    (way & COLUMNS ? ref->quantize_columns : ref->quantize_rows)(q->high.want, want_low, q->exponent.want, x->want, ldx, want_by,
                                                                 R, C);
    (way & COLUMNS ? k->quantize_columns : k->quantize_rows)(q->high.at, low, q->exponent.at, x->at, ldx, by, R, C);
}

/* dequantize_rows() of what came out. */
static void check_back(const struct kernels *k, struct dice *dice, const struct integers *q, size_t R, size_t C, int way)
{
    struct tensor x = tensor_floats(k, dice, PLAIN, R * C, way & SHIFTED ? 4 : 0);
    ref_set()->dequantize_rows(x.want, q->high.want, way & TWO ? q->low.want : NULL, q->exponent.want, R, C);
    k->dequantize_rows(x.at, q->high.at, way & TWO ? q->low.at : NULL, q->exponent.at, R, C);
    tensor_same(k, &x, "dequantize_rows");
    tensor_free(k, &x);
}

static void check_way(const struct kernels *k, struct dice *dice, size_t R, size_t C, int way)
{
    size_t ldx = C + (way & SLACK ? way & SHIFTED ? 5 : 4 : 0), length = way & COLUMNS ? R : C;
    size_t n_floats = R && C ? (R - 1) * ldx + C : 0, shift = way & SHIFTED ? 1 : 0;
    struct tensor x = tensor_of(k, mixed(dice, R, C, ldx, way & COLUMNS), n_floats * sizeof(float), 4 * shift);
    struct tensor fold = tensor_of(k, folds_of(dice, length, way), length, shift);
    struct integers q = integers_of(k, dice, R * C, way & COLUMNS ? C : R, shift);
    round_both(k, &q, &x, ldx, &fold, R, C, way);
    integers_same(k, &q, way & COLUMNS ? "quantize_columns" : "quantize_rows");
    if (!(way & COLUMNS))
        check_back(k, dice, &q, R, C, way);
    integers_free(k, &q);
    tensor_free(k, &x), tensor_free(k, &fold);
}

START_TEST(rounding_has_the_bits_of_ref)
{
    const struct kernels *k = device_set();
    struct dice dice = {(uint64_t)_i};
    device_order(_i % DEVICE_ORDERS);
    for (int way = 0; way < N_WAYS; way++)
        if (!(way & BAD_FOLD) || (way & FOLD && way & TWO))
            check_way(k, &dice, shapes[_i].R, shapes[_i].C, way);
}
END_TEST

START_TEST(a_row_beyond_the_registers_is_read_twice)
{
    const struct kernels *k = device_set();
    struct dice dice = {1};
    for (int shifted = 0; shifted < 2; shifted++)
        check_way(k, &dice, 1, 3 * 16384 / 2 + 4, TWO | FOLD | (shifted ? SHIFTED : 0));
}
END_TEST

static float *domain(struct dice *dice, size_t n, enum kind kind)
{
    float *x = dice_floats(dice, kind, n);
    for (size_t i = 0; kind == PLAIN && i < n; i++)
        x[i] *= 100.0f; /* all over that of exp */
    return x;
}

/* A pass of its own in ref. */
static void check_swiglu(const struct kernels *k, struct dice *dice, size_t R, size_t C, int way)
{
    size_t n = R * C, shift = way & SHIFTED ? 1 : 0;
    enum kind kind = (enum kind)dice_below(dice, N_KINDS);
    struct tensor g = tensor_of(k, domain(dice, n, kind), 4 * n, 4 * shift), u = tensor_floats(k, dice, kind, n, 4 * shift);
    struct tensor fold = tensor_of(k, folds_of(dice, C, way), C, shift);
    struct integers q = integers_of(k, dice, n, R, shift);
    float *h = dice_floats(dice, PLAIN, n);
    ref_set()->swiglu(h, g.want, u.want, n);
    ref_set()->quantize_rows(q.high.want, way & TWO ? q.low.want : NULL, q.exponent.want, h, C, way & FOLD ? fold.want : NULL, R,
                             C);
    k->swiglu_rows(q.high.at, way & TWO ? q.low.at : NULL, q.exponent.at, g.at, u.at, way & FOLD ? fold.at : NULL, R, C);
    integers_same(k, &q, "swiglu_rows");
    free(h);
    integers_free(k, &q);
    tensor_free(k, &g), tensor_free(k, &u), tensor_free(k, &fold);
}

START_TEST(swiglu_rounded_in_one_pass_has_the_bits_of_two)
{
    const struct kernels *k = device_set();
    struct dice dice = {(uint64_t)_i};
    for (int way = 0; way < N_WAYS; way++)
        if (!(way & (SLACK | COLUMNS | BAD_FOLD)))
            check_swiglu(k, &dice, shapes[_i].R, shapes[_i].C, way);
}
END_TEST

/* *is_bad after a check that found it `before`. */
static uint32_t flag_after(const struct kernels *k, uint32_t before, const void *x, size_t n, size_t shift, float limit)
{
    struct tensor flag = tensor_of(k, memcpy(malloc(4), &before, 4), 4, 0);
    uint8_t *copy = memcpy(malloc(n ? 4 * n : 1), x, 4 * n), *got;
    struct tensor t = tensor_of(k, copy, 4 * n, 4 * shift);
    uint32_t is_bad;
    k->check_below(flag.at, t.at, n, limit);
    got = tensor_got(k, &flag, "check_below");
    memcpy(&is_bad, got, sizeof is_bad);
    free(got);
    tensor_free(k, &t), tensor_free(k, &flag);
    return is_bad;
}

START_TEST(one_float_that_is_too_large_is_found_anywhere)
{
    static const float bad[] = {0x1p24f, -0x1p24f, INFINITY, -INFINITY, NAN};
    const struct kernels *k = device_set();
    struct dice dice = {(uint64_t)_i};
    size_t n = 1 + dice_below(&dice, 1200), at = _i % 3 == 0 ? n - 1 : dice_below(&dice, n), shift = dice_below(&dice, 4);
    float *x = dice_floats(&dice, PLAIN, n);
    x[at] = -above(0x1p24f, -1);
    ck_assert_uint_eq(flag_after(k, 0, x, n, shift, 0x1p24f), 0);
    ck_assert_uint_eq(flag_after(k, 1, x, n, shift, 0x1p24f), 1); /* left as it was */
    ck_assert_uint_eq(flag_after(k, 0, x, n, shift, INFINITY), 0);
    x[at] = bad[_i % 5];
    ck_assert_uint_eq(flag_after(k, 0, x, n, shift, 0x1p24f), 1);
    ck_assert_uint_eq(flag_after(k, 0, x, n, shift, INFINITY), !isfinite(x[at]));
    ck_assert_uint_eq(flag_after(k, 0, x, 0, shift, 0x1p24f), 0);
    free(x);
}
END_TEST

static uint32_t rows_flag(const struct kernels *k, const int8_t *high, const int8_t *exponent, size_t n, size_t D, size_t shift)
{
    struct tensor flag = tensor_of(k, calloc(4, 1), 4, 0);
    struct tensor h = tensor_of(k, memcpy(malloc(n * D + 1), high, n * D), n * D, shift);
    struct tensor e = tensor_of(k, memcpy(malloc(n + 1), exponent, n), n, shift);
    struct rows rows = {.exponent = e.at, .high = h.at};
    k->check_rows(flag.at, &rows, n, D, 5);
    uint8_t *got = tensor_got(k, &flag, "check_rows");
    uint32_t is_bad;
    memcpy(&is_bad, got, sizeof is_bad);
    free(got);
    tensor_free(k, &flag), tensor_free(k, &h), tensor_free(k, &e);
    return is_bad;
}

START_TEST(a_row_that_may_not_be_is_found_anywhere)
{
    static const int8_t bad[] = {6, QUANTIZE_EXPONENT_MIN - 1, QUANTIZE_BAD, INT8_MIN};
    const struct kernels *k = device_set();
    struct dice dice = {(uint64_t)_i};
    size_t n = 1 + dice_below(&dice, 20), D = 1 + dice_below(&dice, 60), shift = dice_below(&dice, 17);
    size_t at = dice_below(&dice, n * D), row = dice_below(&dice, n);
    int8_t *high = malloc(n * D), *exponent = malloc(n);
    for (size_t i = 0; i < n * D; i++)
        high[i] = (int8_t)(dice_below(&dice, 255) - 127);
    for (size_t i = 0; i < n; i++)
        exponent[i] = (int8_t)(i % 2 ? 5 : QUANTIZE_EXPONENT_MIN);
    ck_assert_uint_eq(rows_flag(k, high, exponent, n, D, shift), 0);
    ck_assert_uint_eq(rows_flag(k, high, exponent, 0, D, shift), 0);
    high[at] = INT8_MIN;
    ck_assert_uint_eq(rows_flag(k, high, exponent, n, D, shift), 1);
    high[at] = INT8_MAX;
    exponent[row] = bad[_i % 4];
    ck_assert_uint_eq(rows_flag(k, high, exponent, n, D, shift), 1);
    free(high), free(exponent);
}
END_TEST

START_TEST(exponents_are_shifted)
{
    const struct kernels *k = device_set();
    struct dice dice = {(uint64_t)_i};
    size_t n = dice_below(&dice, 600);
    int8_t *old = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        old[i] = (int8_t)(dice_below(&dice, 120) - 114);
    struct tensor from = tensor_of(k, old, n, 1), to = tensor_bytes(k, &dice, n, 3);
    k->shift_exponents(to.at, from.at, 8, n);
    for (size_t i = 0; i < n; i++)
        ((int8_t *)to.want)[i] = (int8_t)(old[i] + 8);
    tensor_same_bytes(k, &to, "shift_exponents");
    tensor_free(k, &to), tensor_free(k, &from);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("device_quantize");
    TCase *tc = tcase_create("device_quantize");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, rounding_has_the_bits_of_ref, 0, N_SHAPES);
    tcase_add_test(tc, a_row_beyond_the_registers_is_read_twice);
    tcase_add_loop_test(tc, swiglu_rounded_in_one_pass_has_the_bits_of_two, 0, N_SHAPES);
    tcase_add_loop_test(tc, one_float_that_is_too_large_is_found_anywhere, 0, 15);
    tcase_add_loop_test(tc, a_row_that_may_not_be_is_found_anywhere, 0, 24);
    tcase_add_loop_test(tc, exponents_are_shifted, 0, 4);
    suite_add_tcase(all, tc);
    return all;
}

int main(void)
{
    return device_run(suite());
}
