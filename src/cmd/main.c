/* cmd/main.c - the hanse program: finds the subcommand and runs it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/options.h"
#include "base/log.h"
#include "config.h"
#include "net/net.h"

/* A subcommand is one line here, its function in cmd.h and its file. */
static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} command[] = {
    {"host", cmd_host, "keep experts of a run for others to train with"},
    {"train", cmd_train, "train a run with the experts of its hosts"},
    {"eval", cmd_eval, "measure how well a trained model predicts a text"},
    {"generate", cmd_generate, "continue a text with a trained model"},
    {"status", cmd_status, "show who hosts which experts of a run"},
    {"plan", cmd_plan, "say what a run takes in memory and bytes, and how fast a line lets it be"},
    {"checkpoint", cmd_checkpoint, "list, show, verify or export what a directory has saved"},
    {"key", cmd_key, "make or show the key that says who a peer is"},
    {"doctor", cmd_doctor, "say what this machine has, what it lacks, and what to do about it"},
    {"dht", cmd_dht, "look at a DHT in Mainline's format, ours or any other"},
    {"sim", cmd_sim, "play a swarm in virtual time from a seed"},
    {"bench", cmd_bench, "time kernels, links and the DHT on this machine"},
};

#define N_COMMANDS (sizeof command / sizeof command[0])

static void print_overview(FILE *out)
{
    fputs("usage: hanse COMMAND [options]\n\n"
          "Trains mixture-of-experts language models over machines that nobody owns together.\n\n",
          out);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-12s%s\n", command[i].name, command[i].summary);
    fputs("\n'hanse COMMAND --help' explains a command, 'man hanse' all of them.\n", out);
}

static const char *command_at(const void *arg, size_t i)
{
    (void)arg;
    return command[i].name;
}

static int refuse(const char *word)
{
    const char *nearest = options_nearest(word, command_at, NULL, N_COMMANDS);
    if (nearest)
        fprintf(stderr, "hanse: there is no command '%s'; did you mean '%s'?\n", word, nearest);
    else
        fprintf(stderr, "hanse: there is no command '%s'; 'hanse --help' lists them\n", word);
    return OPTIONS_STATUS_USAGE;
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return OPTIONS_STATUS_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_overview(stdout);
        return 0;
    }
    if (strcmp(word, "--version") == 0) {
        printf("hanse %s\n", PACKAGE_VERSION);
        return 0;
    }
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(word, command[i].name) == 0)
            return command[i].run(argc - 1, argv + 1);
    return refuse(word);
}

/* Where one of the three is closed, the next file we open takes its number, and what is printed would land in a key or a
 * checkpoint. */
static void hold_standard_files(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    hold_standard_files();
    log_set_clock(net_now_us);
    int status = run(argc, argv);
    if (fflush(stdout) != 0 && status == 0) {
        perror("hanse: standard output");
        status = 74; /* EX_IOERR */
    }
    return status;
}
