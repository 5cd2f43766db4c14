/**
 * net/cores.h - the cores that this process may compute on, and where on them its workers go.
 *
 * Counted are physical cores: the second hardware thread of a core shares the units that products are limited by, so a
 * worker on it would only halve the caches.  Cores that the affinity mask or the cpuset leaves out do not count, and a CPU quota of
 * the control group (docker --cpus) cuts the number.
 *
 * A worker is bound to the cores of one memory node, never to one core.  Several hanse processes often share a machine (hosts and a
 * trainer) and do not know of each other: each would bind its first worker to the first core, and there they would
 * all wait while others idle.  Within a node the scheduler sees every process and does better.  Across nodes it
 * sees only load, and a worker that it moves leaves its memory behind: that is what binding is for, and on a
 * machine of one node there is none.  The node of the first worker differs from process to process.  Who knows that the
 * process is alone (`hanse host --pin`) binds each worker to a core of its own.
 */
#ifndef NET_CORES_H
#define NET_CORES_H

#include <stdbool.h>
#include <stddef.h>

#include "hanse/err.h"

struct cores;

/** Reads the machine's topology: some milliseconds.  HANSE_EUNSUPPORTED (logged) when it cannot be read.  Free with cores_free(). */
HANSE_MUST_USE int cores_new(struct cores **out);
void cores_free(struct cores *cores);

/** How many workers a process starts unless told otherwise; at least 1.  cores_n_here() is the same without a struct cores. */
unsigned cores_n_workers(const struct cores *cores);
unsigned cores_n_here(void);

/** Binds the calling thread, the `worker`-th of its process, as said above; what the system refuses stays unbound. */
void cores_bind(const struct cores *cores, unsigned worker, bool is_alone);

/** "2 workers, not bound: one memory node": what cores_bind() would do, for people. */
void cores_describe(const struct cores *cores, char *out, size_t n_bytes);

#endif
