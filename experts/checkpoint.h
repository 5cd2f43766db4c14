/**
 * experts/checkpoint.h - a named state on disk: content-addressed chunks and a signed manifest.
 *
 *   chunks/ab/ab34...      experts/chunk.h: at most 1 MiB of state, packed, named by the SHA-256 of the plain bytes
 *   manifests/NAME/VERSION experts/manifest.h (VERSION as 20 digits): one line of JSON, then one with the signature
 *
 * The state is the tensors' bytes in order, little-endian, each tensor starting a new chunk.  Its root is the Merkle root
 * over the chunk names (base/hash.h), so equal states have equal roots whoever wrote them.
 * Writing: chunks first, manifest last, each durable before the next; a manifest that can be read names chunks that were there.
 * Reading: the signature, then each chunk's hash, before a byte is used.  A signature says who made a checkpoint; whether that
 * host is to be believed is for the caller to say, from info.host.
 * Newest means: of the highest epoch, and among those of the highest version.  Pruned to the newest CHECKPOINT_KEEP manifests
 * of a name and the chunks that any manifest names.
 * Damage is logged with the file, what is wrong and how to mend it, and nothing damaged is removed or written over.
 * Calls block and are safe from several threads for different names.
 */
#ifndef EXPERTS_CHECKPOINT_H
#define EXPERTS_CHECKPOINT_H

#include "base/disk.h"
#include "base/hash.h"
#include "base/key.h"
#include "kernels/kernels.h"

#define CHECKPOINT_CHUNK_BYTES ((size_t)1 << 20)
#define CHECKPOINT_KEEP 3
#define CHECKPOINT_NAME_MAX 32

enum checkpoint_type { CHECKPOINT_F32, CHECKPOINT_I64, CHECKPOINT_I8 };

/* Tensors whose name starts so are state that only the optimizer knows: export leaves them out. */
#define CHECKPOINT_STATE_PREFIX "state."

/** A tensor to save from, or to load into. */
struct checkpoint_tensor {
    const char *name; /* as safetensors will call it */
    enum checkpoint_type type;
    size_t n_dims; /* 1 to 4 */
    size_t dim[4];
    void *data;
    size_t *n_loaded; /* NULL, or: dim[0] may be 0; a load takes any up to dim[0], and says here which it was */
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

/** Saves; fills info->root, parent, host, n_bytes.  Chunks already there, and sound, are not written again.  When it fails it
 * says why in the log, and the checkpoints before are as they were. */
HANSE_MUST_USE int checkpoint_save(const struct disk *disk, const struct key *key, struct checkpoint_info *info,
                                   const struct checkpoint_tensor *tensor, size_t n_tensors);

/** The root that saving these would give, without a disk; here their data lie in the memory of `k`.  HANSE_ENOMEM, HANSE_EINVAL as
 * checkpoint_save(), HANSE_EDEVICE as k->get(). */
HANSE_MUST_USE int checkpoint_root(const struct kernels *k, const struct checkpoint_tensor *tensor, size_t n_tensors,
                                   struct hash *root);

/**
 * Loads the newest manifest of `name` that verifies wholly, into tensors of exactly the shapes given; older ones are tried
 * when a newer one is damaged (each damage logged with its file).  With `run` not NULL another run's checkpoint is
 * HANSE_ERUN, and one of other tensors HANSE_EINVAL: older ones are not tried then.  HANSE_ENOENT when there is none at all; when
 * none verifies, what is wrong with the newest: HANSE_ECORRUPT, HANSE_ESIGNATURE, HANSE_EVERSION (written by a later hanse) or
 * what the disk said.  After an error nothing of the tensors is to be used.
 */
HANSE_MUST_USE int checkpoint_load(const struct disk *disk, const char *name, const struct hash *run,
                                   struct checkpoint_info *info, const struct checkpoint_tensor *tensor, size_t n_tensors);

/** As checkpoint_load(), of just this version. */
HANSE_MUST_USE int checkpoint_load_version(const struct disk *disk, const char *name, uint64_t version, const struct hash *run,
                                           struct checkpoint_info *info, const struct checkpoint_tensor *tensor,
                                           size_t n_tensors);

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
 * Appends the tensors of the newest manifest that verifies of `name`, or of every name when NULL, as one safetensors file
 * (experts/safetensors.h).  State of the optimizer is left out.  HANSE_ENOENT when there is none; HANSE_EEXIST, logged, when
 * two checkpoints have a tensor of the same name; HANSE_EFULL when `out` cannot hold it.
 */
HANSE_MUST_USE int checkpoint_export(const struct disk *disk, const char *name, struct buf *out);

/*
 * An expert's state as tensors, and back: experts/expert_state.c.  The weights come first, as other programs know them:
 *   model.layers.L.mlp.experts.E.gate_proj.weight (H, D), .up_proj.weight (H, D), .down_proj.weight (D, H)
 * for an expert called "LL.E", and NAME.gate_proj.weight and so on for any other; then state.moment1, state.moment2,
 * state.grad (3, D, H), state.scalars F32 (3) = beta1_power, beta2_power, lr_scale_sum and
 * state.counters I64 (3) = version, n_slots, grad_slots.  An expert whose numerics are integers has besides the n = grad_slots %
 * EXPERT_BLOCK rows that are not in state.grad yet: state.pending.x.exponent I8 (n), .x.high and, with two slices, .x.low
 * I8 (n, D), the same of .gy, then .gg, .gu, .h F32 (n, H), as experts/expert.h says.  Nothing else decides later bits, and nothing here depends on who called,
 * when or on which host; so roots compare.
 */
struct expert;

/** Saves an expert or a copy of it; info needs run and time_us, the rest comes from the expert. */
HANSE_MUST_USE int expert_save(const struct expert *x, const struct disk *disk, const struct key *key,
                               struct checkpoint_info *info);

/** The root that expert_save() would give, without a disk: what an auditor compares.  HANSE_ENOMEM. */
HANSE_MUST_USE int expert_root(const struct expert *x, struct hash *root);

/** Replaces the state of an expert made by expert_new() with its newest checkpoint, or leaves it as it is.  Errors as
 * checkpoint_load(). */
HANSE_MUST_USE int expert_load(struct expert *x, const struct disk *disk, const struct hash *run, struct checkpoint_info *info);

/** As expert_load(), of just this version. */
HANSE_MUST_USE int expert_load_version(struct expert *x, const struct disk *disk, const struct hash *run, uint64_t version,
                                       struct checkpoint_info *info);

/** Takes the weights from a safetensors file, whole or not at all, and leaves the rest of the state.  HANSE_ENOENT when a tensor is
 * not in it, HANSE_EINVAL when one has another type or shape (both logged), HANSE_ECORRUPT, HANSE_EREJECT (not finite). */
HANSE_MUST_USE int expert_import(struct expert *x, const void *bytes, size_t n);

#endif
