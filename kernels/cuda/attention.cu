/*
 * cuda/attention.cu - causal attention and its gradient: a block of threads for 32 rows (or columns) of a head.
 *
 * The 32 rows are those of ref/attention.c: a block's sums run to the last column that any of its rows sees, and end there.
 * It works out its scores by tiles, then each warp turns rows into probabilities (its 32 lanes are those of a row sum), then the rows
 * are summed over by tiles; scores and probabilities lie in `prob`, whose part for one block stays in the chip's cache meanwhile.
 *
 * Gradients of keys and values are sums down the columns of two square matrices; both are taken once all of their rows are
 * written, so nothing is added by two blocks.  The gradients of the scores lie in scratch memory, as many heads at a time as
 * fit into GRAD_BYTES.
 */
#include "kernels/cuda/cuda.h"

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/tile.cuh"

#define ROWS 32u /* REF_ATTENTION_ROWS */
#define THREADS 128
#define WARPS (THREADS / LANES)
#ifdef CUDA_EMULATED
#define GRAD_BYTES ((size_t)32 << 10) /* so that tests see several turns */
#else
#define GRAD_BYTES ((size_t)256 << 20)
#endif

typedef tile<ROWS, 128, 16, 4, 8, 3, 4> score_tile;
/* HD columns of a head at a time */
template <int HD> using sum_tile = tile<ROWS, HD, 16, HD == 32 ? 2 : 4, HD == 128 ? 8 : 4, 3, 4>;
static_assert(sum_tile<128>::SHARED <= score_tile::SHARED, "one piece of shared memory serves all");

/* The tensors' shape, and the head that the first block of a launch belongs to. */
struct heads {
    size_t T, n_heads, hd;
    size_t first;
    unsigned n_blocks; /* of rows, in a head */
};

/* What a block treats: rows (or columns) from i0 on, of those that see columns 0 .. end - 1 of a head. */
struct part {
    size_t head;   /* counted over all sequences */
    size_t at, ld; /* where the head lies in q, k, v and the like, and the length of their rows */
    size_t i0, n_rows, end;
};

static __device__ __forceinline__ struct part part_of(const struct heads *h, unsigned head_i, unsigned block)
{
    struct part p;
    p.head = h->first + head_i;
    p.ld = h->n_heads * h->hd;
    p.at = p.head / h->n_heads * h->T * p.ld + p.head % h->n_heads * h->hd;
    p.i0 = (size_t)block * ROWS;
    p.end = p.i0 + ROWS < h->T ? p.i0 + ROWS : h->T;
    p.n_rows = p.end - p.i0;
    return p;
}

/* w (rows of T) = (x y^T) scale for a block's rows, on the diagonal and left of it.  x: the block's rows. */
static __device__ __forceinline__ void score(float *w, float *shared, const float *x, const float *y, float scale,
                                             const struct heads *h, const struct part *p, bool is_w_aligned)
{
    typedef score_tile S;
    for (size_t j0 = 0; j0 < p->end; j0 += S::N) {
        float sum[S::TM][S::TN] = {};
        tile_sum<S, true, true, 1>(sum, shared, {x, p->ld, p->n_rows}, {y + j0 * p->ld, p->ld, p->end - j0}, (uint32_t)h->hd);
#pragma unroll
        for (int i = 0; i < S::TM; i++)
#pragma unroll
            for (int j = 0; j < S::TN; j += S::VN) {
                size_t row = tile_row<S>(i), column = j0 + tile_column<S>(j), diagonal = p->i0 + row;
#pragma unroll
                for (int v = 0; v < S::VN; v++)
                    sum[i][j + v] = __fmul_rn(sum[i][j + v], scale);
                if (row < p->n_rows && column <= diagonal)
                    put_floats<S::VN>(w + row * h->T + column, sum[i] + j, diagonal + 1 - column, is_w_aligned);
            }
    }
}

/* z (rows of ld) = w y: the block's rows of w (rows of T) against the first `end` rows of y. */
template <int HD, int W>
static __device__ __forceinline__ void sum_rows(float *z, float *shared, const float *w, const float *y, const struct heads *h,
                                                const struct part *p)
{
    typedef sum_tile<HD> S;
    for (size_t c = 0; c < h->hd; c += HD) {
        float sum[S::TM][S::TN] = {};
        tile_sum<S, true, false, W>(sum, shared, {w, h->T, p->n_rows}, {y + c, p->ld, h->hd - c}, (uint32_t)p->end);
        put_tile<S>(z + c, p->ld, sum, p->n_rows, h->hd - c, W == 4);
    }
}

