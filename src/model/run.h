/**
 * model/run.h - the description of a training run, as run.yaml has it.
 *
 * The run id is the SHA-256 of the canonical description: each key below in this order as "section.key=value\n" with numbers
 * in their shortest exact form, so spacing, comments, order and spelled-out defaults do not change it.  Every key that changes
 * what a host does or what the shared numbers are takes part.  Four are a local matter and stay out, so that a peer may set them
 * for itself and stay in the run: trainer.microbatches, trainer.steps, trainer.deadline_ms, hosts.checkpoint_s.
 * Runs that differ in the numbers of their products alone (trainer.trunk, experts.numerics, experts.coarse) are different runs that
 * begin with the same parameters, so that their losses can be compared.
 * model/run_key.h has the table of keys that the parser, this form and the manual share.
 */
#ifndef MODEL_RUN_H
#define MODEL_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "hanse/err.h"
#include "kernels/numerics.h"

#define RUN_LAYERS_MAX 128
#define RUN_NAME_MAX 64

enum run_trunk { RUN_TRUNK_F32, RUN_TRUNK_BLAS, RUN_TRUNK_I8X2, RUN_TRUNK_BF16 };
#define RUN_N_TRUNKS 4

struct run {
    char name[RUN_NAME_MAX];
    /* model: */
    uint32_t width; /* D of the trunk */
    uint32_t layers;
    uint32_t heads;
    uint32_t hidden;  /* SwiGLU hidden width of layers without experts */
    uint32_t context; /* T, bytes of context */
    float rope_theta;
    bool is_moe[RUN_LAYERS_MAX];
    uint32_t n_moe;         /* layers with experts; MoE layer i is expert name L<i>.<e> */
    uint32_t experts;       /* E per MoE layer */
    uint32_t chosen;        /* K */
    uint32_t expert_hidden; /* H */
    uint32_t latent;        /* width sent to experts; == width: no projection */
    uint32_t shared_hidden; /* the local shared expert; 0: none */
    /* router: */
    float bias_rate; /* how fast the load bias moves, per step */
    float z_loss;
    float expert_dropout; /* chance that an expert is left out of a microbatch */
    /* trainer: */
    enum run_trunk trunk;
    uint32_t batch;        /* sequences a step */
    uint32_t microbatches; /* in flight */
    float lr_muon, lr_adam, weight_decay, momentum;
    float beta1, beta2, clip;
    uint32_t warmup_steps;
    float final_lr;       /* the cosine ends at this share of the peak */
    uint32_t steps;       /* default length of `hanse train` */
    uint32_t deadline_ms; /* of an expert call */
    /* experts: */
    float expert_lr, expert_beta1, expert_beta2, expert_weight_decay, expert_clip;
    uint32_t expert_warmup, slots_per_update, max_staleness;
    enum numerics expert_numerics; /* of an expert's products, and so of the rows that travel */
    uint32_t expert_coarse;        /* bit i: product i (enum expert_product) in one slice */
    /* hosts: */
    uint32_t hosts;        /* how many hosts share the experts (for --experts auto) */
    uint32_t checkpoint_s; /* seconds between checkpoints */
    /* not in the file: */
    struct hash id;
    struct hash birth; /* what the first parameters are drawn from: the id but for the keys of numerics */
};

/**
 * Reads a run description of at most 1 MiB.  HANSE_ENOENT, HANSE_EACCESS, HANSE_EIO, HANSE_EINVAL; logs "FILE:LINE: reason;
 * remedy" for an unknown key, a key that stands twice, a wrong type, a value out of range, combinations that do not fit (width
 * not a multiple of heads, chosen > experts, ...), and whatever is not YAML; "FILE: reason; remedy" when it cannot be read at all.
 * `out` is written on success only.
 */
HANSE_MUST_USE int run_read(const char *file, struct run *out);

/** As run_read() from memory; `file` is for messages. */
HANSE_MUST_USE int run_parse(const char *file, const char *yaml, size_t n, struct run *out);

/** Writes the canonical description. */
struct buf;
void run_canonical(const struct run *run, struct buf *out);

/** Writes the run id's first 16 hex digits and a NUL. */
void run_short_id(const struct run *run, char out[17]);

/** Parameters of the trunk, of one expert, and active per token. */
size_t run_trunk_params(const struct run *run);
size_t run_expert_params(const struct run *run);
size_t run_active_params(const struct run *run);

/** The layer of the model that is MoE layer `moe`. */
uint32_t run_moe_layer(const struct run *run, uint32_t moe);

/** Name of an expert: "L<moe layer>.<index>". */
void run_expert_name(char out[32], uint32_t moe, uint32_t expert);

/** Reads "L<moe>.<index>" of this run; false when it is not one. */
bool run_parse_expert_name(const struct run *run, const char *name, uint32_t *moe, uint32_t *expert);

#endif
