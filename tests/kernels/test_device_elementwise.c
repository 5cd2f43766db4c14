/* tests/kernels/test_device_elementwise.c - what the device does to each element, row or leaf by itself, against ref. */
#include "tests/kernels/device_tensor.h"

#define MANY 5000 /* more than the threads of a block */

/* Lengths around the widths of accesses, warps and blocks. */
static size_t some_length(struct dice *dice)
{
    static const size_t length[] = {0, 1, 2, 3, 4, 5, 31, 32, 33, 63, 65, 97, 127, 255, 256, 257, 1023, 1024, 1025, 1300};
    return dice_below(dice, 3) ? length[dice_below(dice, sizeof length / sizeof *length)] : 1 + dice_below(dice, 100);
}

/* Half of the tensors lie on a multiple of 16. */
static size_t some_shift(struct dice *dice)
{
    return dice_below(dice, 2) ? 0 : 4 * dice_below(dice, 4);
}

static struct tensor some_tensor(const struct kernels *k, struct dice *dice, enum kind kind, size_t n)
{
    return tensor_floats(k, dice, kind, n, some_shift(dice));
}

static void release_all(const struct kernels *k, struct tensor *t, int n)
{
    for (int i = 0; i < n; i++)
        tensor_free(k, t + i);
}

static void check_vectors(const struct kernels *k, const struct kernels *ref, struct dice *dice, enum kind kind)
{
    size_t n = some_length(dice);
    struct tensor t[2] = {some_tensor(k, dice, kind, n), some_tensor(k, dice, kind, n)}, *x = t, *y = t + 1;
    float a = dice_float(dice, kind), b = dice_float(dice, kind);
    ref->axpy(y->want, a, x->want, n), k->axpy(y->at, a, x->at, n);
    tensor_same(k, y, "axpy");
    ref->blend(y->want, a, x->want, b, n), k->blend(y->at, a, x->at, b, n);
    tensor_same(k, y, "blend");
    ref->scale(y->want, a, x->want, n), k->scale(y->at, a, x->at, n);
    tensor_same(k, y, "scale");
    ref->divide(y->want, x->want, a, n), k->divide(y->at, x->at, a, n);
    tensor_same(k, y, "divide");
    ref->divide(y->want, y->want, 3.7f, n), k->divide(y->at, y->at, 3.7f, n);
    tensor_same(k, y, "divide in place");
    ref->scale(y->want, b, y->want, n), k->scale(y->at, b, y->at, n);
    tensor_same(k, y, "scale in place");
    release_all(k, t, 2);
}

START_TEST(vectors_have_the_bits_of_ref)
{
    const struct kernels *k = device_set();
    struct dice dice = {(uint64_t)_i};
    device_order(_i % DEVICE_ORDERS);
    for (int kind = 0; kind < N_KINDS; kind++)
        check_vectors(k, ref_set(), &dice, (enum kind)kind);
}
END_TEST

/* All over the domain of exp, and beyond its ends. */
static struct tensor wide_tensor(const struct kernels *k, struct dice *dice, enum kind kind, size_t n)
{
    static const float edge[] = {-87.33f, 87.33f, 88.72f, -88.72f, -0.0f, 0.0f, 16.64f, 0x1p-126f, -0x1p-149f, 1e30f, -1e30f};
    float *x = dice_floats(dice, kind, n);
    for (size_t i = 0; kind == PLAIN && i < n; i++)
        x[i] = i % 7 == 0 ? edge[dice_below(dice, sizeof edge / sizeof *edge)] : x[i] * 110.0f;
    return tensor_of(k, x, n * sizeof *x, some_shift(dice));
}

static void check_gates(const struct kernels *k, const struct kernels *ref, struct dice *dice, enum kind kind)
{
    size_t n = some_length(dice);
    struct tensor t[6] = {wide_tensor(k, dice, kind, n), some_tensor(k, dice, kind, n), some_tensor(k, dice, kind, n),
                          some_tensor(k, dice, kind, n), some_tensor(k, dice, kind, n), some_tensor(k, dice, kind, n)};
    struct tensor *g = t, *u = t + 1, *gh = t + 2, *h = t + 3, *gg = t + 4, *gu = t + 5;
    ref->swiglu(h->want, g->want, u->want, n), k->swiglu(h->at, g->at, u->at, n);
    tensor_same(k, h, "swiglu");
    ref->sigmoid(h->want, g->want, n), k->sigmoid(h->at, g->at, n);
    tensor_same(k, h, "sigmoid");
    ref->sigmoid_grad(gg->want, h->want, n), k->sigmoid_grad(gg->at, h->at, n);
    tensor_same(k, gg, "sigmoid_grad");
    ref->swiglu_grad(gg->want, gu->want, gh->want, g->want, u->want, n);
    k->swiglu_grad(gg->at, gu->at, gh->at, g->at, u->at, n);
    tensor_same(k, gg, "swiglu_grad of g");
    tensor_same(k, gu, "swiglu_grad of u");
    ref->swiglu_grad(g->want, u->want, gh->want, g->want, u->want, n);
    k->swiglu_grad(g->at, u->at, gh->at, g->at, u->at, n);
    tensor_same(k, g, "swiglu_grad of g in place");
    tensor_same(k, u, "swiglu_grad of u in place");
    release_all(k, t, 6);
}

