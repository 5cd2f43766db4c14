#include "unit.h"

#include <stdio.h>

#include "dht/votes.h"

static void vote(struct dht_votes *votes, const char *voter, const char *said)
{
    struct addr from, to;
    ck_assert_int_eq(addr_parse(&from, voter), 0);
    ck_assert_int_eq(addr_parse(&to, said), 0);
    dht_votes_add(votes, &from, &to);
}

static size_t winner(const struct dht_votes *votes, const char *expect)
{
    struct addr out = {0}, addr;
    size_t n = dht_votes_winner(votes, &out);
    ck_assert_int_eq(addr_parse(&addr, expect), 0);
    ck_assert(n == 0 || addr_equal(&out, &addr));
    return n;
}

START_TEST(the_majority_names_our_address)
{
    struct dht_votes votes = {0};
    ck_assert_uint_eq(winner(&votes, "80.0.0.1:1"), 0);
    vote(&votes, "81.0.1.1:1", "80.0.0.1:1");
    vote(&votes, "81.0.2.1:1", "80.0.0.1:1");
    vote(&votes, "81.0.3.1:1", "90.0.0.1:1");
    ck_assert_uint_eq(winner(&votes, "80.0.0.1:1"), 2);
    dht_votes_fini(&votes);
}
END_TEST

START_TEST(one_subnet_has_one_vote)
{
    struct dht_votes votes = {0};
    vote(&votes, "81.0.1.1:1", "80.0.0.1:1");
    vote(&votes, "81.0.2.1:1", "80.0.0.1:1");
    vote(&votes, "82.0.0.1:1", "90.0.0.1:1");
    vote(&votes, "82.0.0.2:1", "90.0.0.1:1");
    vote(&votes, "82.0.0.3:9", "90.0.0.1:1");
    ck_assert_uint_eq(votes.n, 3);
    ck_assert_uint_eq(winner(&votes, "80.0.0.1:1"), 2);
    dht_votes_fini(&votes);
}
END_TEST

START_TEST(strangers_cannot_place_us_in_a_local_network)
{
    struct dht_votes votes = {0};
    vote(&votes, "81.0.1.1:1", "10.0.0.1:1");
    vote(&votes, "81.0.1.1:1", "0.0.0.0:1");
    vote(&votes, "81.0.1.1:1", "[2601::1]:1");
    ck_assert_uint_eq(votes.n, 0);
    vote(&votes, "10.0.0.2:1", "10.0.0.1:1");
    ck_assert_uint_eq(winner(&votes, "10.0.0.1:1"), 1);
    dht_votes_fini(&votes);
}
END_TEST

START_TEST(the_latest_sixteen_count)
{
    struct dht_votes votes = {0};
    char voter[32];
    for (int i = 0; i < 2 * DHT_VOTES_MAX; i++) {
        snprintf(voter, sizeof voter, "81.0.%d.1:1", i);
        vote(&votes, voter, i < DHT_VOTES_MAX ? "80.0.0.1:1" : "90.0.0.1:1");
    }
    ck_assert_uint_eq(votes.n, DHT_VOTES_MAX);
    ck_assert_uint_eq(winner(&votes, "90.0.0.1:1"), DHT_VOTES_MAX);
    dht_votes_fini(&votes);
}
END_TEST

/* Whatever was said by whom: the winner is the one that counting everybody gives, the latest of equals. */
START_TEST(the_winner_has_most)
{
    struct dht_votes votes = {0};
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "votes");
    for (unsigned turn = 0; turn < 300; turn++) {
        struct addr voter = {.family = 4, .ip = {81, 0, (uint8_t)rng_below(&rng, 40), 1}, .port = 1};
        struct addr said = {.family = 4, .ip = {80, 0, 0, (uint8_t)rng_below(&rng, 1 + (uint64_t)_i)}, .port = (uint16_t)turn},
                    out;
        dht_votes_add(&votes, &voter, &said);
        size_t best = 0, best_i = 0;
        for (size_t i = 0; i < votes.n; i++) {
            size_t n = 0;
            for (size_t j = 0; j < votes.n; j++)
                n += votes.vote[i].said.ip[3] == votes.vote[j].said.ip[3];
            if (n >= best) {
                best = n;
                best_i = i;
            }
        }
        ck_assert_uint_eq(dht_votes_winner(&votes, &out), best);
        ck_assert(addr_equal(&out, &votes.vote[best_i].said));
    }
    dht_votes_fini(&votes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-votes");
    TCase *all = tcase_create("votes");
    tcase_add_test(all, the_majority_names_our_address);
    tcase_add_test(all, one_subnet_has_one_vote);
    tcase_add_test(all, strangers_cannot_place_us_in_a_local_network);
    tcase_add_test(all, the_latest_sixteen_count);
    tcase_add_loop_test(all, the_winner_has_most, 0, 5);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
