/* net/link.c - the life of a link: connect, prove, greet, talk, close. */
#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/profile.h"
#include "net/address.h"
#include "net/loop.h"

#define LINGER_US 2000000                /* how long the peer may take to answer our goodbye */
#define LATE_US 3000000                  /* the loop stood still for so long that silence means nothing */
#define PUMP_BYTES_MAX ((size_t)4 << 20) /* to one link before others get their turn */
#define PARKED_MAX ((size_t)1 << 20)     /* answers of TLS itself to a peer that does not read them */
#define MOVED_BYTES (16 << 10)           /* whoever moves that much is at work, */
#define MOVED_US 10000000                /* for so long */
#define NOT_SENT_BYTES (256 << 10) /* what the kernel may hold beyond the window, so that urgent messages are not behind it */

enum link_state {
    LINK_CONNECTING,
    LINK_SECURING, /* TLS handshake */
    LINK_GREETING, /* we know the peer; its hello will say that it knows us */
    LINK_UP,
    LINK_CLOSING,   /* sends what is queued */
    LINK_LINGERING, /* all is sent; waits for the peer's end, since closing on unread bytes would reset the connection */
    LINK_DEAD
};

struct link {
    uv_tcp_t tcp;
    struct net *net;
    io_link id;
    enum link_state state;
    bool is_incoming, was_up;
    bool is_marked, is_probed, has_told_down;
    int err; /* of IO_LINK_DOWN */
    struct addr from;
    struct peer_id peer, expect;
    bool has_expect;
    struct tls *tls;
    struct frame_writer writer;
    struct frame_reader reader;
    size_t n_parked; /* encrypted bytes that libuv holds until the socket takes them */
    uint64_t began_us, heard_us;
    uint64_t keep_us;  /* it makes room for others only after this */
    size_t n_moved;    /* bytes both ways since that last counted as work */
    uint64_t moved_us; /* when its socket took something last, or had to wait for nothing */
    uv_connect_t connect;
    uv_shutdown_t shutdown;
    struct link *next_marked;
};

/* Encrypted bytes that the socket did not take at once. */
struct parked {
    uv_write_t write;
    size_t n;
    uint8_t bytes[];
};

/* ---- the table ---- */

static struct link *find(struct net *net, io_link id)
{
    size_t slot = id & UINT16_MAX;
    struct link *link = slot < net->links.n_slots ? net->links.slot[slot] : NULL;
    return link && link->id == id && link->state < LINK_LINGERING ? link : NULL;
}

static size_t free_slot(struct link_table *table)
{
    for (size_t i = 0; table->n_used < table->n_slots && i < table->n_slots; i++)
        if (!table->slot[i])
            return i;
    size_t n = table->n_slots ? 2 * table->n_slots : 64;
    n = n < LOOP_LINKS_MAX ? n : LOOP_LINKS_MAX;
    assert(n > table->n_slots && "a machine opened 65535 links");
    struct link **slot = realloc(table->slot, n * sizeof *slot);
    if (!slot)
        abort();
    memset(slot + table->n_slots, 0, (n - table->n_slots) * sizeof *slot);
    size_t i = table->n_slots;
    table->slot = slot;
    table->n_slots = n;
    return i;
}

/* An effect cannot fail, so a link that has no memory ends the process; it is a few hundred bytes. */
static struct link *link_new(struct net *net, bool is_incoming)
{
    size_t slot = free_slot(&net->links);
    struct link *link = calloc(1, sizeof *link);
    if (!link)
        abort();
    link->net = net;
    link->id = ++net->links.serial << 16 | slot;
    link->is_incoming = is_incoming;
    link->began_us = link->heard_us = link->moved_us = link->keep_us = net_now_us();
    frame_writer_init(&link->writer);
    frame_reader_init(&link->reader, &net->assembly);
    frame_send_hello(&link->writer);
    uv_tcp_init(&net->loop, &link->tcp);
    link->tcp.data = link;
    net->links.slot[slot] = link;
    net->links.n_used++;
    return link;
}

static void on_closed(uv_handle_t *handle)
{
    struct link *link = handle->data;
    struct net *net = link->net;
    assert(!link->is_marked);
    net->links.slot[link->id & UINT16_MAX] = NULL;
    net->links.n_used--;
    tls_free(link->tls);
    frame_writer_fini(&link->writer);
    frame_reader_fini(&link->reader);
    free(link);
}

