/**
 * tests/unit/unit.h - what every Check program of hanse shares: its main.
 */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

/** Runs a suite the way `make check` wants it; CK_RUN_CASE and CK_FORK work as Check's manual says. */
static inline int unit_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/**
 * A case for tests that take long, with a tag by which they are left out where all takes longer: "slow" under emulators of other
 * processors and under sanitizers, "large" under sanitizers only (CK_EXCLUDE_TAGS in tests/run.sh).
 */
static inline TCase *unit_case(Suite *suite, const char *tag, double seconds)
{
    TCase *tcase = tcase_create(tag);
    tcase_set_tags(tcase, tag);
    tcase_set_timeout(tcase, seconds);
    suite_add_tcase(suite, tcase);
    return tcase;
}

#endif
