/* router/balance.c - biases that even out the load of the whole swarm, from the counters that hosts put in their replies. */
#include "router/state.h"

#define BIAS_MAX 1.0f

/* Counters only grow, except when an expert restarts from a checkpoint: then we start over from what it says now. */
void router_balance_hear(struct router *router, uint32_t moe, uint32_t expert, uint64_t load)
{
    struct target *target = &router->target[moe * router->config.E + expert];
    if (target->has_load_before && load < target->load_before)
        target->has_load_before = false;
    target->load = load;
    target->has_load = true;
}

static float clamp(float x, float limit)
{
    if (x > limit)
        return limit;
    return x < -limit ? -limit : x;
}

static void balance_layer(struct router *router, struct target *target, float *bias)
{
    uint64_t sum = 0;
    size_t n = 0;
    for (uint32_t e = 0; e < router->config.E; e++) {
        if (!target[e].has_load || !target[e].has_load_before)
            continue;
        sum += target[e].load - target[e].load_before;
        n++;
    }
    float mean = n ? (float)sum / (float)n : 0;
    for (uint32_t e = 0; e < router->config.E; e++) {
        if (mean > 0 && target[e].has_load && target[e].has_load_before) {
            float load = (float)(target[e].load - target[e].load_before);
            bias[e] = clamp(bias[e] + router->config.bias_rate * clamp((mean - load) / mean, 1), BIAS_MAX);
        }
        target[e].load_before = target[e].load;
        target[e].has_load_before = target[e].has_load;
    }
}

void router_balance(struct router *router)
{
    uint32_t E = router->config.E;
    for (uint32_t moe = 0; moe < router->config.n_moe; moe++)
        balance_layer(router, &router->target[moe * E], &router->bias[moe * E]);
}

void router_balance_get(const struct router *router, uint32_t moe, float *bias, int64_t *load)
{
    for (uint32_t e = 0; e < router->config.E; e++) {
        const struct target *target = &router->target[moe * router->config.E + e];
        bias[e] = router->bias[moe * router->config.E + e];
        load[e] = target->has_load_before ? (int64_t)target->load_before : -1;
    }
}

void router_balance_set(struct router *router, uint32_t moe, const float *bias, const int64_t *load)
{
    for (uint32_t e = 0; e < router->config.E; e++) {
        struct target *target = &router->target[moe * router->config.E + e];
        router->bias[moe * router->config.E + e] = clamp(bias[e], BIAS_MAX);
        target->has_load = target->has_load_before = load[e] >= 0;
        target->load = target->load_before = load[e] >= 0 ? (uint64_t)load[e] : 0;
    }
}
