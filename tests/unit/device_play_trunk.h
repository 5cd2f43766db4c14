/**
 * tests/unit/device_play_trunk.h - device_play() with the operations of a trunk and its optimizer besides.
 */
#ifndef TESTS_UNIT_DEVICE_PLAY_TRUNK_H
#define TESTS_UNIT_DEVICE_PLAY_TRUNK_H

#include "tests/unit/device_play.h"

/* -- Norms and attention ----------------------------------------------------------------------------- */

static inline void play_dequantize_rows(float *x, const int8_t *high, const int8_t *low, const int8_t *exponent, size_t R,
                                        size_t C)
{
    WRITES(x, FLOATS(R * C)), READS(high, R * C), READS(low, R * C), READS(exponent, R);
    if (!play_is_idle())
        play_ref->dequantize_rows(x, high, low, exponent, R, C);
}

static inline void play_rmsnorm(float *y, float *rstd, const float *x, const float *gain, float eps, size_t R, size_t D)
{
    WRITES(y, FLOATS(R * D)), WRITES(rstd, FLOATS(R)), READS(x, FLOATS(R * D)), READS(gain, FLOATS(D));
    if (!play_is_idle())
        play_ref->rmsnorm(y, rstd, x, gain, eps, R, D);
}

static inline void play_rmsnorm_grad(float *gx, float *ggain, const float *gy, const float *x, const float *rstd,
                                     const float *gain, size_t R, size_t D)
{
    WRITES(gx, FLOATS(R * D)), WRITES(ggain, FLOATS(D)), READS(gy, FLOATS(R * D)), READS(x, FLOATS(R * D));
    READS(rstd, FLOATS(R)), READS(gain, FLOATS(D));
    if (!play_is_idle())
        play_ref->rmsnorm_grad(gx, ggain, gy, x, rstd, gain, R, D);
}

static inline void play_rope(float *x, const float *cosine, const float *sine, bool inverse, size_t R, size_t T, size_t n_heads,
                             size_t hd)
{
    WRITES(x, FLOATS(R * n_heads * hd)), READS(cosine, FLOATS(T * hd / 2)), READS(sine, FLOATS(T * hd / 2));
    if (!play_is_idle())
        play_ref->rope(x, cosine, sine, inverse, R, T, n_heads, hd);
}

static inline void play_attention(float *out, float *prob, const float *q, const float *k, const float *v, float scale, size_t B,
                                  size_t T, size_t n_heads, size_t hd)
{
    size_t n = FLOATS(B * T * n_heads * hd);
    WRITES(out, n), WRITES(prob, FLOATS(B * n_heads * T * T)), READS(q, n), READS(k, n), READS(v, n);
    if (!play_is_idle())
        play_ref->attention(out, prob, q, k, v, scale, B, T, n_heads, hd);
}

static inline void play_attention_grad(float *gq, float *gk, float *gv, float *work, const float *gout, const float *prob,
                                       const float *q, const float *k, const float *v, float scale, size_t B, size_t T,
                                       size_t n_heads, size_t hd)
{
    size_t n = FLOATS(B * T * n_heads * hd);
    WRITES(gq, n), WRITES(gk, n), WRITES(gv, n), WRITES(work, FLOATS(T * T)), READS(gout, n);
    READS(prob, FLOATS(B * n_heads * T * T)), READS(q, n), READS(k, n), READS(v, n);
    if (!play_is_idle())
        play_ref->attention_grad(gq, gk, gv, work, gout, prob, q, k, v, scale, B, T, n_heads, hd);
}

/* -- Embedding, gate, loss --------------------------------------------------------------------------- */

static inline void play_sigmoid(float *y, const float *x, size_t n)
{
    WRITES(y, FLOATS(n)), READS(x, FLOATS(n));
    if (!play_is_idle())
        play_ref->sigmoid(y, x, n);
}

static inline void play_sigmoid_grad(float *g, const float *y, size_t n)
{
    WRITES(g, FLOATS(n)), READS(y, FLOATS(n));
    if (!play_is_idle())
        play_ref->sigmoid_grad(g, y, n);
}

/* Tokens are bytes. */
static inline void play_embed(float *x, const float *table, const int32_t *token, size_t R, size_t D)
{
    WRITES(x, FLOATS(R * D)), READS(table, FLOATS(256 * D)), READS(token, FLOATS(R));
    if (!play_is_idle())
        play_ref->embed(x, table, token, R, D);
}

static inline void play_embed_grad(float *gtable, const float *gx, const int32_t *token, size_t R, size_t D, size_t V)
{
    WRITES(gtable, FLOATS(V * D)), READS(gx, FLOATS(R * D)), READS(token, FLOATS(R));
    if (!play_is_idle())
        play_ref->embed_grad(gtable, gx, token, R, D, V);
}

static inline void play_gate_weight(float *weight, const float *score, const int32_t *pick, const uint8_t *answered, size_t T,
                                    size_t K, size_t E)
{
    WRITES(weight, FLOATS(T * K)), READS(score, FLOATS(T * E)), READS(pick, FLOATS(T * K)), READS(answered, T * K);
    if (!play_is_idle())
        play_ref->gate_weight(weight, score, pick, answered, T, K, E);
}

static inline void play_gate_weight_grad(float *gscore, const float *gweight, const float *weight, const float *score,
                                         const int32_t *pick, const uint8_t *answered, size_t T, size_t K, size_t E)
{
    WRITES(gscore, FLOATS(T * E)), READS(gweight, FLOATS(T * K)), READS(weight, FLOATS(T * K)), READS(score, FLOATS(T * E));
    READS(pick, FLOATS(T * K)), READS(answered, T * K);
    if (!play_is_idle())
        play_ref->gate_weight_grad(gscore, gweight, weight, score, pick, answered, T, K, E);
}

