#include <math.h>

#include "host_ask.h"

/* -- Forward and backward -------------------------------------------------------------------------- */

static struct expert *fresh_expert(const char *name)
{
    const struct kernels *kernels;
    struct expert_config config = host_expert_config(&run);
    struct expert *x;
    ck_assert_int_eq(kernels_choose("ref", &kernels), 0);
    ck_assert_int_eq(expert_new(&config, kernels, &run.birth, name, &x), 0);
    return x;
}

/* The answer of N_ROWS slots is what these floats become on their way. */
static void expect_values(const struct message_reply *m, size_t g, const float *floats)
{
    static uint8_t bytes[8 + 2 * N_ROWS * WIDTH];
    const struct kernels *kernels;
    struct rows rows = {.f32 = floats};
    ck_assert_int_eq(kernels_choose("ref", &kernels), 0);
    ck_assert_int_eq(m->form, rows_answer_form(run.expert_numerics));
    if (m->form != NUMERICS_F32) {
        rows = rows_at(m->form, bytes, N_ROWS, WIDTH);
        ck_assert_int_eq(rows_round(kernels, &rows, floats, N_ROWS, WIDTH), 0);
    }
    ck_assert(rows_equal(&m->group[g].values, &rows, N_ROWS, WIDTH));
}

START_TEST(test_answers_are_the_experts)
{
    set_form(_i);
    float y[N_ROWS * WIDTH], gx[N_ROWS * WIDTH];
    _Alignas(64) float work[5 * N_ROWS * 16];
    uint64_t staleness;
    struct expert *x = fresh_expert("L0.3");
    start();
    forward(1, 77, 2, 3, N_ROWS);
    settle();
    struct message_reply *m = only_reply();
    ck_assert_int_eq(m->kind, MESSAGE_FORWARD_REPLY);
    ck_assert_uint_eq(m->call, 77);
    ck_assert_uint_eq(m->n_groups, 3);
    ck_assert_uint_eq(m->group[1].expert, 3);
    struct ask *ask = make_ask(MESSAGE_FORWARD, 77, 0, 1, N_ROWS);
    struct rows rows = travelling(ask->x, 1);
    ck_assert_int_eq(expert_forward(x, y, &rows, work, N_ROWS), 0);
    expect_values(m, 1, y);
    stage_forget_sent(node);

    backward(1, 77, 3, 1, N_ROWS);
    settle();
    m = only_reply();
    ck_assert_int_eq(m->kind, MESSAGE_BACKWARD_REPLY);
    ask = make_ask(MESSAGE_BACKWARD, 77, 0, 1, N_ROWS);
    struct rows gy = travelling(ask->rows, 0);
    rows = travelling(ask->x, 1);
    ck_assert_int_eq(expert_backward(x, gx, &rows, &gy, weights, work, N_ROWS, 0, 1, &staleness), 0);
    ck_assert_int_eq(m->group[0].status, STATUS_OK);
    expect_values(m, 0, gx);
    ck_assert_uint_eq(m->group[0].load, N_ROWS);
    expert_free(x);
}
END_TEST

START_TEST(test_versions_rise)
{
    set_form(_i);
    start();
    for (uint64_t call = 0; call < 6; call++) {
        forward(1, call, 0, 1, N_ROWS);
        settle();
        ck_assert_uint_eq(reply(0)->group[0].version, call / 2); /* 6 slots an update, 4 a call */
        stage_forget_sent(node);
        backward(1, call, 0, 1, N_ROWS);
        settle();
        ck_assert_uint_eq(reply(0)->group[0].staleness, call / 2);
        stage_forget_sent(node);
    }
    ck_assert_uint_eq(host_stats(node->host).n_updates, 3);
}
END_TEST

