/* cmd/bench_products.c - matrix products, in floats and in integers, beside sgemm. */
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "cmd/bench.h"
#include "kernels/parallel.h"

#define SIDE_MAX 65536

/* Products of a step: forward, by the weights turned, for the weights' gradient; of small models and of large; and attention's. */
static const struct shape {
    size_t M, N, K;
    bool a_is_turned, b_is_turned;
} shapes[] = {
    {512, 4096, 1024, false, false},  {512, 1024, 4096, false, true},  {1024, 4096, 512, true, false},
    {1024, 4096, 1024, false, false}, {1024, 1024, 4096, false, true}, {1024, 4096, 1024, true, false},
    {2048, 4096, 1024, false, false}, {2048, 1024, 4096, false, true}, {1024, 4096, 2048, true, false},
    {512, 384, 128, false, false},    {2048, 384, 128, false, false},  {2048, 128, 384, false, false},
    {512, 128, 384, false, true},     {128, 384, 512, true, false},    {384, 128, 2048, true, false},
    {256, 256, 256, false, false},    {512, 512, 512, false, false},   {256, 256, 32, false, true},
    {256, 32, 256, false, false},     {8, 384, 128, false, false},     {33, 70, 45, false, false},
};

/* A product in every form: the same memory serves all sets, but for what each packs. */
struct product {
    const struct bench *bench;
    const struct shape *shape;
    float *a, *b, *c;
    int8_t *a_slice[2], *b_slice[2], *a_exponent, *b_exponent;
    void *packed[BENCH_RUNNERS_MAX];
    const struct bench_runner *packed_for[BENCH_RUNNERS_MAX];
};

static void product_fini(struct product *p)
{
    void (*release)(void *) = p->bench->memory->release;
    release(p->a);
    release(p->b);
    release(p->c);
    for (int i = 0; i < 2; i++) {
        release(p->a_slice[i]);
        release(p->b_slice[i]);
    }
    release(p->a_exponent);
    release(p->b_exponent);
    for (size_t i = 0; i < BENCH_RUNNERS_MAX; i++)
        release(p->packed[i]);
}

static float *floats(const struct bench *bench, struct rng *rng, size_t n)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; x && i < n; i++)
        x[i] = rng_unit(rng) - 0.5f;
    float *there = bench_put(bench, x, n, sizeof *x);
    free(x);
    return there;
}

static int8_t *slice(const struct bench *bench, struct rng *rng, size_t n)
{
    int8_t *x = malloc(n);
    for (size_t i = 0; x && i < n; i++)
        x[i] = (int8_t)((int)rng_below(rng, 255) - 127);
    int8_t *there = bench_put(bench, x, n, 1);
    free(x);
    return there;
}

/* Numbers as a product finds them; exponents of 0, so that nothing overflows. */
static int product_init(struct product *p, const struct bench *bench, const struct shape *s)
{
    size_t n_a = s->M * s->K, n_b = s->K * s->N;
    struct rng rng;
    *p = (struct product){.bench = bench, .shape = s};
    rng_init(&rng, 1, "bench");
    p->a = floats(bench, &rng, n_a);
    p->b = floats(bench, &rng, n_b);
    p->c = bench_take(bench, s->M * s->N, sizeof(float));
    p->a_exponent = bench_take(bench, s->M, 1);
    p->b_exponent = bench_take(bench, s->N, 1);
    bool has_all = p->a && p->b && p->c && p->a_exponent && p->b_exponent;
    for (int i = 0; i < 2; i++) {
        p->a_slice[i] = slice(bench, &rng, n_a);
        p->b_slice[i] = slice(bench, &rng, n_b);
        has_all = has_all && p->a_slice[i] && p->b_slice[i];
    }
    return has_all ? 0 : HANSE_ENOMEM;
}

/* Weights are rounded and packed once a version, so that is done beforehand. */
static int pack_for(struct product *p, size_t i, const struct bench_runner *r)
{
    const struct shape *s = p->shape;
    size_t n_slices = numerics_slices(r->numerics);
    if (n_slices == 0)
        return 0;
    p->packed[i] = r->k->allot(r->k->packed_bytes(s->N, s->K, n_slices));
    if (!p->packed[i])
        return HANSE_ENOMEM;
    struct slices b = {p->b_slice[0], n_slices == 2 ? p->b_slice[1] : NULL, s->b_is_turned ? s->K : s->N, s->b_is_turned};
    r->k->pack(p->packed[i], b, s->N, s->K);
    p->packed_for[i] = r;
    return 0;
}

