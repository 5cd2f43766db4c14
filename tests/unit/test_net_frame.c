/* Frames: every cut of the stream, every order of messages, every ceiling. */
#include <string.h>

#include "base/random.h"
#include "net/frame.h"
#include "tests/unit/unit.h"

#define N_MESSAGES 60

static uint8_t stage[FRAME_BYTES];

/* Bytes as the other side would send them, for the refusals. */
static void put_frame(struct buf *out, unsigned kind, size_t n_payload, uint32_t number, uint32_t total)
{
    uint8_t header[FRAME_HEADER_BYTES] = {(uint8_t)kind, 0, (uint8_t)n_payload, (uint8_t)(n_payload >> 8)};
    for (int i = 0; i < 4; i++) {
        header[4 + i] = (uint8_t)(number >> 8 * i);
        header[8 + i] = (uint8_t)(total >> 8 * i);
    }
    buf_append(out, header, sizeof header);
    if (n_payload)
        memset(buf_extend(out, n_payload), 7, n_payload);
}

static void put_hello(struct buf *out)
{
    put_frame(out, FRAME_HELLO, 0, 0, 0);
}

/* Gives `bytes` to the reader as it asks for them, at most `cut` at a time; stops at the first fault.  Counts whole messages. */
static int feed(struct frame_reader *r, const uint8_t *bytes, size_t n, size_t cut, void (*each)(void *, const struct frame *),
                void *arg)
{
    while (n > 0) {
        size_t room;
        uint8_t *at = frame_want(r, &room);
        ck_assert_uint_gt(room, 0);
        size_t k = room < n ? room : n;
        k = k < cut ? k : cut;
        memcpy(at, bytes, k);
        struct frame frame;
        int err = frame_got(r, k, &frame);
        if (err)
            return err;
        if (frame.kind != FRAME_NONE && each)
            each(arg, &frame);
        bytes += k;
        n -= k;
    }
    return 0;
}

static int feed_once(struct buf *bytes)
{
    struct frame_budget budget = {.max = SIZE_MAX};
    struct frame_reader r;
    frame_reader_init(&r, &budget);
    int err = feed(&r, bytes->bytes, bytes->n, SIZE_MAX, NULL, NULL);
    frame_reader_fini(&r);
    ck_assert_uint_eq(budget.used, 0);
    buf_fini(bytes);
    return err;
}

/* ---- a stream of random messages ---- */

struct play {
    struct rng rng;
    size_t n[N_MESSAGES];
    bool has_come[N_MESSAGES];
    size_t n_come;
};

static uint8_t byte_at(size_t message_i, size_t i)
{
    return (uint8_t)(message_i * 37 + i * 11 + (i >> 8));
}

static void make(struct play *play, struct frame_writer *w, size_t i)
{
    static const size_t sizes[] = {2, 300, 16372, 16373, 40000, 300000};
    struct buf message;
    play->n[i] = 2 + rng_below(&play->rng, sizes[rng_below(&play->rng, 6)]);
    buf_init(&message, IO_MESSAGE_MAX);
    uint8_t *bytes = buf_extend(&message, play->n[i]);
    for (size_t k = 2; k < play->n[i]; k++)
        bytes[k] = byte_at(i, k);
    bytes[0] = (uint8_t)i;
    bytes[1] = 0;
    ck_assert_int_eq(frame_send(w, &message, rng_below(&play->rng, 4) == 0), 0);
    ck_assert_ptr_null(message.bytes);
}

static void check(void *arg, const struct frame *frame)
{
    struct play *play = arg;
    if (frame->kind != FRAME_DATA)
        return;
    size_t i = frame->bytes[0];
    ck_assert_uint_lt(i, N_MESSAGES);
    ck_assert(!play->has_come[i]);
    ck_assert_uint_eq(frame->n, play->n[i]);
    ck_assert_uint_eq((uintptr_t)frame->bytes % 8, 0);
    size_t k = 2; /* one assertion a message: Check writes each one down */
    while (k < frame->n && frame->bytes[k] == byte_at(i, k))
        k++;
    ck_assert_uint_eq(k, frame->n);
    play->has_come[i] = true;
    play->n_come++;
}

