/* cmd/dht_announce.c - hanse dht announce: tells the nodes nearest to an info hash that a peer of it is here. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cmd/dht_text.h"
#include "cmd/dht_tools.h"
#include "cmd/dht_walk.h"

struct announce {
    struct dht_tool tool;
    struct dht_walk walk;
    const char *text; /* whose hash it is, or NULL */
    uint64_t port;
};

static bool arrived(void *arg)
{
    struct announce *announce = arg;
    announce->walk.write = (struct dht_message){.method = DHT_ANNOUNCE_PEER, .port = (uint16_t)announce->port};
    return true;
}

static int report(struct announce *announce)
{
    char id[DHT_TEXT_HEX_BYTES], text[256];
    bool is_stored = dht_walk_n_stored(&announce->walk) > 0;
    dht_text_id(id, &announce->walk.target);
    if (announce->tool.options.is_json)
        return dht_walk_status(
            &announce->walk,
            dht_tool_print_json(json_pack("{s:s, s:I, s:o, s:o, s:o}", "info_hash", id, "port", (json_int_t)announce->port,
                                          "write", dht_walk_writes_json(&announce->walk), "walk",
                                          dht_walk_cost_json(&announce->walk), "nodes", dht_walk_nodes_json(&announce->walk))),
            is_stored);
    printf("info hash %s", id);
    if (announce->text)
        printf(", the SHA-1 of '%s'", dht_text_escape(text, sizeof text, announce->text, strlen(announce->text)));
    printf("; port %u of this machine\n", (unsigned)announce->port);
    dht_walk_print_writes(&announce->walk);
    dht_walk_print_nodes(&announce->walk);
    dht_walk_print_cost(&announce->walk);
    return dht_walk_status(&announce->walk, 0, is_stored);
}

static int run(struct announce *announce, const struct dht_tool_options *o, const struct dht_id *info_hash)
{
    struct dht_tool_wish wish = {.needs_join = true};
    int err = dht_tool_open(&announce->tool, o, &wish), status = dht_tool_status(err, true);
    if (!err) {
        dht_walk_init(&announce->walk, &announce->tool, DHT_GET_PEERS, info_hash);
        announce->walk.arrived = arrived;
        announce->walk.arg = announce;
        status = dht_walk_run(&announce->walk);
    }
    if (status == 0)
        status = report(announce);
    dht_tool_close(&announce->tool);
    return status;
}

int dht_tool_announce(int argc, char **argv)
{
    struct dht_tool_options o = dht_tool_defaults(20);
    struct announce announce = {.port = 0};
    const struct options_row row[] = {
        {"port", "N", OPTIONS_U64, &announce.port, "the port at which the peer listens", 1, UINT16_MAX, true},
        DHT_TOOL_ROW_JOIN(o),
        DHT_TOOL_ROW_TIMEOUT(o, "seconds for all of it (default 20)"),
        DHT_TOOL_ROW_JSON(o),
    };
    const struct options_usage usage = {
        .command = "hanse dht announce",
        .operands = "INFOHASH|TEXT",
        .about = "Announces a peer of an info hash (40 hex digits, or a text whose SHA-1 it is) at this machine's address, as "
                 "the nodes see it, and says how "
                 "many nodes stored that. They forget it within the hour, most within half of one. Ends with 1 when nobody did.",
        .example = "hanse dht announce --join 192.0.2.7:6881 --port 51413 2c6b6858d61da9543d4231a71db4b1c9264b0685",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
        .n_operands_min = 1,
        .n_operands_max = 1,
    };
    char **operand;
    struct dht_id info_hash;
    int status;
    if (!options_read(&usage, argc, argv, &operand, NULL, &status))
        return status;
    if (!dht_tool_check(&usage, &o))
        return OPTIONS_STATUS_USAGE;
    bool is_text;
    status = dht_tool_read_id(&usage, operand[0], &info_hash, &is_text);
    if (status)
        return status;
    announce.text = is_text ? operand[0] : NULL;
    return run(&announce, &o, &info_hash);
}
