/* cmd/checkpoint.c - hanse checkpoint: lists, shows, verifies and exports what a directory has saved. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "experts/checkpoint.h"
#include "net/net.h"

/* What one pass over the manifests wants to know. */
struct pass {
    const struct disk *disk;
    const char *only; /* a name; NULL for all */
    size_t n, n_bad;
    int err; /* the first */
};

static void time_text(char *out, size_t n, uint64_t time_us)
{
    time_t s = (time_t)(time_us / 1000000);
    struct tm tm;
    if (!gmtime_r(&s, &tm) || strftime(out, n, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(out, n, "-");
}

/* True when the manifest is one that was asked for. */
static bool is_wanted(struct pass *pass, const char *name)
{
    if (pass->only && strcmp(pass->only, name) != 0)
        return false;
    pass->n++;
    return true;
}

static void note_bad(struct pass *pass, const char *name, uint64_t version, int err)
{
    pass->n_bad++;
    if (!pass->err)
        pass->err = err;
    printf("%-10s %10llu  BAD: %s\n", name, (unsigned long long)version, hanse_strerror(err));
}

static void list_one(void *arg, const char *name, uint64_t version)
{
    struct pass *pass = arg;
    struct checkpoint_info info;
    char size[32], when[32], host[9], run[17];
    if (!is_wanted(pass, name))
        return;
    int err = checkpoint_info_read(pass->disk, name, version, &info);
    if (err) {
        note_bad(pass, name, version, err);
        return;
    }
    text_size(size, sizeof size, (double)info.n_bytes);
    time_text(when, sizeof when, info.time_us);
    text_hex(run, info.run.byte, 8);
    printf("%-10s %10llu  epoch %-3u %9s  %s  host %s  run %s\n", name, (unsigned long long)version, info.epoch, size, when,
           peer_id_short(&info.host, host), run);
}

static void print_hex(const char *label, const void *bytes, size_t n)
{
    char hex[65];
    text_hex(hex, bytes, n);
    printf("  %-9s %s\n", label, hex);
}

static void show_one(void *arg, const char *name, uint64_t version)
{
    struct pass *pass = arg;
    struct checkpoint_info info;
    char when[32];
    if (!is_wanted(pass, name))
        return;
    int err = checkpoint_info_read(pass->disk, name, version, &info);
    if (err) {
        note_bad(pass, name, version, err);
        return;
    }
    time_text(when, sizeof when, info.time_us);
    printf("%s version %llu, epoch %u, %llu bytes, saved %s UTC\n", name, (unsigned long long)version, info.epoch,
           (unsigned long long)info.n_bytes, when);
    print_hex("run", info.run.byte, sizeof info.run.byte);
    print_hex("root", info.root.byte, sizeof info.root.byte);
    print_hex("log head", info.log_head.byte, sizeof info.log_head.byte);
    print_hex("parent", info.parent.byte, sizeof info.parent.byte);
    print_hex("host", info.host.byte, sizeof info.host.byte);
}

static void verify_one(void *arg, const char *name, uint64_t version)
{
    struct pass *pass = arg;
    struct checkpoint_info info;
    char size[32];
    if (!is_wanted(pass, name))
        return;
    int err = checkpoint_verify(pass->disk, name, version, &info);
    if (err) {
        note_bad(pass, name, version, err);
        return;
    }
    text_size(size, sizeof size, (double)info.n_bytes);
    printf("%-10s %10llu  good, %s\n", name, (unsigned long long)version, size);
}

static int go_over(const struct disk *disk, const char *dir, const char *only, void (*each)(void *, const char *, uint64_t),
                   struct pass *pass)
{
    *pass = (struct pass){.disk = disk, .only = only};
    int err = checkpoint_list(disk, each, pass);
    if (err)
        return err;
    if (pass->n == 0 && only) {
        log_error("%s: no checkpoint of %s; 'hanse checkpoint list --dir %s' shows what there is", dir, only, dir);
        return HANSE_ENOENT;
    }
    if (pass->n == 0)
        printf("%s: no checkpoints yet\n", dir);
    return pass->err;
}

static int verify(const struct disk *disk, const char *dir, const char *only)
{
    struct pass pass;
    int err = go_over(disk, dir, only, verify_one, &pass);
    if (pass.n)
        printf("%zu of %zu checkpoint%s good\n", pass.n - pass.n_bad, pass.n, pass.n == 1 ? " is" : "s are");
    return err;
}

/* To a file beside it, then renamed, so that a half-written export never has the name. */
static int write_file(const char *path, const struct buf *bytes)
{
    char part[4096];
    if ((size_t)snprintf(part, sizeof part, "%s.part", path) >= sizeof part) {
        log_error("%s: the name is too long", path);
        return HANSE_EINVAL;
    }
    FILE *file = fopen(part, "wb");
    bool is_good = file && fwrite(bytes->bytes, 1, bytes->n, file) == bytes->n && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int cause = errno;
    if (file && fclose(file) != 0)
        is_good = false;
    if (is_good && rename(part, path) == 0)
        return 0;
    cause = is_good ? errno : cause;
    log_error("%s: cannot be written: %s; choose another name", path, strerror(cause));
    unlink(part);
    return cause == EACCES || cause == EPERM ? HANSE_EACCESS : HANSE_EIO;
}

static int export(const struct disk *disk, const char *dir, const char *path, const char *only)
{
    struct buf out;
    char size[32];
    buf_init(&out, SIZE_MAX / 2);
    int err = checkpoint_export(disk, only, &out);
    if (err == HANSE_ENOENT)
        log_error("%s: no checkpoint%s%s to export; 'hanse checkpoint list --dir %s' shows what there is", dir,
                  only ? " of " : "", only ? only : "", dir);
    if (!err)
        err = write_file(path, &out);
    if (!err)
        printf("%s: %s written\n", path, text_size(size, sizeof size, (double)out.n));
    buf_fini(&out);
    return err;
}

static int act(const struct disk *disk, const char *dir, char **operand, size_t n_operands)
{
    const char *name = n_operands > 1 ? operand[1] : NULL;
    struct pass pass;
    if (strcmp(operand[0], "list") == 0)
        return go_over(disk, dir, name, list_one, &pass);
    if (strcmp(operand[0], "show") == 0)
        return go_over(disk, dir, name, show_one, &pass);
    if (strcmp(operand[0], "verify") == 0)
        return verify(disk, dir, name);
    return export(disk, dir, operand[1], n_operands > 2 ? operand[2] : NULL);
}

static const char *verb_at(const void *arg, size_t i)
{
    return ((const char *const *)arg)[i];
}

/* The status to end with when the operands make no sense, -1 when they do. */
static int check_operands(const struct options_usage *usage, char **operand, size_t n)
{
    static const char *const verb[] = {"list", "show", "verify", "export"};
    size_t i = 0;
    while (i < 4 && strcmp(operand[0], verb[i]) != 0)
        i++;
    if (i == 4) {
        const char *nearest = options_nearest(operand[0], verb_at, verb, 4);
        return options_refuse(usage, "'%s' is not understood%s%s%s", operand[0], nearest ? "; did you mean '" : "",
                              nearest ? nearest : "; it is list, show, verify or export", nearest ? "'?" : "");
    }
    if (i == 3 && n < 2)
        return options_refuse(usage, "export needs the name of the file to write, such as model.safetensors");
    if (i < 3 && n > 2)
        return options_refuse(usage, "'%s' is not understood; %s takes one expert at most", operand[2], verb[i]);
    return -1;
}

/* files_open() makes what is missing, which would hide a mistyped name here. */
static int open_existing(const char *dir, struct disk *out)
{
    struct stat st;
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
        log_error("%s: there is no such directory; --dir names that of a host or trainer", dir);
        return HANSE_ENOENT;
    }
    return files_open(dir, out);
}

int cmd_checkpoint(int argc, char **argv)
{
    const char *dir = NULL;
    const struct options_row row[] = {
        {"dir", "DIR", OPTIONS_TEXT, &dir, "the directory of a host or trainer", 0, 0, true},
    };
    const struct options_usage usage = {
        .command = "hanse checkpoint",
        .operands = "list|show|verify [EXPERT], or export FILE [EXPERT]",
        .about =
            "'list' names what is saved, 'show' prints the hashes that it is known by, 'verify' checks signature and every "
            "chunk, "
            "'export' writes the newest good state as a safetensors file. An EXPERT is a name such as L0.3; without one, all.",
        .example = "hanse checkpoint verify --dir host1\n"
                   "hanse checkpoint export model.safetensors --dir host1",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
        .n_operands_min = 1,
        .n_operands_max = 3,
    };
    char **operand;
    size_t n_operands;
    int status;
    if (!options_read(&usage, argc, argv, &operand, &n_operands, &status))
        return status;
    status = check_operands(&usage, operand, n_operands);
    if (status >= 0)
        return status;
    struct disk disk = {0};
    int err = open_existing(dir, &disk);
    if (!err)
        err = act(&disk, dir, operand, n_operands);
    files_close(&disk);
    return err ? hanse_exit_status(err) : 0;
}
