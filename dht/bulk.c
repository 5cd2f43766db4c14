#include "dht/bulk.h"

#include <stdlib.h>
#include <string.h>

#include "dht/id.h"
#include "dht/operation.h"

#define QUEUED_MAX DHT_BULK_BYTES_MAX /* bytes that may wait on a link when another read is answered */
#define PER_QUESTION 4096             /* bytes of an answer for which its asker is charged one question more */
#define HEAD_BYTES 8                  /* of an answer */
#define LOOK_US 100000u               /* between looks at what waits, while nobody asks */

/* -- The two messages ---------------------------------------------------------------------------------------------- */

void dht_bulk_read_encode(const struct dht_bulk_read *m, struct buf *out)
{
    wire_put_u8(out, DHT_BULK_READ);
    wire_put_u8(out, 0);
    wire_put_u16(out, (uint16_t)(m->tags.n / DHT_TAG_BYTES));
    wire_put_u32(out, m->call);
    buf_append(out, m->key.byte, sizeof m->key.byte);
    if (m->tags.n > 0)
        buf_append(out, m->tags.bytes, m->tags.n);
}

int dht_bulk_read_decode(struct dht_bulk_read *m, const void *bytes, size_t n)
{
    struct wire_reader r;
    wire_reader_init(&r, bytes, n);
    bool is_ours = wire_u8(&r) == DHT_BULK_READ && wire_u8(&r) == 0;
    size_t n_tags = wire_u16(&r);
    m->call = wire_u32(&r);
    wire_bytes(&r, m->key.byte, sizeof m->key.byte);
    if (!is_ours || n_tags > DHT_BULK_TAGS_MAX)
        return HANSE_EPROTO;
    m->tags = (struct dht_span){NULL, n_tags * DHT_TAG_BYTES};
    m->tags.bytes = wire_view(&r, m->tags.n);
    if (!wire_done(&r))
        return HANSE_EPROTO;
    for (size_t i = 1; i < n_tags; i++) {
        const uint8_t *tag = m->tags.bytes + i * DHT_TAG_BYTES;
        if (memcmp(tag - DHT_TAG_BYTES, tag, DHT_TAG_BYTES) >= 0)
            return HANSE_EPROTO;
    }
    return 0;
}

void dht_bulk_entries_encode(const struct dht_bulk_entries *m, struct buf *out)
{
    wire_put_u8(out, DHT_BULK_ENTRIES);
    wire_put_u8(out, m->is_refused);
    wire_put_u16(out, 0);
    wire_put_u32(out, m->call);
    if (m->entries.n > 0)
        buf_append(out, m->entries.bytes, m->entries.n);
}

int dht_bulk_entries_decode(struct dht_bulk_entries *m, const void *bytes, size_t n)
{
    struct wire_reader r;
    wire_reader_init(&r, bytes, n);
    bool is_ours = wire_u8(&r) == DHT_BULK_ENTRIES;
    uint8_t refused = wire_u8(&r);
    uint16_t zero = wire_u16(&r);
    m->call = wire_u32(&r);
    if (!wire_ok(&r) || !is_ours || refused > 1 || zero != 0 || n > DHT_BULK_BYTES_MAX)
        return HANSE_EPROTO;
    m->is_refused = refused == 1;
    m->entries.n = wire_left(&r);
    m->entries.bytes = wire_view(&r, m->entries.n);
    return 0;
}

/* -- The storing node ---------------------------------------------------------------------------------------------- */

static void append_all(const struct dht *dht, uint64_t now_us, const struct dht_id *key, struct buf *out)
{
    const struct dht_record *record;
    const uint8_t *after = NULL;
    while ((record = dht_directory_next(&dht->directory, key, after, now_us))) {
        buf_append(out, record->bytes, record->n);
        after = record->writer.byte;
    }
}

static void append_tagged(const struct dht *dht, uint64_t now_us, const struct dht_bulk_read *m, struct buf *out)
{
    for (size_t at = 0; at < m->tags.n; at += DHT_TAG_BYTES) {
        const struct dht_record *record = dht_directory_tagged(&dht->directory, &m->key, m->tags.bytes + at, now_us);
        if (record)
            buf_append(out, record->bytes, record->n);
    }
}

/* Bytes of the entries that are asked for, counted before anything is copied. */
static size_t n_asked(const struct dht *dht, uint64_t now_us, const struct dht_bulk_read *m)
{
    size_t n = 0;
    if (m->tags.n == 0)
        (void)dht_directory_count(&dht->directory, &m->key, now_us, &n);
    for (size_t at = 0; at < m->tags.n; at += DHT_TAG_BYTES) {
        const struct dht_record *record = dht_directory_tagged(&dht->directory, &m->key, m->tags.bytes + at, now_us);
        n += record ? record->n : 0;
    }
    return n;
}

