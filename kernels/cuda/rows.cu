/* cuda/rows.cu - what takes the sum or the maximum of a row: norms, losses, inner products; and rope. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/floats.cuh"
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"

#define WARPS 8u /* of a block: rows where a warp has one */

static dim3 row_grid(size_t R)
{
    return dim3((unsigned)((R + WARPS - 1) / WARPS));
}

/* -- Norms ----------------------------------------------------------------------------------------- */

static __global__ void __launch_bounds__(LANES *WARPS)
    rmsnorm(float *y, float *rstd, const float *x, const float *gain, float width, float eps, size_t R, size_t D)
{
    size_t r = (size_t)blockIdx.x * WARPS + threadIdx.y;
    unsigned lane = threadIdx.x;
    if (r >= R)
        return;
    const float *row = x + r * D;
    float s = math_rsqrt(__fadd_rn(__fdiv_rn(lanes_dot(row, row, D, lane), width), eps));
    if (lane == 0)
        rstd[r] = s;
    for (size_t i = lane; i < D; i += LANES) {
        float normal = __fmul_rn(row[i], s);
        y[r * D + i] = gain ? __fmul_rn(normal, gain[i]) : normal;
    }
}

void cuda_rmsnorm(float *y, float *rstd, const float *x, const float *gain, float eps, size_t R, size_t D)
{
    if (R > 0)
        CUDA_LAUNCH(rmsnorm, row_grid(R), dim3(LANES, WARPS), 0, y, rstd, x, gain, (float)D, eps, R, D);
}

/* gx may be gy: a lane reads what it will write, and its part of the sum, before it writes. */
static __global__ void __launch_bounds__(LANES *WARPS) rmsnorm_grad(float *gx, const float *gy, const float *x, const float *rstd,
                                                                    const float *gain, float width, size_t R, size_t D)
{
    size_t r = (size_t)blockIdx.x * WARPS + threadIdx.y, at = r * D;
    unsigned lane = threadIdx.x;
    if (r >= R)
        return;
    size_t n_steps = lanes_steps(D, lane, LANES);
    float sum = 0.0f, s = rstd[r];
#pragma unroll 8
    for (size_t k = 0; k < n_steps; k++) {
        size_t i = k * LANES + lane;
        sum = __fmaf_rn(gain ? __fmul_rn(gy[at + i], gain[i]) : gy[at + i], x[at + i], sum);
    }
    float c = __fmul_rn(__fdiv_rn(lanes_sum(sum), width), __fmul_rn(s, s));
    for (size_t i = lane; i < D; i += LANES) {
        float w = gain ? __fmul_rn(gy[at + i], gain[i]) : gy[at + i];
        gx[at + i] = __fmul_rn(s, __fmaf_rn(-c, x[at + i], w));
    }
}

#define DEPTH 8u /* rows that each thread has on their way */
#define STRETCH (WARPS * DEPTH)

/* What a thread has on its way of STRETCH rows. */
struct ahead {
    float gy[DEPTH], x[DEPTH], rstd[DEPTH];
};

/* Rows and columns beyond the end are read where it is: nobody looks at them, and no load waits behind a branch. */
static __device__ __forceinline__ void read_ahead(struct ahead *to, const float *gy, const float *x, const float *rstd,
                                                  size_t first, size_t c, size_t R, size_t D)
{
    size_t column = min(c, D - 1);
#pragma unroll
    for (unsigned i = 0; i < DEPTH; i++) {
        size_t r = min(first + i * WARPS + threadIdx.y, R - 1);
        to->gy[i] = gy[r * D + column];
        to->x[i] = x[r * D + column];
        to->rstd[i] = rstd[r];
    }
}

/* One chain a column, rows ascending.  A block has 32 columns; all its warps bring rows, one goes along the chain while the
 * next rows are on their way. */
