/**
 * tests/kernels/amx_emulated.h - the tile instructions of AMX that kernels/cpu/product_amx.c uses, in plain C.
 *
 * After the operation sections of Intel's "Software developer's manual", volume 2: LDTILECFG, TILELOADD, TILESTORED,
 * TILEZERO, TILERELEASE and TDPBSSD with palette 1, eight tiles of up to 16 rows of 64 bytes.  Where the processor would
 * raise an exception, an assertion fails.  The names of the intrinsics of immintrin.h are taken over.
 */
#ifndef TESTS_KERNELS_AMX_EMULATED_H
#define TESTS_KERNELS_AMX_EMULATED_H

#include <assert.h>
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define AMX_TILES 8
#define AMX_ROWS 16
#define AMX_ROW_BYTES 64

struct amx_tile {
    size_t n_rows, row_bytes;
    int8_t at[AMX_ROWS][AMX_ROW_BYTES];
};

static _Thread_local struct amx {
    bool is_configured;
    struct amx_tile tile[AMX_TILES];
} amx;

/* A tile that may be named at all: tiles are configured, and this one is not empty. */
static struct amx_tile *amx_tile(int i)
{
    assert(amx.is_configured);
    assert(i >= 0 && i < AMX_TILES);
    assert(amx.tile[i].n_rows > 0);
    return &amx.tile[i];
}

static void amx_release(void)
{
    memset(&amx, 0, sizeof amx);
}

/* 64 bytes: palette, first row, 14 of zero; 16 times u16 bytes of a row; 16 times u8 rows.  Tiles lose what they held. */
static void amx_configure(const void *memory)
{
    const uint8_t *byte = memory;
    amx_release();
    assert(byte[0] <= 1);
    if (byte[0] == 0)
        return;
    for (int i = 1; i < 16; i++)
        assert(byte[i] == 0); /* no instruction was interrupted, and reserved bytes are zero */
    for (int i = 0; i < 16; i++) {
        uint16_t row_bytes;
        memcpy(&row_bytes, byte + 16 + 2 * i, sizeof row_bytes);
        uint8_t n_rows = byte[48 + i];
        assert(row_bytes <= AMX_ROW_BYTES && n_rows <= AMX_ROWS);
        assert((row_bytes == 0) == (n_rows == 0));
        assert(i < AMX_TILES || n_rows == 0);
        if (i < AMX_TILES)
            amx.tile[i].n_rows = n_rows, amx.tile[i].row_bytes = row_bytes;
    }
    amx.is_configured = true;
}

/* What a row or a tile has beyond its configured size is zero afterwards. */
static void amx_load(int i, const void *base, size_t stride)
{
    struct amx_tile *t = amx_tile(i);
    memset(t->at, 0, sizeof t->at);
    for (size_t r = 0; r < t->n_rows; r++)
        memcpy(t->at[r], (const char *)base + r * stride, t->row_bytes);
}

static void amx_store(int i, void *base, size_t stride)
{
    const struct amx_tile *t = amx_tile(i);
    for (size_t r = 0; r < t->n_rows; r++)
        memcpy((char *)base + r * stride, t->at[r], t->row_bytes);
}

static void amx_zero(int i)
{
    struct amx_tile *t = amx_tile(i);
    memset(t->at, 0, sizeof t->at);
}

/* Word (m, n) of the sums gains the products of the four signed bytes of words (m, k) of a and (k, n) of b, without saturation. */
static void amx_dpbssd(int sums, int left, int right)
{
    struct amx_tile *c = amx_tile(sums);
    const struct amx_tile *a = amx_tile(left), *b = amx_tile(right);
    assert(sums != left && sums != right && left != right);
    assert(c->row_bytes % 4 == 0 && a->row_bytes % 4 == 0 && b->row_bytes % 4 == 0);
    assert(c->n_rows == a->n_rows && c->row_bytes == b->row_bytes && a->row_bytes / 4 == b->n_rows);
    for (size_t m = 0; m < c->n_rows; m++) {
        uint32_t sum[AMX_ROW_BYTES / 4];
        memcpy(sum, c->at[m], sizeof sum);
        for (size_t k = 0; k < a->row_bytes / 4; k++)
            for (size_t n = 0; n < c->row_bytes / 4; n++)
                for (size_t i = 0; i < 4; i++)
                    sum[n] += (uint32_t)(a->at[m][4 * k + i] * b->at[k][4 * n + i]);
        memcpy(c->at[m], sum, sizeof sum);
    }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbssd
#define _tile_loadconfig amx_configure
#define _tile_release amx_release
#define _tile_loadd amx_load
#define _tile_stored amx_store
#define _tile_zero amx_zero
#define _tile_dpbssd amx_dpbssd

#endif
