/**
 * router/message.h - what trainers and hosts say to each other over a link.  doc/protocol.md has the tables.
 *
 * Integers little-endian; floats as IEEE-754 bits.  Every field falls on a multiple of its own size from the start of the
 * message, so a message that is 8-byte aligned (base/io.h) can be used where it lies, without padding.  A decoder
 * checks every length before it uses it and every index against its range; what it returns points into the message and
 * lives as long.  A message is at most IO_MESSAGE_MAX, and so is the reply that a request can call for.
 */
#ifndef ROUTER_MESSAGE_H
#define ROUTER_MESSAGE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/wire.h"
#include "router/rows.h"

#define MESSAGE_VERSION 3 /* what is said, and what updates make of it: doc/numerics.md */
#define MESSAGE_GROUPS_MAX 1024
#define MESSAGE_ROWS_MAX (1u << 20)
#define MESSAGE_WIDTH_MAX (1u << 16) /* of a row */
#define MESSAGE_TEXT_MAX 512

enum message_kind {
    MESSAGE_HELLO = 1,
    MESSAGE_REFUSE = 2,
    MESSAGE_FORWARD = 3,
    MESSAGE_FORWARD_REPLY = 4,
    MESSAGE_BACKWARD = 5,
    MESSAGE_BACKWARD_REPLY = 6,
    MESSAGE_CANCEL = 7,
    MESSAGE_DIRECTORY_READ = 32, /* the DHT's, which takes them before anybody else: dht/bulk.h */
    MESSAGE_DIRECTORY_ENTRIES = 33,
};

enum message_role { ROLE_HOST = 1, ROLE_TRAINER = 2, ROLE_OBSERVER = 3 };

/** What became of one expert's part of a request. */
enum message_status {
    STATUS_OK = 0,
    STATUS_BUSY = 1,     /* refused at once: the queue is full */
    STATUS_NOT_HERE = 2, /* this host does not have the expert (any more) */
    STATUS_LATE = 3,     /* the deadline passed before it was computed */
    STATUS_GONE = 4,     /* the forward's rows were evicted: send them again */
    STATUS_REJECT = 5,   /* a number was not finite */
};

/** The kind of a message; 0 for an empty or unknown one. */
enum message_kind message_kind(const void *bytes, size_t n);

/* HELLO: u8 kind | u8 role | u16 version | 32 run        both ways, the first message on a link
 * These 36 bytes begin the HELLO of every version, so that both sides can name the versions that did not fit: for
 * another version than ours the decoder returns 0 and judges neither the role nor what follows. */
struct message_hello {
    uint8_t role;
    uint16_t version;
    struct hash run;
};
void message_hello_encode(const struct message_hello *m, struct buf *out);
HANSE_MUST_USE int message_hello_decode(struct message_hello *m, const void *bytes, size_t n);

/* REFUSE: u8 kind | u8 0 | u16 -err | text (UTF-8, at most MESSAGE_TEXT_MAX)       then the link is closed */
struct message_refuse {
    int err;
    char text[MESSAGE_TEXT_MAX + 1]; /* printable on arrival: control characters became '?' */
};
void message_refuse_encode(const struct message_refuse *m, struct buf *out);
HANSE_MUST_USE int message_refuse_decode(struct message_refuse *m, const void *bytes, size_t n);

/**
 * FORWARD and BACKWARD carry each row once, however many of the host's experts it goes to; a group names the rows of
 * one expert (its slots).  ROWS(n) are n rows of D in the form that the head names, as router/rows.h lays them out; form is an
 * enum numerics, and that of the run.
 *
 * FORWARD:  u8 kind | u8 flags (1: keep the rows for a backward) | u16 layer | u32 wait_ms | u64 call
 *           | u32 n_rows | u32 D | u16 n_groups | u8 form | u8 0
 *           | n_groups x { u16 expert | u16 0 | u32 n_slots } | all groups' slots: u32 row each | ROWS(n_rows) x
 * BACKWARD: u8 kind | u8 flags (1: the forward's rows follow) | u16 layer | u32 wait_ms | u64 call (the forward's)
 *           | u32 n_rows | u32 D | u16 n_groups | u8 form | u8 0 | f32 lr_scale
 *           | n_groups x { u16 expert | u16 0 | u32 n_slots | u64 version } | slots: u32 row each | slots: f32 weight each
 *           | ROWS(n_rows) gy | [ROWS(n_rows) x]
 *           the gradient of slot s is weight[s] * gy[row[s]]; a row is the same row as in the forward;
 *           version is that of the forward's reply
 */
struct message_group {
    uint16_t expert;
    uint32_t n_slots;
    uint64_t version;    /* BACKWARD: of the forward;  replies: the expert's */
    const uint32_t *row; /* n_slots, each < n_rows */
    const float *weight; /* BACKWARD only */
    /* replies only */
    uint8_t status;
    uint32_t staleness; /* BACKWARD_REPLY */
    uint64_t load;      /* token-slots ever accepted by the expert */
    struct rows values; /* n_slots when STATUS_OK: y, or gx */
};

