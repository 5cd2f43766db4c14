#include "model/optimizer.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/profile.h"
#include "kernels/ref/math.h"
#include "kernels/ref/muon.h"
#include "model/trunk_inside.h"

#define NEWTON_SCHULZ_ITERATIONS 5
#define ADAM_EPS 1e-8f
#define PI 3.14159265f

static size_t most_work(const struct trunk *trunk)
{
    size_t most = 1;
    for (size_t i = 0; i < trunk->n_tensors; i++) {
        size_t n = muon_work_floats(trunk->tensor[i].M, trunk->tensor[i].N);
        if (trunk->tensor[i].rule == TRUNK_MUON && n > most)
            most = n;
    }
    return (most + 15) / 16 * 16;
}

static int make_state(struct optimizer *x)
{
    const struct kernels *k = &x->trunk->kernels;
    size_t n_bytes = x->trunk->n_params * sizeof(float), work_bytes = OPTIMIZER_PARTS_MAX * x->work_floats * sizeof(float);
    x->moment1 = k->allot(n_bytes);
    x->moment2 = k->allot(n_bytes);
    x->grad = k->allot(n_bytes);
    x->work = k->allot(work_bytes);
    if (!x->moment1 || !x->moment2 || !x->grad || !x->work)
        return trunk_no_room(x->trunk, 3 * n_bytes + work_bytes, "the optimizer", "model.width or model.layers");
    k->zero(x->moment1, n_bytes);
    k->zero(x->moment2, n_bytes);
    return k->wait();
}

int optimizer_new(struct trunk *trunk, struct optimizer **out)
{
    int err = HANSE_ENOMEM;
    struct optimizer *x = calloc(1, sizeof *x);
    if (!x)
        goto fail;
    x->trunk = trunk;
    x->beta1_power = x->beta2_power = 1.0f;
    x->work_floats = most_work(trunk);
    err = make_state(x);
    if (err)
        goto fail;
    *out = x;
    return 0;
fail:
    optimizer_free(x);
    return err;
}

void optimizer_free(struct optimizer *x)
{
    if (!x)
        return;
    const struct kernels *k = &x->trunk->kernels;
    k->release(x->moment1);
    k->release(x->moment2);
    k->release(x->grad);
    k->release(x->work);
    free(x);
}

static void update_matrix(const struct optimizer *x, const struct trunk_tensor *tensor, float *work)
{
    const struct trunk *trunk = x->trunk;
    const struct muon_step step = {.lr = trunk->run->lr_muon * x->lr_scale,
                                   .momentum = trunk->run->momentum,
                                   .weight_decay = trunk->run->weight_decay,
                                   .grad_scale = x->grad_scale,
                                   .n_iterations = NEWTON_SCHULZ_ITERATIONS};
    size_t at = tensor->offset;
    muon_update(&trunk->kernels, trunk->param + at, x->moment1 + at, x->grad + at, work, &step, tensor->M, tensor->N);
}

static void update_plain(const struct optimizer *x, const struct trunk_tensor *tensor)
{
    const struct trunk *trunk = x->trunk;
    const struct adam_step step = {.lr = trunk->run->lr_adam * x->lr_scale,
                                   .beta1 = trunk->run->beta1,
                                   .beta2 = trunk->run->beta2,
                                   .eps = ADAM_EPS,
                                   .weight_decay = tensor->rule == TRUNK_ADAM ? trunk->run->weight_decay : 0.0f,
                                   .beta1_power = x->beta1_power,
                                   .beta2_power = x->beta2_power,
                                   .grad_scale = x->grad_scale};
    size_t at = tensor->offset;
    trunk->kernels.adamw(trunk->param + at, x->moment1 + at, x->moment2 + at, x->grad + at, &step, tensor->M * tensor->N);
}

static void sum_tapes(struct optimizer *x, struct trunk_tape *const *tape, size_t n_tapes)
{
    size_t n = x->trunk->n_params;
    x->trunk->kernels.zero(x->grad, n * sizeof *x->grad);
    for (size_t i = 0; i < n_tapes; i++)
        x->trunk->kernels.axpy(x->grad, 1.0f, tape[i]->grad, n);
}

float optimizer_begin(struct optimizer *x, struct trunk_tape *const *tape, size_t n_tapes, float lr_scale, float grad_scale,
                      int *err)
{
    const struct run *run = x->trunk->run;
    profile_enter(PROFILE_GRADIENT);
    sum_tapes(x, tape, n_tapes);
    float norm = grad_scale * sqrtf(x->trunk->kernels.sum_squares(x->grad, x->trunk->n_params));
    x->step++;
    *err = x->trunk->kernels.wait(); /* of a device that failed the norm means nothing */
    if (!*err && !isfinite(norm))
        *err = HANSE_EREJECT;
    if (*err)
        return norm;
    x->grad_scale = run->clip > 0.0f && norm > run->clip ? grad_scale * (run->clip / norm) : grad_scale;
    x->lr_scale = lr_scale;
    x->beta1_power = x->beta1_power * run->beta1;
    x->beta2_power = x->beta2_power * run->beta2;
    return norm;
}

/* Newton-Schulz is cubic, the rest linear. */
static double cost_of(const struct trunk_tensor *tensor)
{
    double M = (double)tensor->M, N = (double)tensor->N;
    return tensor->rule == TRUNK_MUON ? M * N * (M < N ? M : N) : M * N;
}

/* Each tensor goes to the part that has the least so far, in order of the table. */
int optimizer_part(struct optimizer *x, size_t part, size_t n_parts)
{
    double load[OPTIMIZER_PARTS_MAX] = {0};
    assert(part < n_parts && n_parts <= OPTIMIZER_PARTS_MAX);
    for (size_t i = 0; i < x->trunk->n_tensors; i++) {
        const struct trunk_tensor *tensor = &x->trunk->tensor[i];
        size_t least = 0;
        for (size_t j = 1; j < n_parts; j++)
            least = load[j] < load[least] ? j : least;
        load[least] += cost_of(tensor);
        if (least != part)
            continue;
        profile_enter(tensor->rule == TRUNK_MUON ? PROFILE_MUON : PROFILE_ADAM);
        if (tensor->rule == TRUNK_MUON)
            update_matrix(x, tensor, x->work + part * x->work_floats);
        else
            update_plain(x, tensor);
        trunk_pack(x->trunk, i);
    }
    return x->trunk->kernels.wait();
}

float optimizer_step(struct optimizer *x, struct trunk_tape *const *tape, size_t n_tapes, float lr_scale, float grad_scale,
                     int *err)
{
    float norm = optimizer_begin(x, tape, n_tapes, lr_scale, grad_scale, err);
    if (*err == 0)
        *err = optimizer_part(x, 0, 1);
    return norm;
}

float optimizer_schedule(const struct run *run, uint64_t step, double progress)
{
    float sine, cosine;
    double clamped = progress < 0.0 ? 0.0 : progress < 1.0 ? progress : 1.0;
    ref_sincos(&sine, &cosine, PI * (float)clamped);
    float scale = run->final_lr + (1.0f - run->final_lr) * (0.5f * (1.0f + cosine));
    if (step < run->warmup_steps)
        scale = scale * ((float)(step + 1) / (float)run->warmup_steps);
    return scale;
}
