#include "unit.h"

#include "dht/id.h"
#include "dht/tally.h"

#define N_ADDRS 400

static struct addr draw(struct rng *rng)
{
    bool is_v6 = rng_below(rng, 3) == 0;
    struct addr addr = {.family = is_v6 ? 6 : 4, .port = 1};
    addr.ip[0] = is_v6 ? 0x20 : 80;
    addr.ip[2] = (uint8_t)rng_below(rng, 60);
    addr.ip[is_v6 ? 6 : 3] = (uint8_t)rng_below(rng, 4); /* within the subnet */
    return addr;
}

/* Adds and takes away at random, and holds the counts to those of a list. */
START_TEST(counts_are_those_of_a_list)
{
    struct rng rng;
    struct dht_tally tally;
    struct addr held[N_ADDRS];
    size_t n = 0;
    rng_init(&rng, (uint64_t)_i, "tally");
    dht_tally_init(&tally, rng_u32(&rng));
    for (int turn = 0; turn < 4000; turn++) {
        bool is_growing = turn / 1000 % 2 == 0;
        if (n < N_ADDRS && rng_below(&rng, 3) < (is_growing ? 2 : 1)) {
            held[n] = draw(&rng);
            ck_assert_int_eq(dht_tally_add(&tally, dht_tally_subnet(&held[n++])), 0);
        } else if (n > 0) {
            size_t i = rng_below(&rng, n);
            dht_tally_remove(&tally, dht_tally_subnet(&held[i]));
            held[i] = held[--n];
        }
        struct addr addr = draw(&rng);
        size_t n_same = 0;
        for (size_t i = 0; i < n; i++)
            n_same += dht_id_same_subnet(&held[i], &addr);
        if (dht_tally_count(&tally, dht_tally_subnet(&addr)) != n_same)
            ck_abort_msg("a count is wrong");
    }
    while (n > 0)
        dht_tally_remove(&tally, dht_tally_subnet(&held[--n]));
    ck_assert_uint_eq(tally.n, 0);
    dht_tally_fini(&tally);
}
END_TEST

START_TEST(local_addresses_are_not_counted)
{
    struct dht_tally tally;
    struct addr addr = {.family = 4, .ip = {10, 0, 0, 1}, .port = 1}, none = {0};
    dht_tally_init(&tally, 1);
    ck_assert_int_eq(dht_tally_add(&tally, dht_tally_subnet(&addr)), 0);
    ck_assert_int_eq(dht_tally_add(&tally, dht_tally_subnet(&none)), 0); /* ourselves */
    ck_assert_uint_eq(dht_tally_count(&tally, dht_tally_subnet(&addr)), 0);
    ck_assert_uint_eq(tally.capacity, 0);
    dht_tally_remove(&tally, dht_tally_subnet(&addr));
    dht_tally_fini(&tally);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-tally");
    TCase *all = tcase_create("subnet");
    tcase_add_loop_test(all, counts_are_those_of_a_list, 0, 8);
    tcase_add_test(all, local_addresses_are_not_counted);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
