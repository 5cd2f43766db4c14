/* model/trunk_table.c - the table of parameter tensors and their first values. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "kernels/ref/init.h"
#include "kernels/ref/math.h"
#include "model/trunk_inside.h"

#define TENSORS_PER_LAYER 14

/* Small first logits: the first loss is ln 256. */
#define HEAD_STD 0.005f
#define EMBED_STD 0.02f
#define GATE_STD 0.02f

/* Adds a row and returns where its floats start. */
__attribute__((format(printf, 6, 7))) static size_t add(struct trunk *trunk, size_t M, size_t N, enum trunk_rule rule, float std,
                                                        const char *format, ...)
{
    struct trunk_tensor *tensor = &trunk->tensor[trunk->n_tensors++];
    va_list args;
    va_start(args, format);
    vsnprintf(tensor->name, sizeof tensor->name, format, args);
    va_end(args);
    tensor->M = M;
    tensor->N = N;
    tensor->offset = trunk->n_params;
    tensor->rule = rule;
    tensor->init_std = std;
    trunk->n_params += M * N;
    return tensor->offset;
}

static size_t add_gain(struct trunk *trunk, size_t N, size_t layer, const char *name)
{
    return add(trunk, 1, N, TRUNK_ADAM_NO_DECAY, 0.0f, "model.layers.%zu.%s.weight", layer, name);
}

/* The row that was added last, which starts at `offset`. */
static struct trunk_matrix last_matrix(const struct trunk *trunk, size_t offset)
{
    const struct trunk_tensor *tensor = &trunk->tensor[trunk->n_tensors - 1];
    return (struct trunk_matrix){tensor->M, tensor->N, offset, trunk->n_tensors - 1};
}

/* A matrix that reads the stream keeps the size of what it reads; one that writes to it starts smaller, because 2 layers of
 * them add up there. */
static struct trunk_matrix add_reader(struct trunk *trunk, size_t M, size_t N, size_t layer, const char *name)
{
    size_t offset = add(trunk, M, N, TRUNK_MUON, ref_rsqrt((float)M), "model.layers.%zu.%s.weight", layer, name);
    return last_matrix(trunk, offset);
}

static struct trunk_matrix add_writer(struct trunk *trunk, size_t M, size_t N, size_t layer, const char *name)
{
    float std = ref_rsqrt((float)M * 2.0f * (float)trunk->run->layers);
    size_t offset = add(trunk, M, N, TRUNK_MUON, std, "model.layers.%zu.%s.weight", layer, name);
    return last_matrix(trunk, offset);
}

static void add_attention(struct trunk *trunk, struct trunk_layer *at, size_t layer)
{
    size_t D = trunk->run->width, hd = D / trunk->run->heads;
    at->norm_a = add_gain(trunk, D, layer, "input_layernorm");
    at->q = add_reader(trunk, D, D, layer, "self_attn.q_proj");
    at->k = add_reader(trunk, D, D, layer, "self_attn.k_proj");
    at->v = add_reader(trunk, D, D, layer, "self_attn.v_proj");
    at->q_gain = add_gain(trunk, hd, layer, "self_attn.q_norm");
    at->k_gain = add_gain(trunk, hd, layer, "self_attn.k_norm");
    at->o = add_writer(trunk, D, D, layer, "self_attn.o_proj");
}

static void add_swiglu(struct trunk *trunk, struct trunk_swiglu *block, size_t H, size_t layer, const char *const name[3])
{
    size_t D = trunk->run->width;
    block->H = H;
    if (H == 0)
        return;
    block->gate = add_reader(trunk, D, H, layer, name[0]);
    block->up = add_reader(trunk, D, H, layer, name[1]);
    block->down = add_writer(trunk, H, D, layer, name[2]);
}

static void add_moe(struct trunk *trunk, struct trunk_layer *at, size_t layer)
{
    static const char *const shared[] = {"mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj",
                                         "mlp.shared_experts.down_proj"};
    const struct run *run = trunk->run;
    at->has_latent = run->latent < run->width;
    size_t gate = add(trunk, run->width, run->experts, TRUNK_ADAM, GATE_STD, "model.layers.%zu.mlp.gate.weight", layer);
    at->gate = last_matrix(trunk, gate);
    if (at->has_latent) {
        at->to_latent = add_reader(trunk, run->width, run->latent, layer, "mlp.latent_down_proj");
        at->to_width = add_reader(trunk, run->latent, run->width, layer, "mlp.latent_up_proj");
    }
    add_swiglu(trunk, &at->mlp, run->shared_hidden, layer, shared);
}

static void add_layers(struct trunk *trunk)
{
    static const char *const dense[] = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"};
    const struct run *run = trunk->run;
    size_t moe = 0;
    for (size_t layer = 0; layer < run->layers; layer++) {
        struct trunk_layer *at = &trunk->layer[layer];
        add_attention(trunk, at, layer);
        at->norm_b = add_gain(trunk, run->width, layer, "post_attention_layernorm");
        at->is_moe = run->is_moe[layer];
        if (at->is_moe)
            at->moe = moe++;
        if (at->is_moe)
            add_moe(trunk, at, layer);
        else
            add_swiglu(trunk, &at->mlp, run->hidden, layer, dense);
    }
}

int trunk_table_build(struct trunk *trunk)
{
    const struct run *run = trunk->run;
    trunk->layer = calloc(run->layers, sizeof *trunk->layer);
    trunk->tensor = calloc(TENSORS_PER_LAYER * (size_t)run->layers + 3, sizeof *trunk->tensor);
    if (!trunk->layer || !trunk->tensor)
        return HANSE_ENOMEM;
    trunk->embed = add(trunk, TRUNK_VOCABULARY, run->width, TRUNK_ADAM, EMBED_STD, "model.embed_tokens.weight");
    add_layers(trunk);
    trunk->norm = add(trunk, 1, run->width, TRUNK_ADAM_NO_DECAY, 0.0f, "model.norm.weight");
    trunk->head_tensor = trunk->n_tensors;
    trunk->head = add(trunk, run->width, TRUNK_VOCABULARY, TRUNK_ADAM, HEAD_STD, "lm_head.weight");
    return 0;
}

static void draw(const struct trunk *trunk, const struct trunk_tensor *tensor, float *at)
{
    size_t n = tensor->M * tensor->N;
    uint32_t key[2];
    random_key(key, &trunk->run->birth, tensor->name);
    if (tensor->init_std > 0.0f)
        ref_init_normal(at, key, tensor->init_std, n);
    for (size_t i = 0; tensor->init_std == 0.0f && i < n; i++)
        at[i] = tensor->M == 1 ? 1.0f : 0.0f;
}

int trunk_table_draw(struct trunk *trunk)
{
    size_t n_most = 1;
    for (size_t i = 0; i < trunk->n_tensors; i++)
        n_most = trunk->tensor[i].M * trunk->tensor[i].N > n_most ? trunk->tensor[i].M * trunk->tensor[i].N : n_most;
    float *drawn = malloc(n_most * sizeof *drawn);
    if (!drawn)
        return HANSE_ENOMEM;
    for (size_t i = 0; i < trunk->n_tensors; i++) {
        draw(trunk, &trunk->tensor[i], drawn);
        trunk->kernels.put(trunk->param + trunk->tensor[i].offset, drawn,
                           trunk->tensor[i].M * trunk->tensor[i].N * sizeof *drawn);
    }
    free(drawn);
    return 0;
}
