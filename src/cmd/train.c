/* cmd/train.c - hanse train: the trainer, its progress line and its metrics. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/profile_report.h"
#include "cmd/session.h"
#include "node/trainer.h"

#define LINE_TERMINAL_S 0.25 /* between progress lines on a terminal, which overwrite each other */
#define LINE_PLAIN_S 10.0
#define BITS_PER_NAT 1.4426950408889634

struct screen {
    FILE *metrics;
    struct profile_report *profile; /* NULL: not wanted */
    bool is_terminal;
    double last_s;      /* elapsed when a line was last shown */
    uint64_t last_step; /* of that line */
    bool is_line_open;
    bool is_started; /* experts were found, and nobody has interrupted before that */
};

/* "1:05" or "2:03:04" */
static const char *clock_text(char *out, size_t n, double s)
{
    unsigned long t = s > 0 ? (unsigned long)(s + 0.5) : 0;
    if (t >= 3600)
        snprintf(out, n, "%lu:%02lu:%02lu", t / 3600, t / 60 % 60, t % 60);
    else
        snprintf(out, n, "%lu:%02lu", t / 60, t % 60);
    return out;
}

/* Columns of the terminal; a line that fills the last one would wrap, and could not be overwritten. */
static size_t n_columns(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2)
        return 80;
    return size.ws_col;
}

/* All there is to say, or what matters most when the terminal is too narrow for it. */
static void progress_text(char *out, size_t n, const struct screen *screen, const struct trainer_progress *p)
{
    char left[32], missed[32] = "";
    double bpb = p->smooth_loss * BITS_PER_NAT;
    unsigned long long step = p->step;
    clock_text(left, sizeof left, p->left_s);
    if (p->missed >= 0.0005)
        snprintf(missed, sizeof missed, "  missed %.1f%%", 100 * p->missed);
    int length = snprintf(
        out, n, "step %-6llu loss %.4f  bpb %.4f  %6.0f tokens/s  experts %zu/%zu on %zu host%s  staleness %.2f%s  left %s", step,
        p->smooth_loss, bpb, p->tokens_per_s, p->n_live, p->n_experts, p->n_hosts, text_plural(p->n_hosts), p->staleness, missed,
        left);
    size_t n_free = screen->is_terminal ? n_columns() : n;
    if (length < 0 || (size_t)length < n_free)
        return;
    snprintf(out, n_free < n ? n_free : n, "step %-6llu bpb %.4f  %6.0f tokens/s  experts %zu/%zu on %zu host%s  left %s", step,
             bpb, p->tokens_per_s, p->n_live, p->n_experts, p->n_hosts, text_plural(p->n_hosts), left);
}

static void show(struct screen *screen, const struct trainer_progress *p)
{
    char text[256];
    progress_text(text, sizeof text, screen, p);
    printf("%s%s%s", screen->is_terminal ? "\r" : "", text, screen->is_terminal ? "\x1b[K" : "\n");
    fflush(stdout);
    screen->is_line_open = screen->is_terminal;
    screen->last_s = p->elapsed_s;
    screen->last_step = p->step;
}

static void close_line(struct screen *screen)
{
    if (screen->is_line_open)
        putchar('\n');
    screen->is_line_open = false;
}

/* A log line must not be written into the middle of the progress line. */
static void log_above(void *arg, enum log_level level, const char *line)
{
    struct screen *screen = arg;
    if (screen->is_line_open)
        fputs("\r\x1b[K", stdout);
    fflush(stdout);
    log_write(level, line);
    screen->is_line_open = false;
}

static void write_metrics(FILE *out, const struct profile_report *profile, const struct trainer_progress *p)
{
    fprintf(out,
            "{\"step\":%llu,\"loss\":%.9g,\"bpb\":%.9g,\"tokens\":%llu,\"seconds\":%.3f,\"tokens_per_s\":%.1f,\"lr_scale\":%.9g,"
            "\"grad_norm\":%.9g,\"live\":%zu,\"experts\":%zu,\"hosts\":%zu,\"staleness\":%.9g,\"missed\":%.9g,\"rtt_ms\":%.3f",
            (unsigned long long)p->step, p->loss, p->loss * BITS_PER_NAT, (unsigned long long)p->n_tokens, p->elapsed_s,
            p->tokens_per_s, (double)p->lr_scale, p->grad_norm, p->n_live, p->n_experts, p->n_hosts, p->staleness, p->missed,
            (double)p->rtt_us / 1e3);
    if (profile) {
        fputs(",\"profile_ms\":", out);
        profile_report_json(profile, out);
    }
    fputs("}\n", out);
}

static void on_progress(void *arg, const struct trainer_progress *p)
{
    struct screen *screen = arg;
    if (screen->profile)
        profile_report_step(screen->profile);
    if (screen->metrics)
        write_metrics(screen->metrics, screen->profile, p);
    double pause = screen->is_terminal ? LINE_TERMINAL_S : LINE_PLAIN_S;
    if (p->elapsed_s - screen->last_s >= pause || p->elapsed_s < screen->last_s)
        show(screen, p);
}

static void on_started(void *arg, uint64_t step, size_t n_live, size_t n_experts, size_t n_hosts)
{
    struct screen *screen = arg;
    screen->is_started = true;
    if (screen->profile)
        profile_report_begin(screen->profile);
    printf("training from step %llu with %zu of %zu expert%s on %zu host%s\n", (unsigned long long)step, n_live, n_experts,
           text_plural(n_experts), n_hosts, text_plural(n_hosts));
    fflush(stdout);
}