START_TEST(test_random_messages_arrive_whole)
{
    struct play play = {0};
    struct frame_budget budget = {.max = FRAME_ASSEMBLY_MAX};
    struct frame_writer w;
    struct frame_reader r;
    size_t n_sent = 0, n_asked = 0;
    rng_init(&play.rng, (uint64_t)_i, "frames");
    frame_writer_init(&w);
    frame_reader_init(&r, &budget);
    frame_send_hello(&w);
    while (n_sent < N_MESSAGES || !frame_is_idle(&w)) {
        size_t n;
        if (n_sent < N_MESSAGES && rng_below(&play.rng, 2))
            make(&play, &w, n_sent++);
        if (rng_below(&play.rng, 8) == 0) {
            frame_send_ping(&w);
            n_asked++;
        }
        const uint8_t *bytes = frame_next(&w, stage, &n);
        if (!bytes)
            continue;
        ck_assert_uint_le(n, FRAME_BYTES);
        ck_assert_int_eq(feed(&r, bytes, n, 1 + rng_below(&play.rng, 20000), check, &play), 0);
    }
    ck_assert_uint_eq(play.n_come, N_MESSAGES);
    ck_assert_uint_eq(frame_queued(&w), 0);
    ck_assert_uint_eq(budget.used, 0);
    ck_assert_uint_eq(r.assembly_bytes, 0);
    frame_writer_fini(&w);
    frame_reader_fini(&r);
}
END_TEST

/* ---- cuts ---- */

static void send_text(struct frame_writer *w, const char *text, bool is_urgent)
{
    struct buf message;
    buf_init(&message, 100);
    buf_append(&message, text, strlen(text));
    ck_assert_int_eq(frame_send(w, &message, is_urgent), 0);
}

static void append_text(void *arg, const struct frame *frame)
{
    if (frame->kind == FRAME_DATA)
        buf_append(arg, frame->bytes, frame->n);
    buf_append(arg, "|", 1);
}

START_TEST(test_any_cut_reads_the_same)
{
    struct frame_budget budget = {.max = FRAME_ASSEMBLY_MAX};
    struct frame_writer w;
    size_t n;
    frame_writer_init(&w);
    frame_send_hello(&w);
    frame_send_ping(&w);
    frame_send_pong(&w, 9);
    send_text(&w, "one", false);
    send_text(&w, "", false);
    send_text(&w, "three", true);
    const uint8_t *bytes = frame_next(&w, stage, &n);
    ck_assert_uint_eq(n, 6 * FRAME_HEADER_BYTES + 8); /* gathered into one record */
    for (size_t cut = 1; cut <= n; cut++) {
        struct frame_reader r;
        struct buf text;
        buf_init(&text, 100);
        frame_reader_init(&r, &budget);
        ck_assert_int_eq(feed(&r, bytes, cut, SIZE_MAX, append_text, &text), 0);
        ck_assert_int_eq(feed(&r, bytes + cut, n - cut, cut, append_text, &text), 0);
        ck_assert_uint_eq(text.n, 14);
        ck_assert_mem_eq(text.bytes, "|||three||one|", 14);
        frame_reader_fini(&r);
        buf_fini(&text);
    }
    frame_writer_fini(&w);
}
END_TEST

START_TEST(test_the_end_may_come_anywhere)
{
    struct frame_budget budget = {.max = FRAME_ASSEMBLY_MAX};
    struct frame_reader r;
    struct buf bytes;
    buf_init(&bytes, 1000);
    put_hello(&bytes);
    put_frame(&bytes, FRAME_DATA, 5, 1, 20);
    put_frame(&bytes, FRAME_DATA, 3, 2, 9);
    put_frame(&bytes, FRAME_DATA, 5, 1, 20);
    for (size_t n = 0; n <= bytes.n; n++) {
        frame_reader_init(&r, &budget);
        ck_assert_int_eq(feed(&r, bytes.bytes, n, SIZE_MAX, NULL, NULL), 0);
        frame_reader_fini(&r);
        ck_assert_uint_eq(budget.used, 0);
    }
    buf_fini(&bytes);
}
END_TEST

/* ---- order ---- */

static void send_bytes(struct frame_writer *w, size_t n, uint8_t value, bool is_urgent)
{
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    memset(buf_extend(&message, n), value, n);
    ck_assert_int_eq(frame_send(w, &message, is_urgent), 0);
}

/* The value that fills the message of the next frame; 0 for none. */
static uint8_t next_value(struct frame_writer *w)
{
    size_t n;
    const uint8_t *bytes = frame_next(w, stage, &n);
    return bytes ? bytes[FRAME_HEADER_BYTES] : 0;
}

