/**
 * experts/manifest.c - names, sizes and the writing of manifests.  manifest_decode.c reads them.
 */
#include "experts/manifest.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

#define VERSION_DIGITS 20

const char *manifest_path(char out[MANIFEST_PATH_BYTES], const char *name, uint64_t version)
{
    snprintf(out, MANIFEST_PATH_BYTES, "manifests/%.31s/%020" PRIu64, name, version);
    return out;
}

static bool is_plain(const char *name, size_t max, const char *also)
{
    size_t n = strnlen(name, max);
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        bool is_alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_alnum && !strchr(also, c))
            return false;
    }
    return n > 0 && n < max && name[0] != '.';
}

bool manifest_name_ok(const char *name)
{
    return is_plain(name, CHECKPOINT_NAME_MAX, "._-");
}

bool manifest_tensor_name_ok(const char *name)
{
    return is_plain(name, MANIFEST_TENSOR_NAME_MAX, "._-/");
}

bool manifest_version_parse(uint64_t *version, const char *entry)
{
    return strlen(entry) == VERSION_DIGITS && text_u64(version, entry, 0, INT64_MAX);
}

static const struct {
    const char *name;
    size_t n_bytes;
} type[] = {[CHECKPOINT_F32] = {"F32", sizeof(float)}, [CHECKPOINT_I64] = {"I64", sizeof(int64_t)}, [CHECKPOINT_I8] = {"I8", 1}};

const char *manifest_type_name(enum checkpoint_type t)
{
    return type[t].name;
}

size_t manifest_type_bytes(enum checkpoint_type t)
{
    return type[t].n_bytes;
}

bool manifest_type_parse(enum checkpoint_type *out, const char *name)
{
    for (size_t i = 0; i < sizeof type / sizeof *type; i++)
        if (strcmp(name, type[i].name) == 0) {
            *out = (enum checkpoint_type)i;
            return true;
        }
    return false;
}

size_t manifest_chunk_bytes(const struct manifest_tensor *tensor, size_t i)
{
    assert(i < tensor->n_chunks);
    uint64_t left = tensor->n_bytes - (uint64_t)i * CHUNK_BYTES;
    return left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
}

static bool describe(struct manifest_tensor *t, const struct checkpoint_tensor *from)
{
    uint64_t n = manifest_type_bytes(from->type);
    if (!manifest_tensor_name_ok(from->name) || from->n_dims < 1 || from->n_dims > MANIFEST_DIMS_MAX)
        return false;
    snprintf(t->name, sizeof t->name, "%s", from->name);
    t->type = from->type;
    t->n_dims = from->n_dims;
    for (size_t i = 0; i < from->n_dims; i++) {
        t->dim[i] = from->dim[i];
        bool may_be_none = i == 0 && from->n_loaded;
        if ((from->dim[i] == 0 && !may_be_none) || __builtin_mul_overflow(n, from->dim[i], &n) ||
            n > MANIFEST_CHUNKS_MAX * CHUNK_BYTES)
            return false;
    }
    t->n_bytes = n;
    t->n_chunks = (size_t)((n + CHUNK_BYTES - 1) / CHUNK_BYTES);
    return true;
}

int manifest_new(const struct checkpoint_tensor *tensor, size_t n_tensors, struct manifest **out)
{
    int err = HANSE_ENOMEM;
    struct manifest *m = calloc(1, sizeof *m);
    if (!m)
        goto fail;
    m->tensor = calloc(n_tensors + 1, sizeof *m->tensor);
    if (!m->tensor)
        goto fail;
    err = HANSE_EINVAL;
    for (size_t i = 0; i < n_tensors; i++) {
        struct manifest_tensor *t = &m->tensor[i];
        if (n_tensors > MANIFEST_TENSORS_MAX || !describe(t, &tensor[i]) || m->n_chunks + t->n_chunks > MANIFEST_CHUNKS_MAX) {
            log_error("tensor %.128s: its name, shape or size is beyond what a checkpoint can hold", tensor[i].name);
            goto fail;
        }
        t->offset = m->info.n_bytes;
        t->chunk_at = m->n_chunks;
        m->n_chunks += t->n_chunks;
        m->info.n_bytes += t->n_bytes;
    }
    m->n_tensors = n_tensors;
    err = HANSE_ENOMEM;
    m->chunk = calloc(m->n_chunks + 1, sizeof *m->chunk);
    if (!m->chunk)
        goto fail;
    *out = m;
    return 0;
fail:
    manifest_free(m);
    return err;
}

void manifest_free(struct manifest *manifest)
{
    if (!manifest)
        return;
    free(manifest->tensor);
    free(manifest->chunk);
    free(manifest);
}

static void put_hex(struct buf *out, const char *key, const void *bytes)
{
    char hex[2 * HASH_BYTES + 1];
    text_hex(hex, bytes, HASH_BYTES);
    buf_printf(out, "\"%s\":\"%s\",", key, hex);
}

static void put_tensor(struct buf *out, const struct manifest *m, const struct manifest_tensor *t)
{
    buf_printf(out, "{\"name\":\"%s\",\"type\":\"%s\",\"shape\":[", t->name, manifest_type_name(t->type));
    for (size_t i = 0; i < t->n_dims; i++)
        buf_printf(out, "%s%zu", i > 0 ? "," : "", t->dim[i]);
    buf_printf(out, "],\"offset\":%" PRIu64 ",\"n_bytes\":%" PRIu64 ",\"chunks\":[", t->offset, t->n_bytes);
    for (size_t i = 0; i < t->n_chunks; i++) {
        char hex[2 * HASH_BYTES + 1];
        text_hex(hex, m->chunk[t->chunk_at + i].byte, HASH_BYTES);
        buf_printf(out, "%s[\"%s\",%zu]", i > 0 ? "," : "", hex, manifest_chunk_bytes(t, i));
    }
    buf_printf(out, "]}");
}

/* Names hold no character that JSON would escape. */
static void put_line(struct buf *out, const struct manifest *m)
{
    const struct checkpoint_info *info = &m->info;
    buf_printf(out, "{\"format\":%d,", MANIFEST_FORMAT);
    put_hex(out, "run", info->run.byte);
    buf_printf(out, "\"name\":\"%s\",\"version\":%" PRIu64 ",\"epoch\":%" PRIu32 ",", info->name, info->version, info->epoch);
    put_hex(out, "root", info->root.byte);
    put_hex(out, "parent", info->parent.byte);
    put_hex(out, "log_head", info->log_head.byte);
    put_hex(out, "host", info->host.byte);
    buf_printf(out, "\"time_us\":%" PRIu64 ",\"n_bytes\":%" PRIu64 ",\"tensors\":[", info->time_us, info->n_bytes);
    for (size_t i = 0; i < m->n_tensors; i++) {
        buf_append(out, ",", i > 0);
        put_tensor(out, m, &m->tensor[i]);
    }
    buf_printf(out, "]}");
}

int manifest_encode(struct manifest *manifest, const struct key *key, struct buf *out)
{
    uint8_t signature[KEY_SIGNATURE_BYTES];
    char hex[2 * KEY_SIGNATURE_BYTES + 1];
    size_t start = out->n;
    manifest->info.host = key_peer_id(key);
    put_line(out, manifest);
    if (out->err)
        return out->err;
    manifest->id = hash_bytes(out->bytes + start, out->n - start);
    key_sign(key, MANIFEST_TAG, out->bytes + start, out->n - start, signature);
    text_hex(hex, signature, sizeof signature);
    buf_printf(out, "\n%s\n", hex);
    return out->err;
}
