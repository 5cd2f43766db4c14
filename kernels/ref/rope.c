/* ref/rope.c - rotary position embedding and its table. */
#include <math.h>

#include "kernels/ref/math.h"
#include "kernels/ref/ref.h"
#include "kernels/ref/rope_table.h"

void ref_rope(float *x, const float *cosine, const float *sine, bool inverse, size_t R, size_t T, size_t n_heads, size_t hd)
{
    size_t half = hd / 2;
    for (size_t r = 0; r < R; r++) {
        for (size_t head = 0; head < n_heads; head++) {
            float *first = x + (r * n_heads + head) * hd, *second = first + half;
            for (size_t i = 0; i < half; i++) {
                float a = first[i], b = second[i], c = cosine[r % T * half + i], s = sine[r % T * half + i];
                if (inverse)
                    s = -s;
                first[i] = fmaf(a, c, -(b * s));
                second[i] = fmaf(b, c, a * s);
            }
        }
    }
}

void ref_rope_table(float *cosine, float *sine, float theta, size_t T, size_t hd)
{
    size_t half = hd / 2;
    float log_theta = ref_log(theta);
    for (size_t i = 0; i < half; i++) {
        float turn = ref_exp(-((float)(2 * i) / (float)hd) * log_theta);
        for (size_t t = 0; t < T; t++)
            ref_sincos(&sine[t * half + i], &cosine[t * half + i], (float)t * turn);
    }
}
