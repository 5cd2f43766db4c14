/**
 * dht/krpc.h - one KRPC message (BEP 5 with 32, 42, 43, 44 and our hanse_get, hanse_put) as a plain struct.
 *
 * The same struct is read and written; a field that is absent is zero.  Reading checks every length and range, so that a
 * message which decodes is well formed; which fields a method needs is the caller's business.  Spans point into the
 * datagram.  doc/protocol.md has the tables.
 */
#ifndef DHT_KRPC_H
#define DHT_KRPC_H

#include "dht/bencode.h"
#include "dht/entry.h"

#define DHT_TID_MAX 32      /* longest transaction id that we echo */
#define DHT_TOKEN_MAX 39    /* longest write token that we keep; libtorrent's has 4 bytes, ours 8 */
#define DHT_CURSOR_BYTES 32 /* a page of the directory ends at a writer */
#define DHT_NODES_MAX 16    /* nodes taken from one reply, per family */
#define DHT_MESSAGE_PEERS_MAX 64
#define DHT_WANT_4 1u
#define DHT_WANT_6 2u

enum dht_kind { DHT_QUERY = 'q', DHT_REPLY = 'r', DHT_ERROR = 'e' };

enum dht_method {
    DHT_METHOD_UNKNOWN,
    DHT_PING,
    DHT_FIND_NODE,
    DHT_GET_PEERS,
    DHT_ANNOUNCE_PEER,
    DHT_GET,
    DHT_PUT,
    DHT_HANSE_GET,
    DHT_HANSE_PUT
};

/** Error codes on the wire. */
enum {
    DHT_ERROR_GENERIC = 201,
    DHT_ERROR_SERVER = 202,
    DHT_ERROR_PROTOCOL = 203, /* also a bad token */
    DHT_ERROR_METHOD = 204,
    DHT_ERROR_V_SIZE = 205,
    DHT_ERROR_SIGNATURE = 206,
    DHT_ERROR_SALT_SIZE = 207,
    DHT_ERROR_CAS = 301,
    DHT_ERROR_SEQ = 302
};

struct dht_message {
    enum dht_kind kind;
    enum dht_method method; /* of a query */
    struct dht_span tid;
    bool is_read_only;       /* BEP 43 "ro" */
    bool is_ours;            /* "v" starts with HN */
    struct dht_span version; /* "v" as it came; encoding writes ours */
    bool has_id;             /* always, but in errors */
    struct dht_id id;
    struct addr ip; /* BEP 42: how the answering node sees us; family 0: not said */

    bool has_target; /* "target" or "info_hash" */
    struct dht_id target;
    unsigned want; /* DHT_WANT_... or 0 */
    struct dht_span token;
    bool is_implied_port;
    uint16_t port;
    struct dht_span k, salt, signature, v; /* BEP 44; `v` still bencoded */
    bool has_seq, has_cas;
    uint64_t seq, cas;
    struct dht_span cursor;  /* query: only what follows this writer; reply: more follows it */
    struct dht_span entries; /* signed directory entries, one after the other */
    bool has_max;
    unsigned max;            /* entries wanted at most */
    bool is_digest;          /* query: digests, not entries */
    struct dht_span tags;    /* query: entries of just these writers, DHT_TAG_BYTES each */
    struct dht_span digests; /* reply: DHT_DIGEST_BYTES an entry */
    bool has_n;
    unsigned n;   /* reply: live entries under the key at this holder */
    size_t n_pad; /* bytes that only make the request long enough for its answer */

    struct dht_span nodes, nodes6; /* compact: 26 and 38 bytes each, whole */
    int error;                     /* of an error, and what the node says about it */
    struct dht_span error_text;

    size_t n_peers;
    struct addr peer[DHT_MESSAGE_PEERS_MAX]; /* the first n_peers; they stand last, for reading leaves the others as they were */
};

/** HANSE_EPROTO when it is no KRPC message.  A query with an unknown method decodes, as DHT_METHOD_UNKNOWN. */
HANSE_MUST_USE int dht_krpc_decode(struct dht_message *m, const void *bytes, size_t n);

/** Writes up to `max` bytes; returns how many, or 0 when they do not suffice. */
size_t dht_krpc_encode(const struct dht_message *m, void *out, size_t max);

/** The sentence that goes with an error code. */
const char *dht_krpc_error_text(int error);

/** Compact node info (BEP 5, 32): the id and the compact address.  Writes 26 or 38 bytes and returns how many. */
size_t dht_krpc_node_put(uint8_t out[38], const struct dht_id *id, const struct addr *addr);

/** Reads node `i` of a span of family 4 or 6; false past the last one, or when it could not be reached anyhow. */
bool dht_krpc_node(struct dht_span nodes, int family, size_t i, struct dht_id *id, struct addr *addr);

#endif