START_TEST(gates_have_the_bits_of_ref)
{
    const struct kernels *k = device_set();
    struct dice dice = {(uint64_t)_i};
    for (int kind = 0; kind < N_KINDS; kind++)
        check_gates(k, ref_set(), &dice, (enum kind)kind);
}
END_TEST

START_TEST(more_elements_than_a_block_has_threads)
{
    const struct kernels *k = device_set(), *ref = ref_set();
    struct dice dice = {(uint64_t)_i};
    struct tensor x = tensor_floats(k, &dice, NASTY, MANY, _i ? 4 : 0), y = tensor_floats(k, &dice, NASTY, MANY, 0);
    ref->axpy(y.want, 0.3f, x.want, MANY), k->axpy(y.at, 0.3f, x.at, MANY);
    tensor_same(k, &y, "axpy");
    tensor_free(k, &x), tensor_free(k, &y);
}
END_TEST

/* -- Optimizers ------------------------------------------------------------------------------------ */

#define N_UPDATES 300

static void update(const struct kernels *k, int rule, float *p, float *m, float *v, const float *g, const struct adam_step *step,
                   size_t n)
{
    if (rule < 2) {
        (rule ? k->adamw : k->nadamw)(p, m, v, g, step, n);
        return;
    }
    k->momentum(v, m, g, step->beta1, step->grad_scale, n);
    k->descend(p, v, step->lr, step->lr * step->weight_decay, n);
}

/* Gradients stop after a while, so that moments decay through the flush limits; then they come back. */
static void check_updates(const struct kernels *k, struct dice *dice, enum kind kind, int rule)
{
    size_t n = 1 + dice_below(dice, 70), shift = some_shift(dice);
    struct adam_step step = {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 1.0f, 1.0f, 0.7f};
    struct tensor t[3] = {tensor_floats(k, dice, kind, n, shift), tensor_of(k, calloc(n, 4), 4 * n, shift),
                          tensor_of(k, calloc(n, 4), 4 * n, shift)};
    struct tensor zero = tensor_of(k, calloc(n, 4), 4 * n, shift);
    for (int at = 0; at < N_UPDATES; at++) {
        struct tensor some = tensor_floats(k, dice, kind, n, shift), *g = at < 5 || at > N_UPDATES - 3 ? &some : &zero;
        step.beta1_power *= step.beta1, step.beta2_power *= step.beta2;
        if (at == 10)
            step.beta1 = 0.5f; /* the sooner */
        update(ref_set(), rule, t[0].want, t[1].want, t[2].want, g->want, &step, n);
        update(k, rule, t[0].at, t[1].at, t[2].at, g->at, &step, n);
        tensor_free(k, &some);
    }
    for (int i = 0; i < 3; i++)
        tensor_same(k, t + i, rule == 0 ? "nadamw" : rule == 1 ? "adamw" : "momentum and descend");
    release_all(k, t, 3);
    tensor_free(k, &zero);
}

START_TEST(hundreds_of_updates_have_the_bits_of_ref)
{
    struct dice dice = {(uint64_t)_i};
    for (int rule = 0; rule < 3; rule++)
        check_updates(device_set(), &dice, (enum kind)(_i % N_KINDS), rule);
}
END_TEST

/* Just below, at and above the limits, of each sign. */
START_TEST(the_limits_of_flushing_are_those_of_ref)
{
    const struct kernels *k = device_set(), *ref = ref_set();
    static const struct adam_step step = {
        .lr = 0.0f, .beta1 = 1.0f, .beta2 = 1.0f, .eps = 1e-8f, .beta1_power = 0.5f, .beta2_power = 0.5f, .grad_scale = 1.0f};
    float limit[2] = {0x1p-100f, 0x1p-115f}, x[3][18], zero[18] = {0};
    for (int i = 0; i < 18; i++) {
        uint32_t bits;
        memcpy(&bits, &limit[i / 9], 4);
        bits = bits + (uint32_t)(i % 3 - 1) + ((uint32_t)(i % 9 / 3) << 31);
        for (int which = 0; which < 3; which++)
            memcpy(&x[which][i], &bits, 4);
    }
    struct tensor t[4];
    for (int i = 0; i < 4; i++)
        t[i] = tensor_of(k, memcpy(malloc(sizeof zero), i < 3 ? x[i] : zero, sizeof zero), sizeof zero, 0);
    ref->nadamw(t[0].want, t[1].want, t[2].want, t[3].want, &step, 18);
    k->nadamw(t[0].at, t[1].at, t[2].at, t[3].at, &step, 18);
    for (int i = 0; i < 3; i++)
        tensor_same(k, t + i, "flushing");
    ck_assert(((float *)t[0].want)[0] == 0.0f && ((float *)t[0].want)[1] == 0x1p-100f);
    release_all(k, t, 4);
}
END_TEST

/* -- Rows and bytes -------------------------------------------------------------------------------- */

