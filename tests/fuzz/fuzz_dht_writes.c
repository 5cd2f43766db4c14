/* A node that strangers write to, with true tokens and signatures where the input says so.  Nothing crashes it, no answer has more
 * than three bytes for each of its question unless that shows a true token, and what it gives out afterwards is signed and not over.
 *
 * The input is a row of queries: a byte of choices (bits 0 to 2 who asks, 3 a true token, 4 true signatures, 5 a good time, 6 a
 * minute passes first), two bytes of length, a KRPC message. */
#include "fuzz_dht.h"

static struct fuzz_stage stage;

/* The token that the node gives this address for this key. */
static struct dht_span token_for(const struct addr *from, const struct dht_id *target, uint8_t out[DHT_TOKEN_MAX])
{
    struct dht_message m = {.kind = DHT_QUERY, .method = DHT_GET_PEERS, .has_id = true, .has_target = true, .target = *target};
    struct dht_message answer;
    m.tid = (struct dht_span){(const uint8_t *)"tk", 2};
    fuzz_stage_ask(&stage, from, &m);
    if (dht_krpc_decode(&answer, stage.last, stage.n_last) != 0 || answer.token.n > DHT_TOKEN_MAX)
        return (struct dht_span){NULL, 0};
    memcpy(out, answer.token.bytes, answer.token.n);
    return (struct dht_span){out, answer.token.n};
}

static void ask(uint8_t choices, const uint8_t *bytes, size_t n)
{
    struct addr from = {.family = 4, .ip = {80, 1, choices & 7, 1}, .port = 7};
    struct dht_message m;
    struct dht_item item;
    uint8_t token[DHT_TOKEN_MAX], entries[DHT_DATAGRAM_MAX];
    if (choices & 64)
        stage.now_us += 60000000;
    if (dht_krpc_decode(&m, bytes, n) != 0 || m.kind != DHT_QUERY) {
        dht_datagram(stage.dht, stage.now_us, &from, bytes, n);
        return;
    }
    if (choices & 16 && m.method == DHT_HANSE_PUT)
        m.entries = signed_entries(m.entries, &m.target, stage.now_us, choices & 32, entries);
    if (choices & 16 && m.method == DHT_PUT)
        signed_item(&m, &item);
    if (choices & 8 && m.has_target)
        m.token = token_for(&from, &m.target, token);
    fuzz_stage_ask(&stage, &from, &m);
    if (m.has_target)
        fuzz_stage_read_back(&stage, &m.target);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_stage_init(&stage);
    fuzz_stage_play(&stage, data, n, ask);
    fuzz_stage_fini(&stage);
    return 0;
}
