#include "router/beam.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define FAILED_US 1000000u /* before nobody is asked for again; doubles */
#define FAILED_MAX_US 32000000u
#define DOUBLINGS_MAX 16
#define SHARE_MEMORY 65536 /* values after which older experience counts half */
#define SHARE_MIN 0.015625f

struct token {
    bool is_due, is_done; /* due: something changed since its last walk */
    size_t n_wanted;
    struct beam_block wanted[BEAM_WANTED_MAX]; /* as its last walk left them: best first */
};

struct search {
    struct search *next;
    const float *score; /* (B, sum of sizes) */
    float *peak;        /* (B, sum of blocks) */
    size_t B, k;
    size_t n_left, n_reads;
    uint64_t since_us;
    struct token *token;        /* B */
    struct beam_answer *answer; /* B */
    struct beam_pick *pick;     /* (B, k) */
    beam_done *done;
    void *arg;
};

/* A read under way: the argument of its callback. */
struct opening {
    struct beam *beam;
    struct beam_row *row; /* NULL: free */
};

struct beam {
    struct beam_config config;
    struct beam_cache cache;
    struct beam_walk walk;
    struct beam_outcome outcome;
    size_t width, n_peaks; /* of a token: scores, blocks */
    uint64_t now_us;
    size_t n_searches, n_open;
    struct search *first; /* oldest first */
    struct opening opening[BEAM_READS_OPEN_MAX];
    uint64_t n_seen[BEAM_DIMENSIONS_MAX], n_there[BEAM_DIMENSIONS_MAX]; /* values of blocks read */
    bool is_working, has_changed;
    struct beam_stats stats;
};

/* -- Beginning and end ---------------------------------------------------------------------------------- */

static void read_dht(void *arg, uint64_t now_us, const struct dht_id *key, beam_read_done *done, void *done_arg)
{
    dht_read(arg, now_us, key, done, done_arg);
}

struct beam_config beam_config_usual(const struct hash *run, uint32_t layer, const struct beam_grid *grid, struct dht *dht)
{
    return (struct beam_config){.run = *run,
                                .layer = layer,
                                .grid = *grid,
                                .read = read_dht,
                                .read_arg = dht,
                                .n_reads_open = 8,
                                .n_reads_max = 64,
                                .search_us = 10000000,
                                .n_rows = 4096,
                                .bytes_max = (size_t)16 << 20,
                                .fresh_us = 20000000,
                                .empty_us = 60000000,
                                .empty_max_us = 480000000};
}

static bool is_sane(const struct beam_config *config)
{
    size_t row = sizeof(struct beam_claims) +
                 (size_t)MESSAGE_ROW_EXPERTS * BEAM_CLAIMS_MAX * (sizeof(struct beam_said) + sizeof(struct beam_writer));
    return config->n_reads_open >= 1 && config->n_reads_open <= BEAM_READS_OPEN_MAX && config->n_reads_max >= 1 &&
           config->search_us >= 1 && config->fresh_us >= 1 && config->empty_us >= 1 && config->n_rows > config->n_reads_open &&
           config->n_rows < UINT32_MAX && beam_cache_bytes(config->n_rows) + row <= config->bytes_max;
}

int beam_new(const struct beam_config *config, struct beam **out)
{
    if (!is_sane(config))
        return HANSE_EINVAL;
    struct beam *beam = calloc(1, sizeof *beam);
    if (!beam)
        return HANSE_ENOMEM;
    beam->config = *config;
    int err = beam_cache_init(&beam->cache, config->n_rows, config->bytes_max);
    if (err) {
        beam_free(beam);
        return err;
    }
    for (size_t a = 0; a < config->grid.d; a++) {
        beam->width += config->grid.size[a];
        beam->n_peaks += config->grid.n_blocks[a];
    }
    for (size_t i = 0; i < BEAM_READS_OPEN_MAX; i++)
        beam->opening[i].beam = beam;
    beam->walk = (struct beam_walk){.grid = &beam->config.grid, .cache = &beam->cache, .bias = config->bias};
    beam->walk.n_wanted_max = config->n_reads_open < BEAM_WANTED_MAX ? config->n_reads_open : BEAM_WANTED_MAX;
    *out = beam;
    return 0;
}

