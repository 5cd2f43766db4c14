/* node/meeting.c - enter, look and announce, try who was found, leave; and when to come again. */
#include "node/meeting.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "dht/id.h"

#define SECOND_US ((uint64_t)1000000)
#define VISIT_US (30 * SECOND_US)          /* the longest visit */
#define LOOK_US (2 * SECOND_US)            /* how often we see whether the overlay is lost */
#define PATIENCE_US (SECOND_US / 2)        /* of who only looks, for the addresses it was told to join */
#define ROUTER_US (SECOND_US / 4)          /* between questions for routers that were not known yet */
#define HINTS_US (SECOND_US / 2)           /* between handfuls of addresses that are tried */
#define HINTS_AT_ONCE 8                    /* that handful, and all that who knows others tries in a visit */
#define ANNOUNCE_US (840 * SECOND_US)      /* between announcements, which others forget after half an hour, */
#define ANNOUNCE_MORE_US (120 * SECOND_US) /* and up to this more, so that hosts do not come all at once */
#define KNOWN_MAX 16
#define LISTED_MAX 1024 /* as many as a lookup gives */
#define FOUND_MAX 256   /* of them that are tried in a visit */

/* Pauses between visits of who knows nobody. */
static const uint64_t alone_pause_us[] = {3 * SECOND_US, 6 * SECOND_US, 12 * SECOND_US, 25 * SECOND_US, 50 * SECOND_US};
#define N_PAUSES (sizeof alone_pause_us / sizeof *alone_pause_us)

struct meeting {
    struct meeting_config config;
    const struct io *io;
    struct dht *overlay;
    struct dht_id place;
    struct rng rng;
    uint64_t now_us, next_us; /* the next visit */
    uint64_t announce_us;     /* when it is time to announce again */
    size_t n_alone;           /* visits in a row that began alone */
    struct addr known[KNOWN_MAX];
    size_t n_known; /* who was good in the last visit */
    bool has_external, is_warned;
    bool is_public; /* some address of the network is */
    struct addr external;

    struct dht *dht; /* of the visit; NULL between two */
    uint64_t start_us, router_us, hint_us;
    bool has_looked, is_looking, is_announcing;
    struct addr found[FOUND_MAX];
    size_t n_found, n_tried;
    struct meeting_stats stats;
};

struct dht_id meeting_place(const struct hash *run)
{
    static const char word[] = "hanse-meeting";
    uint8_t text[sizeof word - 1 + HASH_BYTES];
    struct dht_id place;
    memcpy(text, word, sizeof word - 1);
    memcpy(text + sizeof word - 1, run->byte, HASH_BYTES);
    hash_sha1(place.byte, text, sizeof text);
    return place;
}

int meeting_new(const struct meeting_config *config, const struct io *io, struct dht *overlay, uint64_t now_us,
                struct meeting **out)
{
    struct meeting *meeting = calloc(1, sizeof *meeting);
    if (!meeting)
        return HANSE_ENOMEM;
    meeting->config = *config;
    meeting->io = io;
    meeting->overlay = overlay;
    meeting->place = meeting_place(&config->run);
    meeting->now_us = now_us;
    meeting->next_us = config->port ? now_us : now_us + PATIENCE_US;
    rng_init(&meeting->rng, config->seed, "meeting");
    *out = meeting;
    return 0;
}

void meeting_free(struct meeting *meeting)
{
    if (!meeting)
        return;
    dht_free(meeting->dht);
    free(meeting);
}

static bool is_alone(const struct meeting *meeting)
{
    return dht_n_good(meeting->overlay) == 0;
}

/* -- Who was found ----------------------------------------------------------------------------------------- */

/* Addresses that no peer of ours can have, and our own. */
static bool is_possible(const struct meeting *meeting, const struct addr *addr)
{
    if (addr->port == 0 || addr_is_unspecified(addr) || (meeting->is_public && addr_is_local(addr)))
        return false;
    if (addr->family == 4 ? addr->ip[0] == 0 || addr->ip[0] >= 224 : addr->ip[0] == 0xff)
        return false; /* "this" network, multicast, reserved */
    return !meeting->has_external || addr->port != meeting->config.port || !dht_id_same_ip(addr, &meeting->external);
}

static void shuffle(struct rng *rng, struct addr *addr, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = rng_below(rng, i);
        struct addr other = addr[i - 1];
        addr[i - 1] = addr[j];
        addr[j] = other;
    }
}

/* How many before it are of the same owner, as far as one can tell. */
static uint16_t rank_of(const struct addr *addr, size_t i)
{
    uint16_t rank = 0;
    for (size_t j = 0; j < i; j++)
        rank = (uint16_t)(rank + dht_id_same_subnet(&addr[i], &addr[j]));
    return rank;
}

