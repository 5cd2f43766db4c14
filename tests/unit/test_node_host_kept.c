#include <string.h>

#include "device_play.h"
#include "node/host_kept.h"
#include "unit.h"

#define WIDTH 4
#define N_ROWS 3
#define ROWS_BYTES (sizeof(float) * WIDTH * N_ROWS)
#define SLICES_BYTES ((size_t)(8 + 2 * WIDTH * N_ROWS)) /* of the same in two */

static struct kept kept;
static uint64_t now_us = 1000;
static const struct peer_id alice = {{1}}, bob = {{2}};

static void setup(void)
{
    ck_assert_int_eq(kept_init(&kept, 4 * ROWS_BYTES), 0);
}

static void teardown(void)
{
    kept_fini(&kept);
}

static struct message_request request_of(uint64_t call, const struct kept_message *message)
{
    return (struct message_request){
        .call = call, .layer = 1, .n_rows = N_ROWS, .D = WIDTH, .rows = {.f32 = (const float *)(const void *)message->byte}};
}

/* Keeps rows filled with `value`, with one part of expert 5. */
static struct kept_call *keep(const struct peer_id *peer, uint64_t call, float value)
{
    float x[N_ROWS * WIDTH];
    for (size_t i = 0; i < N_ROWS * WIDTH; i++)
        x[i] = value;
    struct kept_message *message = kept_message_new(x, sizeof x);
    struct message_request m = request_of(call, message);
    struct kept_call *c = kept_add(&kept, peer, &m);
    ck_assert_ptr_nonnull(c);
    kept_put_rows(&kept, c, message, &m);
    ck_assert_ptr_nonnull(kept_part(c, 5));
    kept_message_free(message);
    return c;
}

static void answer(struct kept_call *call, uint16_t expert, uint32_t n_slots, float value)
{
    float gx[N_ROWS * WIDTH] = {value};
    struct message_group group = {
        .expert = expert, .n_slots = n_slots, .version = 7, .staleness = 1, .load = 9, .values = {.f32 = gx}};
    struct kept_part *part = kept_part(call, expert);
    kept_begin(call, part, &group);
    kept_done(&kept, call, part, &group);
}

START_TEST(test_rows_are_found_again)
{
    keep(&alice, 1, 10);
    keep(&bob, 1, 20);
    keep(&alice, 2, 30);
    ck_assert_uint_eq(kept.n_bytes, 3 * ROWS_BYTES);
    ck_assert(kept_find(&kept, &alice, 1)->x.f32[0] == 10);
    ck_assert(kept_find(&kept, &bob, 1)->x.f32[N_ROWS * WIDTH - 1] == 20);
    ck_assert_ptr_null(kept_find(&kept, &bob, 2));
}
END_TEST

START_TEST(test_oldest_rows_go_first)
{
    for (uint64_t call = 0; call < 6; call++) {
        keep(&alice, call, (float)call);
        kept_trim(&kept, now_us);
    }
    ck_assert_uint_eq(kept.n_bytes, 4 * ROWS_BYTES);
    ck_assert_ptr_null(kept_find(&kept, &alice, 0)); /* nothing was done for it: forgotten wholly */
    ck_assert_ptr_null(kept_find(&kept, &alice, 1));
    for (uint64_t call = 2; call < 6; call++)
        ck_assert(rows_are_there(&kept_find(&kept, &alice, call)->x));
}
END_TEST

START_TEST(test_rows_in_use_outlive_the_budget)
{
    struct kept_call *call = keep(&alice, 0, 42);
    struct kept_message *pin = call->message;
    const float *x = call->x.f32;
    kept_message_ref(pin);
    for (uint64_t i = 1; i < 9; i++)
        keep(&alice, i, 0);
    kept_trim(&kept, now_us);
    ck_assert_ptr_null(kept_find(&kept, &alice, 0));
    ck_assert(x[0] == 42);
    kept_message_free(pin);
}
END_TEST

START_TEST(test_that_it_was_done_outlives_the_answer)
{
    struct kept_call *call = keep(&alice, 0, 1);
    answer(call, 5, N_ROWS, 3);
    ck_assert(!rows_are_there(&call->x)); /* no expert needs the rows any more */
    struct kept_part *part = kept_part(call, 5);
    ck_assert_int_eq(part->state, KEPT_DONE);
    ck_assert(part->values.f32[0] == 3);
    ck_assert_uint_eq(part->version, 7);
    ck_assert_uint_eq(part->load, 9);
    for (uint64_t i = 1; i < 9; i++)
        keep(&alice, i, 0);
    kept_trim(&kept, now_us);
    call = kept_find(&kept, &alice, 0);
    ck_assert_ptr_nonnull(call);
    part = kept_part(call, 5);
    ck_assert_int_eq(part->state, KEPT_DONE);
    ck_assert_ptr_null(part->bytes);
    ck_assert_uint_eq(kept.n_bytes, 4 * ROWS_BYTES);
}
END_TEST

