/* Large reads over links: the two messages, a node that stores and is asked, and a reader on its own link.  Nothing crashes either, an
 * answer has no more than a key can hold, and what the reader keeps is signed.
 *
 * The input is a row of messages: a byte of choices (bit 0 to the reader, else to the storing node; 1 true signatures; 2 the number of the
 * reader's call; 3 a second passes first; 4 the link goes down first), two bytes of length, the message. */
#include "fuzz_dht.h"

#include "dht/operation.h"

#define LINK 7

static const struct dht_id key = {{9}};
static struct fuzz_stage store, reader;
static size_t n_done;

static void on_send(void *ctx, io_link link, struct buf *message, bool is_urgent)
{
    struct dht_bulk_entries m;
    struct dht_bulk_read question;
    (void)is_urgent;
    if (link == 0 || message->err || message->n > DHT_BULK_BYTES_MAX)
        abort();
    if (ctx == &reader && dht_bulk_read_decode(&question, message->bytes, message->n) != 0)
        abort();
    if (ctx == &store && dht_bulk_entries_decode(&m, message->bytes, message->n) != 0)
        abort();
    if (ctx == &store && !m.is_refused)
        fuzz_stage_check(m.entries, &key, store.now_us);
    buf_fini(message);
}

static io_link on_open(void *ctx, const struct addr *to, const struct peer_id *expect)
{
    (void)ctx;
    (void)to;
    (void)expect;
    return LINK;
}

static size_t on_queued(void *ctx, io_link link)
{
    (void)ctx;
    (void)link;
    return 0;
}

static void on_close(void *ctx, io_link link)
{
    (void)ctx;
    (void)link;
}

static void stage_begin(struct fuzz_stage *stage, bool is_read_only)
{
    static const struct io_ops ops = {.datagram = fuzz_stage_sent,
                                      .link_open = on_open,
                                      .link_send = on_send,
                                      .link_queued = on_queued,
                                      .link_close = on_close};
    struct io io = {&ops, stage};
    struct dht_config config = {.key = signed_key(0), .port = 4100, .seed = 1, .is_read_only = is_read_only, .has_links = true};
    *stage = (struct fuzz_stage){.now_us = SIGNED_EPOCH_US};
    if (dht_new(&config, &io, stage->now_us, &stage->dht) != 0)
        abort();
}

static void fill_store(void)
{
    static const struct addr from = {.family = 4, .ip = {10}, .port = 1};
    for (size_t i = 0; i < SIGNED_KEYS; i++) {
        uint8_t raw[DHT_ENTRY_MAX];
        struct dht_entry entry = {.writer = key_peer_id(signed_key(i)), .addr = from, .seq = i, .n_bytes = (uint16_t)(200 * i)};
        entry.expiry_s = (uint32_t)(store.now_us / 1000000) + 3 * (uint32_t)i;
        struct dht_span span = {raw, dht_entry_encode(&entry, &key, signed_key(i), raw)};
        if (dht_directory_store(&store.dht->directory, &key, &entry, span, &from, store.now_us) != 0 && i > 0)
            abort();
    }
}

/* Only these ever sign anything here. */
static bool is_signer(const struct peer_id *writer)
{
    for (size_t i = 0; i < SIGNED_KEYS; i++) {
        struct peer_id id = key_peer_id(signed_key(i));
        if (peer_id_equal(&id, writer))
            return true;
    }
    return false;
}

static void on_read(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    (void)arg;
    (void)n_asked;
    for (size_t i = 0; i < n; i++)
        if (dht_entry_check_time(&entry[i], now_us) != 0 || entry[i].n_bytes == 0 || !is_signer(&entry[i].writer))
            abort();
    n_done++;
}

/* A read that has heard of more than datagrams are for, and asks a holder over a link. */
static void begin_read(void)
{
    dht_read(reader.dht, reader.now_us, &key, on_read, NULL);
    struct dht_operation *op = reader.dht->waiting.first; /* as if its walk were over */
    reader.dht->running = reader.dht->waiting;
    reader.dht->waiting = (struct dht_line){0};
    reader.dht->n_running = 1;
    struct dht_page *page = op->read->page = calloc(1, sizeof *page);
    if (!page)
        abort();
    op->read->n_pages = op->read->pages_capacity = 1;
    struct peer_id peer = key_peer_id(signed_key(2));
    page->addr = (struct addr){.family = 4, .ip = {90, 1, 1, 1}, .port = 4100};
    page->has_more = true;
    page->state = DHT_PAGE_LINKED;
    struct hash hash = hash_bytes(peer.byte, sizeof peer.byte);
    memcpy(page->id.byte + 3, hash.byte, 16);
    op->phase = DHT_PHASE_STORING;
    op->n_in_air = 1;
    if (!dht_bulk_ask(reader.dht, reader.now_us, op->number, page))
        abort();
    struct io_event up = {.kind = IO_LINK_UP, .link = LINK, .peer = peer};
    if (!dht_link_event(reader.dht, reader.now_us, &up))
        abort();
}

static void check_found(void)
{
    static struct dht_verified verified;
    struct dht_operation *op = dht_operation_find(reader.dht, reader.dht->n_started);
    for (size_t i = 0; op && i < op->read->found.n; i++) {
        struct dht_entry entry;
        const struct dht_found *found = op->read->found.found[i];
        dht_found_entry(found, &entry);
        if (!dht_entry_verify(&verified, &key, &entry, (struct dht_span){found->raw, found->n}))
            abort();
    }
}

static void deliver(struct fuzz_stage *stage, uint8_t choice, const uint8_t *bytes, size_t n)
{
    static uint8_t message[DHT_DATAGRAM_MAX + 64];
    struct io_event event = {.kind = IO_MESSAGE, .link = LINK, .bytes = message, .n_bytes = n};
    event.from = (struct addr){.family = 4, .ip = {90, 1, 1, 1}, .port = 4100};
    memcpy(message, bytes, n);
    if ((choice & 2) && n > 8) {
        uint8_t out[DHT_DATAGRAM_MAX];
        struct dht_span entries = signed_entries((struct dht_span){message + 8, n - 8}, &key, stage->now_us, true, out);
        if (entries.bytes == out) {
            memcpy(message + 8, out, entries.n);
            event.n_bytes = 8 + entries.n;
        }
    }
    if ((choice & 4) && n >= 8)
        memcpy(message + 4, (uint8_t[]){1, 0, 0, 0}, 4);
    if (choice & 8)
        stage->now_us += 1000000;
    if (choice & 16) {
        struct io_event down = {.kind = IO_LINK_DOWN, .link = LINK, .err = HANSE_ECLOSED};
        (void)dht_link_event(stage->dht, stage->now_us, &down);
    }
    (void)dht_link_event(stage->dht, stage->now_us, &event);
    dht_tick(stage->dht, stage->now_us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct wire_reader r;
    stage_begin(&store, false);
    stage_begin(&reader, true);
    fill_store();
    n_done = 0;
    begin_read();
    wire_reader_init(&r, data, n);
    while (wire_left(&r) >= 3) {
        uint8_t choice = wire_u8(&r);
        size_t length = wire_u16(&r) % 1000;
        length = length < wire_left(&r) ? length : wire_left(&r);
        deliver(choice & 1 ? &reader : &store, choice, wire_view(&r, length), length);
        check_found();
    }
    if (n_done > 1)
        abort();
    fuzz_stage_fini(&store);
    fuzz_stage_fini(&reader);
    return 0;
}
