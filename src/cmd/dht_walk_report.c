/* What a walk found and took, for people and for programs. */
#include <stdio.h>

#include "base/text.h"
#include "cmd/dht_text.h"
#include "cmd/dht_walk.h"
#include "dht/id.h"

struct cost {
    size_t n_asked, n_answered, n_refused;
    unsigned hops;
    double seconds;
};

static struct cost cost_of(const struct dht_walk *walk)
{
    struct cost cost = {.seconds = (double)(walk->end_us - walk->start_us) / 1e6};
    for (size_t i = 0; i < walk->n; i++) {
        const struct dht_walk_node *node = &walk->node[i];
        cost.n_asked += node->state != DHT_WALK_NEW;
        cost.n_answered += node->state == DHT_WALK_ANSWERED;
        cost.n_refused += node->state == DHT_WALK_REFUSED;
        if (node->state == DHT_WALK_ANSWERED && node->hops > cost.hops)
            cost.hops = node->hops;
    }
    return cost;
}

void dht_walk_print_cost(const struct dht_walk *walk)
{
    struct cost cost = cost_of(walk);
    printf("%zu of %zu node%s answered; %zu question%s, at most %u hop%s, %.2f s\n", cost.n_answered, cost.n_asked,
           text_plural(cost.n_asked), walk->n_messages, text_plural(walk->n_messages), cost.hops, text_plural(cost.hops),
           cost.seconds);
    if (cost.n_refused > 0)
        printf("%zu refused the question\n", cost.n_refused);
    if (walk->n_renamed > 0)
        printf("%zu answered with another id than others had told\n", walk->n_renamed);
    if (walk->tool->is_interrupted)
        printf("interrupted: there may be more\n");
    else if (!walk->is_complete)
        printf("the time ran out: there may be more; --timeout gives it longer\n");
}

json_t *dht_walk_cost_json(const struct dht_walk *walk)
{
    struct cost cost = cost_of(walk);
    return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "complete", walk->is_complete, "asked", (json_int_t)cost.n_asked,
                     "answered", (json_int_t)cost.n_answered, "refused", (json_int_t)cost.n_refused, "renamed",
                     (json_int_t)walk->n_renamed, "messages", (json_int_t)walk->n_messages, "hops", (json_int_t)cost.hops,
                     "seconds", cost.seconds);
}

static void print_node(const struct dht_walk *walk, const struct dht_walk_node *node)
{
    char id[DHT_TEXT_HEX_BYTES], at[ADDR_TEXT_BYTES], version[DHT_TEXT_VERSION_BYTES];
    printf("  %4u  %s  %-21s  %7.1f ms  %4u  %-6s  %s\n", dht_id_shared_bits(&walk->target, &node->id),
           dht_text_id(id, &node->id), addr_text(&node->addr, at), (double)node->rtt_us / 1000, node->hops,
           addr_is_local(&node->addr)            ? "local"
           : dht_id_fits(&node->id, &node->addr) ? "yes"
                                                 : "NO",
           dht_text_version(version, node->version, node->n_version));
}

void dht_walk_print_nodes(struct dht_walk *walk)
{
    printf("  %4s  %-40s  %-21s  %10s  %4s  %-6s  %s\n", "bits", "node, nearest first", "address", "round trip", "hops", "BEP 42",
           "program");
    for (int family = 4; family <= 6; family += 2) {
        struct dht_walk_node *nearest[DHT_K];
        size_t n = dht_walk_closest(walk, family, nearest, DHT_K);
        for (size_t i = 0; i < n; i++)
            print_node(walk, nearest[i]);
    }
}

static json_t *node_json(const struct dht_walk *walk, const struct dht_walk_node *node)
{
    char id[DHT_TEXT_HEX_BYTES], at[ADDR_TEXT_BYTES], version[DHT_TEXT_VERSION_BYTES];
    return json_pack("{s:s, s:s, s:I, s:f, s:I, s:o, s:s}", "id", dht_text_id(id, &node->id), "address",
                     addr_text(&node->addr, at), "shared_bits", (json_int_t)dht_id_shared_bits(&walk->target, &node->id),
                     "rtt_ms", (double)node->rtt_us / 1000, "hops", (json_int_t)node->hops, "id_fits",
                     dht_tool_fit_json(&node->id, &node->addr), "program",
                     dht_text_version(version, node->version, node->n_version));
}

json_t *dht_walk_nodes_json(struct dht_walk *walk)
{
    json_t *list = json_array();
    for (int family = 4; family <= 6; family += 2) {
        struct dht_walk_node *nearest[DHT_K];
        size_t n = dht_walk_closest(walk, family, nearest, DHT_K);
        for (size_t i = 0; i < n; i++)
            json_array_append_new(list, node_json(walk, nearest[i]));
    }
    return list;
}

/* -- Writes ---------------------------------------------------------------------------------------------- */

/* Those that a write was meant for, and what became of it. */
struct writes {
    size_t n_stored, n_silent, n_tokenless, n_errors;
    struct {
        int code;
        size_t n;
    } error[DHT_K];
};

static void count_error(struct writes *writes, int code)
{
    size_t i = 0;
    while (i < writes->n_errors && writes->error[i].code != code)
        i++;
    if (i == DHT_K)
        return;
    if (i == writes->n_errors)
        writes->error[writes->n_errors++].code = code;
    writes->error[i].n++;
}

static struct writes writes_of(struct dht_walk *walk)
{
    struct writes writes = {0};
    for (int family = 4; family <= 6; family += 2) {
        struct dht_walk_node *nearest[DHT_K];
        size_t n = dht_walk_closest(walk, family, nearest, DHT_K);
        for (size_t i = 0; i < n; i++) {
            writes.n_stored += nearest[i]->is_stored;
            writes.n_tokenless += nearest[i]->n_token == 0;
            if (nearest[i]->write_error)
                count_error(&writes, nearest[i]->write_error);
            else
                writes.n_silent += nearest[i]->n_token > 0 && !nearest[i]->is_stored;
        }
    }
    return writes;
}

void dht_walk_print_writes(struct dht_walk *walk)
{
    struct writes writes = writes_of(walk);
    printf("%zu node%s stored it\n", writes.n_stored, text_plural(writes.n_stored));
    for (size_t i = 0; i < writes.n_errors; i++)
        printf("%zu refused with error %d: %s\n", writes.error[i].n, writes.error[i].code, dht_text_error(writes.error[i].code));
    if (writes.n_silent > 0)
        printf("%zu did not answer\n", writes.n_silent);
    if (writes.n_tokenless > 0)
        printf("%zu gave no token to write with: they do not keep such things\n", writes.n_tokenless);
}

json_t *dht_walk_writes_json(struct dht_walk *walk)
{
    struct writes writes = writes_of(walk);
    json_t *errors = json_array();
    for (size_t i = 0; i < writes.n_errors; i++)
        json_array_append_new(errors, json_pack("{s:I, s:I, s:s}", "code", (json_int_t)writes.error[i].code, "nodes",
                                                (json_int_t)writes.error[i].n, "meaning", dht_text_error(writes.error[i].code)));
    return json_pack("{s:I, s:I, s:I, s:o}", "stored", (json_int_t)writes.n_stored, "silent", (json_int_t)writes.n_silent,
                     "without_token", (json_int_t)writes.n_tokenless, "errors", errors);
}