static void search_free(struct search *search)
{
    if (!search)
        return;
    free(search->peak);
    free(search->token);
    free(search->answer);
    free(search->pick);
    free(search);
}

void beam_free(struct beam *beam)
{
    if (!beam)
        return;
    while (beam->first) {
        struct search *search = beam->first;
        beam->first = search->next;
        search_free(search);
    }
    beam_cache_fini(&beam->cache);
    beam_walk_fini(&beam->walk);
    free(beam);
}

/* -- A token -------------------------------------------------------------------------------------------- */

static float largest(const float *score, size_t n)
{
    float most = score[0];
    for (size_t i = 1; i < n; i++)
        most = score[i] > most ? score[i] : most;
    return most;
}

/* The largest score of each block of a token. */
static void find_peaks(const struct beam_grid *grid, const float *score, float *peak)
{
    for (size_t a = 0; a < grid->d; score += grid->size[a++])
        for (size_t from = 0; from < grid->size[a]; from += MESSAGE_ROW_EXPERTS) {
            size_t left = grid->size[a] - from;
            *peak++ = largest(score + from, left < MESSAGE_ROW_EXPERTS ? left : MESSAGE_ROW_EXPERTS);
        }
}

static struct beam_scores scores_of(const struct beam *beam, const struct search *search, size_t t)
{
    const struct beam_grid *grid = &beam->config.grid;
    struct beam_scores scores = {.score = search->score + t * beam->width, .peak = search->peak + t * beam->n_peaks};
    const float *peak = scores.peak;
    for (size_t a = 0; a < grid->d; peak += grid->n_blocks[a++])
        scores.most[a] = largest(peak, grid->n_blocks[a]);
    return scores;
}

/* Notes who is to be asked: what was found a moment ago is still in the cache. */
static void fill_pick(struct beam *beam, struct beam_pick *pick, struct beam_found found)
{
    struct beam_block block = beam_grid_block(&beam->config.grid, beam->config.grid.d - 1, found.expert);
    const struct beam_row *row = beam_cache_find(&beam->cache, block.level, block.number);
    uint32_t first = beam_grid_first(&beam->config.grid, block.level, block.number);
    assert(row && row->claims);
    pick->expert = found.expert;
    pick->score = found.score;
    pick->n_claims = beam_claims_of(row->claims, found.expert - first, first, beam->now_us, &beam->config.bias, pick->claim);
}

static void finish(struct beam *beam, struct search *search, size_t t)
{
    const struct beam_outcome *outcome = &beam->outcome;
    struct beam_answer *answer = &search->answer[t];
    struct beam_pick *pick = &search->pick[t * search->k];
    for (size_t i = 0; i < outcome->n_found; i++)
        fill_pick(beam, &pick[i], outcome->found[i]);
    *answer = (struct beam_answer){.n = outcome->n_found, .pick = pick, .is_exact = outcome->is_exact};
    search->token[t].is_done = true;
    search->n_left--;
    beam->stats.n_tokens++;
    beam->stats.n_exact += answer->is_exact;
}

static void set_out(struct beam *beam, const struct search *search)
{
    struct beam_walk *walk = &beam->walk;
    walk->now_us = beam->now_us;
    walk->since_us = search->since_us;
    for (size_t a = 0; a < BEAM_DIMENSIONS_MAX; a++) {
        float share = (float)(beam->n_there[a] + 1) / (float)(beam->n_seen[a] + 1);
        walk->share[a] = share < SHARE_MIN ? SHARE_MIN : share;
    }
}

