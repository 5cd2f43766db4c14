#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 64

void buf_init(struct buf *buf, size_t max)
{
    *buf = (struct buf){.max = max};
}

void buf_fini(struct buf *buf)
{
    free(buf->bytes);
    buf_init(buf, buf->max);
}

void buf_clear(struct buf *buf)
{
    buf->n = 0;
    buf->err = 0;
}

/* Doubles, so that n appends copy O(n) bytes in all, but never past the ceiling. */
static int grow(struct buf *buf, size_t wanted)
{
    size_t capacity = buf->capacity > buf->max / 2 ? buf->max : 2 * buf->capacity;
    if (capacity < FIRST_CAPACITY)
        capacity = buf->max < FIRST_CAPACITY ? buf->max : FIRST_CAPACITY;
    if (capacity < wanted)
        capacity = wanted;
    uint8_t *bytes = realloc(buf->bytes, capacity ? capacity : 1);
    if (!bytes)
        return HANSE_ENOMEM;
    buf->bytes = bytes;
    buf->capacity = capacity;
    return 0;
}

uint8_t *buf_extend(struct buf *buf, size_t n)
{
    if (buf->err)
        return NULL;
    if (n > buf->max - buf->n)
        buf->err = HANSE_EFULL;
    else if (!buf->bytes || n > buf->capacity - buf->n)
        buf->err = grow(buf, buf->n + n);
    if (buf->err)
        return NULL;
    uint8_t *start = buf->bytes + buf->n;
    buf->n += n;
    return start;
}

void buf_append(struct buf *buf, const void *bytes, size_t n)
{
    uint8_t *start = buf_extend(buf, n);
    if (start && n > 0)
        memcpy(start, bytes, n);
}

/* vsnprintf wants room for a NUL that the ceiling may not have, hence the detour. */
void buf_printf(struct buf *buf, const char *format, ...)
{
    char small[512];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(small, sizeof small, format, args);
    assert(n >= 0);
    if ((size_t)n < sizeof small) {
        buf_append(buf, small, (size_t)n);
    } else {
        char *large = malloc((size_t)n + 1);
        if (large) {
            vsnprintf(large, (size_t)n + 1, format, again);
            buf_append(buf, large, (size_t)n);
        } else if (!buf->err) {
            buf->err = HANSE_ENOMEM;
        }
        free(large);
    }
    va_end(again);
    va_end(args);
}

void buf_consume(struct buf *buf, size_t n)
{
    assert(n <= buf->n);
    buf->n -= n;
    if (buf->n > 0)
        memmove(buf->bytes, buf->bytes + n, buf->n);
}

void buf_move(struct buf *to, struct buf *from)
{
    if (to == from)
        return;
    free(to->bytes);
    *to = *from;
    buf_init(from, to->max);
}
