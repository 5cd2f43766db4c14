/* tests/unit/test_router_beam_grid.c - which expert stands under which key, and the maps of prefixes. */
#include "router/beam_grid.h"

#include <string.h>

#include "base/random.h"
#include "tests/unit/unit.h"

static struct beam_grid grid_of(const uint32_t *size, size_t d, bool is_dense)
{
    struct beam_grid grid;
    ck_assert_int_eq(beam_grid_init(&grid, size, d, is_dense), 0);
    return grid;
}

/* Up to 5000 experts. */
static struct beam_grid draw_grid(struct rng *rng)
{
    static const uint32_t most[] = {5000, 150, 20, 9};
    uint32_t size[BEAM_DIMENSIONS_MAX];
    size_t d = 1 + rng_below(rng, BEAM_DIMENSIONS_MAX);
    uint32_t n = 5000;
    for (size_t a = 0; a < d; a++) {
        size[a] = 1 + (uint32_t)rng_below(rng, most[d - 1] < n ? most[d - 1] : n);
        n /= size[a];
    }
    return grid_of(size, d, rng_below(rng, 4) == 0);
}

START_TEST(a_grid_of_one_dimension_has_the_keys_of_a_flat_layer)
{
    struct hash run = hash_bytes("run", 3);
    uint32_t size = 1000;
    struct beam_grid grid = grid_of(&size, 1, false);
    ck_assert_uint_eq(grid.n_blocks[0], 16);
    for (uint32_t e = 0; e < 1000; e++) {
        struct beam_block block = beam_grid_block(&grid, 0, e);
        struct dht_id key = beam_grid_key(&grid, &run, 3, 0, block.number);
        struct dht_id flat = dht_directory_key(&run, "experts", 3, e / MESSAGE_ROW_EXPERTS);
        ck_assert_mem_eq(key.byte, flat.byte, DHT_ID_BYTES);
        ck_assert_uint_eq(block.map, (uint64_t)1 << e % MESSAGE_ROW_EXPERTS);
    }
    ck_assert_uint_eq(beam_grid_whole(&grid, 0, 14), UINT64_MAX);
    ck_assert_uint_eq(beam_grid_whole(&grid, 0, 15), ((uint64_t)1 << 40) - 1);
}
END_TEST

/* Each expert has one place in each dimension, no place has two, and a row never crosses a prefix. */
START_TEST(a_place_belongs_to_one_prefix)
{
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "grid");
    struct beam_grid grid = draw_grid(&rng);
    size_t n_wrong = 0;
    for (uint32_t e = 0; e < grid.n_experts; e++)
        for (uint32_t level = 0; level < grid.d; level++) {
            struct beam_block block = beam_grid_block(&grid, level, e);
            uint32_t first = beam_grid_first(&grid, level, block.number), j = 0;
            uint32_t under = grid.stride[level] * grid.size[level]; /* experts of one prefix */
            while (block.map >> j != 1)
                j++;
            n_wrong += !(block.map & beam_grid_whole(&grid, level, block.number));
            n_wrong += first + j * grid.stride[level] + e % grid.stride[level] != e;
            n_wrong += first / under != e / under;
        }
    ck_assert_uint_eq(n_wrong, 0);
}
END_TEST

START_TEST(keys_of_all_blocks_differ)
{
    const uint32_t size[] = {70, 3, 66};
    struct beam_grid grid = grid_of(size, 3, false);
    struct hash run = hash_bytes("run", 3);
    static struct dht_id key[1000];
    uint32_t n_prefixes = 1;
    size_t n = 0;
    for (uint32_t level = 0; level < 3; n_prefixes *= size[level++])
        for (uint32_t i = 0; i < n_prefixes * grid.n_blocks[level]; i++)
            key[n++] = beam_grid_key(&grid, &run, 0, level, i);
    ck_assert_uint_eq(n, 2 + 70 + 70 * 3 * 2);
    size_t n_same = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            n_same += memcmp(key[i].byte, key[j].byte, DHT_ID_BYTES) == 0;
    ck_assert_uint_eq(n_same, 0);
    struct dht_id first = dht_directory_key(&run, "prefix", 0, 2); /* of dimension 1, after the two of dimension 0 */
    ck_assert_mem_eq(key[2].byte, first.byte, DHT_ID_BYTES);
}
END_TEST

