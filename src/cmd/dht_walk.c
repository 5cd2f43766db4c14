#include "cmd/dht_walk.h"

#include <string.h>

#include "dht/id.h"
#include "dht/item.h"

#define ALPHA 4
#define LATE_US 400000u
#define WRITE_US 1000000u
#define WRITES_MAX 3 /* times that a write is sent to a node which says nothing */

void dht_walk_init(struct dht_walk *walk, struct dht_tool *tool, enum dht_method method, const struct dht_id *target)
{
    memset(walk, 0, sizeof *walk);
    walk->tool = tool;
    walk->target = *target;
    walk->question = (struct dht_message){.method = method, .has_target = true, .target = *target};
    walk->question.want = dht_tool_want(tool);
    walk->start_us = net_now_us();
    for (size_t i = 0; i < tool->n_join && i < DHT_WALK_NODES_MAX; i++)
        walk->node[walk->n++] = (struct dht_walk_node){.addr = tool->join[i]};
}

/* -- Whom we know ---------------------------------------------------------------------------------------- */

static struct dht_walk_node *find(struct dht_walk *walk, const struct addr *addr)
{
    for (size_t i = 0; i < walk->n; i++)
        if (addr_equal(&walk->node[i].addr, addr))
            return &walk->node[i];
    return NULL;
}

static void remove_at(struct dht_walk *walk, size_t i)
{
    memmove(&walk->node[i], &walk->node[i + 1], (walk->n - i - 1) * sizeof walk->node[0]);
    walk->n--;
}

/* A full list forgets its farthest that was not asked. */
static bool make_room(struct dht_walk *walk, size_t at)
{
    if (walk->n < DHT_WALK_NODES_MAX)
        return true;
    for (size_t i = walk->n; i-- > at;)
        if (walk->node[i].state == DHT_WALK_NEW) {
            remove_at(walk, i);
            return true;
        }
    return false;
}

static struct dht_walk_node *insert(struct dht_walk *walk, const struct dht_walk_node *node)
{
    size_t at = 0;
    while (at < walk->n && walk->node[at].has_id && dht_id_compare(&walk->target, &walk->node[at].id, &node->id) <= 0)
        at++;
    if (!make_room(walk, at))
        return NULL;
    memmove(&walk->node[at + 1], &walk->node[at], (walk->n - at) * sizeof walk->node[0]);
    walk->node[at] = *node;
    walk->n++;
    return &walk->node[at];
}

/* Nobody far away makes us send to our own neighbourhood. */
static bool may_name(const struct addr *teller, const struct addr *told)
{
    return told->port != 0 && !addr_is_unspecified(told) && (addr_is_local(teller) || !addr_is_local(told));
}

static void learn(struct dht_walk *walk, const struct addr *teller, unsigned hops, struct dht_span nodes, int family)
{
    struct dht_walk_node node = {.has_id = true, .hops = hops + 1};
    for (size_t i = 0; i < DHT_NODES_MAX && dht_krpc_node(nodes, family, i, &node.id, &node.addr); i++)
        if (may_name(teller, &node.addr) && !find(walk, &node.addr))
            (void)insert(walk, &node); /* farther than all others: not needed */
}

/* -- Asking ---------------------------------------------------------------------------------------------- */

/* The answer shows an id of its own: the node moves to where that one stands. */
static struct dht_walk_node *rename_node(struct dht_walk *walk, struct dht_walk_node *node, const struct dht_id *id)
{
    struct dht_walk_node moved = *node;
    walk->n_renamed += node->has_id;
    moved.id = *id;
    moved.has_id = true;
    remove_at(walk, (size_t)(node - walk->node));
    return insert(walk, &moved);
}

static void keep_answer(struct dht_walk_node *node, const struct dht_probe_answer *answer)
{
    const struct dht_message *m = answer->message;
    node->state = DHT_WALK_ANSWERED;
    node->rtt_us = (uint32_t)answer->rtt_us;
    node->n_version = m->version.n < sizeof node->version ? m->version.n : sizeof node->version;
    if (node->n_version > 0)
        memcpy(node->version, m->version.bytes, node->n_version);
    if (m->token.n == 0 || m->token.n > sizeof node->token)
        return;
    node->n_token = m->token.n;
    memcpy(node->token, m->token.bytes, m->token.n);
}

static bool send_to(struct dht_walk *walk, struct dht_walk_node *node, struct dht_message question, uint64_t now_us);

static struct dht_message way_question(const struct dht_walk *walk)
{
    return (struct dht_message){.method = DHT_FIND_NODE, .has_target = true, .target = walk->target, .want = walk->question.want};
}

/* An item may leave no room for nodes in an answer. */
static void ask_way(struct dht_walk *walk, struct dht_walk_node *node, const struct dht_message *m, uint64_t now_us)
{
    bool is_full = m->nodes.n + m->nodes6.n >= (size_t)DHT_K * 26;
    if (m->v.bytes && !is_full && !node->was_asked_way)
        node->was_asked_way = node->owes_way = send_to(walk, node, way_question(walk), now_us);
}

