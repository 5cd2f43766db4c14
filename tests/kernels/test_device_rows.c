/* tests/kernels/test_device_rows.c - sums, norms, losses, gates and tables on the device against ref. */
#include "tests/kernels/device_tensor.h"

/* Widths around the 32 lanes and the loads that go ahead of them. */
static size_t some_width(struct dice *dice)
{
    static const size_t width[] = {31, 32, 33, 63, 64, 65, 95, 96, 97, 127, 128, 129, 255, 256, 257, 300, 511, 513};
    return dice_below(dice, 3) ? width[dice_below(dice, sizeof width / sizeof *width)] : 1 + dice_below(dice, 100);
}

static struct tensor some_tensor(const struct kernels *k, struct dice *dice, enum kind kind, size_t n)
{
    return tensor_floats(k, dice, kind, n, dice_below(dice, 2) ? 0 : 4 * dice_below(dice, 4));
}

static void release_all(const struct kernels *k, struct tensor *t, int n)
{
    for (int i = 0; i < n; i++)
        tensor_free(k, t + i);
}

/* -- Numbers --------------------------------------------------------------------------------------- */

static void check_sums(const struct kernels *k, struct dice *dice, enum kind kind, size_t n)
{
    const struct kernels *ref = ref_set();
    struct tensor t[2] = {some_tensor(k, dice, kind, n), some_tensor(k, dice, kind, n)};
    float got[3] = {k->dot(t[0].at, t[1].at, n), k->sum_squares(t[0].at, n), k->largest(t[0].at, n)};
    float want[3] = {ref->dot(t[0].want, t[1].want, n), ref->sum_squares(t[0].want, n), ref->largest(t[0].want, n)};
    assert_same(got, want, 3, k->name, "dot, sum_squares, largest");
    release_all(k, t, 2);
}

START_TEST(sums_have_the_bits_of_ref)
{
    static const size_t some_n[] = {0, 1, 31, 33, 1000, 4095, 4096, 4097, 3 * 4096, 5 * 4096 + 17};
    const struct kernels *k = device_set();
    struct dice dice = {(uint64_t)_i};
    device_order(_i % DEVICE_ORDERS);
    for (int kind = 0; kind < N_KINDS; kind++)
        check_sums(k, &dice, (enum kind)kind, _i < 10 ? some_n[_i] : some_width(&dice));
}
END_TEST

#define THIRD_LEVEL ((size_t)4096 * 4096 + 4096 + 5)

/* Two pieces of pieces: slow over the emulation, so a few threads' worth of numbers differ from 0. */
START_TEST(a_long_sum_of_squares_has_three_levels)
{
    const struct kernels *k = device_set();
    struct dice dice = {3};
    float *x = calloc(THIRD_LEVEL, sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int i = 0; i < 4096; i++)
        x[dice_below(&dice, THIRD_LEVEL)] = dice_unit(&dice);
    x[THIRD_LEVEL - 1] = 0.7f;
    struct tensor t = tensor_of(k, x, THIRD_LEVEL * sizeof *x, 4);
    float got = k->sum_squares(t.at, THIRD_LEVEL), want = ref_set()->sum_squares(x, THIRD_LEVEL);
    assert_same(&got, &want, 1, k->name, "sum_squares");
    tensor_free(k, &t);
}
END_TEST

/* Each of the 32 lanes underflows to -0, and so does the sum; a lane beyond the end must not become +0. */
START_TEST(a_sum_that_underflows_keeps_its_sign)
{
    const struct kernels *k = device_set();
    float *x = malloc(64 * sizeof *x), *y = malloc(64 * sizeof *y);
    for (int i = 0; i < 64; i++)
        x[i] = 0x1p-100f, y[i] = -0x1p-100f;
    struct tensor t[2] = {tensor_of(k, x, 256, 0), tensor_of(k, y, 256, 0)};
    for (size_t n = 0; n <= 64; n++) {
        float got = k->dot(t[0].at, t[1].at, n), want = ref_set()->dot(x, y, n);
        assert_same(&got, &want, 1, k->name, "dot");
        ck_assert(n < 32 || signbit(want));
    }
    release_all(k, t, 2);
}
END_TEST

