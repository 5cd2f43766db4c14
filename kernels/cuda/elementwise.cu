/* cuda/elementwise.cu - what is done to each element, or to each row's place, by itself. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/floats.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"

/* -- Of vectors ------------------------------------------------------------------------------------ */

template <int W> static __global__ void axpy(float *y, float a, const float *x, size_t n)
{
    size_t i = floats_mine<W>();
    if (i >= n)
        return;
    floats<W> vx = floats_load<W>(x + i, n - i), vy = floats_load<W>(y + i, n - i);
#pragma unroll
    for (int w = 0; w < W; w++)
        vy.at[w] = __fmaf_rn(a, vx.at[w], vy.at[w]);
    floats_store<W>(y + i, vy, n - i);
}

void cuda_axpy(float *y, float a, const float *x, size_t n)
{
    FLOATS_EACH(axpy, floats_wide(x, y), n, y, a, x, n);
}

template <int W> static __global__ void scale(float *y, float a, const float *x, size_t n)
{
    size_t i = floats_mine<W>();
    if (i >= n)
        return;
    floats<W> v = floats_load<W>(x + i, n - i);
#pragma unroll
    for (int w = 0; w < W; w++)
        v.at[w] = __fmul_rn(a, v.at[w]);
    floats_store<W>(y + i, v, n - i);
}

void cuda_scale(float *y, float a, const float *x, size_t n)
{
    FLOATS_EACH(scale, floats_wide(x, y), n, y, a, x, n);
}

template <int W> static __global__ void divide(float *y, const float *x, float a, size_t n)
{
    size_t i = floats_mine<W>();
    if (i >= n)
        return;
    floats<W> v = floats_load<W>(x + i, n - i);
#pragma unroll
    for (int w = 0; w < W; w++)
        v.at[w] = __fdiv_rn(v.at[w], a);
    floats_store<W>(y + i, v, n - i);
}

void cuda_divide(float *y, const float *x, float a, size_t n)
{
    FLOATS_EACH(divide, floats_wide(x, y), n, y, x, a, n);
}

template <int W> static __global__ void blend(float *y, float a, const float *x, float b, size_t n)
{
    size_t i = floats_mine<W>();
    if (i >= n)
        return;
    floats<W> vx = floats_load<W>(x + i, n - i), vy = floats_load<W>(y + i, n - i);
#pragma unroll
    for (int w = 0; w < W; w++)
        vy.at[w] = __fmaf_rn(a, vx.at[w], __fmul_rn(b, vy.at[w]));
    floats_store<W>(y + i, vy, n - i);
}

void cuda_blend(float *y, float a, const float *x, float b, size_t n)
{
    FLOATS_EACH(blend, floats_wide(x, y), n, y, a, x, b, n);
}

template <int W> static __global__ void sigmoid(float *y, const float *x, size_t n)
{
    size_t i = floats_mine<W>();
    if (i >= n)
        return;
    floats<W> v = floats_load<W>(x + i, n - i);
#pragma unroll
    for (int w = 0; w < W; w++)
        v.at[w] = math_sigmoid(v.at[w]);
    floats_store<W>(y + i, v, n - i);
}

void cuda_sigmoid(float *y, const float *x, size_t n)
{
    FLOATS_EACH(sigmoid, floats_wide(x, y), n, y, x, n);
}

template <int W> static __global__ void sigmoid_grad(float *g, const float *y, size_t n)
{
    size_t i = floats_mine<W>();
    if (i >= n)
        return;
    floats<W> vy = floats_load<W>(y + i, n - i), vg = floats_load<W>(g + i, n - i);
#pragma unroll
    for (int w = 0; w < W; w++)
        vg.at[w] = __fmul_rn(vg.at[w], __fmul_rn(vy.at[w], __fsub_rn(1.0f, vy.at[w])));
    floats_store<W>(g + i, vg, n - i);
}

void cuda_sigmoid_grad(float *g, const float *y, size_t n)
{
    FLOATS_EACH(sigmoid_grad, floats_wide(g, y), n, g, y, n);
}

template <int W> static __global__ void swiglu(float *h, const float *g, const float *u, size_t n)
{
    size_t i = floats_mine<W>();
    if (i >= n)
        return;
    floats<W> vg = floats_load<W>(g + i, n - i), vu = floats_load<W>(u + i, n - i);
#pragma unroll
    for (int w = 0; w < W; w++)
        vg.at[w] = math_swiglu(vg.at[w], vu.at[w]);
    floats_store<W>(h + i, vg, n - i);
}

void cuda_swiglu(float *h, const float *g, const float *u, size_t n)
{
    FLOATS_EACH(swiglu, floats_wide(h, g, u), n, h, g, u, n);
}