START_TEST(test_rows_stay_while_another_expert_needs_them)
{
    struct kept_call *call = keep(&alice, 0, 1);
    ck_assert_ptr_nonnull(kept_part(call, 6));
    answer(call, 5, 1, 3);
    ck_assert(rows_are_there(&call->x));
    answer(call, 6, 1, 3);
    ck_assert(!rows_are_there(&call->x));
}
END_TEST

/* Integers are counted, compared and kept as they came; the answer to one slice is two. */
START_TEST(test_rows_of_integers)
{
    uint8_t bytes[SLICES_BYTES] = {1, 2, 3}, answered[SLICES_BYTES];
    enum numerics form = _i ? NUMERICS_I8X1 : NUMERICS_I8X2;
    size_t n_bytes = rows_bytes(form, N_ROWS, WIDTH);
    memset(bytes + 8, 7, sizeof bytes - 8);
    memset(answered, 9, sizeof answered);
    struct kept_call *call = NULL;
    for (int round = 0; round < 3; round++) {
        bytes[n_bytes - 1] = round == 2; /* the last value of all */
        struct kept_message *message = kept_message_new(bytes, n_bytes);
        struct message_request m = {.call = 1, .layer = 1, .n_rows = N_ROWS, .D = WIDTH, .form = form};
        m.rows = rows_at(form, message->byte, N_ROWS, WIDTH);
        call = kept_add(&kept, &alice, &m);
        kept_put_rows(&kept, call, message, &m);
        ck_assert_ptr_nonnull(kept_part(call, 6));
        kept_message_free(message);
        ck_assert_int_eq(kept_part(call, 5)->state, round == 1 ? KEPT_DONE : KEPT_OWED); /* the same rows, then others */
        ck_assert_uint_eq(kept.n_bytes, round == 1 ? n_bytes + SLICES_BYTES : n_bytes);
        if (round > 0)
            continue;
        struct message_group group = {.expert = 5, .n_slots = N_ROWS, .values = rows_at(NUMERICS_I8X2, answered, N_ROWS, WIDTH)};
        struct kept_part *part = kept_part(call, 5);
        kept_begin(call, part, &group);
        kept_done(&kept, call, part, &group);
        ck_assert(rows_equal(&part->values, &group.values, N_ROWS, WIDTH));
        ck_assert_uint_eq(part->n_bytes, SLICES_BYTES);
    }
}
END_TEST

START_TEST(test_undo_begins_anew)
{
    int who;
    struct kept_call *call = keep(&alice, 0, 1);
    struct kept_part *part = kept_part(call, 5);
    kept_begin(call, part, &who);
    ck_assert_int_eq(kept_part(call, 5)->state, KEPT_PENDING);
    ck_assert_ptr_eq(kept_part(call, 5)->pending, &who);
    kept_undo(call, part);
    ck_assert_int_eq(kept_part(call, 5)->state, KEPT_OWED);
    ck_assert(rows_are_there(&call->x));
}
END_TEST

START_TEST(test_pending_calls_are_not_forgotten)
{
    int who;
    struct kept_call *call = keep(&alice, 0, 1);
    kept_begin(call, kept_part(call, 5), &who);
    for (uint64_t i = 1; i < 9; i++)
        keep(&alice, i, 0);
    kept_trim(&kept, now_us);
    ck_assert_ptr_eq(kept_find(&kept, &alice, 0), call);
    float gx[N_ROWS * WIDTH] = {0};
    struct message_group group = {.expert = 5, .n_slots = N_ROWS, .values = {.f32 = gx}};
    kept_done(&kept, call, kept_part(call, 5), &group);
    kept_trim(&kept, now_us); /* it is the oldest that holds bytes again */
    ck_assert_ptr_null(kept_part(call, 5)->bytes);
    ck_assert_uint_le(kept.n_bytes, kept.max_bytes);
}
END_TEST

