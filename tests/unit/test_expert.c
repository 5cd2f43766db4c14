/* tests/unit/test_expert.c - an expert's gradient is right, and its bits depend on nothing but the order of its rows. */
#include <math.h>

#include "base/log.h"
#include "expert_play.h"

enum { D = 12, H = 20, N = 9 };

static bool is_same(const void *a, const void *b, size_t n_floats)
{
    return memcmp(a, b, n_floats * sizeof(float)) == 0;
}

static bool is_same_state(const struct expert *a, const struct expert *b)
{
    struct hash ha = play_state(a), hb = play_state(b);
    return hash_equal(&ha, &hb);
}

START_TEST(test_birth)
{
    struct expert_config c = play_config(48, 40);
    struct hash other = hash_bytes("another run", 11);
    struct expert *a = play_expert("ref", &c, "L3.17"), *b = play_expert("ref", &c, "L3.17"),
                  *n = play_expert("ref", &c, "L3.18");
    struct expert *r;
    ck_assert_int_eq(expert_new(&c, a->kernels, &other, "L3.17", &r), 0);
    ck_assert(is_same_state(a, b) && !is_same_state(a, n) && !is_same_state(a, r));
    ck_assert(memcmp(a->param, a->param + 48 * 40, 64) != 0);
    const float expected[3] = {1 / sqrtf(48), 1 / sqrtf(48), 0.25f / sqrtf(40)};
    for (size_t i = 0; i < 3; i++) {
        float rms = sqrtf(a->kernels->sum_squares(a->param + i * 48 * 40, 48 * 40) / (48 * 40));
        ck_assert_float_ge(rms, 0.92f * expected[i]);
        ck_assert_float_le(rms, 1.04f * expected[i]);
    }
    expert_free(a);
    expert_free(b);
    expert_free(n);
    expert_free(r);
    expert_free(NULL);
}
END_TEST

static void be_quiet(void *arg, enum log_level level, const char *line)
{
    (void)level, (void)line;
    ++*(int *)arg;
}

START_TEST(test_birth_refused)
{
    int n_lines = 0;
    struct hash run = {{0}};
    struct expert *x = NULL;
    struct expert_config good = play_config(4, 4), c;
    log_set_sink(be_quiet, &n_lines);
#define REFUSED(field, value)                                                                                                    \
    c = good;                                                                                                                    \
    c.field = value;                                                                                                             \
    ck_assert_int_eq(expert_new(&c, play_kernels("ref"), &run, "x", &x), HANSE_EINVAL)
    REFUSED(D, 0);
    REFUSED(H, 0);
    REFUSED(D, UINT32_MAX);
    REFUSED(lr, NAN);
    REFUSED(lr, -1);
    REFUSED(clip, INFINITY);
    REFUSED(eps, 0);
    REFUSED(eps, NAN);
    REFUSED(eps, INFINITY);
    REFUSED(beta1, 1);
    REFUSED(beta2, -0.1f);
    REFUSED(slots_per_update, 0);
    ck_assert_int_eq(expert_new(&good, play_kernels("ref"), &run, "", &x), HANSE_EINVAL);
    ck_assert_int_eq(expert_new(&good, play_kernels("ref"), &run, "a name of 32 bytes ............!", &x), HANSE_EINVAL);
    log_set_sink(NULL, NULL);
    ck_assert_int_eq(n_lines, 14);
    ck_assert_ptr_null(x);
}
END_TEST

/* sum of gy * y in double precision: what the finite differences are taken of */
static double loss(const struct expert *x, const double *param, const double *row, const float *gy, size_t n)
{
    double sum = 0;
    const double *Wg = param, *Wu = param + D * H, *Wd = param + 2 * D * H;
    (void)x;
    for (size_t r = 0; r < n; r++) {
        double h[H];
        for (size_t j = 0; j < H; j++) {
            double g = 0, u = 0;
            for (size_t i = 0; i < D; i++) {
                g += row[r * D + i] * Wg[i * H + j];
                u += row[r * D + i] * Wu[i * H + j];
            }
            h[j] = g / (1 + exp(-g)) * u;
        }
        for (size_t i = 0; i < D; i++)
            for (size_t j = 0; j < H; j++)
                sum += gy[r * D + i] * h[j] * Wd[j * D + i];
    }
    return sum;
}

