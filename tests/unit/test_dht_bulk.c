/* The two messages of a large read, and what a storing node answers to whom. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/bulk.h"
#include "dht/node.h"

#define NOW_US (UINT64_C(1767225600) * 1000000)

static const struct dht_id key = {{7}};

START_TEST(a_read_is_read_as_written)
{
    uint8_t tags[5 * DHT_TAG_BYTES] = {0};
    struct dht_bulk_read m = {.call = 77, .key = key}, back;
    struct buf out;
    for (size_t i = 0; i < 5; i++)
        tags[i * DHT_TAG_BYTES + 3] = (uint8_t)i;
    m.tags = (struct dht_span){tags, (size_t)_i * DHT_TAG_BYTES};
    buf_init(&out, 10000);
    dht_bulk_read_encode(&m, &out);
    ck_assert_int_eq(dht_bulk_read_decode(&back, out.bytes, out.n), 0);
    ck_assert(back.call == 77 && back.tags.n == m.tags.n && memcmp(back.key.byte, key.byte, sizeof key.byte) == 0);
    ck_assert(m.tags.n == 0 || memcmp(back.tags.bytes, tags, m.tags.n) == 0);
    for (size_t n = 0; n < out.n; n++)
        ck_assert_int_eq(dht_bulk_read_decode(&back, out.bytes, n), HANSE_EPROTO);
    wire_put_u8(&out, 0); /* one more */
    ck_assert_int_eq(dht_bulk_read_decode(&back, out.bytes, out.n), HANSE_EPROTO);
    buf_fini(&out);
}
END_TEST

START_TEST(a_malformed_read_is_refused)
{
    static uint8_t tags[(DHT_BULK_TAGS_MAX + 1) * DHT_TAG_BYTES];
    struct dht_bulk_read m = {.call = 1, .key = key}, back;
    struct buf out;
    for (size_t i = 0; i <= DHT_BULK_TAGS_MAX; i++) {
        tags[i * DHT_TAG_BYTES] = (uint8_t)(i >> 8);
        tags[i * DHT_TAG_BYTES + 1] = (uint8_t)i;
    }
    buf_init(&out, sizeof tags + 100);
    m.tags = (struct dht_span){tags, sizeof tags};
    dht_bulk_read_encode(&m, &out);
    ck_assert_int_eq(dht_bulk_read_decode(&back, out.bytes, out.n), HANSE_EPROTO); /* too many */
    buf_clear(&out);
    m.tags.n -= DHT_TAG_BYTES;
    dht_bulk_read_encode(&m, &out);
    ck_assert_int_eq(dht_bulk_read_decode(&back, out.bytes, out.n), 0);
    out.bytes[1] = 1;
    ck_assert_int_eq(dht_bulk_read_decode(&back, out.bytes, out.n), HANSE_EPROTO);
    out.bytes[1] = 0;
    out.bytes[0] = 1; /* a HELLO */
    ck_assert_int_eq(dht_bulk_read_decode(&back, out.bytes, out.n), HANSE_EPROTO);
    out.bytes[0] = DHT_BULK_READ;
    memcpy(out.bytes + 28 + 8 * 9, out.bytes + 28 + 8 * 8, 8); /* one twice */
    ck_assert_int_eq(dht_bulk_read_decode(&back, out.bytes, out.n), HANSE_EPROTO);
    buf_fini(&out);
}
END_TEST

START_TEST(entries_are_read_as_written)
{
    struct dht_bulk_entries m = {.call = 9, .is_refused = _i == 1}, back;
    struct buf out;
    buf_init(&out, DHT_BULK_BYTES_MAX + 100);
    m.entries = (struct dht_span){(const uint8_t *)"some entries", _i == 1 ? 0 : 12};
    dht_bulk_entries_encode(&m, &out);
    ck_assert_int_eq(dht_bulk_entries_decode(&back, out.bytes, out.n), 0);
    ck_assert(back.call == 9 && back.is_refused == m.is_refused && back.entries.n == m.entries.n);
    for (size_t n = 0; n < 8; n++)
        ck_assert_int_eq(dht_bulk_entries_decode(&back, out.bytes, n), HANSE_EPROTO);
    out.bytes[1] = 2;
    ck_assert_int_eq(dht_bulk_entries_decode(&back, out.bytes, out.n), HANSE_EPROTO);
    out.bytes[1] = 0;
    ck_assert_ptr_nonnull(buf_extend(&out, DHT_BULK_BYTES_MAX));
    ck_assert_int_eq(dht_bulk_entries_decode(&back, out.bytes, out.n), HANSE_EPROTO); /* more than a key can have */
    buf_fini(&out);
}
END_TEST

