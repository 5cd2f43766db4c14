#include "dht/read.h"

#include <stdlib.h>
#include <string.h>

#include "dht/id.h"
#include "dht/operation.h"

#define NOBODY UINT8_MAX
#define ANSWER_BYTES 1060 /* for entries, in an answer of DHT_DATAGRAM_MAX */
#define ENTRY_BYTES 160   /* as entries go, while we have none of the key */

/* A link costs two round trips before the question, and 2 ms of two processors; by datagrams some eight holders give an answer each
 * in one.  So what takes them three rounds is asked for over a link. */
#define LINK_BYTES (3 * 8 * ANSWER_BYTES)

#define PATIENCE_US 500000 /* for all that is asked for over a link; then others are asked for it by datagrams */
#define UNASKED_MAX 16     /* entries that a holder may give of itself in datagrams: newer ones than it listed */
#define CHECKS_MAX 4096    /* signatures, of 0.1 ms each, verified in one read */
#define STRIKES 2          /* questions that bring nothing of what a holder named: then it is left */

/* Of more than a read can give, nobody need name more than is fetched from it soon: liars on their list would have us search through
 * what they invent.  An honest list goes on as it is fetched. */
#define MANY_MISSING DHT_READ_ENTRIES_MAX
#define MISSING_SHARE DHT_READ_TAGS_MAX

_Static_assert(DHT_READ_HOLDERS_MAX <= 64, "a bit for each");

void dht_read_free(struct dht_read *read)
{
    if (!read)
        return;
    dht_found_clear(&read->found);
    free(read->missing);
    free(read->page);
    free(read);
}

/* -- What we have -------------------------------------------------------------------------------------------------- */

static int compare(const struct dht_found *old, uint64_t seq, struct dht_span raw)
{
    return dht_entry_compare(old->seq, (struct dht_span){old->raw, old->n}, seq, raw);
}

/* True when there is room for one more; what was kept and nobody names gives way. */
static bool make_room(struct dht_read *read)
{
    for (size_t i = 0; read->found.n >= DHT_READ_ENTRIES_MAX && i < read->found.n; i++)
        if (!read->found.found[i]->is_named)
            dht_found_remove(&read->found, read->found.found[i]);
    return read->found.n < DHT_READ_ENTRIES_MAX;
}

/* Takes a verified entry; of a writer the newest stays.  The other one is remembered, so that nobody is asked for it. */
static void take_in(struct dht_read *read, uint64_t now_us, struct dht_operation *op, struct dht_found *found)
{
    struct dht_found *old = found ? dht_found_of(&read->found, &found->writer) : NULL;
    bool is_news = found && (old ? compare(old, found->seq, (struct dht_span){found->raw, found->n}) < 0 : make_room(read));
    if (old) {
        memcpy(is_news ? found->older : old->older, is_news ? old->digest : found->digest, DHT_DIGEST_BYTES);
        found->is_named = old->is_named = old->is_named || found->is_named;
    }
    if (!is_news) {
        free(found);
        return;
    }
    struct dht_entry entry;
    dht_found_entry(found, &entry);
    if (dht_found_put(&read->found, found) == 0 && read->some && entry.n_bytes > 0)
        read->some(op->arg, now_us, &entry, 1);
}

/* An entry counts until it is over, whoever withholds it: its writer said so, and withdraws it by a newer one. */
static void take_kept(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    const struct dht_found_list *kept = dht_routes_kept(&dht->routes, &op->lookup.target);
    for (size_t i = 0; kept && i < kept->n; i++) {
        if (kept->found[i]->expiry_s <= now_us / 1000000)
            continue;
        struct dht_found *found = dht_found_copy(kept->found[i]);
        if (found)
            found->is_named = false;
        take_in(op->read, now_us, op, found);
    }
    op->read->n_kept = op->read->found.n;
}

