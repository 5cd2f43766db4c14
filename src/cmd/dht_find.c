/* cmd/dht_find.c - hanse dht find: who is nearest to an id; with --peers, who announced an info hash. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cmd/dht_text.h"
#include "cmd/dht_tools.h"
#include "cmd/dht_walk.h"

#define PEERS_MAX 4096
#define PAD_PEERS 200 /* nodes of ours answer with three bytes for each of the question's at most */

struct found_peer {
    struct addr addr;
    size_t n_tellers;
};

struct find {
    struct dht_tool tool;
    struct dht_walk walk;
    const char *text; /* whose hash the target is, or NULL */
    bool wants_peers;
    struct found_peer *peer;
    size_t n_peers;
};

/* -- Peers --------------------------------------------------------------------------------------------- */

static void keep_peer(struct find *find, const struct addr *addr)
{
    size_t i = 0;
    while (i < find->n_peers && !addr_equal(&find->peer[i].addr, addr))
        i++;
    if (i == PEERS_MAX)
        return;
    if (i == find->n_peers)
        find->peer[find->n_peers++] = (struct found_peer){.addr = *addr};
    find->peer[i].n_tellers++;
}

static void on_peers(void *arg, struct dht_walk_node *node, const struct dht_message *m)
{
    struct find *find = arg;
    if (node->n_found == 0) /* a question that was repeated may be answered twice */
        for (size_t i = 0; i < m->n_peers; i++)
            keep_peer(find, &m->peer[i]);
    node->n_found += m->n_peers;
}

static void print_peers(const struct find *find)
{
    char at[ADDR_TEXT_BYTES];
    printf("%zu peer%s\n", find->n_peers, text_plural(find->n_peers));
    for (size_t i = 0; i < find->n_peers; i++)
        printf("  %-21s  told by %zu node%s\n", addr_text(&find->peer[i].addr, at), find->peer[i].n_tellers,
               text_plural(find->peer[i].n_tellers));
}

static json_t *peers_json(const struct find *find)
{
    char at[ADDR_TEXT_BYTES];
    json_t *list = json_array();
    for (size_t i = 0; i < find->n_peers; i++)
        json_array_append_new(list, json_pack("{s:s, s:I}", "address", addr_text(&find->peer[i].addr, at), "told_by",
                                              (json_int_t)find->peer[i].n_tellers));
    return list;
}

/* -- The command --------------------------------------------------------------------------------------- */

static int report(struct find *find)
{
    char id[DHT_TEXT_HEX_BYTES], text[256];
    bool has_found = !find->wants_peers || find->n_peers > 0;
    dht_text_id(id, &find->walk.target);
    if (find->tool.options.is_json) {
        json_t *all = json_pack("{s:s, s:o, s:o}", "target", id, "walk", dht_walk_cost_json(&find->walk), "nodes",
                                dht_walk_nodes_json(&find->walk));
        if (find->wants_peers)
            json_object_set_new(all, "peers", peers_json(find));
        return dht_walk_status(&find->walk, dht_tool_print_json(all), has_found);
    }
    printf("target %s", id);
    if (find->text)
        printf(", the SHA-1 of '%s'", dht_text_escape(text, sizeof text, find->text, strlen(find->text)));
    printf("\n");
    if (find->wants_peers)
        print_peers(find);
    dht_walk_print_nodes(&find->walk);
    dht_walk_print_cost(&find->walk);
    return dht_walk_status(&find->walk, 0, has_found);
}

static int run(struct find *find, const struct dht_tool_options *o, const struct dht_id *target)
{
    struct dht_tool_wish wish = {.needs_join = true};
    int err = dht_tool_open(&find->tool, o, &wish), status = dht_tool_status(err, true);
    if (!err) {
        struct dht_id own = dht_own_id(find->tool.dht);
        dht_walk_init(&find->walk, &find->tool, find->wants_peers ? DHT_GET_PEERS : DHT_FIND_NODE, target ? target : &own);
        find->walk.arg = find;
        if (find->wants_peers) {
            find->walk.heard = on_peers;
            find->walk.question.n_pad = PAD_PEERS;
        }
        status = dht_walk_run(&find->walk);
    }
    if (status == 0)
        status = report(find);
    dht_tool_close(&find->tool);
    return status;
}

int dht_tool_find(int argc, char **argv)
{
    struct dht_tool_options o = dht_tool_defaults(15);
    struct find find = {.wants_peers = false};
    bool given[OPTIONS_ROWS_MAX] = {false};
    const struct options_row row[] = {
        DHT_TOOL_ROW_JOIN(o),
        {"peers", NULL, OPTIONS_FLAG, &find.wants_peers, "the id is an info hash: ask for its peers on the way (get_peers)", 0, 0,
         false},
        DHT_TOOL_ROW_KEY(o, "'self' is an id that a node with the key of this directory may have"),
        DHT_TOOL_ROW_TIMEOUT(o, "seconds for all of it (default 15)"),
        DHT_TOOL_ROW_JSON(o),
    };
    const struct options_usage usage = {
        .command = "hanse dht find",
        .operands = "ID|TEXT|self",
        .about = "Walks to an id of 40 hex digits, to the SHA-1 of a text, or to an id as our own would be, and shows the nodes "
                 "nearest to it: how many leading bits they share with it, address, round trip, hops, program. With --peers ends "
                 "with 1 when there are none.",
        .example = "hanse dht find --join router.bittorrent.com:6881 2c6b6858d61da9543d4231a71db4b1c9264b0685 --peers",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
        .n_operands_min = 1,
        .n_operands_max = 1,
        .given = given,
    };
    char **operand;
    struct dht_id target;
    int status;
    if (!options_read(&usage, argc, argv, &operand, NULL, &status))
        return status;
    if (!dht_tool_check(&usage, &o))
        return OPTIONS_STATUS_USAGE;
    bool is_self = strcmp(operand[0], "self") == 0;
    const struct options_only only = {"key", "'self'", is_self};
    status = options_check(&usage, &only, 1);
    if (status)
        return status;
    bool is_text = false;
    status = is_self ? 0 : dht_tool_read_id(&usage, operand[0], &target, &is_text);
    if (status)
        return status;
    find.text = is_text ? operand[0] : NULL;
    find.peer = calloc(PEERS_MAX, sizeof *find.peer);
    status = find.peer ? run(&find, &o, is_self ? NULL : &target) : hanse_exit_status(HANSE_ENOMEM);
    free(find.peer);
    return status;
}
