/* cmd/bench_cold.c - how long a trainer that knows one address takes until it knows every expert of a run.
 *
 * 64 hosts, each a thread of this process with a net of its own as `hanse host` has (UDP, TCP, TLS), publish what they claim of 4,096
 * experts (4 layers of 1,024; 64 rows of 64).  Then a fresh reader with a new key starts: net, DHT part (read-only) and router as a trainer has
 * them; it joins one random host, and the clock stops when its router has a host for every expert.  Every entry is signed by its host, stored
 * by the nodes nearest to its key, and checked by each of them and by the reader. */
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/bench_dht.h"
#include "cmd/bench_swarm.h"
#include "net/net.h"
#include "router/router.h"

#define N_LAYERS 4
#define LOOK_US 200000 /* how often a host looks whether it should stop */
#define WAIT_US 2000
#define PATIENCE_US 60000000
#define SETTLE_US 12000000 /* entries are stored again 2 and 8 s after the first time, then after 32; less with fewer hosts */
#define READ_US 30000000

struct cold {
    struct hash run;
    size_t n_hosts;    /* rows, too: n_hosts / N_LAYERS in a layer */
    bool is_scattered; /* every host one expert of each row; else every host one row */
    atomic_bool is_over;
    atomic_size_t n_stored; /* for the first time */
};

struct cold_host {
    struct cold *cold;
    size_t i;
    struct key *key;
    struct net *net;
    struct dht *dht;
    struct addr join;
    struct io_machine machine;
    uint64_t look_us;
    pthread_t thread;
    bool has_thread;
};

static uint32_t experts_a_layer(const struct cold *cold)
{
    return (uint32_t)(cold->n_hosts / N_LAYERS * MESSAGE_ROW_EXPERTS);
}

/* ---- a host ---- */

/* A store that nobody took while all 64 began at once is made up for by the next, two seconds later. */
static void note_stored(void *arg, uint64_t now_us, size_t n_stored)
{
    struct cold *cold = arg;
    (void)now_us;
    (void)n_stored;
    atomic_fetch_add(&cold->n_stored, 1);
}

/* What a host says of a row: it has the experts from `first` on, `n` of them. */
static void publish(struct cold_host *host, uint64_t now_us, size_t key_i, size_t first, size_t n)
{
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    uint8_t bytes[MESSAGE_CLAIMS_BYTES];
    struct addr addr = net_address(host->net);
    struct dht_id key = dht_directory_key(&host->cold->run, "experts", (uint32_t)(key_i % N_LAYERS),
                                          (uint32_t)(key_i / N_LAYERS));
    for (size_t i = 0; i < n; i++)
        claim[i] = (struct message_claim){.index = (uint8_t)(first + i), .version = 1};
    dht_publish(host->dht, now_us, &key, &addr, bytes, message_claims_encode(claim, n, bytes), note_stored, host->cold);
}

static void start_host(struct cold_host *host, uint64_t now_us)
{
    struct addr addr = net_address(host->net);
    struct dht_config config = {.key = host->key, .port = addr.port, .seed = host->i, .addr = addr, .has_links = true};
    if (dht_new(&config, net_io(host->net), now_us, &host->dht))
        return; /* what it should say is missed */
    if (host->join.family)
        dht_join(host->dht, now_us, &host->join);
    size_t n = host->cold->n_hosts, n_each = MESSAGE_ROW_EXPERTS / n;
    if (!host->cold->is_scattered)
        publish(host, now_us, host->i, 0, MESSAGE_ROW_EXPERTS);
    for (size_t key_i = 0; host->cold->is_scattered && key_i < n; key_i++)
        publish(host, now_us, key_i, (host->i + key_i) % n * n_each, n_each);
}

static void host_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct cold_host *host = self;
    if (event->kind == IO_START)
        start_host(host, now_us);
    host->look_us = now_us + LOOK_US;
    if (!host->dht || atomic_load(&host->cold->is_over)) {
        net_io(host->net)->ops->stopped(net_io(host->net)->ctx, 0);
        return;
    }
    if (dht_link_event(host->dht, now_us, event))
        return;
    if (event->kind == IO_DATAGRAM)
        dht_datagram(host->dht, now_us, &event->from, event->bytes, event->n_bytes);
    else
        dht_tick(host->dht, now_us);
}

static uint64_t host_deadline(const void *self)
{
    const struct cold_host *host = self;
    uint64_t at_us = host->dht ? dht_deadline(host->dht) : IO_NEVER;
    return at_us < host->look_us ? at_us : host->look_us;
}

static void *run_host(void *arg)
{
    struct cold_host *host = arg;
    if (net_run(host->net, &host->machine))
        log_debug("a host of the benchmark ended early");
    return NULL;
}

