/*
 * cuda/product_wgmma.cu - the exact-integer product by warpgroups (Hopper).
 *
 * A block computes 128 rows times 64, 128 or 256 columns; each of its two warpgroups has 64 of the rows.  k goes in steps of 128 through a
 * ring of buffers in shared memory.  All threads copy and all multiply: while the products of a step run, which nobody need attend
 * to, the threads ask for the copies of a later one.  Of two slices both of each operand lie in the ring; high x high goes to one set
 * of sums, high x low and low x high to another.  Tensor cores wait for shared memory, which is read for one step while it is written for
 * another; hence the largest tiles that registers hold.
 *
 * Copies are those of threads (cp.async).  The copy engine for tensors would take them off the threads and could feed two blocks at once, but
 * brings maps, barriers that count bytes and a wait that may never end; that is worth its risk once there are measurements.
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
template <int n_slices, int columns> struct tile_shape {
    static constexpr uint32_t a_bytes = TILE_ROWS * WGMMA_ROW_BYTES; /* of a slice in a buffer */
    static constexpr uint32_t b_bytes = columns * WGMMA_ROW_BYTES;
    static constexpr uint32_t buffer_bytes = n_slices * (a_bytes + b_bytes);
    static constexpr int n_buffers = RING_BYTES / buffer_bytes;
    /* Whether there are registers for the outputs, from part to part, beside the sums; without them the sum over k is one part. */
    static constexpr bool keeps_outputs = (n_slices + 1) * columns / 2 <= 192;
    static constexpr int n_outputs = keeps_outputs ? columns / 2 : 32; /* that have registers at a time */
};

/* Where a block works.  Rows and columns are below 2^30. */
struct block_place {
    int row, column; /* its first */
    bool is_whole;   /* the whole tile exists, and pairs of outputs lie on multiples of their size */
};

static __device__ __forceinline__ struct block_place place_of(const struct product *p, uint32_t columns)
{
    uint32_t n_rows = cuda_parts(p->M, TILE_ROWS), n_columns = cuda_parts(p->N, columns);
    uint32_t band = blockIdx.x / (BAND * n_columns), in_band = blockIdx.x % (BAND * n_columns);
    uint32_t height = n_rows - band * BAND < BAND ? n_rows - band * BAND : BAND;
    struct block_place at;
    at.row = (band * BAND + in_band % height) * TILE_ROWS;
    at.column = in_band / height * columns;
    at.is_whole = at.row + TILE_ROWS <= (int)p->M && at.column + (int)columns <= (int)p->N && p->ldc % 2 == 0 &&
                  (uintptr_t)p->c % sizeof(float2) == 0;
    return at;
}

/* What a thread copies of an operand: piece threadIdx.x % 8 of every 32nd row. */
struct thread_source {
    const int8_t *high, *low; /* in the next step */
    size_t stride;            /* to the next such row */
    int n_rows;               /* from this thread's first to the operand's end, perhaps none */
};

static __device__ __forceinline__ struct thread_source source_of(const int8_t *high, const int8_t *low, size_t ld, size_t n_rows,
                                                                 int first_row)
{
    int row = first_row + threadIdx.x / 8;
    size_t at = row * ld + threadIdx.x % 8 * 16;
    struct thread_source x = {high + at, low ? low + at : NULL, ROWS_AT_ONCE * ld, (int)n_rows - row};
    return x;
}

/* Asks for this thread's part of n_tile_rows rows of a slice, of which the first n_sure are known to exist; n_bytes (0..16) of this
 * thread's piece of a row do.  The rest are zeros, and nothing is read for them. */
template <int n_tile_rows, int n_sure>
static __device__ __forceinline__ void copy_rows(struct wgmma_thread *t, uint32_t to, const int8_t *from,
                                                 const struct thread_source *x, int n_bytes)
{
    to += wgmma_place(threadIdx.x / 8, threadIdx.x % 8);
#pragma unroll
    for (int i = 0; i < n_tile_rows; i += ROWS_AT_ONCE)
        wgmma_copy16(t, to + WGMMA_ROW_BYTES * i, from + i / ROWS_AT_ONCE * x->stride, i < n_sure || i < x->n_rows ? n_bytes : 0);
}

