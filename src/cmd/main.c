/* cmd/main.c - the hanse program: finds the subcommand and runs it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/dht_tools.h"
#include "cmd/menu.h"
#include "cmd/options.h"
#include "base/log.h"
#include "config.h"
#include "net/net.h"

/* A subcommand is one line here, its function in cmd.h and its file. */
static const struct menu_command command[] = {
    {"host", cmd_host, "keep experts of a run for others to train with", NULL},
    {"train", cmd_train, "train a run with the experts of its hosts", NULL},
    {"eval", cmd_eval, "measure how well a trained model predicts a text", NULL},
    {"generate", cmd_generate, "continue a text with a trained model", NULL},
    {"status", cmd_status, "show who hosts which experts of a run", NULL},
    {"plan", cmd_plan, "say what a run takes in memory and bytes, and how fast a line lets it be", NULL},
    {"checkpoint", cmd_checkpoint, "list, show, verify or export what a directory has saved", NULL},
    {"key", cmd_key, "make or show the key that says who a peer is", NULL},
    {"doctor", cmd_doctor, "say what this machine has, what it lacks, and what to do about it", NULL},
    {"dht", cmd_dht, "look at a DHT in Mainline's format, ours or any other", &dht_menu},
    {"sim", cmd_sim, "play a swarm in virtual time from a seed", NULL},
    {"bench", cmd_bench, "time kernels, links and the DHT on this machine", NULL},
};

static int run(int argc, char **argv)
{
    static const struct menu menu = {"hanse",
                                     "Trains mixture-of-experts language models over machines that nobody owns together.",
                                     ", 'man hanse' all of them",
                                     command,
                                     sizeof command / sizeof command[0],
                                     PACKAGE_VERSION};
    return menu_run(&menu, argc, argv);
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

/* An earlier line may have been lost though the last one was not. */
static bool is_all_written(void)
{
    bool was_bad = ferror(stdout);
    errno = 0;
    if (fflush(stdout) == 0 && !was_bad)
        return true;
    fprintf(stderr, "hanse: error: standard output: %s\n", errno ? strerror(errno) : "not all of it could be written");
    return false;
}

int main(int argc, char **argv)
{
    hold_standard_files();
    log_set_clock(net_now_us);
    int status = run(argc, argv);
    bool is_answer = status < OPTIONS_STATUS_USAGE; /* a 'no' as well as a 'yes'; an error of its own stays what it is */
    return !is_all_written() && is_answer ? hanse_exit_status(HANSE_EIO) : status;
}
