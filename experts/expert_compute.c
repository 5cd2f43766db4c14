/**
 * experts/expert_compute.c - forward and backward of the SwiGLU block, in the order that expert.h states.
 */
#include "experts/expert.h"

#include <assert.h>

#include "experts/integers.h"
#include "kernels/parallel.h"
#include "kernels/ref/check.h"

#define DAMP_HALVINGS_MAX 30

bool expert_all_below(const float *x, size_t n, float limit)
{
    uint32_t is_bad = 0;
    ref_check_below(&is_bad, x, n, limit);
    return !is_bad;
}

static int8_t exponent_max(enum numerics numerics)
{
    return numerics == NUMERICS_I8X2 ? EXPERT_EXPONENT_MAX_I8X2 : EXPERT_EXPONENT_MAX_I8X1;
}

bool expert_rows_ok(enum numerics numerics, const struct rows *rows, size_t n, size_t D)
{
    uint32_t is_bad = 0;
    if (numerics == NUMERICS_F32)
        return expert_all_below(rows->f32, n * D, EXPERT_VALUE_MAX);
    ref_check_rows(&is_bad, rows, n, D, exponent_max(numerics));
    return !is_bad;
}

/* The same of rows in the expert's memory, into x->is_bad. */
static void check_rows(const struct expert *x, const struct rows *rows, size_t n)
{
    size_t D = x->config.D;
    enum numerics numerics = x->config.numerics;
    assert(n == 0 || (numerics == NUMERICS_F32 ? rows->f32 != NULL : rows->exponent && rows->high));
    assert(n == 0 || (numerics == NUMERICS_I8X2) == (rows->low != NULL));
    if (numerics == NUMERICS_F32)
        x->kernels->check_below(x->is_bad, rows->f32, n * D, EXPERT_VALUE_MAX);
    else
        x->kernels->check_rows(x->is_bad, rows, n, D, exponent_max(numerics));
}

/* Known at once on a CPU, which need not compute with bad rows. */
static bool is_refused_already(const struct expert *x)
{
    return !x->kernels->is_device && *x->is_bad;
}

static int verdict(const struct expert *x)
{
    uint32_t is_bad = 0;
    int err = x->kernels->get(&is_bad, x->is_bad, sizeof is_bad);
    return err ? err : is_bad ? HANSE_EREJECT : 0;
}

/* -- Floats ---------------------------------------------------------------------------------------- */

/* The scratch of one call: four blocks of (n, H), and the weighted gradients (n, D). */
struct scratch {
    float *g, *u, *h, *gh, *gy;
};

static struct scratch split(const struct expert *x, void *work, size_t n)
{
    float *at = work;
    size_t block = n * (size_t)x->config.H;
    return (struct scratch){at, at + block, at + 2 * block, at + 3 * block, at + 4 * block};
}

/* h = swiglu(x Wg, x Wu) */
static void hidden(const struct expert *x, struct scratch *s, const float *rows, size_t n)
{
    size_t D = x->config.D, H = x->config.H;
    const struct kernels *k = x->kernels;
    parallel_matmul(k, x->team, s->g, H, matrix_of(rows, D), matrix_of(x->param, H), n, H, D, false);
    parallel_matmul(k, x->team, s->u, H, matrix_of(rows, D), matrix_of(x->param + D * H, H), n, H, D, false);
    parallel_swiglu(k, x->team, s->h, s->g, s->u, n * H);
}

static void forward(const struct expert *x, float *y, const float *rows, void *work, size_t n)
{
    size_t D = x->config.D, H = x->config.H;
    struct scratch s = split(x, work, n);
    hidden(x, &s, rows, n);
    parallel_matmul(x->kernels, x->team, y, D, matrix_of(s.h, H), matrix_of(x->param + 2 * D * H, D), n, D, H, false);
}

/* gy itself where nothing weighs. */
static const float *weighted(const struct expert *x, const struct scratch *s, const float *gy, const float *weight, size_t n)
{
    if (!weight)
        return gy;
    x->kernels->weigh(s->gy, weight, gy, n, x->config.D);
    return s->gy;
}

/* gg and gu take the place of g and u. */
static void input_gradient(const struct expert *x, struct scratch *s, float *gx, const float *gy, size_t n)
{
    size_t D = x->config.D, H = x->config.H;
    const struct kernels *k = x->kernels;
    parallel_matmul(k, x->team, s->gh, H, matrix_of(gy, D), matrix_transposed(x->param + 2 * D * H, D), n, H, D, false);
    parallel_swiglu_grad(k, x->team, s->g, s->u, s->gh, s->g, s->u, n * H);
    parallel_matmul(k, x->team, gx, D, matrix_of(s->g, H), matrix_transposed(x->param, H), n, D, H, false);
    parallel_matmul(k, x->team, gx, D, matrix_of(s->u, H), matrix_transposed(x->param + D * H, H), n, D, H, true);
}

