#include <stdlib.h>
#include <string.h>

#include "cmd/sim_dht.h"

#define POLL_US SIM_DHT_SECOND_US /* how often what was not found is read again */
#define SKEW_S 60

static bool is_the_record(const struct sim_dht_look *look, const struct dht_entry *entry)
{
    return peer_id_equal(&entry->writer, &look->what.writer_id) && entry->n_bytes == SIM_DHT_RECORD_BYTES &&
           memcmp(entry->bytes, look->what.bytes, SIM_DHT_RECORD_BYTES) == 0;
}

static void on_some(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n)
{
    struct sim_dht_look *look = arg;
    for (size_t i = 0; i < n; i++)
        if (look->first_us == 0 && is_the_record(look, &entry[i]))
            look->first_us = now_us - look->start_us;
}

static void on_done(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct sim_dht_look *look = arg;
    struct dht_stats now = dht_stats(look->reader->dht);
    (void)n_asked;
    look->is_done = true;
    look->whole_us = now_us - look->start_us;
    look->n_hops = (unsigned)(now.n_walk_hops - look->before.n_walk_hops);
    look->n_questions = (unsigned)(now.n_walk_questions - look->before.n_walk_questions);
    for (size_t i = 0; i < n; i++) {
        look->is_found |= is_the_record(look, &entry[i]);
        look->swarm->n_overdue += entry[i].expiry_s + SKEW_S < now_us / SIM_DHT_SECOND_US;
    }
    if (look->first_us == 0 && now_us < look->until_us) {
        look->is_done = false;
        world_at(look->swarm->world, now_us + POLL_US, sim_dht_look_begin, look);
    } else if (look->over) {
        look->over(look);
    }
}

static struct sim_dht_peer *draw_of(struct sim_dht_swarm *s, uint32_t n_sides, uint32_t side)
{
    struct sim_dht_peer *peer;
    do
        peer = sim_dht_swarm_draw(s);
    while (sim_dht_side(peer, n_sides) != side);
    return peer;
}

static size_t n_running(const struct sim_dht_look *look, size_t n)
{
    size_t n_running = 0;
    for (size_t i = 0; i < n; i++)
        n_running += !look[i].is_done && !look[i].what.is_lost;
    return n_running;
}

/* A machine is only entered with its own events, so a read begins at a call of the world, like a user's. */
void sim_dht_look_begin(void *arg, uint64_t now_us)
{
    struct sim_dht_look *look = arg;
    if (look->n_sides > 0)
        look->reader = draw_of(look->swarm, look->n_sides, look->side);
    look->reader_life = look->reader->life;
    look->is_newcomer |= look->reader->is_newcomer;
    look->start_us = now_us;
    look->before = dht_stats(look->reader->dht);
    dht_read_early(look->reader->dht, now_us, &look->what.key, on_some, on_done, look);
    world_touch(look->reader->node);
}

