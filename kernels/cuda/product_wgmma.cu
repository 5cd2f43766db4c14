/*
 * cuda/product_wgmma.cu - the exact-integer product by warpgroups (Hopper).
 *
 * A block computes 128 rows times 64, 128 or 256 columns; each of its two warpgroups has 64 of the rows.  k goes in steps of 128 through a
 * ring of buffers in shared memory.  All threads copy and all multiply: while the products of a step run, which nobody need attend
 * to, the threads ask for the copies of a later one.  Of two slices both of each operand lie in the ring; high x high goes to one set
 * of sums, high x low and low x high to another.  Tensor cores wait for shared memory, which is read for one step while it is written for
 * another; hence the largest tiles that registers hold.
 */
#include "kernels/cuda/product_i8.h"

#include "kernels/cuda/wgmma.cuh"

#define STEP WGMMA_ROW_BYTES /* of k */
#define GROUP_ROWS 64        /* of a warpgroup */
#define TILE_ROWS (2 * GROUP_ROWS)
#define N_THREADS 256
#define ROWS_AT_ONCE (N_THREADS / 8) /* that all threads copy together, a thread 16 bytes */
#define RING_BYTES (192 * 1024)
#define BAND 8 /* rows of tiles that are walked through together, so that the columns they share are still in the L2 cache */

/* What follows from the number of slices and the columns of a tile. */
template <int n_slices, int columns> struct shape {
    static constexpr uint32_t a_bytes = TILE_ROWS * WGMMA_ROW_BYTES; /* of a slice in a buffer */
    static constexpr uint32_t b_bytes = columns * WGMMA_ROW_BYTES;
    static constexpr uint32_t buffer_bytes = n_slices * (a_bytes + b_bytes);
    static constexpr int n_buffers = RING_BYTES / buffer_bytes;
    /* Whether there are registers for the outputs, from part to part, beside the sums; without them the sum over k is one part. */
    static constexpr bool keeps_outputs = (n_slices + 1) * columns / 2 <= 192;
    static constexpr int n_outputs = keeps_outputs ? columns / 2 : 2;
};

/* Where a block works, and a thread in it.  Rows and columns are below 2^30. */
struct place {
    int row, column; /* the tile's first */
    int my_row;      /* the first of the two rows of this thread's sums; the other is 8 below */
    int my_column;   /* the first of this thread's columns, which are pairs, 8 apart */
    int n_rows;      /* from my_row to the end of c, perhaps none; likewise */
    int n_columns;
    uint32_t group; /* warpgroup */
    bool is_whole;  /* the whole tile exists, and pairs of outputs lie on multiples of their size */
};

static __device__ __forceinline__ struct place place_of(const struct product *p, uint32_t columns)
{
    uint32_t n_rows = cuda_parts(p->M, TILE_ROWS), n_columns = cuda_parts(p->N, columns);
    uint32_t band = blockIdx.x / (BAND * n_columns), in_band = blockIdx.x % (BAND * n_columns);
    uint32_t height = n_rows - band * BAND < BAND ? n_rows - band * BAND : BAND;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    struct place at;
    at.row = (band * BAND + in_band % height) * TILE_ROWS;
    at.column = in_band / height * columns;
    at.group = warp / 4;
    at.my_row = at.row + 16 * warp + lane / 4;
    at.my_column = at.column + 2 * (lane % 4);
    at.n_rows = (int)p->M - at.my_row;
    at.n_columns = (int)p->N - at.my_column;
    at.is_whole = at.row + TILE_ROWS <= (int)p->M && at.column + (int)columns <= (int)p->N && p->ldc % 2 == 0 &&
                  (uintptr_t)p->c % sizeof(float2) == 0;
    return at;
}

/* What a thread copies of an operand: piece threadIdx.x % 8 of every 32nd row. */
struct source {
    const int8_t *high, *low; /* in the next step */
    size_t stride;            /* to the next such row */
    int n_rows;               /* from this thread's first to the operand's end, perhaps none */
};

static __device__ __forceinline__ struct source source_of(const int8_t *high, const int8_t *low, size_t ld, size_t n_rows,
                                                          int first_row)
{
    int row = first_row + threadIdx.x / 8;
    size_t at = row * ld + threadIdx.x % 8 * 16;
    struct source x = {high + at, low ? low + at : NULL, ROWS_AT_ONCE * ld, (int)n_rows - row};
    return x;
}

