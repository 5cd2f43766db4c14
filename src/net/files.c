/* net/files.c - a directory as a disk: whole files, replaced at once or not at all. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/log.h"
#include "base/text.h"
#include "net/net.h"

#define TEMPORARY ".new-" /* begins the names of files that are being written */
#define KEY_FILE "key"
#define LOCK_FILE "lock"
#define KEY_TEXT_BYTES (2 * KEY_SEED_BYTES + 1)

struct files {
    int directory;
    char *path;
    _Atomic unsigned n_temporary;
};

static int error_of(int cause)
{
    switch (cause) {
    case ENOENT:
        return HANSE_ENOENT;
    case EACCES:
    case EPERM:
    case EROFS:
        return HANSE_EACCESS;
    case ENOMEM:
        return HANSE_ENOMEM;
    case EMFILE:
    case ENFILE:
        return HANSE_EFULL;
    case ELOOP: /* a symbolic link where a file or directory should be */
    case ENOTDIR:
        return HANSE_EINVAL;
    default:
        return HANSE_EIO;
    }
}

static int complain(const struct files *files, const char *what, const char *name, int cause)
{
    if (cause != ENOENT)
        log_error("%s/%s: cannot %s: %s%s", files->path, name, what, strerror(cause),
                  cause == ENOSPC || cause == EDQUOT ? "; make room or choose another directory" : "");
    return error_of(cause);
}

/* ---- names ---- */

static bool is_good_part(const char *part, size_t n)
{
    if (n == 0 || n > NAME_MAX || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
        return false;
    return n < strlen(TEMPORARY) || memcmp(part, TEMPORARY, strlen(TEMPORARY)) != 0;
}

/* Relative, no empty, "." or ".." part, and none that looks like one of our temporary files. */
static bool is_good_name(const char *name)
{
    if (strlen(name) > DISK_NAME_MAX)
        return false;
    for (;;) {
        size_t n = strcspn(name, "/");
        if (!is_good_part(name, n))
            return false;
        if (name[n] == 0)
            return true;
        name += n + 1;
    }
}

/* Opens the directory `part` of `parent`, made when it is missing; a symbolic link is not followed. */
static int open_directory(int parent, const char *part, bool create)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(parent, part, flags);
    if (fd >= 0 || errno != ENOENT || !create)
        return fd;
    if (mkdirat(parent, part, 0777) == 0)
        fsync(parent); /* or the directory may be gone after a crash, and what was written durably in it */
    else if (errno != EEXIST)
        return -1;
    return openat(parent, part, flags);
}

/* Walks to the directory that holds `name`; `*last` is the part after the last '/'.  The caller closes. */
static int walk(const struct files *files, const char *name, bool create, const char **last)
{
    char part[DISK_NAME_MAX + 1];
    int at = fcntl(files->directory, F_DUPFD_CLOEXEC, 0);
    for (;;) {
        size_t n = strcspn(name, "/");
        if (at < 0 || name[n] == 0)
            break;
        memcpy(part, name, n);
        part[n] = 0;
        int next = open_directory(at, part, create);
        int cause = errno;
        close(at);
        errno = cause;
        at = next;
        name += n + 1;
    }
    *last = name;
    return at;
}

static void close_keeping_errno(int fd)
{
    int cause = errno;
    if (fd >= 0)
        close(fd);
    errno = cause;
}

/* ---- reading ---- */

static int read_all(int fd, struct buf *out)
{
    struct stat stat;
    if (fstat(fd, &stat))
        return error_of(errno);
    if (!S_ISREG(stat.st_mode))
        return HANSE_EINVAL;
    size_t left = (size_t)stat.st_size;
    if (left > out->max - out->n)
        return HANSE_EFULL;
    uint8_t *at = left ? buf_extend(out, left) : NULL;
    if (left && !at)
        return out->err;
    while (left > 0) {
        ssize_t n = read(fd, at, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) { /* 0: someone cut the file short meanwhile */
            out->n -= left;
            return HANSE_EIO;
        }
        at += n;
        left -= (size_t)n;
    }
    return 0;
}

