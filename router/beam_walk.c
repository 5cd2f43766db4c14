#include "router/beam_walk.h"

#include <stdlib.h>
#include <string.h>

/* What waits to be looked at.  A block has its level; values are those under which no block was made yet. */
enum kind { NODE_VALUE, NODE_BLOCK, NODE_EXPERT };

struct beam_node {
    float bound, fixed; /* fixed: the sum of what is settled */
    float weight;       /* how likely it is there */
    uint32_t first;     /* its lowest flat index */
    uint8_t level;      /* NODE_VALUE: the next to be cut into blocks; NODE_BLOCK: its own */
    uint8_t kind;
    bool is_guess; /* beneath something not read */
};

/* Where we are: the walk, the token, and whether something got lost on the way. */
struct trip {
    struct beam_walk *walk;
    const struct beam_scores *scores;
    struct beam_outcome *out;
    bool is_cut, is_unsure;
};

void beam_walk_fini(struct beam_walk *walk)
{
    free(walk->node);
    walk->node = NULL;
    walk->n = walk->capacity = 0;
}

/* -- The queue: a binary heap, best first ----------------------------------------------------------------- */

static bool is_before(const struct beam_node *a, const struct beam_node *b)
{
    if (a->bound != b->bound)
        return a->bound > b->bound;
    if (a->first != b->first)
        return a->first < b->first;
    return a->kind < b->kind; /* what contains something, before what it contains */
}

static bool grow(struct beam_walk *walk)
{
    size_t capacity = walk->capacity ? 2 * walk->capacity : 256;
    if (walk->n < walk->capacity)
        return true;
    if (capacity > BEAM_NODES_MAX)
        return false;
    struct beam_node *node = realloc(walk->node, capacity * sizeof *node);
    if (!node)
        return false;
    walk->node = node;
    walk->capacity = capacity;
    return true;
}

static void push(struct trip *trip, struct beam_node node)
{
    struct beam_walk *walk = trip->walk;
    if (!grow(walk)) {
        trip->is_cut = true;
        return;
    }
    size_t i = walk->n++;
    for (; i > 0 && is_before(&node, &walk->node[(i - 1) / 2]); i = (i - 1) / 2)
        walk->node[i] = walk->node[(i - 1) / 2];
    walk->node[i] = node;
}

static struct beam_node pop(struct beam_walk *walk)
{
    struct beam_node top = walk->node[0], last = walk->node[--walk->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < walk->n; i = child) {
        if (child + 1 < walk->n && is_before(&walk->node[child + 1], &walk->node[child]))
            child++;
        if (!is_before(&walk->node[child], &last))
            break;
        walk->node[i] = walk->node[child];
    }
    walk->node[i] = last;
    return top;
}

/* -- Bounds ------------------------------------------------------------------------------------------------ */

/* `fixed` and the most that dimensions from `level` on can add, in the order in which a score is summed. */
static float bound_from(const struct beam_grid *grid, const struct beam_scores *scores, float fixed, size_t level)
{
    for (; level < grid->d; level++)
        fixed += scores->most[level];
    return fixed;
}

static const float *of_level(const uint32_t *count, const float *first, size_t level)
{
    for (size_t a = 0; a < level; a++)
        first += count[a];
    return first;
}

static const float *scores_of(const struct trip *trip, size_t level)
{
    return of_level(trip->walk->grid->size, trip->scores->score, level);
}

/* The blocks of the next dimension under a prefix. */
static void push_blocks(struct trip *trip, struct beam_node node)
{
    const struct beam_grid *grid = trip->walk->grid;
    const float *peak = of_level(grid->n_blocks, trip->scores->peak, node.level);
    struct beam_node block = node;
    block.kind = NODE_BLOCK;
    for (uint32_t b = 0; b < grid->n_blocks[node.level]; b++) {
        block.first = node.first + b * MESSAGE_ROW_EXPERTS * grid->stride[node.level];
        block.bound = bound_from(grid, trip->scores, node.fixed + peak[b], node.level + 1u);
        push(trip, block);
    }
}

static struct beam_block block_at(const struct beam_grid *grid, const struct beam_node *node)
{
    return beam_grid_block(grid, node->level, node->first);
}

/* The first value of a block. */
static uint32_t value_of(const struct beam_grid *grid, const struct beam_node *block)
{
    return block->first / grid->stride[block->level] % grid->size[block->level];
}

/* One value of a block: an expert of a row, or a prefix. */
static void push_value(struct trip *trip, const struct beam_node *block, uint32_t j, float score, float weight, bool is_guess)
{
    const struct beam_grid *grid = trip->walk->grid;
    struct beam_node node = {.fixed = block->fixed + score,
                             .weight = weight,
                             .first = block->first + j * grid->stride[block->level],
                             .level = (uint8_t)(block->level + 1),
                             .is_guess = is_guess};
    node.kind = node.level == grid->d ? NODE_EXPERT : NODE_VALUE;
    node.bound = bound_from(grid, trip->scores, node.fixed, node.level);
    push(trip, node);
}

static void push_values(struct trip *trip, const struct beam_node *block, uint64_t map, float weight, bool is_guess)
{
    const float *score = scores_of(trip, block->level) + value_of(trip->walk->grid, block);
    for (; map; map &= map - 1) {
        uint32_t j = (uint32_t)__builtin_ctzll(map);
        push_value(trip, block, j, score[j], weight, is_guess);
    }
}

