/**
 * kernels/cuda/prove.h - which variant multiplies.
 *
 * Every variant gives the same integers, or it must not be used: at start each is tried on this very chip, and left out when one output
 * differs from those of __dp4a, which in turn are compared with integers of the CPU.  Then those that are left are timed, for the choice
 * among equals is free.  doc/decisions.md says why this is not left to tests.
 */
#ifndef KERNELS_CUDA_PROVE_H
#define KERNELS_CUDA_PROVE_H

#include <stdbool.h>
#include <stddef.h>

struct product;
struct product_variant;

#ifdef __cplusplus
extern "C" {
#endif

/** Tries and times all variants on the chip that is open; what is left out is logged.  By the thread that opens the device, before any product;
 * again after it was closed. */
void product_prove(void);

/** The variant for this product. */
const struct product_variant *product_choice(const struct product *p);

/**
 * From now on `name` multiplies whatever it can ("dp4a", "imma16", "imma32", "bf16", "lt", "wgmma"); NULL: the fastest again.  For tests, and who
 * measures; no other thread may be multiplying.  HANSE_EINVAL: no such variant; HANSE_EUNSUPPORTED: this chip has not got its instructions, or it was left
 * out; both logged.
 */
int product_force(const char *name);

/** The name of variant number i, or NULL beyond the last; and what became of it here: true when it may be used. */
const char *product_name_of(size_t i);
bool product_is_proven(size_t i);

/** Lines of text about them for people.  Valid until the next product_prove(). */
const char *product_text(void);

#ifdef __cplusplus
}
#endif

#endif
