/* net/nest.c - places, the threads that serve them, and what they are asked to do. */
#include "net/nest.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "net/address.h"
#include "net/clock.h"
#include "net/deadlines.h"
#include "net/net.h"

#define FILES_BESIDES 64 /* what a process has open anyhow, and a few for each thread */
#define THREADS_MAX 64
#define READY_MAX 64 /* places looked after between two looks at the clock's heap */
#define IN_MAX 32    /* datagrams taken from a socket at once */
#define OUT_MAX 64   /* datagrams gathered for one call */
#define OUT_BYTES IO_DATAGRAM_MAX
#define SOCKET_BYTES (1 << 20) /* a burst of answers to one machine must not overflow */
#define FOLLOW_US 1000000

struct call {
    struct call *next;
    size_t place;
    void (*run)(void *arg, uint64_t now_us);
    void *arg;
};

struct place {
    struct deadline deadline; /* first: the heap's members are places */
    struct nest_thread *thread;
    int fd; /* -1: cleared */
    struct addr addr;
    struct io io;
    const struct io_machine *machine;
    io_link n_links; /* opened so far; */
    io_link n_down;  /* of which so many were reported down */
    struct io_work *done_first, *done_last;
};

struct nest_thread {
    struct nest *nest;
    pthread_t thread;
    bool has_started;
    int epoll, event;
    struct deadlines deadlines;
    pthread_mutex_t lock; /* the next three */
    struct call *call_first, *call_last;
    bool is_over;
    struct nest_stats stats;
    /* Datagrams in. */
    struct mmsghdr in[IN_MAX];
    struct iovec in_bytes[IN_MAX];
    struct sockaddr_storage in_name[IN_MAX];
    uint64_t in_room[IN_MAX][(IO_DATAGRAM_MAX + 8) / 8]; /* one byte more, at least, than we take */
    /* And out, all from one place. */
    size_t n_out;
    struct mmsghdr out[OUT_MAX];
    struct iovec out_bytes[OUT_MAX];
    struct sockaddr_storage out_name[OUT_MAX];
    uint8_t out_room[OUT_MAX][OUT_BYTES];
};

struct nest {
    size_t n_places, n_places_max;
    struct place *place;
    unsigned n_threads;
    struct nest_thread *thread;
};

/* ---- effects ---- */

/* A full socket loses what is left, as any router may. */
static void flush(struct place *place)
{
    struct nest_thread *t = place->thread;
    size_t n_sent = 0;
    while (n_sent < t->n_out && place->fd >= 0) {
        int n = sendmmsg(place->fd, t->out + n_sent, (unsigned)(t->n_out - n_sent), 0);
        t->stats.n_sends++;
        if (n > 0) {
            t->stats.n_datagrams_out += (uint64_t)n;
            n_sent += (size_t)n;
        } else if (errno != EINTR) {
            t->stats.n_lost_out++; /* an ICMP error of an earlier one, or no room: it is the first that did not go */
            n_sent++;
        }
    }
    t->n_out = 0;
}

static void do_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    struct place *place = ctx;
    struct nest_thread *t = place->thread;
    if (n > OUT_BYTES)
        return;
    if (t->n_out == OUT_MAX)
        flush(place);
    struct msghdr *head = &t->out[t->n_out].msg_hdr;
    head->msg_namelen = address_to_socket(to, place->addr.family == 6, &t->out_name[t->n_out]);
    if (head->msg_namelen == 0 || (to->family == 6 && place->addr.family != 6))
        return;
    memcpy(t->out_room[t->n_out], bytes, n);
    t->out_bytes[t->n_out].iov_len = n;
    t->n_out++;
}

static io_link do_link_open(void *ctx, const struct addr *to, const struct peer_id *expect)
{
    struct place *place = ctx;
    (void)to;
    (void)expect;
    return ++place->n_links;
}

static void do_link_send(void *ctx, io_link link, struct buf *message, bool is_urgent)
{
    (void)ctx;
    (void)link;
    (void)is_urgent;
    buf_fini(message);
}

static size_t do_link_queued(void *ctx, io_link link)
{
    (void)ctx;
    (void)link;
    return 0;
}

