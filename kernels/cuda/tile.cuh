/**
 * kernels/cuda/tile.cuh - a tile of a matrix product by one block of threads: each output one chain of fmaf, k ascending.
 *
 * A thread keeps TM x TN outputs in registers from the first k to the last; k is never divided.  Both operands go through
 * shared memory, K of k at a time, in the order in which outputs read them: a[k][i], b[k][j].  From sm_80 on they are copied
 * there past the registers, SLOTS - 1 pieces ahead; before, the next piece waits in registers while this one is worked on.
 *
 * Nothing is padded: a term of +0 would turn a chain that underflowed to -0 into +0.  Rows and columns beyond the matrix
 * repeat its last one, and their outputs go nowhere; k ends where it ends.
 *
 * A warp is 4 threads down by 8 across, dealt so that lanes which read one address are neighbours: reading 16 bytes a lane
 * then takes the fewest turns.
 */
#ifndef KERNELS_CUDA_TILE_CUH
#define KERNELS_CUDA_TILE_CUH

#include "kernels/cuda/cuda.h"

/** Rows of shared memory are longer by this: eight k of four neighbours then lie in 32 banks. */
#define TILE_SLACK 4

/* Chips before sm_80 have neither copies past the registers nor shared memory for many blocks. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define TILE_IS_STAGED true
#else
#define TILE_IS_STAGED false
#endif

/** How a tile of M x N outputs is cut: TM x TN a thread, K of k in each of SLOTS pieces of shared memory.  BLOCKS: how many of
 * its blocks a multiprocessor is to hold at once, which limits a thread's registers. */
template <int M_, int N_, int K_, int TM_, int TN_, int SLOTS_, int BLOCKS_> struct tile {
    static constexpr int M = M_, N = N_, K = K_, TM = TM_, TN = TN_;
    static constexpr int SLOTS = TILE_IS_STAGED ? 2 : SLOTS_, BLOCKS = TILE_IS_STAGED ? BLOCKS_ / 2 : BLOCKS_;
    static constexpr int DOWN = M / TM, ACROSS = N / TN, THREADS = DOWN * ACROSS;
    static constexpr int VM = TM < 4 ? TM : 4, VN = TN < 4 ? TN : 4; /* outputs side by side; the next such lie VM DOWN on */
    static constexpr int LDA = M + TILE_SLACK, LDB = N + TILE_SLACK;
    static constexpr int SLOT = K * (LDA + LDB), SHARED = SLOT * SLOTS; /* floats */
    static_assert(DOWN % 4 == 0 && ACROSS % 8 == 0 && K % 8 == 0 && TM % VM == 0 && TN % VN == 0 && SLOTS >= 2, "");
};

/** Floats that are moved at once. */
template <int W> struct alignas(4 * W) floats {
    float at[W];
};

/** What a tile reads of an operand: `n` > 0 rows (of a) or columns (of b), the first at `at`.  Element (x, k) is at[x * ld + k]
 * where k is contiguous, else at[k * ld + x].  Within a tile that fits into 32 bits. */
struct strip {
    const float *at;
    size_t ld;
    size_t n;
};

/*
 * One thread's share in copying pieces of X rows or columns by K of k, WIDTH floats at a time.  Where k is contiguous a
 * warp takes eight k of four rows: whole sectors of memory, and 32 banks; else neighbours along x.
 */
template <class T, int X_, bool IS_K_FIRST_, int W> struct carrier {
    static constexpr int X = X_, THREADS = T::THREADS, K = T::K, WIDTH = IS_K_FIRST_ ? 1 : W;
    static constexpr bool IS_K_FIRST = IS_K_FIRST_;
    static constexpr int LINE = IS_K_FIRST ? 8 : X / WIDTH;   /* threads side by side */
    static constexpr int STEP = THREADS / LINE;               /* lines that all threads take at once */
    static constexpr int TURNS = (IS_K_FIRST ? X : K) / STEP; /* until they have taken all lines */
    static constexpr int N_COPIES = X * K / WIDTH / THREADS;
    static_assert(THREADS % LINE == 0 && (IS_K_FIRST ? X : K) % STEP == 0, "all threads copy as much");
    const float *from;               /* the next piece */
    uint32_t step;                   /* floats to the one after it */
    uint32_t offset[TURNS];          /* within a piece */
    floats<WIDTH> waiting[N_COPIES]; /* read, and not yet in shared memory */
};

/* Where in a piece the thread's i-th copy lies. */
template <class C> static __device__ __forceinline__ int copy_x(int i)
{
    int line = (int)threadIdx.x / C::LINE, place = (int)threadIdx.x % C::LINE;
    return C::IS_K_FIRST ? line + i % C::TURNS * C::STEP : place * C::WIDTH;
}

template <class C> static __device__ __forceinline__ int copy_k(int i)
{
    int line = (int)threadIdx.x / C::LINE, place = (int)threadIdx.x % C::LINE;
    return C::IS_K_FIRST ? place + i / C::TURNS * C::LINE : line + i * C::STEP;
}

