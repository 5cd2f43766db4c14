/*
 * cpu/sum.c - sums over a row.  The 32 lanes of the definition are SUM_VECS vectors; a lane beyond the end of the row keeps
 * its value, for adding a product of zeros would turn a -0 into +0.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec_math.h"

float CPU(dot)(const float *x, const float *y, size_t n)
{
    vec sum[SUM_VECS];
    for (size_t v = 0; v < SUM_VECS; v++)
        sum[v] = v_zero();
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (size_t v = 0; v < SUM_VECS; v++)
            sum[v] = v_fma(v_load(x + i + v * WIDTH), v_load(y + i + v * WIDTH), sum[v]);
    for (size_t v = 0; i < n; v++, i += WIDTH) {
        mask m = v_first(n - i);
        sum[v] = v_select(m, v_fma(v_load_part(x + i, m), v_load_part(y + i, m), sum[v]), sum[v]);
    }
    return v_lanes_sum(sum);
}

float CPU(sum_squares)(const float *x, size_t n)
{
    return CPU(dot)(x, x, n);
}

static float greatest(const float *x, size_t n)
{
    vec max = v_all(x[0]);
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        max = v_max(v_load(x + i), max);
    if (i < n) {
        mask m = v_first(n - i);
        max = v_select(m, v_max(v_load_part(x + i, m), max), max);
    }
    float lane[WIDTH];
    v_store(lane, max);
    for (size_t l = 1; l < WIDTH; l++)
        lane[0] = lane[l] > lane[0] ? lane[l] : lane[0];
    return lane[0];
}

/* The exponentials of lanes beyond the end are set to +0, which adds nothing to sums that are never -0. */
float CPU(exp_row)(float *e, float *max, const float *x, size_t n)
{
    *max = greatest(x, n);
    vec less = v_all(*max), sum[SUM_VECS];
    for (size_t v = 0; v < SUM_VECS; v++)
        sum[v] = v_zero();
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        for (size_t v = 0; v < SUM_VECS; v++) {
            vec y = v_exp(v_sub(v_load(x + i + v * WIDTH), less));
            if (e)
                v_store(e + i + v * WIDTH, y);
            sum[v] = v_add(sum[v], y);
        }
    }
    for (size_t v = 0; i < n; v++, i += WIDTH) {
        mask m = v_first(n - i);
        vec y = v_select(m, v_exp(v_sub(v_load_part(x + i, m), less)), v_zero());
        if (e)
            v_store_part(e + i, m, y);
        sum[v] = v_add(sum[v], y);
    }
    return v_lanes_sum(sum);
}
