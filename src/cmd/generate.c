/* cmd/generate.c - hanse generate: continues a prompt, a byte at a time, through the swarm. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "cmd/cmd.h"
#include "cmd/session.h"
#include "kernels/ref/math.h"
#include "node/reader.h"

#define VOCABULARY 256

struct generation {
    uint8_t *text; /* the prompt and what followed */
    size_t n, n_end;
    size_t T;
    double temperature;
    struct rng rng;
};

/* The last T bytes; what follows them in a short prompt's row is padding that causal attention does not see. */
static bool on_fill(void *arg, size_t lane, struct trunk_tape *tape)
{
    struct generation *g = arg;
    size_t n_here = g->n < g->T ? g->n : g->T;
    (void)lane;
    if (g->n >= g->n_end)
        return false;
    memset(tape->token, 0, tape->N * sizeof *tape->token);
    memset(tape->target, 0, tape->N * sizeof *tape->target);
    for (size_t t = 0; t < n_here; t++)
        tape->token[t] = g->text[g->n - n_here + t];
    return true;
}

static int best_of(const float *logit)
{
    int best = 0;
    for (int v = 1; v < VOCABULARY; v++)
        if (logit[v] > logit[best])
            best = v;
    return best;
}

static int draw(struct generation *g, const float *logit)
{
    double weight[VOCABULARY], sum = 0, max = (double)logit[best_of(logit)];
    if (g->temperature <= 0)
        return best_of(logit);
    for (int v = 0; v < VOCABULARY; v++)
        sum += weight[v] = (double)ref_exp((float)(((double)logit[v] - max) / g->temperature));
    double at = (double)rng_unit(&g->rng) * sum;
    for (int v = 0; v < VOCABULARY; v++) {
        at -= weight[v];
        if (at < 0)
            return v;
    }
    return best_of(logit);
}

static void on_done(void *arg, size_t lane, const struct trunk_tape *tape)
{
    struct generation *g = arg;
    size_t n_here = g->n < g->T ? g->n : g->T;
    (void)lane;
    float logit[VOCABULARY];
    if (trunk_tape_logits(tape, n_here - 1, logit) != 0)
        return; /* a device that fails here fails the next byte's forward as well, and the reader says so */
    g->text[g->n] = (uint8_t)draw(g, logit);
    putchar(g->text[g->n++]);
    fflush(stdout);
}

static int run(struct session *session, struct generation *g, bool is_local)
{
    struct reader *reader = NULL;
    struct reader_config config = {.client = session_client(session, is_local),
                                   .n_lanes = 1,
                                   .B = 1,
                                   .T = session->run.context,
                                   .fill = on_fill,
                                   .done = on_done,
                                   .arg = g};
    g->T = session->run.context;
    int err = reader_new(&config, net_io(session->net), &session->disk, net_now_us(), &reader);
    if (!err) {
        struct io_machine machine = reader_machine(reader);
        fwrite(g->text, 1, g->n, stdout);
        err = net_run(session->net, &machine);
        putchar('\n');
    }
    reader_free(reader);
    return err;
}

int cmd_generate(int argc, char **argv)
{
    struct session_options o = session_options_default();
    const char *prompt = "\n";
    bool is_local = false, given[OPTIONS_ROWS_MAX] = {false};
    uint64_t n_bytes = 200, seed = 1;
    double temperature = 0.7;
    const struct options_row row[] = {
        SESSION_ROW_RUN(o),
        SESSION_ROW_DIR(o),
        {"prompt", "TEXT", OPTIONS_TEXT, &prompt, "what to continue (default: a line's beginning)", 0, 0, false},
        {"bytes", "N", OPTIONS_U64, &n_bytes, "how many bytes to add (default 200)", 1, 1 << 24, false},
        {"temperature", "X", OPTIONS_DOUBLE, &temperature, "0 takes the likeliest byte, 1 draws as the model says (default 0.7)",
         0, 0, false},
        {"seed", "N", OPTIONS_U64, &seed, "of the draws (default 1)", 0, UINT64_MAX, false},
        SESSION_ROW_JOIN(o),
        SESSION_ROW_MAINLINE(o),
        {"local", NULL, OPTIONS_FLAG, &is_local, "the experts are in DIR, too (after hanse train --local)", 0, 0, false},
        SESSION_ROW_DEVICE(o, "the CPU"),
        SESSION_ROW_ISA(o),
        SESSION_ROW_WORKERS(o),
    };
    const struct options_usage usage = {
        .command = "hanse generate",
        .about = "Continues a text with the trunk in DIR and the experts of the swarm.",
        .example = "hanse generate --run run.yaml --dir trainer --prompt 'In the beginning' --bytes 200",
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
    if (temperature < 0 || !*prompt)
        return options_refuse(&usage, *prompt ? "--temperature %g: must not be negative" : "--prompt: must not be empty",
                              temperature);
    struct generation g = {.n = strlen(prompt), .temperature = temperature};
    g.n_end = g.n + (size_t)n_bytes;
    g.text = malloc(g.n_end);
    if (!g.text)
        return hanse_exit_status(HANSE_ENOMEM);
    memcpy(g.text, prompt, g.n);
    rng_init(&g.rng, seed, "generate");
    struct session session;
    struct session_wish wish = {0};
    int err = session_open(&session, &o, &wish);
    if (!err)
        err = run(&session, &g, is_local);
    session_close(&session);
    free(g.text);
    return err ? hanse_exit_status(err) : 0;
}
