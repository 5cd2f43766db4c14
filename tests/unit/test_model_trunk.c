#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "tests/unit/test_model_pretend.h"

#define TINY "width: 16, heads: 2, context: 12, experts: 4, expert_hidden: 8, hidden: 24"

/* Shapes that between them take every path, each with products of floats and, behind it, of integers. */
#define SHAPE(yaml) yaml, yaml "\ntrainer: {trunk: i8x2}"
static const char *const shapes[] = {
    SHAPE("model: {" TINY ", layers: 3, moe_layers: [1], latent: 16, shared_hidden: 0}"),
    SHAPE("model: {" TINY ", layers: 4, moe_layers: [0, 2], latent: 8, shared_hidden: 20}\nrouter: {z_loss: 0.05}"),
    SHAPE("model: {" TINY ", layers: 3, moe_layers: [1, 2], latent: 16, shared_hidden: 12, chosen: 3}\nrouter: {z_loss: 0.05}"),
    SHAPE("model: {" TINY ", layers: 2, moe_layers: []}"),
    SHAPE("model: {" TINY ", layers: 1, moe_layers: [0], latent: 6, shared_hidden: 0, chosen: 1}\nrouter: {z_loss: 0.01}"),
};
#define N_SHAPES (int)(sizeof shapes / sizeof *shapes)

static atomic_bool is_over;

struct scene {
    struct run run;
    struct trunk *trunk;
    struct trunk_tape *tape;
};

static void scene_init(struct scene *scene, const char *yaml, const char *isa, size_t B, size_t T)
{
    scene->run = pretend_run(yaml);
    ck_assert_int_eq(trunk_new(&scene->run, pretend_kernels(isa), &scene->trunk), 0);
    pretend_params(scene->trunk, 5);
    ck_assert_int_eq(trunk_tape_new(scene->trunk, B, T, true, NUMERICS_F32, &scene->tape), 0);
    pretend_batch(scene->tape, 9);
}

static void scene_fini(struct scene *scene)
{
    trunk_tape_free(scene->tape);
    trunk_free(scene->trunk);
}

/* What the gradient is the gradient of, in double from the tape's floats. */
static double objective(const struct scene *scene)
{
    const struct trunk_tape *tape = scene->tape;
    size_t E = scene->run.experts;
    double z = 0;
    for (size_t i = 0; i < scene->run.n_moe; i++)
        for (size_t t = 0; t < tape->N; t++) {
            double sum = 0;
            for (size_t e = 0; e < E; e++)
                sum += exp((double)tape->exchange[i].logit[t * E + e]);
            z += log(sum) * log(sum);
        }
    return trunk_tape_loss(tape) + (double)scene->run.z_loss * z / (double)tape->N;
}

static double objective_at(struct scene *scene, const float *base, const double *direction, double step, size_t offset, size_t n)
{
    float *param = scene->trunk->param;
    for (size_t i = 0; i < n; i++)
        param[offset + i] = (float)((double)base[i] + step * direction[i]);
    trunk_pack_all(scene->trunk);
    pretend_run_forward(scene->trunk, scene->tape, 4, true);
    memcpy(param + offset, base, n * sizeof *param);
    trunk_pack_all(scene->trunk);
    return objective(scene);
}

/* The slope along a direction: four points, error of the fourth order in the step. */
static double slope_of(struct scene *scene, const double *direction, double step, size_t offset, size_t n)
{
    float *base = malloc(n * sizeof *base);
    memcpy(base, scene->trunk->param + offset, n * sizeof *base);
    double near = objective_at(scene, base, direction, step, offset, n) - objective_at(scene, base, direction, -step, offset, n);
    double far = objective_at(scene, base, direction, 2 * step, offset, n) -
                 objective_at(scene, base, direction, -2 * step, offset, n);
    free(base);
    return (8 * near - far) / (12 * step);
}

/* A unit direction: the gradient itself, random halves of it, or one that has nothing to do with it. */
static void choose_direction(double *direction, const float *grad, size_t n, int kind, struct rng *rng)
{
    double square = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_taken = kind == 0 || rng_below(rng, 2) == 0;
        direction[i] = kind == 4 ? 2.0 * (double)rng_unit(rng) - 1.0 : is_taken ? (double)grad[i] : 0.0;
        square += direction[i] * direction[i];
    }
    for (size_t i = 0; i < n && square > 0; i++)
        direction[i] /= sqrt(square);
}

