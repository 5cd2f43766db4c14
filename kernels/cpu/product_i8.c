/* cpu/product_i8.c - blocks and panels of an exact-integer product, around the tile of an instruction set. */
#include "kernels/cpu/product_i8.h"

#include <assert.h>
#include <math.h>

#include "kernels/scratch.h"

#define AREA_ROWS ((size_t)240)    /* of laid-out words in the scratch memory */
#define ROWS_MOST ((size_t)120)    /* of a that are laid out at once, if they fit for the whole of K */
#define ROWS_FEWEST ((size_t)24)   /* fewer would read b too often, so long rows are laid out in pieces: */
#define LONG_ROWS ((size_t)48)     /* so many rows, */
#define LONG_COLUMNS ((size_t)256) /* for as many columns, whose sums wait meanwhile */
#define PACK_STEPS ((size_t)32)    /* of rows of b that are packed together */
#define SHORT_K ((size_t)512)      /* up to here 256 times the first sum, plus the second, fits into int32 */

static_assert(AREA_ROWS * sizeof(struct i8_row) + LONG_ROWS * LONG_COLUMNS * sizeof(double) <= KERNELS_SCRATCH_BYTES &&
                  ROWS_MOST * PANEL <= LONG_ROWS * LONG_COLUMNS,
              "rows and sums fit");

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t steps_of(const struct i8_form *form, size_t K, size_t n_slices)
{
    size_t n = (K + form->n_terms[n_slices] - 1) / form->n_terms[n_slices];
    return (n + form->n_steps - 1) / form->n_steps * form->n_steps;
}

size_t CPU(i8_packed_bytes)(const struct i8_form *form, size_t N, size_t K, size_t n_slices)
{
    size_t n_panels = (N + PANEL - 1) / PANEL;
    return n_panels * steps_of(form, K, n_slices) * form->n_words[n_slices] * PANEL * sizeof(int32_t);
}

static struct source source_of(const struct slices *m, size_t line, size_t k, bool is_k_near)
{
    size_t at = is_k_near ? line * m->ld + k : k * m->ld + line;
    return (struct source){
        .high = m->high + at,
        .low = m->low ? m->low + at : NULL,
        .line = is_k_near ? m->ld : 1,
        .k_apart = is_k_near ? 1 : m->ld,
        .is_k_near = is_k_near,
    };
}

/* Where rows of b lie together, some of them are packed for all panels before the next ones: a panel takes only a few bytes of
 * each, and the rest of a line of the cache would be gone when the next panel wants it. */
void CPU(i8_pack)(const struct i8_form *form, void *packed, struct slices b, size_t N, size_t K)
{
    size_t n_slices = b.low ? 2 : 1, step_words = form->n_words[n_slices] * PANEL;
    size_t n_steps = steps_of(form, K, n_slices), some = b.is_turned ? K : PACK_STEPS * form->n_terms[n_slices];
    bool has_gaps = N % PANEL || n_steps * form->n_terms[n_slices] != K;
    if (has_gaps)
        memset(packed, 0, CPU(i8_packed_bytes)(form, N, K, n_slices));
    for (size_t k = 0; k < K; k += some) {
        int32_t *panel = (int32_t *)packed + k / form->n_terms[n_slices] * step_words;
        for (size_t j = 0; j < N; j += PANEL, panel += n_steps * step_words) {
            struct source x = source_of(&b, j, k, b.is_turned);
            form->right(panel, &x, least(N - j, PANEL), least(K - k, some));
        }
    }
}

/* A part of at most PRODUCT_K_MAX terms, and how it is cut. */
struct part {
    const struct i8_form *form;
    float *c;
    size_t ldc;
    struct slices a;
    const int8_t *a_exponent, *b_exponent;
    const int32_t *b;   /* the part's first step in the first panel */
    size_t panel_words; /* from panel to panel */
    size_t first_k;     /* of a */
    size_t M, N, K;
    size_t n_slices, n_words, tile_rows;
    size_t block_k; /* terms in a block */
    size_t n_blocks;
    size_t n_rows, n_columns, n_laid; /* rows, columns and blocks that are treated at once */
    bool accumulate;
    struct i8_row *area;
    double *sums;
};

static void plan(struct part *x)
{
    size_t tile_rows = x->tile_rows = x->form->n_rows[x->n_slices];
    x->block_k = I8_STEPS * x->form->n_terms[x->n_slices];
    x->n_blocks = (x->K + x->block_k - 1) / x->block_k;
    x->n_rows = least(AREA_ROWS / (x->n_blocks * x->n_words), ROWS_MOST) / tile_rows * tile_rows;
    x->n_laid = x->n_blocks;
    x->n_columns = PANEL;
    if (x->n_rows < ROWS_FEWEST) {
        x->n_rows = LONG_ROWS / tile_rows * tile_rows;
        x->n_laid = AREA_ROWS / (x->n_rows * x->n_words);
        x->n_columns = LONG_COLUMNS;
    }
    x->area = (struct i8_row *)(void *)kernels_scratch;
    x->sums = (double *)(void *)(kernels_scratch + AREA_ROWS * sizeof(struct i8_row));
}

