/* Peers who greet and then do nothing, and who finds room all the same: over sockets, where eight may come in. */
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_play.h"
#include "net_rogue.h"
#include "net_stranger.h"

#define ROOM 8

/* ---- a machine that does as it is told ---- */

struct stage {
    struct peer b;
    bool is_over;
    struct addr at;
    struct rogue in[ROOM];
};

/* "k" is work that begins, "d" work that is done, "c" asks to be closed. */
static void play(struct peer *peer, uint64_t now_us, const struct io_event *event)
{
    const struct io_ops *ops = peer->io->ops;
    if (event->kind == IO_MESSAGE && event->bytes[0] == 'k')
        ops->link_keep(peer->io->ctx, event->link, IO_NEVER);
    if (event->kind == IO_MESSAGE && event->bytes[0] == 'd')
        ops->link_keep(peer->io->ctx, event->link, now_us);
    if (event->kind == IO_MESSAGE && event->bytes[0] == 'c')
        ops->link_close(peer->io->ctx, event->link);
    peer_play_until_told(peer, now_us, event);
}

static void start(struct stage *stage)
{
    *stage = (struct stage){.is_over = false};
    struct net_config config = peer_config(&stage->b, 2);
    config.n_incoming_max = ROOM;
    config.handshake_us = config.silence_us = 10 * PEER_LIMIT_US; /* who goes has made room, and was not late */
    peer_init_with(&stage->b, &config);
    stage->b.play = play;
    stage->b.arg = &stage->is_over;
    stage->at = net_address(stage->b.net);
    peer_start(&stage->b);
}

static void stop(struct stage *stage)
{
    for (size_t i = 0; i < ROOM; i++)
        rogue_fini(&stage->in[i]); /* first: nobody waits for their ends */
    peer_tell(&stage->is_over);
    ck_assert_int_eq(peer_join(&stage->b), 0);
    peer_fini(&stage->b);
}

/* ---- those who come ---- */

/* From 127.BLOCK.SUBNET.1. */
static int dial(struct addr to, uint8_t block, uint8_t subnet)
{
    int on = 1, fd = stranger_dial_from(INADDR_LOOPBACK + ((uint32_t)block << 16) + ((uint32_t)subnet << 8), to);
    ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    return fd;
}

/* Waits until the machine has heard so many messages. */
static void wait_for_messages(const struct stage *stage, uint64_t n)
{
    for (int i = 0; i < STRANGER_MS && net_stats(stage->b.net).n_messages_in < n; i++)
        usleep(1000);
    ck_assert_uint_eq(net_stats(stage->b.net).n_messages_in, n);
}

static void say(struct stage *stage, struct rogue *rogue, char what)
{
    uint8_t frame[] = {4, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, (uint8_t)what};
    uint64_t n = net_stats(stage->b.net).n_messages_in;
    rogue_say(rogue, frame, sizeof frame);
    wait_for_messages(stage, n + 1);
}

/* Comes in, proves its key and says hello; what it says then has been heard, so it is up. */
static void greet(struct stage *stage, struct rogue *rogue, uint8_t block, uint8_t subnet)
{
    ck_assert(rogue_init(rogue, dial(stage->at, block, subnet), true));
    rogue_say(rogue, ROGUE_HELLO, 12);
    say(stage, rogue, '.');
}

/* All places are taken by peers from as many blocks, the lowest number first. */
static void fill(struct stage *stage)
{
    for (size_t i = 0; i < ROOM; i++)
        greet(stage, &stage->in[i], (uint8_t)(10 + i), 0);
}

static bool is_shut_out(struct addr at, uint8_t block, uint8_t subnet)
{
    int fd = dial(at, block, subnet);
    bool is_out = stranger_is_shown_out(fd, STRANGER_MS);
    close(fd);
    return is_out;
}

/* ---- claims ---- */

