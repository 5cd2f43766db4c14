/* tests/unit/test_router_exchange.c - exchanges with made-up hosts: who is asked what, and what comes of silence. */
#include "tests/unit/exchange_stage.h"

START_TEST(every_slot_gets_its_answer)
{
    numerics = (enum numerics)(_i % N_NUMERICS);
    set_up(500 * MS);
    draw_picks((uint64_t)_i);
    forward();
    ck_assert_int_eq(n_done, 0);
    for (size_t h = 0; h < N_HOSTS; h++) {
        ck_assert_uint_eq(host[h].n_requests, 1); /* one message, however many experts and tokens */
        struct message_request m = request_of(&host[h]);
        ck_assert_uint_le(m.n_rows, N_TOKENS); /* a row travels once */
        answer(&host[h], STATUS_OK);
    }
    ck_assert_int_eq(n_done, 1);
    check_forward(-1);
    exchange_backward(exchange, now, weight, travelling(gout), (struct rows){.f32 = gx}, 0.5f, on_done, NULL);
    for (size_t h = N_HOSTS; h-- > 0;) {
        struct message_request m = request_of(&host[h]);
        ck_assert_uint_eq(m.group[0].version, 5);
        ck_assert_float_eq(m.lr_scale, 0.5f);
        answer(&host[h], STATUS_OK);
    }
    ck_assert_int_eq(n_done, 2);
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        for (size_t d = 0; d < WIDTH; d++)
            ck_assert_float_eq(gx[s * WIDTH + d], pick[s] < 0 ? 0 : weight[s] * gout[s / N_PICKS * WIDTH + d]);
    tear_down();
}
END_TEST

START_TEST(silence_ends_at_the_deadline)
{
    set_up(500 * MS);
    draw_picks(1);
    forward();
    answer(&host[0], STATUS_OK);
    answer(&host[2], STATUS_OK);
    now += 499 * MS;
    tick();
    ck_assert_int_eq(n_done, 0);
    ck_assert_uint_eq(router_deadline(router), T0 + 500 * MS);
    now += 1 * MS;
    tick();
    ck_assert_int_eq(n_done, 1);
    check_forward(1);
    ck_assert_uint_eq(host[1].n_cancels, 1);
    ck_assert_uint_eq(router_allowed(router, 0)[1], 0); /* left out for a while ... */
    exchange_backward(exchange, now, weight, travelling(gout), (struct rows){.f32 = gx}, 1, on_done, NULL);
    ck_assert_uint_eq(host[1].n_requests, 1); /* and not told of gradients */
    answer(&host[0], STATUS_OK);
    answer(&host[2], STATUS_OK);
    ck_assert_int_eq(n_done, 2);
    now += 2000 * MS;
    tick();
    ck_assert_uint_eq(router_allowed(router, 0)[1], 1); /* ... and tried again */
    tear_down();
}
END_TEST

START_TEST(late_and_foreign_answers_change_nothing)
{
    set_up(500 * MS);
    draw_picks(2);
    forward();
    struct buf late;
    buf_init(&late, IO_MESSAGE_MAX);
    buf_append(&late, host[1].request.bytes, host[1].request.n);
    now += 600 * MS;
    tick();
    ck_assert_int_eq(n_done, 1);
    buf_clear(&host[1].request);
    buf_append(&host[1].request, late.bytes, late.n);
    answer(&host[1], STATUS_OK); /* too late */
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        ck_assert_int_eq(answered[s], 0);
    buf_clear(&host[2].request);
    buf_append(&host[2].request, late.bytes, late.n);
    answer(&host[2], STATUS_OK); /* host 2 answers what host 1 was asked */
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        ck_assert_int_eq(answered[s], 0);
    ck_assert_int_eq(n_done, 1);
    uint8_t garbage[] = {MESSAGE_FORWARD_REPLY, 1, 2, 3};
    event((struct io_event){
        .kind = IO_MESSAGE, .link = host[0].link, .peer = host[0].id, .bytes = garbage, .n_bytes = sizeof garbage});
    ck_assert(host[0].is_closed);
    buf_fini(&late);
    tear_down();
}
END_TEST

