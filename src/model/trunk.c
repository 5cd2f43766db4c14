/* model/trunk.c - the trunk's life, and a microbatch's way through its blocks. */
#include "model/trunk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "kernels/ref/rope_table.h"
#include "model/trunk_inside.h"

static int choose_kernels(struct trunk *trunk, const struct kernels *kernels)
{
    trunk->kernels = *kernels;
    return trunk->run->trunk == RUN_TRUNK_BLAS ? kernels_with_blas(kernels, &trunk->kernels) : 0;
}

/* Gates and the embedding stay in floats. */
static int make_linear(struct trunk *trunk)
{
    int err = 0;
    if (trunk->run->trunk != RUN_TRUNK_I8X2)
        return 0;
    trunk->linear = calloc(trunk->n_tensors, sizeof *trunk->linear);
    if (!trunk->linear)
        return HANSE_ENOMEM;
    for (size_t i = 0; !err && i < trunk->n_tensors; i++) {
        const struct trunk_tensor *tensor = &trunk->tensor[i];
        if (tensor->rule == TRUNK_MUON || i == trunk->head_tensor)
            err = linear_init(&trunk->linear[i], &trunk->kernels, tensor->M, tensor->N, NUMERICS_I8X2);
    }
    return err;
}

void trunk_pack(struct trunk *trunk, size_t tensor)
{
    const struct trunk_tensor *x = &trunk->tensor[tensor];
    if (!trunk_is_rounded(trunk, tensor))
        return;
    profile_enter(PROFILE_ROUND);
    linear_set(&trunk->linear[tensor], matrix_of(trunk->param + x->offset, x->N));
}

void trunk_pack_all(struct trunk *trunk)
{
    for (size_t i = 0; i < trunk->n_tensors; i++)
        trunk_pack(trunk, i);
}

int trunk_new(const struct run *run, const struct kernels *kernels, struct trunk **out)
{
    struct trunk *trunk = calloc(1, sizeof *trunk);
    int err = HANSE_ENOMEM;
    if (!trunk)
        goto fail;
    trunk->run = run;
    err = choose_kernels(trunk, kernels);
    if (!err)
        err = trunk_table_build(trunk);
    if (!err)
        err = make_linear(trunk);
    if (err)
        goto fail;
    assert(trunk->n_params == run_trunk_params(run));
    size_t hd = run->width / run->heads;
    trunk->param = arena_aligned(trunk->n_params, sizeof *trunk->param);
    trunk->rope_cos = arena_aligned(run->context * hd / 2, sizeof *trunk->rope_cos);
    trunk->rope_sin = arena_aligned(run->context * hd / 2, sizeof *trunk->rope_sin);
    err = HANSE_ENOMEM;
    if (!trunk->param || !trunk->rope_cos || !trunk->rope_sin)
        goto fail;
    trunk_table_draw(trunk);
    trunk_pack_all(trunk);
    ref_rope_table(trunk->rope_cos, trunk->rope_sin, run->rope_theta, run->context, hd);
    *out = trunk;
    return 0;
fail:
    trunk_free(trunk);
    return err;
}

void trunk_free(struct trunk *trunk)
{
    if (!trunk)
        return;
    for (size_t i = 0; trunk->linear && i < trunk->n_tensors; i++)
        linear_fini(&trunk->linear[i]);
    free(trunk->linear);
    free(trunk->tensor);
    free(trunk->layer);
    free(trunk->param);
    free(trunk->rope_cos);
    free(trunk->rope_sin);
    free(trunk);
}

void trunk_carry(const struct trunk *trunk, struct trunk_tape *tape, size_t to)
{
    float **h = tape->inside->h;
    if (h[to] != h[to - 1])
        memcpy(h[to], h[to - 1], tape->N * trunk->run->width * sizeof **h);
}

void trunk_norm_backward(const struct trunk *trunk, struct trunk_tape *tape, float *gy, size_t at, const float *rstd, size_t gain)
{
    struct trunk_inside *in = tape->inside;
    size_t N = tape->N, D = trunk->run->width;
    profile_enter(PROFILE_EMBED_NORM);
    trunk->kernels.rmsnorm_grad(gy, tape->grad + gain, gy, in->h[at], rstd, trunk->param + gain, N, D);
    trunk->kernels.axpy(in->gh, 1.0f, gy, N * D);
}

/* The layer of MoE layer `moe`. */
static size_t layer_of(const struct trunk *trunk, size_t moe)
{
    size_t layer = 0;
    while (!trunk->layer[layer].is_moe || trunk->layer[layer].moe != moe)
        layer++;
    return layer;
}

void trunk_forward(const struct trunk *trunk, struct trunk_tape *tape, size_t segment)
{
    size_t layer = 0;
    assert(segment <= trunk->run->n_moe);
    if (segment == 0) {
        trunk_embed_forward(trunk, tape);
    } else {
        layer = layer_of(trunk, segment - 1);
        trunk_moe_join(trunk, tape, layer++);
    }
    for (; layer < trunk->run->layers; layer++) {
        trunk_attention_forward(trunk, tape, layer);
        if (trunk->layer[layer].is_moe) {
            trunk_moe_ask(trunk, tape, layer);
            return;
        }
        trunk_dense_forward(trunk, tape, layer);
    }
    trunk_head_forward(trunk, tape);
}

void trunk_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t segment, float grad_scale)
{
    size_t n_left = trunk->run->layers; /* layers not yet passed */
    assert(segment <= trunk->run->n_moe && tape->inside->is_training);
    if (segment == trunk->run->n_moe) {
        trunk_head_backward(trunk, tape, grad_scale);
    } else {
        n_left = layer_of(trunk, segment);
        trunk_moe_ask_backward(trunk, tape, n_left);
        trunk_attention_backward(trunk, tape, n_left);
    }
    for (; n_left > 0; n_left--) {
        if (trunk->layer[n_left - 1].is_moe) {
            trunk_moe_join_backward(trunk, tape, n_left - 1, grad_scale);
            return;
        }
        trunk_dense_backward(trunk, tape, n_left - 1);
        trunk_attention_backward(trunk, tape, n_left - 1);
    }
    trunk_embed_backward(trunk, tape);
}
