/**
 * experts/log.h - the hash chain of what was done to an expert, in order.
 *
 * head' = SHA-256("hanse-log" || 0 || head || entry), entry in the fixed layout of log.c.  A checkpoint commits the head.
 */
#ifndef EXPERTS_LOG_H
#define EXPERTS_LOG_H

#include "experts/expert.h"

/** A backward of `n` rows by `caller` under `call`, at the expert's present version. */
void expert_log_backward(struct expert *x, const struct peer_id *caller, uint64_t call, uint64_t forward_version, uint32_t n);

/** An update that made the expert's present version. */
void expert_log_update(struct expert *x);

#endif
