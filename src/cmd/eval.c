/* cmd/eval.c - hanse eval: bits a byte on the last 10 % of a text, through the swarm. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/session.h"
#include "node/evaluation.h"

#define N_LANES 4
#define ROWS_PER_LANE 8 /* windows in a microbatch */

struct eval {
    struct evaluation evaluation;
    bool is_terminal;
};

static void on_done(void *arg, size_t lane, const struct trunk_tape *tape)
{
    struct eval *eval = arg;
    evaluation_done(&eval->evaluation, lane, tape);
    if (!eval->is_terminal)
        return;
    fprintf(stderr, "\r%zu of %zu window%s, bpb %.4f\x1b[K", eval->evaluation.n_done, eval->evaluation.n_max,
            text_plural(eval->evaluation.n_max), evaluation_bpb(&eval->evaluation));
    if (eval->evaluation.n_done == eval->evaluation.n_max)
        fputs("\r\x1b[K", stderr);
}

static bool on_fill(void *arg, size_t lane, struct trunk_tape *tape)
{
    struct eval *eval = arg;
    return evaluation_fill(&eval->evaluation, lane, tape);
}

static int report(const struct reader *reader, const struct eval *eval)
{
    struct router_stats stats = reader_router_stats(reader);
    if (stats.n_slots > 0 && stats.n_missed == stats.n_slots) {
        log_error("no expert answered, so this would be the trunk alone: see 'hanse status' for who is there");
        return HANSE_EUNREACHABLE;
    }
    size_t n_bytes = 0;
    for (size_t w = 0; w < eval->evaluation.n_windows; w++)
        n_bytes += eval->evaluation.n_counted[w];
    printf("bpb %.4f on %zu byte%s, trunk of step %llu, %zu of %zu expert%s on %zu host%s", evaluation_bpb(&eval->evaluation),
           n_bytes, text_plural(n_bytes), (unsigned long long)reader_step(reader), stats.n_live, stats.n_experts,
           text_plural(stats.n_experts), stats.n_hosts, text_plural(stats.n_hosts));
    if (stats.n_missed)
        printf(", %.2f%% of expert answers missed", 100.0 * (double)stats.n_missed / (double)stats.n_slots);
    putchar('\n');
    return 0;
}

static int run(struct session *session, const struct data *data, bool is_local, size_t n_max)
{
    struct eval eval = {.is_terminal = isatty(STDERR_FILENO)};
    struct reader *reader = NULL;
    int err = evaluation_init(&eval.evaluation, data, session->run.context, N_LANES);
    if (err)
        return err;
    if (n_max && n_max < eval.evaluation.n_max)
        eval.evaluation.n_max = n_max;
    struct reader_config config = {.client = session_client(session, is_local),
                                   .n_lanes = N_LANES,
                                   .B = ROWS_PER_LANE,
                                   .T = session->run.context,
                                   .fill = on_fill,
                                   .done = on_done,
                                   .arg = &eval};
    err = reader_new(&config, net_io(session->net), &session->disk, net_now_us(), &reader);
    if (!err) {
        struct io_machine machine = reader_machine(reader);
        err = net_run(session->net, &machine);
    }
    if (!err)
        err = report(reader, &eval);
    reader_free(reader);
    evaluation_fini(&eval.evaluation);
    return err;
}

int cmd_eval(int argc, char **argv)
{
    struct session_options o = session_options_default();
    const char *data_file = NULL;
    bool is_local = false, given[OPTIONS_ROWS_MAX] = {false};
    uint64_t n_max = 0;
    const struct options_row row[] = {
        SESSION_ROW_RUN(o),
        SESSION_ROW_DIR(o),
        {"data", "FILE", OPTIONS_TEXT, &data_file, "the text: its last 10 % are predicted", 0, 0, true},
        SESSION_ROW_JOIN(o),
        SESSION_ROW_MAINLINE(o),
        {"local", NULL, OPTIONS_FLAG, &is_local, "the experts are in DIR, too (after hanse train --local)", 0, 0, false},
        {"windows", "N", OPTIONS_U64, &n_max, "look at the first N windows only (default: all)", 1, UINT32_MAX, false},
        SESSION_ROW_DEVICE(o, "the CPU"),
        SESSION_ROW_ISA(o),
        SESSION_ROW_WORKERS(o),
    };
    const struct options_usage usage = {
        .command = "hanse eval",
        .about =
            "Predicts the last 10 % of a text with the trunk in DIR and the experts of the swarm, in windows of the context's "
            "length that overlap by half, and prints the bits needed per byte.",
        .example = "hanse eval --run run.yaml --dir trainer --data text.txt",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
        .given = given,
    };
    int status;
    if (!options_read(&usage, argc, argv, NULL, NULL, &status))
        return status;
    status = session_check(&usage, is_local);
    if (status)
        return status;
    struct session session;
    struct session_wish wish = {0};
    struct data data = {0};
    int err = session_open(&session, &o, &wish);
    if (!err)
        err = data_read(data_file, session.run.context, &data);
    if (!err)
        err = run(&session, &data, is_local, (size_t)n_max);
    data_fini(&data);
    session_close(&session);
    return err ? hanse_exit_status(err) : 0;
}
