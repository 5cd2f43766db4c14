/* node/trunk_state.c - the tensors of a trunk's checkpoint: its own, then the optimizer's, then the router's and counters. */
#include "node/trunk_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "node/trainer.h"

#define N_EXTRA 6 /* tensors besides the trunk's own; a run without experts has no router tensors */

int trunk_state_new(const struct trunk *trunk, struct trunk_state **out)
{
    size_t n_slots = (size_t)trunk->run->n_moe * trunk->run->experts + 1;
    struct trunk_state *state = calloc(1, sizeof *state);
    if (!state)
        return HANSE_ENOMEM;
    state->trunk = trunk;
    state->param = arena_aligned(trunk->n_params, sizeof *state->param);
    state->moment1 = arena_aligned(trunk->n_params, sizeof *state->moment1);
    state->moment2 = arena_aligned(trunk->n_params, sizeof *state->moment2);
    state->bias = calloc(n_slots, sizeof *state->bias);
    state->load = calloc(n_slots, sizeof *state->load);
    if (!state->param || !state->moment1 || !state->moment2 || !state->bias || !state->load) {
        trunk_state_free(state);
        return HANSE_ENOMEM;
    }
    *out = state;
    return 0;
}

void trunk_state_free(struct trunk_state *state)
{
    if (!state)
        return;
    free(state->param);
    free(state->moment1);
    free(state->moment2);
    free(state->bias);
    free(state->load);
    free(state);
}

/* The common libraries keep a matrix of x W as (outputs, inputs), the embedding as (tokens, width). */
static bool is_turned(const struct trunk *trunk, const struct trunk_tensor *t)
{
    return t->M > 1 && t->offset != trunk->embed;
}

/* to (N, M) = from (M, N) transposed */
static void turn(float *to, const float *from, size_t M, size_t N)
{
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++)
            to[j * M + i] = from[i * N + j];
}

/* From the order of the trunk to that of its checkpoint. */
static void turn_out(const struct trunk *trunk, float *to, const float *from)
{
    for (size_t i = 0; i < trunk->n_tensors; i++) {
        const struct trunk_tensor *t = &trunk->tensor[i];
        if (is_turned(trunk, t))
            turn(to + t->offset, from + t->offset, t->M, t->N);
        else
            memcpy(to + t->offset, from + t->offset, t->M * t->N * sizeof *to);
    }
}

static size_t largest_tensor(const struct trunk *trunk)
{
    size_t most = 1;
    for (size_t i = 0; i < trunk->n_tensors; i++)
        most = trunk->tensor[i].M * trunk->tensor[i].N > most ? trunk->tensor[i].M * trunk->tensor[i].N : most;
    return most;
}

/* And back, into the live parameters. */
static int put_params(struct trunk *trunk, const float *from)
{
    float *turned = malloc(largest_tensor(trunk) * sizeof *turned);
    if (!turned)
        return HANSE_ENOMEM;
    for (size_t i = 0; i < trunk->n_tensors; i++) {
        const struct trunk_tensor *t = &trunk->tensor[i];
        const float *here = from + t->offset;
        if (is_turned(trunk, t)) {
            turn(turned, here, t->N, t->M);
            here = turned;
        }
        trunk->kernels.put(trunk->param + t->offset, here, t->M * t->N * sizeof *here);
    }
    free(turned);
    trunk_pack_all(trunk);
    return trunk->kernels.wait();
}

/* Parameters come by way of the first moments' place. */
int trunk_state_take(struct trunk_state *state, const struct optimizer *optimizer)
{
    const struct trunk *trunk = optimizer->trunk;
    const struct kernels *k = &trunk->kernels;
    size_t n_bytes = trunk->n_params * sizeof *state->param;
    int err = k->get(state->moment1, trunk->param, n_bytes);
    if (err)
        return err;
    turn_out(trunk, state->param, state->moment1);
    err = k->get(state->moment1, optimizer->moment1, n_bytes);
    if (!err)
        err = k->get(state->moment2, optimizer->moment2, n_bytes);
    state->beta_power[0] = optimizer->beta1_power;
    state->beta_power[1] = optimizer->beta2_power;
    state->counters.step = (int64_t)optimizer->step;
    return err;
}

