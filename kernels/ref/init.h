/**
 * kernels/ref/init.h - first values of parameters, the same on every machine.
 */
#ifndef KERNELS_REF_INIT_H
#define KERNELS_REF_INIT_H

#include <stddef.h>
#include <stdint.h>

#include "base/random.h"

/**
 * x (n) = normal values of mean 0 and deviation `std`, cut at 3 deviations, from words 4 i .. of the Philox sequence
 * `key`: element i depends on (key, i) alone.  Made from uniform words by our own log, sqrt, cos (Box and Muller
 * 1958), redrawn while beyond the cut: from the block's second pair of words, then from counter {i, i >> 32, 1, 0}, 2 ...
 */
void ref_init_normal(float *x, const uint32_t key[2], float std, size_t n);

#endif