/* z (rows of ld) = w^T y: the block's columns of w (T, T), from the first row whose block sees them. */
template <int HD, int W>
static __device__ __forceinline__ void sum_columns(float *z, float *shared, const float *w, const float *y, const struct heads *h,
                                                   const struct part *p)
{
    typedef sum_tile<HD> S;
    for (size_t c = 0; c < h->hd; c += HD) {
        float sum[S::TM][S::TN] = {};
        struct strip columns = {w + p->i0 * h->T + p->i0, h->T, p->n_rows};
        tile_sum<S, false, false, W>(sum, shared, columns, {y + p->i0 * p->ld + c, p->ld, h->hd - c}, (uint32_t)(h->T - p->i0));
        put_tile<S>(z + p->i0 * p->ld + c, p->ld, sum, p->n_rows, h->hd - c, W == 4);
    }
}

/* A row of scores becomes one of probabilities: n of them, then zeros up to T.  exp is taken twice rather than kept. */
static __device__ __forceinline__ void weigh_row(float *row, size_t n, size_t T, unsigned lane)
{
    float most = -math_infinity(), sum = 0.0f;
#pragma unroll 8
    for (size_t j = lane; j < n; j += LANES)
        most = row[j] > most ? row[j] : most;
    most = lanes_max(most);
#pragma unroll 4
    for (size_t j = lane; j < n; j += LANES)
        sum = __fadd_rn(sum, math_exp(__fsub_rn(row[j], most)));
    float inverse = __fdiv_rn(1.0f, lanes_sum(sum));
#pragma unroll 4
    for (size_t j = lane; j < n; j += LANES)
        row[j] = __fmul_rn(math_exp(__fsub_rn(row[j], most)), inverse);
    for (size_t j = n + lane; j < T; j += LANES)
        row[j] = 0.0f;
}

/* A row of <gout, v> becomes one of the scores' gradients, with zeros up to the last column of the block. */
static __device__ __forceinline__ void score_grad_row(float *row, const float *prob, float scale, size_t n, size_t end,
                                                      unsigned lane)
{
    float mean = lanes_dot(prob, row, n, lane);
#pragma unroll 4
    for (size_t j = lane; j < n; j += LANES)
        row[j] = __fmul_rn(__fmul_rn(prob[j], __fsub_rn(row[j], mean)), scale);
    for (size_t j = n + lane; j < end; j += LANES)
        row[j] = 0.0f;
}

/* Late rows have the most to do, so they begin. */
template <int HD, int W>
static __global__ void __launch_bounds__(THREADS, score_tile::BLOCKS)
    attend(float *out, float *prob, const float *q, const float *k, const float *v, float scale, struct heads h,
           bool is_prob_aligned)
{
    CUDA_SHARED_ARRAY(float, shared, [score_tile::SHARED]);
    struct part p = part_of(&h, blockIdx.x / h.n_blocks, h.n_blocks - 1 - blockIdx.x % h.n_blocks);
    float *w = prob + (p.head * h.T + p.i0) * h.T;
    score(w, shared, q + p.at + p.i0 * p.ld, k + p.at, scale, &h, &p, is_prob_aligned);
    __syncthreads(); /* all scores are there */
    for (size_t row = threadIdx.x / LANES; row < p.n_rows; row += WARPS)
        weigh_row(w + row * h.T, p.i0 + row + 1, h.T, threadIdx.x % LANES);
    __syncthreads(); /* all probabilities */
    sum_rows<HD, W>(out + p.at + p.i0 * p.ld, shared, w, v + p.at, &h, &p);
}

/* gs (T, T; a head each from h.first on) and gq. */
template <int HD, int W>
static __global__ void __launch_bounds__(THREADS, score_tile::BLOCKS)
    grad_rows(float *gq, float *gs, const float *gout, const float *prob, const float *k, const float *v, float scale,
              struct heads h, bool is_gs_aligned)
{
    CUDA_SHARED_ARRAY(float, shared, [score_tile::SHARED]);
    struct part p = part_of(&h, blockIdx.x / h.n_blocks, h.n_blocks - 1 - blockIdx.x % h.n_blocks);
    float *w = gs + ((p.head - h.first) * h.T + p.i0) * h.T;
    const float *weight = prob + (p.head * h.T + p.i0) * h.T;
    score(w, shared, gout + p.at + p.i0 * p.ld, v + p.at, 1.0f, &h, &p, is_gs_aligned);
    __syncthreads();
    for (size_t row = threadIdx.x / LANES; row < p.n_rows; row += WARPS)
        score_grad_row(w + row * h.T, weight + row * h.T, scale, p.i0 + row + 1, p.end, threadIdx.x % LANES);
    __syncthreads();
    sum_rows<HD, W>(gq + p.at + p.i0 * p.ld, shared, w, k + p.at, &h, &p);
}

