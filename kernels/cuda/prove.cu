/* cuda/prove.cu - every variant is tried on the chip before it is used, and the fastest is found. */
#include "kernels/cuda/prove.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/device_state.h"
#include "kernels/cuda/lt.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/prove_case.h"

extern "C" {
#include "base/log.h"
#include "kernels/device.h"
}

#define N_SIZES 3
#define N_RUNS 3 /* of a variant that is timed; the first warms up */

/* In the order in which they are expected to be fast; dp4a last, which does everything. */
static const struct product_variant *const variants[] = {&product_wgmma,  &product_imma32, &product_lt,
                                                         &product_imma16, &product_bf16,   &product_dp4a};
#define N_VARIANTS (sizeof variants / sizeof *variants)
#define YARDSTICK (N_VARIANTS - 1)

/* Why a variant is not used; NULL when it is proven. */
static const char *why_not[N_VARIANTS];

/* Variants by size, slices, and whether there are several parts, fastest first, and how long each took. */
static struct ranking {
    const struct product_variant *best[N_VARIANTS];
    float ms[N_VARIANTS];
    struct proof_case of;
} rankings[N_SIZES][2][2];
#define N_RANKINGS (sizeof rankings / sizeof rankings[0][0][0])

static const struct product_variant *forced;
static bool is_proven; /* a GPU is open */
static char text[4096];

#ifdef CUDA_EMULATED
static struct {
    bool is_thorough;
    const char *name;
    enum product_spoil spoil;
    size_t n_timed;
} hook;

void product_emulate_proof(bool is_thorough, const char *name, enum product_spoil spoil)
{
    hook = {is_thorough, name, spoil, 0};
}

static __global__ void spoil_output(float *c)
{
    *c = __uint_as_float(__float_as_uint(*c) ^ 1);
}
#endif

/* ---- Trying */

static const struct proof_case cases[] = {
    {5, 9, 48, PRODUCT_K_MAX, 2, PROOF_ANY},
    {3, 20, 200, 128, 1, PROOF_EXTREMES},
#define N_BRIEF 2 /* as far as the emulation goes, unless it is told to go on; the longest would take it minutes */
    {1, 1, 1, PRODUCT_K_MAX, 2, PROOF_ANY},
    {16, 130, 300, 128, 2, PROOF_EXTREMES},
    {33, 70, 1040, PRODUCT_K_MAX, 2, PROOF_ANY},
    /* every form of tile, on chips of 10 to 200 units: small, middling and large, with one slice and two, with one part and several */
    {33, 70, 4096, PRODUCT_K_MAX, 1, PROOF_TURNING},
    {33, 70, 4096, PRODUCT_K_MAX, 2, PROOF_TURNING},
    {33, 70, 4396, 4096, 1, PROOF_TURNING},
    {33, 70, 4396, 4096, 2, PROOF_TURNING},
    {370, 400, 4096, PRODUCT_K_MAX, 1, PROOF_TURNING},
    {370, 400, 4096, PRODUCT_K_MAX, 2, PROOF_TURNING},
    {370, 400, 4396, 4096, 1, PROOF_TURNING},
    {370, 400, 4396, 4096, 2, PROOF_TURNING},
    {1100, 1400, 4096, PRODUCT_K_MAX, 1, PROOF_TURNING},
    {1100, 1400, 4096, PRODUCT_K_MAX, 2, PROOF_TURNING},
    {1100, 1400, 4396, 4096, 1, PROOF_TURNING},
    {1100, 1400, 4396, 4096, 2, PROOF_TURNING},
    /* the greatest sums, and what gradients are like */
    {1100, 1400, 528, PRODUCT_K_MAX, 2, PROOF_EXTREMES},
    {257, 1300, 1000, 256, 2, PROOF_ANY},
    {140, 70, 4096, PRODUCT_K_MAX, 2, PROOF_OPPOSITE},
    {16, 48, 65536, PRODUCT_K_MAX, 2, PROOF_TURNING},
    {3, 5, 65536 + 48, PRODUCT_K_MAX, 2, PROOF_GREATEST},
};

static bool is_tried(size_t i)
{
#ifdef CUDA_EMULATED
    return i < N_BRIEF || (hook.is_thorough && cases[i].M * cases[i].N * cases[i].K < 3000000);
#else
    (void)i;
    return true;
#endif
}

static bool has_instructions(const struct product_variant *v)
{
    int chip = 10 * cuda_chip()->major + cuda_chip()->minor;
    return chip >= v->chip_min && (v->chip_max == 0 || chip <= v->chip_max);
}

