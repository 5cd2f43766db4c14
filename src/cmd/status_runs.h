/**
 * cmd/status_runs.h - which runs hosts speak of, and what is in each of them.
 *
 * A step machine: somebody else feeds the DHT node that it asks through, and calls status_runs_step() after every event.
 */
#ifndef CMD_STATUS_RUNS_H
#define CMD_STATUS_RUNS_H

#include "cmd/status.h"

#define STATUS_RUNS_US 10000000u /* for all of them, from when we know which there are */

struct status_runs;

struct status_runs_config {
    struct dht *dht; /* kept */
    uint64_t seed;
    /** Hears of each run once, as soon as it was read, or when the time is over and hosts of it are known; borrows `status`. */
    void (*show)(void *arg, uint64_t now_us, const struct status *status);
    void *arg;
};

struct status_runs_count {
    size_t n_asked;  /* most nodes that answered the question which runs there are */
    size_t n_runs;   /* that somebody speaks of */
    size_t n_empty;  /* of which nobody hosts anything */
    size_t n_unread; /* of which neither hosts were found nor all was read in time */
};

/** HANSE_ENOMEM. */
HANSE_MUST_USE int status_runs_new(const struct status_runs_config *config, uint64_t now_us, struct status_runs **out);

/** Once it is over, or the node is gone. */
void status_runs_free(struct status_runs *x);

void status_runs_step(struct status_runs *x, uint64_t now_us);

/** When it wants to be called though nothing happened. */
uint64_t status_runs_wake(const struct status_runs *x);

bool status_runs_is_over(const struct status_runs *x);

/** 0, HANSE_EUNREACHABLE when nobody answered, HANSE_ENOMEM. */
int status_runs_result(const struct status_runs *x);

struct status_runs_count status_runs_count(const struct status_runs *x);

/** The run after `last` (NULL: the first) of which nobody hosts anything; or NULL. */
const struct run *status_runs_empty(const struct status_runs *x, const struct run *last);

#endif
