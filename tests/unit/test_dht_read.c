/* What a reader makes of holders' answers, honest ones and others, without a network: the test answers itself. */
#include "unit.h"

#include <string.h>

#include "dht/operation.h"

#define NOW_US (SIM_EPOCH_S * 1000000)
#define SIM_EPOCH_S UINT64_C(1767225600)
#define WRITERS 40

static struct key *key_of_writer[WRITERS];
static struct dht *dht;
static struct dht_operation *op;
static const struct dht_id target = {{7}};
static size_t n_some, n_given;
static struct dht_entry given[WRITERS];

static void no_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    (void)ctx;
    (void)to;
    (void)bytes;
    (void)n;
}

static size_t n_opened;

static io_link on_open(void *ctx, const struct addr *to, const struct peer_id *expect)
{
    (void)ctx;
    (void)to;
    (void)expect;
    return ++n_opened;
}

static const struct io_ops ops = {.datagram = no_datagram, .link_open = on_open};

static void setup(void)
{
    struct io io = {&ops, NULL};
    for (size_t i = 0; i < WRITERS; i++) {
        uint8_t seed[KEY_SEED_BYTES] = {(uint8_t)(i + 1)};
        ck_assert_int_eq(key_new(seed, &key_of_writer[i]), 0);
    }
    struct dht_config config = {.key = key_of_writer[0], .is_read_only = true};
    ck_assert_int_eq(dht_new(&config, &io, NOW_US, &dht), 0);
}

static void teardown(void)
{
    dht_operation_free(op);
    dht_free(dht);
    for (size_t i = 0; i < WRITERS; i++)
        key_free(key_of_writer[i]);
}

static void on_some(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n)
{
    (void)arg;
    (void)now_us;
    (void)entry;
    n_some += n;
}

static void on_done(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    (void)arg;
    (void)now_us;
    (void)n_asked;
    n_given = n;
    memcpy(given, entry, n * sizeof *entry);
}

/* A read as the line would begin it, with one node that answered, so that what it finds is kept. */
static void begin(void)
{
    static const struct addr addr = {.family = 4, .ip = {10, 9, 9, 9}, .port = 1};
    op = calloc(1, sizeof *op);
    op->read = calloc(1, sizeof *op->read);
    ck_assert(op && op->read);
    op->task = DHT_TASK_READ;
    op->read->some = on_some;
    op->done.read = on_done;
    dht_lookup_init(&op->lookup, &target, DHT_K, 1);
    struct dht_candidate *c = dht_lookup_start(&op->lookup, &target, &addr, 0);
    ck_assert_ptr_nonnull(c);
    c->step = DHT_STEP_ANSWERED;
    dht_read_begin(dht, NOW_US, op);
    n_some = n_opened = 0;
}

static void end(void)
{
    dht_routes_keep(&dht->routes, &op->lookup, NOW_US);
    dht_read_end(dht, NOW_US, op);
    dht_operation_free(op);
    op = NULL;
}

/* -- Holders ---------------------------------------------------------------------------------------------- */

struct holder {
    struct dht_candidate c;
    struct dht_directory store;
    size_t n_asked; /* for entries by tags */
    size_t n_tags;
};

static void holder_init(struct holder *h, uint8_t i)
{
    memset(h, 0, sizeof *h);
    h->c.addr = (struct addr){.family = 4, .ip = {10, 0, 0, i}, .port = 4100};
    h->c.id.byte[19] = i;
    dht_directory_init(&h->store);
}

static void hold(struct holder *h, size_t writer, uint64_t seq, size_t n_bytes)
{
    uint8_t raw[DHT_ENTRY_MAX];
    struct dht_entry e = {.writer = key_peer_id(key_of_writer[writer]), .seq = seq, .n_bytes = (uint16_t)n_bytes};
    e.addr = (struct addr){.family = 4, .ip = {10, 1, 1, 1}, .port = 4100};
    e.expiry_s = (uint32_t)SIM_EPOCH_S + 300;
    struct dht_span span = {raw, dht_entry_encode(&e, &target, key_of_writer[writer], raw)};
    ck_assert_int_eq(dht_directory_store(&h->store, &target, &e, span, &h->c.addr, NOW_US), 0);
}