static int open_metrics(struct screen *screen, const char *file)
{
    if (!file)
        return 0;
    screen->metrics = fopen(file, "a");
    if (screen->metrics) {
        setvbuf(screen->metrics, NULL, _IOLBF, 0); /* whoever follows the file sees each step when it ends */
        return 0;
    }
    log_error("%s: cannot be opened for metrics (%s); choose another file with --metrics", file, strerror(errno));
    return HANSE_EACCESS;
}

/* Before the session, whose threads are to be counted. */
static int start_profile(struct screen *screen)
{
    screen->profile = calloc(1, sizeof *screen->profile);
    if (!screen->profile)
        return HANSE_ENOMEM;
    profile_start(net_now_ns);
    return 0;
}

static int train(struct session *session, struct trainer_config *config, struct screen *screen)
{
    struct trainer *trainer = NULL;
    int err = trainer_new(config, net_io(session->net), &session->disk, net_now_us(), &trainer);
    if (err == HANSE_ENOMEM)
        log_error("run %s: not enough memory on this machine; hanse plan says what it takes", session->run.name);
    if (!err) {
        struct io_machine machine = trainer_machine(trainer);
        log_set_sink(log_above, screen);
        err = net_run(session->net, &machine);
        log_set_sink(NULL, NULL);
        struct trainer_progress p = trainer_progress(trainer);
        if (p.step > 0 && (p.step != screen->last_step || screen->is_terminal))
            show(screen, &p);
        close_line(screen);
        if (!err && p.step > 0)
            printf("stopped after step %llu: %.3g M tokens in %.1f s, loss %.4f, trunk saved\n", (unsigned long long)p.step,
                   (double)p.n_tokens / 1e6, p.elapsed_s, p.smooth_loss);
        else if (!err && !screen->is_started)
            printf("stopped while looking for experts, before the first step\n");
        else if (!err)
            printf("nothing to do: the training asked for is complete; ask for more with --steps or --seconds\n");
    }
    if (!err && screen->profile)
        profile_report_print(screen->profile, stdout);
    trainer_free(trainer);
    return err;
}

int cmd_train(int argc, char **argv)
{
    struct session_options o = session_options_default();
    const char *data_file = NULL, *metrics_file = NULL;
    bool is_local = false, is_sync = false, is_profiled = false, given[OPTIONS_ROWS_MAX] = {false};
    uint64_t n_steps = 0, seed = 1;
    double seconds = 0;
    const struct options_row row[] = {
        SESSION_ROW_RUN(o),
        SESSION_ROW_DIR(o),
        {"data", "FILE", OPTIONS_TEXT, &data_file, "the text: its first 90 % are trained on", 0, 0, true},
        SESSION_ROW_JOIN(o),
        SESSION_ROW_MAINLINE(o),
        {"local", NULL, OPTIONS_FLAG, &is_local, "keep all experts in this process; no hosts, no network", 0, 0, false},
        {"sync", NULL, OPTIONS_FLAG, &is_sync,
         "one microbatch at a time and no expert ever left out: the same losses, to the last digit, however experts are spread",
         0, 0, false},
        {"steps", "N", OPTIONS_U64, &n_steps, "end after step N (default: trainer.steps of the run)", 1, UINT64_MAX / 2, false},
        {"seconds", "S", OPTIONS_DOUBLE, &seconds, "end after S seconds of training; the learning rate falls towards that end", 0,
         0, false},
        {"seed", "N", OPTIONS_U64, &seed, "order of the data (default 1)", 0, INT64_MAX, false},
        {"metrics", "FILE", OPTIONS_TEXT, &metrics_file, "append a line of JSON a step", 0, 0, false},
        {"profile", NULL, OPTIONS_FLAG, &is_profiled,
         "say at the end where the time of a step went; with --metrics also in each line, as profile_ms", 0, 0, false},
        SESSION_ROW_DEVICE(o, "the CPU"),
        SESSION_ROW_ISA(o),
        SESSION_ROW_WORKERS(o),
        SESSION_ROW_PIN(o),
    };
    const struct options_usage usage = {
        .command = "hanse train",
        .about =
            "Holds the trunk of the model, sends tokens to the experts that hosts keep, and trains both. Ctrl-C ends after the "
            "step under way with a checkpoint in DIR; the same command again goes on from there.",
        .example = "hanse train --run run.yaml --dir trainer --data text.txt --seconds 600",
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
    if (seconds < 0)
        return options_refuse(&usage, "--seconds %g: must be more than 0", seconds);
    struct screen screen = {.is_terminal = isatty(STDOUT_FILENO)};
    struct session session = {0};
    struct session_wish wish = {.wants_lock = true, .wants_own_key = true};
    struct data data = {0};
    int err = is_profiled ? start_profile(&screen) : 0;
    if (!err)
        err = session_open(&session, &o, &wish);
    if (!err)
        err = data_read(data_file, session.run.context, &data);
    if (!err)
        err = open_metrics(&screen, metrics_file);
    if (!err) {
        struct trainer_config config = {.client = session_client(&session, is_local),
                                        .data = &data,
                                        .seed = seed,
                                        .n_steps = n_steps,
                                        .seconds = seconds,
                                        .progress = on_progress,
                                        .started = on_started,
                                        .arg = &screen};
        config.client.is_sync = is_sync;
        if (n_steps == 0 && seconds == 0)
            config.n_steps = session.run.steps;
        err = train(&session, &config, &screen);
    }
    if (screen.metrics && fclose(screen.metrics) != 0 && !err) {
        log_error("%s: the metrics could not be written (%s)", metrics_file, strerror(errno));
        err = HANSE_EIO;
    }
    data_fini(&data);
    session_close(&session);
    free(screen.profile);
    return err ? hanse_exit_status(err) : 0;
}