static __global__ void __launch_bounds__(LANES *WARPS)
    gain_grad(float *ggain, const float *gy, const float *x, const float *rstd, size_t R, size_t D)
{
    CUDA_SHARED_ARRAY(float, of_g, [STRETCH][LANES]);
    CUDA_SHARED_ARRAY(float, of_normal, [STRETCH][LANES]);
    size_t c = (size_t)blockIdx.x * LANES + threadIdx.x;
    float sum = c < D ? ggain[c] : 0.0f;
    struct ahead ahead;
    read_ahead(&ahead, gy, x, rstd, 0, c, R, D);
    for (size_t first = 0; first < R; first += STRETCH) {
#pragma unroll
        for (unsigned i = 0; i < DEPTH; i++) {
            of_g[i * WARPS + threadIdx.y][threadIdx.x] = ahead.gy[i];
            of_normal[i * WARPS + threadIdx.y][threadIdx.x] = __fmul_rn(ahead.x[i], ahead.rstd[i]);
        }
        __syncthreads();
        read_ahead(&ahead, gy, x, rstd, first + STRETCH, c, R, D);
        unsigned n_rows = threadIdx.y == 0 ? (unsigned)min(R - first, (size_t)STRETCH) : 0;
#pragma unroll 16
        for (unsigned k = 0; k < n_rows; k++)
            sum = __fmaf_rn(of_g[k][threadIdx.x], of_normal[k][threadIdx.x], sum);
        __syncthreads();
    }
    if (threadIdx.y == 0 && c < D)
        ggain[c] = sum;
}

void cuda_rmsnorm_grad(float *gx, float *ggain, const float *gy, const float *x, const float *rstd, const float *gain, size_t R,
                       size_t D)
{
    if (R == 0 || D == 0)
        return;
    dim3 columns((unsigned)((D + LANES - 1) / LANES)), block(LANES, WARPS);
    if (ggain)
        CUDA_LAUNCH(gain_grad, columns, block, 0, ggain, gy, x, rstd, R, D);
    CUDA_LAUNCH(rmsnorm_grad, row_grid(R), block, 0, gx, gy, x, rstd, gain, (float)D, R, D);
}

/* -- Rope ------------------------------------------------------------------------------------------ */

/* W pairs (i, i + hd / 2) of a head a thread. */
template <int W>
static __global__ void rope(float *x, const float *cosine, const float *sine, bool inverse, size_t R, size_t T, size_t n_heads,
                            size_t hd)
{
    size_t r = tiles_row(), step = tiles_step() * W, half = hd / 2;
    if (r >= R || step >= n_heads * half)
        return;
    size_t head = step / half, i = step % half, at = r % T * half + i;
    float *first = x + (r * n_heads + head) * hd + i, *second = first + half;
    floats<W> a = *(floats<W> *)first, b = *(floats<W> *)second;
    floats<W> c = *(const floats<W> *)(cosine + at), s = *(const floats<W> *)(sine + at);
#pragma unroll
    for (int w = 0; w < W; w++) {
        float turn = inverse ? -s.at[w] : s.at[w], old = a.at[w];
        a.at[w] = __fmaf_rn(old, c.at[w], -__fmul_rn(b.at[w], turn));
        b.at[w] = __fmaf_rn(b.at[w], c.at[w], __fmul_rn(old, turn));
    }
    *(floats<W> *)first = a;
    *(floats<W> *)second = b;
}

void cuda_rope(float *x, const float *cosine, const float *sine, bool inverse, size_t R, size_t T, size_t n_heads, size_t hd)
{
    size_t n_pairs = n_heads * (hd / 2);
    if (R == 0 || n_pairs == 0)
        return;
    bool is_wide = hd % (2 * FLOATS_WIDE) == 0 && floats_wide(x, cosine, sine);
    struct tiles t = tiles_of(R, is_wide ? n_pairs / FLOATS_WIDE : n_pairs);
    if (is_wide)
        CUDA_LAUNCH((rope<FLOATS_WIDE>), t.grid, t.block, 0, x, cosine, sine, inverse, R, T, n_heads, hd);
    else
        CUDA_LAUNCH((rope<1>), t.grid, t.block, 0, x, cosine, sine, inverse, R, T, n_heads, hd);
}

/* -- Cross entropy --------------------------------------------------------------------------------- */

#define LONG_ROW ((size_t)1024) /* from here on a row has WARPS warps rather than one */
#define EACH_ROUND 4u           /* exponentials of a thread between two barriers */

