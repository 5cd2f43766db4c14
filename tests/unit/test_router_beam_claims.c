/* tests/unit/test_router_beam_claims.c - who is kept of those who claim an expert, and who is asked first. */
#include "router/beam_claims.h"

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "tests/unit/unit.h"

#define NOW_S 1700000000u
#define NOW_US ((uint64_t)NOW_S * 1000000)

static const struct beam_bias no_bias;

static struct dht_entry says(uint8_t who, const struct message_claim *claim, size_t n)
{
    struct dht_entry entry = {
        .writer = {{who}}, .addr = {.family = 4, .ip = {10, 0, 0, who}, .port = 9}, .expiry_s = NOW_S + 300};
    uint8_t bytes[MESSAGE_CLAIMS_BYTES];
    entry.n_bytes = (uint16_t)message_claims_encode(claim, n, bytes);
    memcpy(entry.bytes, bytes, entry.n_bytes);
    return entry;
}

static struct dht_entry says_one(uint8_t who, uint8_t index, uint8_t epoch, uint32_t version)
{
    struct message_claim claim = {.index = index, .epoch = epoch, .version = version, .load = 10u * who};
    return says(who, &claim, 1);
}

static struct beam_claims *read_row(const struct dht_entry *entry, size_t n, const struct beam_bias *bias)
{
    struct beam_claims *claims;
    ck_assert_int_eq(beam_claims_new(entry, n, 128, UINT64_MAX, NOW_US, bias, &claims), 0);
    return claims;
}

START_TEST(the_larger_claim_comes_first)
{
    struct dht_entry entry[] = {says_one(1, 7, 1, 5), says_one(2, 7, 2, 0), says_one(4, 7, 1, 9), says_one(3, 7, 1, 9)};
    message_claims_set_hardware(entry[2].bytes, HARDWARE_GPU);
    struct beam_claims *claims = read_row(entry, 4, &no_bias);
    struct beam_claim claim[BEAM_CLAIMS_MAX];
    ck_assert_uint_eq(beam_claims_of(claims, 7, 128, NOW_US, &no_bias, claim), 4);
    const uint8_t order[] = {2, 4, 3, 1};
    for (size_t i = 0; i < 4; i++) {
        ck_assert_uint_eq(claim[i].peer.byte[0], order[i]);
        ck_assert_uint_eq(claim[i].addr.ip[3], order[i]);
    }
    ck_assert_uint_eq(claim[2].epoch, 1);
    ck_assert_uint_eq(claim[2].version, 9);
    ck_assert_uint_eq(claim[2].load, 30);
    ck_assert_int_eq(claim[1].hardware, HARDWARE_GPU);
    ck_assert_int_eq(claim[2].hardware, HARDWARE_UNKNOWN);
    ck_assert_uint_eq(beam_claims_of(claims, 8, 128, NOW_US, &no_bias, claim), 0);
    free(claims);
}
END_TEST

START_TEST(the_best_of_many_are_kept)
{
    struct dht_entry entry[20];
    struct beam_claim claim[BEAM_CLAIMS_MAX];
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "many");
    for (uint8_t i = 0; i < 20; i++)
        entry[i] = says_one(i, 7, i, 0);
    for (size_t i = 19; i > 0; i--) {
        size_t j = rng_below(&rng, i + 1);
        struct dht_entry swap = entry[i];
        entry[i] = entry[j];
        entry[j] = swap;
    }
    struct beam_claims *claims = read_row(entry, 20, &no_bias);
    ck_assert_uint_eq(beam_claims_of(claims, 7, 128, NOW_US, &no_bias, claim), BEAM_CLAIMS_MAX);
    for (size_t i = 0; i < BEAM_CLAIMS_MAX; i++)
        ck_assert_uint_eq(claim[i].epoch, 19 - i);
    ck_assert_uint_le(beam_claims_bytes(claims),
                      sizeof *claims + BEAM_CLAIMS_MAX * (sizeof *claims->said + sizeof *claims->writer));
    free(claims);
}
END_TEST

