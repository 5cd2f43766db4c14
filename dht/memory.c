/* How much a node holds. */
#include "dht/operation.h"
#include "dht/read.h"

static size_t of_found(const struct dht_found_list *list)
{
    return list->capacity * sizeof *list->found + list->n_bytes;
}

static size_t of_directory(const struct dht_directory *directory)
{
    size_t n = directory->capacity * sizeof *directory->record;
    n += (directory->subnets.capacity + directory->brought.capacity + directory->writers.capacity) *
         sizeof *directory->subnets.slot;
    for (size_t i = 0; i < directory->n; i++)
        n += sizeof *directory->record[i] + directory->record[i]->n;
    return n;
}

static size_t of_routes(const struct dht_routes *routes)
{
    size_t n = routes->capacity * sizeof *routes->route;
    for (size_t i = 0; i < routes->n; i++) {
        const struct dht_route *route = routes->route[i];
        n += sizeof *route + route->n * sizeof route->holder[0] + of_found(&route->found);
    }
    return n;
}

static size_t of_operations(const struct dht_line *line)
{
    size_t n = 0;
    for (const struct dht_operation *op = line->first; op; op = op->next) {
        n += sizeof *op + op->lookup.capacity * sizeof *op->lookup.candidate;
        n += op->raw ? DHT_ENTRY_MAX : 0;
        n += op->item ? sizeof *op->item : 0;
        n += op->peer ? DHT_GET_PEERS_MAX * sizeof *op->peer : 0;
        if (op->read)
            n += sizeof *op->read + of_found(&op->read->found) + op->read->missing_capacity * sizeof *op->read->missing +
                 op->read->pages_capacity * sizeof *op->read->page;
    }
    return n;
}

/* What others keep with us, and we with others. */
static size_t of_stores(const struct dht *dht)
{
    size_t n = of_directory(&dht->directory) + of_routes(&dht->routes);
    n += dht->peers.capacity * sizeof *dht->peers.peer + dht->peers.subnets.capacity * sizeof *dht->peers.subnets.slot;
    n += dht->items.capacity * sizeof *dht->items.held + dht->items.n * sizeof **dht->items.held;
    n += dht->items.subnets.capacity * sizeof *dht->items.subnets.slot;
    n += dht->publications_capacity * sizeof *dht->publication + dht->n_publications * sizeof **dht->publication;
    return n;
}

size_t dht_memory(const struct dht *dht)
{
    size_t n = sizeof *dht + of_stores(dht) + of_operations(&dht->running) + of_operations(&dht->waiting);
    for (int i = 0; i < 2; i++)
        n += dht_table_memory(&dht->half[i].table) + dht->half[i].votes.capacity * sizeof *dht->half[i].votes.vote;
    n += dht_transactions_memory(&dht->transactions) + dht_limits_memory(&dht->limits);
    n += dht->verified.n_slots * sizeof *dht->verified.hash;
    n += dht->upkeep.joins_capacity * sizeof *dht->upkeep.join;
    n += dht->heir ? DHT_HEIRS_MAX * sizeof *dht->heir : 0;
    n += dht->bulk.capacity * sizeof *dht->bulk.link;
    n += dht->bulk.given ? DHT_BULK_GIVEN_MAX * sizeof *dht->bulk.given : 0;
    n += dht->probes.slot ? DHT_PROBES_MAX * sizeof *dht->probes.slot : 0;
    return n;
}
