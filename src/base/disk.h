/**
 * base/disk.h - the few things we ask of a disk.  src/net/files.c does them with POSIX, src/sim/disk.c
 * with faults on purpose.
 *
 * A name is relative, '/'-separated, without "..", at most DISK_NAME_MAX bytes; directories come into
 * being by themselves.  Calls block: on a loop thread they belong inside an io_work.  Several threads may
 * call at once.
 */
#ifndef BASE_DISK_H
#define BASE_DISK_H

#include <stdbool.h>

#include "base/buf.h"

#define DISK_NAME_MAX 256

struct disk_ops {
    /* Appends the whole file to `out`.  HANSE_ENOENT, HANSE_EIO, HANSE_EFULL (larger than out->max), HANSE_EACCESS. */
    int (*read)(void *ctx, const char *name, struct buf *out);
    /* Replaces the file: after a crash it holds all of the old bytes or all of the new ones, and once
     * this has returned 0, the new ones.  (write to a temporary, fsync, rename, fsync the directory) */
    int (*write)(void *ctx, const char *name, const void *bytes, size_t n);
    /* HANSE_ENOENT when it is not there. */
    int (*remove)(void *ctx, const char *name);
    bool (*exists)(void *ctx, const char *name);
    /* Calls `each` with the name of each entry of a directory, in byte order, "." and ".." and temporary
     * files left out; a missing directory has none. */
    int (*list)(void *ctx, const char *directory, void (*each)(void *arg, const char *entry), void *arg);
};

struct disk {
    const struct disk_ops *ops;
    void *ctx;
};

#endif
