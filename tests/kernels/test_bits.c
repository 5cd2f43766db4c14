/* tests/kernels/test_bits.c - every operation but the product against its definition, bit for bit. */
#include "tests/kernels/kernels_test.h"

/* Lengths around the widths of vectors and of the 32 lanes. */
static size_t some_length(struct dice *dice)
{
    static const size_t length[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 95, 96, 100, 129, 256, 300};
    return length[dice_below(dice, sizeof length / sizeof *length)];
}

static size_t some_width(struct dice *dice)
{
    size_t n = some_length(dice);
    return n ? n : 5;
}

static void check_elementwise(const struct kernels *k, const struct kernels *ref, int seed)
{
    struct dice dice = {(uint64_t)seed};
    enum kind kind = (enum kind)(seed % N_KINDS);
    size_t n = some_length(&dice);
    float *x = dice_floats(&dice, kind, n), *y = dice_floats(&dice, kind, n), *z = dice_floats(&dice, kind, n);
    for (size_t i = 0; seed % 3 == 0 && i < n; i++)
        x[i] = dice_unit(&dice) * 120.0f; /* all over the domain of exp */
    float *want = copy_floats(y, n), *got = copy_floats(y, n), *want2 = copy_floats(x, n), *got2 = copy_floats(x, n);
    float a = dice_float(&dice, kind);

    ref->axpy(want, a, x, n);
    k->axpy(got, a, x, n);
    assert_same(got, want, n, k->name, "axpy");
    ref->blend(want, a, x, -4.775f, n);
    k->blend(got, a, x, -4.775f, n);
    assert_same(got, want, n, k->name, "blend");
    ref->scale(want, a, x, n);
    k->scale(got, a, x, n);
    assert_same(got, want, n, k->name, "scale");
    ref->divide(want, want, 3.7f, n);
    k->divide(got, got, 3.7f, n);
    assert_same(got, want, n, k->name, "divide");
    ref->sigmoid(want, x, n);
    k->sigmoid(got, x, n);
    assert_same(got, want, n, k->name, "sigmoid");
    ref->swiglu(want, x, y, n);
    k->swiglu(got, x, y, n);
    assert_same(got, want, n, k->name, "swiglu");
    ref->swiglu_grad(want, want2, z, x, y, n);
    k->swiglu_grad(got, got2, z, x, y, n);
    assert_same(got, want, n, k->name, "swiglu_grad of g");
    assert_same(got2, want2, n, k->name, "swiglu_grad of u");
    memcpy(got, x, n * sizeof *x);
    memcpy(got2, y, n * sizeof *y);
    k->swiglu_grad(got, got2, z, got, got2, n);
    assert_same(got, want, n, k->name, "swiglu_grad of g in place");
    assert_same(got2, want2, n, k->name, "swiglu_grad of u in place");

    float sum[4] = {k->dot(x, y, n), k->sum_squares(z, n), ref->dot(x, y, n), ref->sum_squares(z, n)};
    assert_same(sum, sum + 2, 2, k->name, "dot and sum_squares");
    free(x), free(y), free(z), free(want), free(got), free(want2), free(got2);
}

START_TEST(elementwise_operations_and_sums_have_the_bits_of_ref)
{
    with_each_isa(check_elementwise, _i);
}
END_TEST

/* Each of the 32 lanes underflows to -0, and so does the sum; a lane beyond the end must not become +0. */
static void check_negative_zero(const struct kernels *k, const struct kernels *ref, int seed)
{
    enum { N = 64 };
    float x[N], y[N];
    for (int i = 0; i < N; i++) {
        x[i] = 0x1p-100f;
        y[i] = -0x1p-100f;
    }
    float sum[2] = {k->dot(x, y, (size_t)seed), ref->dot(x, y, (size_t)seed)};
    ck_assert(signbit(sum[1]) || seed < 32);
    assert_same(sum, sum + 1, 1, k->name, "dot");
}

START_TEST(a_sum_that_underflows_keeps_its_sign)
{
    with_each_isa(check_negative_zero, _i);
}
END_TEST