START_TEST(test_experts_that_are_not_here)
{
    start();
    forward(1, 1, 6, 4, 1); /* 6 and 7 are; 8 and 9 never were */
    settle();
    struct message_reply *m = only_reply();
    ck_assert_int_eq(m->group[1].status, STATUS_OK);
    ck_assert_int_eq(m->group[2].status, STATUS_NOT_HERE);
    ck_assert_int_eq(m->group[3].status, STATUS_NOT_HERE);
    stage_forget_sent(node);
    struct ask *ask = make_ask(MESSAGE_FORWARD, 2, 0, 2, 1);
    ask->m.layer = (uint16_t)(1 + _i); /* hosted elsewhere; no such layer */
    send_ask(1, ask);
    expect_statuses(STATUS_NOT_HERE);
}
END_TEST

/* Bytes of rows, or weights, as no trainer makes them: refused, with nothing done, whatever the form. */
START_TEST(test_rows_that_no_rounding_gives)
{
    static const int8_t exponent[] = {QUANTIZE_BAD, -128, QUANTIZE_EXPONENT_MIN - 1, EXPERT_EXPONENT_MAX_I8X1 + 1,
                                      QUANTIZE_EXPONENT_MAX};
    static const float weight[] = {NAN, INFINITY, -INFINITY, 3e38f};
    enum { N_EXPONENTS = sizeof exponent, N_WEIGHTS = 4, N_BAD = N_EXPONENTS + 1 + N_WEIGHTS };
    set_form(_i);
    start();
    forward(1, 1, 0, 1, N_ROWS);
    settle();
    stage_forget_sent(node);
    for (int bad = run.expert_numerics == NUMERICS_F32 ? N_EXPONENTS + 1 : 0; bad < N_BAD; bad++)
        for (int is_backward = bad > N_EXPONENTS; is_backward < 2; is_backward++) {
            struct ask *ask = make_ask(is_backward ? MESSAGE_BACKWARD : MESSAGE_FORWARD, 1, 0, 1, N_ROWS);
            float weights_now[N_ROWS] = {1, 1, 1, bad > N_EXPONENTS ? weight[bad - N_EXPONENTS - 1] : 1};
            ask->group[0].weight = weights_now;
            fill_ask(ask);
            if (bad < N_EXPONENTS)
                ((int8_t *)ask->m.rows.exponent)[N_ROWS - 1] = exponent[bad];
            else if (bad == N_EXPONENTS)
                ((int8_t *)ask->m.rows.high)[N_ROWS * WIDTH - 1] = -128;
            stage_ask(node, 1, &ask->m);
            settle();
            expect_statuses(STATUS_REJECT);
        }
    ck_assert_uint_eq(host_stats(node->host).n_backward_slots, 0);
    struct ask *ask = make_ask(MESSAGE_BACKWARD, 1, 0, 1, N_ROWS); /* the call can still be made, and counts once */
    send_ask(1, ask);
    settle();
    struct expert *x = fresh_expert("L0.0");
    void *work = aligned_alloc(64, (expert_work_bytes(x, N_ROWS) + 63) / 64 * 64);
    float gx[N_ROWS * WIDTH];
    uint64_t staleness;
    struct rows gy = travelling(ask->rows, 0), rows = travelling(ask->x, 1);
    ck_assert_int_eq(expert_backward(x, gx, &rows, &gy, weights, work, N_ROWS, 0, 1, &staleness), 0);
    ck_assert_int_eq(only_reply()->group[0].status, STATUS_OK);
    expect_values(only_reply(), 0, gx);
    free(work);
    expert_free(x);
}
END_TEST

