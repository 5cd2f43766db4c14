/**
 * dht/probe.h - asks one address one thing, and hears what it says: for tools that look at nodes from outside.
 *
 * Nothing follows from a probe: no table is filled, nobody is asked again, our own address is not learned from it.  Loop
 * thread only; memory for DHT_PROBES_MAX of them is allotted with the first.
 */
#ifndef DHT_PROBE_H
#define DHT_PROBE_H

#include "dht/krpc.h"

#define DHT_PROBES_MAX 384 /* in the air; the rest of the transactions is the node's own */

struct dht_probe_answer {
    struct addr from;
    uint64_t rtt_us;
    const struct dht_message *message; /* a reply or an error, borrowed for the call; NULL: nothing came in time */
};

typedef void dht_probe_done(void *arg, uint64_t now_us, const struct dht_probe_answer *answer);

/**
 * Sends `question` (its method and arguments; id and tid are filled in, and its spans are borrowed until we return) to `to`.
 * `done` hears once, after `timeout_us` at the latest, from inside dht_datagram() or dht_tick(), and may probe again; it hears
 * nothing when dht_free() comes before.  HANSE_EFULL when DHT_PROBES_MAX are in the air: again when one of them was
 * answered.  HANSE_ENOMEM.
 */
HANSE_MUST_USE int dht_probe(struct dht *dht, uint64_t now_us, const struct addr *to, struct dht_message *question,
                             uint64_t timeout_us, dht_probe_done *done, void *arg);

/** Those that were not answered yet. */
size_t dht_n_probes(const struct dht *dht);

#endif