/* The slope of the loss along element i of `at`. */
static double slope(const struct expert *x, double *at, size_t i, const double *param, const double *row, const float *gy)
{
    const double eps = 1e-5, old = at[i];
    at[i] = old + eps;
    double up = loss(x, param, row, gy, N);
    at[i] = old - eps;
    double down = loss(x, param, row, gy, N);
    at[i] = old;
    return (up - down) / (2 * eps);
}

START_TEST(test_gradient)
{
    struct expert_config c = play_config(D, H);
    struct expert *x = play_expert("ref", &c, "L0.0");
    struct play_rows rows;
    struct rng rng;
    double param[3 * D * H], row[N * D];
    rng_init(&rng, (uint64_t)_i, "gradient");
    play_draw(&rows, &rng, N, D);
    for (size_t i = 0; i < N * D; i++)
        row[i] = rows.x[i];
    for (size_t i = 0; i < 3 * D * H; i++)
        param[i] = x->param[i];
    play_backward(x, &rows, 0);
    for (size_t i = 0; i < 3 * D * H; i++)
        ck_assert_double_eq_tol(x->grad[i], slope(x, param, i, param, row, rows.gy), 2e-6);
    for (size_t i = 0; i < N * D; i++)
        ck_assert_double_eq_tol(rows.gx[i], slope(x, row, i, param, row, rows.gy), 2e-6);
    expert_free(x);
}
END_TEST

START_TEST(test_forward)
{
    struct expert_config c = play_config(D, H);
    struct expert *x = play_expert("ref", &c, "L0.0");
    struct play_rows rows;
    struct rng rng;
    float y[N * D], one[D];
    rng_init(&rng, 1, "forward");
    play_draw(&rows, &rng, N, D);
    ck_assert_int_eq(play_forward(x, y, rows.x, rows.work, N), 0);
    for (size_t r = 0; r < N; r++) { /* a row does not depend on its batch */
        ck_assert_int_eq(play_forward(x, one, rows.x + r * D, rows.work, 1), 0);
        ck_assert(is_same(one, y + r * D, D));
    }
    double param[3 * D * H], row[N * D], sum = 0;
    for (size_t i = 0; i < 3 * D * H; i++)
        param[i] = x->param[i];
    for (size_t i = 0; i < N * D; i++) {
        row[i] = rows.x[i];
        sum += (double)rows.gy[i] * y[i];
    }
    ck_assert_double_eq_tol(sum, loss(x, param, row, rows.gy, N), 1e-6);
    ck_assert_int_eq(play_forward(x, y, rows.x, rows.work, 0), 0);
    expert_free(x);
}
END_TEST

/* A row's weight is as if its gradient had been that much larger. */
START_TEST(test_weight)
{
    struct expert_config c = play_config(D, H);
    struct expert *weighted = play_expert("ref", &c, "L0.0"), *by_hand = play_expert("ref", &c, "L0.0");
    struct play_rows rows;
    struct rng rng;
    uint64_t staleness;
    float weight[N], gx[N * D];
    rng_init(&rng, (uint64_t)_i, "weight");
    play_draw(&rows, &rng, N, D);
    struct rows x = {.f32 = rows.x}, gy = {.f32 = rows.gy};
    for (size_t r = 0; r < N; r++)
        weight[r] = rng_unit(&rng);
    ck_assert_int_eq(expert_backward(weighted, gx, &x, &gy, weight, rows.work, N, 0, 0.7f, &staleness), 0);
    for (size_t i = 0; i < N * D; i++)
        rows.gy[i] *= weight[i / D];
    play_backward(by_hand, &rows, 0);
    ck_assert(is_same(gx, rows.gx, N * D) && is_same_state(weighted, by_hand));
    struct hash before = play_state(weighted);
    weight[_i] = _i % 2 ? NAN : 0x1p40f;
    ck_assert_int_eq(expert_backward(weighted, gx, &x, &gy, weight, rows.work, N, 0, 0.7f, &staleness), HANSE_EREJECT);
    struct hash after = play_state(weighted);
    ck_assert(hash_equal(&before, &after));
    expert_free(weighted);
    expert_free(by_hand);
}
END_TEST

static const float bad_value[] = {NAN, -NAN, INFINITY, -INFINITY, EXPERT_VALUE_MAX, -EXPERT_VALUE_MAX, 3e38f};