START_TEST(the_largest_is_by_bits)
{
    const struct kernels *k = device_set();
    struct dice dice = {(uint64_t)_i};
    size_t n = 1 + dice_below(&dice, 3000), at = dice_below(&dice, n);
    float *x = dice_floats(&dice, TINY, n);
    x[at] = _i % 3 == 0 ? -3.0f : _i % 3 == 1 ? -INFINITY : NAN;
    struct tensor t = tensor_of(k, x, n * sizeof *x, _i % 2 ? 4 : 0);
    float got = k->largest(t.at, n);
    ck_assert(_i % 3 == 0 ? got == 3.0f : _i % 3 == 1 ? got == INFINITY : isnan(got));
    tensor_free(k, &t);
}
END_TEST

/* -- Norms and rope -------------------------------------------------------------------------------- */

static void check_norm(const struct kernels *k, struct dice *dice, enum kind kind, bool has_gain, size_t R, size_t D)
{
    const struct kernels *ref = ref_set();
    struct tensor t[6] = {some_tensor(k, dice, kind, R * D),  some_tensor(k, dice, kind, R * D), some_tensor(k, dice, PLAIN, D),
                          some_tensor(k, dice, PLAIN, R * D), some_tensor(k, dice, PLAIN, R),    some_tensor(k, dice, kind, D)};
    struct tensor *x = t, *gy = t + 1, *gain = t + 2, *y = t + 3, *rstd = t + 4, *ggain = t + 5;
    float *by = has_gain ? gain->at : NULL, *want_by = has_gain ? gain->want : NULL;
    ref->rmsnorm(y->want, rstd->want, x->want, want_by, 1e-5f, R, D);
    k->rmsnorm(y->at, rstd->at, x->at, by, 1e-5f, R, D);
    tensor_same(k, y, "rmsnorm");
    tensor_same(k, rstd, "rstd");
    ref->rmsnorm_grad(y->want, has_gain ? ggain->want : NULL, gy->want, x->want, rstd->want, want_by, R, D);
    k->rmsnorm_grad(y->at, has_gain ? ggain->at : NULL, gy->at, x->at, rstd->at, by, R, D);
    tensor_same(k, y, "rmsnorm_grad");
    tensor_same(k, ggain, "rmsnorm_grad of gain");
    ref->rmsnorm_grad(gy->want, NULL, gy->want, x->want, rstd->want, want_by, R, D);
    k->rmsnorm_grad(gy->at, NULL, gy->at, x->at, rstd->at, by, R, D);
    tensor_same(k, gy, "rmsnorm_grad in place");
    release_all(k, t, 6);
}

START_TEST(norms_have_the_bits_of_ref)
{
    static const size_t some_rows[] = {0, 1, 2, 7, 8, 9, 64, 65, 130};
    struct dice dice = {(uint64_t)_i};
    device_order(_i / 9 % DEVICE_ORDERS);
    size_t R = some_rows[_i % 9], D = R > 60 ? 1 + dice_below(&dice, 40) : some_width(&dice);
    check_norm(device_set(), &dice, (enum kind)(_i % N_KINDS), _i % 3, R, D);
}
END_TEST

START_TEST(rope_has_the_bits_of_ref)
{
    const struct kernels *k = device_set(), *ref = ref_set();
    struct dice dice = {(uint64_t)_i};
    static const size_t some_hd[] = {2, 3, 6, 8, 16, 24, 64};
    size_t T = 1 + dice_below(&dice, 5), R = T * dice_below(&dice, 4), n_heads = dice_below(&dice, 4), hd = some_hd[_i % 7];
    struct tensor t[3] = {some_tensor(k, &dice, (enum kind)(_i % N_KINDS), R * n_heads * hd),
                          some_tensor(k, &dice, PLAIN, T * (hd / 2)), some_tensor(k, &dice, PLAIN, T * (hd / 2))};
    for (int inverse = 0; inverse < 2; inverse++) {
        ref->rope(t[0].want, t[1].want, t[2].want, inverse, R, T, n_heads, hd);
        k->rope(t[0].at, t[1].at, t[2].at, inverse, R, T, n_heads, hd);
        tensor_same(k, t, "rope");
    }
    release_all(k, t, 3);
}
END_TEST

/* -- Losses ---------------------------------------------------------------------------------------- */

/* Logits of a kind, or all over the domain of exp. */
static struct tensor logits(const struct kernels *k, struct dice *dice, enum kind kind, size_t n)
{
    float *x = dice_floats(dice, kind, n);
    for (size_t i = 0; kind == PLAIN && i < n; i++)
        x[i] *= 60.0f;
    return tensor_of(k, x, n * sizeof *x, 4 * dice_below(dice, 2));
}

