#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"
#include "node/host_state.h"

#define IDLE_US ((uint64_t)12 * 1000000) /* of a link without a greeting; whoever reads the directory closes it after 10 s */

static struct host_link **bucket_of(struct host *host, io_link id)
{
    return &host->link[id % HOST_LINK_BUCKETS];
}

static struct host_link *find_link(struct host *host, io_link id)
{
    struct host_link *link = *bucket_of(host, id);
    while (link && link->id != id)
        link = link->next;
    return link;
}

static void send(struct host *host, struct host_link *link, struct buf *message)
{
    if (!message->err)
        host->io->ops->link_send(host->io->ctx, link->id, message, true);
    buf_fini(message);
}

void host_link_up(struct host *host, const struct io_event *event)
{
    struct host_link *link = calloc(1, sizeof *link);
    if (!link) {
        host->io->ops->link_close(host->io->ctx, event->link);
        return;
    }
    *link = (struct host_link){.id = event->link,
                               .peer = event->peer,
                               .from = event->from,
                               .used_us = host->now_us,
                               .keep_us = host->now_us,
                               .next = *bucket_of(host, event->link)};
    if (host->idle_us > host->now_us + IDLE_US)
        host->idle_us = host->now_us + IDLE_US;
    *bucket_of(host, event->link) = link;
    host->stats.n_links++;
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    struct message_hello hello = {.role = ROLE_HOST, .version = MESSAGE_VERSION, .run = host->config.run->id};
    message_hello_encode(&hello, &message);
    send(host, link, &message);
}

void host_link_down(struct host *host, const struct io_event *event)
{
    struct host_link **at = bucket_of(host, event->link);
    while (*at && (*at)->id != event->link)
        at = &(*at)->next;
    struct host_link *link = *at;
    if (!link)
        return;
    char name[9];
    log_debug("peer %s: link closed (%s)", peer_id_short(&link->peer, name), hanse_strerror(event->err));
    host_request_orphan(host, link);
    *at = link->next;
    host->stats.n_links--;
    free(link);
}

void host_link_touch(struct host *host, io_link id)
{
    struct host_link *link = find_link(host, id);
    if (link)
        link->used_us = host->now_us;
}

static bool is_idle(const struct host *host, const struct host_link *link)
{
    return link->role == 0 && !link->is_closing && link->used_us + IDLE_US <= host->now_us;
}

void host_links_tick(struct host *host)
{
    if (host->idle_us > host->now_us)
        return;
    host->idle_us = IO_NEVER;
    for (size_t b = 0; b < HOST_LINK_BUCKETS; b++)
        for (struct host_link *link = host->link[b]; link; link = link->next) {
            bool is_over = is_idle(host, link);
            if (is_over)
                host->io->ops->link_close(host->io->ctx, link->id);
            link->is_closing = link->is_closing || is_over;
            if (link->role == 0 && !link->is_closing && link->used_us + IDLE_US < host->idle_us)
                host->idle_us = link->used_us + IDLE_US;
        }
}

uint64_t host_links_deadline(const struct host *host)
{
    return host->idle_us;
}

void host_links_free(struct host *host)
{
    host_requests_free(&host->nowhere);
    for (size_t b = 0; b < HOST_LINK_BUCKETS; b++)
        while (host->link[b]) {
            struct host_link *link = host->link[b];
            host->link[b] = link->next;
            host_requests_free(link);
            free(link);
        }
}

/* Says why, once, and closes; what the peer still sends is not looked at. */
static void __attribute__((format(printf, 4, 5)))
refuse(struct host *host, struct host_link *link, int err, const char *format, ...)
{
    struct message_refuse m = {.err = err};
    va_list args;
    va_start(args, format);
    vsnprintf(m.text, sizeof m.text, format, args);
    va_end(args);
    char name[9], from[ADDR_TEXT_BYTES];
    log_limited(&host->strangers, host->now_us, LOG_INFO, "peer %s at %s refused: %s", peer_id_short(&link->peer, name),
                addr_text(&link->from, from), m.text);
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    message_refuse_encode(&m, &message);
    send(host, link, &message);
    link->is_closing = true;
    host_request_orphan(host, link);
    host->io->ops->link_close(host->io->ctx, link->id);
}

