/*
 * Who hosts what is settled without anybody in charge: each host reads the directory, claims what is free, looks again
 * soon, and where two claim the same expert the larger (epoch, version, peer id) keeps it.  Both see the same claims, so both
 * come to the same end.  An entry may lag behind its writer's version, so both may think for a while that they
 * keep it; never that both give way: a host compares the other's old number with its own new one.
 */
#include <string.h>

#include "base/log.h"
#include "node/host_state.h"

#define READ_CALM_US 25000000u
#define READ_CALM_JITTER_US 10000000u
#define READ_ROW_US 500000u   /* and never more than two rows a second, however many there are */
#define READ_FREE_US 2000000u /* while experts are free that nobody takes */
#define READ_QUICK_US 250000u
#define READ_SECOND_US 1000000u
#define IN_USE_US 60000000u     /* since its last gradient: longer than trainers take to find a larger claim */
#define FREE_LONG_US 20000000u  /* free for so long: taken beyond the quota... */
#define FREE_SPREAD_US 8000000u /* ...by each host at a time of its own */

/* -- Reading --------------------------------------------------------------------------------------- */

static bool outranks(const struct host_rival *a, const struct host_rival *b)
{
    if (a->epoch != b->epoch)
        return a->epoch > b->epoch;
    if (a->version != b->version)
        return a->version > b->version;
    return peer_id_compare(&a->peer, &b->peer) > 0;
}

static void hear_claim(struct host_slot *slot, const struct message_claim *claim, const struct dht_entry *entry)
{
    struct host_rival rival = {.peer = entry->writer,
                               .epoch = claim->epoch,
                               .version = claim->version,
                               .until_us = (uint64_t)entry->expiry_s * 1000000,
                               .is_live = true};
    if (!slot->rival.is_live || outranks(&rival, &slot->rival))
        slot->rival = rival;
}

static void hear_entry(struct host *host, const struct host_row *row, const struct dht_entry *entry)
{
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    size_t n;
    if (peer_id_equal(&entry->writer, &host->self) || message_claims_decode(claim, &n, entry->bytes, entry->n_bytes) != 0)
        return;
    for (size_t i = 0; i < n; i++) {
        struct host_slot *slot = host_slot(host, row->layer, row->row * MESSAGE_ROW_EXPERTS + claim[i].index);
        if (slot)
            hear_claim(slot, &claim[i], entry);
    }
}

/* A rival that is not in this read is not live, but its expert is not free before its entry would have expired. */
static void was_row_read(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct host_row *row = arg;
    struct host *host = row->host;
    if (now_us > host->now_us)
        host->now_us = now_us;
    for (uint32_t i = 0; i < MESSAGE_ROW_EXPERTS; i++) {
        struct host_slot *slot = host_slot(host, row->layer, row->row * MESSAGE_ROW_EXPERTS + i);
        if (slot && n_asked > 0) /* when nobody answered, what was known is still the best guess */
            slot->rival.is_live = false;
    }
    for (size_t i = 0; i < n; i++)
        hear_entry(host, row, &entry[i]);
    if (--host->n_reads == 0)
        host_was_read(host);
}

/* Whoever waits for nothing reads its rows one after the other, each in its turn: all at once would be a gust of questions
 * from every host of a swarm, again and again. */
static bool is_calm(const struct host *host)
{
    return host->phase == HOST_READY && !host->has_free && host->n_quick_reads == 0;
}

static void plan_next_read(struct host *host)
{
    uint64_t calm_us = (READ_CALM_US + rng_below(&host->rng, READ_CALM_JITTER_US)) / host->n_rows;
    uint64_t pause_us = calm_us > READ_ROW_US ? calm_us : READ_ROW_US;
    if (host->has_free)
        pause_us = READ_FREE_US;
    if (host->n_quick_reads > 0 && --host->n_quick_reads > 0)
        pause_us = READ_SECOND_US;
    host->read_us = host->now_us + pause_us;
}

static void read_row(struct host *host, struct host_row *row)
{
    host->n_reads++;
    dht_read(host->dht, host->now_us, &row->key, was_row_read, row);
}

void host_claims_read(struct host *host)
{
    bool is_one = is_calm(host);
    plan_next_read(host);
    if (host->n_reads > !is_one) /* one may still be out whose turn it was */
        return;
    if (is_one) {
        host->next_row = (host->next_row + 1) % host->n_rows;
        read_row(host, &host->row[host->next_row]);
        return;
    }
    for (size_t i = 0; i < host->n_rows; i++)
        read_row(host, &host->row[i]);
}

void host_claims_hurry(struct host *host)
{
    host->n_quick_reads = 2;
    if (host->read_us > host->now_us + READ_QUICK_US)
        host->read_us = host->now_us + READ_QUICK_US;
}

/* -- Giving way ------------------------------------------------------------------------------------ */

static bool is_ours(const struct host_slot *slot)
{
    return slot->state != SLOT_EMPTY && !slot->is_leaving;
}

static bool is_outranked(const struct host *host, const struct host_slot *slot)
{
    const struct host_seen *seen = &slot->seen;
    struct host_rival self = {.peer = host->self,
                              .epoch = seen->epoch < UINT8_MAX ? seen->epoch : UINT8_MAX,
                              .version = seen->version < UINT32_MAX ? (uint32_t)seen->version : UINT32_MAX};
    return slot->rival.is_live && slot->rival.until_us > host->now_us && outranks(&slot->rival, &self);
}

