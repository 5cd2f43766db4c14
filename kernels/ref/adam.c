/* ref/adam.c - AdamW and NAdamW, an element at a time. */
#include <math.h>

#include "kernels/ref/ref.h"

float ref_flush(float x, float limit)
{
    return fabsf(x) < limit ? 0.0f : x;
}

/* p without decay, then one fmaf of the step; NaN is kept as it is. */
static float moved(float p, float numerator, float v, float v_unbias, const struct adam_step *step)
{
    float denominator = sqrtf(v * v_unbias) + step->eps;
    float kept = fmaf(-(step->lr * step->weight_decay), p, p);
    return ref_flush(fmaf(-step->lr, numerator / denominator, kept), REF_FLUSH);
}

void ref_adamw(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n)
{
    float m_unbias = 1.0f / (1.0f - step->beta1_power);
    float v_unbias = 1.0f / (1.0f - step->beta2_power);
    for (size_t i = 0; i < n; i++) {
        float grad = g[i] * step->grad_scale;
        float fresh = (1.0f - step->beta1) * grad;
        m[i] = ref_flush(fmaf(step->beta1, m[i], fresh), REF_FLUSH);
        v[i] = ref_flush(fmaf(step->beta2, v[i], ((1.0f - step->beta2) * grad) * grad), REF_FLUSH_SQUARE);
        p[i] = moved(p[i], m[i] * m_unbias, v[i], v_unbias, step);
    }
}

/* The moment is looked at one step ahead: beta1 m / (1 - beta1^(t+1)) + (1 - beta1) g / (1 - beta1^t). */
void ref_nadamw(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n)
{
    float m_unbias = step->beta1 / (1.0f - step->beta1_power * step->beta1);
    float g_unbias = 1.0f / (1.0f - step->beta1_power);
    float v_unbias = 1.0f / (1.0f - step->beta2_power);
    for (size_t i = 0; i < n; i++) {
        float grad = g[i] * step->grad_scale;
        float fresh = (1.0f - step->beta1) * grad;
        m[i] = ref_flush(fmaf(step->beta1, m[i], fresh), REF_FLUSH);
        v[i] = ref_flush(fmaf(step->beta2, v[i], ((1.0f - step->beta2) * grad) * grad), REF_FLUSH_SQUARE);
        p[i] = moved(p[i], fmaf(m[i], m_unbias, fresh * g_unbias), v[i], v_unbias, step);
    }
}
