/**
 * model/run_key.h - the one table of run.yaml's keys.
 *
 * Parser, ranges, defaults, canonical form, the listing of `hanse plan` and the manual page all read it, so a key that is
 * in the table is known everywhere.  Rows stand in the order of the canonical form.
 */
#ifndef MODEL_RUN_KEY_H
#define MODEL_RUN_KEY_H

#include "base/buf.h"
#include "model/run.h"

enum run_kind {
    RUN_KIND_NAME,     /* char[RUN_NAME_MAX]: letters, digits, '.', '_', '-' */
    RUN_KIND_WHOLE,    /* uint32_t */
    RUN_KIND_NUMBER,   /* float */
    RUN_KIND_TRUNK,    /* enum run_trunk: f32, i8x2, blas, bf16 */
    RUN_KIND_NUMERICS, /* enum numerics: f32, i8x2, i8x1 */
    RUN_KIND_COARSE,   /* uint32_t, a set of enum expert_product: none, or names joined by + */
    RUN_KIND_LAYERS,   /* a list of layer numbers: is_moe and n_moe */
};

struct run_key {
    const char *section; /* "" at the top */
    const char *name;
    enum run_kind kind;
    size_t offset;    /* of the field in struct run */
    double min, max;  /* of a number, both allowed */
    double preset;    /* the default; below min: computed from other keys, as `help` says */
    bool is_in_id;    /* part of the canonical form */
    const char *help; /* half a sentence */
};

#define RUN_N_KEYS 42
extern const struct run_key run_key_table[RUN_N_KEYS];

/** The sections in order, "" first. */
#define RUN_N_SECTIONS 6
extern const char *const run_key_section[RUN_N_SECTIONS];

/** A row of the table; NULL when there is none. */
const struct run_key *run_key_find(const char *section, const char *name);

/** The known key of the section that is nearest to a misspelt one by edits; NULL when none is near. */
const struct run_key *run_key_nearest(const char *section, const char *name);

enum run_key_fault { RUN_KEY_OK, RUN_KEY_KIND, RUN_KEY_RANGE };

/** Sets a key other than a list of layers from its text. */
enum run_key_fault run_key_set(const struct run_key *key, struct run *run, const char *text);

/** Sets every key to its default; computed ones to 0 or empty. */
void run_key_preset(struct run *run);

/** Appends "a whole number from 8 to 16384" and the like. */
void run_key_print_range(const struct run_key *key, struct buf *out);

/** Appends the value that a key has in `run`: a number in its shortest exact form, layers as "1,3". */
void run_key_print(const struct run_key *key, const struct run *run, struct buf *out);

#endif
