/* ref/gate.c - choosing experts and weighing their answers. */
#include "kernels/ref/gate.h"

#include <math.h>

#include "kernels/ref/math.h"
#include "kernels/ref/ref.h"

/* Puts e into the list of the K best so far;  Equal values stay behind earlier ones. */
static size_t insert(int32_t *pick, const float *score, const float *bias, size_t n, size_t K, size_t e)
{
    float value = score[e] + bias[e];
    size_t at = n;
    while (at > 0 && value > score[pick[at - 1]] + bias[pick[at - 1]])
        at--;
    if (at == K || isnan(value))
        return n;
    if (n < K)
        n++;
    for (size_t k = n - 1; k > at; k--)
        pick[k] = pick[k - 1];
    pick[at] = (int32_t)e;
    return n;
}

void ref_gate_topk(int32_t *pick, const float *score, const float *bias, const uint8_t *allowed, size_t T, size_t K, size_t E)
{
    for (size_t t = 0; t < T; t++) {
        size_t n = 0;
        for (size_t e = 0; e < E; e++)
            if (allowed[e])
                n = insert(pick + t * K, score + t * E, bias, n, K, e);
        for (; n < K; n++)
            pick[t * K + n] = -1;
    }
}

static bool counts(const int32_t *pick, const uint8_t *answered, size_t k)
{
    return pick[k] >= 0 && answered[k];
}

static float sum_of_answered(const float *score, const int32_t *pick, const uint8_t *answered, size_t K)
{
    float sum = 0.0f;
    for (size_t k = 0; k < K; k++)
        if (counts(pick, answered, k))
            sum = sum + score[pick[k]];
    return sum;
}

void ref_gate_weight(float *weight, const float *score, const int32_t *pick, const uint8_t *answered, size_t T, size_t K,
                     size_t E)
{
    for (size_t t = 0; t < T; t++, score += E, pick += K, answered += K, weight += K) {
        float sum = sum_of_answered(score, pick, answered, K);
        for (size_t k = 0; k < K; k++)
            weight[k] = counts(pick, answered, k) && sum > 0.0f ? score[pick[k]] / sum : 0.0f;
    }
}

/* d weight_j / d score_k = (1[j = k] - weight_j) / sum */
void ref_gate_weight_grad(float *gscore, const float *gweight, const float *weight, const float *score, const int32_t *pick,
                          const uint8_t *answered, size_t T, size_t K, size_t E)
{
    for (size_t t = 0; t < T; t++, gscore += E, gweight += K, weight += K, score += E, pick += K, answered += K) {
        for (size_t e = 0; e < E; e++)
            gscore[e] = 0.0f;
        float sum = sum_of_answered(score, pick, answered, K);
        if (!(sum > 0.0f))
            continue;
        float mean = 0.0f;
        for (size_t k = 0; k < K; k++)
            if (counts(pick, answered, k))
                mean = fmaf(gweight[k], weight[k], mean);
        for (size_t k = 0; k < K; k++)
            if (counts(pick, answered, k))
                gscore[pick[k]] = (gweight[k] - mean) / sum;
    }
}

/* A weight of 0 stands for no answer: what lies in y there is not looked at. */
void ref_gate_combine(float *out, const float *weight, const float *y, size_t T, size_t K, size_t D)
{
    for (size_t slot = 0; slot < T * K; slot++)
        if (weight[slot] != 0.0f)
            ref_axpy(out + slot / K * D, weight[slot], y + slot * D, D);
}

void ref_gate_combine_grad(float *gweight, const float *gout, const float *y, const int32_t *pick, const uint8_t *answered,
                           size_t T, size_t K, size_t D)
{
    for (size_t slot = 0; slot < T * K; slot++)
        gweight[slot] = counts(pick, answered, slot) ? ref_dot(gout + slot / K * D, y + slot * D, D) : 0.0f;
}

void ref_gate_scatter(float *out, const float *gx, const int32_t *pick, const uint8_t *answered, size_t T, size_t K, size_t D)
{
    for (size_t slot = 0; slot < T * K; slot++)
        if (counts(pick, answered, slot))
            ref_axpy(out + slot / K * D, 1.0f, gx + slot * D, D);
}

/* The gradient of lse^2 is 2 lse softmax.  Two passes of exp, so that no scratch is needed. */
static float log_sum_exp(float *max, float *sum, const float *x, size_t E)
{
    *max = x[0];
    for (size_t e = 1; e < E; e++)
        *max = x[e] > *max ? x[e] : *max;
    float lane[REF_LANES] = {0};
    for (size_t e = 0; e < E; e++)
        lane[e % REF_LANES] = lane[e % REF_LANES] + ref_exp(x[e] - *max);
    *sum = ref_lanes_sum(lane);
    return ref_log(*sum) + *max;
}

void ref_gate_zloss(float *lse, float *glogit, const float *logit, float scale, size_t T, size_t E)
{
    for (size_t t = 0; t < T; t++) {
        float max, sum;
        lse[t] = log_sum_exp(&max, &sum, logit + t * E, E);
        float slope = ((2.0f * scale) * lse[t]) / sum;
        for (size_t e = 0; e < E; e++)
            glogit[t * E + e] = fmaf(slope, ref_exp(logit[t * E + e] - max), glogit[t * E + e]);
    }
}

float ref_gate_zloss_sum(const float *lse, float scale, size_t T)
{
    float total = 0.0f;
    for (size_t t = 0; t < T; t++)
        total = fmaf(lse[t], lse[t], total);
    return total * scale;
}
