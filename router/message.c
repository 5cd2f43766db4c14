#include "router/message.h"

#include <assert.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "dht/bulk.h"

/* Arrays are used where they lie in the message, which is little-endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "hanse needs a little-endian machine");

#define FORWARD_GROUP_BYTES 8
#define BACKWARD_GROUP_BYTES 16
#define REPLY_HEAD_BYTES 16
#define REPLY_GROUP_BYTES 32
#define CLAIM_BYTES 10
#define CLAIMS_FORMAT 2
#define FLAG_KEEP 1   /* FORWARD */
#define FLAG_RESENT 1 /* BACKWARD */

_Static_assert((int)MESSAGE_DIRECTORY_READ == DHT_BULK_READ && (int)MESSAGE_DIRECTORY_ENTRIES == DHT_BULK_ENTRIES,
               "links carry both");

enum message_kind message_kind(const void *bytes, size_t n)
{
    if (n == 0)
        return 0;
    uint8_t kind = *(const uint8_t *)bytes;
    return kind >= MESSAGE_HELLO && kind <= MESSAGE_CANCEL ? (enum message_kind)kind : 0;
}

/* Reads a field that must be 0: what nobody checks today nobody can give a meaning tomorrow. */
static void expect_zero(struct wire_reader *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (wire_u8(r) != 0)
            wire_fail(r);
}

/* -- HELLO, REFUSE, CANCEL ------------------------------------------------------------------------- */

void message_hello_encode(const struct message_hello *m, struct buf *out)
{
    wire_put_u8(out, MESSAGE_HELLO);
    wire_put_u8(out, m->role);
    wire_put_u16(out, m->version);
    buf_append(out, m->run.byte, sizeof m->run.byte);
}

int message_hello_decode(struct message_hello *m, const void *bytes, size_t n)
{
    struct wire_reader r;
    wire_reader_init(&r, bytes, n);
    if (wire_u8(&r) != MESSAGE_HELLO)
        wire_fail(&r);
    m->role = wire_u8(&r);
    m->version = wire_u16(&r);
    wire_bytes(&r, m->run.byte, sizeof m->run.byte);
    if (!wire_ok(&r))
        return HANSE_EPROTO;
    if (m->version != MESSAGE_VERSION)
        return 0;
    return wire_done(&r) && m->role >= ROLE_HOST && m->role <= ROLE_OBSERVER ? 0 : HANSE_EPROTO;
}

void message_refuse_encode(const struct message_refuse *m, struct buf *out)
{
    assert(m->err < 0);
    wire_put_u8(out, MESSAGE_REFUSE);
    wire_put_u8(out, 0);
    wire_put_u16(out, (uint16_t)-m->err);
    buf_append(out, m->text, strnlen(m->text, MESSAGE_TEXT_MAX));
}

/* Bytes of the printable UTF-8 character at `s`, or 0: a control character, or no UTF-8 at all (RFC 3629); or, for a terminal, one
 * that would have it show what follows in another way. */
static size_t printable_bytes(const uint8_t *s, size_t n, bool is_for_terminal)
{
    if (s[0] < 0x80)
        return s[0] >= 0x20 && s[0] != 0x7f;
    size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || length > n)
        return 0;
    uint32_t code = s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3f);
    }
    static const uint32_t least[] = {0, 0, 0xa0, 0x800, 0x10000}; /* U+0080..U+009F are controls, too */
    bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
    if (is_for_terminal && text_directs(code))
        return 0;
    return code >= least[length] && code <= 0x10ffff && !is_surrogate ? length : 0;
}

static void copy_printable(char *out, const uint8_t *text, size_t n, bool is_for_terminal)
{
    for (size_t i = 0; i < n;) {
        size_t length = printable_bytes(text + i, n - i, is_for_terminal);
        if (length > 0)
            memcpy(out + i, text + i, length);
        else
            out[i] = '?';
        i += length > 0 ? length : 1;
    }
    out[n] = 0;
}

int message_refuse_decode(struct message_refuse *m, const void *bytes, size_t n)
{
    struct wire_reader r;
    wire_reader_init(&r, bytes, n);
    if (wire_u8(&r) != MESSAGE_REFUSE)
        wire_fail(&r);
    expect_zero(&r, 1);
    uint16_t err = wire_u16(&r);
    size_t n_text = wire_left(&r);
    if (!wire_ok(&r) || err == 0 || n_text > MESSAGE_TEXT_MAX)
        return HANSE_EPROTO;
    m->err = -(int)err;
    copy_printable(m->text, (const uint8_t *)bytes + n - n_text, n_text, true); /* it must not move the cursor there */
    return 0;
}

