/* cmd/dht.c - hanse dht: finds the command that looks at, reads or writes a Mainline DHT, and runs it. */
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/dht_tools.h"
#include "cmd/options.h"

static const struct tool {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} tools[] = {
    {"ping", dht_tool_ping, "ask nodes whether they are there, and who they are"},
    {"find", dht_tool_find, "walk to an id, or to the peers of an info hash"},
    {"get", dht_tool_get, "read an item, or a row of the directory of experts"},
    {"put", dht_tool_put, "store an item"},
    {"announce", dht_tool_announce, "announce a peer of an info hash"},
    {"table", dht_tool_table, "show whom another node knows"},
    {"crawl", dht_tool_crawl, "visit every node of a network"},
    {"serve", dht_tool_serve, "be a node that others meet through"},
};
#define N_TOOLS (sizeof tools / sizeof tools[0])

static void print_overview(FILE *out)
{
    fputs("usage: hanse dht COMMAND [options]\n\n"
          "Looks at a DHT in Mainline's format from outside, ours or any other.\n\n",
          out);
    for (size_t i = 0; i < N_TOOLS; i++)
        fprintf(out, "  %-12s%s\n", tools[i].name, tools[i].summary);
    fputs("\n'hanse dht COMMAND --help' explains a command.\n", out);
}

static const char *tool_at(const void *arg, size_t i)
{
    (void)arg;
    return tools[i].name;
}

static int refuse(const char *word)
{
    const char *nearest = options_nearest(word, tool_at, NULL, N_TOOLS);
    if (*word == '-')
        fprintf(stderr, "hanse dht: there is no option %s; a command comes first, 'hanse dht --help' lists them\n", word);
    else if (nearest)
        fprintf(stderr, "hanse dht: there is no command '%s'; did you mean '%s'?\n", word, nearest);
    else
        fprintf(stderr, "hanse dht: there is no command '%s'; 'hanse dht --help' lists them\n", word);
    return OPTIONS_STATUS_USAGE;
}

int cmd_dht(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return OPTIONS_STATUS_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_overview(stdout);
        return 0;
    }
    for (size_t i = 0; i < N_TOOLS; i++)
        if (strcmp(word, tools[i].name) == 0)
            return tools[i].run(argc - 1, argv + 1);
    return refuse(word);
}
