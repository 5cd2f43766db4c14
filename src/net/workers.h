/**
 * net/workers.h - a few threads that run io_work, first come, first served, and help each other with what they have left.
 * A thread for which no work waits takes parts of the jobs that others open in the workers' team (base/team.h).
 * workers_push() and workers_take_done() belong to the loop thread.
 */
#ifndef NET_WORKERS_H
#define NET_WORKERS_H

#include "base/io.h"
#include "base/team.h"
#include "net/cores.h"

struct workers;

/** Starts `n` threads.  `wake(arg)` is called on one of them when something became done.  `cores` says where they are bound
 * (borrowed; NULL: nowhere), `is_alone` as for cores_bind(). */
HANSE_MUST_USE int workers_new(unsigned n, const struct cores *cores, bool is_alone, void (*wake)(void *arg), void *arg,
                               struct workers **out);

/** Waits for what is running, forgets what is waiting, ends the threads. */
void workers_free(struct workers *workers);

/** Keeps `work` until it is taken again. */
void workers_push(struct workers *workers, struct io_work *work);

/** The team whose jobs these threads help with; NULL when there is one thread, which nobody could help. */
struct team *workers_team(struct workers *workers);

/** All that is done, linked by `next`, in the order it was finished; NULL for none. */
struct io_work *workers_take_done(struct workers *workers);

/** Forgets what is waiting and done, and waits for what is running: afterwards no work is touched any more. */
void workers_drain(struct workers *workers);

#endif
