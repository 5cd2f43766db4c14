/**
 * tests/unit/host_stage.h - a small stage for hosts: a clock, datagrams that arrive, disks in memory, and trainers played by the
 * test itself.  What a host sends over a link lies in its node's `sent` until the test looks.
 */
#ifndef TESTS_UNIT_HOST_STAGE_H
#define TESTS_UNIT_HOST_STAGE_H

#include <stdio.h>
#include <string.h>

#include "base/random.h"
#include "node/host.h"
#include "router/message.h"
#include "unit.h"

#define STAGE_NODES_MAX 8
#define STAGE_EVENTS_MAX 4096
#define STAGE_FILES_MAX 512
#define STAGE_SENT_MAX 512
#define STAGE_WORKS_MAX 128
#define STAGE_LINKS_MAX 8
#define STAGE_DELAY_US 1000

struct stage_file {
    char name[DISK_NAME_MAX];
    uint8_t *bytes;
    size_t n;
};

struct stage_disk {
    struct stage_file file[STAGE_FILES_MAX];
    size_t n_files;
    size_t n_writes;
    bool is_broken; /* writing fails */
    struct disk disk;
};

struct stage_sent {
    io_link link;
    struct buf message;
};

struct stage;

struct stage_node {
    struct stage *stage;
    struct addr addr;
    struct key *key;
    struct stage_disk *disk;
    struct host *host; /* NULL: nobody is there */
    struct io io;
    struct stage_sent sent[STAGE_SENT_MAX];
    size_t n_sent;
    struct io_work *work[STAGE_WORKS_MAX];
    size_t n_works, n_works_ever;
    bool holds_work;                   /* work waits for stage_work() */
    io_link closed;                    /* the last link that the host closed */
    uint64_t keep_us[STAGE_LINKS_MAX]; /* what it last said of how long a link is to be kept; 0: nothing */
    size_t queued_bytes;
    bool is_stopped, is_ready;
    int stopped_err;
};

/* A datagram or the end of a piece of work, on its way. */
struct stage_event {
    uint64_t time_us, number;
    struct stage_node *node;
    struct io_work *work;
    struct addr from;
    size_t n;
    uint8_t bytes[1500];
};

struct stage {
    uint64_t now_us, n_events_ever;
    struct stage_node node[STAGE_NODES_MAX];
    size_t n_nodes;
    struct stage_event *event[STAGE_EVENTS_MAX];
    size_t n_events;
    struct stage_disk disk[STAGE_NODES_MAX];
};

/* -- Disks ----------------------------------------------------------------------------------------- */

static inline struct stage_file *stage_file(struct stage_disk *disk, const char *name)
{
    for (size_t i = 0; i < disk->n_files; i++)
        if (strcmp(disk->file[i].name, name) == 0)
            return &disk->file[i];
    return NULL;
}

static inline int stage_disk_read(void *ctx, const char *name, struct buf *out)
{
    struct stage_file *file = stage_file(ctx, name);
    if (!file)
        return HANSE_ENOENT;
    buf_append(out, file->bytes, file->n);
    return out->err;
}

static inline int stage_disk_write(void *ctx, const char *name, const void *bytes, size_t n)
{
    struct stage_disk *disk = ctx;
    if (disk->is_broken)
        return HANSE_EIO;
    struct stage_file *file = stage_file(disk, name);
    if (!file) {
        ck_assert_uint_lt(disk->n_files, STAGE_FILES_MAX);
        file = &disk->file[disk->n_files++];
        *file = (struct stage_file){.bytes = NULL};
        snprintf(file->name, sizeof file->name, "%s", name);
    }
    free(file->bytes);
    file->bytes = malloc(n + 1);
    ck_assert_ptr_nonnull(file->bytes);
    memcpy(file->bytes, bytes, n);
    file->n = n;
    disk->n_writes++;
    return 0;
}

static inline int stage_disk_remove(void *ctx, const char *name)
{
    struct stage_disk *disk = ctx;
    struct stage_file *file = stage_file(disk, name);
    if (!file)
        return HANSE_ENOENT;
    free(file->bytes);
    *file = disk->file[--disk->n_files];
    return 0;
}

static inline bool stage_disk_exists(void *ctx, const char *name)
{
    return stage_file(ctx, name) != NULL;
}

