/**
 * kernels/cuda/device_state.h - what queue.cu and device.cu know of each other.
 */
#ifndef KERNELS_CUDA_DEVICE_STATE_H
#define KERNELS_CUDA_DEVICE_STATE_H

/** The set, complete; table.cu. */
extern "C" const struct kernels cuda_kernels;

#endif
