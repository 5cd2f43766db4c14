#include "cmd/menu.h"

#include <stdbool.h>
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

static const char *option_at(const void *arg, size_t i)
{
    (void)arg;
    return i == 0 ? "help" : "version";
}

static int refuse_option(const struct menu *menu, const char *word)
{
    bool is_long = strlen(word) > 2;
    const char *nearest = is_long ? options_nearest(word + 2, option_at, NULL, menu->version ? 2 : 1) : NULL;
    if (nearest)
        fprintf(stderr, "%s: there is no option %s; did you mean --%s?\n", menu->name, word, nearest);
    else
        fprintf(stderr, "%s: there is no option %s; a command comes first, '%s --help' lists them\n", menu->name, word,
                menu->name);
    return OPTIONS_STATUS_USAGE;
}

/* The inner menu that has a command of exactly this name, or NULL. */
static const struct menu *inner_with(const struct menu *menu, const char *word)
{
    for (size_t i = 0; i < menu->n_commands; i++) {
        const struct menu *inner = menu->command[i].inner;
        for (size_t j = 0; inner && j < inner->n_commands; j++)
            if (strcmp(word, inner->command[j].name) == 0)
                return inner;
    }
    return NULL;
}

static int refuse(const struct menu *menu, const char *word)
{
    const char *nearest = options_nearest(word, name_at, menu, menu->n_commands);
    const struct menu *inner = inner_with(menu, word);
    if (*word == '-')
        return refuse_option(menu, word);
    if (inner)
        fprintf(stderr, "%s: there is no command '%s'; did you mean '%s %s'?\n", menu->name, word, inner->name, word);
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
    if (menu->version && strcmp(word, "--version") == 0) {
        printf("%s %s\n", menu->name, menu->version);
        return 0;
    }
    for (size_t i = 0; i < menu->n_commands; i++)
        if (strcmp(word, menu->command[i].name) == 0)
            return menu->command[i].run(argc - 1, argv + 1);
    return refuse(menu, word);
}