static void do_link_keep(void *ctx, io_link link, uint64_t until_us)
{
    (void)ctx;
    (void)link;
    (void)until_us;
}

static void do_link_close(void *ctx, io_link link)
{
    (void)ctx;
    (void)link;
}

static void do_work(void *ctx, struct io_work *work)
{
    struct place *place = ctx;
    work->run(work);
    work->next = NULL;
    if (place->done_last)
        place->done_last->next = work;
    else
        place->done_first = work;
    place->done_last = work;
}

static void do_stopped(void *ctx, int err)
{
    struct place *place = ctx;
    (void)err;
    place->machine = NULL;
}

static const struct io_ops ops = {
    .datagram = do_datagram,
    .link_open = do_link_open,
    .link_send = do_link_send,
    .link_queued = do_link_queued,
    .link_keep = do_link_keep,
    .link_close = do_link_close,
    .work = do_work,
    .stopped = do_stopped,
};

/* ---- events ---- */

static void tell(struct place *place, const struct io_event *event)
{
    if (place->machine)
        place->machine->event(place->machine->self, net_now_us(), event);
}

/* What effects left to be said: links that are not to be had, work that was done. */
static void tell_rest(struct place *place)
{
    while (place->n_down < place->n_links || place->done_first) {
        if (place->n_down < place->n_links) {
            tell(place, &(struct io_event){.kind = IO_LINK_DOWN, .link = ++place->n_down, .err = HANSE_EUNSUPPORTED});
            continue;
        }
        struct io_work *work = place->done_first;
        place->done_first = work->next;
        if (!place->done_first)
            place->done_last = NULL;
        tell(place, &(struct io_event){.kind = IO_WORK_DONE, .work = work});
    }
}

/* After anything that happened to a place.  A deadline that has passed counts from now, so that a machine which wants to be woken
 * again and again lets others come first. */
static void settle(struct place *place)
{
    tell_rest(place);
    flush(place);
    uint64_t at_us = place->machine ? place->machine->deadline(place->machine->self) : IO_NEVER, now_us = net_now_us();
    deadlines_set(&place->thread->deadlines, &place->deadline, at_us > now_us ? at_us : now_us);
}

static void receive(struct place *place)
{
    struct nest_thread *t = place->thread;
    for (size_t i = 0; i < IN_MAX; i++)
        t->in[i].msg_hdr.msg_namelen = sizeof t->in_name[i];
    int n = recvmmsg(place->fd, t->in, IN_MAX, MSG_DONTWAIT, NULL);
    t->stats.n_receives++;
    for (int i = 0; i < n; i++) {
        size_t n_bytes = t->in[i].msg_len;
        t->stats.n_datagrams_in++;
        if (n_bytes == 0 || n_bytes > IO_DATAGRAM_MAX)
            continue;
        struct io_event event = {.kind = IO_DATAGRAM, .bytes = (const uint8_t *)t->in_room[i], .n_bytes = n_bytes};
        event.from = address_from_socket((const struct sockaddr *)&t->in_name[i]);
        tell(place, &event);
    }
    settle(place);
}

static void tick(struct nest_thread *t)
{
    struct deadline *first;
    uint64_t now_us = net_now_us();
    while ((first = deadlines_first(&t->deadlines)) && first->at_us < now_us) {
        struct place *place = (struct place *)first;
        tell(place, &(struct io_event){.kind = IO_TICK});
        settle(place);
    }
}

static void run_calls(struct nest_thread *t)
{
    uint64_t n;
    if (read(t->event, &n, sizeof n) < 0)
        assert(errno == EAGAIN || errno == EINTR);
    pthread_mutex_lock(&t->lock);
    struct call *call = t->call_first;
    t->call_first = t->call_last = NULL;
    pthread_mutex_unlock(&t->lock);
    while (call) {
        struct call *next = call->next;
        call->run(call->arg, net_now_us());
        settle(&t->nest->place[call->place]);
        free(call);
        call = next;
    }
}

static bool is_over(struct nest_thread *t)
{
    pthread_mutex_lock(&t->lock);
    bool is = t->is_over;
    pthread_mutex_unlock(&t->lock);
    return is;
}

