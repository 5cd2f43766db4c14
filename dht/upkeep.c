/* What a node does unasked: finding a first node, keeping its tables fresh, learning its own address. */
#include <stdlib.h>
#include <string.h>

#include "dht/id.h"
#include "dht/operation.h"

#define SECOND_US ((uint64_t)1000000)
#define BUCKET_US (300 * SECOND_US)    /* a range without a lookup for so long gets one */
#define BUCKETS_US SECOND_US           /* after a new node we look whether one is due now */
#define NEIGHBOUR_US (4 * SECOND_US)   /* least pause between two looks at our neighbourhood because somebody is new there */
#define AGAIN_US (300 * SECOND_US)     /* how often join addresses that we lost sight of are asked again */
#define EXPIRE_US (5 * SECOND_US)      /* how often stores are cleared of what is over */
#define PING_EVERY_US 20000            /* newcomers are pinged at this rate, */
#define PING_BURST 32                  /* and so many at once */
#define LOST_US (60 * SECOND_US)       /* when within this time */
#define LOST_MIN 8                     /* so many nodes of our table, */
#define LOST_SHARE 16                  /* and one of so many, turn bad, then what we published has lost holders, too */
#define ANEW_US (30 * SECOND_US)       /* but no more often: a few who come and go must not keep us at it */
#define BACK_MIN 4                     /* bad nodes that answer again within LOST_US: the swarm was parted from us */
#define OTHERS 4                       /* asked when one falls silent or is back: where half are gone, two of them are */
#define OTHERS_US (10 * SECOND_US)     /* unless they were heard of, or asked, since */
#define MOVE_PAUSE_US (60 * SECOND_US) /* between two such moves: a few liars must not send us to and fro */
#define MOVE_VOTES 3                   /* that say our id does not fit our address, before we take another */

/* Pauses between attempts to reach those we were told to join.  While nobody is known they stay short: a host that was started
 * first, alone, is to meet the second within seconds. */
static const uint64_t join_pause_us[] = {300000, SECOND_US, 2500000, 10 * SECOND_US, 30 * SECOND_US};
#define ALONE_PAUSES 3

/* Our own neighbourhood is looked at again soon after joining, when others who joined with us are there too. */
static const uint64_t self_pause_us[] = {SECOND_US, 4 * SECOND_US, 15 * SECOND_US, 60 * SECOND_US, 300 * SECOND_US};

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t pause_of(const uint64_t *pause, size_t n, size_t i)
{
    return pause[i < n ? i : n - 1];
}

static void ping(struct dht *dht, uint64_t now_us, const struct addr *to, enum dht_role role)
{
    struct dht_message m = {.method = DHT_PING};
    (void)dht_ask(dht, now_us, to, &m, role, 0); /* too much in the air: the next round will */
}

/* -- Joining --------------------------------------------------------------------------------------------------- */

static struct dht_join *find_join(struct dht *dht, const struct addr *addr)
{
    for (size_t i = 0; i < dht->upkeep.n_join; i++)
        if (addr_equal(&dht->upkeep.join[i].addr, addr))
            return &dht->upkeep.join[i];
    return NULL;
}

static bool grow_joins(struct dht_upkeep *u)
{
    if (u->n_join < u->joins_capacity)
        return true;
    size_t capacity = u->joins_capacity ? 2 * u->joins_capacity : 4;
    struct dht_join *join = realloc(u->join, capacity * sizeof *join);
    if (!join)
        return false;
    u->join = join;
    u->joins_capacity = capacity;
    return true;
}

void dht_join(struct dht *dht, uint64_t now_us, const struct addr *addr)
{
    struct dht_upkeep *u = &dht->upkeep;
    struct dht_join *join = find_join(dht, addr);
    if (!join && (u->n_join == DHT_JOIN_MAX || !grow_joins(u)))
        return;
    if (!join)
        join = &u->join[u->n_join++];
    *join = (struct dht_join){.addr = *addr};
    dht_half_of(dht, addr)->is_wanted = true;
    ping(dht, now_us, addr, DHT_ROLE_JOIN);
    u->n_attempts = 1;
    u->join_us = now_us + join_pause_us[0];
    u->again_us = now_us + AGAIN_US;
    if (dht_n_good(dht) == 0 && u->wait_until_us == 0)
        u->wait_until_us = now_us + (dht->config.is_read_only ? DHT_READER_WAIT_US : DHT_JOIN_WAIT_US);
}