/* One of each subnet first, then a second: who announces a thousand times from one place is as far ahead as who does once. */
static void order(struct meeting *meeting, const struct addr *addr, size_t n)
{
    uint16_t rank[LISTED_MAX];
    for (size_t i = 0; i < n; i++)
        rank[i] = rank_of(addr, i);
    meeting->n_found = meeting->n_tried = 0;
    for (size_t r = 0; meeting->n_found < FOUND_MAX && r < n; r++)
        for (size_t i = 0; i < n && meeting->n_found < FOUND_MAX; i++)
            if (rank[i] == r)
                meeting->found[meeting->n_found++] = addr[i];
}

static void on_peers(void *arg, uint64_t now_us, const struct addr *peer, size_t n)
{
    struct meeting *meeting = arg;
    struct addr possible[LISTED_MAX];
    size_t n_possible = 0;
    for (size_t i = 0; i < n && n_possible < LISTED_MAX; i++)
        if (is_possible(meeting, &peer[i]))
            possible[n_possible++] = peer[i];
    shuffle(&meeting->rng, possible, n_possible);
    order(meeting, possible, n_possible);
    meeting->stats.n_found = n_possible;
    meeting->is_looking = false;
    meeting->has_looked = true;
    meeting->hint_us = now_us;
}

static bool has_more_to_try(const struct meeting *meeting)
{
    return meeting->n_tried < meeting->n_found && (meeting->n_tried < HINTS_AT_ONCE || is_alone(meeting));
}

static void try_some(struct meeting *meeting)
{
    if (meeting->now_us < meeting->hint_us)
        return;
    for (size_t i = 0; i < HINTS_AT_ONCE && has_more_to_try(meeting); i++) {
        dht_hint(meeting->overlay, meeting->now_us, &meeting->found[meeting->n_tried++]);
        meeting->stats.n_hints++;
    }
    meeting->hint_us = meeting->now_us + HINTS_US;
}

/* -- A visit ------------------------------------------------------------------------------------------------ */

static void enter_through(struct meeting *meeting, const struct addr *addr)
{
    meeting->is_public |= !addr_is_local(addr);
    dht_join(meeting->dht, meeting->now_us, addr);
}

static void ask_for_routers(struct meeting *meeting)
{
    const struct meeting_routers *routers = meeting->config.routers;
    struct addr addr;
    if (meeting->now_us < meeting->router_us || !routers->next)
        return;
    meeting->router_us = meeting->now_us + ROUTER_US;
    for (size_t i = 0; i < MEETING_ROUTERS_MAX && routers->next(routers->arg, meeting->now_us, &addr); i++) {
        enter_through(meeting, &addr);
        if (meeting->n_known < KNOWN_MAX)
            meeting->known[meeting->n_known++] = addr;
    }
}

static void enter(struct meeting *meeting)
{
    const struct meeting_routers *routers = meeting->config.routers;
    struct dht_config config = {
        .key = meeting->config.key, .is_read_only = true, .port = meeting->config.port, .seed = rng_u64(&meeting->rng)};
    if (meeting->has_external)
        config.addr = meeting->external;
    if (dht_new(&config, meeting->io, meeting->now_us, &meeting->dht) != 0) {
        meeting->next_us = meeting->now_us + VISIT_US;
        return;
    }
    meeting->stats.n_visits++;
    meeting->start_us = meeting->router_us = meeting->now_us;
    meeting->has_looked = meeting->is_looking = meeting->is_announcing = false;
    meeting->n_found = meeting->n_tried = 0;
    for (size_t i = 0; i < meeting->n_known; i++)
        enter_through(meeting, &meeting->known[i]);
    for (size_t i = 0; i < routers->n && meeting->n_known < KNOWN_MAX / 2; i++)
        enter_through(meeting, &routers->addr[i]);
}

static uint64_t next_announcement(struct meeting *meeting)
{
    return meeting->now_us + ANNOUNCE_US + rng_below(&meeting->rng, ANNOUNCE_MORE_US);
}

static void on_announced(void *arg, uint64_t now_us, size_t n_stored)
{
    struct meeting *meeting = arg;
    (void)now_us;
    meeting->is_announcing = false;
    meeting->stats.n_announced = n_stored;
    if (n_stored > 0)
        meeting->announce_us = next_announcement(meeting);
}

/* Somebody answered: both walks begin there. */
static void look_and_announce(struct meeting *meeting)
{
    meeting->stats.was_entered = true;
    meeting->is_looking = true;
    meeting->stats.n_lookups++;
    dht_get_peers(meeting->dht, meeting->now_us, &meeting->place, on_peers, meeting);
    if (meeting->config.port == 0 || meeting->now_us < meeting->announce_us)
        return;
    meeting->is_announcing = true;
    dht_announce_peer(meeting->dht, meeting->now_us, &meeting->place, on_announced, meeting);
}

