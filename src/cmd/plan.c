/* cmd/plan.c - hanse plan: what a run will take and how fast it can be over a given line. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/arena.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/cost.h"
#include "cmd/session.h"

#define MEASURE_S 0.15
#define ROWS_MAX 1024u /* of the measured product */
#define WIDTH_MAX 1024u
#define KEPT_BYTES 64e6 /* what a host may keep besides, at its default */

static const char *const bound_name[COST_N_BOUNDS] = {"trainer's cores",    "hosts' cores",  "trainer's uplink",
                                                      "trainer's downlink", "hosts' uplink", "latency"};
static const char *const bound_remedy[COST_N_BOUNDS] = {
    "more cores, more microbatches, or a smaller trunk",
    "more hosts (hosts.count), or smaller experts",
    "a smaller model.latent or model.chosen, or fewer layers with experts, means fewer bytes",
    "a smaller model.latent or model.chosen, or fewer layers with experts, means fewer bytes",
    "more hosts (hosts.count), or a smaller model.latent",
    "a larger trainer.batch, or fewer layers with experts",
};

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Products of a microbatch's rows with a matrix of the trunk's width, for a moment, on one core. */
static int measure(const struct run *run, const struct kernels *kernels, double *flop_per_s)
{
    size_t D = run->width < WIDTH_MAX ? run->width : WIDTH_MAX;
    size_t rows = (size_t)run->batch * run->context / run->microbatches, N = rows < ROWS_MAX ? rows : ROWS_MAX;
    float *a = arena_aligned(N * D, sizeof *a), *b = arena_aligned(D * D, sizeof *b), *c = arena_aligned(N * D, sizeof *c);
    int err = HANSE_ENOMEM;
    if (!a || !b || !c)
        goto done;
    double start = seconds_now(), took;
    size_t n = 0;
    kernels->matmul(c, D, matrix_of(a, D), matrix_of(b, D), N, D, D, false); /* pages and frequency come up */
    do {
        kernels->matmul(c, D, matrix_of(a, D), matrix_of(b, D), N, D, D, false);
        n++;
        took = seconds_now() - start;
    } while (took < MEASURE_S);
    *flop_per_s = 2.0 * (double)(n + 1) * (double)N * (double)D * (double)D / took;
    err = 0;
done:
    free(a);
    free(b);
    free(c);
    return err;
}

static const char *count_text(char out[32], double n)
{
    if (n >= 1e9)
        snprintf(out, 32, "%.2f G", n / 1e9);
    else if (n >= 1e6)
        snprintf(out, 32, "%.2f M", n / 1e6);
    else
        snprintf(out, 32, "%.1f k", n / 1e3);
    return out;
}

/* In the run's form, and what the others would take. */
static void print_bytes(const struct run *run, const struct cost *cost)
{
    char a[32], b[32];
    printf("  %-15s %s up and %s down at the trainer, as %s; the other way, shared, at %u host%s\n", "bytes a token",
           text_size(a, sizeof a, cost->up_per_token), text_size(b, sizeof b, cost->down_per_token),
           numerics_name[run->expert_numerics], run->hosts, text_plural(run->hosts));
    printf("  %-15s with another experts.numerics:", "");
    for (int form = 0, n = 0; form < N_NUMERICS; form++) {
        struct cost_wire wire = cost_wire_of(run, (enum numerics)form);
        if (form == (int)run->expert_numerics)
            continue;
        printf("%s %s %s up and %s down", n++ ? ";" : "", numerics_name[form], text_size(a, sizeof a, wire.up),
               text_size(b, sizeof b, wire.down));
    }
    printf("\n");
}

static void print_sizes(const struct run *run, const struct cost *cost)
{
    char a[32], b[32], c[32], id[17];
    run_short_id(run, id);
    printf("run %s %s\n", run->name, id);
    printf("  %-15s trunk %s, %.0f experts of %s each, %s in all\n", "parameters", count_text(a, cost->trunk_params),
           cost->n_experts, count_text(b, cost->expert_params), count_text(c, cost->all_params));
    printf("  %-15s %s parameters work on a token: the trunk and %u of %u expert%s in each of %u layer%s\n", "active",
           count_text(a, cost->active_params), run->chosen, run->experts, text_plural(run->experts), run->n_moe,
           text_plural(run->n_moe));
    printf("  %-15s %s for %.0f experts, and up to %s for rows under way\n", "host memory",
           text_size(a, sizeof a, cost->host_state), cost->experts_per_host, text_size(b, sizeof b, KEPT_BYTES));
    printf("  %-15s %s a checkpoint before compression; three are kept\n", "host disk", text_size(a, sizeof a, cost->host_disk));
    printf("  %-15s %s for the trunk, %s for %u microbatch%s under way\n", "trainer memory",
           text_size(a, sizeof a, cost->trainer_state), text_size(b, sizeof b, cost->trainer_tapes), run->microbatches,
           run->microbatches == 1 ? "" : "es");
    print_bytes(run, cost);
    printf("  %-15s %.0f tokens: %u sequence%s of %u in %u microbatch%s\n", "a step", cost->tokens_per_step, run->batch,
           text_plural(run->batch), run->context, run->microbatches, run->microbatches == 1 ? "" : "es");
}

