#include "unit.h"

#include <signal.h>
#include <string.h>

#include "base/wire.h"

START_TEST(layouts_are_little_endian)
{
    static const uint8_t wanted[] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f, 0x0e, 0x0d,
                                     0x0c, 0x0b, 0x0a, 0x09, 0x08, 0,    0,    0x80, 0xbf};
    struct buf buf;
    buf_init(&buf, 100);
    wire_put_u8(&buf, 0x01);
    wire_put_u16(&buf, 0x0203);
    wire_put_u32(&buf, 0x04050607);
    wire_put_u64(&buf, UINT64_C(0x08090a0b0c0d0e0f));
    wire_put_f32(&buf, -1.0f);
    ck_assert_uint_eq(buf.n, sizeof wanted);
    ck_assert_mem_eq(buf.bytes, wanted, sizeof wanted);
    struct wire_reader r;
    wire_reader_init(&r, buf.bytes, buf.n);
    ck_assert_uint_eq(wire_u8(&r), 0x01);
    ck_assert_uint_eq(wire_u16(&r), 0x0203);
    ck_assert_uint_eq(wire_u32(&r), 0x04050607);
    ck_assert_uint_eq(wire_u64(&r), UINT64_C(0x08090a0b0c0d0e0f));
    ck_assert(!wire_done(&r));
    ck_assert(wire_f32(&r) == -1.0f);
    ck_assert(wire_done(&r));
    buf_fini(&buf);
}
END_TEST

START_TEST(the_top_bit_of_each_integer_survives)
{
    static const uint8_t ones[15] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    struct wire_reader r;
    wire_reader_init(&r, ones, sizeof ones);
    ck_assert_uint_eq(wire_u8(&r), UINT8_MAX);
    ck_assert_uint_eq(wire_u16(&r), UINT16_MAX);
    ck_assert_uint_eq(wire_u32(&r), UINT32_MAX);
    ck_assert_uint_eq(wire_u64(&r), UINT64_MAX);
    ck_assert(wire_done(&r));
}
END_TEST

START_TEST(a_nan_keeps_its_bits)
{
    static const uint8_t nan[] = {0x01, 0x00, 0xa0, 0x7f};
    struct wire_reader r;
    struct buf buf;
    wire_reader_init(&r, nan, sizeof nan);
    buf_init(&buf, 4);
    float v = wire_f32(&r);
    uint32_t bits;
    memcpy(&bits, &v, 4);
    ck_assert_uint_eq(bits, 0x7fa00001);
    wire_put_f32(&buf, v);
    ck_assert_mem_eq(buf.bytes, nan, 4);
    buf_fini(&buf);
}
END_TEST

START_TEST(the_first_fault_is_remembered)
{
    static const uint8_t bytes[] = {1, 2, 3};
    uint8_t out[2] = {9, 9};
    struct wire_reader r;
    wire_reader_init(&r, bytes, sizeof bytes);
    ck_assert_uint_eq(wire_u16(&r), 0x0201);
    ck_assert_uint_eq(wire_u16(&r), 0); /* one byte short */
    ck_assert(!wire_ok(&r) && !wire_done(&r));
    ck_assert_uint_eq(wire_u8(&r), 0); /* one byte is there, but the message is bad */
    ck_assert_uint_eq(wire_u64(&r), 0);
    ck_assert(wire_f32(&r) == 0.0f);
    wire_bytes(&r, out, 2);
    ck_assert_uint_eq(out[0] | out[1], 0);
    ck_assert_ptr_null(wire_view(&r, 0));
    ck_assert_uint_eq(wire_left(&r), 0);
}
END_TEST

START_TEST(a_length_that_wraps_around_is_a_fault)
{
    static const uint8_t bytes[8];
    struct wire_reader r;
    wire_reader_init(&r, bytes, sizeof bytes);
    wire_u8(&r);
    ck_assert_ptr_null(wire_view(&r, SIZE_MAX));
    ck_assert(!wire_ok(&r));
}
END_TEST

START_TEST(a_decoder_may_call_a_message_bad)
{
    static const uint8_t byte = 5;
    struct wire_reader r;
    wire_reader_init(&r, &byte, 1);
    ck_assert_uint_eq(wire_u8(&r), 5);
    ck_assert(wire_done(&r));
    wire_fail(&r);
    ck_assert(!wire_ok(&r) && !wire_done(&r));
}
END_TEST

