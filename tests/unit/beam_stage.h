/**
 * tests/unit/beam_stage.h - a beam search over a made-up directory: what is alive, which reads wait, who answers.
 *
 * Reads are answered by stage_answer(), in an order that a test draws; stage_sort() is what a search has to find.
 */
#ifndef TESTS_BEAM_STAGE_H
#define TESTS_BEAM_STAGE_H

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "router/beam.h"
#include "tests/unit/unit.h"

#define STAGE_EXPERTS 8192
#define STAGE_HOSTS 7
#define STAGE_KEYS 8192
#define STAGE_READS 64
#define STAGE_K 64
#define STAGE_B 8
#define STAGE_SCORES 8192 /* of all tokens */
#define STAGE_T0 ((uint64_t)1700000000 * 1000000)
#define S 1000000u

static struct hash stage_run;
static struct beam_grid stage_grid;
static uint8_t stage_host[STAGE_EXPERTS]; /* of an expert; 0: nobody */
static uint64_t stage_now;
static uint32_t stage_life_s;
static struct beam *stage_beam;

static struct stage_read {
    struct beam_block block;
    beam_read_done *done;
    void *arg;
} stage_read[STAGE_READS];
static struct {
    struct dht_id key;
    struct beam_block block;
} stage_key[STAGE_KEYS];
static size_t stage_n_keys;
static size_t stage_n_reads, stage_n_reads_ever, stage_n_reads_most;
static bool stage_is_instant; /* reads end before they return */

/* What the last search found. */
static struct stage_answer {
    size_t n;
    bool is_exact;
    struct beam_pick pick[STAGE_K];
} stage_answer[STAGE_B];
static size_t stage_n_done;

static float stage_score[STAGE_SCORES];

/* -- The directory -------------------------------------------------------------------------------------- */

static struct peer_id stage_id(uint8_t host)
{
    return (struct peer_id){{host, 1, 2}};
}

static struct dht_entry stage_entry(uint8_t host)
{
    return (struct dht_entry){.writer = stage_id(host),
                              .addr = {.family = 4, .ip = {10, 0, 0, host}, .port = 4100},
                              .seq = stage_now,
                              .expiry_s = (uint32_t)(stage_now / S) + stage_life_s};
}

/* What a host says under a block's key; no bytes when it has nothing there. */
static struct dht_entry stage_say(uint8_t host, struct beam_block block)
{
    static uint32_t expert[STAGE_EXPERTS];
    static struct beam_block own[2 * STAGE_EXPERTS];
    struct dht_entry entry = stage_entry(host);
    uint32_t first = beam_grid_first(&stage_grid, block.level, block.number);
    uint32_t end = first + MESSAGE_ROW_EXPERTS * stage_grid.stride[block.level]; /* what lies beyond is another's */
    size_t n = 0, n_claims = 0;
    for (uint32_t e = first; e < end && e < stage_grid.n_experts; e++)
        if (stage_host[e] == host)
            expert[n++] = e;
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    size_t n_own = beam_grid_blocks(&stage_grid, expert, n, own, 2 * STAGE_EXPERTS);
    ck_assert_uint_le(n_own, 2 * STAGE_EXPERTS);
    for (size_t i = 0; i < n_own; i++) {
        if (own[i].level != block.level || own[i].number != block.number)
            continue;
        for (uint8_t j = 0; j < MESSAGE_ROW_EXPERTS; j++)
            if (own[i].map >> j & 1)
                claim[n_claims++] = (struct message_claim){.index = j, .epoch = 1, .version = host};
        if (block.level < stage_grid.d - 1) {
            beam_prefix_encode(own[i].map, entry.bytes);
            entry.n_bytes = BEAM_PREFIX_BYTES;
        } else {
            uint8_t bytes[MESSAGE_CLAIMS_BYTES];
            entry.n_bytes = (uint16_t)message_claims_encode(claim, n_claims, bytes);
            memcpy(entry.bytes, bytes, entry.n_bytes);
        }
    }
    return entry;
}