/* Lists all digests of the holder as its answer to a step of the walk. */
static void lists(struct holder *h)
{
    uint8_t digests[DHT_DIRECTORY_KEY_MAX * DHT_DIGEST_BYTES];
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = h->c.id};
    for (size_t i = 0; i < h->store.n; i++)
        memcpy(digests + i * DHT_DIGEST_BYTES, h->store.record[i]->digest, DHT_DIGEST_BYTES);
    m.digests = (struct dht_span){digests, h->store.n * DHT_DIGEST_BYTES};
    dht_read_heard(dht, NOW_US, op, &h->c, NULL, &m);
}

/* Answers a question for tags: up to `max` entries, then a cursor. */
static void answers(struct holder *h, struct dht_page *page, size_t max)
{
    struct dht_message q = {0}, m = {.kind = DHT_REPLY, .has_id = true, .id = h->c.id};
    uint8_t entries[8 * DHT_ENTRY_MAX];
    size_t n = 0;
    dht_read_question(op, page, &q);
    ck_assert(q.method == DHT_HANSE_GET && q.tags.n > 0 && q.tags.n % DHT_TAG_BYTES == 0);
    h->n_asked++;
    h->n_tags += q.tags.n / DHT_TAG_BYTES;
    static const uint8_t nobody[DHT_CURSOR_BYTES];
    const struct dht_record *last = NULL;
    for (size_t at = 0; at < q.tags.n; at += DHT_TAG_BYTES) {
        const struct dht_record *record = dht_directory_tagged(&h->store, &target, q.tags.bytes + at, NOW_US);
        if (!record)
            continue;
        if (n == max) {
            m.cursor = (struct dht_span){last ? last->writer.byte : nobody, DHT_CURSOR_BYTES};
            break;
        }
        memcpy(entries + m.entries.n, record->bytes, record->n);
        m.entries = (struct dht_span){entries, m.entries.n + record->n};
        last = record;
        n++;
    }
    dht_read_heard(dht, NOW_US, op, NULL, page, &m);
}

/* Answers all that is asked of these holders. */
static void go(struct holder *h, size_t n, size_t max)
{
    struct dht_page *page;
    while ((page = dht_read_next(dht, NOW_US, op))) {
        size_t i = 0;
        while (!addr_equal(&h[i].c.addr, &page->addr))
            ck_assert_uint_lt(++i, n);
        answers(&h[i], page, max);
    }
}

START_TEST(holders_are_united_and_each_entry_is_fetched_once)
{
    struct holder h[3];
    begin();
    for (uint8_t i = 0; i < 3; i++) {
        holder_init(&h[i], i);
        for (size_t w = i; w < (size_t)30 + i; w++)
            hold(&h[i], w, 5, 20);
        lists(&h[i]);
    }
    go(h, 3, 8);
    end();
    ck_assert_uint_eq(n_given, 32);
    ck_assert_uint_eq(n_some, 32);
    ck_assert_uint_le(h[0].n_tags + h[1].n_tags + h[2].n_tags, 32 + 8);
    for (size_t i = 0; i < 3; i++)
        dht_directory_fini(&h[i].store);
}
END_TEST

START_TEST(free_holders_share_the_work)
{
    struct holder h[2];
    struct dht_page *page[2];
    begin();
    for (uint8_t i = 0; i < 2; i++) {
        holder_init(&h[i], i);
        for (size_t w = 0; w < WRITERS; w++)
            hold(&h[i], w, 5, 20);
        lists(&h[i]);
    }
    page[0] = dht_read_next(dht, NOW_US, op);
    page[1] = dht_read_next(dht, NOW_US, op);
    ck_assert(page[0] && page[1] && page[0] != page[1] && !dht_read_next(dht, NOW_US, op));
    answers(&h[0], page[0], 8);
    answers(&h[1], page[1], 8);
    ck_assert_uint_ge(n_some, 14); /* nothing twice */
    for (size_t i = 0; i < 2; i++)
        dht_directory_fini(&h[i].store);
}
END_TEST

START_TEST(the_newest_of_a_writer_wins_whoever_lists_it)
{
    struct holder h[2];
    begin();
    for (uint8_t i = 0; i < 2; i++) {
        holder_init(&h[i], i);
        hold(&h[i], 3, _i == (int)i ? 9 : 8, 20);
        lists(&h[i]);
    }
    go(h, 2, 8);
    end();
    ck_assert_uint_eq(n_given, 1);
    ck_assert_uint_eq(given[0].seq, 9);
    /* What is older is not asked for by the next read either. */
    h[0].n_asked = h[1].n_asked = 0;
    begin();
    lists(&h[0]);
    lists(&h[1]);
    go(h, 2, 8);
    end();
    ck_assert_uint_eq(h[0].n_asked + h[1].n_asked, 0);
    ck_assert(n_given == 1 && given[0].seq == 9);
    for (size_t i = 0; i < 2; i++)
        dht_directory_fini(&h[i].store);
}
END_TEST

