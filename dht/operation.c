#include "dht/operation.h"

#include <stdlib.h>
#include <string.h>

#include "dht/id.h"

#define COLD_STARTS ((size_t)DHT_PATHS_MAX * DHT_K / 2) /* nodes of our table that the paths begin with */
#define AGAIN_MAX 4                                     /* walks after a first one that found nothing */
#define STARTS_MAX ((1 + AGAIN_MAX) * COLD_STARTS)
#define MANY_NODES 32 /* with fewer nodes known, disjoint paths would all be the same few */

/* What the task cannot do without. */
static bool add_parts(struct dht_operation *op, enum dht_task task)
{
    if (dht_task_carries_entry(task))
        return (op->raw = calloc(1, DHT_ENTRY_MAX)) != NULL;
    if (task == DHT_TASK_PUT || task == DHT_TASK_GET)
        return (op->item = calloc(1, sizeof *op->item)) != NULL;
    return true;
}

static bool is_upkeep(const struct dht_operation *op)
{
    return op->task == DHT_TASK_SELF || op->task == DHT_TASK_BUCKET;
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
    if (dht->n_operations >= DHT_OPERATIONS_MAX)
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

/* -- Asking ------------------------------------------------------------------------------------------------ */

static struct dht_transaction *ask(struct dht *dht, uint64_t now_us, struct dht_operation *op, const struct addr *to,
                                   struct dht_message *m, enum dht_role role)
{
    struct dht_transaction *t = dht_may_ask(dht) ? dht_ask(dht, now_us, to, m, role, op->number) : NULL;
    op->n_questions += t != NULL;
    return t;
}

static struct dht_transaction *ask_step(struct dht *dht, uint64_t now_us, struct dht_operation *op, const struct dht_candidate *c)
{
    struct dht_message m = {0};
    dht_task_question(dht, op, c, &m);
    return ask(dht, now_us, op, &c->addr, &m, DHT_ROLE_STEP);
}

static struct dht_transaction *ask_page(struct dht *dht, uint64_t now_us, struct dht_operation *op, const struct dht_page *page)
{
    struct dht_message m = {0};
    dht_read_question(op, page, &m);
    return ask(dht, now_us, op, &page->addr, &m, DHT_ROLE_PAGE);
}

static struct dht_transaction *ask_store(struct dht *dht, uint64_t now_us, struct dht_operation *op,
                                         const struct dht_candidate *c)
{
    struct dht_message m = {0};
    dht_task_write(op, c, &m);
    return ask(dht, now_us, op, &c->addr, &m, DHT_ROLE_STORE);
}

/* -- The walk ---------------------------------------------------------------------------------------------- */

/* From the nearest of our table, but for the first few. */
static void start_at_table(struct dht *dht, struct dht_operation *op, size_t first, size_t n_max)
{
    struct dht_node node[STARTS_MAX];
    op->n_starts = n_max;
    for (int i = 0; i < 2; i++) {
        size_t n = dht_table_closest(&dht->half[i].table, &op->lookup.target, node, n_max);
        for (size_t j = first; j < n; j++) {
            struct dht_candidate *c = dht_lookup_start(&op->lookup, &node[j].id, &node[j].addr, j);
            if (c)
                c->is_foreign = !node[j].is_ours;
        }
    }
}

static void start_at_route(struct dht_operation *op, const struct dht_route *route)
{
    dht_lookup_restart(&op->lookup, DHT_K / 2, 1);
    for (size_t i = 0; i < route->n; i++) {
        const struct dht_candidate *old = &route->holder[i];
        struct dht_candidate *c = dht_lookup_start(&op->lookup, &old->id, &old->addr, 0);
        if (!c)
            continue;
        c->is_foreign = old->is_foreign;
        c->n_token = old->n_token;
        memcpy(c->token, old->token, sizeof c->token);
    }
    op->is_warm = true;
}

/* The way to ourselves begins twice: at our neighbours, and far away, at who answered a join or at a node drawn from the other half
 * of all ids.  So swarms that touched once grow together, and liars around us are found out. */
static void start_at_both_ends(struct dht *dht, struct dht_operation *op)
{
    struct dht_upkeep *u = &dht->upkeep;
    struct dht_id target = op->lookup.target;
    dht_lookup_restart(&op->lookup, DHT_K, 2);
    if (u->hint.family != 0)
        (void)dht_lookup_start(&op->lookup, &u->hint_id, &u->hint, 1);
    for (int i = 0; i < 2; i++) {
        const struct dht_table *table = &dht->half[i].table;
        struct dht_node node[DHT_K];
        size_t n = dht_table_closest(table, &target, node, DHT_K), n_far;
        const struct dht_node *far = dht_table_row(table, 0, &n_far);
        far = far ? &far[rng_below(&dht->rng, n_far)] : NULL;
        if (far && u->hint.family == 0)
            (void)dht_lookup_start(&op->lookup, &far->id, &far->addr, 1);
        for (size_t j = 0; j < n; j++)
            (void)dht_lookup_start(&op->lookup, &node[j].id, &node[j].addr, 0);
    }
    u->hint.family = 0; /* used once */
}

/* Writes and first reads go along several paths, so that a liar on one of them is not enough. */
static void start_cold(struct dht *dht, struct dht_operation *op)
{
    size_t n_paths = op->task == DHT_TASK_BUCKET || dht_n_nodes(dht) < MANY_NODES ? 1 : DHT_PATHS_MAX;
    dht_lookup_restart(&op->lookup, n_paths == 1 ? DHT_K : DHT_WANT_MANY, n_paths);
    op->is_warm = false;
    start_at_table(dht, op, 0, n_paths == 1 ? DHT_K : COLD_STARTS);
}

static bool found_nothing(const struct dht_operation *op)
{
    if (op->task == DHT_TASK_READ)
        return dht_read_n_named(op->read) == 0;
    return (op->task == DHT_TASK_GET && !op->has_item) || (op->task == DHT_TASK_PEERS && op->n_peers == 0);
}

/* Who comes back from where nodes lie thin with empty hands may have met liars on every path.  Once more, then, and again, from those of
 * our table that come next, and farther: each time what little chance liars have is multiplied.  False when there is nobody left to begin with. */
static bool start_elsewhere(struct dht *dht, struct dht_operation *op)
{
    if (op->n_again == AGAIN_MAX || op->is_warm || !op->is_astray || !found_nothing(op) ||
        dht_n_nodes(dht) <= (op->n_again + 1u) * COLD_STARTS)
        return false;
    op->n_again++;
    op->phase = DHT_PHASE_WALKING;
    op->is_due = true;
    dht_lookup_restart(&op->lookup, DHT_K, DHT_PATHS_MAX);
    start_at_table(dht, op, op->n_again * COLD_STARTS, (op->n_again + 1) * COLD_STARTS);
    return true;
}

/* Those few whom we knew from the last time name little of what was there then: they may be liars, and others know better. */
static bool start_anew(struct dht *dht, struct dht_operation *op)
{
    if (!op->is_warm || op->task != DHT_TASK_READ || !dht_read_is_poor(op->read))
        return false;
    op->phase = DHT_PHASE_WALKING;
    op->is_due = true;
    start_cold(dht, op);
    return true;
}

static void start_at_heir(struct dht_operation *op)
{
    dht_lookup_restart(&op->lookup, 1, 1);
    (void)dht_lookup_start(&op->lookup, &op->heir.id, &op->heir.addr, 0);
}

static void start(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    const struct dht_route *route = NULL;
    if (op->task == DHT_TASK_READ)
        route = dht_routes_find(&dht->routes, &op->lookup.target, now_us);
    op->phase = DHT_PHASE_WALKING;
    dht_task_begin(dht, now_us, op);
    if (op->task == DHT_TASK_HANDOVER) {
        start_at_heir(op);
        return;
    }
    for (int i = 0; i < 2; i++)
        dht_table_looked(&dht->half[i].table, &op->lookup.target, now_us);
    if (route)
        start_at_route(op, route);
    else if (op->task == DHT_TASK_SELF)
        start_at_both_ends(dht, op);
    else
        start_cold(dht, op);
}

static void write_nearest(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    struct dht_candidate *nearest[DHT_STORE_MAX];
    size_t n = dht_lookup_closest(&op->lookup, DHT_K, nearest, DHT_STORE_MAX);
    op->is_writing = false;
    for (size_t i = 0; i < n && !op->is_writing; i++) {
        if (nearest[i]->n_token == 0 || nearest[i]->is_written)
            continue;
        nearest[i]->is_written = ask_store(dht, now_us, op, nearest[i]) != NULL;
        op->n_in_air += nearest[i]->is_written;
        op->n_written += nearest[i]->is_written;
        op->is_writing = !nearest[i]->is_written;
    }
    op->is_held |= op->is_writing;
}

/* A walk of two families that went well in one of them went well.  What may be liars' doing is no measure for others. */
static void measure(struct dht *dht, struct dht_operation *op)
{
    uint64_t spread[2];
    op->is_astray = op->lookup.n_paths > 1;
    for (int i = 0; i < 2 && op->lookup.n_paths > 1; i++) {
        spread[i] = dht_lookup_spread(&op->lookup, dht->half[i].family, DHT_SPREAD_K);
        op->is_astray &= dht_density_is_thin(&dht->half[i].density, spread[i]);
    }
    for (int i = 0; i < 2 && op->lookup.n_paths > 1 && !(op->is_astray && found_nothing(op)); i++)
        dht_density_note(&dht->half[i].density, spread[i]);
}

static void arrive(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    if (op->is_warm && dht_lookup_n_answered(&op->lookup) < DHT_K / 4) {
        start_cold(dht, op); /* the holders we knew are gone */
        return;
    }
    op->phase = DHT_PHASE_STORING;
    if (!op->is_warm)
        measure(dht, op);
    if (!op->is_warm && op->task == DHT_TASK_READ)
        dht_routes_keep(&dht->routes, &op->lookup, now_us);
    if (dht_task_arrived(dht, now_us, op))
        write_nearest(dht, now_us, op);
}

/* Where hardly anybody answers, and nobody is left to ask, there are others: the next of our table, and whom those few know who do
 * answer, but did not name since silent ones stand nearer to the key. */
static bool widen(struct dht *dht, struct dht_operation *op)
{
    if (op->is_warm || op->task == DHT_TASK_HANDOVER || !dht_lookup_is_stuck(&op->lookup))
        return false;
    size_t n_before = op->lookup.n, n_max = op->n_starts + COLD_STARTS;
    if (op->n_starts < dht_n_nodes(dht) && n_max <= STARTS_MAX)
        start_at_table(dht, op, op->n_starts, n_max);
    return op->lookup.n > n_before || dht_lookup_widen(&op->lookup);
}

/* One step, or to the end. */
static void walk(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    struct dht_candidate *c;
    while (op->phase == DHT_PHASE_WALKING) {
        if ((c = dht_lookup_next(&op->lookup))) {
            if (!ask_step(dht, now_us, op, c))
                c->step = DHT_STEP_NEW;
            op->is_held = true;
            return;
        }
        if (widen(dht, op))
            continue;
        if (!dht_lookup_is_done(&op->lookup))
            return;
        arrive(dht, now_us, op);
    }
}

/* A holder that is free is asked for more of what it has and we miss; links are not datagrams, and have no turns. */
static void ask_for_more(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    struct dht_page *page;
    while (op->task == DHT_TASK_READ && !op->is_held && (page = dht_read_next(dht, now_us, op))) {
        op->is_held = page->state != DHT_PAGE_LINKED;
        if (!op->is_held || ask_page(dht, now_us, op, page))
            op->n_in_air++;
        else
            dht_read_later(op, page);
    }
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
        start(dht, now_us, op);
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
    op->is_due = op->is_held = false;
    if (op->phase == DHT_PHASE_WALKING)
        walk(dht, now_us, op);
    else if (op->is_writing)
        write_nearest(dht, now_us, op);
    if (!op->is_held)
        ask_for_more(dht, now_us, op);
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
            if (now_us >= op->deadline_us || (!start_anew(dht, op) && !start_elsewhere(dht, op)))
                end(dht, now_us, op);
            return true;
        }
    }
    if (!dht->waiting.first || now_us < dht->waiting.first->deadline_us)
        return false; /* who waits longest is over first */
    end(dht, now_us, dht->waiting.first);
    return true;
}