struct message_request {
    enum message_kind kind; /* MESSAGE_FORWARD or MESSAGE_BACKWARD */
    bool keep;              /* FORWARD */
    uint16_t layer;
    uint32_t wait_ms; /* how long the caller will wait from now */
    uint64_t call;
    uint32_t n_rows, D;
    enum numerics form; /* of rows and x */
    float lr_scale;     /* BACKWARD, in [0, 1] (the decoder refuses others) */
    struct rows rows;   /* FORWARD: x;  BACKWARD: gy */
    struct rows x;      /* BACKWARD with rows resent; else not there */
    size_t n_groups;
    struct message_group *group; /* caller's array of MESSAGE_GROUPS_MAX for decoding */
};
void message_request_encode(const struct message_request *m, struct buf *out);
/** HANSE_EPROTO for anything that the layout does not allow: rows, D, groups and slots are at least 1, an expert appears
 * once, a group has no more slots than there are rows, and the reply fits in a message. */
HANSE_MUST_USE int message_request_decode(struct message_request *m, const void *bytes, size_t n);

/**
 * FORWARD_REPLY, BACKWARD_REPLY:
 *           u8 kind | u8 form (rows_answer_form()) | u16 n_groups | u32 D | u64 call
 *           | n_groups x { u16 expert | u8 status | u8 0 | u32 n_slots | u32 staleness | u32 0 | u64 version | u64 load }
 *           | for each group with STATUS_OK: ROWS(n_slots) values
 */
struct message_reply {
    enum message_kind kind;
    enum numerics form; /* of the values: f32 or i8x2 */
    uint64_t call;
    uint32_t D;
    size_t n_groups;
    struct message_group *group; /* caller's array of MESSAGE_GROUPS_MAX for decoding */
};
void message_reply_encode(const struct message_reply *m, struct buf *out);

/**
 * The same in two steps, so that answers are computed where they leave from.  message_reply_begin() makes room in the
 * empty `out` as if every group were STATUS_OK and points each group's `values` to its place; the caller fills them (any
 * order, any thread) and sets status, staleness, version and load; message_reply_end() writes the
 * table and closes the gaps of groups that are not STATUS_OK.  HANSE_ENOMEM, HANSE_EFULL.
 */
HANSE_MUST_USE int message_reply_begin(struct message_reply *m, struct buf *out);
void message_reply_end(const struct message_reply *m, struct buf *out);

HANSE_MUST_USE int message_reply_decode(struct message_reply *m, const void *bytes, size_t n);

/* CANCEL: u8 kind | u8 0 | u16 0 | u32 0 | u64 call       the caller no longer waits */
void message_cancel_encode(uint64_t call, struct buf *out);
HANSE_MUST_USE int message_cancel_decode(uint64_t *call, const void *bytes, size_t n);

/**
 * A host's directory entry for one row of 64 experts:
 *           u8 format 2 | u8 hardware | u16 n | n x { u8 index in the row | u8 epoch (at most 255) | u32 version | u32 load }
 * load counts units of 64 token-slots, wrapping; indices ascend; 4 + 10 * 64 = 644 bytes at most
 */
enum message_hardware {
    HARDWARE_UNKNOWN = 0, /* also whatever is said by a number that we do not know */
    HARDWARE_CPU = 1,
    HARDWARE_CPU_INT8 = 2, /* with units for products of int8: VNNI, AMX, dot product */
    HARDWARE_GPU = 3,
};
#define N_HARDWARE 4
extern const char *const message_hardware_name[N_HARDWARE];
#define MESSAGE_ROW_EXPERTS 64
struct message_claim {
    uint8_t index;
    uint8_t epoch;
    uint32_t version;
    uint32_t load;
};
#define MESSAGE_CLAIMS_BYTES (4 + 10 * MESSAGE_ROW_EXPERTS)
/** Returns the bytes written; the hardware is unknown until message_claims_set_hardware(). */
size_t message_claims_encode(const struct message_claim *claim, size_t n, uint8_t out[MESSAGE_CLAIMS_BYTES]);
/** HANSE_EPROTO, or 0 with *n set to at most MESSAGE_ROW_EXPERTS. */
HANSE_MUST_USE int message_claims_decode(struct message_claim claim[MESSAGE_ROW_EXPERTS], size_t *n_claims, const void *bytes,
                                         size_t n);

void message_claims_set_hardware(uint8_t entry[MESSAGE_CLAIMS_BYTES], enum message_hardware hardware);
/** Of an entry that decoded. */
enum message_hardware message_claims_hardware(const uint8_t *entry);

/**
 * A host's entry under dht_directory_key(zeros, MESSAGE_RUNS, 0, 0): which run it serves, so that somebody without its run.yaml can
 * see what there is.
 *           u8 format 1 | u8 0 | u16 n_moe | u32 experts a layer | 32 run | name (UTF-8, 1 to MESSAGE_RUN_NAME_MAX bytes)
 */
#define MESSAGE_RUNS "runs"
#define MESSAGE_RUN_NAME_MAX 63
#define MESSAGE_RUN_BYTES (40 + MESSAGE_RUN_NAME_MAX)
struct message_run {
    struct hash run;
    uint16_t n_moe;
    uint32_t experts;
    char name[MESSAGE_RUN_NAME_MAX + 1]; /* UTF-8 without control characters on arrival; for a terminal: text_plain() */
};
/** Returns the bytes written. */
size_t message_run_encode(const struct message_run *m, uint8_t out[MESSAGE_RUN_BYTES]);
/** HANSE_EPROTO for another layout, no experts, or more than MESSAGE_GROUPS_MAX a layer. */
HANSE_MUST_USE int message_run_decode(struct message_run *m, const void *bytes, size_t n);

#endif
