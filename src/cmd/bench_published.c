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

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "cmd/bench_dht.h"
#include "cmd/bench_swarm.h"
#include "dht/directory.h"

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

/* What one part of the protocol took. */
struct part {
    size_t n, n_good;
    double wall_s, cpu_s;
    uint64_t n_asked; /* questions of all nodes, those that keep the tables fresh included */
};

struct figures {
    double nodes_per_s, join_cpu_ms, kb_per_node, heap_kb_per_node;
    double store_ms, store_cpu_ms, stored, copies, store_asked;
    double get_ms, get_cpu_ms, found, get_asked;
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
                     void (*start)(struct bench_job *job, struct dht *dht, uint64_t now_us), struct part *part)
{
    struct bench_wait wait = {.swarm = swarm};
    batch->job = (struct bench_job){.node = node, .wait = &wait, .start = start, .arg = batch};
    double began_s = bench_wall_s(), cpu_s = bench_cpu_s();
    int err = bench_ask(&batch->job);
    if (!err)
        err = bench_wait_for(&wait);
    part->wall_s += bench_wall_s() - began_s;
    part->cpu_s += bench_cpu_s() - cpu_s;
    part->n += batch->n;
    part->n_good += batch->n_good;
    return err;
}

/* Counts what all nodes asked from `*n_before` on, which is moved. */
static int count_asked(struct bench_swarm *swarm, uint64_t *n_before, struct part *part)
{
    struct bench_totals now;
    int err = bench_swarm_totals(swarm, &now);
    part->n_asked = now.n_asked - *n_before;
    *n_before = now.n_asked;
    return err;
}

static int store_all(struct bench_swarm *swarm, const struct expert *expert, size_t n, struct part *part, size_t *n_copies)
{
    struct bench_node *writer = &swarm->node[swarm->n - 2];
    struct record *record = calloc(RECORDS_MAX, sizeof *record);
    int err = record ? 0 : HANSE_ENOMEM;
    for (size_t i = 0; i < n && !err; i += BATCH) {
        struct batch batch = {.record = record};
        batch.n = make_records(expert, i, n - i < BATCH ? n - i : BATCH, record);
        err = run_batch(swarm, writer, &batch, store_batch, part);
        *n_copies += batch.n_copies;
    }
    free(record);
    return err;
}

static int get_all(struct bench_swarm *swarm, const struct expert *expert, size_t n, struct part *part)
{
    struct bench_node *reader = &swarm->node[swarm->n - 1];
    struct peer_id writer = key_peer_id(swarm->node[swarm->n - 2].key);
    int err = 0;
    for (size_t i = 0; i < n && !err; i += BATCH) {
        struct batch batch = {.expert = expert + i, .n = n - i < BATCH ? n - i : BATCH, .writer = writer};
        err = run_batch(swarm, reader, &batch, get_batch, part);
    }
    return err;
}

/* Resident memory of this process, without what an earlier run left to be used again. */
static double resident_kb(void)
{
    malloc_trim(0);
    unsigned long n_total, n_resident;
    FILE *f = fopen("/proc/self/statm", "r");
    bool ok = f && fscanf(f, "%lu %lu", &n_total, &n_resident) == 2;
    if (f)
        fclose(f);
    return ok ? (double)n_resident * (double)sysconf(_SC_PAGESIZE) * 1e-3 : 0;
}

static int join_all(const struct bench_dht *bench, struct bench_swarm *swarm, struct figures *out)
{
    double before_kb = resident_kb(), began_s = bench_wall_s(), cpu_s = bench_cpu_s(), n = (double)bench->n_nodes;
    int err = bench_swarm_grow(swarm, bench->n_nodes, 1, bench->n_at_once);
    if (err)
        return err;
    out->nodes_per_s = n / (bench_wall_s() - began_s);
    out->join_cpu_ms = 1e3 * (bench_cpu_s() - cpu_s) / n;
    usleep(IDLE_US);
    out->kb_per_node = (resident_kb() - before_kb) / n;
    struct bench_totals idle;
    err = bench_swarm_totals(swarm, &idle);
    out->heap_kb_per_node = 1e-3 * (double)idle.heap_bytes / n;
    return err;
}

