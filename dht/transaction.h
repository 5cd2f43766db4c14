/**
 * dht/transaction.h - questions in the air: who was asked what, and until when we wait.
 *
 * A transaction id is four bytes: the slot and 23 random bits, which a liar who cannot see our traffic has to guess; an answer counts
 * only from the address that was asked.  Two deadlines: `soft_us` says "late", `hard_us` says "lost".
 * Slots are allotted in blocks while many are in the air, and given back when none is; without memory, what is in the air
 * already is as many as may be.  A heap knows which is due first.
 */
#ifndef DHT_TRANSACTION_H
#define DHT_TRANSACTION_H

#include "dht/bencode.h"
#include "dht/krpc.h"

#define DHT_TRANSACTIONS_MAX 512
#define DHT_TRANSACTIONS_BLOCK 16
#define DHT_TID_BYTES 4
#define DHT_HARD_US 2000000

enum dht_role { DHT_ROLE_UPKEEP, DHT_ROLE_JOIN, DHT_ROLE_STEP, DHT_ROLE_PAGE, DHT_ROLE_STORE, DHT_ROLE_PROBE };

struct dht_transaction {
    uint32_t tid; /* 0: free slot */
    enum dht_role role;
    struct addr addr;
    enum dht_method method;
    uint64_t sent_us, soft_us, hard_us;
    bool is_late;
    bool is_walk;       /* an operation's; the window holds it */
    bool is_expected;   /* an answer is: silence says something of the way there */
    bool is_far;        /* the usual round trip is about as long as we wait: being late says nothing, being lost does */
    bool is_owed;       /* to be repeated once the window allows */
    bool is_repeat;     /* asks again what was late */
    bool is_repeated;   /* was asked again: that one decides */
    uint64_t operation; /* whose question it is; 0: upkeep */
    uint16_t rank;      /* where it is in the heap */
};

struct dht_transactions {
    struct rng rng;
    size_t n, capacity, heap_capacity;
    size_t n_air; /* of operations, and not late */
    size_t n_owed;
    uint16_t *heap; /* the first n: taken slots, the one due first at the top; then the free ones */
    struct dht_transaction *block[DHT_TRANSACTIONS_MAX / DHT_TRANSACTIONS_BLOCK];
};

void dht_transactions_init(struct dht_transactions *all, uint64_t seed);
void dht_transactions_fini(struct dht_transactions *all);

/**
 * A new one with its id in `tid`; the caller fills the rest, and gives it its time.  NULL when too many are in the air.  It
 * stays where it is until it is closed.
 */
struct dht_transaction *dht_transactions_open(struct dht_transactions *all, uint8_t tid[DHT_TID_BYTES]);

/** Sets its deadlines. */
void dht_transactions_time(struct dht_transactions *all, struct dht_transaction *t, uint64_t soft_us, uint64_t hard_us);

/** It is an operation's. */
void dht_transactions_walk(struct dht_transactions *all, struct dht_transaction *t);

/** It should be repeated, but not yet; or, with false, no longer. */
void dht_transactions_owe(struct dht_transactions *all, struct dht_transaction *t, bool is_owed);

/** The one that is owed and has waited longest, or NULL. */
struct dht_transaction *dht_transactions_owed(const struct dht_transactions *all);

/** From now on it is late, and waits to be lost. */
void dht_transactions_late(struct dht_transactions *all, struct dht_transaction *t);

/** The one an answer belongs to, or NULL. */
struct dht_transaction *dht_transactions_match(struct dht_transactions *all, struct dht_span tid, const struct addr *from);

void dht_transactions_close(struct dht_transactions *all, struct dht_transaction *t);

/** Closes what else an operation has in the air in this role to this address: the question was answered. */
void dht_transactions_settle(struct dht_transactions *all, uint64_t operation, enum dht_role role, const struct addr *addr);

/** The first one that is late or lost at `now_us`, or NULL. */
struct dht_transaction *dht_transactions_overdue(struct dht_transactions *all, uint64_t now_us);

/** When dht_transactions_overdue() has the next one; IO_NEVER for none. */
uint64_t dht_transactions_deadline(const struct dht_transactions *all);

/** Bytes allotted. */
size_t dht_transactions_memory(const struct dht_transactions *all);

#endif
