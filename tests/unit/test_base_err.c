#include "unit.h"

#include <string.h>

#include "hanse/err.h"

static const int code[] = {
#define X(name, value, sentence, status) HANSE_##name,
    HANSE_ERRORS(X)
#undef X
};
#define N_CODES (int)(sizeof code / sizeof *code)

START_TEST(every_error_has_its_own_sentence)
{
    ck_assert_int_lt(code[_i], 0);
    for (int i = 0; i < _i; i++) {
        ck_assert_int_ne(code[i], code[_i]);
        ck_assert_str_ne(hanse_strerror(code[i]), hanse_strerror(code[_i]));
    }
    ck_assert_str_ne(hanse_strerror(code[_i]), hanse_strerror(-9999));
}
END_TEST

START_TEST(every_error_has_a_failing_exit_status)
{
    int status = hanse_exit_status(code[_i]);
    ck_assert(status > 0 && status < 256);
}
END_TEST

START_TEST(no_error_and_unknown_ones_are_told_apart)
{
    ck_assert_str_eq(hanse_strerror(0), "no error");
    ck_assert_str_eq(hanse_strerror(-9999), "an unknown error");
    ck_assert_str_eq(hanse_strerror(HANSE_ETIMEOUT), "the deadline passed");
    ck_assert_int_eq(hanse_exit_status(0), 0);
    ck_assert_int_eq(hanse_exit_status(-9999), 70);
    ck_assert_int_eq(hanse_exit_status(HANSE_EINTERRUPTED), 130);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/err");
    TCase *tcase = tcase_create("err");
    tcase_add_loop_test(tcase, every_error_has_its_own_sentence, 0, N_CODES);
    tcase_add_loop_test(tcase, every_error_has_a_failing_exit_status, 0, N_CODES);
    tcase_add_test(tcase, no_error_and_unknown_ones_are_told_apart);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
