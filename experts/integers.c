/**
 * experts/integers.c - what expert.h calls an expert of i8x2 or i8x1, from the products of kernels/linear.h.
 */
#include "experts/integers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "kernels/parallel.h"

#define SLICE_BITS 8

/* -- Memory ---------------------------------------------------------------------------------------- */

/* The matrices whose products of one slice config.coarse asks for. */
static bool is_coarse(const struct expert_config *c, int matrix)
{
    static const uint32_t of_in = 1u << PRODUCT_IN | 1u << PRODUCT_GRAD_IN | 1u << PRODUCT_GRAD_WEIGHTS_IN;
    static const uint32_t of_out = 1u << PRODUCT_OUT | 1u << PRODUCT_GRAD_HIDDEN | 1u << PRODUCT_GRAD_WEIGHTS_OUT;
    return c->coarse & (matrix == INTEGERS_DOWN ? of_out : of_in);
}

static int allot_matrices(struct integers *i, const struct expert_config *c, const struct kernels *k)
{
    for (int m = 0; m < INTEGERS_N; m++) {
        int err = linear_init(&i->matrix[m], k, c->D, c->H, c->numerics);
        if (!err && is_coarse(c, m))
            err = linear_init(&i->coarse[m], k, c->D, c->H, NUMERICS_I8X1);
        if (err)
            return err;
    }
    return 0;
}

static size_t block_bytes(const struct expert_config *c)
{
    size_t rows = arena_padded(EXPERT_BLOCK * (size_t)c->D), hidden = arena_padded(EXPERT_BLOCK * (size_t)c->H * sizeof(float));
    return 3 * hidden + 2 * numerics_slices(c->numerics) * rows + 3 * arena_padded(EXPERT_BLOCK);
}

size_t integers_bytes(const struct expert_config *c, const struct kernels *k)
{
    struct linear unmade = {.kernels = k, .M = c->D, .N = c->H, .n_slices = numerics_slices(c->numerics)};
    size_t n_bytes = block_bytes(c) + linear_work_bytes(&unmade, EXPERT_BLOCK);
    for (int m = 0; m < INTEGERS_N; m++) {
        n_bytes += linear_bytes(k, c->D, c->H, c->numerics);
        n_bytes += is_coarse(c, m) ? linear_bytes(k, c->D, c->H, NUMERICS_I8X1) : 0;
    }
    return n_bytes;
}

/* Not zeroed: what no backward uses costs no memory. */
static int allot_block(struct integers *i, const struct expert_config *c, const struct kernels *k)
{
    size_t n_slices = numerics_slices(c->numerics), rows = arena_padded(EXPERT_BLOCK * (size_t)c->D);
    size_t hidden = arena_padded(EXPERT_BLOCK * (size_t)c->H * sizeof(float)), exponents = arena_padded(EXPERT_BLOCK);
    int8_t *at = i->memory = k->allot(block_bytes(c));
    i->work = k->allot(linear_work_bytes(&i->matrix[0], EXPERT_BLOCK));
    if (!i->memory || !i->work)
        return HANSE_ENOMEM;
    float *gg = (float *)at, *gu = (float *)(at + hidden), *h = (float *)(at + 2 * hidden);
    at += 3 * hidden;
    int8_t *gy = at + n_slices * rows, *exponent = gy + n_slices * rows;
    i->block = (struct integers_block){.x_exponent = exponent,
                                       .x_high = at,
                                       .x_low = n_slices == 2 ? at + rows : NULL,
                                       .gy_exponent = exponent + exponents,
                                       .gy_high = gy,
                                       .gy_low = n_slices == 2 ? gy + rows : NULL,
                                       .grad = {gg, gu, h, NULL}};
    i->exponent = exponent + 2 * exponents;
    return 0;
}

int integers_new(const struct expert_config *config, const struct kernels *kernels, struct integers **out)
{
    struct integers *i = calloc(1, sizeof *i);
    int err = HANSE_ENOMEM;
    if (!i)
        goto fail;
    err = allot_matrices(i, config, kernels);
    if (!err)
        err = allot_block(i, config, kernels);
    if (err)
        goto fail;
    *out = i;
    return 0;
fail:
    integers_free(i);
    return err;
}