static size_t n_queued(const struct dht *dht, io_link link)
{
    return dht->io.ops->link_queued(dht->io.ctx, link);
}

static bool charge(struct dht *dht, uint64_t now_us, const struct io_event *event, size_t n_questions)
{
    for (size_t i = 0; i < n_questions; i++)
        if (!dht_limits_allow(&dht->limits, DHT_LIMIT_QUERIES, &event->from, true, now_us))
            return false;
    return true;
}

static void say(struct dht *dht, io_link link, struct buf *message)
{
    if (!message->err)
        dht->io.ops->link_send(dht->io.ctx, link, message, false);
    buf_fini(message);
}

/* Whoever asks on without taking what it was given loses the link: each refusal would wait there, too. */
static void refuse(struct dht *dht, io_link link, uint32_t call)
{
    dht->stats.n_refused++;
    if (n_queued(dht, link) > 0) {
        dht->io.ops->link_close(dht->io.ctx, link);
        return;
    }
    struct dht_bulk_entries head = {.call = call, .is_refused = true};
    struct buf message;
    buf_init(&message, HEAD_BYTES);
    dht_bulk_entries_encode(&head, &message);
    say(dht, link, &message);
}

/* The ceiling sees to it that what waits on the link takes no more memory than it has bytes. */
static void give(struct dht *dht, uint64_t now_us, io_link link, const struct dht_bulk_read *m, size_t n_bytes)
{
    struct dht_bulk_entries head = {.call = m->call};
    struct buf message;
    buf_init(&message, HEAD_BYTES + n_bytes);
    dht_bulk_entries_encode(&head, &message);
    if (m->tags.n > 0)
        append_tagged(dht, now_us, m, &message);
    else
        append_all(dht, now_us, &m->key, &message);
    say(dht, link, &message);
}

/* Looks how much waits to be taken, on all links with answers of ours.  Others may put more on a link than it takes meanwhile, which
 * looks the same as one that takes nothing; but they put nothing on a link without watching it, so any other number than last time
 * is a sign of life. */
static size_t look_at_given(struct dht *dht, uint64_t now_us)
{
    struct dht_bulk *bulk = &dht->bulk;
    size_t n = 0;
    bulk->looked_us = now_us;
    for (size_t i = bulk->n_given; i-- > 0;) {
        struct dht_bulk_given *given = &bulk->given[i];
        size_t n_waiting = n_queued(dht, given->link);
        given->taken_us = n_waiting != given->n_waiting ? now_us : given->taken_us;
        given->n_waiting = n_waiting;
        n += n_waiting;
        if (n_waiting == 0)
            *given = bulk->given[--bulk->n_given];
    }
    return n;
}

static struct dht_bulk_given *given_to(struct dht_bulk *bulk, io_link link)
{
    for (size_t i = 0; i < bulk->n_given; i++)
        if (bulk->given[i].link == link)
            return &bulk->given[i];
    return NULL;
}

/* Who took nothing for longest loses the link, once no reader would wait any more.  False when there is no such one. */
static bool drop_stalest(struct dht *dht, uint64_t now_us)
{
    struct dht_bulk *bulk = &dht->bulk;
    struct dht_bulk_given *stalest = NULL;
    for (size_t i = 0; i < bulk->n_given; i++)
        if (!stalest || bulk->given[i].taken_us < stalest->taken_us)
            stalest = &bulk->given[i];
    if (!stalest || stalest->taken_us + DHT_BULK_CALL_US > now_us)
        return false;
    dht->io.ops->link_close(dht->io.ctx, stalest->link);
    *stalest = bulk->given[--bulk->n_given];
    return true;
}

static bool has_room(struct dht *dht, uint64_t now_us, io_link link, size_t n_bytes)
{
    struct dht_bulk *bulk = &dht->bulk;
    if (!bulk->given && !(bulk->given = calloc(DHT_BULK_GIVEN_MAX, sizeof *bulk->given)))
        return false;
    while (look_at_given(dht, now_us) + n_bytes > DHT_BULK_WAITING_MAX ||
           (bulk->n_given == DHT_BULK_GIVEN_MAX && !given_to(bulk, link)))
        if (!drop_stalest(dht, now_us))
            return false;
    return true;
}

static void note_given(struct dht *dht, uint64_t now_us, io_link link)
{
    struct dht_bulk *bulk = &dht->bulk;
    struct dht_bulk_given *given = given_to(bulk, link);
    if (!given && bulk->n_given < DHT_BULK_GIVEN_MAX) {
        given = &bulk->given[bulk->n_given++];
        *given = (struct dht_bulk_given){.link = link, .taken_us = now_us};
    }
    if (given)
        given->n_waiting = n_queued(dht, link);
}

