/* tests/unit/test_cmd_cost.c - the plan's sums against what the code really allots and sends. */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cost.h"
#include "experts/integers.h"
#include "model/trunk.h"
#include "model/trunk_inside.h"
#include "router/message.h"
#include "unit.h"

static void parse(struct run *run, const char *yaml)
{
    ck_assert_int_eq(run_parse("test", yaml, strlen(yaml), run), 0);
}

static const char *const shapes[] = {
    "name: a\n",
    "name: b\nmodel: {width: 64, heads: 2, layers: 3, context: 64, experts: 16, chosen: 4, latent: 32, shared_hidden: 96}\n",
    ("name: c\nmodel: {width: 96, heads: 3, layers: 5, context: 32, moe_layers: [0, 1, 4], experts: 5, chosen: 1, shared_hidden: "
     "0}\n"),
    "name: d\ntrainer: {trunk: i8x2}\nexperts: {numerics: i8x1}\n",
    "name: e\nmodel: {width: 96, heads: 3, layers: 3, context: 64, experts: 4, latent: 32}\ntrainer: {trunk: i8x2}\n",
};

START_TEST(a_tape_takes_what_the_plan_says)
{
    struct run run;
    const struct kernels *kernels;
    struct trunk *trunk;
    struct trunk_tape *tape;
    parse(&run, shapes[_i]);
    ck_assert_int_eq(kernels_choose("ref", &kernels), 0);
    ck_assert_int_eq(trunk_new(&run, kernels, &trunk), 0);
    ck_assert_int_eq(trunk_tape_new(trunk, 4, run.context, true, run.expert_numerics, &tape), 0);
    double real = (double)malloc_usable_size(tape->inside->memory), planned = cost_tape_bytes(&run, 4, run.context);
    ck_assert_double_gt(planned, 0.98 * real);
    ck_assert_double_lt(planned, 1.02 * real);
    trunk_tape_free(tape);
    trunk_free(trunk);
}
END_TEST

/* All ways to choose K of E experts, host of expert e being e * n_hosts / E. */
static double count_hosts(uint32_t E, uint32_t K, uint32_t n_hosts)
{
    double sum = 0, n = 0;
    for (uint32_t set = 0; set < 1u << E; set++) {
        uint32_t hosts = 0;
        if ((uint32_t)__builtin_popcount(set) != K)
            continue;
        for (uint32_t e = 0; e < E; e++)
            if (set >> e & 1)
                hosts |= 1u << (e * n_hosts / E);
        sum += __builtin_popcount(hosts);
        n++;
    }
    return sum / n;
}

START_TEST(hosts_per_token_is_the_mean_over_all_choices)
{
    static const uint32_t n_hosts[] = {1, 2, 3, 4, 6, 12};
    for (uint32_t K = 1; K <= 4; K++) {
        double counted = count_hosts(12, K, n_hosts[_i]), said = cost_hosts_per_token(12, K, n_hosts[_i]);
        ck_assert_double_lt(counted - said, 1e-9);
        ck_assert_double_gt(counted - said, -1e-9);
    }
}
END_TEST

START_TEST(a_narrower_line_and_a_longer_way_are_slower)
{
    struct run run;
    parse(&run, shapes[0]);
    struct cost cost = cost_of(&run);
    struct cost_place near = {
        .flop_per_core_s = 1e11, .trainer_cores = 2, .host_cores = 2, .up_bits_s = 1e9, .down_bits_s = 1e9, .rtt_s = 1e-3};
    struct cost_place far = near;
    far.up_bits_s = far.down_bits_s = 1e7;
    far.rtt_s = 0.1;
    for (int i = 0; i < COST_N_BOUNDS; i++) {
        double at_home = cost_tokens_per_s(&cost, &run, &near, (enum cost_bound)i);
        double abroad = cost_tokens_per_s(&cost, &run, &far, (enum cost_bound)i);
        ck_assert_double_gt(at_home, 0);
        ck_assert_double_gt(at_home / abroad, i == COST_TRUNK || i == COST_HOSTS ? 0.99 : 99);
    }
}
END_TEST

START_TEST(a_latent_width_saves_bytes_in_proportion)
{
    struct run full, half;
    parse(&full, "name: f\nmodel: {width: 128}\nhosts: {count: 4}\n");
    parse(&half, "name: h\nmodel: {width: 128, latent: 64}\nhosts: {count: 4}\n");
    struct cost f = cost_of(&full), h = cost_of(&half);
    ck_assert_double_gt(f.down_per_token, 1.99 * h.down_per_token); /* each row has an exponent, too */
    ck_assert_double_lt(f.down_per_token, 2.01 * h.down_per_token);
    ck_assert_double_gt(f.up_per_token, 1.9 * h.up_per_token);
    ck_assert_double_lt(f.host_state, 2.01 * h.host_state);
    ck_assert_double_eq(f.experts_per_host, 4);
}
END_TEST