/* Asks for this thread's part of n_tile_rows rows of a slice, of which the first n_sure are known to exist; n_bytes (0..16) of this
 * thread's piece of a row do.  The rest are zeros, and nothing is read for them. */
template <int n_tile_rows, int n_sure>
static __device__ __forceinline__ void copy_rows(struct wgmma_thread *t, uint32_t to, const int8_t *from, const struct source *x,
                                                 int n_bytes)
{
    to += wgmma_place(threadIdx.x / 8, threadIdx.x % 8);
#pragma unroll
    for (int i = 0; i < n_tile_rows; i += ROWS_AT_ONCE)
        wgmma_copy16(t, to + WGMMA_ROW_BYTES * i, from + i / ROWS_AT_ONCE * x->stride, i < n_sure || i < x->n_rows ? n_bytes : 0);
}

/* Asks for the next step of both operands, in which there are n_terms of k for this thread's piece and later ones. */
template <int n_slices, int columns>
static __device__ __forceinline__ void copy_step(struct wgmma_thread *t, uint32_t buffer, struct source *a, struct source *b,
                                                 int n_terms)
{
    typedef shape<n_slices, columns> S;
    constexpr int n_sure = columns < (int)PRODUCT_N_PAD ? columns : (int)PRODUCT_N_PAD;
    int n_bytes = n_terms < 16 ? n_terms < 0 ? 0 : n_terms : 16;
    uint32_t b_buffer = buffer + n_slices * S::a_bytes;
    copy_rows<TILE_ROWS, 0>(t, buffer, a->high, a, n_bytes);
    copy_rows<columns, n_sure>(t, b_buffer, b->high, b, 16);
    if constexpr (n_slices == 2) {
        copy_rows<TILE_ROWS, 0>(t, buffer + S::a_bytes, a->low, a, n_bytes);
        copy_rows<columns, n_sure>(t, b_buffer + S::b_bytes, b->low, b, 16);
        a->low += STEP;
        b->low += STEP;
    }
    a->high += STEP;
    b->high += STEP;
}

/* A warpgroup asks for its products of a step; without `adds` they begin sums anew. */
template <int n_slices, int columns>
static __device__ __forceinline__ void multiply_step(struct wgmma_thread *t, int32_t (&high)[columns / 2],
                                                     int32_t (&cross)[n_slices == 2 ? columns / 2 : 1], uint32_t buffer,
                                                     uint32_t group, bool adds)
{
    typedef shape<n_slices, columns> S;
    uint64_t a = wgmma_descriptor(buffer + group * GROUP_ROWS * WGMMA_ROW_BYTES);
    uint64_t b = wgmma_descriptor(buffer + n_slices * S::a_bytes);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < STEP; k += WGMMA_K) {
        uint64_t ah = a + (k >> 4), bh = b + (k >> 4), al = ah + (S::a_bytes >> 4), bl = bh + (S::b_bytes >> 4);
        wgmma_s8(t, high, ah, bh, adds || k > 0);
        if constexpr (n_slices == 2) {
            wgmma_s8(t, cross, ah, bl, adds || k > 0);
            wgmma_s8(t, cross, al, bh, true);
        }
    }
    wgmma_commit(t);
}

/* A thread's outputs, columns / 2 of them; which they are is told at wgmma_all(). */
static __device__ __forceinline__ int row_of(int i)
{
    return i / 2 % 2 * 8;
}
static __device__ __forceinline__ int column_of(int i)
{
    return i / 4 * 8 + i % 2;
}

/* Outputs i and i + 1, i even: out of c, and into it.  `is_whole`: both exist, and lie so that they may be read at once. */
static __device__ __forceinline__ void get_pair(float *y, const float *c, size_t ldc, const struct place *at, int i,
                                                bool is_whole)
{
    c += row_of(i) * ldc + column_of(i);
    if (is_whole) {
        float2 both = *(const float2 *)c;
        y[0] = both.x, y[1] = both.y;
        return;
    }
    int left = row_of(i) < at->n_rows ? at->n_columns - column_of(i) : 0;
    y[0] = left > 0 ? c[0] : 0.0f;
    y[1] = left > 1 ? c[1] : 0.0f;
}