/* No more may be read for it. */
static void give_up(struct beam *beam, struct search *search, size_t t)
{
    struct beam_scores scores = scores_of(beam, search, t);
    set_out(beam, search);
    beam_walk_known(&beam->walk, &scores, search->k, &beam->outcome);
    finish(beam, search, t);
}

static void walk_token(struct beam *beam, struct search *search, size_t t)
{
    struct token *token = &search->token[t];
    struct beam_scores scores = scores_of(beam, search, t);
    struct beam_outcome *outcome = &beam->outcome;
    set_out(beam, search);
    beam_walk(&beam->walk, &scores, search->k, outcome);
    token->is_due = false;
    token->n_wanted = outcome->n_wanted;
    for (size_t i = 0; i < outcome->n_wanted; i++)
        token->wanted[i] = outcome->wanted[i];
    if (outcome->n_wanted == 0 && outcome->is_exact)
        finish(beam, search, t);
    else if (outcome->n_wanted == 0)
        give_up(beam, search, t);
}

/* -- Reads ---------------------------------------------------------------------------------------------- */

static void work(struct beam *beam);

static void call_tokens(struct beam *beam, const struct beam_row *row)
{
    for (struct search *search = beam->first; search; search = search->next)
        for (size_t t = 0; t < search->B; t++) {
            struct token *token = &search->token[t];
            for (size_t i = 0; !token->is_done && i < token->n_wanted; i++)
                token->is_due |= token->wanted[i].level == row->level && token->wanted[i].number == row->number;
        }
}

static uint64_t doubled(uint64_t us, uint64_t max_us, uint8_t *n)
{
    uint64_t pause = us << *n;
    *n += *n < DOUBLINGS_MAX;
    return pause < max_us ? pause : max_us;
}

static void learn(struct beam *beam, uint32_t level, size_t n_there, uint64_t whole)
{
    beam->n_there[level] += n_there;
    beam->n_seen[level] += (uint64_t)__builtin_popcountll(whole);
    if (beam->n_seen[level] < SHARE_MEMORY)
        return;
    beam->n_there[level] /= 2;
    beam->n_seen[level] /= 2;
}

/* How many experts of a row are claimed. */
static size_t count_claimed(const struct beam_claims *claims)
{
    size_t n = 0;
    for (size_t i = 0; claims && i < claims->n_said; i++)
        n += i == 0 || claims->said[i].index != claims->said[i - 1].index;
    return n;
}

static int take_claims(struct beam *beam, struct beam_row *row, uint64_t whole, const struct dht_entry *entry, size_t n,
                       size_t *n_there)
{
    struct beam_claims *claims;
    uint32_t first = beam_grid_first(&beam->config.grid, row->level, row->number);
    int err = beam_claims_new(entry, n, first, whole, beam->now_us, &beam->config.bias, &claims);
    if (!err) {
        *n_there = count_claimed(claims);
        err = beam_cache_keep(&beam->cache, row, claims);
    }
    return err;
}

static void take_map(struct beam_row *row, uint64_t whole, const struct dht_entry *entry, size_t n, size_t *n_there)
{
    uint64_t map;
    row->map = 0;
    for (size_t i = 0; i < n; i++)
        if (beam_prefix_decode(&map, entry[i].bytes, entry[i].n_bytes) == 0)
            row->map |= map & whole;
    *n_there = (size_t)__builtin_popcountll(row->map);
}

static void take(struct beam *beam, struct beam_row *row, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    const struct beam_config *config = &beam->config;
    uint64_t whole = beam_grid_whole(&config->grid, row->level, row->number);
    size_t n_there = 0;
    int err = n_asked == 0 ? HANSE_EUNREACHABLE : 0;
    if (!err && row->level == config->grid.d - 1)
        err = take_claims(beam, row, whole, entry, n, &n_there);
    else if (!err)
        take_map(row, whole, entry, n, &n_there);
    if (err) {
        beam->stats.n_failed++;
        row->retry_us = beam->now_us + doubled(FAILED_US, FAILED_MAX_US, &row->n_failed);
        return;
    }
    learn(beam, row->level, n_there, whole);
    beam->stats.n_empty += n_there == 0;
    row->n_failed = 0;
    row->retry_us = 0;
    row->n_empty = n_there == 0 ? row->n_empty : 0;
    row->until_us = beam->now_us +
                    (n_there == 0 ? doubled(config->empty_us, config->empty_max_us, &row->n_empty) : config->fresh_us);
}

