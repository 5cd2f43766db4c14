/* tests/unit/test_sim_draw.c - random quantities have the shape they are named after. */
#include "sim/draw.h"
#include "unit.h"

#define N 200000

/* Of an exponential variable with mean 1: half lie below ln 2, e^-3 above 3; the mean of its square is 2. */
START_TEST(exponential_is_exponential)
{
    struct rng rng;
    double sum = 0, squares = 0;
    size_t n_below = 0, n_long = 0;
    rng_init(&rng, (uint64_t)_i, "test");
    for (int i = 0; i < N; i++) {
        double e = draw_exponential(&rng);
        ck_assert_double_ge(e, 0);
        ck_assert_double_lt(e, 23);
        sum += e;
        squares += e * e;
        n_below += e < 0.69314718;
        n_long += e > 3;
    }
    ck_assert_double_eq_tol(sum / N, 1, 0.01);
    ck_assert_double_eq_tol(squares / N, 2, 0.05);
    ck_assert_double_eq_tol((double)n_below / N, 0.5, 0.005);
    ck_assert_double_eq_tol((double)n_long / N, 0.049787, 0.002);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/draw");
    TCase *tc = tcase_create("draw");
    tcase_add_loop_test(tc, exponential_is_exponential, 0, 5);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
