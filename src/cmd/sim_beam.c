/* cmd/sim_beam.c - searches of a grid of experts find what a full sort finds, from few reads, also when hosts have gone. */
#include "cmd/sim_beam.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

#define LOOK_US (60 * SIM_BEAM_SECOND_US) /* a search ends by itself before */
#define PAUSE_US SIM_BEAM_SECOND_US       /* between two */
#define OVER_US ((DHT_DIRECTORY_TTL_S + 30) * SIM_BEAM_SECOND_US)

const struct sim_beam_options sim_beam_default = {
    .grid = "100x100", .n_hosts = 64, .occupancy_percent = 10, .n_searches = 60, .n_tokens = 1, .n_picks = 4, .n_reads = 64};

/* -- Who is alive ------------------------------------------------------------------------------------- */

size_t sim_beam_host_of(const struct sim_beam *story, size_t i)
{
    return i * story->n_hosts / story->n_alive;
}

size_t sim_beam_find(const struct sim_beam *story, uint32_t expert)
{
    size_t low = 0, high = story->n_alive;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (story->alive[middle] < expert)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t sim_beam_say(const struct sim_beam *story, struct beam_block block, uint8_t out[MESSAGE_CLAIMS_BYTES])
{
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    size_t n = 0;
    if (block.level < story->grid.d - 1) {
        beam_prefix_encode(block.map, out);
        return BEAM_PREFIX_BYTES;
    }
    for (uint8_t i = 0; i < MESSAGE_ROW_EXPERTS; i++)
        if (block.map >> i & 1)
            claim[n++] = (struct message_claim){.index = i, .version = 1};
    return message_claims_encode(claim, n, out);
}

static int draw_alive(struct sim_beam *story)
{
    story->alive = malloc((size_t)story->grid.n_experts * sizeof *story->alive);
    if (!story->alive)
        return HANSE_ENOMEM;
    for (uint32_t e = 0; e < story->grid.n_experts; e++)
        if (rng_below(&story->rng, 100) < story->run->beam.occupancy_percent)
            story->alive[story->n_alive++] = e;
    return 0;
}

/* -- One search ----------------------------------------------------------------------------------------- */

struct look {
    struct sim_beam *story;
    float *score;
    uint64_t start_us, us;
    size_t n_reads;
    bool is_done, is_wrong;
    size_t n_exact;        /* tokens */
    size_t n_best, n_hits; /* of all tokens: the k best; those of them that were found */
};

/* Scores like a gate's: a coordinate's are bell-shaped. */
static void draw_scores(struct look *look, size_t n)
{
    struct rng *rng = &look->story->rng;
    for (size_t i = 0; i < n; i++)
        look->score[i] = rng_unit(rng) + rng_unit(rng) + rng_unit(rng) + rng_unit(rng) - 2;
}

static float sum_of(const struct beam_grid *grid, const float *score, uint32_t expert)
{
    float sum = 0;
    for (size_t a = 0; a < grid->d; score += grid->size[a++])
        sum += score[expert / grid->stride[a] % grid->size[a]];
    return sum;
}

/* The k best of all whose host is there, by looking at each. */
static size_t sort(const struct sim_beam *story, const float *score, size_t k, struct beam_found *best)
{
    size_t n = 0;
    for (size_t i = 0; i < story->n_alive; i++) {
        struct beam_found found = {story->alive[i], sum_of(&story->grid, score, story->alive[i])};
        if (story->host[sim_beam_host_of(story, i)].is_gone || (n == k && !(found.score > best[k - 1].score)))
            continue;
        size_t at = n < k ? n++ : k - 1;
        for (; at > 0 && found.score > best[at - 1].score; at--)
            best[at] = best[at - 1];
        best[at] = found;
    }
    return n;
}

/* Notes how many of the best were found; true when the answer is just those. */
static bool is_right(struct look *look, const float *score, const struct beam_answer *answer)
{
    static struct beam_found best[BEAM_K_MAX];
    const struct sim_beam *story = look->story;
    size_t n = sort(story, score, story->run->beam.n_picks, best), n_same = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < answer->n; j++) {
            const struct sim_beam_host *host = &story->host[sim_beam_host_of(story, sim_beam_find(story, best[i].expert))];
            const struct beam_pick *pick = &answer->pick[j];
            bool is_hit = pick->expert == best[i].expert && peer_id_equal(&pick->claim[0].peer, &host->id);
            look->n_hits += is_hit;
            n_same += is_hit && i == j && pick->score == best[i].score;
        }
    look->n_best += n;
    return n_same == n && answer->n == n;
}

static size_t width_of(const struct beam_grid *grid)
{
    size_t n = 0;
    for (size_t a = 0; a < grid->d; a++)
        n += grid->size[a];
    return n;
}

static void on_found(void *arg, uint64_t now_us, const struct beam_answer *answer, size_t B)
{
    struct look *look = arg;
    struct sim_beam *story = look->story;
    look->is_done = true;
    look->us = now_us - look->start_us;
    for (size_t t = 0; t < B; t++) {
        look->n_exact += answer[t].is_exact;
        look->is_wrong |= !is_right(look, look->score + t * width_of(&story->grid), &answer[t]) && answer[t].is_exact;
    }
    world_stop(story->world);
}

