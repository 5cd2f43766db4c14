#include "model/run_key.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define WHOLE(section, name, field, min, max, preset, id, help)                                                                  \
    {                                                                                                                            \
        section, name, RUN_KIND_WHOLE, offsetof(struct run, field), min, max, preset, id, help                                   \
    }
#define NUMBER(section, name, field, min, max, preset, id, help)                                                                 \
    {                                                                                                                            \
        section, name, RUN_KIND_NUMBER, offsetof(struct run, field), min, max, preset, id, help                                  \
    }

/* A trainer may change its deadline, its microbatches, and how long it trains, and a host how often it saves, without
 * leaving the run: those four are no part of the id. */
const struct run_key run_key_table[] = {
    {"", "name", RUN_KIND_NAME, offsetof(struct run, name), 1, RUN_NAME_MAX - 1, 0, true, "what people call the run"},

    WHOLE("model", "width", width, 8, 16384, 128, true, "width of the trunk"),
    WHOLE("model", "layers", layers, 1, RUN_LAYERS_MAX, 4, true, "layers of attention and feed-forward"),
    WHOLE("model", "heads", heads, 1, 1024, 4, true, "attention heads; they share the width evenly"),
    WHOLE("model", "hidden", hidden, 1, 65536, 0, true,
          "hidden width of the layers without experts (default: 8/3 of width, rounded up to 32)"),
    WHOLE("model", "context", context, 2, 65536, 128, true, "bytes of context"),
    NUMBER("model", "rope_theta", rope_theta, 1, 1e9, 10000, true, "base of the rotary angles"),
    {"model", "moe_layers", RUN_KIND_LAYERS, offsetof(struct run, is_moe), 0, RUN_LAYERS_MAX - 1, -1, true,
     "layers with experts, counted from 0 (default: the odd ones)"},
    WHOLE("model", "experts", experts, 1, 1024, 8, true, "experts of each such layer"),
    WHOLE("model", "chosen", chosen, 1, 64, 2, true, "experts that a token goes to (with 1 the gate learns nothing but balance)"),
    WHOLE("model", "expert_hidden", expert_hidden, 1, 65536, 256, true, "hidden width of an expert"),
    WHOLE("model", "latent", latent, 1, 16384, 0, true, "width sent to experts (default: width, and no projection)"),
    WHOLE("model", "shared_hidden", shared_hidden, 0, 65536, 128, true, "hidden width of the local shared expert; 0 for none"),

    NUMBER("router", "bias_rate", bias_rate, 0, 1, 0.001, true, "how far a load bias moves in a step"),
    NUMBER("router", "z_loss", z_loss, 0, 1, 0.001, true, "weight of the gate's z-loss"),
    NUMBER("router", "expert_dropout", expert_dropout, 0, 0.9, 0, true, "chance that a microbatch does without an expert"),

    {"trainer", "trunk", RUN_KIND_TRUNK, offsetof(struct run, trunk), 0, RUN_N_TRUNKS - 1, RUN_TRUNK_F32, true,
     "products of the trunk: f32 or i8x2 (exact integers of 16 bits), both the same bits everywhere; or blas (OpenBLAS, on CPUs) "
     "or "
     "bf16 (on GPUs), which are not"},
    WHOLE("trainer", "batch", batch, 1, 65536, 16, true, "sequences in a step"),
    WHOLE("trainer", "microbatches", microbatches, 1, 1024, 4, false, "parts of a step that are under way at once"),
    NUMBER("trainer", "lr_muon", lr_muon, 0, 1, 0.03, true, "peak learning rate of hidden matrices (Muon)"),
    NUMBER("trainer", "lr_adam", lr_adam, 0, 1, 0.006, true, "peak learning rate of embedding, head, gates, gains (AdamW)"),
    NUMBER("trainer", "weight_decay", weight_decay, 0, 1, 0.01, true, "decoupled weight decay"),
    NUMBER("trainer", "momentum", momentum, 0, 0.999, 0.95, true, "momentum of Muon"),
    NUMBER("trainer", "beta1", beta1, 0, 0.999, 0.9, true, "first decay of AdamW"),
    NUMBER("trainer", "beta2", beta2, 0, 0.9999, 0.99, true, "second decay of AdamW"),
    NUMBER("trainer", "clip", clip, 0, 1e6, 1, true, "largest norm of the trunk's gradient; 0 for no limit"),
    WHOLE("trainer", "warmup_steps", warmup_steps, 0, 1e6, 50, true, "steps over which the learning rate rises"),
    NUMBER("trainer", "final_lr", final_lr, 0, 1, 0.1, true, "share of the peak at which the cosine ends"),
    WHOLE("trainer", "steps", steps, 1, 1e9, 2000, false, "how long `hanse train` trains if not told"),
    WHOLE("trainer", "deadline_ms", deadline_ms, 1, 600000, 2000, false, "how long a call waits for an expert"),

    NUMBER("experts", "lr", expert_lr, 0, 1, 0.003, true, "peak learning rate of an expert (NAdamW)"),
    NUMBER("experts", "beta1", expert_beta1, 0, 0.999, 0.99, true, "first decay of NAdamW"),
    NUMBER("experts", "beta2", expert_beta2, 0, 0.9999, 0.99, true, "second decay of NAdamW"),
    NUMBER("experts", "weight_decay", expert_weight_decay, 0, 1, 0.01, true, "decoupled weight decay"),
    NUMBER("experts", "clip", expert_clip, 0, 1e6, 1, true, "largest norm of an update's gradient; 0 for no limit"),
    WHOLE("experts", "warmup_updates", expert_warmup, 0, 1e6, 50, true, "updates over which the learning rate rises"),
    WHOLE("experts", "slots_per_update", slots_per_update, 1, 1 << 24, 512, true, "token-slots that make an update"),
    WHOLE("experts", "max_staleness", max_staleness, 0, 1000, 8, true, "versions after which a gradient is dropped"),
    {"experts", "numerics", RUN_KIND_NUMERICS, offsetof(struct run, expert_numerics), 0, N_NUMERICS - 1, NUMERICS_I8X2, true,
     "products of the experts: i8x2 or i8x1 (exact integers of 16 or 8 bits) or f32"},
    {"experts", "coarse", RUN_KIND_COARSE, offsetof(struct run, expert_coarse), 0, 0, 0, true,
     "for research: products of i8x2 that read only the upper 8 bits"},

    WHOLE("hosts", "count", hosts, 1, 65535, 1, true, "hosts that share the experts when they take them by themselves"),
    WHOLE("hosts", "checkpoint_s", checkpoint_s, 1, 1000000, 60, false, "seconds between checkpoints"),
};

