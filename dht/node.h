/**
 * dht/node.h - the inside of a DHT node, for its parts only: dht.c (events), answer.c (queries in), operation.c (the line
 * of what was asked of us), walk.c (going there), reply.c (what comes back), task.c (what each of them is for),
 * publish.c (what we keep published), handover.c (what newcomers should hold), upkeep.c (joining, freshening, our own address),
 * memory.c (how much all that takes).
 *
 * The v4 and the v6 network are two halves with an id and a table each (BEP 32, BEP 42).
 */
#ifndef DHT_NODE_H
#define DHT_NODE_H

#include "dht/bulk.h"
#include "dht/density.h"
#include "dht/directory.h"
#include "dht/foreign.h"
#include "dht/item.h"
#include "dht/limit.h"
#include "dht/lookup.h"
#include "dht/peers.h"
#include "dht/probe.h"
#include "dht/route.h"
#include "dht/table.h"
#include "dht/token.h"
#include "dht/transaction.h"
#include "dht/votes.h"
#include "dht/window.h"

#define DHT_JOIN_MAX 64
#define DHT_JOIN_WAIT_US 400000   /* what was asked for before anybody answered waits this long for the first node; */
#define DHT_READER_WAIT_US 900000 /* for a reader, which has nothing of its own, until the second attempt can be answered */
#define DHT_PING_MAX 68           /* bytes of a ping that we send */
#define DHT_PUBLICATIONS_MAX 256
#define DHT_HEIRS_MAX 32

struct dht_half {
    int family;
    struct dht_table table;
    struct dht_density density;
    struct dht_votes votes;
    bool has_external;
    struct addr external;
    uint64_t moved_us; /* when it last took the place of another; 0: never */
    bool is_wanted;    /* somebody gave us an address of this family */
};

struct dht_publication {
    struct dht_id key;
    struct addr addr; /* as the caller gave it */
    size_t n_bytes;
    uint8_t bytes[DHT_DIRECTORY_BYTES_MAX];
    bool is_withdrawn;
    uint64_t until_us; /* withdrawn: when the last entry that may stand somewhere is over */
    bool is_storing;   /* an operation is under way */
    bool is_changed;   /* since that operation began */
    uint64_t seq;
    uint64_t stored_us; /* when it was last stored; 0: never */
    uint64_t next_us;   /* when it is stored again */
    uint64_t gap_us;    /* least pause before it is stored early */
    bool is_early;      /* the next store is such a one */
    uint64_t again_us;  /* pause after the last store, which nobody else took; 0: somebody did */
    bool is_again;      /* the store under way is the next try */
    size_t n_looks;     /* stores since it was published, or since we joined */
    size_t n_near;      /* nodes nearest to the key when it was stored last */
    struct dht_id near[DHT_K];
    void (*done)(void *arg, uint64_t now_us, size_t n_stored);
    void *arg;
};

struct dht_join {
    struct addr addr;
    bool has_answered;
};

struct dht_upkeep {
    struct dht_join *join;
    size_t n_join, joins_capacity;
    size_t n_attempts; /* since the last dht_join(), or since we lost everybody */
    bool is_alone, has_company;
    uint64_t join_us;       /* when join addresses that did not answer are tried again */
    uint64_t again_us;      /* when those that did are, if we lost sight of them */
    uint64_t wait_until_us; /* operations wait for a first node until then */
    uint64_t self_us;       /* when our own id is looked up again */
    uint64_t looked_us;     /* when it was last */
    size_t n_self;
    bool is_self_running, is_bucket_running, has_found_self;
    uint64_t bucket_us; /* when the buckets are looked through again */
    struct addr hint;   /* who answered a join last, and */
    struct dht_id hint_id;
    uint64_t expire_us;
    uint64_t anew_us;          /* when what is published was last stored anew for their sake */
    uint64_t lost_us, back_us; /* since when these count */
    size_t n_lost, n_back;     /* nodes of our table that turned bad, and bad ones that answer again */
    uint64_t ping_us;          /* newcomers are pinged when this is not ahead of the burst */
};

/** A newcomer that is handed what it should hold, key after key. */
struct dht_heir {
    struct dht_id id;
    struct addr addr;
    struct dht_id after; /* the last key it was given; valid when has_begun */
    bool has_begun;
    uint64_t until_us; /* it is given nothing after that; valid likewise */
    bool is_busy;      /* an operation is under way */
};

struct dht_operation;

/** Operations in the order they came. */
struct dht_line {
    struct dht_operation *first, *last;
};

struct dht_waiting_probe {
    dht_probe_done *done; /* NULL: free */
    void *arg;
};

struct dht_probes {
    size_t n;
    struct dht_waiting_probe *slot; /* DHT_PROBES_MAX of them, or NULL before the first */
};

