/**
 * cmd/bench_swarm.h - real DHT nodes on loopback sockets, many in this process, for hanse bench dht.
 *
 * Each node has its own key, socket and tables and learns of others through datagrams alone, as processes would.  Nodes live in the
 * threads of a nest (net/nest.h); whoever measures stays outside, asks for things and waits.
 */
#ifndef CMD_BENCH_SWARM_H
#define CMD_BENCH_SWARM_H

#include <pthread.h>
#include <stdatomic.h>

#include "dht/dht.h"
#include "net/nest.h"

struct bench_node {
    struct bench_swarm *swarm;
    size_t place;
    struct addr addr;
    struct key *key;
    struct dht *dht; /* its thread's alone; NULL: not there yet, or stopped */
    struct io_machine machine;
    size_t n_join; /* whom it asks first */
    struct addr join[4];
    bool is_joined;        /* its thread's */
    struct bench_job *job; /* asked of it and not over; its thread's */
};

struct bench_swarm {
    struct nest *nest;
    struct bench_node *node;
    size_t n, n_max;
    uint64_t seed;
    struct rng rng; /* the asking thread's */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t n_joined; /* under the lock: how many, and */
    size_t *joined;  /* which, in their order */
};

/** Work for several nodes that one waits for. */
struct bench_wait {
    struct bench_swarm *swarm;
    size_t n_left; /* under the swarm's lock */
};

/** Something that a node is asked to do.  `start` runs in its thread; the job is over when somebody there calls bench_job_done(), or when the
 * node is stopped, which sets is_lost. */
struct bench_job {
    struct bench_job *next;
    struct bench_node *node;
    struct bench_wait *wait;
    void (*start)(struct bench_job *job, struct dht *dht, uint64_t now_us);
    void *arg;
    bool is_lost;
};

HANSE_MUST_USE int bench_swarm_new(size_t n_max, unsigned n_threads, uint64_t seed, struct bench_swarm **out);
void bench_swarm_free(struct bench_swarm *swarm);

/** Starts nodes until there are `n`, each joining through `n_join` random ones that have joined already (fewer while there are fewer), up to
 * `n_at_once` at a time, and waits until all have joined: dht_is_joined().  HANSE_ETIMEOUT after a minute. */
HANSE_MUST_USE int bench_swarm_grow(struct bench_swarm *swarm, size_t n, size_t n_join, size_t n_at_once);

/** Asks a node, and does not wait for it.  Any thread.  Keeps `job` until it is over. */
HANSE_MUST_USE int bench_ask(struct bench_job *job);
void bench_job_done(struct bench_job *job);

/** Waits until nothing of it is left; HANSE_ETIMEOUT after a minute. */
HANSE_MUST_USE int bench_wait_for(struct bench_wait *wait);

/** Stops a node without a word; returns when it is gone. */
HANSE_MUST_USE int bench_node_stop(struct bench_node *node);

/** What all nodes that were not stopped asked since the start, and the heap they hold now: dht_memory(). */
struct bench_totals {
    uint64_t n_asked;
    size_t heap_bytes;
};
HANSE_MUST_USE int bench_swarm_totals(struct bench_swarm *swarm, struct bench_totals *out);

/** Seconds since some moment, and seconds that all threads of this process have computed. */
double bench_wall_s(void);
double bench_cpu_s(void);

#endif
