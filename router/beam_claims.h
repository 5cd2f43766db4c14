/**
 * router/beam_claims.h - who claims the experts of one row, kept small: a beam search may hold thousands of rows.
 *
 * Made of what a read of the row returned.  Of an expert's claimants the BEAM_CLAIMS_MAX best are kept, best first by the rule by which
 * hosts settle a quarrel, the larger (epoch, version, peer id); but when there are more, one that can be asked outlives one
 * that cannot, so that made-up claims keep no true one out.  Lasts as long as its entries do.
 */
#ifndef ROUTER_BEAM_CLAIMS_H
#define ROUTER_BEAM_CLAIMS_H

#include "router/beam_grid.h"

#define BEAM_CLAIMS_MAX 4

/** Somebody who says that he hosts an expert, so that a router can call him. */
struct beam_claim {
    struct peer_id peer;
    struct addr addr;
    uint8_t epoch;
    uint8_t hardware; /* enum message_hardware */
    uint32_t version;
    uint32_t load; /* as in struct message_claim */
};

/**
 * What the caller of a search adds to the score of an expert asked at this claimant: 0 or less (distance, load, a worse machine),
 * so that bounds stay bounds; -INFINITY when he cannot be asked.  The first claimant that can be counts.
 */
struct beam_bias {
    float (*of)(void *arg, uint32_t expert, const struct beam_claim *claim); /* NULL: always 0 */
    void *arg;
};

struct beam_writer {
    struct peer_id id;
    struct addr addr;
    uint8_t hardware;
    uint32_t expiry_s;
};

struct beam_said {
    uint8_t index; /* in the row; ascending, best claim first */
    uint8_t epoch;
    uint16_t writer_i;
    uint32_t version;
    uint32_t load;
};

struct beam_claims {
    uint16_t n_said, n_writers;
    struct beam_writer *writer; /* behind `said`, in the same memory */
    struct beam_said said[];
};

/**
 * Reads the entries of a row whose first expert is `first` and which has the indices of `whole`.  What does not decode, is over
 * or names no port counts as not there.  *out is NULL when nobody claims anything; HANSE_ENOMEM.  To be given to free().
 */
HANSE_MUST_USE int beam_claims_new(const struct dht_entry *entry, size_t n, uint32_t first, uint64_t whole, uint64_t now_us,
                                   const struct beam_bias *bias, struct beam_claims **out);

size_t beam_claims_bytes(const struct beam_claims *claims);

/**
 * Goes through the experts that can be asked now: starting with *at = 0, each call gives the next one's index in the row and its
 * bias, and false after the last.
 */
bool beam_claims_next(const struct beam_claims *claims, size_t *at, uint32_t first, uint64_t now_us, const struct beam_bias *bias,
                      uint32_t *index, float *sum);

/** Writes those who claim an expert and can be asked now, best first, and returns how many there are. */
size_t beam_claims_of(const struct beam_claims *claims, uint32_t index, uint32_t first, uint64_t now_us,
                      const struct beam_bias *bias, struct beam_claim out[BEAM_CLAIMS_MAX]);

#endif
