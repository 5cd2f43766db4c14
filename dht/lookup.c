#include "dht/lookup.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "dht/id.h"

#define N_PATHS (2 * DHT_PATHS_MAX) /* v4 first, then v6 */
#define CANDIDATES_MAX (2 * DHT_LOOKUP_MAX)
#define WIDE_NEAREST 4 /* of those who answered are asked again, */
#define WIDE_MAX 6     /* each so often, */
#define WIDE_ALL 32    /* and all of them together */
#define PER_PATH 2     /* nearest of each path that get a record in any case */

_Static_assert(N_PATHS <= 8, "a bit for each");

void dht_lookup_init(struct dht_lookup *lookup, const struct dht_id *target, size_t n_want, size_t n_paths)
{
    *lookup = (struct dht_lookup){.target = *target};
    dht_lookup_restart(lookup, n_want, n_paths);
}

void dht_lookup_fini(struct dht_lookup *lookup)
{
    free(lookup->candidate);
    lookup->candidate = NULL;
    lookup->n = lookup->capacity = 0;
}

void dht_lookup_restart(struct dht_lookup *lookup, size_t n_want, size_t n_paths)
{
    assert(n_paths >= 1 && n_paths <= DHT_PATHS_MAX);
    lookup->n_want = n_want;
    lookup->n_paths = n_paths;
    lookup->n = lookup->n_wide = 0;
    lookup->paths = 0;
}

struct dht_candidate *dht_lookup_find(struct dht_lookup *lookup, const struct addr *addr)
{
    for (size_t i = 0; i < lookup->n; i++)
        if (addr_equal(&lookup->candidate[i].addr, addr))
            return &lookup->candidate[i];
    return NULL;
}

/* Two names of one node, or two nodes of one owner. */
static bool is_same(const struct dht_candidate *c, const struct dht_id *id, const struct addr *addr)
{
    if (addr_equal(&c->addr, addr))
        return true;
    if (c->step == DHT_STEP_FAILED)
        return false; /* a false address must not keep the true one out */
    return dht_id_equal(&c->id, id) || (!addr_is_local(addr) && dht_id_same_subnet(&c->addr, addr));
}

static bool grow(struct dht_lookup *lookup)
{
    size_t capacity = lookup->capacity ? 2 * lookup->capacity : 24;
    capacity = capacity < CANDIDATES_MAX ? capacity : CANDIDATES_MAX;
    if (lookup->capacity == capacity)
        return false;
    struct dht_candidate *candidate = realloc(lookup->candidate, capacity * sizeof *candidate);
    if (!candidate)
        return false;
    lookup->candidate = candidate;
    lookup->capacity = capacity;
    return true;
}

static void remove_at(struct dht_lookup *lookup, size_t i)
{
    memmove(&lookup->candidate[i], &lookup->candidate[i + 1], (lookup->n - i - 1) * sizeof lookup->candidate[0]);
    lookup->n--;
}

/* Where a full path loses somebody for a newcomer at `at`: who is lost anyhow, else the farthest behind it not asked yet; or n. */
static size_t least_of(const struct dht_lookup *lookup, uint8_t path, size_t at)
{
    size_t least = lookup->n;
    for (size_t i = lookup->n; i-- > 0;) {
        const struct dht_candidate *c = &lookup->candidate[i];
        if (c->path == path && c->step == DHT_STEP_FAILED)
            return i;
        if (c->path == path && c->step == DHT_STEP_NEW && i >= at && least == lookup->n)
            least = i;
    }
    return least;
}

/* A path that has its share forgets one of its own. */
static bool make_room(struct dht_lookup *lookup, uint8_t path, size_t *at)
{
    size_t n = 0;
    for (size_t i = 0; i < lookup->n; i++)
        n += lookup->candidate[i].path == path;
    if (n < DHT_LOOKUP_MAX / lookup->n_paths && (lookup->n < lookup->capacity || grow(lookup)))
        return true;
    size_t least = least_of(lookup, path, *at);
    if (least == lookup->n)
        return false;
    remove_at(lookup, least);
    *at -= least < *at;
    return true;
}