START_TEST(an_idle_link_makes_room)
{
    struct stage stage;
    struct rogue newcomer[ROOM];
    start(&stage);
    fill(&stage);
    for (size_t i = 0; i < ROOM; i++) {
        greet(&stage, &newcomer[i], (uint8_t)(100 + i), 0);
        ck_assert_int_eq(rogue_fate(&stage.in[i], STRANGER_MS), ROGUE_IS_DISMISSED);
        for (size_t k = i + 1; k < ROOM; k++)
            ck_assert_int_eq(rogue_fate(&stage.in[k], 0), ROGUE_STAYS);
    }
    ck_assert_uint_eq(net_stats(stage.b.net).n_links, ROOM);
    for (size_t i = 0; i < ROOM; i++) {
        ck_assert_int_eq(rogue_fate(&newcomer[i], 0), ROGUE_STAYS);
        rogue_fini(&newcomer[i]);
    }
    stop(&stage);
    ck_assert_uint_ge(stage.b.n_down, ROOM); /* the machine heard of it */
}
END_TEST

/* Who never even says hello takes such a place, too, and loses it to the next one of its crowd. */
START_TEST(the_half_open_have_no_better_claim)
{
    struct stage stage;
    int fd[10];
    start(&stage);
    fill(&stage);
    for (size_t i = 0; i < 10; i++)
        fd[i] = dial(stage.at, 100, 0);
    for (size_t i = 0; i < 9; i++)
        ck_assert(stranger_is_shown_out(fd[i], STRANGER_MS));
    ck_assert_int_eq(rogue_fate(&stage.in[0], STRANGER_MS), ROGUE_IS_DISMISSED);
    for (size_t i = 1; i < ROOM; i++)
        ck_assert_int_eq(rogue_fate(&stage.in[i], 0), ROGUE_STAYS);
    for (size_t i = 0; i < 10; i++)
        close(fd[i]);
    stop(&stage);
}
END_TEST

START_TEST(a_link_at_work_stays)
{
    struct stage stage;
    struct rogue newcomer;
    start(&stage);
    fill(&stage);
    for (size_t i = 0; i < ROOM; i++)
        say(&stage, &stage.in[i], 'k');
    for (uint8_t i = 0; i < 20; i++)
        ck_assert(is_shut_out(stage.at, i, 0));
    for (size_t i = 0; i < ROOM; i++)
        ck_assert_int_eq(rogue_fate(&stage.in[i], 0), ROGUE_STAYS);
    say(&stage, &stage.in[5], 'd');
    greet(&stage, &newcomer, 100, 0);
    ck_assert_int_eq(rogue_fate(&stage.in[5], STRANGER_MS), ROGUE_IS_DISMISSED);
    for (size_t i = 0; i < ROOM; i++)
        ck_assert(i == 5 || rogue_fate(&stage.in[i], 0) == ROGUE_STAYS);
    rogue_fini(&newcomer);
    stop(&stage);
}
END_TEST

/* The machine has not heard of it yet. */
START_TEST(a_long_message_on_its_way_is_work)
{
    struct stage stage;
    struct rogue newcomer;
    static uint8_t frame[12 + 20000] = {4, 0, 20000 & 255, 20000 >> 8, 1, 0, 0, 0, 0, 0, 16, 0}; /* of 1 MiB */
    start(&stage);
    fill(&stage);
    uint64_t n = net_stats(stage.b.net).n_bytes_in;
    rogue_say(&stage.in[0], frame, sizeof frame);
    for (int i = 0; i < STRANGER_MS / 10 && net_stats(stage.b.net).n_bytes_in < n + sizeof frame; i++)
        usleep(10000);
    greet(&stage, &newcomer, 100, 0);
    ck_assert_int_eq(rogue_fate(&stage.in[1], STRANGER_MS), ROGUE_IS_DISMISSED);
    ck_assert_int_eq(rogue_fate(&stage.in[0], 50), ROGUE_STAYS);
    rogue_fini(&newcomer);
    stop(&stage);
}
END_TEST

/* Signs of life are no work. */
START_TEST(pings_keep_no_place)
{
    struct stage stage;
    struct rogue newcomer;
    static const uint8_t ping[12] = {2, 0, 0, 0, 7};
    start(&stage);
    fill(&stage);
    for (int i = 0; i < 100; i++)
        rogue_say(&stage.in[0], ping, sizeof ping);
    say(&stage, &stage.in[0], '.');
    greet(&stage, &newcomer, 100, 0);
    ck_assert_int_eq(rogue_fate(&stage.in[0], STRANGER_MS), ROGUE_IS_DISMISSED);
    rogue_fini(&newcomer);
    stop(&stage);
}
END_TEST