static bool works(const struct product_variant *v, const struct product *p)
{
    return !v->works || v->works(p);
}

/* Outputs of a variant, back on the CPU; an error of the device is this variant's. */
static cudaError_t run(const struct product_variant *v, const struct proof *x, float *outputs)
{
    cuda_try_begin();
    proof_reset(x);
    v->multiply(&x->product);
#ifdef CUDA_EMULATED
    if (hook.spoil == PRODUCT_WRONG && strcmp(v->name, hook.name) == 0)
        CUDA_LAUNCH(spoil_output, 1, 1, 0, x->product.c + x->n_outputs - 1);
    if (hook.spoil == PRODUCT_FAILING && strcmp(v->name, hook.name) == 0)
        cuda_note(cudaErrorNotSupported, "a product that fails on purpose");
#endif
    int err = cuda_get(outputs, x->product.c, x->n_outputs * sizeof *outputs);
    cudaError_t tried = cuda_try_end();
    return err && tried == cudaSuccess ? cudaErrorMemoryAllocation : tried;
}

static bool is_same(const float *a, const float *b, size_t n)
{
    if (memcmp(a, b, n * sizeof *a) == 0)
        return true;
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

static void leave_out(size_t v, const char *why)
{
    why_not[v] = why;
    log_warn("%s: products by %s are left out: %s", cuda_gpu(), variants[v]->name, why);
}

/* Does the device refuse everything from now on?  What a kernel broke is mended by the end of the process alone. */
static bool is_broken(void)
{
    cuda_try_begin();
    (void)cuda_wait();
    return cuda_try_end() != cudaSuccess;
}

/* An error of the device while a variant was tried or timed: it alone is left out, or HANSE_EDEVICE. */
static int failed(size_t v, cudaError_t err)
{
    if (is_broken()) {
        log_error("%s: products by %s failed on this chip and took the rest with them: %s (%s); start hanse again with "
                  "HANSE_PRODUCTS=dp4a, which tries no other way (or one of imma32, imma16, bf16, lt), and please report it",
                  cuda_gpu(), variants[v]->name, cudaGetErrorString(err), cudaGetErrorName(err));
        return HANSE_EDEVICE;
    }
    leave_out(v, cudaGetErrorString(err));
    return 0;
}

/* One case by all variants that are still in; `outputs` has room for it twice. */
static int try_case(const struct proof *x, float *outputs)
{
    float *other = outputs + x->n_outputs;
    cudaError_t err = run(variants[YARDSTICK], x, outputs);
    if (err != cudaSuccess || !proof_holds(x, outputs)) {
        log_error("%s: a product of integers is %s; this GPU, its memory or its driver cannot be relied on", cuda_gpu(),
                  err == cudaSuccess ? "wrong" : cudaGetErrorString(err));
        return HANSE_EDEVICE;
    }
    for (size_t v = 0; v < YARDSTICK; v++) {
        if (why_not[v] || !works(variants[v], &x->product))
            continue;
        err = run(variants[v], x, other);
        if (err == cudaSuccess && !is_same(outputs, other, x->n_outputs))
            leave_out(v, "its integers are not those of dp4a");
        if (err != cudaSuccess && failed(v, err) != 0)
            return HANSE_EDEVICE;
    }
    return 0;
}

/* Why there is no case: a variant that took the device along shows only now. */
static int why_no_case(void)
{
    int err = cuda_wait();
    return err ? err : (int)HANSE_ENOMEM;
}

static int try_cases(size_t n_units)
{
    product_pretend_units(n_units);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct proof x;
        if (!is_tried(i))
            continue;
        if (!proof_begin(&x, cases + i))
            return why_no_case();
        float *outputs = (float *)malloc(2 * x.n_outputs * sizeof *outputs);
        int err = outputs ? try_case(&x, outputs) : (int)HANSE_ENOMEM;
        free(outputs);
        proof_end(&x);
        if (err)
            return err;
    }
    return cuda_wait();
}

/* Over the units that there are, cases small enough to be tried come in the smallest tiles; over one, in the largest. */
static int try_tiles(void)
{
    int err = try_cases(0);
    if (!err)
        err = try_cases(1);
    product_pretend_units(0);
    return err;
}

/* ---- Timing */

/* A shape of each size, for chips from 10 to 200 units. */
#ifdef CUDA_EMULATED
static const struct proof_case timed[N_SIZES] = {{1, 1, 16}, {1, 1, 16}, {1, 1, 16}}; /* that all can do */
#else
static const struct proof_case timed[N_SIZES] = {{2048, 2048, 1024}, {512, 512, 1024}, {16, 2048, 1024}};
#endif

