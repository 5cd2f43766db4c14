/* Connections that never become links, by the hundred, and who comes in all the same. */
#include <sys/resource.h>
#include <unistd.h>

#include "net/address.h"
#include "net/crowd.h"
#include "net/loop.h"
#include "net_play.h"
#include "net_stranger.h"

#define CROWD (2 * LINK_NOT_UP_MAX)

static int dial_from(uint8_t subnet, struct addr to)
{
    return stranger_dial_from(INADDR_LOOPBACK + ((uint32_t)subnet << 8), to);
}

static int dial_from_block(uint8_t block, struct addr to)
{
    return stranger_dial_from(INADDR_LOOPBACK + ((uint32_t)block << 16), to);
}

static void close_all(const int *fd, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fd[i]);
}

/* One more that dials in earnest: true when it came up. */
static bool comes_in(struct addr at)
{
    struct peer a;
    bool is_over = false;
    peer_init(&a, 1);
    a.play = peer_play_until_told;
    a.arg = &is_over;
    peer_open(&a, at, NULL);
    peer_start(&a);
    for (int i = 0;
         i < STRANGER_MS / 20 && __atomic_load_n(&a.n_up, __ATOMIC_RELAXED) + __atomic_load_n(&a.n_down, __ATOMIC_RELAXED) == 0;
         i++)
        usleep(20000);
    peer_tell(&is_over);
    peer_join(&a);
    bool is_up = a.n_up == 1;
    peer_fini(&a);
    return is_up;
}

struct stage {
    struct peer b;
    bool is_over;
    struct addr at;
};

static void start(struct stage *stage, unsigned n_incoming_max)
{
    *stage = (struct stage){.is_over = false};
    struct net_config config = peer_config(&stage->b, 2);
    config.n_incoming_max = n_incoming_max;
    config.handshake_us = 10 * PEER_LIMIT_US; /* who goes has made room, and was not late */
    peer_init_with(&stage->b, &config);
    stage->b.play = peer_play_until_told;
    stage->b.arg = &stage->is_over;
    stage->at = net_address(stage->b.net);
    peer_start(&stage->b);
}

static void stop(struct stage *stage)
{
    peer_tell(&stage->is_over);
    ck_assert_int_eq(peer_join(&stage->b), 0);
    peer_fini(&stage->b);
}

START_TEST(half_open_connections_shut_nobody_out)
{
    struct stage stage;
    static int fd[CROWD];
    start(&stage, 0);
    for (size_t i = 0; i < CROWD; i++)
        fd[i] = dial_from(0, stage.at);
    ck_assert(comes_in(stage.at));
    ck_assert(stranger_is_shown_out(fd[0], STRANGER_MS));
    ck_assert(!stranger_is_shown_out(fd[CROWD - 1], 100));
    close_all(fd, CROWD);
    stop(&stage);
}
END_TEST

/* Of those who wait the crowd makes room, not who is alone in its subnet, however long it has been there. */
START_TEST(the_most_crowded_subnet_makes_room)
{
    struct stage stage;
    static int fd[CROWD], alone[3];
    start(&stage, 0);
    for (size_t i = 0; i < 3; i++)
        alone[i] = dial_from((uint8_t)(1 + i), stage.at);
    for (size_t i = 0; i < CROWD; i++)
        fd[i] = dial_from(9, stage.at);
    ck_assert(stranger_is_shown_out(fd[0], STRANGER_MS));
    for (size_t i = 0; i < 3; i++)
        ck_assert(!stranger_is_shown_out(alone[i], 50));
    close_all(fd, CROWD);
    close_all(alone, 3);
    stop(&stage);
}
END_TEST

/* A crowd with a subnet for each of its connections fills the room, from a block of its own or from as many: who comes then, from below
 * or above them, stays for as long as the crowd takes to fill the room again. */
START_TEST(among_equals_the_oldest_goes)
{
    enum { ROOM = LINK_NOT_UP_MAX, ALL = 2 * ROOM };
    static struct crowd_member waiting[ROOM + 1], sorted[ROOM + 1];
    const char *honest[] = {"5.6.7.8:9", "[2001:db8::1]:9", "[fd00::1]:9"};
    size_t n = 0, came = 0, gone = 0;
    for (io_link link = 1; link <= ALL; link++) {
        struct addr from = {.family = 6, .ip = {0x2a, 1}};
        from.ip[_i < 3 ? 3 : 5] = (uint8_t)link; /* another /32, another /48 */
        from.ip[_i < 3 ? 2 : 4] = (uint8_t)(link >> 8);
        if (link == ROOM + 5) {
            ck_assert_int_eq(addr_parse(&from, honest[_i % 3]), 0);
            came = link;
        }
        waiting[n++] = crowd_member(link, &from);
        if (n <= ROOM)
            continue;
        memcpy(sorted, waiting, sizeof sorted);
        io_link goes = crowd_goes(sorted, n - 1); /* not who just came */
        gone = goes == came ? link : gone;
        size_t i = 0;
        while (waiting[i].link != goes)
            i++;
        waiting[i] = waiting[--n];
    }
    ck_assert_uint_eq(came, ROOM + 5);
    ck_assert_uint_eq(gone, 0);
}
END_TEST

