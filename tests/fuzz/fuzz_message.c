/* Every decoder of router/message.h: nothing crashes, and what is accepted can be read to its end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "router/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct message_group group[MESSAGE_GROUPS_MAX];

/* The last value of a row. */
static int value_of(const struct rows *rows, size_t row, size_t D)
{
    size_t last = row * D + D - 1;
    if (rows->f32)
        return rows->f32[last] > 0;
    return rows->exponent[row] + rows->high[last] + (rows->low ? rows->low[last] : 0);
}

static void read_request(const void *bytes, size_t n)
{
    struct message_request m = {.group = group};
    if (message_request_decode(&m, bytes, n))
        return;
    volatile int sink = value_of(&m.rows, m.n_rows - 1, m.D);
    for (size_t g = 0; g < m.n_groups; g++)
        for (size_t s = 0; s < group[g].n_slots; s++)
            sink = value_of(&m.rows, group[g].row[s], m.D) + (group[g].weight ? group[g].weight[s] > 0 : 0);
    if (rows_are_there(&m.x))
        sink = value_of(&m.x, m.n_rows - 1, m.D);
    (void)sink;

    /* One message, one meaning: what we read is written again byte for byte. */
    struct buf again;
    buf_init(&again, IO_MESSAGE_MAX);
    message_request_encode(&m, &again);
    if (again.err || again.n != n || memcmp(again.bytes, bytes, n) != 0)
        abort();
    buf_fini(&again);
}

static void read_values(const struct message_group *g, size_t D)
{
    const struct kernels *kernels;
    float value;
    if (kernels_choose("ref", &kernels))
        return;
    for (size_t s = 0; s < g->n_slots; s++) {
        struct rows row = rows_from(&g->values, s, D);
        rows_floats(kernels, &value, &row, 1, 1);
        if (!(value < 0x1p50f && value > -0x1p50f))
            abort();
    }
}

static void read_reply(const void *bytes, size_t n)
{
    struct message_reply m = {.group = group};
    if (message_reply_decode(&m, bytes, n))
        return;
    for (size_t g = 0; g < m.n_groups; g++) /* integers whose exponents are in range are finite numbers */
        if (m.form != NUMERICS_F32 && group[g].status == STATUS_OK && rows_are_sane(&group[g].values, group[g].n_slots, m.D))
            read_values(&group[g], m.D);
    struct buf again;
    buf_init(&again, IO_MESSAGE_MAX);
    message_reply_encode(&m, &again);
    if (again.err || again.n != n || memcmp(again.bytes, bytes, n) != 0)
        abort();
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    void *bytes = malloc(n ? n : 1); /* aligned as a link delivers it, and exact for the sanitizer */
    if (!bytes)
        return 0;
    memcpy(bytes, data, n);
    struct message_hello hello;
    struct message_refuse refuse;
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    struct message_run run;
    size_t n_claims;
    uint64_t call;
    read_request(bytes, n);
    read_reply(bytes, n);
    if (!message_hello_decode(&hello, bytes, n) && message_kind(bytes, n) != MESSAGE_HELLO)
        abort();
    if (!message_refuse_decode(&refuse, bytes, n) && memchr(refuse.text, 0x1b, strlen(refuse.text)))
        abort();
    if (!message_cancel_decode(&call, bytes, n) && n != 16)
        abort();
    if (!message_claims_decode(claim, &n_claims, bytes, n) && n != 4 + 10 * n_claims)
        abort();
    if (!message_run_decode(&run, bytes, n) && (run.experts < 1 || memchr(run.name, 0x1b, strlen(run.name))))
        abort();
    free(bytes);
    return 0;
}
