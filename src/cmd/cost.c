/* cmd/cost.c - sums over layers. */
#include "cmd/cost.h"

#include "experts/expert.h"
#include "router/rows.h"

#define FLOAT_BYTES 4.0
#define STATE_FLOATS 4 /* a parameter, two moments, a gradient */
#define VOCABULARY 256
#define SLICES 2
#define SLOT_FORWARD_BYTES 4  /* its row's number: router/message.h */
#define SLOT_BACKWARD_BYTES 8 /* and its weight */
#define NEWTON_SCHULZ_ITERATIONS 5

/* Forward takes one product of (token, matrix), backward two. */
#define PASSES 3

/* In an expert: three products forward; backward does two of them again, then three for rows and three for weights. */
#define EXPERT_PRODUCTS 11

static double hidden_of(const struct run *run, uint32_t layer)
{
    return run->is_moe[layer] ? run->shared_hidden : run->hidden;
}

static bool has_latent(const struct run *run, uint32_t layer)
{
    return run->is_moe[layer] && run->latent < run->width;
}

/* -- Memory ----------------------------------------------------------------------------------------- */

/* With trunk i8x2: each activation that products read has two slices and an exponent besides its floats; and the
 * rounded gradient of one product with the packed operand, both of the widest. */
static double rounded_token_bytes(const struct run *run)
{
    double D = run->width, d = run->latent, n_inputs = 1, n = D, widest = D > VOCABULARY ? D : VOCABULARY;
    if (run->trunk != RUN_TRUNK_I8X2)
        return 0;
    for (uint32_t layer = 0; layer < run->layers; layer++) {
        double H = hidden_of(run, layer);
        n_inputs += 4 + has_latent(run, layer);
        n += 3 * D + H + (has_latent(run, layer) ? d : 0);
        widest = H > widest ? H : widest;
    }
    return SLICES * n + n_inputs + SLICES * 2 * widest;
}

/* Rows and their gradients as they travel, besides the floats they were rounded from. */
static double travelling_token_bytes(const struct run *run)
{
    double slices = (double)numerics_slices(run->expert_numerics);
    return slices > 0 ? run->n_moe * 2 * (1 + slices * run->latent) : 0;
}

double cost_tape_bytes(const struct run *run, size_t B, size_t T)
{
    double N = (double)B * (double)T, D = run->width, d = run->latent, K = run->chosen, E = run->experts, widest = 0;
    double token = 3 + VOCABULARY + D + 1 + (2 * run->layers + 1) * D;
    for (uint32_t layer = 0; layer < run->layers; layer++) {
        double H = hidden_of(run, layer);
        token += 8 * D + 2 + 2 * run->heads + 3 * H + (has_latent(run, layer) ? d : 0);
        token += run->heads * (double)T; /* the attention's probabilities */
        widest = H > widest ? H : widest;
    }
    token += run->n_moe * (2 * d + 2 * E + 2 * K * d + 2 * K + K / 4 + 1);
    token += 5 * D + widest + d + K + E;
    return FLOAT_BYTES * (N * token + (double)T * (double)T + (double)run_trunk_params(run)) +
           N * (rounded_token_bytes(run) + travelling_token_bytes(run));
}

/* -- Arithmetic ------------------------------------------------------------------------------------- */

/* One Newton-Schulz iteration on (m, n), m the smaller: x x^T, its square, and their product with x. */
static double newton_schulz(double a, double b)
{
    double m = a < b ? a : b, n = a < b ? b : a;
    return NEWTON_SCHULZ_ITERATIONS * (4 * m * m * n + 2 * m * m * m);
}

static double update_of_layer(const struct run *run, uint32_t layer)
{
    double D = run->width, H = hidden_of(run, layer);
    double sum = 4 * newton_schulz(D, D) + 3 * newton_schulz(D, H);
    return sum + (has_latent(run, layer) ? 2 * newton_schulz(D, run->latent) : 0);
}

static void add_arithmetic(struct cost *cost, const struct run *run)
{
    double D = run->width;
    cost->trunk_per_token = PASSES * 2 * (cost->trunk_params - VOCABULARY * D); /* the embedding is looked up */
    for (uint32_t layer = 0; layer < run->layers; layer++) {
        cost->trunk_per_token += PASSES * 2 * D * run->context; /* attention over half the context on average, twice */
        cost->trunk_per_step += update_of_layer(run, layer);
    }
    cost->hosts_per_token = (double)run->n_moe * run->chosen * EXPERT_PRODUCTS * 2 * run->latent * run->expert_hidden;
}

/* -- The wire --------------------------------------------------------------------------------------- */

double cost_hosts_per_token(uint32_t experts, uint32_t chosen, uint32_t n_hosts)
{
    double miss = 1, share = (double)experts / n_hosts;
    if (n_hosts >= experts)
        return chosen;
    for (uint32_t i = 0; i < chosen; i++) /* no pick falls to a given host */
        miss *= experts - share - i > 0 ? (experts - share - i) / (experts - i) : 0;
    return n_hosts * (1 - miss);
}