static void check_tensor(struct scene *scene, const struct trunk_tensor *tensor, const float *grad, struct rng *rng)
{
    size_t n = tensor->M * tensor->N;
    double *direction = malloc(n * sizeof *direction), norm = 0;
    for (size_t i = 0; i < n; i++)
        norm += (double)grad[i] * (double)grad[i];
    norm = sqrt(norm);
    ck_assert_msg(norm > 1e-6, "%s has no gradient", tensor->name);
    for (int kind = 0; kind <= 4; kind++) {
        choose_direction(direction, grad, n, kind, rng);
        double expected = 0;
        for (size_t i = 0; i < n; i++)
            expected += direction[i] * (double)grad[i];
        /* Rounded weights move in steps of their own: with them the measure must be longer, and is rougher. */
        bool is_rounded = scene->run.trunk == RUN_TRUNK_I8X2;
        double step = fmin(0.01, 0.002 / norm), least = is_rounded ? 0.02 : 0.001;
        double measured = slope_of(scene, direction, step > least ? step : least, tensor->offset, n);
        double limit = (is_rounded ? 0.03 : 0.01) * fabs(expected) + (is_rounded ? 0.02 : 2e-3) * norm + (is_rounded ? 1e-3 : 0);
        ck_assert_msg(fabs(measured - expected) < limit, "%s, direction %d: %g by difference, %g by gradient of norm %g",
                      tensor->name, kind, measured, expected, norm);
    }
    free(direction);
}

START_TEST(gradients_are_those_of_the_loss)
{
    struct scene scene;
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "directions");
    scene_init(&scene, shapes[_i], "ref", 2, 12);
    pretend_run_forward(scene.trunk, scene.tape, 4, false);
    pretend_run_backward(scene.trunk, scene.tape, 1.0f);
    double z = objective(&scene) - trunk_tape_loss(scene.tape);
    ck_assert_msg(fabs(scene.tape->zloss - z) <= 1e-5 * z, "z-loss %g, not %g", scene.tape->zloss, z);
    float *grad = malloc(scene.trunk->n_params * sizeof *grad);
    memcpy(grad, scene.tape->grad, scene.trunk->n_params * sizeof *grad);
    for (size_t i = 0; i < scene.trunk->n_tensors; i++)
        check_tensor(&scene, &scene.trunk->tensor[i], grad + scene.trunk->tensor[i].offset, &rng);
    free(grad);
    scene_fini(&scene);
}
END_TEST

START_TEST(the_table_covers_the_parameters)
{
    struct scene scene;
    scene_init(&scene, shapes[_i], "ref", 1, 4);
    size_t next = 0;
    for (size_t i = 0; i < scene.trunk->n_tensors; i++) {
        const struct trunk_tensor *tensor = &scene.trunk->tensor[i];
        ck_assert_uint_eq(tensor->offset, next);
        next += tensor->M * tensor->N;
        ck_assert((tensor->M == 1) == (tensor->rule == TRUNK_ADAM_NO_DECAY));
        for (size_t j = 0; j < i; j++)
            ck_assert_str_ne(tensor->name, scene.trunk->tensor[j].name);
    }
    ck_assert_uint_eq(next, scene.trunk->n_params);
    ck_assert_uint_eq(next, run_trunk_params(&scene.run));
    scene_fini(&scene);
}
END_TEST

static double deviation(const float *x, size_t n)
{
    double square = 0;
    for (size_t i = 0; i < n; i++)
        square += (double)x[i] * (double)x[i];
    return sqrt(square / (double)n);
}