START_TEST(test_urgent_overtakes)
{
    struct frame_writer w;
    frame_writer_init(&w);
    send_bytes(&w, 1000000, 'L', false);
    ck_assert_uint_eq(next_value(&w), 'L');
    send_bytes(&w, 1000, 'u', true);
    ck_assert_uint_eq(next_value(&w), 'u');
    ck_assert_uint_eq(next_value(&w), 'L');
    frame_writer_fini(&w);
}
END_TEST

START_TEST(test_urgent_does_not_starve_the_rest)
{
    struct frame_writer w;
    unsigned n_large = 0;
    frame_writer_init(&w);
    send_bytes(&w, 1000000, 'L', false);
    for (int i = 0; i < 100; i++)
        send_bytes(&w, 16000, 'u', true);
    for (int i = 0; i < 100; i++)
        n_large += next_value(&w) == 'L';
    ck_assert_uint_ge(n_large, 4);
    ck_assert_uint_le(n_large, 10);
    frame_writer_fini(&w);
}
END_TEST

START_TEST(test_equal_messages_keep_their_order)
{
    struct frame_writer w;
    char order[100] = {0};
    frame_writer_init(&w);
    for (char c = 'a'; c < 'd'; c++)
        send_bytes(&w, 3 * (FRAME_BYTES - FRAME_HEADER_BYTES), (uint8_t)c, false);
    for (size_t i = 0; i < 9; i++)
        order[i] = (char)next_value(&w);
    ck_assert_str_eq(order, "aaabbbccc");
    frame_writer_fini(&w);
}
END_TEST

START_TEST(test_the_shorter_goes_first_and_the_oldest_moves)
{
    struct frame_writer w;
    size_t n_long = 0, n_short = 0;
    frame_writer_init(&w);
    send_bytes(&w, 100 * FRAME_BYTES, 'L', false);
    next_value(&w);
    send_bytes(&w, 12 * (FRAME_BYTES - FRAME_HEADER_BYTES), 's', false);
    while (n_short < 12) {
        uint8_t value = next_value(&w);
        n_short += value == 's';
        n_long += value == 'L';
    }
    ck_assert_uint_ge(n_long, 3); /* every fourth turn */
    ck_assert_uint_le(n_long, 4);
    frame_writer_fini(&w);
}
END_TEST

START_TEST(test_large_urgent_waits_like_others)
{
    struct frame_writer w;
    frame_writer_init(&w);
    send_bytes(&w, 100000, 'L', false);
    send_bytes(&w, FRAME_URGENT_MAX + 1, 'U', true);
    ck_assert_uint_eq(next_value(&w), 'L');
    ck_assert_uint_eq(next_value(&w), 'L');
    frame_writer_fini(&w);
}
END_TEST

/* Sixteen of the largest at once: the sender starts no more than the receiver takes. */
START_TEST(test_sender_respects_the_receivers_ceilings)
{
    struct frame_budget budget = {.max = SIZE_MAX};
    struct frame_writer w;
    struct frame_reader r;
    frame_writer_init(&w);
    frame_reader_init(&r, &budget);
    frame_send_hello(&w);
    for (int i = 0; i < 4; i++) {
        struct buf message;
        buf_init(&message, IO_MESSAGE_MAX);
        ck_assert_ptr_nonnull(buf_extend(&message, IO_MESSAGE_MAX));
        ck_assert_int_eq(frame_send(&w, &message, false), 0);
    }
    for (int i = 0; i < 30; i++)
        send_bytes(&w, 50000 + (size_t)i, 's', false);
    send_bytes(&w, FRAME_URGENT_MAX, 'u', true);
    for (int i = 0; i < 3000; i++) {
        size_t n;
        const uint8_t *bytes = frame_next(&w, stage, &n);
        ck_assert_ptr_nonnull(bytes);
        ck_assert_int_eq(feed(&r, bytes, n, SIZE_MAX, NULL, NULL), 0);
        ck_assert_uint_le(r.assembly_bytes, FRAME_ASSEMBLY_MAX);
    }
    frame_reader_fini(&r);
    frame_writer_fini(&w);
}
END_TEST

