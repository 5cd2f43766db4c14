/* tests/unit/test_router_peer.c - links to hosts: dialled with growing pauses, greeted, refused, suspected, found well again. */
#include "tests/unit/router_stage.h"

#define SECOND (1000 * MS)

static float x[8 * 4], y[8 * 4];
static int32_t pick[8];
static uint8_t answered[8];
static struct exchange *exchange[2];
static int n_done;

static void add_peer(uint16_t port, uint32_t expert)
{
    struct peer_id id = {{(uint8_t)(port >> 8), (uint8_t)port}};
    int i = router_peer_add(stage_router, &id);
    ck_assert_int_ge(i, 0);
    stage_router->peer[i].addr = (struct addr){.family = 4, .ip = {127, 0, 0, 1}, .port = port};
    struct target *target = &stage_router->target[expert];
    if (target->n_claims < ROUTER_CLAIMS_MAX) {
        target->claim[target->n_claims++] = (struct claim){.peer_i = (uint32_t)i};
        stage_router->peer[i].n_claims++;
    }
}

static void set_up(size_t n_peers, uint64_t deadline_us)
{
    stage_now = STAGE_T0;
    stage_set_up(1, 256, deadline_us, NULL, NULL);
    for (uint16_t p = 1; p <= n_peers; p++)
        add_peer(p, (uint32_t)(p - 1) % 256);
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_eq(exchange_new(stage_router, 8, &exchange[i]), 0);
    n_done = 0;
    stage_tick();
}

static void tear_down(void)
{
    for (size_t i = 0; i < 2; i++)
        exchange_free(exchange[i]);
    router_free(stage_router);
}

static void on_done(void *arg, uint64_t now_us)
{
    (void)arg;
    (void)now_us;
    n_done++;
}

/* Asks expert 0 (port 1) and expert 1 (port 2). */
static void ask(size_t i)
{
    for (int t = 0; t < 8; t++)
        pick[t] = t % 2;
    exchange_forward(exchange[i], stage_now, 0, 8, (struct rows){.f32 = x}, pick, answered, (struct rows){.f32 = y}, true,
                     on_done, NULL);
}

START_TEST(pauses_between_dials_grow)
{
    set_up(1, 500 * MS);
    uint64_t pause = 0;
    ck_assert_uint_eq(stage_peer[1].n_opened, 1);
    for (size_t i = 2; i < 12; i++) {
        stage_down(1);
        uint64_t next = router_deadline(stage_router);
        ck_assert_uint_ge(next - stage_now, pause);
        ck_assert_uint_le(next - stage_now, 60 * SECOND);
        pause = next - stage_now;
        stage_wait(pause - 1);
        ck_assert_uint_eq(stage_peer[1].n_opened, i - 1);
        stage_wait(1);
        ck_assert_uint_eq(stage_peer[1].n_opened, i);
    }
    ck_assert_uint_eq(pause, 60 * SECOND); /* nobody ever greeted there */
    stage_greet(1);
    stage_down(1);
    for (int i = 0; i < 10; i++) {
        ck_assert_uint_le(router_deadline(stage_router), stage_now + 60 * SECOND);
        stage_now = router_deadline(stage_router);
        stage_tick();
        stage_down(1);
    }
    ck_assert_uint_eq(router_deadline(stage_router), stage_now + 5 * SECOND); /* a host that was there is hoped for */
    tear_down();
}
END_TEST

/* A peer that greets and hangs up is no better than one that never came. */
START_TEST(greeting_alone_does_not_shorten_the_pause)
{
    set_up(1, 500 * MS);
    for (int i = 0; i < 8; i++) {
        stage_greet(1);
        stage_down(1);
        stage_now = router_deadline(stage_router);
        stage_tick();
    }
    stage_greet(1);
    stage_down(1);
    ck_assert_uint_ge(router_deadline(stage_router), stage_now + 5 * SECOND);
    tear_down();
}
END_TEST

START_TEST(an_answer_shortens_the_pause)
{
    set_up(1, 500 * MS);
    for (int i = 0; i < 8; i++) {
        stage_down(1);
        stage_now = router_deadline(stage_router);
        stage_tick();
    }
    stage_greet(1);
    router_peer_answered(stage_router, &stage_router->peer[0], 1000);
    stage_down(1);
    ck_assert_uint_eq(router_deadline(stage_router), stage_now + 200 * MS);
    tear_down();
}
END_TEST

