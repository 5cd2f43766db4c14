/* cmd/bench_operations.c - everything of the kernels that is no product, on one thread. */
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "cmd/bench.h"

#define N_TENSORS 6
#define ROW ((size_t)256)
#define HEADS ((size_t)8)
#define TOKENS ((size_t)256) /* of a sequence */
#define PIECE ((size_t)1 << 16)
#define GPU_UNITS_MIN 8 /* of a chip that large tensors are for */

struct tensors {
    size_t n, n_attention; /* elements of an operation */
    size_t n_floats;       /* of each tensor: attention's probabilities need 8 times what its rows do, its gradients 4 times */
    float *x[N_TENSORS];
    int32_t *target; /* (n / ROW) */
    float sum;       /* so that nobody leaves the work out */
};

static void run_axpy(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->axpy(t->x[0], 1e-6f, t->x[1], t->n);
}

static void run_dot(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    t->sum += k->dot(t->x[0], t->x[1], t->n);
}

static void run_sigmoid(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->sigmoid(t->x[2], t->x[0], t->n);
}

static void run_swiglu(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->swiglu(t->x[2], t->x[0], t->x[1], t->n);
}

static void run_swiglu_grad(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->swiglu_grad(t->x[2], t->x[3], t->x[4], t->x[0], t->x[1], t->n);
}

static void run_rmsnorm(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->rmsnorm(t->x[2], t->x[3], t->x[0], t->x[1], 1e-5f, t->n / ROW, ROW);
}

static void run_rmsnorm_grad(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->rmsnorm_grad(t->x[2], t->x[3], t->x[0], t->x[4], t->x[5], t->x[1], t->n / ROW, ROW);
}

/* The sines are those of a small turn, so that x stays as it is however often it turns. */
static void run_rope(const struct kernels *k, struct tensors *t, const void *arg)
{
    const bool *inverse = arg;
    k->rope(t->x[0], t->x[4], t->x[5], *inverse, t->n / ROW, TOKENS, HEADS, ROW / HEADS);
}

static void run_cross_entropy(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->cross_entropy(t->x[3], t->x[2], t->x[0], t->target, 1e-3f, t->n / ROW, ROW);
}

static void run_adamw(const struct kernels *k, struct tensors *t, const void *arg)
{
    const struct adam_step *step = arg;
    k->adamw(t->x[2], t->x[3], t->x[4], t->x[0], step, t->n);
}

static void run_nadamw(const struct kernels *k, struct tensors *t, const void *arg)
{
    const struct adam_step *step = arg;
    k->nadamw(t->x[2], t->x[3], t->x[4], t->x[0], step, t->n);
}

static void run_attention(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    k->attention(t->x[3], t->x[4], t->x[0], t->x[1], t->x[2], 0.2f, t->n_attention / (ROW * TOKENS), TOKENS, HEADS, ROW / HEADS);
}

static void run_attention_grad(const struct kernels *k, struct tensors *t, const void *arg)
{
    (void)arg;
    size_t n = t->n_attention;
    float *out = t->x[5];
    k->attention_grad(out, out + n, out + 2 * n, out + 3 * n, t->x[3], t->x[4], t->x[0], t->x[1], t->x[2], 0.2f,
                      n / (ROW * TOKENS), TOKENS, HEADS, ROW / HEADS);
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
static void fill(const struct kernels *memory, const struct tensors *t)
{
    static float from[PIECE];
    static int32_t target[PIECE];
    struct rng rng;
    rng_init(&rng, 1, "bench");
    for (size_t i = 0; i < N_TENSORS; i++) {
        for (size_t j = 0; j < PIECE; j++)
            from[j] = (i == 5 ? 0.01f : 1.0f) * (rng_unit(&rng) + (i >= 3 ? 0.5f : -0.5f));
        for (size_t j = 0; j < t->n_floats; j += PIECE)
            memory->put(t->x[i] + j, from, sizeof from);
    }
    for (size_t r = 0; r < t->n / ROW; r++)
        target[r] = (int32_t)rng_below(&rng, ROW);
    memory->put(t->target, target, t->n / ROW * sizeof *target);
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

static void report(const struct bench *bench, const struct trial *trial, const struct bench_contest *contest)
{
    const struct operation *op = trial->op;
    size_t n = op->n_moved ? trial->tensors->n : trial->tensors->n_attention;
    if (!bench->is_json)
        printf("%-16s", op->name);
    for (size_t i = 0; i < contest->n; i++) {
        const struct bench_runner *r = &contest->runner[i];
        double ns = r->best_s * 1e12 / (double)n, gb_s = 1e-9 * (double)(op->n_moved * sizeof(float) * n) / r->best_s;
        double share = bench->ceiling.gb_per_s > 0 ? gb_s / bench->ceiling.gb_per_s : 0;
        if (!bench->is_json) {
            printf(op->n_moved ? "%10.4g (%5.1f)" : "%10.4g        ", ns, gb_s);
            if (share > 0)
                printf(" %3.0f %%", 100 * share);
            continue;
        }
        printf("{\"op\":\"%s\",\"shape\":\"%zu\",\"numerics\":\"f32\",\"isa\":\"%s\",\"threads\":1,\"ns_per_1000\":%.9g",
               op->name, n, r->k->name, ns);
        if (op->n_moved)
            printf(",\"gb_per_s\":%.9g", gb_s);
        if (share > 0)
            printf(",\"share\":%.9g", share);
        puts("}");
    }
    if (!bench->is_json)
        putchar('\n');
    fflush(stdout);
}

static void head(const struct bench *bench, const struct bench_contest *contest, const struct tensors *t)
{
    if (bench->is_json)
        return;
    printf("other operations on %zu elements in rows of %zu%s: ns per thousand elements (GB/s moved)\n%-16s", t->n, ROW,
           bench->has_gpu ? "" : ", one thread", "");
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
            head(bench, &contest, tensors);
        fill(bench->memory, tensors);
        bench_compete(bench, &contest);
        report(bench, &trial, &contest);
    }
}

/* A core's tensors lie in its second-level cache; those of a GPU do not fit into its. */
int bench_operations(struct bench *bench)
{
    bool is_large = bench->has_gpu && bench->gpu.n_units >= GPU_UNITS_MIN;
    struct tensors t = {.n = is_large ? (size_t)1 << 24 : (size_t)1 << 16, .n_attention = (size_t)1 << (is_large ? 20 : 16)};
    int err = HANSE_ENOMEM;
    bench->n_now = 1;
    t.n_floats = t.n > 16 * t.n_attention ? t.n : 16 * t.n_attention;
    t.target = bench_take(bench, t.n / ROW, sizeof *t.target);
    bool has_all = t.target != NULL;
    for (size_t i = 0; i < N_TENSORS; i++) {
        t.x[i] = bench_take(bench, t.n_floats, sizeof(float));
        has_all = has_all && t.x[i];
    }
    if (has_all) {
        run_all(bench, &t);
        err = bench->memory->wait();
    }
    for (size_t i = 0; i < N_TENSORS; i++)
        bench->memory->release(t.x[i]);
    bench->memory->release(t.target);
    return err;
}