static void repeat_owed(struct dht *dht, uint64_t now_us);

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

/* -- What becomes of questions ---------------------------------------------------------------------------- */

/* Nobody far away knows who lives on our local network, and nobody at all lives at an address of many. */
static bool may_name(const struct addr *from, const struct addr *addr)
{
    return addr_is_unicast(addr) && (!addr_is_local(addr) || addr_is_local(from));
}

/* No more than an honest node has to say, so that a liar's answer does not outweigh others'. */
static void learn_from(struct dht *dht, struct dht_operation *op, struct dht_span nodes, int family,
                       const struct dht_candidate *c) /* a copy: the walk's own moves */
{
    struct dht_id id;
    struct addr addr;
    for (size_t i = 0; i < DHT_K && dht_krpc_node(nodes, family, i, &id, &addr); i++)
        if (may_name(&c->addr, &addr) && !dht_id_equal(&id, &dht_half_of(dht, &addr)->table.own))
            dht_lookup_learn(&op->lookup, &id, &addr, c->path, c->depth);
}

/* A repeated question to one of whom we know nothing asks the way only, in case it keeps silent at what it does not understand.
 * Is it one of ours after all, then it is asked again what we want to know. */
static bool has_more_to_say(const struct dht_operation *op, const struct dht_candidate *c, const struct dht_transaction *t,
                            const struct dht_message *m)
{
    bool is_private = op->task == DHT_TASK_READ || dht_task_carries_entry(op->task);
    return is_private && t->is_repeat && t->method == DHT_FIND_NODE && c->is_foreign && m->is_ours;
}

