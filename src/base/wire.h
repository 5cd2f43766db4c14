/**
 * base/wire.h - integers and bytes on the wire: little-endian, fixed layouts.
 *
 * Reading: the reader remembers its first fault and yields zeros from then on; a decoder reads like
 * its layout and asks wire_done() or wire_ok() once.  Writing appends to a buf, which remembers likewise.
 */
#ifndef BASE_WIRE_H
#define BASE_WIRE_H

#include <stdbool.h>

#include "base/buf.h"

struct wire_reader {
    const uint8_t *start;
    const uint8_t *at;
    const uint8_t *end;
    bool is_bad;
};

void wire_reader_init(struct wire_reader *r, const void *bytes, size_t n);

uint8_t wire_u8(struct wire_reader *r);
uint16_t wire_u16(struct wire_reader *r);
uint32_t wire_u32(struct wire_reader *r);
uint64_t wire_u64(struct wire_reader *r);
float wire_f32(struct wire_reader *r);

/** Copies the next `n` bytes to `out`; zeros it after a fault. */
void wire_bytes(struct wire_reader *r, void *out, size_t n);

/** Returns the next `n` bytes in place (borrowed from the message), or NULL after a fault. */
const uint8_t *wire_view(struct wire_reader *r, size_t n);

/** Skips to the next multiple of `alignment` (a power of two) from the start; the skipped bytes must be 0. */
void wire_align(struct wire_reader *r, size_t alignment);

/** True while nothing was read past the end and wire_fail() was not called. */
bool wire_ok(const struct wire_reader *r);

/** True when all is read, exactly to the end. */
bool wire_done(const struct wire_reader *r);

/** Marks the message as bad. */
void wire_fail(struct wire_reader *r);

size_t wire_left(const struct wire_reader *r);

void wire_put_u8(struct buf *buf, uint8_t v);
void wire_put_u16(struct buf *buf, uint16_t v);
void wire_put_u32(struct buf *buf, uint32_t v);
void wire_put_u64(struct buf *buf, uint64_t v);
void wire_put_f32(struct buf *buf, float v);

/** Appends zeros up to the next multiple of `alignment` from the start of the buffer. */
void wire_put_align(struct buf *buf, size_t alignment);

#endif
