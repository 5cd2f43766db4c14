/**
 * kernels/linear.h - a weight matrix held for exact-integer products: rounded and packed once a version, used many times.
 *
 * W (M, N) has one power of two a column, which is a unit of the layer: W[i][j] = q[i][j] * 2^exponent[j].  One set of
 * integers serves both directions: x W reads the exponents as its columns' scale, and g W^T takes them into g before
 * that is rounded.  The same way a gradient x^T g takes the exponents of the rows of x into g.  So x, g of the wire, and
 * every weight are rounded once, and each product ends with one rounding.
 * All functions take the set of kernels that linear_set() packed with; work areas are the caller's.  Any thread; a matrix must not
 * be set while it is used.
 */
#ifndef KERNELS_LINEAR_H
#define KERNELS_LINEAR_H

#include "base/team.h"
#include "kernels/kernels.h"

struct linear {
    size_t M, N, n_slices;
    int8_t *exponent;   /* (N) */
    int8_t *high, *low; /* the integers, as W lay when it was set */
    void *ahead, *back; /* packed: W for x W, W^T for g W^T */
    bool is_bad;        /* a weight is not finite or too large: every product is refused */
    struct team *team;  /* shares the products; NULL unless its owner sets it */
};

/** Memory for a matrix; zeros until it is set.  HANSE_ENOMEM. */
HANSE_MUST_USE int linear_init(struct linear *l, const struct kernels *k, size_t M, size_t N, enum numerics numerics);
void linear_fini(struct linear *l);

/** Rounds and packs w (M, N), which may be turned: matrix_transposed() of rows (N, M) gives W = w^T. */
void linear_set(struct linear *l, const struct kernels *k, struct matrix w);

/** Bytes of work, to lie on a multiple of 64, that any function below needs for n rows. */
size_t linear_work_bytes(const struct linear *l, const struct kernels *k, size_t n);

/** c (n, N; rows of N) = [c +] x W.  x (n, M) with its exponents; HANSE_EREJECT when W is bad. */
HANSE_MUST_USE int linear_ahead(const struct linear *l, const struct kernels *k, float *c, const struct rows *x, size_t n,
                                bool accumulate);

/** c (n, M; rows of M) = [c +] g W^T.  g (n, N) floats; HANSE_EREJECT when a row of g cannot be rounded or W is bad. */
HANSE_MUST_USE int linear_back(const struct linear *l, const struct kernels *k, float *c, const float *g, void *work, size_t n,
                               bool accumulate);

/** c (M, N) += x^T g over n <= PRODUCT_K_MAX rows; x (n, M) integers, g (n, N) floats.  HANSE_EREJECT, with c as it was, when a
 * column of g cannot be rounded. */
HANSE_MUST_USE int linear_grad(const struct linear *l, const struct kernels *k, float *c, const struct rows *x, const float *g,
                               void *work, size_t n);

/** The same turned: c (N, M) += g^T x, for a W that was set from rows (N, M). */
HANSE_MUST_USE int linear_grad_turned(const struct linear *l, const struct kernels *k, float *c, const struct rows *x,
                                      const float *g, void *work, size_t n);

#endif