size_t link_incoming(const struct net *net, struct crowd_member *out)
{
    size_t n = 0;
    for (size_t i = 0; i < net->links.n_slots; i++) {
        const struct link *link = net->links.slot[i];
        if (link && link->is_incoming && link->state != LINK_DEAD)
            out[n++] = (struct crowd_member){
                .link = link->id, .from = link->from, .is_up = link->state >= LINK_UP, .keep_us = link->keep_us};
    }
    return n;
}

/* ---- marking and ending ---- */

static void mark(struct link *link)
{
    struct net *net = link->net;
    if (link->is_marked || uv_is_closing((uv_handle_t *)&link->tcp))
        return;
    link->is_marked = true;
    link->next_marked = NULL;
    if (net->marked_last)
        net->marked_last->next_marked = link;
    else
        net->marked_first = link;
    net->marked_last = link;
}

static void log_end(const struct link *link, int err, const char *why)
{
    char from[ADDR_TEXT_BYTES];
    const char *way = link->is_incoming ? "from" : "to";
    addr_text(&link->from, from);
    bool is_surprise = err == HANSE_EIDENTITY || err == HANSE_ESIGNATURE || err == HANSE_EVERSION;
    if (is_surprise && !link->is_incoming)
        log_warn("link %s %s: %s", way, from, why);
    else
        log_debug("link %s %s: %s", way, from, why);
}

/* Ends a link; the machine hears of it when the loop settles. */
static void end(struct link *link, int err, const char *why)
{
    if (link->state == LINK_DEAD)
        return;
    if (link->state != LINK_LINGERING) {
        log_end(link, err, why);
        link->err = err;
    }
    if (link->was_up && link->state != LINK_LINGERING)
        loop_count(&link->net->n_links, (uint64_t)-1);
    link->state = LINK_DEAD;
    mark(link);
}

static void tell_down(struct link *link)
{
    link->has_told_down = true;
    if (link->is_incoming && !link->was_up)
        return; /* the machine never knew of it */
    struct io_event event = {.kind = IO_LINK_DOWN, .link = link->id, .err = link->err};
    event.peer = link->peer;
    event.from = link->from;
    event.is_incoming = link->is_incoming;
    loop_event(link->net, &event);
}

static int error_of(int uv_error)
{
    switch (uv_error) {
    case UV_ETIMEDOUT:
        return HANSE_ETIMEOUT;
    case UV_EOF:
    case UV_ECONNRESET:
    case UV_EPIPE:
    case UV_ECANCELED:
        return HANSE_ECLOSED;
    case UV_ENOMEM:
        return HANSE_ENOMEM;
    case UV_EACCES:
    case UV_EPERM:
        return HANSE_EACCESS;
    case UV_EMFILE:
    case UV_ENFILE:
        return HANSE_EFULL;
    default:
        return HANSE_EUNREACHABLE;
    }
}

/* ---- of use, or not ---- */

void link_keep(struct net *net, io_link id, uint64_t until_us)
{
    struct link *link = find(net, id);
    if (link)
        link->keep_us = until_us;
}

/* A long message is on its way for a while before the machine hears of it, and after it has let go of it. */
static void count_moved(struct link *link, size_t n)
{
    link->n_moved += n;
    if (link->n_moved < MOVED_BYTES)
        return;
    link->n_moved = 0;
    uint64_t until_us = net_now_us() + MOVED_US;
    if (link->state == LINK_UP && link->keep_us < until_us)
        link->keep_us = until_us;
}

/* ---- sending ---- */

static void on_written(uv_write_t *write, int status)
{
    struct parked *parked = (struct parked *)write;
    struct link *link = write->data;
    link->n_parked -= parked->n;
    link->moved_us = net_now_us();
    count_moved(link, parked->n);
    free(parked);
    if (status < 0)
        end(link, error_of(status), uv_strerror(status));
    mark(link);
}

static void park(struct link *link, const uint8_t *bytes, size_t n)
{
    struct parked *parked = malloc(sizeof *parked + n);
    if (!parked || link->n_parked > PARKED_MAX) {
        free(parked);
        end(link, HANSE_EFULL, "it does not read what we answer");
        return;
    }
    memcpy(parked->bytes, bytes, n);
    parked->n = n;
    parked->write.data = link;
    uv_buf_t buf = uv_buf_init((char *)parked->bytes, (unsigned)n);
    int failed = uv_write(&parked->write, (uv_stream_t *)&link->tcp, &buf, 1, on_written);
    if (failed) {
        free(parked);
        end(link, error_of(failed), uv_strerror(failed));
        return;
    }
    link->n_parked += n;
}