/* The row's maximum, in all threads of the block. */
static __device__ float max_of_row(const float *x, size_t V)
{
    CUDA_SHARED_ARRAY(float, of_warp, [WARPS]);
    unsigned first = threadIdx.y * LANES + threadIdx.x, by = blockDim.y * LANES;
    size_t n_steps = lanes_steps(V, first, by);
    float max = -math_infinity();
#pragma unroll 8
    for (size_t k = 0; k < n_steps; k++) {
        float other = x[first + k * by];
        max = other > max ? other : max;
    }
    max = lanes_max(max);
    if (threadIdx.x == 0)
        of_warp[threadIdx.y] = max;
    __syncthreads();
    for (unsigned w = 0; w < blockDim.y; w++)
        max = of_warp[w] > max ? of_warp[w] : max;
    return max;
}

/* The row sum of e^(x - max), in the first warp: all warps work out exponentials, the first adds them to its lanes while the
 * others are at the next. */
static __device__ float exp_sum_of_row(const float *x, float max, size_t V)
{
    CUDA_SHARED_ARRAY(float, e, [2][WARPS * EACH_ROUND][LANES]);
    unsigned n_lines = blockDim.y * EACH_ROUND, now = 0;
    float sum = 0.0f;
    for (size_t first = 0; first < V; first += n_lines * LANES, now ^= 1) {
        float ahead[EACH_ROUND];
#pragma unroll
        for (unsigned i = 0; i < EACH_ROUND; i++) {
            size_t j = first + (i * blockDim.y + threadIdx.y) * LANES + threadIdx.x;
            ahead[i] = j < V ? x[j] : 0.0f;
        }
#pragma unroll
        for (unsigned i = 0; i < EACH_ROUND; i++)
            e[now][i * blockDim.y + threadIdx.y][threadIdx.x] = math_exp(__fsub_rn(ahead[i], max));
        __syncthreads();
        for (unsigned line = 0; threadIdx.y == 0 && line < n_lines && first + line * LANES + threadIdx.x < V; line++)
            sum = __fadd_rn(sum, e[now][line][threadIdx.x]);
    }
    return threadIdx.y == 0 ? lanes_sum(sum) : 0.0f;
}

/* glogit may be logit, so the exponentials are worked out twice rather than kept.  A target that is none gives NaN. */
static __global__ void __launch_bounds__(LANES *WARPS)
    cross_entropy(float *loss, float *glogit, const float *logit, const int32_t *target, float grad_scale, size_t V)
{
    CUDA_SHARED_ARRAY(float, inverse, [1]);
    const float *x = logit + blockIdx.x * V;
    size_t t = (size_t)target[blockIdx.x];
    float max = max_of_row(x, V), sum = exp_sum_of_row(x, max, V);
    if (threadIdx.y == 0 && threadIdx.x == 0) {
        loss[blockIdx.x] = t < V ? __fsub_rn(math_log(sum), __fsub_rn(x[t], max)) : math_nan();
        inverse[0] = __fdiv_rn(1.0f, sum);
    }
    __syncthreads();
    if (!glogit)
        return;
    for (size_t j = threadIdx.y * LANES + threadIdx.x; j < V; j += blockDim.y * LANES) {
        float p = __fmul_rn(math_exp(__fsub_rn(x[j], max)), inverse[0]);
        glogit[blockIdx.x * V + j] = __fmul_rn(j == t ? __fsub_rn(p, 1.0f) : p, grad_scale);
    }
}

void cuda_cross_entropy(float *loss, float *glogit, const float *logit, const int32_t *target, float grad_scale, size_t R,
                        size_t V)
{
    if (R > 0)
        CUDA_LAUNCH(cross_entropy, dim3((unsigned)R), dim3(LANES, V < LONG_ROW ? 1 : WARPS), 0, loss, glogit, logit, target,
                    grad_scale, V);
}

/* -- Numbers for the CPU --------------------------------------------------------------------------- */

/* A device that failed gives NaN: whoever asks for a norm then leaves its step out.  That memory ran out is told once, and not to
 * us, so it is kept. */
