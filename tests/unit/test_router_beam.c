/* tests/unit/test_router_beam.c - a beam search finds what a full sort over everybody alive finds, and how much it reads for it. */
#include "tests/unit/beam_stage.h"

static const uint32_t sparse_size[] = {100, 70}; /* 2 blocks of prefixes, 100 x 2 rows */

static void draw_grid(struct rng *rng)
{
    static const uint32_t most[] = {2000, 140, 16, 8};
    uint32_t size[BEAM_DIMENSIONS_MAX], n = 4000;
    size_t d = 1 + rng_below(rng, BEAM_DIMENSIONS_MAX);
    for (size_t a = 0; a < d; a++) {
        size[a] = 1 + (uint32_t)rng_below(rng, most[d - 1] < n ? most[d - 1] : n);
        n /= size[a];
    }
    stage_set_up(size, d, rng_below(rng, 3) == 0);
}

static void set_up_sparse(uint64_t every, struct rng *rng)
{
    stage_set_up(sparse_size, 2, false);
    stage_draw_alive(rng, every);
    stage_draw_scores(rng, STAGE_B, false);
}

/* And a search that knows nothing yet. */
static struct rng start_sparse(uint64_t seed, const char *what, uint64_t every)
{
    struct rng rng;
    rng_init(&rng, seed, what);
    set_up_sparse(every, &rng);
    struct beam_config config = stage_config();
    stage_start(&config);
    return rng;
}

static void expect_all_sorted(size_t B, size_t k)
{
    for (size_t t = 0; t < B; t++) {
        ck_assert(stage_answer[t].is_exact);
        stage_expect_sorted(t, k, NULL);
    }
}

/* -- What is found ---------------------------------------------------------------------------------------- */

START_TEST(what_is_found_is_what_a_full_sort_finds)
{
    static const uint64_t every[] = {1, 2, 10, 100, 1000};
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "beam");
    draw_grid(&rng);
    struct beam_config config = stage_config();
    config.n_reads_open = 1 + rng_below(&rng, 12);
    stage_draw_alive(&rng, every[rng_below(&rng, 5)]);
    stage_start(&config);
    for (size_t i = 0; i < 3; i++) { /* cold, then warm with other scores */
        size_t B = 1 + rng_below(&rng, STAGE_B), k = 1 + rng_below(&rng, STAGE_K);
        B = B * stage_width() > STAGE_SCORES ? 1 : B;
        stage_draw_scores(&rng, B, rng_below(&rng, 2) == 0);
        stage_find(&rng, B, k);
        expect_all_sorted(B, k);
        ck_assert_uint_eq(stage_find(&rng, B, k), 0); /* all of it is known now */
        expect_all_sorted(B, k);
    }
    ck_assert_uint_le(stage_n_reads_most, config.n_reads_open);
    stage_tear_down();
}
END_TEST

START_TEST(fewer_than_k_are_all)
{
    struct rng rng = start_sparse((uint64_t)_i, "few", 2000);
    stage_host[123] = 2;
    stage_find(&rng, 1, STAGE_K);
    ck_assert_uint_lt(stage_answer[0].n, STAGE_K);
    ck_assert_uint_ge(stage_answer[0].n, 1);
    expect_all_sorted(1, STAGE_K);
    stage_tear_down();
}
END_TEST

