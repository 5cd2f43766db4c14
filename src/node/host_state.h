/**
 * node/host_state.h - what the files of the host share; nobody else but their tests includes it.
 *
 * host.c has life, time and events; host_slot.c the experts and their queues; host_request.c a request from message to reply;
 * host_link.c who may ask; host_claim.c which experts are ours, and host_announce.c how the directory learns of it;
 * host_save.c checkpoints.  Loop thread only, but for what a piece of work holds while it runs: its slot's expert, the
 * items it took and their answers.  Of an expert that is being computed the loop reads `seen` instead.
 */
#ifndef NODE_HOST_STATE_H
#define NODE_HOST_STATE_H

#include "base/log.h"
#include "dht/dht.h"
#include "node/host.h"
#include "node/host_batch.h"
#include "node/host_kept.h"
#include "router/message.h"

#define HOST_LINK_BUCKETS 64

struct host_request;

/** One expert's group of a request on its way. */
struct host_item {
    struct batch_item batch; /* first: a batch is a list of these */
    struct host_request *request;
    struct host_item *twin;   /* a retry that waits for the same backward */
    struct kept_call *kept;   /* BACKWARD: where its answer is kept */
    struct kept_message *pin; /* the forward's message that holds x; NULL when x came along */
    bool is_queued;
};

static inline struct host_item *host_item_of(struct batch_item *batch)
{
    return (struct host_item *)batch;
}

struct host_request {
    struct host_request *next, *prev; /* of its link */
    struct host_link *link;           /* NULL: a call of host_request() */
    struct peer_id peer;
    uint64_t deadline_us;
    struct kept_message *message;
    struct message_request m;
    struct message_reply reply;
    struct buf answer;
    size_t n_bytes; /* message and answer, as its link accounts for them */
    size_t n_waiting;
    bool is_cancelled;
    struct buf *reply_to; /* of host_request(), else NULL */
    struct host_item *item;
    struct message_group group[]; /* shared by m and reply */
};

/** What an expert was like when it last rested. */
struct host_seen {
    uint64_t version, n_slots;
    uint32_t epoch;
    struct hash log_head;
};

/** The best claim of another host to an expert. */
struct host_rival {
    struct peer_id peer;
    uint32_t epoch, version;
    uint64_t until_us; /* when its entry expires; 0: never seen */
    bool is_live;      /* in the latest read of its row */
};

enum host_slot_state { SLOT_EMPTY, SLOT_BORN /* being made by a piece of work */, SLOT_HOSTED };

/** One expert of the run, hosted here or not. */
struct host_slot {
    uint16_t layer, index;
    uint8_t state;
    bool is_computing, is_ready, wants_copy, is_leaving;
    bool is_said;   /* the log said that we host it */
    bool is_broken; /* it could not be made: not tried again */
    struct expert *x;
    struct batch_item *first, *last;
    size_t n_slots; /* token-slots in the queue */
    struct host_slot *next_ready;
    struct host_seen seen;
    bool is_listed;         /* the user named it */
    bool has_checkpoint;    /* --experts auto: found on the disk at the start */
    struct hash saved_head; /* log head of its newest checkpoint; of version 0 nothing needs saving */
    struct host_rival rival;
    uint64_t used_us;       /* when it was last trained here; 0: not since we have it */
    uint64_t free_since_us; /* since when nobody claims it */
};

/** One row of the directory. */
struct host_row {
    struct host *host;
    uint32_t layer, row;
    struct dht_id key;
    bool is_published;
    bool is_first; /* its first store is under way */
    size_t n_bytes;
    uint8_t bytes[MESSAGE_CLAIMS_BYTES];
};

struct host_link {
    struct host_link *next; /* of its bucket */
    io_link id;
    struct peer_id peer;
    struct addr from;
    uint8_t role;     /* 0 before HELLO */
    uint64_t used_us; /* before HELLO: when it came, or was last asked for entries of the directory */
    uint64_t keep_us; /* when it came; once an expert answered it, until when it is kept for that */
    bool is_closing;
    struct host_request *request;
    size_t n_bytes; /* of requests on their way */
};

/** A piece of work and the memory it computes in, used again and again. */
struct host_work {
    struct io_work work;
    struct host_work *next;     /* of the idle */
    struct host_work *next_all; /* of all */
    struct host *host;
    struct host_slot *slot;
    struct batch_item *first;
    struct room room;
    size_t room_bytes;  /* of the room when it last rested */
    uint64_t rooms_now; /* of a birth: of all rooms */
    struct batch_counts counts;
    size_t n_slots;
    bool wants_copy;
    struct expert *copy;
    int err; /* of a birth; of a batch: its expert is lost */
};

enum host_phase {
    HOST_JOINING, /* waiting for somebody to answer */
    HOST_READING, /* the directory, for the first time */
    HOST_PUBLISHING,
    HOST_READY,
    HOST_STOPPING,
    HOST_STOPPED
};

struct host {
    struct host_config config;
    const struct io *io;
    const struct disk *disk;
    struct dht *dht;
    struct meeting *meeting; /* NULL: none */
    struct peer_id self;
    struct rng rng;
    uint64_t now_us, start_us,
        began_us; /* start: of the wait for others, which begins after the first visit to a meeting place */
    enum host_phase phase;
    bool is_auto;

    size_t n_slots; /* n_moe * experts */
    struct host_slot *slot;
    struct host_slot *first_ready, *last_ready;
    struct host_work *idle_work, *all_work; /* lists */
    size_t n_works;                         /* batches under way */
    size_t n_births;                        /* experts being made */

