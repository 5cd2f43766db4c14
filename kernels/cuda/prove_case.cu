/* cuda/prove_case.cu - a product to be tried, from nothing but its number. */
#include "kernels/cuda/prove_case.h"

#include <math.h>

#include "kernels/cuda/ops.h"

#define THREADS 256
#define N_SAMPLES 24 /* outputs that the CPU computes */

/* A generator that gives number `at` of stream `stream` at once: the finalizer of SplitMix64 (Steele, Lea and Flood 2014). */
static __host__ __device__ uint64_t drawn(uint64_t stream, uint64_t at)
{
    uint64_t z = (stream << 56) + (at + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

struct integer {
    int8_t high, low;
};

static __host__ __device__ struct integer integer_of(const struct proof_case *of, bool is_a, size_t line, size_t k)
{
    enum proof_fill fill = of->fill;
    uint64_t r = drawn(is_a ? 1 : 2, line * 0x100000001ull + k);
    bool is_least = fill == PROOF_OPPOSITE && !is_a;
    if (fill == PROOF_EXTREMES)
        return {(int8_t)(r & 1 ? 127 : -127), (int8_t)(r & 2 ? 127 : -128)};
    if (fill == PROOF_TURNING) {
        int sign = is_a || k < of->K / 2 ? 1 : -1;
        return {(int8_t)(sign * (int)(96 + r % 32)), (int8_t)(sign * (int)(64 + r / 32 % 64))};
    }
    if (fill != PROOF_ANY)
        return {(int8_t)(is_least ? -127 : 127), (int8_t)(is_least ? -128 : 127)};
    return {(int8_t)((int)(r % 255) - 127), (int8_t)((int)(r / 255 % 256) - 128)};
}

/* Few of them are refused: which NaN is open, but that there is one is not. */
static __host__ __device__ int8_t exponent_of(bool is_a, size_t part, size_t line)
{
    uint64_t r = drawn(is_a ? 3 : 4, part << 32 | line);
    return (int8_t)(r % 61 == 0 ? QUANTIZE_BAD : (int)(r >> 32 & 15) - 12);
}

static __host__ __device__ float output_of(size_t at)
{
    return (float)(int32_t)(drawn(5, at) >> 40) * 0x1p-10f;
}

/* Lines (n_lines, ld) of an operand: integers, and beyond them zeros, or for rows of a, where any bytes may be, others. */
static __global__ void make_lines(int8_t *high, int8_t *low, struct proof_case of, bool is_a, size_t lines, size_t n_lines,
                                  size_t ld)
{
    for (size_t at = blockIdx.x * (size_t)THREADS + threadIdx.x; at < n_lines * ld; at += (size_t)gridDim.x * THREADS) {
        size_t line = at / ld, k = at % ld;
        struct integer q = {(int8_t)(is_a ? 85 : 0), (int8_t)(is_a ? 85 : 0)};
        if (line < lines && k < of.K)
            q = integer_of(&of, is_a, line, k);
        high[at] = q.high;
        if (low)
            low[at] = q.low;
    }
}

static __global__ void make_rest(int8_t *a_exponent, int8_t *b_exponent, float *outputs, struct proof_case of, size_t n_parts)
{
    size_t at = blockIdx.x * (size_t)THREADS + threadIdx.x, step = (size_t)gridDim.x * THREADS;
    for (size_t i = at; i < of.M; i += step)
        a_exponent[i] = exponent_of(true, 0, i);
    for (size_t i = at; i < of.N * n_parts; i += step)
        b_exponent[i] = exponent_of(false, i / of.N, i % of.N);
    for (size_t i = at; i < of.M * of.N; i += step)
        outputs[i] = output_of(i);
}

static size_t up_to(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* Takes n_bytes of what is laid out, on a multiple of 256. */
static size_t take(size_t *used, size_t n_bytes)
{
    size_t at = *used;
    *used += up_to(n_bytes, 256);
    return at;
}

/* Where everything lies in the case's memory; offsets at first, since its size is not yet known. */
struct layout {
    size_t lda, ldb, n_columns, n_parts;
    size_t a, b, a_exponent, b_exponent, c, outputs, n_bytes;
};

static struct layout layout_of(const struct proof_case *of)
{
    struct layout l = {};
    l.lda = up_to(of->K, 16), l.ldb = up_to(of->K, PRODUCT_K_PAD), l.n_columns = up_to(of->N, PRODUCT_N_PAD);
    l.n_parts = cuda_parts(of->K, of->part);
    l.a = take(&l.n_bytes, of->n_slices * of->M * l.lda);
    l.b = take(&l.n_bytes, of->n_slices * l.n_columns * l.ldb);
    l.a_exponent = take(&l.n_bytes, of->M);
    l.b_exponent = take(&l.n_bytes, of->N * l.n_parts);
    l.c = take(&l.n_bytes, of->M * of->N * sizeof(float));
    l.outputs = take(&l.n_bytes, of->M * of->N * sizeof(float));
    return l;
}

bool proof_begin(struct proof *x, const struct proof_case *of)
{
    struct layout l = layout_of(of);
    int8_t *at = (int8_t *)cuda_allot(l.n_bytes);
    *x = {};
    x->of = *of;
    x->memory = at;
    x->n_outputs = of->M * of->N;
    if (!at)
        return false;
    struct product *p = &x->product;
    p->c = (float *)(at + l.c), p->ldc = of->N, p->lda = l.lda, p->ldb = l.ldb;
    p->a_high = at + l.a, p->b_high = at + l.b;
    if (of->n_slices == 2)
        p->a_low = p->a_high + of->M * l.lda, p->b_low = p->b_high + l.n_columns * l.ldb;
    p->a_exponent = at + l.a_exponent, p->b_exponent = at + l.b_exponent, p->b_exponent_step = of->N;
    p->M = of->M, p->N = of->N, p->K = of->K, p->part = of->part, p->accumulate = true;
    x->outputs = (float *)(at + l.outputs);
    CUDA_LAUNCH(make_lines, cuda_grid(of->M * l.lda, THREADS, 4096), THREADS, 0, at + l.a, const_cast<int8_t *>(p->a_low), *of,
                true, of->M, of->M, l.lda);
    CUDA_LAUNCH(make_lines, cuda_grid(l.n_columns * l.ldb, THREADS, 4096), THREADS, 0, at + l.b, const_cast<int8_t *>(p->b_low),
                *of, false, of->N, l.n_columns, l.ldb);
    CUDA_LAUNCH(make_rest, cuda_grid(x->n_outputs, THREADS, 4096), THREADS, 0, at + l.a_exponent, at + l.b_exponent, x->outputs,
                *of, l.n_parts);
    return true;
}

void proof_end(struct proof *x)
{
    cuda_release(x->memory);
    *x = {};
}

void proof_reset(const struct proof *x)
{
    cuda_copy(x->product.c, x->outputs, x->n_outputs * sizeof *x->outputs);
}

/* Z of a part, as doc/numerics.md has it. */
static int64_t sum_of(const struct proof_case *of, size_t i, size_t j, size_t first, size_t end)
{
    int64_t sum = 0;
    for (size_t k = first; k < end; k++) {
        struct integer a = integer_of(of, true, i, k), b = integer_of(of, false, j, k);
        sum += of->n_slices == 2 ? 256 * a.high * b.high + a.high * b.low + a.low * b.high : a.high * b.high;
    }
    return sum;
}

static float wanted(const struct proof_case *of, size_t i, size_t j)
{
    float y = output_of(i * of->N + j);
    for (size_t part = 0, k = 0; k < of->K; part++, k += of->part) {
        int ea = exponent_of(true, 0, i), eb = exponent_of(false, part, j), e = ea + eb + (of->n_slices == 2 ? 8 : 0);
        size_t end = of->K - k < of->part ? of->K : k + of->part;
        float scale = ea == QUANTIZE_BAD || eb == QUANTIZE_BAD ? NAN : ldexpf(1, e);
        y = fmaf((float)sum_of(of, i, j, k, end), scale, y);
    }
    return y;
}

bool proof_holds(const struct proof *x, const float *outputs)
{
    for (size_t n = 0; n < N_SAMPLES; n++) {
        size_t at = n == 0 ? x->n_outputs - 1 : drawn(6, n) % x->n_outputs;
        float y = wanted(&x->of, at / x->of.N, at % x->of.N);
        if (!(outputs[at] == y || (isnan(outputs[at]) && isnan(y))))
            return false;
    }
    return true;
}
