/* model/trunk_moe.c - a MoE layer as its trainer sees it: questions, answers, and the gradients of both. */
#include <string.h>

#include "kernels/ref/gate.h"
#include "model/trunk_inside.h"

/* Rows and scores for the experts. */
void trunk_moe_ask(const struct trunk *trunk, struct trunk_tape *tape, size_t layer)
{
    const struct trunk_layer *at = &trunk->layer[layer];
    const struct run *run = trunk->run;
    struct trunk_layer_act *act = &tape->inside->layer[layer];
    struct trunk_exchange *exchange = &tape->exchange[at->moe];
    size_t N = tape->N, D = run->width, E = run->experts;
    profile_enter(PROFILE_EMBED_NORM);
    trunk->kernels.rmsnorm(act->b.f32, act->rstd_b, tape->inside->h[2 * layer + 1], trunk->param + at->norm_b, TRUNK_EPS, N, D);
    trunk_round(trunk, &act->b, N, D);
    profile_enter(PROFILE_COMBINE);
    if (at->has_latent)
        trunk_product(trunk, exchange->x, &act->b, &at->to_latent, N, false);
    else
        memcpy(exchange->x, act->b.f32, N * D * sizeof *exchange->x);
    profile_enter(PROFILE_GATE);
    trunk_product(trunk, exchange->logit, &act->b, &at->gate, N, false);
    trunk->kernels.sigmoid(exchange->score, exchange->logit, N * E);
}

/* As ref_gate_combine, a vector at a time: axpy is one fmaf an element.  Starts from +0, or adds to `out`. */
static void combine(const struct trunk *trunk, const struct trunk_exchange *exchange, float *out, size_t N)
{
    size_t K = trunk->run->chosen, D = trunk->run->latent;
    for (size_t slot = 0; slot < N * K; slot++)
        if (exchange->weight[slot] != 0.0f)
            trunk->kernels.axpy(out + slot / K * D, exchange->weight[slot], exchange->y + slot * D, D);
}

void trunk_moe_join(const struct trunk *trunk, struct trunk_tape *tape, size_t layer)
{
    const struct trunk_layer *at = &trunk->layer[layer];
    const struct run *run = trunk->run;
    struct trunk_layer_act *act = &tape->inside->layer[layer];
    struct trunk_exchange *exchange = &tape->exchange[at->moe];
    size_t N = tape->N;
    profile_enter(PROFILE_EMBED_NORM);
    trunk_carry(trunk, tape, 2 * layer + 2);
    float *out = tape->inside->h[2 * layer + 2];
    if (at->mlp.H > 0)
        trunk_swiglu_forward(trunk, &at->mlp, &act->mlp, out, &act->b, N);
    profile_enter(PROFILE_COMBINE);
    ref_gate_weight(exchange->weight, exchange->score, exchange->pick, exchange->answered, N, run->chosen, run->experts);
    if (!at->has_latent) {
        combine(trunk, exchange, out, N);
        return;
    }
    memset(act->combined.f32, 0, N * run->latent * sizeof *act->combined.f32);
    combine(trunk, exchange, act->combined.f32, N);
    trunk_round(trunk, &act->combined, N, run->latent);
    profile_enter(PROFILE_COMBINE);
    trunk_product(trunk, out, &act->combined, &at->to_width, N, true);
}

/* The gradient of the weights, as ref_gate_combine_grad. */
static void weight_backward(const struct trunk *trunk, const struct trunk_tape *tape, const struct trunk_exchange *exchange)
{
    size_t K = trunk->run->chosen, D = trunk->run->latent;
    float *gweight = tape->inside->gweight;
    for (size_t slot = 0; slot < tape->N * K; slot++) {
        bool counts = exchange->pick[slot] >= 0 && exchange->answered[slot];
        gweight[slot] = counts ? trunk->kernels.dot(exchange->gout + slot / K * D, exchange->y + slot * D, D) : 0.0f;
    }
}

