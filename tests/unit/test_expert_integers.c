/*
 * tests/unit/test_expert_integers.c - an expert in integers: to the bit what expert.h says, near what floats give, and blind to how its
 * rows are cut.
 */
#include <math.h>
#include <stdio.h>

#include "base/log.h"
#include "expert_play.h"
#include "experts/checkpoint.h"
#include "memory_disk.h"

enum { D = 11, H = 14, N = 700, GATE = 0, UP = D * H, DOWN = 2 * D * H, N_PARAMS = 3 * D * H };

static const enum numerics kinds[] = {NUMERICS_I8X2, NUMERICS_I8X1};

static struct expert *new_expert(const char *isa, enum numerics numerics)
{
    struct expert_config c = play_config(D, H);
    c.numerics = numerics;
    c.slots_per_update = 300;
    return play_expert(isa, &c, "L0.0");
}

/* Rows of every length: far more than a block, with weights and what calls for integers. */
struct scene {
    float x[N * D], gy[N * D], weight[N], y[N * D], gx[N * D];
    int8_t exponent[2][N], high[2][N * D], low[2][N * D];
    struct rows rows, grad;
    _Alignas(64) char work[1 << 20];
};

static struct scene scene;

static void draw(struct scene *s, const struct expert *x, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, "scene");
    for (size_t i = 0; i < N * D; i++) {
        s->x[i] = 4 * rng_unit(&rng) - 2;
        s->gy[i] = (rng_unit(&rng) - 0.5f) / 8;
    }
    for (size_t i = 0; i < N; i++)
        s->weight[i] = rng_unit(&rng);
    for (size_t i = 0; i < D; i++)
        s->x[3 * D + i] = s->gy[5 * D + i] = 0;
    bool is_double = x->config.numerics == NUMERICS_I8X2;
    for (int i = 0; i < 2; i++) {
        struct rows *to = i ? &s->grad : &s->rows;
        const float *from = i ? s->gy : s->x;
        *to = (struct rows){.f32 = from};
        if (x->config.numerics == NUMERICS_F32)
            continue;
        *to = (struct rows){.exponent = s->exponent[i], .high = s->high[i], .low = is_double ? s->low[i] : NULL};
        x->kernels->quantize_rows(s->high[i], is_double ? s->low[i] : NULL, s->exponent[i], from, D, NULL, N, D);
    }
}

static struct rows part(const struct rows *rows, size_t at)
{
    if (rows->f32)
        return (struct rows){.f32 = rows->f32 + at * D};
    return (struct rows){.exponent = rows->exponent + at, .high = rows->high + at * D, .low = rows->low ? rows->low + at * D : 0};
}

static int backward(struct expert *x, struct scene *s, size_t at, size_t n, uint64_t version)
{
    struct rows rows = part(&s->rows, at), grad = part(&s->grad, at);
    uint64_t staleness;
    ck_assert_uint_le(expert_work_bytes(x, n), sizeof s->work);
    int err = expert_backward(x, s->gx + at * D, &rows, &grad, s->weight + at, s->work, n, version, 0.7f, &staleness);
    ck_assert(!x->integers || x->integers->block.n == x->grad_slots % EXPERT_BLOCK);
    return err;
}

/* -- The definition once more, in plain loops ------------------------------------------------------ */

/* A group's integers; `step` from one element to the next. */
static int hand_round(int32_t *q, const float *x, size_t step, size_t n, const int8_t *fold, bool is_double)
{
    double most = 0, limit = is_double ? 32639 : 127;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs(ldexp(x[i * step], fold ? fold[i] : 0)));
    int e = -114;
    while (most >= 0x1p-100 && rint(ldexp(most, -e)) > limit)
        e++;
    for (size_t i = 0; i < n; i++)
        q[i * step] = most < 0x1p-100 ? 0 : (int32_t)rint(ldexp(x[i * step], (fold ? fold[i] : 0) - e));
    return e;
}

/* One output: K products of integers, the low slices' left out, and one rounding. */
static float hand_product(const int32_t *a, size_t a_step, const int32_t *b, size_t b_step, size_t K, int s, bool is_double,
                          float y)
{
    int64_t z = 0;
    for (size_t k = 0; k < K; k++) {
        int64_t p = a[k * a_step], q = b[k * b_step], p_high = (p + 128) >> 8, q_high = (q + 128) >> 8;
        if (is_double) /* 256 times the sum of the high, and the two mixed: pq / 256 without what the low ones give */
            z += 256 * p_high * q_high + p_high * (q - 256 * q_high) + (p - 256 * p_high) * q_high;
        else
            z += p * q;
    }
    s += is_double ? 8 : 0;
    return fmaf((float)z, s < -100 ? 0 : ldexpf(1, s), y);
}