START_TEST(test_reject)
{
    struct expert_config c = play_config(D, H);
    struct expert *x = play_expert("ref", &c, "L0.0");
    struct play_rows rows;
    struct rng rng;
    uint64_t staleness;
    float y[N * D], was[N * D];
    rng_init(&rng, (uint64_t)_i, "reject");
    play_draw(&rows, &rng, N, D);
    play_backward(x, &rows, 0);
    struct hash before = play_state(x);
    memset(y, 7, sizeof y);
    memcpy(was, y, sizeof y);
    float *at[2] = {&rows.x[rng_below(&rng, N * D)], &rows.gy[rng_below(&rng, N * D)]};
    for (size_t i = 0; i < 2; i++) {
        float old = *at[i];
        *at[i] = bad_value[_i];
        if (i == 0)
            ck_assert_int_eq(play_forward(x, y, rows.x, rows.work, N), HANSE_EREJECT);
        ck_assert_int_eq(play_grad(x, rows.gx, rows.x, rows.gy, rows.work, N, 0, 1, &staleness), HANSE_EREJECT);
        *at[i] = old;
    }
    float bad_scale = _i == 0 ? NAN : _i == 1 ? -0.1f : 1.1f;
    ck_assert_int_eq(play_grad(x, rows.gx, rows.x, rows.gy, rows.work, N, 0, bad_scale, &staleness), HANSE_EREJECT);
    struct hash after = play_state(x);
    ck_assert(is_same(y, was, N * D) && hash_equal(&before, &after));
    ck_assert(expert_rows_ok(NUMERICS_F32, &(struct rows){.f32 = rows.x}, N, D));
    rows.x[3] = nextafterf(EXPERT_VALUE_MAX, 0);
    rows.x[4] = 1e-45f;
    ck_assert(expert_rows_ok(NUMERICS_F32, &(struct rows){.f32 = rows.x}, N, D));
    expert_free(x);
}
END_TEST

START_TEST(test_reject_of_results)
{
    static const float factor[] = {1e30f, 0x1p18f}; /* not finite; finite, and too large to be an answer */
    struct expert_config c = play_config(D, H);
    struct expert *x = play_expert("ref", &c, "L0.0");
    struct play_rows rows;
    struct rng rng;
    uint64_t staleness;
    float y[N * D];
    rng_init(&rng, 5, "reject");
    play_draw(&rows, &rng, N, D);
    for (size_t i = 0; i < 3 * D * H; i++)
        x->param[i] *= factor[_i];
    struct hash before = play_state(x);
    ck_assert_int_eq(play_forward(x, y, rows.x, rows.work, N), HANSE_EREJECT);
    ck_assert_int_eq(play_grad(x, rows.gx, rows.x, rows.gy, rows.work, N, 0, 1, &staleness), HANSE_EREJECT);
    struct hash after = play_state(x);
    ck_assert(hash_equal(&before, &after));
    expert_free(x);
}
END_TEST

/* The same rows in one call, and cut into calls at random. */
START_TEST(test_split)
{
    struct expert_config c = play_config(33, 41);
    struct expert *whole = play_expert(NULL, &c, "L0.0"), *cut = play_expert(NULL, &c, "L0.0");
    struct play_rows all, part;
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "split");
    play_draw(&all, &rng, 60, 33);
    play_backward(whole, &all, 0);
    for (size_t at = 0; at < all.n; at += part.n) {
        part.n = 1 + rng_below(&rng, all.n - at);
        memcpy(part.x, all.x + at * 33, part.n * 33 * sizeof(float));
        memcpy(part.gy, all.gy + at * 33, part.n * 33 * sizeof(float));
        play_backward(cut, &part, 0);
        ck_assert(is_same(part.gx, all.gx + at * 33, part.n * 33));
    }
    ck_assert(is_same_state(whole, cut));
    expert_free(whole);
    expert_free(cut);
}
END_TEST

static const struct {
    uint64_t staleness;
    float damping;
} damping[] = {{0, 1},     {1, 1},      {2, 0.5f},     {4, 0.5f}, {5, 0.25f},
               {7, 0.25f}, {8, 0.125f}, {20, 0x1p-7f}, {21, 0},   {UINT64_MAX, 0}};

