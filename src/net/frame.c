/* net/frame.c - cutting messages into frames and putting them together. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/frame.h"

/*
 * frame: u8 kind | u8 0 | u16 payload bytes | u32 number | u32 message bytes | payload      integers little-endian
 *   HELLO  number 0, message bytes 0, payload up to FRAME_HELLO_MAX bytes that this version ignores; first, and once
 *   PING   number of the sender's choice, no payload          PONG   the number of the ping
 *   DATA   number of the stream (not 0), bytes of the whole message in each of its frames
 */

#define BULK_PER_OLDEST 4                                      /* every fourth turn goes to the oldest message */
#define URGENT_PER_BULK 16                                     /* urgent frames in a row while others wait */
#define BULK_BYTES_MAX (FRAME_ASSEMBLY_MAX - FRAME_URGENT_MAX) /* leaves the receiver room for an urgent one */

struct frame_message {
    struct frame_message *next;
    uint8_t *bytes;
    size_t n, n_sent;
    uint32_t stream;
};

static void message_free(struct frame_message *m)
{
    if (m)
        free(m->bytes);
    free(m);
}

static void put_header(uint8_t at[FRAME_HEADER_BYTES], enum frame_kind kind, size_t n, uint32_t number, uint32_t total)
{
    const uint8_t header[FRAME_HEADER_BYTES] = {
        (uint8_t)kind,
        0,
        (uint8_t)n,
        (uint8_t)(n >> 8),
        (uint8_t)number,
        (uint8_t)(number >> 8),
        (uint8_t)(number >> 16),
        (uint8_t)(number >> 24),
        (uint8_t)total,
        (uint8_t)(total >> 8),
        (uint8_t)(total >> 16),
        (uint8_t)(total >> 24),
    };
    memcpy(at, header, sizeof header);
}

static uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* ---- writing ---- */

static void queue_push(struct frame_queue *queue, struct frame_message *m)
{
    if (queue->last)
        queue->last->next = m;
    else
        queue->first = m;
    queue->last = m;
}

static struct frame_message *queue_pop(struct frame_queue *queue)
{
    struct frame_message *m = queue->first;
    queue->first = m->next;
    if (!queue->first)
        queue->last = NULL;
    m->next = NULL;
    return m;
}

void frame_writer_init(struct frame_writer *w)
{
    *w = (struct frame_writer){0};
}

void frame_writer_fini(struct frame_writer *w)
{
    while (w->urgent.first)
        message_free(queue_pop(&w->urgent));
    while (w->waiting.first)
        message_free(queue_pop(&w->waiting));
    for (size_t i = 0; i < w->n_active; i++)
        message_free(w->active[i]);
    message_free(w->spent);
    *w = (struct frame_writer){0};
}

int frame_send(struct frame_writer *w, struct buf *message, bool is_urgent)
{
    int err = HANSE_EINVAL;
    struct frame_message *m = NULL;
    if (message->err || message->n > IO_MESSAGE_MAX)
        goto fail;
    err = HANSE_EFULL;
    if (w->n_queued + message->n > FRAME_QUEUE_MAX)
        goto fail;
    err = HANSE_ENOMEM;
    m = malloc(sizeof *m);
    if (!m)
        goto fail;
    if (++w->last_stream == 0)
        w->last_stream = 1;
    *m = (struct frame_message){.bytes = message->bytes, .n = message->n, .stream = w->last_stream};
    w->n_queued += m->n;
    queue_push(is_urgent && m->n <= FRAME_URGENT_MAX ? &w->urgent : &w->waiting, m);
    buf_init(message, message->max); /* the bytes are ours now */
    return 0;
fail:
    buf_fini(message);
    return err;
}

void frame_send_hello(struct frame_writer *w)
{
    w->wants_hello = true;
}

void frame_send_ping(struct frame_writer *w)
{
    w->wants_ping = true;
}

void frame_send_pong(struct frame_writer *w, uint32_t number)
{
    w->wants_pong = true;
    w->pong = number;
}

static bool is_single(const struct frame_message *m)
{
    return m->n <= FRAME_BYTES - FRAME_HEADER_BYTES;
}

/* What the peer must hold for an unfinished message: one that comes in a single frame is never unfinished. */
static size_t assembly_bytes(const struct frame_message *m)
{
    return is_single(m) ? 0 : m->n;
}

static void fill_active(struct frame_writer *w)
{
    while (w->waiting.first && w->n_active < FRAME_ACTIVE_MAX &&
           w->active_bytes + assembly_bytes(w->waiting.first) <= BULK_BYTES_MAX) {
        struct frame_message *m = queue_pop(&w->waiting);
        w->active_bytes += assembly_bytes(m);
        w->active[w->n_active++] = m;
    }
}

