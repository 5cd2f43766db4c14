/* cmd/sim_dht_churn.c - nodes come and go, all the time.
 *
 * Each place in the swarm is had by one node after the other: the population stays level, and a leaver's successor is a stranger
 * who joins through those that are there.  Lives are heavy-tailed, as measured ones: few stay very long, most hardly at all. */
#include <malloc.h>
#include <stdlib.h>

#include "cmd/sim_dht.h"
#include "dht/id.h"
#include "sim/draw.h"

#define NEW_US (10 * SIM_DHT_SECOND_US)                         /* a newcomer reads when it is so old, */
#define WRITTEN_US (12 * SIM_DHT_SECOND_US)                     /* and a record is read when it is */
#define OVER_US ((DHT_DIRECTORY_TTL_S + 1) * SIM_DHT_SECOND_US) /* after its writer went nobody gives it out */
#define TRIES_MAX 1000

/* -- Lives ------------------------------------------------------------------------------------------ */

/* Weibull, as Steiner, En-Najjary and Biersack found session times of Kad ("Long term study of peer behavior in the KAD DHT",
 * IEEE/ACM ToN 17(5), 2009), and of shape 1/2, where a life is the square of an exponential variable: of a mean of m, a quarter
 * live less than 0.04 m, half less than 0.24 m, a tenth more than 2.65 m.  Stutzbach and Rejaie ("Understanding churn in
 * peer-to-peer networks", IMC 2006) saw the same in three networks: many that are there stay, the others change quickly. */
static uint64_t life_us(double mean_us, double e)
{
    return 1 + (uint64_t)(mean_us / 2 * e * e);
}

static double mean_us(const struct sim_dht_swarm *s)
{
    return (double)s->run->dht.churn_min * 60 * (double)SIM_DHT_SECOND_US;
}

/* What is left of a life that one meets at any moment has the density P(life > t) / mean, which for this shape is that of the
 * square of a sum of two exponential variables: the swarm begins as if it had gone on like this for ever. */
static uint64_t draw_rest(struct sim_dht_swarm *s)
{
    double e = draw_exponential(&s->rng);
    return life_us(mean_us(s), e + draw_exponential(&s->rng));
}

static void leave(void *arg, uint64_t now_us);

static void plan_to_leave(struct sim_dht_peer *peer, uint64_t in_us)
{
    struct sim_dht_swarm *s = peer->swarm;
    if (world_now(s->world) + in_us < s->churn_end_us)
        world_at(s->world, world_now(s->world) + in_us, leave, peer);
}

/* -- Records of those who left ---------------------------------------------------------------------- */

/* The last entry of a writer that has gone is over: somebody else writes something else. */
static void write_another(void *arg, uint64_t now_us)
{
    struct sim_dht_record *record = arg;
    sim_dht_swarm_renew(record->swarm, record);
    sim_dht_swarm_write(record, now_us);
}

static void orphan(struct sim_dht_swarm *s, const struct sim_dht_peer *peer)
{
    uint64_t over_us = world_now(s->world) + OVER_US;
    for (size_t i = 0; i < s->n_records; i++) {
        if (s->record[i].writer != peer)
            continue;
        s->record[i].writer = NULL;
        if (over_us < s->churn_end_us)
            world_at(s->world, over_us, write_another, &s->record[i]);
    }
}

static void leave(void *arg, uint64_t now_us)
{
    struct sim_dht_peer *peer = arg;
    struct sim_dht_swarm *s = peer->swarm;
    (void)now_us;
    orphan(s, peer);
    sim_dht_swarm_replace(peer);
    s->n_went++;
    plan_to_leave(peer, life_us(mean_us(s), draw_exponential(&s->rng)));
}

/* -- Reads ------------------------------------------------------------------------------------------ */

static void judge(struct sim_dht_look *look)
{
    look->reader->n_reading--;
    if (look->is_mixed || look->reader->n_begun != look->n_begun)
        look->n_hops = 0; /* nobody knows */
    bool is_another = !dht_id_equal(&look->place->key, &look->what.key);
    look->is_left = is_another || !look->place->writer;
    look->what.is_lost = look->is_left && !look->is_found && !sim_dht_swarm_holds(look->swarm, &look->what.key);
}

static const struct sim_dht_record *draw_record(struct sim_dht_swarm *s)
{
    const struct sim_dht_record *record;
    size_t n_tries = 0;
    do
        record = &s->record[rng_below(&s->rng, s->n_records)];
    while (world_now(s->world) - record->written_us < WRITTEN_US && ++n_tries < TRIES_MAX);
    return record;
}

static bool has_it(const struct sim_dht_peer *peer, const struct sim_dht_record *record)
{
    return record->writer == peer || dht_holds(peer->dht, world_now(peer->swarm->world), &record->key);
}

/* The last one to come that is old enough. */
static struct sim_dht_peer *find_newcomer(struct sim_dht_swarm *s, const struct sim_dht_record *record)
{
    struct sim_dht_peer *newest = NULL;
    for (size_t i = 0; i < s->n_nodes; i++) {
        struct sim_dht_peer *peer = &s->peer[i];
        bool is_candidate = peer->dht && peer->life > 0 && world_now(s->world) - peer->born_us >= NEW_US;
        if (is_candidate && (!newest || peer->born_us > newest->born_us) && !has_it(peer, record))
            newest = peer;
    }
    return newest;
}

