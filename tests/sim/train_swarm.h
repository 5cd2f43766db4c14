/**
 * tests/sim/train_swarm.h - a small run, its hosts and its trainers in the made-up world.
 *
 * Expert lists are explicit, so nobody adopts anything: what a host keeps is gone with it until it comes back.
 */
#ifndef TESTS_TRAIN_SWARM_H
#define TESTS_TRAIN_SWARM_H

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "experts/checkpoint.h"
#include "node/host.h"
#include "node/trainer.h"
#include "node/trunk_state.h"
#include "sim/world.h"
#include "tests/unit/unit.h"

#define SWARM_STEPS_MAX 8192
#define SWARM_HOSTS_MAX 4
#define SWARM_TRAINERS_MAX 2
#define SWARM_EXPERTS 8 /* over both layers */
#define SECOND_US 1000000u

#define SWARM_YAML(name, deadline_ms, checkpoint_s)                                                                              \
    "name: " name "\n"                                                                                                           \
    "model: {width: 16, layers: 2, heads: 2, hidden: 32, context: 16, moe_layers: [0, 1], experts: 4,\n"                         \
    "        chosen: 2, expert_hidden: 16, latent: 8, shared_hidden: 8}\n"                                                       \
    "router: {bias_rate: 0.05}\n"                                                                                                \
    "trainer: {batch: 8, microbatches: 2, steps: 12, warmup_steps: 2, deadline_ms: " deadline_ms "}\n"                           \
    "experts: {slots_per_update: 48, warmup_updates: 2}\n"                                                                       \
    "hosts: {checkpoint_s: " checkpoint_s "}\n"

/** What a trainer told of its way. */
struct swarm_log {
    double loss[SWARM_STEPS_MAX];
    uint64_t n_steps; /* the newest */
    size_t n_live, n_started;
    double missed;
};

struct swarm {
    struct world *world;
    const struct run *run;
    size_t n_hosts;
    struct world_node *node[SWARM_HOSTS_MAX], *trainer_node[SWARM_TRAINERS_MAX];
    struct host *host[SWARM_HOSTS_MAX];
    struct trainer *trainer[SWARM_TRAINERS_MAX];
    struct swarm_log log[SWARM_TRAINERS_MAX];
    struct addr join;
};

static const struct kernels *swarm_kernels;
static struct data swarm_data;

/** How the eight experts are spread over one to four hosts. */
static inline const char *swarm_experts(size_t n_hosts, size_t host)
{
    static const char *const list[SWARM_HOSTS_MAX + 1][SWARM_HOSTS_MAX] = {
        {0},
        {"L0.0-3,L1.0-3"},
        {"L0.0-1,L1.0-1", "L0.2-3,L1.2-3"},
        {"L0.0-1", "L0.2-3,L1.0", "L1.1-3"},
        {"L0.0,L1.0", "L0.1,L1.1", "L0.2,L1.2", "L0.3,L1.3"},
    };
    return list[n_hosts][host];
}

static inline int swarm_parse(struct run *run, const char *yaml)
{
    return run_parse("swarm.yaml", yaml, strlen(yaml), run);
}

/** Once a program. */
static inline int swarm_prepare(void)
{
    static uint8_t text[4000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)("the league of towns "[i * i / 7 % 20]);
    swarm_data = (struct data){text, sizeof text, sizeof text * 9 / 10};
    log_set_level(getenv("SWARM_LOG") ? LOG_DEBUG : LOG_ERROR + 1);
    return kernels_choose(NULL, &swarm_kernels);
}

static inline void swarm_init_world(struct swarm *s, const struct run *run, size_t n_hosts, const struct world_config *config)
{
    memset(s, 0, sizeof *s);
    s->run = run;
    s->n_hosts = n_hosts;
    ck_assert_int_eq(world_new(config, &s->world), 0);
    for (size_t h = 0; h < n_hosts; h++)
        ck_assert_int_eq(world_add(s->world, &s->node[h]), 0);
    for (size_t t = 0; t < SWARM_TRAINERS_MAX; t++)
        ck_assert_int_eq(world_add(s->world, &s->trainer_node[t]), 0);
    s->join = world_addr(n_hosts ? s->node[0] : s->trainer_node[0]);
}

/** A world with delay and loss. */
static inline void swarm_init(struct swarm *s, const struct run *run, size_t n_hosts, uint64_t seed)
{
    struct world_config config = {
        .seed = seed, .delay_min_us = 1000, .delay_mean_us = 10000, .datagram_loss = 0.01, .connect_timeout_us = 20 * SECOND_US};
    swarm_init_world(s, run, n_hosts, &config);
}

