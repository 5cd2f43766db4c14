/* Links between two nets on two threads, and what strangers at the port cannot do. */
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/random.h"
#include "net_play.h"
#include "net_rogue.h"
#include "net_stranger.h"

/* ---- thousands of messages both ways ---- */

#define N_MESSAGES 2000

struct exchange {
    struct addr to;
    bool is_caller, is_sent;
    struct rng rng;
    bool has_come[N_MESSAGES];
    size_t n_come;
    struct exchange *other;
};

static void send_hashed(struct peer *peer, struct rng *rng, uint32_t i)
{
    static const size_t sizes[] = {40, 400, 5000, 16400, 70000, 300000};
    size_t n = i % 500 == 499 ? 5000000 : 40 + rng_below(rng, sizes[rng_below(rng, i % 20 ? 4 : 6)]);
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    uint8_t *bytes = buf_extend(&message, n);
    memset(bytes, (int)(i & 255), n);
    memcpy(bytes + HASH_BYTES, &i, sizeof i);
    for (size_t k = 36; k < n; k += 97)
        bytes[k] = (uint8_t)rng_u32(rng);
    struct hash hash = hash_bytes(bytes + HASH_BYTES, n - HASH_BYTES);
    memcpy(bytes, hash.byte, HASH_BYTES);
    peer->io->ops->link_send(peer->io->ctx, peer->link, &message, n < 5000 && rng_below(rng, 3) == 0);
}

static void take_hashed(struct exchange *x, const struct io_event *event)
{
    uint32_t i;
    ck_assert_uint_ge(event->n_bytes, 40);
    ck_assert_uint_eq((uintptr_t)event->bytes % 8, 0);
    struct hash hash = hash_bytes(event->bytes + HASH_BYTES, event->n_bytes - HASH_BYTES);
    ck_assert_mem_eq(hash.byte, event->bytes, HASH_BYTES);
    memcpy(&i, event->bytes + HASH_BYTES, sizeof i);
    ck_assert_uint_lt(i, N_MESSAGES);
    ck_assert(!x->has_come[i]);
    x->has_come[i] = true;
    x->n_come++;
}

/* The callee stops when the caller closes; the caller closes when it has all and has been told that the other has all ("!"). */
static void play_exchange(struct peer *peer, uint64_t now_us, const struct io_event *event)
{
    struct exchange *x = peer->arg;
    (void)now_us;
    if (event->kind == IO_START && x->is_caller)
        peer_open(peer, x->to, NULL);
    if (event->kind == IO_LINK_UP) {
        ck_assert_int_eq(event->is_incoming, !x->is_caller);
        for (uint32_t i = 0; i < N_MESSAGES; i++)
            send_hashed(peer, &x->rng, i);
    }
    if (event->kind == IO_MESSAGE && event->n_bytes == 1)
        x->is_sent = true;
    else if (event->kind == IO_MESSAGE) {
        take_hashed(x, event);
        if (x->n_come == N_MESSAGES)
            peer_send(peer, event->link, "!", 1, true);
    }
    if (event->kind == IO_MESSAGE && x->is_caller && x->is_sent && x->n_come == N_MESSAGES)
        peer->io->ops->link_close(peer->io->ctx, peer->link);
    if (event->kind == IO_LINK_DOWN)
        peer_stop(peer, 0);
}

