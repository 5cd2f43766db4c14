/* cmd/status_runs.c - hanse status without --run: which runs hosts speak of, many read at a time.
 *
 * Anybody can speak of runs that do not exist.  So those of which most hosts speak come first, what has hosts is shown as soon as it is
 * read, what has none is named in one line at the end, and all of it has its time. */
#include "cmd/status.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "dht/directory.h"
#include "router/message.h"

#define RUNS_MAX DHT_DIRECTORY_KEY_MAX /* all that a key may hold: one subnet's share hides no others */
#define ROUNDS_MAX 3                   /* until somebody speaks of a run */
#define AT_ONCE 32                     /* runs that are read, */
#define ROWS_AT_ONCE 512               /* and rows of them, as they claim to have */
#define ALL_US 10000000u               /* for all of them */
#define NAMED_MAX 8                    /* in a line */

struct spoken {
    struct run run; /* id, name, n_moe and experts alone */
    size_t n_hosts; /* that speak of it */
    bool is_empty;  /* it was read, and nobody hosts any of it */
};

struct runs {
    const struct io *io;
    struct dht *dht;
    bool is_json, is_reading;
    int err;
    uint64_t start_us, next_us;
    uint64_t end_us; /* of reading runs; 0: we still look which there are */
    unsigned n_rounds;
    size_t n_asked, n_runs, n_begun, n_empty, n_shown;
    size_t n_rows; /* being read */
    struct status *reading[AT_ONCE];
    struct spoken *of[AT_ONCE];
    struct spoken run[RUNS_MAX];
};

/* -- Which runs there are ---------------------------------------------------------------------------- */

static void hear_run(struct runs *x, const struct dht_entry *entry)
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
    struct runs *x = arg;
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

static void look(struct runs *x, uint64_t now_us)
{
    static const struct hash nobody;
    struct dht_id key = dht_directory_key(&nobody, MESSAGE_RUNS, 0, 0);
    if (now_us < x->next_us || x->is_reading)
        return;
    bool is_late = now_us >= x->start_us + STATUS_NOBODY_US;
    if (x->n_runs > 0 || x->n_rounds >= ROUNDS_MAX || is_late) {
        qsort(x->run, x->n_runs, sizeof *x->run, by_hosts_and_size);
        x->end_us = now_us + ALL_US;
        return;
    }
    x->next_us = now_us + (x->n_rounds ? STATUS_AGAIN_US : STATUS_SETTLE_US);
    if (dht_n_good(x->dht) == 0)
        return;
    x->is_reading = true;
    x->n_rounds++;
    dht_read(x->dht, now_us, &key, on_runs, x);
}

/* -- What is in them ----------------------------------------------------------------------------------- */

static void show(struct runs *x, size_t i)
{
    const struct status *status = x->reading[i];
    bool has_hosts = status_has_hosts(status);
    x->of[i]->is_empty = !has_hosts && status_was_answered(status);
    x->n_empty += x->of[i]->is_empty;
    if (!has_hosts && !(x->is_json && x->of[i]->is_empty))
        return;
    int err = status_report(status, x->is_json);
    x->err = x->err ? x->err : err;
    x->n_shown++;
    fflush(stdout);
}

static void let_go(struct runs *x, size_t i)
{
    x->n_rows -= rows_of(&x->of[i]->run);
    status_free(x->reading[i]);
    x->reading[i] = NULL;
}

static void begin_next(struct runs *x, size_t i, uint64_t now_us)
{
    struct spoken *spoken = &x->run[x->n_begun];
    size_t n = rows_of(&spoken->run);
    if (x->n_begun == x->n_runs || (x->n_rows > 0 && x->n_rows + n > ROWS_AT_ONCE))
        return;
    x->err = status_new(&spoken->run, x->io, x->dht, now_us, &x->reading[i]);
    if (x->err)
        return;
    x->of[i] = spoken;
    x->n_begun++;
    x->n_rows += n;
    status_step(x->reading[i], now_us);
}

static void read_runs(struct runs *x, uint64_t now_us)
{
    for (size_t i = 0; i < AT_ONCE && !x->err; i++) {
        if (x->reading[i])
            status_step(x->reading[i], now_us);
        if (x->reading[i] && status_is_over(x->reading[i])) {
            show(x, i);
            let_go(x, i);
        }
        if (!x->reading[i])
            begin_next(x, i, now_us);
    }
}