START_TEST(test_numbers_that_are_not_finite)
{
    set_form(_i);
    start();
    struct ask *ask = make_ask(MESSAGE_FORWARD, 1, 0, 1, N_ROWS);
    ask->rows[WIDTH] = NAN;
    send_ask(1, ask);
    settle();
    expect_statuses(STATUS_REJECT);
    ask = make_ask(MESSAGE_FORWARD, 3, 0, 2, 1); /* a bad row costs those alone that asked about it */
    ask->rows[WIDTH] = NAN;
    ask->group[1].row = all_rows + 1;
    send_ask(1, ask);
    settle();
    ck_assert_int_eq(only_reply()->group[0].status, STATUS_OK);
    ck_assert_int_eq(only_reply()->group[1].status, STATUS_REJECT);
    stage_forget_sent(node);
    forward(1, 2, 0, 1, N_ROWS);
    settle();
    stage_forget_sent(node);
    float bad[N_ROWS] = {1, INFINITY, 1, 1};
    ask = make_ask(MESSAGE_BACKWARD, 2, 0, 1, N_ROWS);
    ask->group[0].weight = bad;
    send_ask(1, ask);
    settle();
    expect_statuses(STATUS_REJECT);
    backward(1, 2, 0, 1, N_ROWS); /* nothing was done, so the call can still be put right */
    settle();
    expect_statuses(STATUS_OK);
    ck_assert_uint_eq(host_stats(node->host).n_reject, 3);
    ck_assert_uint_eq(host_stats(node->host).n_backward_slots, N_ROWS);
}
END_TEST

START_TEST(test_rows_not_to_be_kept_are_not)
{
    start();
    struct ask *ask = make_ask(MESSAGE_FORWARD, 1, 0, 2, N_ROWS);
    ask->m.keep = false;
    send_ask(1, ask);
    settle();
    expect_statuses(STATUS_OK);
    ck_assert_uint_eq(host_stats(node->host).kept_bytes, 0);
    backward(1, 1, 0, 2, N_ROWS);
    expect_statuses(STATUS_GONE);
    ck_assert_uint_eq(host_stats(node->host).n_gone, 2);
}
END_TEST

/* -- Waiting --------------------------------------------------------------------------------------- */

START_TEST(test_busy_at_once)
{
    struct host_config config = stage_config(node, &run, "L0.0-7");
    config.works_max = 1;
    config.queue_slots_max = 3;
    node->holds_work = true;
    stage_start_with(node, &config);
    stage_trainer(node, 1, 9, &run);
    forward(1, 1, 0, 1, 4); /* more than fits, but nothing else waits: at work */
    forward(1, 2, 0, 1, 2);
    ck_assert_uint_eq(node->n_sent, 0);
    forward(1, 3, 0, 1, 2);
    expect_statuses(STATUS_BUSY);
    forward(1, 4, 0, 1, 1); /* this one still fits */
    ck_assert_uint_eq(node->n_sent, 0);
    stage_work(node);
    ck_assert_uint_eq(node->n_sent, 3);
    ck_assert_uint_eq(host_stats(node->host).n_busy, 1);
}
END_TEST

START_TEST(test_a_peer_that_does_not_read_is_refused)
{
    start();
    node->queued_bytes = 2 * IO_MESSAGE_MAX;
    forward(1, 1, 0, 2, 1);
    expect_statuses(STATUS_BUSY);
    node->queued_bytes = 0;
    forward(1, 1, 0, 2, 1);
    settle();
    expect_statuses(STATUS_OK);
}
END_TEST

static void start_held(void)
{
    struct host_config config = stage_config(node, &run, "L0.0-7");
    config.works_max = 1;
    node->holds_work = true;
    stage_start_with(node, &config);
    stage_trainer(node, 1, 9, &run);
    forward(1, 1000, 0, 1, 1); /* keeps the worker busy; its answer is forgotten below */
}

static void release(void)
{
    stage_work(node);
    buf_fini(&node->sent[0].message);
    memmove(node->sent, node->sent + 1, --node->n_sent * sizeof *node->sent);
}

START_TEST(test_late)
{
    start_held();
    struct ask *ask = make_ask(MESSAGE_FORWARD, 1, 0, 1, 2);
    ask->m.wait_ms = 5;
    send_ask(1, ask);
    forward(1, 2, 0, 1, 2);
    stage.now_us += 6000;
    release();
    ck_assert_uint_eq(node->n_sent, 2);
    ck_assert_int_eq(reply(0)->group[0].status, STATUS_LATE);
    ck_assert_int_eq(reply(1)->group[0].status, STATUS_OK);
    ck_assert_uint_eq(host_stats(node->host).n_late, 1);
    ck_assert_uint_eq(host_stats(node->host).n_forward_slots, 3);
}
END_TEST