static void hear(struct dht_walk *walk, struct dht_walk_node *node, const struct dht_probe_answer *answer, uint64_t now_us)
{
    const struct dht_message *m = answer->message;
    if ((!node->has_id || !dht_id_equal(&node->id, &m->id)) && !(node = rename_node(walk, node, &m->id)))
        return;
    unsigned hops = node->hops;
    walk->n_answers += node->state != DHT_WALK_ANSWERED;
    node->owes_way = false;
    keep_answer(node, answer);
    if (walk->heard)
        walk->heard(walk->arg, node, m);
    ask_way(walk, node, m, now_us);
    learn(walk, &answer->from, hops, m->nodes, 4);
    learn(walk, &answer->from, hops, m->nodes6, 6);
}

static void on_answer(void *arg, uint64_t now_us, const struct dht_probe_answer *answer)
{
    struct dht_walk *walk = arg;
    struct dht_walk_node *node = find(walk, &answer->from);
    const struct dht_message *m = answer->message;
    walk->n_in_air--;
    if (!node)
        return;
    node->n_in_air--;
    if (m && m->kind == DHT_REPLY) {
        hear(walk, node, answer, now_us);
        return;
    }
    node->owes_way &= node->n_in_air > 0;
    if (node->state == DHT_WALK_ANSWERED || node->state == DHT_WALK_REFUSED)
        return;
    if (m) {
        node->state = DHT_WALK_REFUSED;
        node->error = m->error;
    } else if (node->n_in_air == 0) {
        node->state = DHT_WALK_SILENT;
    }
}

static bool send_to(struct dht_walk *walk, struct dht_walk_node *node, struct dht_message question, uint64_t now_us)
{
    if (dht_probe(walk->tool->dht, now_us, &node->addr, &question, DHT_TOOL_ANSWER_US, on_answer, walk) != 0)
        return false;
    node->n_in_air++;
    walk->n_in_air++;
    walk->n_messages++;
    return true;
}

static void ask(struct dht_walk *walk, struct dht_walk_node *node, uint64_t now_us)
{
    if (!send_to(walk, node, walk->question, now_us))
        return;
    node->state = DHT_WALK_ASKED;
    node->late_us = now_us + LATE_US;
}

/* Who is late is asked again; and, since many programs say nothing to a question of BEP 44, for the way alone. */
static void ask_again(struct dht_walk *walk, struct dht_walk_node *node, uint64_t now_us)
{
    node->state = DHT_WALK_LATE;
    (void)send_to(walk, node, walk->question, now_us);
    if (walk->question.method == DHT_GET)
        (void)send_to(walk, node, way_question(walk), now_us);
}

static bool is_of(const struct dht_walk_node *node, int family)
{
    return (node->addr.family == 6) == (family == 6);
}

/* What stands at the head of the walk of a family: the nearest that are neither lost nor late. */
struct head {
    struct dht_walk_node *fresh;
    size_t n_answered, n_asked, n_late;
    size_t n_late_starts; /* addresses of which we know no more */
};

static struct head look(struct dht_walk *walk, int family)
{
    struct head head = {0};
    size_t n = 0;
    for (size_t i = 0; i < walk->n; i++) {
        struct dht_walk_node *node = &walk->node[i];
        if (!is_of(node, family) || node->state == DHT_WALK_SILENT || node->state == DHT_WALK_REFUSED)
            continue;
        head.n_late += node->state == DHT_WALK_LATE && node->has_id;
        head.n_late_starts += node->state == DHT_WALK_LATE && !node->has_id;
        if (node->state == DHT_WALK_LATE || (node->has_id && n++ >= DHT_K))
            continue;
        if (node->state == DHT_WALK_NEW && !head.fresh)
            head.fresh = node;
        head.n_asked += node->state == DHT_WALK_ASKED || node->owes_way;
        head.n_answered += node->state == DHT_WALK_ANSWERED;
    }
    return head;
}

/* True when there is nothing left to hope for. */
static bool ask_family(struct dht_walk *walk, int family, uint64_t now_us)
{
    struct head head = look(walk, family);
    while (head.fresh && (head.n_asked < ALPHA || !head.fresh->has_id)) {
        ask(walk, head.fresh, now_us);
        if (head.fresh->state == DHT_WALK_NEW)
            return false; /* too much in the air */
        head = look(walk, family);
    }
    if (head.fresh || head.n_asked > 0)
        return false;
    return head.n_answered >= DHT_K || (head.n_late == 0 && (head.n_answered > 0 || head.n_late_starts == 0));
}

/* -- Writing --------------------------------------------------------------------------------------------- */

static void on_written(void *arg, uint64_t now_us, const struct dht_probe_answer *answer)
{
    struct dht_walk *walk = arg;
    struct dht_walk_node *node = find(walk, &answer->from);
    const struct dht_message *m = answer->message;
    (void)now_us;
    if (!node)
        return; /* it answered once more, under an id that we had no room for */
    node->is_writing = false;
    if (!m)
        return;
    node->is_stored = m->kind == DHT_REPLY;
    node->write_error = m->kind == DHT_ERROR ? m->error : 0;
}