static struct tensor tokens(const struct kernels *k, struct dice *dice, size_t n, size_t V)
{
    int32_t *token = malloc(n ? n * sizeof *token : 1);
    for (size_t i = 0; i < n; i++)
        token[i] = (int32_t)dice_below(dice, V);
    return tensor_of(k, token, n * sizeof *token, 0);
}

START_TEST(losses_have_the_bits_of_ref)
{
    const struct kernels *k = device_set(), *ref = ref_set();
    struct dice dice = {(uint64_t)_i};
    size_t R = dice_below(&dice, 5),
           V = _i % 6 ? some_width(&dice) : 1000 + dice_below(&dice, 2500); /* a warp or a block a row */
    struct tensor t[4] = {logits(k, &dice, (enum kind)(_i % N_KINDS), R * V), tokens(k, &dice, R, V),
                          some_tensor(k, &dice, PLAIN, R), some_tensor(k, &dice, PLAIN, R * V)};
    struct tensor *x = t, *token = t + 1, *loss = t + 2, *gx = t + 3;
    device_order(_i % DEVICE_ORDERS);
    ref->cross_entropy(loss->want, gx->want, x->want, token->want, 0.37f, R, V);
    k->cross_entropy(loss->at, NULL, x->at, token->at, 0.37f, R, V);
    tensor_same(k, loss, "cross_entropy without gradient");
    k->cross_entropy(loss->at, gx->at, x->at, token->at, 0.37f, R, V);
    tensor_same(k, loss, "cross_entropy");
    tensor_same(k, gx, "cross_entropy's gradient");
    ref->cross_entropy(loss->want, x->want, x->want, token->want, 0.37f, R, V);
    k->cross_entropy(loss->at, x->at, x->at, token->at, 0.37f, R, V);
    tensor_same(k, x, "cross_entropy in place");
    release_all(k, t, 4);
}
END_TEST

START_TEST(zloss_has_the_bits_of_ref)
{
    const struct kernels *k = device_set(), *ref = ref_set();
    struct dice dice = {(uint64_t)_i};
    size_t T = dice_below(&dice, 20), E = some_width(&dice);
    struct tensor t[3] = {logits(k, &dice, (enum kind)(_i % N_KINDS), T * E), some_tensor(k, &dice, PLAIN, T * E),
                          some_tensor(k, &dice, PLAIN, T)};
    ref->gate_zloss(t[2].want, t[1].want, t[0].want, 0.01f, T, E);
    k->gate_zloss(t[2].at, t[1].at, t[0].at, 0.01f, T, E);
    tensor_same(k, t + 1, "gate_zloss");
    tensor_same(k, t + 2, "lse");
    release_all(k, t, 3);
}
END_TEST

/* -- Tables and gates ------------------------------------------------------------------------------ */

/* Few tokens make long groups, many make short ones; some rows of the table stay as they are. */
START_TEST(tables_have_the_bits_of_ref)
{
    static const size_t some_V[] = {1, 2, 7, 100, 3000};
    const struct kernels *k = device_set(), *ref = ref_set();
    struct dice dice = {(uint64_t)_i};
    size_t V = some_V[_i % 5], R = _i % 7 == 6 ? 0 : 1 + dice_below(&dice, 150), D = _i % 3 ? 1 + dice_below(&dice, 40) : 1028;
    struct tensor t[4] = {some_tensor(k, &dice, (enum kind)(_i % N_KINDS), V * D), tokens(k, &dice, R, V),
                          some_tensor(k, &dice, (enum kind)(_i % N_KINDS), R * D), some_tensor(k, &dice, PLAIN, R * D)};
    device_order(_i % DEVICE_ORDERS);
    ref->embed(t[3].want, t[0].want, t[1].want, R, D);
    k->embed(t[3].at, t[0].at, t[1].at, R, D);
    tensor_same(k, t + 3, "embed");
    ref->embed_grad(t[0].want, t[2].want, t[1].want, R, D, V);
    k->embed_grad(t[0].at, t[2].at, t[1].at, R, D, V);
    tensor_same(k, t, "embed_grad");
    release_all(k, t, 4);
}
END_TEST