START_TEST(who_hangs_in_the_greeting_is_left)
{
    set_up(1, 500 * MS);
    stage_up(1);
    ck_assert_uint_eq(stage_peer[1].n_sent, 1); /* our hello */
    ck_assert_uint_eq(router_deadline(stage_router), stage_now + 10 * SECOND);
    stage_wait(9 * SECOND);
    ck_assert_uint_eq(stage_peer[1].n_closed, 0);
    stage_wait(SECOND);
    ck_assert_uint_eq(stage_peer[1].n_closed, 1);
    stage_hello(1, 0); /* too late: this link is nobody's any more */
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 0);
    stage_wait(200 * MS);
    ck_assert_uint_eq(stage_peer[1].n_opened, 2);
    tear_down();
}
END_TEST

START_TEST(not_all_are_dialled_at_once)
{
    set_up(200, 500 * MS);
    size_t n = 0;
    for (uint16_t p = 1; p <= 200; p++)
        n += stage_peer[p].n_opened;
    ck_assert_uint_eq(n, 64);
    ck_assert_uint_eq(router_deadline(stage_router), IO_NEVER); /* no running in circles */
    for (uint16_t p = 1; p <= 200; p++)
        if (stage_peer[p].n_opened) {
            if (p <= 200 - 64)
                stage_greet(p);
            else
                stage_down(p); /* makes room as well */
            ck_assert(p > 200 - 64 || router_deadline(stage_router) <= stage_now);
            stage_tick();
        }
    for (uint16_t p = 1; p <= 200; p++)
        ck_assert_uint_eq(stage_peer[p].n_opened, 1);
    tear_down();
}
END_TEST

START_TEST(another_run_is_left_for_long)
{
    set_up(2, 500 * MS);
    stage_greet(2);
    stage_up(1);
    if (_i == 0) {
        stage_hello(1, 99);
        ck_assert_str_eq(router_refusal(stage_router), "");
    } else {
        struct message_refuse m = {.err = HANSE_ERUN, .text = "another run"};
        struct buf bytes;
        buf_init(&bytes, 1000);
        message_refuse_encode(&m, &bytes);
        stage_message(1, &bytes);
        ck_assert_str_eq(router_refusal(stage_router), "another run");
    }
    ck_assert_uint_eq(stage_peer[1].n_closed, 1);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 0);
    stage_hello(1, 0); /* what it says now is not heard */
    stage_down(1);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 0);
    router_peer_is_alive(stage_router, 0); /* nor what it writes */
    stage_wait(29 * SECOND);
    ck_assert_uint_eq(stage_peer[1].n_opened, 1);
    stage_wait(SECOND);
    ck_assert_uint_eq(stage_peer[1].n_opened, 2);
    stage_greet(1);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 1);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[1], 1);
    tear_down();
}
END_TEST

START_TEST(breaches_end_a_link)
{
    set_up(1, 500 * MS);
    stage_greet(1);
    struct buf bytes;
    buf_init(&bytes, 1000);
    if (_i == 0) {
        stage_hello(1, 0); /* twice */
    } else {
        static const uint8_t junk[3][4] = {{MESSAGE_FORWARD, 1, 2, 3}, {77}, {MESSAGE_BACKWARD_REPLY, 0, 1}};
        buf_append(&bytes, junk[_i - 1], 4);
        stage_message(1, &bytes);
    }
    buf_fini(&bytes);
    ck_assert_uint_eq(stage_peer[1].n_closed, 1);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 0);
    stage_wait(10 * SECOND);
    ck_assert_uint_eq(stage_peer[1].n_opened, 1);
    tear_down();
}
END_TEST

START_TEST(silence_is_punished_by_growing_pauses)
{
    set_up(2, 500 * MS);
    stage_greet(1);
    stage_greet(2);
    for (uint64_t pause = SECOND; pause < 64 * SECOND; pause *= 2) {
        uint64_t capped = pause < 30 * SECOND ? pause : 30 * SECOND;
        ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 1);
        ask(0);
        stage_router->peer[1].is_on_trial = false; /* of the second we look at nothing */
        stage_wait(500 * MS);
        ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 0);
        ck_assert_uint_eq(stage_router->peer[0].suspect_until_us, stage_now + capped);
        ck_assert_uint_le(router_deadline(stage_router), stage_now + capped);
        stage_tick();
        stage_wait(capped);
        if (stage_router->peer[0].state != PEER_READY)
            stage_greet(1); /* it let the trial pass, too, and was dialled anew */
        exchange_cancel(exchange[0]);
    }
    router_peer_answered(stage_router, &stage_router->peer[0], 1000);
    router_peer_missed(stage_router, &stage_router->peer[0]);
    ck_assert_uint_eq(stage_router->peer[0].suspect_until_us, stage_now + SECOND);
    tear_down();
}
END_TEST

