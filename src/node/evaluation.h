/**
 * node/evaluation.h - how well a model predicts the last 10 % of a text, in bits a byte.
 *
 * A reader's source of microbatches: windows of the context's length that overlap by half (model/data.h).  Losses are added in the order of
 * the windows, so the result does not depend on which microbatch came back first.
 */
#ifndef NODE_EVALUATION_H
#define NODE_EVALUATION_H

#include "node/reader.h"

struct evaluation {
    const struct data *data; /* kept */
    size_t T, n_windows;
    size_t n_max;       /* windows to look at; n_windows for all */
    size_t next;        /* window to hand out */
    double *loss;       /* (n_windows) sum of nats of the bytes that count */
    size_t *n_counted;  /* (n_windows) */
    size_t *lane_first; /* window in row 0 of a lane's tape */
    size_t *lane_n;     /* rows of it that are windows */
    size_t n_done;
};

HANSE_MUST_USE int evaluation_init(struct evaluation *evaluation, const struct data *data, size_t T, size_t n_lanes);
void evaluation_fini(struct evaluation *evaluation);

/** For reader_config; arg is the evaluation. */
bool evaluation_fill(void *arg, size_t lane, struct trunk_tape *tape);
void evaluation_done(void *arg, size_t lane, const struct trunk_tape *tape);

/** Bits a byte over what is done. */
double evaluation_bpb(const struct evaluation *evaluation);

#endif
