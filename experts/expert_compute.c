/**
 * experts/expert_compute.c - forward and backward of the SwiGLU block, in the order that expert.h states.
 */
#include "experts/expert.h"

#include <assert.h>
#include <string.h>

#include "experts/integers.h"
#include "kernels/parallel.h"

#define DAMP_HALVINGS_MAX 30
#define LANES 64

_Static_assert(sizeof(float) == sizeof(int32_t), "floats are looked at as their bits");

static int32_t bits_of(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Without the sign, floats order as their bits do, and infinities and NaNs lie above all numbers; so one integer comparison
 * an element finds everything that is too large.  Blocks of fixed length let the compiler use vectors. */
bool expert_all_below(const float *x, size_t n, float limit)
{
    int32_t top = bits_of(limit) - 1;
    int32_t is_bad = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            is_bad |= -(int32_t)((bits_of(x[i + j]) & INT32_MAX) > top);
    for (; i < n; i++)
        is_bad |= -(int32_t)((bits_of(x[i]) & INT32_MAX) > top);
    return !is_bad;
}

void expert_scale(float *x, float by, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            x[i + j] *= by;
    for (; i < n; i++)
        x[i] *= by;
}

/* High slices lie in -127..127: the int32 sums of products count on it. */
static bool has_no_least(const int8_t *high, size_t n)
{
    int8_t is_least = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            is_least |= (int8_t) - (high[i + j] == INT8_MIN);
    for (; i < n; i++)
        is_least |= (int8_t) - (high[i] == INT8_MIN);
    return !is_least;
}

bool expert_rows_ok(enum numerics numerics, const struct rows *rows, size_t n, size_t D)
{
    if (numerics == NUMERICS_F32) {
        assert(rows->f32 || n == 0);
        return expert_all_below(rows->f32, n * D, EXPERT_VALUE_MAX);
    }
    bool is_double = numerics == NUMERICS_I8X2;
    int8_t most = is_double ? EXPERT_EXPONENT_MAX_I8X2 : EXPERT_EXPONENT_MAX_I8X1;
    assert(n == 0 || (rows->exponent && rows->high && is_double == (rows->low != NULL)));
    for (size_t r = 0; r < n; r++)
        if (rows->exponent[r] < QUANTIZE_EXPONENT_MIN || rows->exponent[r] > most)
            return false;
    return has_no_least(rows->high, n * D);
}

static bool all_finite(const float *x, size_t n)
{
    return expert_all_below(x, n, __builtin_inff());
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
    size_t D = x->config.D;
    if (!weight)
        return gy;
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < D; i++)
            s->gy[r * D + i] = weight[r] * gy[r * D + i];
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
static int backward(const struct expert *x, float *gx, const float *rows, const float *gy, const float *weight, void *work,
                    size_t n, struct expert_grad *grad)
{
    size_t D = x->config.D, H = x->config.H;
    struct scratch s = split(x, work, n);
    gy = weighted(x, &s, gy, weight, n);
    if (!expert_all_below(gy, n * D, EXPERT_VALUE_MAX))
        return HANSE_EREJECT;
    hidden(x, &s, rows, n);
    input_gradient(x, &s, gx, gy, n);
    *grad = (struct expert_grad){s.g, s.u, s.h, gy};
    bool is_ok = expert_all_below(gx, n * D, QUANTIZE_MAX) && all_finite(s.h, n * H) && all_finite(s.g, n * H) &&
                 all_finite(s.u, n * H);
    return is_ok ? 0 : HANSE_EREJECT;
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
    if (!expert_rows_ok(x->config.numerics, rows, n, x->config.D))
        return HANSE_EREJECT;
    int err = 0;
    if (x->integers)
        err = integers_forward(x, y, rows, work, n);
    else
        forward(x, y, rows->f32, work, n);
    return err || expert_all_below(y, n * x->config.D, QUANTIZE_MAX) ? err : HANSE_EREJECT;
}

/* A power of two commutes with every rounding above the subnormals, so damping the small factors of the products
 * after gx is made equals damping gy, without a copy of gy. */
static void damp(const struct expert_grad *grad, uint64_t staleness, size_t n_floats)
{
    uint64_t halvings = staleness / 3 + (staleness % 3 == 2); /* (s + 1) / 3, which cannot overflow */
    if (halvings > DAMP_HALVINGS_MAX)
        halvings = DAMP_HALVINGS_MAX;
    if (halvings == 0)
        return;
    float d = 1 / (float)(1u << halvings);
    expert_scale(grad->gg, d, n_floats);
    expert_scale(grad->gu, d, n_floats);
    expert_scale(grad->h, d, n_floats);
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
    size_t D = x->config.D, H = x->config.H;
    struct expert_grad grad;
    *staleness = x->version > version ? x->version - version : version - x->version;
    bool is_scale = lr_scale >= 0 && lr_scale <= 1;
    if (!is_scale || !expert_rows_ok(x->config.numerics, rows, n, D) || !expert_rows_ok(x->config.numerics, gy, n, D))
        return HANSE_EREJECT;
    int err = x->integers ? integers_backward(x, gx, rows, gy, weight, work, n, &grad)
                          : backward(x, gx, rows->f32, gy->f32, weight, work, n, &grad);
    if (err || *staleness > x->config.max_staleness)
        return err;
    damp(&grad, *staleness, n * H);
    if (x->integers)
        integers_add(x, rows, gy, &grad, n);
    else
        add_gradient(x, rows->f32, &grad, n);
    count_slots(x, n, lr_scale);
    return 0;
}
