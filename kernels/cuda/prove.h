/**
 * kernels/cuda/prove.h - which variant multiplies: see device_products() and device_products_by() in kernels/device.h.
 *
 * Every variant gives the same integers, or it must not be used: when a GPU is opened each is tried on this very chip, and left out when one
 * output differs from those of __dp4a, some of which in turn are compared with integers of the CPU.  Those that are left are timed, for the
 * choice among equals is free.  doc/decisions.md says why this is not left to tests.
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

/**
 * Tries and times all variants on the GPU that was opened; what is left out is logged.  HANSE_EDEVICE when dp4a does not give what the CPU does, or the
 * device fails; HANSE_ENOMEM; HANSE_EUNSUPPORTED when the variant that was named beforehand was left out.
 */
int product_prove(void);

/** Before the GPU is closed. */
void product_close(void);

/** Lines of text about all variants, for people.  Valid until a GPU is opened again. */
const char *product_text(void);

/** Bytes of scratch that a thread takes at most, with the variants that are in use: see device_scratch(). */
size_t product_scratch_bytes(size_t n_rows, size_t width, size_t part);

/** The variant for this product. */
const struct product_variant *product_choice(const struct product *p);

/** The name of variant number i; NULL beyond the last.  Whether it may be used here, and if not, why. */
const char *product_name_of(size_t i);
bool product_is_proven(size_t i);
const char *product_why_not(size_t i);

#ifdef CUDA_EMULATED
/** For tests: the proof is that of a real GPU, which takes the emulation seconds; and variant `name` fails on purpose, in one output or by an error
 * of the device, which may come as late as when it is timed for the last time.  Both for the next time that a GPU is opened. */
enum product_spoil { PRODUCT_WELL, PRODUCT_WRONG, PRODUCT_FAILING, PRODUCT_FAILING_LATE };
void product_emulate_proof(bool is_thorough, const char *name, enum product_spoil spoil);
#endif

#ifdef __cplusplus
}
#endif

#endif