START_TEST(a_row_known_already_costs_its_digests_alone)
{
    struct holder h;
    holder_init(&h, 1);
    for (size_t w = 0; w < WRITERS; w++)
        hold(&h, w, 5, 20);
    begin();
    lists(&h);
    go(&h, 1, 8);
    end();
    ck_assert_uint_eq(n_given, WRITERS);
    ck_assert_uint_ge(h.n_asked, 5);
    h.n_asked = h.n_tags = 0;
    begin();
    lists(&h);
    go(&h, 1, 8);
    end();
    ck_assert_uint_eq(n_given, WRITERS);
    ck_assert_uint_eq(h.n_asked, 0);
    hold(&h, 17, 6, 30); /* one changes */
    hold(&h, 18, 6, 0);  /* one is withdrawn */
    begin();
    lists(&h);
    go(&h, 1, 8);
    end();
    ck_assert_uint_eq(n_given, WRITERS - 1);
    ck_assert_uint_eq(h.n_tags, 2);
    h.store.n = 0; /* it says that it holds nothing any more: what was signed counts until it is over */
    begin();
    lists(&h);
    ck_assert(dht_read_is_poor(op->read) && dht_read_n_named(op->read) == 0);
    end();
    ck_assert_uint_eq(n_given, WRITERS - 1);
    h.store.n = WRITERS;
    dht_directory_fini(&h.store);
}
END_TEST

START_TEST(what_is_kept_counts_until_it_is_over)
{
    struct holder h;
    holder_init(&h, 1);
    for (size_t w = 0; w < 10; w++)
        hold(&h, w, 5, 20);
    begin();
    lists(&h);
    go(&h, 1, 8);
    end();
    begin();
    ck_assert(op->read->n_kept == 10 && op->read->found.n == 10 && dht_read_n_named(op->read) == 0);
    h.store.n = 5; /* half of them are enough for who was asked to be believed */
    lists(&h);
    ck_assert(!dht_read_is_poor(op->read) && dht_read_n_named(op->read) == 5);
    end();
    h.store.n = 10;
    begin();
    dht_found_clear(&op->read->found);
    dht_read_begin(dht, NOW_US + 301 * UINT64_C(1000000), op);
    ck_assert(op->read->found.n == 0 && op->read->n_kept == 0 && !dht_read_is_poor(op->read));
    end();
    dht_directory_fini(&h.store);
}
END_TEST

START_TEST(a_silent_holder_gives_way_to_others)
{
    struct holder h[2];
    begin();
    for (uint8_t i = 0; i < 2; i++)
        holder_init(&h[i], i);
    for (size_t w = 0; w < 10; w++)
        hold(&h[1], w, 5, 20);
    memcpy(&h[0].store, &h[1].store, sizeof h[0].store);
    lists(&h[0]);
    struct dht_page *page = dht_read_next(dht, NOW_US, op);
    lists(&h[1]);
    while (page && addr_equal(&page->addr, &h[0].c.addr)) {
        dht_read_lost(op, page);
        page = dht_read_next(dht, NOW_US, op);
    }
    ck_assert_ptr_nonnull(page);
    answers(&h[1], page, 8);
    go(&h[1], 1, 8);
    end();
    ck_assert_uint_eq(n_given, 10);
    dht_directory_fini(&h[1].store);
}
END_TEST

/* A list of entries that do not exist. */
static void invents(struct dht_candidate *c, size_t n)
{
    static uint8_t digests[2 * DHT_DIRECTORY_KEY_MAX * DHT_DIGEST_BYTES];
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = c->id};
    for (size_t i = 0; i < n; i++) {
        memset(digests + i * DHT_DIGEST_BYTES, (int)(i % 255), DHT_DIGEST_BYTES);
        digests[i * DHT_DIGEST_BYTES + 15] = (uint8_t)(i / 255);
        digests[i * DHT_DIGEST_BYTES + 7] = (uint8_t)i;
    }
    m.digests = (struct dht_span){digests, n * DHT_DIGEST_BYTES};
    dht_read_heard(dht, NOW_US, op, c, NULL, &m);
}

