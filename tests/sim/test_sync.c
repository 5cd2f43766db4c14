/*
 * tests/sim/test_sync.c - distribution costs no bit: with sync and one seed, training with experts in the trainer's own
 * process, on one host and on four gives the same loss at every step, and experts with the same roots, in whichever numbers they compute.
 */
#include <stdio.h>
#include <string.h>

#include "experts/checkpoint.h"
#include "node/host.h"
#include "node/trainer.h"
#include "sim/world.h"
#include "tests/unit/unit.h"

#define N_STEPS 12
#define N_HOSTS_MAX 4
#define N_EXPERTS 8 /* over both layers */

/* All but the experts' numerics. */
static const char yaml[] = "name: sync\n"
                           "model: {width: 16, layers: 2, heads: 2, hidden: 32, context: 16, moe_layers: [0, 1], experts: 4,\n"
                           "        chosen: 2, expert_hidden: 16, latent: 8, shared_hidden: 8}\n"
                           "router: {bias_rate: 0.05}\n"
                           "trainer: {batch: 8, microbatches: 2, steps: 12, warmup_steps: 2}\n"
                           "experts: {slots_per_update: 48, warmup_updates: 2, numerics: %s}\n"
                           "hosts: {checkpoint_s: 3600}\n";

struct outcome {
    double loss[N_STEPS];
    uint64_t n_steps;
    struct hash root[N_EXPERTS];
    uint64_t version[N_EXPERTS];
    size_t n_roots;
};

static struct run run;
static struct data data;
static const struct kernels *kernels;

static void use(int form)
{
    char text[2 * sizeof yaml];
    int n = snprintf(text, sizeof text, yaml, numerics_name[form]);
    ck_assert_int_eq(run_parse("sync.yaml", text, (size_t)n, &run), 0);
}

static void make_data(void)
{
    static uint8_t text[4000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)("the league of towns "[i * i / 7 % 20]);
    data = (struct data){text, sizeof text, sizeof text * 9 / 10};
}

static void on_progress(void *arg, const struct trainer_progress *p)
{
    struct outcome *outcome = arg;
    ck_assert_uint_le(p->step, N_STEPS);
    outcome->loss[p->step - 1] = p->loss;
    outcome->n_steps = p->step;
}

struct gather {
    struct outcome *outcome;
    const struct disk *disk;
};

static void take_root(void *arg, const char *name, uint64_t version)
{
    struct gather *gather = arg;
    struct checkpoint_info info;
    uint32_t moe, expert;
    if (!run_parse_expert_name(&run, name, &moe, &expert))
        return;
    ck_assert_int_eq(checkpoint_verify(gather->disk, name, version, &info), 0);
    size_t i = moe * run.experts + expert;
    if (version >= gather->outcome->version[i]) {
        gather->outcome->root[i] = info.root;
        gather->outcome->version[i] = version;
    }
    gather->outcome->n_roots++;
}

static void gather_roots(struct outcome *outcome, struct world_node *node)
{
    struct gather gather = {outcome, world_disk(node)};
    ck_assert_int_eq(checkpoint_list(gather.disk, take_root, &gather), 0);
}

static struct host *start_host(struct world_node *node, const struct addr *join, const char *experts)
{
    struct host *host;
    struct host_config config = {.run = &run,
                                 .kernels = kernels,
                                 .key = world_key(node),
                                 .listen = world_addr(node),
                                 .join = {*join},
                                 .n_join = 1,
                                 .experts = experts,
                                 .seed = world_seed(node),
                                 .quiet = true};
    ck_assert_int_eq(host_new(&config, world_io(node), world_disk(node), &host), 0);
    struct io_machine machine = host_machine(host);
    world_start(node, &machine);
    return host;
}

static struct trainer *start_trainer(struct world_node *node, const struct addr *join, bool is_local, struct outcome *outcome)
{
    struct trainer *trainer;
    struct trainer_config config = {.client = {.run = &run,
                                               .kernels = kernels,
                                               .key = world_key(node),
                                               .join = {*join},
                                               .n_join = 1,
                                               .is_local = is_local,
                                               .is_sync = true,
                                               .seed = world_seed(node)},
                                    .data = &data,
                                    .seed = 7,
                                    .n_steps = N_STEPS,
                                    .progress = on_progress,
                                    .arg = outcome};
    ck_assert_int_eq(trainer_new(&config, world_io(node), world_disk(node), SIM_EPOCH_US, &trainer), 0);
    struct io_machine machine = trainer_machine(trainer);
    world_start(node, &machine);
    return trainer;
}

