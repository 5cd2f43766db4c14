#include "base/profile.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

/* One writer, its thread; readers may see it one switch late. */
struct record {
    _Alignas(128) char name[PROFILE_THREAD_NAME_MAX];
    atomic_bool is_named;
    _Atomic uint64_t since_ns;
    _Atomic uint32_t span; /* the one that began at since_ns */
    _Atomic uint64_t ns[PROFILE_N_SPANS];
};

static struct record records[PROFILE_THREADS_MAX];
static _Atomic size_t n_records;
static _Thread_local struct record *mine;

uint64_t (*profile_clock)(void);

static const struct {
    const char *title, *key;
} words[PROFILE_N_SPANS] = {
    [PROFILE_EMBED_NORM] = {"embedding, norms, rotation", "embed_norm"},
    [PROFILE_ATTENTION_PRODUCT] = {"attention: products q, k, v, o", "attention_product"},
    [PROFILE_ATTENTION] = {"attention: scores and sums", "attention"},
    [PROFILE_SWIGLU] = {"SwiGLU, dense and shared", "swiglu"},
    [PROFILE_GATE] = {"gate and top-k", "gate"},
    [PROFILE_COMBINE] = {"rows to experts, answers combined", "combine"},
    [PROFILE_HEAD] = {"head and loss", "head"},
    [PROFILE_ROUND] = {"rounding and packing to integers", "round"},
    [PROFILE_EXPERT_FORWARD] = {"experts: forward", "expert_forward"},
    [PROFILE_EXPERT_BACKWARD] = {"experts: backward", "expert_backward"},
    [PROFILE_EXPERT_UPDATE] = {"experts: update", "expert_update"},
    [PROFILE_GRADIENT] = {"trunk: sum and norm of gradients", "gradient"},
    [PROFILE_MUON] = {"trunk: Muon", "muon"},
    [PROFILE_ADAM] = {"trunk: AdamW", "adam"},
    [PROFILE_MESSAGE] = {"messages", "message"},
    [PROFILE_OTHER] = {"data, checkpoints, the rest", "other"},
    [PROFILE_IDLE] = {"idle", "idle"},
};

void profile_start(uint64_t (*now_ns)(void))
{
    profile_clock = now_ns;
}

void profile_thread(const char *name)
{
    if (!profile_clock || mine)
        return;
    size_t i = atomic_fetch_add_explicit(&n_records, 1, memory_order_relaxed);
    if (i >= PROFILE_THREADS_MAX)
        return;
    struct record *x = &records[i];
    snprintf(x->name, sizeof x->name, "%s", name);
    atomic_store_explicit(&x->span, PROFILE_IDLE, memory_order_relaxed);
    atomic_store_explicit(&x->since_ns, profile_clock(), memory_order_relaxed);
    atomic_store_explicit(&x->is_named, true, memory_order_release);
    mine = x;
}

static uint64_t get(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

void profile_switch(enum profile_span span)
{
    struct record *x = mine;
    uint32_t before = x ? atomic_load_explicit(&x->span, memory_order_relaxed) : span;
    if (before == span)
        return;
    uint64_t now_ns = profile_clock();
    atomic_store_explicit(&x->ns[before], get(&x->ns[before]) + (now_ns - get(&x->since_ns)), memory_order_relaxed);
    atomic_store_explicit(&x->since_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&x->span, span, memory_order_relaxed);
}

enum profile_span profile_now(void)
{
    return mine ? (enum profile_span)atomic_load_explicit(&mine->span, memory_order_relaxed) : PROFILE_OTHER;
}

size_t profile_n_threads(void)
{
    size_t n = atomic_load_explicit(&n_records, memory_order_relaxed);
    return n < PROFILE_THREADS_MAX ? n : PROFILE_THREADS_MAX;
}

const char *profile_thread_name(size_t thread)
{
    return atomic_load_explicit(&records[thread].is_named, memory_order_acquire) ? records[thread].name : "";
}

/* The span under way counts up to now. */
struct profile_time profile_thread_time(size_t thread)
{
    const struct record *x = &records[thread];
    struct profile_time time = {{0}};
    if (!atomic_load_explicit(&x->is_named, memory_order_acquire))
        return time;
    for (size_t i = 0; i < PROFILE_N_SPANS; i++)
        time.ns[i] = get(&x->ns[i]);
    uint64_t since_ns = get(&x->since_ns), now_ns = profile_clock();
    if (now_ns > since_ns)
        time.ns[atomic_load_explicit(&x->span, memory_order_relaxed)] += now_ns - since_ns;
    return time;
}

const char *profile_title(enum profile_span span)
{
    return words[span].title;
}

const char *profile_key(enum profile_span span)
{
    return words[span].key;
}