void dht_hint(struct dht *dht, uint64_t now_us, const struct addr *addr)
{
    ping(dht, now_us, addr, DHT_ROLE_JOIN);
}

/* An address that never answered is tried again even when others did: whoever joined us meanwhile may be as lost as we are,
 * and together we would stay an island.  One that did answer is asked again from time to time, should the swarm have split. */
static void ping_joins(struct dht *dht, uint64_t now_us, bool is_all)
{
    struct dht_upkeep *u = &dht->upkeep;
    for (size_t i = 0; i < u->n_join; i++) {
        const struct addr *addr = &u->join[i].addr;
        bool is_known = dht_table_find(&dht_half_of(dht, addr)->table, addr) != NULL;
        if (is_all ? !is_known || u->is_alone : !u->join[i].has_answered)
            ping(dht, now_us, addr, DHT_ROLE_JOIN);
    }
}

static bool knows_anybody(const struct dht *dht, uint64_t now_us)
{
    return dht_table_has_good(&dht->half[0].table, now_us) || dht_table_has_good(&dht->half[1].table, now_us);
}

static void join_again(struct dht *dht, uint64_t now_us)
{
    struct dht_upkeep *u = &dht->upkeep;
    bool is_alone = !knows_anybody(dht, now_us);
    if (u->n_join == 0)
        return;
    if (is_alone && !u->is_alone && u->has_company) {
        u->n_attempts = 0; /* lost everybody */
        u->join_us = now_us;
    }
    u->is_alone = is_alone;
    u->has_company |= !is_alone;
    if (now_us >= u->again_us) {
        ping_joins(dht, now_us, true);
        u->again_us = now_us + AGAIN_US;
    }
    if (now_us < u->join_us)
        return;
    ping_joins(dht, now_us, is_alone);
    size_t n_pauses = is_alone ? ALONE_PAUSES : sizeof join_pause_us / sizeof *join_pause_us;
    uint64_t pause = pause_of(join_pause_us, n_pauses, u->n_attempts++);
    u->join_us = now_us + pause + rng_below(&dht->rng, pause / 4);
}

/* A node through which we may find ourselves in another swarm: our own id is looked up from there, and when it is the
 * first time every bucket is looked into as well. */
static void joined(struct dht *dht, uint64_t now_us, const struct addr *addr, const struct dht_id *id, bool is_first)
{
    struct dht_upkeep *u = &dht->upkeep;
    u->hint = *addr;
    u->hint_id = *id;
    u->self_us = now_us;
    dht_publications_joined(dht, now_us);
    if (!is_first)
        return;
    u->n_self = 0;
    for (int i = 0; i < 2; i++)
        dht_table_look_anew(&dht->half[i].table);
}

/* -- Freshening -------------------------------------------------------------------------------------------------- */

static struct dht_half *half_in_use(struct dht *dht)
{
    return &dht->half[dht_table_n(&dht->half[0].table) > 0 ? 0 : 1];
}

static void look_up_self(struct dht *dht, uint64_t now_us)
{
    struct dht_upkeep *u = &dht->upkeep;
    if (u->is_self_running || now_us < u->self_us || dht_n_nodes(dht) == 0)
        return;
    u->is_self_running = true;
    u->looked_us = now_us;
    u->self_us = now_us + pause_of(self_pause_us, sizeof self_pause_us / sizeof *self_pause_us, u->n_self++);
    dht_task_find(dht, now_us, &half_in_use(dht)->table.own, true);
}

/* When the next bucket is due.  Those that filled while we looked elsewhere are not looked into for the first time: that is half
 * of what a newcomer would ask in a large swarm. */
