/* cmd/dht_crawl.c - hanse dht crawl: visits every node of a network; dht_map.c says whom to ask what. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cmd/dht_map.h"
#include "cmd/dht_text.h"
#include "cmd/dht_tool.h"
#include "cmd/dht_tools.h"
#include "dht/id.h"

#define PROGRESS_US 1000000u
#define BURST_US 20000u /* how far behind its rate it may fall and still catch up */
#define PROGRAMS_SHOWN 16
#define JOIN_ROUNDS 2 /* times that the nodes to start from are asked while none of them answers */

struct crawl;

/* A question in the air. */
struct asked {
    struct crawl *crawl;
    struct dht_id target;
    bool is_used;
};

struct crawl {
    struct dht_tool tool;
    struct dht_map *map[2]; /* v4, v6; NULL: nobody to start from */
    struct asked asked[DHT_PROBES_MAX];
    uint64_t max, rate, gap_us, next_us, progress_us;
    size_t n_joins_asked, n_join_rounds, n_in_air, n_answers;
    uint64_t n_questions, end_us;
    bool is_terminal;
};

/* -- Asking -------------------------------------------------------------------------------------------- */

static struct dht_map *map_of(struct crawl *crawl, const struct addr *addr)
{
    return crawl->map[addr->family == 6];
}

static void on_answer(void *arg, uint64_t now_us, const struct dht_probe_answer *answer)
{
    struct asked *asked = arg;
    struct crawl *crawl = asked->crawl;
    const struct dht_message *m = answer->message;
    (void)now_us;
    asked->is_used = false;
    crawl->n_in_air--;
    crawl->n_answers += m && m->kind == DHT_REPLY;
    if (m && m->kind == DHT_REPLY)
        dht_map_answered(map_of(crawl, &answer->from), &answer->from, &asked->target, m, answer->rtt_us);
    else
        dht_map_lost(map_of(crawl, &answer->from), &answer->from, &asked->target);
}

static struct asked *free_slot(struct crawl *crawl)
{
    for (size_t i = 0; i < DHT_PROBES_MAX; i++)
        if (!crawl->asked[i].is_used)
            return &crawl->asked[i];
    return NULL;
}

/* The nodes to start from first: nobody told us their ids, so they are asked about any. */
static bool next_question(struct crawl *crawl, struct dht_map_question *q)
{
    bool is_in_vain = crawl->n_joins_asked == crawl->tool.n_join && crawl->n_in_air == 0 && crawl->n_answers == 0;
    if (is_in_vain && ++crawl->n_join_rounds < JOIN_ROUNDS)
        crawl->n_joins_asked = 0;
    if (crawl->n_joins_asked < crawl->tool.n_join) {
        q->to = crawl->tool.join[crawl->n_joins_asked++];
        rng_bytes(&crawl->tool.rng, q->target.byte, sizeof q->target.byte);
        return true;
    }
    for (int i = 0; i < 2; i++)
        if (crawl->map[i] && dht_map_next(crawl->map[i], q))
            return true;
    return false;
}

static bool ask(struct crawl *crawl, uint64_t now_us)
{
    struct dht_map_question q;
    struct asked *asked = free_slot(crawl);
    if (!asked || !next_question(crawl, &q))
        return false;
    struct dht_message m = {.method = DHT_FIND_NODE, .has_target = true, .target = q.target};
    *asked = (struct asked){crawl, q.target, true};
    if (dht_probe(crawl->tool.dht, now_us, &q.to, &m, crawl->tool.timeout_us, on_answer, asked) != 0) {
        asked->is_used = false;
        dht_map_lost(map_of(crawl, &q.to), &q.to, &q.target);
        return false;
    }
    crawl->n_in_air++;
    crawl->n_questions++;
    return true;
}

/* -- Telling ------------------------------------------------------------------------------------------- */

