/**
 * kernels/cuda/emulate_control.h - what a test sets in the emulation of CUDA (kernels/cuda/emulate.h).  C and C++.
 *
 * Set while no kernel runs.
 */
#ifndef KERNELS_CUDA_EMULATE_CONTROL_H
#define KERNELS_CUDA_EMULATE_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EMULATE_POISON 0xa9 /* fills memory that nobody has written: as a float -7.5e-14, as an int -1448498775 */

/** In which order the threads of a block, its waiting threads, and the blocks of a launch run. */
enum emulate_order { EMULATE_FORWARD, EMULATE_REVERSED, EMULATE_SHUFFLED };
void emulate_order(enum emulate_order order, uint64_t seed);

/** What the device is; compute capability 9.0, 4 units and 227 KiB for a block at the start. */
void emulate_chip(int major, int minor, int n_units, size_t shared_bytes);

/** How many there are (1), and the versions that driver and runtime report (13000); driver 0: there is no driver. */
void emulate_devices(int n_devices, int driver_version, int runtime_version);

/** Whether it gives memory in the order of streams (it does). */
void emulate_pools(bool has_pools);

/**
 * Whether what is asked of a stream is done at once.  It is not: it is done when somebody waits for it, as late as a device
 * may be, so that what was not waited for shows.
 */
void emulate_eager(bool is_eager);

/** Bytes of device memory; what is allotted stays.  1 GiB at the start. */
void emulate_memory(size_t n_bytes);

/** Bytes and pieces of device memory, and bytes of pinned memory, that are allotted now. */
size_t emulate_used_bytes(void);
size_t emulate_used_pieces(void);
size_t emulate_pinned_bytes(void);

/** Is device memory kept from the CPU between emulated work?  Not under a sanitizer, which watches in its own way. */
bool emulate_is_guarded(void);

/** Streams and events that exist now. */
size_t emulate_used_handles(void);

enum emulate_failure {
    EMULATE_WELL,      /* all is well again, as after a new start of the program */
    EMULATE_NO_MEMORY, /* no device memory is given any more */
    EMULATE_LOST,      /* the device is lost: every call fails from then on */
    EMULATE_FAULT,     /* a kernel touched what it may not: every call fails from then on */
    EMULATE_NO_PINNED, /* no pinned memory is given any more */
};

/** Fails so after n more launches (EMULATE_LOST, EMULATE_FAULT) or allotments (the others). */
void emulate_fail(enum emulate_failure failure, uint64_t after_n);

/** Calls of the runtime since the start, for "nothing is asked of a lost device". */
uint64_t emulate_calls(void);

/** Launches since the start. */
uint64_t emulate_launches(void);

#ifdef __cplusplus
}
#endif

#endif
