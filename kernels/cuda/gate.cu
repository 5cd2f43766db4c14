/* cuda/gate.cu - weighing experts' answers, and the gradient of it: kernels/ref/gate.h, all tokens side by side. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/floats.cuh"
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"

#define WARPS 8u /* of a block, where a warp has a token or a slot */

static dim3 warp_grid(size_t n)
{
    return dim3((unsigned)((n + WARPS - 1) / WARPS));
}

/* What the gate knows of T tokens. */
struct gate {
    const float *score;
    const int32_t *pick;
    const uint8_t *answered;
    size_t T, K, E;
};

static __device__ __forceinline__ bool counts(struct gate gate, size_t slot)
{
    return gate.pick[slot] >= 0 && gate.answered[slot];
}

/* A slot's score. */
static __device__ __forceinline__ float score_of(struct gate gate, size_t t, size_t slot)
{
    return gate.score[t * gate.E + gate.pick[slot]];
}

static __device__ float sum_of_answered(struct gate gate, size_t t)
{
    float sum = 0.0f;
    for (size_t slot = t * gate.K; slot < (t + 1) * gate.K; slot++)
        if (counts(gate, slot))
            sum = __fadd_rn(sum, score_of(gate, t, slot));
    return sum;
}

static __global__ void gate_weight(float *weight, struct gate gate)
{
    size_t t = floats_mine<1>();
    if (t >= gate.T)
        return;
    float sum = sum_of_answered(gate, t);
    for (size_t slot = t * gate.K; slot < (t + 1) * gate.K; slot++)
        weight[slot] = counts(gate, slot) && sum > 0.0f ? __fdiv_rn(score_of(gate, t, slot), sum) : 0.0f;
}

void cuda_gate_weight(float *weight, const float *score, const int32_t *pick, const uint8_t *answered, size_t T, size_t K,
                      size_t E)
{
    struct gate gate = {score, pick, answered, T, K, E};
    if (T > 0)
        CUDA_LAUNCH(gate_weight, floats_grid(T, 1), FLOATS_THREADS, 0, weight, gate);
}

/* A warp a token: every lane works out the sum and the mean, clears its columns and fills in what of the picks is its. */
static __global__ void __launch_bounds__(LANES *WARPS)
    gate_weight_grad(float *gscore, const float *gweight, const float *weight, struct gate gate)
{
    size_t t = (size_t)blockIdx.x * WARPS + threadIdx.y, first = t * gate.K;
    if (t >= gate.T)
        return;
    for (size_t e = threadIdx.x; e < gate.E; e += LANES)
        gscore[t * gate.E + e] = 0.0f;
    float sum = sum_of_answered(gate, t), mean = 0.0f;
    if (!(sum > 0.0f))
        return;
    for (size_t slot = first; slot < first + gate.K; slot++)
        if (counts(gate, slot))
            mean = __fmaf_rn(gweight[slot], weight[slot], mean);
    for (size_t slot = first; slot < first + gate.K; slot++)
        if (counts(gate, slot) && (uint32_t)gate.pick[slot] % LANES == threadIdx.x)
            gscore[t * gate.E + gate.pick[slot]] = __fdiv_rn(__fsub_rn(gweight[slot], mean), sum);
}

void cuda_gate_weight_grad(float *gscore, const float *gweight, const float *weight, const float *score, const int32_t *pick,
                           const uint8_t *answered, size_t T, size_t K, size_t E)
{
    struct gate gate = {score, pick, answered, T, K, E};
    if (T > 0)
        CUDA_LAUNCH(gate_weight_grad, warp_grid(T), dim3(LANES, WARPS), 0, gscore, gweight, weight, gate);
}