/* -- A row of measurements -------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t quantile(const uint64_t *sorted, size_t n, size_t percent)
{
    size_t i = n * percent / 100;
    return n == 0 ? 0 : sorted[i < n ? i : n - 1];
}

static struct sim_dht_times times_of(uint64_t *us, size_t n)
{
    qsort(us, n, sizeof *us, by_size);
    return (struct sim_dht_times){quantile(us, n, 50), quantile(us, n, 90), quantile(us, n, 99)};
}

enum which { FIRST, WHOLE, NEWCOMERS, RESIDENTS };

static size_t pick(const struct sim_dht_look *look, size_t n, enum which which, uint64_t *out)
{
    size_t n_out = 0;
    for (size_t i = 0; i < n; i++) {
        const struct sim_dht_look *l = &look[i];
        bool is_other = (which == NEWCOMERS && !l->is_newcomer) || (which == RESIDENTS && l->is_newcomer);
        if (!l->what.is_lost && (which == WHOLE || l->first_us > 0) && !is_other)
            out[n_out++] = which == WHOLE ? l->whole_us : l->first_us;
    }
    return n_out;
}

void sim_dht_looks_sum(const struct sim_dht_look *look, size_t n, uint64_t *us, struct sim_dht_reads *out)
{
    size_t n_walks = 0;
    uint64_t hops = 0, questions = 0;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        out->n_lost += look[i].what.is_lost;
        out->n += !look[i].what.is_lost;
        out->n_found += !look[i].what.is_lost && look[i].is_found;
        if (look[i].n_hops == 0)
            continue;
        n_walks++;
        hops += look[i].n_hops;
        questions += look[i].n_questions;
        out->hops_max = look[i].n_hops > out->hops_max ? look[i].n_hops : out->hops_max;
    }
    out->hops_mean = n_walks ? (double)hops / (double)n_walks : 0;
    out->questions = n_walks ? (double)questions / (double)n_walks : 0;
    out->whole = times_of(us, pick(look, n, WHOLE, us));
    out->newcomers = times_of(us, pick(look, n, NEWCOMERS, us));
    out->residents = times_of(us, pick(look, n, RESIDENTS, us));
    size_t n_first = pick(look, n, FIRST, us);
    out->first = times_of(us, n_first);
    for (size_t i = 0; i <= 100; i++)
        out->first_ms[i] = (uint32_t)(quantile(us, n_first, i) / 1000);
}

/* Newcomers in turn; nodes as drawn, each once in a row, and none that has the record itself. */
static struct sim_dht_peer *draw_reader(struct sim_dht_swarm *s, size_t i, const struct sim_dht_record *record)
{
    size_t n_newcomers = s->n - s->n_nodes;
    if (i % 2 == 0 && i / 2 < n_newcomers)
        return &s->peer[s->n_nodes + i / 2];
    struct sim_dht_peer *peer;
    size_t n_tries = 0;
    do
        peer = sim_dht_swarm_draw(s);
    while (++n_tries < 1000 && (peer->row == s->n_rows || dht_holds(peer->dht, world_now(s->world), &record->key)));
    peer->row = s->n_rows;
    return peer;
}

int sim_dht_reads_row(struct sim_dht_swarm *s, uint64_t within_us, struct sim_dht_reads *out)
{
    size_t n = s->run->dht.n_lookups;
    struct sim_dht_look *look = calloc(n, sizeof *look);
    uint64_t *us = calloc(n, sizeof *us);
    int err = look && us ? 0 : HANSE_ENOMEM;
    s->n_rows++;
    for (size_t i = 0; !err && i < n; i++) {
        look[i].swarm = s;
        look[i].what = s->record[(i + s->n_rows) % s->n_records];
        look[i].reader = draw_reader(s, i, &look[i].what);
        world_at(s->world, world_now(s->world) + rng_below(&s->rng, within_us), sim_dht_look_begin, &look[i]);
    }
    if (!err) {
        sim_dht_swarm_pass(s, within_us + SIM_DHT_READ_US);
        sim_dht_looks_sum(look, n, us, out);
    }
    for (size_t i = 0; !err && i < n; i++)
        if (!look[i].is_done)
            err = sim_refute(s->world, "a read has not ended after %u s", (unsigned)(SIM_DHT_READ_US / SIM_DHT_SECOND_US));
    free(look);
    free(us);
    return err;
}

/* -- Until everything is found ---------------------------------------------------------------------- */

int sim_dht_reads_chase(struct sim_dht_swarm *s, uint32_t n_sides, uint64_t limit_us, struct sim_dht_chase *out)
{
    uint64_t start_us = world_now(s->world);
    struct sim_dht_look *look = calloc(n_sides * s->n_records, sizeof *look);
    if (!look)
        return HANSE_ENOMEM;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < n_sides * s->n_records; i++) {
        look[i] = (struct sim_dht_look){.swarm = s,
                                        .what = s->record[i / n_sides],
                                        .until_us = start_us + limit_us,
                                        .n_sides = n_sides,
                                        .side = (uint32_t)(i % n_sides)};
        out->n_lost += look[i].what.is_lost;
        if (!look[i].what.is_lost)
            world_at(s->world, start_us + rng_below(&s->rng, POLL_US), sim_dht_look_begin, &look[i]);
    }
    do
        sim_dht_swarm_pass(s, POLL_US);
    while (n_running(look, n_sides * s->n_records) > 0);
    for (size_t i = 0; i < n_sides * s->n_records; i++) {
        uint64_t found_us = look[i].start_us + look[i].first_us - start_us;
        out->n += !look[i].what.is_lost;
        if (look[i].what.is_lost || look[i].first_us == 0)
            continue;
        out->n_found++;
        out->last_us = found_us > out->last_us ? found_us : out->last_us;
    }
    free(look);
    return 0;
}