START_TEST(the_first_trunk_is_a_function_of_the_run)
{
    struct run run = pretend_run("name: a"), other = pretend_run("name: b");
    struct trunk *x, *again, *y;
    ck_assert_int_eq(trunk_new(&run, pretend_kernels(NULL), &x), 0);
    ck_assert_int_eq(trunk_new(&run, pretend_kernels("ref"), &again), 0);
    ck_assert_int_eq(trunk_new(&other, pretend_kernels("ref"), &y), 0);
    ck_assert_mem_eq(x->param, again->param, x->n_params * sizeof *x->param);
    for (size_t i = 0; i < x->n_tensors; i++) {
        const struct trunk_tensor *tensor = &x->tensor[i];
        size_t n = tensor->M * tensor->N;
        const float *at = x->param + tensor->offset;
        if (tensor->M == 1) {
            ck_assert_msg(deviation(at, n) == 1.0 && at[0] == 1.0f, "%s", tensor->name);
            continue;
        }
        ck_assert_mem_ne(at, y->param + tensor->offset, n * sizeof *at);
        for (size_t j = 0; j < i; j++)
            ck_assert_mem_ne(at, x->param + x->tensor[j].offset, 16 * sizeof *at);
        ck_assert_msg(fabs(deviation(at, n) / (double)tensor->init_std - 0.98658) < 0.05, "%s", tensor->name);
    }
    trunk_free(x);
    trunk_free(again);
    trunk_free(y);
}
END_TEST

START_TEST(a_first_guess_is_no_guess)
{
    struct run run = pretend_run("");
    struct trunk *trunk;
    struct trunk_tape *tape;
    ck_assert_int_eq(trunk_new(&run, pretend_kernels(NULL), &trunk), 0);
    ck_assert_int_eq(trunk_tape_new(trunk, 1, 32, false, NUMERICS_F32, &tape), 0);
    pretend_batch(tape, 1);
    pretend_run_forward(trunk, tape, 0, false);
    ck_assert_double_eq_tol(trunk_tape_loss(tape), log(256), 0.05);
    trunk_tape_free(tape);
    trunk_free(trunk);
}
END_TEST

/* Rows of the forward do not depend on their batch; nor on whether backward will follow. */
START_TEST(a_sequence_is_the_same_in_any_batch)
{
    struct scene scene;
    struct trunk_tape *alone;
    scene_init(&scene, shapes[_i], NULL, 3, 12);
    ck_assert_int_eq(trunk_tape_new(scene.trunk, 2, 12, false, NUMERICS_F32, &alone), 0);
    trunk_tape_set_batch(alone, 1);
    ck_assert(alone->B == 1 && alone->N == 12);
    pretend_run_forward(scene.trunk, scene.tape, 0, false);
    for (size_t b = 0; b < 3; b++) {
        memcpy(alone->token, scene.tape->token + b * 12, 12 * sizeof *alone->token);
        memcpy(alone->target, scene.tape->target + b * 12, 12 * sizeof *alone->target);
        pretend_run_forward(scene.trunk, alone, 0, false);
        ck_assert_mem_eq(alone->loss, scene.tape->loss + b * 12, 12 * sizeof *alone->loss);
    }
    trunk_tape_free(alone);
    scene_fini(&scene);
}
END_TEST

/* No byte sees what comes after it. */
START_TEST(the_future_is_hidden)
{
    struct scene scene;
    float before[12];
    scene_init(&scene, shapes[_i], "ref", 1, 12);
    pretend_run_forward(scene.trunk, scene.tape, 0, false);
    memcpy(before, scene.tape->loss, sizeof before);
    for (size_t t = 7; t < 12; t++)
        scene.tape->token[t] = (scene.tape->token[t] + 91) % 256;
    pretend_run_forward(scene.trunk, scene.tape, 0, false);
    ck_assert_mem_eq(before, scene.tape->loss, 7 * sizeof *before);
    ck_assert_mem_ne(before + 7, scene.tape->loss + 7, 5 * sizeof *before);
    scene_fini(&scene);
}
END_TEST

static void *run_tape(void *arg)
{
    struct trunk_tape *tape = arg;
    trunk_tape_clear(tape);
    pretend_run_forward(tape->trunk, tape, 3, false);
    pretend_run_backward(tape->trunk, tape, 0.5f);
    return NULL;
}

/* First with floats, then with integers. */
START_TEST(tapes_on_threads_do_not_meet)
{
    struct scene scene;
    struct trunk_tape *tape[2];
    pthread_t thread[2];
    scene_init(&scene, shapes[2 + _i], NULL, 1, 12);
    size_t bytes = scene.trunk->n_params * sizeof(float);
    float *expected = malloc(2 * bytes);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(trunk_tape_new(scene.trunk, 2, 12, true, NUMERICS_F32, &tape[i]), 0);
        pretend_batch(tape[i], 100 + i);
        run_tape(tape[i]);
        memcpy(expected + i * scene.trunk->n_params, tape[i]->grad, bytes);
    }
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < 2; i++)
            ck_assert_int_eq(pthread_create(&thread[i], NULL, run_tape, tape[i]), 0);
        for (size_t i = 0; i < 2; i++)
            pthread_join(thread[i], NULL);
        for (size_t i = 0; i < 2; i++)
            ck_assert_mem_eq(expected + i * scene.trunk->n_params, tape[i]->grad, bytes);
    }
    free(expected);
    trunk_tape_free(tape[0]);
    trunk_tape_free(tape[1]);
    scene_fini(&scene);
}
END_TEST

