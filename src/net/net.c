/* net/net.c - one loop, one machine: its events, its timer, its end. */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/profile.h"
#include "net/address.h"
#include "net/clock.h"
#include "net/loop.h"

#define HOUSEKEEPING_MS 250
#define FLUSH_US 1000000 /* how long net_run() goes on for what is queued, once the machine is done */
#define FREE_US 100000

/* ---- events ---- */

void loop_event(struct net *net, struct io_event *event)
{
    assert(!net->is_in_event);
    if (net->is_stopped || !net->machine)
        return;
    net->is_in_event = true;
    profile_enter(PROFILE_MESSAGE);
    net->machine->event(net->machine->self, net_now_us(), event);
    net->is_in_event = false;
    net->is_deadline_due = true;
    if (net->is_stopped)
        uv_stop(&net->loop);
}

static void on_deadline(uv_timer_t *timer)
{
    loop_event(timer->data, &(struct io_event){.kind = IO_TICK});
}

/* Milliseconds rounded up: the machine may be woken early, but then it would only ask again. */
static void set_deadline(struct net *net)
{
    uint64_t at_us = net->machine->deadline(net->machine->self);
    net->is_deadline_due = false;
    if (at_us == IO_NEVER) {
        uv_timer_stop(&net->deadline);
        return;
    }
    uint64_t now_us = net_now_us();
    uint64_t wait_ms = at_us > now_us ? (at_us - now_us + 999) / 1000 : 0;
    uv_update_time(&net->loop);
    uv_timer_start(&net->deadline, on_deadline, wait_ms, 0);
}

/* Runs before each wait of the loop. */
static void on_settle(uv_prepare_t *prepare)
{
    struct net *net = prepare->data;
    link_settle(net);
    if (net->is_deadline_due && net->machine && !net->is_stopped)
        set_deadline(net);
    profile_enter(PROFILE_IDLE);
}

static void on_housekeeping(uv_timer_t *timer)
{
    clock_follow();
    link_housekeep(timer->data, net_now_us());
}

static void on_work_done(uv_async_t *async)
{
    struct net *net = async->data;
    struct io_work *work = workers_take_done(net->workers);
    while (work) {
        struct io_work *next = work->next; /* the machine may free it or use it again */
        loop_event(net, &(struct io_event){.kind = IO_WORK_DONE, .work = work});
        work = next;
    }
}

static void wake(void *arg)
{
    uv_async_send(arg);
}

/* ---- signals ---- */

static _Atomic(uv_async_t *) signal_target;
static volatile sig_atomic_t n_signals;

/* Not uv_signal_t: the second one must end the process even while the loop is held up by the machine. */
static void on_signal(int number)
{
    if (n_signals++)
        _exit(128 + number);
    int before = errno;
    uv_async_t *target = signal_target;
    if (target)
        uv_async_send(target); /* documented as safe in a signal handler */
    errno = before;
}

static void on_stop_asked(uv_async_t *async)
{
    struct net *net = async->data;
    log_info("stopping; once more to stop at once");
    loop_event(net, &(struct io_event){.kind = IO_STOP});
}

static void catch_signals(struct net *net, bool is_on)
{
    struct sigaction action = {.sa_flags = SA_RESTART};
    action.sa_handler = is_on ? on_signal : SIG_DFL;
    sigfillset(&action.sa_mask);
    n_signals = 0;
    signal_target = is_on ? &net->stop_asked : NULL;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- effects ---- */

static void io_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    udp_send(ctx, to, bytes, n);
}

static io_link io_link_open(void *ctx, const struct addr *to, const struct peer_id *expect)
{
    return link_open(ctx, to, expect);
}

static void io_link_send(void *ctx, io_link link, struct buf *message, bool is_urgent)
{
    link_send(ctx, link, message, is_urgent);
}

static size_t io_link_queued(void *ctx, io_link link)
{
    return link_queued(ctx, link);
}

static void io_link_keep(void *ctx, io_link link, uint64_t until_us)
{
    link_keep(ctx, link, until_us);
}

static void io_link_close(void *ctx, io_link link)
{
    link_close(ctx, link);
}

static void io_do_work(void *ctx, struct io_work *work)
{
    struct net *net = ctx;
    workers_push(net->workers, work);
}

static void io_stopped(void *ctx, int err)
{
    struct net *net = ctx;
    net->is_stopped = true;
    net->result = err;
    uv_stop(&net->loop);
}

static const struct io_ops ops = {
    .datagram = io_datagram,
    .link_open = io_link_open,
    .link_send = io_link_send,
    .link_queued = io_link_queued,
    .link_keep = io_link_keep,
    .link_close = io_link_close,
    .work = io_do_work,
    .stopped = io_stopped,
};

/* ---- making, running, ending ---- */

static int start_loop(struct net *net)
{
    if (uv_loop_init(&net->loop))
        return HANSE_EFULL;
    net->has_loop = true;
    uv_prepare_init(&net->loop, &net->settle);
    uv_timer_init(&net->loop, &net->deadline);
    uv_timer_init(&net->loop, &net->housekeeping);
    if (uv_async_init(&net->loop, &net->work_done, on_work_done) || uv_async_init(&net->loop, &net->stop_asked, on_stop_asked))
        return HANSE_EFULL;
    net->settle.data = net->deadline.data = net->housekeeping.data = net->work_done.data = net->stop_asked.data = net;
    uv_prepare_start(&net->settle, on_settle);
    uv_timer_start(&net->housekeeping, on_housekeeping, HOUSEKEEPING_MS, HOUSEKEEPING_MS);
    return 0;
}