/* doc/numerics.md, level by level. */
static float sum_squares_by_levels(const struct kernels *ref, const float *x, size_t n)
{
    size_t n_values = n / SUM_PIECE + (n % SUM_PIECE > 0);
    float *value = malloc((n_values + 1) * sizeof *value);
    ck_assert_ptr_nonnull(value);
    value[0] = 0;
    for (size_t i = 0; i < n_values; i++)
        value[i] = ref->dot(x + i * SUM_PIECE, x + i * SUM_PIECE, i + 1 < n_values ? SUM_PIECE : n - i * SUM_PIECE);
    while (n_values > 1) {
        size_t n_before = n_values;
        n_values = 0;
        for (size_t at = 0; at < n_before; at += SUM_PIECE) {
            float lane[32] = {0};
            for (size_t i = at; i < n_before && i < at + SUM_PIECE; i++)
                lane[i % 32] = lane[i % 32] + value[i];
            for (size_t half = 16; half > 0; half /= 2)
                for (size_t l = 0; l < half; l++)
                    lane[l] = lane[l] + lane[l + half];
            value[n_values++] = lane[0];
        }
    }
    float sum = value[0];
    free(value);
    return sum;
}

static void check_sum_squares(const struct kernels *k, const struct kernels *ref, const float *x, size_t n)
{
    float sum[2] = {k->sum_squares(x, n), sum_squares_by_levels(ref, x, n)};
    ck_assert_msg(memcmp(&sum[0], &sum[1], sizeof sum[0]) == 0 || (isnan(sum[0]) && isnan(sum[1])),
                  "%s: %zu squares are %a, not %a", k->name, n, (double)sum[0], (double)sum[1]);
}

static void check_long_sums(const struct kernels *k, const struct kernels *ref, int seed)
{
    static const size_t length[] = {0, 1, 4095, 4096, 4097, 4127, 4129, 8191, 8192, 8193, 36 * 4096, 36 * 4096 + 100};
    size_t n = length[(size_t)seed / N_KINDS];
    struct dice dice = {(uint64_t)seed};
    float *x = dice_floats(&dice, (enum kind)(seed % N_KINDS), n);
    check_sum_squares(ref, ref, x, n);
    check_sum_squares(k, ref, x, n);
    float dot[2] = {k->dot(x, x, n), ref->dot(x, x, n)};
    assert_same(dot, dot + 1, 1, k->name, "dot, which is no tree");
    free(x);
}

START_TEST(a_long_sum_of_squares_is_a_tree)
{
    with_each_isa(check_long_sums, _i);
}
END_TEST

/* Three levels, of which the third has two values. */
static void check_longest_sum(const struct kernels *k, const struct kernels *ref, int seed)
{
    size_t n = SUM_PIECE * SUM_PIECE + 1;
    struct dice dice = {(uint64_t)seed};
    float *x = dice_floats(&dice, PLAIN, n);
    check_sum_squares(ref, ref, x, n);
    check_sum_squares(k, ref, x, n);
    check_sum_squares(k, ref, x, n - 1);
    free(x);
}

START_TEST(a_tree_of_three_levels)
{
    with_each_isa(check_longest_sum, 1);
}
END_TEST

START_TEST(a_norm_of_a_long_row_is_a_row_sum)
{
    enum { D = 5000 };
    const struct kernels *ref, *k;
    ck_assert_int_eq(kernels_choose("ref", &ref), 0);
    ck_assert_int_eq(kernels_choose(NULL, &k), 0);
    struct dice dice = {1};
    float x[D], y[2][D], rstd[2], sum;
    do { /* until the two sums differ */
        for (size_t i = 0; i < D; i++)
            x[i] = dice_unit(&dice);
        sum = ref->dot(x, x, D);
    } while (sum == ref->sum_squares(x, D));
    ref->rmsnorm(y[0], &rstd[0], x, NULL, 1e-5f, 1, D);
    k->rmsnorm(y[1], &rstd[1], x, NULL, 1e-5f, 1, D);
    ck_assert_float_eq(rstd[0], 1 / sqrtf(sum / D + 1e-5f));
    assert_same(y[1], y[0], D, k->name, "rmsnorm of a long row");
}
END_TEST

