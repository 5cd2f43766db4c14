/**
 * experts/checkpoint.c - saving, loading and checking whole states.  checkpoint_prune.c finds and forgets them.
 */
#include "experts/checkpoint.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "experts/chunk.h"
#include "experts/manifest.h"
#include "experts/shelf.h"

/* Hashes and stores one tensor's chunks. */
static int save_tensor(const struct disk *disk, struct chunk_scratch *scratch, struct manifest *m,
                       const struct manifest_tensor *t, const uint8_t *data)
{
    int err = 0;
    for (size_t i = 0; i < t->n_chunks && !err; i++) {
        const uint8_t *plain = data + i * CHUNK_BYTES;
        size_t n = manifest_chunk_bytes(t, i);
        struct hash *name = &m->chunk[t->chunk_at + i];
        *name = hash_bytes(plain, n);
        err = chunk_write(disk, scratch, name, plain, n);
    }
    return err;
}

static int save_chunks(const struct disk *disk, struct manifest *m, const struct checkpoint_tensor *tensor)
{
    struct chunk_scratch scratch;
    int err = chunk_scratch_init(&scratch);
    for (size_t i = 0; i < m->n_tensors && !err; i++)
        err = save_tensor(disk, &scratch, m, &m->tensor[i], tensor[i].data);
    chunk_scratch_fini(&scratch);
    return err;
}

static int save_manifest(const struct disk *disk, const struct key *key, struct manifest *m)
{
    char path[MANIFEST_PATH_BYTES];
    struct buf bytes;
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    int err = manifest_encode(m, key, &bytes);
    if (!err)
        err = disk->ops->write(disk->ctx, manifest_path(path, m->info.name, m->info.version), bytes.bytes, bytes.n);
    if (err)
        log_error("%s: cannot be written: %s; the checkpoint before stays", path, hanse_strerror(err));
    buf_fini(&bytes);
    return err;
}

/* Takes from the caller what the caller decides; keeps what the tensors decided. */
static void adopt_info(struct manifest *m, const struct checkpoint_info *info)
{
    uint64_t n_bytes = m->info.n_bytes;
    m->info = *info;
    m->info.n_bytes = n_bytes;
}

int checkpoint_save(const struct disk *disk, const struct key *key, struct checkpoint_info *info,
                    const struct checkpoint_tensor *tensor, size_t n_tensors)
{
    if (!manifest_name_ok(info->name) || info->version > INT64_MAX || info->time_us > INT64_MAX) {
        log_error("checkpoint %.31s: its name, version or time is out of range", info->name);
        return HANSE_EINVAL;
    }
    struct manifest *m = NULL;
    int err = manifest_new(tensor, n_tensors, &m);
    if (err)
        return err;
    adopt_info(m, info);
    shelf_share();
    err = shelf_parent(disk, info, &m->info.parent);
    if (!err)
        err = save_chunks(disk, m, tensor);
    m->info.root = hash_merkle(m->chunk, m->n_chunks);
    if (!err)
        err = save_manifest(disk, key, m);
    shelf_release();
    if (!err)
        *info = m->info;
    manifest_free(m);
    return err;
}

/* All tensors are queued before the first digest is waited for. */
static int hash_chunks(const struct kernels *k, struct manifest *m, const struct checkpoint_tensor *tensor)
{
    uint8_t *digest = k->allot(m->n_chunks * HASH_BYTES);
    if (!digest)
        return HANSE_ENOMEM;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct manifest_tensor *t = &m->tensor[i];
        size_t n_last = t->n_chunks ? manifest_chunk_bytes(t, t->n_chunks - 1) : 0;
        size_t n_bytes = t->n_chunks ? (t->n_chunks - 1) * CHUNK_BYTES + n_last : 0;
        k->hash_leaves(digest + t->chunk_at * HASH_BYTES, tensor[i].data, n_bytes, CHUNK_BYTES);
    }
    int err = k->get(m->chunk, digest, m->n_chunks * HASH_BYTES);
    k->release(digest);
    return err;
}

int checkpoint_root(const struct kernels *k, const struct checkpoint_tensor *tensor, size_t n_tensors, struct hash *root)
{
    struct manifest *m = NULL;
    int err = manifest_new(tensor, n_tensors, &m);
    if (!err)
        err = hash_chunks(k, m, tensor);
    if (!err)
        *root = hash_merkle(m->chunk, m->n_chunks);
    manifest_free(m);
    return err;
}

static bool is_shaped(const struct manifest_tensor *have, const struct checkpoint_tensor *want)
{
    bool has_rows = want->n_loaded ? have->dim[0] <= want->dim[0] : have->dim[0] == want->dim[0];
    return strcmp(have->name, want->name) == 0 && have->type == want->type && have->n_dims == want->n_dims && has_rows &&
           memcmp(have->dim + 1, want->dim + 1, (want->n_dims - 1) * sizeof *want->dim) == 0;
}