START_TEST(test_cancel)
{
    start_held();
    forward(1, 1, 0, 2, 2);
    forward(1, 2, 0, 2, 2);
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    message_cancel_encode(1, &message);
    stage_tell(node, 1, message.bytes, message.n);
    stage_tell(node, 1, message.bytes, message.n);
    buf_fini(&message);
    release();
    ck_assert_uint_eq(only_reply()->call, 2);
    ck_assert_uint_eq(host_stats(node->host).n_forward_slots, 1 + 4);
    ck_assert_uint_eq(host_stats(node->host).n_late, 0);
}
END_TEST

START_TEST(test_lost_link_drops_forwards_and_applies_backwards)
{
    start_held();
    forward(1, 1, 1, 1, 2);
    stage_work(node);
    stage_forget_sent(node);
    forward(1, 1000, 0, 1, 1);
    forward(1, 2, 1, 1, 2);
    backward(1, 1, 1, 1, 2);
    stage_link_down(node, 1);
    stage_work(node);
    ck_assert_uint_eq(node->n_sent, 0);
    ck_assert_uint_eq(host_stats(node->host).n_backward_slots, 2);
    ck_assert_uint_eq(host_stats(node->host).n_forward_slots, 2 + 1 + 1);
    stage_trainer(node, 2, 9, &run); /* back again, it asks for the answer */
    backward(2, 1, 1, 1, 2);
    ck_assert_int_eq(only_reply()->group[0].status, STATUS_OK);
    ck_assert_uint_eq(host_stats(node->host).n_backward_slots, 2);
}
END_TEST

/* -- Places ---------------------------------------------------------------------------------------- */

#define KEPT_US 60000000u

/* Who works, or did lately, has a place; what was taken back or came to nothing earns none. */
START_TEST(test_work_keeps_a_place)
{
    start_held();
    ck_assert_uint_eq(node->keep_us[1], IO_NEVER);
    stage.now_us += 1000;
    forward(1, 1, 1, 1, 1);
    release();
    uint64_t kept_us = node->keep_us[1];
    ck_assert_uint_eq(kept_us, stage.now_us + KEPT_US);
    stage_forget_sent(node);
    stage.now_us += 1000;
    stage_trainer(node, 2, 8, &run);
    uint64_t came_us = stage.now_us;
    stage.now_us += 1000;
    forward(2, 1, 9, 1, 1); /* not here */
    ck_assert_uint_eq(node->keep_us[2], came_us);
    forward(2, 2, 0, 1, 1);
    forward(2, 3, 0, 1, 1); /* waits behind it */
    ck_assert_uint_eq(node->keep_us[2], IO_NEVER);
    for (uint64_t call = 2; call <= 3; call++) {
        struct buf message;
        buf_init(&message, IO_MESSAGE_MAX);
        message_cancel_encode(call, &message);
        stage_tell(node, 2, message.bytes, message.n);
        buf_fini(&message);
    }
    stage_work(node);
    ck_assert_uint_eq(node->keep_us[2], came_us);
    ck_assert_uint_eq(node->keep_us[1], kept_us); /* not touched by what others do */
}
END_TEST

/* A place is kept from the last answer on; refusals later do not shorten it. */
START_TEST(test_a_place_outlives_refusals)
{
    start();
    forward(1, 1, 0, 1, 1);
    settle();
    uint64_t kept_us = node->keep_us[1];
    ck_assert_uint_ge(kept_us, stage.now_us);
    forward(1, 2, 9, 1, 1);
    ck_assert_uint_eq(node->keep_us[1], kept_us);
    backward(1, 1, 0, 1, 1);
    ck_assert_uint_eq(node->keep_us[1], IO_NEVER);
    settle();
    ck_assert_uint_gt(node->keep_us[1], kept_us);
    ck_assert_uint_le(node->keep_us[1], stage.now_us + KEPT_US);
}
END_TEST

