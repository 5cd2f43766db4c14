/**
 * experts/expert_state.c - an expert as the tensors of a checkpoint, and back.
 *
 * Weights are stored as other programs expect them, y = W x, the transpose of ours.  Loading goes into a blank first, so
 * an expert is replaced whole or not at all.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "experts/checkpoint.h"
#include "experts/integers.h"
#include "experts/safetensors.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the state's bytes are little-endian");
_Static_assert(EXPERT_NAME_MAX == CHECKPOINT_NAME_MAX, "an expert's checkpoint is called as the expert is");

enum { N_WEIGHTS = 3, N_TENSORS = 8, N_PENDING = 9, N_VECTOR = 3 };

struct state {
    const struct kernels *kernels; /* in whose memory the tensors lie */
    char name[N_WEIGHTS][MANIFEST_TENSOR_NAME_MAX];
    float *weight;    /* Wg^T, Wu^T, Wd^T, one block */
    float *scalar;    /* (3) */
    int64_t *counter; /* (3), in the same block as scalar */
    size_t n_tensors, n_loaded[N_PENDING];
    struct checkpoint_tensor tensor[N_TENSORS + N_PENDING];
};

static void name_weights(struct state *s, const char *name, const struct expert_config *config)
{
    static const char *const matrix[N_WEIGHTS] = {"gate", "up", "down"};
    unsigned layer, i;
    char again[EXPERT_NAME_MAX], prefix[MANIFEST_TENSOR_NAME_MAX / 2];
    snprintf(prefix, sizeof prefix, "%s", name);
    if (sscanf(name, "L%9u.%9u", &layer, &i) == 2) {
        snprintf(again, sizeof again, "L%u.%u", layer, i);
        if (strcmp(again, name) == 0)
            snprintf(prefix, sizeof prefix, "model.layers.%u.mlp.experts.%u", config->has_layer ? config->layer : layer, i);
    }
    for (size_t j = 0; j < N_WEIGHTS; j++)
        snprintf(s->name[j], sizeof s->name[j], "%s.%s_proj.weight", prefix, matrix[j]);
}

static struct checkpoint_tensor vector(const char *name, enum checkpoint_type type, void *data)
{
    return (struct checkpoint_tensor){.name = name, .type = type, .n_dims = 1, .dim = {3}, .data = data};
}

static struct checkpoint_tensor block(const char *name, const struct expert_config *c, float *data)
{
    return (struct checkpoint_tensor){name, CHECKPOINT_F32, 3, {3, c->D, c->H}, data, NULL};
}

/* Rows of a block: as many as there are to save, as many as there can be to load. */
static void add_rows(struct state *s, const char *name, enum checkpoint_type type, size_t n, size_t width, void *data)
{
    if (!data)
        return;
    size_t *n_loaded = &s->n_loaded[s->n_tensors - N_TENSORS];
    *n_loaded = n;
    s->tensor[s->n_tensors++] = (struct checkpoint_tensor){name, type, width ? 2 : 1, {n, width}, data, n_loaded};
}

static void add_block(struct state *s, const struct expert *x, size_t n)
{
    const struct integers_block *b = &x->integers->block;
    size_t D = x->config.D, H = x->config.H;
    add_rows(s, "state.pending.x.exponent", CHECKPOINT_I8, n, 0, b->x_exponent);
    add_rows(s, "state.pending.x.high", CHECKPOINT_I8, n, D, b->x_high);
    add_rows(s, "state.pending.x.low", CHECKPOINT_I8, n, D, b->x_low);
    add_rows(s, "state.pending.gy.exponent", CHECKPOINT_I8, n, 0, b->gy_exponent);
    add_rows(s, "state.pending.gy.high", CHECKPOINT_I8, n, D, b->gy_high);
    add_rows(s, "state.pending.gy.low", CHECKPOINT_I8, n, D, b->gy_low);
    add_rows(s, "state.pending.gg", CHECKPOINT_F32, n, H, b->grad.gg);
    add_rows(s, "state.pending.gu", CHECKPOINT_F32, n, H, b->grad.gu);
    add_rows(s, "state.pending.h", CHECKPOINT_F32, n, H, b->grad.h);
}

/* Describes the state of x, with a block of `n_pending` rows if it has any; its vectors and weights are in `s`, the large rest is the
 * expert's own. */
