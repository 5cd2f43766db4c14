/**
 * cmd/status.h - what is known of one run: who hosts which of its experts, and which of those hosts answer.
 *
 * A status reads the rows of its run, each as often as something is missing, and then pings the hosts that it found.  It is a step
 * machine: somebody else feeds the DHT node that it asks through, calls status_step() after every event, and has it read as many
 * rows at a time as there is room for.  What it takes in memory grows with what was found, not with what a stranger says of a run.
 */
#ifndef CMD_STATUS_H
#define CMD_STATUS_H

#include "dht/dht.h"
#include "model/run.h"

#define STATUS_NOBODY_US 5000000u /* nobody answered: give up */
#define STATUS_SETTLE_US 300000u  /* after the first answer, for others to be found */
#define STATUS_AGAIN_US 500000u   /* between rounds while something is missing */

struct status;

struct status_config {
    const struct run *run; /* kept; of a run that is known by hearsay id, name, n_moe and experts alone */
    struct dht *dht;       /* kept */
    uint64_t nobody_us;    /* nobody answered for so long: give up */
    bool is_glance;        /* one run among many: it is looked at less often while nobody hosts any of it */
};

/** HANSE_ENOMEM. */
HANSE_MUST_USE int status_new(const struct status_config *config, uint64_t now_us, struct status **out);

/** Once it is over, or the node is gone: until then reads and pings know it. */
void status_free(struct status *status);

void status_step(struct status *status, uint64_t now_us);

/** True when there is a row to be read now; status_read_row() begins with it. */
bool status_wants_row(const struct status *status);
void status_read_row(struct status *status, uint64_t now_us);

/** Rows that are being read. */
size_t status_n_reading(const struct status *status);

/** When it wants to be called though nothing happened; or IO_NEVER. */
uint64_t status_wake(const struct status *status);

bool status_is_over(const struct status *status);
/** 0, or HANSE_EUNREACHABLE once it gave up. */
int status_result(const struct status *status);
/** True when every row was read at least once. */
bool status_is_whole(const struct status *status);
bool status_was_answered(const struct status *status);
bool status_has_hosts(const struct status *status);

/** Prints what there is; `now_us` is the present time. */
HANSE_MUST_USE int status_report(const struct status *status, uint64_t now_us, bool is_json);

#endif