struct dht {
    struct dht_config config;
    struct peer_id peer;
    struct io io;
    struct rng rng;
    struct dht_half half[2]; /* v4, v6 */
    struct dht_tokens tokens;
    struct dht_limits limits;
    struct dht_transactions transactions;
    struct dht_window window; /* for what operations ask */
    struct dht_foreign foreign;
    struct dht_directory directory;
    struct dht_verified verified;
    struct dht_peers peers;
    struct dht_items items;
    struct dht_routes routes;
    struct dht_bulk bulk;
    struct dht_probes probes;
    struct dht_line running, waiting;
    size_t n_operations, n_running;
    uint64_t n_started; /* numbers operations */
    int error;          /* that a question was answered with last; 0: none */
    struct addr error_by;
    size_t n_silent; /* in the read that ended last: who was asked and did not answer */
    struct dht_publication **publication;
    size_t n_publications, publications_capacity;
    uint64_t publish_us; /* nothing is published again before */
    size_t n_again;      /* tries under way of stores that nobody took */
    uint64_t entry_seq;  /* of the last entry of dht_store_entry() */
    struct dht_upkeep upkeep;
    struct dht_heir *heir; /* DHT_HEIRS_MAX in the order they came; allotted while there are any */
    size_t n_heirs;
    uint64_t now_us;  /* of the last event */
    uint32_t rtt_us;  /* of all nodes, smoothed */
    uint64_t wake_us; /* somebody asked for something: be called at once */
    struct dht_stats stats;
};

/* dht.c */
struct dht_half *dht_half_of(struct dht *dht, const struct addr *addr);
size_t dht_n_nodes(const struct dht *dht);
/** DHT_WANT_... when both families are in use, else 0. */
unsigned dht_want(const struct dht *dht);
/** Sends what has at most `max` bytes; a longer one not at all.  Returns how many were sent. */
size_t dht_send(struct dht *dht, const struct addr *to, const struct dht_message *m, size_t max);
/** Sends a query (id, tid, ro are filled in).  NULL when too many are in the air. */
struct dht_transaction *dht_ask(struct dht *dht, uint64_t now_us, const struct addr *to, struct dht_message *m,
                                enum dht_role role, uint64_t operation);
/** True when the window has room for one more question of an operation. */
bool dht_may_ask(const struct dht *dht);

/* probe.c */
/** What was probed answered `m`, or NULL: it did not. */
void dht_probe_over(struct dht *dht, uint64_t now_us, const struct dht_transaction *t, const struct dht_message *m);

/* answer.c */
void dht_answer(struct dht *dht, uint64_t now_us, const struct addr *from, const struct dht_message *m, size_t n_request);

/* publish.c */
void dht_publications_run(struct dht *dht, uint64_t now_us);
uint64_t dht_publications_deadline(const struct dht *dht);
void dht_publications_free(struct dht *dht);
/** Signs what is published under `key` with the present address and time; 0 when nothing is. */
size_t dht_publication_entry(struct dht *dht, uint64_t now_us, const struct dht_id *key, uint8_t raw[DHT_ENTRY_MAX]);
/** The address that readers are told: `addr`, or where it is left open as others see us. */
struct addr dht_publication_addr(const struct dht *dht, const struct addr *addr);
/** A store is over.  `lookup` is the walk it followed; of `n_stored` nodes that took it `n_others` are not ourselves. */
void dht_publication_stored(struct dht *dht, uint64_t now_us, const struct dht_id *key, struct dht_lookup *lookup,
                            size_t n_stored, size_t n_others);
/** A node is new in our table: what belongs there should be stored there soon. */
void dht_publications_node(struct dht *dht, uint64_t now_us, const struct dht_id *id);
/** We found others, or others than before: what is published should be stored among them. */
void dht_publications_joined(struct dht *dht, uint64_t now_us);
/** Our address changed. */
void dht_publications_moved(struct dht *dht, uint64_t now_us);

/* handover.c */
/** A node of ours is new in our table: it is given what it should hold. */
void dht_handover_node(struct dht *dht, uint64_t now_us, const struct dht_id *id, const struct addr *addr);
void dht_handover_run(struct dht *dht, uint64_t now_us);
/** Puts the next entry for the heir into `op`; false when there is none. */
bool dht_handover_next(struct dht *dht, uint64_t now_us, struct dht_operation *op);
/** An operation for an heir is over. */
void dht_handover_done(struct dht *dht, uint64_t now_us, const struct dht_operation *op);

/* upkeep.c */
void dht_upkeep_run(struct dht *dht, uint64_t now_us);
uint64_t dht_upkeep_deadline(const struct dht *dht);
void dht_upkeep_found(struct dht *dht, uint64_t now_us, bool is_self);
/** A question to this address went unanswered for good. */
void dht_upkeep_failed(struct dht *dht, uint64_t now_us, const struct addr *addr);
/** True when a node that asked us something may belong into the table: it is pinged, to see whether it is there. */
bool dht_upkeep_doubts(struct dht *dht, uint64_t now_us, const struct addr *from, const struct dht_message *m);
/** Pings such a one, which may have DHT_PING_MAX bytes. */
void dht_upkeep_asked(struct dht *dht, uint64_t now_us, const struct addr *from);
/** Who answered said how it sees us; who refused an id that does not fit our address does, too. */
void dht_upkeep_told(struct dht *dht, uint64_t now_us, const struct addr *from, const struct addr *ip);
/** A node answered a question of ours: it belongs into the table. */
void dht_upkeep_answered(struct dht *dht, uint64_t now_us, const struct dht_transaction *t, const struct dht_message *m);

#endif