START_TEST(what_a_liar_invents_is_asked_of_it_once)
{
    struct holder liar, honest;
    holder_init(&liar, 1);
    holder_init(&honest, 2);
    hold(&honest, 3, 5, 20);
    begin();
    invents(&liar.c, DHT_DIRECTORY_KEY_MAX);
    lists(&honest);
    struct holder both[] = {liar, honest};
    go(both, 2, 8); /* ends */
    end();
    ck_assert_uint_eq(n_given, 1);
    ck_assert_uint_eq(both[1].n_tags, 1);
    ck_assert_uint_eq(both[0].n_asked, 2);
    dht_directory_fini(&honest.store);
}
END_TEST

/* Who mixes true and invented names is asked for those first that others name. */
START_TEST(what_several_name_is_asked_for_first)
{
    uint8_t digests[60 * DHT_DIGEST_BYTES] = {0};
    struct holder h;
    struct dht_candidate liar = {.addr = {.family = 4, .ip = {10, 0, 0, 2}, .port = 4100}};
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .digests = {digests, sizeof digests}}, q = {0};
    holder_init(&h, 1);
    for (size_t w = 0; w < 20; w++)
        hold(&h, w, 5, 20);
    for (size_t i = 0; i < 40; i++)
        digests[i * DHT_DIGEST_BYTES + 7] = (uint8_t)(i + 1); /* before all others */
    for (size_t i = 0; i < 20; i++)
        memcpy(digests + (40 + i) * DHT_DIGEST_BYTES, h.store.record[i]->digest, DHT_DIGEST_BYTES);
    begin();
    dht_read_heard(dht, NOW_US, op, &liar, NULL, &m);
    lists(&h);
    struct dht_page *page = dht_read_next(dht, NOW_US, op);
    ck_assert(page && addr_equal(&page->addr, &liar.addr));
    dht_read_question(op, page, &q);
    for (size_t at = 0; at < q.tags.n; at += DHT_TAG_BYTES)
        ck_assert_ptr_nonnull(dht_directory_tagged(&h.store, &target, q.tags.bytes + at, NOW_US));
    ck_assert_uint_gt(q.tags.n, DHT_TAG_BYTES);
    end();
    dht_directory_fini(&h.store);
}
END_TEST

START_TEST(of_two_entries_with_one_seq_all_take_the_same)
{
    struct holder h[2];
    begin();
    for (uint8_t i = 0; i < 2; i++) {
        holder_init(&h[i], i);
        hold(&h[i], 3, 9, _i == (int)i ? 30 : 20);
        lists(&h[i]);
        go(h, (size_t)i + 1, 8); /* each is heard before the other is */
    }
    end();
    ck_assert_uint_eq(n_given, 1);
    ck_assert_uint_eq(given[0].n_bytes, 30);
    for (size_t i = 0; i < 2; i++)
        dht_directory_fini(&h[i].store);
}
END_TEST

START_TEST(the_farthest_of_too_many_holders_gives_way)
{
    struct holder h;
    struct dht_candidate c = {.id = {{200}}};
    static const struct addr farthest = {.family = 4, .ip = {10, 2, 0, 0}, .port = 4100};
    begin();
    for (uint8_t i = 0; i < DHT_READ_HOLDERS_MAX; i++) {
        c.addr = (struct addr){.family = 4, .ip = {10, 2, 0, i}, .port = 4100};
        c.id.byte[1] = (uint8_t)(DHT_READ_HOLDERS_MAX - i);
        invents(&c, 3);
        if (i == 0)
            ck_assert_ptr_nonnull(dht_read_next(dht, NOW_US, op));
    }
    op->n_in_air = 1; /* it is being asked */
    holder_init(&h, 1);
    h.c.id = target;
    hold(&h, 0, 5, 20);
    lists(&h);
    ck_assert_uint_eq(op->n_in_air, 0);
    ck_assert_ptr_nonnull(dht_read_page(op->read, &h.c.addr));
    ck_assert_ptr_null(dht_read_page(op->read, &farthest));
    c.addr.ip[1] = 3;
    c.id.byte[1] = 255;
    invents(&c, 3);
    ck_assert_ptr_null(dht_read_page(op->read, &c.addr)); /* nor comes a farther one in */
    for (size_t i = 0; i < op->read->n_pages; i++)
        if (!addr_equal(&op->read->page[i].addr, &h.c.addr))
            dht_read_lost(op, &op->read->page[i]);
    go(&h, 1, 8);
    end();
    ck_assert_uint_eq(n_given, 1);
    dht_directory_fini(&h.store);
}
END_TEST