START_TEST(messages_of_all_sizes_arrive_both_ways)
{
    struct peer a, b;
    static struct exchange xa, xb;
    xa = xb = (struct exchange){0};
    peer_init(&a, 1);
    peer_init(&b, 2);
    a.limit_us = b.limit_us = 2 * PEER_LIMIT_US;
    rng_init(&xa.rng, (uint64_t)_i, "a");
    rng_init(&xb.rng, (uint64_t)_i, "b");
    xa.is_caller = true;
    xa.to = net_address(b.net);
    a.arg = &xa;
    b.arg = &xb;
    a.play = b.play = play_exchange;
    peer_start(&b);
    ck_assert_int_eq(peer_run(&a), 0);
    ck_assert_int_eq(peer_join(&b), 0);
    ck_assert_uint_eq(xa.n_come, N_MESSAGES);
    ck_assert_uint_eq(xb.n_come, N_MESSAGES);
    ck_assert_int_eq(a.down_err, 0);
    ck_assert_int_eq(b.down_err, HANSE_ECLOSED);
    struct peer_id key_a = key_peer_id(a.key), key_b = key_peer_id(b.key);
    ck_assert(peer_id_equal(&a.who, &key_b));
    ck_assert(peer_id_equal(&b.who, &key_a));
    struct net_stats stats = net_stats(a.net);
    ck_assert_uint_eq(stats.n_messages_in, N_MESSAGES + 1);
    ck_assert_uint_eq(stats.n_messages_out, N_MESSAGES + 1);
    ck_assert_uint_gt(stats.n_bytes_in, 20000000);
    ck_assert_uint_eq(stats.n_links, 0);
    peer_fini(&a);
    peer_fini(&b);
}
END_TEST

/* ---- opening and failing to ---- */

struct call {
    struct addr to;
    struct peer_id expect;
    bool has_expect, in_effect;
};

/* Opens, notes how it ends, stops at once after that; an event inside the effect would be a broken promise. */
static void play_call(struct peer *peer, uint64_t now_us, const struct io_event *event)
{
    struct call *call = peer->arg;
    (void)now_us;
    ck_assert(!call->in_effect);
    if (event->kind == IO_START) {
        call->in_effect = true;
        io_link link = peer_open(peer, call->to, call->has_expect ? &call->expect : NULL);
        ck_assert_uint_ne(link, 0);
        call->in_effect = false;
    }
    if (event->kind == IO_LINK_UP || event->kind == IO_LINK_DOWN)
        peer_stop(peer, 0);
}

static int call(struct peer *a, struct call *c)
{
    a->arg = c;
    a->play = play_call;
    return peer_run(a);
}

static void play_answer(struct peer *peer, uint64_t now_us, const struct io_event *event)
{
    (void)now_us;
    if (event->kind == IO_LINK_DOWN)
        peer_stop(peer, 0);
}

START_TEST(the_expected_peer_is_accepted_and_another_is_not)
{
    struct peer a, b;
    peer_init(&a, 1);
    peer_init(&b, 2);
    struct call c = {.to = net_address(b.net), .expect = key_peer_id(_i ? a.key : b.key), .has_expect = true};
    bool is_over = false;
    b.play = _i ? peer_play_until_told : play_answer;
    b.arg = &is_over;
    peer_start(&b);
    ck_assert_int_eq(call(&a, &c), 0);
    usleep(_i ? 200000 : 0); /* nothing comes, however long it listens */
    peer_tell(&is_over);
    ck_assert_int_eq(peer_join(&b), 0);
    ck_assert_uint_eq(a.n_up, _i ? 0 : 1);
    ck_assert_uint_eq(b.n_up, _i ? 0 : 1);
    ck_assert_uint_eq(b.n_down, _i ? 0 : 1);
    if (_i)
        ck_assert_int_eq(a.down_err, HANSE_EIDENTITY);
    peer_fini(&a);
    peer_fini(&b);
}
END_TEST

START_TEST(nobody_there)
{
    struct peer a;
    struct call c = {0};
    peer_init(&a, 1);
    int fd = stranger_closed(&c.to);
    if (_i == 1)
        c.to.port = 0;
    if (_i == 2)
        c.to.family = 0;
    ck_assert_int_eq(call(&a, &c), 0);
    ck_assert_uint_eq(a.n_up, 0);
    ck_assert_uint_eq(a.n_down, 1);
    ck_assert_int_eq(a.down_err, _i == 0 ? HANSE_EUNREACHABLE : HANSE_EINVAL);
    close(fd);
    peer_fini(&a);
}
END_TEST