/* A silent host is gone from the view with its first failed call, and asked once more to see; then it must answer a dial. */
START_TEST(a_dead_host_is_gone_within_five_seconds)
{
    struct router_expert view[2];
    set_up(2, 2 * SECOND);
    stage_greet(1);
    stage_greet(2);
    ck_assert_uint_eq(router_view(stage_router, view, 2), 2);
    ask(0);
    stage_wait(2 * SECOND); /* its first failed call */
    uint64_t failed_us = stage_now;
    router_peer_answered(stage_router, &stage_router->peer[1], 1000); /* the second is well */
    ck_assert_uint_eq(router_view(stage_router, view, 2), 1);
    ck_assert_uint_eq(view[0].expert, 1);
    exchange_cancel(exchange[0]);
    stage_wait(SECOND);
    ck_assert_uint_eq(router_view(stage_router, view, 2), 1);
    ask(0); /* the trial */
    stage_wait(2 * SECOND);
    router_peer_answered(stage_router, &stage_router->peer[1], 1000);
    stage_tick();
    ck_assert_uint_le(stage_now - failed_us, 5 * SECOND);
    ck_assert_int_ne(stage_router->peer[0].state, PEER_READY);
    exchange_cancel(exchange[0]);
    size_t n_sent = stage_peer[1].n_sent, n_opened = stage_peer[1].n_opened;
    for (int i = 0; i < 40; i++) { /* however long it is dialled in vain, nothing is asked of it */
        stage_wait(SECOND);
        ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 0);
        if (stage_router->peer[0].state == PEER_DIALING)
            stage_down(1);
    }
    ck_assert_uint_eq(stage_peer[1].n_sent, n_sent);
    ck_assert_uint_gt(stage_peer[1].n_opened, n_opened);
    while (stage_router->peer[0].state != PEER_DIALING)
        stage_wait(SECOND);
    stage_greet(1); /* it is back */
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 1);
    ck_assert_uint_eq(router_view(stage_router, view, 2), 2);
    tear_down();
}
END_TEST

/* A host that restarted may be asked at once; but a new link is no way out for one that falls silent each time. */
START_TEST(a_new_link_forgives_once)
{
    set_up(1, 500 * MS);
    for (int round = 0; round < 3; round++) {
        stage_greet(1);
        ck_assert_uint_eq(router_allowed(stage_router, 0)[0], round < 2);
        if (round < 2)
            router_peer_missed(stage_router, &stage_router->peer[0]);
        ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 0);
        stage_down(1);
        stage_wait(800 * MS);
    }
    stage_wait(30 * SECOND);
    stage_greet(1);
    router_peer_missed(stage_router, &stage_router->peer[0]);
    stage_down(1);
    stage_wait(5 * SECOND);
    stage_greet(1); /* and once again after a long while */
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 1);
    tear_down();
}
END_TEST

/* After a pause one exchange tries whether it is back; the others do without it meanwhile. */
START_TEST(one_call_tries_a_suspect)
{
    set_up(2, 500 * MS);
    stage_greet(1);
    stage_greet(2);
    router_peer_missed(stage_router, &stage_router->peer[0]);
    stage_wait(SECOND);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 1);
    size_t before = stage_peer[1].n_sent;
    ask(0);
    ck_assert_uint_eq(stage_peer[1].n_sent, before + 1);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 0);
    ask(1); /* its gate had chosen before that */
    ck_assert_uint_eq(stage_peer[1].n_sent, before + 1);
    router_peer_answered(stage_router, &stage_router->peer[0], 1000);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 1); /* well again */
    exchange_cancel(exchange[1]);
    before = stage_peer[1].n_sent;
    ask(1);
    ck_assert_uint_eq(stage_peer[1].n_sent, before + 1);
    tear_down();
}
END_TEST

/* When the trainer itself was stopped, every deadline has passed at once: that is nobody's fault. */
START_TEST(our_own_sleep_is_not_the_hosts_silence)
{
    set_up(2, 500 * MS);
    stage_greet(1);
    stage_greet(2);
    ask(0);
    stage_wait(60 * SECOND);
    ck_assert_int_eq(n_done, 0);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 1);
    ck_assert_uint_eq(router_deadline(stage_router), stage_now + 500 * MS);
    stage_wait(500 * MS); /* but whoever stays silent now... */
    ck_assert_int_eq(n_done, 1);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 0);
    stage_wait(2 * SECOND);
    ask(1);
    stage_wait(60 * SECOND);
    ck_assert_int_eq(n_done, 1);
    stage_wait(60 * SECOND); /* once is enough: a machine that is always late must end its steps, too */
    ck_assert_int_eq(n_done, 2);
    tear_down();
}
END_TEST