START_TEST(the_subnet_counts_before_the_block)
{
    const char *from[] = {"9.1.1.1:1", "9.1.2.1:1", "9.1.3.1:1", "8.1.1.1:1", "8.1.1.2:1"};
    struct crowd_member member[5];
    for (size_t i = 0; i < 5; i++) {
        struct addr addr;
        ck_assert_int_eq(addr_parse(&addr, from[i]), 0);
        member[i] = crowd_member(i + 1, &addr);
    }
    ck_assert_uint_eq(crowd_goes(member, 5), 4);
    ck_assert_uint_eq(member[0].n[CROWD_BLOCK] + member[4].n[CROWD_BLOCK], 2 + 3);
}
END_TEST

/* The same over sockets, with room for eight. */
START_TEST(a_newcomer_outlives_as_many_as_there_is_room_for)
{
    struct stage stage;
    int old[8], flood[8];
    start(&stage, 8);
    for (size_t i = 0; i < 8; i++)
        old[i] = dial_from_block((uint8_t)(100 + i), stage.at);
    int honest = dial_from_block(1, stage.at);
    ck_assert(stranger_is_shown_out(old[0], STRANGER_MS));
    for (size_t i = 0; i < 7; i++) {
        flood[i] = dial_from_block((uint8_t)(120 + i), stage.at);
        ck_assert(stranger_is_shown_out(old[i + 1], STRANGER_MS));
    }
    ck_assert(!stranger_is_shown_out(honest, 50));
    flood[7] = dial_from_block(130, stage.at);
    ck_assert(stranger_is_shown_out(honest, STRANGER_MS));
    close_all(old, 8);
    close_all(flood, 8);
    close(honest);
    stop(&stage);
}
END_TEST

/* However many knock: who is in stays in, and when all places are taken by such nobody else comes. */
START_TEST(a_link_that_is_up_stays)
{
    struct stage stage;
    struct peer up[2];
    bool is_over = false;
    static int fd[40];
    start(&stage, 2);
    for (uint8_t i = 0; i < 2; i++) {
        peer_init(&up[i], (uint8_t)(3 + i));
        up[i].play = peer_play_until_told;
        up[i].arg = &is_over;
        peer_open(&up[i], stage.at, NULL);
        peer_start(&up[i]);
        for (int t = 0; t < STRANGER_MS / 20 && __atomic_load_n(&up[i].n_up, __ATOMIC_RELAXED) == 0; t++)
            usleep(20000);
    }
    for (size_t i = 0; i < 40; i++)
        fd[i] = dial_from(9, stage.at);
    for (size_t i = 0; i < 40; i++)
        ck_assert(stranger_is_shown_out(fd[i], STRANGER_MS));
    ck_assert(!comes_in(stage.at));
    peer_tell(&is_over);
    for (size_t i = 0; i < 2; i++) {
        peer_join(&up[i]);
        ck_assert_uint_eq(up[i].n_up, 1);
        ck_assert_uint_eq(up[i].n_down, 0);
        peer_fini(&up[i]);
    }
    close_all(fd, 40);
    stop(&stage);
}
END_TEST

START_TEST(a_subnet_is_a_24_or_a_48)
{
    struct addr a = {.family = 4, .ip = {80, 1, 2, 3}}, b = {.family = 4, .ip = {80, 1, 2, 200}, .port = 7};
    struct addr c = {.family = 6, .ip = {0x20, 1, 2, 3, 4, 5, 6}}, d = {.family = 6, .ip = {0x20, 1, 2, 3, 4, 5, 7}};
    ck_assert(address_subnet(&a) == address_subnet(&b) && address_subnet(&c) == address_subnet(&d));
    b.ip[2]++;
    d.ip[5]++;
    ck_assert(address_subnet(&a) != address_subnet(&b) && address_subnet(&c) != address_subnet(&d));
    ck_assert(address_subnet(&a) != address_subnet(&c));
}
END_TEST

int main(void)
{
    struct rlimit files;
    Suite *suite = suite_create("net-crowd");
    TCase *all = tcase_create("crowd");
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 2048 && files.rlim_max >= 2048) {
        files.rlim_cur = 2048; /* both ends are ours */
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    tcase_set_timeout(all, 60);
    tcase_add_test(all, half_open_connections_shut_nobody_out);
    tcase_add_test(all, the_most_crowded_subnet_makes_room);
    tcase_add_loop_test(all, among_equals_the_oldest_goes, 0, 6);
    tcase_add_test(all, the_subnet_counts_before_the_block);
    tcase_add_test(all, a_newcomer_outlives_as_many_as_there_is_room_for);
    tcase_add_test(all, a_link_that_is_up_stays);
    tcase_add_test(all, a_subnet_is_a_24_or_a_48);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
