#include "dht/directory.h"

#include <stdlib.h>
#include <string.h>

#include "dht/id.h"

#define SWEEP_US 1000000
#define N_LOOKS 4

void dht_directory_init(struct dht_directory *directory)
{
    *directory = (struct dht_directory){0};
    dht_tally_init(&directory->subnets, 0);
    dht_tally_init(&directory->brought, 0);
    dht_tally_init(&directory->writers, 0);
}

void dht_directory_fini(struct dht_directory *directory)
{
    for (size_t i = 0; i < directory->n; i++)
        free(directory->record[i]);
    free(directory->record);
    dht_tally_fini(&directory->subnets);
    dht_tally_fini(&directory->brought);
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

static struct dht_tally *tally_of(struct dht_directory *directory, bool is_own)
{
    return is_own ? &directory->subnets : &directory->brought;
}

/* First and one past the last of a key. */
static void range(const struct dht_directory *directory, const struct dht_id *key, size_t *first, size_t *end)
{
    static const uint8_t least[sizeof(struct peer_id)];
    *first = *end = find(directory, key, least);
    while (*end < directory->n && dht_id_equal(&directory->record[*end]->key, key))
        ++*end;
}

/* Of the records first..end how many are of this kind and subnet; local ones are not counted. */
static size_t count_subnet(const struct dht_directory *directory, size_t first, size_t end, const struct addr *source,
                           bool is_own)
{
    size_t n = 0;
    for (size_t i = first; i < end && !addr_is_local(source); i++)
        n += directory->record[i]->is_own == is_own && dht_id_same_subnet(&directory->record[i]->source, source);
    return n;
}

/* A newcomer, or an entry that would now come from elsewhere, must find room in what its source may put here. */
static bool is_source_full(struct dht_directory *directory, const struct dht_record *r)
{
    size_t first, end;
    range(directory, &r->key, &first, &end);
    size_t n_key = count_subnet(directory, first, end, &r->source, r->is_own);
    size_t n_all = dht_tally_count(tally_of(directory, r->is_own), dht_tally_subnet(&r->source));
    return n_key >= (r->is_own ? DHT_DIRECTORY_SUBNET_KEY_MAX : DHT_DIRECTORY_BROUGHT_KEY_MAX) ||
           n_all >= (r->is_own ? DHT_DIRECTORY_SUBNET_MAX : DHT_DIRECTORY_BROUGHT_MAX);
}

static bool is_full(const struct dht_directory *directory, const struct dht_id *key)
{
    size_t first, end;
    range(directory, key, &first, &end);
    return directory->n >= DHT_DIRECTORY_MAX || end - first >= DHT_DIRECTORY_KEY_MAX;
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
    record->is_own = source->family == 0 || dht_id_same_ip(source, &entry->addr);
    record->seq = entry->seq;
    record->expiry_s = entry->expiry_s;
    record->n = raw.n;
    dht_entry_digest(entry, raw, record->digest);
    memcpy(record->bytes, raw.bytes, raw.n);
    return record;
}

static int tally(struct dht_directory *directory, const struct dht_record *record)
{
    struct dht_tally *sources = tally_of(directory, record->is_own);
    uint64_t subnet = dht_tally_subnet(&record->source);
    int err = dht_tally_add(sources, subnet);
    if (err)
        return err;
    err = dht_tally_add(&directory->writers, dht_tally_writer(&record->writer));
    if (err)
        dht_tally_remove(sources, subnet);
    return err;
}

static void drop(struct dht_directory *directory, struct dht_record *record)
{
    dht_tally_remove(tally_of(directory, record->is_own), dht_tally_subnet(&record->source));
    dht_tally_remove(&directory->writers, dht_tally_writer(&record->writer));
    free(record);
}

static void remove_at(struct dht_directory *directory, size_t i)
{
    drop(directory, directory->record[i]);
    directory->n--;
    memmove(&directory->record[i], &directory->record[i + 1], (directory->n - i) * sizeof *directory->record);
}

/* What somebody else brought, of first..end; or end. */
static size_t find_brought(const struct dht_directory *directory, size_t first, size_t end)
{
    while (first < end && directory->record[first]->is_own)
        first++;
    return first;
}

/* One of a subnet that has at least two more under the key than the newcomer's; or end.  It looks at a few only. */
static size_t find_crowd(const struct dht_directory *directory, size_t first, size_t end, const struct dht_record *r)
{
    size_t n = count_subnet(directory, first, end, &r->source, true);
    for (size_t k = 0; k < N_LOOKS; k++) {
        size_t i = first + (size_t)((r->seq + k * 127) % (end - first));
        const struct dht_record *record = directory->record[i];
        if (count_subnet(directory, first, end, &record->source, true) > n + 1)
            return i;
    }
    return end;
}

/* Room for what a writer itself puts here. */
static void displace(struct dht_directory *directory, const struct dht_record *r)
{
    size_t first, end;
    range(directory, &r->key, &first, &end);
    bool is_key_full = end - first >= DHT_DIRECTORY_KEY_MAX;
    size_t i = find_brought(directory, first, end);
    if (i < end || (is_key_full && (i = find_crowd(directory, first, end, r)) < end)) {
        remove_at(directory, i);
    } else if (!is_key_full) {
        i = find_brought(directory, 0, directory->n);
        if (i < directory->n)
            remove_at(directory, i);
    }
}

static bool is_refused(struct dht_directory *directory, const struct dht_record *r)
{
    return is_source_full(directory, r) ||
           dht_tally_count(&directory->writers, dht_tally_writer(&r->writer)) >= DHT_DIRECTORY_WRITER_MAX;
}

/* True when there is room for a newcomer now.  A flood of them does not have everything looked through each time. */
static bool make_room(struct dht_directory *directory, const struct dht_record *r, uint64_t now_us)
{
    bool is_short = is_full(directory, &r->key) || is_refused(directory, r);
    if (is_short && now_us - directory->swept_us >= SWEEP_US) {
        directory->swept_us = now_us;
        dht_directory_expire(directory, now_us);
    }
    if (is_short && is_refused(directory, r))
        return false;
    if (is_short && r->is_own && is_full(directory, &r->key))
        displace(directory, r);
    return !is_short || !is_full(directory, &r->key);
}

static bool is_same_source(const struct dht_record *a, const struct dht_record *b)
{
    return a->is_own == b->is_own && dht_tally_subnet(&a->source) == dht_tally_subnet(&b->source);
}

/* Puts a record in its place, where an older one of the writer may stand. */
static int put(struct dht_directory *directory, struct dht_record *record, struct dht_record *old)
{
    int err = grow(directory);
    if (!err)
        err = tally(directory, record);
    if (err)
        return err;
    size_t i = find(directory, &record->key, record->writer.byte);
    if (old) {
        drop(directory, old);
    } else {
        memmove(&directory->record[i + 1], &directory->record[i], (directory->n - i) * sizeof *directory->record);
        directory->n++;
    }
    directory->record[i] = record;
    return 0;
}

int dht_directory_store(struct dht_directory *directory, const struct dht_id *key, const struct dht_entry *entry,
                        struct dht_span raw, const struct addr *source, uint64_t now_us)
{
    size_t i = find(directory, key, entry->writer.byte);
    bool is_known = i < directory->n && order(directory->record[i], key, entry->writer.byte) == 0;
    struct dht_record *old = is_known ? directory->record[i] : NULL;
    int newer = old ? dht_entry_compare(old->seq, (struct dht_span){old->bytes, old->n}, entry->seq, raw) : -1;
    if (newer >= 0)
        return newer == 0 ? 0 : HANSE_EGONE;
    struct dht_record *record = record_new(key, entry, raw, source);
    if (!record)
        return HANSE_ENOMEM;
    bool has_room = old ? is_same_source(old, record) || !is_source_full(directory, record)
                        : make_room(directory, record, now_us);
    int err = has_room ? put(directory, record, old) : HANSE_EFULL;
    if (err)
        free(record);
    return err;
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
    size_t n = 0, first, end;
    *n_bytes = 0;
    range(directory, key, &first, &end);
    for (size_t i = first; i < end; i++)
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
