/* What a newcomer should hold is given to it by those who hold it: Maymounkov and Mazieres, "Kademlia", 2002, section 2.5.
 *
 * A newcomer belongs among the DHT_K nodes nearest to some keys.  Writers far away cannot know it soon, but its neighbours do.
 * Of those neighbours the GIVERS nearest to a key give; entries are signed, so it does not matter who brings them.  The newcomer
 * is asked for a token once a key and then gets one entry after the other, never two at a time: a few hundred bytes a
 * round trip for each of at most BUSY_MAX newcomers. */
#include <stdlib.h>
#include <string.h>

#include "dht/id.h"
#include "dht/operation.h"

#define BUSY_MAX 4
#define GIVERS 2
#define HEIR_US 100000000u /* for all that one is given: by then its writers store it anew, there as well */

/* The first key we hold entries under that follows `after` (NULL: any), or NULL. */
static const struct dht_id *next_key(const struct dht *dht, const struct dht_id *after)
{
    const struct dht_directory *directory = &dht->directory;
    size_t low = 0, high = directory->n;
    while (after && low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(directory->record[middle]->key.byte, after->byte, DHT_ID_BYTES) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < directory->n ? &directory->record[low]->key : NULL;
}

/* True when the heir is among the nearest to the key that we know, and of the others hardly anybody is nearer than we are. */
static bool is_ours_to_give(struct dht *dht, const struct dht_id *key, const struct dht_heir *heir)
{
    const struct dht_table *table = &dht_half_of(dht, &heir->addr)->table;
    struct dht_node node[DHT_K + 1]; /* the heir may be one of them */
    size_t n_before_heir = dht_id_compare(key, &table->own, &heir->id) < 0, n_before_us = 0;
    size_t n = dht_table_closest(table, key, node, DHT_K + 1);
    for (size_t i = 0; i < n; i++) {
        if (dht_id_equal(&node[i].id, &heir->id))
            continue;
        n_before_heir += dht_id_compare(key, &node[i].id, &heir->id) < 0;
        n_before_us += dht_id_compare(key, &node[i].id, &table->own) < 0;
    }
    return n_before_heir < DHT_K && n_before_us < GIVERS;
}

void dht_handover_node(struct dht *dht, uint64_t now_us, const struct dht_id *id, const struct addr *addr)
{
    if (dht->directory.n == 0 || dht->n_heirs == DHT_HEIRS_MAX)
        return; /* the writers will find those who came in a crowd */
    if (!dht->heir && !(dht->heir = calloc(DHT_HEIRS_MAX, sizeof *dht->heir)))
        return;
    dht->heir[dht->n_heirs++] = (struct dht_heir){.id = *id, .addr = *addr};
    dht->wake_us = now_us;
}

static void forget(struct dht *dht, size_t i)
{
    dht->n_heirs--;
    memmove(&dht->heir[i], &dht->heir[i + 1], (dht->n_heirs - i) * sizeof dht->heir[0]);
    if (dht->n_heirs == 0) {
        free(dht->heir);
        dht->heir = NULL;
    }
}

/* Begins with the next key of an heir; false when it has everything, or took too long: as slow as may be, four would have all places to
 * themselves for hours. */
static bool begin(struct dht *dht, uint64_t now_us, struct dht_heir *heir)
{
    const struct dht_id *key;
    if (!heir->has_begun)
        heir->until_us = now_us + HEIR_US;
    if (now_us >= heir->until_us)
        return false;
    while ((key = next_key(dht, heir->has_begun ? &heir->after : NULL))) {
        heir->after = *key;
        heir->has_begun = true;
        if (is_ours_to_give(dht, key, heir))
            return heir->is_busy = dht_task_hand_over(dht, now_us, heir, key);
    }
    return false;
}

void dht_handover_run(struct dht *dht, uint64_t now_us)
{
    size_t n_busy = 0;
    for (size_t i = 0; i < dht->n_heirs && n_busy < BUSY_MAX;) {
        struct dht_heir *heir = &dht->heir[i];
        if (heir->is_busy || begin(dht, now_us, heir)) {
            n_busy++;
            i++;
        } else {
            forget(dht, i);
        }
    }
}

/* Our own entry we store ourselves, with a newer seq. */
bool dht_handover_next(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    const struct dht_record *record;
    const uint8_t *after = op->n_raw > 0 ? op->given.byte : NULL;
    if (now_us >= op->heir.until_us)
        return false;
    while ((record = dht_directory_next(&dht->directory, &op->lookup.target, after, now_us))) {
        if (!peer_id_equal(&record->writer, &dht->peer)) {
            op->given = record->writer;
            op->n_raw = record->n;
            memcpy(op->raw, record->bytes, record->n);
            return true;
        }
        after = record->writer.byte;
    }
    return false;
}

/* Who does not answer is not bothered with the keys that are left. */
void dht_handover_done(struct dht *dht, uint64_t now_us, const struct dht_operation *op)
{
    for (size_t i = 0; i < dht->n_heirs; i++) {
        struct dht_heir *heir = &dht->heir[i];
        if (!heir->is_busy || !addr_equal(&heir->addr, &op->heir.addr))
            continue;
        heir->is_busy = false;
        dht->wake_us = now_us;
        if (dht_lookup_n_answered((struct dht_lookup *)&op->lookup) == 0)
            forget(dht, i);
        return;
    }
}