void integers_free(struct integers *integers)
{
    if (!integers)
        return;
    const struct kernels *k = integers->matrix[0].kernels;
    if (k) {
        k->release(integers->memory);
        k->release(integers->work);
    }
    for (int m = 0; m < INTEGERS_N; m++) {
        linear_fini(&integers->matrix[m]);
        linear_fini(&integers->coarse[m]);
    }
    free(integers);
}

void integers_share(struct integers *integers, struct team *team)
{
    for (int m = 0; m < INTEGERS_N; m++)
        integers->matrix[m].team = integers->coarse[m].team = team;
}

static void round_matrix(void *arg, size_t m)
{
    const struct expert *x = arg;
    size_t D = x->config.D, H = x->config.H;
    const struct matrix w[INTEGERS_N] = {matrix_of(x->param, H), matrix_of(x->param + D * H, H),
                                         matrix_transposed(x->param + 2 * D * H, D)};
    linear_set(&x->integers->matrix[m], w[m]);
    if (is_coarse(&x->config, (int)m))
        linear_set(&x->integers->coarse[m], w[m]);
}

void integers_round(struct expert *x)
{
    team_run(x->team, round_matrix, x, INTEGERS_N);
}

/* -- The products ---------------------------------------------------------------------------------- */

static bool in_one_slice(const struct expert *x, enum expert_product product)
{
    return x->config.coarse >> product & 1;
}

static const struct linear *matrix_for(const struct expert *x, enum expert_product product, int m)
{
    return in_one_slice(x, product) ? &x->integers->coarse[m] : &x->integers->matrix[m];
}

/* The rows as this product reads them: without their low slices where it is coarse, in integers 2^8 as large. */
static struct rows rows_for(const struct expert *x, enum expert_product product, const struct rows *rows, int8_t *exponent,
                            size_t n)
{
    if (!in_one_slice(x, product))
        return *rows;
    x->kernels->shift_exponents(exponent, rows->exponent, SLICE_BITS, n);
    return (struct rows){.exponent = exponent, .high = rows->high};
}

/* The scratch of one call: four blocks of (n, H), exponents (n), and what a product needs. */
struct scratch {
    float *g, *u, *h, *gh;
    int8_t *exponent;
    void *work;
};

static size_t hidden_bytes(const struct expert *x, size_t n)
{
    return arena_padded(n * x->config.H * sizeof(float));
}

size_t integers_work_bytes(const struct expert *x, size_t n)
{
    return 4 * hidden_bytes(x, n) + arena_padded(n) + linear_work_bytes(&x->integers->matrix[0], n);
}

static struct scratch split(const struct expert *x, void *work, size_t n)
{
    char *at = work;
    size_t block = hidden_bytes(x, n);
    return (struct scratch){.g = (float *)at,
                            .u = (float *)(at + block),
                            .h = (float *)(at + 2 * block),
                            .gh = (float *)(at + 3 * block),
                            .exponent = (int8_t *)at + 4 * block,
                            .work = at + 4 * block + arena_padded(n)};
}

/* g = x Wg, u = x Wu */
static void hidden(const struct expert *x, const struct scratch *s, const struct rows *rows, size_t n)
{
    struct rows in = rows_for(x, PRODUCT_IN, rows, s->exponent, n);
    linear_ahead(matrix_for(x, PRODUCT_IN, INTEGERS_GATE), s->g, &in, n, false);
    linear_ahead(matrix_for(x, PRODUCT_IN, INTEGERS_UP), s->u, &in, n, false);
}

void integers_forward(const struct expert *x, float *y, const struct rows *rows, void *work, size_t n)
{
    struct scratch s = split(x, work, n);
    hidden(x, &s, rows, n);
    linear_back_swiglu(matrix_for(x, PRODUCT_OUT, INTEGERS_DOWN), y, s.g, s.u, s.h, s.work, n);
}

