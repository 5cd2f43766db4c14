/**
 * experts/manifest.h - what a checkpoint consists of, and who says so.
 *
 * A file of two lines.  The first is one JSON object with exactly these members:
 *   format     1
 *   run        64 hex digits          name      [A-Za-z0-9._-], at most 31, not starting with a dot
 *   version    0 .. 2^63 - 1          epoch     0 .. 2^32 - 1
 *   root       Merkle root over the chunk names, hex
 *   parent     SHA-256 of the first line of the manifest before, hex; zeros for the first
 *   log_head   hex                    host      peer id, hex
 *   time_us    0 .. 2^63 - 1          n_bytes   of the whole state
 *   tensors    [{"name", "type": "F32", "I64" or "I8", "shape": [1 to 4 sizes, the first may be 0], "offset", "n_bytes",
 *                "chunks": [["64 hex digits", plain bytes], ...]}, ...]
 * The second is the host's Ed25519 signature under "hanse-manifest" over the bytes of the first without its newline, as 128
 * hex digits.  Hex is lower case.  Tensors follow each other without gaps; each starts a new chunk, and all
 * chunks of a tensor but its last are full, so offsets and sizes say nothing new: a reader checks that they agree.
 */
#ifndef EXPERTS_MANIFEST_H
#define EXPERTS_MANIFEST_H

#include "experts/checkpoint.h"
#include "experts/chunk.h"

#define MANIFEST_FORMAT 1
#define MANIFEST_TAG "hanse-manifest"
#define MANIFEST_BYTES_MAX ((size_t)4 << 20)
#define MANIFEST_TENSORS_MAX 4096
#define MANIFEST_DIMS_MAX 4
#define MANIFEST_CHUNKS_MAX ((size_t)16 << 10) /* 16 GiB of state; about 75 bytes each, so below MANIFEST_BYTES_MAX */
#define MANIFEST_TENSOR_NAME_MAX 128
#define MANIFEST_PATH_BYTES 80

struct manifest_tensor {
    char name[MANIFEST_TENSOR_NAME_MAX];
    enum checkpoint_type type;
    size_t n_dims;
    size_t dim[MANIFEST_DIMS_MAX];
    uint64_t offset, n_bytes;
    size_t chunk_at, n_chunks; /* its place in manifest.chunk */
};

struct manifest {
    struct checkpoint_info info;
    struct hash id; /* SHA-256 of the first line: what a child calls its parent */
    size_t n_tensors, n_chunks;
    struct manifest_tensor *tensor;
    struct hash *chunk; /* names, in order of the state */
};

/** "manifests/NAME/VERSION"; returns `out`. */
const char *manifest_path(char out[MANIFEST_PATH_BYTES], const char *name, uint64_t version);

/** Whether checkpoints may be called so, and whether a tensor may. */
bool manifest_name_ok(const char *name);
bool manifest_tensor_name_ok(const char *name);

/** The version that a file of a directory of manifests is called after; false for other files. */
bool manifest_version_parse(uint64_t *version, const char *entry);

/** "F32", "I64" or "I8", the bytes of one element, and the type of a name; false when there is none. */
const char *manifest_type_name(enum checkpoint_type type);
size_t manifest_type_bytes(enum checkpoint_type type);
bool manifest_type_parse(enum checkpoint_type *out, const char *name);

/** Plain bytes of chunk `i` of a tensor. */
size_t manifest_chunk_bytes(const struct manifest_tensor *tensor, size_t i);

/** A manifest of these tensors, with room for its chunk names, which the caller fills in.  HANSE_EINVAL, logged, when a tensor
 * cannot be described.  Free with manifest_free(). */
HANSE_MUST_USE int manifest_new(const struct checkpoint_tensor *tensor, size_t n_tensors, struct manifest **out);
void manifest_free(struct manifest *manifest);

/** Appends the two lines, signed with `key`; info.host and info.n_bytes are taken from key and tensors. */
HANSE_MUST_USE int manifest_encode(struct manifest *manifest, const struct key *key, struct buf *out);

/**
 * Reads bytes of any origin.  HANSE_ECORRUPT when they are not as above, HANSE_EVERSION for another format,
 * HANSE_ESIGNATURE, HANSE_ENOMEM; `*fault` is then a clause that says what is wrong.  Whether the signer is to be trusted is for
 * the caller to say, from info.host.
 */
HANSE_MUST_USE int manifest_decode(const void *bytes, size_t n, struct manifest **out, const char **fault);

/** Reads, decodes, and holds name and version against the file's.  `*fault` says what is wrong, as above. */
HANSE_MUST_USE int manifest_try(const struct disk *disk, const char *name, uint64_t version, struct manifest **out,
                                const char **fault);

/** The line that tells the user about it. */
void manifest_log_fault(const char *name, uint64_t version, const char *fault, int err);

/** Both: logs what is wrong, unless it is that there is no such file (HANSE_ENOENT). */
HANSE_MUST_USE int manifest_read(const struct disk *disk, const char *name, uint64_t version, struct manifest **out);

/** Reads the bytes of one tensor, each chunk checked; logs the first that is not right.  A missing one is HANSE_ECORRUPT. */
HANSE_MUST_USE int manifest_read_tensor(const struct disk *disk, struct chunk_scratch *scratch, const struct manifest *m,
                                        const struct manifest_tensor *t, void *data);

/** Checks all chunks and logs each that is not right; returns the first error. */
HANSE_MUST_USE int manifest_verify_chunks(const struct disk *disk, const struct manifest *m);

#endif