/* Empties the row of encrypted bytes into the socket; what does not fit is parked, all of it when `must_park`. */
static void flush(struct link *link, bool must_park)
{
    struct tls_out *out = &link->net->out;
    size_t n_sent = 0;
    loop_count(&link->net->n_bytes_out, out->n);
    if (out->n > 0 && link->n_parked == 0 && !must_park) {
        uv_buf_t buf = uv_buf_init((char *)out->bytes, (unsigned)out->n);
        int n = uv_try_write((uv_stream_t *)&link->tcp, &buf, 1);
        if (n >= 0) {
            n_sent = (size_t)n;
            link->moved_us = net_now_us();
            count_moved(link, n_sent);
        } else if (n != UV_EAGAIN)
            end(link, error_of(n), uv_strerror(n));
    }
    if (n_sent < out->n && link->state != LINK_DEAD)
        park(link, out->bytes + n_sent, out->n - n_sent);
    out->n = 0;
}

/* Encrypts frames until the row is full or nothing is left. */
static void encrypt(struct link *link)
{
    struct net *net = link->net;
    while (net->out.max - net->out.n >= TLS_RECORD_MAX) {
        size_t n;
        const uint8_t *bytes = frame_next(&link->writer, net->stage, &n);
        if (!bytes)
            return;
        int err = tls_write(link->tls, bytes, n);
        if (err) {
            end(link, err, tls_why(link->tls));
            return;
        }
    }
}

/* Sends until the socket is full, nothing is left, or others should have their turn. */
static void pump(struct link *link)
{
    size_t n_sent = 0;
    while (link->n_parked == 0 && link->state >= LINK_GREETING && link->state <= LINK_CLOSING) {
        encrypt(link);
        if (link->net->out.n == 0)
            return;
        n_sent += link->net->out.n;
        flush(link, n_sent >= PUMP_BYTES_MAX);
    }
}

/* ---- receiving ---- */

static void greet(struct link *link)
{
    if (link->state != LINK_GREETING)
        return;
    link->state = LINK_UP;
    link->was_up = true;
    loop_count(&link->net->n_links, 1);
    struct io_event event = {.kind = IO_LINK_UP, .link = link->id, .is_incoming = link->is_incoming};
    event.peer = link->peer;
    event.from = link->from;
    loop_event(link->net, &event);
}

static void take_message(struct link *link, const struct frame *frame)
{
    if (link->state != LINK_UP)
        return; /* closed by us: nobody listens */
    loop_count(&link->net->n_messages_in, 1);
    struct io_event event = {.kind = IO_MESSAGE, .link = link->id, .bytes = frame->bytes, .n_bytes = frame->n};
    event.peer = link->peer;
    event.from = link->from;
    event.is_incoming = link->is_incoming;
    loop_event(link->net, &event);
}

static void take_frame(struct link *link, const struct frame *frame)
{
    switch (frame->kind) {
    case FRAME_HELLO:
        greet(link);
        break;
    case FRAME_PING:
        frame_send_pong(&link->writer, frame->number);
        mark(link);
        break;
    case FRAME_DATA:
        take_message(link, frame);
        break;
    case FRAME_PONG:
    case FRAME_NONE:
        break;
    }
}

static void take_frames(struct link *link)
{
    while (link->state >= LINK_GREETING && link->state <= LINK_CLOSING) {
        size_t n, n_read;
        uint8_t *at = frame_want(&link->reader, &n);
        int err = tls_read(link->tls, at, n, &n_read);
        if (err) {
            end(link, err, tls_why(link->tls));
            return;
        }
        if (n_read == 0)
            return;
        struct frame frame;
        err = frame_got(&link->reader, n_read, &frame);
        if (err) {
            end(link, err, err == HANSE_EPROTO ? "its frames do not follow the protocol" : hanse_strerror(err));
            return;
        }
        take_frame(link, &frame);
    }
}

