/* ref/cross_entropy.c - the loss of a token and its gradient. */
#include <assert.h>

#include "kernels/ref/math.h"
#include "kernels/ref/ref.h"

/* loss = log(sum of e^(x - max)) - (x_target - max); without a gradient the exponentials go nowhere. */
static float sum_alone(float *max, const float *x, size_t V)
{
    *max = x[0];
    for (size_t j = 1; j < V; j++)
        *max = x[j] > *max ? x[j] : *max;
    float lane[REF_LANES] = {0};
    for (size_t j = 0; j < V; j++)
        lane[j % REF_LANES] = lane[j % REF_LANES] + ref_exp(x[j] - *max);
    return ref_lanes_sum(lane);
}

void ref_cross_entropy(float *loss, float *glogit, const float *logit, const int32_t *target, float grad_scale, size_t R,
                       size_t V)
{
    for (size_t r = 0; r < R; r++) {
        const float *x = logit + r * V;
        assert(target[r] >= 0 && (size_t)target[r] < V);
        size_t t = (size_t)target[r];
        float max, x_target = x[t];
        float sum = glogit ? ref_exp_row(glogit + r * V, &max, x, V) : sum_alone(&max, x, V);
        loss[r] = ref_log(sum) - (x_target - max);
        if (!glogit)
            continue;
        float inverse = 1.0f / sum;
        for (size_t j = 0; j < V; j++) {
            float p = glogit[r * V + j] * inverse;
            glogit[r * V + j] = (j == t ? p - 1.0f : p) * grad_scale;
        }
    }
}
