/* A heap of deadlines beside a plain list of them. */
#include "base/io.h"
#include "base/random.h"
#include "net/deadlines.h"
#include "unit.h"

#define N 50

static uint64_t earliest(const uint64_t *at_us)
{
    uint64_t first = IO_NEVER;
    for (size_t i = 0; i < N; i++)
        first = at_us[i] < first ? at_us[i] : first;
    return first;
}

START_TEST(the_earliest_is_on_top_whatever_moves)
{
    struct deadlines all;
    struct deadline d[N] = {{0}};
    uint64_t at_us[N];
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "deadlines");
    ck_assert_int_eq(deadlines_init(&all, N), 0);
    ck_assert_ptr_null(deadlines_first(&all));
    for (size_t i = 0; i < N; i++)
        at_us[i] = IO_NEVER;
    for (size_t step = 0; step < 5000; step++) {
        size_t i = rng_below(&rng, N);
        at_us[i] = rng_below(&rng, 4) == 0 ? IO_NEVER : rng_below(&rng, 100);
        deadlines_set(&all, &d[i], at_us[i]);
        const struct deadline *first = deadlines_first(&all);
        ck_assert_uint_eq(first ? first->at_us : IO_NEVER, earliest(at_us));
        ck_assert(!first || at_us[first - d] == first->at_us);
    }
    for (size_t i = 0; i < N; i++)
        deadlines_set(&all, &d[i], IO_NEVER);
    ck_assert_ptr_null(deadlines_first(&all));
    deadlines_fini(&all);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net-deadlines");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, the_earliest_is_on_top_whatever_moves, 0, 10);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
