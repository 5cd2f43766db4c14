/* cmd/sim_dht.c - the story: nodes join and write, some vanish, strangers read; then many leave, or the network parts and heals. */
#include "cmd/sim_dht.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "base/text.h"

#define JOINED_US (25 * SIM_DHT_SECOND_US)  /* after the last has come, for tables to fill */
#define WRITTEN_US (12 * SIM_DHT_SECOND_US) /* a record is written again after 2 and after 8 s */
#define TURNED_US (30 * SIM_DHT_SECOND_US)  /* for liars to spread */
#define READS_US (5 * SIM_DHT_SECOND_US)    /* within which a row of reads begins */
#define FOUND_US (60 * SIM_DHT_SECOND_US)   /* all that is left is to be found by then */
#define HEALED_US (600 * SIM_DHT_SECOND_US) /* after a partition */
#define HONEST_PERMILLE 999                 /* of reads that find their record among liars */

const struct sim_dht_options sim_dht_default = {.n_nodes = 1000,
                                                .n_lookups = 400,
                                                .stale_percent = 20,
                                                .leave_percent = 50,
                                                .churn_for_s = 1800,
                                                .rtt_median_ms = 80,
                                                .loss_percent = 1};

/* -- What was measured ------------------------------------------------------------------------------ */

static double ms(uint64_t us)
{
    return (double)us / 1000;
}

static void say_reads(const struct sim_dht_swarm *s, const char *when, const struct sim_dht_reads *r)
{
    sim_say(s->run, s->world, "%s: %zu of %zu reads find their record%s; %.1f hops, %u at most; %.0f questions", when, r->n_found,
            r->n, r->n_lost ? " (of others all holders are gone)" : "", r->hops_mean, r->hops_max, r->questions);
    sim_say(s->run, s->world, "   first value p50 %.0f p90 %.0f p99 %.0f ms (nodes %.0f %.0f %.0f, newcomers %.0f %.0f %.0f)",
            ms(r->first.p50_us), ms(r->first.p90_us), ms(r->first.p99_us), ms(r->residents.p50_us), ms(r->residents.p90_us),
            ms(r->residents.p99_us), ms(r->newcomers.p50_us), ms(r->newcomers.p90_us), ms(r->newcomers.p99_us));
    sim_say(s->run, s->world, "   whole read  p50 %.0f p90 %.0f p99 %.0f ms", ms(r->whole.p50_us), ms(r->whole.p90_us),
            ms(r->whole.p99_us));
}

static void say_churn(const struct sim_dht_swarm *s, const struct sim_dht_churn *c)
{
    say_reads(s, "meanwhile", &c->here);
    sim_say(s->run, s->world, "   of writers that left: %zu of %zu%s; %zu reader%s left during the read", c->left.n_found,
            c->left.n, c->left.n_lost ? " (others' entries are over)" : "", c->n_broken, text_plural(c->n_broken));
    sim_say(s->run, s->world, "   %.1f datagrams a node a second, %.0f bytes; %.1f %% of all questions stay unanswered", c->sent,
            c->sent_bytes, 100 * c->unanswered);
    sim_say(s->run, s->world, "   a node has %.1f kB when reads begin, %.1f kB at the end", (double)c->bytes_before / 1000,
            (double)c->bytes_after / 1000);
}

static FILE *open_table(const char *directory, const char *name)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    return n > 0 && (size_t)n < sizeof path ? fopen(path, "a") : NULL;
}

/* Rows are added to what earlier runs left, so that a curve can be gathered from several. */
static int plot_reads(const struct sim_run *run, uint64_t stale_percent, const struct sim_dht_reads *r)
{
    const struct sim_dht_options *o = &run->dht;
    FILE *rows = open_table(o->plot, "reads.dat"), *curves = open_table(o->plot, "curves.dat");
    if (rows)
        fprintf(rows, "%llu %llu %llu %zu %zu %.2f %u %.1f %.0f %.0f %.0f %.0f %.0f %.0f\n", (unsigned long long)o->n_nodes,
                (unsigned long long)stale_percent, (unsigned long long)o->adversary_percent, r->n, r->n_found, r->hops_mean,
                r->hops_max, r->questions, ms(r->first.p50_us), ms(r->first.p90_us), ms(r->first.p99_us), ms(r->whole.p50_us),
                ms(r->whole.p90_us), ms(r->whole.p99_us));
    for (int i = 0; curves && i <= 100; i++)
        fprintf(curves, "%llu %llu %llu %d %u\n", (unsigned long long)o->n_nodes, (unsigned long long)stale_percent,
                (unsigned long long)o->adversary_percent, i, r->first_ms[i]);
    int err = rows && curves ? 0 : HANSE_EIO;
    if (rows && fclose(rows) != 0)
        err = HANSE_EIO;
    if (curves && fclose(curves) != 0)
        err = HANSE_EIO;
    return err;
}

