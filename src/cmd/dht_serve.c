/* cmd/dht_serve.c - hanse dht serve: a node without experts, which others meet through. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/text.h"
#include "base/log.h"
#include "cmd/dht_text.h"
#include "cmd/dht_tool.h"
#include "cmd/dht_tools.h"

#define LINE_US 10000000u /* on a terminal: how often it says how it fares */
#define IDLE_US 30000000u /* a link on which nobody read for so long is closed */
#define LINKS_MAX 256
#define JOIN_US 3000000u /* it is ready at the latest after so long, whoever answered */

/* A link that somebody opened to read from us. */
struct served {
    io_link link; /* 0: none */
    uint64_t last_us;
};

struct serve {
    struct dht_tool tool;
    struct served served[LINKS_MAX];
    uint64_t line_us;
    bool is_ready, is_joined; /* and said so */
};

/* -- Links ---------------------------------------------------------------------------------------------- */

static struct served *find(struct serve *serve, io_link link)
{
    for (size_t i = 0; i < LINKS_MAX; i++)
        if (serve->served[i].link == link)
            return &serve->served[i];
    return NULL;
}

/* Links are for reading large rows; who says anything else, or nothing, is in the wrong place. */
static void on_link(struct dht_tool *tool, uint64_t now_us, const struct io_event *event, enum dht_link_use use)
{
    struct serve *serve = tool->arg;
    struct served *served = event->link ? find(serve, event->link) : NULL;
    if (event->kind == IO_LINK_DOWN && served)
        served->link = 0;
    if (event->kind == IO_LINK_UP && event->is_incoming && use == DHT_LINK_OTHERS) {
        served = find(serve, 0);
        if (served)
            *served = (struct served){event->link, now_us};
        else
            tool->io->ops->link_close(tool->io->ctx, event->link);
    }
    if (event->kind != IO_MESSAGE)
        return;
    if (use == DHT_LINK_OTHERS)
        tool->io->ops->link_close(tool->io->ctx, event->link);
    else if (served && use == DHT_LINK_GIVEN)
        served->last_us = now_us;
}

static uint64_t close_idle(struct serve *serve, uint64_t now_us)
{
    uint64_t next_us = IO_NEVER;
    for (size_t i = 0; i < LINKS_MAX; i++) {
        struct served *served = &serve->served[i];
        if (served->link && served->last_us + IDLE_US <= now_us) {
            serve->tool.io->ops->link_close(serve->tool.io->ctx, served->link);
            served->link = 0;
        } else if (served->link && served->last_us + IDLE_US < next_us) {
            next_us = served->last_us + IDLE_US;
        }
    }
    return next_us;
}

/* -- The command ---------------------------------------------------------------------------------------- */

/* Nobody could join a node of which nobody learns where it is. */
static int say_all(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    log_error("standard output: cannot be written");
    return HANSE_EIO;
}

static void print_line(struct dht_tool *tool)
{
    struct dht_stats stats = dht_stats(tool->dht);
    char at[ADDR_TEXT_BYTES] = "unknown";
    struct addr external;
    if (dht_external(tool->dht, &external))
        addr_text(&external, at);
    printf("%zu node%s known, %zu good; holds %zu entr%s, %zu item%s, %zu peer%s; asked %" PRIu64 ", refused %" PRIu64
           "; others see us at %s\n",
           stats.n_nodes, text_plural(stats.n_nodes), dht_n_good(tool->dht), stats.n_entries, stats.n_entries == 1 ? "y" : "ies",
           stats.n_items, text_plural(stats.n_items), stats.n_peers, text_plural(stats.n_peers), stats.n_queries_in,
           stats.n_refused, at);
    fflush(stdout);
}

static void print_joined(const struct dht_tool *tool)
{
    size_t n = dht_n_good(tool->dht);
    printf("joined through %zu node%s\n", n, text_plural(n));
    fflush(stdout);
}

