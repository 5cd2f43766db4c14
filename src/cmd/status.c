/* cmd/status.c - hanse status: asks the DHT who hosts which expert of a run, and shows it. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/dht_text.h"
#include "cmd/session.h"
#include "cmd/status.h"
#include "dht/directory.h"
#include "dht/probe.h"
#include "router/message.h"

#define NOBODY_MET_US 20000000u /* the same, where others are met in public first */
#define PING_US 1000000u        /* for hosts to show how far away they are */
#define ROUNDS_MAX 3            /* while something is missing; */
#define GLANCES_MAX 2           /* of one run among many, while all of it is */
#define HOSTS_MAX 4096

/* One host's claim to one expert. */
struct claim {
    size_t host;
    uint32_t version, epoch, load;
};

struct seen_host {
    struct peer_id id;
    struct addr addr;
    uint64_t seq;
    uint32_t expiry_s; /* the latest */
    enum message_hardware hardware;
    bool is_pinged, has_answered;
    uint64_t rtt_us; /* of a ping that was answered */
    struct status *status;
};

struct expert_seen {
    struct claim best;
    size_t n_claims;
};

struct status {
    const struct run *run;
    const struct io *io;
    struct dht *dht;
    struct meeting *meeting; /* NULL: none */
    uint64_t start_us, next_us;
    unsigned n_rounds;
    size_t n_reads, n_asked; /* under way; most nodes that answered one */
    size_t n_pings;          /* under way */
    bool has_pinged;
    struct seen_host *host;
    size_t n_hosts, n_nodes;
    struct expert_seen *expert; /* n_moe * experts */
    struct row_read *read;      /* n_moe * n_rows */
    uint32_t n_rows;            /* of a layer */
    uint64_t end_us;
    bool is_glance, is_over; /* one of many; with err */
    int err;
};

/* What a read of one key of the DHT is about. */
struct row_read {
    struct status *status;
    uint32_t moe, row;
};

/* -- Gathering -------------------------------------------------------------------------------------- */

static int host_of(struct status *status, const struct dht_entry *entry)
{
    size_t i = 0;
    while (i < status->n_hosts && !peer_id_equal(&status->host[i].id, &entry->writer))
        i++;
    if (i == HOSTS_MAX)
        return -1;
    if (i == status->n_hosts)
        status->host[status->n_hosts++] = (struct seen_host){.id = entry->writer, .status = status};
    struct seen_host *host = &status->host[i];
    if (entry->seq >= host->seq) {
        host->seq = entry->seq;
        host->addr = entry->addr;
        host->expiry_s = entry->expiry_s;
        host->hardware = message_claims_hardware(entry->bytes);
    }
    return (int)i;
}

/* The rule by which hosts settle a quarrel, too. */
static bool outranks(const struct status *status, const struct claim *a, const struct claim *b)
{
    if (a->epoch != b->epoch)
        return a->epoch > b->epoch;
    if (a->version != b->version)
        return a->version > b->version;
    return peer_id_compare(&status->host[a->host].id, &status->host[b->host].id) > 0;
}

static void hear_claim(struct status *status, struct expert_seen *expert, struct claim claim)
{
    if (expert->n_claims == 0 || outranks(status, &claim, &expert->best))
        expert->best = claim;
    expert->n_claims++;
}

static void hear_entry(struct row_read *read, const struct dht_entry *entry)
{
    struct status *status = read->status;
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    size_t n;
    if (message_claims_decode(claim, &n, entry->bytes, entry->n_bytes) != 0)
        return;
    int host = host_of(status, entry);
    for (size_t i = 0; i < n && host >= 0; i++) {
        uint32_t e = read->row * MESSAGE_ROW_EXPERTS + claim[i].index;
        if (e < status->run->experts)
            hear_claim(status, &status->expert[(size_t)read->moe * status->run->experts + e],
                       (struct claim){(size_t)host, claim[i].version, claim[i].epoch, claim[i].load});
    }
}