static int plot_churn(const struct sim_run *run, const struct sim_dht_churn *c)
{
    const struct sim_dht_reads *r = &c->here;
    FILE *rows = open_table(run->dht.plot, "churn.dat");
    if (!rows)
        return HANSE_EIO;
    fprintf(rows, "%llu %llu %zu %zu %zu %zu %zu %.2f %u %.1f ", (unsigned long long)run->dht.n_nodes,
            (unsigned long long)run->dht.churn_min, r->n, r->n_found, c->left.n, c->left.n_found, c->left.n_lost, r->hops_mean,
            r->hops_max, r->questions);
    fprintf(rows, "%.0f %.0f %.0f %.0f %.0f %.0f ", ms(r->first.p50_us), ms(r->first.p90_us), ms(r->first.p99_us),
            ms(r->whole.p50_us), ms(r->whole.p90_us), ms(r->whole.p99_us));
    fprintf(rows, "%.2f %.0f %.1f %.1f %.1f\n", c->sent, c->sent_bytes, 100 * c->unanswered, (double)c->bytes_before / 1000,
            (double)c->bytes_after / 1000);
    return fclose(rows) == 0 ? 0 : HANSE_EIO;
}

/* -- What is claimed -------------------------------------------------------------------------------- */

static int hold_reads(const struct sim_dht_swarm *s, const struct sim_dht_reads *r)
{
    bool has_liars = s->run->dht.adversary_percent > 0;
    double most = 0.7 * log10((double)s->n_nodes) + 0.5;
    if (has_liars ? 1000 * r->n_found < HONEST_PERMILLE * r->n : r->n_found < r->n)
        return sim_refute(s->world, "%zu of %zu records were not found", r->n - r->n_found, r->n);
    if (!has_liars && r->hops_mean > most)
        return sim_refute(s->world, "%.2f hops are more than 0.7 log10 N + 0.5 = %.2f", r->hops_mean, most);
    return 0;
}

static int hold_churn(const struct sim_dht_swarm *s, const struct sim_dht_churn *c)
{
    int err = hold_reads(s, &c->here);
    if (!err)
        err = hold_reads(s, &c->left);
    if (!err && 2 * c->bytes_after > 3 * c->bytes_before)
        err = sim_refute(s->world, "a node grew from %zu to %zu bytes", c->bytes_before, c->bytes_after);
    return err;
}

static int hold_chase(const struct sim_dht_swarm *s, const struct sim_dht_chase *c, uint64_t limit_us)
{
    sim_say(s->run, s->world, "   %zu of %zu records are found, the last after %.1f s%s", c->n_found, c->n,
            (double)c->last_us / 1e6, c->n_lost ? " (others are nobody's any more)" : "");
    if (c->n_found < c->n || c->last_us > limit_us)
        return sim_refute(s->world, "not every record was found within %.0f s", (double)limit_us / 1e6);
    return 0;
}

static int hold_rules(const struct sim_dht_swarm *s)
{
    if (s->n_amplified > 0)
        return sim_refute(s->world, "answers to strangers longer than three times their question: %zu", s->n_amplified);
    if (s->n_overdue > 0)
        return sim_refute(s->world, "entries given out after their time: %zu", s->n_overdue);
    return 0;
}

/* -- The story -------------------------------------------------------------------------------------- */

static int row(struct sim_dht_swarm *s, const char *when, uint64_t stale_percent, struct sim_dht_reads *out)
{
    int err = sim_dht_reads_row(s, READS_US, out);
    if (err)
        return err;
    say_reads(s, when, out);
    if (s->run->dht.plot)
        err = plot_reads(s->run, stale_percent, out);
    return err ? err : hold_reads(s, out);
}

static int settle(struct sim_dht_swarm *s)
{
    const struct sim_dht_options *o = &s->run->dht;
    int err = sim_dht_swarm_grow(s);
    if (err)
        return err;
    sim_say(s->run, s->world, "%zu nodes have joined, each through one of the earlier ones", s->n_nodes);
    sim_dht_swarm_pass(s, JOINED_US);
    if (o->adversary_percent > 0) {
        sim_dht_corrupt(s, s->n_nodes * o->adversary_percent / 100);
        sim_say(s->run, s->world, "%zu of them turn%s into liar%s", s->n_liars, s->n_liars == 1 ? "s" : "",
                text_plural(s->n_liars));
        sim_dht_swarm_pass(s, TURNED_US);
    }
    sim_dht_swarm_publish(s);
    err = sim_dht_swarm_add_newcomers(s, o->n_lookups / 2);
    sim_dht_swarm_pass(s, WRITTEN_US);
    sim_say(s->run, s->world, "%zu records are written", s->n_records);
    return err;
}