/* Nodes of others do not know our queries: they are asked the way only. */
static void step_refused(struct dht_candidate *c, const struct dht_transaction *t)
{
    bool is_private = t->method == DHT_HANSE_GET;
    c->step = is_private && !c->is_foreign ? DHT_STEP_NEW : DHT_STEP_FAILED;
    c->is_foreign = c->is_foreign || is_private;
}

static void step_answered(struct dht *dht, uint64_t now_us, struct dht_operation *op, const struct dht_transaction *t,
                          const struct dht_message *m)
{
    struct dht_candidate *c = dht_lookup_find(&op->lookup, &t->addr);
    op->is_due = true;
    if (!c || c->step == DHT_STEP_ANSWERED || c->is_written)
        return;
    if (m->kind != DHT_REPLY) {
        step_refused(c, t);
        dht_lookup_settle(c);
        return;
    }
    if (!dht_id_equal(&c->id, &m->id) && !(c = dht_lookup_rename(&op->lookup, c, &m->id)))
        return;
    c->step = has_more_to_say(op, c, t, m) ? DHT_STEP_NEW : DHT_STEP_ANSWERED;
    c->is_foreign = !m->is_ours;
    c->is_ours = m->is_ours;
    if (dht->config.is_closed && c->is_foreign) {
        c->step = DHT_STEP_FAILED;
        return;
    }
    c->n_token = c->n_wide > 0 ? c->n_token : 0; /* asked for the way alone */
    if (m->token.n > 0 && m->token.n <= DHT_TOKEN_MAX) {
        c->n_token = (uint8_t)m->token.n;
        memcpy(c->token, m->token.bytes, m->token.n);
    }
    struct dht_candidate heard = *c;
    dht_task_heard(dht, now_us, op, c, m);
    if (op->n_hops == 0 && op->read && dht_read_n_named(op->read) > 0)
        op->n_hops = heard.depth;
    if (op->phase == DHT_PHASE_WALKING && op->task != DHT_TASK_HANDOVER) {
        learn_from(dht, op, m->nodes, 4, &heard);
        learn_from(dht, op, m->nodes6, 6, &heard);
    }
}

