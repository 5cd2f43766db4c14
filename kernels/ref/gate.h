/**
 * kernels/ref/gate.h - choosing experts for tokens, weighing their answers, and the gradient of both.
 *
 * Scores are sigmoids (they do not compete, so a missing expert does not change the others' scores).  Selection
 * looks at score + bias; the weight is the score, renormalized over the chosen experts that answered.
 */
#ifndef KERNELS_REF_GATE_H
#define KERNELS_REF_GATE_H

#include <stddef.h>
#include <stdint.h>

/**
 * For each token its K experts with the largest score + bias among those allowed; ties go to the lower index.
 *   pick (T, K) i32 out, best first, -1 where fewer than K experts are allowed; a score that is NaN is never picked
 *   score (T, E) in     bias (E) in     allowed (E) u8 in, 0 means not a candidate
 */
void ref_gate_topk(int32_t *pick, const float *score, const float *bias, const uint8_t *allowed, size_t T, size_t K, size_t E);

/**
 * weight (T, K) = score of the pick / sum over the token's answered picks (in order of k, from +0); 0 where
 * answered (T, K) u8 is 0.  A token with no answer gets all 0.
 */
void ref_gate_weight(float *weight, const float *score, const int32_t *pick, const uint8_t *answered, size_t T, size_t K,
                     size_t E);

/** gscore (T, E) overwritten from gweight (T, K): the gradient of ref_gate_weight with respect to the scores. */
void ref_gate_weight_grad(float *gscore, const float *gweight, const float *weight, const float *score, const int32_t *pick,
                          const uint8_t *answered, size_t T, size_t K, size_t E);

/** out (T, D) += sum over k ascending of weight (T, K) * y (T, K, D), one fmaf each.
 * Slots of weight 0 are left out and their y is not read. */
void ref_gate_combine(float *out, const float *weight, const float *y, size_t T, size_t K, size_t D);

/** gweight (T, K) = <gout, y> as row sums, 0 where there was no answer. */
void ref_gate_combine_grad(float *gweight, const float *gout, const float *y, const int32_t *pick, const uint8_t *answered,
                           size_t T, size_t K, size_t D);

/** out (T, D) += the gradients gx (T, K, D) of the slots that were answered, k ascending. */
void ref_gate_scatter(float *out, const float *gx, const int32_t *pick, const uint8_t *answered, size_t T, size_t K, size_t D);

/**
 * Router z-loss: adds to glogit (T, E) the gradient of scale * sum over tokens of lse^2, lse (T) = logsumexp(logit).
 * Zoph et al., "ST-MoE", 2022, equation 5.
 */
void ref_gate_zloss(float *lse, float *glogit, const float *logit, float scale, size_t T, size_t E);

/** That sum times scale: one chain over tokens. */
float ref_gate_zloss_sum(const float *lse, float scale, size_t T);

#endif