static int new_net(struct rng *rng, bool listens, struct key **key, struct net **net)
{
    uint8_t seed[KEY_SEED_BYTES];
    rng_bytes(rng, seed, sizeof seed);
    int err = key_new(seed, key);
    struct net_config config = {.key = *key, .n_ports = 1, .n_workers = 1};
    if (listens)
        config.listen = (struct addr){.family = 4, .ip = {127, 0, 0, 1}};
    return err ? err : net_new(&config, net);
}

static int wait_for_entries(struct cold *cold, size_t n)
{
    for (uint64_t waited_us = 0; atomic_load(&cold->n_stored) < n; waited_us += WAIT_US) {
        if (waited_us >= PATIENCE_US) {
            log_error("%zu of %zu entries are not stored after %d s", n - atomic_load(&cold->n_stored), n, PATIENCE_US / 1000000);
            return HANSE_ETIMEOUT;
        }
        usleep(WAIT_US);
    }
    return 0;
}

static useconds_t settle_us(size_t n_hosts)
{
    return (useconds_t)(SETTLE_US / BENCH_DHT_HOSTS_MAX * n_hosts);
}

/* One after the other has stored what it says: all at once, on a machine or two, they would only overrun each other's sockets. */
static int start_hosts(struct cold *cold, struct cold_host *host, struct rng *rng)
{
    size_t n_each = cold->is_scattered ? cold->n_hosts : 1;
    for (size_t i = 0; i < cold->n_hosts; i++) {
        host[i] = (struct cold_host){.cold = cold, .i = i};
        int err = new_net(rng, true, &host[i].key, &host[i].net);
        if (err)
            return err;
        if (i > 0)
            host[i].join = net_address(host[rng_below(rng, i)].net);
        host[i].machine = (struct io_machine){.event = host_event, .deadline = host_deadline, .self = &host[i]};
        host[i].has_thread = pthread_create(&host[i].thread, NULL, run_host, &host[i]) == 0;
        if (!host[i].has_thread)
            return HANSE_EFULL;
        err = wait_for_entries(cold, (i + 1) * n_each);
        if (err)
            return err;
    }
    usleep(settle_us(cold->n_hosts));
    return 0;
}

static void stop_hosts(struct cold *cold, struct cold_host *host)
{
    atomic_store(&cold->is_over, true);
    for (size_t i = 0; i < cold->n_hosts; i++) {
        if (host[i].has_thread)
            pthread_join(host[i].thread, NULL);
        dht_free(host[i].dht);
        net_free(host[i].net);
        key_free(host[i].key);
    }
}

/* ---- the reader ---- */

struct reader {
    struct cold *cold;
    struct key *key;
    struct net *net;
    struct dht *dht;
    struct router *router;
    struct addr join;
    double began_s, first_s, all_s; /* the latter two since the first; 0: not yet */
    uint64_t end_us;
};

static int start_reader(struct reader *reader, uint64_t now_us)
{
    const struct io *io = net_io(reader->net);
    struct dht_config dht_config = {.key = reader->key, .is_read_only = true, .seed = now_us, .has_links = true};
    /* Without a deadline a host counts as soon as the directory names it, before there is a link to it. */
    struct router_config config = {
        .run = reader->cold->run, .n_moe = N_LAYERS, .E = experts_a_layer(reader->cold), .K = 1, .D = 8};
    int err = dht_new(&dht_config, io, now_us, &reader->dht);
    if (err)
        return err;
    dht_join(reader->dht, now_us, &reader->join);
    reader->end_us = now_us + READ_US;
    return router_new(&config, io, reader->dht, now_us, &reader->router);
}

static void reader_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct reader *reader = self;
    const struct io *io = net_io(reader->net);
    int err = event->kind == IO_START ? start_reader(reader, now_us) : 0;
    if (err || now_us >= reader->end_us) {
        io->ops->stopped(io->ctx, err ? err : HANSE_ETIMEOUT);
        return;
    }
    if (event->kind == IO_DATAGRAM)
        dht_datagram(reader->dht, now_us, &event->from, event->bytes, event->n_bytes);
    if (event->kind == IO_TICK || event->kind == IO_START)
        dht_tick(reader->dht, now_us);
    if (!dht_link_event(reader->dht, now_us, event))
        router_event(reader->router, now_us, event->kind == IO_START ? &(struct io_event){.kind = IO_TICK} : event);
    size_t n = router_stats(reader->router).n_live;
    if (n > 0 && reader->first_s == 0)
        reader->first_s = bench_wall_s() - reader->began_s;
    if (n == (size_t)N_LAYERS * experts_a_layer(reader->cold)) {
        reader->all_s = bench_wall_s() - reader->began_s;
        io->ops->stopped(io->ctx, 0);
    }
}

static uint64_t reader_deadline(const void *self)
{
    const struct reader *reader = self;
    uint64_t at_us = reader->end_us;
    if (reader->dht && dht_deadline(reader->dht) < at_us)
        at_us = dht_deadline(reader->dht);
    if (reader->router && router_deadline(reader->router) < at_us)
        at_us = router_deadline(reader->router);
    return at_us;
}