/* Whose turn it is; the same answer until commit(). */
static struct frame_message *pick(struct frame_writer *w)
{
    fill_active(w);
    if (w->urgent.first && (w->n_active == 0 || w->n_urgent_turns < URGENT_PER_BULK))
        return w->urgent.first;
    if (w->n_active == 0)
        return NULL;
    if (w->n_turns % BULK_PER_OLDEST == BULK_PER_OLDEST - 1)
        return w->active[0];
    struct frame_message *best = w->active[0];
    for (size_t i = 1; i < w->n_active; i++)
        if (w->active[i]->n - w->active[i]->n_sent < best->n - best->n_sent)
            best = w->active[i];
    return best;
}

static void leave_active(struct frame_writer *w, const struct frame_message *m)
{
    size_t i = 0;
    while (w->active[i] != m)
        i++;
    memmove(&w->active[i], &w->active[i + 1], (w->n_active - i - 1) * sizeof w->active[0]);
    w->n_active--;
    w->active_bytes -= assembly_bytes(m);
}

/* Counts `n` bytes of `m` as sent.  A finished message stays in memory until the next frame_next(): its bytes may be in use. */
static void commit(struct frame_writer *w, struct frame_message *m, size_t n)
{
    bool is_urgent = m == w->urgent.first;
    m->n_sent += n;
    w->n_queued -= n;
    w->n_urgent_turns = is_urgent ? w->n_urgent_turns + 1 : 0;
    w->n_turns += !is_urgent;
    if (m->n_sent < m->n)
        return;
    if (is_urgent)
        queue_pop(&w->urgent);
    else
        leave_active(w, m);
    message_free(w->spent);
    w->spent = m;
}

static size_t put_control(struct frame_writer *w, uint8_t *at)
{
    size_t n = 0;
    if (w->wants_hello) {
        put_header(at + n, FRAME_HELLO, 0, 0, 0);
        n += FRAME_HEADER_BYTES;
    }
    if (w->wants_pong) {
        put_header(at + n, FRAME_PONG, 0, w->pong, 0);
        n += FRAME_HEADER_BYTES;
    }
    if (w->wants_ping) {
        put_header(at + n, FRAME_PING, 0, 1, 0);
        n += FRAME_HEADER_BYTES;
    }
    w->wants_hello = w->wants_pong = w->wants_ping = false;
    return n;
}

/*
 * From its second frame on a message needs no copy: the header is written over the payload bytes that went before it.  They
 * are encrypted and gone, and what is sent is then one row of bytes.
 */
static const uint8_t *frame_in_place(struct frame_writer *w, struct frame_message *m, size_t n_payload, size_t *n)
{
    uint8_t *at = m->bytes + m->n_sent - FRAME_HEADER_BYTES;
    put_header(at, FRAME_DATA, n_payload, m->stream, (uint32_t)m->n);
    commit(w, m, n_payload);
    *n = FRAME_HEADER_BYTES + n_payload;
    return at;
}

const uint8_t *frame_next(struct frame_writer *w, uint8_t stage[FRAME_BYTES], size_t *n)
{
    message_free(w->spent);
    w->spent = NULL;
    size_t used = put_control(w, stage);
    for (struct frame_message *m = pick(w); m; m = pick(w)) {
        size_t n_payload = m->n - m->n_sent;
        if (n_payload > FRAME_BYTES - FRAME_HEADER_BYTES)
            n_payload = FRAME_BYTES - FRAME_HEADER_BYTES;
        if (used == 0 && m->n_sent >= FRAME_HEADER_BYTES)
            return frame_in_place(w, m, n_payload, n);
        if (used + FRAME_HEADER_BYTES + n_payload > FRAME_BYTES)
            break;
        put_header(stage + used, FRAME_DATA, n_payload, m->stream, (uint32_t)m->n);
        used += FRAME_HEADER_BYTES;
        if (n_payload)
            memcpy(stage + used, m->bytes + m->n_sent, n_payload);
        used += n_payload;
        commit(w, m, n_payload);
    }
    *n = used;
    return used ? stage : NULL;
}

size_t frame_queued(const struct frame_writer *w)
{
    return w->n_queued;
}

bool frame_is_idle(const struct frame_writer *w)
{
    return !w->urgent.first && !w->waiting.first && w->n_active == 0 && !w->wants_hello && !w->wants_ping && !w->wants_pong;
}

/* ---- reading ---- */

void frame_reader_init(struct frame_reader *r, struct frame_budget *budget)
{
    *r = (struct frame_reader){.budget = budget};
}

static void release(struct frame_reader *r, size_t n)
{
    r->assembly_bytes -= n;
    r->budget->used -= n;
}

