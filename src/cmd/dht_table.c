/* cmd/dht_table.c - hanse dht table: whom does another node know?  Asked for ids in each bucket that its table must have. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "cmd/dht_text.h"
#include "cmd/dht_tool.h"
#include "cmd/dht_tools.h"
#include "dht/id.h"

#define SEEN_MAX 8192 /* ours holds 344, others' a few hundred: whoever names more invents them */
#define BARREN 3      /* questions in a row about a bucket that bring nobody new: on to the next */
#define EMPTY 3       /* buckets in a row that bring nobody new: the table is known */
#define TRIES 3       /* for a question that is not answered */
#define CHECK_GAP_US 5000u
#define VERSION_MAX 16

struct seen {
    struct dht_id id;
    struct addr addr;
    unsigned bucket;
    bool is_checked, has_answered;
};

struct table {
    struct dht_tool tool;
    struct addr addr;
    struct dht_id id;
    uint8_t version[VERSION_MAX];
    size_t n_version;
    struct seen *seen;
    size_t n, n_questions, n_answers;
    unsigned bucket, n_barren, n_empty, n_tries;
    size_t n_new; /* in this bucket's turn */
    bool is_asking, is_listed, is_refused, wants_check;
    bool is_full; /* it named more than we keep */
    uint64_t rate, gap_us, next_us;
    size_t n_checked, n_answered; /* of those seen */
};

/* -- Listing ------------------------------------------------------------------------------------------- */

static bool is_seen(const struct table *t, const struct addr *addr)
{
    for (size_t i = 0; i < t->n; i++)
        if (addr_equal(&t->seen[i].addr, addr))
            return true;
    return false;
}

static size_t take_nodes(struct table *t, struct dht_span nodes)
{
    struct seen seen = {.bucket = 0};
    size_t n_before = t->n;
    for (size_t i = 0; i < DHT_NODES_MAX && dht_krpc_node(nodes, t->addr.family, i, &seen.id, &seen.addr); i++) {
        if (is_seen(t, &seen.addr))
            continue;
        t->is_full = t->n == SEEN_MAX;
        if (t->is_full)
            break;
        seen.bucket = dht_id_shared_bits(&seen.id, &t->id);
        t->seen[t->n++] = seen;
    }
    return t->n - n_before;
}

/* Moves on when a bucket gives no more. */
static void count_answer(struct table *t, size_t n_new)
{
    t->n_new += n_new;
    t->n_barren = n_new > 0 ? 0 : t->n_barren + 1;
    if (t->n_barren < BARREN)
        return;
    t->n_empty = t->n_new > 0 ? 0 : t->n_empty + 1;
    t->n_new = t->n_barren = 0;
    t->is_listed = t->n_empty == EMPTY || ++t->bucket == DHT_ID_BITS;
}

static void on_answer(void *arg, uint64_t now_us, const struct dht_probe_answer *answer)
{
    struct table *t = arg;
    const struct dht_message *m = answer->message;
    (void)now_us;
    t->is_asking = false;
    if (!m || m->kind != DHT_REPLY) {
        t->is_refused |= m != NULL;
        t->is_listed = ++t->n_tries == TRIES;
        return;
    }
    t->n_tries = 0;
    if (t->n_answers++ == 0) {
        t->id = m->id;
        t->n_version = m->version.n < VERSION_MAX ? m->version.n : VERSION_MAX;
        memcpy(t->version, t->n_version ? m->version.bytes : t->version, t->n_version);
        (void)take_nodes(t, t->addr.family == 6 ? m->nodes6 : m->nodes);
        return;
    }
    count_answer(t, take_nodes(t, t->addr.family == 6 ? m->nodes6 : m->nodes));
    t->is_listed |= t->is_full;
}

static void ask(struct table *t, uint64_t now_us)
{
    struct dht_message m = {.method = DHT_FIND_NODE, .has_target = true};
    if (t->n_answers == 0)
        rng_bytes(&t->tool.rng, m.target.byte, sizeof m.target.byte);
    else
        m.target = dht_id_random_at(&t->id, t->bucket, &t->tool.rng);
    if (dht_probe(t->tool.dht, now_us, &t->addr, &m, t->tool.timeout_us, on_answer, t) != 0)
        return;
    t->is_asking = true;
    t->n_questions++;
    t->next_us = now_us + t->gap_us;
}

/* -- Checking ------------------------------------------------------------------------------------------ */