static bool answer(struct dht *dht, uint64_t now_us, const struct io_event *event, const struct dht_bulk_read *m)
{
    bool may_ask = n_queued(dht, event->link) <= QUEUED_MAX && charge(dht, now_us, event, 1);
    size_t n_bytes = may_ask ? n_asked(dht, now_us, m) : 0;
    if (!may_ask || !has_room(dht, now_us, event->link, n_bytes) || !charge(dht, now_us, event, n_bytes / PER_QUESTION)) {
        refuse(dht, event->link, m->call);
        return false;
    }
    give(dht, now_us, event->link, m, n_bytes);
    note_given(dht, now_us, event->link);
    return true;
}

/* What strangers may ask of us on a link that they opened, or on one that somebody else opened for other things. */
static enum dht_link_use hear_read(struct dht *dht, uint64_t now_us, const struct io_event *event)
{
    struct dht_bulk_read m;
    if (dht->config.is_read_only || event->n_bytes == 0 || event->bytes[0] != DHT_BULK_READ)
        return DHT_LINK_OTHERS;
    dht->stats.n_queries_in++;
    if (dht_bulk_read_decode(&m, event->bytes, event->n_bytes) == 0)
        return answer(dht, now_us, event, &m) ? DHT_LINK_GIVEN : DHT_LINK_TAKEN;
    dht->stats.n_malformed++;
    return DHT_LINK_TAKEN;
}

/* -- The reader ---------------------------------------------------------------------------------------------------- */

void dht_bulk_fini(struct dht_bulk *bulk)
{
    free(bulk->given);
    free(bulk->link);
    *bulk = (struct dht_bulk){0};
}

static struct dht_bulk_link *link_of(struct dht_bulk *bulk, io_link id)
{
    for (size_t i = 0; i < bulk->n; i++)
        if (bulk->link[i].link == id)
            return &bulk->link[i];
    return NULL;
}

static struct dht_bulk_call *find_call(struct dht_bulk_link *link, uint32_t number)
{
    for (size_t i = 0; i < DHT_BULK_CALLS_MAX; i++)
        if (link->call[i].call == number)
            return &link->call[i];
    return NULL;
}

static bool is_idle(const struct dht_bulk_link *link)
{
    for (size_t i = 0; i < DHT_BULK_CALLS_MAX; i++)
        if (link->call[i].call != 0)
            return false;
    return true;
}

static bool grow(struct dht_bulk *bulk)
{
    if (bulk->n < bulk->capacity)
        return true;
    size_t capacity = bulk->capacity ? 2 * bulk->capacity : 4;
    struct dht_bulk_link *link = capacity <= DHT_BULK_LINKS_MAX ? realloc(bulk->link, capacity * sizeof *link) : NULL;
    if (!link)
        return false;
    bulk->link = link;
    bulk->capacity = capacity;
    return true;
}

/* A link to the holder: one that is there, or a new one. */
static struct dht_bulk_link *link_to(struct dht *dht, uint64_t now_us, const struct dht_page *page)
{
    struct dht_bulk *bulk = &dht->bulk;
    for (size_t i = 0; i < bulk->n; i++)
        if (addr_equal(&bulk->link[i].addr, &page->addr) && dht_id_equal(&bulk->link[i].id, &page->id))
            return &bulk->link[i];
    if (!grow(bulk))
        return NULL;
    struct dht_bulk_link *link = &bulk->link[bulk->n++];
    *link = (struct dht_bulk_link){.addr = page->addr, .id = page->id, .used_us = now_us};
    link->link = dht->io.ops->link_open(dht->io.ctx, &page->addr, NULL);
    return link;
}

static void ask(struct dht *dht, const struct dht_bulk_link *link, const struct dht_bulk_call *call)
{
    uint8_t tags[DHT_BULK_TAGS_MAX * DHT_TAG_BYTES];
    struct dht_bulk_read m = {.call = call->call};
    struct dht_operation *op = dht_operation_find(dht, call->operation);
    const struct dht_page *page = op ? dht_read_page(op->read, &link->addr) : NULL;
    if (!page)
        return; /* its time was over */
    m.key = op->lookup.target;
    m.tags = (struct dht_span){tags, dht_read_link_tags(op->read, page, tags, DHT_BULK_TAGS_MAX)};
    struct buf message;
    buf_init(&message, 32 + sizeof tags);
    dht_bulk_read_encode(&m, &message);
    dht->stats.n_queries_out++;
    say(dht, link->link, &message);
}

bool dht_bulk_ask(struct dht *dht, uint64_t now_us, uint64_t operation, const struct dht_page *page)
{
    struct dht_bulk_link *link = dht->config.has_links ? link_to(dht, now_us, page) : NULL;
    struct dht_bulk_call *call = link ? find_call(link, 0) : NULL;
    if (!call)
        return false;
    dht->bulk.n_calls += dht->bulk.n_calls == UINT32_MAX ? 2 : 1;
    *call = (struct dht_bulk_call){dht->bulk.n_calls, operation, now_us + (link->is_up ? DHT_BULK_CALL_US : DHT_BULK_DIAL_US)};
    if (link->is_up)
        ask(dht, link, call);
    return true;
}