int trunk_state_give(const struct trunk_state *state, struct optimizer *optimizer)
{
    const struct kernels *k = &optimizer->trunk->kernels;
    size_t n_bytes = state->trunk->n_params * sizeof *state->param;
    int err = put_params(optimizer->trunk, state->param);
    if (err)
        return err;
    k->put(optimizer->moment1, state->moment1, n_bytes);
    k->put(optimizer->moment2, state->moment2, n_bytes);
    optimizer->beta1_power = state->beta_power[0];
    optimizer->beta2_power = state->beta_power[1];
    optimizer->step = (uint64_t)state->counters.step;
    return k->wait();
}

/* The list of tensors, pointing into `state`; n_tensors + N_EXTRA of them. */
static struct checkpoint_tensor *list(const struct trunk_state *state)
{
    const struct trunk *trunk = state->trunk;
    struct checkpoint_tensor *tensor = calloc(trunk->n_tensors + N_EXTRA, sizeof *tensor);
    if (!tensor)
        return NULL;
    size_t n = trunk->n_tensors, n_moe = trunk->run->n_moe, E = trunk->run->experts;
    for (size_t i = 0; i < n; i++) {
        const struct trunk_tensor *t = &trunk->tensor[i];
        bool turned = is_turned(trunk, t);
        tensor[i] = (struct checkpoint_tensor){
            t->name, CHECKPOINT_F32, 2, {turned ? t->N : t->M, turned ? t->M : t->N}, state->param + t->offset, NULL};
        if (t->M == 1)
            tensor[i] = (struct checkpoint_tensor){t->name, CHECKPOINT_F32, 1, {t->N}, state->param + t->offset, NULL};
    }
    tensor[n++] = (struct checkpoint_tensor){
        CHECKPOINT_STATE_PREFIX "optimizer.moment1", CHECKPOINT_F32, 1, {trunk->n_params}, state->moment1, NULL};
    tensor[n++] = (struct checkpoint_tensor){
        CHECKPOINT_STATE_PREFIX "optimizer.moment2", CHECKPOINT_F32, 1, {trunk->n_params}, state->moment2, NULL};
    tensor[n++] = (struct checkpoint_tensor){
        CHECKPOINT_STATE_PREFIX "optimizer.beta_power", CHECKPOINT_F32, 1, {2}, (void *)(uintptr_t)state->beta_power, NULL};
    tensor[n++] =
        (struct checkpoint_tensor){CHECKPOINT_STATE_PREFIX "router.bias", CHECKPOINT_F32, 2, {n_moe, E}, state->bias, NULL};
    tensor[n++] =
        (struct checkpoint_tensor){CHECKPOINT_STATE_PREFIX "router.load", CHECKPOINT_I64, 2, {n_moe, E}, state->load, NULL};
    tensor[n++] = (struct checkpoint_tensor){
        CHECKPOINT_STATE_PREFIX "trainer.counters", CHECKPOINT_I64, 1, {4}, (void *)(uintptr_t)&state->counters, NULL};
    return tensor;
}

int trunk_state_save(const struct trunk_state *state, const struct disk *disk, const struct key *key, uint64_t time_us)
{
    struct checkpoint_tensor *tensor = list(state);
    if (!tensor)
        return HANSE_ENOMEM;
    struct checkpoint_info info = {
        .run = state->trunk->run->id, .name = TRAINER_CHECKPOINT, .version = (uint64_t)state->counters.step, .time_us = time_us};
    int err = checkpoint_save(disk, key, &info, tensor, state->trunk->n_tensors + N_EXTRA);
    free(tensor);
    return err ? err : checkpoint_prune(disk, TRAINER_CHECKPOINT);
}

int trunk_state_load(struct trunk_state *state, const struct disk *disk, struct checkpoint_info *info)
{
    struct checkpoint_tensor *tensor = list(state);
    if (!tensor)
        return HANSE_ENOMEM;
    int err = checkpoint_load(disk, TRAINER_CHECKPOINT, &state->trunk->run->id, info, tensor, state->trunk->n_tensors + N_EXTRA);
    free(tensor);
    return err;
}

int trunk_state_read(struct trunk *trunk, const struct disk *disk, struct checkpoint_info *info, float *bias)
{
    struct trunk_state *state = NULL;
    int err = trunk_state_new(trunk, &state);
    if (!err)
        err = trunk_state_load(state, disk, info);
    if (!err)
        err = put_params(trunk, state->param);
    if (!err)
        memcpy(bias, state->bias, (size_t)trunk->run->n_moe * trunk->run->experts * sizeof *bias);
    trunk_state_free(state);
    return err;
}
