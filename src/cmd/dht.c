/* cmd/dht.c - hanse dht: finds the command that looks at, reads or writes a Mainline DHT, and runs it. */
#include "cmd/cmd.h"
#include "cmd/dht_tools.h"
#include "cmd/menu.h"

static const struct menu_command tools[] = {
    {"ping", dht_tool_ping, "ask nodes whether they are there, and who they are", NULL},
    {"find", dht_tool_find, "walk to an id, or to the peers of an info hash", NULL},
    {"get", dht_tool_get, "read an item, or a row of the directory of experts", NULL},
    {"put", dht_tool_put, "store an item", NULL},
    {"announce", dht_tool_announce, "announce a peer of an info hash", NULL},
    {"table", dht_tool_table, "show whom another node knows", NULL},
    {"crawl", dht_tool_crawl, "visit every node of a network", NULL},
    {"serve", dht_tool_serve, "be a node that others meet through", NULL},
};

const struct menu dht_menu = {.name = "hanse dht",
                              .about = "Looks at a DHT in Mainline's format from outside, ours or any other.",
                              .more = "",
                              .command = tools,
                              .n_commands = sizeof tools / sizeof tools[0]};

int cmd_dht(int argc, char **argv)
{
    return menu_run(&dht_menu, argc, argv);
}
