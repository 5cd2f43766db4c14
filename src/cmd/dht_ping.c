/* cmd/dht_ping.c - hanse dht ping: is the node there, who is it, how far, and how does it see us? */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cmd/dht_text.h"
#include "cmd/dht_tool.h"
#include "cmd/dht_tools.h"
#include "dht/id.h"

#define COUNT_MAX 100000
#define VERSION_MAX 16

struct ping;

struct target {
    struct ping *ping;
    const char *name; /* as the user gave it */
    struct addr addr;
    uint64_t n_sent, n_answered, n_lost, next_us;
    uint32_t *rtt_us; /* of the answers */
    /* From the latest answer. */
    bool has_id, is_read_only;
    struct dht_id id;
    uint8_t version[VERSION_MAX];
    size_t n_version;
    struct addr ip; /* we, as it sees us */
    int error;
};

struct ping {
    struct dht_tool tool;
    struct target *target;
    size_t n;
    uint64_t count, interval_us;
};

/* -- Asking -------------------------------------------------------------------------------------------- */

static void keep(struct target *t, const struct dht_message *m)
{
    t->error = m->kind == DHT_ERROR ? m->error : 0;
    t->has_id |= m->has_id;
    if (m->has_id)
        t->id = m->id;
    t->is_read_only = m->is_read_only;
    t->n_version = m->version.n < sizeof t->version ? m->version.n : sizeof t->version;
    if (t->n_version > 0)
        memcpy(t->version, m->version.bytes, t->n_version);
    if (m->ip.family != 0)
        t->ip = m->ip;
}

static void print_answer(const struct target *t, uint64_t rtt_us)
{
    char at[ADDR_TEXT_BYTES];
    if (t->ping->tool.options.is_json || t->ping->count == 1)
        return;
    if (rtt_us == UINT64_MAX)
        printf("%s: no answer\n", addr_text(&t->addr, at));
    else
        printf("%s: %.1f ms\n", addr_text(&t->addr, at), (double)rtt_us / 1000);
    fflush(stdout);
}

static void on_answer(void *arg, uint64_t now_us, const struct dht_probe_answer *answer)
{
    struct target *t = arg;
    (void)now_us;
    if (!answer->message) {
        t->n_lost++;
        print_answer(t, UINT64_MAX);
        return;
    }
    t->rtt_us[t->n_answered++] = answer->rtt_us < UINT32_MAX ? (uint32_t)answer->rtt_us : UINT32_MAX;
    keep(t, answer->message);
    print_answer(t, answer->rtt_us);
}

static void ask(struct target *t, uint64_t now_us)
{
    struct ping *ping = t->ping;
    struct dht_message m = {.method = DHT_PING};
    if (t->n_sent == ping->count || now_us < t->next_us ||
        dht_probe(ping->tool.dht, now_us, &t->addr, &m, ping->tool.timeout_us, on_answer, t) != 0)
        return;
    t->n_sent++;
    t->next_us = now_us + ping->interval_us;
}

static void step(struct dht_tool *tool, uint64_t now_us)
{
    struct ping *ping = tool->arg;
    bool is_over = true;
    tool->wake_us = IO_NEVER;
    for (size_t i = 0; i < ping->n; i++) {
        struct target *t = &ping->target[i];
        ask(t, now_us);
        is_over &= t->n_answered + t->n_lost == ping->count;
        if (t->n_sent < ping->count && t->next_us < tool->wake_us)
            tool->wake_us = t->next_us;
    }
    if (is_over)
        dht_tool_end(tool, 0);
}

/* -- Showing ------------------------------------------------------------------------------------------- */

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double median_ms(const struct target *t)
{
    size_t n = t->n_answered;
    uint32_t low = t->rtt_us[(n - 1) / 2], high = t->rtt_us[n / 2];
    return ((double)low + (double)high) / 2000;
}

