/*
 * kernels/parallel.c - products cut into parts.
 *
 * Columns are cut first: each part then packs columns of b of its own, where parts that divide rows all pack the same b.
 * Helpers come when they can and cores differ in speed, so there are more parts than threads.
 */
#include "kernels/parallel.h"

#define PART_FLOPS 8e6   /* 40 to 100 us of a core; to wake a helper takes 5 to 50 */
#define PARTS_A_THREAD 8 /* the last part of all is waited for */
#define ROW_STEP ((size_t)8)
#define COLUMN_STEP ((size_t)48)   /* panels of every vector width fill it */
#define PART_ROWS ((size_t)64)     /* of less, packing b is a large share... */
#define PART_COLUMNS ((size_t)192) /* ...and of this, reading a again */

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

/* Returns the number of parts. */
static size_t cut(struct product *p, unsigned width)
{
    double n_worth = 2.0 * (double)p->M * (double)p->N * (double)p->K / PART_FLOPS;
    size_t n_most = (size_t)width * PARTS_A_THREAD, n = n_worth < (double)n_most ? (size_t)n_worth : n_most;
    if (width == 1 || n < 2)
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
