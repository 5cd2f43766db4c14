/* cmd/bench.c - hanse bench: how fast the kernels run here, by instruction set, and OpenBLAS beside them. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "kernels/kernels.h"
#include "net/bench.h"

#define SETS_MAX 4
#define N_TENSORS 6
#define TENSOR_FLOATS ((size_t)1 << 20)
#define ELEMENTS ((size_t)1 << 16) /* of an elementwise operation: its tensors lie in the second-level cache */
#define ROW ((size_t)256)

struct bench {
    const struct kernels *set[SETS_MAX];
    const char *name[SETS_MAX];
    size_t n_sets;
    struct kernels blas;
    double seconds; /* spent on each figure */
    float *x[N_TENSORS];
    int32_t target[ELEMENTS / ROW];
};

/* Something to time. */
typedef void work(const struct kernels *k, struct bench *bench, const void *arg);

static double clock_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The shortest of many runs: others on the machine only ever make it longer. */
static double shortest(work *run, const struct kernels *k, struct bench *bench, const void *arg)
{
    double best = 1e30, start = clock_s(), now = start;
    while (best == 1e30 || now - start < bench->seconds) {
        run(k, bench, arg);
        double then = clock_s();
        best = then - now < best ? then - now : best;
        now = then;
    }
    return best;
}

/* The products of a step: forward, by the weights turned, for the weights' gradient, and those of attention. */
static const struct shape {
    size_t M, N, K;
    bool a_is_turned, b_is_turned;
    const char *what;
} shape[] = {
    {512, 384, 128, false, false, "rows into hidden"},
    {2048, 384, 128, false, false, "many rows into hidden"},
    {2048, 128, 384, false, false, "hidden back to rows"},
    {512, 128, 384, false, true, "gradient of rows"},
    {128, 384, 512, true, false, "gradient of weights"},
    {384, 128, 2048, true, false, "gradient of weights, many rows"},
    {256, 256, 256, false, false, "a cube"},
    {512, 512, 512, false, false, "a larger cube"},
    {256, 256, 32, false, true, "attention's scores"},
    {256, 32, 256, false, false, "attention's sums"},
    {8, 384, 128, false, false, "few rows"},
    {33, 70, 45, false, false, "odd"},
};

static void run_product(const struct kernels *k, struct bench *bench, const void *arg)
{
    const struct shape *s = arg;
    struct matrix a = s->a_is_turned ? matrix_transposed(bench->x[0], s->M) : matrix_of(bench->x[0], s->K);
    struct matrix b = s->b_is_turned ? matrix_transposed(bench->x[1], s->K) : matrix_of(bench->x[1], s->N);
    k->matmul(bench->x[2], s->N, a, b, s->M, s->N, s->K, false);
}

static void print_names(const struct bench *bench)
{
    for (size_t i = 0; i < bench->n_sets; i++)
        printf("%10s", bench->name[i]);
    putchar('\n');
}

static void bench_products(struct bench *bench)
{
    printf("products, one thread, GFLOP/s\n%22s  ", "M x N x K");
    print_names(bench);
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        const struct shape *s = &shape[i];
        printf("%6zu%s x%4zu%s x%5zu  ", s->M, s->a_is_turned ? "'" : " ", s->N, s->b_is_turned ? "'" : " ", s->K);
        for (size_t set = 0; set < bench->n_sets; set++) {
            double took = shortest(run_product, bench->set[set], bench, s);
            printf("%10.1f", 2e-9 * (double)(s->M * s->N * s->K) / took);
            fflush(stdout);
        }
        printf("  %s\n", s->what);
    }
    puts("' marks the side of a transposed operand");
}

static void run_axpy(const struct kernels *k, struct bench *bench, const void *arg)
{
    (void)arg;
    k->axpy(bench->x[0], 1e-6f, bench->x[1], ELEMENTS);
}

static void run_dot(const struct kernels *k, struct bench *bench, const void *arg)
{
    (void)arg;
    bench->x[2][0] = k->dot(bench->x[0], bench->x[1], ELEMENTS);
}

static void run_sigmoid(const struct kernels *k, struct bench *bench, const void *arg)
{
    (void)arg;
    k->sigmoid(bench->x[2], bench->x[0], ELEMENTS);
}

static void run_swiglu(const struct kernels *k, struct bench *bench, const void *arg)
{
    (void)arg;
    k->swiglu(bench->x[2], bench->x[0], bench->x[1], ELEMENTS);
}

static void run_swiglu_grad(const struct kernels *k, struct bench *bench, const void *arg)
{
    (void)arg;
    k->swiglu_grad(bench->x[2], bench->x[3], bench->x[4], bench->x[0], bench->x[1], ELEMENTS);
}

