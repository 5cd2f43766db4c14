/* cuda/lt.cu - cuBLASLt by dlopen: products described to it, and what it advises remembered. */
#include "kernels/cuda/lt.h"

#ifdef CUDA_EMULATED
/* The same products by one thread, in plain loops. */
static double element(const struct lt_product *p, const struct lt_operand *x, size_t i, size_t j)
{
    size_t at = x->is_turned ? j * x->ld + i : i * x->ld + j;
    if (p->type == LT_I8)
        return ((const int8_t *)x->at)[at];
    if (p->type == LT_F32)
        return ((const float *)x->at)[at];
    return __uint_as_float((uint32_t)((const uint16_t *)x->at)[at] << 16);
}

static void multiply_plainly(struct lt_product p)
{
    for (size_t i = 0; i < p.M; i++)
        for (size_t j = 0; j < p.N; j++) {
            double sum = 0;
            for (size_t k = 0; k < p.K; k++)
                sum += element(&p, &p.a, i, k) * element(&p, &p.b, k, j);
            size_t at = i * p.ldc + j;
            if (p.type == LT_I8)
                ((int32_t *)p.c)[at] = (int32_t)sum + (p.accumulate ? ((int32_t *)p.c)[at] : 0);
            else
                ((float *)p.c)[at] = (float)(sum + (p.accumulate ? ((float *)p.c)[at] : 0.0f));
        }
}

bool lt_is_here(void)
{
    return true;
}

const char *lt_text(void)
{
    return "emulated";
}

bool lt_can(const struct lt_product *p)
{
    return p->M > 0;
}

bool lt_multiply(const struct lt_product *p)
{
    CUDA_LAUNCH(multiply_plainly, 1, 1, 0, *p);
    return true;
}

void lt_close(void)
{
}
#else
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/lt_abi.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#define IS(ours, theirs) ((int)(ours) == (int)(theirs))
static_assert(IS(LT_SUCCESS, CUBLAS_STATUS_SUCCESS) && IS(LT_OP_N, CUBLAS_OP_N) && IS(LT_OP_T, CUBLAS_OP_T), "numbers");
static_assert(IS(LT_COMPUTE_32F, CUBLAS_COMPUTE_32F) && IS(LT_COMPUTE_32I, CUBLAS_COMPUTE_32I), "of sums");
static_assert(IS(LT_R_32F, CUDA_R_32F) && IS(LT_R_8I, CUDA_R_8I) && IS(LT_R_32I, CUDA_R_32I) && IS(LT_R_16BF, CUDA_R_16BF),
              "of types");
static_assert(IS(LT_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSA) && IS(LT_DESC_TRANSB, CUBLASLT_MATMUL_DESC_TRANSB),
              "of attributes");
static_assert(IS(LT_PREF_WORKSPACE, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) &&
                  IS(LT_PREF_ALIGN_A, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES) &&
                  IS(LT_PREF_ALIGN_A + 3, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES),
              "of preferences");
static_assert(sizeof(struct lt_heuristic) == sizeof(cublasLtMatmulHeuristicResult_t) &&
                  offsetof(struct lt_heuristic, workspace_bytes) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize) &&
                  offsetof(struct lt_heuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state),
              "what it advises");
#undef IS
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below but lt, once there is a handle */
static struct lt_library lt;
static void *library, *handle;
static bool was_tried;
static char text[128] = "not asked for";

