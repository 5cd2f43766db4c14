#include "base/log.h"
#include "tests/unit/test_model_pretend.h"

#define N_TAPES 2
#define N_GOLDEN 10

static const char small[] =
    "model: {width: 32, heads: 2, layers: 3, context: 16, hidden: 48, moe_layers: [1], experts: 4, latent: 16,\n"
    "        shared_hidden: 16}\n"
    "trainer: {warmup_steps: 4, lr_muon: 0.02, lr_adam: 0.01, clip: 1}\n";

static const char small_i8x2[] =
    "model: {width: 32, heads: 2, layers: 3, context: 16, hidden: 48, moe_layers: [1], experts: 4, latent: 16,\n"
    "        shared_hidden: 16}\n"
    "trainer: {trunk: i8x2, warmup_steps: 4, lr_muon: 0.02, lr_adam: 0.01, clip: 1}\n";

struct scene {
    struct run run;
    struct trunk *trunk;
    struct optimizer *optimizer;
    struct trunk_tape *tape[N_TAPES];
};

static void scene_init(struct scene *scene, const char *yaml, const char *isa)
{
    scene->run = pretend_run(yaml);
    ck_assert_int_eq(trunk_new(&scene->run, pretend_kernels(isa), &scene->trunk), 0);
    ck_assert_int_eq(optimizer_new(scene->trunk, &scene->optimizer), 0);
    for (size_t i = 0; i < N_TAPES; i++)
        ck_assert_int_eq(trunk_tape_new(scene->trunk, 2, scene->run.context, true, NUMERICS_F32, &scene->tape[i]), 0);
}

static void scene_fini(struct scene *scene)
{
    for (size_t i = 0; i < N_TAPES; i++)
        trunk_tape_free(scene->tape[i]);
    optimizer_free(scene->optimizer);
    trunk_free(scene->trunk);
}

/* Sums over tokens in the tapes, as the trainer does; returns the mean loss before the update. */
static double run_tapes(struct scene *scene, uint64_t step)
{
    double loss = 0;
    for (size_t i = 0; i < N_TAPES; i++) {
        struct trunk_tape *tape = scene->tape[i];
        trunk_tape_clear(tape);
        pretend_batch(tape, step * N_TAPES + i);
        pretend_run_forward(scene->trunk, tape, 5, false);
        pretend_run_backward(scene->trunk, tape, (float)tape->N);
        loss += trunk_tape_loss(tape) / N_TAPES;
    }
    return loss;
}

static float grad_scale_of(const struct scene *scene)
{
    return 1.0f / (float)(N_TAPES * scene->tape[0]->N);
}

static double train_step(struct scene *scene, uint64_t step)
{
    int err = -1;
    double loss = run_tapes(scene, step);
    float lr_scale = optimizer_schedule(&scene->run, step, (double)step / 200.0);
    optimizer_step(scene->optimizer, scene->tape, N_TAPES, lr_scale, grad_scale_of(scene), &err);
    ck_assert_int_eq(err, 0);
    return loss;
}

START_TEST(the_loss_falls)
{
    struct scene scene;
    scene_init(&scene, _i ? small_i8x2 : small, NULL);
    double first = train_step(&scene, 0), last = 0;
    for (uint64_t step = 1; step < 200; step++)
        last = train_step(&scene, step);
    ck_assert_double_eq_tol(first, 5.545, 0.05);
    /* of 5.5 nats at first, 1.07 are chance that nobody can learn */
    ck_assert_msg(last < 1.7, "still at %g", last);
    scene_fini(&scene);
}
END_TEST

/* The curve that this trunk had when the file was written, on every instruction set. */
START_TEST(the_first_losses_are_golden)
{
    char path[512], expected[64], actual[64];
    struct scene scene;
    log_set_level(LOG_ERROR + 1);
    if (!pretend_kernels(kernels_name[_i]))
        return;
    snprintf(path, sizeof path, "%s/tests/golden/trunk_small.txt", getenv("srcdir") ? getenv("srcdir") : ".");
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s is not there", path);
    scene_init(&scene, small, kernels_name[_i]);
    for (uint64_t step = 0; step < N_GOLDEN; step++) {
        snprintf(actual, sizeof actual, "%.9g\n", train_step(&scene, step));
        ck_assert_ptr_nonnull(fgets(expected, sizeof expected, file));
        ck_assert_msg(strcmp(actual, expected) == 0, "%s, step %d: %s instead of %s", kernels_name[_i], (int)step, actual,
                      expected);
    }
    ck_assert_ptr_null(fgets(expected, sizeof expected, file));
    fclose(file);
    scene_fini(&scene);
}
END_TEST