static inline int stage_compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static inline int stage_disk_list(void *ctx, const char *directory, void (*each)(void *arg, const char *entry), void *arg)
{
    struct stage_disk *disk = ctx;
    static char entry[STAGE_FILES_MAX][DISK_NAME_MAX]; /* kept while `each` changes the disk */
    size_t n = 0, n_directory = strlen(directory);
    for (size_t i = 0; i < disk->n_files; i++) {
        const char *name = disk->file[i].name;
        if (strncmp(name, directory, n_directory) != 0 || name[n_directory] != '/')
            continue;
        size_t length = strcspn(name + n_directory + 1, "/");
        snprintf(entry[n++], DISK_NAME_MAX, "%.*s", (int)length, name + n_directory + 1);
    }
    qsort(entry, n, DISK_NAME_MAX, stage_compare_names);
    char(*copy)[DISK_NAME_MAX] = malloc((n + 1) * DISK_NAME_MAX); /* a listing may be made inside a listing */
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, entry, n * DISK_NAME_MAX);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(copy[i], copy[i - 1]) != 0)
            each(arg, copy[i]);
    free(copy);
    return 0;
}

static inline void stage_disk_init(struct stage_disk *disk)
{
    static const struct disk_ops ops = {stage_disk_read, stage_disk_write, stage_disk_remove, stage_disk_exists, stage_disk_list};
    disk->disk = (struct disk){&ops, disk};
}

static inline void stage_disk_fini(struct stage_disk *disk)
{
    for (size_t i = 0; i < disk->n_files; i++)
        free(disk->file[i].bytes);
    disk->n_files = 0;
}

/* -- Effects --------------------------------------------------------------------------------------- */

static inline void stage_push(struct stage *stage, struct stage_event *event)
{
    ck_assert_uint_lt(stage->n_events, STAGE_EVENTS_MAX);
    event->number = stage->n_events_ever++;
    stage->event[stage->n_events++] = event;
}

static inline void stage_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    struct stage_node *node = ctx;
    struct stage *stage = node->stage;
    for (size_t i = 0; i < stage->n_nodes; i++) {
        if (!addr_equal(&stage->node[i].addr, to))
            continue;
        struct stage_event *event = calloc(1, sizeof *event);
        ck_assert_ptr_nonnull(event);
        event->time_us = stage->now_us + STAGE_DELAY_US;
        event->node = &stage->node[i];
        event->from = node->addr;
        event->n = n;
        memcpy(event->bytes, bytes, n);
        stage_push(stage, event);
    }
}

static inline io_link stage_link_open(void *ctx, const struct addr *to, const struct peer_id *expect)
{
    (void)ctx, (void)to, (void)expect;
    ck_abort_msg("a host opens no links");
    return 0;
}

static inline void stage_link_send(void *ctx, io_link link, struct buf *message, bool is_urgent)
{
    (void)is_urgent;
    struct stage_node *node = ctx;
    ck_assert_uint_lt(node->n_sent, STAGE_SENT_MAX);
    struct stage_sent *sent = &node->sent[node->n_sent++];
    sent->link = link;
    buf_init(&sent->message, IO_MESSAGE_MAX);
    buf_move(&sent->message, message);
}

static inline size_t stage_link_queued(void *ctx, io_link link)
{
    (void)link;
    return ((struct stage_node *)ctx)->queued_bytes;
}

static inline void stage_link_keep(void *ctx, io_link link, uint64_t until_us)
{
    if (link < STAGE_LINKS_MAX)
        ((struct stage_node *)ctx)->keep_us[link] = until_us;
}

static inline void stage_link_close(void *ctx, io_link link)
{
    ((struct stage_node *)ctx)->closed = link;
}

static inline void stage_effect_work(void *ctx, struct io_work *work)
{
    struct stage_node *node = ctx;
    node->n_works_ever++;
    if (node->holds_work) {
        ck_assert_uint_lt(node->n_works, STAGE_WORKS_MAX);
        node->work[node->n_works++] = work;
        return;
    }
    struct stage_event *event = calloc(1, sizeof *event);
    ck_assert_ptr_nonnull(event);
    work->run(work);
    event->time_us = node->stage->now_us + work->cost_us;
    event->node = node;
    event->work = work;
    stage_push(node->stage, event);
}

