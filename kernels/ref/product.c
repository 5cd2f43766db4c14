/* ref/product.c - the matrix product: one chain of fmaf an output. */
#include <math.h>

#include "kernels/ref/ref.h"

static float at(struct matrix m, size_t i, size_t j)
{
    return m.at[i * m.row + j * m.col];
}

void ref_matmul(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate)
{
    for (size_t i = 0; i < M; i++) {
        for (size_t j = 0; j < N; j++) {
            float sum = accumulate ? c[i * ldc + j] : 0.0f;
            for (size_t k = 0; k < K; k++)
                sum = fmaf(at(a, i, k), at(b, k, j), sum);
            c[i * ldc + j] = sum;
        }
    }
}