/* With everybody alive a search reads just the rows that could not be left out, and those all at once. */
START_TEST(where_all_is_alive_no_read_is_wasted)
{
    const uint32_t size[] = {30, 200};
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "dense");
    stage_set_up(size, 2, true);
    memset(stage_host, 1, sizeof stage_host);
    stage_draw_scores(&rng, 1, false);
    struct beam_config config = stage_config();
    config.n_reads_open = BEAM_WANTED_MAX;
    stage_start(&config);
    size_t k = 1 + rng_below(&rng, 16), n_needed = 0;
    struct beam_found best[STAGE_K];
    stage_sort(0, k, NULL, best);
    for (uint32_t row = 0; row < 30 * stage_grid.n_blocks[1]; row++) {
        float bound = -INFINITY;
        uint32_t first = beam_grid_first(&stage_grid, 1, row);
        for (uint32_t j = 0; j < 64 && beam_grid_whole(&stage_grid, 1, row) >> j & 1; j++)
            bound = fmaxf(bound, stage_sum(0, first + j));
        n_needed += bound > best[k - 1].score || (bound == best[k - 1].score && first <= best[k - 1].expert);
    }
    stage_ask(1, k);
    ck_assert_uint_eq(stage_n_reads, n_needed);
    stage_end_reads(&rng, 0);
    ck_assert_uint_eq(stage_n_reads_ever, n_needed);
    expect_all_sorted(1, k);
    stage_tear_down();
}
END_TEST

/* Prefixes that have nobody cost no rows. */
START_TEST(prefixes_keep_searches_away_from_empty_rows)
{
    struct rng rng;
    rng_init(&rng, 1, "prefix");
    set_up_sparse(1, &rng);
    for (uint32_t e = 0; e < stage_grid.n_experts; e++)
        if (e / 70 % 10 != 3)
            stage_host[e] = 0; /* one value in ten of the first dimension is left */
    struct beam_config config = stage_config();
    stage_start(&config);
    stage_find(&rng, STAGE_B, STAGE_K);
    expect_all_sorted(STAGE_B, STAGE_K);
    ck_assert_uint_eq(beam_stats(stage_beam).n_empty, 0);
    ck_assert_uint_le(stage_n_reads_ever, 2 + 10 * 2);
    stage_tear_down();
}
END_TEST

static float bias_by_host[STAGE_HOSTS + 1];

static float bias_of(void *arg, uint32_t expert, const struct beam_claim *claim)
{
    ck_assert_ptr_eq(arg, bias_by_host);
    ck_assert_uint_eq(stage_host[expert], claim->peer.byte[0]);
    return bias_by_host[claim->peer.byte[0]];
}

START_TEST(a_bias_moves_and_removes)
{
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "bias");
    set_up_sparse(3, &rng);
    struct beam_config config = stage_config();
    config.bias = (struct beam_bias){bias_of, bias_by_host};
    for (size_t i = 1; i <= STAGE_HOSTS; i++)
        bias_by_host[i] = -rng_unit(&rng);
    bias_by_host[3] = -INFINITY;
    stage_start(&config);
    stage_find(&rng, STAGE_B, 10);
    for (size_t t = 0; t < STAGE_B; t++) {
        ck_assert(stage_answer[t].is_exact);
        stage_expect_sorted(t, 10, bias_by_host);
    }
    bias_by_host[3] = 0; /* he answers again: no read is needed to know */
    bias_by_host[4] = -INFINITY;
    stage_find(&rng, STAGE_B, 10);
    for (size_t t = 0; t < STAGE_B; t++)
        stage_expect_sorted(t, 10, bias_by_host);
    stage_tear_down();
}
END_TEST

/* -- Sharing ---------------------------------------------------------------------------------------------- */

START_TEST(tokens_share_reads)
{
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "share");
    set_up_sparse(4, &rng);
    for (size_t t = 1; t < STAGE_B; t++)
        memcpy(stage_score + t * stage_width(), stage_score, stage_width() * sizeof *stage_score);
    struct beam_config config = stage_config();
    stage_start(&config);
    size_t n = stage_find(NULL, 1, 8);
    stage_tear_down();
    stage_start(&config);
    ck_assert_uint_eq(stage_find(NULL, STAGE_B, 8), n);
    expect_all_sorted(STAGE_B, 8);
    stage_tear_down();
}
END_TEST