START_TEST(rows_are_weighed)
{
    const struct kernels *k = device_set(), *ref = ref_set();
    struct dice dice = {(uint64_t)_i};
    size_t R = dice_below(&dice, 20), C = some_length(&dice);
    enum kind kind = (enum kind)(_i % N_KINDS);
    struct tensor t[3] = {some_tensor(k, &dice, kind, R), some_tensor(k, &dice, kind, R * C),
                          some_tensor(k, &dice, PLAIN, R * C)};
    ref->weigh(t[2].want, t[0].want, t[1].want, R, C), k->weigh(t[2].at, t[0].at, t[1].at, R, C);
    tensor_same(k, t + 2, "weigh");
    ref->weigh(t[2].want, t[0].want, t[2].want, R, C), k->weigh(t[2].at, t[0].at, t[2].at, R, C);
    tensor_same(k, t + 2, "weigh in place");
    release_all(k, t, 3);
}
END_TEST

START_TEST(rows_of_any_bytes_are_gathered)
{
    const struct kernels *k = device_set(), *ref = ref_set();
    struct dice dice = {(uint64_t)_i};
    static const size_t some_bytes[] = {1, 3, 4, 12, 16, 48, 100, 1000, 1024, 4112};
    size_t n = dice_below(&dice, 12), V = 1 + dice_below(&dice, 9), row_bytes = some_bytes[_i % 10];
    struct tensor from = tensor_bytes(k, &dice, V * row_bytes, some_shift(&dice) / 4 * (_i % 3 ? 4 : 1));
    struct tensor to = tensor_bytes(k, &dice, n * row_bytes, some_shift(&dice)), row = tensor_bytes(k, &dice, 4 * n, 0);
    for (size_t i = 0; i < n; i++)
        ((uint32_t *)row.want)[i] = (uint32_t)dice_below(&dice, V);
    k->put(row.at, row.want, 4 * n);
    ref->gather(to.want, from.want, row.want, n, row_bytes), k->gather(to.at, from.at, row.at, n, row_bytes);
    tensor_same_bytes(k, &to, "gather");
    tensor_free(k, &from), tensor_free(k, &to), tensor_free(k, &row);
}
END_TEST

START_TEST(matrices_are_transposed)
{
    const struct kernels *k = device_set(), *ref = ref_set();
    struct dice dice = {(uint64_t)_i};
    size_t M = dice_below(&dice, 80), N = _i % 5 ? dice_below(&dice, 80) : 1;
    struct tensor x = some_tensor(k, &dice, NASTY, M * N), y = some_tensor(k, &dice, PLAIN, M * N);
    device_order(_i % DEVICE_ORDERS);
    ref->transpose(y.want, x.want, M, N), k->transpose(y.at, x.at, M, N);
    tensor_same_bytes(k, &y, "transpose"); /* NaN as it was */
    tensor_free(k, &x), tensor_free(k, &y);
}
END_TEST

/* Against OpenSSL, which ref calls.  Lengths about a block of 64 bytes, where the padding needs one more; any alignment. */
START_TEST(leaves_have_the_digests_of_openssl)
{
    const struct kernels *k = device_set(), *ref = ref_set();
    static const size_t some_leaf[] = {64, 65, 66, 68, 80, 119, 120, 127, 128, 256, 1000, 4096};
    struct dice dice = {(uint64_t)_i};
    size_t leaf = some_leaf[_i % 12], n = _i < 70 ? dice_below(&dice, 4 * leaf) : (size_t)_i - 70;
    if (_i % 12 == 0)
        n = 40 * leaf + dice_below(&dice, leaf); /* more than a block of threads */
    struct tensor bytes = tensor_bytes(k, &dice, n, dice_below(&dice, 2) ? dice_below(&dice, 17) : 0);
    struct tensor digest = tensor_bytes(k, &dice, (n + leaf - 1) / leaf * 32, dice_below(&dice, 4));
    ref->hash_leaves(digest.want, bytes.want, n, leaf), k->hash_leaves(digest.at, bytes.at, n, leaf);
    tensor_same_bytes(k, &digest, "hash_leaves");
    tensor_free(k, &bytes), tensor_free(k, &digest);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("device_elementwise");
    TCase *tc = tcase_create("device_elementwise");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, vectors_have_the_bits_of_ref, 0, 20);
    tcase_add_loop_test(tc, gates_have_the_bits_of_ref, 0, 20);
    tcase_add_loop_test(tc, more_elements_than_a_block_has_threads, 0, 2);
    tcase_add_loop_test(tc, hundreds_of_updates_have_the_bits_of_ref, 0, 2 * N_KINDS);
    tcase_add_test(tc, the_limits_of_flushing_are_those_of_ref);
    tcase_add_loop_test(tc, rows_are_weighed, 0, 16);
    tcase_add_loop_test(tc, rows_of_any_bytes_are_gathered, 0, 20);
    tcase_add_loop_test(tc, matrices_are_transposed, 0, 16);
    tcase_add_loop_test(tc, leaves_have_the_digests_of_openssl, 0, 200);
    suite_add_tcase(all, tc);
    return all;
}

int main(void)
{
    return device_run(suite());
}
