#include "dht/found.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct dht_found *dht_found_new(const struct dht_entry *entry, struct dht_span raw)
{
    struct dht_found *found = calloc(1, sizeof *found + raw.n);
    if (!found)
        return NULL;
    found->writer = entry->writer;
    found->addr = entry->addr;
    found->seq = entry->seq;
    found->expiry_s = entry->expiry_s;
    found->is_named = true;
    dht_entry_digest(entry, raw, found->digest);
    found->n = (uint16_t)raw.n;
    memcpy(found->raw, raw.bytes, raw.n);
    return found;
}

struct dht_found *dht_found_copy(const struct dht_found *found)
{
    struct dht_found *copy = malloc(sizeof *copy + found->n);
    if (copy)
        memcpy(copy, found, sizeof *copy + found->n);
    return copy;
}

void dht_found_entry(const struct dht_found *found, struct dht_entry *out)
{
    struct wire_reader r;
    struct dht_span raw;
    wire_reader_init(&r, found->raw, found->n);
    int err = dht_entry_decode(out, &raw, &r);
    assert(!err); /* it did when it came */
    out->addr = found->addr;
}

/* Index of the first whose writer's head is not before these `n` bytes. */
static size_t index_of(const struct dht_found_list *list, const uint8_t *head, size_t n)
{
    size_t low = 0, high = list->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(list->found[middle]->writer.byte, head, n) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct dht_found *dht_found_of(const struct dht_found_list *list, const struct peer_id *writer)
{
    size_t i = index_of(list, writer->byte, sizeof writer->byte);
    return i < list->n && peer_id_equal(&list->found[i]->writer, writer) ? list->found[i] : NULL;
}

struct dht_found *dht_found_by_digest(const struct dht_found_list *list, const uint8_t digest[DHT_DIGEST_BYTES])
{
    for (size_t i = index_of(list, digest, DHT_TAG_BYTES); i < list->n; i++) {
        struct dht_found *found = list->found[i];
        if (memcmp(found->writer.byte, digest, DHT_TAG_BYTES) != 0)
            break;
        if (memcmp(found->digest, digest, DHT_DIGEST_BYTES) == 0 || memcmp(found->older, digest, DHT_DIGEST_BYTES) == 0)
            return found;
    }
    return NULL;
}

static int grow(struct dht_found_list *list)
{
    if (list->n < list->capacity)
        return 0;
    size_t capacity = list->capacity ? 2 * list->capacity : 8;
    struct dht_found **found = realloc(list->found, capacity * sizeof *found);
    if (!found)
        return HANSE_ENOMEM;
    list->found = found;
    list->capacity = capacity;
    return 0;
}

int dht_found_put(struct dht_found_list *list, struct dht_found *found)
{
    size_t i = index_of(list, found->writer.byte, sizeof found->writer.byte);
    if (i < list->n && peer_id_equal(&list->found[i]->writer, &found->writer)) {
        list->n_bytes -= sizeof *found + list->found[i]->n;
        free(list->found[i]);
    } else {
        int err = grow(list);
        if (err) {
            free(found);
            return err;
        }
        memmove(&list->found[i + 1], &list->found[i], (list->n - i) * sizeof *list->found);
        list->n++;
    }
    list->found[i] = found;
    list->n_bytes += sizeof *found + found->n;
    return 0;
}

void dht_found_remove(struct dht_found_list *list, struct dht_found *found)
{
    size_t i = index_of(list, found->writer.byte, sizeof found->writer.byte);
    assert(i < list->n && list->found[i] == found);
    list->n_bytes -= sizeof *found + found->n;
    list->n--;
    memmove(&list->found[i], &list->found[i + 1], (list->n - i) * sizeof *list->found);
    free(found);
}

void dht_found_clear(struct dht_found_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->found[i]);
    free(list->found);
    *list = (struct dht_found_list){0};
}
