/* cmd/status_command.c - hanse status: one run, or all that hosts speak of, through a node of its own. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/dht_text.h"
#include "cmd/session.h"
#include "cmd/status_runs.h"
#include "node/meeting.h"

#define NOBODY_MET_US 20000000u /* nobody answered, where others are met in public first: give up */
#define ROWS_AT_ONCE 1024       /* read of one run: fewer than may wait in the node's line */
#define NAMED_MAX 8             /* runs, in a line */

/* -- The node ------------------------------------------------------------------------------------------ */

/* What is asked, and the node that asks. */
struct asking {
    const struct io *io;
    struct dht *dht;
    struct meeting *meeting;  /* NULL: none */
    struct status *status;    /* one run, */
    struct status_runs *runs; /* or all */
    bool is_json;
    int err; /* of showing */
    size_t n_shown;
};

/* Says that nobody answered, and what to do. */
static void explain_nobody(const struct session *session, const struct meeting *meeting, const struct dht *dht)
{
    struct addr by;
    char at[ADDR_TEXT_BYTES], why[DHT_TEXT_REFUSAL_BYTES];
    int error = dht_last_error(dht, &by);
    if (error) {
        log_error("%s answers, but refuses the question: error %d%s", addr_text(&by, at), error, dht_text_refusal(why, error));
        return;
    }
    if (meeting)
        log_error(meeting_stats(meeting).was_entered
                      ? "no host of this run is announced in Mainline, or none that answers"
                      : "no Mainline node answers: check that a firewall lets UDP out, or name one with --mainline=ADDR:PORT");
    else if (session->is_explicit_join)
        log_error(
            "none of the %zu addresses of --join answered within %u s; check address and port, and that a firewall lets UDP "
            "through",
            session->n_join, STATUS_NOBODY_US / 1000000);
    else
        log_error("no host answered on ports %u to %u of this machine; start one with 'hanse host', or name one elsewhere with "
                  "--join",
                  SESSION_PORT, SESSION_PORT + SESSION_N_PORTS - 1);
}

/* A read-only node that joins whom the session names. */
static int start_dht(struct session *session, uint64_t now_us, struct dht **out)
{
    struct dht_config config = {.key = session->key, .is_read_only = true, .seed = session->seed, .has_links = true};
    config.is_closed = session_mainline(session) != NULL;
    int err = dht_new(&config, net_io(session->net), now_us, out);
    for (size_t i = 0; !err && i < session->n_join; i++)
        dht_join(*out, now_us, &session->join[i]);
    return err;
}

static bool is_over(const struct asking *a)
{
    return a->status ? status_is_over(a->status) : status_runs_is_over(a->runs);
}

static void step(struct asking *a, uint64_t now_us)
{
    if (a->runs)
        status_runs_step(a->runs, now_us);
    if (a->status)
        status_step(a->status, now_us);
    while (a->status && status_wants_row(a->status) && status_n_reading(a->status) < ROWS_AT_ONCE)
        status_read_row(a->status, now_us);
}

static void asking_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct asking *a = self;
    if (event->kind == IO_STOP) {
        a->io->ops->stopped(a->io->ctx, HANSE_EINTERRUPTED);
        return;
    }
    (void)dht_link_event(a->dht, now_us, event); /* there are no others */
    if (meeting_deadline(a->meeting) <= now_us)
        meeting_tick(a->meeting, now_us);
    if (event->kind == IO_DATAGRAM && !meeting_datagram(a->meeting, now_us, &event->from, event->bytes, event->n_bytes))
        dht_datagram(a->dht, now_us, &event->from, event->bytes, event->n_bytes);
    dht_tick(a->dht, now_us);
    step(a, now_us);
    if (is_over(a))
        a->io->ops->stopped(a->io->ctx, a->status ? status_result(a->status) : status_runs_result(a->runs));
}

static uint64_t asking_deadline(const void *self)
{
    const struct asking *a = self;
    uint64_t first_us = a->status ? status_wake(a->status) : status_runs_wake(a->runs);
    uint64_t dht_us = dht_deadline(a->dht), meeting_us = meeting_deadline(a->meeting);
    first_us = dht_us < first_us ? dht_us : first_us;
    return meeting_us < first_us ? meeting_us : first_us;
}

static int run_asking(struct session *session, struct asking *a)
{
    struct io_machine machine = {asking_event, asking_deadline, a};
    int err = net_run(session->net, &machine);
    if (err == HANSE_EUNREACHABLE)
        explain_nobody(session, a->meeting, a->dht);
    return err;
}

/* -- One run ------------------------------------------------------------------------------------------- */

static int start_meeting(struct session *session, struct asking *a, uint64_t now_us)
{
    struct meeting_config config = {
        .key = session->key, .routers = session_mainline(session), .run = session->run.id, .seed = session->seed};
    if (!config.routers)
        return 0;
    return meeting_new(&config, net_io(session->net), a->dht, now_us, &a->meeting);
}

