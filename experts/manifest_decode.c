/**
 * experts/manifest_decode.c - the reading of manifests, whoever wrote them.
 *
 * Every member must be there, of its type and in its range, and the number of members must be that many; so an unknown
 * one is refused.  Jansson refuses what is not JSON, members that come twice, and text after the end.
 */
#include "experts/manifest.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define LINE_MEMBERS 12
#define TENSOR_MEMBERS 6
#define SIGNATURE_LINE_BYTES (2 * KEY_SIGNATURE_BYTES + 1)

static bool get_u64(const json_t *object, const char *key, uint64_t max, uint64_t *out)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

/* text_unhex() is kind to upper case; we want one spelling a value. */
static bool parse_hex(void *out, size_t n, const char *hex)
{
    char again[2 * KEY_SIGNATURE_BYTES + 1];
    if (!hex || !text_unhex(out, n, hex))
        return false;
    text_hex(again, out, n);
    return strcmp(hex, again) == 0;
}

static bool get_hash(const json_t *object, const char *key, void *out)
{
    return parse_hex(out, HASH_BYTES, json_string_value(json_object_get(object, key)));
}

static bool get_text(const json_t *object, const char *key, char *out, size_t max)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!text || strlen(text) >= max)
        return false;
    memcpy(out, text, strlen(text) + 1);
    return true;
}

static bool get_type(const json_t *object, enum checkpoint_type *out)
{
    const char *text = json_string_value(json_object_get(object, "type"));
    return text && manifest_type_parse(out, text);
}

static bool get_shape(const json_t *object, struct manifest_tensor *t)
{
    const json_t *shape = json_object_get(object, "shape");
    t->n_dims = json_array_size(shape); /* 0 for what is no array */
    if (t->n_dims < 1 || t->n_dims > MANIFEST_DIMS_MAX)
        return false;
    uint64_t n = manifest_type_bytes(t->type);
    for (size_t i = 0; i < t->n_dims; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < (i > 0))
            return false;
        t->dim[i] = (size_t)json_integer_value(dim);
        if (__builtin_mul_overflow(n, t->dim[i], &n) || n > MANIFEST_CHUNKS_MAX * CHUNK_BYTES)
            return false;
    }
    t->n_bytes = n;
    t->n_chunks = (size_t)((n + CHUNK_BYTES - 1) / CHUNK_BYTES);
    return true;
}

static bool get_tensor(const json_t *object, struct manifest_tensor *t)
{
    uint64_t n_bytes;
    return json_object_size(object) == TENSOR_MEMBERS && get_text(object, "name", t->name, sizeof t->name) &&
           manifest_tensor_name_ok(t->name) && get_type(object, &t->type) && get_shape(object, t) &&
           get_u64(object, "offset", INT64_MAX, &t->offset) && get_u64(object, "n_bytes", INT64_MAX, &n_bytes) &&
           n_bytes == t->n_bytes && json_array_size(json_object_get(object, "chunks")) == t->n_chunks;
}

static bool get_chunk(const json_t *pair, size_t n_bytes, struct hash *out)
{
    const json_t *n = json_array_get(pair, 1);
    return json_array_size(pair) == 2 && parse_hex(out->byte, HASH_BYTES, json_string_value(json_array_get(pair, 0))) &&
           json_is_integer(n) && json_integer_value(n) == (json_int_t)n_bytes;
}

static bool get_chunks(const json_t *object, const struct manifest_tensor *t, struct hash *out)
{
    const json_t *chunks = json_object_get(object, "chunks");
    for (size_t i = 0; i < t->n_chunks; i++)
        if (!get_chunk(json_array_get(chunks, i), manifest_chunk_bytes(t, i), &out[i]))
            return false;
    return true;
}

static bool get_info(const json_t *line, struct checkpoint_info *info)
{
    uint64_t epoch;
    if (json_object_size(line) != LINE_MEMBERS || !get_hash(line, "run", info->run.byte) ||
        !get_text(line, "name", info->name, sizeof info->name) || !manifest_name_ok(info->name) ||
        !get_u64(line, "version", INT64_MAX, &info->version) || !get_u64(line, "epoch", UINT32_MAX, &epoch) ||
        !get_hash(line, "root", info->root.byte) || !get_hash(line, "parent", info->parent.byte) ||
        !get_hash(line, "log_head", info->log_head.byte) || !get_hash(line, "host", info->host.byte) ||
        !get_u64(line, "time_us", INT64_MAX, &info->time_us) || !get_u64(line, "n_bytes", INT64_MAX, &info->n_bytes))
        return false;
    info->epoch = (uint32_t)epoch;
    return true;
}

