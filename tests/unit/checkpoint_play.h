/**
 * tests/unit/checkpoint_play.h - small states to save, and a log that is listened to.
 */
#ifndef TESTS_CHECKPOINT_PLAY_H
#define TESTS_CHECKPOINT_PLAY_H

#include <stdio.h>

#include "base/log.h"
#include "base/random.h"
#include "experts/manifest.h"
#include "memory_disk.h"

#define STATE_FLOATS 300
#define STATE_BIG ((size_t)3 * CHUNK_BYTES / 2 / sizeof(float)) /* one and a half chunks */

struct play_state {
    float small[STATE_FLOATS];
    float big[STATE_BIG];
    int64_t counter[2];
    struct checkpoint_tensor tensor[3];
};

/** Fills a state with what belongs to `seed`; `big` is in two chunks. */
static inline void state_fill(struct play_state *s, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, "state");
    for (size_t i = 0; i < STATE_FLOATS; i++)
        s->small[i] = rng_unit(&rng);
    for (size_t i = 0; i < STATE_BIG; i++)
        s->big[i] = (float)(i % 1000) + (float)seed;
    s->counter[0] = (int64_t)seed;
    s->counter[1] = -1;
    s->tensor[0] = (struct checkpoint_tensor){"small.weight", CHECKPOINT_F32, 2, {30, 10}, s->small, NULL};
    s->tensor[1] = (struct checkpoint_tensor){"big.weight", CHECKPOINT_F32, 1, {STATE_BIG}, s->big, NULL};
    s->tensor[2] = (struct checkpoint_tensor){"state.counters", CHECKPOINT_I64, 1, {2}, s->counter, NULL};
}

static inline bool state_is(const struct play_state *s, uint64_t seed)
{
    static struct play_state expected;
    state_fill(&expected, seed);
    return memcmp(s, &expected, offsetof(struct play_state, tensor)) == 0;
}

static inline struct key *play_key(uint8_t seed)
{
    uint8_t bytes[KEY_SEED_BYTES] = {seed};
    struct key *key;
    ck_assert_int_eq(key_new(bytes, &key), 0);
    return key;
}

static inline struct checkpoint_info play_info(const char *name, uint32_t epoch, uint64_t version)
{
    struct checkpoint_info info = {.run = {{9}}, .epoch = epoch, .version = version, .time_us = 1000 + version};
    memset(info.log_head.byte, 3, HASH_BYTES);
    snprintf(info.name, sizeof info.name, "%s", name);
    return info;
}

/** Saves the state of `seed`; returns what checkpoint_save() did. */
static inline int state_save(struct memory_disk *d, const char *name, uint32_t epoch, uint64_t version, uint64_t seed)
{
    static struct play_state s;
    struct key *key = play_key(1);
    struct checkpoint_info info = play_info(name, epoch, version);
    state_fill(&s, seed);
    int err = checkpoint_save(&d->disk, key, &info, s.tensor, 3);
    key_free(key);
    return err;
}

/** Lines that were logged since log_listen(), one after the other. */
struct heard {
    int n;
    char text[8192];
};

static inline void log_hear(void *arg, enum log_level level, const char *line)
{
    struct heard *heard = arg;
    size_t n = strlen(heard->text);
    (void)level;
    heard->n++;
    snprintf(heard->text + n, sizeof heard->text - n, "%s\n", line);
}

static inline void log_listen(struct heard *heard)
{
    *heard = (struct heard){.n = 0};
    log_set_sink(log_hear, heard);
}

#endif
