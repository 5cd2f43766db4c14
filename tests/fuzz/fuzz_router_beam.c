/* What strangers write under the keys of a grid: the map of a prefix block, and a whole search over entries that they made up. */
#include <math.h>
#include <string.h>

#include "router/beam.h"
#include "tests/fuzz/fuzz.h"

#define NOW_US ((uint64_t)1700000000 * 1000000)
#define ENTRIES_MAX 8
#define READS_MAX 40
#define K 5

/* The input: a byte for grid and bias, then for each read u8 n | n x { u8 length / 4 | u8 writer
 * | u8 port | u8 seconds left | bytes } | u8 how many answered; then no read ends any more. */
static struct {
    const uint8_t *at, *end;
    beam_read_done *done[READS_MAX];
    void *arg[READS_MAX];
    size_t n_reads;
    bool is_done;
} play;

static uint8_t next_byte(void)
{
    return play.at < play.end ? *play.at++ : 0;
}

static void begin_read(void *arg, uint64_t now_us, const struct dht_id *key, beam_read_done *done, void *done_arg)
{
    (void)arg;
    (void)now_us;
    (void)key;
    if (play.n_reads == READS_MAX)
        abort();
    play.done[play.n_reads] = done;
    play.arg[play.n_reads++] = done_arg;
}

static void end_read(uint64_t now_us)
{
    static struct dht_entry entry[ENTRIES_MAX];
    size_t n = next_byte() % (ENTRIES_MAX + 1);
    for (size_t i = 0; i < n; i++) {
        size_t n_bytes = (size_t)next_byte() * 4;
        n_bytes = n_bytes < DHT_DIRECTORY_BYTES_MAX ? n_bytes : DHT_DIRECTORY_BYTES_MAX;
        entry[i] = (struct dht_entry){.writer = {{next_byte() % 16}}, .addr = {.family = 4, .ip = {10}, .port = next_byte()}};
        entry[i].expiry_s = (uint32_t)(NOW_US / 1000000) + next_byte();
        n_bytes = n_bytes < (size_t)(play.end - play.at) ? n_bytes : (size_t)(play.end - play.at);
        memcpy(entry[i].bytes, play.at, n_bytes);
        entry[i].n_bytes = (uint16_t)n_bytes;
        play.at += n_bytes;
    }
    size_t i = --play.n_reads;
    play.done[i](play.arg[i], now_us, entry, n, next_byte() % 8);
}

static float bias_of(void *arg, uint32_t expert, const struct beam_claim *claim)
{
    (void)arg;
    return claim->peer.byte[0] == 3 ? -INFINITY : -(float)(expert % 3);
}

static void check_answer(void *arg, uint64_t now_us, const struct beam_answer *answer, size_t B)
{
    const struct beam_grid *grid = arg;
    (void)now_us;
    play.is_done = true;
    for (size_t t = 0; t < B; t++)
        for (size_t i = 0; i < answer[t].n; i++) {
            const struct beam_pick *pick = &answer[t].pick[i], *last = i > 0 ? pick - 1 : NULL;
            if (answer[t].n > K || pick->expert >= grid->n_experts || pick->n_claims < 1 || pick->n_claims > BEAM_CLAIMS_MAX)
                abort();
            if (last && (last->score < pick->score || (last->score == pick->score && last->expert >= pick->expert)))
                abort();
        }
}

static void search(const uint8_t *data, size_t n)
{
    /* Each dimension of one block and of more; more rows than the cache holds; as few experts as that takes. */
    static const uint32_t size[][BEAM_DIMENSIONS_MAX] = {{200, 1, 1, 1}, {66, 3, 1, 1}, {3, 66, 2, 1}, {5, 4, 3, 7},
                                                         {65, 1, 1, 1},  {7, 65, 1, 1}, {2, 4, 66, 1}, {2, 2, 2, 65}};
    static float score[2 * 300];
    struct hash run = {{0}};
    struct beam_grid grid;
    struct beam *beam;
    play.at = data;
    play.end = data + n;
    play.n_reads = 0;
    uint8_t kind = next_byte();
    if (beam_grid_init(&grid, size[kind % 4 + (kind & 16 ? 4 : 0)], kind % 4 + 1, kind & 4) != 0)
        abort();
    struct beam_config config = beam_config_usual(&run, 0, &grid, NULL);
    config.read = begin_read;
    config.n_reads_max = 24;
    config.n_rows = 12;
    config.bytes_max = beam_cache_bytes(12) + 30000;
    config.bias.of = kind & 8 ? bias_of : NULL;
    if (beam_new(&config, &beam) != 0)
        abort();
    for (size_t i = 0; i < 600; i++)
        score[i] = (float)(i * 7919 % 101);
    uint64_t now_us = NOW_US;
    for (size_t i = 0; i < 3 && (i == 0 || play.at < play.end); i++, now_us += 15000000) {
        play.is_done = false;
        if (beam_search(beam, now_us, score, 2, K, check_answer, &grid) != 0)
            abort();
        beam_tick(beam, now_us);
        while (play.n_reads > 0 && play.at < play.end)
            end_read(now_us);
        if (!play.is_done)
            beam_tick(beam, beam_deadline(beam)); /* nobody says any more */
        if (!play.is_done)
            abort();
    }
    if (beam_stats(beam).n_bytes > config.bytes_max)
        abort();
    beam_free(beam);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint8_t again[BEAM_PREFIX_BYTES];
    uint64_t map;
    if (beam_prefix_decode(&map, data, n) == 0) { /* one map, one layout */
        beam_prefix_encode(map, again);
        if (n != sizeof again || memcmp(again, data, n) != 0)
            abort();
    }
    search(data, n);
    return 0;
}
