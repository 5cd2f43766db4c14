/*
 * tests/unit/test_model_device.c - training steps of a trunk on a device have the bits of those on the CPU.
 *
 * One source makes three programs: over a set that plays a device (test_model_device_played), over the emulation of CUDA
 * (test_model_device_emulated), and on a GPU (test_model_device_device, which ends with status 77 where there is none).
 */
#include <pthread.h>

#include "base/log.h"
#include "tests/unit/test_model_pretend.h"

#ifdef DEVICE_PLAYED
#include "tests/unit/device_play_trunk.h"
#else
#include "tests/kernels/device_test.h"
#endif

#define N_TAPES 2
#define N_STEPS 3
#define N_SHAPES 4

#define SHAPE(trunk, numerics)                                                                                                   \
    "model: {width: 16, heads: 2, layers: 3, context: 12, hidden: 24, moe_layers: [0, 2], experts: 4, expert_hidden: 8,\n"       \
    "        latent: 8, shared_hidden: 20}\n"                                                                                    \
    "router: {z_loss: 0.05}\n"                                                                                                   \
    "trainer: {trunk: " trunk ", warmup_steps: 2, lr_muon: 0.02, lr_adam: 0.01, clip: 1}\n"                                      \
    "experts: {numerics: " numerics "}\n"

/* Without a projection to the experts' width, and no experts at all: the other ways through a segment. */
static const char *const shapes[N_SHAPES] = {
    SHAPE("f32", "i8x2"), SHAPE("i8x2", "i8x1"),
    "model: {width: 16, heads: 4, layers: 2, context: 12, hidden: 24, moe_layers: [1], experts: 3, latent: 16, shared_hidden: "
    "0}\n"
    "trainer: {trunk: i8x2, warmup_steps: 2}\nexperts: {numerics: f32}\n",
    "model: {width: 16, heads: 1, layers: 1, context: 12, hidden: 24, moe_layers: []}\ntrainer: {warmup_steps: 2}\n"};

struct scene {
    struct run run;
    struct trunk *trunk;
    struct optimizer *optimizer;
    struct trunk_tape *tape[N_TAPES];
};

static const struct kernels *device(void)
{
    const struct kernels *k;
#ifdef DEVICE_PLAYED
    k = device_play_trunk();
#else
    k = device_set();
#endif
    ck_assert(k->is_device);
    return k;
}

static void scene_init(struct scene *scene, const char *yaml, const struct kernels *kernels)
{
    scene->run = pretend_run(yaml);
    ck_assert_int_eq(trunk_new(&scene->run, kernels, &scene->trunk), 0);
    ck_assert_int_eq(optimizer_new(scene->trunk, &scene->optimizer), 0);
    for (size_t i = 0; i < N_TAPES; i++)
        ck_assert_int_eq(trunk_tape_new(scene->trunk, 2, 12, true, scene->run.expert_numerics, &scene->tape[i]), 0);
}

static void scene_fini(struct scene *scene)
{
    for (size_t i = 0; i < N_TAPES; i++)
        trunk_tape_free(scene->tape[i]);
    optimizer_free(scene->optimizer);
    trunk_free(scene->trunk);
}

/* -- Segments, each on a thread of its own ----------------------------------------------------------- */

struct job {
    struct trunk_tape *tape;
    size_t segment;
    bool is_backward;
    int err;
};

static void *run_segment(void *arg)
{
    struct job *job = arg;
    const struct trunk *trunk = job->tape->trunk;
    if (job->segment == 0 && !job->is_backward)
        trunk_tape_clear(job->tape);
    job->err = job->is_backward ? trunk_backward(trunk, job->tape, job->segment, (float)job->tape->N)
                                : trunk_forward(trunk, job->tape, job->segment);
    return NULL;
}

static int on_thread(struct trunk_tape *tape, size_t segment, bool is_backward)
{
    struct job job = {tape, segment, is_backward, -1};
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, run_segment, &job), 0);
    pthread_join(thread, NULL);
    return job.err;
}

static void run_tape(struct trunk_tape *tape)
{
    const struct trunk *trunk = tape->trunk;
    size_t n_moe = trunk->run->n_moe;
    for (size_t s = 0; s <= n_moe; s++) {
        ck_assert_int_eq(on_thread(tape, s, false), 0);
        if (s == n_moe)
            break;
        pretend_pick(trunk, tape, s);
        pretend_answered(trunk, tape, s, 5);
        pretend_forward(trunk, tape, s);
    }
    for (size_t s = n_moe; s < n_moe + 1; s--) {
        ck_assert_int_eq(on_thread(tape, s, true), 0);
        if (s > 0)
            pretend_backward(trunk, tape, s - 1);
    }
}

/* Two parts of the update, each on a thread of its own; at once but for the played device, which takes what two threads do to
 * different tensors of one block for a race. */
struct part {
    struct optimizer *optimizer;
    size_t index;
    int err;
};

static void *run_part(void *arg)
{
    struct part *part = arg;
    part->err = optimizer_part(part->optimizer, part->index, 2);
    return NULL;
}