static void train(struct outcome *outcome, size_t n_hosts, const char *const *experts, uint64_t seed)
{
    struct world_config config = {
        .seed = seed, .delay_min_us = 1000, .delay_mean_us = 20000, .datagram_loss = 0.1, .connect_timeout_us = 1000000};
    struct world *world;
    struct world_node *node[N_HOSTS_MAX], *trainer_node;
    struct host *host[N_HOSTS_MAX];
    memset(outcome, 0, sizeof *outcome);
    ck_assert_int_eq(world_new(&config, &world), 0);
    ck_assert_int_eq(world_add(world, &trainer_node), 0);
    struct addr first = world_addr(trainer_node);
    for (size_t h = 0; h < n_hosts; h++) {
        ck_assert_int_eq(world_add(world, &node[h]), 0);
        if (h == 0)
            first = world_addr(node[0]);
        host[h] = start_host(node[h], &first, experts[h]);
    }
    struct trainer *trainer = start_trainer(trainer_node, &first, n_hosts == 0, outcome);
    for (uint64_t t = 1; t <= 600 && !trainer_is_done(trainer); t++)
        world_run(world, SIM_EPOCH_US + t * 1000000);
    ck_assert_uint_eq(outcome->n_steps, N_STEPS);
    for (size_t h = 0; h < n_hosts; h++)
        world_ask_stop(node[h]);
    world_run(world, world_now(world) + 30000000);
    gather_roots(outcome, trainer_node);
    for (size_t h = 0; h < n_hosts; h++) {
        gather_roots(outcome, node[h]);
        host_free(host[h]);
    }
    trainer_free(trainer);
    world_free(world);
}

static void compare(const struct outcome *a, const struct outcome *b)
{
    for (size_t i = 0; i < N_STEPS; i++)
        ck_assert_msg(memcmp(&a->loss[i], &b->loss[i], sizeof a->loss[i]) == 0, "step %zu: %.17g and %.17g", i + 1, a->loss[i],
                      b->loss[i]);
    ck_assert_uint_eq(b->n_roots, N_EXPERTS);
    for (size_t i = 0; i < N_EXPERTS; i++) {
        ck_assert_uint_ge(a->version[i], 2);
        ck_assert_uint_eq(a->version[i], b->version[i]);
        ck_assert_msg(hash_equal(&a->root[i], &b->root[i]), "expert %zu has another root", i);
    }
}

START_TEST(the_same_bits_on_any_number_of_hosts)
{
    static const char *const one[] = {"L0.0-3,L1.0-3"};
    static const char *const four[] = {"L0.0,L1.3", "L0.1,L1.2", "L0.2-3", "L1.0-1"};
    struct outcome local, on_one, on_four, again;
    use(_i);
    train(&local, 0, NULL, 1);
    ck_assert_uint_eq(local.n_roots, N_EXPERTS);
    ck_assert(local.loss[N_STEPS - 1] < local.loss[0]);
    train(&on_one, 1, one, 2);
    compare(&local, &on_one);
    train(&on_four, 4, four, 3);
    compare(&local, &on_four);
    train(&again, 4, four, 4); /* other delays and losses */
    compare(&local, &again);
}
END_TEST

/* From the same first parameters, every form learns about the same; and none is another in disguise. */
START_TEST(forms_learn_alike)
{
    struct outcome of[N_NUMERICS];
    for (int form = 0; form < N_NUMERICS; form++) {
        use(form);
        train(&of[form], 0, NULL, 1);
        for (int other = 0; other < form; other++) {
            double a = of[form].loss[N_STEPS - 1], b = of[other].loss[N_STEPS - 1];
            ck_assert_msg(a != b, "%s and %s give the same loss", numerics_name[form], numerics_name[other]);
            ck_assert_double_eq_tol(a, b, form == NUMERICS_I8X1 ? 0.01 : 0.001);
            ck_assert_double_eq_tol(of[form].loss[0], of[other].loss[0], 0.001);
        }
    }
}
END_TEST

int main(void)
{
    if (kernels_choose(NULL, &kernels) != 0)
        return EXIT_FAILURE;
    make_data();
    Suite *suite = suite_create("sim/sync");
    TCase *tcase = tcase_create("bits");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, the_same_bits_on_any_number_of_hosts, 0, N_NUMERICS);
    tcase_add_test(tcase, forms_learn_alike);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
