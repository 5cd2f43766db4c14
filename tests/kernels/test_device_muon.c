/* tests/kernels/test_device_muon.c - Muon through the GPU's set: whole products in place of halves, the same bits. */
#include "kernels/ref/muon.h"
#include "tests/kernels/device_test.h"

static void update(const struct kernels *k, float *p, float *m, const float *g, size_t M, size_t N, int n_updates)
{
    const struct muon_step step = {.lr = 0.02f, .momentum = 0.95f, .weight_decay = 0.1f, .grad_scale = 0.5f, .n_iterations = 5};
    float *work = k->allot(muon_work_floats(M, N) * sizeof *work);
    ck_assert_ptr_nonnull(work);
    for (int t = 0; t < n_updates; t++)
        muon_update(k, p, m, g, work, &step, M, N);
    k->release(work);
}

/* m begins at +0 and is freed here, as is g. */
static void check(struct dice *dice, float *g, size_t M, size_t N)
{
    const struct kernels *k = device_set(), *ref = ref_set();
    size_t n_bytes = M * N * sizeof(float);
    float *p = dice_floats(dice, PLAIN, M * N), *m = calloc(M * N, sizeof *m);
    ck_assert_ptr_nonnull(m);
    float *p_there = device_copy(k, p, n_bytes), *m_there = device_copy(k, m, n_bytes), *g_there = device_copy(k, g, n_bytes);
    update(ref, p, m, g, M, N, 3);
    update(k, p_there, m_there, g_there, M, N, 3);
    device_same(k, p_there, p, M * N, "muon");
    device_same(k, m_there, m, M * N, "muon's moment");
    k->release(p_there), k->release(m_there), k->release(g_there);
    free(p), free(m), free(g);
}

START_TEST(muon_has_the_bits_of_ref)
{
    static const size_t shape[][2] = {{13, 35}, {70, 40}, {1, 6}, {33, 1}, {48, 48}};
    struct dice dice = {(uint64_t)_i};
    const size_t *s = shape[_i % 5];
    device_order(_i % DEVICE_ORDERS);
    check(&dice, dice_floats(&dice, (enum kind)(_i % NASTY), s[0] * s[1]), s[0], s[1]);
}
END_TEST

/* Nothing to turn: a gradient of zeros, one with a NaN. */
START_TEST(without_a_direction_there_is_only_decay)
{
    enum { M = 9, N = 20 };
    struct dice dice = {7};
    float *g = calloc(M * N, sizeof *g);
    ck_assert_ptr_nonnull(g);
    if (_i > 0)
        g[M * N - 1] = NAN;
    check(&dice, g, M, N);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("device_muon");
    TCase *tc = tcase_create("device_muon");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, muon_has_the_bits_of_ref, 0, 15);
    tcase_add_loop_test(tc, without_a_direction_there_is_only_decay, 0, 2);
    suite_add_tcase(suite, tc);
    return device_run(suite);
}