static double allotted(const struct expert *x)
{
    double sum = 4.0 * (double)malloc_usable_size(x->param);
    if (!x->integers)
        return sum;
    for (int m = 0; m < INTEGERS_N; m++) {
        const struct linear *l = &x->integers->matrix[m], *coarse = &x->integers->coarse[m];
        const void *part[] = {l->exponent,      l->high,      l->ahead,      l->back,
                              coarse->exponent, coarse->high, coarse->ahead, coarse->back};
        for (size_t i = 0; i < sizeof part / sizeof *part; i++)
            sum += (double)malloc_usable_size((void *)(uintptr_t)part[i]);
    }
    return sum + (double)malloc_usable_size(x->integers->memory) + (double)malloc_usable_size(x->integers->work);
}

static const char *const forms[] = {"{numerics: f32}", "{numerics: i8x2}", "{numerics: i8x1}",
                                    "{numerics: i8x2, coarse: in+out+grad_hidden}"};

START_TEST(an_expert_takes_what_the_plan_says)
{
    struct run run;
    const struct kernels *kernels;
    struct expert *x;
    char yaml[256];
    snprintf(yaml, sizeof yaml, "name: e\nmodel: {latent: 96, expert_hidden: 320, experts: 4, layers: 4}\nexperts: %s\n",
             forms[_i]);
    parse(&run, yaml);
    struct cost cost = cost_of(&run);
    struct expert_config config = {
        .D = 96, .H = 320, .eps = 1e-8f, .slots_per_update = 1, .numerics = run.expert_numerics, .coarse = run.expert_coarse};
    ck_assert_int_eq(kernels_choose("ref", &kernels), 0);
    ck_assert_int_eq(expert_new(&config, kernels, &run.id, "x", &x), 0);
    double real = cost.experts_per_host * allotted(x);
    ck_assert_double_gt(cost.host_state, 0.98 * real);
    ck_assert_double_lt(cost.host_state, 1.02 * real);
    ck_assert_double_le(cost.host_disk, cost.host_state);
    expert_free(x);
}
END_TEST

#define N_TOKENS 1000
#define N_EXPERTS 4

/* Bytes of a message in which one host is asked about all tokens, every expert about half of them. */
static double request_bytes(enum message_kind kind, enum numerics form, uint32_t D)
{
    static uint32_t row[N_TOKENS / 2];
    static float weight[N_TOKENS / 2];
    struct message_group group[N_EXPERTS];
    for (uint16_t e = 0; e < N_EXPERTS; e++)
        group[e] = (struct message_group){.expert = e, .n_slots = N_TOKENS / 2, .row = row, .weight = weight};
    void *bytes = calloc(1, rows_bytes(form, N_TOKENS, D));
    struct message_request m = {.kind = kind, .n_rows = N_TOKENS, .D = D, .form = form, .n_groups = N_EXPERTS, .group = group};
    m.rows = rows_at(form, bytes, N_TOKENS, D);
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    message_request_encode(&m, &out);
    double n = (double)out.n;
    buf_fini(&out);
    free(bytes);
    return n;
}

static double reply_bytes(enum numerics form, uint32_t D)
{
    struct message_group group[N_EXPERTS];
    for (uint16_t e = 0; e < N_EXPERTS; e++)
        group[e] = (struct message_group){.expert = e, .n_slots = N_TOKENS / 2};
    struct message_reply m = {
        .kind = MESSAGE_FORWARD_REPLY, .form = rows_answer_form(form), .D = D, .n_groups = N_EXPERTS, .group = group};
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    ck_assert_int_eq(message_reply_begin(&m, &out), 0);
    double n = (double)out.n;
    buf_fini(&out);
    return n;
}

START_TEST(messages_have_the_bytes_that_the_plan_says)
{
    struct run run;
    parse(&run, "name: w\nmodel: {width: 64, latent: 48, layers: 4, moe_layers: [1, 3], experts: 4, chosen: 2}\n");
    enum numerics form = (enum numerics)_i;
    struct cost_wire wire = cost_wire_of(&run, form);
    double up = request_bytes(MESSAGE_FORWARD, form, 48) + request_bytes(MESSAGE_BACKWARD, form, 48);
    double down = 2 * reply_bytes(form, 48);
    ck_assert_double_eq_tol(wire.up, 2 * up / N_TOKENS, 0.005 * wire.up); /* two layers */
    ck_assert_double_eq_tol(wire.down, 2 * down / N_TOKENS, 0.005 * wire.down);
    run.expert_numerics = form;
    ck_assert_double_eq(cost_of(&run).up_per_token, wire.up);
    ck_assert_double_eq(cost_of(&run).down_per_token, wire.down);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cmd/cost");
    TCase *tc = tcase_create("cost");
    tcase_add_loop_test(tc, a_tape_takes_what_the_plan_says, 0, (int)(sizeof shapes / sizeof *shapes));
    tcase_add_loop_test(tc, an_expert_takes_what_the_plan_says, 0, (int)(sizeof forms / sizeof *forms));
    tcase_add_loop_test(tc, hosts_per_token_is_the_mean_over_all_choices, 0, 6);
    tcase_add_test(tc, a_narrower_line_and_a_longer_way_are_slower);
    tcase_add_loop_test(tc, messages_have_the_bytes_that_the_plan_says, 0, N_NUMERICS);
    tcase_add_test(tc, a_latent_width_saves_bytes_in_proportion);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
