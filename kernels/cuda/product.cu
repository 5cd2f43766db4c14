/*
 * cuda/product.cu - the product of floats: tiles of outputs, the shape of the tile by how much of the chip it fills.
 *
 * k is never divided, since a chain's order is its result; so a product of few outputs occupies few units, and what helps it
 * is a smaller tile, though that reads its operands more often.
 */
#include "kernels/cuda/cuda.h"

#include <assert.h>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/tile.cuh"

#define BAND 8u /* rows of tiles that are walked together, column by column: what they read is still in the cache */

typedef tile<128, 128, 8, 8, 8, 4, 2> large;
typedef tile<64, 64, 16, 8, 4, 3, 4> middle;
typedef tile<32, 32, 16, 2, 4, 3, 4> small;
typedef tile<16, 64, 16, 2, 4, 3, 4> flat;
typedef tile<64, 16, 16, 4, 2, 3, 4> thin;

struct task {
    float *c;
    size_t ldc;
    const float *a, *b;
    size_t lda, ldb;
    size_t M, N;
    uint32_t K;
    unsigned tiles_down, tiles_across;
    bool accumulate;
    bool is_c_aligned; /* all its rows on multiples of 16 bytes */
};

/* The first row and column of a block's tile: BAND rows of tiles, then the next. */
struct place {
    size_t i, j;
};
static __device__ __forceinline__ struct place place_of(unsigned tiles_down, unsigned tiles_across, unsigned M, unsigned N)
{
    unsigned first = blockIdx.x / (BAND * tiles_across) * BAND, in_band = blockIdx.x % (BAND * tiles_across);
    unsigned rows = tiles_down - first < BAND ? tiles_down - first : BAND;
    return {(size_t)(first + in_band % rows) * M, (size_t)(in_band / rows) * N};
}

/* x, of which the compiler does not know that it is x: what follows from it is worked out again rather than kept in registers. */
static __device__ __forceinline__ unsigned anew(unsigned x)
{
#if defined(__CUDA_ARCH__)
    asm volatile("" : "+r"(x));
#endif
    return x;
}

/* The outputs as they are, those of the first n_rows and n_columns that there are. */
template <class T>
static __device__ __forceinline__ void get_tile(float (&sum)[T::TM][T::TN], const float *c, size_t ldc, size_t n_rows,
                                                size_t n_columns, bool is_aligned)
{
#pragma unroll
    for (int i = 0; i < T::TM; i++)
#pragma unroll
        for (int j = 0; j < T::TN; j += T::VN) {
            size_t row = tile_row<T>(i), column = tile_column<T>(j);
            if (row < n_rows && column < n_columns)
                get_floats<T::VN>(sum[i] + j, c + row * ldc + column, n_columns - column, is_aligned);
        }
}

template <class T, bool IS_A_K_FIRST, bool IS_B_K_FIRST, int W>
static __global__ void __launch_bounds__(T::THREADS, T::BLOCKS) multiply_tile(struct task p)
{
    CUDA_SHARED_ARRAY(float, shared, [T::SHARED]);
    float sum[T::TM][T::TN] = {};
    struct place at = place_of(p.tiles_down, p.tiles_across, T::M, T::N);
    if (p.accumulate)
        get_tile<T>(sum, p.c + at.i * p.ldc + at.j, p.ldc, p.M - at.i, p.N - at.j, p.is_c_aligned);
    struct strip a = {p.a + at.i * (IS_A_K_FIRST ? p.lda : 1), p.lda, p.M - at.i};
    struct strip b = {p.b + at.j * (IS_B_K_FIRST ? p.ldb : 1), p.ldb, p.N - at.j};
    tile_sum<T, IS_A_K_FIRST, IS_B_K_FIRST, W>(sum, shared, a, b, p.K);
    at = place_of(p.tiles_down, anew(p.tiles_across), T::M, T::N);
    put_tile<T>(p.c + at.i * p.ldc + at.j, p.ldc, sum, p.M - at.i, p.N - at.j, p.is_c_aligned);
}

template <class T, bool IS_A_K_FIRST, bool IS_B_K_FIRST, int W> static void launch(struct task *p)
{
    p->tiles_down = (unsigned)((p->M + T::M - 1) / T::M);
    p->tiles_across = (unsigned)((p->N + T::N - 1) / T::N);
    CUDA_LAUNCH((multiply_tile<T, IS_A_K_FIRST, IS_B_K_FIRST, W>), p->tiles_down * p->tiles_across, T::THREADS, 0, *p);
}

