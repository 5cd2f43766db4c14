/**
 * model/trunk_inside.h - what the files of the trunk share: where parameters start, what a tape keeps, and the blocks.
 * Private to src/model/trunk*.c.
 *
 * The residual stream of a tape is h[0 .. 2 layers]: attention of layer l reads h[2 l] and writes h[2 l + 1], its mlp reads that
 * and writes h[2 l + 2].  A tape that does not train lets all of them, and the activations of all layers, share one memory.
 * In backward one gradient of the stream, gh, goes down and each block adds to it.
 */
#ifndef MODEL_TRUNK_INSIDE_H
#define MODEL_TRUNK_INSIDE_H

#include "base/profile.h"
#include "model/trunk.h"

#define TRUNK_VOCABULARY 256
#define TRUNK_EPS 1e-6f

/** A SwiGLU block: silu(x gate) * (x up), then down.  H = 0: none. */
struct trunk_swiglu {
    size_t H;
    size_t gate, up, down; /* offsets: (D, H), (D, H), (H, D) */
};

struct trunk_layer {
    size_t norm_a, q, k, v, q_gain, k_gain, o; /* attention */
    size_t norm_b;
    struct trunk_swiglu mlp; /* the dense block, or the shared expert */
    bool is_moe;
    size_t moe;                 /* which exchange */
    size_t gate;                /* (D, E) */
    bool has_latent;            /* latent < width */
    size_t to_latent, to_width; /* (D, latent), (latent, D) */
};

struct trunk_swiglu_act {
    float *g, *u, *h; /* (N, H) */
};

struct trunk_layer_act {
    float *a, *rstd_a;      /* norm of h[2 l]: (N, D), (N) */
    float *q_in, *k_in;     /* before QK-norm */
    float *rstd_q, *rstd_k; /* (N, heads) */
    float *q, *k, *v, *o;   /* (N, D) */
    float *prob;            /* (B, heads, T, T) */
    float *b, *rstd_b;      /* norm of h[2 l + 1] */
    struct trunk_swiglu_act mlp;
    float *combined; /* (N, latent) */
};

struct trunk_inside {
    float *memory; /* the one block that everything points into */
    size_t B_max;
    bool is_training;
    float **h; /* 2 layers + 1 */
    struct trunk_layer_act *layer;
    float *y, *rstd_y; /* norm of the last h */
    /* backward */
    float *gh;           /* (N, D) gradient of the stream */
    float *gb;           /* (N, D) gradient of a norm's output; lives across the exchange */
    float *gq, *gk, *gv; /* (N, D) */
    float *ghidden;      /* (N, H) of the widest block */
    float *grows;        /* (N, latent) gradient of the rows sent to the experts */
    float *gweight;      /* (N, K) */
    float *gscore;       /* (N, E) */
    float *square;       /* (T, T) */
};

/** trunk_table.c: the tensors of a run and where they start. */
HANSE_MUST_USE int trunk_table_build(struct trunk *trunk);

/** Draws every parameter from run->birth. */
void trunk_table_draw(struct trunk *trunk);

/* c (N, M') = a (N, M) p, its gradients by a and by p: the three products of every matrix in the trunk. */
static inline void trunk_product(const struct trunk *trunk, float *c, const float *a, size_t p, size_t N, size_t M, size_t M_out,
                                 bool accumulate)
{
    trunk->kernels.matmul(c, M_out, matrix_of(a, M), matrix_of(trunk->param + p, M_out), N, M_out, M, accumulate);
}

static inline void trunk_product_grad_a(const struct trunk *trunk, float *ga, const float *gc, size_t p, size_t N, size_t M,
                                        size_t M_out, bool accumulate)
{
    trunk->kernels.matmul(ga, M, matrix_of(gc, M_out), matrix_transposed(trunk->param + p, M_out), N, M, M_out, accumulate);
}

static inline void trunk_product_grad_p(const struct trunk *trunk, struct trunk_tape *tape, size_t p, const float *a,
                                        const float *gc, size_t N, size_t M, size_t M_out)
{
    trunk->kernels.matmul(tape->grad + p, M_out, matrix_transposed(a, M), matrix_of(gc, M_out), M, M_out, N, true);
}

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
                          float *out, const float *x, size_t N);
void trunk_swiglu_backward(const struct trunk *trunk, struct trunk_tape *tape, const struct trunk_swiglu *block,
                           const struct trunk_swiglu_act *act, float *gx, const float *gout, const float *x);
void trunk_dense_forward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer);
void trunk_dense_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer);

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
