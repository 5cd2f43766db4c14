/* cmd/bench_published.c - the protocol that hivemind published figures of (its benchmark_dht.py of 2020).
 *
 * n nodes, each joining through one random earlier node.  Uids expert.a.b.c, each number below 1000 and drawn at random.  The last node but one
 * declares them in batches of 64: a record for the uid and one for each of its two prefixes, a prefix once a batch.  Then the
 * last node resolves the uids in the same batches.  A batch begins when the one before is over.
 *
 * A record is a directory key (SHA-1 of the text) with an entry that the declaring node signs: of a uid what it is called, of a prefix the numbers
 * that were declared to follow it.  Every node that stores one checks its signature, and so does the reader; no
 * two nodes share anything but the process. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "cmd/bench_dht.h"
#include "cmd/bench_swarm.h"

#define BATCH 64
#define GRID 1000
#define TEXT_BYTES 24
#define RECORDS_MAX (3 * BATCH)
#define IDLE_US 3000000

struct expert {
    uint16_t number[3];
};

/* What one record is: its key, and what stands there. */
struct record {
    struct dht_id key;
    size_t n_bytes;
    uint8_t bytes[DHT_DIRECTORY_BYTES_MAX];
};

struct batch {
    struct bench_job job;
    const struct expert *expert;
    struct peer_id writer; /* whose entries are right */
    size_t n, n_left, n_good;
    size_t n_copies; /* stores: nodes that took one, in all */
    struct record *record;
};

struct figures {
    double nodes_per_s, store_ms, get_ms;
    double stored, found; /* shares */
    size_t n_records;
    double copies; /* nodes that took a record, a mean */
    double kb_per_node;
    struct dht_stats joined, stored_at, got_at; /* counters when each part was over */
};

/* ---- uids ---- */

static struct dht_id key_of(const char *text)
{
    struct dht_id key;
    hash_sha1(key.byte, text, strlen(text));
    return key;
}

/* The text of a uid (n = 3) or of a prefix of it. */
static void uid_text(const struct expert *e, size_t n, char text[TEXT_BYTES])
{
    int at = snprintf(text, TEXT_BYTES, "expert");
    for (size_t i = 0; i < n; i++)
        at += snprintf(text + at, TEXT_BYTES - (size_t)at, ".%u", e->number[i]);
}

static int by_number(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct expert));
}

/* Distinct ones, in random order. */
static void draw_experts(struct expert *expert, size_t n, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, "bench-experts");
    for (size_t n_have = 0; n_have < n;) {
        for (size_t i = n_have; i < n; i++)
            for (size_t j = 0; j < 3; j++)
                expert[i].number[j] = (uint16_t)rng_below(&rng, GRID);
        qsort(expert, n, sizeof *expert, by_number);
        n_have = 1;
        for (size_t i = 1; i < n; i++)
            if (memcmp(&expert[i], &expert[n_have - 1], sizeof *expert) != 0)
                expert[n_have++] = expert[i];
    }
    for (size_t i = n; i > 1; i--) {
        size_t j = rng_below(&rng, i);
        struct expert other = expert[j];
        expert[j] = expert[i - 1];
        expert[i - 1] = other;
    }
}

static bool shares_prefix(const struct expert *a, const struct expert *b, size_t n)
{
    return memcmp(a->number, b->number, n * sizeof a->number[0]) == 0;
}

/* The record of a prefix of n numbers: those that follow it among the first `n_declared` experts, as many as fit. */
static void prefix_record(const struct expert *all, size_t n_declared, const struct expert *e, size_t n, struct record *out)
{
    char text[TEXT_BYTES];
    uid_text(e, n, text);
    out->key = key_of(text);
    out->n_bytes = 0;
    for (size_t i = 0; i < n_declared && out->n_bytes + 2 <= sizeof out->bytes; i++)
        if (shares_prefix(&all[i], e, n)) {
            memcpy(out->bytes + out->n_bytes, &all[i].number[n], 2);
            out->n_bytes += 2;
        }
}

static void uid_record(const struct expert *e, struct record *out)
{
    char text[TEXT_BYTES];
    uid_text(e, 3, text);
    out->key = key_of(text);
    out->n_bytes = strlen(text);
    memcpy(out->bytes, text, out->n_bytes);
}

/* The records of a batch that begins at `first`; returns how many.  Made before the clock runs. */
static size_t make_records(const struct expert *all, size_t first, size_t n, struct record *out)
{
    size_t n_out = 0;
    for (size_t i = first; i < first + n; i++) {
        uid_record(&all[i], &out[n_out++]);
        for (size_t n_numbers = 1; n_numbers <= 2; n_numbers++) {
            size_t j = first;
            while (!shares_prefix(&all[j], &all[i], n_numbers))
                j++;
            if (j == i)
                prefix_record(all, first + n, &all[i], n_numbers, &out[n_out++]);
        }
    }
    return n_out;
}

/* ---- a batch, in the thread of the node that does it ---- */