/* What an expert holds, and the rows whose gradient waits. */
struct hand {
    bool is_double;
    int32_t w[N_PARAMS];         /* gate and up (D, H), down (H, D) */
    int8_t exponent[3][H];       /* of each hidden unit */
    size_t n;                    /* rows in the block */
    int32_t x[N * D], gy[N * D]; /* all rows ever given; the block is the last n of n_all */
    int8_t x_exponent[N], gy_exponent[N];
    float gg[N * H], gu[N * H], h[N * H], grad[N_PARAMS];
    size_t n_all;
};

static struct hand hand;

static void hand_set(struct hand *a, const float *param)
{
    for (size_t j = 0; j < H; j++) {
        a->exponent[0][j] = (int8_t)hand_round(a->w + GATE + j, param + GATE + j, H, D, NULL, a->is_double);
        a->exponent[1][j] = (int8_t)hand_round(a->w + UP + j, param + UP + j, H, D, NULL, a->is_double);
        a->exponent[2][j] = (int8_t)hand_round(a->w + DOWN + j * D, param + DOWN + j * D, 1, D, NULL, a->is_double);
    }
}

static int32_t integer(const struct rows *rows, size_t i)
{
    return rows->low ? 256 * rows->high[i] + rows->low[i] : rows->high[i];
}

/* y += g W^T with g rounded after W's exponents are taken in; w_step from one hidden unit to the next. */
static void hand_back(const struct hand *a, float y[D], const float *g, int m, const int32_t *w, size_t w_step, size_t w_next)
{
    int32_t q[H];
    int e = hand_round(q, g, 1, H, a->exponent[m], a->is_double);
    for (size_t i = 0; i < D; i++)
        y[i] = hand_product(q, 1, w + i * w_next, w_step, H, e, a->is_double, y[i]);
}

static void hand_hidden(const struct hand *a, const struct kernels *k, const int32_t *x, int e, float *g, float *u, float *h)
{
    for (size_t j = 0; j < H; j++) {
        g[j] = hand_product(x, 1, a->w + GATE + j, H, D, e + a->exponent[0][j], a->is_double, 0);
        u[j] = hand_product(x, 1, a->w + UP + j, H, D, e + a->exponent[1][j], a->is_double, 0);
    }
    k->swiglu(h, g, u, H);
}

/* One row, appended to those that wait; damping as a factor. */
static void hand_row(struct hand *a, const struct kernels *k, const struct rows *rows, const struct rows *grad, size_t r,
                     float weight, float damping, float y[D], float gx[D])
{
    size_t at = a->n_all;
    float g[H], u[H], gh[H], *h = a->h + at * H, *gg = a->gg + at * H, *gu = a->gu + at * H;
    for (size_t i = 0; i < D; i++) {
        a->x[at * D + i] = integer(rows, r * D + i);
        a->gy[at * D + i] = integer(grad, r * D + i);
        y[i] = gx[i] = 0;
    }
    a->x_exponent[at] = rows->exponent[r];
    a->gy_exponent[at] = grad->exponent[r];
    hand_hidden(a, k, a->x + at * D, rows->exponent[r], g, u, h);
    hand_back(a, y, h, 2, a->w + DOWN, D, 1);
    for (size_t j = 0; j < H; j++) {
        gh[j] = hand_product(a->gy + at * D, 1, a->w + DOWN + j * D, 1, D, grad->exponent[r] + a->exponent[2][j], a->is_double,
                             0);
        gh[j] *= weight;
        h[j] = h[j] * weight * damping;
    }
    k->swiglu_grad(gg, gu, gh, g, u, H);
    hand_back(a, gx, gg, 0, a->w + GATE, 1, H);
    hand_back(a, gx, gu, 1, a->w + UP, 1, H);
    for (size_t j = 0; j < H; j++) {
        gg[j] *= damping;
        gu[j] *= damping;
    }
    a->n_all++;
    a->n++;
}