#ifdef CUDA_EMULATED
/* There time means nothing: the order is that of `variants`. */
static float time_of(const struct product_variant *, const struct proof *)
{
    return 1;
}
#else
static float time_of(const struct product_variant *v, const struct proof *x)
{
    float least = INFINITY, ms = 0;
    cudaEvent_t from = NULL, to = NULL;
    cuda_note(cudaEventCreate(&from), "an event");
    cuda_note(cudaEventCreate(&to), "an event");
    for (int i = 0; i < N_RUNS && !cuda_is_lost(); i++) {
        cuda_note(cudaEventRecord(from, cuda_stream()), "an event");
        v->multiply(&x->product);
        cuda_note(cudaEventRecord(to, cuda_stream()), "an event");
        cuda_note(cudaEventSynchronize(to), "a product that is timed");
        cuda_note(cudaEventElapsedTime(&ms, from, to), "an event");
        least = i > 0 && ms < least ? ms : least;
    }
    if (from)
        (void)cudaEventDestroy(from);
    if (to)
        (void)cudaEventDestroy(to);
    return least;
}
#endif

/* As run(): what is timed is larger than what was tried, and may want what the device has not got. */
static cudaError_t run_timed(const struct product_variant *v, const struct proof *x, float *ms)
{
    cuda_try_begin();
    *ms = time_of(v, x);
#ifdef CUDA_EMULATED
    if (hook.spoil == PRODUCT_FAILING_LATE && strcmp(v->name, hook.name) == 0 && ++hook.n_timed == N_RANKINGS)
        cuda_note(cudaErrorNotSupported, "a product that fails on purpose");
#endif
    int err = cuda_wait();
    cudaError_t tried = cuda_try_end();
    return err && tried == cudaSuccess ? cudaErrorMemoryAllocation : tried;
}

/* Puts a variant where its time belongs; one that cannot do this shape comes behind those that can. */
static void rank(struct ranking *r, size_t n, const struct product_variant *v, float ms)
{
    for (; n > 0 && r->ms[n - 1] > ms; n--) {
        r->best[n] = r->best[n - 1];
        r->ms[n] = r->ms[n - 1];
    }
    r->best[n] = v;
    r->ms[n] = ms;
}

static void unrank(struct ranking *r, const struct product_variant *v)
{
    size_t n = 0;
    for (size_t i = 0; i < N_VARIANTS; i++)
        if (r->best[i] != v) {
            r->best[n] = r->best[i];
            r->ms[n++] = r->ms[i];
        }
    for (; n < N_VARIANTS; n++)
        r->best[n] = NULL;
}

/* It may have done well on the shapes before. */
static int failed_timed(size_t v, cudaError_t err)
{
    if (v == YARDSTICK && err == cudaErrorMemoryAllocation)
        return HANSE_ENOMEM; /* which was logged */
    if (v == YARDSTICK) {
        log_error(
            "%s: a product of integers failed when it was timed: %s; this GPU, its memory or its driver cannot be relied on",
            cuda_gpu(), cudaGetErrorString(err));
        return HANSE_EDEVICE;
    }
    for (size_t i = 0; i < N_RANKINGS; i++)
        unrank(&rankings[0][0][0] + i, variants[v]);
    return failed(v, err);
}

static int time_variants(struct ranking *r, const struct proof *x)
{
    size_t n = 0;
    for (size_t v = 0; v < N_VARIANTS; v++) {
        float ms = INFINITY;
        if (why_not[v])
            continue;
        cudaError_t failure = works(variants[v], &x->product) ? run_timed(variants[v], x, &ms) : cudaSuccess;
        int err = failure == cudaSuccess ? 0 : failed_timed(v, failure);
        if (err)
            return err;
        if (failure == cudaSuccess)
            rank(r, n++, variants[v], ms);
    }
    return 0;
}

static int time_shape(struct ranking *r, const struct proof_case *of)
{
    struct proof x;
    *r = {};
    r->of = *of;
    if (!proof_begin(&x, of))
        return why_no_case();
    int err = time_variants(r, &x);
    proof_end(&x);
    return err ? err : cuda_wait();
}

static int time_shapes(void)
{
    for (size_t size = 0; size < N_SIZES; size++)
        for (size_t way = 0; way < 4; way++) {
            struct proof_case of = timed[size];
            of.n_slices = way / 2 + 1;
            of.part = way % 2 ? 256 : PRODUCT_K_MAX;
            int err = time_shape(&rankings[size][way / 2][way % 2], &of);
            if (err)
                return err;
        }
    return 0;
}

