/*
 * cpu/sum.c - sums over a row.  The 32 lanes of the definition are SUM_VECS vectors; a lane beyond the end of the row keeps
 * its value, for adding a product of zeros would turn a -0 into +0.  Loops over SUM_VECS are unrolled by order: left to
 * itself the compiler keeps `sum` in memory and waits for it.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec_math.h"

float CPU(dot)(const float *x, const float *y, size_t n)
{
    vec sum[SUM_VECS];
#pragma GCC unroll 8
    for (size_t v = 0; v < SUM_VECS; v++)
        sum[v] = v_zero();
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
#pragma GCC unroll 8
        for (size_t v = 0; v < SUM_VECS; v++)
            sum[v] = v_fma(v_load(x + i + v * WIDTH), v_load(y + i + v * WIDTH), sum[v]);
#pragma GCC unroll 8
    for (size_t v = 0; v < SUM_VECS && i < n; v++, i += WIDTH) {
        mask m = v_first(n - i);
        sum[v] = v_select(m, v_fma(v_load_part(x + i, m), v_load_part(y + i, m), sum[v]), sum[v]);
    }
    return v_lanes_sum(sum);
}

/* The tree of ref/sum.c; its upper levels are a 4096th of the work. */
float CPU(sum_squares)(const float *x, size_t n)
{
    if (n <= SUM_PIECE)
        return CPU(dot)(x, x, n);
    size_t piece = SUM_PIECE;
    while ((n - 1) / piece >= SUM_PIECE)
        piece *= SUM_PIECE;
    float lane[SUM_VECS * WIDTH] = {0};
    for (size_t i = 0; i * piece < n; i++) {
        size_t rest = n - i * piece;
        lane[i % (SUM_VECS * WIDTH)] += CPU(sum_squares)(x + i * piece, rest < piece ? rest : piece);
    }
    vec sum[SUM_VECS];
    for (size_t v = 0; v < SUM_VECS; v++)
        sum[v] = v_load(lane + v * WIDTH);
    return v_lanes_sum(sum);
}

/* Four running maxima, so that one does not wait for the other. */
static float greatest(const float *x, size_t n)
{
    vec first = v_all(x[0]), second = first, third = first, fourth = first;
    size_t i = 0;
    for (; i + 4 * WIDTH <= n; i += 4 * WIDTH) {
        first = v_max(v_load(x + i), first);
        second = v_max(v_load(x + i + WIDTH), second);
        third = v_max(v_load(x + i + 2 * WIDTH), third);
        fourth = v_max(v_load(x + i + 3 * WIDTH), fourth);
    }
    for (; i < n; i += WIDTH) {
        mask m = v_first(n - i);
        first = v_select(m, v_max(v_load_part(x + i, m), first), first);
    }
    return v_greatest(v_max(v_max(first, second), v_max(third, fourth)));
}

/* The exponentials of lanes beyond the end are set to +0, which adds nothing to sums that are never -0. */
float CPU(exp_row)(float *e, float *max, const float *x, size_t n)
{
    *max = greatest(x, n);
    vec less = v_all(*max), sum[SUM_VECS];
#pragma GCC unroll 8
    for (size_t v = 0; v < SUM_VECS; v++)
        sum[v] = v_zero();
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
#pragma GCC unroll 8
        for (size_t v = 0; v < SUM_VECS; v++) {
            vec y = v_exp(v_sub(v_load(x + i + v * WIDTH), less));
            if (e)
                v_store(e + i + v * WIDTH, y);
            sum[v] = v_add(sum[v], y);
        }
    }
#pragma GCC unroll 8
    for (size_t v = 0; v < SUM_VECS && i < n; v++, i += WIDTH) {
        mask m = v_first(n - i);
        vec y = v_select(m, v_exp(v_sub(v_load_part(x + i, m), less)), v_zero());
        if (e)
            v_store_part(e + i, m, y);
        sum[v] = v_add(sum[v], y);
    }
    return v_lanes_sum(sum);
}
