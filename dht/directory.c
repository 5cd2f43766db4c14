#include "dht/directory.h"

#include <stdlib.h>
#include <string.h>

#include "dht/id.h"

void dht_directory_init(struct dht_directory *directory)
{
    *directory = (struct dht_directory){0};
    dht_tally_init(&directory->subnets, 0);
    dht_tally_init(&directory->writers, 0);
}

void dht_directory_fini(struct dht_directory *directory)
{
    for (size_t i = 0; i < directory->n; i++)
        free(directory->record[i]);
    free(directory->record);
    dht_tally_fini(&directory->subnets);
    dht_tally_fini(&directory->writers);
    dht_directory_init(directory);
}

static int order(const struct dht_record *record, const struct dht_id *key, const uint8_t *writer)
{
    int by_key = memcmp(record->key.byte, key->byte, DHT_ID_BYTES);
    return by_key != 0 ? by_key : memcmp(record->writer.byte, writer, sizeof record->writer.byte);
}

/* Index of the first record that is not before (key, writer). */
static size_t find(const struct dht_directory *directory, const struct dht_id *key, const uint8_t *writer)
{
    size_t low = 0, high = directory->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (order(directory->record[middle], key, writer) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_over(const struct dht_record *record, uint64_t now_us)
{
    return record->expiry_s <= now_us / 1000000;
}

/* Records of `key`, and how many of them came from the subnet of `source`. */
static size_t count_key(const struct dht_directory *directory, const struct dht_id *key, const struct addr *source,
                        size_t *n_both)
{
    static const uint8_t first[sizeof(struct peer_id)];
    size_t start = find(directory, key, first), i = start;
    bool is_local = addr_is_local(source);
    *n_both = 0;
    for (; i < directory->n && dht_id_equal(&directory->record[i]->key, key); i++)
        *n_both += !is_local && dht_id_same_subnet(&directory->record[i]->source, source);
    return i - start;
}

static bool is_full(const struct dht_directory *directory, const struct dht_id *key, const struct peer_id *writer,
                    const struct addr *source)
{
    size_t n_both, n_key = count_key(directory, key, source, &n_both);
    size_t n_subnet = dht_tally_count(&directory->subnets, dht_tally_subnet(source));
    size_t n_writer = dht_tally_count(&directory->writers, dht_tally_writer(writer));
    return directory->n >= DHT_DIRECTORY_MAX || n_key >= DHT_DIRECTORY_KEY_MAX || n_subnet >= DHT_DIRECTORY_SUBNET_MAX ||
           n_both >= DHT_DIRECTORY_SUBNET_KEY_MAX || n_writer >= DHT_DIRECTORY_WRITER_MAX;
}

static int grow(struct dht_directory *directory)
{
    if (directory->n < directory->capacity)
        return 0;
    size_t capacity = directory->capacity ? 2 * directory->capacity : 16;
    struct dht_record **record = realloc(directory->record, capacity * sizeof *record);
    if (!record)
        return HANSE_ENOMEM;
    directory->record = record;
    directory->capacity = capacity;
    return 0;
}

static struct dht_record *record_new(const struct dht_id *key, const struct dht_entry *entry, struct dht_span raw,
                                     const struct addr *source)
{
    struct dht_record *record = calloc(1, sizeof *record + raw.n);
    if (!record)
        return NULL;
    record->key = *key;
    record->writer = entry->writer;
    record->source = *source;
    record->seq = entry->seq;
    record->expiry_s = entry->expiry_s;
    record->n = raw.n;
    dht_entry_digest(entry, raw, record->digest);
    memcpy(record->bytes, raw.bytes, raw.n);
    return record;
}

static int tally(struct dht_directory *directory, const struct dht_record *record)
{
    uint64_t subnet = dht_tally_subnet(&record->source);
    int err = dht_tally_add(&directory->subnets, subnet);
    if (err)
        return err;
    err = dht_tally_add(&directory->writers, dht_tally_writer(&record->writer));
    if (err)
        dht_tally_remove(&directory->subnets, subnet);
    return err;
}

static void drop(struct dht_directory *directory, struct dht_record *record)
{
    dht_tally_remove(&directory->subnets, dht_tally_subnet(&record->source));
    dht_tally_remove(&directory->writers, dht_tally_writer(&record->writer));
    free(record);
}

/* Two entries with one seq are a writer's mistake; all holders keep the same one, whichever came first. */
static int compare_seq(const struct dht_record *old, const struct dht_entry *entry, struct dht_span raw)
{
    if (old->seq == entry->seq) {
        int by_bytes = memcmp(old->bytes, raw.bytes, old->n < raw.n ? old->n : raw.n);
        return by_bytes != 0 ? by_bytes : (int)old->n - (int)raw.n;
    }
    return old->seq < entry->seq ? -1 : 1;
}

int dht_directory_store(struct dht_directory *directory, const struct dht_id *key, const struct dht_entry *entry,
                        struct dht_span raw, const struct addr *source, uint64_t now_us)
{
    size_t i = find(directory, key, entry->writer.byte);
    bool is_known = i < directory->n && order(directory->record[i], key, entry->writer.byte) == 0;
    if (is_known) {
        int newer = compare_seq(directory->record[i], entry, raw);
        if (newer >= 0)
            return newer == 0 ? 0 : HANSE_EGONE;
    } else if (is_full(directory, key, &entry->writer, source)) {
        dht_directory_expire(directory, now_us);
        if (is_full(directory, key, &entry->writer, source))
            return HANSE_EFULL;
        i = find(directory, key, entry->writer.byte);
    }
    int err = grow(directory);
    if (err)
        return err;
    struct dht_record *record = record_new(key, entry, raw, source);
    if (!record || tally(directory, record) != 0) {
        free(record);
        return HANSE_ENOMEM;
    }
    if (is_known) {
        drop(directory, directory->record[i]);
    } else {
        memmove(&directory->record[i + 1], &directory->record[i], (directory->n - i) * sizeof *directory->record);
        directory->n++;
    }
    directory->record[i] = record;
    return 0;
}

const struct dht_record *dht_directory_next(const struct dht_directory *directory, const struct dht_id *key, const uint8_t *after,
                                            uint64_t now_us)
{
    static const uint8_t first[sizeof(struct peer_id)];
    size_t i = find(directory, key, after ? after : first);
    for (; i < directory->n && dht_id_equal(&directory->record[i]->key, key); i++) {
        const struct dht_record *record = directory->record[i];
        bool is_seen = after && memcmp(record->writer.byte, after, sizeof record->writer.byte) == 0;
        if (!is_seen && !is_over(record, now_us))
            return record;
    }
    return NULL;
}

const struct dht_record *dht_directory_tagged(const struct dht_directory *directory, const struct dht_id *key,
                                              const uint8_t tag[DHT_TAG_BYTES], uint64_t now_us)
{
    uint8_t writer[sizeof(struct peer_id)] = {0};
    memcpy(writer, tag, DHT_TAG_BYTES);
    for (size_t i = find(directory, key, writer); i < directory->n; i++) {
        const struct dht_record *record = directory->record[i];
        if (!dht_id_equal(&record->key, key) || memcmp(record->writer.byte, tag, DHT_TAG_BYTES) != 0)
            return NULL;
        if (!is_over(record, now_us))
            return record;
    }
    return NULL;
}

size_t dht_directory_count(const struct dht_directory *directory, const struct dht_id *key, uint64_t now_us, size_t *n_bytes)
{
    static const uint8_t first[sizeof(struct peer_id)];
    size_t n = 0;
    *n_bytes = 0;
    for (size_t i = find(directory, key, first); i < directory->n && dht_id_equal(&directory->record[i]->key, key); i++)
        if (!is_over(directory->record[i], now_us)) {
            *n_bytes += directory->record[i]->n;
            n++;
        }
    return n;
}

void dht_directory_expire(struct dht_directory *directory, uint64_t now_us)
{
    size_t n = 0;
    for (size_t i = 0; i < directory->n; i++) {
        if (is_over(directory->record[i], now_us))
            drop(directory, directory->record[i]);
        else
            directory->record[n++] = directory->record[i];
    }
    directory->n = n;
}
