/* tests/kernels/test_math.c - our exp, log, sine and cosine against a float64 libm. */
#include "kernels/ref/rope_table.h"
#include "tests/kernels/exact.h"
#include "tests/kernels/kernels_test.h"

#define STRIDE 8191 /* between the bit patterns tried; prime */

/* The greatest error over all the bit patterns from..to, both signs when told. */
static double worst(float (*f)(float), double (*exact)(double), float least, float most)
{
    double worst_ulps = 0.0;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += STRIDE) {
        float x = float_of((uint32_t)bits);
        if (!(x >= least && x <= most))
            continue;
        double off = ulps_off(f(x), exact((double)x));
        worst_ulps = off > worst_ulps ? off : worst_ulps;
    }
    return worst_ulps;
}

/* The bounds are those that doc/numerics.md states, a little above the greatest error over all floats: tests/bench/ulp. */
START_TEST(errors_stay_within_the_stated_bounds)
{
    ck_assert_double_lt(worst(ref_exp, exp, -87.33f, 88.72f), 1.0605);
    ck_assert_double_lt(worst(ref_log, log, 0x1p-126f, 0x1.fffffep+127f), 0.8266);
    ck_assert_double_lt(worst(ref_rsqrt, exact_rsqrt, 0x1p-149f, 0x1.fffffep+127f), 1.4904);
    ck_assert_double_lt(worst(ref_sigmoid, exact_sigmoid, -88.72f, 0x1.fffffep+127f), 2.4808);
    ck_assert_double_lt(worst(ref_silu, exact_silu, -87.33f, 0x1.fffffep+127f), 2.8607);
    ck_assert_double_lt(worst(ref_silu, exact_silu, -88.72f, 0x1.fffffep+127f), 4.0451);
    ck_assert_double_lt(worst(our_sin, sin, -1e5f, 1e5f), 1.5599);
    ck_assert_double_lt(worst(our_cos, cos, -1e5f, 1e5f), 1.5670);
}
END_TEST

START_TEST(sine_and_cosine_are_near_everywhere)
{
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += STRIDE) {
        float x = float_of((uint32_t)bits), sine, cosine;
        if (!(fabsf(x) <= 1e5f))
            continue;
        ref_sincos(&sine, &cosine, x);
        ck_assert_double_lt(fabs((double)sine - sin((double)x)), 9.31e-8);
        ck_assert_double_lt(fabs((double)cosine - cos((double)x)), 9.35e-8);
    }
    float sine, cosine;
    ref_sincos(&sine, &cosine, 0.0f);
    ck_assert(sine == 0.0f && cosine == 1.0f);
}
END_TEST

START_TEST(ends_of_the_ranges_are_as_promised)
{
    ck_assert(ref_exp(0.0f) == 1.0f && ref_exp(-0.0f) == 1.0f);
    ck_assert(ref_exp(-87.34f) == 0.0f && !signbit(ref_exp(-INFINITY)) && ref_exp(-INFINITY) == 0.0f);
    ck_assert(ref_exp(-87.33f) >= 0x1p-126f);
    ck_assert(isinf(ref_exp(88.73f)) && isfinite(ref_exp(88.72f)) && isinf(ref_exp(INFINITY)));
    ck_assert(isnan(ref_exp(NAN)) && isnan(ref_log(NAN)) && isnan(ref_sigmoid(NAN)) && isnan(ref_silu(NAN)));
    ck_assert(ref_log(1.0f) == 0.0f && ref_log(INFINITY) == INFINITY);
    ck_assert(ref_log(0.0f) == -INFINITY && ref_log(-0.0f) == -INFINITY && ref_log(0x1p-127f) == -INFINITY);
    ck_assert(isnan(ref_log(-1.0f)) && isnan(ref_log(-INFINITY)));
    ck_assert(ref_sigmoid(-88.72f) > 0.0f && ref_sigmoid(-88.73f) == 0.0f && ref_sigmoid(16.64f) == 1.0f);
    ck_assert(ref_silu(-88.73f) == 0.0f && signbit(ref_silu(-88.73f)) && signbit(ref_silu(-0.0f)) && !signbit(ref_silu(0.0f)));
    ck_assert(isnan(ref_silu(-INFINITY)) && ref_silu(INFINITY) == INFINITY);
    ck_assert(isinf(ref_rsqrt(0.0f)) && ref_rsqrt(-0.0f) == -INFINITY && ref_rsqrt(INFINITY) == 0.0f && isnan(ref_rsqrt(-1.0f)));
    ck_assert(ref_sigmoid(0.0f) == 0.5f && ref_sigmoid(-INFINITY) == 0.0f && ref_sigmoid(INFINITY) == 1.0f);
}
END_TEST

START_TEST(exp_grows_and_log_undoes_it)
{
    float before = 0.0f;
    for (float x = -87.0f; x < 88.0f; x += 0.01f) {
        float y = ref_exp(x);
        ck_assert(y > before);
        ck_assert_float_eq_tol(ref_log(y), x, 1e-5f);
        before = y;
    }
}
END_TEST

START_TEST(rope_table_turns_by_position_and_pair)
{
    enum { T = 300, HD = 32 };
    static float cosine[T * HD / 2], sine[T * HD / 2];
    ref_rope_table(cosine, sine, 10000.0f, T, HD);
    for (int t = 0; t < T; t++) {
        for (int i = 0; i < HD / 2; i++) {
            double angle = t * pow(10000.0, -2.0 * i / HD);
            ck_assert_double_lt(fabs((double)cosine[t * HD / 2 + i] - cos(angle)), 1e-4);
            ck_assert_double_lt(fabs((double)sine[t * HD / 2 + i] - sin(angle)), 1e-4);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("math");
    TCase *tc = tcase_create("math");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, errors_stay_within_the_stated_bounds);
    tcase_add_test(tc, sine_and_cosine_are_near_everywhere);
    tcase_add_test(tc, ends_of_the_ranges_are_as_promised);
    tcase_add_test(tc, exp_grows_and_log_undoes_it);
    tcase_add_test(tc, rope_table_turns_by_position_and_pair);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