/* c (D, H) or, with the steps exchanged, (H, D) += x^T g over the last n rows. */
static void hand_sum(struct hand *a, float *c, size_t D_step, size_t H_step, const int32_t *x, const int8_t *fold, const float *g)
{
    static int32_t q[N * H];
    size_t first = a->n_all - a->n;
    for (size_t j = 0; j < H; j++) {
        int e = hand_round(q + j, g + first * H + j, H, a->n, fold + first, a->is_double);
        for (size_t i = 0; i < D; i++) {
            float *at = c + i * D_step + j * H_step;
            *at = hand_product(x + first * D + i, D, q + j, H, a->n, e, a->is_double, *at);
        }
    }
}

static void hand_sums(struct hand *a)
{
    hand_sum(a, a->grad + GATE, H, 1, a->x, a->x_exponent, a->gg);
    hand_sum(a, a->grad + UP, H, 1, a->x, a->x_exponent, a->gu);
    hand_sum(a, a->grad + DOWN, 1, D, a->gy, a->gy_exponent, a->h);
    a->n = 0;
}

START_TEST(test_to_the_bit)
{
    struct expert *x = new_expert(_i % 4 < 2 ? NULL : "ref", kinds[_i % 2]), *before;
    float y[D], gx[D];
    draw(&scene, x, (uint64_t)_i);
    hand = (struct hand){.is_double = kinds[_i % 2] == NUMERICS_I8X2};
    hand_set(&hand, x->param);
    x->version = 5; /* the second half is stale by two versions: damped by a half */
    ck_assert_int_eq(expert_forward(x, scene.y, &scene.rows, scene.work, N), 0);
    ck_assert_int_eq(backward(x, &scene, 0, N / 2, 4), 0);
    ck_assert_int_eq(backward(x, &scene, N / 2, N / 2, 3), 0);
    for (size_t r = 0; r < N; r++) {
        hand_row(&hand, x->kernels, &scene.rows, &scene.grad, r, scene.weight[r], r < N / 2 ? 1 : 0.5f, y, gx);
        ck_assert_mem_eq(y, scene.y + r * D, sizeof y);
        ck_assert_mem_eq(gx, scene.gx + r * D, sizeof gx);
        if (hand.n == EXPERT_BLOCK)
            hand_sums(&hand);
    }
    ck_assert_mem_eq(x->grad, hand.grad, sizeof hand.grad);
    ck_assert_uint_eq(x->integers->block.n, N % EXPERT_BLOCK);
    ck_assert_int_eq(expert_copy(x, &before), 0);
    expert_params_changed(before);
    hand_sums(&hand); /* an update takes in a short block */
    ck_assert_int_eq(expert_update(x), 0);
    ck_assert_uint_eq(x->integers->block.n, 0);
    before->integers->block.n = 0;
    memcpy(before->grad, hand.grad, sizeof hand.grad);
    ck_assert_int_eq(expert_update(before), 0);
    ck_assert_mem_eq(x->param, before->param, sizeof hand.grad);
    ck_assert_mem_eq(x->moment2, before->moment2, sizeof hand.grad);

    hand_set(&hand, x->param); /* and the next forward is that of the new weights */
    ck_assert_int_eq(expert_forward(x, scene.y, &scene.rows, scene.work, 1), 0);
    hand.n_all = 0;
    hand_row(&hand, x->kernels, &scene.rows, &scene.grad, 0, 1, 1, y, gx);
    ck_assert_mem_eq(y, scene.y, sizeof y);
    expert_free(x);
    expert_free(before);
}
END_TEST

/* -- Near floats ----------------------------------------------------------------------------------- */

static float distance(const float *a, const float *b, size_t n)
{
    double off = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        off += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)b[i] * b[i];
    }
    return (float)sqrt(off / all);
}

static const float near[] = {2e-4f, 5e-2f};

