#include "unit.h"

#include "base/random.h"
#include "dht/density.h"

#define N_NODES 10000
#define N_WALKS 400

/* Keys among nodes that lie evenly: the distance to the one of rank 16, when one of `one_of` takes part. */
static uint64_t spread(struct rng *rng, unsigned one_of)
{
    uint64_t nearest[DHT_SPREAD_K];
    size_t n = 0;
    for (size_t i = 0; i < N_NODES / one_of; i++) {
        uint64_t at = rng_u64(rng);
        size_t j = n < DHT_SPREAD_K ? n++ : DHT_SPREAD_K;
        if (j == DHT_SPREAD_K && at >= nearest[--j])
            continue;
        for (; j > 0 && nearest[j - 1] > at; j--)
            nearest[j] = nearest[j - 1];
        nearest[j] = at;
    }
    return nearest[DHT_SPREAD_K - 1];
}

START_TEST(chance_seldom_lies_thin_and_liars_always)
{
    struct rng rng;
    struct dht_density density = {0};
    size_t n_false = 0, n_missed = 0;
    rng_init(&rng, (uint64_t)_i, "density");
    dht_density_note(&density, spread(&rng, 1));
    for (size_t i = 0; i < N_WALKS; i++) {
        uint64_t honest = spread(&rng, 1);
        n_false += dht_density_is_thin(&density, honest);
        n_missed += !dht_density_is_thin(&density, spread(&rng, 10));
        dht_density_note(&density, honest);
    }
    ck_assert_uint_le(n_false, N_WALKS / 20);
    ck_assert_uint_eq(n_missed, 0);
}
END_TEST

START_TEST(without_other_walks_everywhere_is_thin)
{
    struct dht_density density = {0};
    ck_assert(dht_density_is_thin(&density, 1));
    ck_assert(dht_density_is_thin(&density, DHT_SPREAD_NONE));
    dht_density_note(&density, DHT_SPREAD_NONE);
    ck_assert(dht_density_is_thin(&density, 1));
    dht_density_note(&density, 1000);
    ck_assert(!dht_density_is_thin(&density, 1));
    ck_assert(!dht_density_is_thin(&density, 2001));
    ck_assert(dht_density_is_thin(&density, 2002));
    ck_assert(dht_density_is_thin(&density, DHT_SPREAD_NONE));
}
END_TEST

START_TEST(four_walks_of_seven_may_have_been_led_astray)
{
    struct dht_density density = {0};
    for (size_t i = 0; i < 70; i++) {
        dht_density_note(&density, i % 7 < 3 ? 1000 : 20000);
        ck_assert(dht_density_is_thin(&density, 20000));
    }
}
END_TEST

START_TEST(a_swarm_that_shrinks_is_followed)
{
    struct dht_density density = {0};
    for (size_t i = 0; i < DHT_DENSITY_WALKS; i++)
        dht_density_note(&density, 1000);
    size_t n = 0;
    while (dht_density_is_thin(&density, 20000)) {
        dht_density_note(&density, 20000);
        ck_assert_uint_lt(++n, 40);
    }
    ck_assert_uint_gt(n, 4);
}
END_TEST

START_TEST(two_walks_of_seven_may_have_ended_in_a_trap)
{
    struct dht_density density = {0};
    for (size_t i = 0; i < DHT_DENSITY_WALKS; i++)
        dht_density_note(&density, i >= 5 ? 10 : 1000);
    ck_assert(!dht_density_is_thin(&density, 1500));
    ck_assert(dht_density_is_thin(&density, 2500));
}
END_TEST

START_TEST(one_family_led_astray_is_enough)
{
    struct dht_density v4 = {0}, v6 = {0}, none = {0};
    for (size_t i = 0; i < DHT_DENSITY_WALKS; i++) {
        dht_density_note(&v4, 1000);
        dht_density_note(&v6, 50000);
    }
    ck_assert(!dht_density_is_astray(&v4, 1100, &v6, 51000));
    ck_assert(dht_density_is_astray(&v4, 11000, &v6, 51000)); /* those of the other family may be liars all */
    ck_assert(dht_density_is_astray(&v4, 1100, &v6, 510000));
    ck_assert(dht_density_is_astray(&v4, 1100, &v6, DHT_SPREAD_NONE)); /* there were many once */
    ck_assert(!dht_density_is_astray(&v4, 1100, &none, DHT_SPREAD_NONE));
    ck_assert(!dht_density_is_astray(&none, DHT_SPREAD_NONE, &v6, 51000));
    ck_assert(dht_density_is_astray(&v4, 11000, &none, DHT_SPREAD_NONE));
    ck_assert(dht_density_is_astray(&none, DHT_SPREAD_NONE, &none, DHT_SPREAD_NONE));
}
END_TEST

START_TEST(where_it_is_bare_was_hardly_chance)
{
    struct dht_density density = {0};
    ck_assert(!dht_density_is_bare(&density, 1000)); /* compared to what? */
    dht_density_note(&density, 1000);
    ck_assert(!dht_density_is_bare(&density, 4000));
    ck_assert(dht_density_is_bare(&density, 4100));
    ck_assert(!dht_density_is_bare(&density, DHT_SPREAD_NONE));
}
END_TEST

START_TEST(great_spreads_do_not_overflow)
{
    struct dht_density density = {0};
    dht_density_note(&density, UINT64_MAX - 1);
    ck_assert(!dht_density_is_thin(&density, UINT64_MAX - 1));
    ck_assert(!dht_density_is_thin(&density, 0));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-density");
    TCase *all = tcase_create("density");
    tcase_add_loop_test(all, chance_seldom_lies_thin_and_liars_always, 0, 4);
    tcase_add_test(all, without_other_walks_everywhere_is_thin);
    tcase_add_test(all, four_walks_of_seven_may_have_been_led_astray);
    tcase_add_test(all, a_swarm_that_shrinks_is_followed);
    tcase_add_test(all, two_walks_of_seven_may_have_ended_in_a_trap);
    tcase_add_test(all, one_family_led_astray_is_enough);
    tcase_add_test(all, where_it_is_bare_was_hardly_chance);
    tcase_add_test(all, great_spreads_do_not_overflow);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
