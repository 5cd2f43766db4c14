/*
 * router/directory.c - who hosts which expert.
 *
 * Each row of 64 experts is one key of the DHT; its entries are read in the background, often while an expert
 * is missing and rarely otherwise.  Every claimant is remembered; of those that can be reached the one with the largest (epoch,
 * version, peer id) is asked, the same rule by which hosts settle a quarrel themselves.
 */
#include <string.h>

#include "base/log.h"
#include "router/state.h"

#define REFRESH_MISSING_US ROUTER_REFRESH_US /* an expert has no host: look again soon, */
#define REFRESH_TIRED_US 4000000u            /* and less and less often down to this */
#define REFRESH_CALM_US 20000000u            /* every row once in so long, in turn, */
#define REFRESH_ROW_US 500000u               /* but however many there are not more than two a second */

/* A claim lives as long as its entry, or as whoever made it goes on talking to us, though we cannot read the directory. */
static bool is_over(const struct router *router, const struct claim *claim)
{
    uint64_t heard_us = router->peer[claim->peer_i].heard_us;
    return router->config.deadline_us > 0 && claim->expiry_us <= router->now_us &&
           heard_us + (uint64_t)DHT_DIRECTORY_TTL_S * 1000000 <= router->now_us;
}

static bool is_reachable(const struct router *router, const struct claim *claim)
{
    return router_peer_can_be_asked(router, &router->peer[claim->peer_i]) && !is_over(router, claim);
}

/* True when `a` is to be preferred to `b`: the rule by which hosts settle it, after whether they can be asked at all. */
static bool outranks(const struct router *router, const struct claim *a, const struct claim *b)
{
    bool a_reachable = is_reachable(router, a), b_reachable = is_reachable(router, b);
    if (a_reachable != b_reachable)
        return a_reachable;
    if (a->epoch != b->epoch)
        return a->epoch > b->epoch;
    if (a->version != b->version)
        return a->version > b->version;
    return peer_id_compare(&router->peer[a->peer_i].id, &router->peer[b->peer_i].id) > 0;
}

static void choose_one(struct router *router, struct target *target, uint8_t *allowed)
{
    const struct claim *best = NULL;
    for (size_t i = 0; i < target->n_claims; i++)
        if (!best || outranks(router, &target->claim[i], best))
            best = &target->claim[i];
    *allowed = best && is_reachable(router, best);
    target->peer_i = best ? (int32_t)best->peer_i : -1;
}

void router_directory_choose(struct router *router)
{
    size_t n = (size_t)router->config.n_moe * router->config.E, n_live = 0;
    for (size_t i = 0; i < n; i++) {
        choose_one(router, &router->target[i], &router->allowed[i]);
        n_live += router->allowed[i];
    }
    if (n_live < router->n_live && router->dht && router->refresh_us > router->now_us + REFRESH_MISSING_US)
        router->refresh_us = router->now_us + REFRESH_MISSING_US;
    if (n_live != router->n_live)
        router->missing_us = REFRESH_MISSING_US;
    router->n_live = n_live;
}

/* Takes a peer's claim to an expert away; true when there was one. */
static bool unclaim(struct target *target, uint32_t peer_i)
{
    for (size_t i = 0; i < target->n_claims; i++) {
        if (target->claim[i].peer_i != peer_i)
            continue;
        target->claim[i] = target->claim[--target->n_claims];
        return true;
    }
    return false;
}

void router_directory_forget(struct router *router, int peer_i)
{
    for (size_t t = 0; t < (size_t)router->config.n_moe * router->config.E && router->peer[peer_i].n_claims > 0; t++)
        if (unclaim(&router->target[t], (uint32_t)peer_i))
            router->peer[peer_i].n_claims--;
    router_directory_choose(router);
}

void router_directory_not_here(struct router *router, uint32_t moe, uint32_t expert, int peer_i)
{
    if (unclaim(&router->target[moe * router->config.E + expert], (uint32_t)peer_i))
        router->peer[peer_i].n_claims--;
    router_directory_choose(router);
    router_refresh(router, router->now_us);
}

/* As outranks(), but of two that cannot be asked the one that was dialled in vain less often comes first: whoever fills the
 * directory with great claims at made-up addresses keeps no true one out for longer than a dial takes. */
static bool outlasts(const struct router *router, const struct claim *a, const struct claim *b)
{
    bool is_either = is_reachable(router, a) || is_reachable(router, b);
    uint64_t a_us = router->peer[a->peer_i].backoff_us, b_us = router->peer[b->peer_i].backoff_us;
    if (!is_either && a_us != b_us)
        return a_us < b_us;
    return outranks(router, a, b);
}

/* The weakest claim gives way when more peers quarrel over an expert than we remember. */
static void add_claim(struct router *router, struct target *target, struct claim claim)
{
    size_t i = target->n_claims;
    if (i == ROUTER_CLAIMS_MAX) {
        size_t worst = 0;
        for (i = 1; i < ROUTER_CLAIMS_MAX; i++)
            if (outlasts(router, &target->claim[worst], &target->claim[i]))
                worst = i;
        i = worst;
        if (!outlasts(router, &claim, &target->claim[i]))
            return;
        router->peer[target->claim[i].peer_i].n_claims--;
    } else {
        target->n_claims++;
    }
    target->claim[i] = claim;
    router->peer[claim.peer_i].n_claims++;
}