/* Picks of T tokens among E, some of them none; some not answered. */
static struct tensor picks(const struct kernels *k, struct dice *dice, size_t T, size_t K, size_t E)
{
    int32_t *pick = malloc(T * K * sizeof *pick + 1);
    for (size_t i = 0; i < T * K; i++)
        pick[i] = dice_below(dice, 6) ? (int32_t)((i % K * 7 + i / K) % E) : -1;
    return tensor_of(k, pick, T * K * sizeof *pick, 0);
}

static struct tensor answers(const struct kernels *k, struct dice *dice, size_t n)
{
    uint8_t *answered = malloc(n ? n : 1);
    for (size_t i = 0; i < n; i++)
        answered[i] = (uint8_t)(dice_below(dice, 4) ? 1 + dice_below(dice, 2) : 0);
    return tensor_of(k, answered, n, 1);
}

START_TEST(weights_of_the_gate_have_the_bits_of_ref)
{
    const struct kernels *k = device_set(), *ref = ref_set();
    struct dice dice = {(uint64_t)_i};
    size_t T = dice_below(&dice, 40), K = 1 + dice_below(&dice, 4), E = 7 * K + dice_below(&dice, 60);
    enum kind kind = (enum kind)(_i % N_KINDS);
    struct tensor t[6] = {picks(k, &dice, T, K, E),           answers(k, &dice, T * K),
                          some_tensor(k, &dice, kind, T * E), some_tensor(k, &dice, kind, T * K),
                          some_tensor(k, &dice, kind, T * K), some_tensor(k, &dice, PLAIN, T * E)};
    struct tensor *pick = t, *answered = t + 1, *score = t + 2, *weight = t + 3, *gweight = t + 4, *gscore = t + 5;
    ref->gate_weight(weight->want, score->want, pick->want, answered->want, T, K, E);
    k->gate_weight(weight->at, score->at, pick->at, answered->at, T, K, E);
    tensor_same(k, weight, "gate_weight");
    ref->gate_weight_grad(gscore->want, gweight->want, weight->want, score->want, pick->want, answered->want, T, K, E);
    k->gate_weight_grad(gscore->at, gweight->at, weight->at, score->at, pick->at, answered->at, T, K, E);
    tensor_same(k, gscore, "gate_weight_grad");
    release_all(k, t, 6);
}
END_TEST

/* Weights of 0, of either sign, leave out what may be a NaN. */
static struct tensor slot_weights(const struct kernels *k, struct dice *dice, size_t n)
{
    float *weight = dice_floats(dice, PLAIN, n);
    for (size_t i = 0; i < n; i++)
        weight[i] = dice_below(dice, 3) ? weight[i] : dice_below(dice, 2) ? 0.0f : -0.0f;
    return tensor_of(k, weight, n * sizeof *weight, 4);
}

START_TEST(answers_are_combined_with_the_bits_of_ref)
{
    const struct kernels *k = device_set(), *ref = ref_set();
    struct dice dice = {(uint64_t)_i};
    size_t T = dice_below(&dice, 12), K = dice_below(&dice, 5), D = some_width(&dice);
    enum kind kind = (enum kind)(_i % N_KINDS);
    struct tensor t[6] = {picks(k, &dice, T, K, 9),
                          answers(k, &dice, T * K),
                          slot_weights(k, &dice, T * K),
                          some_tensor(k, &dice, kind, T * D),
                          some_tensor(k, &dice, kind, T * K * D),
                          some_tensor(k, &dice, PLAIN, T * K)};
    struct tensor *pick = t, *answered = t + 1, *weight = t + 2, *out = t + 3, *y = t + 4, *gweight = t + 5;
    ref->gate_combine(out->want, weight->want, y->want, T, K, D);
    k->gate_combine(out->at, weight->at, y->at, T, K, D);
    tensor_same(k, out, "gate_combine");
    ref->gate_scatter(out->want, y->want, pick->want, answered->want, T, K, D);
    k->gate_scatter(out->at, y->at, pick->at, answered->at, T, K, D);
    tensor_same(k, out, "gate_scatter");
    ref->gate_combine_grad(gweight->want, out->want, y->want, pick->want, answered->want, T, K, D);
    k->gate_combine_grad(gweight->at, out->at, y->at, pick->at, answered->at, T, K, D);
    tensor_same(k, gweight, "gate_combine_grad");
    release_all(k, t, 6);
}
END_TEST