static int store_and_get(struct bench_swarm *swarm, const struct expert *expert, size_t n, struct figures *out)
{
    struct part before = {0}, store = {0}, get = {0};
    size_t n_copies = 0;
    uint64_t n_asked = 0;
    int err = count_asked(swarm, &n_asked, &before);
    if (!err)
        err = store_all(swarm, expert, n, &store, &n_copies);
    if (!err)
        err = count_asked(swarm, &n_asked, &store);
    if (!err)
        err = get_all(swarm, expert, n, &get);
    if (!err)
        err = count_asked(swarm, &n_asked, &get);
    if (err)
        return err;
    double n_stores = (double)store.n, n_gets = (double)get.n;
    out->store_ms = 1e3 * store.wall_s / n_stores;
    out->store_cpu_ms = 1e3 * store.cpu_s / n_stores;
    out->stored = (double)store.n_good / n_stores;
    out->copies = (double)n_copies / n_stores;
    out->store_asked = (double)store.n_asked / n_stores;
    out->get_ms = 1e3 * get.wall_s / n_gets;
    out->get_cpu_ms = 1e3 * get.cpu_s / n_gets;
    out->found = (double)get.n_good / n_gets;
    out->get_asked = (double)get.n_asked / n_gets;
    return 0;
}

static int run_once(const struct bench_dht *bench, uint64_t seed, struct figures *out)
{
    struct bench_swarm *swarm = NULL;
    struct expert *expert = calloc(bench->n_experts, sizeof *expert);
    int err = expert ? 0 : HANSE_ENOMEM;
    if (!err)
        err = bench_swarm_new(bench->n_nodes, (unsigned)bench->n_threads, seed, &swarm);
    if (!err)
        err = join_all(bench, swarm, out);
    if (!err) {
        draw_experts(expert, bench->n_experts, seed);
        err = store_and_get(swarm, expert, bench->n_experts, out);
    }
    bench_swarm_free(swarm);
    free(expert);
    return err;
}

/* ---- the report ---- */

static const struct column {
    const char *name, *head, *format;
    size_t at; /* in struct figures */
} columns[] = {
    {"nodes_per_s", "nodes/s", "%9.0f", offsetof(struct figures, nodes_per_s)},
    {"join_cpu_ms", "(CPU ms)", "%9.2f", offsetof(struct figures, join_cpu_ms)},
    {"store_ms", "store ms", "%9.3f", offsetof(struct figures, store_ms)},
    {"store_cpu_ms", "(CPU ms)", "%9.3f", offsetof(struct figures, store_cpu_ms)},
    {"stored", "stored", "%8.4f", offsetof(struct figures, stored)},
    {"copies", "copies", "%7.1f", offsetof(struct figures, copies)},
    {"store_asked", "asked", "%6.1f", offsetof(struct figures, store_asked)},
    {"get_ms", "get ms", "%8.3f", offsetof(struct figures, get_ms)},
    {"get_cpu_ms", "(CPU ms)", "%9.3f", offsetof(struct figures, get_cpu_ms)},
    {"found", "found", "%7.4f", offsetof(struct figures, found)},
    {"get_asked", "asked", "%6.1f", offsetof(struct figures, get_asked)},
    {"kb_per_node", "kB/node", "%8.1f", offsetof(struct figures, kb_per_node)},
    {"heap_kb_per_node", "(heap)", "%7.1f", offsetof(struct figures, heap_kb_per_node)},
};
#define N_COLUMNS (sizeof columns / sizeof columns[0])

static double *field(struct figures *f, size_t column)
{
    return (double *)((char *)f + columns[column].at);
}

