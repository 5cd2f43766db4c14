/**
 * cmd/status_seen.h - what status.c has seen of a run, for status_show.c; nobody else includes this.
 */
#ifndef CMD_STATUS_SEEN_H
#define CMD_STATUS_SEEN_H

#include "cmd/status.h"
#include "router/message.h"

/* One host's claim to one expert. */
struct claim {
    size_t host;
    uint32_t version, epoch, load;
};

struct seen_host {
    struct peer_id id;
    struct addr addr;
    uint64_t seq;
    uint32_t expiry_s; /* the latest */
    enum message_hardware hardware;
    unsigned round; /* it was heard of in, the last */
    bool is_gone;   /* a later round heard nothing of it */
    bool is_pinged, has_answered;
    uint64_t rtt_us; /* of a ping that was answered */
    struct status *status;
};

struct expert_seen {
    struct claim best;
    size_t n_claims;
};

/* 64 experts of a layer: what a read of one key of the DHT is about. */
struct seen_row {
    struct status *status;
    struct expert_seen *expert; /* MESSAGE_ROW_EXPERTS of them; NULL: nobody spoke of any */
    bool is_read;               /* at least once */
};

struct status {
    struct status_config config;
    const struct run *run;
    struct dht *dht;
    uint64_t start_us, next_us, end_us;
    unsigned n_rounds;
    size_t n_reads, n_asked; /* under way; most nodes that answered one */
    size_t n_pings;          /* under way */
    bool has_pinged, is_over;
    int err;
    struct seen_host *host;
    size_t n_hosts, hosts_capacity;
    struct seen_row *row; /* n_rows of each layer */
    size_t n_rows, n_all_rows;
    size_t next_row; /* of this round */
};

/* Never NULL; the row need not be read. */
const struct expert_seen *status_expert(const struct status *status, uint32_t moe, uint32_t e);

size_t status_n_hosted(const struct status *status);

#endif
