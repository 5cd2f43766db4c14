/* sim/queue.c - what is to happen: a heap of when, and the memory of what.
 *
 * The heap has four children a parent and its keys beside each other, so that a step down costs one cache line: with 100,000
 * nodes the time goes there. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "sim/inside.h"

#define CHILDREN 4

void *sim_need(size_t n, size_t size)
{
    void *memory = calloc(n, size);
    if (!memory) {
        log_error("simulation: out of memory; ask for fewer nodes");
        abort();
    }
    return memory;
}

void *sim_grow(void *old, size_t n, size_t size)
{
    void *memory = reallocarray(old, n, size);
    if (!memory) {
        log_error("simulation: out of memory; ask for fewer nodes");
        abort();
    }
    return memory;
}

/* -- The heap --------------------------------------------------------------------------------------- */

static bool is_before(const struct sim_due *a, const struct sim_due *b)
{
    return a->time_us != b->time_us ? a->time_us < b->time_us : a->number < b->number;
}

static void place(struct sim_heap *heap, size_t i, struct sim_due due)
{
    heap->due[i] = due;
    if (heap->placed)
        heap->placed(due.what, i);
}

static void rise(struct sim_heap *heap, size_t i, struct sim_due due)
{
    while (i > 0 && is_before(&due, &heap->due[(i - 1) / CHILDREN])) {
        place(heap, i, heap->due[(i - 1) / CHILDREN]);
        i = (i - 1) / CHILDREN;
    }
    place(heap, i, due);
}

static size_t first_child(const struct sim_heap *heap, size_t i)
{
    size_t first = CHILDREN * i + 1, best = first;
    for (size_t child = first + 1; child < first + CHILDREN && child < heap->n; child++)
        if (is_before(&heap->due[child], &heap->due[best]))
            best = child;
    return best;
}

/* Up or down, wherever it belongs. */
static void settle(struct sim_heap *heap, size_t i, struct sim_due due)
{
    size_t child;
    while ((child = first_child(heap, i)) < heap->n && is_before(&heap->due[child], &due)) {
        place(heap, i, heap->due[child]);
        i = child;
    }
    rise(heap, i, due);
}

void sim_heap_push(struct sim_heap *heap, struct sim_due due)
{
    if (heap->n == heap->capacity) {
        heap->capacity = heap->capacity ? 2 * heap->capacity : 256;
        heap->due = sim_grow(heap->due, heap->capacity, sizeof *heap->due);
    }
    rise(heap, heap->n++, due);
}

struct sim_due sim_heap_take(struct sim_heap *heap, size_t i)
{
    struct sim_due taken = heap->due[i], last = heap->due[--heap->n];
    if (i < heap->n)
        settle(heap, i, last);
    return taken;
}

void sim_heap_change(struct sim_heap *heap, size_t i, uint64_t time_us, uint64_t number)
{
    settle(heap, i, (struct sim_due){time_us, number, heap->due[i].what});
}

void sim_heap_fini(struct sim_heap *heap)
{
    free(heap->due);
    *heap = (struct sim_heap){0};
}

/* -- Events ----------------------------------------------------------------------------------------- */

static const uint16_t room[SIM_SIZES] = {0, 192, 512, IO_DATAGRAM_MAX};

struct sim_event *sim_event_new(struct sim_pool *pool, size_t n)
{
    uint8_t class = 0;
    while (room[class] < n)
        class ++;
    struct sim_event *event = pool->free[class];
    if (event) {
        pool->free[class] = event->next;
        memset(event, 0, sizeof *event);
    } else {
        event = sim_need(1, sizeof *event + room[class]);
    }
    event->size_class = class;
    event->n_inline = (uint16_t)n;
    return event;
}

void sim_event_free(struct sim_pool *pool, struct sim_event *event)
{
    if (!event)
        return;
    buf_fini(&event->bytes);
    event->next = pool->free[event->size_class];
    pool->free[event->size_class] = event;
}

void sim_pool_fini(struct sim_pool *pool)
{
    for (size_t i = 0; i < SIM_SIZES; i++)
        while (pool->free[i]) {
            struct sim_event *event = pool->free[i];
            pool->free[i] = event->next;
            free(event);
        }
}
