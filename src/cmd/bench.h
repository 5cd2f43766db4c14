/**
 * cmd/bench.h - what the files of hanse bench share: what was asked for, the threads, contests and how they are reported.
 *
 * A contest times several ways to do the same thing, OpenBLAS among them, by turns, and keeps the shortest run of each: what
 * else the machine does only ever makes a run longer, and hits all of them alike.
 */
#ifndef CMD_BENCH_H
#define CMD_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/team.h"
#include "kernels/kernels.h"

#define BENCH_RUNNERS_MAX 32
#define BENCH_THREADS_MAX 16

struct bench {
    const struct kernels *set[N_KERNELS]; /* those asked for, slowest first */
    size_t n_sets;
    int err;             /* why one of them cannot be */
    struct kernels blas; /* the fastest set with OpenBLAS's sgemm */
    bool has_blas;
    bool numerics[N_NUMERICS];
    unsigned threads[BENCH_THREADS_MAX]; /* numbers to go through */
    size_t n_threads;
    double seconds;    /* for each figure */
    const char *shape; /* of the one product to time; NULL: the usual ones */
    bool is_json;
    /* while something is timed */
    unsigned n_now;    /* threads */
    struct team *team; /* theirs */
};

/** One way of doing what a contest is about. */
struct bench_runner {
    void (*run)(void *arg);
    void *arg;
    const struct kernels *k;
    enum numerics numerics;
    bool is_blas;
    size_t n_times; /* as often as a run takes it to be long beside reading the clock; 0: not known yet */
    double best_s;  /* out: of one time */
};

struct bench_contest {
    struct bench_runner runner[BENCH_RUNNERS_MAX];
    size_t n;
};

/** Seconds by the clock that runs are timed with: of one thread its own, which stands still while others have the core. */
double bench_now_s(const struct bench *bench);

/** Adds OpenBLAS and then each set in each numerics that was asked for; a set whose f32 products are those of one before it is left
 * out of f32.  `arg` is the same for all; a runner finds itself in bench_current(). */
void bench_enter_all(const struct bench *bench, struct bench_contest *contest, void (*run)(void *arg), void *arg);
const struct bench_runner *bench_current(void);

/** Runs all by turns for the time that the figures have, each three times at least. */
void bench_compete(const struct bench *bench, struct bench_contest *contest);

/** One line for each numerics, or one JSON object for each runner.  `flops` of one run; 0 prints times instead. */
void bench_report(const struct bench *bench, const struct bench_contest *contest, const char *op, const char *shape,
                  double flops);

/** Column heads for the above. */
void bench_report_head(const struct bench *bench, const char *title);

/** Runs `section` on a worker of a pool of n threads, whose team is then bench->team, and on the loop of OpenBLAS as many. */
HANSE_MUST_USE int bench_with_threads(struct bench *bench, unsigned n, int (*section)(struct bench *bench));

/** True when `text` is a shape of a product: "512x4096'x1024", where ' marks the side of a turned operand. */
bool bench_is_shape(const char *text);

/** The sections; 0 or HANSE_ENOMEM. */
HANSE_MUST_USE int bench_products(struct bench *bench);
HANSE_MUST_USE int bench_experts(struct bench *bench);
HANSE_MUST_USE int bench_operations(struct bench *bench);
HANSE_MUST_USE int bench_links(struct bench *bench);

#endif
