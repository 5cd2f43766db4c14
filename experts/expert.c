/**
 * experts/expert.c - the life of an expert: how it is born, copied and updated.  expert_compute.c has its arithmetic.
 */
#include "experts/expert.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/random.h"
#include "experts/integers.h"
#include "kernels/parallel.h"
#include "kernels/ref/init.h"

#define EPS_MIN 1e-20f              /* a first moment may outlive its second; above this the quotient stays finite */
#define EXPERT_WIDTH_MAX (1u << 20) /* 3 D H stays far from the end of size_t */

size_t expert_n_params(const struct expert_config *config)
{
    return 3 * (size_t)config->D * config->H;
}

static bool is_fraction(float x) /* in [0, 1); NaN is not */
{
    return x >= 0 && x < 1;
}

static bool is_amount(float x) /* finite and not negative */
{
    return x >= 0 && x <= 0x1.fffffep127f;
}

static const char *config_fault(const struct expert_config *c)
{
    if (c->D == 0 || c->D > EXPERT_WIDTH_MAX || c->H == 0 || c->H > EXPERT_WIDTH_MAX)
        return "widths must be between 1 and 1048576";
    if (!is_fraction(c->beta1) || !is_fraction(c->beta2))
        return "beta1 and beta2 must be at least 0 and below 1";
    if (!(c->eps >= EPS_MIN) || !is_amount(c->eps))
        return "eps must be at least 1e-20, lest a step divides by 0";
    if (!is_amount(c->lr) || !is_amount(c->weight_decay) || !is_amount(c->clip))
        return "lr, weight_decay and clip must be finite and not negative";
    if ((unsigned)c->numerics >= N_NUMERICS || (c->coarse && c->numerics != NUMERICS_I8X2))
        return "numerics must be f32, i8x2 or i8x1, and only products of i8x2 can be coarse";
    if (c->slots_per_update == 0)
        return "slots_per_update must be at least 1";
    return NULL;
}

static bool is_name(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n < EXPERT_NAME_MAX;
}

static int allot(struct expert *x)
{
    const struct kernels *k = x->kernels;
    size_t n_bytes = expert_n_params(&x->config) * sizeof(float);
    x->param = k->allot(n_bytes);
    x->moment1 = k->allot(n_bytes);
    x->moment2 = k->allot(n_bytes);
    x->grad = k->allot(n_bytes);
    x->is_bad = k->allot(sizeof *x->is_bad);
    if (!x->param || !x->moment1 || !x->moment2 || !x->grad || !x->is_bad)
        return HANSE_ENOMEM;
    return x->config.numerics == NUMERICS_F32 ? 0 : integers_new(&x->config, k, &x->integers);
}

size_t expert_bytes(const struct expert_config *config, const struct kernels *kernels)
{
    size_t n_bytes = 4 * expert_n_params(config) * sizeof(float) + sizeof(uint32_t);
    return n_bytes + (config->numerics == NUMERICS_F32 ? 0 : integers_bytes(config, kernels));
}

void expert_params_changed(struct expert *x)
{
    if (x->integers)
        integers_round(x);
}

/* Each matrix has a Philox key of its own, so its values depend on run, name and place alone. */
static void draw(float *w, const struct hash *run, const char *name, const char *matrix, float std, size_t n)
{
    char purpose[EXPERT_NAME_MAX + 32];
    uint32_t key[2];
    snprintf(purpose, sizeof purpose, "expert %s %s", name, matrix);
    random_key(key, run, purpose);
    ref_init_normal(w, key, std, n);
}

static void draw_matrices(const struct expert *x, float *param, const struct hash *run)
{
    size_t n = (size_t)x->config.D * x->config.H;
    float std_in = 1 / sqrtf((float)x->config.D);
    float std_out = 0.25f / sqrtf((float)x->config.H);
    draw(param, run, x->name, "Wg", std_in, n);
    draw(param + n, run, x->name, "Wu", std_in, n);
    draw(param + 2 * n, run, x->name, "Wd", std_out, n);
}

/* On the CPU, whatever computes later. */
static int draw_params(struct expert *x, const struct hash *run)
{
    size_t n = expert_n_params(&x->config);
    if (!x->kernels->is_device) {
        draw_matrices(x, x->param, run);
        return 0;
    }
    float *param = malloc(n * sizeof *param);
    if (!param)
        return HANSE_ENOMEM;
    draw_matrices(x, param, run);
    x->kernels->put(x->param, param, n * sizeof *param);
    free(param);
    return 0;
}

static void clear(struct expert *x)
{
    size_t n_bytes = expert_n_params(&x->config) * sizeof(float);
    x->kernels->zero(x->moment1, n_bytes);
    x->kernels->zero(x->moment2, n_bytes);
    x->kernels->zero(x->grad, n_bytes);
}

int expert_new(const struct expert_config *config, const struct kernels *kernels, const struct hash *run, const char *name,
               struct expert **out)
{
    const char *fault = is_name(name) ? config_fault(config) : "a name has 1 to 31 bytes";
    if (fault) {
        log_error("expert %.40s: %s; mend run.yaml", name, fault);
        return HANSE_EINVAL;
    }
    int err = HANSE_ENOMEM;
    struct expert *x = calloc(1, sizeof *x);
    if (!x)
        goto fail;
    snprintf(x->name, sizeof x->name, "%s", name);
    x->config = *config;
    x->kernels = kernels;
    x->beta1_power = x->beta2_power = 1;
    err = allot(x);
    if (!err)
        err = draw_params(x, run);
    if (err)
        goto fail;
    clear(x);
    expert_params_changed(x);
    err = kernels->wait();
    if (err)
        goto fail;
    *out = x;
    return 0;
fail:
    expert_free(x);
    return err;
}