static void *help(void *arg)
{
    struct team *team = arg;
    while (team_width(team) == 2 && !atomic_load(&is_over))
        if (!team_help(team))
            sched_yield();
    return NULL;
}

static void call_nobody(void *arg, size_t n)
{
    (void)arg, (void)n;
}

/* Large products are shared; who helps leaves no trace. */
START_TEST(help_changes_no_bit)
{
    static const char *const yaml[] = {
        "model: {width: 256, heads: 2, layers: 2, context: 64, hidden: 512}",
        "model: {width: 256, heads: 2, layers: 2, context: 64, hidden: 512}\ntrainer: {trunk: i8x2}"};
    struct scene alone, helped;
    struct team *team;
    pthread_t thread;
    scene_init(&alone, yaml[_i], NULL, 4, 64);
    scene_init(&helped, yaml[_i], NULL, 4, 64);
    ck_assert_int_eq(team_new(2, call_nobody, NULL, &team), 0);
    helped.trunk->team = team;
    atomic_store(&is_over, false);
    ck_assert_int_eq(pthread_create(&thread, NULL, help, team), 0);
    run_tape(alone.tape);
    run_tape(helped.tape);
    atomic_store(&is_over, true);
    pthread_join(thread, NULL);
    ck_assert_mem_eq(alone.tape->loss, helped.tape->loss, alone.tape->N * sizeof(float));
    ck_assert_mem_eq(alone.tape->grad, helped.tape->grad, alone.trunk->n_params * sizeof(float));
    scene_fini(&alone);
    scene_fini(&helped);
    team_free(team);
}
END_TEST

/* Halves of a batch at half the scale sum to the whole; which half is done first changes no bit of either. */
START_TEST(a_batch_may_be_split)
{
    struct scene scene;
    struct trunk_tape *half[2];
    scene_init(&scene, shapes[_i], "ref", 4, 12);
    size_t n = scene.trunk->n_params;
    pretend_run_forward(scene.trunk, scene.tape, 0, false);
    pretend_run_backward(scene.trunk, scene.tape, 1.0f);
    for (size_t i = 2; i-- > 0;) {
        ck_assert_int_eq(trunk_tape_new(scene.trunk, 2, 12, true, NUMERICS_F32, &half[i]), 0);
        memcpy(half[i]->token, scene.tape->token + i * 24, 24 * sizeof(int32_t));
        memcpy(half[i]->target, scene.tape->target + i * 24, 24 * sizeof(int32_t));
        pretend_run_forward(scene.trunk, half[i], 0, false);
        pretend_run_backward(scene.trunk, half[i], 0.5f);
    }
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        double whole = (double)scene.tape->grad[i], sum = (double)(half[0]->grad[i] + half[1]->grad[i]);
        difference += (whole - sum) * (whole - sum);
        norm += whole * whole;
    }
    double limit = scene.run.trunk == RUN_TRUNK_I8X2 ? 1e-3 : 1e-5; /* columns of halves are rounded apart */
    ck_assert_msg(sqrt(difference / norm) < limit, "differs by %g of the norm", sqrt(difference / norm));
    trunk_tape_free(half[0]);
    trunk_tape_free(half[1]);
    scene_fini(&scene);
}
END_TEST

/* With no answer at all the layer is its shared expert: what the experts' memory holds is not looked at. */
START_TEST(a_layer_goes_on_without_its_experts)
{
    struct scene scene;
    scene_init(&scene, shapes[_i], "ref", 1, 12);
    pretend_run_forward(scene.trunk, scene.tape, 1, false);
    pretend_run_backward(scene.trunk, scene.tape, 1.0f);
    ck_assert(isfinite(trunk_tape_loss(scene.tape)));
    for (size_t i = 0; i < scene.trunk->n_tensors; i++) {
        const struct trunk_tensor *tensor = &scene.trunk->tensor[i];
        bool is_projection = strstr(tensor->name, "latent") != NULL;
        const float *grad = scene.tape->grad + tensor->offset;
        for (size_t j = 0; j < tensor->M * tensor->N; j++)
            ck_assert_msg(isfinite(grad[j]) && (!is_projection || grad[j] == 0.0f), "%s", tensor->name);
    }
    scene_fini(&scene);
}
END_TEST

