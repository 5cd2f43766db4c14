/* cuda/product_dp4a.cu - exact-integer products by __dp4a: the yardstick of the others, and what is left where int8 matrix units are missing. */
#include "kernels/cuda/product_tile.cuh"

/* A thread computes `rows` x `columns` outputs, whose rows and columns lie a block's height and width of threads apart: neighbours among the
 * threads then read neighbouring lines of shared memory, from different banks. */
struct quilt {
    int threads_m, threads_n; /* of a block */
    int rows, columns;
};

template <struct tile T> static constexpr __host__ __device__ struct quilt quilt_of(void)
{
    constexpr int across = 16, down = tile_threads(T) / across;
    return {down, across, T.rows / down, T.columns / across};
}

template <struct tile T, int S> struct quilt_sums {
    static constexpr struct quilt Q = quilt_of<T>();
    int32_t sum[S][Q.rows][Q.columns];
};

template <struct tile T, int S> static __device__ __forceinline__ void quilt_clear(struct quilt_sums<T, S> *x)
{
#pragma unroll
    for (int at = 0; at < S * x->Q.rows * x->Q.columns; at++)
        x->sum[at % S][at / S / x->Q.columns][at / S % x->Q.columns] = 0;
}

static __device__ __forceinline__ int32_t dp4a_chunk(int4 a, int4 b, int32_t sum)
{
    return __dp4a(a.w, b.w, __dp4a(a.z, b.z, __dp4a(a.y, b.y, __dp4a(a.x, b.x, sum))));
}

/* Adds 16 bytes of k. */
template <struct tile T, int S>
static __device__ __forceinline__ void quilt_add(struct quilt_sums<T, S> *x, const int8_t *stage, int ty, int tx, int chunk)
{
    constexpr struct quilt Q = quilt_of<T>();
    int4 b[S][Q.columns];
#pragma unroll
    for (int s = 0; s < S; s++)
#pragma unroll
        for (int n = 0; n < Q.columns; n++)
            b[s][n] = *(const int4 *)(stage + tile_place<T.k_bytes>(S * T.rows + s * T.columns + n * Q.threads_n + tx, chunk));
#pragma unroll
    for (int m = 0; m < Q.rows; m++) {
        int4 a[S];
#pragma unroll
        for (int s = 0; s < S; s++)
            a[s] = *(const int4 *)(stage + tile_place<T.k_bytes>(s * T.rows + m * Q.threads_m + ty, chunk));
#pragma unroll
        for (int n = 0; n < Q.columns; n++) {
            x->sum[0][m][n] = dp4a_chunk(a[0], b[0][n], x->sum[0][m][n]);
            if constexpr (S == 2)
                x->sum[1][m][n] = dp4a_chunk(a[0], b[1][n], dp4a_chunk(a[1], b[0][n], x->sum[1][m][n]));
        }
    }
}

/* The end of a part; outputs wait in c, in this thread's own hand, from part to part. */
template <struct tile T, int S>
static __device__ __forceinline__ void quilt_end(const struct quilt_sums<T, S> *x, const struct product *p, size_t i, size_t j,
                                                 int part)
{
    constexpr struct quilt Q = quilt_of<T>();
    struct part_exponents exponents = part_exponents(p, part);
#pragma unroll
    for (int m = 0; m < Q.rows; m++)
#pragma unroll
        for (int n = 0; n < Q.columns; n++) {
            size_t row = i + (size_t)anew(m * Q.threads_m), column = j + n * Q.threads_n;
            if (row >= p->M || column >= p->N)
                continue;
            float *c = p->c + row * p->ldc + column, y = p->accumulate || part > 0 ? *c : 0.0f;
            *c = part_end<S>(x->sum[0][m][n], x->sum[S - 1][m][n], exponent_at(exponents.a, row, true),
                             exponent_at(exponents.b, column, true), y);
        }
}

template <struct tile T, int S>
__global__ void __launch_bounds__(tile_threads(T), T.n_blocks) multiply_quilt(const struct product p)
{
    CUDA_SHARED(int8_t, shared);
    struct quilt_sums<T, S> sums;
    struct pipe<T, S> pipe;
    size_t i, j;
    int tx = (int)threadIdx.x % sums.Q.threads_n, ty = (int)threadIdx.x / sums.Q.threads_n;
    tile_corner(&p, T.rows, T.columns, &i, &j);
    pipe_begin(&pipe, &p, shared, i, j);
    quilt_clear(&sums);
    int part = 0, part_steps = (int)(p.part / T.k_bytes), part_last = part_steps - 1;
    for (int step = 0; step < pipe.n_steps; step++) {
        const int8_t *stage = pipe_enter(&pipe, step);
#pragma unroll 1
        for (int chunk = 0; chunk < T.k_bytes / 16; chunk++)
            quilt_add<T, S>(&sums, stage, ty, tx, chunk);
        pipe_leave(&pipe, step);
        if (step != part_last && step + 1 != pipe.n_steps)
            continue;
        quilt_end(&sums, &p, i + (size_t)ty, j + (size_t)tx, part);
        quilt_clear(&sums);
        part++, part_last += part_steps;
    }
}

template <struct tile T, int S> static void launch_quilt(const struct product *p)
{
    size_t n_tiles = ((p->M + T.rows - 1) / T.rows) * ((p->N + T.columns - 1) / T.columns);
    CUDA_LAUNCH((multiply_quilt<T, S>), (unsigned)n_tiles, tile_threads(T), tile_shared_bytes(T, S), *p);
}

static constexpr struct tile large = {DP4A, 64, 64, 8, 1, 1, 64, 2, 2}, few = {DP4A, 16, 32, 4, 1, 1, 128, 2, 4};

static void multiply(const struct product *p)
{
    if (product_size(p) == PRODUCT_SMALL)
        p->a_low ? launch_quilt<few, 2>(p) : launch_quilt<few, 1>(p);
    else
        p->a_low ? launch_quilt<large, 2>(p) : launch_quilt<large, 1>(p);
}

const struct product_variant product_dp4a = {"dp4a", 61, 0, NULL, multiply};
