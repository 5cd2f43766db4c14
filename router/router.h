/**
 * router/router.h - brings a microbatch's rows to the experts that the gate picked, and their answers back.
 *
 * The router keeps a directory of who hosts which expert (read from the DHT in the background, never while a
 * token waits), one link to each of those hosts, and the calls in flight.  An *exchange* is one microbatch at one MoE layer: a
 * forward, in which every host gets one message with all rows meant for its experts, and a backward to those that
 * answered.  Each half ends when all have answered or at the deadline, whichever is first; what is missing is marked, and
 * the gate's weights renormalize over the rest.  A host that let a deadline pass is left out for a while that grows.
 * With deadline_us 0 (`--sync`) nothing is ever missing: an exchange waits, and asks again after a lost link; hosts apply a
 * backward once however often it is asked.
 *
 * A step machine.  Loop thread only, except router_allowed() and router_bias(), whose arrays the caller copies.  Callbacks run from inside
 * router_event(), never from inside the call that starts an exchange.
 */
#ifndef ROUTER_ROUTER_H
#define ROUTER_ROUTER_H

#include "base/io.h"
#include "dht/dht.h"
#include "router/message.h"

#define ROUTER_PEERS_MAX 1024
#define ROUTER_EXCHANGES_MAX 1024

struct router;
struct exchange;

struct router_config {
    struct hash run;
    uint8_t role;                  /* enum message_role, for the hello */
    uint32_t n_moe;                /* MoE layers */
    uint32_t E;                    /* experts a layer, at most MESSAGE_GROUPS_MAX */
    uint32_t K;                    /* picks a token */
    uint32_t D;                    /* width of a row */
    enum numerics numerics;        /* the form in which rows travel (router/rows.h) */
    const struct kernels *kernels; /* kept; to read answers that are integers, else unused */
    uint64_t deadline_us;          /* of each half of an exchange; 0: wait and ask again */
    float bias_rate;               /* of the load bias, a step */
};

/** Keeps `io` and `dht`; `dht` NULL: experts come from router_add_local() alone. */
HANSE_MUST_USE int router_new(const struct router_config *config, const struct io *io, struct dht *dht, uint64_t now_us,
                              struct router **out);
void router_free(struct router *router);

/** Takes IO_TICK, IO_LINK_UP, IO_MESSAGE and IO_LINK_DOWN; others are ignored. */
void router_event(struct router *router, uint64_t now_us, const struct io_event *event);
uint64_t router_deadline(const struct router *router);

/**
 * Makes a host within this process the home of every expert: `send` takes the bytes of a message (leaving it empty); the
 * replies come back through router_deliver().
 */
void router_add_local(struct router *router, const struct peer_id *id, void (*send)(void *arg, struct buf *message), void *arg);
void router_deliver(struct router *router, uint64_t now_us, const uint8_t *bytes, size_t n);

/** E bytes: 1 for an expert of the layer that can be asked now. */
const uint8_t *router_allowed(const struct router *router, uint32_t moe);

/** E floats added to the scores when picking: raises the experts that the whole swarm uses too little. */
const float *router_bias(const struct router *router, uint32_t moe);

/**
 * Moves the biases after a training step: bias += rate * clamp((mean - load) / mean, -1, 1), |bias| <= 1, where load is what the
 * hosts counted since the last call (all trainers' token-slots), mean over the experts heard of.  Wang et al., "Auxiliary-loss-free
 * load balancing", 2024, with loads from the hosts in place of the local batch.
 */
void router_balance(struct router *router);

/** The bias and the load counters of a layer (E each), for the trainer's checkpoint. */
void router_balance_get(const struct router *router, uint32_t moe, float *bias, int64_t *load);
void router_balance_set(struct router *router, uint32_t moe, const float *bias, const int64_t *load);

/** Experts whose host is known and not linked yet.  Only in sync mode are these live all the same. */
size_t router_n_unlinked(const struct router *router);

/** What happened to slots since the start. */
struct router_stats {
    size_t n_experts;       /* of the run */
    size_t n_live;          /* that can be asked now */
    size_t n_hosts;         /* linked */
    uint64_t n_slots;       /* asked in forwards */
    uint64_t n_missed;      /* of those, not answered in time */
    uint64_t n_grad_slots;  /* gradients sent */
    uint64_t n_grad_missed; /* of those, not confirmed in time */
    uint64_t staleness_sum; /* over confirmed gradient slots, in versions */
    uint64_t n_busy, n_late, n_gone, n_reject, n_retries;
    uint64_t rtt_us;    /* mean round trip of recent calls */
    size_t n_dht_nodes; /* that answered recently */
    uint64_t n_reads;   /* directory reads that somebody answered */
};
struct router_stats router_stats(const struct router *router);

/** A live expert: its host has greeted us, and has not let a deadline pass since it last answered. */
struct router_expert {
    uint32_t moe, expert;
    struct peer_id peer;
    struct addr addr;
    uint8_t epoch;
    uint32_t version; /* as the host last published it */
    uint64_t load;    /* token-slots that it ever accepted */
    enum message_hardware hardware;
    uint64_t rtt_us; /* the shortest round trip that a dial showed; 0: not yet measured */
};

/**
 * The live experts of the run, in their order: who would be asked for each now.  Writes up to `max` and returns how many there
 * are.  A host that is gone is missing at once when its link goes down or it lets a deadline pass, and otherwise when its
 * entry is over and it has said nothing for as long as an entry lives; its entries do not bring it back, only that it greets or
 * answers again.
 */
size_t router_view(const struct router *router, struct router_expert *out, size_t max);

/** Why the last host that refused us did so; empty if none did. */
const char *router_refusal(const struct router *router);

/** Reads the directory soon rather than at its usual time. */
void router_refresh(struct router *router, uint64_t now_us);

/** Memory for one microbatch of up to N tokens at one MoE layer.  HANSE_EFULL beyond ROUTER_EXCHANGES_MAX. */
HANSE_MUST_USE int exchange_new(struct router *router, size_t N, struct exchange **out);

/** Forgets calls in flight. */
void exchange_free(struct exchange *exchange);

/**
 * Asks the picked experts.  x (N, D) in the run's form in, pick (N, K) in; answered (N, K) and y (N, K, D) out: y is written where
 * answered is 1.  A row whose rounding was refused (QUANTIZE_BAD) goes out as it is, and costs its experts' answers.
 * `keep` asks hosts to keep the rows for exchange_backward().  All are kept (borrowed) until `done`.  y, and gx below, are floats, or rows
 * in the form of answers (router/rows.h), whose memory is then written as they come.
 */
void exchange_forward(struct exchange *exchange, uint64_t now_us, uint32_t moe, size_t N, struct rows x, const int32_t *pick,
                      uint8_t *answered, struct rows y, bool keep, void (*done)(void *arg, uint64_t now_us), void *arg);

/**
 * Sends the gradient weight (N, K) * gout (N, D) of each slot that answered, and receives gx (N, K, D), zero where nothing
 * came back.  x is that of the forward, should a host have to see it again.  All are kept until `done`.
 */
void exchange_backward(struct exchange *exchange, uint64_t now_us, const float *weight, struct rows gout, struct rows gx,
                       float lr_scale, void (*done)(void *arg, uint64_t now_us), void *arg);

/** Forgets the kept rows of a forward whose backward will never come (after a stop). */
void exchange_cancel(struct exchange *exchange);

#endif