void message_cancel_encode(uint64_t call, struct buf *out)
{
    wire_put_u8(out, MESSAGE_CANCEL);
    wire_put_u8(out, 0);
    wire_put_u16(out, 0);
    wire_put_u32(out, 0);
    wire_put_u64(out, call);
}

int message_cancel_decode(uint64_t *call, const void *bytes, size_t n)
{
    struct wire_reader r;
    wire_reader_init(&r, bytes, n);
    if (wire_u8(&r) != MESSAGE_CANCEL)
        wire_fail(&r);
    expect_zero(&r, 7);
    *call = wire_u64(&r);
    return wire_done(&r) ? 0 : HANSE_EPROTO;
}

/* -- FORWARD, BACKWARD ----------------------------------------------------------------------------- */

static void put_request_head(const struct message_request *m, struct buf *out)
{
    bool is_backward = m->kind == MESSAGE_BACKWARD;
    wire_put_u8(out, (uint8_t)m->kind);
    wire_put_u8(out, is_backward ? (rows_are_there(&m->x) ? FLAG_RESENT : 0) : (m->keep ? FLAG_KEEP : 0));
    wire_put_u16(out, m->layer);
    wire_put_u32(out, m->wait_ms);
    wire_put_u64(out, m->call);
    wire_put_u32(out, m->n_rows);
    wire_put_u32(out, m->D);
    wire_put_u16(out, (uint16_t)m->n_groups);
    wire_put_u8(out, (uint8_t)m->form);
    wire_put_u8(out, 0);
    if (is_backward)
        wire_put_f32(out, m->lr_scale);
}

void message_request_encode(const struct message_request *m, struct buf *out)
{
    assert(m->kind == MESSAGE_FORWARD || m->kind == MESSAGE_BACKWARD);
    assert(m->n_groups >= 1 && m->n_groups <= MESSAGE_GROUPS_MAX);
    assert(rows_form(&m->rows) == m->form);
    bool is_backward = m->kind == MESSAGE_BACKWARD;
    put_request_head(m, out);
    for (size_t g = 0; g < m->n_groups; g++) {
        wire_put_u16(out, m->group[g].expert);
        wire_put_u16(out, 0);
        wire_put_u32(out, m->group[g].n_slots);
        if (is_backward)
            wire_put_u64(out, m->group[g].version);
    }
    for (size_t g = 0; g < m->n_groups; g++)
        buf_append(out, m->group[g].row, sizeof(uint32_t) * m->group[g].n_slots);
    for (size_t g = 0; is_backward && g < m->n_groups; g++)
        buf_append(out, m->group[g].weight, sizeof(float) * m->group[g].n_slots);
    rows_append(out, &m->rows, m->n_rows, m->D);
    if (is_backward && rows_are_there(&m->x))
        rows_append(out, &m->x, m->n_rows, m->D);
}

/* A set of expert numbers, to find the one that comes twice. */
struct seen {
    uint64_t word[(UINT16_MAX + 1) / 64];
};

static bool is_new(struct seen *seen, uint16_t expert)
{
    uint64_t bit = (uint64_t)1 << expert % 64;
    bool is_first = !(seen->word[expert / 64] & bit);
    seen->word[expert / 64] |= bit;
    return is_first;
}

/* Returns whether x follows. */
static bool read_request_head(struct message_request *m, struct wire_reader *r)
{
    memset(m, 0, sizeof *m);
    m->kind = wire_u8(r);
    uint8_t flags = wire_u8(r);
    m->layer = wire_u16(r);
    m->wait_ms = wire_u32(r);
    m->call = wire_u64(r);
    m->n_rows = wire_u32(r);
    m->D = wire_u32(r);
    m->n_groups = wire_u16(r);
    uint8_t form = wire_u8(r);
    expect_zero(r, 1);
    bool is_backward = m->kind == MESSAGE_BACKWARD;
    if (is_backward)
        m->lr_scale = wire_f32(r);
    if (flags > 1 || (!is_backward && m->kind != MESSAGE_FORWARD) || m->n_rows < 1 || m->n_rows > MESSAGE_ROWS_MAX || m->D < 1 ||
        m->D > MESSAGE_WIDTH_MAX || m->n_groups < 1 || m->n_groups > MESSAGE_GROUPS_MAX || form >= N_NUMERICS)
        wire_fail(r);
    m->form = wire_ok(r) ? form : NUMERICS_F32;
    if (!(m->lr_scale >= 0 && m->lr_scale <= 1)) /* NaN is outside, too */
        wire_fail(r);
    m->keep = !is_backward && flags & FLAG_KEEP;
    return is_backward && flags & FLAG_RESENT;
}

