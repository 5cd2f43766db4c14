/* cmd/status_runs.c - hanse status without --run: which runs hosts speak of, many read at a time.
 *
 * Anybody can speak of runs that do not exist.  So those of which most hosts speak come first, what has hosts is shown as soon as it is
 * read, what has none is named in one line at the end, and all of it has its time. */
#include "cmd/status_runs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/directory.h"
#include "router/message.h"

#define RUNS_MAX DHT_DIRECTORY_KEY_MAX /* all that a key may hold: one subnet's share hides no others */
#define ROUNDS_MAX 3                   /* until somebody speaks of a run */
#define AT_ONCE 32                     /* runs that are read, */
#define ROWS_AT_ONCE 512               /* and rows of them, as they claim to have */

struct spoken {
    struct run run; /* id, name, n_moe and experts alone */
    size_t n_hosts; /* that speak of it */
    bool is_known;  /* it was read */
    bool is_empty;  /* and nobody hosts any of it */
};

struct status_runs {
    struct status_runs_config config;
    bool is_reading, is_over;
    int err;
    uint64_t start_us, next_us;
    uint64_t end_us; /* of reading runs; 0: we still look which there are */
    unsigned n_rounds;
    size_t n_asked, n_runs, n_begun;
    size_t n_rows; /* being read */
    struct status *reading[AT_ONCE];
    struct spoken *of[AT_ONCE];
    struct spoken run[RUNS_MAX];
};

/* -- Which runs there are ---------------------------------------------------------------------------- */

static void hear_run(struct status_runs *x, const struct dht_entry *entry)
{
    struct message_run m;
    size_t i = 0;
    if (message_run_decode(&m, entry->bytes, entry->n_bytes) != 0 || m.n_moe > RUN_LAYERS_MAX)
        return; /* no run of ours: a stranger's word must not cost gigabytes */
    while (i < x->n_runs && !hash_equal(&x->run[i].run.id, &m.run))
        i++;
    if (i == RUNS_MAX)
        return;
    if (i == x->n_runs) {
        struct run *run = &x->run[x->n_runs++].run;
        *run = (struct run){.id = m.run, .n_moe = m.n_moe, .experts = m.experts};
        snprintf(run->name, sizeof run->name, "%s", m.name);
    }
    x->run[i].n_hosts++;
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

static size_t rows_of(const struct run *run)
{
    return (size_t)run->n_moe * ((run->experts + MESSAGE_ROW_EXPERTS - 1) / MESSAGE_ROW_EXPERTS);
}

static int by_hosts_and_size(const void *a, const void *b)
{
    const struct spoken *x = a, *y = b;
    if (x->n_hosts != y->n_hosts)
        return x->n_hosts < y->n_hosts ? 1 : -1;
    size_t n_x = rows_of(&x->run), n_y = rows_of(&y->run);
    return (n_x > n_y) - (n_x < n_y);
}

static void look(struct status_runs *x, uint64_t now_us)
{
    static const struct hash nobody;
    struct dht_id key = dht_directory_key(&nobody, MESSAGE_RUNS, 0, 0);
    if (now_us < x->next_us || x->is_reading)
        return;
    bool is_late = now_us >= x->start_us + STATUS_NOBODY_US;
    if (x->n_runs > 0 || x->n_rounds >= ROUNDS_MAX || is_late) {
        qsort(x->run, x->n_runs, sizeof *x->run, by_hosts_and_size);
        x->end_us = now_us + STATUS_RUNS_US;
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

static void show(struct status_runs *x, size_t i, uint64_t now_us)
{
    const struct status *status = x->reading[i];
    x->of[i]->is_known = status_was_answered(status);
    x->of[i]->is_empty = x->of[i]->is_known && !status_has_hosts(status);
    if (x->of[i]->is_known)
        x->config.show(x->config.arg, now_us, status);
}

static void let_go(struct status_runs *x, size_t i)
{
    x->n_rows -= rows_of(&x->of[i]->run);
    status_free(x->reading[i]);
    x->reading[i] = NULL;
}

static void begin_next(struct status_runs *x, size_t i, uint64_t now_us)
{
    struct spoken *spoken = &x->run[x->n_begun];
    struct status_config config = {&spoken->run, x->config.dht, STATUS_NOBODY_US, true};
    size_t n = rows_of(&spoken->run);
    if (x->n_begun == x->n_runs || (x->n_rows > 0 && x->n_rows + n > ROWS_AT_ONCE))
        return;
    x->err = status_new(&config, now_us, &x->reading[i]);
    if (x->err)
        return;
    x->of[i] = spoken;
    x->n_begun++;
    x->n_rows += n;
    status_step(x->reading[i], now_us);
}

static void read_runs(struct status_runs *x, uint64_t now_us)
{
    for (size_t i = 0; i < AT_ONCE && !x->err; i++) {
        if (x->reading[i])
            status_step(x->reading[i], now_us);
        if (x->reading[i] && status_is_over(x->reading[i])) {
            show(x, i, now_us);
            let_go(x, i);
        }
        if (!x->reading[i])
            begin_next(x, i, now_us);
        while (x->reading[i] && status_wants_row(x->reading[i]))
            status_read_row(x->reading[i], now_us);
    }
}

/* What was being read when the time is over: what is known of it. */
static void finish(struct status_runs *x, uint64_t now_us)
{
    for (size_t i = 0; i < AT_ONCE; i++)
        if (x->reading[i] && status_has_hosts(x->reading[i]))
            show(x, i, now_us);
    x->is_over = true;
}

void status_runs_step(struct status_runs *x, uint64_t now_us)
{
    if (x->is_over)
        return;
    if (x->end_us == 0)
        look(x, now_us);
    if (x->end_us != 0)
        read_runs(x, now_us);
    bool is_late = x->end_us != 0 && now_us >= x->end_us;
    if (x->err || is_late || (x->end_us != 0 && x->n_begun == x->n_runs && x->n_rows == 0))
        finish(x, now_us);
}

uint64_t status_runs_wake(const struct status_runs *x)
{
    uint64_t first_us = x->end_us;
    if (x->end_us == 0)
        first_us = x->is_reading ? IO_NEVER : x->next_us;
    for (size_t i = 0; i < AT_ONCE; i++)
        if (x->reading[i] && status_wake(x->reading[i]) < first_us)
            first_us = status_wake(x->reading[i]);
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
    *out = x;
    return 0;
}

void status_runs_free(struct status_runs *x)
{
    for (size_t i = 0; x && i < AT_ONCE; i++)
        status_free(x->reading[i]);
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
