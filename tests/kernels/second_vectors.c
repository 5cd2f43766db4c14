/*
 * tests/kernels/second_vectors.c - cases of every operation, inputs and what kernels/ref makes of them, for second.py.
 *
 *     case NAME
 *     f KEY bits bits ...      floats as their bits; i KEY n n ...: integers; a key that starts with = is a result
 *     end
 */
#include <math.h>

#include "kernels/ref/gate.h"
#include "kernels/ref/init.h"
#include "kernels/ref/math.h"
#include "kernels/ref/muon.h"
#include "kernels/ref/ref.h"
#include "kernels/ref/rope_table.h"
#include "tests/kernels/dice.h"
#include "tests/kernels/second_print.h"

#define HARD N_KINDS /* for rounding: near the bump, ties, ends of the range, huge beside tiny */

static float hard_float(struct dice *dice, int m)
{
    static const uint32_t near[] = {0x7f0000u, 0x7eff00u, 0, 0x7fffffu};
    uint32_t sign = dice_below(dice, 2), fraction = near[dice_below(dice, 4)] + (uint32_t)dice_below(dice, 3) - 1;
    int step = dice_below(dice, 2) ? 6 : 14;
    switch (dice_below(dice, 6)) {
    case 0:
    case 1:
        return dice_bits(sign, (uint32_t)(m + 127), fraction);
    case 2: /* a tie of the integers that 2^m as largest magnitude leads to */
        return ldexpf((float)(2 * (int)dice_below(dice, 1u << step) + 1) * 0.5f, m - step) * (sign ? -1.0f : 1.0f);
    case 3:
        return dice_float(dice, TINY);
    case 4:
        return sign ? 1e-30f : 0.0f;
    default:
        return ldexpf(dice_unit(dice), m);
    }
}

static float *draw(struct dice *dice, int kind, size_t n)
{
    if (kind != HARD)
        return dice_floats(dice, (enum kind)kind, n);
    static const int edge[] = {39, 40, -100, -101, -99, 38};
    int m = dice_below(dice, 2) ? edge[dice_below(dice, 6)] : (int)dice_below(dice, 139) - 100;
    float *x = malloc(n * sizeof *x + 1);
    assert(x);
    for (size_t i = 0; i < n; i++)
        x[i] = hard_float(dice, m);
    return x;
}

static void quantizer(struct dice *dice, int kind, bool has_two, bool is_rows)
{
    size_t R = 1 + dice_below(dice, 5), C = 1 + dice_below(dice, 9), n_folds = is_rows ? C : R, n_groups = is_rows ? R : C;
    float *x = draw(dice, kind, R * C), back[45];
    int8_t high[45], low[45], exponent[9], fold[9];
    bool has_fold = dice_below(dice, 2);
    for (size_t i = 0; i < n_folds; i++)
        fold[i] = (int8_t)((int)dice_below(dice, 149) - 114);
    if (dice_below(dice, 8) == 0)
        fold[dice_below(dice, n_folds)] = QUANTIZE_BAD;
    (is_rows ? ref_quantize_rows : ref_quantize_columns)(high, has_two ? low : NULL, exponent, x, C, has_fold ? fold : NULL, R,
                                                         C);
    begin(is_rows ? "quantize_rows" : "quantize_columns");
    number("R", (long)R), number("C", (long)C), number("slices", has_two ? 2 : 1);
    floats("x", x, R * C), bytes("fold", fold, has_fold ? n_folds : 0);
    bytes("=exponent", exponent, n_groups), bytes("=high", high, R * C);
    if (has_two)
        bytes("=low", low, R * C);
    if (is_rows) {
        ref_dequantize_rows(back, high, has_two ? low : NULL, exponent, R, C);
        floats("=back", back, R * C);
    }
    end();
    free(x);
}

/* Integers of any kind, the greatest among them. */
static int8_t *integers(struct dice *dice, size_t n, int least, bool is_extreme)
{
    int8_t *q = malloc(n + 1);
    assert(q);
    for (size_t i = 0; i < n; i++)
        q[i] = (int8_t)(is_extreme ? (least < -127 ? least : 127) : least + (int)dice_below(dice, (size_t)(128 - least)));
    return q;
}