/* Sums over the groups.  The largest that the head allows stay far below 2^64: 2^30 slots, each of 2^16 values. */
struct request_sums {
    uint64_t n_slots, reply_bytes;
};

static struct request_sums read_request_groups(struct message_request *m, struct wire_reader *r)
{
    struct seen seen = {0};
    struct request_sums sums = {.reply_bytes = REPLY_HEAD_BYTES + m->n_groups * REPLY_GROUP_BYTES};
    for (size_t g = 0; g < m->n_groups && wire_ok(r); g++) {
        struct message_group *group = &m->group[g];
        *group = (struct message_group){.expert = wire_u16(r)};
        expect_zero(r, 2);
        group->n_slots = wire_u32(r);
        if (m->kind == MESSAGE_BACKWARD)
            group->version = wire_u64(r);
        if (group->n_slots < 1 || group->n_slots > m->n_rows || !is_new(&seen, group->expert))
            wire_fail(r);
        sums.n_slots += group->n_slots;
        sums.reply_bytes += rows_bytes(rows_answer_form(m->form), group->n_slots, m->D);
    }
    return sums;
}

static bool rows_in_range(const struct message_group *group, uint32_t n_rows)
{
    for (size_t s = 0; s < group->n_slots; s++)
        if (group->row[s] >= n_rows)
            return false;
    return true;
}

/* The caller has looked that there are enough bytes, or reads on after a fault. */
static struct rows read_rows(struct wire_reader *r, enum numerics form, size_t n, size_t D)
{
    const uint8_t *bytes = wire_view(r, rows_bytes(form, n, D));
    if (!bytes)
        return (struct rows){0};
    if (!rows_are_padded(form, bytes, n))
        wire_fail(r);
    return rows_at(form, bytes, n, D);
}

int message_request_decode(struct message_request *m, const void *bytes, size_t n)
{
    assert((uintptr_t)bytes % sizeof(float) == 0);
    struct message_group *group = m->group;
    struct wire_reader r;
    wire_reader_init(&r, bytes, n);
    bool has_x = read_request_head(m, &r);
    m->group = group;
    if (!wire_ok(&r))
        return HANSE_EPROTO;
    struct request_sums sums = read_request_groups(m, &r);
    bool is_backward = m->kind == MESSAGE_BACKWARD;
    uint64_t slots_bytes = sums.n_slots * (is_backward ? 8 : 4);
    uint64_t all_rows_bytes = (has_x ? 2 : 1) * (uint64_t)rows_bytes(m->form, m->n_rows, m->D);
    if (!wire_ok(&r) || n > IO_MESSAGE_MAX || wire_left(&r) != slots_bytes + all_rows_bytes || sums.reply_bytes > IO_MESSAGE_MAX)
        return HANSE_EPROTO;

    for (size_t g = 0; g < m->n_groups; g++) {
        group[g].row = (const uint32_t *)(const void *)wire_view(&r, sizeof(uint32_t) * group[g].n_slots);
        if (!rows_in_range(&group[g], m->n_rows))
            return HANSE_EPROTO;
    }
    for (size_t g = 0; is_backward && g < m->n_groups; g++)
        group[g].weight = (const float *)(const void *)wire_view(&r, sizeof(float) * group[g].n_slots);
    m->rows = read_rows(&r, m->form, m->n_rows, m->D);
    if (has_x)
        m->x = read_rows(&r, m->form, m->n_rows, m->D);
    return wire_done(&r) ? 0 : HANSE_EPROTO;
}

/* -- FORWARD_REPLY, BACKWARD_REPLY ----------------------------------------------------------------- */

static void put_reply_head(const struct message_reply *m, struct buf *out)
{
    assert(m->kind == MESSAGE_FORWARD_REPLY || m->kind == MESSAGE_BACKWARD_REPLY);
    assert(m->n_groups >= 1 && m->n_groups <= MESSAGE_GROUPS_MAX);
    wire_put_u8(out, (uint8_t)m->kind);
    wire_put_u8(out, (uint8_t)m->form);
    wire_put_u16(out, (uint16_t)m->n_groups);
    wire_put_u32(out, m->D);
    wire_put_u64(out, m->call);
    for (size_t g = 0; g < m->n_groups; g++) {
        const struct message_group *group = &m->group[g];
        wire_put_u16(out, group->expert);
        wire_put_u8(out, group->status);
        wire_put_u8(out, 0);
        wire_put_u32(out, group->n_slots);
        wire_put_u32(out, group->staleness);
        wire_put_u32(out, 0);
        wire_put_u64(out, group->version);
        wire_put_u64(out, group->load);
    }
}

