/*
 * tests/kernels/test_gradients.c - every gradient against central differences.
 *
 * Each operation is written once more, in double and as its formula says; a loss is a weighted sum of its outputs.  So a
 * test holds the forward kernel to the formula, and its gradient to the slope of the formula.
 */
#include "kernels/ref/embed.h"
#include "kernels/ref/gate.h"
#include "tests/kernels/kernels_test.h"

#define MOST 4096 /* doubles in any tensor here */

/* y = f(x); `arg` is the shape or whatever else f needs. */
typedef void formula(double *y, const double *x, const void *arg);

static const struct kernels *fastest(void)
{
    const struct kernels *k;
    ck_assert_int_eq(kernels_choose(NULL, &k), 0);
    return k;
}

static void widen(double *to, const float *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (double)from[i];
}

static void assert_value(formula *f, const void *arg, const double *x, const float *got, size_t n_out)
{
    static double y[MOST];
    f(y, x, arg);
    for (size_t i = 0; i < n_out; i++)
        ck_assert_msg(fabs(y[i] - (double)got[i]) < 1e-5 * (1.0 + fabs(y[i])), "output %zu is %g, not %g", i, (double)got[i],
                      y[i]);
}

static double weighted(formula *f, const void *arg, const double *x, const float *weight, size_t n_out)
{
    static double y[MOST];
    double sum = 0.0;
    f(y, x, arg);
    for (size_t i = 0; i < n_out; i++)
        sum += y[i] * (double)weight[i];
    return sum;
}

/* `gradient` of the n inputs from x[first]. */
static void assert_gradient(formula *f, const void *arg, double *x, size_t first, const float *gradient, size_t n,
                            const float *weight, size_t n_out)
{
    const double h = 1e-5;
    for (size_t i = 0; i < n; i++) {
        double at = x[first + i];
        x[first + i] = at + h;
        double above = weighted(f, arg, x, weight, n_out);
        x[first + i] = at - h;
        double below = weighted(f, arg, x, weight, n_out);
        x[first + i] = at;
        double slope = (above - below) / (2.0 * h);
        ck_assert_msg(fabs(slope - (double)gradient[i]) < 2e-5 * (1.0 + fabs(slope)), "gradient %zu is %g, the slope %g",
                      first + i, (double)gradient[i], slope);
    }
}

enum { NORM_R = 3, NORM_D = 37 };

/* x (R, D), then gain (D) */
static void norm_formula(double *y, const double *x, const void *arg)
{
    (void)arg;
    const double *gain = x + NORM_R * NORM_D;
    for (int r = 0; r < NORM_R; r++) {
        double sum = 0.0;
        for (int i = 0; i < NORM_D; i++)
            sum += x[r * NORM_D + i] * x[r * NORM_D + i];
        for (int i = 0; i < NORM_D; i++)
            y[r * NORM_D + i] = x[r * NORM_D + i] / sqrt(sum / NORM_D + 1e-5) * gain[i];
    }
}

START_TEST(rmsnorm_is_the_slope)
{
    enum { N = NORM_R * NORM_D };
    const struct kernels *k = fastest();
    struct dice dice = {(uint64_t)_i};
    float *x = dice_floats(&dice, PLAIN, N + NORM_D), *w = dice_floats(&dice, PLAIN, N);
    float y[N], rstd[NORM_R], gx[N], ggain[NORM_D] = {0};
    double wide[N + NORM_D];
    widen(wide, x, N + NORM_D);
    k->rmsnorm(y, rstd, x, x + N, 1e-5f, NORM_R, NORM_D);
    assert_value(norm_formula, NULL, wide, y, N);
    k->rmsnorm_grad(gx, ggain, w, x, rstd, x + N, NORM_R, NORM_D);
    assert_gradient(norm_formula, NULL, wide, 0, gx, N, w, N);
    assert_gradient(norm_formula, NULL, wide, N, ggain, NORM_D, w, N);
    free(x), free(w);
}
END_TEST

enum { GLU_N = 50 };

/* g (n), then u (n) */
static void swiglu_formula(double *y, const double *x, const void *arg)
{
    (void)arg;
    for (int i = 0; i < GLU_N; i++)
        y[i] = x[i] / (1.0 + exp(-x[i])) * x[GLU_N + i];
}

START_TEST(swiglu_is_the_slope)
{
    const struct kernels *k = fastest();
    struct dice dice = {(uint64_t)_i};
    float *x = dice_floats(&dice, PLAIN, 2 * GLU_N), *w = dice_floats(&dice, PLAIN, GLU_N);
    float y[GLU_N], g[2 * GLU_N];
    double wide[2 * GLU_N];
    for (int i = 0; i < GLU_N; i++)
        x[i] *= 6.0f;
    widen(wide, x, 2 * GLU_N);
    k->swiglu(y, x, x + GLU_N, GLU_N);
    assert_value(swiglu_formula, NULL, wide, y, GLU_N);
    k->swiglu_grad(g, g + GLU_N, w, x, x + GLU_N, GLU_N);
    assert_gradient(swiglu_formula, NULL, wide, 0, g, 2 * GLU_N, w, GLU_N);
    free(x), free(w);
}
END_TEST

