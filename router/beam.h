/**
 * router/beam.h - finds the best live experts of a factored gate over a directory too large to hold.
 *
 * A trainer of a few thousand experts holds the whole directory (router/directory.c).  Of a grid of a million it reads only the
 * rows that its tokens' scores lead to: product keys (router/beam_grid.h), searched best first (router/beam_walk.h), so that the
 * answer is that of a full sort over everybody alive, from few reads, most of which the cache answers.
 *
 * Rows in which nobody is are remembered, too, and for longer each time they are found so.  A row for which nobody could be
 * reached is not taken for an empty one: what was known of it still counts, the answer says that it is not exact, and later
 * searches try again.  Tokens of a search, and searches, share reads and cache.
 *
 * A step machine.  Loop thread only.  `done` runs from inside beam_tick() or when a read ends, never from inside beam_search(), and may
 * search again.  A read takes a walk through the DHT: search ahead of need, off the training path.
 */
#ifndef ROUTER_BEAM_H
#define ROUTER_BEAM_H

#include "router/beam_claims.h"
#include "router/beam_walk.h"

#define BEAM_SEARCHES_MAX 64
#define BEAM_TOKENS_MAX 4096
#define BEAM_PICKS_MAX 65536    /* of a search, some 16 MiB */
#define BEAM_SCORE_MAX 0x1p124f /* so that no sum overflows */
#define BEAM_READS_OPEN_MAX 64

struct beam;

typedef void beam_read_done(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked);

struct beam_config {
    struct hash run;
    uint32_t layer;
    struct beam_grid grid;
    /* Reads a key as dht_read() does; may call `done` at once, and does so by its own deadline at the latest. */
    void (*read)(void *arg, uint64_t now_us, const struct dht_id *key, beam_read_done *done, void *done_arg);
    void *read_arg;
    struct beam_bias bias;
    size_t n_reads_open;   /* at once, of all searches; 1 to BEAM_READS_OPEN_MAX */
    size_t n_reads_max;    /* that one search begins, whatever its tokens */
    uint64_t search_us;    /* one that takes longer ends with what is known */
    size_t n_rows;         /* in the cache; fewer than a search looks at would be read again and again */
    size_t bytes_max;      /* of the cache */
    uint64_t fresh_us;     /* how long a row with somebody in it is not read again */
    uint64_t empty_us;     /* one with nobody; doubles each time */
    uint64_t empty_max_us; /* up to this */
};

/** What is usual: reads from `dht` (kept), 8 at once, 64 a search, 10 s, 4096 rows in 16 MiB, 20 s, 60 s up to 480 s. */
struct beam_config beam_config_usual(const struct hash *run, uint32_t layer, const struct beam_grid *grid, struct dht *dht);

/** HANSE_EINVAL for limits of 0, beyond those above, or a bytes_max in which a cache of n_rows and one full row find no place. */
HANSE_MUST_USE int beam_new(const struct beam_config *config, struct beam **out);

/** Forgets searches; their `done` is not called.  Reads that are under way must not end after this: wait for
 * them, or free their source first. */
void beam_free(struct beam *beam);

/** One of a token's best: who it is, and whom to ask, best claim first. */
struct beam_pick {
    uint32_t expert;
    float score; /* the bias of the first claim included */
    size_t n_claims;
    struct beam_claim claim[BEAM_CLAIMS_MAX];
};

struct beam_answer {
    size_t n; /* k, or fewer */
    const struct beam_pick *pick;
    /* No expert that the directory knew of, when its rows were read, would come before one of these or be added to them.  False
     * when reads or time ran out or nobody could be reached: then these are the best of all that is known. */
    bool is_exact;
};

typedef void beam_done(void *arg, uint64_t now_us, const struct beam_answer *answer, size_t B);

/**
 * Searches the k best for each of B tokens.  score (B, sum of the grid's sizes): the scores of dimension 0, then of 1, and so on;
 * kept (borrowed) until `done`, as its answers are borrowed for the call.  HANSE_EREJECT when a score is not finite or beyond
 * BEAM_SCORE_MAX, HANSE_EINVAL for a B, a k or a B * k of 0 or too large, HANSE_EFULL beyond BEAM_SEARCHES_MAX, HANSE_ENOMEM;
 * then `done` is not called.
 */
HANSE_MUST_USE int beam_search(struct beam *beam, uint64_t now_us, const float *score, size_t B, size_t k, beam_done *done,
                               void *arg);

void beam_tick(struct beam *beam, uint64_t now_us);
uint64_t beam_deadline(const struct beam *beam);

struct beam_stats {
    uint64_t n_searches, n_tokens, n_exact; /* ended; their tokens; those answered exactly */
    uint64_t n_reads, n_empty, n_failed;    /* begun; ended with nobody there; nobody reached */
    size_t n_open;                          /* reads under way */
    size_t n_rows, n_bytes;                 /* the cache now */
};
struct beam_stats beam_stats(const struct beam *beam);

#endif