static void check_norm(const struct kernels *k, const struct kernels *ref, int seed)
{
    struct dice dice = {(uint64_t)seed};
    enum kind kind = (enum kind)(seed % N_KINDS);
    size_t R = dice_below(&dice, 5), D = some_width(&dice);
    float *x = dice_floats(&dice, kind, R * D), *gy = dice_floats(&dice, kind, R * D), *memory = dice_floats(&dice, PLAIN, D);
    float *gain = seed % 3 ? memory : NULL;
    float *want = copy_floats(x, R * D), *got = copy_floats(x, R * D), rstd[2][5] = {{0}};
    float *want_gain = dice_floats(&dice, PLAIN, D), *got_gain = copy_floats(want_gain, D);

    ref->rmsnorm(want, rstd[0], x, gain, 1e-5f, R, D);
    k->rmsnorm(got, rstd[1], x, gain, 1e-5f, R, D);
    assert_same(got, want, R * D, k->name, "rmsnorm");
    assert_same(rstd[1], rstd[0], R, k->name, "rstd");
    ref->rmsnorm_grad(want, gain ? want_gain : NULL, gy, x, rstd[0], gain, R, D);
    k->rmsnorm_grad(got, gain ? got_gain : NULL, gy, x, rstd[0], gain, R, D);
    assert_same(got, want, R * D, k->name, "rmsnorm_grad");
    assert_same(got_gain, want_gain, D, k->name, "rmsnorm_grad of gain");
    memcpy(got, gy, R * D * sizeof *gy);
    k->rmsnorm_grad(got, NULL, got, x, rstd[0], gain, R, D);
    assert_same(got, want, R * D, k->name, "rmsnorm_grad in place");
    free(x), free(gy), free(memory), free(want), free(got), free(want_gain), free(got_gain);
}

START_TEST(rmsnorm_has_the_bits_of_ref)
{
    with_each_isa(check_norm, _i);
}
END_TEST

static void check_rope(const struct kernels *k, const struct kernels *ref, int seed)
{
    struct dice dice = {(uint64_t)seed};
    enum kind kind = (enum kind)(seed % N_KINDS);
    size_t T = 1 + dice_below(&dice, 4), R = T * dice_below(&dice, 3), n_heads = dice_below(&dice, 4);
    size_t half = some_length(&dice), n = R * n_heads * 2 * half;
    float *cosine = dice_floats(&dice, PLAIN, T * half), *sine = dice_floats(&dice, PLAIN, T * half);
    float *want = dice_floats(&dice, kind, n), *got = copy_floats(want, n);
    for (int inverse = 0; inverse < 2; inverse++) {
        ref->rope(want, cosine, sine, inverse, R, T, n_heads, 2 * half);
        k->rope(got, cosine, sine, inverse, R, T, n_heads, 2 * half);
        assert_same(got, want, n, k->name, "rope");
    }
    free(cosine), free(sine), free(want), free(got);
}

START_TEST(rope_has_the_bits_of_ref)
{
    with_each_isa(check_rope, _i);
}
END_TEST

static void check_loss(const struct kernels *k, const struct kernels *ref, int seed)
{
    struct dice dice = {(uint64_t)seed};
    enum kind kind = (enum kind)(seed % N_KINDS);
    size_t R = dice_below(&dice, 4), V = some_width(&dice);
    float *logit = dice_floats(&dice, kind, R * V), *want = copy_floats(logit, R * V), *got = copy_floats(logit, R * V);
    float loss[3][4] = {{0}};
    int32_t target[4];
    for (size_t r = 0; r < R; r++)
        target[r] = (int32_t)dice_below(&dice, V);
    ref->cross_entropy(loss[0], want, logit, target, 0.37f, R, V);
    k->cross_entropy(loss[1], got, logit, target, 0.37f, R, V);
    k->cross_entropy(loss[2], NULL, logit, target, 0.37f, R, V);
    assert_same(loss[1], loss[0], R, k->name, "cross_entropy");
    assert_same(loss[2], loss[0], R, k->name, "cross_entropy without gradient");
    assert_same(got, want, R * V, k->name, "cross_entropy's gradient");
    k->cross_entropy(loss[1], logit, logit, target, 0.37f, R, V);
    assert_same(logit, want, R * V, k->name, "cross_entropy in place");
    free(logit), free(want), free(got);
}

