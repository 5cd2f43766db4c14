/* dht/bencode.h and dht/krpc.h: nothing crashes, tokens stay inside, and what was read can be written and read again. */
#include <string.h>

#include "dht/krpc.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct dht_bencode doc;
    struct dht_message m, again;
    uint8_t out[4096];
    if (dht_bencode_read(&doc, data, n) == 0)
        for (size_t i = 0; i < doc.n_tokens; i++) {
            const struct dht_bencode_token *t = &doc.token[i];
            if (t->raw.bytes < data || t->raw.bytes + t->raw.n > data + n || t->next <= i || t->next > doc.n_tokens)
                abort();
        }
    if (n > 1472 || dht_krpc_decode(&m, data, n) != 0)
        return 0;
    size_t n_out = dht_krpc_encode(&m, out, sizeof out);
    if (n_out == 0 || dht_krpc_decode(&again, out, n_out) != 0)
        abort();
    if (m.kind != again.kind || m.method != again.method || m.tid.n != again.tid.n || m.n_peers != again.n_peers)
        abort();
    return 0;
}