START_TEST(test_sender_refuses)
{
    struct frame_writer w;
    struct buf message;
    frame_writer_init(&w);
    buf_init(&message, IO_MESSAGE_MAX + 1);
    buf_extend(&message, IO_MESSAGE_MAX + 1);
    ck_assert_int_eq(frame_send(&w, &message, false), HANSE_EINVAL);
    ck_assert_ptr_null(message.bytes);
    buf_init(&message, 3);
    buf_append(&message, "four", 4);
    ck_assert_int_eq(frame_send(&w, &message, false), HANSE_EINVAL); /* a message that could not be built */
    w.n_queued = FRAME_QUEUE_MAX - 3;
    buf_init(&message, 10);
    buf_append(&message, "four", 4);
    ck_assert_int_eq(frame_send(&w, &message, false), HANSE_EFULL);
    ck_assert_ptr_null(message.bytes);
    w.n_queued = 0;
    frame_writer_fini(&w);
}
END_TEST

/* ---- refusals of the reader ---- */

struct wrong {
    const char *what;
    unsigned kind;
    size_t n_payload;
    uint32_t number, total;
    bool is_first; /* without a hello before it */
    int err;
};

static const struct wrong wrong[] = {
    {"data before the hello", FRAME_DATA, 1, 1, 1, true, HANSE_EPROTO},
    {"ping before the hello", FRAME_PING, 0, 1, 0, true, HANSE_EPROTO},
    {"a second hello", FRAME_HELLO, 0, 0, 0, false, HANSE_EPROTO},
    {"a long hello", FRAME_HELLO, FRAME_HELLO_MAX + 1, 0, 0, true, HANSE_EPROTO},
    {"a full hello", FRAME_HELLO, FRAME_HELLO_MAX, 0, 0, true, 0},
    {"a hello with a number", FRAME_HELLO, 0, 1, 0, true, HANSE_EPROTO},
    {"kind 0", 0, 0, 0, 0, false, HANSE_EPROTO},
    {"an unknown kind", 5, 0, 0, 0, false, HANSE_EPROTO},
    {"a ping with payload", FRAME_PING, 1, 0, 0, false, HANSE_EPROTO},
    {"a pong with a total", FRAME_PONG, 0, 0, 1, false, HANSE_EPROTO},
    {"stream 0", FRAME_DATA, 1, 0, 1, false, HANSE_EPROTO},
    {"an empty message", FRAME_DATA, 0, 1, 0, false, 0},
    {"an empty frame of a message", FRAME_DATA, 0, 1, 10, false, HANSE_EPROTO},
    {"more than the message", FRAME_DATA, 11, 1, 10, false, HANSE_EPROTO},
    {"a message too large", FRAME_DATA, 10, 1, (uint32_t)IO_MESSAGE_MAX + 1, false, HANSE_EPROTO},
    {"the largest message", FRAME_DATA, 10, 1, (uint32_t)IO_MESSAGE_MAX, false, 0},
    {"the largest frame", FRAME_DATA, FRAME_PAYLOAD_MAX, 1, 100000, false, 0},
    {"a frame too large", FRAME_DATA, FRAME_PAYLOAD_MAX + 1, 1, 100000, false, HANSE_EPROTO},
};

START_TEST(test_wrong_frames)
{
    const struct wrong *x = &wrong[_i];
    struct buf bytes;
    buf_init(&bytes, 100000);
    if (!x->is_first)
        put_hello(&bytes);
    put_frame(&bytes, x->kind, x->n_payload, x->number, x->total);
    int err = feed_once(&bytes);
    ck_assert_msg(err == x->err, "%s: got %d", x->what, err);
}
END_TEST

START_TEST(test_reserved_byte_must_be_zero)
{
    struct buf bytes;
    buf_init(&bytes, 100);
    put_hello(&bytes);
    bytes.bytes[1] = 1;
    ck_assert_int_eq(feed_once(&bytes), HANSE_EPROTO);
}
END_TEST

START_TEST(test_total_must_not_change)
{
    struct buf bytes;
    buf_init(&bytes, 1000);
    put_hello(&bytes);
    put_frame(&bytes, FRAME_DATA, 5, 1, 20);
    put_frame(&bytes, FRAME_DATA, 5, 1, 21);
    ck_assert_int_eq(feed_once(&bytes), HANSE_EPROTO);
    put_hello(&bytes);
    put_frame(&bytes, FRAME_DATA, 5, 1, 20);
    put_frame(&bytes, FRAME_DATA, 16, 1, 20);
    ck_assert_int_eq(feed_once(&bytes), HANSE_EPROTO);
}
END_TEST