static inline void play_gate_combine(float *out, const float *weight, const float *y, size_t T, size_t K, size_t D)
{
    WRITES(out, FLOATS(T * D)), READS(weight, FLOATS(T * K)), READS(y, FLOATS(T * K * D));
    if (!play_is_idle())
        play_ref->gate_combine(out, weight, y, T, K, D);
}

static inline void play_gate_combine_grad(float *gweight, const float *gout, const float *y, const int32_t *pick,
                                          const uint8_t *answered, size_t T, size_t K, size_t D)
{
    WRITES(gweight, FLOATS(T * K)), READS(gout, FLOATS(T * D)), READS(y, FLOATS(T * K * D));
    READS(pick, FLOATS(T * K)), READS(answered, T * K);
    if (!play_is_idle())
        play_ref->gate_combine_grad(gweight, gout, y, pick, answered, T, K, D);
}

static inline void play_gate_scatter(float *out, const float *gx, const int32_t *pick, const uint8_t *answered, size_t T,
                                     size_t K, size_t D)
{
    WRITES(out, FLOATS(T * D)), READS(gx, FLOATS(T * K * D)), READS(pick, FLOATS(T * K)), READS(answered, T * K);
    if (!play_is_idle())
        play_ref->gate_scatter(out, gx, pick, answered, T, K, D);
}

static inline void play_gate_zloss(float *lse, float *glogit, const float *logit, float scale, size_t T, size_t E)
{
    WRITES(lse, FLOATS(T)), WRITES(glogit, FLOATS(T * E)), READS(logit, FLOATS(T * E));
    if (!play_is_idle())
        play_ref->gate_zloss(lse, glogit, logit, scale, T, E);
}

static inline void play_cross_entropy(float *loss, float *glogit, const float *logit, const int32_t *target, float grad_scale,
                                      size_t R, size_t V)
{
    WRITES(loss, FLOATS(R)), WRITES(glogit, FLOATS(R * V)), READS(logit, FLOATS(R * V)), READS(target, FLOATS(R));
    if (!play_is_idle())
        play_ref->cross_entropy(loss, glogit, logit, target, grad_scale, R, V);
}

/* -- Updates ----------------------------------------------------------------------------------------- */

static inline float play_largest(const float *x, size_t n)
{
    READS(x, FLOATS(n));
    bool is_idle = play_is_idle();
    play_err = play_wait();
    return is_idle || play_err ? __builtin_nanf("") : play_ref->largest(x, n);
}

static inline void play_axpy(float *y, float a, const float *x, size_t n)
{
    WRITES(y, FLOATS(n)), READS(x, FLOATS(n));
    if (!play_is_idle())
        play_ref->axpy(y, a, x, n);
}

static inline void play_adamw(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n)
{
    WRITES(p, FLOATS(n)), WRITES(m, FLOATS(n)), WRITES(v, FLOATS(n)), READS(g, FLOATS(n));
    play_is_here(__func__, step);
    if (!play_is_idle())
        play_ref->adamw(p, m, v, g, step, n);
}

static inline void play_momentum(float *u, float *m, const float *g, float momentum, float grad_scale, size_t n)
{
    WRITES(u, FLOATS(n)), WRITES(m, FLOATS(n)), READS(g, FLOATS(n));
    if (!play_is_idle())
        play_ref->momentum(u, m, g, momentum, grad_scale, n);
}

static inline void play_descend(float *p, const float *u, float rate, float decay, size_t n)
{
    WRITES(p, FLOATS(n)), READS(u, FLOATS(n));
    if (!play_is_idle())
        play_ref->descend(p, u, rate, decay, n);
}

static inline void play_divide(float *y, const float *x, float a, size_t n)
{
    WRITES(y, FLOATS(n)), READS(x, FLOATS(n));
    if (!play_is_idle())
        play_ref->divide(y, x, a, n);
}

static inline void play_blend(float *y, float a, const float *x, float b, size_t n)
{
    WRITES(y, FLOATS(n)), READS(x, FLOATS(n));
    if (!play_is_idle())
        play_ref->blend(y, a, x, b, n);
}

/** As device_play(). */
static inline const struct kernels *device_play_trunk(void)
{
    static struct kernels set;
    set = *device_play();
    set.dequantize_rows = play_dequantize_rows;
    set.rmsnorm = play_rmsnorm;
    set.rmsnorm_grad = play_rmsnorm_grad;
    set.rope = play_rope;
    set.attention = play_attention;
    set.attention_grad = play_attention_grad;
    set.sigmoid = play_sigmoid;
    set.sigmoid_grad = play_sigmoid_grad;
    set.embed = play_embed;
    set.embed_grad = play_embed_grad;
    set.gate_weight = play_gate_weight;
    set.gate_weight_grad = play_gate_weight_grad;
    set.gate_combine = play_gate_combine;
    set.gate_combine_grad = play_gate_combine_grad;
    set.gate_scatter = play_gate_scatter;
    set.gate_zloss = play_gate_zloss;
    set.cross_entropy = play_cross_entropy;
    set.largest = play_largest;
    set.axpy = play_axpy;
    set.adamw = play_adamw;
    set.momentum = play_momentum;
    set.descend = play_descend;
    set.divide = play_divide;
    set.blend = play_blend;
    return &set;
}

#endif