/* A store was answered, or never will be. */
static void end_store(struct dht_operation *op, struct dht_candidate *c, enum dht_step step)
{
    bool is_overdue = c && c->step == DHT_STEP_OVERDUE;
    op->n_overdue -= is_overdue;
    op->n_in_air -= !is_overdue;
    if (c)
        c->step = (uint8_t)step;
}

/* Who is silent as soon as it is given something may have died just then, or does not mean to keep anything: the next nearest gets it
 * in its place, and nobody waits for it.  An heir has no substitute. */
static void let_go(struct dht_operation *op, struct dht_candidate *c)
{
    if (!c || op->task == DHT_TASK_HANDOVER || c->step == DHT_STEP_OVERDUE)
        return;
    c->step = DHT_STEP_OVERDUE;
    op->n_overdue++;
    op->n_in_air--;
    op->is_writing = true;
}

/* An heir gets one entry after the other, for as long as it takes them or has newer ones. */
static void store_answered(struct dht *dht, uint64_t now_us, struct dht_operation *op, const struct dht_message *m)
{
    op->n_heard++;
    op->n_stored += m->kind == DHT_REPLY;
    if (m->kind == DHT_ERROR)
        dht_task_refused(op, m->error);
    bool is_content = m->kind == DHT_REPLY || m->error == DHT_ERROR_SEQ;
    if (op->task == DHT_TASK_HANDOVER && is_content && dht_handover_next(dht, now_us, op)) {
        op->deadline_us = now_us + DHT_OPERATION_US; /* a full key is many round trips */
        for (size_t i = 0; i < op->lookup.n; i++)
            op->lookup.candidate[i].is_written = false;
        write_nearest(dht, now_us, op);
    }
}

