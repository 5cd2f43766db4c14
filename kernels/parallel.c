/*
 * kernels/parallel.c - operations cut into parts.
 *
 * Columns are cut first: each part then packs columns of b of its own, where parts that divide rows all pack the same b.
 * Helpers come when they can and cores differ in speed, so there are more parts than threads.
 */
#include "kernels/parallel.h"

#define PART_FLOPS 8e6             /* 40 to 100 us of a core; to wake a helper takes 5 to 50 */
#define INTEGER_PART_FLOPS 16e6    /* the same for products that are twice as fast and more */
#define PARTS_A_THREAD 8           /* the last part of all is waited for */
#define ROW_STEP ((size_t)32)      /* tiles of every set fill it, matrix units included */
#define COLUMN_STEP ((size_t)48)   /* panels of every vector width fill it */
#define PART_ROWS ((size_t)64)     /* of less, packing b is a large share... */
#define PART_COLUMNS ((size_t)192) /* ...and of this, reading a again */

#define PART_ELEMENTS ((size_t)65536) /* of what goes through memory once */

struct product {
    const struct kernels *k;
    float *c;
    size_t ldc;
    struct matrix a, b;
    size_t M, N, K;
    bool accumulate;
    size_t part_rows, part_columns, n_across;
};

static size_t ceil_div(size_t n, size_t by)
{
    return (n + by - 1) / by;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The length of each of at most n parts of `all`, none but the last below `shortest`, a multiple of `step`. */
static size_t part_length(size_t all, size_t n, size_t shortest, size_t step)
{
    size_t length = ceil_div(all, n);
    return ceil_div(length < shortest ? shortest : length, step) * step;
}

/* How many parts a product is worth. */
static size_t parts_worth(unsigned width, size_t M, size_t N, size_t K, double flops)
{
    double n_worth = 2.0 * (double)M * (double)N * (double)K / flops;
    size_t n_most = (size_t)width * PARTS_A_THREAD;
    return width == 1 ? 1 : n_worth < (double)n_most ? (size_t)n_worth : n_most;
}

/* Returns the number of parts. */
static size_t cut(struct product *p, unsigned width)
{
    size_t n = parts_worth(width, p->M, p->N, p->K, PART_FLOPS);
    if (n < 2)
        return 1;
    p->part_columns = part_length(p->N, n, PART_COLUMNS, COLUMN_STEP);
    p->n_across = ceil_div(p->N, p->part_columns);
    p->part_rows = part_length(p->M, ceil_div(n, p->n_across), PART_ROWS, ROW_STEP);
    return p->n_across * ceil_div(p->M, p->part_rows);
}

static void run_part(void *arg, size_t i)
{
    const struct product *p = arg;
    size_t row = i / p->n_across * p->part_rows, column = i % p->n_across * p->part_columns;
    struct matrix a = p->a, b = p->b;
    a.at += row * a.row;
    b.at += column * b.col;
    p->k->matmul(p->c + row * p->ldc + column, p->ldc, a, b, least(p->M - row, p->part_rows),
                 least(p->N - column, p->part_columns), p->K, p->accumulate);
}

void parallel_matmul(const struct kernels *k, struct team *team, float *c, size_t ldc, struct matrix a, struct matrix b, size_t M,
                     size_t N, size_t K, bool accumulate)
{
    struct product p = {k, c, ldc, a, b, M, N, K, accumulate, M, N, 1};
    size_t n_parts = cut(&p, team_width(team));
    if (n_parts > 1)
        team_run(team, run_part, &p, n_parts);
    else
        k->matmul(c, ldc, a, b, M, N, K, accumulate);
}

/* -- Integers -------------------------------------------------------------------------------------- */

struct integer_product {
    const struct kernels *k;
    float *c;
    size_t ldc;
    struct slices a;
    const int8_t *a_exponent;
    const void *packed;
    const int8_t *b_exponent;
    size_t M, N, K;
    bool accumulate;
    size_t part_rows;
};

static void run_integer_part(void *arg, size_t i)
{
    const struct integer_product *p = arg;
    size_t row = i * p->part_rows, skip = p->a.is_turned ? row : row * p->a.ld;
    struct slices a = {p->a.high + skip, p->a.low ? p->a.low + skip : NULL, p->a.ld, p->a.is_turned};
    p->k->multiply(p->c + row * p->ldc, p->ldc, a, p->a_exponent ? p->a_exponent + row : NULL, p->packed, p->b_exponent,
                   least(p->M - row, p->part_rows), p->N, p->K, p->accumulate);
}

void parallel_multiply(const struct kernels *k, struct team *team, float *c, size_t ldc, struct slices a,
                       const int8_t *a_exponent, const void *packed, const int8_t *b_exponent, size_t M, size_t N, size_t K,
                       bool accumulate)
{
    size_t n = parts_worth(team_width(team), M, N, K, INTEGER_PART_FLOPS);
    struct integer_product p = {k, c, ldc, a, a_exponent, packed, b_exponent, M, N, K, accumulate, M};
    if (n > 1)
        p.part_rows = part_length(M, n, PART_ROWS, ROW_STEP);
    if (p.part_rows < M)
        team_run(team, run_integer_part, &p, ceil_div(M, p.part_rows));
    else
        k->multiply(c, ldc, a, a_exponent, packed, b_exponent, M, N, K, accumulate);
}

/* -- Element by element ---------------------------------------------------------------------------- */

struct rounding {
    const struct kernels *k;
    int8_t *high, *low, *exponent;
    const float *x;
    size_t ldx;
    const int8_t *fold;
    size_t R, C, part_rows;
};

static void round_part(void *arg, size_t i)
{
    struct rounding *r = arg;
    size_t row = i * r->part_rows, skip = row * r->C;
    r->k->quantize_rows(r->high + skip, r->low ? r->low + skip : NULL, r->exponent + row, r->x + row * r->ldx, r->ldx, r->fold,
                        least(r->R - row, r->part_rows), r->C);
}

void parallel_quantize_rows(const struct kernels *k, struct team *team, int8_t *high, int8_t *low, int8_t *exponent,
                            const float *x, size_t ldx, const int8_t *fold, size_t R, size_t C)
{
    struct rounding r = {k, high, low, exponent, x, ldx, fold, R, C, ceil_div(PART_ELEMENTS, C ? C : 1)};
    if (team_width(team) == 1 || R <= r.part_rows)
        k->quantize_rows(high, low, exponent, x, ldx, fold, R, C);
    else
        team_run(team, round_part, &r, ceil_div(R, r.part_rows));
}

/* Tensors of n elements, as many as the operation has, outputs first. */
struct elements {
    const struct kernels *k;
    float *out[3];
    const float *in[3];
    const struct adam_step *step;
    size_t n, part;
};

static void run_elements(struct team *team, team_part *run, struct elements *e)
{
    e->part = team_width(team) == 1 ? e->n : PART_ELEMENTS;
    if (e->n > 0)
        team_run(team, run, e, ceil_div(e->n, e->part));
}

static size_t part_elements(const struct elements *e, size_t i)
{
    return least(e->n - i * e->part, e->part);
}

static void swiglu_part(void *arg, size_t i)
{
    const struct elements *e = arg;
    size_t at = i * e->part;
    e->k->swiglu(e->out[0] + at, e->in[0] + at, e->in[1] + at, part_elements(e, i));
}

void parallel_swiglu(const struct kernels *k, struct team *team, float *h, const float *g, const float *u, size_t n)
{
    run_elements(team, swiglu_part, &(struct elements){.k = k, .out = {h}, .in = {g, u}, .n = n});
}

static void swiglu_grad_part(void *arg, size_t i)
{
    const struct elements *e = arg;
    size_t at = i * e->part;
    e->k->swiglu_grad(e->out[0] + at, e->out[1] + at, e->in[0] + at, e->in[1] + at, e->in[2] + at, part_elements(e, i));
}

void parallel_swiglu_grad(const struct kernels *k, struct team *team, float *gg, float *gu, const float *gh, const float *g,
                          const float *u, size_t n)
{
    run_elements(team, swiglu_grad_part, &(struct elements){.k = k, .out = {gg, gu}, .in = {gh, g, u}, .n = n});
}

static void nadamw_part(void *arg, size_t i)
{
    const struct elements *e = arg;
    size_t at = i * e->part;
    e->k->nadamw(e->out[0] + at, e->out[1] + at, e->out[2] + at, e->in[0] + at, e->step, part_elements(e, i));
}

void parallel_nadamw(const struct kernels *k, struct team *team, float *p, float *m, float *v, const float *g,
                     const struct adam_step *step, size_t n)
{
    run_elements(team, nadamw_part, &(struct elements){.k = k, .out = {p, m, v}, .in = {g}, .step = step, .n = n});
}
