/**
 * experts/chunk.h - a piece of a checkpoint's state: at most 1 MiB, packed, and named by the hash of what it holds.
 *
 * Packed form: one zlib stream (RFC 1950) of the bytes shuffled by 4: all first bytes of the f32s, then all second
 * ones, and so on, then the n % 4 left over.  Exponents of neighbours are alike, so their plane packs well; mantissas hardly
 * do, and we spend little time on trying.
 * The name belongs to the plain bytes, so equal state is stored once whoever packed it and however.
 * A scratch belongs to one thread.
 */
#ifndef EXPERTS_CHUNK_H
#define EXPERTS_CHUNK_H

#include "base/disk.h"
#include "base/hash.h"

#define CHUNK_BYTES ((size_t)1 << 20)
#define CHUNK_PACKED_MAX (CHUNK_BYTES + CHUNK_BYTES / 64) /* zlib adds less than this to what does not pack */
#define CHUNK_PATH_BYTES 80

struct chunk_scratch {
    uint8_t *shuffled; /* CHUNK_BYTES */
    struct buf packed;
};
HANSE_MUST_USE int chunk_scratch_init(struct chunk_scratch *scratch);
void chunk_scratch_fini(struct chunk_scratch *scratch); /* accepts a zeroed one */

/** "chunks/ab/ab34..."; returns `out`. */
const char *chunk_path(char out[CHUNK_PATH_BYTES], const struct hash *name);

/** True, and the name, when `entry` of the directory chunks/`directory` is called as a chunk is. */
bool chunk_name_parse(struct hash *name, const char *directory, const char *entry);

/** Leaves the packed form of n <= CHUNK_BYTES bytes in scratch->packed.  HANSE_ENOMEM. */
HANSE_MUST_USE int chunk_pack(struct chunk_scratch *scratch, const void *plain, size_t n);

/** The plain form of packed bytes from a stranger, which must be exactly n_plain <= CHUNK_BYTES long: HANSE_ECORRUPT for anything
 * else, and never more than n_plain bytes are inflated.  Does not look at the name. */
HANSE_MUST_USE int chunk_unpack(struct chunk_scratch *scratch, void *plain, size_t n_plain, const void *packed, size_t n_packed);

/** Stores a chunk called `name` (the hash of `plain`) unless a sound one is there; a damaged one is replaced. */
HANSE_MUST_USE int chunk_write(const struct disk *disk, struct chunk_scratch *scratch, const struct hash *name, const void *plain,
                               size_t n);

/** Reads a chunk of n bytes and checks it against its name; HANSE_ENOENT, HANSE_ECORRUPT, or what the disk said, and then
 * `*fault` is a clause that says what is wrong and what to do. */
HANSE_MUST_USE int chunk_read(const struct disk *disk, struct chunk_scratch *scratch, const struct hash *name, void *plain,
                              size_t n, const char **fault);

#endif