static void take_own(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    const uint8_t *after = NULL;
    const struct dht_record *record;
    while ((record = dht_directory_next(&dht->directory, &op->lookup.target, after, now_us))) {
        struct wire_reader r;
        struct dht_entry entry;
        struct dht_span raw;
        wire_reader_init(&r, record->bytes, record->n);
        if (dht_entry_decode(&entry, &raw, &r) == 0)
            take_in(op->read, now_us, op, dht_found_new(&entry, raw));
        after = record->writer.byte;
    }
}

void dht_read_begin(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    take_kept(dht, now_us, op);
    take_own(dht, now_us, op);
}

static size_t n_unnamed(const struct dht_read *read)
{
    size_t n = 0;
    for (size_t i = 0; i < read->found.n; i++)
        n += !read->found.found[i]->is_named;
    return n;
}

size_t dht_read_n_named(const struct dht_read *read)
{
    return read->found.n - n_unnamed(read) + read->n_missing;
}

bool dht_read_is_poor(const struct dht_read *read)
{
    return 2 * n_unnamed(read) > read->n_kept;
}

/* A writer that does not know its own address yet leaves it open; only its own node may fill in where it answered from.  Whoever writes
 * down an address of nobody or of many is not called there. */
static bool complete_addr(struct dht_entry *entry, const struct dht_id *node, const struct addr *from)
{
    if (!addr_is_unspecified(&entry->addr))
        return dht_entry_may_call(entry);
    uint16_t port = entry->addr.port;
    if (!dht_id_names(node, &entry->writer))
        return false;
    entry->addr = *from;
    if (port != 0)
        entry->addr.port = port;
    return true;
}

static bool is_same(const struct dht_found *found, struct dht_span raw)
{
    return found && found->n == raw.n && memcmp(found->raw, raw.bytes, raw.n) == 0;
}

