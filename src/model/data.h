/**
 * model/data.h - bytes as tokens: the first 90 % of a file train, the last 10 % are for evaluation.
 *
 * The order is a function of (seed, step, row): row r of step s starts at a place drawn from the Philox
 * sequence keyed by the seed, so a resumed run reads on where it would have.
 */
#ifndef MODEL_DATA_H
#define MODEL_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "hanse/err.h"

struct data {
    uint8_t *bytes;
    size_t n;       /* all */
    size_t n_train; /* floor(0.9 n) */
};

/** Reads a whole file.  HANSE_ENOENT; HANSE_EINVAL when it is shorter than 10 * (context + 1), logged. */
HANSE_MUST_USE int data_read(const char *file, size_t context, struct data *out);
void data_fini(struct data *data);

/** Fills token and target (B, T) with rows first_row .. first_row + B - 1 of a step of training. */
void data_batch(const struct data *data, uint64_t seed, uint64_t step, size_t first_row, size_t B, size_t T, int32_t *token,
                int32_t *target);

/**
 * Evaluation goes over the last 10 % in windows of T that overlap by half: every byte but the first is predicted once, with
 * at least T / 2 bytes of context (fewer only in the first window).  Returns the number of windows.
 */
size_t data_n_windows(const struct data *data, size_t T);

/** Fills one window; counts from *first_counted to T - 1 belong to this window's score, those before were scored
 * earlier; targets beyond the end are 0 and *n_counted tells how many count. */
void data_window(const struct data *data, size_t T, size_t window, int32_t *token, int32_t *target, size_t *first_counted,
                 size_t *n_counted);

#endif