static float fetch(const void *at)
{
    float y;
    int err = at ? cuda_get(&y, at, sizeof y) : HANSE_EDEVICE;
    if (err == HANSE_ENOMEM)
        cuda_keep_no_memory();
    if (err == 0)
        return y;
    uint32_t none = 0x7fc00000u;
    memcpy(&y, &none, sizeof y);
    return y;
}

/* sum (ceil(n / SUM_PIECE)): the row sum of each piece of x, of its squares or of x itself. */
template <bool IS_SQUARE> static __global__ void __launch_bounds__(LANES *WARPS) sum_pieces(float *sum, const float *x, size_t n)
{
    size_t piece = (size_t)blockIdx.x * WARPS + threadIdx.y, first = piece * SUM_PIECE + threadIdx.x;
    if (piece * SUM_PIECE >= n)
        return;
    size_t n_steps = min(lanes_steps(n, first, LANES), SUM_PIECE / LANES);
    float lane = 0.0f;
#pragma unroll 16
    for (size_t k = 0; k < n_steps; k++) {
        float y = x[first + k * LANES];
        lane = IS_SQUARE ? __fmaf_rn(y, y, lane) : __fadd_rn(lane, y);
    }
    lane = lanes_sum(lane);
    if (threadIdx.x == 0)
        sum[piece] = lane;
}

static size_t pieces(size_t n)
{
    return (n + SUM_PIECE - 1) / SUM_PIECE;
}

float cuda_sum_squares(const float *x, size_t n)
{
    size_t n_sums = pieces(n);
    if (n == 0)
        return 0.0f;
    float *sum = (float *)cuda_scratch(0, (n_sums + pieces(n_sums)) * sizeof *sum);
    if (!sum)
        return fetch(NULL);
    float *next = sum + n_sums;
    CUDA_LAUNCH((sum_pieces<true>), row_grid(n_sums), dim3(LANES, WARPS), 0, sum, x, n);
    while (n_sums > 1) {
        CUDA_LAUNCH((sum_pieces<false>), row_grid(pieces(n_sums)), dim3(LANES, WARPS), 0, next, sum, n_sums);
        n_sums = pieces(n_sums);
        float *swap = sum;
        sum = next;
        next = swap;
    }
    return fetch(sum);
}

/* A single row sum, whatever its length: one warp.  Long ones are not asked for. */
static __global__ void dot(float *sum, const float *x, const float *y, size_t n)
{
    float s = lanes_dot(x, y, n, threadIdx.x);
    if (threadIdx.x == 0)
        *sum = s;
}

float cuda_dot(const float *x, const float *y, size_t n)
{
    float *sum = (float *)cuda_scratch(0, sizeof *sum);
    if (sum)
        CUDA_LAUNCH(dot, dim3(1), dim3(LANES), 0, sum, x, y, n);
    return fetch(sum);
}

#define MOST_BLOCKS 1024u

template <int W> static __global__ void __launch_bounds__(FLOATS_THREADS) largest(uint32_t *most, const float *x, size_t n)
{
    uint32_t mine = 0;
    for (size_t i = floats_mine<W>(); i < n; i += (size_t)gridDim.x * FLOATS_THREADS * W) {
        floats<W> v = floats_load<W>(x + i, n - i);
        for (int w = 0; w < W; w++)
            mine = max(mine, math_magnitude(v.at[w])); /* what is beyond the end was read as +0 */
    }
    mine = lanes_most(mine);
    if (threadIdx.x % LANES == 0)
        atomicMax(most, mine);
}

float cuda_largest(const float *x, size_t n)
{
    uint32_t *most = n ? (uint32_t *)cuda_scratch(0, sizeof *most) : NULL;
    if (n == 0)
        return 0.0f;
    if (!most)
        return fetch(NULL);
    cuda_zero(most, sizeof *most);
    bool is_wide = floats_wide(x);
    dim3 grid = floats_grid(n, is_wide ? FLOATS_WIDE : 1);
    grid.x = grid.x < MOST_BLOCKS ? grid.x : MOST_BLOCKS;
    if (is_wide)
        CUDA_LAUNCH((largest<FLOATS_WIDE>), grid, FLOATS_THREADS, 0, most, x, n);
    else
        CUDA_LAUNCH((largest<1>), grid, FLOATS_THREADS, 0, most, x, n);
    return fetch(most);
}
