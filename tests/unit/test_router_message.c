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
static const uint32_t row_of_7[] = {0, 2, 3}, row_of_2[] = {1};
static const float weight_of_7[] = {0.5f, 0.25f, 1}, weight_of_2[] = {-2};

static struct message_group sent_group[2] = {
    {.expert = 7, .n_slots = 3, .version = 1234567890123, .row = row_of_7, .weight = weight_of_7},
    {.expert = 2, .n_slots = 1, .version = 5, .row = row_of_2, .weight = weight_of_2},
};
static struct message_group decoded_group[MESSAGE_GROUPS_MAX];
static struct buf message;

static struct message_request request_of(enum message_kind kind)
{
    struct message_request m = {.kind = kind, .keep = true, .layer = 9, .wait_ms = 250, .call = 0x1122334455667788};
    m.n_rows = N_ROWS;
    m.D = WIDTH;
    m.lr_scale = 0.75f;
    m.rows = kind == MESSAGE_FORWARD ? x : gy;
    m.n_groups = 2;
    m.group = sent_group;
    return m;
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
    struct message_hello sent = {.role = 77, .version = 2, .run = hash_bytes("run", 3)}, got;
    message_hello_encode(&sent, &message);
    buf_append(&message, "more to say", 11);
    ck_assert_int_eq(message_hello_decode(&got, message.bytes, message.n), 0);
    ck_assert_uint_eq(got.version, 2);
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
    struct message_request sent = request_of(MESSAGE_FORWARD), got;
    message_request_encode(&sent, &message);
    ck_assert_uint_eq(message.n, 28 + 2 * 8 + 4 * 4 + 4 * N_ROWS * WIDTH);
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
    ck_assert_mem_eq(got.rows, x, sizeof x);
    ck_assert((const uint8_t *)got.rows > message.bytes && (const uint8_t *)got.rows < message.bytes + message.n);
    ck_assert_ptr_null(got.x);
}
END_TEST

START_TEST(test_backward)
{
    struct message_request sent = request_of(MESSAGE_BACKWARD), got;
    sent.x = _i ? x : NULL;
    message_request_encode(&sent, &message);
    ck_assert_uint_eq(message.n, 32 + 2 * 16 + 2 * 4 * 4 + (1 + (size_t)_i) * 4 * N_ROWS * WIDTH);
    ck_assert_int_eq(decode_request(&got, message.bytes, message.n), 0);
    ck_assert(!got.keep);
    ck_assert(got.lr_scale == 0.75f);
    ck_assert_uint_eq(got.group[0].version, 1234567890123);
    ck_assert_uint_eq(got.group[1].version, 5);
    ck_assert_mem_eq(got.group[0].weight, weight_of_7, sizeof weight_of_7);
    ck_assert_mem_eq(got.group[1].weight, weight_of_2, sizeof weight_of_2);
    ck_assert_mem_eq(got.group[0].row, row_of_7, sizeof row_of_7);
    ck_assert_mem_eq(got.rows, gy, sizeof gy);
    ck_assert_int_eq(got.x != NULL, _i);
    if (got.x)
        ck_assert_mem_eq(got.x, x, sizeof x);
}
END_TEST

/* Offsets of the fields that the tests below make wrong. */
enum { AT_KIND = 0, AT_FLAGS = 1, AT_ROWS = 16, AT_D = 20, AT_GROUPS = 24, AT_ZERO = 26, AT_LR = 28 };

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
    }
    expect_refused();
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

/* One wide row for a thousand experts would be answered with a quarter of a gigabyte. */
START_TEST(test_request_refuses_what_could_not_be_answered)
{
    static struct message_group group[MESSAGE_GROUPS_MAX];
    static float wide[MESSAGE_WIDTH_MAX];
    const uint32_t row = 0;
    for (size_t g = 0; g < MESSAGE_GROUPS_MAX; g++)
        group[g] = (struct message_group){.expert = (uint16_t)g, .n_slots = 1, .row = &row};
    struct message_request sent = {.kind = MESSAGE_FORWARD, .n_rows = 1, .D = MESSAGE_WIDTH_MAX, .rows = wide}, got;
    sent.group = group;
    sent.n_groups = 255;
    message_request_encode(&sent, &message);
    ck_assert_int_eq(decode_request(&got, message.bytes, message.n), 0);
    buf_clear(&message);
    sent.n_groups = 256;
    message_request_encode(&sent, &message);
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
    struct message_request sent = request_of(_i ? MESSAGE_BACKWARD : MESSAGE_FORWARD), got;
    sent.x = _i == 2 ? x : NULL;
    message_request_encode(&sent, &message);
    for (size_t n = 0; n < message.n; n++) {
        void *copy = exact_copy(message.bytes, n);
        ck_assert_int_eq(decode_request(&got, copy, n), HANSE_EPROTO);
        free(copy);
    }
}
END_TEST

