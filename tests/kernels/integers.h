/**
 * tests/kernels/integers.h - integers that are hard to multiply.
 */
#ifndef TESTS_KERNELS_INTEGERS_H
#define TESTS_KERNELS_INTEGERS_H

#include "tests/kernels/dice.h"

/** What integers to fill an operand with. */
enum fill {
    ANY,       /* all of the range */
    GREATEST,  /* 127 and 127: the largest integer */
    LEAST,     /* -127 and -128 */
    EXTREMES,  /* at random one of these, or 127 and -128 */
    ALTERNATE, /* GREATEST and LEAST by turns along k */
    SPARSE,    /* mostly zeros */
    POSITIVE,  /* large ones at random: sums grow until no float holds them */
    TURNING, /* as POSITIVE, but negative in the later half of k: sums that grew shrink again, and every bit lost on the way shows */
    N_FILLS
};

/** The two slices of an integer. */
struct integer {
    int8_t high, low;
};

/** Element k of K of a line that is filled so. */
static inline struct integer integer_draw(struct dice *dice, enum fill fill, size_t k, size_t K)
{
    static const struct integer extreme[] = {{127, 127}, {-127, -128}, {127, -128}, {-127, 127}};
    uint64_t r = dice_u64(dice);
    struct integer any = {(int8_t)((int)(r % 255) - 127), (int8_t)((int)(r / 255 % 256) - 128)};
    struct integer large = {(int8_t)(96 + r % 32), (int8_t)(64 + r / 32 % 64)};
    switch (fill) {
    case GREATEST:
        return extreme[0];
    case LEAST:
        return extreme[1];
    case EXTREMES:
        return extreme[r % 4];
    case ALTERNATE:
        return extreme[k % 2];
    case SPARSE:
        return r >> 32 & 7 ? (struct integer){0, 0} : any;
    case POSITIVE:
        return large;
    case TURNING:
        return k < K / 2 ? large : (struct integer){(int8_t)-large.high, (int8_t)-large.low};
    default:
        return any;
    }
}

#endif