static double loss_percent(const struct target *t)
{
    uint64_t n = t->n_answered + t->n_lost;
    return n ? 100.0 * (double)t->n_lost / (double)n : 0;
}

static const char *fit_text(const struct target *t)
{
    if (addr_is_local(&t->addr))
        return "need not fit a local address (BEP 42)";
    return dht_id_fits(&t->id, &t->addr) ? "fits the address (BEP 42)" : "does not fit the address (BEP 42)";
}

static void print_target(struct target *t)
{
    char at[ADDR_TEXT_BYTES], id[DHT_TEXT_HEX_BYTES], version[DHT_TEXT_VERSION_BYTES];
    printf("%s", addr_text(&t->addr, at));
    if (strcmp(at, t->name) != 0)
        printf(" (%s)", t->name);
    if (t->n_answered == 0 && t->ping->tool.is_interrupted) {
        printf(": interrupted before it answered\n");
        return;
    }
    if (t->n_answered == 0) {
        printf(": no answer to %" PRIu64 " question%s\n", t->n_sent, text_plural(t->n_sent));
        return;
    }
    if (t->error)
        printf("\n  refuses     error %d: %s", t->error, dht_text_error(t->error));
    if (t->has_id)
        printf("\n  id          %s, which %s", dht_text_id(id, &t->id), fit_text(t));
    printf("\n  program     %s%s\n", dht_text_version(version, t->version, t->n_version),
           t->is_read_only ? ", read-only (BEP 43)" : "");
    printf("  sees us at  %s\n", t->ip.family ? addr_text(&t->ip, at) : "(does not say)");
    qsort(t->rtt_us, t->n_answered, sizeof *t->rtt_us, compare_u32);
    if (t->ping->count == 1)
        printf("  round trip  %.1f ms\n", median_ms(t));
    else
        printf("  round trip  min %.1f, median %.1f, max %.1f ms; %" PRIu64 " of %" PRIu64 " lost (%.0f %%)\n",
               (double)t->rtt_us[0] / 1000, median_ms(t), (double)t->rtt_us[t->n_answered - 1] / 1000, t->n_lost,
               t->n_answered + t->n_lost, loss_percent(t));
}

static json_t *target_json(struct target *t)
{
    char at[ADDR_TEXT_BYTES], id[DHT_TEXT_HEX_BYTES], version[DHT_TEXT_VERSION_BYTES], hex[2 * VERSION_MAX + 1];
    json_t *all = json_pack("{s:s, s:I, s:I, s:f}", "address", addr_text(&t->addr, at), "sent", (json_int_t)t->n_sent, "answered",
                            (json_int_t)t->n_answered, "loss_percent", loss_percent(t));
    dht_tool_json_text(all, "name", "%s", t->name);
    if (t->n_answered == 0)
        return all;
    if (t->error)
        json_object_set_new(all, "error", json_integer(t->error));
    if (t->has_id) {
        dht_tool_json_text(all, "id", "%s", dht_text_id(id, &t->id));
        json_object_set_new(all, "id_fits", dht_tool_fit_json(&t->id, &t->addr));
    }
    dht_tool_json_text(all, "program", "%s", dht_text_version(version, t->version, t->n_version));
    text_hex(hex, t->version, t->n_version);
    dht_tool_json_text(all, "v", "%s", hex);
    json_object_set_new(all, "read_only", json_boolean(t->is_read_only));
    if (t->ip.family)
        dht_tool_json_text(all, "sees_us_at", "%s", addr_text(&t->ip, at));
    qsort(t->rtt_us, t->n_answered, sizeof *t->rtt_us, compare_u32);
    json_object_set_new(all, "rtt_ms",
                        json_pack("{s:f, s:f, s:f}", "min", (double)t->rtt_us[0] / 1000, "median", median_ms(t), "max",
                                  (double)t->rtt_us[t->n_answered - 1] / 1000));
    return all;
}