static void note_stored(void *arg, uint64_t now_us, size_t n_stored)
{
    struct batch *batch = arg;
    (void)now_us;
    batch->n_good += n_stored > 0;
    batch->n_copies += n_stored;
    if (--batch->n_left == 0)
        bench_job_done(&batch->job);
}

static void store_batch(struct bench_job *job, struct dht *dht, uint64_t now_us)
{
    struct batch *batch = job->arg;
    batch->n_left = batch->n;
    for (size_t i = 0; i < batch->n; i++)
        dht_store_entry(dht, now_us, &batch->record[i].key, &job->node->addr, batch->record[i].bytes, batch->record[i].n_bytes,
                        note_stored, batch);
}

/* One of a batch's reads. */
struct get {
    struct batch *batch;
    struct record record;
};

static void note_read(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct get *get = arg;
    struct batch *batch = get->batch;
    (void)now_us;
    (void)n_asked;
    batch->n_good += n == 1 && peer_id_equal(&entry->writer, &batch->writer) && entry->n_bytes == get->record.n_bytes &&
                     memcmp(entry->bytes, get->record.bytes, entry->n_bytes) == 0;
    if (--batch->n_left == 0)
        bench_job_done(&batch->job);
}

static struct get gets[BATCH]; /* the reader's */

static void get_batch(struct bench_job *job, struct dht *dht, uint64_t now_us)
{
    struct batch *batch = job->arg;
    batch->n_left = batch->n;
    for (size_t i = 0; i < batch->n; i++) {
        gets[i].batch = batch;
        uid_record(&batch->expert[i], &gets[i].record);
        dht_read(dht, now_us, &gets[i].record.key, note_read, &gets[i]);
    }
}

/* ---- the parts ---- */

static int run_batch(struct bench_swarm *swarm, struct bench_node *node, struct batch *batch,
                     void (*start)(struct bench_job *job, struct dht *dht, uint64_t now_us), double *seconds)
{
    struct bench_wait wait = {.swarm = swarm};
    batch->job = (struct bench_job){.node = node, .wait = &wait, .start = start, .arg = batch};
    double began_s = bench_wall_s();
    int err = bench_ask(&batch->job);
    if (!err)
        err = bench_wait_for(&wait);
    *seconds += bench_wall_s() - began_s;
    return err;
}

static int store_all(struct bench_swarm *swarm, const struct expert *expert, size_t n, struct figures *out)
{
    struct bench_node *writer = &swarm->node[swarm->n - 2];
    struct record *record = calloc(RECORDS_MAX, sizeof *record);
    size_t n_records = 0, n_good = 0, n_copies = 0;
    double seconds = 0;
    int err = record ? 0 : HANSE_ENOMEM;
    for (size_t i = 0; i < n && !err; i += BATCH) {
        struct batch batch = {.record = record};
        batch.n = make_records(expert, i, n - i < BATCH ? n - i : BATCH, record);
        err = run_batch(swarm, writer, &batch, store_batch, &seconds);
        n_records += batch.n;
        n_good += batch.n_good;
        n_copies += batch.n_copies;
    }
    free(record);
    out->n_records = n_records;
    out->store_ms = 1e3 * seconds / (double)n_records;
    out->stored = (double)n_good / (double)n_records;
    out->copies = (double)n_copies / (double)n_records;
    return err;
}

static int get_all(struct bench_swarm *swarm, const struct expert *expert, size_t n, struct figures *out)
{
    struct bench_node *reader = &swarm->node[swarm->n - 1];
    struct peer_id writer = key_peer_id(swarm->node[swarm->n - 2].key);
    size_t n_good = 0;
    double seconds = 0;
    int err = 0;
    for (size_t i = 0; i < n && !err; i += BATCH) {
        struct batch batch = {.expert = expert + i, .n = n - i < BATCH ? n - i : BATCH, .writer = writer};
        err = run_batch(swarm, reader, &batch, get_batch, &seconds);
        n_good += batch.n_good;
    }
    out->get_ms = 1e3 * seconds / (double)n;
    out->found = (double)n_good / (double)n;
    return err;
}

/* Resident memory of this process. */
static double resident_kb(void)
{
    unsigned long n_total, n_resident;
    FILE *f = fopen("/proc/self/statm", "r");
    bool ok = f && fscanf(f, "%lu %lu", &n_total, &n_resident) == 2;
    if (f)
        fclose(f);
    return ok ? (double)n_resident * (double)sysconf(_SC_PAGESIZE) * 1e-3 : 0;
}