static inline int swarm_try_host(struct swarm *s, size_t h, const struct run *run)
{
    struct host_config config = {.run = run,
                                 .kernels = swarm_kernels,
                                 .hardware = HARDWARE_CPU,
                                 .key = world_key(s->node[h]),
                                 .listen = world_addr(s->node[h]),
                                 .join = {s->join, world_addr(s->node[s->n_hosts - 1])},
                                 .n_join = 2,
                                 .experts = swarm_experts(s->n_hosts, h),
                                 .seed = world_seed(s->node[h]),
                                 .quiet = true};
    int err = host_new(&config, world_io(s->node[h]), world_disk(s->node[h]), &s->host[h]);
    if (err)
        return err;
    struct io_machine machine = host_machine(s->host[h]);
    world_start(s->node[h], &machine);
    return 0;
}

static inline void swarm_start_host(struct swarm *s, size_t h)
{
    ck_assert_int_eq(swarm_try_host(s, h, s->run), 0);
}

static inline void swarm_start_hosts(struct swarm *s)
{
    for (size_t h = 0; h < s->n_hosts; h++)
        swarm_start_host(s, h);
}

static inline void swarm_crash_host(struct swarm *s, size_t h)
{
    world_crash(s->node[h]);
    host_free(s->host[h]);
    s->host[h] = NULL;
}

static inline void swarm_progress(void *arg, const struct trainer_progress *p)
{
    struct swarm_log *log = arg;
    ck_assert_uint_le(p->step, SWARM_STEPS_MAX);
    log->loss[p->step - 1] = p->loss;
    log->n_steps = p->step;
    log->n_live = p->n_live;
    log->missed = p->missed;
}

static inline void swarm_started(void *arg, uint64_t step, size_t n_live, size_t n_experts, size_t n_hosts)
{
    struct swarm_log *log = arg;
    (void)step;
    (void)n_experts;
    (void)n_hosts;
    log->n_started++;
    log->n_live = n_live;
}

struct swarm_wish {
    bool is_local, is_sync;
    uint64_t n_steps, data_seed;
    const struct run *run;        /* NULL: the swarm's */
    const struct kernels *device; /* of the trunk; NULL: none */
};

static inline struct client_config swarm_client(const struct swarm *s, struct world_node *node, const struct swarm_wish *wish)
{
    return (struct client_config){
        .run = wish->run ? wish->run : s->run,
        .kernels = swarm_kernels,
        .device = wish->device,
        .key = world_key(node),
        .join = {s->join, world_addr(s->node[s->n_hosts ? s->n_hosts - 1 : 0] ? s->node[s->n_hosts - 1] : node)},
        .n_join = 2,
        .is_local = wish->is_local,
        .is_sync = wish->is_sync,
        .seed = world_seed(node)};
}

static inline int swarm_try_trainer(struct swarm *s, size_t t, const struct swarm_wish *wish)
{
    struct world_node *node = s->trainer_node[t];
    struct trainer_config config = {.client = swarm_client(s, node, wish),
                                    .data = &swarm_data,
                                    .seed = wish->data_seed ? wish->data_seed : 7,
                                    .n_steps = wish->n_steps,
                                    .progress = swarm_progress,
                                    .started = swarm_started,
                                    .arg = &s->log[t]};
    int err = trainer_new(&config, world_io(node), world_disk(node), world_now(s->world), &s->trainer[t]);
    if (err)
        return err;
    struct io_machine machine = trainer_machine(s->trainer[t]);
    world_start(node, &machine);
    return 0;
}

static inline void swarm_train(struct swarm *s, size_t t, struct swarm_wish wish)
{
    ck_assert_int_eq(swarm_try_trainer(s, t, &wish), 0);
}

static inline void swarm_run_us(struct swarm *s, uint64_t us)
{
    world_run(s->world, world_now(s->world) + us);
}

/** Until the trainer's machine has stopped, at most so long; true when it has. */
static inline bool swarm_until_done(struct swarm *s, size_t t, double seconds)
{
    for (double done = 0; done < seconds && world_is_running(s->trainer_node[t]); done += 0.1)
        swarm_run_us(s, SECOND_US / 10);
    return !world_is_running(s->trainer_node[t]);
}

/** Until the trainer has done this step, at most so long; true when it has. */
static inline bool swarm_until_step(struct swarm *s, size_t t, uint64_t step, double seconds)
{
    for (double done = 0; done < seconds && s->log[t].n_steps < step; done += 0.01)
        swarm_run_us(s, SECOND_US / 100);
    return s->log[t].n_steps >= step;
}