static struct dht_candidate *add(struct dht_lookup *lookup, const struct dht_id *id, const struct addr *addr, uint8_t path,
                                 bool is_trusted)
{
    if (addr->port == 0 || addr_is_unspecified(addr) || (!is_trusted && !dht_id_fits(id, addr)))
        return NULL;
    size_t at = 0;
    for (size_t i = 0; i < lookup->n; i++) {
        if (is_same(&lookup->candidate[i], id, addr))
            return NULL;
        if (dht_id_compare(&lookup->target, &lookup->candidate[i].id, id) < 0)
            at = i + 1;
    }
    if (!make_room(lookup, path, &at))
        return NULL;
    struct dht_candidate *c = &lookup->candidate[at];
    memmove(c + 1, c, (lookup->n - at) * sizeof *c);
    lookup->n++;
    lookup->paths |= (uint8_t)(1u << path);
    memset(c, 0, sizeof *c);
    c->id = *id;
    c->addr = *addr;
    c->path = path;
    c->depth = 1;
    return c;
}

static uint8_t first_path(const struct addr *addr)
{
    return addr->family == 6 ? DHT_PATHS_MAX : 0;
}

struct dht_candidate *dht_lookup_start(struct dht_lookup *lookup, const struct dht_id *id, const struct addr *addr, size_t path)
{
    return add(lookup, id, addr, (uint8_t)(first_path(addr) + path % lookup->n_paths), true);
}

void dht_lookup_learn(struct dht_lookup *lookup, const struct dht_id *id, const struct addr *addr, uint8_t path, uint8_t depth)
{
    struct dht_candidate *c = add(lookup, id, addr, (uint8_t)(first_path(addr) + path % DHT_PATHS_MAX), false);
    if (c)
        c->depth = (uint8_t)(depth + (depth < UINT8_MAX));
}

struct dht_candidate *dht_lookup_rename(struct dht_lookup *lookup, struct dht_candidate *c, const struct dht_id *id)
{
    struct dht_candidate old = *c;
    remove_at(lookup, (size_t)(c - lookup->candidate));
    c = add(lookup, id, &old.addr, old.path, false); /* what our table knew of it was another id */
    if (!c)
        return NULL;
    c->step = old.step;
    c->depth = old.depth;
    return c;
}

/* What stands at the head of a path: the n_want nearest that are neither lost nor late. */
struct head {
    struct dht_candidate *fresh; /* nearest not yet asked */
    size_t n_answered;           /* in a row or not, among the head */
    size_t n_asked;              /* in the air, among the head */
    size_t n_in_air;             /* on the whole path */
    size_t n_slow, n_overdue;    /* on the whole path */
    size_t n_lost;               /* likewise */
    size_t n_eclipsed;           /* silent ones, nearer than all who answered */
};

static struct head look(const struct dht_lookup *lookup, unsigned path)
{
    struct head head = {0};
    size_t n = 0;
    bool has_answer = false;
    if (!(lookup->paths >> path & 1))
        return head; /* as those of the family that is not in use */
    for (size_t i = 0; i < lookup->n; i++) {
        const struct dht_candidate *c = &lookup->candidate[i];
        if (c->path != path)
            continue;
        head.n_lost += c->step == DHT_STEP_FAILED;
        has_answer = has_answer || c->step == DHT_STEP_ANSWERED;
        head.n_eclipsed += !has_answer && c->step != DHT_STEP_NEW && c->step != DHT_STEP_ASKED;
        if (c->step == DHT_STEP_FAILED)
            continue;
        head.n_slow += c->step == DHT_STEP_SLOW;
        head.n_overdue += c->step == DHT_STEP_OVERDUE;
        head.n_in_air += c->step == DHT_STEP_ASKED;
        if (c->step == DHT_STEP_SLOW || c->step == DHT_STEP_OVERDUE || n == lookup->n_want)
            continue;
        n++;
        if (c->step == DHT_STEP_NEW && !head.fresh)
            head.fresh = (struct dht_candidate *)c;
        head.n_asked += c->step == DHT_STEP_ASKED;
        head.n_answered += c->step == DHT_STEP_ANSWERED;
    }
    return head;
}

struct dht_candidate *dht_lookup_next(struct dht_lookup *lookup)
{
    size_t alpha = lookup->n_paths == 1 ? DHT_ALPHA : DHT_ALPHA_MANY;
    for (unsigned path = 0; path < N_PATHS; path++) {
        struct head head = look(lookup, path);
        if (head.fresh && head.n_in_air < alpha) {
            head.fresh->step = DHT_STEP_ASKED;
            return head.fresh;
        }
    }
    return NULL;
}

size_t dht_lookup_n_answered(const struct dht_lookup *lookup)
{
    size_t n = 0;
    for (size_t i = 0; i < lookup->n; i++)
        n += lookup->candidate[i].step == DHT_STEP_ANSWERED;
    return n;
}

