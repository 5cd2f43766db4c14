/* What a reader makes of holders who lie, or hold it up: they cost it little, and hide nothing. */
#include "unit.h"

#include "dht_reading.h"

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

/* -- Two liars who say the same ---------------------------------------------------------------------------- */

#define N_TRUE 30

/* The next question, answered: by a holder with what it has, by a liar, who is counted, with nothing, on a link by nobody.  False when
 * nothing is asked any more. */
static bool play_one(struct holder h[2], size_t *n_liars_asked)
{
    const struct dht_message nothing = {.kind = DHT_REPLY, .has_id = true};
    struct dht_page *page = dht_read_next(dht, NOW_US, op);
    if (!page)
        return false;
    for (size_t i = 0; i < 2; i++)
        if (addr_equal(&h[i].c.addr, &page->addr)) {
            answers(&h[i], page, 8);
            return true;
        }
    if (page->state == DHT_PAGE_LINKED) {
        op->n_in_air++;
        return true;
    }
    ++*n_liars_asked;
    dht_read_heard(dht, NOW_US, op, NULL, page, &nothing);
    return true;
}

/* They come first, and what they invent is confirmed, so that it goes before what is true, and a link, too.  Nothing is hidden by it,
 * nobody else is asked more often, and all that it delays is what a link is waited for. */
START_TEST(two_who_confirm_each_other_hide_nothing)
{
    struct holder liar[2], h[2];
    size_t n_liars_asked = 0;
    dht->config.has_links = _i == 1;
    begin();
    for (uint8_t i = 0; i < 2; i++) {
        holder_init(&liar[i], (uint8_t)(10 + i));
        holder_init(&h[i], i);
        for (size_t w = 1; w <= N_TRUE; w++)
            hold(&h[i], w, 1, 100);
        invents(&liar[i].c, DHT_DIRECTORY_KEY_MAX);
    }
    op->phase = DHT_PHASE_STORING;
    lists(&h[0]);
    lists(&h[1]);
    while (play_one(h, &n_liars_asked))
        ;
    ck_assert_uint_eq(n_opened, (size_t)_i);
    ck_assert_uint_le(op->read->patience_us, NOW_US + 500000);
    dht_read_run(op, NOW_US + 500000);
    while (play_one(h, &n_liars_asked))
        ;
    ck_assert_uint_le(n_liars_asked, 4); /* twice each */
    ck_assert_uint_le(h[0].n_asked + h[1].n_asked, N_TRUE / 4);
    ck_assert_uint_eq(op->n_in_air, 0);
    end();
    ck_assert_uint_eq(n_given, N_TRUE);
    for (size_t i = 0; i < 2; i++)
        dht_directory_fini(&h[i].store);
}
END_TEST

/* An answer on a link that comes late and is false, while its holder is asked by a datagram as well: when the holder's place is taken
 * by another then, nobody waits for that datagram, and what becomes of it finds nobody. */
START_TEST(who_lies_on_a_late_link_is_asked_no_more)
{
    struct holder h[DHT_READ_HOLDERS_MAX + 1];
    struct dht_message question = {0};
    uint8_t raw[DHT_ENTRY_MAX] = {0, 0, 4, 1};
    struct dht_bulk_entries late = {.entries = {raw, sizeof raw}};
    dht->config.has_links = true;
    begin();
    op->number = 1;
    op->phase = DHT_PHASE_WALKING;
    dht->running.first = dht->running.last = op;
    for (uint8_t i = 0; i < 2; i++) {
        holder_init(&h[i], i);
        names(&h[i].c, 1, 60, 200);
    }
    struct dht_page *page = dht_read_next(dht, NOW_US, op);
    ck_assert(page && page->state == DHT_PAGE_LINKED);
    op->n_in_air++;
    dht_read_run(op, op->read->patience_us);
    ck_assert(dht_read_next(dht, NOW_US, op) == page && page->state != DHT_PAGE_LINKED);
    dht_read_question(op, page, &question);
    struct dht_transaction *sent = dht_ask(dht, NOW_US, &page->addr, &question, DHT_ROLE_PAGE, op->number);
    ck_assert_ptr_nonnull(sent);
    struct dht_transaction t = *sent;
    op->n_in_air++;
    dht_read_linked(dht, NOW_US, op, page, &page->id, &late);
    ck_assert(page->is_lost && op->n_in_air == 0);
    for (uint8_t i = 2; i <= DHT_READ_HOLDERS_MAX; i++) {
        holder_init(&h[i], i);
        names(&h[i].c, 1, 1, 200);
    }
    ck_assert_ptr_null(dht_read_page(op->read, &t.addr));
    ck_assert_uint_eq(dht->transactions.n, 0);
    dht->running.first = dht->running.last = NULL;
    end();
}
END_TEST