/* A network in which nobody has answered yet: said once, for its owner to mend. */
static void warn(struct meeting *meeting)
{
    if (meeting->stats.was_entered || meeting->is_warned)
        return;
    meeting->is_warned = true;
    log_warn("no Mainline node answers within %u s: check that a firewall lets UDP out, or name another one with "
             "--mainline=ADDR:PORT; trying on",
             (unsigned)(VISIT_US / SECOND_US));
}

/* Who knows others looks in only when it has something to announce. */
static uint64_t next_visit(struct meeting *meeting)
{
    if (!is_alone(meeting)) {
        meeting->n_alone = 0;
        return meeting->config.port ? meeting->announce_us : IO_NEVER;
    }
    uint64_t pause_us = alone_pause_us[meeting->n_alone < N_PAUSES ? meeting->n_alone : N_PAUSES - 1];
    meeting->n_alone++;
    return meeting->now_us + pause_us + rng_below(&meeting->rng, pause_us / 4);
}

static void leave(struct meeting *meeting)
{
    struct addr good[KNOWN_MAX];
    size_t n = dht_good(meeting->dht, good, KNOWN_MAX);
    if (n > 0) {
        memcpy(meeting->known, good, n * sizeof *good);
        meeting->n_known = n;
    }
    warn(meeting);
    meeting->stats.n_queries += dht_stats(meeting->dht).n_queries_out;
    dht_free(meeting->dht);
    meeting->dht = NULL;
    meeting->next_us = next_visit(meeting);
}

static bool is_over(const struct meeting *meeting)
{
    if (meeting->now_us >= meeting->start_us + VISIT_US)
        return true;
    return meeting->has_looked && !meeting->is_announcing && !has_more_to_try(meeting);
}

static void visit(struct meeting *meeting)
{
    bool has_entered = dht_n_good(meeting->dht) > 0;
    if (!has_entered)
        ask_for_routers(meeting);
    if (dht_external(meeting->dht, &meeting->external))
        meeting->has_external = true;
    meeting->is_public |= meeting->has_external && !addr_is_local(&meeting->external);
    if (has_entered && !meeting->has_looked && !meeting->is_looking)
        look_and_announce(meeting);
    try_some(meeting);
    if (is_over(meeting))
        leave(meeting);
}

/* -- Events ------------------------------------------------------------------------------------------------- */

static bool is_due(const struct meeting *meeting)
{
    return is_alone(meeting) || (meeting->config.port && meeting->now_us >= meeting->announce_us);
}

static void step(struct meeting *meeting)
{
    /* Whoever lost everybody does not wait for its next announcement. */
    uint64_t soon_us = meeting->now_us + alone_pause_us[0];
    if (!meeting->dht && meeting->next_us > soon_us && meeting->n_alone == 0 && is_alone(meeting))
        meeting->next_us = next_visit(meeting);
    if (!meeting->dht && meeting->now_us >= meeting->next_us && is_due(meeting))
        enter(meeting);
    else if (!meeting->dht && meeting->now_us >= meeting->next_us)
        meeting->next_us = next_visit(meeting);
    if (!meeting->dht)
        return;
    if (dht_deadline(meeting->dht) <= meeting->now_us)
        dht_tick(meeting->dht, meeting->now_us);
    visit(meeting);
}

bool meeting_datagram(struct meeting *meeting, uint64_t now_us, const struct addr *from, const uint8_t *bytes, size_t n)
{
    if (!meeting || !meeting->dht || !dht_expects(meeting->dht, from, bytes, n))
        return false;
    meeting->now_us = now_us;
    dht_datagram(meeting->dht, now_us, from, bytes, n);
    step(meeting);
    return true;
}

void meeting_tick(struct meeting *meeting, uint64_t now_us)
{
    meeting->now_us = now_us;
    step(meeting);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t meeting_deadline(const struct meeting *meeting)
{
    if (!meeting)
        return IO_NEVER;
    if (!meeting->dht)
        return earlier(meeting->next_us, meeting->now_us + LOOK_US);
    uint64_t next = earlier(dht_deadline(meeting->dht), meeting->start_us + VISIT_US);
    if (meeting->config.routers->next && dht_n_good(meeting->dht) == 0)
        next = earlier(next, meeting->router_us);
    return meeting->n_tried < meeting->n_found ? earlier(next, meeting->hint_us) : next;
}

bool meeting_is_first(const struct meeting *meeting)
{
    return meeting && meeting->stats.n_visits + (meeting->dht == NULL) <= 1 && is_alone(meeting);
}

struct meeting_stats meeting_stats(const struct meeting *meeting)
{
    struct meeting_stats stats = meeting->stats;
    stats.is_there = meeting->dht != NULL;
    if (meeting->dht)
        stats.n_queries += dht_stats(meeting->dht).n_queries_out;
    return stats;
}
