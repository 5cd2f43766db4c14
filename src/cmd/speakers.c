#include "cmd/speakers.h"

#include <assert.h>
#include <stdlib.h>

#include "dht/id.h"
#include "dht/probe.h"

#define CALL_US 1000000u              /* for an answer */
#define CALLS_MAX 2                   /* of one speaker, while nobody answers for its run */
#define AIR_MAX (DHT_PROBES_MAX - 64) /* the rest is for the hosts of runs that are read meanwhile */
#define GAP_US 1000u                  /* between calls, */
#define BURST_US 20000u               /* and so many are caught up with at once */
#define NEIGHBOURS_MAX 64             /* whose addresses tell whether we are in a local network */

struct speaker {
    struct speakers *all;
    struct peer_id peer;
    struct addr addr;
    size_t run_i;
    size_t turn;    /* how many speakers of the run are called before */
    uint32_t lot;   /* orders those of one turn */
    bool is_called; /* now */
};

struct owner {
    struct addr addr; /* one of the subnet; nobody's for the first */
    size_t n_runs;
};

struct speakers {
    struct dht *dht;
    struct rng rng;
    struct speaker *speaker;
    size_t n, capacity;
    size_t n_runs, *owner_of; /* of each run */
    struct owner *owner;      /* n + 1 of them: each speaker may bring a subnet */
    size_t n_owners;
    size_t next, n_in_air;
    unsigned pass;
    bool is_local; /* we are in a local network */
    bool is_held;  /* nobody can be called before somebody answers, or is given up */
    uint64_t next_us;
};

int speakers_new(struct dht *dht, uint64_t seed, size_t n_runs, struct speakers **out)
{
    struct speakers *x = calloc(1, sizeof *x);
    if (!x)
        return HANSE_ENOMEM;
    x->dht = dht;
    x->n_runs = n_runs;
    rng_init(&x->rng, seed, "speakers");
    x->owner_of = calloc(n_runs, sizeof *x->owner_of);
    x->n_owners = 1;
    if (!x->owner_of) {
        speakers_free(x);
        return HANSE_ENOMEM;
    }
    *out = x;
    return 0;
}

void speakers_free(struct speakers *x)
{
    if (!x)
        return;
    free(x->owner);
    free(x->owner_of);
    free(x->speaker);
    free(x);
}

int speakers_hear(struct speakers *x, size_t run_i, const struct dht_entry *entry)
{
    assert(run_i < x->n_runs && !x->owner);
    if (x->n == x->capacity) {
        size_t capacity = x->capacity ? 2 * x->capacity : 16;
        struct speaker *speaker = realloc(x->speaker, capacity * sizeof *speaker);
        if (!speaker)
            return HANSE_ENOMEM;
        x->speaker = speaker;
        x->capacity = capacity;
    }
    x->speaker[x->n++] =
        (struct speaker){.all = x, .peer = entry->writer, .addr = entry->addr, .run_i = run_i, .lot = rng_u32(&x->rng)};
    return 0;
}

/* -- Accounts -------------------------------------------------------------------------------------------- */

size_t speakers_owner(const struct speakers *x, size_t run_i)
{
    return x->owner_of[run_i];
}

size_t speakers_n_owners(const struct speakers *x)
{
    return x->n_owners;
}

/* The owner of an address; x->n_owners: one that has no run yet. */
static size_t find_owner(const struct speakers *x, const struct addr *addr)
{
    size_t i = 1;
    while (i < x->n_owners && !dht_id_same_subnet(&x->owner[i].addr, addr))
        i++;
    return i;
}

/* A run changes hands only for one who has fewer, so that nobody can draw it into a crowd. */
static void account(struct speakers *x, size_t run_i, const struct addr *addr)
{
    size_t old = x->owner_of[run_i], i = find_owner(x, addr);
    size_t n_runs = i < x->n_owners ? x->owner[i].n_runs : 0;
    if (i == old || (old != 0 && n_runs + 1 >= x->owner[old].n_runs))
        return;
    if (i == x->n_owners)
        x->owner[x->n_owners++] = (struct owner){.addr = *addr};
    x->owner[old].n_runs -= old != 0;
    x->owner[i].n_runs++;
    x->owner_of[run_i] = i;
}