static inline void stage_stopped(void *ctx, int err)
{
    struct stage_node *node = ctx;
    ck_assert(!node->is_stopped);
    node->is_stopped = true;
    node->stopped_err = err;
}

/* -- Time ------------------------------------------------------------------------------------------ */

static inline void stage_give(struct stage_node *node, struct io_event *event)
{
    if (!node->host)
        return;
    struct io_machine machine = host_machine(node->host);
    machine.event(machine.self, node->stage->now_us, event);
}

static inline struct stage_event *stage_first(struct stage *stage)
{
    size_t best = 0;
    for (size_t i = 1; i < stage->n_events; i++) {
        const struct stage_event *a = stage->event[i], *b = stage->event[best];
        if (a->time_us < b->time_us || (a->time_us == b->time_us && a->number < b->number))
            best = i;
    }
    return stage->n_events > 0 ? stage->event[best] : NULL;
}

static inline void stage_deliver(struct stage *stage, struct stage_event *event)
{
    for (size_t i = 0; i < stage->n_events; i++)
        if (stage->event[i] == event)
            stage->event[i] = stage->event[--stage->n_events];
    stage->now_us = event->time_us > stage->now_us ? event->time_us : stage->now_us;
    struct io_event e = {.kind = event->work ? IO_WORK_DONE : IO_DATAGRAM,
                         .work = event->work,
                         .from = event->from,
                         .bytes = event->bytes,
                         .n_bytes = event->n};
    stage_give(event->node, &e);
    free(event);
}

static inline struct stage_node *stage_next_tick(struct stage *stage, uint64_t *when_us)
{
    struct stage_node *next = NULL;
    *when_us = IO_NEVER;
    for (size_t i = 0; i < stage->n_nodes; i++) {
        struct stage_node *node = &stage->node[i];
        if (!node->host || node->is_stopped)
            continue;
        struct io_machine machine = host_machine(node->host);
        uint64_t deadline_us = machine.deadline(machine.self);
        if (deadline_us < *when_us) {
            *when_us = deadline_us;
            next = node;
        }
    }
    return next;
}

/** Lets time pass. */
static inline void stage_run(struct stage *stage, uint64_t for_us)
{
    uint64_t end_us = stage->now_us + for_us;
    for (;;) {
        uint64_t tick_us;
        struct stage_node *node = stage_next_tick(stage, &tick_us);
        struct stage_event *event = stage_first(stage);
        if (event && event->time_us <= end_us && event->time_us <= tick_us) {
            stage_deliver(stage, event);
        } else if (node && tick_us <= end_us) {
            stage->now_us = tick_us > stage->now_us ? tick_us : stage->now_us;
            stage_give(node, &(struct io_event){.kind = IO_TICK});
        } else {
            break;
        }
    }
    stage->now_us = end_us;
}

/** Does the work that was held, and what comes of it. */
static inline void stage_work(struct stage_node *node)
{
    while (node->n_works > 0) {
        struct io_work *work = node->work[0];
        memmove(node->work, node->work + 1, --node->n_works * sizeof *node->work);
        work->run(work);
        stage_give(node, &(struct io_event){.kind = IO_WORK_DONE, .work = work});
    }
}

/* -- Nodes ----------------------------------------------------------------------------------------- */

static inline void stage_init(struct stage *stage)
{
    memset(stage, 0, sizeof *stage);
    stage->now_us = 1767225600000000u;
}

static inline struct stage_node *stage_add(struct stage *stage)
{
    static const struct io_ops ops = {.datagram = stage_datagram,
                                      .link_open = stage_link_open,
                                      .link_send = stage_link_send,
                                      .link_queued = stage_link_queued,
                                      .link_keep = stage_link_keep,
                                      .link_close = stage_link_close,
                                      .work = stage_effect_work,
                                      .stopped = stage_stopped};
    struct stage_node *node = &stage->node[stage->n_nodes];
    uint8_t seed[KEY_SEED_BYTES] = {(uint8_t)(stage->n_nodes + 1)};
    node->stage = stage;
    node->addr = (struct addr){.family = 4, .ip = {127, 0, 0, 1}, .port = (uint16_t)(4100 + stage->n_nodes)};
    node->disk = &stage->disk[stage->n_nodes];
    node->io = (struct io){&ops, node};
    ck_assert_int_eq(key_new(seed, &node->key), 0);
    stage_disk_init(node->disk);
    stage->n_nodes++;
    return node;
}

