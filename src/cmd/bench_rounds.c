/* cmd/bench_rounds.c - the protocol of hivemind's present benchmark_dht.py, without its three mistakes.
 *
 * 16 nodes, each joining through up to 4 random earlier ones.  10 tasks at once do 16 rounds each: 8 random nodes store one subkey each
 * under a fresh key, 32 hex digits, good for 300 s, all at once; when all are through, 8 random nodes read the key, all at once.  A
 * share of the nodes stops without a word, each at a random round.
 *
 * The script as it is counts a node as alive when it was asked to stop, makes entries expire at another time once something was read, and
 * rounds 10 % of 16 down to one.  Here a node that was stopped has closed its socket and is counted, every entry lives its 300 s, and a share is
 * rounded to the nearest number.  A subkey is a writer: under one key a node has one entry. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "cmd/bench_dht.h"
#include "cmd/bench_swarm.h"

#define N_NODES 16
#define N_JOIN 4
#define N_TASKS 10
#define N_ROUNDS 16
#define N_WRITERS 8
#define N_READERS 8
#define VALUE_BYTES 32

struct round_times {
    size_t n;
    double wall_s[N_TASKS * N_ROUNDS];
};

struct rounds {
    struct bench_swarm *swarm;
    pthread_mutex_t lock; /* what follows */
    struct rng rng;
    bool is_stopped[N_NODES];
    size_t n_alive, n_begun;           /* nodes; rounds */
    size_t stops_at[N_NODES], n_stops; /* the n-th node to stop does when so many rounds have begun; in order */
    struct round_times store, get;
    size_t n_stores, n_stored, n_gets, n_got, n_lost; /* lost: asked of a node that stopped meanwhile */
    int err;
};

/* One store or one read. */
struct op {
    struct bench_job job;
    struct round_op *round;
    struct peer_id writer;
    char value[VALUE_BYTES + 1];
    bool is_good;
};

struct round_op {
    struct rounds *all;
    struct dht_id key;
    size_t n_writers, n_readers;
    struct op write[N_WRITERS], read[N_READERS];
};

/* ---- in the nodes' threads ---- */

static void note_stored(void *arg, uint64_t now_us, size_t n_stored)
{
    struct op *op = arg;
    (void)now_us;
    op->is_good = n_stored > 0;
    bench_job_done(&op->job);
}

static void start_store(struct bench_job *job, struct dht *dht, uint64_t now_us)
{
    struct op *op = job->arg;
    dht_store_entry(dht, now_us, &op->round->key, &job->node->addr, op->value, VALUE_BYTES, note_stored, op);
}

static bool has(const struct dht_entry *entry, size_t n, const struct op *write)
{
    for (size_t i = 0; i < n; i++)
        if (peer_id_equal(&entry[i].writer, &write->writer))
            return entry[i].n_bytes == VALUE_BYTES && memcmp(entry[i].bytes, write->value, VALUE_BYTES) == 0;
    return false;
}

/* Who wrote and lives must be there, who stopped may be. */
static void note_read(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct op *op = arg;
    struct round_op *round = op->round;
    (void)now_us;
    (void)n_asked;
    op->is_good = true;
    for (size_t i = 0; i < round->n_writers; i++)
        op->is_good &= round->write[i].job.is_lost || has(entry, n, &round->write[i]);
    bench_job_done(&op->job);
}

static void start_read(struct bench_job *job, struct dht *dht, uint64_t now_us)
{
    struct op *op = job->arg;
    dht_read(dht, now_us, &op->round->key, note_read, op);
}

/* ---- a round, in the thread of its task ---- */

/* Asks all, waits for all; returns the seconds that took, or a negative number. */
static double ask_all(struct rounds *all, struct op *op, size_t n)
{
    struct bench_wait wait = {.swarm = all->swarm};
    double began_s = bench_wall_s();
    int err = 0;
    for (size_t i = 0; i < n && !err; i++) {
        op[i].job.wait = &wait;
        err = bench_ask(&op[i].job);
    }
    if (!err)
        err = bench_wait_for(&wait);
    return err ? -1 : bench_wall_s() - began_s;
}

/* Random distinct nodes that live; returns how many.  Under the lock. */
static size_t choose(struct rounds *all, size_t n_wanted, struct bench_node **out)
{
    size_t live[N_NODES], n_live = 0, n = 0;
    for (size_t i = 0; i < N_NODES; i++)
        if (!all->is_stopped[i])
            live[n_live++] = i;
    while (n < n_wanted && n_live > 0) {
        size_t i = rng_below(&all->rng, n_live);
        out[n++] = &all->swarm->node[live[i]];
        live[i] = live[--n_live];
    }
    return n;
}

