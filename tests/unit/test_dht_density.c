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
    ck_assert(!dht_density_is_thin(&density, 3002));
    ck_assert(dht_density_is_thin(&density, 3003));
    ck_assert(dht_density_is_thin(&density, DHT_SPREAD_NONE));
}
END_TEST

START_TEST(six_walks_of_seven_may_have_been_led_astray)
{
    struct dht_density density = {0};
    for (size_t i = 0; i < DHT_DENSITY_WALKS; i++)
        dht_density_note(&density, i == 3 ? 1000 : 20000);
    ck_assert(dht_density_is_thin(&density, 20000));
    for (size_t i = 0; i < 3; i++)
        dht_density_note(&density, 20000);
    ck_assert(dht_density_is_thin(&density, 20000));
    dht_density_note(&density, 20000); /* seven in a row: this is what the swarm has become */
    ck_assert(!dht_density_is_thin(&density, 20000));
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
    tcase_add_test(all, six_walks_of_seven_may_have_been_led_astray);
    tcase_add_test(all, great_spreads_do_not_overflow);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
