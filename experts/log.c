/**
 * experts/log.c - how each kind of entry is laid out and chained.
 *
 * backward:  u8 1 | u64 version | 32 bytes caller | u64 call | u64 forward version | u32 n rows
 * update:    u8 2 | u64 version                                       integers little-endian
 */
#include "experts/log.h"

enum { ENTRY_BACKWARD = 1, ENTRY_UPDATE = 2 };

#define TAG "hanse-log"    /* its NUL is hashed too */
#define ENTRY_BYTES_MAX 64 /* the longest has 61 */

struct entry {
    uint8_t byte[ENTRY_BYTES_MAX];
    size_t n;
};

static void put(struct entry *entry, uint64_t value, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        entry->byte[entry->n++] = (uint8_t)(value >> 8 * i);
}

static void chain(struct expert *x, const struct entry *entry)
{
    struct hash_stream stream;
    hash_begin(&stream);
    hash_add(&stream, TAG, sizeof TAG);
    hash_add(&stream, x->log_head.byte, sizeof x->log_head.byte);
    hash_add(&stream, entry->byte, entry->n);
    x->log_head = hash_end(&stream);
}

void expert_log_backward(struct expert *x, const struct peer_id *caller, uint64_t call, uint64_t forward_version, uint32_t n)
{
    struct entry entry = {.n = 0};
    put(&entry, ENTRY_BACKWARD, 1);
    put(&entry, x->version, 8);
    for (size_t i = 0; i < sizeof caller->byte; i++)
        put(&entry, caller->byte[i], 1);
    put(&entry, call, 8);
    put(&entry, forward_version, 8);
    put(&entry, n, 4);
    chain(x, &entry);
}

void expert_log_update(struct expert *x)
{
    struct entry entry = {.n = 0};
    put(&entry, ENTRY_UPDATE, 1);
    put(&entry, x->version, 8);
    chain(x, &entry);
}
