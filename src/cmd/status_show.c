/* cmd/status_show.c - what is known of a run, as a table or as JSON. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "cmd/status_seen.h"
#include "dht/directory.h"

/* "L0.0-3,L1.7": the experts for which holds(arg) says yes. */
static void print_experts(const struct status *status, bool (*holds)(const struct expert_seen *, size_t), size_t arg,
                          struct buf *out)
{
    uint32_t E = status->run->experts;
    for (uint32_t moe = 0; moe < status->run->n_moe; moe++)
        for (uint32_t e = 0; e < E; e++) {
            uint32_t last = e;
            if (!holds(status_expert(status, moe, e), arg))
                continue;
            while (last + 1 < E && holds(status_expert(status, moe, last + 1), arg))
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

static long age_s(const struct seen_host *host, uint64_t now_us)
{
    return (long)(now_us / 1000000) - ((long)host->expiry_s - DHT_DIRECTORY_TTL_S);
}

static void print_host(const struct status *status, size_t i, uint64_t now_us)
{
    const struct seen_host *host = &status->host[i];
    char name[9], at[ADDR_TEXT_BYTES], versions[32] = "-", away[32];
    uint64_t load = 0;
    uint32_t low = UINT32_MAX, high = 0;
    struct buf list;
    buf_init(&list, 1 << 20);
    for (uint32_t moe = 0; moe < status->run->n_moe; moe++)
        for (uint32_t e = 0; e < status->run->experts; e++) {
            const struct expert_seen *expert = status_expert(status, moe, e);
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
           message_hardware_name[host->hardware], away, age_s(host, now_us), versions, (unsigned long long)load, (int)list.n,
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
    for (size_t i = 0; i < status->n_hosts; i++) {
        const struct seen_host *host = &status->host[i];
        reach.n_silent_hosts += !host->is_gone && is_silent(host);
        reach.n_hosts += !host->is_gone && !is_silent(host);
    }
    for (uint32_t moe = 0; moe < status->run->n_moe; moe++)
        for (uint32_t e = 0; e < status->run->experts; e++) {
            const struct expert_seen *expert = status_expert(status, moe, e);
            if (expert->n_claims > 0 && is_silent(&status->host[expert->best.host]))
                reach.n_silent++;
            else
                reach.n += expert->n_claims > 0;
        }
    return reach;
}

static size_t n_read(const struct status *status)
{
    size_t n = 0;
    for (size_t i = 0; i < status->n_all_rows; i++)
        n += status->row[i].is_read;
    return n;
}

static void print_table(const struct status *status, uint64_t now_us)
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
    printf("; %zu DHT node%s answered", status->n_asked, status->n_asked == 1 ? "" : "s");
    if (!status_is_whole(status))
        printf("; %zu of %zu rows read", n_read(status), status->n_all_rows);
    printf("\n");
    if (status_has_hosts(status))
        printf("  %-8s  %-21s  %-8s  %9s  %6s  %-13s  %12s  %s\n", "host", "address", "hardware", "away", "heard", "versions",
               "token-slots", "experts");
    for (size_t i = 0; i < status->n_hosts; i++)
        if (!status->host[i].is_gone)
            print_host(status, i, now_us);
    print_list(status, "nobody hosts", is_missing);
    print_list(status, "more than one host claims", is_contested);
}

static json_t *experts_json(const struct status *status, size_t host)
{
    json_t *list = json_array();
    char name[32];
    for (uint32_t moe = 0; moe < status->run->n_moe; moe++)
        for (uint32_t e = 0; e < status->run->experts; e++) {
            const struct expert_seen *expert = status_expert(status, moe, e);
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

static int print_json(const struct status *status, uint64_t now_us)
{
    char id[2 * HASH_BYTES + 1], at[ADDR_TEXT_BYTES], peer[65];
    json_t *hosts = json_array();
    for (size_t i = 0; i < status->n_hosts; i++) {
        const struct seen_host *host = &status->host[i];
        if (host->is_gone)
            continue;
        text_hex(peer, host->id.byte, sizeof host->id.byte);
        json_array_append_new(hosts,
                              json_pack("{s:s, s:s, s:s, s:o, s:I, s:o}", "peer", peer, "address", addr_text(&host->addr, at),
                                        "hardware", message_hardware_name[host->hardware], "rtt_us",
                                        host->has_answered ? json_integer((json_int_t)host->rtt_us) : json_null(), "age_s",
                                        (json_int_t)age_s(host, now_us), "experts", experts_json(status, i)));
    }
    text_hex(id, status->run->id.byte, HASH_BYTES);
    json_t *all = json_pack("{s:s, s:s, s:I, s:I, s:I, s:b, s:I, s:o}", "run", status->run->name, "run_id", id, "experts",
                            (json_int_t)status->run->n_moe * status->run->experts, "hosted", (json_int_t)status_n_hosted(status),
                            "hosted_by_silent", (json_int_t)reach_of(status).n_silent, "complete", status_is_whole(status),
                            "dht_nodes", (json_int_t)status->n_asked, "hosts", hosts);
    if (!all)
        return HANSE_ENOMEM;
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9)); /* strangers name runs */
    putchar('\n');
    json_decref(all);
    return 0;
}

int status_report(const struct status *status, uint64_t now_us, bool is_json)
{
    uint64_t known_us = status->is_over ? status->end_us : now_us;
    if (is_json)
        return print_json(status, known_us);
    print_table(status, known_us);
    return 0;
}
