/* cuda/product_i8.cu - pack, multiply and product_grad: operands laid out, and a variant chosen to multiply them. */
#include "kernels/cuda/product_i8.h"

#include "kernels/cuda/ops.h"
#include "kernels/cuda/product_lay.h"
#include "kernels/cuda/prove.h"

/* Scratch of this thread: operands that do not lie as products read them.  product_lt has the others. */
#define SCRATCH_A 0
#define SCRATCH_B 1

static struct lay packed_lay(size_t N, size_t K)
{
    return lay_of(N, cuda_parts(N, PRODUCT_N_PAD) * PRODUCT_N_PAD, K, PRODUCT_K_MAX);
}

size_t cuda_packed_bytes(size_t N, size_t K, size_t n_slices)
{
    struct lay to = packed_lay(N, K);
    return n_slices * lay_bytes(&to);
}

void cuda_pack(void *packed, struct slices b, size_t N, size_t K)
{
    struct lay to = packed_lay(N, K);
    lay_into(&to, packed, b.low != NULL);
    lay_integers(&to, b.high, b.low, b.ld, b.is_turned);
}

/* No terms: +0. */
static __global__ void multiply_nothing(struct product p)
{
    size_t at = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
    if (at < p.M * p.N)
        p.c[at / p.N * p.ldc + at % p.N] = 0.0f;
}

static size_t pretended_units;

size_t product_units(void)
{
    return pretended_units > 0 ? pretended_units : (size_t)cuda_chip()->n_units;
}

void product_pretend_units(size_t n_units)
{
    pretended_units = n_units;
}

/* Tiles as large as leave no unit without one: a unit's time is that of its tiles, and small ones take longer for the same
 * outputs, since each operand is read more often. */
enum product_size product_size(const struct product *p)
{
    static const struct {
        size_t rows, columns;
        double share; /* of the best speed, about */
    } tiles[] = {{128, 128, 1}, {64, 64, 0.6}, {16, 32, 0.15}};
    int best = PRODUCT_LARGE;
    double least = 0;
    for (int size = PRODUCT_LARGE; size <= PRODUCT_SMALL; size++) {
        size_t n = cuda_parts(p->M, tiles[size].rows) * cuda_parts(p->N, tiles[size].columns);
        size_t rounds = cuda_parts(n, product_units());
        double cost = (double)(rounds * tiles[size].rows * tiles[size].columns) / tiles[size].share;
        if (size == PRODUCT_LARGE || cost < least) {
            best = size;
            least = cost;
        }
    }
    return (enum product_size)best;
}

size_t product_operands_bytes(size_t n_rows, size_t width, size_t part)
{
    size_t lines = cuda_parts(width, PRODUCT_N_PAD) * PRODUCT_N_PAD;
    struct lay rows = lay_of(n_rows, n_rows, width, PRODUCT_K_MAX), turned = lay_of(width, lines, n_rows, part);
    size_t a = lay_bytes(&rows) > lay_bytes(&turned) ? lay_bytes(&rows) : lay_bytes(&turned);
    size_t b = 2 * lay_bytes(&turned) + cuda_parts(n_rows, part) * lines;
    return cuda_scratch_bytes(2 * a) + cuda_scratch_bytes(b);
}

static bool lies_well(const struct slices *a, size_t K)
{
    size_t at = (size_t)a->high | (size_t)a->low | a->ld;
    return !a->is_turned && at % 16 == 0 && K <= a->ld;
}

/* Rows of a as they lie, or laid out in scratch. */
static bool take_rows(struct product *p, const struct slices *a)
{
    p->a_high = a->high, p->a_low = a->low, p->lda = a->ld;
    if (lies_well(a, p->K))
        return true;
    struct lay to = lay_of(p->M, p->M, p->K, PRODUCT_K_MAX);
    void *memory = cuda_scratch(SCRATCH_A, 2 * lay_bytes(&to));
    if (!memory)
        return false;
    lay_into(&to, memory, a->low != NULL);
    lay_integers(&to, a->high, a->low, a->ld, !a->is_turned);
    p->a_high = to.high, p->a_low = to.low, p->lda = to.ld;
    return true;
}

static void take_columns(struct product *p, const struct lay *b)
{
    p->b_high = b->high, p->b_low = b->low, p->ldb = b->ld;
}

void cuda_multiply(float *c, size_t ldc, struct slices a, const int8_t *a_exponent, const void *packed, const int8_t *b_exponent,
                   size_t M, size_t N, size_t K, bool accumulate)
{
    struct product p = {};
    p.c = c, p.ldc = ldc, p.M = M, p.N = N, p.K = K, p.part = PRODUCT_K_MAX, p.accumulate = accumulate;
    p.a_exponent = a_exponent, p.b_exponent = b_exponent;
    if (M == 0 || N == 0)
        return;
    if (K == 0 && !accumulate)
        CUDA_LAUNCH(multiply_nothing, (unsigned)cuda_parts(M * N, 256), 256, 0, p);
    if (K == 0)
        return;
    struct lay b = packed_lay(N, K);
    lay_into(&b, const_cast<void *>(packed), a.low != NULL);
    take_columns(&p, &b);
    if (take_rows(&p, &a))
        product_choice(&p)->multiply(&p);
}

/* x^T and the rounded columns of g, both with the rows' index as k.  The left operand of the product has no lines beyond its own, the right one
 * is filled up. */
static bool lay_grad(struct lay *x_to, struct lay *g_to, int8_t **exponent, const struct rows *x, const float *g)
{
    size_t x_bytes = 2 * lay_bytes(x_to), g_bytes = 2 * lay_bytes(g_to);
    int8_t *x_memory = (int8_t *)cuda_scratch(SCRATCH_A, x_bytes);
    int8_t *g_memory = (int8_t *)cuda_scratch(SCRATCH_B, g_bytes + cuda_parts(g_to->K, g_to->part) * g_to->lines);
    if (!x_memory || !g_memory)
        return false;
    *exponent = g_memory + g_bytes;
    lay_into(x_to, x_memory, x->low != NULL);
    lay_into(g_to, g_memory, x->low != NULL);
    lay_integers(x_to, x->high, x->low, x_to->lines, false);
    lay_rounded(g_to, *exponent, g, x->exponent);
    return true;
}

void cuda_product_grad(float *c, const struct rows *x, const float *g, size_t M, size_t N, size_t n, size_t part, bool is_turned)
{
    if (M == 0 || N == 0 || n == 0)
        return;
    size_t x_lines = is_turned ? cuda_parts(M, PRODUCT_N_PAD) * PRODUCT_N_PAD : M;
    size_t g_lines = is_turned ? N : cuda_parts(N, PRODUCT_N_PAD) * PRODUCT_N_PAD;
    struct lay x_to = lay_of(M, x_lines, n, part), g_to = lay_of(N, g_lines, n, part);
    int8_t *exponent;
    if (!lay_grad(&x_to, &g_to, &exponent, x, g))
        return;
    const struct lay *a = is_turned ? &g_to : &x_to, *b = is_turned ? &x_to : &g_to;
    struct product p = {};
    p.c = c, p.M = a->lines, p.N = p.ldc = b->lines, p.part = a->part_ld, p.accumulate = true;
    p.K = a->ld - a->part_ld + (n - 1) % part + 1; /* the last part ends early */
    p.a_high = a->high, p.a_low = a->low, p.lda = a->ld;
    take_columns(&p, b);
    (is_turned ? p.a_exponent : p.b_exponent) = exponent;
    (is_turned ? p.a_exponent_step : p.b_exponent_step) = N;
    product_choice(&p)->multiply(&p);
}
