#include "unit.h"

#include <string.h>

#include "base/random.h"

/* The known answers for philox4x32-10 that the authors publish with Random123. */
START_TEST(philox_gives_the_known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], wanted[4];
    } row[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    uint32_t out[4];
    random_philox(out, row[_i].counter, row[_i].key);
    ck_assert_mem_eq(out, row[_i].wanted, sizeof out);
}
END_TEST

START_TEST(a_purpose_has_its_key)
{
    uint32_t key[2], other[2];
    struct hash seed = hash_bytes("abc", 3);
    random_key(key, &seed, "init");
    ck_assert_uint_eq(key[0], 0xd5dbf839);
    ck_assert_uint_eq(key[1], 0x4d03974a);
    random_key(other, &seed, "drop");
    ck_assert_mem_ne(key, other, sizeof key);
    seed.byte[0] ^= 1;
    random_key(other, &seed, "init");
    ck_assert_mem_ne(key, other, sizeof key);
}
END_TEST

START_TEST(a_word_needs_no_words_before_it)
{
    static const uint32_t key[2] = {1, 2};
    uint32_t block[4];
    for (uint32_t i = 0; i < 12; i++) {
        random_philox(block, (const uint32_t[4]){i / 4}, key);
        ck_assert_uint_eq(random_word(key, i), block[i % 4]);
    }
    ck_assert_uint_eq(random_word(key, (UINT64_C(1) << 36) + 6), 0xba49c1d7); /* past 2^32 blocks */
}
END_TEST

START_TEST(a_stream_is_pinned_by_seed_and_purpose)
{
    static const uint32_t wanted[] = {0x794064a0, 0x0cfcc862, 0xf0a3f64e, 0x3d8e99e9, 0x90806983, 0xf461238d};
    struct rng rng, other;
    rng_init(&rng, UINT64_C(0x0102030405060708), "churn");
    for (size_t i = 0; i < 4; i++)
        ck_assert_uint_eq(rng_u32(&rng), wanted[i]);
    ck_assert_uint_eq(rng_u64(&rng), (uint64_t)wanted[5] << 32 | wanted[4]);
    rng_init(&other, UINT64_C(0x0102030405060709), "churn");
    ck_assert_uint_ne(rng_u32(&other), wanted[0]);
    rng_init(&other, UINT64_C(0x0102030405060708), "loss");
    ck_assert_uint_ne(rng_u32(&other), wanted[0]);
}
END_TEST

START_TEST(below_is_below_and_even)
{
    enum { N = 5, DRAWS = 50000 };
    struct rng rng;
    int n_seen[N] = {0};
    rng_init(&rng, (uint64_t)_i, "below");
    for (int i = 0; i < DRAWS; i++) {
        uint64_t v = rng_below(&rng, N);
        ck_assert_uint_lt(v, N);
        n_seen[v]++;
    }
    for (int i = 0; i < N; i++) /* standard deviation 89; six of them */
        ck_assert_int_lt(abs(n_seen[i] - DRAWS / N), 540);
    ck_assert_uint_eq(rng_below(&rng, 1), 0);
}
END_TEST

/* With n = 3 * 2^62 a plain remainder would fall below 2^62 half of the time, not a third. */
START_TEST(below_has_no_bias_for_large_bounds)
{
    enum { DRAWS = 9000 };
    struct rng rng;
    int n_low = 0;
    rng_init(&rng, (uint64_t)_i, "bias");
    for (int i = 0; i < DRAWS; i++)
        n_low += rng_below(&rng, UINT64_C(3) << 62) < UINT64_C(1) << 62;
    ck_assert_int_lt(abs(n_low - DRAWS / 3), 270);
}
END_TEST

START_TEST(unit_lies_in_its_interval)
{
    struct rng rng;
    float least = 1, most = 0;
    rng_init(&rng, (uint64_t)_i, "unit");
    for (int i = 0; i < 20000; i++) {
        float v = rng_unit(&rng);
        ck_assert(v >= 0 && v < 1);
        ck_assert(v * 0x1p24f == (float)(uint32_t)(v * 0x1p24f));
        least = v < least ? v : least;
        most = v > most ? v : most;
    }
    ck_assert(least < 0.01f && most > 0.99f);
}
END_TEST

START_TEST(bytes_are_the_words_in_little_endian)
{
    static const uint8_t wanted[] = {0xa0, 0x64, 0x40, 0x79, 0x62, 0xc8, 0xfc};
    struct rng rng;
    uint8_t out[8] = {[7] = 0x55};
    rng_init(&rng, UINT64_C(0x0102030405060708), "churn");
    rng_bytes(&rng, out, 7);
    ck_assert_mem_eq(out, wanted, 7);
    ck_assert_uint_eq(out[7], 0x55);
    rng_bytes(&rng, NULL, 0);
    ck_assert_uint_eq(rng_u32(&rng), 0xf0a3f64e);
}
END_TEST

START_TEST(the_system_does_not_repeat_itself)
{
    struct rng a, b;
    rng_init_from_system(&a);
    rng_init_from_system(&b);
    ck_assert_uint_ne(rng_u64(&a), rng_u64(&b));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/random");
    TCase *tcase = tcase_create("random");
    tcase_add_loop_test(tcase, philox_gives_the_known_answers, 0, 3);
    tcase_add_test(tcase, a_purpose_has_its_key);
    tcase_add_test(tcase, a_word_needs_no_words_before_it);
    tcase_add_test(tcase, a_stream_is_pinned_by_seed_and_purpose);
    tcase_add_loop_test(tcase, below_is_below_and_even, 0, 4);
    tcase_add_loop_test(tcase, below_has_no_bias_for_large_bounds, 0, 4);
    tcase_add_loop_test(tcase, unit_lies_in_its_interval, 0, 4);
    tcase_add_test(tcase, bytes_are_the_words_in_little_endian);
    tcase_add_test(tcase, the_system_does_not_repeat_itself);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
