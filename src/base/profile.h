/**
 * base/profile.h - where the threads of this process spend their time.
 *
 * A thread is in one span at a time: profile_enter() ends the one and begins the next, so nothing is counted twice and nothing
 * is left out.  Off, which is how a process starts, that costs one test of a pointer; on, one reading of the clock
 * and a few stores to memory that only this thread writes.
 * Whoever owns a clock hands it in (src/cmd does); nobody here reads one.  Any thread.
 */
#ifndef BASE_PROFILE_H
#define BASE_PROFILE_H

#include <stddef.h>
#include <stdint.h>

#define PROFILE_THREADS_MAX 256 /* later threads are not counted */
#define PROFILE_THREAD_NAME_MAX 32

enum profile_span {
    PROFILE_EMBED_NORM, /* embedding, norms, rotation, residual sums */
    PROFILE_ATTENTION_PRODUCT,
    PROFILE_ATTENTION,
    PROFILE_SWIGLU,
    PROFILE_GATE,
    PROFILE_COMBINE,
    PROFILE_HEAD,
    PROFILE_ROUND, /* activations and weights to integers; gradients are counted with their products */
    PROFILE_EXPERT_FORWARD,
    PROFILE_EXPERT_BACKWARD,
    PROFILE_EXPERT_UPDATE,
    PROFILE_GRADIENT,
    PROFILE_MUON,
    PROFILE_ADAM,
    PROFILE_MESSAGE,
    PROFILE_OTHER,
    PROFILE_IDLE,
    PROFILE_N_SPANS
};

/** Nanoseconds of each span. */
struct profile_time {
    uint64_t ns[PROFILE_N_SPANS];
};

extern uint64_t (*profile_clock)(void);

/** Turns counting on for the rest of the process: `now_ns` never goes back.  Call before the threads that are to be counted start. */
void profile_start(uint64_t (*now_ns)(void));

/** Names the calling thread and begins to count it, as PROFILE_IDLE.  A thread that never says this is never counted. */
void profile_thread(const char *name);

/** profile_enter() when it is on. */
void profile_switch(enum profile_span span);

/** The span that the calling thread is in; PROFILE_OTHER for one that is not counted. */
enum profile_span profile_now(void);

/** From now on the calling thread is in `span`. */
static inline void profile_enter(enum profile_span span)
{
    if (profile_clock)
        profile_switch(span);
}

/** Threads counted so far, in the order in which they came; their names, and their times up to now. */
size_t profile_n_threads(void);
const char *profile_thread_name(size_t thread);
struct profile_time profile_thread_time(size_t thread);

/** What a span is called in a table, and in JSON. */
const char *profile_title(enum profile_span span);
const char *profile_key(enum profile_span span);

#endif
