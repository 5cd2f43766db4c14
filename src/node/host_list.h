/**
 * node/host_list.h - a list of experts as a person writes it: "L0.0-7,L1.3".
 */
#ifndef NODE_HOST_LIST_H
#define NODE_HOST_LIST_H

#include <stdbool.h>

#include "model/run.h"

/**
 * Sets is_listed[layer * run->experts + expert] for each expert that `text` names; the array has run->n_moe * run->experts
 * places.  HANSE_EINVAL, logged with the part that is wrong, its column and what exists; then the array is not to be used.
 */
HANSE_MUST_USE int host_list_parse(const struct run *run, const char *text, bool *is_listed);

#endif