/* Index of the first missing one that is not before `digest`. */
static size_t missing_index(const struct dht_read *read, const uint8_t *digest)
{
    size_t low = 0, high = read->n_missing;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(read->missing[middle].digest, digest, DHT_DIGEST_BYTES) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* What is missing under this digest, or NULL. */
static struct dht_missing *missing_of(const struct dht_read *read, const uint8_t digest[DHT_DIGEST_BYTES])
{
    size_t i = missing_index(read, digest);
    bool is_there = i < read->n_missing && memcmp(read->missing[i].digest, digest, DHT_DIGEST_BYTES) == 0;
    return is_there ? &read->missing[i] : NULL;
}

static bool is_shared(const struct dht_missing *missing)
{
    return (missing->named & (missing->named - 1)) != 0;
}

/* Strangers must not have us verify without end.  What one alone speaks of leaves something for what several name. */
static bool may_verify(struct dht_read *read, const struct dht_found *old, const struct dht_missing *missing)
{
    size_t reserved = missing && is_shared(missing) ? 0 : DHT_DIRECTORY_KEY_MAX;
    size_t n_room = read->found.n + reserved < DHT_READ_ENTRIES_MAX ? 1 : n_unnamed(read);
    if (read->n_checks + reserved >= CHECKS_MAX || (!old && n_room == 0))
        return false;
    read->n_checks++;
    return true;
}

/* Who gives. */
struct giver {
    const struct dht_id *id;
    const struct addr *addr;
    struct dht_page *page; /* NULL: it lists nothing */
    size_t unasked_max;    /* entries that it may give of itself */
};

/* An entry that is new to us.  False when it is not true, or one too many of those that nobody asked for. */
static bool verify(struct dht *dht, struct dht_operation *op, const struct dht_found *old, const struct dht_entry *entry,
                   struct dht_span raw, const struct giver *giver, bool *is_taken)
{
    uint8_t digest[DHT_DIGEST_BYTES];
    dht_entry_digest(entry, raw, digest);
    const struct dht_missing *missing = missing_of(op->read, digest);
    bool is_unasked = !missing && giver->page;
    if (is_unasked && ++giver->page->n_unasked > giver->unasked_max)
        return false;
    *is_taken = may_verify(op->read, old, missing);
    if (!*is_taken || dht_entry_verify(&dht->verified, &op->lookup.target, entry, raw))
        return true;
    dht->stats.n_refused++;
    return false;
}

/* An entry as it came.  False when its giver is to be left. */
static bool take_entry(struct dht *dht, uint64_t now_us, struct dht_operation *op, struct dht_entry *entry, struct dht_span raw,
                       const struct giver *giver)
{
    struct dht_found *old = dht_found_of(&op->read->found, &entry->writer);
    bool is_taken = true;
    if (dht_entry_check_time(entry, now_us) != 0)
        return true;
    if (is_same(old, raw)) {
        old->is_named = true;
        return true;
    }
    bool is_known = old && compare(old, entry->seq, raw) >= 0;
    if (!is_known && !verify(dht, op, old, entry, raw, giver, &is_taken))
        return false;
    if (is_taken && complete_addr(entry, giver->id, giver->addr))
        take_in(op->read, now_us, op, dht_found_new(entry, raw));
    return true;
}

static bool take_entries(struct dht *dht, uint64_t now_us, struct dht_operation *op, struct dht_span entries,
                         const struct giver *giver)
{
    struct wire_reader r;
    wire_reader_init(&r, entries.bytes, entries.n);
    while (wire_left(&r) > 0) {
        struct dht_entry entry;
        struct dht_span raw;
        if (dht_entry_decode(&entry, &raw, &r) != 0 || !take_entry(dht, now_us, op, &entry, raw, giver))
            return false;
    }
    return true;
}

/* -- What we miss -------------------------------------------------------------------------------------------------- */

static uint64_t bit_of(const struct dht_read *read, const struct dht_page *page)
{
    return UINT64_C(1) << (page - read->page);
}

static void miss(struct dht_read *read, const uint8_t *digest, uint64_t holder)
{
    size_t i = missing_index(read, digest);
    if (i < read->n_missing && memcmp(read->missing[i].digest, digest, DHT_DIGEST_BYTES) == 0) {
        read->missing[i].holders |= holder & ~read->missing[i].named; /* it is asked for it once */
        read->missing[i].named |= holder;
        return;
    }
    if (read->n_missing == read->missing_capacity) {
        size_t capacity = read->missing_capacity ? 2 * read->missing_capacity : 64;
        struct dht_missing *grown = realloc(read->missing, capacity * sizeof *grown);
        if (!grown)
            return; /* as if nobody had told us */
        read->missing = grown;
        read->missing_capacity = capacity;
    }
    memmove(&read->missing[i + 1], &read->missing[i], (read->n_missing - i) * sizeof *read->missing);
    read->missing[i] = (struct dht_missing){.page_i = NOBODY, .holders = holder, .named = holder};
    memcpy(read->missing[i].digest, digest, DHT_DIGEST_BYTES);
    read->n_missing++;
}

/* Forgets what came meanwhile, and what nobody is left to ask for. */
static void sweep(struct dht_read *read)
{
    size_t n = 0;
    for (size_t i = 0; i < read->n_missing; i++) {
        const struct dht_missing *missing = &read->missing[i];
        bool is_hopeless = missing->holders == 0 && missing->page_i == NOBODY;
        if (!is_hopeless && !dht_found_by_digest(&read->found, missing->digest))
            read->missing[n++] = *missing;
    }
    read->n_missing = n;
}

/* What the holder is being asked for, somebody may be asked for again. */
static void unchoose(struct dht_read *read, struct dht_page *page)
{
    page->state = DHT_PAGE_IDLE;
    for (size_t i = 0; i < read->n_missing; i++)
        if (read->missing[i].page_i == page - read->page)
            read->missing[i].page_i = NOBODY;
}

void dht_read_later(struct dht_operation *op, struct dht_page *page)
{
    unchoose(op->read, page);
}

/* As if it had named nothing. */
static void forget_holder(struct dht_read *read, struct dht_page *page)
{
    unchoose(read, page);
    for (size_t i = 0; i < read->n_missing; i++) {
        read->missing[i].holders &= ~bit_of(read, page);
        read->missing[i].named &= ~bit_of(read, page);
    }
    sweep(read);
}

void dht_read_lost(struct dht_operation *op, struct dht_page *page)
{
    page->is_lost = true;
    forget_holder(op->read, page);
    op->is_due = true;
}

/* -- What holders say ---------------------------------------------------------------------------------------------- */

/* False when the holder lists more than any may hold. */
static bool take_digests(struct dht_read *read, struct dht_page *page, struct dht_span digests)
{
    for (size_t at = 0; at < digests.n; at += DHT_DIGEST_BYTES) {
        const uint8_t *digest = digests.bytes + at;
        if (++page->n_listed > DHT_DIRECTORY_KEY_MAX)
            return false;
        struct dht_found *found = dht_found_by_digest(&read->found, digest);
        if (found)
            found->is_named = true;
        else
            miss(read, digest, bit_of(read, page));
    }
    return true;
}

/* A page of the list.  The cursor must go forward, and name somebody: a list of nobody that goes on is a liar's.  Only the first answer,
 * which tells the way besides, may have had no room for any. */
static bool hear_list(struct dht_read *read, struct dht_page *page, const struct dht_message *m)
{
    bool is_first = page->n_lists++ == 0, is_empty = m->digests.n == 0;
    bool is_forward = m->cursor.bytes && memcmp(page->cursor, m->cursor.bytes, sizeof page->cursor) < 0;
    page->n_live = m->has_n ? (uint16_t)(m->n < DHT_DIRECTORY_KEY_MAX ? m->n : DHT_DIRECTORY_KEY_MAX) : 0;
    if (is_empty && is_forward)
        return false;
    if (is_forward)
        memcpy(page->cursor, m->cursor.bytes, sizeof page->cursor);
    page->has_more = (is_forward || (is_empty && is_first && page->n_live > 0)) && page->n_lists < DHT_READ_PAGES_MAX;
    return take_digests(read, page, m->digests);
}

/* Of what the holder was asked for, that which follows the cursor did not fit and may be asked for again, as long as anything did.
 * False of who brings nothing at all, and of who does not bring what it named, for the second time; unless others brought some of it
 * meanwhile: then that may be all there was room for. */
static bool hear_fetched(struct dht_read *read, struct dht_page *page, const struct dht_message *m)
{
    size_t n_asked = 0, n_brought = 0, n_settled = 0;
    for (size_t i = 0; i < read->n_missing; i++) {
        struct dht_missing *missing = &read->missing[i];
        if (missing->page_i != page - read->page)
            continue;
        missing->page_i = NOBODY;
        n_asked++;
        n_brought += dht_found_by_digest(&read->found, missing->digest) != NULL;
        if (m->cursor.bytes && memcmp(missing->digest, m->cursor.bytes, DHT_TAG_BYTES) > 0)
            continue;
        missing->holders &= ~bit_of(read, page);
        n_settled++;
    }
    bool is_overtaken = n_asked < page->n_chosen;
    page->n_strikes += n_asked > 0 && n_brought == 0 && !is_overtaken;
    return (n_asked == 0 || n_settled > 0 || is_overtaken) && page->n_strikes < STRIKES;
}

struct dht_page *dht_read_page(struct dht_read *read, const struct addr *addr)
{
    for (size_t i = 0; i < read->n_pages; i++)
        if (addr_equal(&read->page[i].addr, addr))
            return &read->page[i];
    return NULL;
}

static bool grow_pages(struct dht_read *read)
{
    if (read->n_pages < read->pages_capacity)
        return true;
    size_t capacity = read->pages_capacity ? 2 * read->pages_capacity : 8;
    struct dht_page *page = capacity <= DHT_READ_HOLDERS_MAX ? realloc(read->page, capacity * sizeof *page) : NULL;
    if (!page)
        return false;
    read->page = page;
    read->pages_capacity = capacity;
    return true;
}

/* The one to make way: a lost one, or else the farthest from the key. */
static struct dht_page *least_page(struct dht_operation *op)
{
    struct dht_page *least = NULL;
    for (size_t i = 0; i < op->read->n_pages; i++) {
        struct dht_page *page = &op->read->page[i];
        if (page->state == DHT_PAGE_LINKED)
            continue; /* its answer would find no place */
        bool is_farther = !least || dht_id_compare(&op->lookup.target, &least->id, &page->id) < 0;
        if (!least || (page->is_lost != least->is_lost ? page->is_lost : is_farther))
            least = page;
    }
    return least;
}

/* Nobody waits any longer for what it is being asked. */
static void let_go(struct dht *dht, struct dht_operation *op, struct dht_page *page)
{
    if (page->state != DHT_PAGE_IDLE) {
        op->n_in_air--;
        dht_transactions_settle(&dht->transactions, op->number, DHT_ROLE_PAGE, &page->addr);
    }
    forget_holder(op->read, page);
}

/* Strangers on the way may name all sorts of things; those nearest to the key should know. */
static struct dht_page *new_page(struct dht *dht, struct dht_operation *op, const struct dht_candidate *c)
{
    struct dht_read *read = op->read;
    struct dht_page *page = NULL;
    if (grow_pages(read)) {
        page = &read->page[read->n_pages++];
    } else {
        page = least_page(op);
        if (!page || (!page->is_lost && dht_id_compare(&op->lookup.target, &page->id, &c->id) <= 0))
            return NULL;
        let_go(dht, op, page);
    }
    *page = (struct dht_page){.addr = c->addr, .id = c->id, .state = DHT_PAGE_LISTS};
    return page;
}

/* Whoever has something and did not give all of it in one answer. */
static bool has_list(const struct dht_message *m)
{
    return m->digests.bytes || (m->has_n && m->n > 0 && m->entries.n == 0);
}

void dht_read_heard(struct dht *dht, uint64_t now_us, struct dht_operation *op, const struct dht_candidate *c,
                    struct dht_page *page, const struct dht_message *m)
{
    const struct giver giver = {&m->id, c ? &c->addr : &page->addr, page, UNASKED_MAX};
    bool is_true = take_entries(dht, now_us, op, m->entries, &giver);
    if (c && is_true && has_list(m) && !dht_read_page(op->read, &c->addr))
        page = new_page(dht, op, c);
    if (!page)
        return;
    if (m->token.n > 0 && m->token.n <= DHT_TOKEN_MAX) {
        page->n_token = (uint8_t)m->token.n;
        memcpy(page->token, m->token.bytes, m->token.n);
    }
    if (page->state == DHT_PAGE_LISTS)
        is_true = hear_list(op->read, page, m) && is_true;
    else
        is_true = hear_fetched(op->read, page, m) && is_true;
    page->state = DHT_PAGE_IDLE;
    op->is_due = true;
    sweep(op->read);
    if (!is_true)
        dht_read_lost(op, page);
}

void dht_read_linked(struct dht *dht, uint64_t now_us, struct dht_operation *op, struct dht_page *page, const struct dht_id *id,
                     const struct dht_bulk_entries *m)
{
    if (!page)
        return;
    bool is_waited_for = page->state == DHT_PAGE_LINKED, is_true = true;
    op->is_due = true;
    if (is_waited_for) {
        op->n_in_air--;
        op->read->patience_us = 0;
    }
    const struct giver giver = {id, &page->addr, page, UNASKED_MAX + DHT_DIRECTORY_KEY_MAX};
    if (m && !page->is_lost) /* what comes late is welcome, too */
        is_true = take_entries(dht, now_us, op, m->entries, &giver);
    if (m && is_waited_for) {
        struct dht_message nothing_follows = {0};
        (void)hear_fetched(op->read, page, &nothing_follows);
        page->has_more = false;
    }
    if (is_waited_for)
        unchoose(op->read, page);
    sweep(op->read);
    if (is_true)
        return;
    let_go(dht, op, page); /* it may be asked by a datagram as well by now */
    dht_read_lost(op, page);
}

uint64_t dht_read_deadline(const struct dht_operation *op)
{
    return op->read && op->read->patience_us != 0 ? op->read->patience_us : IO_NEVER;
}

/* Its holder goes on by datagrams like the others. */
void dht_read_run(struct dht_operation *op, uint64_t now_us)
{
    if (now_us < dht_read_deadline(op))
        return;
    op->read->patience_us = 0;
    for (size_t i = 0; i < op->read->n_pages; i++)
        if (op->read->page[i].state == DHT_PAGE_LINKED) {
            unchoose(op->read, &op->read->page[i]);
            op->n_in_air--;
        }
    op->is_due = true;
}

/* -- What we ask --------------------------------------------------------------------------------------------------- */

/* How long an entry of this key is, as far as we know them. */
static size_t entry_bytes(const struct dht_read *read)
{
    return read->found.n > 0 ? read->found.n_bytes / read->found.n - sizeof(struct dht_found) : ENTRY_BYTES;
}

/* How many fit into an answer. */
static size_t n_fitting(const struct dht_read *read)
{
    size_t n = ANSWER_BYTES / entry_bytes(read) + 1;
    return n < DHT_READ_TAGS_MAX ? n : DHT_READ_TAGS_MAX;
}

/* Marks up to `max` that the holder is to be asked for, first those that others name, too; returns how many. */
static size_t choose(struct dht_read *read, struct dht_page *page, size_t max)
{
    size_t n = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < read->n_missing && n < max; i++) {
            struct dht_missing *missing = &read->missing[i];
            bool is_free = missing->page_i == NOBODY && (missing->holders & bit_of(read, page));
            if (is_free && is_shared(missing) == (pass == 0)) {
                missing->page_i = (uint8_t)(page - read->page);
                n++;
            }
        }
    page->n_chosen = (uint16_t)n;
    return n;
}