START_TEST(test_same_rows_again_keep_what_was_done)
{
    struct kept_call *call = keep(&alice, 0, 1);
    ck_assert_ptr_nonnull(kept_part(call, 6));
    answer(call, 5, 1, 3);
    ck_assert_ptr_eq(keep(&alice, 0, 1), call);
    ck_assert_int_eq(kept_part(call, 5)->state, KEPT_DONE);
    ck_assert_ptr_eq(keep(&alice, 0, 2), call); /* other rows: another call */
    ck_assert_int_eq(kept_part(call, 5)->state, KEPT_OWED);
    ck_assert_uint_eq(kept.n_bytes, ROWS_BYTES);
}
END_TEST

START_TEST(test_number_of_calls_is_bounded)
{
    struct kept_message *message = kept_message_new("", 1);
    for (uint64_t i = 0; i < KEPT_CALLS_MAX + 100; i++) {
        struct message_request m = request_of(i, message);
        ck_assert_ptr_nonnull(kept_add(&kept, i % 2 ? &alice : &bob, &m));
        kept_trim(&kept, now_us);
    }
    kept_message_free(message);
    ck_assert_uint_eq(kept.n_calls, KEPT_CALLS_MAX);
    ck_assert_ptr_null(kept_find(&kept, &alice, 99));
    ck_assert_ptr_nonnull(kept_find(&kept, &bob, 100));
    ck_assert_ptr_nonnull(kept_find(&kept, &alice, KEPT_CALLS_MAX + 99));
}
END_TEST

START_TEST(test_many_parts)
{
    struct kept_call *call = keep(&alice, 0, 1);
    for (int round = 0; round < 2; round++)
        for (uint16_t e = 0; e < 1000; e++)
            ck_assert_uint_eq(kept_part(call, (uint16_t)(7 * e))->expert, 7 * e);
    ck_assert_uint_eq(call->n_parts, 1001); /* and expert 5 */
}
END_TEST

/* -- The memory of a device ------------------------------------------------------------------------ */

static const struct kernels *device;

static void setup_device(void)
{
    device = device_play();
    setup();
    kept.max_bytes = 1 << 20;
    kept_use_device(&kept, device, 4 * ROWS_BYTES);
}

static void teardown_device(void)
{
    teardown();
    device_play_end();
}

/* Keeps rows as a host does. */
static struct kept_message *keep_there(uint64_t call)
{
    struct kept_call *c = keep(&alice, call, (float)call);
    c->message->device = &kept.device;
    return c->message;
}

static void *bring(void *arg)
{
    return (void *)(uintptr_t)kept_message_there(arg);
}

/* Another thread's operations find it without asking. */
START_TEST(test_who_brings_a_message_waits_for_it)
{
    pthread_t thread;
    void *there;
    float value;
    struct kept_message *message = keep_there(7);
    ck_assert_int_eq(pthread_create(&thread, NULL, bring, message), 0);
    pthread_join(thread, &there);
    ck_assert_ptr_nonnull(there);
    ck_assert_int_eq(device->get(&value, there, sizeof value), 0);
    ck_assert(value == 7);
    ck_assert_ptr_eq(kept_message_there(message), there);
    ck_assert_uint_eq(played.n_puts, 1);
    ck_assert_uint_eq(kept_device_bytes(&kept), ROWS_BYTES);
}
END_TEST

START_TEST(test_the_oldest_leave_the_device_first)
{
    struct kept_message *message[4];
    for (uint64_t i = 0; i < 4; i++) {
        message[i] = keep_there(i);
        ck_assert_ptr_nonnull(kept_message_there(message[i]));
    }
    kept_message_ref(message[0]); /* in use: it stays */
    kept_trim(&kept, now_us);
    ck_assert_uint_eq(kept_device_bytes(&kept), 3 * ROWS_BYTES); /* a quarter is for what is on its way */
    uint64_t n_puts = played.n_puts;
    ck_assert_ptr_nonnull(kept_message_there(message[0]));
    ck_assert_ptr_nonnull(kept_message_there(message[2]));
    ck_assert_ptr_nonnull(kept_message_there(message[3]));
    ck_assert_uint_eq(played.n_puts, n_puts);
    ck_assert(kept_find(&kept, &alice, 1)->x.f32[0] == 1); /* still here, */
    struct kept_message *pin = kept_pin_rows(&kept, kept_find(&kept, &alice, 1));
    ck_assert_ptr_nonnull(kept_message_there(pin)); /* and comes again */
    ck_assert_uint_eq(played.n_puts, n_puts + 1);
    kept_trim(&kept, now_us);
    ck_assert_uint_eq(kept_device_bytes(&kept), 3 * ROWS_BYTES); /* in place of 2 */
    ck_assert_ptr_null(message[2]->there);
    kept_message_free(pin);
    keep_there(4);
    ck_assert_ptr_nonnull(kept_message_there(kept_find(&kept, &alice, 4)->message));
    kept_trim(&kept, now_us);
    ck_assert_ptr_null(message[1]->there); /* the oldest that is not in use */
    kept_message_free(message[0]);
}
END_TEST