/* gk by half of the blocks, gv by the others. */
template <int HD, int W>
static __global__ void __launch_bounds__(THREADS, score_tile::BLOCKS)
    grad_columns(float *gk, float *gv, const float *gs, const float *gout, const float *prob, const float *q, struct heads h)
{
    CUDA_SHARED_ARRAY(float, shared, [score_tile::SHARED]);
    bool is_value = blockIdx.x % 2;
    unsigned block = blockIdx.x / 2;
    struct part p = part_of(&h, block / h.n_blocks, block % h.n_blocks);
    if (is_value)
        sum_columns<HD, W>(gv + p.at, shared, prob + p.head * h.T * h.T, gout + p.at, &h, &p);
    else
        sum_columns<HD, W>(gk + p.at, shared, gs + (p.head - h.first) * h.T * h.T, q + p.at, &h, &p);
}

/* How a call's tensors lie and are cut. */
static bool is_aligned(const float *x, size_t ld)
{
    return (uintptr_t)x % 16 == 0 && ld % 4 == 0;
}

static struct heads heads_of(size_t T, size_t n_heads, size_t hd)
{
    struct heads h = {T, n_heads, hd, 0, (unsigned)((T + ROWS - 1) / ROWS)};
    return h;
}

template <int HD, int W>
static void launch_attend(float *out, float *prob, const float *q, const float *k, const float *v, float scale, struct heads h,
                          size_t B)
{
    CUDA_LAUNCH((attend<HD, W>), (unsigned)(B * h.n_heads) * h.n_blocks, THREADS, 0, out, prob, q, k, v, scale, h,
                is_aligned(prob, h.T));
}

void cuda_attention(float *out, float *prob, const float *q, const float *k, const float *v, float scale, size_t B, size_t T,
                    size_t n_heads, size_t hd)
{
    struct heads h = heads_of(T, n_heads, hd);
    if (B * T * n_heads == 0)
        return;
    if (!is_aligned(v, hd) || !is_aligned(out, hd))
        launch_attend<64, 1>(out, prob, q, k, v, scale, h, B);
    else if (hd <= 32)
        launch_attend<32, 4>(out, prob, q, k, v, scale, h, B);
    else if (hd <= 64)
        launch_attend<64, 4>(out, prob, q, k, v, scale, h, B);
    else
        launch_attend<128, 4>(out, prob, q, k, v, scale, h, B);
}

/* What the gradient reads and writes. */
struct grad {
    float *gq, *gk, *gv, *gs;
    const float *gout, *prob, *q, *k, *v;
    float scale;
};

template <int HD, int W> static void launch_grad(const struct grad *g, struct heads h, size_t n)
{
    unsigned n_blocks = (unsigned)n * h.n_blocks;
    CUDA_LAUNCH((grad_rows<HD, W>), n_blocks, THREADS, 0, g->gq, g->gs, g->gout, g->prob, g->k, g->v, g->scale, h,
                is_aligned(g->gs, h.T));
    CUDA_LAUNCH((grad_columns<HD, W>), 2 * n_blocks, THREADS, 0, g->gk, g->gv, g->gs, g->gout, g->prob, g->q, h);
}

static bool is_grad_aligned(const struct grad *g, size_t T, size_t hd)
{
    return is_aligned(g->gq, hd) && is_aligned(g->gk, hd) && is_aligned(g->gv, hd) && is_aligned(g->gout, hd) &&
           is_aligned(g->q, hd) && is_aligned(g->k, hd) && is_aligned(g->gs, T) && is_aligned(g->prob, T);
}

/* `work` holds one head's scores; a device takes many at once, from memory of its own. */
void cuda_attention_grad(float *gq, float *gk, float *gv, float *work, const float *gout, const float *prob, const float *q,
                         const float *k, const float *v, float scale, size_t B, size_t T, size_t n_heads, size_t hd)
{
    (void)work;
    size_t n = B * n_heads, head_bytes = T * T * sizeof(float);
    if (n * T == 0)
        return;
    size_t at_once = GRAD_BYTES / head_bytes < 1 ? 1 : GRAD_BYTES / head_bytes;
    at_once = at_once < n ? at_once : n;
    struct grad g = {gq, gk, gv, (float *)cuda_scratch(0, at_once * head_bytes), gout, prob, q, k, v, scale};
    if (!g.gs)
        return;
    struct heads h = heads_of(T, n_heads, hd);
    bool is_wide = is_grad_aligned(&g, T, hd);
    for (; h.first < n; h.first += at_once) {
        size_t some = n - h.first < at_once ? n - h.first : at_once;
        if (!is_wide)
            launch_grad<64, 1>(&g, h, some);
        else if (hd <= 32)
            launch_grad<32, 4>(&g, h, some);
        else if (hd <= 64)
            launch_grad<64, 4>(&g, h, some);
        else
            launch_grad<128, 4>(&g, h, some);
    }
}
