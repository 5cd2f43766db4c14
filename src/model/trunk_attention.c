/* model/trunk_attention.c - h += attention(norm(h)), with QK-norm before the rotation. */
#include "kernels/ref/math.h"
#include "model/trunk_inside.h"

/* q or k of one layer: the same three steps for both. */
static void prepare(const struct trunk *trunk, const struct trunk_tape *tape, float *out, float *rstd, const float *in,
                    size_t gain)
{
    size_t n_heads = trunk->run->heads, hd = trunk->run->width / n_heads;
    trunk->kernels.rmsnorm(out, rstd, in, trunk->param + gain, TRUNK_EPS, tape->N * n_heads, hd);
    trunk->kernels.rope(out, trunk->rope_cos, trunk->rope_sin, false, tape->N, tape->T, n_heads, hd);
}

static void prepare_backward(const struct trunk *trunk, struct trunk_tape *tape, float *grad, const float *rstd, const float *in,
                             size_t gain)
{
    size_t n_heads = trunk->run->heads, hd = trunk->run->width / n_heads;
    trunk->kernels.rope(grad, trunk->rope_cos, trunk->rope_sin, true, tape->N, tape->T, n_heads, hd);
    trunk->kernels.rmsnorm_grad(grad, tape->grad + gain, grad, in, rstd, trunk->param + gain, tape->N * n_heads, hd);
}

static float scale_of(const struct trunk *trunk)
{
    return ref_rsqrt((float)(trunk->run->width / trunk->run->heads));
}

void trunk_attention_forward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer)
{
    const struct trunk_layer *at = &trunk->layer[layer];
    struct trunk_layer_act *act = &tape->inside->layer[layer];
    size_t N = tape->N, D = trunk->run->width, n_heads = trunk->run->heads;
    profile_enter(PROFILE_EMBED_NORM);
    trunk->kernels.rmsnorm(act->a.f32, act->rstd_a, tape->inside->h[2 * layer], trunk->param + at->norm_a, TRUNK_EPS, N, D);
    trunk_round(trunk, &act->a, N, D);
    profile_enter(PROFILE_ATTENTION_PRODUCT);
    trunk_product(trunk, act->q_in, &act->a, &at->q, N, false);
    trunk_product(trunk, act->k_in, &act->a, &at->k, N, false);
    trunk_product(trunk, act->v, &act->a, &at->v, N, false);
    profile_enter(PROFILE_EMBED_NORM);
    prepare(trunk, tape, act->q, act->rstd_q, act->q_in, at->q_gain);
    prepare(trunk, tape, act->k, act->rstd_k, act->k_in, at->k_gain);
    profile_enter(PROFILE_ATTENTION);
    trunk->kernels.attention(act->o.f32, act->prob, act->q, act->k, act->v, scale_of(trunk), tape->B, tape->T, n_heads,
                             D / n_heads);
    trunk_round(trunk, &act->o, N, D);
    profile_enter(PROFILE_EMBED_NORM);
    trunk_carry(trunk, tape, 2 * layer + 1);
    profile_enter(PROFILE_ATTENTION_PRODUCT);
    trunk_product(trunk, tape->inside->h[2 * layer + 1], &act->o, &at->o, N, true);
}

void trunk_attention_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer)
{
    const struct trunk_layer *at = &trunk->layer[layer];
    struct trunk_inside *in = tape->inside;
    struct trunk_layer_act *act = &in->layer[layer];
    size_t D = trunk->run->width, n_heads = trunk->run->heads;
    float *ga = in->gb; /* free here; holds the gradient of the attention's output first */
    profile_enter(PROFILE_ATTENTION_PRODUCT);
    trunk_product_grad_p(trunk, tape, &at->o, &act->o, in->gh);
    trunk_product_grad_x(trunk, tape, ga, in->gh, &at->o, false);
    profile_enter(PROFILE_ATTENTION);
    trunk->kernels.attention_grad(in->gq, in->gk, in->gv, in->square, ga, act->prob, act->q, act->k, act->v, scale_of(trunk),
                                  tape->B, tape->T, n_heads, D / n_heads);
    profile_enter(PROFILE_EMBED_NORM);
    prepare_backward(trunk, tape, in->gq, act->rstd_q, act->q_in, at->q_gain);
    prepare_backward(trunk, tape, in->gk, act->rstd_k, act->k_in, at->k_gain);
    profile_enter(PROFILE_ATTENTION_PRODUCT);
    trunk_product_grad_p(trunk, tape, &at->q, &act->a, in->gq);
    trunk_product_grad_p(trunk, tape, &at->k, &act->a, in->gk);
    trunk_product_grad_p(trunk, tape, &at->v, &act->a, in->gv);
    trunk_product_grad_x(trunk, tape, ga, in->gq, &at->q, false);
    trunk_product_grad_x(trunk, tape, ga, in->gk, &at->k, true);
    trunk_product_grad_x(trunk, tape, ga, in->gv, &at->v, true);
    trunk_norm_backward(trunk, tape, ga, 2 * layer, act->rstd_a, at->norm_a);
}
