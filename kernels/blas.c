/* kernels/blas.c - products by OpenBLAS, where bits need no proof. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "base/log.h"
#include "kernels/kernels.h"

#ifdef HAVE_OPENBLAS
#include <cblas.h>

/* BLAS wants a row-major operand as it lies or transposed, and a leading dimension of at least 1. */
static int leading(struct matrix m)
{
    size_t ld = m.col == 1 ? m.row : m.col;
    return ld ? (int)ld : 1;
}

static void blas_matmul(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate)
{
    if (M == 0 || N == 0)
        return;
    cblas_sgemm(CblasRowMajor, a.col == 1 ? CblasNoTrans : CblasTrans, b.col == 1 ? CblasNoTrans : CblasTrans, (int)M, (int)N,
                (int)K, 1.0f, a.at, leading(a), b.at, leading(b), accumulate ? 1.0f : 0.0f, c, (int)ldc);
}

int kernels_with_blas(const struct kernels *base, struct kernels *out)
{
    openblas_set_num_threads(1); /* our threads are the parallelism; its own would fight them */
    *out = *base;
    out->matmul = blas_matmul;
    return 0;
}
#else
int kernels_with_blas(const struct kernels *base, struct kernels *out)
{
    (void)base;
    (void)out;
    log_error("openblas: not in this build; configure where libopenblas-dev is installed, or leave products to our kernels");
    return HANSE_EUNSUPPORTED;
}
#endif