/* -- Exactly once ---------------------------------------------------------------------------------- */

START_TEST(test_a_retry_counts_once)
{
    set_form(_i);
    start();
    forward(1, 1, 0, 2, N_ROWS);
    settle();
    stage_forget_sent(node);
    backward(1, 1, 0, 2, N_ROWS);
    settle();
    struct buf first = copy_of_sent(0);
    stage_forget_sent(node);
    uint64_t n_updates = host_stats(node->host).n_updates;
    for (int i = 0; i < 3; i++) {
        backward(1, 1, 0, 2, N_ROWS);
        settle();
        ck_assert_uint_eq(node->n_sent, 1);
        ck_assert_uint_eq(node->sent[0].message.n, first.n);
        ck_assert_mem_eq(node->sent[0].message.bytes, first.bytes, first.n);
        stage_forget_sent(node);
    }
    buf_fini(&first);
    ck_assert_uint_eq(host_stats(node->host).n_backward_slots, 2 * N_ROWS);
    ck_assert_uint_eq(host_stats(node->host).n_updates, n_updates);
}
END_TEST

/* The same call number of another peer is another call. */
START_TEST(test_calls_belong_to_peers)
{
    start();
    stage_trainer(node, 2, 10, &run);
    forward(1, 1, 0, 1, 2);
    settle();
    stage_forget_sent(node);
    backward(2, 1, 0, 1, 2);
    expect_statuses(STATUS_GONE);
    backward(1, 1, 0, 1, 2);
    settle();
    expect_statuses(STATUS_OK);
}
END_TEST

START_TEST(test_a_retry_while_queued_waits_for_the_first)
{
    start_held();
    forward(1, 1, 1, 1, N_ROWS);
    stage_work(node);
    stage_forget_sent(node);
    forward(1, 1000, 0, 1, 1);
    backward(1, 1, 1, 1, N_ROWS); /* queued */
    stage_trainer(node, 2, 9, &run);
    backward(2, 1, 1, 1, N_ROWS);
    backward(2, 1, 1, 1, N_ROWS - 1); /* not what was asked before */
    if (_i > 0)
        stage_link_down(node, (io_link)_i);
    stage_work(node);
    ck_assert_uint_eq(host_stats(node->host).n_backward_slots, N_ROWS);
    size_t n_ok = 0, n_rejected = 0;
    struct buf *first = NULL;
    for (size_t i = 0; i < node->n_sent; i++) {
        struct buf *sent = &node->sent[i].message;
        if (reply(i)->call == 1000)
            continue;
        n_rejected += reply(i)->group[0].status == STATUS_REJECT;
        if (reply(i)->group[0].status != STATUS_OK)
            continue;
        n_ok++;
        first = first ? first : sent;
        ck_assert_uint_eq(sent->n, first->n);
        ck_assert_mem_eq(sent->bytes, first->bytes, first->n); /* one answer, twice */
    }
    ck_assert_uint_eq(n_ok, (size_t)(_i == 0 ? 2 : 1));
    ck_assert_uint_eq(n_rejected, (size_t)(_i == 2 ? 0 : 1));
}
END_TEST

START_TEST(test_cancelling_a_backward_leaves_it_to_be_asked_again)
{
    start_held();
    forward(1, 1, 1, 1, N_ROWS);
    stage_work(node);
    stage_forget_sent(node);
    forward(1, 1000, 0, 1, 1);
    backward(1, 1, 1, 1, N_ROWS);
    backward(1, 1, 1, 1, N_ROWS); /* a twin, cancelled with it */
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    message_cancel_encode(1, &message);
    stage_tell(node, 1, message.bytes, message.n);
    buf_fini(&message);
    ck_assert_uint_eq(node->n_sent, 0);
    stage_work(node);
    ck_assert_uint_eq(host_stats(node->host).n_backward_slots, 0);
    stage_forget_sent(node);
    backward(1, 1, 1, 1, N_ROWS);
    stage_work(node);
    ck_assert_int_eq(only_reply()->group[0].status, STATUS_OK);
    ck_assert_uint_eq(host_stats(node->host).n_backward_slots, N_ROWS);
}
END_TEST

