/**
 * cmd/menu.h - finds the command that a word names and runs it: those of hanse, and those of a command that has its own.
 */
#ifndef CMD_MENU_H
#define CMD_MENU_H

#include <stddef.h>

struct menu_command {
    const char *name;
    int (*run)(int argc, char **argv); /* with its own name as argv[0]; the exit status */
    const char *summary;
};

struct menu {
    const char *name;  /* "hanse dht" */
    const char *about; /* a sentence */
    const char *more;  /* what the last line of the overview adds, or "" */
    const struct menu_command *command;
    size_t n_commands;
};

/** Runs what argv[1] names; --help or help prints an overview, an unknown word is refused with the nearest one. */
int menu_run(const struct menu *menu, int argc, char **argv);

#endif
