/* A node that is fed datagrams as they come: none crashes it, what it sends is well formed, and no answer has more than three bytes
 * for each of its question.  The input is a row of datagrams, each behind two bytes of length. */
#include "fuzz_dht.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_stage stage;
    fuzz_stage_init(&stage);
    for (size_t i = 0; n >= 2 && i < 64; i++) {
        struct addr from = {.family = 4, .ip = {80, 1, data[0] & 7, 1}, .port = 7};
        size_t size = (size_t)(data[0] >> 3) << 8 | data[1];
        data += 2;
        n -= 2;
        stage.n_asked = size < n ? size : n;
        dht_datagram(stage.dht, stage.now_us, &from, data, stage.n_asked);
        data += stage.n_asked;
        n -= stage.n_asked;
        stage.now_us += 10000;
        dht_tick(stage.dht, stage.now_us);
    }
    fuzz_stage_fini(&stage);
    return 0;
}
