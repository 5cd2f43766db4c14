/* ref/init.c - normal values from Philox by Box and Muller's transform. */
#include "kernels/ref/init.h"

#include <math.h>

#include "base/random.h"
#include "kernels/ref/constants.h"
#include "kernels/ref/math.h"

#define CUT 3.0f

/* A block of four words gives two tries; the attempt number stands in the third word of the counter. */
static float normal(const uint32_t key[2], uint64_t i)
{
    for (uint32_t attempt = 0;; attempt++) {
        uint32_t counter[4] = {(uint32_t)i, (uint32_t)(i >> 32), attempt, 0}, word[4];
        random_philox(word, counter, key);
        for (int half = 0; half < 4; half += 2) {
            float u = (float)((word[half] >> 9) * 2 + 1) * 0x1p-24f; /* in (0, 1), never either end */
            float turn = (float)(word[half + 1] >> 8) * 0x1p-24f;
            float sine, cosine;
            ref_sincos(&sine, &cosine, TWO_PI * turn);
            float x = sqrtf(-2.0f * ref_log(u)) * cosine;
            if (fabsf(x) <= CUT)
                return x;
        }
    }
}

void ref_init_normal(float *x, const uint32_t key[2], float std, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = normal(key, i) * std;
}
