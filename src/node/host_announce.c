/* What we host, as entries of the directory: one a row of 64 experts. */
#include <stdlib.h>
#include <string.h>

#include "node/host_state.h"

#define LOAD_UNIT 64 /* token-slots, as message.h has it */

int host_rows_new(struct host *host)
{
    const struct run *run = host->config.run;
    size_t per_layer = (run->experts + MESSAGE_ROW_EXPERTS - 1) / MESSAGE_ROW_EXPERTS;
    host->n_rows = run->n_moe * per_layer;
    host->row = calloc(host->n_rows, sizeof *host->row);
    if (!host->row)
        return HANSE_ENOMEM;
    for (size_t i = 0; i < host->n_rows; i++) {
        struct host_row *row = &host->row[i];
        row->host = host;
        row->layer = (uint32_t)(i / per_layer);
        row->row = (uint32_t)(i % per_layer);
        row->key = dht_directory_key(&run->id, "experts", row->layer, row->row);
    }
    return 0;
}

void host_rows_free(struct host *host)
{
    free(host->row);
}

static struct message_claim claim_of(const struct host_slot *slot, size_t index)
{
    const struct host_seen *seen = &slot->seen;
    return (struct message_claim){.index = (uint8_t)index,
                                  .epoch = seen->epoch < UINT8_MAX ? (uint8_t)seen->epoch : UINT8_MAX,
                                  .version = seen->version < UINT32_MAX ? (uint32_t)seen->version : UINT32_MAX,
                                  .load = (uint32_t)(seen->n_slots / LOAD_UNIT)};
}

/* An expert that is still being made is claimed, too: whoever else looks for one to take must see it. */
static size_t claims_of(struct host *host, const struct host_row *row, struct message_claim claim[MESSAGE_ROW_EXPERTS])
{
    size_t n = 0;
    for (size_t i = 0; i < MESSAGE_ROW_EXPERTS; i++) {
        struct host_slot *slot = host_slot(host, row->layer, row->row * MESSAGE_ROW_EXPERTS + (uint32_t)i);
        if (slot && slot->state != SLOT_EMPTY && !slot->is_leaving)
            claim[n++] = claim_of(slot, i);
    }
    return n;
}

static void published(void *arg, uint64_t now_us, size_t n_stored)
{
    (void)now_us;
    (void)n_stored;
    struct host_row *row = arg;
    if (row->is_first) {
        row->is_first = false;
        row->host->n_publishes--;
    }
}

enum message_hardware host_hardware(const struct kernels *kernels)
{
    static const char *const int8[] = {"avxvnni", "vnni", "amx", "dotprod"};
    if (kernels->is_device)
        return HARDWARE_GPU;
    for (size_t i = 0; i < sizeof int8 / sizeof *int8; i++)
        if (strcmp(kernels->name, int8[i]) == 0)
            return HARDWARE_CPU_INT8;
    return HARDWARE_CPU;
}

static void announce_row(struct host *host, struct host_row *row)
{
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    uint8_t bytes[MESSAGE_CLAIMS_BYTES];
    size_t n = claims_of(host, row, claim);
    if (n == 0 && row->is_published)
        dht_withdraw(host->dht, host->now_us, &row->key);
    if (n == 0) {
        row->is_published = false;
        return;
    }
    size_t n_bytes = message_claims_encode(claim, n, bytes);
    message_claims_set_hardware(bytes, host->config.hardware);
    if (row->is_published && n_bytes == row->n_bytes && memcmp(bytes, row->bytes, n_bytes) == 0)
        return;
    if (host->phase == HOST_PUBLISHING && !row->is_first) {
        row->is_first = true;
        host->n_publishes++;
    }
    row->is_published = true;
    row->n_bytes = n_bytes;
    memcpy(row->bytes, bytes, n_bytes);
    dht_publish(host->dht, host->now_us, &row->key, &host->config.listen, bytes, n_bytes, published, row);
}

static struct dht_id runs_key(void)
{
    static const struct hash nobody;
    return dht_directory_key(&nobody, MESSAGE_RUNS, 0, 0);
}

/* Says once which run this is, for those who have no run.yaml; the DHT says it again by itself. */
static void announce_run(struct host *host)
{
    const struct run *run = host->config.run;
    uint8_t bytes[MESSAGE_RUN_BYTES];
    struct dht_id key = runs_key();
    struct message_run m = {.run = run->id, .n_moe = (uint16_t)run->n_moe, .experts = run->experts};
    if (host->is_run_published || run->n_moe == 0 || !*run->name)
        return;
    host->is_run_published = true;
    memcpy(m.name, run->name, strnlen(run->name, MESSAGE_RUN_NAME_MAX));
    size_t n_bytes = message_run_encode(&m, bytes);
    dht_publish(host->dht, host->now_us, &key, &host->config.listen, bytes, n_bytes, NULL, NULL);
}

void host_announce(struct host *host)
{
    for (size_t i = 0; host->dht && i < host->n_rows; i++)
        announce_row(host, &host->row[i]);
    if (host->dht)
        announce_run(host);
}

void host_withdraw(struct host *host)
{
    for (size_t i = 0; host->dht && i < host->n_rows; i++)
        if (host->row[i].is_published) {
            host->row[i].is_published = false;
            dht_withdraw(host->dht, host->now_us, &host->row[i].key);
        }
    struct dht_id key = runs_key();
    if (host->is_run_published)
        dht_withdraw(host->dht, host->now_us, &key);
    host->is_run_published = false;
}