START_TEST(test_near_floats)
{
    static float y[N * D], gx[N * D];
    struct expert *floats = new_expert(NULL, NUMERICS_F32), *x = new_expert(NULL, kinds[_i % 2]);
    draw(&scene, floats, (uint64_t)_i);
    ck_assert_int_eq(expert_forward(floats, y, &scene.rows, scene.work, N), 0);
    ck_assert_int_eq(backward(floats, &scene, 0, N, 0), 0);
    memcpy(gx, scene.gx, sizeof gx);
    draw(&scene, x, (uint64_t)_i);
    ck_assert_int_eq(expert_forward(x, scene.y, &scene.rows, scene.work, N), 0);
    ck_assert_int_eq(backward(x, &scene, 0, N, 0), 0);
    integers_sum(x);
    ck_assert_float_lt(distance(scene.y, y, N * D), near[_i % 2]);
    ck_assert_float_lt(distance(scene.gx, gx, N * D), near[_i % 2]);
    for (size_t m = 0; m < 3; m++)
        ck_assert_float_lt(distance(x->grad + m * D * H, floats->grad + m * D * H, D * H), near[_i % 2]);
    expert_free(floats);
    expert_free(x);
}
END_TEST

/* Which of y, gx and the three gradients a coarse product moves. */
static const bool moves[N_PRODUCTS][5] = {
    [PRODUCT_IN] = {true, true, true, true, true},
    [PRODUCT_OUT] = {true, false, false, false, false},
    [PRODUCT_GRAD_HIDDEN] = {false, true, true, true, false},
    [PRODUCT_GRAD_IN] = {false, true, false, false, false},
    [PRODUCT_GRAD_WEIGHTS_IN] = {false, false, true, true, false},
    [PRODUCT_GRAD_WEIGHTS_OUT] = {false, false, false, false, true},
};

START_TEST(test_coarse_products)
{
    static float y[N * D], gx[N * D];
    struct expert_config c = play_config(D, H);
    c.numerics = NUMERICS_I8X2;
    struct expert *fine = play_expert(NULL, &c, "L0.0");
    c.coarse = 1u << _i;
    struct expert *coarse = play_expert(NULL, &c, "L0.0");
    draw(&scene, fine, 1);
    ck_assert_int_eq(expert_forward(fine, y, &scene.rows, scene.work, N), 0);
    ck_assert_int_eq(backward(fine, &scene, 0, N, 0), 0);
    memcpy(gx, scene.gx, sizeof gx);
    ck_assert_int_eq(expert_forward(coarse, scene.y, &scene.rows, scene.work, N), 0);
    ck_assert_int_eq(backward(coarse, &scene, 0, N, 0), 0);
    integers_sum(fine);
    integers_sum(coarse);
    const float *got[] = {scene.y, scene.gx, coarse->grad, coarse->grad + UP, coarse->grad + DOWN};
    const float *want[] = {y, gx, fine->grad, fine->grad + UP, fine->grad + DOWN};
    for (size_t i = 0; i < 5; i++) {
        float off = distance(got[i], want[i], i < 2 ? N * D : D * H);
        ck_assert_float_lt(off, near[1]);
        ck_assert_msg(moves[_i][i] == (off > 1e-3f), "%s: result %zu moved by %g", product_name[_i], i, (double)off);
    }
    expert_free(fine);
    expert_free(coarse);
}
END_TEST

/* -- How rows are cut ------------------------------------------------------------------------------ */

/* All rows in pieces of up to n_most, an update wherever `update_at` rows have come. */
static void play(struct expert *x, struct rng *rng, size_t n_most, size_t update_at)
{
    for (size_t at = 0, n; at < N; at += n) {
        n = 1 + rng_below(rng, n_most);
        size_t to_update = update_at - at % update_at;
        n = n < to_update ? n : to_update;
        n = n < N - at ? n : N - at;
        ck_assert_int_eq(backward(x, &scene, at, n, 0), 0);
        if ((at + n) % update_at == 0)
            ck_assert_int_eq(expert_update(x), 0);
    }
}

START_TEST(test_split)
{
    static const size_t update_at[] = {N + 1, 300, 256, 512, 100};
    struct expert *whole = new_expert(NULL, kinds[_i % 2]), *cut = new_expert(NULL, kinds[_i % 2]);
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "split");
    draw(&scene, whole, (uint64_t)_i);
    play(whole, &rng, N, update_at[_i % 5]);
    play(cut, &rng, _i % 3 ? 40 : 300, update_at[_i % 5]);
    struct hash a = play_state(whole), b = play_state(cut);
    ck_assert(hash_equal(&a, &b));
    struct hash root_a, root_b;
    ck_assert_int_eq(expert_root(whole, &root_a), 0);
    ck_assert_int_eq(expert_root(cut, &root_b), 0);
    ck_assert(hash_equal(&root_a, &root_b));
    expert_free(whole);
    expert_free(cut);
}
END_TEST