static int start_sockets(struct net *net)
{
    struct address_pair pair;
    unsigned n_ports = net->config.n_ports ? net->config.n_ports : 1;
    int err = net->config.listen.family ? address_listen(&net->config.listen, n_ports, &pair) : address_bind_any(&pair);
    if (err)
        return err;
    net->address = pair.at;
    net->is_udp_v6 = pair.at.family == 6;
    err = udp_start(net, pair.udp);
    if (err) {
        if (pair.tcp >= 0)
            close(pair.tcp);
        return err;
    }
    return pair.tcp >= 0 ? listener_start(net, pair.tcp) : 0;
}

static void set_defaults(struct net_config *config)
{
    if (!config->handshake_us)
        config->handshake_us = 10000000;
    if (!config->probe_us)
        config->probe_us = 15000000;
    if (!config->silence_us)
        config->silence_us = 45000000;
    if (!config->n_incoming_max)
        config->n_incoming_max = 1024;
}

int net_new(const struct net_config *config, struct net **out)
{
    int err = HANSE_ENOMEM;
    struct net *net = calloc(1, sizeof *net);
    if (!net)
        return err;
    net->config = *config;
    set_defaults(&net->config);
    net->io = (struct io){.ops = &ops, .ctx = net};
    net->assembly.max = LOOP_ASSEMBLY_MAX;
    net->in = malloc(LOOP_IN_BYTES);
    net->stage = malloc(FRAME_BYTES);
    net->out = (struct tls_out){.bytes = malloc(LOOP_OUT_BYTES), .max = LOOP_OUT_BYTES};
    if (!net->in || !net->stage || !net->out.bytes)
        goto fail;
    signal(SIGPIPE, SIG_IGN); /* a peer that is gone is an error of its link, not the end of us */
    err = start_loop(net);
    if (err)
        goto fail;
    err = start_sockets(net);
    if (err)
        goto fail;
    err = tls_context_new(config->key, &net->tls);
    if (err)
        goto fail;
    err = workers_new(config->n_workers ? config->n_workers : 1, config->cores, config->is_alone, wake, &net->work_done,
                      &net->workers);
    if (err)
        goto fail;
    *out = net;
    return 0;
fail:
    net_free(net);
    return err;
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void finish_loop(struct net *net)
{
    link_close_all(net, true);
    link_settle(net);
    uv_walk(&net->loop, close_handle, NULL);
    while (uv_run(&net->loop, UV_RUN_DEFAULT))
        ;
    int busy = uv_loop_close(&net->loop);
    assert(!busy);
}

void net_free(struct net *net)
{
    if (!net)
        return;
    net->is_stopped = true;
    workers_free(net->workers); /* first: its threads wake the loop */
    if (net->has_loop)
        finish_loop(net);
    tls_context_free(net->tls);
    free(net->links.slot);
    free(net->udp_in);
    free(net->in);
    free(net->stage);
    free(net->out.bytes);
    free(net);
}

/* Sends what is queued and says goodbye, for a second at most; the machine hears nothing any more. */
static void flush(struct net *net)
{
    uint64_t end_us = net_now_us() + FLUSH_US;
    if (net->has_listener && !uv_is_closing((uv_handle_t *)&net->listener))
        uv_close((uv_handle_t *)&net->listener, NULL);
    link_close_all(net, false);
    while (net->links.n_used > 0 && net_now_us() < end_us)
        uv_run(&net->loop, UV_RUN_ONCE); /* housekeeping wakes it four times a second */
    link_close_all(net, true);
}

int net_run(struct net *net, const struct io_machine *machine)
{
    net->machine = machine;
    net->is_stopped = false;
    net->result = 0;
    net->housekeeping_us = net_now_us();
    if (net->config.catch_signals)
        catch_signals(net, true);
    profile_thread("loop");
    loop_event(net, &(struct io_event){.kind = IO_START});
    while (!net->is_stopped)
        uv_run(&net->loop, UV_RUN_DEFAULT);
    workers_drain(net->workers);
    flush(net);
    if (net->config.catch_signals)
        catch_signals(net, false);
    net->machine = NULL;
    return net->result;
}

const struct io *net_io(struct net *net)
{
    return &net->io;
}

struct team *net_team(struct net *net)
{
    return workers_team(net->workers);
}

struct addr net_address(const struct net *net)
{
    return net->address;
}

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

struct net_stats net_stats(const struct net *net)
{
    return (struct net_stats){
        .n_bytes_in = get(&net->n_bytes_in),
        .n_bytes_out = get(&net->n_bytes_out),
        .n_messages_in = get(&net->n_messages_in),
        .n_messages_out = get(&net->n_messages_out),
        .n_datagrams_in = get(&net->n_datagrams_in),
        .n_datagrams_out = get(&net->n_datagrams_out),
        .n_links = get(&net->n_links),
    };
}
