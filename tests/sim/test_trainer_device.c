/*
 * tests/sim/test_trainer_device.c - a trainer whose trunk is on a device: the same run to the bit, and an end in order when the
 * device fails.
 *
 * Made into a program over a set that plays a device, and into one over the emulation of CUDA.
 */
#include "tests/sim/train_swarm.h"

#include "kernels/device.h"
#include "node/evaluation.h"
#ifdef DEVICE_PLAYED
#include "tests/unit/device_play_trunk.h"
#else
#include "kernels/cuda/emulate_control.h"
#endif

#define N_STEPS 5
#define DEVICE_BYTES ((size_t)1 << 30)

static struct run run;

static const struct kernels *device(void)
{
#ifdef DEVICE_PLAYED
    return device_play_trunk();
#else
    const struct kernels *k;
    ck_assert_int_eq(device_open(0, &k), 0);
    return k;
#endif
}

/* After `n` more operations the device is lost. */
static void lose(uint64_t n)
{
#ifdef DEVICE_PLAYED
    device_play_lose(n);
#else
    emulate_fail(EMULATE_LOST, n);
#endif
}

/* The program is started again, on a sound device. */
static void mend(void)
{
#ifndef DEVICE_PLAYED
    emulate_fail(EMULATE_WELL, 0);
    emulate_memory(DEVICE_BYTES);
    device_close();
#endif
}

/* Every form of the rows, and both of the trunk. */
static void use(int i)
{
    ck_assert_int_eq(swarm_parse(&run, SWARM_YAML("device", "500", "3600")), 0);
    run.trunk = i == 1 ? RUN_TRUNK_F32 : RUN_TRUNK_I8X2;
    run.expert_numerics = (enum numerics)i;
}

static struct swarm_wish wish(const struct kernels *k)
{
    return (struct swarm_wish){.is_local = true, .is_sync = true, .n_steps = N_STEPS, .device = k};
}

/* Trains to its end, or until somebody stops it after a step, and says how that went. */
static int sit(struct swarm *s, const struct kernels *k, uint64_t stop_after)
{
    swarm_train(s, 0, wish(k));
    if (stop_after) {
        ck_assert(swarm_until_step(s, 0, stop_after, 60));
        world_ask_stop(s->trainer_node[0]);
    }
    ck_assert(swarm_until_done(s, 0, 60));
    int err = world_result(s->trainer_node[0]);
    swarm_end_trainer(s, 0);
    return err;
}

static void compare(const struct swarm *a, const struct swarm *b)
{
    ck_assert_uint_eq(a->log[0].n_steps, N_STEPS);
    ck_assert_uint_eq(b->log[0].n_steps, N_STEPS);
    for (size_t i = 0; i < N_STEPS; i++)
        ck_assert_msg(memcmp(&a->log[0].loss[i], &b->log[0].loss[i], sizeof(double)) == 0, "step %zu: %.17g and %.17g", i + 1,
                      a->log[0].loss[i], b->log[0].loss[i]);
    struct swarm_roots x = swarm_roots_of(a->trainer_node[0]), y = swarm_roots_of(b->trainer_node[0]);
    ck_assert_uint_eq(x.n, SWARM_EXPERTS + 1);
    for (size_t i = 0; i < x.n; i++) {
        ck_assert_str_eq(x.at[i].name, y.at[i].name);
        ck_assert_msg(hash_equal(&x.at[i].root, &y.at[i].root), "%s has another root", x.at[i].name);
    }
}

static double bits_per_byte(struct swarm *s, const struct kernels *k)
{
    struct evaluation evaluation;
    struct reader *reader;
    struct world_node *node = s->trainer_node[0];
    struct swarm_wish w = wish(k);
    ck_assert_int_eq(evaluation_init(&evaluation, &swarm_data, run.context, 1), 0);
    evaluation.n_max = 5;
    struct reader_config config = {.client = swarm_client(s, node, &w),
                                   .n_lanes = 1,
                                   .B = 3,
                                   .T = run.context,
                                   .fill = evaluation_fill,
                                   .done = evaluation_done,
                                   .arg = &evaluation};
    ck_assert_int_eq(reader_new(&config, world_io(node), world_disk(node), world_now(s->world), &reader), 0);
    struct io_machine machine = reader_machine(reader);
    world_start(node, &machine);
    ck_assert(swarm_until_done(s, 0, 60));
    ck_assert_int_eq(world_result(node), 0);
    double bpb = evaluation_bpb(&evaluation);
    reader_free(reader);
    evaluation_fini(&evaluation);
    return bpb;
}

/* In one sitting on the CPU; in two on a device; and what was learned there reads the same here. */
START_TEST(the_same_run_to_the_bit)
{
    struct swarm cpu, gpu;
    use(_i);
    swarm_init(&cpu, &run, 0, 1);
    ck_assert_int_eq(sit(&cpu, NULL, 0), 0);
    swarm_init(&gpu, &run, 0, 2);
    ck_assert_int_eq(sit(&gpu, device(), 2), 0);
    ck_assert_uint_lt(gpu.log[0].n_steps, N_STEPS);
    mend();
    ck_assert_int_eq(sit(&gpu, device(), 0), 0);
    compare(&cpu, &gpu);
    mend();
    double there = bits_per_byte(&gpu, device()), here = bits_per_byte(&gpu, NULL);
    ck_assert_msg(there == here && here > 0, "%.17g on the device, %.17g on the CPU", there, here);
    swarm_fini(&cpu);
    swarm_fini(&gpu);
}
END_TEST

