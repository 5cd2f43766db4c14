/* model/trunk_tape.c - the memory of one microbatch: laid out twice, once to count, once to point. */
#include <assert.h>
#include <stdlib.h>

#include "model/trunk_inside.h"

/* What products read, with room for its integers where they are of integers. */
static void lay_input(struct trunk_layout *layout, struct trunk_input *x, bool is_rounded, size_t N, size_t D)
{
    x->f32 = trunk_lay(layout, N * D);
    if (!is_rounded)
        return;
    x->exponent = trunk_lay(layout, trunk_floats_for(N));
    x->high = trunk_lay(layout, trunk_floats_for(N * D));
    x->low = trunk_lay(layout, trunk_floats_for(N * D));
}

static void lay_swiglu(struct trunk_layout *layout, struct trunk_swiglu_act *act, bool is_rounded, size_t N, size_t H)
{
    act->g = trunk_lay(layout, N * H);
    act->u = trunk_lay(layout, N * H);
    lay_input(layout, &act->h, is_rounded, N, H);
}

/* One layer's activations; `H` and `latent` are the widest of the layers that will share it. */
static void lay_layer(struct trunk_layout *layout, struct trunk_layer_act *act, const struct run *run, size_t B, size_t T,
                      size_t H, size_t latent)
{
    size_t N = B * T, D = run->width;
    bool is_rounded = run->trunk == RUN_TRUNK_I8X2;
    lay_input(layout, &act->a, is_rounded, N, D);
    act->rstd_a = trunk_lay(layout, N);
    act->q_in = trunk_lay(layout, N * D);
    act->k_in = trunk_lay(layout, N * D);
    act->rstd_q = trunk_lay(layout, N * run->heads);
    act->rstd_k = trunk_lay(layout, N * run->heads);
    act->q = trunk_lay(layout, N * D);
    act->k = trunk_lay(layout, N * D);
    act->v = trunk_lay(layout, N * D);
    lay_input(layout, &act->o, is_rounded, N, D);
    act->prob = trunk_lay(layout, B * run->heads * T * T);
    lay_input(layout, &act->b, is_rounded, N, D);
    act->rstd_b = trunk_lay(layout, N);
    lay_swiglu(layout, &act->mlp, is_rounded, N, H);
    lay_input(layout, &act->combined, is_rounded, N, latent);
}

static size_t widest(const struct trunk *trunk)
{
    size_t H = 0;
    for (size_t layer = 0; layer < trunk->run->layers; layer++)
        H = trunk->layer[layer].mlp.H > H ? trunk->layer[layer].mlp.H : H;
    return H;
}

static void lay_layers(struct trunk_layout *layout, const struct trunk *trunk, struct trunk_tape *tape)
{
    const struct run *run = trunk->run;
    struct trunk_inside *in = tape->inside;
    for (size_t layer = 0; layer < run->layers; layer++) {
        const struct trunk_layer *at = &trunk->layer[layer];
        if (in->is_training)
            lay_layer(layout, &in->layer[layer], run, tape->B, tape->T, at->mlp.H, at->has_latent ? run->latent : 0);
        else if (layer == 0)
            lay_layer(layout, &in->layer[0], run, tape->B, tape->T, widest(trunk), run->latent);
        else
            in->layer[layer] = in->layer[0];
    }
    for (size_t i = 0; i <= 2 * (size_t)run->layers; i++)
        in->h[i] = i == 0 || in->is_training ? trunk_lay(layout, tape->N * run->width) : in->h[0];
}

static void lay_backward(struct trunk_layout *layout, const struct trunk *trunk, struct trunk_tape *tape)
{
    const struct run *run = trunk->run;
    struct trunk_inside *in = tape->inside;
    size_t N = tape->N, D = run->width;
    in->gh = trunk_lay(layout, N * D);
    in->gb = trunk_lay(layout, N * D);
    in->gq = trunk_lay(layout, N * D);
    in->gk = trunk_lay(layout, N * D);
    in->gv = trunk_lay(layout, N * D);
    in->ghidden = trunk_lay(layout, N * widest(trunk));
    in->grows = trunk_lay(layout, N * run->latent);
    in->gweight = trunk_lay(layout, N * run->chosen);
    in->gscore = trunk_lay(layout, N * run->experts);
    in->round = trunk_lay(layout, trunk_floats_for(trunk_round_bytes(trunk, N)));
    in->square = trunk_lay(layout, tape->T * tape->T);
    tape->grad = trunk_lay(layout, trunk->n_params);
}