/* -- Links ------------------------------------------------------------------------------------------------ */

static bool is_any_linked(void)
{
    for (size_t i = 0; i < op->read->n_pages; i++)
        if (op->read->page[i].state == DHT_PAGE_LINKED)
            return true;
    return false;
}

/* `c` names so many, the same as everybody else who does, and says that it has `n_live`. */
static void names(struct dht_candidate *c, uint8_t what, size_t n, unsigned n_live)
{
    static uint8_t digests[DHT_DIRECTORY_KEY_MAX * DHT_DIGEST_BYTES], cursor[DHT_CURSOR_BYTES] = {254};
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = c->id, .has_n = true, .n = n_live};
    memset(digests, 0, sizeof digests);
    for (size_t i = 0; i < n; i++) {
        digests[i * DHT_DIGEST_BYTES] = (uint8_t)i;
        digests[i * DHT_DIGEST_BYTES + 1] = what;
    }
    m.digests = (struct dht_span){digests, n * DHT_DIGEST_BYTES};
    m.cursor = (struct dht_span){cursor, sizeof cursor};
    dht_read_heard(dht, NOW_US, op, c, NULL, &m);
}

START_TEST(a_link_is_for_whom_another_holder_confirms)
{
    struct holder h[3];
    dht->config.has_links = true;
    begin();
    op->phase = _i == 2 ? DHT_PHASE_STORING : DHT_PHASE_WALKING;
    for (uint8_t i = 0; i < 3; i++)
        holder_init(&h[i], i);
    names(&h[0].c, 1, 60, 65535);
    ck_assert_uint_eq(op->read->page[0].n_live, DHT_DIRECTORY_KEY_MAX);
    if (_i < 2)
        names(&h[1].c, _i == 0 ? 2 : 1, 60, 200);
    while (dht_read_next(dht, NOW_US, op))
        ;
    ck_assert(is_any_linked() == (_i != 0)); /* 2: nobody else could confirm it */
    ck_assert_uint_eq(n_opened, _i != 0);
    if (_i == 0) {
        end();
        return;
    }
    op->n_in_air = 1;
    dht_read_linked(dht, NOW_US, op, &op->read->page[op->read->page[0].state != DHT_PAGE_LINKED], &h[0].c.id, NULL);
    names(&h[2].c, 1, 60, 200);
    while (dht_read_next(dht, NOW_US, op))
        ;
    ck_assert(!is_any_linked() && n_opened == 1 && op->n_in_air == 0); /* it was the only one */
    end();
}
END_TEST

START_TEST(who_lists_more_than_any_may_hold_is_left)
{
    struct holder liar;
    holder_init(&liar, 1);
    begin();
    invents(&liar.c, DHT_DIRECTORY_KEY_MAX + 1);
    ck_assert_ptr_null(dht_read_next(dht, NOW_US, op));
    ck_assert_uint_eq(op->read->n_missing, 0);
    end();
}
END_TEST

/* What the liar says to every question: `n` inventions, and that more follows. */
static void goes_on(struct dht_candidate *c, struct dht_page *page, uint8_t round, size_t n)
{
    uint8_t cursor[DHT_CURSOR_BYTES] = {round, 1}, digests[8 * DHT_DIGEST_BYTES] = {0};
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = c->id, .cursor = {cursor, sizeof cursor}};
    for (size_t i = 0; i < n; i++) {
        digests[i * DHT_DIGEST_BYTES] = round;
        digests[i * DHT_DIGEST_BYTES + 1] = (uint8_t)i;
    }
    m.digests = (struct dht_span){digests, n * DHT_DIGEST_BYTES};
    m.has_n = true;
    m.n = 100;
    dht_read_heard(dht, NOW_US, op, page ? NULL : c, page, &m);
}

START_TEST(a_list_of_nobody_does_not_go_on)
{
    struct holder liar;
    struct dht_page *page;
    size_t n = 0;
    holder_init(&liar, 1);
    begin();
    goes_on(&liar.c, NULL, 0, _i == 0 ? 0 : 1);
    for (uint8_t round = 1; (page = dht_read_next(dht, NOW_US, op)) && round < 100; round++, n++)
        goes_on(&liar.c, page, round, 0);
    ck_assert_uint_eq(n, _i == 0 ? 0 : 2); /* fetches, then the list */
    ck_assert(op->read->n_pages == 1 && op->read->page[0].is_lost);
    end();
}
END_TEST

