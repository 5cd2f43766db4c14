/*
 * sim/disk.c - a disk in memory.
 *
 * A file is a stack of versions, newest on top; the bottom one is durable.  What a piece of work writes lies above it, marked
 * with the work's tag, until the work ends.  Writes of one piece of work follow each other, each durable before the next
 * begins (base/disk.h), so a crash in its midst leaves the first k of them.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "sim/inside.h"

struct version {
    uint8_t *bytes;
    size_t n;
    bool is_removed;
    uint64_t tag;  /* 0: durable */
    uint64_t turn; /* the how-many-th write of its piece of work */
    struct version *older;
};

struct file {
    char name[DISK_NAME_MAX + 1];
    struct version *newest; /* never NULL */
};

/* A piece of work that has written and not ended. */
struct unfinished {
    uint64_t tag;
    uint64_t n_writes;
    uint64_t n_kept; /* of a crash */
};

struct sim_disk {
    struct file *file; /* by name */
    size_t n, capacity;
    struct unfinished *unfinished;
    size_t n_unfinished, unfinished_capacity;
    uint64_t tag;
    struct rng *faults;
    double fault_rate;
};

struct sim_disk *sim_disk_new(struct rng *faults)
{
    struct sim_disk *disk = sim_need(1, sizeof *disk);
    disk->faults = faults;
    return disk;
}

static void free_versions(struct version *version)
{
    while (version) {
        struct version *older = version->older;
        free(version->bytes);
        free(version);
        version = older;
    }
}

void sim_disk_free(struct sim_disk *disk)
{
    if (!disk)
        return;
    for (size_t i = 0; i < disk->n; i++)
        free_versions(disk->file[i].newest);
    free(disk->file);
    free(disk->unfinished);
    free(disk);
}

