/* cmd/options.c - getopt_long does the reading; the table tells it what to read and us what to say. */
#include "cmd/options.h"

#include <assert.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

#define HELP_COLUMN 26
#define HELP_WIDTH 80
#define CODE_FIRST 256 /* getopt's codes of our rows, clear of the characters */
#define CODE_HELP 'h'
#define CODE_VERBOSE 'v'
#define WORD_MAX 40 /* bytes of an option that messages show */

static const char *const common_name[] = {"help", "verbose"};

/* -- Which word was meant? -------------------------------------------------------------------------- */

const char *options_nearest(const char *word, const char *(*word_at)(const void *arg, size_t i), const void *arg, size_t n)
{
    const char *nearest = NULL;
    size_t least = 1 + strnlen(word, TEXT_WORD_MAX) / 3; /* a third of the letters may be wrong */
    for (size_t i = 0; i < n; i++) {
        const char *known = word_at(arg, i);
        size_t d = text_distance(word, known);
        if (d <= least) {
            least = d - (d > 0);
            nearest = known;
        }
    }
    return nearest;
}

/* -- Help ------------------------------------------------------------------------------------------- */

static void print_wrapped(FILE *out, const char *text, int column, int indent)
{
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column > indent && column + 1 + n > HELP_WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", n, text);
        column += n;
        text += n;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

/* An argument that begins with '[' may be left out, and says itself how it is joined. */
static void print_option(FILE *out, const char *name, const char *argument, const char *help)
{
    int n = fprintf(out, "  --%s%s%s", name, argument && *argument != '[' ? " " : "", argument ? argument : "");
    if (n >= HELP_COLUMN) {
        fputc('\n', out);
        n = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - n, "");
    print_wrapped(out, help, HELP_COLUMN, HELP_COLUMN);
}

static void print_synopsis(FILE *out, const struct options_usage *usage)
{
    int indent = fprintf(out, "usage: %s", usage->command);
    char text[1024];
    size_t n = 0;
    text[0] = 0;
    for (size_t i = 0; i < usage->n_rows && n < sizeof text; i++) {
        const struct options_row *row = &usage->row[i];
        if (row->is_required)
            n += (size_t)snprintf(text + n, sizeof text - n, "--%s %s ", row->name, row->argument);
    }
    if (n < sizeof text)
        snprintf(text + n, sizeof text - n, "[options]%s%s", usage->operands ? " " : "", usage->operands ? usage->operands : "");
    fputc(' ', out);
    print_wrapped(out, text, indent + 1, indent + 1);
}

static void print_example(FILE *out, const char *example)
{
    fputs("\nexample:\n", out);
    while (*example) {
        int n = (int)strcspn(example, "\n");
        fprintf(out, "  %.*s\n", n, example);
        example += n + (example[n] == '\n');
    }
}

static void print_help(FILE *out, const struct options_usage *usage)
{
    print_synopsis(out, usage);
    fputc('\n', out);
    print_wrapped(out, usage->about, 0, 0);
    fputc('\n', out);
    for (size_t i = 0; i < usage->n_rows; i++)
        print_option(out, usage->row[i].name, usage->row[i].argument, usage->row[i].help);
    print_option(out, "verbose", NULL, "say more of what happens");
    print_option(out, "help", NULL, "print this");
    if (usage->example)
        print_example(out, usage->example);
}

/* -- Refusals --------------------------------------------------------------------------------------- */

int options_refuse(const struct options_usage *usage, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", usage->command);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n%s --help shows what is possible\n", usage->command);
    va_end(args);
    return OPTIONS_STATUS_USAGE;
}

static const char *option_name_at(const void *arg, size_t i)
{
    const struct options_usage *usage = arg;
    return i < usage->n_rows ? usage->row[i].name : common_name[i - usage->n_rows];
}

static int refuse_unknown(const struct options_usage *usage, const char *given)
{
    char word[WORD_MAX + 1];
    const char *start = given + strspn(given, "-");
    snprintf(word, sizeof word, "%.*s", (int)strcspn(start, "="), start);
    const char *nearest = options_nearest(word, option_name_at, usage, usage->n_rows + 2);
    if (nearest)
        return options_refuse(usage, "there is no option %s; did you mean --%s?", given, nearest);
    return options_refuse(usage, "there is no option %s", given);
}

static int refuse_value(const struct options_usage *usage, const struct options_row *row, const char *value)
{
    switch (row->kind) {
    case OPTIONS_U64:
        return options_refuse(usage, "--%s %s: must be a whole number from %llu to %llu", row->name, value,
                              (unsigned long long)row->min, (unsigned long long)row->max);
    case OPTIONS_DOUBLE:
        return options_refuse(usage, "--%s %s: must be a number such as 0.5", row->name, value);
    case OPTIONS_ADDR:
    case OPTIONS_ADDRS:
        return options_refuse(usage, "--%s %s: must be an address and port such as 192.0.2.7:4100 or [2001:db8::7]:4100",
                              row->name, value);
    case OPTIONS_BIT_RATE:
        return options_refuse(usage, "--%s %s: must be bits per second such as 20Mbit or 1.5Gbit", row->name, value);
    case OPTIONS_DURATION:
        return options_refuse(usage, "--%s %s: must be a time such as 80ms or 2s", row->name, value);
    default:
        return options_refuse(usage, "--%s: must not be empty", row->name);
    }
}

/* -- Reading ---------------------------------------------------------------------------------------- */

static bool take_addr(struct addr *out, const char *value)
{
    return addr_parse(out, value) == 0;
}