/* The tensors, and that they lie end to end; their chunks are counted for the allocation to come. */
static int get_tensors(const json_t *array, struct manifest *m)
{
    uint64_t offset = 0;
    m->n_tensors = json_array_size(array);
    if (!json_is_array(array) || m->n_tensors > MANIFEST_TENSORS_MAX)
        return HANSE_ECORRUPT;
    m->tensor = calloc(m->n_tensors + 1, sizeof *m->tensor);
    if (!m->tensor)
        return HANSE_ENOMEM;
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct manifest_tensor *t = &m->tensor[i];
        if (!get_tensor(json_array_get(array, i), t) || t->offset != offset || t->n_chunks > MANIFEST_CHUNKS_MAX - m->n_chunks)
            return HANSE_ECORRUPT;
        t->chunk_at = m->n_chunks;
        m->n_chunks += t->n_chunks;
        offset += t->n_bytes;
    }
    return offset == m->info.n_bytes ? 0 : HANSE_ECORRUPT;
}

static int get_all_chunks(const json_t *array, struct manifest *m)
{
    m->chunk = calloc(m->n_chunks + 1, sizeof *m->chunk);
    if (!m->chunk)
        return HANSE_ENOMEM;
    for (size_t i = 0; i < m->n_tensors; i++)
        if (!get_chunks(json_array_get(array, i), &m->tensor[i], m->chunk + m->tensor[i].chunk_at))
            return HANSE_ECORRUPT;
    return 0;
}

static int get_line(const json_t *line, struct manifest *m, const char **fault)
{
    const json_t *format = json_object_get(line, "format");
    const json_t *tensors = json_object_get(line, "tensors");
    *fault = "is no manifest of ours";
    if (!json_is_integer(format))
        return HANSE_ECORRUPT;
    *fault = "is of a format that this version of hanse does not know";
    if (json_integer_value(format) != MANIFEST_FORMAT)
        return HANSE_EVERSION;
    *fault = "lacks a member or has one out of range";
    if (!get_info(line, &m->info))
        return HANSE_ECORRUPT;
    *fault = "names tensors or chunks that do not fit together";
    int err = get_tensors(tensors, m);
    if (!err)
        err = get_all_chunks(tensors, m);
    if (err)
        return err;
    *fault = "has a root that is not that of its chunks";
    struct hash root = hash_merkle(m->chunk, m->n_chunks);
    return hash_equal(&root, &m->info.root) ? 0 : HANSE_ECORRUPT;
}

/* A newline ends each line and there are no others, so a file cut anywhere is seen as cut. */
static bool split(const uint8_t *bytes, size_t n, size_t *n_line, uint8_t signature[KEY_SIGNATURE_BYTES])
{
    char hex[SIGNATURE_LINE_BYTES];
    if (n < SIGNATURE_LINE_BYTES + 1 || n > MANIFEST_BYTES_MAX || bytes[n - 1] != '\n')
        return false;
    *n_line = n - SIGNATURE_LINE_BYTES - 1;
    if (memchr(bytes, '\n', n) != bytes + *n_line)
        return false;
    memcpy(hex, bytes + *n_line + 1, sizeof hex - 1);
    hex[sizeof hex - 1] = 0;
    return parse_hex(signature, KEY_SIGNATURE_BYTES, hex);
}

int manifest_decode(const void *bytes, size_t n, struct manifest **out, const char **fault)
{
    uint8_t signature[KEY_SIGNATURE_BYTES];
    size_t n_line;
    json_t *line = NULL;
    int err = HANSE_ENOMEM;
    *fault = "cannot be read for want of memory";
    struct manifest *m = calloc(1, sizeof *m);
    if (!m)
        goto fail;
    err = HANSE_ECORRUPT;
    *fault = "is cut short or is no manifest";
    if (!split(bytes, n, &n_line, signature))
        goto fail;
    line = json_loadb(bytes, n_line, JSON_REJECT_DUPLICATES, NULL);
    if (!line)
        goto fail;
    err = get_line(line, m, fault);
    if (err)
        goto fail;
    err = HANSE_ESIGNATURE;
    *fault = "is not signed by the host that it names";
    if (!key_verify(&m->info.host, MANIFEST_TAG, bytes, n_line, signature))
        goto fail;
    m->id = hash_bytes(bytes, n_line);
    json_decref(line);
    *out = m;
    return 0;
fail:
    json_decref(line);
    manifest_free(m);
    return err;
}