START_TEST(searches_share_reads)
{
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "share");
    set_up_sparse(4, &rng);
    struct beam_config config = stage_config();
    stage_start(&config);
    size_t n = stage_find(NULL, 1, 8);
    stage_tear_down();
    stage_n_reads_ever = stage_n_done = 0;
    stage_start(&config);
    for (size_t i = 0; i < 5; i++)
        stage_ask(1, 8);
    stage_end_reads(NULL, 0);
    ck_assert_uint_eq(stage_n_done, 5);
    ck_assert_uint_eq(stage_n_reads_ever, n);
    ck_assert_uint_eq(beam_stats(stage_beam).n_exact, 5);
    stage_tear_down();
}
END_TEST

/* What one still reads leaves no room for another, who waits for it. */
START_TEST(searches_wait_for_each_other)
{
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "wait");
    set_up_sparse(4, &rng);
    struct beam_config config = stage_config();
    config.n_reads_open = 2;
    stage_start(&config);
    for (size_t i = 0; i < 20; i++) {
        stage_draw_scores(&rng, STAGE_B, false);
        for (size_t t = 0; t < STAGE_B; t++)
            ck_assert_int_eq(beam_search(stage_beam, stage_now, stage_score + t * stage_width(), 1, 1 + t, stage_done, NULL), 0);
        beam_tick(stage_beam, stage_now);
        stage_end_reads(&rng, 0);
        stage_now += config.fresh_us;
    }
    ck_assert_uint_eq(stage_n_reads_most, 2);
    ck_assert_uint_eq(beam_stats(stage_beam).n_exact, 20 * STAGE_B);
    stage_tear_down();
}
END_TEST

static void ask_again(void *arg, uint64_t now_us, const struct beam_answer *answer, size_t B)
{
    size_t *n_left = arg;
    ck_assert_uint_eq(answer[0].n, 4);
    if ((*n_left)-- == 0)
        return;
    ck_assert_int_eq(beam_search(stage_beam, now_us, stage_score + *n_left * stage_width(), B, 4, ask_again, arg), 0);
    beam_tick(stage_beam, now_us);
}

/* Also with reads that end before they return. */
START_TEST(done_may_search_again)
{
    struct rng rng;
    size_t n_left = STAGE_B - 1;
    rng_init(&rng, (uint64_t)_i, "again");
    set_up_sparse(4, &rng);
    struct beam_config config = stage_config();
    stage_is_instant = _i % 2 == 0;
    stage_start(&config);
    ck_assert_int_eq(beam_search(stage_beam, stage_now, stage_score, 1, 4, ask_again, &n_left), 0);
    ck_assert_uint_eq(n_left, STAGE_B - 1); /* not from inside */
    beam_tick(stage_beam, stage_now);
    stage_end_reads(&rng, 0);
    ck_assert_uint_eq(n_left, SIZE_MAX);
    ck_assert_uint_eq(beam_stats(stage_beam).n_exact, STAGE_B);
    ck_assert_uint_eq(beam_deadline(stage_beam), IO_NEVER);
    stage_tear_down();
}
END_TEST

/* -- Ages ------------------------------------------------------------------------------------------------- */

START_TEST(what_is_old_is_read_again)
{
    (void)start_sparse(1, "old", 1);
    size_t n = stage_find(NULL, 1, 4);
    uint32_t best = stage_answer[0].pick[0].expert;
    stage_now += stage_config().fresh_us - 1;
    ck_assert_uint_eq(stage_find(NULL, 1, 4), 0);
    stage_now += 1;
    stage_host[best] = 0;
    ck_assert_uint_ge(stage_find(NULL, 1, 4), n);
    expect_all_sorted(1, 4);
    ck_assert_uint_ne(stage_answer[0].pick[0].expert, best);
    stage_tear_down();
}
END_TEST

/* The age of what we hold is one thing, that of the claim another. */
START_TEST(a_claim_is_over_with_its_entry)
{
    (void)start_sparse(1, "over", 1);
    stage_life_s = 5;
    stage_find(NULL, 1, 4);
    ck_assert_uint_eq(stage_answer[0].n, 4);
    stage_now += 5 * S;
    stage_ask(1, 4);
    stage_end_reads(NULL, 1);
    ck_assert_uint_eq(stage_answer[0].n, 0);
    stage_tear_down();
}
END_TEST

