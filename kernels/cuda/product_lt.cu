/* cuda/product_lt.cu - exact-integer products by cuBLASLt: int8 into int32 in memory, then one pass that combines and rounds. */
#include "kernels/cuda/lt.h"
#include "kernels/cuda/product_i8.h"

#define SUMS_SCRATCH 2
#define SUMS_MOST ((size_t)32 << 20) /* bytes of sums at a time, rather the chip's second cache than its memory */
#define THREADS 256

/* Sums (M, ld) of a product's rows: high by high, and the cross terms. */
struct sums {
    int32_t *high, *cross;
    size_t ld;
};

template <int S> static __global__ void combine(struct product p, struct sums sums)
{
    size_t j = blockIdx.x * (size_t)THREADS + threadIdx.x;
    if (j >= p.N)
        return;
    int eb = p.b_exponent ? p.b_exponent[j] : 0;
    for (size_t i = blockIdx.y; i < p.M; i += gridDim.y) {
        size_t at = i * sums.ld + j;
        float z = S == 2 ? product_float(sums.high[at], sums.cross[at]) : product_float(sums.high[at]);
        float *c = p.c + i * p.ldc + j;
        *c = __fmaf_rn(z, product_scale(p.a_exponent ? p.a_exponent[i] : 0, eb, S == 2), p.accumulate ? *c : 0.0f);
    }
}

static size_t up_to(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* One product of slices in the library's terms, for all columns that b has. */
static struct lt_product slices_of(const struct product *p, const int8_t *a, const int8_t *b, int32_t *c, bool accumulate)
{
    size_t n = up_to(p->N, PRODUCT_N_PAD);
    return {LT_I8, c, n, {a, p->lda, false}, {b, p->ldb, true}, p->M, n, p->K, accumulate};
}

static struct product rows_of(const struct product *p, size_t first, size_t n)
{
    struct product rows = *p;
    rows.M = n;
    rows.c += first * p->ldc;
    rows.a_high += first * p->lda;
    if (p->a_low)
        rows.a_low += first * p->lda;
    if (p->a_exponent)
        rows.a_exponent += first;
    return rows;
}

static size_t rows_at_a_time(const struct product *p)
{
    size_t most = SUMS_MOST / (up_to(p->N, PRODUCT_N_PAD) * 2 * sizeof(int32_t)) / 128 * 128;
    return most < 128 ? 128 : most < p->M ? most : p->M;
}

/* Outputs are those of rows, or of weights. */
size_t product_lt_bytes(size_t n_rows, size_t width)
{
    size_t row_bytes = up_to(width, PRODUCT_N_PAD) * 2 * sizeof(int32_t), M = n_rows > width ? n_rows : width;
    size_t sums = M * row_bytes < SUMS_MOST ? M * row_bytes : SUMS_MOST;
    sums = sums < 128 * row_bytes ? 128 * row_bytes : sums;
    return cuda_scratch_bytes(sums) + cuda_scratch_bytes(LT_WORKSPACE_MOST);
}

/* Rows of K that end on 16 bytes, since it reads whole vectors; one part, since sums go through memory. */
static bool works(const struct product *p)
{
    if (p->K % 16 != 0 || p->K > p->part || !lt_is_here())
        return false;
    struct product rows = rows_of(p, 0, rows_at_a_time(p)), rest = rows_of(p, 0, p->M % rows.M);
    struct lt_product one = slices_of(&rows, p->a_high, p->b_high, (int32_t *)256, false);
    struct lt_product last = slices_of(&rest, p->a_high, p->b_high, (int32_t *)256, false);
    return lt_can(&one) && (rest.M == 0 || lt_can(&last));
}

static bool multiply_rows(const struct product *p, const struct sums *sums)
{
    struct lt_product high = slices_of(p, p->a_high, p->b_high, sums->high, false);
    if (!lt_multiply(&high))
        return false;
    dim3 grid((unsigned)cuda_parts(p->N, THREADS), (unsigned)(p->M < 65535 ? p->M : 65535));
    if (!p->a_low) {
        CUDA_LAUNCH((combine<1>), grid, THREADS, 0, *p, *sums);
        return true;
    }
    struct lt_product first = slices_of(p, p->a_high, p->b_low, sums->cross, false);
    struct lt_product second = slices_of(p, p->a_low, p->b_high, sums->cross, true);
    if (!lt_multiply(&first) || !lt_multiply(&second))
        return false;
    CUDA_LAUNCH((combine<2>), grid, THREADS, 0, *p, *sums);
    return true;
}

static void multiply(const struct product *p)
{
    size_t some = rows_at_a_time(p), ld = up_to(p->N, PRODUCT_N_PAD);
    int32_t *memory = (int32_t *)cuda_scratch(SUMS_SCRATCH, 2 * some * ld * sizeof *memory);
    struct sums sums = {memory, memory + some * ld, ld};
    bool is_ok = memory != NULL;
    for (size_t i = 0; is_ok && i < p->M; i += some) {
        struct product rows = rows_of(p, i, p->M - i < some ? p->M - i : some);
        is_ok = multiply_rows(&rows, &sums);
    }
    if (memory && !is_ok)
        cuda_note(cudaErrorNotSupported, "a product by cuBLASLt");
}

const struct product_variant product_lt = {"lt", 75, 0, works, multiply};
