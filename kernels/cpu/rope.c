/* cpu/rope.c - rotary position embedding, a vector of pairs at a time. */
#include "kernels/cpu/cpu.h"

/* Pairs i.. of one head, as many as the mask says. */
static inline void turn(float *first, float *second, vec c, vec s, mask m)
{
    vec a = v_load_part(first, m), b = v_load_part(second, m);
    v_store_part(first, m, v_fma(a, c, v_neg(v_mul(b, s))));
    v_store_part(second, m, v_fma(b, c, v_mul(a, s)));
}

static inline void turn_whole(float *first, float *second, vec c, vec s)
{
    vec a = v_load(first), b = v_load(second);
    v_store(first, v_fma(a, c, v_neg(v_mul(b, s))));
    v_store(second, v_fma(b, c, v_mul(a, s)));
}

static void turn_row(float *x, const float *cosine, const float *sine, vec sign, size_t n_heads, size_t hd)
{
    size_t half = hd / 2, i = 0;
    for (; i + WIDTH <= half; i += WIDTH) {
        vec c = v_load(cosine + i), s = v_mul(v_load(sine + i), sign);
        for (size_t head = 0; head < n_heads; head++)
            turn_whole(x + head * hd + i, x + head * hd + half + i, c, s);
    }
    if (i == half)
        return;
    mask m = v_first(half - i);
    vec c = v_load_part(cosine + i, m), s = v_mul(v_load_part(sine + i, m), sign);
    for (size_t head = 0; head < n_heads; head++)
        turn(x + head * hd + i, x + head * hd + half + i, c, s, m);
}

void CPU(rope)(float *x, const float *cosine, const float *sine, bool inverse, size_t R, size_t T, size_t n_heads, size_t hd)
{
    vec sign = v_all(inverse ? -1.0f : 1.0f); /* a product with it is exact */
    for (size_t r = 0; r < R; r++) {
        size_t at = r % T * (hd / 2);
        turn_row(x + r * n_heads * hd, cosine + at, sine + at, sign, n_heads, hd);
    }
}
