/* cmd/sim.c - hanse sim: plays a scenario in virtual time. */
#include "cmd/sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/session.h"

/* A scenario is one line here, its function in sim.h and its file. */
static const struct sim_scenario scenario[] = {
    {"smoke", "8 hosts and 2 trainers over a lossy network, one host crashes and comes back: the loss falls all the same",
     sim_play_smoke},
    {"hosts", "8 hosts share the experts of a run by themselves, one of them crashes for good: in the end all are hosted again",
     sim_play_hosts},
    {"dht",
     "1000 DHT nodes read what others wrote; a fifth vanish, then half of the rest: every record that someone has is found",
     sim_play_dht},
    {"beam", "64 hosts publish a grid of experts, then a quarter of them vanish: searches find what a full sort finds",
     sim_play_beam},
};

#define N_SCENARIOS (sizeof scenario / sizeof scenario[0])

/* -- The command ------------------------------------------------------------------------------------ */

static void print_list(void)
{
    for (size_t i = 0; i < N_SCENARIOS; i++)
        printf("%-8s %s\n", scenario[i].name, scenario[i].summary);
}

static const char *name_at(const void *arg, size_t i)
{
    (void)arg;
    return scenario[i].name;
}

static const struct sim_scenario *find(const char *name)
{
    for (size_t i = 0; i < N_SCENARIOS; i++)
        if (strcmp(name, scenario[i].name) == 0)
            return &scenario[i];
    return NULL;
}

static int refuse_name(const struct options_usage *usage, const char *name)
{
    const char *nearest = options_nearest(name, name_at, NULL, N_SCENARIOS);
    return options_refuse(usage, "there is no scenario '%s'%s%s%s", name, nearest ? "; did you mean '" : "",
                          nearest ? nearest : "; --list shows them all", nearest ? "'?" : "");
}

/* What a simulated peer warns of is the point of the scenario, not news to the user. */
static void drop_line(void *arg, enum log_level level, const char *line)
{
    const bool *is_verbose = arg;
    if (*is_verbose || level == LOG_ERROR)
        printf("             %s\n", line);
}

/* As few digits as give the same number again. */
static void print_double(double value)
{
    char text[32];
    int digits = 6;
    do
        snprintf(text, sizeof text, "%.*g", digits, value);
    while (strtod(text, NULL) != value && ++digits <= 17);
    printf(" %s", text);
}

static void print_quoted(const char *text)
{
    bool is_plain = text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./,:=+@%")] == 0;
    printf(is_plain ? " " : " '");
    for (; *text; text++)
        printf(*text == '\'' ? "'\\''" : "%c", *text);
    if (!is_plain)
        putchar('\'');
}

/* What was said on the command line, and the seed in any case. */
static void print_again(const struct options_usage *usage)
{
    printf("to see it again: %s", usage->command);
    for (size_t i = 0; i < usage->n_rows; i++) {
        const struct options_row *row = &usage->row[i];
        if ((!usage->given[i] && strcmp(row->name, "seed") != 0) || strcmp(row->name, "quiet") == 0)
            continue;
        printf(" --%s", row->name);
        if (row->kind == OPTIONS_U64)
            printf(" %llu", (unsigned long long)*(const uint64_t *)row->out);
        if (row->kind == OPTIONS_DOUBLE)
            print_double(*(const double *)row->out);
        if (row->kind == OPTIONS_TEXT)
            print_quoted(*(const char **)row->out);
    }
    putchar('\n');
}

static void print_verdict(const struct options_usage *usage, const struct sim_scenario *s, const struct sim_run *run, int err)
{
    char trace[2 * HASH_BYTES + 1];
    if (err && err != SIM_REFUTED && run->n_events == 0)
        return; /* nothing was played, and why not has been said */
    text_hex(trace, run->trace.byte, HASH_BYTES);
    printf("%s with seed %llu: %s after %.3f s and %llu events\ntrace %s\n", s->name, (unsigned long long)run->seed,
           err == 0 ? "holds" : (err == SIM_REFUTED ? "REFUTED" : hanse_strerror(err)), (double)run->n_us / 1e6,
           (unsigned long long)run->n_events, trace);
    if (err)
        print_again(usage);
}

