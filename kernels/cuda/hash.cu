/* cuda/hash.cu - SHA-256 (FIPS 180-4) of many leaves, a thread a leaf.
 *
 * Within a leaf each block waits for the one before, so a warp is busy with 64 rounds (some 2000 cycles) between two
 * reads of 64 bytes a lane.  The next block is therefore read while the last is worked on, each lane its own whole
 * sectors: where memory lies does not show, and few leaves take as long as many. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"

#define BLOCK_BYTES ((size_t)64)
#define DIGEST_BYTES 32
#define THREADS 32u /* of a block: one warp, so that leaves spread over the device's units */
#define WORDS 16
#define ROUNDS 64
#define LENGTH_BYTES 8
#define END_MARK 0x80u

/* Section 4.2.2: the first 32 bits of the fractions of the cube roots of the first 64 primes. */
static __constant__ uint32_t round_constant[ROUNDS] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static __device__ __forceinline__ uint32_t turned(uint32_t x, unsigned by)
{
    return __funnelshift_r(x, x, by);
}
static __device__ __forceinline__ uint32_t big_sigma0(uint32_t x)
{
    return turned(x, 2) ^ turned(x, 13) ^ turned(x, 22);
}
static __device__ __forceinline__ uint32_t big_sigma1(uint32_t x)
{
    return turned(x, 6) ^ turned(x, 11) ^ turned(x, 25);
}
static __device__ __forceinline__ uint32_t small_sigma0(uint32_t x)
{
    return turned(x, 7) ^ turned(x, 18) ^ x >> 3;
}
static __device__ __forceinline__ uint32_t small_sigma1(uint32_t x)
{
    return turned(x, 17) ^ turned(x, 19) ^ x >> 10;
}

/* Section 6.2.2, with the 16 words of the schedule that are needed at a time. */
static __device__ __forceinline__ void compress(uint32_t state[8], uint32_t w[WORDS])
{
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
#pragma unroll 1
    for (int first = 0; first < ROUNDS; first += WORDS) {
#pragma unroll
        for (int i = 0; i < WORDS; i++) {
            if (first > 0)
                w[i] += small_sigma0(w[(i + 1) % WORDS]) + w[(i + 9) % WORDS] + small_sigma1(w[(i + 14) % WORDS]);
            uint32_t choice = (e & f) ^ (~e & g), majority = (a & b) ^ (a & c) ^ (b & c);
            uint32_t t1 = h + big_sigma1(e) + choice + round_constant[first + i] + w[i], t2 = big_sigma0(a) + majority;
            h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
        }
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

/* W bytes as one access. */
template <int W> struct alignas(W) piece {
    uint8_t at[W];
};

/* The words of a whole block, big-endian, W bytes at a time. */
template <int W> static __device__ __forceinline__ void read_whole(uint32_t w[WORDS], const uint8_t *at)
{
    piece<W> all[BLOCK_BYTES / W];
#pragma unroll
    for (size_t i = 0; i < BLOCK_BYTES / W; i++)
        all[i] = *((const piece<W> *)at + i);
#pragma unroll
    for (size_t i = 0; i < WORDS; i++) {
        w[i] = 0;
#pragma unroll
        for (size_t k = 4 * i; k < 4 * i + 4; k++)
            w[i] = w[i] << 8 | all[k / W].at[k % W];
    }
}

/* Section 5.1.1: what is left of n bytes from block `b` on, a bit, zeros, and the length in bits. */
static __device__ void read_padded(uint32_t w[WORDS], const uint8_t *leaf, size_t n, size_t b, bool is_last)
{
#pragma unroll 1
    for (size_t i = 0; i < WORDS; i++) {
        uint32_t word = 0;
        for (size_t k = b * BLOCK_BYTES + 4 * i; k < b * BLOCK_BYTES + 4 * i + 4; k++)
            word = word << 8 | (k < n ? leaf[k] : k == n ? END_MARK : 0);
#pragma unroll
        for (size_t j = 0; j < WORDS; j++) /* by a number that is known, to keep w in registers */
            w[j] = j == i ? word : w[j];
    }
    if (is_last) {
        w[WORDS - 2] = (uint32_t)(n >> 29);
        w[WORDS - 1] = (uint32_t)(n << 3);
    }
}

template <int W>
static __device__ __forceinline__ void read(uint32_t w[WORDS], const uint8_t *leaf, size_t n, size_t b, size_t n_blocks)
{
    if (b < n / BLOCK_BYTES)
        read_whole<W>(w, leaf + b * BLOCK_BYTES);
    else
        read_padded(w, leaf, n, b, b + 1 == n_blocks);
}

template <int W>
static __global__ void __launch_bounds__(THREADS)
    hash_leaves(uint8_t *digest, const uint8_t *bytes, size_t n_bytes, size_t leaf_bytes)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i * leaf_bytes >= n_bytes)
        return;
    const uint8_t *leaf = bytes + i * leaf_bytes;
    size_t left = n_bytes - i * leaf_bytes, n = left < leaf_bytes ? left : leaf_bytes;
    size_t n_blocks = (n + LENGTH_BYTES) / BLOCK_BYTES + 1;
    /* Section 5.3.3: of the square roots of the first 8 primes. */
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint32_t w[WORDS] = {0}, next[WORDS] = {0};
    read<W>(next, leaf, n, 0, n_blocks);
#pragma unroll 1
    for (size_t b = 1; b <= n_blocks; b++) {
#pragma unroll
        for (int j = 0; j < WORDS; j++)
            w[j] = next[j];
        if (b < n_blocks)
            read<W>(next, leaf, n, b, n_blocks);
        compress(state, w);
    }
    for (int j = 0; j < DIGEST_BYTES; j++)
        digest[i * DIGEST_BYTES + j] = (uint8_t)(state[j / 4] >> (24 - 8 * (j % 4)));
}

void cuda_hash_leaves(uint8_t *digest, const void *bytes, size_t n_bytes, size_t leaf_bytes)
{
    if (n_bytes == 0)
        return;
    uintptr_t all = (uintptr_t)bytes | leaf_bytes;
    size_t n_leaves = (n_bytes - 1) / leaf_bytes + 1;
    dim3 grid((unsigned)((n_leaves + THREADS - 1) / THREADS));
    if (all % 16 == 0)
        CUDA_LAUNCH((hash_leaves<16>), grid, THREADS, 0, digest, (const uint8_t *)bytes, n_bytes, leaf_bytes);
    else if (all % 4 == 0)
        CUDA_LAUNCH((hash_leaves<4>), grid, THREADS, 0, digest, (const uint8_t *)bytes, n_bytes, leaf_bytes);
    else
        CUDA_LAUNCH((hash_leaves<1>), grid, THREADS, 0, digest, (const uint8_t *)bytes, n_bytes, leaf_bytes);
}
