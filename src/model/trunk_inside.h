/**
 * model/trunk_inside.h - what the files of the trunk share: where parameters start, what a tape keeps, and the blocks.
 * Private to src/model/trunk*.c and optimizer.c.
 *
 * The residual stream of a tape is h[0 .. 2 layers]: attention of layer l reads h[2 l] and writes h[2 l + 1], its mlp reads that
 * and writes h[2 l + 2].  A tape that does not train lets all of them, and the activations of all layers, share one memory.
 * In backward one gradient of the stream, gh, goes down and each block adds to it.
 *
 * Everything here lies in the memory of the trunk's kernels.  What a tape shows to the CPU is the same memory, or its copy: see
 * trunk_side.c.
 */
#ifndef MODEL_TRUNK_INSIDE_H
#define MODEL_TRUNK_INSIDE_H

#include "base/profile.h"
#include "model/trunk.h"

#define TRUNK_VOCABULARY 256
#define TRUNK_EPS 1e-6f

/** A matrix of the trunk, used as x (., M) p (M, N). */
struct trunk_matrix {
    size_t M, N;
    size_t offset; /* of its floats */
    size_t tensor; /* its row of the table */
};

/** A SwiGLU block: silu(x gate) * (x up), then down.  H = 0: none. */
struct trunk_swiglu {
    size_t H;
    struct trunk_matrix gate, up, down; /* (D, H), (D, H), (H, D) */
};

struct trunk_layer {
    size_t norm_a, q_gain, k_gain; /* attention */
    struct trunk_matrix q, k, v, o;
    size_t norm_b;
    struct trunk_swiglu mlp; /* the dense block, or the shared expert */
    bool is_moe;
    size_t moe;               /* which exchange */
    struct trunk_matrix gate; /* (D, E) */
    bool has_latent;          /* latent < width */
    struct trunk_matrix to_latent, to_width;
};

/** An activation that products read: floats, and where products are of integers the same rounded by trunk_round(). */
struct trunk_input {
    float *f32;         /* (N, D) */
    int8_t *exponent;   /* (N) */
    int8_t *high, *low; /* (N, D) */
};

struct trunk_swiglu_act {
    float *g, *u;         /* (N, H) */
    struct trunk_input h; /* (N, H) */
};

struct trunk_layer_act {
    struct trunk_input a;   /* norm of h[2 l]: (N, D) */
    float *rstd_a;          /* (N) */
    float *q_in, *k_in;     /* before QK-norm */
    float *rstd_q, *rstd_k; /* (N, heads) */
    float *q, *k, *v;       /* (N, D) */
    struct trunk_input o;   /* (N, D) */
    float *prob;            /* (B, heads, T, T) */
    struct trunk_input b;   /* norm of h[2 l + 1] */
    float *rstd_b;
    struct trunk_swiglu_act mlp;
    struct trunk_input combined; /* (N, latent) */
};

/** Bytes of what is copied at once: tokens and targets; and of each exchange, from `score` on, from `pick` on, from `weight` on, from
 * `gx_rows` on. */
struct trunk_spans {
    size_t tokens, asked, answers, told, gradients;
};

struct trunk_inside {
    float *memory;     /* the one block that everything points into */
    float *cpu_memory; /* a device's tape: behind what the CPU sees */
    size_t B_max;
    bool is_training;
    int32_t *token, *target;         /* (N) */
    float *loss;                     /* (N) */
    float *logits;                   /* (N, 256); overwritten by the gradient in backward */
    struct trunk_exchange *exchange; /* (n_moe) as kernels see them; tape->exchange itself with a CPU's kernels */
    struct trunk_spans span;
    float **h; /* 2 layers + 1 */
    struct trunk_layer_act *layer;
    struct trunk_input y; /* norm of the last h */
    float *rstd_y;
    /* backward */
    float *gh;           /* (N, D) gradient of the stream */
    float *gb;           /* (N, D) gradient of a norm's output; lives across the exchange */
    float *gq, *gk, *gv; /* (N, D) */
    float *ghidden;      /* (N, H) of the widest block */
    float *grows;        /* (N, latent) gradient of the rows sent to the experts */
    float *gweight;      /* (N, K) */
    float *gscore;       /* (N, E) */
    float *square;       /* (T, T) */
    void *round;         /* where gradients are rounded and packed; with integer products alone */
};

/* trunk_side.c: a tape's memory as the CPU sees it, and the copies between the two. */

/** One block of floats that grows from the front.  While `at` is NULL it only counts. */
struct trunk_layout {
    float *at;
    size_t n;
};
void *trunk_lay(struct trunk_layout *layout, size_t n_floats);
size_t trunk_floats_for(size_t n_bytes);

/** Tokens, targets and losses, one after the other; the exchanges, as kernels see them (or the CPU of a device: fewer). */
void trunk_lay_tokens(struct trunk_layout *layout, struct trunk_tape *tape, int32_t **token, int32_t **target, float **loss);
void trunk_lay_exchanges(struct trunk_layout *layout, struct trunk_tape *tape, struct trunk_exchange *exchange, bool is_cpu_side);