static void integer_product(struct dice *dice, size_t M, size_t N, size_t K, bool has_two, bool is_extreme)
{
    int8_t *ah = integers(dice, M * K, -127, is_extreme), *al = integers(dice, M * K, -128, is_extreme);
    int8_t *bh = integers(dice, K * N, -127, is_extreme), *bl = integers(dice, K * N, -128, is_extreme);
    int8_t ea[8], eb[8];
    static const int low[] = {-114, -10, -56, 40},
                     spread[] = {149, 20, 10, 87}; /* any, usual, about the floor, beyond any group's */
    size_t range = dice_below(dice, 4);
    for (int i = 0; i < 8; i++) {
        ea[i] = (int8_t)(low[range] + (int)dice_below(dice, (size_t)spread[range]));
        eb[i] = (int8_t)(low[range] + (int)dice_below(dice, (size_t)spread[range]));
        if (range == 3 && dice_below(dice, 4) == 0)
            *(dice_below(dice, 2) ? &ea[i] : &eb[i]) = QUANTIZE_BAD;
    }
    bool has_ea = dice_below(dice, 2), has_eb = dice_below(dice, 2), accumulate = dice_below(dice, 2);
    float *c = draw(dice, (int)dice_below(dice, 3), M * N);
    struct slices a = {ah, has_two ? al : NULL, K, false}, b = {bh, has_two ? bl : NULL, N, false};
    void *packed = aligned_alloc(64, (ref_packed_bytes(N, K, has_two ? 2 : 1) + 64) / 64 * 64);
    begin("multiply");
    number("M", (long)M), number("N", (long)N), number("K", (long)K), number("slices", has_two ? 2 : 1);
    number("accumulate", accumulate), floats("c", c, M * N);
    bytes("ah", ah, M * K), bytes("al", al, M * K), bytes("bh", bh, K * N), bytes("bl", bl, K * N);
    bytes("ea", ea, has_ea ? M : 0), bytes("eb", eb, has_eb ? N : 0);
    ref_pack(packed, b, N, K);
    ref_multiply(c, N, a, has_ea ? ea : NULL, packed, has_eb ? eb : NULL, M, N, K, accumulate);
    floats("=c", c, M * N);
    end();
    free(ah), free(al), free(bh), free(bl), free(c), free(packed);
}

static void product(struct dice *dice, int kind)
{
    size_t M = dice_below(dice, 4), N = dice_below(dice, 5), K = dice_below(dice, 40);
    float *a = draw(dice, kind, M * K), *b = draw(dice, kind, K * N), *c = draw(dice, kind, M * N);
    bool accumulate = dice_below(dice, 2);
    begin("matmul");
    number("M", (long)M), number("N", (long)N), number("K", (long)K), number("accumulate", accumulate);
    floats("a", a, M * K), floats("b", b, K * N), floats("c", c, M * N);
    ref_matmul(c, N, matrix_of(a, K), matrix_of(b, N), M, N, K, accumulate);
    floats("=c", c, M * N);
    end();
    free(a), free(b), free(c);
}

static void sums(struct dice *dice, int kind, size_t n)
{
    float *x = draw(dice, kind, n), *y = draw(dice, kind, n);
    float dot = ref_dot(x, y, n), squares = ref_sum_squares(x, n), a = n ? y[0] : 0;
    begin("sums");
    floats("x", x, n), floats("y", y, n), floats("a", &a, n > 0);
    floats("=dot", &dot, 1), floats("=squares", &squares, 1);
    ref_axpy(y, a, x, n);
    floats("=axpy", y, n);
    end();
    free(x), free(y);
}

