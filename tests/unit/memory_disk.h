/**
 * tests/unit/memory_disk.h - a disk in memory that fails when told to.
 *
 * Set a fault, do something, and look; memory_disk_file() gives the bytes of a file to damage them by hand.
 */
#ifndef TESTS_MEMORY_DISK_H
#define TESTS_MEMORY_DISK_H

#include <string.h>

#include "base/disk.h"
#include "unit.h"

#define MEMORY_DISK_FILES_MAX 512
#define MEMORY_DISK_NEVER SIZE_MAX

struct memory_file {
    char name[DISK_NAME_MAX];
    struct buf bytes;
};

struct memory_disk {
    struct disk disk;
    struct memory_file file[MEMORY_DISK_FILES_MAX]; /* by name, in byte order */
    size_t n;
    size_t n_writes, n_reads;
    size_t fail_from; /* this write and all after it fail with fail_err: a crash, a full disk */
    int fail_err;
    size_t lose; /* this write is acknowledged and forgotten */
    size_t capacity;
    size_t n_bytes;
};

static inline struct memory_file *memory_disk_file(struct memory_disk *d, const char *name)
{
    for (size_t i = 0; i < d->n; i++)
        if (strcmp(d->file[i].name, name) == 0)
            return &d->file[i];
    return NULL;
}

static inline int memory_disk_read(void *ctx, const char *name, struct buf *out)
{
    struct memory_disk *d = ctx;
    struct memory_file *f = memory_disk_file(d, name);
    d->n_reads++;
    if (!f)
        return HANSE_ENOENT;
    buf_append(out, f->bytes.bytes, f->bytes.n);
    return out->err;
}

static inline struct memory_file *memory_disk_add(struct memory_disk *d, const char *name)
{
    size_t at = 0;
    while (at < d->n && strcmp(d->file[at].name, name) < 0)
        at++;
    ck_assert(d->n < MEMORY_DISK_FILES_MAX && strlen(name) < DISK_NAME_MAX);
    memmove(&d->file[at + 1], &d->file[at], (d->n++ - at) * sizeof *d->file);
    memcpy(d->file[at].name, name, strlen(name) + 1);
    buf_init(&d->file[at].bytes, SIZE_MAX / 2);
    return &d->file[at];
}

static inline int memory_disk_write(void *ctx, const char *name, const void *bytes, size_t n)
{
    struct memory_disk *d = ctx;
    struct memory_file *f = memory_disk_file(d, name);
    size_t turn = d->n_writes++, old = f ? f->bytes.n : 0;
    if (turn >= d->fail_from)
        return d->fail_err;
    if (d->n_bytes - old + n > d->capacity)
        return HANSE_EFULL;
    if (turn == d->lose)
        return 0;
    if (!f)
        f = memory_disk_add(d, name);
    buf_clear(&f->bytes);
    buf_append(&f->bytes, bytes, n);
    d->n_bytes += n - old;
    return f->bytes.err;
}

static inline int memory_disk_remove(void *ctx, const char *name)
{
    struct memory_disk *d = ctx;
    struct memory_file *f = memory_disk_file(d, name);
    if (!f)
        return HANSE_ENOENT;
    d->n_bytes -= f->bytes.n;
    buf_fini(&f->bytes);
    d->n--;
    memmove(f, f + 1, (size_t)(&d->file[d->n] - f) * sizeof *f);
    return 0;
}

static inline bool memory_disk_exists(void *ctx, const char *name)
{
    return memory_disk_file(ctx, name) != NULL;
}

static inline int memory_disk_list(void *ctx, const char *directory, void (*each)(void *arg, const char *entry), void *arg)
{
    struct memory_disk *d = ctx;
    size_t n_directory = strlen(directory);
    char last[DISK_NAME_MAX] = "", entry[DISK_NAME_MAX];
    for (size_t i = 0; i < d->n; i++) {
        const char *name = d->file[i].name;
        if (strncmp(name, directory, n_directory) != 0 || name[n_directory] != '/')
            continue;
        size_t n = strcspn(name + n_directory + 1, "/");
        memcpy(entry, name + n_directory + 1, n);
        entry[n] = 0;
        if (strcmp(entry, last) != 0)
            each(arg, entry);
        memcpy(last, entry, n + 1);
    }
    return 0;
}

static inline void memory_disk_init(struct memory_disk *d)
{
    static const struct disk_ops ops = {memory_disk_read, memory_disk_write, memory_disk_remove, memory_disk_exists,
                                        memory_disk_list};
    *d = (struct memory_disk){.disk = {&ops, d}, .fail_err = HANSE_EIO};
    d->fail_from = d->lose = d->capacity = MEMORY_DISK_NEVER;
}

/** The same files on a disk without faults. */
static inline void memory_disk_copy(struct memory_disk *to, const struct memory_disk *from)
{
    memory_disk_init(to);
    for (size_t i = 0; i < from->n; i++)
        ck_assert_int_eq(memory_disk_write(to, from->file[i].name, from->file[i].bytes.bytes, from->file[i].bytes.n), 0);
    to->n_writes = 0;
}

static inline void memory_disk_fini(struct memory_disk *d)
{
    for (size_t i = 0; i < d->n; i++)
        buf_fini(&d->file[i].bytes);
    d->n = 0;
}

#endif
