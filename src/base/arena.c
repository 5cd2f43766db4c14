#include "base/arena.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* n * size rounded up to the alignment; false on overflow. */
static bool round_up(size_t *out, size_t n, size_t size)
{
    size_t n_bytes;
    if (__builtin_mul_overflow(n, size, &n_bytes) || n_bytes > SIZE_MAX - (ARENA_ALIGN - 1))
        return false;
    *out = arena_padded(n_bytes);
    return true;
}

void *arena_aligned(size_t n, size_t size)
{
    size_t n_bytes;
    if (!round_up(&n_bytes, n, size))
        return NULL;
    if (n_bytes == 0)
        n_bytes = ARENA_ALIGN; /* nothing is still something that can be freed */
    void *bytes = aligned_alloc(ARENA_ALIGN, n_bytes);
    if (bytes)
        memset(bytes, 0, n_bytes);
    return bytes;
}

int arena_init(struct arena *arena, size_t capacity)
{
    *arena = (struct arena){0};
    if (!round_up(&capacity, capacity, 1))
        return HANSE_ENOMEM;
    arena->bytes = arena_aligned(capacity, 1);
    if (!arena->bytes)
        return HANSE_ENOMEM;
    arena->capacity = capacity;
    return 0;
}

void arena_fini(struct arena *arena)
{
    free(arena->bytes);
    *arena = (struct arena){0};
}

void *arena_take(struct arena *arena, size_t n, size_t size)
{
    size_t n_bytes;
    if (!arena->bytes || !round_up(&n_bytes, n, size) || n_bytes > arena->capacity - arena->n)
        return NULL;
    void *piece = arena->bytes + arena->n;
    arena->n += n_bytes;
    return memset(piece, 0, n_bytes);
}

void arena_reset(struct arena *arena)
{
    arena->n = 0;
}