template <class C> static __device__ __forceinline__ void carrier_init(C *c, struct strip s)
{
    c->from = s.at;
    c->step = C::IS_K_FIRST ? (uint32_t)C::K : C::K * (uint32_t)s.ld;
    int last = s.n < (size_t)C::X ? (int)s.n - C::WIDTH : C::X - C::WIDTH;
#pragma unroll
    for (int i = 0; i < C::TURNS; i++) {
        int x = copy_x<C>(i), k = copy_k<C>(i);
        x = x < last ? x : last;
        c->offset[i] = C::IS_K_FIRST ? (uint32_t)x * (uint32_t)s.ld + (uint32_t)k : (uint32_t)k * (uint32_t)s.ld + (uint32_t)x;
    }
}

template <class C> static __device__ __forceinline__ const float *copy_from(const C *c, int i)
{
    return c->from + c->offset[i % C::TURNS] + i / C::TURNS * C::LINE;
}

/* The next piece, with the `n_k` of k that are left for it, sets out for `to`. */
template <class C> static __device__ __forceinline__ void carrier_send(C *c, float *to, uint32_t n_k)
{
#pragma unroll
    for (int i = 0; i < C::N_COPIES; i++)
        if ((uint32_t)copy_k<C>(i) < n_k)
            cuda_copy_async<4 * C::WIDTH>(to + copy_k<C>(i) * (C::X + TILE_SLACK) + copy_x<C>(i), copy_from(c, i));
    c->from += c->step;
}

/* The same in two steps: into registers, and from there to `to`. */
template <class C> static __device__ __forceinline__ void carrier_read(C *c, uint32_t n_k)
{
#pragma unroll
    for (int i = 0; i < C::N_COPIES; i++)
        if ((uint32_t)copy_k<C>(i) < n_k)
            c->waiting[i] = *(const floats<C::WIDTH> *)(copy_from(c, i));
    c->from += c->step;
}

template <class C> static __device__ __forceinline__ void carrier_write(const C *c, float *to)
{
#pragma unroll
    for (int i = 0; i < C::N_COPIES; i++)
        *(floats<C::WIDTH> *)(to + copy_k<C>(i) * (C::X + TILE_SLACK) + copy_x<C>(i)) = c->waiting[i];
}

/* Where this thread stands in the tile. */
template <class T> static __device__ __forceinline__ int thread_down(void)
{
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    return warp % (T::DOWN / 4) * 4 + lane / 16 * 2 + lane % 2;
}

template <class T> static __device__ __forceinline__ int thread_across(void)
{
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    return warp / (T::DOWN / 4) * 8 + lane / 2 % 8;
}

/** Row and column, in the tile, of this thread's output [i][j]. */
template <class T> static __device__ __forceinline__ int tile_row(int i)
{
    return i / T::VM * (T::VM * T::DOWN) + thread_down<T>() * T::VM + i % T::VM;
}

template <class T> static __device__ __forceinline__ int tile_column(int j)
{
    return j / T::VN * (T::VN * T::ACROSS) + thread_across<T>() * T::VN + j % T::VN;
}

/* x (TX) = this thread's part of a row of shared memory: groups of V floats, STEP apart. */
template <int TX, int V, int STEP> static __device__ __forceinline__ void fetch(float (&x)[TX], const float *row)
{
#pragma unroll
    for (int g = 0; g < TX / V; g++) {
        floats<V> some = *(const floats<V> *)(row + g * STEP);
#pragma unroll
        for (int i = 0; i < V; i++)
            x[g * V + i] = some.at[i];
    }
}

/* One k more for each of the thread's outputs. */
template <class T> static __device__ __forceinline__ void add_term(float (&sum)[T::TM][T::TN], const float *a, const float *b)
{
    float x[T::TM], y[T::TN];
    fetch<T::TM, T::VM, T::VM * T::DOWN>(x, a);
    fetch<T::TN, T::VN, T::VN * T::ACROSS>(y, b);
#pragma unroll
    for (int i = 0; i < T::TM; i++)
#pragma unroll
        for (int j = 0; j < T::TN; j++)
            sum[i][j] = __fmaf_rn(x[i], y[j], sum[i][j]);
}

/* The first n_k of a piece, all K of them as a rule. */
template <class T> static __device__ __forceinline__ void add_piece(float (&sum)[T::TM][T::TN], const float *slot, uint32_t n_k)
{
    const float *a = slot + thread_down<T>() * T::VM, *b = slot + T::K * T::LDA + thread_across<T>() * T::VN;
    if (n_k >= (uint32_t)T::K) {
#pragma unroll
        for (int k = 0; k < T::K; k++)
            add_term<T>(sum, a + k * T::LDA, b + k * T::LDB);
    } else {
#pragma unroll 1
        for (uint32_t k = 0; k < n_k; k++)
            add_term<T>(sum, a + k * T::LDA, b + k * T::LDB);
    }
}

template <class T, class A, class B> static __device__ __forceinline__ void send_piece(A *a, B *b, float *slot, uint32_t n_k)
{
    carrier_send(a, slot, n_k);
    carrier_send(b, slot + T::K * T::LDA, n_k);
}

/* Pieces are on their way while others are worked on.  Once all threads have met, what was sent first is there for all,
 * and nobody reads the slot any more that is filled next. */