static float only_five(void *arg, uint32_t expert, const struct beam_claim *claim)
{
    (void)arg;
    ck_assert_uint_eq(expert, 128 + 7);
    return claim->peer.byte[0] == 5 ? -2 : -INFINITY;
}

/* However many lie, and however greatly. */
START_TEST(those_who_cannot_be_asked_keep_nobody_out)
{
    const struct beam_bias bias = {only_five, NULL};
    struct dht_entry entry[200];
    struct beam_claim claim[BEAM_CLAIMS_MAX];
    for (uint8_t i = 0; i < 200; i++)
        entry[i] = i == 150 ? says_one(5, 7, 0, 0) : says_one((uint8_t)(i + 10), 7, 255, i);
    struct beam_claims *claims = read_row(entry, 200, &bias);
    size_t at = 0;
    uint32_t index;
    float sum;
    ck_assert(beam_claims_next(claims, &at, 128, NOW_US, &bias, &index, &sum));
    ck_assert_uint_eq(index, 7);
    ck_assert(sum == -2);
    ck_assert(!beam_claims_next(claims, &at, 128, NOW_US, &bias, &index, &sum));
    ck_assert_uint_eq(beam_claims_of(claims, 7, 128, NOW_US, &bias, claim), 1);
    ck_assert_uint_eq(claim[0].peer.byte[0], 5);
    free(claims);
}
END_TEST

START_TEST(a_row_is_gone_through_in_order)
{
    struct message_claim all[MESSAGE_ROW_EXPERTS];
    for (uint8_t i = 0; i < MESSAGE_ROW_EXPERTS; i++)
        all[i] = (struct message_claim){.index = i};
    struct dht_entry entry[] = {says(1, all, 64), says(2, all + 10, 20)};
    entry[0].expiry_s = NOW_S + 10;
    struct beam_claims *claims;
    ck_assert_int_eq(beam_claims_new(entry, 2, 128, ((uint64_t)1 << 40) - 1, NOW_US, &no_bias, &claims), 0);
    size_t at = 0;
    uint32_t index;
    float sum;
    for (uint32_t i = 0; i < 40; i++) {
        ck_assert(beam_claims_next(claims, &at, 128, NOW_US, &no_bias, &index, &sum));
        ck_assert_uint_eq(index, i);
        ck_assert(sum == 0);
    }
    ck_assert(!beam_claims_next(claims, &at, 128, NOW_US, &no_bias, &index, &sum));
    at = 0; /* later the second alone is left */
    for (uint32_t i = 10; i < 30; i++) {
        ck_assert(beam_claims_next(claims, &at, 128, NOW_US + 10000000, &no_bias, &index, &sum));
        ck_assert_uint_eq(index, i);
    }
    ck_assert(!beam_claims_next(claims, &at, 128, NOW_US + 10000000, &no_bias, &index, &sum));
    free(claims);
}
END_TEST

START_TEST(nobody_is_nobody)
{
    struct dht_entry entry[] = {says_one(1, 7, 1, 5), says_one(2, 7, 1, 5), says_one(3, 7, 1, 5), says_one(4, 7, 1, 5)};
    entry[0].addr.port = 0;
    entry[1].expiry_s = NOW_S;
    entry[2].bytes[0] = 99;
    entry[3].bytes[4] = 64;
    struct beam_claims *claims = read_row(entry, 4, &no_bias);
    size_t at = 0;
    uint32_t index;
    float sum;
    ck_assert_ptr_null(claims);
    ck_assert_uint_eq(beam_claims_bytes(claims), 0);
    ck_assert(!beam_claims_next(claims, &at, 128, NOW_US, &no_bias, &index, &sum));
    ck_assert_ptr_null(read_row(NULL, 0, &no_bias));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("router/beam_claims");
    TCase *tcase = tcase_create("claims");
    tcase_add_test(tcase, the_larger_claim_comes_first);
    tcase_add_loop_test(tcase, the_best_of_many_are_kept, 0, 8);
    tcase_add_test(tcase, those_who_cannot_be_asked_keep_nobody_out);
    tcase_add_test(tcase, a_row_is_gone_through_in_order);
    tcase_add_test(tcase, nobody_is_nobody);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
