/**
 * cmd/sim_dht.h - the scenario dht: a swarm of real DHT nodes in a made-up internet, what they write, and what reads of it cost.
 *
 * sim_dht_swarm.c has the nodes, sim_dht_lie.c those that lie, sim_dht_churn.c those that come and go, sim_dht_reads.c the reads and
 * their figures, sim_dht.c the story.
 * On the way every datagram is held to the rule of three bytes for one, and every entry read to its expiry.
 */
#ifndef CMD_SIM_DHT_H
#define CMD_SIM_DHT_H

#include "cmd/sim.h"
#include "dht/dht.h"

#define SIM_DHT_SECOND_US ((uint64_t)1000000)
#define SIM_DHT_RECORDS_MAX 500
#define SIM_DHT_RECORD_BYTES 64
#define SIM_DHT_LIARS_NAMED 8

struct sim_dht_swarm;

struct sim_dht_peer {
    struct sim_dht_swarm *swarm;
    struct world_node *node;
    struct dht *dht; /* NULL: not started, or gone */
    uint64_t seed;
    size_t n_joins;   /* addresses it is told, drawn from earlier nodes */
    bool is_newcomer; /* reads only, and stands in no table */
    bool is_liar;     /* see sim_dht_lie.c */
    unsigned life;    /* how many had this place before */
    uint64_t born_us;
    size_t n_reading, n_begun; /* reads while nodes come and go: now, and ever */
    unsigned row;              /* of reads in which it took part last */
    const struct addr *from;   /* who spoke last, and */
    size_t n_asked;            /* with how many bytes; 0: with a token, or not at all */
};

/** One entry under a key of its own. */
struct sim_dht_record {
    struct sim_dht_swarm *swarm;
    struct dht_id key;
    struct sim_dht_peer *writer; /* NULL: gone, and another has its place */
    struct peer_id writer_id;
    uint64_t written_us;
    uint8_t bytes[SIM_DHT_RECORD_BYTES];
    bool is_lost; /* nobody who is left has it or would write it again */
};

/** A liar's place among liars, for sim_dht_lie.c. */
struct sim_dht_liar {
    struct dht_id id;
    struct addr addr;
};

/** What nodes did so far, those that are gone among them. */
struct sim_dht_totals {
    uint64_t n_asked, n_unanswered;
    uint64_t n_sent, n_sent_bytes; /* datagrams */
};

struct sim_dht_swarm {
    struct sim_run *run;
    struct world *world;
    struct rng rng; /* who joins whom, who reads what, who leaves */
    struct sim_dht_peer *peer;
    size_t n, n_nodes, capacity; /* newcomers stand behind the n_nodes others */
    size_t n_alive;              /* of the n_nodes */
    struct sim_dht_record *record;
    size_t n_records;
    struct sim_dht_liar *liar; /* ordered by id */
    size_t n_liars;
    unsigned n_rows;
    uint32_t n_keys;               /* that had a record so far */
    struct sim_dht_totals so_far;  /* questions: of those that are gone */
    size_t n_amplified, n_overdue; /* rules broken */
    uint64_t churn_end_us;         /* nobody leaves by himself after this */
    size_t n_went;
    int err; /* why somebody who should have come did not */
};

/** Fifty, ninety and ninety-nine in a hundred took no longer. */
struct sim_dht_times {
    uint64_t p50_us, p90_us, p99_us;
};

struct sim_dht_reads {
    size_t n, n_found, n_lost; /* lost ones are not among the n */
    double hops_mean;          /* questions one after the other until the first who had it had answered, or a liar who forged */
    unsigned hops_max;
    double questions;                                        /* of a read, in all */
    struct sim_dht_times first, whole, newcomers, residents; /* the latter two: first values of those readers */
    uint32_t first_ms[101];                                  /* quantiles in percent, for the plot */
};

/** While nodes come and go. */
struct sim_dht_churn {
    struct sim_dht_reads here;                  /* of records whose writers are there until the read has ended, */
    struct sim_dht_reads left;                  /* and whose writers are not; lost are those that no node has any more */
    size_t n_went, n_broken;                    /* nodes that left; reads that their readers left behind */
    double sent, sent_bytes;                    /* datagrams a node a second, and their bytes */
    double unanswered;                          /* share of the questions */
    size_t bytes_before, bytes_after;           /* what a node has, by dht_memory() */
    size_t heap_bytes_before, heap_bytes_after; /* of this machine's heap, all together */
};

/** Records of each side. */
struct sim_dht_chase {
    size_t n, n_found, n_lost;
    uint64_t last_us; /* until the last was found */
};

struct sim_dht_figures {
    struct sim_dht_reads fresh, stale;
    struct sim_dht_churn churn;
    struct sim_dht_chase leave, parted, heal; /* parted: what is found in a partition's last seconds */
    size_t heap_bytes;                        /* a node, of this machine's heap */
};