static void run_floats(const struct product *p, const struct bench_runner *r)
{
    const struct shape *s = p->shape;
    struct matrix a = s->a_is_turned ? matrix_transposed(p->a, s->M) : matrix_of(p->a, s->K);
    struct matrix b = s->b_is_turned ? matrix_transposed(p->b, s->K) : matrix_of(p->b, s->N);
    if (r->yardstick)
        r->k->matmul(p->c, s->N, a, b, s->M, s->N, s->K, false);
    else
        parallel_matmul(r->k, p->bench->team, p->c, s->N, a, b, s->M, s->N, s->K, false);
}

static void run_integers(const struct product *p, const struct bench_runner *r)
{
    const struct shape *s = p->shape;
    bool is_double = r->numerics == NUMERICS_I8X2;
    struct slices a = {p->a_slice[0], is_double ? p->a_slice[1] : NULL, s->a_is_turned ? s->M : s->K, s->a_is_turned};
    size_t i = 0;
    while (p->packed_for[i] != r)
        i++;
    parallel_multiply(r->k, p->bench->team, p->c, s->N, a, p->a_exponent, p->packed[i], p->b_exponent, s->M, s->N, s->K, false);
}

static void run_product(void *arg)
{
    const struct bench_runner *r = bench_current();
    if (r->numerics == NUMERICS_F32)
        run_floats(arg, r);
    else
        run_integers(arg, r);
}

static int bench_shape(struct bench *bench, const struct shape *s)
{
    char text[48];
    struct product p;
    struct bench_contest contest = {.n = 0};
    int err = product_init(&p, bench, s);
    bench_enter_all(bench, &contest, run_product, &p);
    for (size_t i = 0; i < contest.n && !err; i++)
        err = pack_for(&p, i, &contest.runner[i]);
    if (!err) {
        snprintf(text, sizeof text, "%zu%sx%zu%sx%zu", s->M, s->a_is_turned ? "'" : "", s->N, s->b_is_turned ? "'" : "", s->K);
        bench_compete(bench, &contest);
        bench_report(bench, &contest, "product", text, 2.0 * (double)s->M * (double)s->N * (double)s->K);
    }
    product_fini(&p);
    return err;
}

/* A number from 1 to SIDE_MAX, then ' if it is turned, then `end`. */
static const char *read_side(const char *text, size_t *side, bool *is_turned, char end)
{
    char *rest;
    unsigned long n = *text >= '0' && *text <= '9' ? strtoul(text, &rest, 10) : 0;
    if (n == 0 || n > SIDE_MAX)
        return NULL;
    *side = n;
    *is_turned = *rest == '\'';
    rest += *is_turned;
    return *rest == end ? rest + (end != '\0') : NULL;
}

static bool read_shape(const char *text, struct shape *s)
{
    bool is_turned;
    text = read_side(text, &s->M, &s->a_is_turned, 'x');
    if (text)
        text = read_side(text, &s->N, &s->b_is_turned, 'x');
    if (text)
        text = read_side(text, &s->K, &is_turned, '\0');
    return text && !is_turned;
}

bool bench_is_shape(const char *text)
{
    struct shape shape;
    return read_shape(text, &shape);
}

int bench_products(struct bench *bench)
{
    int err = 0;
    struct shape own;
    bench_report_head(bench, bench->has_gpu
                                 ? "products M x N x K (' marks the side of a turned operand): GFLOP/s, times cuBLAS's "
                                   "bf16, and share of the ceiling"
                                 : "products M x N x K (' marks the side of a turned operand): GFLOP/s, and times "
                                   "OpenBLAS's sgemm");
    if (bench->shape && read_shape(bench->shape, &own))
        return bench_shape(bench, &own);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes && !err; i++)
        err = bench_shape(bench, &shapes[i]);
    return err;
}