static void secure(struct link *link)
{
    bool is_done;
    int err = tls_handshake(link->tls, &is_done);
    if (err) {
        end(link, err, tls_why(link->tls));
        return;
    }
    if (!is_done)
        return;
    link->peer = tls_peer(link->tls);
    link->state = LINK_GREETING;
    mark(link);
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *buf)
{
    profile_enter(PROFILE_MESSAGE); /* decrypting comes before the first event */
    (void)wanted;
    struct link *link = handle->data;
    *buf = uv_buf_init((char *)link->net->in, (unsigned)LOOP_IN_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct link *link = stream->data;
    if (n == 0)
        return;
    if (n < 0) {
        end(link, error_of((int)n), n == UV_EOF ? "the peer is gone" : uv_strerror((int)n));
        return;
    }
    loop_count(&link->net->n_bytes_in, (uint64_t)n);
    if (link->state >= LINK_LINGERING)
        return;
    link->heard_us = net_now_us();
    link->is_probed = false;
    count_moved(link, (size_t)n);
    tls_give(link->tls, buf->base, (size_t)n);
    if (link->state == LINK_SECURING)
        secure(link);
    take_frames(link);
    flush(link, false); /* handshake messages, or the alert that says why this ends */
}

/* ---- beginning ---- */

static void set_options(struct link *link)
{
    int fd, not_sent = NOT_SENT_BYTES;
    unsigned timeout_ms = (unsigned)(link->net->config.silence_us / 1000);
    if (uv_fileno((uv_handle_t *)&link->tcp, &fd))
        return;
    uv_tcp_nodelay(&link->tcp, 1);
    /* Buffer sizes stay with the kernel: it tunes them to the path, and setting them would end that. */
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &not_sent, sizeof not_sent);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

/* The socket is connected: TLS begins, the client speaks first. */
static void begin(struct link *link)
{
    set_options(link);
    int err = tls_new(link->net->tls, !link->is_incoming, link->has_expect ? &link->expect : NULL, &link->net->out, &link->tls);
    int failed = err ? 0 : uv_read_start((uv_stream_t *)&link->tcp, on_alloc, on_read);
    if (err || failed) {
        end(link, err ? err : error_of(failed), err ? hanse_strerror(err) : uv_strerror(failed));
        return;
    }
    link->state = LINK_SECURING;
    if (!link->is_incoming)
        secure(link);
    flush(link, false);
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct link *link = connect->data;
    if (link->state != LINK_CONNECTING)
        return;
    if (status < 0)
        end(link, error_of(status), uv_strerror(status));
    else
        begin(link);
}

io_link link_open(struct net *net, const struct addr *to, const struct peer_id *expect)
{
    struct link *link = link_new(net, false);
    struct sockaddr_storage name;
    link->from = *to;
    link->has_expect = expect != NULL;
    if (expect)
        link->peer = link->expect = *expect;
    link->connect.data = link;
    int failed = address_to_socket(to, false, &name) == 0 || to->port == 0 ? UV_EINVAL : 0;
    if (!failed)
        failed = uv_tcp_connect(&link->connect, &link->tcp, (struct sockaddr *)&name, on_connected);
    if (failed)
        end(link, failed == UV_EINVAL ? HANSE_EINVAL : error_of(failed), uv_strerror(failed));
    return link->id;
}

void link_accept(struct net *net, uv_stream_t *server)
{
    struct link *link = link_new(net, true);
    struct sockaddr_storage name;
    int n = sizeof name;
    int failed = uv_accept(server, (uv_stream_t *)&link->tcp);
    if (!failed)
        failed = uv_tcp_getpeername(&link->tcp, (struct sockaddr *)&name, &n);
    if (failed) {
        end(link, error_of(failed), uv_strerror(failed));
        return;
    }
    link->from = address_from_socket((struct sockaddr *)&name);
    const char *why = listener_refuses(net, link->id);
    if (why)
        end(link, HANSE_EFULL, why);
    else
        begin(link);
}

/* ---- the machine's effects ---- */

void link_send(struct net *net, io_link id, struct buf *message, bool is_urgent)
{
    struct link *link = find(net, id);
    if (!link || link->state == LINK_CLOSING) {
        buf_fini(message);
        return;
    }
    int err = frame_send(&link->writer, message, is_urgent);
    if (err) {
        end(link, err, err == HANSE_EFULL ? "too much is queued for it" : hanse_strerror(err));
        return;
    }
    loop_count(&net->n_messages_out, 1);
    mark(link);
}

size_t link_queued(struct net *net, io_link id)
{
    struct link *link = find(net, id);
    return link ? frame_queued(&link->writer) + link->n_parked : 0;
}

static void close_politely(struct link *link)
{
    if (link->state < LINK_UP)
        end(link, 0, "closed before it was up");
    else if (link->state == LINK_UP)
        link->state = LINK_CLOSING;
    mark(link);
}

void link_close(struct net *net, io_link id)
{
    struct link *link = find(net, id);
    if (link)
        close_politely(link);
}

/* At once: one that lingers would still take a place. */
void link_make_room(struct net *net, io_link id)
{
    struct link *link = net->links.slot[id & UINT16_MAX];
    assert(link && link->id == id && link->is_incoming);
    if (link->state == LINK_UP || link->state == LINK_CLOSING) {
        tls_bye(link->tls);
        flush(link, false);
    }
    end(link, HANSE_EFULL, "others had to come in");
}

/* ---- what the loop does between events ---- */

static void on_shut(uv_shutdown_t *shutdown, int status)
{
    struct link *link = shutdown->data;
    if (status < 0)
        end(link, error_of(status), uv_strerror(status));
}

static void say_bye(struct link *link)
{
    tls_bye(link->tls);
    flush(link, false);
    if (link->state == LINK_DEAD)
        return;
    loop_count(&link->net->n_links, (uint64_t)-1);
    link->state = LINK_LINGERING;
    link->began_us = net_now_us();
    link->shutdown.data = link;
    if (uv_shutdown(&link->shutdown, (uv_stream_t *)&link->tcp, on_shut))
        end(link, HANSE_ECLOSED, "closed");
}

static void settle_one(struct link *link)
{
    pump(link);
    if (link->state == LINK_CLOSING && link->n_parked == 0 && frame_is_idle(&link->writer))
        say_bye(link);
    if (link->state >= LINK_LINGERING && !link->has_told_down)
        tell_down(link);
    if (link->state == LINK_DEAD && !uv_is_closing((uv_handle_t *)&link->tcp))
        uv_close((uv_handle_t *)&link->tcp, on_closed);
}

void link_settle(struct net *net)
{
    while (net->marked_first) {
        struct link *link = net->marked_first;
        net->marked_first = link->next_marked;
        if (!net->marked_first)
            net->marked_last = NULL;
        settle_one(link);
        link->is_marked = false; /* only now: settle_one() looks at what it did itself */
    }
}

/* It gives signs of life, yet takes nothing of what waits for it: memory that it could hold for ever. */
static bool is_stuck(struct link *link, uint64_t now_us)
{
    const struct net_config *config = &link->net->config;
    bool is_waiting = link->n_parked > 0 || !frame_is_idle(&link->writer);
    uint64_t patience_us = link->state == LINK_CLOSING ? config->handshake_us : config->silence_us;
    if (!is_waiting)
        link->moved_us = now_us;
    return now_us - link->moved_us > patience_us;
}

static void check_time(struct link *link, uint64_t now_us)
{
    const struct net_config *config = &link->net->config;
    uint64_t age = now_us - link->began_us, silence = now_us - link->heard_us;
    if (link->state < LINK_UP && age > config->handshake_us)
        end(link, HANSE_ETIMEOUT, link->state == LINK_CONNECTING ? "no connection in time" : "no handshake in time");
    else if (link->state == LINK_LINGERING && age > LINGER_US)
        end(link, 0, "closed");
    else if ((link->state == LINK_UP || link->state == LINK_CLOSING) && silence > config->silence_us)
        end(link, HANSE_ETIMEOUT, "it has been silent for too long");
    else if ((link->state == LINK_UP || link->state == LINK_CLOSING) && is_stuck(link, now_us))
        end(link, HANSE_ETIMEOUT, "it takes nothing of what waits for it");
    else if (link->state == LINK_UP && silence > config->probe_us && !link->is_probed) {
        link->is_probed = true;
        frame_send_ping(&link->writer);
        mark(link);
    }
}

void link_housekeep(struct net *net, uint64_t now_us)
{
    uint64_t pause = now_us - net->housekeeping_us;
    net->housekeeping_us = now_us;
    for (size_t i = 0; i < net->links.n_slots; i++) {
        struct link *link = net->links.slot[i];
        if (!link)
            continue;
        if (pause > LATE_US) { /* we were held up or asleep: what came meanwhile is still unread */
            link->began_us += pause;
            link->heard_us += pause;
            link->moved_us += pause;
        }
        check_time(link, now_us);
    }
}

void link_close_all(struct net *net, bool at_once)
{
    for (size_t i = 0; i < net->links.n_slots; i++) {
        struct link *link = net->links.slot[i];
        if (link && at_once)
            end(link, 0, "closed");
        else if (link && link->state < LINK_LINGERING)
            close_politely(link);
    }
}
