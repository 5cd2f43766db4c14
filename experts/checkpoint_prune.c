/**
 * experts/checkpoint_prune.c - what is on the disk, and what of it may go.
 *
 * Manifests go first and chunks after, so that a crash in between leaves chunks too many, which the next pruning
 * finds, and never one too few.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "experts/checkpoint.h"
#include "experts/shelf.h"

#define NAMED_BYTES_MAX ((size_t)1 << 30)
#define ENTRIES_BYTES_MAX ((size_t)64 << 20)

int checkpoint_list(const struct disk *disk, void (*each)(void *arg, const char *name, uint64_t version), void *arg)
{
    return shelf_list(disk, each, arg);
}

static int remove_manifest(const struct disk *disk, const char *name, uint64_t version)
{
    char path[MANIFEST_PATH_BYTES];
    int err = disk->ops->remove(disk->ctx, manifest_path(path, name, version));
    if (err == HANSE_ENOENT)
        return 0;
    if (err)
        log_error("%s: cannot be removed: %s", path, hanse_strerror(err));
    return err;
}

/* A damaged manifest can still be mended or copied anew, so it stays until CHECKPOINT_KEEP sound ones of later versions make
 * it superfluous. */
static bool is_superfluous(const struct shelf *shelf, uint64_t damaged)
{
    size_t n_later = 0;
    for (size_t i = 0; i < shelf->n; i++)
        n_later += shelf->manifest[i]->info.version > damaged;
    return n_later >= CHECKPOINT_KEEP;
}

static int prune_manifests(const struct disk *disk, const char *name)
{
    struct shelf shelf;
    int err = shelf_open(disk, name, false, &shelf);
    for (size_t i = 0; !err && i < shelf.n_damaged; i++)
        if (is_superfluous(&shelf, shelf.damaged[i]))
            err = remove_manifest(disk, name, shelf.damaged[i]);
    for (size_t i = 0; !err && i + CHECKPOINT_KEEP < shelf.n; i++)
        err = remove_manifest(disk, name, shelf.manifest[i]->info.version);
    shelf_fini(&shelf);
    return err;
}

/* All chunk names that any manifest names, gathered, then sorted. */
struct named {
    const struct disk *disk;
    struct buf hashes;
    int err;
};

static void add_named(void *arg, const char *name, uint64_t version)
{
    struct named *named = arg;
    struct manifest *m = NULL;
    int err = manifest_read(named->disk, name, version, &m);
    if (!err)
        buf_append(&named->hashes, m->chunk, m->n_chunks * sizeof *m->chunk);
    manifest_free(m);
    named->err = named->err ? named->err : err ? err : named->hashes.err;
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, HASH_BYTES);
}

/* The entries of one directory of chunks/, each with its NUL. */
static void add_entry(void *arg, const char *entry)
{
    buf_append(arg, entry, strlen(entry) + 1);
}

static int prune_directory(const struct disk *disk, const char *directory, const struct named *named)
{
    char path[DISK_NAME_MAX];
    struct hash name;
    struct buf entries;
    buf_init(&entries, ENTRIES_BYTES_MAX);
    snprintf(path, sizeof path, "chunks/%s", directory);
    int err = disk->ops->list(disk->ctx, path, add_entry, &entries);
    if (!err)
        err = entries.err;
    for (size_t i = 0; !err && i < entries.n; i += strlen((const char *)entries.bytes + i) + 1) {
        if (!chunk_name_parse(&name, directory, (const char *)entries.bytes + i) ||
            (named->hashes.n > 0 && bsearch(&name, named->hashes.bytes, named->hashes.n / HASH_BYTES, HASH_BYTES, compare)))
            continue;
        err = disk->ops->remove(disk->ctx, chunk_path(path, &name));
        if (err)
            log_error("%s: cannot be removed: %s", path, hanse_strerror(err));
    }
    buf_fini(&entries);
    return err;
}

static int prune_chunks(const struct disk *disk, const struct named *named)
{
    int err = 0;
    for (unsigned i = 0; i < 256 && !err; i++) {
        char directory[3];
        snprintf(directory, sizeof directory, "%02x", i);
        err = prune_directory(disk, directory, named);
    }
    return err;
}

/* While any manifest cannot be read, nobody knows which chunks it names; then all stay. */
static int prune_unnamed(const struct disk *disk)
{
    struct named named = {.disk = disk};
    buf_init(&named.hashes, NAMED_BYTES_MAX);
    int err = shelf_list(disk, add_named, &named);
    if (!err && named.err)
        log_warn("chunks: none is removed while a manifest is damaged; delete or replace it to free their space");
    if (!err && !named.err) {
        if (named.hashes.n > 0)
            qsort(named.hashes.bytes, named.hashes.n / HASH_BYTES, HASH_BYTES, compare);
        err = prune_chunks(disk, &named);
    }
    buf_fini(&named.hashes);
    return err;
}

int checkpoint_prune(const struct disk *disk, const char *name)
{
    if (!manifest_name_ok(name))
        return HANSE_EINVAL;
    shelf_claim();
    int err = prune_manifests(disk, name);
    if (!err)
        err = prune_unnamed(disk);
    shelf_release();
    return err;
}
