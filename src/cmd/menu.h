/**
 * cmd/menu.h - finds the command that a word names and runs it: those of hanse, and those of a command that has its own.
 */
#ifndef CMD_MENU_H
#define CMD_MENU_H

#include <stddef.h>

struct menu;

struct menu_command {
    const char *name;
    int (*run)(int argc, char **argv); /* with its own name as argv[0]; the exit status */
    const char *summary;
    const struct menu *inner; /* commands of its own, or NULL */
};

struct menu {
    const char *name;  /* "hanse dht" */
    const char *about; /* a sentence */
    const char *more;  /* what the last line of the overview adds, or "" */
    const struct menu_command *command;
    size_t n_commands;
    const char *version; /* what --version prints after the name; NULL: there is no such option */
};

/** Runs what argv[1] names; --help or help prints an overview, an unknown word is refused with the nearest one, or with
 * the inner menu that knows it. */
int menu_run(const struct menu *menu, int argc, char **argv);

#endif
