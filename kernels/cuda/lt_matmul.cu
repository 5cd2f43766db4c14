/* cuda/lt_matmul.cu - products of floats by cuBLASLt: in bf16 for where bits need no proof, and sgemm, to compare with. */
#include "kernels/cuda/lt.h"
#include "kernels/cuda/ops.h"

extern "C" {
#include "base/log.h"
#include "kernels/device.h"
}

#define THREADS 256
#define SCRATCH_A 0
#define SCRATCH_B 1
#define VECTOR 8 /* of bf16: 16 bytes */

/* Rows of floats on their way to bf16. */
struct halved {
    uint16_t *to;
    const float *from;
    size_t rows, columns, from_ld, to_ld; /* to_ld is a multiple of VECTOR */
};

/* To nearest even; NaN stays NaN. */
static __device__ __forceinline__ uint32_t bf16_of(float x)
{
    uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return bits >> 16 | 0x40;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static __device__ __forceinline__ void halve(const struct halved *x, size_t vector)
{
    size_t line_vectors = x->to_ld / VECTOR, row = vector / line_vectors, column = vector % line_vectors * VECTOR;
    uint32_t word[VECTOR / 2];
#pragma unroll
    for (int e = 0; e < VECTOR / 2; e++) {
        const float *at = x->from + row * x->from_ld + column + 2 * e;
        uint32_t low = column + 2 * e < x->columns ? bf16_of(at[0]) : 0,
                 high = column + 2 * e + 1 < x->columns ? bf16_of(at[1]) : 0;
        word[e] = low | high << 16;
    }
    ((uint4 *)x->to)[vector] = make_uint4(word[0], word[1], word[2], word[3]);
}

/* Both operands in one launch. */
static __global__ void halve_operands(struct halved a, struct halved b)
{
    size_t n_a = a.rows * (a.to_ld / VECTOR), n = n_a + b.rows * (b.to_ld / VECTOR);
    for (size_t at = blockIdx.x * (size_t)THREADS + threadIdx.x; at < n; at += (size_t)gridDim.x * THREADS)
        at < n_a ? halve(&a, at) : halve(&b, at - n_a);
}

/* An operand (rows, columns) as it lies: lines of memory, and whether they are its columns. */
static struct lt_operand lying(struct matrix x)
{
    bool is_turned = x.col != 1;
    size_t ld = is_turned ? x.col : x.row;
    return {x.at, ld ? ld : 1, is_turned};
}

/* A vector has one line however it is seen, so its distance to the next may be anything, even less than its length. */
static struct lt_operand spread(struct lt_operand x, size_t rows, size_t columns)
{
    size_t length = x.is_turned ? rows : columns;
    if (x.ld < length)
        x.ld = length;
    return x;
}

static bool halve_into(struct halved *out, struct lt_operand *x, int scratch, size_t rows, size_t columns)
{
    out->rows = x->is_turned ? columns : rows;
    out->columns = x->is_turned ? rows : columns;
    out->from = (const float *)x->at;
    out->from_ld = x->ld;
    out->to_ld = cuda_parts(out->columns, VECTOR) * VECTOR;
    out->to = (uint16_t *)cuda_scratch(scratch, out->rows * out->to_ld * sizeof *out->to);
    x->at = out->to;
    x->ld = out->to_ld;
    return out->to != NULL;
}

static struct lt_product product_of(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K,
                                    bool accumulate)
{
    return {LT_F32, c, ldc, spread(lying(a), M, K), spread(lying(b), K, N), M, N, K, accumulate};
}

/* What cuBLASLt cannot do, if there is anything, our own product does. */
static void matmul_sgemm(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate)
{
    struct lt_product p = product_of(c, ldc, a, b, M, N, K, accumulate);
    if (M == 0 || N == 0 || K == 0 || !lt_multiply(&p))
        cuda_matmul(c, ldc, a, b, M, N, K, accumulate);
}

static void matmul_bf16(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate)
{
    struct lt_product p = product_of(c, ldc, a, b, M, N, K, accumulate);
    struct halved ha, hb;
    if (M == 0 || N == 0 || K == 0) {
        cuda_matmul(c, ldc, a, b, M, N, K, accumulate);
        return;
    }
    if (!halve_into(&ha, &p.a, SCRATCH_A, M, K) || !halve_into(&hb, &p.b, SCRATCH_B, K, N))
        return;
    p.type = LT_BF16;
    size_t n_vectors = (ha.rows * ha.to_ld + hb.rows * hb.to_ld) / VECTOR;
    CUDA_LAUNCH(halve_operands, cuda_grid(n_vectors, THREADS, 1 << 16), THREADS, 0, ha, hb);
    if (!lt_multiply(&p))
        cuda_matmul(c, ldc, a, b, M, N, K, accumulate);
}

typedef void matmul_function(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K,
                             bool accumulate);

static int with(const struct kernels *base, struct kernels *out, matmul_function *matmul, const char *what)
{
    if (!base->is_device) {
        log_error("%s: only where a GPU computes; give --device cuda", what);
        return HANSE_EUNSUPPORTED;
    }
    if (!lt_is_here()) {
        log_error("%s by cuBLASLt: %s", what, lt_text());
        return HANSE_EUNSUPPORTED;
    }
    *out = *base;
    out->matmul = matmul;
    return 0;
}

int kernels_with_bf16(const struct kernels *base, struct kernels *out)
{
    return with(base, out, matmul_bf16, "products of bf16");
}

int kernels_with_sgemm(const struct kernels *base, struct kernels *out)
{
    return with(base, out, matmul_sgemm, "products of floats");
}