/* Stale rows count as if gy had been smaller by just that power of two, and gx does not notice. */
START_TEST(test_staleness)
{
    struct expert_config c = play_config(D, H);
    struct expert *stale = play_expert("ref", &c, "L0.0"), *fresh = play_expert("ref", &c, "L0.0");
    struct play_rows rows, scaled;
    struct rng rng;
    uint64_t staleness;
    bool is_ahead = _i % 2;
    stale->version = is_ahead ? 0 : damping[_i].staleness;
    uint64_t forward = is_ahead ? damping[_i].staleness : 0;
    fresh->version = stale->version;
    rng_init(&rng, (uint64_t)_i, "staleness");
    play_draw(&rows, &rng, N, D);
    scaled = rows;
    for (size_t i = 0; i < N * D; i++)
        scaled.gy[i] *= damping[_i].damping;
    ck_assert_int_eq(play_grad(stale, rows.gx, rows.x, rows.gy, rows.work, N, forward, 0.7f, &staleness), 0);
    ck_assert_uint_eq(staleness, damping[_i].staleness);
    if (damping[_i].damping > 0) {
        play_backward(fresh, &scaled, fresh->version);
        for (size_t i = 0; i < N * D; i++)
            scaled.gx[i] *= 1 / damping[_i].damping;
        ck_assert(is_same(rows.gx, scaled.gx, N * D));
    } else {
        ck_assert(fresh->kernels->sum_squares(rows.gx, N * D) > 0);
    }
    ck_assert(is_same_state(stale, fresh));
    expert_free(stale);
    expert_free(fresh);
}
END_TEST

/* An update, step by step from the header's words. */
START_TEST(test_update)
{
    struct expert_config c = play_config(D, H);
    c.clip = _i == 0 ? 0 : _i == 1 ? 1e-3f : 1e3f;
    struct expert *x = play_expert("ref", &c, "L0.0"), *by_hand;
    size_t n = expert_n_params(&c);
    struct play_rows rows;
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "update");
    play_train(x, 1, 3);
    play_draw(&rows, &rng, 5, D);
    play_backward(x, &rows, 2);
    ck_assert(!expert_update_due(x));
    play_backward(x, &rows, 3);
    ck_assert(expert_update_due(x) && x->grad_slots == 10);
    ck_assert_int_eq(expert_copy(x, &by_hand), 0);
    struct adam_step s = {.lr = c.lr * (4.0f / 10) * (x->lr_scale_sum / 10), .beta1 = c.beta1, .beta2 = c.beta2, .eps = c.eps};
    s.weight_decay = c.weight_decay;
    s.beta1_power = ((c.beta1 * c.beta1) * c.beta1) * c.beta1;
    s.beta2_power = ((c.beta2 * c.beta2) * c.beta2) * c.beta2;
    s.grad_scale = 1 / 10.0f;
    float norm = sqrtf(x->kernels->sum_squares(x->grad, n)) * s.grad_scale;
    if (_i == 1)
        s.grad_scale *= c.clip / norm;
    x->kernels->nadamw(by_hand->param, by_hand->moment1, by_hand->moment2, by_hand->grad, &s, n);
    uint64_t n_slots = x->n_slots;
    ck_assert_int_eq(expert_update(x), 0);
    ck_assert(is_same(x->param, by_hand->param, n) && is_same(x->moment1, by_hand->moment1, n) &&
              is_same(x->moment2, by_hand->moment2, n));
    ck_assert(x->version == 4 && x->n_slots == n_slots && x->grad_slots == 0 && x->lr_scale_sum == 0);
    ck_assert(x->kernels->sum_squares(x->grad, n) == 0);
    expert_free(x);
    expert_free(by_hand);
}
END_TEST

START_TEST(test_update_dropped)
{
    int n_lines = 0;
    struct expert_config c = play_config(D, H);
    struct expert *x = play_expert("ref", &c, "L0.0"), *before;
    size_t n = expert_n_params(&c);
    play_train(x, 1, 2);
    ck_assert_int_eq(expert_copy(x, &before), 0);
    x->grad_slots = _i == 0 ? 0 : 3;
    x->grad[7] = _i == 0 ? 0 : _i == 1 ? NAN : 1e30f;
    log_set_sink(be_quiet, &n_lines);
    ck_assert_int_eq(expert_update(x), 0);
    log_set_sink(NULL, NULL);
    ck_assert_int_eq(n_lines, _i > 0);
    before->version++;
    ck_assert(is_same_state(x, before) && x->kernels->sum_squares(x->grad, n) == 0);
    expert_free(x);
    expert_free(before);
}
END_TEST