static void on_read(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct row_read *read = arg;
    struct status *status = read->status;
    for (size_t i = 0; i < n; i++)
        hear_entry(read, &entry[i]);
    if (n_asked > status->n_asked)
        status->n_asked = n_asked;
    status->n_reads--;
    status->next_us = now_us;
}

static void forget(struct status *status)
{
    status->n_hosts = 0;
    memset(status->expert, 0, (size_t)status->run->n_moe * status->run->experts * sizeof *status->expert);
}

static void read_all(struct status *status, uint64_t now_us)
{
    forget(status);
    status->n_rounds++;
    for (uint32_t moe = 0; moe < status->run->n_moe; moe++)
        for (uint32_t row = 0; row < status->n_rows; row++) {
            struct row_read *read = &status->read[(size_t)moe * status->n_rows + row];
            struct dht_id key = dht_directory_key(&status->run->id, "experts", moe, row);
            *read = (struct row_read){status, moe, row};
            status->n_reads++;
            dht_read(status->dht, now_us, &key, on_read, read);
        }
}

static size_t n_hosted(const struct status *status)
{
    size_t n = 0;
    for (size_t i = 0; i < (size_t)status->run->n_moe * status->run->experts; i++)
        n += status->expert[i].n_claims > 0;
    return n;
}

static void on_ping(void *arg, uint64_t now_us, const struct dht_probe_answer *answer)
{
    struct seen_host *host = arg;
    host->has_answered = answer->message != NULL;
    host->rtt_us = answer->rtt_us;
    host->status->n_pings--;
    host->status->next_us = now_us;
}

/* How far away are they?  More hosts than there is room for are left unmeasured. */
static void ping_all(struct status *status, uint64_t now_us)
{
    status->has_pinged = true;
    status->n_pings = 1; /* held until all are begun */
    for (size_t i = 0; i < status->n_hosts; i++) {
        struct dht_message question = {.method = DHT_PING};
        struct seen_host *host = &status->host[i];
        host->is_pinged = dht_probe(status->dht, now_us, &host->addr, &question, PING_US, on_ping, host) == 0;
        status->n_pings += host->is_pinged;
    }
    status->n_pings--;
    status->next_us = now_us;
}

static void finish(struct status *status, uint64_t now_us, int err)
{
    status->end_us = now_us;
    status->next_us = IO_NEVER;
    status->n_nodes = dht_n_good(status->dht);
    status->is_over = true;
    status->err = err;
}

/* Waits for somebody, reads, and reads again while something is missing: hosts that just started are still publishing. */
void status_step(struct status *status, uint64_t now_us)
{
    if (status->is_over || now_us < status->next_us || status->n_reads > 0 || status->n_pings > 0)
        return;
    if (status->has_pinged) {
        finish(status, now_us, 0);
        return;
    }
    bool is_late = now_us >= status->start_us + (status->meeting ? NOBODY_MET_US : STATUS_NOBODY_US);
    if (status->n_asked == 0 && is_late) {
        finish(status, now_us, HANSE_EUNREACHABLE);
        return;
    }
    status->next_us = now_us + (status->n_rounds ? STATUS_AGAIN_US : STATUS_SETTLE_US);
    if (dht_n_good(status->dht) == 0)
        return;
    unsigned rounds_max = status->is_glance && status->n_hosts == 0 ? GLANCES_MAX : ROUNDS_MAX;
    bool is_complete = n_hosted(status) == (size_t)status->run->n_moe * status->run->experts;
    if (status->n_asked > 0 && (is_complete || status->n_rounds >= rounds_max))
        ping_all(status, now_us);
    else
        read_all(status, now_us);
}

static void status_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct status *status = self;
    if (event->kind == IO_STOP) {
        status->io->ops->stopped(status->io->ctx, HANSE_EINTERRUPTED);
        return;
    }
    (void)dht_link_event(status->dht, now_us, event); /* there are no others */
    if (meeting_deadline(status->meeting) <= now_us)
        meeting_tick(status->meeting, now_us);
    if (event->kind == IO_DATAGRAM && !meeting_datagram(status->meeting, now_us, &event->from, event->bytes, event->n_bytes))
        dht_datagram(status->dht, now_us, &event->from, event->bytes, event->n_bytes);
    dht_tick(status->dht, now_us);
    status_step(status, now_us);
    if (status->is_over)
        status->io->ops->stopped(status->io->ctx, status->err);
}