/* Every function at numbers of a kind, and exp and its like where they are not all 0 or infinite. */
static void functions(struct dice *dice, int kind)
{
    enum { N = 60 };
    float *x = draw(dice, kind, N), y[7][N];
    for (int i = 0; i < N; i++) {
        x[i] = i % 2 ? dice_unit(dice) * 100.0f : x[i];
        y[0][i] = ref_exp(x[i]);
        y[1][i] = ref_log(x[i]);
        y[2][i] = ref_rsqrt(x[i]);
        y[3][i] = ref_sigmoid(x[i]);
        y[4][i] = ref_silu(x[i]);
        ref_sincos(&y[5][i], &y[6][i], x[i]);
    }
    static const char *const key[] = {"=exp", "=log", "=rsqrt", "=sigmoid", "=silu", "=sin", "=cos"};
    begin("functions");
    floats("x", x, N);
    for (int f = 0; f < 7; f++)
        floats(key[f], y[f], N);
    end();
    free(x);
}

static void norm(struct dice *dice, int kind)
{
    size_t R = 1 + dice_below(dice, 3), D = 1 + dice_below(dice, 70);
    float *x = draw(dice, kind, R * D), *gy = draw(dice, kind, R * D), *gain = draw(dice, PLAIN, D), *ggain = draw(dice, kind, D);
    float *y = malloc(R * D * sizeof *y), rstd[3], eps = 1e-5f;
    bool has_gain = dice_below(dice, 2);
    begin("rmsnorm");
    number("R", (long)R), number("D", (long)D), floats("x", x, R * D), floats("gy", gy, R * D);
    floats("gain", gain, has_gain ? D : 0), floats("ggain", ggain, has_gain ? D : 0), floats("eps", &eps, 1);
    ref_rmsnorm(y, rstd, x, has_gain ? gain : NULL, eps, R, D);
    floats("=y", y, R * D), floats("=rstd", rstd, R);
    ref_rmsnorm_grad(y, has_gain ? ggain : NULL, gy, x, rstd, has_gain ? gain : NULL, R, D);
    floats("=gx", y, R * D), floats("=ggain", ggain, has_gain ? D : 0);
    end();
    free(x), free(gy), free(gain), free(ggain), free(y);
}

static void swiglu(struct dice *dice, int kind)
{
    enum { N = 40 };
    float *g = draw(dice, kind, N), *u = draw(dice, kind, N), *gh = draw(dice, kind, N), h[N], gg[N], gu[N];
    for (int i = 0; i < N; i += 2)
        g[i] = dice_unit(dice) * 120.0f;
    ref_swiglu(h, g, u, N);
    ref_swiglu_grad(gg, gu, gh, g, u, N);
    begin("swiglu");
    floats("g", g, N), floats("u", u, N), floats("gh", gh, N);
    floats("=h", h, N), floats("=gg", gg, N), floats("=gu", gu, N);
    end();
    free(g), free(u), free(gh);
}

/* A few steps, the last without a gradient and with a moment near its flush limit. */
static void adam(struct dice *dice, int kind, bool is_nesterov)
{
    enum { N = 12, STEPS = 4 };
    struct adam_step step = {1e-3f, 0.99f, 0.95f, 1e-8f, 0.1f, 1.0f, 1.0f, 0.37f};
    float *p = draw(dice, kind, N), m[N] = {0}, v[N] = {0}, edge[] = {0x1p-100f, -0x1p-100f, 0x1.02p-100f, 0x1.08p-115f};
    for (int i = 0; i < 4; i++)
        m[i] = edge[i], v[i] = edge[3] * (float)(i + 1) * 0.5f, p[i] = edge[i];
    for (int t = 0; t < STEPS; t++) {
        float *g = draw(dice, kind, N);
        step.beta1_power *= step.beta1;
        step.beta2_power *= step.beta2;
        for (int i = 0; i < N; i++)
            g[i] = t == STEPS - 1 || i < 4 ? 0.0f : g[i];
        begin(is_nesterov ? "nadamw" : "adamw");
        floats("p", p, N), floats("m", m, N), floats("v", v, N), floats("g", g, N);
        floats("step",
               (float[]){step.lr, step.beta1, step.beta2, step.eps, step.weight_decay, step.beta1_power, step.beta2_power,
                         step.grad_scale},
               8);
        (is_nesterov ? ref_nadamw : ref_adamw)(p, m, v, g, &step, N);
        floats("=p", p, N), floats("=m", m, N), floats("=v", v, N);
        end();
        free(g);
    }
    free(p);
}