static uint64_t due_bucket(struct dht *dht, struct dht_table *table, uint64_t now_us, size_t *bucket)
{
    for (;;) {
        size_t n = 0;
        uint64_t at_us = dht_table_look_at(table, BUCKET_US, bucket);
        if (at_us != 0)
            return at_us;
        (void)dht_table_row(table, *bucket, &n);
        if (n < dht_table_room(*bucket))
            return at_us;
        struct dht_id inside = dht_id_random_at(&table->own, (unsigned)*bucket, &dht->rng);
        dht_table_looked(table, &inside, now_us);
    }
}

/* One at a time, so that a node that just joined does not start with a storm. */
static void look_into_buckets(struct dht *dht, uint64_t now_us)
{
    struct dht_upkeep *u = &dht->upkeep;
    if (u->is_bucket_running || u->is_self_running || now_us < u->bucket_us)
        return;
    u->bucket_us = IO_NEVER;
    for (int i = 0; i < 2; i++) {
        struct dht_table *table = &dht->half[i].table;
        size_t bucket = 0;
        uint64_t at_us = due_bucket(dht, table, now_us, &bucket);
        if (at_us <= now_us) {
            struct dht_id target = dht_id_random_at(&table->own, (unsigned)bucket, &dht->rng);
            u->is_bucket_running = true;
            u->bucket_us = now_us;
            dht_task_find(dht, now_us, &target, false);
            return;
        }
        u->bucket_us = earlier(u->bucket_us, at_us);
    }
}

void dht_upkeep_found(struct dht *dht, uint64_t now_us, bool is_self)
{
    struct dht_upkeep *u = &dht->upkeep;
    if (is_self) {
        u->is_self_running = false;
        u->has_found_self |= dht_n_nodes(dht) > 0;
        u->bucket_us = now_us;
    } else {
        u->is_bucket_running = false;
    }
    dht->wake_us = now_us;
}

static void ping_silent(struct dht *dht, uint64_t now_us)
{
    for (int i = 0; i < 2; i++) {
        const struct dht_node *node;
        while ((node = dht_table_silent(&dht->half[i].table, now_us))) {
            struct addr addr = node->addr;
            dht_table_asked(&dht->half[i].table, &addr, now_us);
            ping(dht, now_us, &addr, DHT_ROLE_UPKEEP);
        }
    }
}

static bool has_stores(const struct dht *dht)
{
    return dht->directory.n > 0 || dht->peers.n > 0 || dht->items.n > 0;
}

static void expire(struct dht *dht, uint64_t now_us)
{
    if (now_us < dht->upkeep.expire_us)
        return;
    dht->upkeep.expire_us = now_us + EXPIRE_US;
    dht_directory_expire(&dht->directory, now_us);
    dht_peers_expire(&dht->peers, now_us);
    dht_items_expire(&dht->items, now_us);
}

void dht_upkeep_run(struct dht *dht, uint64_t now_us)
{
    join_again(dht, now_us);
    look_up_self(dht, now_us);
    look_into_buckets(dht, now_us);
    ping_silent(dht, now_us);
    expire(dht, now_us);
}

uint64_t dht_upkeep_deadline(const struct dht *dht)
{
    const struct dht_upkeep *u = &dht->upkeep;
    uint64_t first = u->n_join > 0 ? earlier(u->join_us, u->again_us) : IO_NEVER;
    if (has_stores(dht))
        first = earlier(first, u->expire_us);
    if (dht_n_nodes(dht) == 0)
        return first;
    if (!u->is_self_running)
        first = earlier(first, u->self_us);
    if (!u->is_self_running && !u->is_bucket_running)
        first = earlier(first, u->bucket_us);
    for (int i = 0; i < 2; i++)
        first = earlier(first, dht_table_silent_at(&dht->half[i].table));
    return first;
}

/* -- Who speaks to us ---------------------------------------------------------------------------------------------- */

