/**
 * experts/manifest_read.c - manifests and the chunks they name, from a disk that may have lost or changed any of them.
 */
#include "experts/manifest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static int check_place(const struct manifest *m, const char *name, uint64_t version, const char **fault)
{
    *fault = "belongs to another name or version than the file is called after";
    return strcmp(m->info.name, name) == 0 && m->info.version == version ? 0 : HANSE_ECORRUPT;
}

int manifest_try(const struct disk *disk, const char *name, uint64_t version, struct manifest **out, const char **fault)
{
    char path[MANIFEST_PATH_BYTES];
    struct buf bytes;
    struct manifest *m = NULL;
    *fault = "cannot be read";
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    int err = disk->ops->read(disk->ctx, manifest_path(path, name, version), &bytes);
    if (!err)
        err = manifest_decode(bytes.bytes, bytes.n, &m, fault);
    if (!err)
        err = check_place(m, name, version, fault);
    buf_fini(&bytes);
    if (err)
        manifest_free(m);
    else
        *out = m;
    return err;
}

void manifest_log_fault(const char *name, uint64_t version, const char *fault, int err)
{
    char path[MANIFEST_PATH_BYTES];
    log_error("%s: %s (%s); copy it from another host, or delete it to fall back on the checkpoint before",
              manifest_path(path, name, version), fault, hanse_strerror(err));
}

int manifest_read(const struct disk *disk, const char *name, uint64_t version, struct manifest **out)
{
    const char *fault;
    int err = manifest_try(disk, name, version, out, &fault);
    if (err && err != HANSE_ENOENT)
        manifest_log_fault(name, version, fault, err);
    return err;
}

/* A chunk that is missing is a damaged checkpoint, not an absent one. */
static int read_chunk(const struct disk *disk, struct chunk_scratch *scratch, const struct manifest *m,
                      const struct manifest_tensor *t, size_t i, uint8_t *plain)
{
    char path[CHUNK_PATH_BYTES];
    const char *fault;
    const struct hash *name = &m->chunk[t->chunk_at + i];
    int err = chunk_read(disk, scratch, name, plain, manifest_chunk_bytes(t, i), &fault);
    if (err)
        log_error("%s: %s (chunk %zu of %s, version %" PRIu64 " of %s)", chunk_path(path, name), fault, i, t->name,
                  m->info.version, m->info.name);
    return err == HANSE_ENOENT ? HANSE_ECORRUPT : err;
}

int manifest_read_tensor(const struct disk *disk, struct chunk_scratch *scratch, const struct manifest *m,
                         const struct manifest_tensor *t, void *data)
{
    int err = 0;
    for (size_t i = 0; i < t->n_chunks && !err; i++)
        err = read_chunk(disk, scratch, m, t, i, (uint8_t *)data + i * CHUNK_BYTES);
    return err;
}

int manifest_verify_chunks(const struct disk *disk, const struct manifest *m)
{
    struct chunk_scratch scratch;
    int first = 0;
    uint8_t *plain = malloc(CHUNK_BYTES);
    int err = chunk_scratch_init(&scratch);
    if (!plain)
        err = HANSE_ENOMEM;
    for (size_t i = 0; !err && i < m->n_tensors; i++)
        for (size_t j = 0; j < m->tensor[i].n_chunks; j++) {
            int fault = read_chunk(disk, &scratch, m, &m->tensor[i], j, plain);
            first = first ? first : fault;
        }
    chunk_scratch_fini(&scratch);
    free(plain);
    return err ? err : first;
}
