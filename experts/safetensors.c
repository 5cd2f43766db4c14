/**
 * experts/safetensors.c - writing the header, and reading one from a stranger.
 */
#include "experts/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/wire.h"

#define ALIGNMENT 8 /* so that the data can be mapped and used in place */

static void put_entry(struct buf *out, const struct manifest_tensor *t, uint64_t begin)
{
    buf_printf(out, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, manifest_type_name(t->type));
    for (size_t i = 0; i < t->n_dims; i++)
        buf_printf(out, "%s%zu", i > 0 ? "," : "", t->dim[i]);
    buf_printf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, begin + t->n_bytes);
}

int safetensors_put_header(struct buf *out, const struct manifest_tensor *tensor, size_t n)
{
    struct buf json;
    uint64_t at = 0;
    buf_init(&json, SAFETENSORS_HEADER_MAX);
    buf_printf(&json, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < n; i++) {
        put_entry(&json, &tensor[i], at);
        at += tensor[i].n_bytes;
    }
    buf_printf(&json, "}");
    while (!json.err && json.n % ALIGNMENT != 0)
        buf_append(&json, " ", 1);
    wire_put_u64(out, json.n);
    buf_append(out, json.bytes, json.n);
    int err = json.err ? json.err : out->err;
    buf_fini(&json);
    return err;
}

int safetensors_open(struct safetensors *file, const void *bytes, size_t n)
{
    struct wire_reader r;
    *file = (struct safetensors){.data = NULL};
    wire_reader_init(&r, bytes, n);
    uint64_t n_header = wire_u64(&r);
    if (!wire_ok(&r) || n_header > SAFETENSORS_HEADER_MAX || n_header > wire_left(&r))
        return HANSE_ECORRUPT;
    const uint8_t *header = wire_view(&r, (size_t)n_header);
    file->n_data = wire_left(&r);
    file->data = wire_view(&r, (size_t)file->n_data);
    file->header = json_loadb((const char *)header, (size_t)n_header, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object((json_t *)file->header))
        return 0;
    safetensors_close(file);
    return HANSE_ECORRUPT;
}

void safetensors_close(struct safetensors *file)
{
    json_decref(file->header);
    *file = (struct safetensors){.data = NULL};
}

static bool is_shape(const json_t *shape, const size_t *dim, size_t n_dims)
{
    if (!json_is_array(shape) || json_array_size(shape) != n_dims)
        return false;
    for (size_t i = 0; i < n_dims; i++) {
        const json_t *d = json_array_get(shape, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0 || (uint64_t)json_integer_value(d) != dim[i])
            return false;
    }
    return true;
}

static bool get_offsets(const json_t *offsets, uint64_t n_data, uint64_t *begin, uint64_t *end)
{
    const json_t *b = json_array_get(offsets, 0), *e = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(b) || !json_is_integer(e) || json_integer_value(b) < 0)
        return false;
    *begin = (uint64_t)json_integer_value(b);
    *end = (uint64_t)json_integer_value(e);
    return json_integer_value(e) >= json_integer_value(b) && *end <= n_data;
}

int safetensors_find(const struct safetensors *file, const char *name, enum checkpoint_type type, const size_t *dim,
                     size_t n_dims, const uint8_t **bytes)
{
    uint64_t begin, end, n_bytes = manifest_type_bytes(type);
    const json_t *entry = json_object_get(file->header, name);
    if (!entry)
        return HANSE_ENOENT;
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype || strcmp(dtype, manifest_type_name(type)) != 0 || !is_shape(json_object_get(entry, "shape"), dim, n_dims))
        return HANSE_EINVAL;
    for (size_t i = 0; i < n_dims; i++)
        if (__builtin_mul_overflow(n_bytes, dim[i], &n_bytes))
            return HANSE_EINVAL;
    if (!get_offsets(json_object_get(entry, "data_offsets"), file->n_data, &begin, &end) || end - begin != n_bytes)
        return HANSE_ECORRUPT;
    *bytes = file->data + begin;
    return 0;
}
