/*
 * tests/kernels/second_expert.c - lives of small experts for second.py: what they were asked, what they answered, what they became.
 */
#include <math.h>

#include "base/log.h"
#include "experts/expert.h"
#include "kernels/ref/ref.h"
#include "tests/kernels/dice.h"
#include "tests/kernels/second_print.h"

enum { D = 3, H = 4, ROWS_MAX = 300, UPDATES = 6 };

struct life {
    struct dice dice;
    struct expert *x;
    float rows[2][ROWS_MAX * D], weight[ROWS_MAX], out[ROWS_MAX * D];
    int8_t exponent[2][ROWS_MAX], high[2][ROWS_MAX * D], low[2][ROWS_MAX * D];
    void *work;
};

static void born(struct life *life, enum numerics numerics, float clip)
{
    struct expert_config c = {.D = D,
                              .H = H,
                              .lr = 1e-2f,
                              .beta1 = 0.99f,
                              .beta2 = 0.95f,
                              .eps = 1e-8f,
                              .weight_decay = 0.1f,
                              .clip = clip,
                              .warmup_updates = 4,
                              .slots_per_update = 8,
                              .max_staleness = 9,
                              .numerics = numerics};
    struct hash run = hash_bytes("second", 6);
    int err = expert_new(&c, &ref_kernels, &run, "L1.2", &life->x);
    assert(!err);
    life->work = aligned_alloc(64, (expert_work_bytes(life->x, ROWS_MAX) + 63) / 64 * 64);
    begin("expert_new");
    number("numerics", numerics), number("D", D), number("H", H), number("warmup", 4), number("max_staleness", 9);
    floats("config", (float[]){c.lr, c.beta1, c.beta2, c.eps, c.weight_decay, c.clip}, 6);
    floats("param", life->x->param, expert_n_params(&c));
    end();
}

static struct rows draw_rows(struct life *life, int which, size_t n, bool is_bad)
{
    enum numerics numerics = life->x->config.numerics;
    float *x = life->rows[which];
    int8_t *exponent = life->exponent[which], *high = life->high[which], *low = life->low[which];
    static const enum kind kinds[] = {PLAIN, PLAIN, PLAIN, TINY};
    for (size_t r = 0; r < n; r++) {
        enum kind kind = kinds[dice_below(&life->dice, 4)];
        for (size_t i = 0; i < D; i++)
            x[r * D + i] = dice_float(&life->dice, kind) * (dice_below(&life->dice, 5) ? 1.0f : 30.0f);
    }
    if (is_bad)
        x[dice_below(&life->dice, n * D)] = dice_below(&life->dice, 2) ? -0x1p20f : NAN;
    if (numerics == NUMERICS_F32) {
        floats(which ? "gy" : "x", x, n * D);
        return (struct rows){.f32 = x};
    }
    low = numerics == NUMERICS_I8X2 ? low : NULL;
    ref_quantize_rows(high, low, exponent, x, D, NULL, n, D);
    assert(is_bad || !memchr(exponent, QUANTIZE_BAD, n));
    bytes(which ? "gy_exponent" : "x_exponent", exponent, n), bytes(which ? "gy_high" : "x_high", high, n * D);
    bytes(which ? "gy_low" : "x_low", low ? low : high, n * D);
    return (struct rows){.exponent = exponent, .high = high, .low = low};
}

static void ask(struct life *life, size_t n, bool is_bad)
{
    static const int age[] = {0, 0, 1, 2, 4, 5, 9, 10};
    struct expert *x = life->x;
    uint64_t staleness, version = x->version + (uint64_t)age[dice_below(&life->dice, 8)];
    float lr_scale = fabsf(dice_unit(&life->dice));
    bool has_weight = dice_below(&life->dice, 2);
    begin("expert_call");
    struct rows rows = draw_rows(life, 0, n, is_bad), gy = draw_rows(life, 1, n, false);
    for (size_t r = 0; r < n; r++)
        life->weight[r] = dice_below(&life->dice, 4) ? fabsf(dice_unit(&life->dice)) : 0.0f;
    floats("weight", life->weight, has_weight ? n : 0), floats("lr_scale", &lr_scale, 1);
    number("n", (long)n), number("version", (long)version);
    int err = expert_forward(x, life->out, &rows, life->work, n);
    number("=is_refused", err != 0), floats("=y", life->out, err ? 0 : n * D);
    err = expert_backward(x, life->out, &rows, &gy, has_weight ? life->weight : NULL, life->work, n, version, lr_scale,
                          &staleness);
    number("=is_backward_refused", err != 0), floats("=gx", life->out, err ? 0 : n * D);
    end();
}

static void update(struct life *life)
{
    struct expert *x = life->x;
    size_t n = expert_n_params(&x->config);
    int err = expert_update(x);
    assert(!err);
    begin("expert_update");
    floats("=param", x->param, n), floats("=moment1", x->moment1, n), floats("=moment2", x->moment2, n);
    end();
}

/* The last update of a life has more rows than a block. */
static void live(enum numerics numerics, float clip, uint64_t seed)
{
    static struct life life;
    life.dice = (struct dice){seed};
    born(&life, numerics, clip);
    for (int t = 0; t < UPDATES; t++) {
        for (size_t calls = 1 + dice_below(&life.dice, 3); calls > 0; calls--)
            ask(&life, t == UPDATES - 1 ? 140 : 1 + dice_below(&life.dice, 5), dice_below(&life.dice, 6) == 0);
        if (t == UPDATES - 1)
            ask(&life, 150, false), ask(&life, 7, false);
        update(&life);
    }
    expert_free(life.x);
    free(life.work);
}

static void say_nothing(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

void second_experts(void)
{
    log_set_sink(say_nothing, NULL);
    for (int numerics = 0; numerics < N_NUMERICS; numerics++) {
        live((enum numerics)numerics, 1e-2f, 1 + (uint64_t)numerics);
        live((enum numerics)numerics, 0, 11 + (uint64_t)numerics);
    }
}
