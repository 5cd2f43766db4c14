/*
 * cpu/product_amx.c - exact-integer products by AMX: a tile instruction multiplies 16 rows of 64 bytes by 64 x 16 bytes.
 *
 * All tiles have 16 rows of 64 bytes: four hold sums, two rows of a, two columns of b.  With one slice a step loads four
 * tiles for four products, 32 rows by 32 columns; with two slices six for six, 16 rows by 32 columns with high and
 * cross sums apart.  A load takes 8 cycles and a product 16, so products never wait.  b is padded with zeros to 64 k, so
 * what lies beyond K in rows of a does not count; rows beyond the last are multiplied and dropped.
 * No machine with AMX was at hand when this was written: its bits are held to ref over tests/kernels/amx_emulated.h, which
 * follows Intel's manual, and its speed is not known.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/quads.h"

#define TILE_ROWS ((size_t)16)
#define TILE_WORDS ((size_t)16) /* of a row */

/* Intel, "Software developer's manual", volume 1, "Programming with Intel AMX": palette 1, then bytes and rows of each tile. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static const struct tile_config config __attribute__((aligned(64))) = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};

static void left(struct i8_row *rows, const struct source *x, size_t n, size_t K)
{
    quads_left(rows, x, n, K, 1);
}

static void right(int32_t *panel, const struct source *x, size_t n, size_t K)
{
    quads_right(panel, x, n, K, 0);
}

/* Registers 0..3 are sums, by row of tiles and column; 4 and 5 are a, 6 and 7 are b. */
static void tile_one(int32_t *sums, const struct i8_row *rows, const int32_t *panel, size_t n_steps, bool has_below,
                     bool has_right)
{
    const size_t a_stride = sizeof *rows, b_stride = PANEL * sizeof *panel;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t s = 0; s < n_steps; s += TILE_WORDS, panel += TILE_WORDS * PANEL) {
        _tile_loadd(4, rows->word + s, a_stride);
        _tile_loadd(6, panel, b_stride);
        _tile_dpbssd(0, 4, 6);
        if (has_right) {
            _tile_loadd(7, panel + TILE_WORDS, b_stride);
            _tile_dpbssd(1, 4, 7);
        }
        if (has_below) {
            _tile_loadd(5, rows[TILE_ROWS].word + s, a_stride);
            _tile_dpbssd(2, 5, 6);
            if (has_right)
                _tile_dpbssd(3, 5, 7);
        }
    }
    _tile_stored(0, sums, b_stride);
    _tile_stored(2, sums + TILE_ROWS * PANEL, b_stride);
    if (has_right) {
        _tile_stored(1, sums + TILE_WORDS, b_stride);
        _tile_stored(3, sums + TILE_ROWS * PANEL + TILE_WORDS, b_stride);
    }
}

/* Registers 0 and 1 are the sums of high times high, 2 and 3 those of the cross products; 4 is high a, 5 low. */
static void tile_two(int32_t *sums, const struct i8_row *rows, const int32_t *panel, size_t n_steps, bool has_right)
{
    const size_t a_stride = 2 * sizeof *rows, b_stride = 2 * PANEL * sizeof *panel;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t s = 0; s < n_steps; s += TILE_WORDS, panel += TILE_WORDS * 2 * PANEL) {
        _tile_loadd(4, rows[0].word + s, a_stride);
        _tile_loadd(6, panel, b_stride);
        _tile_dpbssd(0, 4, 6);
        _tile_loadd(5, rows[1].word + s, a_stride);
        _tile_dpbssd(2, 5, 6);
        if (has_right) {
            _tile_loadd(7, panel + TILE_WORDS, b_stride);
            _tile_dpbssd(1, 4, 7);
            _tile_dpbssd(3, 5, 7);
        }
        _tile_loadd(6, panel + PANEL, b_stride);
        _tile_dpbssd(2, 4, 6);
        if (has_right) {
            _tile_loadd(7, panel + PANEL + TILE_WORDS, b_stride);
            _tile_dpbssd(3, 4, 7);
        }
    }
    _tile_stored(0, sums, b_stride);
    _tile_stored(2, sums + PANEL, b_stride);
    if (has_right) {
        _tile_stored(1, sums + TILE_WORDS, b_stride);
        _tile_stored(3, sums + PANEL + TILE_WORDS, b_stride);
    }
}

static void tile(int32_t *sums, const struct i8_row *rows, const int32_t *panel, size_t n_steps, size_t n_rows, size_t n_vecs,
                 size_t n_slices)
{
    bool has_right = n_vecs * WIDTH > TILE_WORDS;
    if (n_slices == 2)
        tile_two(sums, rows, panel, n_steps, has_right);
    else
        tile_one(sums, rows, panel, n_steps, n_rows > TILE_ROWS, has_right);
}

static const struct i8_form form = {
    .n_terms = {0, 4, 4},
    .n_words = {0, 1, 2},
    .n_rows = {0, 2 * TILE_ROWS, TILE_ROWS},
    .n_steps = TILE_WORDS,
    .left = left,
    .right = right,
    .tile = tile,
};

static size_t packed_bytes(size_t N, size_t K, size_t n_slices)
{
    return CPU(i8_packed_bytes)(&form, N, K, n_slices);
}

static void pack(void *packed, struct slices b, size_t N, size_t K)
{
    CPU(i8_pack)(&form, packed, b, N, K);
}

/* Tiles are set up and given back in each call: a thread that keeps them pays for 8 KiB at each switch. */
static void multiply(float *c, size_t ldc, struct slices a, const int8_t *a_exponent, const void *packed,
                     const int8_t *b_exponent, size_t M, size_t N, size_t K, bool accumulate)
{
    _tile_loadconfig(&config);
    CPU(i8_multiply)(&form, c, ldc, a, a_exponent, packed, b_exponent, M, N, K, accumulate);
    _tile_release();
}

const struct kernels amx_kernels = {
    .name = "amx",
    .packed_bytes = packed_bytes,
    .pack = pack,
    .multiply = multiply,
    CPU_QUANTIZE,
    CPU_SHARED_KERNELS,
};