static __device__ __forceinline__ void put_pair(float *c, const float *y, size_t ldc, const struct place *at, int i,
                                                bool is_whole)
{
    c += row_of(i) * ldc + column_of(i);
    if (is_whole) {
        *(float2 *)c = make_float2(y[0], y[1]);
        return;
    }
    int left = row_of(i) < at->n_rows ? at->n_columns - column_of(i) : 0;
    if (left > 0)
        c[0] = y[0];
    if (left > 1)
        c[1] = y[1];
}

/* Exponents of a part from this thread's first row, or column, on, of which `n` exist. */
struct exponents {
    const int8_t *at;
    int n;
};

static __device__ __forceinline__ struct exponents exponents_of(const int8_t *exponent, size_t step, size_t part, int first,
                                                                int n)
{
    struct exponents e = {exponent ? exponent + step * part + first : NULL, exponent ? n : 0};
    return e;
}

static __device__ __forceinline__ int exponent_of(struct exponents e, int i)
{
    return i < e.n ? e.at[i] : 0;
}

/* All of a thread's outputs. */
template <int n> static __device__ __forceinline__ void get_all(float (&y)[n], const float *c, size_t ldc, const struct place *at)
{
    if (at->is_whole)
#pragma unroll
        for (int i = 0; i < n; i += 2)
            get_pair(&y[i], c, ldc, at, i, true);
    else
#pragma unroll
        for (int i = 0; i < n; i += 2)
            get_pair(&y[i], c, ldc, at, i, false);
}

template <int n> static __device__ __forceinline__ void put_all(float *c, const float (&y)[n], size_t ldc, const struct place *at)
{
    if (at->is_whole)
#pragma unroll
        for (int i = 0; i < n; i += 2)
            put_pair(c, &y[i], ldc, at, i, true);
    else
#pragma unroll
        for (int i = 0; i < n; i += 2)
            put_pair(c, &y[i], ldc, at, i, false);
}

/* The last rounding of a part.  Outputs are in y, or else, there being but one part, in c. */
template <int n_slices, int columns>
static __device__ __forceinline__ void finish_part(float (&y)[shape<n_slices, columns>::n_outputs],
                                                   const int32_t (&high)[columns / 2],
                                                   const int32_t (&cross)[n_slices == 2 ? columns / 2 : 1],
                                                   const struct product *p, const struct place *at, int part, float *c,
                                                   bool is_whole)
{
    typedef shape<n_slices, columns> S;
    struct exponents a = exponents_of(p->a_exponent, p->a_exponent_step, part, at->my_row, is_whole ? 64 : at->n_rows);
    struct exponents b = exponents_of(p->b_exponent, p->b_exponent_step, part, at->my_column, is_whole ? 512 : at->n_columns);
    int ea[2] = {exponent_of(a, 0), exponent_of(a, 8)};
#pragma unroll
    for (int i = 0; i < columns / 2; i += 2) {
        float *pair = &y[S::keeps_outputs ? i : 0];
        if (!S::keeps_outputs && p->accumulate)
            get_pair(pair, c, p->ldc, at, i, is_whole);
#pragma unroll
        for (int j = 0; j < 2; j++) {
            float scale = product_scale(ea[i / 2 % 2], exponent_of(b, column_of(i + j)), n_slices == 2);
            float z = n_slices == 2 ? product_float(high[i + j], cross[n_slices == 2 ? i + j : 0]) : product_float(high[i + j]);
            pair[j] = __fmaf_rn(z, scale, S::keeps_outputs || p->accumulate ? pair[j] : 0.0f);
        }
        if (!S::keeps_outputs)
            put_pair(c, pair, p->ldc, at, i, is_whole);
    }
}

