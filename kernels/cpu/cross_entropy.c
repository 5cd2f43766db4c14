/* cpu/cross_entropy.c - the loss of a token and its gradient. */
#include <assert.h>

#include "kernels/cpu/cpu.h"
#include "kernels/ref/math.h"

/* x = (x inverse) scale */
static void scale_twice(float *x, float inverse, float scale, size_t n)
{
    vec a = v_all(inverse), b = v_all(scale);
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        v_store(x + i, v_mul(v_mul(v_load(x + i), a), b));
    if (i < n) {
        mask m = v_first(n - i);
        v_store_part(x + i, m, v_mul(v_mul(v_load_part(x + i, m), a), b));
    }
}

void CPU(cross_entropy)(float *loss, float *glogit, const float *logit, const int32_t *target, float grad_scale, size_t R,
                        size_t V)
{
    for (size_t r = 0; r < R; r++) {
        assert(target[r] >= 0 && (size_t)target[r] < V);
        float *e = glogit ? glogit + r * V : NULL;
        size_t t = (size_t)target[r];
        float max, x_target = logit[r * V + t];
        float sum = CPU(exp_row)(e, &max, logit + r * V, V);
        loss[r] = ref_log(sum) - (x_target - max);
        if (!e)
            continue;
        float inverse = 1.0f / sum, of_target = (e[t] * inverse - 1.0f) * grad_scale;
        scale_twice(e, inverse, grad_scale, V);
        e[t] = of_target;
    }
}