struct rope_case {
    float cosine[3 * 5], sine[3 * 5];
};
enum { ROPE_R = 6, ROPE_T = 3, ROPE_HEADS = 2, ROPE_HALF = 5, ROPE_N = ROPE_R * ROPE_HEADS * 2 * ROPE_HALF };

/* A turn of the complex number first + i second */
static void rope_formula(double *y, const double *x, const void *arg)
{
    const struct rope_case *rope = arg;
    for (int r = 0; r < ROPE_R; r++) {
        for (int i = 0; i < ROPE_HEADS * ROPE_HALF; i++) {
            int at = r * ROPE_HEADS * 2 * ROPE_HALF + i / ROPE_HALF * 2 * ROPE_HALF + i % ROPE_HALF;
            double c = (double)rope->cosine[r % ROPE_T * ROPE_HALF + i % ROPE_HALF];
            double s = (double)rope->sine[r % ROPE_T * ROPE_HALF + i % ROPE_HALF];
            y[at] = x[at] * c - x[at + ROPE_HALF] * s;
            y[at + ROPE_HALF] = x[at] * s + x[at + ROPE_HALF] * c;
        }
    }
}

START_TEST(rope_backwards_is_the_slope_and_undoes_it)
{
    const struct kernels *k = fastest();
    struct dice dice = {(uint64_t)_i};
    struct rope_case rope;
    for (int i = 0; i < ROPE_T * ROPE_HALF; i++) {
        double angle = 3.0 * (double)dice_unit(&dice);
        rope.cosine[i] = (float)cos(angle);
        rope.sine[i] = (float)sin(angle);
    }
    float *x = dice_floats(&dice, PLAIN, ROPE_N), *w = dice_floats(&dice, PLAIN, ROPE_N);
    float *y = copy_floats(x, ROPE_N), *g = copy_floats(w, ROPE_N);
    double wide[ROPE_N];
    widen(wide, x, ROPE_N);
    k->rope(y, rope.cosine, rope.sine, false, ROPE_R, ROPE_T, ROPE_HEADS, 2 * ROPE_HALF);
    assert_value(rope_formula, &rope, wide, y, ROPE_N);
    k->rope(g, rope.cosine, rope.sine, true, ROPE_R, ROPE_T, ROPE_HEADS, 2 * ROPE_HALF);
    assert_gradient(rope_formula, &rope, wide, 0, g, ROPE_N, w, ROPE_N);
    k->rope(y, rope.cosine, rope.sine, true, ROPE_R, ROPE_T, ROPE_HEADS, 2 * ROPE_HALF);
    for (int i = 0; i < ROPE_N; i++)
        ck_assert_float_eq_tol(y[i], x[i], 1e-6f);
    free(x), free(w), free(y), free(g);
}
END_TEST

enum { AT_B = 2, AT_T = 35, AT_HEADS = 2, AT_HD = 3, AT_LD = AT_HEADS * AT_HD, AT_N = AT_B * AT_T * AT_LD };
static const double at_scale = 1.5;

/* One row i of one head: out (hd) from q, k, v (T, hd) with rows of AT_LD */
static void attention_row(double *out, const double *q, const double *k, const double *v, int i)
{
    double weight[AT_T], sum = 0.0;
    for (int j = 0; j <= i; j++) {
        double dot = 0.0;
        for (int c = 0; c < AT_HD; c++)
            dot += q[i * AT_LD + c] * k[j * AT_LD + c];
        sum += weight[j] = exp(dot * at_scale);
    }
    for (int c = 0; c < AT_HD; c++) {
        out[i * AT_LD + c] = 0.0;
        for (int j = 0; j <= i; j++)
            out[i * AT_LD + c] += weight[j] / sum * v[j * AT_LD + c];
    }
}

/* q, k, v, each (B, T, heads, hd) */
static void attention_formula(double *y, const double *x, const void *arg)
{
    (void)arg;
    for (int b = 0; b < AT_B; b++) {
        for (int head = 0; head < AT_HEADS; head++) {
            int at = b * AT_T * AT_LD + head * AT_HD;
            for (int i = 0; i < AT_T; i++)
                attention_row(y + at, x + at, x + AT_N + at, x + 2 * AT_N + at, i);
        }
    }
}

