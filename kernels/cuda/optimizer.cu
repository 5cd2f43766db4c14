/* cuda/optimizer.cu - AdamW and NAdamW in one pass over parameters and state, and what Muon adds to its products. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/floats.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"

/* As REF_FLUSH and REF_FLUSH_SQUARE of kernels/ref/ref.h. */
#define FLUSH 0x1p-100f
#define FLUSH_SQUARE 0x1p-115f

/* What a step comes down to, worked out once on the CPU by the operations that kernels/ref uses. */
struct scalars {
    float grad_scale;
    float beta1, fresh1; /* fresh = 1 - beta */
    float beta2, fresh2;
    float m_unbias, g_unbias, v_unbias;
    float eps, lr, decay;
};

static struct scalars scalars_of(const struct adam_step *step, bool is_nesterov)
{
    float g_unbias = 1.0f / (1.0f - step->beta1_power);
    float ahead = step->beta1_power * step->beta1;
    return {.grad_scale = step->grad_scale,
            .beta1 = step->beta1,
            .fresh1 = 1.0f - step->beta1,
            .beta2 = step->beta2,
            .fresh2 = 1.0f - step->beta2,
            .m_unbias = is_nesterov ? step->beta1 / (1.0f - ahead) : g_unbias,
            .g_unbias = g_unbias,
            .v_unbias = 1.0f / (1.0f - step->beta2_power),
            .eps = step->eps,
            .lr = step->lr,
            .decay = step->lr * step->weight_decay};
}

template <bool IS_NESTEROV>
static __device__ __forceinline__ void update_one(float *p, float *m, float *v, float g, const struct scalars *s)
{
    float grad = __fmul_rn(g, s->grad_scale), fresh = __fmul_rn(s->fresh1, grad);
    *m = math_flush(__fmaf_rn(s->beta1, *m, fresh), FLUSH);
    *v = math_flush(__fmaf_rn(s->beta2, *v, __fmul_rn(__fmul_rn(s->fresh2, grad), grad)), FLUSH_SQUARE);
    float numerator = IS_NESTEROV ? __fmaf_rn(*m, s->m_unbias, __fmul_rn(fresh, s->g_unbias)) : __fmul_rn(*m, s->m_unbias);
    float denominator = __fadd_rn(__fsqrt_rn(__fmul_rn(*v, s->v_unbias)), s->eps);
    float kept = __fmaf_rn(-s->decay, *p, *p);
    *p = math_flush(__fmaf_rn(-s->lr, __fdiv_rn(numerator, denominator), kept), FLUSH);
}

template <int W, bool IS_NESTEROV>
static __global__ void update_all(float *p, float *m, float *v, const float *g, struct scalars step, size_t n)
{
    size_t i = floats_mine<W>();
    if (i >= n)
        return;
    floats<W> vp = floats_load<W>(p + i, n - i), vm = floats_load<W>(m + i, n - i), vv = floats_load<W>(v + i, n - i),
              vg = floats_load<W>(g + i, n - i);
#pragma unroll
    for (int w = 0; w < W; w++)
        update_one<IS_NESTEROV>(&vp.at[w], &vm.at[w], &vv.at[w], vg.at[w], &step);
    floats_store<W>(p + i, vp, n - i);
    floats_store<W>(m + i, vm, n - i);
    floats_store<W>(v + i, vv, n - i);
}

template <bool IS_NESTEROV>
static void update(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n)
{
    struct scalars scalars = scalars_of(step, IS_NESTEROV);
    if (n == 0)
        return;
    if (floats_wide(p, m, v, g))
        CUDA_LAUNCH((update_all<FLOATS_WIDE, IS_NESTEROV>), floats_grid(n, FLOATS_WIDE), FLOATS_THREADS, 0, p, m, v, g, scalars,
                    n);
    else
        CUDA_LAUNCH((update_all<1, IS_NESTEROV>), floats_grid(n, 1), FLOATS_THREADS, 0, p, m, v, g, scalars, n);
}

void cuda_adamw(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n)
{
    update<false>(p, m, v, g, step, n);
}

void cuda_nadamw(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n)
{
    update<true>(p, m, v, g, step, n);
}

template <int W> static __global__ void momentum(float *u, float *m, const float *g, float beta, float grad_scale, size_t n)
{
    size_t i = floats_mine<W>();
    if (i >= n)
        return;
    floats<W> vm = floats_load<W>(m + i, n - i), vg = floats_load<W>(g + i, n - i);
#pragma unroll
    for (int w = 0; w < W; w++) {
        float grad = __fmul_rn(vg.at[w], grad_scale);
        vm.at[w] = math_flush(__fmaf_rn(beta, vm.at[w], grad), FLUSH);
        vg.at[w] = __fmaf_rn(beta, vm.at[w], grad);
    }
    floats_store<W>(m + i, vm, n - i);
    floats_store<W>(u + i, vg, n - i);
}

void cuda_momentum(float *u, float *m, const float *g, float beta, float grad_scale, size_t n)
{
    FLOATS_EACH(momentum, floats_wide(u, m, g), n, u, m, g, beta, grad_scale, n);
}

template <int W> static __global__ void descend(float *p, const float *u, float rate, float decay, size_t n)
{
    size_t i = floats_mine<W>();
    if (i >= n)
        return;
    floats<W> vp = floats_load<W>(p + i, n - i), vu = floats_load<W>(u + i, n - i);
#pragma unroll
    for (int w = 0; w < W; w++)
        vp.at[w] = math_flush(__fmaf_rn(-rate, vu.at[w], __fmaf_rn(-decay, vp.at[w], vp.at[w])), FLUSH);
    floats_store<W>(p + i, vp, n - i);
}

void cuda_descend(float *p, const float *u, float rate, float decay, size_t n)
{
    FLOATS_EACH(descend, floats_wide(p, u), n, p, u, rate, decay, n);
}
