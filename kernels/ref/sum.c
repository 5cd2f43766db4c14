/* ref/sum.c - sums over a row: 32 lanes side by side, then a tree; of a long vector, a tree of such sums. */
#include <math.h>

#include "kernels/ref/math.h"
#include "kernels/ref/ref.h"

float ref_lanes_sum(float lane[REF_LANES])
{
    for (size_t half = REF_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lane[l] = lane[l] + lane[l + half];
    return lane[0];
}

float ref_dot(const float *x, const float *y, size_t n)
{
    float lane[REF_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lane[i % REF_LANES] = fmaf(x[i], y[i], lane[i % REF_LANES]);
    return ref_lanes_sum(lane);
}

/* From the top: a piece is the greatest power of SUM_PIECE below n.  The last one may be so short that its tree has fewer levels,
 * which does not show: the row sum of one value, never -0 here, is that value. */
float ref_sum_squares(const float *x, size_t n)
{
    if (n <= SUM_PIECE)
        return ref_dot(x, x, n);
    size_t piece = SUM_PIECE;
    while ((n - 1) / piece >= SUM_PIECE)
        piece *= SUM_PIECE;
    float lane[REF_LANES] = {0};
    for (size_t i = 0; i * piece < n; i++) {
        size_t rest = n - i * piece;
        lane[i % REF_LANES] = lane[i % REF_LANES] + ref_sum_squares(x + i * piece, rest < piece ? rest : piece);
    }
    return ref_lanes_sum(lane);
}

/* The maximum by comparison: which of equal values wins does not show, since both give the same x - max. */
float ref_exp_row(float *e, float *max, const float *x, size_t n)
{
    *max = x[0];
    for (size_t i = 1; i < n; i++)
        *max = x[i] > *max ? x[i] : *max;
    float lane[REF_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        e[i] = ref_exp(x[i] - *max);
        lane[i % REF_LANES] = lane[i % REF_LANES] + e[i];
    }
    return ref_lanes_sum(lane);
}