static void muon(struct dice *dice, int kind, bool is_zero)
{
    size_t M = 1 + dice_below(dice, 5), N = 1 + dice_below(dice, 5);
    struct muon_step step = {0.02f, 0.95f, 0.1f, 0.5f, 3};
    float *p = draw(dice, PLAIN, M * N), *m = draw(dice, kind, M * N), *g = draw(dice, kind, M * N);
    for (size_t i = 0; is_zero && i < M * N; i++)
        m[i] = g[i] = 0x1p-101f;
    float *work = malloc(muon_work_floats(M, N) * sizeof *work);
    begin("muon");
    number("M", (long)M), number("N", (long)N), number("n_iterations", step.n_iterations);
    floats("p", p, M * N), floats("m", m, M * N), floats("g", g, M * N);
    floats("step", (float[]){step.lr, step.momentum, step.weight_decay, step.grad_scale}, 4);
    muon_update(&ref_kernels, p, m, g, work, &step, M, N);
    floats("=p", p, M * N), floats("=m", m, M * N);
    end();
    free(p), free(m), free(g), free(work);
}

static void attention(struct dice *dice, int kind)
{
    size_t T = dice_below(dice, 2) ? 1 + dice_below(dice, 5) : 31 + dice_below(dice, 4), hd = 1 + dice_below(dice, 3), n = T * hd;
    float *in[4], *out = malloc(n * sizeof *out), *prob = malloc(2 * T * T * sizeof *prob), *gk = malloc(2 * n * sizeof *gk);
    static const char *const key[] = {"q", "k", "v", "gout"};
    float scale = 0.3f;
    begin("attention");
    number("T", (long)T), number("hd", (long)hd), floats("scale", &scale, 1);
    for (int i = 0; i < 4; i++)
        floats(key[i], in[i] = draw(dice, kind, n), n);
    ref_attention(out, prob, in[0], in[1], in[2], scale, 1, T, 1, hd);
    floats("=out", out, n), floats("=prob", prob, T * T);
    ref_attention_grad(out, gk, gk + n, prob + T * T, in[3], prob, in[0], in[1], in[2], scale, 1, T, 1, hd);
    floats("=gq", out, n), floats("=gk", gk, n), floats("=gv", gk + n, n);
    end();
    for (int i = 0; i < 4; i++)
        free(in[i]);
    free(out), free(prob), free(gk);
}

static void loss(struct dice *dice, int kind)
{
    size_t V = 1 + dice_below(dice, 70);
    float *logit = draw(dice, kind, V), *glogit = malloc(V * sizeof *glogit), scale = 0.37f, one;
    int32_t target = (int32_t)dice_below(dice, V);
    ref_cross_entropy(&one, glogit, logit, &target, scale, 1, V);
    begin("cross_entropy");
    floats("logit", logit, V), number("target", target), floats("scale", &scale, 1);
    floats("=loss", &one, 1), floats("=glogit", glogit, V);
    end();
    free(logit), free(glogit);
}

static void rope(struct dice *dice, int kind)
{
    enum { T = 3, HALF = 4 };
    float theta = 1e4f, cosine[T * HALF], sine[T * HALF], *x = draw(dice, kind, (size_t)T * 2 * HALF);
    bool inverse = dice_below(dice, 2);
    begin("rope");
    number("T", T), number("hd", 2 * HALF), number("inverse", inverse), floats("theta", &theta, 1);
    floats("x", x, (size_t)T * 2 * HALF);
    ref_rope_table(cosine, sine, theta, T, 2 * HALF);
    ref_rope(x, cosine, sine, inverse, T, T, 1, 2 * HALF);
    floats("=cos", cosine, T * HALF), floats("=sin", sine, T * HALF), floats("=x", x, (size_t)T * 2 * HALF);
    end();
    free(x);
}

