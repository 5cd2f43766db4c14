/* Every decoder of router/message.h: nothing crashes, and what is accepted can be read to its end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "router/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct message_group group[MESSAGE_GROUPS_MAX];

static void read_request(const void *bytes, size_t n)
{
    struct message_request m = {.group = group};
    if (message_request_decode(&m, bytes, n))
        return;
    volatile float sink = m.rows[(size_t)m.n_rows * m.D - 1];
    for (size_t g = 0; g < m.n_groups; g++)
        for (size_t s = 0; s < group[g].n_slots; s++)
            sink = m.rows[(size_t)group[g].row[s] * m.D] + (group[g].weight ? group[g].weight[s] : 0);
    (void)sink;

    /* One message, one meaning: what we read is written again byte for byte. */
    struct buf again;
    buf_init(&again, IO_MESSAGE_MAX);
    message_request_encode(&m, &again);
    if (again.err || again.n != n || memcmp(again.bytes, bytes, n) != 0)
        abort();
    buf_fini(&again);
}

static void read_reply(const void *bytes, size_t n)
{
    struct message_reply m = {.group = group};
    if (message_reply_decode(&m, bytes, n))
        return;
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
    free(bytes);
    return 0;
}