static void on_checked(void *arg, uint64_t now_us, const struct dht_probe_answer *answer)
{
    struct table *t = arg;
    (void)now_us;
    t->n_checked++;
    t->n_answered += answer->message != NULL;
    for (size_t i = 0; i < t->n; i++)
        if (addr_equal(&t->seen[i].addr, &answer->from))
            t->seen[i].has_answered = answer->message != NULL;
}

/* A node far away may name addresses of our own neighbourhood: those are left in peace. */
static bool may_check(const struct table *t, const struct seen *seen)
{
    return seen->addr.port != 0 && (addr_is_local(&t->addr) || !addr_is_local(&seen->addr));
}

static bool check_next(struct table *t, uint64_t now_us)
{
    struct dht_message m = {.method = DHT_PING};
    size_t i = 0;
    while (i < t->n && t->seen[i].is_checked)
        i++;
    if (i == t->n)
        return false;
    if (!may_check(t, &t->seen[i])) {
        t->seen[i].is_checked = true;
        t->n_checked++;
    } else if (dht_probe(t->tool.dht, now_us, &t->seen[i].addr, &m, t->tool.timeout_us, on_checked, t) == 0) {
        t->seen[i].is_checked = true;
    }
    t->next_us = now_us + CHECK_GAP_US;
    return true;
}

static void step(struct dht_tool *tool, uint64_t now_us)
{
    struct table *t = tool->arg;
    tool->wake_us = IO_NEVER;
    if (!t->is_listed) {
        if (!t->is_asking && now_us >= t->next_us)
            ask(t, now_us);
        tool->wake_us = t->is_asking ? IO_NEVER : t->next_us;
    } else if (!t->wants_check || t->n_checked == t->n) {
        dht_tool_end(tool, 0);
    } else if (now_us < t->next_us || check_next(t, now_us)) {
        tool->wake_us = t->next_us;
    }
}

/* -- Showing ------------------------------------------------------------------------------------------- */

static int compare_seen(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    if (x->bucket != y->bucket)
        return x->bucket < y->bucket ? -1 : 1;
    return memcmp(x->id.byte, y->id.byte, sizeof x->id.byte);
}

static size_t bucket_end(const struct table *t, size_t i)
{
    size_t end = i;
    while (end < t->n && t->seen[end].bucket == t->seen[i].bucket)
        end++;
    return end;
}

static const char *check_text(const struct table *t, const struct seen *seen)
{
    if (!t->wants_check)
        return "";
    return !may_check(t, seen) ? "  a local address, not asked" : seen->has_answered ? "  answers" : "  does not answer";
}

static void print_node(const struct table *t, const struct seen *seen)
{
    char id[DHT_TEXT_HEX_BYTES], at[ADDR_TEXT_BYTES];
    const char *fit = dht_id_fits(&seen->id, &seen->addr) ? "" : "  id does not fit (BEP 42)", *check = check_text(t, seen);
    printf("  %s  %*s%s%s\n", dht_text_id(id, &seen->id), *fit || *check ? -21 : 0, addr_text(&seen->addr, at), fit, check);
}

static void print_nodes(const struct table *t)
{
    for (size_t i = 0; i < t->n; i = bucket_end(t, i)) {
        size_t end = bucket_end(t, i);
        printf("bucket %u: %zu node%s\n", t->seen[i].bucket, end - i, text_plural(end - i));
        for (size_t j = i; j < end; j++)
            print_node(t, &t->seen[j]);
    }
}

static json_t *nodes_json(const struct table *t)
{
    char id[DHT_TEXT_HEX_BYTES], at[ADDR_TEXT_BYTES];
    json_t *list = json_array();
    for (size_t i = 0; i < t->n; i++) {
        const struct seen *seen = &t->seen[i];
        json_t *one = json_pack("{s:s, s:s, s:I, s:o}", "id", dht_text_id(id, &seen->id), "address", addr_text(&seen->addr, at),
                                "bucket", (json_int_t)seen->bucket, "id_fits", dht_tool_fit_json(&seen->id, &seen->addr));
        if (t->wants_check && may_check(t, seen))
            json_object_set_new(one, "answers", json_boolean(seen->has_answered));
        json_array_append_new(list, one);
    }
    return list;
}

/* True when it named nobody new any more. */
static bool is_complete(const struct table *t)
{
    return !t->is_full && (t->n_empty == EMPTY || t->bucket == DHT_ID_BITS);
}