static bool is_done(const struct runs *x, uint64_t now_us)
{
    return x->err || (x->end_us != 0 && (now_us >= x->end_us || (x->n_begun == x->n_runs && x->n_rows == 0)));
}

static void runs_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct runs *x = self;
    if (event->kind == IO_STOP) {
        x->io->ops->stopped(x->io->ctx, HANSE_EINTERRUPTED);
        return;
    }
    (void)dht_link_event(x->dht, now_us, event); /* there are no others */
    if (event->kind == IO_DATAGRAM)
        dht_datagram(x->dht, now_us, &event->from, event->bytes, event->n_bytes);
    dht_tick(x->dht, now_us);
    if (x->end_us == 0)
        look(x, now_us);
    if (x->end_us != 0)
        read_runs(x, now_us);
    if (is_done(x, now_us))
        x->io->ops->stopped(x->io->ctx, x->err ? x->err : x->n_asked > 0 ? 0 : HANSE_EUNREACHABLE);
}

static uint64_t runs_deadline(const void *self)
{
    const struct runs *x = self;
    uint64_t first_us = dht_deadline(x->dht), own_us = x->end_us;
    if (x->end_us == 0)
        own_us = x->is_reading ? IO_NEVER : x->next_us;
    first_us = own_us < first_us ? own_us : first_us;
    for (size_t i = 0; i < AT_ONCE; i++)
        if (x->reading[i] && status_wake(x->reading[i]) < first_us)
            first_us = status_wake(x->reading[i]);
    return first_us;
}

/* -- Showing ------------------------------------------------------------------------------------------- */

/* What was being read when the time was over: what is known of it. */
static size_t show_rest(struct runs *x)
{
    for (size_t i = 0; i < AT_ONCE; i++)
        if (x->reading[i] && status_has_hosts(x->reading[i]))
            show(x, i);
    return x->n_runs - x->n_empty - (x->is_json ? x->n_shown - x->n_empty : x->n_shown);
}

static void print_empty(const struct runs *x)
{
    char name[4 * sizeof x->run[0].run.name];
    size_t n = 0;
    printf("%zu run%s of which nobody hosts anything:", x->n_empty, text_plural(x->n_empty));
    for (size_t i = 0; i < x->n_runs && n < NAMED_MAX; i++)
        if (x->run[i].is_empty)
            printf("%s %s", n++ > 0 ? "," : "", text_plain(name, sizeof name, x->run[i].run.name));
    if (x->n_empty > n)
        printf(" and %zu more", x->n_empty - n);
    printf("\n");
}

/* Whoever parses what we print gets a document though there is no run to speak of. */
static int print_nothing_json(const struct runs *x)
{
    json_t *all = json_pack("{s:n, s:n, s:i, s:i, s:i, s:I, s:[]}", "run", "run_id", "experts", 0, "hosted", 0,
                            "hosted_by_silent", 0, "dht_nodes", (json_int_t)x->n_asked, "hosts");
    if (!all)
        return HANSE_ENOMEM;
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
    return 0;
}

static int report(struct runs *x)
{
    size_t n_unread = show_rest(x);
    int err = x->is_json && x->n_shown == 0 ? print_nothing_json(x) : 0;
    if (x->n_runs == 0 && !x->is_json)
        printf("%zu DHT node%s, and no host says what run it serves\n", x->n_asked, x->n_asked == 1 ? " answers" : "s answer");
    if (x->n_empty > 0 && !x->is_json)
        print_empty(x);
    if (n_unread > 0)
        log_warn("of %zu more run%s nothing was heard within %u s; --run FILE shows one", n_unread, text_plural(n_unread),
                 ALL_US / 1000000);
    return err;
}

int status_runs(struct session *session, bool is_json)
{
    struct runs *x = calloc(1, sizeof *x);
    if (!x)
        return HANSE_ENOMEM;
    struct io_machine machine = {runs_event, runs_deadline, x};
    x->io = net_io(session->net);
    x->is_json = is_json;
    x->start_us = net_now_us();
    int err = status_start_dht(session, x->start_us, &x->dht);
    if (!err)
        err = net_run(session->net, &machine);
    if (err == HANSE_EUNREACHABLE)
        status_explain_nobody(session, NULL, x->dht);
    if (!err)
        err = report(x);
    dht_free(x->dht);
    for (size_t i = 0; i < AT_ONCE; i++)
        status_free(x->reading[i]);
    free(x);
    return err;
}
