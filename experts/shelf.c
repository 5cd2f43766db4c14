/**
 * experts/shelf.c - finding the manifests of a name and putting them in order.
 */
#include "experts/shelf.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_BYTES_MAX ((size_t)64 << 20)

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

void shelf_share(void)
{
    int err = pthread_rwlock_rdlock(&lock);
    assert(err == 0);
}

void shelf_claim(void)
{
    int err = pthread_rwlock_wrlock(&lock);
    assert(err == 0);
}

void shelf_release(void)
{
    int err = pthread_rwlock_unlock(&lock);
    assert(err == 0);
}

static void add_version(void *arg, const char *entry)
{
    uint64_t version;
    if (manifest_version_parse(&version, entry))
        buf_append(arg, &version, sizeof version);
}

/* The versions on disk, ascending: byte order is numeric order, as all names have 20 digits. */
static int list_versions(const struct disk *disk, const char *name, struct buf *versions)
{
    char directory[DISK_NAME_MAX];
    snprintf(directory, sizeof directory, "manifests/%s", name);
    int err = disk->ops->list(disk->ctx, directory, add_version, versions);
    return err ? err : versions->err;
}

static bool is_before(const struct checkpoint_info *a, const struct checkpoint_info *b)
{
    return a->epoch != b->epoch ? a->epoch < b->epoch : a->version < b->version;
}

static void insert(struct shelf *shelf, struct manifest *m)
{
    size_t i = shelf->n++;
    for (; i > 0 && is_before(&m->info, &shelf->manifest[i - 1]->info); i--)
        shelf->manifest[i] = shelf->manifest[i - 1];
    shelf->manifest[i] = m;
}

int shelf_open(const struct disk *disk, const char *name, bool is_logged, struct shelf *shelf)
{
    struct buf versions;
    *shelf = (struct shelf){.n = 0};
    buf_init(&versions, NAMES_BYTES_MAX);
    int err = list_versions(disk, name, &versions);
    if (err)
        goto done;
    size_t n = versions.n / sizeof(uint64_t);
    const uint64_t *version = (const uint64_t *)(const void *)versions.bytes;
    err = HANSE_ENOMEM;
    shelf->manifest = calloc(n + 1, sizeof(struct manifest *));
    shelf->damaged = calloc(n + 1, sizeof *shelf->damaged);
    if (!shelf->manifest || !shelf->damaged)
        goto done;
    for (size_t i = 0; i < n; i++) {
        struct manifest *m;
        const char *fault;
        err = manifest_try(disk, name, version[i], &m, &fault);
        if (!err) {
            insert(shelf, m);
            continue;
        }
        if (is_logged)
            manifest_log_fault(name, version[i], fault, err);
        shelf->damaged[shelf->n_damaged++] = version[i];
        shelf->err = err;
    }
    err = 0;
done:
    buf_fini(&versions);
    return err;
}

void shelf_fini(struct shelf *shelf)
{
    for (size_t i = 0; i < shelf->n; i++)
        manifest_free(shelf->manifest[i]);
    free(shelf->manifest);
    free(shelf->damaged);
    *shelf = (struct shelf){.n = 0};
}

int shelf_parent(const struct disk *disk, const struct checkpoint_info *info, struct hash *parent)
{
    struct shelf shelf;
    memset(parent, 0, sizeof *parent);
    int err = shelf_open(disk, info->name, false, &shelf);
    for (size_t i = 0; i < shelf.n && is_before(&shelf.manifest[i]->info, info); i++)
        *parent = shelf.manifest[i]->id;
    shelf_fini(&shelf);
    return err;
}

static void add_name(void *arg, const char *entry)
{
    if (manifest_name_ok(entry))
        buf_append(arg, entry, strlen(entry) + 1);
}

static int list_one(const struct disk *disk, const char *name, void (*each)(void *arg, const char *name, uint64_t version),
                    void *arg)
{
    struct buf versions;
    buf_init(&versions, NAMES_BYTES_MAX);
    int err = list_versions(disk, name, &versions);
    for (size_t i = 0; !err && i < versions.n; i += sizeof(uint64_t)) {
        uint64_t version;
        memcpy(&version, versions.bytes + i, sizeof version);
        each(arg, name, version);
    }
    buf_fini(&versions);
    return err;
}

int shelf_list(const struct disk *disk, void (*each)(void *arg, const char *name, uint64_t version), void *arg)
{
    struct buf names;
    buf_init(&names, NAMES_BYTES_MAX);
    int err = disk->ops->list(disk->ctx, "manifests", add_name, &names);
    if (!err)
        err = names.err;
    for (size_t i = 0; !err && i < names.n; i += strlen((const char *)names.bytes + i) + 1)
        err = list_one(disk, (const char *)names.bytes + i, each, arg);
    buf_fini(&names);
    return err;
}