static struct op new_op(struct round_op *round, struct bench_node *node,
                        void (*start)(struct bench_job *job, struct dht *dht, uint64_t now_us))
{
    return (struct op){.round = round, .writer = key_peer_id(node->key), .job = {.node = node, .start = start}};
}

static void prepare(struct rounds *all, struct round_op *round)
{
    struct bench_node *node[N_WRITERS + N_READERS];
    uint8_t bytes[VALUE_BYTES / 2];
    rng_bytes(&all->rng, round->key.byte, sizeof round->key.byte);
    round->n_writers = choose(all, N_WRITERS, node);
    for (size_t i = 0; i < round->n_writers; i++) {
        round->write[i] = new_op(round, node[i], start_store);
        round->write[i].job.arg = &round->write[i];
        rng_bytes(&all->rng, bytes, sizeof bytes);
        text_hex(round->write[i].value, bytes, sizeof bytes);
    }
}

static void prepare_reads(struct rounds *all, struct round_op *round)
{
    struct bench_node *node[N_READERS];
    round->n_readers = choose(all, N_READERS, node);
    for (size_t i = 0; i < round->n_readers; i++) {
        round->read[i] = new_op(round, node[i], start_read);
        round->read[i].job.arg = &round->read[i];
    }
}

/* Stops those whose round it is; returns how many there are to stop, chosen.  Under the lock. */
static size_t choose_stops(struct rounds *all, struct bench_node **out)
{
    size_t n = 0;
    while (all->n_stops > 0 && all->stops_at[all->n_stops - 1] <= all->n_begun) {
        choose(all, 1, &out[n]);
        all->is_stopped[out[n++] - all->swarm->node] = true;
        all->n_alive--;
        all->n_stops--;
    }
    return n;
}

static void count(struct round_times *times, double wall_s, const struct op *op, size_t n, size_t *n_all, size_t *n_good,
                  size_t *n_lost)
{
    times->wall_s[times->n++] = wall_s;
    for (size_t i = 0; i < n; i++) {
        *n_lost += op[i].job.is_lost;
        *n_all += !op[i].job.is_lost;
        *n_good += !op[i].job.is_lost && op[i].is_good;
    }
}

static int run_round(struct rounds *all)
{
    struct round_op round = {.all = all};
    struct bench_node *stop[N_NODES];
    pthread_mutex_lock(&all->lock);
    all->n_begun++;
    size_t n_stops = choose_stops(all, stop);
    prepare(all, &round);
    pthread_mutex_unlock(&all->lock);
    for (size_t i = 0; i < n_stops; i++) {
        int err = bench_node_stop(stop[i]);
        if (err)
            return err;
    }
    double store_s = ask_all(all, round.write, round.n_writers);
    pthread_mutex_lock(&all->lock);
    prepare_reads(all, &round);
    pthread_mutex_unlock(&all->lock);
    double get_s = store_s < 0 ? -1 : ask_all(all, round.read, round.n_readers);
    if (get_s < 0)
        return HANSE_ETIMEOUT;
    pthread_mutex_lock(&all->lock);
    count(&all->store, store_s, round.write, round.n_writers, &all->n_stores, &all->n_stored, &all->n_lost);
    count(&all->get, get_s, round.read, round.n_readers, &all->n_gets, &all->n_got, &all->n_lost);
    pthread_mutex_unlock(&all->lock);
    return 0;
}

static void *run_task(void *arg)
{
    struct rounds *all = arg;
    int err = 0;
    for (size_t i = 0; i < N_ROUNDS && !err; i++)
        err = run_round(all);
    if (err) {
        pthread_mutex_lock(&all->lock);
        all->err = err;
        pthread_mutex_unlock(&all->lock);
    }
    return NULL;
}

/* ---- all of them ---- */

static int latest_first(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x < y) - (x > y);
}

static int run_tasks(struct rounds *all)
{
    pthread_t task[N_TASKS];
    size_t n = 0;
    while (n < N_TASKS && pthread_create(&task[n], NULL, run_task, all) == 0)
        n++;
    for (size_t i = 0; i < n; i++)
        pthread_join(task[i], NULL);
    return n < N_TASKS ? HANSE_EFULL : all->err;
}

struct summary {
    double mean_ms, std_ms, max_ms;
};