static inline void stage_is_ready(void *arg)
{
    ((struct stage_node *)arg)->is_ready = true;
}

/** A config that joins all nodes added before. */
static inline struct host_config stage_config(struct stage_node *node, const struct run *run, const char *experts)
{
    struct host_config config = {
        .run = run, .key = node->key, .listen = node->addr, .experts = experts, .seed = node->addr.port, .quiet = true};
    config.hardware = HARDWARE_CPU;
    ck_assert_int_eq(kernels_choose("ref", &config.kernels), 0);
    for (struct stage_node *other = node->stage->node; other < node; other++)
        config.join[config.n_join++] = other->addr;
    config.ready = stage_is_ready;
    config.ready_arg = node;
    return config;
}

static inline void stage_start_with(struct stage_node *node, const struct host_config *config)
{
    node->is_stopped = node->is_ready = false;
    ck_assert_int_eq(host_new(config, &node->io, &node->disk->disk, &node->host), 0);
    stage_give(node, &(struct io_event){.kind = IO_START});
}

static inline void stage_start(struct stage_node *node, const struct run *run, const char *experts)
{
    struct host_config config = stage_config(node, run, experts);
    stage_start_with(node, &config);
}

static inline void stage_forget_sent(struct stage_node *node)
{
    for (size_t i = 0; i < node->n_sent; i++)
        buf_fini(&node->sent[i].message);
    node->n_sent = 0;
}

/** As kill -9: only the disk stays. */
static inline void stage_kill(struct stage_node *node)
{
    struct stage *stage = node->stage;
    for (size_t i = stage->n_events; i-- > 0;)
        if (stage->event[i]->node == node) {
            free(stage->event[i]);
            stage->event[i] = stage->event[--stage->n_events];
        }
    stage_forget_sent(node);
    node->n_works = 0;
    host_free(node->host);
    node->host = NULL;
}

static inline void stage_fini(struct stage *stage)
{
    for (size_t i = 0; i < stage->n_nodes; i++) {
        stage_kill(&stage->node[i]);
        key_free(stage->node[i].key);
        stage_disk_fini(&stage->disk[i]);
    }
}

/* -- Trainers -------------------------------------------------------------------------------------- */

static inline void stage_tell(struct stage_node *node, io_link link, const void *bytes, size_t n)
{
    uint64_t *aligned = malloc(n + 8);
    ck_assert_ptr_nonnull(aligned);
    memcpy(aligned, bytes, n);
    stage_give(node, &(struct io_event){.kind = IO_MESSAGE, .link = link, .bytes = (uint8_t *)aligned, .n_bytes = n});
    free(aligned);
}

static inline void stage_link_up(struct stage_node *node, io_link link, uint8_t peer)
{
    stage_give(node, &(struct io_event){.kind = IO_LINK_UP, .link = link, .peer = {{peer}}, .is_incoming = true});
}

static inline void stage_link_down(struct stage_node *node, io_link link)
{
    stage_give(node, &(struct io_event){.kind = IO_LINK_DOWN, .link = link, .err = HANSE_ECLOSED});
}

static inline void stage_hello(struct stage_node *node, io_link link, const struct run *run)
{
    struct message_hello hello = {.role = ROLE_TRAINER, .version = MESSAGE_VERSION, .run = run->id};
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    message_hello_encode(&hello, &message);
    stage_tell(node, link, message.bytes, message.n);
    buf_fini(&message);
}

/** A link of a trainer that has said HELLO; forgets what was sent so far. */
static inline void stage_trainer(struct stage_node *node, io_link link, uint8_t peer, const struct run *run)
{
    stage_link_up(node, link, peer);
    stage_hello(node, link, run);
    stage_forget_sent(node);
}

static inline void stage_ask(struct stage_node *node, io_link link, const struct message_request *m)
{
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    message_request_encode(m, &message);
    stage_tell(node, link, message.bytes, message.n);
    buf_fini(&message);
}

#endif