/* router/rows.h, with the zeros behind a message's exponents left out. */
static double row_bytes(enum numerics form, double D)
{
    return form == NUMERICS_F32 ? FLOAT_BYTES * D : 1 + (double)numerics_slices(form) * D;
}

/* A row travels once to each host, its answers come one a pick. */
struct cost_wire cost_wire_of(const struct run *run, enum numerics form)
{
    double row = row_bytes(form, run->latent), answer = row_bytes(rows_answer_form(form), run->latent), K = run->chosen;
    double n_hosts = cost_hosts_per_token(run->experts, run->chosen, run->hosts);
    return (struct cost_wire){.up = run->n_moe * (2 * n_hosts * row + K * (SLOT_FORWARD_BYTES + SLOT_BACKWARD_BYTES)),
                              .down = run->n_moe * 2 * K * answer};
}

/* experts/integers.h: the weights' integers as they lay and packed both ways; the rows of a block, and room to round and pack its
 * gradients in. */
static double rounded_weight_bytes(const struct run *run)
{
    double slices = (double)numerics_slices(run->expert_numerics), coarse = run->expert_coarse ? 1 : 0;
    return 3 * (slices + coarse) * (double)run_expert_params(run);
}

static double block_bytes(const struct run *run)
{
    double slices = (double)numerics_slices(run->expert_numerics), D = run->latent, H = run->expert_hidden;
    return slices > 0 ? EXPERT_BLOCK * (2 * (slices * D + 1) + 3 * FLOAT_BYTES * H) : 0;
}

static double block_work_bytes(const struct run *run)
{
    double slices = (double)numerics_slices(run->expert_numerics), D = run->latent, H = run->expert_hidden;
    return EXPERT_BLOCK * slices * (H + (D > H ? D : H));
}

struct cost cost_of(const struct run *run)
{
    struct cost cost = {.trunk_params = (double)run_trunk_params(run),
                        .expert_params = (double)run_expert_params(run),
                        .active_params = (double)run_active_params(run),
                        .n_experts = (double)run->n_moe * run->experts,
                        .tokens_per_step = (double)run->batch * run->context};
    uint32_t per_layer = (run->experts + run->hosts - 1) / run->hosts;
    size_t micro_rows = (run->batch + run->microbatches - 1) / run->microbatches;
    cost.all_params = cost.trunk_params + cost.n_experts * cost.expert_params;
    cost.experts_per_host = (double)run->n_moe * per_layer;
    double state = FLOAT_BYTES * STATE_FLOATS * cost.expert_params + block_bytes(run);
    cost.host_disk = cost.experts_per_host * state;
    cost.host_state = cost.experts_per_host * (state + rounded_weight_bytes(run) + block_work_bytes(run));
    cost.trainer_state = FLOAT_BYTES * STATE_FLOATS * cost.trunk_params;
    if (run->trunk == RUN_TRUNK_I8X2) /* the integers, and packed both ways; the little that stays in floats is counted as well */
        cost.trainer_state += 3.0 * SLICES * (cost.trunk_params - VOCABULARY * (double)run->width);
    cost.trainer_tapes = run->microbatches * cost_tape_bytes(run, micro_rows, run->context);
    add_arithmetic(&cost, run);
    struct cost_wire wire = cost_wire_of(run, run->expert_numerics);
    cost.up_per_token = wire.up;
    cost.down_per_token = wire.down;
    return cost;
}

/* -- Speed ------------------------------------------------------------------------------------------ */

static double lesser(double a, double b)
{
    return a < b ? a : b;
}

double cost_tokens_per_s(const struct cost *cost, const struct run *run, const struct cost_place *place, enum cost_bound bound)
{
    double flop_s = place->flop_per_core_s, step_s;
    switch (bound) {
    case COST_TRUNK: /* microbatches side by side, then the update */
        step_s = cost->tokens_per_step * cost->trunk_per_token / (flop_s * lesser(place->trainer_cores, run->microbatches)) +
                 cost->trunk_per_step / (flop_s * place->trainer_cores);
        return cost->tokens_per_step / step_s;
    case COST_HOSTS:
        return run->hosts * lesser(place->host_cores, cost->experts_per_host) * flop_s / cost->hosts_per_token;
    case COST_UPLINK:
        return place->up_bits_s / 8 / cost->up_per_token;
    case COST_DOWNLINK:
        return place->down_bits_s / 8 / cost->down_per_token;
    case COST_HOST_UPLINK: /* what comes down to the trainer goes up from the hosts */
        return run->hosts * place->up_bits_s / 8 / cost->down_per_token;
    case COST_LATENCY: /* a microbatch asks and waits twice a layer */
        return cost->tokens_per_step / (2 * run->n_moe * place->rtt_s);
    default:
        return 0;
    }
}