static void print_progress(struct crawl *crawl, uint64_t now_us)
{
    size_t n = 0;
    double swept = 1;
    if (!crawl->is_terminal || now_us < crawl->progress_us)
        return;
    crawl->progress_us = now_us + PROGRESS_US;
    for (int i = 0; i < 2; i++)
        if (crawl->map[i]) {
            struct dht_map_stats stats = dht_map_stats(crawl->map[i]);
            n += stats.n_nodes;
            swept = stats.swept < swept ? stats.swept : swept;
        }
    fprintf(stderr, "\r%zu node%s found, %" PRIu64 " question%s, %zu answer%s, %.1f %% searched, %.0f s ", n, text_plural(n),
            crawl->n_questions, text_plural(crawl->n_questions), crawl->n_answers, text_plural(crawl->n_answers), 100 * swept,
            (double)(now_us - crawl->tool.start_us) / 1e6);
}

static void step(struct dht_tool *tool, uint64_t now_us)
{
    struct crawl *crawl = tool->arg;
    if (crawl->next_us + BURST_US < now_us)
        crawl->next_us = now_us - BURST_US;
    bool has_more = true;
    while (crawl->next_us <= now_us && (has_more = ask(crawl, now_us)))
        crawl->next_us += crawl->gap_us;
    print_progress(crawl, now_us);
    crawl->end_us = now_us;
    if (!has_more && crawl->n_in_air == 0) {
        dht_tool_end(tool, 0);
        return;
    }
    tool->wake_us = has_more ? crawl->next_us : IO_NEVER; /* else an answer will wake us, or its absence */
    if (crawl->is_terminal && crawl->progress_us < tool->wake_us)
        tool->wake_us = crawl->progress_us;
}

/* -- Programs ------------------------------------------------------------------------------------------ */

struct program {
    uint8_t n, v[DHT_MAP_VERSION_MAX];
    size_t n_nodes;
};

static int compare_name(const void *a, const void *b)
{
    const struct program *x = a, *y = b;
    int order = memcmp(x->v, y->v, sizeof x->v);
    return order ? order : (int)x->n - (int)y->n;
}

static int compare_share(const void *a, const void *b)
{
    const struct program *x = a, *y = b;
    if (x->n_nodes != y->n_nodes)
        return x->n_nodes < y->n_nodes ? 1 : -1;
    return compare_name(a, b);
}

/* Those of all nodes that answered, most frequent first; *n of them, to be freed. */
static struct program *programs_of(const struct dht_map *map, size_t *n)
{
    size_t n_all = 0;
    struct program *list = calloc(dht_map_n(map) + 1, sizeof *list);
    *n = 0;
    for (size_t i = 0; list && i < dht_map_n(map); i++) {
        const struct dht_map_node *node = dht_map_node(map, i);
        if (node->state != DHT_MAP_ANSWERED)
            continue;
        list[n_all] = (struct program){.n = node->n_version, .n_nodes = 1};
        memcpy(list[n_all++].v, node->version, node->n_version);
    }
    if (n_all == 0)
        return list;
    qsort(list, n_all, sizeof *list, compare_name);
    for (size_t i = 0; i < n_all; i++) {
        if (i > 0 && compare_name(&list[*n - 1], &list[i]) == 0)
            list[*n - 1].n_nodes++;
        else
            list[(*n)++] = list[i];
    }
    qsort(list, *n, sizeof *list, compare_share);
    return list;
}

/* -- Showing ------------------------------------------------------------------------------------------- */

static double percent(size_t part, size_t all)
{
    return all ? 100.0 * (double)part / (double)all : 0;
}

static void print_programs(const struct dht_map *map, size_t n_answered)
{
    char version[DHT_TEXT_VERSION_BYTES];
    size_t n, n_shown = 0;
    struct program *list = programs_of(map, &n);
    for (size_t i = 0; i < n && i < PROGRAMS_SHOWN; i++) {
        n_shown += list[i].n_nodes;
        printf("  %5.1f %%  %7zu  %s\n", percent(list[i].n_nodes, n_answered), list[i].n_nodes,
               dht_text_version(version, list[i].v, list[i].n));
    }
    if (n > PROGRAMS_SHOWN)
        printf("  %5.1f %%  %7zu  %zu other%s\n", percent(n_answered - n_shown, n_answered), n_answered - n_shown,
               n - PROGRAMS_SHOWN, text_plural(n - PROGRAMS_SHOWN));
    free(list);
}