/* Lost in any of the phases of a step, after a checkpoint: an end in order, nothing new on the disk, and then on as if
 * nothing had happened. */
START_TEST(a_device_that_is_lost_ends_training_in_order)
{
    struct swarm cpu, gpu;
    use(NUMERICS_I8X2);
    swarm_init(&cpu, &run, 0, 1);
    ck_assert_int_eq(sit(&cpu, NULL, 0), 0);
    swarm_init(&gpu, &run, 0, 2);
    ck_assert_int_eq(sit(&gpu, device(), 1), 0);
    uint64_t saved = gpu.log[0].n_steps;
    ck_assert_uint_lt(saved, N_STEPS);
    mend();
    swarm_train(&gpu, 0, wish(device()));
    lose(1 + 157 * (uint64_t)_i);
    ck_assert(swarm_until_done(&gpu, 0, 60));
    ck_assert_int_eq(world_result(gpu.trainer_node[0]), HANSE_EDEVICE);
    swarm_end_trainer(&gpu, 0);
    struct swarm_roots roots = swarm_roots_of(gpu.trainer_node[0]);
    ck_assert_uint_eq(roots.n, SWARM_EXPERTS + 1);
    for (size_t i = 0; i < roots.n; i++)
        if (strcmp(roots.at[i].name, TRAINER_CHECKPOINT) == 0)
            ck_assert_uint_eq(roots.at[i].version, saved);
    mend();
    ck_assert_int_eq(sit(&gpu, device(), 0), 0);
    compare(&cpu, &gpu);
    swarm_fini(&cpu);
    swarm_fini(&gpu);
}
END_TEST

/* -- Memory; the experts are elsewhere ----------------------------------------------------------------- */

/* Bytes that the device has, besides what opening it took. */
static void limit(size_t n_bytes)
{
#ifdef DEVICE_PLAYED
    played.max_bytes = n_bytes;
#else
    emulate_memory(emulate_used_bytes() + n_bytes);
#endif
}

static bool was_said[3];

static void hear(void *arg, enum log_level level, const char *line)
{
    static const char *const what[3] = {"the trunk needs", "the optimizer needs", "a microbatch needs"};
    (void)arg;
    (void)level;
    for (size_t i = 0; i < 3; i++)
        was_said[i] |= strstr(line, what[i]) && strstr(line, "run.yaml");
}

/* From hardly any to just enough: who had no room says how much it needs, what is free, and what would help. */
START_TEST(a_device_that_is_too_small_is_refused)
{
    struct swarm s;
    int err = HANSE_ENOMEM;
    size_t n_bytes = 4096;
    use(NUMERICS_I8X2);
    swarm_init(&s, &run, 0, 1);
    log_set_level(LOG_ERROR);
    log_set_sink(hear, NULL);
    for (; err && n_bytes < 1 << 26; n_bytes += n_bytes / 4) {
        const struct kernels *k = device();
        struct swarm_wish w = wish(k);
        w.is_local = false;
        limit(n_bytes);
        err = swarm_try_trainer(&s, 0, &w);
        ck_assert(!err || err == HANSE_ENOMEM);
        if (err)
            mend();
    }
    log_set_sink(NULL, NULL);
    ck_assert_int_eq(err, 0);
    ck_assert(was_said[0] && was_said[1] && was_said[2]);
    swarm_fini(&s);
}
END_TEST

/* In the middle of it, because others take it. */
START_TEST(a_device_without_room_for_scratch_ends_training_in_order)
{
    struct swarm s;
    use(NUMERICS_I8X2);
    swarm_init(&s, &run, 1, 2);
    swarm_start_hosts(&s);
    struct swarm_wish w = wish(device());
    w.is_local = false;
    swarm_train(&s, 0, w);
#ifdef DEVICE_PLAYED
    device_play_scratchless(5, 1);
#else
    emulate_fail(EMULATE_NO_MEMORY, 0);
#endif
    ck_assert(swarm_until_done(&s, 0, 60));
    ck_assert_int_eq(world_result(s.trainer_node[0]), HANSE_ENOMEM);
    ck_assert_uint_eq(swarm_roots_of(s.trainer_node[0]).n, 0);
    swarm_fini(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/trainer_device");
    TCase *tcase = tcase_create("device");
    if (swarm_prepare() != 0)
        return EXIT_FAILURE;
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, the_same_run_to_the_bit, 0, N_NUMERICS);
    tcase_add_loop_test(tcase, a_device_that_is_lost_ends_training_in_order, 0, 3);
    tcase_add_test(tcase, a_device_that_is_too_small_is_refused);
    tcase_add_test(tcase, a_device_without_room_for_scratch_ends_training_in_order);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
