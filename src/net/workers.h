/**
 * net/workers.h - a few threads that run io_work, first come, first served.
 * workers_push() and workers_take_done() belong to the loop thread.
 */
#ifndef NET_WORKERS_H
#define NET_WORKERS_H

#include "base/io.h"

struct workers;

/** Starts `n` threads.  `wake(arg)` is called on one of them when something became done. */
HANSE_MUST_USE int workers_new(unsigned n, void (*wake)(void *arg), void *arg, struct workers **out);

/** Waits for what is running, forgets what is waiting, ends the threads. */
void workers_free(struct workers *workers);

/** Keeps `work` until it is taken again. */
void workers_push(struct workers *workers, struct io_work *work);

/** All that is done, linked by `next`, in the order it was finished; NULL for none. */
struct io_work *workers_take_done(struct workers *workers);

/** Forgets what is waiting and done, and waits for what is running: afterwards no work is touched any more. */
void workers_drain(struct workers *workers);

#endif