const char *const run_key_section[RUN_N_SECTIONS] = {"", "model", "router", "trainer", "experts", "hosts"};

static const char *const trunk_word[] = {
    [RUN_TRUNK_F32] = "f32", [RUN_TRUNK_BLAS] = "blas", [RUN_TRUNK_I8X2] = "i8x2", [RUN_TRUNK_BF16] = "bf16"};

const struct run_key *run_key_find(const char *section, const char *name)
{
    for (size_t i = 0; i < RUN_N_KEYS; i++) {
        const struct run_key *key = &run_key_table[i];
        if (strcmp(key->section, section) == 0 && strcmp(key->name, name) == 0)
            return key;
    }
    return NULL;
}

/* Near means: more than half of the longer word stays. */
const struct run_key *run_key_nearest(const char *section, const char *name)
{
    const struct run_key *nearest = NULL;
    size_t nearest_edits = 0;
    for (size_t i = 0; i < RUN_N_KEYS; i++) {
        const struct run_key *key = &run_key_table[i];
        if (strcmp(key->section, section) != 0)
            continue;
        size_t n = strlen(key->name) > strlen(name) ? strlen(key->name) : strlen(name);
        size_t edits = text_distance(key->name, name);
        if (2 * edits < n && (!nearest || edits < nearest_edits)) {
            nearest = key;
            nearest_edits = edits;
        }
    }
    return nearest;
}

static void *field(const struct run_key *key, struct run *run)
{
    return (char *)run + key->offset;
}

static const void *field_const(const struct run_key *key, const struct run *run)
{
    return (const char *)run + key->offset;
}

static enum run_key_fault set_name(char name[RUN_NAME_MAX], const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(text);
    if (n == 0 || strspn(text, allowed) != n)
        return RUN_KEY_KIND;
    if (n >= RUN_NAME_MAX)
        return RUN_KEY_RANGE;
    memcpy(name, text, n + 1);
    return RUN_KEY_OK;
}

static enum run_key_fault set_whole(const struct run_key *key, uint32_t *out, const char *text)
{
    const char *digits = text + (*text == '-');
    if (*digits == 0 || strspn(digits, "0123456789") != strlen(digits))
        return RUN_KEY_KIND;
    uint64_t value;
    if (!text_u64(&value, text, (uint64_t)key->min, (uint64_t)key->max))
        return RUN_KEY_RANGE;
    *out = (uint32_t)value;
    return RUN_KEY_OK;
}

static enum run_key_fault set_number(const struct run_key *key, float *out, const char *text)
{
    double value;
    if (strspn(text, "+-.0123456789eE") != strlen(text) || !text_double(&value, text))
        return RUN_KEY_KIND;
    if (!(value >= key->min && value <= key->max))
        return RUN_KEY_RANGE;
    *out = (float)(value + 0.0); /* -0 and 0 are one value, so one id */
    return RUN_KEY_OK;
}

static enum run_key_fault set_trunk(enum run_trunk *out, const char *text)
{
    for (int i = 0; i < RUN_N_TRUNKS; i++)
        if (strcmp(text, trunk_word[i]) == 0) {
            *out = (enum run_trunk)i;
            return RUN_KEY_OK;
        }
    return RUN_KEY_KIND;
}

static enum run_key_fault set_numerics(enum numerics *out, const char *text)
{
    for (int i = 0; i < N_NUMERICS; i++)
        if (strcmp(text, numerics_name[i]) == 0) {
            *out = (enum numerics)i;
            return RUN_KEY_OK;
        }
    return RUN_KEY_KIND;
}

