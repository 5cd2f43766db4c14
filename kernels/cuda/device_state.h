/**
 * kernels/cuda/device_state.h - what the files of the CUDA set that manage the device know of each other.
 *
 * device.cu opens the GPU, queue.cu keeps each thread's stream and the first failure, staging.cu copies.
 */
#ifndef KERNELS_CUDA_DEVICE_STATE_H
#define KERNELS_CUDA_DEVICE_STATE_H

#include "kernels/cuda/cuda.h"

/** The set, complete; table.cu. */
extern "C" const struct kernels cuda_kernels;

/** Does the GPU give memory in the order of streams (cudaMallocAsync)?  Old drivers and some virtual GPUs do not. */
bool cuda_has_pools(void);

/** "GPU 0 (NVIDIA L4)", for messages. */
const char *cuda_gpu(void);

/** Memory that pools keep for the next allot() counts as free.  cudaSuccess, and bytes. */
cudaError_t cuda_memory(size_t *n_free, size_t *n_total);

/** A GPU was opened, or is closed: all threads' streams, scratch and staging are given back, failures forgotten. */
void cuda_queues_begin(void);
void cuda_queues_end(void);

/** Has the device failed, for all threads? */
bool cuda_has_failed(void);

/** From begin to end a failure is this thread's alone: nothing more is asked of the device until the end, which gives it, and all is as before. */
void cuda_try_begin(void);
cudaError_t cuda_try_end(void);

/** Bytes of scratch of all threads, at most `most` of each. */
size_t cuda_scratch_taken(size_t most);

/** This thread's scratch is given back. */
void cuda_scratch_give_back(void);

/** Logs, now and then, that `what` of n_bytes found no memory. */
void cuda_note_no_memory(const char *what, size_t n_bytes);

/* Pinned memory of the CPU, in pieces that take turns: while one is on its way the next is filled.  Made when first used. */
#define STAGING_PIECES 4
#define STAGING_PIECE_BYTES ((size_t)512 << 10)

struct staging {
    unsigned char *at; /* STAGING_PIECES pieces; NULL: not yet, or has_none */
    bool has_none;     /* no pinned memory was to be had: copies wait */
    cudaEvent_t sent[STAGING_PIECES];
    bool is_under_way[STAGING_PIECES]; /* until `sent` */
    unsigned now;                      /* the piece that is being filled */
    size_t used;                       /* bytes of it */
};

/** Queues a copy of the CPU's bytes to the device; `from` may be reused. */
void staging_put(struct staging *staging, cudaStream_t stream, void *to, const void *from, size_t n_bytes);

/** Copies from the device, and returns when the bytes are there and the stream is empty.  What failed is noted. */
void staging_get(struct staging *staging, cudaStream_t stream, void *to, const void *from, size_t n_bytes);

/** The stream is empty: every piece is free. */
void staging_rest(struct staging *staging);

void staging_fini(struct staging *staging);

#endif
