/* cmd/host.c - hanse host: keeps experts until told to stop, and says how it is going. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/session.h"
#include "node/host.h"

#define STATUS_LINE_US 10000000u
#define LONELY_US 5000000u /* peers that were named should have answered by now */

/* The host's machine with our eyes on what passes. */
struct hosting {
    struct session *session;
    struct host *host;
    struct io_machine inner;
    const char *experts;
    uint64_t start_us, lonely_us, line_us; /* IO_NEVER: no more */
    bool is_ready;
    struct host_stats last; /* of the last line */
};

static const char *own_name(const struct hosting *hosting, char out[9])
{
    struct peer_id peer = key_peer_id(hosting->session->key);
    return peer_id_short(&peer, out);
}

static void print_ready(struct hosting *hosting, uint64_t now_us)
{
    char name[9], run[17], at[ADDR_TEXT_BYTES];
    struct host_stats stats = host_stats(hosting->host);
    struct addr addr = net_address(hosting->session->net);
    run_short_id(&hosting->session->run, run);
    printf("host %s ready on %s: run %s %s, %zu expert%s", own_name(hosting, name), addr_text(&addr, at),
           hosting->session->run.name, run, stats.n_experts, text_plural(stats.n_experts));
    if (strcmp(hosting->experts, "auto") != 0)
        printf(" (%s)", hosting->experts);
    if (host_is_spare(hosting->host))
        printf(" (others keep all of the run's; waiting to take over when one goes)");
    if (hosting->session->compute->is_device)
        printf(" on cuda:%d (%s)", hosting->session->gpu.index, hosting->session->gpu.name);
    if (stats.n_nodes > 0)
        printf(", joined %zu peer%s", stats.n_nodes, text_plural(stats.n_nodes));
    else
        printf(", alone so far");
    printf(", %.1f s\n", (double)(now_us - hosting->start_us) / 1e6);
    fflush(stdout);
}

static void print_line(struct hosting *hosting, uint64_t now_us)
{
    char kept[32];
    struct host_stats now = host_stats(hosting->host), then = hosting->last;
    uint64_t up_s = (now_us - hosting->start_us) / 1000000;
    double s = STATUS_LINE_US / 1e6;
    text_size(kept, sizeof kept, (double)now.kept_bytes);
    printf("up %llu:%02llu:%02llu  experts %zu  links %zu  tokens/s %.0f forward %.0f backward  updates %llu  kept %s",
           (unsigned long long)(up_s / 3600), (unsigned long long)(up_s / 60 % 60), (unsigned long long)(up_s % 60),
           now.n_experts, now.n_links, (double)(now.n_forward_slots - then.n_forward_slots) / s,
           (double)(now.n_backward_slots - then.n_backward_slots) / s, (unsigned long long)now.n_updates, kept);
    if (now.n_busy + now.n_late + now.n_reject)
        printf("  refused %llu busy %llu late %llu not finite", (unsigned long long)now.n_busy, (unsigned long long)now.n_late,
               (unsigned long long)now.n_reject);
    putchar('\n');
    fflush(stdout);
    hosting->last = now;
}

static void look_around(struct hosting *hosting, uint64_t now_us)
{
    if (!hosting->is_ready && host_stats(hosting->host).is_ready) {
        hosting->is_ready = true;
        print_ready(hosting, now_us);
    }
    if (now_us >= hosting->lonely_us) {
        hosting->lonely_us = IO_NEVER;
        if (host_stats(hosting->host).n_nodes == 0)
            log_warn(
                "nobody answers at the %zu address%s of --join; check address and port, and that a firewall lets UDP and TCP "
                "through; trying on",
                hosting->session->n_join, hosting->session->n_join == 1 ? "" : "es");
    }
    if (now_us >= hosting->line_us) {
        hosting->line_us = now_us + STATUS_LINE_US;
        print_line(hosting, now_us);
    }
}

static void hosting_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct hosting *hosting = self;
    if (event->kind == IO_START) {
        hosting->start_us = now_us;
        hosting->lonely_us = hosting->session->is_explicit_join ? now_us + LONELY_US : IO_NEVER;
        hosting->line_us = isatty(STDOUT_FILENO) ? now_us + STATUS_LINE_US : IO_NEVER;
    }
    hosting->inner.event(hosting->inner.self, now_us, event);
    look_around(hosting, now_us);
}

static uint64_t hosting_deadline(const void *self)
{
    const struct hosting *hosting = self;
    uint64_t deadline_us = hosting->inner.deadline(hosting->inner.self);
    if (hosting->lonely_us < deadline_us)
        deadline_us = hosting->lonely_us;
    return hosting->line_us < deadline_us ? hosting->line_us : deadline_us;
}

/* Where others reach us: as --announce says; else where we listen, which may be "as others see us". */
static struct addr reached_at(const struct session *session, const struct addr *announce)
{
    return announce->family ? *announce : net_address(session->net);
}

/* On all interfaces we also answer at this machine's loopback addresses; a host that met itself there would believe that
 * this is how others reach it, and would not be alone. */
