/* model/trunk_head.c - from bytes to the stream, and from the stream to a loss. */
#include "model/trunk_inside.h"

void trunk_embed_forward(const struct trunk *trunk, struct trunk_tape *tape)
{
    profile_enter(PROFILE_EMBED_NORM);
    trunk->kernels.embed(tape->inside->h[0], trunk->param + trunk->embed, tape->inside->token, tape->N, trunk->run->width);
}

void trunk_embed_backward(const struct trunk *trunk, struct trunk_tape *tape)
{
    profile_enter(PROFILE_EMBED_NORM);
    trunk->kernels.embed_grad(tape->grad + trunk->embed, tape->inside->gh, tape->inside->token, tape->N, trunk->run->width,
                              TRUNK_VOCABULARY);
}

static struct trunk_matrix head_of(const struct trunk *trunk)
{
    return (struct trunk_matrix){trunk->run->width, TRUNK_VOCABULARY, trunk->head, trunk->head_tensor};
}

void trunk_head_forward(const struct trunk *trunk, struct trunk_tape *tape)
{
    struct trunk_inside *in = tape->inside;
    size_t N = tape->N, D = trunk->run->width;
    profile_enter(PROFILE_EMBED_NORM);
    trunk->kernels.rmsnorm(in->y.f32, in->rstd_y, in->h[2 * trunk->run->layers], trunk->param + trunk->norm, TRUNK_EPS, N, D);
    trunk_round(trunk, &in->y, N, D);
    profile_enter(PROFILE_HEAD);
    struct trunk_matrix head = head_of(trunk);
    trunk_product(trunk, in->logits, &in->y, &head, N, false);
    trunk->kernels.cross_entropy(in->loss, NULL, in->logits, in->target, 0.0f, N, TRUNK_VOCABULARY);
}

void trunk_head_backward(const struct trunk *trunk, struct trunk_tape *tape, float grad_scale)
{
    struct trunk_inside *in = tape->inside;
    size_t N = tape->N, D = trunk->run->width;
    float *glogit = in->logits;
    profile_enter(PROFILE_HEAD);
    trunk->kernels.cross_entropy(in->loss, glogit, in->logits, in->target, grad_scale / (float)N, N, TRUNK_VOCABULARY);
    struct trunk_matrix head = head_of(trunk);
    trunk_product_grad_p(trunk, tape, &head, &in->y, glogit);
    trunk_product_grad_x(trunk, tape, in->gh, glogit, &head, false);
    profile_enter(PROFILE_EMBED_NORM);
    trunk->kernels.rmsnorm_grad(in->gh, tape->grad + trunk->norm, in->gh, in->h[2 * trunk->run->layers], in->rstd_y,
                                trunk->param + trunk->norm, N, D);
}