static void print_ready(const struct serve *serve)
{
    const struct dht_tool *tool = &serve->tool;
    char at[ADDR_TEXT_BYTES], id[DHT_TEXT_HEX_BYTES];
    struct addr address = net_address(tool->net);
    struct dht_id own = dht_own_id(tool->dht);
    printf("node %s ready on %s: ", dht_text_id(id, &own), addr_text(&address, at));
    if (serve->is_joined)
        print_joined(tool);
    else if (tool->n_join > 0)
        printf("alone so far, nobody answers at the %zu address%s of --join\n", tool->n_join, tool->n_join == 1 ? "" : "es");
    else
        printf("alone so far\n");
    fflush(stdout);
}

/* Who was told of others is ready once it knows its neighbours; or soon, and says later that it does. */
static void look_around(struct serve *serve, uint64_t now_us)
{
    struct dht_tool *tool = &serve->tool;
    uint64_t end_us = tool->start_us + (tool->n_join > 0 ? JOIN_US : 0);
    if (serve->is_joined || (serve->is_ready && tool->n_join == 0))
        return;
    serve->is_joined = dht_is_joined(tool->dht);
    if (!serve->is_ready && (serve->is_joined || now_us >= end_us)) {
        serve->is_ready = true;
        print_ready(serve);
        int err = say_all();
        if (err)
            dht_tool_end(tool, err);
    } else if (serve->is_joined) {
        print_joined(tool);
    }
    if (!serve->is_ready && end_us < tool->wake_us)
        tool->wake_us = end_us;
}

static void step(struct dht_tool *tool, uint64_t now_us)
{
    struct serve *serve = tool->arg;
    tool->wake_us = close_idle(serve, now_us);
    look_around(serve, now_us);
    if (tool->is_over || !serve->is_ready || !isatty(STDOUT_FILENO))
        return;
    if (now_us >= serve->line_us) {
        if (serve->line_us != 0)
            print_line(tool);
        serve->line_us = now_us + LINE_US;
    }
    tool->wake_us = serve->line_us < tool->wake_us ? serve->line_us : tool->wake_us;
}

static void join_all(struct dht_tool *tool)
{
    for (size_t i = 0; i < tool->n_join; i++)
        dht_join(tool->dht, net_now_us(), &tool->join[i]);
}

static int run(struct serve *serve, const struct dht_tool_options *o, const struct addr *listen)
{
    struct dht_tool *tool = &serve->tool;
    struct dht_tool_wish wish = {.listen = *listen, .serves = true, .needs_join = o->join.n > 0};
    int err = dht_tool_open(tool, o, &wish);
    if (!err) {
        tool->step = step;
        tool->link = on_link;
        tool->arg = serve;
        join_all(tool);
        err = dht_tool_run(tool);
    }
    if (!err)
        print_line(tool);
    dht_tool_close(tool);
    return dht_tool_status(err, true);
}

int dht_tool_serve(int argc, char **argv)
{
    struct dht_tool_options o = dht_tool_defaults(2);
    struct serve serve = {.line_us = 0};
    struct addr listen = {.family = 4, .ip = {127, 0, 0, 1}, .port = 4100};
    const struct options_row row[] = {
        {"listen", "ADDR:PORT", OPTIONS_ADDR, &listen,
         "where to listen; 0.0.0.0:4100 for all interfaces (default 127.0.0.1:4100)", 0, 0, false},
        {"join", "HOST:PORT", OPTIONS_TEXTS, &o.join, "a node to meet others through; may be repeated (default: none)", 0, 0,
         false},
        DHT_TOOL_ROW_KEY(o, "directory of the key that the node's id follows from (default: a new one)"),
    };
    const struct options_usage usage = {
        .command = "hanse dht serve",
        .about = "Is a node of the DHT without experts until Ctrl-C: one whose address others can be told to join.",
        .example = "hanse dht serve --listen 0.0.0.0:4100",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
    };
    int status;
    if (!options_read(&usage, argc, argv, NULL, NULL, &status))
        return status;
    return dht_tool_check(&usage, &o) ? run(&serve, &o, &listen) : OPTIONS_STATUS_USAGE;
}