static inline void swarm_end_trainer(struct swarm *s, size_t t)
{
    trainer_free(s->trainer[t]);
    s->trainer[t] = NULL;
}

/** Stops the hosts in order, so that their experts are on their disks. */
static inline void swarm_stop_hosts(struct swarm *s)
{
    for (size_t h = 0; h < s->n_hosts; h++)
        if (s->host[h])
            world_ask_stop(s->node[h]);
    swarm_run_us(s, 10 * SECOND_US);
}

static inline void swarm_fini(struct swarm *s)
{
    for (size_t h = 0; h < s->n_hosts; h++)
        host_free(s->host[h]);
    for (size_t t = 0; t < SWARM_TRAINERS_MAX; t++)
        trainer_free(s->trainer[t]);
    world_free(s->world);
}

/** The newest checkpoint of everything on a disk, by name. */
struct swarm_roots {
    size_t n;
    const struct disk *disk;
    struct {
        char name[32];
        uint64_t version;
        struct hash root;
    } at[SWARM_EXPERTS + 1];
};

static inline void swarm_take_root(void *arg, const char *name, uint64_t version)
{
    struct swarm_roots *roots = arg;
    struct checkpoint_info info;
    size_t i = 0;
    while (i < roots->n && strcmp(roots->at[i].name, name) != 0)
        i++;
    ck_assert_uint_lt(i, SWARM_EXPERTS + 1);
    ck_assert_int_eq(checkpoint_verify(roots->disk, name, version, &info), 0);
    memcpy(roots->at[i].name, name, strlen(name) + 1);
    roots->at[i].version = version;
    roots->at[i].root = info.root;
    roots->n = i == roots->n ? i + 1 : roots->n;
}

static inline struct swarm_roots swarm_roots_of(struct world_node *node)
{
    struct swarm_roots roots = {.disk = world_disk(node)};
    ck_assert_int_eq(checkpoint_list(roots.disk, swarm_take_root, &roots), 0);
    return roots;
}

/* -- Files ------------------------------------------------------------------------------------------- */

/** Calls `each` for every file below a directory. */
struct swarm_walk {
    struct world_node *from, *to;
    const char *directory;
    void (*each)(struct swarm_walk *walk, const char *name);
    size_t n;
};

static inline void swarm_walk_entry(void *arg, const char *entry)
{
    struct swarm_walk *walk = arg, below = *walk;
    const struct disk *disk = world_disk(walk->from);
    char name[DISK_NAME_MAX];
    snprintf(name, sizeof name, "%s/%s", walk->directory, entry);
    if (disk->ops->exists(disk->ctx, name)) {
        walk->each(walk, name);
        walk->n++;
        return;
    }
    below.directory = name;
    ck_assert_int_eq(disk->ops->list(disk->ctx, name, swarm_walk_entry, &below), 0);
    walk->n = below.n;
}

static inline size_t swarm_walk(struct swarm_walk walk)
{
    const struct disk *disk = world_disk(walk.from);
    ck_assert_int_eq(disk->ops->list(disk->ctx, walk.directory, swarm_walk_entry, &walk), 0);
    return walk.n;
}

static inline void swarm_spoil_file(struct swarm_walk *walk, const char *name)
{
    ck_assert(world_disk_spoil(walk->from, name));
}

static inline void swarm_copy_file(struct swarm_walk *walk, const char *name)
{
    const struct disk *from = world_disk(walk->from), *to = world_disk(walk->to);
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX / 2);
    ck_assert_int_eq(from->ops->read(from->ctx, name, &bytes), 0);
    ck_assert_int_eq(to->ops->write(to->ctx, name, bytes.bytes, bytes.n), 0);
    buf_fini(&bytes);
}

/** Flips a bit in each chunk; returns how many there were. */
static inline size_t swarm_spoil_chunks(struct world_node *node)
{
    return swarm_walk((struct swarm_walk){.from = node, .directory = "chunks", .each = swarm_spoil_file});
}

/** All checkpoints of one node on another's disk, too. */
static inline void swarm_copy_disk(struct world_node *from, struct world_node *to)
{
    static const char *const directory[] = {"chunks", "manifests"};
    for (size_t i = 0; i < sizeof directory / sizeof *directory; i++)
        swarm_walk((struct swarm_walk){.from = from, .to = to, .directory = directory[i], .each = swarm_copy_file});
}

#endif