/* Only who was asked can answer, and only in rows of the run's width. */
START_TEST(answers_of_others_or_of_another_width_are_none)
{
    set_up(500 * MS);
    draw_picks(2);
    forward();
    answer_as(&host[1], STATUS_OK, WIDTH, &host[2]);
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        ck_assert_int_eq(answered[s], 0);
    struct buf request;
    buf_init(&request, IO_MESSAGE_MAX);
    buf_append(&request, host[1].request.bytes, host[1].request.n);
    answer_as(&host[1], STATUS_OK, WIDTH / 2, &host[1]);
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        ck_assert_int_eq(answered[s], 0);
    buf_append(&host[1].request, request.bytes, request.n);
    for (size_t h = 0; h < N_HOSTS; h++)
        answer(&host[h], STATUS_OK);
    check_forward(-1);
    buf_fini(&request);
    tear_down();
}
END_TEST

START_TEST(a_lost_link_ends_its_part_at_once)
{
    set_up(500 * MS);
    draw_picks(3);
    forward();
    answer(&host[0], STATUS_OK);
    answer(&host[1], STATUS_OK);
    event((struct io_event){.kind = IO_LINK_DOWN, .link = host[2].link, .err = HANSE_ECLOSED});
    ck_assert_uint_le(router_deadline(router), now);
    tick();
    ck_assert_int_eq(n_done, 1);
    check_forward(2);
    ck_assert_uint_eq(router_stats(router).n_live, N_EXPERTS - N_EXPERTS / N_HOSTS);
    now += 1000 * MS;
    tick();
    ck_assert_uint_eq(host[2].n_opened, 2); /* dialled again */
    hello(&host[2]);
    ck_assert_uint_eq(router_stats(router).n_live, N_EXPERTS);
    tear_down();
}
END_TEST

START_TEST(sync_waits_and_asks_again)
{
    set_up(0);
    draw_picks(4);
    forward();
    answer(&host[0], STATUS_OK);
    answer(&host[1], STATUS_BUSY);
    event((struct io_event){.kind = IO_LINK_DOWN, .link = host[2].link, .err = HANSE_ECLOSED});
    now += 10000 * MS;
    tick();
    ck_assert_int_eq(n_done, 0);
    ck_assert_uint_eq(router_stats(router).n_live, N_EXPERTS);
    ck_assert_uint_eq(router_n_unlinked(router), N_EXPERTS / N_HOSTS);
    answer(&host[1], STATUS_OK); /* the second try */
    hello(&host[2]);             /* dialled by the tick */
    ck_assert_uint_eq(router_n_unlinked(router), 0);
    ck_assert_int_eq(n_done, 0);
    answer(&host[2], STATUS_OK);
    ck_assert_int_eq(n_done, 1);
    check_forward(-1);
    tear_down();
}
END_TEST

/* A host may close a link that is of no use to it.  The next request goes over a new one, and no slot is missed: where hosts are waited
 * for it waits for the link; else whoever asks meanwhile picks among the other hosts. */
START_TEST(an_idle_link_that_was_closed_costs_nothing)
{
    set_up(_i ? 500 * MS : 0);
    for (uint64_t round = 0; round < 20; round++) {
        draw_picks(round);
        now += 60000 * MS;
        event((struct io_event){.kind = IO_LINK_DOWN, .link = host[2].link, .err = HANSE_ECLOSED});
        ck_assert_uint_eq(router_allowed(router, 0)[2], !_i);
        if (!_i)
            forward();
        ck_assert_uint_le(router_deadline(router), now + 200 * MS); /* as short a pause each time: it is of use */
        now += 200 * MS;
        tick();
        ck_assert_uint_eq(host[2].n_opened, round + 2);
        hello(&host[2]);
        ck_assert_uint_eq(router_allowed(router, 0)[2], 1);
        if (_i)
            forward();
        for (size_t h = 0; h < N_HOSTS; h++)
            answer(&host[h], STATUS_OK);
        check_forward(-1);
        exchange_backward(exchange, now, weight, travelling(gout), (struct rows){.f32 = gx}, 1, on_done, NULL);
        for (size_t h = 0; h < N_HOSTS; h++)
            answer(&host[h], STATUS_OK);
        ck_assert_uint_eq(n_done, 2 * (round + 1));
    }
    ck_assert_uint_eq(router_stats(router).n_missed + router_stats(router).n_grad_missed, 0);
    tear_down();
}
END_TEST