/* Whole steps of a trunk of integers: every instruction set has the bits of ref, and an update reaches the next forward. */
START_TEST(integers_give_the_same_bits_everywhere)
{
    struct scene ref, fast;
    log_set_level(LOG_ERROR + 1);
    if (!pretend_kernels(kernels_name[_i]))
        return;
    scene_init(&ref, small_i8x2, "ref");
    scene_init(&fast, small_i8x2, kernels_name[_i]);
    double last = 0;
    for (uint64_t step = 0; step < 8; step++) {
        double loss = train_step(&ref, step), same = train_step(&fast, step);
        ck_assert_mem_eq(&loss, &same, sizeof loss);
        ck_assert(loss != last);
        last = loss;
    }
    ck_assert_mem_eq(ref.trunk->param, fast.trunk->param, ref.trunk->n_params * sizeof(float));
    ck_assert_mem_eq(ref.optimizer->moment1, fast.optimizer->moment1, ref.trunk->n_params * sizeof(float));
    scene_fini(&ref);
    scene_fini(&fast);
}
END_TEST

START_TEST(parts_change_no_bit)
{
    struct scene whole, parts;
    size_t n_parts = (size_t)_i;
    int err;
    scene_init(&whole, small, NULL);
    scene_init(&parts, small, NULL);
    for (uint64_t step = 0; step < 3; step++) {
        train_step(&whole, step);
        run_tapes(&parts, step);
        optimizer_begin(parts.optimizer, parts.tape, N_TAPES, optimizer_schedule(&parts.run, step, (double)step / 200.0),
                        grad_scale_of(&parts), &err);
        ck_assert_int_eq(err, 0);
        for (size_t part = n_parts; part-- > 0;)
            ck_assert_int_eq(optimizer_part(parts.optimizer, part, n_parts), 0);
    }
    size_t bytes = whole.trunk->n_params * sizeof(float);
    ck_assert_mem_eq(whole.trunk->param, parts.trunk->param, bytes);
    ck_assert_mem_eq(whole.optimizer->moment1, parts.optimizer->moment1, bytes);
    ck_assert_mem_eq(whole.optimizer->moment2, parts.optimizer->moment2, bytes);
    scene_fini(&whole);
    scene_fini(&parts);
}
END_TEST

START_TEST(tapes_add_up_in_order)
{
    struct scene scene;
    int err;
    scene_init(&scene, small, NULL);
    run_tapes(&scene, 0);
    double square = 0;
    float norm = optimizer_begin(scene.optimizer, scene.tape, N_TAPES, 1.0f, 0.25f, &err);
    for (size_t i = 0; i < scene.trunk->n_params; i++) {
        float sum = scene.tape[0]->grad[i] + scene.tape[1]->grad[i];
        ck_assert(scene.optimizer->grad[i] == sum);
        square += (double)sum * (double)sum;
    }
    ck_assert_double_eq_tol((double)norm, 0.25 * sqrt(square), 1e-4 * sqrt(square));
    ck_assert_double_gt((double)norm, 1.0);
    ck_assert_double_eq_tol((double)(scene.optimizer->grad_scale * norm), 0.25, 1e-6); /* cut to a norm of 1 */
    norm = optimizer_begin(scene.optimizer, scene.tape, N_TAPES, 1.0f, 1e-4f, &err);
    ck_assert_double_lt((double)norm, 1.0);
    ck_assert(scene.optimizer->grad_scale == 1e-4f);
    scene_fini(&scene);
}
END_TEST

START_TEST(a_gradient_that_is_not_finite_is_left_out)
{
    struct scene scene, before;
    int err = 0;
    scene_init(&scene, small, NULL);
    scene_init(&before, small, NULL);
    train_step(&scene, 0);
    train_step(&before, 0);
    run_tapes(&scene, 1);
    scene.tape[1]->grad[17] = _i == 0 ? NAN : INFINITY;
    log_set_level(LOG_ERROR);
    optimizer_step(scene.optimizer, scene.tape, N_TAPES, 1.0f, grad_scale_of(&scene), &err);
    ck_assert_int_eq(err, HANSE_EREJECT);
    ck_assert_mem_eq(scene.trunk->param, before.trunk->param, scene.trunk->n_params * sizeof(float));
    ck_assert_mem_eq(scene.optimizer->moment1, before.optimizer->moment1, scene.trunk->n_params * sizeof(float));
    ck_assert(scene.optimizer->beta2_power == before.optimizer->beta2_power);
    ck_assert_uint_eq(scene.optimizer->step, 2);
    scene_fini(&scene);
    scene_fini(&before);
}
END_TEST

static const struct trunk_tensor *tensor_named(const struct trunk *trunk, const char *name)
{
    for (size_t i = 0; i < trunk->n_tensors; i++)
        if (strcmp(trunk->tensor[i].name, name) == 0)
            return &trunk->tensor[i];
    ck_abort_msg("there is no %s", name);
    return NULL;
}

