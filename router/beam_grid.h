/**
 * router/beam_grid.h - the experts of a factored gate as a grid, and what of it stands under which key of the directory.
 * Lample et al., "Large memory layers with product keys", 2019; Ryabinin and Gusev, "Towards crowdsourced training of large
 * neural networks using decentralized mixture-of-experts", 2020.
 *
 * An expert has a coordinate in each of 1 to 4 dimensions; its flat index is row-major.  Each coordinate is cut into *blocks* of
 * 64 values under a prefix, the coordinates before it: a block of the last dimension is a row of experts, with claims
 * (router/message.h), and never crosses a prefix; a block of a dimension above it is a prefix block, where each host says which
 * of the 64 values it has experts under.  A grid of one dimension is a flat layer, with the keys of one.
 */
#ifndef ROUTER_BEAM_GRID_H
#define ROUTER_BEAM_GRID_H

#include "dht/dht.h"
#include "router/message.h"

#define BEAM_DIMENSIONS_MAX 4
#define BEAM_SIZE_MAX (1u << 20)    /* of a dimension */
#define BEAM_EXPERTS_MAX (1u << 31) /* so that a pick is an int32_t */

struct beam_grid {
    uint32_t d;
    uint32_t size[BEAM_DIMENSIONS_MAX];
    /* Hosts publish no prefix blocks and searches read none: right where nearly every prefix has an expert somewhere. */
    bool is_dense;
    /* what follows from these */
    uint32_t n_experts;
    uint32_t stride[BEAM_DIMENSIONS_MAX];    /* experts under one value of a coordinate */
    uint32_t n_blocks[BEAM_DIMENSIONS_MAX];  /* of a coordinate, under each prefix */
    uint32_t first_row[BEAM_DIMENSIONS_MAX]; /* prefix blocks of the dimensions before */
};

/** HANSE_EINVAL for no or too many dimensions, a size of 0, or more of anything than the limits above or 32 bits allow. */
HANSE_MUST_USE int beam_grid_init(struct beam_grid *grid, const uint32_t *size, size_t d, bool is_dense);

/**
 * A block: the `number`th of dimension `level`, counting row-major over prefixes; bit j of `map` is the j-th of its values.
 * Its key is dht_directory_key(run, "experts", layer, number) in the last dimension, which for a flat layer is that of today, and
 * dht_directory_key(run, "prefix", layer, row) above it, where row = first_row[level] + number: the blocks of dimension 0
 * first, then those of dimension 1 and so on.
 */
struct beam_block {
    uint32_t level, number;
    uint64_t map;
};

/** The block that an expert lies in; `map` is its own bit alone. */
struct beam_block beam_grid_block(const struct beam_grid *grid, uint32_t level, uint32_t expert);

/** The first expert under a block. */
uint32_t beam_grid_first(const struct beam_grid *grid, uint32_t level, uint32_t number);

/** The bits that a block can have: 64, or fewer at the end of a coordinate. */
uint64_t beam_grid_whole(const struct beam_grid *grid, uint32_t level, uint32_t number);

struct dht_id beam_grid_key(const struct beam_grid *grid, const struct hash *run, uint32_t layer, uint32_t level,
                            uint32_t number);

/**
 * What a host of these experts (ascending flat indices) publishes: each block that one of them lies under, with all of its values
 * that they lie under; prefix blocks first (none in a dense grid), then rows.  Writes up to `max` and returns how many there are.
 */
size_t beam_grid_blocks(const struct beam_grid *grid, const uint32_t *expert, size_t n, struct beam_block *out, size_t max);

/* PREFIX: u8 format 1 | u8 0 | u16 0 | u32 0 | u64 map (bit j: the writer has experts under the block's j-th value; not 0)
 * A host's entry under the key of a prefix block.  Bits beyond the block are passed over by readers, who know the grid. */
#define BEAM_PREFIX_BYTES 16
void beam_prefix_encode(uint64_t map, uint8_t out[BEAM_PREFIX_BYTES]);
/** HANSE_EPROTO. */
HANSE_MUST_USE int beam_prefix_decode(uint64_t *map, const void *bytes, size_t n);

#endif