/* A restarted host speaks again with a newer sequence number and perhaps another address: it need not wait for its turn. */
static void hear_peer(struct router *router, int peer_i, const struct dht_entry *entry)
{
    struct peer *peer = &router->peer[peer_i];
    bool is_first = !peer->addr.family;
    if (entry->seq <= peer->seq && !is_first)
        return;
    peer->seq = entry->seq;
    peer->addr = entry->addr;
    peer->hardware = message_claims_hardware(entry->bytes);
    if (!is_first)
        router_peer_is_alive(router, peer_i);
}

static void hear_entry(struct router *router, uint32_t moe, uint32_t row, const struct dht_entry *entry)
{
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    size_t n_claims;
    if (message_claims_decode(claim, &n_claims, entry->bytes, entry->n_bytes) != 0 || !entry->addr.port)
        return;
    int peer_i = router_peer_add(router, &entry->writer);
    if (peer_i < 0)
        return;
    hear_peer(router, peer_i, entry);
    for (size_t i = 0; i < n_claims; i++) {
        uint32_t expert = row * MESSAGE_ROW_EXPERTS + claim[i].index;
        if (expert < router->config.E)
            add_claim(router, &router->target[moe * router->config.E + expert],
                      (struct claim){.peer_i = (uint32_t)peer_i,
                                     .epoch = claim[i].epoch,
                                     .version = claim[i].version,
                                     .load = claim[i].load,
                                     .expiry_us = (uint64_t)entry->expiry_s * 1000000});
    }
}

/* What is known of a row is replaced whole, so a claim that is no longer made disappears; but peers with a live link keep
 * theirs when the read missed their entry: the link says more than a lost datagram.  A read that found nothing at all may
 * have missed everything, so it ends only what has expired. */
static void forget_row(struct router *router, uint32_t moe, uint32_t row, const struct dht_entry *entry, size_t n)
{
    for (uint32_t e = row * MESSAGE_ROW_EXPERTS; e < (row + 1) * MESSAGE_ROW_EXPERTS && e < router->config.E; e++) {
        struct target *target = &router->target[moe * router->config.E + e];
        for (size_t c = target->n_claims; c-- > 0;) {
            struct peer *peer = &router->peer[target->claim[c].peer_i];
            bool is_heard = false;
            for (size_t i = 0; i < n; i++)
                is_heard |= peer_id_equal(&entry[i].writer, &peer->id);
            bool is_over = n > 0 || target->claim[c].expiry_us <= router->now_us;
            if (is_heard || (peer->state != PEER_READY && is_over)) {
                target->claim[c] = target->claim[--target->n_claims];
                peer->n_claims--;
            }
        }
    }
}

static void row_done(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct row_read *read = arg;
    struct router *router = read->router;
    router->now_us = now_us > router->now_us ? now_us : router->now_us;
    router->n_reads_open--;
    if (n_asked == 0)
        return;
    router->stats.n_reads++;
    forget_row(router, read->moe, read->row, entry, n);
    for (size_t i = 0; i < n; i++)
        hear_entry(router, read->moe, read->row, &entry[i]);
    router_directory_choose(router);
    router_peer_tick(router);
}

static bool is_row_missing(const struct router *router, const struct row_read *read)
{
    uint32_t E = router->config.E, first = read->row * MESSAGE_ROW_EXPERTS;
    uint32_t n = E - first < MESSAGE_ROW_EXPERTS ? E - first : MESSAGE_ROW_EXPERTS;
    return memchr(&router->allowed[(size_t)read->moe * E + first], 0, n) != NULL;
}

static void read_row(struct router *router, struct row_read *read)
{
    struct dht_id key = dht_directory_key(&router->config.run, "experts", read->moe, read->row);
    router->n_reads_open++;
    dht_read(router->dht, router->now_us, &key, row_done, read);
}

/* All at once would be a gust of questions from every trainer, again and again, for nothing that is waited for. */
static void read_in_turn(struct router *router)
{
    uint64_t pause_us = REFRESH_CALM_US / router->n_rows;
    router->refresh_us = router->now_us + (pause_us > REFRESH_ROW_US ? pause_us : REFRESH_ROW_US);
    router->read_all_us = router->now_us; /* or not much longer ago */
    router->next_row = (router->next_row + 1) % router->n_rows;
    read_row(router, &router->row_read[router->next_row]);
}

static void read_missing(struct router *router)
{
    bool is_all = router->read_all_us == 0 || router->now_us >= router->read_all_us + REFRESH_CALM_US;
    router->refresh_us = router->now_us + router->missing_us;
    if (router->n_live > 0)
        router->missing_us = router->missing_us * 2 < REFRESH_TIRED_US ? router->missing_us * 2 : REFRESH_TIRED_US;
    if (is_all)
        router->read_all_us = router->now_us;
    router->n_reads_open = 1; /* held until all are begun */
    for (uint32_t i = 0; i < router->n_rows; i++)
        if (is_all || is_row_missing(router, &router->row_read[i]))
            read_row(router, &router->row_read[i]);
    router->n_reads_open--;
}

void router_directory_tick(struct router *router)
{
    if (!router->dht || router->n_reads_open > 0 || router->refresh_us > router->now_us)
        return;
    router->read_us = router->now_us;
    if (router->n_live == (size_t)router->config.n_moe * router->config.E)
        read_in_turn(router);
    else
        read_missing(router);
}

void router_refresh(struct router *router, uint64_t now_us)
{
    uint64_t soon = router->read_us + REFRESH_MISSING_US > now_us ? router->read_us + REFRESH_MISSING_US : now_us;
    if (router->refresh_us > soon)
        router->refresh_us = soon;
}
