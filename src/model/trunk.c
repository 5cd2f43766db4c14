/* model/trunk.c - the trunk's life, and a microbatch's way through its blocks. */
#include "model/trunk.h"

#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "kernels/device.h"
#include "kernels/ref/rope_table.h"
#include "model/trunk_inside.h"

static int choose_kernels(struct trunk *trunk, const struct kernels *kernels)
{
    trunk->kernels = *kernels;
    trunk->exact = kernels;
    switch (trunk->run->trunk) {
    case RUN_TRUNK_F32:
    case RUN_TRUNK_I8X2:
        return 0;
    case RUN_TRUNK_BLAS:
        if (!kernels->is_device)
            return kernels_with_blas(kernels, &trunk->kernels);
        log_error(
            "trunk: blas is for the CPU: leave out --device cuda, or set trunk: bf16 in run.yaml (which makes it another run)");
        return HANSE_EUNSUPPORTED;
    case RUN_TRUNK_BF16:
        if (kernels->is_device)
            return kernels_with_bf16(kernels, &trunk->kernels);
        log_error(
            "trunk: bf16 is for a GPU: train with --device cuda, or set trunk: f32 in run.yaml (which makes it another run)");
        return HANSE_EUNSUPPORTED;
    }
    return HANSE_EINVAL;
}

/* Gates and the embedding stay in floats: a score that is off moves tokens to other experts. */
bool trunk_is_exact(const struct trunk *trunk, size_t tensor)
{
    return trunk->tensor[tensor].rule != TRUNK_MUON && tensor != trunk->head_tensor;
}

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
        if (!trunk_is_exact(trunk, i))
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

int trunk_no_room(const struct trunk *trunk, size_t n_bytes, const char *what, const char *remedy)
{
    uint64_t n_free, n_all;
    if (!trunk->kernels.is_device)
        return HANSE_ENOMEM;
    double need = (double)n_bytes / (1 << 20);
    if (device_memory(&n_free, &n_all) == 0)
        log_error("memory of the GPU: %s needs %.2f MiB, and %.2f of %.2f MiB are free; lower %s in run.yaml", what, need,
                  (double)n_free / (1 << 20), (double)n_all / (1 << 20), remedy);
    else
        log_error("memory of the GPU: %s needs %.2f MiB, and there is less; lower %s in run.yaml", what, need, remedy);
    return HANSE_ENOMEM;
}

/* What linear_init() did not get in the middle of a trunk, and the parameters. */
static int make_tensors(struct trunk *trunk)
{
    size_t n_bytes = trunk->n_params * sizeof *trunk->param;
    trunk->param = trunk->kernels.allot(n_bytes);
    int err = trunk->param ? make_linear(trunk) : HANSE_ENOMEM;
    if (err == HANSE_ENOMEM)
        return trunk_no_room(trunk, trunk->run->trunk == RUN_TRUNK_I8X2 ? n_bytes / 2 * 5 : n_bytes, "the trunk",
                             "model.width or model.layers");
    return err;
}

static int make_rope(struct trunk *trunk)
{
    const struct run *run = trunk->run;
    size_t hd = run->width / run->heads, n = run->context * hd / 2, n_bytes = n * sizeof(float);
    float *table = malloc(2 * n_bytes + 1);
    trunk->rope_cos = trunk->kernels.allot(n_bytes);
    trunk->rope_sin = trunk->kernels.allot(n_bytes);
    if (!table || !trunk->rope_cos || !trunk->rope_sin) {
        free(table);
        return trunk_no_room(trunk, 2 * n_bytes, "the table of rotary angles", "model.context");
    }
    ref_rope_table(table, table + n, run->rope_theta, run->context, hd);
    trunk->kernels.put(trunk->rope_cos, table, n_bytes);
    trunk->kernels.put(trunk->rope_sin, table + n, n_bytes);
    free(table);
    return 0;
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
    if (err)
        goto fail;
    assert(trunk->n_params == run_trunk_params(run));
    err = make_tensors(trunk);
    if (!err)
        err = trunk_table_draw(trunk);
    if (!err)
        err = make_rope(trunk);
    if (err)
        goto fail;
    trunk_pack_all(trunk);
    err = trunk->kernels.wait();
    if (err)
        goto fail;
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
    if (trunk->kernels.release) {
        trunk->kernels.release(trunk->param);
        trunk->kernels.release(trunk->rope_cos);
        trunk->kernels.release(trunk->rope_sin);
    }
    free(trunk);
}

void trunk_carry(const struct trunk *trunk, struct trunk_tape *tape, size_t to)
{
    float **h = tape->inside->h;
    if (h[to] != h[to - 1])
        trunk->kernels.copy(h[to], h[to - 1], tape->N * trunk->run->width * sizeof **h);
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

int trunk_forward(const struct trunk *trunk, struct trunk_tape *tape, size_t segment)
{
    size_t layer = 0;
    assert(segment <= trunk->run->n_moe);
    if (segment == 0) {
        trunk_put_tokens(trunk, tape);
        trunk_embed_forward(trunk, tape);
    } else {
        trunk_put_answers(trunk, tape, segment - 1);
        layer = layer_of(trunk, segment - 1);
        trunk_moe_join(trunk, tape, layer++);
    }
    for (; layer < trunk->run->layers; layer++) {
        trunk_attention_forward(trunk, tape, layer);
        if (trunk->layer[layer].is_moe) {
            trunk_moe_ask(trunk, tape, layer);
            return trunk_get_asked(trunk, tape, segment);
        }
        trunk_dense_forward(trunk, tape, layer);
    }
    trunk_head_forward(trunk, tape);
    return trunk_get_losses(trunk, tape);
}

int trunk_backward(const struct trunk *trunk, struct trunk_tape *tape, size_t segment, float grad_scale)
{
    size_t n_left = trunk->run->layers; /* layers not yet passed */
    assert(segment <= trunk->run->n_moe && tape->inside->is_training);
    if (segment == trunk->run->n_moe) {
        trunk_head_backward(trunk, tape, grad_scale);
    } else {
        trunk_put_gradients(trunk, tape, segment);
        n_left = layer_of(trunk, segment);
        trunk_moe_ask_backward(trunk, tape, n_left);
        trunk_attention_backward(trunk, tape, n_left);
    }
    for (; n_left > 0; n_left--) {
        if (trunk->layer[n_left - 1].is_moe) {
            trunk_moe_join_backward(trunk, tape, n_left - 1, grad_scale);
            return trunk_get_told(trunk, tape, segment - 1, grad_scale);
        }
        trunk_dense_backward(trunk, tape, n_left - 1);
        trunk_attention_backward(trunk, tape, n_left - 1);
    }
    trunk_embed_backward(trunk, tape);
    return trunk->kernels.wait();
}