/* W: whether operands may be read 16 bytes at a time, where that is a gain: where k is not contiguous. */
template <class T, int W> static void launch_as_they_lie(struct task *p, bool is_a_k_first, bool is_b_k_first)
{
    if (is_a_k_first && is_b_k_first)
        launch<T, true, true, 1>(p);
    else if (is_a_k_first)
        launch<T, true, false, W>(p);
    else if (is_b_k_first)
        launch<T, false, true, W>(p);
    else
        launch<T, false, false, W>(p);
}

/*
 * Cycles that a unit spends on one k of a tile, by the instructions of its busiest quarter: TM TN of the outputs' fma for each
 * of its warps, and what shared memory, copying and too few warps add.  A unit with several tiles takes as long as for one after the other.
 */
struct shape {
    size_t M, N, cycles;
};
enum { LARGE, MIDDLE, SMALL, FLAT, THIN, N_SHAPES };
static const struct shape shapes[N_SHAPES] = {{large::M, large::N, 142},
                                              {middle::M, middle::N, 42},
                                              {small::M, small::N, 16},
                                              {flat::M, flat::N, 16},
                                              {thin::M, thin::N, 16}};

/* The large tile has no registers left for operands that lie askew. */
static int choose_shape(size_t M, size_t N, bool is_wide)
{
    size_t n_units = (size_t)cuda_chip()->n_units, best_cycles = SIZE_MAX, best_tiles = 0;
    int best = 0;
    for (int s = is_wide ? LARGE : MIDDLE; s < N_SHAPES; s++) {
        size_t tiles = ((M + shapes[s].M - 1) / shapes[s].M) * ((N + shapes[s].N - 1) / shapes[s].N);
        size_t cycles = (tiles + n_units - 1) / n_units * shapes[s].cycles;
        if (cycles < best_cycles || (cycles == best_cycles && tiles < best_tiles)) {
            best = s;
            best_cycles = cycles;
            best_tiles = tiles;
        }
    }
    return best;
}

static bool is_aligned(const float *x, size_t ld)
{
    return (uintptr_t)x % 16 == 0 && ld % 4 == 0;
}

/* Offsets within a tile have 32 bits: rows of more than 2^25 floats must be few. */
static bool fits(size_t n_lines, size_t ld)
{
    return (n_lines < 128 ? n_lines : 128) * ld <= UINT32_MAX - 128;
}

void cuda_matmul(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate)
{
    bool is_a_k_first = a.col == 1, is_b_k_first = b.col != 1;
    struct task p = {};
    p.c = c, p.ldc = ldc, p.is_c_aligned = is_aligned(c, ldc);
    p.a = a.at, p.lda = is_a_k_first ? a.row : a.col;
    p.b = b.at, p.ldb = is_b_k_first ? b.col : b.row;
    p.M = M, p.N = N, p.K = (uint32_t)K, p.accumulate = accumulate;
    assert(K <= UINT32_MAX && fits(is_a_k_first ? M : K, p.lda) && fits(is_b_k_first ? N : K, p.ldb));
    if (M == 0 || N == 0)
        return;
    bool is_wide = (is_a_k_first || (is_aligned(a.at, p.lda) && M % 4 == 0)) &&
                   (is_b_k_first || (is_aligned(b.at, p.ldb) && N % 4 == 0));
    int shape = choose_shape(M, N, is_wide);
    if (shape == LARGE)
        launch_as_they_lie<large, 4>(&p, is_a_k_first, is_b_k_first);
    else if (shape == MIDDLE && is_wide)
        launch_as_they_lie<middle, 4>(&p, is_a_k_first, is_b_k_first);
    else if (shape == MIDDLE)
        launch_as_they_lie<middle, 1>(&p, is_a_k_first, is_b_k_first);
    else if (shape == SMALL)
        launch_as_they_lie<small, 1>(&p, is_a_k_first, is_b_k_first);
    else if (shape == FLAT)
        launch_as_they_lie<flat, 1>(&p, is_a_k_first, is_b_k_first);
    else
        launch_as_they_lie<thin, 1>(&p, is_a_k_first, is_b_k_first);
}