static void print_head(const struct bench_dht *bench)
{
    if (bench->is_json)
        return;
    printf(
        "%llu nodes in one process of %llu threads, each with its key and a UDP socket on loopback; %llu experts expert.a.b.c\n"
        "  nodes/s  from the first socket on until each has joined: it looked up its own id among the others and knows its "
        "neighbours;\n"
        "           each through one random node that had joined, %llu at a time\n"
        "  store    a record, by the clock on the wall: one node declares the experts in batches of %d, 3 records each (the uid "
        "and its two\n"
        "           prefixes, which the experts of a batch may share); it finds the nodes nearest to the key, signs, sends; each "
        "of\n"
        "           them ('copies': how many said yes) checks token and signature; stored: the share that somebody took\n"
        "  get      an expert: another node, which has read none of these keys before, finds and checks the records of the uids "
        "in\n"
        "           the same batches; found: the share that came back right\n"
        "  asked    questions that all nodes together asked meanwhile, for each; CPU ms: of all threads together, for each\n"
        "  kB/node  growth of resident memory, for each node, %d s after the last one joined; heap: what the nodes say they "
        "hold\n\n%8s",
        (unsigned long long)bench->n_nodes, (unsigned long long)bench->n_threads, (unsigned long long)bench->n_experts,
        (unsigned long long)bench->n_at_once, BATCH, IDLE_US / 1000000, "");
    for (size_t i = 0; i < N_COLUMNS; i++)
        printf(" %*s", atoi(columns[i].format + 1), columns[i].head);
    putchar('\n');
}

/* One node declares all, so what a node keeps of one writer is what a small swarm runs out of.  Keys fall where they fall: some nodes
 * are asked for twice the mean, so half of the ceiling is where refusals may begin. */
static void say_what_fits(const struct bench_dht *bench)
{
    uint64_t n = bench->n_experts, n_prefixes = n < GRID ? n : GRID; /* of one number; those of two are about as many as uids */
    uint64_t n_copies = bench->n_nodes < DHT_K ? bench->n_nodes : DHT_K;
    uint64_t n_kept = (2 * n + n_prefixes) * n_copies / bench->n_nodes;
    if (n_kept <= DHT_DIRECTORY_WRITER_MAX / 2)
        return;
    log_warn("--experts %llu: these are about %llu records of one writer for each of %llu nodes, which keeps at most %d and "
             "refuses the "
             "others, so 'stored' and 'found' %s below 1; 16 experts a node fit",
             (unsigned long long)n, (unsigned long long)n_kept, (unsigned long long)bench->n_nodes, DHT_DIRECTORY_WRITER_MAX,
             n_kept > DHT_DIRECTORY_WRITER_MAX ? "come out" : "may come out");
}

static void print_run(const struct bench_dht *bench, const char *name, struct figures *f)
{
    printf(bench->is_json ? "{\"op\":\"dht_published\",\"run\":%s" : "%8s", name);
    for (size_t i = 0; i < N_COLUMNS; i++)
        if (bench->is_json) {
            printf(",\"%s\":%.9g", columns[i].name, *field(f, i));
        } else {
            putchar(' ');
            printf(columns[i].format, *field(f, i));
        }
    if (bench->is_json)
        printf(",\"nodes\":%llu,\"experts\":%llu,\"threads\":%llu}", (unsigned long long)bench->n_nodes,
               (unsigned long long)bench->n_experts, (unsigned long long)bench->n_threads);
    putchar('\n');
    fflush(stdout);
}

int bench_dht_published(const struct bench_dht *bench)
{
    struct figures run[BENCH_DHT_RUNS_MAX], median;
    say_what_fits(bench);
    print_head(bench);
    for (size_t i = 0; i < bench->n_runs; i++) {
        char name[24];
        int err = run_once(bench, bench->seed + i, &run[i]);
        if (err)
            return err;
        snprintf(name, sizeof name, "%zu", i + 1);
        print_run(bench, name, &run[i]);
    }
    for (size_t i = 0; i < N_COLUMNS; i++) {
        double x[BENCH_DHT_RUNS_MAX];
        for (size_t j = 0; j < bench->n_runs; j++)
            x[j] = *field(&run[j], i);
        *field(&median, i) = bench_median(x, bench->n_runs);
    }
    if (bench->n_runs > 1)
        print_run(bench, bench->is_json ? "\"median\"" : "median", &median);
    return 0;
}
