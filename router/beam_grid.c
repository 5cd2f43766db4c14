#include "router/beam_grid.h"

#include <assert.h>
#include <string.h>

#define FORMAT 1

static uint32_t blocks_of(uint32_t size)
{
    return size / MESSAGE_ROW_EXPERTS + (size % MESSAGE_ROW_EXPERTS > 0);
}

int beam_grid_init(struct beam_grid *grid, const uint32_t *size, size_t d, bool is_dense)
{
    uint64_t n_experts = 1, n_rows = 0;
    if (d < 1 || d > BEAM_DIMENSIONS_MAX)
        return HANSE_EINVAL;
    *grid = (struct beam_grid){.d = (uint32_t)d, .is_dense = is_dense};
    for (size_t a = 0; a < d; a++) {
        if (size[a] < 1 || size[a] > BEAM_SIZE_MAX)
            return HANSE_EINVAL;
        grid->size[a] = size[a];
        grid->n_blocks[a] = blocks_of(size[a]);
        grid->first_row[a] = (uint32_t)n_rows;
        n_rows += n_experts * grid->n_blocks[a]; /* prefixes so far, each with its own */
        n_experts *= size[a];
        if (n_experts > BEAM_EXPERTS_MAX || n_rows > UINT32_MAX)
            return HANSE_EINVAL;
    }
    grid->n_experts = (uint32_t)n_experts;
    uint32_t stride = 1;
    for (size_t a = d; a-- > 0; stride *= size[a])
        grid->stride[a] = stride;
    return 0;
}

struct beam_block beam_grid_block(const struct beam_grid *grid, uint32_t level, uint32_t expert)
{
    assert(level < grid->d && expert < grid->n_experts);
    uint32_t value = expert / grid->stride[level] % grid->size[level];
    uint32_t prefix = expert / grid->stride[level] / grid->size[level];
    return (struct beam_block){.level = level,
                               .number = prefix * grid->n_blocks[level] + value / MESSAGE_ROW_EXPERTS,
                               .map = (uint64_t)1 << value % MESSAGE_ROW_EXPERTS};
}

uint32_t beam_grid_first(const struct beam_grid *grid, uint32_t level, uint32_t number)
{
    uint32_t prefix = number / grid->n_blocks[level], block = number % grid->n_blocks[level];
    return (prefix * grid->size[level] + block * MESSAGE_ROW_EXPERTS) * grid->stride[level];
}

uint64_t beam_grid_whole(const struct beam_grid *grid, uint32_t level, uint32_t number)
{
    uint32_t left = grid->size[level] - number % grid->n_blocks[level] * MESSAGE_ROW_EXPERTS;
    return left >= MESSAGE_ROW_EXPERTS ? UINT64_MAX : ((uint64_t)1 << left) - 1;
}

struct dht_id beam_grid_key(const struct beam_grid *grid, const struct hash *run, uint32_t layer, uint32_t level, uint32_t number)
{
    if (level == grid->d - 1)
        return dht_directory_key(run, "experts", layer, number);
    return dht_directory_key(run, "prefix", layer, grid->first_row[level] + number);
}

size_t beam_grid_blocks(const struct beam_grid *grid, const uint32_t *expert, size_t n, struct beam_block *out, size_t max)
{
    size_t n_blocks = 0;
    for (uint32_t level = grid->is_dense ? grid->d - 1 : 0; level < grid->d; level++)
        for (size_t i = 0; i < n; i++) {
            assert(i == 0 || expert[i] > expert[i - 1]);
            struct beam_block block = beam_grid_block(grid, level, expert[i]);
            bool is_new = i == 0 || beam_grid_block(grid, level, expert[i - 1]).number != block.number;
            n_blocks += is_new;
            if (n_blocks > max)
                continue;
            if (is_new)
                out[n_blocks - 1] = block;
            else
                out[n_blocks - 1].map |= block.map;
        }
    return n_blocks;
}

void beam_prefix_encode(uint64_t map, uint8_t out[BEAM_PREFIX_BYTES])
{
    assert(map != 0);
    memset(out, 0, BEAM_PREFIX_BYTES);
    out[0] = FORMAT;
    for (size_t i = 0; i < 8; i++)
        out[8 + i] = (uint8_t)(map >> 8 * i);
}

int beam_prefix_decode(uint64_t *map, const void *bytes, size_t n)
{
    struct wire_reader r;
    wire_reader_init(&r, bytes, n);
    uint8_t format = wire_u8(&r), zero = wire_u8(&r);
    uint16_t zeros = wire_u16(&r);
    uint32_t more_zeros = wire_u32(&r);
    uint64_t bits = wire_u64(&r);
    if (!wire_done(&r) || format != FORMAT || zero != 0 || zeros != 0 || more_zeros != 0 || bits == 0)
        return HANSE_EPROTO;
    *map = bits;
    return 0;
}
