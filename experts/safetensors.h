/**
 * experts/safetensors.h - tensors in one file as the common libraries exchange them.
 * Hugging Face, "safetensors", format of 2022: u64 header bytes | JSON header, padded with spaces | the tensors' bytes,
 * little-endian, without gaps.  Of the types we know F32 and I64.
 */
#ifndef EXPERTS_SAFETENSORS_H
#define EXPERTS_SAFETENSORS_H

#include "experts/manifest.h"

#define SAFETENSORS_HEADER_MAX ((size_t)100 << 20) /* what the format's own readers accept */

/** The header of a file whose n tensors lie end to end: their offsets are taken from n_bytes. */
HANSE_MUST_USE int safetensors_put_header(struct buf *out, const struct manifest_tensor *tensor, size_t n);

/** A file in memory, taken apart; borrows the bytes until safetensors_close(). */
struct safetensors {
    const uint8_t *data;
    uint64_t n_data;
    void *header; /* a json_t */
};

/** Bytes of any origin; HANSE_ECORRUPT when they are no such file. */
HANSE_MUST_USE int safetensors_open(struct safetensors *file, const void *bytes, size_t n);
void safetensors_close(struct safetensors *file);

/** Finds a tensor of exactly this type and shape and returns its bytes, which need not be aligned.  HANSE_ENOENT, HANSE_EINVAL for
 * another type or shape, HANSE_ECORRUPT for offsets that do not fit. */
HANSE_MUST_USE int safetensors_find(const struct safetensors *file, const char *name, enum checkpoint_type type,
                                    const size_t *dim, size_t n_dims, const uint8_t **bytes);

#endif
