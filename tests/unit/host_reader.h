/**
 * tests/unit/host_reader.h - what a reader of the directory finds of the hosts on a stage.
 */
#ifndef TESTS_HOST_READER_H
#define TESTS_HOST_READER_H

#include "dht/dht.h"
#include "host_stage.h"

/** Claims on experts of layer 0, and the version of the first. */
struct reader {
    size_t n_experts;
    uint32_t version;
    bool is_done;
};

static inline void count_claims(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    (void)now_us, (void)n_asked;
    struct reader *reader = arg;
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    size_t n_claims;
    reader->is_done = true;
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_eq(message_claims_decode(claim, &n_claims, entry[i].bytes, entry[i].n_bytes), 0);
        ck_assert_int_ge(message_claims_hardware(entry[i].bytes), HARDWARE_CPU);
        ck_assert_uint_eq(entry[i].addr.port, 4100);
        reader->n_experts += n_claims;
        reader->version = claim[0].version;
    }
}

/** Reads through a DHT node of its own, at a place of the stage where no host is. */
static inline struct reader read_layer_0(struct stage *on, const struct run *of, struct stage_node *at)
{
    struct reader reader = {0};
    struct dht *dht;
    struct dht_config config = {.key = at->key, .is_read_only = true, .seed = 77};
    struct dht_id key = dht_directory_key(&of->id, "experts", 0, 0);
    ck_assert_int_eq(dht_new(&config, &at->io, on->now_us, &dht), 0);
    dht_join(dht, on->now_us, &on->node[0].addr);
    bool has_asked = false;
    for (int i = 0; i < 5000 && !reader.is_done; i++) {
        stage_run(on, 1000);
        for (size_t e = on->n_events; e-- > 0;) /* no host is here, so its datagrams are ours */
            if (on->event[e]->node == at && on->event[e]->time_us <= on->now_us + STAGE_DELAY_US) {
                struct stage_event *event = on->event[e];
                on->event[e] = on->event[--on->n_events];
                dht_datagram(dht, on->now_us, &event->from, event->bytes, event->n);
                free(event);
            }
        if (dht_deadline(dht) <= on->now_us)
            dht_tick(dht, on->now_us);
        if (!has_asked && dht_n_good(dht) > 0) {
            has_asked = true;
            dht_read(dht, on->now_us, &key, count_claims, &reader);
        }
    }
    ck_assert(reader.is_done);
    dht_free(dht);
    return reader;
}

#endif
