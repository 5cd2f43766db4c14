/**
 * tests/kernels/kernels_test.h - what the tests of kernels share: comparison to the bit; dice.h has the numbers.
 */
#ifndef TESTS_KERNELS_TEST_H
#define TESTS_KERNELS_TEST_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"
#include "tests/kernels/dice.h"
#include "tests/unit/unit.h"

/** Equal bits; which NaN is left open, as it is between machines. */
static inline void assert_same(const float *got, const float *want, size_t n, const char *isa, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(got + i, want + i, sizeof *got) == 0 || (isnan(got[i]) && isnan(want[i])))
            continue;
        ck_abort_msg("%s %s: element %zu of %zu is %a, ref says %a", isa, what, i, n, (double)got[i], (double)want[i]);
    }
}

/** Calls `check` with each set but ref that this machine runs; says which it does not. */
static inline void with_each_isa(void (*check)(const struct kernels *k, const struct kernels *ref, int seed), int seed)
{
    const struct kernels *ref, *k;
    ck_assert_int_eq(kernels_choose(kernels_name[0], &ref), 0);
    for (size_t i = 1; i < N_KERNELS; i++) {
        if (kernels_choose(kernels_name[i], &k) == 0)
            check(k, ref, seed);
        else
            printf("%s: not on this machine, skipped\n", kernels_name[i]);
    }
}

#endif
