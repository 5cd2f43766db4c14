/**
 * cmd/dht_tools.h - the commands of `hanse dht`.  Each gets its own name as argv[0] and returns the exit status.
 */
#ifndef CMD_DHT_TOOLS_H
#define CMD_DHT_TOOLS_H

#include "cmd/menu.h"

extern const struct menu dht_menu;

int dht_tool_ping(int argc, char **argv);
int dht_tool_find(int argc, char **argv);
int dht_tool_get(int argc, char **argv);
int dht_tool_put(int argc, char **argv);
int dht_tool_announce(int argc, char **argv);
int dht_tool_table(int argc, char **argv);
int dht_tool_crawl(int argc, char **argv);
int dht_tool_serve(int argc, char **argv);

#endif
