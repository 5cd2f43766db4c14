/**
 * tests/unit/host_ask.h - what the tests of a host share: a run, one host on a stage, and trainers that ask it.
 *
 * The rows and gradients of a call are a function of its number.
 */
#ifndef TESTS_UNIT_HOST_ASK_H
#define TESTS_UNIT_HOST_ASK_H

#include "base/log.h"
#include "host_stage.h"

#define WIDTH 8
#define N_ROWS 4
#define WAIT_MS 1000

static struct run run;
static struct stage stage;
static struct stage_node *node;
static char log_text[1 << 14];

static inline void keep_lines(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    size_t n = strlen(log_text);
    if (level >= LOG_WARN)
        snprintf(log_text + n, sizeof log_text - n, "%s\n", line);
}

static inline void setup(void)
{
    run = (struct run){.name = "test",
                       .n_moe = 2,
                       .experts = 8,
                       .latent = WIDTH,
                       .expert_hidden = 16,
                       .expert_lr = 0.01f,
                       .expert_beta1 = 0.9f,
                       .expert_beta2 = 0.99f,
                       .expert_clip = 1,
                       .slots_per_update = 6,
                       .max_staleness = 4,
                       .hosts = 1,
                       .checkpoint_s = 10,
                       .id = hash_bytes("run", 3)};
    stage_init(&stage);
    node = stage_add(&stage);
    log_text[0] = 0;
    log_set_sink(keep_lines, NULL);
}

static inline void teardown(void)
{
    stage_fini(&stage);
    log_set_sink(NULL, NULL);
}

/* Another form for the experts' products and what travels: at the beginning of a test. */
static inline void set_form(int form)
{
    run.expert_numerics = (enum numerics)form;
}

/* -- Asking ---------------------------------------------------------------------------------------- */

static const uint32_t all_rows[N_ROWS] = {0, 1, 2, 3};
static const float weights[N_ROWS] = {1, 0.5f, -0.25f, 2};

struct ask {
    struct message_request m;
    struct message_group group[8];
    float rows[N_ROWS * WIDTH], x[N_ROWS * WIDTH];
    bool has_x;
};

/* Rows in the run's form, which live until the next with the same `place` are made. */
static inline struct rows travelling(const float *from, size_t place)
{
    static uint8_t bytes[2][8 + 2 * N_ROWS * WIDTH];
    const struct kernels *kernels;
    if (run.expert_numerics == NUMERICS_F32)
        return (struct rows){.f32 = from};
    ck_assert_int_eq(kernels_choose("ref", &kernels), 0);
    struct rows rows = rows_at(run.expert_numerics, bytes[place], N_ROWS, WIDTH);
    rows_round(kernels, &rows, from, N_ROWS, WIDTH);
    return rows;
}

static inline void fill_ask(struct ask *ask)
{
    ask->m.form = run.expert_numerics;
    ask->m.rows = travelling(ask->rows, 0);
    ask->m.x = ask->has_x ? travelling(ask->x, 1) : (struct rows){0};
}

static inline void send_ask(io_link link, struct ask *ask)
{
    fill_ask(ask);
    stage_ask(node, link, &ask->m);
}

static inline void draw_rows(float *rows, uint64_t call, const char *what)
{
    struct rng rng;
    rng_init(&rng, call, what);
    for (size_t i = 0; i < N_ROWS * WIDTH; i++)
        rows[i] = rng_unit(&rng) * 2 - 1;
}

/* Asks `n` experts of layer 0 from `expert` on about `n_slots` rows each. */
static inline struct ask *make_ask(enum message_kind kind, uint64_t call, uint16_t expert, size_t n, uint32_t n_slots)
{
    static struct ask ask;
    ask.m = (struct message_request){.kind = kind,
                                     .keep = true,
                                     .wait_ms = WAIT_MS,
                                     .call = call,
                                     .n_rows = N_ROWS,
                                     .D = WIDTH,
                                     .lr_scale = 1,
                                     .n_groups = n,
                                     .group = ask.group};
    for (size_t i = 0; i < n; i++)
        ask.group[i] =
            (struct message_group){.expert = (uint16_t)(expert + i), .n_slots = n_slots, .row = all_rows, .weight = weights};
    ask.has_x = false;
    draw_rows(ask.rows, call, kind == MESSAGE_FORWARD ? "x" : "gy");
    draw_rows(ask.x, call, "x");
    return &ask;
}

static inline void forward(io_link link, uint64_t call, uint16_t expert, size_t n, uint32_t n_slots)
{
    send_ask(link, make_ask(MESSAGE_FORWARD, call, expert, n, n_slots));
}

static inline void backward(io_link link, uint64_t call, uint16_t expert, size_t n, uint32_t n_slots)
{
    send_ask(link, make_ask(MESSAGE_BACKWARD, call, expert, n, n_slots));
}

static inline void backward_with_x(io_link link, uint64_t call, uint16_t expert, uint32_t n_slots)
{
    struct ask *ask = make_ask(MESSAGE_BACKWARD, call, expert, 1, n_slots);
    ask->has_x = true;
    send_ask(link, ask);
}

/* The i-th message that was sent, as a reply; it lives until stage_forget_sent(). */
static inline struct message_reply *reply(size_t i)
{
    static struct message_group group[MESSAGE_GROUPS_MAX];
    static struct message_reply m;
    m.group = group;
    ck_assert_uint_lt(i, node->n_sent);
    ck_assert_int_eq(message_reply_decode(&m, node->sent[i].message.bytes, node->sent[i].message.n), 0);
    return &m;
}

static inline struct message_reply *only_reply(void)
{
    ck_assert_uint_eq(node->n_sent, 1);
    return reply(0);
}

static inline void expect_statuses(enum message_status status)
{
    struct message_reply *m = only_reply();
    for (size_t g = 0; g < m->n_groups; g++)
        ck_assert_int_eq(m->group[g].status, status);
    stage_forget_sent(node);
}

/* A host of all of layer 0 and a trainer on link 1. */
static inline void start(void)
{
    stage_start(node, &run, "L0.0-7");
    stage_trainer(node, 1, 9, &run);
}

/* Lets everything that is under way come to its end. */
static inline void settle(void)
{
    stage_run(&stage, 50000);
}

static inline struct buf copy_of_sent(size_t i)
{
    struct buf copy;
    buf_init(&copy, IO_MESSAGE_MAX);
    buf_append(&copy, node->sent[i].message.bytes, node->sent[i].message.n);
    return copy;
}

/* Calls first..last of one trainer, forward and backward; the last answer into `out`. */
static inline void train(uint64_t first, uint64_t last, struct buf *out)
{
    for (uint64_t call = first; call <= last; call++) {
        forward(1, call, 0, 2, 3);
        settle();
        stage_forget_sent(node);
        backward(1, call, 0, 2, 3);
        settle();
        ck_assert_uint_eq(node->n_sent, 1);
        buf_clear(out);
        buf_append(out, node->sent[0].message.bytes, node->sent[0].message.n);
        stage_forget_sent(node);
    }
}

static inline void stop_with(int err)
{
    stage_give(node, &(struct io_event){.kind = IO_STOP});
    stage_run(&stage, 2000000);
    ck_assert(node->is_stopped);
    ck_assert_int_eq(node->stopped_err, err);
    stage_kill(node);
}

static inline void stop(void)
{
    stop_with(0);
}

#endif