static void print_speed(const struct run *run, const struct cost *cost, const struct cost_place *place, const char *set_name)
{
    double least = 0;
    int least_i = -1;
    printf(
        "tokens/s if one thing alone took time: %.1f GFLOP/s a core (%s), %.0f cores at the trainer, %.0f at each of %u host%s, "
        "%.3g Mbit up, %.3g Mbit down, %.3g ms\n",
        place->flop_per_core_s / 1e9, set_name, place->trainer_cores, place->host_cores, run->hosts, text_plural(run->hosts),
        place->up_bits_s / 1e6, place->down_bits_s / 1e6, place->rtt_s * 1e3);
    for (int i = 0; i < COST_N_BOUNDS; i++) {
        double speed = cost_tokens_per_s(cost, run, place, (enum cost_bound)i);
        if (run->n_moe == 0 && i != COST_TRUNK)
            continue;
        if (least_i < 0 || speed < least) {
            least = speed;
            least_i = i;
        }
        printf("  %-20s %12.0f\n", bound_name[i], speed);
    }
    printf("expected: at most %.0f tokens/s, %.3g M an hour; set by the %s: %s\n", least, least * 3600 / 1e6, bound_name[least_i],
           bound_remedy[least_i]);
}

static int plan(const struct session_options *o, struct cost_place *place)
{
    struct run run;
    const struct kernels *kernels;
    int err = run_read(o->run_file, &run);
    if (!err)
        err = kernels_choose(o->isa && *o->isa ? o->isa : NULL, &kernels);
    if (!err)
        err = measure(&run, kernels, &place->flop_per_core_s);
    if (err)
        return err;
    struct cost cost = cost_of(&run);
    print_sizes(&run, &cost);
    print_speed(&run, &cost, place, kernels->name);
    return 0;
}

int cmd_plan(int argc, char **argv)
{
    struct session_options o = session_options_default();
    struct cost_place place = {.up_bits_s = 20e6};
    uint64_t rtt_us = 80000, n_cores = 0, n_host_cores = 0;
    const struct options_row row[] = {
        SESSION_ROW_RUN(o),
        {"up", "RATE", OPTIONS_BIT_RATE, &place.up_bits_s, "what a line sends, the trainer's and each host's (default: 20Mbit)",
         0, 0, false},
        {"down", "RATE", OPTIONS_BIT_RATE, &place.down_bits_s, "what it receives (default: as much as it sends)", 0, 0, false},
        {"rtt", "TIME", OPTIONS_DURATION, &rtt_us, "there and back between trainer and hosts (default: 80ms)", 0, 0, false},
        {"cores", "N", OPTIONS_U64, &n_cores, "of the trainer (default: those of this machine)", 1, 4096, false},
        {"host-cores", "N", OPTIONS_U64, &n_host_cores, "of each host (default: those of this machine)", 1, 4096, false},
        SESSION_ROW_ISA(o),
    };
    const struct options_usage usage = {
        .command = "hanse plan",
        .about = "Says what a run takes: parameters, memory of host and trainer, bytes a token, and the tokens/s that cores, "
                 "lines and "
                 "latency allow, the least of which is the one to expect. A core's speed is measured here, for a moment.",
        .example = "hanse plan --run run.yaml --up 20Mbit --down 100Mbit --rtt 80ms",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
    };
    int status;
    if (!options_read(&usage, argc, argv, NULL, NULL, &status))
        return status;
    if (place.down_bits_s == 0)
        place.down_bits_s = place.up_bits_s;
    place.rtt_s = (double)(rtt_us ? rtt_us : 1) / 1e6;
    place.trainer_cores = n_cores ? (double)n_cores : cores_n_here();
    place.host_cores = n_host_cores ? (double)n_host_cores : cores_n_here();
    int err = plan(&o, &place);
    return err ? hanse_exit_status(err) : 0;
}
