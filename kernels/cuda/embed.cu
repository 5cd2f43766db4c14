/* cuda/embed.cu - rows of a table by token, and their gradient. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/floats.cuh"
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/ops.h"

#define WARPS 8u

void cuda_embed(float *x, const float *table, const int32_t *token, size_t R, size_t D)
{
    cuda_gather(x, table, (const uint32_t *)token, R, D * sizeof *x);
}

/* The rows whose token is `token`, in order: list[start], ... of them n. */
struct group {
    uint32_t token, start, n;
};

/* What the gradient finds out about the tokens first.  Where in `list` a group lies, and which comes first in `group`, is as
 * threads happen to come; what is in a group is not. */
struct index {
    uint32_t *before; /* (V) 1 + rows after the first that has this token; 0: none has */
    uint32_t *count;  /* (V) rows that have it */
    uint32_t *n_listed, *n_groups;
    uint32_t *list; /* (R) */
    struct group *group;
};

static __global__ void count_tokens(struct index index, const int32_t *token, size_t R, size_t V)
{
    size_t r = floats_mine<1>();
    if (r >= R || (uint32_t)token[r] >= V)
        return;
    atomicMax(index.before + token[r], (uint32_t)(R - r));
    atomicAdd(index.count + token[r], 1u);
}

/* A warp a row; that of a token's first row looks for the others, no further than to the last. */
static __global__ void __launch_bounds__(LANES *WARPS) list_rows(struct index index, const int32_t *token, size_t R, size_t V)
{
    size_t r = (size_t)blockIdx.x * WARPS + threadIdx.y;
    if (r >= R || (uint32_t)token[r] >= V || index.before[token[r]] != R - r)
        return;
    int32_t mine = token[r];
    uint32_t n = index.count[mine], start = 0, n_found = 0;
    if (threadIdx.x == 0) {
        start = atomicAdd(index.n_listed, n);
        index.group[atomicAdd(index.n_groups, 1u)] = {(uint32_t)mine, start, n};
    }
    start = __shfl_sync(ALL_LANES, start, 0);
    for (size_t i = r + threadIdx.x; n_found < n; i += LANES) {
        bool is_mine = i < R && token[i] == mine;
        uint32_t all = __ballot_sync(ALL_LANES, is_mine);
        if (is_mine)
            index.list[start + n_found + __popc(all & ((1u << threadIdx.x) - 1))] = (uint32_t)i;
        n_found += __popc(all);
    }
}

/* A thread has W columns of a group at a time, and several rows on their way. */
template <int W>
static __global__ void __launch_bounds__(FLOATS_THREADS) add_rows(float *gtable, const float *gx, struct index index, size_t D)
{
    size_t c = ((size_t)blockIdx.y * FLOATS_THREADS + threadIdx.x) * W;
    for (size_t i = blockIdx.x; c < D && i < *index.n_groups; i += gridDim.x) {
        struct group group = index.group[i];
        const uint32_t *row = index.list + group.start;
        floats<W> sum = *(floats<W> *)(gtable + group.token * D + c);
#pragma unroll 8
        for (uint32_t k = 0; k < group.n; k++) {
            floats<W> v = *(const floats<W> *)(gx + row[k] * D + c);
            for (int w = 0; w < W; w++)
                sum.at[w] = __fadd_rn(sum.at[w], v.at[w]);
        }
        *(floats<W> *)(gtable + group.token * D + c) = sum;
    }
}

#define MOST_BLOCKS ((size_t)4096)

static struct index index_at(uint32_t *at, size_t R, size_t V)
{
    return {.before = at,
            .count = at + V,
            .n_listed = at + 2 * V,
            .n_groups = at + 2 * V + 1,
            .list = at + 2 * V + 2,
            .group = (struct group *)(at + 2 * V + 2 + R)};
}

void cuda_embed_grad(float *gtable, const float *gx, const int32_t *token, size_t R, size_t D, size_t V)
{
    size_t n_cleared = 2 * V + 2, n_groups_max = R < V ? R : V, n_words = n_cleared + R + 3 * n_groups_max;
    uint32_t *at = R > 0 && D > 0 ? (uint32_t *)cuda_scratch(0, n_words * sizeof *at) : NULL;
    if (!at)
        return;
    struct index index = index_at(at, R, V);
    cuda_zero(at, n_cleared * sizeof *at);
    CUDA_LAUNCH(count_tokens, floats_grid(R, 1), FLOATS_THREADS, 0, index, token, R, V);
    CUDA_LAUNCH(list_rows, dim3((unsigned)((R + WARPS - 1) / WARPS)), dim3(LANES, WARPS), 0, index, token, R, V);
    bool is_wide = D % FLOATS_WIDE == 0 && floats_wide(gtable, gx);
    unsigned along = floats_grid(D, is_wide ? FLOATS_WIDE : 1).x;
    dim3 grid((unsigned)(n_groups_max < MOST_BLOCKS ? n_groups_max : MOST_BLOCKS), along);
    if (is_wide)
        CUDA_LAUNCH((add_rows<FLOATS_WIDE>), grid, FLOATS_THREADS, 0, gtable, gx, index, D);
    else
        CUDA_LAUNCH((add_rows<1>), grid, FLOATS_THREADS, 0, gtable, gx, index, D);
}