START_TEST(where_nobody_is_is_looked_at_less_and_less)
{
    static const uint64_t age_s[] = {60, 120, 240, 480, 480};
    (void)start_sparse(1, "nobody", 1);
    memset(stage_host, 0, sizeof stage_host);
    ck_assert_uint_eq(stage_find(NULL, STAGE_B, 4), 2); /* the two blocks of prefixes say it all */
    for (size_t i = 0; i < 5; i++) {
        ck_assert(stage_answer[0].is_exact);
        ck_assert_uint_eq(stage_answer[0].n, 0);
        stage_now += age_s[i] * S - 1;
        ck_assert_uint_eq(stage_find(NULL, STAGE_B, 4), 0);
        stage_now += 1;
        ck_assert_uint_eq(stage_find(NULL, STAGE_B, 4), 2);
    }
    ck_assert_uint_eq(beam_stats(stage_beam).n_empty, 12);
    /* Somebody comes and goes: the pauses begin anew. */
    stage_host[0] = 1;
    stage_now += 480 * S;
    stage_find(NULL, 1, 4);
    expect_all_sorted(1, 4);
    stage_host[0] = 0;
    stage_now += stage_config().fresh_us;
    ck_assert_uint_eq(stage_find(NULL, 1, 4), 1); /* the block of prefixes: no row is left under it */
    stage_now += 60 * S;
    ck_assert_uint_gt(stage_find(NULL, 1, 4), 0);
    stage_tear_down();
}
END_TEST

/* -- What goes wrong -------------------------------------------------------------------------------------- */

/* Nobody reached is not nobody there: the rows are asked for again soon, and meanwhile nothing is called exact. */
START_TEST(a_failed_read_is_no_empty_row)
{
    (void)start_sparse(1, "failed", 2);
    stage_ask(1, 4);
    stage_end_reads(NULL, 1);
    ck_assert_uint_eq(stage_n_done, 1);
    ck_assert_uint_eq(stage_answer[0].n, 0);
    ck_assert(!stage_answer[0].is_exact);
    ck_assert_uint_eq(stage_n_reads_ever, beam_stats(stage_beam).n_failed);
    ck_assert_uint_eq(beam_stats(stage_beam).n_empty, 0);
    ck_assert_uint_eq(stage_find(NULL, 1, 4), 0); /* too soon */
    ck_assert(!stage_answer[0].is_exact);
    stage_now += 1 * S;
    ck_assert_uint_gt(stage_find(NULL, 1, 4), 0);
    expect_all_sorted(1, 4);
    stage_tear_down();
}
END_TEST

START_TEST(pauses_after_failed_reads_grow)
{
    size_t n_reads = 0;
    (void)start_sparse(1, "pause", 2);
    for (size_t i = 0; i < 100; i++) {
        stage_ask(1, 4);
        n_reads += stage_n_reads;
        stage_end_reads(NULL, 1);
        stage_now += 1 * S;
    }
    ck_assert_uint_ge(n_reads, 6);
    ck_assert_uint_le(n_reads, 2 * 9); /* 0, 1, 3, 7, 15, 31, 63, 95 s */
    stage_tear_down();
}
END_TEST