static size_t values_bytes(const struct message_reply *m, const struct message_group *group)
{
    return rows_bytes(m->form, group->n_slots, m->D);
}

void message_reply_encode(const struct message_reply *m, struct buf *out)
{
    put_reply_head(m, out);
    for (size_t g = 0; g < m->n_groups; g++)
        if (m->group[g].status == STATUS_OK)
            rows_append(out, &m->group[g].values, m->group[g].n_slots, m->D);
}

int message_reply_begin(struct message_reply *m, struct buf *out)
{
    assert(out->n == 0);
    size_t n = REPLY_HEAD_BYTES + REPLY_GROUP_BYTES * m->n_groups;
    for (size_t g = 0; g < m->n_groups; g++)
        n += values_bytes(m, &m->group[g]);
    uint8_t *at = buf_extend(out, n);
    if (!at)
        return out->err;
    at += REPLY_HEAD_BYTES + REPLY_GROUP_BYTES * m->n_groups;
    for (size_t g = 0; g < m->n_groups; g++) {
        m->group[g].values = rows_at(m->form, at, m->group[g].n_slots, m->D);
        rows_pad(m->form, at, m->group[g].n_slots);
        at += values_bytes(m, &m->group[g]);
    }
    return 0;
}

/* Where the values begin that message_reply_begin() made room for. */
static const void *first_byte(const struct rows *values)
{
    return values->f32 ? (const void *)values->f32 : values->exponent;
}

void message_reply_end(const struct message_reply *m, struct buf *out)
{
    size_t n_all = out->n;
    out->n = 0;
    put_reply_head(m, out); /* fits: the room was made for it */
    for (size_t g = 0; g < m->n_groups; g++) {
        const struct message_group *group = &m->group[g];
        if (group->status != STATUS_OK)
            continue;
        size_t n = values_bytes(m, group);
        if (out->bytes + out->n != first_byte(&group->values))
            memmove(out->bytes + out->n, first_byte(&group->values), n);
        out->n += n;
    }
    assert(out->n <= n_all && !out->err);
}

static void read_reply_groups(struct message_reply *m, struct wire_reader *r)
{
    struct seen seen = {0};
    for (size_t g = 0; g < m->n_groups && wire_ok(r); g++) {
        struct message_group *group = &m->group[g];
        *group = (struct message_group){.expert = wire_u16(r)};
        group->status = wire_u8(r);
        expect_zero(r, 1);
        group->n_slots = wire_u32(r);
        group->staleness = wire_u32(r);
        expect_zero(r, 4);
        group->version = wire_u64(r);
        group->load = wire_u64(r);
        if (group->status > STATUS_REJECT || group->n_slots < 1 || group->n_slots > MESSAGE_ROWS_MAX ||
            !is_new(&seen, group->expert))
            wire_fail(r);
    }
}

int message_reply_decode(struct message_reply *m, const void *bytes, size_t n)
{
    assert((uintptr_t)bytes % sizeof(float) == 0);
    struct wire_reader r;
    wire_reader_init(&r, bytes, n);
    m->kind = wire_u8(&r);
    m->form = wire_u8(&r);
    m->n_groups = wire_u16(&r);
    m->D = wire_u32(&r);
    m->call = wire_u64(&r);
    bool is_reply = m->kind == MESSAGE_FORWARD_REPLY || m->kind == MESSAGE_BACKWARD_REPLY;
    bool is_form = m->form == NUMERICS_F32 || m->form == NUMERICS_I8X2;
    if (!is_reply || !is_form || m->D < 1 || m->D > MESSAGE_WIDTH_MAX || m->n_groups < 1 || m->n_groups > MESSAGE_GROUPS_MAX ||
        n > IO_MESSAGE_MAX || !wire_ok(&r))
        return HANSE_EPROTO;
    read_reply_groups(m, &r);
    for (size_t g = 0; g < m->n_groups && wire_ok(&r); g++) {
        struct message_group *group = &m->group[g];
        if (group->status == STATUS_OK) /* about 2^38 bytes at most */
            group->values = read_rows(&r, m->form, group->n_slots, m->D);
    }
    return wire_done(&r) ? 0 : HANSE_EPROTO;
}

