#include <string.h>

#include "dht/id.h"
#include "dht/operation.h"

/* Nobody far away knows who lives on our local network, and nobody at all lives at an address of many. */
static bool may_name(const struct addr *from, const struct addr *addr)
{
    return addr_is_unicast(addr) && (!addr_is_local(addr) || addr_is_local(from));
}

/* What is ours, or lies where we are, would have us ask ourselves. */
static bool is_us(const struct dht_half *half, const struct dht_id *id, const struct addr *addr)
{
    return dht_id_equal(id, &half->table.own) || (half->has_external && addr_equal(addr, &half->external));
}

/* With so many nodes of a family known, a walk there needs none that nodes of the other name: each path of one family would hear from
 * each of the other, and where that has few nodes, all of them liars', these would be on every path. */
#define KNOWN_OTHERWISE DHT_K

/* No more than an honest node has to say, so that a liar's answer does not outweigh others'. */
static void learn_from(struct dht *dht, struct dht_operation *op, struct dht_span nodes, int family,
                       const struct dht_candidate *c) /* a copy: the walk's own moves */
{
    if (c->addr.family != family && dht_table_n(&dht->half[family == 6].table) >= KNOWN_OTHERWISE)
        return;
    struct dht_id id;
    struct addr addr;
    for (size_t i = 0; i < DHT_K && dht_krpc_node(nodes, family, i, &id, &addr); i++)
        if (may_name(&c->addr, &addr) && !is_us(dht_half_of(dht, &addr), &id, &addr))
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
    if (dht_id_equal(&m->id, &dht_half_of(dht, &t->addr)->table.own)) {
        c->step = DHT_STEP_FAILED; /* we are no place for what others should keep or tell */
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
        dht_walk_write(dht, now_us, op);
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
    if (page && dht_read_is_needless(op->read, page)) {
        dht_read_do_without(dht, op, page);
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