static void check_same_bits(const char *isa, const char *yaml, size_t T)
{
    struct scene ref, fast;
    if (!pretend_kernels(isa))
        return;
    scene_init(&ref, yaml, "ref", 3, T);
    scene_init(&fast, yaml, isa, 3, T);
    pretend_run_forward(ref.trunk, ref.tape, 3, false);
    pretend_run_forward(fast.trunk, fast.tape, 3, false);
    ck_assert_mem_eq(ref.tape->loss, fast.tape->loss, ref.tape->N * sizeof(float));
    pretend_run_backward(ref.trunk, ref.tape, 1.0f);
    pretend_run_backward(fast.trunk, fast.tape, 1.0f);
    ck_assert_mem_eq(ref.tape->grad, fast.tape->grad, ref.trunk->n_params * sizeof(float));
    scene_fini(&ref);
    scene_fini(&fast);
}

START_TEST(every_instruction_set_gives_the_same_bits)
{
    check_same_bits("avx2", shapes[_i], 11);
    check_same_bits("avx512", shapes[_i], 11);
    check_same_bits("vnni", shapes[_i], 11);
    check_same_bits("amx", shapes[_i], 11);
    check_same_bits("neon", shapes[_i], 11);
    check_same_bits("dotprod", shapes[_i], 11);
}
END_TEST

/* The same picks and answers in both. */
static void run_alike(const struct scene *floats, const struct scene *integers)
{
    size_t n_slots = floats->tape->N * floats->run.chosen;
    pretend_run_forward(floats->trunk, floats->tape, 4, false);
    for (size_t i = 0; i < floats->run.n_moe; i++)
        memcpy(integers->tape->exchange[i].pick, floats->tape->exchange[i].pick, n_slots * sizeof(int32_t));
    pretend_run_forward(integers->trunk, integers->tape, 4, true);
    pretend_run_backward(floats->trunk, floats->tape, 1.0f);
    pretend_run_backward(integers->trunk, integers->tape, 1.0f);
}

/* Every gradient, tensor by tensor: near that of floats, and not the same, or nothing was rounded. */
START_TEST(integers_give_nearly_the_gradients_of_floats)
{
    struct scene floats, integers;
    scene_init(&floats, shapes[2 * _i], NULL, 2, 12);
    scene_init(&integers, shapes[2 * _i + 1], NULL, 2, 12);
    run_alike(&floats, &integers);
    ck_assert_double_eq_tol(trunk_tape_loss(floats.tape), trunk_tape_loss(integers.tape), 1e-3);
    for (size_t i = 0; i < floats.trunk->n_tensors; i++) {
        const struct trunk_tensor *tensor = &floats.trunk->tensor[i];
        double difference = 0, norm = 0;
        for (size_t j = 0; j < tensor->M * tensor->N; j++) {
            double a = (double)floats.tape->grad[tensor->offset + j], b = (double)integers.tape->grad[tensor->offset + j];
            difference += (a - b) * (a - b);
            norm += a * a;
        }
        ck_assert_msg(difference > 0 && sqrt(difference / norm) < 3e-3, "%s differs by %g of the norm", tensor->name,
                      sqrt(difference / norm));
    }
    scene_fini(&floats);
    scene_fini(&integers);
}
END_TEST

/* A row that cannot be rounded spoils its own sequence, and no other; the gradient says so, as it must to be
 * refused. */
