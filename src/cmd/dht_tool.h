/**
 * cmd/dht_tool.h - what the commands of `hanse dht` share: their options, a node that only asks, and the loop around it.
 *
 * A command sets `step` and `arg` and calls dht_tool_run(): step() runs after every event and whenever `wake_us` has come, and says
 * by dht_tool_end() that it is done.  The node is read-only (BEP 43) and knows nobody: whom to ask is the command's business
 * (dht/probe.h), so that it sees the network as it is, not as our own tables would filter it.
 */
#ifndef CMD_DHT_TOOL_H
#define CMD_DHT_TOOL_H

#include <jansson.h>

#include "base/random.h"
#include "cmd/options.h"
#include "dht/dht.h"
#include "dht/probe.h"
#include "net/net.h"

#define DHT_TOOL_NOTHING 1 /* exit status: nobody answered, or what was asked for is not there */
#define DHT_TOOL_JOIN_MAX 64
#define DHT_TOOL_ANSWER_US 2000000u

/** Start from dht_tool_defaults(). */
struct dht_tool_options {
    struct options_texts join;
    const char *key_dir;
    bool is_json;
    double timeout_s;
};

#define DHT_TOOL_ROW_JOIN(o)                                                                                                     \
    {                                                                                                                            \
        "join", "HOST:PORT", OPTIONS_TEXTS, &(o).join,                                                                           \
            "a node to start from; may be repeated (default: ports 4100 to 4131 of this machine)", 0, 0, false                   \
    }
#define DHT_TOOL_ROW_JSON(o)                                                                                                     \
    {                                                                                                                            \
        "json", NULL, OPTIONS_FLAG, &(o).is_json, "print one JSON document, for programs", 0, 0, false                           \
    }
#define DHT_TOOL_ROW_TIMEOUT(o, what)                                                                                            \
    {                                                                                                                            \
        "timeout", "S", OPTIONS_DOUBLE, &(o).timeout_s, what, 0, 0, false                                                        \
    }
#define DHT_TOOL_ROW_KEY(o, what)                                                                                                \
    {                                                                                                                            \
        "key", "DIR", OPTIONS_TEXT, &(o).key_dir, what, 0, 0, false                                                              \
    }

struct dht_tool {
    struct dht_tool_options options;
    struct key *key;
    struct net *net;
    const struct io *io;
    struct dht *dht;
    struct rng rng;
    struct addr join[DHT_TOOL_JOIN_MAX];
    size_t n_join;
    void (*step)(struct dht_tool *tool, uint64_t now_us);
    /* What happens to links, and whether it was the DHT's own affair; or NULL. */
    void (*link)(struct dht_tool *tool, uint64_t now_us, const struct io_event *event, enum dht_link_use use);
    void *arg;
    uint64_t wake_us; /* when step() wants to run though nothing happened; IO_NEVER */
    uint64_t start_us, timeout_us;
    bool is_over, is_interrupted;
    int err;
};

/** How a command wants its node. */
struct dht_tool_wish {
    struct addr listen; /* family 0: any port */
    bool serves;        /* answers others */
    bool needs_join;    /* --join, or its default */
};

struct dht_tool_options dht_tool_defaults(double timeout_s);

/** False, with the reason on stderr, when a value is out of range. */
bool dht_tool_check(const struct options_usage *usage, const struct dht_tool_options *options);

/** True when `text` is a host or address and a port; names are not looked up. */
bool dht_tool_is_address(const char *text);

/**
 * Reads "192.0.2.7:6881", "[::1]:6881" or "name:6881", whose addresses are looked up; writes up to `max` of them and returns
 * how many; 0 with the reason logged.
 */
size_t dht_tool_resolve(const char *text, struct addr *out, size_t max);

/**
 * Reads an id of 40 hex digits; of any other text it is the SHA-1, and *is_text is set.  0, or an exit status with the reason
 * said for what looks like an id that is too short or too long.
 */
int dht_tool_read_id(const struct options_usage *usage, const char *text, struct dht_id *out, bool *is_text);

/** Opens key, network and node; every error is logged.  dht_tool_close() takes a half-opened one, too. */
HANSE_MUST_USE int dht_tool_open(struct dht_tool *tool, const struct dht_tool_options *options, const struct dht_tool_wish *wish);
void dht_tool_close(struct dht_tool *tool);

/** Runs until dht_tool_end(), whose error it returns; Ctrl-C ends it too, with is_interrupted set and 0 returned. */
int dht_tool_run(struct dht_tool *tool);
void dht_tool_end(struct dht_tool *tool, int err);

/**
 * Says that none of the nodes to start from answered, or that one refused to, and returns DHT_TOOL_NOTHING; or that somebody
 * interrupted before, and returns the status of that.
 */
int dht_tool_explain_nobody(const struct dht_tool *tool);

/** Prints a document and lets go of it; returns an error code. */
HANSE_MUST_USE int dht_tool_print_json(json_t *document);

/** Sets a key of an object to a text that is printf-formatted, or to null. */
void dht_tool_json_text(json_t *object, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));

/** Whether an id fits its address (BEP 42): true, false, or null for a local one, which no id needs to fit. */
json_t *dht_tool_fit_json(const struct dht_id *id, const struct addr *addr);

/** The addresses are of one family, or DHT_WANT_4 | DHT_WANT_6. */
unsigned dht_tool_want(const struct dht_tool *tool);

/** The exit status of a command that ended with `err`, or found nothing; who could not be reached counts as nothing. */
int dht_tool_status(int err, bool has_found);

#endif
