/**
 * router/state.h - the inside of a router, shared by the files of router/ alone.
 *
 * peer.c keeps links, directory.c the map from experts to peers, exchange.c the calls, balance.c the biases, router.c events.
 */
#ifndef ROUTER_STATE_H
#define ROUTER_STATE_H

#include "base/log.h"
#include "router/router.h"

#define ROUTER_CLAIMS_MAX 4       /* claimants remembered per expert; more than two is a quarrel that settles by itself */
#define ROUTER_REFRESH_US 500000u /* between reads of the directory at the least */

enum peer_state {
    PEER_IDLE,    /* no link; dial at retry_us */
    PEER_DIALING, /* waiting for IO_LINK_UP */
    PEER_HELLO,   /* linked, our hello sent, theirs awaited */
    PEER_READY,
    PEER_LOCAL /* a host in this process */
};

struct peer {
    struct peer_id id;
    struct addr addr;
    uint64_t seq; /* of the directory entry that named the address */
    enum peer_state state;
    io_link link;
    uint64_t since_us; /* in this state */
    uint64_t dialled_us;
    uint64_t retry_us, backoff_us;
    bool has_greeted;          /* ever: not just an address that somebody wrote down */
    bool is_refused;           /* it or we found that the two do not fit: news of it change nothing */
    uint64_t suspect_until_us; /* it let a deadline pass: not asked before this */
    uint64_t suspect_us;       /* the next such pause */
    bool is_on_trial;          /* it has not answered since: one call at a time */
    uint64_t forgiven_us;      /* when a new link last ended that */
    unsigned n_useless;        /* replies since one that had something in it */
    bool is_given_up;          /* it let a trial pass, too: its link is closed at the next tick */
    uint64_t rtt_us;           /* of calls, smoothed */
    uint64_t distance_us;      /* shortest round trip of its dials */
    uint64_t heard_us;         /* when anything last came from it */
    enum message_hardware hardware;
    size_t n_claims; /* experts it claims; 0: no need for a link */
};

struct claim {
    uint32_t peer_i;
    uint8_t epoch;
    uint32_t version, load;
    uint64_t expiry_us; /* of the entry that said so */
};

struct target {
    size_t n_claims;
    struct claim claim[ROUTER_CLAIMS_MAX];
    int32_t peer_i;       /* the claimant that is asked, -1 for none */
    uint64_t load;        /* newest counter of accepted token-slots */
    uint64_t load_before; /* at the last balance */
    bool has_load, has_load_before;
};

struct router {
    struct router_config config;
    const struct io *io;
    struct dht *dht;
    uint64_t now_us;

    size_t n_peers;
    struct peer *peer; /* ROUTER_PEERS_MAX */

    struct target *target; /* (n_moe, E) */
    uint8_t *allowed;      /* (n_moe, E) */
    float *bias;           /* (n_moe, E) */
    size_t n_live;

    uint32_t n_rows;   /* directory rows of all layers */
    uint32_t next_row; /* the one read last while every expert had a host */
    uint32_t n_reads_open;
    uint64_t refresh_us;  /* next directory read */
    uint64_t read_us;     /* the last one */
    uint64_t missing_us;  /* pause before the next while an expert has no host */
    uint64_t read_all_us; /* the last one of all rows */
    struct row_read {
        struct router *router;
        uint32_t moe, row;
    } * row_read; /* n_rows, the callbacks' arguments */

    struct exchange *exchange[ROUTER_EXCHANGES_MAX];
    uint64_t sequence; /* of calls */
    struct buf scratch;
    struct message_group *group; /* MESSAGE_GROUPS_MAX, for decoding */

    void (*local_send)(void *arg, struct buf *message);
    void *local_arg;

    struct router_stats stats;
    uint64_t rtt_sum_us, n_rtts; /* smoothed over calls */
    char refusal[MESSAGE_TEXT_MAX + 1];
    struct log_limit strangers; /* lines that any peer can cause */
};

/* peer.c */
int router_peer_find(struct router *router, const struct peer_id *id); /* -1 when unknown */
int router_peer_add(struct router *router, const struct peer_id *id);  /* -1 when full */
int router_peer_of_link(const struct router *router, io_link link);
bool router_peer_can_be_asked(const struct router *router, const struct peer *peer);
/** Dials whoever is due, and leaves those that never greet. */
void router_peer_tick(struct router *router);
/** Closes a link for a breach of the protocol; its place is asked again much later. */
void router_peer_leave(struct router *router, int peer_i);
/** A newer entry of the peer was read: it lives, so it is dialled soon. */
void router_peer_is_alive(struct router *router, int peer_i);
/** A call goes to the peer and will be waited for until `deadline_us`. */
void router_peer_asked(struct router *router, struct peer *peer, uint64_t deadline_us);
void router_peer_up(struct router *router, const struct io_event *event);
void router_peer_down(struct router *router, const struct io_event *event);
void router_peer_greet(struct router *router, int peer_i, const uint8_t *bytes, size_t n);
void router_peer_refuse(struct router *router, int peer_i, const uint8_t *bytes, size_t n);
void router_peer_answered(struct router *router, struct peer *peer, uint64_t rtt_us);
void router_peer_missed(struct router *router, struct peer *peer);
void router_peer_useless(struct router *router, struct peer *peer); /* it replied, with nothing to go on with */
void router_peer_send(struct router *router, struct peer *peer, struct buf *message, bool is_urgent);
uint64_t router_peer_deadline(const struct router *router);

/* directory.c */
void router_directory_tick(struct router *router);
void router_directory_choose(struct router *router);             /* again, after anything changed */
void router_directory_forget(struct router *router, int peer_i); /* all its claims */
void router_directory_not_here(struct router *router, uint32_t moe, uint32_t expert, int peer_i);

/* exchange.c */
void router_exchange_reply(struct router *router, int peer_i, const uint8_t *bytes, size_t n);
void router_exchange_peer_lost(struct router *router, int peer_i);
void router_exchange_peer_ready(struct router *router, int peer_i);
void router_exchange_tick(struct router *router);
uint64_t router_exchange_deadline(const struct router *router);

/* balance.c */
void router_balance_hear(struct router *router, uint32_t moe, uint32_t expert, uint64_t load);

#endif