    struct kept kept;
    struct host_link *link[HOST_LINK_BUCKETS];
    uint64_t idle_us;                               /* when links without a greeting are looked through */
    struct host_link nowhere;                       /* has the requests whose link is gone */
    struct message_group group[MESSAGE_GROUPS_MAX]; /* for decoding */

    size_t n_rows;
    struct host_row *row;
    size_t n_reads;  /* rows being read */
    size_t next_row; /* the one read last while all was calm */
    bool is_run_published;
    size_t n_publishes;     /* rows whose first store is under way */
    bool has_nodes;         /* somebody answered in the DHT */
    uint64_t read_us;       /* when next; announced after each */
    unsigned n_quick_reads; /* reads soon after a change that are still to come */
    bool has_free;          /* experts that nobody claims */
    bool has_rivals;        /* other hosts are there */

    struct {
        struct io_work work;
        struct host_slot *slot; /* being copied or written; NULL: none */
        struct expert *copy;
        size_t next_i; /* slots from here on are still to be looked at in this round */
        bool is_round;
        int err;
        uint64_t next_us, time_us;
    } save;

    int lost;      /* HANSE_EDEVICE: the device failed */
    bool has_news; /* an expert was made that the log did not tell of */
    bool is_full;  /* there was no memory for another expert */
    uint64_t status_us, stop_us;
    bool is_last_save;             /* the round of saves that ends a stop has begun */
    struct host_stats stats, told; /* told: at the last status line */
    struct log_limit strangers;    /* lines that any peer can cause */
};

/* host_slot.c */
HANSE_MUST_USE int host_slots_new(struct host *host);
void host_slots_free(struct host *host);
struct host_slot *host_slot(struct host *host, uint32_t layer, uint32_t index);
/** Makes the expert in the calling thread, from its checkpoint when there is one. */
HANSE_MUST_USE int host_slot_make(struct host *host, struct host_slot *slot);
/** There was no memory for it: says so, once until there may be some. */
void host_slot_full(struct host *host, const struct host_slot *slot);
/** Makes it off the loop. */
void host_slot_bear(struct host *host, struct host_slot *slot);
/** Lets go of an expert; what waits for it is answered NOT_HERE. */
void host_slot_leave(struct host *host, struct host_slot *slot);
void host_slot_push(struct host *host, struct host_slot *slot, struct host_item *item);
void host_slot_unqueue(struct host_slot *slot, struct host_item *item);
/** The expert rests: looks at it, and does what waited for that. */
void host_slot_copy_wanted(struct host *host, struct host_slot *slot);
/** Answers all that waits with BUSY. */
void host_slots_refuse(struct host *host);
/** Hands out work while there is some and workers for it. */
void host_slots_start(struct host *host);
/** Computes all that is queued in the calling thread. */
void host_slots_run(struct host *host);
/** True when the work was one of ours. */
bool host_slots_done(struct host *host, struct io_work *work);
bool host_slot_is_changed(const struct host_slot *slot);
void host_slot_name(char out[32], const struct host_slot *slot);

/* host_request.c */
/** Takes in a FORWARD or BACKWARD.  0, also when parts were refused; HANSE_EPROTO when it is none. */
HANSE_MUST_USE int host_request_begin(struct host *host, struct host_link *link, const struct peer_id *peer, const void *bytes,
                                      size_t n, struct buf *reply_to);
/** An item is answered: its group's status is set. */
void host_item_done(struct host *host, struct host_item *item);
void host_request_cancel(struct host *host, struct host_link *link, uint64_t call);
/** The link is gone: forwards are dropped, backwards still applied. */
void host_request_orphan(struct host *host, struct host_link *link);
/** Frees what is on its way, when the host itself ends. */
void host_requests_free(struct host_link *link);

/* host_link.c */
void host_link_up(struct host *host, const struct io_event *event);
void host_link_down(struct host *host, const struct io_event *event);
void host_link_message(struct host *host, const struct io_event *event);
/** The DHT gave something on a link. */
void host_link_touch(struct host *host, io_link id);
/** Closes links whose peers neither greet nor ask the DHT anything. */
void host_links_tick(struct host *host);
uint64_t host_links_deadline(const struct host *host);
void host_links_free(struct host *host);

/* host_claim.c */
/** Reads all rows of the directory; once all is calm, the one whose turn it is. */
void host_claims_read(struct host *host);
/** Gives way to better claims, and takes what this host should have and nobody has. */
void host_claims_choose(struct host *host);
/** The directory is read soon, and again a little later: something changed. */
void host_claims_hurry(struct host *host);

/* host_announce.c */
HANSE_MUST_USE int host_rows_new(struct host *host);
void host_rows_free(struct host *host);
/** Publishes the rows whose claims changed; withdraws those without experts. */
void host_announce(struct host *host);
void host_withdraw(struct host *host);

/* host_save.c */
void host_save_tick(struct host *host);
uint64_t host_save_deadline(const struct host *host);
/** Begins to save all that changed; host_save_is_busy() until it is through. */
void host_save_all(struct host *host);
bool host_save_is_busy(const struct host *host);
/** 0 when every expert is on the disk as it is. */
HANSE_MUST_USE int host_save_verdict(const struct host *host);
/** The copy that was wanted of `slot`; takes it.  NULL: there was no memory. */
void host_save_copy(struct host *host, struct host_slot *slot, struct expert *copy);
bool host_save_done(struct host *host, struct io_work *work);

/* host.c */
/** A round of reads is through. */
void host_was_read(struct host *host);
/** The device failed: says so once, and stops. */
void host_lose(struct host *host);

#endif