/* gg and gu take the place of g and u. */
static void hidden_gradient(const struct expert *x, const struct scratch *s, const struct rows *gy, const float *weight, size_t n)
{
    size_t H = x->config.H;
    const struct kernels *k = x->kernels;
    struct rows in = rows_for(x, PRODUCT_GRAD_HIDDEN, gy, s->exponent, n);
    linear_ahead(matrix_for(x, PRODUCT_GRAD_HIDDEN, INTEGERS_DOWN), s->gh, &in, n, false);
    parallel_swiglu(k, x->team, s->h, s->g, s->u, n * H);
    if (weight) {
        k->weigh(s->gh, weight, s->gh, n, H);
        k->weigh(s->h, weight, s->h, n, H);
    }
    parallel_swiglu_grad(k, x->team, s->g, s->u, s->gh, s->g, s->u, n * H);
}

/* gx could not travel if it were too large, and a refused backward must not count. */
void integers_backward(const struct expert *x, float *gx, const struct rows *rows, const struct rows *gy, const float *weight,
                       void *work, size_t n, struct expert_grad *grad)
{
    struct scratch s = split(x, work, n);
    size_t n_hidden = n * x->config.H;
    uint32_t *is_bad = x->is_bad;
    hidden(x, &s, rows, n);
    hidden_gradient(x, &s, gy, weight, n);
    linear_back(matrix_for(x, PRODUCT_GRAD_IN, INTEGERS_GATE), gx, s.g, s.work, n, false);
    linear_back(matrix_for(x, PRODUCT_GRAD_IN, INTEGERS_UP), gx, s.u, s.work, n, true);
    x->kernels->check_below(is_bad, s.g, n_hidden, EXPERT_GRAD_MAX);
    x->kernels->check_below(is_bad, s.u, n_hidden, EXPERT_GRAD_MAX);
    x->kernels->check_below(is_bad, s.h, n_hidden, EXPERT_GRAD_MAX);
    x->kernels->check_below(is_bad, gx, n * x->config.D, QUANTIZE_MAX);
    *grad = (struct expert_grad){s.g, s.u, s.h, NULL};
}

/* -- The block ------------------------------------------------------------------------------------- */

static struct rows block_x(const struct integers_block *b)
{
    return (struct rows){.exponent = b->x_exponent, .high = b->x_high, .low = b->x_low};
}

static struct rows block_gy(const struct integers_block *b)
{
    return (struct rows){.exponent = b->gy_exponent, .high = b->gy_high, .low = b->gy_low};
}

/* Nothing is refused: no value is EXPERT_GRAD_MAX or more, and no exponent that it is folded with above EXPERT_EXPONENT_MAX. */
static void sum(struct expert *x, const struct rows *rows, const struct rows *gy, const struct expert_grad *g, size_t n)
{
    size_t D = x->config.D, H = x->config.H;
    struct integers *i = x->integers;
    struct rows in = rows_for(x, PRODUCT_GRAD_WEIGHTS_IN, rows, i->exponent, n);
    linear_grad(matrix_for(x, PRODUCT_GRAD_WEIGHTS_IN, INTEGERS_GATE), x->grad, &in, g->gg, i->work, n, EXPERT_BLOCK);
    linear_grad(matrix_for(x, PRODUCT_GRAD_WEIGHTS_IN, INTEGERS_UP), x->grad + D * H, &in, g->gu, i->work, n, EXPERT_BLOCK);
    in = rows_for(x, PRODUCT_GRAD_WEIGHTS_OUT, gy, i->exponent, n);
    linear_grad_turned(matrix_for(x, PRODUCT_GRAD_WEIGHTS_OUT, INTEGERS_DOWN), x->grad + 2 * D * H, &in, g->h, i->work, n,
                       EXPERT_BLOCK);
}

void integers_sum(struct expert *x)
{
    struct integers_block *b = &x->integers->block;
    if (b->n == 0)
        return;
    struct rows rows = block_x(b), gy = block_gy(b);
    sum(x, &rows, &gy, &b->grad, b->n);
    b->n = 0;
}

static struct expert_grad grad_from(const struct expert_grad *g, size_t first, size_t H)
{
    return (struct expert_grad){g->gg + first * H, g->gu + first * H, g->h + first * H, NULL};
}

