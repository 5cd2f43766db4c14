/* cmd/bench_swarm.c - starting nodes, asking them, stopping them. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "cmd/bench_swarm.h"
#include "net/net.h"

#define PATIENCE_S 60

/* ---- one node, in its thread ---- */

static void look_whether_joined(struct bench_node *node)
{
    struct bench_swarm *swarm = node->swarm;
    if (node->is_joined || !dht_is_joined(node->dht))
        return;
    node->is_joined = true;
    pthread_mutex_lock(&swarm->lock);
    swarm->joined[swarm->n_joined++] = (size_t)(node - swarm->node);
    pthread_cond_broadcast(&swarm->changed);
    pthread_mutex_unlock(&swarm->lock);
}

static void node_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct bench_node *node = self;
    if (event->kind == IO_DATAGRAM)
        dht_datagram(node->dht, now_us, &event->from, event->bytes, event->n_bytes);
    else if (event->kind == IO_TICK)
        dht_tick(node->dht, now_us);
    look_whether_joined(node);
}

static uint64_t node_deadline(const void *self)
{
    const struct bench_node *node = self;
    return dht_deadline(node->dht);
}

static void start_node(void *arg, uint64_t now_us)
{
    struct bench_node *node = arg;
    struct bench_swarm *swarm = node->swarm;
    struct dht_config config = {.key = node->key, .port = node->addr.port, .addr = node->addr};
    config.seed = swarm->seed + 1 + (uint64_t)(node - swarm->node);
    if (dht_new(&config, nest_io(swarm->nest, node->place), now_us, &node->dht))
        return; /* it never joins, and whoever waits is told so */
    node->machine = (struct io_machine){.event = node_event, .deadline = node_deadline, .self = node};
    nest_seat(swarm->nest, node->place, &node->machine);
    for (size_t i = 0; i < node->n_join; i++)
        dht_join(node->dht, now_us, &node->join[i]);
}

static int add_node(struct bench_swarm *swarm, const struct addr *join, size_t n_join)
{
    struct bench_node *node = &swarm->node[swarm->n];
    struct addr loopback = {.family = 4, .ip = {127, 0, 0, 1}};
    uint8_t seed[KEY_SEED_BYTES];
    *node = (struct bench_node){.swarm = swarm, .n_join = n_join};
    memcpy(node->join, join, n_join * sizeof *join);
    rng_bytes(&swarm->rng, seed, sizeof seed);
    int err = key_new(seed, &node->key);
    if (!err)
        err = nest_bind(swarm->nest, &loopback, &node->place);
    if (err) {
        key_free(node->key);
        return err;
    }
    node->addr = nest_address(swarm->nest, node->place);
    swarm->n++;
    return nest_call(swarm->nest, node->place, start_node, node);
}

/* ---- waiting ---- */

static struct timespec patience(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += PATIENCE_S;
    return t;
}

/* Under the lock. */
static int wait_for_change(struct bench_swarm *swarm, const struct timespec *end)
{
    return pthread_cond_timedwait(&swarm->changed, &swarm->lock, end) == ETIMEDOUT ? HANSE_ETIMEOUT : 0;
}

int bench_wait_for(struct bench_wait *wait)
{
    struct timespec end = patience();
    int err = 0;
    pthread_mutex_lock(&wait->swarm->lock);
    while (wait->n_left > 0 && !err)
        err = wait_for_change(wait->swarm, &end);
    pthread_mutex_unlock(&wait->swarm->lock);
    if (err)
        log_error("%zu answers of nodes in this process are missing after %d s", wait->n_left, PATIENCE_S);
    return err;
}

double bench_wall_s(void)
{
    return (double)net_now_ns() * 1e-9;
}

double bench_cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- the swarm ---- */

int bench_swarm_new(size_t n_max, unsigned n_threads, uint64_t seed, struct bench_swarm **out)
{
    pthread_condattr_t monotonic;
    struct bench_swarm *swarm = calloc(1, sizeof *swarm);
    if (!swarm)
        return HANSE_ENOMEM;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&swarm->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&swarm->lock, NULL);
    rng_init(&swarm->rng, seed, "bench-dht");
    swarm->seed = seed << 20;
    swarm->n_max = n_max;
    swarm->node = calloc(n_max, sizeof *swarm->node);
    swarm->joined = calloc(n_max, sizeof *swarm->joined);
    int err = swarm->node && swarm->joined ? nest_new(n_max, n_threads, &swarm->nest) : HANSE_ENOMEM;
    if (err) {
        bench_swarm_free(swarm);
        return err;
    }
    *out = swarm;
    return 0;
}

void bench_swarm_free(struct bench_swarm *swarm)
{
    if (!swarm)
        return;
    nest_free(swarm->nest);
    for (size_t i = 0; i < swarm->n; i++) {
        dht_free(swarm->node[i].dht);
        key_free(swarm->node[i].key);
    }
    pthread_mutex_destroy(&swarm->lock);
    pthread_cond_destroy(&swarm->changed);
    free(swarm->joined);
    free(swarm->node);
    free(swarm);
}