static int vanish_and_read(struct sim_dht_swarm *s, struct sim_dht_figures *out)
{
    char when[64];
    uint64_t percent = s->run->dht.stale_percent;
    sim_dht_swarm_kill(s, s->n_nodes * percent / 100);
    (void)sim_dht_swarm_count_lost(s, false);
    (void)snprintf(when, sizeof when, "%llu %% have just vanished", (unsigned long long)percent);
    return row(s, when, percent, &out->stale);
}

static int come_and_go(struct sim_dht_swarm *s, struct sim_dht_figures *out)
{
    const struct sim_dht_options *o = &s->run->dht;
    sim_say(s->run, s->world, "for %llu s nodes come and go, each lives %llu min on average", (unsigned long long)o->churn_for_s,
            (unsigned long long)o->churn_min);
    int err = sim_dht_churn(s, &out->churn);
    if (err)
        return err;
    sim_say(s->run, s->world, "%zu left without a word, as many came", out->churn.n_went);
    say_churn(s, &out->churn);
    if (o->plot)
        err = plot_churn(s->run, &out->churn);
    return err ? err : hold_churn(s, &out->churn);
}

static int leave(struct sim_dht_swarm *s, struct sim_dht_figures *out)
{
    size_t n = s->n_alive * s->run->dht.leave_percent / 100;
    sim_dht_swarm_kill(s, n);
    (void)sim_dht_swarm_count_lost(s, true);
    sim_say(s->run, s->world, "%zu of the others leave%s at once", n, n == 1 ? "s" : "");
    int err = sim_dht_reads_chase(s, 1, FOUND_US, &out->leave);
    return err ? err : hold_chase(s, &out->leave, FOUND_US);
}

static int part_and_heal(struct sim_dht_swarm *s, struct sim_dht_figures *out)
{
    for (size_t i = 0; i < s->n; i++)
        world_set_group(s->peer[i].node, sim_dht_side(&s->peer[i], 2));
    world_part(s->world, true);
    sim_dht_swarm_pass(s, s->run->dht.partition_s * SIM_DHT_SECOND_US);
    (void)sim_dht_swarm_count_lost(s, true);
    int err = sim_dht_reads_chase(s, 2, 0, &out->parted);
    if (err)
        return err;
    world_part(s->world, false);
    sim_say(s->run, s->world, "parted for %llu s, %zu of %zu reads found their record; now the halves meet again",
            (unsigned long long)s->run->dht.partition_s, out->parted.n_found, out->parted.n);
    err = sim_dht_reads_chase(s, 2, HEALED_US, &out->heal);
    return err ? err : hold_chase(s, &out->heal, HEALED_US);
}

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static int tell(struct sim_dht_swarm *s, struct sim_dht_figures *out)
{
    const struct sim_dht_options *o = &s->run->dht;
    size_t before = heap_bytes();
    int err = settle(s);
    out->heap_bytes = (heap_bytes() - before) / s->n_nodes;
    if (!err)
        err = row(s, "nobody has vanished", 0, &out->fresh);
    if (!err && o->churn_min > 0)
        err = come_and_go(s, out);
    if (!err && o->stale_percent > 0)
        err = vanish_and_read(s, out);
    if (!err && o->partition_s > 0)
        err = part_and_heal(s, out);
    if (!err && o->leave_percent > 0)
        err = leave(s, out);
    return err ? err : hold_rules(s);
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void say_cost(const struct sim_run *run, const struct sim_dht_figures *f, double seconds)
{
    printf("here: %.1f kB of heap a node, %.0f s of processor, %.0f events a second\n", (double)f->heap_bytes / 1000, seconds,
           (double)run->n_events / seconds);
    if (f->churn.n_went > 0)
        printf("here: %.1f MB of heap when reads begin while nodes come and go, %.1f MB at the end\n",
               (double)f->churn.heap_bytes_before / 1e6, (double)f->churn.heap_bytes_after / 1e6);
}

int sim_dht_measure(struct sim_run *run, struct sim_dht_figures *out)
{
    struct sim_dht_swarm *s;
    double start_s = cpu_s();
    int err = sim_dht_swarm_new(run, &s);
    if (err)
        return err;
    err = tell(s, out);
    sim_dht_swarm_free(s);
    if (!run->is_quiet)
        say_cost(run, out, cpu_s() - start_s);
    return err;
}

int sim_play_dht(struct sim_run *run)
{
    struct sim_dht_figures figures = {0};
    return sim_dht_measure(run, &figures);
}