void expert_share(struct expert *x, struct team *team)
{
    x->team = x->kernels->is_device ? NULL : team;
    if (x->integers)
        integers_share(x->integers, x->team);
}

static int fetch(const struct kernels *k, void *to, const void *from, size_t n_bytes)
{
    return k->get(to, from, n_bytes);
}

static int store(const struct kernels *k, void *to, const void *from, size_t n_bytes)
{
    k->put(to, from, n_bytes);
    return 0;
}

/* The tensors of an expert, and its block. */
static int move_state(struct expert *to, const struct expert *from, expert_move *move, const struct kernels *k)
{
    size_t n_bytes = expert_n_params(&to->config) * sizeof(float);
    int err = move(k, to->param, from->param, n_bytes);
    if (!err)
        err = move(k, to->moment1, from->moment1, n_bytes);
    if (!err)
        err = move(k, to->moment2, from->moment2, n_bytes);
    if (!err)
        err = move(k, to->grad, from->grad, n_bytes);
    if (!err && to->integers)
        err = integers_move_block(to->integers, from->integers, move, k, to->config.D, to->config.H);
    return err;
}

int expert_blank(const struct expert *x, struct expert **out)
{
    int err = HANSE_ENOMEM;
    struct expert *blank = malloc(sizeof *blank);
    if (!blank)
        goto fail;
    *blank = *x;
    blank->param = blank->moment1 = blank->moment2 = blank->grad = NULL;
    blank->is_bad = NULL;
    blank->integers = NULL;
    blank->team = NULL;
    err = x->kernels->is_device ? kernels_choose(NULL, &blank->kernels) : 0;
    if (!err)
        err = allot(blank);
    if (err)
        goto fail;
    *out = blank;
    return 0;
fail:
    expert_free(blank);
    return err;
}

int expert_copy(const struct expert *x, struct expert **out)
{
    struct expert *copy;
    int err = expert_blank(x, &copy);
    if (err)
        return err;
    err = move_state(copy, x, fetch, x->kernels);
    if (err)
        expert_free(copy);
    else
        *out = copy;
    return err;
}

static void swap(float **a, float **b)
{
    float *old = *a;
    *a = *b;
    *b = old;
}

/* Where both lie in the same memory, the old tensors go with the copy. */
static void take(struct expert *x, struct expert *copy)
{
    swap(&x->param, &copy->param);
    swap(&x->moment1, &copy->moment1);
    swap(&x->moment2, &copy->moment2);
    swap(&x->grad, &copy->grad);
    struct integers *old = x->integers;
    x->integers = copy->integers;
    copy->integers = old;
    expert_share(x, x->team);
}

int expert_adopt(struct expert *x, struct expert *copy)
{
    int err = 0;
    if (x->kernels->is_device)
        err = move_state(x, copy, store, x->kernels);
    else
        take(x, copy);
    if (!err)
        expert_params_changed(x);
    return err ? err : x->kernels->wait();
}

void expert_free(struct expert *x)
{
    if (!x)
        return;
    x->kernels->release(x->param);
    x->kernels->release(x->moment1);
    x->kernels->release(x->moment2);
    x->kernels->release(x->grad);
    x->kernels->release(x->is_bad);
    integers_free(x->integers);
    free(x);
}

bool expert_update_due(const struct expert *x)
{
    return x->grad_slots >= x->config.slots_per_update;
}

static float warmup(const struct expert *x)
{
    uint64_t t = x->version + 1;
    return t < x->config.warmup_updates ? (float)t / (float)x->config.warmup_updates : 1;
}

/* What the gradient sum is multiplied by: the mean over slots, cut to the clip.  False when the norm is not finite. */
static bool grad_scale(const struct expert *x, float *scale)
{
    float mean = 1 / (float)x->grad_slots;
    float norm = sqrtf(x->kernels->sum_squares(x->grad, expert_n_params(&x->config))) * mean;
    bool is_cut = x->config.clip > 0 && norm > x->config.clip;
    *scale = is_cut ? mean * (x->config.clip / norm) : mean;
    return is_amount(norm);
}

static void step(struct expert *x, float scale)
{
    const struct expert_config *c = &x->config;
    x->beta1_power *= c->beta1;
    x->beta2_power *= c->beta2;
    struct adam_step s = {
        .lr = c->lr * warmup(x) * (x->lr_scale_sum / (float)x->grad_slots),
        .beta1 = c->beta1,
        .beta2 = c->beta2,
        .eps = c->eps,
        .weight_decay = c->weight_decay,
        .beta1_power = x->beta1_power,
        .beta2_power = x->beta2_power,
        .grad_scale = scale,
    };
    parallel_nadamw(x->kernels, x->team, x->param, x->moment1, x->moment2, x->grad, &s, expert_n_params(c));
}

/* A step, or none for a norm that is not finite.  The norm of a device that failed means nothing. */
static int try_step(struct expert *x)
{
    float scale;
    if (grad_scale(x, &scale)) {
        step(x, scale);
        return 0;
    }
    int err = x->kernels->wait();
    if (!err)
        log_warn("expert %s: the gradient of update %llu is not finite and was dropped", x->name,
                 (unsigned long long)x->version + 1);
    return err;
}

int expert_update(struct expert *x)
{
    if (x->integers)
        integers_sum(x);
    int err = x->grad_slots > 0 ? try_step(x) : 0;
    if (err)
        return err;
    x->kernels->zero(x->grad, expert_n_params(&x->config) * sizeof *x->grad);
    x->grad_slots = 0;
    x->lr_scale_sum = 0;
    expert_params_changed(x);
    x->version++;
    return 0;
}