/* -- Calls ----------------------------------------------------------------------------------------------- */

static int by_turn(const void *a, const void *b)
{
    const struct speaker *x = a, *y = b;
    if (x->turn != y->turn)
        return x->turn < y->turn ? -1 : 1;
    return (x->lot > y->lot) - (x->lot < y->lot);
}

static int by_lot(const void *a, const void *b)
{
    const struct speaker *x = a, *y = b;
    return (x->lot > y->lot) - (x->lot < y->lot);
}

static bool has_local_neighbours(const struct dht *dht)
{
    struct addr addr[NEIGHBOURS_MAX];
    size_t n = dht_good(dht, addr, NEIGHBOURS_MAX), i = 0;
    while (i < n && !addr_is_local(&addr[i]))
        i++;
    return i < n;
}

/* One speaker of each run, then another of each. */
static int arrange(struct speakers *x)
{
    size_t *n_of = calloc(x->n_runs, sizeof *n_of);
    if (!n_of)
        return HANSE_ENOMEM;
    qsort(x->speaker, x->n, sizeof *x->speaker, by_lot);
    for (size_t i = 0; i < x->n; i++)
        x->speaker[i].turn = n_of[x->speaker[i].run_i]++;
    free(n_of);
    qsort(x->speaker, x->n, sizeof *x->speaker, by_turn);
    return 0;
}

int speakers_begin(struct speakers *x, uint64_t now_us)
{
    x->owner = calloc(x->n + 1, sizeof *x->owner);
    if (!x->owner)
        return HANSE_ENOMEM;
    x->is_local = has_local_neighbours(x->dht);
    x->next_us = now_us;
    return x->n > 0 ? arrange(x) : 0;
}

static void on_answer(void *arg, uint64_t now_us, const struct dht_probe_answer *answer)
{
    struct speaker *speaker = arg;
    struct speakers *x = speaker->all;
    const struct dht_message *m = answer->message;
    (void)now_us;
    speaker->is_called = x->is_held = false;
    x->n_in_air--;
    if (m && m->kind == DHT_REPLY && m->has_id && dht_id_names(&m->id, &speaker->peer))
        account(x, speaker->run_i, &speaker->addr);
}

/* Strangers far away do not have us ask in our own network. */
static bool may_call(const struct speakers *x, const struct speaker *speaker)
{
    const struct addr *addr = &speaker->addr;
    return addr->port != 0 && addr_is_unicast(addr) && (x->is_local || !addr_is_local(addr));
}

/* All once; then those a second time of whose run nobody answered. */
static struct speaker *next_to_call(struct speakers *x)
{
    while (x->pass < CALLS_MAX) {
        for (; x->next < x->n; x->next++) {
            struct speaker *speaker = &x->speaker[x->next];
            bool is_wanted = x->pass == 0 || x->owner_of[speaker->run_i] == 0;
            if (is_wanted && may_call(x, speaker))
                return speaker->is_called ? NULL : speaker;
        }
        x->next = 0;
        x->pass++;
    }
    return NULL;
}

void speakers_step(struct speakers *x, uint64_t now_us)
{
    struct speaker *speaker = NULL;
    if (now_us < x->next_us)
        return;
    if (now_us - x->next_us > BURST_US)
        x->next_us = now_us - BURST_US;
    while (x->next_us <= now_us && x->n_in_air < AIR_MAX && (speaker = next_to_call(x))) {
        struct dht_message question = {.method = DHT_PING};
        x->next_us += GAP_US;
        if (dht_probe(x->dht, now_us, &speaker->addr, &question, CALL_US, on_answer, speaker) != 0) {
            x->next_us = now_us + BURST_US; /* too much is in the air already */
            break;
        }
        speaker->is_called = true;
        x->n_in_air++;
        x->next++;
    }
    x->is_held = !speaker || x->n_in_air == AIR_MAX;
}

uint64_t speakers_wake(const struct speakers *x)
{
    return x->is_held || speakers_are_called(x) ? IO_NEVER : x->next_us;
}

bool speakers_are_called(const struct speakers *x)
{
    return x->pass == CALLS_MAX && x->n_in_air == 0;
}
