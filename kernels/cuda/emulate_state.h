/**
 * kernels/cuda/emulate_state.h - what the files of the emulated runtime share.
 *
 * One lock for all of it, held while a kernel runs too; it may be taken again by who has it.
 */
#ifndef KERNELS_CUDA_EMULATE_STATE_H
#define KERNELS_CUDA_EMULATE_STATE_H

#include "kernels/cuda/emulate.h"

void emulate_lock(void);
void emulate_unlock(void);

struct emulate_chip {
    int major, minor, n_units, n_devices, driver, runtime;
    bool has_pools, is_eager;
    size_t shared_bytes, memory_bytes, used_bytes, used_pieces, pinned_bytes, used_handles;
    enum emulate_failure failure;
    uint64_t after_n, n_calls, n_launches;
};
extern struct emulate_chip emulate_state;

/** What every call meets first: is there still a device?  With the lock. */
cudaError_t emulate_health(void);

/** Keeps an error for cudaGetLastError(), and gives it back. */
cudaError_t emulate_failed(cudaError_t err);

/** One thing less until the failure that was asked for. */
void emulate_count_down(void);

/* ---- emulate_memory.cpp */

enum emulate_place { EMULATE_DEVICE, EMULATE_PINNED };

/** n_bytes filled with the pattern, or NULL. */
void *emulate_take(enum emulate_place place, size_t n_bytes);

/** Gives it back, and says how many bytes it had.  Ends the program when it is none, or was written beyond its end. */
size_t emulate_give(enum emulate_place place, void *at);

/** Do these bytes lie in one piece? */
bool emulate_is_in(enum emulate_place place, const void *at, size_t n_bytes);

/** Everything, as at the end of a process. */
void emulate_give_all(void);

/** While work is done, device memory can be touched; else the CPU that tries is ended by a signal.  They nest. */
void emulate_uncover(void);
void emulate_cover(void);

/* ---- emulate_stream.cpp */

/** All that any stream was asked for is done. */
void emulate_drain(void);

/** Every stream and event is gone. */
void emulate_drop_handles(void);

#endif
