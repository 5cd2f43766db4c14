/**
 * cmd/dht_walk.h - a walk to a key as a tool makes it: it begins at the addresses the user named, and remembers what each node
 * said, how far it was, and what became of a write.
 * Maymounkov and Mazieres, "Kademlia", 2002, section 2.3.
 *
 * Unlike the walk of a node (dht/lookup.h) it leaves nobody out: ids that do not fit their address and neighbours of one subnet
 * are what its user may be looking for.  Four questions of a family are in the air; who is late is asked once more and holds up
 * nobody.  It is over when of each family the eight nearest that are not lost have answered and have been written to.
 */
#ifndef CMD_DHT_WALK_H
#define CMD_DHT_WALK_H

#include "cmd/dht_tool.h"

#define DHT_WALK_NODES_MAX 256
#define DHT_WALK_TOKEN_MAX 64
#define DHT_WALK_VERSION_MAX 16
#define DHT_WALK_PAD_ITEM 360 /* nodes of ours answer with three bytes for each of the question's at most */

enum dht_walk_state {
    DHT_WALK_NEW,
    DHT_WALK_ASKED,
    DHT_WALK_LATE,
    DHT_WALK_ANSWERED,
    DHT_WALK_REFUSED, /* with an error */
    DHT_WALK_SILENT
};

struct dht_walk_node {
    struct dht_id id;
    bool has_id; /* nobody told us the id of an address to start from */
    struct addr addr;
    enum dht_walk_state state;
    unsigned hops;                /* answers that led here */
    unsigned n_in_air;            /* questions */
    bool was_asked_way, owes_way; /* its item left no room for nodes: it is asked for them besides */
    uint64_t late_us;
    uint32_t rtt_us;
    uint8_t version[DHT_WALK_VERSION_MAX];
    size_t n_version;
    uint8_t token[DHT_WALK_TOKEN_MAX];
    size_t n_token;
    int error;
    uint64_t n_found;  /* for whoever hears: peers, items */
    unsigned n_writes; /* sent */
    bool is_writing, is_stored;
    int write_error;
};

struct dht_walk {
    struct dht_tool *tool;
    struct dht_id target;
    struct dht_message question, write;
    size_t n;
    struct dht_walk_node node[DHT_WALK_NODES_MAX]; /* nearest first; without an id last */
    size_t n_messages, n_answers, n_in_air, n_renamed;
    uint64_t start_us, end_us;
    bool is_writing;
    bool is_complete; /* else its time ran out, or it was interrupted */
    void (*heard)(void *arg, struct dht_walk_node *node, const struct dht_message *m); /* an answer; or NULL */
    bool (*arrived)(void *arg); /* true, with `write` filled in, when the nearest are to be written to; or NULL */
    void *arg;
};

/** A walk from tool->join to `target` that asks everybody `method`: DHT_FIND_NODE, DHT_GET_PEERS or DHT_GET. */
void dht_walk_init(struct dht_walk *walk, struct dht_tool *tool, enum dht_method method, const struct dht_id *target);

/** Walks, and writes, until it is over or the tool's timeout has come.  0, or an exit status with the reason said. */
int dht_walk_run(struct dht_walk *walk);

/** Goes on; dht_walk_run() calls it.  True when it is over. */
bool dht_walk_step(struct dht_walk *walk, uint64_t now_us);

/** Points `out` to the up to `max` nearest nodes of a family that answered; returns how many. */
size_t dht_walk_closest(struct dht_walk *walk, int family, struct dht_walk_node **out, size_t max);

/**
 * Takes the item out of an answer to DHT_GET; `salt` is NULL or the item's.  HANSE_ENOENT when there is none in it, HANSE_EREJECT
 * for one of another target or without a good signature.
 */
HANSE_MUST_USE int dht_walk_item(const struct dht_walk *walk, const struct dht_message *m, const char *salt,
                                 struct dht_item *out);

/** Nodes that took what was written, or refused it with this error. */
size_t dht_walk_n_stored(const struct dht_walk *walk);
size_t dht_walk_n_refused(const struct dht_walk *walk, int error);

/** As dht_tool_status(); but whoever interrupts a walk knows neither that something is there nor that nothing is. */
int dht_walk_status(const struct dht_walk *walk, int err, bool has_found);

/** Prints what the walk took, "12 of 15 nodes answered; 18 questions, at most 3 hops, 0.42 s", and what cut it short. */
void dht_walk_print_cost(const struct dht_walk *walk);
json_t *dht_walk_cost_json(const struct dht_walk *walk);

/** Prints a line for each of the nearest, under a heading; or gives them as an array. */
void dht_walk_print_nodes(struct dht_walk *walk);
json_t *dht_walk_nodes_json(struct dht_walk *walk);

/** Prints how many stored, and why others did not, by error; or gives it as an object. */
void dht_walk_print_writes(struct dht_walk *walk);
json_t *dht_walk_writes_json(struct dht_walk *walk);

#endif
