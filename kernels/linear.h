/**
 * kernels/linear.h - a weight matrix held for exact-integer products: rounded and packed once a version, used many times.
 *
 * W (M, N) has one power of two a column, which is a unit of the layer: W[i][j] = q[i][j] * 2^exponent[j].  One set of
 * integers serves both directions: x W reads the exponents as its columns' scale, and g W^T takes them into g before
 * that is rounded.  The same way a gradient x^T g takes the exponents of the rows of x into g.  So x, g of the wire, and
 * every weight are rounded once, and each product ends with one rounding.
 * What cannot be rounded, be it a column of W, a row of x or g, or a column of g, gives NaN wherever it is read.
 * All tensors lie in the memory of the matrix's set of kernels; work areas are the caller's, on a multiple of 64.  Any thread; a matrix
 * must not be set while it is used.
 */
#ifndef KERNELS_LINEAR_H
#define KERNELS_LINEAR_H

#include "base/team.h"
#include "kernels/kernels.h"

struct linear {
    const struct kernels *kernels;
    size_t M, N, n_slices;
    int8_t *exponent;   /* (N) */
    int8_t *high, *low; /* the integers, as W lay when it was set */
    void *ahead, *back; /* packed: W for x W, W^T for g W^T */
    bool is_set;
    struct team *team; /* shares the products; NULL unless its owner sets it */
};

/** Memory for a matrix, which must be set before any product.  Keeps `k`.  HANSE_ENOMEM. */
HANSE_MUST_USE int linear_init(struct linear *l, const struct kernels *k, size_t M, size_t N, enum numerics numerics);
void linear_fini(struct linear *l);

/** Bytes of it in the memory of `k`. */
size_t linear_bytes(const struct kernels *k, size_t M, size_t N, enum numerics numerics);

/** Rounds and packs w (M, N), which may be turned: matrix_transposed() of rows (N, M) gives W = w^T. */
void linear_set(struct linear *l, struct matrix w);

/** Bytes of work that any function below needs for n rows; parts of n rows in linear_grad(). */
size_t linear_work_bytes(const struct linear *l, size_t n);

/** c (n, N; rows of N) = [c +] x W.  x (n, M) with its exponents. */
void linear_ahead(const struct linear *l, float *c, const struct rows *x, size_t n, bool accumulate);

/** c (n, M; rows of M) = [c +] g W^T.  g (n, N) floats. */
void linear_back(const struct linear *l, float *c, const float *g, void *work, size_t n, bool accumulate);

/** The same for g = swiglu(gate, up), (n, N) each. */
void linear_back_swiglu(const struct linear *l, float *c, const float *gate, const float *up, float *g, void *work, size_t n);

/** c (M, N) += x^T g over n rows, part <= PRODUCT_K_MAX of them at a time: columns of g are rounded over the rows of a part, and parts
 * are added in order.  x (n, M) integers, g (n, N) floats. */
void linear_grad(const struct linear *l, float *c, const struct rows *x, const float *g, void *work, size_t n, size_t part);

/** The same turned: c (N, M) += g^T x, for a W that was set from rows (N, M). */
void linear_grad_turned(const struct linear *l, float *c, const struct rows *x, const float *g, void *work, size_t n,
                        size_t part);

#endif