/* Each name once, in any order. */
static enum run_key_fault set_coarse(uint32_t *out, const char *text)
{
    uint32_t set = 0;
    if (strcmp(text, "none") == 0)
        text = "";
    for (const char *word = text; *word;) {
        size_t n = strcspn(word, "+"), i = 0;
        while (i < N_PRODUCTS && (strlen(product_name[i]) != n || strncmp(word, product_name[i], n) != 0))
            i++;
        bool is_last = word[n] == 0;
        if (i == N_PRODUCTS || set >> i & 1 || (!is_last && word[n + 1] == 0))
            return RUN_KEY_KIND;
        set |= 1u << i;
        word += is_last ? n : n + 1;
    }
    *out = set;
    return RUN_KEY_OK;
}

enum run_key_fault run_key_set(const struct run_key *key, struct run *run, const char *text)
{
    switch (key->kind) {
    case RUN_KIND_NAME:
        return set_name(field(key, run), text);
    case RUN_KIND_WHOLE:
        return set_whole(key, field(key, run), text);
    case RUN_KIND_NUMBER:
        return set_number(key, field(key, run), text);
    case RUN_KIND_TRUNK:
        return set_trunk(field(key, run), text);
    case RUN_KIND_NUMERICS:
        return set_numerics(field(key, run), text);
    case RUN_KIND_COARSE:
        return set_coarse(field(key, run), text);
    case RUN_KIND_LAYERS:
        break;
    }
    return RUN_KEY_KIND;
}

void run_key_preset(struct run *run)
{
    memset(run, 0, sizeof *run);
    memcpy(run->name, "run", sizeof "run");
    for (size_t i = 0; i < RUN_N_KEYS; i++) {
        const struct run_key *key = &run_key_table[i];
        if (key->kind == RUN_KIND_WHOLE)
            *(uint32_t *)field(key, run) = (uint32_t)key->preset;
        else if (key->kind == RUN_KIND_NUMBER)
            *(float *)field(key, run) = (float)key->preset;
        else if (key->kind == RUN_KIND_NUMERICS)
            *(enum numerics *)field(key, run) = (enum numerics)key->preset;
    }
    run->trunk = RUN_TRUNK_F32;
}

void run_key_print_range(const struct run_key *key, struct buf *out)
{
    switch (key->kind) {
    case RUN_KIND_NAME:
        buf_printf(out, "1 to %d letters, digits, '.', '_' or '-'", RUN_NAME_MAX - 1);
        break;
    case RUN_KIND_WHOLE:
        buf_printf(out, "a whole number from %.0f to %.0f", key->min, key->max);
        break;
    case RUN_KIND_NUMBER:
        buf_printf(out, "a number from %g to %g", key->min, key->max);
        break;
    case RUN_KIND_TRUNK:
        buf_printf(out, "f32, i8x2, blas or bf16");
        break;
    case RUN_KIND_NUMERICS:
        buf_printf(out, "f32, i8x2 or i8x1");
        break;
    case RUN_KIND_COARSE:
        buf_printf(out, "none, or some of in, out, grad_hidden, grad_in, grad_weights_in, grad_weights_out joined by '+'");
        break;
    case RUN_KIND_LAYERS:
        buf_printf(out, "a list of layers such as [1, 3]");
        break;
    }
}

/* The fewest digits that read back as the same float: nine always do. */
static void print_number(struct buf *out, float value)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        double back;
        if (text_double(&back, text) && (float)back == value)
            break;
    }
    buf_printf(out, "%s", text);
}

static void print_layers(struct buf *out, const struct run *run)
{
    const char *separator = "";
    for (uint32_t layer = 0; layer < run->layers; layer++)
        if (run->is_moe[layer]) {
            buf_printf(out, "%s%u", separator, layer);
            separator = ",";
        }
}

static void print_coarse(struct buf *out, uint32_t set)
{
    const char *separator = "";
    for (size_t i = 0; i < N_PRODUCTS; i++)
        if (set >> i & 1) {
            buf_printf(out, "%s%s", separator, product_name[i]);
            separator = "+";
        }
    if (set == 0)
        buf_printf(out, "none");
}

void run_key_print(const struct run_key *key, const struct run *run, struct buf *out)
{
    switch (key->kind) {
    case RUN_KIND_NAME:
        buf_printf(out, "%s", run->name);
        break;
    case RUN_KIND_WHOLE:
        buf_printf(out, "%u", *(const uint32_t *)field_const(key, run));
        break;
    case RUN_KIND_NUMBER:
        print_number(out, *(const float *)field_const(key, run));
        break;
    case RUN_KIND_TRUNK:
        buf_printf(out, "%s", trunk_word[run->trunk]);
        break;
    case RUN_KIND_NUMERICS:
        buf_printf(out, "%s", numerics_name[*(const enum numerics *)field_const(key, run)]);
        break;
    case RUN_KIND_COARSE:
        print_coarse(out, *(const uint32_t *)field_const(key, run));
        break;
    case RUN_KIND_LAYERS:
        print_layers(out, run);
        break;
    }
}
