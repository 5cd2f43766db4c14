#include "dht/operation.h"

#include <stdlib.h>
#include <string.h>

/* What the task cannot do without. */
static bool add_parts(struct dht_operation *op, enum dht_task task)
{
    if (dht_task_carries_entry(task))
        return (op->raw = calloc(1, DHT_ENTRY_MAX)) != NULL;
    if (task == DHT_TASK_PUT || task == DHT_TASK_GET)
        return (op->item = calloc(1, sizeof *op->item)) != NULL;
    return true;
}

static bool is_upkeep_task(enum dht_task task)
{
    return task == DHT_TASK_SELF || task == DHT_TASK_BUCKET;
}

static bool is_upkeep(const struct dht_operation *op)
{
    return is_upkeep_task(op->task);
}

static void prepend(struct dht_line *line, struct dht_operation *op)
{
    op->previous = NULL;
    op->next = line->first;
    *(line->first ? &line->first->previous : &line->last) = op;
    line->first = op;
}

static void append(struct dht_line *line, struct dht_operation *op)
{
    op->next = NULL;
    op->previous = line->last;
    *(line->last ? &line->last->next : &line->first) = op;
    line->last = op;
}

static void leave(struct dht_line *line, struct dht_operation *op)
{
    *(op->previous ? &op->previous->next : &line->first) = op->next;
    *(op->next ? &op->next->previous : &line->last) = op->previous;
}

struct dht_operation *dht_operation_new(struct dht *dht, uint64_t now_us, enum dht_task task, const struct dht_id *target)
{
    if (dht->n_operations >= DHT_OPERATIONS_MAX && !is_upkeep_task(task))
        return NULL;
    struct dht_operation *op = calloc(1, sizeof *op);
    if (!op || !add_parts(op, task)) {
        dht_operation_free(op);
        return NULL;
    }
    op->number = ++dht->n_started;
    op->task = task;
    op->is_due = true;
    op->deadline_us = now_us + DHT_OPERATION_US;
    op->lookup.target = *target;
    if (is_upkeep(op))
        prepend(&dht->waiting, op); /* no crowd of users' may keep the table from being true */
    else
        append(&dht->waiting, op);
    dht->n_operations++;
    dht->wake_us = now_us;
    return op;
}

void dht_operation_free(struct dht_operation *op)
{
    if (!op)
        return;
    dht_lookup_fini(&op->lookup);
    free(op->raw);
    dht_read_free(op->read);
    free(op->peer);
    free(op->item);
    free(op);
}

static void free_line(struct dht_line *line)
{
    while (line->first) {
        struct dht_operation *op = line->first;
        line->first = op->next;
        dht_operation_free(op);
    }
}

void dht_operations_free(struct dht *dht)
{
    free_line(&dht->running);
    free_line(&dht->waiting);
}

struct dht_operation *dht_operation_find(struct dht *dht, uint64_t number)
{
    struct dht_operation *op = dht->running.first;
    while (op && op->number != number)
        op = op->next;
    return op;
}
/* -- The line ---------------------------------------------------------------------------------------------- */

/* What users ask before the first node is known waits a moment for it. */
static bool may_start(const struct dht *dht, const struct dht_operation *op, uint64_t now_us)
{
    return is_upkeep(op) || dht_n_nodes(dht) > 0 || now_us >= dht->upkeep.wait_until_us;
}

static void start_waiting(struct dht *dht, uint64_t now_us)
{
    size_t n_max = dht->window.size < DHT_OPERATIONS_RUNNING ? dht->window.size : DHT_OPERATIONS_RUNNING;
    for (struct dht_operation *op = dht->waiting.first, *next; op; op = next) {
        next = op->next;
        if (dht->n_running >= n_max && !is_upkeep(op))
            return; /* upkeep's come first */
        if (!may_start(dht, op, now_us))
            continue;
        leave(&dht->waiting, op);
        append(&dht->running, op);
        dht->n_running++;
        dht_walk_start(dht, now_us, op);
    }
}

