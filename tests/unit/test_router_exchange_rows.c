/* tests/unit/test_router_exchange_rows.c - rows of floats and of integers on their way to hosts and back. */
#include "tests/unit/exchange_stage.h"

/* What one host may be asked and may answer, all in one message, counts as it travels. */
START_TEST(what_fits_depends_on_the_form)
{
    static const size_t least[] = {100000, 200000, 200000}, most[] = {131072, 262144, 262144};
    struct exchange *more;
    numerics = (enum numerics)_i;
    set_up(500 * MS);
    router->config.D = 64;
    ck_assert_int_eq(exchange_new(router, most[_i], &more), HANSE_EFULL);
    ck_assert_int_eq(exchange_new(router, least[_i], &more), 0);
    exchange_free(more);
    tear_down();
}
END_TEST

/* An answer in floats to integers, or the other way round. */
START_TEST(answers_in_another_form_end_the_link)
{
    numerics = (enum numerics)_i;
    set_up(500 * MS);
    draw_picks(2);
    forward();
    answer_in(&host[1], STATUS_OK, WIDTH, &host[1], numerics == NUMERICS_F32 ? NUMERICS_I8X2 : NUMERICS_F32);
    ck_assert(host[1].is_closed);
    ck_assert_uint_eq(router_stats(router).n_reject, 1);
    answer(&host[0], STATUS_OK);
    answer(&host[2], STATUS_OK);
    tick();
    ck_assert_int_eq(n_done, 1);
    check_forward(1);
    tear_down();
}
END_TEST

/* The integers that were rounded once are those that hosts see, and a row that could not be is marked for them. */
START_TEST(rows_travel_as_they_are)
{
    numerics = (enum numerics)_i;
    set_up(500 * MS);
    draw_picks(3);
    for (size_t i = 0; i < N_TOKENS * WIDTH; i++)
        x[i] = 1.0f / (float)(i + 1);
    x[5 * WIDTH] = QUANTIZE_MAX;
    struct rows sent = travelling(x);
    forward();
    for (size_t h = 0; h < N_HOSTS; h++) {
        struct message_request m = request_of(&host[h]);
        for (size_t g = 0; g < m.n_groups; g++)
            for (size_t s = 0, t = 0; s < m.group[g].n_slots; s++, t++) {
                while (pick[t * N_PICKS] != m.group[g].expert && pick[t * N_PICKS + 1] != m.group[g].expert)
                    t++;
                struct rows got = rows_from(&m.rows, m.group[g].row[s], WIDTH), was = rows_from(&sent, t, WIDTH);
                ck_assert(rows_equal(&got, &was, 1, WIDTH));
                ck_assert_int_eq(*got.exponent == QUANTIZE_BAD, t == 5);
            }
    }
    tear_down();
}
END_TEST

/* Exponents that no rounding gives would make numbers that are not finite. */
START_TEST(exponents_out_of_range_end_the_link)
{
    static const int8_t bad[] = {-128, QUANTIZE_EXPONENT_MIN - 1, QUANTIZE_EXPONENT_MAX + 1, QUANTIZE_BAD};
    numerics = NUMERICS_I8X1;
    set_up(500 * MS);
    draw_picks(7);
    forward();
    struct message_request m = request_of(&host[1]);
    size_t n = m.group[0].n_slots;
    int8_t exponent[N_TOKENS] = {0}, zeros[N_TOKENS * WIDTH] = {0};
    exponent[n - 1] = bad[_i];
    struct message_group group[1] = {
        {.expert = m.group[0].expert, .n_slots = (uint32_t)n, .values = {NULL, exponent, zeros, zeros}}};
    struct message_reply reply = {
        .kind = MESSAGE_FORWARD_REPLY, .form = NUMERICS_I8X2, .call = m.call, .D = WIDTH, .n_groups = 1, .group = group};
    struct buf bytes;
    buf_init(&bytes, IO_MESSAGE_MAX);
    message_reply_encode(&reply, &bytes);
    event((struct io_event){.kind = IO_MESSAGE, .link = host[1].link, .bytes = bytes.bytes, .n_bytes = bytes.n});
    buf_fini(&bytes);
    ck_assert(host[1].is_closed);
    tear_down();
}
END_TEST

/* Numbers of which a step would die are done without, and the host stays. */
START_TEST(answers_that_are_too_large_are_left_out)
{
    numerics = (enum numerics)_i;
    set_up(500 * MS);
    draw_picks(4);
    for (size_t t = 0; t < N_TOKENS; t++)
        x[t * WIDTH] = t % 2 ? 0x1p17f : 1; /* and answers are ten times as large */
    forward();
    for (size_t h = 0; h < N_HOSTS; h++)
        answer(&host[h], STATUS_OK);
    tick();
    ck_assert_int_eq(n_done, 1);
    size_t n_left_out = 0;
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++) {
        n_left_out += pick[s] >= 0 && !answered[s];
        ck_assert(!answered[s] || y[s * WIDTH] < ROWS_USABLE_MAX);
    }
    ck_assert_uint_gt(n_left_out, 0);
    ck_assert_uint_gt(router_stats(router).n_reject, 0);
    for (size_t h = 0; h < N_HOSTS; h++)
        ck_assert(!host[h].is_closed);
    tear_down();
}
END_TEST

int main(void)
{
    if (kernels_choose(NULL, &kernels))
        return EXIT_FAILURE;
    Suite *suite = suite_create("router/exchange, rows");
    TCase *tcase = tcase_create("rows");
    tcase_add_loop_test(tcase, what_fits_depends_on_the_form, 0, N_NUMERICS);
    tcase_add_loop_test(tcase, answers_in_another_form_end_the_link, 0, N_NUMERICS);
    tcase_add_loop_test(tcase, rows_travel_as_they_are, NUMERICS_I8X2, N_NUMERICS);
    tcase_add_loop_test(tcase, exponents_out_of_range_end_the_link, 0, 4);
    tcase_add_loop_test(tcase, answers_that_are_too_large_are_left_out, 0, N_NUMERICS);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