uint64_t status_wake(const struct status *status)
{
    return status->n_reads > 0 || status->n_pings > 0 ? IO_NEVER : status->next_us;
}

static uint64_t status_deadline(const void *self)
{
    const struct status *status = self;
    uint64_t deadline_us = dht_deadline(status->dht), meeting_us = meeting_deadline(status->meeting);
    deadline_us = meeting_us < deadline_us ? meeting_us : deadline_us;
    return status_wake(status) < deadline_us ? status_wake(status) : deadline_us;
}

/* -- Showing ---------------------------------------------------------------------------------------- */

/* "L0.0-3,L1.7": the experts for which holds(arg) says yes. */
static void print_experts(const struct status *status, bool (*holds)(const struct expert_seen *, size_t), size_t arg,
                          struct buf *out)
{
    uint32_t E = status->run->experts;
    for (uint32_t moe = 0; moe < status->run->n_moe; moe++)
        for (uint32_t e = 0; e < E; e++) {
            const struct expert_seen *row = &status->expert[(size_t)moe * E];
            uint32_t last = e;
            if (!holds(&row[e], arg))
                continue;
            while (last + 1 < E && holds(&row[last + 1], arg))
                last++;
            buf_printf(out, "%sL%u.%u", out->n ? "," : "", moe, e);
            if (last > e)
                buf_printf(out, "-%u", last);
            e = last;
        }
}

static bool is_hosted_by(const struct expert_seen *expert, size_t host)
{
    return expert->n_claims > 0 && expert->best.host == host;
}

static bool is_missing(const struct expert_seen *expert, size_t arg)
{
    (void)arg;
    return expert->n_claims == 0;
}

static bool is_contested(const struct expert_seen *expert, size_t arg)
{
    (void)arg;
    return expert->n_claims > 1;
}

/* Hosts that found no room among the pings are given the benefit of the doubt. */
static bool is_silent(const struct seen_host *host)
{
    return host->is_pinged && !host->has_answered;
}

/* Experts and hosts, apart from those of hosts that do not answer. */
struct reach {
    size_t n, n_hosts, n_silent, n_silent_hosts;
};

static long age_s(const struct status *status, const struct seen_host *host)
{
    uint64_t now_us = status->is_over ? status->end_us : net_now_us();
    return (long)(now_us / 1000000) - ((long)host->expiry_s - DHT_DIRECTORY_TTL_S);
}

static void print_host(const struct status *status, size_t i)
{
    const struct seen_host *host = &status->host[i];
    char name[9], at[ADDR_TEXT_BYTES], versions[32] = "-", away[32];
    uint64_t load = 0;
    uint32_t low = UINT32_MAX, high = 0;
    struct buf list;
    buf_init(&list, 1 << 20);
    for (size_t e = 0; e < (size_t)status->run->n_moe * status->run->experts; e++) {
        const struct expert_seen *expert = &status->expert[e];
        if (!is_hosted_by(expert, i))
            continue;
        load += (uint64_t)expert->best.load * 64;
        low = expert->best.version < low ? expert->best.version : low;
        high = expert->best.version > high ? expert->best.version : high;
    }
    if (low <= high)
        snprintf(versions, sizeof versions, low == high ? "%u" : "%u-%u", low, high);
    if (host->has_answered)
        snprintf(away, sizeof away, "%.1f ms", (double)host->rtt_us / 1e3);
    else
        snprintf(away, sizeof away, host->is_pinged ? "no answer" : "not asked");
    print_experts(status, is_hosted_by, i, &list);
    printf("  %-8s  %-21s  %-8s  %9s  %4ld s  %-13s  %12llu  %.*s\n", peer_id_short(&host->id, name), addr_text(&host->addr, at),
           message_hardware_name[host->hardware], away, age_s(status, host), versions, (unsigned long long)load, (int)list.n,
           list.n ? (const char *)list.bytes : "");
    buf_fini(&list);
}