/* Why it may be otherwise. */
static const char *doubt(const struct table *t)
{
    if (t->is_full)
        return "; stopped there: it names more than any table holds";
    if (t->tool.is_interrupted)
        return "; interrupted, it may know more";
    return t->n_tries == TRIES ? ", then silence: it may limit how often we ask, try --rate 1" : "";
}

static int report(struct table *t)
{
    char id[DHT_TEXT_HEX_BYTES], at[ADDR_TEXT_BYTES], version[DHT_TEXT_VERSION_BYTES];
    addr_text(&t->addr, at);
    if (t->n_answers == 0) {
        if (t->is_refused || t->tool.is_interrupted)
            return dht_tool_explain_nobody(&t->tool);
        log_error("%s did not answer; check address and port, and that a firewall lets UDP through", at);
        return DHT_TOOL_NOTHING;
    }
    qsort(t->seen, t->n, sizeof *t->seen, compare_seen);
    dht_text_id(id, &t->id);
    dht_text_version(version, t->version, t->n_version);
    if (t->tool.options.is_json)
        return dht_tool_status(
            dht_tool_print_json(json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:o}", "address", at, "id", id, "program", version,
                                          "complete", is_complete(t), "questions", (json_int_t)t->n_questions, "answers",
                                          (json_int_t)t->n_answers, "nodes", nodes_json(t))),
            true);
    printf("%s\n  id       %s\n  program  %s\n  knows    %zu node%s", at, id, version, t->n, text_plural(t->n));
    if (t->wants_check)
        printf(", of which %zu answer", t->n_answered);
    printf("; %zu question%s, %zu answer%s%s\n", t->n_questions, text_plural(t->n_questions), t->n_answers,
           text_plural(t->n_answers), doubt(t));
    print_nodes(t);
    return 0;
}

/* -- The command --------------------------------------------------------------------------------------- */

static int run(struct table *t, const struct dht_tool_options *o)
{
    struct dht_tool_wish wish = {0};
    int err = dht_tool_open(&t->tool, o, &wish), status = err ? hanse_exit_status(err) : 0;
    t->seen = calloc(SEEN_MAX, sizeof *t->seen);
    if (!err && !t->seen)
        status = hanse_exit_status(HANSE_ENOMEM);
    if (status == 0) {
        t->tool.step = step;
        t->tool.arg = t;
        t->gap_us = 1000000 / t->rate;
        err = dht_tool_run(&t->tool);
        status = err ? hanse_exit_status(err) : report(t);
    }
    free(t->seen);
    dht_tool_close(&t->tool);
    return status;
}

int dht_tool_table(int argc, char **argv)
{
    struct dht_tool_options o = dht_tool_defaults(2);
    struct table t = {.rate = 4};
    const struct options_row row[] = {
        {"rate", "N", OPTIONS_U64, &t.rate, "questions a second at most; many programs ban whoever asks more than 5 (default 4)",
         1, 10000, false},
        {"check", NULL, OPTIONS_FLAG, &t.wants_check, "ask each node that it knows whether it is there", 0, 0, false},
        DHT_TOOL_ROW_TIMEOUT(o, "seconds to wait for each answer (default 2)"),
        DHT_TOOL_ROW_JSON(o),
    };
    const struct options_usage usage = {
        .command = "hanse dht table",
        .operands = "HOST:PORT",
        .about =
            "Shows whom another node knows, bucket by bucket: bucket 7 holds those whose ids share exactly 7 leading bits with "
            "its "
            "own. It is asked for random ids in each bucket until three in a row bring nobody new. A node tells only of those "
            "that it thinks alive.",
        .example = "hanse dht table 192.0.2.7:4100",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
        .n_operands_min = 1,
        .n_operands_max = 1,
    };
    char **operand;
    int status;
    if (!options_read(&usage, argc, argv, &operand, NULL, &status))
        return status;
    if (!dht_tool_check(&usage, &o))
        return OPTIONS_STATUS_USAGE;
    if (!dht_tool_is_address(operand[0]))
        return options_refuse(&usage, "%s: must be a host and port such as 192.0.2.7:6881, [2001:db8::7]:6881 or name:6881",
                              operand[0]);
    return dht_tool_resolve(operand[0], &t.addr, 1) ? run(&t, &o) : DHT_TOOL_NOTHING;
}
