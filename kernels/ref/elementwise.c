/* ref/elementwise.c - what is done to each element by itself. */
#include <math.h>

#include "kernels/ref/math.h"
#include "kernels/ref/ref.h"

void ref_axpy(float *y, float a, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = fmaf(a, x[i], y[i]);
}

void ref_scale(float *y, float a, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = a * x[i];
}

void ref_divide(float *y, const float *x, float a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] / a;
}

void ref_blend(float *y, float a, const float *x, float b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = fmaf(a, x[i], b * y[i]);
}

void ref_sigmoid_each(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = ref_sigmoid(x[i]);
}

void ref_sigmoid_grad(float *g, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        g[i] = g[i] * (y[i] * (1.0f - y[i]));
}

void ref_weigh(float *y, const float *weight, const float *x, size_t R, size_t C)
{
    for (size_t r = 0; r < R; r++)
        for (size_t c = 0; c < C; c++)
            y[r * C + c] = weight[r] * x[r * C + c];
}

void ref_swiglu(float *h, const float *g, const float *u, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h[i] = ref_silu(g[i]) * u[i];
}

/* silu'(g) = s (1 + g (1 - s)), s = sigmoid(g) */
void ref_swiglu_grad(float *gg, float *gu, const float *gh, const float *g, const float *u, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x = g[i], s = ref_sigmoid(x);
        float slope = s * fmaf(x, 1.0f - s, 1.0f);
        float by_gate = (gh[i] * u[i]) * slope;
        gu[i] = gh[i] * (x * s);
        gg[i] = by_gate;
    }
}
