/* ref/rmsnorm.c - root mean square normalization and its gradient. */
#include <math.h>

#include "kernels/ref/math.h"
#include "kernels/ref/ref.h"

void ref_rmsnorm(float *y, float *rstd, const float *x, const float *gain, float eps, size_t R, size_t D)
{
    for (size_t r = 0; r < R; r++) {
        const float *row = x + r * D;
        rstd[r] = ref_rsqrt(ref_dot(row, row, D) / (float)D + eps);
        for (size_t i = 0; i < D; i++)
            y[r * D + i] = gain ? (row[i] * rstd[r]) * gain[i] : row[i] * rstd[r];
    }
}

/* With w = gy gain:  gx = rstd (w - x rstd^2 <w, x> / D),  ggain = sum over rows of gy x rstd. */
void ref_rmsnorm_grad(float *gx, float *ggain, const float *gy, const float *x, const float *rstd, const float *gain, size_t R,
                      size_t D)
{
    for (size_t r = 0; r < R; r++) {
        float lane[REF_LANES] = {0};
        for (size_t i = 0; i < D; i++) {
            float w = gain ? gy[r * D + i] * gain[i] : gy[r * D + i];
            lane[i % REF_LANES] = fmaf(w, x[r * D + i], lane[i % REF_LANES]);
        }
        float s = rstd[r];
        float c = (ref_lanes_sum(lane) / (float)D) * (s * s);
        for (size_t i = 0; i < D; i++) {
            float g = gy[r * D + i];
            float w = gain ? g * gain[i] : g;
            if (ggain)
                ggain[i] = fmaf(g, x[r * D + i] * s, ggain[i]);
            gx[r * D + i] = s * fmaf(-c, x[r * D + i], w);
        }
    }
}