/* A sound checkpoint of something else is no damage, and an older one would not mend it. */
static int check_kind(const struct manifest *m, const struct hash *run, const struct checkpoint_tensor *tensor, size_t n_tensors)
{
    char path[MANIFEST_PATH_BYTES];
    manifest_path(path, m->info.name, m->info.version);
    if (run && !hash_equal(run, &m->info.run)) {
        log_error("%s: belongs to another run; use another --dir, or the run.yaml that it was made with", path);
        return HANSE_ERUN;
    }
    if (m->n_tensors != n_tensors) {
        log_error("%s: holds %zu tensors where %zu are expected; it was made from other settings", path, m->n_tensors, n_tensors);
        return HANSE_EINVAL;
    }
    for (size_t i = 0; i < n_tensors; i++)
        if (!is_shaped(&m->tensor[i], &tensor[i])) {
            log_error("%s: its tensor %s has not the name, type or shape of %s as expected; it was made from other settings",
                      path, m->tensor[i].name, tensor[i].name);
            return HANSE_EINVAL;
        }
    return 0;
}

static int load_tensors(const struct disk *disk, const struct manifest *m, const struct checkpoint_tensor *tensor)
{
    struct chunk_scratch scratch;
    int err = chunk_scratch_init(&scratch);
    for (size_t i = 0; i < m->n_tensors && !err; i++) {
        err = manifest_read_tensor(disk, &scratch, m, &m->tensor[i], tensor[i].data);
        if (tensor[i].n_loaded)
            *tensor[i].n_loaded = m->tensor[i].dim[0];
    }
    chunk_scratch_fini(&scratch);
    return err;
}

/* Newest first; the error reported is that of the newest, as it is the one to mend. */
static int load_newest(const struct disk *disk, const struct shelf *shelf, const struct hash *run, struct checkpoint_info *info,
                       const struct checkpoint_tensor *tensor, size_t n_tensors)
{
    int first = shelf->err;
    for (size_t i = shelf->n; i-- > 0;) {
        const struct manifest *m = shelf->manifest[i];
        int err = check_kind(m, run, tensor, n_tensors);
        if (err)
            return err;
        err = load_tensors(disk, m, tensor);
        if (!err) {
            if (first)
                log_warn("%s: version %" PRIu64 " is the newest that verifies and is used", m->info.name, m->info.version);
            *info = m->info;
            return 0;
        }
        first = first ? first : err;
    }
    return first ? first : HANSE_ENOENT;
}

int checkpoint_load(const struct disk *disk, const char *name, const struct hash *run, struct checkpoint_info *info,
                    const struct checkpoint_tensor *tensor, size_t n_tensors)
{
    struct shelf shelf;
    if (!manifest_name_ok(name))
        return HANSE_EINVAL;
    shelf_share();
    int err = shelf_open(disk, name, true, &shelf);
    if (!err)
        err = load_newest(disk, &shelf, run, info, tensor, n_tensors);
    shelf_release();
    shelf_fini(&shelf);
    return err;
}

int checkpoint_load_version(const struct disk *disk, const char *name, uint64_t version, const struct hash *run,
                            struct checkpoint_info *info, const struct checkpoint_tensor *tensor, size_t n_tensors)
{
    struct manifest *m = NULL;
    if (!manifest_name_ok(name))
        return HANSE_EINVAL;
    shelf_share();
    int err = manifest_read(disk, name, version, &m);
    if (!err)
        err = check_kind(m, run, tensor, n_tensors);
    if (!err)
        err = load_tensors(disk, m, tensor);
    shelf_release();
    if (!err)
        *info = m->info;
    manifest_free(m);
    return err;
}

int checkpoint_info_read(const struct disk *disk, const char *name, uint64_t version, struct checkpoint_info *info)
{
    struct manifest *m = NULL;
    if (!manifest_name_ok(name))
        return HANSE_EINVAL;
    int err = manifest_read(disk, name, version, &m);
    if (!err)
        *info = m->info;
    manifest_free(m);
    return err;
}

int checkpoint_verify(const struct disk *disk, const char *name, uint64_t version, struct checkpoint_info *info)
{
    struct manifest *m = NULL;
    if (!manifest_name_ok(name))
        return HANSE_EINVAL;
    shelf_share();
    int err = manifest_read(disk, name, version, &m);
    if (!err)
        err = manifest_verify_chunks(disk, m);
    shelf_release();
    if (!err)
        *info = m->info;
    manifest_free(m);
    return err;
}