/* Milliseconds rounded up: a machine may be woken early, but then it would only ask again. */
static int wait_ms(const struct nest_thread *t)
{
    const struct deadline *first = deadlines_first(&t->deadlines);
    uint64_t now_us = net_now_us(), ms;
    if (!first)
        return FOLLOW_US / 1000;
    ms = first->at_us > now_us ? (first->at_us - now_us + 999) / 1000 : 0;
    return ms < FOLLOW_US / 1000 ? (int)ms : FOLLOW_US / 1000;
}

static void *serve(void *arg)
{
    struct nest_thread *t = arg;
    struct epoll_event ready[READY_MAX];
    uint64_t followed_us = 0;
    while (!is_over(t)) {
        int n = epoll_wait(t->epoll, ready, READY_MAX, wait_ms(t));
        t->stats.n_waits++;
        for (int i = 0; i < n; i++) {
            struct place *place = ready[i].data.ptr;
            if (!place)
                run_calls(t);
            else if (place->fd >= 0)
                receive(place);
        }
        tick(t);
        if (t == t->nest->thread && net_now_us() - followed_us >= FOLLOW_US) {
            clock_follow();
            followed_us = net_now_us();
        }
    }
    return NULL;
}

/* ---- places ---- */

int nest_bind(struct nest *nest, const struct addr *at, size_t *place)
{
    if (nest->n_places == nest->n_places_max)
        return HANSE_EFULL;
    struct place *p = &nest->place[nest->n_places];
    int size = SOCKET_BYTES;
    *p = (struct place){.thread = &nest->thread[nest->n_places % nest->n_threads], .addr = *at, .io = {.ops = &ops, .ctx = p}};
    p->addr.port = 0;
    int err = address_bind_udp(&p->addr, &p->fd);
    if (err)
        return err;
    setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    *place = nest->n_places++;
    return 0;
}

struct addr nest_address(const struct nest *nest, size_t place)
{
    assert(place < nest->n_places_max && nest->place[place].thread);
    return nest->place[place].addr;
}

const struct io *nest_io(const struct nest *nest, size_t place)
{
    assert(place < nest->n_places_max && nest->place[place].thread);
    return &nest->place[place].io;
}

int nest_call(struct nest *nest, size_t place, void (*run)(void *arg, uint64_t now_us), void *arg)
{
    struct nest_thread *t = nest->place[place].thread;
    struct call *call = malloc(sizeof *call);
    uint64_t one = 1;
    if (!call)
        return HANSE_ENOMEM;
    *call = (struct call){.place = place, .run = run, .arg = arg};
    pthread_mutex_lock(&t->lock);
    if (t->call_last)
        t->call_last->next = call;
    else
        t->call_first = call;
    t->call_last = call;
    pthread_mutex_unlock(&t->lock);
    ssize_t n = write(t->event, &one, sizeof one);
    assert(n == sizeof one);
    return 0;
}

void nest_seat(struct nest *nest, size_t place, const struct io_machine *machine)
{
    struct place *p = &nest->place[place];
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = p};
    bool is_new = !p->machine;
    assert(p->fd >= 0);
    p->machine = machine;
    if (is_new)
        epoll_ctl(p->thread->epoll, EPOLL_CTL_ADD, p->fd, &wanted);
}

void nest_clear(struct nest *nest, size_t place)
{
    struct place *p = &nest->place[place];
    if (p->fd >= 0)
        close(p->fd); /* which takes it from what is waited for, too */
    p->fd = -1;
    p->machine = NULL;
    deadlines_set(&p->thread->deadlines, &p->deadline, IO_NEVER);
}

/* ---- making, ending ---- */

static int allow_files(size_t n)
{
    struct rlimit files;
    rlim_t wanted = (rlim_t)n + FILES_BESIDES;
    if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur >= wanted)
        return 0;
    rlim_t before = files.rlim_cur;
    files.rlim_cur = wanted;
    if (files.rlim_max < wanted)
        files.rlim_max = wanted; /* granted to root */
    if (setrlimit(RLIMIT_NOFILE, &files) == 0)
        return 0;
    log_error("%zu sockets: a process may have %llu files open here; raise that with 'ulimit -n %llu' or in "
              "/etc/security/limits.conf, or ask for fewer",
              n, (unsigned long long)before, (unsigned long long)wanted);
    return HANSE_EFULL;
}