START_TEST(a_handshake_has_a_deadline)
{
    struct peer a = {0};
    struct call c = {0};
    struct net_config config = peer_config(&a, 1);
    config.handshake_us = 300000;
    peer_init_with(&a, &config);
    int fd = stranger_deaf(&c.to);
    uint64_t before_us = net_now_us();
    ck_assert_int_eq(call(&a, &c), 0);
    ck_assert_int_eq(a.down_err, HANSE_ETIMEOUT);
    ck_assert_uint_ge(net_now_us() - before_us, 300000);
    ck_assert_uint_lt(net_now_us() - before_us, 9000000); /* 10 s is what it would have by default */
    close(fd);
    peer_fini(&a);
}
END_TEST

/* ---- strangers ---- */

static void serve(struct peer *b, uint64_t handshake_us)
{
    *b = (struct peer){0};
    struct net_config config = peer_config(b, 2);
    config.handshake_us = handshake_us;
    peer_init_with(b, &config);
    b->play = play_answer;
    peer_start(b);
}

/* It goes on serving: an honest peer comes up, the first of whom its machine hears. */
static void check_serves(struct peer *b)
{
    struct peer a;
    struct call c = {.to = net_address(b->net)};
    peer_init(&a, 1);
    ck_assert_int_eq(call(&a, &c), 0);
    ck_assert_uint_eq(a.n_up, 1);
    ck_assert_int_eq(peer_join(b), 0);
    ck_assert_uint_eq(b->n_up, 1);
    ck_assert_uint_eq(b->n_down, 1);
    peer_fini(&a);
    peer_fini(b);
}

START_TEST(garbage_is_shown_out)
{
    struct rng rng;
    struct peer b;
    uint8_t bytes[1000];
    rng_init(&rng, (uint64_t)_i, "garbage");
    rng_bytes(&rng, bytes, sizeof bytes);
    if (_i == 1)
        memcpy(bytes, "GET / HTTP/1.1\r\n\r\n", 18);
    if (_i >= 2) { /* the shape of a TLS record around it */
        bytes[0] = 22;
        bytes[1] = 3;
        bytes[2] = 1;
        bytes[3] = (uint8_t)(_i - 2);
    }
    serve(&b, 0);
    int fd = stranger_dial(net_address(b.net));
    ck_assert_int_eq(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL), sizeof bytes);
    if (!(_i & 1))
        shutdown(fd, SHUT_WR);
    ck_assert(stranger_is_shown_out(fd, STRANGER_MS));
    close(fd);
    check_serves(&b);
}
END_TEST

/* After a handshake's time, which is long enough for the honest one on a busy machine. */
START_TEST(silence_is_shown_out)
{
    struct peer b;
    serve(&b, 3000000);
    int mute = stranger_dial(net_address(b.net)), torn = stranger_dial(net_address(b.net));
    ck_assert_int_eq(send(torn, "\x16\x03\x01", 3, MSG_NOSIGNAL), 3);
    ck_assert(stranger_is_shown_out(mute, STRANGER_MS));
    ck_assert(stranger_is_shown_out(torn, STRANGER_MS));
    close(mute);
    close(torn);
    check_serves(&b);
}
END_TEST

static unsigned count_open(const int *fd, size_t n)
{
    unsigned n_open = 0;
    for (size_t i = 0; i < n; i++)
        n_open += !stranger_is_shown_out(fd[i], 0);
    return n_open;
}

START_TEST(a_flood_is_cut_off)
{
    struct peer b = {0};
    int fd[20];
    bool is_over = false;
    struct net_config config = peer_config(&b, 2);
    config.n_incoming_max = 5;
    config.handshake_us = 10 * PEER_LIMIT_US; /* none of them is late */
    peer_init_with(&b, &config);
    b.play = peer_play_until_told;
    b.arg = &is_over;
    struct addr at = net_address(b.net);
    peer_start(&b);
    for (int i = 0; i < 20; i++)
        fd[i] = stranger_dial(at);
    for (int i = 0; i < STRANGER_MS / 20 && count_open(fd, 20) > 5; i++)
        usleep(20000);
    usleep(100000);
    ck_assert_uint_eq(count_open(fd, 20), 5);
    peer_tell(&is_over);
    ck_assert_int_eq(peer_join(&b), 0);
    for (int i = 0; i < 20; i++)
        close(fd[i]);
    peer_fini(&b);
}
END_TEST