static int run_once(const struct bench_dht *bench, uint64_t seed, struct figures *out)
{
    struct bench_swarm *swarm = NULL;
    struct expert *expert = calloc(bench->n_experts, sizeof *expert);
    int err = expert ? 0 : HANSE_ENOMEM;
    *out = (struct figures){0};
    if (!err)
        err = bench_swarm_new(bench->n_nodes, (unsigned)bench->n_threads, seed, &swarm);
    if (err)
        goto done;
    draw_experts(expert, bench->n_experts, seed);
    double before_kb = resident_kb(), began_s = bench_wall_s();
    err = bench_swarm_grow(swarm, bench->n_nodes, 1, bench->n_at_once);
    if (err)
        goto done;
    out->nodes_per_s = (double)bench->n_nodes / (bench_wall_s() - began_s);
    usleep(IDLE_US);
    out->kb_per_node = (resident_kb() - before_kb) / (double)bench->n_nodes;
    err = bench_swarm_stats(swarm, &out->joined);
    if (!err)
        err = store_all(swarm, expert, bench->n_experts, out);
    if (!err)
        err = bench_swarm_stats(swarm, &out->stored_at);
    if (!err)
        err = get_all(swarm, expert, bench->n_experts, out);
    if (!err)
        err = bench_swarm_stats(swarm, &out->got_at);
done:
    bench_swarm_free(swarm);
    free(expert);
    return err;
}

/* ---- the report ---- */

static double queries_each(const struct dht_stats *after, const struct dht_stats *before, size_t n)
{
    return (double)(after->n_queries_out - before->n_queries_out) / (double)n;
}

static void print_head(const struct bench_dht *bench)
{
    if (bench->is_json)
        return;
    printf("published: %llu nodes in one process, %llu threads, a UDP socket on loopback each; %llu experts expert.a.b.c\n"
           "  nodes/s   from the first socket until every node has joined: its own id was looked up among the others and its "
           "neighbours\n"
           "            are known; each through 1 random node that has joined, %llu under way at a time; key and table included\n"
           "  store     ms a record, wall clock, one node in batches of %d experts (3 records each): found its nearest nodes by "
           "paths that\n"
           "            share none, signed, sent; each of them checked token and signature ('copies': how many took it)\n"
           "  get       ms an expert, wall clock, another node in the same batches, no key read before: found, fetched, checked\n"
           "  kB/node   growth of resident memory a node %d s after the last one joined, its table and socket tables in user "
           "space included\n",
           (unsigned long long)bench->n_nodes, (unsigned long long)bench->n_threads, (unsigned long long)bench->n_experts,
           (unsigned long long)bench->n_at_once, BATCH, IDLE_US / 1000000);
    printf("\n%10s %9s %9s %9s %9s %9s %9s %8s %8s %8s\n", "", "nodes/s", "store ms", "stored", "copies", "get ms", "found",
           "kB/node", "asked/st", "asked/get");
}

static void print_run(const struct bench_dht *bench, const char *name, const struct figures *f)
{
    double asked_store = queries_each(&f->stored_at, &f->joined, f->n_records);
    double asked_get = queries_each(&f->got_at, &f->stored_at, bench->n_experts);
    printf(bench->is_json ? "{\"op\":\"dht_published\",\"run\":\"%s\",\"nodes_per_s\":%.5g,\"store_ms\":%.4g,\"stored\":%.6g,"
                            "\"copies\":%.3g,\"get_ms\":%.4g,\"found\":%.6g,\"kb_per_node\":%.4g,\"queries_a_store\":%.3g,"
                            "\"queries_a_get\":%.3g"
                          : "%10s %9.0f %9.3f %9.4f %9.1f %9.3f %9.4f %8.1f %8.1f %8.1f",
           name, f->nodes_per_s, f->store_ms, f->stored, f->copies, f->get_ms, f->found, f->kb_per_node, asked_store, asked_get);
    if (bench->is_json)
        printf(",\"nodes\":%llu,\"experts\":%llu,\"records\":%zu,\"threads\":%llu}", (unsigned long long)bench->n_nodes,
               (unsigned long long)bench->n_experts, f->n_records, (unsigned long long)bench->n_threads);
    putchar('\n');
    fflush(stdout);
}

/* Each figure's own median. */
static struct figures median_of(const struct figures *run, size_t n)
{
    struct figures m = run[0];
    double x[16];
    static const size_t field[] = {offsetof(struct figures, nodes_per_s), offsetof(struct figures, store_ms),
                                   offsetof(struct figures, get_ms),      offsetof(struct figures, stored),
                                   offsetof(struct figures, found),       offsetof(struct figures, copies),
                                   offsetof(struct figures, kb_per_node)};
    for (size_t i = 0; i < sizeof field / sizeof *field; i++) {
        for (size_t j = 0; j < n; j++)
            x[j] = *(const double *)((const char *)&run[j] + field[i]);
        *(double *)((char *)&m + field[i]) = bench_median(x, n);
    }
    return m;
}

int bench_dht_published(const struct bench_dht *bench)
{
    struct figures run[16];
    print_head(bench);
    for (size_t i = 0; i < bench->n_runs; i++) {
        char name[16];
        int err = run_once(bench, bench->seed + i, &run[i]);
        if (err)
            return err;
        snprintf(name, sizeof name, "%zu", i + 1);
        print_run(bench, name, &run[i]);
    }
    if (bench->n_runs > 1) {
        struct figures median = median_of(run, bench->n_runs);
        print_run(bench, "median", &median);
    }
    return 0;
}
