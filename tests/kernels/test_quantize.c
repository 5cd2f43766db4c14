/* tests/kernels/test_quantize.c - floats into integers and back: the definition by hand, and every set against it. */
#include "tests/kernels/groups.h"
#include "tests/kernels/kernels_test.h"

#define SLACK 5

/* R groups of C as rows of ldx, or as columns; the kinds change from group to group. */
static float *groups(struct dice *dice, size_t n_groups, size_t n, size_t step_group, size_t step, size_t n_floats, int kind)
{
    float *x = malloc(n_floats ? n_floats * sizeof *x : 1);
    for (size_t i = 0; i < n_floats; i++)
        x[i] = NAN; /* between the rows */
    for (size_t g = 0; g < n_groups; g++) {
        enum group group = kind < N_GROUPS ? (enum group)kind : (enum group)dice_below(dice, N_GROUPS);
        for (size_t i = 0; i < n; i++)
            x[g * step_group + i * step] = group_float(dice, group, i);
    }
    return x;
}

struct result {
    int8_t *high, *low, *exponent;
};

static struct result result_new(size_t n, size_t n_groups, bool has_two)
{
    struct result r = {malloc(n ? n : 1), has_two ? malloc(n ? n : 1) : NULL, malloc(n_groups ? n_groups : 1)};
    memset(r.high, 99, n);
    if (has_two)
        memset(r.low, 99, n);
    return r;
}

static void result_free(struct result *r)
{
    free(r->high), free(r->low), free(r->exponent);
}

static void assert_equal(const struct result *got, const struct result *want, size_t n, size_t n_groups, const char *isa)
{
    for (size_t i = 0; i < n_groups; i++)
        if (got->exponent[i] != want->exponent[i])
            ck_abort_msg("%s: exponent %zu of %zu is %d, ref says %d", isa, i, n_groups, got->exponent[i], want->exponent[i]);
    for (size_t i = 0; i < n; i++)
        if (got->high[i] != want->high[i] || (got->low && got->low[i] != want->low[i]))
            ck_abort_msg("%s: integer %zu of %zu is %d %d, ref says %d %d", isa, i, n, got->high[i], got->low ? got->low[i] : 0,
                         want->high[i], want->low ? want->low[i] : 0);
}

/* `way`: two slices, a fold, slack between rows, columns instead of rows. */
static void check_way(const struct kernels *k, const struct kernels *ref, struct dice *dice, size_t R, size_t C, int kind,
                      int way)
{
    size_t ldx = C + (way & 4 ? SLACK : 0), n_floats = R && C ? (R - 1) * ldx + C : 0;
    bool is_column = way & 8;
    size_t n_groups = is_column ? C : R, length = is_column ? R : C;
    float *x = groups(dice, n_groups, length, is_column ? 1 : ldx, is_column ? ldx : 1, n_floats, kind);
    int8_t *fold = way & 2 ? group_folds(dice, length) : NULL;
    struct result got = result_new(R * C, n_groups, way & 1), want = result_new(R * C, n_groups, way & 1);
    if (is_column) {
        ref->quantize_columns(want.high, want.low, want.exponent, x, ldx, fold, R, C);
        k->quantize_columns(got.high, got.low, got.exponent, x, ldx, fold, R, C);
    } else {
        ref->quantize_rows(want.high, want.low, want.exponent, x, ldx, fold, R, C);
        k->quantize_rows(got.high, got.low, got.exponent, x, ldx, fold, R, C);
    }
    assert_equal(&got, &want, R * C, n_groups, k->name);
    if (!is_column) {
        float *back = malloc((R * C + 1) * sizeof *back), *wanted = malloc((R * C + 1) * sizeof *back);
        ref->dequantize_rows(wanted, want.high, want.low, want.exponent, R, C);
        k->dequantize_rows(back, got.high, got.low, got.exponent, R, C);
        assert_same(back, wanted, R * C, k->name, "dequantize_rows");
        free(back), free(wanted);
    }
    result_free(&got), result_free(&want);
    free(x), free(fold);
}

static void check_random(const struct kernels *k, const struct kernels *ref, int seed)
{
    struct dice dice = {(uint64_t)seed};
    for (int kind = 0; kind <= N_GROUPS; kind++)
        for (int way = 0; way < 16; way++)
            check_way(k, ref, &dice, dice_below(&dice, 40), dice_below(&dice, 80), kind, way);
}

START_TEST(rounding_has_the_bits_of_ref)
{
    with_each_isa(check_random, _i);
}
END_TEST

static void check_large(const struct kernels *k, const struct kernels *ref, int seed)
{
    static const size_t shape[][2] = {{3, 9001}, {9001, 3}, {1, 4096}, {2, 4097}, {70, 130}};
    struct dice dice = {(uint64_t)seed};
    for (int way = 0; way < 16; way++)
        check_way(k, ref, &dice, shape[seed][0], shape[seed][1], way % 3 ? UNIT : THRESHOLDS, way);
}

START_TEST(long_groups_have_the_bits_of_ref)
{
    with_each_isa(check_large, _i);
}
END_TEST

