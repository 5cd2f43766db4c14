/**
 * experts/checkpoint_export.c - the newest checkpoints as one safetensors file.
 *
 * The data is gathered first, as only reading it tells which checkpoint of a name is the newest that verifies;
 * the header then goes in front.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "experts/checkpoint.h"
#include "experts/safetensors.h"
#include "experts/shelf.h"

struct exporting {
    const struct disk *disk;
    struct chunk_scratch scratch;
    struct buf *out;
    struct buf tensors; /* struct manifest_tensor, in order */
    char last[CHECKPOINT_NAME_MAX];
    int err;
};

static bool is_exported(const struct manifest_tensor *t)
{
    return strncmp(t->name, CHECKPOINT_STATE_PREFIX, strlen(CHECKPOINT_STATE_PREFIX)) != 0;
}

static int add_manifest(struct exporting *e, const struct manifest *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct manifest_tensor *t = &m->tensor[i];
        if (!is_exported(t))
            continue;
        uint8_t *data = buf_extend(e->out, t->n_bytes);
        if (!data)
            return e->out->err;
        int err = manifest_read_tensor(e->disk, &e->scratch, m, t, data);
        if (err)
            return err;
        buf_append(&e->tensors, t, sizeof *t);
    }
    return e->tensors.err;
}

/* A manifest that turns out damaged leaves no trace; the one before is tried. */
static int add_newest(struct exporting *e, const struct shelf *shelf)
{
    int first = shelf->err;
    for (size_t i = shelf->n; i-- > 0;) {
        size_t n_data = e->out->n, n_tensors = e->tensors.n;
        int err = add_manifest(e, shelf->manifest[i]);
        if (!err || err == HANSE_ENOMEM || err == HANSE_EFULL)
            return err;
        e->out->n = n_data;
        e->tensors.n = n_tensors;
        first = first ? first : err;
    }
    return first ? first : HANSE_ENOENT;
}

static int add_name(struct exporting *e, const char *name)
{
    struct shelf shelf;
    int err = shelf_open(e->disk, name, true, &shelf);
    if (!err)
        err = add_newest(e, &shelf);
    shelf_fini(&shelf);
    return err;
}

/* Called for each version; versions of a name come together. */
static void add_listed(void *arg, const char *name, uint64_t version)
{
    struct exporting *e = arg;
    (void)version;
    if (e->err || strcmp(e->last, name) == 0)
        return;
    memcpy(e->last, name, strlen(name) + 1);
    e->err = add_name(e, name);
}

static int compare(const void *a, const void *b)
{
    const struct manifest_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int check_names(const struct manifest_tensor *tensor, size_t n)
{
    const struct manifest_tensor **sorted = calloc(n + 1, sizeof *sorted);
    if (!sorted)
        return HANSE_ENOMEM;
    for (size_t i = 0; i < n; i++)
        sorted[i] = &tensor[i];
    qsort(sorted, n, sizeof *sorted, compare);
    int err = 0;
    for (size_t i = 1; i < n && !err; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0) {
            log_error("tensor %s: two checkpoints have one of this name; export them one by one", sorted[i]->name);
            err = HANSE_EEXIST;
        }
    free(sorted);
    return err;
}

/* Moves the data, which starts at `start`, to make room for the header before it. */
static int put_header(struct exporting *e, size_t start)
{
    struct buf header;
    const struct manifest_tensor *tensor = (const struct manifest_tensor *)(const void *)e->tensors.bytes;
    size_t n = e->tensors.n / sizeof *tensor, n_data = e->out->n - start;
    buf_init(&header, SAFETENSORS_HEADER_MAX + 8);
    int err = check_names(tensor, n);
    if (!err)
        err = safetensors_put_header(&header, tensor, n);
    if (!err && !buf_extend(e->out, header.n))
        err = e->out->err;
    if (!err) {
        memmove(e->out->bytes + start + header.n, e->out->bytes + start, n_data);
        memcpy(e->out->bytes + start, header.bytes, header.n);
    }
    buf_fini(&header);
    return err;
}

int checkpoint_export(const struct disk *disk, const char *name, struct buf *out)
{
    struct exporting e = {.disk = disk, .out = out};
    size_t start = out->n;
    if (name && !manifest_name_ok(name))
        return HANSE_EINVAL;
    buf_init(&e.tensors, SAFETENSORS_HEADER_MAX);
    int err = chunk_scratch_init(&e.scratch);
    shelf_share();
    if (!err)
        err = name ? add_name(&e, name) : shelf_list(disk, add_listed, &e);
    shelf_release();
    if (!err)
        err = e.err;
    if (!err && e.tensors.n == 0)
        err = HANSE_ENOENT;
    if (!err)
        err = put_header(&e, start);
    if (err)
        out->n = start;
    chunk_scratch_fini(&e.scratch);
    buf_fini(&e.tensors);
    return err;
}
