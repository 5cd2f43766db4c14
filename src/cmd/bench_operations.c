/* cmd/bench_operations.c - everything of the kernels that is no product, on one thread. */
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/random.h"
#include "cmd/bench.h"

#define N_TENSORS 6
#define TENSOR_FLOATS ((size_t)1 << 20)
#define ELEMENTS ((size_t)1 << 16) /* of an operation: its tensors lie in the second-level cache */
#define ROW ((size_t)256)

struct tensors {
    float *x[N_TENSORS];
    int32_t target[ELEMENTS / ROW];
};

static void run_axpy(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->axpy(t->x[0], 1e-6f, t->x[1], ELEMENTS);
}

static void run_dot(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    t->x[2][0] = k->dot(t->x[0], t->x[1], ELEMENTS);
}

static void run_sigmoid(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->sigmoid(t->x[2], t->x[0], ELEMENTS);
}

static void run_swiglu(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->swiglu(t->x[2], t->x[0], t->x[1], ELEMENTS);
}

static void run_swiglu_grad(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->swiglu_grad(t->x[2], t->x[3], t->x[4], t->x[0], t->x[1], ELEMENTS);
}

static void run_rmsnorm(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->rmsnorm(t->x[2], t->x[3], t->x[0], t->x[1], 1e-5f, ELEMENTS / ROW, ROW);
}

static void run_rmsnorm_grad(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->rmsnorm_grad(t->x[2], t->x[3], t->x[0], t->x[4], t->x[5], t->x[1], ELEMENTS / ROW, ROW);
}

/* The sines are those of a small turn, so that x stays as it is however often it turns. */
static void run_rope(const struct kernels *k, struct tensors *t, const void *arg)
{
    const bool *inverse = arg;
    k->rope(t->x[0], t->x[4], t->x[5], *inverse, ELEMENTS / ROW, ELEMENTS / ROW, 8, 32);
}

static void run_cross_entropy(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->cross_entropy(t->x[3], t->x[2], t->x[0], t->target, 1e-3f, ELEMENTS / ROW, ROW);
}

static void run_adamw(const struct kernels *k, struct tensors *t, const void *arg)
{
    const struct adam_step *step = arg;
    k->adamw(t->x[2], t->x[3], t->x[4], t->x[0], step, ELEMENTS);
}

static void run_nadamw(const struct kernels *k, struct tensors *t, const void *arg)
{
    const struct adam_step *step = arg;
    k->nadamw(t->x[2], t->x[3], t->x[4], t->x[0], step, ELEMENTS);
}

/* Eight heads of 32, as many rows as the elementwise operations have. */
static void run_attention(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->attention(t->x[3], t->x[4], t->x[0], t->x[1], t->x[2], 0.2f, 1, ELEMENTS / ROW, 8, 32);
}

static void run_attention_grad(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    float *out = t->x[5];
    k->attention_grad(out, out + ELEMENTS, out + 2 * ELEMENTS, out + 3 * ELEMENTS, t->x[3], t->x[4], t->x[0], t->x[1], t->x[2],
                      0.2f, 1, ELEMENTS / ROW, 8, 32);
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
    void (*run)(const struct kernels *k, struct tensors *t, const void *arg);
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
static void fill(struct tensors *t)
{
    struct rng rng;
    rng_init(&rng, 1, "bench");
    for (size_t i = 0; i < N_TENSORS; i++)
        for (size_t j = 0; j < TENSOR_FLOATS; j++)
            t->x[i][j] = (i == 5 ? 0.01f : 1.0f) * (rng_unit(&rng) + (i >= 3 ? 0.5f : -0.5f));
    for (size_t r = 0; r < ELEMENTS / ROW; r++)
        t->target[r] = (int32_t)rng_below(&rng, ROW);
}

struct trial {
    const struct operation *op;
    struct tensors *tensors;
};

static void run_operation(void *arg)
{
    const struct trial *trial = arg;
    trial->op->run(bench_current()->k, trial->tensors, trial->op->arg);
}

/* Sets that differ in their integer products alone have these in common. */
static void enter(const struct bench *bench, struct bench_contest *contest, struct trial *trial)
{
    for (size_t i = 0; i < bench->n_sets; i++) {
        bool is_new = true;
        for (size_t j = 0; j < i; j++)
            is_new = is_new && bench->set[j]->axpy != bench->set[i]->axpy;
        if (is_new)
            contest->runner[contest->n++] = (struct bench_runner){.run = run_operation, .arg = trial, .k = bench->set[i]};
    }
}

static void report(const struct bench *bench, const struct operation *op, const struct bench_contest *contest)
{
    if (!bench->is_json)
        printf("%-16s", op->name);
    for (size_t i = 0; i < contest->n; i++) {
        const struct bench_runner *r = &contest->runner[i];
        double ns = r->best_s * 1e12 / (double)ELEMENTS,
               gb_s = 1e-9 * (double)(op->n_moved * sizeof(float) * ELEMENTS) / r->best_s;
        if (bench->is_json && op->n_moved)
            printf("{\"op\":\"%s\",\"shape\":\"%zu\",\"numerics\":\"f32\",\"isa\":\"%s\",\"threads\":1,"
                   "\"ns_per_1000\":%.4g,\"gb_per_s\":%.4g}\n",
                   op->name, ELEMENTS, r->k->name, ns, gb_s);
        else if (bench->is_json)
            printf("{\"op\":\"%s\",\"shape\":\"%zu\",\"numerics\":\"f32\",\"isa\":\"%s\",\"threads\":1,"
                   "\"ns_per_1000\":%.4g}\n",
                   op->name, ELEMENTS, r->k->name, ns);
        else if (op->n_moved)
            printf("%10.1f (%5.1f)", ns, gb_s);
        else
            printf("%10.1f        ", ns);
    }
    if (!bench->is_json)
        putchar('\n');
    fflush(stdout);
}

static void head(const struct bench *bench, const struct bench_contest *contest)
{
    if (bench->is_json)
        return;
    printf("other operations on %zu elements in rows of %zu, one thread: ns per thousand elements (GB/s moved)\n%-16s", ELEMENTS,
           ROW, "");
    for (size_t i = 0; i < contest->n; i++)
        printf("%10s        ", contest->runner[i].k->name);
    putchar('\n');
}

static void run_all(const struct bench *bench, struct tensors *tensors)
{
    for (size_t i = 0; i < sizeof operation / sizeof *operation; i++) {
        struct bench_contest contest = {.n = 0};
        struct trial trial = {&operation[i], tensors};
        enter(bench, &contest, &trial);
        if (i == 0)
            head(bench, &contest);
        fill(tensors);
        bench_compete(bench, &contest);
        report(bench, &operation[i], &contest);
    }
}

int bench_operations(struct bench *bench)
{
    static struct tensors tensors;
    int err = HANSE_ENOMEM;
    bench->n_now = 1;
    for (size_t i = 0; i < N_TENSORS; i++) {
        tensors.x[i] = arena_aligned(TENSOR_FLOATS, sizeof(float));
        if (!tensors.x[i])
            goto fail;
    }
    run_all(bench, &tensors);
    err = 0;
fail:
    for (size_t i = 0; i < N_TENSORS; i++) {
        free(tensors.x[i]);
        tensors.x[i] = NULL;
    }
    return err;
}