START_TEST(test_same_bits_everywhere)
{
    struct expert *a = new_expert("ref", kinds[_i % 2]), *b = new_expert(NULL, kinds[_i % 2]);
    for (uint64_t i = 0; i < 20; i++) {
        struct hash root_a, root_b;
        a->config.slots_per_update = b->config.slots_per_update = i % 2 ? 8 : 280;
        play_train(a, i, i % 2 ? 10 : 1);
        play_train(b, i, i % 2 ? 10 : 1);
        ck_assert_int_eq(expert_root(a, &root_a), 0);
        ck_assert_int_eq(expert_root(b, &root_b), 0);
        ck_assert(hash_equal(&root_a, &root_b));
    }
    expert_free(a);
    expert_free(b);
}
END_TEST

/* -- What is refused ------------------------------------------------------------------------------- */

static void refused(struct expert *x)
{
    struct hash before = play_state(x);
    ck_assert_int_eq(backward(x, &scene, 0, 9, 0), HANSE_EREJECT);
    struct hash after = play_state(x);
    ck_assert(hash_equal(&before, &after));
}

START_TEST(test_reject)
{
    struct expert *x = new_expert(NULL, kinds[_i]);
    int8_t most = _i == 0 ? EXPERT_EXPONENT_MAX_I8X2 : EXPERT_EXPONENT_MAX_I8X1;
    draw(&scene, x, 1);
    ck_assert_int_eq(backward(x, &scene, 0, 30, 0), 0);
    for (int which = 0; which < 2; which++) {
        const int8_t bad[] = {(int8_t)(most + 1), QUANTIZE_BAD, QUANTIZE_EXPONENT_MIN - 1, INT8_MIN};
        int8_t *exponent = &scene.exponent[which][4], *high = &scene.high[which][5 * D + 3], old = *exponent, old_high = *high;
        for (size_t i = 0; i < 4; i++) {
            *exponent = bad[i];
            if (which == 0)
                ck_assert_int_eq(expert_forward(x, scene.y, &scene.rows, scene.work, 9), HANSE_EREJECT);
            refused(x);
        }
        *exponent = old;
        *high = INT8_MIN;
        if (which == 0)
            ck_assert_int_eq(expert_forward(x, scene.y, &scene.rows, scene.work, 9), HANSE_EREJECT);
        refused(x);
        *high = old_high;
    }
    const float weights[] = {NAN, INFINITY, -INFINITY, 0x1p60f, -0x1p60f};
    float old = scene.weight[2];
    for (size_t i = 0; i < 5; i++) {
        scene.weight[2] = weights[i];
        refused(x);
    }
    scene.weight[2] = old;
    ck_assert_int_eq(backward(x, &scene, 0, 9, 0), 0);
    expert_free(x);
}
END_TEST

START_TEST(test_reject_of_parameters)
{
    static const float bad[] = {NAN, INFINITY, 0x1p40f};
    struct expert *x = new_expert(NULL, kinds[_i % 2]);
    draw(&scene, x, 1);
    ck_assert_int_eq(backward(x, &scene, 0, 30, 0), 0);
    float old = x->param[_i * D * H + 7];
    for (size_t i = 0; i < 3; i++) {
        x->param[_i * D * H + 7] = bad[i];
        expert_params_changed(x);
        ck_assert_int_eq(expert_forward(x, scene.y, &scene.rows, scene.work, 9), HANSE_EREJECT);
        refused(x);
    }
    x->param[_i * D * H + 7] = old;
    expert_params_changed(x);
    ck_assert_int_eq(backward(x, &scene, 0, 9, 0), 0);
    expert_free(x);
}
END_TEST

/* The largest that a backward takes cannot be refused when its block is summed. */
START_TEST(test_accepted_rows_are_summed)
{
    struct expert *x = new_expert(NULL, kinds[_i]);
    int8_t most = _i == 0 ? EXPERT_EXPONENT_MAX_I8X2 : EXPERT_EXPONENT_MAX_I8X1;
    draw(&scene, x, 1);
    memset(scene.exponent[0], most, N);
    memset(scene.exponent[1], most, N);
    size_t n_ok = 0;
    for (size_t r = 0; r < N; r++) { /* up to the last power of two at which it is still taken */
        scene.weight[r] = 0x1p40f;
        while (scene.weight[r] > 0x1p-60f && backward(x, &scene, r, 1, 0) != 0)
            scene.weight[r] /= 2;
        n_ok += scene.weight[r] > 0x1p-60f;
    }
    ck_assert_uint_gt(n_ok, N / 2);
    float largest = 0;
    for (size_t i = 0; i < x->integers->block.n * H; i++)
        largest = fmaxf(largest, fabsf(x->integers->block.grad.gg[i]));
    ck_assert_float_gt(largest, EXPERT_GRAD_MAX / 8);
    ck_assert_int_eq(expert_update(x), 0);
    expert_free(x);
}
END_TEST