static void append_rows(const struct kernels *k, int8_t *exponent, int8_t *high, int8_t *low, const struct rows *from, size_t at,
                        size_t n, size_t D)
{
    k->copy(exponent + at, from->exponent, n);
    k->copy(high + at * D, from->high, n * D);
    if (low)
        k->copy(low + at * D, from->low, n * D);
}

static void append(const struct kernels *k, struct integers_block *b, const struct rows *rows, const struct rows *gy,
                   const struct expert_grad *g, size_t n, size_t D, size_t H)
{
    append_rows(k, b->x_exponent, b->x_high, b->x_low, rows, b->n, n, D);
    append_rows(k, b->gy_exponent, b->gy_high, b->gy_low, gy, b->n, n, D);
    k->copy(b->grad.gg + b->n * H, g->gg, n * H * sizeof(float));
    k->copy(b->grad.gu + b->n * H, g->gu, n * H * sizeof(float));
    k->copy(b->grad.h + b->n * H, g->h, n * H * sizeof(float));
    b->n += n;
}

int integers_move_block(struct integers *to, const struct integers *from, expert_move *move, const struct kernels *k, size_t D,
                        size_t H)
{
    struct integers_block *a = &to->block;
    const struct integers_block *b = &from->block;
    const struct {
        void *to;
        const void *from;
        size_t n_bytes;
    } part[] = {{a->x_exponent, b->x_exponent, 1},   {a->x_high, b->x_high, D},       {a->x_low, b->x_low, D},
                {a->gy_exponent, b->gy_exponent, 1}, {a->gy_high, b->gy_high, D},     {a->gy_low, b->gy_low, D},
                {a->grad.gg, b->grad.gg, 4 * H},     {a->grad.gu, b->grad.gu, 4 * H}, {a->grad.h, b->grad.h, 4 * H}};
    int err = 0;
    for (size_t i = 0; !err && i < sizeof part / sizeof *part; i++)
        if (part[i].to)
            err = move(k, part[i].to, part[i].from, b->n * part[i].n_bytes);
    a->n = b->n;
    return err;
}

/* How many rows go together now: whole blocks that find the block empty are summed where they lie. */
static size_t next_rows(const struct expert *x, size_t n_left)
{
    size_t n_block = x->integers->block.n;
    if (n_block > 0 || n_left < EXPERT_BLOCK)
        return n_left < EXPERT_BLOCK - n_block ? n_left : EXPERT_BLOCK - n_block;
    return x->config.coarse ? EXPERT_BLOCK : n_left / EXPERT_BLOCK * EXPERT_BLOCK;
}

void integers_add(struct expert *x, const struct rows *rows, const struct rows *gy, const struct expert_grad *grad, size_t n)
{
    size_t D = x->config.D, H = x->config.H;
    struct integers_block *b = &x->integers->block;
    for (size_t at = 0, n_now; at < n; at += n_now) {
        struct rows x_now = rows_from(rows, at, D), gy_now = rows_from(gy, at, D);
        struct expert_grad grad_now = grad_from(grad, at, H);
        n_now = next_rows(x, n - at);
        if (n_now >= EXPERT_BLOCK) {
            sum(x, &x_now, &gy_now, &grad_now, n_now);
            continue;
        }
        append(x->kernels, b, &x_now, &gy_now, &grad_now, n_now, D, H);
        if (b->n == EXPERT_BLOCK)
            integers_sum(x);
    }
}

bool integers_block_ok(const struct expert *x)
{
    const struct integers_block *b = &x->integers->block;
    size_t n_floats = b->n * x->config.H;
    struct rows rows = block_x(b), gy = block_gy(b);
    return expert_rows_ok(x->config.numerics, &rows, b->n, x->config.D) &&
           expert_rows_ok(x->config.numerics, &gy, b->n, x->config.D) &&
           expert_all_below(b->grad.gg, n_floats, EXPERT_GRAD_MAX) && expert_all_below(b->grad.gu, n_floats, EXPERT_GRAD_MAX) &&
           expert_all_below(b->grad.h, n_floats, EXPERT_GRAD_MAX);
}