/** After the kernels' side was laid: makes the CPU's.  HANSE_ENOMEM. */
HANSE_MUST_USE int trunk_side_make(const struct trunk *trunk, struct trunk_tape *tape);

/** To the kernels' side: before forward 0; the answers of a layer; the gradients they sent. */
void trunk_put_tokens(const struct trunk *trunk, struct trunk_tape *tape);
void trunk_put_answers(const struct trunk *trunk, struct trunk_tape *tape, size_t moe);
void trunk_put_gradients(const struct trunk *trunk, struct trunk_tape *tape, size_t moe);

/** To the CPU's, and whatever was asked for is done: questions and scores, losses, weights and gradients for the experts; or nothing
 * but that. */
HANSE_MUST_USE int trunk_get_asked(const struct trunk *trunk, struct trunk_tape *tape, size_t moe);
HANSE_MUST_USE int trunk_get_losses(const struct trunk *trunk, struct trunk_tape *tape);
HANSE_MUST_USE int trunk_get_told(const struct trunk *trunk, struct trunk_tape *tape, size_t moe, float grad_scale);

/** trunk_table.c: the tensors of a run and where they start. */
HANSE_MUST_USE int trunk_table_build(struct trunk *trunk);

/** Draws every parameter from run->birth.  HANSE_ENOMEM. */
HANSE_MUST_USE int trunk_table_draw(struct trunk *trunk);

/** Logs that a device has no room for n_bytes more of `what`, with what would help, and returns HANSE_ENOMEM; says nothing of a CPU. */
int trunk_no_room(const struct trunk *trunk, size_t n_bytes, const char *what, const char *remedy);

/** Whether a tensor's products are of floats whatever the run says of the trunk's. */
bool trunk_is_exact(const struct trunk *trunk, size_t tensor);

/* trunk_product.c: x (N, M) p, its gradients by x and by p: the three products of every matrix in the trunk. */

/** Whether a tensor's products are of integers. */
static inline bool trunk_is_rounded(const struct trunk *trunk, size_t tensor)
{
    return trunk->linear && trunk->linear[tensor].n_slices > 0;
}

/** Bytes where a tape of N tokens rounds its gradients; 0 where all products are of floats. */
size_t trunk_round_bytes(const struct trunk *trunk, size_t N);

/** Rounds x (N, D), where the trunk's products are of integers; call when its floats are there, before products read it. */
void trunk_round(const struct trunk *trunk, const struct trunk_input *x, size_t N, size_t D);

void trunk_product(const struct trunk *trunk, float *c, const struct trunk_input *x, const struct trunk_matrix *p, size_t N,
                   bool accumulate);
void trunk_product_grad_x(const struct trunk *trunk, const struct trunk_tape *tape, float *gx, const float *gc,
                          const struct trunk_matrix *p, bool accumulate);
void trunk_product_grad_p(const struct trunk *trunk, struct trunk_tape *tape, const struct trunk_matrix *p,
                          const struct trunk_input *x, const float *gc);

/** Starts h[to] as a copy of h[to - 1], for a block to add to; nothing to do where they share memory. */
void trunk_carry(const struct trunk *trunk, struct trunk_tape *tape, size_t to);

/** gh += the gradient of norm(h[at]) at its output gy (overwritten). */
void trunk_norm_backward(const struct trunk *trunk, struct trunk_tape *tape, float *gy, size_t at, const float *rstd,
                         size_t gain);

/* trunk_attention.c */
void trunk_attention_forward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer);
void trunk_attention_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer);

/* trunk_swiglu.c: out (N, D) += block(x); gx (N, D) = gradient, the activations are used up */
void trunk_swiglu_forward(const struct trunk *trunk, const struct trunk_swiglu *block, const struct trunk_swiglu_act *act,
                          float *out, const struct trunk_input *x, size_t N);
void trunk_swiglu_backward(const struct trunk *trunk, struct trunk_tape *tape, const struct trunk_swiglu *block,
                           const struct trunk_swiglu_act *act, float *gx, const float *gout, const struct trunk_input *x);
void trunk_dense_forward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer);
void trunk_dense_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer);

/** The gradient of a z-loss of `lse` is scaled by this. */
static inline float trunk_zloss_scale(const struct trunk *trunk, const struct trunk_tape *tape, float grad_scale)
{
    return trunk->run->z_loss * grad_scale / (float)tape->N;
}

/* trunk_moe.c: ask ends a segment, join begins the next; backward the other way round */
void trunk_moe_ask(const struct trunk *trunk, struct trunk_tape *tape, size_t layer);
void trunk_moe_join(const struct trunk *trunk, struct trunk_tape *tape, size_t layer);
void trunk_moe_join_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer, float grad_scale);
void trunk_moe_ask_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer);

/* trunk_head.c: bytes to stream, stream to loss */
void trunk_embed_forward(const struct trunk *trunk, struct trunk_tape *tape);
void trunk_embed_backward(const struct trunk *trunk, struct trunk_tape *tape);
void trunk_head_forward(const struct trunk *trunk, struct trunk_tape *tape);
void trunk_head_backward(const struct trunk *trunk, struct trunk_tape *tape, float grad_scale);

#endif
