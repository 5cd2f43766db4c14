/* model/trunk_swiglu.c - the SwiGLU block, as a layer's mlp and as the shared expert of a MoE layer. */
#include "model/trunk_inside.h"

/* Where the products that read it are of integers nobody needs its floats. */
static void hidden(const struct trunk *trunk, const struct trunk_swiglu_act *act, size_t N, size_t H)
{
    const struct trunk_input *h = &act->h;
    if (trunk->linear && trunk->kernels.swiglu_rows) {
        trunk->kernels.swiglu_rows(h->high, h->low, h->exponent, act->g, act->u, NULL, N, H);
        return;
    }
    trunk->kernels.swiglu(h->f32, act->g, act->u, N * H);
    trunk_round(trunk, h, N, H);
}

void trunk_swiglu_forward(const struct trunk *trunk, const struct trunk_swiglu *block, const struct trunk_swiglu_act *act,
                          float *out, const struct trunk_input *x, size_t N)
{
    profile_enter(PROFILE_SWIGLU);
    trunk_product(trunk, act->g, x, &block->gate, N, false);
    trunk_product(trunk, act->u, x, &block->up, N, false);
    hidden(trunk, act, N, block->H);
    profile_enter(PROFILE_SWIGLU);
    trunk_product(trunk, out, &act->h, &block->down, N, true);
}

void trunk_swiglu_backward(const struct trunk *trunk, struct trunk_tape *tape, const struct trunk_swiglu *block,
                           const struct trunk_swiglu_act *act, float *gx, const float *gout, const struct trunk_input *x)
{
    float *gh = tape->inside->ghidden;
    profile_enter(PROFILE_SWIGLU);
    trunk_product_grad_p(trunk, tape, &block->down, &act->h, gout);
    trunk_product_grad_x(trunk, tape, gh, gout, &block->down, false);
    trunk->kernels.swiglu_grad(act->g, act->u, gh, act->g, act->u, tape->N * block->H);
    trunk_product_grad_p(trunk, tape, &block->gate, x, act->g);
    trunk_product_grad_p(trunk, tape, &block->up, x, act->u);
    trunk_product_grad_x(trunk, tape, gx, act->g, &block->gate, false);
    trunk_product_grad_x(trunk, tape, gx, act->u, &block->up, true);
}

void trunk_dense_forward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer)
{
    const struct trunk_layer *at = &trunk->layer[layer];
    struct trunk_layer_act *act = &tape->inside->layer[layer];
    float **h = tape->inside->h;
    profile_enter(PROFILE_EMBED_NORM);
    trunk->kernels.rmsnorm(act->b.f32, act->rstd_b, h[2 * layer + 1], trunk->param + at->norm_b, TRUNK_EPS, tape->N,
                           trunk->run->width);
    trunk_carry(trunk, tape, 2 * layer + 2);
    trunk_round(trunk, &act->b, tape->N, trunk->run->width);
    trunk_swiglu_forward(trunk, &at->mlp, &act->mlp, h[2 * layer + 2], &act->b, tape->N);
}

void trunk_dense_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t layer)
{
    const struct trunk_layer *at = &trunk->layer[layer];
    struct trunk_layer_act *act = &tape->inside->layer[layer];
    struct trunk_inside *in = tape->inside;
    trunk_swiglu_backward(trunk, tape, &at->mlp, &act->mlp, in->gb, in->gh, &act->b);
    trunk_norm_backward(trunk, tape, in->gb, 2 * layer + 1, act->rstd_b, at->norm_b);
}