static void read_done(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct opening *opening = arg;
    struct beam *beam = opening->beam;
    struct beam_row *row = opening->row;
    beam->now_us = now_us > beam->now_us ? now_us : beam->now_us;
    opening->row = NULL;
    beam->n_open--;
    row->is_reading = false;
    take(beam, row, entry, n, n_asked);
    call_tokens(beam, row);
    beam->has_changed = true;
    work(beam);
}

static void open_read(struct beam *beam, struct search *search, struct beam_row *row)
{
    struct beam_config *config = &beam->config;
    size_t i = 0;
    while (beam->opening[i].row)
        i++;
    struct dht_id key = beam_grid_key(&config->grid, &config->run, config->layer, row->level, row->number);
    beam->opening[i].row = row;
    beam->n_open++;
    beam->stats.n_reads++;
    search->n_reads++;
    row->is_reading = true;
    config->read(config->read_arg, beam->now_us, &key, read_done, &beam->opening[i]);
}

/* Begins the read of a block unless somebody waits for it already; false when it will not be read for this search. */
static bool see_to(struct beam *beam, struct search *search, struct beam_block block)
{
    struct beam_row *row = beam_cache_find(&beam->cache, block.level, block.number);
    if (row && row->is_reading)
        return true;
    if (search->n_reads == beam->config.n_reads_max)
        return false;
    if (beam->n_open == beam->config.n_reads_open)
        return true; /* one of those under way will end */
    if (!row)
        row = beam_cache_add(&beam->cache, block.level, block.number);
    if (row)
        open_read(beam, search, row);
    return row != NULL;
}

/* All tokens' best blocks first, then their second. */
static void begin_reads(struct beam *beam)
{
    for (size_t i = 0; i < BEAM_WANTED_MAX; i++)
        for (struct search *search = beam->first; search; search = search->next)
            for (size_t t = 0; t < search->B && beam->n_open < beam->config.n_reads_open; t++) {
                const struct token *token = &search->token[t];
                if (!token->is_done && !token->is_due && i < token->n_wanted)
                    (void)see_to(beam, search, token->wanted[i]);
            }
}

static bool has_hope(struct beam *beam, struct search *search, const struct token *token)
{
    bool has = token->is_due;
    for (size_t i = 0; !has && i < token->n_wanted; i++)
        has = see_to(beam, search, token->wanted[i]);
    return has;
}

/* Ends a search none of whose blocks will be read any more: not token by token, since what one reads may be of use to another. */
static void end_hopeless(struct beam *beam, struct search *search)
{
    for (size_t t = 0; t < search->B; t++)
        if (!search->token[t].is_done && has_hope(beam, search, &search->token[t]))
            return;
    for (size_t t = 0; t < search->B; t++)
        if (!search->token[t].is_done)
            give_up(beam, search, t);
}

/* -- Searches ------------------------------------------------------------------------------------------- */

static void walk_due(struct beam *beam)
{
    for (struct search *search = beam->first; search; search = search->next)
        for (size_t t = 0; t < search->B; t++)
            if (search->token[t].is_due && !search->token[t].is_done)
                walk_token(beam, search, t);
}

static void end_late(struct beam *beam)
{
    for (struct search *search = beam->first; search; search = search->next)
        for (size_t t = 0; t < search->B && beam->now_us >= search->since_us + beam->config.search_us; t++)
            if (!search->token[t].is_done)
                give_up(beam, search, t);
}

