/**
 * model/trunk.h - the part of the model that a trainer keeps: embedding, attention, dense blocks, gates, projections, shared
 * experts, head.  Decoder-only: h += attention(norm(h)); h += mlp(norm(h)), where a MoE layer's mlp is
 *     shared(x) + up(combine_k weight_k * expert_k(down(x))),   x = norm(h)
 *
 * A microbatch runs in segments, cut where the hosts work: segment s (0..n_moe) begins with the answers of MoE layer s - 1
 * (for s > 0) and ends with the questions of MoE layer s, or with the loss for s = n_moe.
 *     forward 0, ask, forward 1, ask, ..., forward n_moe, backward n_moe, ask, ..., backward 0
 * A `tape` holds one microbatch's activations and its own gradient sums, so tapes run on different threads at once, and
 * adding their gradients in tape order makes the sum independent of timing.
 * Attention: q, k, v = norm(h) Wq, Wk, Wv; q and k are normalized per head (one gain for all heads), then rotated.  No biases.
 * Bits: with trunk f32 or i8x2 every number is defined by kernels/ref's order of operations, and a row of the forward does not
 * depend on which other rows its microbatch has.
 *
 * With trunk i8x2 the products with attention's matrices, those of SwiGLU blocks, the projections and the head are exact-integer
 * ones (kernels/linear.h).  Each activation that they read is rounded by rows once, and a weight once a step, by columns.  Gate,
 * attention, norms, loss and updates stay as they are.  A row that cannot be rounded, not being finite or too large, gives NaN in
 * its outputs, and in the gradient of every weight that read it, so that the step is left out as it would be with f32.
 *
 * Memory: parameters, tapes and gradients lie where the trunk's kernels have theirs (kernels/kernels.h).  What the CPU fills in or
 * reads in between (tokens, losses, and all of a trunk_exchange) is the CPU's: with a CPU's kernels the very memory that they
 * work in, with a device's a side of its own, copied where segments begin and end.  When trunk_forward() or trunk_backward() returns,
 * all that it asked for is done, so another thread may go on with the tape.
 */
#ifndef MODEL_TRUNK_H
#define MODEL_TRUNK_H

#include "base/team.h"
#include "kernels/linear.h"
#include "model/run.h"

#define TRUNK_TENSOR_NAME_MAX 64

/** How a tensor is updated. */
enum trunk_rule { TRUNK_MUON, TRUNK_ADAM, TRUNK_ADAM_NO_DECAY };

/** One parameter tensor; the table serves allocation, update, checkpoint and test alike. */
struct trunk_tensor {
    char name[TRUNK_TENSOR_NAME_MAX]; /* as safetensors will call it */
    size_t M, N;                      /* (M, N), used as x (., M) p (M, N); a vector has M = 1 */
    size_t offset;                    /* floats from the start of param */
    enum trunk_rule rule;
    float init_std; /* 0: ones for vectors, zeros for matrices */
};

struct trunk_layer; /* trunk_inside.h: where a layer's tensors start */

struct trunk {
    const struct run *run;       /* kept */
    struct kernels kernels;      /* with the products that the run asks for, */
    const struct kernels *exact; /* and kept: those that it was given, for gates */
    struct team *team;           /* kept; helps with large products; NULL, as trunk_new() leaves it: nobody does */
    size_t n_tensors;
    struct trunk_tensor *tensor;
    size_t n_params;
    float *param;             /* in the memory of `kernels`, as are the tables below */
    size_t embed, norm, head; /* offsets of the tensors outside the layers */
    size_t head_tensor;       /* the head's row of `tensor` */
    struct linear *linear;    /* of each tensor: its weights rounded and packed; empty for those in f32.  NULL: all are */
    struct trunk_layer *layer;
    float *rope_cos, *rope_sin; /* (context, hd / 2) */
};

/** The first trunk of a run: a function of the run's description (run->birth).  Keeps `run` and `kernels`.  HANSE_ENOMEM, logged with the keys that
 * matter when it is a device's memory; HANSE_EDEVICE; HANSE_EUNSUPPORTED when the run's trunk needs a library or a device (logged). */
