/* tests/unit/test_router_beam_cache.c - a bounded number of blocks in bounded memory; what was not looked at for the longest goes. */
#include "router/beam_cache.h"

#include "base/random.h"
#include "tests/unit/unit.h"

static struct beam_cache cache;

static struct beam_claims *claims_of(uint16_t n)
{
    struct beam_claims *claims = calloc(1, sizeof *claims + n * (sizeof *claims->said + sizeof *claims->writer));
    ck_assert_ptr_nonnull(claims);
    claims->n_said = claims->n_writers = n;
    return claims;
}

START_TEST(the_oldest_goes)
{
    ck_assert_int_eq(beam_cache_init(&cache, 4, 100000), 0);
    for (uint32_t i = 0; i < 4; i++)
        ck_assert_ptr_nonnull(beam_cache_add(&cache, i % 2, i));
    ck_assert_ptr_null(beam_cache_find(&cache, 0, 1)); /* another level */
    ck_assert_ptr_nonnull(beam_cache_find(&cache, 0, 0));
    beam_cache_find(&cache, 1, 1)->is_reading = true;
    ck_assert_ptr_nonnull(beam_cache_find(&cache, 1, 3));
    beam_cache_add(&cache, 0, 9); /* 2 goes */
    ck_assert_ptr_null(beam_cache_find(&cache, 0, 2));
    beam_cache_add(&cache, 0, 8); /* then 0 */
    ck_assert_ptr_null(beam_cache_find(&cache, 0, 0));
    beam_cache_add(&cache, 0, 7); /* 1 is being read: 3 */
    ck_assert_ptr_null(beam_cache_find(&cache, 1, 3));
    ck_assert_ptr_nonnull(beam_cache_find(&cache, 1, 1));
    for (uint32_t i = 7; i < 10; i++)
        beam_cache_find(&cache, 0, i)->is_reading = true;
    ck_assert_ptr_null(beam_cache_add(&cache, 0, 5));
    beam_cache_fini(&cache);
}
END_TEST

START_TEST(claims_make_room_for_claims)
{
    size_t bytes = sizeof(struct beam_claims) + 10 * (sizeof(struct beam_said) + sizeof(struct beam_writer));
    ck_assert_int_eq(beam_cache_init(&cache, 8, beam_cache_bytes(8) + 3 * bytes), 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct beam_row *row = beam_cache_add(&cache, 0, i);
        row->until_us = 5;
        ck_assert_int_eq(beam_cache_keep(&cache, row, claims_of(10)), 0);
    }
    ck_assert_uint_eq(cache.bytes, cache.bytes_max);
    beam_cache_find(&cache, 0, 0);
    ck_assert_int_eq(beam_cache_keep(&cache, beam_cache_add(&cache, 0, 3), claims_of(9)), 0);
    ck_assert_ptr_null(beam_cache_find(&cache, 0, 1)->claims); /* the oldest, and it is not known any more */
    ck_assert_uint_eq(beam_cache_find(&cache, 0, 1)->until_us, 0);
    ck_assert_uint_eq(beam_cache_find(&cache, 0, 0)->until_us, 5);
    ck_assert_uint_lt(cache.bytes, cache.bytes_max);
    /* What is replaced does not count. */
    ck_assert_int_eq(beam_cache_keep(&cache, beam_cache_find(&cache, 0, 3), claims_of(10)), 0);
    ck_assert_ptr_nonnull(beam_cache_find(&cache, 0, 2)->claims);
    ck_assert_int_eq(beam_cache_keep(&cache, beam_cache_find(&cache, 0, 3), NULL), 0);
    ck_assert_uint_eq(cache.bytes, cache.bytes_max - bytes);
    /* What is too large for the whole. */
    ck_assert_int_eq(beam_cache_keep(&cache, beam_cache_find(&cache, 0, 3), claims_of(100)), HANSE_EFULL);
    ck_assert_ptr_null(beam_cache_find(&cache, 0, 3)->claims);
    ck_assert_uint_eq(cache.bytes, beam_cache_bytes(8));
    beam_cache_fini(&cache);
}
END_TEST

/* Against a plain list. */
START_TEST(what_is_there_is_found)
{
    enum { ROWS = 37, NAMES = 90 };
    struct rng rng;
    uint64_t looked[NAMES] = {0}, clock = 0; /* 0: not there */
    rng_init(&rng, (uint64_t)_i, "cache");
    ck_assert_int_eq(beam_cache_init(&cache, ROWS, 1000000), 0);
    for (size_t i = 0; i < 3000; i++) {
        size_t name = rng_below(&rng, NAMES), n = 0, oldest = NAMES;
        for (size_t j = 0; j < NAMES; j++) {
            n += looked[j] > 0;
            if (looked[j] > 0 && (oldest == NAMES || looked[j] < looked[oldest]))
                oldest = j;
        }
        ck_assert_uint_eq(cache.n_used, n);
        struct beam_row *row = beam_cache_find(&cache, (uint32_t)name % 3, (uint32_t)name / 3);
        ck_assert_int_eq(row != NULL, looked[name] > 0);
        if (!row && n == ROWS)
            looked[oldest] = 0;
        if (!row)
            row = beam_cache_add(&cache, (uint32_t)name % 3, (uint32_t)name / 3);
        ck_assert_uint_eq(row->level, name % 3);
        ck_assert_uint_eq(row->number, name / 3);
        ck_assert_int_eq(beam_cache_keep(&cache, row, rng_below(&rng, 2) ? claims_of(3) : NULL), 0);
        looked[name] = ++clock;
    }
    beam_cache_fini(&cache);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("router/beam_cache");
    TCase *tcase = tcase_create("cache");
    tcase_add_test(tcase, the_oldest_goes);
    tcase_add_test(tcase, claims_make_room_for_claims);
    tcase_add_loop_test(tcase, what_is_there_is_found, 0, 4);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