START_TEST(attention_is_the_slope)
{
    const struct kernels *k = fastest();
    struct dice dice = {(uint64_t)_i};
    float *x = dice_floats(&dice, PLAIN, 3 * AT_N), *w = dice_floats(&dice, PLAIN, AT_N);
    static float y[AT_N], prob[AT_B * AT_HEADS * AT_T * AT_T], work[AT_T * AT_T], g[3 * AT_N];
    static double wide[3 * AT_N];
    widen(wide, x, 3 * AT_N);
    k->attention(y, prob, x, x + AT_N, x + 2 * AT_N, (float)at_scale, AT_B, AT_T, AT_HEADS, AT_HD);
    assert_value(attention_formula, NULL, wide, y, AT_N);
    k->attention_grad(g, g + AT_N, g + 2 * AT_N, work, w, prob, x, x + AT_N, x + 2 * AT_N, (float)at_scale, AT_B, AT_T, AT_HEADS,
                      AT_HD);
    assert_gradient(attention_formula, NULL, wide, 0, g, 3 * AT_N, w, AT_N);
    for (size_t i = 0; i < AT_T; i++)
        for (size_t j = i + 1; j < AT_T; j++)
            ck_assert(prob[i * AT_T + j] == 0.0f);
    free(x), free(w);
}
END_TEST

enum { CE_R = 4, CE_V = 39 };

static void loss_formula(double *y, const double *x, const void *arg)
{
    const int32_t *target = arg;
    for (int r = 0; r < CE_R; r++) {
        double sum = 0.0;
        for (int j = 0; j < CE_V; j++)
            sum += exp(x[r * CE_V + j]);
        y[r] = log(sum) - x[r * CE_V + target[r]];
    }
}

START_TEST(cross_entropy_is_the_slope)
{
    const struct kernels *k = fastest();
    struct dice dice = {(uint64_t)_i};
    float *x = dice_floats(&dice, PLAIN, CE_R * CE_V), loss[CE_R], g[CE_R * CE_V];
    static const float scale[CE_R] = {0.25f, 0.25f, 0.25f, 0.25f};
    int32_t target[CE_R];
    double wide[CE_R * CE_V];
    for (int r = 0; r < CE_R; r++)
        target[r] = (int32_t)dice_below(&dice, CE_V);
    for (int i = 0; i < CE_R * CE_V; i++)
        x[i] *= 5.0f;
    widen(wide, x, CE_R * CE_V);
    k->cross_entropy(loss, g, x, target, 0.25f, CE_R, CE_V);
    assert_value(loss_formula, target, wide, loss, CE_R);
    assert_gradient(loss_formula, target, wide, 0, g, CE_R * CE_V, scale, CE_R);
    free(x);
}
END_TEST

enum { GATE_T = 5, GATE_K = 3, GATE_E = 8, GATE_D = 6 };

struct gate_case {
    int32_t pick[GATE_T * GATE_K];
    uint8_t answered[GATE_T * GATE_K];
};

/* Distinct experts a token; the second token has no answer, the third lacks a pick. */
static struct gate_case some_gate(struct dice *dice)
{
    struct gate_case gate;
    for (int i = 0; i < GATE_T * GATE_K; i++) {
        gate.pick[i] = (int32_t)((dice_below(dice, 2) + 2 * (size_t)(i % GATE_K)) % GATE_E);
        gate.answered[i] = i / GATE_K != 1 && dice_below(dice, 4) != 0;
    }
    gate.pick[2 * GATE_K + 2] = -1;
    gate.answered[2 * GATE_K + 2] = 1;
    return gate;
}

static bool gate_has(const struct gate_case *gate, int i)
{
    return gate->pick[i] >= 0 && gate->answered[i];
}

static void gate_formula(double *y, const double *x, const void *arg)
{
    const struct gate_case *gate = arg;
    for (int t = 0; t < GATE_T; t++) {
        double sum = 0.0;
        for (int i = t * GATE_K; i < (t + 1) * GATE_K; i++)
            sum += gate_has(gate, i) ? x[t * GATE_E + gate->pick[i]] : 0.0;
        for (int i = t * GATE_K; i < (t + 1) * GATE_K; i++)
            y[i] = gate_has(gate, i) ? x[t * GATE_E + gate->pick[i]] / sum : 0.0;
    }
}