static void print_list(const struct status *status, const char *label, bool (*holds)(const struct expert_seen *, size_t))
{
    struct buf list;
    buf_init(&list, 1 << 20);
    print_experts(status, holds, 0, &list);
    if (list.n)
        printf("%s: %.*s\n", label, (int)list.n, (const char *)list.bytes);
    buf_fini(&list);
}

/* What is vouched for: a host may be gone long before its entry is over. */
static struct reach reach_of(const struct status *status)
{
    struct reach reach = {.n_hosts = 0};
    for (size_t i = 0; i < status->n_hosts; i++)
        reach.n_silent_hosts += is_silent(&status->host[i]);
    for (size_t i = 0; i < (size_t)status->run->n_moe * status->run->experts; i++) {
        const struct expert_seen *expert = &status->expert[i];
        if (expert->n_claims > 0 && is_silent(&status->host[expert->best.host]))
            reach.n_silent++;
        else
            reach.n += expert->n_claims > 0;
    }
    reach.n_hosts = status->n_hosts - reach.n_silent_hosts;
    return reach;
}

static void print_table(const struct status *status)
{
    char id[17], name[4 * sizeof status->run->name];
    size_t n_all = (size_t)status->run->n_moe * status->run->experts;
    struct reach reach = reach_of(status);
    run_short_id(status->run, id);
    printf("run %s %s: %zu of %zu experts on %zu host%s", text_plain(name, sizeof name, status->run->name), id, reach.n, n_all,
           reach.n_hosts, reach.n_hosts == 1 ? "" : "s");
    if (reach.n_silent_hosts > 0)
        printf(" that answer%s; %zu on %zu that do%s not", reach.n_hosts == 1 ? "s" : "", reach.n_silent, reach.n_silent_hosts,
               reach.n_silent_hosts == 1 ? "es" : "");
    printf("; %zu DHT node%s answered\n", status->n_asked, status->n_asked == 1 ? "" : "s");
    if (status->n_hosts)
        printf("  %-8s  %-21s  %-8s  %9s  %6s  %-13s  %12s  %s\n", "host", "address", "hardware", "away", "heard", "versions",
               "token-slots", "experts");
    for (size_t i = 0; i < status->n_hosts; i++)
        print_host(status, i);
    print_list(status, "nobody hosts", is_missing);
    print_list(status, "more than one host claims", is_contested);
}

static json_t *experts_json(const struct status *status, size_t host)
{
    json_t *list = json_array();
    char name[32];
    for (uint32_t moe = 0; moe < status->run->n_moe; moe++)
        for (uint32_t e = 0; e < status->run->experts; e++) {
            const struct expert_seen *expert = &status->expert[(size_t)moe * status->run->experts + e];
            if (!is_hosted_by(expert, host))
                continue;
            run_expert_name(name, moe, e);
            json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I, s:I}", "name", name, "version",
                                                  (json_int_t)expert->best.version, "epoch", (json_int_t)expert->best.epoch,
                                                  "token_slots", (json_int_t)expert->best.load * 64, "claims",
                                                  (json_int_t)expert->n_claims));
        }
    return list;
}

static int print_json(const struct status *status)
{
    char id[2 * HASH_BYTES + 1], at[ADDR_TEXT_BYTES], peer[65];
    json_t *hosts = json_array();
    for (size_t i = 0; i < status->n_hosts; i++) {
        const struct seen_host *host = &status->host[i];
        text_hex(peer, host->id.byte, sizeof host->id.byte);
        json_array_append_new(hosts,
                              json_pack("{s:s, s:s, s:s, s:o, s:I, s:o}", "peer", peer, "address", addr_text(&host->addr, at),
                                        "hardware", message_hardware_name[host->hardware], "rtt_us",
                                        host->has_answered ? json_integer((json_int_t)host->rtt_us) : json_null(), "age_s",
                                        (json_int_t)age_s(status, host), "experts", experts_json(status, i)));
    }
    text_hex(id, status->run->id.byte, HASH_BYTES);
    json_t *all = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:o}", "run", status->run->name, "run_id", id, "experts",
                            (json_int_t)status->run->n_moe * status->run->experts, "hosted", (json_int_t)n_hosted(status),
                            "hosted_by_silent", (json_int_t)reach_of(status).n_silent, "dht_nodes", (json_int_t)status->n_asked,
                            "hosts", hosts);
    if (!all)
        return HANSE_ENOMEM;
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9)); /* strangers name runs */
    putchar('\n');
    json_decref(all);
    return 0;
}