/* However many come from one subnet: the places of those from elsewhere are not for them, though they were idle for longer. */
START_TEST(a_crowd_takes_its_own_places)
{
    struct stage stage;
    struct rogue newcomer[3 * ROOM];
    start(&stage);
    for (size_t i = 0; i < ROOM; i++)
        greet(&stage, &stage.in[i], i < 5 ? (uint8_t)(10 + i) : 50, 0);
    for (size_t i = 0; i < 3 * ROOM; i++)
        greet(&stage, &newcomer[i], 50, 0);
    for (size_t i = 0; i < ROOM; i++)
        ck_assert_int_eq(rogue_fate(&stage.in[i], i < 5 ? 0 : STRANGER_MS), i < 5 ? ROGUE_STAYS : ROGUE_IS_DISMISSED);
    for (size_t i = 0; i < 3 * ROOM; i++)
        rogue_fini(&newcomer[i]);
    stop(&stage);
}
END_TEST

/* Who was told to go and does not end its stream holds no place meanwhile. */
START_TEST(who_lingers_makes_room)
{
    struct stage stage;
    struct rogue newcomer[ROOM];
    start(&stage);
    fill(&stage);
    for (size_t i = 0; i < ROOM; i++)
        say(&stage, &stage.in[i], 'c');
    for (size_t i = 0; i < ROOM; i++)
        greet(&stage, &newcomer[i], (uint8_t)(100 + i), 0);
    for (size_t i = 0; i < ROOM; i++) {
        ck_assert_int_eq(rogue_fate(&newcomer[i], 0), ROGUE_STAYS);
        rogue_fini(&newcomer[i]);
    }
    stop(&stage);
}
END_TEST

/* ---- a link that we dialled ---- */

static void play_caller(struct peer *peer, uint64_t now_us, const struct io_event *event)
{
    struct stage *stage = peer->arg;
    if (event->kind == IO_START)
        peer_open(peer, stage->at, NULL);
    peer->wake_us = now_us + 20000;
    if (__atomic_load_n(&stage->is_over, __ATOMIC_ACQUIRE))
        peer_stop(peer, 0);
}

START_TEST(a_link_of_our_own_stays)
{
    struct stage stage, callee;
    struct rogue newcomer[2 * ROOM];
    start(&callee);
    stage = (struct stage){.at = callee.at};
    struct net_config config = peer_config(&stage.b, 3);
    config.n_incoming_max = ROOM;
    config.handshake_us = config.silence_us = 10 * PEER_LIMIT_US;
    peer_init_with(&stage.b, &config);
    stage.b.play = play_caller;
    stage.b.arg = &stage;
    peer_start(&stage.b);
    for (int i = 0; i < STRANGER_MS / 10 && net_stats(stage.b.net).n_links == 0; i++)
        usleep(10000);
    struct addr at = net_address(stage.b.net);
    for (size_t i = 0; i < 2 * ROOM; i++) {
        ck_assert(rogue_init(&newcomer[i], dial(at, 0, 0), true)); /* from where we dialled to */
        rogue_say(&newcomer[i], ROGUE_HELLO, 12);
        for (int k = 0; k < STRANGER_MS && net_stats(stage.b.net).n_links < (i < ROOM ? i + 2 : ROOM + 1); k++)
            usleep(1000);
    }
    ck_assert_uint_eq(net_stats(stage.b.net).n_links, ROOM + 1);
    ck_assert_uint_eq(net_stats(callee.b.net).n_links, 1);
    for (size_t i = 0; i < 2 * ROOM; i++)
        rogue_fini(&newcomer[i]);
    peer_tell(&stage.is_over);
    ck_assert_int_eq(peer_join(&stage.b), 0);
    peer_fini(&stage.b);
    peer_tell(&callee.is_over);
    ck_assert_int_eq(peer_join(&callee.b), 0);
    peer_fini(&callee.b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net-room");
    TCase *all = tcase_create("room");
    tcase_set_timeout(all, 120);
    tcase_add_test(all, an_idle_link_makes_room);
    tcase_add_test(all, the_half_open_have_no_better_claim);
    tcase_add_test(all, a_link_at_work_stays);
    tcase_add_test(all, a_long_message_on_its_way_is_work);
    tcase_add_test(all, pings_keep_no_place);
    tcase_add_test(all, a_crowd_takes_its_own_places);
    tcase_add_test(all, who_lingers_makes_room);
    tcase_add_test(all, a_link_of_our_own_stays);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
