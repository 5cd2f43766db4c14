/* model/trunk_product.c - every product with a matrix of the trunk, in floats or in exact integers. */
#include "kernels/parallel.h"
#include "model/trunk_inside.h"

size_t trunk_round_bytes(const struct trunk *trunk, size_t N)
{
    size_t most = 0;
    for (size_t i = 0; i < trunk->n_tensors; i++) {
        size_t n = trunk_is_rounded(trunk, i) ? linear_work_bytes(&trunk->linear[i], N) : 0;
        most = n > most ? n : most;
    }
    return most;
}

/* Which rows were refused stands in their exponents. */
void trunk_round(const struct trunk *trunk, const struct trunk_input *x, size_t N, size_t D)
{
    if (!trunk->linear)
        return;
    profile_enter(PROFILE_ROUND);
    trunk->kernels.quantize_rows(x->high, x->low, x->exponent, x->f32, D, NULL, N, D);
}

static struct rows integers_of(const struct trunk_input *x)
{
    return (struct rows){.exponent = x->exponent, .high = x->high, .low = x->low};
}

static const struct kernels *set_for(const struct trunk *trunk, const struct trunk_matrix *p)
{
    return trunk_is_exact(trunk, p->tensor) ? trunk->exact : &trunk->kernels;
}

void trunk_product(const struct trunk *trunk, float *c, const struct trunk_input *x, const struct trunk_matrix *p, size_t N,
                   bool accumulate)
{
    if (!trunk_is_rounded(trunk, p->tensor)) {
        parallel_matmul(set_for(trunk, p), trunk->team, c, p->N, matrix_of(x->f32, p->M),
                        matrix_of(trunk->param + p->offset, p->N), N, p->N, p->M, accumulate);
        return;
    }
    struct rows rows = integers_of(x);
    linear_ahead(&trunk->linear[p->tensor], c, &rows, N, accumulate);
}

void trunk_product_grad_x(const struct trunk *trunk, const struct trunk_tape *tape, float *gx, const float *gc,
                          const struct trunk_matrix *p, bool accumulate)
{
    size_t N = tape->N;
    if (trunk_is_rounded(trunk, p->tensor))
        linear_back(&trunk->linear[p->tensor], gx, gc, tape->inside->round, N, accumulate);
    else
        parallel_matmul(set_for(trunk, p), trunk->team, gx, p->M, matrix_of(gc, p->N),
                        matrix_transposed(trunk->param + p->offset, p->N), N, p->M, p->N, accumulate);
}

void trunk_product_grad_p(const struct trunk *trunk, struct trunk_tape *tape, const struct trunk_matrix *p,
                          const struct trunk_input *x, const float *gc)
{
    float *gp = tape->grad + p->offset;
    size_t N = tape->N;
    if (!trunk_is_rounded(trunk, p->tensor)) {
        parallel_matmul(set_for(trunk, p), trunk->team, gp, p->N, matrix_transposed(x->f32, p->M), matrix_of(gc, p->N), p->M,
                        p->N, N, true);
        return;
    }
    struct rows rows = integers_of(x);
    linear_grad(&trunk->linear[p->tensor], gp, &rows, gc, tape->inside->round, N, PRODUCT_K_MAX);
}
