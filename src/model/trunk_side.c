/*
 * model/trunk_side.c - a tape's memory as the CPU sees it.
 *
 * With a CPU's kernels that is the memory they work in, and nothing here costs anything.  With a device's the CPU has a side of its
 * own, in which what belongs together lies together, in the same order as over there: so each end of a segment is one copy.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "kernels/ref/gate.h"
#include "model/trunk_inside.h"

#define ALIGN_FLOATS 16 /* 64 bytes */

void *trunk_lay(struct trunk_layout *layout, size_t n_floats)
{
    float *piece = layout->at ? layout->at + layout->n : NULL;
    layout->n += (n_floats + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    return piece;
}

size_t trunk_floats_for(size_t n_bytes)
{
    return (n_bytes + sizeof(float) - 1) / sizeof(float);
}

/* -- Where things lie -------------------------------------------------------------------------------- */

void trunk_lay_tokens(struct trunk_layout *layout, struct trunk_tape *tape, int32_t **token, int32_t **target, float **loss)
{
    size_t start = layout->n;
    *token = trunk_lay(layout, tape->N);
    *target = trunk_lay(layout, tape->N);
    tape->inside->span.tokens = (layout->n - start) * sizeof(float);
    *loss = trunk_lay(layout, tape->N);
}

/* Rows in the form in which they travel: floats are laid here, integers behind floats that have their place already. */
static void lay_rows(struct trunk_layout *layout, struct rows *rows, float **f32, enum numerics form, size_t N, size_t D)
{
    if (form == NUMERICS_F32) {
        *f32 = trunk_lay(layout, N * D);
        *rows = (struct rows){.f32 = *f32};
        return;
    }
    rows->exponent = trunk_lay(layout, trunk_floats_for(N));
    rows->high = trunk_lay(layout, trunk_floats_for(N * D));
    rows->low = form == NUMERICS_I8X2 ? trunk_lay(layout, trunk_floats_for(N * D)) : NULL;
}

static size_t bytes_since(const struct trunk_layout *layout, size_t start)
{
    return (layout->n - start) * sizeof(float);
}

/* Answers travel in two slices, or as floats; a CPU's kernels get floats, since the router can read them as they come. */
static enum numerics answer_form(const struct trunk_tape *tape)
{
    return tape->trunk->kernels.is_device && tape->form != NUMERICS_F32 ? NUMERICS_I8X2 : NUMERICS_F32;
}

static void lay_exchange(struct trunk_layout *layout, struct trunk_tape *tape, struct trunk_exchange *x, bool is_cpu_side)
{
    const struct run *run = tape->trunk->run;
    struct trunk_spans *span = &tape->inside->span;
    size_t N = tape->N, D = run->latent, K = run->chosen, E = run->experts;
    bool is_training = tape->inside->is_training, has_floats = !is_cpu_side && tape->form != NUMERICS_F32;
    x->logit = is_cpu_side ? NULL : trunk_lay(layout, N * E);
    x->x = has_floats ? trunk_lay(layout, N * D) : NULL;
    x->gout = has_floats && is_training ? trunk_lay(layout, N * D) : NULL;
    enum numerics answer = answer_form(tape);
    has_floats = !is_cpu_side && answer != NUMERICS_F32;
    x->y = has_floats ? trunk_lay(layout, N * K * D) : NULL;
    x->gx = has_floats && is_training ? trunk_lay(layout, N * K * D) : NULL;
    size_t start = layout->n;
    x->score = trunk_lay(layout, N * E);
    lay_rows(layout, &x->x_rows, &x->x, tape->form, N, D);
    span->asked = bytes_since(layout, start);
    start = layout->n;
    x->pick = trunk_lay(layout, N * K);
    x->answered = trunk_lay(layout, trunk_floats_for(N * K));
    lay_rows(layout, &x->y_rows, &x->y, answer, N * K, D);
    span->answers = bytes_since(layout, start);
    start = layout->n;
    x->weight = trunk_lay(layout, N * K);
    if (!is_training)
        return;
    x->lse = trunk_lay(layout, N);
    lay_rows(layout, &x->gout_rows, &x->gout, tape->form, N, D);
    span->told = bytes_since(layout, start);
    start = layout->n;
    lay_rows(layout, &x->gx_rows, &x->gx, answer, N * K, D);
    span->gradients = bytes_since(layout, start);
}

void trunk_lay_exchanges(struct trunk_layout *layout, struct trunk_tape *tape, struct trunk_exchange *exchange, bool is_cpu_side)
{
    for (size_t i = 0; i < tape->trunk->run->n_moe; i++)
        lay_exchange(layout, tape, &exchange[i], is_cpu_side);
}

static size_t lay_cpu(struct trunk_tape *tape)
{
    struct trunk_layout layout = {.at = tape->inside->cpu_memory};
    trunk_lay_tokens(&layout, tape, &tape->token, &tape->target, &tape->loss);
    trunk_lay_exchanges(&layout, tape, tape->exchange, true);
    return layout.n;
}

int trunk_side_make(const struct trunk *trunk, struct trunk_tape *tape)
{
    struct trunk_inside *in = tape->inside;
    if (!trunk->kernels.is_device) {
        tape->exchange = in->exchange;
        tape->token = in->token;
        tape->target = in->target;
        tape->loss = in->loss;
        return 0;
    }
    tape->exchange = calloc(trunk->run->n_moe + 1, sizeof *tape->exchange); /* + 1: a run may have no MoE layer */
    if (!tape->exchange)
        return HANSE_ENOMEM;
    in->cpu_memory = arena_aligned(lay_cpu(tape), sizeof *in->cpu_memory);
    if (!in->cpu_memory)
        return HANSE_ENOMEM;
    lay_cpu(tape);
    return 0;
}

/* -- Copies ------------------------------------------------------------------------------------------ */

static void put(const struct trunk *trunk, void *to, const void *from, size_t n_bytes)
{
    if (trunk->kernels.is_device)
        trunk->kernels.put(to, from, n_bytes);
}

static int get(const struct trunk *trunk, void *to, const void *from, size_t n_bytes)
{
    return trunk->kernels.is_device ? trunk->kernels.get(to, from, n_bytes) : 0;
}

void trunk_put_tokens(const struct trunk *trunk, struct trunk_tape *tape)
{
    put(trunk, tape->inside->token, tape->token, tape->inside->span.tokens);
}

static const void *start_of(const struct rows *rows)
{
    return rows->f32 ? (const void *)rows->f32 : rows->exponent;
}

/* What came as integers becomes floats over there. */
static void read_rows(const struct trunk *trunk, const struct trunk_tape *tape, float *to, const struct rows *from)
{
    if (!from->f32)
        trunk->kernels.dequantize_rows(to, from->high, from->low, from->exponent, tape->N * trunk->run->chosen,
                                       trunk->run->latent);
}

void trunk_put_answers(const struct trunk *trunk, struct trunk_tape *tape, size_t moe)
{
    const struct trunk_exchange *to = &tape->inside->exchange[moe];
    put(trunk, to->pick, tape->exchange[moe].pick, tape->inside->span.answers);
    read_rows(trunk, tape, to->y, &to->y_rows);
}

void trunk_put_gradients(const struct trunk *trunk, struct trunk_tape *tape, size_t moe)
{
    const struct trunk_exchange *to = &tape->inside->exchange[moe];
    put(trunk, (void *)start_of(&to->gx_rows), start_of(&tape->exchange[moe].gx_rows), tape->inside->span.gradients);
    read_rows(trunk, tape, to->gx, &to->gx_rows);
}

int trunk_get_asked(const struct trunk *trunk, struct trunk_tape *tape, size_t moe)
{
    return get(trunk, tape->exchange[moe].score, tape->inside->exchange[moe].score, tape->inside->span.asked);
}

int trunk_get_losses(const struct trunk *trunk, struct trunk_tape *tape)
{
    return get(trunk, tape->loss, tape->inside->loss, tape->N * sizeof *tape->loss);
}

/* The gates' z-losses are summed here, where the CPU has what they are sums of. */
int trunk_get_told(const struct trunk *trunk, struct trunk_tape *tape, size_t moe, float grad_scale)
{
    const struct trunk_exchange *x = &tape->exchange[moe];
    int err = get(trunk, x->weight, tape->inside->exchange[moe].weight, tape->inside->span.told);
    if (!err && trunk->run->z_loss > 0.0f && grad_scale > 0.0f)
        tape->zloss += (double)ref_gate_zloss_sum(x->lse, trunk_zloss_scale(trunk, tape, grad_scale), tape->N) /
                       (double)grad_scale;
    return err;
}

int trunk_tape_logits(const struct trunk_tape *tape, size_t token, float *out)
{
    return tape->trunk->kernels.get(out, tape->inside->logits + token * TRUNK_VOCABULARY, TRUNK_VOCABULARY * sizeof *out);
}