/* A claim proves nothing, and one line in the directory must not empty a swarm.  Trainers prefer the larger claim as long as its
 * writer answers, so a host that is still asked long after has no true rival; one that lost its trainers gives way. */
static bool is_in_use(const struct host *host, const struct host_slot *slot)
{
    return slot->used_us > 0 && host->now_us < slot->used_us + IN_USE_US;
}

static void give_way(struct host *host, struct host_slot *slot)
{
    char name[32], peer[9];
    host_slot_name(name, slot);
    peer_id_short(&slot->rival.peer, peer);
    if (slot->is_listed || slot->is_said)
        log_limited(&host->strangers, host->now_us, slot->is_listed ? LOG_WARN : LOG_INFO,
                    "expert %s: peer %s hosts it, too, and its claim (version %u) outranks ours (version %llu); leaving it to "
                    "them",
                    name, peer, slot->rival.version, (unsigned long long)slot->seen.version);
    else
        log_debug("expert %s: left to peer %s", name, peer);
    host_slot_leave(host, slot);
}

/* -- Taking ---------------------------------------------------------------------------------------- */

static uint64_t own_hash(const struct host *host, uint32_t layer, uint32_t index)
{
    uint8_t bytes[sizeof host->self.byte + 8];
    memcpy(bytes, host->self.byte, sizeof host->self.byte);
    memcpy(bytes + sizeof host->self.byte, &layer, 4);
    memcpy(bytes + sizeof host->self.byte + 4, &index, 4);
    struct hash hash = hash_bytes(bytes, sizeof bytes);
    uint64_t word;
    memcpy(&word, hash.byte, sizeof word);
    return word;
}

static void look_at_free(struct host *host)
{
    host->has_free = host->has_rivals = false;
    for (size_t i = 0; i < host->n_slots; i++) {
        struct host_slot *slot = &host->slot[i];
        bool is_free = slot->state == SLOT_EMPTY && slot->rival.until_us <= host->now_us && !slot->is_broken && !host->is_full;
        host->has_rivals |= slot->rival.is_live;
        if (!is_free)
            slot->free_since_us = 0;
        else if (slot->free_since_us == 0)
            slot->free_since_us = host->now_us;
        host->has_free |= is_free;
    }
}

static size_t take(struct host *host, struct host_slot *slot)
{
    slot->free_since_us = 0;
    slot->seen = (struct host_seen){0};
    host_slot_bear(host, slot);
    return slot->state != SLOT_EMPTY;
}

/* The next free expert of a layer, from a place of our own on, so that hosts which start together seldom want the same. */
static struct host_slot *free_in_layer(struct host *host, uint32_t layer)
{
    const struct run *run = host->config.run;
    uint32_t n_shares = run->hosts > 0 ? run->hosts : 1;
    uint32_t first = (uint32_t)(own_hash(host, layer, 0) % n_shares * run->experts / n_shares);
    for (uint32_t i = 0; i < run->experts; i++) {
        struct host_slot *slot = host_slot(host, layer, (first + i) % run->experts);
        if (slot->free_since_us)
            return slot;
    }
    return NULL;
}

/* One from each layer in turn, until we have our share of the run. */
static size_t take_quota(struct host *host, size_t n_ours)
{
    const struct run *run = host->config.run;
    size_t n_shares = run->hosts > 0 ? run->hosts : 1;
    size_t quota = (host->n_slots + n_shares - 1) / n_shares, n_taken = 0, n_empty = 0;
    for (uint32_t layer = 0; n_ours + n_taken < quota && n_empty < run->n_moe; layer = (layer + 1) % run->n_moe) {
        struct host_slot *slot = free_in_layer(host, layer);
        n_empty = slot ? 0 : n_empty + 1;
        if (slot && !take(host, slot))
            return n_taken;
        n_taken += slot != NULL;
    }
    return n_taken;
}

/* What stays free for long has no host to expect it from.  Each host waits its own while for each expert, so they are spread
 * over those that are there. */
static size_t take_abandoned(struct host *host)
{
    size_t n_taken = 0;
    for (size_t i = 0; i < host->n_slots; i++) {
        struct host_slot *slot = &host->slot[i];
        uint64_t patience_us = FREE_LONG_US;
        if (host->has_rivals)
            patience_us += own_hash(host, slot->layer, slot->index) % FREE_SPREAD_US;
        if (slot->free_since_us && host->now_us - slot->free_since_us >= patience_us)
            n_taken += take(host, slot);
    }
    return n_taken;
}

static size_t take_listed(struct host *host)
{
    size_t n_taken = 0;
    for (size_t i = 0; i < host->n_slots; i++)
        if (host->slot[i].is_listed && host->slot[i].free_since_us)
            n_taken += take(host, &host->slot[i]);
    return n_taken;
}

void host_claims_choose(struct host *host)
{
    size_t n_ours = 0, n_changed = 0;
    for (size_t i = 0; i < host->n_slots; i++) {
        struct host_slot *slot = &host->slot[i];
        if (is_ours(slot) && is_outranked(host, slot) && !is_in_use(host, slot)) {
            give_way(host, slot);
            n_changed++;
        }
        n_ours += is_ours(slot);
    }
    look_at_free(host);
    if (host->is_auto) {
        n_changed += take_quota(host, n_ours);
        n_changed += take_abandoned(host);
    } else {
        n_changed += take_listed(host);
        host->has_free = false;
    }
    if (n_changed > 0)
        host_claims_hurry(host);
}