START_TEST(test_order_matters)
{
    struct expert_config c = play_config(D, H);
    struct expert *a = play_expert("ref", &c, "L0.0"), *b = play_expert("ref", &c, "L0.0"),
                  *swapped = play_expert("ref", &c, "L0.0");
    struct play_rows first, second;
    struct rng rng;
    play_train(a, 3, 50);
    play_train(b, 3, 50);
    play_train(swapped, 3, 50);
    ck_assert(is_same_state(a, b));
    rng_init(&rng, 0, "order");
    play_draw(&first, &rng, 4, D);
    play_draw(&second, &rng, 4, D);
    play_backward(a, &first, 50);
    play_backward(a, &second, 50);
    play_backward(swapped, &second, 50);
    play_backward(swapped, &first, 50);
    ck_assert(!is_same_state(a, swapped));
    expert_free(a);
    expert_free(b);
    expert_free(swapped);
}
END_TEST

START_TEST(test_same_bits_everywhere)
{
    int n_lines = 0;
    struct expert_config c = play_config(19, 37);
    log_set_sink(be_quiet, &n_lines); /* a machine or build without them says so */
    bool has_isa = play_kernels(kernels_name[_i]) != NULL;
    log_set_sink(NULL, NULL);
    if (!has_isa)
        return;
    struct expert *a = play_expert("ref", &c, "L0.0"), *b = play_expert(kernels_name[_i], &c, "L0.0");
    for (size_t i = 0; i < 10; i++) {
        play_train(a, i, 100);
        play_train(b, i, 100);
        ck_assert(is_same_state(a, b));
    }
    expert_free(a);
    expert_free(b);
}
END_TEST

static float mean_error(struct expert *x, struct play_rows *rows, const float *target)
{
    float error = 0;
    ck_assert_int_eq(play_forward(x, rows->gy, rows->x, rows->work, rows->n), 0);
    for (size_t i = 0; i < rows->n * D; i++) {
        rows->gy[i] -= target[i];
        error += rows->gy[i] * rows->gy[i] / (float)(rows->n * D);
    }
    return error;
}

/* It learns the rows that another expert answers. */
START_TEST(test_learns)
{
    struct expert_config c = play_config(D, H);
    c.weight_decay = 0;
    struct expert *x = play_expert(NULL, &c, "L0.0"), *teacher = play_expert(NULL, &c, "L0.1");
    struct play_rows rows;
    struct rng rng;
    float target[32 * D], first = 0, last = 0;
    rng_init(&rng, 0, "learns");
    for (size_t i = 0; i < 3 * D * H; i++)
        teacher->param[i] *= 2;
    for (size_t i = 0; i < 600; i++) {
        play_draw(&rows, &rng, 32, D);
        ck_assert_int_eq(play_forward(teacher, target, rows.x, rows.work, rows.n), 0);
        last = mean_error(x, &rows, target);
        first = i == 0 ? last : first;
        play_backward(x, &rows, x->version);
        ck_assert_int_eq(expert_update(x), 0);
    }
    ck_assert_float_lt(last, first / 5);
    expert_free(x);
    expert_free(teacher);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("expert");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_birth);
    tcase_add_test(t, test_birth_refused);
    tcase_add_loop_test(t, test_gradient, 0, 3);
    tcase_add_test(t, test_forward);
    tcase_add_loop_test(t, test_weight, 0, 4);
    tcase_add_loop_test(t, test_reject, 0, sizeof bad_value / sizeof *bad_value);
    tcase_add_loop_test(t, test_reject_of_results, 0, 2);
    tcase_add_loop_test(t, test_split, 0, 10);
    tcase_add_loop_test(t, test_staleness, 0, sizeof damping / sizeof *damping);
    tcase_add_loop_test(t, test_update, 0, 3);
    tcase_add_loop_test(t, test_update_dropped, 0, 3);
    tcase_add_test(t, test_order_matters);
    tcase_add_loop_test(t, test_same_bits_everywhere, 1, N_KERNELS);
    tcase_add_test(t, test_learns);
    suite_add_tcase(s, t);
    return unit_run(s);
}
