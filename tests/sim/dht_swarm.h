/**
 * tests/sim/dht_swarm.h - many DHT nodes in one process under a virtual clock, for tests of dht/ alone.
 *
 * Datagrams take a drawn time, or get lost; everything follows from one seed, and a hash over all that happened proves it.
 * On the way every answer is held to the rule of three bytes for one; one that breaks it ends the test.
 */
#ifndef TESTS_SIM_DHT_SWARM_H
#define TESTS_SIM_DHT_SWARM_H

#include "dht/dht.h"

#define SWARM_EPOCH_US 1767225600000000u
#define SECOND_US ((uint64_t)1000000)

struct swarm_config {
    uint64_t seed;
    uint64_t delay_min_us, delay_spread_us; /* one way, uniform */
    unsigned loss_percent;
    uint64_t service_us, backlog_us; /* as of swarm_squeeze() */
    bool is_public;                  /* addresses all over the internet instead of in 10/8 */
};

struct swarm;

struct swarm_node {
    struct swarm *swarm;
    size_t i;
    struct addr addr;
    struct io io;
    struct key *key;
    struct dht *dht; /* NULL: gone, silently */
    uint64_t tick_us;
    bool is_liar, is_mute, names_nobody, is_full;
};

struct swarm *swarm_new(const struct swarm_config *config);
void swarm_free(struct swarm *swarm);

/** Another node; it has joined nobody yet. */
struct swarm_node *swarm_add(struct swarm *swarm, bool is_read_only);
struct swarm_node *swarm_node(struct swarm *swarm, size_t i);
size_t swarm_n(const struct swarm *swarm);

/** Takes a node away without a word. */
void swarm_kill(struct swarm_node *node);

/**
 * From now on the node answers every question with the liars nearest to its target and nothing else, and what it is given to
 * store it forgets.  It goes on asking and pinging like the others, so that it stays in their tables.
 */
void swarm_corrupt(struct swarm_node *node);

/** From now on the node answers pings, and find_node when it `names_nobody`, but nothing else; it goes on asking like the others. */
void swarm_mute(struct swarm_node *node, bool names_nobody);

/** From now on the node refuses entries of the directory, as one that has no room; or takes them again. */
void swarm_fill(struct swarm_node *node, bool is_full);

/** Calls dht_join(). */
void swarm_join(struct swarm_node *node, const struct addr *addr);

/** `n` nodes, one every `gap_us`, each knowing one of the earlier ones. */
void swarm_grow(struct swarm *swarm, size_t n, uint64_t gap_us);

uint64_t swarm_now(const struct swarm *swarm);
void swarm_run(struct swarm *swarm, uint64_t for_us);

/** Lets a node that was called from outside say when it wants to be woken. */
void swarm_touch(struct swarm_node *node);

/** Hands a node bytes as if they came from `from`; answers to addresses of nobody are counted in swarm_stray(). */
void swarm_inject(struct swarm_node *node, const struct addr *from, const void *bytes, size_t n);
size_t swarm_n_stray(const struct swarm *swarm);
/** The latest stray datagram, and where it went. */
size_t swarm_stray(const struct swarm *swarm, uint8_t out[1500]);
struct addr swarm_stray_to(const struct swarm *swarm);

struct hash swarm_trace(struct swarm *swarm);
uint64_t swarm_n_datagrams(const struct swarm *swarm);

/** From now on all nodes share a machine that takes so long for a datagram, and loses what would wait longer; 0: they do not. */
void swarm_squeeze(struct swarm *swarm, uint64_t service_us, uint64_t backlog_us);
/** Datagrams that the machine lost. */
uint64_t swarm_n_dropped(const struct swarm *swarm);

/** Publishes `text` under `key` from a node. */
void swarm_publish(struct swarm_node *node, const struct dht_id *key, const char *text);

/** Reads a key and runs until it is there. */
struct swarm_read {
    bool is_done;
    size_t n, n_asked;
    uint64_t took_us;
    struct dht_entry entry[64];
};
void swarm_read(struct swarm_node *node, const struct dht_id *key, struct swarm_read *out);
bool swarm_has(const struct swarm_read *read, const struct swarm_node *writer, const char *text);

#endif
