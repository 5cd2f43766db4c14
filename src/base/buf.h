/**
 * base/buf.h - a growing row of bytes with a ceiling.
 *
 * Invariant: n <= capacity <= max.  A buffer that could not grow remembers it (`err`), ignores every
 * later append, and the writer asks once at the end; so code that builds a message reads like its layout.
 * Not shared between threads.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "hanse/err.h"

struct buf {
    uint8_t *bytes; /* malloc'ed, hence aligned for any type */
    size_t n;
    size_t capacity;
    size_t max;
    int err; /* 0, HANSE_ENOMEM or HANSE_EFULL; sticky */
};

/** Makes an empty buffer that will not grow past `max` bytes.  Allots nothing yet. */
void buf_init(struct buf *buf, size_t max);

/** Frees the bytes and leaves an empty buffer with the same ceiling.  Accepts one already empty. */
void buf_fini(struct buf *buf);

/** Forgets the contents and the error, keeps the memory. */
void buf_clear(struct buf *buf);

/** Appends a copy of `bytes`. */
void buf_append(struct buf *buf, const void *bytes, size_t n);

/** Appends `n` bytes and returns where they start so that the caller fills them; NULL after an error. */
uint8_t *buf_extend(struct buf *buf, size_t n);

/** Appends printf-formatted text, without its final NUL. */
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Removes the first `n` bytes (n <= buf->n). */
void buf_consume(struct buf *buf, size_t n);

/** Moves contents, ceiling and error of `from` to `to`, whose own are freed; `from` is left empty. */
void buf_move(struct buf *to, struct buf *from);

#endif
