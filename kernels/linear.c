/* kernels/linear.c - the products of a weight matrix, built from rounding, packing and multiplying. */
#include "kernels/linear.h"

#include <assert.h>
#include <stdlib.h>

#include "kernels/parallel.h"

#define ALIGN ((size_t)64)

static size_t padded(size_t n_bytes)
{
    return (n_bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static void *room(size_t n_bytes)
{
    return aligned_alloc(ALIGN, padded(n_bytes ? n_bytes : 1));
}

int linear_init(struct linear *l, const struct kernels *k, size_t M, size_t N, enum numerics numerics)
{
    *l = (struct linear){.M = M, .N = N, .n_slices = numerics_slices(numerics)};
    assert(l->n_slices > 0);
    l->exponent = calloc(N ? N : 1, 1);
    l->high = calloc(l->n_slices * M * N + 1, 1);
    l->ahead = room(k->packed_bytes(N, M, l->n_slices));
    l->back = room(k->packed_bytes(M, N, l->n_slices));
    if (!l->exponent || !l->high || !l->ahead || !l->back) {
        linear_fini(l);
        return HANSE_ENOMEM;
    }
    l->low = l->n_slices == 2 ? l->high + M * N : NULL;
    struct slices zeros = {l->high, l->low, N, false}, turned = {l->high, l->low, N, true};
    k->pack(l->ahead, zeros, N, M);
    k->pack(l->back, turned, M, N);
    return 0;
}

void linear_fini(struct linear *l)
{
    free(l->exponent);
    free(l->high);
    free(l->ahead);
    free(l->back);
    *l = (struct linear){0};
}

void linear_set(struct linear *l, const struct kernels *k, struct matrix w)
{
    bool is_turned = w.col != 1;
    struct slices as_w = {l->high, l->low, is_turned ? l->M : l->N, is_turned};
    struct slices as_back = {l->high, l->low, as_w.ld, !is_turned};
    int err = is_turned ? k->quantize_rows(l->high, l->low, l->exponent, w.at, w.col, NULL, l->N, l->M)
                        : k->quantize_columns(l->high, l->low, l->exponent, w.at, w.row, NULL, l->M, l->N);
    l->is_bad = err != 0;
    if (l->is_bad)
        return;
    k->pack(l->ahead, as_w, l->N, l->M);
    k->pack(l->back, as_back, l->M, l->N);
}

/* Rounded rows or columns of g (n, N), and behind them a packed operand over n. */
struct work {
    int8_t *exponent, *high, *low;
    void *packed;
};

static size_t split(struct work *w, const struct linear *l, void *memory, size_t n)
{
    size_t most = n > l->N ? n : l->N;
    int8_t *at = memory;
    size_t high = padded(most), packed = high + padded(l->n_slices * n * l->N);
    if (memory)
        *w = (struct work){at, at + high, l->n_slices == 2 ? at + high + n * l->N : NULL, at + packed};
    return packed;
}

size_t linear_work_bytes(const struct linear *l, const struct kernels *k, size_t n)
{
    size_t widest = l->M > l->N ? l->M : l->N;
    return split(NULL, l, NULL, n) + padded(k->packed_bytes(widest, n, l->n_slices));
}

int linear_ahead(const struct linear *l, const struct kernels *k, float *c, const struct rows *x, size_t n, bool accumulate)
{
    if (l->is_bad)
        return HANSE_EREJECT;
    struct slices a = {x->high, x->low, l->M, false};
    parallel_multiply(k, l->team, c, l->N, a, x->exponent, l->ahead, l->exponent, n, l->N, l->M, accumulate);
    return 0;
}

int linear_back(const struct linear *l, const struct kernels *k, float *c, const float *g, void *work, size_t n, bool accumulate)
{
    struct work w;
    split(&w, l, work, n);
    if (l->is_bad || parallel_quantize_rows(k, l->team, w.high, w.low, w.exponent, g, l->N, l->exponent, n, l->N) != 0)
        return HANSE_EREJECT;
    struct slices a = {w.high, w.low, l->N, false};
    parallel_multiply(k, l->team, c, l->M, a, w.exponent, l->back, NULL, n, l->M, l->N, accumulate);
    return 0;
}

int linear_grad(const struct linear *l, const struct kernels *k, float *c, const struct rows *x, const float *g, void *work,
                size_t n)
{
    struct work w;
    split(&w, l, work, n);
    assert(n <= PRODUCT_K_MAX);
    if (k->quantize_columns(w.high, w.low, w.exponent, g, l->N, x->exponent, n, l->N) != 0)
        return HANSE_EREJECT;
    struct slices a = {x->high, x->low, l->M, true}, b = {w.high, w.low, l->N, false};
    k->pack(w.packed, b, l->N, n);
    parallel_multiply(k, l->team, c, l->N, a, NULL, w.packed, w.exponent, l->M, l->N, n, true);
    return 0;
}

int linear_grad_turned(const struct linear *l, const struct kernels *k, float *c, const struct rows *x, const float *g,
                       void *work, size_t n)
{
    struct work w;
    split(&w, l, work, n);
    assert(n <= PRODUCT_K_MAX);
    if (k->quantize_columns(w.high, w.low, w.exponent, g, l->N, x->exponent, n, l->N) != 0)
        return HANSE_EREJECT;
    struct slices a = {w.high, w.low, l->N, true}, b = {x->high, x->low, l->M, false};
    k->pack(w.packed, b, l->M, n);
    parallel_multiply(k, l->team, c, l->M, a, w.exponent, w.packed, NULL, l->N, l->M, n, true);
    return 0;
}