/* Where `name` is, or where it would stand. */
static size_t place_of(const struct sim_disk *disk, const char *name, bool *is_there)
{
    size_t low = 0, high = disk->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(disk->file[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *is_there = low < disk->n && strcmp(disk->file[low].name, name) == 0;
    return low;
}

static const struct version *find(const struct sim_disk *disk, const char *name)
{
    bool is_there;
    size_t i = place_of(disk, name, &is_there);
    return is_there && !disk->file[i].newest->is_removed ? disk->file[i].newest : NULL;
}

static void forget_file(struct sim_disk *disk, size_t i)
{
    free_versions(disk->file[i].newest);
    memmove(&disk->file[i], &disk->file[i + 1], (disk->n - i - 1) * sizeof *disk->file);
    disk->n--;
}

static struct file *make_file(struct sim_disk *disk, const char *name, size_t i)
{
    if (disk->n == disk->capacity) {
        disk->capacity = disk->capacity ? 2 * disk->capacity : 16;
        disk->file = sim_grow(disk->file, disk->capacity, sizeof *disk->file);
    }
    memmove(&disk->file[i + 1], &disk->file[i], (disk->n - i) * sizeof *disk->file);
    disk->n++;
    disk->file[i] = (struct file){.newest = NULL};
    memcpy(disk->file[i].name, name, strlen(name));
    return &disk->file[i];
}

static uint64_t next_turn(struct sim_disk *disk)
{
    for (size_t i = 0; i < disk->n_unfinished; i++)
        if (disk->unfinished[i].tag == disk->tag)
            return disk->unfinished[i].n_writes++;
    if (disk->n_unfinished == disk->unfinished_capacity) {
        disk->unfinished_capacity = disk->unfinished_capacity ? 2 * disk->unfinished_capacity : 8;
        disk->unfinished = sim_grow(disk->unfinished, disk->unfinished_capacity, sizeof *disk->unfinished);
    }
    disk->unfinished[disk->n_unfinished++] = (struct unfinished){.tag = disk->tag, .n_writes = 1};
    return 0;
}

/* Makes the version on top of place i durable, and the only one. */
static void settle(struct sim_disk *disk, size_t i)
{
    struct version *newest = disk->file[i].newest;
    newest->tag = 0;
    free_versions(newest->older);
    newest->older = NULL;
    if (newest->is_removed)
        forget_file(disk, i);
}

static void put(struct sim_disk *disk, const char *name, struct version *version)
{
    bool is_there;
    size_t i = place_of(disk, name, &is_there);
    struct file *file = is_there ? &disk->file[i] : make_file(disk, name, i);
    version->tag = disk->tag;
    version->turn = disk->tag ? next_turn(disk) : 0;
    version->older = file->newest;
    file->newest = version;
    if (disk->tag == 0)
        settle(disk, i);
}

/* -- The operations --------------------------------------------------------------------------------- */

static bool is_name(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= DISK_NAME_MAX && name[0] != '/' && !strstr(name, "..");
}

static bool fails(struct sim_disk *disk)
{
    return disk->fault_rate > 0 && rng_unit(disk->faults) < disk->fault_rate;
}

static int disk_read(void *ctx, const char *name, struct buf *out)
{
    assert(is_name(name));
    const struct version *version = find(ctx, name);
    if (!version)
        return HANSE_ENOENT;
    buf_append(out, version->bytes, version->n);
    return out->err;
}

static int disk_write(void *ctx, const char *name, const void *bytes, size_t n)
{
    struct sim_disk *disk = ctx;
    assert(is_name(name));
    if (fails(disk)) {
        log_debug("simulation: writing %s fails, as it was told to", name);
        return HANSE_EIO;
    }
    struct version *version = sim_need(1, sizeof *version);
    version->bytes = sim_need(n ? n : 1, 1);
    version->n = n;
    if (n)
        memcpy(version->bytes, bytes, n);
    put(disk, name, version);
    return 0;
}

static int disk_remove(void *ctx, const char *name)
{
    struct sim_disk *disk = ctx;
    assert(is_name(name));
    if (!find(disk, name))
        return HANSE_ENOENT;
    struct version *version = sim_need(1, sizeof *version);
    version->is_removed = true;
    put(disk, name, version);
    return 0;
}

static bool disk_exists(void *ctx, const char *name)
{
    assert(is_name(name));
    return find(ctx, name) != NULL;
}

/* Names are sorted whole, so entries of one directory come together; a subdirectory may come in several places
 * ("a", "a.b/c", "a/d"), hence the sort of the entries and the pass over neighbours. */
static int compare_entries(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int disk_list(void *ctx, const char *directory, void (*each)(void *arg, const char *entry), void *arg)
{
    struct sim_disk *disk = ctx;
    size_t n_dir = strlen(directory), n = 0;
    char(*entry)[DISK_NAME_MAX + 1] = sim_need(disk->n + 1, sizeof *entry);
    for (size_t i = 0; i < disk->n; i++) {
        const char *name = disk->file[i].name;
        if (disk->file[i].newest->is_removed || (n_dir && (strncmp(name, directory, n_dir) != 0 || name[n_dir] != '/')))
            continue;
        const char *rest = name + n_dir + (n_dir > 0);
        memcpy(entry[n++], rest, strcspn(rest, "/"));
    }
    qsort(entry, n, sizeof *entry, compare_entries);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(entry[i], entry[i - 1]) != 0)
            each(arg, entry[i]);
    free(entry);
    return 0;
}

const struct disk_ops sim_disk_ops = {disk_read, disk_write, disk_remove, disk_exists, disk_list};

/* -- What lasts ------------------------------------------------------------------------------------- */

void sim_disk_begin(struct sim_disk *disk, uint64_t tag)
{
    disk->tag = tag;
}

/* Drops what lies above the newest version that stays, and all below it; keeps(arg, version) says which stays. */
static void keep(struct sim_disk *disk, bool (*keeps)(const struct sim_disk *disk, const struct version *version))
{
    for (size_t i = disk->n; i-- > 0;) {
        struct file *file = &disk->file[i];
        while (file->newest && !keeps(disk, file->newest)) {
            struct version *lost = file->newest;
            file->newest = lost->older;
            lost->older = NULL;
            free_versions(lost);
        }
        if (file->newest)
            settle(disk, i);
        else
            forget_file(disk, i);
    }
    disk->n_unfinished = 0;
}

static bool keeps_all(const struct sim_disk *disk, const struct version *version)
{
    (void)disk;
    (void)version;
    return true;
}

static bool keeps_first_few(const struct sim_disk *disk, const struct version *version)
{
    for (size_t i = 0; i < disk->n_unfinished; i++)
        if (disk->unfinished[i].tag == version->tag)
            return version->turn < disk->unfinished[i].n_kept;
    return true;
}

void sim_disk_commit_all(struct sim_disk *disk)
{
    keep(disk, keeps_all);
}

void sim_disk_crash(struct sim_disk *disk)
{
    for (size_t i = 0; i < disk->n_unfinished; i++)
        disk->unfinished[i].n_kept = rng_below(disk->faults, disk->unfinished[i].n_writes + 1);
    keep(disk, keeps_first_few);
    disk->tag = 0;
}

/* The newest version of `tag` in a file becomes durable; what lies above it stays as it is. */
static void commit_file(struct sim_disk *disk, size_t i, uint64_t tag)
{
    struct version *version = disk->file[i].newest;
    while (version && version->tag != tag)
        version = version->older;
    if (!version)
        return;
    version->tag = 0;
    free_versions(version->older);
    version->older = NULL;
    if (version->is_removed && version == disk->file[i].newest)
        forget_file(disk, i);
}

void sim_disk_commit(struct sim_disk *disk, uint64_t tag)
{
    size_t u = 0;
    while (u < disk->n_unfinished && disk->unfinished[u].tag != tag)
        u++;
    if (u == disk->n_unfinished)
        return; /* it wrote nothing */
    for (size_t i = disk->n; i-- > 0;)
        commit_file(disk, i, tag);
    disk->unfinished[u] = disk->unfinished[--disk->n_unfinished];
}

void sim_disk_set_fault_rate(struct sim_disk *disk, double rate)
{
    disk->fault_rate = rate;
}

bool sim_disk_spoil(struct sim_disk *disk, const char *name)
{
    bool is_there;
    size_t i = place_of(disk, name, &is_there);
    if (!is_there || disk->file[i].newest->n == 0)
        return false;
    struct version *version = disk->file[i].newest;
    uint64_t bit = rng_below(disk->faults, 8 * (uint64_t)version->n);
    version->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    return true;
}