START_TEST(cross_entropy_has_the_bits_of_ref)
{
    with_each_isa(check_loss, _i);
}
END_TEST

/* Infinite and NaN operands included: within a block the definition works out what lies above the diagonal too. */
static void check_attention(const struct kernels *k, const struct kernels *ref, int seed)
{
    static const size_t length[] = {1, 2, 31, 32, 33, 64, 70, 97};
    static const size_t width[] = {1, 4, 7, 16, 32, 40};
    struct dice dice = {(uint64_t)seed};
    enum kind kind = (enum kind)(seed % N_KINDS);
    size_t B = dice_below(&dice, 3), T = length[dice_below(&dice, 8)], n_heads = 1 + dice_below(&dice, 3);
    size_t hd = width[dice_below(&dice, 6)], n = B * T * n_heads * hd, n_prob = B * n_heads * T * T;
    float *q = dice_floats(&dice, kind, n), *key = dice_floats(&dice, kind, n), *v = dice_floats(&dice, kind, n);
    float *gout = dice_floats(&dice, kind, n), *work = dice_floats(&dice, PLAIN, T * T);
    float *prob[2] = {dice_floats(&dice, PLAIN, n_prob), dice_floats(&dice, PLAIN, n_prob)};
    float *x[2][3];
    for (int i = 0; i < 6; i++)
        x[i / 3][i % 3] = dice_floats(&dice, PLAIN, n);

    ref->attention(x[0][0], prob[0], q, key, v, 0.3f, B, T, n_heads, hd);
    k->attention(x[1][0], prob[1], q, key, v, 0.3f, B, T, n_heads, hd);
    assert_same(prob[1], prob[0], n_prob, k->name, "attention's probabilities");
    assert_same(x[1][0], x[0][0], n, k->name, "attention");
    ref->attention_grad(x[0][0], x[0][1], x[0][2], work, gout, prob[0], q, key, v, 0.3f, B, T, n_heads, hd);
    k->attention_grad(x[1][0], x[1][1], x[1][2], work, gout, prob[0], q, key, v, 0.3f, B, T, n_heads, hd);
    for (int i = 0; i < 3; i++)
        assert_same(x[1][i], x[0][i], n, k->name, i == 0 ? "gq" : i == 1 ? "gk" : "gv");
    for (int i = 0; i < 6; i++)
        free(x[i / 3][i % 3]);
    free(q), free(key), free(v), free(gout), free(work), free(prob[0]), free(prob[1]);
}

START_TEST(attention_has_the_bits_of_ref)
{
    with_each_isa(check_attention, _i);
}
END_TEST

static struct adam_step first_step(void)
{
    return (struct adam_step){.lr = 1e-3f,
                              .beta1 = 0.9f,
                              .beta2 = 0.99f,
                              .eps = 1e-8f,
                              .weight_decay = 0.1f,
                              .beta1_power = 1.0f,
                              .beta2_power = 1.0f,
                              .grad_scale = 0.7f};
}