/* Random distinct ones of those that have joined; while nobody has, the first of all. */
static size_t choose_joins(struct bench_swarm *swarm, size_t n_join, struct addr *join)
{
    static size_t nobody[1];
    size_t n_chosen = 0;
    pthread_mutex_lock(&swarm->lock);
    const size_t *from = swarm->n_joined > 0 ? swarm->joined : nobody;
    size_t n = swarm->n_joined > 0 ? swarm->n_joined : swarm->n > 0;
    while (n_chosen < n_join && n_chosen < n) {
        const struct addr *addr = &swarm->node[from[rng_below(&swarm->rng, n)]].addr;
        size_t i = 0;
        while (i < n_chosen && !addr_equal(&join[i], addr))
            i++;
        if (i == n_chosen)
            join[n_chosen++] = *addr;
    }
    pthread_mutex_unlock(&swarm->lock);
    return n_chosen;
}

/* Waits until fewer than `n_at_once` of those started are on their way; the very first has joined when the second is there. */
static int wait_for_room(struct bench_swarm *swarm, size_t n_at_once)
{
    struct timespec end = patience();
    int err = 0;
    pthread_mutex_lock(&swarm->lock);
    while (swarm->n > 1 && swarm->n - swarm->n_joined >= n_at_once && !err)
        err = wait_for_change(swarm, &end);
    size_t n_left = swarm->n - swarm->n_joined;
    pthread_mutex_unlock(&swarm->lock);
    if (err)
        log_error("%zu nodes in this process have not joined within %d s", n_left, PATIENCE_S);
    return err;
}

int bench_swarm_grow(struct bench_swarm *swarm, size_t n, size_t n_join, size_t n_at_once)
{
    struct addr join[sizeof swarm->node->join / sizeof swarm->node->join[0]];
    while (swarm->n < n) {
        int err = wait_for_room(swarm, n_at_once);
        if (err)
            return err;
        size_t n_chosen = choose_joins(swarm, n_join, join);
        err = add_node(swarm, join, n_chosen);
        if (err)
            return err;
    }
    return wait_for_room(swarm, 1);
}

/* ---- asking ---- */

static void finish(struct bench_job *job)
{
    struct bench_swarm *swarm = job->wait->swarm;
    struct bench_wait *wait = job->wait;
    pthread_mutex_lock(&swarm->lock);
    if (--wait->n_left == 0)
        pthread_cond_broadcast(&swarm->changed);
    pthread_mutex_unlock(&swarm->lock);
}

void bench_job_done(struct bench_job *job)
{
    struct bench_job **link = &job->node->job;
    while (*link != job)
        link = &(*link)->next;
    *link = job->next;
    finish(job);
}

static void start_job(void *arg, uint64_t now_us)
{
    struct bench_job *job = arg;
    struct bench_node *node = job->node;
    if (!node->dht) {
        job->is_lost = true;
        finish(job);
        return;
    }
    job->next = node->job;
    node->job = job;
    job->start(job, node->dht, now_us);
}

int bench_ask(struct bench_job *job)
{
    struct bench_swarm *swarm = job->wait->swarm;
    pthread_mutex_lock(&swarm->lock);
    job->wait->n_left++;
    pthread_mutex_unlock(&swarm->lock);
    return nest_call(swarm->nest, job->node->place, start_job, job);
}

static void stop_node(struct bench_job *job, struct dht *dht, uint64_t now_us)
{
    struct bench_node *node = job->node;
    (void)now_us;
    nest_clear(node->swarm->nest, node->place);
    node->dht = NULL;
    dht_free(dht);
    for (struct bench_job *left = node->job, *next; left; left = next) {
        next = left->next;
        left->is_lost = left != job;
        finish(left);
    }
    node->job = NULL;
}

int bench_node_stop(struct bench_node *node)
{
    struct bench_wait wait = {.swarm = node->swarm};
    struct bench_job job = {.node = node, .wait = &wait, .start = stop_node};
    int err = bench_ask(&job);
    return err ? err : bench_wait_for(&wait);
}

static void collect(struct bench_job *job, struct dht *dht, uint64_t now_us)
{
    struct bench_totals *sum = job->arg;
    (void)now_us;
    sum->n_asked += dht_stats(dht).n_queries_out;
    sum->heap_bytes += dht_memory(dht);
    bench_job_done(job);
}

int bench_swarm_totals(struct bench_swarm *swarm, struct bench_totals *out)
{
    int err = 0;
    *out = (struct bench_totals){0};
    for (size_t i = 0; i < swarm->n && !err; i++) { /* one at a time: they add to the same sum */
        struct bench_wait wait = {.swarm = swarm};
        struct bench_job job = {.node = &swarm->node[i], .wait = &wait, .start = collect, .arg = out};
        err = bench_ask(&job);
        if (!err)
            err = bench_wait_for(&wait);
    }
    return err;
}