START_TEST(a_host_that_lost_the_rows_gets_them_again)
{
    numerics = (enum numerics)_i;
    set_up(500 * MS);
    draw_picks(5);
    forward();
    for (size_t h = 0; h < N_HOSTS; h++)
        answer(&host[h], STATUS_OK);
    exchange_backward(exchange, now, weight, travelling(gout), (struct rows){.f32 = gx}, 1, on_done, NULL);
    struct message_request first = request_of(&host[0]);
    ck_assert(!rows_are_there(&first.x));
    answer(&host[0], STATUS_GONE);
    struct message_request again = request_of(&host[0]);
    ck_assert(rows_are_there(&again.x));
    for (size_t d = 0; d < WIDTH; d++) /* the first slot's row is that of its token */
        ck_assert_float_eq(row_of(&again.x, again.group[0].row[0])[d], x[first_token(again.group[0].expert) * WIDTH + d]);
    answer(&host[0], STATUS_OK);
    answer(&host[1], STATUS_OK);
    answer(&host[2], STATUS_GONE);
    answer(&host[2], STATUS_GONE); /* twice is enough */
    ck_assert_int_eq(n_done, 2);
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        ck_assert_float_eq(gx[s * WIDTH], pick[s] < 0 || pick[s] % N_HOSTS == 2 ? 0 : weight[s] * gout[s / N_PICKS * WIDTH]);
    tear_down();
}
END_TEST

START_TEST(without_picks_or_hosts_an_exchange_still_ends)
{
    set_up(500 * MS);
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        pick[s] = -1;
    forward();
    ck_assert_int_eq(n_done, 0); /* never from inside the call */
    ck_assert_uint_le(router_deadline(router), now);
    tick();
    ck_assert_int_eq(n_done, 1);
    exchange_backward(exchange, now, weight, travelling(gout), (struct rows){.f32 = gx}, 1, on_done, NULL);
    tick();
    ck_assert_int_eq(n_done, 2);
    ck_assert_float_eq(gx[0], 0);
    tear_down();
}
END_TEST

START_TEST(not_here_takes_the_claim_away)
{
    set_up(500 * MS);
    draw_picks(6);
    forward();
    answer(&host[0], STATUS_NOT_HERE);
    answer(&host[1], STATUS_OK);
    answer(&host[2], STATUS_OK);
    ck_assert_int_eq(n_done, 1);
    check_forward(0);
    ck_assert_uint_eq(router_allowed(router, 0)[0], 0);
    tear_down();
}
END_TEST

/* A number that is not finite, or whose square is not, would cost the step: such an answer is none. */
START_TEST(answers_that_are_not_finite_are_missing)
{
    static const float bad[] = {0.0f / 0.0f, 1.0f / 0.0f, -1.0f / 0.0f, 1e30f};
    set_up(500 * MS);
    draw_picks(7);
    for (size_t t = 0; t < N_TOKENS; t++)
        if (pick[t * N_PICKS] == 1 || pick[t * N_PICKS + 1] == 1)
            x[t * WIDTH + WIDTH - 1] = bad[_i]; /* which host 1 makes more of */
    forward();
    for (size_t h = 0; h < N_HOSTS; h++)
        answer(&host[h], STATUS_OK);
    tick();
    ck_assert_int_eq(n_done, 1);
    ck_assert(host[1].is_closed); /* nor is there anything more to say to who gives it */
    ck_assert_uint_eq(router_allowed(router, 0)[4], 0);
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++) {
        if (pick[s] == 1)
            ck_assert_int_eq(answered[s], 0);
        for (size_t d = 0; answered[s] && d < WIDTH; d++)
            ck_assert(y[s * WIDTH + d] - y[s * WIDTH + d] == 0);
    }
    ck_assert_uint_gt(router_stats(router).n_reject, 0);
    tear_down();
}
END_TEST

