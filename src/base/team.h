/**
 * base/team.h - threads that have nothing to do help those that have.
 *
 * A team is a list of open jobs and owns no thread.  team_run() opens a job of some parts and works on them itself;
 * threads that call team_help() meanwhile take parts too.  So a job never waits for a helper to come, an idle thread
 * is never kept from helping, and there are no more threads than there were before.  What the parts compute must not
 * depend on who runs them, in which order, or how many at a time.
 *
 * Any thread may call team_run(), inside a part as well.  The caller returns when every part is done; it may sleep
 * for those that helpers are in the middle of, and takes none of other jobs meanwhile: then whoever waits, waits for parts of a
 * job that is younger than the part it is in itself, and no circle can close.
 * What parts wrote is seen by the caller afterwards.  A team allots in team_new() alone.
 */
#ifndef BASE_TEAM_H
#define BASE_TEAM_H

#include <stdbool.h>
#include <stddef.h>

#include "hanse/err.h"

struct team;

/** Part `i` of a job. */
typedef void team_part(void *arg, size_t i);

/**
 * A team in which up to `width` threads work at a time.  `call_help(arg, n)` is called, by any thread and without a lock held,
 * when a job opened that n more threads could work on; it wakes some of those that sleep, or does nothing.
 * HANSE_ENOMEM.
 */
HANSE_MUST_USE int team_new(unsigned width, void (*call_help)(void *arg, size_t n), void *arg, struct team **out);

/** No job may be open, and no thread come to help any more. */
void team_free(struct team *team);

/** How many threads may work on a job at a time; 1 without a team.  It says into how many parts a job is worth cutting. */
unsigned team_width(const struct team *team);

/** Calls run(arg, i) once for each i < n_parts, in any order and at the same time.  Without a team the caller does them all,
 * ascending. */
void team_run(struct team *team, team_part *run, void *arg, size_t n_parts);

/** True while some part of a job waits for a thread. */
bool team_is_open(const struct team *team);

/** Runs one part of the job that has been open longest; false when no part waited. */
bool team_help(struct team *team);

#endif
