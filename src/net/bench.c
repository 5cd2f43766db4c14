/* net/bench.c - two small machines that keep one link busy. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "net/bench.h"
#include "net/net.h"

#define WINDOW 8 /* messages under way, as a trainer has calls */
#define SHORT_BYTES 64
#define ANSWER_BYTES 8

enum phase { OPENING, STREAMING, EMPTYING, BOUNCING };

struct source {
    const struct io *io;
    struct addr to;
    struct peer_id expect;
    uint64_t phase_us;
    size_t message_bytes;
    io_link link;
    enum phase phase;
    unsigned n_under_way;
    uint64_t began_us, n_done;
    struct net_bench *out;
};

struct sink {
    const struct io *io;
};

static void send(const struct io *io, io_link link, size_t n, bool is_urgent)
{
    struct buf message;
    buf_init(&message, n);
    uint8_t *bytes = buf_extend(&message, n);
    if (bytes)
        memset(bytes, 1, n);
    io->ops->link_send(io->ctx, link, &message, is_urgent);
}

static void sink_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct sink *sink = self;
    (void)now_us;
    if (event->kind == IO_MESSAGE)
        send(sink->io, event->link, event->n_bytes == SHORT_BYTES ? SHORT_BYTES : ANSWER_BYTES, true);
    if (event->kind == IO_LINK_DOWN)
        sink->io->ops->stopped(sink->io->ctx, 0);
}

static void start_phase(struct source *s, enum phase phase, uint64_t now_us)
{
    s->phase = phase;
    s->began_us = now_us;
    s->n_done = 0;
}

static void source_step(struct source *s, uint64_t now_us)
{
    double seconds = (double)(now_us - s->began_us) * 1e-6;
    bool is_over = now_us - s->began_us > s->phase_us;
    if (s->phase == STREAMING && is_over) {
        s->out->bytes_per_s = (double)(s->n_done * s->message_bytes) / seconds;
        start_phase(s, EMPTYING, now_us);
    }
    if (s->phase == EMPTYING && s->n_under_way == 0)
        start_phase(s, BOUNCING, now_us);
    if (s->phase == BOUNCING && is_over && s->n_done > 0) {
        s->out->round_trips_per_s = (double)s->n_done / seconds;
        s->io->ops->stopped(s->io->ctx, 0);
        return;
    }
    unsigned window = s->phase == STREAMING ? WINDOW : s->phase == BOUNCING ? 1 : 0;
    for (; s->n_under_way < window; s->n_under_way++)
        send(s->io, s->link, s->phase == STREAMING ? s->message_bytes : SHORT_BYTES, false);
}

static void source_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct source *s = self;
    switch (event->kind) {
    case IO_START:
        s->began_us = now_us;
        s->link = s->io->ops->link_open(s->io->ctx, &s->to, &s->expect);
        break;
    case IO_LINK_UP:
        s->out->open_us = (double)(now_us - s->began_us);
        start_phase(s, STREAMING, now_us);
        source_step(s, now_us);
        break;
    case IO_MESSAGE:
        s->n_done++;
        s->n_under_way--;
        source_step(s, now_us);
        break;
    case IO_LINK_DOWN:
        s->io->ops->stopped(s->io->ctx, event->err ? event->err : HANSE_ECLOSED);
        break;
    default:
        break;
    }
}

static uint64_t never(const void *self)
{
    (void)self;
    return IO_NEVER;
}

struct runner {
    struct net *net;
    struct io_machine machine;
    int result;
};

static void *run(void *arg)
{
    struct runner *runner = arg;
    runner->result = net_run(runner->net, &runner->machine);
    return NULL;
}

static int run_both(struct net *a, struct net *b, struct source *source, struct sink *sink)
{
    struct runner near = {.net = a, .machine = {.event = source_event, .deadline = never, .self = source}};
    struct runner far = {.net = b, .machine = {.event = sink_event, .deadline = never, .self = sink}};
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, &far))
        return HANSE_EFULL;
    run(&near);
    pthread_join(thread, NULL);
    return near.result;
}

static int new_peer(uint8_t seed_byte, struct key **key, struct net **net)
{
    uint8_t seed[KEY_SEED_BYTES];
    memset(seed, seed_byte, sizeof seed);
    int err = key_new(seed, key);
    if (err)
        return err;
    struct net_config config = {.key = *key, .n_ports = 1, .n_workers = 1};
    err = addr_parse(&config.listen, "127.0.0.1:0");
    return err ? err : net_new(&config, net);
}

int net_bench_link(double seconds, size_t message_bytes, struct net_bench *out)
{
    struct key *key[2] = {NULL, NULL};
    struct net *net[2] = {NULL, NULL};
    struct source source = {.message_bytes = message_bytes, .phase_us = (uint64_t)(seconds * 5e5), .out = out};
    *out = (struct net_bench){0};
    int err = new_peer(1, &key[0], &net[0]);
    if (!err)
        err = new_peer(2, &key[1], &net[1]);
    if (err)
        goto done;
    struct sink sink = {.io = net_io(net[1])};
    source.io = net_io(net[0]);
    source.to = net_address(net[1]);
    source.expect = key_peer_id(key[1]);
    err = run_both(net[0], net[1], &source, &sink);
done:
    net_free(net[0]);
    net_free(net[1]);
    key_free(key[0]);
    key_free(key[1]);
    return err;
}