bool dht_upkeep_doubts(struct dht *dht, uint64_t now_us, const struct addr *from, const struct dht_message *m)
{
    const struct dht_table *table = &dht_half_of(dht, from)->table;
    if (m->is_read_only || from->port == 0 || !dht_id_fits(&m->id, from) || !dht_table_has_room(table, &m->id, from))
        return false;
    const struct dht_node *known = dht_table_find(table, from);
    bool is_good = known && dht_id_equal(&known->id, &m->id) && !dht_table_is_bad(known);
    return !is_good && dht->upkeep.ping_us <= now_us + PING_BURST * PING_EVERY_US;
}

void dht_upkeep_asked(struct dht *dht, uint64_t now_us, const struct addr *from)
{
    struct dht_upkeep *u = &dht->upkeep;
    u->ping_us = (u->ping_us > now_us ? u->ping_us : now_us) + PING_EVERY_US;
    dht_half_of(dht, from)->is_wanted = true;
    ping(dht, now_us, from, DHT_ROLE_UPKEEP);
}

/* What befell one may have befallen others: a few of those that are bad, or of those that are not, are asked now. */
static void ping_others(struct dht *dht, uint64_t now_us, struct dht_half *half, bool is_bad)
{
    size_t n = 0;
    for (size_t b = 0; b < DHT_BUCKETS && n < OTHERS; b++) {
        size_t n_row;
        const struct dht_node *row = dht_table_row(&half->table, b, &n_row);
        for (size_t i = 0; i < n_row && n < OTHERS; i++) {
            uint64_t last_us = row[i].asked_us > row[i].reply_us ? row[i].asked_us : row[i].reply_us;
            if (dht_table_is_bad(&row[i]) != is_bad || now_us - last_us < OTHERS_US)
                continue;
            struct addr other = row[i].addr;
            dht_table_asked(&half->table, &other, now_us);
            ping(dht, now_us, &other, DHT_ROLE_UPKEEP);
            n++;
        }
    }
}

static bool is_known_good(const struct dht_table *table, const struct addr *addr)
{
    const struct dht_node *node = dht_table_find(table, addr);
    return node && !dht_table_is_bad(node);
}

/* Holders of what we published are no neighbours of ours, so we do not see them go.  But when many go at once they are among
 * them, and some of our entries may have no holder left: they are stored anew, long before it is their time. */
void dht_upkeep_failed(struct dht *dht, uint64_t now_us, const struct addr *addr)
{
    struct dht_upkeep *u = &dht->upkeep;
    struct dht_half *half = dht_half_of(dht, addr);
    bool was_good = is_known_good(&half->table, addr);
    dht_table_failed(&half->table, addr);
    if (was_good)
        ping_others(dht, now_us, half, false);
    if (!was_good || is_known_good(&half->table, addr))
        return;
    if (now_us - u->lost_us > LOST_US) {
        u->lost_us = now_us;
        u->n_lost = 0;
    }
    if (++u->n_lost < LOST_MIN || u->n_lost < dht_n_nodes(dht) / LOST_SHARE || now_us - u->anew_us < ANEW_US)
        return;
    u->n_lost = 0;
    u->anew_us = now_us;
    dht_publications_joined(dht, now_us);
}

/* Takes the address that most name; an id that it does not allow gives way once enough agree. */
static void set_external(struct dht *dht, uint64_t now_us, struct dht_half *half)
{
    struct addr said;
    size_t n = dht_votes_winner(&half->votes, &said);
    if (n == 0)
        return;
    bool is_new = !half->has_external || !dht_id_same_ip(&half->external, &said);
    if (is_new && half->has_external && (n < MOVE_VOTES || (half->moved_us != 0 && now_us - half->moved_us < MOVE_PAUSE_US)))
        return;
    if (is_new && half->has_external)
        half->moved_us = now_us;
    half->has_external = true;
    half->external = said;
    if (is_new)
        dht_publications_moved(dht, now_us);
    if (dht_id_fits(&half->table.own, &said))
        return;
    struct dht_id own = dht_id_make(&said, &dht->peer, &dht->rng);
    dht_table_move(&half->table, &own);
    dht->upkeep.self_us = now_us;
    dht->upkeep.n_self = 0;
}

