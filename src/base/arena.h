/**
 * base/arena.h - memory taken in order and given back all at once.  One block, allotted at init;
 * pieces are aligned to 64 bytes.  Not shared between threads.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "hanse/err.h"

#define ARENA_ALIGN ((size_t)64) /* a cache line, and the widest vector register */

struct arena {
    uint8_t *bytes;
    size_t n;
    size_t capacity;
};

HANSE_MUST_USE int arena_init(struct arena *arena, size_t capacity);
void arena_fini(struct arena *arena);

/** Zeroed memory for `n` elements of `size` bytes; NULL when the arena is full or n * size overflows. */
void *arena_take(struct arena *arena, size_t n, size_t size);

void arena_reset(struct arena *arena);

/** n_bytes, and what brings the next piece onto a multiple of ARENA_ALIGN; for sizes that are known to be small enough. */
static inline size_t arena_padded(size_t n_bytes)
{
    return (n_bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

/** malloc, aligned to 64 bytes and zeroed; freed with free().  NULL when there is none. */
void *arena_aligned(size_t n, size_t size);

#endif