/* Whatever fails, what is answered is alive and in order, what is called exact is, and what was known is not forgotten. */
START_TEST(some_reads_fail)
{
    size_t n_exact = 0, n_unsure = 0;
    struct rng rng = start_sparse((uint64_t)_i, "some", 3);
    for (size_t i = 0; i < 30; i++) {
        stage_draw_scores(&rng, STAGE_B, false);
        stage_ask(STAGE_B, 6);
        stage_end_reads(&rng, 3);
        ck_assert_uint_eq(stage_n_done, i + 1);
        for (size_t t = 0; t < STAGE_B; t++) {
            struct stage_answer *answer = &stage_answer[t];
            if (answer->is_exact)
                stage_expect_sorted(t, 6, NULL);
            ck_assert(i == 0 || answer->n == 6);
            for (size_t j = 0; j < answer->n; j++) {
                ck_assert_uint_eq(answer->pick[j].claim[0].peer.byte[0], stage_host[answer->pick[j].expert]);
                ck_assert(j == 0 || answer->pick[j - 1].score >= answer->pick[j].score);
            }
            n_exact += answer->is_exact;
            n_unsure += !answer->is_exact;
        }
        stage_now += 4 * S;
    }
    ck_assert_uint_gt(n_exact, 20);
    ck_assert_uint_gt(n_unsure, 20);
    stage_tear_down();
}
END_TEST

START_TEST(what_is_known_outlives_a_failed_read)
{
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "stale");
    set_up_sparse(1, &rng);
    stage_draw_scores(&rng, 1, _i % 2 == 0);
    struct beam_config config = stage_config();
    stage_start(&config);
    stage_find(NULL, 1, 4);
    stage_now += config.fresh_us;
    stage_ask(1, 4);
    stage_end_reads(NULL, 1);
    ck_assert_uint_eq(stage_n_done, 2);
    ck_assert(!stage_answer[0].is_exact);
    stage_expect_sorted(0, 4, NULL);
    stage_tear_down();
}
END_TEST

START_TEST(a_search_reads_no_more_than_it_may)
{
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "budget");
    set_up_sparse(30, &rng);
    struct beam_config config = stage_config();
    config.n_reads_max = 5;
    stage_start(&config);
    ck_assert_uint_eq(stage_find(&rng, STAGE_B, STAGE_K), 5);
    ck_assert_uint_eq(stage_n_done, 1);
    ck_assert(!stage_answer[0].is_exact);
    for (size_t t = 0; t < STAGE_B; t++) { /* 2 blocks of prefixes and 3 rows */
        ck_assert_uint_eq(stage_answer[t].n, stage_answer[0].n);
        ck_assert_uint_ge(stage_answer[t].n, 1);
    }
    size_t n = stage_answer[0].n;
    stage_find(&rng, STAGE_B, STAGE_K); /* each search gets further */
    ck_assert_uint_gt(stage_answer[0].n, n);
    for (size_t i = 0; i < 40; i++) /* of 202 blocks */
        stage_find(&rng, STAGE_B, STAGE_K);
    expect_all_sorted(STAGE_B, STAGE_K);
    stage_tear_down();
}
END_TEST

START_TEST(a_search_takes_no_longer_than_it_may)
{
    (void)start_sparse(1, "late", 2);
    stage_ask(STAGE_B, 4);
    ck_assert_uint_eq(beam_deadline(stage_beam), stage_now + stage_config().search_us);
    stage_now += stage_config().search_us - 1;
    beam_tick(stage_beam, stage_now);
    ck_assert_uint_eq(stage_n_done, 0);
    stage_now += 1;
    beam_tick(stage_beam, stage_now);
    ck_assert_uint_eq(stage_n_done, 1);
    ck_assert(!stage_answer[0].is_exact);
    stage_end_reads(NULL, 0); /* late, but not for the next */
    stage_find(NULL, STAGE_B, 4);
    expect_all_sorted(STAGE_B, 4);
    stage_tear_down();
}
END_TEST