static void print_fit(const struct dht_map_stats *stats)
{
    size_t n_far = stats->n_answered - stats->n_local;
    if (n_far == 0 && stats->n_local > 0) {
        printf("ids need not fit a local address (BEP 42)");
        return;
    }
    printf("ids fit the address (BEP 42) at %.1f %% of those that answered", percent(stats->n_fit, n_far));
    if (stats->n_local > 0)
        printf(" elsewhere than at the %zu local addresses, which they need not fit", stats->n_local);
}

static void print_map(const struct dht_map *map, const char *family)
{
    struct dht_map_stats stats = dht_map_stats(map);
    printf("%s: %zu node%s found, %zu answered (%.0f %%); ", family, stats.n_nodes, text_plural(stats.n_nodes), stats.n_answered,
           percent(stats.n_answered, stats.n_nodes));
    if (stats.n_left_out > 0)
        printf("stopped at --max, so that the size of the network stays open");
    else
        printf("%.1f %% of the ids searched", 100 * stats.swept);
    if (stats.n_left_out == 0 && stats.estimate > 0)
        printf(", so that about %.0f answer in the whole network", stats.estimate);
    printf("\n  ");
    print_fit(&stats);
    if (stats.n_renamed > 0)
        printf("; %zu showed another id than others told", stats.n_renamed);
    if (stats.n_left_out > 0)
        printf("; %zu name%s of more nodes left out (--max)", stats.n_left_out, text_plural(stats.n_left_out));
    printf("\n");
    print_programs(map, stats.n_answered);
}

static json_t *programs_json(const struct dht_map *map)
{
    char version[DHT_TEXT_VERSION_BYTES];
    size_t n;
    struct program *list = programs_of(map, &n);
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(all, json_pack("{s:s, s:I}", "program", dht_text_version(version, list[i].v, list[i].n), "nodes",
                                             (json_int_t)list[i].n_nodes));
    free(list);
    return all;
}

static json_t *map_json(const struct dht_map *map, const char *family)
{
    struct dht_map_stats stats = dht_map_stats(map);
    bool is_whole = stats.n_left_out == 0; /* else nobody knows how large what was left out is */
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "family", family, "found", (json_int_t)stats.n_nodes,
                     "answered", (json_int_t)stats.n_answered, "id_fits", (json_int_t)stats.n_fit, "local",
                     (json_int_t)stats.n_local, "renamed", (json_int_t)stats.n_renamed, "left_out", (json_int_t)stats.n_left_out,
                     "searched_share", is_whole ? json_real(stats.swept) : json_null(), "estimate",
                     is_whole && stats.estimate > 0 ? json_real(stats.estimate) : json_null(), "programs", programs_json(map));
}

static json_t *node_json(const struct dht_map_node *node)
{
    char id[DHT_TEXT_HEX_BYTES], at[ADDR_TEXT_BYTES], version[DHT_TEXT_VERSION_BYTES];
    bool has_answered = node->state == DHT_MAP_ANSWERED;
    json_t *one = json_pack("{s:s, s:s, s:b, s:o}", "id", dht_text_id(id, &node->id), "address", addr_text(&node->addr, at),
                            "answered", has_answered, "id_fits", dht_tool_fit_json(&node->id, &node->addr));
    if (has_answered) {
        json_object_set_new(one, "rtt_ms", json_real((double)node->rtt_us / 1000));
        dht_tool_json_text(one, "program", "%s", dht_text_version(version, node->version, node->n_version));
    }
    return one;
}

/* A network may have more nodes than a document in memory should: each is printed as it is built. */
static void print_nodes_json(const struct dht_map *map, bool *is_first)
{
    for (size_t i = 0; i < dht_map_n(map); i++) {
        json_t *one = node_json(dht_map_node(map, i));
        printf(*is_first ? "\n  " : ",\n  ");
        *is_first = false;
        json_dumpf(one, stdout, JSON_REAL_PRECISION(9));
        json_decref(one);
    }
}