START_TEST(test_there_is_no_more_than_the_budget)
{
    for (uint64_t i = 0; i < 4; i++)
        ck_assert_ptr_nonnull(kept_message_there(keep_there(i)));
    ck_assert_ptr_null(kept_message_there(keep_there(4)));
    ck_assert_uint_eq(played.n_puts, 4);
    kept_use_device(&kept, device, ROWS_BYTES - 1);
    ck_assert_ptr_null(kept_message_there(keep_there(5)));
}
END_TEST

START_TEST(test_no_memory_is_a_smaller_budget)
{
    played.max_bytes = 2 * ROWS_BYTES;
    ck_assert_ptr_nonnull(kept_message_there(keep_there(0)));
    ck_assert_ptr_nonnull(kept_message_there(keep_there(1)));
    ck_assert_ptr_null(kept_message_there(keep_there(2)));
    played.max_bytes = 0;
    ck_assert_ptr_null(kept_message_there(keep_there(3)));
    ck_assert_uint_eq(kept_device_bytes(&kept), 2 * ROWS_BYTES);
}
END_TEST

/* A minute after memory was short the whole budget is tried again, and then that it still is costs one allotment. */
START_TEST(test_the_budget_rises_again)
{
    struct kept_message *message[4];
    for (uint64_t i = 0; i < 4; i++)
        kept_message_ref(message[i] = keep_there(i)); /* in use: all stay */
    played.max_bytes = 2 * ROWS_BYTES;
    for (int i = 0; i < 2; i++)
        ck_assert_ptr_nonnull(kept_message_there(message[i]));
    for (int round = 0; round < 2; round++) {
        ck_assert_ptr_null(kept_message_there(message[2]));
        kept_trim(&kept, now_us);
        now_us += KEPT_SHORT_US - 1;
        kept_trim(&kept, now_us);
        played.max_bytes = 0; /* there would be enough, but nobody asks */
        ck_assert_ptr_null(kept_message_there(message[2]));
        played.max_bytes = 2 * ROWS_BYTES;
        kept_trim(&kept, ++now_us);
    }
    played.max_bytes = 0;
    ck_assert_ptr_nonnull(kept_message_there(message[2]));
    ck_assert_ptr_nonnull(kept_message_there(message[3]));
    ck_assert_ptr_null(kept_message_there(keep_there(4))); /* and no more than the whole */
    kept_trim(&kept, ++now_us);
    ck_assert_uint_eq(kept_device_bytes(&kept), 4 * ROWS_BYTES);
    for (int i = 0; i < 4; i++)
        kept_message_free(message[i]);
}
END_TEST

START_TEST(test_a_lost_device_has_nothing)
{
    device->zero(NULL, 0);
    if (_i)
        played.lost_after = played.n_operations; /* when the bytes are on their way */
    else
        device_play_lose(0);
    ck_assert_ptr_null(kept_message_there(keep_there(0)));
    ck_assert_uint_eq(kept_device_bytes(&kept), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node/host_kept");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_rows_are_found_again);
    tcase_add_test(tc, test_oldest_rows_go_first);
    tcase_add_test(tc, test_rows_in_use_outlive_the_budget);
    tcase_add_test(tc, test_that_it_was_done_outlives_the_answer);
    tcase_add_test(tc, test_rows_stay_while_another_expert_needs_them);
    tcase_add_loop_test(tc, test_rows_of_integers, 0, 2);
    tcase_add_test(tc, test_undo_begins_anew);
    tcase_add_test(tc, test_pending_calls_are_not_forgotten);
    tcase_add_test(tc, test_same_rows_again_keep_what_was_done);
    tcase_add_test(tc, test_number_of_calls_is_bounded);
    tcase_add_test(tc, test_many_parts);
    suite_add_tcase(suite, tc);
    tc = tcase_create("device");
    tcase_add_checked_fixture(tc, setup_device, teardown_device);
    tcase_add_test(tc, test_who_brings_a_message_waits_for_it);
    tcase_add_test(tc, test_the_oldest_leave_the_device_first);
    tcase_add_test(tc, test_there_is_no_more_than_the_budget);
    tcase_add_test(tc, test_no_memory_is_a_smaller_budget);
    tcase_add_test(tc, test_the_budget_rises_again);
    tcase_add_loop_test(tc, test_a_lost_device_has_nothing, 0, 2);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