/* -- Memory that is short -------------------------------------------------------------------------- */

static void start_forgetful(void)
{
    struct host_config config = stage_config(node, &run, "L0.0-7");
    config.kept_bytes_max = 1;
    stage_start_with(node, &config);
    stage_trainer(node, 1, 9, &run);
}

START_TEST(test_evicted_rows_are_asked_for_again)
{
    set_form(_i);
    start();
    forward(1, 1, 0, 1, N_ROWS);
    settle();
    stage_forget_sent(node);
    backward(1, 1, 0, 1, N_ROWS);
    settle();
    struct buf kept = copy_of_sent(0);
    stage_kill(node);

    stage_disk_fini(node->disk);
    start_forgetful();
    forward(1, 1, 0, 1, N_ROWS);
    settle();
    stage_forget_sent(node);
    backward(1, 1, 0, 1, N_ROWS);
    expect_statuses(STATUS_GONE);
    backward_with_x(1, 1, 0, N_ROWS);
    settle();
    ck_assert_uint_eq(node->sent[0].message.n, kept.n); /* the same answer, from rows that came again */
    ck_assert_mem_eq(node->sent[0].message.bytes, kept.bytes, kept.n);
    buf_fini(&kept);
    ck_assert_uint_eq(host_stats(node->host).kept_bytes, 0);
}
END_TEST

START_TEST(test_an_evicted_answer_is_made_again_without_effect)
{
    set_form(_i);
    start_forgetful();
    backward_with_x(1, 1, 0, 2);
    settle();
    struct buf first = copy_of_sent(0);
    stage_forget_sent(node);
    backward(1, 1, 0, 1, 2);
    expect_statuses(STATUS_GONE);
    backward_with_x(1, 1, 0, 2);
    settle();
    ck_assert_mem_eq(node->sent[0].message.bytes, first.bytes, first.n);
    ck_assert_uint_eq(reply(0)->group[0].load, 2);
    ck_assert_uint_eq(host_stats(node->host).n_backward_slots, 2);
    buf_fini(&first);
}
END_TEST

/* -- Batches --------------------------------------------------------------------------------------- */

/* 12 calls of 2 trainers; their answers, in order of the calls, into `out`. */
static void play(bool is_held, struct buf *out)
{
    stage_start(node, &run, "L0.0-7");
    stage_trainer(node, 1, 9, &run);
    stage_trainer(node, 2, 10, &run);
    for (int round = 0; round < 2; round++) {
        node->holds_work = is_held;
        for (uint64_t call = 0; call < 12; call++) {
            io_link link = 1 + call % 2;
            if (round == 0 || call % 3 == 2)
                forward(link, call + (round ? 100 : 0), call % 3 == 0, 2, (uint32_t)(1 + call % N_ROWS));
            else
                backward(link, call, call % 3 == 0, 2, (uint32_t)(1 + call % N_ROWS));
            if (!is_held)
                settle();
        }
        node->holds_work = false;
        stage_work(node);
        settle();
        for (uint64_t call = 0; call < 112; call++)
            for (size_t i = 0; i < node->n_sent; i++)
                if (reply(i)->call == call)
                    buf_append(out, node->sent[i].message.bytes, node->sent[i].message.n);
        stage_forget_sent(node);
    }
}