/* -- A storing node ------------------------------------------------------------------------------------------ */

static struct dht *dht;
static struct key *own;
static size_t n_sent, n_refused, n_bytes, n_allotted, n_closed, queued[1024];
static io_link asker = 5;
static bool is_stuck; /* what is sent stays queued */
static bool is_closed[1024];

static void no_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    (void)ctx;
    (void)to;
    (void)bytes;
    (void)n;
}

static void on_send(void *ctx, io_link link, struct buf *message, bool is_urgent)
{
    struct dht_bulk_entries m;
    (void)ctx;
    ck_assert(link == asker && !is_urgent);
    ck_assert_int_eq(dht_bulk_entries_decode(&m, message->bytes, message->n), 0);
    ck_assert_uint_eq(m.call, 3);
    n_sent++;
    n_refused += m.is_refused;
    n_bytes += m.entries.n;
    n_allotted += message->capacity;
    queued[link] += is_stuck ? message->n : 0;
    buf_fini(message);
}

static size_t on_queued(void *ctx, io_link link)
{
    (void)ctx;
    return queued[link];
}

static void on_close(void *ctx, io_link link)
{
    (void)ctx;
    ck_assert(asker != 5 || link == 5);
    n_closed++;
    is_closed[link] = true;
    queued[link] *= asker == 5; /* in earnest */
}

static const struct io_ops ops = {
    .datagram = no_datagram, .link_send = on_send, .link_queued = on_queued, .link_close = on_close};

static void start(bool is_read_only)
{
    static const uint8_t seed[KEY_SEED_BYTES] = {1};
    struct io io = {&ops, NULL};
    ck_assert_int_eq(key_new(seed, &own), 0);
    struct dht_config config = {.key = own, .is_read_only = is_read_only, .has_links = true};
    ck_assert_int_eq(dht_new(&config, &io, NOW_US, &dht), 0);
    n_sent = n_refused = n_bytes = n_allotted = n_closed = 0;
    memset(queued, 0, sizeof queued);
    memset(is_closed, 0, sizeof is_closed);
    asker = 5;
    is_stuck = false;
}

static void stop(void)
{
    dht_free(dht);
    key_free(own);
}

/* Stores what `n` writers say; their signatures are nobody's concern here. */
static void fill(uint32_t n, size_t each)
{
    uint8_t raw[DHT_ENTRY_MAX] = {0};
    for (uint32_t i = 0; i < n; i++) {
        struct dht_entry e = {.seq = 1, .expiry_s = UINT32_MAX};
        static const struct addr from = {.family = 4, .ip = {10}, .port = 1};
        memcpy(e.writer.byte, &(uint32_t){__builtin_bswap32(i)}, 4);
        ck_assert_int_eq(dht_directory_store(&dht->directory, &key, &e, (struct dht_span){raw, each}, &from, NOW_US), 0);
    }
}

static enum dht_link_use hear(const void *bytes, size_t n, const char *from, uint64_t now_us)
{
    struct io_event event = {.kind = IO_MESSAGE, .link = asker, .bytes = bytes, .n_bytes = n};
    ck_assert_int_eq(addr_parse(&event.from, from), 0);
    return dht_link_event(dht, now_us, &event);
}

static enum dht_link_use read_from(const char *from, uint64_t now_us, size_t n_tags)
{
    uint8_t tags[8 * DHT_TAG_BYTES] = {0};
    struct dht_bulk_read m = {.call = 3, .key = key, .tags = {tags, n_tags * DHT_TAG_BYTES}};
    struct buf out;
    for (size_t i = 0; i < 8; i++)
        tags[i * DHT_TAG_BYTES + 3] = (uint8_t)(2 * i);
    buf_init(&out, 1000);
    dht_bulk_read_encode(&m, &out);
    enum dht_link_use use = hear(out.bytes, out.n, from, now_us);
    buf_fini(&out);
    return use;
}