START_TEST(a_row_too_large_spoils_its_sequence_alone)
{
    struct scene scene;
    float before[36];
    scene_init(&scene, shapes[_i], NULL, 3, 12);
    const size_t D = scene.run.width, at = 12 + 5;
    int32_t lone = 200;
    for (size_t i = 0; i < 36; i++)
        scene.tape->token[i] = i == at ? lone : scene.tape->token[i] % 128;
    pretend_run_forward(scene.trunk, scene.tape, 0, false);
    memcpy(before, scene.tape->loss, sizeof before);
    scene.trunk->param[scene.trunk->embed + (size_t)lone * D] = INFINITY;
    trunk_pack_all(scene.trunk);
    pretend_run_forward(scene.trunk, scene.tape, 0, true);
    for (size_t i = 0; i < 36; i++)
        if (i >= 12 && i < 24) /* attention's sums take in what lies above the diagonal, times 0 */
            ck_assert_msg(isnan(scene.tape->loss[i]), "row %zu", i);
        else
            ck_assert_mem_eq(&before[i], &scene.tape->loss[i], sizeof before[i]);
    pretend_run_backward(scene.trunk, scene.tape, 1.0f);
    ck_assert(!isfinite(scene.trunk->kernels.sum_squares(scene.tape->grad, scene.trunk->n_params)));
    scene_fini(&scene);
}
END_TEST

START_TEST(a_weight_too_large_spoils_all)
{
    struct scene scene;
    scene_init(&scene, shapes[1], NULL, 2, 12);
    scene.trunk->param[scene.trunk->head + 3] = 0x1p41f;
    trunk_pack(scene.trunk, scene.trunk->head_tensor);
    pretend_run_forward(scene.trunk, scene.tape, 0, false);
    for (size_t i = 0; i < scene.tape->N; i++)
        ck_assert(isnan(scene.tape->loss[i]));
    scene.trunk->param[scene.trunk->head + 3] = 0.0f;
    trunk_pack(scene.trunk, scene.trunk->head_tensor);
    pretend_run_forward(scene.trunk, scene.tape, 0, false);
    ck_assert(isfinite(trunk_tape_loss(scene.tape)));
    scene_fini(&scene);
}
END_TEST

START_TEST(blas_gives_nearly_the_same)
{
    struct scene ref, blas;
    char yaml[512];
    struct kernels unused;
    if (kernels_with_blas(pretend_kernels("ref"), &unused) != 0)
        return;
    snprintf(yaml, sizeof yaml, "%s\ntrainer: {trunk: blas}\n", shapes[0]);
    scene_init(&ref, shapes[0], "ref", 2, 12);
    scene_init(&blas, yaml, "ref", 2, 12);
    pretend_run_forward(ref.trunk, ref.tape, 3, false);
    pretend_run_forward(blas.trunk, blas.tape, 3, false);
    ck_assert_double_eq_tol(trunk_tape_loss(ref.tape), trunk_tape_loss(blas.tape), 1e-4);
    scene_fini(&ref);
    scene_fini(&blas);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model/trunk");
    TCase *tcase = tcase_create("trunk");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, gradients_are_those_of_the_loss, N_SHAPES - 1, N_SHAPES);
    tcase_add_loop_test(tcase, the_table_covers_the_parameters, 0, N_SHAPES);
    tcase_add_test(tcase, the_first_trunk_is_a_function_of_the_run);
    tcase_add_test(tcase, a_first_guess_is_no_guess);
    tcase_add_loop_test(tcase, a_sequence_is_the_same_in_any_batch, 0, N_SHAPES);
    tcase_add_loop_test(tcase, the_future_is_hidden, 0, N_SHAPES);
    tcase_add_loop_test(tcase, tapes_on_threads_do_not_meet, 0, 2);
    tcase_add_loop_test(tcase, help_changes_no_bit, 0, 2);
    tcase_add_loop_test(tcase, a_batch_may_be_split, 0, N_SHAPES);
    tcase_add_loop_test(tcase, a_layer_goes_on_without_its_experts, 0, N_SHAPES);
    tcase_add_loop_test(tcase, every_instruction_set_gives_the_same_bits, 0, N_SHAPES);
    tcase_add_loop_test(tcase, integers_give_nearly_the_gradients_of_floats, 0, N_SHAPES / 2);
    tcase_add_loop_test(tcase, a_row_too_large_spoils_its_sequence_alone, 0, N_SHAPES);
    tcase_add_test(tcase, a_weight_too_large_spoils_all);
    tcase_add_test(tcase, blas_gives_nearly_the_same);
    suite_add_tcase(suite, tcase);
    tcase_add_loop_test(unit_case(suite, "large", 60), gradients_are_those_of_the_loss, 0, N_SHAPES - 1);
    return unit_run(suite);
}