/** Plays it and fills in the figures; what sim_play_dht() does with its options. */
int sim_dht_measure(struct sim_run *run, struct sim_dht_figures *out);

/* sim_dht_swarm.c */
int sim_dht_swarm_new(struct sim_run *run, struct sim_dht_swarm **out);
void sim_dht_swarm_free(struct sim_dht_swarm *s);
/** Lets `n_nodes` join one after the other, faster and faster. */
int sim_dht_swarm_grow(struct sim_dht_swarm *s);
/** Readers that stand in no table, all within two seconds. */
int sim_dht_swarm_add_newcomers(struct sim_dht_swarm *s, size_t n);
/** One record each from honest nodes. */
void sim_dht_swarm_publish(struct sim_dht_swarm *s);
/** So many of the living nodes vanish at once. */
void sim_dht_swarm_kill(struct sim_dht_swarm *s, size_t n);
void sim_dht_swarm_pass(struct sim_dht_swarm *s, uint64_t us);
/** An honest living node. */
struct sim_dht_peer *sim_dht_swarm_draw(struct sim_dht_swarm *s);
/** A node leaves without a word and for good, and a newcomer gets its place: another key, another address, and a few nodes to join. */
void sim_dht_swarm_replace(struct sim_dht_peer *peer);
/** Makes the record a new one: another key, another writer.  It is written when sim_dht_swarm_write() is called with it. */
void sim_dht_swarm_renew(struct sim_dht_swarm *s, struct sim_dht_record *record);
void sim_dht_swarm_write(void *record, uint64_t now_us);
struct sim_dht_totals sim_dht_swarm_totals(const struct sim_dht_swarm *s);
/** What a node has on average, by dht_memory(). */
size_t sim_dht_swarm_memory(const struct sim_dht_swarm *s);
/** True when a living honest node can give out what stands under the key. */
bool sim_dht_swarm_holds(const struct sim_dht_swarm *s, const struct dht_id *key);
/** Which of the sides of a partition a node is on. */
uint32_t sim_dht_side(const struct sim_dht_peer *peer, uint32_t n_sides);
/**
 * Notes which records nobody can give out any more, or not for as long as they are looked for (or, with `by_writers`, nobody would write
 * again either).
 */
size_t sim_dht_swarm_count_lost(struct sim_dht_swarm *s, bool by_writers);

/* sim_dht_lie.c */
/** So many nodes turn: from now on they know each other. */
void sim_dht_corrupt(struct sim_dht_swarm *s, size_t n);
/** True when the datagram was a question, which is answered with a lie. */
bool sim_dht_lie(struct sim_dht_peer *peer, const struct io_event *event);

/* sim_dht_churn.c */
/** Has nodes come and go, and others read meanwhile. */
int sim_dht_churn(struct sim_dht_swarm *s, struct sim_dht_churn *out);

/* sim_dht_reads.c */
#define SIM_DHT_READ_US (9 * SIM_DHT_SECOND_US) /* longer than any read may take */

/** One read, from its question to its result. */
struct sim_dht_look {
    struct sim_dht_swarm *swarm;
    struct sim_dht_peer *reader;
    unsigned reader_life;
    bool is_newcomer;                   /* the reader */
    const struct sim_dht_record *place; /* of what is read, which may change meanwhile, */
    struct sim_dht_record what;         /* and which was this when the read began */
    struct dht_stats before;
    uint64_t start_us, first_us, whole_us; /* the latter two: how long it took */
    unsigned n_hops, n_questions;
    bool is_done, is_found;
    bool is_left;   /* the writer had gone before it ended */
    bool is_mixed;  /* the reader read something else meanwhile: its counters tell of both */
    size_t n_begun; /* of the reader */
    /* of a chase: read again, by another reader of that side, until it is found */
    uint64_t until_us;
    uint32_t n_sides, side;
    void (*over)(struct sim_dht_look *look); /* hears that it is done; may be NULL */
};

/** Begins the read `look`, whose reader and record are set: for world_at(). */
void sim_dht_look_begin(void *look, uint64_t now_us);
/** Figures of `n` reads; `us` is scratch for as many times. */
void sim_dht_looks_sum(const struct sim_dht_look *look, size_t n, uint64_t *us, struct sim_dht_reads *out);
/** A row of cold reads, half by newcomers and half by nodes, within `within_us`. */
int sim_dht_reads_row(struct sim_dht_swarm *s, uint64_t within_us, struct sim_dht_reads *out);
/**
 * Reads every record that is not lost, from a node of each side, and where it is not found again and again from others, until it is or
 * `limit_us` has passed.
 */
int sim_dht_reads_chase(struct sim_dht_swarm *s, uint32_t n_sides, uint64_t limit_us, struct sim_dht_chase *out);

#endif
