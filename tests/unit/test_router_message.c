#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/random.h"
#include "router/message.h"
#include "unit.h"

#define WIDTH 3
#define N_ROWS 4

static const float x[N_ROWS * WIDTH] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const float gy[N_ROWS * WIDTH] = {-1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -11, -12};
/* The same rows in each form; the integers are any. */
static const int8_t exponent[2][N_ROWS] = {{-3, 4, QUANTIZE_BAD, -114}, {0, 1, 2, 3}};
static const int8_t high[2][N_ROWS * WIDTH] = {{1, -1, 127, -127, 0, 5, 6, 7, 8, 9, 10, 11},
                                               {21, 22, 23, 24, 25, 26, 27, 28, 29}};
static const int8_t low[2][N_ROWS * WIDTH] = {{-128, 127, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {-1, -2, -3, -4, -5, -6, -7, -8, -9}};

/* x, or gy. */
static struct rows rows_in(enum numerics form, bool is_gy)
{
    if (form == NUMERICS_F32)
        return (struct rows){.f32 = is_gy ? gy : x};
    return (struct rows){.exponent = exponent[is_gy], .high = high[is_gy], .low = form == NUMERICS_I8X2 ? low[is_gy] : NULL};
}

static void expect_rows(const struct rows *got, enum numerics form, bool is_gy)
{
    struct rows sent = rows_in(form, is_gy);
    ck_assert_int_eq(rows_form(got), form);
    ck_assert(rows_equal(got, &sent, N_ROWS, WIDTH));
}

/* Bytes of them: four floats a row; or four exponents and four zeros, and one or two a value. */
static size_t sent_bytes(enum numerics form)
{
    static const size_t bytes[] = {4 * N_ROWS * WIDTH, 8 + 2 * N_ROWS * WIDTH, 8 + N_ROWS * WIDTH};
    return bytes[form];
}

static const uint32_t row_of_7[] = {0, 2, 3}, row_of_2[] = {1};
static const float weight_of_7[] = {0.5f, 0.25f, 1}, weight_of_2[] = {-2};

static struct message_group sent_group[2] = {
    {.expert = 7, .n_slots = 3, .version = 1234567890123, .row = row_of_7, .weight = weight_of_7},
    {.expert = 2, .n_slots = 1, .version = 5, .row = row_of_2, .weight = weight_of_2},
};
static struct message_group decoded_group[MESSAGE_GROUPS_MAX];
static struct buf message;

static struct message_request request_in(enum message_kind kind, enum numerics form)
{
    struct message_request m = {.kind = kind, .keep = true, .layer = 9, .wait_ms = 250, .call = 0x1122334455667788};
    m.n_rows = N_ROWS;
    m.D = WIDTH;
    m.lr_scale = 0.75f;
    m.form = form;
    m.rows = rows_in(form, kind == MESSAGE_BACKWARD);
    m.n_groups = 2;
    m.group = sent_group;
    return m;
}

static struct message_request request_of(enum message_kind kind)
{
    return request_in(kind, NUMERICS_F32);
}

static int decode_request(struct message_request *m, const void *bytes, size_t n)
{
    m->group = decoded_group;
    return message_request_decode(m, bytes, n);
}

static void setup(void)
{
    buf_init(&message, IO_MESSAGE_MAX);
}

static void teardown(void)
{
    buf_fini(&message);
}

START_TEST(test_hello)
{
    struct message_hello sent = {.role = ROLE_TRAINER, .version = MESSAGE_VERSION, .run = hash_bytes("run", 3)}, got;
    message_hello_encode(&sent, &message);
    ck_assert_uint_eq(message.n, 36);
    ck_assert_int_eq(message_kind(message.bytes, message.n), MESSAGE_HELLO);
    ck_assert_int_eq(message_hello_decode(&got, message.bytes, message.n), 0);
    ck_assert_uint_eq(got.role, ROLE_TRAINER);
    ck_assert(hash_equal(&got.run, &sent.run));
    for (size_t n = 0; n < message.n; n++)
        ck_assert_int_eq(message_hello_decode(&got, message.bytes, n), HANSE_EPROTO);
    message.bytes[1] = 0;
    ck_assert_int_eq(message_hello_decode(&got, message.bytes, message.n), HANSE_EPROTO);
    message.bytes[1] = 4;
    ck_assert_int_eq(message_hello_decode(&got, message.bytes, message.n), HANSE_EPROTO);
}
END_TEST

START_TEST(test_hello_of_another_version_is_understood_so_far)
{
    struct message_hello sent = {.role = 77, .version = 1, .run = hash_bytes("run", 3)}, got;
    message_hello_encode(&sent, &message);
    buf_append(&message, "more to say", 11);
    ck_assert_int_eq(message_hello_decode(&got, message.bytes, message.n), 0);
    ck_assert_uint_eq(got.version, 1);
    message.bytes[2] = MESSAGE_VERSION;
    message.bytes[1] = ROLE_HOST;
    ck_assert_int_eq(message_hello_decode(&got, message.bytes, message.n), HANSE_EPROTO);
}
END_TEST

START_TEST(test_refuse)
{
    struct message_refuse sent = {.err = HANSE_ERUN, .text = "another run"}, got;
    message_refuse_encode(&sent, &message);
    ck_assert_uint_eq(message.n, 4 + 11);
    ck_assert_int_eq(message_refuse_decode(&got, message.bytes, message.n), 0);
    ck_assert_int_eq(got.err, HANSE_ERUN);
    ck_assert_str_eq(got.text, "another run");
    for (size_t n = 0; n < 4; n++)
        ck_assert_int_eq(message_refuse_decode(&got, message.bytes, n), HANSE_EPROTO);
    message.bytes[2] = message.bytes[3] = 0;
    ck_assert_int_eq(message_refuse_decode(&got, message.bytes, message.n), HANSE_EPROTO);
}
END_TEST

START_TEST(test_refuse_longest)
{
    struct message_refuse sent = {.err = HANSE_EBUSY}, got;
    memset(sent.text, 'a', MESSAGE_TEXT_MAX);
    message_refuse_encode(&sent, &message);
    ck_assert_int_eq(message_refuse_decode(&got, message.bytes, message.n), 0);
    ck_assert_uint_eq(strlen(got.text), MESSAGE_TEXT_MAX);
    wire_put_u8(&message, 'a');
    ck_assert_int_eq(message_refuse_decode(&got, message.bytes, message.n), HANSE_EPROTO);
}
END_TEST

static const struct {
    const char *sent, *shown;
} texts[] = {
    {"\033[2Jgone\r\n", "?[2Jgone??"},
    {"L\xc3\xbc"
     "beck \xe2\x82\xac \xf0\x9f\x9a\xa2",
     "L\xc3\xbc"
     "beck \xe2\x82\xac \xf0\x9f\x9a\xa2"},
    {"\xc2\x9b"
     "31m",
     "??31m"},                    /* a C1 control */
    {"\xc0\xaf", "??"},           /* overlong */
    {"\xe0\x80\xaf", "???"},      /* overlong */
    {"\xed\xa0\x80", "???"},      /* a surrogate */
    {"\xf4\x90\x80\x80", "????"}, /* past the last code point */
    {"cut \xe2\x82", "cut ??"},   /* ends too early */
    {"a\x7f\xff\x80z", "a???z"},  /* DEL, never valid, a stray tail */
    {"\xe2\x82\xe2\x82\xac", "??\xe2\x82\xac"},
    {"a\xe2\x80\xaez", "a???z"}, /* right to left from here on */
};

START_TEST(test_refuse_text_is_printable)
{
    struct message_refuse sent = {.err = HANSE_EPROTO}, got;
    memcpy(sent.text, texts[_i].sent, strlen(texts[_i].sent));
    message_refuse_encode(&sent, &message);
    ck_assert_int_eq(message_refuse_decode(&got, message.bytes, message.n), 0);
    ck_assert_str_eq(got.text, texts[_i].shown);
}
END_TEST

START_TEST(test_cancel)
{
    uint64_t call;
    message_cancel_encode(0xfeedfacecafebeef, &message);
    ck_assert_uint_eq(message.n, 16);
    ck_assert_int_eq(message_cancel_decode(&call, message.bytes, message.n), 0);
    ck_assert_uint_eq(call, 0xfeedfacecafebeef);
    for (size_t n = 0; n < message.n; n++)
        ck_assert_int_eq(message_cancel_decode(&call, message.bytes, n), HANSE_EPROTO);
    wire_put_u8(&message, 0);
    ck_assert_int_eq(message_cancel_decode(&call, message.bytes, message.n), HANSE_EPROTO);
}
END_TEST

START_TEST(test_kind)
{
    uint8_t kind = 0;
    ck_assert_int_eq(message_kind(&kind, 0), 0);
    ck_assert_int_eq(message_kind(&kind, 1), 0);
    kind = 8;
    ck_assert_int_eq(message_kind(&kind, 1), 0);
    kind = 7;
    ck_assert_int_eq(message_kind(&kind, 1), MESSAGE_CANCEL);
}
END_TEST

START_TEST(test_forward)
{
    enum numerics form = (enum numerics)_i;
    struct message_request sent = request_in(MESSAGE_FORWARD, form), got;
    message_request_encode(&sent, &message);
    ck_assert_uint_eq(message.n, 28 + 2 * 8 + 4 * 4 + sent_bytes(form));
    ck_assert_int_eq(decode_request(&got, message.bytes, message.n), 0);
    ck_assert_int_eq(got.kind, MESSAGE_FORWARD);
    ck_assert(got.keep);
    ck_assert_uint_eq(got.layer, 9);
    ck_assert_uint_eq(got.wait_ms, 250);
    ck_assert_uint_eq(got.call, 0x1122334455667788);
    ck_assert_uint_eq(got.n_groups, 2);
    ck_assert_uint_eq(got.group[0].expert, 7);
    ck_assert_mem_eq(got.group[0].row, row_of_7, sizeof row_of_7);
    ck_assert_uint_eq(got.group[1].expert, 2);
    ck_assert_mem_eq(got.group[1].row, row_of_2, sizeof row_of_2);
    ck_assert_int_eq(got.form, form);
    expect_rows(&got.rows, form, false);
    const void *at = got.rows.f32 ? (const void *)got.rows.f32 : got.rows.high;
    ck_assert((const uint8_t *)at > message.bytes && (const uint8_t *)at < message.bytes + message.n);
    ck_assert(!rows_are_there(&got.x));
}
END_TEST

START_TEST(test_backward)
{
    enum numerics form = (enum numerics)(_i / 2);
    bool is_resent = _i % 2;
    struct message_request sent = request_in(MESSAGE_BACKWARD, form), got;
    if (is_resent)
        sent.x = rows_in(form, false);
    message_request_encode(&sent, &message);
    ck_assert_uint_eq(message.n, 32 + 2 * 16 + 2 * 4 * 4 + (is_resent ? 2 : 1) * sent_bytes(form));
    ck_assert_int_eq(decode_request(&got, message.bytes, message.n), 0);
    ck_assert(!got.keep);
    ck_assert(got.lr_scale == 0.75f);
    ck_assert_uint_eq(got.group[0].version, 1234567890123);
    ck_assert_uint_eq(got.group[1].version, 5);
    ck_assert_mem_eq(got.group[0].weight, weight_of_7, sizeof weight_of_7);
    ck_assert_mem_eq(got.group[1].weight, weight_of_2, sizeof weight_of_2);
    ck_assert_mem_eq(got.group[0].row, row_of_7, sizeof row_of_7);
    expect_rows(&got.rows, form, true);
    ck_assert_int_eq(rows_are_there(&got.x), is_resent);
    if (is_resent)
        expect_rows(&got.x, form, false);
}
END_TEST

/* Offsets of the fields that the tests below make wrong. */
enum { AT_KIND = 0, AT_FLAGS = 1, AT_ROWS = 16, AT_D = 20, AT_GROUPS = 24, AT_FORM = 26, AT_ZERO = 27, AT_LR = 28 };

static void poke_u32(size_t at, uint32_t v)
{
    memcpy(message.bytes + at, &v, sizeof v);
}

static void poke_f32(size_t at, float v)
{
    memcpy(message.bytes + at, &v, sizeof v);
}

static void expect_refused(void)
{
    struct message_request got;
    ck_assert_int_eq(decode_request(&got, message.bytes, message.n), HANSE_EPROTO);
}

START_TEST(test_request_refusals)
{
    struct message_request sent = request_of(_i % 2 ? MESSAGE_BACKWARD : MESSAGE_FORWARD), got;
    size_t groups_at = _i % 2 ? 32 : 28, group_bytes = _i % 2 ? 16 : 8, slots_at = groups_at + 2 * group_bytes;
    message_request_encode(&sent, &message);
    ck_assert_int_eq(decode_request(&got, message.bytes, message.n), 0);
    switch (_i / 2) {
    case 0:
        message.bytes[AT_KIND] = MESSAGE_HELLO;
        break;
    case 1:
        message.bytes[AT_FLAGS] = 2;
        break;
    case 2:
        poke_u32(AT_ROWS, 0);
        break;
    case 3:
        poke_u32(AT_ROWS, MESSAGE_ROWS_MAX + 1);
        break;
    case 4:
        poke_u32(AT_D, 0);
        break;
    case 5:
        poke_u32(AT_D, UINT32_MAX);
        break;
    case 6:
        poke_u32(AT_GROUPS, 0);
        break;
    case 7:
        poke_u32(AT_GROUPS, MESSAGE_GROUPS_MAX + 1);
        break;
    case 8:
        message.bytes[AT_ZERO] = 1;
        break;
    case 9:
        message.bytes[groups_at + 2] = 1;
        break;
    case 10: /* the same expert twice */
        message.bytes[groups_at + group_bytes] = 7;
        break;
    case 11:
        poke_u32(groups_at + 4, 0);
        break;
    case 12: /* slots moved from one group to another, the length unchanged, but more than there are rows */
        poke_u32(groups_at + 4, UINT32_MAX);
        poke_u32(groups_at + group_bytes + 4, 5);
        break;
    case 13: /* a row that is not there */
        poke_u32(slots_at, N_ROWS);
        break;
    case 14:
        poke_u32(slots_at + 12, UINT32_MAX);
        break;
    case 15:
        wire_put_u32(&message, 0);
        break;
    case 16:
        message.bytes[AT_FORM] = N_NUMERICS;
        break;
    case 17: /* the right bytes of another form */
        message.bytes[AT_FORM] = NUMERICS_I8X1;
        break;
    }
    expect_refused();
}
END_TEST

/* Zeros between the exponents and the integers, of x as of gy: what nobody checks today nobody can give a meaning tomorrow. */
START_TEST(test_request_refuses_what_stands_in_the_gap)
{
    enum numerics form = _i % 2 ? NUMERICS_I8X2 : NUMERICS_I8X1;
    struct message_request sent = request_in(MESSAGE_BACKWARD, form), got;
    sent.x = rows_in(form, false);
    message_request_encode(&sent, &message);
    size_t gap_at = message.n - (_i / 2 ? 1 : 2) * sent_bytes(form) + N_ROWS;
    for (size_t i = 0; i < 4; i++) {
        message.bytes[gap_at + i] = 1;
        expect_refused();
        message.bytes[gap_at + i] = 0;
    }
    ck_assert_int_eq(decode_request(&got, message.bytes, message.n), 0);
}
END_TEST

START_TEST(test_backward_refuses_lr_scale)
{
    const float bad[] = {-0.001f, 1.001f, NAN, INFINITY, -INFINITY};
    struct message_request sent = request_of(MESSAGE_BACKWARD), got;
    message_request_encode(&sent, &message);
    poke_f32(AT_LR, 0);
    ck_assert_int_eq(decode_request(&got, message.bytes, message.n), 0);
    poke_f32(AT_LR, 1);
    ck_assert_int_eq(decode_request(&got, message.bytes, message.n), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        poke_f32(AT_LR, bad[i]);
        expect_refused();
    }
}
END_TEST

/* One wide row for a thousand experts would be answered with a quarter of a gigabyte.  Answers to one slice come in two. */
START_TEST(test_request_refuses_what_could_not_be_answered)
{
    static const size_t n_most[] = {255, 511, 511};
    static struct message_group group[MESSAGE_GROUPS_MAX];
    static float wide[MESSAGE_WIDTH_MAX];
    enum numerics form = (enum numerics)_i;
    const uint32_t row = 0;
    for (size_t g = 0; g < MESSAGE_GROUPS_MAX; g++)
        group[g] = (struct message_group){.expert = (uint16_t)g, .n_slots = 1, .row = &row};
    struct message_request sent = {.kind = MESSAGE_FORWARD, .n_rows = 1, .D = MESSAGE_WIDTH_MAX, .form = form}, got;
    sent.rows = rows_at(form, wide, 1, MESSAGE_WIDTH_MAX);
    sent.group = group;
    sent.n_groups = n_most[form];
    message_request_encode(&sent, &message);
    ck_assert_int_eq(decode_request(&got, message.bytes, message.n), 0);
    buf_clear(&message);
    sent.n_groups++;
    message_request_encode(&sent, &message);
    expect_refused();
}
END_TEST

/* The largest counts that a head may name: nothing wraps round on the way to the length that they would need. */
START_TEST(test_request_refuses_the_largest_counts)
{
    struct message_request sent = request_in(MESSAGE_BACKWARD, (enum numerics)_i);
    message_request_encode(&sent, &message);
    poke_u32(AT_ROWS, MESSAGE_ROWS_MAX);
    poke_u32(AT_D, MESSAGE_WIDTH_MAX);
    for (size_t g = 0; g < 2; g++)
        poke_u32(32 + 16 * g + 4, MESSAGE_ROWS_MAX);
    message.bytes[AT_FLAGS] = 1;
    expect_refused();
}
END_TEST

/* A copy of exactly n bytes, so that a sanitizer sees a read past the end. */
static void *exact_copy(const void *bytes, size_t n)
{
    void *copy = malloc(n ? n : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, n);
    return copy;
}

START_TEST(test_request_truncations)
{
    enum numerics form = (enum numerics)(_i / 3);
    struct message_request sent = request_in(_i % 3 ? MESSAGE_BACKWARD : MESSAGE_FORWARD, form), got;
    if (_i % 3 == 2)
        sent.x = rows_in(form, false);
    message_request_encode(&sent, &message);
    for (size_t n = 0; n < message.n; n++) {
        void *copy = exact_copy(message.bytes, n);
        ck_assert_int_eq(decode_request(&got, copy, n), HANSE_EPROTO);
        free(copy);
    }
}
END_TEST

/* Reads the last value of one row. */
static double touch_row(const struct rows *rows, size_t row, size_t D)
{
    size_t last = row * D + D - 1;
    if (rows->f32)
        return rows->f32[last];
    return rows->exponent[row] + rows->high[last] + (rows->low ? rows->low[last] : 0);
}

static void touch_request(const struct message_request *m)
{
    double sum = 0;
    ck_assert_int_eq(rows_form(&m->rows), m->form);
    for (size_t g = 0; g < m->n_groups; g++)
        for (size_t s = 0; s < m->group[g].n_slots; s++) {
            ck_assert_uint_lt(m->group[g].row[s], m->n_rows);
            sum += touch_row(&m->rows, m->group[g].row[s], m->D);
            sum += m->group[g].weight ? m->group[g].weight[s] : 0;
            sum += rows_are_there(&m->x) ? touch_row(&m->x, m->n_rows - 1, m->D) : 0;
        }
    volatile double sink = sum;
    (void)sink;
}

START_TEST(test_request_bit_flips)
{
    enum numerics form = (enum numerics)(_i / 3);
    struct message_request sent = request_in(_i % 3 ? MESSAGE_BACKWARD : MESSAGE_FORWARD, form), got;
    if (_i % 3 == 2)
        sent.x = rows_in(form, false);
    message_request_encode(&sent, &message);
    uint8_t *copy = exact_copy(message.bytes, message.n);
    for (size_t bit = 0; bit < 8 * message.n; bit++) {
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (!decode_request(&got, copy, message.n))
            touch_request(&got);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(copy);
}
END_TEST

/* Rows 0 and 1, none, and row 2. */
static struct message_reply reply_in(enum message_kind kind, enum numerics form)
{
    static struct message_group group[3];
    struct rows rows = rows_in(form, false);
    group[0] = (struct message_group){.expert = 7, .n_slots = 2, .version = 1ull << 40, .load = 99, .values = rows};
    group[1] = (struct message_group){.expert = 300, .n_slots = 5, .status = STATUS_BUSY};
    group[2] = (struct message_group){.expert = 2, .n_slots = 1, .staleness = 3, .values = rows_from(&rows, 2, WIDTH)};
    return (struct message_reply){.kind = kind, .form = form, .call = 42, .D = WIDTH, .n_groups = 3, .group = group};
}

static struct message_reply reply_of(enum message_kind kind)
{
    return reply_in(kind, NUMERICS_F32);
}

static int decode_reply(struct message_reply *m, const void *bytes, size_t n)
{
    m->group = decoded_group;
    return message_reply_decode(m, bytes, n);
}

START_TEST(test_reply)
{
    enum numerics form = _i / 2 ? NUMERICS_I8X2 : NUMERICS_F32;
    struct message_reply sent = reply_in(_i % 2 ? MESSAGE_BACKWARD_REPLY : MESSAGE_FORWARD_REPLY, form), got;
    struct rows first = rows_in(form, false), third = rows_from(&first, 2, WIDTH);
    message_reply_encode(&sent, &message);
    ck_assert_uint_eq(message.n, 16 + 3 * 32 + (form == NUMERICS_F32 ? 3 * WIDTH * 4 : 2 * 8 + 3 * WIDTH * 2));
    ck_assert_int_eq(decode_reply(&got, message.bytes, message.n), 0);
    ck_assert_int_eq(got.kind, sent.kind);
    ck_assert_int_eq(got.form, form);
    ck_assert_uint_eq(got.call, 42);
    ck_assert_uint_eq(got.n_groups, 3);
    ck_assert_uint_eq(got.group[0].version, 1ull << 40);
    ck_assert_uint_eq(got.group[0].load, 99);
    ck_assert(rows_equal(&got.group[0].values, &first, 2, WIDTH));
    ck_assert_uint_eq(got.group[1].status, STATUS_BUSY);
    ck_assert(!rows_are_there(&got.group[1].values));
    ck_assert_uint_eq(got.group[2].staleness, 3);
    ck_assert(rows_equal(&got.group[2].values, &third, 1, WIDTH));
}
END_TEST

/* Answers are never coarser than two slices. */
START_TEST(test_reply_in_one_slice_is_none)
{
    struct message_reply sent = reply_in(MESSAGE_FORWARD_REPLY, NUMERICS_I8X1), got;
    message_reply_encode(&sent, &message);
    ck_assert_int_eq(decode_reply(&got, message.bytes, message.n), HANSE_EPROTO);
    ck_assert_int_eq(rows_answer_form(NUMERICS_I8X1), NUMERICS_I8X2);
    ck_assert_int_eq(rows_answer_form(NUMERICS_F32), NUMERICS_F32);
}
END_TEST

START_TEST(test_reply_in_place_is_the_same)
{
    enum numerics form = _i ? NUMERICS_I8X2 : NUMERICS_F32;
    struct message_reply m = reply_in(MESSAGE_FORWARD_REPLY, form);
    struct rows first = rows_in(form, false), third = rows_from(&first, 2, WIDTH);
    message_reply_encode(&m, &message);
    struct buf placed;
    buf_init(&placed, IO_MESSAGE_MAX);
    wire_put_u64(&placed, UINT64_MAX); /* what lay there before must not show in the gaps */
    for (size_t i = 0; i < 40; i++)
        wire_put_u64(&placed, UINT64_MAX);
    buf_clear(&placed);
    ck_assert_int_eq(message_reply_begin(&m, &placed), 0);
    ck_assert_uint_eq((uintptr_t)m.group[0].values.f32 % sizeof(float), 0);
    rows_copy(&m.group[2].values, &third, 1, WIDTH);
    rows_copy(&m.group[1].values, &first, N_ROWS, WIDTH); /* refused: to be left out */
    rows_copy(&m.group[0].values, &first, 2, WIDTH);
    message_reply_end(&m, &placed);
    ck_assert_uint_eq(placed.n, message.n);
    ck_assert_mem_eq(placed.bytes, message.bytes, message.n);
    buf_fini(&placed);

    buf_init(&placed, 64);
    ck_assert_int_eq(message_reply_begin(&m, &placed), HANSE_EFULL);
    buf_fini(&placed);
}
END_TEST

START_TEST(test_reply_refusals)
{
    struct message_reply sent = reply_of(MESSAGE_FORWARD_REPLY), got;
    message_reply_encode(&sent, &message);
    struct {
        size_t at;
        uint8_t byte;
    } bad[] = {
        {0, MESSAGE_FORWARD}, {1, 3},       {2, 0},         {2, 2},      {3, 0xff},    {4, 0},       {7, 1},
        {16 + 2, 6},          {16 + 3, 1},  {16 + 4, 1},    {16 + 4, 0}, {16 + 12, 1}, {16 + 32, 7}, /* expert 263 then: */
        {16 + 64 + 2, 1},     {16 + 64, 7}, {16 + 7, 0xff},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t was = message.bytes[bad[i].at];
        bool is_harmless = bad[i].at == 16 + 32; /* 300 became 263: another expert, still once */
        message.bytes[bad[i].at] = bad[i].byte;
        ck_assert_msg(decode_reply(&got, message.bytes, message.n) == (is_harmless ? 0 : HANSE_EPROTO), "case %zu", i);
        message.bytes[bad[i].at] = was;
    }
    for (size_t n = 0; n < message.n; n++) {
        void *copy = exact_copy(message.bytes, n);
        ck_assert_int_eq(decode_reply(&got, copy, n), HANSE_EPROTO);
        free(copy);
    }
}
END_TEST

START_TEST(test_reply_bit_flips)
{
    struct message_reply sent = reply_in(MESSAGE_FORWARD_REPLY, _i ? NUMERICS_I8X2 : NUMERICS_F32), got;
    message_reply_encode(&sent, &message);
    uint8_t *copy = exact_copy(message.bytes, message.n);
    volatile double sink = 0;
    for (size_t bit = 0; bit < 8 * message.n; bit++) {
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (!decode_reply(&got, copy, message.n))
            for (size_t g = 0; g < got.n_groups; g++)
                if (rows_are_there(&got.group[g].values))
                    sink = touch_row(&got.group[g].values, got.group[g].n_slots - 1, got.D);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    (void)sink;
    free(copy);
}
END_TEST

/* Noise that begins like a message: the decoders return, and what they accept is safe to read. */
START_TEST(test_noise)
{
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "noise");
    for (int round = 0; round < 2000; round++) {
        size_t n = (size_t)rng_below(&rng, 200);
        uint8_t *bytes = malloc(n + 1);
        ck_assert_ptr_nonnull(bytes);
        for (size_t i = 0; i < n; i++)
            bytes[i] = rng_below(&rng, 3) ? 0 : (uint8_t)rng_below(&rng, 8);
        struct message_request request;
        struct message_reply reply;
        if (!decode_request(&request, bytes, n))
            touch_request(&request);
        if (!decode_reply(&reply, bytes, n))
            ck_assert_uint_ge(reply.n_groups, 1);
        free(bytes);
    }
}
END_TEST

static Suite *message_suite(void)
{
    Suite *suite = suite_create("router/message");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_hello);
    tcase_add_test(tc, test_hello_of_another_version_is_understood_so_far);
    tcase_add_test(tc, test_refuse);
    tcase_add_test(tc, test_refuse_longest);
    tcase_add_loop_test(tc, test_refuse_text_is_printable, 0, (int)(sizeof texts / sizeof *texts));
    tcase_add_test(tc, test_cancel);
    tcase_add_test(tc, test_kind);
    tcase_add_loop_test(tc, test_forward, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_backward, 0, 2 * N_NUMERICS);
    tcase_add_loop_test(tc, test_request_refusals, 0, 36);
    tcase_add_loop_test(tc, test_request_refuses_what_stands_in_the_gap, 0, 4);
    tcase_add_test(tc, test_backward_refuses_lr_scale);
    tcase_add_loop_test(tc, test_request_refuses_what_could_not_be_answered, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_request_refuses_the_largest_counts, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_request_truncations, 0, 3 * N_NUMERICS);
    tcase_add_loop_test(tc, test_request_bit_flips, 0, 3 * N_NUMERICS);
    tcase_add_loop_test(tc, test_reply, 0, 4);
    tcase_add_test(tc, test_reply_in_one_slice_is_none);
    tcase_add_loop_test(tc, test_reply_in_place_is_the_same, 0, 2);
    tcase_add_test(tc, test_reply_refusals);
    tcase_add_loop_test(tc, test_reply_bit_flips, 0, 2);
    tcase_add_loop_test(tc, test_noise, 0, 8);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return unit_run(message_suite());
}