START_TEST(a_list_has_so_many_pages)
{
    struct holder liar;
    struct dht_page *page;
    size_t n = 1;
    holder_init(&liar, 1);
    begin();
    hold(&liar, 0, 5, 20);
    lists(&liar);
    page = dht_read_next(dht, NOW_US, op);
    answers(&liar, page, 8); /* one, so that lists come first from now on */
    page->has_more = true;
    while ((page = dht_read_next(dht, NOW_US, op)) && page->state == DHT_PAGE_LISTS && n < 100)
        goes_on(&liar.c, page, (uint8_t)++n, 1);
    ck_assert_uint_eq(n, DHT_READ_PAGES_MAX);
    end();
    dht_directory_fini(&liar.store);
}
END_TEST

/* The way took all the room of its first answer: it has something nevertheless, and is asked once more. */
START_TEST(who_had_no_room_for_digests_is_asked_again)
{
    static const uint8_t nobody[DHT_CURSOR_BYTES];
    struct holder h;
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .has_n = true, .n = 3};
    struct dht_message q = {0};
    holder_init(&h, 1);
    for (size_t w = 0; w < 3; w++)
        hold(&h, w, 5, 20);
    if (_i == 1) {
        m.digests = (struct dht_span){nobody, 0};
        m.cursor = (struct dht_span){nobody, sizeof nobody};
    }
    begin();
    dht_read_heard(dht, NOW_US, op, &h.c, NULL, &m);
    struct dht_page *page = dht_read_next(dht, NOW_US, op);
    ck_assert_ptr_nonnull(page);
    dht_read_question(op, page, &q);
    ck_assert(q.is_digest && page->state == DHT_PAGE_LISTS);
    if (_i == 2) {
        dht_read_heard(dht, NOW_US, op, NULL, page, &m); /* again nothing */
        ck_assert_ptr_null(dht_read_next(dht, NOW_US, op));
    } else {
        uint8_t digests[3 * DHT_DIGEST_BYTES];
        for (size_t i = 0; i < 3; i++)
            memcpy(digests + i * DHT_DIGEST_BYTES, h.store.record[i]->digest, DHT_DIGEST_BYTES);
        m.digests = (struct dht_span){digests, sizeof digests};
        m.cursor.bytes = NULL;
        dht_read_heard(dht, NOW_US, op, NULL, page, &m);
        go(&h, 1, 8);
    }
    end();
    ck_assert_uint_eq(n_given, _i == 2 ? 0 : 3);
    dht_directory_fini(&h.store);
}
END_TEST

START_TEST(a_list_that_goes_in_circles_ends)
{
    struct holder liar;
    uint8_t cursor[DHT_CURSOR_BYTES] = {5}, digest[DHT_DIGEST_BYTES] = {5};
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .cursor = {cursor, sizeof cursor}};
    m.digests = (struct dht_span){digest, sizeof digest}; /* names the same one again and again */
    holder_init(&liar, 1);
    begin();
    dht_read_heard(dht, NOW_US, op, &liar.c, NULL, &m);
    struct dht_page *page;
    size_t n = 0;
    while ((page = dht_read_next(dht, NOW_US, op)) && n++ < 100)
        dht_read_heard(dht, NOW_US, op, NULL, page, &m);
    ck_assert_uint_le(n, 3); /* what it named is fetched besides */
    end();
}
END_TEST

START_TEST(who_never_gives_what_it_lists_is_left)
{
    struct holder liar;
    uint8_t cursor[DHT_CURSOR_BYTES] = {0};
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .cursor = {cursor, sizeof cursor}};
    holder_init(&liar, 1);
    for (size_t w = 0; w < 20; w++)
        hold(&liar, w, 5, 20);
    begin();
    lists(&liar);
    struct dht_page *page;
    size_t n = 0;
    while ((page = dht_read_next(dht, NOW_US, op)) && n++ < 100)
        dht_read_heard(dht, NOW_US, op, NULL, page, &m); /* "none of it fits" */
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(op->read->n_missing, 0);
    end();
    dht_directory_fini(&liar.store);
}
END_TEST

