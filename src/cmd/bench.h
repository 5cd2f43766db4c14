/**
 * cmd/bench.h - what the files of hanse bench share: what was asked for, the threads, contests and how they are reported.
 *
 * A contest times several ways to do the same thing, a yardstick among them, by turns, and keeps the shortest run of each: what
 * else the machine does only ever makes a run longer, and hits all of them alike.  The yardstick of a CPU is OpenBLAS's sgemm; those of a
 * GPU are cuBLAS's sgemm and its product of bf16, of which the latter is what others are divided by.
 */
#ifndef CMD_BENCH_H
#define CMD_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/team.h"
#include "kernels/device.h"

#define BENCH_RUNNERS_MAX 32
#define BENCH_YARDSTICKS_MAX 2
#define BENCH_THREADS_MAX 16

struct bench {
    const struct kernels *set[N_KERNELS]; /* those asked for, slowest first */
    size_t n_sets;
    int err;                      /* why one of them cannot be */
    const struct kernels *memory; /* whose memory everything lies in: any of the CPU's, or the GPU's */
    struct bench_yardstick {
        struct kernels k; /* the fastest set with somebody else's products */
        const char *name;
        bool has_threads; /* of its own */
    } yardstick[BENCH_YARDSTICKS_MAX];
    size_t n_yardsticks; /* the last is what the others are compared with */
    bool has_gpu;
    struct device_info gpu;
    struct bench_ceiling { /* of the GPU, as measured: GFLOP/s of sgemm, bf16 and int8, and GB/s of memory */
        double f32, bf16, i8, gb_per_s;
    } ceiling;
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
    const struct bench_yardstick *yardstick; /* NULL: ours */
    size_t n_times; /* as often as a run takes it to be long beside reading the clock; 0: not known yet */
    double best_s;  /* out: of one time */
};

struct bench_contest {
    struct bench_runner runner[BENCH_RUNNERS_MAX];
    size_t n;
};

/** Seconds by the clock that runs are timed with: of one thread its own, which stands still while others have the core; with a GPU that of
 * the wall, and whatever was asked of it has been done. */
double bench_now_s(const struct bench *bench);

/** Adds the yardsticks and then each set in each numerics that was asked for; a set whose f32 products are those of one before it is left
 * out of f32.  `arg` is the same for all; a runner finds itself in bench_current(). */
void bench_enter_all(const struct bench *bench, struct bench_contest *contest, void (*run)(void *arg), void *arg);
const struct bench_runner *bench_current(void);

/** Runs all by turns for the time that the figures have, each three times at least. */
void bench_compete(const struct bench *bench, struct bench_contest *contest);

/** One line for each numerics, or one JSON object for each runner.  `flops` of one run; 0 prints times instead. */
void bench_report(const struct bench *bench, const struct bench_contest *contest, const char *op, const char *shape,
                  double flops);

/** Memory of the contest, and bytes put there; NULL without. */
void *bench_take(const struct bench *bench, size_t n, size_t size);
void *bench_put(const struct bench *bench, const void *from, size_t n, size_t size);

/** Opens GPU `index`, enters its set and yardsticks, and measures its ceilings. */
HANSE_MUST_USE int bench_open_gpu(struct bench *bench, int index);
void bench_print_gpu(const struct bench *bench);

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

/** hanse bench dht, which has options of its own; argv[0] is "dht".  Returns the exit status. */
int bench_dht(int argc, char **argv);

#endif