/* out row t takes in K rows from slot t K on, k ascending.  Without `weight` they count as they are, where answered. */
template <int W> static __global__ void add_slots(float *out, const float *weight, const float *slots, struct gate gate, size_t D)
{
    size_t t = tiles_row(), c = tiles_step() * W;
    if (t >= gate.T || c >= D)
        return;
    floats<W> sum = *(floats<W> *)(out + t * D + c);
    for (size_t slot = t * gate.K; slot < (t + 1) * gate.K; slot++) {
        float a = weight ? weight[slot] : 1.0f;
        if (weight ? a == 0.0f : !counts(gate, slot))
            continue;
        floats<W> v = *(const floats<W> *)(slots + slot * D + c);
#pragma unroll
        for (int w = 0; w < W; w++)
            sum.at[w] = __fmaf_rn(a, v.at[w], sum.at[w]);
    }
    *(floats<W> *)(out + t * D + c) = sum;
}

static void add(float *out, const float *weight, const float *slots, struct gate gate, size_t D)
{
    if (gate.T == 0 || gate.K == 0 || D == 0)
        return;
    bool is_wide = D % FLOATS_WIDE == 0 && floats_wide(out, slots);
    struct tiles t = tiles_of(gate.T, is_wide ? D / FLOATS_WIDE : D);
    if (is_wide)
        CUDA_LAUNCH((add_slots<FLOATS_WIDE>), t.grid, t.block, 0, out, weight, slots, gate, D);
    else
        CUDA_LAUNCH((add_slots<1>), t.grid, t.block, 0, out, weight, slots, gate, D);
}

void cuda_gate_combine(float *out, const float *weight, const float *y, size_t T, size_t K, size_t D)
{
    add(out, weight, y, {NULL, NULL, NULL, T, K, 0}, D);
}

void cuda_gate_scatter(float *out, const float *gx, const int32_t *pick, const uint8_t *answered, size_t T, size_t K, size_t D)
{
    add(out, NULL, gx, {NULL, pick, answered, T, K, 0}, D);
}

/* A warp a slot. */
static __global__ void __launch_bounds__(LANES *WARPS)
    gate_combine_grad(float *gweight, const float *gout, const float *y, struct gate gate, size_t D)
{
    size_t slot = (size_t)blockIdx.x * WARPS + threadIdx.y;
    if (slot >= gate.T * gate.K)
        return;
    float sum = counts(gate, slot) ? lanes_dot(gout + slot / gate.K * D, y + slot * D, D, threadIdx.x) : 0.0f;
    if (threadIdx.x == 0)
        gweight[slot] = sum;
}

void cuda_gate_combine_grad(float *gweight, const float *gout, const float *y, const int32_t *pick, const uint8_t *answered,
                            size_t T, size_t K, size_t D)
{
    struct gate gate = {NULL, pick, answered, T, K, 0};
    if (T * K > 0)
        CUDA_LAUNCH(gate_combine_grad, warp_grid(T * K), dim3(LANES, WARPS), 0, gweight, gout, y, gate, D);
}

/* A warp a token. */
static __global__ void __launch_bounds__(LANES *WARPS)
    gate_zloss(float *lse, float *glogit, const float *logit, float two_scale, size_t T, size_t E)
{
    size_t t = (size_t)blockIdx.x * WARPS + threadIdx.y;
    if (t >= T)
        return;
    const float *x = logit + t * E;
    float max = -math_infinity(), sum = 0.0f;
    for (size_t e = threadIdx.x; e < E; e += LANES)
        max = x[e] > max ? x[e] : max;
    max = lanes_max(max);
    for (size_t e = threadIdx.x; e < E; e += LANES)
        sum = __fadd_rn(sum, math_exp(__fsub_rn(x[e], max)));
    sum = lanes_sum(sum);
    float y = __fadd_rn(math_log(sum), max), slope = __fdiv_rn(__fmul_rn(two_scale, y), sum);
    if (threadIdx.x == 0)
        lse[t] = y;
    for (size_t e = threadIdx.x; e < E; e += LANES)
        glogit[t * E + e] = __fmaf_rn(slope, math_exp(__fsub_rn(x[e], max)), glogit[t * E + e]);
}

void cuda_gate_zloss(float *lse, float *glogit, const float *logit, float scale, size_t T, size_t E)
{
    if (T > 0 && E > 0)
        CUDA_LAUNCH(gate_zloss, warp_grid(T), dim3(LANES, WARPS), 0, lse, glogit, logit, 2.0f * scale, T, E);
}