/* What answered the forward and fell silent since is told of its gradient, and not waited for. */
START_TEST(a_suspect_is_not_waited_for)
{
    static float weight[8], gx[8 * 4];
    set_up(1, 500 * MS);
    stage_greet(1);
    memset(pick, 0, sizeof pick);
    exchange_forward(exchange[0], stage_now, 0, 8, (struct rows){.f32 = x}, pick, answered, (struct rows){.f32 = y}, true,
                     on_done, NULL);
    struct message_group group = {.expert = 0, .n_slots = 8, .values = {.f32 = x}};
    struct message_reply reply = {.kind = MESSAGE_FORWARD_REPLY, .D = 4, .n_groups = 1, .group = &group};
    reply.call = STAGE_T0 << 20; /* its first call */
    struct buf bytes;
    buf_init(&bytes, 10000);
    message_reply_encode(&reply, &bytes);
    stage_message(1, &bytes);
    ck_assert_int_eq(n_done, 1);
    router_peer_missed(stage_router, &stage_router->peer[0]);
    size_t before = stage_peer[1].n_sent;
    exchange_backward(exchange[0], stage_now, weight, (struct rows){.f32 = y}, (struct rows){.f32 = gx}, 1, on_done, NULL);
    ck_assert_uint_eq(stage_peer[1].n_sent, before + 1);
    stage_tick();
    ck_assert_int_eq(n_done, 2);
    ck_assert_uint_eq(router_stats(stage_router).n_grad_missed, 8);
    tear_down();
}
END_TEST

START_TEST(links_that_are_not_ours_mean_nothing)
{
    set_up(1, 500 * MS);
    stage_event((struct io_event){.kind = IO_LINK_UP, .link = 999});
    stage_event((struct io_event){.kind = IO_LINK_DOWN, .link = 999});
    uint8_t byte = MESSAGE_REFUSE;
    stage_event((struct io_event){.kind = IO_MESSAGE, .link = 999, .bytes = &byte, .n_bytes = 1});
    stage_event((struct io_event){.kind = IO_MESSAGE, .link = 0, .bytes = &byte, .n_bytes = 1});
    ck_assert_uint_eq(stage_router->peer[0].state, PEER_DIALING);
    ck_assert_uint_eq(stage_peer[1].n_closed, 0);
    tear_down();
}
END_TEST

/* No place for a newcomer while all are of use; those without claims, or never met, give theirs. */
START_TEST(a_full_table_has_no_place)
{
    struct peer_id stranger = {{0xff, 0xff}};
    stage_now = STAGE_T0;
    stage_set_up(1, 256, 500 * MS, NULL, NULL);
    for (uint16_t p = 1; p <= ROUTER_PEERS_MAX; p++)
        add_peer(p, (uint32_t)(p - 1) % 256);
    ck_assert_int_eq(router_peer_add(stage_router, &stranger), -1);
    for (int round = 0; round < 16; round++) {
        stage_tick();
        for (uint16_t p = 1; p <= ROUTER_PEERS_MAX; p++)
            if (stage_router->peer[p - 1].state == PEER_DIALING)
                stage_greet(p);
    }
    ck_assert_uint_eq(router_stats(stage_router).n_hosts, ROUTER_PEERS_MAX);
    ck_assert_int_eq(router_peer_add(stage_router, &stranger), -1);
    router_directory_not_here(stage_router, 0, 4, 4); /* claims nothing any more, but keeps its link */
    ck_assert_int_eq(router_peer_add(stage_router, &stranger), 4);
    ck_assert_uint_eq(stage_peer[5].n_closed, 1);
    ck_assert_int_eq(router_peer_add(stage_router, &stranger), 4); /* known by now */
    router_free(stage_router);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("router/peer");
    TCase *tcase = tcase_create("peer");
    tcase_add_test(tcase, pauses_between_dials_grow);
    tcase_add_test(tcase, greeting_alone_does_not_shorten_the_pause);
    tcase_add_test(tcase, an_answer_shortens_the_pause);
    tcase_add_test(tcase, who_hangs_in_the_greeting_is_left);
    tcase_add_test(tcase, not_all_are_dialled_at_once);
    tcase_add_loop_test(tcase, another_run_is_left_for_long, 0, 2);
    tcase_add_loop_test(tcase, breaches_end_a_link, 0, 4);
    tcase_add_test(tcase, silence_is_punished_by_growing_pauses);
    tcase_add_test(tcase, a_new_link_forgives_once);
    tcase_add_test(tcase, a_dead_host_is_gone_within_five_seconds);
    tcase_add_test(tcase, one_call_tries_a_suspect);
    tcase_add_test(tcase, our_own_sleep_is_not_the_hosts_silence);
    tcase_add_test(tcase, a_suspect_is_not_waited_for);
    tcase_add_test(tcase, links_that_are_not_ours_mean_nothing);
    tcase_add_test(tcase, a_full_table_has_no_place);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