static void touch_request(const struct message_request *m)
{
    double sum = 0;
    for (size_t g = 0; g < m->n_groups; g++)
        for (size_t s = 0; s < m->group[g].n_slots; s++) {
            ck_assert_uint_lt(m->group[g].row[s], m->n_rows);
            sum += m->rows[(size_t)m->group[g].row[s] * m->D + m->D - 1];
            sum += m->group[g].weight ? m->group[g].weight[s] : 0;
            sum += m->x ? m->x[(size_t)m->n_rows * m->D - 1] : 0;
        }
    volatile double sink = sum;
    (void)sink;
}

START_TEST(test_request_bit_flips)
{
    struct message_request sent = request_of(_i ? MESSAGE_BACKWARD : MESSAGE_FORWARD), got;
    sent.x = _i == 2 ? x : NULL;
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

static struct message_reply reply_of(enum message_kind kind)
{
    static struct message_group group[3];
    group[0] = (struct message_group){.expert = 7, .n_slots = 2, .version = 1ull << 40, .load = 99, .values = x};
    group[1] = (struct message_group){.expert = 300, .n_slots = 5, .status = STATUS_BUSY};
    group[2] = (struct message_group){.expert = 2, .n_slots = 1, .staleness = 3, .values = x + 6};
    return (struct message_reply){.kind = kind, .call = 42, .D = WIDTH, .n_groups = 3, .group = group};
}

static int decode_reply(struct message_reply *m, const void *bytes, size_t n)
{
    m->group = decoded_group;
    return message_reply_decode(m, bytes, n);
}

START_TEST(test_reply)
{
    struct message_reply sent = reply_of(_i ? MESSAGE_BACKWARD_REPLY : MESSAGE_FORWARD_REPLY), got;
    message_reply_encode(&sent, &message);
    ck_assert_uint_eq(message.n, 16 + 3 * 32 + 3 * WIDTH * 4);
    ck_assert_int_eq(decode_reply(&got, message.bytes, message.n), 0);
    ck_assert_int_eq(got.kind, sent.kind);
    ck_assert_uint_eq(got.call, 42);
    ck_assert_uint_eq(got.n_groups, 3);
    ck_assert_uint_eq(got.group[0].version, 1ull << 40);
    ck_assert_uint_eq(got.group[0].load, 99);
    ck_assert_mem_eq(got.group[0].values, x, sizeof(float) * 2 * WIDTH);
    ck_assert_uint_eq(got.group[1].status, STATUS_BUSY);
    ck_assert_ptr_null(got.group[1].values);
    ck_assert_uint_eq(got.group[2].staleness, 3);
    ck_assert_mem_eq(got.group[2].values, x + 6, sizeof(float) * WIDTH);
}
END_TEST

START_TEST(test_reply_in_place_is_the_same)
{
    struct message_reply m = reply_of(MESSAGE_FORWARD_REPLY);
    message_reply_encode(&m, &message);
    struct buf placed;
    buf_init(&placed, IO_MESSAGE_MAX);
    ck_assert_int_eq(message_reply_begin(&m, &placed), 0);
    ck_assert_uint_eq((uintptr_t)m.group[0].values % sizeof(float), 0);
    memcpy((float *)m.group[2].values, x + 6, sizeof(float) * WIDTH);
    memset((float *)m.group[1].values, 0xff, sizeof(float) * 5 * WIDTH); /* refused: to be left out */
    memcpy((float *)m.group[0].values, x, sizeof(float) * 2 * WIDTH);
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
        {0, MESSAGE_FORWARD}, {1, 1},       {2, 0},         {2, 2},      {3, 0xff},    {4, 0},       {7, 1},
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
    struct message_reply sent = reply_of(MESSAGE_FORWARD_REPLY), got;
    message_reply_encode(&sent, &message);
    uint8_t *copy = exact_copy(message.bytes, message.n);
    volatile float sink = 0;
    for (size_t bit = 0; bit < 8 * message.n; bit++) {
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (!decode_reply(&got, copy, message.n))
            for (size_t g = 0; g < got.n_groups; g++)
                if (got.group[g].values)
                    sink = got.group[g].values[got.group[g].n_slots * got.D - 1];
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    (void)sink;
    free(copy);
}
END_TEST

START_TEST(test_claims)
{
    struct message_claim sent[MESSAGE_ROW_EXPERTS], got[MESSAGE_ROW_EXPERTS];
    uint8_t bytes[MESSAGE_CLAIMS_BYTES];
    size_t n_sent = (size_t)_i, n_got = 99;
    for (size_t i = 0; i < n_sent; i++)
        sent[i] = (struct message_claim){(uint8_t)(i + 64 - n_sent), (uint8_t)(3 * i), (uint32_t)i << 20,
                                         UINT32_MAX - (uint32_t)i};
    size_t n = message_claims_encode(sent, n_sent, bytes);
    ck_assert_uint_eq(n, 4 + 10 * n_sent);
    ck_assert_int_eq(message_claims_decode(got, &n_got, bytes, n), 0);
    ck_assert_uint_eq(n_got, n_sent);
    for (size_t i = 0; i < n_sent; i++) {
        ck_assert_uint_eq(got[i].index, sent[i].index);
        ck_assert_uint_eq(got[i].epoch, sent[i].epoch);
        ck_assert_uint_eq(got[i].version, sent[i].version);
        ck_assert_uint_eq(got[i].load, sent[i].load);
    }
    for (size_t cut = 0; cut < n; cut++)
        ck_assert_int_eq(message_claims_decode(got, &n_got, bytes, cut), HANSE_EPROTO);
}
END_TEST

START_TEST(test_claims_refusals)
{
    struct message_claim sent[2] = {{.index = 3}, {.index = 5}}, got[MESSAGE_ROW_EXPERTS];
    uint8_t bytes[MESSAGE_CLAIMS_BYTES];
    size_t n_got, n = message_claims_encode(sent, 2, bytes);
    struct {
        size_t at;
        uint8_t byte;
    } bad[] = {{0, 0}, {0, 2}, {1, 1}, {2, 1}, {2, 3}, {2, 65}, {3, 1}, {14, 3}, {14, 2}, {14, 64}, {4, 200}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t was = bytes[bad[i].at];
        bytes[bad[i].at] = bad[i].byte;
        ck_assert_msg(message_claims_decode(got, &n_got, bytes, n) == HANSE_EPROTO, "case %zu", i);
        bytes[bad[i].at] = was;
    }
    ck_assert_int_eq(message_claims_decode(got, &n_got, bytes, n), 0);
}
END_TEST

START_TEST(test_run)
{
    struct message_run sent = {.run = hash_bytes("r", 1), .n_moe = 3, .experts = 700, .name = "kjv\x1b[2J"}, got;
    uint8_t bytes[MESSAGE_RUN_BYTES + 1] = {0};
    size_t n = message_run_encode(&sent, bytes);
    ck_assert_uint_eq(n, 40 + strlen(sent.name));
    ck_assert_int_eq(message_run_decode(&got, bytes, n), 0);
    ck_assert(hash_equal(&got.run, &sent.run) && got.n_moe == 3 && got.experts == 700);
    ck_assert_str_eq(got.name, "kjv?[2J");
    for (size_t cut = 0; cut <= 40; cut++)
        ck_assert_int_eq(message_run_decode(&got, bytes, cut), HANSE_EPROTO);
    ck_assert_int_eq(message_run_decode(&got, bytes, sizeof bytes), HANSE_EPROTO); /* a name too long */
    bytes[0] = 2;
    ck_assert_int_eq(message_run_decode(&got, bytes, n), HANSE_EPROTO);
    bytes[0] = 1;
    bytes[2] = bytes[3] = 0; /* no MoE layers */
    ck_assert_int_eq(message_run_decode(&got, bytes, n), HANSE_EPROTO);
    bytes[2] = 1;
    bytes[7] = 1; /* 2^24 experts */
    ck_assert_int_eq(message_run_decode(&got, bytes, n), HANSE_EPROTO);
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
    tcase_add_test(tc, test_forward);
    tcase_add_loop_test(tc, test_backward, 0, 2);
    tcase_add_loop_test(tc, test_request_refusals, 0, 32);
    tcase_add_test(tc, test_backward_refuses_lr_scale);
    tcase_add_test(tc, test_request_refuses_what_could_not_be_answered);
    tcase_add_loop_test(tc, test_request_truncations, 0, 3);
    tcase_add_loop_test(tc, test_request_bit_flips, 0, 3);
    tcase_add_loop_test(tc, test_reply, 0, 2);
    tcase_add_test(tc, test_reply_in_place_is_the_same);
    tcase_add_test(tc, test_reply_refusals);
    tcase_add_test(tc, test_reply_bit_flips);
    tcase_add_loop_test(tc, test_claims, 0, MESSAGE_ROW_EXPERTS + 1);
    tcase_add_test(tc, test_claims_refusals);
    tcase_add_test(tc, test_run);
    tcase_add_loop_test(tc, test_noise, 0, 8);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return unit_run(message_suite());
}
