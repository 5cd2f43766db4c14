#include "unit.h"

#include <signal.h>
#include <string.h>

#include "base/buf.h"

START_TEST(appends_stand_in_order)
{
    struct buf buf;
    buf_init(&buf, 1000);
    for (int i = 0; i < 250; i++) {
        uint8_t four[4] = {(uint8_t)i, 1, 2, 3};
        buf_append(&buf, four, 4);
        ck_assert_uint_le(buf.capacity, buf.max);
    }
    ck_assert_int_eq(buf.err, 0);
    ck_assert_uint_eq(buf.n, 1000);
    for (int i = 0; i < 250; i++)
        ck_assert_uint_eq(buf.bytes[4 * i], i);
    buf_fini(&buf);
}
END_TEST

START_TEST(the_ceiling_holds_and_is_remembered)
{
    struct buf buf;
    buf_init(&buf, 10);
    buf_append(&buf, "12345678", 8);
    buf_append(&buf, "abc", 3);
    ck_assert_int_eq(buf.err, HANSE_EFULL);
    ck_assert_uint_eq(buf.n, 8);
    buf_append(&buf, "d", 1); /* it would fit, but the message already has a hole */
    buf_printf(&buf, "e");
    ck_assert_ptr_null(buf_extend(&buf, 1));
    ck_assert_uint_eq(buf.n, 8);
    ck_assert_mem_eq(buf.bytes, "12345678", 8);
    ck_assert_int_eq(buf.err, HANSE_EFULL);
    buf_clear(&buf);
    ck_assert_int_eq(buf.err, 0);
    buf_append(&buf, "1234567890", 10);
    ck_assert_int_eq(buf.err, 0);
    ck_assert_uint_eq(buf.n, 10);
    buf_fini(&buf);
}
END_TEST

START_TEST(huge_requests_do_not_wrap_around)
{
    struct buf buf;
    buf_init(&buf, 100);
    buf_append(&buf, "x", 1);
    ck_assert_ptr_null(buf_extend(&buf, SIZE_MAX));
    ck_assert_int_eq(buf.err, HANSE_EFULL);
    buf_fini(&buf);
    buf_init(&buf, SIZE_MAX);
    ck_assert_ptr_null(buf_extend(&buf, SIZE_MAX / 2));
    ck_assert_int_eq(buf.err, HANSE_ENOMEM);
    buf_fini(&buf);
}
END_TEST

START_TEST(printf_needs_no_room_for_a_nul)
{
    struct buf buf;
    buf_init(&buf, 7);
    buf_printf(&buf, "%s=%d", "abcd", 12);
    ck_assert_int_eq(buf.err, 0);
    ck_assert_mem_eq(buf.bytes, "abcd=12", 7);
    buf_printf(&buf, "!");
    ck_assert_int_eq(buf.err, HANSE_EFULL);
    buf_fini(&buf);
}
END_TEST

START_TEST(printf_writes_long_text_whole)
{
    struct buf buf;
    buf_init(&buf, 4000);
    buf_printf(&buf, "%03000d|", 7);
    ck_assert_int_eq(buf.err, 0);
    ck_assert_uint_eq(buf.n, 3001);
    ck_assert_mem_eq(buf.bytes + 2998, "07|", 3);
    buf_printf(&buf, "%01000d", 7);
    ck_assert_int_eq(buf.err, HANSE_EFULL);
    ck_assert_uint_eq(buf.n, 3001);
    buf_fini(&buf);
}
END_TEST

START_TEST(nothing_is_not_an_error)
{
    struct buf buf;
    buf_init(&buf, 0);
    buf_append(&buf, NULL, 0);
    ck_assert_ptr_nonnull(buf_extend(&buf, 0));
    buf_consume(&buf, 0);
    ck_assert_int_eq(buf.err, 0);
    ck_assert_uint_eq(buf.n, 0);
    buf_append(&buf, "x", 1);
    ck_assert_int_eq(buf.err, HANSE_EFULL);
    buf_fini(&buf);
    buf_fini(&buf);
}
END_TEST

START_TEST(consume_takes_from_the_front)
{
    struct buf buf;
    buf_init(&buf, 100);
    buf_append(&buf, "headtail", 8);
    buf_consume(&buf, 4);
    ck_assert_uint_eq(buf.n, 4);
    ck_assert_mem_eq(buf.bytes, "tail", 4);
    buf_consume(&buf, 4);
    ck_assert_uint_eq(buf.n, 0);
    buf_fini(&buf);
}
END_TEST

START_TEST(consuming_more_than_there_is_aborts)
{
    struct buf buf;
    buf_init(&buf, 100);
    buf_append(&buf, "abc", 3);
    buf_consume(&buf, 4);
}
END_TEST

START_TEST(move_leaves_the_source_empty_and_usable)
{
    struct buf from, to;
    buf_init(&from, 100);
    buf_init(&to, 5);
    buf_append(&from, "contents", 8);
    buf_append(&to, "old", 3);
    buf_move(&to, &from);
    ck_assert_uint_eq(to.n, 8);
    ck_assert_mem_eq(to.bytes, "contents", 8);
    ck_assert_uint_le(to.n, to.max);
    ck_assert_ptr_null(from.bytes);
    ck_assert_uint_eq(from.n, 0);
    buf_append(&from, "again", 5);
    ck_assert_mem_eq(from.bytes, "again", 5);
    buf_fini(&from);
    buf_fini(&to);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/buf");
    TCase *tcase = tcase_create("buf");
    tcase_add_test(tcase, appends_stand_in_order);
    tcase_add_test(tcase, the_ceiling_holds_and_is_remembered);
    tcase_add_test(tcase, huge_requests_do_not_wrap_around);
    tcase_add_test(tcase, printf_needs_no_room_for_a_nul);
    tcase_add_test(tcase, printf_writes_long_text_whole);
    tcase_add_test(tcase, nothing_is_not_an_error);
    tcase_add_test(tcase, consume_takes_from_the_front);
    tcase_add_test_raise_signal(tcase, consuming_more_than_there_is_aborts, SIGABRT);
    tcase_add_test(tcase, move_leaves_the_source_empty_and_usable);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