/* What hosts publish, seen from above: a value of a block is marked just when an expert is hosted under it. */
START_TEST(blocks_tell_what_is_hosted)
{
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "blocks");
    struct beam_grid grid = draw_grid(&rng);
    static uint32_t expert[5000];
    static struct beam_block block[5000 * BEAM_DIMENSIONS_MAX];
    size_t n = 0, every = 1 + rng_below(&rng, 40);
    for (uint32_t e = 0; e < grid.n_experts; e++)
        if (rng_below(&rng, every) == 0)
            expert[n++] = e;
    size_t n_blocks = beam_grid_blocks(&grid, expert, n, block, 5000 * BEAM_DIMENSIONS_MAX);
    size_t n_marks = 0, n_wrong = 0;
    for (size_t i = 0; i < n_blocks; i++) {
        n_wrong += block[i].level < (grid.is_dense ? grid.d - 1 : 0);
        for (size_t j = 0; j < i; j++)
            n_wrong += block[i].level == block[j].level && block[i].number == block[j].number;
        n_marks += block[i].level == grid.d - 1 ? (size_t)__builtin_popcountll(block[i].map) : 0;
        uint64_t map = 0;
        for (size_t e = 0; e < n; e++) {
            struct beam_block own = beam_grid_block(&grid, block[i].level, expert[e]);
            map |= own.number == block[i].number ? own.map : 0;
        }
        n_wrong += map != block[i].map;
    }
    ck_assert_uint_eq(n_wrong, 0);
    ck_assert_uint_eq(n_marks, n);
    /* Less room: the same beginning, the same count. */
    struct beam_block few[3] = {0};
    size_t max = rng_below(&rng, 4);
    ck_assert_uint_eq(beam_grid_blocks(&grid, expert, n, few, max), n_blocks);
    for (size_t i = 0; i < 3; i++)
        ck_assert_uint_eq(few[i].map, i < max && i < n_blocks ? block[i].map : 0);
}
END_TEST

START_TEST(sizes_have_limits)
{
    struct beam_grid grid;
    const uint32_t good[] = {1000, 1000, 1, 1}, none[] = {10, 0}, large[] = {BEAM_SIZE_MAX + 1};
    const uint32_t most[] = {BEAM_SIZE_MAX, 2048}, many[] = {BEAM_SIZE_MAX, 2049}, rows[] = {BEAM_SIZE_MAX, 2048, 1, 1};
    ck_assert_int_eq(beam_grid_init(&grid, good, 4, false), 0);
    ck_assert_uint_eq(grid.n_experts, 1000000);
    ck_assert_int_eq(beam_grid_init(&grid, good, 0, false), HANSE_EINVAL);
    ck_assert_int_eq(beam_grid_init(&grid, good, 5, false), HANSE_EINVAL);
    ck_assert_int_eq(beam_grid_init(&grid, none, 2, false), HANSE_EINVAL);
    ck_assert_int_eq(beam_grid_init(&grid, large, 1, false), HANSE_EINVAL);
    ck_assert_int_eq(beam_grid_init(&grid, most, 2, false), 0);
    ck_assert_uint_eq(grid.n_experts, BEAM_EXPERTS_MAX);
    ck_assert_uint_eq(beam_grid_first(&grid, 1, beam_grid_block(&grid, 1, BEAM_EXPERTS_MAX - 1).number), BEAM_EXPERTS_MAX - 64);
    ck_assert_int_eq(beam_grid_init(&grid, many, 2, false), HANSE_EINVAL);
    ck_assert_int_eq(beam_grid_init(&grid, rows, 4, false), HANSE_EINVAL); /* 2^31 rows, twice */
}
END_TEST

START_TEST(a_map_travels)
{
    uint8_t bytes[BEAM_PREFIX_BYTES];
    uint64_t map = 0;
    beam_prefix_encode(0x8123456789abcdefu, bytes);
    const uint8_t expect[] = {1, 0, 0, 0, 0, 0, 0, 0, 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x81};
    ck_assert_mem_eq(bytes, expect, sizeof expect);
    ck_assert_int_eq(beam_prefix_decode(&map, bytes, sizeof bytes), 0);
    ck_assert_uint_eq(map, 0x8123456789abcdefu);
}
END_TEST

START_TEST(other_bytes_are_refused)
{
    uint8_t bytes[BEAM_PREFIX_BYTES + 1] = {0};
    uint64_t map = 77;
    beam_prefix_encode(5, bytes);
    ck_assert_int_eq(beam_prefix_decode(&map, bytes, BEAM_PREFIX_BYTES - 1), HANSE_EPROTO);
    ck_assert_int_eq(beam_prefix_decode(&map, bytes, BEAM_PREFIX_BYTES + 1), HANSE_EPROTO);
    ck_assert_int_eq(beam_prefix_decode(&map, NULL, 0), HANSE_EPROTO);
    for (size_t i = 0; i < 8; i++) { /* another format, and what has to be 0 */
        bytes[i] ^= 2;
        ck_assert_int_eq(beam_prefix_decode(&map, bytes, BEAM_PREFIX_BYTES), HANSE_EPROTO);
        bytes[i] ^= 2;
    }
    bytes[8] = 0; /* a map of nothing */
    ck_assert_int_eq(beam_prefix_decode(&map, bytes, BEAM_PREFIX_BYTES), HANSE_EPROTO);
    ck_assert_uint_eq(map, 77);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("router/beam_grid");
    TCase *tcase = tcase_create("grid");
    tcase_add_test(tcase, a_grid_of_one_dimension_has_the_keys_of_a_flat_layer);
    tcase_add_loop_test(tcase, a_place_belongs_to_one_prefix, 0, 16);
    tcase_add_test(tcase, keys_of_all_blocks_differ);
    tcase_add_loop_test(tcase, blocks_tell_what_is_hosted, 0, 16);
    tcase_add_test(tcase, sizes_have_limits);
    tcase_add_test(tcase, a_map_travels);
    tcase_add_test(tcase, other_bytes_are_refused);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
