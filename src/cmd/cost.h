/**
 * cmd/cost.h - what a run costs: memory, bytes on the wire, arithmetic, and what follows for its speed.
 *
 * Sums over the layers as src/model and router/message.h lay them out, not measurements; hanse plan adds those.
 */
#ifndef CMD_COST_H
#define CMD_COST_H

#include "model/run.h"

struct cost {
    double trunk_params, expert_params, all_params, active_params;
    double n_experts, experts_per_host; /* the largest share */
    /* bytes */
    double host_state;     /* parameters, moments and gradient sums of its experts, their integers, rows whose gradient waits */
    double host_disk;      /* of a checkpoint, before compression, at most */
    double trainer_state;  /* the trunk's parameters, moments and gradients */
    double trainer_tapes;  /* activations and gradients of the microbatches under way */
    double up_per_token;   /* sent by the trainer for a token, forward and backward */
    double down_per_token; /* received by it */
    /* floating-point operations */
    double trunk_per_token; /* forward and backward, without the experts */
    double trunk_per_step;  /* the update (Muon) */
    double hosts_per_token; /* of all hosts together */
    double tokens_per_step;
};

struct cost cost_of(const struct run *run);

/** Bytes of one tape for B sequences of T (model/trunk.h) that is trained on. */
double cost_tape_bytes(const struct run *run, size_t B, size_t T);

/** Bytes that a token's rows and answers take in this form, forward and backward: up from the trainer, down to it. */
struct cost_wire {
    double up, down;
};
struct cost_wire cost_wire_of(const struct run *run, enum numerics form);

/** Mean number of different hosts among the K picks of a token, experts spread evenly over n_hosts. */
double cost_hosts_per_token(uint32_t experts, uint32_t chosen, uint32_t n_hosts);

/** What a run may have to wait for. */
enum cost_bound { COST_TRUNK, COST_HOSTS, COST_UPLINK, COST_DOWNLINK, COST_HOST_UPLINK, COST_LATENCY, COST_N_BOUNDS };

struct cost_place {
    double flop_per_core_s; /* of a product */
    double trainer_cores, host_cores;
    double up_bits_s, down_bits_s; /* of the trainer's line, and of each host's */
    double rtt_s;
};

/** Tokens per second if nothing but `bound` took time. */
double cost_tokens_per_s(const struct cost *cost, const struct run *run, const struct cost_place *place, enum cost_bound bound);

#endif