/* A new node among those nearest to us may know others as near: two swarms that touch at one place grow together from
 * neighbour to neighbour. */
static void greet_neighbour(struct dht *dht, uint64_t now_us, const struct dht_half *half, const struct dht_id *id)
{
    struct dht_node nearest[DHT_K];
    struct dht_upkeep *u = &dht->upkeep;
    size_t n = dht_table_closest(&half->table, &half->table.own, nearest, DHT_K);
    if (n == DHT_K && dht_id_compare(&half->table.own, id, &nearest[DHT_K - 1].id) > 0)
        return;
    uint64_t soon_us = u->looked_us + NEIGHBOUR_US + rng_below(&dht->rng, NEIGHBOUR_US);
    soon_us = soon_us > now_us ? soon_us : now_us;
    u->self_us = u->self_us < soon_us ? u->self_us : soon_us;
}

void dht_upkeep_told(struct dht *dht, uint64_t now_us, const struct addr *from, const struct addr *ip)
{
    struct dht_half *half = dht_half_of(dht, from);
    if (ip->family == 0)
        return;
    dht_votes_add(&half->votes, from, ip);
    set_external(dht, now_us, half);
}

/* One node whose network was away for a while is no news; several at once are: that was our network, or a wall between two
 * halves of the swarm.  Whoever else we gave up is asked at once, and we look for ourselves among those that are back. */
static void came_back(struct dht *dht, uint64_t now_us, struct dht_half *half, const struct addr *addr, const struct dht_id *id)
{
    struct dht_upkeep *u = &dht->upkeep;
    if (now_us - u->back_us > LOST_US) {
        u->back_us = now_us;
        u->n_back = 0;
    }
    ping_others(dht, now_us, half, true);
    if (++u->n_back == BACK_MIN)
        joined(dht, now_us, addr, id, true);
}

void dht_upkeep_answered(struct dht *dht, uint64_t now_us, const struct dht_transaction *t, const struct dht_message *m)
{
    struct dht_half *half = dht_half_of(dht, &t->addr);
    struct dht_upkeep *u = &dht->upkeep;
    const struct dht_node *known = dht_table_find(&half->table, &t->addr);
    bool was_alone = !knows_anybody(dht, now_us), was_known = known != NULL;
    bool was_bad = known && dht_id_equal(&known->id, &m->id) && dht_table_is_bad(known);
    uint64_t rtt_us = now_us - t->sent_us;
    struct dht_join *join = find_join(dht, &t->addr);
    dht_foreign_note(&dht->foreign, &t->addr, m->is_ours);
    if (m->is_read_only || (dht->config.is_closed && !m->is_ours) || dht_id_equal(&m->id, &half->table.own))
        return;
    /* Whoever was named to us is taken as it is: the first node of a swarm cannot know its address before others came. */
    if (!join && t->role != DHT_ROLE_JOIN && !dht_id_fits(&m->id, &t->addr)) {
        dht_table_drop(&half->table, &t->addr); /* it once showed another */
        return;
    }
    dht->rtt_us = dht->rtt_us == 0 ? (uint32_t)rtt_us : (uint32_t)((dht->rtt_us * (uint64_t)7 + rtt_us) / 8);
    half->is_wanted = true;
    bool is_new = dht_table_answered(&half->table, &m->id, &t->addr, m->is_ours, (uint32_t)rtt_us, now_us);
    bool is_first = was_alone || (join && !join->has_answered);
    if (join)
        join->has_answered = true;
    if (is_first || (t->role == DHT_ROLE_JOIN && !was_known))
        joined(dht, now_us, &t->addr, &m->id, is_first);
    if (was_bad)
        came_back(dht, now_us, half, &t->addr, &m->id);
    if (is_new) {
        u->bucket_us = earlier(u->bucket_us, now_us + BUCKETS_US);
        greet_neighbour(dht, now_us, half, &m->id);
        dht_publications_node(dht, now_us, &m->id);
        if (m->is_ours)
            dht_handover_node(dht, now_us, &m->id, &t->addr);
    }
}
