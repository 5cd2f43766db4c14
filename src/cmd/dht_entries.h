/**
 * cmd/dht_entries.h - hanse dht get --directory: the entries of many writers under one key of our directory.
 */
#ifndef CMD_DHT_ENTRIES_H
#define CMD_DHT_ENTRIES_H

#include "cmd/dht_tool.h"

/** Operands: a key of 40 digits; "runs"; or a run (its file, or its id of 64 digits), a layer and a row.  Returns the exit status. */
int dht_entries_show(const struct options_usage *usage, const struct dht_tool_options *options, char **operand,
                     size_t n_operands);

#endif
