/**
 * cmd/status.h - what is known of one run (status.c), and of all the runs that hosts speak of (status_runs.c).
 *
 * A status reads the rows of its run and pings the hosts it found, while somebody else feeds the DHT node that it asks through and
 * calls status_step() after every event.
 */
#ifndef CMD_STATUS_H
#define CMD_STATUS_H

#include "cmd/session.h"
#include "dht/dht.h"
#include "model/run.h"
#include "node/meeting.h"

#define STATUS_NOBODY_US 5000000u /* nobody answered: give up */
#define STATUS_SETTLE_US 300000u  /* after the first answer, for others to be found */
#define STATUS_AGAIN_US 500000u   /* between rounds while something is missing */

struct status;

/** Keeps `run`, `io` and `dht`.  HANSE_ENOMEM. */
HANSE_MUST_USE int status_new(const struct run *run, const struct io *io, struct dht *dht, uint64_t now_us, struct status **out);

/** Once it is over, or the node is gone: until then reads and pings know it. */
void status_free(struct status *status);

void status_step(struct status *status, uint64_t now_us);

/** When it wants to be called though nothing happened; or IO_NEVER. */
uint64_t status_wake(const struct status *status);

bool status_is_over(const struct status *status);
bool status_was_answered(const struct status *status);
bool status_has_hosts(const struct status *status);

/** Prints what there is. */
HANSE_MUST_USE int status_report(const struct status *status, bool is_json);

/** A read-only node that joins whom the session names. */
HANSE_MUST_USE int status_start_dht(struct session *session, uint64_t now_us, struct dht **out);

/** Says that nobody answered, and what to do; `meeting` is NULL where none was asked for. */
void status_explain_nobody(const struct session *session, const struct meeting *meeting, const struct dht *dht);

/** Finds out which runs there are, reads them, and shows one after the other. */
HANSE_MUST_USE int status_runs(struct session *session, bool is_json);

#endif
