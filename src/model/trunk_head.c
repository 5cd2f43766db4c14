/* model/trunk_head.c - from bytes to the stream, and from the stream to a loss. */
#include "kernels/ref/embed.h"
#include "model/trunk_inside.h"

void trunk_embed_forward(const struct trunk *trunk, struct trunk_tape *tape)
{
    profile_enter(PROFILE_EMBED_NORM);
    ref_embed(tape->inside->h[0], trunk->param + trunk->embed, tape->token, tape->N, trunk->run->width);
}

void trunk_embed_backward(const struct trunk *trunk, struct trunk_tape *tape)
{
    profile_enter(PROFILE_EMBED_NORM);
    ref_embed_grad(tape->grad + trunk->embed, tape->inside->gh, tape->token, tape->N, trunk->run->width);
}

void trunk_head_forward(const struct trunk *trunk, struct trunk_tape *tape)
{
    struct trunk_inside *in = tape->inside;
    size_t N = tape->N, D = trunk->run->width;
    profile_enter(PROFILE_EMBED_NORM);
    trunk->kernels.rmsnorm(in->y, in->rstd_y, in->h[2 * trunk->run->layers], trunk->param + trunk->norm, TRUNK_EPS, N, D);
    profile_enter(PROFILE_HEAD);
    trunk_product(trunk, tape->logits, in->y, trunk->head, N, D, TRUNK_VOCABULARY, false);
    trunk->kernels.cross_entropy(tape->loss, NULL, tape->logits, tape->target, 0.0f, N, TRUNK_VOCABULARY);
}

void trunk_head_backward(const struct trunk *trunk, struct trunk_tape *tape, float grad_scale)
{
    struct trunk_inside *in = tape->inside;
    size_t N = tape->N, D = trunk->run->width;
    float *glogit = tape->logits;
    profile_enter(PROFILE_HEAD);
    trunk->kernels.cross_entropy(tape->loss, glogit, tape->logits, tape->target, grad_scale / (float)N, N, TRUNK_VOCABULARY);
    trunk_product_grad_p(trunk, tape, trunk->head, in->y, glogit, N, D, TRUNK_VOCABULARY);
    trunk_product_grad_a(trunk, in->gh, glogit, trunk->head, N, D, TRUNK_VOCABULARY, false);
    profile_enter(PROFILE_EMBED_NORM);
    trunk->kernels.rmsnorm_grad(in->gh, tape->grad + trunk->norm, in->gh, in->h[2 * trunk->run->layers], in->rstd_y,
                                trunk->param + trunk->norm, N, D);
}