/* What the holder may have for us: what nobody is asked for, or while its list goes on what it has more than we. */
static size_t n_left(const struct dht_read *read, const struct dht_page *page)
{
    size_t n = 0, n_more = page->has_more && page->n_live > read->found.n ? page->n_live - read->found.n : 0;
    for (size_t i = 0; i < read->n_missing; i++)
        n += read->missing[i].page_i == NOBODY && (read->missing[i].holders & bit_of(read, page));
    return n > n_more ? n : n_more;
}

/* Who alone names most of its list may be inventing it; unless there is nobody else who could say. */
static bool is_confirmed(const struct dht_operation *op, const struct dht_page *page)
{
    const struct dht_read *read = op->read;
    size_t n_alone = 0, n_others = 0;
    for (size_t i = 0; i < read->n_missing; i++)
        n_alone += read->missing[i].named == bit_of(read, page);
    for (size_t i = 0; i < read->n_pages; i++)
        n_others += &read->page[i] != page && !read->page[i].is_lost;
    return 2 * n_alone <= page->n_listed || (n_others == 0 && op->phase == DHT_PHASE_STORING);
}

/* Most likely nothing is missing then. */
static bool asks_over_link(struct dht *dht, uint64_t now_us, const struct dht_operation *op, struct dht_page *page)
{
    struct dht_read *read = op->read;
    if (read->has_asked_link || n_left(read, page) * entry_bytes(read) < LINK_BYTES || !is_confirmed(op, page))
        return false;
    read->has_asked_link = true;
    page->state = DHT_PAGE_LINKED;
    choose(read, page, SIZE_MAX);
    if (dht_bulk_ask(dht, now_us, op->number, page)) {
        read->patience_us = now_us + PATIENCE_US;
        return true;
    }
    unchoose(read, page);
    return false;
}