START_TEST(test_stale_rows)
{
    struct expert *x = new_expert(NULL, NUMERICS_I8X2);
    draw(&scene, x, 1);
    x->version = 100;
    struct hash before = play_state(x);
    ck_assert_int_eq(backward(x, &scene, 0, 300, 100 - x->config.max_staleness - 1), 0);
    struct hash after = play_state(x);
    ck_assert(hash_equal(&before, &after) && scene.gx[0] != 0);
    scene.weight[7] = NAN; /* whether rows are refused does not depend on how old they are */
    ck_assert_int_eq(backward(x, &scene, 0, 300, UINT64_MAX), HANSE_EREJECT);
    expert_free(x);
}
END_TEST

/* -- Copies and checkpoints ------------------------------------------------------------------------ */

static void go_on(struct expert *x)
{
    for (size_t at = 300; at < N; at += 100) {
        ck_assert_int_eq(backward(x, &scene, at, 100, 0), 0);
        if (expert_update_due(x))
            ck_assert_int_eq(expert_update(x), 0);
    }
}

START_TEST(test_copy)
{
    struct expert *x = new_expert(NULL, kinds[_i % 2]), *copy;
    draw(&scene, x, 1);
    ck_assert_int_eq(backward(x, &scene, 0, _i < 2 ? 270 : 256, 0), 0);
    ck_assert_int_eq(expert_copy(x, &copy), 0);
    expert_params_changed(copy);
    struct hash a = play_state(x), b = play_state(copy);
    ck_assert(hash_equal(&a, &b));
    go_on(copy);
    b = play_state(x);
    ck_assert(hash_equal(&a, &b));
    go_on(x);
    a = play_state(x), b = play_state(copy);
    ck_assert(hash_equal(&a, &b));
    expert_free(x);
    expert_free(copy);
}
END_TEST

static struct memory_disk disk;
static struct key *key;
static const struct hash run = {{7}};

static void disk_begin(void)
{
    memory_disk_init(&disk);
    const uint8_t seed[KEY_SEED_BYTES] = {1};
    ck_assert_int_eq(key_new(seed, &key), 0);
}

static void disk_end(void)
{
    memory_disk_fini(&disk);
    key_free(key);
}

static void save(struct expert *x)
{
    struct checkpoint_info info = {.run = run, .time_us = 1};
    ck_assert_int_eq(expert_save(x, &disk.disk, key, &info), 0);
}

START_TEST(test_checkpoint)
{
    struct checkpoint_info info;
    struct expert *x = new_expert(NULL, kinds[_i % 2]), *y = new_expert("ref", kinds[_i % 2]);
    disk_begin();
    draw(&scene, x, 1);
    ck_assert_int_eq(backward(x, &scene, 0, _i < 2 ? 270 : 256, 0), 0);
    save(x);
    ck_assert_int_eq(backward(y, &scene, 300, 100, 0), 0);
    ck_assert_int_eq(expert_load(y, &disk.disk, &run, &info), 0);
    for (int i = 0; i < 2; i++) {
        struct hash a = play_state(x), b = play_state(y);
        ck_assert(hash_equal(&a, &b));
        ck_assert_int_eq(expert_root(y, &b), 0);
        ck_assert(i > 0 || hash_equal(&info.root, &b));
        go_on(x);
        go_on(y);
    }
    ck_assert_uint_gt(x->version, 0);
    disk_end();
    expert_free(x);
    expert_free(y);
}
END_TEST

static int n_lines;
static char last_line[512];

static void keep_line(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level;
    n_lines++;
    snprintf(last_line, sizeof last_line, "%s", line);
}