/* Slots or experts that nobody asked for: whoever answers so is not asked again for a while. */
START_TEST(answers_to_other_questions_end_the_link)
{
    set_up(500 * MS);
    draw_picks(8);
    forward();
    struct message_request m = request_of(&host[1]);
    struct message_group group[1] = {{.expert = m.group[0].expert, .n_slots = m.group[0].n_slots, .status = STATUS_BUSY}};
    if (_i == 0)
        group[0].expert = 0;
    else
        group[0].n_slots++;
    struct message_reply reply = {.kind = MESSAGE_FORWARD_REPLY, .call = m.call, .D = WIDTH, .n_groups = 1, .group = group};
    struct buf bytes;
    buf_init(&bytes, IO_MESSAGE_MAX);
    message_reply_encode(&reply, &bytes);
    event((struct io_event){.kind = IO_MESSAGE, .link = host[1].link, .bytes = bytes.bytes, .n_bytes = bytes.n});
    buf_fini(&bytes);
    ck_assert(host[1].is_closed);
    answer(&host[0], STATUS_OK);
    answer(&host[2], STATUS_OK);
    tick();
    ck_assert_int_eq(n_done, 1);
    check_forward(1);
    tear_down();
}
END_TEST

/* Who claims experts and is busy for ever is left out as the silent are; once is forgiven. */
START_TEST(busy_for_ever_is_as_good_as_silent)
{
    set_up(500 * MS);
    draw_picks(9);
    for (int round = 0; round < 8; round++) {
        ck_assert_uint_eq(router_allowed(router, 0)[1], 1);
        forward();
        answer(&host[0], STATUS_OK);
        answer(&host[1], _i == 0 ? STATUS_BUSY : round % 3 ? STATUS_LATE : STATUS_OK);
        answer(&host[2], STATUS_OK);
        ck_assert_int_eq(n_done, round + 1);
        exchange_cancel(exchange);
    }
    ck_assert_uint_eq(router_allowed(router, 0)[1], _i != 0);
    ck_assert_uint_eq(router_allowed(router, 0)[0], 1);
    now += 1000 * MS;
    tick();
    ck_assert_uint_eq(router_allowed(router, 0)[1], 1); /* after a pause it is asked again */
    tear_down();
}
END_TEST

/* A restarted trainer, even a second after one that was as fast as can be, never repeats the name of a call. */
START_TEST(no_two_calls_have_one_name)
{
    static uint64_t seen[3000];
    size_t n = 0;
    for (int life = 0; life < 3; life++) {
        set_up(500 * MS);
        router->sequence += (uint64_t)life * 2000; /* set_up() is always at T0: two milliseconds later each */
        draw_picks(8);
        for (int i = 0; i < 300; i++) {
            forward();
            for (size_t h = 0; h < N_HOSTS; h++) {
                uint64_t call = request_of(&host[h]).call;
                for (size_t j = 0; j < n; j++)
                    if (seen[j] == call)
                        ck_abort_msg("twice: %llx", (unsigned long long)call);
                seen[n++] = call;
                answer(&host[h], STATUS_OK);
            }
        }
        tear_down();
    }
    set_up(500 * MS);
    ck_assert_uint_eq(router->sequence, T0); /* what the above takes for granted */
    tear_down();
}
END_TEST

START_TEST(what_fits_no_message_is_refused)
{
    struct exchange *more[ROUTER_EXCHANGES_MAX];
    set_up(500 * MS);
    router->config.D = 64;
    ck_assert_int_eq(exchange_new(router, 131072, &more[0]), HANSE_EFULL);
    ck_assert_int_eq(exchange_new(router, 120000, &more[0]), 0);
    exchange_free(more[0]);
    router->config.D = 1;
    ck_assert_int_eq(exchange_new(router, MESSAGE_ROWS_MAX + 1, &more[0]), HANSE_EFULL);
    ck_assert_int_eq(exchange_new(router, MESSAGE_ROWS_MAX, &more[0]), 0);
    exchange_free(more[0]);
    for (size_t i = 0; i < ROUTER_EXCHANGES_MAX - 1; i++)
        ck_assert_int_eq(exchange_new(router, 1, &more[i]), 0);
    ck_assert_int_eq(exchange_new(router, 1, &more[ROUTER_EXCHANGES_MAX - 1]), HANSE_EFULL);
    for (size_t i = 0; i < ROUTER_EXCHANGES_MAX - 1; i++)
        exchange_free(more[i]);
    tear_down();
}
END_TEST

START_TEST(an_exchange_freed_under_way_is_forgotten)
{
    set_up(500 * MS);
    draw_picks(9);
    forward();
    exchange_free(exchange);
    exchange = NULL;
    for (size_t h = 0; h < N_HOSTS; h++)
        answer(&host[h], STATUS_OK);
    now += 600 * MS;
    tick();
    ck_assert_int_eq(n_done, 0);
    tear_down();
}
END_TEST