/* Every exponent of a float, and every rounding near the top of the range. */
static void check_exponents(const struct kernels *k, const struct kernels *ref, int seed)
{
    for (int e = -149; e <= 127; e++) {
        float x[3] = {ldexpf(1.0f + (float)seed / 16, e), 0.3f * ldexpf(1.0f, e), -0.0f};
        int8_t got[6], want[6], got_e, want_e;
        for (int two = 0; two < 2; two++) {
            memset(got, 0, sizeof got);
            memset(want, 0, sizeof want);
            ref->quantize_rows(want, two ? want + 3 : NULL, &want_e, x, 3, NULL, 1, 3);
            k->quantize_rows(got, two ? got + 3 : NULL, &got_e, x, 3, NULL, 1, 3);
            ck_assert_int_eq(got_e == QUANTIZE_BAD, !(x[0] < QUANTIZE_MAX));
            ck_assert_int_eq(got_e, want_e);
            ck_assert_mem_eq(got, want, sizeof got);
        }
    }
}

START_TEST(all_exponents_have_the_bits_of_ref)
{
    with_each_isa(check_exponents, _i);
}
END_TEST

/* What the definition promises, in words of doc/numerics.md. */
START_TEST(a_group_uses_its_range_and_no_integer_is_cut_off)
{
    const struct kernels *ref;
    struct dice dice = {(uint64_t)_i};
    ck_assert_int_eq(kernels_choose("ref", &ref), 0);
    for (int two = 0; two < 2; two++)
        for (int i = 0; i < 500; i++) {
            int8_t high, low = 0, e;
            float x = group_float(&dice, i % 2 ? THRESHOLDS : MIXED, 3);
            ref->quantize_rows(&high, two ? &low : NULL, &e, &x, 1, NULL, 1, 1);
            int q = two ? 256 * high + low : high, most = two ? 32639 : 127;
            ck_assert_int_le(abs(q), most);
            if (fabsf(x) < QUANTIZE_FLOOR) {
                ck_assert_int_eq(q, 0);
                ck_assert_int_eq(e, QUANTIZE_EXPONENT_MIN);
                continue;
            }
            ck_assert_int_ge(e, QUANTIZE_EXPONENT_MIN);
            ck_assert_int_le(e, QUANTIZE_EXPONENT_MAX);
            ck_assert_float_gt(rintf(fabsf(x) * ldexpf(1.0f, 1 - e)), (float)most); /* a finer exponent would not do */
            ck_assert_float_le(fabsf((float)q * ldexpf(1.0f, e) - x), ldexpf(0.5f, e));
        }
}
END_TEST

/* One group of several is refused, or all by a fold, even zeros; what is not refused is as without it. */
START_TEST(refusal_stands_in_the_exponent)
{
    const struct kernels *k;
    ck_assert_int_eq(kernels_choose(_i ? "ref" : NULL, &k), 0);
    float x[6] = {1.0f, 2.0f, 0.0f, -INFINITY, 0.0f, 0.0f}; /* two columns */
    int8_t high[6], low[6], e[3], fold[3] = {0, 0, 0}, zeros[6] = {0};
    k->quantize_columns(high, low, e, x, 2, fold, 3, 2);
    ck_assert_int_eq(e[0], -14);
    ck_assert_int_eq(e[1], QUANTIZE_BAD);
    ck_assert_int_eq(256 * high[0] + low[0], 1 << 14);
    for (int i = 1; i < 6; i += 2)
        ck_assert(high[i] == 0 && low[i] == 0);
    k->quantize_rows(high, NULL, e, x, 2, NULL, 3, 2);
    ck_assert(e[0] == -5 && e[1] == QUANTIZE_BAD && e[2] == QUANTIZE_EXPONENT_MIN);
    ck_assert(high[0] == 32 && high[1] == 64 && high[2] == 0 && high[3] == 0);
    fold[1] = QUANTIZE_BAD;
    k->quantize_rows(high, low, e, x, 2, fold, 3, 2);
    ck_assert(e[0] == QUANTIZE_BAD && e[1] == QUANTIZE_BAD && e[2] == QUANTIZE_BAD);
    ck_assert_mem_eq(high, zeros, 6);
    ck_assert_mem_eq(low, zeros, 6);
    memset(high, 1, 6);
    k->quantize_columns(high, NULL, e, x, 2, fold, 3, 2);
    ck_assert(e[0] == QUANTIZE_BAD && e[1] == QUANTIZE_BAD);
    ck_assert_mem_eq(high, zeros, 6);
}
END_TEST

START_TEST(ties_go_to_the_even_integer)
{
    const struct kernels *ref;
    ck_assert_int_eq(kernels_choose("ref", &ref), 0);
    float x[] = {1.5f, 0.5f / 64, 1.5f / 64, 2.5f / 64, -0.5f / 64, -1.5f / 64};
    int8_t high[6], e, want[6] = {96, 0, 2, 2, 0, -2};
    ref->quantize_rows(high, NULL, &e, x, 6, NULL, 1, 6);
    ck_assert_int_eq(e, -6);
    ck_assert_mem_eq(high, want, sizeof want);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quantize");
    TCase *tc = tcase_create("quantize");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, a_group_uses_its_range_and_no_integer_is_cut_off, 0, 4);
    tcase_add_loop_test(tc, refusal_stands_in_the_exponent, 0, 2);
    tcase_add_test(tc, ties_go_to_the_even_integer);
    tcase_add_loop_test(tc, rounding_has_the_bits_of_ref, 0, 12);
    tcase_add_loop_test(tc, long_groups_have_the_bits_of_ref, 0, 5);
    tcase_add_loop_test(tc, all_exponents_have_the_bits_of_ref, 0, 16);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