static void load_refused(struct expert *x, int want)
{
    struct checkpoint_info info;
    struct hash before = play_state(x);
    log_set_sink(keep_line, NULL);
    ck_assert_int_eq(expert_load(x, &disk.disk, &run, &info), want);
    log_set_sink(NULL, NULL);
    struct hash after = play_state(x);
    ck_assert(hash_equal(&before, &after));
}

START_TEST(test_checkpoint_of_other_numerics)
{
    struct expert *x = new_expert(NULL, (enum numerics)_i), *y;
    disk_begin();
    draw(&scene, x, 1);
    ck_assert_int_eq(backward(x, &scene, 0, 270, 0), 0);
    save(x);
    for (int i = 0; i < N_NUMERICS; i++) {
        y = new_expert(NULL, (enum numerics)i);
        if (i != _i) {
            load_refused(y, HANSE_EINVAL);
            ck_assert_ptr_nonnull(strstr(last_line, numerics_name[i]));
            ck_assert_ptr_nonnull(strstr(last_line, "run.yaml"));
        }
        expert_free(y);
    }
    disk_end();
    expert_free(x);
}
END_TEST

/* What is signed and cannot come from a backward. */
START_TEST(test_checkpoint_of_nonsense)
{
    struct expert *x = new_expert(NULL, NUMERICS_I8X2), *y = new_expert(NULL, NUMERICS_I8X2);
    struct integers_block *b = &x->integers->block;
    disk_begin();
    draw(&scene, x, 1);
    ck_assert_int_eq(backward(x, &scene, 0, 270, 0), 0);
    if (_i == 0)
        b->x_exponent[3] = EXPERT_EXPONENT_MAX_I8X2 + 1;
    else if (_i == 1)
        b->gy_high[3] = INT8_MIN;
    else if (_i == 2)
        b->grad.gg[13 * H + 3] = NAN;
    else if (_i == 3)
        b->grad.h[3] = EXPERT_GRAD_MAX;
    else
        x->grad_slots += _i == 4 ? 1 : -1u;
    save(x);
    load_refused(y, HANSE_ECORRUPT);
    disk_end();
    expert_free(x);
    expert_free(y);
}
END_TEST

/* -- Learning -------------------------------------------------------------------------------------- */

START_TEST(test_learns)
{
    struct expert *teacher = new_expert(NULL, NUMERICS_F32), *x = new_expert(NULL, kinds[_i]);
    float first = 0, off = 0;
    for (size_t i = 0; i < N_PARAMS; i++)
        teacher->param[i] *= i % 3 ? 1.5f : -1;
    for (uint64_t i = 0; i < 600; i++) {
        struct play_rows rows;
        struct rng rng;
        rng_init(&rng, i, "learns");
        play_draw(&rows, &rng, 32, D);
        ck_assert_int_eq(play_forward(teacher, scene.y, rows.x, rows.work, rows.n), 0);
        ck_assert_int_eq(play_forward(x, rows.gy, rows.x, rows.work, rows.n), 0);
        off = distance(rows.gy, scene.y, rows.n * D);
        first = i == 0 ? off : first;
        for (size_t j = 0; j < rows.n * D; j++)
            rows.gy[j] -= scene.y[j];
        play_backward(x, &rows, x->version);
        ck_assert_int_eq(expert_update(x), 0);
    }
    ck_assert_float_lt(off, first / 4);
    expert_free(teacher);
    expert_free(x);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("expert/integers");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, test_to_the_bit, 0, 4);
    tcase_add_loop_test(t, test_near_floats, 0, 4);
    tcase_add_loop_test(t, test_coarse_products, 0, N_PRODUCTS);
    tcase_add_loop_test(t, test_split, 0, 10);
    tcase_add_loop_test(t, test_same_bits_everywhere, 0, 2);
    tcase_add_loop_test(t, test_reject, 0, 2);
    tcase_add_loop_test(t, test_reject_of_parameters, 0, 3);
    tcase_add_loop_test(t, test_accepted_rows_are_summed, 0, 2);
    tcase_add_test(t, test_stale_rows);
    tcase_add_loop_test(t, test_copy, 0, 4);
    tcase_add_loop_test(t, test_checkpoint, 0, 4);
    tcase_add_loop_test(t, test_checkpoint_of_other_numerics, 0, N_NUMERICS);
    tcase_add_loop_test(t, test_checkpoint_of_nonsense, 0, 6);
    tcase_add_loop_test(t, test_learns, 0, 2);
    suite_add_tcase(s, t);
    return unit_run(s);
}