/* Gradients stop after a while, so that moments decay through the flush limits. */
static void check_updates(const struct kernels *k, const struct kernels *ref, int seed)
{
    enum { N = 77, N_UPDATES = 1000 };
    struct dice dice = {(uint64_t)seed};
    enum kind kind = (enum kind)(seed / 3 % (N_KINDS - 1));
    struct adam_step step = first_step();
    float *x[2][3], *g = dice_floats(&dice, kind, N);
    for (int i = 0; i < 3; i++) {
        x[0][i] = i == 0 ? dice_floats(&dice, kind, N) : calloc(N, sizeof(float));
        x[1][i] = copy_floats(x[0][i], N);
    }
    for (int t = 0; t < N_UPDATES; t++) {
        step.beta1_power *= step.beta1;
        step.beta2_power *= step.beta2;
        for (int i = 0; i < N; i++)
            g[i] = t < 200 ? dice_float(&dice, kind) : 0.0f;
        for (int who = 0; who < 2; who++) {
            const struct kernels *one = who ? k : ref;
            if (seed % 3 == 2) {
                one->momentum(x[who][2], x[who][1], g, step.beta1, step.grad_scale, N);
                one->descend(x[who][0], x[who][2], step.lr, step.lr * step.weight_decay, N);
            } else {
                (seed % 3 ? one->adamw : one->nadamw)(x[who][0], x[who][1], x[who][2], g, &step, N);
            }
        }
    }
    for (int i = 0; i < 3; i++) {
        assert_same(x[1][i], x[0][i], N, k->name, "a thousand updates");
        free(x[0][i]), free(x[1][i]);
    }
    free(g);
}

START_TEST(a_thousand_updates_have_the_bits_of_ref)
{
    with_each_isa(check_updates, _i);
}
END_TEST

START_TEST(decaying_state_becomes_plus_zero_and_never_subnormal)
{
    const struct kernels *k;
    ck_assert_int_eq(kernels_choose(NULL, &k), 0);
    struct adam_step step = first_step();
    float p[2] = {0x1p-99f, -0x1p-99f}, m[2] = {-1e-3f, 1e-3f}, v[2] = {1e-6f, 1e-6f}, g[2] = {0.0f, -0.0f};
    step.lr = 0.0f;
    step.beta1_power = step.beta2_power = 0.5f;
    for (int t = 0; t < 10000; t++) {
        k->adamw(p, m, v, g, &step, 2);
        for (int i = 0; i < 2; i++)
            ck_assert((m[i] == 0.0f || fabsf(m[i]) >= 0x1p-100f) && (v[i] == 0.0f || v[i] >= 0x1p-115f));
    }
    ck_assert_float_eq(fabsf(p[0]), 0x1p-99f); /* above the limit: kept */
    p[0] = 0x1p-101f;
    p[1] = -0x1p-101f;
    k->adamw(p, m, v, g, &step, 2);
    static const float zero[2];
    ck_assert_mem_eq(p, zero, sizeof p);
    ck_assert_mem_eq(m, zero, sizeof m);
    ck_assert_mem_eq(v, zero, sizeof v);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bits");
    TCase *tc = tcase_create("bits");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, elementwise_operations_and_sums_have_the_bits_of_ref, 0, 240);
    tcase_add_loop_test(tc, a_sum_that_underflows_keeps_its_sign, 0, 65);
    tcase_add_loop_test(tc, a_long_sum_of_squares_is_a_tree, 0, 12 * N_KINDS);
    tcase_add_test(tc, a_norm_of_a_long_row_is_a_row_sum);
    tcase_add_loop_test(tc, rmsnorm_has_the_bits_of_ref, 0, 120);
    tcase_add_loop_test(tc, rope_has_the_bits_of_ref, 0, 80);
    tcase_add_loop_test(tc, cross_entropy_has_the_bits_of_ref, 0, 120);
    tcase_add_loop_test(tc, attention_has_the_bits_of_ref, 0, 120);
    tcase_add_loop_test(tc, a_thousand_updates_have_the_bits_of_ref, 0, 3 * (N_KINDS - 1));
    tcase_add_test(tc, decaying_state_becomes_plus_zero_and_never_subnormal);
    suite_add_tcase(suite, tc);
    tcase_add_test(unit_case(suite, "slow", 120), a_tree_of_three_levels);
    return unit_run(suite);
}