static void stage_note_keys(void)
{
    uint32_t n_prefixes = 1;
    stage_n_keys = 0;
    for (uint32_t level = 0; level < stage_grid.d; n_prefixes *= stage_grid.size[level++])
        for (uint32_t i = 0; i < n_prefixes * stage_grid.n_blocks[level]; i++) {
            ck_assert_uint_lt(stage_n_keys, STAGE_KEYS);
            stage_key[stage_n_keys].key = beam_grid_key(&stage_grid, &stage_run, 5, level, i);
            stage_key[stage_n_keys++].block = (struct beam_block){.level = level, .number = i};
        }
}

static struct beam_block stage_block_of(const struct dht_id *key)
{
    for (size_t i = 0; i < stage_n_keys; i++)
        if (memcmp(stage_key[i].key.byte, key->byte, DHT_ID_BYTES) == 0)
            return stage_key[i].block;
    ck_abort_msg("no block has this key");
}

/* Ends the i-th read that waits; nobody is reached when `n_asked` is 0. */
static void stage_end_read(size_t i, size_t n_asked)
{
    struct stage_read read = stage_read[i];
    struct dht_entry entry[STAGE_HOSTS];
    size_t n = 0;
    stage_read[i] = stage_read[--stage_n_reads];
    for (uint8_t host = 1; n_asked > 0 && host <= STAGE_HOSTS; host++) {
        entry[n] = stage_say(host, read.block);
        n += entry[n].n_bytes > 0;
    }
    read.done(read.arg, stage_now, entry, n, n_asked);
}

static void stage_begin_read(void *arg, uint64_t now_us, const struct dht_id *key, beam_read_done *done, void *done_arg)
{
    ck_assert_ptr_null(arg);
    ck_assert_uint_eq(now_us, stage_now);
    ck_assert_uint_lt(stage_n_reads, STAGE_READS);
    struct beam_block block = stage_block_of(key);
    size_t n_same = 0;
    for (size_t i = 0; i < stage_n_reads; i++)
        n_same += stage_read[i].block.level == block.level && stage_read[i].block.number == block.number;
    ck_assert_uint_eq(n_same, 0);
    stage_read[stage_n_reads++] = (struct stage_read){block, done, done_arg};
    stage_n_reads_ever++;
    if (stage_n_reads > stage_n_reads_most)
        stage_n_reads_most = stage_n_reads;
    if (stage_is_instant)
        stage_end_read(stage_n_reads - 1, 1);
}

/* -- The search ----------------------------------------------------------------------------------------- */

static struct beam_config stage_config(void)
{
    struct beam_config config = beam_config_usual(&stage_run, 5, &stage_grid, NULL);
    config.read = stage_begin_read;
    config.n_reads_max = 100000;
    return config;
}

static void stage_set_up(const uint32_t *size, size_t d, bool is_dense)
{
    stage_run = hash_bytes("a run", 5);
    memset(stage_host, 0, sizeof stage_host);
    ck_assert_int_eq(beam_grid_init(&stage_grid, size, d, is_dense), 0);
    ck_assert_uint_le(stage_grid.n_experts, STAGE_EXPERTS);
    stage_note_keys();
    stage_now = STAGE_T0;
    stage_life_s = DHT_DIRECTORY_TTL_S;
    stage_n_reads = stage_n_reads_ever = stage_n_reads_most = stage_n_done = 0;
    stage_is_instant = false;
}

static inline void stage_start(const struct beam_config *config)
{
    ck_assert_int_eq(beam_new(config, &stage_beam), 0);
}

static inline void stage_tear_down(void)
{
    beam_free(stage_beam);
    stage_beam = NULL;
}

static size_t stage_width(void)
{
    size_t n = 0;
    for (size_t a = 0; a < stage_grid.d; a++)
        n += stage_grid.size[a];
    return n;
}

static void stage_done(void *arg, uint64_t now_us, const struct beam_answer *answer, size_t B)
{
    ck_assert_ptr_null(arg);
    ck_assert_uint_eq(now_us, stage_now);
    for (size_t t = 0; t < B && t < STAGE_B; t++) {
        stage_answer[t].n = answer[t].n;
        stage_answer[t].is_exact = answer[t].is_exact;
        memcpy(stage_answer[t].pick, answer[t].pick, answer[t].n * sizeof *answer[t].pick);
    }
    stage_n_done++;
}

