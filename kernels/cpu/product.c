/*
 * cpu/product.c - the matrix product in register tiles.
 *
 * A tile of c, ROWS by 3 vectors, stays in registers while k runs: each step loads 3 vectors of b and broadcasts ROWS
 * elements of a, for 3 ROWS fmaf.  Rows of b are copied beforehand into panels that are read straight through.  The sum over
 * k is cut into blocks so that the panels of a block stay in the second-level cache; between blocks the chain rests in c, so its
 * bits do not show the cut.  Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", 2008.
 *
 * The blocks were measured at 512 to 2048 rows and widths of 1024 and 4096, where rows lie a page or more apart.  There a tile
 * would wait for its first lines each time, since no hardware foresees the jump to other rows; so each tile asks for
 * what the next one reads (look_ahead), which is worth 5 to 10 %.
 */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/scratch.h"

#if N_REGISTERS == 32
#define ROWS ((size_t)8) /* 24 of 32 registers hold the tile */
#define K_BLOCK ((size_t)512)
#define N_BLOCK ((size_t)288)
#define M_BLOCK ((size_t)128)
#define PACKS_TURNED false
#else
#define ROWS ((size_t)4) /* 12 of 16 */
#define K_BLOCK ((size_t)320)
#define N_BLOCK ((size_t)384)
#define M_BLOCK ((size_t)48)
#define PACKS_TURNED true /* a step of 12 fmaf is over before its elements of a have come from another page */
#endif
#define VECS ((size_t)3)
#define STEP ((size_t)16)         /* k between two looks ahead: a line of floats */
#define FAR_APART ((size_t)256)   /* rows with so many floats between them are worth packing, */
#define MANY_COLUMNS ((size_t)96) /* for so many columns of c */
#define FEW_ROWS ((size_t)40)     /* up to here, copying b costs more than it saves */

/* One tile's worth of work: c += a b, or c = a b from +0. */
struct tile {
    float *c;
    size_t ldc;
    const float *a;
    size_t lda;     /* between rows of a, or between k where a is transposed */
    const float *b; /* row k at b + k ldb */
    size_t ldb;
    size_t K;
    bool is_first; /* start from +0 */
    mask last;     /* the columns of the last vector that exist */
    bool is_partial;
    const float *next_a; /* the next tile's rows, where they are not near yet; else NULL */
    const float *next_b; /* in row 0 of b, a line of the next panel that is to come near; else NULL */
    size_t next_ldb;
};

static inline __attribute__((always_inline)) vec load_c(const struct tile *t, const float *at, bool is_last)
{
    return is_last && t->is_partial ? v_load_part(at, t->last) : v_load(at);
}

static inline __attribute__((always_inline)) void store_c(const struct tile *t, float *at, vec x, bool is_last)
{
    if (is_last && t->is_partial)
        v_store_part(at, t->last, x);
    else
        v_store(at, x);
}

/* Asks for what the next tile will read.  Its c comes last: the panel that streams through the first-level cache would wash it
 * out again.  Addresses may lie beyond the end of a matrix, where a prefetch does nothing. */
static inline __attribute__((always_inline)) void look_ahead(const struct tile *t, size_t k, const size_t n_rows,
                                                             const size_t n_vecs, const bool is_transposed)
{
    size_t end = t->K - k < STEP ? t->K : k + STEP, n_left = (t->K - k - 1) / STEP;
    if (n_left < n_rows)
#pragma GCC unroll 3
        for (size_t v = 0; v < n_vecs; v++)
            __builtin_prefetch(t->c + (n_rows + n_left) * t->ldc + v * WIDTH, 1, 3);
    if (t->next_a && !is_transposed)
#pragma GCC unroll 8
        for (size_t r = 0; r < n_rows; r++)
            __builtin_prefetch(t->next_a + r * t->lda + k, 0, 2);
    if (t->next_b)
        for (size_t i = k; i < end; i++)
            __builtin_prefetch(t->next_b + i * t->next_ldb, 0, 2);
}

/* Constant n_rows, n_vecs and is_transposed let the compiler keep `sum` in registers. */
static inline __attribute__((always_inline)) void run_tile(const struct tile *t, const size_t n_rows, const size_t n_vecs,
                                                           const bool is_transposed)
{
    vec sum[ROWS][VECS];
    const float *row[ROWS];
    const float *b = t->b;
    size_t ldb = t->ldb, lda = t->lda, K = t->K;
#pragma GCC unroll 8
    for (size_t r = 0; r < n_rows; r++) {
        row[r] = is_transposed ? t->a + r : t->a + r * lda;
#pragma GCC unroll 3
        for (size_t v = 0; v < n_vecs; v++)
            sum[r][v] = t->is_first ? v_zero() : load_c(t, t->c + r * t->ldc + v * WIDTH, v + 1 == n_vecs);
    }
    for (size_t from = 0; from < K; from += STEP) {
        size_t end = K - from < STEP ? K : from + STEP;
        look_ahead(t, from, n_rows, n_vecs, is_transposed);
        for (size_t k = from; k < end; k++, b += ldb) {
            vec bk[VECS];
#pragma GCC unroll 3
            for (size_t v = 0; v < n_vecs; v++)
                bk[v] = v_load(b + v * WIDTH);
#pragma GCC unroll 8
            for (size_t r = 0; r < n_rows; r++) {
                vec x = v_all(is_transposed ? row[0][k * lda + r] : row[r][k]);
#pragma GCC unroll 3
                for (size_t v = 0; v < n_vecs; v++)
                    sum[r][v] = v_fma(x, bk[v], sum[r][v]);
            }
        }
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < n_rows; r++)
#pragma GCC unroll 3
        for (size_t v = 0; v < n_vecs; v++)
            store_c(t, t->c + r * t->ldc + v * WIDTH, sum[r][v], v + 1 == n_vecs);
}