int status_report(const struct status *status, bool is_json)
{
    if (is_json)
        return print_json(status);
    print_table(status);
    return 0;
}

/* -- One run ------------------------------------------------------------------------------------------ */

int status_new(const struct run *run, const struct io *io, struct dht *dht, uint64_t now_us, struct status **out)
{
    struct status *status = calloc(1, sizeof *status);
    if (!status)
        return HANSE_ENOMEM;
    *status = (struct status){.run = run, .io = io, .dht = dht, .start_us = now_us, .is_glance = true};
    status->n_rows = (run->experts + MESSAGE_ROW_EXPERTS - 1) / MESSAGE_ROW_EXPERTS;
    status->host = calloc(HOSTS_MAX, sizeof *status->host);
    status->expert = calloc((size_t)run->n_moe * run->experts + 1, sizeof *status->expert);
    status->read = calloc((size_t)run->n_moe * status->n_rows + 1, sizeof *status->read);
    *out = status;
    if (status->host && status->expert && status->read)
        return 0;
    *out = NULL;
    status_free(status);
    return HANSE_ENOMEM;
}

void status_free(struct status *status)
{
    if (!status)
        return;
    free(status->host);
    free(status->expert);
    free(status->read);
    free(status);
}

bool status_is_over(const struct status *status)
{
    return status->is_over;
}

bool status_was_answered(const struct status *status)
{
    return status->n_asked > 0;
}

bool status_has_hosts(const struct status *status)
{
    return status->n_hosts > 0;
}

/* -- The command ------------------------------------------------------------------------------------ */

void status_explain_nobody(const struct session *session, const struct meeting *meeting, const struct dht *dht)
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

int status_start_dht(struct session *session, uint64_t now_us, struct dht **out)
{
    struct dht_config config = {.key = session->key, .is_read_only = true, .seed = session->seed, .has_links = true};
    config.is_closed = session_mainline(session) != NULL;
    int err = dht_new(&config, net_io(session->net), now_us, out);
    for (size_t i = 0; !err && i < session->n_join; i++)
        dht_join(*out, now_us, &session->join[i]);
    return err;
}

static int start_meeting(struct session *session, struct status *status)
{
    struct meeting_config config = {
        .key = session->key, .routers = session_mainline(session), .run = status->run->id, .seed = session->seed};
    if (!config.routers)
        return 0;
    return meeting_new(&config, net_io(session->net), status->dht, status->start_us, &status->meeting);
}

static int ask(struct session *session, const struct run *run, bool is_json)
{
    uint64_t now_us = net_now_us();
    struct dht *dht = NULL;
    struct status *status = NULL;
    int err = status_start_dht(session, now_us, &dht);
    if (!err)
        err = status_new(run, net_io(session->net), dht, now_us, &status);
    if (!err) {
        status->is_glance = false;
        err = start_meeting(session, status);
    }
    if (err)
        goto done;
    struct io_machine machine = {status_event, status_deadline, status};
    err = net_run(session->net, &machine);
    if (err == HANSE_EUNREACHABLE)
        status_explain_nobody(session, status->meeting, dht);
    if (!err)
        err = status_report(status, is_json);
done:
    meeting_free(status ? status->meeting : NULL);
    dht_free(dht);
    status_free(status);
    return err;
}

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
        err = o.run_file ? ask(&session, &session.run, is_json) : status_runs(&session, is_json);
    session_close(&session);
    return err ? hanse_exit_status(err) : 0;
}