START_TEST(a_storing_node_gives_all_or_just_these)
{
    start(false);
    fill(12, 200);
    ck_assert(read_from("9.8.7.6:1", NOW_US, 0));
    ck_assert(n_sent == 1 && n_refused == 0 && n_bytes == 12 * 200);
    ck_assert(read_from("9.8.7.6:1", NOW_US, 8)); /* two of the eight are nobody */
    ck_assert(n_sent == 2 && n_refused == 0 && n_bytes == (12 + 6) * 200);
    stop();
}
END_TEST

START_TEST(what_is_not_the_dhts_is_left_alone)
{
    static const uint8_t hello[] = {1, 2, 3, 4}, malformed[] = {DHT_BULK_READ, 0, 1};
    start(false);
    ck_assert(!hear(hello, sizeof hello, "9.8.7.6:1", NOW_US));
    ck_assert(!hear(hello, 0, "9.8.7.6:1", NOW_US));
    ck_assert(hear(malformed, sizeof malformed, "9.8.7.6:1", NOW_US));
    ck_assert_uint_eq(dht_stats(dht).n_malformed, 1);
    struct io_event up = {.kind = IO_LINK_UP, .link = 5}, down = {.kind = IO_LINK_DOWN, .link = 5}, tick = {.kind = IO_TICK};
    ck_assert(!dht_link_event(dht, NOW_US, &up) && !dht_link_event(dht, NOW_US, &down) && !dht_link_event(dht, NOW_US, &tick));
    stop();
    start(true); /* a reader has nothing to give */
    ck_assert(!read_from("9.8.7.6:1", NOW_US, 0));
    ck_assert_uint_eq(n_sent, 0);
    stop();
}
END_TEST

START_TEST(one_address_cannot_read_without_end)
{
    start(false);
    fill(DHT_DIRECTORY_KEY_MAX, 700);
    for (int i = 0; i < 100; i++)
        ck_assert(read_from("9.8.7.6:1", NOW_US, 0));
    ck_assert_uint_eq(n_sent, 100);
    ck_assert_uint_le(n_bytes, 3000000); /* of 36 MB */
    ck_assert_uint_ge(n_refused, 90);
    ck_assert_uint_eq(dht_stats(dht).n_refused, n_refused);
    size_t before = n_bytes;
    ck_assert(read_from("99.8.7.6:1", NOW_US, 0)); /* somebody else may */
    ck_assert_uint_eq(n_bytes, before + DHT_DIRECTORY_KEY_MAX * 700);
    ck_assert(read_from("9.8.7.6:1", NOW_US + 10000000, 0)); /* and later they may again */
    ck_assert_uint_eq(n_bytes, before + 2 * DHT_DIRECTORY_KEY_MAX * 700);
    stop();
}
END_TEST

START_TEST(a_link_with_much_in_it_is_closed)
{
    start(false);
    fill(10, 700);
    queued[5] = DHT_BULK_BYTES_MAX + 1;
    ck_assert_int_eq(read_from("10.8.7.6:1", NOW_US, 0), DHT_LINK_TAKEN);
    ck_assert(n_sent == 0 && n_closed == 1 && dht_stats(dht).n_refused == 1);
    queued[5] = DHT_BULK_BYTES_MAX;
    ck_assert_int_eq(read_from("10.8.7.6:1", NOW_US, 0), DHT_LINK_GIVEN);
    ck_assert(n_refused == 0 && n_bytes == 7000 && n_closed == 1);
    stop();
}
END_TEST

/* Somebody asks on and on, and takes nothing: from one address of many on loopback, where nearly everything is allowed, or far away. */
START_TEST(who_takes_nothing_fills_no_memory)
{
    static const char *const from[] = {"127.0.0.1:9", "9.8.7.6:1"};
    start(false);
    fill(64, 700);
    is_stuck = true;
    for (int i = 0; i < 2000; i++)
        ck_assert_int_ne(read_from(from[_i], NOW_US, 0), DHT_LINK_OTHERS);
    ck_assert_uint_le(n_allotted, DHT_BULK_BYTES_MAX + 8 + 64 * 700);
    ck_assert_uint_ge(n_sent, 5);
    ck_assert_uint_ge(n_closed, 1900);
    ck_assert_uint_eq(n_sent + n_closed, 2000);
    stop();
}
END_TEST

/* A thousand links that take nothing, from as many addresses: what waits on all of them has a ceiling, and whoever comes when no
 * reader would wait any more finds room. */
