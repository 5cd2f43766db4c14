/* What a reader makes of holders' answers, without a network: the test answers itself. */
#include "unit.h"

#include "dht_reading.h"

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

/* Whoever signs it: nobody calls a writer at an address of nobody or of many.  What is left open its own node alone fills in. */
START_TEST(an_address_of_nobody_is_not_given)
{
    static const char *addr[] = {"224.0.0.1:1", "255.255.255.255:1", "0.1.2.3:1",  "[ff02::1]:1",
                                 "80.1.2.3:0",  "0.0.0.0:1",         "127.0.0.1:1"};
    struct holder h;
    uint8_t raw[DHT_ENTRY_MAX];
    struct dht_entry e = {
        .writer = key_peer_id(key_of_writer[3]), .seq = 1, .n_bytes = 1, .expiry_s = (uint32_t)SIM_EPOCH_S + 300};
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true};
    holder_init(&h, 1);
    ck_assert_int_eq(addr_parse(&e.addr, addr[_i]), 0);
    m.entries = (struct dht_span){raw, dht_entry_encode(&e, &target, key_of_writer[3], raw)};
    begin();
    dht_read_heard(dht, NOW_US, op, &h.c, NULL, &m);
    end();
    ck_assert_uint_eq(n_given, _i == 6);
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

/* A holder is late, and there is no room to ask it again until another has brought what it was asked for. */
START_TEST(what_came_meanwhile_is_not_asked_for_again)
{
    struct holder h[2];
    struct dht_message question = {0}, bring = {.kind = DHT_REPLY, .has_id = true};
    begin();
    op->number = 1;
    op->deadline_us = NOW_US + DHT_OPERATION_US;
    dht->running.first = dht->running.last = op;
    for (uint8_t i = 0; i < 2; i++) {
        holder_init(&h[i], i);
        hold(&h[i], 1, 5, 20);
    }
    lists(&h[0]);
    struct dht_page *page = dht_read_next(dht, NOW_US, op);
    ck_assert_ptr_nonnull(page);
    dht_read_question(op, page, &question);
    struct dht_transaction *t = dht_ask(dht, NOW_US, &page->addr, &question, DHT_ROLE_PAGE, op->number);
    ck_assert_ptr_nonnull(t);
    op->n_in_air++;
    dht->window.size = 0;
    dht_tick(dht, t->soft_us);
    ck_assert(t->is_owed && op->n_in_air == 1);
    bring.entries = (struct dht_span){h[1].store.record[0]->bytes, h[1].store.record[0]->n};
    if (_i == 1) {
        dht_read_heard(dht, NOW_US, op, &h[1].c, NULL, &bring);
        lists(&h[1]);
    }
    dht->window.size = DHT_WINDOW_MIN;
    size_t n_before = dht->stats.n_queries_out;
    dht_walk_repeat(dht, t->soft_us, op, t);
    ck_assert_uint_eq(dht->stats.n_queries_out - n_before, _i == 0);
    ck_assert_uint_eq(op->n_in_air, _i == 0);
    ck_assert(page->state == (_i == 0 ? DHT_PAGE_FETCHES : DHT_PAGE_IDLE) && !page->is_lost);
    ck_assert_uint_eq(dht->transactions.n, _i == 0 ? 2 : 0);
    dht->running.first = dht->running.last = NULL;
    end();
    for (size_t i = 0; i < 2; i++)
        dht_directory_fini(&h[i].store);
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
    tcase_add_loop_test(all, an_address_of_nobody_is_not_given, 0, 7);
    tcase_add_test(all, the_farthest_of_too_many_holders_gives_way);
    tcase_add_test(all, what_is_kept_has_a_ceiling);
    tcase_add_loop_test(all, what_came_meanwhile_is_not_asked_for_again, 0, 2);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