/* Each of q, k, v moves by a matrix of its own whose singular values are near 1: its squares sum to about its rank. */
START_TEST(muon_turns_each_matrix_by_itself)
{
    static const char *const names[] = {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight",
                                        "model.layers.0.self_attn.v_proj.weight", "model.layers.1.mlp.latent_down_proj.weight"};
    static const double rank[] = {32, 32, 32, 16};
    struct scene scene;
    int err;
    char yaml[512];
    snprintf(yaml, sizeof yaml, "%s", small);
    scene_init(&scene, yaml, NULL);
    scene.run.lr_muon = 1.0f;
    scene.run.weight_decay = 0.0f;
    float *before = malloc(scene.trunk->n_params * sizeof *before);
    run_tapes(&scene, 0); /* its small first head makes the gradient small: Muon does not mind */
    memcpy(before, scene.trunk->param, scene.trunk->n_params * sizeof *before);
    optimizer_step(scene.optimizer, scene.tape, N_TAPES, 1.0f, grad_scale_of(&scene), &err);
    for (size_t i = 0; i < 4; i++) {
        const struct trunk_tensor *tensor = tensor_named(scene.trunk, names[i]);
        double square = 0;
        for (size_t j = tensor->offset; j < tensor->offset + tensor->M * tensor->N; j++)
            square += pow((double)(scene.trunk->param[j] - before[j]), 2);
        ck_assert_msg(square > 0.4 * rank[i] && square < 1.5 * rank[i], "%s: %g for rank %g", names[i], square, rank[i]);
    }
    free(before);
    scene_fini(&scene);
}
END_TEST

/* Without a gradient only decay moves parameters: matrices shrink, gains stay. */
START_TEST(gains_do_not_decay)
{
    struct scene scene;
    int err;
    scene_init(&scene, small, NULL);
    float *before = malloc(scene.trunk->n_params * sizeof *before);
    memcpy(before, scene.trunk->param, scene.trunk->n_params * sizeof *before);
    optimizer_step(scene.optimizer, scene.tape, N_TAPES, 1.0f, 1.0f, &err);
    ck_assert_int_eq(err, 0);
    for (size_t i = 0; i < scene.trunk->n_tensors; i++) {
        const struct trunk_tensor *tensor = &scene.trunk->tensor[i];
        for (size_t j = tensor->offset; j < tensor->offset + tensor->M * tensor->N; j++) {
            float lr = tensor->rule == TRUNK_MUON ? scene.run.lr_muon : scene.run.lr_adam;
            float kept = tensor->rule == TRUNK_ADAM_NO_DECAY ? 1.0f : 1.0f - lr * scene.run.weight_decay;
            ck_assert_msg(fabsf(scene.trunk->param[j] - before[j] * kept) <= 1e-6f * fabsf(before[j]), "%s", tensor->name);
        }
    }
    free(before);
    scene_fini(&scene);
}
END_TEST

START_TEST(the_schedule_rises_and_falls)
{
    struct run run = pretend_run("trainer: {warmup_steps: 10, final_lr: 0.25}");
    ck_assert_double_eq_tol((double)optimizer_schedule(&run, 0, 0.0), 0.1, 1e-6);
    ck_assert_double_eq_tol((double)optimizer_schedule(&run, 4, 0.0), 0.5, 1e-6);
    ck_assert_double_eq_tol((double)optimizer_schedule(&run, 10, 0.0), 1.0, 1e-6);
    ck_assert_double_eq_tol((double)optimizer_schedule(&run, 99, 0.5), 0.625, 1e-6);
    ck_assert_double_eq_tol((double)optimizer_schedule(&run, 99, 1.0), 0.25, 1e-6);
    ck_assert_double_eq_tol((double)optimizer_schedule(&run, 99, 7.0), 0.25, 1e-6);
    ck_assert_double_eq_tol((double)optimizer_schedule(&run, 99, -1.0), 1.0, 1e-6);
    run.warmup_steps = 0;
    ck_assert_double_eq_tol((double)optimizer_schedule(&run, 0, 0.0), 1.0, 1e-6);
    float last = 2.0f;
    for (int i = 0; i <= 100; i++) {
        float now = optimizer_schedule(&run, 50, i / 100.0);
        ck_assert(now < last && now >= 0.2499f);
        last = now;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model/optimizer");
    TCase *tcase = tcase_create("optimizer");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, the_loss_falls, 0, 2);
    tcase_add_loop_test(tcase, integers_give_the_same_bits_everywhere, 1, N_KERNELS);
    tcase_add_loop_test(tcase, the_first_losses_are_golden, 0, N_KERNELS);
    tcase_add_loop_test(tcase, parts_change_no_bit, 1, OPTIMIZER_PARTS_MAX + 1);
    tcase_add_test(tcase, tapes_add_up_in_order);
    tcase_add_loop_test(tcase, a_gradient_that_is_not_finite_is_left_out, 0, 2);
    tcase_add_test(tcase, muon_turns_each_matrix_by_itself);
    tcase_add_test(tcase, gains_do_not_decay);
    tcase_add_test(tcase, the_schedule_rises_and_falls);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
