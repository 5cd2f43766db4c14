/* cpu/muon.c - what Muon does to each element, a vector at a time; its products are matmul's. */
#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref.h"

static inline vec flush(vec x)
{
    return v_select(v_less(v_abs(x), v_all(REF_FLUSH)), v_zero(), x);
}

void CPU(momentum)(float *u, float *m, const float *g, float momentum, float grad_scale, size_t n)
{
    vec keep = v_all(momentum), scale = v_all(grad_scale);
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        vec grad = v_mul(v_load(g + i), scale);
        vec mi = flush(v_fma(keep, v_load(m + i), grad));
        v_store(m + i, mi);
        v_store(u + i, v_fma(keep, mi, grad));
    }
    if (i < n) {
        mask some = v_first(n - i);
        vec grad = v_mul(v_load_part(g + i, some), scale);
        vec mi = flush(v_fma(keep, v_load_part(m + i, some), grad));
        v_store_part(m + i, some, mi);
        v_store_part(u + i, some, v_fma(keep, mi, grad));
    }
}

void CPU(descend)(float *p, const float *u, float rate, float decay, size_t n)
{
    vec r = v_all(rate), d = v_all(decay);
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        vec pi = v_load(p + i);
        v_store(p + i, flush(v_fnma(r, v_load(u + i), v_fnma(d, pi, pi))));
    }
    if (i < n) {
        mask some = v_first(n - i);
        vec pi = v_load_part(p + i, some);
        v_store_part(p + i, some, flush(v_fnma(r, v_load_part(u + i, some), v_fnma(d, pi, pi))));
    }
}
