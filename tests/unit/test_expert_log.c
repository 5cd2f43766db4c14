/* tests/unit/test_expert_log.c - the chain says what was done, by whom and in which order. */
#include "expert_play.h"

static struct expert *fresh(void)
{
    struct expert_config c = play_config(2, 2);
    return play_expert("ref", &c, "L0.0");
}

/* The layout is part of what hosts sign, so it is pinned here byte by byte. */
START_TEST(test_layout)
{
    struct expert *x = fresh();
    struct peer_id caller;
    uint8_t bytes[10 + 32 + 61];
    memset(caller.byte, 0xc3, sizeof caller.byte);
    x->version = 0x0102030405060708;
    memset(x->log_head.byte, 0x5a, HASH_BYTES);
    memcpy(bytes, "hanse-log", 10);
    memset(bytes + 10, 0x5a, 32);
    const uint8_t version[] = {8, 7, 6, 5, 4, 3, 2, 1};
    bytes[42] = 1;
    memcpy(bytes + 43, version, 8);
    memset(bytes + 51, 0xc3, 32);
    const uint8_t rest[] = {0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x30, 0, 0, 0};
    memcpy(bytes + 83, rest, sizeof rest);
    struct hash expected = hash_bytes(bytes, sizeof bytes);
    expert_log_backward(x, &caller, 0x10, 0x20, 0x30);
    ck_assert(hash_equal(&x->log_head, &expected));
    memcpy(bytes + 10, expected.byte, 32);
    bytes[42] = 2;
    expected = hash_bytes(bytes, 51);
    expert_log_update(x);
    ck_assert(hash_equal(&x->log_head, &expected));
    expert_free(x);
}
END_TEST

/* Changing any one thing that was logged changes the head. */
START_TEST(test_everything_counts)
{
    struct expert *x = fresh(), *y = fresh();
    struct peer_id caller = {{1}}, other = {{1, 1}};
    expert_log_update(x);
    expert_log_backward(x, &caller, 5, 6, 7);
    if (_i != 0)
        expert_log_update(y);
    if (_i == 1)
        y->version = 1;
    expert_log_backward(y, _i == 2 ? &other : &caller, _i == 3 ? 9 : 5, _i == 4 ? 9 : 6, _i == 5 ? 9 : 7);
    if (_i == 6)
        expert_log_update(y);
    ck_assert_int_eq(hash_equal(&x->log_head, &y->log_head), _i == 7);
    expert_free(x);
    expert_free(y);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("expert_log");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_layout);
    tcase_add_loop_test(t, test_everything_counts, 0, 8);
    suite_add_tcase(s, t);
    return unit_run(s);
}