static void gate(struct dice *dice, int kind)
{
    enum { E = 7, K = 4, D = 5 };
    float *logit = draw(dice, kind, E), *bias = draw(dice, PLAIN, E), *gweight = draw(dice, kind, K),
          *y = draw(dice, kind, K * D);
    float *gout = draw(dice, kind, D), score[E], weight[K], gscore[E], out[D], back[K], glogit[E] = {0}, z, scale = 1e-3f;
    uint8_t allowed[E], answered[K];
    int32_t pick[K];
    for (int i = 0; i < E; i++)
        allowed[i] = dice_below(dice, 4) != 0;
    for (int i = 0; i < K; i++)
        answered[i] = dice_below(dice, 4) != 0;
    ref_sigmoid_each(score, logit, E);
    for (int i = 0; i < E; i += 2)
        score[i] = bias[i] = dice_below(dice, 2) ? 0.25f : score[i]; /* equal values */
    ref_gate_topk(pick, score, bias, allowed, 1, K, E);
    ref_gate_weight(weight, score, pick, answered, 1, K, E);
    ref_gate_weight_grad(gscore, gweight, weight, score, pick, answered, 1, K, E);
    memset(out, 0, sizeof(float) * D);
    ref_gate_combine(out, weight, y, 1, K, D);
    ref_gate_combine_grad(back, gout, y, pick, answered, 1, K, D);
    float lse;
    ref_gate_zloss(&lse, glogit, logit, scale, 1, E);
    z = ref_gate_zloss_sum(&lse, scale, 1);
    begin("gate");
    floats("logit", logit, E), floats("score", score, E), floats("bias", bias, E), floats("gweight", gweight, K);
    floats("y", y, K * D), floats("gout", gout, D), floats("scale", &scale, 1);
    bytes("allowed", (int8_t *)allowed, E), bytes("answered", (int8_t *)answered, K);
    begin_numbers("=pick");
    for (int i = 0; i < K; i++)
        printf(" %d", pick[i]);
    printf("\n");
    floats("=weight", weight, K), floats("=gscore", gscore, E), floats("=out", out, D), floats("=back", back, K);
    floats("=glogit", glogit, E), floats("=z", &z, 1);
    end();
    free(logit), free(bias), free(gweight), free(y), free(gout);
}

static void first_values(struct dice *dice)
{
    enum { N = 400 }; /* one in 370 is drawn twice */
    float x[N], std = 0.25f;
    uint32_t key[2] = {(uint32_t)dice_u64(dice), (uint32_t)dice_u64(dice)};
    ref_init_normal(x, key, std, N);
    begin("first_values");
    number("n", N), number("key0", (long)key[0]), number("key1", (long)key[1]), floats("std", &std, 1), floats("=x", x, N);
    end();
}

int main(void)
{
    struct dice dice = {1};
    for (int i = 0; i < 200; i++)
        for (int way = 0; way < 4; way++)
            quantizer(&dice, i % 2 ? HARD : i / 2 % N_KINDS, way & 1, way & 2);
    for (int i = 0; i < 60; i++)
        integer_product(&dice, 1 + dice_below(&dice, 4), 1 + dice_below(&dice, 4), dice_below(&dice, 50), i % 2, i % 7 == 0);
    static const size_t long_K[] = {65535, 65536, 65537, 131075};
    for (size_t i = 0; i < 4; i++)
        integer_product(&dice, 1, 1, long_K[i], i % 2 || i == 0, i == 1);
    for (int i = 0; i < 40; i++) {
        int kind = i % N_KINDS;
        product(&dice, kind), sums(&dice, kind, dice_below(&dice, 120)), norm(&dice, kind), swiglu(&dice, kind),
            loss(&dice, kind), rope(&dice, kind);
        functions(&dice, kind), gate(&dice, kind), adam(&dice, kind, i / N_KINDS % 2), muon(&dice, kind, i % 9 == 0);
    }
    static const size_t long_n[] = {4095, 4096, 4097, 8191, 8192, 8193, 12289};
    for (int i = 0; i < 7; i++)
        sums(&dice, i % 2 ? RANGE : PLAIN, long_n[i]);
    for (int i = 0; i < 12; i++)
        attention(&dice, i % N_KINDS);
    first_values(&dice);
    second_experts();
    return 0;
}