START_TEST(test_too_many_unfinished)
{
    struct buf bytes;
    buf_init(&bytes, 1000);
    put_hello(&bytes);
    for (uint32_t i = 1; i <= FRAME_PARTIAL_MAX; i++)
        put_frame(&bytes, FRAME_DATA, 1, i, 2);
    put_frame(&bytes, FRAME_DATA, 1, 77, 1); /* whole at once: always welcome */
    put_frame(&bytes, FRAME_DATA, 1, 3, 2);
    put_frame(&bytes, FRAME_DATA, 1, 78, 2); /* in the place of 3 */
    struct buf more;
    buf_init(&more, 1000);
    buf_append(&more, bytes.bytes, bytes.n);
    ck_assert_int_eq(feed_once(&bytes), 0);
    put_frame(&more, FRAME_DATA, 1, 79, 2);
    ck_assert_int_eq(feed_once(&more), HANSE_EPROTO);
}
END_TEST

START_TEST(test_too_many_unfinished_bytes)
{
    struct buf bytes;
    buf_init(&bytes, 1000);
    put_hello(&bytes);
    put_frame(&bytes, FRAME_DATA, 1, 1, IO_MESSAGE_MAX);
    put_frame(&bytes, FRAME_DATA, 1, 2, IO_MESSAGE_MAX);
    put_frame(&bytes, FRAME_DATA, 1, 3, 2);
    ck_assert_int_eq(feed_once(&bytes), HANSE_EPROTO);
}
END_TEST

START_TEST(test_readers_share_a_budget)
{
    struct frame_budget budget = {.max = 100};
    struct frame_reader a, b;
    struct buf bytes;
    buf_init(&bytes, 1000);
    put_hello(&bytes);
    put_frame(&bytes, FRAME_DATA, 1, 1, 60);
    frame_reader_init(&a, &budget);
    frame_reader_init(&b, &budget);
    ck_assert_int_eq(feed(&a, bytes.bytes, bytes.n, SIZE_MAX, NULL, NULL), 0);
    ck_assert_int_eq(feed(&b, bytes.bytes, bytes.n, SIZE_MAX, NULL, NULL), HANSE_EFULL);
    frame_reader_fini(&b);
    frame_reader_fini(&a);
    ck_assert_uint_eq(budget.used, 0);
    frame_reader_init(&b, &budget);
    ck_assert_int_eq(feed(&b, bytes.bytes, bytes.n, SIZE_MAX, NULL, NULL), 0);
    frame_reader_fini(&b);
    buf_fini(&bytes);
}
END_TEST

START_TEST(test_garbage)
{
    struct rng rng;
    struct buf bytes;
    rng_init(&rng, (uint64_t)_i, "garbage");
    for (int round = 0; round < 200; round++) {
        buf_init(&bytes, 100000);
        put_hello(&bytes);
        for (int i = 0; i < 20; i++)
            put_frame(&bytes, (unsigned)(2 + rng_below(&rng, 3)), rng_below(&rng, 40), (uint32_t)rng_below(&rng, 4),
                      (uint32_t)rng_below(&rng, 60));
        size_t n = 12 + rng_below(&rng, 200);
        rng_bytes(&rng, buf_extend(&bytes, n), n);
        int err = feed_once(&bytes);
        ck_assert(err == 0 || err == HANSE_EPROTO);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net/frame");
    TCase *c = tcase_create("frame");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, test_random_messages_arrive_whole, 0, 12);
    tcase_add_test(c, test_any_cut_reads_the_same);
    tcase_add_test(c, test_the_end_may_come_anywhere);
    tcase_add_test(c, test_urgent_overtakes);
    tcase_add_test(c, test_urgent_does_not_starve_the_rest);
    tcase_add_test(c, test_equal_messages_keep_their_order);
    tcase_add_test(c, test_the_shorter_goes_first_and_the_oldest_moves);
    tcase_add_test(c, test_large_urgent_waits_like_others);
    tcase_add_test(c, test_sender_respects_the_receivers_ceilings);
    tcase_add_test(c, test_sender_refuses);
    tcase_add_loop_test(c, test_wrong_frames, 0, (int)(sizeof wrong / sizeof wrong[0]));
    tcase_add_test(c, test_reserved_byte_must_be_zero);
    tcase_add_test(c, test_total_must_not_change);
    tcase_add_test(c, test_too_many_unfinished);
    tcase_add_test(c, test_too_many_unfinished_bytes);
    tcase_add_test(c, test_readers_share_a_budget);
    tcase_add_loop_test(c, test_garbage, 0, 8);
    suite_add_tcase(suite, c);
    return unit_run(suite);
}
