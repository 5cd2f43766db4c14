/* cpu/rmsnorm.c - root mean square normalization and its gradient. */
#include <math.h>

#include "kernels/cpu/cpu.h"

static void normalize(float *y, float s, const float *x, const float *gain, size_t D)
{
    vec rstd = v_all(s);
    size_t i = 0;
    for (; i + WIDTH <= D; i += WIDTH) {
        vec z = v_mul(v_load(x + i), rstd);
        v_store(y + i, gain ? v_mul(z, v_load(gain + i)) : z);
    }
    if (i < D) {
        mask m = v_first(D - i);
        vec z = v_mul(v_load_part(x + i, m), rstd);
        v_store_part(y + i, m, gain ? v_mul(z, v_load_part(gain + i, m)) : z);
    }
}

void CPU(rmsnorm)(float *y, float *rstd, const float *x, const float *gain, float eps, size_t R, size_t D)
{
    for (size_t r = 0; r < R; r++) {
        rstd[r] = 1.0f / sqrtf(CPU(dot)(x + r * D, x + r * D, D) / (float)D + eps);
        normalize(y + r * D, rstd[r], x + r * D, gain, D);
    }
}

/* <gy gain, x> as a row sum */
static float weighted_dot(const float *gy, const float *gain, const float *x, size_t D)
{
    vec sum[SUM_VECS];
#pragma GCC unroll 8
    for (size_t v = 0; v < SUM_VECS; v++)
        sum[v] = v_zero();
    size_t i = 0;
    for (; i + 32 <= D; i += 32) {
#pragma GCC unroll 8
        for (size_t v = 0; v < SUM_VECS; v++) {
            vec w = v_mul(v_load(gy + i + v * WIDTH), v_load(gain + i + v * WIDTH));
            sum[v] = v_fma(w, v_load(x + i + v * WIDTH), sum[v]);
        }
    }
#pragma GCC unroll 8
    for (size_t v = 0; v < SUM_VECS && i < D; v++, i += WIDTH) {
        mask m = v_first(D - i);
        vec w = v_mul(v_load_part(gy + i, m), v_load_part(gain + i, m));
        sum[v] = v_select(m, v_fma(w, v_load_part(x + i, m), sum[v]), sum[v]);
    }
    return v_lanes_sum(sum);
}

/* The elements i.. of a row, as many as the mask says. */
static inline void grad_part(float *gx, float *ggain, const float *gy, const float *x, const float *gain, vec s, vec c, mask m)
{
    vec g = v_load_part(gy, m), at = v_load_part(x, m);
    vec w = gain ? v_mul(g, v_load_part(gain, m)) : g;
    if (ggain)
        v_store_part(ggain, m, v_fma(g, v_mul(at, s), v_load_part(ggain, m)));
    v_store_part(gx, m, v_mul(s, v_fnma(c, at, w)));
}

static inline void grad_whole(float *gx, float *ggain, const float *gy, const float *x, const float *gain, vec s, vec c)
{
    vec g = v_load(gy), at = v_load(x);
    vec w = gain ? v_mul(g, v_load(gain)) : g;
    if (ggain)
        v_store(ggain, v_fma(g, v_mul(at, s), v_load(ggain)));
    v_store(gx, v_mul(s, v_fnma(c, at, w)));
}

void CPU(rmsnorm_grad)(float *gx, float *ggain, const float *gy, const float *x, const float *rstd, const float *gain, size_t R,
                       size_t D)
{
    for (size_t r = 0; r < R; r++, gx += D, gy += D, x += D) {
        float s = rstd[r];
        float sum = gain ? weighted_dot(gy, gain, x, D) : CPU(dot)(gy, x, D);
        float c = (sum / (float)D) * (s * s);
        size_t i = 0;
        for (; i + WIDTH <= D; i += WIDTH)
            grad_whole(gx + i, ggain ? ggain + i : NULL, gy + i, x + i, gain ? gain + i : NULL, v_all(s), v_all(c));
        if (i < D)
            grad_part(gx + i, ggain ? ggain + i : NULL, gy + i, x + i, gain ? gain + i : NULL, v_all(s), v_all(c),
                      v_first(D - i));
    }
}
