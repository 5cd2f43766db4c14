/* cmd/dht_text.h and cmd/dht_map.h: what strangers sent is shown as printable ASCII, and steers a crawl to an end. */
#include <string.h>

#include "cmd/dht_map.h"
#include "cmd/dht_text.h"
#include "fuzz.h"

#define NODES_MAX 64

static void check_printable(const uint8_t *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] != '\n' && (text[i] < ' ' || text[i] > '~'))
            abort();
}

static void show(const uint8_t *data, size_t n)
{
    char text[DHT_TEXT_VERSION_BYTES];
    struct buf out;
    buf_init(&out, 1 << 20);
    dht_text_value(&out, data, n);
    check_printable(out.bytes, out.n);
    buf_fini(&out);
    dht_text_version(text, data, n);
    check_printable((const uint8_t *)text, strlen(text));
}

/* Whoever is asked answers with the same nodes, or with those of the rest of the message. */
static void crawl(const uint8_t *data, size_t n)
{
    struct dht_message m = {.kind = DHT_REPLY, .has_id = true};
    struct dht_map_question q = {.to = {.family = 4, .ip = {10, 1, 1, 1}, .port = 1}};
    struct dht_map *map;
    struct rng rng;
    size_t n_questions = 0;
    rng_init(&rng, 1, "fuzz");
    if (dht_map_new(NODES_MAX, &rng, &map) != 0)
        return;
    do {
        size_t skip = n > 0 ? n_questions * 13 % n : 0;
        memcpy(m.id.byte, q.target.byte, sizeof m.id.byte);
        if (n > 0 && n_questions % 3 == 0)
            m.id.byte[n_questions % DHT_ID_BYTES] ^= data[n_questions % n];
        m.nodes = (struct dht_span){data + skip, n - skip};
        if (n > 0 && data[n_questions % n] % 4 == 0)
            dht_map_lost(map, &q.to, &q.target);
        else
            dht_map_answered(map, &q.to, &q.target, &m, 1);
        struct dht_map_stats stats = dht_map_stats(map);
        if (++n_questions > 100000 || dht_map_n(map) > NODES_MAX || stats.n_answered > stats.n_nodes || stats.swept > 1.000001)
            abort();
    } while (dht_map_next(map, &q));
    dht_map_free(map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > 1472)
        return 0;
    show(data, n);
    crawl(data, n);
    return 0;
}