/* h[1] brings the entry that h[0] is asked for first, just before the answer of h[0], which has room for that one alone; or does not,
 * and h[0] brings none. */
static struct dht_page *overtaken(struct holder h[2], bool is_overtaken)
{
    static const uint8_t nobody[DHT_CURSOR_BYTES];
    struct dht_message q = {0}, m = {.kind = DHT_REPLY, .has_id = true, .id = h[0].c.id, .cursor = {nobody, sizeof nobody}};
    struct dht_message early = {.kind = DHT_REPLY, .has_id = true, .id = h[1].c.id};
    struct dht_page *page = dht_read_next(dht, NOW_US, op);
    ck_assert(page && page->state == DHT_PAGE_FETCHES && addr_equal(&page->addr, &h[0].c.addr));
    dht_read_question(op, page, &q);
    ck_assert_uint_gt(q.tags.n, DHT_TAG_BYTES);
    const struct dht_record *first = dht_directory_tagged(&h[0].store, &target, q.tags.bytes, NOW_US);
    ck_assert_ptr_nonnull(first);
    if (is_overtaken) {
        early.entries = m.entries = (struct dht_span){first->bytes, first->n};
        m.cursor.bytes = first->writer.byte;
        dht_read_heard(dht, NOW_US, op, NULL, dht_read_page(op->read, &h[1].c.addr), &early);
    }
    dht_read_heard(dht, NOW_US, op, NULL, page, &m);
    return page;
}

START_TEST(who_is_overtaken_by_another_holder_is_no_liar)
{
    struct holder h[2];
    bool is_lost = false;
    begin();
    for (uint8_t i = 0; i < 2; i++)
        holder_init(&h[i], i);
    for (size_t i = 0; i < 6; i++)
        hold(&h[0], i, 1, 600);
    hold(&h[1], 6, 1, 600);
    lists(&h[0]);
    lists(&h[1]);
    for (size_t round = 0; round < 3 && !is_lost; round++)
        is_lost = overtaken(h, _i == 0)->is_lost;
    ck_assert(is_lost == (_i == 1));
    go(h, 2, 1);
    ck_assert_uint_eq(op->read->found.n, _i == 0 ? 7 : 1);
    end();
    for (size_t i = 0; i < 2; i++)
        dht_directory_fini(&h[i].store);
}
END_TEST

/* -- Very many liars --------------------------------------------------------------------------------------- */

#define DIGESTS_PAGE 64
#define TRUE_PAGE 10

/* Another page of the liar's list, of what nobody else names, or one other; each goes before all that was named so far. */
static void lists_a_page(struct holder *liar, struct dht_page *page, bool in_pairs)
{
    uint8_t digests[DIGESTS_PAGE * DHT_DIGEST_BYTES] = {0}, cursor[DHT_CURSOR_BYTES] = {0};
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = liar->c.id, .has_n = true, .n = DHT_DIRECTORY_KEY_MAX};
    for (size_t i = 0; i < DIGESTS_PAGE; i++) {
        uint8_t *digest = digests + i * DHT_DIGEST_BYTES;
        digest[0] = (uint8_t)(UINT8_MAX - liar->n_tags);
        digest[1] = (uint8_t)(DIGESTS_PAGE - i);
        digest[2] = (uint8_t)(liar->c.id.byte[19] / (in_pairs ? 2 : 1));
    }
    cursor[0] = (uint8_t)++liar->n_tags;
    m.digests = (struct dht_span){digests, sizeof digests};
    if (liar->n_tags < DHT_DIRECTORY_KEY_MAX / DIGESTS_PAGE)
        m.cursor = (struct dht_span){cursor, sizeof cursor};
    dht_read_heard(dht, NOW_US, op, page ? NULL : &liar->c, page, &m);
}

