/* tests/unit/test_router_claims.c - what hosts say in the directory: entries of router/message.h. */
#include <string.h>

#include "router/message.h"
#include "unit.h"

START_TEST(test_claims)
{
    struct message_claim sent[MESSAGE_ROW_EXPERTS], got[MESSAGE_ROW_EXPERTS];
    uint8_t bytes[MESSAGE_CLAIMS_BYTES];
    size_t n_sent = (size_t)_i, n_got = 99;
    for (size_t i = 0; i < n_sent; i++)
        sent[i] = (struct message_claim){(uint8_t)(i + 64 - n_sent), (uint8_t)(3 * i), (uint32_t)i << 20,
                                         UINT32_MAX - (uint32_t)i};
    size_t n = message_claims_encode(sent, n_sent, bytes);
    ck_assert_uint_eq(n, 4 + 10 * n_sent);
    ck_assert_int_eq(message_claims_decode(got, &n_got, bytes, n), 0);
    ck_assert_uint_eq(n_got, n_sent);
    for (size_t i = 0; i < n_sent; i++) {
        ck_assert_uint_eq(got[i].index, sent[i].index);
        ck_assert_uint_eq(got[i].epoch, sent[i].epoch);
        ck_assert_uint_eq(got[i].version, sent[i].version);
        ck_assert_uint_eq(got[i].load, sent[i].load);
    }
    for (size_t cut = 0; cut < n; cut++)
        ck_assert_int_eq(message_claims_decode(got, &n_got, bytes, cut), HANSE_EPROTO);
}
END_TEST

START_TEST(test_claims_refusals)
{
    struct message_claim sent[2] = {{.index = 3}, {.index = 5}}, got[MESSAGE_ROW_EXPERTS];
    uint8_t bytes[MESSAGE_CLAIMS_BYTES];
    size_t n_got, n = message_claims_encode(sent, 2, bytes);
    struct {
        size_t at;
        uint8_t byte;
    } bad[] = {{0, 0}, {0, 1}, {0, 3}, {2, 1}, {2, 3}, {2, 65}, {3, 1}, {14, 3}, {14, 2}, {14, 64}, {4, 200}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t was = bytes[bad[i].at];
        bytes[bad[i].at] = bad[i].byte;
        ck_assert_msg(message_claims_decode(got, &n_got, bytes, n) == HANSE_EPROTO, "case %zu", i);
        bytes[bad[i].at] = was;
    }
    ck_assert_int_eq(message_claims_decode(got, &n_got, bytes, n), 0);
}
END_TEST

START_TEST(test_hardware)
{
    struct message_claim sent = {.index = 3}, got[MESSAGE_ROW_EXPERTS];
    uint8_t bytes[MESSAGE_CLAIMS_BYTES];
    size_t n_got, n = message_claims_encode(&sent, 1, bytes);
    ck_assert_int_eq(message_claims_hardware(bytes), HARDWARE_UNKNOWN);
    for (int hardware = 0; hardware < 256; hardware++) {
        message_claims_set_hardware(bytes, (enum message_hardware)hardware);
        ck_assert_int_eq(message_claims_decode(got, &n_got, bytes, n), 0);
        ck_assert_int_eq(message_claims_hardware(bytes), hardware < N_HARDWARE ? hardware : HARDWARE_UNKNOWN);
    }
}
END_TEST

START_TEST(test_run)
{
    struct message_run sent = {.run = hash_bytes("r", 1), .n_moe = 3, .experts = 700, .name = "kjv\x1b[2J"}, got;
    uint8_t bytes[MESSAGE_RUN_BYTES + 1] = {0};
    size_t n = message_run_encode(&sent, bytes);
    ck_assert_uint_eq(n, 40 + strlen(sent.name));
    ck_assert_int_eq(message_run_decode(&got, bytes, n), 0);
    ck_assert(hash_equal(&got.run, &sent.run) && got.n_moe == 3 && got.experts == 700);
    ck_assert_str_eq(got.name, "kjv?[2J");
    for (size_t cut = 0; cut <= 40; cut++)
        ck_assert_int_eq(message_run_decode(&got, bytes, cut), HANSE_EPROTO);
    ck_assert_int_eq(message_run_decode(&got, bytes, sizeof bytes), HANSE_EPROTO); /* a name too long */
    bytes[0] = 2;
    ck_assert_int_eq(message_run_decode(&got, bytes, n), HANSE_EPROTO);
    bytes[0] = 1;
    bytes[2] = bytes[3] = 0; /* no MoE layers */
    ck_assert_int_eq(message_run_decode(&got, bytes, n), HANSE_EPROTO);
    bytes[2] = 1;
    bytes[7] = 1; /* 2^24 experts */
    ck_assert_int_eq(message_run_decode(&got, bytes, n), HANSE_EPROTO);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("router/message, claims");
    TCase *tc = tcase_create("all");
    tcase_add_loop_test(tc, test_claims, 0, MESSAGE_ROW_EXPERTS + 1);
    tcase_add_test(tc, test_claims_refusals);
    tcase_add_test(tc, test_hardware);
    tcase_add_test(tc, test_run);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