static int state_init(struct state *s, const struct expert *x, size_t n_pending)
{
    const struct expert_config *c = &x->config;
    size_t n = (size_t)c->D * c->H;
    s->kernels = x->kernels;
    name_weights(s, x->name, c);
    s->weight = x->kernels->allot(expert_n_params(c) * sizeof(float));
    s->counter = x->kernels->allot(N_VECTOR * (sizeof *s->counter + sizeof *s->scalar));
    if (!s->weight || !s->counter)
        return HANSE_ENOMEM;
    s->scalar = (float *)(s->counter + N_VECTOR);
    for (size_t i = 0; i < N_WEIGHTS; i++) {
        bool is_down = i == 2;
        s->tensor[i] = (struct checkpoint_tensor){
            s->name[i], CHECKPOINT_F32, 2, {is_down ? c->D : c->H, is_down ? c->H : c->D}, s->weight + i * n, NULL};
    }
    s->tensor[3] = block("state.moment1", c, x->moment1);
    s->tensor[4] = block("state.moment2", c, x->moment2);
    s->tensor[5] = block("state.grad", c, x->grad);
    s->tensor[6] = vector("state.scalars", CHECKPOINT_F32, s->scalar);
    s->tensor[7] = vector("state.counters", CHECKPOINT_I64, s->counter);
    s->n_tensors = N_TENSORS;
    if (x->integers)
        add_block(s, x, n_pending);
    return 0;
}

static void state_fini(struct state *s)
{
    if (!s->kernels)
        return;
    s->kernels->release(s->weight);
    s->kernels->release(s->counter);
}

static void collect(struct state *s, const struct expert *x)
{
    size_t D = x->config.D, H = x->config.H;
    const struct kernels *k = s->kernels;
    const float scalar[N_VECTOR] = {x->beta1_power, x->beta2_power, x->lr_scale_sum};
    const int64_t counter[N_VECTOR] = {(int64_t)x->version, (int64_t)x->n_slots, x->grad_slots};
    k->transpose(s->weight, x->param, D, H);
    k->transpose(s->weight + D * H, x->param + D * H, D, H);
    k->transpose(s->weight + 2 * D * H, x->param + 2 * D * H, H, D);
    k->put(s->scalar, scalar, sizeof scalar);
    k->put(s->counter, counter, sizeof counter);
}

static void put_weights(struct expert *x, const float *weight)
{
    size_t D = x->config.D, H = x->config.H;
    x->kernels->transpose(x->param, weight, H, D);
    x->kernels->transpose(x->param + D * H, weight + D * H, H, D);
    x->kernels->transpose(x->param + 2 * D * H, weight + 2 * D * H, D, H);
}

/* Takes over how many rows of a block were loaded; false when there cannot be that many, or such. */
static bool adopt_block(struct expert *x, const struct state *s)
{
    size_t n = (size_t)s->counter[2] % EXPERT_BLOCK;
    for (size_t i = 0; i < s->n_tensors - N_TENSORS; i++)
        if (s->n_loaded[i] != n)
            return false;
    if (!x->integers)
        return true;
    x->integers->block.n = n;
    return integers_block_ok(x);
}

/* Bounds that no expert comes near, below which the next updates stay finite: nobody else's expert may bring NaN into ours. */
#define WEIGHT_MAX QUANTIZE_MAX
#define MOMENT_MAX 0x1p64f

static bool none_negative(const float *x, size_t n)
{
    bool is_negative = false;
    for (size_t i = 0; i < n; i++)
        is_negative |= x[i] < 0;
    return !is_negative;
}

static bool has_sane_numbers(const struct expert *x, const struct state *s)
{
    size_t n = expert_n_params(&x->config);
    return expert_all_below(s->weight, n, WEIGHT_MAX) && expert_all_below(x->moment1, n, MOMENT_MAX) &&
           expert_all_below(x->moment2, n, __builtin_inff()) && none_negative(x->moment2, n) &&
           expert_all_below(x->grad, n, __builtin_inff());
}

/* What was signed may still be nonsense; it must not become an expert. */
static bool is_sane(const struct expert *x, const struct state *s, const struct checkpoint_info *info)
{
    bool has_powers = s->scalar[0] >= 0 && s->scalar[0] <= 1 && s->scalar[1] >= 0 && s->scalar[1] <= 1;
    bool has_slots = s->counter[1] >= 0 && s->counter[2] >= 0 && s->counter[2] <= UINT32_MAX;
    bool has_scale = s->scalar[2] >= 0 && s->scalar[2] <= 0x1p33f;
    bool has_version = s->counter[0] >= 0 && (uint64_t)s->counter[0] == info->version;
    return has_powers && has_slots && has_scale && has_version && has_sane_numbers(x, s);
}

static void spread(struct expert *x, const struct state *s, const struct checkpoint_info *info)
{
    x->beta1_power = s->scalar[0];
    x->beta2_power = s->scalar[1];
    x->lr_scale_sum = s->scalar[2];
    x->version = (uint64_t)s->counter[0];
    x->n_slots = (uint64_t)s->counter[1];
    x->grad_slots = (uint32_t)s->counter[2];
    x->epoch = info->epoch;
    x->log_head = info->log_head;
}