/* gx, and what add_gradient() takes. */
static void backward(const struct expert *x, float *gx, const float *rows, const float *gy, const float *weight, void *work,
                     size_t n, struct expert_grad *grad)
{
    size_t n_rows = n * x->config.D, n_hidden = n * x->config.H;
    const struct kernels *k = x->kernels;
    struct scratch s = split(x, work, n);
    gy = weighted(x, &s, gy, weight, n);
    hidden(x, &s, rows, n);
    input_gradient(x, &s, gx, gy, n);
    *grad = (struct expert_grad){s.g, s.u, s.h, gy};
    k->check_below(x->is_bad, gy, n_rows, EXPERT_VALUE_MAX);
    k->check_below(x->is_bad, gx, n_rows, QUANTIZE_MAX);
    k->check_below(x->is_bad, s.h, n_hidden, __builtin_inff());
    k->check_below(x->is_bad, s.g, n_hidden, __builtin_inff());
    k->check_below(x->is_bad, s.u, n_hidden, __builtin_inff());
}

/* The three products over rows: one chain per parameter, carried on from call to call. */
static void add_gradient(struct expert *x, const float *rows, const struct expert_grad *grad, size_t n)
{
    size_t D = x->config.D, H = x->config.H;
    const struct kernels *k = x->kernels;
    parallel_matmul(k, x->team, x->grad, H, matrix_transposed(rows, D), matrix_of(grad->gg, H), D, H, n, true);
    parallel_matmul(k, x->team, x->grad + D * H, H, matrix_transposed(rows, D), matrix_of(grad->gu, H), D, H, n, true);
    parallel_matmul(k, x->team, x->grad + 2 * D * H, D, matrix_transposed(grad->h, H), matrix_of(grad->gy, D), H, D, n, true);
}

/* -- Either ---------------------------------------------------------------------------------------- */

size_t expert_work_bytes(const struct expert *x, size_t n)
{
    if (x->integers)
        return integers_work_bytes(x, n);
    return n * (4 * (size_t)x->config.H + x->config.D) * sizeof(float);
}

int expert_forward(const struct expert *x, float *y, const struct rows *rows, void *work, size_t n)
{
    const struct kernels *k = x->kernels;
    k->zero(x->is_bad, sizeof *x->is_bad);
    check_rows(x, rows, n);
    if (is_refused_already(x))
        return HANSE_EREJECT;
    if (x->integers)
        integers_forward(x, y, rows, work, n);
    else
        forward(x, y, rows->f32, work, n);
    k->check_below(x->is_bad, y, n * x->config.D, QUANTIZE_MAX);
    return verdict(x);
}

/* A power of two commutes with every rounding above the subnormals, so damping the small factors of the products
 * after gx is made equals damping gy, without a copy of gy. */
static void damp(const struct kernels *k, const struct expert_grad *grad, uint64_t staleness, size_t n_floats)
{
    uint64_t halvings = staleness / 3 + (staleness % 3 == 2); /* (s + 1) / 3, which cannot overflow */
    if (halvings > DAMP_HALVINGS_MAX)
        halvings = DAMP_HALVINGS_MAX;
    if (halvings == 0)
        return;
    float d = 1 / (float)(1u << halvings);
    k->scale(grad->gg, d, grad->gg, n_floats);
    k->scale(grad->gu, d, grad->gu, n_floats);
    k->scale(grad->h, d, grad->h, n_floats);
}

/* Slot by slot, so that the sum does not depend on how slots are grouped into calls. */
static void count_slots(struct expert *x, size_t n, float lr_scale)
{
    assert(n <= UINT32_MAX - x->grad_slots);
    for (size_t i = 0; i < n; i++)
        x->lr_scale_sum += lr_scale;
    x->grad_slots += (uint32_t)n;
    x->n_slots += n;
}

int expert_backward(struct expert *x, float *gx, const struct rows *rows, const struct rows *gy, const float *weight, void *work,
                    size_t n, uint64_t version, float lr_scale, uint64_t *staleness)
{
    size_t H = x->config.H;
    struct expert_grad grad;
    *staleness = x->version > version ? x->version - version : version - x->version;
    if (!(lr_scale >= 0 && lr_scale <= 1))
        return HANSE_EREJECT;
    x->kernels->zero(x->is_bad, sizeof *x->is_bad);
    check_rows(x, rows, n);
    check_rows(x, gy, n);
    if (is_refused_already(x))
        return HANSE_EREJECT;
    if (x->integers)
        integers_backward(x, gx, rows, gy, weight, work, n, &grad);
    else
        backward(x, gx, rows->f32, gy->f32, weight, work, n, &grad);
    int err = verdict(x);
    if (err || *staleness > x->config.max_staleness)
        return err;
    damp(x->kernels, &grad, *staleness, n * H);
    if (x->integers)
        integers_add(x, rows, gy, &grad, n);
    else
        add_gradient(x, rows->f32, &grad, n);
    count_slots(x, n, lr_scale);
    return 0;
}