/* As on the walk, those late for the second time are waited for only while fewer than half have answered. */
static bool is_over(const struct dht_operation *op, uint64_t now_us)
{
    if (now_us >= op->deadline_us || dht_task_is_satisfied(op))
        return true;
    bool is_waiting = op->n_in_air > 0 || (op->n_overdue > 0 && 2 * op->n_heard < op->n_written);
    return op->phase == DHT_PHASE_STORING && !is_waiting && !op->is_due && !op->is_held;
}

static void count(struct dht_stats *stats, const struct dht_operation *op)
{
    if (op->task != DHT_TASK_READ || op->is_warm || op->n_hops == 0)
        return;
    stats->n_walks++;
    stats->n_walk_hops += op->n_hops;
    stats->n_walk_questions += op->n_questions;
}

static void end(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    bool is_running = op->phase != DHT_PHASE_WAITING;
    leave(is_running ? &dht->running : &dht->waiting, op);
    dht->n_running -= is_running;
    dht->n_operations--;
    count(&dht->stats, op);
    dht_task_end(dht, now_us, op);
    dht_operation_free(op);
}

/* A turn of one: what it can do without asking, and a question.  Then the others come first: a walk among the dead would otherwise
 * fill the window again and again, while those behind it do not get to ask.  True when it asked. */
static bool take_turn(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    unsigned n_before = op->n_questions;
    dht_walk_go_on(dht, now_us, op);
    if (op->n_questions == n_before)
        return false;
    leave(&dht->running, op);
    append(&dht->running, op);
    return true;
}

/* Lets everybody go on who can; ends one that is over and says so: its callback may have changed the line. */
static bool run_once(struct dht *dht, uint64_t now_us)
{
    start_waiting(dht, now_us);
    for (struct dht_operation *op = dht->running.first, *next; op; op = next) {
        next = op->next;
        dht_read_run(op, now_us);
        bool can_go_on = op->is_due || (op->is_held && dht_may_ask(dht));
        if (can_go_on && take_turn(dht, now_us, op) && !next)
            next = op; /* it is still the last, and may have more to ask */
        if (is_over(op, now_us)) {
            if (now_us >= op->deadline_us || !dht_walk_again(dht, op))
                end(dht, now_us, op);
            return true;
        }
    }
    if (!dht->waiting.first || now_us < dht->waiting.first->deadline_us)
        return false; /* who waits longest is over first */
    end(dht, now_us, dht->waiting.first);
    return true;
}

/* Those that waited longest first, and ahead of anything new. */
static void repeat_owed(struct dht *dht, uint64_t now_us)
{
    struct dht_transaction *t;
    while (dht_may_ask(dht) && (t = dht_transactions_owed(&dht->transactions))) {
        struct dht_operation *op = dht_operation_find(dht, t->operation);
        dht_transactions_owe(&dht->transactions, t, false);
        if (op)
            dht_walk_repeat(dht, now_us, op, t);
    }
}

void dht_operations_run(struct dht *dht, uint64_t now_us)
{
    repeat_owed(dht, now_us);
    while (run_once(dht, now_us))
        ;
}

uint64_t dht_operations_deadline(const struct dht *dht)
{
    const struct dht_operation *waiting = dht->waiting.first;
    uint64_t first = waiting ? waiting->deadline_us : IO_NEVER, wait_us = dht->upkeep.wait_until_us;
    for (const struct dht_operation *op = dht->running.first; op; op = op->next) {
        uint64_t own_us = dht_read_deadline(op) < op->deadline_us ? dht_read_deadline(op) : op->deadline_us;
        first = own_us < first ? own_us : first;
    }
    bool is_held = waiting && dht_n_nodes(dht) == 0 && wait_us > dht->now_us; /* until a first node is known, or no longer */
    return is_held && wait_us < first ? wait_us : first;
}
