#include "dht/transaction.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_BITS 9
#define SLOT_MASK ((1u << SLOT_BITS) - 1)
#define BLOCK DHT_TRANSACTIONS_BLOCK

_Static_assert(DHT_TRANSACTIONS_MAX == 1u << SLOT_BITS, "a slot number fills its bits");

void dht_transactions_init(struct dht_transactions *all, uint64_t seed)
{
    memset(all, 0, sizeof *all);
    rng_init(&all->rng, seed, "dht-transaction");
}

void dht_transactions_fini(struct dht_transactions *all)
{
    for (size_t i = 0; i < DHT_TRANSACTIONS_MAX / BLOCK; i++)
        free(all->block[i]);
    free(all->heap);
    memset(all, 0, sizeof *all);
}

size_t dht_transactions_memory(const struct dht_transactions *all)
{
    return all->heap_capacity * sizeof *all->heap + all->capacity * sizeof *all->block[0];
}

static struct dht_transaction *at(const struct dht_transactions *all, size_t slot)
{
    return &all->block[slot / BLOCK][slot % BLOCK];
}

/* -- Blocks of slots ----------------------------------------------------------------------------------------- */

static bool resize_heap(struct dht_transactions *all, size_t n)
{
    uint16_t *heap = realloc(all->heap, n * sizeof *heap);
    if (!heap)
        return false;
    all->heap = heap;
    all->heap_capacity = n;
    return true;
}

static void free_slots(struct dht_transactions *all, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        all->heap[i] = (uint16_t)i;
    all->capacity = first + n;
}

static bool grow(struct dht_transactions *all)
{
    size_t n = all->capacity;
    if (n == DHT_TRANSACTIONS_MAX || (n == all->heap_capacity && !resize_heap(all, n + BLOCK)))
        return false;
    all->block[n / BLOCK] = calloc(BLOCK, sizeof *all->block[0]);
    if (!all->block[n / BLOCK])
        return false;
    free_slots(all, n, BLOCK);
    return true;
}

/* One block stays: the next question will not be long. */
static void shrink(struct dht_transactions *all)
{
    for (size_t i = 1; i < all->capacity / BLOCK; i++) {
        free(all->block[i]);
        all->block[i] = NULL;
    }
    (void)resize_heap(all, BLOCK);
    free_slots(all, 0, BLOCK);
}

/* -- The heap ------------------------------------------------------------------------------------------------ */

static uint64_t due(const struct dht_transaction *t)
{
    return t->is_late ? t->hard_us : t->soft_us;
}

static uint64_t due_at(const struct dht_transactions *all, size_t rank)
{
    return due(at(all, all->heap[rank]));
}

static void put(struct dht_transactions *all, size_t rank, uint16_t slot)
{
    all->heap[rank] = slot;
    at(all, slot)->rank = (uint16_t)rank;
}

/* Moves the one of this rank up or down to where its time belongs. */
static void sift(struct dht_transactions *all, size_t rank)
{
    uint16_t slot = all->heap[rank];
    uint64_t due_us = due_at(all, rank);
    for (; rank > 0 && due_us < due_at(all, (rank - 1) / 2); rank = (rank - 1) / 2)
        put(all, rank, all->heap[(rank - 1) / 2]);
    for (;;) {
        size_t child = 2 * rank + 1;
        if (child + 1 < all->n && due_at(all, child + 1) < due_at(all, child))
            child++;
        if (child >= all->n || due_at(all, child) >= due_us)
            break;
        put(all, rank, all->heap[child]);
        rank = child;
    }
    put(all, rank, slot);
}

/* -- Questions ----------------------------------------------------------------------------------------------- */

struct dht_transaction *dht_transactions_open(struct dht_transactions *all, uint8_t tid[DHT_TID_BYTES])
{
    if (all->n == all->capacity && !grow(all))
        return NULL;
    uint32_t slot = all->heap[all->n];
    struct dht_transaction *t = at(all, slot);
    memset(t, 0, sizeof *t);
    do
        t->tid = (rng_u32(&all->rng) & ~SLOT_MASK) | slot;
    while (t->tid == 0);
    for (int i = 0; i < DHT_TID_BYTES; i++)
        tid[i] = (uint8_t)(t->tid >> 8 * i);
    t->rank = (uint16_t)all->n++;
    t->soft_us = t->hard_us = UINT64_MAX;
    return t;
}

void dht_transactions_time(struct dht_transactions *all, struct dht_transaction *t, uint64_t soft_us, uint64_t hard_us)
{
    t->soft_us = soft_us;
    t->hard_us = hard_us;
    sift(all, t->rank);
}

void dht_transactions_walk(struct dht_transactions *all, struct dht_transaction *t)
{
    all->n_air += !t->is_walk;
    t->is_walk = true;
}

void dht_transactions_owe(struct dht_transactions *all, struct dht_transaction *t, bool is_owed)
{
    all->n_owed += (size_t)is_owed - (size_t)t->is_owed;
    t->is_owed = is_owed;
}

struct dht_transaction *dht_transactions_owed(const struct dht_transactions *all)
{
    struct dht_transaction *first = NULL;
    for (size_t i = 0; i < all->n && all->n_owed > 0; i++) {
        struct dht_transaction *t = at(all, all->heap[i]);
        if (t->is_owed && (!first || t->sent_us < first->sent_us))
            first = t;
    }
    return first;
}

void dht_transactions_late(struct dht_transactions *all, struct dht_transaction *t)
{
    all->n_air -= t->is_walk;
    t->is_late = true;
    sift(all, t->rank);
}

struct dht_transaction *dht_transactions_match(struct dht_transactions *all, struct dht_span tid, const struct addr *from)
{
    if (tid.n != DHT_TID_BYTES)
        return NULL;
    uint32_t v = 0;
    for (int i = 0; i < DHT_TID_BYTES; i++)
        v |= (uint32_t)tid.bytes[i] << 8 * i;
    if (v == 0 || (v & SLOT_MASK) >= all->capacity)
        return NULL;
    struct dht_transaction *t = at(all, v & SLOT_MASK);
    return t->tid == v && addr_equal(&t->addr, from) ? t : NULL;
}

void dht_transactions_close(struct dht_transactions *all, struct dht_transaction *t)
{
    size_t rank = t->rank;
    uint16_t slot = all->heap[rank], last = all->heap[all->n - 1];
    assert(at(all, slot) == t && t->tid != 0);
    all->n_air -= t->is_walk && !t->is_late;
    dht_transactions_owe(all, t, false);
    t->tid = 0;
    all->heap[--all->n] = slot;
    if (rank < all->n) {
        put(all, rank, last);
        sift(all, rank);
    }
    if (all->n == 0 && all->capacity > BLOCK)
        shrink(all);
}

void dht_transactions_settle(struct dht_transactions *all, uint64_t operation, enum dht_role role, const struct addr *addr)
{
    for (size_t i = 0; i < all->n;) {
        struct dht_transaction *t = at(all, all->heap[i]);
        if (t->operation == operation && t->role == role && addr_equal(&t->addr, addr)) {
            dht_transactions_close(all, t);
            i = 0; /* the others changed places */
        } else {
            i++;
        }
    }
}

struct dht_transaction *dht_transactions_overdue(struct dht_transactions *all, uint64_t now_us)
{
    return all->n > 0 && due_at(all, 0) <= now_us ? at(all, all->heap[0]) : NULL;
}

uint64_t dht_transactions_deadline(const struct dht_transactions *all)
{
    return all->n > 0 ? due_at(all, 0) : UINT64_MAX;
}