/* From the gradient of the weights to that of the gate and of what it read. */
static void gate_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer, float grad_scale)
{
    const struct trunk_layer *at = &trunk->layer[layer];
    const struct run *run = trunk->run;
    struct trunk_inside *in = tape->inside;
    const struct trunk_exchange *exchange = &tape->exchange[at->moe];
    size_t N = tape->N, E = run->experts;
    ref_gate_weight_grad(in->gscore, in->gweight, exchange->weight, exchange->score, exchange->pick, exchange->answered, N,
                         run->chosen, E);
    for (size_t i = 0; i < N * E; i++)
        in->gscore[i] = in->gscore[i] * (exchange->score[i] * (1.0f - exchange->score[i]));
    if (run->z_loss > 0.0f && grad_scale > 0.0f) {
        float scale = run->z_loss * grad_scale / (float)N;
        tape->zloss += (double)ref_gate_zloss(in->gscore, exchange->logit, scale, N, E) / (double)grad_scale;
    }
    trunk_product_grad_p(trunk, tape, &at->gate, &in->layer[layer].b, in->gscore);
    trunk_product_grad_x(trunk, tape, in->gb, in->gscore, &at->gate, true);
}

/* Ends with the gradient that the experts need; gb keeps what norm(h) already has. */
void trunk_moe_join_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer, float grad_scale)
{
    const struct trunk_layer *at = &trunk->layer[layer];
    const struct run *run = trunk->run;
    struct trunk_inside *in = tape->inside;
    struct trunk_layer_act *act = &in->layer[layer];
    struct trunk_exchange *exchange = &tape->exchange[at->moe];
    size_t N = tape->N, D = run->width;
    profile_enter(PROFILE_COMBINE);
    if (at->has_latent) {
        trunk_product_grad_p(trunk, tape, &at->to_width, &act->combined, in->gh);
        trunk_product_grad_x(trunk, tape, exchange->gout, in->gh, &at->to_width, false);
    } else {
        memcpy(exchange->gout, in->gh, N * D * sizeof *in->gh);
    }
    if (at->mlp.H > 0)
        trunk_swiglu_backward(trunk, tape, &at->mlp, &act->mlp, in->gb, in->gh, &act->b);
    else
        memset(in->gb, 0, N * D * sizeof *in->gb);
    profile_enter(PROFILE_GATE);
    weight_backward(trunk, tape, exchange);
    gate_backward(trunk, tape, layer, grad_scale);
}

/* out (N, D) += the gradients of a token's slots, k ascending. */
static void add_slots(const struct trunk *trunk, const struct trunk_exchange *exchange, float *out, size_t N)
{
    size_t K = trunk->run->chosen, D = trunk->run->latent;
    for (size_t slot = 0; slot < N * K; slot++)
        if (exchange->pick[slot] >= 0 && exchange->answered[slot])
            trunk->kernels.axpy(out + slot / K * D, 1.0f, exchange->gx + slot * D, D);
}

void trunk_moe_ask_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer)
{
    const struct trunk_layer *at = &trunk->layer[layer];
    const struct run *run = trunk->run;
    struct trunk_inside *in = tape->inside;
    struct trunk_layer_act *act = &in->layer[layer];
    const struct trunk_exchange *exchange = &tape->exchange[at->moe];
    size_t N = tape->N;
    profile_enter(PROFILE_COMBINE);
    if (at->has_latent) {
        memset(in->grows, 0, N * run->latent * sizeof *in->grows);
        add_slots(trunk, exchange, in->grows, N);
        trunk_product_grad_p(trunk, tape, &at->to_latent, &act->b, in->grows);
        trunk_product_grad_x(trunk, tape, in->gb, in->grows, &at->to_latent, true);
    } else {
        add_slots(trunk, exchange, in->gb, N);
    }
    trunk_norm_backward(trunk, tape, in->gb, 2 * layer + 1, act->rstd_b, at->norm_b);
}
