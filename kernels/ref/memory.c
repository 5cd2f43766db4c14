/* ref/memory.c - memory of the CPU, and what only moves bytes. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "kernels/ref/ref.h"

#define ALIGN ((size_t)256)
#define SIDE ((size_t)16) /* of the squares that are transposed: they stay in the cache */

void *ref_allot(size_t n_bytes)
{
    return n_bytes > SIZE_MAX - ALIGN ? NULL : aligned_alloc(ALIGN, (n_bytes / ALIGN + 1) * ALIGN);
}

void ref_release(void *memory)
{
    free(memory);
}

/* A pointer to nothing is no pointer for memcpy. */
void ref_copy(void *to, const void *from, size_t n_bytes)
{
    if (n_bytes > 0)
        memcpy(to, from, n_bytes);
}

int ref_get(void *to, const void *from, size_t n_bytes)
{
    ref_copy(to, from, n_bytes);
    return 0;
}

void ref_zero(void *at, size_t n_bytes)
{
    if (n_bytes > 0)
        memset(at, 0, n_bytes);
}

int ref_wait(void)
{
    return 0;
}

void ref_gather(void *to, const void *from, const uint32_t *row, size_t n, size_t row_bytes)
{
    for (size_t i = 0; i < n; i++)
        ref_copy((char *)to + i * row_bytes, (const char *)from + row[i] * row_bytes, row_bytes);
}

void ref_transpose(float *out, const float *x, size_t M, size_t N)
{
    for (size_t r = 0; r < M; r += SIDE)
        for (size_t c = 0; c < N; c += SIDE)
            for (size_t i = r; i < M && i < r + SIDE; i++)
                for (size_t j = c; j < N && j < c + SIDE; j++)
                    out[j * M + i] = x[i * N + j];
}

void ref_hash_leaves(uint8_t *digest, const void *bytes, size_t n_bytes, size_t leaf_bytes)
{
    for (size_t at = 0; at < n_bytes; at += leaf_bytes, digest += HASH_BYTES) {
        size_t n = n_bytes - at < leaf_bytes ? n_bytes - at : leaf_bytes;
        struct hash h = hash_bytes((const char *)bytes + at, n);
        memcpy(digest, h.byte, HASH_BYTES);
    }
}
