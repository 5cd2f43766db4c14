/* sim/draw.c - random quantities. */
#include "sim/draw.h"

/* -ln of a uniform number in (0, 1].  ln m = 2 atanh((m - 1) / (m + 1)), whose series needs eight terms for m < 2. */
double draw_exponential(struct rng *rng)
{
    uint64_t u = (uint64_t)rng_u32(rng) + 1;
    int k = 63 - __builtin_clzll(u);
    double m = (double)u / (double)(UINT64_C(1) << k);
    double s = (m - 1) / (m + 1), power = s, sum = 0;
    for (int i = 1; i < 17; i += 2, power *= s * s)
        sum += power / i;
    return (double)(32 - k) * 0.69314718055994531 - 2 * sum;
}
