/**
 * router/beam_walk.h - one token's search over the blocks that are known: it ends with the k best, or with the blocks to read first.
 *
 * Best first (branch and bound): what is expanded next is what could hold the best expert, by its *bound*, the sum of the scores of
 * the coordinates already fixed and of the largest ones possible in the rest.  Sums are floats, added in the order of the
 * dimensions; float addition is monotone, so a bound is never below a score that it stands for, rounding included.  Of equal
 * scores the lower flat index comes first.
 *
 * A block that is not known is put on the list of those to read, and the walk goes on over its experts as if they might be there,
 * each counting for the share of experts that blocks read so far turned out to have, until that makes k.  So where everything
 * is alive exactly the blocks are read, at once, that no search could do without; where little is, reads run ahead.
 *
 * A walk holds nothing from call to call but its memory: after a read it is made again.
 */
#ifndef ROUTER_BEAM_WALK_H
#define ROUTER_BEAM_WALK_H

#include "router/beam_cache.h"

#define BEAM_K_MAX 256
#define BEAM_WANTED_MAX 16       /* blocks a token waits for at once */
#define BEAM_NODES_MAX 65536     /* in the queue of a walk */
#define BEAM_STEPS_MAX (1 << 18) /* of a walk; one beyond either is cut short */

/** A token's scores, and their largest: of each block, and of each dimension. */
struct beam_scores {
    const float *score; /* all of dimension 0, then all of dimension 1, ... */
    const float *peak;  /* the same for blocks */
    float most[BEAM_DIMENSIONS_MAX];
};

struct beam_found {
    uint32_t expert;
    float score;
};

struct beam_outcome {
    size_t n_found;
    struct beam_found found[BEAM_K_MAX]; /* best first */
    size_t n_wanted;                     /* 0: the walk has come to its end */
    struct beam_block wanted[BEAM_WANTED_MAX];
    bool is_exact; /* at the end: nothing better is alive anywhere */
};

struct beam_node;

struct beam_walk {
    const struct beam_grid *grid;
    struct beam_cache *cache;
    struct beam_bias bias;
    uint64_t now_us;
    uint64_t since_us; /* what was known then counts as known, and who could not be reached is not asked again */
    size_t n_wanted_max;
    float share[BEAM_DIMENSIONS_MAX]; /* of a block's values, how many are there, to our experience */
    /* its own */
    size_t n, capacity;
    struct beam_node *node;
};

void beam_walk_fini(struct beam_walk *walk);

void beam_walk(struct beam_walk *walk, const struct beam_scores *scores, size_t k, struct beam_outcome *out);

/** The k best of all rows in the cache, however old and however reached: what is answered when no more may be read. */
void beam_walk_known(struct beam_walk *walk, const struct beam_scores *scores, size_t k, struct beam_outcome *out);

#endif