struct cold_figures {
    double first_ms, all_ms, n_asked, kb_in;
};

static int run_reader(struct cold *cold, struct rng *rng, const struct addr *join, struct cold_figures *out)
{
    struct reader reader = {.cold = cold, .join = *join, .began_s = bench_wall_s(), .end_us = IO_NEVER};
    struct io_machine machine = {.event = reader_event, .deadline = reader_deadline, .self = &reader};
    int err = new_net(rng, false, &reader.key, &reader.net);
    if (!err)
        err = net_run(reader.net, &machine);
    if (reader.dht)
        out->n_asked = (double)dht_stats(reader.dht).n_queries_out;
    if (reader.net)
        out->kb_in = (double)net_stats(reader.net).n_bytes_in * 1e-3;
    out->first_ms = 1e3 * reader.first_s;
    out->all_ms = 1e3 * reader.all_s;
    if (err == HANSE_ETIMEOUT)
        log_error("the reader does not know all experts after %d s", READ_US / 1000000);
    router_free(reader.router);
    dht_free(reader.dht);
    net_free(reader.net);
    key_free(reader.key);
    return err;
}

/* ---- the report ---- */

static void print_figures(const struct bench_dht *bench, const char *run, bool is_scattered, const struct cold_figures *f)
{
    size_t n = bench->n_hosts;
    printf(bench->is_json ? "{\"op\":\"dht_cold_start\",\"run\":%s,\"placement\":\"%s\",\"first_ms\":%.9g,\"all_ms\":%.9g,"
                            "\"questions\":%.9g,\"kb_in\":%.9g,\"hosts\":%zu,\"experts\":%zu}\n"
                          : "%8s %10s %10.1f %10.1f %10.0f %10.1f\n",
           run, is_scattered ? "scattered" : "own row", f->first_ms, f->all_ms, f->n_asked, f->kb_in, n, n * MESSAGE_ROW_EXPERTS);
    fflush(stdout);
}

static void print_median(const struct bench_dht *bench, bool is_scattered, const struct cold_figures *run)
{
    double x[4][BENCH_DHT_RUNS_MAX];
    size_t n = bench->n_runs;
    for (size_t i = 0; i < n; i++) {
        x[0][i] = run[i].first_ms;
        x[1][i] = run[i].all_ms;
        x[2][i] = run[i].n_asked;
        x[3][i] = run[i].kb_in;
    }
    struct cold_figures median = {bench_median(x[0], n), bench_median(x[1], n), bench_median(x[2], n), bench_median(x[3], n)};
    print_figures(bench, bench->is_json ? "\"median\"" : "median", is_scattered, &median);
}

static int run_placement(const struct bench_dht *bench, bool is_scattered)
{
    struct cold cold = {.is_scattered = is_scattered, .n_hosts = bench->n_hosts};
    struct cold_host *host = calloc(cold.n_hosts, sizeof *host);
    struct cold_figures run[BENCH_DHT_RUNS_MAX] = {{0}};
    struct rng rng;
    if (!host)
        return HANSE_ENOMEM;
    rng_init(&rng, bench->seed + is_scattered, "bench-cold");
    rng_bytes(&rng, cold.run.byte, sizeof cold.run.byte);
    int err = start_hosts(&cold, host, &rng);
    for (size_t i = 0; i < bench->n_runs && !err; i++) {
        char name[24];
        struct addr join = net_address(host[rng_below(&rng, cold.n_hosts)].net);
        err = run_reader(&cold, &rng, &join, &run[i]);
        snprintf(name, sizeof name, "%zu", i + 1);
        if (!err)
            print_figures(bench, name, is_scattered, &run[i]);
    }
    stop_hosts(&cold, host);
    free(host);
    if (!err && bench->n_runs > 1)
        print_median(bench, is_scattered, run);
    return err;
}

int bench_dht_cold_start(const struct bench_dht *bench)
{
    size_t n = bench->n_hosts;
    if (!bench->is_json)
        printf("%zu hosts, each a thread with its key, UDP socket and TCP listener on loopback, claim %zu experts in %zu rows of "
               "%d\n"
               "  own row    each host has one whole row: a key, an entry;  scattered: each has its share of every row: a key, "
               "%zu entries\n"
               "  first, all ms from nothing until the router of a new read-only peer that knows one address has hosts for some "
               "and for every "
               "expert:\n"
               "             sockets, joining, the way to %zu keys, each signature checked; begun %.1f s after the last host was "
               "done\n"
               "  asked      questions of its DHT part until then; kB in: bytes it received by then, links to hosts included\n\n"
               "%8s %10s %10s %10s %10s %10s\n",
               n, n * MESSAGE_ROW_EXPERTS, n, MESSAGE_ROW_EXPERTS, n, n, 1e-6 * (double)settle_us(n), "", "placement", "first ms",
               "all ms", "asked", "kB in");
    int err = run_placement(bench, false);
    return err ? err : run_placement(bench, true);
}
