/* sim/queue.c - the heap of what is to happen. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "sim/inside.h"

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

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->time_us != b->time_us ? a->time_us < b->time_us : a->number < b->number;
}

void sim_queue_push(struct sim_queue *queue, struct sim_event *event)
{
    if (queue->n == queue->capacity) {
        queue->capacity = queue->capacity ? 2 * queue->capacity : 256;
        queue->event = sim_grow(queue->event, queue->capacity, sizeof(struct sim_event *));
    }
    size_t i = queue->n++;
    while (i > 0 && is_before(event, queue->event[(i - 1) / 2])) {
        queue->event[i] = queue->event[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    queue->event[i] = event;
}

struct sim_event *sim_queue_pop(struct sim_queue *queue)
{
    if (queue->n == 0)
        return NULL;
    struct sim_event *first = queue->event[0], *last = queue->event[--queue->n];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < queue->n) {
        if (child + 1 < queue->n && is_before(queue->event[child + 1], queue->event[child]))
            child++;
        if (!is_before(queue->event[child], last))
            break;
        queue->event[i] = queue->event[child];
        i = child;
    }
    if (queue->n > 0)
        queue->event[i] = last;
    return first;
}

const struct sim_event *sim_queue_first(const struct sim_queue *queue)
{
    return queue->n ? queue->event[0] : NULL;
}

void sim_queue_fini(struct sim_queue *queue)
{
    for (size_t i = 0; i < queue->n; i++)
        sim_event_free(queue->event[i]);
    free(queue->event);
    *queue = (struct sim_queue){0};
}

void sim_event_free(struct sim_event *event)
{
    if (!event)
        return;
    buf_fini(&event->bytes);
    free(event);
}
