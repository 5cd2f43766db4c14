/* Connections that never become links, and links of no use, by the hundred; and who comes in all the same. */
#include <sys/resource.h>
#include <unistd.h>

#include "net/address.h"
#include "net/loop.h"
#include "net_play.h"
#include "net_stranger.h"

#define CROWD (2 * CROWD_HALF_OPEN_MAX)

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

static void start(struct stage *stage, unsigned n_incoming_max, void (*play)(struct peer *, uint64_t, const struct io_event *))
{
    *stage = (struct stage){.is_over = false};
    struct net_config config = peer_config(&stage->b, 2);
    config.n_incoming_max = n_incoming_max;
    config.handshake_us = 10 * PEER_LIMIT_US; /* who goes has made room, and was not late */
    peer_init_with(&stage->b, &config);
    stage->b.play = play;
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
    start(&stage, 0, peer_play_until_told);
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
    start(&stage, 0, peer_play_until_told);
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

/* With room for eight. */
START_TEST(a_newcomer_outlives_as_many_as_there_is_room_for)
{
    struct stage stage;
    int old[8], flood[8];
    start(&stage, 8, peer_play_until_told);
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

/* Its machine needs every link. */
static void play_keeping(struct peer *peer, uint64_t now_us, const struct io_event *event)
{
    if (event->kind == IO_LINK_UP)
        peer->io->ops->link_keep(peer->io->ctx, event->link, IO_NEVER);
    peer_play_until_told(peer, now_us, event);
}

/* However many knock: who is of use stays in, and when all places are taken by such nobody else comes. */
START_TEST(a_link_of_use_stays)
{
    struct stage stage;
    struct peer up[2];
    bool is_over = false;
    static int fd[40];
    start(&stage, 2, play_keeping);
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

/* ---- a door without sockets: who stands inside, and what time it is ---- */

#define ROOM 1024

struct door {
    size_t room, n, n_gone;
    struct crowd_member in[ROOM + 1];
    io_link last;
    uint64_t now_us;
};

static bool is_in(const struct door *door, io_link link)
{
    for (size_t i = 0; i < door->n; i++)
        if (door->in[i].link == link)
            return true;
    return false;
}

static struct crowd_member *member(struct door *door, io_link link)
{
    for (size_t i = 0; i < door->n; i++)
        if (door->in[i].link == link)
            return &door->in[i];
    ck_abort_msg("link %u is gone", (unsigned)link);
}

static void remove_link(struct door *door, io_link link)
{
    struct crowd_member *gone = member(door, link);
    *gone = door->in[--door->n];
}

/* As the listener does it.  True when the newcomer is in; `is_up` tells whether it shows its key and greets. */
static bool knock(struct door *door, const struct addr *from, bool is_up)
{
    static struct crowd_member all[ROOM + 1];
    io_link goes, link = ++door->last;
    const char *why;
    door->now_us += 1000;
    door->in[door->n++] = (struct crowd_member){.link = link, .from = *from, .keep_us = door->now_us};
    do {
        memcpy(all, door->in, door->n * sizeof *all);
        why = crowd_refuses(all, door->n, link, door->room, door->now_us, &goes);
        ck_assert(goes != link && !(why && goes));
        if (goes) {
            ck_assert_uint_le(member(door, goes)->keep_us, door->now_us);
            remove_link(door, goes);
            door->n_gone++;
        }
    } while (goes);
    if (why)
        remove_link(door, link);
    else
        member(door, link)->is_up = is_up;
    ck_assert_uint_le(door->n, door->room);
    return !why;
}

static bool knock_from(struct door *door, const char *text, bool is_up)
{
    struct addr from;
    ck_assert_int_eq(addr_parse(&from, text), 0);
    return knock(door, &from, is_up);
}

/* The i-th address of strangers who have 32 addresses in as many subnets, or a subnet for each link, or a block for each; v4 and v6. */
enum { FEW_V4, FEW_V6, SUBNETS_V4, SUBNETS_V6, BLOCKS, KINDS };

static struct addr stranger(int kind, unsigned i)
{
    uint8_t high = (uint8_t)(i >> 8), low = (uint8_t)i;
    switch (kind) {
    case FEW_V4:
        return (struct addr){.family = 4, .ip = {80, 1, (uint8_t)(i % 32), 7}};
    case FEW_V6:
        return (struct addr){.family = 6, .ip = {0x2a, 1, 2, 3, 4, (uint8_t)(i % 32), high, low}};
    case SUBNETS_V4:
        return (struct addr){.family = 4, .ip = {80, high, low, 1}};
    case SUBNETS_V6:
        return (struct addr){.family = 6, .ip = {0x2a, 1, 2, 3, high, low}};
    default:
        return (struct addr){.family = 6, .ip = {0x2a, 1, high, low}};
    }
}

static bool knock_as(struct door *door, int kind, unsigned i, bool is_up)
{
    struct addr from = stranger(kind, i);
    return knock(door, &from, is_up);
}

static struct door *open_door(size_t room)
{
    static struct door door;
    door = (struct door){.room = room, .now_us = 1000000};
    return &door;
}

/* ---- claims ---- */

/* A crowd with a subnet for each of its connections fills the room, from a block of its own or from as many: who comes then, from below
 * or above them, stays for as long as the crowd takes to fill the room again. */
START_TEST(among_equals_the_oldest_goes)
{
    const char *honest[] = {"5.6.7.8:9", "[2001:db8::1]:9", "[fd00::1]:9"};
    struct door *door = open_door(ROOM);
    int kind = _i < 3 ? BLOCKS : SUBNETS_V6;
    for (unsigned i = 0; i < 2 * CROWD_HALF_OPEN_MAX; i++)
        ck_assert(knock_as(door, kind, i, false));
    ck_assert_uint_eq(door->n, CROWD_HALF_OPEN_MAX);
    ck_assert(knock_from(door, honest[_i % 3], false));
    io_link came = door->last;
    for (unsigned i = 0; i < CROWD_HALF_OPEN_MAX - 1; i++) {
        ck_assert(knock_as(door, kind, i, false));
        ck_assert(is_in(door, came));
    }
    ck_assert(knock_as(door, kind, ROOM, false));
    ck_assert(is_in(door, came) == (kind == SUBNETS_V6));
}
END_TEST

/* Whatever addresses they have who greet and idle, and however fast they come back: a newcomer has a place for as long as they take to
 * come all anew, and for good where they are a crowd. */
START_TEST(who_greets_and_idles_makes_room)
{
    const char *honest[] = {"5.6.7.8:9", "[2001:db8::1]:9"};
    int kind = _i / 2;
    struct door *door = open_door(ROOM);
    for (unsigned i = 0; i < 3 * ROOM; i++)
        ck_assert(knock_as(door, kind, i, true));
    ck_assert_uint_eq(door->n, ROOM);
    ck_assert(knock_from(door, honest[_i % 2], true));
    io_link came = door->last;
    for (unsigned i = 0; i < ROOM - 1; i++) {
        ck_assert(knock_as(door, kind, i, i % 2));
        ck_assert(is_in(door, came));
    }
    for (unsigned i = 0; i < 2 * ROOM; i++)
        ck_assert(knock_as(door, kind, i, true));
    ck_assert(is_in(door, came) == (kind != BLOCKS));
}
END_TEST

/* Some are at work and some were lately, in the midst of the crowd: they all stay; when nobody else is left, nobody comes in. */
START_TEST(who_is_of_use_stays)
{
    struct door *door = open_door(64);
    for (unsigned i = 0; i < 64; i++)
        ck_assert(knock_as(door, _i, i, true));
    for (size_t i = 0; i < 32; i++)
        door->in[i].keep_us = i % 2 ? IO_NEVER : door->now_us + 60000000;
    for (unsigned i = 0; i < 1000; i++)
        ck_assert(knock_as(door, _i, i, true));
    for (io_link link = 1; link <= 64; link++)
        ck_assert_int_eq(is_in(door, link), link <= 32);
    for (size_t i = 0; i < 64; i++)
        door->in[i].keep_us = IO_NEVER;
    ck_assert(!knock_as(door, _i, 1, true));
    ck_assert(!knock_from(door, "5.6.7.8:9", true));
    ck_assert_uint_eq(door->n, 64);
    member(door, 7)->keep_us = door->now_us - 1;
    ck_assert(knock_from(door, "5.6.7.8:9", true));
    ck_assert(!is_in(door, 7));
}
END_TEST

/* The one whose last use lies farthest back, whenever it came. */
START_TEST(the_longest_useless_goes)
{
    struct door *door = open_door(8);
    for (unsigned i = 0; i < 8; i++)
        ck_assert(knock_as(door, BLOCKS, i, true));
    for (io_link link = 1; link <= 8; link++)
        member(door, link)->keep_us = door->now_us + (link * 3 % 8) * 1000;
    door->now_us += 1000000;
    for (unsigned i = 0; i < 8; i++) {
        ck_assert(knock_as(door, BLOCKS, 100 + i, true));
        for (io_link link = 1; link <= 8; link++)
            ck_assert_int_eq(is_in(door, link), link * 3 % 8 > i);
    }
}
END_TEST

/* Who pays for its places with work has at most those of a few addresses; what others have is theirs. */
START_TEST(one_owner_has_at_most_a_share)
{
    struct door *door = open_door(ROOM);
    size_t n_in = 0;
    for (unsigned i = 0; i < ROOM; i++) {
        struct addr from = {.family = 4, .ip = {80, 1, 2, (uint8_t)i}};
        if (_i)
            from = (struct addr){.family = 6, .ip = {0x2a, 1, 2, 3, 4, 5, (uint8_t)(i >> 8), (uint8_t)i}};
        bool came = knock(door, &from, true);
        n_in += came;
        if (came)
            member(door, door->last)->keep_us = IO_NEVER;
    }
    ck_assert_uint_eq(n_in, 256);
    for (unsigned i = 0; i < 40; i++)
        if (knock_from(door, "5.6.7.8:9", true))
            member(door, door->last)->keep_us = IO_NEVER;
    ck_assert_uint_eq(door->n, 256 + 32);
}
END_TEST

/* An address with all its links takes its own place, though others have idled for longer. */
START_TEST(a_full_address_takes_its_own_place)
{
    struct door *door = open_door(ROOM);
    for (unsigned i = 0; i < 10; i++)
        ck_assert(knock_as(door, BLOCKS, i, true));
    for (unsigned i = 0; i < 32 + 7; i++)
        ck_assert(knock_from(door, "5.6.7.8:9", true));
    for (io_link link = 1; link <= 10 + 32 + 7; link++)
        ck_assert_int_eq(is_in(door, link), link <= 10 || link > 17);
}
END_TEST

START_TEST(the_subnet_counts_before_the_block)
{
    struct door *door = open_door(5);
    const char *from[] = {"9.1.1.1:1", "9.1.2.1:1", "9.1.3.1:1", "8.1.1.1:1", "8.1.1.2:1"};
    for (size_t i = 0; i < 5; i++)
        ck_assert(knock_from(door, from[i], true));
    ck_assert(knock_from(door, "7.1.1.1:1", true));
    ck_assert(!is_in(door, 4));
    ck_assert(knock_from(door, "6.1.1.1:1", true));
    ck_assert(!is_in(door, 1));
    ck_assert(knock_from(door, "8.1.1.3:1", true)); /* it makes the crowd, so its neighbour goes */
    ck_assert(!is_in(door, 5));
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
    tcase_add_loop_test(all, who_greets_and_idles_makes_room, 0, 2);
    tcase_add_loop_test(all, who_is_of_use_stays, 0, KINDS);
    tcase_add_test(all, the_longest_useless_goes);
    tcase_add_loop_test(all, one_owner_has_at_most_a_share, 0, 2);
    tcase_add_test(all, a_full_address_takes_its_own_place);
    tcase_add_test(all, the_subnet_counts_before_the_block);
    tcase_add_test(all, a_newcomer_outlives_as_many_as_there_is_room_for);
    tcase_add_test(all, a_link_of_use_stays);
    tcase_add_test(all, a_subnet_is_a_24_or_a_48);
    suite_add_tcase(suite, all);
    tcase_add_loop_test(unit_case(suite, "large", 60), who_greets_and_idles_makes_room, 2, 2 * KINDS);
    return unit_run(suite);
}
