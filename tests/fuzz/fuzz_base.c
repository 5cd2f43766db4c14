/* The readers of src/base: a program of wire reads, and texts that must survive being written and read again. */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/addr.h"
#include "base/text.h"
#include "base/wire.h"

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* One read that `op` chooses; after a fault everything is zero and stays so. */
static void read_one(struct wire_reader *r, uint8_t op)
{
    uint8_t out[32];
    const uint8_t *view;
    bool was_ok = wire_ok(r);
    size_t before = wire_left(r);
    uint64_t sum = 0;
    switch (op % 8) {
    case 0:
        sum = wire_u8(r);
        break;
    case 1:
        sum = wire_u16(r);
        break;
    case 2:
        sum = wire_u32(r);
        break;
    case 3:
        sum = wire_u64(r);
        break;
    case 4:
        wire_bytes(r, out, op % sizeof out);
        for (size_t i = 0; i < op % sizeof out; i++)
            sum += out[i];
        break;
    case 5:
        view = wire_view(r, wire_u64(r));
        require(!view || wire_ok(r));
        break;
    case 6:
        wire_align(r, (size_t)1 << (op >> 3) % 8);
        break;
    default:
        sum = wire_f32(r) != 0.0f;
    }
    require(wire_left(r) <= before);
    require(wire_ok(r) ? was_ok : sum == 0 && wire_left(r) == 0 && !wire_done(r));
}

static void read_wire(const uint8_t *data, size_t n)
{
    struct wire_reader r;
    size_t n_ops = n > 0 ? data[0] % 32 : 0;
    n_ops = n_ops < n ? n_ops : n;
    wire_reader_init(&r, data + n_ops, n - n_ops);
    for (size_t i = 0; i < n_ops; i++)
        read_one(&r, data[i]);
}

static void read_addr(const char *text)
{
    struct addr addr, again;
    char out[ADDR_TEXT_BYTES];
    uint8_t compact[18];
    if (addr_parse(&addr, text))
        return;
    require(addr_parse(&again, addr_text(&addr, out)) == 0 && addr_equal(&addr, &again));
    require(addr_from_compact(&again, compact, addr_compact(&addr, compact)) && addr_equal(&addr, &again));
    require(!addr_is_loopback(&addr) || addr_is_local(&addr));
}

static void read_text(const char *text)
{
    char out[64];
    uint8_t bytes[8];
    uint64_t v;
    double x;
    if (text_unhex(bytes, sizeof bytes, text)) {
        text_hex(out, bytes, sizeof bytes);
        require(strcasecmp(out, text) == 0);
    }
    require(!text_u64(&v, text, 5, 1000) || (v >= 5 && v <= 1000));
    require(!text_double(&x, text) || x - x == 0);
    require(!text_bit_rate(&x, text) || (x >= 0 && x - x == 0));
    require(!text_duration_us(&v, text) || v <= (uint64_t)1 << 53);
    if (text_double(&x, text))
        text_size(out, sizeof out, x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct addr addr;
    char *text = malloc(n + 1);
    if (!text)
        return 0;
    if (n > 0)
        memcpy(text, data, n);
    text[n] = 0;
    read_wire(data, n);
    read_addr(text);
    read_text(text);
    require(addr_from_compact(&addr, data, n) == (n == 6 || n == 18));
    free(text);
    return 0;
}