/* A call is over; without `m` it failed. */
static void call_over(struct dht *dht, uint64_t now_us, struct dht_bulk_link *link, struct dht_bulk_call *call,
                      const struct dht_bulk_entries *m)
{
    struct dht_operation *op = dht_operation_find(dht, call->operation);
    struct addr addr = link->addr;
    struct dht_id id = link->id;
    call->call = 0;
    link->used_us = now_us;
    if (op)
        dht_read_linked(dht, now_us, op, dht_read_page(op->read, &addr), &id, m);
}

/* Whoever has asked there must look elsewhere. */
static void forget(struct dht *dht, uint64_t now_us, struct dht_bulk_link *link)
{
    for (size_t i = 0; i < DHT_BULK_CALLS_MAX; i++)
        if (link->call[i].call != 0)
            call_over(dht, now_us, link, &link->call[i], NULL);
    *link = dht->bulk.link[--dht->bulk.n];
}

static void hang_up(struct dht *dht, uint64_t now_us, struct dht_bulk_link *link)
{
    dht->io.ops->link_close(dht->io.ctx, link->link);
    forget(dht, now_us, link);
}

static void hear_up(struct dht *dht, uint64_t now_us, struct dht_bulk_link *link, const struct peer_id *peer)
{
    if (!dht_id_names(&link->id, peer)) {
        dht->stats.n_refused++;
        hang_up(dht, now_us, link); /* somebody else lives there now */
        return;
    }
    link->is_up = true;
    link->used_us = now_us;
    for (size_t i = 0; i < DHT_BULK_CALLS_MAX; i++)
        if (link->call[i].call != 0) {
            link->call[i].until_us = now_us + DHT_BULK_CALL_US;
            ask(dht, link, &link->call[i]);
        }
}

/* A host greets everybody, which is no matter of ours. */
static void hear_message(struct dht *dht, uint64_t now_us, struct dht_bulk_link *link, const struct io_event *event)
{
    struct dht_bulk_entries m;
    if (event->n_bytes == 0 || event->bytes[0] != DHT_BULK_ENTRIES)
        return;
    bool is_sound = dht_bulk_entries_decode(&m, event->bytes, event->n_bytes) == 0 && m.call != 0;
    struct dht_bulk_call *call = is_sound ? find_call(link, m.call) : NULL;
    if (call)
        call_over(dht, now_us, link, call, m.is_refused ? NULL : &m);
}

enum dht_link_use dht_bulk_event(struct dht *dht, uint64_t now_us, const struct io_event *event)
{
    bool is_links = event->kind == IO_LINK_UP || event->kind == IO_LINK_DOWN || event->kind == IO_MESSAGE;
    struct dht_bulk_link *link = is_links ? link_of(&dht->bulk, event->link) : NULL;
    if (!link)
        return event->kind == IO_MESSAGE ? hear_read(dht, now_us, event) : DHT_LINK_OTHERS;
    if (event->kind == IO_LINK_UP)
        hear_up(dht, now_us, link, &event->peer);
    else if (event->kind == IO_LINK_DOWN)
        forget(dht, now_us, link);
    else
        hear_message(dht, now_us, link, event);
    return DHT_LINK_TAKEN;
}

/* -- Time ---------------------------------------------------------------------------------------------------------- */

static uint64_t link_deadline(const struct dht_bulk_link *link)
{
    uint64_t first = is_idle(link) ? link->used_us + DHT_BULK_IDLE_US : IO_NEVER;
    for (size_t i = 0; i < DHT_BULK_CALLS_MAX; i++)
        if (link->call[i].call != 0 && link->call[i].until_us < first)
            first = link->call[i].until_us;
    return first;
}

/* A holder that leaves one question unanswered gets no more of them. */
void dht_bulk_run(struct dht *dht, uint64_t now_us)
{
    for (size_t i = dht->bulk.n; i-- > 0;)
        if (link_deadline(&dht->bulk.link[i]) <= now_us)
            hang_up(dht, now_us, &dht->bulk.link[i]);
    if (dht->bulk.n_given > 0 && now_us >= dht->bulk.looked_us + LOOK_US)
        (void)look_at_given(dht, now_us);
}

uint64_t dht_bulk_deadline(const struct dht *dht)
{
    uint64_t first = IO_NEVER;
    for (size_t i = 0; i < dht->bulk.n; i++)
        if (link_deadline(&dht->bulk.link[i]) < first)
            first = link_deadline(&dht->bulk.link[i]);
    return first;
}