/* The experts of a row that can be asked. */
static void push_claimed(struct trip *trip, const struct beam_node *row, const struct beam_claims *claims)
{
    const struct beam_walk *walk = trip->walk;
    const float *score = scores_of(trip, row->level) + value_of(walk->grid, row);
    uint32_t j;
    float bias;
    for (size_t at = 0; beam_claims_next(claims, &at, row->first, walk->now_us, &walk->bias, &j, &bias);) {
        struct beam_node expert = {
            .weight = row->weight, .first = row->first + j, .kind = NODE_EXPERT, .is_guess = row->is_guess};
        expert.bound = expert.fixed = row->fixed + score[j] + bias;
        push(trip, expert);
    }
}

/* -- Blocks ------------------------------------------------------------------------------------------------- */

static void push_known(struct trip *trip, const struct beam_node *block, const struct beam_row *row)
{
    if (block->level == trip->walk->grid->d - 1)
        push_claimed(trip, block, row->claims);
    else
        push_values(trip, block, row->map, block->weight, block->is_guess);
}

static void push_guessed(struct trip *trip, const struct beam_node *block, uint64_t whole)
{
    push_values(trip, block, whole, block->weight * trip->walk->share[block->level], true);
}

/* A block that nobody could be reached for may have anything, and what it had may be there still. */
static void open_block(struct trip *trip, const struct beam_node *node)
{
    struct beam_walk *walk = trip->walk;
    struct beam_block block = block_at(walk->grid, node);
    uint64_t whole = beam_grid_whole(walk->grid, block.level, block.number);
    if (walk->grid->is_dense && node->level < walk->grid->d - 1) {
        push_values(trip, node, whole, node->weight, node->is_guess);
        return;
    }
    struct beam_row *row = beam_cache_find(walk->cache, block.level, block.number);
    if (row && row->until_us > walk->since_us) {
        push_known(trip, node, row);
    } else if (node->is_guess) {
        push_guessed(trip, node, whole);
    } else if (row && row->retry_us > walk->since_us) {
        trip->is_unsure = true;
        push_known(trip, node, row);
    } else {
        trip->out->wanted[trip->out->n_wanted++] = block;
        push_guessed(trip, node, whole);
    }
}

void beam_walk(struct beam_walk *walk, const struct beam_scores *scores, size_t k, struct beam_outcome *out)
{
    struct trip trip = {.walk = walk, .scores = scores, .out = out};
    float n_expected = 0; /* of the experts seen so far, those that are there */
    size_t n_steps = 0;
    walk->n = 0;
    out->n_found = out->n_wanted = 0;
    push_blocks(&trip, (struct beam_node){.weight = 1});
    while (walk->n > 0 && n_expected < (float)k && out->n_wanted < walk->n_wanted_max) {
        struct beam_node node = pop(walk);
        if (node.kind == NODE_VALUE)
            push_blocks(&trip, node);
        else if (node.kind == NODE_BLOCK)
            open_block(&trip, &node);
        else
            n_expected += node.weight;
        if (node.kind == NODE_EXPERT && !node.is_guess && out->n_found < k)
            out->found[out->n_found++] = (struct beam_found){node.first, node.bound};
        if (++n_steps == BEAM_STEPS_MAX) {
            trip.is_cut = true;
            break;
        }
    }
    out->is_exact = out->n_wanted == 0 && !trip.is_cut && !trip.is_unsure;
}

/* -- All that is known ---------------------------------------------------------------------------------------- */

static bool is_better(const struct beam_found *a, const struct beam_found *b)
{
    return a->score != b->score ? a->score > b->score : a->expert < b->expert;
}

static void insert(struct beam_outcome *out, size_t k, struct beam_found found)
{
    if (out->n_found == k && !is_better(&found, &out->found[k - 1]))
        return;
    size_t i = out->n_found < k ? out->n_found++ : k - 1;
    for (; i > 0 && is_better(&found, &out->found[i - 1]); i--)
        out->found[i] = out->found[i - 1];
    out->found[i] = found;
}

/* The sum of a prefix, in the order of its dimensions. */
static float fixed_of(const struct trip *trip, uint32_t first)
{
    const struct beam_grid *grid = trip->walk->grid;
    float fixed = 0;
    for (size_t a = 0; a + 1 < grid->d; a++)
        fixed += scores_of(trip, a)[first / grid->stride[a] % grid->size[a]];
    return fixed;
}

static void insert_row(struct trip *trip, size_t k, const struct beam_row *row)
{
    const struct beam_walk *walk = trip->walk;
    const struct beam_grid *grid = walk->grid;
    uint32_t first = beam_grid_first(grid, row->level, row->number), block = row->number % grid->n_blocks[row->level], j;
    float fixed = fixed_of(trip, first), bias;
    struct beam_outcome *out = trip->out;
    if (out->n_found == k && fixed + of_level(grid->n_blocks, trip->scores->peak, row->level)[block] < out->found[k - 1].score)
        return;
    const float *score = scores_of(trip, row->level) + block * MESSAGE_ROW_EXPERTS;
    for (size_t at = 0; beam_claims_next(row->claims, &at, first, walk->now_us, &walk->bias, &j, &bias);)
        insert(out, k, (struct beam_found){first + j, fixed + score[j] + bias});
}

void beam_walk_known(struct beam_walk *walk, const struct beam_scores *scores, size_t k, struct beam_outcome *out)
{
    struct trip trip = {.walk = walk, .scores = scores, .out = out};
    out->n_found = out->n_wanted = 0;
    out->is_exact = false;
    for (size_t i = 0; i < walk->cache->n_used; i++)
        if (walk->cache->row[i].claims)
            insert_row(&trip, k, &walk->cache->row[i]);
}