static void point_buffers(struct nest_thread *t)
{
    for (size_t i = 0; i < IN_MAX; i++) {
        t->in_bytes[i] = (struct iovec){t->in_room[i], sizeof t->in_room[i]};
        t->in[i].msg_hdr = (struct msghdr){.msg_name = &t->in_name[i], .msg_iov = &t->in_bytes[i], .msg_iovlen = 1};
    }
    for (size_t i = 0; i < OUT_MAX; i++) {
        t->out_bytes[i] = (struct iovec){t->out_room[i], 0};
        t->out[i].msg_hdr = (struct msghdr){.msg_name = &t->out_name[i], .msg_iov = &t->out_bytes[i], .msg_iovlen = 1};
    }
}

static int start(struct nest_thread *t)
{
    struct epoll_event wanted = {.events = EPOLLIN};
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t->epoll < 0 || t->event < 0 || epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->event, &wanted))
        return HANSE_EFULL;
    point_buffers(t);
    int err = deadlines_init(&t->deadlines, t->nest->n_places_max);
    if (err)
        return err;
    t->has_started = pthread_create(&t->thread, NULL, serve, t) == 0;
    return t->has_started ? 0 : HANSE_EFULL;
}

int nest_new(size_t n_places, unsigned n_threads, struct nest **out)
{
    int err = allow_files(n_places);
    if (err)
        return err;
    assert(n_threads >= 1 && n_threads <= THREADS_MAX);
    err = HANSE_ENOMEM;
    struct nest *nest = calloc(1, sizeof *nest);
    if (!nest)
        return err;
    nest->n_places_max = n_places;
    nest->place = calloc(n_places, sizeof *nest->place);
    nest->thread = calloc(n_threads, sizeof *nest->thread);
    if (!nest->place || !nest->thread)
        goto fail;
    for (; nest->n_threads < n_threads; nest->n_threads++) {
        struct nest_thread *t = &nest->thread[nest->n_threads];
        t->nest = nest;
        t->epoll = t->event = -1;
        pthread_mutex_init(&t->lock, NULL);
    }
    for (unsigned i = 0; i < n_threads; i++) {
        err = start(&nest->thread[i]);
        if (err)
            goto fail;
    }
    *out = nest;
    return 0;
fail:
    nest_free(nest);
    return err;
}

static void stop(struct nest_thread *t)
{
    uint64_t one = 1;
    if (!t->has_started)
        return;
    pthread_mutex_lock(&t->lock);
    t->is_over = true;
    pthread_mutex_unlock(&t->lock);
    ssize_t n = write(t->event, &one, sizeof one);
    assert(n == sizeof one);
    pthread_join(t->thread, NULL);
}

static void fini_thread(struct nest_thread *t)
{
    while (t->call_first) {
        struct call *call = t->call_first;
        t->call_first = call->next;
        free(call);
    }
    if (t->event >= 0)
        close(t->event);
    if (t->epoll >= 0)
        close(t->epoll);
    deadlines_fini(&t->deadlines);
    pthread_mutex_destroy(&t->lock);
}

void nest_free(struct nest *nest)
{
    if (!nest)
        return;
    for (unsigned i = 0; i < nest->n_threads; i++)
        stop(&nest->thread[i]);
    for (size_t i = 0; i < nest->n_places; i++)
        if (nest->place[i].fd >= 0)
            close(nest->place[i].fd);
    for (unsigned i = 0; i < nest->n_threads; i++)
        fini_thread(&nest->thread[i]);
    free(nest->thread);
    free(nest->place);
    free(nest);
}

struct nest_stats nest_stats(const struct nest *nest)
{
    struct nest_stats sum = {0};
    for (unsigned i = 0; i < nest->n_threads; i++) {
        const struct nest_stats *s = &nest->thread[i].stats;
        sum.n_datagrams_in += s->n_datagrams_in;
        sum.n_datagrams_out += s->n_datagrams_out;
        sum.n_lost_out += s->n_lost_out;
        sum.n_waits += s->n_waits;
        sum.n_receives += s->n_receives;
        sum.n_sends += s->n_sends;
    }
    return sum;
}
