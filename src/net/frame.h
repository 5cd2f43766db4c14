/**
 * net/frame.h - messages cut into frames and put together again; no I/O, no clock.
 *
 * A message travels as frames of its own stream number.  Between the frames of a large message go those of others: urgent ones
 * first; among the rest the one with the fewest bytes left (so equal ones keep their order and the first is not delayed by the
 * second), every fourth turn the oldest (so that a large one always moves).
 * Memory: a writer owns the messages it was given; a reader holds at most FRAME_PARTIAL_MAX unfinished messages and
 * FRAME_ASSEMBLY_MAX bytes of them, and a sender that would need more breaks the protocol.
 */
#ifndef NET_FRAME_H
#define NET_FRAME_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/io.h"

#define FRAME_HEADER_BYTES 12
#define FRAME_BYTES ((size_t)16384)                            /* a frame we send, header included: one TLS record */
#define FRAME_PAYLOAD_MAX ((size_t)65536 - FRAME_HEADER_BYTES) /* a frame we take in */
#define FRAME_HELLO_MAX 64                                     /* payload of a hello, for later versions to fill */
#define FRAME_ACTIVE_MAX 8                                     /* ordinary messages under way at a time */
#define FRAME_PARTIAL_MAX (FRAME_ACTIVE_MAX + 1)               /* and one urgent one */
#define FRAME_URGENT_MAX ((size_t)1 << 20)                     /* a larger message is never urgent */
#define FRAME_ASSEMBLY_MAX (2 * IO_MESSAGE_MAX)
#define FRAME_QUEUE_MAX (8 * IO_MESSAGE_MAX) /* what a writer holds for a peer that does not read */

enum frame_kind { FRAME_NONE, FRAME_HELLO, FRAME_PING, FRAME_PONG, FRAME_DATA };

struct frame_message;

struct frame_queue {
    struct frame_message *first, *last;
};

struct frame_writer {
    struct frame_queue urgent, waiting;
    struct frame_message *active[FRAME_ACTIVE_MAX]; /* oldest first */
    size_t n_active, active_bytes;
    struct frame_message *spent; /* its last frame was handed out in place */
    size_t n_queued;
    unsigned n_turns, n_urgent_turns;
    uint32_t last_stream;
    bool wants_hello, wants_ping, wants_pong;
    uint32_t pong; /* number of the latest ping */
};

void frame_writer_init(struct frame_writer *w);
void frame_writer_fini(struct frame_writer *w);

/** Takes the bytes of `message` and leaves it empty.  HANSE_EINVAL (too large), HANSE_EFULL, HANSE_ENOMEM: freed all the same. */
HANSE_MUST_USE int frame_send(struct frame_writer *w, struct buf *message, bool is_urgent);

/** Says hello, or asks for a sign of life, or gives one.  Asking twice before it left says it once. */
void frame_send_hello(struct frame_writer *w);
void frame_send_ping(struct frame_writer *w);
void frame_send_pong(struct frame_writer *w, uint32_t number);

/**
 * The next bytes to encrypt, at most FRAME_BYTES: several small frames gathered in `stage`, or one frame in place in its
 * message.  NULL when nothing is left.  Valid until the next call.
 */
const uint8_t *frame_next(struct frame_writer *w, uint8_t stage[FRAME_BYTES], size_t *n);

/** Message bytes not yet handed out, headers not counted. */
size_t frame_queued(const struct frame_writer *w);

bool frame_is_idle(const struct frame_writer *w);

/** Memory that several readers share: what their unfinished messages may claim together. */
struct frame_budget {
    size_t used, max;
};

struct frame_assembly {
    uint8_t *bytes;
    size_t n, n_total;
    uint32_t stream;
    bool is_counted; /* comes in several frames, so its bytes count against the ceilings */
};

struct frame_reader {
    uint8_t header[FRAME_HEADER_BYTES];
    size_t n_header;
    struct frame_assembly partial[FRAME_PARTIAL_MAX];
    size_t n_partial, assembly_bytes;
    struct frame_assembly current; /* of the frame being read; goes back to `partial` when the message is not whole yet */
    size_t n_left;                 /* payload bytes the frame still lacks */
    uint8_t hello[FRAME_HELLO_MAX];
    enum frame_kind kind; /* of the frame being read */
    uint32_t number;
    bool has_greeted;
    uint8_t *given; /* the message handed out last */
    struct frame_budget *budget;
};

/** Keeps `budget`. */
void frame_reader_init(struct frame_reader *r, struct frame_budget *budget);
void frame_reader_fini(struct frame_reader *r);

/** Where the next bytes belong, and how many at most (never 0): large payloads go straight to their message. */
uint8_t *frame_want(struct frame_reader *r, size_t *n);

struct frame {
    enum frame_kind kind; /* FRAME_NONE: nothing whole yet; FRAME_DATA: the last frame of a message */
    uint32_t number;      /* of a ping or pong */
    const uint8_t *bytes; /* valid until the next frame_got() */
    size_t n;
};

/** Tells that `n` bytes were put where frame_want() said.  HANSE_EPROTO, HANSE_EFULL, HANSE_ENOMEM end the reader. */
HANSE_MUST_USE int frame_got(struct frame_reader *r, size_t n, struct frame *out);

#endif
