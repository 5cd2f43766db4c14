/* ref/muon.c - Muon: momentum, then five Newton-Schulz steps towards the nearest semi-orthogonal matrix. */
#include "kernels/ref/muon.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/ref/ref.h"

/* Jordan's quintic a x + b x^3 + c x^5: steep at 0, and it holds singular values within 0.7 to 1.2 rather than at 1. */
#define NS_A 3.4445f
#define NS_B -4.7750f
#define NS_C 2.0315f

static size_t lesser(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t muon_work_floats(size_t M, size_t N)
{
    size_t s = lesser(M, N);
    return 2 * M * N + 2 * s * s;
}

void ref_momentum(float *u, float *m, const float *g, float momentum, float grad_scale, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float grad = g[i] * grad_scale;
        m[i] = ref_flush(fmaf(momentum, m[i], grad), REF_FLUSH);
        u[i] = fmaf(momentum, m[i], grad);
    }
}

void ref_descend(float *p, const float *u, float rate, float decay, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = ref_flush(fmaf(-rate, u[i], fmaf(-decay, p[i], p[i])), REF_FLUSH);
}

/* The largest magnitude; as integers magnitudes are ordered as they are as floats. */
static float largest_of(const float *u, size_t n)
{
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &u[i], sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    float largest;
    memcpy(&largest, &most, sizeof largest);
    return largest;
}

/* Frobenius norm 1, so that no singular value is above it.  The largest magnitude goes first, lest squares vanish or
 * overflow.  False when there is nothing to scale. */
static bool normalize(const struct kernels *k, float *u, size_t n)
{
    float largest = largest_of(u, n);
    if (!(largest >= REF_FLUSH))
        return false;
    for (size_t i = 0; i < n; i++)
        u[i] = u[i] / largest;
    float norm = sqrtf(k->sum_squares(u, n));
    for (size_t i = 0; i < n; i++)
        u[i] = u[i] / norm;
    return true;
}

/* y = a x + (b s + c s s) x with s = x x^T, or the same from the right when x is tall; s is the smaller square. */
static void iterate(const struct kernels *k, float *y, const float *x, float *square, float *fourth, size_t M, size_t N)
{
    bool is_wide = M <= N;
    size_t s = lesser(M, N);
    struct matrix plain = matrix_of(x, N), turned = matrix_transposed(x, N);
    if (is_wide)
        k->matmul(square, s, plain, turned, s, s, N, false);
    else
        k->matmul(square, s, turned, plain, s, s, M, false);
    k->matmul(fourth, s, matrix_of(square, s), matrix_of(square, s), s, s, s, false);
    for (size_t i = 0; i < s * s; i++)
        fourth[i] = fmaf(NS_B, square[i], NS_C * fourth[i]);
    for (size_t i = 0; i < M * N; i++)
        y[i] = NS_A * x[i];
    if (is_wide)
        k->matmul(y, N, matrix_of(fourth, s), plain, M, N, s, true);
    else
        k->matmul(y, N, plain, matrix_of(fourth, s), M, N, s, true);
}

/* The root mean square of a semi-orthogonal matrix falls as it widens towards its outputs: sqrt(max(1, N / M)) makes
 * up for that, M being the inputs and N the outputs. */
void muon_update(const struct kernels *k, float *p, float *m, const float *g, float *work, const struct muon_step *step, size_t M,
                 size_t N)
{
    assert(step->n_iterations >= 0);
    float *x = work, *y = work + M * N;
    float *square = y + M * N, *fourth = square + lesser(M, N) * lesser(M, N);
    k->momentum(x, m, g, step->momentum, step->grad_scale, M * N);
    bool is_turned = normalize(k, x, M * N);
    for (int i = 0; is_turned && i < step->n_iterations; i++) {
        iterate(k, y, x, square, fourth, M, N);
        float *swap = x;
        x = y;
        y = swap;
    }
    float rate = step->lr * (N > M ? sqrtf((float)N / (float)M) : 1.0f);
    k->descend(p, is_turned ? x : p, is_turned ? rate : 0.0f, step->lr * step->weight_decay, M * N);
}
