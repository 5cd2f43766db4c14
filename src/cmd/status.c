/* cmd/status.c - asks the DHT who hosts which expert of a run, row by row, and those hosts whether they are there. */
#include "cmd/status.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/status_seen.h"
#include "dht/directory.h"
#include "dht/probe.h"

#define PING_US 1000000u /* for hosts to show how far away they are */
#define ROUNDS_MAX 3     /* while something is missing; */
#define GLANCES_MAX 2    /* of one run among many, while all of it is */
#define HOSTS_MAX 4096

const struct expert_seen *status_expert(const struct status *status, uint32_t moe, uint32_t e)
{
    static const struct expert_seen nobodys;
    const struct expert_seen *expert = status->row[moe * status->n_rows + e / MESSAGE_ROW_EXPERTS].expert;
    return expert ? &expert[e % MESSAGE_ROW_EXPERTS] : &nobodys;
}

/* -- Gathering -------------------------------------------------------------------------------------- */

/* Those that were pinged stay where they are: nothing is read any more. */
static bool grow(struct status *status)
{
    if (status->n_hosts < status->hosts_capacity)
        return true;
    size_t capacity = status->hosts_capacity ? 2 * status->hosts_capacity : 4;
    struct seen_host *host = capacity <= HOSTS_MAX ? realloc(status->host, capacity * sizeof *host) : NULL;
    if (!host)
        return false;
    status->host = host;
    status->hosts_capacity = capacity;
    return true;
}

/* SIZE_MAX: there is no room. */
static size_t host_of(struct status *status, const struct dht_entry *entry)
{
    size_t i = 0;
    while (i < status->n_hosts && !peer_id_equal(&status->host[i].id, &entry->writer))
        i++;
    if (i == status->n_hosts && !grow(status))
        return SIZE_MAX;
    if (i == status->n_hosts)
        status->host[status->n_hosts++] = (struct seen_host){.id = entry->writer, .status = status};
    struct seen_host *host = &status->host[i];
    host->round = status->n_rounds;
    if (entry->seq >= host->seq) {
        host->seq = entry->seq;
        host->addr = entry->addr;
        host->expiry_s = entry->expiry_s;
        host->hardware = message_claims_hardware(entry->bytes);
    }
    return i;
}

/* The rule by which hosts settle a quarrel, too. */
static bool outranks(const struct status *status, const struct claim *a, const struct claim *b)
{
    if (a->epoch != b->epoch)
        return a->epoch > b->epoch;
    if (a->version != b->version)
        return a->version > b->version;
    return peer_id_compare(&status->host[a->host].id, &status->host[b->host].id) > 0;
}

static void hear_claim(struct status *status, struct expert_seen *expert, struct claim claim)
{
    if (expert->n_claims == 0 || outranks(status, &claim, &expert->best))
        expert->best = claim;
    expert->n_claims++;
}

static void hear_entry(struct seen_row *row, const struct dht_entry *entry)
{
    struct status *status = row->status;
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    size_t n, first = (size_t)(row - status->row) % status->n_rows * MESSAGE_ROW_EXPERTS;
    if (message_claims_decode(claim, &n, entry->bytes, entry->n_bytes) != 0)
        return;
    if (!row->expert)
        row->expert = calloc(MESSAGE_ROW_EXPERTS, sizeof *row->expert);
    size_t host = row->expert ? host_of(status, entry) : SIZE_MAX;
    for (size_t i = 0; i < n && host != SIZE_MAX; i++)
        if (first + claim[i].index < status->run->experts)
            hear_claim(status, &row->expert[claim[i].index],
                       (struct claim){host, claim[i].version, claim[i].epoch, claim[i].load});
}

/* What an earlier round heard of the row stands until somebody says something newer. */
static void on_read(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct seen_row *row = arg;
    struct status *status = row->status;
    if (n_asked > 0) {
        row->is_read = true;
        free(row->expert);
        row->expert = NULL;
    }
    for (size_t i = 0; i < n; i++)
        hear_entry(row, &entry[i]);
    if (n_asked > status->n_asked)
        status->n_asked = n_asked;
    status->n_reads--;
    status->next_us = now_us;
}

bool status_wants_row(const struct status *status)
{
    return !status->is_over && status->n_rounds > 0 && status->next_row < status->n_all_rows;
}

void status_read_row(struct status *status, uint64_t now_us)
{
    size_t i = status->next_row++;
    struct dht_id key = dht_directory_key(&status->run->id, "experts", (uint32_t)(i / status->n_rows),
                                          (uint32_t)(i % status->n_rows));
    status->n_reads++;
    dht_read(status->dht, now_us, &key, on_read, &status->row[i]);
}