/* Plays once, or twice to see that the same happens. */
static int play(const struct options_usage *usage, const struct sim_scenario *s, struct sim_run *run, bool is_twice)
{
    int err = s->play(run);
    print_verdict(usage, s, run, err);
    if (err || !is_twice)
        return err;
    struct sim_run again = {.seed = run->seed, .kernels = run->kernels, .dht = run->dht, .beam = run->beam, .is_quiet = true};
    again.dht.plot = NULL; /* once is enough */
    err = s->play(&again);
    if (!err && hash_equal(&run->trace, &again.trace)) {
        printf("the second run was the same\n");
        return 0;
    }
    print_verdict(usage, s, &again, err);
    printf("the second run DIFFERED: something asks the machine for time, order or randomness\n");
    return SIM_REFUTED;
}

/* -- What cannot be played -------------------------------------------------------------------------- */

/* 0, or the status to end with: before minutes of play, not after them. */
static int check(const struct options_usage *usage, const struct sim_scenario *s, const struct sim_dht_options *dht)
{
    bool is_dht = s->play == sim_play_dht, is_beam = s->play == sim_play_beam;
    const struct options_only only[] = {
        {"nodes lookups stale adversaries leave partition churn churn-for plot", "--scenario dht", is_dht},
        {"median-rtt loss", "--scenario dht and --scenario beam", is_dht || is_beam},
        {"grid occupancy hosts searches tokens picks reads dense in-memory", "--scenario beam", is_beam},
        {"churn-for", "--churn", dht->churn_min > 0},
    };
    int status = options_check(usage, only, sizeof only / sizeof *only);
    if (status)
        return status;
    if (!(dht->loss_percent >= 0 && dht->loss_percent <= 100))
        return options_refuse(usage, "--loss %g: must be from 0 to 100", dht->loss_percent);
    if (dht->plot && access(dht->plot, W_OK | X_OK) != 0)
        return options_refuse(usage, "cannot write into '%s' (%s); --plot needs a directory that is there", dht->plot,
                              strerror(errno));
    return 0;
}