static bool load(void)
{
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
    static const struct {
        const char *name;
        size_t at;
    } symbols[] = {{"cublasLtGetVersion", offsetof(struct lt_library, version)},
                   {"cublasLtCreate", offsetof(struct lt_library, create)},
                   {"cublasLtDestroy", offsetof(struct lt_library, destroy)},
                   {"cublasLtMatmulDescCreate", offsetof(struct lt_library, desc_create)},
                   {"cublasLtMatmulDescDestroy", offsetof(struct lt_library, desc_destroy)},
                   {"cublasLtMatmulDescSetAttribute", offsetof(struct lt_library, desc_set)},
                   {"cublasLtMatrixLayoutCreate", offsetof(struct lt_library, layout_create)},
                   {"cublasLtMatrixLayoutDestroy", offsetof(struct lt_library, layout_destroy)},
                   {"cublasLtMatmulPreferenceCreate", offsetof(struct lt_library, pref_create)},
                   {"cublasLtMatmulPreferenceDestroy", offsetof(struct lt_library, pref_destroy)},
                   {"cublasLtMatmulPreferenceSetAttribute", offsetof(struct lt_library, pref_set)},
                   {"cublasLtMatmulAlgoGetHeuristic", offsetof(struct lt_library, heuristic)},
                   {"cublasLtMatmul", offsetof(struct lt_library, matmul)}};
    for (size_t i = 0; !library && i < sizeof names / sizeof *names; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(text, sizeof text, "libcublasLt.so.13 or .12 is not where the loader looks; it comes with the CUDA toolkit");
        return false;
    }
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (!symbol) {
            snprintf(text, sizeof text, "the library has no %s", symbols[i].name);
            return false;
        }
        memcpy((char *)&lt + symbols[i].at, &symbol, sizeof symbol);
    }
    return true;
}

static void open_library(void)
{
    void *made = NULL;
    was_tried = true;
    if (!load())
        return;
    int err = lt.create(&made);
    if (err != LT_SUCCESS) {
        snprintf(text, sizeof text, "the library does not work with this device (status %d)", err);
        return;
    }
    size_t version = lt.version();
    snprintf(text, sizeof text, "version %zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
    handle = made;
}

bool lt_is_here(void)
{
    pthread_mutex_lock(&lock);
    if (!was_tried)
        open_library();
    bool is_here = handle != NULL;
    pthread_mutex_unlock(&lock);
    return is_here;
}

const char *lt_text(void)
{
    return text;
}

/* What the library depends on, of a product; filled with zeros first, since it is compared as bytes. */
struct question {
    uint64_t type, M, N, K, ldc, lda, ldb;
    uint32_t a_turned, b_turned, align_a, align_b, align_c, unused;
};

/* What it advises; no algorithm where it cannot. */
struct advice {
    struct question question;
    struct lt_algo algo;
    size_t workspace_bytes;
    bool is_known, can;
};

#define N_ADVICE 256 /* shapes that are remembered */
static struct advice advice[N_ADVICE];

/* The largest power of two, up to 16, that divides both. */
static uint32_t alignment(const void *at, size_t row_bytes)
{
    size_t both = (size_t)at | row_bytes | 16;
    return (uint32_t)(both & -both);
}

static struct question question_of(const struct lt_product *p)
{
    static const size_t size[] = {1, 2, 4};
    struct question q;
    memset(&q, 0, sizeof q);
    q.type = p->type, q.M = p->M, q.N = p->N, q.K = p->K, q.ldc = p->ldc, q.lda = p->a.ld, q.ldb = p->b.ld;
    q.a_turned = p->a.is_turned, q.b_turned = p->b.is_turned;
    q.align_a = alignment(p->a.at, p->a.ld * size[p->type]);
    q.align_b = alignment(p->b.at, p->b.ld * size[p->type]);
    q.align_c = alignment(p->c, p->ldc * 4);
    return q;
}

static struct advice *place_of(const struct question *q)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < sizeof *q / 8; i++) {
        uint64_t word;
        memcpy(&word, (const char *)q + 8 * i, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    }
    return advice + (hash >> 32) % N_ADVICE;
}

/* A product in the library's words.  Row-major c = a b is, for who reads by columns, c^T = b^T a^T: so b comes first. */
struct words {
    void *desc, *first, *second, *out;
};

static void words_fini(struct words *w)
{
    if (w->desc)
        (void)lt.desc_destroy(w->desc);
    if (w->first)
        (void)lt.layout_destroy(w->first);
    if (w->second)
        (void)lt.layout_destroy(w->second);
    if (w->out)
        (void)lt.layout_destroy(w->out);
}