/* Hosts of which a whole round heard nothing. */
static void let_go(struct status *status)
{
    for (size_t i = 0; i < status->n_hosts; i++)
        status->host[i].is_gone = status->host[i].round < status->n_rounds;
    for (size_t i = 0; i < status->n_all_rows; i++)
        for (size_t e = 0; status->row[i].expert && e < MESSAGE_ROW_EXPERTS; e++)
            if (status->row[i].expert[e].n_claims > 0)
                status->host[status->row[i].expert[e].best.host].is_gone = false;
}

size_t status_n_hosted(const struct status *status)
{
    size_t n = 0;
    for (uint32_t moe = 0; moe < status->run->n_moe; moe++)
        for (uint32_t e = 0; e < status->run->experts; e++)
            n += status_expert(status, moe, e)->n_claims > 0;
    return n;
}

static void on_ping(void *arg, uint64_t now_us, const struct dht_probe_answer *answer)
{
    struct seen_host *host = arg;
    host->has_answered = answer->message != NULL;
    host->rtt_us = answer->rtt_us;
    host->status->n_pings--;
    host->status->next_us = now_us;
}

/* How far away are they?  More hosts than there is room for are left unmeasured. */
static void ping_all(struct status *status, uint64_t now_us)
{
    status->has_pinged = true;
    status->n_pings = 1; /* held until all are begun */
    for (size_t i = 0; i < status->n_hosts; i++) {
        struct dht_message question = {.method = DHT_PING};
        struct seen_host *host = &status->host[i];
        if (host->is_gone)
            continue;
        host->is_pinged = dht_probe(status->dht, now_us, &host->addr, &question, PING_US, on_ping, host) == 0;
        status->n_pings += host->is_pinged;
    }
    status->n_pings--;
    status->next_us = now_us;
}

static void finish(struct status *status, uint64_t now_us, int err)
{
    status->end_us = now_us;
    status->next_us = IO_NEVER;
    status->is_over = true;
    status->err = err;
}

static void begin_round(struct status *status)
{
    status->n_rounds++;
    status->next_row = 0;
}

/* Waits for somebody, reads, and reads again while something is missing: hosts that just started are still publishing. */
void status_step(struct status *status, uint64_t now_us)
{
    if (status->is_over || now_us < status->next_us || status->n_reads > 0 || status->n_pings > 0 || status_wants_row(status))
        return;
    if (status->has_pinged) {
        finish(status, now_us, 0);
        return;
    }
    if (status->n_asked == 0 && now_us >= status->start_us + status->config.nobody_us) {
        finish(status, now_us, HANSE_EUNREACHABLE);
        return;
    }
    status->next_us = now_us + (status->n_rounds ? STATUS_AGAIN_US : STATUS_SETTLE_US);
    if (dht_n_good(status->dht) == 0)
        return;
    let_go(status);
    unsigned rounds_max = status->config.is_glance && !status_has_hosts(status) ? GLANCES_MAX : ROUNDS_MAX;
    bool is_complete = status_n_hosted(status) == (size_t)status->run->n_moe * status->run->experts;
    if (status->n_asked > 0 && (is_complete || status->n_rounds >= rounds_max))
        ping_all(status, now_us);
    else
        begin_round(status);
}

uint64_t status_wake(const struct status *status)
{
    return status->n_reads > 0 || status->n_pings > 0 || status_wants_row(status) ? IO_NEVER : status->next_us;
}

/* -- What becomes of it -------------------------------------------------------------------------------- */

int status_new(const struct status_config *config, uint64_t now_us, struct status **out)
{
    struct status *status = calloc(1, sizeof *status);
    if (!status)
        return HANSE_ENOMEM;
    *status = (struct status){.config = *config, .run = config->run, .dht = config->dht, .start_us = now_us};
    status->n_rows = (config->run->experts + MESSAGE_ROW_EXPERTS - 1) / MESSAGE_ROW_EXPERTS;
    status->n_all_rows = config->run->n_moe * status->n_rows;
    status->row = calloc(status->n_all_rows + 1, sizeof *status->row);
    if (!status->row) {
        status_free(status);
        return HANSE_ENOMEM;
    }
    for (size_t i = 0; i < status->n_all_rows; i++)
        status->row[i].status = status;
    *out = status;
    return 0;
}

void status_free(struct status *status)
{
    if (!status)
        return;
    for (size_t i = 0; status->row && i < status->n_all_rows; i++)
        free(status->row[i].expert);
    free(status->row);
    free(status->host);
    free(status);
}

size_t status_n_reading(const struct status *status)
{
    return status->n_reads;
}

bool status_is_over(const struct status *status)
{
    return status->is_over;
}

int status_result(const struct status *status)
{
    return status->err;
}

bool status_is_whole(const struct status *status)
{
    size_t i = 0;
    while (i < status->n_all_rows && status->row[i].is_read)
        i++;
    return i == status->n_all_rows;
}

bool status_was_answered(const struct status *status)
{
    return status->n_asked > 0;
}

bool status_has_hosts(const struct status *status)
{
    size_t i = 0;
    while (i < status->n_hosts && status->host[i].is_gone)
        i++;
    return i < status->n_hosts;
}
