/* cmd/bench_gpu.c - a GPU as bench sees it: its set, cuBLAS beside it, and how fast the chip can be at most. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "cmd/bench.h"
#include "cmd/gpu.h"

#define GPU_UNITS_MIN 8 /* of a chip that large products are for */
#define SIDE_LARGE ((size_t)8192)
#define SIDE_SMALL ((size_t)128)
#define COPY_LARGE ((size_t)1 << 30)
#define COPY_SMALL ((size_t)1 << 20)
#define N_TRIES 5

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Square matrices and long copies: what nothing else here can be faster than. */
struct probe {
    const struct kernels *k;
    size_t side, n_copied;
    void *a, *b, *c, *packed;
};

static void probe_product(const struct probe *p)
{
    p->k->matmul(p->c, p->side, matrix_of(p->a, p->side), matrix_of(p->b, p->side), p->side, p->side, p->side, false);
}

static void probe_integers(const struct probe *p)
{
    struct slices a = {p->a, NULL, p->side, false};
    p->k->multiply(p->c, p->side, a, NULL, p->packed, NULL, p->side, p->side, p->side, false);
}

static void probe_copy(const struct probe *p)
{
    p->k->copy(p->a, p->b, p->n_copied);
}

/* The shortest of some tries, the first of which only warms up; 0 when the GPU failed. */
static double shortest_s(const struct probe *p, void (*run)(const struct probe *p))
{
    double best = 0;
    for (int i = 0; i <= N_TRIES; i++) {
        double start = now_s();
        run(p);
        if (p->k->wait() != 0)
            return 0;
        double took = now_s() - start;
        best = i > 0 && (best == 0 || took < best) ? took : best;
    }
    return best;
}

static double per_second(double amount, double took_s)
{
    return took_s > 0 ? 1e-9 * amount / took_s : 0;
}

static void measure(struct bench *bench, struct probe *p)
{
    double flops = 2.0 * (double)p->side * (double)p->side * (double)p->side;
    struct slices b = {p->b, NULL, p->side, false};
    p->k = bench->memory;
    p->k->pack(p->packed, b, p->side, p->side);
    bench->ceiling.i8 = per_second(flops, shortest_s(p, probe_integers));
    bench->ceiling.gb_per_s = per_second(2.0 * (double)p->n_copied, shortest_s(p, probe_copy));
    bench->ceiling.f32 = per_second(flops, shortest_s(p, probe_product));
    for (size_t i = 0; i < bench->n_yardsticks; i++) {
        p->k = &bench->yardstick[i].k;
        double got = per_second(flops, shortest_s(p, probe_product));
        if (strcmp(bench->yardstick[i].name, "bf16") == 0)
            bench->ceiling.bf16 = got;
        else if (got > bench->ceiling.f32)
            bench->ceiling.f32 = got;
    }
}

static int measure_ceilings(struct bench *bench)
{
    bool is_large = bench->gpu.n_units >= GPU_UNITS_MIN;
    struct probe p = {.side = is_large ? SIDE_LARGE : SIDE_SMALL, .n_copied = is_large ? COPY_LARGE : COPY_SMALL};
    size_t n_bytes = p.side * p.side * sizeof(float);
    n_bytes = n_bytes > p.n_copied ? n_bytes : p.n_copied;
    p.a = bench_take(bench, n_bytes, 1);
    p.b = bench_take(bench, n_bytes, 1);
    p.c = bench_take(bench, p.side * p.side, sizeof(float));
    p.packed = bench_take(bench, bench->memory->packed_bytes(p.side, p.side, 1), 1);
    bool has_all = p.a && p.b && p.c && p.packed;
    if (has_all)
        measure(bench, &p);
    bench->memory->release(p.a);
    bench->memory->release(p.b);
    bench->memory->release(p.c);
    bench->memory->release(p.packed);
    return has_all ? bench->memory->wait() : HANSE_ENOMEM;
}

static void enter_yardstick(struct bench *bench, const char *name, int (*with)(const struct kernels *base, struct kernels *out))
{
    struct bench_yardstick *y = &bench->yardstick[bench->n_yardsticks];
    *y = (struct bench_yardstick){.name = name};
    if (with(bench->memory, &y->k) == 0)
        bench->n_yardsticks++;
}

int bench_open_gpu(struct bench *bench, int index)
{
    int err = gpu_open(index, &bench->memory, &bench->gpu);
    if (err)
        return err;
    bench->has_gpu = true;
    bench->set[bench->n_sets++] = bench->memory;
    enter_yardstick(bench, "sgemm", kernels_with_sgemm);
    enter_yardstick(bench, "bf16", kernels_with_bf16);
    return measure_ceilings(bench);
}

void bench_print_gpu(const struct bench *bench)
{
    const struct device_info *gpu = &bench->gpu;
    const struct bench_ceiling *c = &bench->ceiling;
    char memory[32];
    if (bench->is_json) {
        printf("{\"op\":\"ceiling\",\"isa\":\"cuda\",\"gpu\":\"%s\",\"f32_gflops\":%.9g,\"bf16_gflops\":%.9g,\"i8_gflops\":%.9g,"
               "\"gb_per_s\":%.9g}\n",
               gpu->name, c->f32, c->bf16, c->i8, c->gb_per_s);
        return;
    }
    text_size(memory, sizeof memory, (double)gpu->memory_bytes);
    printf("this GPU: cuda:%d, %s, compute capability %d.%d, %d multiprocessors, %s\n%s", gpu->index, gpu->name, gpu->major,
           gpu->minor, gpu->n_units, memory, device_products());
    printf("ceilings measured now: %.0f GFLOP/s f32, %.0f bf16, %.0f int8, memory %.0f GB/s (read and written)\n", c->f32,
           c->bf16, c->i8, c->gb_per_s);
    printf("each figure is the shortest of many runs, all of a line by turns; GFLOP/s are 2 M N K a second in every form\n");
}