static int files_read(void *ctx, const char *name, struct buf *out)
{
    struct files *files = ctx;
    const char *last;
    if (!is_good_name(name))
        return HANSE_EINVAL;
    size_t n_before = out->n;
    int parent = walk(files, name, false, &last);
    int fd = parent < 0 ? -1 : openat(parent, last, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    close_keeping_errno(parent);
    if (fd < 0)
        return complain(files, "read", name, errno);
    int err = read_all(fd, out);
    close(fd);
    if (err && !out->err)
        out->n = n_before;
    return err;
}

/* ---- writing ---- */

static bool write_all(int fd, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, bytes, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return false;
        bytes += k;
        n -= (size_t)k;
    }
    return true;
}

/* A new file in `parent` with these bytes, on the disk before this returns. */
static bool write_new(int parent, const char *name, const void *bytes, size_t n, mode_t mode)
{
    int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return false;
    bool is_written = write_all(fd, bytes, n) && fsync(fd) == 0;
    close_keeping_errno(fd);
    if (!is_written) {
        int cause = errno;
        unlinkat(parent, name, 0);
        errno = cause;
    }
    return is_written;
}

static void name_temporary(struct files *files, char out[64])
{
    unsigned i = atomic_fetch_add(&files->n_temporary, 1);
    snprintf(out, 64, TEMPORARY "%ld-%u", (long)getpid(), i);
}

static int files_write(void *ctx, const char *name, const void *bytes, size_t n)
{
    struct files *files = ctx;
    const char *last;
    char temporary[64];
    if (!is_good_name(name))
        return HANSE_EINVAL;
    int parent = walk(files, name, true, &last);
    if (parent < 0)
        return complain(files, "write", name, errno);
    name_temporary(files, temporary);
    bool is_done = write_new(parent, temporary, bytes, n, 0666);
    if (is_done && renameat(parent, temporary, parent, last)) {
        int cause = errno;
        unlinkat(parent, temporary, 0);
        errno = cause;
        is_done = false;
    }
    is_done = is_done && fsync(parent) == 0;
    close_keeping_errno(parent);
    return is_done ? 0 : complain(files, "write", name, errno);
}

/* ---- the rest ---- */

static int files_remove(void *ctx, const char *name)
{
    struct files *files = ctx;
    const char *last;
    if (!is_good_name(name))
        return HANSE_EINVAL;
    int parent = walk(files, name, false, &last);
    int failed = parent < 0 ? -1 : unlinkat(parent, last, 0);
    close_keeping_errno(parent);
    return failed ? complain(files, "remove", name, errno) : 0;
}

static bool files_exists(void *ctx, const char *name)
{
    struct stat stat;
    const char *last;
    if (!is_good_name(name))
        return false;
    int parent = walk(ctx, name, false, &last);
    bool is_there = parent >= 0 && fstatat(parent, last, &stat, AT_SYMLINK_NOFOLLOW) == 0;
    close_keeping_errno(parent);
    return is_there;
}

struct names {
    char **name;
    size_t n, capacity;
};

static bool add_name(struct names *names, const char *name)
{
    if (names->n == names->capacity) {
        size_t capacity = names->capacity ? 2 * names->capacity : 64;
        char **more = realloc(names->name, capacity * sizeof *more);
        if (!more)
            return false;
        names->name = more;
        names->capacity = capacity;
    }
    names->name[names->n] = strdup(name);
    return names->name[names->n++] != NULL;
}

static void names_fini(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->name[i]);
    free(names->name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int collect(DIR *directory, struct names *names)
{
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(directory);
        if (!entry)
            return errno ? HANSE_EIO : 0;
        if (is_good_part(entry->d_name, strlen(entry->d_name)) && !add_name(names, entry->d_name))
            return HANSE_ENOMEM;
    }
}

/* "" is the directory of the disk itself. */
static DIR *open_list(struct files *files, const char *name)
{
    const char *last;
    if (name[0] == 0) {
        name = ".";
        last = name;
    }
    int parent = walk(files, name, false, &last);
    int fd = parent < 0 ? -1 : open_directory(parent, last, false);
    close_keeping_errno(parent);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory)
        close_keeping_errno(fd);
    return directory;
}

