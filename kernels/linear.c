/* kernels/linear.c - the products of a weight matrix, built from rounding, packing and multiplying. */
#include "kernels/linear.h"

#include <assert.h>

#include "base/arena.h"
#include "kernels/parallel.h"

int linear_init(struct linear *l, const struct kernels *k, size_t M, size_t N, enum numerics numerics)
{
    *l = (struct linear){.kernels = k, .M = M, .N = N, .n_slices = numerics_slices(numerics)};
    assert(l->n_slices > 0);
    l->exponent = k->allot(N);
    l->high = k->allot(l->n_slices * M * N);
    l->ahead = k->allot(k->packed_bytes(N, M, l->n_slices));
    l->back = k->allot(k->packed_bytes(M, N, l->n_slices));
    if (!l->exponent || !l->high || !l->ahead || !l->back) {
        linear_fini(l);
        return HANSE_ENOMEM;
    }
    l->low = l->n_slices == 2 ? l->high + M * N : NULL;
    return 0;
}

size_t linear_bytes(const struct kernels *k, size_t M, size_t N, enum numerics numerics)
{
    size_t n_slices = numerics_slices(numerics);
    return N + n_slices * M * N + k->packed_bytes(N, M, n_slices) + k->packed_bytes(M, N, n_slices);
}

void linear_fini(struct linear *l)
{
    if (l->kernels) {
        l->kernels->release(l->exponent);
        l->kernels->release(l->high);
        l->kernels->release(l->ahead);
        l->kernels->release(l->back);
    }
    *l = (struct linear){0};
}

void linear_set(struct linear *l, struct matrix w)
{
    const struct kernels *k = l->kernels;
    bool is_turned = w.col != 1;
    struct slices as_w = {l->high, l->low, is_turned ? l->M : l->N, is_turned};
    struct slices as_back = {l->high, l->low, as_w.ld, !is_turned};
    if (is_turned)
        k->quantize_rows(l->high, l->low, l->exponent, w.at, w.col, NULL, l->N, l->M);
    else
        k->quantize_columns(l->high, l->low, l->exponent, w.at, w.row, NULL, l->M, l->N);
    k->pack(l->ahead, as_w, l->N, l->M);
    k->pack(l->back, as_back, l->M, l->N);
    l->is_set = true;
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
    size_t high = arena_padded(most), packed = high + arena_padded(l->n_slices * n * l->N);
    if (memory)
        *w = (struct work){at, at + high, l->n_slices == 2 ? at + high + n * l->N : NULL, at + packed};
    return packed;
}

size_t linear_work_bytes(const struct linear *l, size_t n)
{
    size_t widest = l->M > l->N ? l->M : l->N;
    return split(NULL, l, NULL, n) + arena_padded(l->kernels->packed_bytes(widest, n, l->n_slices));
}

void linear_ahead(const struct linear *l, float *c, const struct rows *x, size_t n, bool accumulate)
{
    struct slices a = {x->high, x->low, l->M, false};
    assert(l->is_set);
    parallel_multiply(l->kernels, l->team, c, l->N, a, x->exponent, l->ahead, l->exponent, n, l->N, l->M, accumulate);
}

static void multiply_back(const struct linear *l, float *c, const struct work *w, size_t n, bool accumulate)
{
    struct slices a = {w->high, w->low, l->N, false};
    assert(l->is_set);
    parallel_multiply(l->kernels, l->team, c, l->M, a, w->exponent, l->back, NULL, n, l->M, l->N, accumulate);
}

void linear_back(const struct linear *l, float *c, const float *g, void *work, size_t n, bool accumulate)
{
    struct work w;
    split(&w, l, work, n);
    parallel_quantize_rows(l->kernels, l->team, w.high, w.low, w.exponent, g, l->N, l->exponent, n, l->N);
    multiply_back(l, c, &w, n, accumulate);
}

void linear_back_swiglu(const struct linear *l, float *c, const float *gate, const float *up, float *g, void *work, size_t n)
{
    struct work w;
    if (!l->kernels->swiglu_rows) {
        parallel_swiglu(l->kernels, l->team, g, gate, up, n * l->N);
        linear_back(l, c, g, work, n, false);
        return;
    }
    split(&w, l, work, n);
    l->kernels->swiglu_rows(w.high, w.low, w.exponent, gate, up, l->exponent, n, l->N);
    multiply_back(l, c, &w, n, false);
}

/* One part. */
static void grad(const struct linear *l, float *c, const struct rows *x, const float *g, void *work, size_t n)
{
    const struct kernels *k = l->kernels;
    struct work w;
    split(&w, l, work, n);
    k->quantize_columns(w.high, w.low, w.exponent, g, l->N, x->exponent, n, l->N);
    struct slices a = {x->high, x->low, l->M, true}, b = {w.high, w.low, l->N, false};
    k->pack(w.packed, b, l->N, n);
    parallel_multiply(k, l->team, c, l->N, a, NULL, w.packed, w.exponent, l->M, l->N, n, true);
}

static void grad_turned(const struct linear *l, float *c, const struct rows *x, const float *g, void *work, size_t n)
{
    const struct kernels *k = l->kernels;
    struct work w;
    split(&w, l, work, n);
    k->quantize_columns(w.high, w.low, w.exponent, g, l->N, x->exponent, n, l->N);
    struct slices a = {w.high, w.low, l->N, true}, b = {x->high, x->low, l->M, false};
    k->pack(w.packed, b, l->M, n);
    parallel_multiply(k, l->team, c, l->M, a, w.exponent, w.packed, NULL, l->N, l->M, n, true);
}

static void grad_parts(const struct linear *l, float *c, const struct rows *x, const float *g, void *work, size_t n, size_t part,
                       bool is_turned)
{
    assert(part > 0 && part <= PRODUCT_K_MAX);
    if (l->kernels->product_grad) {
        l->kernels->product_grad(c, x, g, l->M, l->N, n, part, is_turned);
        return;
    }
    for (size_t i = 0; i < n; i += part) {
        struct rows rows = rows_from(x, i, l->M);
        (is_turned ? grad_turned : grad)(l, c, &rows, g + i * l->N, work, n - i < part ? n - i : part);
    }
}

void linear_grad(const struct linear *l, float *c, const struct rows *x, const float *g, void *work, size_t n, size_t part)
{
    grad_parts(l, c, x, g, work, n, part, false);
}

void linear_grad_turned(const struct linear *l, float *c, const struct rows *x, const float *g, void *work, size_t n, size_t part)
{
    grad_parts(l, c, x, g, work, n, part, true);
}
