/**
 * experts/checkpoint.h - a named state on disk: content-addressed chunks and a signed manifest.
 *
 *   chunks/ab/ab34...      one chunk: at most 1 MiB of state, byte-shuffled (by 4), zlib; named by the SHA-256 of
 *                          the plain bytes
 *   manifests/NAME/VERSION the manifest (VERSION as 20 digits): one line of JSON, then a line with the signature
 *
 * The state is the tensors' bytes in order, each tensor starting a new chunk.  Its root is the Merkle root
 * over the chunk hashes (base/hash.h), so equal states have equal roots whoever wrote them.
 * Writing: chunks first, manifest last, each durable before the next; a manifest that can be read names chunks that were there.
 * Reading: the signature, then each chunk's hash, before a byte is used.  Pruned to the newest CHECKPOINT_KEEP manifests
 * of a name and the chunks that they name.
 * Calls block and are safe from several threads for different names.
 */
#ifndef EXPERTS_CHECKPOINT_H
#define EXPERTS_CHECKPOINT_H

#include "base/disk.h"
#include "base/hash.h"
#include "base/key.h"

#define CHECKPOINT_CHUNK_BYTES ((size_t)1 << 20)
#define CHECKPOINT_KEEP 3
#define CHECKPOINT_NAME_MAX 32

enum checkpoint_type { CHECKPOINT_F32, CHECKPOINT_I64 };

/** A tensor to save from, or to load into. */
struct checkpoint_tensor {
    const char *name; /* as safetensors will call it */
    enum checkpoint_type type;
    size_t n_dims; /* up to 4 */
    size_t dim[4];
    void *data;
};

struct checkpoint_info {
    struct hash run;
    char name[CHECKPOINT_NAME_MAX];
    uint64_t version;
    uint32_t epoch;
    struct hash root;   /* out of save and of read */
    struct hash parent; /* SHA-256 of the previous manifest's first line; zeros for the first */
    struct hash log_head;
    struct peer_id host; /* whose signature it carries */
    uint64_t time_us;    /* when it was made */
    uint64_t n_bytes;    /* of plain state */
};

/** Saves; fills info->root, parent, host, n_bytes.  Chunks already there are not written again.  Logs what failed. */
HANSE_MUST_USE int checkpoint_save(const struct disk *disk, const struct key *key, struct checkpoint_info *info,
                                   const struct checkpoint_tensor *tensor, size_t n_tensors);

/**
 * Loads the newest manifest of `name` that verifies wholly, into tensors of exactly the shapes given; older ones are tried
 * when a newer one is damaged (each damage logged with its file).  With `run` not NULL another run's checkpoint is
 * HANSE_ERUN.  HANSE_ENOENT when there is none at all, HANSE_ECORRUPT or HANSE_ESIGNATURE when none verifies; then
 * nothing of the tensors is to be used.
 */
HANSE_MUST_USE int checkpoint_load(const struct disk *disk, const char *name, const struct hash *run,
                                   struct checkpoint_info *info, const struct checkpoint_tensor *tensor, size_t n_tensors);

/** Reads and checks one manifest's line and signature, not its chunks. */
HANSE_MUST_USE int checkpoint_info_read(const struct disk *disk, const char *name, uint64_t version,
                                        struct checkpoint_info *info);

/** Checks everything of one manifest: signature, each chunk's presence, hash and size, and the root.  Logs each fault. */
HANSE_MUST_USE int checkpoint_verify(const struct disk *disk, const char *name, uint64_t version, struct checkpoint_info *info);

/** Calls `each` for every manifest, names in byte order, versions ascending.  Files that are no manifests are skipped. */
HANSE_MUST_USE int checkpoint_list(const struct disk *disk, void (*each)(void *arg, const char *name, uint64_t version),
                                   void *arg);

/** Removes manifests beyond the newest CHECKPOINT_KEEP of `name` and chunks that no manifest names any more. */
HANSE_MUST_USE int checkpoint_prune(const struct disk *disk, const char *name);

/**
 * Writes the tensors of the newest verified manifests of `name`, or of all names when NULL, as one safetensors file
 * (u64 header length, JSON, data) to `out`.  Optimizer state is left out.
 */
HANSE_MUST_USE int checkpoint_export(const struct disk *disk, const char *name, struct buf *out);

/* An expert's state as tensors, and back: experts/expert_state.c */
struct expert;

/** Saves a copy made earlier or the expert itself; info needs run and time_us, the rest comes from the expert. */
HANSE_MUST_USE int expert_save(const struct expert *x, const struct disk *disk, const struct key *key,
                               struct checkpoint_info *info);

/** Replaces the state of an expert made by expert_new() with its newest checkpoint.  Errors as checkpoint_load(). */
HANSE_MUST_USE int expert_load(struct expert *x, const struct disk *disk, const struct hash *run, struct checkpoint_info *info);

#endif
