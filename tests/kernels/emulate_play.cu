/* tests/kernels/emulate_play.cu - what tests/kernels/test_emulate.c runs. */
#include "kernels/cuda/cuda.h"
#include "tests/kernels/emulate_play.h"

#define ALL_LANES 0xffffffffu

__device__ static unsigned place(void)
{
    return blockIdx.x * blockDim.x + threadIdx.x;
}

static __global__ void turn(uint32_t *out, const uint32_t *in)
{
    CUDA_SHARED(uint32_t, tile);
    tile[threadIdx.x] = in[place()];
    __syncthreads();
    out[place()] = tile[blockDim.x - 1 - threadIdx.x];
}

static __global__ void turn_hastily(uint32_t *out, const uint32_t *in)
{
    CUDA_SHARED(uint32_t, tile);
    tile[threadIdx.x] = in[place()];
    out[place()] = tile[blockDim.x - 1 - threadIdx.x];
}

static __global__ void where(uint32_t *out)
{
    unsigned block = blockIdx.x + gridDim.x * blockIdx.y;
    unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    out[block * 24 + thread] = blockIdx.x << 24 | blockIdx.y << 16 | threadIdx.x << 8 | threadIdx.y << 4 | threadIdx.z;
}

static __global__ void unwritten(uint32_t *out)
{
    CUDA_SHARED(uint32_t, dynamic);
    CUDA_SHARED_ARRAY(uint32_t, declared, [64]);
    uint32_t a = dynamic[threadIdx.x], b = declared[threadIdx.x];
    __syncthreads();
    dynamic[threadIdx.x] = declared[threadIdx.x] = 0;
    out[place()] = a == b ? a : 0;
}

static __global__ void halves(uint32_t *out)
{
    CUDA_SHARED(uint32_t, tile);
    tile[threadIdx.x] = threadIdx.x;
    if (threadIdx.x < blockDim.x / 2) {
        out[place()] = 7;
        return;
    }
    __syncthreads();
    out[place()] = tile[threadIdx.x - blockDim.x / 2];
    __syncthreads();
}

static __global__ void forked_barrier(uint32_t *out)
{
    if (threadIdx.x % 2 == 0)
        __syncthreads();
    else
        __syncthreads();
    out[place()] = 1;
}

static __global__ void lone_barrier(uint32_t *out)
{
    if (threadIdx.x % 32 != 0)
        __syncwarp();
    else
        __syncthreads();
    out[place()] = 1;
}

static __global__ void shuffles(uint32_t *out, const uint32_t *in)
{
    uint32_t x = in[place()], lane = threadIdx.x % 32;
    x = 3 * x + __shfl_xor_sync(ALL_LANES, x, 5);
    x = 3 * x + __shfl_down_sync(ALL_LANES, x, 7);
    x = 3 * x + __shfl_up_sync(ALL_LANES, x, 9);
    x = 3 * x + __shfl_sync(ALL_LANES, x, 31 - lane);
    x = 3 * x + __shfl_xor_sync(ALL_LANES, x, 3, 8);
    x = 3 * x + __shfl_down_sync(ALL_LANES, x, 2, 8);
    x = 3 * x + __shfl_up_sync(ALL_LANES, x, 1, 8);
    x = 3 * x + __shfl_sync(ALL_LANES, x, lane + 11, 8);
    out[place()] = x;
}

static __global__ void lower_half(uint32_t *out, const uint32_t *in)
{
    bool is_lower = threadIdx.x % 32 < 16;
    uint32_t mask = is_lower ? 0xffffu : 0xffff0000u, x = in[place()];
    if (is_lower)
        for (int by = 8; by > 0; by /= 2)
            x += __shfl_xor_sync(mask, x, by);
    else
        for (int by = 8; by > 0; by /= 2)
            x ^= __shfl_xor_sync(mask, x, by);
    out[place()] = x;
}

static __global__ void votes(uint32_t *out, const uint32_t *in)
{
    uint32_t x = in[place()], r = __ballot_sync(ALL_LANES, x & 1);
    r += __any_sync(ALL_LANES, x == 5) ? 1000 : 0;
    r += __all_sync(ALL_LANES, x < 90) ? 2000 : 0;
    r += 10000 * (unsigned)__syncthreads_count(x & 2);
    r += __syncthreads_or(x == 17) ? 100000 : 0;
    r += __syncthreads_and(x < 99) ? 200000 : 0;
    out[place()] = r;
}

static __global__ void early_lanes(uint32_t *out, const uint32_t *in)
{
    out[place()] = 0;
    if (threadIdx.x % 32 > 20)
        return;
    uint32_t r = __ballot_sync(0x1fffffu, in[place()] & 1);
    __syncwarp(0x1fffffu);
    out[place()] = r;
}

struct brought {
    uint32_t value, sum;
};

static void sum_of_all(void *const *of_lane, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((const struct brought *)of_lane[i])->value;
    for (size_t i = 0; i < n; i++)
        ((struct brought *)of_lane[i])->sum = sum;
}

static __global__ void groups(uint32_t *out, const uint32_t *in)
{
    struct brought mine = {in[place()], 0};
    emulate_meet(128, &mine, sum_of_all);
    mine.value = mine.sum + threadIdx.x % 128;
    emulate_meet(128, &mine, sum_of_all);
    out[place()] = mine.sum;
}