/* Somebody gives all over a link: what others name meanwhile will most likely be there. */
static bool is_all_coming(const struct dht_read *read)
{
    for (size_t i = 0; i < read->n_pages; i++)
        if (read->page[i].state == DHT_PAGE_LINKED && read->page[i].has_more)
            return true;
    return false;
}

/* True when the list may go on; else there is something to be fetched from its holder, unless others are being asked for it. */
static bool may_list(const struct dht_read *read, const struct dht_page *page)
{
    size_t n = 0;
    for (size_t i = 0; read->n_missing >= MANY_MISSING && i < read->n_missing; i++)
        n += (read->missing[i].holders & bit_of(read, page)) != 0;
    return page->has_more && n < MISSING_SHARE;
}

/* A first entry is fetched before the list goes on: somebody may be waiting for any. */
static bool has_next(struct dht_read *read, struct dht_page *page)
{
    bool goes_on = may_list(read, page), lists_first = (goes_on && read->found.n > 0) || is_all_coming(read);
    if (!lists_first && choose(read, page, n_fitting(read)) > 0)
        page->state = DHT_PAGE_FETCHES;
    else if (goes_on)
        page->state = DHT_PAGE_LISTS;
    return page->state != DHT_PAGE_IDLE;
}

struct dht_page *dht_read_next(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    struct dht_read *read = op->read;
    for (size_t i = 0; i < read->n_pages; i++) {
        struct dht_page *page = &read->page[i];
        bool is_free = page->state == DHT_PAGE_IDLE && !page->is_lost;
        if (is_free && (asks_over_link(dht, now_us, op, page) || has_next(read, page)))
            return page;
    }
    return NULL;
}