/* Strangers write into the directory, too. */
START_TEST(nonsense_is_passed_over)
{
    static const uint32_t size[] = {10, 10};
    struct message_claim claim[] = {{.index = 4}, {.index = 9}, {.index = 10}, {.index = 63}};
    struct dht_entry entry[5];
    stage_set_up(size, 2, false);
    for (size_t i = 0; i < 20; i++)
        stage_score[i] = (float)i;
    struct beam_config config = stage_config();
    stage_start(&config);
    stage_ask(1, 10);
    for (size_t i = 0; i < 5; i++)
        entry[i] = stage_entry((uint8_t)(1 + i));
    beam_prefix_encode(0xfffffffffffff000u | 1 << 3, entry[0].bytes); /* values that there are not */
    entry[0].n_bytes = BEAM_PREFIX_BYTES;
    beam_prefix_encode(1 << 5, entry[1].bytes);
    entry[1].n_bytes = BEAM_PREFIX_BYTES - 1;
    ck_assert_uint_eq(stage_n_reads, 1);
    struct stage_read read = stage_read[--stage_n_reads];
    read.done(read.arg, stage_now, entry, 2, 8);
    for (size_t i = 0; i < 5; i++) {
        uint8_t bytes[MESSAGE_CLAIMS_BYTES];
        entry[i].n_bytes = (uint16_t)message_claims_encode(claim, 4, bytes);
        memcpy(entry[i].bytes, bytes, entry[i].n_bytes);
    }
    entry[0].addr.port = 0;
    entry[1].expiry_s = (uint32_t)(stage_now / S);
    entry[2].bytes[0] = 9;
    entry[3].n_bytes--;
    ck_assert_uint_eq(stage_n_reads, 1);
    ck_assert_uint_eq(stage_read[0].block.number, 3);
    read = stage_read[--stage_n_reads];
    read.done(read.arg, stage_now, entry, 5, 8);
    ck_assert_uint_eq(stage_n_done, 1);
    ck_assert(stage_answer[0].is_exact);
    ck_assert_uint_eq(stage_answer[0].n, 2);
    ck_assert_uint_eq(stage_answer[0].pick[0].expert, 39);
    ck_assert_uint_eq(stage_answer[0].pick[1].expert, 34);
    ck_assert_uint_eq(stage_answer[0].pick[1].n_claims, 1);
    ck_assert_uint_eq(stage_answer[0].pick[1].claim[0].peer.byte[0], 5);
    stage_tear_down();
}
END_TEST

START_TEST(scores_that_are_no_numbers_are_refused)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, 0x1p125f, -0x1p125f};
    (void)start_sparse(1, "bad", 1);
    for (size_t i = 0; i < 5; i++) {
        stage_score[2 * stage_width() - 1] = bad[i];
        ck_assert_int_eq(beam_search(stage_beam, stage_now, stage_score, 2, 1, stage_done, NULL), HANSE_EREJECT);
    }
    stage_score[2 * stage_width() - 1] = 0x1p124f;
    stage_find(NULL, 2, 3);
    expect_all_sorted(2, 3);
    ck_assert_int_eq(beam_search(stage_beam, stage_now, stage_score, 0, 1, stage_done, NULL), HANSE_EINVAL);
    ck_assert_int_eq(beam_search(stage_beam, stage_now, stage_score, 1, 0, stage_done, NULL), HANSE_EINVAL);
    ck_assert_int_eq(beam_search(stage_beam, stage_now, stage_score, 1, BEAM_K_MAX + 1, stage_done, NULL), HANSE_EINVAL);
    ck_assert_int_eq(beam_search(stage_beam, stage_now, stage_score, BEAM_TOKENS_MAX + 1, 1, stage_done, NULL), HANSE_EINVAL);
    for (size_t i = 0; i < BEAM_SEARCHES_MAX; i++)
        ck_assert_int_eq(beam_search(stage_beam, stage_now, stage_score, 1, 3, stage_done, NULL), 0);
    ck_assert_int_eq(beam_search(stage_beam, stage_now, stage_score, 1, 3, stage_done, NULL), HANSE_EFULL);
    beam_tick(stage_beam, stage_now);
    ck_assert_uint_eq(stage_n_done, 1 + BEAM_SEARCHES_MAX);
    stage_tear_down();
}
END_TEST

