/* cpu/gate.c - the answers of experts, weighed, and the gradients of both: a vector at a time. */
#include "kernels/cpu/cpu.h"

static bool counts(const int32_t *pick, const uint8_t *answered, size_t slot)
{
    return pick[slot] >= 0 && answered[slot];
}

void CPU(gate_combine)(float *out, const float *weight, const float *y, size_t T, size_t K, size_t D)
{
    for (size_t slot = 0; slot < T * K; slot++)
        if (weight[slot] != 0.0f)
            CPU(axpy)(out + slot / K * D, weight[slot], y + slot * D, D);
}

void CPU(gate_combine_grad)(float *gweight, const float *gout, const float *y, const int32_t *pick, const uint8_t *answered,
                            size_t T, size_t K, size_t D)
{
    for (size_t slot = 0; slot < T * K; slot++)
        gweight[slot] = counts(pick, answered, slot) ? CPU(dot)(gout + slot / K * D, y + slot * D, D) : 0.0f;
}

void CPU(gate_scatter)(float *out, const float *gx, const int32_t *pick, const uint8_t *answered, size_t T, size_t K, size_t D)
{
    for (size_t slot = 0; slot < T * K; slot++)
        if (counts(pick, answered, slot))
            CPU(axpy)(out + slot / K * D, 1.0f, gx + slot * D, D);
}
