/**
 * kernels/scratch.h - memory of a thread in which products lay out their operands, so that none of them allots.
 *
 * One area for all sets and products of a thread: whoever uses it is done with it on return.  Static storage of a thread
 * comes off its stack, hence the bound.
 */
#ifndef KERNELS_SCRATCH_H
#define KERNELS_SCRATCH_H

#define KERNELS_SCRATCH_BYTES (592 * 1024)

/** On a multiple of 64. */
extern _Thread_local unsigned char kernels_scratch[KERNELS_SCRATCH_BYTES];

#endif
