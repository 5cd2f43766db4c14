/**
 * kernels/cuda/emulate_fiber.h - stacks that take turns on one thread of the CPU; for kernels/cuda/emulate.cpp.
 *
 * A switch is a dozen instructions on x86-64 and 64-bit Arm, and swapcontext() elsewhere.  Sanitizers are told of it.
 */
#ifndef KERNELS_CUDA_EMULATE_FIBER_H
#define KERNELS_CUDA_EMULATE_FIBER_H

#include <stddef.h>

struct fiber {
    void *context; /* where it goes on */
    void *stack;   /* lowest byte; of the thread's own stack as the sanitizer knows it */
    size_t stack_bytes;
    void *fake, *tsan; /* the sanitizers' own */
};

/** One that will run `entry`, which never returns; false when there is no memory.  Never freed: the emulation keeps them. */
bool fiber_init(struct fiber *fiber, void (*entry)(void));

/** Goes on in `to`; returns when somebody switches back to `from`. */
void fiber_switch(struct fiber *from, struct fiber *to);

/** `entry` calls it first. */
void fiber_begin(void);

/** The thread's own stack, as the place to come back to; before its first fiber_switch(). */
void fiber_adopt(struct fiber *fiber);

#endif
