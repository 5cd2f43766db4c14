/* cmd/status_runs.c - which runs hosts speak of, and a fair share of the time for each.
 *
 * Anybody can speak of runs that do not exist, of any size, in the name of any number of writers, and can be slow to answer where their
 * rows would be.  So those who speak are called (cmd/speakers.h), and the next row is that of the subnet for which least was read so far;
 * all runs for which nobody answers share one turn.  Where rows told of hosts there is something to be shown: such runs come first.  But
 * neither they nor the others, and least of all those for which nobody answers, ever have all that is read at once. */
#include "cmd/status_runs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/speakers.h"
#include "dht/directory.h"
#include "dht/read.h"
#include "router/message.h"

#define RUNS_MAX DHT_READ_ENTRIES_MAX /* all that a read may bring: nobody takes another's place here */
#define ROUNDS_MAX 3                  /* until somebody speaks of a run */
#define ROWS_AT_ONCE 32               /* are read, as many as the node works at; */
#define HOSTED_AT_ONCE 24             /* of runs that have hosts, as far as we know; */
#define BARREN_AT_ONCE 24             /* of others; */
#define UNHEARD_AT_ONCE 16            /* and of those for which nobody answered */

struct spoken {
    struct run run; /* id, name, n_moe and experts alone */
    uint32_t lot;   /* orders those that are otherwise equal */
    struct status *status;
    size_t n_begun; /* rows */
    bool is_over;
    bool is_known; /* it was read, or has hosts */
    bool is_empty; /* it was read, and nobody hosts any of it */
};

struct status_runs {
    struct status_runs_config config;
    struct rng rng;
    bool is_reading, is_over;
    int err;
    uint64_t start_us, next_us;
    uint64_t end_us; /* of reading runs; 0: we still look which there are */
    unsigned n_rounds;
    size_t n_asked, n_runs;
    struct speakers *speakers;
    size_t *n_of_owner; /* rows begun for each owner; room for next_row() */
    struct spoken run[RUNS_MAX];
};

/* -- Which runs there are ---------------------------------------------------------------------------- */

static void hear_run(struct status_runs *x, const struct dht_entry *entry)
{
    struct message_run m;
    size_t i = 0;
    if (message_run_decode(&m, entry->bytes, entry->n_bytes) != 0 || m.n_moe > RUN_LAYERS_MAX)
        return; /* no run of ours */
    while (i < x->n_runs && !hash_equal(&x->run[i].run.id, &m.run))
        i++;
    if (i == RUNS_MAX)
        return;
    if (i == x->n_runs) {
        struct spoken *spoken = &x->run[x->n_runs++];
        spoken->run = (struct run){.id = m.run, .n_moe = m.n_moe, .experts = m.experts};
        snprintf(spoken->run.name, sizeof spoken->run.name, "%s", m.name);
        spoken->lot = rng_u32(&x->rng);
    }
    if (!x->err)
        x->err = speakers_hear(x->speakers, i, entry);
}

static void on_runs(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct status_runs *x = arg;
    for (size_t i = 0; i < n; i++)
        hear_run(x, &entry[i]);
    x->n_asked = n_asked > x->n_asked ? n_asked : x->n_asked;
    x->is_reading = false;
    x->next_us = now_us;
}

static void begin_reading(struct status_runs *x, uint64_t now_us)
{
    x->end_us = now_us + STATUS_RUNS_US;
    if (!x->err)
        x->err = speakers_begin(x->speakers, now_us);
}

static void look(struct status_runs *x, uint64_t now_us)
{
    static const struct hash nobody;
    struct dht_id key = dht_directory_key(&nobody, MESSAGE_RUNS, 0, 0);
    if (now_us < x->next_us || x->is_reading)
        return;
    bool is_late = now_us >= x->start_us + STATUS_NOBODY_US;
    if (x->n_runs > 0 || x->n_rounds >= ROUNDS_MAX || is_late) {
        begin_reading(x, now_us);
        return;
    }
    x->next_us = now_us + (x->n_rounds ? STATUS_AGAIN_US : STATUS_SETTLE_US);
    if (dht_n_good(x->config.dht) == 0)
        return;
    x->is_reading = true;
    x->n_rounds++;
    dht_read(x->config.dht, now_us, &key, on_runs, x);
}