static void run_rmsnorm(const struct kernels *k, struct bench *bench, const void *arg)
{
    (void)arg;
    k->rmsnorm(bench->x[2], bench->x[3], bench->x[0], bench->x[1], 1e-5f, ELEMENTS / ROW, ROW);
}

static void run_rmsnorm_grad(const struct kernels *k, struct bench *bench, const void *arg)
{
    (void)arg;
    k->rmsnorm_grad(bench->x[2], bench->x[3], bench->x[0], bench->x[4], bench->x[5], bench->x[1], ELEMENTS / ROW, ROW);
}

/* The sines are those of a small turn, so that x stays as it is however often it turns. */
static void run_rope(const struct kernels *k, struct bench *bench, const void *arg)
{
    const bool *inverse = arg;
    k->rope(bench->x[0], bench->x[4], bench->x[5], *inverse, ELEMENTS / ROW, ELEMENTS / ROW, 8, 32);
}

static void run_cross_entropy(const struct kernels *k, struct bench *bench, const void *arg)
{
    (void)arg;
    k->cross_entropy(bench->x[3], bench->x[2], bench->x[0], bench->target, 1e-3f, ELEMENTS / ROW, ROW);
}

static void run_adamw(const struct kernels *k, struct bench *bench, const void *arg)
{
    const struct adam_step *step = arg;
    k->adamw(bench->x[2], bench->x[3], bench->x[4], bench->x[0], step, ELEMENTS);
}

static void run_nadamw(const struct kernels *k, struct bench *bench, const void *arg)
{
    const struct adam_step *step = arg;
    k->nadamw(bench->x[2], bench->x[3], bench->x[4], bench->x[0], step, ELEMENTS);
}

/* Eight heads of 32, as many rows as the elementwise operations have. */
static void run_attention(const struct kernels *k, struct bench *bench, const void *arg)
{
    (void)arg;
    k->attention(bench->x[3], bench->x[4], bench->x[0], bench->x[1], bench->x[2], 0.2f, 1, ELEMENTS / ROW, 8, 32);
}

static void run_attention_grad(const struct kernels *k, struct bench *bench, const void *arg)
{
    (void)arg;
    float *out = bench->x[5];
    k->attention_grad(out, out + ELEMENTS, out + 2 * ELEMENTS, out + 3 * ELEMENTS, bench->x[3], bench->x[4], bench->x[0],
                      bench->x[1], bench->x[2], 0.2f, 1, ELEMENTS / ROW, 8, 32);
}

static const struct adam_step update = {.lr = 1e-4f,
                                        .beta1 = 0.9f,
                                        .beta2 = 0.99f,
                                        .eps = 1e-8f,
                                        .weight_decay = 0.1f,
                                        .beta1_power = 0.5f,
                                        .beta2_power = 0.5f,
                                        .grad_scale = 1.0f};
static const bool forwards = false;

static const struct operation {
    const char *name;
    work *run;
    const void *arg;
    size_t n_moved; /* floats read or written for each element; 0 where that is not what limits it */
} operation[] = {
    {"axpy", run_axpy, NULL, 3},
    {"dot", run_dot, NULL, 2},
    {"sigmoid", run_sigmoid, NULL, 2},
    {"swiglu", run_swiglu, NULL, 3},
    {"swiglu_grad", run_swiglu_grad, NULL, 5},
    {"rmsnorm", run_rmsnorm, NULL, 2},
    {"rmsnorm_grad", run_rmsnorm_grad, NULL, 3},
    {"rope", run_rope, &forwards, 2},
    {"cross_entropy", run_cross_entropy, NULL, 2},
    {"adamw", run_adamw, &update, 7},
    {"nadamw", run_nadamw, &update, 7},
    {"attention", run_attention, NULL, 0},
    {"attention_grad", run_attention_grad, NULL, 0},
};

/* Every operation finds its inputs anew, since those before wrote over some. */
static void fill(struct bench *bench)
{
    struct rng rng;
    rng_init(&rng, 1, "bench");
    for (size_t t = 0; t < N_TENSORS; t++)
        for (size_t i = 0; i < TENSOR_FLOATS; i++)
            bench->x[t][i] = (t == 5 ? 0.01f : 1.0f) * (rng_unit(&rng) + (t >= 3 ? 0.5f : -0.5f));
    for (size_t r = 0; r < ELEMENTS / ROW; r++)
        bench->target[r] = (int32_t)rng_below(&rng, ROW);
}

static void bench_kernels(struct bench *bench)
{
    printf("%zu elements in rows of %zu, one thread, ns per thousand elements (GB/s moved)\n%-16s", ELEMENTS, ROW, "");
    for (size_t i = 0; i < bench->n_sets; i++)
        printf("%18s", bench->name[i]);
    putchar('\n');
    for (size_t i = 0; i < sizeof operation / sizeof *operation; i++) {
        const struct operation *op = &operation[i];
        printf("%-16s", op->name);
        for (size_t set = 0; set < bench->n_sets; set++) {
            fill(bench);
            double took = shortest(op->run, bench->set[set], bench, op->arg) / (double)ELEMENTS;
            if (op->n_moved)
                printf("%10.1f (%5.1f)", took * 1e12, 1e-9 * (double)(op->n_moved * sizeof(float)) / took);
            else
                printf("%10.1f        ", took * 1e12);
            fflush(stdout);
        }
        putchar('\n');
    }
}