static void page_answered(struct dht *dht, uint64_t now_us, struct dht_operation *op, const struct dht_transaction *t,
                          const struct dht_message *m)
{
    struct dht_page *page = dht_read_page(op->read, &t->addr);
    if (m->kind == DHT_REPLY)
        dht_read_heard(dht, now_us, op, NULL, page, m);
    else
        dht_read_lost(op, page);
}

void dht_operation_answered(struct dht *dht, uint64_t now_us, const struct dht_transaction *t, const struct dht_message *m)
{
    struct dht_operation *op = dht_operation_find(dht, t->operation);
    if (!op)
        return;
    if (t->is_repeat || t->is_repeated)
        dht_transactions_settle(&dht->transactions, op->number, t->role, &t->addr);
    if (t->role == DHT_ROLE_STEP) {
        step_answered(dht, now_us, op, t, m);
        return;
    }
    op->is_due = true;
    if (t->role == DHT_ROLE_STORE) {
        end_store(op, dht_lookup_find(&op->lookup, &t->addr), DHT_STEP_ANSWERED);
        store_answered(dht, now_us, op, m);
        return;
    }
    op->n_in_air--;
    page_answered(dht, now_us, op, t, m);
}

/* True when what the holder was asked for came from others meanwhile: then nobody waits for it any longer. */
static bool is_needless(const struct dht_operation *op, const struct dht_page *page)
{
    return page->state == DHT_PAGE_FETCHES && dht_read_tags(op->read, page, op->read->tags, 1) == 0;
}