/* Rows i..i+n-1 of a, blocks first..end-1. */
static void lay_rows(const struct part *x, size_t i, size_t n, size_t first, size_t end)
{
    struct i8_row *rows = x->area;
    for (size_t b = first; b < end; b++, rows += n * x->n_words) {
        struct source a = source_of(&x->a, i, x->first_k + b * x->block_k, !x->a.is_turned);
        x->form->left(rows, &a, n, least(x->K - b * x->block_k, x->block_k));
    }
}

/* A tile: rows of a against a panel of b, block `block` of the part. */
struct tile {
    size_t i, n_rows;    /* rows of c */
    size_t j, n_columns; /* columns */
    size_t block;
    const int32_t *exponent; /* of the columns */
    double *wait;            /* (n_rows, n_columns of the part): sums of earlier blocks */
};

/* 2^e; 0 below the floor. */
static inline vec scale_of(ivec e)
{
    e = iv_min(e, iv_all(127));
    return v_of_bits(iv_if_greater(e, iv_all(-101), iv_bits(v_power(e))));
}

static inline int32_t row_exponent(const struct part *x, size_t i)
{
    return x->a_exponent ? x->a_exponent[i] : 0;
}

/* float(Z) of a part that is one block. */
static inline __attribute__((always_inline)) vec whole_sum(const int32_t *sum, const size_t n_words, const bool is_short)
{
    ivec first = iv_load(sum);
    if (n_words == 1)
        return v_of_ints(first);
    ivec second = iv_load(sum + PANEL);
    if (is_short)
        return v_of_ints(iv_add(iv_left(first, 8), second));
    dvec low = dv_fma(dv_of_ints(first, 0), 256, dv_of_ints(second, 0));
    dvec high = dv_fma(dv_of_ints(first, 1), 256, dv_of_ints(second, 1));
    return v_of_doubles(low, high);
}

/* Adds a block's sum to the earlier ones; gives float(Z) so far. */
static inline vec partial_sum(const struct part *x, const int32_t *sum, double *wait, bool is_first)
{
    dvec half[2];
    ivec first = iv_load(sum);
    for (int h = 0; h < 2; h++) {
        double *at = wait + (size_t)h * (WIDTH / 2);
        half[h] = dv_of_ints(first, h);
        if (x->n_words == 2)
            half[h] = dv_fma(half[h], 256, dv_of_ints(iv_load(sum + PANEL), h));
        if (!is_first)
            half[h] = dv_add(half[h], dv_load(at));
        dv_store(at, half[h]);
    }
    return v_of_doubles(half[0], half[1]);
}

/* The end of any tile: of several blocks, or with columns that do not fill its vectors. */
static void end_any(const struct part *x, const struct tile *t, const int32_t *sum)
{
    bool is_first = t->block == 0, is_last = t->block + 1 == x->n_blocks;
    for (size_t r = 0; r < t->n_rows; r++, sum += x->n_words * PANEL)
        for (size_t v = 0; v < t->n_columns; v += WIDTH) {
            vec z = is_first && is_last ? whole_sum(sum + v, x->n_words, x->K <= SHORT_K)
                                        : partial_sum(x, sum + v, t->wait + r * x->n_columns + v, is_first);
            if (!is_last)
                continue;
            float *c = x->c + (t->i + r) * x->ldc + t->j + v;
            mask some = v_first(t->n_columns - v);
            vec scale = scale_of(iv_add(iv_load(t->exponent + v), iv_all(row_exponent(x, t->i + r))));
            v_store_part(c, some, v_fma(z, scale, x->accumulate ? v_load_part(c, some) : v_zero()));
        }
}

/* The end of nearly all: y = fma(float(Z), 2^s, y) for whole vectors, the questions asked beforehand. */
static inline __attribute__((always_inline)) void end_whole(const struct part *x, const struct tile *t, const int32_t *sum,
                                                            const size_t n_words, const bool is_short, const bool accumulate)
{
    ivec left = iv_load(t->exponent), right = iv_load(t->exponent + WIDTH);
    float *c = x->c + t->i * x->ldc + t->j;
    for (size_t r = 0; r < t->n_rows; r++, c += x->ldc, sum += n_words * PANEL) {
        ivec e = iv_all(row_exponent(x, t->i + r));
        vec z[2] = {whole_sum(sum, n_words, is_short), whole_sum(sum + WIDTH, n_words, is_short)};
        v_store(c, v_fma(z[0], scale_of(iv_add(left, e)), accumulate ? v_load(c) : v_zero()));
        v_store(c + WIDTH, v_fma(z[1], scale_of(iv_add(right, e)), accumulate ? v_load(c + WIDTH) : v_zero()));
    }
}