/* What a checkpoint kept counts on as if nothing had happened, also for experts that were not heard of since. */
START_TEST(balance_is_taken_up_where_it_was)
{
    float bias[N_EXPERTS], other[N_EXPERTS];
    int64_t load[N_EXPERTS];
    set_up(500 * MS);
    for (int life = 0; life < 2; life++) {
        if (life == 1)
            router_balance_set(router, 0, bias, load);
        for (uint32_t e = 0; life == 0 && e < N_EXPERTS - 1; e++)
            router_balance_hear(router, 0, e, 1000);
        if (life == 0) {
            router_balance(router);
            router_balance_get(router, 0, bias, load);
            ck_assert_int_eq(load[0], 1000);
            ck_assert_int_eq(load[N_EXPERTS - 1], -1);
        }
        router_balance_hear(router, 0, 1, 1500);
        router_balance(router);
        if (life == 0) {
            memcpy(other, router_bias(router, 0), sizeof other);
            tear_down();
            set_up(500 * MS);
        }
    }
    ck_assert_mem_eq(other, router_bias(router, 0), sizeof other);
    ck_assert(other[0] > 0 && other[1] < 0 && other[N_EXPERTS - 1] == 0);
    tear_down();
}
END_TEST

START_TEST(balance_raises_what_is_used_too_little)
{
    set_up(500 * MS);
    for (uint32_t e = 0; e < N_EXPERTS; e++)
        router_balance_hear(router, 0, e, 1000);
    router_balance(router);
    ck_assert_float_eq(router_bias(router, 0)[0], 0); /* a first count says nothing yet */
    for (uint32_t e = 0; e < N_EXPERTS; e++)
        router_balance_hear(router, 0, e, 1000 + 100 * e);
    router_balance(router);
    for (uint32_t e = 1; e < N_EXPERTS; e++)
        ck_assert(router_bias(router, 0)[e] <= router_bias(router, 0)[e - 1]);
    ck_assert(router_bias(router, 0)[0] > 0 && router_bias(router, 0)[N_EXPERTS - 1] < 0);
    float before = router_bias(router, 0)[2];
    router_balance_hear(router, 0, 2, 10); /* restarted from a checkpoint */
    router_balance(router);
    ck_assert_float_eq(router_bias(router, 0)[2], before);
    tear_down();
}
END_TEST

int main(void)
{
    if (kernels_choose(NULL, &kernels))
        return EXIT_FAILURE;
    Suite *suite = suite_create("router/exchange");
    TCase *tcase = tcase_create("exchange");
    tcase_add_loop_test(tcase, every_slot_gets_its_answer, 0, 20);
    tcase_add_test(tcase, silence_ends_at_the_deadline);
    tcase_add_test(tcase, late_and_foreign_answers_change_nothing);
    tcase_add_test(tcase, answers_of_others_or_of_another_width_are_none);
    tcase_add_test(tcase, a_lost_link_ends_its_part_at_once);
    tcase_add_test(tcase, sync_waits_and_asks_again);
    tcase_add_loop_test(tcase, an_idle_link_that_was_closed_costs_nothing, 0, 2);
    tcase_add_loop_test(tcase, a_host_that_lost_the_rows_gets_them_again, 0, N_NUMERICS);
    tcase_add_test(tcase, without_picks_or_hosts_an_exchange_still_ends);
    tcase_add_test(tcase, not_here_takes_the_claim_away);
    tcase_add_loop_test(tcase, answers_that_are_not_finite_are_missing, 0, 4);
    tcase_add_loop_test(tcase, answers_to_other_questions_end_the_link, 0, 2);
    tcase_add_loop_test(tcase, busy_for_ever_is_as_good_as_silent, 0, 2);
    tcase_add_test(tcase, no_two_calls_have_one_name);
    tcase_add_test(tcase, what_fits_no_message_is_refused);
    tcase_add_test(tcase, an_exchange_freed_under_way_is_forgotten);
    tcase_add_test(tcase, balance_is_taken_up_where_it_was);
    tcase_add_test(tcase, balance_raises_what_is_used_too_little);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