static __global__ void hand_over(uint32_t *out, const uint32_t *in)
{
    CUDA_SHARED_ARRAY(uint32_t, slot, [32]);
    unsigned lane = threadIdx.x % 32;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 8; i++)
        if (threadIdx.x < 32) {
            slot[lane] = in[blockIdx.x * 64 + lane] + i;
            cuda_named_barrier(1, 64);
            cuda_named_barrier(2, 64);
        } else {
            cuda_named_barrier(1, 64);
            sum = 5 * sum + slot[31 - lane];
            cuda_named_barrier(2, 64);
        }
    out[place()] = sum;
}

static __global__ void atomics(uint32_t *out, const uint32_t *in)
{
    uint32_t x = in[place()];
    atomicAdd(out, x);
    atomicMax(out + 1, x);
    atomicOr(out + 2, x);
    atomicCAS(out + 3, out[3], out[3] + 1);
}

static __global__ void arithmetic(uint32_t *out, const uint32_t *in)
{
    int a = (int)in[0], b = (int)in[1], n = 0;
    float x = __uint_as_float(in[2]), y = __uint_as_float(in[3]);
    out[n++] = (uint32_t)__dp4a(a, b, 10);
    out[n++] = __dp4a(in[0], in[1], 10u);
    out[n++] = __float_as_uint(__fmaf_rn(x, y, 1.0f));
    out[n++] = __float_as_uint(__fadd_rn(__fmul_rn(x, y), 1.0f));
    out[n++] = (uint32_t)__float2int_rn(2.5f);
    out[n++] = (uint32_t)__float2int_rn(-0x1p40f);
    out[n++] = (uint32_t)__float2int_rn(__uint_as_float(0x7fc00000));
    out[n++] = (uint32_t)__clz(1);
    out[n++] = (uint32_t)__clz(0);
    out[n++] = __byte_perm(0x33221100u, 0x77665544u, 0x7250u);
    out[n++] = __funnelshift_l(0x80000001u, 0x00000010u, 4);
    out[n++] = __float_as_uint(__ll2float_rn(0x1000001000001ll));
    out[n++] = (uint32_t)__popc(0xf0f0u);
    out[n++] = __umulhi(0x80000000u, 6u);
    out[n++] = (uint32_t)__float2int_rz(-2.9f);
    out[n++] = __float_as_uint(fminf(__uint_as_float(0x7fc00000), 3.0f));
}

#define SHARED_BYTES(n_threads) ((n_threads) * sizeof(uint32_t))

void play_turn(uint32_t *out, const uint32_t *in, unsigned n_blocks, unsigned n_threads)
{
    CUDA_LAUNCH(turn, n_blocks, n_threads, SHARED_BYTES(n_threads), out, in);
}

void play_turn_hastily(uint32_t *out, const uint32_t *in, unsigned n_blocks, unsigned n_threads)
{
    CUDA_LAUNCH(turn_hastily, n_blocks, n_threads, SHARED_BYTES(n_threads), out, in);
}

void play_where(uint32_t *out, const uint32_t *, unsigned n_blocks, unsigned)
{
    CUDA_LAUNCH(where, dim3(n_blocks, 3), dim3(4, 3, 2), 0, out);
}

void play_unwritten(uint32_t *out, const uint32_t *, unsigned n_blocks, unsigned n_threads)
{
    CUDA_LAUNCH(unwritten, n_blocks, n_threads, SHARED_BYTES(n_threads), out);
}

void play_halves(uint32_t *out, const uint32_t *, unsigned n_blocks, unsigned n_threads)
{
    CUDA_LAUNCH(halves, n_blocks, n_threads, SHARED_BYTES(n_threads), out);
}

void play_forked_barrier(uint32_t *out, const uint32_t *, unsigned n_blocks, unsigned n_threads)
{
    CUDA_LAUNCH(forked_barrier, n_blocks, n_threads, 0, out);
}

void play_lone_barrier(uint32_t *out, const uint32_t *, unsigned n_blocks, unsigned n_threads)
{
    CUDA_LAUNCH(lone_barrier, n_blocks, n_threads, 0, out);
}

void play_shuffles(uint32_t *out, const uint32_t *in, unsigned n_blocks, unsigned n_threads)
{
    CUDA_LAUNCH(shuffles, n_blocks, n_threads, 0, out, in);
}

void play_lower_half(uint32_t *out, const uint32_t *in, unsigned n_blocks, unsigned n_threads)
{
    CUDA_LAUNCH(lower_half, n_blocks, n_threads, 0, out, in);
}

void play_votes(uint32_t *out, const uint32_t *in, unsigned n_blocks, unsigned n_threads)
{
    CUDA_LAUNCH(votes, n_blocks, n_threads, 0, out, in);
}

void play_early_lanes(uint32_t *out, const uint32_t *in, unsigned n_blocks, unsigned n_threads)
{
    CUDA_LAUNCH(early_lanes, n_blocks, n_threads, 0, out, in);
}

void play_groups(uint32_t *out, const uint32_t *in, unsigned n_blocks, unsigned n_threads)
{
    CUDA_LAUNCH(groups, n_blocks, n_threads, 0, out, in);
}

void play_hand_over(uint32_t *out, const uint32_t *in, unsigned n_blocks, unsigned n_threads)
{
    CUDA_LAUNCH(hand_over, n_blocks, n_threads, 0, out, in);
}

void play_atomics(uint32_t *out, const uint32_t *in, unsigned n_blocks, unsigned n_threads)
{
    CUDA_LAUNCH(atomics, n_blocks, n_threads, 0, out, in);
}

void play_arithmetic(uint32_t *out, const uint32_t *in, unsigned, unsigned)
{
    CUDA_LAUNCH(arithmetic, 1, 1, 0, out, in);
}