static void end_tile(const struct part *x, const struct tile *t, const int32_t *sum)
{
    if (x->n_blocks > 1 || t->n_columns < PANEL)
        end_any(x, t, sum);
    else if (x->n_words == 1 && !x->accumulate)
        end_whole(x, t, sum, 1, true, false);
    else if (x->n_words == 1)
        end_whole(x, t, sum, 1, true, true);
    else if (x->K <= SHORT_K && !x->accumulate)
        end_whole(x, t, sum, 2, true, false);
    else if (x->K <= SHORT_K)
        end_whole(x, t, sum, 2, true, true);
    else
        end_whole(x, t, sum, 2, false, x->accumulate);
}

/* Lines of c that are added to arrive while the tile is computed: rows lie too far apart for the processor to foresee. */
static void fetch_outputs(const struct part *x, const struct tile *t)
{
    for (size_t r = 0; r < t->n_rows; r++)
        for (size_t v = 0; v < t->n_columns; v += WIDTH)
            __builtin_prefetch(x->c + (t->i + r) * x->ldc + t->j + v, 1);
}

/* A panel against the rows that are laid out, from block first to end - 1. */
static void run_panel(const struct part *x, size_t i, size_t n, size_t j, size_t column, size_t first, size_t end)
{
    int32_t exponent[PANEL] = {0}, sum[I8_TILE_SUMS] __attribute__((aligned(64)));
    size_t n_columns = least(x->N - j, PANEL), n_tiles = (n + x->tile_rows - 1) / x->tile_rows;
    size_t height = (n + n_tiles - 1) / n_tiles; /* tiles of about equal height */
    for (size_t c = 0; c < n_columns; c++)
        exponent[c] = (x->b_exponent ? x->b_exponent[j + c] : 0) + (x->n_slices == 2 ? 8 : 0);
    const struct i8_row *rows = x->area;
    for (size_t b = first; b < end; b++, rows += n * x->n_words) {
        const int32_t *panel = x->b + j / PANEL * x->panel_words + b * I8_STEPS * x->n_words * PANEL;
        size_t n_steps = steps_of(x->form, least(x->K - b * x->block_k, x->block_k), x->n_slices);
        for (size_t r = 0; r < n; r += height) {
            struct tile t = {i + r, least(n - r, height), j, n_columns, b, exponent, x->sums + r * x->n_columns + column};
            if (x->accumulate && b + 1 == x->n_blocks)
                fetch_outputs(x, &t);
            x->form->tile(sum, rows + r * x->n_words, panel, n_steps, t.n_rows, (n_columns + WIDTH - 1) / WIDTH, x->n_slices);
            end_tile(x, &t, sum);
        }
    }
}

static void run_part(struct part *x)
{
    plan(x);
    for (size_t i = 0; i < x->M; i += x->n_rows) {
        size_t n = least(x->M - i, x->n_rows), laid = x->n_blocks;
        for (size_t j = 0; j < x->N; j += x->n_columns)
            for (size_t b = 0; b < x->n_blocks; b += x->n_laid) {
                size_t end = least(x->n_blocks, b + x->n_laid);
                if (laid != b)
                    lay_rows(x, i, n, b, end);
                laid = b;
                for (size_t column = 0; column < least(x->n_columns, x->N - j); column += PANEL)
                    run_panel(x, i, n, j + column, column, b, end);
            }
    }
}

/* Outputs of rows and columns that were refused, whose scale is a NaN: afterwards, so that no tile has to ask. */
static void spoil(float *c, size_t ldc, const int8_t *a_exponent, const int8_t *b_exponent, size_t M, size_t N)
{
    for (size_t i = 0; a_exponent && i < M; i++)
        for (size_t j = 0; a_exponent[i] == QUANTIZE_BAD && j < N; j++)
            c[i * ldc + j] = NAN;
    for (size_t j = 0; b_exponent && j < N; j++)
        for (size_t i = 0; b_exponent[j] == QUANTIZE_BAD && i < M; i++)
            c[i * ldc + j] = NAN;
}

void CPU(i8_multiply)(const struct i8_form *form, float *c, size_t ldc, struct slices a, const int8_t *a_exponent,
                      const void *packed, const int8_t *b_exponent, size_t M, size_t N, size_t K, bool accumulate)
{
    size_t n_slices = a.low ? 2 : 1;
    struct part x = {.form = form, .c = c, .ldc = ldc, .a = a, .a_exponent = a_exponent, .b_exponent = b_exponent};
    x.M = M, x.N = N;
    x.n_slices = n_slices, x.n_words = form->n_words[n_slices];
    x.panel_words = steps_of(form, K, n_slices) * x.n_words * PANEL;
    for (size_t i = 0; K == 0 && !accumulate && i < M; i++)
        memset(c + i * ldc, 0, N * sizeof *c);
    for (size_t k = 0; k < K; k += PRODUCT_K_MAX) {
        x.first_k = k;
        x.K = least(K - k, PRODUCT_K_MAX);
        x.b = (const int32_t *)packed + k / form->n_terms[n_slices] * x.n_words * PANEL;
        x.accumulate = accumulate || k > 0;
        run_part(&x);
    }
    if (K > 0)
        spoil(c, ldc, a_exponent, b_exponent, M, N);
}