int cmd_sim(int argc, char **argv)
{
    const char *name = NULL, *isa = getenv("HANSE_ISA");
    bool wants_list = false, is_twice = false, is_verbose = false, given[OPTIONS_ROWS_MAX] = {false};
    struct sim_run run = {.seed = 1, .dht = sim_dht_default, .beam = sim_beam_default};
    struct sim_dht_options *dht = &run.dht;
    struct sim_beam_options *beam = &run.beam;
    const struct options_row row[] = {
        {"scenario", "NAME", OPTIONS_TEXT, &name, "what to play (--list shows what there is)", 0, 0, false},
        {"seed", "N", OPTIONS_U64, &run.seed, "decides everything that happens (default: 1)", 0, UINT64_MAX, false},
        {"list", NULL, OPTIONS_FLAG, &wants_list, "show the scenarios and what they claim", 0, 0, false},
        {"twice", NULL, OPTIONS_FLAG, &is_twice, "play it again and compare the traces", 0, 0, false},
        {"quiet", NULL, OPTIONS_FLAG, &run.is_quiet, "print the verdict only", 0, 0, false},
        {"peers", NULL, OPTIONS_FLAG, &is_verbose, "print what the simulated peers log, too", 0, 0, false},
        {"isa", "NAME", OPTIONS_TEXT, &isa,
         "kernels: " KERNELS_NAMES " (default: $HANSE_ISA, else the fastest); no trace differs", 0, 0, false},
        {"nodes", "N", OPTIONS_U64, &dht->n_nodes, "dht: nodes that join, 16 to 1000000 (default: 1000)", 16, 1000000, false},
        {"lookups", "N", OPTIONS_U64, &dht->n_lookups, "dht: reads in a row of measurements (default: 400)", 2, 100000, false},
        {"stale", "PERCENT", OPTIONS_U64, &dht->stale_percent,
         "dht: nodes that vanish right before the second row, still in everybody's table, up to 90 (default: 20)", 0, 90, false},
        {"adversaries", "PERCENT", OPTIONS_U64, &dht->adversary_percent,
         "dht: nodes that know each other, name only each other and forget what they are given, up to 90 (default: 0)", 0, 90,
         false},
        {"leave", "PERCENT", OPTIONS_U64, &dht->leave_percent,
         "dht: of the nodes that are left so many leave at once; how long until every record is found? Up to 90 (default: 50)", 0,
         90, false},
        {"partition", "SECONDS", OPTIONS_U64, &dht->partition_s,
         "dht: for so long half of the nodes cannot reach the others (default: 0)", 0, 86400, false},
        {"churn", "MINUTES", OPTIONS_U64, &dht->churn_min,
         "dht: nodes come and go and live so long on average; what living ones wrote is found (default: 0, they stay)", 0, 100000,
         false},
        {"churn-for", "SECONDS", OPTIONS_U64, &dht->churn_for_s, "dht: how long they do, 60 to 86400 (default: 1800)", 60, 86400,
         false},
        {"median-rtt", "MS", OPTIONS_U64, &dht->rtt_median_ms,
         "dht, beam: median round trip; that of each pair is lognormal, sigma 0.6 (default: 80)", 1, 2000, false},
        {"loss", "PERCENT", OPTIONS_DOUBLE, &dht->loss_percent, "dht, beam: datagrams that get lost (default: 1)", 0, 0, false},
        {"plot", "DIRECTORY", OPTIONS_TEXT, &dht->plot, "dht: add what was measured to its tables, for doc/plots/dht.gp", 0, 0,
         false},
        {"grid", "AxB", OPTIONS_TEXT, &beam->grid, "beam: sizes of one to four dimensions (default: 100x100)", 0, 0, false},
        {"occupancy", "PERCENT", OPTIONS_U64, &beam->occupancy_percent, "beam: experts that are alive (default: 10)", 1, 100,
         false},
        {"hosts", "N", OPTIONS_U64, &beam->n_hosts, "beam: hosts that have them (default: 64)", 4, 60000, false},
        {"searches", "N", OPTIONS_U64, &beam->n_searches, "beam: in a row of measurements (default: 60)", 1, 100000, false},
        {"tokens", "N", OPTIONS_U64, &beam->n_tokens, "beam: of a search (default: 1)", 1, 1024, false},
        {"picks", "N", OPTIONS_U64, &beam->n_picks, "beam: of a token (default: 4)", 1, 64, false},
        {"reads", "N", OPTIONS_U64, &beam->n_reads, "beam: that a search may make for each token (default: 64)", 1, 100000,
         false},
        {"dense", NULL, OPTIONS_FLAG, &beam->is_dense, "beam: nobody publishes or reads prefixes", 0, 0, false},
        {"in-memory", NULL, OPTIONS_FLAG, &beam->is_in_memory,
         "beam: a list in memory, slow to answer, in place of the hosts' DHT", 0, 0, false},
    };
    const struct options_usage usage = {
        .command = "hanse sim",
        .about = "Plays a scenario with many peers in one process: virtual time, and a network, disks and crashes that a seed "
                 "decides. "
                 "The trace is a hash over everything that happened; the same seed gives the same on every machine.",
        .example = "hanse sim --scenario smoke --seed 7",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
        .given = given,
    };
    int status;
    if (!options_read(&usage, argc, argv, NULL, NULL, &status))
        return status;
    if (wants_list) {
        print_list();
        return 0;
    }
    if (!name)
        return options_refuse(&usage, "--scenario NAME is needed; --list shows what there is");
    const struct sim_scenario *s = find(name);
    if (!s)
        return refuse_name(&usage, name);
    status = check(&usage, s, dht);
    if (status)
        return status;
    int err = kernels_choose(isa && *isa ? isa : NULL, &run.kernels);
    if (err)
        return hanse_exit_status(err);
    log_set_sink(drop_line, &is_verbose);
    err = play(&usage, s, &run, is_twice);
    log_set_sink(NULL, NULL);
    return err == SIM_REFUTED ? SIM_REFUTED : (err ? hanse_exit_status(err) : 0);
}