template <class T, class A, class B>
static __device__ __forceinline__ void sum_async(float (&sum)[T::TM][T::TN], float *shared, A *a, B *b, uint32_t K)
{
    constexpr uint32_t AHEAD = (T::SLOTS - 1) * T::K;
#pragma unroll
    for (int s = 0; s < T::SLOTS - 1; s++) {
        if (K > (uint32_t)(s * T::K))
            send_piece<T>(a, b, shared + s * T::SLOT, K - s * T::K);
        cuda_copy_commit();
    }
    float *slot = shared;
#pragma unroll 1
    for (uint32_t left = K; left > 0; left -= left < (uint32_t)T::K ? left : (uint32_t)T::K) {
        cuda_copy_wait<T::SLOTS - 2>();
        __syncthreads();
        if (left > AHEAD)
            send_piece<T>(a, b, slot == shared ? shared + T::SHARED - T::SLOT : slot - T::SLOT, left - AHEAD);
        cuda_copy_commit();
        add_piece<T>(sum, slot, left);
        slot = slot == shared + T::SHARED - T::SLOT ? shared : slot + T::SLOT;
    }
}

/* Two slots in turn: when all have met after filling one, all are done with the other. */
template <class T, class A, class B>
static __device__ __forceinline__ void sum_staged(float (&sum)[T::TM][T::TN], float *shared, A *a, B *b, uint32_t K)
{
    float *slot = shared;
    if (K > 0) {
        carrier_read(a, K);
        carrier_read(b, K);
    }
#pragma unroll 1
    for (uint32_t left = K; left > 0; left -= left < (uint32_t)T::K ? left : (uint32_t)T::K) {
        carrier_write(a, slot);
        carrier_write(b, slot + T::K * T::LDA);
        __syncthreads();
        if (left > (uint32_t)T::K) {
            carrier_read(a, left - T::K);
            carrier_read(b, left - T::K);
        }
        add_piece<T>(sum, slot, left);
        slot = slot == shared ? shared + T::SLOT : shared;
    }
}

/* V neighbours in memory, of which the first n are there. */
template <int V> static __device__ __forceinline__ void get_floats(float *x, const float *from, size_t n, bool is_aligned)
{
    if (is_aligned && n >= V) {
        floats<V> all = *(const floats<V> *)from;
#pragma unroll
        for (int i = 0; i < V; i++)
            x[i] = all.at[i];
        return;
    }
#pragma unroll
    for (int i = 0; i < V; i++)
        if ((size_t)i < n)
            x[i] = from[i];
}

template <int V> static __device__ __forceinline__ void put_floats(float *to, const float *x, size_t n, bool is_aligned)
{
    if (is_aligned && n >= V) {
        floats<V> all;
#pragma unroll
        for (int i = 0; i < V; i++)
            all.at[i] = x[i];
        *(floats<V> *)to = all;
        return;
    }
#pragma unroll
    for (int i = 0; i < V; i++)
        if ((size_t)i < n)
            to[i] = x[i];
}

/** c (rows of ldc) = the tile's sums, those of the first n_rows and n_columns that there are.  is_aligned: c lies on a multiple of
 * 16 and so do its rows. */
template <class T>
static __device__ __forceinline__ void put_tile(float *c, size_t ldc, const float (&sum)[T::TM][T::TN], size_t n_rows,
                                                size_t n_columns, bool is_aligned)
{
#pragma unroll
    for (int i = 0; i < T::TM; i++)
#pragma unroll
        for (int j = 0; j < T::TN; j += T::VN) {
            size_t row = tile_row<T>(i), column = tile_column<T>(j);
            if (row < n_rows && column < n_columns)
                put_floats<T::VN>(c + row * ldc + column, sum[i] + j, n_columns - column, is_aligned);
        }
}

/**
 * sum [TM][TN] of each thread: K terms more, of the rows of a and the columns of b.  All threads of the block; `shared` has
 * T::SHARED floats on a multiple of 16, and nothing in it is kept.  Operands that are read W floats at a time lie on multiples of 4 W
 * with an `ld` and an `n` that are multiples of W.
 */
template <class T, bool IS_A_K_FIRST, bool IS_B_K_FIRST, int W>
static __device__ __forceinline__ void tile_sum(float (&sum)[T::TM][T::TN], float *shared, struct strip a, struct strip b,
                                                uint32_t K)
{
    carrier<T, T::M, IS_A_K_FIRST, W> from_a = {};
    carrier<T, T::N, IS_B_K_FIRST, W> from_b = {};
    carrier_init(&from_a, a);
    carrier_init(&from_b, b);
    __syncthreads(); /* whoever had `shared` before is done with it */
#if defined(__CUDA_ARCH__)
    constexpr bool is_staged = TILE_IS_STAGED;
#else
    bool is_staged = blockIdx.x % 2 == 0; /* emulated: both ways in turn */
#endif
    if (is_staged)
        sum_staged<T>(sum, shared, &from_a, &from_b, K);
    else
        sum_async<T>(sum, shared, &from_a, &from_b, K);
}

#endif
