/* router/view.c - what the router knows of the swarm: each live expert, by whom it is hosted and how far away that is. */
#include "router/state.h"

#define LOAD_UNIT 64 /* token-slots, as message.h has it in claims */

static const struct claim *claim_of(const struct target *target)
{
    for (size_t i = 0; i < target->n_claims; i++)
        if ((int32_t)target->claim[i].peer_i == target->peer_i)
            return &target->claim[i];
    return NULL;
}

static struct router_expert describe(const struct router *router, size_t t, const struct claim *claim)
{
    const struct target *target = &router->target[t];
    const struct peer *peer = &router->peer[claim->peer_i];
    return (struct router_expert){.moe = (uint32_t)(t / router->config.E),
                                  .expert = (uint32_t)(t % router->config.E),
                                  .peer = peer->id,
                                  .addr = peer->addr,
                                  .epoch = claim->epoch,
                                  .version = claim->version,
                                  .load = target->has_load ? target->load : (uint64_t)claim->load * LOAD_UNIT,
                                  .hardware = peer->hardware,
                                  .rtt_us = peer->distance_us};
}

size_t router_view(const struct router *router, struct router_expert *out, size_t max)
{
    size_t n = 0;
    for (size_t t = 0; t < (size_t)router->config.n_moe * router->config.E; t++) {
        const struct claim *claim = router->allowed[t] ? claim_of(&router->target[t]) : NULL;
        const struct peer *peer = claim ? &router->peer[claim->peer_i] : NULL;
        bool is_live = peer && !peer->is_on_trial && (peer->state == PEER_READY || peer->state == PEER_LOCAL);
        if (is_live && n < max)
            out[n] = describe(router, t, claim);
        n += is_live;
    }
    return n;
}
