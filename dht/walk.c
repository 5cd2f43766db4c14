#include <string.h>

#include "dht/id.h"
#include "dht/operation.h"

#define COLD_STARTS ((size_t)DHT_PATHS_MAX * DHT_K / 2) /* nodes of our table that the paths begin with */
#define AGAIN_MAX 4                                     /* walks after a first one that is in doubt */
#define STARTS_MAX ((1 + AGAIN_MAX) * COLD_STARTS)
#define MANY_NODES 32 /* with fewer nodes known, disjoint paths would all be the same few, and few are met on a walk */

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

/* Who comes back with empty hands from where nodes lie thin may have met liars on every path; who found something where they lie much
 * thinner has met them most likely, for an entry of one's own is soon written. */
static bool is_in_doubt(const struct dht_operation *op)
{
    return op->is_bare || (op->is_astray && found_nothing(op));
}

/* False when there is nobody left to begin with. */
static bool has_elsewhere(const struct dht *dht, const struct dht_operation *op)
{
    return op->n_again < AGAIN_MAX && dht_n_nodes(dht) > (op->n_again + 1u) * COLD_STARTS;
}

/* Once more, then, and again, from those of our table that come next, and farther: each time what little chance liars have is
 * multiplied. */
static bool start_elsewhere(struct dht *dht, struct dht_operation *op)
{
    if (op->is_warm || !is_in_doubt(op) || !has_elsewhere(dht, op))
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

bool dht_walk_again(struct dht *dht, struct dht_operation *op)
{
    return start_anew(dht, op) || start_elsewhere(dht, op);
}

static void start_at_heir(struct dht_operation *op)
{
    dht_lookup_restart(&op->lookup, 1, 1);
    (void)dht_lookup_start(&op->lookup, &op->heir.id, &op->heir.addr, 0);
}

void dht_walk_start(struct dht *dht, uint64_t now_us, struct dht_operation *op)
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

void dht_walk_write(struct dht *dht, uint64_t now_us, struct dht_operation *op)
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

/* Our own neighbours are the measure of one who has not walked yet. */
static bool is_bare(const struct dht_half *half, uint64_t spread)
{
    const struct dht_table *table = &half->table;
    struct dht_node node[DHT_SPREAD_K];
    struct dht_density around = {.n = 0};
    if (half->density.n > 0)
        return dht_density_is_bare(&half->density, spread);
    if (dht_table_closest(table, &table->own, node, DHT_SPREAD_K) == DHT_SPREAD_K)
        dht_density_note(&around, dht_id_distance(&table->own, &node[DHT_SPREAD_K - 1].id));
    return dht_density_is_bare(&around, spread);
}

/* What may be liars' doing is no measure for others, unless all who were asked came to the same.  Nor is, after the first time, where
 * we are ourselves: whoever settles beside us has us look there. */
static bool is_measure(const struct dht *dht, const struct dht_operation *op, const struct dht_density *density)
{
    if (op->task == DHT_TASK_SELF)
        return density->n == 0;
    return !is_in_doubt(op) || (!found_nothing(op) && !has_elsewhere(dht, op));
}

/* Of a family of which we know few nodes hardly anybody answers, ever: as if no walk had met more of it, though one may have. */
static const struct dht_density *known_of(const struct dht_half *half, const struct dht_id *target, uint64_t spread)
{
    static const struct dht_density none;
    struct dht_node node[MANY_NODES];
    bool is_small = spread == DHT_SPREAD_NONE && dht_table_closest(&half->table, target, node, MANY_NODES) < MANY_NODES;
    return is_small ? &none : &half->density;
}

static void measure(struct dht *dht, struct dht_operation *op)
{
    struct dht_density *v4 = &dht->half[0].density, *v6 = &dht->half[1].density;
    const struct dht_id *target = &op->lookup.target;
    op->is_astray = op->is_bare = false;
    if (op->lookup.n_paths == 1)
        return;
    uint64_t spread_v4 = dht_lookup_spread(&op->lookup, 4, DHT_SPREAD_K);
    uint64_t spread_v6 = dht_lookup_spread(&op->lookup, 6, DHT_SPREAD_K);
    op->is_astray = dht_density_is_astray(known_of(&dht->half[0], target, spread_v4), spread_v4,
                                          known_of(&dht->half[1], target, spread_v6), spread_v6);
    op->is_bare = op->task == DHT_TASK_READ && (is_bare(&dht->half[0], spread_v4) || is_bare(&dht->half[1], spread_v6));
    if (is_measure(dht, op, v4))
        dht_density_note(v4, spread_v4);
    if (is_measure(dht, op, v6))
        dht_density_note(v6, spread_v6);
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
    if (!op->is_warm && !op->is_bare && op->task == DHT_TASK_READ)
        dht_routes_keep(&dht->routes, &op->lookup, now_us);
    if (dht_task_arrived(dht, now_us, op))
        dht_walk_write(dht, now_us, op);
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
void dht_walk_go_on(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    op->is_due = op->is_held = false;
    if (op->phase == DHT_PHASE_WALKING)
        walk(dht, now_us, op);
    else if (op->is_writing)
        dht_walk_write(dht, now_us, op);
    if (!op->is_held)
        ask_for_more(dht, now_us, op);
}

static bool is_known_as_ours(struct dht *dht, const struct addr *addr)
{
    const struct dht_node *node = dht_table_find(&dht_half_of(dht, addr)->table, addr);
    return node && node->is_ours;
}

void dht_walk_repeat(struct dht *dht, uint64_t now_us, struct dht_operation *op, struct dht_transaction *t)
{
    struct dht_transaction *again = NULL;
    struct dht_candidate *c = dht_lookup_find(&op->lookup, &t->addr);
    struct dht_page *page = t->role == DHT_ROLE_PAGE ? dht_read_page(op->read, &t->addr) : NULL;
    if (page && dht_read_is_needless(op->read, page)) {
        dht_read_do_without(dht, op, page); /* others brought it while there was no room to ask again */
        return;
    }
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