static bool wants_write(const struct dht_walk_node *node)
{
    return node->n_token > 0 && !node->is_stored && node->write_error == 0 && !node->is_writing && node->n_writes < WRITES_MAX;
}

static void write_to(struct dht_walk *walk, struct dht_walk_node *node, uint64_t now_us)
{
    struct dht_message m = walk->write;
    m.has_target = true;
    m.target = walk->target;
    m.token = (struct dht_span){node->token, node->n_token};
    if (dht_probe(walk->tool->dht, now_us, &node->addr, &m, WRITE_US, on_written, walk) != 0)
        return;
    node->is_writing = true;
    node->n_writes++;
    walk->n_messages++;
}

/* True when all the nearest have said what they have to say. */
static bool write_all(struct dht_walk *walk, uint64_t now_us)
{
    bool is_done = true;
    for (int family = 4; family <= 6; family += 2) {
        struct dht_walk_node *nearest[DHT_K];
        size_t n = dht_walk_closest(walk, family, nearest, DHT_K);
        for (size_t i = 0; i < n; i++) {
            if (wants_write(nearest[i]))
                write_to(walk, nearest[i], now_us);
            is_done &= !nearest[i]->is_writing && !wants_write(nearest[i]);
        }
    }
    return is_done;
}

/* -- Going on -------------------------------------------------------------------------------------------- */

static void chase(struct dht_walk *walk, uint64_t now_us)
{
    for (size_t i = 0; i < walk->n; i++)
        if (walk->node[i].state == DHT_WALK_ASKED && walk->node[i].late_us <= now_us)
            ask_again(walk, &walk->node[i], now_us);
}

static bool go_on(struct dht_walk *walk, uint64_t now_us)
{
    chase(walk, now_us);
    bool is_done4 = ask_family(walk, 4, now_us), is_done6 = ask_family(walk, 6, now_us);
    return is_done4 && is_done6;
}

static uint64_t next_us(const struct dht_walk *walk)
{
    uint64_t first_us = walk->start_us + walk->tool->timeout_us;
    for (size_t i = 0; !walk->is_writing && i < walk->n; i++)
        if (walk->node[i].state == DHT_WALK_ASKED && walk->node[i].late_us < first_us)
            first_us = walk->node[i].late_us;
    return first_us;
}

bool dht_walk_step(struct dht_walk *walk, uint64_t now_us)
{
    bool is_done = !walk->is_writing && go_on(walk, now_us);
    if (is_done && walk->arrived)
        walk->is_writing = walk->arrived(walk->arg);
    if (walk->is_writing)
        is_done = write_all(walk, now_us);
    walk->tool->wake_us = next_us(walk);
    walk->end_us = now_us;
    walk->is_complete = is_done;
    return is_done || now_us >= walk->start_us + walk->tool->timeout_us;
}

static void step(struct dht_tool *tool, uint64_t now_us)
{
    if (dht_walk_step(tool->arg, now_us))
        dht_tool_end(tool, 0);
}

int dht_walk_run(struct dht_walk *walk)
{
    walk->tool->step = step;
    walk->tool->arg = walk;
    int err = dht_tool_run(walk->tool);
    if (err)
        return hanse_exit_status(err);
    return walk->n_answers > 0 ? 0 : dht_tool_explain_nobody(walk->tool);
}

int dht_walk_status(const struct dht_walk *walk, int err, bool has_found)
{
    if (!err && walk->tool->is_interrupted)
        err = HANSE_EINTERRUPTED;
    return dht_tool_status(err, has_found);
}

size_t dht_walk_closest(struct dht_walk *walk, int family, struct dht_walk_node **out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < walk->n && n < max; i++)
        if (walk->node[i].state == DHT_WALK_ANSWERED && is_of(&walk->node[i], family))
            out[n++] = &walk->node[i];
    return n;
}

int dht_walk_item(const struct dht_walk *walk, const struct dht_message *m, const char *salt, struct dht_item *out)
{
    int error;
    if (!m->v.bytes)
        return HANSE_ENOENT;
    if (dht_item_take(out, m, &error) != 0)
        return HANSE_EREJECT;
    if (out->is_mutable && salt) { /* an answer does not repeat it */
        out->n_salt = strlen(salt);
        memcpy(out->salt, salt, out->n_salt);
    } else {
        out->n_salt = 0;
    }
    struct dht_id target = dht_item_target(out);
    return dht_id_equal(&target, &walk->target) && dht_item_verify(out) ? 0 : HANSE_EREJECT;
}

size_t dht_walk_n_stored(const struct dht_walk *walk)
{
    size_t n = 0;
    for (size_t i = 0; i < walk->n; i++)
        n += walk->node[i].is_stored;
    return n;
}

size_t dht_walk_n_refused(const struct dht_walk *walk, int error)
{
    size_t n = 0;
    for (size_t i = 0; i < walk->n; i++)
        n += walk->node[i].write_error == error;
    return n;
}
