/**
 * kernels/device.h - the GPUs of this machine, for code above kernels/: no type of CUDA in it.
 *
 * A program has one of three bodies of it: that of a build with CUDA (kernels/cuda/device.cu), that of one without
 * (device_none.c), or in tests the first over an emulation.  One GPU a process is used, by any of its threads.
 * Nothing here is done before somebody asks, so a program that does not starts as fast as without CUDA.
 */
#ifndef KERNELS_DEVICE_H
#define KERNELS_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

struct device_info {
    int index;
    char name[128];
    int major, minor; /* compute capability: 7.5 is Turing */
    int n_units;      /* multiprocessors */
    uint64_t memory_bytes, free_bytes;
    uint32_t clock_mhz;                       /* the highest; 0 where the driver does not say */
    uint32_t driver_version, runtime_version; /* 1000 major + 10 minor, of CUDA */
    char bus_id[32];                          /* "0000:01:00.0", as nvidia-smi writes it */
    char uuid[48];                            /* "GPU-..." */
};

/**
 * How many GPUs there are; with 0, *why_none (may be NULL) is one sentence that names cause and remedy: a build without
 * CUDA, no driver, a driver that is too old, no GPU.  Nothing is logged.
 */
int device_count(const char **why_none);

/** HANSE_ENOENT when there is no GPU `index`, HANSE_EDEVICE when it does not answer; both logged. */
HANSE_MUST_USE int device_describe(int index, struct device_info *out);

/**
 * "cpu" gives -1, "cuda" 0 and "cuda:N" N.  HANSE_EINVAL for anything else, logged with what could be meant; whether
 * there is such a GPU is not looked at.
 */
HANSE_MUST_USE int device_parse(const char *text, int *index);

/**
 * The set of kernels that runs on GPU `index`; opening the same again gives the same.  HANSE_ENOENT: there is none (with
 * device_count()'s sentence), HANSE_EUNSUPPORTED: it is older than compute capability 7.5, HANSE_EBUSY: this process has
 * opened another, HANSE_EDEVICE: it fails; all logged.
 */
HANSE_MUST_USE int device_open(int index, const struct kernels **out);

/** Everything is given back, and a GPU can be opened anew: for tests, and who cannot use the one that he opened.  No other thread may be using it. */
void device_close(void);

/** Bytes of memory of the GPU that is open: free for allot(), and in all.  HANSE_EDEVICE, logged. */
HANSE_MUST_USE int device_memory(uint64_t *free_bytes, uint64_t *total_bytes);

/**
 * What products take of the memory of the GPU that is open besides tensors.  *each_bytes: a thread that multiplies up to n_rows rows with weights of up
 * to `width` by `width`, and sums their gradients in parts of `part` rows, at most; it keeps them until it ends.  *taken_bytes: what all
 * threads have of that already, none counted for more.  Both 0 when none is open.
 */
void device_scratch(size_t n_rows, size_t width, size_t part, uint64_t *each_bytes, uint64_t *taken_bytes);

/** Lines of text: which ways of computing products are in use on the GPU that is open, and why the others are not.  "" when
 * none is open.  Valid until device_close(). */
const char *device_products(void);

/**
 * From now on integers are multiplied by `name` where it can ("wgmma", "imma32", "lt", "imma16", "bf16", "dp4a"; device_products() tells which there
 * are), and NULL is the fastest again: for tests, for who measures, and for HANSE_PRODUCTS.  Results do not depend on it.  No other thread may be multiplying.
 * HANSE_EINVAL: there is no such way; HANSE_EUNSUPPORTED: not on the GPU that is open; both logged.  With none open, device_open() refuses instead.
 * Then, too, it tries no way but this one and dp4a: for a chip that another way breaks.
 */
HANSE_MUST_USE int device_products_by(const char *name);

/**
 * A copy of a GPU's set whose products come from cuBLASLt: of bf16 operands, for where bits need no proof, or of floats as sgemm, which is
 * there to compare with.  HANSE_EUNSUPPORTED, logged, when the library is not on this machine or `base` is no GPU's.
 */
HANSE_MUST_USE int kernels_with_bf16(const struct kernels *base, struct kernels *out);
HANSE_MUST_USE int kernels_with_sgemm(const struct kernels *base, struct kernels *out);

#endif