/* Asks for the next step of both operands, in which there are n_terms of k for this thread's piece and later ones. */
template <int n_slices, int columns>
static __device__ __forceinline__ void copy_step(struct wgmma_thread *t, uint32_t buffer, struct thread_source *a,
                                                 struct thread_source *b, int n_terms)
{
    typedef tile_shape<n_slices, columns> S;
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
    typedef tile_shape<n_slices, columns> S;
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

/* A thread's outputs, columns / 2 of them: in two rows, 8 apart, pairs of columns, 8 apart, as told at wgmma_all(). */
struct thread_outputs {
    float *c;              /* the first */
    int row, column;       /* its own */
    int n_rows, n_columns; /* from there to the end of c, perhaps none */
    bool is_whole;
};

/* Found out where it is needed: the compiler, which would rather do so once and for all, is kept from it, since registers
 * are scarce in the loop over k. */
static __device__ __forceinline__ struct thread_outputs outputs_of(const struct product *p, const struct block_place *at)
{
    int thread = threadIdx.x;
#ifndef CUDA_EMULATED
    asm volatile("" : "+r"(thread));
#endif
    int row = at->row + thread / 32 * 16 + thread % 32 / 4, column = at->column + thread % 4 * 2;
    struct thread_outputs mine = {
        p->c + row * p->ldc + column, row, column, (int)p->M - row, (int)p->N - column, at->is_whole,
    };
    return mine;
}

static __device__ __forceinline__ int row_of(int i)
{
    return i / 2 % 2 * 8;
}
static __device__ __forceinline__ int column_of(int i)
{
    return i / 4 * 8 + i % 2;
}

static __device__ __forceinline__ bool is_there(const struct thread_outputs *mine, int i)
{
    return row_of(i) < mine->n_rows && column_of(i) < mine->n_columns;
}

static __device__ __forceinline__ float *output(const struct product *p, const struct thread_outputs *mine, int i)
{
    return mine->c + row_of(i) * p->ldc + column_of(i);
}

/* Outputs from number `first` on: as they were, or +0; and back into c. */
template <int n>
static __device__ __forceinline__ void get(float (&y)[n], const struct product *p, const struct thread_outputs *mine, int first)
{
#pragma unroll
    for (int i = 0; i < n; i++)
        y[i] = 0.0f;
    if (p->accumulate && mine->is_whole)
#pragma unroll
        for (int i = 0; i < n; i += 2) {
            float2 both = *(const float2 *)output(p, mine, first + i);
            y[i] = both.x, y[i + 1] = both.y;
        }
    else if (p->accumulate)
#pragma unroll
        for (int i = 0; i < n; i++)
            if (is_there(mine, first + i))
                y[i] = *output(p, mine, first + i);
}

template <int n>
static __device__ __forceinline__ void put(const float (&y)[n], const struct product *p, const struct thread_outputs *mine,
                                           int first)
{
    if (mine->is_whole)
#pragma unroll
        for (int i = 0; i < n; i += 2)
            *(float2 *)output(p, mine, first + i) = make_float2(y[i], y[i + 1]);
    else
#pragma unroll
        for (int i = 0; i < n; i++)
            if (is_there(mine, first + i))
                *output(p, mine, first + i) = y[i];
}

/* Exponents of a part from a thread's first row, or column, on, of which n exist. */
struct exponents {
    const int8_t *at;
    int n;
};

static __device__ __forceinline__ struct exponents exponents_of(const int8_t *exponent, size_t step, int part, int first, int n)
{
    struct exponents e = {exponent ? exponent + step * part + first : NULL, exponent ? n : 0};
    return e;
}

static __device__ __forceinline__ int exponent_of(struct exponents e, int i)
{
    return i < e.n ? e.at[i] : 0;
}

/* The last rounding of a part for outputs from number `first` on. */
template <int n_slices, int n, int n_sums, int n_cross>
static __device__ __forceinline__ void finish(float (&y)[n], const int32_t (&high)[n_sums], const int32_t (&cross)[n_cross],
                                              const struct product *p, const struct thread_outputs *mine, int part, int first)
{
    struct exponents a = exponents_of(p->a_exponent, p->a_exponent_step, part, mine->row, mine->n_rows);
    struct exponents b = exponents_of(p->b_exponent, p->b_exponent_step, part, mine->column, mine->n_columns);
    int ea[2] = {exponent_of(a, 0), exponent_of(a, 8)};
#pragma unroll
    for (int i = 0; i < n; i++) {
        int from = first + i;
        float scale = product_scale(ea[row_of(from) / 8], exponent_of(b, column_of(from)), n_slices == 2);
        float z = n_slices == 2 ? product_float(high[from], cross[n_slices == 2 ? from : 0]) : product_float(high[from]);
        y[i] = __fmaf_rn(z, scale, y[i]);
    }
}

/* A part ends.  Outputs that have no registers of their own pass through those that there are. */
template <int n_slices, int columns, int n_kept = tile_shape<n_slices, columns>::n_outputs>
static __device__ __forceinline__ void finish_part(float (&y)[n_kept], const int32_t (&high)[columns / 2],
                                                   const int32_t (&cross)[n_slices == 2 ? columns / 2 : 1],
                                                   const struct product *p, const struct block_place *at, int part)
{
    typedef tile_shape<n_slices, columns> S;
    struct thread_outputs mine = outputs_of(p, at);
#pragma unroll
    for (int first = 0; first < columns / 2; first += S::n_outputs) {
        if (!S::keeps_outputs)
            get(y, p, &mine, first);
        finish<n_slices>(y, high, cross, p, &mine, part, first);
        if (!S::keeps_outputs)
            put(y, p, &mine, first);
    }
}

template <int n_slices, int columns> __global__ void __launch_bounds__(N_THREADS, 1) multiply_tile(const struct product p)
{
    typedef tile_shape<n_slices, columns> S;
    CUDA_SHARED(uint8_t, shared);
    struct wgmma_thread t;
    wgmma_begin(&t, shared);
    uint32_t ring = (wgmma_address(&t, shared) + WGMMA_ALIGN - 1) / WGMMA_ALIGN * WGMMA_ALIGN;
    struct block_place at = place_of(&p, columns);
    size_t n_b = cuda_parts(p.N, PRODUCT_N_PAD) * PRODUCT_N_PAD; /* columns that the packed b has */
    struct thread_source a = source_of(p.a_high, p.a_low, p.lda, p.M, at.row);
    struct thread_source b = source_of(p.b_high, p.b_low, p.ldb, n_b, at.column);
    int n_steps = cuda_parts(p.K, STEP), n_part_steps = p.part / STEP;
    int n_terms = (int)p.K - threadIdx.x % 8 * 16; /* of k from this thread's piece of the first step on */
    uint32_t group = threadIdx.x / 128;
    bool has_rows = at.row + (int)group * GROUP_ROWS < (int)p.M; /* the second warpgroup may have none */
    int32_t high[columns / 2] = {0}, cross[n_slices == 2 ? columns / 2 : 1] = {0};
    float y[S::n_outputs];

    for (int i = 0; i < S::n_buffers - 2; i++) {
        if (i < n_steps)
            copy_step<n_slices, columns>(&t, ring + i * S::buffer_bytes, &a, &b, n_terms - i * STEP);
        wgmma_copies_commit(&t);
    }
    if (S::keeps_outputs) {
        struct thread_outputs mine = outputs_of(&p, &at);
        get(y, &p, &mine, 0);
    }
    uint32_t buffer = ring, next = ring + (S::n_buffers - 2) * S::buffer_bytes,
             last = ring + (S::n_buffers - 1) * S::buffer_bytes;
    for (int part = 0, step = 0; step < n_steps; part++) {
        int end = n_steps - step < n_part_steps ? n_steps : step + n_part_steps;
        for (bool adds = false; step < end; step++, adds = true) {
            wgmma_copies_wait<S::n_buffers - 3>(&t); /* this step's are there; up to n_buffers - 3 later ones are under way */
            __syncthreads(); /* everybody's are, and nobody's products read the buffer of two steps ago any more */
            if (has_rows)
                multiply_step<n_slices, columns>(&t, high, cross, buffer, group, adds);
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
        finish_part<n_slices, columns>(y, high, cross, &p, &at, part);
    }
    if (S::keeps_outputs) {
        struct thread_outputs mine = outputs_of(&p, &at);
        put(y, &p, &mine, 0);
    }
}

template <int n_slices, int columns> static void launch(const struct product *p)
{
    size_t n_tiles = cuda_parts(p->M, TILE_ROWS) * cuda_parts(p->N, columns);
    CUDA_LAUNCH((multiply_tile<n_slices, columns>), n_tiles, N_THREADS, RING_BYTES + WGMMA_ALIGN, *p);
}

/* How long the chip takes with tiles of so many columns: units take one tile after the other, and a step of one takes as long as its copies,
 * of the tile's rows and columns. */
static size_t cost(const struct product *p, size_t columns)
{
    size_t n_tiles = cuda_parts(p->M, TILE_ROWS) * cuda_parts(p->N, columns);
    return cuda_parts(n_tiles, product_units()) * (TILE_ROWS + columns);
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
    return p->M < limit && p->N < limit && p->K < limit && cuda_parts(p->M, TILE_ROWS) * cuda_parts(p->N, 64) < limit;
}

extern const struct product_variant product_wgmma;
const struct product_variant product_wgmma = {"wgmma", 90, 90, works, multiply};
