/* model/trunk_tape.c - the memory of one microbatch: laid out twice, once to count, once to point. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "model/trunk_inside.h"

/* One block of floats that grows from the front.  While `at` is NULL it only counts. */
struct layout {
    float *at;
    size_t n;
};

#define ALIGN_FLOATS 16 /* 64 bytes */

static void *take(struct layout *layout, size_t n)
{
    float *piece = layout->at ? layout->at + layout->n : NULL;
    layout->n += (n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    return piece;
}

static size_t floats_for(size_t n_bytes)
{
    return (n_bytes + sizeof(float) - 1) / sizeof(float);
}

/* What products read, with room for its integers where they are of integers. */
static void lay_input(struct layout *layout, struct trunk_input *x, bool is_rounded, size_t N, size_t D)
{
    x->f32 = take(layout, N * D);
    if (!is_rounded)
        return;
    x->exponent = take(layout, floats_for(N));
    x->high = take(layout, floats_for(N * D));
    x->low = take(layout, floats_for(N * D));
}

static void lay_swiglu(struct layout *layout, struct trunk_swiglu_act *act, bool is_rounded, size_t N, size_t H)
{
    act->g = take(layout, N * H);
    act->u = take(layout, N * H);
    lay_input(layout, &act->h, is_rounded, N, H);
}

/* One layer's activations; `H` and `latent` are the widest of the layers that will share it. */
static void lay_layer(struct layout *layout, struct trunk_layer_act *act, const struct run *run, size_t B, size_t T, size_t H,
                      size_t latent)
{
    size_t N = B * T, D = run->width;
    bool is_rounded = run->trunk == RUN_TRUNK_I8X2;
    lay_input(layout, &act->a, is_rounded, N, D);
    act->rstd_a = take(layout, N);
    act->q_in = take(layout, N * D);
    act->k_in = take(layout, N * D);
    act->rstd_q = take(layout, N * run->heads);
    act->rstd_k = take(layout, N * run->heads);
    act->q = take(layout, N * D);
    act->k = take(layout, N * D);
    act->v = take(layout, N * D);
    lay_input(layout, &act->o, is_rounded, N, D);
    act->prob = take(layout, B * run->heads * T * T);
    lay_input(layout, &act->b, is_rounded, N, D);
    act->rstd_b = take(layout, N);
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

static void lay_layers(struct layout *layout, const struct trunk *trunk, struct trunk_tape *tape)
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
        in->h[i] = i == 0 || in->is_training ? take(layout, tape->N * run->width) : in->h[0];
}

static void lay_exchange(struct layout *layout, const struct trunk *trunk, struct trunk_tape *tape)
{
    size_t N = tape->N, D = trunk->run->latent, K = trunk->run->chosen, E = trunk->run->experts;
    for (size_t i = 0; i < trunk->run->n_moe; i++) {
        struct trunk_exchange *exchange = &tape->exchange[i];
        exchange->x = take(layout, N * D);
        exchange->logit = take(layout, N * E);
        exchange->score = take(layout, N * E);
        exchange->pick = take(layout, N * K);
        exchange->answered = take(layout, (N * K + 3) / 4);
        exchange->y = take(layout, N * K * D);
        exchange->weight = take(layout, N * K);
        if (tape->inside->is_training) {
            exchange->gout = take(layout, N * D);
            exchange->gx = take(layout, N * K * D);
        }
    }
}

static void lay_backward(struct layout *layout, const struct trunk *trunk, struct trunk_tape *tape)
{
    const struct run *run = trunk->run;
    struct trunk_inside *in = tape->inside;
    size_t N = tape->N, D = run->width;
    in->gh = take(layout, N * D);
    in->gb = take(layout, N * D);
    in->gq = take(layout, N * D);
    in->gk = take(layout, N * D);
    in->gv = take(layout, N * D);
    in->ghidden = take(layout, N * widest(trunk));
    in->grows = take(layout, N * run->latent);
    in->gweight = take(layout, N * run->chosen);
    in->gscore = take(layout, N * run->experts);
    in->lse = take(layout, N);
    in->round = take(layout, floats_for(trunk_round_bytes(trunk, N)));
    in->square = take(layout, tape->T * tape->T);
    tape->grad = take(layout, trunk->n_params);
}

/* Returns the floats that all of it takes. */
static size_t lay(const struct trunk *trunk, struct trunk_tape *tape, float *memory)
{
    struct layout layout = {.at = memory};
    size_t N = tape->N, D = trunk->run->width;
    tape->token = take(&layout, N);
    tape->target = take(&layout, N);
    tape->loss = take(&layout, N);
    tape->logits = take(&layout, N * TRUNK_VOCABULARY);
    lay_input(&layout, &tape->inside->y, trunk->linear != NULL, N, D);
    tape->inside->rstd_y = take(&layout, N);
    lay_layers(&layout, trunk, tape);
    lay_exchange(&layout, trunk, tape);
    if (tape->inside->is_training)
        lay_backward(&layout, trunk, tape);
    return layout.n;
}

int trunk_tape_new(const struct trunk *trunk, size_t B, size_t T, bool is_training, struct trunk_tape **out)
{
    const struct run *run = trunk->run;
    struct trunk_tape *tape = calloc(1, sizeof *tape);
    assert(B >= 1 && T >= 1 && T <= run->context);
    if (!tape)
        goto fail;
    *tape = (struct trunk_tape){.trunk = trunk, .B = B, .T = T, .N = B * T};
    tape->exchange = calloc(run->n_moe + 1, sizeof *tape->exchange); /* + 1: a run may have no MoE layer */
    tape->inside = calloc(1, sizeof *tape->inside);
    if (!tape->exchange || !tape->inside)
        goto fail;
    struct trunk_inside *in = tape->inside;
    in->B_max = B;
    in->is_training = is_training;
    in->h = calloc(2 * (size_t)run->layers + 1, sizeof *in->h);
    in->layer = calloc(run->layers, sizeof *in->layer);
    if (!in->h || !in->layer)
        goto fail;
    in->memory = arena_aligned(lay(trunk, tape, NULL), sizeof *in->memory);
    if (!in->memory)
        goto fail;
    lay(trunk, tape, in->memory);
    *out = tape;
    return 0;
fail:
    trunk_tape_free(tape);
    return HANSE_ENOMEM;
}

void trunk_tape_free(struct trunk_tape *tape)
{
    if (!tape)
        return;
    if (tape->inside) {
        free(tape->inside->memory);
        free(tape->inside->h);
        free(tape->inside->layer);
    }
    free(tape->inside);
    free(tape->exchange);
    free(tape);
}

void trunk_tape_clear(struct trunk_tape *tape)
{
    if (tape->grad)
        memset(tape->grad, 0, tape->trunk->n_params * sizeof *tape->grad);
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
