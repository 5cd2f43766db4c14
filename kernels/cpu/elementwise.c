/* cpu/elementwise.c - what is done to each element by itself: whole vectors, then one with a mask. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec_math.h"

void CPU(axpy)(float *y, float a, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        v_store(y + i, v_fma(v_all(a), v_load(x + i), v_load(y + i)));
    if (i < n) {
        mask m = v_first(n - i);
        v_store_part(y + i, m, v_fma(v_all(a), v_load_part(x + i, m), v_load_part(y + i, m)));
    }
}

void CPU(scale)(float *y, float a, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        v_store(y + i, v_mul(v_all(a), v_load(x + i)));
    if (i < n) {
        mask m = v_first(n - i);
        v_store_part(y + i, m, v_mul(v_all(a), v_load_part(x + i, m)));
    }
}

void CPU(divide)(float *y, const float *x, float a, size_t n)
{
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        v_store(y + i, v_div(v_load(x + i), v_all(a)));
    if (i < n) {
        mask m = v_first(n - i);
        v_store_part(y + i, m, v_div(v_load_part(x + i, m), v_all(a)));
    }
}

void CPU(blend)(float *y, float a, const float *x, float b, size_t n)
{
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        v_store(y + i, v_fma(v_all(a), v_load(x + i), v_mul(v_all(b), v_load(y + i))));
    if (i < n) {
        mask m = v_first(n - i);
        v_store_part(y + i, m, v_fma(v_all(a), v_load_part(x + i, m), v_mul(v_all(b), v_load_part(y + i, m))));
    }
}

void CPU(sigmoid)(float *y, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        v_store(y + i, v_sigmoid(v_load(x + i)));
    if (i < n) {
        mask m = v_first(n - i);
        v_store_part(y + i, m, v_sigmoid(v_load_part(x + i, m)));
    }
}

static inline vec swiglu(vec g, vec u)
{
    return v_mul(v_mul(g, v_sigmoid(g)), u);
}

void CPU(swiglu)(float *h, const float *g, const float *u, size_t n)
{
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        v_store(h + i, swiglu(v_load(g + i), v_load(u + i)));
    if (i < n) {
        mask m = v_first(n - i);
        v_store_part(h + i, m, swiglu(v_load_part(g + i, m), v_load_part(u + i, m)));
    }
}

static inline void swiglu_grad(vec *gg, vec *gu, vec gh, vec g, vec u)
{
    vec one = v_all(1.0f), s = v_sigmoid(g);
    vec slope = v_mul(s, v_fma(g, v_sub(one, s), one));
    *gg = v_mul(v_mul(gh, u), slope);
    *gu = v_mul(gh, v_mul(g, s));
}

void CPU(swiglu_grad)(float *gg, float *gu, const float *gh, const float *g, const float *u, size_t n)
{
    size_t i = 0;
    vec by_gate, by_up;
    for (; i + WIDTH <= n; i += WIDTH) {
        swiglu_grad(&by_gate, &by_up, v_load(gh + i), v_load(g + i), v_load(u + i));
        v_store(gg + i, by_gate);
        v_store(gu + i, by_up);
    }
    if (i < n) {
        mask m = v_first(n - i);
        swiglu_grad(&by_gate, &by_up, v_load_part(gh + i, m), v_load_part(g + i, m), v_load_part(u + i, m));
        v_store_part(gg + i, m, by_gate);
        v_store_part(gu + i, m, by_up);
    }
}