#define TILE(r, v)                                                                                                               \
    static void tile_##r##_##v(const struct tile *t)                                                                             \
    {                                                                                                                            \
        run_tile(t, r, v, false);                                                                                                \
    }                                                                                                                            \
    static void turned_##r##_##v(const struct tile *t)                                                                           \
    {                                                                                                                            \
        run_tile(t, r, v, true);                                                                                                 \
    }
#define TILES(r) TILE(r, 1) TILE(r, 2) TILE(r, 3)
#define NAMES(kind, r)                                                                                                           \
    {                                                                                                                            \
        kind##_##r##_1, kind##_##r##_2, kind##_##r##_3                                                                           \
    }

TILES(1)
TILES(2)
TILES(3)
TILES(4)
#if N_REGISTERS == 32
TILES(5)
TILES(6)
TILES(7)
TILES(8)
#define ALL_NAMES(kind)                                                                                                          \
    {                                                                                                                            \
        NAMES(kind, 1), NAMES(kind, 2), NAMES(kind, 3), NAMES(kind, 4), NAMES(kind, 5), NAMES(kind, 6), NAMES(kind, 7),          \
            NAMES(kind, 8)                                                                                                       \
    }
#else
#define ALL_NAMES(kind)                                                                                                          \
    {                                                                                                                            \
        NAMES(kind, 1), NAMES(kind, 2), NAMES(kind, 3), NAMES(kind, 4)                                                           \
    }
#endif

/* [is a transposed][rows - 1][vectors - 1] */
static void (*const tile_of[2][ROWS][VECS])(const struct tile *) = {ALL_NAMES(tile), ALL_NAMES(turned)};

/* Panels of 3 vectors, and towards the end of 2 where that spares a lonely one: a tile of 1 waits for its own sums. */
static size_t panel_vecs(size_t n_left)
{
    size_t left = (n_left + WIDTH - 1) / WIDTH;
    if (left == 4)
        return 2;
    return left < VECS ? left : VECS;
}

/* Columns from..from+width-1 of b for K values of k, into rows of `width` rounded up to vectors; +0 fills up. */
static void pack_rows(float *to, size_t ld_to, const float *b, size_t ldb, size_t width, size_t K)
{
    for (size_t k = 0; k < K; k++, to += ld_to, b += ldb) {
        size_t j = 0;
        for (; j + WIDTH <= width; j += WIDTH)
            v_store(to + j, v_load(b + j));
        if (j < width)
            v_store(to + j, v_load_part(b + j, v_first(width - j)));
    }
}

/* The same where column j of b lies at b + j ldb. */
static void pack_columns(float *to, size_t ld_to, const float *b, size_t ldb, size_t width, size_t K)
{
    size_t j = 0;
    for (; j + TURN <= width; j += TURN) {
        size_t k = 0;
        for (; k + TURN <= K; k += TURN)
            v_turn(to + k * ld_to + j, ld_to, b + j * ldb + k, ldb);
        for (; k < K; k++)
            for (size_t i = j; i < j + TURN; i++)
                to[k * ld_to + i] = b[i * ldb + k];
    }
    for (; j < width; j++)
        for (size_t k = 0; k < K; k++)
            to[k * ld_to + j] = b[j * ldb + k];
    for (; j < ld_to; j++)
        for (size_t k = 0; k < K; k++)
            to[k * ld_to + j] = 0.0f;
}

/* One block of the product, c (M, N) from a (M, K) and b (K, N) with N and K within their blocks. */
struct block {
    float *c;
    size_t ldc;
    struct matrix a, b;
    size_t M, N, K;
    bool is_first;
};

static bool is_turned(struct matrix a)
{
    return a.row == 1 && a.col != 1;
}

/* A few rows from..to of the product, and the packed copy of their a, if there is one. */
struct rows_block {
    size_t from, to;
    const float *packed;
};