static struct sim_dht_peer *find_resident(struct sim_dht_swarm *s, const struct sim_dht_record *record)
{
    struct sim_dht_peer *peer;
    size_t n_tries = 0;
    do
        peer = sim_dht_swarm_draw(s);
    while (has_it(peer, record) && ++n_tries < TRIES_MAX);
    return peer;
}

static void begin(void *arg, uint64_t now_us)
{
    struct sim_dht_look *look = arg;
    struct sim_dht_swarm *s = look->swarm;
    look->place = draw_record(s);
    look->what = *look->place;
    look->reader = look->is_newcomer ? find_newcomer(s, look->place) : NULL;
    look->is_newcomer = look->reader != NULL;
    if (!look->reader)
        look->reader = find_resident(s, look->place);
    look->is_mixed = look->reader->n_reading++ > 0;
    look->n_begun = ++look->reader->n_begun;
    sim_dht_look_begin(look, now_us);
}

static void plan_reads(struct sim_dht_swarm *s, struct sim_dht_look *look, size_t n)
{
    uint64_t now_us = world_now(s->world);
    for (size_t i = 0; i < n; i++) {
        look[i] = (struct sim_dht_look){.swarm = s, .is_newcomer = i % 2 == 0, .over = judge};
        world_at(s->world, now_us + rng_below(&s->rng, s->churn_end_us - SIM_DHT_READ_US - now_us), begin, &look[i]);
    }
}

/* -- What came of it -------------------------------------------------------------------------------- */

enum outcome { HERE, LEFT, BROKEN, STUCK };

static enum outcome outcome_of(const struct sim_dht_look *look)
{
    if (!look->is_done)
        return look->reader->life != look->reader_life ? BROKEN : STUCK;
    return look->is_left ? LEFT : HERE;
}

/* Puts those of this outcome in front of the others; returns how many they are. */
static size_t gather(struct sim_dht_look *look, size_t n, enum outcome outcome)
{
    size_t n_found = 0;
    for (size_t i = 0; i < n; i++)
        if (outcome_of(&look[i]) == outcome) {
            struct sim_dht_look other = look[n_found];
            look[n_found++] = look[i];
            look[i] = other;
        }
    return n_found;
}

static int sum_up(const struct sim_dht_swarm *s, struct sim_dht_look *look, size_t n, struct sim_dht_churn *out)
{
    uint64_t *us = calloc(n, sizeof *us);
    if (!us)
        return HANSE_ENOMEM;
    size_t n_here = gather(look, n, HERE), n_left = gather(look + n_here, n - n_here, LEFT);
    sim_dht_looks_sum(look, n_here, us, &out->here);
    sim_dht_looks_sum(look + n_here, n_left, us, &out->left);
    free(us);
    size_t n_over = n_here + n_left;
    out->n_broken = gather(look + n_over, n - n_over, BROKEN);
    if (n_over + out->n_broken < n)
        return sim_refute(s->world, "a read has not ended after %u s", (unsigned)(SIM_DHT_READ_US / SIM_DHT_SECOND_US));
    return 0;
}

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Until what was known before has been forgotten or found again: a quarter of the time.  Then all is counted, and reads begin. */
static void go_on(struct sim_dht_swarm *s, struct sim_dht_look *look, size_t n, struct sim_dht_churn *out)
{
    uint64_t start_us = world_now(s->world) + (s->churn_end_us - world_now(s->world)) / 4;
    world_run(s->world, start_us);
    struct sim_dht_totals before = sim_dht_swarm_totals(s), after;
    out->bytes_before = sim_dht_swarm_memory(s);
    out->heap_bytes_before = heap_bytes();
    plan_reads(s, look, n);
    world_run(s->world, s->churn_end_us);
    double node_seconds = (double)s->n_nodes * (double)(s->churn_end_us - start_us) / (double)SIM_DHT_SECOND_US;
    after = sim_dht_swarm_totals(s);
    out->n_went = s->n_went;
    out->sent = (double)(after.n_sent - before.n_sent) / node_seconds;
    out->sent_bytes = (double)(after.n_sent_bytes - before.n_sent_bytes) / node_seconds;
    out->unanswered = (double)(after.n_unanswered - before.n_unanswered) / (double)(after.n_asked - before.n_asked);
    out->bytes_after = sim_dht_swarm_memory(s);
    out->heap_bytes_after = heap_bytes();
}

int sim_dht_churn(struct sim_dht_swarm *s, struct sim_dht_churn *out)
{
    size_t n = s->run->dht.n_lookups;
    struct sim_dht_look *look = calloc(n, sizeof *look);
    if (!look)
        return HANSE_ENOMEM;
    s->churn_end_us = world_now(s->world) + s->run->dht.churn_for_s * SIM_DHT_SECOND_US;
    for (size_t i = 0; i < s->n_nodes; i++)
        if (s->peer[i].dht && !s->peer[i].is_liar) /* who lies does it for a living, and stays */
            plan_to_leave(&s->peer[i], draw_rest(s));
    go_on(s, look, n, out);
    int err = s->err ? s->err : sum_up(s, look, n, out);
    free(look);
    return err;
}