static void update(struct scene *scene, uint64_t step, float *norm)
{
    struct part part[2] = {{scene->optimizer, 0, -1}, {scene->optimizer, 1, -1}};
    pthread_t thread[2];
    int err = -1;
    *norm = optimizer_begin(scene->optimizer, scene->tape, N_TAPES, optimizer_schedule(&scene->run, step, 0.1),
                            1.0f / (float)(N_TAPES * scene->tape[0]->N), &err);
    ck_assert_int_eq(err, 0);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&thread[i], NULL, run_part, &part[i]), 0);
#ifdef DEVICE_PLAYED
        pthread_join(thread[i], NULL);
    }
#else
    }
    for (size_t i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
#endif
    ck_assert_int_eq(part[0].err, 0);
    ck_assert_int_eq(part[1].err, 0);
}

static void same_floats(const struct scene *ref, const struct scene *tried, const float *expected, const float *at,
                        const char *what)
{
    size_t n = ref->trunk->n_params;
    float *actual = malloc(n * sizeof *actual);
    ck_assert_int_eq(tried->trunk->kernels.get(actual, at, n * sizeof *actual), 0);
    for (size_t i = 0; i < ref->trunk->n_tensors; i++) {
        const struct trunk_tensor *t = &ref->trunk->tensor[i];
        ck_assert_msg(memcmp(expected + t->offset, actual + t->offset, t->M * t->N * sizeof *actual) == 0, "%s of %s", what,
                      t->name);
    }
    free(actual);
}

static void compare_tapes(const struct scene *ref, const struct scene *tried, size_t i)
{
    const struct trunk_tape *a = ref->tape[i], *b = tried->tape[i];
    float logits[2][256];
    ck_assert_mem_eq(a->loss, b->loss, a->N * sizeof *a->loss);
    ck_assert(a->zloss == b->zloss);
    same_floats(ref, tried, a->grad, b->grad, "gradient");
    ck_assert_int_eq(trunk_tape_logits(a, 5, logits[0]), 0);
    ck_assert_int_eq(trunk_tape_logits(b, 5, logits[1]), 0);
    ck_assert_mem_eq(logits[0], logits[1], sizeof logits[0]);
}

START_TEST(steps_have_the_bits_of_the_cpu)
{
    struct scene ref, tried;
    float norm[2];
    scene_init(&ref, shapes[_i], pretend_kernels("ref"));
    scene_init(&tried, shapes[_i], device());
    same_floats(&ref, &tried, ref.trunk->param, tried.trunk->param, "first value");
    for (uint64_t step = 0; step < N_STEPS; step++) {
        for (size_t i = 0; i < N_TAPES; i++) {
            pretend_batch(ref.tape[i], step * N_TAPES + i);
            pretend_batch(tried.tape[i], step * N_TAPES + i);
            run_tape(ref.tape[i]);
            run_tape(tried.tape[i]);
            compare_tapes(&ref, &tried, i);
        }
        update(&ref, step, &norm[0]);
        update(&tried, step, &norm[1]);
        ck_assert_msg(norm[0] == norm[1], "step %d: %.9g and %.9g", (int)step, (double)norm[0], (double)norm[1]);
        same_floats(&ref, &tried, ref.trunk->param, tried.trunk->param, "parameter");
    }
    same_floats(&ref, &tried, ref.optimizer->moment1, tried.optimizer->moment1, "moment");
    scene_fini(&ref);
    scene_fini(&tried);
}
END_TEST

/* Forward alone, a smaller batch than there is room for. */
START_TEST(reading_has_the_bits_of_the_cpu)
{
    struct run run = pretend_run(shapes[_i]);
    struct trunk *trunk[2];
    struct trunk_tape *tape[2];
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(trunk_new(&run, i ? device() : pretend_kernels("ref"), &trunk[i]), 0);
        ck_assert_int_eq(trunk_tape_new(trunk[i], 3, 12, false, run.expert_numerics, &tape[i]), 0);
        trunk_tape_set_batch(tape[i], 2);
        pretend_batch(tape[i], 7);
        pretend_run_forward(trunk[i], tape[i], 4, false);
    }
    ck_assert_mem_eq(tape[0]->loss, tape[1]->loss, tape[0]->N * sizeof(float));
    for (size_t i = 0; i < 2; i++) {
        trunk_tape_free(tape[i]);
        trunk_free(trunk[i]);
    }
}
END_TEST

/* OpenBLAS does not reach a device's memory, and no CPU has cuBLASLt: each is refused, not quietly replaced. */
START_TEST(libraries_stay_where_they_are)
{
    struct run blas = pretend_run("trainer: {trunk: blas}"), bf16 = pretend_run("trainer: {trunk: bf16}");
    struct trunk *trunk;
    log_set_level(LOG_ERROR + 1);
    ck_assert_int_eq(trunk_new(&bf16, pretend_kernels("ref"), &trunk), HANSE_EUNSUPPORTED);
    ck_assert_int_eq(trunk_new(&blas, device(), &trunk), HANSE_EUNSUPPORTED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model/device");
    TCase *tcase = tcase_create("device");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, steps_have_the_bits_of_the_cpu, 0, N_SHAPES);
    tcase_add_loop_test(tcase, reading_has_the_bits_of_the_cpu, 0, N_SHAPES);
    tcase_add_test(tcase, libraries_stay_where_they_are);
    suite_add_tcase(suite, tcase);
#ifdef DEVICE_PLAYED
    return unit_run(suite);
#else
    return device_run(suite);
#endif
}
