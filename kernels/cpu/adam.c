/* cpu/adam.c - AdamW and NAdamW, a vector at a time. */
#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref.h"

/* The scalars of a step, worked out as ref/adam.c does. */
struct rates {
    vec grad_scale, beta1, fresh1, beta2, fresh2, m_unbias, g_unbias, v_unbias, eps, lr, decay;
    bool is_nesterov;
};

static inline struct rates rates_of(const struct adam_step *step, bool is_nesterov)
{
    float ahead = step->beta1 / (1.0f - step->beta1_power * step->beta1);
    float now = 1.0f / (1.0f - step->beta1_power);
    return (struct rates){
        .grad_scale = v_all(step->grad_scale),
        .beta1 = v_all(step->beta1),
        .fresh1 = v_all(1.0f - step->beta1),
        .beta2 = v_all(step->beta2),
        .fresh2 = v_all(1.0f - step->beta2),
        .m_unbias = v_all(is_nesterov ? ahead : now),
        .g_unbias = v_all(now),
        .v_unbias = v_all(1.0f / (1.0f - step->beta2_power)),
        .eps = v_all(step->eps),
        .lr = v_all(step->lr),
        .decay = v_all(step->lr * step->weight_decay),
        .is_nesterov = is_nesterov,
    };
}

static inline vec flush(vec x, float limit)
{
    return v_select(v_less(v_abs(x), v_all(limit)), v_zero(), x);
}

static inline __attribute__((always_inline)) void update(vec *p, vec *m, vec *v, vec g, const struct rates *rate)
{
    vec grad = v_mul(g, rate->grad_scale);
    vec fresh = v_mul(rate->fresh1, grad);
    *m = flush(v_fma(rate->beta1, *m, fresh), REF_FLUSH);
    *v = flush(v_fma(rate->beta2, *v, v_mul(v_mul(rate->fresh2, grad), grad)), REF_FLUSH_SQUARE);
    vec numerator = rate->is_nesterov ? v_fma(*m, rate->m_unbias, v_mul(fresh, rate->g_unbias)) : v_mul(*m, rate->m_unbias);
    vec denominator = v_add(v_sqrt(v_mul(*v, rate->v_unbias)), rate->eps);
    vec kept = v_fnma(rate->decay, *p, *p);
    *p = flush(v_fnma(rate->lr, v_div(numerator, denominator), kept), REF_FLUSH);
}

static inline __attribute__((always_inline)) void update_all(float *p, float *m, float *v, const float *g,
                                                             const struct rates rate, size_t n)
{
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        vec pi = v_load(p + i), mi = v_load(m + i), vi = v_load(v + i);
        update(&pi, &mi, &vi, v_load(g + i), &rate);
        v_store(p + i, pi);
        v_store(m + i, mi);
        v_store(v + i, vi);
    }
    if (i < n) {
        mask some = v_first(n - i);
        vec pi = v_load_part(p + i, some), mi = v_load_part(m + i, some), vi = v_load_part(v + i, some);
        update(&pi, &mi, &vi, v_load_part(g + i, some), &rate);
        v_store_part(p + i, some, pi);
        v_store_part(m + i, some, mi);
        v_store_part(v + i, some, vi);
    }
}

void CPU(adamw)(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n)
{
    update_all(p, m, v, g, rates_of(step, false), n);
}

void CPU(nadamw)(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n)
{
    update_all(p, m, v, g, rates_of(step, true), n);
}