static void stage_ask(size_t B, size_t k)
{
    ck_assert_uint_le(B * stage_width(), STAGE_SCORES);
    ck_assert_int_eq(beam_search(stage_beam, stage_now, stage_score, B, k, stage_done, NULL), 0);
    ck_assert_uint_le(beam_deadline(stage_beam), stage_now);
    beam_tick(stage_beam, stage_now);
}

/* Answers what waits, in an order drawn from `rng`, or as it came; nobody is reached for one read in `fails` (0: for all). */
static inline void stage_end_reads(struct rng *rng, uint32_t fails)
{
    while (stage_n_reads > 0) {
        size_t i = rng ? (size_t)rng_below(rng, stage_n_reads) : 0;
        stage_end_read(i, fails != 1 && (!fails || !rng || rng_below(rng, fails) > 0));
    }
}

/* Asks and answers; the number of reads that it took. */
static size_t stage_find(struct rng *rng, size_t B, size_t k)
{
    size_t before = stage_n_reads_ever, n_done = stage_n_done;
    stage_ask(B, k);
    stage_end_reads(rng, 0);
    ck_assert_uint_eq(stage_n_done, n_done + 1);
    return stage_n_reads_ever - before;
}

/* -- What has to be found --------------------------------------------------------------------------------- */

static float stage_sum(size_t t, uint32_t expert)
{
    const float *score = stage_score + t * stage_width();
    float sum = 0;
    for (size_t a = 0; a < stage_grid.d; score += stage_grid.size[a++])
        sum += score[expert / stage_grid.stride[a] % stage_grid.size[a]];
    return sum;
}

/* The k best that are alive; `bias` is added by host, NULL for none. */
static size_t stage_sort(size_t t, size_t k, const float *bias, struct beam_found *out)
{
    size_t n = 0;
    for (uint32_t e = 0; e < stage_grid.n_experts; e++) {
        if (!stage_host[e] || (bias && bias[stage_host[e]] == -INFINITY))
            continue;
        struct beam_found found = {e, stage_sum(t, e) + (bias ? bias[stage_host[e]] : 0)};
        size_t i = n < k ? n++ : k;
        if (i == k && !(found.score > out[--i].score))
            continue;
        for (; i > 0 && found.score > out[i - 1].score; i--)
            out[i] = out[i - 1];
        out[i] = found;
    }
    return n;
}

static void stage_expect_sorted(size_t t, size_t k, const float *bias)
{
    struct beam_found best[STAGE_K];
    size_t n = stage_sort(t, k, bias, best);
    ck_assert_uint_eq(stage_answer[t].n, n);
    size_t n_wrong = 0;
    for (size_t i = 0; i < n; i++) {
        const struct beam_pick *pick = &stage_answer[t].pick[i];
        uint8_t host = stage_host[best[i].expert];
        struct peer_id id = stage_id(host);
        n_wrong += pick->expert != best[i].expert || pick->score != best[i].score || pick->n_claims != 1;
        n_wrong += !peer_id_equal(&pick->claim[0].peer, &id) || pick->claim[0].addr.ip[3] != host;
        n_wrong += pick->claim[0].epoch != 1 || pick->claim[0].version != host;
    }
    ck_assert_uint_eq(n_wrong, 0);
}

/* Scores of B tokens: drawn from few values, so that many are equal, or from many. */
static void stage_draw_scores(struct rng *rng, size_t B, bool is_coarse)
{
    for (size_t i = 0; i < B * stage_width(); i++)
        stage_score[i] = is_coarse ? (float)rng_below(rng, 5) - 2 : 4 * rng_unit(rng) * rng_unit(rng) - 2;
}

/* One expert in `every` is alive. */
static void stage_draw_alive(struct rng *rng, uint64_t every)
{
    for (uint32_t e = 0; e < stage_grid.n_experts; e++)
        stage_host[e] = rng_below(rng, every) == 0 ? (uint8_t)(1 + rng_below(rng, STAGE_HOSTS)) : 0;
}

#endif