static struct summary summarize(const struct round_times *times)
{
    struct summary s = {0};
    double n = (double)times->n, squares = 0;
    for (size_t i = 0; i < times->n; i++) {
        s.mean_ms += 1e3 * times->wall_s[i] / n;
        s.max_ms = 1e3 * times->wall_s[i] > s.max_ms ? 1e3 * times->wall_s[i] : s.max_ms;
    }
    for (size_t i = 0; i < times->n; i++)
        squares += (1e3 * times->wall_s[i] - s.mean_ms) * (1e3 * times->wall_s[i] - s.mean_ms);
    s.std_ms = sqrt(squares / n);
    return s;
}

static double percent(size_t n, size_t of)
{
    return of > 0 ? 100.0 * (double)n / (double)of : 0;
}

static void print_rate(const struct bench_dht *bench, double rate, const struct rounds *all, double total_s)
{
    struct summary store = summarize(&all->store), get = summarize(&all->get);
    printf(bench->is_json ? "{\"op\":\"dht_rounds\",\"failure_rate\":%.9g,\"store_mean_ms\":%.9g,\"store_std_ms\":%.9g,"
                            "\"store_max_ms\":%.9g,\"stored\":%.9g,\"get_mean_ms\":%.9g,\"get_std_ms\":%.9g,\"get_max_ms\":%.9g,"
                            "\"got\":%.9g,\"asked_of_stopped\":%zu,\"alive\":%zu,\"nodes\":%d,\"seconds\":%.9g}\n"
                          : "%7g %9.2f %8.2f %8.2f %8.2f%% %9.2f %8.2f %8.2f %8.2f%% %8zu %5zu/%d %8.2f\n",
           rate, store.mean_ms, store.std_ms, store.max_ms, percent(all->n_stored, all->n_stores) / (bench->is_json ? 100 : 1),
           get.mean_ms, get.std_ms, get.max_ms, percent(all->n_got, all->n_gets) / (bench->is_json ? 100 : 1), all->n_lost,
           all->n_alive, N_NODES, total_s);
    fflush(stdout);
}

static int run_rate(const struct bench_dht *bench, double rate)
{
    struct rounds *all = calloc(1, sizeof *all);
    if (!all)
        return HANSE_ENOMEM;
    pthread_mutex_init(&all->lock, NULL);
    rng_init(&all->rng, bench->seed, "bench-rounds");
    all->n_alive = N_NODES;
    all->n_stops = (size_t)(rate * N_NODES + 0.5);
    for (size_t i = 0; i < all->n_stops; i++)
        all->stops_at[i] = 1 + rng_below(&all->rng, N_TASKS * N_ROUNDS);
    qsort(all->stops_at, all->n_stops, sizeof all->stops_at[0], latest_first);
    int err = bench_swarm_new(N_NODES, (unsigned)bench->n_threads, bench->seed, &all->swarm);
    if (!err)
        err = bench_swarm_grow(all->swarm, N_NODES, N_JOIN, 1);
    double began_s = bench_wall_s();
    if (!err)
        err = run_tasks(all);
    if (!err)
        print_rate(bench, rate, all, bench_wall_s() - began_s);
    bench_swarm_free(all->swarm);
    pthread_mutex_destroy(&all->lock);
    free(all);
    return err;
}

int bench_dht_rounds(const struct bench_dht *bench)
{
    if (!bench->is_json)
        printf("%d nodes in one process of %llu threads, each with its key and a UDP socket on loopback, each joining through up "
               "to %d random "
               "ones\n"
               "  %d tasks at once do %d rounds each: %d random nodes store an entry of %d bytes under a fresh key, then %d "
               "random nodes "
               "read it\n"
               "  ms       by the clock on the wall, of a whole round of %d stores, or of %d reads: all at once, until the last "
               "is over\n"
               "  stored   the share of stores that somebody took; read: the share of reads with all that writers who live had "
               "stored\n"
               "  failure  the share of nodes that stop without a word, each at a random round; stopped: what was asked of one "
               "just then\n\n"
               "%7s %9s %8s %8s %9s %9s %8s %8s %9s %8s %8s %8s\n",
               N_NODES, (unsigned long long)bench->n_threads, N_JOIN, N_TASKS, N_ROUNDS, N_WRITERS, VALUE_BYTES, N_READERS,
               N_WRITERS, N_READERS, "failure", "store ms", "std", "max", "stored", "read ms", "std", "max", "read", "stopped",
               "alive", "seconds");
    for (size_t i = 0; i < bench->n_failure_rates; i++) {
        int err = run_rate(bench, bench->failure_rate[i]);
        if (err)
            return err;
    }
    return 0;
}