START_TEST(an_entry_with_a_false_signature_costs_its_holder_the_rest)
{
    struct holder liar;
    holder_init(&liar, 1);
    for (size_t w = 0; w < 20; w++)
        hold(&liar, w, 5, 20);
    for (size_t w = 0; w < 20; w++)
        liar.store.record[w]->bytes[60] ^= 1;
    begin();
    lists(&liar);
    go(&liar, 1, 8);
    end();
    ck_assert_uint_eq(n_given, 0);
    ck_assert_uint_eq(liar.n_asked, 1);
    ck_assert_uint_eq(dht_stats(dht).n_refused, 1);
    dht_directory_fini(&liar.store);
}
END_TEST

/* Gives `n` entries of seq `seq` by writers from `first` on, asked for or not, as the answer to a question for a page. */
static void gives(struct holder *h, struct dht_page *page, size_t first, size_t n)
{
    uint8_t entries[WRITERS * DHT_ENTRY_MAX];
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = h->c.id, .entries = {entries, 0}};
    for (size_t i = first; i < first + n; i++) {
        memcpy(entries + m.entries.n, h->store.record[i]->bytes, h->store.record[i]->n);
        m.entries.n += h->store.record[i]->n;
    }
    dht_read_heard(dht, NOW_US, op, page ? NULL : &h->c, page, &m);
}

START_TEST(what_nobody_asked_for_is_verified_a_few_times)
{
    struct holder liar, junk;
    holder_init(&liar, 1);
    holder_init(&junk, 1);
    for (size_t w = 0; w < WRITERS; w++)
        hold(&junk, w, 5, 20);
    begin();
    invents(&liar.c, 3);
    struct dht_page *page = dht_read_next(dht, NOW_US, op);
    ck_assert_ptr_nonnull(page);
    for (size_t first = 0; first < 40; first += 10)
        gives(&junk, page, first, 10); /* not what it named */
    ck_assert(page->is_lost);
    ck_assert_uint_le(op->read->n_checks, 16);
    end();
    dht_directory_fini(&junk.store);
}
END_TEST

/* Of two with one seq the one that would win must be true as well. */
START_TEST(a_false_twin_is_refused)
{
    struct holder h, liar;
    holder_init(&h, 1);
    holder_init(&liar, 2);
    hold(&h, 3, 9, 20);
    hold(&liar, 3, 9, 30);
    liar.store.record[0]->bytes[70] ^= 1;
    begin();
    gives(&h, NULL, 0, 1);
    gives(&liar, NULL, 0, 1);
    end();
    ck_assert(n_given == 1 && given[0].n_bytes == 20);
    ck_assert_uint_eq(dht_stats(dht).n_refused, 1);
    dht_directory_fini(&h.store);
    dht_directory_fini(&liar.store);
}
END_TEST

/* A read full of what one alone speaks of verifies no more of it, but what two name, and lets go what nobody names any more. */
START_TEST(a_full_read_has_room_for_what_several_name)
{
    struct holder h[2];
    holder_init(&h[0], 1);
    holder_init(&h[1], 2);
    hold(&h[0], 0, 5, 20);
    hold(&h[1], 0, 5, 20);
    begin();
    for (uint32_t i = 0; i < DHT_READ_ENTRIES_MAX - (_i == 2 ? 0 : DHT_DIRECTORY_KEY_MAX); i++) {
        uint8_t raw[DHT_ENTRY_MAX] = {0};
        struct dht_entry entry = {.seq = 1, .expiry_s = (uint32_t)SIM_EPOCH_S + 300};
        memcpy(entry.writer.byte, &i, sizeof i);
        struct dht_span span = {raw, 117};
        raw[2] = 4;
        memcpy(raw + 3, entry.writer.byte, sizeof entry.writer.byte);
        struct dht_found *found = dht_found_new(&entry, span);
        ck_assert_ptr_nonnull(found);
        found->is_named = _i != 2 || i != 7; /* but for that one */
        ck_assert_int_eq(dht_found_put(&op->read->found, found), 0);
    }
    if (_i != 1) {
        gives(&h[0], NULL, 0, 1);
        ck_assert_uint_eq(op->read->n_checks, _i == 2);
    } else {
        lists(&h[0]);
        lists(&h[1]);
        go(h, 2, 8);
        ck_assert_uint_eq(op->read->n_checks, 1);
    }
    bool is_found = dht_found_of(&op->read->found, &h[0].store.record[0]->writer) != NULL;
    ck_assert(is_found == (_i != 0) && op->read->found.n <= DHT_READ_ENTRIES_MAX);
    dht_operation_free(op);
    op = NULL;
    for (size_t i = 0; i < 2; i++)
        dht_directory_fini(&h[i].store);
}
END_TEST