static void hear_hello(struct host *host, struct host_link *link, const struct io_event *event)
{
    struct message_hello m;
    char ours[17], theirs[17];
    if (link->role != 0 || message_hello_decode(&m, event->bytes, event->n_bytes) != 0) {
        refuse(host, link, HANSE_EPROTO, "a HELLO that does not follow the protocol");
        return;
    }
    if (m.version != MESSAGE_VERSION) {
        refuse(host, link, HANSE_EVERSION, "this host speaks protocol version %u, you speak %u; update the older hanse",
               MESSAGE_VERSION, m.version);
        return;
    }
    if (!hash_equal(&m.run, &host->config.run->id)) {
        text_hex(ours, host->config.run->id.byte, 8);
        text_hex(theirs, m.run.byte, 8);
        refuse(host, link, HANSE_ERUN, "this host serves run %s, you asked for %s; start with the same run.yaml", ours, theirs);
        return;
    }
    link->role = m.role;
}

/* An observer uses experts and leaves no trace: it may ask forward, and nothing is kept for it. */
static bool is_allowed(const struct host_link *link, const struct io_event *event)
{
    bool is_trace_free = message_kind(event->bytes, event->n_bytes) == MESSAGE_FORWARD && event->n_bytes > 1 &&
                         event->bytes[1] == 0;
    return link->role == ROLE_TRAINER || (link->role == ROLE_OBSERVER && is_trace_free);
}

static void hear_request(struct host *host, struct host_link *link, const struct io_event *event)
{
    if (!is_allowed(link, event)) {
        refuse(host, link, HANSE_EPROTO, "only trainers may ask for experts, and observers forward without keeping rows");
        return;
    }
    int err = host_request_begin(host, link, &link->peer, event->bytes, event->n_bytes, NULL);
    if (err)
        refuse(host, link, err,
               err == HANSE_EPROTO
                   ? "a request that does not follow the protocol, or whose rows are not %u wide and of the form %s"
                   : "this host is out of memory for rows of width %u (%s)",
               host->config.run->latent, numerics_name[host->config.run->expert_numerics]);
}

static void hear_cancel(struct host *host, struct host_link *link, const struct io_event *event)
{
    uint64_t call;
    if (message_cancel_decode(&call, event->bytes, event->n_bytes) == 0)
        host_request_cancel(host, link, call);
    else
        refuse(host, link, HANSE_EPROTO, "a CANCEL that does not follow the protocol");
}

static void hear_refuse(struct host *host, struct host_link *link, const struct io_event *event)
{
    struct message_refuse m;
    char name[9];
    if (message_refuse_decode(&m, event->bytes, event->n_bytes) == 0)
        log_limited(&host->strangers, host->now_us, LOG_WARN, "peer %s refuses us: %s", peer_id_short(&link->peer, name), m.text);
    link->is_closing = true;
    host_request_orphan(host, link);
    host->io->ops->link_close(host->io->ctx, link->id);
}

void host_link_message(struct host *host, const struct io_event *event)
{
    struct host_link *link = find_link(host, event->link);
    if (!link || link->is_closing)
        return;
    enum message_kind kind = message_kind(event->bytes, event->n_bytes);
    if (link->role == 0 && kind != MESSAGE_HELLO && kind != MESSAGE_REFUSE) {
        refuse(host, link, HANSE_EPROTO, "the first message must be HELLO");
        return;
    }
    switch (kind) {
    case MESSAGE_HELLO:
        hear_hello(host, link, event);
        break;
    case MESSAGE_REFUSE:
        hear_refuse(host, link, event);
        break;
    case MESSAGE_FORWARD:
    case MESSAGE_BACKWARD:
        hear_request(host, link, event);
        break;
    case MESSAGE_CANCEL:
        hear_cancel(host, link, event);
        break;
    default:
        refuse(host, link, HANSE_EPROTO, "a message that hosts do not take");
    }
}