size_t dht_lookup_n_silent(const struct dht_lookup *lookup)
{
    size_t n = 0;
    for (size_t i = 0; i < lookup->n; i++)
        n += lookup->candidate[i].step != DHT_STEP_NEW && lookup->candidate[i].step != DHT_STEP_ANSWERED;
    return n;
}

/* Nobody is left to ask on a path, and too few answered, fewer than are silent; or all of the nearest are silent: then those who
 * answered may not be the nearest who do. */
static bool is_stuck(const struct dht_lookup *lookup, unsigned path)
{
    struct head head = look(lookup, path);
    size_t n_silent = head.n_slow + head.n_overdue + head.n_lost;
    if (head.fresh || head.n_asked > 0)
        return false;
    return (head.n_answered < lookup->n_want && n_silent > head.n_answered) || head.n_eclipsed >= lookup->n_want;
}

bool dht_lookup_is_stuck(const struct dht_lookup *lookup)
{
    for (unsigned path = 0; path < N_PATHS; path++)
        if (is_stuck(lookup, path))
            return true;
    return false;
}

bool dht_lookup_widen(struct dht_lookup *lookup)
{
    size_t n_before = lookup->n_wide;
    for (unsigned path = 0; path < N_PATHS; path++) {
        size_t n = is_stuck(lookup, path) ? 0 : WIDE_NEAREST;
        for (size_t i = 0; i < lookup->n && n < WIDE_NEAREST && lookup->n_wide < WIDE_ALL; i++) {
            struct dht_candidate *c = &lookup->candidate[i];
            if (c->path != path || c->step != DHT_STEP_ANSWERED)
                continue;
            n++;
            if (c->n_wide == WIDE_MAX)
                continue;
            c->step = DHT_STEP_NEW;
            c->n_wide++;
            lookup->n_wide++;
        }
    }
    return lookup->n_wide > n_before;
}

struct dht_id dht_lookup_aside(const struct dht_lookup *lookup, const struct dht_candidate *c)
{
    unsigned own = dht_id_shared_bits(&lookup->target, &c->id);
    const unsigned bit[WIDE_MAX] = {own + 1, own, 0, own + 2, 1, own + 3};
    unsigned i = bit[c->n_wide - 1];
    struct dht_id aside = lookup->target;
    if (i < DHT_ID_BITS)
        aside.byte[i / 8] ^= (uint8_t)(0x80 >> i % 8);
    return aside;
}

void dht_lookup_settle(struct dht_candidate *c)
{
    if (c->n_wide > 0)
        c->step = DHT_STEP_ANSWERED;
}

uint64_t dht_lookup_spread(const struct dht_lookup *lookup, int family, size_t rank)
{
    for (size_t i = 0; i < lookup->n; i++) {
        const struct dht_candidate *c = &lookup->candidate[i];
        if (c->step == DHT_STEP_ANSWERED && c->addr.family == family && --rank == 0)
            return dht_id_distance(&lookup->target, &c->id);
    }
    return DHT_SPREAD_NONE;
}

bool dht_lookup_is_done(const struct dht_lookup *lookup)
{
    bool has_enough = dht_lookup_n_answered(lookup) >= (lookup->n_want + 1) / 2;
    for (unsigned path = 0; path < N_PATHS; path++) {
        struct head head = look(lookup, path);
        if (head.fresh || head.n_asked > 0)
            return false;
        if (head.n_slow > 0 && head.n_answered < lookup->n_want)
            return false; /* too few to do without the late ones, */
        if (head.n_overdue > 0 && !has_enough)
            return false; /* or even without those that two questions did not reach */
    }
    return true;
}

size_t dht_lookup_closest(struct dht_lookup *lookup, size_t max, struct dht_candidate **out, size_t out_max)
{
    size_t n = 0, n_family[2] = {0, 0}, n_path[N_PATHS] = {0};
    for (size_t i = 0; i < lookup->n; i++) {
        struct dht_candidate *c = &lookup->candidate[i];
        if (c->step != DHT_STEP_ANSWERED)
            continue;
        bool is_near = n_family[c->addr.family == 6]++ < max;
        bool is_first = n_path[c->path]++ < PER_PATH && lookup->n_paths > 1;
        if ((is_near || is_first) && n < out_max)
            out[n++] = c;
    }
    return n;
}