size_t dht_read_tags(const struct dht_read *read, const struct dht_page *page, uint8_t *out, size_t n_max)
{
    size_t n = 0;
    for (size_t i = 0; i < read->n_missing && n < n_max * DHT_TAG_BYTES; i++) {
        const uint8_t *tag = read->missing[i].digest;
        bool is_new = n == 0 || memcmp(out + n - DHT_TAG_BYTES, tag, DHT_TAG_BYTES) != 0;
        if (read->missing[i].page_i == page - read->page && is_new) {
            memcpy(out + n, tag, DHT_TAG_BYTES);
            n += DHT_TAG_BYTES;
        }
    }
    return n;
}

size_t dht_read_link_tags(const struct dht_read *read, const struct dht_page *page, uint8_t *out, size_t n_max)
{
    if (page->state != DHT_PAGE_LINKED || page->has_more)
        return 0; /* all, listed or not; also when the link comes up late */
    return dht_read_tags(read, page, out, n_max);
}

void dht_read_question(const struct dht_operation *op, const struct dht_page *page, struct dht_message *m)
{
    struct dht_read *read = op->read;
    m->method = DHT_HANSE_GET;
    m->has_target = true;
    m->target = op->lookup.target;
    if (page->n_token > 0)
        m->token = (struct dht_span){page->token, page->n_token};
    if (page->state == DHT_PAGE_LISTS) {
        m->is_digest = true;
        m->cursor = (struct dht_span){page->cursor, sizeof page->cursor};
        return;
    }
    m->tags = (struct dht_span){read->tags, dht_read_tags(read, page, read->tags, DHT_READ_TAGS_MAX)};
}