START_TEST(gate_weight_is_the_slope)
{
    enum { N = GATE_T * GATE_E };
    struct dice dice = {(uint64_t)_i};
    struct gate_case gate = some_gate(&dice);
    float *score = dice_floats(&dice, PLAIN, N), *w = dice_floats(&dice, PLAIN, GATE_T * GATE_K);
    float weight[GATE_T * GATE_K], g[N];
    double wide[N];
    for (int i = 0; i < N; i++)
        score[i] = 0.55f + 0.4f * score[i];
    widen(wide, score, N);
    ref_gate_weight(weight, score, gate.pick, gate.answered, GATE_T, GATE_K, GATE_E);
    assert_value(gate_formula, &gate, wide, weight, GATE_T * GATE_K);
    ref_gate_weight_grad(g, w, weight, score, gate.pick, gate.answered, GATE_T, GATE_K, GATE_E);
    assert_gradient(gate_formula, &gate, wide, 0, g, N, w, GATE_T * GATE_K);
    free(score), free(w);
}
END_TEST

/* weight (T, K), then y (T, K, D) */
static void combine_formula(double *out, const double *x, const void *arg)
{
    (void)arg;
    for (int i = 0; i < GATE_T * GATE_D; i++) {
        out[i] = 0.0;
        for (int k = i / GATE_D * GATE_K; k < (i / GATE_D + 1) * GATE_K; k++)
            out[i] += x[k] * x[GATE_T * GATE_K + k * GATE_D + i % GATE_D];
    }
}

START_TEST(gate_combine_is_the_slope)
{
    enum { N = GATE_T * GATE_K };
    struct dice dice = {(uint64_t)_i};
    float *x = dice_floats(&dice, PLAIN, N + N * GATE_D), *w = dice_floats(&dice, PLAIN, GATE_T * GATE_D);
    float out[GATE_T * GATE_D] = {0}, g[N];
    int32_t pick[N] = {0};
    uint8_t answered[N];
    double wide[N + N * GATE_D];
    memset(answered, 1, sizeof answered);
    widen(wide, x, N + N * GATE_D);
    ref_gate_combine(out, x, x + N, GATE_T, GATE_K, GATE_D);
    assert_value(combine_formula, NULL, wide, out, GATE_T * GATE_D);
    ref_gate_combine_grad(g, w, x + N, pick, answered, GATE_T, GATE_K, GATE_D);
    assert_gradient(combine_formula, NULL, wide, 0, g, N, w, GATE_T * GATE_D);
    free(x), free(w);
}
END_TEST

static void zloss_formula(double *y, const double *x, const void *arg)
{
    (void)arg;
    *y = 0.0;
    for (int t = 0; t < GATE_T; t++) {
        double sum = 0.0;
        for (int e = 0; e < GATE_E; e++)
            sum += exp(x[t * GATE_E + e]);
        *y += 0.1 * log(sum) * log(sum);
    }
}

START_TEST(zloss_is_the_slope_and_adds)
{
    enum { N = GATE_T * GATE_E };
    struct dice dice = {(uint64_t)_i};
    float *x = dice_floats(&dice, PLAIN, N), g[N], lse[GATE_T], one = 1.0f;
    double wide[N];
    widen(wide, x, N);
    for (int i = 0; i < N; i++)
        g[i] = 3.0f;
    ref_gate_zloss(lse, g, x, 0.1f, GATE_T, GATE_E);
    float loss = ref_gate_zloss_sum(lse, 0.1f, GATE_T);
    assert_value(zloss_formula, NULL, wide, &loss, 1);
    for (int i = 0; i < N; i++)
        g[i] -= 3.0f;
    assert_gradient(zloss_formula, NULL, wide, 0, g, N, &one, 1);
    free(x);
}
END_TEST

START_TEST(embedding_gradient_adds_rows_of_the_same_token)
{
    static const int32_t token[] = {2, 0, 2};
    float table[3 * 2] = {1, 2, 3, 4, 5, 6}, x[3 * 2], g[3 * 2] = {0, 0, 10, 20, 0, 0};
    ref_embed(x, table, token, 3, 2);
    static const float rows[] = {5, 6, 1, 2, 5, 6}, want[] = {1, 2, 10, 20, 10, 12};
    ck_assert_mem_eq(x, rows, sizeof x);
    ref_embed_grad(g, x, token, 3, 2, 3);
    ck_assert_mem_eq(g, want, sizeof g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gradients");
    TCase *tc = tcase_create("gradients");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, rmsnorm_is_the_slope, 0, 4);
    tcase_add_loop_test(tc, swiglu_is_the_slope, 0, 4);
    tcase_add_loop_test(tc, rope_backwards_is_the_slope_and_undoes_it, 0, 4);
    tcase_add_test(tc, attention_is_the_slope);
    tcase_add_loop_test(tc, cross_entropy_is_the_slope, 0, 4);
    tcase_add_loop_test(tc, gate_weight_is_the_slope, 0, 8);
    tcase_add_loop_test(tc, gate_combine_is_the_slope, 0, 4);
    tcase_add_loop_test(tc, zloss_is_the_slope_and_adds, 0, 4);
    tcase_add_test(tc, embedding_gradient_adds_rows_of_the_same_token);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