/* ---- Choosing */

const struct product_variant *product_choice(const struct product *p)
{
    if (forced && works(forced, p))
        return forced;
    const struct ranking *r = &rankings[product_size(p)][p->a_low ? 1 : 0][p->K > p->part];
    for (size_t i = 0; i < N_VARIANTS && r->best[i]; i++)
        if (works(r->best[i], p))
            return r->best[i];
    return variants[YARDSTICK];
}

const char *product_name_of(size_t i)
{
    return i < N_VARIANTS ? variants[i]->name : NULL;
}

bool product_is_proven(size_t i)
{
    return i < N_VARIANTS && !why_not[i];
}

const char *product_why_not(size_t i)
{
    return i < N_VARIANTS ? why_not[i] : NULL;
}

size_t product_scratch_bytes(size_t n_rows, size_t width, size_t part)
{
    size_t n_bytes = product_operands_bytes(n_rows, width, part);
    for (size_t v = 0; v < N_VARIANTS; v++)
        if (variants[v] == &product_lt && !why_not[v])
            n_bytes += product_lt_bytes(n_rows, width);
    return n_bytes;
}

static int force(const char *name)
{
    for (size_t v = 0; v < N_VARIANTS; v++) {
        if (strcmp(variants[v]->name, name) != 0)
            continue;
        if (is_proven && why_not[v]) {
            log_error("products by %s: %s", name, why_not[v]);
            return HANSE_EUNSUPPORTED;
        }
        forced = variants[v];
        return 0;
    }
    log_error("products by %s: there is no such way; wgmma, imma32, lt, imma16, bf16 and dp4a exist", name);
    return HANSE_EINVAL;
}

int device_products_by(const char *name)
{
    forced = NULL;
    return name ? force(name) : 0;
}

/* ---- Telling */

static void say(size_t *used, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(size_t *used, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text + *used, sizeof text - *used, format, args);
    va_end(args);
    *used += n > 0 && (size_t)n < sizeof text - *used ? (size_t)n : 0;
}

/* 10^12 multiplications and additions of integers a second, three of int8 where there are two slices. */
static double speed(const struct ranking *r, size_t i)
{
    double terms = (double)r->of.M * (double)r->of.N * (double)r->of.K * (r->of.n_slices == 2 ? 3 : 1);
    return terms / ((double)r->ms[i] * 1e9);
}

const char *product_text(void)
{
    return text;
}

static void describe(void)
{
    static const char *const names[N_SIZES] = {"large", "middling", "small"};
    size_t used = 0;
    for (size_t v = 0; v < N_VARIANTS; v++)
        say(&used, "products by %-6s  %s%s%s%s\n", variants[v]->name, why_not[v] ? "not used: " : "proven on this chip",
            why_not[v] ? why_not[v] : "", variants[v] == &product_lt ? "; cuBLASLt: " : "",
            variants[v] == &product_lt ? lt_text() : "");
    for (size_t size = 0; size < N_SIZES; size++) {
        const struct ranking *r = &rankings[size][1][0];
        say(&used, "%s products of two slices:", names[size]);
        for (size_t i = 0; i < N_VARIANTS && r->best[i]; i++)
            if (r->ms[i] > 0 && r->ms[i] < INFINITY)
                say(&used, "%s %s %.1f T/s", i > 0 ? "," : "", r->best[i]->name, speed(r, i));
            else
                say(&used, "%s %s", i > 0 ? "," : "", r->best[i]->name);
        say(&used, "\n");
    }
}

int product_prove(void)
{
    const struct product_variant *by = forced;
    forced = NULL;
    for (size_t v = 0; v < N_VARIANTS; v++) {
        why_not[v] = has_instructions(variants[v]) ? NULL : "this chip has not got its instructions";
        if (variants[v] == &product_lt && !lt_is_here())
            why_not[v] = "cuBLASLt is not there";
        if (by && variants[v] != by && v != YARDSTICK && !why_not[v])
            why_not[v] = "another way was asked for";
    }
    int err = try_tiles();
    if (!err)
        err = time_shapes();
    cuda_scratch_give_back(); /* who opens a GPU may never multiply again */
    describe();
#ifdef CUDA_EMULATED
    hook = {};
#endif
    is_proven = !err;
    return err || !by ? err : force(by->name);
}

void product_close(void)
{
    is_proven = false;
    lt_close();
}
