/* A node that reads and writes among strangers who answer anything.  Nothing crashes it, each operation ends exactly once, and what
 * it hands to its user is signed and not over, or an item that verifies.
 *
 * The input is a row of answers: a byte of choices (bits 0 to 4 which of the open questions, 5 true signatures, 6 a good time, 7 a
 * second passes first), two bytes of length, a KRPC message whose body becomes the answer. */
#include "fuzz_dht.h"

#define N_OPEN 32
#define N_OPERATIONS 6

static struct fuzz_stage stage;
static struct open {
    struct addr to;
    uint8_t tid[DHT_TID_MAX];
    size_t n_tid;
    struct dht_id target;
} open_question[N_OPEN];
static size_t n_opened;
static size_t n_ended[N_OPERATIONS];
static struct dht_id key; /* of the directory */

static void heard(struct fuzz_stage *s, const struct addr *to, const struct dht_message *m)
{
    (void)s;
    if (m->kind != DHT_QUERY)
        return;
    struct open *o = &open_question[n_opened++ % N_OPEN];
    *o = (struct open){.to = *to, .n_tid = m->tid.n, .target = m->target};
    memcpy(o->tid, m->tid.bytes, m->tid.n);
}

static void on_put(void *arg, uint64_t now_us, const struct dht_put_result *result)
{
    size_t *n = arg;
    (void)now_us;
    if (!result->has_held && result->held_seq != 0)
        abort();
    ++*n;
}

static void on_stored(void *arg, uint64_t now_us, size_t n_stored)
{
    size_t *n = arg;
    (void)now_us;
    (void)n_stored;
    ++*n;
}

static void on_read(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    (void)n_asked;
    for (size_t i = 0; i < n; i++)
        if (dht_entry_check_time(&entry[i], now_us) != 0 || entry[i].n_bytes == 0)
            abort();
    ++*(size_t *)arg;
}

static void on_item(void *arg, uint64_t now_us, const struct dht_item *item)
{
    (void)now_us;
    if (item && !dht_item_verify(item))
        abort();
    ++*(size_t *)arg;
}

static void on_peers(void *arg, uint64_t now_us, const struct addr *peer, size_t n)
{
    (void)now_us;
    for (size_t i = 0; i < n; i++)
        if (peer[i].port == 0)
            abort();
    ++*(size_t *)arg;
}

static void begin(void)
{
    static const struct addr self = {.family = 4, .ip = {80, 1, 1, 1}, .port = 4100};
    struct dht_item item = {.is_mutable = true, .seq = 3, .n_v = 4};
    struct dht_id target;
    uint64_t held = 2;
    memcpy(item.v, "2:vv", 4);
    dht_item_sign(&item, signed_key(1));
    target = dht_item_target(&item);
    for (uint8_t i = 0; i < 3; i++) {
        struct addr to = {.family = 4, .ip = {90, i, 0, 1}, .port = 4100};
        dht_join(stage.dht, stage.now_us, &to);
    }
    dht_publish(stage.dht, stage.now_us, &key, &self, "abc", 3, on_stored, &n_ended[0]);
    dht_read(stage.dht, stage.now_us, &key, on_read, &n_ended[1]);
    dht_put(stage.dht, stage.now_us, &item, &held, on_put, &n_ended[2]);
    dht_get(stage.dht, stage.now_us, &target, NULL, 0, on_item, &n_ended[3]);
    dht_get_peers(stage.dht, stage.now_us, &key, on_peers, &n_ended[4]);
    dht_announce_peer(stage.dht, stage.now_us, &key, on_stored, &n_ended[5]);
    dht_tick(stage.dht, stage.now_us);
}

static void answer(uint8_t choices, const uint8_t *bytes, size_t n)
{
    const struct open *o = &open_question[(choices & 31) % N_OPEN];
    struct dht_message m;
    struct dht_item item;
    uint8_t out[IO_DATAGRAM_MAX], entries[DHT_DATAGRAM_MAX];
    if (choices & 128)
        stage.now_us += 1000000;
    if (dht_krpc_decode(&m, bytes, n) != 0 || o->n_tid == 0)
        return;
    m.kind = m.kind == DHT_ERROR ? DHT_ERROR : DHT_REPLY;
    m.tid = (struct dht_span){o->tid, o->n_tid};
    m.is_read_only = false;
    if (choices & 32)
        m.entries = signed_entries(m.entries, &o->target, stage.now_us, choices & 64, entries);
    if (choices & 32 && m.kind == DHT_REPLY)
        signed_item(&m, &item);
    size_t n_out = dht_krpc_encode(&m, out, sizeof out);
    struct open asked = *o; /* the node may ask anew from inside */
    dht_datagram(stage.dht, stage.now_us, &asked.to, out, n_out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    memset(open_question, 0, sizeof open_question);
    memset(n_ended, 0, sizeof n_ended);
    memset(&key, 7, sizeof key);
    n_opened = 0;
    fuzz_stage_init(&stage);
    stage.heard = heard;
    begin();
    fuzz_stage_play(&stage, data, n, answer);
    for (size_t i = 0; i < 300; i++) {
        stage.now_us += 100000;
        dht_tick(stage.dht, stage.now_us);
    }
    for (size_t i = 0; i < N_OPERATIONS; i++)
        if (n_ended[i] != 1)
            abort();
    fuzz_stage_fini(&stage);
    return 0;
}