static bool is_known_as_ours(struct dht *dht, const struct addr *addr)
{
    const struct dht_node *node = dht_table_find(&dht_half_of(dht, addr)->table, addr);
    return node && node->is_ours;
}

static void repeat(struct dht *dht, uint64_t now_us, struct dht_operation *op, struct dht_transaction *t)
{
    struct dht_transaction *again = NULL;
    struct dht_candidate *c = dht_lookup_find(&op->lookup, &t->addr);
    struct dht_page *page = t->role == DHT_ROLE_PAGE ? dht_read_page(op->read, &t->addr) : NULL;
    if (t->role == DHT_ROLE_STEP && c && c->step == DHT_STEP_SLOW) {
        c->is_foreign |= t->method == DHT_HANSE_GET && !c->is_ours && c->n_token == 0 && !is_known_as_ours(dht, &c->addr);
        again = ask_step(dht, now_us, op, c);
    } else if (t->role == DHT_ROLE_STORE && c)
        again = ask_store(dht, now_us, op, c);
    else if (page)
        again = ask_page(dht, now_us, op, page);
    if (again) {
        again->is_repeat = true;
        again->is_expected = false; /* its silence was counted */
        t->is_repeated = true;
    }
}

/* Those that waited longest first, and ahead of anything new. */
static void repeat_owed(struct dht *dht, uint64_t now_us)
{
    struct dht_transaction *t;
    while (dht_may_ask(dht) && (t = dht_transactions_owed(&dht->transactions))) {
        struct dht_operation *op = dht_operation_find(dht, t->operation);
        dht_transactions_owe(&dht->transactions, t, false);
        if (op)
            repeat(dht, now_us, op, t);
    }
}

/* What is late is asked once more, since one lost datagram in a small swarm would otherwise decide; but no faster than
 * the window allows, since where much is late, repeats are what makes it later. */
void dht_operation_late(struct dht *dht, struct dht_transaction *t)
{
    struct dht_operation *op = dht_operation_find(dht, t->operation);
    if (!op)
        return;
    struct dht_candidate *c = dht_lookup_find(&op->lookup, &t->addr);
    bool is_step = t->role == DHT_ROLE_STEP && c && !c->is_written;
    op->is_due = true;
    if (is_step && (c->step == DHT_STEP_ASKED || c->step == DHT_STEP_SLOW))
        c->step = t->is_repeat ? DHT_STEP_OVERDUE : DHT_STEP_SLOW;
    if (is_step)
        dht_lookup_settle(c);
    struct dht_page *page = t->role == DHT_ROLE_PAGE ? dht_read_page(op->read, &t->addr) : NULL;
    if (page && is_needless(op, page)) {
        struct addr addr = t->addr;
        page->state = DHT_PAGE_IDLE;
        op->n_in_air--;
        dht_transactions_settle(&dht->transactions, op->number, DHT_ROLE_PAGE, &addr);
        return;
    }
    if (!t->is_repeat)
        dht_transactions_owe(&dht->transactions, t, true);
    else if (t->role == DHT_ROLE_STORE)
        let_go(op, c);
}

void dht_operation_lost(struct dht *dht, const struct dht_transaction *t)
{
    struct dht_operation *op = dht_operation_find(dht, t->operation);
    if (!op || t->is_repeated)
        return;
    struct dht_candidate *c = dht_lookup_find(&op->lookup, &t->addr);
    op->is_due = true;
    if (t->role == DHT_ROLE_STEP) {
        if (c && c->step != DHT_STEP_ANSWERED && !c->is_written)
            c->step = DHT_STEP_FAILED;
    } else if (t->role == DHT_ROLE_STORE) {
        end_store(op, c, DHT_STEP_FAILED);
        op->is_writing = op->task != DHT_TASK_HANDOVER;
    } else {
        op->n_in_air--;
        dht_read_lost(op, dht_read_page(op->read, &t->addr));
    }
}