/* False for a value that is not allowed. */
static bool take(const struct options_row *row, const char *value)
{
    switch (row->kind) {
    case OPTIONS_FLAG:
        *(bool *)row->out = true;
        return true;
    case OPTIONS_TEXT:
        *(const char **)row->out = value;
        return *value != 0;
    case OPTIONS_MAYBE:
        *(const char **)row->out = value ? value : "";
        return true;
    case OPTIONS_TEXTS: {
        struct options_texts *texts = row->out;
        if (*value)
            texts->text[texts->n++] = value;
        return *value != 0;
    }
    case OPTIONS_U64:
        return text_u64(row->out, value, row->min, row->max);
    case OPTIONS_DOUBLE:
        return text_double(row->out, value);
    case OPTIONS_ADDR:
        return take_addr(row->out, value);
    case OPTIONS_ADDRS: {
        struct options_addrs *addrs = row->out;
        return take_addr(&addrs->addr[addrs->n], value) && ++addrs->n;
    }
    case OPTIONS_BIT_RATE:
        return text_bit_rate(row->out, value) && *(double *)row->out > 0;
    case OPTIONS_DURATION:
        return text_duration_us(row->out, value);
    }
    return false;
}

static bool list_is_full(const struct options_row *row)
{
    if (row->kind == OPTIONS_TEXTS)
        return ((const struct options_texts *)row->out)->n == OPTIONS_LIST_MAX;
    if (row->kind == OPTIONS_ADDRS)
        return ((const struct options_addrs *)row->out)->n == OPTIONS_LIST_MAX;
    return false;
}

static void fill_getopt(const struct options_usage *usage, struct option *option)
{
    for (size_t i = 0; i < usage->n_rows; i++) {
        const struct options_row *row = &usage->row[i];
        int has_argument = row->kind == OPTIONS_FLAG    ? no_argument
                           : row->kind == OPTIONS_MAYBE ? optional_argument
                                                        : required_argument;
        option[i] = (struct option){row->name, has_argument, NULL, CODE_FIRST + (int)i};
    }
    option[usage->n_rows] = (struct option){"help", no_argument, NULL, CODE_HELP};
    option[usage->n_rows + 1] = (struct option){"verbose", no_argument, NULL, CODE_VERBOSE};
    option[usage->n_rows + 2] = (struct option){0};
}

/* One option that getopt found, or -1 to go on. */
static int take_code(const struct options_usage *usage, int code, char **argv)
{
    if (code == CODE_HELP) {
        print_help(stdout, usage);
        return 0;
    }
    if (code == CODE_VERBOSE) {
        log_set_level(LOG_DEBUG);
        return -1;
    }
    if (code == ':')
        return options_refuse(usage, "%s needs a value", argv[optind - 1]);
    if (code < CODE_FIRST && optopt && argv[optind - 1][1] != '-')
        return options_refuse(usage, "there is no option -%c", optopt);
    if (code < CODE_FIRST && optopt)
        return options_refuse(usage, "%s takes no value", argv[optind - 1]);
    if (code < CODE_FIRST)
        return refuse_unknown(usage, argv[optind - 1]);
    const struct options_row *row = &usage->row[code - CODE_FIRST];
    if (list_is_full(row))
        return options_refuse(usage, "--%s: may be given %d times at most", row->name, OPTIONS_LIST_MAX);
    return take(row, optarg) ? -1 : refuse_value(usage, row, optarg);
}

static int check_complete(const struct options_usage *usage, const bool *seen, size_t n_operands, char **operand)
{
    for (size_t i = 0; i < usage->n_rows; i++)
        if (usage->row[i].is_required && !seen[i])
            return options_refuse(usage, "--%s %s is needed: %s", usage->row[i].name, usage->row[i].argument, usage->row[i].help);
    if (n_operands > usage->n_operands_max)
        return options_refuse(usage, "'%s' is not understood%s%s", operand[usage->n_operands_max],
                              usage->operands ? "; after the options comes " : "", usage->operands ? usage->operands : "");
    if (n_operands < usage->n_operands_min)
        return options_refuse(usage, "%s is missing", usage->operands);
    return -1;
}

bool options_read(const struct options_usage *usage, int argc, char **argv, char ***operand, size_t *n_operands, int *status)
{
    struct option option[OPTIONS_ROWS_MAX + 3];
    bool own[OPTIONS_ROWS_MAX] = {false}, *seen = usage->given ? usage->given : own;
    assert(usage->n_rows <= OPTIONS_ROWS_MAX);
    fill_getopt(usage, option);
    opterr = 0;
    optind = 0; /* GNU: begin anew */
    int code;
    while ((code = getopt_long(argc, argv, ":h", option, NULL)) != -1) {
        *status = take_code(usage, code, argv);
        if (*status >= 0)
            return false;
        if (code >= CODE_FIRST)
            seen[code - CODE_FIRST] = true;
    }
    size_t n = (size_t)(argc - optind);
    *status = check_complete(usage, seen, n, argv + optind);
    if (*status >= 0)
        return false;
    if (operand)
        *operand = argv + optind;
    if (n_operands)
        *n_operands = n;
    return true;
}

/* True when the word is one of those with blanks between. */
static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = words; (at = strstr(at, word)); at += n)
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == 0))
            return true;
    return false;
}

int options_check(const struct options_usage *usage, const struct options_only *only, size_t n)
{
    for (size_t i = 0; i < usage->n_rows; i++)
        for (size_t j = 0; j < n; j++)
            if (usage->given[i] && !only[j].is_so && has_word(only[j].names, usage->row[i].name))
                return options_refuse(usage, "--%s belongs to %s", usage->row[i].name, only[j].where);
    return 0;
}