static bool is_own(const struct addr *to, const struct addr *own)
{
    return addr_equal(to, own) || (addr_is_unspecified(own) && addr_is_loopback(to) && to->port == own->port);
}

static int keep_experts(struct session *session, const char *experts, const struct addr *announce)
{
    struct hosting hosting = {.session = session, .experts = experts, .lonely_us = IO_NEVER, .line_us = IO_NEVER};
    struct host_config config = {.run = &session->run,
                                 .kernels = session->compute,
                                 .hardware = host_hardware(session->compute),
                                 .key = session->key,
                                 .listen = reached_at(session, announce),
                                 .mainline = session_mainline(session),
                                 .experts = experts,
                                 .seed = session->seed,
                                 .works_max = session->n_workers,
                                 .team = net_team(session->net),
                                 .quiet = true};
    struct addr own = net_address(session->net);
    for (size_t i = 0; i < session->n_join && config.n_join < HOST_JOIN_MAX; i++)
        if (!is_own(&session->join[i], &own))
            config.join[config.n_join++] = session->join[i];
    int err = host_new(&config, net_io(session->net), &session->disk, &hosting.host);
    if (err)
        return err;
    hosting.inner = host_machine(hosting.host);
    struct io_machine machine = {hosting_event, hosting_deadline, &hosting};
    err = net_run(session->net, &machine);
    struct host_stats stats = host_stats(hosting.host);
    if (!err)
        printf("stopped: %llu token-slot%s forward, %llu backward, %llu update%s, experts saved\n",
               (unsigned long long)stats.n_forward_slots, text_plural(stats.n_forward_slots),
               (unsigned long long)stats.n_backward_slots, (unsigned long long)stats.n_updates, text_plural(stats.n_updates));
    host_free(hosting.host);
    return err;
}

/* What is announced to the world must be reached from there. */
static bool is_heard_of_in_vain(const struct session *session, const struct addr *announce)
{
    struct addr own = reached_at(session, announce);
    bool is_far = session->names != NULL;
    for (size_t i = 0; i < session->mainline.n; i++)
        is_far |= !addr_is_loopback(&session->mainline.addr[i]);
    if (!is_far || !addr_is_loopback(&own))
        return false;
    log_error(
        "--mainline would announce this host, which listens on this machine alone; add --listen 0.0.0.0:%d, and --announce where "
        "a router forwards the port",
        SESSION_PORT);
    return true;
}

int cmd_host(int argc, char **argv)
{
    struct session_options o = session_options_default();
    struct addr listen = {0}, announce = {0};
    const char *experts = "auto";
    const struct options_row row[] = {
        SESSION_ROW_RUN(o),
        SESSION_ROW_DIR(o),
        {"listen", "ADDR:PORT", OPTIONS_ADDR, &listen,
         "where to listen, UDP and TCP; 0.0.0.0:4100 for all interfaces (default: 127.0.0.1, the first free port of 4100 to "
         "4131)",
         0, 0, false},
        {"announce", "ADDR:PORT", OPTIONS_ADDR, &announce,
         "where others reach this host when a router forwards a port to it (default: as others see it)", 0, 0, false},
        SESSION_ROW_JOIN(o),
        SESSION_ROW_MAINLINE(o),
        {"experts", "LIST", OPTIONS_TEXT, &experts,
         "which experts to keep, such as L0.0-7,L1.3; 'auto' takes this host's share of what others lack (default: auto)", 0, 0,
         false},
        SESSION_ROW_DEVICE(o, "the first GPU, and the CPU where there is none"),
        SESSION_ROW_ISA(o),
        SESSION_ROW_WORKERS(o),
        SESSION_ROW_PIN(o),
    };
    const struct options_usage usage = {
        .command = "hanse host",
        .about =
            "Keeps experts of a run: computes with them for trainers, updates them, saves them in DIR, and announces them in the "
            "DHT. Ctrl-C saves and ends; the same command again goes on from there.",
        .example = "hanse host --run run.yaml --dir host1\n"
                   "hanse host --run run.yaml --dir host2 --listen 0.0.0.0:4100 --join 192.0.2.7:4100",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
    };
    int status;
    if (!options_read(&usage, argc, argv, NULL, NULL, &status))
        return status;
    bool is_given = listen.family != 0;
    struct addr first = {.family = 4, .ip = {127, 0, 0, 1}, .port = SESSION_PORT};
    struct session_wish wish = {.wants_lock = true,
                                .wants_own_key = true,
                                .wants_device = true,
                                .wants_listener = true,
                                .listen = is_given ? listen : first,
                                .n_ports = is_given ? 1 : SESSION_N_PORTS};
    struct session session;
    int err = session_open(&session, &o, &wish);
    if (!err && is_heard_of_in_vain(&session, &announce))
        err = HANSE_EINVAL;
    if (!err)
        err = keep_experts(&session, experts, &announce);
    session_close(&session);
    return err ? hanse_exit_status(err) : 0;
}