/* Rows of a that are columns in memory, ROWS side by side for each k. */
static void pack_turned(float *to, const struct block *x, size_t from, size_t n_rows)
{
    size_t whole = n_rows / ROWS * ROWS;
    for (size_t k = 0; k < x->K; k++, to += ROWS) {
        const float *row = x->a.at + from + k * x->a.col;
        for (size_t i = 0; i < n_rows; i += WIDTH) /* hardware does not foresee the next page */
            __builtin_prefetch(row + STEP / 2 * x->a.col + i);
        for (size_t i = 0; i < whole; i += ROWS)
            memcpy(to + i * x->K, row + i, ROWS * sizeof *to);
        for (size_t i = whole; i < n_rows; i++)
            to[whole * x->K + i - whole] = row[i];
    }
}

/* The look ahead of the tile at row i: tile by tile through the lines of the next panel, a vector apart and one more, since a
 * panel need not begin with a line. */
static void set_ahead(struct tile *t, const struct block *x, size_t i, size_t n_rows, size_t column, size_t n_vecs)
{
    t->next_a = column == 0 ? x->a.at + (i + n_rows) * x->a.row : NULL;
    t->next_b = x->b.col == 1 && i / ROWS <= n_vecs ? x->b.at + column + (n_vecs + i / ROWS) * WIDTH : NULL;
    t->next_ldb = x->b.row;
}

/* A panel of columns against a few rows. */
static void run_panel(const struct block *x, struct tile *t, size_t column, size_t n_vecs, const struct rows_block *rows)
{
    bool turned = is_turned(x->a);
    t->lda = rows->packed ? ROWS : turned ? x->a.col : x->a.row;
    for (size_t i = rows->from; i < rows->to;) {
        size_t n_rows = rows->to - i < ROWS ? rows->to - i : ROWS;
        t->a = rows->packed ? rows->packed + (i - rows->from) * x->K : x->a.at + i * x->a.row;
        t->c = x->c + i * x->ldc + column;
        set_ahead(t, x, i, n_rows, column, n_vecs);
        tile_of[turned][n_rows - 1][n_vecs - 1](t);
        i += n_rows;
    }
}

/* Every panel against a few rows; the first ones find the panels not packed yet. */
static void run_rows(const struct block *x, const struct rows_block *rows, float *panel)
{
    bool is_in_place = x->b.col == 1 && x->M <= FEW_ROWS;
    for (size_t j = 0; j < x->N;) {
        size_t n_vecs = panel_vecs(x->N - j), ld = n_vecs * WIDTH;
        size_t width = x->N - j < ld ? x->N - j : ld;
        struct tile t = {.ldc = x->ldc, .b = panel, .ldb = ld, .K = x->K, .is_first = x->is_first};
        t.is_partial = width < ld;
        t.last = v_first(width + WIDTH - ld);
        if (is_in_place && !t.is_partial) {
            t.b = x->b.at + j;
            t.ldb = x->b.row;
        } else if (rows->from == 0 && x->b.col == 1) {
            pack_rows(panel, ld, x->b.at + j, x->b.row, width, x->K);
        } else if (rows->from == 0) {
            pack_columns(panel, ld, x->b.at + j * x->b.col, x->b.col, width, x->K);
        }
        run_panel(x, &t, j, n_vecs, rows);
        panel += ld * x->K;
        j += width;
    }
}

static void run_block(const struct block *x)
{
    float *panels = (float *)(void *)kernels_scratch, *packed_a = panels + K_BLOCK * N_BLOCK;
    _Static_assert(K_BLOCK * (N_BLOCK + (PACKS_TURNED ? M_BLOCK : 0)) * sizeof(float) <= KERNELS_SCRATCH_BYTES,
                   "what is packed fits");
    bool packs_a = PACKS_TURNED && is_turned(x->a) && x->a.col >= FAR_APART && x->N >= MANY_COLUMNS;
    for (size_t i = 0; i < x->M; i += M_BLOCK) {
        struct rows_block rows = {.from = i, .to = i + M_BLOCK < x->M ? i + M_BLOCK : x->M};
        if (packs_a) {
            pack_turned(packed_a, x, i, rows.to - i);
            rows.packed = packed_a;
        }
        run_rows(x, &rows, panels);
    }
}

static void clear(float *c, size_t ldc, size_t M, size_t N)
{
    for (size_t i = 0; i < M; i++)
        memset(c + i * ldc, 0, N * sizeof *c);
}

/* Blocks of about equal length, none above `most`. */
static size_t block_length(size_t left, size_t most)
{
    size_t n_blocks = (left + most - 1) / most;
    return (left + n_blocks - 1) / n_blocks;
}

void CPU(matmul)(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate)
{
    if (K == 0 && !accumulate)
        clear(c, ldc, M, N);
    for (size_t k = 0; k < K;) {
        size_t n_k = block_length(K - k, K_BLOCK);
        for (size_t j = 0; j < N; j += N_BLOCK) {
            struct block x = {.c = c + j, .ldc = ldc, .a = a, .b = b, .M = M, .K = n_k, .is_first = k == 0 && !accumulate};
            x.N = N - j < N_BLOCK ? N - j : N_BLOCK;
            x.a.at = a.at + k * a.col;
            x.b.at = b.at + k * b.row + j * b.col;
            run_block(&x);
        }
        k += n_k;
    }
}