static void begin_look(void *arg, uint64_t now_us)
{
    struct look *look = arg;
    struct sim_beam *story = look->story;
    look->start_us = now_us;
    if (beam_search(story->beam, now_us, look->score, story->run->beam.n_tokens, story->run->beam.n_picks, on_found, look) != 0)
        abort();
    beam_tick(story->beam, now_us);
    world_touch(story->trainer.node);
}

/* -- A row of searches ---------------------------------------------------------------------------------- */

/* A host that was called in vain is not asked: what a router would say. */
static float bias_of(void *arg, uint32_t expert, const struct beam_claim *claim)
{
    const struct sim_beam *story = arg;
    const struct sim_beam_host *host = &story->host[sim_beam_host_of(story, sim_beam_find(story, expert))];
    (void)claim;
    return host->is_gone ? -INFINITY : 0;
}

static int renew_beam(struct sim_beam *story, bool has_bias)
{
    struct beam_config config = beam_config_usual(&story->id, SIM_BEAM_LAYER, &story->grid, story->trainer.dht);
    config.n_reads_max = story->run->beam.n_reads * story->run->beam.n_tokens;
    if (story->memory) {
        config.read = sim_beam_memory_read;
        config.read_arg = story;
    }
    if (has_bias)
        config.bias = (struct beam_bias){bias_of, story};
    while (story->beam && beam_stats(story->beam).n_open > 0)
        world_run(story->world, world_now(story->world) + PAUSE_US);
    beam_free(story->beam);
    story->beam = NULL;
    return beam_new(&config, &story->beam);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* What a row of searches came to. */
struct sums {
    uint64_t *us, *n_reads; /* of each */
    size_t n, n_exact, n_best, n_hits;
};

static unsigned long long quantile(const uint64_t *value, size_t n, size_t percent)
{
    return (unsigned long long)value[n * percent / 100];
}

static void say_row(struct sim_beam *story, const char *what, struct sums *sums)
{
    double reads = 0;
    size_t n = sums->n;
    for (size_t i = 0; i < n; i++)
        reads += (double)sums->n_reads[i];
    qsort(sums->us, n, sizeof *sums->us, compare);
    qsort(sums->n_reads, n, sizeof *sums->n_reads, compare);
    sim_say(
        story->run, story->world,
        "%s: %.1f reads a search (p50 %llu, p90 %llu, p99 %llu), %llu, %llu, %llu ms; %zu of %zu tokens exact, %zu of %zu best "
        "found",
        what, reads / (double)n, quantile(sums->n_reads, n, 50), quantile(sums->n_reads, n, 90), quantile(sums->n_reads, n, 99),
        quantile(sums->us, n, 50) / 1000, quantile(sums->us, n, 90) / 1000, quantile(sums->us, n, 99) / 1000, sums->n_exact,
        n * (size_t)story->run->beam.n_tokens, sums->n_hits, sums->n_best);
}

/* Only what was not reached, or what there were no reads or no time left for, may be missing. */
static bool has_excuse(const struct sim_beam *story, const struct look *look, uint64_t n_failed)
{
    struct beam_config usual = beam_config_usual(&story->id, SIM_BEAM_LAYER, &story->grid, NULL);
    return beam_stats(story->beam).n_failed > n_failed || look->us >= usual.search_us ||
           look->n_reads >= story->run->beam.n_reads * story->run->beam.n_tokens;
}

static int look_once(struct sim_beam *story, struct look *look)
{
    struct beam_stats before = beam_stats(story->beam);
    draw_scores(look, story->run->beam.n_tokens * width_of(&story->grid));
    world_at(story->world, world_now(story->world) + PAUSE_US, begin_look, look);
    world_run(story->world, world_now(story->world) + PAUSE_US + LOOK_US);
    look->n_reads = beam_stats(story->beam).n_reads - before.n_reads;
    if (!look->is_done)
        return sim_refute(story->world, "a search has not ended after %llu s",
                          (unsigned long long)(LOOK_US / SIM_BEAM_SECOND_US));
    if (look->is_wrong)
        return sim_refute(story->world, "a search that says that it is exact is not");
    if (look->n_exact < story->run->beam.n_tokens && !has_excuse(story, look, before.n_failed))
        return sim_refute(story->world, "a search is not exact, and nothing was in its way");
    return 0;
}

struct row {
    const char *what;
    bool is_cold, has_bias;
};

static int look_often(struct sim_beam *story, struct row row, float *score, struct sums *sums)
{
    int err = 0;
    for (size_t i = 0; !err && i < sums->n; i++) {
        struct look look = {.story = story, .score = score};
        if (row.is_cold || i == 0)
            err = renew_beam(story, row.has_bias);
        if (!err)
            err = look_once(story, &look);
        sums->us[i] = look.us;
        sums->n_reads[i] = look.n_reads;
        sums->n_exact += look.n_exact;
        sums->n_best += look.n_best;
        sums->n_hits += look.n_hits;
    }
    if (!err)
        say_row(story, row.what, sums);
    return err;
}

static int look_row(struct sim_beam *story, struct row row)
{
    struct sums sums = {.n = story->run->beam.n_searches};
    float *score = calloc(story->run->beam.n_tokens * width_of(&story->grid), sizeof *score);
    sums.us = calloc(sums.n, sizeof *sums.us);
    sums.n_reads = calloc(sums.n, sizeof *sums.n_reads);
    int err = score && sums.us && sums.n_reads ? look_often(story, row, score, &sums) : HANSE_ENOMEM;
    free(score);
    free(sums.us);
    free(sums.n_reads);
    return err;
}

/* -- The story -------------------------------------------------------------------------------------------- */

static int read_sizes(const char *at, uint32_t size[BEAM_DIMENSIONS_MAX], size_t *d)
{
    for (*d = 0; *d < BEAM_DIMENSIONS_MAX && *at >= '0' && *at <= '9'; at++) {
        char *end;
        unsigned long n = strtoul(at, &end, 10);
        size[(*d)++] = n <= BEAM_SIZE_MAX ? (uint32_t)n : 0;
        at = end;
        if (*at != 'x')
            return *at ? HANSE_EINVAL : 0;
    }
    return HANSE_EINVAL;
}

static int read_grid(struct sim_beam *story)
{
    uint32_t size[BEAM_DIMENSIONS_MAX];
    size_t d;
    int err = read_sizes(story->run->beam.grid, size, &d);
    if (!err)
        err = beam_grid_init(&story->grid, size, d, story->run->beam.is_dense);
    if (err)
        log_error("--grid %s: one to four sizes with an x between them, such as 1000x1000", story->run->beam.grid);
    return err;
}

static int settle(struct sim_beam *story)
{
    int err = read_grid(story);
    if (!err)
        err = draw_alive(story);
    if (err)
        return err;
    if (story->n_alive < story->n_hosts) {
        log_error("%zu expert%s for %zu hosts; take a larger grid or fewer hosts", story->n_alive, text_plural(story->n_alive),
                  story->n_hosts);
        return HANSE_EINVAL;
    }
    for (size_t i = 0; i < story->n_hosts; i++)
        memcpy(story->host[i].id.byte, &i, sizeof i);
    if (story->run->beam.is_in_memory)
        err = sim_beam_memory_start(story);
    return err ? err : sim_beam_swarm_start(story);
}

static size_t kill_some(struct sim_beam *story)
{
    size_t n = story->n_hosts / 4;
    for (size_t i = 0; i < n;) {
        size_t victim = (size_t)rng_below(&story->rng, story->n_hosts);
        if (story->host[victim].is_gone)
            continue;
        sim_beam_swarm_kill(story, victim);
        i++;
    }
    return n;
}

static void stop(void *arg, uint64_t now_us)
{
    (void)now_us;
    world_stop(arg);
}

/* Also where nothing else is left to happen. */
static void pass(struct sim_beam *story, uint64_t us)
{
    world_at(story->world, world_now(story->world) + us, stop, story->world);
    world_run(story->world, world_now(story->world) + us);
}

static int tell(struct sim_beam *story)
{
    int err = settle(story);
    if (err)
        return err;
    sim_say(story->run, story->world, "%zu hosts have %zu of the %u experts of a grid of %s; the directory is %s", story->n_hosts,
            story->n_alive, story->grid.n_experts, story->run->beam.grid,
            story->memory ? "in memory and answers after a drawn time" : "their DHT");
    err = look_row(story, (struct row){"nothing is known", true, false});
    if (!err)
        err = look_row(story, (struct row){"one after the other", false, false});
    if (err)
        return err;
    size_t n_gone = kill_some(story);
    sim_say(story->run, story->world, "%zu host%s vanish%s", n_gone, text_plural(n_gone), n_gone == 1 ? "es" : "");
    err = look_row(story, (struct row){"as soon as calls have failed", false, true});
    if (err)
        return err;
    pass(story, OVER_US);
    return look_row(story, (struct row){"when their entries are over", true, false});
}

static int play(struct sim_beam *story)
{
    const struct sim_dht_options *o = &story->run->dht;
    struct world_config config = {.seed = story->run->seed,
                                  .rtt_median_us = 1000 * o->rtt_median_ms,
                                  .rtt_sigma_percent = 60,
                                  .datagram_loss = o->loss_percent / 100,
                                  .connect_timeout_us = 5 * SIM_BEAM_SECOND_US,
                                  .is_public = true};
    rng_init(&story->rng, story->run->seed, "scenario-beam");
    story->n_hosts = story->run->beam.n_hosts;
    story->host = calloc(story->n_hosts, sizeof *story->host);
    int err = story->host ? world_new(&config, &story->world) : HANSE_ENOMEM;
    return err ? err : tell(story);
}

int sim_play_beam(struct sim_run *run)
{
    struct sim_beam story = {.run = run};
    int err = play(&story);
    sim_beam_swarm_end(&story);
    beam_free(story.beam);
    sim_beam_memory_end(&story);
    free(story.host);
    free(story.alive);
    sim_end(run, story.world);
    return err;
}
