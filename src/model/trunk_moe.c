/* model/trunk_moe.c - a MoE layer as its trainer sees it: questions, answers, and the gradients of both. */
#include "model/trunk_inside.h"

/* The form in which rows travel. */
static void round_rows(const struct trunk *trunk, const struct trunk_tape *tape, const struct rows *to, const float *from)
{
    if (tape->form == NUMERICS_F32)
        return;
    trunk->kernels.quantize_rows((int8_t *)to->high, (int8_t *)to->low, (int8_t *)to->exponent, from, trunk->run->latent, NULL,
                                 tape->N, trunk->run->latent);
}

/* Rows and scores for the experts. */
void trunk_moe_ask(const struct trunk *trunk, struct trunk_tape *tape, size_t layer)
{
    const struct trunk_layer *at = &trunk->layer[layer];
    const struct run *run = trunk->run;
    struct trunk_layer_act *act = &tape->inside->layer[layer];
    struct trunk_exchange *exchange = &tape->inside->exchange[at->moe];
    size_t N = tape->N, D = run->width, E = run->experts;
    profile_enter(PROFILE_EMBED_NORM);
    trunk->kernels.rmsnorm(act->b.f32, act->rstd_b, tape->inside->h[2 * layer + 1], trunk->param + at->norm_b, TRUNK_EPS, N, D);
    trunk_round(trunk, &act->b, N, D);
    profile_enter(PROFILE_COMBINE);
    if (at->has_latent)
        trunk_product(trunk, exchange->x, &act->b, &at->to_latent, N, false);
    else
        trunk->kernels.copy(exchange->x, act->b.f32, N * D * sizeof *exchange->x);
    round_rows(trunk, tape, &exchange->x_rows, exchange->x);
    profile_enter(PROFILE_GATE);
    trunk_product(trunk, exchange->logit, &act->b, &at->gate, N, false);
    trunk->kernels.sigmoid(exchange->score, exchange->logit, N * E);
}

void trunk_moe_join(const struct trunk *trunk, struct trunk_tape *tape, size_t layer)
{
    const struct trunk_layer *at = &trunk->layer[layer];
    const struct run *run = trunk->run;
    struct trunk_layer_act *act = &tape->inside->layer[layer];
    struct trunk_exchange *exchange = &tape->inside->exchange[at->moe];
    size_t N = tape->N;
    profile_enter(PROFILE_EMBED_NORM);
    trunk_carry(trunk, tape, 2 * layer + 2);
    float *out = tape->inside->h[2 * layer + 2];
    if (at->mlp.H > 0)
        trunk_swiglu_forward(trunk, &at->mlp, &act->mlp, out, &act->b, N);
    profile_enter(PROFILE_COMBINE);
    const struct kernels *k = &trunk->kernels;
    k->gate_weight(exchange->weight, exchange->score, exchange->pick, exchange->answered, N, run->chosen, run->experts);
    if (!at->has_latent) {
        k->gate_combine(out, exchange->weight, exchange->y, N, run->chosen, run->latent);
        return;
    }
    k->zero(act->combined.f32, N * run->latent * sizeof *act->combined.f32);
    k->gate_combine(act->combined.f32, exchange->weight, exchange->y, N, run->chosen, run->latent);
    trunk_round(trunk, &act->combined, N, run->latent);
    profile_enter(PROFILE_COMBINE);
    trunk_product(trunk, out, &act->combined, &at->to_width, N, true);
}

/* From the gradient of the weights to that of the gate and of what it read. */
static void gate_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer, float grad_scale)
{
    const struct trunk_layer *at = &trunk->layer[layer];
    const struct run *run = trunk->run;
    struct trunk_inside *in = tape->inside;
    const struct trunk_exchange *exchange = &tape->inside->exchange[at->moe];
    size_t N = tape->N, E = run->experts;
    const struct kernels *k = &trunk->kernels;
    k->gate_weight_grad(in->gscore, in->gweight, exchange->weight, exchange->score, exchange->pick, exchange->answered, N,
                        run->chosen, E);
    k->sigmoid_grad(in->gscore, exchange->score, N * E);
    if (run->z_loss > 0.0f && grad_scale > 0.0f)
        k->gate_zloss(exchange->lse, in->gscore, exchange->logit, trunk_zloss_scale(trunk, tape, grad_scale), N, E);
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
    struct trunk_exchange *exchange = &tape->inside->exchange[at->moe];
    size_t N = tape->N, D = run->width;
    profile_enter(PROFILE_COMBINE);
    if (at->has_latent) {
        trunk_product_grad_p(trunk, tape, &at->to_width, &act->combined, in->gh);
        trunk_product_grad_x(trunk, tape, exchange->gout, in->gh, &at->to_width, false);
    } else {
        trunk->kernels.copy(exchange->gout, in->gh, N * D * sizeof *in->gh);
    }
    round_rows(trunk, tape, &exchange->gout_rows, exchange->gout);
    if (at->mlp.H > 0)
        trunk_swiglu_backward(trunk, tape, &at->mlp, &act->mlp, in->gb, in->gh, &act->b);
    else
        trunk->kernels.zero(in->gb, N * D * sizeof *in->gb);
    profile_enter(PROFILE_GATE);
    trunk->kernels.gate_combine_grad(in->gweight, exchange->gout, exchange->y, exchange->pick, exchange->answered, N, run->chosen,
                                     run->latent);
    gate_backward(trunk, tape, layer, grad_scale);
}

void trunk_moe_ask_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer)
{
    const struct trunk_layer *at = &trunk->layer[layer];
    const struct run *run = trunk->run;
    struct trunk_inside *in = tape->inside;
    struct trunk_layer_act *act = &in->layer[layer];
    const struct trunk_exchange *exchange = &tape->inside->exchange[at->moe];
    size_t N = tape->N;
    profile_enter(PROFILE_COMBINE);
    if (at->has_latent) {
        trunk->kernels.zero(in->grows, N * run->latent * sizeof *in->grows);
        trunk->kernels.gate_scatter(in->grows, exchange->gx, exchange->pick, exchange->answered, N, run->chosen, run->latent);
        trunk_product_grad_p(trunk, tape, &at->to_latent, &act->b, in->grows);
        trunk_product_grad_x(trunk, tape, in->gb, in->grows, &at->to_latent, true);
    } else {
        trunk->kernels.gate_scatter(in->gb, exchange->gx, exchange->pick, exchange->answered, N, run->chosen, run->latent);
    }
    trunk_norm_backward(trunk, tape, in->gb, 2 * layer + 1, act->rstd_b, at->norm_b);
}