/* ---- peers that prove their key and then misbehave ---- */

/* The bytes, and whether the link comes up first. */
static const struct {
    const char *bytes;
    size_t n;
    unsigned n_up;
} rogue_bytes[] = {
    {"\x04\0\x01\0\x01\0\0\0\x01\0\0\0x", 13, 0},               /* a message before the hello */
    {ROGUE_HELLO ROGUE_HELLO, 24, 1},                           /* two hellos */
    {ROGUE_HELLO "\x04\0\x01\0\x01\0\0\0\x01\0\0\x04x", 25, 1}, /* 64 MiB and a byte */
    {ROGUE_HELLO "\x09\0\0\0\0\0\0\0\0\0\0\0", 24, 1},          /* a kind that is not */
};

START_TEST(wrong_frames_end_the_link_and_nothing_else)
{
    struct peer b;
    struct rogue rogue;
    bool is_over = false;
    peer_init(&b, 2);
    b.play = peer_play_until_told;
    b.arg = &is_over;
    struct addr at = net_address(b.net);
    peer_start(&b);
    ck_assert(rogue_init(&rogue, stranger_dial(at), true));
    rogue_say(&rogue, rogue_bytes[_i].bytes, rogue_bytes[_i].n);
    ck_assert(stranger_is_shown_out(rogue.fd, STRANGER_MS));
    rogue_fini(&rogue);
    peer_tell(&is_over);
    ck_assert_int_eq(peer_join(&b), 0); /* it went on */
    ck_assert_uint_eq(b.n_messages, 0);
    ck_assert_uint_eq(b.n_up, rogue_bytes[_i].n_up);
    ck_assert_uint_eq(b.n_down, b.n_up);
    if (b.n_up)
        ck_assert_int_eq(b.down_err, HANSE_EPROTO);
    peer_fini(&b);
}
END_TEST

struct host {
    int listener;
    bool greets;
};

/* Accepts one connection, proves its key, and then says hello, or nothing. */
static void *host_rogue(void *arg)
{
    struct host *host = arg;
    struct rogue rogue;
    if (rogue_init(&rogue, accept(host->listener, NULL, NULL), false) && host->greets)
        rogue_say(&rogue, ROGUE_HELLO, 12);
    stranger_is_shown_out(rogue.fd, STRANGER_MS);
    rogue_fini(&rogue);
    return NULL;
}

/* In TLS 1.3 a client is done before the server has judged it: only the server's hello makes a link. */
START_TEST(a_link_is_up_only_after_the_peers_hello)
{
    struct peer a = {0};
    struct call c = {0};
    struct host host = {.listener = stranger_deaf(&c.to), .greets = _i};
    pthread_t thread;
    struct net_config config = peer_config(&a, 1);
    config.handshake_us = _i ? 0 : 1000000;
    peer_init_with(&a, &config);
    pthread_create(&thread, NULL, host_rogue, &host);
    ck_assert_int_eq(call(&a, &c), 0);
    ck_assert_uint_eq(a.n_up, _i ? 1 : 0);
    ck_assert_uint_eq(a.n_down, _i ? 0 : 1);
    if (!_i)
        ck_assert_int_eq(a.down_err, HANSE_ETIMEOUT);
    peer_fini(&a);
    pthread_join(thread, NULL);
    close(host.listener);
}
END_TEST

/* ---- peers that vanish ---- */

