#include "dht/item.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/id.h"

/* -- One item ---------------------------------------------------------------------------------------------- */

struct dht_id dht_item_target(const struct dht_item *item)
{
    struct dht_id target;
    uint8_t text[32 + sizeof item->salt];
    if (!item->is_mutable) {
        hash_sha1(target.byte, item->v, item->n_v);
        return target;
    }
    memcpy(text, item->key, 32);
    memcpy(text + 32, item->salt, item->n_salt);
    hash_sha1(target.byte, text, 32 + item->n_salt);
    return target;
}

/* What BEP 44 signs: the tail of a dictionary with salt, seq and v, without its marks. */
#define SIGNED_MAX (DHT_VALUE_MAX + 64 + 64)

static size_t signed_text(const struct dht_item *item, uint8_t out[SIGNED_MAX])
{
    struct dht_bencode_writer w;
    dht_bencode_writer_init(&w, out, SIGNED_MAX);
    if (item->n_salt > 0)
        dht_bencode_put_pair(&w, "salt", (struct dht_span){item->salt, item->n_salt});
    dht_bencode_put_number(&w, "seq", (int64_t)item->seq);
    dht_bencode_put_text(&w, "v");
    dht_bencode_put_raw(&w, item->v, item->n_v);
    return w.n;
}

void dht_item_sign(struct dht_item *item, const struct key *key)
{
    uint8_t text[SIGNED_MAX];
    struct peer_id peer = key_peer_id(key);
    memcpy(item->key, peer.byte, sizeof item->key);
    key_sign_raw(key, text, signed_text(item, text), item->signature);
}

bool dht_item_verify(const struct dht_item *item)
{
    struct dht_bencode doc;
    if (item->n_v > DHT_VALUE_MAX || item->n_salt > sizeof item->salt || item->seq > INT64_MAX ||
        dht_bencode_read(&doc, item->v, item->n_v) != 0)
        return false;
    if (!item->is_mutable)
        return true;
    uint8_t text[SIGNED_MAX];
    struct peer_id peer;
    memcpy(peer.byte, item->key, sizeof peer.byte);
    return key_verify_raw(&peer, text, signed_text(item, text), item->signature);
}

int dht_item_take(struct dht_item *item, const struct dht_message *m, int *error)
{
    memset(item, 0, sizeof *item);
    item->is_mutable = m->k.bytes != NULL;
    *error = DHT_ERROR_PROTOCOL;
    if (!m->v.bytes || (item->is_mutable && (!m->has_seq || !m->signature.bytes)))
        return HANSE_EPROTO;
    *error = DHT_ERROR_V_SIZE;
    if (m->v.n > DHT_VALUE_MAX)
        return HANSE_EPROTO;
    *error = DHT_ERROR_SALT_SIZE;
    if (m->salt.n > sizeof item->salt)
        return HANSE_EPROTO;
    memcpy(item->v, m->v.bytes, m->v.n);
    item->n_v = m->v.n;
    if (!item->is_mutable)
        return 0;
    memcpy(item->key, m->k.bytes, sizeof item->key);
    memcpy(item->signature, m->signature.bytes, sizeof item->signature);
    if (m->salt.n > 0)
        memcpy(item->salt, m->salt.bytes, m->salt.n);
    item->n_salt = m->salt.n;
    item->seq = m->seq;
    return 0;
}

/* -- Those we hold --------------------------------------------------------------------------------------- */

void dht_items_init(struct dht_items *items)
{
    *items = (struct dht_items){0};
    dht_tally_init(&items->subnets, 0);
}

void dht_items_fini(struct dht_items *items)
{
    for (size_t i = 0; i < items->n; i++)
        free(items->held[i]);
    free(items->held);
    dht_tally_fini(&items->subnets);
    dht_items_init(items);
}