static bool words_init(struct words *w, const struct lt_product *p)
{
    static const int types[] = {LT_R_8I, LT_R_16BF, LT_R_32F};
    int type = types[p->type], is_i8 = p->type == LT_I8;
    int32_t first = p->b.is_turned ? LT_OP_T : LT_OP_N, second = p->a.is_turned ? LT_OP_T : LT_OP_N;
    *w = {NULL, NULL, NULL, NULL};
    return lt.desc_create(&w->desc, is_i8 ? LT_COMPUTE_32I : LT_COMPUTE_32F, is_i8 ? LT_R_32I : LT_R_32F) == LT_SUCCESS &&
           lt.desc_set(w->desc, LT_DESC_TRANSA, &first, sizeof first) == LT_SUCCESS &&
           lt.desc_set(w->desc, LT_DESC_TRANSB, &second, sizeof second) == LT_SUCCESS &&
           lt.layout_create(&w->first, type, first ? p->K : p->N, first ? p->N : p->K, (int64_t)p->b.ld) == LT_SUCCESS &&
           lt.layout_create(&w->second, type, second ? p->M : p->K, second ? p->K : p->M, (int64_t)p->a.ld) == LT_SUCCESS &&
           lt.layout_create(&w->out, is_i8 ? LT_R_32I : LT_R_32F, p->N, p->M, (int64_t)p->ldc) == LT_SUCCESS;
}

static bool ask(struct advice *a, const struct words *w)
{
    struct lt_heuristic found;
    size_t workspace = LT_WORKSPACE_MOST;
    void *pref = NULL;
    int n = 0;
    const uint32_t align[] = {a->question.align_b, a->question.align_a, a->question.align_c, a->question.align_c};
    bool is_ok = lt.pref_create(&pref) == LT_SUCCESS &&
                 lt.pref_set(pref, LT_PREF_WORKSPACE, &workspace, sizeof workspace) == LT_SUCCESS;
    for (int i = 0; i < 4; i++)
        is_ok = is_ok && lt.pref_set(pref, LT_PREF_ALIGN_A + i, align + i, sizeof *align) == LT_SUCCESS;
    is_ok = is_ok && lt.heuristic(handle, w->desc, w->first, w->second, w->out, w->out, pref, 1, &found, &n) == LT_SUCCESS &&
            n > 0 && found.state == LT_SUCCESS;
    if (pref)
        (void)lt.pref_destroy(pref);
    if (!is_ok)
        return false;
    a->algo = found.algo;
    a->workspace_bytes = found.workspace_bytes;
    return true;
}

static struct advice advice_for(const struct lt_product *p, const struct words *w)
{
    struct question q = question_of(p);
    pthread_mutex_lock(&lock);
    struct advice *at = place_of(&q);
    if (!at->is_known || memcmp(&at->question, &q, sizeof q) != 0) {
        *at = {};
        at->question = q;
        at->is_known = true;
        at->can = ask(at, w);
    }
    struct advice copy = *at;
    pthread_mutex_unlock(&lock);
    return copy;
}

bool lt_can(const struct lt_product *p)
{
    struct words w;
    if (!lt_is_here())
        return false;
    bool can = words_init(&w, p) && advice_for(p, &w).can;
    words_fini(&w);
    return can;
}

bool lt_multiply(const struct lt_product *p)
{
    static const int32_t ints[] = {0, 1};
    static const float floats[] = {0, 1};
    struct words w;
    if (!lt_is_here())
        return false;
    struct advice a = {};
    if (words_init(&w, p))
        a = advice_for(p, &w);
    void *workspace = a.can ? cuda_scratch(LT_SCRATCH, a.workspace_bytes ? a.workspace_bytes : 1) : NULL;
    if (workspace) {
        const void *alpha = p->type == LT_I8 ? (const void *)(ints + 1) : floats + 1;
        const void *beta = p->type == LT_I8 ? (const void *)(ints + p->accumulate) : floats + p->accumulate;
        int err = lt.matmul(handle, w.desc, alpha, p->b.at, w.first, p->a.at, w.second, beta, p->c, w.out, p->c, w.out, &a.algo,
                            workspace, a.workspace_bytes, cuda_stream());
        if (err != LT_SUCCESS)
            cuda_note(cudaPeekAtLastError() != cudaSuccess ? cudaGetLastError() : cudaErrorUnknown, "a product by cuBLASLt");
    }
    words_fini(&w);
    return a.can;
}

void lt_close(void)
{
    pthread_mutex_lock(&lock);
    if (handle)
        (void)lt.destroy(handle);
    handle = NULL;
    was_tried = false;
    memset(advice, 0, sizeof advice);
    pthread_mutex_unlock(&lock);
}
#endif