/* A peer in a process of its own, made before this one has threads. */
static pid_t fork_peer(struct addr *at, bool catches_signals, void (*play)(struct peer *, uint64_t, const struct io_event *))
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct peer b = {0};
        struct net_config config = peer_config(&b, 2);
        config.catch_signals = catches_signals;
        peer_init_with(&b, &config);
        b.play = play;
        *at = net_address(b.net);
        if (write(ends[1], at, sizeof *at) != sizeof *at)
            _exit(99);
        int err = peer_run(&b);
        peer_fini(&b);
        _exit(err ? 1 : 0);
    }
    ck_assert_int_eq(read(ends[0], at, sizeof *at), sizeof *at);
    close(ends[0]);
    close(ends[1]);
    return pid;
}

struct vanish {
    struct call call;
    pid_t pid;
    int signal;
    uint64_t at_us;
};

static void play_vanish(struct peer *peer, uint64_t now_us, const struct io_event *event)
{
    struct vanish *v = peer->arg;
    if (event->kind == IO_START)
        peer_open(peer, v->call.to, NULL);
    if (event->kind == IO_LINK_UP) {
        v->at_us = now_us + 800000; /* long enough for several signs of life to be asked for and given */
        peer->wake_us = v->at_us;
    }
    if (event->kind == IO_TICK && now_us >= peer->wake_us) {
        kill(v->pid, v->signal);
        peer->wake_us = IO_NEVER;
    }
    if (event->kind == IO_LINK_DOWN) {
        ck_assert_uint_ge(now_us, v->at_us);
        peer_stop(peer, 0);
    }
}

START_TEST(a_peer_that_vanishes_is_noticed)
{
    struct peer a = {0};
    struct vanish v = {.signal = _i ? SIGSTOP : SIGKILL};
    v.pid = fork_peer(&v.call.to, false, NULL);
    struct net_config config = peer_config(&a, 1);
    config.probe_us = 200000;
    config.silence_us = 4000000; /* who lives, on a busy machine, does not keep silent for so long */
    peer_init_with(&a, &config);
    a.arg = &v;
    a.play = play_vanish;
    ck_assert_int_eq(peer_run(&a), 0);
    ck_assert_uint_eq(a.n_up, 1);
    ck_assert_uint_eq(a.n_down, 1);
    ck_assert_int_eq(a.down_err, _i ? HANSE_ETIMEOUT : HANSE_ECLOSED);
    kill(v.pid, SIGKILL);
    waitpid(v.pid, NULL, 0);
    peer_fini(&a);
}
END_TEST

/* ---- signals ---- */

static int said[2]; /* the child's word: that it runs, and that it was asked to stop */

static void say(void)
{
    if (write(said[1], "", 1) != 1)
        _exit(98);
}

static void hear(void)
{
    char byte;
    ck_assert_int_eq(read(said[0], &byte, 1), 1);
}

static void play_polite(struct peer *peer, uint64_t now_us, const struct io_event *event)
{
    (void)now_us;
    if (event->kind == IO_START)
        say();
    if (event->kind == IO_STOP)
        peer_stop(peer, 0);
}

static void play_stubborn(struct peer *peer, uint64_t now_us, const struct io_event *event)
{
    (void)peer, (void)now_us;
    if (event->kind == IO_START || event->kind == IO_STOP)
        say();
    if (event->kind == IO_STOP)
        for (;;)
            pause(); /* held up for good */
}

START_TEST(the_first_signal_asks_and_the_second_ends)
{
    struct addr at;
    int status;
    ck_assert_int_eq(pipe(said), 0);
    pid_t pid = fork_peer(&at, true, _i ? play_stubborn : play_polite);
    close(said[1]); /* if it dies, we hear that */
    hear();
    kill(pid, _i == 2 ? SIGTERM : SIGINT);
    if (_i) {
        hear();
        ck_assert_int_eq(waitpid(pid, &status, WNOHANG), 0);
        kill(pid, _i == 2 ? SIGTERM : SIGINT);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), _i == 0 ? 0 : 128 + (_i == 2 ? SIGTERM : SIGINT));
    close(said[0]);
}
END_TEST

/* ---- ending ---- */