bool dht_read_is_needless(const struct dht_read *read, const struct dht_page *page)
{
    uint8_t tag[DHT_TAG_BYTES];
    return page->state == DHT_PAGE_FETCHES && dht_read_tags(read, page, tag, 1) == 0;
}

void dht_read_do_without(struct dht *dht, struct dht_operation *op, struct dht_page *page)
{
    page->state = DHT_PAGE_IDLE;
    op->n_in_air--;
    op->is_due = true;
    dht_transactions_settle(&dht->transactions, op->number, DHT_ROLE_PAGE, &page->addr);
}

/* -- The end ------------------------------------------------------------------------------------------------------- */

void dht_read_end(struct dht *dht, uint64_t now_us, struct dht_operation *op)
{
    struct dht_found_list *found = &op->read->found;
    size_t n = 0, n_asked = dht_lookup_n_answered(&op->lookup);
    take_own(dht, now_us, op); /* what came to our own store meanwhile */
    struct dht_entry *entry = malloc((found->n > 0 ? found->n : 1) * sizeof *entry);
    for (size_t i = 0; entry && i < found->n; i++) {
        dht_found_entry(found->found[i], &entry[n]);
        n += entry[n].n_bytes > 0 && dht_entry_check_time(&entry[n], now_us) == 0;
    }
    if (n_asked > 0)
        dht_routes_keep_found(&dht->routes, &op->lookup.target, found);
    dht->n_silent = dht_lookup_n_silent(&op->lookup);
    op->done.read(op->arg, now_us, entry, n, entry ? n_asked : 0);
    free(entry);
}