/* -- What is in them ----------------------------------------------------------------------------------- */

static bool has_hosts(const struct spoken *spoken)
{
    return spoken->status && status_has_hosts(spoken->status);
}

static bool wants_row(const struct spoken *spoken)
{
    return !spoken->is_over && (!spoken->status || status_wants_row(spoken->status));
}

/* What has hosts; then whom least was done for, and of its runs the one of which least was read. */
static bool comes_before(const struct status_runs *x, size_t a, size_t b)
{
    const struct spoken *x_a = &x->run[a], *x_b = &x->run[b];
    if (has_hosts(x_a) != has_hosts(x_b))
        return has_hosts(x_a);
    size_t n_a = x->n_of_owner[speakers_owner(x->speakers, a)], n_b = x->n_of_owner[speakers_owner(x->speakers, b)];
    if (n_a != n_b)
        return n_a < n_b;
    return x_a->n_begun != x_b->n_begun ? x_a->n_begun < x_b->n_begun : x_a->lot < x_b->lot;
}

/* Rows that are being read: of runs that have hosts, of the others, and of those of the latter for which nobody answered. */
struct under_way {
    size_t n_hosted, n_barren, n_unheard;
};

static struct under_way count(struct status_runs *x)
{
    struct under_way n = {0};
    memset(x->n_of_owner, 0, speakers_n_owners(x->speakers) * sizeof *x->n_of_owner);
    for (size_t i = 0; i < x->n_runs; i++) {
        const struct spoken *spoken = &x->run[i];
        size_t owner = speakers_owner(x->speakers, i);
        size_t n_reading = spoken->status ? status_n_reading(spoken->status) : 0;
        x->n_of_owner[owner] += spoken->n_begun;
        *(has_hosts(spoken) ? &n.n_hosted : &n.n_barren) += n_reading;
        n.n_unheard += has_hosts(spoken) || owner != 0 ? 0 : n_reading;
    }
    return n;
}

static bool has_room(const struct status_runs *x, const struct under_way *n, size_t i)
{
    if (n->n_hosted + n->n_barren >= ROWS_AT_ONCE)
        return false;
    if (has_hosts(&x->run[i]))
        return n->n_hosted < HOSTED_AT_ONCE;
    return n->n_barren < BARREN_AT_ONCE && (speakers_owner(x->speakers, i) != 0 || n->n_unheard < UNHEARD_AT_ONCE);
}

/* The run of which a row is to be read next; RUNS_MAX: none. */
static size_t next_row(struct status_runs *x)
{
    struct under_way n = count(x);
    size_t best = RUNS_MAX;
    for (size_t i = 0; i < x->n_runs; i++)
        if (wants_row(&x->run[i]) && has_room(x, &n, i) && (best == RUNS_MAX || comes_before(x, i, best)))
            best = i;
    return best;
}

static void read_row(struct status_runs *x, struct spoken *spoken, uint64_t now_us)
{
    struct status_config config = {&spoken->run, x->config.dht, STATUS_NOBODY_US, true};
    if (!spoken->status) {
        x->err = status_new(&config, now_us, &spoken->status);
        if (x->err)
            return;
        status_step(spoken->status, now_us);
    }
    if (!status_wants_row(spoken->status))
        return;
    spoken->n_begun++;
    status_read_row(spoken->status, now_us);
}

static void show(struct status_runs *x, struct spoken *spoken, uint64_t now_us)
{
    spoken->is_known = true;
    spoken->is_empty = !status_has_hosts(spoken->status);
    x->config.show(x->config.arg, now_us, spoken->status);
}

static void end_run(struct status_runs *x, struct spoken *spoken, uint64_t now_us)
{
    if (status_was_answered(spoken->status))
        show(x, spoken, now_us);
    spoken->is_over = true;
    status_free(spoken->status);
    spoken->status = NULL;
}