static struct search *take_finished(struct beam *beam)
{
    struct search **at = &beam->first;
    while (*at && (*at)->n_left > 0)
        at = &(*at)->next;
    struct search *search = *at;
    if (search) {
        *at = search->next;
        beam->n_searches--;
        beam->stats.n_searches++;
    }
    return search;
}

/* A `done` may search and tick again, so each search is out of the list before it hears. */
static void deliver(struct beam *beam)
{
    struct search *search;
    while ((search = take_finished(beam))) {
        search->done(search->arg, beam->now_us, search->answer, search->B);
        search_free(search);
    }
}

/* A read that ends at once calls back from inside: then the round is made again. */
static void work(struct beam *beam)
{
    if (beam->is_working)
        return;
    beam->is_working = true;
    do {
        beam->has_changed = false;
        walk_due(beam);
        begin_reads(beam);
        for (struct search *search = beam->first; search; search = search->next)
            end_hopeless(beam, search);
    } while (beam->has_changed);
    end_late(beam);
    beam->is_working = false;
    deliver(beam);
}

static struct search *search_new(const struct beam *beam, const float *score, size_t B, size_t k)
{
    struct search *search = calloc(1, sizeof *search);
    if (!search)
        return NULL;
    search->score = score;
    search->B = search->n_left = B;
    search->k = k;
    search->peak = malloc(B * beam->n_peaks * sizeof *search->peak);
    search->token = calloc(B, sizeof *search->token);
    search->answer = calloc(B, sizeof *search->answer);
    search->pick = calloc(B * k, sizeof *search->pick);
    if (search->peak && search->token && search->answer && search->pick)
        return search;
    search_free(search);
    return NULL;
}

static int check(const struct beam *beam, const float *score, size_t B, size_t k)
{
    if (B < 1 || B > BEAM_TOKENS_MAX || k < 1 || k > BEAM_K_MAX || B * k > BEAM_PICKS_MAX)
        return HANSE_EINVAL;
    if (beam->n_searches == BEAM_SEARCHES_MAX)
        return HANSE_EFULL;
    for (size_t i = 0; i < B * beam->width; i++)
        if (!(fabsf(score[i]) <= BEAM_SCORE_MAX))
            return HANSE_EREJECT;
    return 0;
}

int beam_search(struct beam *beam, uint64_t now_us, const float *score, size_t B, size_t k, beam_done *done, void *arg)
{
    int err = check(beam, score, B, k);
    if (err)
        return err;
    struct search *search = search_new(beam, score, B, k), **last = &beam->first;
    if (!search)
        return HANSE_ENOMEM;
    search->since_us = now_us;
    search->done = done;
    search->arg = arg;
    for (size_t t = 0; t < B; t++) {
        search->token[t].is_due = true;
        find_peaks(&beam->config.grid, score + t * beam->width, search->peak + t * beam->n_peaks);
    }
    while (*last)
        last = &(*last)->next;
    *last = search;
    beam->n_searches++;
    return 0;
}

void beam_tick(struct beam *beam, uint64_t now_us)
{
    beam->now_us = now_us > beam->now_us ? now_us : beam->now_us;
    work(beam);
}

uint64_t beam_deadline(const struct beam *beam)
{
    uint64_t first = IO_NEVER;
    for (const struct search *search = beam->first; search; search = search->next) {
        uint64_t at = search->since_us + beam->config.search_us;
        for (size_t t = 0; t < search->B; t++)
            if (search->token[t].is_due && !search->token[t].is_done)
                at = search->since_us;
        first = at < first ? at : first;
    }
    return first;
}

struct beam_stats beam_stats(const struct beam *beam)
{
    struct beam_stats stats = beam->stats;
    stats.n_open = beam->n_open;
    stats.n_rows = beam->cache.n_used;
    stats.n_bytes = beam->cache.bytes;
    return stats;
}