HANSE_MUST_USE int trunk_new(const struct run *run, const struct kernels *kernels, struct trunk **out);
void trunk_free(struct trunk *trunk);

/** Rounds and packs a tensor's weights anew, where its products are of integers; call after its parameters changed and before
 * they are used, by another thread once this one waited (kernels.wait).  Different tensors may be packed on different threads. */
void trunk_pack(struct trunk *trunk, size_t tensor);
void trunk_pack_all(struct trunk *trunk);

/**
 * Where a microbatch meets the experts of one MoE layer; N = B * T tokens, D = latent.  Rows for the experts are there as they
 * travel, in the tape's form; where that is of integers, the floats behind them are NULL on the CPU's side of a device.
 */
struct trunk_exchange {
    /* out of forward s */
    float *x;           /* (N, D) rows for the experts */
    struct rows x_rows; /* as they travel; a row that cannot be rounded says so, and its experts refuse it */
    float *logit;       /* (N, E); NULL as above */
    float *score;       /* (N, E) sigmoid of it */
    /* filled by the router before forward s + 1 */
    int32_t *pick;      /* (N, K), -1 for none */
    uint8_t *answered;  /* (N, K) */
    float *y;           /* (N, K, D); only answered slots are read */
    struct rows y_rows; /* what to fill in: the same, or on a device integers in two slices where rows travel as integers */
    /* out of backward s + 1 */
    float *weight;         /* (N, K) */
    float *lse;            /* (N) of a token's logits, where z_loss is not 0 */
    float *gout;           /* (N, D) gradient of the combined answer; slot k of a token has weight * gout */
    struct rows gout_rows; /* as it travels */
    /* filled by the router before backward s */
    float *gx;           /* (N, K, D); zero where the backward had no answer; slots unanswered in the forward are not read */
    struct rows gx_rows; /* as y_rows */
};

struct trunk_inside; /* trunk_inside.h */

struct trunk_tape {
    const struct trunk *trunk;
    size_t B, T, N;
    enum numerics form;              /* of the rows for the experts */
    int32_t *token;                  /* (N) inputs */
    int32_t *target;                 /* (N) */
    struct trunk_exchange *exchange; /* n_moe */
    float *loss;                     /* (N) nats, after forward n_moe */
    float *grad;                     /* n_params, in the kernels' memory; summed into, cleared by trunk_tape_clear() */
    double zloss;                /* mean over tokens of the gates' z-losses, summed over layers, times z_loss; after backward */
    struct trunk_inside *inside; /* the rest of the activations */
};

/** Memory for microbatches of up to B sequences of T <= context, whose rows travel in `form`.  `is_training` false leaves out what
 * backward needs.  HANSE_ENOMEM, logged with sizes and keys when it is a device's memory; HANSE_EDEVICE. */
HANSE_MUST_USE int trunk_tape_new(const struct trunk *trunk, size_t B, size_t T, bool is_training, enum numerics form,
                                  struct trunk_tape **out);
void trunk_tape_free(struct trunk_tape *tape);

/** Clears the gradient sums and the z-loss; by the thread that runs the next segment. */
void trunk_tape_clear(struct trunk_tape *tape);

/** The next microbatch has B sequences, at most as many as trunk_tape_new() was told. */
void trunk_tape_set_batch(struct trunk_tape *tape, size_t B);

/** Runs a segment.  Any thread, one at a time per tape; the trunk's parameters must not change meanwhile.  Fails on a device
 * alone: HANSE_EDEVICE, HANSE_ENOMEM, and then the tape's numbers mean nothing. */
HANSE_MUST_USE int trunk_forward(const struct trunk *trunk, struct trunk_tape *tape, size_t segment);

/** The gradient of the mean over tokens * grad_scale; segment from n_moe down to 0.  Fails as trunk_forward(). */
HANSE_MUST_USE int trunk_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t segment, float grad_scale);

/** Copies the logits (256) of a token after forward n_moe; backward uses them up.  Fails as trunk_forward(). */
HANSE_MUST_USE int trunk_tape_logits(const struct trunk_tape *tape, size_t token, float *out);

/** Mean loss of a tape after its last forward, summed in token order in double. */
double trunk_tape_loss(const struct trunk_tape *tape);

#endif