static void add_set(struct bench *bench, const char *name, const struct kernels *set)
{
    bench->name[bench->n_sets] = name;
    bench->set[bench->n_sets++] = set;
}

/* The set beside which a wider one is shown. */
static const char *narrower_than(const char *name)
{
    if (strcmp(name, "dotprod") == 0)
        return "neon";
    return strcmp(name, "ref") == 0 || strcmp(name, "avx2") == 0 || strcmp(name, "neon") == 0 ? NULL : "avx2";
}

/* The set asked for, or every one that beats the definition and runs here; OpenBLAS for products. */
static int gather_sets(struct bench *bench, const char *isa, bool is_products)
{
    const struct kernels *set;
    int err = kernels_choose(isa, &set);
    if (err)
        return err;
    if (!isa && narrower_than(set->name)) {
        const struct kernels *narrower;
        if (kernels_choose(narrower_than(set->name), &narrower) == 0)
            add_set(bench, narrower->name, narrower);
    }
    add_set(bench, set->name, set);
#ifdef HAVE_OPENBLAS
    if (is_products && kernels_with_blas(set, &bench->blas) == 0)
        add_set(bench, "openblas", &bench->blas);
#endif
    (void)is_products;
    return 0;
}

static int run_bench(struct bench *bench, bool is_products)
{
    int err = HANSE_ENOMEM;
    for (size_t t = 0; t < N_TENSORS; t++) {
        bench->x[t] = aligned_alloc(64, TENSOR_FLOATS * sizeof(float));
        if (!bench->x[t])
            goto fail;
    }
    fill(bench);
    if (is_products)
        bench_products(bench);
    else
        bench_kernels(bench);
    err = 0;
fail:
    for (size_t t = 0; t < N_TENSORS; t++)
        free(bench->x[t]);
    return err;
}

/* Links: messages of three sizes, TLS over loopback, both ends on this machine. */
static int bench_links(double seconds)
{
    static const size_t size[] = {(size_t)4 << 10, (size_t)64 << 10, (size_t)1 << 20};
    printf("%12s %10s %14s %10s\n", "message", "MB/s", "round trips/s", "open ms");
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        struct net_bench result;
        int err = net_bench_link(10 * seconds, size[i], &result);
        if (err)
            return err;
        printf("%12zu %10.0f %14.0f %10.1f\n", size[i], result.bytes_per_s * 1e-6, result.round_trips_per_s,
               result.open_us * 1e-3);
    }
    return 0;
}

int cmd_bench(int argc, char **argv)
{
    static struct bench bench;
    const char *isa = NULL;
    char **operand;
    int status;
    bench.seconds = 0.2;
    const struct options_row row[] = {
        {"isa", "NAME", OPTIONS_TEXT, &isa,
         "ref, avx2, avx512, avxvnni, vnni, amx, neon or dotprod (default: the fastest here, and avx2 or neon)", 0, 0, false},
        {"seconds", "S", OPTIONS_DOUBLE, &bench.seconds, "time for each figure (default 0.2)", 0, 0, false},
    };
    const struct options_usage usage = {
        .command = "hanse bench",
        .operands = "matmul|kernels|link",
        .about =
            "Times the products or the other kernels on one thread (the shortest of the runs that fit into a figure's time), or "
            "links between two peers on this machine (ten times that long).",
        .example = "hanse bench matmul\nhanse bench kernels --isa avx2\nhanse bench link",
        .row = row,
        .n_rows = sizeof row / sizeof *row,
        .n_operands_min = 1,
        .n_operands_max = 1,
    };
    if (!options_read(&usage, argc, argv, &operand, NULL, &status))
        return status;
    bool is_products = strcmp(operand[0], "matmul") == 0;
    bool is_links = strcmp(operand[0], "link") == 0;
    if (!is_products && !is_links && strcmp(operand[0], "kernels") != 0)
        return options_refuse(&usage, "'%s' is nothing to time; 'matmul', 'kernels' and 'link' are", operand[0]);
    if (!(bench.seconds > 0.0 && bench.seconds <= 60.0))
        return options_refuse(&usage, "--seconds must be above 0 and at most 60");
    if (is_links)
        return hanse_exit_status(bench_links(bench.seconds));
    int err = gather_sets(&bench, isa, is_products);
    if (!err)
        err = run_bench(&bench, is_products);
    return hanse_exit_status(err);
}
