/**
 * node/reader.h - uses a trained model without changing it: evaluation and generation run microbatches forward through the swarm.
 *
 * A step machine (base/io.h).  It starts when experts are there, asks `fill` for microbatches until there are no more, hands
 * each to `done`, then stops.
 */
#ifndef NODE_READER_H
#define NODE_READER_H

#include "base/disk.h"
#include "model/data.h"
#include "model/trunk.h"
#include "node/client.h"

struct reader;

struct reader_config {
    struct client_config client; /* role is set by the reader */
    size_t n_lanes;
    size_t B, T; /* of a microbatch */
    /* Fills token and target of a tape; false when there is nothing (more) to do now. */
    bool (*fill)(void *arg, size_t lane, struct trunk_tape *tape);
    /* Its losses and logits are there.  In order of completion. */
    void (*done)(void *arg, size_t lane, const struct trunk_tape *tape);
    void *arg;
};

/**
 * Keeps `io` and `disk`, which has the trunk's checkpoint: HANSE_ENOENT (logged) when it has none, HANSE_ERUN when it is of
 * another run, HANSE_ECORRUPT when none verifies.
 */
HANSE_MUST_USE int reader_new(const struct reader_config *config, const struct io *io, const struct disk *disk, uint64_t now_us,
                              struct reader **out);
void reader_free(struct reader *reader);
struct io_machine reader_machine(struct reader *reader);

/** The step whose trunk is used, and what became of the slots. */
uint64_t reader_step(const struct reader *reader);
struct router_stats reader_router_stats(const struct reader *reader);

#endif