static void play_parting(struct peer *peer, uint64_t now_us, const struct io_event *event)
{
    struct call *call = peer->arg;
    (void)now_us;
    if (event->kind == IO_START)
        peer_open(peer, call->to, NULL);
    if (event->kind == IO_LINK_UP) {
        static uint8_t bytes[300000]; /* for all of them there is a second, on a busy machine too */
        for (int i = 0; i < 5; i++)
            peer_send(peer, event->link, bytes, sizeof bytes, false);
        ck_assert_uint_eq(peer->io->ops->link_queued(peer->io->ctx, event->link), 5 * sizeof bytes);
        peer_stop(peer, 0);
        peer_send(peer, 12345678, "nobody", 6, false); /* a link that never was */
        ck_assert_uint_eq(peer->io->ops->link_queued(peer->io->ctx, 12345678), 0);
        peer->io->ops->link_close(peer->io->ctx, 12345678);
    }
}

START_TEST(what_is_queued_still_goes_out)
{
    struct peer a, b;
    peer_init(&a, 1);
    peer_init(&b, 2);
    struct call c = {.to = net_address(b.net)};
    a.arg = &c;
    a.play = play_parting;
    b.play = play_answer;
    peer_start(&b);
    ck_assert_int_eq(peer_run(&a), 0);
    ck_assert_int_eq(peer_join(&b), 0);
    ck_assert_uint_eq(b.n_messages, 5);
    ck_assert_uint_eq(a.n_down, 0); /* a stopped machine hears nothing */
    peer_fini(&a);
    peer_fini(&b);
}
END_TEST

/* Far more than fits into the sockets, and goodbye. */
static void play_farewell(struct peer *peer, uint64_t now_us, const struct io_event *event)
{
    static uint8_t bytes[30000000];
    (void)now_us;
    if (event->kind == IO_LINK_UP) {
        peer_send(peer, event->link, bytes, sizeof bytes, false);
        peer->io->ops->link_close(peer->io->ctx, event->link);
    }
    if (event->kind == IO_LINK_DOWN)
        peer_stop(peer, 0);
}

START_TEST(who_takes_nothing_is_let_go)
{
    struct peer b = {0};
    struct rogue rogue;
    struct net_config config = peer_config(&b, 2);
    config.handshake_us = 3000000; /* the rogue's too */
    peer_init_with(&b, &config);
    b.play = play_farewell;
    int fd = stranger_dial(net_address(b.net));
    peer_start(&b);
    ck_assert(rogue_init(&rogue, fd, true));
    rogue_say(&rogue, ROGUE_HELLO, 12);
    ck_assert_int_eq(peer_join(&b), 0);
    ck_assert_uint_eq(b.n_down, 1);
    ck_assert_int_eq(b.down_err, HANSE_ETIMEOUT);
    rogue_fini(&rogue);
    peer_fini(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net/link");
    TCase *c = tcase_create("link");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, messages_of_all_sizes_arrive_both_ways, 0, 2);
    tcase_add_loop_test(c, the_expected_peer_is_accepted_and_another_is_not, 0, 2);
    tcase_add_loop_test(c, nobody_there, 0, 3);
    tcase_add_test(c, a_handshake_has_a_deadline);
    tcase_add_loop_test(c, garbage_is_shown_out, 0, 5);
    tcase_add_test(c, silence_is_shown_out);
    tcase_add_test(c, a_flood_is_cut_off);
    tcase_add_loop_test(c, wrong_frames_end_the_link_and_nothing_else, 0, (int)(sizeof rogue_bytes / sizeof rogue_bytes[0]));
    tcase_add_loop_test(c, a_link_is_up_only_after_the_peers_hello, 0, 2);
    tcase_add_loop_test(c, a_peer_that_vanishes_is_noticed, 0, 2);
    tcase_add_loop_test(c, the_first_signal_asks_and_the_second_ends, 0, 3);
    tcase_add_test(c, what_is_queued_still_goes_out);
    tcase_add_test(c, who_takes_nothing_is_let_go);
    suite_add_tcase(suite, c);
    return unit_run(suite);
}