/* Another page of what the holder has. */
static void lists_some(struct holder *h, struct dht_page *page)
{
    uint8_t digests[TRUE_PAGE * DHT_DIGEST_BYTES];
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true, .id = h->c.id, .has_n = true, .n = (unsigned)h->store.n};
    size_t first = page ? page->n_listed : 0, n = h->store.n - first < TRUE_PAGE ? h->store.n - first : TRUE_PAGE;
    for (size_t i = 0; i < n; i++)
        memcpy(digests + i * DHT_DIGEST_BYTES, h->store.record[first + i]->digest, DHT_DIGEST_BYTES);
    m.digests = (struct dht_span){digests, n * DHT_DIGEST_BYTES};
    if (first + n < h->store.n)
        m.cursor = (struct dht_span){h->store.record[first + n - 1]->writer.byte, DHT_CURSOR_BYTES};
    dht_read_heard(dht, NOW_US, op, page ? NULL : &h->c, page, &m);
}

/* What is in the air to a page is answered: by the holder with the truth, by a liar with more of its list, or with nothing. */
static void answer_page(struct holder *h, struct dht_page *page, bool is_true, bool in_pairs)
{
    const struct dht_message nothing = {.kind = DHT_REPLY, .has_id = true};
    if (page->state == DHT_PAGE_LISTS && is_true)
        lists_some(h, page);
    else if (page->state == DHT_PAGE_LISTS)
        lists_a_page(h, page, in_pairs);
    else if (page->state == DHT_PAGE_FETCHES && is_true)
        answers(h, page, 8);
    else if (page->state == DHT_PAGE_FETCHES)
        dht_read_heard(dht, NOW_US, op, NULL, page, &nothing);
}

/* All list as much as any may, the last holder alone what is true: no more than a few thousand are missed at any time, and all that is
 * true is found.  1: two and two name the same. */
START_TEST(however_many_invent_little_is_missed)
{
    static struct holder h[DHT_READ_HOLDERS_MAX];
    const size_t last = DHT_READ_HOLDERS_MAX - 1;
    size_t n_max = 0, n_idle = 0;
    begin();
    for (uint8_t i = 0; i <= last; i++)
        holder_init(&h[i], i);
    for (size_t w = 1; w < WRITERS; w++)
        hold(&h[last], w, 1, 100);
    gives(&h[last], NULL, 0, 1); /* so that lists come first */
    for (size_t i = 0; i < last; i++)
        lists_a_page(&h[i], NULL, _i == 1);
    lists_some(&h[last], NULL);
    for (size_t i = 0; n_idle <= last; i = i < last ? i + 1 : 0) {
        while (dht_read_next(dht, NOW_US, op))
            ; /* all are asked at once, and answer in turn */
        n_idle = op->read->page[i].state == DHT_PAGE_IDLE ? n_idle + 1 : 0;
        answer_page(&h[i], &op->read->page[i], i == last, _i == 1);
        n_max = op->read->n_missing > n_max ? op->read->n_missing : n_max;
    }
    ck_assert_uint_le(n_max, DHT_READ_HOLDERS_MAX * (DIGESTS_PAGE + DHT_READ_TAGS_MAX));
    for (size_t i = 0; i <= last; i++)
        ck_assert(op->read->page[i].is_lost == (i != last));
    ck_assert_uint_eq(op->read->n_missing, 0);
    end();
    ck_assert_uint_eq(n_given, WRITERS - 1);
    dht_directory_fini(&h[last].store);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-read-liars");
    TCase *all = tcase_create("read");
    tcase_add_checked_fixture(all, setup, teardown);
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
    tcase_add_loop_test(all, two_who_confirm_each_other_hide_nothing, 0, 2);
    tcase_add_test(all, who_lies_on_a_late_link_is_asked_no_more);
    tcase_add_loop_test(all, who_is_overtaken_by_another_holder_is_no_liar, 0, 2);
    tcase_add_loop_test(all, however_many_invent_little_is_missed, 0, 2);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