static size_t n_pending(const struct expert *x)
{
    return x->integers ? x->integers->block.n : 0;
}

static int save(const struct expert *x, const struct disk *disk, const struct key *key, struct checkpoint_info *info)
{
    struct state s = {0};
    int err = state_init(&s, x, n_pending(x));
    if (!err) {
        collect(&s, x);
        memcpy(info->name, x->name, sizeof info->name);
        info->version = x->version;
        info->epoch = x->epoch;
        info->log_head = x->log_head;
        err = checkpoint_save(disk, key, info, s.tensor, s.n_tensors);
    }
    state_fini(&s);
    return err;
}

int expert_save(const struct expert *x, const struct disk *disk, const struct key *key, struct checkpoint_info *info)
{
    if (!x->kernels->is_device)
        return save(x, disk, key, info);
    struct expert *copy;
    int err = expert_copy(x, &copy);
    if (err)
        return err;
    err = save(copy, disk, key, info);
    expert_free(copy);
    return err;
}

int expert_root(const struct expert *x, struct hash *root)
{
    struct state s = {0};
    int err = state_init(&s, x, n_pending(x));
    if (!err) {
        collect(&s, x);
        err = checkpoint_root(x->kernels, s.tensor, s.n_tensors, root);
    }
    state_fini(&s);
    return err;
}

/* Into a blank, which takes the place of x in the end: a checkpoint has every tensor. */
static int load(struct expert *x, const struct disk *disk, const struct hash *run, const uint64_t *version,
                struct checkpoint_info *info)
{
    struct expert *loaded = NULL;
    struct state s = {0};
    int err = expert_blank(x, &loaded);
    if (!err)
        err = state_init(&s, loaded, EXPERT_BLOCK);
    if (!err && version)
        err = checkpoint_load_version(disk, x->name, *version, run, info, s.tensor, s.n_tensors);
    else if (!err)
        err = checkpoint_load(disk, x->name, run, info, s.tensor, s.n_tensors);
    if (err == HANSE_EINVAL)
        log_error("checkpoint %s: this expert has D %u, H %u, numerics %s; were they changed in run.yaml?", x->name, x->config.D,
                  x->config.H, numerics_name[x->config.numerics]);
    if (!err && (!is_sane(loaded, &s, info) || !adopt_block(loaded, &s))) {
        log_error("checkpoint %s, version %" PRIu64 ": signed, but its numbers make no sense; delete it", x->name, info->version);
        err = HANSE_ECORRUPT;
    }
    if (!err) {
        put_weights(loaded, s.weight);
        err = expert_adopt(x, loaded);
    }
    if (!err)
        spread(x, &s, info);
    state_fini(&s);
    expert_free(loaded);
    return err;
}

int expert_load(struct expert *x, const struct disk *disk, const struct hash *run, struct checkpoint_info *info)
{
    return load(x, disk, run, NULL, info);
}

int expert_load_version(struct expert *x, const struct disk *disk, const struct hash *run, uint64_t version,
                        struct checkpoint_info *info)
{
    return load(x, disk, run, &version, info);
}

static int import_weights(struct expert *x, const struct state *s, const struct safetensors *file)
{
    size_t n = (size_t)x->config.D * x->config.H;
    for (size_t i = 0; i < N_WEIGHTS; i++) {
        const struct checkpoint_tensor *t = &s->tensor[i];
        const uint8_t *bytes;
        int err = safetensors_find(file, t->name, t->type, t->dim, t->n_dims, &bytes);
        if (err) {
            log_error("tensor %s: %s; expert %s needs it as F32 (%zu, %zu)", t->name,
                      err == HANSE_ENOENT ? "is not in the file" : "has another type, shape or place", x->name, t->dim[0],
                      t->dim[1]);
            return err;
        }
        memcpy(t->data, bytes, n * sizeof(float));
    }
    struct rows weights = {.f32 = s->weight};
    if (!expert_rows_ok(NUMERICS_F32, &weights, 1, expert_n_params(&x->config)))
        return HANSE_EREJECT;
    put_weights(x, s->weight);
    return 0;
}

int expert_import(struct expert *x, const void *bytes, size_t n)
{
    struct expert *copy = NULL;
    struct state s = {0};
    struct safetensors file;
    int err = safetensors_open(&file, bytes, n);
    if (err)
        return err;
    err = expert_copy(x, &copy);
    if (!err)
        err = state_init(&s, copy, n_pending(copy));
    if (!err)
        err = import_weights(copy, &s, &file);
    if (!err)
        err = expert_adopt(x, copy);
    safetensors_close(&file);
    state_fini(&s);
    expert_free(copy);
    return err;
}
