/**
 * kernels/cpu/quads.h - operands of the instructions that take four k of int8 a lane: one word a slice.
 */
#ifndef KERNELS_CPU_QUADS_H
#define KERNELS_CPU_QUADS_H

#include "kernels/cpu/product_i8.h"

static inline struct source quads_low(const struct source *x)
{
    struct source low = *x;
    low.high = x->low;
    return low;
}

/** As `left` of struct i8_form; with two slices rows alternate, high and low.  Zeros fill up each row to a multiple of so
 * many words; returns how many it then has. */
static inline size_t quads_left(struct i8_row *rows, const struct source *x, size_t n, size_t K, size_t multiple)
{
    size_t n_slices = x->low ? 2 : 1, n_steps = (K + 3) / 4, n_filled = (n_steps + multiple - 1) / multiple * multiple;
    struct words to = {rows->word, n_slices * sizeof *rows / sizeof *rows->word, 1, true, 0};
    words_lay(QUAD, &to, x, n, K);
    if (x->low) {
        struct source low = quads_low(x);
        to.at = rows[1].word;
        words_lay(QUAD, &to, &low, n, K);
    }
    for (size_t i = 0; i < n * n_slices && n_filled > n_steps; i++)
        memset(rows[i].word + n_steps, 0, (n_filled - n_steps) * sizeof *rows->word);
    return n_filled;
}

/** As `right`: in each step the words of high, then those of low.  `flip` is xored into all. */
static inline void quads_right(int32_t *panel, const struct source *x, size_t n, size_t K, int32_t flip)
{
    struct words to = {panel, 1, (x->low ? 2 : 1) * PANEL, false, flip};
    words_lay(QUAD, &to, x, n, K);
    if (!x->low)
        return;
    struct source low = quads_low(x);
    to.at = panel + PANEL;
    words_lay(QUAD, &to, &low, n, K);
}

#endif
