/* kernels/scratch.c - the one area. */
#include "kernels/scratch.h"

_Thread_local unsigned char kernels_scratch[KERNELS_SCRATCH_BYTES] __attribute__((aligned(64)));