static int files_list(void *ctx, const char *name, void (*each)(void *arg, const char *entry), void *arg)
{
    struct files *files = ctx;
    struct names names = {0};
    if (name[0] && !is_good_name(name))
        return HANSE_EINVAL;
    DIR *directory = open_list(files, name);
    if (!directory)
        return errno == ENOENT ? 0 : complain(files, "list", name, errno);
    int err = collect(directory, &names);
    closedir(directory);
    if (!err && names.n > 0) {
        qsort(names.name, names.n, sizeof names.name[0], compare_names);
        for (size_t i = 0; i < names.n; i++)
            each(arg, names.name[i]);
    }
    names_fini(&names);
    return err;
}

static const struct disk_ops ops = {
    .read = files_read,
    .write = files_write,
    .remove = files_remove,
    .exists = files_exists,
    .list = files_list,
};

/* ---- the directory ---- */

/* Makes a directory and those above it. */
static int make_directories(const char *directory)
{
    char path[PATH_MAX];
    size_t n = strlen(directory);
    if (n == 0 || n >= sizeof path) {
        errno = n ? ENAMETOOLONG : EINVAL;
        return -1;
    }
    memcpy(path, directory, n + 1);
    for (size_t i = 1; i < n; i++) {
        if (path[i] != '/')
            continue;
        path[i] = 0;
        if (mkdir(path, 0777) && errno != EEXIST)
            return -1;
        path[i] = '/';
    }
    return mkdir(path, 0777) && errno != EEXIST ? -1 : 0;
}

static int prepare(const char *directory)
{
    struct stat stat_directory;
    if (make_directories(directory)) {
        int cause = errno;
        log_error("directory %s: cannot be made: %s; choose another one", directory, strerror(cause));
        return error_of(cause);
    }
    if (stat(directory, &stat_directory) == 0 && !S_ISDIR(stat_directory.st_mode)) {
        log_error("directory %s: is a file; choose another one", directory);
        return HANSE_EINVAL;
    }
    if (access(directory, R_OK | W_OK | X_OK)) {
        int cause = errno;
        log_error("directory %s: not writable: %s; change its owner or mode, or choose another one", directory, strerror(cause));
        return error_of(cause);
    }
    return 0;
}

int files_open(const char *directory, struct disk *out)
{
    int err = prepare(directory);
    if (err)
        return err;
    struct files *files = calloc(1, sizeof *files);
    if (!files)
        return HANSE_ENOMEM;
    files->path = strdup(directory);
    files->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (files->directory < 0 || !files->path) {
        int cause = errno;
        log_error("directory %s: cannot be opened: %s; choose another one", directory, strerror(cause));
        *out = (struct disk){.ops = &ops, .ctx = files};
        files_close(out);
        return error_of(cause);
    }
    *out = (struct disk){.ops = &ops, .ctx = files};
    return 0;
}

void files_close(struct disk *disk)
{
    struct files *files = disk->ctx;
    if (!files)
        return;
    if (files->directory >= 0)
        close(files->directory);
    free(files->path);
    free(files);
    *disk = (struct disk){0};
}

static int sweep_one(const char *path, const struct stat *stat, int kind, struct FTW *where)
{
    (void)stat;
    if (kind == FTW_F && strncmp(path + where->base, TEMPORARY, strlen(TEMPORARY)) == 0 && unlink(path) == 0)
        log_debug("%s: removed, left from a crash", path);
    return 0;
}

/* Who holds the lock has written its number into it. */
static void complain_locked(const char *directory, int fd)
{
    char pid[32] = {0};
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? strcspn(pid, "\n") : 0] = 0;
    log_error("directory %s: in use by another hanse (process %s); stop it or choose another directory", directory,
              pid[0] ? pid : "unknown");
}

