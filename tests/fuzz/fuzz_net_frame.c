/*
 * The reader of link frames.  The first byte says how finely the stream is cut; the rest is the stream.  Whatever comes, memory
 * stays under the ceilings and everything is given back.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "net/frame.h"

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct frame_budget budget = {.max = (size_t)64 << 20};
    struct frame_reader reader;
    struct frame frame;
    size_t cut = n > 0 ? 1 + (size_t)data[0] * 16 : 1;
    size_t i = n > 0;
    uint64_t sum = 0;
    int err = 0;
    frame_reader_init(&reader, &budget);
    while (i < n && !err) {
        size_t room;
        uint8_t *at = frame_want(&reader, &room);
        require(room > 0);
        size_t k = room < n - i ? room : n - i;
        k = k < cut ? k : cut;
        memcpy(at, data + i, k);
        i += k;
        err = frame_got(&reader, k, &frame);
        for (size_t j = 0; !err && j < frame.n; j++)
            sum += frame.bytes[j];
        require(reader.assembly_bytes <= FRAME_ASSEMBLY_MAX && budget.used <= budget.max);
        require(reader.n_partial <= FRAME_PARTIAL_MAX);
    }
    frame_reader_fini(&reader);
    require(budget.used == 0);
    return sum == UINT64_MAX; /* 0; keeps the reads alive */
}