/* -- Claims ---------------------------------------------------------------------------------------- */

/* A directory entry is small and of fixed size, so it is written without a buffer. */
static uint8_t *store_u32(uint8_t *at, uint32_t v)
{
    memcpy(at, &v, sizeof v);
    return at + sizeof v;
}

size_t message_claims_encode(const struct message_claim *claim, size_t n, uint8_t out[MESSAGE_CLAIMS_BYTES])
{
    assert(n <= MESSAGE_ROW_EXPERTS);
    uint8_t *at = out;
    *at++ = CLAIMS_FORMAT;
    *at++ = HARDWARE_UNKNOWN;
    *at++ = (uint8_t)n;
    *at++ = 0;
    for (size_t i = 0; i < n; i++) {
        assert(claim[i].index < MESSAGE_ROW_EXPERTS && (i == 0 || claim[i].index > claim[i - 1].index));
        *at++ = claim[i].index;
        *at++ = claim[i].epoch;
        at = store_u32(at, claim[i].version);
        at = store_u32(at, claim[i].load);
    }
    assert((size_t)(at - out) == 4 + CLAIM_BYTES * n);
    return (size_t)(at - out);
}

const char *const message_hardware_name[N_HARDWARE] = {"unknown", "cpu", "cpu-int8", "gpu"};

void message_claims_set_hardware(uint8_t entry[MESSAGE_CLAIMS_BYTES], enum message_hardware hardware)
{
    entry[1] = (uint8_t)hardware;
}

enum message_hardware message_claims_hardware(const uint8_t *entry)
{
    return entry[1] < N_HARDWARE ? (enum message_hardware)entry[1] : HARDWARE_UNKNOWN;
}

int message_claims_decode(struct message_claim claim[MESSAGE_ROW_EXPERTS], size_t *n_claims, const void *bytes, size_t n)
{
    struct wire_reader r;
    wire_reader_init(&r, bytes, n);
    if (wire_u8(&r) != CLAIMS_FORMAT)
        wire_fail(&r);
    (void)wire_u8(&r); /* any hardware: message_claims_hardware() */
    size_t n_here = wire_u16(&r);
    if (n_here > MESSAGE_ROW_EXPERTS)
        wire_fail(&r);
    int last = -1;
    for (size_t i = 0; i < n_here && wire_ok(&r); i++) {
        claim[i].index = wire_u8(&r);
        claim[i].epoch = wire_u8(&r);
        claim[i].version = wire_u32(&r);
        claim[i].load = wire_u32(&r);
        if (claim[i].index >= MESSAGE_ROW_EXPERTS || claim[i].index <= last)
            wire_fail(&r);
        last = claim[i].index;
    }
    if (!wire_done(&r))
        return HANSE_EPROTO;
    *n_claims = n_here;
    return 0;
}

/* -- Runs ------------------------------------------------------------------------------------------ */

size_t message_run_encode(const struct message_run *m, uint8_t out[MESSAGE_RUN_BYTES])
{
    size_t n_name = strnlen(m->name, MESSAGE_RUN_NAME_MAX);
    uint8_t *at = out;
    assert(n_name > 0);
    *at++ = 1;
    *at++ = 0;
    memcpy(at, &m->n_moe, sizeof m->n_moe);
    at = store_u32(at + sizeof m->n_moe, m->experts);
    memcpy(at, m->run.byte, sizeof m->run.byte);
    memcpy(at + sizeof m->run.byte, m->name, n_name);
    return (size_t)(at - out) + sizeof m->run.byte + n_name;
}

int message_run_decode(struct message_run *m, const void *bytes, size_t n)
{
    struct wire_reader r;
    wire_reader_init(&r, bytes, n);
    if (wire_u8(&r) != 1)
        wire_fail(&r);
    expect_zero(&r, 1);
    m->n_moe = wire_u16(&r);
    m->experts = wire_u32(&r);
    wire_bytes(&r, m->run.byte, sizeof m->run.byte);
    size_t n_name = wire_left(&r);
    if (!wire_ok(&r) || m->n_moe < 1 || m->experts < 1 || m->experts > MESSAGE_GROUPS_MAX || n_name < 1 ||
        n_name > MESSAGE_RUN_NAME_MAX)
        return HANSE_EPROTO;
    copy_printable(m->name, (const uint8_t *)bytes + n - n_name, n_name, false); /* programs read it, too */
    return 0;
}