int files_lock(const char *directory)
{
    char path[PATH_MAX];
    int err = prepare(directory);
    if (err)
        return err;
    if (snprintf(path, sizeof path, "%s/%s", directory, LOCK_FILE) >= (int)sizeof path)
        return HANSE_EINVAL;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        err = error_of(errno);
        log_error("%s: cannot be locked: %s; change its owner or choose another directory", path, strerror(errno));
        return err;
    }
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        complain_locked(directory, fd);
        close(fd);
        return HANSE_EBUSY;
    }
    if (ftruncate(fd, 0) || dprintf(fd, "%ld\n", (long)getpid()) < 0)
        log_debug("%s: could not write our number into it", path); /* the lock holds all the same */
    nftw(directory, sweep_one, 8, FTW_PHYS);                       /* nobody else writes here now */
    return 0;                                                      /* the descriptor stays open: the lock lasts as long */
}

/* ---- the key ---- */

static int complain_key(const char *directory, int err, const char *why)
{
    log_error("key file %s/" KEY_FILE ": %s", directory, why);
    return err;
}

static int parse_key(const char *directory, int fd, struct key **out)
{
    struct stat stat;
    char text[KEY_TEXT_BYTES + 1]; /* one more, to see that there is no more */
    uint8_t seed[KEY_SEED_BYTES];
    if (fstat(fd, &stat) || !S_ISREG(stat.st_mode))
        return complain_key(directory, HANSE_EINVAL, "not a plain file; move it away");
    if (stat.st_mode & 077)
        return complain_key(directory, HANSE_EACCESS, "others may read it; make it yours alone with chmod 600");
    ssize_t n = read(fd, text, sizeof text);
    bool is_good = n == KEY_TEXT_BYTES && text[n - 1] == '\n';
    if (is_good)
        text[n - 1] = 0;
    is_good = is_good && text_unhex(seed, sizeof seed, text);
    int err = is_good ? key_new(seed, out) : HANSE_ECORRUPT;
    OPENSSL_cleanse(seed, sizeof seed);
    OPENSSL_cleanse(text, sizeof text);
    if (!is_good)
        complain_key(directory, err,
                     "does not hold 64 hex digits and a newline; restore it, or move it away to become a new peer");
    return err;
}

static int read_key(const char *directory, int parent, struct key **out)
{
    int fd = openat(parent, KEY_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? HANSE_ENOENT : complain_key(directory, error_of(errno), strerror(errno));
    int err = parse_key(directory, fd, out);
    close(fd);
    return err;
}

/* A new key, from the system's own randomness; an existing file is never replaced. */
static int make_key(const char *directory, int parent)
{
    uint8_t seed[KEY_SEED_BYTES];
    char text[KEY_TEXT_BYTES + 1], temporary[64];
    if (getentropy(seed, sizeof seed))
        return complain_key(directory, HANSE_EIO, "the system gives no randomness");
    text_hex(text, seed, sizeof seed);
    text[KEY_TEXT_BYTES - 1] = '\n';
    snprintf(temporary, sizeof temporary, TEMPORARY "key-%ld", (long)getpid());
    unlinkat(parent, temporary, 0);
    bool is_made = write_new(parent, temporary, text, KEY_TEXT_BYTES, 0600);
    if (is_made) {
        is_made = linkat(parent, temporary, parent, KEY_FILE, 0) == 0 || errno == EEXIST;
        unlinkat(parent, temporary, 0);
    }
    is_made = is_made && fsync(parent) == 0;
    int cause = errno;
    OPENSSL_cleanse(seed, sizeof seed);
    OPENSSL_cleanse(text, sizeof text);
    return is_made ? 0 : complain_key(directory, error_of(cause), strerror(cause));
}

int files_key(const char *directory, bool create, struct key **out)
{
    int err = create ? prepare(directory) : 0;
    if (err)
        return err;
    int parent = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return complain_key(directory, error_of(errno), strerror(errno));
    err = read_key(directory, parent, out);
    if (err == HANSE_ENOENT && create) {
        err = make_key(directory, parent);
        if (!err)
            err = read_key(directory, parent, out);
    } else if (err == HANSE_ENOENT) {
        complain_key(directory, err, "missing");
    }
    close(parent);
    return err;
}