START_TEST(memory_has_a_bound)
{
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "memory");
    set_up_sparse(1, &rng);
    struct beam_config config = stage_config();
    config.n_rows = _i % 2 ? 24 : 150; /* of 202 blocks */
    config.bytes_max = beam_cache_bytes(config.n_rows) + 40000;
    stage_start(&config);
    for (size_t i = 0; i < 20; i++) {
        stage_draw_scores(&rng, 1, false);
        stage_find(&rng, 1, 4);
        expect_all_sorted(1, 4);
        ck_assert_uint_le(beam_stats(stage_beam).n_rows, config.n_rows);
        ck_assert_uint_le(beam_stats(stage_beam).n_bytes, config.bytes_max);
    }
    ck_assert_uint_gt(beam_stats(stage_beam).n_bytes, beam_cache_bytes(config.n_rows) + (_i % 2 ? 0 : 30000));
    stage_tear_down();
}
END_TEST

START_TEST(limits_are_checked)
{
    struct beam *beam = NULL;
    stage_set_up(sparse_size, 2, false);
    struct beam_config good = stage_config(), config;
    for (int i = 0; i < 7; i++) {
        config = good;
        config.n_reads_open = i == 0 ? 0 : i == 1 ? BEAM_READS_OPEN_MAX + 1 : 8;
        config.n_reads_max = i == 2 ? 0 : 64;
        config.n_rows = i == 3 ? 8 : 4096;
        config.bytes_max = i == 4 ? beam_cache_bytes(4096) + 1000 : good.bytes_max;
        config.fresh_us = i == 5 ? 0 : 1;
        config.search_us = i == 6 ? 0 : 1;
        ck_assert_int_eq(beam_new(&config, &beam), HANSE_EINVAL);
    }
    ck_assert_ptr_null(beam);
    ck_assert_int_eq(beam_new(&good, &beam), 0);
    beam_free(beam);
    beam_free(NULL);
}
END_TEST

START_TEST(a_search_can_be_forgotten)
{
    (void)start_sparse(1, "forget", 1);
    stage_ask(STAGE_B, 4);
    stage_tear_down();
    ck_assert_uint_eq(stage_n_done, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("router/beam");
    TCase *tcase = tcase_create("beam");
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, what_is_found_is_what_a_full_sort_finds, 0, 60);
    tcase_add_loop_test(tcase, fewer_than_k_are_all, 0, 4);
    tcase_add_loop_test(tcase, where_all_is_alive_no_read_is_wasted, 0, 20);
    tcase_add_test(tcase, prefixes_keep_searches_away_from_empty_rows);
    tcase_add_loop_test(tcase, a_bias_moves_and_removes, 0, 4);
    tcase_add_loop_test(tcase, tokens_share_reads, 0, 4);
    tcase_add_loop_test(tcase, searches_share_reads, 0, 4);
    tcase_add_loop_test(tcase, searches_wait_for_each_other, 0, 4);
    tcase_add_loop_test(tcase, done_may_search_again, 0, 4);
    tcase_add_test(tcase, what_is_old_is_read_again);
    tcase_add_test(tcase, a_claim_is_over_with_its_entry);
    tcase_add_test(tcase, where_nobody_is_is_looked_at_less_and_less);
    tcase_add_test(tcase, a_failed_read_is_no_empty_row);
    tcase_add_test(tcase, pauses_after_failed_reads_grow);
    tcase_add_loop_test(tcase, some_reads_fail, 0, 4);
    tcase_add_loop_test(tcase, what_is_known_outlives_a_failed_read, 0, 8);
    tcase_add_loop_test(tcase, a_search_reads_no_more_than_it_may, 0, 4);
    tcase_add_test(tcase, a_search_takes_no_longer_than_it_may);
    tcase_add_test(tcase, nonsense_is_passed_over);
    tcase_add_test(tcase, scores_that_are_no_numbers_are_refused);
    tcase_add_loop_test(tcase, memory_has_a_bound, 0, 4);
    tcase_add_test(tcase, limits_are_checked);
    tcase_add_test(tcase, a_search_can_be_forgotten);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
