/**
 * model/run_yaml.h - run.yaml as libyaml's events, put into a struct run by the table of run_key.h.
 * Private to src/model; run_parse() calls it.
 *
 * What is allowed is small: a mapping of sections, each a mapping of keys to plain scalars or one list of layers.  Anchors,
 * aliases, tags and further documents are refused, so a hostile file cannot grow while it is read.
 */
#ifndef MODEL_RUN_YAML_H
#define MODEL_RUN_YAML_H

#include <stddef.h>

#include "model/run.h"
#include "model/run_key.h"

/** Where each key stood, so that later checks can name a line; 0 where it was left out. */
struct run_lines {
    const char *file;
    size_t key[RUN_N_KEYS];
};

/** Sets what the text has and leaves the rest.  HANSE_EINVAL, logged with the line. */
HANSE_MUST_USE int run_yaml(struct run *run, struct run_lines *lines, const char *yaml, size_t n);

/** Logs "FILE:LINE: reason; remedy" and returns HANSE_EINVAL; line 0 is the file as a whole, without a number. */
int run_yaml_refuse(const char *file, size_t line, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