/* -- Over the emulation ---------------------------------------------------------------------------- */

#ifdef CUDA_EMULATED
/* Launches of what an expert and the trunk do with R rows of C. */
static uint64_t launches(const struct kernels *k, size_t R, size_t C)
{
    struct dice dice = {1};
    size_t n = R * C;
    uint64_t before = emulate_launches();
    struct tensor x = tensor_floats(k, &dice, PLAIN, n, 0), y = tensor_floats(k, &dice, PLAIN, n, 0),
                  row = tensor_floats(k, &dice, PLAIN, n, 0), gain = tensor_floats(k, &dice, PLAIN, C, 0),
                  token = tokens(k, &dice, R, 2), q = tensor_bytes(k, &dice, 2 * n, 0), e = tensor_bytes(k, &dice, n, 0);
    int8_t *high = q.at, *low = high + n;
    k->quantize_rows(high, low, e.at, x.at, C, NULL, R, C);
    k->quantize_columns(high, low, e.at, x.at, C, NULL, R, C);
    k->swiglu_rows(high, low, e.at, x.at, y.at, NULL, R, C);
    k->rmsnorm(y.at, row.at, x.at, gain.at, 1e-5f, R, C);
    k->rmsnorm_grad(y.at, gain.at, y.at, x.at, row.at, gain.at, R, C);
    k->cross_entropy(row.at, y.at, x.at, token.at, 1.0f, R, C);
    k->embed_grad(y.at, x.at, token.at, R, C, 2);
    k->weigh(y.at, row.at, x.at, R, C);
    k->hash_leaves(row.at, x.at, R * 64, 64);
    uint64_t n_launches = emulate_launches() - before;
    tensor_free(k, &x), tensor_free(k, &y), tensor_free(k, &row), tensor_free(k, &gain);
    tensor_free(k, &token), tensor_free(k, &q), tensor_free(k, &e);
    return n_launches;
}

START_TEST(more_rows_are_no_more_launches)
{
    const struct kernels *k = device_set();
    ck_assert_uint_eq(launches(k, 60, 16), launches(k, 2, 16));
}
END_TEST

/* A norm that is asked of a lost device, or where there is no memory for its scratch, is NaN, and the next get() says why. */
START_TEST(a_failed_device_gives_no_number)
{
    const struct kernels *k = device_set();
    struct dice dice = {1};
    struct tensor t = tensor_floats(k, &dice, PLAIN, 9000, 0);
    emulate_fail(_i ? EMULATE_NO_MEMORY : EMULATE_LOST, 0);
    ck_assert(isnan(k->sum_squares(t.at, 9000)));
    ck_assert(isnan(k->largest(t.at, 9000)));
    ck_assert(isnan(k->dot(t.at, t.at, 9000)));
    ck_assert_int_eq(k->wait(), _i ? HANSE_ENOMEM : HANSE_EDEVICE);
    tensor_free(k, &t);
}
END_TEST
#endif

static Suite *suite(void)
{
    Suite *all = suite_create("device_rows");
    TCase *tc = tcase_create("device_rows");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, sums_have_the_bits_of_ref, 0, 20);
    tcase_add_test(tc, a_long_sum_of_squares_has_three_levels);
    tcase_add_test(tc, a_sum_that_underflows_keeps_its_sign);
    tcase_add_loop_test(tc, the_largest_is_by_bits, 0, 12);
    tcase_add_loop_test(tc, norms_have_the_bits_of_ref, 0, 72);
    tcase_add_loop_test(tc, rope_has_the_bits_of_ref, 0, 28);
    tcase_add_loop_test(tc, losses_have_the_bits_of_ref, 0, 48);
    tcase_add_loop_test(tc, zloss_has_the_bits_of_ref, 0, 24);
    tcase_add_loop_test(tc, tables_have_the_bits_of_ref, 0, 60);
    tcase_add_loop_test(tc, weights_of_the_gate_have_the_bits_of_ref, 0, 40);
    tcase_add_loop_test(tc, answers_are_combined_with_the_bits_of_ref, 0, 40);
#ifdef CUDA_EMULATED
    tcase_add_test(tc, more_rows_are_no_more_launches);
    tcase_add_loop_test(tc, a_failed_device_gives_no_number, 0, 2);
#endif
    suite_add_tcase(all, tc);
    return all;
}

int main(void)
{
    return device_run(suite());
}