template <int n_slices, int columns> __global__ void __launch_bounds__(N_THREADS, 1) multiply_tile(const struct product p)
{
    typedef shape<n_slices, columns> S;
    CUDA_SHARED(uint8_t, shared);
    struct wgmma_thread t;
    wgmma_begin(&t, shared);
    uint32_t ring = (wgmma_address(&t, shared) + WGMMA_ALIGN - 1) / WGMMA_ALIGN * WGMMA_ALIGN;
    struct place at = place_of(&p, columns);
    size_t n_b = cuda_parts(p.N, PRODUCT_N_PAD) * PRODUCT_N_PAD; /* columns that the packed b has */
    struct source a = source_of(p.a_high, p.a_low, p.lda, p.M, at.row);
    struct source b = source_of(p.b_high, p.b_low, p.ldb, n_b, at.column);
    int n_steps = cuda_parts(p.K, STEP), n_part_steps = p.part / STEP;
    int n_terms = (int)p.K - threadIdx.x % 8 * 16;                  /* of k from this thread's piece of the first step on */
    bool has_rows = at.row + (int)at.group * GROUP_ROWS < (int)p.M; /* the second warpgroup may have none */
    float *c = p.c + at.my_row * p.ldc + at.my_column;
    int32_t high[columns / 2] = {0}, cross[n_slices == 2 ? columns / 2 : 1] = {0};
    float y[S::n_outputs] = {0};

    for (int i = 0; i < S::n_buffers - 2; i++) {
        if (i < n_steps)
            copy_step<n_slices, columns>(&t, ring + i * S::buffer_bytes, &a, &b, n_terms - i * STEP);
        wgmma_copies_commit(&t);
    }
    if (S::keeps_outputs && p.accumulate)
        get_all(y, c, p.ldc, &at);
    uint32_t buffer = ring, next = ring + (S::n_buffers - 2) * S::buffer_bytes,
             last = ring + (S::n_buffers - 1) * S::buffer_bytes;
    for (int part = 0, step = 0; step < n_steps; part++) {
        int end = n_steps - step < n_part_steps ? n_steps : step + n_part_steps;
        for (bool adds = false; step < end; step++, adds = true) {
            wgmma_copies_wait<S::n_buffers - 3>(&t); /* this step's are there; up to n_buffers - 3 later ones are under way */
            __syncthreads(); /* everybody's are, and nobody's products read the buffer of two steps ago any more */
            if (has_rows)
                multiply_step<n_slices, columns>(&t, high, cross, buffer, at.group, adds);
            int later = step + S::n_buffers - 2;
            if (later < n_steps)
                copy_step<n_slices, columns>(&t, next, &a, &b, n_terms - later * STEP);
            wgmma_copies_commit(&t);
            buffer = buffer == last ? ring : buffer + S::buffer_bytes;
            next = next == last ? ring : next + S::buffer_bytes;
            wgmma_wait<1>(&t);
        }
        wgmma_wait<0>(&t);
        wgmma_hold(high);
        wgmma_hold(cross);
        if (at.is_whole)
            finish_part<n_slices, columns>(y, high, cross, &p, &at, part, c, true);
        else
            finish_part<n_slices, columns>(y, high, cross, &p, &at, part, c, false);
    }
    if (S::keeps_outputs)
        put_all(c, y, p.ldc, &at);
}

template <int n_slices, int columns> static void launch(const struct product *p)
{
    size_t n_tiles = cuda_parts(p->M, TILE_ROWS) * cuda_parts(p->N, columns);
    CUDA_LAUNCH((multiply_tile<n_slices, columns>), n_tiles, N_THREADS, RING_BYTES + WGMMA_ALIGN, *p);
}

/* How long the chip takes with tiles of so many columns, in columns: its blocks work in turns, and a tile takes a while to begin and end. */
static size_t cost(const struct product *p, size_t columns)
{
    size_t n_tiles = cuda_parts(p->M, TILE_ROWS) * cuda_parts(p->N, columns);
    return cuda_parts(n_tiles, (size_t)cuda_chip()->n_units) * (columns + 32);
}

static void multiply_one(const struct product *p)
{
    size_t narrow = cost(p, 64), middle = cost(p, 128), wide = p->K <= p->part ? cost(p, 256) : SIZE_MAX;
    if (wide <= middle && wide <= narrow)
        launch<1, 256>(p);
    else if (middle <= narrow)
        launch<1, 128>(p);
    else
        launch<1, 64>(p);
}

static void multiply_two(const struct product *p)
{
    if (cost(p, 128) <= cost(p, 64))
        launch<2, 128>(p);
    else
        launch<2, 64>(p);
}

static void multiply(const struct product *p)
{
    if (p->a_low)
        multiply_two(p);
    else
        multiply_one(p);
}

static bool works(const struct product *p)
{
    size_t limit = (size_t)1 << 30;
    return p->M < limit && p->N < limit && p->K < limit;
}

extern const struct product_variant product_wgmma;
const struct product_variant product_wgmma = {"wgmma", 90, 90, works, multiply};
