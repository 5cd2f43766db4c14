#include "base/wire.h"

#include <assert.h>
#include <string.h>

void wire_reader_init(struct wire_reader *r, const void *bytes, size_t n)
{
    static const uint8_t nothing[1];
    const uint8_t *start = n > 0 ? bytes : nothing; /* so that no view of 0 bytes is NULL */
    *r = (struct wire_reader){.start = start, .at = start, .end = start + n};
}

const uint8_t *wire_view(struct wire_reader *r, size_t n)
{
    if (r->is_bad || n > (size_t)(r->end - r->at)) {
        r->is_bad = true;
        return NULL;
    }
    const uint8_t *view = r->at;
    r->at += n;
    return view;
}

uint8_t wire_u8(struct wire_reader *r)
{
    const uint8_t *b = wire_view(r, 1);
    return b ? b[0] : 0;
}

uint16_t wire_u16(struct wire_reader *r)
{
    const uint8_t *b = wire_view(r, 2);
    return b ? (uint16_t)(b[0] | b[1] << 8) : 0;
}

uint32_t wire_u32(struct wire_reader *r)
{
    const uint8_t *b = wire_view(r, 4);
    return b ? (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24 : 0;
}

uint64_t wire_u64(struct wire_reader *r)
{
    const uint8_t *b = wire_view(r, 8);
    uint64_t v = 0;
    for (int i = 7; b && i >= 0; i--)
        v = v << 8 | b[i];
    return v;
}

float wire_f32(struct wire_reader *r)
{
    uint32_t bits = wire_u32(r);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

void wire_bytes(struct wire_reader *r, void *out, size_t n)
{
    if (n == 0)
        return;
    const uint8_t *b = wire_view(r, n);
    if (b)
        memcpy(out, b, n);
    else
        memset(out, 0, n);
}

/* How many bytes lead from `offset` to the next multiple of `alignment`. */
static size_t padding(size_t offset, size_t alignment)
{
    assert(alignment > 0 && (alignment & (alignment - 1)) == 0);
    return -offset & (alignment - 1);
}

void wire_align(struct wire_reader *r, size_t alignment)
{
    size_t n = padding((size_t)(r->at - r->start), alignment);
    const uint8_t *skipped = wire_view(r, n);
    for (size_t i = 0; skipped && i < n; i++)
        if (skipped[i] != 0)
            r->is_bad = true;
}

bool wire_ok(const struct wire_reader *r)
{
    return !r->is_bad;
}

bool wire_done(const struct wire_reader *r)
{
    return !r->is_bad && r->at == r->end;
}

void wire_fail(struct wire_reader *r)
{
    r->is_bad = true;
}

size_t wire_left(const struct wire_reader *r)
{
    return r->is_bad ? 0 : (size_t)(r->end - r->at);
}

void wire_put_u8(struct buf *buf, uint8_t v)
{
    buf_append(buf, &v, 1);
}

static void put(struct buf *buf, uint64_t v, size_t n)
{
    uint8_t *b = buf_extend(buf, n);
    for (size_t i = 0; b && i < n; i++, v >>= 8)
        b[i] = (uint8_t)v;
}

void wire_put_u16(struct buf *buf, uint16_t v)
{
    put(buf, v, 2);
}

void wire_put_u32(struct buf *buf, uint32_t v)
{
    put(buf, v, 4);
}

void wire_put_u64(struct buf *buf, uint64_t v)
{
    put(buf, v, 8);
}

void wire_put_f32(struct buf *buf, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    put(buf, bits, 4);
}

void wire_put_align(struct buf *buf, size_t alignment)
{
    size_t n = padding(buf->n, alignment);
    uint8_t *b = buf_extend(buf, n);
    if (b && n > 0)
        memset(b, 0, n);
}