/* Returns the floats that all of it takes. */
static size_t lay(const struct trunk *trunk, struct trunk_tape *tape, float *memory)
{
    struct trunk_layout layout = {.at = memory};
    size_t N = tape->N, D = trunk->run->width;
    struct trunk_inside *in = tape->inside;
    trunk_lay_tokens(&layout, tape, &in->token, &in->target, &in->loss);
    in->logits = trunk_lay(&layout, N * TRUNK_VOCABULARY);
    lay_input(&layout, &in->y, trunk->linear != NULL, N, D);
    in->rstd_y = trunk_lay(&layout, N);
    lay_layers(&layout, trunk, tape);
    trunk_lay_exchanges(&layout, tape, in->exchange, false);
    if (in->is_training)
        lay_backward(&layout, trunk, tape);
    return layout.n;
}

/* The tape's own memory, and the gradients in it begin at 0. */
static int allot(const struct trunk *trunk, struct trunk_tape *tape)
{
    size_t n_bytes = lay(trunk, tape, NULL) * sizeof *tape->inside->memory;
    tape->inside->memory = trunk->kernels.allot(n_bytes);
    if (!tape->inside->memory)
        return trunk_no_room(
            trunk, n_bytes, "a microbatch",
            "trainer.batch, model.context or model.width (or trainer.microbatches, of which each has the trunk's "
            "gradients for itself)");
    lay(trunk, tape, tape->inside->memory);
    trunk_tape_clear(tape);
    return trunk->kernels.wait();
}

static int make_inside(struct trunk_tape *tape, size_t B, bool is_training)
{
    const struct run *run = tape->trunk->run;
    struct trunk_inside *in = tape->inside = calloc(1, sizeof *in);
    if (!in)
        return HANSE_ENOMEM;
    in->B_max = B;
    in->is_training = is_training;
    in->h = calloc(2 * (size_t)run->layers + 1, sizeof *in->h);
    in->layer = calloc(run->layers, sizeof *in->layer);
    in->exchange = calloc(run->n_moe + 1, sizeof *in->exchange); /* + 1: a run may have no MoE layer */
    return in->h && in->layer && in->exchange ? 0 : HANSE_ENOMEM;
}

int trunk_tape_new(const struct trunk *trunk, size_t B, size_t T, bool is_training, enum numerics form, struct trunk_tape **out)
{
    int err = HANSE_ENOMEM;
    struct trunk_tape *tape = calloc(1, sizeof *tape);
    assert(B >= 1 && T >= 1 && T <= trunk->run->context);
    if (!tape)
        goto fail;
    *tape = (struct trunk_tape){.trunk = trunk, .B = B, .T = T, .N = B * T, .form = form};
    err = make_inside(tape, B, is_training);
    if (!err)
        err = allot(trunk, tape);
    if (!err)
        err = trunk_side_make(trunk, tape);
    if (err)
        goto fail;
    *out = tape;
    return 0;
fail:
    trunk_tape_free(tape);
    return err;
}

void trunk_tape_free(struct trunk_tape *tape)
{
    if (!tape)
        return;
    struct trunk_inside *in = tape->inside;
    if (in) {
        if (tape->exchange != in->exchange)
            free(tape->exchange);
        tape->trunk->kernels.release(in->memory);
        free(in->cpu_memory);
        free(in->exchange);
        free(in->h);
        free(in->layer);
    }
    free(in);
    free(tape);
}

void trunk_tape_clear(struct trunk_tape *tape)
{
    if (tape->grad)
        tape->trunk->kernels.zero(tape->grad, tape->trunk->n_params * sizeof *tape->grad);
    tape->zloss = 0.0;
}

void trunk_tape_set_batch(struct trunk_tape *tape, size_t B)
{
    assert(B >= 1 && B <= tape->inside->B_max);
    tape->B = B;
    tape->N = B * tape->T;
}

double trunk_tape_loss(const struct trunk_tape *tape)
{
    double sum = 0.0;
    for (size_t i = 0; i < tape->N; i++)
        sum += (double)tape->loss[i];
    return sum / (double)tape->N;
}