static void read_runs(struct status_runs *x, uint64_t now_us)
{
    size_t i;
    speakers_step(x->speakers, now_us);
    for (i = 0; i < x->n_runs; i++) {
        struct spoken *spoken = &x->run[i];
        if (spoken->status)
            status_step(spoken->status, now_us);
        if (spoken->status && status_is_over(spoken->status))
            end_run(x, spoken, now_us);
    }
    while (!x->err && (i = next_row(x)) != RUNS_MAX)
        read_row(x, &x->run[i], now_us);
}

static bool is_done(const struct status_runs *x)
{
    size_t i = 0;
    while (i < x->n_runs && x->run[i].is_over)
        i++;
    return i == x->n_runs;
}

/* What was being read when the time is over: what is known of it. */
static void finish(struct status_runs *x, uint64_t now_us)
{
    for (size_t i = 0; i < x->n_runs && !x->err; i++) {
        struct spoken *spoken = &x->run[i];
        if (spoken->status && (status_has_hosts(spoken->status) || status_is_whole(spoken->status)))
            show(x, spoken, now_us);
    }
    x->is_over = true;
}

void status_runs_step(struct status_runs *x, uint64_t now_us)
{
    if (x->is_over)
        return;
    if (x->end_us == 0)
        look(x, now_us);
    if (x->end_us != 0 && !x->err)
        read_runs(x, now_us);
    if (x->err || (x->end_us != 0 && (now_us >= x->end_us || is_done(x))))
        finish(x, now_us);
}

uint64_t status_runs_wake(const struct status_runs *x)
{
    uint64_t first_us = x->end_us;
    if (x->end_us == 0)
        return x->is_reading ? IO_NEVER : x->next_us;
    if (speakers_wake(x->speakers) < first_us)
        first_us = speakers_wake(x->speakers);
    for (size_t i = 0; i < x->n_runs; i++)
        if (x->run[i].status && status_wake(x->run[i].status) < first_us)
            first_us = status_wake(x->run[i].status);
    return first_us;
}

/* -- What becomes of it -------------------------------------------------------------------------------- */

int status_runs_new(const struct status_runs_config *config, uint64_t now_us, struct status_runs **out)
{
    struct status_runs *x = calloc(1, sizeof *x);
    if (!x)
        return HANSE_ENOMEM;
    x->config = *config;
    x->start_us = now_us;
    rng_init(&x->rng, config->seed, "status-runs");
    x->n_of_owner = calloc(DHT_READ_ENTRIES_MAX + 1, sizeof *x->n_of_owner);
    int err = x->n_of_owner ? speakers_new(config->dht, config->seed, RUNS_MAX, &x->speakers) : HANSE_ENOMEM;
    if (err) {
        status_runs_free(x);
        return err;
    }
    *out = x;
    return 0;
}

void status_runs_free(struct status_runs *x)
{
    if (!x)
        return;
    for (size_t i = 0; i < x->n_runs; i++)
        status_free(x->run[i].status);
    speakers_free(x->speakers);
    free(x->n_of_owner);
    free(x);
}

bool status_runs_is_over(const struct status_runs *x)
{
    return x->is_over;
}

int status_runs_result(const struct status_runs *x)
{
    return x->err ? x->err : x->n_asked > 0 ? 0 : HANSE_EUNREACHABLE;
}

struct status_runs_count status_runs_count(const struct status_runs *x)
{
    struct status_runs_count count = {.n_asked = x->n_asked, .n_runs = x->n_runs};
    for (size_t i = 0; i < x->n_runs; i++) {
        count.n_empty += x->run[i].is_empty;
        count.n_unread += !x->run[i].is_known;
    }
    return count;
}

const struct run *status_runs_empty(const struct status_runs *x, const struct run *last)
{
    size_t i = 0;
    while (last && &x->run[i++].run != last)
        ;
    while (i < x->n_runs && !x->run[i].is_empty)
        i++;
    return i < x->n_runs ? &x->run[i].run : NULL;
}