/* What is kept of a key outlives another walk to it; of too many keys those walked longest ago lose what is kept. */
START_TEST(what_is_kept_has_a_ceiling)
{
    enum { KEYS = 14 };
    static const struct addr addr = {.family = 4, .ip = {10, 9, 9, 9}, .port = 1};
    struct dht_routes routes;
    struct dht_lookup lookup = {0};
    size_t n_kept = 0, n_bytes = 0;
    dht_routes_init(&routes);
    for (uint8_t k = 0; k < KEYS; k++) {
        struct dht_found_list found = {0};
        struct dht_id key = {{k}};
        dht_lookup_fini(&lookup);
        dht_lookup_init(&lookup, &key, DHT_K, 1);
        dht_lookup_start(&lookup, &key, &addr, 0)->step = DHT_STEP_ANSWERED;
        for (uint16_t i = 0; i < DHT_DIRECTORY_KEY_MAX; i++) {
            static const uint8_t raw[700];
            struct dht_entry entry = {.writer = {{(uint8_t)(i >> 8), (uint8_t)i}}};
            ck_assert_int_eq(dht_found_put(&found, dht_found_new(&entry, (struct dht_span){raw, sizeof raw})), 0);
        }
        dht_routes_keep(&routes, &lookup, NOW_US + k);
        dht_routes_keep_found(&routes, &key, &found);
        ck_assert_uint_eq(found.n, 0); /* taken */
        dht_routes_keep(&routes, &lookup, NOW_US + k);
        ck_assert_uint_eq(dht_routes_kept(&routes, &key)->n, DHT_DIRECTORY_KEY_MAX);
        ck_assert_uint_le(routes.n_bytes, DHT_KEPT_BYTES);
    }
    for (uint8_t k = 0; k < KEYS; k++) {
        struct dht_id key = {{k}};
        const struct dht_found_list *kept = dht_routes_kept(&routes, &key);
        ck_assert(k > 0 || !kept);
        n_kept += kept != NULL;
        n_bytes += kept ? kept->n_bytes : 0;
        ck_assert_ptr_nonnull(dht_routes_find(&routes, &key, NOW_US + KEYS));
    }
    ck_assert(n_kept > 5 && n_kept < KEYS && n_bytes == routes.n_bytes);
    dht_lookup_fini(&lookup);
    dht_routes_fini(&routes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-read");
    TCase *all = tcase_create("read");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, holders_are_united_and_each_entry_is_fetched_once);
    tcase_add_test(all, free_holders_share_the_work);
    tcase_add_loop_test(all, the_newest_of_a_writer_wins_whoever_lists_it, 0, 2);
    tcase_add_test(all, a_row_known_already_costs_its_digests_alone);
    tcase_add_test(all, what_is_kept_counts_until_it_is_over);
    tcase_add_test(all, a_silent_holder_gives_way_to_others);
    tcase_add_test(all, what_a_liar_invents_is_asked_of_it_once);
    tcase_add_test(all, what_several_name_is_asked_for_first);
    tcase_add_loop_test(all, of_two_entries_with_one_seq_all_take_the_same, 0, 2);
    tcase_add_test(all, the_farthest_of_too_many_holders_gives_way);
    tcase_add_loop_test(all, a_link_is_for_whom_another_holder_confirms, 0, 3);
    tcase_add_test(all, who_lists_more_than_any_may_hold_is_left);
    tcase_add_loop_test(all, a_list_of_nobody_does_not_go_on, 0, 2);
    tcase_add_test(all, a_list_has_so_many_pages);
    tcase_add_loop_test(all, who_had_no_room_for_digests_is_asked_again, 0, 3);
    tcase_add_test(all, a_list_that_goes_in_circles_ends);
    tcase_add_test(all, who_never_gives_what_it_lists_is_left);
    tcase_add_test(all, an_entry_with_a_false_signature_costs_its_holder_the_rest);
    tcase_add_test(all, what_nobody_asked_for_is_verified_a_few_times);
    tcase_add_test(all, a_false_twin_is_refused);
    tcase_add_loop_test(all, a_full_read_has_room_for_what_several_name, 0, 3);
    tcase_add_test(all, what_is_kept_has_a_ceiling);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