/* Index of the first whose target is not before this one. */
static size_t index_of(const struct dht_items *items, const struct dht_id *target)
{
    size_t low = 0, high = items->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(items->held[middle]->target.byte, target->byte, DHT_ID_BYTES) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct dht_held_item *find(const struct dht_items *items, const struct dht_id *target)
{
    size_t i = index_of(items, target);
    return i < items->n && dht_id_equal(&items->held[i]->target, target) ? items->held[i] : NULL;
}

/* BEP 44: `cas` must name the seq that is held, and a seq never goes back; the same one again needs the same value.  Who sends again
 * what arrived, but whose answer was lost, is told that it did. */
static int check_seq(const struct dht_item *old, const struct dht_item *item, const uint64_t *cas)
{
    if (!item->is_mutable)
        return 0;
    if (item->seq == old->seq && item->n_v == old->n_v && memcmp(item->v, old->v, old->n_v) == 0)
        return 0;
    if (cas && *cas != old->seq)
        return DHT_ERROR_CAS;
    return item->seq <= old->seq ? DHT_ERROR_SEQ : 0;
}

static bool grow(struct dht_items *items)
{
    if (items->n < items->capacity || items->n == DHT_ITEMS_MAX)
        return true;
    size_t capacity = items->capacity ? 2 * items->capacity : 8;
    struct dht_held_item **held = realloc(items->held, capacity * sizeof *held);
    if (!held)
        return false;
    items->held = held;
    items->capacity = capacity;
    return true;
}

static void drop(struct dht_items *items, struct dht_held_item *held)
{
    dht_tally_remove(&items->subnets, dht_tally_subnet(&held->source));
    free(held);
}

/* The one longest untouched, of a subnet or (0) of all. */
static void drop_oldest(struct dht_items *items, uint64_t subnet)
{
    size_t oldest = items->n;
    for (size_t i = 0; i < items->n; i++) {
        bool is_meant = subnet == 0 || dht_tally_subnet(&items->held[i]->source) == subnet;
        if (is_meant && (oldest == items->n || items->held[i]->put_us < items->held[oldest]->put_us))
            oldest = i;
    }
    drop(items, items->held[oldest]);
    items->n--;
    memmove(&items->held[oldest], &items->held[oldest + 1], (items->n - oldest) * sizeof *items->held);
}

static struct dht_held_item *add(struct dht_items *items, const struct dht_id *target, const struct addr *source)
{
    uint64_t subnet = dht_tally_subnet(source);
    struct dht_held_item *held = grow(items) ? calloc(1, sizeof *held) : NULL;
    if (!held || dht_tally_add(&items->subnets, subnet) != 0) {
        free(held);
        return NULL;
    }
    if (dht_tally_count(&items->subnets, subnet) > DHT_ITEMS_SUBNET_MAX)
        drop_oldest(items, subnet);
    else if (items->n == DHT_ITEMS_MAX)
        drop_oldest(items, 0);
    size_t i = index_of(items, target);
    memmove(&items->held[i + 1], &items->held[i], (items->n - i) * sizeof *items->held);
    items->n++;
    held->target = *target;
    held->source = *source;
    return items->held[i] = held;
}

int dht_items_store(struct dht_items *items, const struct dht_item *item, const uint64_t *cas, const struct addr *source,
                    uint64_t now_us)
{
    struct dht_id target = dht_item_target(item);
    struct dht_held_item *held = find(items, &target);
    int error = held ? check_seq(&held->item, item, cas) : 0;
    if (error)
        return error;
    if (!held && !(held = add(items, &target, source)))
        return DHT_ERROR_SERVER;
    held->put_us = now_us;
    held->item = *item;
    return 0;
}

const struct dht_item *dht_items_find(const struct dht_items *items, const struct dht_id *target, uint64_t now_us)
{
    const struct dht_held_item *held = find(items, target);
    return held && held->put_us + DHT_ITEM_US > now_us ? &held->item : NULL;
}

void dht_items_expire(struct dht_items *items, uint64_t now_us)
{
    size_t n = 0;
    for (size_t i = 0; i < items->n; i++) {
        if (items->held[i]->put_us + DHT_ITEM_US > now_us)
            items->held[n++] = items->held[i];
        else
            drop(items, items->held[i]);
    }
    items->n = n;
}