/* All is read before any of it is written: gg may be g, gu may be u. */
template <int W>
static __global__ void swiglu_grad(float *gg, float *gu, const float *gh, const float *g, const float *u, size_t n)
{
    size_t i = floats_mine<W>();
    if (i >= n)
        return;
    floats<W> vh = floats_load<W>(gh + i, n - i), vg = floats_load<W>(g + i, n - i), vu = floats_load<W>(u + i, n - i);
#pragma unroll
    for (int w = 0; w < W; w++) {
        float x = vg.at[w], s = math_sigmoid(x);
        float slope = __fmul_rn(s, __fmaf_rn(x, __fsub_rn(1.0f, s), 1.0f));
        vg.at[w] = __fmul_rn(__fmul_rn(vh.at[w], vu.at[w]), slope);
        vu.at[w] = __fmul_rn(vh.at[w], __fmul_rn(x, s));
    }
    floats_store<W>(gu + i, vu, n - i);
    floats_store<W>(gg + i, vg, n - i);
}

void cuda_swiglu_grad(float *gg, float *gu, const float *gh, const float *g, const float *u, size_t n)
{
    FLOATS_EACH(swiglu_grad, floats_wide(gg, gu, gh, g, u), n, gg, gu, gh, g, u, n);
}

/* -- Of rows --------------------------------------------------------------------------------------- */

template <int W> static __global__ void weigh(float *y, const float *weight, const float *x, size_t R, size_t C)
{
    size_t r = tiles_row(), c = tiles_step() * W;
    if (r >= R || c >= C)
        return;
    float a = weight[r];
    floats<W> v = *(const floats<W> *)(x + r * C + c);
#pragma unroll
    for (int w = 0; w < W; w++)
        v.at[w] = __fmul_rn(a, v.at[w]);
    *(floats<W> *)(y + r * C + c) = v;
}

void cuda_weigh(float *y, const float *weight, const float *x, size_t R, size_t C)
{
    if (R == 0 || C == 0)
        return;
    bool is_wide = C % FLOATS_WIDE == 0 && floats_wide(x, y);
    struct tiles t = tiles_of(R, is_wide ? C / FLOATS_WIDE : C);
    if (is_wide)
        CUDA_LAUNCH((weigh<FLOATS_WIDE>), t.grid, t.block, 0, y, weight, x, R, C);
    else
        CUDA_LAUNCH((weigh<1>), t.grid, t.block, 0, y, weight, x, R, C);
}

/* Rows of bytes, W at a time. */
template <int W> static __global__ void gather(char *to, const char *from, const uint32_t *row, size_t n, size_t row_bytes)
{
    size_t r = tiles_row(), at = tiles_step() * W;
    if (r < n && at < row_bytes)
        *(bytes<W> *)(to + r * row_bytes + at) = *(const bytes<W> *)(from + row[r] * row_bytes + at);
}

void cuda_gather(void *to, const void *from, const uint32_t *row, size_t n, size_t row_bytes)
{
    if (n == 0 || row_bytes == 0)
        return;
    uintptr_t all = (uintptr_t)to | (uintptr_t)from | row_bytes;
    size_t width = all % 16 == 0 ? 16 : all % 4 == 0 ? 4 : 1;
    struct tiles t = tiles_of(n, row_bytes / width);
    if (width == 16)
        CUDA_LAUNCH((gather<16>), t.grid, t.block, 0, (char *)to, (const char *)from, row, n, row_bytes);
    else if (width == 4)
        CUDA_LAUNCH((gather<4>), t.grid, t.block, 0, (char *)to, (const char *)from, row, n, row_bytes);
    else
        CUDA_LAUNCH((gather<1>), t.grid, t.block, 0, (char *)to, (const char *)from, row, n, row_bytes);
}

#define SIDE 32u /* of a tile that is turned in shared memory; one more column, lest its columns share a bank */
#define SIDE_ROWS 8u

/* Both sides of the copy go along rows, so that a warp touches 128 neighbouring bytes. */
static __global__ void __launch_bounds__(SIDE *SIDE_ROWS)
    transpose(float *out, const float *x, size_t M, size_t N, size_t n_across)
{
    CUDA_SHARED_ARRAY(float, tile, [SIDE][SIDE + 1]);
    size_t i = blockIdx.x / n_across * SIDE, j = blockIdx.x % n_across * SIDE;
    for (unsigned r = threadIdx.y; r < SIDE; r += SIDE_ROWS)
        if (i + r < M && j + threadIdx.x < N)
            tile[r][threadIdx.x] = x[(i + r) * N + j + threadIdx.x];
    __syncthreads();
    for (unsigned r = threadIdx.y; r < SIDE; r += SIDE_ROWS)
        if (j + r < N && i + threadIdx.x < M)
            out[(j + r) * M + i + threadIdx.x] = tile[threadIdx.x][r];
}

void cuda_transpose(float *out, const float *x, size_t M, size_t N)
{
    size_t n_across = (N + SIDE - 1) / SIDE, n_tiles = (M + SIDE - 1) / SIDE * n_across;
    if (n_tiles > 0)
        CUDA_LAUNCH(transpose, dim3((unsigned)n_tiles), dim3(SIDE, SIDE_ROWS), 0, out, x, M, N, n_across);
}
