/* ref/muon.c - Muon: momentum, then five Newton-Schulz steps towards the nearest semi-orthogonal matrix. */
#include "kernels/ref/muon.h"

#include <assert.h>
#include <math.h>

#include "kernels/ref/ref.h"

/* Jordan's quintic a x + b x^3 + c x^5: steep at 0, and it holds singular values within 0.7 to 1.2 rather than at 1. */
#define NS_A 3.4445f
#define NS_B -4.7750f
#define NS_C 2.0315f

/* Rows of a symmetric product that are worked out at a time: fewer leave out more of it, and copy its right side more often. */
#define ROWS_MIN ((size_t)32)
#define ROWS_MAX ((size_t)96)
#define REFLECTED ((size_t)16)

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

/* Frobenius norm 1, so that no singular value is above it.  The largest magnitude goes first, lest squares vanish or
 * overflow.  False when there is nothing to scale. */
static bool normalize(const struct kernels *k, float *u, size_t n)
{
    float largest = k->largest(u, n);
    if (!(largest >= REF_FLUSH))
        return false;
    k->divide(u, u, largest, n);
    float norm = sqrtf(k->sum_squares(u, n));
    k->divide(u, u, norm, n);
    return true;
}

/* The lower half is the upper one's reflection; in squares, so that what is read and written stays at hand. */
static void reflect(float *s, size_t n)
{
    for (size_t i = 0; i < n; i += REFLECTED)
        for (size_t j = i; j < n; j += REFLECTED)
            for (size_t row = i; row < i + REFLECTED && row < n; row++)
                for (size_t column = row < j ? j : row + 1; column < j + REFLECTED && column < n; column++)
                    s[column * n + row] = s[row * n + column];
}

/* s (n, n) = a b for factors whose product is symmetric: outputs (i, j) and (j, i) are chains of the same products of the same
 * numbers in the same order, so one of them is worked out.  A device works out both, since half of a product hardly fills it, and
 * has the same bits. */
static void symmetric(const struct kernels *k, float *s, struct matrix a, struct matrix b, size_t n, size_t K)
{
    if (k->is_device) {
        k->matmul(s, n, a, b, n, n, K, false);
        return;
    }
    size_t n_rows = n / 4 < ROWS_MIN ? ROWS_MIN : n / 4 > ROWS_MAX ? ROWS_MAX : n / 4;
    for (size_t i = 0; i < n; i += n_rows) {
        struct matrix rows = {a.at + i * a.row, a.row, a.col}, columns = {b.at + i * b.col, b.row, b.col};
        k->matmul(s + i * n + i, n, rows, columns, lesser(n_rows, n - i), n - i, K, false);
    }
    reflect(s, n);
}

/* y = a x + (b s + c s s) x with s = x x^T, or the same from the right when x is tall; s is the smaller square. */
static void iterate(const struct kernels *k, float *y, const float *x, float *square, float *fourth, size_t M, size_t N)
{
    bool is_wide = M <= N;
    size_t s = lesser(M, N);
    struct matrix plain = matrix_of(x, N), turned = matrix_transposed(x, N);
    if (is_wide)
        symmetric(k, square, plain, turned, s, N);
    else
        symmetric(k, square, turned, plain, s, M);
    symmetric(k, fourth, matrix_of(square, s), matrix_of(square, s), s, s);
    k->blend(fourth, NS_B, square, NS_C, s * s);
    k->scale(y, NS_A, x, M * N);
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