static int report(struct ping *ping)
{
    json_t *list = json_array();
    bool is_json = ping->tool.options.is_json;
    size_t n_there = 0;
    for (size_t i = 0; i < ping->n; i++) {
        n_there += ping->target[i].n_answered > 0;
        if (is_json)
            json_array_append_new(list, target_json(&ping->target[i]));
        else
            print_target(&ping->target[i]);
    }
    int err = is_json ? dht_tool_print_json(json_pack("{s:O}", "nodes", list)) : 0;
    json_decref(list);
    if (!err && n_there == 0 && ping->tool.is_interrupted)
        err = HANSE_EINTERRUPTED;
    return dht_tool_status(err, n_there > 0);
}

/* -- The command --------------------------------------------------------------------------------------- */

static bool take_targets(struct ping *ping, char **operand, size_t n)
{
    ping->target = calloc(n, sizeof *ping->target);
    if (!ping->target)
        return false;
    for (ping->n = 0; ping->n < n; ping->n++) {
        struct target *t = &ping->target[ping->n];
        *t = (struct target){.ping = ping, .name = operand[ping->n]};
        t->rtt_us = calloc(ping->count, sizeof *t->rtt_us);
        if (!t->rtt_us || dht_tool_resolve(t->name, &t->addr, 1) == 0)
            return false;
    }
    return true;
}

static int run(struct ping *ping, const struct dht_tool_options *o)
{
    struct dht_tool_wish wish = {0};
    int err = dht_tool_open(&ping->tool, o, &wish);
    ping->tool.step = step;
    ping->tool.arg = ping;
    if (!err)
        err = dht_tool_run(&ping->tool);
    int status = err ? hanse_exit_status(err) : report(ping);
    dht_tool_close(&ping->tool);
    return status;
}

int dht_tool_ping(int argc, char **argv)
{
    struct dht_tool_options o = dht_tool_defaults(2);
    struct ping ping = {.count = 1};
    double interval_s = 1;
    const struct options_row row[] = {
        {"count", "N", OPTIONS_U64, &ping.count, "questions to each node (default 1)", 1, COUNT_MAX, false},
        {"interval", "S", OPTIONS_DOUBLE, &interval_s, "seconds between them (default 1)", 0, 0, false},
        DHT_TOOL_ROW_TIMEOUT(o, "seconds to wait for each answer (default 2)"),
        DHT_TOOL_ROW_JSON(o),
    };
    const struct options_usage usage = {
        .command = "hanse dht ping",
        .operands = "HOST:PORT...",
        .about = "Asks nodes whether they are there: round trip, node id and whether it fits the address (BEP 42), program, and "
                 "the address at which they see us. Ends with 1 when nobody answered.",
        .example = "hanse dht ping router.bittorrent.com:6881\nhanse dht ping --count 10 192.0.2.7:4100 [2001:db8::7]:4100",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
        .n_operands_min = 1,
        .n_operands_max = OPTIONS_LIST_MAX,
    };
    char **operand;
    size_t n_operands;
    int status;
    if (!options_read(&usage, argc, argv, &operand, &n_operands, &status))
        return status;
    if (!dht_tool_check(&usage, &o))
        return OPTIONS_STATUS_USAGE;
    if (!(interval_s >= 0.001 && interval_s <= 3600))
        return options_refuse(&usage, "--interval %g: must be seconds from 0.001 to 3600", interval_s);
    for (size_t i = 0; i < n_operands; i++)
        if (!dht_tool_is_address(operand[i]))
            return options_refuse(&usage, "%s: must be a host and port such as 192.0.2.7:6881, [2001:db8::7]:6881 or name:6881",
                                  operand[i]);
    ping.interval_us = (uint64_t)(interval_s * 1e6);
    status = take_targets(&ping, operand, n_operands) ? run(&ping, &o) : DHT_TOOL_NOTHING;
    for (size_t i = 0; ping.target && i < n_operands; i++)
        free(ping.target[i].rtt_us);
    free(ping.target);
    return status;
}