START_TEST(views_borrow_and_copies_copy)
{
    static const uint8_t bytes[] = {1, 2, 3, 4, 5};
    uint8_t out[2];
    struct wire_reader r;
    wire_reader_init(&r, bytes, sizeof bytes);
    ck_assert_ptr_eq(wire_view(&r, 2), bytes);
    wire_bytes(&r, out, 2);
    ck_assert_mem_eq(out, bytes + 2, 2);
    ck_assert_uint_eq(wire_left(&r), 1);
    ck_assert_ptr_eq(wire_view(&r, 1), bytes + 4);
    ck_assert_ptr_nonnull(wire_view(&r, 0));
    ck_assert(wire_done(&r));
}
END_TEST

START_TEST(an_empty_message_is_done)
{
    struct wire_reader r;
    wire_reader_init(&r, NULL, 0);
    ck_assert(wire_done(&r));
    ck_assert_ptr_nonnull(wire_view(&r, 0));
    ck_assert_uint_eq(wire_u8(&r), 0);
    ck_assert(!wire_ok(&r));
}
END_TEST

START_TEST(padding_is_zeros_and_is_checked)
{
    static const uint8_t wanted[] = {7, 0, 0, 0, 0, 0, 0, 0, 8};
    struct buf buf;
    struct wire_reader r;
    buf_init(&buf, 100);
    wire_put_u8(&buf, 7);
    wire_put_align(&buf, 8);
    wire_put_align(&buf, 8); /* already there */
    wire_put_u8(&buf, 8);
    ck_assert_uint_eq(buf.n, sizeof wanted);
    ck_assert_mem_eq(buf.bytes, wanted, sizeof wanted);
    wire_reader_init(&r, buf.bytes, buf.n);
    wire_align(&r, 8); /* at the start nothing is skipped */
    ck_assert_uint_eq(wire_u8(&r), 7);
    wire_align(&r, 8);
    ck_assert_uint_eq(wire_u8(&r), 8);
    ck_assert(wire_done(&r));
    buf.bytes[_i] = 1;
    wire_reader_init(&r, buf.bytes, buf.n);
    wire_u8(&r);
    wire_align(&r, 8);
    ck_assert(!wire_ok(&r));
    buf_fini(&buf);
}
END_TEST

START_TEST(padding_past_the_end_is_a_fault)
{
    static const uint8_t bytes[3];
    struct wire_reader r;
    wire_reader_init(&r, bytes, sizeof bytes);
    wire_u8(&r);
    wire_align(&r, 4);
    ck_assert(!wire_ok(&r));
}
END_TEST

START_TEST(an_alignment_is_a_power_of_two)
{
    struct wire_reader r;
    wire_reader_init(&r, NULL, 0);
    wire_align(&r, 3);
}
END_TEST

START_TEST(writers_share_the_error_of_the_buffer)
{
    struct buf buf;
    buf_init(&buf, 9);
    wire_put_u64(&buf, 1);
    wire_put_u16(&buf, 2);
    ck_assert_int_eq(buf.err, HANSE_EFULL);
    wire_put_u8(&buf, 3);
    wire_put_align(&buf, 16);
    ck_assert_uint_eq(buf.n, 8);
    buf_fini(&buf);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/wire");
    TCase *tcase = tcase_create("wire");
    tcase_add_test(tcase, layouts_are_little_endian);
    tcase_add_test(tcase, the_top_bit_of_each_integer_survives);
    tcase_add_test(tcase, a_nan_keeps_its_bits);
    tcase_add_test(tcase, the_first_fault_is_remembered);
    tcase_add_test(tcase, a_length_that_wraps_around_is_a_fault);
    tcase_add_test(tcase, a_decoder_may_call_a_message_bad);
    tcase_add_test(tcase, views_borrow_and_copies_copy);
    tcase_add_test(tcase, an_empty_message_is_done);
    tcase_add_loop_test(tcase, padding_is_zeros_and_is_checked, 1, 8);
    tcase_add_test(tcase, padding_past_the_end_is_a_fault);
    tcase_add_test_raise_signal(tcase, an_alignment_is_a_power_of_two, SIGABRT);
    tcase_add_test(tcase, writers_share_the_error_of_the_buffer);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
