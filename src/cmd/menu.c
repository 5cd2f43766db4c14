#include "cmd/menu.h"

#include <stdio.h>
#include <string.h>

#include "cmd/options.h"

static void print_overview(const struct menu *menu, FILE *out)
{
    fprintf(out, "usage: %s COMMAND [options]\n\n%s\n\n", menu->name, menu->about);
    for (size_t i = 0; i < menu->n_commands; i++)
        fprintf(out, "  %-12s%s\n", menu->command[i].name, menu->command[i].summary);
    fprintf(out, "\n'%s COMMAND --help' explains a command%s.\n", menu->name, menu->more);
}

static const char *name_at(const void *arg, size_t i)
{
    const struct menu *menu = arg;
    return menu->command[i].name;
}

static int refuse(const struct menu *menu, const char *word)
{
    const char *nearest = options_nearest(word, name_at, menu, menu->n_commands);
    if (*word == '-')
        fprintf(stderr, "%s: there is no option %s; a command comes first, '%s --help' lists them\n", menu->name, word,
                menu->name);
    else if (nearest)
        fprintf(stderr, "%s: there is no command '%s'; did you mean '%s'?\n", menu->name, word, nearest);
    else
        fprintf(stderr, "%s: there is no command '%s'; '%s --help' lists them\n", menu->name, word, menu->name);
    return OPTIONS_STATUS_USAGE;
}

int menu_run(const struct menu *menu, int argc, char **argv)
{
    if (argc < 2) {
        print_overview(menu, stderr);
        return OPTIONS_STATUS_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_overview(menu, stdout);
        return 0;
    }
    for (size_t i = 0; i < menu->n_commands; i++)
        if (strcmp(word, menu->command[i].name) == 0)
            return menu->command[i].run(argc - 1, argv + 1);
    return refuse(menu, word);
}