static int ask_one(struct session *session, bool is_json)
{
    uint64_t now_us = net_now_us();
    struct asking a = {.io = net_io(session->net)};
    int err = start_dht(session, now_us, &a.dht);
    struct status_config config = {.run = &session->run, .dht = a.dht, .nobody_us = STATUS_NOBODY_US};
    if (session_mainline(session))
        config.nobody_us = NOBODY_MET_US;
    if (!err)
        err = status_new(&config, now_us, &a.status);
    if (!err)
        err = start_meeting(session, &a, now_us);
    if (!err)
        err = run_asking(session, &a);
    if (!err)
        err = status_report(a.status, net_now_us(), is_json);
    meeting_free(a.meeting);
    dht_free(a.dht);
    status_free(a.status);
    return err;
}

/* -- All runs ------------------------------------------------------------------------------------------ */

static void show_run(void *arg, uint64_t now_us, const struct status *status)
{
    struct asking *a = arg;
    if (!status_has_hosts(status) && !a->is_json)
        return;
    int err = status_report(status, now_us, a->is_json);
    a->err = a->err ? a->err : err;
    a->n_shown++;
    fflush(stdout);
}

static void print_empty(const struct status_runs *runs, size_t n_empty)
{
    const struct run *run = NULL;
    char name[4 * sizeof run->name];
    size_t n = 0;
    printf("%zu run%s of which nobody hosts anything:", n_empty, text_plural(n_empty));
    while (n < NAMED_MAX && (run = status_runs_empty(runs, run)))
        printf("%s %s", n++ > 0 ? "," : "", text_plain(name, sizeof name, run->name));
    if (n_empty > n)
        printf(" and %zu more", n_empty - n);
    printf("\n");
}

/* Whoever parses what we print gets a document though there is no run to speak of. */
static int print_nothing_json(size_t n_asked)
{
    json_t *all = json_pack("{s:n, s:n, s:i, s:i, s:i, s:b, s:I, s:[]}", "run", "run_id", "experts", 0, "hosted", 0,
                            "hosted_by_silent", 0, "complete", true, "dht_nodes", (json_int_t)n_asked, "hosts");
    if (!all)
        return HANSE_ENOMEM;
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
    return 0;
}

static int report_runs(const struct asking *a)
{
    struct status_runs_count count = status_runs_count(a->runs);
    int err = a->is_json && a->n_shown == 0 ? print_nothing_json(count.n_asked) : 0;
    if (count.n_runs == 0 && !a->is_json)
        printf("%zu DHT node%s, and no host says what run it serves\n", count.n_asked,
               count.n_asked == 1 ? " answers" : "s answer");
    if (count.n_empty > 0 && !a->is_json)
        print_empty(a->runs, count.n_empty);
    if (count.n_unread > 0)
        log_warn("%zu run%s not read within %u s; name one with --run FILE", count.n_unread,
                 count.n_unread == 1 ? " was" : "s were", STATUS_RUNS_US / 1000000);
    return a->err ? a->err : err;
}

static int ask_all(struct session *session, bool is_json)
{
    uint64_t now_us = net_now_us();
    struct asking a = {.io = net_io(session->net), .is_json = is_json};
    int err = start_dht(session, now_us, &a.dht);
    struct status_runs_config config = {.dht = a.dht, .seed = session->seed, .show = show_run, .arg = &a};
    if (!err)
        err = status_runs_new(&config, now_us, &a.runs);
    if (!err)
        err = run_asking(session, &a);
    if (!err)
        err = report_runs(&a);
    dht_free(a.dht);
    status_runs_free(a.runs);
    return err;
}

/* -- The command --------------------------------------------------------------------------------------- */

int cmd_status(int argc, char **argv)
{
    struct session_options o = session_options_default();
    bool is_json = false;
    const struct options_row row[] = {
        {"run", "FILE", OPTIONS_TEXT, &o.run_file, "show this run alone (default: every run that hosts speak of)", 0, 0, false},
        SESSION_ROW_JOIN(o),
        SESSION_ROW_MAINLINE(o),
        {"json", NULL, OPTIONS_FLAG, &is_json, "print JSON, for programs", 0, 0, false},
    };
    const struct options_usage usage = {
        .command = "hanse status",
        .about = "Shows who hosts which experts of each run: address; hardware (cpu, cpu-int8, gpu or unknown); how far away "
                 "(the round "
                 "trip of a ping, 'no answer', or 'not asked' where hosts are too many to ask each); how long ago it was heard "
                 "of; versions; and the token-slots that its experts have learned from. What a host that died said of itself "
                 "stays known for some minutes.",
        .example = "hanse status --join 192.0.2.7:4100",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
    };
    int status;
    if (!options_read(&usage, argc, argv, NULL, NULL, &status))
        return status;
    if (o.mainline && !o.run_file)
        return options_refuse(&usage, "--mainline needs --run FILE: each run has a meeting place of its own there");
    struct session session;
    struct session_wish wish = {0};
    int err = session_open(&session, &o, &wish);
    if (!err)
        err = o.run_file ? ask_one(&session, is_json) : ask_all(&session, is_json);
    session_close(&session);
    return err ? hanse_exit_status(err) : 0;
}