void frame_reader_fini(struct frame_reader *r)
{
    for (size_t i = 0; i < r->n_partial; i++)
        free(r->partial[i].bytes);
    free(r->current.bytes);
    free(r->given);
    if (r->budget)
        release(r, r->assembly_bytes);
    *r = (struct frame_reader){0};
}

uint8_t *frame_want(struct frame_reader *r, size_t *n)
{
    if (r->n_header < FRAME_HEADER_BYTES) {
        *n = FRAME_HEADER_BYTES - r->n_header;
        return r->header + r->n_header;
    }
    *n = r->n_left;
    return r->kind == FRAME_HELLO ? r->hello : r->current.bytes + r->current.n;
}

/* Takes the unfinished message of `stream` out of its place to go on with it. */
static bool resume(struct frame_reader *r, uint32_t stream)
{
    for (size_t i = 0; i < r->n_partial; i++) {
        if (r->partial[i].stream != stream)
            continue;
        r->current = r->partial[i];
        r->partial[i] = r->partial[--r->n_partial];
        return true;
    }
    return false;
}

/* Makes room for a message whose first frame brings n_payload of its `total` bytes. */
static int begin(struct frame_reader *r, uint32_t stream, size_t n_payload, size_t total)
{
    bool is_whole = n_payload == total;
    if (!is_whole) {
        if (r->n_partial == FRAME_PARTIAL_MAX || r->assembly_bytes + total > FRAME_ASSEMBLY_MAX)
            return HANSE_EPROTO;
        if (total > r->budget->max - r->budget->used)
            return HANSE_EFULL;
    }
    uint8_t *bytes = malloc(total ? total : 1);
    if (!bytes)
        return HANSE_ENOMEM;
    if (!is_whole) {
        r->assembly_bytes += total;
        r->budget->used += total;
    }
    r->current = (struct frame_assembly){.bytes = bytes, .n_total = total, .stream = stream, .is_counted = !is_whole};
    return 0;
}

static int read_data_header(struct frame_reader *r, size_t n_payload, size_t total)
{
    if (r->number == 0 || n_payload > FRAME_PAYLOAD_MAX || total > IO_MESSAGE_MAX || n_payload > total)
        return HANSE_EPROTO;
    if (n_payload == 0 && total > 0)
        return HANSE_EPROTO;
    if (!resume(r, r->number))
        return begin(r, r->number, n_payload, total);
    if (r->current.n_total != total || n_payload > total - r->current.n)
        return HANSE_EPROTO;
    return 0;
}

static int read_header(struct frame_reader *r)
{
    size_t n_payload = (size_t)r->header[2] | (size_t)r->header[3] << 8;
    size_t total = get_u32(r->header + 8);
    r->kind = r->header[0];
    r->number = get_u32(r->header + 4);
    r->n_left = n_payload;
    if (r->header[1] != 0 || (r->kind == FRAME_HELLO) == r->has_greeted)
        return HANSE_EPROTO;
    switch (r->kind) {
    case FRAME_HELLO:
        r->has_greeted = true;
        return n_payload > FRAME_HELLO_MAX || r->number || total ? HANSE_EPROTO : 0;
    case FRAME_PING:
    case FRAME_PONG:
        return n_payload || total ? HANSE_EPROTO : 0;
    case FRAME_DATA:
        return read_data_header(r, n_payload, total);
    default:
        return HANSE_EPROTO;
    }
}

/* The frame is whole: hands out what it completes, or puts the message back to wait for more. */
static void end_frame(struct frame_reader *r, struct frame *out)
{
    r->n_header = 0;
    *out = (struct frame){.kind = r->kind, .number = r->number};
    if (r->kind != FRAME_DATA)
        return;
    if (r->current.n < r->current.n_total) {
        r->partial[r->n_partial++] = r->current;
        out->kind = FRAME_NONE;
    } else {
        out->bytes = r->given = r->current.bytes;
        out->n = r->current.n;
        if (r->current.is_counted)
            release(r, r->current.n_total);
    }
    r->current = (struct frame_assembly){0};
}

int frame_got(struct frame_reader *r, size_t n, struct frame *out)
{
    free(r->given);
    r->given = NULL;
    *out = (struct frame){.kind = FRAME_NONE};
    if (r->n_header < FRAME_HEADER_BYTES) {
        assert(n <= FRAME_HEADER_BYTES - r->n_header);
        r->n_header += n;
        if (r->n_header < FRAME_HEADER_BYTES)
            return 0;
        int err = read_header(r);
        if (err)
            return err;
    } else {
        assert(n <= r->n_left);
        r->n_left -= n;
        r->current.n += r->kind == FRAME_DATA ? n : 0;
    }
    if (r->n_left == 0)
        end_frame(r, out);
    return 0;
}