START_TEST(all_links_together_fill_little_memory)
{
    char from[32];
    size_t n = 0;
    start(false);
    fill(64, 700);
    is_stuck = true;
    for (int round = 0; round < 3; round++) {
        uint64_t now_us = NOW_US + (uint64_t)round * DHT_BULK_CALL_US;
        size_t n_given = 0;
        for (asker = 6; asker < 1000; asker++) {
            snprintf(from, sizeof from, "9.%d.%u.1:1", round, (unsigned)asker % 250);
            n_given += read_from(from, now_us, 0) == DHT_LINK_GIVEN;
        }
        n = 0;
        for (size_t i = 0; i < 1000; i++)
            n += queued[i];
        ck_assert_uint_le(n, DHT_BULK_WAITING_MAX + 1000 * 8);
        ck_assert_uint_ge(n_given, DHT_BULK_WAITING_MAX / (64 * 700 + 8) - 1);
    }
    ck_assert_uint_ge(n, DHT_BULK_WAITING_MAX / 2);
    memset(queued, 0, sizeof queued); /* all is taken */
    ck_assert_int_eq(read_from("9.7.7.7:1", NOW_US + 2 * DHT_BULK_CALL_US, 0), DHT_LINK_GIVEN);
    stop();
}
END_TEST

/* Strangers fill what may wait.  Who has other things on its link, of which some always wait, loses it for none of them: fewer wait
 * than before, or more, or it was emptied between two questions and filled again; only who takes nothing does. */
START_TEST(a_link_that_moves_is_not_closed)
{
    enum { STRANGERS = 300, SECONDS = 8 };
    char from[32];
    start(false);
    fill(64, 700);
    asker = 1;
    ck_assert_int_eq(read_from("77.1.1.1:1", NOW_US, 0), DHT_LINK_GIVEN);
    queued[1] = 300000;
    is_stuck = true;
    for (unsigned tick = 0; tick < 10 * SECONDS; tick++) {
        uint64_t now_us = NOW_US + (uint64_t)tick * 100000;
        queued[1] = _i == 0 ? 300000 - 10 * tick : _i == 1 ? 300000 + 10 * tick : _i == 2 && tick % 10 == 5 ? 0 : 300000;
        dht_tick(dht, now_us);
        for (asker = 6; tick % 10 == 9 && asker < STRANGERS; asker++) {
            snprintf(from, sizeof from, "9.%u.%u.1:1", tick, (unsigned)asker % 250);
            (void)read_from(from, now_us, 0);
        }
    }
    ck_assert_uint_ge(n_closed, DHT_BULK_WAITING_MAX / (64 * 700 + 8));
    ck_assert_int_eq(is_closed[1], _i == 3);
    stop();
}
END_TEST

START_TEST(an_answer_takes_the_memory_it_has_bytes_for)
{
    start(false);
    fill(13, 700);
    for (size_t n_tags = 0; n_tags <= 8; n_tags += 8) {
        n_allotted = n_bytes = 0;
        ck_assert_int_eq(read_from("9.8.7.6:1", NOW_US, n_tags), DHT_LINK_GIVEN);
        ck_assert_uint_eq(n_allotted, n_bytes + 8);
    }
    for (int i = 0; i < 500; i++)
        (void)read_from("9.8.7.6:1", NOW_US, 0);
    ck_assert_uint_ge(n_refused, 300);
    n_allotted = 0;
    ck_assert_int_eq(read_from("9.8.7.6:1", NOW_US, 0), DHT_LINK_TAKEN);
    ck_assert_uint_eq(n_allotted, 8); /* a refusal holds on to nothing more */
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-bulk");
    TCase *all = tcase_create("bulk");
    tcase_add_loop_test(all, a_read_is_read_as_written, 0, 6);
    tcase_add_test(all, a_malformed_read_is_refused);
    tcase_add_loop_test(all, entries_are_read_as_written, 0, 2);
    tcase_add_test(all, a_storing_node_gives_all_or_just_these);
    tcase_add_test(all, what_is_not_the_dhts_is_left_alone);
    tcase_add_test(all, one_address_cannot_read_without_end);
    tcase_add_test(all, a_link_with_much_in_it_is_closed);
    tcase_add_loop_test(all, who_takes_nothing_fills_no_memory, 0, 2);
    tcase_add_test(all, all_links_together_fill_little_memory);
    tcase_add_loop_test(all, a_link_that_moves_is_not_closed, 0, 4);
    tcase_add_test(all, an_answer_takes_the_memory_it_has_bytes_for);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