START_TEST(test_batches_do_not_show)
{
    set_form(_i);
    struct buf alone, together;
    buf_init(&alone, 1 << 20);
    buf_init(&together, 1 << 20);
    play(false, &alone);
    size_t n_alone = node->n_works_ever;
    stage_kill(node);
    stage_disk_fini(node->disk);
    node->n_works_ever = 0;
    play(true, &together);
    ck_assert_uint_lt(node->n_works_ever, n_alone / 2);
    ck_assert_uint_eq(alone.n, together.n);
    ck_assert_mem_eq(alone.bytes, together.bytes, alone.n);
    ck_assert_uint_ge(host_stats(node->host).n_updates, 2);
    buf_fini(&alone);
    buf_fini(&together);
}
END_TEST

/* -- All of it at random --------------------------------------------------------------------------- */

static void do_something(struct rng *rng)
{
    io_link link = 1 + rng_below(rng, 3);
    uint64_t call = rng_below(rng, 12);
    uint16_t expert = (uint16_t)rng_below(rng, 8);
    size_t n = 1 + rng_below(rng, 3);
    struct buf message;
    switch (rng_below(rng, 8)) {
    case 0:
    case 1:
        forward(link, call, expert, n, 1 + (uint32_t)rng_below(rng, N_ROWS));
        break;
    case 2:
    case 3:
        backward(link, call, expert, n, 1 + (uint32_t)rng_below(rng, N_ROWS));
        break;
    case 4:
        backward_with_x(link, call, expert, 1 + (uint32_t)rng_below(rng, N_ROWS));
        break;
    case 5:
        buf_init(&message, 64);
        message_cancel_encode(call, &message);
        stage_tell(node, link, message.bytes, message.n);
        buf_fini(&message);
        break;
    case 6:
        stage_link_down(node, link);
        stage_trainer(node, link, (uint8_t)(9 + link % 2), &run);
        break;
    default:
        node->holds_work = rng_below(rng, 2);
        if (!node->holds_work)
            stage_work(node);
        stage_run(&stage, rng_below(rng, 2000000));
    }
    stage_forget_sent(node);
}

/* Nothing leaks, hangs or trips over an assertion, whatever the order. */
START_TEST(test_any_order)
{
    set_form(_i % N_NUMERICS);
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "any order");
    struct host_config config = stage_config(node, &run, "L0.0-7");
    config.works_max = 2;
    config.queue_slots_max = 12;
    config.kept_bytes_max = 1500;
    stage_start_with(node, &config);
    for (io_link link = 1; link <= 3; link++)
        stage_trainer(node, link, (uint8_t)(9 + link % 2), &run);
    for (int i = 0; i < 400; i++)
        do_something(&rng);
    node->holds_work = false;
    stage_work(node);
    ck_assert_uint_le(host_stats(node->host).kept_bytes, 1500);
    if (_i % 2)
        stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node/host_request");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_answers_are_the_experts, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_versions_rise, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_experts_that_are_not_here, 0, 2);
    tcase_add_loop_test(tc, test_rows_that_no_rounding_gives, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_numbers_that_are_not_finite, 0, N_NUMERICS);
    tcase_add_test(tc, test_rows_not_to_be_kept_are_not);
    tcase_add_test(tc, test_busy_at_once);
    tcase_add_test(tc, test_a_peer_that_does_not_read_is_refused);
    tcase_add_test(tc, test_late);
    tcase_add_test(tc, test_cancel);
    tcase_add_test(tc, test_work_keeps_a_place);
    tcase_add_test(tc, test_a_place_outlives_refusals);
    tcase_add_test(tc, test_lost_link_drops_forwards_and_applies_backwards);
    tcase_add_loop_test(tc, test_a_retry_counts_once, 0, N_NUMERICS);
    tcase_add_test(tc, test_calls_belong_to_peers);
    tcase_add_loop_test(tc, test_a_retry_while_queued_waits_for_the_first, 0, 3);
    tcase_add_test(tc, test_cancelling_a_backward_leaves_it_to_be_asked_again);
    tcase_add_loop_test(tc, test_evicted_rows_are_asked_for_again, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_an_evicted_answer_is_made_again_without_effect, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_batches_do_not_show, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_any_order, 0, 30);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