static void print_json(struct crawl *crawl)
{
    static const char *const family[] = {"IPv4", "IPv6"};
    json_t *networks = json_array();
    bool is_first = true;
    for (int i = 0; i < 2; i++)
        if (crawl->map[i])
            json_array_append_new(networks, map_json(crawl->map[i], family[i]));
    printf("{\n\"complete\": %s,\n\"questions\": %" PRIu64 ",\n\"seconds\": %.3f,\n\"networks\": ",
           crawl->tool.is_interrupted ? "false" : "true", crawl->n_questions,
           (double)(crawl->end_us - crawl->tool.start_us) / 1e6);
    json_dumpf(networks, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(networks);
    printf(",\n\"nodes\": [");
    for (int i = 0; i < 2; i++)
        if (crawl->map[i])
            print_nodes_json(crawl->map[i], &is_first);
    printf("\n]\n}\n");
}

static int report(struct crawl *crawl)
{
    if (crawl->is_terminal)
        fprintf(stderr, "\n");
    if (crawl->n_answers == 0)
        return dht_tool_explain_nobody(&crawl->tool);
    if (crawl->tool.options.is_json) {
        print_json(crawl);
        return 0;
    }
    if (crawl->map[0])
        print_map(crawl->map[0], "IPv4");
    if (crawl->map[1])
        print_map(crawl->map[1], "IPv6");
    printf("%" PRIu64 " question%s, %.1f s%s\n", crawl->n_questions, text_plural(crawl->n_questions),
           (double)(crawl->end_us - crawl->tool.start_us) / 1e6, crawl->tool.is_interrupted ? "; interrupted" : "");
    return 0;
}

/* -- The command --------------------------------------------------------------------------------------- */

static int prepare(struct crawl *crawl, const struct dht_tool_options *o)
{
    struct dht_tool_wish wish = {.needs_join = true};
    int err = dht_tool_open(&crawl->tool, o, &wish);
    for (size_t i = 0; !err && i < crawl->tool.n_join; i++) {
        struct dht_map **map = &crawl->map[crawl->tool.join[i].family == 6];
        if (!*map)
            err = dht_map_new((size_t)crawl->max, &crawl->tool.rng, map);
    }
    return err;
}

static int run(struct crawl *crawl, const struct dht_tool_options *o)
{
    int err = prepare(crawl, o), status = dht_tool_status(err, true);
    if (!err) {
        crawl->tool.step = step;
        crawl->tool.arg = crawl;
        crawl->gap_us = 1000000 / crawl->rate;
        crawl->is_terminal = isatty(STDERR_FILENO);
        err = dht_tool_run(&crawl->tool);
        status = err ? hanse_exit_status(err) : report(crawl);
    }
    dht_map_free(crawl->map[0]);
    dht_map_free(crawl->map[1]);
    dht_tool_close(&crawl->tool);
    return status;
}

int dht_tool_crawl(int argc, char **argv)
{
    struct dht_tool_options o = dht_tool_defaults(2);
    struct crawl crawl = {.max = 1000000, .rate = 200};
    const struct options_row row[] = {
        DHT_TOOL_ROW_JOIN(o),
        {"rate", "N", OPTIONS_U64, &crawl.rate, "questions a second at most (default 200)", 1, 100000, false},
        {"max", "N", OPTIONS_U64, &crawl.max, "nodes to keep of each address family (default 1000000, some 100 bytes each)", 1,
         100000000, false},
        DHT_TOOL_ROW_TIMEOUT(o, "seconds to wait for each answer (default 2)"),
        DHT_TOOL_ROW_JSON(o),
    };
    const struct options_usage usage = {
        .command = "hanse dht crawl",
        .about =
            "Visits every node that it can find, and says how many there are and answer, which programs they are, whether their "
            "ids fit their addresses (BEP 42), and how large the network seems. Ctrl-C ends it with what it knows so far. On a "
            "terminal it says how far it is.",
        .example = "hanse dht crawl --join 192.0.2.7:4100\n"
                   "hanse dht crawl --join router.bittorrent.com:6881 --max 100000 --rate 100 --json >nodes.json",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
    };
    int status;
    if (!options_read(&usage, argc, argv, NULL, NULL, &status))
        return status;
    return dht_tool_check(&usage, &o) ? run(&crawl, &o) : OPTIONS_STATUS_USAGE;
}
